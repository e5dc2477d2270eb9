//! Shows grades: on a terminal, as JSON, for Gradescope, as pages, as a table.
//!
//! The lesson: a grade is worth what its evidence is worth to who reads it. Each form says of each point
//! lost which rule took it, which run shows it, what was expected, what came, and one command that shows
//! it again. Nothing is decided here: all of it is in [`Grade`], and the forms differ in looks alone.
//! The sum is shown with its parts, so that a reader can add it up (`Sum`).
//!
//! Whatever a submission printed or named goes through `visible` first, so that no escape sequence, no
//! direction mark and no markup of it acts on the reader.
//!
//! Left out: writing files, which is the caller's; widths of wide characters, so that a table with them
//! is ragged on a terminal.

mod class;
mod gradescope;
mod page;
mod rows;
pub mod sample;
mod terminal;
mod visible;

pub use class::{class_page, csv};
pub use gradescope::gradescope;
pub use page::page;
pub use terminal::{screens, terminal};

use crate::model::{Exit, Grade, HandIn, Loss, Rule};
use serde::Serialize;

/// The grades as JSON, for programs. What would act on a terminal is written as `\u`, which is the same
/// text to every reader of JSON.
pub fn json(grades: &[Grade]) -> String {
    written(&grades)
}

/// JSON in ASCII. The types written here have no keys but strings, so that writing them cannot fail.
fn written<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value)
        .unwrap_or_else(|e| serde_json::json!({ "error": e.to_string() }).to_string());
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if (c.is_ascii() && c != '\x7f') || c.is_alphanumeric() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out.push('\n');
    out
}

/// Hundredths of a point: sums of them are exact.
type Cents = i64;

fn cents(points: f64) -> Cents {
    // Saturates, and what is not a number is 0.
    (points * 100.0).round() as Cents
}

/// Points as people write them: `5`, `2.5`, `3.33`.
fn points(points: f64) -> String {
    in_points(cents(points))
}

fn in_points(cents: Cents) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let (whole, rest) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
    match rest {
        0 => format!("{sign}{whole}"),
        rest if rest % 10 == 0 => format!("{sign}{whole}.{}", rest / 10),
        rest => format!("{sign}{whole}.{rest:02}"),
    }
}

/// A part of 1 as people write it.
fn percent(part: f64) -> String {
    let tenths = (part * 1000.0).round() as i64;
    match tenths {
        0 if part > 0.0 => "under 0.1 %".to_owned(),
        _ if tenths % 10 == 0 => format!("{} %", tenths / 10),
        _ => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// How the lenient score adds up: `full - lost + bonus + bounded = score`.
struct Sum {
    full: Cents,
    lost: Cents,
    bonus: Cents,
    /// What the floor gave or the cap took.
    bounded: Cents,
    score: Cents,
}

impl Sum {
    fn of(grade: &Grade) -> Self {
        let full = cents(100.0);
        let lost = grade.losses.iter().map(|loss| cents(loss.lenient)).sum();
        let bonus = grade.bonus.as_ref().map_or(0, |(bonus, _)| cents(*bonus));
        let score = cents(grade.score.lenient);
        Sum { full, lost, bonus, bounded: score - (full - lost + bonus), score }
    }

    /// In one line; empty where nothing was added or taken.
    fn words(&self) -> String {
        let mut out = in_points(self.full);
        let mut term = |cents: Cents, what: &str| {
            if cents != 0 {
                let sign = if cents < 0 { "-" } else { "+" };
                out.push_str(&format!(" {sign} {} {what}", in_points(cents.abs())));
            }
        };
        term(-self.lost, "lost");
        term(self.bonus, "bonus (rule 15)");
        term(self.bounded, if self.bounded > 0 { "by the floor" } else { "over the cap" });
        if self.score == self.full && self.lost == 0 && self.bonus == 0 {
            return String::new();
        }
        format!("{out} = {}", in_points(self.score))
    }
}

/// What a rule of the document is about.
fn rule_words(rule: Rule) -> &'static str {
    match rule {
        0 => "Submission Rules",
        1 => "correct functionality",
        2 => "comments in the code",
        3 => "works as the README says",
        4 => "messages and results",
        5 => "does not compile",
        6 => "compiles, performs nothing",
        7 => "performs phase 1 only",
        8 => "performs phases 1 and 2 only",
        9 => "all three phases",
        10 => "README or Makefile missing",
        11 => "port numbers",
        12 => "an error, or a task not done",
        13 => "least grade",
        14 => "no points for effort",
        15 => "bonus for fork",
        16 => "bonus for Piazza",
        17 => "most points",
        18 => "run as it is",
        _ => "policy",
    }
}

/// A rule as it is cited. Rule 0 has no number in the document.
fn rule_line(rule: Rule) -> String {
    match rule {
        0 => rule_words(0).to_owned(),
        rule => format!("rule {rule} ({})", rule_words(rule)),
    }
}

/// The losses that the lenient reading charges, and those that only the strict one does; dearest first.
fn dearest_first(losses: &[Loss]) -> (Vec<&Loss>, Vec<&Loss>) {
    let mut sorted: Vec<&Loss> = losses.iter().collect();
    sorted.sort_by(|a, b| b.lenient.total_cmp(&a.lenient).then(b.strict.total_cmp(&a.strict)));
    sorted.into_iter().partition(|loss| loss.lenient > 0.0)
}

/// How a process ended, in words.
fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Running => "still running".to_owned(),
        Exit::Status(status) => format!("ended with status {status}"),
        Exit::Signal(signal) => format!("ended by signal {signal}"),
        Exit::TimedOut => "took too long and was ended".to_owned(),
        Exit::TooMuchOutput => "printed too much and was ended".to_owned(),
    }
}

