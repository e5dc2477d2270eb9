//! What the image server publishes: images, overrides and bundles, each a torrent under a name.
//!
//! The lesson: a name that becomes part of a path is checked where it enters, once, and is a type of its own
//! from there on. [`Name`] is such a type on both sides: a server cannot publish `../etc`, and a client
//! cannot be told to fetch it. A request's path never becomes a file's: torrents are answered from memory.
//!
//! The same torrents are written as plain files as well, for whoever hands them out by rsync or scp.
//!
//! Left out: versions. A name stands for what was packed last; who stages an older info-hash goes on, as
//! long as somebody has it.

use super::pack::Compression;
use crate::id::InfoHash;
use crate::limits::{MAX_CATALOG_ENTRIES, MAX_METAINFO_BYTES, MAX_OVERRIDES, MAX_PUBLISHED_NAME_BYTES};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Where plain files of torrents are, below the directory of [`Catalog::write_files`].
pub const TORRENTS: &str = "torrents";

/// Why something is not published. The fault of whoever publishes it, but for [`Error::File`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It would not be safe as a file's name everywhere.
    #[error(
        "{0:?} cannot be a name: use 1 to {MAX_PUBLISHED_NAME_BYTES} of A-Z a-z 0-9 . _ - and begin with a \
         letter or a digit"
    )]
    Name(String),
    /// Another kind of entry has the name.
    #[error("{name} is already the name of an {kind}; give this one another name")]
    Taken {
        /// The name.
        name: Name,
        /// What has it.
        kind: Kind,
    },
    /// An image names an override that is not there.
    #[error("the image {image} wants the override {wanted}, which is not published: publish it too")]
    NoOverride {
        /// The image.
        image: Name,
        /// What it wants.
        wanted: Name,
    },
    /// A bound of this program.
    #[error("{name} cannot be published: {what}")]
    TooMuch {
        /// The name.
        name: Name,
        /// Which bound.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
}

impl Error {
    fn file(path: &Path, e: &io::Error) -> Error {
        Error::File { path: path.to_owned(), reason: e.to_string() }
    }
}

/// A published name: letters, digits, `.`, `_` and `-`, beginning with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Name, Error> {
        let sound = text.len() <= MAX_PUBLISHED_NAME_BYTES
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let shown = || text.chars().take(100).collect();
        if sound { Ok(Name(text.to_owned())) } else { Err(Error::Name(shown())) }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A directory, a dataset or another file, whole.
    Image,
    /// Files laid over an image once it is unpacked.
    Override,
    /// The staging client itself, for hosts that have none.
    Bundle,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Image => "image",
            Kind::Override => "override",
            Kind::Bundle => "bundle",
        })
    }
}

/// What a client is told of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub kind: Kind,
    /// The torrent's name in the swarm, in hexadecimal digits.
    #[serde(with = "hexadecimal")]
    pub info_hash: InfoHash,
    /// The torrent's one file.
    pub file_name: Name,
    /// Bytes of that file.
    pub packed_bytes: u64,
    /// Bytes of what is in it; what the client needs room for once it is unpacked.
    pub unpacked_bytes: u64,
    /// How many files, directories and others are in it.
    pub entries: u64,
    /// What it is compressed with.
    pub compression: Compression,
    /// Is it encrypted to recipients?
    pub sealed: bool,
    /// The overrides that belong to an image, in the order in which they are applied.
    pub overrides: Vec<Name>,
}

/// An item and its torrent.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What clients are told.
    pub item: Item,
    /// The .torrent file, shared by all who fetch it.
    pub torrent: Arc<[u8]>,
}

/// `catalog.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// In the order of their names.
    pub entries: Vec<Item>,
}

/// All that is published.
#[derive(Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<Name, Entry>,
}

impl Catalog {
    /// Nothing is published yet.
    pub fn new() -> Catalog {
        Catalog::default()
    }

