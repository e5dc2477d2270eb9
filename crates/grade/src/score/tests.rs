use super::*;
use crate::cases;
use crate::model::{Bound, Case, Exit, Flow, Function, Kind, Sentence};
use crate::screens;
use ethnum::I256;
use std::sync::OnceLock;

const ID: u16 = 319;
const SEED: u64 = 7;
const REPEATS: usize = 5;

/// The inputs of a fixed seed, but for the longest.
fn inputs() -> &'static [Case] {
    static INPUTS: OnceLock<Vec<Case>> = OnceLock::new();
    INPUTS.get_or_init(|| {
        cases::cases(SEED).into_iter().filter(|case| case.numbers.len() <= 3000).collect()
    })
}

/// One run as a program made it.
struct Run {
    case: &'static Case,
    function: Function,
    repeat: usize,
    screens: BTreeMap<Process, Vec<String>>,
    exits: BTreeMap<Process, Exit>,
    flows: Option<Vec<Flow>>,
}

impl Run {
    fn is(&self, case: &str, function: Function) -> bool {
        self.case.name == case && self.function == function
    }

    fn replace(&mut self, process: Process, from: &str, to: &str) {
        for line in self.screens.entry(process).or_default() {
            *line = line.replace(from, to);
        }
    }

    fn replace_all(&mut self, from: &str, to: &str) {
        Process::ALL.into_iter().for_each(|process| self.replace(process, from, to));
    }

    fn drop_lines(&mut self, process: Process, with: &str) {
        self.screens.entry(process).or_default().retain(|line| !line.contains(with));
    }

    /// The job goes no further than the numbers' arrival at AWS.
    fn stop(&mut self, client: Exit) {
        Process::BACKENDS.into_iter().for_each(|process| self.drop_lines(process, ""));
        self.screens.entry(Process::Aws).or_default().truncate(1);
        self.drop_lines(Process::Client, "received");
        self.exits.insert(Process::Client, client);
    }
}

/// A submission: what it does well and badly.
struct Program {
    divide: fn(&[i64]) -> [Vec<i64>; 3],
    map: fn(Function, &[i64], I256) -> I256,
    reduce: fn(Function, [I256; 3]) -> I256,
    edit: fn(&mut Run),
    edit_boot: fn(&mut Boot),
    hand_in: HandIn,
    build: Option<Build>,
    boots: usize,
    rounds: bool,
    probes: Vec<Probe>,
    not_run: Vec<String>,
    given_id: Option<u16>,
    path: &'static str,
    archive_name: Option<&'static str>,
}

fn perfect() -> Program {
    Program {
        divide: thirds,
        map: |_, _, exact| exact,
        reduce: |function, values| words::reduce(function, &values).unwrap(),
        edit: |_| {},
        edit_boot: |_| {},
        hand_in: HandIn {
            readme: Some("README.txt".to_owned()),
            points: [true; 8],
            makefile: Some("Makefile".to_owned()),
            phony: true,
            files: ["Makefile", "README.txt", "aws.c"].map(str::to_owned).to_vec(),
            ..HandIn::default()
        },
        build: Some(Build {
            command: "make all".to_owned(),
            output: String::new(),
            exit: Exit::Status(0),
            programs: Process::ALL.to_vec(),
            stand_ins: Vec::new(),
        }),
        boots: 2,
        rounds: true,
        probes: Vec::new(),
        not_run: Vec::new(),
        given_id: None,
        path: "/class/a student",
        archive_name: None,
    }
}

fn thirds(numbers: &[i64]) -> [Vec<i64>; 3] {
    let third = numbers.len() / 3;
    [0, 1, 2].map(|i| numbers[i * third..(i + 1) * third].to_vec())
}

fn flow(tcp: bool, from: u16, to: u16, bytes: usize) -> Flow {
    Flow { tcp, from, to, packets: 1, bytes: bytes as u64 }
}

