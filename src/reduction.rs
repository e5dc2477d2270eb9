//! Reductions: what backends compute over their shards (map) and AWS over theirs (reduce).
//!
//! A reduction is a commutative monoid over exact 256-bit values. Because it is, neither where the
//! input is cut nor the order in which the pieces arrive changes the answer: a backend folds each
//! datagram as it comes and needs no reassembly buffer, and AWS reduces partials in any order. The four
//! of the course are [`Function`]; a [`Registry`] holds these and one's own.
//!
//! 256 bits cannot overflow. A number has at most 64 bits and a count is a `u64`, so there are less
//! than 2^64 numbers. |SUM| <= 2^64 * 2^63 = 2^127, and SOS <= 2^64 * (2^63)^2 = 2^190, both under the
//! 2^255 of an [`I256`]; MIN and MAX never leave the i64.
//!
//! What is left out: reductions that depend on order (first, last) or need state wider than one value
//! (median, mean). The arithmetic of a batch is in `kernel`.

mod kernel;

pub use kernel::Variant;

use ethnum::I256;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A reduction: associative and commutative, so that neither cut nor order matters.
///
/// The law, for all partials `a`, `b`, `c` and all batches `x`, `y` of numbers:
///
/// - `reduce(a, reduce(b, c)) == reduce(reduce(a, b), c)` and `reduce(a, b) == reduce(b, a)`;
/// - `reduce(a, identity()) == a` and `map(a, &[]) == a`;
/// - `map(map(a, x), y) == map(a, x followed by y) == reduce(map(a, x), map(identity(), y))`.
///
/// A partial is whatever `map` and `reduce` make from `identity()`. A reduction that breaks the law
/// gives answers that depend on the network; one whose values overflow must wrap or saturate
/// consistently with it.
///
/// ```
/// use ethnum::I256;
/// use offload::reduction::{Reduction, Registry};
///
/// struct Parity;
/// impl Reduction for Parity {
///     fn name(&self) -> &str { "PARITY" }
///     fn identity(&self) -> I256 { I256::ZERO }
///     fn map(&self, so_far: I256, numbers: &[i64]) -> I256 {
///         so_far ^ I256::from(numbers.iter().fold(0, |x, n| x ^ n) & 1)
///     }
///     fn reduce(&self, a: I256, b: I256) -> I256 { a ^ b }
/// }
///
/// let registry = Registry::course().with(Parity);
/// let parity = registry.get("PARITY").ok_or("not registered")?;
/// assert_eq!(parity.map(parity.identity(), &[1, 2, 4]), 1);
/// # Ok::<(), &str>(())
/// ```
pub trait Reduction: Send + Sync {
    /// Its name, as on screens and on the wire: 1 to 16 of A-Z, 0-9 and `_`. No client can ask for a
    /// reduction with another name.
    fn name(&self) -> &str;
    /// The value over no numbers.
    fn identity(&self) -> I256;
    /// Folds a batch of numbers into a running partial.
    fn map(&self, so_far: I256, numbers: &[i64]) -> I256;
    /// Merges two partials.
    fn reduce(&self, a: I256, b: I256) -> I256;
}

impl fmt::Debug for dyn Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The four reductions of the assignment (tables 1 and 2), exact for every i64.
///
/// Parsed from exactly `min`, `max`, `sum` or `sos`, in lower or in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The least number; `i64::MAX` over none.
    Min,
    /// The greatest number; `i64::MIN` over none.
    Max,
    /// The sum; 0 over none.
    Sum,
    /// The sum of squares; 0 over none.
    Sos,
}

/// Not one of the four functions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a function; the functions are min, max, sum and sos")]
pub struct UnknownFunction(pub String);

impl Function {
    /// All four, in the assignment's order.
    pub const ALL: [Function; 4] = [Function::Min, Function::Max, Function::Sum, Function::Sos];

    const fn upper(self) -> &'static str {
        match self {
            Function::Min => "MIN",
            Function::Max => "MAX",
            Function::Sum => "SUM",
            Function::Sos => "SOS",
        }
    }

    /// [`Reduction::map`] by a given variant of the kernels; `map` takes the best.
    pub fn map_by(self, variant: Variant, so_far: I256, numbers: &[i64]) -> I256 {
        let partial = match self {
            Function::Min => I256::from(variant.run::<kernel::Min>(numbers)),
            Function::Max => I256::from(variant.run::<kernel::Max>(numbers)),
            Function::Sum => by_chunks(numbers, |chunk| variant.run::<kernel::Sum>(chunk).value()),
            Function::Sos => by_chunks(numbers, |chunk| variant.run::<kernel::Sos>(chunk).value()),
        };
        self.reduce(so_far, partial)
    }
}

