//! How much may be in flight before the network says stop.
//!
//! Off loopback: NewReno as RFC 9002 (section 7 and appendix B) states it, since RFC 8085 asks UDP for
//! congestion control. On loopback there is no router to overrun, only the receiver's socket buffer,
//! and the receiver's credit bounds that: a loss there is no sign of congestion, so it does not slow
//! the sender down.
//!
//! What is left out: pacing and ECN; growth is not withheld while the window is not full (7.8); a timeout
//! alone is no loss event, and what it sends again is not counted later either, so that only what an
//! acknowledgement shows as lost shrinks the window; persistent congestion is two timeouts in a row, not
//! the duration of 7.6.

use crate::time::Time;

/// What lies between sender and receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// This host's own memory.
    Loopback,
    /// Anything else.
    Network,
}

/// The congestion window.
#[derive(Clone, Debug)]
pub struct Congestion {
    path: Path,
    datagram: u64,
    window: u64,
    slow_start_threshold: u64,
    recovery_since: Option<Time>,
    avoidance_bytes: u64,
}

impl Congestion {
    /// A new path with datagrams of `datagram` bytes.
    pub fn new(path: Path, datagram: usize) -> Congestion {
        let datagram = datagram as u64;
        // RFC 9002, section 7.2.
        let window = (10 * datagram).min(14_720.max(2 * datagram));
        let (slow_start_threshold, recovery_since) = (u64::MAX, None);
        Congestion { path, datagram, window, slow_start_threshold, recovery_since, avoidance_bytes: 0 }
    }

    /// Bytes that may be in flight.
    pub fn window(&self) -> u64 {
        match self.path {
            Path::Loopback => u64::MAX,
            Path::Network => self.window,
        }
    }

    /// `bytes` sent at `sent_at` have been acknowledged (appendix B.5).
    pub fn on_ack(&mut self, bytes: u64, sent_at: Time) {
        if self.in_recovery(sent_at) {
            return;
        }
        if self.window < self.slow_start_threshold {
            self.window += bytes;
            return;
        }
        self.avoidance_bytes += bytes;
        if self.avoidance_bytes >= self.window {
            self.avoidance_bytes -= self.window;
            self.window += self.datagram;
        }
    }

    /// A datagram sent at `sent_at` is lost (appendix B.6): one halving for each round trip.
    pub fn on_loss(&mut self, now: Time, sent_at: Time) {
        if self.in_recovery(sent_at) {
            return;
        }
        self.recovery_since = Some(now);
        self.slow_start_threshold = (self.window / 2).max(self.least());
        self.window = self.slow_start_threshold;
        self.avoidance_bytes = 0;
    }

    /// Nothing has got through for two timeouts in a row (section 7.6).
    pub fn on_persistent_congestion(&mut self) {
        self.window = self.least();
        self.recovery_since = None;
    }

    fn least(&self) -> u64 {
        2 * self.datagram
    }

    fn in_recovery(&self, sent_at: Time) -> bool {
        self.recovery_since.is_some_and(|since| sent_at <= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Congestion {
        Congestion::new(Path::Network, 1472)
    }

    #[test]
    fn begins_with_ten_datagrams_and_doubles_a_round_trip() {
        let mut c = network();
        assert_eq!(c.window(), 14_720);
        c.on_ack(14_720, Time(1));
        assert_eq!(c.window(), 29_440);
    }

    #[test]
    fn halves_once_a_round_trip_then_grows_by_one_datagram() {
        let mut c = network();
        c.on_loss(Time(100), Time(50));
        assert_eq!(c.window(), 7360);
        c.on_loss(Time(110), Time(60)); // sent before recovery began: the same round trip
        assert_eq!(c.window(), 7360);
        c.on_ack(7360, Time(90)); // likewise: no growth
        assert_eq!(c.window(), 7360);
        c.on_ack(7360, Time(120));
        assert_eq!(c.window(), 7360 + 1472);
        c.on_loss(Time(200), Time(150));
        assert_eq!(c.window(), (7360 + 1472) / 2);
    }

    #[test]
    fn never_falls_under_two_datagrams() {
        let mut c = network();
        for i in 1..50u64 {
            c.on_loss(Time(i * 10 + 5), Time(i * 10));
        }
        assert_eq!(c.window(), 2944);
        let mut c = network();
        c.on_persistent_congestion();
        assert_eq!(c.window(), 2944);
    }

    #[test]
    fn loopback_has_no_router_that_could_be_overrun() {
        let mut c = Congestion::new(Path::Loopback, 1472);
        c.on_loss(Time(1), Time(0));
        c.on_persistent_congestion();
        assert_eq!(c.window(), u64::MAX);
    }
}
