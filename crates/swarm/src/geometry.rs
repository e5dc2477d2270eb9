//! How a torrent's bytes are cut: pieces, which have a hash, and blocks, which are asked for (BEP 3).

use crate::limits::BLOCK_BYTES;
use std::ops::Range;

/// A torrent's bytes in pieces of equal size; the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    total_bytes: u64,
    piece_bytes: u32,
}

/// Part of a piece, as REQUEST, PIECE and CANCEL name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// Index of the piece.
    pub piece: u32,
    /// Bytes of the piece before it.
    pub begin: u32,
    /// Its bytes.
    pub length: u32,
}

impl Geometry {
    /// `None` where there is no byte, no piece size, or more pieces than 2^32 - 1.
    pub fn new(total_bytes: u64, piece_bytes: u32) -> Option<Geometry> {
        let fits = total_bytes > 0
            && piece_bytes > 0
            && total_bytes.div_ceil(u64::from(piece_bytes)) < u64::from(u32::MAX);
        fits.then_some(Geometry { total_bytes, piece_bytes })
    }

    /// Bytes of the whole.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Bytes of every piece but the last.
    pub fn piece_bytes(&self) -> u32 {
        self.piece_bytes
    }

    /// How many pieces there are: one at least.
    pub fn pieces(&self) -> u32 {
        self.total_bytes.div_ceil(u64::from(self.piece_bytes)) as u32
    }

    /// Bytes of the piece; 0 where there is no such piece.
    pub fn length_of(&self, piece: u32) -> u32 {
        let span = self.span(piece);
        (span.end - span.start) as u32
    }

    /// Where the piece is in the whole.
    pub fn span(&self, piece: u32) -> Range<u64> {
        let size = u64::from(self.piece_bytes);
        let at = |index: u64| (index * size).min(self.total_bytes);
        at(u64::from(piece))..at(u64::from(piece) + 1)
    }

    /// How many blocks the piece has.
    pub fn blocks(&self, piece: u32) -> u32 {
        self.length_of(piece).div_ceil(BLOCK_BYTES)
    }

    /// A block of the piece by its number.
    pub fn block(&self, piece: u32, number: u32) -> Block {
        let begin = number * BLOCK_BYTES;
        let length = self.length_of(piece).saturating_sub(begin).min(BLOCK_BYTES);
        Block { piece, begin, length }
    }

    /// Is this one of the blocks that we ask for?
    pub fn has_block(&self, block: Block) -> bool {
        block.length > 0
            && block.begin.is_multiple_of(BLOCK_BYTES)
            && self.block(block.piece, block.begin / BLOCK_BYTES) == block
    }

    /// May somebody ask for this? Others cut pieces as they like.
    pub fn contains(&self, block: Block) -> bool {
        let end = u64::from(block.begin) + u64::from(block.length);
        block.length > 0 && end <= u64::from(self.length_of(block.piece))
    }
}

impl Block {
    /// Its number in its piece, where it is one of [`Geometry::block`].
    pub fn number(&self) -> u32 {
        self.begin / BLOCK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_blocks_cover_the_whole_once() {
        for (total, piece) in [(1, 16 << 10), (100_000, 32 << 10), (1 << 20, 1 << 18), (70_001, 70_000)]
        {
            let geometry = Geometry::new(total, piece).unwrap();
            let mut next = 0;
            for index in 0..geometry.pieces() {
                assert_eq!(geometry.span(index).start, next);
                let blocks = (0..geometry.blocks(index)).map(|number| geometry.block(index, number));
                let sum: u32 =
                    blocks.inspect(|block| assert!(geometry.has_block(*block))).map(|b| b.length).sum();
                assert_eq!(sum, geometry.length_of(index));
                next = geometry.span(index).end;
            }
            assert_eq!(next, total);
            assert_eq!(geometry.length_of(geometry.pieces()), 0);
        }
    }

    #[test]
    fn blocks_outside_are_refused() {
        let geometry = Geometry::new(100_000, 32 << 10).unwrap();
        for (piece, begin, length) in
            [(0, 0, 0), (9, 0, 1), (0, 32 << 10, 1), (3, 0, 16 << 10), (0, u32::MAX, 2)]
        {
            let block = Block { piece, begin, length };
            assert!(!geometry.contains(block) && !geometry.has_block(block), "{block:?}");
        }
        assert!(geometry.contains(Block { piece: 0, begin: 5, length: 7 }));
        assert!(
            Geometry::new(0, 1).is_none()
                && Geometry::new(1, 0).is_none()
                && Geometry::new(u64::MAX, 1).is_none()
        );
    }
}
