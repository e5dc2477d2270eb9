//! What will happen, in order of time and then of insertion.
//!
//! A run of ten thousand peers has some hundred million happenings, and most of them lie within the next
//! milliseconds. So the near future is a wheel of slots, each an unordered heap of things; only the slot
//! whose time has come is put in order. What lies beyond the wheel waits in a binary heap.

use offload::time::Time;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A slot is 2^17 ns (131 us) wide.
const SLOT_SHIFT: u32 = 17;
/// The wheel reaches half a second ahead.
const SLOTS: u64 = 4096;

struct Entry<T> {
    at: u64,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Entry<T>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<T> Eq for Entry<T> {}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Entry<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Entry<T>) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The queue.
pub struct Queue<T> {
    /// What lies in the current slot or before it.
    near: BinaryHeap<Reverse<Entry<T>>>,
    current: u64,
    slots: Vec<Vec<Entry<T>>>,
    /// A bit for each slot that has something.
    marks: Vec<u64>,
    far: BinaryHeap<Reverse<Entry<T>>>,
    inserted: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue {
            near: BinaryHeap::new(),
            current: 0,
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            marks: vec![0; SLOTS as usize / 64],
            far: BinaryHeap::new(),
            inserted: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Something will happen at a moment; moments that have passed count as now.
    pub fn push(&mut self, at: Time, what: T) {
        let entry = Entry { at: at.0, number: self.inserted, what };
        self.inserted += 1;
        let slot = at.0 >> SLOT_SHIFT;
        if slot <= self.current {
            self.near.push(Reverse(entry));
        } else if slot < self.current + SLOTS {
            let index = (slot % SLOTS) as usize;
            self.slots[index].push(entry);
            self.marks[index / 64] |= 1 << (index % 64);
        } else {
            self.far.push(Reverse(entry));
        }
    }

    /// The next thing that happens at `until` or before.
    pub fn pop(&mut self, until: Time) -> Option<(Time, T)> {
        if self.near.is_empty() && !self.advance() {
            return None;
        }
        let Reverse(first) = self.near.peek()?;
        if first.at > until.0 {
            return None;
        }
        self.near.pop().map(|Reverse(entry)| (Time(entry.at), entry.what))
    }

    /// Goes to the next slot that has something.
    fn advance(&mut self) -> bool {
        let far = self.far.peek().map(|Reverse(entry)| entry.at >> SLOT_SHIFT);
        let next = match (self.next_marked(), far) {
            (Some(near), Some(far)) => near.min(far),
            (Some(slot), None) | (None, Some(slot)) => slot,
            (None, None) => return false,
        };
        self.current = next;
        let index = (next % SLOTS) as usize;
        // No slot holds two rounds of the wheel: whatever is here is of this one.
        if self.marks[index / 64] >> (index % 64) & 1 == 1 {
            self.marks[index / 64] &= !(1 << (index % 64));
            self.near.extend(self.slots[index].drain(..).map(Reverse));
        }
        while self.far.peek().is_some_and(|Reverse(entry)| entry.at >> SLOT_SHIFT <= next) {
            self.near.extend(self.far.pop());
        }
        true
    }

    fn next_marked(&self) -> Option<u64> {
        let words = self.marks.len();
        let first = ((self.current + 1) % SLOTS) as usize;
        // The first word is looked at twice: its high bits now, its low bits after a round.
        (0..=words).find_map(|step| {
            let at = (first / 64 + step) % words;
            let mask = match step {
                0 => u64::MAX << (first % 64),
                _ if step == words => !(u64::MAX << (first % 64)),
                _ => u64::MAX,
            };
            let word = self.marks[at] & mask;
            let index = at as u64 * 64 + u64::from(word.trailing_zeros());
            (word != 0).then(|| self.current + 1 + (index + SLOTS - first as u64) % SLOTS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use offload::rng::Rng;

    #[test]
    fn things_happen_in_order_of_time_and_then_of_insertion() {
        let (mut queue, mut rng, mut model) = (Queue::default(), Rng::from_seed(1), Vec::new());
        let (mut now, mut seen) = (0, 0);
        for i in 0..20_000u64 {
            let ahead = 1 << rng.below(36);
            let at = now + rng.below(ahead);
            queue.push(Time(at), i);
            model.push((at, i));
            if rng.chance(0.6) {
                let (at, what) = queue.pop(Time(u64::MAX)).unwrap();
                model.sort_unstable();
                assert_eq!(model.remove(0), (at.0, what));
                assert!(at.0 >= now);
                (now, seen) = (at.0, seen + 1);
            }
        }
        model.sort_unstable();
        for (at, what) in model {
            assert_eq!(queue.pop(Time(u64::MAX)), Some((Time(at), what)));
        }
        assert!(queue.pop(Time(u64::MAX)).is_none() && seen > 10_000);
    }

    #[test]
    fn nothing_happens_before_its_time() {
        let mut queue = Queue::default();
        queue.push(Time(5_000_000_000), 'b');
        assert!(queue.pop(Time(4_999_999_999)).is_none());
        queue.push(Time(7), 'a');
        assert_eq!(queue.pop(Time(6)), None);
        assert_eq!(queue.pop(Time(u64::MAX)), Some((Time(7), 'a')));
        assert_eq!(queue.pop(Time(u64::MAX)), Some((Time(5_000_000_000), 'b')));
    }
}
