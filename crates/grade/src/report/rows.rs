//! Expected and actual lines of one terminal, side by side.
//!
//! The lesson: a diff that is right for files is wrong for screens. What counts as a difference was
//! decided before ([`Shown::differences`]): some lines may come in any order, and some in two wordings.
//! So lines are laid beside each other by how like they are, and the marks come from the decisions.
//!
//! Left out: the best possible layout. Likeness is a common beginning and end, which is quick for any
//! input and enough for sentences of which all begin and end alike.

use super::visible::{cut, visible};
use crate::limits::SCREEN_LINES;
use crate::model::{Difference, Kind, Process, Shown};
use similar::{Algorithm, ChangeTag, TextDiff};

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Both sides are equal.
    Same,
    /// They differ, and no rule minds: another order, the other wording.
    Accepted,
    /// They differ in what the lenient reading forgives.
    Forgiven,
    /// They differ.
    Wrong,
    /// The line never came.
    Missing,
    /// The line should not have come.
    Extra,
}

/// One expected line beside the actual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The expected line, if it has one.
    pub expected: Option<String>,
    /// The actual line, if it has one.
    pub actual: Option<String>,
    /// What the row says.
    pub mark: Mark,
    /// In what ways the two differ.
    pub kinds: Vec<Kind>,
}

/// A part of a line that is shown, escaped; true where it differs from the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub text: String,
    pub differs: bool,
}

/// How well a pair must match to stand in one row, of 100.
const ALIKE: usize = 50;

/// The rows of one terminal.
pub(super) fn rows(shown: &Shown, process: Process) -> Vec<Row> {
    let lines = |side: Option<&Vec<String>>| -> Vec<String> {
        side.map(|lines| lines.iter().take(SCREEN_LINES).cloned().collect()).unwrap_or_default()
    };
    let expected = lines(shown.expected.get(&process));
    let actual = lines(shown.actual.get(&process));
    let known: Vec<&Difference> = shown.differences.iter().filter(|d| d.process == process).collect();
    let mut rows = Vec::new();
    let (mut i, mut j) = (0, 0);
    let one = |line: Option<&String>| line.cloned();
    for (at, to) in pairs(&expected, &actual, &known).into_iter().chain([(expected.len(), actual.len())])
    {
        rows.extend(expected[i..at].iter().map(|line| row(Some(line.clone()), None, &known)));
        rows.extend(actual[j..to].iter().map(|line| row(None, Some(line.clone()), &known)));
        if at < expected.len() {
            rows.push(row(one(expected.get(at)), one(actual.get(to)), &known));
        }
        (i, j) = (at + 1, to + 1);
    }
    rows
}

