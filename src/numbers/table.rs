//! A file of integers, one a line, that any thread may read in any order.
//!
//! The lesson: a file can be cut anywhere if each side of a cut knows whose the torn line is. Piece `i` is
//! a range of bytes of equal size and holds the lines that follow the line feeds in it (the first piece
//! also the first line), so that its last line may reach into the next. One pass counts the line feeds of
//! each piece; their running sums say which piece holds row `n`, and which line an error is in.
//!
//! What is counted and what is read later must be the same file. Each piece must still hold as many rows
//! as were counted, and [`Source::check`] compares the file's time stamps, which is why opening waits
//! until a later write must give a new one.
//!
//! Left out: memory mapping, where a file that shrinks kills the process instead of giving an error.

mod span;

pub use span::Span;

use super::row::Parser;
use super::{Error, Fault, Source, plain};
use crate::limits::{MAX_ROW_BYTES, PIECE_BYTES};
use memchr::{memchr, memchr_iter, memrchr};
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// UTF-8's byte order mark, which some programs write at the start of a file.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";
/// Most pieces of a file, 16 bytes of memory each while it is counted; beyond, pieces are larger.
const MAX_PIECES: u64 = 1 << 19;
/// Bytes that are counted at a time: the page cache is copied faster in larger steps than a piece.
const COUNTED_BYTES: u64 = 1 << 20;
/// Where to begin in memory: the kernel copies a file there faster than beside it, which is where
/// allocators like to begin.
const CACHE_LINE: usize = 64;
/// Bytes beyond a piece that are read with it: its last line, carriage return and line feed.
const TAIL_BYTES: usize = MAX_ROW_BYTES + 2;
/// Time stamps are as coarse as the kernel's tick, 10 ms at most; two of them, to be sure.
const RACY: Duration = Duration::from_millis(20);
/// How long a file may go on changing before it is given up.
const SETTLE: Duration = Duration::from_secs(1);

/// A file of integers whose rows are counted. See the module's documentation.
pub struct Table {
    path: PathBuf,
    file: File,
    stamp: Stamp,
    /// The bytes without byte order mark and white space at the end.
    text: Range<u64>,
    piece_bytes: u64,
    /// The first row of each piece, then the number of rows.
    first_rows: Vec<u64>,
}

impl Table {
    /// Opens the first of `places` that exists and counts its rows with `threads` threads.
    ///
    /// # Errors
    /// None exists, or what exists is not a readable file with text in it. Rows are not looked at yet.
    pub fn find(places: &[PathBuf], threads: usize) -> Result<Table, Error> {
        for place in places {
            let table = open_settled(place)
                .and_then(|file| Table::count(place, file, threads, PIECE_BYTES as u64));
            match table {
                Err(Error::File { fault: Fault::Unreadable(e), .. }) if is_missing(&e) => {}
                Err(Error::File { path, fault, .. }) => {
                    return Err(Error::File { path, fault, places: places.to_vec() });
                }
                other => return other,
            }
        }
        Err(Error::Missing { places: places.to_vec() })
    }

    /// Opens `path` and counts its rows with `threads` threads.
    ///
    /// # Errors
    /// As [`Table::find`].
    pub fn open(path: &Path, threads: usize) -> Result<Table, Error> {
        Table::find(&[path.to_owned()], threads)
    }

    /// Counts the rows of a file in pieces of `piece_bytes` bytes (or more where it is huge).
    fn count(
        path: &Path,
        (file, stamp): (File, Stamp),
        threads: usize,
        piece_bytes: u64,
    ) -> Result<Table, Error> {
        let text = text(&file, stamp.size).map_err(|e| broken(path, e))?;
        if text.is_empty() {
            return Err(fault(path, Fault::Empty));
        }
        let bytes = text.end - text.start;
        let mut piece_bytes = piece_bytes;
        while bytes.div_ceil(piece_bytes) > MAX_PIECES {
            piece_bytes *= 2;
        }
        let mut table =
            Table { path: path.to_owned(), file, stamp, text, piece_bytes, first_rows: Vec::new() };
        let line_feeds = table.line_feeds(threads).map_err(|e| broken(path, e))?;
        // Each line but the first follows a line feed.
        let mut row = 1;
        table.first_rows.reserve_exact(line_feeds.len() + 1);
        table.first_rows.push(0);
        for count in line_feeds {
            row += count;
            table.first_rows.push(row);
        }
        Ok(table)
    }

