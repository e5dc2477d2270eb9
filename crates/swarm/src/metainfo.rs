//! Metainfo: what a .torrent file says (BEP 3, 12, 27, 47).
//!
//! The lesson: the info-hash is of the info dictionary's bytes as somebody published them, so these bytes are
//! kept and never written anew; what we do not understand in them is part of the name all the same. Around
//! them a .torrent file has only trackers, which may change without changing the torrent.
//!
//! All of it comes from strangers. Lengths are added with care, the number of hashes must agree with them,
//! and a path is taken only if it can mean nothing but a file below the directory it is unpacked in
//! ([`NameFault`]). Any piece size between the limits will do, for BEP 3 calls the power of two only usual.
//!
//! Left out: the second version (BEP 52; hybrid torrents are read by their first version), symbolic links,
//! executable bits and hidden files (BEP 47: images carry these in a tar), web seeds, comments and dates.

mod build;
mod names;
mod rows;

pub use build::{BuildError, Recipe, build, piece_bytes_for};
pub use names::NameFault;
pub(crate) use names::check as check_name;
pub use rows::RowIndex;

use crate::bencode::{self, Item, Value};
use crate::geometry::Geometry;
use crate::id::InfoHash;
use crate::limits::{
    MAX_FILES, MAX_METAINFO_BYTES, MAX_PATH_BYTES, MAX_PATH_COMPONENTS, MAX_PIECE_BYTES, MAX_PIECES,
    MAX_TRACKERS, MAX_URL_BYTES, MIN_PIECE_BYTES,
};
use offload::numbers::Shown;
use sha1::{Digest, Sha1};
use std::path::PathBuf;

/// What is wrong with a torrent: its publisher's fault, all of it, or its carrier's. Whoever read it knows
/// where it came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than is read.
    #[error("a torrent of {bytes} bytes; the most is {MAX_METAINFO_BYTES}")]
    Large {
        /// How many there are.
        bytes: usize,
    },
    /// No bencoding.
    #[error("no torrent: {0}")]
    Bencode(#[from] bencode::Error),
    /// A key is missing, or what it has is not of its kind.
    #[error("no torrent: \"{0}\" is missing or wrong")]
    Key(&'static str),
    /// BEP 52 alone.
    #[error("a torrent of version 2 (BEP 52); make it anew as version 1 or as a hybrid")]
    Version2,
    /// A file's or directory's name.
    #[error("the torrent has a file whose name, \"{name}\", {fault}")]
    Name {
        /// The name.
        name: Shown,
        /// Why it will not do.
        fault: NameFault,
    },
    /// A path as a whole.
    #[error(
        "the torrent has a path of more than {MAX_PATH_COMPONENTS} names or {MAX_PATH_BYTES} bytes: {path}"
    )]
    LongPath {
        /// The path.
        path: Shown,
    },
    /// Two files at one path, or one where another needs a directory.
    #[error("the torrent has two files at {}, or one file inside another", path.display())]
    Clash {
        /// Where.
        path: PathBuf,
    },
    /// A symbolic link (BEP 47).
    #[error("the torrent has a symbolic link, {}, which is not supported", path.display())]
    Link {
        /// Where.
        path: PathBuf,
    },
    /// Too many files.
    #[error("the torrent has more than {MAX_FILES} files; pack them in one")]
    Files,
    /// The piece length.
    #[error(
        "the torrent's pieces have {0} bytes; from {MIN_PIECE_BYTES} to {MAX_PIECE_BYTES} are taken"
    )]
    PieceBytes(i64),
    /// No content.
    #[error("the torrent's files are all empty")]
    Empty,
    /// Too much content.
    #[error("the torrent has more than {MAX_PIECES} pieces")]
    Pieces,
    /// Lengths and hashes disagree.
    #[error("the torrent has {pieces} pieces and {hash_bytes} bytes of hashes, not 20 for each")]
    Hashes {
        /// As the lengths have it.
        pieces: u32,
        /// What there is.
        hash_bytes: usize,
    },
    /// A row index that does not fit the pieces.
    #[error("the torrent's index of rows does not fit its pieces")]
    Rows,
}

