//! A link: what happens to a datagram between two addresses.
//!
//! Each direction has its own weather, drawn from the seed: loss, delay and jitter (so datagrams
//! overtake each other), duplicates, flipped bits, and a rate with a short queue in front of it, which
//! is where congestion loses datagrams. What is left out: fragmentation (a datagram is lost whole) and
//! ICMP (a dead port says nothing, as across most firewalls).

use crate::rng::Rng;
use crate::time::Time;
use std::time::Duration;

/// The properties of one direction of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Weather {
    /// Probability that a datagram vanishes.
    pub loss: f64,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Probability that one to four of a datagram's bits are flipped.
    pub corrupt: f64,
    /// Least time on the way.
    pub delay: Duration,
    /// Most time added to it, evenly distributed: what reorders.
    pub jitter: Duration,
    /// Bytes a second that get through; 0 for no limit.
    pub bytes_per_s: u64,
    /// Bytes that may wait for their turn under that limit; what comes on top is lost.
    pub queue_bytes: u64,
}

impl Weather {
    /// Nothing is lost, and everything takes 50 microseconds.
    pub fn fair() -> Weather {
        Weather {
            loss: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            delay: Duration::from_micros(50),
            jitter: Duration::ZERO,
            bytes_per_s: 0,
            queue_bytes: 0,
        }
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It will arrive as it is, once.
    Arrives,
    /// It will arrive twice.
    Doubled,
    /// It will arrive with flipped bits.
    Corrupted,
    /// It was lost by chance.
    Lost,
    /// It was lost for want of room in the queue.
    Congested,
    /// It was lost in a partition.
    Cut,
    /// Nobody is at that address.
    Nobody,
}

impl Fate {
    /// Whether the receiver will not see what was sent.
    pub fn is_loss(self) -> bool {
        !matches!(self, Fate::Arrives | Fate::Doubled)
    }
}

/// One direction between two nodes.
#[derive(Debug)]
pub struct Link {
    weather: Weather,
    busy_until: Time,
}

/// What arrives, and when.
pub type Arrival = (Time, Vec<u8>);

impl Link {
    /// A link with nothing on it.
    pub fn new(weather: Weather) -> Link {
        Link { weather, busy_until: Time::ZERO }
    }

    /// Sends a datagram at `now`: its fate and its arrivals (none, one or two).
    pub fn send(&mut self, now: Time, bytes: &[u8], rng: &mut Rng) -> (Fate, Vec<Arrival>) {
        let w = &self.weather;
        let mut leaves = now;
        if w.bytes_per_s > 0 {
            let start = now.max(self.busy_until);
            let waiting = start.since(now).as_nanos() * u128::from(w.bytes_per_s) / 1_000_000_000;
            if waiting + bytes.len() as u128 > u128::from(w.queue_bytes) {
                return (Fate::Congested, Vec::new());
            }
            leaves = start + Duration::from_nanos(bytes.len() as u64 * 1_000_000_000 / w.bytes_per_s);
            self.busy_until = leaves;
        }
        if rng.chance(w.loss) {
            return (Fate::Lost, Vec::new());
        }
        let mut arrivals = vec![(arrival(leaves, w, rng), bytes.to_vec())];
        if rng.chance(w.corrupt) && !bytes.is_empty() {
            flip_bits(&mut arrivals[0].1, rng);
            return (Fate::Corrupted, arrivals);
        }
        if rng.chance(w.duplicate) {
            arrivals.push((arrival(leaves, w, rng), bytes.to_vec()));
            return (Fate::Doubled, arrivals);
        }
        (Fate::Arrives, arrivals)
    }
}

fn arrival(leaves: Time, w: &Weather, rng: &mut Rng) -> Time {
    leaves + w.delay + Duration::from_nanos(rng.below(w.jitter.as_nanos() as u64 + 1))
}

/// Flips one to four bits.
fn flip_bits(bytes: &mut [u8], rng: &mut Rng) {
    for _ in 0..1 + rng.below(4) {
        let bit = rng.below(bytes.len() as u64 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(weather: Weather, n: usize, gap: Duration) -> Vec<(Fate, Vec<Arrival>)> {
        let (mut link, mut rng, mut now) = (Link::new(weather), Rng::from_seed(1), Time::ZERO);
        (0..n)
            .map(|i| {
                now += gap;
                link.send(now, &[i as u8; 100], &mut rng)
            })
            .collect()
    }

    #[test]
    fn each_fault_comes_about_as_often_as_asked() {
        let w = Weather { loss: 0.2, duplicate: 0.1, corrupt: 0.1, ..Weather::fair() };
        let all = fates(w, 10_000, Duration::from_millis(1));
        let count = |f| all.iter().filter(|(g, _)| *g == f).count();
        assert!((1900..2100).contains(&count(Fate::Lost)));
        assert!((700..900).contains(&count(Fate::Corrupted)));
        assert!((600..840).contains(&count(Fate::Doubled)));
        assert!(all.iter().all(|(f, a)| a.len()
            == match f {
                Fate::Doubled => 2,
                Fate::Lost => 0,
                _ => 1,
            }));
        let corrupted = all.iter().filter(|(f, _)| *f == Fate::Corrupted);
        assert!(corrupted.flat_map(|(_, a)| a).any(|(_, b)| b.iter().any(|x| *x != b[0])));
    }

    #[test]
    fn jitter_reorders() {
        let w = Weather { jitter: Duration::from_millis(5), ..Weather::fair() };
        let all = fates(w, 100, Duration::from_millis(1));
        assert!(all.windows(2).any(|p| p[0].1[0].0 > p[1].1[0].0));
    }

    #[test]
    fn a_rate_spaces_datagrams_and_a_full_queue_drops_them() {
        let w = Weather { bytes_per_s: 10_000, queue_bytes: 500, ..Weather::fair() };
        let all = fates(w.clone(), 20, Duration::from_nanos(1));
        // 100 bytes at 10 kB/s take 10 ms each; five fit in the queue.
        assert_eq!(all.iter().filter(|(f, _)| *f == Fate::Arrives).count(), 5);
        let at: Vec<Time> = all.iter().flat_map(|(_, a)| a.iter().map(|(t, _)| *t)).collect();
        assert!(at.windows(2).all(|p| p[1] - p[0] == Duration::from_millis(10)));
        assert!(fates(w, 20, Duration::from_millis(10)).iter().all(|(f, _)| *f == Fate::Arrives));
    }
}