fn run(program: &Program, case: &'static Case, function: Function, repeat: usize) -> Run {
    let exact = cases::answer(function, &case.numbers);
    let shards = (program.divide)(&case.numbers);
    let mapped = cases::answer(function, &shards.concat()).partials;
    let values = [0, 1, 2].map(|i| (program.map)(function, &shards[i], mapped[i].parse().unwrap()));
    let shown = Answer {
        partials: values.map(|value| value.to_string()),
        total: (program.reduce)(function, values).to_string(),
        ..exact
    };
    let lines = |process| {
        let lines = screens::job(process, function, &shown, Some(ID));
        (process, lines.into_iter().map(|line| line.forms[0].clone()).collect())
    };
    let bytes = case.text.len();
    let client = 50_000 + repeat as u16;
    let mut flows = vec![flow(true, client, 25_319, bytes), flow(true, 25_319, client, 8)];
    for base in [21_000, 22_000, 23_000] {
        flows.push(flow(false, 24_319, base + ID, bytes / 3 + 3));
        flows.push(flow(false, base + ID, 24_319, 8));
    }
    let mut run = Run {
        case,
        function,
        repeat,
        screens: Process::ALL.into_iter().map(lines).collect(),
        exits: Process::SERVERS.into_iter().map(|process| (process, Exit::Running)).collect(),
        flows: Some(flows),
    };
    run.exits.insert(Process::Client, Exit::Status(255));
    (program.edit)(&mut run);
    run
}

type Lines = BTreeMap<Process, Vec<String>>;