    /// The number of line feeds in each piece.
    fn line_feeds(&self, threads: usize) -> io::Result<Vec<u64>> {
        let pieces = (self.text.end - self.text.start).div_ceil(self.piece_bytes);
        // At most MAX_PIECES.
        let mut counts = vec![0; pieces as usize];
        let at_once = (COUNTED_BYTES / self.piece_bytes).max(1) as usize;
        let threads = threads.clamp(1, counts.len().div_ceil(at_once));
        // Whoever is done takes the next: a thread may be given its processor late.
        let shares = Mutex::new(counts.chunks_mut(at_once).zip((0..).step_by(at_once)));
        let count = || -> io::Result<()> {
            let mut memory = Vec::new();
            loop {
                let share = shares.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((counts, first)) = share else { return Ok(()) };
                let range = self.bytes_of(first).start..self.bytes_of(first + counts.len() - 1).end;
                let buffer = aligned(&mut memory, (range.end - range.start) as usize);
                self.file.read_exact_at(buffer, range.start)?;
                for (count, piece) in counts.iter_mut().zip(buffer.chunks(self.piece_bytes as usize)) {
                    *count = memchr_iter(b'\n', piece).count() as u64;
                }
            }
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(count)).collect();
            let mut outcome = count();
            for other in others {
                outcome = outcome.and(other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
            }
            outcome
        })?;
        Ok(counts)
    }

    /// The byte range of a piece.
    fn bytes_of(&self, piece: usize) -> Range<u64> {
        let start = self.text.start + piece as u64 * self.piece_bytes;
        start..self.text.end.min(start + self.piece_bytes)
    }

    /// Reads the lines of a piece into `scratch`. Each ends with a line feed, but for a last one that is
    /// too long to be read whole.
    fn load<'s>(&self, piece: usize, scratch: &'s mut Vec<u8>) -> io::Result<&'s [u8]> {
        let range = self.bytes_of(piece);
        let held = (range.end - range.start) as usize;
        let end = self.text.end.min(range.end + TAIL_BYTES as u64);
        let mut len = (end - range.start) as usize;
        let bytes = aligned(scratch, len + 1);
        self.file.read_exact_at(&mut bytes[..len], range.start)?;
        if end == self.text.end {
            bytes[len] = b'\n';
            len += 1;
        }
        let start = match (piece, memchr(b'\n', &bytes[..held])) {
            (0, _) => 0,
            (_, Some(before)) => before + 1,
            (_, None) => return Ok(&[]),
        };
        let end = memchr(b'\n', &bytes[held..len]).map_or(len, |at| held + at + 1);
        Ok(&bytes[start..end])
    }

    /// For each piece of `piece_bytes` bytes of the whole file: how many rows begin in it, and the bytes before
    /// the first of them (0 where none begins). What a torrent says, so that who has a piece has its rows.
    ///
    /// # Errors
    /// The file cannot be read. Whether it was the same throughout, [`Source::check`] says.
    pub fn begins(&self, piece_bytes: u64) -> Result<Vec<(u64, u64)>, Error> {
        let mut pieces = Vec::new();
        let mut memory = vec![0; COUNTED_BYTES as usize];
        let mut start = 0;
        while start < self.stamp.size {
            let end = self.stamp.size.min(start + piece_bytes);
            let (mut count, mut first) = (0, None);
            if (start..end).contains(&self.text.start) {
                (count, first) = (1, Some(self.text.start));
            }
            // A row begins behind a line feed, which may be the last byte of the piece before.
            let mut at = self.text.start.max(start.saturating_sub(1));
            let stop = self.text.end.min(end - 1);
            while at < stop {
                let buffer = &mut memory[..(stop - at).min(COUNTED_BYTES) as usize];
                self.file.read_exact_at(buffer, at).map_err(|e| broken(&self.path, e))?;
                count += memchr_iter(b'\n', buffer).count() as u64;
                first = first.or_else(|| Some(at + 1 + memchr(b'\n', buffer)? as u64));
                at += buffer.len() as u64;
            }
            pieces.push((count, first.map_or(0, |first| first - start)));
            start = end;
        }
        Ok(pieces)
    }

    fn changed(&self) -> Error {
        Error::Changed { path: self.path.clone() }
    }
}

