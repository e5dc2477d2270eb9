//! What comes out, and what a TA can do with it.

use crate::submissions;
use crate::support::{good, graded, offload, root, text};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A class of flawless ones.
fn class(names: &[&str]) -> TempDir {
    let class = TempDir::new().unwrap();
    for name in names {
        let folder = class.path().join(name);
        fs::create_dir(&folder).unwrap();
        submissions::flawless(&folder);
    }
    class
}

#[test]
fn one_submission_is_shown_on_the_terminal_and_as_a_page() {
    let class = class(&["ada"]);
    let out = TempDir::new().unwrap();
    let mut command = offload();
    command.arg("grade").arg(class.path().join("ada")).args(["--runs", "1", "--out"]).arg(out.path());
    let output = good(&mut command);
    let said = text(&output.stdout);
    assert!(said.contains("100"), "{said}");
    assert!(!said.contains('\u{1b}'), "no colour in a pipe");
    assert!(text(&output.stderr).contains("[1/1] ada: "), "a line when it is done");
    // The page as a browser sees it, with nothing from outside.
    let page = out.path().join("ada/index.html");
    let dom = chromium(&page, "--dump-dom");
    assert!(dom.contains("ada") && dom.contains("100"), "{dom}");
    let html = fs::read_to_string(&page).unwrap();
    assert!(!html.contains("src=\"http") && !html.contains("href=\"http"), "self-contained");
}

fn chromium(page: &Path, what: &str) -> String {
    let profile = TempDir::new().unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args([
            "--no-first-run",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=390,800",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(what)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium runs: scripts/setup.sh test installs it");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_class_that_was_interrupted_goes_on_where_it_stopped() {
    let class = class(&["ada", "bob", "cyd"]);
    let out = TempDir::new().unwrap();
    let command = || {
        let mut command = offload();
        command
            .arg("grade")
            .arg(class.path())
            .args(["--runs", "2", "--jobs", "1", "--out"])
            .arg(out.path());
        command
    };
    let mut first = command().stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    let done = lines.next().expect("a first grade").unwrap();
    assert!(done.contains("[1/3] ada"), "{done}");
    let pid = first.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(first.wait().unwrap().code(), Some(130), "ended by Ctrl-C");
    let output = good(&mut command());
    let said = text(&output.stderr);
    assert!(said.contains("ada: ") && said.contains("graded before"), "{said}");
    assert_eq!(said.matches("graded before").count(), 1, "{said}");
    let csv = fs::read_to_string(out.path().join("grades.csv")).unwrap();
    assert_eq!(csv.lines().count(), 4, "a title and three grades: {csv}");
    let page = fs::read_to_string(out.path().join("index.html")).unwrap().replace("&#x2f;", "/");
    for name in ["ada", "bob", "cyd"] {
        assert!(page.contains(&format!("{name}/index.html")), "{name} has a link");
    }
    // Another seed makes other inputs: nothing of before holds.
    let output = good(command().args(["--seed", "7"]));
    assert!(!text(&output.stderr).contains("graded before"));
}

#[test]
fn gradescope_runs_it_from_the_zip() {
    let made = Command::new("make").arg("gradescope").current_dir(root()).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let there = TempDir::new().unwrap();
    let folder = |name: &str| -> PathBuf {
        let folder = there.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let (source, submission, results) = (folder("source"), folder("submission"), folder("results"));
    let zip = root().join("offload-autograder.zip");
    let unzipped = Command::new("unzip").arg("-q").arg(&zip).arg("-d").arg(&source).status();
    assert!(unzipped.unwrap().success());
    assert!(source.join("setup.sh").exists());
    submissions::flawless(&submission);
    let run =
        Command::new(source.join("run_autograder")).env("AUTOGRADER", there.path()).output().unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    let results: Value =
        serde_json::from_str(&fs::read_to_string(results.join("results.json")).unwrap()).unwrap();
    assert_eq!(results["score"], 100.0, "{results:#}");
    assert!(results["tests"].as_array().is_some_and(|tests| !tests.is_empty()));
}

#[test]
fn mistakes_of_the_ta_are_named() {
    let empty = TempDir::new().unwrap();
    let wrong = |arguments: &[&str], status: i32, says: &[&str]| {
        let output = offload().arg("grade").args(arguments).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        for word in says {
            assert!(said.contains(word), "{arguments:?}: {said}");
        }
    };
    let empty_path = empty.path().to_str().unwrap();
    wrong(&[], 2, &["PATH"]);
    wrong(&["/nonexistent"], 1, &["/nonexistent"]);
    wrong(&[empty_path], 1, &[empty_path]);
    wrong(&[empty_path, "--runs", "0"], 2, &["--runs"]);
    wrong(&[empty_path, "--only", "n300/avg"], 2, &["n300/sum"]);
    let class = class(&["ada"]);
    let ada = class.path().join("ada");
    let ada = ada.to_str().unwrap();
    wrong(&[ada, "--only", "n7/sum"], 1, &["n7", "n300"]);
    wrong(&[ada, "--policy", "/nonexistent"], 1, &["/nonexistent"]);
    let policy = empty.path().join("policy.toml");
    fs::write(&policy, "[phases]\nfirts = 3\n").unwrap();
    wrong(&[ada, "--policy", policy.to_str().unwrap()], 1, &["policy.toml:2", "firts"]);
}

#[test]
fn the_command_of_a_loss_shows_it_again() {
    let class = TempDir::new().unwrap();
    let name = "round-robin";
    let mutant = submissions::MUTANTS.iter().find(|mutant| mutant.name == name).unwrap();
    let folder = class.path().join("a student's \"own\"");
    submissions::make(mutant, &folder);
    let (grades, _out) = graded(&folder, &["--runs", "1", "--seed", "8461"]);
    let loss = &grades[0]["losses"][0];
    let again = loss["again"].as_str().unwrap();
    let shown = Command::new("sh").arg("-c").arg(again).output().unwrap();
    assert!(shown.status.success(), "{again}: {}", text(&shown.stderr));
    for line in ["expected", "actual"] {
        let line = loss[line].as_str().unwrap();
        assert!(text(&shown.stdout).contains(line), "{line} is missing after {again}");
    }
}

#[test]
fn one_run_can_be_seen_again() {
    let class = class(&["ada"]);
    let mut command = offload();
    command.arg("grade").arg(class.path().join("ada")).args(["--only", "n300/sum", "--show"]);
    let said = text(&good(&mut command).stdout);
    for line in [
        "The Server B has successfully finished the reduction SUM: 58962",
        "The AWS has successfully finished the reduction SUM: 163262",
        "The client has received reduction SUM: 163262",
    ] {
        assert!(said.contains(line), "{line} is missing in\n{said}");
    }
}
