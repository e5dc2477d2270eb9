//! Gradescope's `results.json`.
//!
//! The lesson: a student there sees a list of tests, green or red, each with points. So each loss is one
//! red test of 0 of its points, and one green test holds what was earned: the list reads like a bill,
//! and its sums are the score and, without a bonus, 100. One test a phase would look tidier and hide what
//! costs: which of the phases a wrong port belongs to is nobody's question.
//!
//! - The top-level `score` rules; the tests explain it and sum up to it.
//! - A loss that the floor of rule 13 swallows keeps its test, with the points that it really took.
//! - What only the strict reading charges is a test of 0 of 0 points that has passed, and says so.
//! - A bonus is a test of its points of 0, which is how extra credit is written there.
//! - Points that no loss names (a submission that was refused) are one red test more.
//!
//! Left out: HTML and ANSI output. Text needs no escaping by the reader.

use super::visible::{visible, visible_line};
use super::{Cents, Sum, cents, dearest_first, phase_words, points, rule_line, written};
use crate::limits::GRADESCOPE_OUTPUT_CHARS;
use crate::model::{Grade, Loss};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Serialize)]
struct Results {
    score: f64,
    execution_time: f64,
    output: String,
    output_format: &'static str,
    stdout_visibility: &'static str,
    tests: Vec<Test>,
    extra_data: Value,
}

#[derive(Serialize)]
struct Test {
    score: f64,
    max_score: f64,
    status: &'static str,
    name: String,
    number: String,
    output: String,
    output_format: &'static str,
    visibility: &'static str,
}

/// One submission's `results.json`.
pub fn gradescope(grade: &Grade) -> String {
    let finite = |x: f64| if x.is_finite() { x } else { 0.0 };
    written(&Results {
        score: in_units(cents(grade.score.lenient)),
        execution_time: finite(grade.seconds),
        output: bounded(summary(grade)),
        output_format: "text",
        stdout_visibility: "hidden",
        tests: tests(grade),
        extra_data: json!({
            "strict_score": in_units(cents(grade.score.strict)),
            "repaired_score": grade.repaired.map(|score| in_units(cents(score.lenient))),
            "flake_rate": finite(grade.flake_rate),
            "phase": grade.phase,
            "id": grade.id,
            "seed": grade.seed.to_string(),
            "losses": grade.losses.iter().map(|loss| &loss.check).collect::<Vec<_>>(),
        }),
    })
}

fn in_units(cents: Cents) -> f64 {
    cents as f64 / 100.0
}

fn bounded(text: String) -> String {
    match text.char_indices().nth(GRADESCOPE_OUTPUT_CHARS) {
        None => text,
        Some((at, _)) => format!("{}\n... cut here", &text[..at]),
    }
}

fn summary(grade: &Grade) -> String {
    let mut lines = Vec::new();
    if let Some(reason) = &grade.refused {
        return format!("The submission could not be taken in: {}", visible(reason));
    }
    let score = &grade.score;
    lines.push(format!("{} of 100, {}.", points(score.lenient), phase_words(grade.phase)));
    lines.push(format!("To the letter of the document (strict): {}.", points(score.strict)));
    let sum = Sum::of(grade).words();
    if !sum.is_empty() {
        lines.push(sum);
    }
    if let Some(repaired) = grade.repaired {
        lines.push(format!("With these repairs it would have {} points:", points(repaired.lenient)));
        lines.extend(grade.repairs.iter().map(|repair| format!("- {}", visible_line(repair))));
    }
    if !grade.remarks.is_empty() {
        lines.push("Noticed, not charged:".to_owned());
        lines.extend(grade.remarks.iter().map(|remark| format!("- {}", visible_line(remark))));
    }
    lines.join("\n")
}

