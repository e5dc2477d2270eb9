//! A submission that is a folder: what is in it is copied, what it points to is not.

use super::no_wait;
use super::refusal::{Refusal, quoted};
use super::stage::{About, Stage, Stop, is_junk, place};
use nix::fcntl::OFlag;
use std::fs::{self, FileType, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Copies all files, folders and links below `from`.
pub(super) fn copy(from: &Path, stage: &mut Stage<'_>) -> Result<(), Stop> {
    let mut todo = vec![PathBuf::new()];
    while let Some(folder) = todo.pop() {
        let source = |e| Stop::Source(folder.clone(), e);
        for entry in fs::read_dir(from.join(&folder)).map_err(source)? {
            let entry = entry.map_err(source)?;
            let path = folder.join(entry.file_name());
            if is_junk(&path) {
                continue;
            }
            stage.count()?;
            let path = place(path.as_os_str().as_bytes())?;
            // The kind of the entry itself: a link is not followed.
            let kind = entry.file_type().map_err(source)?;
            if kind.is_dir() {
                stage.folder(&path)?;
                todo.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(|e| Stop::Source(path.clone(), e))?;
                stage.link(&path, target.as_os_str().as_bytes())?;
            } else {
                copy_file(from, &path, kind, stage)?;
            }
        }
    }
    Ok(())
}

fn copy_file(from: &Path, path: &Path, kind: FileType, stage: &mut Stage<'_>) -> Result<(), Stop> {
    let special = |kind| Refusal::Special {
        entry: quoted(path.as_os_str().as_bytes()),
        what: special(kind).unwrap_or("no file"),
    };
    if !kind.is_file() {
        return Err(special(kind).into());
    }
    let source = |e| Stop::Source(path.to_owned(), e);
    // Should it have become something else meanwhile: no waiting, no following.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(no_wait() | OFlag::O_NOFOLLOW.bits())
        .open(from.join(path))
        .map_err(source)?;
    let known = file.metadata().map_err(source)?;
    if !known.is_file() {
        return Err(special(known.file_type()).into());
    }
    let executable = known.permissions().mode() & 0o111 != 0;
    let about = About { executable, modified: known.modified().ok() };
    stage.file(path, &about, &mut file).map(|_| ())
}

/// What a file is that is not one.
fn special(kind: FileType) -> Option<&'static str> {
    if kind.is_fifo() {
        Some("a FIFO")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_block_device() || kind.is_char_device() {
        Some("a device")
    } else {
        None
    }
}
