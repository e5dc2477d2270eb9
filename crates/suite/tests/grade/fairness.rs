//! Each planted defect costs what it should, and nothing else does.

use crate::submissions::{self, MUTANTS};
use crate::support::{graded, losses, named, root};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// What a mutant must lose, written like [`losses`].
fn expected(mutant: &submissions::Mutant) -> Vec<String> {
    let each = mutant.loses.iter();
    let mut all: Vec<String> = each
        .map(|(check, rule, lenient, strict)| format!("{check} (rule {rule}): {lenient:?}/{strict:?}"))
        .collect();
    all.sort();
    all
}

#[test]
fn each_defect_costs_what_the_document_says_and_nothing_else() {
    let class = TempDir::new().unwrap();
    // One that fails now and then needs more than one run: it has a test of its own.
    let steady = || MUTANTS.iter().filter(|mutant| mutant.name != "flaky");
    for mutant in steady() {
        let folder = class.path().join(mutant.name);
        fs::create_dir(&folder).unwrap();
        submissions::make(mutant, &folder);
    }
    assert!(MUTANTS.len() >= 30, "{}", MUTANTS.len());
    let (grades, _out) = graded(class.path(), &["--runs", "1", "--patience", "2", "--jobs", "4"]);
    let mut wrong = Vec::new();
    for mutant in steady() {
        let grade = named(&grades, mutant.name);
        let (is, should) = (losses(grade), expected(mutant));
        if is != should {
            wrong.push(format!(
                "{} ({})\n  loses  {is:#?}\n  should {should:#?}",
                mutant.name, mutant.what
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn scores(grade: &Value) -> (f64, f64) {
    let of = |reading: &str| grade["score"][reading].as_f64().expect("a score");
    (of("lenient"), of("strict"))
}

/// As a student hands it in.
fn tarball(folder: &Path, archive: &Path) {
    let tar = Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(folder).arg(".").status();
    assert!(tar.expect("tar runs").success());
}

#[test]
fn what_fails_now_and_then_is_told_and_not_charged() {
    let class = TempDir::new().unwrap();
    let mutant = MUTANTS.iter().find(|mutant| mutant.name == "flaky").unwrap();
    submissions::make(mutant, &class.path().join("flaky"));
    let (grades, _out) = graded(&class.path().join("flaky"), &["--runs", "3", "--patience", "2"]);
    let grade = named(&grades, "flaky");
    assert_eq!(losses(grade), expected(mutant));
    let rate = grade["flake_rate"].as_f64().unwrap();
    assert!(rate > 0.01 && rate < 0.2, "every 17th run: {rate}");
}

#[test]
fn the_flawless_one_gets_everything_twenty_times_over() {
    let (class, flawless) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    submissions::flawless(flawless.path());
    // Each of ten is run twice.
    for n in 0..10 {
        tarball(
            flawless.path(),
            &class.path().join(format!("ee450_student{}_session1.tar.gz", (b'a' + n) as char)),
        );
    }
    let (grades, _out) = graded(class.path(), &["--runs", "2", "--jobs", "4"]);
    assert_eq!(grades.len(), 10);
    for grade in &grades {
        assert_eq!(scores(grade), (100.0, 100.0), "{}: {:#?}", grade["name"], losses(grade));
        assert_eq!(grade["flake_rate"], 0.0, "{}", grade["name"]);
        assert_eq!(grade["id"], 319);
        assert!(losses(grade).is_empty());
    }
}

/// The project as it is, but for one thing: a sandbox has no network to fetch crates from, so that
/// `make all` finds the programs built.
#[test]
fn our_own_suite_gets_everything() {
    let class = TempDir::new().unwrap();
    let folder = class.path().join("offload");
    fs::create_dir_all(folder.join("src/bin")).unwrap();
    for file in ["README.md", "Makefile", "nums.csv"] {
        fs::copy(root().join(file), folder.join(file)).unwrap();
    }
    for name in ["client", "aws", "servera", "serverb", "serverc"] {
        let file = format!("src/bin/{name}.rs");
        fs::copy(root().join(&file), folder.join(&file)).unwrap();
    }
    fs::create_dir(folder.join("scripts")).unwrap();
    let built = Command::new("scripts/build.sh").current_dir(root()).status();
    assert!(built.expect("scripts/build.sh runs").success());
    fs::create_dir(folder.join("built")).unwrap();
    for program in ["client", "aws", "serverA", "serverB", "serverC"] {
        // Without what debuggers want they are small enough to be handed in.
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(folder.join("built").join(program)).arg(root().join(program));
        assert!(strip.status().expect("strip runs").success());
    }
    let build = folder.join("scripts/build.sh");
    fs::write(&build, "#!/bin/sh\ncp built/* .\n").unwrap();
    fs::set_permissions(&build, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (grades, _out) = graded(&folder, &["--runs", "2"]);
    let grade = named(&grades, "offload");
    assert_eq!(scores(grade), (100.0, 100.0), "{:#?}", grade["losses"]);
    assert!(losses(grade).is_empty());
}

#[test]
fn what_can_be_repaired_is_graded_twice() {
    let class = TempDir::new().unwrap();
    let names = ["makefile-txt", "no-makefile", "no-phony", "no-target"];
    for name in names {
        let mutant =
            MUTANTS.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("{name} is no mutant"));
        let folder = class.path().join(mutant.name);
        fs::create_dir(&folder).unwrap();
        submissions::make(mutant, &folder);
    }
    let (grades, _out) = graded(class.path(), &["--runs", "1", "--repair"]);
    for name in names {
        let grade = named(&grades, name);
        let repaired = grade["repaired"]["lenient"].as_f64().expect("it was repaired");
        assert!(repaired > scores(grade).0, "{name}: {repaired} after {:?}", scores(grade));
        assert!(!grade["repairs"].as_array().unwrap().is_empty(), "{name}: each repair is named");
    }
}