fn tests(grade: &Grade) -> Vec<Test> {
    let sum = Sum::of(grade);
    // What was earned before the bonus, and what losses may take: both within the scale.
    let bonus = sum.bonus.min(sum.score).max(0);
    let bonus = bonus.min((sum.score - (sum.full - sum.lost)).max(0));
    let earned = sum.score - bonus;
    let mut room = (sum.full - earned).max(0);
    let mut out = Vec::new();
    let works = if grade.refused.is_some() { "Taken in" } else { "What works" };
    let green = earned > 0;
    let phases = phase_words(grade.phase).to_owned();
    let output = if grade.refused.is_some() { summary(grade) } else { phases };
    out.push(test(works.to_owned(), (earned, earned), green, output));
    let (charged, strict) = dearest_first(&grade.losses);
    for loss in charged.into_iter().chain(strict) {
        let taken = cents(loss.lenient).clamp(0, room);
        room -= taken;
        out.push(lost(loss, taken));
    }
    if room > 0 {
        let output = "Points that were not reached, beyond the losses above.".to_owned();
        out.push(test("Not reached".to_owned(), (0, room), false, output));
    }
    if let Some((_, why)) = &grade.bonus {
        let name = "Bonus: rule 15".to_owned();
        out.push(test(name, (bonus, 0), true, visible_line(why)));
    }
    for (i, test) in out.iter_mut().enumerate() {
        test.number = (i + 1).to_string();
    }
    out
}

fn test(name: String, (score, most): (Cents, Cents), passed: bool, output: String) -> Test {
    Test {
        score: in_units(score),
        max_score: in_units(most),
        status: if passed { "passed" } else { "failed" },
        name,
        number: String::new(),
        output: bounded(output),
        output_format: "text",
        visibility: "visible",
    }
}

