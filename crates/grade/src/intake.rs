//! Takes a submission in: a copy in a scratch folder, or a reason why not.
//!
//! The lesson: an archive is a program that writes files, written by somebody else. So each entry is
//! vetted before anything of it is written, bytes are counted while they stream and not after, and links
//! are made last of all, when no more file can be written through one. A folder is copied by the same
//! rules, since it may hold a FIFO that would block its reader for ever.
//!
//! Left out: archives other than tar (they are named and refused), sparse files, owners, and what is no
//! part of the work: macOS's companion files and version control.

mod archive;
mod find;
mod folder;
mod links;
mod refusal;
mod stage;
mod tree;

pub use find::find;
pub use refusal::Refusal;
pub(crate) use refusal::quoted;
pub(crate) use tree::{files, read_text};

use nix::fcntl::OFlag;
use stage::{Stage, Stop};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why there is no submission to grade.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's: the path is wrong.
    #[error("there is no {}: give a submission (a folder or a .tar.gz) or a folder of them", .0.display())]
    Missing(PathBuf),
    /// The caller's: there is a folder, with nothing in it to grade.
    #[error(
        "no submission in {}: expected archives (.tar.gz, .tgz, .tar), folders with a Makefile, \
         README or C sources, or these themselves", .0.display()
    )]
    NoSubmission(PathBuf),
    /// The caller's: something that is neither a file nor a folder.
    #[error("{} is neither a file nor a folder", .0.display())]
    Neither(PathBuf),
    /// This machine's: what is there cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// This machine's: the scratch folder cannot be written.
    #[error("cannot write the copy in {}: {source}", path.display())]
    Scratch {
        /// The scratch folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The student's: what was handed in is not safe or not whole.
    #[error("{name} is refused: {why}")]
    Refused {
        /// The archive's or folder's name.
        name: String,
        /// Why, for the student.
        why: Refusal,
    },
}

/// A submission that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The archive's or folder's name.
    pub name: String,
    /// The archive's name; `None` for a folder.
    pub archive_name: Option<String>,
    /// Where its files are: the scratch folder, or the one folder in it that holds all there is.
    pub root: PathBuf,
    /// SHA-256 of all names, contents and executable bits below the root, in hexadecimal digits.
    pub fingerprint: String,
}

/// Copies the submission at `path` into the empty folder `into`. Nothing else is written to.
///
/// # Errors
/// [`Error::Refused`] is a grade of its own; all others are trouble of the caller's or this machine's.
/// `into` may hold a part of the submission then.
pub fn take_in(path: &Path, into: &Path) -> Result<Taken, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let full = fs::canonicalize(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
        _ => unreadable(e),
    })?;
    let name = full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned();
    // Without waiting: a FIFO has no other end.
    let file = OpenOptions::new().read(true).custom_flags(no_wait()).open(&full).map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?;
    let mut stage = Stage::new(into);
    let copied = if kind.is_dir() {
        folder::copy(&full, &mut stage)
    } else if kind.is_file() {
        archive::unpack(file, &mut stage)
    } else {
        return Err(Error::Neither(path.to_owned()));
    };
    let scratch = |source| Error::Scratch { path: into.to_owned(), source };
    copied.and_then(|()| stage.finish()).map_err(|stop| match stop {
        Stop::Refused(why) => Error::Refused { name: name.clone(), why },
        Stop::Scratch(e) => scratch(e),
        Stop::Source(at, source) => {
            let path = if at.as_os_str().is_empty() { full.clone() } else { full.join(at) };
            Error::Unreadable { path, source }
        }
    })?;
    let root = tree::root(into).map_err(scratch)?;
    let fingerprint = tree::fingerprint(&root).map_err(scratch)?;
    Ok(Taken { archive_name: kind.is_file().then(|| name.clone()), name, root, fingerprint })
}

/// The flags that open anything without waiting for another end.
fn no_wait() -> i32 {
    (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits()
}

#[cfg(test)]
mod tests;
