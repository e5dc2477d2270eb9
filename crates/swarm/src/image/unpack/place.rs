//! The hidden directory beside the target, and how it takes the target's place.

use super::Error;
use rustix::fs::{FlockOperation, flock, fsync, renameat, syncfs};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What is unpacked and not in place yet. Its lock is held while this lives.
pub(super) struct Hidden {
    parent: File,
    parent_path: PathBuf,
    /// The target's name, and the hidden one's.
    name: OsString,
    hidden: OsString,
    directory: File,
}

impl Hidden {
    /// Makes an empty directory beside `into`, whose parent is made if need be. What an interrupted run left
    /// is removed.
    pub fn make(into: &Path) -> Result<Hidden, Error> {
        let failed = |source| Error::Write { path: into.to_owned(), source };
        // Of `a/.` or `a/..` the name is known only where it exists.
        let absolute = match into.file_name() {
            Some(_) => std::path::absolute(into),
            None => fs::canonicalize(into),
        };
        let absolute = absolute.map_err(failed)?;
        let (Some(parent_path), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(Error::MountPoint(into.to_owned()));
        };
        fs::create_dir_all(parent_path).map_err(failed)?;
        let parent = File::open(parent_path).map_err(failed)?;
        vet(&absolute, &parent).map_err(|e| e.unwrap_or_else(failed))?;

        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".unpacking");
        let path = parent_path.join(&hidden);
        let failed = |source| Error::Write { path: path.clone(), source };
        if let Ok(left) = fs::symlink_metadata(&path) {
            if !left.is_dir() {
                return Err(Error::Exists(path));
            }
            let held = File::open(&path).map_err(failed)?;
            lock(&held, into)?;
            remove(&path).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Busy(into.to_owned()));
            }
            other => other.map_err(failed)?,
        }
        let directory = File::open(&path).map_err(failed)?;
        lock(&directory, into)?;
        // Between making and locking it, another run may have taken it for left over.
        let same = |now: fs::Metadata| directory.metadata().is_ok_and(|own| own.ino() == now.ino());
        if !fs::symlink_metadata(&path).is_ok_and(same) {
            return Err(Error::Busy(into.to_owned()));
        }
        let (parent_path, name) = (parent_path.to_owned(), name.to_owned());
        Ok(Hidden { parent, parent_path, name, hidden, directory })
    }

    /// Where it will be.
    pub fn target(&self) -> PathBuf {
        self.parent_path.join(&self.name)
    }

    /// The directory to fill.
    pub fn directory(&self) -> Result<OwnedFd, Error> {
        let clone = self.directory.try_clone();
        Ok(clone.map_err(|source| Error::Write { path: self.target(), source })?.into())
    }

    /// Puts all of it on the disk and then in place.
    pub fn show(&self) -> Result<(), Error> {
        let failed = |e: Errno| match e {
            Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR => Error::Exists(self.target()),
            Errno::BUSY => Error::MountPoint(self.target()),
            _ => Error::Write { path: self.target(), source: e.into() },
        };
        syncfs(&self.directory).map_err(failed)?;
        renameat(&self.parent, &self.hidden, &self.parent, &self.name).map_err(failed)?;
        fsync(&self.parent).map_err(failed)
    }

    /// Removes all of it. What cannot be removed now is left to the next run.
    pub fn discard(&self) {
        let _ = remove(&self.parent_path.join(&self.hidden));
    }
}

/// May a directory appear at `target`? The inner error is the system's, to be told as a failure to write.
fn vet(target: &Path, parent: &File) -> Result<(), Result<Error, io::Error>> {
    let meta = match fs::symlink_metadata(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(Err)?,
    };
    if !meta.is_dir() {
        return Err(Ok(Error::Exists(target.to_owned())));
    }
    if meta.dev() != parent.metadata().map_err(Err)?.dev() {
        return Err(Ok(Error::MountPoint(target.to_owned())));
    }
    if fs::read_dir(target).map_err(Err)?.next().is_some() {
        return Err(Ok(Error::Exists(target.to_owned())));
    }
    Ok(())
}

fn lock(directory: &File, into: &Path) -> Result<(), Error> {
    flock(directory, FlockOperation::NonBlockingLockExclusive).map_err(|e| match e {
        Errno::WOULDBLOCK => Error::Busy(into.to_owned()),
        _ => Error::Write { path: into.to_owned(), source: e.into() },
    })
}

/// Removes a tree, even directories that nobody may write to.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// Gives us all rights to each directory. Links are not followed: they are no directories.
fn open_up(path: &Path) -> io::Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        for child in fs::read_dir(&path)? {
            let child = child?;
            if child.file_type()?.is_dir() {
                waiting.push(child.path());
            }
        }
    }
    Ok(())
}
