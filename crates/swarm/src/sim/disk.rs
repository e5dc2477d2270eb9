//! A host's disk and memory, symbolically: of each block, whether it is sound, and whose it is if not.
//!
//! A verified piece is in place and outlives the process; a piece that is begun is in memory and does not.

use crate::bitfield::Bitfield;
use crate::geometry::{Block, Geometry};

/// What a block's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(u32);

impl Bytes {
    /// As published.
    pub const SOUND: Bytes = Bytes(1);
    const NONE: Bytes = Bytes(0);

    /// Something else; other numbers are other bytes.
    pub fn corrupt(number: u32) -> Bytes {
        Bytes(number.saturating_add(2))
    }

    /// Are they as published?
    pub fn is_sound(self) -> bool {
        self == Bytes::SOUND
    }
}

/// What hashing a piece gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Does its hash agree?
    pub good: bool,
    /// A digest of each of its blocks.
    pub digests: Vec<u64>,
}

/// A host's disk and memory.
pub struct Disk {
    geometry: Geometry,
    have: Bitfield,
    open: Vec<Option<Box<[Bytes]>>>,
    hashing: Vec<u32>,
    open_bytes: u64,
}

impl Disk {
    /// A disk on which these pieces are in place.
    pub fn new(geometry: Geometry, have: Bitfield) -> Disk {
        let open = (0..geometry.pieces()).map(|_| None).collect();
        Disk { geometry, have, open, hashing: Vec::new(), open_bytes: 0 }
    }

    /// The pieces in place.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Bytes of pieces that are begun.
    pub fn open_bytes(&self) -> u64 {
        self.open_bytes
    }

    /// The process has ended: what was in memory is gone.
    pub fn crash(&mut self) {
        self.open.iter_mut().for_each(|open| *open = None);
        self.hashing.clear();
        self.open_bytes = 0;
    }

    /// Keeps a block's bytes; false where the piece is being hashed, or in place, or the block is none.
    pub fn keep(&mut self, block: Block, bytes: Bytes) -> bool {
        let (piece, blocks) = (block.piece, self.geometry.blocks(block.piece));
        if !self.geometry.has_block(block) || self.have.has(piece) || self.hashing.contains(&piece) {
            return false;
        }
        let open = &mut self.open[piece as usize];
        if open.is_none() {
            self.open_bytes += u64::from(self.geometry.length_of(piece));
        }
        let open = open.get_or_insert_with(|| vec![Bytes::NONE; blocks as usize].into());
        open[block.number() as usize] = bytes;
        true
    }

    /// Begins to hash a piece; `None` where a block is missing, else its length.
    pub fn hash(&mut self, piece: u32) -> Option<u32> {
        let open = self.open.get(piece as usize)?.as_ref()?;
        let whole = !open.contains(&Bytes::NONE) && !self.hashing.contains(&piece);
        whole.then(|| self.hashing.push(piece))?;
        Some(self.geometry.length_of(piece))
    }

    /// Has hashed a piece: a good one is put in place. `None` where it was forgotten meanwhile.
    pub fn verdict(&mut self, piece: u32) -> Option<Verdict> {
        self.hashing.retain(|other| *other != piece);
        let open = self.take(piece)?;
        let good = open.iter().all(|bytes| bytes.is_sound());
        let digests = open.iter().map(|bytes| u64::from(bytes.0)).collect();
        if good {
            self.have.insert(piece);
        }
        Some(Verdict { good, digests })
    }

    /// Drops what is kept of a piece.
    pub fn forget(&mut self, piece: u32) {
        if !self.hashing.contains(&piece) {
            self.take(piece);
        }
    }

    fn take(&mut self, piece: u32) -> Option<Box<[Bytes]>> {
        let open = self.open.get_mut(piece as usize)?.take()?;
        self.open_bytes -= u64::from(self.geometry.length_of(piece));
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(last: Bytes) -> Disk {
        let geometry = Geometry::new(100 << 10, 32 << 10).unwrap();
        let mut disk = Disk::new(geometry, Bitfield::new(4));
        assert!(disk.keep(geometry.block(1, 0), Bytes::SOUND));
        assert_eq!(disk.hash(1), None, "a block is missing");
        assert!(disk.keep(geometry.block(1, 1), last));
        disk
    }

    #[test]
    fn a_sound_piece_goes_in_place_and_survives_a_crash() {
        let mut disk = filled(Bytes::SOUND);
        assert_eq!((disk.open_bytes(), disk.hash(1)), (32 << 10, Some(32 << 10)));
        assert!(disk.verdict(1).unwrap().good);
        disk.crash();
        assert!(disk.have().has(1) && disk.open_bytes() == 0);
        assert!(!disk.keep(Block { piece: 1, begin: 0, length: 16 << 10 }, Bytes::SOUND));
    }

    #[test]
    fn a_bad_piece_is_dropped_and_its_digests_tell_the_block() {
        let mut disk = filled(Bytes::corrupt(7));
        disk.hash(1);
        let verdict = disk.verdict(1).unwrap();
        assert!(!verdict.good && verdict.digests[0] != verdict.digests[1]);
        assert!(disk.have().is_empty() && disk.open_bytes() == 0);
        assert!(!disk.keep(Block { piece: 0, begin: 1, length: 5 }, Bytes::SOUND));
    }
}
