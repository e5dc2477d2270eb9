//! Files below one directory, by descriptors: no path is ever resolved by the kernel across a link.
//!
//! The directory is nobody else's (mode 0700) until it is complete, so what was made under a name a moment
//! ago is still what that name means.

use crate::image::archive::{Entry, Kind, Moment};
use crate::limits::MAX_DIRECTORY_BYTES;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat,
    chownat, linkat, lsetxattr, makedev, mkdirat, mknodat, openat, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::{Errno, Result};
use rustix::process::{getegid, geteuid};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// What of an entry's attributes could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unset {
    Owner,
    SetId,
    Attributes,
}

/// The directory that is filled.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    as_root: bool,
    /// The directory that was used last: entries come sorted, as a rule.
    last: (Vec<u8>, Rc<OwnedFd>),
    /// All directories and what they shall be like in the end.
    directories: BTreeMap<Vec<u8>, Option<Entry>>,
    kept_bytes: usize,
}

/// The components of a vetted path: all but the last, and the last; empty ones for the root.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// The components of a vetted path.
fn names(path: &[u8]) -> impl Iterator<Item = &OsStr> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(OsStr::from_bytes)
}

fn enter(directory: &OwnedFd, name: &OsStr) -> Result<Rc<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        // What a link gives, depending on the kernel.
        Err(Errno::LOOP) => Err(Errno::NOTDIR),
        other => other.map(Rc::new),
    }
}

impl Tree {
    pub fn new(root: OwnedFd, as_root: bool) -> Tree {
        let root = Rc::new(root);
        let directories = BTreeMap::from([(Vec::new(), None)]);
        Tree { last: (Vec::new(), root.clone()), root, as_root, directories, kept_bytes: 0 }
    }

    pub fn as_root(&self) -> bool {
        self.as_root
    }