impl Source for Table {
    fn rows(&self) -> u64 {
        self.first_rows[self.first_rows.len() - 1]
    }

    fn pieces(&self, rows: &Range<u64>) -> Range<usize> {
        let end = rows.end.min(self.rows());
        if rows.start >= end {
            return 0..0;
        }
        // The last piece that begins at or before the row; row 0 is in the first.
        let holding = |row| self.first_rows.partition_point(|first| *first <= row) - 1;
        holding(rows.start)..holding(end - 1) + 1
    }

    fn read(
        &self,
        piece: usize,
        rows: &Range<u64>,
        scratch: &mut Vec<u8>,
        out: &mut Vec<i64>,
    ) -> Result<u64, Error> {
        let held = self.first_rows[piece]..self.first_rows[piece + 1];
        let wanted = held.start.max(rows.start)..held.end.min(rows.end);
        if wanted.is_empty() {
            return Ok(wanted.start);
        }
        let mut lines = self.load(piece, scratch).map_err(|e| broken(&self.path, e))?;
        if wanted != held {
            if count_lines(lines) != held.end - held.start {
                return Err(self.changed());
            }
            lines = &lines[line_start(lines, wanted.start - held.start)..];
            lines = &lines[..line_start(lines, wanted.end - wanted.start)];
        }
        let before = out.len();
        out.reserve((wanted.end - wanted.start) as usize);
        // A row may be wrong because somebody is writing to the file, which is then the thing to say.
        parse_lines(&self.path, lines, wanted.start, out).or_else(|e| self.check().and(Err(e)))?;
        if (out.len() - before) as u64 != wanted.end - wanted.start {
            return Err(self.changed());
        }
        Ok(wanted.start)
    }

    fn check(&self) -> Result<(), Error> {
        // By path, so that a file put in its place is seen too.
        match std::fs::metadata(&self.path) {
            Ok(now) if Stamp::of(&now) == self.stamp => Ok(()),
            _ => Err(self.changed()),
        }
    }
}

/// Appends the numbers in `lines` to `out`; `first` is the row of the first.
fn parse_lines(path: &Path, mut lines: &[u8], first: u64, out: &mut Vec<i64>) -> Result<(), Error> {
    let before = out.len();
    let mut parser = Parser::default();
    loop {
        let taken = plain::parse(lines, out);
        lines = &lines[taken..];
        if lines.is_empty() {
            return Ok(());
        }
        let end = memchr(b'\n', lines).unwrap_or(lines.len());
        let number = parser.parse(&lines[..end]).map_err(|problem| {
            let line = first + (out.len() - before) as u64 + 1;
            Error::Row { path: path.to_owned(), line, problem }
        })?;
        out.push(number);
        lines = lines.get(end + 1..).unwrap_or_default();
    }
}

/// `len` bytes of `memory` that begin at a cache line. It grows where it is too small.
fn aligned(memory: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if memory.len() < len + CACHE_LINE {
        memory.resize(len + CACHE_LINE, 0);
    }
    // A pointer may refuse to be aligned: then it is only slower.
    let start = memory.as_ptr().align_offset(CACHE_LINE).min(CACHE_LINE);
    &mut memory[start..start + len]
}

/// What a file has to keep to be the same file with the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How far from `now` the file last changed, in the past or in the future.
    fn distance(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = now.as_nanos() as i128;
        let nanos = |(s, ns): (i64, i64)| i128::from(s) * 1_000_000_000 + i128::from(ns);
        let distance = [self.modified, self.changed].map(|t| nanos(t).abs_diff(now));
        Duration::from_nanos(distance[0].min(distance[1]).try_into().unwrap_or(u64::MAX))
    }
}