/// Adds up over chunks that the kernels' accumulators can hold.
fn by_chunks(numbers: &[i64], chunk_value: impl Fn(&[i64]) -> I256) -> I256 {
    let mut chunks = numbers.chunks(kernel::CHUNK_NUMBERS);
    let first = chunks.next().map_or(I256::ZERO, &chunk_value);
    chunks.fold(first, |sum, chunk| sum + chunk_value(chunk))
}

impl Reduction for Function {
    fn name(&self) -> &str {
        self.upper()
    }

    fn identity(&self) -> I256 {
        match self {
            Function::Min => I256::from(i64::MAX),
            Function::Max => I256::from(i64::MIN),
            Function::Sum | Function::Sos => I256::ZERO,
        }
    }

    fn map(&self, so_far: I256, numbers: &[i64]) -> I256 {
        self.map_by(Variant::best(), so_far, numbers)
    }

    fn reduce(&self, a: I256, b: I256) -> I256 {
        match self {
            Function::Min => a.min(b),
            Function::Max => a.max(b),
            // Partials of true shards cannot overflow (above). A backend that lies must not bring
            // down AWS, hence no checked addition: the answer is as wrong as what it sent.
            Function::Sum | Function::Sos => a.wrapping_add(b),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.upper())
    }
}

impl FromStr for Function {
    type Err = UnknownFunction;

    fn from_str(text: &str) -> Result<Function, UnknownFunction> {
        Function::ALL
            .into_iter()
            .find(|f| text == f.upper() || text == f.upper().to_ascii_lowercase())
            .ok_or_else(|| UnknownFunction(text.to_owned()))
    }
}

/// The reductions that a process can do, by name. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Vec<Arc<dyn Reduction>>);

impl Registry {
    /// The four of the course.
    pub fn course() -> Registry {
        Registry(Function::ALL.into_iter().map(|f| Arc::new(f) as Arc<dyn Reduction>).collect())
    }

    /// Adds one's own, in place of one of the same name. Every process of an installation that takes
    /// part in it (AWS and all backends) has to know it.
    #[must_use]
    pub fn with(mut self, reduction: impl Reduction + 'static) -> Registry {
        self.0.retain(|known| known.name() != reduction.name());
        self.0.push(Arc::new(reduction));
        self
    }

