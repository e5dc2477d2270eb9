//! A set of pieces, in the byte order of BEP 3's BITFIELD: the highest bit of the first byte is piece 0.

use std::fmt;

/// A set of piece indices below a fixed length.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Vec<u8>,
    length: u32,
    ones: u32,
}

impl Bitfield {
    /// The empty set of `length` possible pieces.
    pub fn new(length: u32) -> Bitfield {
        Bitfield { bytes: vec![0; length.div_ceil(8) as usize], length, ones: 0 }
    }

    /// All pieces.
    pub fn full(length: u32) -> Bitfield {
        let mut all = Bitfield::new(length);
        all.bytes.fill(0xff);
        if let Some(last) = all.bytes.last_mut() {
            *last <<= (8 - length % 8) % 8;
        }
        all.ones = length;
        all
    }

    /// `None` where the number of bytes is wrong or a bit beyond the last piece is set.
    pub fn from_bytes(bytes: &[u8], length: u32) -> Option<Bitfield> {
        let spare = (8 - length % 8) % 8;
        let sound = bytes.len() == length.div_ceil(8) as usize
            && bytes.last().is_none_or(|last| u32::from(*last).trailing_zeros() >= spare);
        let ones = bytes.iter().map(|byte| byte.count_ones()).sum();
        sound.then(|| Bitfield { bytes: bytes.to_vec(), length, ones })
    }

    /// As BITFIELD carries it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many pieces there could be.
    pub fn len(&self) -> u32 {
        self.length
    }

    /// Is no piece in it?
    pub fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Are all pieces in it?
    pub fn is_full(&self) -> bool {
        self.ones == self.length
    }

    /// How many pieces are in it.
    pub fn count(&self) -> u32 {
        self.ones
    }

    /// Is the piece in it? No piece beyond the length is.
    pub fn has(&self, piece: u32) -> bool {
        piece < self.length && self.bytes[piece as usize / 8] & mask(piece) != 0
    }

    /// Puts a piece in; true where it was not. Pieces beyond the length are left out.
    pub fn insert(&mut self, piece: u32) -> bool {
        let new = piece < self.length && !self.has(piece);
        if new {
            self.bytes[piece as usize / 8] |= mask(piece);
            self.ones += 1;
        }
        new
    }

    /// Takes a piece out; true where it was in.
    pub fn remove(&mut self, piece: u32) -> bool {
        let was = self.has(piece);
        if was {
            self.bytes[piece as usize / 8] &= !mask(piece);
            self.ones -= 1;
        }
        was
    }

    /// The pieces in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.select(|byte, _| byte)
    }

    /// The pieces in it that `other` has not.
    pub fn without<'a>(&'a self, other: &'a Bitfield) -> impl Iterator<Item = u32> + 'a {
        self.select(|byte, index| byte & !other.bytes.get(index).copied().unwrap_or(0))
    }

    /// Has it a piece that `other` has not?
    pub fn exceeds(&self, other: &Bitfield) -> bool {
        self.without(other).next().is_some()
    }

    fn select<'a>(&'a self, byte: impl Fn(u8, usize) -> u8 + 'a) -> impl Iterator<Item = u32> + 'a {
        let bytes = self.bytes.iter().enumerate().map(move |(index, b)| (index, byte(*b, index)));
        bytes.filter(|(_, byte)| *byte != 0).flat_map(|(index, byte)| {
            (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| index as u32 * 8 + bit)
        })
    }
}

fn mask(piece: u32) -> u8 {
    0x80 >> (piece % 8)
}

impl fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitfield({} of {})", self.ones, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_first_piece_is_the_highest_bit() {
        let mut set = Bitfield::new(10);
        assert!(set.insert(0) && set.insert(9) && !set.insert(9) && !set.insert(10));
        assert_eq!(set.as_bytes(), [0x80, 0x40]);
    }

    #[test]
    fn spare_bits_and_wrong_lengths_are_refused() {
        assert!(Bitfield::from_bytes(&[0xff, 0xc0], 10).unwrap().is_full());
        assert_eq!(Bitfield::full(10), Bitfield::from_bytes(&[0xff, 0xc0], 10).unwrap());
        assert_eq!(Bitfield::full(16).as_bytes(), [0xff, 0xff]);
        for wrong in [&[0xff, 0xe0][..], &[0xff], &[0xff, 0, 0]] {
            assert_eq!(Bitfield::from_bytes(wrong, 10), None);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_set(length in 1u32..200, steps in prop::collection::vec((any::<bool>(), 0u32..210), 0..100)) {
            let (mut set, mut model) = (Bitfield::new(length), BTreeSet::new());
            for (insert, piece) in steps {
                let changed = if insert { piece < length && model.insert(piece) } else { model.remove(&piece) };
                prop_assert_eq!(if insert { set.insert(piece) } else { set.remove(piece) }, changed);
            }
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.count() as usize, model.len());
            let rest: Vec<u32> = Bitfield::full(length).without(&set).collect();
            prop_assert!(rest.iter().all(|piece| !model.contains(piece)));
            prop_assert_eq!(rest.len() + model.len(), length as usize);
            prop_assert_eq!(Bitfield::from_bytes(set.as_bytes(), length), Some(set));
        }
    }
}
