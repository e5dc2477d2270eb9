//! A pack back to a directory, which appears complete or not at all.
//!
//! The lesson: an archive is a program that writes files, written by somebody else. Each entry is vetted
//! before anything of it is written, and each directory on the way is opened below the one before it, no
//! symbolic link followed, so that no entry reaches out of the directory whatever came before it. Bytes and
//! entries are held against what the image's description told.
//!
//! All goes into a hidden directory beside the target, is synced, and is renamed into place. A rename puts
//! a directory only where nothing is or an empty directory, so that nothing is ever replaced. What an
//! interrupted run left there is known by its name and by nobody holding its lock, and is removed.
//!
//! Overrides are more packs, laid over the first: a later file replaces a file and gives its attributes
//! to a directory, except to the image's root; a directory over a file, or a file over a directory, is an
//! error, since it would be no override but another image. Symbolic links count as files here.
//!
//! Without root's rights owners, devices, privileged attributes and the set-user-ID bits are left out and
//! counted. Left out: access times.

mod layer;
mod place;
mod tree;

pub use super::archive::Fault;
pub use layer::{Lack, Missing, Why};

use super::archive::Reader;
use super::pack::{Compression, Form};
use super::seal::{self, Identities};
use crate::limits::{MAX_ENTRIES, MAX_ZSTD_WINDOW_LOG};
use layer::Unpacking;
use place::Hidden;
use rustix::process::geteuid;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tree::Tree;

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 128 << 10;

/// A pack, and what its description says is in it: not more than that is unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where it is; its name says how it is made up.
    pub pack: PathBuf,
    /// [`super::pack::Packed::unpacked_bytes`].
    pub unpacked_bytes: u64,
    /// [`super::pack::Packed::entries`].
    pub entries: u64,
}

/// How to unpack.
#[derive(Clone, Debug)]
pub struct Options {
    /// The keys that open sealed packs.
    pub identity: Option<PathBuf>,
    /// Set owners, make devices, keep set-user-ID bits.
    pub as_root: bool,
}

impl Default for Options {
    /// No keys, and what this process may do.
    fn default() -> Options {
        Options { identity: None, as_root: geteuid().is_root() }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// How many files, directories and others, those of overrides counted again.
    pub entries: u64,
    /// What they took on the disk, in blocks of 4 KiB.
    pub bytes: u64,
    /// What could not be made as the pack has it.
    pub missing: Vec<Missing>,
}

/// How far unpacking is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is unpacked, in blocks of 4 KiB.
    pub bytes: u64,
    /// What will be.
    pub of_bytes: u64,
}

/// Why nothing was unpacked; nothing is in place then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's: there is something already.
    #[error("{} exists and is not an empty directory: remove it, or choose another --into", .0.display())]
    Exists(PathBuf),
    /// The caller's: nothing can be renamed to there.
    #[error("{} is a mount point, which cannot appear at once: choose a directory in it", .0.display())]
    MountPoint(PathBuf),
    /// The caller's: another process unpacks to the same place.
    #[error("another process unpacks to {} at this moment", .0.display())]
    Busy(PathBuf),
    /// The sender's or this machine's: the pack is damaged or unreadable.
    #[error("cannot unpack {}: {fault}", pack.display())]
    Pack {
        /// The pack.
        pack: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// The sender's: an entry that no sound pack has, or that does not fit what is below it.
    #[error("{} is refused: its entry {entry:?} {why}", pack.display())]
    Refused {
        /// The pack.
        pack: PathBuf,
        /// The entry's path.
        entry: String,
        /// Why.
        why: Why,
    },
    /// The keys', or what opens sealed packs.
    #[error("cannot open {}: {source}", pack.display())]
    Seal {
        /// The pack.
        pack: PathBuf,
        /// What is wrong.
        source: seal::Error,
    },
    /// The caller's: a sealed pack needs a key.
    #[error("{} is sealed: give the key file with --identity", .0.display())]
    NoIdentity(PathBuf),
    /// This machine's: no room.
    #[error(
        "no room for {} ({source}): all takes {need_bytes} bytes, {done_bytes} were written and are removed \
         again; free some, or choose another --into", path.display()
    )]
    Full {
        /// The file that found none.
        path: PathBuf,
        /// What the whole needs.
        need_bytes: u64,
        /// What had been written.
        done_bytes: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// This machine's: something cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Unpacks the first of `layers` and lays the others over it; then the directory `into` appears. A pack
/// that is a single file becomes a directory with that file.
///
/// # Errors
/// See [`Error`].
pub fn unpack(
    layers: &[Layer],
    into: &Path,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Unpacked, Error> {
    let hidden = Hidden::make(into)?;
    let done = fill(layers, &hidden, options, progress).and_then(|unpacked| {
        hidden.show()?;
        Ok(unpacked)
    });
    done.inspect_err(|_| hidden.discard())
}

fn fill(
    layers: &[Layer],
    hidden: &Hidden,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Unpacked, Error> {
    let need = layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.unpacked_bytes));
    let tree = Tree::new(hidden.directory()?, options.as_root);
    let mut unpacking = Unpacking::new(tree, hidden.target(), need, progress);
    for (index, layer) in layers.iter().enumerate() {
        let input = open(&layer.pack, options)?;
        unpacking.begin(layer, index == 0);
        let name = layer.pack.file_name().unwrap_or_default();
        if Form::of(name).archive {
            unpack_archive(Reader::new(input), layer, &mut unpacking)?;
        } else {
            let name = name.as_bytes();
            unpacking.plain(name.strip_suffix(b".age").unwrap_or(name), input)?;
        }
    }
    unpacking.finish()
}

fn unpack_archive<R: Read>(
    mut reader: Reader<R>,
    layer: &Layer,
    unpacking: &mut Unpacking<'_>,
) -> Result<(), Error> {
    let damaged = |fault| Error::Pack { pack: layer.pack.clone(), fault };
    let bound = layer.entries.min(MAX_ENTRIES);
    let mut entries = 0;
    while let Some(entry) = reader.next().map_err(damaged)? {
        entries += 1;
        if entries > bound {
            return Err(unpacking.refused(&entry.path, Why::TooManyEntries(bound)));
        }
        unpacking.entry(&entry, &mut |buffer| reader.content(buffer).map_err(damaged))?;
    }
    reader.finish().map_err(damaged)
}

/// The pack's content: opened and decompressed as its name says.
fn open(pack: &Path, options: &Options) -> Result<BufReader<Box<dyn Read>>, Error> {
    let unreadable = |e| Error::Pack { pack: pack.to_owned(), fault: Fault::Unreadable(e) };
    let form = Form::of(pack.file_name().unwrap_or_default());
    let file = File::open(pack).map_err(unreadable)?;
    let mut input: Box<dyn Read> = Box::new(file);
    if form.sealed {
        let identity = options.identity.as_ref().ok_or_else(|| Error::NoIdentity(pack.to_owned()))?;
        let opened = Identities::read(identity).and_then(|keys| keys.open(input));
        input = Box::new(opened.map_err(|source| Error::Seal { pack: pack.to_owned(), source })?);
    }
    let buffered = |input| BufReader::with_capacity(BUFFER_BYTES, input);
    let plain: Box<dyn Read> = match form.compression {
        Compression::None => input,
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(input))),
        Compression::Zstd => {
            let mut zstd = zstd::Decoder::with_buffer(buffered(input)).map_err(unreadable)?;
            zstd.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(unreadable)?;
            Box::new(zstd)
        }
    };
    Ok(buffered(plain))
}
