//! Names of files, as strangers give them.
//!
//! The lesson: a path from outside is a list of names, and each name is refused unless it can only mean
//! itself. Nothing is repaired: two wrong names may be repaired to the same one, and what is on disk would
//! then not be what was published. A backslash is a character like any other here (Linux); a control
//! character could write on somebody's terminal.

use super::{Error, File};
use crate::limits::{MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_PATH_COMPONENTS};
use offload::numbers::Shown;
use std::path::PathBuf;

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// `.` or `..`.
    #[error("is a directory's own or its parent's")]
    Dots,
    /// `/`, or a control character such as NUL.
    #[error("has a slash or a control character in it")]
    Character,
    /// Other bytes than text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// More than the file system takes.
    #[error("is longer than {MAX_NAME_BYTES} bytes")]
    Long,
}

/// The name, if it is fit to be one of a file.
pub(crate) fn check(name: &[u8]) -> Result<&str, Error> {
    let refuse = |fault| Err(Error::Name { name: Shown::new(name), fault });
    let Ok(text) = std::str::from_utf8(name) else { return refuse(NameFault::NotUtf8) };
    match text {
        "" => refuse(NameFault::Empty),
        "." | ".." => refuse(NameFault::Dots),
        _ if text.len() > MAX_NAME_BYTES => refuse(NameFault::Long),
        _ if text.contains(|c: char| c == '/' || c.is_control()) => refuse(NameFault::Character),
        _ => Ok(text),
    }
}

/// The path below the directory `root`, itself a name that was checked.
pub(super) fn path<'a>(
    root: &str,
    names: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<PathBuf, Error> {
    let mut path = PathBuf::from(root);
    let mut components = 1;
    for name in names {
        path.push(check(name.ok_or(Error::Key("path"))?)?);
        components += 1;
        let bytes = path.as_os_str().as_encoded_bytes();
        if components > MAX_PATH_COMPONENTS || bytes.len() > MAX_PATH_BYTES {
            return Err(Error::LongPath { path: Shown::new(bytes) });
        }
    }
    if components == 1 { Err(Error::Key("path")) } else { Ok(path) }
}

/// Refuses two files at one path, and a file where another needs a directory.
pub(super) fn distinct(files: &[File]) -> Result<(), Error> {
    let mut paths: Vec<_> = files.iter().filter(|file| !file.padding).map(|file| &file.path).collect();
    // Whatever is below a path comes right after it: paths compare name by name.
    paths.sort_unstable();
    let clash = paths.windows(2).find(|pair| pair[1].starts_with(pair[0]));
    clash.map_or(Ok(()), |pair| Err(Error::Clash { path: pair[0].clone() }))
}
