//! The arithmetic of a batch, fast: plain loops that the compiler vectorises, compiled three times.
//!
//! The lesson: no wide integers in the loop. A 64-bit word loses carries, so each sum is kept twice: once
//! whole and wrapping, once over the upper halves. [`Wide`] puts the exact sum together afterwards, which
//! costs two additions and a shift a term and vectorises everywhere. The same source is compiled for
//! the baseline, for AVX2 and for AVX-512; [`Variant`] picks at run time what this processor has.
//!
//! What is left out: hand-written intrinsics (the compiler's code already runs at the speed of the
//! second-level cache) and other architectures' extensions (NEON is in the baseline of aarch64).

use ethnum::I256;
use std::fmt;

/// Most numbers for one run of a kernel; [`Wide`] proves that this many fit.
pub const CHUNK_NUMBERS: usize = 1 << 20;

/// One pass over a batch of at most [`CHUNK_NUMBERS`].
pub trait Kernel {
    /// What it finds.
    type Out;
    /// Makes the pass. Has to be `inline(always)`, to be compiled with its caller's features.
    fn run(numbers: &[i64]) -> Self::Out;
}

/// A compiled copy of the kernels. A value exists only for what this processor can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Variant {
    /// The fastest that this processor can run. The standard library remembers what it found.
    pub fn best() -> Variant {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                return Variant(Kind::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                return Variant(Kind::Avx2);
            }
        }
        Variant(Kind::Portable)
    }

    /// All that this processor can run, from the slowest to [`Variant::best`].
    pub fn all() -> Vec<Variant> {
        let mut all = vec![Variant(Kind::Portable)];
        // Every processor with AVX-512 has AVX2, but the guarantee of this type is not left to that.
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            all.push(Variant(Kind::Avx2));
        }
        if !all.contains(&Variant::best()) {
            all.push(Variant::best());
        }
        all
    }

    /// Runs a kernel.
    #[inline]
    pub(super) fn run<K: Kernel>(self, numbers: &[i64]) -> K::Out {
        match self.0 {
            Kind::Portable => K::run(numbers),
            // SAFETY: calling a function with target features is sound where the processor has them.
            // `Variant`'s field is private to this module, and the only places that make `Kind::Avx2`
            // and `Kind::Avx512` are `best` and `all`, each after detecting exactly the features that
            // the function enables. What the functions do is safe code.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { run_avx2::<K>(numbers) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { run_avx512::<K>(numbers) },
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        })
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<K: Kernel>(numbers: &[i64]) -> K::Out {
    K::run(numbers)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
fn run_avx512<K: Kernel>(numbers: &[i64]) -> K::Out {
    K::run(numbers)
}

/// An exact sum of u64 terms, in two words that wrap.
///
/// With x = 2^32 * upper(x) + lower(x) for each term, `whole` is the sum of all x modulo 2^64 and `upper`
/// that of all upper(x). So the sum of all lower(x) is `whole - 2^32 * upper` modulo 2^64, and it *is*
/// that number as long as it stays under 2^64, as must `upper`. Both hold up to 2^32 terms; a chunk has
/// 2^20, at most one a number.
#[derive(Clone, Copy, Default)]
struct Wide {
    whole: u64,
    upper: u64,
}

impl Wide {
    #[inline(always)]
    fn add(&mut self, term: u64) {
        self.whole = self.whole.wrapping_add(term);
        self.upper = self.upper.wrapping_add(term >> 32);
    }

    /// The sum. At most 2^20 terms under 2^64: under 2^84.
    #[inline(always)]
    fn value(self) -> u128 {
        (u128::from(self.upper) << 32) + u128::from(self.whole.wrapping_sub(self.upper << 32))
    }
}

/// The least number; `i64::MAX` of none.
pub struct Min;

impl Kernel for Min {
    type Out = i64;
    #[inline(always)]
    fn run(numbers: &[i64]) -> i64 {
        numbers.iter().fold(i64::MAX, |a, &b| a.min(b))
    }
}

/// The greatest number; `i64::MIN` of none.
pub struct Max;

impl Kernel for Max {
    type Out = i64;
    #[inline(always)]
    fn run(numbers: &[i64]) -> i64 {
        numbers.iter().fold(i64::MIN, |a, &b| a.max(b))
    }
}

/// The sum.
pub struct Sum;

/// The sum of `count` numbers, each raised by 2^63 to be unsigned.
pub struct SumParts {
    raised: u128,
    count: usize,
}

impl SumParts {
    /// The sum itself.
    pub fn value(&self) -> I256 {
        // Both are under 2^84 (`Wide::value`), so i128 holds them and their difference.
        I256::from(self.raised as i128 - ((self.count as i128) << 63))
    }
}

impl Kernel for Sum {
    type Out = SumParts;
    #[inline(always)]
    fn run(numbers: &[i64]) -> SumParts {
        let mut sum = Wide::default();
        for &n in numbers {
            // Flipping the sign bit adds 2^63: an unsigned term, for want of a 64-bit arithmetic shift
            // in AVX2.
            sum.add((n as u64) ^ (1 << 63));
        }
        SumParts { raised: sum.value(), count: numbers.len() }
    }
}

/// The sum of squares.
pub struct Sos;

/// With |n| = 2^32 * h + l, n^2 = 2^64 * h*h + 2^33 * h*l + l*l: the sums of these three products.
pub struct SosParts {
    hh: u128,
    hl: u128,
    ll: u128,
}

impl SosParts {
    /// The sum of squares itself.
    pub fn value(&self) -> I256 {
        // Each is under 2^84, so the shifted ones stay under 2^149.
        (I256::from(self.hh) << 64) + (I256::from(self.hl) << 33) + I256::from(self.ll)
    }
}

impl Kernel for Sos {
    type Out = SosParts;
    #[inline(always)]
    fn run(numbers: &[i64]) -> SosParts {
        let (mut hh, mut hl, mut ll) = (Wide::default(), Wide::default(), Wide::default());
        let halves = |n: i64| (n.unsigned_abs() >> 32, n.unsigned_abs() & 0xffff_ffff);
        // Pairs across the middle: their loads are contiguous.
        let (left, right) = numbers.split_at(numbers.len() / 2);
        for (&a, &b) in left.iter().zip(right) {
            let ((h, l), (g, k)) = (halves(a), halves(b));
            // |n| <= 2^63, so h <= 2^31, and where h = 2^31, l = 0. Thus h*h <= 2^62 and h*l < 2^63: two
            // of each make one term. l*l may be almost 2^64 and is a term of its own.
            hh.add(h * h + g * g);
            hl.add(h * l + g * k);
            ll.add(l * l);
            ll.add(k * k);
        }
        // Where the count is odd, one is left.
        for &n in &right[left.len()..] {
            let (h, l) = halves(n);
            hh.add(h * h);
            hl.add(h * l);
            ll.add(l * l);
        }
        SosParts { hh: hh.value(), hl: hl.value(), ll: ll.value() }
    }
}
