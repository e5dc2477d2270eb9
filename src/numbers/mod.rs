//! `nums.csv` as numbers: exact, in bounded memory, every error with its line.
//!
//! The lesson: almost every row of a real file is plain (`-?[0-9]{1,19}`), and nobody may notice that
//! there are two parsers. `plain` takes plain rows as fast as the machine can; it judges nothing: the
//! first row it does not take goes to `row`, which reads it with the csv crate and says what is wrong.
//! `table` cuts a file into pieces that any thread may read at any time, again and again, so that a
//! range of numbers can be sent a second time and nobody ever holds all of them. Rows of a file that is
//! only in part there are read by the places that a table of the whole one has noted.
//!
//! Left out: files that are no regular files (a pipe cannot be read twice), and writes through a shared
//! mapping, whose time stamps the kernel may set late.

pub mod plain;
mod row;
mod simd;
mod table;

pub use row::{Problem, Shown};
pub use table::{Span, Table};

use crate::limits;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// N numbers that can be read more than once, in pieces, by several threads.
pub trait Source: Sync {
    /// N.
    fn rows(&self) -> u64;

    /// The pieces that hold `rows`, in order. Empty where `rows` is.
    fn pieces(&self, rows: &Range<u64>) -> Range<usize>;

    /// Appends to `out` the numbers of piece `piece` whose indices lie in `rows`, and returns the index of
    /// the first. `scratch` is kept between calls to save allocations; what it holds means nothing.
    ///
    /// # Errors
    /// A row that is no integer, a source that cannot be read, or one that is not what was counted. What
    /// `out` has gained by then must not be used.
    fn read(
        &self,
        piece: usize,
        rows: &Range<u64>,
        scratch: &mut Vec<u8>,
        out: &mut Vec<i64>,
    ) -> Result<u64, Error>;

    /// To be asked after the last `read`: is what was counted still what is there?
    ///
    /// # Errors
    /// [`Error::Changed`] where it is not; what was read may then be a mixture.
    fn check(&self) -> Result<(), Error>;
}

/// Numbers in memory, in pieces of [`limits::PIECE_BYTES`].
impl Source for &[i64] {
    fn rows(&self) -> u64 {
        self.len() as u64
    }

    fn pieces(&self, rows: &Range<u64>) -> Range<usize> {
        let end = rows.end.min(self.rows());
        if rows.start >= end {
            return 0..0;
        }
        // Both are below self.len(), so they fit a usize.
        rows.start as usize / PIECE_NUMBERS..(end as usize).div_ceil(PIECE_NUMBERS)
    }

    fn read(
        &self,
        piece: usize,
        rows: &Range<u64>,
        _scratch: &mut Vec<u8>,
        out: &mut Vec<i64>,
    ) -> Result<u64, Error> {
        let held = piece * PIECE_NUMBERS..self.len().min((piece + 1) * PIECE_NUMBERS);
        let start = (held.start as u64).max(rows.start);
        let end = (held.end as u64).min(rows.end);
        if start < end {
            out.extend_from_slice(&self[start as usize..end as usize]);
        }
        Ok(start)
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Numbers in a piece of a slice.
const PIECE_NUMBERS: usize = limits::PIECE_BYTES / 8;

/// Why there are no numbers, or no more of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the places has such a file.
    #[error("there is no {}; put one there, one integer a line", Places(places, " and no "))]
    Missing {
        /// Where it was looked for, in order.
        places: Vec<PathBuf>,
    },
    /// There is something, but not a file of numbers.
    #[error("{}: {fault}{}", path.display(), Looked(places))]
    File {
        /// The file, as it was given.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
        /// Where the file is looked for, in order.
        places: Vec<PathBuf>,
    },
    /// A row is not one 64-bit integer.
    #[error("{}:{line}: {problem}", path.display())]
    Row {
        /// The file, as it was given.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The file is no longer what was counted.
    #[error("{}: changed while it was read; try again when nothing writes to it", path.display())]
    Changed {
        /// The file, as it was given.
        path: PathBuf,
    },
}

/// What is wrong with a file as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system does not let us.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A directory.
    #[error("is a directory; a file with one integer a line is expected")]
    Directory,
    /// A pipe, a socket, a device: it cannot be read twice.
    #[error("is not a regular file; it must be one, since it is read twice")]
    Special,
    /// Nothing but white space.
    #[error("holds no numbers; one integer a line is expected")]
    Empty,
}

/// Paths, with a word between them.
struct Places<'a>(&'a [PathBuf], &'a str);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, place) in self.0.iter().enumerate() {
            let between = if i == 0 { "" } else { self.1 };
            write!(f, "{between}{}", place.display())?;
        }
        Ok(())
    }
}

/// Where a file is looked for, if that is more than where it was found.
struct Looked<'a>(&'a [PathBuf]);

impl fmt::Display for Looked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] | [_] => Ok(()),
            places => write!(f, " (looked for at {})", Places(places, ", then at ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_read_in_pieces_by_any_range() {
        let numbers: Vec<i64> = (0..3 * PIECE_NUMBERS as i64 - 5).collect();
        let source = &numbers[..];
        let n = source.rows();
        let edges = [0, 1, PIECE_NUMBERS as u64 - 1, PIECE_NUMBERS as u64, n - 1, n];
        for start in edges {
            for end in edges {
                let rows = start..end;
                let (mut scratch, mut out) = (Vec::new(), Vec::new());
                for piece in source.pieces(&rows) {
                    let next = start + out.len() as u64;
                    assert_eq!(source.read(piece, &rows, &mut scratch, &mut out).unwrap(), next);
                }
                let want: Vec<i64> = (start as i64..end as i64).collect();
                assert_eq!(out, want, "{rows:?}");
            }
        }
    }
}
