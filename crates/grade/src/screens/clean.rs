//! From what came out of a terminal to the lines that a reader would compare.
//!
//! Left out: a terminal's cursor. A program that moves it and writes over its own lines is read as if it
//! had not moved; no honest screen of the assignment needs that.

use crate::limits::{LINE_CHARS, SCREEN_BYTES, SCREEN_LINES};
use crate::model::Process;
use std::iter::Peekable;
use std::str::Chars;

/// Commands that recipes call, and that make shows before it does.
const COMMANDS: &[&str] = &[
    "cc", "gcc", "c++", "g++", "clang", "clang++", "make", "gmake", "cd", "rm", "cp", "echo", "exec",
    "chmod", "sh", "bash",
];
/// How lines begin that a compiler or linker writes besides those about a file.
const COMPILERS: &[&str] = &[
    "In file included from ",
    "                 from ",
    "/usr/bin/ld: ",
    "collect2: ",
    "cc1: ",
    "cc1plus: ",
];
/// How the names of files end that a compiler writes about.
const SOURCES: &[&str] = &[".c", ".cc", ".cpp", ".cxx", ".C", ".h", ".hh", ".hpp", ".o"];

/// One line.
pub(super) struct Row {
    /// Printable, tabs aside.
    pub(super) text: String,
    /// Whether the line before should have ended and did not.
    pub(super) joined: bool,
}

/// A screen as it is compared.
pub(super) struct Cleaned {
    pub(super) rows: Vec<Row>,
    /// Whether there were empty lines.
    pub(super) empty: bool,
}

/// The lines on a screen that are the process's own.
pub(super) fn clean(process: Process, screen: &str) -> Cleaned {
    let screen = &screen[..screen.floor_char_boundary(SCREEN_BYTES)];
    let text = printable(screen);
    let subject = match process.letter() {
        Some(letter) => format!("The Server {letter} "),
        None if process == Process::Aws => "The AWS ".to_owned(),
        None => "The client ".to_owned(),
    };
    let mut cleaned = Cleaned { rows: Vec::new(), empty: false };
    for (i, line) in text.split_terminator('\n').enumerate() {
        if line.trim().is_empty() {
            // An empty first line ends the last line of the screen before.
            cleaned.empty |= i > 0;
            continue;
        }
        // The client is started by its own name, not by make.
        if process != Process::Client && (is_makes(line) || is_compilers(line)) {
            continue;
        }
        for (i, sentence) in sentences(line, &subject).into_iter().enumerate() {
            if cleaned.rows.len() == SCREEN_LINES {
                return cleaned;
            }
            let text = sentence.chars().take(LINE_CHARS).collect();
            cleaned.rows.push(Row { text, joined: i > 0 });
        }
    }
    cleaned
}

/// The text without control characters; lines end with a line feed.
fn printable(screen: &str) -> String {
    let mut text = String::with_capacity(screen.len());
    let mut chars = screen.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            // The same in one character, ECMA-48's C1 set.
            '\u{9b}' => skip_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut chars),
            '\r' => {
                // A line feed's own: before it from the terminal, after it from a careful program.
                while chars.next_if_eq(&'\r').is_some() {}
                if chars.peek() != Some(&'\n') && !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
            }
            '\n' | '\t' => text.push(c),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

/// What follows an ESC.
fn skip_escape(chars: &mut Peekable<Chars>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_sequence(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        _ => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
    }
}