/// The highest phase in words.
fn phase_words(phase: u8) -> &'static str {
    match phase {
        0 => "no phase works",
        1 => "phase 1 of 3 works",
        2 => "phases 1 and 2 of 3 work",
        _ => "all 3 phases work",
    }
}

/// What the README must say, a to h.
const README_POINTS: [&str; 8] = [
    "full name",
    "student ID",
    "what was done",
    "what each code file does",
    "how to run it",
    "format of the messages",
    "idiosyncrasies",
    "reused code",
];

/// One line of the hand-in's checklist.
struct Check {
    good: bool,
    what: &'static str,
    found: String,
}

/// The hand-in as a checklist. The text is not yet escaped.
fn checklist(hand_in: &HandIn) -> Vec<Check> {
    let check = |what, good, found: String| Check { good, what, found };
    let list = |missing: &[String]| match missing {
        [] => "all there".to_owned(),
        missing => format!("missing: {}", missing.join(", ")),
    };
    let readme = hand_in.readme.clone().unwrap_or_else(|| "missing".to_owned());
    let makefile = match (&hand_in.makefile, &hand_in.misnamed_makefile) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => format!("missing; make does not read {name}"),
        (None, None) => "missing".to_owned(),
    };
    let mut out = vec![
        check("README", hand_in.readme.is_some(), readme),
        check("Makefile", hand_in.makefile.is_some(), makefile),
    ];
    if hand_in.makefile.is_some() {
        out.push(check("Targets", hand_in.missing_targets.is_empty(), list(&hand_in.missing_targets)));
        let phony = if hand_in.phony {
            "make starts the programs"
        } else {
            "without .PHONY, make may say \"up to date\" and start nothing"
        };
        out.push(check("Phony targets", hand_in.phony, phony.to_owned()));
    }
    let sources = &hand_in.missing_sources;
    out.push(check("Source names", sources.is_empty(), list(sources)));
    let name = match &hand_in.bad_archive_name {
        None => "as it should be".to_owned(),
        Some(like) => format!("should be like {like}"),
    };
    out.push(check("Archive name", hand_in.bad_archive_name.is_none(), name));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_grades_and_harmless() {
        let grades = sample::all();
        let text = json(&grades);
        assert_eq!(serde_json::from_str::<Vec<Grade>>(&text).unwrap(), grades);
        assert_eq!(text.chars().find(|c| c.is_control() && *c != '\n'), None);
        assert!(!text.contains('\u{202e}') && text.contains("\\u202e"));
        assert_eq!(written(&"\u{e0041}\u{7f}é"), "\"\\udb40\\udc41\\u007fé\"\n");
    }

    #[test]
    fn numbers_are_written_as_people_do() {
        for (value, want) in [
            (5.0, "5"),
            (2.5, "2.5"),
            (10.0 / 3.0, "3.33"),
            (-0.05, "-0.05"),
            (0.0, "0"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(points(value), want);
        }
        for (part, want) in
            [(0.0, "0 %"), (0.0001, "under 0.1 %"), (1.0 / 30.0, "3.3 %"), (1.0, "100 %")]
        {
            assert_eq!(percent(part), want);
        }
    }

    #[test]
    fn the_sum_adds_up_whatever_bounds_it() {
        let words = |grade: &Grade| Sum::of(grade).words();
        assert_eq!(words(&sample::careless()), "100 - 32 lost = 68");
        assert_eq!(words(&sample::flawless()), "100 + 10 bonus (rule 15) - 10 over the cap = 100");
        let mut grade = sample::careless();
        grade.losses.iter_mut().for_each(|loss| loss.lenient *= 4.0);
        grade.score.lenient = 10.0;
        assert_eq!(words(&grade), "100 - 128 lost + 38 by the floor = 10");
        grade = sample::flawless();
        grade.bonus = None;
        assert_eq!(words(&grade), "");
        for grade in sample::all() {
            let sum = Sum::of(&grade);
            assert_eq!(sum.full - sum.lost + sum.bonus + sum.bounded, sum.score);
        }
    }

    #[test]
    fn the_checklist_says_what_is_missing() {
        let of = |hand_in: &HandIn| {
            let checks = checklist(hand_in).into_iter();
            checks.map(|c| (c.good, format!("{}: {}", c.what, c.found))).collect::<Vec<_>>()
        };
        assert!(of(&sample::flawless().hand_in).iter().all(|(good, _)| *good));
        let hand_in = HandIn {
            makefile: Some("Makefile".to_owned()),
            missing_targets: vec!["aws".to_owned()],
            missing_sources: vec!["client".to_owned(), "aws".to_owned()],
            ..HandIn::default()
        };
        let bad: Vec<String> =
            of(&hand_in).into_iter().filter(|(good, _)| !good).map(|(_, text)| text).collect();
        let want = [
            "README: missing",
            "Targets: missing: aws",
            "Phony targets: without .PHONY, make may say \"up to date\" and start nothing",
            "Source names: missing: client, aws",
        ];
        assert_eq!(bad, want);
    }
}