/// Which expected line stands beside which actual one: the pairs of the greatest likeness in sum, in
/// order on both sides.
fn pairs(expected: &[String], actual: &[String], known: &[&Difference]) -> Vec<(usize, usize)> {
    let (n, m) = (expected.len(), actual.len());
    let like: Vec<Vec<usize>> =
        expected.iter().map(|e| actual.iter().map(|a| likeness(e, a, known)).collect()).collect();
    // best[i][j]: the most that expected[i..] and actual[j..] can have.
    let mut best = vec![vec![0usize; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            let pair = if like[i][j] == 0 { 0 } else { like[i][j] + best[i + 1][j + 1] };
            best[i][j] = pair.max(best[i + 1][j]).max(best[i][j + 1]);
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < n && j < m {
        if like[i][j] > 0 && best[i][j] == like[i][j] + best[i + 1][j + 1] {
            out.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[i][j] == best[i + 1][j] {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

/// 0 where two lines have nothing to do with each other; most for equal ones, then for known pairs.
fn likeness(expected: &str, actual: &str, known: &[&Difference]) -> usize {
    if expected == actual {
        return 300;
    }
    if known.iter().any(|d| same(&d.expected, expected) && same(&d.actual, actual)) {
        return 250;
    }
    if known.iter().any(|d| claims(&d.expected, expected) || claims(&d.actual, actual)) {
        return 0;
    }
    let (e, a) = (cut(expected).0, cut(actual).0);
    let (long, short) =
        (e.chars().count().max(a.chars().count()), e.chars().count().min(a.chars().count()));
    let begin = e.chars().zip(a.chars()).take_while(|(x, y)| x.eq_ignore_ascii_case(y)).count();
    let end =
        e.chars().rev().zip(a.chars().rev()).take_while(|(x, y)| x.eq_ignore_ascii_case(y)).count();
    let like = (begin + end).min(short) * 100 / long.max(1);
    if like >= ALIKE { like } else { 0 }
}

/// Whether `known`, as a difference names it, is this line. White space aside, which may be lost there.
fn same(known: &str, line: &str) -> bool {
    known.split_whitespace().eq(line.split_whitespace())
}

/// Whether a difference speaks of this line, so that it must not stand beside any other.
fn claims(known: &str, line: &str) -> bool {
    !known.is_empty() && same(known, line)
}

fn row(expected: Option<String>, actual: Option<String>, known: &[&Difference]) -> Row {
    let (e, a) = (expected.as_deref(), actual.as_deref());
    let mut kinds: Vec<Kind> = known
        .iter()
        .filter(|d| match (e, a) {
            (Some(e), Some(a)) => same(&d.expected, e) && same(&d.actual, a),
            // A pair that is too unlike for one row: both of its lines say why.
            (Some(e), None) => claims(&d.expected, e),
            (None, a) => a.is_some_and(|a| claims(&d.actual, a)),
        })
        .map(|d| d.kind)
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mark = match (e, a) {
        _ if e == a => Mark::Same,
        _ if kinds.is_empty() => Mark::Accepted,
        _ if kinds.iter().all(|kind| kind.forgiven()) => Mark::Forgiven,
        (Some(_), Some(_)) => Mark::Wrong,
        (Some(_), None) => Mark::Missing,
        (None, _) => Mark::Extra,
    };
    if mark == Mark::Same {
        kinds.clear();
    }
    Row { expected, actual, mark, kinds }
}

/// Both lines in parts, with those marked that differ; lines that are quite unlike differ as a whole.
pub(super) fn parts(expected: &str, actual: &str) -> (Vec<Part>, Vec<Part>) {
    let ((e, e_more), (a, a_more)) = (cut(expected), cut(actual));
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).diff_chars(e, a);
    let mut sides = (Vec::new(), Vec::new());
    if e != a && diff.ratio() < 0.5 {
        add(&mut sides.0, e, true);
        add(&mut sides.1, a, true);
    } else {
        for change in diff.iter_all_changes() {
            let differs = change.tag() != ChangeTag::Equal;
            if change.tag() != ChangeTag::Insert {
                add(&mut sides.0, change.value(), differs);
            }
            if change.tag() != ChangeTag::Delete {
                add(&mut sides.1, change.value(), differs);
            }
        }
    }
    add(&mut sides.0, &e_more, e_more != a_more);
    add(&mut sides.1, &a_more, e_more != a_more);
    (joined(sides.0), joined(sides.1))
}

fn add(parts: &mut Vec<Part>, text: &str, differs: bool) {
    match parts.last_mut() {
        Some(last) if last.differs == differs => last.text.push_str(text),
        _ if text.is_empty() => {}
        _ => parts.push(Part { text: text.to_owned(), differs }),
    }
}

/// A single equal character between two marked parts is chance: it is marked with them. Then all is
/// escaped, so that an escape is never marked by half.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let inside = i > 0 && i + 1 < parts.len();
        let chance = inside && !part.differs && part.text.chars().count() == 1 && part.text != " ";
        add(&mut out, &part.text, part.differs || chance);
    }
    out.into_iter().map(|part| Part { text: visible(&part.text), differs: part.differs }).collect()
}

/// A kind in words.
pub(super) fn kind_words(kind: Kind) -> &'static str {
    match kind {
        Kind::WrongValue => "wrong value",
        Kind::MissingLine => "missing line",
        Kind::ExtraLine => "extra line",
        Kind::Wording => "wording",
        Kind::TypeCase => "case of the reduction type",
        Kind::Case => "case",
        Kind::Punctuation => "punctuation",
        Kind::WhiteSpace => "white space or final period",
        Kind::LookAlike => "look-alike character",
    }
}

/// Why a row is marked, in words; empty where it is not.
pub(super) fn why(row: &Row) -> String {
    let kinds = row.kinds.iter().map(|kind| kind_words(*kind)).collect::<Vec<_>>().join(", ");
    match row.mark {
        Mark::Same => String::new(),
        Mark::Accepted => match (&row.expected, &row.actual) {
            (Some(_), None) => "expected here; accepted where it came".to_owned(),
            (None, _) => "came here; accepted".to_owned(),
            (Some(_), Some(_)) => "accepted in this wording".to_owned(),
        },
        Mark::Forgiven => format!("{kinds}: forgiven in the lenient reading"),
        Mark::Wrong | Mark::Missing | Mark::Extra => kinds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LINE_CHARS;
    use crate::report::sample::{bad_run, good_run};

    fn marks(shown: &Shown, process: Process) -> Vec<Mark> {
        rows(shown, process).iter().map(|row| row.mark).collect()
    }

    #[test]
    fn a_right_run_has_nothing_but_same_and_accepted_lines() {
        let shown = good_run();
        for process in Process::ALL {
            let marks = marks(&shown, process);
            assert!(marks.iter().all(|mark| matches!(mark, Mark::Same | Mark::Accepted)), "{marks:?}");
        }
        assert!(marks(&shown, Process::Client).iter().all(|mark| *mark == Mark::Same));
        let aws = rows(&shown, Process::Aws);
        let sent =
            aws.iter().find(|row| row.expected.as_deref().is_some_and(|e| e.contains(" sent 100 ")));
        let sent = sent.unwrap();
        assert_eq!(sent.actual.as_deref(), Some("The AWS has sent 100 numbers to Backend-Server A"));
        assert_eq!(why(sent), "accepted in this wording");
    }

    #[test]
    fn each_line_of_a_wrong_run_says_what_is_wrong() {
        use Mark::*;
        let shown = bad_run();
        assert_eq!(marks(&shown, Process::ServerA), [Same, Wrong, Same]);
        assert_eq!(marks(&shown, Process::ServerB), [Same; 3]);
        assert_eq!(marks(&shown, Process::ServerC), [Same, Extra, Same, Same]);
        assert_eq!(marks(&shown, Process::Client), [Same, Forgiven, Same, Wrong]);
        let aws = marks(&shown, Process::Aws);
        assert_eq!((aws[2], aws[8], aws.len()), (Wrong, Missing, 9));
        let client = rows(&shown, Process::Client);
        assert_eq!(why(&client[1]), "case of the reduction type: forgiven in the lenient reading");
        assert_eq!(why(&client[3]), "wrong value");
    }

    /// Every line of both sides is shown once, in its order, whatever the differences claim.
    #[test]
    fn no_line_is_lost() {
        let mut shown = bad_run();
        let noise = ["x", "", "x", "The client has sent 31 numbers to AWS", "x"].map(str::to_owned);
        shown.actual.entry(Process::Client).or_default().extend(noise);
        shown.actual.remove(&Process::ServerB);
        for process in Process::ALL {
            let rows = rows(&shown, process);
            let expected: Vec<String> = rows.iter().filter_map(|row| row.expected.clone()).collect();
            let actual: Vec<String> = rows.iter().filter_map(|row| row.actual.clone()).collect();
            assert_eq!(expected, shown.expected[&process]);
            assert_eq!(actual, shown.actual.get(&process).cloned().unwrap_or_default());
        }
    }

    fn marked(parts: &[Part]) -> String {
        let part =
            |part: &Part| if part.differs { format!("[{}]", part.text) } else { part.text.clone() };
        parts.iter().map(part).collect()
    }

    #[test]
    fn the_characters_that_differ_are_marked() {
        for (expected, actual, want_expected, want_actual) in [
            ("SUM: 163262", "SUM: 163261", "SUM: 16326[2]", "SUM: 16326[1]"),
            (
                "to Backend-Server A",
                "to Backend-\u{ad}Server A",
                "to Backend-Server A",
                "to Backend-[\\u{ad}]Server A",
            ),
            ("numbers to AWS", "numbers to AWS.", "numbers to AWS", "numbers to AWS[.]"),
            ("same", "same", "same", "same"),
            ("abc", "xyz", "[abc]", "[xyz]"),
            ("", "\x1b[2J", "", "[\\x1b[2J]"),
        ] {
            let (e, a) = parts(expected, actual);
            assert_eq!((marked(&e), marked(&a)), (want_expected.to_owned(), want_actual.to_owned()));
        }
    }

    #[test]
    fn long_lines_are_cut_and_say_so() {
        let long = "x".repeat(100_000);
        let (e, a) = parts(&long, "x");
        assert!(e.iter().map(|part| part.text.len()).sum::<usize>() < LINE_CHARS + 50);
        assert!(e.last().unwrap().text.ends_with("more characters"), "{e:?}");
        assert_eq!(a.iter().map(|part| part.text.as_str()).collect::<String>(), "x");
    }
}
