//! A directory, or a file, as one file: the pack that a torrent is made of.
//!
//! The lesson: a torrent is named by its bytes, so the same tree must give the same bytes wherever and
//! whenever it is packed. Entries are sorted by the bytes of their names, owners are numbers, holes are
//! found by content and not by what a file system calls a hole, and compression has one fixed setting and
//! no time stamp. (Another release of a compressor may still choose other bytes: a pack is kept, not
//! made again, while its source stays as it is.)
//!
//! Whether it did is told by a stamp: a hash over all names, sizes, times and inodes. A file counts as
//! what the stamp saw or packing fails: what changes under our hands has no sound copy.
//!
//! As the reference deployer does, other file systems mounted in the tree are followed, but not the
//! kernel's own (`/proc`, `/sys`, ...): of these the empty directory is kept. Symbolic links are stored,
//! never followed. Left out: sockets (a name without its program; told), access times.
//!
//! An image's directory in the store, `STORE/NAME`, holds `NAME.tar`, `NAME.tar.gz`, `NAME.tar.zst` or, of
//! a single file that is staged as it is, that file's own name; `.age` is added where it is sealed. Beside
//! it `NAME.stamp` says what it is of. What the pack's name says is read by [`Form`].

mod content;
mod form;
mod stamp;
mod walk;

pub use form::{Compression, Form};
pub use walk::{Skipped, Why};

use super::archive::{Entry, Extent, Kind, write_end, write_head};
use super::seal::{self, Recipients};
use content::Contents;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use stamp::Stamp;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use walk::Tree;

/// How to pack.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the archive is compressed with.
    pub compression: Compression,
    /// Make an archive of a single file, too: it keeps its owner, permissions and attributes.
    pub archive: bool,
    /// Seal it for the keys in this file.
    pub recipients: Option<PathBuf>,
}

/// A pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Where it is.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What its content takes on a disk, in blocks of 4 KiB, without what the file system adds.
    pub unpacked_bytes: u64,
    /// How many files, directories and others are in it.
    pub entries: u64,
    /// What it is compressed with.
    pub compression: Compression,
    /// It was there already, and its source is as it was.
    pub reused: bool,
    /// What of the source is not in it; attributes only where it was packed anew.
    pub skipped: Vec<Skipped>,
}

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's: the source cannot be read.
    #[error("cannot pack {}: {source}", path.display())]
    Source {
        /// What.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The caller's: somebody writes to the source.
    #[error("{} changed while it was packed: pack again when nobody writes to it", .0.display())]
    Changed(PathBuf),
    /// The caller's: the source exceeds a bound.
    #[error("cannot pack {}: more than {limit} {what}", path.display())]
    TooMuch {
        /// Where.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The caller's: neither a directory nor a file.
    #[error("cannot pack {}: it is neither a directory nor a file", .0.display())]
    Neither(PathBuf),
    /// The caller's: links lead from the path to something else, which was not named.
    #[error(
        "{} is now {} by way of links: if that is to be packed, say so with `offload image pack`",
        path.display(),
        full.display()
    )]
    Elsewhere {
        /// The source.
        path: PathBuf,
        /// What it leads to.
        full: PathBuf,
    },
    /// The caller's: the pack would hold, or replace, itself.
    #[error("cannot pack {}: it and the store {} overlap; choose another store", path.display(), store.display())]
    Overlap {
        /// The source.
        path: PathBuf,
        /// The image's directory in the store.
        store: PathBuf,
    },
    /// The caller's: another process is at it.
    #[error("another process packs into {} at this moment", .0.display())]
    Busy(PathBuf),
    /// This machine's: the store cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The recipients', or what seals.
    #[error(transparent)]
    Seal(#[from] seal::Error),
}

/// How far packing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are packed.
    pub bytes: u64,
    /// Bytes of the whole: an upper bound, since holes are found on the way.
    pub of_bytes: u64,
}