fn lost(loss: &Loss, taken: Cents) -> Test {
    let what = visible_line(&loss.what);
    let rule = rule_line(loss.rule);
    let charged = cents(loss.lenient);
    let name = if charged > 0 { what } else { format!("No points lost: {what}") };
    let mut lines = vec![format!("By {rule}; check {}.", visible_line(&loss.check))];
    if charged == 0 {
        lines.push(format!("Only the strict reading takes points for it: {}.", points(loss.strict)));
    } else if taken < charged {
        lines.push(format!("It costs {} points; the floor left fewer to take.", points(loss.lenient)));
    }
    for (label, text) in
        [("Run:      ", &loss.run), ("Expected: ", &loss.expected), ("Actual:   ", &loss.actual)]
    {
        if !text.is_empty() {
            lines.push(format!("{label}{}", visible_line(text)));
        }
    }
    if !loss.again.is_empty() {
        lines.push(format!("See it again: {}", visible(&loss.again)));
    }
    test(name, (0, taken), charged == 0, lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Score;
    use crate::report::sample;

    fn results(grade: &Grade) -> Value {
        serde_json::from_str(&gradescope(grade)).unwrap()
    }

    fn summed(results: &Value, field: &str) -> f64 {
        results["tests"].as_array().unwrap().iter().map(|test| test[field].as_f64().unwrap()).sum()
    }

    #[test]
    fn fields_and_types_are_those_that_gradescope_documents() {
        for grade in sample::all() {
            let results = results(&grade);
            assert!(results["score"].is_f64() && results["execution_time"].is_f64());
            assert!(results["output"].is_string());
            assert_eq!(results["output_format"], "text");
            assert_eq!(results["stdout_visibility"], "hidden");
            assert!(results["extra_data"]["strict_score"].is_f64());
            assert!(results["extra_data"]["flake_rate"].is_f64());
            for (test, i) in results["tests"].as_array().unwrap().iter().zip(1..) {
                assert!(
                    test["score"].as_f64().unwrap() >= 0.0 && test["max_score"].as_f64().unwrap() >= 0.0
                );
                assert!(["passed", "failed"].contains(&test["status"].as_str().unwrap()));
                assert_eq!(test["number"], i.to_string());
                assert_eq!(
                    (&test["output_format"], &test["visibility"]),
                    (&json!("text"), &json!("visible"))
                );
                assert!(test["output"].as_str().unwrap().chars().count() < GRADESCOPE_OUTPUT_CHARS + 20);
                assert!(!test["name"].as_str().unwrap().chars().any(char::is_control), "{test}");
            }
        }
    }

    #[test]
    fn tests_sum_up_to_the_score_and_to_100() {
        for grade in sample::all() {
            let results = results(&grade);
            assert_eq!(summed(&results, "score"), grade.score.lenient, "{}", grade.name);
            assert_eq!(results["score"], grade.score.lenient);
            assert_eq!(summed(&results, "max_score"), 100.0, "{}", grade.name);
        }
    }

    #[test]
    fn each_loss_is_a_red_test_and_what_costs_nothing_is_not() {
        let results = results(&sample::careless());
        let tests: Vec<(&str, f64, f64, &str)> = results["tests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|test| {
                let points = |field: &str| test[field].as_f64().unwrap();
                (
                    test["status"].as_str().unwrap(),
                    points("score"),
                    points("max_score"),
                    test["name"].as_str().unwrap(),
                )
            })
            .collect();
        let want = [
            ("passed", 68.0, 68.0, "What works"),
            ("failed", 0.0, 15.0, "There is no Makefile; make does not read Makefile.txt."),
            ("failed", 0.0, 10.0, "AWS sends its datagrams from a port that the system chose."),
            ("failed", 0.0, 5.0, "The minimum of negative numbers is wrong."),
            ("failed", 0.0, 2.0, "The README does not address the points f and g."),
            ("passed", 0.0, 0.0, "No points lost: The reduction type is printed in lower case."),
            ("passed", 0.0, 0.0, "No points lost: A final period is printed that no table has."),
        ];
        assert_eq!(tests, want);
        let port = results["tests"][2]["output"].as_str().unwrap();
        let want = "By rule 11 (port numbers); check wire.aws-port.\nRun:      n300/sum, run 1 of 5\n\
                    Expected: UDP from 24319 to 21319\nActual:   UDP from 51822 to 21319\nSee it again: offload grade";
        assert!(port.starts_with(want), "{port}");
        assert_eq!(results["extra_data"]["strict_score"], 60.5);
        assert_eq!(results["extra_data"]["flake_rate"], 0.05);
    }

    #[test]
    fn a_bonus_is_what_it_really_gave() {
        let mut grade = sample::careless();
        grade.bonus = Some((10.0, "threads".to_owned()));
        grade.score.lenient = 78.0;
        let shown = results(&grade);
        assert_eq!((summed(&shown, "score"), summed(&shown, "max_score")), (78.0, 100.0));
        let last = shown["tests"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["score"], &last["max_score"]), (&json!(10.0), &json!(0.0)));
        // Of a bonus over the cap nothing is left to give.
        let shown = results(&sample::flawless());
        let last = shown["tests"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["name"], &last["score"]), (&json!("Bonus: rule 15"), &json!(0.0)));
    }

    #[test]
    fn the_floor_takes_from_the_last_losses() {
        let mut grade = sample::careless();
        grade.losses.iter_mut().for_each(|loss| loss.lenient *= 4.0);
        grade.score = Score { lenient: 10.0, strict: 10.0 };
        let results = results(&grade);
        assert_eq!((summed(&results, "score"), summed(&results, "max_score")), (10.0, 100.0));
        let third = &results["tests"][3];
        assert_eq!((&third["max_score"], &third["status"]), (&json!(0.0), &json!("failed")));
        let output = third["output"].as_str().unwrap();
        assert!(output.contains("It costs 20 points; the floor left fewer to take."), "{output}");
    }

    #[test]
    fn a_refusal_is_told_to_the_student() {
        let results = results(&sample::refused());
        assert_eq!(results["score"], 0.0);
        assert_eq!(results["tests"][0]["status"], "failed");
        let output = results["output"].as_str().unwrap();
        assert!(output.contains("unpacks to more than 100 times its size"), "{output}");
    }

    #[test]
    fn no_number_is_written_that_json_has_not() {
        let mut grade = sample::flawless();
        (grade.seconds, grade.flake_rate, grade.score.strict) = (f64::NAN, f64::INFINITY, f64::NAN);
        let results = results(&grade);
        assert_eq!(results["execution_time"], 0.0);
        assert_eq!(results["extra_data"]["flake_rate"], 0.0);
    }
}
