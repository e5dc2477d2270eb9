//! Which datagrams have arrived: each is new exactly once.
//!
//! A ring of bits remembers the last `WINDOW_DATAGRAMS` sequence numbers, so the state has a fixed size
//! whatever arrives. What is left out: the numbers themselves, which are folded on arrival.

use super::bits::Bits;
use crate::limits::{GAP_ACK_DELAY, MAX_ACK_DELAY, WINDOW_DATAGRAMS};
use crate::time::Time;
use crate::wire::datagram::Ack;
use std::time::Duration;

/// What an arrival is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first of its sequence number: fold it.
    New,
    /// Seen before: do nothing.
    Duplicate,
    /// So far ahead that no honest sender sent it: do nothing.
    Beyond,
}

/// The receiving side of one session.
#[derive(Debug)]
pub struct Receiver {
    /// Every sequence number below this has arrived.
    next: u64,
    /// One more than the highest that has arrived.
    end: u64,
    /// What has arrived, for `next <= seq < end`.
    bits: Bits,
    largest_tx: u64,
    largest_at: Time,
    unacknowledged: u64,
    ack_at: Option<Time>,
    bitmap: Vec<u8>,
    duplicates: u64,
}

impl Default for Receiver {
    fn default() -> Receiver {
        Receiver {
            next: 0,
            end: 0,
            bits: Bits::default(),
            largest_tx: 0,
            largest_at: Time::ZERO,
            unacknowledged: 0,
            ack_at: None,
            bitmap: Vec::new(),
            duplicates: 0,
        }
    }
}

impl Receiver {
    /// Takes in that transmission `tx` of datagram `seq`, of `bytes` bytes, has arrived; `credit` is
    /// what the sender may have in flight.
    pub fn on_data(
        &mut self,
        now: Time,
        seq: u64,
        tx: u64,
        bytes: usize,
        ack_requested: bool,
        credit: u64,
    ) -> Arrival {
        if seq >= self.next.saturating_add(WINDOW_DATAGRAMS) {
            return Arrival::Beyond;
        }
        self.on_transmission(now, tx);
        if seq < self.next || (seq < self.end && self.bits.get(seq)) {
            // The sender has missed an acknowledgement, or it is on its way.
            self.duplicates += 1;
            self.ack_by(now + if ack_requested { Duration::ZERO } else { GAP_ACK_DELAY });
            return Arrival::Duplicate;
        }
        // Order says the most: a gap that opens or closes is told soon.
        let in_order = seq == self.end;
        self.insert(seq);
        self.unacknowledged += bytes as u64;
        let delay = if ack_requested || self.unacknowledged >= credit / 4 {
            Duration::ZERO
        } else if in_order {
            MAX_ACK_DELAY
        } else {
            GAP_ACK_DELAY
        };
        self.ack_by(now + delay);
        Arrival::New
    }

    /// Takes in a PING: it is answered at once.
    pub fn on_ping(&mut self, now: Time, tx: u64) {
        self.on_transmission(now, tx);
        self.ack_at = Some(now);
    }

    /// When the next acknowledgement is due.
    pub fn ack_at(&self) -> Option<Time> {
        self.ack_at
    }

    /// Datagrams that came more than once.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Distinct datagrams that have come, while there is no gap.
    pub fn datagrams(&self) -> u64 {
        self.next
    }

    /// The acknowledgement to send now.
    pub fn ack(&mut self, now: Time, credit: u64) -> Ack<'_> {
        self.ack_at = None;
        self.unacknowledged = 0;
        self.bitmap.clear();
        let mut at = self.next;
        while at < self.end {
            self.bitmap.extend_from_slice(&self.bits.word(at, self.end).to_le_bytes());
            at += 64;
        }
        let delay = now.since(self.largest_at).as_micros();
        Ack {
            next: self.next,
            largest_tx: self.largest_tx,
            credit,
            delay_us: u32::try_from(delay).unwrap_or(u32::MAX),
            bitmap: &self.bitmap,
        }
    }

    fn ack_by(&mut self, due: Time) {
        self.ack_at = Some(self.ack_at.map_or(due, |at| at.min(due)));
    }

    fn on_transmission(&mut self, now: Time, tx: u64) {
        if tx >= self.largest_tx {
            self.largest_tx = tx;
            self.largest_at = now;
        }
    }

    fn insert(&mut self, seq: u64) {
        self.bits.set(seq);
        self.end = self.end.max(seq + 1);
        while self.next < self.end && self.bits.get(self.next) {
            self.bits.clear(self.next);
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const CREDIT: u64 = 1 << 20;

    fn data(r: &mut Receiver, seq: u64) -> Arrival {
        r.on_data(Time::ZERO, seq, seq, 100, false, CREDIT)
    }

    #[test]
    fn acknowledges_on_request_on_a_gap_and_after_a_delay() {
        let mut r = Receiver::default();
        assert_eq!(data(&mut r, 0), Arrival::New);
        assert_eq!(r.ack_at(), Some(Time::ZERO + MAX_ACK_DELAY));
        r.ack(Time::ZERO, CREDIT);
        assert_eq!(r.ack_at(), None);
        data(&mut r, 2);
        assert_eq!(r.ack_at(), Some(Time::ZERO + GAP_ACK_DELAY));
        r.ack(Time::ZERO, CREDIT);
        r.on_data(Time::ZERO, 3, 3, 100, true, CREDIT);
        assert_eq!(r.ack_at(), Some(Time::ZERO));
        r.ack(Time::ZERO, CREDIT);
        r.on_data(Time::ZERO, 4, 4, CREDIT as usize / 4, false, CREDIT);
        assert_eq!(r.ack_at(), Some(Time::ZERO));
    }

    #[test]
    fn what_is_beyond_the_window_is_not_taken() {
        let mut r = Receiver::default();
        assert_eq!(data(&mut r, WINDOW_DATAGRAMS), Arrival::Beyond);
        assert_eq!(data(&mut r, u64::MAX), Arrival::Beyond);
        assert_eq!(data(&mut r, WINDOW_DATAGRAMS - 1), Arrival::New);
        assert_eq!(r.ack(Time::ZERO, 0).selected().collect::<Vec<_>>(), [WINDOW_DATAGRAMS - 1]);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec((0u64..5000, any::<bool>()), 1..300)) {
            let (mut r, mut set, mut next) = (Receiver::default(), BTreeSet::new(), 0u64);
            for (ahead, near) in steps {
                let seq = if near { next + ahead % 130 } else { (next + ahead).saturating_sub(200) };
                let expected = match seq {
                    s if s >= next + WINDOW_DATAGRAMS => Arrival::Beyond,
                    s if s < next || !set.insert(s) => Arrival::Duplicate,
                    _ => Arrival::New,
                };
                prop_assert_eq!(data(&mut r, seq), expected);
                while set.remove(&next) {
                    next += 1;
                }
                let ack = r.ack(Time::ZERO, 0);
                prop_assert_eq!(ack.next, next);
                prop_assert!(ack.selected().eq(set.iter().copied()));
            }
        }
    }
}
