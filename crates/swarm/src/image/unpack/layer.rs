//! Entries of one pack after another, vetted and written.

use super::tree::{Tree, Unset, split};
use super::{BUFFER_BYTES, Error, Fault, Layer, Progress, Unpacked};
use crate::image::archive::{Entry, Extent, Kind, Moment, on_disk};
use crate::limits::{MAX_DIRECTORY_BYTES, MAX_LINK_BYTES, MAX_NAME_BYTES, MAX_TREE_DEPTH};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why an entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It starts at the root.
    #[error("is an absolute path")]
    Absolute,
    /// It leads up.
    #[error("leads upwards (..)")]
    Upwards,
    /// It is no name that a file can have.
    #[error("has no possible file name")]
    Name,
    /// It exceeds [`MAX_TREE_DEPTH`].
    #[error("is nested too deep")]
    Deep,
    /// Something on its way is no directory.
    #[error("leads through what is no directory (a file, or a symbolic link)")]
    Through,
    /// A directory where there is something else, or the reverse.
    #[error("and what is there are not both directories, nor both files")]
    Conflict,
    /// A symbolic link to no possible path.
    #[error("is a symbolic link to an impossible path")]
    Target,
    /// A hard link to what is not there, is no file, or may not be named.
    #[error("is a hard link to what is no file before it in the pack")]
    HardLink,
    /// More than was told of the pack: it could fill any disk.
    #[error("exceeds the size of {0} bytes that the pack's description tells")]
    TooLarge(u64),
    /// More than is kept of directories.
    #[error("exceeds {MAX_DIRECTORY_BYTES} bytes of names and attributes of directories")]
    TooManyAttributes,
    /// More than was told of the pack.
    #[error("exceeds the number of {0} entries that the pack's description tells")]
    TooManyEntries(u64),
}

/// What could not be made as the pack has it, and how often.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{lack} of {count}, first {}", first.display())]
pub struct Missing {
    /// What.
    pub lack: Lack,
    /// Of how many entries.
    pub count: u64,
    /// The first of them, below the target.
    pub first: PathBuf,
}

/// What may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Lack {
    /// Only root gives files away.
    #[error("owner")]
    Owner,
    /// Dropped where the owner is not the pack's.
    #[error("set-user-ID or set-group-ID bit")]
    SetId,
    /// Extended attributes: not permitted, or not known to the file system.
    #[error("extended attributes")]
    Attributes,
    /// Only root makes devices.
    #[error("device")]
    Device,
}

impl From<Unset> for Lack {
    fn from(unset: Unset) -> Lack {
        match unset {
            Unset::Owner => Lack::Owner,
            Unset::SetId => Lack::SetId,
            Unset::Attributes => Lack::Attributes,
        }
    }
}

/// Fills a buffer with an entry's content.
type Content<'a> = dyn FnMut(&mut [u8]) -> Result<usize, Error> + 'a;

/// The state of unpacking.
pub(super) struct Unpacking<'a> {
    tree: Tree,
    target: PathBuf,
    progress: &'a mut dyn FnMut(Progress),
    done: Progress,
    entries: u64,
    missing: BTreeMap<Lack, (u64, PathBuf)>,
    /// The pack at hand, what it may still take, and whether it is the first.
    pack: PathBuf,
    told_bytes: u64,
    left_bytes: u64,
    is_first: bool,
    buffer: Vec<u8>,
}

