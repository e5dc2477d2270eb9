//! The `offload` command as a process, and what it says.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
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

fn alone() -> MutexGuard<'static, ()> {
    CLASS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder that anybody may enter, for temporary files.
pub fn open_folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).expect("it is ours");
    folder
}

/// Grades what lies in `class`; every grade as JSON, and where the reports are.
#[track_caller]
pub fn graded(class: &Path, options: &[&str]) -> (Vec<Value>, TempDir) {
    let out = TempDir::new().expect("a folder");
    let temporary = open_folder();
    let mut command = offload();
    command.arg("grade").arg(class).arg("--out").arg(out.path()).arg("--json").args(options);
    let (grades, _said) = left_clean(command.env("TMPDIR", temporary.path()), &temporary);
    (grades, out)
}

/// Runs a grader that has `temporary` for temporary files, and looks whether anything is left: grades, and
/// what it said on stderr.
#[track_caller]
pub fn left_clean(command: &mut Command, temporary: &TempDir) -> (Vec<Value>, String) {
    let _alone = alone();
    let output = good(command);
    let grades: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let files: Vec<_> = std::fs::read_dir(temporary.path()).expect("it is there").flatten().collect();
    assert!(files.is_empty(), "files are left: {files:?}");
    let mark = format!("OFFLOAD_GRADE_MARK={}", temporary.path().display());
    let processes = std::fs::read_dir("/proc").expect("there are processes").flatten();
    let marked = processes.filter(|process| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|word| word.starts_with(mark.as_bytes()))
    });
    let left: Vec<_> =
        marked.map(|p| std::fs::read_to_string(p.path().join("cmdline")).unwrap_or_default()).collect();
    assert!(left.is_empty(), "processes are left: {left:?}");
    (grades, text(&output.stderr))
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
