//! Text of a submission, made harmless and honest.
//!
//! The lesson: a byte that acts on a terminal or a reader instead of being seen is shown as what it is.
//! A program may print `\x1b[2J` to wipe the TA's screen, U+202E to turn a line around, or U+00AD that
//! nobody sees; all of these stand in a report as `\x1b`, `\u{202e}`, `\u{ad}`. Escaping for HTML comes
//! on top and is the template's work.
//!
//! Left out: doubling a backslash that was there before. A command must stay fit to be copied, and who
//! prints the four characters `\x1b` deceives nobody.

use crate::limits::LINE_CHARS;
use std::borrow::Cow;

/// `text` in one line, with everything that cannot be seen spelt out.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut out, c);
    }
    out
}

/// [`visible`], of at most [`LINE_CHARS`] characters of `text`, with how many more there were.
pub(super) fn visible_line(text: &str) -> String {
    let (shown, more) = cut(text);
    let mut out = visible(shown);
    out.push_str(&more);
    out
}

/// Several lines: line ends stay line ends, a tab is four blanks, and of more than `most` lines the
/// middle is left out.
pub(super) fn visible_block(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = |line: &&str| visible_line(&line.replace('\t', "    "));
    if lines.len() <= most {
        return lines.iter().map(shown).collect::<Vec<_>>().join("\n");
    }
    let (head, tail) = (most.div_ceil(2), most / 2);
    let gap = format!("... {} lines left out ...", lines.len() - head - tail);
    let head = lines.iter().take(head).map(shown);
    let tail = lines.iter().skip(lines.len() - tail).map(shown);
    head.chain([gap]).chain(tail).collect::<Vec<_>>().join("\n")
}

/// The first [`LINE_CHARS`] characters of `line`, and a note of how many follow; empty if none do.
pub(super) fn cut(line: &str) -> (&str, Cow<'static, str>) {
    match line.char_indices().nth(LINE_CHARS) {
        None => (line, Cow::Borrowed("")),
        Some((at, _)) => {
            let (head, rest) = line.split_at(at);
            (head, Cow::Owned(format!(" ... and {} more characters", rest.chars().count())))
        }
    }
}

fn push(out: &mut String, c: char) {
    match c {
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        // What `escape_debug` would escape for Rust's sake only.
        '\'' | '"' | '\\' => out.push(c),
        c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        // Letters by name, yet blank: a line that ends in one looks as if it did not.
        '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' => {
            out.extend(c.escape_unicode());
        }
        // Other controls, directions, blanks, combining marks, unassigned ones.
        c => out.extend(c.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_spelt_out() {
        for (text, want) in [
            ("\x1b[2J\x07", r"\x1b[2J\x07"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\u{202e}b\u{2066}c\u{200f}", r"a\u{202e}b\u{2066}c\u{200f}"),
            ("Backend\u{ad}Server", r"Backend\u{ad}Server"),
            ("a\u{a0}b\u{200b}c\u{feff}", r"a\u{a0}b\u{200b}c\u{feff}"),
            ("e\u{301}\u{301}", r"e\u{301}\u{301}"),
            ("\u{2028}\u{e0041}\u{3164}", r"\u{2028}\u{e0041}\u{3164}"),
            ("a\tb\r\n\0\x7f", r"a\tb\r\n\x00\x7f"),
            (r#"'it' "is" C:\x1b <i>"#, r#"'it' "is" C:\x1b <i>"#),
            ("für 数 🦀", "für 数 🦀"),
        ] {
            assert_eq!(visible(text), want);
        }
    }

    #[test]
    fn no_character_is_left_that_acts() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let shown = visible(&c.to_string());
            assert!(!shown.chars().any(char::is_control), "{:x}", u32::from(c));
            let directs = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
            assert!(!directs || shown.starts_with('\\'), "{:x}", u32::from(c));
        }
    }

    #[test]
    fn long_lines_and_long_output_say_what_is_left_out() {
        let line = "x".repeat(LINE_CHARS + 7);
        let shown = visible_line(&line);
        assert!(shown.ends_with("x ... and 7 more characters"), "{shown}");
        assert_eq!(visible_line(&line[7..]), line[7..]);
        let text = (1..=10).map(|n| format!("{n}\n")).collect::<String>();
        assert_eq!(visible_block(&text, 4), "1\n2\n... 6 lines left out ...\n9\n10");
        assert_eq!(visible_block("a\r\n\tb\x1b\n", 4), "a\n    b\\x1b");
    }
}
