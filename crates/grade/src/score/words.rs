//! Numbers in lines, names in checks, and commands that show something again.

use super::{Booted, Evidence};
use crate::model::{Function, Kind, Process, Sentence};
use ethnum::I256;

/// The whole numbers of a line in their order. What follows a decimal point is no number of its own, and a
/// hyphen is a sign only where a word cannot end in it.
pub(super) fn numbers(line: &str) -> Vec<I256> {
    let mut found = Vec::new();
    let mut before = ' ';
    let mut earlier = ' ';
    let mut rest = line.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if c.is_ascii_digit() {
            let mut end = at + 1;
            while rest.next_if(|(_, c)| c.is_ascii_digit()).is_some() {
                end += 1;
            }
            let fraction = before == '.' && earlier.is_ascii_digit();
            let sign = if before == '-' && !earlier.is_alphanumeric() { "-" } else { "" };
            // More digits than 256 bits hold are no value of ours.
            match format!("{sign}{}", &line[at..end]).parse() {
                Ok(number) if !fraction => found.push(number),
                _ => {}
            }
            (earlier, before) = (before, '0');
        } else {
            (earlier, before) = (before, c);
        }
    }
    found
}

/// The result at the end of a line.
pub(super) fn value(line: &str) -> Option<I256> {
    numbers(line).last().copied()
}

/// Which backend a line of AWS's speaks of: 0 to 2.
pub(super) fn backend(line: &str) -> Option<usize> {
    let at = line.find("Server ")?;
    let letter =
        line[at + "Server ".len()..].trim_start_matches(['<', '[', '"', '\'', ' ']).chars().next()?;
    Process::BACKENDS.iter().position(|process| process.letter() == Some(letter.to_ascii_uppercase()))
}

/// The three partial results as one.
pub(super) fn reduce(function: Function, values: &[I256; 3]) -> Option<I256> {
    match function {
        Function::Min => values.iter().min().copied(),
        Function::Max => values.iter().max().copied(),
        Function::Sum | Function::Sos => {
            values.iter().try_fold(I256::ZERO, |sum, value| sum.checked_add(*value))
        }
    }
}

/// The phase whose end a sentence reports.
pub(super) fn phase(sentence: Sentence) -> u8 {
    match sentence {
        Sentence::BackendUp
        | Sentence::AwsUp
        | Sentence::AwsReceived
        | Sentence::ClientUp
        | Sentence::ClientSentType
        | Sentence::ClientSentNumbers
        | Sentence::Other => 1,
        Sentence::BackendReceived | Sentence::BackendFinished | Sentence::AwsSent => 2,
        Sentence::BackendSent
        | Sentence::AwsResult
        | Sentence::AwsFinished
        | Sentence::AwsAnswered
        | Sentence::ClientReceived => 3,
    }
}

/// A sentence's name in checks.
pub(super) fn sentence_name(sentence: Sentence) -> &'static str {
    match sentence {
        Sentence::BackendUp => "backend-up",
        Sentence::BackendReceived => "backend-received",
        Sentence::BackendFinished => "backend-finished",
        Sentence::BackendSent => "backend-sent",
        Sentence::AwsUp => "aws-up",
        Sentence::AwsReceived => "aws-received",
        Sentence::AwsSent => "aws-sent",
        Sentence::AwsResult => "aws-result",
        Sentence::AwsFinished => "aws-finished",
        Sentence::AwsAnswered => "aws-answered",
        Sentence::ClientUp => "client-up",
        Sentence::ClientSentType => "client-sent-type",
        Sentence::ClientSentNumbers => "client-sent-numbers",
        Sentence::ClientReceived => "client-received",
        Sentence::Other => "other",
    }
}

/// A kind's name in checks.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::WrongValue => "wrong-value",
        Kind::MissingLine => "missing-line",
        Kind::ExtraLine => "extra-line",
        Kind::Wording => "wording",
        Kind::TypeCase => "type-case",
        Kind::Case => "case",
        Kind::Punctuation => "punctuation",
        Kind::WhiteSpace => "white-space",
        Kind::LookAlike => "look-alike",
    }
}

