//! Makes a torrent of a file or a directory.
//!
//! The lesson: the same content under the same name must get the same info-hash, whoever packs it and when,
//! or two packers make two swarms of half the size. So files are sorted by the bytes of their paths, the cut
//! follows from the length alone, and no date is written. And a torrent of a file that changed on the way is
//! a torrent of nothing: what is on disk is compared with what it was before it was read.
//!
//! Left out: links, devices and empty directories, which a torrent cannot say: an image has a tar for them.

use super::{Error, Metainfo, geometry, rows};
use crate::bencode::Item;
use crate::geometry::Geometry;
use crate::limits::{
    MAX_FILES, MAX_HASHING_BYTES, MAX_PATH_COMPONENTS, MAX_PIECE_BYTES, MAX_PIECES, SETTLE_LIMIT,
};
use crate::metainfo::RowIndex;
use offload::numbers::Shown;
use rustix::fs::OFlags;
use sha1::{Digest, Sha1};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Time stamps are as coarse as the kernel's tick, 10 ms at most; two of them, to be sure.
const RACY: Duration = Duration::from_millis(20);

/// What a torrent says beside its content.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// Its name on disk.
    pub name: String,
    /// BEP 27: peers come from its trackers only.
    pub private: bool,
    /// URLs to announce to, by tier (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// Where rows begin, for a single file cut by [`piece_bytes_for`] its length.
    pub rows: Option<RowIndex>,
}

/// Why there is no torrent.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// This machine's: what is there cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The caller's: a torrent has only files.
    #[error("{} is neither a file nor a directory; pack the directory as an image, which keeps it", .0.display())]
    Special(PathBuf),
    /// The caller's: somebody else writes there.
    #[error("{} changed while a torrent was made of it; make it again when nobody writes to it", .0.display())]
    Changed(PathBuf),
    /// The caller's: a torrent of this would be refused.
    #[error("cannot make a torrent of {}: {source}", path.display())]
    Refused {
        /// The file or directory.
        path: PathBuf,
        /// As its readers would say it.
        source: Error,
    },
}

/// The piece size for so many bytes: a power of two.
///
/// A piece is passed on only when it is whole, so small pieces spread faster: simulated, 64 MiB take 150 hosts
/// 1.22 times the limit in pieces of 64 KiB and 1.38 times in pieces of 256 KiB (`examples/growth`). Large ones
/// cost less: a hash, a HAVE to every peer, a bit. So there are 1,000 to 2,000 pieces where sizes allow. From
/// 4 MiB on they stay, for a leecher keeps several open in its memory, until there are too many.
pub fn piece_bytes_for(total_bytes: u64) -> u32 {
    let pieces = |size: u32| total_bytes.div_ceil(u64::from(size));
    let mut size = 64 << 10;
    while (size < 4 << 20 && pieces(size) > 2048)
        || (size < MAX_PIECE_BYTES && pieces(size) > u64::from(MAX_PIECES))
    {
        size *= 2;
    }
    size
}

