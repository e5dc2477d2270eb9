//! How much may be moved, and how much is: both in bytes a second.

use crate::limits::RATE_WINDOW;
use offload::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// What may be saved up while nothing is moved, and the most that is moved at once.
const BURST: Duration = Duration::from_millis(50);
/// The rate is kept in this many parts of [`RATE_WINDOW`].
const PARTS: u32 = 20;

/// A token bucket. What is taken is taken whole, so that it may be in debt: then there is nothing to take
/// until the debt is paid.
#[derive(Debug)]
pub struct Bucket {
    /// `None`: no limit.
    rate: Option<u64>,
    /// Bytes times 10^9.
    tokens: i128,
    at: Time,
}

impl Bucket {
    /// A bucket for so many bytes a second; `None` is no limit.
    pub fn new(rate: Option<u64>) -> Bucket {
        Bucket { rate: rate.map(|rate| rate.max(1)), tokens: 0, at: Time::ZERO }
    }

    /// May something be moved now? If not, when?
    pub fn ready(&mut self, now: Time) -> Result<(), Time> {
        let Some(rate) = self.rate.map(i128::from) else { return Ok(()) };
        let most = rate * BURST.as_nanos() as i128;
        self.tokens = most.min(self.tokens + rate * now.since(self.at).as_nanos() as i128);
        self.at = self.at.max(now);
        if self.tokens > 0 {
            return Ok(());
        }
        // The first moment at which there is more than nothing.
        let wait = (-self.tokens / rate + 1).unsigned_abs();
        Err(now + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// Bytes that may be moved at once, one at least; `most` where there is no limit.
    pub fn share(&self, most: usize) -> usize {
        match self.rate {
            Some(_) => usize::try_from(self.tokens / 1_000_000_000).unwrap_or(0).clamp(1, most),
            None => most,
        }
    }

    /// Bytes were moved.
    pub fn take(&mut self, bytes: u64) {
        self.tokens -= i128::from(bytes) * 1_000_000_000;
    }
}

/// An average over the last [`RATE_WINDOW`].
#[derive(Debug, Default)]
pub struct Meter {
    /// What was counted when, a few times in the window.
    counts: VecDeque<(Time, u64)>,
}

impl Meter {
    /// The count is now `total`.
    pub fn set(&mut self, now: Time, total: u64) {
        let part = |at: Time| at.0 / (RATE_WINDOW / PARTS).as_nanos() as u64;
        if self.counts.back().is_some_and(|(at, _)| part(*at) == part(now)) && self.counts.len() > 1 {
            self.counts.pop_back();
        }
        self.counts.push_back((now, total));
        while self.counts.front().is_some_and(|(at, _)| now.since(*at) > RATE_WINDOW) {
            self.counts.pop_front();
        }
    }

    /// Bytes a second.
    pub fn rate(&self) -> u64 {
        let (Some((from, before)), Some((to, after))) = (self.counts.front(), self.counts.back()) else {
            return 0;
        };
        let bytes = u128::from(after.saturating_sub(*before));
        let rate = (bytes * 1_000_000_000).checked_div(to.since(*from).as_nanos());
        rate.map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_bucket_lets_its_rate_through_and_no_more() {
        let mut bucket = Bucket::new(Some(1 << 20));
        let (mut now, mut moved) = (at(0), 0);
        while now < at(10_000) {
            match bucket.ready(now) {
                Ok(()) => {
                    bucket.take(16 << 10);
                    moved += 16 << 10;
                }
                Err(then) => {
                    assert!(then > now);
                    now = then;
                }
            }
        }
        assert!((10 << 20..(10 << 20) + (32 << 10)).contains(&moved), "{moved}");
    }

    #[test]
    fn a_bucket_saves_up_little() {
        let mut bucket = Bucket::new(Some(1_000_000));
        assert_eq!(bucket.ready(at(3_600_000)), Ok(()));
        assert_eq!(bucket.share(usize::MAX), 50_000);
        bucket.take(150_000);
        assert_eq!(bucket.ready(at(3_600_000)), Err(at(3_600_100) + Duration::from_nanos(1)));
        assert_eq!(bucket.ready(at(3_600_101)), Ok(()));
    }

    #[test]
    fn no_limit_is_no_limit() {
        let mut bucket = Bucket::new(None);
        bucket.take(u64::MAX);
        assert_eq!((bucket.ready(at(0)), bucket.share(7)), (Ok(()), 7));
    }

    #[test]
    fn a_meter_averages_and_forgets() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(), 0);
        for tick in 0..=100 {
            meter.set(at(tick * 100), tick * 1000);
        }
        assert_eq!(meter.rate(), 10_000);
        meter.set(at(12_450), 100_000);
        assert!((4_800..5_200).contains(&meter.rate()), "{}", meter.rate());
        meter.set(at(30_000), 100_000);
        assert_eq!(meter.rate(), 0);
    }
}