/// The document's table with this terminal's lines.
pub(super) fn table(process: Process) -> u8 {
    match process {
        Process::ServerA => 4,
        Process::ServerB => 5,
        Process::ServerC => 6,
        Process::Aws => 7,
        Process::Client => 8,
    }
}

/// Items as a sentence has them: `a`, `a and b`, `a, b and c`.
pub(super) fn list<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", most.join(", "), last.as_ref())
        }
    }
}

/// How a boot is cited.
pub(super) fn boot_label(boots: &[Booted], index: usize) -> String {
    match boots.len() {
        1 => "boot".to_owned(),
        all => format!("boot {} of {all}", index + 1),
    }
}

/// A word as a shell takes it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    // What begins with a hyphen would be an option.
    let here = if word.starts_with('-') { "./" } else { "" };
    format!("'{here}{}'", word.replace('\'', r"'\''"))
}

/// Grades one run of one input again and shows its screens; without one, grades all.
pub(super) fn grade_again(evidence: &Evidence<'_>, only: Option<(&str, Function)>) -> String {
    let mut command = format!("{} {}", evidence.command, quote(evidence.path));
    if let Some((case, function)) = only {
        command += &format!(" --only {}", quote(&format!("{case}/{}", function.argument())));
    }
    if let Some(id) = evidence.given_id {
        command += &format!(" --id {id}");
    }
    command + &format!(" --seed {} --show", evidence.seed)
}

/// Starts the servers again; the cheapest run will do.
pub(super) fn boot_again(evidence: &Evidence<'_>) -> String {
    let first =
        evidence.rounds.first().map(|judged| (judged.round.case.as_str(), judged.round.function));
    grade_again(evidence, first)
}

/// Lists what was handed in.
pub(super) fn list_again(evidence: &Evidence<'_>) -> String {
    match evidence.archive_name {
        Some(_) => format!("tar tzf {}", quote(evidence.path)),
        None => format!("ls {}", quote(evidence.path)),
    }
}

/// Shows one file of what was handed in.
pub(super) fn file_again(evidence: &Evidence<'_>, file: &str) -> String {
    match evidence.archive_name {
        Some(_) => format!(
            "tar xzOf {} --wildcards {}",
            quote(evidence.path),
            quote(&format!("*{}", file.rsplit('/').next().unwrap_or(file)))
        ),
        None => format!("cat {}", quote(&format!("{}/{file}", evidence.path.trim_end_matches('/')))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<i64> {
        numbers(line).into_iter().map(|number| number.as_i64()).collect()
    }

    #[test]
    fn numbers_are_found_however_they_are_set() {
        assert_eq!(found("received 90 numbers over port 25319"), [90, 25319]);
        assert_eq!(found("MIN: -5"), [-5]);
        assert_eq!(found("Backend-3 has <30>"), [3, 30]);
        assert_eq!(found("SUM: 1000.00."), [1000]);
        assert_eq!(found("SUM: 1000."), [1000]);
        assert_eq!(found("--7"), [-7]);
        assert_eq!(found(&"9".repeat(100)), [0i64; 0]);
        assert_eq!(found("größe \u{ad}12"), [12]);
    }

    #[test]
    fn a_line_says_which_backend() {
        assert_eq!(
            backend("The AWS received reduction result of SUM from Backend-Server B using"),
            Some(1)
        );
        assert_eq!(backend("from Backend-\u{ad}Server <c> using"), Some(2));
        assert_eq!(backend("from Backend-Server D"), None);
        assert_eq!(backend("from Backend-Server "), None);
    }

    #[test]
    fn a_shell_takes_a_quoted_word_whole() {
        assert_eq!(quote("a/b_c-1.tar.gz"), "a/b_c-1.tar.gz");
        assert_eq!(quote("John's work"), r"'John'\''s work'");
        assert_eq!(quote("-rf"), "'./-rf'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("$(x)"), "'$(x)'");
    }

    #[test]
    fn lists_read_as_in_a_sentence() {
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b"]), "a and b");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }
}
