//! Grades made by hand, for the tests of this room and for looking at the layout
//! (`cargo run -p offload-grade --example sample_report`).
//!
//! Left out: graded programs. Numbers and sentences are what such programs show.

use crate::model::{
    Build, Class, Difference, Exit, Fared, Function, Grade, HandIn, Kind, Loss, Probe, Process, Score,
    Sentence, Shown,
};
use std::collections::BTreeMap;

/// All samples, the best first.
pub fn all() -> Vec<Grade> {
    vec![flawless(), careless(), unbuilt(), hostile(), refused()]
}

/// Nothing to complain of, and threads.
pub fn flawless() -> Grade {
    Grade {
        name: "ee450_ada_session1.tar.gz".to_owned(),
        path: "submissions/ee450_ada_session1.tar.gz".to_owned(),
        refused: None,
        score: Score { lenient: 100.0, strict: 100.0 },
        repaired: None,
        repairs: Vec::new(),
        phase: 3,
        bonus: Some((10.0, "fork() in aws.c:71; a second client was served meanwhile".to_owned())),
        losses: Vec::new(),
        remarks: Vec::new(),
        probes: probes(true),
        hand_in: hand_in(),
        build: Some(build(Exit::Status(0), "gcc -Wall -o serverA serverA.c\ngcc -Wall -o aws aws.c\n")),
        fared: fared(|_, _, _| 5),
        flake_rate: 0.0,
        id: Some(319),
        shown: vec![screens_of_boot(), good_run()],
        isolation: "bubblewrap: own network, own processes, read-only system".to_owned(),
        seed: 7,
        seconds: 21.43,
    }
}

/// Works, with the usual mistakes, and was repaired.
pub fn careless() -> Grade {
    Grade {
        name: "ee450_tommy_session2.tar.gz".to_owned(),
        path: "submissions/ee450_tommy_session2.tar.gz".to_owned(),
        score: Score { lenient: 68.0, strict: 60.5 },
        repaired: Some(Score { lenient: 83.0, strict: 75.5 }),
        repairs: vec!["Makefile.txt was renamed to Makefile.".to_owned()],
        bonus: None,
        losses: losses(),
        remarks: vec![
            "The client waits for ever when nums.csv has no final line end.".to_owned(),
            "4 of 80 runs went another way than the others of their kind; TCP reads are not repeated until \
             all numbers are in."
                .to_owned(),
        ],
        probes: probes(false),
        hand_in: HandIn {
            points: [true, true, true, true, true, false, false, true],
            makefile: None,
            misnamed_makefile: Some("Makefile.txt".to_owned()),
            bad_archive_name: Some("ee450_tommy_session2.tar.gz".to_owned()),
            ..hand_in()
        },
        build: Some(build(
            Exit::Status(0),
            "g++ -o aws aws.cpp -lsocket -lnsl -lresolv\naws.cpp:88:14: warning: comparison of integer \
             expressions of different signedness: 'int' and 'size_t' [-Wsign-compare]\n   88 |     for \
             (int i = 0; i < numbers.size(); i++)\n      |                     ~~^~~~~~~~~\n",
        )),
        fared: fared(|case, class, function| match (class, function) {
            (Class::Negative, Function::Min) => 0,
            (Class::Wide, Function::Sum | Function::Sos) => 0,
            (Class::Large, _) if case == "n30000" => 0,
            (Class::Large, Function::Sum) => 3,
            (Class::Beyond, _) => 0,
            _ => 5,
        }),
        flake_rate: 0.05,
        shown: vec![screens_of_boot(), good_run(), bad_run()],
        seconds: 48.9,
        ..flawless()
    }
}

