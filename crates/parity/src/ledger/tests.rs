use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const P1: Worker = Worker(0);
const P2: Worker = Worker(1);

fn layout(mode: Mode) -> Layout {
    Layout { mode, workers: 2, log_bytes: 1000, receipts: 8 }
}

fn zeros(layout: Layout) -> Vec<u8> {
    vec![0; layout.bytes()]
}

/// The rows of a table as the paper prints them: status, message, the other process.
fn sent_table(ledger: &Ledger<'_>) -> Vec<(u8, String, To)> {
    let text = |row: Sent| (row.status, String::from_utf8(row.message).unwrap(), row.to);
    ledger.sent().into_iter().map(text).collect()
}

fn receipt_table(ledger: &Ledger<'_>) -> Vec<(u8, u64, Worker)> {
    ledger.receipts().into_iter().map(|row| (row.status, row.sequence, row.from)).collect()
}

/// Figure 3: P2 has sent m0; then m1 and m3 go from P1 to P2, m2 and m4 from P2 to P1.
#[test]
fn the_papers_tables_3_to_9() {
    let layout = layout(Mode::Enhanced);
    let (mut one, mut two) = (zeros(layout), zeros(layout));
    let mut p1 = Ledger::new(layout, &mut one);
    let mut p2 = Ledger::new(layout, &mut two);
    let pass = |from: &mut Ledger<'_>, to: &mut Ledger<'_>, name: Worker, other: Worker, text: &str| {
        let (sequence, line) = from.send(To::Worker(other), text.as_bytes()).unwrap();
        assert_eq!(to.judge(name, sequence, line, 0), Verdict::Take);
        to.take(name, sequence).unwrap();
        assert_eq!(to.judge(name, sequence, line, 0), Verdict::Duplicate);
        from.acknowledged(other, sequence);
    };
    pass(&mut p2, &mut p1, P2, P1, "m0");
    p1.checkpoint();
    p2.checkpoint();
    assert_eq!(sent_table(&p2), [(2, "m0".into(), To::Worker(P1))], "table 3");
    pass(&mut p1, &mut p2, P1, P2, "m1");
    pass(&mut p2, &mut p1, P2, P1, "m2");
    p1.checkpoint();
    assert_eq!(sent_table(&p1), [(2, "m1".into(), To::Worker(P2))], "table 4");
    assert_eq!(receipt_table(&p1), [(2, 2, P2)], "table 5: m2 is the second from P2");
    pass(&mut p1, &mut p2, P1, P2, "m3");
    pass(&mut p2, &mut p1, P2, P1, "m4");
    p2.checkpoint();
    let both = [(2, "m2".into(), To::Worker(P1)), (2, "m4".into(), To::Worker(P1))];
    assert_eq!(sent_table(&p2), both, "table 6");
    assert_eq!(receipt_table(&p2), [(2, 1, P1), (2, 2, P1)], "table 7: m1 and m3");
    let both = [(2, "m1".into(), To::Worker(P2)), (1, "m3".into(), To::Worker(P2))];
    assert_eq!(sent_table(&p1), both, "table 8");
    assert_eq!(receipt_table(&p1), [(2, 2, P2), (1, 3, P2)], "table 9: m2 and m4");
    // What the paper would resend.
    assert_eq!(p2.resend(To::Worker(P1), 0).len(), 2);
}

#[test]
fn the_paper_does_not_resend_what_is_not_acknowledged() {
    let layout = layout(Mode::Enhanced);
    let mut bytes = zeros(layout);
    let mut ledger = Ledger::new(layout, &mut bytes);
    ledger.send(To::Worker(P2), b"in transit").unwrap();
    ledger.checkpoint();
    assert_eq!(sent_table(&ledger), [(0, "in transit".into(), To::Worker(P2))]);
    assert_eq!(ledger.resend(To::Worker(P2), 0), []);
}

#[test]
fn ours_takes_each_message_once_and_in_order() {
    let layout = layout(Mode::Offload);
    let mut bytes = zeros(layout);
    let mut ledger = Ledger::new(layout, &mut bytes);
    assert_eq!(ledger.judge(P2, 1, Line(0), 0), Verdict::Take);
    assert_eq!(ledger.judge(P2, 2, Line(0), 0), Verdict::Gap);
    assert_eq!(ledger.judge(P2, 2, Line(0), 1), Verdict::Take, "once the first is taken");
    ledger.take(P2, 1).unwrap();
    assert_eq!(ledger.judge(P2, 1, Line(0), 0), Verdict::Duplicate);
    assert_eq!(ledger.judge(P2, 2, Line(1), 0), Verdict::Early);
    ledger.checkpoint();
    assert_eq!(ledger.judge(P2, 2, Line(1), 0), Verdict::Take);
    assert_eq!((ledger.taken(P2), ledger.all_taken()), (1, vec![0, 1]));
}

