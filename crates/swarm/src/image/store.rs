//! The image server's directory: packs, their torrents, and what each was made of.
//!
//! ```text
//! STORE/packs/NAME/          the pack, as `pack` keeps it
//! STORE/records/NAME.json    what it was made of, so that it can be made again
//! STORE/records/NAME.torrent its torrent, without a tracker: the address is the server's to know
//! STORE/torrents, catalog.json   what is published, for rsync and scp (`catalog`)
//! STORE/state/               the server's identity, and its tracker's memory
//! ```
//!
//! Left out: deleting. Remove `packs/NAME` and both records by hand.

use super::catalog::{Item, Kind, Name, replace};
use super::pack::{self, Form, Options, Packed};
use crate::dataset;
use crate::metainfo::{self, Metainfo, Recipe, RowIndex};
use offload::numbers;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why something is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See there.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// See there.
    #[error(transparent)]
    Bundle(#[from] super::bundle::Error),
    /// See there.
    #[error(transparent)]
    Build(#[from] metainfo::BuildError),
    /// The caller's: nothing of this name was packed.
    #[error("nothing called {name} was packed into {}: run `offload image pack {name} DIRECTORY`", store.display())]
    Unknown {
        /// The name.
        name: Name,
        /// The store.
        store: PathBuf,
    },
    /// The caller's: the name is something else's.
    #[error("{name} is the name of an {kind} in {} already: choose another", store.display())]
    Taken {
        /// The name.
        name: Name,
        /// What it is.
        kind: Kind,
        /// The store.
        store: PathBuf,
    },
    /// The caller's: a file that cannot be staged under its own name.
    #[error("{}: {source}; give it another name, or pack it with --archive", path.display())]
    FileName {
        /// The pack.
        path: PathBuf,
        /// What is wrong.
        source: super::catalog::Error,
    },
    /// This machine's: the store cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Somebody's who edited it: a record that makes no sense.
    #[error("{} makes no sense ({reason}): pack it again", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What a pack was made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What it is for.
    pub kind: Kind,
    /// The directory or file.
    pub source: PathBuf,
    /// How it was packed.
    pub compression: pack::Compression,
    /// A single file was wrapped.
    pub archive: bool,
    /// For whom it is sealed.
    pub recipients: Option<PathBuf>,
    /// BEP 27.
    pub private: bool,
    /// The images that an override belongs to.
    #[serde(default)]
    pub overrides: Vec<Name>,
}

/// A pack in the store, with its torrent.
#[derive(Debug)]
pub struct Stored {
    /// What clients are told of it.
    pub item: Item,
    /// Its torrent, without a tracker.
    pub metainfo: Metainfo,
    /// The pack.
    pub packed: Packed,
}

/// What is being done, for whoever waits.
#[derive(Debug)]
pub enum Step {
    /// The pack is being made: bytes of bytes.
    Packing(u64, u64),
    /// Its pieces are being hashed.
    Hashing(u64, u64),
    /// It begins as a file of numbers does and is none, for this reason: nobody can use it as a dataset.
    NoDataset(numbers::Error),
}

/// An image server's directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store at `root`, made if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path) -> Result<Store, Error> {
        for directory in ["packs", "records", "state"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(|source| Error::File { path, source })?;
        }
        let canonical = fs::canonicalize(root);
        let root = canonical.map_err(|source| Error::File { path: root.to_owned(), source })?;
        Ok(Store { root })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the server keeps its identity and its tracker's memory.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The names in the store, in order.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn names(&self) -> Result<Vec<Name>, Error> {
        let path = self.root.join("records");
        let failed = |source| Error::File { path: path.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".json")).map(str::parse);
            names.extend(name.and_then(Result::ok));
        }
        names.sort();
        Ok(names)
    }

    /// What a pack was made of.
    ///
    /// # Errors
    /// There is none of this name, or its record is damaged.
    pub fn record(&self, name: &Name) -> Result<Record, Error> {
        let path = self.record_path(name, "json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Unknown { name: name.clone(), store: self.root.clone() });
            }
            Err(source) => return Err(Error::File { path, source }),
        };
        serde_json::from_slice(&text).map_err(|e| Error::Record { path, reason: e.to_string() })
    }

    /// Packs what `record` names, unless that is packed already and has not changed, and makes its torrent.
    ///
    /// # Errors
    /// See [`Error`]; what was there before stays.
    pub fn put(
        &self,
        name: &Name,
        record: &Record,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<Stored, Error> {
        match self.record(name) {
            Ok(old) if old.kind != record.kind => {
                return Err(Error::Taken {
                    name: name.clone(),
                    kind: old.kind,
                    store: self.root.clone(),
                });
            }
            Ok(_) | Err(Error::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
        let to = self.pack_path(name);
        let packed = {
            let mut told = |now: pack::Progress| progress(Step::Packing(now.bytes, now.of_bytes));
            match record.kind {
                Kind::Bundle => super::bundle::pack(&record.source, &to, &mut told)?,
                Kind::Image | Kind::Override => {
                    let options = Options {
                        compression: record.compression,
                        archive: record.archive,
                        recipients: record.recipients.clone(),
                    };
                    pack::pack(&record.source, &to, &options, &mut told)?
                }
            }
        };
        let kept = self.torrent(name).ok();
        let metainfo = match kept.filter(|kept| packed.reused && kept.private == record.private) {
            Some(kept) if kept.rows.is_some() => kept,
            kept => match (rows_of(&packed, record, progress), kept) {
                (None, Some(kept)) => kept,
                (rows, _) => self.make_torrent(name, &packed, record.private, rows, progress)?,
            },
        };
        let text = serde_json::to_vec_pretty(record).map_err(io::Error::from);
        let path = self.record_path(name, "json");
        let written = text.and_then(|text| replace(&path, &text, false));
        written.map_err(|source| Error::File { path, source })?;
        stored(name, record, metainfo, packed)
    }

    /// A pack and its torrent as they are, whatever has become of the source.
    ///
    /// # Errors
    /// There is none of this name, or something of it is damaged.
    pub fn get(&self, name: &Name) -> Result<Stored, Error> {
        let record = self.record(name)?;
        let missing = || Error::Unknown { name: name.clone(), store: self.root.clone() };
        let packed = pack::published(&self.pack_path(name)).ok_or_else(missing)?;
        stored(name, &record, self.torrent(name)?, packed)
    }

    fn torrent(&self, name: &Name) -> Result<Metainfo, Error> {
        let path = self.record_path(name, "torrent");
        let bytes = fs::read(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        Metainfo::from_torrent(&bytes).map_err(|e| Error::Record { path, reason: e.to_string() })
    }

    fn make_torrent(
        &self,
        name: &Name,
        packed: &Packed,
        private: bool,
        rows: Option<RowIndex>,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<Metainfo, Error> {
        let recipe = Recipe { name: file_name(&packed.file), private, trackers: Vec::new(), rows };
        let metainfo =
            metainfo::build(&packed.file, recipe, &mut |done, all| progress(Step::Hashing(done, all)))?;
        let path = self.record_path(name, "torrent");
        replace(&path, &metainfo.to_torrent(), false).map_err(|source| Error::File { path, source })?;
        Ok(metainfo)
    }

    fn pack_path(&self, name: &Name) -> PathBuf {
        self.root.join("packs").join(name.as_str())
    }

    fn record_path(&self, name: &Name, ending: &str) -> PathBuf {
        self.root.join("records").join(format!("{name}.{ending}"))
    }
}

/// Where the rows begin, if the pack is a file of numbers. One that only begins like that is packed all the
/// same, since it may be meant for something else; whoever packs it is told each time.
fn rows_of(
    packed: &Packed,
    record: &Record,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Option<RowIndex> {
    if !dataset::looks_like_numbers(&packed.file) {
        return None;
    }
    let mut error = match dataset::index(&packed.file) {
        Ok(rows) => return Some(rows),
        Err(error) => error,
    };
    // The copy is ours: what is to be mended is the source.
    if let numbers::Error::Row { path, .. } | numbers::Error::File { path, .. } = &mut error {
        path.clone_from(&record.source);
    }
    progress(Step::NoDataset(error));
    None
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn stored(name: &Name, record: &Record, metainfo: Metainfo, packed: Packed) -> Result<Stored, Error> {
    let own = file_name(&packed.file).parse();
    let own = own.map_err(|source| Error::FileName { path: packed.file.clone(), source })?;
    let form = Form::of(packed.file.file_name().unwrap_or_default());
    let item = Item {
        name: name.clone(),
        kind: record.kind,
        info_hash: metainfo.info_hash,
        file_name: own,
        packed_bytes: packed.bytes,
        unpacked_bytes: packed.unpacked_bytes,
        entries: packed.entries,
        compression: form.compression,
        sealed: form.sealed,
        overrides: Vec::new(),
    };
    Ok(Stored { item, metainfo, packed })
}
