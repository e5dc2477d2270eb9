use super::*;
use crate::id::{Holder, Worker};

const HOLDER: Member = Member::Holder(Holder(0));
const ONE: Member = Member::Worker(Worker(0));
const TWO: Member = Member::Worker(Worker(1));

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn says(ms: u64, member: Member, event: Event) -> (Duration, Happened) {
    (at(ms), Happened::Said(member, Said::Event(event)))
}

/// Checkpoint 1 counts; worker 1 dies at a second; all go back.
fn happened() -> Vec<(Duration, Happened)> {
    let recovered =
        |line, from, rebuilt| Event::Recovered { line: Line(line), from: Line(from), rebuilt };
    vec![
        (at(0), Happened::Started(HOLDER)),
        (at(0), Happened::Started(ONE)),
        (at(0), Happened::Started(TWO)),
        says(10, ONE, recovered(0, 0, false)),
        says(400, ONE, Event::Taken { line: Line(1), pages: 3 }),
        says(500, TWO, Event::Taken { line: Line(1), pages: 3 }),
        says(600, HOLDER, Event::Committed(Line(1))),
        says(601, ONE, Event::Committed(Line(1))),
        says(602, TWO, Event::Committed(Line(1))),
        says(900, ONE, Event::Taken { line: Line(2), pages: 3 }),
        (at(999), Happened::Killed(TWO)),
        (at(1000), Happened::Died(TWO, "signal: 9".into())),
        (at(1001), Happened::Started(TWO)),
        says(1200, ONE, recovered(1, 2, false)),
        says(1300, TWO, recovered(1, 0, true)),
        // The same recovery, begun anew: nothing more is lost.
        says(1310, ONE, recovered(1, 1, false)),
    ]
}

#[test]
fn what_is_done_again_is_from_the_line_gone_back_to_until_the_death() {
    let timeline = Timeline::new(&happened(), at(2000));
    assert_eq!(timeline.lanes[&ONE].rolled_back, [(at(400), at(1000), Line(1))]);
    assert_eq!(timeline.lanes[&TWO].rolled_back, [(at(500), at(1000), Line(1))]);
    assert_eq!(timeline.lanes[&TWO].dead, [(at(1000), at(1300))]);
    assert_eq!(timeline.lanes[&HOLDER].rolled_back, []);
    assert_eq!(timeline.lost(), (at(1100), 1));
    // A second death before another checkpoint: only what was done since is lost.
    let mut again = happened();
    again.push((at(1800), Happened::Died(TWO, "signal: 9".into())));
    again.push(says(1900, ONE, Event::Recovered { line: Line(1), from: Line(1), rebuilt: false }));
    let timeline = Timeline::new(&again, at(2000));
    assert_eq!(timeline.lanes[&ONE].rolled_back[1], (at(1310), at(1800), Line(1)));
    assert_eq!(timeline.lanes[&TWO].dead[1], (at(1800), at(2000)), "it never came back");
}

#[test]
fn as_text_each_member_has_a_line() {
    let text = Timeline::new(&happened(), at(2000)).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("2.000 s"), "{text}");
    assert_eq!(lines[1], format!("holder 0    {}c{}", "-".repeat(19), "-".repeat(44)));
    assert_eq!(
        lines[2],
        "worker 0    ------------~~~~~~~c~~~~~~~~~~~~~-----RR--R---------------------"
            .replace("-----RR--R---------------------", "-----R--R----------------------")
    );
    assert_eq!(lines[3], "worker 1    ----------------~~~c~~~~~~~~~~~~X........R----------------------");
    assert!(lines[4].contains("~ done again: 1.100 s of all workers"), "{text}");
    let calm = Timeline::new(&happened()[..9], at(700)).to_string();
    assert!(!calm.contains('~') && !calm.contains("dies"), "{calm}");
}

#[test]
fn as_a_drawing_each_thing_has_a_mark_and_a_title() {
    let svg = Timeline::new(&happened(), at(2000)).svg("a < b & c");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("a &lt; b &amp; c"));
    for (what, times) in [
        ("<title>0.400 s: takes checkpoint 1</title>", 1),
        ("checkpoint 1 counts</title>", 3),
        ("<title>0.999 s: is killed</title>", 1),
        ("<title>1.000 s: dies</title>", 1),
        ("<title>1.300 s: is rebuilt, at checkpoint 1</title>", 1),
        ("goes back to checkpoint 1</title>", 2),
        ("<title>0.600 s are done again, from checkpoint 1</title>", 1),
        ("class=\"gone\"", 1),
    ] {
        assert_eq!(svg.matches(what).count(), times, "{what}\n{svg}");
    }
    assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
}

#[test]
fn a_long_run_is_no_long_file_and_a_run_without_time_is_drawn() {
    let many: Vec<_> = (0..100_000).map(|n| says(n, HOLDER, Event::Committed(Line(n)))).collect();
    let svg = Timeline::new(&many, at(100_000)).svg("long");
    assert!(svg.len() < 300_000, "{} bytes", svg.len());
    assert!(Timeline::default().svg("").contains("0 s"));
    assert!(Timeline::default().to_string().contains("0.000 s"));
}