/// A torrent, read and found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    /// Its name in the swarm.
    pub info_hash: InfoHash,
    /// Its name on disk: the file, or the directory that holds all files. Sound as a file's name.
    pub name: String,
    /// BEP 27: peers come from its trackers only.
    pub private: bool,
    /// How it is cut.
    pub geometry: Geometry,
    /// Its files, in the order of their bytes, without gaps; one at least has a byte.
    pub files: Vec<File>,
    /// URLs to announce to, by tier (BEP 12). No tier is empty.
    pub trackers: Vec<Vec<String>>,
    /// The info dictionary, as it was published.
    pub info: Vec<u8>,
    /// Where rows begin, if this is a numbers file packed by us.
    pub rows: Option<RowIndex>,
    hashes: Vec<[u8; 20]>,
}

/// A file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative, of sound names, and no other file's path or parent. It begins with the torrent's name: that
    /// is all of it where the torrent is a single file.
    pub path: PathBuf,
    /// Its bytes; 0 is a file too.
    pub length: u64,
    /// Bytes of the torrent before it.
    pub start: u64,
    /// BEP 47: zeros that only move the next file to the start of a piece. Not to be created on disk; the
    /// path means nothing.
    pub padding: bool,
}

impl Metainfo {
    /// Reads a .torrent file.
    ///
    /// # Errors
    /// It is none, or none that we take.
    pub fn from_torrent(bytes: &[u8]) -> Result<Metainfo, Error> {
        check_size(bytes)?;
        let torrent = bencode::parse(bytes)?;
        let info = torrent.get(b"info").ok_or(Error::Key("info"))?;
        Metainfo::from_info(info.raw().to_vec(), trackers(torrent))
    }

    /// Reads an info dictionary alone: a peer's answer to a magnet link (BEP 9). Whether it is the one that
    /// was asked for, its `info_hash` says.
    ///
    /// # Errors
    /// As [`Metainfo::from_torrent`].
    pub fn from_info(info: Vec<u8>, trackers: Vec<Vec<String>>) -> Result<Metainfo, Error> {
        check_size(&info)?;
        let dict = bencode::parse(&info)?;
        if dict.as_dict().is_none() {
            return Err(Error::Key("info"));
        }
        let Some(pieces) = dict.get(b"pieces").and_then(Value::as_bytes) else {
            let version_2 = dict.get(b"meta version").is_some() || dict.get(b"file tree").is_some();
            return Err(if version_2 { Error::Version2 } else { Error::Key("pieces") });
        };
        let name = check_name(bytes_of(dict, "name")?)?.to_owned();
        let piece_bytes = dict.get(b"piece length").and_then(Value::as_int);
        let piece_bytes = piece_bytes.ok_or(Error::Key("piece length"))?;
        let (files, single) = files(dict, &name)?;
        let total = files.last().map_or(0, |file| file.start + file.length);
        let geometry = geometry(total, piece_bytes)?;
        let (hashes, rest) = pieces.as_chunks::<20>();
        if hashes.len() != geometry.pieces() as usize || !rest.is_empty() {
            return Err(Error::Hashes { pieces: geometry.pieces(), hash_bytes: pieces.len() });
        }
        let hashes = hashes.to_vec();
        let rows = match dict.get(rows::KEY.as_bytes()) {
            None => None,
            Some(index) => {
                let index = index.as_bytes().filter(|_| single).ok_or(Error::Rows)?;
                Some(RowIndex::parse(index, geometry).ok_or(Error::Rows)?)
            }
        };
        let private = dict.get(b"private").and_then(Value::as_int).is_some_and(|private| private != 0);
        let info_hash = InfoHash(Sha1::digest(&info).into());
        let trackers = tiers(trackers.iter().map(|tier| tier.iter().map(String::as_str)));
        Ok(Metainfo { info_hash, name, private, geometry, files, trackers, info, rows, hashes })
    }

    /// A .torrent file: the info dictionary as it was published, and the trackers.
    pub fn to_torrent(&self) -> Vec<u8> {
        let mut entries = vec![("info", Item::Raw(self.info.clone()))];
        if let Some(first) = self.trackers.iter().flatten().next() {
            entries.push(("announce", first.as_str().into()));
        }
        if self.trackers.iter().flatten().count() > 1 {
            let tier =
                |tier: &Vec<String>| Item::List(tier.iter().map(|url| url.as_str().into()).collect());
            entries.push(("announce-list", Item::List(self.trackers.iter().map(tier).collect())));
        }
        Item::dict(entries).encode()
    }

