//! Where the rows of a numbers file begin, so that a host that has some of its pieces finds its rows in them.
//!
//! The lesson: a piece is cut anywhere, in the middle of a row too, and only who reads the file from its
//! start knows the number of a row. So the publisher, who reads it all anyway, says for each piece how many
//! rows begin in it and where the first of them does. It is part of the info dictionary, under
//! [`KEY`]: the info-hash covers it, and a magnet link brings it.
//!
//! Layout: 8 bytes a piece, in order, big-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | how many rows begin in the piece |
//! | 4..8 | bytes of the piece before the first of them; 0 where none begins |
//!
//! Left out: where the other rows begin (line feeds say so), and what a row is.

use crate::geometry::Geometry;

/// The key of the info dictionary.
pub(super) const KEY: &str = "offload rows";

/// Which rows begin in which piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowIndex {
    /// Rows that begin before each piece, then the number of rows.
    first_rows: Vec<u64>,
    /// Bytes of each piece before the first row that begins in it.
    offsets: Vec<u32>,
}

impl RowIndex {
    /// The index of a file cut by `geometry`, from the rows that begin in each piece and the bytes before the
    /// first of them. `None` where these cannot be: another number of pieces, more rows than bytes, no row.
    pub fn new(geometry: Geometry, pieces: impl IntoIterator<Item = (u32, u32)>) -> Option<RowIndex> {
        let (mut first_rows, mut offsets) = (vec![0], Vec::new());
        let mut rows = 0;
        for (piece, (count, offset)) in (0..geometry.pieces()).zip(pieces) {
            // A row has a byte at least.
            let fits = u64::from(count) + u64::from(offset) <= u64::from(geometry.length_of(piece));
            if !fits || (count == 0 && offset > 0) {
                return None;
            }
            rows += u64::from(count);
            first_rows.push(rows);
            offsets.push(offset);
        }
        (rows > 0 && offsets.len() == geometry.pieces() as usize)
            .then_some(RowIndex { first_rows, offsets })
    }

    /// What [`RowIndex::encode`] wrote, or somebody who claims so.
    pub(super) fn parse(bytes: &[u8], geometry: Geometry) -> Option<RowIndex> {
        let (entries, rest) = bytes.as_chunks::<8>();
        let fits = rest.is_empty() && entries.len() == geometry.pieces() as usize;
        let halves = |[a, b, c, d, e, f, g, h]: [u8; 8]| {
            (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
        };
        fits.then(|| RowIndex::new(geometry, entries.iter().copied().map(halves)))?
    }

    /// As the info dictionary has it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let counts = self.first_rows.windows(2).map(|pair| (pair[1] - pair[0]) as u32);
        counts
            .zip(&self.offsets)
            .flat_map(|(c, o)| [c.to_be_bytes(), o.to_be_bytes()])
            .flatten()
            .collect()
    }

    /// Rows of the file.
    pub fn rows(&self) -> u64 {
        self.first_rows.last().copied().unwrap_or(0)
    }

    /// Rows that begin in this piece or before it: the number of the first that begins behind it.
    pub fn end_of(&self, piece: u32) -> u64 {
        self.first_rows.get(piece as usize + 1).copied().unwrap_or_else(|| self.rows())
    }

    /// Where to read on for `row`: the piece it begins in, the bytes of that piece before the first row that
    /// begins there, and that row's number. `None` beyond the last row.
    pub fn locate(&self, row: u64) -> Option<(u32, u32, u64)> {
        let piece = self.first_rows.partition_point(|first| *first <= row).checked_sub(1)?;
        Some((piece as u32, *self.offsets.get(piece)?, self.first_rows[piece]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layout_is_as_drawn() {
        // "12\n345\n" and so on in pieces of 16 KiB: 3 rows at byte 0, none, 2 at byte 5.
        let geometry = Geometry::new((32 << 10) + 100, 16 << 10).unwrap();
        let index = RowIndex::new(geometry, [(3, 0), (0, 0), (2, 5)]).unwrap();
        let bytes = [0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 5];
        assert_eq!(index.encode(), bytes);
        assert_eq!(RowIndex::parse(&bytes, geometry), Some(index.clone()));
        assert_eq!(index.rows(), 5);
        assert_eq!([0, 1, 2, 3].map(|piece| index.end_of(piece)), [3, 3, 5, 5]);
        assert_eq!(index.locate(0), Some((0, 0, 0)));
        assert_eq!(index.locate(2), Some((0, 0, 0)));
        assert_eq!(index.locate(3), Some((2, 5, 3)));
        assert_eq!(index.locate(4), Some((2, 5, 3)));
        assert_eq!(index.locate(5), None);
        assert_eq!(index.locate(u64::MAX), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let geometry = Geometry::new((16 << 10) + 10, 16 << 10).unwrap();
        for wrong in [
            &[(1, 0)][..],
            &[(1, 0), (1, 0), (1, 0)],
            &[(0, 0), (0, 0)],
            &[(1, 0), (0, 1)],
            &[(1, 0), (1, 10)],
            &[(1, 0), (11, 0)],
            &[(1, 16 << 10), (1, 0)],
            &[(u32::MAX, u32::MAX), (1, 0)],
        ] {
            let bytes: Vec<u8> = wrong
                .iter()
                .flat_map(|(c, o): &(u32, u32)| [c.to_be_bytes(), o.to_be_bytes()].concat())
                .collect();
            assert_eq!(RowIndex::parse(&bytes, geometry), None, "{wrong:?}");
        }
        assert_eq!(RowIndex::parse(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], geometry), None);
    }

    proptest! {
        #[test]
        fn each_row_is_found_in_the_piece_it_begins_in(rows in prop::collection::vec(1usize..9000, 1..40)) {
            let total: usize = rows.iter().sum();
            let geometry = Geometry::new(total as u64, 16 << 10).unwrap();
            let mut pieces = vec![(0u32, 0u32); geometry.pieces() as usize];
            let mut at = 0;
            let mut begins = Vec::new();
            for length in &rows {
                let (piece, offset) = (at / (16 << 10), at % (16 << 10));
                if pieces[piece].0 == 0 {
                    pieces[piece].1 = offset as u32;
                }
                pieces[piece].0 += 1;
                begins.push((piece as u32, at));
                at += length;
            }
            let index = RowIndex::new(geometry, pieces).unwrap();
            prop_assert_eq!(index.rows(), rows.len() as u64);
            for (row, (piece, _)) in begins.iter().enumerate() {
                let (found, offset, first) = index.locate(row as u64).unwrap();
                prop_assert_eq!(found, *piece);
                prop_assert_eq!(begins[first as usize], (found, (found << 14) as usize + offset as usize));
            }
            prop_assert_eq!(index.locate(index.rows()), None);
            prop_assert_eq!(RowIndex::parse(&index.encode(), geometry), Some(index));
        }
    }
}
