//! A whole class: several submissions at a time, each grade kept as soon as it is there.
//!
//! A grade is kept beside a key of all that it depends on: the submission's content and what the TA asked
//! for. So a class that was interrupted goes on where it stopped, and one whose inputs have changed is
//! graded anew.

use crate::exam::{self, Opened, Options};
use crate::model::Grade;
use crate::report;
use crate::sandbox::{Ground, Isolation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Why a class is not graded whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One submission could not be graded, by the grader's own fault.
    #[error(transparent)]
    Exam(#[from] exam::Error),
    /// The reports cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What happens to one submission.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It is being graded; the sentence says what runs now.
    Now(&'a str),
    /// Its grade is there.
    Done {
        /// The grade.
        grade: &'a Grade,
        /// It was kept from an earlier time.
        kept: bool,
    },
    /// There is no grade, by no fault of the submission.
    Failed(&'a Error),
}

/// Hears of the submission with this index.
pub type Tell<'a> = &'a (dyn Fn(usize, Event<'_>) + Sync);

#[derive(Serialize, Deserialize)]
struct Kept {
    key: String,
    grade: Grade,
}

/// Grades `paths`, `jobs` at a time, and writes a page and the data of each below `out`, and pages of the
/// class where there are several.
///
/// # Errors
/// When a submission cannot be graded, or a report not be written. All others are graded, and kept, all the
/// same.
pub fn run(
    paths: &[PathBuf],
    ground: &Ground,
    options: &Options,
    out: &Path,
    jobs: usize,
    tell: Tell<'_>,
) -> Result<Vec<Grade>, Error> {
    let jobs = match ground.isolation() {
        Isolation::Namespaces => jobs.clamp(1, paths.len().max(1)),
        // They would have the same ports.
        Isolation::Bare(_) => 1,
    };
    let names = folders(paths);
    let outcomes: Vec<OnceLock<Result<Grade, Error>>> = paths.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(path), Some(outcome)) = (paths.get(index), outcomes.get(index)) else { break };
            let folder = out.join(&names[index]);
            // Each index is given out once.
            let tell = |event: Event<'_>| tell(index, event);
            outcome.get_or_init(|| {
                one(path, &folder, ground, options, &tell).inspect_err(|e| tell(Event::Failed(e)))
            });
        }
    };
    thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(work);
        }
        work();
    });
    let (mut grades, mut failed) = (Vec::new(), None);
    for outcome in outcomes.into_iter().filter_map(OnceLock::into_inner) {
        match outcome {
            Ok(grade) => grades.push(grade),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if paths.len() > 1 {
        write(&out.join("index.html"), &report::class_page(&grades))?;
    }
    write(&out.join("grades.csv"), &report::csv(&grades))?;
    failed.map_or(Ok(grades), Err)
}

/// A folder for each submission: its name, which another may have too.
fn folders(paths: &[PathBuf]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut folder = |path: &PathBuf| {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let name = match name.as_str() {
            "" | "." | ".." | "/" => "submission".to_owned(),
            _ => name,
        };
        let mut free = name.clone();
        for n in 2.. {
            if taken.insert(free.clone()) {
                break;
            }
            free = format!("{name}-{n}");
        }
        free
    };
    paths.iter().map(&mut folder).collect()
}

fn one(
    path: &Path,
    folder: &Path,
    ground: &Ground,
    options: &Options,
    tell: &dyn Fn(Event<'_>),
) -> Result<Grade, Error> {
    tell(Event::Now("unpacking"));
    let opened = Opened::new(path, ground)?;
    let key = key(path, &opened, ground, options);
    let file = folder.join("grade.json");
    if let Some(grade) = kept(&file, &key) {
        tell(Event::Done { grade: &grade, kept: true });
        return Ok(grade);
    }
    let mut grade = exam::grade(&opened, ground, options, &|now| tell(Event::Now(now)))?;
    // The name of the folder tells two of the same name apart.
    grade.name = folder.file_name().map_or(grade.name, |name| name.to_string_lossy().into_owned());
    write(&folder.join("index.html"), &report::page(&grade))?;
    let kept = Kept { key, grade };
    let text = serde_json::to_string_pretty(&kept).map_err(io::Error::from);
    write(&file, &text.map_err(|source| Error::Write { path: file.clone(), source })?)?;
    tell(Event::Done { grade: &kept.grade, kept: false });
    Ok(kept.grade)
}

/// All that a grade depends on, in short.
fn key(path: &Path, opened: &Opened, ground: &Ground, options: &Options) -> String {
    // However this program is called, grades are the same.
    let options = Options { command: String::new(), ..options.clone() };
    let (built, isolation) = (ground.built(), ground.isolation());
    let all = format!("{built} {path:?} {} {isolation:?} {options:?}", opened.fingerprint());
    Sha256::digest(all).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kept(file: &Path, key: &str) -> Option<Grade> {
    let kept: Kept = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    (kept.key == key).then_some(kept.grade)
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(folder).and_then(|()| {
        let mut file = tempfile::Builder::new().permissions(open_file()).tempfile_in(folder)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    });
    written.map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// As the user's mask allows.
fn open_file() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_the_same_name_have_two_folders() {
        let paths = ["a/x.tar.gz", "b/x.tar.gz", "x.tar.gz-2", "/"].map(PathBuf::from);
        assert_eq!(folders(&paths), ["x.tar.gz", "x.tar.gz-2", "x.tar.gz-2-2", "submission"]);
    }
}
