//! The page of one submission: what a student opens, on a phone too.
//!
//! The lesson: the page is one file that asks for nothing. No script, font or picture from elsewhere: it
//! can be mailed, archived and opened in ten years, and its own policy forbids whatever a submission
//! might smuggle in. Marks are signs first (`✗`, `−`, `+`, `~`), colours second.
//!
//! What is shown is prepared here, escaped by [`visible`](super::visible) and laid out by `page.html`,
//! which escapes for HTML.
//!
//! Left out: a button that copies. A click on a command selects all of it, which needs no script.

use super::rows::{Mark, Part, Row, parts, rows, why};
use super::visible::{visible, visible_block, visible_line};
use super::{
    README_POINTS, Sum, checklist, dearest_first, exit_words, percent, phase_words, points, rule_line,
};
use crate::limits::{REPORT_BUILD_LINES, REPORT_FILES};
use crate::model::{Class, Exit, Fared, Function, Grade, HandIn, Loss, Process, Score, Shown};
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;

/// One submission's page, complete.
pub fn page(grade: &Grade) -> String {
    let (charged, strict) = dearest_first(&grade.losses);
    let losses =
        |losses: Vec<&Loss>| losses.iter().map(|loss| Lost::of(loss, grade)).collect::<Vec<_>>();
    let sentences = |list: &[String]| list.iter().map(|text| visible_line(text)).collect::<Vec<_>>();
    let bonus = grade.bonus.as_ref();
    let bonus =
        bonus.map(|(bonus, why)| format!("{} by rule 15: {}", points(*bonus), visible_line(why)));
    render(
        "page.html",
        context! {
            name => visible_line(&grade.name),
            refused => grade.refused.as_ref().map(|reason| visible(reason)),
            score => Scored::of(grade.score),
            repaired => grade.repaired.map(Scored::of),
            sum => Sum::of(grade).words(),
            phase => grade.phase.min(3),
            phases => phase_words(grade.phase),
            bonus,
            flakes => percent(grade.flake_rate),
            flaky => grade.flake_rate > 0.0,
            id => grade.id.map(|id| format!("{id:03}")),
            path => visible(&grade.path),
            isolation => visible(&grade.isolation),
            seed => grade.seed.to_string(),
            seconds => format!("{:.1}", grade.seconds),
            losses => losses(charged),
            strict_losses => losses(strict),
            repairs => sentences(&grade.repairs),
            remarks => sentences(&grade.remarks),
            probes => probes(grade),
            functions => Function::ALL.map(Function::argument),
            fared => fared(&grade.fared),
            runs => grade.shown.iter().map(Run::of).collect::<Vec<_>>(),
            hand_in => HandedIn::of(&grade.hand_in),
            build => Built::of(grade),
        },
    )
}

/// A template's text. Templates are part of the program, so that only a mistake in them can fail; then
/// the page says so instead of being empty.
pub(super) fn render(template: &'static str, values: minijinja::Value) -> String {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_trim_blocks(true);
    templates.set_lstrip_blocks(true);
    let rendered = [
        ("style.css", include_str!("style.css")),
        ("page.html", include_str!("page.html")),
        ("class.html", include_str!("class.html")),
    ]
    .into_iter()
    .try_for_each(|(name, source)| templates.add_template(name, source))
    .and_then(|()| templates.get_template(template)?.render(values));
    rendered.unwrap_or_else(|e| {
        let text = minijinja::HtmlEscape(&visible(&format!("{template}: {e:#}"))).to_string();
        format!(
            "<!doctype html><meta charset=\"utf-8\"><title>fault</title><p>fault in the grader: {text}"
        )
    })
}

/// Points of one reading beside the other.
#[derive(Serialize)]
pub(super) struct Scored {
    lenient: String,
    strict: String,
}

impl Scored {
    pub(super) fn of(score: Score) -> Self {
        Scored { lenient: points(score.lenient), strict: points(score.strict) }
    }
}