    /// Publishes an entry, in place of one of the same name and kind. An image's overrides come first.
    ///
    /// # Errors
    /// When another kind of entry has the name, an override is not there, or a bound is exceeded.
    pub fn publish(&mut self, entry: Entry) -> Result<(), Error> {
        let item = &entry.item;
        let too_much = |what: String| Err(Error::TooMuch { name: item.name.clone(), what });
        match self.entries.get(&item.name) {
            Some(old) if old.item.kind != item.kind => {
                return Err(Error::Taken { name: item.name.clone(), kind: old.item.kind });
            }
            None if self.entries.len() >= MAX_CATALOG_ENTRIES => {
                return too_much(format!("{MAX_CATALOG_ENTRIES} names are published already"));
            }
            _ => {}
        }
        if entry.torrent.len() > MAX_METAINFO_BYTES {
            return too_much(format!("its torrent exceeds {MAX_METAINFO_BYTES} bytes"));
        }
        if item.overrides.len() > MAX_OVERRIDES {
            return too_much(format!("it has more than {MAX_OVERRIDES} overrides"));
        }
        let there = |name: &Name| self.get(name).is_some_and(|e| e.item.kind == Kind::Override);
        if let Some(wanted) = item.overrides.iter().find(|name| !there(name)) {
            return Err(Error::NoOverride { image: item.name.clone(), wanted: wanted.clone() });
        }
        self.entries.insert(item.name.clone(), entry);
        Ok(())
    }

    /// The entry of this name.
    pub fn get(&self, name: &Name) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The entries in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// What clients are told.
    pub fn listing(&self) -> Listing {
        Listing { entries: self.entries().map(|entry| entry.item.clone()).collect() }
    }

    /// Writes `catalog.json` and `torrents/NAME.torrent` into a directory. Each file is replaced as a
    /// whole; with a key, they are for their owner only, since their announce URLs hold the pass.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_files(&self, directory: &Path, secret: bool) -> Result<(), Error> {
        let torrents = directory.join(TORRENTS);
        fs::create_dir_all(&torrents).map_err(|e| Error::file(&torrents, &e))?;
        for entry in self.entries() {
            let path = torrents.join(format!("{}.torrent", entry.item.name));
            replace(&path, &entry.torrent, secret).map_err(|e| Error::file(&path, &e))?;
        }
        let path = directory.join("catalog.json");
        let written = serde_json::to_vec_pretty(&self.listing())
            .map_err(io::Error::from)
            .and_then(|text| replace(&path, &text, secret));
        written.map_err(|e| Error::file(&path, &e))
    }
}

/// A reader sees the old file or the new one. A link in its place is replaced, not followed.
pub(super) fn replace(path: &Path, bytes: &[u8], secret: bool) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    let mode = if secret { 0o600 } else { 0o644 };
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

impl Listing {
    /// Is it within the bounds of what a server publishes? For clients, which take no server's word.
    pub fn is_sound(&self) -> bool {
        self.entries.len() <= MAX_CATALOG_ENTRIES
            && self.entries.iter().all(|item| item.overrides.len() <= MAX_OVERRIDES)
    }
}

mod hexadecimal {
    use super::*;