/// Reads the file or directory at `path` once, in order, on all processors. `progress` is told how many bytes
/// of how many have been read.
///
/// # Errors
/// There is something that is no file, or cannot be read, or changes meanwhile, or no torrent can hold it.
pub fn build(
    path: &Path,
    recipe: Recipe,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Metainfo, BuildError> {
    let refused = |source| BuildError::Refused { path: path.to_owned(), source };
    let root = fs::canonicalize(path).map_err(|source| unreadable(path, source))?;
    let found = settled(&root).map_err(|fault| fault.of(path))?;
    let total = found.iter().try_fold(0u64, |sum, one| sum.checked_add(one.stamp.bytes));
    let total = total.ok_or_else(|| refused(Error::Pieces))?;
    let geometry = geometry(total, piece_bytes_for(total).into()).map_err(refused)?;
    // Whatever readers would refuse is known before the work is done.
    let blank = vec![[0; 20]; geometry.pieces() as usize];
    Metainfo::from_info(info(&found, &recipe, geometry, &blank), Vec::new()).map_err(refused)?;
    let hashes = hash(&found, geometry, progress)?;
    let now = list(&root).map_err(|fault| fault.of(path))?;
    if now != found {
        let other = now.iter().zip(&found).find(|(now, then)| now != then);
        return Err(BuildError::Changed(other.map_or(root, |(now, _)| now.place.clone())));
    }
    Metainfo::from_info(info(&found, &recipe, geometry, &hashes), recipe.trackers).map_err(refused)
}

fn unreadable(path: &Path, source: io::Error) -> BuildError {
    BuildError::Unreadable { path: path.to_owned(), source }
}

/// The info dictionary.
fn info(found: &[Found], recipe: &Recipe, geometry: Geometry, hashes: &[[u8; 20]]) -> Vec<u8> {
    let length = |found: &Found| Item::Int(found.stamp.bytes as i64);
    let mut entries = vec![
        ("name", recipe.name.as_str().into()),
        ("piece length", geometry.piece_bytes().into()),
        ("pieces", hashes.as_flattened().into()),
    ];
    match found {
        [single] if single.names.is_empty() => entries.push(("length", length(single))),
        _ => {
            let file = |found: &Found| {
                let names = found.names.iter().map(|name| name.as_slice().into()).collect();
                Item::dict([("length", length(found)), ("path", Item::List(names))])
            };
            entries.push(("files", Item::List(found.iter().map(file).collect())));
        }
    }
    if recipe.private {
        entries.push(("private", Item::Int(1)));
    }
    if let Some(rows) = &recipe.rows {
        entries.push((rows::KEY, rows.encode().into()));
    }
    Item::dict(entries).encode()
}

/// A file to be hashed.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    place: PathBuf,
    /// Its path below the root; nothing where it is the root.
    names: Vec<Vec<u8>>,
    stamp: Stamp,
}

/// What tells whether a file is still what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Was the file touched so close to `now` that another change might leave the stamp as it is?
    fn is_racy(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let nanos = |(s, ns): (i64, i64)| i128::from(s) * 1_000_000_000 + i128::from(ns);
        [self.modified, self.changed].iter().any(|t| nanos(*t).abs_diff(now as i128) <= RACY.as_nanos())
    }
}

/// What [`list`] stops at.
enum Fault {
    Unreadable(PathBuf, io::Error),
    Special(PathBuf),
    Changed(PathBuf),
    Refused(Error),
}

impl Fault {
    fn of(self, root: &Path) -> BuildError {
        match self {
            Fault::Unreadable(path, source) => BuildError::Unreadable { path, source },
            Fault::Special(path) => BuildError::Special(path),
            Fault::Changed(path) => BuildError::Changed(path),
            Fault::Refused(source) => BuildError::Refused { path: root.to_owned(), source },
        }
    }
}

/// The files below `root`, once no stamp is so young that a change might leave it as it is.
///
/// This is the time of files: it can only be compared with the system's clock.
fn settled(root: &Path) -> Result<Vec<Found>, Fault> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let found = list(root)?;
        let now = SystemTime::now();
        let Some(racy) = found.iter().find(|found| found.stamp.is_racy(now)) else { return Ok(found) };
        if Instant::now() > deadline {
            return Err(Fault::Changed(racy.place.clone()));
        }
        thread::sleep(RACY);
    }
}

/// The files at or below `root`, sorted by the bytes of their paths.
fn list(root: &Path) -> Result<Vec<Found>, Fault> {
    let mut found = Vec::new();
    let mut to_visit = vec![(root.to_owned(), Vec::new())];
    while let Some((place, names)) = to_visit.pop() {
        let unreadable = |source| Fault::Unreadable(place.clone(), source);
        let metadata = fs::symlink_metadata(&place).map_err(unreadable)?;
        if metadata.is_file() {
            if found.len() == MAX_FILES {
                return Err(Fault::Refused(Error::Files));
            }
            found.push(Found { place, names, stamp: Stamp::of(&metadata) });
            continue;
        }
        if !metadata.is_dir() {
            return Err(Fault::Special(place));
        }
        if names.len() >= MAX_PATH_COMPONENTS {
            let path = Shown::new(&names.join(&b'/'));
            return Err(Fault::Refused(Error::LongPath { path }));
        }
        for entry in fs::read_dir(&place).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let mut below = names.clone();
            below.push(name.as_encoded_bytes().to_vec());
            to_visit.push((place.join(name), below));
        }
    }
    found.sort_by_cached_key(|found| found.names.join(&b'/'));
    Ok(found)
}

