//! The scratch folder while it is filled: the one place that writes.
//!
//! No link exists in it before [`Stage::finish`], so that no path that is written leads through one.

use super::links;
use super::refusal::{Refusal, quoted};
use crate::limits::{ENTRIES, FILE_BYTES, LINKS, NAME_BYTES, PATH_BYTES, UNPACKED_BYTES};
use std::collections::HashMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// Bytes that are copied at a time.
const STEP_BYTES: usize = 64 << 10;
/// What is no part of anybody's work: macOS's companions and version control.
const JUNK: [&str; 5] = [".DS_Store", "__MACOSX", ".git", ".svn", ".hg"];

/// Why filling stopped.
pub(super) enum Stop {
    /// For what the submission is.
    Refused(Refusal),
    /// The scratch folder cannot be written.
    Scratch(io::Error),
    /// The submission cannot be read, at this path inside it.
    Source(PathBuf, io::Error),
}

impl From<Refusal> for Stop {
    fn from(why: Refusal) -> Stop {
        Stop::Refused(why)
    }
}

/// What a path was made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Folder,
    File,
}

/// What is known of a file beside its content.
pub(super) struct About {
    pub(super) executable: bool,
    pub(super) modified: Option<SystemTime>,
}

/// The scratch folder, and what is in it so far.
pub(super) struct Stage<'a> {
    into: &'a Path,
    entries: usize,
    bytes: u64,
    made: HashMap<PathBuf, Made>,
    links: HashMap<PathBuf, PathBuf>,
    now: SystemTime,
}

