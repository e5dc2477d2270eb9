//! Rows of a file that is perhaps not all there: where some row begins is known from elsewhere.
//!
//! The lesson: who has only a part of a file cannot count its rows, but needs to be told only once where one
//! of them begins. Whoever had the whole file once writes that down for each piece of it ([`Table::begins`]);
//! from there on line feeds say the rest, and every rule is that of [`Table`]. Reading returns where the next
//! row begins, so that piece after piece shows whether what was written down is true.
//!
//! What is left out: which parts are there. A hole in the file reads as zeros, and these are no integer.
//!
//! [`Table`]: super::Table
//! [`Table::begins`]: super::Table::begins

use super::{broken, fault, line_start, parse_lines};
use crate::limits::PIECE_BYTES;
use crate::numbers::{Error, Fault};
use memchr::{memchr_iter, memrchr};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file of integers, one a line, that is read from where a row begins.
pub struct Span {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Span {
    /// Opens `path`.
    ///
    /// # Errors
    /// It is not a readable file.
    pub fn open(path: &Path) -> Result<Span, Error> {
        let found = std::fs::metadata(path).map_err(|e| fault(path, e.into()))?;
        if !found.is_file() {
            return Err(fault(path, Fault::Special));
        }
        let file = File::open(path).map_err(|e| fault(path, e.into()))?;
        Ok(Span { path: path.to_owned(), file, bytes: found.len() })
    }

    /// Hands over the numbers of `rows`, in order, in batches; `known` is a row at or before the first, and
    /// the byte where it begins. `of` is how many rows the file has. Returns the byte behind the last one's line.
    ///
    /// # Errors
    /// A row that is no integer, or a file that cannot be read or ends too early. What has been handed over
    /// by then must not be used.
    pub fn read(
        &self,
        known: (u64, u64),
        rows: Range<u64>,
        of: u64,
        each: &mut dyn FnMut(&[i64]),
    ) -> Result<u64, Error> {
        let (mut row, mut at) = known;
        let (mut buffer, mut numbers) = (vec![0; PIECE_BYTES], Vec::new());
        while row < rows.end {
            let n = self.bytes.saturating_sub(at).min(buffer.len() as u64) as usize;
            self.file.read_exact_at(&mut buffer[..n], at).map_err(|e| broken(&self.path, e))?;
            let held = &buffer[..n];
            let lines = match memrchr(b'\n', held) {
                // The last row ends with the text, whatever white space follows: as in `Table`.
                _ if row + 1 == of => trim_end(&held[..line_start(held, 1)]),
                Some(last) => &held[..last + 1],
                // Longer than any row may be, or the file ends here.
                None => held,
            };
            if lines.is_empty() {
                return Err(Error::Changed { path: self.path.clone() });
            }
            // First to the rows that are wanted, then to their end; the last row of the file is read alone.
            let is_wanted = row >= rows.start;
            let end = if is_wanted { rows.end } else { rows.start };
            let lines = &lines[..line_start(lines, end.min(of - 1).max(row + 1) - row)];
            if is_wanted {
                numbers.clear();
                parse_lines(&self.path, lines, row, &mut numbers)?;
                each(&numbers);
            }
            if row + 1 == of {
                return Ok(at + line_start(held, 1) as u64);
            }
            if !lines.ends_with(b"\n") {
                return Err(Error::Changed { path: self.path.clone() });
            }
            row += memchr_iter(b'\n', lines).count() as u64;
            at += lines.len() as u64;
        }
        Ok(at)
    }
}

/// Without blanks and line end.
fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    &line[..end.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Dir, any_row, count_now, read_rows};
    use super::*;
    use proptest::prelude::*;

    fn span_rows(
        path: &Path,
        known: (u64, u64),
        rows: Range<u64>,
        of: u64,
    ) -> (Result<u64, Error>, Vec<i64>) {
        let mut out = Vec::new();
        let end = Span::open(path).unwrap().read(known, rows, of, &mut |batch| out.extend(batch));
        (end, out)
    }

    #[test]
    fn white_space_behind_the_last_row_is_none_of_it() {
        let dir = Dir::new();
        for tail in ["", "\n", "\r\n", " \r \n\t\n \n", &" ".repeat(2 * PIECE_BYTES)] {
            let path = dir.file(format!("1\n-2{tail}").as_bytes());
            assert_eq!(span_rows(&path, (0, 0), 0..2, 2).1, [1, -2], "{tail:?}");
            assert_eq!(span_rows(&path, (1, 2), 1..2, 2).1, [-2]);
        }
    }

    #[test]
    fn a_hole_and_an_early_end_are_errors() {
        let dir = Dir::new();
        let path = dir.file(b"1\n2\n\0\0\0\0");
        assert_eq!(span_rows(&path, (0, 0), 0..2, 4).1, [1, 2]);
        assert!(matches!(span_rows(&path, (0, 0), 0..3, 4).0, Err(Error::Row { line: 3, .. })));
        assert!(matches!(span_rows(&path, (0, 0), 3..4, 4).0, Err(Error::Changed { .. })));
        assert!(matches!(span_rows(&path, (4, 99), 4..5, 6).0, Err(Error::Changed { .. })));
        let long = dir.file(&b"1".repeat(2 * PIECE_BYTES));
        assert!(matches!(span_rows(&long, (0, 0), 0..1, 9).0, Err(Error::Row { line: 1, .. })));
        assert!(matches!(span_rows(&long, (0, 0), 1..2, 9).0, Err(Error::Changed { .. })));
        assert!(Span::open(&dir.0).is_err() && Span::open(&dir.0.join("none")).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// From any place that the table says a row begins at: the table's numbers, or an error in its line.
        #[test]
        fn what_a_table_reads_is_read_from_any_of_its_places(
            rows in prop::collection::vec(any_row(), 1..120),
            ends in prop::sample::select(vec!["", "\n", "\r\n", "\n \n\t"]),
            bom in prop::bool::weighted(0.2),
            piece_bytes in prop_oneof![4u64..200, 200u64..9000],
            cut in any::<(prop::sample::Index, prop::sample::Index, prop::sample::Index)>(),
        ) {
            let mut bytes = if bom { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
            bytes.extend(rows.join(&b'\n'));
            bytes.extend(ends.as_bytes());
            let dir = Dir::new();
            let path = dir.file(&bytes);
            let Ok(table) = count_now(&path, 1, 1000) else { return Ok(()) };
            let of = crate::numbers::Source::rows(&table);
            let mut places = Vec::new();
            let mut row = 0;
            for (piece, (count, before)) in (0..).zip(table.begins(piece_bytes).unwrap()) {
                if count > 0 {
                    places.push((row, piece * piece_bytes + before));
                }
                row += count;
            }
            prop_assert_eq!(row, of);
            let (a, b) = (cut.0.index(of as usize) as u64, cut.1.index(of as usize) as u64);
            let wanted = a.min(b)..a.max(b) + 1;
            let known = places.partition_point(|(row, _)| *row <= wanted.start);
            let known = places[cut.2.index(known)];
            match (read_rows(&table, wanted.clone()), span_rows(&path, known, wanted.clone(), of)) {
                (Ok(numbers), (Ok(end), read)) => {
                    prop_assert_eq!(numbers, read);
                    if let Some((_, next)) = places.iter().find(|(row, _)| *row == wanted.end) {
                        prop_assert_eq!(*next, end);
                    }
                }
                (Err(one), (Err(other), _)) => prop_assert_eq!(one.to_string(), other.to_string()),
                (one, (other, _)) => prop_assert!(false, "{one:?} {other:?}"),
            }
        }
    }
}
