//! How long a round trip takes, and how long to wait for one (RFC 6298).
//!
//! The bounds on the timeout are ours (`limits::MIN_RTO`, `limits::MAX_RTO`), for the reasons given
//! there. What is left out: Karn's rule; transmission numbers make every sample unambiguous.

use crate::limits::{INITIAL_RTO, MAX_RTO, MIN_RTO};
use crate::time::Time;
use std::time::Duration;

/// Round-trip estimator with exponential back-off.
#[derive(Clone, Debug, Default)]
pub struct Rtt {
    smoothed: Option<Duration>,
    variance: Duration,
    latest: Duration,
    backoff: u32,
}

impl Rtt {
    /// Takes in a measured round trip (RFC 6298, rules 2.2 and 2.3).
    pub fn sample(&mut self, rtt: Duration) {
        self.latest = rtt;
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variance = rtt / 2;
            }
            Some(srtt) => {
                self.variance = (self.variance * 3 + srtt.abs_diff(rtt)) / 4;
                self.smoothed = Some((srtt * 7 + rtt) / 8);
            }
        }
    }

    /// SRTT, where anything was measured.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// RTO = SRTT + 4 RTTVAR, doubled for each expiry since the last progress (rule 5.5), in bounds.
    pub fn rto(&self) -> Duration {
        let base = match self.smoothed {
            None => INITIAL_RTO,
            Some(srtt) => (srtt + self.variance * 4).max(MIN_RTO),
        };
        // The cap ends the doubling; it must not end the wait before the answer can be there.
        base.saturating_mul(1 << self.backoff.min(16)).min(MAX_RTO.max(base))
    }

    /// The timer has expired: wait twice as long next time.
    pub fn back_off(&mut self) {
        self.backoff += 1;
    }

    /// Something got through.
    pub fn progress(&mut self) {
        self.backoff = 0;
    }

    /// Expiries since the last progress.
    pub fn expiries(&self) -> u32 {
        self.backoff
    }

    /// How much later than one sent after it a datagram may arrive before it counts as lost:
    /// 9/8 of a round trip, at least 1 ms (RFC 9002, section 6.1.2).
    pub fn reordering_allowance(&self) -> Duration {
        let rtt = self.smoothed.unwrap_or(INITIAL_RTO).max(self.latest);
        (rtt * 9 / 8).max(Duration::from_millis(1))
    }
}

/// When to say something again that nobody has answered: the RTO, backing off.
#[derive(Clone, Debug)]
pub struct Retry {
    rtt: Rtt,
    at: Time,
}

impl Retry {
    /// Said at `now`, on a path whose round trip is `rtt`.
    pub fn new(now: Time, mut rtt: Rtt) -> Retry {
        rtt.progress();
        let at = now + rtt.rto();
        Retry { rtt, at }
    }

    /// When to say it again.
    pub fn at(&self) -> Time {
        self.at
    }

    /// True when it is time to say it again; the next time is then set.
    pub fn is_due(&mut self, now: Time) -> bool {
        if now < self.at {
            return false;
        }
        self.rtt.back_off();
        self.at = now + self.rtt.rto();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn follows_the_formulas_of_rfc_6298() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto(), INITIAL_RTO);
        rtt.sample(40 * MS); // SRTT 40, RTTVAR 20
        assert_eq!(rtt.rto(), 120 * MS);
        rtt.sample(80 * MS); // RTTVAR 3/4 * 20 + 1/4 * 40 = 25, SRTT 7/8 * 40 + 1/8 * 80 = 45
        assert_eq!(rtt.smoothed(), Some(45 * MS));
        assert_eq!(rtt.rto(), 145 * MS);
    }

    #[test]
    fn backs_off_twofold_up_to_the_bound_and_forgets_on_progress() {
        let mut rtt = Rtt::default();
        rtt.sample(20 * MS);
        assert_eq!(rtt.rto(), 60 * MS);
        rtt.back_off();
        assert_eq!(rtt.rto(), 120 * MS);
        (0..40).for_each(|_| rtt.back_off());
        assert_eq!(rtt.rto(), MAX_RTO);
        rtt.progress();
        assert_eq!(rtt.rto(), 60 * MS);
    }

    #[test]
    fn a_slow_path_is_waited_for() {
        let mut rtt = Rtt::default();
        (0..50).for_each(|_| rtt.sample(600 * MS));
        assert!(rtt.rto() >= 600 * MS, "{:?}", rtt.rto());
        rtt.back_off();
        assert!(rtt.rto() >= 600 * MS);
    }

    #[test]
    fn the_floor_holds_on_a_fast_path() {
        let mut rtt = Rtt::default();
        (0..50).for_each(|_| rtt.sample(Duration::from_micros(30)));
        assert_eq!(rtt.rto(), MIN_RTO);
        assert_eq!(rtt.reordering_allowance(), MS);
    }

    #[test]
    fn a_retry_is_due_at_growing_intervals() {
        let mut retry = Retry::new(Time::ZERO, Rtt::default());
        let mut at = Vec::new();
        for ms in 0..1000 {
            if retry.is_due(Time(ms * 1_000_000)) {
                at.push(ms);
            }
        }
        assert_eq!(at, [100, 300, 550, 800]);
    }
}