/// Packs `source`, a canonical path, into the directory `to`, made if need be, whose last component is the
/// image's name. A server packs again what was named long ago: nobody who may since have put a link into
/// that path chooses what is published.
///
/// The pack and its stamp appear complete or not at all; what was there before stays until then. An archive
/// may be read by its owner only: it holds what the source keeps from others. Only one process packs into
/// `to` at a time.
///
/// # Errors
/// See [`Error`].
pub fn pack(
    source: &Path,
    to: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Packed, Error> {
    let unreadable = |e| Error::Source { path: source.to_owned(), source: e };
    let unwritable = |e| Error::Store { path: to.to_owned(), source: e };
    let full = fs::canonicalize(source).map_err(unreadable)?;
    if full != source {
        return Err(Error::Elsewhere { path: source.to_owned(), full });
    }
    let recipients = options.recipients.as_deref().map(Recipients::read).transpose()?;
    fs::create_dir_all(to).map_err(unwritable)?;
    let to = fs::canonicalize(to).map_err(unwritable)?;
    if to.starts_with(source) || source.starts_with(&to) {
        return Err(Error::Overlap { path: source.to_owned(), store: to });
    }
    let store = Locked::directory(&to)?;

    let tree = Tree::walk(source)?;
    let name = to.file_name().unwrap_or(OsStr::new("image"));
    let form = Form::choose(&tree, options);
    let file = to.join(form.file_name(name, source.file_name()));
    let digest = stamp::digest(&tree, &form, recipients.as_ref());
    let kept = Stamp::read(&to);
    if let Some(kept) = kept.as_ref().filter(|kept| kept.holds(&to, &file, &digest)) {
        return Ok(kept.packed(file, form.compression, tree.skipped));
    }

    tree.settle();
    let mut packing = Packing::new(&tree, progress);
    let temporary = to.join(".packing");
    let failed = |e| Error::Store { path: temporary.clone(), source: e };
    // Left by a process that was killed, if it is there: we hold the lock.
    let _ = fs::remove_file(&temporary);
    let mut out =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    let done = write_sealed(&mut out, &temporary, recipients.as_ref(), &mut |out| {
        compressed(out, &temporary, form.compression, &mut |out| {
            if form.archive { packing.archive(out, &temporary) } else { packing.plain(out, &temporary) }
        })
    });
    let done = done.and_then(|()| {
        if !form.archive {
            let mode = tree.items[0].meta.mode & 0o666;
            out.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
        }
        out.sync_all().map_err(failed)?;
        fs::rename(&temporary, &file).map_err(failed)?;
        store.0.sync_all().map_err(failed)
    });
    if let Err(error) = done {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    let mut skipped = packing.contents.skipped;
    let stamp = Stamp::of(&file, digest, packing.unpacked_bytes, packing.entries)?;
    stamp.write(&to, kept.as_ref())?;
    skipped.extend(tree.skipped.iter().cloned());
    Ok(Packed { reused: false, ..stamp.packed(file, form.compression, skipped) })
}

/// A directory that only one process packs into.
struct Locked(File);

impl Locked {
    fn directory(path: &Path) -> Result<Locked, Error> {
        let failed = |source| Error::Store { path: path.to_owned(), source };
        let directory = File::open(path).map_err(failed)?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(|e| match e {
            Errno::WOULDBLOCK => Error::Busy(path.to_owned()),
            _ => failed(e.into()),
        })?;
        Ok(Locked(directory))
    }
}

impl Drop for Locked {
    /// To close it is not enough: a process that another thread is starting has it too until it runs.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// What is known of the pack in the directory `to` of a store, without a look at its source; `None` where
/// there is none or it is no longer what was written.
pub fn published(to: &Path) -> Option<Packed> {
    let kept = Stamp::read(to)?;
    let file = kept.file(to);
    let form = Form::of(file.file_name()?);
    kept.is_there(to).then(|| kept.packed(file, form.compression, Vec::new()))
}

/// The state of packing: what is written, and what was left out.
struct Packing<'a> {
    tree: &'a Tree,
    contents: Contents<'a>,
    progress: &'a mut dyn FnMut(Progress),
    done: Progress,
    unpacked_bytes: u64,
    entries: u64,
}

impl<'a> Packing<'a> {
    fn new(tree: &'a Tree, progress: &'a mut dyn FnMut(Progress)) -> Packing<'a> {
        let done = Progress { bytes: 0, of_bytes: tree.content_bytes() };
        Packing { tree, contents: Contents::of(tree), progress, done, unpacked_bytes: 0, entries: 0 }
    }

    fn archive(&mut self, out: &mut dyn Write, at: &Path) -> Result<(), Error> {
        let tree = self.tree;
        for item in &tree.items {
            let (entry, content) = self.contents.entry(item)?;
            let failed = |e: io::Error| match e.kind() {
                io::ErrorKind::InvalidInput => Error::Source { path: tree.path_of(item), source: e },
                _ => Error::Store { path: at.to_owned(), source: e },
            };
            write_head(out, &entry).map_err(failed)?;
            self.count(&entry);
            if let (Kind::File(extent), Some(content)) = (&entry.kind, content) {
                content.copy_blocks(extent, out, at, &mut |bytes| self.copied(bytes))?;
            }
        }
        write_end(out).map_err(|e| Error::Store { path: at.to_owned(), source: e })
    }

    /// A single file as it is, holes as zeros.
    fn plain(&mut self, out: &mut dyn Write, at: &Path) -> Result<(), Error> {
        let (mut entry, content) = self.contents.entry(&self.tree.items[0])?;
        if let (Kind::File(extent), Some(content)) = (&mut entry.kind, content) {
            *extent = Extent::dense(extent.size);
            content.copy(extent, out, at, &mut |bytes| self.copied(bytes))?;
        }
        self.count(&entry);
        Ok(())
    }

    fn copied(&mut self, bytes: u64) {
        self.done.bytes += bytes;
        (self.progress)(self.done);
    }

    fn count(&mut self, entry: &Entry) {
        self.unpacked_bytes += entry.disk_bytes();
        self.entries += 1;
    }
}

/// A step of the way to the file: writes to what it is given.
type Body<'a> = dyn FnMut(&mut dyn Write) -> Result<(), Error> + 'a;

fn write_sealed(
    file: &mut File,
    at: &Path,
    recipients: Option<&Recipients>,
    body: &mut Body<'_>,
) -> Result<(), Error> {
    let failed = |e| Error::Store { path: at.to_owned(), source: e };
    let mut out = BufWriter::with_capacity(content::BUFFER_BYTES, file);
    match recipients {
        None => body(&mut out)?,
        Some(recipients) => {
            let mut sealed = recipients.seal(&mut out)?;
            body(&mut sealed)?;
            sealed.finish().map_err(failed)?;
        }
    }
    out.flush().map_err(failed)
}

fn compressed(
    out: &mut dyn Write,
    at: &Path,
    compression: Compression,
    body: &mut Body<'_>,
) -> Result<(), Error> {
    let failed = |e| Error::Store { path: at.to_owned(), source: e };
    match compression {
        Compression::None => body(out),
        Compression::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(out, flate2::Compression::new(6));
            body(&mut gzip)?;
            gzip.finish().map(drop).map_err(failed)
        }
        Compression::Zstd => {
            let mut zstd = zstd::Encoder::new(out, 3).map_err(failed)?;
            zstd.include_checksum(true).map_err(failed)?;
            body(&mut zstd)?;
            zstd.finish().map(drop).map_err(failed)
        }
    }
}
