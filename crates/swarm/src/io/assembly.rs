//! The bytes of pieces that are begun and not verified.
//!
//! A block's bytes are read from its socket to where they belong in the piece, so a block that is under
//! way belongs to its connection. In the endgame a second connection may bring the same block: its bytes
//! wait beside, and whoever is whole first is kept. So each block that is kept is one peer's from its
//! first byte to its last, and a liar is told from the honest.
//!
//! Buffers are used again: a fresh one costs the kernel as much as the hash of its bytes.

use crate::geometry::{Block, Geometry};
use crate::peer::Conn;
use std::collections::BTreeMap;

/// Pieces that are begun.
pub struct Assembly {
    geometry: Geometry,
    open: BTreeMap<u32, Open>,
    spare: Vec<Vec<u8>>,
}

struct Open {
    bytes: Vec<u8>,
    blocks: Vec<Slot>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Empty,
    Filling(Conn),
    Full,
}

/// Where the bytes of a block go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To [`Assembly::place`].
    InPiece,
    /// Another connection is filling it: into a buffer, then to [`Assembly::supply`].
    Beside,
    /// It is there already.
    Nowhere,
}

impl Assembly {
    /// Nothing is begun.
    pub fn new(geometry: Geometry) -> Assembly {
        Assembly { geometry, open: BTreeMap::new(), spare: Vec::new() }
    }

    /// This connection brings this block, which is expected. Opens its piece if it is the first.
    pub fn begin(&mut self, conn: Conn, block: Block) -> Place {
        if !self.geometry.has_block(block) {
            return Place::Nowhere;
        }
        let geometry = self.geometry;
        let open = self.open.entry(block.piece).or_insert_with(|| {
            let bytes = self.spare.pop().unwrap_or_else(|| vec![0; geometry.length_of(0) as usize]);
            Open { bytes, blocks: vec![Slot::Empty; geometry.blocks(block.piece) as usize] }
        });
        let slot = &mut open.blocks[block.number() as usize];
        match *slot {
            Slot::Empty => {
                *slot = Slot::Filling(conn);
                Place::InPiece
            }
            Slot::Filling(_) => Place::Beside,
            Slot::Full => Place::Nowhere,
        }
    }

    /// Where the block's bytes go; `None` once they are no longer wanted.
    pub fn place(&mut self, conn: Conn, block: Block) -> Option<&mut [u8]> {
        let open = self.open.get_mut(&block.piece)?;
        let filling = open.blocks.get(block.number() as usize) == Some(&Slot::Filling(conn));
        filling.then(|| &mut open.bytes[block.begin as usize..][..block.length as usize])
    }

    /// All of the block's bytes are in place; false where they were no longer wanted.
    pub fn finish(&mut self, conn: Conn, block: Block) -> bool {
        self.change(block, |slot| *slot == Slot::Filling(conn), Slot::Full)
    }

    /// All of a block's bytes, which came beside; false where they are no longer wanted.
    pub fn supply(&mut self, block: Block, bytes: &[u8]) -> bool {
        let wanted = self.change(block, |slot| *slot != Slot::Full, Slot::Full);
        if let Some(open) = self.open.get_mut(&block.piece).filter(|_| wanted) {
            open.bytes[block.begin as usize..][..block.length as usize].copy_from_slice(bytes);
        }
        wanted
    }

    /// The rest of the block will not come.
    pub fn abandon(&mut self, conn: Conn, block: Block) {
        self.change(block, |slot| *slot == Slot::Filling(conn), Slot::Empty);
    }

    /// A piece's bytes, where all blocks are there; the buffer may be longer. Give it back.
    pub fn take(&mut self, piece: u32) -> Option<Vec<u8>> {
        let whole = self.open.get(&piece)?.blocks.iter().all(|slot| *slot == Slot::Full);
        whole.then(|| self.open.remove(&piece)).flatten().map(|open| open.bytes)
    }

    /// Drops what is there of a piece.
    pub fn forget(&mut self, piece: u32) {
        if let Some(open) = self.open.remove(&piece) {
            self.spare.push(open.bytes);
        }
    }

    /// A buffer to use again.
    pub fn give_back(&mut self, bytes: Vec<u8>) {
        self.spare.push(bytes);
    }

    /// All pieces are there: nothing is kept any more.
    pub fn clear(&mut self) {
        self.open.clear();
        self.spare = Vec::new();
    }

    fn change(&mut self, block: Block, from: impl Fn(&Slot) -> bool, to: Slot) -> bool {
        let open = self.open.get_mut(&block.piece);
        let slot =
            open.and_then(|open| open.blocks.get_mut(block.number() as usize)).filter(|s| from(s));
        slot.map(|slot| *slot = to).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BLOCK_BYTES;

    const A: Conn = Conn(1);
    const B: Conn = Conn(2);

    fn assembly() -> (Assembly, Geometry) {
        let geometry = Geometry::new(5 * u64::from(BLOCK_BYTES) + 7, 2 * BLOCK_BYTES).unwrap();
        (Assembly::new(geometry), geometry)
    }

    #[test]
    fn a_piece_is_whole_when_its_blocks_are() {
        let (mut assembly, geometry) = assembly();
        for (number, byte) in [(1, b'y'), (0, b'x')] {
            let block = geometry.block(1, number);
            assert_eq!(assembly.take(1), None);
            assert_eq!(assembly.begin(A, block), Place::InPiece);
            assembly.place(A, block).unwrap().fill(byte);
            assert!(assembly.finish(A, block) && !assembly.finish(A, block));
            assert_eq!(assembly.begin(A, block), Place::Nowhere);
        }
        let bytes = assembly.take(1).unwrap();
        let (first, second) = bytes.split_at(BLOCK_BYTES as usize);
        assert!(first.iter().all(|byte| *byte == b'x') && second.iter().all(|byte| *byte == b'y'));
        assert_eq!(assembly.take(1), None);
    }

    #[test]
    fn the_first_whole_block_is_kept_and_no_byte_of_another() {
        let (mut assembly, geometry) = assembly();
        let block = geometry.block(2, 1);
        assert_eq!(block.length, 7);
        assert_eq!(assembly.begin(A, block), Place::InPiece);
        assembly.place(A, block).unwrap()[..3].copy_from_slice(b"bad");
        assert_eq!(assembly.begin(B, block), Place::Beside);
        assert!(assembly.supply(block, b"genuine") && !assembly.supply(block, b"too bad"));
        assert_eq!(assembly.place(A, block), None);
        assert!(!assembly.finish(A, block));
        assert_eq!(assembly.begin(A, geometry.block(2, 0)), Place::InPiece);
        assert!(assembly.finish(A, geometry.block(2, 0)));
        assert_eq!(&assembly.take(2).unwrap()[BLOCK_BYTES as usize..][..7], b"genuine");
    }

    #[test]
    fn what_is_abandoned_or_forgotten_can_begin_again() {
        let (mut assembly, geometry) = assembly();
        let block = geometry.block(0, 0);
        assembly.begin(A, block);
        assembly.abandon(B, block);
        assert!(assembly.place(A, block).is_some());
        assembly.abandon(A, block);
        assert_eq!(assembly.begin(B, block), Place::InPiece);
        assembly.forget(0);
        assert!(assembly.place(B, block).is_none() && !assembly.finish(B, block));
        assert_eq!(assembly.begin(A, block), Place::InPiece);
        let odd = Block { piece: 0, begin: 1, length: 5 };
        assert_eq!(assembly.begin(A, odd), Place::Nowhere);
    }
}
