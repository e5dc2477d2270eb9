//! What a shard's numbers have come to so far.
//!
//! Datagrams are folded as they come, in any order. Where a checkpoint is to know how far the shard is, "the
//! first n of its numbers" has to mean something: then what comes too early is folded apart, and joined once all
//! before it is there. The receiver's window bounds how many wait.
//!
//! What is left out: which datagrams are new (`rudp::receiver`).

use crate::reduction::Reduction;
use ethnum::I256;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A partial result in the making.
pub(super) struct Fold {
    pub reduction: Arc<dyn Reduction>,
    /// How many numbers `partial` is of: the first ones, where order is kept.
    numbers: u64,
    partial: I256,
    /// Where order is kept: the datagram that comes next.
    next: Option<u64>,
    /// Those that came before their turn: how many numbers, and what they come to.
    early: BTreeMap<u64, (u64, I256)>,
    early_numbers: u64,
}

impl Fold {
    /// Begins behind the first `numbers`, which have come to `partial`.
    pub fn new(reduction: Arc<dyn Reduction>, numbers: u64, partial: I256, in_order: bool) -> Fold {
        let next = in_order.then_some(0);
        Fold { reduction, numbers, partial, next, early: BTreeMap::new(), early_numbers: 0 }
    }

    /// Folds the numbers of datagram `seq`, which is new.
    pub fn add(&mut self, seq: u64, numbers: &[i64]) {
        let count = numbers.len() as u64;
        if self.next.is_some_and(|next| seq != next) {
            let partial = self.reduction.map(self.reduction.identity(), numbers);
            self.early.insert(seq, (count, partial));
            self.early_numbers += count;
            return;
        }
        self.partial = self.reduction.map(self.partial, numbers);
        self.numbers += count;
        if let Some(next) = &mut self.next {
            *next += 1;
            while let Some((count, partial)) = self.early.remove(next) {
                self.partial = self.reduction.reduce(self.partial, partial);
                self.numbers += count;
                self.early_numbers -= count;
                *next += 1;
            }
        }
    }

    /// All numbers are folded elsewhere.
    pub fn complete(&mut self, numbers: u64, partial: I256) {
        (self.numbers, self.partial) = (numbers, partial);
    }

    /// How many numbers have come.
    pub fn received(&self) -> u64 {
        self.numbers + self.early_numbers
    }

    /// What all that have come come to.
    pub fn value(&self) -> I256 {
        self.early.values().fold(self.partial, |all, (_, early)| self.reduction.reduce(all, *early))
    }

    /// How many numbers there are without a gap, and what they come to; where order is kept.
    pub fn prefix(&self) -> Option<(u64, I256)> {
        self.next.map(|_| (self.numbers, self.partial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reduction::Function;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_prefix_is_of_the_first_numbers_and_the_value_of_all(
            sizes in proptest::collection::vec(1usize..5, 1..40), from in 0usize..9, seed: u64,
        ) {
            let count = from + sizes.iter().sum::<usize>();
            let numbers: Vec<i64> = (0..count as i64).map(|n| n * n - 50).collect();
            let mut at = from;
            let mut datagrams: Vec<_> = (0u64..)
                .zip(&sizes)
                .map(|(seq, size)| { at += size; (seq, &numbers[at - size..at]) })
                .collect();
            let mut rng = crate::rng::Rng::from_seed(seed);
            datagrams.sort_by_cached_key(|_| rng.u64());
            let of = |numbers: &[i64]| Function::Sos.map(Function::Sos.identity(), numbers);
            for in_order in [false, true] {
                let mut fold = Fold::new(Arc::new(Function::Sos), from as u64, of(&numbers[..from]), in_order);
                for (seq, numbers_of) in &datagrams {
                    fold.add(*seq, numbers_of);
                    if let Some((prefix, partial)) = fold.prefix() {
                        prop_assert_eq!(partial, of(&numbers[..prefix as usize]));
                    }
                }
                prop_assert_eq!(fold.prefix(), in_order.then(|| (count as u64, of(&numbers))));
                prop_assert_eq!((fold.received(), fold.value()), (count as u64, of(&numbers)));
            }
        }
    }
}
