//! Links that take time: each member has one, as fast both ways, and what is sent at once shares it.
//!
//! The lesson: a flow gets the lesser of its sender's share and its receiver's. So n diffs that go to one holder
//! take n times as long as one, and a message is not stuck behind a diff, as it would be in one queue.
//!
//! Left out: what a flow leaves unused because its other end is slower; headers; loss.

use crate::id::Member;
use offload::time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// From and to.
pub(super) type Pair = (Member, Member);

/// What is being sent.
pub(super) struct Links {
    bytes_per_s: f64,
    now: Time,
    /// Bytes left of each item, and how many items: those that are empty are not here.
    flows: BTreeMap<Pair, VecDeque<f64>>,
    /// How many flows leave a member, and come to it.
    leave: BTreeMap<Member, u32>,
    come: BTreeMap<Member, u32>,
}

/// Less than that is nothing: rounding.
const NOTHING_BYTES: f64 = 1e-3;

impl Links {
    pub fn new(bytes_per_s: f64) -> Links {
        Links {
            bytes_per_s,
            now: Time::ZERO,
            flows: BTreeMap::new(),
            leave: BTreeMap::new(),
            come: BTreeMap::new(),
        }
    }

    /// Something is to be sent, after what is being sent to the same one.
    pub fn push(&mut self, pair: Pair, bytes: u64) {
        let flow = self.flows.entry(pair).or_default();
        if flow.is_empty() {
            *self.leave.entry(pair.0).or_default() += 1;
            *self.come.entry(pair.1).or_default() += 1;
        }
        flow.push_back(bytes as f64);
    }

    /// When the next is sent, and which.
    pub fn next(&self) -> Option<(Time, Pair)> {
        let when = |(pair, flow): (&Pair, &VecDeque<f64>)| {
            let left = flow.front().copied().unwrap_or_default();
            let wait = if left <= NOTHING_BYTES { 0.0 } else { left / self.rate(*pair) };
            // Rounded up: then nothing of it is left.
            (self.now + Duration::from_nanos((wait * 1e9).ceil() as u64), *pair)
        };
        self.flows.iter().map(when).min()
    }

    /// Time passes.
    pub fn advance(&mut self, now: Time) {
        let passed = now.since(self.now).as_secs_f64();
        self.now = now;
        if passed == 0.0 {
            return;
        }
        let rates: Vec<f64> = self.flows.keys().map(|pair| self.rate(*pair)).collect();
        for (flow, rate) in self.flows.values_mut().zip(rates) {
            if let Some(left) = flow.front_mut() {
                *left = (*left - rate * passed).max(0.0);
            }
        }
    }

    /// The first of a flow is sent.
    pub fn pop(&mut self, pair: Pair) {
        let Some(flow) = self.flows.get_mut(&pair) else { return };
        flow.pop_front();
        if flow.is_empty() {
            self.cut(pair);
        }
    }

    /// Nothing more is sent to one by the other.
    pub fn cut(&mut self, pair: Pair) {
        if self.flows.remove(&pair).is_some() {
            let ends = [self.leave.get_mut(&pair.0), self.come.get_mut(&pair.1)];
            ends.into_iter().flatten().for_each(|count| *count -= 1);
        }
    }

    fn rate(&self, (from, to): Pair) -> f64 {
        let count = |counts: &BTreeMap<Member, u32>, member| counts.get(&member).copied().unwrap_or(1);
        let most = count(&self.leave, from).max(count(&self.come, to)).max(1);
        self.bytes_per_s / f64::from(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Holder, Worker};

    fn sent(links: &mut Links) -> Vec<(u64, Pair)> {
        let mut sent = Vec::new();
        while let Some((at, pair)) = links.next() {
            links.advance(at);
            links.pop(pair);
            sent.push((at.0, pair));
        }
        sent
    }

    #[test]
    fn what_goes_to_one_shares_its_link_and_what_goes_elsewhere_does_not() {
        let (a, b, c) =
            (Member::Worker(Worker(0)), Member::Worker(Worker(1)), Member::Worker(Worker(2)));
        let holder = Member::Holder(Holder(0));
        let mut links = Links::new(1e9);
        links.push((a, holder), 500);
        links.push((b, holder), 1000);
        links.push((c, a), 100);
        // Half the rate for the first two until one is sent; a message the other way is not in their way.
        assert_eq!(sent(&mut links), [(100, (c, a)), (1000, (a, holder)), (1500, (b, holder))]);
    }

    #[test]
    fn one_flow_keeps_its_order_and_can_be_cut() {
        let (a, b) = (Member::Worker(Worker(0)), Member::Worker(Worker(1)));
        let mut links = Links::new(1e9);
        [10, 0, 20].into_iter().for_each(|bytes| links.push((a, b), bytes));
        links.push((b, a), 1_000_000);
        assert_eq!(links.next(), Some((Time(10), (a, b))));
        links.advance(Time(4));
        links.cut((b, a));
        assert_eq!(sent(&mut links), [(10, (a, b)), (10, (a, b)), (30, (a, b))]);
    }
}
