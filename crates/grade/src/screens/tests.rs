use super::*;
use crate::cases;
use crate::limits::{SCREEN_BYTES, SCREEN_LINES};
use Kind::*;
use Process::{Aws, Client, ServerA};
use proptest::prelude::*;

const SERVER_A: &str = "\
The Server A is up and running using UDP on port 21319.
The Server A has received 30 numbers
The Server A has successfully finished the reduction SUM: 1000
The Server A has successfully finished sending the reduction value to AWS server.
";
const AWS: &str = "\
The AWS is up and running.
The AWS has received 90 numbers from the client using TCP over port 25319
The AWS has sent 30 numbers to Backend-Server A
The AWS has sent 30 numbers to Backend-Server B
The AWS has sent 30 numbers to Backend-Server C
The AWS received reduction result of SUM from Backend-Server A using UDP over port 24319 and it is 1000
The AWS received reduction result of SUM from Backend-Server B using UDP over port 24319 and it is 1001
The AWS received reduction result of SUM from Backend-Server C using UDP over port 24319 and it is 1002
The AWS has successfully finished the reduction SUM: 3003
The AWS has successfully finished sending the reduction value to client.
";
const CLIENT: &str = "\
The client is up and running.
The client has sent the reduction type SUM to AWS.
The client has sent 90 numbers to AWS
The client has received reduction SUM: 3003
";

/// The answer in the assignment's example output.
fn example() -> Answer {
    Answer {
        count: 90,
        partials: ["1000", "1001", "1002"].map(str::to_owned),
        total: "3003".to_owned(),
        fits_long: true,
    }
}

/// Everything that a process shows from its start to the end of one job.
fn whole(process: Process, function: Function, answer: &Answer, id: Option<u16>) -> Vec<Line> {
    let boot = if process == Process::Client { Vec::new() } else { boot(process, id) };
    boot.into_iter().chain(job(process, function, answer, id)).collect()
}

fn against_example(process: Process, screen: &str) -> Vec<(Sentence, Kind)> {
    let expected = whole(process, Function::Sum, &example(), Some(319));
    let compared = compare(process, &expected, screen);
    compared.differences.iter().map(|difference| (difference.sentence, difference.kind)).collect()
}

/// How the example's screen differs once `from` in it is `to`.
fn changed(process: Process, from: &str, to: &str) -> Vec<Kind> {
    let screen = match process {
        Process::Aws => AWS,
        Process::Client => CLIENT,
        _ => SERVER_A,
    };
    assert!(screen.contains(from), "{from}");
    let differences = against_example(process, &screen.replacen(from, to, 1));
    differences.into_iter().map(|(_, kind)| kind).collect()
}

#[test]
fn the_assignments_example_is_as_it_should_be() {
    for id in [Some(319), None] {
        for (process, screen) in [
            (Process::ServerA, SERVER_A.to_owned()),
            (
                Process::ServerB,
                SERVER_A.replace("r A", "r B").replace("213", "223").replace("1000", "1001"),
            ),
            (
                Process::ServerC,
                SERVER_A.replace("r A", "r C").replace("213", "233").replace("1000", "1002"),
            ),
            (Process::Aws, AWS.to_owned()),
            (Process::Aws, AWS.replace("has sent", "sent")),
            (Process::Client, CLIENT.to_owned()),
        ] {
            let expected = whole(process, Function::Sum, &example(), id);
            let compared = compare(process, &expected, &screen.replace('\n', "\r\n"));
            assert_eq!(compared.differences, [], "{process}");
            assert_eq!(compared.actual, screen.lines().collect::<Vec<_>>());
            let straight: Vec<_> = (0..expected.len()).map(|i| (i, Some(i))).collect();
            assert_eq!(compared.matched, straight, "{process}");
        }
    }
}

#[test]
fn the_tables_form_comes_first() {
    let lines = job(Process::Aws, Function::Sum, &example(), None);
    assert_eq!(lines[1].forms[0], "The AWS sent 30 numbers to Backend-Server A");
    assert_eq!(
        lines[4].forms,
        ["The AWS received reduction result of SUM from Backend-Server A using UDP over port \
          <port number> and it is 1000"]
    );
    assert_eq!(job(Process::Client, Function::Sum, &example(), None)[0].sentence, Sentence::ClientUp);
}