/// Opens a regular file whose time stamp is settled.
fn open_settled(path: &Path) -> Result<(File, Stamp), Error> {
    // Asked before it is opened: to open a pipe is to wait for somebody to write to it.
    let found = std::fs::metadata(path).map_err(|e| fault(path, e.into()))?;
    if found.is_dir() {
        return Err(fault(path, Fault::Directory));
    }
    if !found.is_file() {
        return Err(fault(path, Fault::Special));
    }
    let file = File::open(path).map_err(|e| fault(path, e.into()))?;
    let stamp = settled(&file, path)?;
    Ok((file, stamp))
}

/// The file's stamp, once it is so old that a later write cannot leave it as it is (git calls a file that
/// is too young for that racily clean).
///
/// This is the time of files, not of the protocol: it can only be compared with the system's clock, and no
/// simulation has files; hence `std::time`.
fn settled(file: &File, path: &Path) -> Result<Stamp, Error> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let stamp = Stamp::of(&file.metadata().map_err(|e| broken(path, e))?);
        if stamp.distance(SystemTime::now()) > RACY {
            return Ok(stamp);
        }
        if Instant::now() > deadline {
            return Err(Error::Changed { path: path.to_owned() });
        }
        thread::sleep(RACY);
    }
}

/// The range of a file of `size` bytes without byte order mark and white space at the end.
fn text(file: &File, size: u64) -> io::Result<Range<u64>> {
    let mut mark = [0; BOM.len()];
    let marked = size >= BOM.len() as u64 && {
        file.read_exact_at(&mut mark, 0)?;
        mark == BOM
    };
    let start = if marked { BOM.len() as u64 } else { 0 };
    let mut end = size;
    let mut buffer = vec![0; MAX_ROW_BYTES];
    while end > start {
        let from = start.max(end.saturating_sub(buffer.len() as u64));
        let bytes = &mut buffer[..(end - from) as usize];
        file.read_exact_at(bytes, from)?;
        match bytes.iter().rposition(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
            Some(last) => return Ok(start..from + last as u64 + 1),
            None => end = from,
        }
    }
    Ok(start..start)
}

/// Lines in `lines`, the last with or without its line feed.
fn count_lines(lines: &[u8]) -> u64 {
    let torn = memrchr(b'\n', lines).map_or(0, |at| at + 1) != lines.len();
    memchr_iter(b'\n', lines).count() as u64 + u64::from(torn)
}

/// Where the line with index `n` begins; the end where there is none.
fn line_start(lines: &[u8], n: u64) -> usize {
    match n.checked_sub(1) {
        None => 0,
        Some(before) => memchr_iter(b'\n', lines).nth(before as usize).map_or(lines.len(), |at| at + 1),
    }
}