/// The hashes of all pieces. Whoever is done takes the next piece: reads are in order, hashing is not.
fn hash(
    found: &[Found],
    geometry: Geometry,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<[u8; 20]>, BuildError> {
    let most = (MAX_HASHING_BYTES / geometry.piece_bytes()).min(geometry.pieces()) as usize;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(most);
    let reader = Mutex::new(Reader { geometry, piece: 0, found: found.iter(), file: None, progress });
    let hashes = Mutex::new(vec![[0; 20]; geometry.pieces() as usize]);
    let work = || -> Result<(), BuildError> {
        let mut buffer = Vec::new();
        loop {
            let piece = reader.lock().unwrap_or_else(PoisonError::into_inner).next(&mut buffer)?;
            let Some(piece) = piece else { return Ok(()) };
            let hash = Sha1::digest(&buffer).into();
            hashes.lock().unwrap_or_else(PoisonError::into_inner)[piece as usize] = hash;
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut outcome = work();
        for other in others {
            outcome = outcome.and(other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        }
        outcome
    })?;
    Ok(hashes.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The files as one run of bytes, piece by piece.
struct Reader<'a> {
    geometry: Geometry,
    /// The next.
    piece: u32,
    found: std::slice::Iter<'a, Found>,
    /// The one that is being read, and the bytes of it that are left.
    file: Option<(&'a Path, io::Take<fs::File>)>,
    progress: &'a mut (dyn FnMut(u64, u64) + Send),
}

impl Reader<'_> {
    /// Fills the buffer with the next piece; `None` after the last, or after an error.
    fn next(&mut self, buffer: &mut Vec<u8>) -> Result<Option<u32>, BuildError> {
        let piece = self.piece;
        if piece == self.geometry.pieces() {
            return Ok(None);
        }
        // Nobody goes on after an error.
        self.piece = self.geometry.pieces();
        buffer.resize(self.geometry.length_of(piece) as usize, 0);
        self.fill(buffer)?;
        self.piece = piece + 1;
        (self.progress)(self.geometry.span(piece).end, self.geometry.total_bytes());
        Ok(Some(piece))
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), BuildError> {
        while !buffer.is_empty() {
            let Some((path, file)) = &mut self.file else {
                // There is one: the cut is of all files' bytes.
                let Some(found) = self.found.next() else { return Ok(()) };
                self.file = Some((&found.place, open(found)?));
                continue;
            };
            if file.limit() == 0 {
                self.file = None;
                continue;
            }
            let read = match file.read(buffer) {
                Ok(0) => return Err(BuildError::Changed(path.to_owned())),
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(unreadable(path, e)),
            };
            buffer = &mut buffer[read..];
        }
        Ok(())
    }
}

/// Opens a file that must still be the one that was found.
fn open(found: &Found) -> Result<io::Take<fs::File>, BuildError> {
    // It may be a link or a FIFO by now.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags as i32).open(&found.place);
    let file = file.map_err(|e| unreadable(&found.place, e))?;
    let metadata = file.metadata().map_err(|e| unreadable(&found.place, e))?;
    if Stamp::of(&metadata) != found.stamp {
        return Err(BuildError::Changed(found.place.clone()));
    }
    Ok(file.take(found.stamp.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn recipe(name: &str) -> Recipe {
        Recipe { name: name.into(), ..Recipe::default() }
    }

    fn make(path: &Path, name: &str) -> Result<Metainfo, BuildError> {
        build(path, recipe(name), &mut |_, _| {})
    }

    fn dir(files: &[(&str, &[u8])]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    fn noise(bytes: usize) -> Vec<u8> {
        (0..bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    #[test]
    fn pieces_grow_with_the_content() {
        for (total, piece_kib, pieces) in [
            (1, 64, 1),
            (12 << 20, 64, 192),
            (32 << 20, 64, 512),
            (64 << 20, 64, 1024),
            (512 << 20, 256, 2048),
            (1 << 30, 512, 2048),
            (8 << 30, 4096, 2048),
            (100 << 30, 4096, 25600),
            (1 << 40, 4096, 1 << 18),
            (8 << 40, 8192, 1 << 20),
        ] {
            let size = piece_bytes_for(total);
            assert_eq!((size >> 10, total.div_ceil(size.into())), (piece_kib, pieces), "{total}");
        }
        assert_eq!(piece_bytes_for(u64::MAX), MAX_PIECE_BYTES);
    }

    #[test]
    fn a_file_and_a_directory_give_the_torrents_written_by_hand() {
        let files =
            dir(&[("b/d", &[b'y'; 10000]), ("a", &[b'x'; 10000]), ("b/c", b""), ("hello", b"hello")]);
        let hello = make(&files.path().join("hello"), "hello").unwrap();
        let piece = Sha1::digest(b"hello");
        assert_eq!(
            hello.to_torrent(),
            [b"d4:infod6:lengthi5e4:name5:hello12:piece lengthi65536e6:pieces20:", &piece[..], b"ee"]
                .concat()
        );
        fs::remove_file(files.path().join("hello")).unwrap();
        let trackers = vec![vec!["http://t.example/announce".to_owned()]];
        let recipe = Recipe { private: true, trackers: trackers.clone(), ..recipe("dir") };
        let all = build(files.path(), recipe, &mut |_, _| {}).unwrap();
        // From a program that has nothing to do with this one.
        assert_eq!(all.info_hash.to_string(), "abe87d993452a713adcbf9f75c80e89b7bdceb70");
        let paths: Vec<_> =
            all.files.iter().map(|file| (file.path.to_str().unwrap(), file.length)).collect();
        assert_eq!(paths, [("dir/a", 10000), ("dir/b/c", 0), ("dir/b/d", 10000)]);
        assert!(all.private && all.trackers == trackers);
        assert_eq!(Metainfo::from_torrent(&all.to_torrent()), Ok(all));
    }

    #[test]
    fn the_same_content_has_the_same_info_hash() {
        // Sorted by bytes: '!' and '-' come before the slash, '0' after it.
        let names = ["a/z", "a-b", "a0", "a!", "b", "\u{e9}"];
        let there: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, name.as_bytes())).collect();
        let back: Vec<_> = there.iter().rev().copied().collect();
        let (one, two) = (dir(&there), dir(&back));
        let (first, second) = (make(one.path(), "n").unwrap(), make(two.path(), "n").unwrap());
        assert_eq!(first, second);
        let paths: Vec<_> = first.files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["n/a!", "n/a-b", "n/a/z", "n/a0", "n/b", "n/\u{e9}"]);
        assert_ne!(first.info_hash, make(two.path(), "m").unwrap().info_hash);
    }

    #[test]
    fn many_threads_hash_as_one() {
        let content = noise(3_000_001);
        let files = dir(&[("a", &content[..1_000_000]), ("b", b""), ("c", &content[1_000_000..])]);
        let mut steps = Vec::new();
        let torrent =
            build(files.path(), recipe("n"), &mut |done, all| steps.push((done, all))).unwrap();
        assert_eq!(torrent.geometry.pieces(), 46);
        for (index, piece) in content.chunks(64 << 10).enumerate() {
            assert_eq!(torrent.hash_of(index as u32), Some(Sha1::digest(piece).into()));
        }
        assert_eq!((steps.len(), steps[45]), (46, (3_000_001, 3_000_001)));
        assert!(steps.is_sorted());
    }

    #[test]
    fn an_index_of_rows_goes_with_the_info_hash() {
        let files = dir(&[("n.csv", b"1\n22\n")]);
        let path = files.path().join("n.csv");
        let geometry = Geometry::new(5, piece_bytes_for(5)).unwrap();
        let rows = RowIndex::new(geometry, [(2, 0)]);
        let with = |rows| build(&path, Recipe { rows, ..recipe("n.csv") }, &mut |_, _| {});
        let torrent = with(rows.clone()).unwrap();
        assert_eq!(torrent.rows, rows);
        assert_ne!(torrent.info_hash, with(None).unwrap().info_hash);
        let other = RowIndex::new(Geometry::new(100_000, 64 << 10).unwrap(), [(1, 0), (1, 0)]);
        assert!(matches!(with(other), Err(BuildError::Refused { source: Error::Rows, .. })));
    }

    #[test]
    fn what_a_torrent_cannot_hold_is_refused_before_any_work() {
        let refused = |dir: &TempDir, name: &str| {
            let mut idle = |_, _| panic!("something was read");
            match build(dir.path(), recipe(name), &mut idle) {
                Err(BuildError::Refused { source, .. }) => source,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(&dir(&[]), "n"), Error::Empty);
        assert_eq!(refused(&dir(&[("a", b""), ("b", b"")]), "n"), Error::Empty);
        assert!(matches!(refused(&dir(&[("a", b"a")]), "a/b"), Error::Name { .. }));
        assert!(matches!(refused(&dir(&[("a\nb", b"a")]), "n"), Error::Name { .. }));
        let deep = dir(&[(&"d/".repeat(MAX_PATH_COMPONENTS), b"a")]
            .map(|(path, content)| (path.trim_end_matches('/'), &content[..])));
        assert!(matches!(refused(&deep, "n"), Error::LongPath { .. }));
        let sparse = dir(&[]);
        fs::File::create(sparse.path().join("s")).unwrap().set_len(1 << 43).unwrap();
        fs::File::create(sparse.path().join("t")).unwrap().set_len(1 << 43).unwrap();
        fs::write(sparse.path().join("u"), "u").unwrap();
        assert_eq!(refused(&sparse, "n"), Error::Pieces);
    }

    #[test]
    fn links_and_special_files_are_named() {
        let files = dir(&[("a", b"a")]);
        symlink("a", files.path().join("b")).unwrap();
        let error = make(files.path(), "n").unwrap_err();
        assert!(matches!(&error, BuildError::Special(path) if path.ends_with("b")), "{error}");
        // The link itself was meant: its target is packed.
        assert_eq!(
            make(&files.path().join("b"), "a").unwrap(),
            make(&files.path().join("a"), "a").unwrap()
        );
        fs::remove_file(files.path().join("b")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(files.path().join("s")).unwrap();
        assert!(matches!(make(files.path(), "n"), Err(BuildError::Special(_))));
        let missing = make(&files.path().join("none"), "n");
        assert!(matches!(missing, Err(BuildError::Unreadable { .. })));
    }

    #[test]
    fn a_file_that_changes_on_the_way_gives_no_torrent() {
        type Change = fn(&Path);
        let changes: [(Change, &str); 5] = [
            (|dir| fs::write(dir.join("a"), noise(200_000)).unwrap(), "a"),
            (|dir| fs::write(dir.join("z"), "shorter").unwrap(), "z"),
            (|dir| fs::remove_file(dir.join("z")).unwrap(), "z"),
            (|dir| fs::write(dir.join("z2"), "new").unwrap(), ""),
            (|dir| fs::rename(dir.join("a"), dir.join("z")).unwrap(), "z"),
        ];
        for (number, (change, name)) in changes.into_iter().enumerate() {
            let files = dir(&[("a", &noise(200_000)), ("z", &noise(100_000))]);
            let mut first = true;
            let mut progress = |_, _| {
                if std::mem::take(&mut first) {
                    change(files.path());
                }
            };
            match build(files.path(), recipe("n"), &mut progress) {
                Err(BuildError::Changed(path)) => assert!(path.ends_with(name), "{number}: {path:?}"),
                Err(BuildError::Unreadable { path, .. }) => {
                    assert!(path.ends_with(name), "{number}: {path:?}")
                }
                other => panic!("{number}: {other:?}"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn hashing_equals_the_naive_one(sizes in prop::collection::vec(0usize..150_000, 1..6)) {
            let content = noise(sizes.iter().sum());
            let mut rest = &content[..];
            let names: Vec<String> = (0..sizes.len()).map(|i| format!("{i}/f")).collect();
            let mut files: Vec<(&str, &[u8])> = Vec::new();
            for (name, size) in names.iter().zip(&sizes) {
                let (file, after) = rest.split_at(*size);
                files.push((name, file));
                rest = after;
            }
            let files = dir(&files);
            match make(files.path(), "n") {
                Ok(torrent) => {
                    let naive: Vec<[u8; 20]> = content.chunks(64 << 10).map(|piece| Sha1::digest(piece).into()).collect();
                    let hashes: Vec<_> = (0..).map_while(|piece| torrent.hash_of(piece)).collect();
                    prop_assert_eq!(hashes, naive);
                    prop_assert_eq!(torrent.files.len(), sizes.len());
                }
                Err(error) => prop_assert!(content.is_empty(), "{error}"),
            }
        }
    }
}