    /// The reduction of this name, in upper case.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Reduction>> {
        self.0.iter().find(|known| known.name() == name).cloned()
    }

    /// All names, in the order of registration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|known| known.name())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The definition, one number at a time.
    fn naive(function: Function, so_far: I256, numbers: &[i64]) -> I256 {
        numbers.iter().map(|&n| I256::from(n)).fold(so_far, |acc, n| match function {
            Function::Min => acc.min(n),
            Function::Max => acc.max(n),
            Function::Sum => acc + n,
            Function::Sos => acc + n * n,
        })
    }

    /// Numbers where halves carry, signs flip and bounds are met, among ordinary ones.
    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![
            4 => any::<i64>(),
            2 => -1_000_000i64..1_000_000,
            2 => Just(i64::MIN),
            2 => Just(i64::MAX),
            2 => prop::sample::select(vec![
                0, -1, 1, i64::MIN + 1, i64::MAX - 1,
                (1 << 32) - 1, 1 << 32, -(1 << 32), -(1 << 32) - 1, i64::MAX << 32, i64::MAX >> 31,
            ]),
        ]
    }

    proptest! {
        #[test]
        fn every_variant_agrees_with_the_definition(numbers in vec(number(), 0..300), start in 0usize..8) {
            // `start` moves the batch off its alignment.
            let numbers = &numbers[start.min(numbers.len())..];
            for function in Function::ALL {
                let so_far = naive(function, function.identity(), &[5, -7]);
                let expected = naive(function, so_far, numbers);
                prop_assert_eq!(function.map(so_far, numbers), expected);
                for variant in Variant::all() {
                    let got = function.map_by(variant, so_far, numbers);
                    prop_assert_eq!(got, expected, "{} {}", function, variant);
                }
            }
        }

        #[test]
        fn any_split_in_any_order_gives_the_same_answer(
            numbers in vec(number(), 0..200), cuts in vec(0usize..200, 0..8), swap: bool,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(numbers.len())).collect();
            cuts.extend([0, numbers.len()]);
            cuts.sort_unstable();
            for function in Function::ALL {
                let whole = function.map(function.identity(), &numbers);
                let mut pieces: Vec<&[i64]> = cuts.windows(2).map(|w| &numbers[w[0]..w[1]]).collect();
                if swap {
                    pieces.reverse();
                }
                let folded = pieces.iter().fold(function.identity(), |acc, p| function.map(acc, p));
                prop_assert_eq!(folded, whole, "folded {}", function);
                let reduced = pieces
                    .iter()
                    .map(|p| function.map(function.identity(), p))
                    .fold(function.identity(), |a, b| function.reduce(b, a));
                prop_assert_eq!(reduced, whole, "reduced {}", function);
            }
        }
    }

    #[test]
    fn a_million_times_the_least_number_is_exact() {
        const COUNT: usize = 1 << 20;
        let numbers = vec![i64::MIN; COUNT];
        for variant in Variant::all() {
            let run = |f: Function| f.map_by(variant, f.identity(), &numbers);
            assert_eq!(run(Function::Sos), I256::ONE << 146, "{variant}");
            assert_eq!(run(Function::Sum), I256::from(-1i64) << 83, "{variant}");
            assert_eq!(run(Function::Min), I256::from(i64::MIN), "{variant}");
            assert_eq!(run(Function::Max), I256::from(i64::MIN), "{variant}");
        }
    }

    #[test]
    fn accumulators_hold_a_chunk_of_the_worst_numbers_and_the_next_chunk_begins_anew() {
        // For each accumulator the numbers that fill it fastest, and one number more than a chunk.
        for worst in [i64::MIN, i64::MAX, -1, (1 << 32) - 1, -(1 << 32) - 1] {
            let numbers = vec![worst; kernel::CHUNK_NUMBERS + 1];
            let count = I256::from(numbers.len() as u64);
            let n = I256::from(worst);
            for variant in Variant::all() {
                let run = |f: Function| f.map_by(variant, f.identity(), &numbers);
                assert_eq!(run(Function::Sum), n * count, "{worst} {variant}");
                assert_eq!(run(Function::Sos), n * n * count, "{worst} {variant}");
            }
        }
    }

    #[test]
    fn the_value_over_no_numbers_is_the_identity_and_changes_nothing() {
        let identity = |f: Function| f.map(f.identity(), &[]);
        assert_eq!(identity(Function::Min), I256::from(i64::MAX));
        assert_eq!(identity(Function::Max), I256::from(i64::MIN));
        assert_eq!(identity(Function::Sum), I256::ZERO);
        assert_eq!(identity(Function::Sos), I256::ZERO);
        for f in Function::ALL {
            for n in [i64::MIN, -3, 0, 4, i64::MAX] {
                let partial = f.map(f.identity(), &[n]);
                assert_eq!(f.reduce(partial, f.identity()), partial, "{f}");
                assert_eq!(f.map(partial, &[]), partial, "{f}");
            }
        }
    }

    #[test]
    fn functions_are_named_in_lower_or_upper_case_only() {
        for f in Function::ALL {
            assert_eq!(f.to_string().parse(), Ok(f));
            assert_eq!(f.to_string().to_lowercase().parse(), Ok(f));
            assert_eq!(f.to_string(), f.name());
        }
        for bad in ["", "Sum", "sUM", "sum ", "sums", "foo", "ſum", "su"] {
            assert_eq!(bad.parse::<Function>(), Err(UnknownFunction(bad.into())));
        }
        assert_eq!(
            UnknownFunction("foo".into()).to_string(),
            "\"foo\" is not a function; the functions are min, max, sum and sos"
        );
    }

    #[test]
    fn a_registry_knows_the_course_and_ones_own() {
        struct Count(&'static str);
        impl Reduction for Count {
            fn name(&self) -> &str {
                self.0
            }
            fn identity(&self) -> I256 {
                I256::ZERO
            }
            fn map(&self, so_far: I256, numbers: &[i64]) -> I256 {
                so_far + I256::from(numbers.len() as u64)
            }
            fn reduce(&self, a: I256, b: I256) -> I256 {
                a + b
            }
        }
        let course = Registry::course();
        assert_eq!(course.names().collect::<Vec<_>>(), ["MIN", "MAX", "SUM", "SOS"]);
        assert!(course.get("sum").is_none() && course.get("COUNT").is_none());
        let own = course.clone().with(Count("COUNT")).with(Count("SUM"));
        assert_eq!(own.names().collect::<Vec<_>>(), ["MIN", "MAX", "SOS", "COUNT", "SUM"]);
        let sum = |r: &Registry| r.get("SUM").map(|f| f.map(f.identity(), &[7, 8]));
        assert_eq!((sum(&course), sum(&own)), (Some(I256::from(15)), Some(I256::from(2))));
        assert_eq!(format!("{course:?}"), r#"["MIN", "MAX", "SUM", "SOS"]"#);
    }
}