#[derive(Serialize)]
struct Lost {
    points: String,
    strict: String,
    rule: String,
    check: String,
    what: String,
    run: String,
    /// The number of the screens that show it, from 1.
    screens: Option<usize>,
    expected: Vec<Segment>,
    actual: Vec<Segment>,
    again: String,
}

impl Lost {
    fn of(loss: &Loss, grade: &Grade) -> Self {
        let (expected, actual) = parts(&loss.expected, &loss.actual);
        Lost {
            points: points(loss.lenient),
            strict: points(loss.strict),
            rule: rule_line(loss.rule),
            check: visible_line(&loss.check),
            what: visible_line(&loss.what),
            run: visible_line(&loss.run),
            screens: grade.shown.iter().position(|shown| shown.run == loss.run).map(|at| at + 1),
            expected: unmarked_if_whole(expected),
            actual: unmarked_if_whole(actual),
            again: visible(&loss.again),
        }
    }
}

/// A part of a line for the template.
#[derive(Serialize)]
struct Segment {
    text: String,
    differs: bool,
}

fn segments(parts: Vec<Part>) -> Vec<Segment> {
    parts.into_iter().map(|part| Segment { text: part.text, differs: part.differs }).collect()
}

/// Two values that have nothing in common need no marks to tell them apart.
fn unmarked_if_whole(parts: Vec<Part>) -> Vec<Segment> {
    let whole = parts.iter().all(|part| part.differs);
    let mut out = segments(parts);
    out.iter_mut().for_each(|segment| segment.differs &= !whole);
    out
}

#[derive(Serialize)]
struct Run {
    run: String,
    wrong: usize,
    other: usize,
    terminals: Vec<Terminal>,
}

#[derive(Serialize)]
struct Terminal {
    name: &'static str,
    wrong: usize,
    rows: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    /// The row's class in the style sheet.
    looks: &'static str,
    sign: &'static str,
    why: String,
    expected: Option<Vec<Segment>>,
    actual: Option<Vec<Segment>>,
}

impl Run {
    fn of(shown: &Shown) -> Self {
        let mut run = Run { run: visible_line(&shown.run), wrong: 0, other: 0, terminals: Vec::new() };
        for process in Process::ALL {
            if !shown.expected.contains_key(&process) && !shown.actual.contains_key(&process) {
                continue;
            }
            let rows = rows(shown, process);
            let bad = |row: &&Row| matches!(row.mark, Mark::Wrong | Mark::Missing | Mark::Extra);
            let wrong = rows.iter().filter(bad).count();
            run.wrong += wrong;
            run.other += rows.iter().filter(|row| row.mark != Mark::Same).count() - wrong;
            let rows = rows.into_iter().map(Line::of).collect();
            run.terminals.push(Terminal { name: process.name(), wrong, rows });
        }
        run
    }
}

impl Line {
    fn of(row: Row) -> Self {
        let (looks, sign) = match row.mark {
            Mark::Same => ("same", ""),
            Mark::Accepted => ("accepted", "="),
            Mark::Forgiven => ("forgiven", "~"),
            Mark::Wrong => ("wrong", "✗"),
            Mark::Missing => ("wrong", "−"),
            Mark::Extra => ("wrong", "+"),
        };
        let why = why(&row);
        let whole = |line: Option<String>| {
            line.map(|line| vec![Segment { text: visible_line(&line), differs: false }])
        };
        let (expected, actual) = match (row.expected, row.actual) {
            (Some(expected), Some(actual)) => {
                let (e, a) = parts(&expected, &actual);
                (Some(segments(e)), Some(segments(a)))
            }
            (expected, actual) => (whole(expected), whole(actual)),
        };
        Line { looks, sign, why, expected, actual }
    }
}

#[derive(Serialize)]
struct Case {
    case: String,
    class: &'static str,
    beyond: bool,
    /// One a function, in the order of [`Function::ALL`].
    cells: Vec<Option<Cell>>,
}

#[derive(Serialize)]
struct Cell {
    looks: &'static str,
    sign: &'static str,
    text: String,
}