/// Does not compile.
pub fn unbuilt() -> Grade {
    let mut loss = loss(5, "build.all", 95.0, "make all ends with an error, so that nothing could run.");
    loss.run = "make all".to_owned();
    loss.expected = "serverA, serverB, serverC, aws and client".to_owned();
    loss.actual = "client.c:12:5: error: unknown type name 'strng'".to_owned();
    Grade {
        name: "ee450_max_session1.tar.gz".to_owned(),
        path: "submissions/ee450_max_session1.tar.gz".to_owned(),
        score: Score { lenient: 5.0, strict: 5.0 },
        phase: 0,
        bonus: None,
        losses: vec![loss],
        probes: Vec::new(),
        build: Some(build(Exit::Status(2), "client.c:12:5: error: unknown type name 'strng'\n")),
        fared: Vec::new(),
        id: None,
        shown: Vec::new(),
        seconds: 1.2,
        ..flawless()
    }
}

/// Not an archive that can be taken in.
pub fn refused() -> Grade {
    Grade {
        name: "bomb.tar.gz".to_owned(),
        path: "submissions/bomb.tar.gz".to_owned(),
        refused: Some(
            "bomb.tar.gz: unpacks to more than 100 times its size; ask for a new one".to_owned(),
        ),
        score: Score { lenient: 0.0, strict: 0.0 },
        losses: Vec::new(),
        hand_in: HandIn::default(),
        build: None,
        isolation: String::new(),
        ..unbuilt()
    }
}

/// What a program may print to fool whoever reads the report.
pub const HOSTILE: &str = "</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J\x1b]0;100 points\x07\u{202e}001 \
     si erocs\u{9b}31m{{ 7*7 }}{% raw %}\r\n=HYPERLINK(\"http://x\")";

/// [`HOSTILE`] wherever text of a submission stands, and lines without end.
pub fn hostile() -> Grade {
    let mut grade = careless();
    let text = HOSTILE.to_owned();
    grade.name = format!("=1+1 {HOSTILE}");
    grade.path.clone_from(&text);
    grade.repairs = vec![text.clone()];
    grade.remarks = vec![text.clone(), "long ".repeat(2000)];
    grade.isolation.clone_from(&text);
    grade.bonus = Some((0.0, text.clone()));
    for loss in &mut grade.losses {
        for field in
            [&mut loss.what, &mut loss.run, &mut loss.expected, &mut loss.actual, &mut loss.again]
        {
            field.push_str(HOSTILE);
        }
        loss.check.push_str("<script>");
    }
    for probe in &mut grade.probes {
        (probe.name, probe.what, probe.outcome) = (text.clone(), text.clone(), text.clone());
    }
    let hand_in = &mut grade.hand_in;
    hand_in.readme = Some(text.clone());
    hand_in.misnamed_makefile = Some(text.clone());
    hand_in.bad_archive_name = Some(text.clone());
    hand_in.fork = Some(text.clone());
    hand_in.missing_sources = vec![text.clone()];
    hand_in.files = vec![text.clone(); 3];
    if let Some(build) = &mut grade.build {
        build.command.clone_from(&text);
        build.stand_ins = vec![text.clone()];
        build.output = format!("{text}\n").repeat(1000);
    }
    for fared in &mut grade.fared {
        fared.case.push_str("<script>");
    }
    for shown in &mut grade.shown {
        shown.run.push_str(HOSTILE);
        for lines in shown.actual.values_mut() {
            lines.push(text.clone());
            lines.push("A".repeat(100_000));
        }
    }
    grade
}

fn loss(rule: u8, check: &str, points: f64, what: &str) -> Loss {
    Loss {
        rule,
        check: check.to_owned(),
        lenient: points,
        strict: points,
        what: what.to_owned(),
        run: String::new(),
        expected: String::new(),
        actual: String::new(),
        again: format!("offload grade submissions/ee450_tommy_session2.tar.gz --seed 7 --show {check}"),
    }
}

