use super::*;
use proptest::prelude::*;

fn played(text: &str, mode: Mode) -> Vec<Shown> {
    play(&Script::parse("test.script", text).unwrap(), mode).unwrap()
}

fn notes<'a>(shown: &'a [Shown]) -> Vec<&'a str> {
    let note = |shown: &'a Shown| match shown {
        Shown::Note(note) => Some(note.as_str()),
        Shown::Table(..) => None,
    };
    shown.iter().filter_map(note).collect()
}

fn refused(text: &str) -> String {
    let script = Script::parse("test.script", text);
    script.and_then(|script| play(&script, Mode::Enhanced)).unwrap_err().to_string()
}

/// A table's name, columns and rows.
type Printed<'a> = (&'a str, &'a Vec<&'a str>, &'a [&'a [&'a str]]);

/// Tables 3 to 9, row by row as they are printed there.
#[test]
fn the_papers_tables() {
    let sent = vec!["Ack Status", "Seq Number", "Destination", "Message slot"];
    let receipt = vec!["Ack Status", "Seq Number", "Source"];
    let expected: [Printed<'_>; 7] = [
        ("Table 3:", &sent, &[&["2", "m0", "P1", "Mq34#$62^#"]]),
        ("Table 4:", &sent, &[&["2", "m1", "P2", "Mt*hjkvd#$62^#"]]),
        ("Table 5:", &receipt, &[&["2", "m2", "P2"]]),
        (
            "Table 6:",
            &sent,
            &[&["2", "m2", "P1", "Mtlw*(0kvd#$62^#"], &["2", "m4", "P1", "Mtlw(dju)62^#"]],
        ),
        ("Table 7:", &receipt, &[&["2", "m1", "P1"], &["2", "m3", "P1"]]),
        (
            "Table 8:",
            &sent,
            &[&["2", "m1", "P2", "Mt*hjkvd#$62^#"], &["1", "m3", "P2", "Mtl@sv!54ju)62^#"]],
        ),
        ("Table 9:", &receipt, &[&["2", "m2", "P2"], &["1", "m4", "P2"]]),
    ];
    let shown = played(PAPER, Mode::Enhanced);
    let tables: Vec<_> = shown.iter().filter(|shown| matches!(shown, Shown::Table(..))).collect();
    assert_eq!(tables.len(), expected.len());
    for (table, (name, columns, rows)) in tables.into_iter().zip(expected) {
        let Shown::Table(title, found, cells) = table else { unreachable!() };
        assert!(title.starts_with(name), "{title}");
        assert_eq!(
            (found, cells),
            (
                columns,
                &rows
                    .iter()
                    .map(|row| row.iter().map(|s| (*s).to_owned()).collect())
                    .collect::<Vec<Vec<String>>>()
            ),
            "{name}"
        );
    }
    // And what it says of the failure after them.
    assert_eq!(
        notes(&shown),
        [
            "P1 fails; all go back: P1 at checkpoint 2, P2 at checkpoint 2",
            "P1 sends m1 again: P2 discards m1, which it has taken before",
            "P2 sends m2 again: P1 discards m2, which it has taken before",
            "P2 sends m4 again: P1 takes it",
            "P2 discards m3, which it has taken before",
        ]
    );
}

#[test]
fn one_step_later_the_papers_scheme_loses_and_doubles_and_ours_does_not() {
    let hole = include_str!("../../examples/hole.script");
    let papers = played(hole, Mode::Enhanced);
    let wrong: Vec<_> = notes(&papers)
        .into_iter()
        .filter(|note| note.contains(" LOST") || note.contains("SECOND"))
        .collect();
    assert_eq!(
        wrong,
        [
            "P1 sends m1 again: P2 takes m1 A SECOND TIME",
            "m4 is LOST: P2 has sent it, P1 has not taken it, and nobody sends it again",
            "P2 takes m3 A SECOND TIME",
        ]
    );
    let ours = played(hole, Mode::Offload);
    assert_eq!(
        notes(&ours),
        [
            "m3 waits: P1 was a checkpoint ahead of P2 when it was sent",
            "P1 fails; all go back: P1 at checkpoint 2, P2 at checkpoint 2",
            "P2 sends m4 again: P1 takes it",
        ]
    );
}

#[test]
fn ours_keeps_one_number_a_source() {
    let text = "processes A B\nsend A B x 1\nsend A B y 2\ndeliver x\ncheckpoint A\nshow sent A S\nshow receipt B R\ncheckpoint B\nshow sent A T";
    let shown = played(text, Mode::Offload);
    let text: String = shown.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        "\nS\n  Checkpoint  Seq Number  Destination  Message slot\n  0           x           B            1\n  \
         0           y           B            2\n\
         \nR\n  Source  Taken  Last\n  A       1      x\n\
         \nT\n  Checkpoint  Seq Number  Destination  Message slot\n  0           y           B            2\n"
    );
}

proptest! {
    #[test]
    fn no_script_does_harm(at in 0usize..2000, new in "[ -~\n]{0,8}", remove in 0usize..40, ours: bool) {
        let begin = at % PAPER.len();
        let end = (begin + remove).min(PAPER.len());
        let text = format!("{}{new}{}", &PAPER[..begin], &PAPER[end..]);
        let mode = if ours { Mode::Offload } else { Mode::Enhanced };
        if let Err(error) = Script::parse("x", &text).and_then(|script| play(&script, mode)) {
            prop_assert!(error.to_string().starts_with("x:"), "{error}");
        }
    }
}

#[test]
fn what_cannot_be_played_is_refused_with_its_place() {
    let begin = "processes A B\n";
    for (text, line, word) in [
        ("", 1, "processes NAME"),
        ("# nothing\n\nsend A B m x", 3, "who takes part"),
        ("processes A A", 1, "twice"),
        ("processes A", 1, "2 to 64"),
        (&format!("{begin}sends A B m"), 2, "no step"),
        (&format!("{begin}send A"), 2, "lacks a receiver"),
        (&format!("{begin}send A A m x"), 2, "itself"),
        (&format!("{begin}send A C m x"), 2, "there are A, B"),
        (&format!("{begin}send A B m {}", "x".repeat(70_000)), 2, "too many"),
        (&format!("{begin}deliver m"), 2, "never sent"),
        (&format!("{begin}send A B m x\ndeliver m\ndeliver m"), 4, "not on its way"),
        (&format!("{begin}send A B m x\nsend A B n x\ndeliver n"), 4, "m is on its way before n"),
        (&format!("{begin}send A B m x\nsend A B m x"), 3, "another message"),
        (&format!("{begin}send A B m x\nfail A\nsend A B n x"), 4, "was m"),
        (&format!("{begin}checkpoint A\ncheckpoint A"), 3, "ahead of B"),
        (&format!("{begin}checkpoint A B"), 2, "too much"),
        (&format!("{begin}show all A T"), 2, "sent, or receipt"),
        (&format!("{begin}show sent A"), 2, "title"),
        (&format!("{begin}{}", "fail A\n".repeat(10_001)), 10_002, "the most"),
    ] {
        let said = refused(text);
        assert!(said.starts_with(&format!("test.script:{line}: ")) && said.contains(word), "{said}");
    }
    let full = format!(
        "{begin}{}",
        (0..5000).map(|n| format!("send A B m{n} {}\n", "x".repeat(1000))).collect::<String>()
    );
    assert!(refused(&full).contains("full until the next checkpoint"));
}
