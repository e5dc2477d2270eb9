//! Deaths by chance: who dies when, from a seed.
//!
//! The times between the deaths of one member are exponential, as of something that does not age. They are those
//! of its place in the run, whoever takes it: the list depends on nothing but the seed, so a run can be had again.

use crate::id::Member;
use offload::rng::Rng;
use std::time::Duration;

/// Who dies when, in order, without an end.
#[derive(Debug)]
pub struct Chance {
    rng: Rng,
    mean: Duration,
    next: Vec<(Duration, Member)>,
}

impl Chance {
    /// Each of these dies every `mean` on average.
    pub fn new(members: impl IntoIterator<Item = Member>, mean: Duration, rng: Rng) -> Chance {
        let mut chance = Chance { rng, mean, next: Vec::new() };
        for member in members {
            let gap = chance.gap();
            chance.next.push((gap, member));
        }
        chance
    }

    /// The next death.
    pub fn peek(&self) -> Option<(Duration, Member)> {
        self.next.iter().min().copied()
    }

    fn gap(&mut self) -> Duration {
        // In (0, 1], so that the logarithm is finite.
        let share = ((self.rng.u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        self.mean.mul_f64(-share.ln())
    }
}

impl Iterator for Chance {
    type Item = (Duration, Member);

    fn next(&mut self) -> Option<(Duration, Member)> {
        let index = (0..self.next.len()).min_by_key(|index| self.next[*index])?;
        let (at, member) = self.next[index];
        self.next[index].0 = at.saturating_add(self.gap());
        Some((at, member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Worker;

    #[test]
    fn deaths_are_as_frequent_as_was_asked_for_and_in_order() {
        let members = (0..4).map(|worker| Member::Worker(Worker(worker)));
        let some = |seed| {
            let chance = Chance::new(members.clone(), Duration::from_secs(60), Rng::from_seed(seed));
            chance.take(4000).collect::<Vec<_>>()
        };
        let deaths = some(7);
        assert!(deaths.is_sorted() && deaths == some(7) && deaths != some(8));
        // 4,000 deaths of four who die every minute: within four standard deviations.
        let took = deaths[3999].0.as_secs_f64() / (4000.0 * 15.0);
        assert!((took - 1.0).abs() < 4.0 / 4000f64.sqrt(), "{took}");
        let first = deaths.iter().filter(|(_, member)| *member == Member::Worker(Worker(0))).count();
        assert!((880..1120).contains(&first), "{first}");
    }

    #[test]
    fn nobody_dies_where_nobody_is() {
        let mut chance = Chance::new([], Duration::from_secs(1), Rng::from_seed(1));
        assert_eq!((chance.peek(), chance.next()), (None, None));
    }
}
