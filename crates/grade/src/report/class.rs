//! The class: one page and one table of all grades.
//!
//! The lesson: what a whole class lost points for is a fact about the assignment or the lecture, so the
//! page sums the losses by check. A table may be opened in a spreadsheet, where a cell that begins with
//! `=` is a formula: a submission's name must not become one.
//!
//! Left out: sorting by a click, which needs a script. The table is by name; the CSV is for the rest.

use super::page::{Scored, render};
use super::visible::visible_line;
use super::{cents, in_points, percent, points, rule_line};
use crate::model::{Grade, Rule};
use minijinja::context;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Bars of the histogram: tens, and 100 for itself.
const BARS: usize = 11;
/// The highest bar's height in em.
const BAR_EM: usize = 9;

/// The page of all submissions, with a link to `NAME/index.html` for each.
pub fn class_page(grades: &[Grade]) -> String {
    let graded: Vec<&Grade> = grades.iter().filter(|grade| grade.refused.is_none()).collect();
    let mut scores: Vec<f64> = graded.iter().map(|grade| grade.score.lenient).collect();
    scores.sort_by(f64::total_cmp);
    let mean = match scores.len() {
        0 => None,
        n => Some(points(scores.iter().sum::<f64>() / n as f64)),
    };
    let flaky = graded.iter().filter(|grade| grade.flake_rate > 0.0).count();
    render(
        "class.html",
        context! {
            graded => graded.len(),
            refused => grades.len() - graded.len(),
            mean,
            median => median(&scores).map(points),
            flaky,
            students => by_name(grades).into_iter().map(Student::of).collect::<Vec<_>>(),
            bars => bars(&scores),
            costs => costs(&graded),
        },
    )
}

