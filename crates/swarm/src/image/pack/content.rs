//! One entry of a tree: what it is, and its bytes.

use super::Error;
use super::walk::{Item, Meta, Skipped, Tree, Why};
use crate::image::archive::{Attributes, Entry, Extent, Kind, fill};
use crate::limits::MAX_SEGMENTS;
use rustix::fs::{OFlags, SeekFrom, lgetxattr, llistxattr, major, minor, seek};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes that are read at a time.
pub(super) const BUFFER_BYTES: usize = 128 << 10;
/// What a hole is at least, and where it begins: the page of most systems.
const HOLE_BYTES: u64 = 4096;

/// An open file of the tree, to be read once.
pub(super) struct Content {
    file: File,
    path: PathBuf,
    meta: Meta,
}

/// Turns items into entries, in their order.
pub(super) struct Contents<'a> {
    tree: &'a Tree,
    /// The path under which a file with several was packed first, by device and inode.
    first: BTreeMap<(u64, u64), &'a [u8]>,
    pub skipped: Vec<Skipped>,
}

impl<'a> Contents<'a> {
    pub fn of(tree: &'a Tree) -> Contents<'a> {
        Contents { tree, first: BTreeMap::new(), skipped: Vec::new() }
    }

    /// The item as an entry, and its content where it is a file.
    pub fn entry(&mut self, item: &'a Item) -> Result<(Entry, Option<Content>), Error> {
        let path = self.tree.path_of(item);
        let meta = &item.meta;
        let is_directory = kind_bits(meta) == 0o040_000;
        let mut content = None;
        let first = self.first.get(&(meta.dev, meta.ino)).filter(|_| meta.links > 1 && !is_directory);
        let kind = match (first, kind_bits(meta)) {
            (Some(first), _) => Kind::HardLink(first.to_vec()),
            (None, 0o040_000) => Kind::Directory,
            (None, 0o100_000) => {
                let opened = Content::open(&path, meta)?;
                let extent = opened.extent().map_err(|e| unreadable(&path, e))?;
                content = Some(opened);
                Kind::File(extent)
            }
            (None, 0o120_000) => {
                let target = fs::read_link(&path).map_err(|e| unreadable(&path, e))?;
                Kind::Symlink(target.as_os_str().as_bytes().to_vec())
            }
            (None, 0o010_000) => Kind::Fifo,
            (None, 0o020_000) => Kind::Character(major(meta.rdev), minor(meta.rdev)),
            (None, _) => Kind::Block(major(meta.rdev), minor(meta.rdev)),
        };
        let mut xattrs = Vec::new();
        if !matches!(kind, Kind::HardLink(_)) {
            if meta.links > 1 {
                self.first.insert((meta.dev, meta.ino), &item.path);
            }
            xattrs = self.attributes(&path)?;
        }
        let (mode, mtime) = (meta.mode & 0o7777, meta.mtime());
        let entry =
            Entry { path: item.path.clone(), kind, mode, uid: meta.uid, gid: meta.gid, mtime, xattrs };
        Ok((entry, content))
    }

    /// The extended attributes of what is at `path`, sorted by name. Capabilities and POSIX ACLs are some.
    fn attributes(&mut self, path: &Path) -> Result<Attributes, Error> {
        let names = match grown(|list| llistxattr(path, list)) {
            Ok(names) => names,
            // Not every file system has them.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(e) => return Err(unreadable(path, e.into())),
        };
        let mut xattrs = Vec::new();
        for name in names.split(|byte| *byte == 0).filter(|name| is_packed(name)) {
            match grown(|value| lgetxattr(path, name, value)) {
                Ok(value) => xattrs.push((name.to_vec(), value)),
                Err(Errno::NODATA) => return Err(Error::Changed(path.to_owned())),
                Err(_) => {
                    let why = Why::Attribute(String::from_utf8_lossy(name).into_owned());
                    self.skipped.push(Skipped { path: path.to_owned(), why });
                }
            }
        }
        xattrs.sort();
        Ok(xattrs)
    }
}

/// Other attributes of the system's describe a file system and not a file.
fn is_packed(name: &[u8]) -> bool {
    let spaces: [&[u8]; 4] = [b"user.", b"security.", b"trusted.", b"system.posix_acl_"];
    spaces.iter().any(|space| name.starts_with(space))
}

/// Calls what fills a buffer and says how much of it, with larger buffers until it fits.
fn grown(mut fill: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match fill(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // The kernel's own bound is 64 KiB.
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(2 * buffer.len(), 0),
            Err(e) => return Err(e),
        }
    }
}

fn kind_bits(meta: &Meta) -> u32 {
    meta.mode & 0o170_000
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Source { path: path.to_owned(), source }
}