fn compare(
    screens: &BTreeMap<Process, String>,
    expect: impl Fn(Process) -> Vec<screens::Line>,
) -> (Vec<Difference>, Lines, Lines) {
    let (mut differences, mut expected, mut actual) = (Vec::new(), Lines::new(), Lines::new());
    for (process, screen) in screens {
        let lines = expect(*process);
        let compared = screens::compare(*process, &lines, screen);
        differences.extend(compared.differences);
        expected.insert(*process, lines.into_iter().map(|line| line.forms[0].clone()).collect());
        actual.insert(*process, compared.actual);
    }
    (differences, expected, actual)
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn judged(run: Run) -> Judged {
    let answer = cases::answer(run.function, &run.case.numbers);
    let class = cases::class_of(run.case, &answer);
    let round = Round {
        case: run.case.name.clone(),
        class: run.case.class,
        function: run.function,
        repeat: run.repeat,
        screens: run.screens.iter().map(|(process, lines)| (*process, text(lines))).collect(),
        exits: run.exits,
        flows: run.flows,
        ms: 10,
    };
    let expect = |process| screens::job(process, run.function, &answer, Some(ID));
    let (differences, expected, actual) = compare(&round.screens, expect);
    Judged { round, answer, class, differences, expected, actual }
}

fn booted(program: &Program) -> Booted {
    let up = |process| {
        let lines: Vec<String> =
            screens::boot(process, Some(ID)).into_iter().map(|line| line.forms[0].clone()).collect();
        (process, text(&lines))
    };
    let udp = [21_319, 22_319, 23_319, 24_319].map(|port| Bound { tcp: false, port });
    let mut boot = Boot {
        screens: Process::SERVERS.into_iter().map(up).collect(),
        exits: Process::SERVERS.into_iter().map(|process| (process, Exit::Running)).collect(),
        by_hand: Vec::new(),
        bound: udp.into_iter().chain([Bound { tcp: true, port: 25_319 }]).collect(),
    };
    (program.edit_boot)(&mut boot);
    let (differences, expected, actual) =
        compare(&boot.screens, |process| screens::boot(process, Some(ID)));
    Booted { boot, differences, expected, actual }
}

fn graded_by(program: &Program, policy: &Policy) -> Grade {
    let boots: Vec<Booted> = (0..program.boots).map(|_| booted(program)).collect();
    let mut rounds = Vec::new();
    for case in inputs().iter().filter(|_| program.rounds) {
        for function in Function::ALL {
            rounds.extend((0..REPEATS).map(|repeat| judged(run(program, case, function, repeat))));
        }
    }
    let evidence = Evidence {
        name: "a student",
        path: program.path,
        archive_name: program.archive_name,
        hand_in: &program.hand_in,
        build: program.build.as_ref(),
        boots: &boots,
        rounds: &rounds,
        not_run: &program.not_run,
        probes: &program.probes,
        id: None,
        given_id: program.given_id,
        repairs: &[],
        command: "offload grade",
        isolation: "own network",
        seed: SEED,
        repeats: REPEATS,
        seconds: 1.0,
    };
    grade(&evidence, policy)
}

fn graded(program: &Program) -> Grade {
    graded_by(program, &Policy::load(None).unwrap())
}

/// The checks that cost, with both readings, and the scores.
#[track_caller]
fn expect(program: &Program, score: (f64, f64), losses: &[(&str, u8, f64, f64)]) -> Grade {
    let grade = graded(program);
    let found: Vec<_> = grade
        .losses
        .iter()
        .map(|loss| (loss.check.as_str(), loss.rule, loss.lenient, loss.strict))
        .collect();
    assert_eq!(found, losses, "{:#?}", grade.losses);
    assert_eq!((grade.score.lenient, grade.score.strict), score);
    for loss in &grade.losses {
        let told = [&loss.what, &loss.run, &loss.expected, &loss.actual, &loss.again];
        assert!(told.iter().all(|text| !text.is_empty()), "{loss:#?}");
    }
    grade
}

#[test]
fn the_flawless_one_has_all_points() {
    let grade = expect(&perfect(), (100.0, 100.0), &[]);
    assert_eq!((grade.phase, grade.id, grade.bonus, grade.flake_rate), (3, Some(ID), None, 0.0));
    assert!(grade.fared.iter().all(|fared| (fared.right, fared.runs) == (REPEATS, REPEATS)));
    let runs: Vec<&str> = grade.shown.iter().map(|shown| shown.run.as_str()).collect();
    assert_eq!(runs, ["boot 1 of 2", "n300/min, run 1 of 5"]);
    assert_eq!(
        grade.remarks,
        [
            "The ports say that the ID ends in 319.",
            "Each run was made up to 5 times; what more than half of the repeats show counts.",
        ]
    );
}

#[test]
fn fork_is_worth_ten_points_up_to_a_hundred() {
    let mut program = perfect();
    program.hand_in.fork = Some("aws.c:12".to_owned());
    let grade = expect(&program, (100.0, 100.0), &[]);
    assert_eq!(grade.bonus, Some((10.0, "fork or the like at aws.c:12, and phase 3 works".to_owned())));

    program.hand_in.readme = None;
    expect(&program, (95.0, 95.0), &[("readme.missing", 10, 15.0, 15.0)]);

    program.edit = |run| run.drop_lines(Process::Client, "received reduction");
    let grade = graded(&program);
    assert_eq!(grade.bonus, None);
    assert!(grade.remarks.iter().any(|remark| remark.contains("aws.c:12 gives no bonus")));
}

#[test]
fn what_does_not_compile_has_five_points() {
    let mut program = perfect();
    (program.boots, program.rounds) = (0, false);
    let build = program.build.as_mut().unwrap();
    build.exit = Exit::Status(2);
    build.programs = vec![Process::Aws];
    build.output =
        "gcc -o aws aws.c\naws.c:3: error: expected ';'\nmake: *** [all] Error 1\n".to_owned();
    let grade = expect(&program, (5.0, 5.0), &[("compile", 5, 95.0, 95.0)]);
    assert_eq!(grade.losses[0].actual, "make ended with status 2: aws.c:3: error: expected ';'");
    assert_eq!(grade.losses[0].again, "offload grade '/class/a student' --seed 7 --show");

    // Rule 5 has the last word, in both directions.
    program.hand_in.points = [false; 8];
    program.hand_in.readme = None;
    let losses = [("readme.missing", 10, 15.0, 15.0), ("compile", 5, 95.0, 95.0)];
    let grade = expect(&program, (5.0, 5.0), &losses);
    assert!(grade.remarks.iter().any(|remark| remark.contains("rule 5")));
}

#[test]
fn without_a_makefile_nothing_is_built() {
    let mut program = perfect();
    (program.boots, program.rounds, program.build) = (0, false, None);
    program.hand_in.makefile = None;
    program.hand_in.misnamed_makefile = Some("Makefile.txt".to_owned());
    program.archive_name = Some("ee450_x_session1.tar.gz");
    let losses = [("makefile.missing", 10, 15.0, 15.0), ("compile", 5, 95.0, 95.0)];
    let grade = expect(&program, (5.0, 5.0), &losses);
    assert_eq!(grade.losses[0].what, "There is no Makefile: make does not read Makefile.txt.");
    assert_eq!(grade.losses[0].again, "tar tzf '/class/a student'");
}

#[test]
fn programs_that_are_there_count_though_make_complains() {
    let mut program = perfect();
    program.build.as_mut().unwrap().exit = Exit::Status(2);
    let grade = expect(&program, (100.0, 100.0), &[]);
    assert!(grade.remarks.iter().any(|remark| remark.contains("the programs are there")));
}

#[test]
fn what_does_no_task_has_ten_points() {
    let mut program = perfect();
    program.rounds = false;
    program.not_run = vec!["all: serverB did not start".to_owned()];
    program.edit_boot = |boot| {
        boot.screens.insert(Process::ServerB, String::new());
        boot.exits.insert(Process::ServerB, Exit::Signal(11));
        boot.bound.retain(|bound| bound.port != 22_319);
    };
    program.hand_in.points[2] = false;
    let losses = [("readme.c", 0, 1.0, 1.0), ("no-task", 6, 90.0, 90.0)];
    let grade = expect(&program, (10.0, 10.0), &losses);
    assert_eq!(grade.phase, 0);
    let loss = &grade.losses[1];
    assert!(loss.what.contains("serverB does not come up; it died of signal 11"), "{}", loss.what);
    assert_eq!(loss.expected, "The Server B is up and running using UDP on port 22319.");
    assert!(grade.remarks.contains(&"Not run: all: serverB did not start.".to_owned()));

    // Rule 13 needs a README.
    program.hand_in.readme = None;
    assert_eq!(graded(&program).score.lenient, 0.0);
}

#[test]
fn phase_1_alone_has_35_points() {
    let mut program = perfect();
    program.edit = |run| run.stop(Exit::TimedOut);
    let grade = expect(&program, (35.0, 35.0), &[("phase2", 7, 65.0, 65.0)]);
    let loss = &grade.losses[0];
    assert_eq!(
        loss.what,
        "Only phase 1 works: the client still waited for its result when its time was up."
    );
    assert_eq!(
        (loss.expected.as_str(), loss.run.as_str()),
        ("The AWS sent 100 numbers to Backend-Server A", "n300/min, run 1 of 5")
    );
    assert_eq!(loss.again, "offload grade '/class/a student' --only n300/min --seed 7 --show");
    assert!(grade.shown.iter().any(|shown| shown.run == loss.run));
}

#[test]
fn phases_1_and_2_have_75_points_and_their_own_errors_count() {
    let mut program = perfect();
    program.edit = |run| {
        Process::BACKENDS.into_iter().for_each(|process| run.drop_lines(process, "sending"));
        run.screens.entry(Process::Aws).or_default().truncate(4);
        run.drop_lines(Process::Client, "received");
        run.exits.insert(Process::Client, Exit::TimedOut);
    };
    let grade = expect(&program, (75.0, 75.0), &[("phase3", 8, 25.0, 25.0)]);
    assert_eq!(grade.phase, 2);

    program.map = |function, _, exact| if function == Function::Max { I256::ZERO } else { exact };
    program.edit = |run| {
        run.drop_lines(Process::Client, "received");
        run.replace(Process::Client, "has sent the reduction", "sent the reduction");
    };
    let losses = [
        ("phase3", 8, 25.0, 25.0),
        ("map.max", 12, 5.0, 5.0),
        ("screen.wording.client-sent-type", 12, 5.0, 5.0),
    ];
    expect(&program, (65.0, 65.0), &losses);
}

#[test]
fn without_udp_there_is_no_phase_2() {
    let mut program = perfect();
    program.edit = |run| run.flows.as_mut().unwrap().retain(|flow| flow.tcp);
    let grade = expect(&program, (35.0, 35.0), &[("wire.no-udp", 7, 65.0, 65.0)]);
    assert_eq!(grade.losses[0].actual, "no UDP content at all");

    // A few bytes may be three numbers, but not a hundred.
    program.edit =
        |run| run.flows.iter_mut().flatten().filter(|flow| !flow.tcp).for_each(|flow| flow.bytes = 20);
    let grade = expect(&program, (35.0, 35.0), &[("wire.no-udp", 7, 65.0, 65.0)]);
    assert_eq!(grade.losses[0].expected, "100 numbers by UDP to each of three ports");
    assert!(grade.losses[0].actual.starts_with("20 bytes from port 24319 to 21319, "));

    // With one exception: what stops on the way has not lied.
    program.edit = |run| {
        if run.case.name == "n300" {
            run.flows.iter_mut().flatten().filter(|flow| !flow.tcp).for_each(|flow| flow.bytes = 20);
            run.stop(Exit::TimedOut);
        }
    };
    expect(&program, (95.0, 95.0), &[("hang", 12, 5.0, 5.0)]);

    program.edit = |run| run.flows = None;
    let grade = expect(&program, (100.0, 100.0), &[]);
    let unwatched = "The wire was not watched: there, the screens alone decide.".to_owned();
    assert!(grade.remarks.contains(&unwatched));
}

#[test]
fn without_tcp_there_is_no_phase_1() {
    let mut program = perfect();
    program.edit = |run| run.flows.as_mut().unwrap().retain(|flow| !flow.tcp);
    expect(&program, (10.0, 10.0), &[("wire.no-tcp", 6, 90.0, 90.0)]);
}

#[test]
fn answers_that_do_not_come_from_the_numbers_are_no_phase_2() {
    let mut program = perfect();
    program.divide = |_| thirds(&inputs()[0].numbers);
    let grade = expect(&program, (35.0, 35.0), &[("hard-coded", 7, 65.0, 65.0)]);
    assert_eq!(grade.losses[0].run, "n300/min, run 1 of 5");
}

#[test]
fn each_point_of_the_readme_and_each_name_is_a_point() {
    let mut program = perfect();
    program.hand_in.points = [true, false, true, true, true, false, true, true];
    program.hand_in.missing_sources = vec!["aws".to_owned()];
    program.hand_in.bad_archive_name = Some("ee450_name_session1.tar.gz".to_owned());
    program.archive_name = Some("work.tar.gz");
    let losses = [
        ("readme.b", 0, 1.0, 1.0),
        ("readme.f", 0, 1.0, 1.0),
        ("source-names", 0, 1.0, 1.0),
        ("archive-name", 0, 1.0, 1.0),
    ];
    let grade = expect(&program, (96.0, 96.0), &losses);
    assert_eq!(grade.losses[0].again, "tar xzOf '/class/a student' --wildcards '*README.txt'");
    assert_eq!(grade.losses[3].actual, "work.tar.gz");
}

#[test]
fn a_makefile_may_lack_targets_and_phony() {
    let mut program = perfect();
    program.hand_in.missing_targets = vec!["serverA".to_owned(), "aws".to_owned()];
    program.edit_boot = |boot| boot.by_hand = vec![Process::ServerA, Process::Aws];
    let losses = [("makefile.target", 12, 5.0, 5.0)];
    let grade = expect(&program, (95.0, 95.0), &losses);
    assert_eq!(grade.losses[0].again, "cat '/class/a student/Makefile'");

    program.hand_in.missing_targets.clear();
    program.hand_in.phony = false;
    let grade = expect(&program, (95.0, 95.0), &[("makefile.phony", 12, 5.0, 5.0)]);
    assert!(grade.losses[0].what.contains(".PHONY"));
}

#[test]
fn an_ephemeral_port_of_aws_costs_ten_points_once() {
    let mut program = perfect();
    program.edit = |run| {
        let port = 40_001 + run.repeat as u16;
        for flow in run.flows.iter_mut().flatten() {
            if flow.from == 24_319 {
                flow.from = port;
            }
            if flow.to == 24_319 {
                flow.to = port;
            }
        }
        // What it says is true.
        run.replace(Process::Aws, "24319", &port.to_string());
    };
    let grade = expect(&program, (90.0, 90.0), &[("ports", 11, 10.0, 10.0)]);
    assert_eq!(
        grade.losses[0].what,
        "Ports are not assigned as table 3 says: AWS sends from UDP port 40001 instead of 24319."
    );
}

#[test]
fn a_client_with_one_port_for_ever_costs_ten_points() {
    let mut program = perfect();
    program.edit = |run| {
        for flow in run.flows.iter_mut().flatten().filter(|flow| flow.to == 25_319) {
            flow.from = 26_319;
        }
    };
    let grade = expect(&program, (90.0, 90.0), &[("ports", 11, 10.0, 10.0)]);
    assert!(grade.losses[0].what.ends_with("the client's TCP port is 26319 in every run."));
}

#[test]
fn servers_that_say_nothing_and_work_lose_their_lines_only() {
    let mut program = perfect();
    program.edit_boot = |boot| boot.screens.values_mut().for_each(String::clear);
    program.edit = |run| {
        for process in Process::SERVERS {
            run.screens.insert(process, Vec::new());
        }
    };
    let sentences = [
        "backend-up",
        "backend-received",
        "backend-finished",
        "backend-sent",
        "aws-up",
        "aws-received",
        "aws-sent",
        "aws-result",
        "aws-finished",
        "aws-answered",
    ];
    let checks = sentences.map(|sentence| format!("screen.missing-line.{sentence}"));
    let losses: Vec<_> = checks.iter().map(|check| (check.as_str(), 12, 5.0, 5.0)).collect();
    expect(&program, (50.0, 50.0), &losses);
}

#[test]
fn a_backend_at_another_port_costs_ten_points_once() {
    let mut program = perfect();
    program.edit_boot = |boot| {
        boot.bound.iter_mut().filter(|b| b.port == 22_319).for_each(|bound| bound.port = 22_320);
        for screen in boot.screens.values_mut() {
            *screen = screen.replace("22319", "22320");
        }
    };
    program.edit = |run| {
        for flow in run.flows.iter_mut().flatten() {
            flow.to = if flow.to == 22_319 { 22_320 } else { flow.to };
            flow.from = if flow.from == 22_319 { 22_320 } else { flow.from };
        }
    };
    let grade = expect(&program, (90.0, 90.0), &[("ports", 11, 10.0, 10.0)]);
    assert!(grade.losses[0].what.contains("serverB does not hold UDP port 22319"));
    assert_eq!(grade.losses[0].run, "boot 1 of 2");
}

#[test]
fn an_id_that_is_given_holds() {
    let mut program = perfect();
    program.given_id = Some(320);
    let grade = graded(&program);
    let loss = grade.losses.iter().find(|loss| loss.check == "ports").unwrap();
    assert!(loss.what.contains("serverA does not hold UDP port 21320"), "{}", loss.what);
    assert!(loss.again.contains(" --id 320 "));
    assert_eq!(grade.id, Some(320));
}

#[test]
fn a_static_port_of_the_client_is_seen_where_it_is_one_of_the_assignments() {
    let mut program = perfect();
    program.edit =
        |run| run.flows.iter_mut().flatten().filter(|f| f.to == 25_319).for_each(|f| f.from = 25_320);
    let grade = expect(&program, (90.0, 90.0), &[("ports", 11, 10.0, 10.0)]);
    assert!(grade.losses[0].what.contains("the client's TCP port 25320"));
}

#[test]
fn the_id_is_what_most_ports_end_in() {
    let boot = |ports: &[u16]| Boot {
        screens: BTreeMap::new(),
        exits: BTreeMap::new(),
        by_hand: Vec::new(),
        bound: ports.iter().map(|port| Bound { tcp: *port >= 25_000, port: *port }).collect(),
    };
    assert_eq!(find_id(&[boot(&[21_319, 22_319, 23_320, 8080, 40_111])]), Some(319));
    assert_eq!(find_id(&[boot(&[21_007]), boot(&[21_007, 25_008])]), Some(7));
    assert_eq!(find_id(&[boot(&[21_319, 22_320])]), None);
    assert_eq!(find_id(&[boot(&[53, 60_319])]), None);
    assert_eq!(find_id(&[]), None);
}

#[test]
fn a_wrong_map_is_one_error_though_many_lines_are_wrong() {
    let mut program = perfect();
    program.map = |function, _, exact| if function == Function::Min { I256::ZERO } else { exact };
    let grade = expect(&program, (95.0, 95.0), &[("map.min", 12, 5.0, 5.0)]);
    let loss = &grade.losses[0];
    assert_eq!(loss.run, "n300/min, run 1 of 5");
    assert_eq!(loss.expected, "The Server A has successfully finished the reduction MIN: 100");
    assert_eq!(loss.actual, "The Server A has successfully finished the reduction MIN: 0");
    assert_eq!(grade.fared.iter().filter(|f| f.right == 0 && f.function == Function::Min).count(), 13);
}

#[test]
fn one_backend_that_is_wrong_is_an_error_of_each_function() {
    let mut program = perfect();
    program.edit = |run| {
        let exact = cases::answer(run.function, &run.case.numbers).partials[1].clone();
        run.replace(Process::ServerB, &format!(": {exact}"), ": 12345678");
    };
    let losses = ["map.min", "map.max", "map.sum", "map.sos"].map(|check| (check, 12, 5.0, 5.0));
    // AWS has the right ones: its lines are not to blame.
    expect(&program, (80.0, 80.0), &losses);
}

#[test]
fn a_wrong_reduce_is_told_from_a_wrong_map() {
    let mut program = perfect();
    program.reduce = |function, values| match function {
        Function::Max => values[0],
        _ => words::reduce(function, &values).unwrap(),
    };
    let grade = expect(&program, (95.0, 95.0), &[("reduce.max", 12, 5.0, 5.0)]);
    assert!(grade.losses[0].expected.starts_with("The AWS has successfully finished the reduction MAX"));
}

#[test]
fn numbers_divided_in_another_way_are_one_error() {
    let mut program = perfect();
    for divide in [
        // In turn.
        |numbers: &[i64]| [0, 1, 2].map(|i| numbers.iter().copied().skip(i).step_by(3).collect()),
        // B and C swapped.
        |numbers: &[i64]| {
            let [a, b, c] = thirds(numbers);
            [a, c, b]
        },
        // The first third to all.
        |numbers: &[i64]| {
            let [a, ..] = thirds(numbers);
            [a.clone(), a.clone(), a]
        },
    ] as [fn(&[i64]) -> [Vec<i64>; 3]; 3]
    {
        program.divide = divide;
        expect(&program, (95.0, 95.0), &[("shards", 12, 5.0, 5.0)]);
    }
    // Another error beside it is another error.
    program.map = |function, _, exact| if function == Function::Min { I256::from(-5) } else { exact };
    expect(&program, (90.0, 90.0), &[("map.min", 12, 5.0, 5.0), ("shards", 12, 5.0, 5.0)]);
}

#[test]
fn right_results_under_wrong_backends_are_one_error() {
    let mut program = perfect();
    program.edit = |run| {
        run.replace(Process::Aws, "from Backend-Server A", "from Backend-Server X");
        run.replace(Process::Aws, "from Backend-Server B", "from Backend-Server A");
        run.replace(Process::Aws, "from Backend-Server X", "from Backend-Server B");
    };
    expect(&program, (95.0, 95.0), &[("attribution", 12, 5.0, 5.0)]);
}

#[test]
fn what_is_wrong_with_some_inputs_only_is_one_error_each() {
    let mut program = perfect();
    program.map = |function, _, exact| match function {
        Function::Max => exact.max(I256::ZERO),
        _ => I256::from(exact.as_i32()),
    };
    program.edit = |run| {
        if run.case.numbers.len() > 1000 {
            run.stop(Exit::Status(0));
            run.exits.insert(Process::ServerC, Exit::Signal(11));
        }
    };
    let losses = ["negative", "wide", "large"].map(|check| (check, 12, 5.0, 5.0));
    let grade = expect(&program, (85.0, 85.0), &losses);
    assert_eq!(grade.losses[0].run, "all-negative/max, run 1 of 5");
    assert!(
        grade.losses[2].what.contains("serverC died of signal 11 (SIGSEGV)"),
        "{}",
        grade.losses[2].what
    );
    // Sums of squares beyond a long are nobody's fault.
    assert!(grade.remarks.iter().any(|remark| remark.contains("near-63/sos")), "{:?}", grade.remarks);
}

#[test]
fn what_is_wrong_everywhere_is_not_wrong_again_elsewhere() {
    let mut program = perfect();
    program.map = |function, _, exact| if function == Function::Sos { exact + I256::ONE } else { exact };
    expect(&program, (95.0, 95.0), &[("map.sos", 12, 5.0, 5.0)]);
}

#[test]
fn a_run_that_breaks_off_is_one_error() {
    let mut program = perfect();
    program.edit = |run| {
        if run.function == Function::Max {
            run.stop(Exit::TimedOut);
        }
    };
    let grade = expect(&program, (95.0, 95.0), &[("hang", 12, 5.0, 5.0)]);
    assert!(grade.losses[0].what.contains("The first line that is missing is aws's"));

    program.edit = |run| {
        if run.function == Function::Max {
            run.stop(Exit::Status(0));
        }
    };
    expect(&program, (95.0, 95.0), &[("unfinished", 12, 5.0, 5.0)]);

    // A number that the client shows is no result, where AWS never had one.
    program.edit = |run| {
        if run.function == Function::Max {
            run.stop(Exit::Status(0));
            let line = "The client has received reduction MAX: 0".to_owned();
            run.screens.entry(Process::Client).or_default().push(line);
        }
    };
    expect(&program, (95.0, 95.0), &[("unfinished", 12, 5.0, 5.0)]);
}

#[test]
fn a_client_may_wait_to_be_ended() {
    let mut program = perfect();
    program.edit = |run| {
        run.exits.insert(Process::Client, Exit::TimedOut);
        run.exits.insert(Process::Aws, Exit::Status(1));
    };
    expect(&program, (100.0, 100.0), &[]);
}

#[test]
fn forgiven_differences_cost_in_the_strict_reading_only() {
    let mut program = perfect();
    program.edit = |run| {
        let function = run.function;
        run.replace_all(function.upper(), function.argument());
        run.replace(Process::Client, "to AWS.", "to AWS");
        run.screens.entry(Process::Aws).or_default().push("debug: done".to_owned());
    };
    let losses = [
        ("screen.extra-line", 12, 0.0, 5.0),
        ("screen.type-case", 12, 0.0, 5.0),
        ("screen.white-space", 12, 0.0, 5.0),
    ];
    let grade = expect(&program, (100.0, 85.0), &losses);
    assert_eq!(grade.fared[0].right, REPEATS);
}

#[test]
fn lines_cost_once_for_each_sentence_and_marks_once_in_all() {
    let mut program = perfect();
    program.edit = |run| {
        run.replace(Process::Aws, "numbers from the client", "integers from my client");
        run.replace(Process::Aws, "Backend-Server", "Backend-\u{ad}Server");
        for process in Process::BACKENDS {
            run.drop_lines(process, "sending");
        }
    };
    let losses = [
        ("screen.missing-line.backend-sent", 12, 5.0, 5.0),
        ("screen.wording.aws-received", 12, 5.0, 5.0),
        ("screen.look-alike", 12, 5.0, 5.0),
    ];
    let grade = expect(&program, (85.0, 85.0), &losses);
    assert_eq!(grade.losses[0].actual, "(the line is missing)");
}

#[test]
fn a_count_that_is_off_by_one_is_a_wrong_line() {
    let mut program = perfect();
    program.edit = |run| {
        let third = run.case.numbers.len() / 3;
        for process in Process::BACKENDS {
            run.replace(process, &format!("received {third}"), &format!("received {}", third + 1));
        }
    };
    expect(&program, (95.0, 95.0), &[("screen.wrong-value.backend-received", 12, 5.0, 5.0)]);
}

#[test]
fn what_few_repeats_show_is_told_and_not_charged() {
    let mut program = perfect();
    program.edit = |run| {
        if run.is("n300", Function::Sum) && run.repeat < 2 {
            run.stop(Exit::TimedOut);
        }
    };
    let grade = expect(&program, (100.0, 100.0), &[]);
    let runs = grade.fared.iter().map(|fared| fared.runs).sum::<usize>();
    assert_eq!(grade.flake_rate, 2.0 / runs as f64);
    let remark = "2 of 5 runs of n300/sum went otherwise, which is not charged: The run did not come to its \
                  end: the client still waited for its result when its time was up. The first line that is \
                  missing is aws's.";
    assert!(grade.remarks.contains(&remark.to_owned()), "{:?}", grade.remarks);
    let fared = grade.fared.iter().find(|f| f.case == "n300" && f.function == Function::Sum).unwrap();
    assert_eq!((fared.right, fared.runs), (3, 5));

    program.edit = |run| {
        if run.is("n300", Function::Sum) && run.repeat < 3 {
            run.stop(Exit::TimedOut);
        }
    };
    expect(&program, (95.0, 95.0), &[("hang", 12, 5.0, 5.0)]);
    // Wrong most of the time, each time in another way.
    program.edit = |run| match run.repeat {
        _ if !run.is("n300", Function::Sum) => {}
        0 | 1 => run.stop(Exit::TimedOut),
        2 | 3 => run.replace(Process::ServerC, "53747", "1"),
        _ => {}
    };
    assert_eq!(graded(&program).score.lenient, 95.0);
}

#[test]
fn a_policy_sets_what_things_cost() {
    let mut program = perfect();
    program.map = |function, _, exact| if function == Function::Min { I256::ZERO } else { exact };
    let probe = |name: &str, good| Probe {
        name: name.to_owned(),
        what: "`./client foo`".to_owned(),
        outcome: "it hung".to_owned(),
        good,
    };
    program.probes = vec![probe("foo", false), probe("restart", true)];
    let mut policy = Policy::load(None).unwrap();
    assert_eq!(graded_by(&program, &policy).score.lenient, 95.0);
    (policy.error, policy.probe) = (2.5, 1.0);
    let grade = graded_by(&program, &policy);
    assert_eq!(grade.score.lenient, 96.5);
    assert_eq!(grade.losses.last().unwrap().check, "probe.foo");
}

#[test]
fn the_floor_holds_what_many_errors_take() {
    let mut program = perfect();
    program.hand_in.points = [false; 8];
    program.hand_in.missing_targets = vec!["aws".to_owned()];
    program.edit = |run| {
        run.replace(Process::Aws, "received", "got");
        run.replace(Process::Aws, "numbers", "of them");
        for flow in run.flows.iter_mut().flatten().filter(|flow| flow.from == 24_319) {
            flow.from = 50_000;
        }
        run.stop(Exit::Status(1));
    };
    let grade = graded(&program);
    assert_eq!(grade.phase, 1);
    assert_eq!(grade.score.lenient, 10.0, "{:#?}", grade.losses);
    let mut without =
        graded(&Program { hand_in: HandIn { readme: None, ..program.hand_in }, ..program });
    without.losses.retain(|loss| loss.check == "readme.missing");
    assert_eq!((without.score.lenient, without.losses.len()), (0.0, 1));
}

#[test]
fn kinds_and_sentences_are_named_as_they_are_written_elsewhere() {
    for kind in [Kind::WrongValue, Kind::TypeCase, Kind::LookAlike, Kind::WhiteSpace] {
        assert_eq!(serde_json::to_value(kind).unwrap(), words::kind_name(kind));
    }
    for sentence in [Sentence::BackendUp, Sentence::AwsReceived, Sentence::ClientSentNumbers] {
        assert_eq!(serde_json::to_value(sentence).unwrap(), words::sentence_name(sentence));
    }
}