fn by_name(grades: &[Grade]) -> Vec<&Grade> {
    let mut out: Vec<&Grade> = grades.iter().collect();
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[derive(Serialize)]
struct Student {
    name: String,
    href: String,
    refused: bool,
    score: Scored,
    repaired: Option<Scored>,
    phase: u8,
    flaky: bool,
    flakes: String,
    /// Checks that cost points.
    lost: usize,
}

impl Student {
    fn of(grade: &Grade) -> Self {
        Student {
            name: visible_line(&grade.name),
            href: format!("{}/index.html", in_url(&grade.name)),
            refused: grade.refused.is_some(),
            score: Scored::of(grade.score),
            repaired: grade.repaired.map(Scored::of),
            phase: grade.phase.min(3),
            flaky: grade.flake_rate > 0.0,
            flakes: percent(grade.flake_rate),
            lost: grade.losses.iter().filter(|loss| loss.lenient > 0.0).count(),
        }
    }
}

/// A folder's name as a part of a link. A colon is escaped too, lest the name read as a scheme.
fn in_url(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[derive(Serialize)]
struct Bar {
    label: usize,
    count: usize,
    em: String,
}

fn bars(scores: &[f64]) -> Vec<Bar> {
    let mut counts = [0usize; BARS];
    for score in scores {
        let bar = (score / 10.0).floor().clamp(0.0, (BARS - 1) as f64) as usize;
        counts.iter_mut().skip(bar).take(1).for_each(|count| *count += 1);
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let em = |count: usize| format!("{:.2}", (count * BAR_EM) as f64 / most as f64);
    counts
        .iter()
        .zip(0..)
        .map(|(count, ten)| Bar { label: ten * 10, count: *count, em: em(*count) })
        .collect()
}

#[derive(Serialize)]
struct Cost {
    rule: String,
    check: String,
    points: String,
    hit: usize,
}

/// What cost the class most, by check, the dearest first.
fn costs(graded: &[&Grade]) -> Vec<Cost> {
    let mut sums: BTreeMap<(Rule, &str), (i64, BTreeSet<usize>)> = BTreeMap::new();
    for (i, grade) in graded.iter().enumerate() {
        for loss in grade.losses.iter().filter(|loss| loss.lenient > 0.0) {
            let (sum, hit) = sums.entry((loss.rule, &loss.check)).or_default();
            *sum += cents(loss.lenient);
            hit.insert(i);
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, (sum, _))| std::cmp::Reverse(*sum));
    sums.into_iter()
        .map(|((rule, check), (sum, hit))| Cost {
            rule: rule_line(rule),
            check: visible_line(check),
            points: in_points(sum),
            hit: hit.len(),
        })
        .collect()
}

/// All grades as a table, by name, for a spreadsheet.
pub fn csv(grades: &[Grade]) -> String {
    let mut rows = vec![
        [
            "name",
            "lenient",
            "strict",
            "repaired lenient",
            "phase",
            "flake rate",
            "id",
            "refused",
            "losses",
        ]
        .map(str::to_owned),
    ];
    for grade in by_name(grades) {
        let losses = grade.losses.iter().filter(|loss| loss.lenient > 0.0);
        let losses = losses.map(|loss| format!("{}:{}", loss.check, points(loss.lenient)));
        rows.push([
            grade.name.clone(),
            points(grade.score.lenient),
            points(grade.score.strict),
            grade.repaired.map(|score| points(score.lenient)).unwrap_or_default(),
            grade.phase.to_string(),
            format!("{:.3}", grade.flake_rate),
            grade.id.map(|id| format!("{id:03}")).unwrap_or_default(),
            grade.refused.clone().unwrap_or_default(),
            losses.collect::<Vec<_>>().join("; "),
        ]);
    }
    let mut out = csv::Writer::from_writer(Vec::new());
    for row in rows {
        // Memory takes all that is written, and all rows are of one length.
        drop(out.write_record(row.iter().map(|text| cell(text))));
    }
    let bytes = out.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Text that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let text = visible_line(text);
    if text.trim_start().starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_class_is_listed_by_name_with_links() {
        let html = class_page(&sample::all());
        assert!(!html.contains("fault in the grader"), "{html}");
        let rows: Vec<&str> = html.lines().filter(|line| line.contains("index.html\"")).collect();
        assert_eq!(rows.len(), 5);
        assert!(
            rows[1].contains("refused") && rows[1].contains("href=\"bomb.tar.gz&#x2f;index.html\""),
            "{rows:?}"
        );
        assert!(
            rows[2].contains(">ee450_ada_session1.tar.gz</a>") && rows[2].contains("<b>100</b>"),
            "{rows:?}"
        );
        assert!(rows[4].contains("<b>68</b>") && rows[4].contains("5 %"), "{rows:?}");
    }

    #[test]
    fn a_name_is_neither_markup_nor_another_place() {
        let html = class_page(&[sample::hostile()]);
        assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        assert_eq!(html.chars().find(|c| c.is_control() && *c != '\n'), None);
        assert_eq!(in_url("a b/../<c>?#:\u{1b}"), "a%20b%2F..%2F%3Cc%3E%3F%23%3A%1B");
    }

    #[test]
    fn what_cost_the_class_most_comes_first() {
        let grades = [sample::careless(), sample::careless(), sample::unbuilt(), sample::flawless()];
        let costs = costs(&grades.iter().collect::<Vec<_>>());
        let seen: Vec<_> = costs.iter().map(|c| (c.check.as_str(), c.points.as_str(), c.hit)).collect();
        let want = [
            ("build.all", "95", 1),
            ("hand-in.makefile", "30", 2),
            ("wire.aws-port", "20", 2),
            ("reduce.min.negative", "10", 2),
            ("hand-in.readme", "4", 2),
        ];
        assert_eq!(seen, want);
    }

    #[test]
    fn bars_count_every_score_once() {
        let counts = |scores: &[f64]| bars(scores).iter().map(|bar| bar.count).collect::<Vec<_>>();
        assert_eq!(counts(&[0.0, 9.99, 10.0, 68.0, 99.5, 100.0]), [2, 1, 0, 0, 0, 0, 1, 0, 0, 1, 1]);
        assert_eq!(counts(&[-5.0, 1000.0, f64::NAN]).iter().sum::<usize>(), 3);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, 3.0]), Some(2.0));
        assert_eq!(median(&[1.0, 3.0, 8.0]), Some(3.0));
    }

    #[test]
    fn an_empty_class_has_a_page() {
        let html = class_page(&[]);
        assert!(html.contains("<b>–</b><span>mean score</span>"), "{html}");
    }

    #[test]
    fn the_table_can_be_read_back() {
        let text = csv(&sample::all());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(header.len(), 9);
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let row =
            |name: &str| rows.iter().find(|row| &row[0] == name).unwrap().iter().collect::<Vec<_>>();
        let losses = "hand-in.readme:2; hand-in.makefile:15; wire.aws-port:10; reduce.min.negative:5";
        let want = ["ee450_tommy_session2.tar.gz", "68", "60.5", "83", "3", "0.050", "319", "", losses];
        assert_eq!(row("ee450_tommy_session2.tar.gz"), want);
        assert_eq!(row("bomb.tar.gz")[1..7], ["0", "0", "", "0", "0.000", ""]);
    }

    #[test]
    fn no_cell_is_a_formula() {
        let text = csv(&sample::all());
        assert_eq!(text.chars().find(|c| c.is_control() && *c != '\n'), None);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        for row in reader.records().map(Result::unwrap) {
            assert!(row.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@'])), "{row:?}");
        }
        for (text, want) in [("=1", "'=1"), ("+1", "'+1"), ("-1", "'-1"), ("@a", "'@a"), (" =1", "' =1")]
        {
            assert_eq!(cell(text), want);
        }
        assert_eq!(cell("a=1"), "a=1");
        assert_eq!(cell("\t=1"), "\\t=1");
    }
}