impl Content {
    fn open(path: &Path, expected: &Meta) -> Result<Content, Error> {
        // Whatever has come to stand there: no link is followed, no FIFO waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(|e| unreadable(path, e))?;
        let content = Content { file, path: path.to_owned(), meta: *expected };
        content.check()?;
        Ok(content)
    }

    /// Is it still the file that the stamp is of?
    fn check(&self) -> Result<(), Error> {
        let meta = self.file.metadata().map_err(|e| unreadable(&self.path, e))?;
        if self.meta.is_same(&Meta::of(&meta)) { Ok(()) } else { Err(Error::Changed(self.path.clone())) }
    }

    /// Where its data is. A file that has holes is searched for empty pages, since each file system draws
    /// the borders of holes as it likes; one without keeps its zeros.
    fn extent(&self) -> io::Result<Extent> {
        let size = self.meta.size;
        let dense = Extent::dense(size);
        if self.meta.disk_bytes >= size || seek(&self.file, SeekFrom::Hole(0)).unwrap_or(size) >= size {
            return Ok(dense);
        }
        let mut data = Segments { ranges: Vec::new(), page: HOLE_BYTES };
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut at = 0;
        while at < size {
            let start = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(start) => start - start % HOLE_BYTES,
                Err(Errno::NXIO) => break,
                Err(e) => return Err(e.into()),
            };
            let end = seek(&self.file, SeekFrom::Hole(start.max(at)))?.min(size);
            at = start;
            while at < end {
                let buffer = &mut buffer[..(size - at).min(BUFFER_BYTES as u64) as usize];
                self.file.read_exact_at(buffer, at)?;
                for page in buffer.chunks(HOLE_BYTES as usize) {
                    if *page != [0; HOLE_BYTES as usize][..page.len()] {
                        data.add(at..at + page.len() as u64, size);
                    }
                    at += page.len() as u64;
                }
            }
        }
        Ok(Extent { size, data: data.ranges })
    }

    /// Writes the ranges of data, and what fills the last block.
    pub fn copy_blocks(
        &self,
        extent: &Extent,
        out: &mut dyn Write,
        at: &Path,
        copied: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        self.copy(extent, out, at, copied)?;
        fill(out, extent.data_bytes()).map_err(|e| Error::Store { path: at.to_owned(), source: e })
    }

    /// Writes the ranges of data.
    pub fn copy(
        &self,
        extent: &Extent,
        out: &mut dyn Write,
        at: &Path,
        copied: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let mut buffer = vec![0; BUFFER_BYTES];
        for range in &extent.data {
            let mut next = range.start;
            while next < range.end {
                let wanted = (range.end - next).min(BUFFER_BYTES as u64) as usize;
                self.file.read_exact_at(&mut buffer[..wanted], next).map_err(|e| match e.kind() {
                    io::ErrorKind::UnexpectedEof => Error::Changed(self.path.clone()),
                    _ => unreadable(&self.path, e),
                })?;
                let failed = |e| Error::Store { path: at.to_owned(), source: e };
                out.write_all(&buffer[..wanted]).map_err(failed)?;
                next += wanted as u64;
                copied(wanted as u64);
            }
        }
        self.check()
    }
}

/// Ranges of data, aligned to pages that grow where the ranges are too many.
struct Segments {
    ranges: Vec<Range<u64>>,
    page: u64,
}

impl Segments {
    fn add(&mut self, range: Range<u64>, size: u64) {
        let start = range.start - range.start % self.page;
        let end = range.end.next_multiple_of(self.page).min(size);
        match self.ranges.last_mut() {
            Some(last) if last.end >= start => last.end = last.end.max(end),
            _ => self.ranges.push(start..end),
        }
        if self.ranges.len() > MAX_SEGMENTS {
            self.page *= 2;
            for range in std::mem::take(&mut self.ranges) {
                self.add(range, size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_ranges_become_fewer_and_larger() {
        let size = (MAX_SEGMENTS as u64 + 1) * 2 * HOLE_BYTES;
        let mut segments = Segments { ranges: Vec::new(), page: HOLE_BYTES };
        for i in 0..=MAX_SEGMENTS as u64 {
            let start = i * 2 * HOLE_BYTES;
            segments.add(start..start + HOLE_BYTES, size);
        }
        assert_eq!(segments.ranges, Extent::dense(size).data);
    }

    #[test]
    fn a_file_that_changes_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "one").unwrap();
        let meta = Meta::of(&fs::metadata(&path).unwrap());
        let content = Content::open(&path, &meta).unwrap();
        fs::write(&path, "longer").unwrap();
        let error = content.copy(&Extent::dense(3), &mut Vec::new(), &path, &mut |_| {}).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("log changed while it was packed: pack again when nobody writes to it")
        );
        fs::write(&path, "1").unwrap();
        let error = content.copy(&Extent::dense(3), &mut Vec::new(), &path, &mut |_| {}).unwrap_err();
        assert!(matches!(error, Error::Changed(_)), "{error}");
    }
}