    pub(super) fn serialize<S: Serializer>(hash: &InfoHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hash)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<InfoHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("an info-hash has 40 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// An entry with three bytes of torrent.
    fn entry(name: &str, kind: Kind, overrides: &[&str]) -> Entry {
        let name: Name = name.parse().unwrap();
        let item = Item {
            file_name: format!("{name}.tar.zst").parse().unwrap(),
            name,
            kind,
            info_hash: InfoHash([0xab; 20]),
            packed_bytes: 1000,
            unpacked_bytes: 3000,
            entries: 5,
            compression: Compression::Zstd,
            sealed: false,
            overrides: overrides.iter().map(|name| name.parse().unwrap()).collect(),
        };
        Entry { item, torrent: Arc::from(*b"d1e") }
    }

    #[test]
    fn names_are_safe_as_names_of_files() {
        for name in ["web", "RHEL4-U3_x86.64", "0", &"a".repeat(MAX_PUBLISHED_NAME_BYTES)] {
            assert_eq!(name.parse::<Name>().unwrap().as_str(), name);
        }
        let long = "a".repeat(MAX_PUBLISHED_NAME_BYTES + 1);
        let wrong =
            ["", ".", "..", ".hidden", "-rf", "_x", "a/b", "a\\b", "a b", "a\n", "\u{e9}", "a\0", &long];
        for name in wrong {
            let message = name.parse::<Name>().unwrap_err().to_string();
            assert!(message.contains("begin with a letter or a digit"), "{message}");
        }
    }

    #[test]
    fn a_listing_reads_what_it_says_and_refuses_what_no_server_says() {
        let mut catalog = Catalog::new();
        catalog.publish(entry("site", Kind::Override, &[])).unwrap();
        catalog.publish(entry("web", Kind::Image, &["site"])).unwrap();
        let text = serde_json::to_string(&catalog.listing()).unwrap();
        assert!(text.contains(r#""name":"web","kind":"image","info_hash":"abab"#), "{text}");
        assert!(text.contains(r#""compression":"zstd","sealed":false,"overrides":["site"]"#), "{text}");
        let read = |text: &str| serde_json::from_str::<Listing>(text);
        assert_eq!(read(&text).unwrap(), catalog.listing());
        for (from, to) in [
            (r#""name":"web""#, r#""name":"../web""#),
            (r#""file_name":"web.tar.zst""#, r#""file_name":"/etc/passwd""#),
            (r#"["site"]"#, r#"["a/b"]"#),
            (&"ab".repeat(20), "ab"),
            ("1000", "-1"),
        ] {
            assert!(read(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
        let mut many = catalog.listing();
        assert!(many.is_sound());
        many.entries[0].overrides = vec!["a".parse().unwrap(); MAX_OVERRIDES + 1];
        assert!(!many.is_sound());
    }

    #[test]
    fn what_does_not_fit_is_not_published() {
        let mut catalog = Catalog::new();
        let message = catalog.publish(entry("web", Kind::Image, &["site"])).unwrap_err().to_string();
        assert!(message.contains("the image web wants the override site"), "{message}");
        catalog.publish(entry("site", Kind::Override, &[])).unwrap();
        catalog.publish(entry("web", Kind::Image, &["site"])).unwrap();
        let message = catalog.publish(entry("web", Kind::Override, &[])).unwrap_err().to_string();
        assert!(message.contains("web is already the name of an image"), "{message}");
        // An image is no override.
        assert!(catalog.publish(entry("db", Kind::Image, &["web"])).is_err());
        let mut large = entry("large", Kind::Image, &[]);
        large.torrent = vec![0; MAX_METAINFO_BYTES + 1].into();
        assert!(catalog.publish(large).unwrap_err().to_string().contains("its torrent exceeds"));
        for i in 2..MAX_CATALOG_ENTRIES {
            catalog.publish(entry(&format!("i{i}"), Kind::Image, &[])).unwrap();
        }
        assert!(catalog.publish(entry("last", Kind::Image, &[])).is_err());
        // What is there can still be replaced.
        catalog.publish(entry("web", Kind::Image, &[])).unwrap();
        assert_eq!(catalog.entries().count(), MAX_CATALOG_ENTRIES);
    }

    #[test]
    fn torrents_are_plain_files_too() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "as it was").unwrap();
        fs::create_dir(folder.path().join(TORRENTS)).unwrap();
        let path = folder.path().join("torrents/web.torrent");
        symlink(&victim, &path).unwrap();
        let mut catalog = Catalog::new();
        catalog.publish(entry("web", Kind::Image, &[])).unwrap();
        for (secret, mode) in [(false, 0o644), (true, 0o600)] {
            catalog.write_files(folder.path(), secret).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"d1e");
            assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was", "a link is replaced");
        let listing = fs::read(folder.path().join("catalog.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Listing>(&listing).unwrap(), catalog.listing());
        assert_eq!(
            fs::read_dir(folder.path().join(TORRENTS)).unwrap().count(),
            1,
            "nothing else is left"
        );
        let message = catalog.write_files(&victim, false).unwrap_err().to_string();
        assert!(message.contains("victim/torrents: Not a directory"), "{message}");
    }
}