/// The grid of inputs by functions, inputs in the order in which they came.
fn fared(fared: &[Fared]) -> Vec<Case> {
    let mut cases: Vec<(&str, Class)> = Vec::new();
    for one in fared {
        if !cases.iter().any(|(case, _)| *case == one.case) {
            cases.push((&one.case, one.class));
        }
    }
    let cell = |one: &Fared| {
        let (looks, sign) = match one.right {
            right if right == one.runs => ("good", "✓"),
            0 if one.class == Class::Beyond => ("none", "–"),
            0 => ("bad", "✗"),
            _ => ("mild", "~"),
        };
        Cell { looks, sign, text: format!("{}/{}", one.right, one.runs) }
    };
    let of = |case: &str, function| fared.iter().find(|f| f.case == case && f.function == function);
    cases
        .into_iter()
        .map(|(case, class)| Case {
            case: visible_line(case),
            class: class_words(class),
            beyond: class == Class::Beyond,
            cells: Function::ALL.iter().map(|function| of(case, *function).map(cell)).collect(),
        })
        .collect()
}

fn class_words(class: Class) -> &'static str {
    match class {
        Class::Ordinary => "small, positive",
        Class::Negative => "negative numbers",
        Class::Wide => "beyond 32 bits",
        Class::Large => "thousands of numbers",
        Class::Beyond => "beyond the assignment, not charged",
    }
}

#[derive(Serialize)]
struct Tried {
    what: String,
    outcome: String,
    good: bool,
}

fn probes(grade: &Grade) -> Vec<Tried> {
    let tried = |what: &str, outcome: &str, good| Tried {
        what: visible_line(what),
        outcome: visible_line(outcome),
        good,
    };
    grade.probes.iter().map(|probe| tried(&probe.what, &probe.outcome, probe.good)).collect()
}

#[derive(Serialize)]
struct HandedIn {
    checks: Vec<Checked>,
    points: Vec<Point>,
    fork: Option<String>,
    files: Vec<String>,
    more_files: usize,
}

#[derive(Serialize)]
struct Checked {
    good: bool,
    what: &'static str,
    found: String,
}

#[derive(Serialize)]
struct Point {
    letter: char,
    what: &'static str,
    good: bool,
}

impl HandedIn {
    fn of(hand_in: &HandIn) -> Self {
        let checks = checklist(hand_in).into_iter();
        let points = ('a'..='h').zip(README_POINTS).zip(hand_in.points);
        HandedIn {
            checks: checks
                .map(|check| Checked {
                    good: check.good,
                    what: check.what,
                    found: visible_line(&check.found),
                })
                .collect(),
            points: points.map(|((letter, what), good)| Point { letter, what, good }).collect(),
            fork: hand_in.fork.as_ref().map(|at| visible_line(at)),
            files: hand_in.files.iter().take(REPORT_FILES).map(|file| visible_line(file)).collect(),
            more_files: hand_in.files.len().saturating_sub(REPORT_FILES),
        }
    }
}

#[derive(Serialize)]
struct Built {
    command: String,
    good: bool,
    exit: String,
    programs: String,
    stand_ins: String,
    output: String,
}

