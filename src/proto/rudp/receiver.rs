//! Which datagrams have arrived: each is new exactly once.
//!
//! A ring of bits remembers the last `WINDOW_DATAGRAMS` sequence numbers, so the state has a fixed size
//! whatever arrives. What is left out: the numbers themselves, which are folded on arrival.

use crate::limits::{MAX_ACK_DELAY, WINDOW_DATAGRAMS};
use crate::time::Time;
use crate::wire::datagram::Ack;

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
    /// Bit `seq % WINDOW_DATAGRAMS`, for `next <= seq < end`.
    bits: Vec<u64>,
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
            bits: vec![0; (WINDOW_DATAGRAMS / 64) as usize],
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
        if seq < self.next || (seq < self.end && self.bit(seq)) {
            // The sender has missed an acknowledgement, or it is on its way.
            self.duplicates += 1;
            self.ack_at = Some(now);
            return Arrival::Duplicate;
        }
        // Order says the most: a gap that opens or closes is told at once.
        let in_order = seq == self.end;
        self.insert(seq);
        self.unacknowledged += bytes as u64;
        let now_due = ack_requested || !in_order || self.unacknowledged >= credit / 4;
        let due = if now_due { now } else { now + MAX_ACK_DELAY };
        self.ack_at = Some(self.ack_at.map_or(due, |at| at.min(due)));
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
            self.bitmap.extend_from_slice(&self.word(at).to_le_bytes());
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

    fn on_transmission(&mut self, now: Time, tx: u64) {
        if tx >= self.largest_tx {
            self.largest_tx = tx;
            self.largest_at = now;
        }
    }

    fn bit(&self, seq: u64) -> bool {
        let i = seq % WINDOW_DATAGRAMS;
        self.bits[(i / 64) as usize] >> (i % 64) & 1 == 1
    }

    fn insert(&mut self, seq: u64) {
        let i = seq % WINDOW_DATAGRAMS;
        self.bits[(i / 64) as usize] |= 1 << (i % 64);
        self.end = self.end.max(seq + 1);
        while self.next < self.end && self.bit(self.next) {
            let i = self.next % WINDOW_DATAGRAMS;
            self.bits[(i / 64) as usize] &= !(1 << (i % 64));
            self.next += 1;
        }
    }

    /// The 64 bits from sequence number `at` on; those at `end` and above are 0.
    fn word(&self, at: u64) -> u64 {
        let (i, shift) = ((at % WINDOW_DATAGRAMS / 64) as usize, at % 64);
        let low = self.bits[i] >> shift;
        let high = self.bits[(i + 1) % self.bits.len()];
        let word = if shift == 0 { low } else { low | high << (64 - shift) };
        match self.end - at {
            left @ 0..64 => word & ((1 << left) - 1),
            _ => word,
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
        assert_eq!(r.ack_at(), Some(Time::ZERO));
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
