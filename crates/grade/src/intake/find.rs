//! What a path on the command line stands for.

use super::Error;
use crate::handin::names;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How archives' names end. The others are found too, so that their authors are told.
const ARCHIVES: [&str; 10] =
    [".tar.gz", ".tgz", ".tar", ".gz", ".zip", ".rar", ".7z", ".tar.bz2", ".tar.xz", ".tar.z"];

/// The submissions that `paths` stand for: each is one, or a folder full of them. Sorted, none twice.
///
/// A folder is a submission if it holds a Makefile, a README or C sources, or only a folder that does; a
/// README beside submissions is the class's. In a folder of submissions links are not followed.
///
/// # Errors
/// A path that is not there, cannot be read, or stands for nothing.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for path in paths {
        let known = fs::metadata(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::Missing(path.clone()),
            _ => Error::Unreadable { path: path.clone(), source: e },
        })?;
        if known.is_file() {
            found.push(path.clone());
        } else if known.is_dir() {
            found.extend(in_folder(path)?);
        } else {
            return Err(Error::Neither(path.clone()));
        }
    }
    found.sort();
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())));
    Ok(found)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Unreadable { path: folder.to_owned(), source };
    let inside = Inside::of(folder).map_err(unreadable)?;
    if inside.work {
        return Ok(vec![folder.to_owned()]);
    }
    let mut submissions = inside.archives;
    for below in &inside.folders {
        // One that this user may not look into is reported when it is taken in, and one with nothing in it is
        // refused there: its author is in the class.
        if Inside::of(below).map_or(true, |below| below.is_submission() || below.is_empty()) {
            submissions.push(below.clone());
        }
    }
    let wrapped = submissions == inside.folders && submissions.len() == 1 && !inside.others;
    if wrapped || (submissions.is_empty() && inside.readme) {
        return Ok(vec![folder.to_owned()]);
    }
    if submissions.is_empty() {
        return Err(Error::NoSubmission(folder.to_owned()));
    }
    Ok(submissions)
}

/// What a folder directly holds.
#[derive(Default)]
struct Inside {
    /// A Makefile or sources.
    work: bool,
    readme: bool,
    others: bool,
    archives: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Inside {
    fn of(folder: &Path) -> io::Result<Inside> {
        let mut inside = Inside::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if name.starts_with('.') || name == "__MACOSX" {
                continue;
            }
            let lower = name.to_lowercase();
            if kind.is_dir() {
                inside.folders.push(entry.path());
            } else if names::is_makefile_like(&name) || names::is_source(&name) {
                inside.work = true;
            } else if names::is_readme(&name) {
                inside.readme = true;
            } else if kind.is_file() && ARCHIVES.iter().any(|end| lower.ends_with(end)) {
                inside.archives.push(entry.path());
            } else {
                inside.others = true;
            }
        }
        Ok(inside)
    }

    /// Whether it is one, or holds only a folder that is.
    fn is_empty(&self) -> bool {
        !(self.work || self.readme || self.others) && self.archives.is_empty() && self.folders.is_empty()
    }

    fn is_submission(&self) -> bool {
        if self.work || self.readme {
            return true;
        }
        match &self.folders[..] {
            [only] if self.archives.is_empty() && !self.others => {
                Inside::of(only).is_ok_and(|inside| inside.work || inside.readme)
            }
            _ => false,
        }
    }
}
