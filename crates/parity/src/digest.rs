//! Checksums that add up: of a diff, of an image, of the parity of images.
//!
//! The lesson: a checksum that is linear over exclusive-or needs no second look at what has not changed. With
//! D(a) + D(b) = D(a + b), where + is exclusive-or, a holder that is sent a diff knows what the checksum of
//! the sender's new image must be, and that of its own parity is the sum of all workers'.
//!
//! D is the sum over pages of CRC-64 (page) times g^(index + 1) in GF(2^64): pages in other places differ,
//! absent pages are zeros. It finds accidents, not forgers, as any checksum.

use crate::limits::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Such a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(pub u64);

/// x^64 = x^4 + x^3 + x + 1, by which the powers of x run through all of the field.
const MODULUS: u64 = 0b11011;
/// An index, and 1 more, has so many digits of so many bits.
const DIGIT_BITS: u32 = 11;
const DIGITS: usize = 3;
/// x to the power of each digit in each place, so that hardly more than a product or two makes any power: this is
/// needed for every page that travels.
static POWERS: LazyLock<[Vec<u64>; DIGITS]> = LazyLock::new(powers);
/// The CRC of a page of zeros.
static ZEROS: LazyLock<u64> = LazyLock::new(|| crc(&[0; PAGE_BYTES]));

impl Digest {
    /// Of a single page at its place in an image.
    pub fn of_page(index: u32, page: &[u8; PAGE_BYTES]) -> Digest {
        match linear_crc(page) {
            0 => Digest::default(),
            crc => Digest(multiply(crc, power(u64::from(index) + 1))),
        }
    }

    /// Of a whole image.
    pub fn of_image(image: &[[u8; PAGE_BYTES]]) -> Digest {
        let mut digest = Digest::default();
        for (index, page) in (0..).zip(image) {
            digest = digest.plus(Digest::of_page(index, page));
        }
        digest
    }

    /// Of the exclusive-or of both contents.
    #[must_use]
    pub fn plus(self, other: Digest) -> Digest {
        Digest(self.0 ^ other.0)
    }
}

/// A CRC is linear but for a constant, which is its value for zeros.
fn linear_crc(page: &[u8; PAGE_BYTES]) -> u64 {
    crc(page) ^ *ZEROS
}

fn crc(page: &[u8; PAGE_BYTES]) -> u64 {
    let mut crc = crc64fast_nvme::Digest::new();
    crc.write(page);
    crc.sum64()
}

/// In GF(2^64), without a branch on either factor.
fn multiply(a: u64, b: u64) -> u64 {
    let (mut a, mut product, mut bit) = (a, 0, 0);
    while bit < 64 {
        product ^= a & (b >> bit & 1).wrapping_neg();
        a = a << 1 ^ (a >> 63).wrapping_neg() & MODULUS;
        bit += 1;
    }
    product
}

fn powers() -> [Vec<u64>; DIGITS] {
    let mut base = 2;
    std::array::from_fn(|_| {
        let place: Vec<u64> = (0..1 << DIGIT_BITS)
            .scan(1, |power, _| Some(std::mem::replace(power, multiply(*power, base))))
            .collect();
        base = place.last().map_or(base, |last| multiply(*last, base));
        place
    })
}

/// x to this power, below 2^33.
fn power(exponent: u64) -> u64 {
    let digit = |place: u32| (exponent >> (place * DIGIT_BITS)) as usize % (1 << DIGIT_BITS);
    let factors = (0..).zip(&*POWERS).filter(|(place, _)| digit(*place) > 0);
    factors.map(|(place, powers)| powers[digit(place)]).reduce(multiply).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(seed: u64) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        offload::rng::Rng::from_seed(seed).fill(&mut page);
        page
    }

    #[test]
    fn powers_are_repeated_products() {
        let mut product = 1;
        for exponent in 0..200 {
            assert_eq!(power(exponent), product, "{exponent}");
            product = multiply(product, 2);
        }
        assert_eq!(power((1 << 33) - 1), multiply(power(1 << 32), power((1 << 32) - 1)));
        for (exponent, place) in [(1 << 11, 1), (1 << 22, 2)] {
            assert_eq!(power(exponent), POWERS[place][1]);
            assert_eq!(power(exponent), multiply(power(exponent - 1), 2));
        }
    }

    #[test]
    fn every_bit_and_every_place_matters() {
        let whole = page(1);
        let digest = Digest::of_page(0, &whole);
        for bit in (0..8 * PAGE_BYTES).step_by(97) {
            let mut flipped = whole;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Digest::of_page(0, &flipped), digest, "bit {bit}");
        }
        assert_ne!(Digest::of_page(1, &whole), digest);
        assert_ne!(Digest::of_image(&[whole, page(2)]), Digest::of_image(&[page(2), whole]));
    }

    proptest! {
        #[test]
        fn it_adds_up(a: u64, b: u64, index: u32) {
            let (a, b) = (page(a), page(b));
            let sum = std::array::from_fn(|i| a[i] ^ b[i]);
            let digests = Digest::of_page(index, &a).plus(Digest::of_page(index, &b));
            prop_assert_eq!(digests, Digest::of_page(index, &sum));
            prop_assert_eq!(Digest::of_page(index, &[0; PAGE_BYTES]), Digest::default());
        }
    }
}
