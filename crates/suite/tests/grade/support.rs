//! The `offload` command as a process, and what it says.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// `offload`, with nothing to read.
pub fn offload() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offload"));
    command.stdin(Stdio::null());
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it to its end, which must be good.
#[track_caller]
pub fn good(command: &mut Command) -> Output {
    let output = command.output().expect("offload runs");
    assert!(output.status.success(), "{}\n{}", output.status, text(&output.stderr));
    output
}

/// One class at a time: each takes all processors.
static CLASS: Mutex<()> = Mutex::new(());

/// Grades what lies in `class`; every grade as JSON, and where the reports are.
#[track_caller]
pub fn graded(class: &Path, options: &[&str]) -> (Vec<Value>, TempDir) {
    let _alone = CLASS.lock().unwrap_or_else(PoisonError::into_inner);
    let out = TempDir::new().expect("a folder");
    let mut command = offload();
    command.arg("grade").arg(class).arg("--out").arg(out.path()).arg("--json").args(options);
    let output = good(&mut command);
    let grades: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    (grades, out)
}

#[track_caller]
pub fn named<'a>(grades: &'a [Value], name: &str) -> &'a Value {
    grades.iter().find(|grade| grade["name"] == name).unwrap_or_else(|| panic!("{name} is not graded"))
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What was lost, as `check (rule N): lenient/strict`, sorted.
pub fn losses(grade: &Value) -> Vec<String> {
    let each = grade["losses"].as_array().expect("losses");
    let mut all: Vec<String> = each
        .iter()
        .map(|l| {
            format!(
                "{} (rule {}): {}/{}",
                l["check"].as_str().unwrap_or("?"),
                l["rule"],
                l["lenient"],
                l["strict"]
            )
        })
        .collect();
    all.sort();
    all
}