fn is_missing(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn fault(path: &Path, fault: Fault) -> Error {
    Error::File { path: path.to_owned(), fault, places: Vec::new() }
}

/// An error of reading an open file: one that ends too early has shrunk.
fn broken(path: &Path, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => Error::Changed { path: path.to_owned() },
        _ => fault(path, Fault::Unreadable(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A directory of its own for a test, removed at the end.
    pub struct Dir(pub PathBuf);

    impl Dir {
        pub fn new() -> Dir {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let id = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("offload-table-{}-{id}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Dir(path)
        }

        pub fn file(&self, bytes: &[u8]) -> PathBuf {
            let path = self.0.join("nums.csv");
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    pub fn read_rows(table: &Table, rows: Range<u64>) -> Result<Vec<i64>, Error> {
        let (mut scratch, mut out) = (Vec::new(), Vec::new());
        for piece in table.pieces(&rows) {
            let next = rows.start + out.len() as u64;
            let before = out.len();
            let first = table.read(piece, &rows, &mut scratch, &mut out)?;
            assert!(out.len() == before || first == next, "piece {piece}: {first}, not {next}");
        }
        Ok(out)
    }

    fn read_all(path: &Path) -> Result<Vec<i64>, String> {
        let table = Table::open(path, 2).map_err(|e| e.to_string())?;
        let numbers = read_rows(&table, 0..table.rows()).map_err(|e| e.to_string())?;
        table.check().map_err(|e| e.to_string())?;
        assert_eq!(numbers.len() as u64, table.rows());
        Ok(numbers)
    }

    #[test]
    fn files_that_are_accepted() {
        let dir = Dir::new();
        for (bytes, want) in [
            (&b"1\n2\n3\n"[..], &[1, 2, 3][..]),
            (b"1\n2\n3", &[1, 2, 3]),
            (b"1\r\n-2\r\n3\r\n", &[1, -2, 3]),
            (b"\xef\xbb\xbf1\n2\n", &[1, 2]),
            (b"\xef\xbb\xbf\"1\"\n2\n", &[1, 2]),
            (b" 1\t\n+5\n\"5\"\n \" 7 \" \n", &[1, 5, 5, 7]),
            (b"1\n2\n\n \n\t\r\n\n", &[1, 2]),
            (b"9223372036854775807\n-9223372036854775808\n", &[i64::MAX, i64::MIN]),
            (b"7", &[7]),
        ] {
            let path = dir.file(bytes);
            assert_eq!(read_all(&path), Ok(want.to_vec()), "{:?}", bytes.escape_ascii().to_string());
        }
        let mut long = b"1\n2".to_vec();
        long.resize(3 * MAX_ROW_BYTES, b' ');
        assert_eq!(read_all(&dir.file(&long)), Ok(vec![1, 2]));
    }

    #[test]
    fn rows_that_are_not_integers() {
        let dir = Dir::new();
        let wide = "is outside the signed 64-bit range, -9223372036854775808 to 9223372036854775807";
        let long = [&b"1\n"[..], &b"2".repeat(MAX_ROW_BYTES + 1), b"\n3\n"].concat();
        for (bytes, want) in [
            (&b"1\n2\n12a\n4\n"[..], r#"3: "12a" is not an integer"#.to_owned()),
            (b"1.5\n", r#"1: "1.5" is not an integer"#.to_owned()),
            (b"1\n1e3\n", r#"2: "1e3" is not an integer"#.to_owned()),
            (b"number\n1\n", r#"1: "number" is not an integer"#.to_owned()),
            (b"1\n\n2\n", "2: the line is empty; an integer is expected".to_owned()),
            (b"\n1\n", "1: the line is empty; an integer is expected".to_owned()),
            (b"1\n \t\n2\n", "2: the line is empty; an integer is expected".to_owned()),
            (b"1,2\n", "1: the line has 2 columns; one is expected".to_owned()),
            (b"1\n2\0\n3", r#"2: "2\0" is not an integer"#.to_owned()),
            (b"\0", r#"1: "\0" is not an integer"#.to_owned()),
            (b"1\n\xff2\n", r#"2: "\xff2" is not an integer"#.to_owned()),
            (b"1\r2\r3\n", r#"1: "1\r2\r3" is not an integer"#.to_owned()),
            (b"1\n\"2\n3\"\n", r#"2: "\"2" is not an integer"#.to_owned()),
            (b"1\n\xef\xbb\xbf2\n", r#"2: "\u{feff}2" is not an integer"#.to_owned()),
            (b"\xef\xbb\xbf\xef\xbb\xbf2\n", r#"1: "\u{feff}2" is not an integer"#.to_owned()),
            (b"1\n9223372036854775808\n", format!("2: \"9223372036854775808\" {wide}")),
            (b"-9223372036854775809", format!("1: \"-9223372036854775809\" {wide}")),
            (&long, "2: the line is longer than 4096 bytes; an integer is expected".to_owned()),
        ] {
            let path = dir.file(bytes);
            let want = Err(format!("{}:{want}", path.display()));
            assert_eq!(read_all(&path), want, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn the_first_place_that_exists_is_taken() {
        let dir = Dir::new();
        let path = dir.file(b"1\n");
        let places = [dir.0.join("absent"), path.join("below a file"), path.clone()];
        assert_eq!(Table::find(&places, 1).unwrap().rows(), 1);
        let message = |places: &[PathBuf]| Table::find(places, 1).err().unwrap().to_string();
        let (absent, gone) = (dir.0.join("absent"), dir.0.join("gone"));
        assert_eq!(
            message(&[absent.clone(), gone.clone()]),
            format!(
                "there is no {} and no {}; put one there, one integer a line",
                absent.display(),
                gone.display()
            )
        );
    }

    #[test]
    fn files_that_hold_no_numbers() {
        let dir = Dir::new();
        let message = |path: &Path| {
            let absent = dir.0.join("absent");
            let message = Table::find(&[absent.clone(), path.to_owned()], 1).err().unwrap().to_string();
            let looked = format!(" (looked for at {}, then at {})", absent.display(), path.display());
            let message = message.strip_prefix(&format!("{}: ", path.display())).unwrap();
            message.strip_suffix(&looked).unwrap().to_owned()
        };
        assert_eq!(message(&dir.0), "is a directory; a file with one integer a line is expected");
        let special = "is not a regular file; it must be one, since it is read twice";
        assert_eq!(message(Path::new("/dev/null")), special);
        for bytes in [&b""[..], b"\n", b" \t\r\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"] {
            let path = dir.file(bytes);
            assert_eq!(message(&path), "holds no numbers; one integer a line is expected");
        }
        // A link to itself cannot be opened by anybody, root included.
        let knot = dir.0.join("knot");
        std::os::unix::fs::symlink(&knot, &knot).unwrap();
        assert!(message(&knot).starts_with("cannot be read: "), "{}", message(&knot));
        let alone = Table::open(&dir.file(b"\n"), 1).err().unwrap().to_string();
        assert!(alone.ends_with("nums.csv: holds no numbers; one integer a line is expected"));
    }

    #[test]
    fn a_change_never_goes_unseen() {
        let dir = Dir::new();
        let all = 0..u64::MAX;
        let opened = |bytes: &[u8]| Table::open(&dir.file(bytes), 1).unwrap();
        let changed = |outcome: Result<(), Error>| {
            assert!(matches!(outcome, Err(Error::Changed { .. })), "{outcome:?}");
        };
        // Rewritten in place at once, by as many bytes: only its time can tell.
        let table = opened(b"1\n2\n");
        table.check().unwrap();
        dir.file(b"1\n3\n");
        changed(table.check());
        // Replaced by another file.
        let table = opened(b"1\n2\n");
        std::fs::write(dir.0.join("new"), b"1\n2\n").unwrap();
        std::fs::rename(dir.0.join("new"), dir.0.join("nums.csv")).unwrap();
        changed(table.check());
        // Gone.
        let table = opened(b"1\n2\n");
        std::fs::remove_file(dir.0.join("nums.csv")).unwrap();
        changed(table.check());
        // Shorter, other rows, a bad row: what was read is not blamed on the file.
        for bytes in [&b"1\n"[..], b"1\n2222", b"1\nx\n3\n", b"1\n\n\n\n\n\n"] {
            let table = opened(b"1\n2\n3\n");
            dir.file(bytes);
            changed(read_rows(&table, all.clone()).map(|_| ()));
            changed(read_rows(&table, 1..2).map(|_| ()));
        }
    }

    #[test]
    fn a_file_is_not_counted_while_its_time_stamp_is_young() {
        let dir = Dir::new();
        let path = dir.file(b"1\n");
        let (_, stamp) = open_settled(&path).unwrap();
        // The kernel's clock of files may be a tick late, never early.
        assert!(stamp.distance(SystemTime::now()) > Duration::from_millis(20));
        // A time far ahead is nobody's write of just now: there is nothing to wait for.
        let ahead = SystemTime::now() + Duration::from_secs(3600);
        File::options().write(true).open(&path).unwrap().set_modified(ahead).unwrap();
        open_settled(&path).unwrap();
    }

    #[test]
    fn the_index_of_a_huge_file_stays_small() {
        let dir = Dir::new();
        let path = dir.file(&b"1\n".repeat(MAX_PIECES as usize + 1));
        let table = count_now(&path, 2, 1).unwrap();
        assert_eq!(table.piece_bytes, 4);
        assert!(table.first_rows.len() as u64 <= MAX_PIECES + 1);
        let rows = table.rows() - 3..table.rows();
        assert_eq!(read_rows(&table, rows).unwrap(), [1, 1, 1]);
    }

    /// One row of a file: mostly good ones of every form, some bad.
    pub fn any_row() -> impl Strategy<Value = Vec<u8>> {
        let number = prop_oneof![
            4 => any::<i64>().prop_map(|n| n.to_string()),
            4 => (-1000i64..1000).prop_map(|n| n.to_string()),
            1 => prop::sample::select(vec![
                "9223372036854775807", "-9223372036854775808", "0", "-0", "0000000000000000000",
                "00000000000000000000000042", "-0000000000000000001",
            ]).prop_map(str::to_owned),
        ];
        let good = (number, "[ \t]{0,2}", 0..8u8).prop_map(|(number, blank, form)| match form {
            0 => format!("\"{number}\""),
            1 => format!("{blank}{number}{blank}"),
            2 => format!("{blank}\"{blank}{number}{blank}\"{blank}"),
            3 if !number.starts_with('-') => format!("+{number}"),
            4 => format!("{number}\r"),
            _ => number,
        });
        let long = (4000usize..4200).prop_map(|n| "0".repeat(n));
        let bad = prop::sample::select(vec![
            &b"9223372036854775808"[..],
            b"-9223372036854775809",
            b"99999999999999999999",
            b"12a",
            b"1.5",
            b"",
            b" ",
            b"1,2",
            b"\"1",
            b"\"1\"2",
            b"-",
            b"+",
            b"\0",
            b"\xff",
            b"1\r2",
            b"\xef\xbb\xbf3",
        ]);
        prop_oneof![
            200 => good.prop_map(String::into_bytes),
            1 => long.prop_map(String::into_bytes),
            1 => bad.prop_map(<[u8]>::to_vec),
        ]
    }

    /// The rows of a file as this module's documentation defines them, each by the csv path or std alone.
    fn reference(bytes: &[u8]) -> Vec<Option<i64>> {
        let text = bytes.strip_prefix(BOM).unwrap_or(bytes);
        let end = text.iter().rposition(|b| !b" \t\r\n".contains(b)).map_or(0, |at| at + 1);
        let row = |line: &[u8]| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let blanks = |c: char| c == ' ' || c == '\t';
            let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= MAX_ROW_BYTES)?;
            let text = text.trim_matches(blanks);
            let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
            inner.trim_matches(blanks).parse().ok()
        };
        if end == 0 { Vec::new() } else { text[..end].split(|b| *b == b'\n').map(row).collect() }
    }

    /// A table of `path` in pieces of any size, without the wait for its time stamp.
    pub fn count_now(path: &Path, threads: usize, piece_bytes: u64) -> Result<Table, Error> {
        let file = File::open(path).unwrap();
        let stamp = Stamp::of(&file.metadata().unwrap());
        Table::count(path, (file, stamp), threads, piece_bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Any file, cut anywhere, asked for any rows: the numbers of the reference, or an error in the
        /// line of its first bad row.
        #[test]
        fn files_are_what_the_reference_says(
            rows in prop::collection::vec(any_row(), 0..120),
            ends in prop::sample::select(vec!["", "\n", "\r\n", "\n \n\t"]),
            bom in prop::bool::weighted(0.2),
            piece_bytes in prop_oneof![1u64..200, 200u64..5000],
            threads in 1usize..4,
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let mut bytes = if bom { BOM.to_vec() } else { Vec::new() };
            bytes.extend(rows.join(&b'\n'));
            bytes.extend(ends.as_bytes());
            let want = reference(&bytes);
            let dir = Dir::new();
            let table = match count_now(&dir.file(&bytes), threads, piece_bytes) {
                Ok(table) => table,
                Err(e) => {
                    prop_assert!(matches!(e, Error::File { fault: Fault::Empty, .. }), "{e}");
                    prop_assert!(want.is_empty());
                    return Ok(());
                }
            };
            prop_assert_eq!(table.rows(), want.len() as u64);
            let (a, b) = (cut.0.index(want.len() + 1), cut.1.index(want.len() + 1));
            for (start, end) in [(0, want.len()), (a.min(b), a.max(b))] {
                let got = read_rows(&table, start as u64..end as u64);
                match (got, want[start..end].iter().position(Option::is_none)) {
                    (Ok(numbers), None) => {
                        let want: Vec<i64> = want[start..end].iter().flatten().copied().collect();
                        prop_assert_eq!(numbers, want);
                    }
                    (Err(Error::Row { line, .. }), Some(bad)) => {
                        prop_assert_eq!(line, (start + bad) as u64 + 1);
                    }
                    (got, bad) => prop_assert!(false, "{got:?}, first bad row {bad:?}"),
                }
            }
        }
    }
}