impl<'a> Unpacking<'a> {
    pub fn new(
        tree: Tree,
        target: PathBuf,
        need_bytes: u64,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Unpacking<'a> {
        Unpacking {
            tree,
            target,
            progress,
            done: Progress { bytes: 0, of_bytes: need_bytes },
            entries: 0,
            missing: BTreeMap::new(),
            pack: PathBuf::new(),
            told_bytes: 0,
            left_bytes: 0,
            is_first: true,
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// Entries are of this layer from now on.
    pub fn begin(&mut self, layer: &Layer, is_first: bool) {
        self.pack = layer.pack.clone();
        self.told_bytes = layer.unpacked_bytes;
        self.left_bytes = layer.unpacked_bytes;
        self.is_first = is_first;
    }

    pub fn refused(&self, path: &[u8], why: Why) -> Error {
        let entry = String::from_utf8_lossy(path).into_owned();
        Error::Refused { pack: self.pack.clone(), entry, why }
    }

    /// Makes what the entry describes.
    pub fn entry(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<(), Error> {
        let path = self.vet(entry).map_err(|why| self.refused(&entry.path, why))?;
        self.entries += 1;
        let made = match &entry.kind {
            // An override's root is wherever it was made; the image's stays as it is.
            Kind::Directory if path.is_empty() && !self.is_first => Ok(()),
            Kind::Directory => self.tree.describe(&path, entry),
            Kind::File(extent) => {
                let file = self.tree.file(&path).map_err(|e| self.failed(&path, entry, e))?;
                return self.fill(&path, entry, &file.into(), extent, content);
            }
            Kind::HardLink(target) => return self.link(&path, entry, target),
            Kind::Symlink(target) => self.tree.symlink(&path, target),
            Kind::Fifo => self.tree.node(&path, &entry.kind),
            Kind::Character(..) | Kind::Block(..) => {
                let made = if self.tree.as_root() {
                    self.tree.node(&path, &entry.kind)
                } else {
                    Err(Errno::PERM)
                };
                // Root in a container may not either.
                if made == Err(Errno::PERM) {
                    self.miss(Lack::Device, &path);
                    return Ok(());
                }
                made
            }
        };
        made.map_err(|e| self.failed(&path, entry, e))?;
        self.advance(entry.disk_bytes());
        if entry.kind == Kind::Directory { Ok(()) } else { self.attributes(&path, entry) }
    }

    /// The entry's path, if it may be made.
    fn vet(&mut self, entry: &Entry) -> Result<Vec<u8>, Why> {
        let path = vetted(&entry.path)?;
        match &entry.kind {
            Kind::Directory => {}
            _ if path.is_empty() => return Err(Why::Name),
            Kind::Symlink(target) if !is_target(target) => return Err(Why::Target),
            _ => {}
        }
        let left = self.left_bytes.checked_sub(entry.disk_bytes());
        self.left_bytes = left.ok_or(Why::TooLarge(self.told_bytes))?;
        Ok(path)
    }

    /// Makes the file `name` of all of `input`.
    pub fn plain(&mut self, name: &[u8], mut input: impl Read) -> Result<(), Error> {
        let mtime = Moment { seconds: 0, nanos: 0 };
        let kind = Kind::File(Extent::dense(0));
        let entry =
            Entry { path: name.to_vec(), kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Vec::new() };
        let path = vetted(name).map_err(|why| self.refused(name, why))?;
        let file = self.tree.file(&path).map_err(|e| self.failed(&path, &entry, e))?;
        let mut file = File::from(file);
        let mut bytes = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let read = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    return Err(Error::Pack { pack: self.pack.clone(), fault: Fault::Unreadable(e) });
                }
            };
            bytes += read as u64;
            if on_disk(bytes) > self.told_bytes {
                return Err(self.refused(name, Why::TooLarge(self.told_bytes)));
            }
            file.write_all(&buffer[..read]).map_err(|e| self.unwritten(&path, e))?;
            self.advance(read as u64);
        }
        self.buffer = buffer;
        file.set_permissions(Permissions::from_mode(0o644)).map_err(|e| self.unwritten(&path, e))?;
        self.entries += 1;
        self.advance(on_disk(bytes) - bytes);
        Ok(())
    }

    /// Gives directories their attributes and tells how it went.
    pub fn finish(mut self) -> Result<Unpacked, Error> {
        let mut missing = std::mem::take(&mut self.missing);
        let finished = self.tree.finish(&mut |path, unset| count(&mut missing, unset.into(), path));
        finished.map_err(|(path, e)| Error::Write {
            path: self.target.join(OsStr::from_bytes(&path)),
            source: e.into(),
        })?;
        let missing = missing.into_iter().map(|(lack, (count, first))| Missing { lack, count, first });
        Ok(Unpacked { entries: self.entries, bytes: self.done.bytes, missing: missing.collect() })
    }

    fn advance(&mut self, bytes: u64) {
        self.done.bytes += bytes;
        (self.progress)(self.done);
    }