/// Parameters and the final character of a control sequence, such as a colour.
fn skip_sequence(chars: &mut Peekable<Chars>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// A control string, such as a window's title. One that nobody ends is ended by its line.
fn skip_string(chars: &mut Peekable<Chars>) {
    while let Some(c) = chars.next_if(|c| *c != '\n') {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                chars.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

/// Whether the line is one of make's, or a recipe's line that make shows.
fn is_makes(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    let maker = first.strip_prefix('g').unwrap_or(first);
    let level = maker.strip_prefix("make[").and_then(|rest| rest.strip_suffix("]:"));
    if maker == "make:" || level.is_some_and(|level| level.bytes().all(|b| b.is_ascii_digit())) {
        return true;
    }
    // "./aws: error while loading ..." is no command.
    let program = first.trim_start_matches(['@', '-']);
    COMMANDS.contains(&program) || (program.starts_with("./") && !program.ends_with(':'))
}

/// Whether the line is a compiler's, where a target compiles before it starts.
fn is_compilers(line: &str) -> bool {
    let about_a_file = line.split_once(':').is_some_and(|(file, _)| {
        !file.contains(char::is_whitespace) && SOURCES.iter().any(|end| file.ends_with(end))
    });
    // "   34 |     gets(line);" and the line below it.
    let code = line.split_once('|').is_some_and(|(number, _)| {
        number.starts_with(' ') && number.trim().bytes().all(|b| b.is_ascii_digit())
    });
    let start = COMPILERS.iter().any(|start| line.starts_with(start));
    about_a_file || code || start || line.ends_with(" generated.")
}

/// The sentences of a line on which a line feed is missing: every one begins with the process's name.
fn sentences<'l>(line: &'l str, subject: &str) -> Vec<&'l str> {
    let mut starts: Vec<usize> = line.match_indices(subject).map(|(at, _)| at).collect();
    let begins = starts.first().is_some_and(|at| !line[..*at].contains(char::is_alphanumeric));
    if !begins {
        return vec![line];
    }
    starts[0] = 0;
    starts.push(line.len());
    starts.windows(2).map(|ends| &line[ends[0]..ends[1]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(process: Process, screen: &str) -> Vec<String> {
        clean(process, screen).rows.into_iter().map(|row| row.text).collect()
    }

    #[test]
    fn what_a_terminal_obeys_is_not_text() {
        for (screen, shown) in [
            ("\u{1b}[31mred\u{1b}[0m\r\n", "red"),
            ("\u{1b}[2J\u{1b}[1;1Hclear\n", "clear"),
            ("\u{1b}]0;title\u{7}bell\n", "bell"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\\n", "link"),
            ("\u{1b}P1$q\u{9c}string\n", "string"),
            ("\u{9b}1mone character\n", "one character"),
            ("\u{1b}(Bcharset\u{1b}=\n", "charset"),
            ("nul\0 bell\u{7} backspace\u{8}\n", "nul bell backspace"),
            ("\u{1b}]0;never ended\nnext\n", "next"),
            ("cut \u{1b}[", "cut "),
            ("cut \u{1b}", "cut "),
        ] {
            assert_eq!(rows(Process::Client, screen), [shown], "{screen:?}");
        }
    }

    #[test]
    fn a_line_ends_in_many_ways() {
        for screen in ["a\nb", "a\r\nb\r\n", "a\r\r\nb", "a\n\rb\n\r", "a\rb\r", "\r\na\r\nb"] {
            let cleaned = clean(Process::Client, screen);
            let texts: Vec<&str> = cleaned.rows.iter().map(|row| row.text.as_str()).collect();
            assert_eq!((texts, cleaned.empty), (vec!["a", "b"], false), "{screen:?}");
        }
        assert!(clean(Process::Client, "a\n\nb").empty);
        assert!(clean(Process::Client, "a\n \t\n").empty);
    }

    #[test]
    fn make_and_the_compiler_are_not_the_server() {
        let makes = "gcc -o serverA serverA.c -lnsl\n\
            serverA.c: In function ‘main’:\n\
            serverA.c:34:5: warning: implicit declaration of function ‘gets’\n   34 |     gets(line);\n\
            \x20     |     ^~~~\nIn file included from serverA.c:3:\n/usr/bin/ld: gets is dangerous\n1 warning generated.\n\
            ./serverA\n@./serverA\n\t./serverA &\nmake[1]: Entering directory '/x'\nmake: 'serverA' is up to date.\n\
            gmake: *** [serverA] Error 255\n";
        assert!(rows(Process::ServerA, makes).is_empty(), "{:?}", rows(Process::ServerA, makes));
        let own = "./serverA: error while loading shared libraries\nsh: 1: ./serverA: not found\n\
                   makes: 3\nServer A: listening | ready\nsocket: Bad file descriptor\n";
        assert_eq!(rows(Process::ServerA, own).len(), 5);
        assert_eq!(rows(Process::Client, "./client sum").len(), 1);
    }

    #[test]
    fn a_missing_line_feed_is_seen() {
        let screen = "The AWS is up and running.The AWS sent 1 numbers. The AWS sent";
        let cleaned = clean(Process::Aws, screen);
        let found: Vec<_> = cleaned.rows.iter().map(|row| (row.text.as_str(), row.joined)).collect();
        let expected = [
            ("The AWS is up and running.", false),
            ("The AWS sent 1 numbers. ", true),
            ("The AWS sent", true),
        ];
        assert_eq!(found, expected);
        assert_eq!(rows(Process::Aws, "Debug: The AWS is up The AWS is").len(), 1);
        assert_eq!(rows(Process::Aws, "> The AWS is up"), ["> The AWS is up"]);
    }

    #[test]
    fn what_is_endless_is_cut() {
        let many = rows(Process::Client, &"line\n".repeat(100_000));
        assert_eq!(many.len(), SCREEN_LINES);
        let long = rows(Process::Client, &"é".repeat(1 << 20));
        assert_eq!(long[0].chars().count(), LINE_CHARS);
        let joined = rows(Process::Aws, &"The AWS ".repeat(10_000));
        assert_eq!(joined.len(), SCREEN_LINES);
    }
}