/// Text of the example, what stands there instead, and what that is called.
type Change = (Process, &'static str, &'static str, &'static [Kind]);

fn check(changes: &[Change]) {
    for (process, from, to, kinds) in changes {
        assert_eq!(changed(*process, from, to), *kinds, "{from:?} -> {to:?}");
    }
}

#[test]
fn a_wrong_value_is_one_whatever_is_beside_it() {
    check(&[
        (ServerA, "1000", "1001", &[WrongValue]),
        (ServerA, "1000", "-1000", &[WrongValue]),
        (ServerA, "30 numbers", "29 numbers", &[WrongValue]),
        (ServerA, "21319", "21320", &[WrongValue]),
        (ServerA, "SUM", "MAX", &[WrongValue]),
        (ServerA, ": 1000", ":", &[WrongValue]),
        (ServerA, "1000", "1e+03", &[WrongValue]),
        (ServerA, "1000", "1000.5", &[WrongValue]),
        (ServerA, "SUM: 1000", "MAX: 7", &[WrongValue]),
    ]);
}

#[test]
fn case_is_told_apart_by_where_it_is() {
    check(&[
        (ServerA, "SUM", "sum", &[TypeCase]),
        (Client, "type SUM", "type Sum", &[TypeCase]),
        (Aws, "The AWS is", "The aws is", &[Case]),
        (Aws, "Backend-Server A using", "backend-server a using", &[Case]),
    ]);
}

#[test]
fn white_space_and_the_final_period_are_one_thing() {
    check(&[
        (ServerA, "has received", "has  received", &[WhiteSpace]),
        (ServerA, "has received", "has\treceived", &[WhiteSpace]),
        (ServerA, "numbers", "numbers ", &[WhiteSpace]),
        (ServerA, "numbers", "numbers.", &[WhiteSpace]),
        (ServerA, "server.", "server", &[WhiteSpace]),
        (ServerA, "server.", "server...", &[WhiteSpace]),
        (ServerA, "The Server", "  The Server", &[WhiteSpace]),
        (ServerA, "SUM: 1000", "SUM:1000", &[WhiteSpace]),
        (ServerA, "SUM: 1000", "SUM : 1000.", &[WhiteSpace]),
        (ServerA, "Server A", "ServerA", &[WhiteSpace]),
        (ServerA, "port 21319", "port21319", &[WhiteSpace]),
        (Aws, "Backend-Server A", "Backend - Server A", &[WhiteSpace]),
        (Aws, "running.\n", "running.", &[WhiteSpace]),
        (ServerA, "numbers\n", "numbers\n\n", &[WhiteSpace]),
    ]);
}

#[test]
fn punctuation_is_not_wording() {
    check(&[
        (Aws, "Backend-Server A", "Backend Server A", &[Punctuation]),
        (Aws, "Backend-Server A", "BackendServer A", &[Punctuation]),
        (Aws, "Backend-Server A", "Backend-Server <A>", &[Punctuation]),
        (ServerA, "30", "<30>", &[Punctuation]),
        (ServerA, "30", "<31>", &[WrongValue, Punctuation]),
        (ServerA, "SUM", "[sum]", &[TypeCase, Punctuation]),
        (ServerA, "SUM:", "SUM", &[Punctuation]),
        (ServerA, "SUM: ", "SUM = ", &[Punctuation]),
        (ServerA, "1000", "1000.000000", &[Punctuation]),
        (ServerA, "1000", "1,000", &[Punctuation]),
        (
            ServerA,
            "The Server A has received 30 numbers",
            "\"The Server A has received 30 numbers\"",
            &[Punctuation],
        ),
        (ServerA, "numbers", "numbers\u{fffd}", &[Punctuation]),
    ]);
}

#[test]
fn what_the_pdf_and_editors_bring_looks_alike() {
    check(&[
        (Aws, "Backend-Server A", "Backend\u{ad}Server A", &[LookAlike]),
        (Aws, "Backend-Server A", "Backend-\u{ad}Server A", &[LookAlike]),
        (Aws, "Backend-Server A", "Backend\u{2010}Server A", &[LookAlike]),
        (Aws, "Backend-Server A", "Backend\u{2013}Server A", &[LookAlike]),
        (Aws, "Backend-Server A", "Backend\u{fffd}Server A", &[LookAlike]),
        (Aws, "The AWS is", "The\u{a0}AWS is", &[LookAlike]),
        (Aws, "The AWS is", "\u{feff}The AWS is", &[LookAlike]),
    ]);
}

#[test]
fn other_words_are_wording() {
    check(&[
        (ServerA, "received", "recieved", &[Wording]),
        (ServerA, "received 30", "received all 30", &[Wording]),
        (ServerA, "has successfully finished the", "finished the", &[Wording]),
        (ServerA, " using UDP on port 21319", "", &[Wording]),
        (ServerA, "The Server A has received", "The Server B has received", &[Wording]),
        (
            Aws,
            "The AWS has sent 30 numbers to Backend-Server A",
            "AWS sent 30 numbers to server A",
            &[Wording, Case, Punctuation],
        ),
        (
            ServerA,
            "has received 30 numbers",
            "recieved <30>  Numbers.",
            &[Wording, Case, Punctuation, WhiteSpace],
        ),
    ]);
}

#[test]
fn lines_may_be_missing_or_too_many() {
    check(&[
        (ServerA, "The Server A has received 30 numbers\n", "", &[MissingLine]),
        (ServerA, "The Server A has received", "Debug: 1 2 3\nThe Server A has received", &[ExtraLine]),
        (ServerA, "The Server A has received 30 numbers", "Numbers are here", &[MissingLine, ExtraLine]),
        (
            Client,
            "The client is up and running.\n",
            "The client is up and running.\nThe client is up and running.\n",
            &[ExtraLine],
        ),
    ]);
}

#[test]
fn what_is_makes_or_the_terminals_is_nobodys_fault() {
    check(&[
        (ServerA, "The Server A is", "./serverA\nThe Server A is", &[]),
        (ServerA, "server.\n", "server.\r\nmake: *** [serverA] Error 255\r\n", &[]),
        (Aws, "The AWS is", "\u{1b}[32mThe AWS\u{1b}[0m is", &[]),
        (Client, "The client is", "\r\nThe client is", &[]),
    ]);
}

#[test]
fn a_difference_tells_whose_line_and_both_texts() {
    let expected = job(Process::Aws, Function::Sum, &example(), Some(319));
    let screen = AWS.replace(
        "The AWS has sent 30 numbers to Backend-Server B",
        "The AWS has sent 30 Numbers to Backend-Server B",
    );
    let compared = compare(Process::Aws, &expected, &screen);
    let boot = Difference {
        process: Process::Aws,
        sentence: Sentence::Other,
        kind: Kind::ExtraLine,
        expected: String::new(),
        actual: "The AWS is up and running.".to_owned(),
    };
    let sent = Difference {
        process: Process::Aws,
        sentence: Sentence::AwsSent,
        kind: Kind::Case,
        // The nearest accepted form.
        expected: "The AWS has sent 30 numbers to Backend-Server B".to_owned(),
        actual: "The AWS has sent 30 Numbers to Backend-Server B".to_owned(),
    };
    assert_eq!(compared.differences, [sent, boot]);
}

#[test]
fn lines_may_come_in_any_order() {
    let mut lines: Vec<&str> = AWS.lines().collect();
    for _ in 0..lines.len() {
        lines.rotate_left(3);
        lines.swap(1, 4);
        assert_eq!(against_example(Process::Aws, &lines.join("\n")), []);
    }
}

#[test]
fn results_credited_by_arrival_are_wrong_where_they_are_wrong() {
    let screen = AWS.replace("is 1000", "is x").replace("is 1001", "is 1000").replace("is x", "is 1001");
    let wrong = (Sentence::AwsResult, Kind::WrongValue);
    assert_eq!(against_example(Process::Aws, &screen), [wrong, wrong]);
    let compared =
        compare(Process::Aws, &whole(Process::Aws, Function::Sum, &example(), Some(319)), &screen);
    assert_eq!(compared.matched[5..8], [(5, Some(5)), (6, Some(6)), (7, Some(7))]);
}

#[test]
fn an_exact_line_is_not_taken_by_one_that_is_nearly_so() {
    let twice = SERVER_A.replace(
        "The Server A has received",
        "The Server A has received 31 numbers\nThe Server A has received",
    );
    assert_eq!(against_example(Process::ServerA, &twice), [(Sentence::Other, Kind::ExtraLine)]);
}

#[test]
fn the_tables_own_words_for_a_port_are_no_port() {
    let expected = boot(Process::ServerB, None);
    for (port, kinds) in [
        ("22000", &[][..]),
        ("22999", &[]),
        ("<22319>", &[Kind::Punctuation]),
        ("70000", &[Kind::WrongValue]),
        ("<port number>", &[Kind::Wording, Kind::Punctuation]),
    ] {
        let screen = format!("The Server B is up and running using UDP on port {port}.\n");
        let compared = compare(Process::ServerB, &expected, &screen);
        let found: Vec<Kind> = compared.differences.iter().map(|difference| difference.kind).collect();
        assert_eq!(found, kinds, "{port}");
    }
}

#[test]
fn an_empty_screen_misses_every_line() {
    let differences = against_example(Process::Client, "");
    assert_eq!(differences.len(), 4);
    assert!(differences.iter().all(|(_, kind)| *kind == Kind::MissingLine));
    assert_eq!(compare(Process::Client, &[], "").differences, []);
}

#[test]
fn hostile_screens_are_bounded() {
    let screens = [
        "x".repeat(1 << 20),
        "The AWS ".repeat(1 << 17),
        "\u{1b}[".repeat(1 << 19),
        "\u{1b}]".repeat(1 << 19),
        "\u{fffd}\u{ad}".repeat(1 << 18),
        "1,234".repeat(1 << 18),
        "-".repeat(1 << 20),
        "A ".repeat(1 << 19),
        "The AWS received reduction result of SUM from 1 2 3 4 5 6 7 8 9\n".repeat(100_000),
        "\r\n".repeat(100_000),
        "é\u{301}\u{202e}<script>".repeat(1 << 16),
        (0..100_000).map(|i| format!("The AWS has sent {i} numbers to Backend-Server {i}\n")).collect(),
    ];
    for screen in screens {
        let compared =
            compare(Process::Aws, &whole(Process::Aws, Function::Sum, &example(), None), &screen);
        assert!(compared.actual.len() <= SCREEN_LINES);
        assert!(compared.differences.len() <= SCREEN_LINES + 10 * 6 + 1);
        let bytes: usize = compared.differences.iter().map(|difference| difference.actual.len()).sum();
        assert!(bytes <= 7 * SCREEN_BYTES);
        assert!(compared.actual.iter().all(|line| !line.contains(['\u{1b}', '\r', '\n'])));
    }
}

fn answers() -> impl Strategy<Value = (Function, Answer)> {
    let function = prop::sample::select(Function::ALL.to_vec());
    // Whole numbers of shards, of any size of value.
    let numbers = (1..20usize).prop_flat_map(|n| {
        let value = prop_oneof![any::<i64>(), -1000..1000i64, Just(0)];
        prop::collection::vec(value, 3 * n)
    });
    (function, numbers).prop_map(|(function, numbers)| (function, cases::answer(function, &numbers)))
}

fn shown(lines: &[Line], form: usize) -> Vec<String> {
    lines.iter().map(|line| line.forms[form.min(line.forms.len() - 1)].clone()).collect()
}

proptest! {
    #[test]
    fn what_should_be_there_is_right(
        (function, answer) in answers(), id in 0..1000u16, process in 0..5usize, form in 0..2usize, turn in 0..10usize
    ) {
        let process = Process::ALL[process];
        let lines = whole(process, function, &answer, Some(id));
        let mut screen = shown(&lines, form);
        let turn = turn % screen.len();
        screen.rotate_left(turn);
        for id in [Some(id), None] {
            let expected = whole(process, function, &answer, id);
            prop_assert_eq!(compare(process, &expected, &screen.join("\r\n")).differences, []);
        }
    }

    #[test]
    fn one_wrong_digit_is_one_wrong_value(
        (function, answer) in answers(), process in 0..5usize, at in any::<prop::sample::Index>(), by in 1..10u8
    ) {
        let process = Process::ALL[process];
        let lines = whole(process, function, &answer, Some(319));
        let mut screen = shown(&lines, 0).join("\r\n").into_bytes();
        let digits: Vec<usize> = (0..screen.len()).filter(|i| screen[*i].is_ascii_digit()).collect();
        prop_assume!(!digits.is_empty());
        let digit = &mut screen[digits[at.index(digits.len())]];
        *digit = b'0' + (*digit - b'0' + by) % 10;
        let screen = String::from_utf8(screen).unwrap();
        let kinds: Vec<Kind> =
            compare(process, &lines, &screen).differences.iter().map(|difference| difference.kind).collect();
        prop_assert_eq!(kinds, [Kind::WrongValue]);
    }

    #[test]
    fn any_other_text_is_different(
        process in 0..5usize, at in any::<prop::sample::Index>(), junk in "[^\\p{Cc}]{1,3}", remove in 0..3usize
    ) {
        let process = Process::ALL[process];
        let lines = whole(process, Function::Sum, &example(), Some(319));
        let screen = shown(&lines, 0);
        let i = at.index(screen.len());
        let mut line: Vec<char> = screen[i].chars().collect();
        let from = at.index(line.len());
        line.splice(from..(from + remove).min(line.len()), junk.chars());
        let line: String = line.into_iter().collect();
        prop_assume!(!lines[i].forms.contains(&line) && !line.starts_with("./"));
        let mut other = screen.clone();
        other[i] = line;
        prop_assert!(!compare(process, &lines, &other.join("\n")).differences.is_empty());
    }

    #[test]
    fn no_screen_is_too_strange(screen in any::<String>(), process in 0..5usize) {
        let process = Process::ALL[process];
        compare(process, &whole(process, Function::Sos, &example(), None), &screen);
    }
}