impl Built {
    fn of(grade: &Grade) -> Option<Self> {
        let build = grade.build.as_ref()?;
        let programs: Vec<&str> = build.programs.iter().map(|program| program.name()).collect();
        Some(Built {
            command: visible_line(&build.command),
            good: build.exit == Exit::Status(0),
            exit: exit_words(build.exit),
            programs: if programs.is_empty() { "none".to_owned() } else { programs.join(", ") },
            stand_ins: visible_line(&build.stand_ins.join(", ")),
            output: visible_block(&build.output, REPORT_BUILD_LINES),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use regex::Regex;
    use std::collections::BTreeSet;

    /// The text as a reader sees it, tags removed.
    fn seen(html: &str) -> String {
        let body = html.split("<body>").nth(1).unwrap();
        let text = Regex::new("<[^>]*>").unwrap().replace_all(body, "").into_owned();
        let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#x2f;", "/")];
        named.iter().fold(text, |text, (name, c)| text.replace(name, c)).replace("&amp;", "&")
    }

    fn tags(html: &str) -> BTreeSet<String> {
        let tag = Regex::new("<[a-zA-Z!/][a-z0-9]*").unwrap();
        tag.find_iter(html).map(|tag| tag.as_str().to_owned()).collect()
    }

    #[test]
    fn every_loss_is_shown_with_its_evidence() {
        let grade = sample::careless();
        let html = page(&grade);
        let text = seen(&html);
        for loss in &grade.losses {
            for part in [&loss.check, &loss.what, &loss.run, &loss.expected, &loss.actual, &loss.again] {
                assert!(text.contains(part.as_str()), "{part} is not in\n{text}");
            }
        }
        assert_eq!(html.matches("<li class=\"card loss\">").count(), grade.losses.len());
        for line in [
            "68 / 100",
            "as handed in · strict 60.5",
            "83 / 100",
            "as repaired · strict 75.5",
            "3 / 3",
            "5 %",
            "100 − 32 lost = 68",
            "−15",
            "−2strict −2.5",
            "Makefile.txt was renamed to Makefile.",
            "~ 3/5",
            "✗ 0/5",
            "README f: format of the messages",
            "missing; make does not read Makefile.txt",
            "✗ 5 lines differ",
            "✓ as in the tables",
            "Empty stand-ins for libsocket, libnsl",
            "warning: comparison of integer",
            "debug: got 30 numbers, first = -12",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(html.contains("<title>ee450_tommy_session2.tar.gz: 68 of 100</title>"));
        assert!(html.contains("Backend-<mark>\\u{ad}</mark>Server B"));
        // A loss leads to the screens of its run.
        assert!(
            html.contains("<a href=\"#screens-3\">") && html.contains("<details id=\"screens-3\" open>")
        );
    }

    /// Whatever a submission printed, the page has the elements that it has without it.
    #[test]
    fn hostile_text_is_text() {
        let html = page(&sample::hostile());
        let own: BTreeSet<String> =
            sample::all().iter().skip(1).take(1).flat_map(|g| tags(&page(g))).collect();
        assert_eq!(&tags(&html) - &own, BTreeSet::new());
        assert!(!html.contains("<script") && !html.contains("<img"));
        assert!(html.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;"));
        let acts = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert_eq!(html.chars().find(|c| acts(*c)), None);
        let text = seen(&html);
        assert!(text.contains(r"\x1b[2J\x1b]0;100 points\x07\u{202e}001"), "{text}");
        assert!(text.contains("{{ 7*7 }}"), "templates in text are not run");
        assert!(html.len() < 2_000_000, "{} bytes", html.len());
    }

    #[test]
    fn the_page_asks_for_nothing() {
        let loads = Regex::new(r#"<[^>]*\s(src|href|srcset|action|data)\s*=\s*"[^#]"#).unwrap();
        for grade in sample::all() {
            let html = page(&grade);
            assert!(!html.contains("fault in the grader"), "{html}");
            assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline'"));
            assert!(
                html.contains(
                    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                )
            );
            assert!(loads.find(&html).is_none(), "{:?}", loads.find(&html));
            assert!(!html.contains("url(") && !html.contains("@import"));
        }
    }

    #[test]
    fn a_refusal_says_why_and_no_more() {
        let text = seen(&page(&sample::refused()));
        assert!(
            text.contains("✗ refused") && text.contains("unpacks to more than 100 times its size"),
            "{text}"
        );
        assert!(!text.contains("What was lost") && !text.contains("Hand-in"), "{text}");
    }

    #[test]
    fn the_flawless_page_has_nothing_to_complain_of() {
        let html = page(&sample::flawless());
        let text = seen(&html);
        assert!(text.contains("100 / 100") && text.contains("Nothing."), "{text}");
        assert!(!text.contains('✗') || text.matches('✗').count() == 1, "only in the legend: {text}");
        assert!(!html.contains(" open>"));
    }

    #[test]
    fn a_mistake_in_a_template_is_told() {
        let html = render("page.html", context! { name => "<b>" });
        assert!(html.contains("fault in the grader: page.html: "), "{html}");
    }
}