    fn fill(
        &mut self,
        path: &[u8],
        entry: &Entry,
        file: &File,
        extent: &Extent,
        content: &mut Content<'_>,
    ) -> Result<(), Error> {
        if extent.is_sparse() {
            file.set_len(extent.size).map_err(|e| self.unwritten(path, e))?;
        }
        let mut written = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        for range in &extent.data {
            let mut at = range.start;
            while at < range.end {
                let wanted = (range.end - at).min(buffer.len() as u64) as usize;
                let read = content(&mut buffer[..wanted])?;
                file.write_all_at(&buffer[..read], at).map_err(|e| self.unwritten(path, e))?;
                at += read as u64;
                written += read as u64;
                self.advance(read as u64);
            }
        }
        self.buffer = buffer;
        self.advance(entry.disk_bytes() - written);
        self.attributes(path, entry)
    }

    fn link(&mut self, path: &[u8], entry: &Entry, target: &[u8]) -> Result<(), Error> {
        let refused = self.refused(&entry.path, Why::HardLink);
        let Ok(target) = vetted(target) else { return Err(refused) };
        // To itself: to make room for it would remove it.
        if target == path || !self.tree.has_file(&target) {
            return Err(refused);
        }
        self.tree.link(path, &target).map_err(|e| self.failed(path, entry, e))
    }

    fn attributes(&mut self, path: &[u8], entry: &Entry) -> Result<(), Error> {
        let unset = self.tree.attributes(path, entry).map_err(|e| self.unwritten(path, e.into()))?;
        unset.into_iter().for_each(|one| self.miss(one.into(), path));
        Ok(())
    }

    fn miss(&mut self, lack: Lack, path: &[u8]) {
        count(&mut self.missing, lack, path);
    }

    fn failed(&self, path: &[u8], entry: &Entry, e: Errno) -> Error {
        match e {
            // Only what is a directory itself can be where something else is.
            Errno::NOTDIR if self.tree.has_directory(split(path).0) => {
                self.refused(&entry.path, Why::Conflict)
            }
            Errno::NOTDIR => self.refused(&entry.path, Why::Through),
            Errno::ISDIR => self.refused(&entry.path, Why::Conflict),
            Errno::TOOBIG => self.refused(&entry.path, Why::TooManyAttributes),
            _ => self.unwritten(path, e.into()),
        }
    }

    fn unwritten(&self, path: &[u8], source: io::Error) -> Error {
        let path = self.target.join(Path::new(OsStr::from_bytes(path)));
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            // A limit on the size of files counts as a full disk.
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
                let Progress { bytes: done_bytes, of_bytes: need_bytes } = self.done;
                Error::Full { path, need_bytes, done_bytes, source }
            }
            _ => Error::Write { path, source },
        }
    }
}

fn count(missing: &mut BTreeMap<Lack, (u64, PathBuf)>, lack: Lack, path: &[u8]) {
    let first = || (0, PathBuf::from(OsStr::from_bytes(path)));
    missing.entry(lack).or_insert_with(first).0 += 1;
}

/// A path with nothing but names in it, or why it may not be.
fn vetted(path: &[u8]) -> Result<Vec<u8>, Why> {
    if path.first() == Some(&b'/') {
        return Err(Why::Absolute);
    }
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(Why::Upwards),
            _ if name.len() > MAX_NAME_BYTES || name.contains(&0) => return Err(Why::Name),
            _ => names.push(name),
        }
    }
    if path.is_empty() {
        return Err(Why::Name);
    }
    if names.len() > MAX_TREE_DEPTH { Err(Why::Deep) } else { Ok(names.join(&b'/')) }
}

fn is_target(target: &[u8]) -> bool {
    !target.is_empty() && target.len() <= MAX_LINK_BYTES && !target.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_and_nothing_else() {
        assert_eq!(vetted(b"./a//b/.").unwrap(), b"a/b");
        assert_eq!(vetted(b"./").unwrap(), b"");
        assert_eq!(vetted(&[0xff, b'/', b'\n']).unwrap(), [0xff, b'/', b'\n']);
        let long = [b'x'; MAX_NAME_BYTES + 1];
        let deep = b"a/".repeat(MAX_TREE_DEPTH + 1);
        for (path, why) in [
            (&b""[..], Why::Name),
            (b"/etc/passwd", Why::Absolute),
            (b"a/../../b", Why::Upwards),
            (b"..", Why::Upwards),
            (b"a\0b", Why::Name),
            (&long, Why::Name),
            (&deep, Why::Deep),
        ] {
            assert_eq!(vetted(path), Err(why), "{}", String::from_utf8_lossy(path));
        }
    }
}