    /// The directory at the vetted `path`, made if need be.
    ///
    /// # Errors
    /// [`Errno::NOTDIR`] where something else is on the way.
    fn directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if self.last.0 == path {
            return Ok(self.last.1.clone());
        }
        let mut directory = self.root.clone();
        let mut end = 0;
        for name in names(path) {
            end += name.len() + usize::from(end > 0);
            directory = match enter(&directory, name) {
                Err(Errno::NOENT) => {
                    mkdirat(&directory, name, Mode::RWXU)?;
                    self.directories.insert(path[..end].to_vec(), None);
                    enter(&directory, name)?
                }
                other => other?,
            };
        }
        self.last = (path.to_vec(), directory.clone());
        Ok(directory)
    }

    /// The directory at `path`, if there is one.
    fn find(&self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        names(path).try_fold(self.root.clone(), |directory, name| enter(&directory, name))
    }

    pub fn has_directory(&self, path: &[u8]) -> bool {
        self.find(path).is_ok()
    }

    /// Is there something at `path` that is no directory?
    pub fn has_file(&self, path: &[u8]) -> bool {
        let (parent, name) = split(path);
        let meta = self
            .find(parent)
            .and_then(|parent| statat(&parent, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW));
        meta.is_ok_and(|meta| FileType::from_raw_mode(meta.st_mode) != FileType::Directory)
    }

    /// Remembers what the directory at `path` shall be like.
    ///
    /// # Errors
    /// [`Errno::TOOBIG`] where that is too much to remember.
    pub fn describe(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let xattrs = entry.xattrs.iter().map(|(name, value)| name.len() + value.len());
        self.kept_bytes += size_of::<Entry>() + 2 * path.len() + xattrs.sum::<usize>();
        if self.kept_bytes > MAX_DIRECTORY_BYTES {
            return Err(Errno::TOOBIG);
        }
        self.directory(path)?;
        self.directories.insert(path.to_vec(), Some(entry.clone()));
        Ok(())
    }

    /// Makes a file at `path` instead of what file is there.
    ///
    /// # Errors
    /// [`Errno::ISDIR`] where a directory is there, as from all that follow.
    pub fn file(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.replacing(path, |directory, name| openat(directory, name, flags, Mode::RUSR | Mode::WUSR))
    }

    pub fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        self.replacing(path, |directory, name| symlinkat(OsStr::from_bytes(target), directory, name))
    }

    pub fn node(&mut self, path: &[u8], kind: &Kind) -> Result<()> {
        let (kind, device) = match kind {
            Kind::Character(major, minor) => (FileType::CharacterDevice, makedev(*major, *minor)),
            Kind::Block(major, minor) => (FileType::BlockDevice, makedev(*major, *minor)),
            _ => (FileType::Fifo, 0),
        };
        self.replacing(path, |directory, name| {
            mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, device)
        })
    }

    /// Makes `path` another name of the file at `target`.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let (parent, target) = split(target);
        let (from, target) = (self.find(parent)?, OsStr::from_bytes(target));
        self.replacing(path, |directory, name| linkat(&from, target, directory, name, AtFlags::empty()))
    }

    fn replacing<T>(&mut self, path: &[u8], make: impl Fn(&OwnedFd, &OsStr) -> Result<T>) -> Result<T> {
        let (parent, name) = split(path);
        let directory = self.directory(parent)?;
        let name = OsStr::from_bytes(name);
        match make(&directory, name) {
            Err(Errno::EXIST) => {
                // The name goes, not the content: it may be another's by a hard link.
                unlinkat(&directory, name, AtFlags::empty())?;
                make(&directory, name)
            }
            other => other,
        }
    }

    /// Sets what `entry` says of what is at `path`, and tells what could not be.
    pub fn attributes(&mut self, path: &[u8], entry: &Entry) -> Result<Vec<Unset>> {
        let (parent, name) = split(path);
        let directory = self.directory(parent)?;
        self.set(&directory, OsStr::from_bytes(name), entry)
    }

    /// Gives each directory its attributes, the inner ones first: it may forbid us to go in.
    pub fn finish(
        mut self,
        unset: &mut dyn FnMut(&[u8], Unset),
    ) -> std::result::Result<(), (Vec<u8>, Errno)> {
        for (path, entry) in std::mem::take(&mut self.directories).into_iter().rev() {
            let failed = |e| (path.clone(), e);
            let (parent, name) = split(&path);
            let directory = self.directory(parent).map_err(failed)?;
            let name = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(name) };
            match entry {
                Some(entry) => {
                    let found = self.set(&directory, name, &entry).map_err(failed)?;
                    found.into_iter().for_each(|one| unset(&path, one));
                }
                // Nobody described it.
                None => chmodat(&directory, name, Mode::from_raw_mode(0o755), AtFlags::empty())
                    .map_err(failed)?,
            }
        }
        Ok(())
    }

    /// The order matters: a new owner takes the set-user-ID bits and capabilities away, and attributes may
    /// be set to what we may write to only.
    fn set(&self, directory: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<Vec<Unset>> {
        let mut unset = Vec::new();
        let owned = self.as_root && {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            // (id)-1 means: leave it.
            let valid = entry.uid != u32::MAX && entry.gid != u32::MAX;
            valid && chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).is_ok()
        };
        if !owned && (geteuid().as_raw(), getegid().as_raw()) != (entry.uid, entry.gid) {
            unset.push(Unset::Owner);
        }
        // No call takes a descriptor, a name and an attribute together; this is the same thing.
        let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        path.extend(name.as_bytes());
        let set = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let allowed = owned || key.starts_with(b"user.") || key.starts_with(b"system.posix_acl_");
            allowed && lsetxattr(path.as_slice(), key.as_slice(), value, XattrFlags::empty()).is_ok()
        };
        if entry.xattrs.iter().filter(|xattr| !set(xattr)).count() > 0 {
            unset.push(Unset::Attributes);
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            let set_id = entry.mode & 0o6000 != 0 && !owned;
            let mode = if set_id { entry.mode & 0o1777 } else { entry.mode };
            if set_id {
                unset.push(Unset::SetId);
            }
            chmodat(directory, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        let Moment { seconds, nanos } = entry.mtime;
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
        };
        utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(unset)
    }
}