#[test]
fn ours_forgets_what_the_receiver_has_for_good_and_resends_the_rest() {
    let layout = layout(Mode::Offload);
    let mut bytes = zeros(layout);
    let mut ledger = Ledger::new(layout, &mut bytes);
    for text in ["a", "b", "c"] {
        ledger.send(To::Worker(P2), text.as_bytes()).unwrap();
        ledger.send(To::Outside, text.as_bytes()).unwrap();
        ledger.checkpoint();
    }
    let lines: Vec<u64> = ledger.resend(To::Worker(P2), 1).iter().map(|row| row.line.0).collect();
    assert_eq!(lines, [1, 2]);
    ledger.forget(To::Worker(P2), 2);
    let left: Vec<u64> = ledger.resend(To::Worker(P2), 0).iter().map(|row| row.sequence).collect();
    assert_eq!(left, [3]);
    assert_eq!(ledger.resend(To::Outside, 0).len(), 3);
    assert_eq!(ledger.send(To::Worker(P2), b"d").unwrap(), (4, Line(3)));
}

#[test]
fn planks_scheme_counts_and_logs_nothing_but_output() {
    let layout = layout(Mode::Plank);
    let mut bytes = zeros(layout);
    let mut ledger = Ledger::new(layout, &mut bytes);
    assert_eq!(ledger.send(To::Worker(P2), b"x").unwrap(), (1, Line(0)));
    assert_eq!(ledger.send(To::Outside, b"out").unwrap(), (1, Line(0)));
    assert_eq!(ledger.resend(To::Worker(P2), 0), []);
    assert_eq!(ledger.resend(To::Outside, 0).len(), 1);
    ledger.stash(P2, 4, Line(0), b"arrived").unwrap();
    ledger.stash(P2, 5, Line(0), b"too").unwrap();
    ledger.forget(To::Worker(P2), 9);
    assert_eq!(ledger.sent().len(), 1, "what has arrived was not sent");
    let back = ledger.unstash();
    assert_eq!(
        back.iter().map(|(from, row)| (*from, row.sequence)).collect::<Vec<_>>(),
        [(P2, 4), (P2, 5)]
    );
    assert_eq!((&back[0].1.message[..], ledger.unstash().len()), (&b"arrived"[..], 0));
}

#[test]
fn a_full_log_says_so_and_changes_nothing() {
    let layout = layout(Mode::Offload);
    let mut bytes = zeros(layout);
    let mut ledger = Ledger::new(layout, &mut bytes);
    let longest = 1000 - ENTRY_BYTES;
    let too_long = vec![0; longest + 1];
    assert_eq!(ledger.send(To::Worker(P2), &too_long), Err(Error::TooLong(longest + 1, 1000)));
    ledger.send(To::Worker(P2), &[1; 600]).unwrap();
    assert_eq!(ledger.send(To::Worker(P2), &[2; 600]), Err(Error::Full));
    assert_eq!((ledger.sent().len(), ledger.free_bytes()), (1, 1000 - 624));
    ledger.forget(To::Worker(P2), 1);
    assert_eq!(ledger.send(To::Worker(P2), &too_long[1..]).unwrap(), (2, Line(0)));
    let mut bytes = zeros(self::layout(Mode::Enhanced));
    let mut ledger = Ledger::new(self::layout(Mode::Enhanced), &mut bytes);
    (1..=8).for_each(|sequence| ledger.take(P2, sequence).unwrap());
    assert_eq!(ledger.take(P2, 9), Err(Error::NoReceipt));
}

proptest! {
    /// The log against a queue, with messages that wrap and leave in any order of destinations.
    #[test]
    fn the_log_is_a_queue(steps in prop::collection::vec((0u8..4, 0usize..300), 1..200)) {
        let layout = layout(Mode::Offload);
        let mut bytes = zeros(layout);
        let mut model: VecDeque<(To, u64, Vec<u8>)> = VecDeque::new();
        let mut sent = [0; 2];
        for (what, length) in steps {
            let mut ledger = Ledger::new(layout, &mut bytes);
            let (index, to) = [(0, To::Worker(P2)), (1, To::Outside)][usize::from(what % 2)];
            if what < 2 {
                let message = vec![length as u8; length];
                match ledger.send(to, &message) {
                    Ok((sequence, _)) => {
                        sent[index] += 1;
                        prop_assert_eq!(sequence, sent[index]);
                        model.push_back((to, sequence, message));
                    }
                    Err(Error::Full) => prop_assert!(ledger.free_bytes() < 2 * (length + ENTRY_BYTES + 8)),
                    Err(other) => prop_assert!(false, "{other}"),
                }
            } else {
                let taken = sent[index].saturating_sub(length as u64 % 4);
                ledger.forget(to, taken);
                model.retain(|(other, sequence, _)| *other != to || *sequence > taken);
            }
            let rows: Vec<_> = ledger.sent().into_iter().map(|row| (row.to, row.sequence, row.message)).collect();
            prop_assert_eq!(rows, model.iter().cloned().collect::<Vec<_>>());
        }
    }
}
