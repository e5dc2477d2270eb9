//! When to tell the tracker of us, and the local network.

use crate::peer::AnnounceEvent;
use offload::rng::Rng;
use offload::time::Time;
use std::time::Duration;

/// An interval that a tracker asks for is held within these.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(3600);
/// After a failure, doubling.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(120);
/// A leecher that has nobody left to try asks out of turn, this seldom.
const LONELY: Duration = Duration::from_secs(15);
/// BEP 14: "at most once per minute", and every five minutes without a reason.
const DISCOVER_SOONEST: Duration = Duration::from_secs(60);
const DISCOVER_REGULAR: Duration = Duration::from_secs(300);

/// The schedule of announces.
#[derive(Debug)]
pub struct Announcer {
    /// The tracker is to be told that we are here,
    owes_started: bool,
    /// and that we have all.
    owes_completed: bool,
    /// What it is being told.
    telling: Option<AnnounceEvent>,
    next: Time,
    last: Option<Time>,
    failures: u32,
    discovered: Option<Time>,
}

impl Announcer {
    pub fn new() -> Announcer {
        Announcer {
            owes_started: true,
            owes_completed: false,
            telling: None,
            next: Time::ZERO,
            last: None,
            failures: 0,
            discovered: None,
        }
    }

    /// What to announce now, if anything. `lonely`: nobody is left to try.
    pub fn due(&mut self, now: Time, lonely: bool) -> Option<AnnounceEvent> {
        let rested = self.last.is_none_or(|last| now.since(last) >= LONELY);
        let out_of_turn = lonely && rested && self.failures == 0;
        if self.telling.is_some() || (now < self.next && !out_of_turn) {
            return None;
        }
        self.last = Some(now);
        self.telling = Some(match (self.owes_started, self.owes_completed) {
            (true, _) => AnnounceEvent::Started,
            (_, true) => AnnounceEvent::Completed,
            _ => AnnounceEvent::Regular,
        });
        self.telling
    }

    /// The content is complete: the tracker is told as soon as it knows of us.
    pub fn completed(&mut self, now: Time) {
        self.owes_completed = true;
        if !self.owes_started {
            self.next = now;
        }
    }

    /// A tracker has answered and named an interval, or none has answered.
    pub fn answered(&mut self, now: Time, interval: Option<Duration>, rng: &mut Rng) {
        let Some(told) = self.telling.take() else { return };
        let Some(interval) = interval else {
            self.failures += 1;
            let wait = FIRST_RETRY * (1 << (self.failures - 1).min(10));
            self.next = now + spread(wait.min(LAST_RETRY), rng);
            return;
        };
        self.failures = 0;
        self.owes_started &= told != AnnounceEvent::Started;
        self.owes_completed &= told != AnnounceEvent::Completed;
        let wait = if self.owes_completed { Duration::ZERO } else { interval.clamp(SHORTEST, LONGEST) };
        self.next = now + spread(wait, rng);
    }

    /// Has the tracker ever been told of us?
    pub fn is_known(&self) -> bool {
        !self.owes_started
    }

    /// Is it time for a multicast?
    pub fn discover(&mut self, now: Time, lonely: bool) -> bool {
        let wait = if lonely { DISCOVER_SOONEST } else { DISCOVER_REGULAR };
        let due = self.discovered.is_none_or(|last| now.since(last) >= wait);
        if due {
            self.discovered = Some(now);
        }
        due
    }

    /// When [`Announcer::due`] is worth asking again.
    pub fn next_at(&self) -> Option<Time> {
        self.telling.is_none().then_some(self.next)
    }
}

/// Hosts that were started by one command do not all announce at one moment.
fn spread(wait: Duration, rng: &mut Rng) -> Duration {
    wait.mul_f64(0.9 + rng.below(1024) as f64 / 5120.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use AnnounceEvent::*;

    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_tracker_hears_of_the_start_the_end_and_between() {
        let (mut announcer, mut rng) = (Announcer::new(), Rng::from_seed(1));
        assert_eq!(announcer.due(at(0), false), Some(Started));
        assert_eq!(announcer.due(at(9), false), None, "the answer is awaited");
        announcer.completed(at(10));
        announcer.answered(at(10), MINUTE, &mut rng);
        assert_eq!(announcer.due(at(10), false), Some(Completed));
        announcer.answered(at(10), MINUTE, &mut rng);
        assert_eq!(announcer.due(at(60), false), None);
        assert_eq!(announcer.due(at(80), false), Some(Regular));
    }

    #[test]
    fn an_event_that_was_not_heard_is_told_again_later_and_later() {
        let (mut announcer, mut rng) = (Announcer::new(), Rng::from_seed(1));
        let mut waits = Vec::new();
        for _ in 0..10 {
            let now = announcer.next_at().unwrap();
            assert_eq!(announcer.due(now, true), Some(Started));
            assert_eq!(announcer.next_at(), None);
            announcer.answered(now, None, &mut rng);
            waits.push(announcer.next_at().unwrap() - now);
        }
        assert!(waits[0] < Duration::from_secs(3) && waits[9] > Duration::from_secs(60));
        assert!(waits.iter().all(|wait| *wait <= LAST_RETRY.mul_f64(1.2)));
    }

    #[test]
    fn who_is_alone_asks_out_of_turn_but_seldom() {
        let (mut announcer, mut rng) = (Announcer::new(), Rng::from_seed(1));
        announcer.due(at(0), false);
        announcer.answered(at(0), Some(LONGEST), &mut rng);
        assert_eq!(announcer.due(at(14), true), None);
        assert_eq!(announcer.due(at(16), false), None);
        assert_eq!(announcer.due(at(16), true), Some(Regular));
    }
}