    /// SHA-1 of a piece; `None` where there is no such piece.
    pub fn hash_of(&self, piece: u32) -> Option<[u8; 20]> {
        self.hashes.get(piece as usize).copied()
    }
}

fn check_size(bytes: &[u8]) -> Result<(), Error> {
    let bytes = bytes.len();
    if bytes > MAX_METAINFO_BYTES { Err(Error::Large { bytes }) } else { Ok(()) }
}

fn bytes_of<'a>(dict: Value<'a>, key: &'static str) -> Result<&'a [u8], Error> {
    dict.get(key.as_bytes()).and_then(Value::as_bytes).ok_or(Error::Key(key))
}

/// The cut, within limits.
fn geometry(total: u64, piece_bytes: i64) -> Result<Geometry, Error> {
    let size =
        u32::try_from(piece_bytes).ok().filter(|n| (MIN_PIECE_BYTES..=MAX_PIECE_BYTES).contains(n));
    let size = size.ok_or(Error::PieceBytes(piece_bytes))?;
    if total == 0 {
        return Err(Error::Empty);
    }
    Geometry::new(total, size).filter(|cut| cut.pieces() <= MAX_PIECES).ok_or(Error::Pieces)
}

/// The files, and whether the torrent is a single one.
fn files(info: Value<'_>, name: &str) -> Result<(Vec<File>, bool), Error> {
    let list = match (info.get(b"length"), info.get(b"files")) {
        (Some(_), None) => {
            let path = PathBuf::from(name);
            return Ok((vec![File { padding: false, ..file(info, path, 0)? }], true));
        }
        // Both would be two torrents under one name.
        (Some(_), Some(_)) => return Err(Error::Key("length")),
        (None, list) => list.and_then(Value::as_list).ok_or(Error::Key("files"))?,
    };
    let (mut files, mut start) = (Vec::new(), 0);
    for entry in list {
        if files.len() == MAX_FILES {
            return Err(Error::Files);
        }
        let names = entry.get(b"path").and_then(Value::as_list).ok_or(Error::Key("path"))?;
        let file = file(entry, names::path(name, names.map(Value::as_bytes))?, start)?;
        start = start.checked_add(file.length).ok_or(Error::Pieces)?;
        files.push(file);
    }
    names::distinct(&files)?;
    Ok((files, false))
}

fn file(entry: Value<'_>, path: PathBuf, start: u64) -> Result<File, Error> {
    let length =
        entry.get(b"length").and_then(Value::as_int).and_then(|length| u64::try_from(length).ok());
    let length = length.ok_or(Error::Key("length"))?;
    let attributes = entry.get(b"attr").and_then(Value::as_bytes).unwrap_or_default();
    if attributes.contains(&b'l') {
        return Err(Error::Link { path });
    }
    Ok(File { path, length, start, padding: attributes.contains(&b'p') })
}

/// The trackers of a .torrent file: its tiers, else the one of BEP 3.
fn trackers(torrent: Value<'_>) -> Vec<Vec<String>> {
    let list = torrent.get(b"announce-list").and_then(Value::as_list).into_iter().flatten();
    let several = list.map(|tier| tier.as_list().into_iter().flatten().filter_map(Value::as_str));
    let several = tiers(several);
    if !several.is_empty() {
        return several;
    }
    tiers(torrent.get(b"announce").map(|url| url.as_str().into_iter()).into_iter())
}

/// The first [`MAX_TRACKERS`] that can be URLs, without empty tiers.
fn tiers<'a>(tiers: impl Iterator<Item = impl Iterator<Item = &'a str>>) -> Vec<Vec<String>> {
    let mut room = MAX_TRACKERS;
    let mut kept = Vec::new();
    for tier in tiers {
        let tier: Vec<_> = tier.filter(|url| is_url(url)).take(room).map(str::to_owned).collect();
        room -= tier.len();
        if !tier.is_empty() {
            kept.push(tier);
        }
    }
    kept
}

/// Could this be a URL? Nothing that would break a line of HTTP, or show otherwise than it is.
pub(crate) fn is_url(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_URL_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
