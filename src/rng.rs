//! Chance as a value.
//!
//! Every machine is given its own generator. A door seeds it from the system; the simulator seeds it
//! from the run's number, so that a run can be had again. The generator is cryptographic (ChaCha12):
//! job IDs are secrets against whoever cannot read the traffic.

use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng};

/// A seeded, cryptographic generator.
#[derive(Debug)]
pub struct Rng(StdRng);

impl Rng {
    /// Seeded by the operating system.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn from_system() -> std::io::Result<Rng> {
        StdRng::try_from_rng(&mut SysRng)
            .map(Rng)
            .map_err(|e| std::io::Error::other(format!("the system's random generator: {e}")))
    }

    /// Seeded by a number: the same number, the same sequence.
    pub fn from_seed(seed: u64) -> Rng {
        Rng(StdRng::seed_from_u64(seed))
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 128 random bits.
    pub fn u128(&mut self) -> u128 {
        (u128::from(self.u64()) << 64) | u128::from(self.u64())
    }

    /// A number in `0..n`; 0 where `n` is 0. The bias of at most n/2^64 does not matter to any caller.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(n)) >> 64) as u64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        ((self.u64() >> 11) as f64) < p * (1u64 << 53) as f64
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// An independent generator, split off this one.
    pub fn split(&mut self) -> Rng {
        Rng(StdRng::from_rng(&mut self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays() {
        let (mut a, mut b) = (Rng::from_seed(7), Rng::from_seed(7));
        assert!((0..100).all(|_| a.u64() == b.u64()));
        assert_ne!(Rng::from_seed(8).u128(), Rng::from_seed(7).u128());
    }

    #[test]
    fn below_and_chance_keep_their_ranges() {
        let mut r = Rng::from_seed(1);
        assert!((0..1000).all(|_| r.below(3) < 3));
        assert_eq!(r.below(0), 0);
        assert!((0..100).all(|_| !r.chance(0.0) && r.chance(1.0)));
    }
}
