//! Numbers as a dataset: packed with the places of their rows, staged where they are mapped.
//!
//! The lesson: what a job needs to know of numbers that are elsewhere is their name and how many there are;
//! what a host needs that has some pieces of them is where rows begin in these. Both are in the torrent's
//! metadata, which a magnet link brings too. [`index`] puts the places there when the file is packed, after
//! it has read every row: a bad one is found before anybody stages it.
//!
//! Left out: several files in one dataset, and rows that are anything but one integer.

mod staged;

pub use staged::Staged;

use crate::id::PeerId;
use crate::io as swarm;
use crate::io::node::{Handle, Job, Node, NodeSettings, What};
use crate::limits::{MAX_METAINFO_BYTES, METADATA_LIMIT};
use crate::magnet::{self, Magnet};
use crate::metainfo::{self, Metainfo, RowIndex, piece_bytes_for};
use offload::dataset::Id;
use offload::numbers::{self, Source, Table};
use offload::rng::Rng;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why there is no dataset. Each says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The .torrent file cannot be read.
    #[error(
        "{}: {source}; `dataset` in offload.toml names it, and `./offload image serve` writes the torrents of \
         what was packed",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is none.
    #[error("{}: {source}", path.display())]
    Torrent {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: metainfo::Error,
    },
    /// The link is none.
    #[error("`dataset` in offload.toml is {0}")]
    Magnet(#[from] magnet::Error),
    /// The torrent is not of one numbers file, or not packed by us.
    #[error("the torrent {0} has no index of rows; pack the numbers with `./offload image pack`")]
    NoRows(String),
    /// Nobody has the metadata of the link.
    #[error("nobody says what is in the dataset {id} (waited {seconds} s); is its server up?")]
    Unknown {
        /// Which.
        id: Id,
        /// How long it was asked for.
        seconds: u64,
    },
    /// The swarm's.
    #[error(transparent)]
    Swarm(#[from] swarm::Error),
}

/// Where the rows of the numbers file at `path` begin in the pieces of its torrent. Every row is read.
///
/// # Errors
/// It is no file of numbers; the first row that is none is named.
pub fn index(path: &Path) -> Result<RowIndex, numbers::Error> {
    let threads = offload::io::threads();
    let table = Table::open(path, threads)?;
    let changed = || numbers::Error::Changed { path: path.to_owned() };
    let all = 0..table.rows();
    let read_all = |pieces: Range<usize>| {
        let (mut scratch, mut numbers) = (Vec::new(), Vec::new());
        pieces.into_iter().try_for_each(|piece| {
            numbers.clear();
            table.read(piece, &all, &mut scratch, &mut numbers).map(drop)
        })
    };
    let pieces = table.pieces(&all);
    let share = pieces.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let shares = pieces.clone().step_by(share).map(|first| first..pieces.end.min(first + share));
        let work: Vec<_> = shares.map(|pieces| scope.spawn(move || read_all(pieces))).collect();
        // In order, so that the first bad row is the one that is named.
        work.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Err(changed())))
    })?;
    let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
    let piece_bytes = piece_bytes_for(bytes);
    let begins = table.begins(piece_bytes.into())?;
    table.check()?;
    let narrow =
        |(count, offset): (u64, u64)| Some((u32::try_from(count).ok()?, u32::try_from(offset).ok()?));
    let begins: Option<Vec<(u32, u32)>> = begins.into_iter().map(narrow).collect();
    let geometry = crate::geometry::Geometry::new(bytes, piece_bytes);
    geometry.zip(begins).and_then(|(cut, begins)| RowIndex::new(cut, begins)).ok_or_else(changed)
}

/// Whether a file begins as numbers do, so that it is worth asking for its [`index`].
pub fn looks_like_numbers(path: &Path) -> bool {
    let mut begin = [0; 64];
    let Ok(n) = File::open(path).and_then(|mut file| file.read(&mut begin)) else { return false };
    let begin = begin[..n].strip_prefix(b"\xef\xbb\xbf").unwrap_or(&begin[..n]);
    let line = begin.split(|b| *b == b'\n').next().unwrap_or_default();
    let of_numbers = |b: &u8| b.is_ascii_digit() || b"+-\" \t\r".contains(b);
    line.iter().any(u8::is_ascii_digit) && line.iter().all(of_numbers)
}

/// What `dataset` in `offload.toml` means: a magnet link, or a .torrent file that is read.
///
/// # Errors
/// It is neither, or the file is not to be had.
pub fn read(source: &str) -> Result<What, Error> {
    if source.starts_with("magnet:") {
        return Ok(What::Magnet(source.parse::<Magnet>()?));
    }
    let path = Path::new(source);
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_METAINFO_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let torrent = |source| Error::Torrent { path: path.to_owned(), source };
    Ok(What::Metainfo(Arc::new(Metainfo::from_torrent(&bytes).map_err(torrent)?)))
}