impl Stage<'_> {
    pub(super) fn new(into: &Path) -> Stage<'_> {
        let now = SystemTime::now();
        Stage { into, entries: 0, bytes: 0, made: HashMap::new(), links: HashMap::new(), now }
    }

    /// Counts one more entry, of whatever kind.
    pub(super) fn count(&mut self) -> Result<(), Refusal> {
        self.entries += 1;
        if self.entries > ENTRIES { Err(Refusal::Entries) } else { Ok(()) }
    }

    /// Makes a folder and those above it.
    pub(super) fn folder(&mut self, path: &Path) -> Result<(), Stop> {
        self.parents(path)?;
        self.one_folder(path)
    }

    /// Makes the folders above a path. Each counts: a single deep path may ask for hundreds.
    fn parents(&mut self, path: &Path) -> Result<(), Stop> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        for folder in above.into_iter().skip(1) {
            if self.links.contains_key(folder) {
                return Err(Refusal::ThroughLink(quoted(path.as_os_str().as_bytes())).into());
            }
            if !self.made.contains_key(folder) {
                self.count()?;
            }
            self.one_folder(folder)?;
        }
        Ok(())
    }

    fn one_folder(&mut self, path: &Path) -> Result<(), Stop> {
        if self.made.get(path) == Some(&Made::File) || self.links.contains_key(path) {
            return Err(twice(path));
        }
        if self.made.insert(path.to_owned(), Made::Folder).is_none() {
            let place = self.into.join(path);
            fs::create_dir(&place).map_err(Stop::Scratch)?;
            fs::set_permissions(&place, Permissions::from_mode(0o755)).map_err(Stop::Scratch)?;
        }
        Ok(())
    }

    /// Writes a file, in place of an earlier one of that name. Returns how many bytes there were.
    pub(super) fn file(&mut self, path: &Path, about: &About, from: &mut dyn Read) -> Result<u64, Stop> {
        self.parents(path)?;
        let place = self.into.join(path);
        match self.made.insert(path.to_owned(), Made::File) {
            _ if self.links.contains_key(path) => return Err(twice(path)),
            Some(Made::Folder) => return Err(twice(path)),
            Some(Made::File) => fs::remove_file(&place).map_err(Stop::Scratch)?,
            None => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(&place).map_err(Stop::Scratch)?;
        let mut buffer = vec![0; STEP_BYTES];
        let mut size = 0;
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Stop::Source(path.to_owned(), e)),
            };
            size += n as u64;
            self.bytes += n as u64;
            if size > FILE_BYTES {
                return Err(Refusal::FileBytes(quoted(path.as_os_str().as_bytes())).into());
            }
            if self.bytes > UNPACKED_BYTES {
                return Err(Refusal::UnpackedBytes.into());
            }
            file.write_all(&buffer[..n]).map_err(Stop::Scratch)?;
        }
        // Make goes by these times. One in the future would only make it warn.
        if let Some(modified) = about.modified {
            file.set_modified(modified.min(self.now)).map_err(Stop::Scratch)?;
        }
        let mode = if about.executable { 0o755 } else { 0o644 };
        file.set_permissions(Permissions::from_mode(mode)).map_err(Stop::Scratch)?;
        Ok(size)
    }

    /// Remembers a symbolic link, to be made at the end.
    pub(super) fn link(&mut self, path: &Path, target: &[u8]) -> Result<(), Stop> {
        self.parents(path)?;
        if self.made.contains_key(path) {
            return Err(twice(path));
        }
        if target.is_empty() || target.contains(&0) || target.len() > PATH_BYTES {
            return Err(Refusal::BadName(quoted(target)).into());
        }
        self.links.insert(path.to_owned(), PathBuf::from(std::ffi::OsStr::from_bytes(target)));
        if self.links.len() > LINKS { Err(Refusal::Links.into()) } else { Ok(()) }
    }

    /// A hard link becomes a file with the same content.
    pub(super) fn hard_link(&mut self, path: &Path, target: &[u8]) -> Result<(), Stop> {
        let (entry, to) = (quoted(path.as_os_str().as_bytes()), quoted(target));
        let source = place(target).map_err(|why| match why {
            Refusal::Absolute(_) | Refusal::ParentDir(_) => {
                Refusal::LinkOut { entry: entry.clone(), target: to.clone() }
            }
            other => other,
        })?;
        if source == path || self.made.get(&source) != Some(&Made::File) {
            return Err(Refusal::HardLink { entry, target: to }.into());
        }
        let mut from = fs::File::open(self.into.join(&source)).map_err(Stop::Scratch)?;
        let known = from.metadata().map_err(Stop::Scratch)?;
        let executable = known.permissions().mode() & 0o111 != 0;
        self.file(path, &About { executable, modified: known.modified().ok() }, &mut from).map(|_| ())
    }

    /// Makes the links, if all of them stay inside.
    pub(super) fn finish(&mut self) -> Result<(), Stop> {
        if !self.made.values().any(|made| *made == Made::File) {
            return Err(Refusal::Empty.into());
        }
        links::stay_inside(&self.links)?;
        for (path, target) in &self.links {
            symlink(target, self.into.join(path)).map_err(Stop::Scratch)?;
        }
        Ok(())
    }
}

fn twice(path: &Path) -> Stop {
    Refusal::Twice(quoted(path.as_os_str().as_bytes())).into()
}

/// The path inside the scratch folder that a name in an archive stands for; empty for the top itself.
pub(super) fn place(name: &[u8]) -> Result<PathBuf, Refusal> {
    if name.len() > PATH_BYTES {
        return Err(Refusal::LongPath(quoted(name)));
    }
    if name.is_empty() || name.contains(&0) {
        return Err(Refusal::BadName(quoted(name)));
    }
    let mut path = PathBuf::new();
    for part in Path::new(std::ffi::OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) if part.len() > NAME_BYTES => {
                return Err(Refusal::LongPath(quoted(name)));
            }
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err(Refusal::ParentDir(quoted(name))),
            Component::RootDir | Component::Prefix(_) => return Err(Refusal::Absolute(quoted(name))),
        }
    }
    Ok(path)
}

/// Whether a path is no part of anybody's work.
pub(super) fn is_junk(path: &Path) -> bool {
    path.iter().any(|part| {
        let name = part.as_bytes();
        name.starts_with(b"._") || JUNK.iter().any(|junk| junk.as_bytes() == name)
    })
}
