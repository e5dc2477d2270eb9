//! `offload parity` for reading, simulating and drawing: what a user types, and what comes of it.

use std::path::Path;
use std::process::{Command, Output};

fn offload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_offload")).arg("parity").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn example(name: &str) -> String {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    crates.join("parity/examples").join(name).to_str().unwrap().to_owned()
}

#[track_caller]
fn said(arguments: &[&str]) -> String {
    let output = offload(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let output = offload(arguments);
    assert!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output.stdout));
    text(&output.stderr)
}

/// The paper's tables 3 to 9.
const TABLES: [(&str, &str); 7] = [
    (
        "Table 3: sent table of P2 after checkpoint c",
        "Ack Status  Seq Number  Destination  Message slot\n  2           m0          P1           Mq34#$62^#",
    ),
    (
        "Table 4: sent table of P1 after checkpoint c+1",
        "Ack Status  Seq Number  Destination  Message slot\n  2           m1          P2           Mt*hjkvd#$62^#",
    ),
    (
        "Table 5: receipt table of P1 after checkpoint c+1",
        "Ack Status  Seq Number  Source\n  2           m2          P2",
    ),
    (
        "Table 6: sent table of P2 after checkpoint c+1",
        "Ack Status  Seq Number  Destination  Message slot\n  2           m2          P1           Mtlw*(0kvd#$62^#\n  2           m4          P1           Mtlw(dju)62^#",
    ),
    (
        "Table 7: receipt table of P2 after checkpoint c+1",
        "Ack Status  Seq Number  Source\n  2           m1          P1\n  2           m3          P1",
    ),
    (
        "Table 8: sent table of P1 at t4",
        "Ack Status  Seq Number  Destination  Message slot\n  2           m1          P2           Mt*hjkvd#$62^#\n  1           m3          P2           Mtl@sv!54ju)62^#",
    ),
    (
        "Table 9: receipt table of P1 at t4",
        "Ack Status  Seq Number  Source\n  2           m2          P2\n  1           m4          P2",
    ),
];

#[test]
fn inspect_prints_the_papers_tables() {
    let printed = said(&["inspect"]);
    for (title, rows) in TABLES {
        let table = format!("\n{title}\n  {rows}\n\n");
        assert!(printed.contains(&table), "{table}is not in:\n{printed}");
    }
    assert_eq!(printed, said(&["inspect", &example("paper.script")]), "it is the one that is shipped");
    // The same script in our mode: one number a source, and the sender's checkpoint.
    let ours = said(&["inspect", "--mode", "offload"]);
    assert!(ours.contains("Source  Taken  Last") && !ours.contains("Ack Status"), "{ours}");
    let hole = said(&["inspect", &example("hole.script")]);
    assert!(hole.contains("m4 is LOST") && hole.contains("P2 takes m3 A SECOND TIME"), "{hole}");
    let ours = said(&["inspect", &example("hole.script"), "--mode", "offload"]);
    assert!(!ours.contains("LOST") && !ours.contains("SECOND TIME"), "{ours}");
}

#[test]
fn a_script_that_is_wrong_is_refused_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.script");
    std::fs::write(&path, "processes A B\n\nsend A B m x\ndeliver n\n").unwrap();
    let path = path.to_str().unwrap();
    assert!(refused(&["inspect", path]).contains(&format!("{path}:4: n was never sent")));
    std::fs::write(path, [b'p', 0xff]).unwrap();
    assert!(refused(&["inspect", path]).contains("not UTF-8"));
    assert!(refused(&["inspect", "no.script"]).contains("no.script: "));
    assert!(refused(&["inspect", "/dev/zero"]).contains("/dev/zero: it is not a file"));
    assert!(refused(&["inspect", "--mode", "n+1"]).contains("logs no messages"));
}