fn losses() -> Vec<Loss> {
    let told = |mut loss: Loss, run: &str, expected: &str, actual: &str| {
        (loss.run, loss.expected, loss.actual) = (run.into(), expected.into(), actual.into());
        loss
    };
    let makefile =
        loss(10, "hand-in.makefile", 15.0, "There is no Makefile; make does not read Makefile.txt.");
    let port =
        loss(11, "wire.aws-port", 10.0, "AWS sends its datagrams from a port that the system chose.");
    let min = loss(12, "reduce.min.negative", 5.0, "The minimum of negative numbers is wrong.");
    let mut readme = loss(0, "hand-in.readme", 2.0, "The README does not address the points f and g.");
    readme.strict = 2.5;
    let mut sent = loss(12, "screen.type-case", 0.0, "The reduction type is printed in lower case.");
    sent.strict = 5.0;
    let mut period = loss(12, "screen.white-space", 0.0, "A final period is printed that no table has.");
    period.strict = 2.0;
    vec![
        told(
            sent,
            "n300/sum, run 1 of 5",
            "... the reduction SUM: 50553",
            "... the reduction sum: 50553",
        ),
        told(readme, "README", "points a to h", "f and g are not addressed"),
        told(makefile, "the files handed in", "Makefile", "Makefile.txt"),
        told(port, "n300/sum, run 1 of 5", "UDP from 24319 to 21319", "UDP from 51822 to 21319"),
        told(
            min,
            "n30-negative/min, run 1 of 5",
            "The client has received reduction MIN: -998",
            "The client has received reduction min: 0",
        ),
        told(period, "n300/sum, run 1 of 5", "... 300 numbers to AWS", "... 300 numbers to AWS."),
    ]
}

fn probes(good: bool) -> Vec<Probe> {
    let probe = |name: &str, what: &str, outcome: &str, good| Probe {
        name: name.to_owned(),
        what: what.to_owned(),
        outcome: outcome.to_owned(),
        good,
    };
    let unknown = if good { "rejected with a message" } else { "received reduction foo: 0" };
    let none = if good { "rejected with a message" } else { "ended by signal 11" };
    vec![
        probe("foo", "./client foo", unknown, good),
        probe("no-argument", "./client without an argument", none, good),
        probe("second-client", "A second client without a restart", "served", true),
        probe("restart", "Restart right after a run", "all five ports were bound again", true),
    ]
}

fn hand_in() -> HandIn {
    let files = ["Makefile", "README", "aws.c", "client.c", "serverA.c", "serverB.c", "serverC.c"];
    HandIn {
        readme: Some("README".to_owned()),
        points: [true; 8],
        makefile: Some("Makefile".to_owned()),
        phony: true,
        files: files.map(str::to_owned).to_vec(),
        ..HandIn::default()
    }
}

fn build(exit: Exit, output: &str) -> Build {
    let programs = if exit == Exit::Status(0) { Process::ALL.to_vec() } else { Vec::new() };
    let stand_ins = vec!["libsocket".to_owned(), "libnsl".to_owned()];
    Build { command: "make all".to_owned(), output: output.to_owned(), exit, programs, stand_ins }
}

fn fared(right: impl Fn(&str, Class, Function) -> usize) -> Vec<Fared> {
    let cases = [
        ("n3", Class::Ordinary),
        ("n300", Class::Ordinary),
        ("n30-negative", Class::Negative),
        ("n90-wide", Class::Wide),
        ("n3000", Class::Large),
        ("n30000", Class::Large),
        ("n300-beyond", Class::Beyond),
    ];
    let one = |case: &str, class, function| Fared {
        case: case.to_owned(),
        class,
        function,
        right: right(case, class, function),
        runs: 5,
    };
    let all = |(case, class)| Function::ALL.map(|function| one(case, class, function));
    cases.into_iter().flat_map(all).collect()
}

type Screens = BTreeMap<Process, Vec<String>>;

/// What tables 4 to 8 want of a run.
fn screens(upper: &str, count: usize, partials: [i64; 3], total: i64) -> Screens {
    let mut out = Screens::new();
    let mut aws =
        vec![format!("The AWS has received {count} numbers from the client using TCP over port 25319")];
    let third = count / 3;
    aws.extend(["A", "B", "C"].map(|i| format!("The AWS sent {third} numbers to Backend-Server {i}")));
    for ((process, partial), i) in Process::BACKENDS.into_iter().zip(partials).zip(["A", "B", "C"]) {
        aws.push(format!(
            "The AWS received reduction result of {upper} from Backend-Server {i} using UDP over port 24319 \
             and it is {partial}"
        ));
        let lines = vec![
            format!("The Server {i} has received {third} numbers"),
            format!("The Server {i} has successfully finished the reduction {upper}: {partial}"),
            format!(
                "The Server {i} has successfully finished sending the reduction value to AWS server."
            ),
        ];
        out.insert(process, lines);
    }
    aws.push(format!("The AWS has successfully finished the reduction {upper}: {total}"));
    aws.push("The AWS has successfully finished sending the reduction value to client.".to_owned());
    out.insert(Process::Aws, aws);
    let client = vec![
        "The client is up and running.".to_owned(),
        format!("The client has sent the reduction type {upper} to AWS."),
        format!("The client has sent {count} numbers to AWS"),
        format!("The client has received reduction {upper}: {total}"),
    ];
    out.insert(Process::Client, client);
    out
}

