//! What a pack was made of, kept beside it.

use super::walk::Tree;
use super::{Compression, Error, Form, Packed, Skipped};
use crate::image::seal::Recipients;
use crate::limits::MAX_STAMP_BYTES;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Counted up when the same tree would give other bytes.
const VERSION: &[u8] = b"offload pack 1";

/// The description of a pack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// SHA-256 over the source's names and stats, and how it was packed.
    source: String,
    /// The pack's name, as bytes: it need not be text.
    file: Vec<u8>,
    bytes: u64,
    /// The pack's own time, in seconds and nanoseconds: whoever writes to it changes it.
    written: (i64, i64),
    unpacked_bytes: u64,
    entries: u64,
}

/// The name of a tree as it is now, packed in this form. Contents are not read.
pub(super) fn digest(tree: &Tree, form: &Form, recipients: Option<&Recipients>) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(VERSION);
    let compression = match form.compression {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Zstd => 2,
    };
    add(&[u8::from(form.archive), compression]);
    let names = recipients.map(Recipients::names).unwrap_or_default();
    add(names.join(" ").as_bytes());
    for item in &tree.items {
        add(&item.path);
        let meta = &item.meta;
        let numbers =
            [meta.ino, meta.mode.into(), meta.uid.into(), meta.gid.into(), meta.rdev, meta.size];
        let times = [meta.mtime.0, meta.mtime.1, meta.ctime.0, meta.ctime.1];
        add(&numbers.map(u64::to_le_bytes).concat());
        add(&times.map(i64::to_le_bytes).concat());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Stamp {
    pub fn of(file: &Path, source: String, unpacked_bytes: u64, entries: u64) -> Result<Stamp, Error> {
        let failed = |e| Error::Store { path: file.to_owned(), source: e };
        let meta = fs::metadata(file).map_err(failed)?;
        let name = file.file_name().unwrap_or_default().as_bytes().to_vec();
        let written = (meta.mtime(), meta.mtime_nsec());
        Ok(Stamp { source, file: name, bytes: meta.len(), written, unpacked_bytes, entries })
    }

    /// The stamp in the image's directory `to`. One that cannot be read is as good as none.
    pub fn read(to: &Path) -> Option<Stamp> {
        let mut text = Vec::new();
        File::open(place(to)).ok()?.take(MAX_STAMP_BYTES).read_to_end(&mut text).ok()?;
        let stamp: Stamp = serde_json::from_slice(&text).ok()?;
        // It is joined to a path: a single component.
        let name = OsStr::from_bytes(&stamp.file);
        (Path::new(name).file_name() == Some(name)).then_some(stamp)
    }

    /// Replaces the stamp in `to` and removes the pack of the last one where it had another name.
    pub fn write(&self, to: &Path, last: Option<&Stamp>) -> Result<(), Error> {
        let place = place(to);
        let failed = |e: io::Error| Error::Store { path: place.clone(), source: e };
        let text = serde_json::to_vec(self).map_err(|e| failed(e.into()))?;
        let temporary = to.join(".stamping");
        let mut file = File::create(&temporary).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, &place).map_err(failed)?;
        if let Some(last) = last.filter(|last| last.file != self.file) {
            // Whoever serves it has it open; nobody else finds it by its stamp any more.
            let _ = fs::remove_file(last.file(to));
        }
        Ok(())
    }

    /// Where the pack is, in the image's directory `to`.
    pub fn file(&self, to: &Path) -> PathBuf {
        to.join(OsStr::from_bytes(&self.file))
    }

    /// Is the pack still what was written?
    pub fn is_there(&self, to: &Path) -> bool {
        fs::symlink_metadata(self.file(to)).is_ok_and(|meta| {
            meta.is_file()
                && meta.len() == self.bytes
                && (meta.mtime(), meta.mtime_nsec()) == self.written
        })
    }

    pub fn holds(&self, to: &Path, file: &Path, source: &str) -> bool {
        self.source == source && self.file(to) == file && self.is_there(to)
    }

    pub fn packed(&self, file: PathBuf, compression: Compression, skipped: Vec<Skipped>) -> Packed {
        Packed {
            file,
            bytes: self.bytes,
            unpacked_bytes: self.unpacked_bytes,
            entries: self.entries,
            compression,
            reused: true,
            skipped,
        }
    }
}

fn place(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or(OsStr::new("image")).as_bytes().to_vec();
    name.extend(b".stamp");
    to.join(OsString::from_vec(name))
}
