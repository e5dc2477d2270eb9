//! `nums.csv`: any bytes are the numbers that a plain reading finds, or the error of its first bad row,
//! and the fast parsers agree with the portable one byte for byte.
//!
//! The first two bytes say where the file lies around the end of a piece, and which rows are asked for;
//! the rest is its text.
//!
//! The file is a memfd of fixed size that is written through a mapping: that leaves its time stamps as
//! they are, so that opening it need not wait for them to settle (20 ms, each time). What is behind the
//! text is line feeds, which are no rows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memmap2::MmapMut;
use offload::limits::{MAX_ROW_BYTES, PIECE_BYTES};
use offload::numbers::{Error, Fault, Source, Table, plain};
use rustix::fs::MemfdFlags;
use std::cell::RefCell;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

const MOST: usize = 16 << 10;
const BOM: &[u8] = b"\xef\xbb\xbf";
/// Rows to fill a piece with.
const FILL: &[u8] = b"0000000000000000001\n";

/// A file that is rewritten for each input.
struct Paper {
    _file: File,
    path: PathBuf,
    map: MmapMut,
}

impl Paper {
    fn new(bytes: usize) -> Paper {
        let file = File::from(rustix::fs::memfd_create("nums.csv", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(bytes as u64).unwrap();
        // SAFETY: nothing else writes to the file, and it never shrinks.
        let map = unsafe { MmapMut::map_mut(&file) }.unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Paper { _file: file, path, map }
    }

    fn write(&mut self, text: &[u8]) {
        self.map[..text.len()].copy_from_slice(text);
        self.map[text.len()..].fill(b'\n');
    }
}

thread_local! {
    static SMALL: RefCell<Paper> = RefCell::new(Paper::new(MOST + 1));
    static LARGE: RefCell<Paper> = RefCell::new(Paper::new(PIECE_BYTES + MOST + 1));
}

fuzz_target!(|input: &[u8]| {
    let Some(([place, ask], text)) = input.split_first_chunk() else { return };
    let text = &text[..text.len().min(MOST)];
    fast_as_portable(text);
    if place % 8 == 0 {
        // The text begins in the first piece and ends in the second.
        let before = usize::from(place / 8) * text.len() / 31;
        let mut whole = FILL.repeat(PIECE_BYTES / FILL.len() + 1);
        let fill = PIECE_BYTES - before;
        whole.truncate(fill);
        if let Some(last) = whole.last_mut() {
            *last = b'\n';
        }
        // The last row before the text is looked at too.
        let least = fill.div_ceil(FILL.len()) - 1;
        whole.extend_from_slice(text);
        LARGE.with_borrow_mut(|paper| as_reference(paper, &whole, least, *ask));
    } else {
        SMALL.with_borrow_mut(|paper| as_reference(paper, text, 0, *ask));
    }
});

fn fast_as_portable(text: &[u8]) {
    let (mut fast, mut portable) = (Vec::new(), Vec::new());
    let taken = plain::parse(text, &mut fast);
    assert_eq!(taken, plain::parse_portable(text, &mut portable));
    assert_eq!(fast, portable);
    // The plain rows are what std reads in them.
    assert!(taken == 0 || text[taken - 1] == b'\n');
    assert_eq!(fast.len(), text[..taken].iter().filter(|b| **b == b'\n').count());
    for (row, number) in text[..taken].split(|b| *b == b'\n').zip(&fast) {
        assert_eq!(reference_row(row), Some(*number));
    }
}

/// Reads `text`, which begins with `least` rows of [`FILL`], by a table: the other rows, and again a part
/// of those.
fn as_reference(paper: &mut Paper, text: &[u8], least: usize, ask: u8) {
    paper.write(text);
    let want = reference(&text[least * FILL.len()..]);
    let total = least + want.len();
    let table = match Table::open(&paper.path, 1 + usize::from(ask % 2)) {
        Ok(table) => table,
        Err(Error::File { fault: Fault::Empty, .. }) => return assert_eq!(total, 0),
        Err(e) => panic!("{e}"),
    };
    assert_eq!(table.rows(), total as u64);
    let from = want.len() * usize::from(ask >> 4) / 15;
    let to = from + (want.len() - from) * usize::from(ask >> 1 & 7) / 7;
    for (from, to) in [(0, want.len()), (from, to)] {
        let want = &want[from..to];
        let rows = (least + from) as u64..(least + to) as u64;
        match (read(&table, rows), want.iter().position(Option::is_none)) {
            (Ok(numbers), None) => assert!(numbers.iter().eq(want.iter().flatten())),
            (Err(Error::Row { line, .. }), Some(bad)) => {
                assert_eq!(line, (least + from + bad) as u64 + 1);
            }
            (got, bad) => panic!("{got:?}, first bad row {bad:?}"),
        }
    }
    table.check().expect("nobody has changed it");
}

fn read(table: &Table, rows: Range<u64>) -> Result<Vec<i64>, Error> {
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    for piece in table.pieces(&rows) {
        let before = out.len() as u64;
        let first = table.read(piece, &rows, &mut scratch, &mut out)?;
        assert!(out.len() as u64 == before || first == rows.start + before);
    }
    Ok(out)
}

/// The rows of a file by std alone; `None` is a bad one.
fn reference(bytes: &[u8]) -> Vec<Option<i64>> {
    let text = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let Some(last) = text.iter().rposition(|b| !b" \t\r\n".contains(b)) else { return Vec::new() };
    text[..=last].split(|b| *b == b'\n').map(reference_row).collect()
}

fn reference_row(line: &[u8]) -> Option<i64> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let blank = |c: char| c == ' ' || c == '\t';
    let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= MAX_ROW_BYTES)?;
    let text = text.trim_matches(blank);
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    inner.trim_matches(blank).parse().ok()
}