/// The servers being started.
pub fn screens_of_boot() -> Shown {
    let mut expected = Screens::new();
    for (process, i) in Process::BACKENDS.into_iter().zip(1..) {
        let letter = process.letter().unwrap_or('-');
        let line = format!("The Server {letter} is up and running using UDP on port 2{i}319.");
        expected.insert(process, vec![line]);
    }
    expected.insert(Process::Aws, vec!["The AWS is up and running.".to_owned()]);
    let actual = expected.clone();
    Shown { run: "start of the servers".to_owned(), expected, actual, differences: Vec::new() }
}

/// A run that is right; AWS says "has sent", and the results come in another order, as they may.
pub fn good_run() -> Shown {
    let expected = screens("SUM", 300, [50553, 58962, 53747], 163_262);
    let mut actual = expected.clone();
    for lines in actual.values_mut() {
        lines.iter_mut().for_each(|line| *line = line.replace("AWS sent", "AWS has sent"));
    }
    if let Some(aws) = actual.get_mut(&Process::Aws) {
        aws.swap(4, 5);
    }
    Shown { run: "n300/sum, run 1 of 5".to_owned(), expected, actual, differences: Vec::new() }
}

/// A run with one difference of each sort.
pub fn bad_run() -> Shown {
    let expected = screens("MIN", 30, [-998, -310, -77], -998);
    let mut shown = Shown {
        run: "n30-negative/min, run 1 of 5".to_owned(),
        actual: expected.clone(),
        expected,
        differences: Vec::new(),
    };
    use {Kind::*, Process::*};
    change(&mut shown, (ServerA, 1), Sentence::BackendFinished, &[WrongValue, TypeCase], |line| {
        line.replace("MIN: -998", "min: 0")
    });
    change(&mut shown, (Aws, 2), Sentence::AwsSent, &[LookAlike], |line| line.replace('-', "-\u{ad}"));
    change(&mut shown, (Aws, 8), Sentence::AwsAnswered, &[MissingLine], |_| String::new());
    change(&mut shown, (Client, 1), Sentence::ClientSentType, &[TypeCase], |line| {
        line.replace("MIN", "min")
    });
    change(&mut shown, (Client, 3), Sentence::ClientReceived, &[WrongValue], |line| {
        line.replace("-998", "0")
    });
    let extra = "debug: got 30 numbers, first = -12".to_owned();
    shown.differences.push(Difference {
        process: ServerC,
        sentence: Sentence::Other,
        kind: ExtraLine,
        expected: String::new(),
        actual: extra.clone(),
    });
    shown.actual.entry(ServerC).or_default().insert(1, extra);
    shown
}

fn change(
    shown: &mut Shown,
    (process, at): (Process, usize),
    sentence: Sentence,
    kinds: &[Kind],
    to: impl Fn(&str) -> String,
) {
    let expected =
        shown.expected.get(&process).and_then(|lines| lines.get(at)).cloned().unwrap_or_default();
    let actual = to(&expected);
    let lines = shown.actual.entry(process).or_default();
    if actual.is_empty() {
        lines.truncate(at);
    } else if let Some(line) = lines.get_mut(at) {
        line.clone_from(&actual);
    }
    shown.differences.extend(kinds.iter().map(|kind| Difference {
        process,
        sentence,
        kind: *kind,
        expected: expected.clone(),
        actual: actual.clone(),
    }));
}