#[test]
fn simulate_tells_what_each_mode_costs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.toml");
    let whole = std::fs::read_to_string(example("testbed.toml")).unwrap();
    // A twentieth of the work, and one death that is sure.
    let small = whole
        .replace("1_000_000", "50_000")
        .replace("failures = 4 ", "failures = 1 ")
        .replace("mtbf_s = 1_904_459", "kill = [{ at_s = 30000, member = \"worker:2\" }]");
    std::fs::write(&path, &small).unwrap();
    let path = path.to_str().unwrap();
    let rows: serde_json::Value = serde_json::from_str(&said(&["simulate", path, "--json"])).unwrap();
    let rows = rows.as_array().unwrap();
    let modes: Vec<&str> = rows.iter().map(|row| row["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["n+1", "enhanced", "offload"]);
    let number =
        |row: usize, key: &str| rows[row][key].as_f64().unwrap_or_else(|| panic!("{key}: {rows:?}"));
    for row in [0, 2] {
        assert_eq!(rows[row]["deaths"], 1);
        assert!(number(row, "recovery_s") > 0.0 && number(row, "ratio") > 0.0);
    }
    assert!(number(2, "overhead_s") < 0.1 * number(0, "overhead_s"), "nobody freezes");
    assert!(number(2, "ratio_measured") < number(0, "ratio_measured"));
    let table = said(&["simulate", path, "--mode", "offload"]);
    assert!(table.lines().nth(1).unwrap().contains(" offload "), "{table}");
    assert!(!table.contains("n+1") && table.contains("T_opt"), "{table}");
    std::fs::write(path, small.replace("interval_s = 8000", "interval_s = -1")).unwrap();
    let line = 1 + small.lines().position(|line| line.starts_with("interval_s")).unwrap();
    assert!(
        refused(&["simulate", path])
            .contains(&format!("small.toml:{line}: interval_s = -1: it has to be"))
    );
    assert!(refused(&["simulate", "no.toml"]).contains("no.toml: "));
}

const TASK: [&str; 8] = ["run", "apsp", "--size", "600", "--workers", "3", "--interval", "0.02"];

#[test]
fn a_run_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.svg");
    let drawn = path.to_str().unwrap();
    let printed = said(&[&TASK[..], &["--kill", "worker:1@50%", "--timeline", drawn]].concat());
    for member in ["holder 0", "holder 1", "worker 0", "worker 1", "worker 2"] {
        let lane = printed.lines().find(|line| line.starts_with(&format!("{member}    ")));
        let lane = lane.unwrap_or_else(|| panic!("{member} has no line:\n{printed}"));
        assert_eq!(lane.contains('X'), member == "worker 1", "{lane}");
        // Where it dies and where it is back may be one place.
        assert!(lane.contains('c') && (lane.contains('R') || member == "worker 1"), "{lane}");
    }
    assert!(printed.contains("done again"), "{printed}");
    let svg = std::fs::read_to_string(&path).unwrap();
    for word in [
        "apsp of 600 nodes",
        ": is killed</title>",
        ": dies</title>",
        "is rebuilt, at",
        "done again",
        "counts</title>",
    ] {
        assert!(svg.contains(word), "{word}");
    }
}

#[test]
fn a_run_that_fails_is_drawn_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.svg");
    let two = ["--kill", "worker:1@70%", "--kill", "worker:2@70%", "--timeline", path.to_str().unwrap()];
    let error = refused(&[&TASK[..], &two].concat());
    assert!(error.contains("1 at once can be had again"), "{error}");
    let lanes = error.lines().filter(|line| line.starts_with("worker ") && line.contains('X'));
    assert_eq!(lanes.count(), 2, "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap().matches(": dies</title>").count(), 2);
}

#[test]
fn a_drawing_that_cannot_be_is_refused_before_the_run_or_named_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("no/such/run.svg");
    let nowhere = nowhere.to_str().unwrap();
    let error = refused(&[&TASK[..], &["--timeline", nowhere]].concat());
    assert!(error.starts_with(&format!("offload: {nowhere}: --timeline: ")), "{error}");
    let output = offload(&[&TASK[..], &["--timeline", "/dev/full"]].concat());
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("/dev/full: --timeline: "), "{error}");
    assert!(
        text(&output.stdout).contains("the answer is that of one process"),
        "it is not lost with it"
    );
}

#[test]
fn kills_by_chance_are_survived_or_named_and_told_so_that_they_can_be_had_again() {
    // Its first two kills, of one member, come within the first 0.13 s.
    let chance = ["--size", "600", "--failures", "2", "--mtbf", "2", "--seed", "1", "--json"];
    let output =
        offload(&[&["run", "apsp", "--workers", "3", "--interval", "0.02"], &chance[..]].concat());
    let error = text(&output.stderr);
    let told = "each member is killed every 2 s on average: --mtbf 2 --seed 1 kills so again\n";
    assert!(error.starts_with(told), "{error}");
    if output.status.success() {
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["right"], &report["seed"]), (&true.into(), &1.into()));
    } else {
        assert!(error.contains("2 at once can be had again"), "{error}");
    }
    let first = error.lines().find(|line| line.ends_with(" is killed"));
    assert!(first.is_some_and(|line| line.ends_with("holder 0 is killed")), "{error}");
    // Without a seed one is chosen, and told.
    let output = offload(&["run", "apsp", "--mtbf", "3600"]);
    assert!(text(&output.stderr).contains("--mtbf 3600 --seed "), "{}", text(&output.stderr));
    assert!(refused(&["run", "apsp", "--mtbf", "0"]).contains("above 0"));
    assert!(refused(&["run", "apsp", "--seed", "1"]).contains("--mtbf"));
}
