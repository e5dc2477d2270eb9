//! One bit for each sequence number of a window: what has arrived, as both ends remember it.
//!
//! A ring of `WINDOW_DATAGRAMS` bits: its size is fixed whatever comes. What is left out: where the
//! window begins and ends, which its owner knows, and without which a bit means nothing.

use crate::limits::WINDOW_DATAGRAMS;

/// The ring.
#[derive(Debug)]
pub struct Bits(Vec<u64>);

impl Default for Bits {
    fn default() -> Bits {
        Bits(vec![0; (WINDOW_DATAGRAMS / 64) as usize])
    }
}

impl Bits {
    /// The bit of `seq`.
    pub fn get(&self, seq: u64) -> bool {
        self.0[place(seq)] >> (seq % 64) & 1 == 1
    }

    /// Sets the bit of `seq`.
    pub fn set(&mut self, seq: u64) {
        self.0[place(seq)] |= 1 << (seq % 64);
    }

    /// Clears the bit of `seq`.
    pub fn clear(&mut self, seq: u64) {
        self.0[place(seq)] &= !(1 << (seq % 64));
    }

    /// The bits of `at` and the 63 behind it, those at `end` and above as 0.
    pub fn word(&self, at: u64, end: u64) -> u64 {
        let (i, shift) = (place(at), at % 64);
        let low = self.0[i] >> shift;
        let high = self.0[(i + 1) % self.0.len()];
        let word = if shift == 0 { low } else { low | high << (64 - shift) };
        match end.saturating_sub(at) {
            left @ 0..64 => word & ((1 << left) - 1),
            _ => word,
        }
    }
}

/// The word that holds the bit of `seq`. 64 divides the window, so words never straddle its end.
fn place(seq: u64) -> usize {
    (seq % WINDOW_DATAGRAMS / 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_set(
            from in 0u64..10_000, seqs in proptest::collection::vec((0u64..WINDOW_DATAGRAMS, any::<bool>()), 1..200),
            at in 0u64..WINDOW_DATAGRAMS, length in 0u64..200,
        ) {
            let (mut bits, mut set) = (Bits::default(), BTreeSet::new());
            for (ahead, put) in seqs {
                let seq = from + ahead;
                if put { bits.set(seq); set.insert(seq); } else { bits.clear(seq); set.remove(&seq); }
                prop_assert_eq!(bits.get(seq), put);
            }
            let (at, window_end) = (from + at, from + WINDOW_DATAGRAMS);
            let end = (at + length).min(window_end);
            let expected = (0..64).filter(|i| at + i < end && set.contains(&(at + i))).map(|i| 1u64 << i).sum::<u64>();
            prop_assert_eq!(bits.word(at, end), expected);
        }
    }
}
