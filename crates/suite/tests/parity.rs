//! `offload parity` with real processes and real kills: what a user types, and what comes of it.

use std::process::{Command, Output};

fn offload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_offload")).arg("parity").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs and returns the report; the answer was compared with that of one process.
fn run(arguments: &[&str]) -> serde_json::Value {
    let output = offload(&[&["run"], arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["right"], true, "{arguments:?}");
    report
}

fn count(report: &serde_json::Value, member: &str, what: impl Fn(&serde_json::Value) -> bool) -> usize {
    let happened = report["happened"].as_array().unwrap();
    happened.iter().filter(|row| row["member"] == member && what(&row["what"])).count()
}

fn was_rebuilt(what: &serde_json::Value) -> bool {
    what["Event"]["Recovered"]["rebuilt"] == true
}

#[test]
fn each_task_gives_the_answer_of_one_process() {
    run(&["mergesort", "--size", "50000", "--chunk", "5000", "--workers", "3", "--interval", "0.05"]);
    run(&["matmul", "--size", "200", "--workers", "4", "--interval", "0.05"]);
    let report = run(&["apsp", "--workers", "15", "--interval", "0.05"]);
    assert_eq!(report["said"].as_object().unwrap().len(), 15, "a vertex a worker");
}

#[test]
fn any_member_may_be_killed() {
    for member in ["worker:0", "worker:2", "holder:0", "holder:1"] {
        let kill = format!("{member}@50%");
        let size = ["apsp", "--size", "400", "--workers", "3", "--interval", "0.02", "--kill"];
        let report = run(&[&size[..], &[&kill]].concat());
        let name = member.replace(':', " ");
        assert_eq!(count(&report, &name, |what| what == "killed"), 1, "{member}");
        assert!(count(&report, &name, was_rebuilt) >= 1, "{member} was not rebuilt from parity");
    }
}

#[test]
fn planks_scheme_survives_too_and_so_does_every_way_to_notice_writes() {
    let task =
        ["apsp", "--size", "300", "--workers", "3", "--interval", "0.02", "--kill", "worker:1@50%"];
    run(&[&task[..], &["--mode", "n+1"]].concat());
    let doctor: serde_json::Value =
        serde_json::from_slice(&offload(&["doctor", "--json"]).stdout).unwrap();
    let works = doctor.as_array().unwrap().iter().filter(|row| row["works"] == true);
    let names: Vec<&str> = works.map(|row| row["mechanism"].as_str().unwrap()).collect();
    assert!(names.contains(&"compare") && names.contains(&"mprotect"), "{names:?}");
    for name in names {
        let report = run(&[&task[..], &["--dirty", name]].concat());
        assert_eq!(report["mechanism"], name);
    }
}

#[test]
fn two_at_once_are_survived_where_that_was_asked_for_and_named_where_not() {
    let task = ["apsp", "--size", "400", "--workers", "4", "--interval", "0.02"];
    let kills = ["--kill", "worker:1@50%", "--kill", "worker:3@50%"];
    let report = run(&[&task[..], &kills, &["--failures", "2"]].concat());
    assert!(
        count(&report, "worker 1", was_rebuilt) >= 1 && count(&report, "worker 3", was_rebuilt) >= 1
    );
    let output = offload(&[&["run"], &task[..], &kills].concat());
    let said = text(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{}{said}", text(&output.stdout));
    assert!(said.contains("worker 1, worker 3 are lost"), "{said}");
}

#[test]
fn mistakes_are_named() {
    for (arguments, word) in [
        (&["run", "matmul", "--workers", "3"][..], "1, 4, 9, 16"),
        (&["run", "apsp", "--kill", "worker:9@50%"], "there are 4 workers and 2 holders"),
        (&["run", "apsp", "--kill", "worker"], "worker:2@50%"),
        (&["run", "apsp", "--workers", "65"], "1 to 64"),
        (&["run", "apsp", "--failures", "9"], "1 to 8"),
        (&["run", "apsp", "--mode", "best"], "n+1, enhanced or offload"),
        (&["run", "apsp", "--interval", "0"], "above 0"),
        (&["run", "apsp", "--dirty", "magic"], "magic"),
    ] {
        let output = offload(arguments);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(word), "{arguments:?}: {said}");
    }
}