/// Its name, as jobs have it.
pub fn id(what: &What) -> Id {
    Id(what.info_hash().0)
}

/// How many rows it has. For a magnet link the swarm is asked; nothing but metadata is fetched.
///
/// # Errors
/// It has no index of rows, or nobody answers.
pub fn rows(what: &What, mut rng: Rng) -> Result<u64, Error> {
    let metainfo = match what {
        What::Metainfo(metainfo) => Arc::clone(metainfo),
        What::Magnet(_) => {
            let nowhere = tempfile::tempdir().map_err(|e| swarm::refused("a directory", e))?;
            let node = Node::start(NodeSettings::new(PeerId::random(&mut rng)), rng.split())?;
            let handle = join(&node, what.clone(), nowhere.path(), Some(Vec::new()))?;
            let known = handle.wait_complete(Some(METADATA_LIMIT));
            let metainfo = handle.status().metainfo;
            node.stop();
            match (known, metainfo) {
                (Ok(()), Some(metainfo)) => metainfo,
                (Err(swarm::Error::Late) | Ok(()), _) => {
                    return Err(Error::Unknown { id: id(what), seconds: METADATA_LIMIT.as_secs() });
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
    };
    rows_of(&metainfo).map(RowIndex::rows)
}

fn rows_of(metainfo: &Metainfo) -> Result<&RowIndex, Error> {
    metainfo.rows.as_ref().ok_or_else(|| Error::NoRows(metainfo.name.clone()))
}

fn join(
    node: &Node,
    what: What,
    directory: &Path,
    wanted: Option<Vec<Range<u64>>>,
) -> Result<Handle, swarm::Error> {
    let directory = directory.to_owned();
    node.add(Job { what, directory, super_seed: false, wanted, peers: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::{Recipe, build};

    fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nums.csv");
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn a_packed_file_says_how_many_rows_it_has_and_where() {
        let text: String = (0..40_000).map(|n| format!("{}\r\n", n * n - 9)).collect();
        let (dir, path) = file(text.as_bytes());
        assert!(looks_like_numbers(&path));
        let index = index(&path).unwrap();
        assert_eq!(index.rows(), 40_000);
        let recipe = Recipe { name: "nums.csv".into(), rows: Some(index.clone()), ..Recipe::default() };
        let metainfo = build(&path, recipe, &mut |_, _| {}).unwrap();
        let size = u64::from(metainfo.geometry.piece_bytes());
        assert!(metainfo.geometry.pieces() > 3);
        let mut at = 0;
        for (row, line) in (0..).zip(text.split_inclusive('\n')) {
            let (piece, offset, first) = index.locate(row).unwrap();
            assert_eq!(u64::from(piece), at / size, "row {row}");
            if first == row {
                assert_eq!(u64::from(offset), at % size);
            }
            at += line.len() as u64;
        }
        let torrent = dir.path().join("nums.csv.torrent");
        std::fs::write(&torrent, metainfo.to_torrent()).unwrap();
        let what = read(torrent.to_str().unwrap()).unwrap();
        assert_eq!(rows(&what, Rng::from_seed(1)).unwrap(), 40_000);
        assert_eq!(id(&what).to_string(), metainfo.info_hash.to_string());
    }

    #[test]
    fn what_is_no_dataset_says_why() {
        let (_dir, path) = file(b"1\n2\nthree\n4\n");
        assert!(looks_like_numbers(&path));
        let text = index(&path).unwrap_err().to_string();
        assert!(text.ends_with("nums.csv:3: \"three\" is not an integer"), "{text}");
        let (_dir, path) = file(b"name,age\n");
        assert!(!looks_like_numbers(&path) && !looks_like_numbers(Path::new("/none")));
        let torrent = build(&path, Recipe { name: "n.csv".into(), ..Recipe::default() }, &mut |_, _| {});
        let what = What::Metainfo(Arc::new(torrent.unwrap()));
        let text = rows(&what, Rng::from_seed(1)).unwrap_err().to_string();
        assert!(text.contains("n.csv") && text.contains("offload image pack"), "{text}");
        let absent = read("/none/nums.csv.torrent").unwrap_err().to_string();
        assert!(absent.starts_with("/none/nums.csv.torrent: "), "{absent}");
        let wrong = read(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(wrong.contains("nums.csv: no torrent"), "{wrong}");
        let link = read("magnet:?dn=x").unwrap_err().to_string();
        assert!(link.contains("offload.toml") && link.contains("xt=urn:btih"), "{link}");
    }
}
