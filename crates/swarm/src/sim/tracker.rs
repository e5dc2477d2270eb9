//! A tracker, as far as a swarm feels it: who is there, fifty at random, and times when nobody answers.

use crate::peer::AnnounceEvent;
use offload::rng::Rng;
use offload::time::Time;
use std::ops::Range;
use std::time::Duration;

/// Peers in an answer.
const ANSWER_PEERS: usize = 50;

/// The tracker.
pub struct Tracker {
    /// When to ask again.
    pub interval: Duration,
    /// When it does not answer.
    pub down: Vec<Range<Time>>,
    present: Vec<u32>,
    /// Where a node is in `present`.
    places: Vec<Option<u32>>,
    rng: Rng,
}

impl Tracker {
    /// One that knows nobody.
    pub fn new(interval: Duration, rng: Rng) -> Tracker {
        Tracker { interval, down: Vec::new(), present: Vec::new(), places: Vec::new(), rng }
    }

    /// Takes an announcement in and names others; `None` when it is down.
    pub fn announce(&mut self, now: Time, node: u32, event: AnnounceEvent) -> Option<Vec<u32>> {
        if self.down.iter().any(|down| down.contains(&now)) {
            return None;
        }
        let index = node as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        match (event, self.places[index]) {
            (AnnounceEvent::Stopped, Some(place)) => {
                self.places[index] = None;
                self.present.swap_remove(place as usize);
                if let Some(moved) = self.present.get(place as usize) {
                    self.places[*moved as usize] = Some(place);
                }
            }
            (AnnounceEvent::Stopped, None) | (_, Some(_)) => {}
            (_, None) => {
                self.places[index] = Some(self.present.len() as u32);
                self.present.push(node);
            }
        }
        if event == AnnounceEvent::Stopped { Some(Vec::new()) } else { Some(self.sample(node)) }
    }

    /// A run of the present peers from a random place on, after an exchange that mixes them.
    fn sample(&mut self, node: u32) -> Vec<u32> {
        let count = self.present.len();
        for i in 0..count.min(ANSWER_PEERS + 1) {
            let other = i + self.rng.below((count - i) as u64) as usize;
            self.present.swap(i, other);
            for place in [i, other] {
                self.places[self.present[place] as usize] = Some(place as u32);
            }
        }
        let others = self.present.iter().take(ANSWER_PEERS + 1).copied();
        others.filter(|other| *other != node).take(ANSWER_PEERS).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_fifty_others_and_forgets_who_has_left() {
        let mut tracker = Tracker::new(Duration::from_secs(60), Rng::from_seed(1));
        for node in 0..200 {
            let named = tracker.announce(Time::ZERO, node, AnnounceEvent::Started).unwrap();
            assert_eq!(named.len(), (node as usize).min(50));
            assert!(named.iter().all(|other| *other < node));
        }
        for node in 0..190 {
            tracker.announce(Time::ZERO, node, AnnounceEvent::Stopped);
        }
        let mut named = tracker.announce(Time::ZERO, 195, AnnounceEvent::Regular).unwrap();
        named.sort_unstable();
        assert_eq!(named, [190, 191, 192, 193, 194, 196, 197, 198, 199]);
        tracker.down.push(Time(5)..Time(9));
        assert_eq!(tracker.announce(Time(5), 195, AnnounceEvent::Regular), None);
        assert!(tracker.announce(Time(9), 195, AnnounceEvent::Regular).is_some());
    }
}
