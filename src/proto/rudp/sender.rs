//! Numbers into datagrams; each is kept until it is acknowledged.
//!
//! The datagrams lie in a ring of equal slots, ready to go: header first, numbers behind. So a run of
//! full ones is one contiguous slice, which goes to the kernel in one call (GSO), and a retransmission
//! only renews the header. Loss is seen by the order of sending (RFC 9002, 6.1) and, where nothing
//! comes back, by the timeout of RFC 6298.

use super::Stats;
use super::bits::Bits;
use super::congestion::{Congestion, Path};
use super::rtt::Rtt;
use crate::limits::{GSO_BYTES, GSO_SEGMENTS, MAX_ACK_DELAY, WINDOW_DATAGRAMS};
use crate::time::Time;
use crate::wire::datagram::{Ack, DATA_HEADER_BYTES, Header, finish_data};
use std::collections::VecDeque;
use std::time::Duration;

/// A datagram is lost when one sent this many transmissions later has arrived (RFC 9002, 6.1.1).
const REORDER_THRESHOLD: u64 = 3;

/// The sending side of one session.
#[derive(Debug)]
pub struct Sender {
    header: Header,
    datagram: usize,
    capacity: usize,
    ring: Vec<u8>,
    /// Slots of sequence numbers `base ..`.
    slots: VecDeque<Slot>,
    base: u64,
    /// The next sequence number to be sent for the first time.
    unsent: u64,
    /// The last slot may still be filled.
    filling: bool,
    finished: bool,
    /// Which of the slots are acknowledged, once more, for comparing many at a time.
    acked: Bits,
    lost: VecDeque<u64>,
    /// Transmissions that are not settled, in order; the first is number `flight_base`.
    flight: VecDeque<Flight>,
    flight_base: u64,
    largest_acked: Option<u64>,
    in_flight: u64,
    progress_at: Time,
    since_request: u64,
    credit: u64,
    probes: u32,
    rto_at: Option<Time>,
    loss_at: Option<Time>,
    rtt: Rtt,
    congestion: Congestion,
    stats: Stats,
}

/// Datagrams that lie back to back, each of `segment` bytes but for the last, which may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    start: usize,
    /// All together.
    pub bytes: usize,
    /// Each.
    pub segment: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unsent,
    InFlight { tx: u64 },
    Lost,
    Acked,
}

#[derive(Debug)]
struct Slot {
    bytes: usize,
    width: u8,
    state: State,
}

/// One transmission; a PING has no content.
#[derive(Debug)]
struct Flight {
    seq: Option<u64>,
    at: Time,
}

impl Sender {
    /// For one session. Numbers are taken once [`Sender::provide`] has given them a ring.
    pub fn new(header: Header, path: Path, datagram: usize, credit: u64, rtt: Rtt) -> Sender {
        Sender {
            header,
            datagram,
            capacity: 0,
            ring: Vec::new(),
            slots: VecDeque::new(),
            base: 0,
            unsent: 0,
            filling: false,
            finished: false,
            acked: Bits::default(),
            lost: VecDeque::new(),
            flight: VecDeque::new(),
            flight_base: 0,
            largest_acked: None,
            in_flight: 0,
            progress_at: Time::ZERO,
            since_request: 0,
            credit,
            probes: 0,
            rto_at: None,
            loss_at: None,
            rtt,
            congestion: Congestion::new(path, datagram),
            stats: Stats::default(),
        }
    }

    /// Takes memory for what is not acknowledged: at most `bytes`, at least two datagrams.
    pub fn provide(&mut self, bytes: usize) {
        if self.capacity == 0 {
            self.capacity = (bytes / self.datagram).clamp(2, WINDOW_DATAGRAMS as usize);
            self.ring.resize(self.capacity * self.datagram, 0);
        }
    }

    /// False until [`Sender::provide`] has been called.
    pub fn is_provided(&self) -> bool {
        self.capacity > 0
    }

    /// Bytes of memory held.
    pub fn held_bytes(&self) -> usize {
        self.ring.len()
    }

    /// Since when something has been on its way without anything arriving.
    pub fn stuck_since(&self) -> Option<Time> {
        (self.in_flight > 0 || !self.lost.is_empty()).then_some(self.progress_at)
    }

    /// Bytes of numbers of `width` bytes each that [`Sender::push`] would take now.
    pub fn room(&self, width: u8) -> usize {
        let open = match self.slots.back() {
            Some(slot) if self.filling && slot.width == width => self.datagram - slot.bytes,
            _ => 0,
        };
        (self.capacity - self.slots.len()) * (self.datagram - DATA_HEADER_BYTES) + open
    }

    /// Takes numbers of `width` bytes each, as they travel; returns how many bytes it took.
    pub fn push(&mut self, width: u8, bytes: &[u8]) -> usize {
        debug_assert!(!self.finished, "numbers behind the end of the shard");
        let mut taken = 0;
        while taken < bytes.len() {
            if !self.open_slot(width) {
                break;
            }
            let seq = self.base + self.slots.len() as u64 - 1;
            let start = self.offset(seq);
            let Some(slot) = self.slots.back_mut() else { break };
            let n = (self.datagram - slot.bytes).min(bytes.len() - taken);
            let place = start + slot.bytes;
            self.ring[place..place + n].copy_from_slice(&bytes[taken..taken + n]);
            slot.bytes += n;
            self.filling = slot.bytes < self.datagram;
            taken += n;
        }
        taken
    }

    /// No more numbers will come: the last datagram may go as it is.
    pub fn finish(&mut self) {
        self.filling = false;
        self.finished = true;
    }

    /// True when no more numbers will come.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// True when all numbers have been acknowledged. The ring's memory is then given back.
    pub fn is_delivered(&self) -> bool {
        self.finished && self.slots.is_empty()
    }

    /// The next run of datagrams to send now; [`Sender::bytes`] lends them.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Run> {
        let window = self.window();
        if let Some(seq) = self.next_lost() {
            let bytes = self.slots[(seq - self.base) as usize].bytes as u64;
            if self.probes == 0 && self.in_flight > 0 && self.in_flight + bytes > window {
                return None;
            }
            self.lost.pop_front();
            self.probes = self.probes.saturating_sub(1);
            self.stats.retransmissions += 1;
            // The last for now; those before it close gaps, which the receiver tells of by itself.
            let ask =
                self.probes == 0 && (self.next_lost().is_none() || self.in_flight + bytes > window);
            self.transmit(now, seq, ask);
            return Some(Run {
                start: self.offset(seq),
                bytes: bytes as usize,
                segment: bytes as usize,
            });
        }
        let first = self.unsent;
        let run = self.unsent_run(window);
        if run == 0 {
            return None;
        }
        for seq in first..first + run {
            let last = seq + 1 == first + run;
            let bytes = self.slots[(seq - self.base) as usize].bytes as u64;
            self.since_request += bytes;
            // Ask for an acknowledgement four times a window, and before falling silent.
            let quiet = !self.can_send_next(seq + 1, window, bytes);
            let ask = last && (quiet || self.since_request >= window / 4);
            self.unsent += 1;
            self.transmit(now, seq, ask);
        }
        let (last, start) = (first + run - 1, self.offset(first));
        let bytes = (run as usize - 1) * self.datagram + self.slots[(last - self.base) as usize].bytes;
        Some(Run { start, bytes, segment: self.datagram })
    }

    /// The bytes of a run that [`Sender::poll_transmit`] has just returned.
    pub fn bytes(&self, run: &Run) -> &[u8] {
        &self.ring[run.start..run.start + run.bytes]
    }

    /// Numbers a PING, whose acknowledgement then measures the round trip.
    pub fn ping(&mut self, now: Time) -> u64 {
        self.flight.push_back(Flight { seq: None, at: now });
        self.flight_base + self.flight.len() as u64 - 1
    }

    /// Takes in an acknowledgement. One that speaks of what was never sent changes nothing.
    pub fn on_ack(&mut self, now: Time, ack: &Ack<'_>) {
        let sent_tx = self.flight_base + self.flight.len() as u64;
        if ack.next > self.unsent || ack.largest_tx >= sent_tx.max(1) {
            return;
        }
        self.credit = ack.credit;
        self.measure(now, ack);
        let mut progress = false;
        for seq in self.base..ack.next {
            progress |= self.on_acked(seq);
        }
        // Of what is selected, only what is new: most of it was in the last acknowledgement too.
        let unsent = self.unsent;
        for (at, word) in ack.words().take_while(|&(at, _)| at < unsent) {
            let mut new = word & !self.acked.word(at, unsent);
            while new != 0 {
                progress |= self.on_acked(at + u64::from(new.trailing_zeros()));
                new &= new - 1;
            }
        }
        while self.slots.front().is_some_and(|slot| slot.state == State::Acked) {
            self.slots.pop_front();
            self.acked.clear(self.base);
            self.base += 1;
        }
        self.detect_losses(now);
        if progress {
            self.progress_at = now;
            self.rtt.progress();
            self.rto_at = None;
        }
        self.arm(now);
        if self.is_delivered() {
            self.ring = Vec::new();
        }
    }

    /// Takes in that time has passed.
    pub fn on_timeout(&mut self, now: Time) {
        if self.loss_at.is_some_and(|at| at <= now) {
            self.detect_losses(now);
        }
        if self.rto_at.is_some_and(|at| at <= now) {
            self.rto_at = None;
            self.rtt.back_off();
            if self.rtt.expiries() >= 2 {
                self.congestion.on_persistent_congestion();
            }
            self.probe();
        }
        self.arm(now);
    }

    /// When [`Sender::on_timeout`] is next wanted.
    pub fn next_timeout(&self) -> Option<Time> {
        [self.rto_at, self.loss_at].into_iter().flatten().min()
    }

    /// The round trips seen so far.
    pub fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// Bytes that may be in flight: the lesser of credit and congestion window.
    pub fn window(&self) -> u64 {
        self.credit.min(self.congestion.window())
    }

    /// What has been done.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Makes the last slot one that takes numbers of `width` bytes; false when the ring is full.
    fn open_slot(&mut self, width: u8) -> bool {
        if self.filling && self.slots.back().is_some_and(|slot| slot.width == width) {
            return true;
        }
        self.filling = false;
        if self.slots.len() == self.capacity {
            return false;
        }
        self.slots.push_back(Slot { bytes: DATA_HEADER_BYTES, width, state: State::Unsent });
        self.filling = true;
        true
    }

    fn offset(&self, seq: u64) -> usize {
        (seq % self.capacity as u64) as usize * self.datagram
    }

    /// The first sequence number that must be sent again, if any.
    fn next_lost(&mut self) -> Option<u64> {
        while let Some(&seq) = self.lost.front() {
            // One acknowledged late, after all, has nothing left to send.
            let lost = seq.checked_sub(self.base).and_then(|i| self.slots.get(i as usize));
            if lost.is_some_and(|slot| slot.state == State::Lost) {
                return Some(seq);
            }
            self.lost.pop_front();
        }
        None
    }

    /// How many unsent datagrams may go in one call: full ones but for the last, contiguous in the
    /// ring, within window and GSO's bounds.
    fn unsent_run(&self, window: u64) -> u64 {
        let (mut run, mut bytes, mut in_flight) = (0, 0, self.in_flight);
        loop {
            let seq = self.unsent + run;
            let contiguous = run == 0 || !seq.is_multiple_of(self.capacity as u64);
            if !self.can_send_next(seq, window, in_flight - self.in_flight) || !contiguous {
                return run;
            }
            let size = self.slots[(seq - self.base) as usize].bytes;
            if run > 0 && (bytes + size > GSO_BYTES || run as usize == GSO_SEGMENTS) {
                return run;
            }
            bytes += size;
            in_flight += size as u64;
            run += 1;
            if size < self.datagram {
                return run;
            }
        }
    }

    /// Whether unsent datagram `seq` is complete and fits the window, `more` bytes having gone before it.
    fn can_send_next(&self, seq: u64, window: u64, more: u64) -> bool {
        let index = (seq - self.base) as usize;
        let in_flight = self.in_flight + more;
        self.slots.get(index).is_some_and(|slot| {
            let complete = !(self.filling && index + 1 == self.slots.len());
            complete && (in_flight == 0 || in_flight + slot.bytes as u64 <= window)
        })
    }

    /// Writes the header of `seq` for a new transmission and accounts for it.
    fn transmit(&mut self, now: Time, seq: u64, ack_requested: bool) {
        let tx = self.flight_base + self.flight.len() as u64;
        self.flight.push_back(Flight { seq: Some(seq), at: now });
        let start = self.offset(seq);
        if self.stuck_since().is_none() {
            self.progress_at = now;
        }
        let slot = &mut self.slots[(seq - self.base) as usize];
        slot.state = State::InFlight { tx };
        let datagram = &mut self.ring[start..start + slot.bytes];
        finish_data(datagram, self.header, slot.width, ack_requested, seq, tx);
        self.in_flight += slot.bytes as u64;
        if ack_requested {
            self.since_request = 0;
        }
        self.stats.datagrams += 1;
        self.stats.bytes += slot.bytes as u64;
        if self.rto_at.is_none() {
            self.rto_at = Some(now + self.timeout());
        }
    }

    /// A round trip, from the newest transmission that the receiver has seen (RFC 9002, 5.1).
    fn measure(&mut self, now: Time, ack: &Ack<'_>) {
        if self.largest_acked.is_some_and(|largest| ack.largest_tx <= largest) {
            return;
        }
        let Some(index) = ack.largest_tx.checked_sub(self.flight_base) else { return };
        let Some(flight) = self.flight.get(index as usize) else { return };
        let delay = Duration::from_micros(ack.delay_us.into()).min(MAX_ACK_DELAY);
        self.rtt.sample(now.since(flight.at).saturating_sub(delay));
        self.largest_acked = Some(ack.largest_tx);
    }

    /// True when `seq` was not acknowledged before.
    fn on_acked(&mut self, seq: u64) -> bool {
        // None: an old acknowledgement, overtaken by another; or one of what was never sent.
        let index = seq.checked_sub(self.base).filter(|_| seq < self.unsent);
        let Some(slot) = index.and_then(|i| self.slots.get_mut(i as usize)) else { return false };
        let bytes = slot.bytes as u64;
        let before = std::mem::replace(&mut slot.state, State::Acked);
        self.acked.set(seq);
        match before {
            State::Acked | State::Unsent => return false,
            State::Lost => {}
            State::InFlight { tx } => {
                self.in_flight -= bytes;
                if let Some(flight) = self.flight.get((tx - self.flight_base) as usize) {
                    self.congestion.on_ack(bytes, flight.at);
                }
            }
        }
        true
    }

    /// Settles the oldest transmissions: acknowledged, superseded, or lost.
    fn detect_losses(&mut self, now: Time) {
        self.loss_at = None;
        let Some(largest) = self.largest_acked else { return };
        let allowance = self.rtt.reordering_allowance();
        while let Some(flight) = self.flight.front() {
            let (tx, at) = (self.flight_base, flight.at);
            let pending = flight.seq.filter(|&seq| self.is_pending(seq, tx));
            if let Some(seq) = pending {
                let by_order = tx + REORDER_THRESHOLD <= largest;
                let by_time = tx < largest && at + allowance <= now;
                if !by_order && !by_time {
                    self.loss_at = (tx < largest).then(|| at + allowance);
                    return;
                }
                self.mark_lost(seq);
                self.congestion.on_loss(now, at);
            } else if tx >= largest {
                // Keep what a round trip may still be measured by.
                return;
            }
            self.flight.pop_front();
            self.flight_base += 1;
        }
    }

    fn is_pending(&self, seq: u64, tx: u64) -> bool {
        let slot = seq.checked_sub(self.base).and_then(|i| self.slots.get(i as usize));
        slot.is_some_and(|slot| slot.state == State::InFlight { tx })
    }

    fn mark_lost(&mut self, seq: u64) {
        let slot = &mut self.slots[(seq - self.base) as usize];
        slot.state = State::Lost;
        self.in_flight -= slot.bytes as u64;
        self.lost.push_back(seq);
    }

    /// The timeout has come: send the oldest one or two again whatever the window says, to learn what
    /// has arrived (RFC 9002, 6.2.4); the rest waits for that.
    fn probe(&mut self) {
        let in_flight = |slot: &Slot| matches!(slot.state, State::InFlight { .. });
        let oldest: Vec<u64> = (self.base..)
            .zip(&self.slots)
            .filter(|(_, s)| in_flight(s))
            .map(|(seq, _)| seq)
            .take(2)
            .collect();
        self.probes = oldest.len() as u32;
        oldest.into_iter().rev().for_each(|seq| {
            self.mark_lost(seq);
            self.lost.rotate_right(1);
        });
    }

    fn timeout(&self) -> Duration {
        self.rtt.rto() + MAX_ACK_DELAY
    }

    fn arm(&mut self, now: Time) {
        if self.in_flight == 0 && self.lost.is_empty() {
            self.rto_at = None;
        } else if self.rto_at.is_none() {
            self.rto_at = Some(now + self.timeout());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::receiver::{Arrival, Receiver};
    use super::*;
    use crate::rng::Rng;
    use crate::wire::datagram::{Body, decode, encode};
    use proptest::prelude::*;

    const HEADER: Header = Header { job: 1, session: 2 };
    const CREDIT: u64 = 64 << 10;

    fn sender(ring: usize) -> Sender {
        let mut s = Sender::new(HEADER, Path::Loopback, 256, CREDIT, Rtt::default());
        s.provide(ring);
        s
    }

    /// Decodes all datagrams of a run: (seq, tx, whether an acknowledgement is asked for).
    fn sent(s: &mut Sender, now: Time) -> Vec<(u64, u64, bool)> {
        let mut all = Vec::new();
        while let Some(run) = s.poll_transmit(now) {
            for bytes in s.bytes(&run).chunks(run.segment) {
                match decode(bytes) {
                    Ok((HEADER, Body::Data { seq, tx, ack_requested, .. })) => {
                        all.push((seq, tx, ack_requested));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        all
    }

    fn ack(s: &mut Sender, now: Time, next: u64, largest_tx: u64, bitmap: &[u8]) {
        s.on_ack(now, &Ack { next, largest_tx, credit: CREDIT, delay_us: 0, bitmap });
    }

    #[test]
    fn a_full_ring_takes_no_more_and_an_acknowledgement_makes_room() {
        let mut s = sender(1024);
        assert_eq!(s.room(8), 4 * 208);
        assert_eq!(s.push(8, &[0; 2000]), 4 * 208);
        assert_eq!(s.room(8), 0);
        assert_eq!(sent(&mut s, Time(1)).len(), 4);
        ack(&mut s, Time(2), 2, 1, &[]);
        assert_eq!(s.room(8), 2 * 208);
    }

    #[test]
    fn a_width_has_datagrams_of_its_own() {
        let mut s = sender(1024);
        s.push(8, &[1; 16]);
        assert_eq!((s.room(8), s.room(1)), (3 * 208 + 192, 3 * 208));
        s.push(1, &[1; 3]);
        s.finish();
        assert_eq!(sent(&mut s, Time(1)), [(0, 0, false), (1, 1, true)]);
    }

    #[test]
    fn only_a_complete_datagram_leaves_before_the_end() {
        let mut s = sender(1024);
        s.push(8, &[1; 100 * 8]);
        assert_eq!(sent(&mut s, Time(1)).len(), 3);
        s.finish();
        assert_eq!(sent(&mut s, Time(1)), [(3, 3, true)]);
    }

    #[test]
    fn credit_bounds_what_is_in_flight_but_never_stops_it() {
        let mut s = Sender::new(HEADER, Path::Loopback, 256, 600, Rtt::default());
        s.provide(8192);
        s.push(8, &[0; 8000]);
        assert_eq!(sent(&mut s, Time(1)).len(), 2);
        s.on_ack(Time(2), &Ack { next: 2, largest_tx: 1, credit: 0, delay_us: 0, bitmap: &[] });
        assert_eq!(sent(&mut s, Time(2)).len(), 1);
    }

    #[test]
    fn the_third_later_arrival_says_that_one_is_lost() {
        let mut s = sender(8192);
        s.push(8, &[0; 208 * 6]);
        sent(&mut s, Time(1));
        ack(&mut s, Time(1_000_000), 0, 2, &0b110u64.to_le_bytes());
        assert_eq!(sent(&mut s, Time(1_000_000)), []);
        ack(&mut s, Time(1_000_000), 0, 3, &0b1110u64.to_le_bytes());
        assert_eq!(sent(&mut s, Time(1_000_000)), [(0, 6, true)]);
        assert_eq!(s.stats().retransmissions, 1);
    }

    #[test]
    fn a_little_reordering_is_forgiven_only_for_a_while() {
        let mut s = sender(8192);
        s.push(8, &[0; 208 * 2]);
        sent(&mut s, Time(0));
        ack(&mut s, Time(8_000_000), 0, 1, &0b10u64.to_le_bytes());
        assert_eq!(sent(&mut s, Time(8_000_000)), []);
        let at = s.next_timeout().unwrap();
        assert_eq!(at, Time(9_000_000)); // 9/8 of the round trip of 8 ms
        s.on_timeout(at);
        assert_eq!(sent(&mut s, at), [(0, 2, true)]);
    }

    #[test]
    fn silence_is_probed_with_growing_pauses() {
        let mut s = sender(8192);
        s.push(8, &[0; 208 * 20]);
        sent(&mut s, Time(0));
        let (mut now, mut pauses) = (Time(0), Vec::new());
        for _ in 0..5 {
            let at = s.next_timeout().unwrap();
            pauses.push((at - now).as_millis());
            now = at;
            s.on_timeout(now);
            assert_eq!(sent(&mut s, now).len(), 2, "a probe is two datagrams");
        }
        assert_eq!(pauses, [101, 201, 251, 251, 251]);
    }

    #[test]
    fn nonsense_and_old_acknowledgements_change_nothing() {
        let mut s = sender(8192);
        s.push(8, &[0; 208 * 6]);
        sent(&mut s, Time(0));
        ack(&mut s, Time(1), 7, 0, &[]); // of what was never sent
        ack(&mut s, Time(1), 1, 6, &[]);
        assert_eq!(s.room(8), sender(8192).room(8) - 6 * 208);
        ack(&mut s, Time(1), 4, 3, &[]);
        ack(&mut s, Time(2), 2, 1, &0b11u64.to_le_bytes()); // overtaken
        assert_eq!(s.room(8), sender(8192).room(8) - 2 * 208);
    }

    proptest! {
        /// Over a path that loses, delays and duplicates, everything arrives exactly once.
        #[test]
        fn delivers_every_byte_once(seed: u64, loss in 0.0f64..0.5, bytes in 0usize..40_000, ring in 512usize..9000) {
            let mut rng = Rng::from_seed(seed);
            let content: Vec<u8> = (0..bytes / 8 * 8).map(|i| (i % 251) as u8).collect();
            let (mut s, mut r) = (sender(ring), Receiver::default());
            let mut got: Vec<(u64, Vec<u8>)> = Vec::new();
            let (mut offered, mut now) = (0, Time(0));
            let mut path: Vec<(Time, bool, Vec<u8>)> = Vec::new();
            for _ in 0..200_000 {
                if offered < content.len() {
                    offered += s.push(8, &content[offered..]);
                }
                if offered == content.len() {
                    s.finish();
                }
                if s.is_delivered() {
                    break;
                }
                let mut put = |rng: &mut Rng, to_receiver, bytes: &[u8]| {
                    for _ in 0..1 + u32::from(rng.chance(0.1)) {
                        if !rng.chance(loss) {
                            path.push((now + Duration::from_micros(rng.below(3000)), to_receiver, bytes.to_vec()));
                        }
                    }
                };
                while let Some(run) = s.poll_transmit(now) {
                    s.bytes(&run).chunks(run.segment).for_each(|d| put(&mut rng, true, d));
                }
                if r.ack_at().is_some_and(|at| at <= now) {
                    let mut out = Vec::new();
                    encode(HEADER, &Body::Ack(r.ack(now, CREDIT)), &mut out);
                    put(&mut rng, false, &out);
                }
                let next = path.iter().map(|p| p.0).chain(s.next_timeout()).chain(r.ack_at()).min();
                now = now.max(next.unwrap());
                let (due, later) = path.drain(..).partition(|p| p.0 <= now);
                path = later;
                for (_, to_receiver, bytes) in due {
                    match decode(&bytes).unwrap().1 {
                        Body::Data { seq, tx, ack_requested, numbers, .. } if to_receiver => {
                            if r.on_data(now, seq, tx, bytes.len(), ack_requested, CREDIT) == Arrival::New {
                                got.push((seq, numbers.to_vec()));
                            }
                        }
                        Body::Ack(ack) => s.on_ack(now, &ack),
                        other => panic!("{other:?}"),
                    }
                }
                s.on_timeout(now);
            }
            prop_assert!(s.is_delivered());
            got.sort();
            prop_assert!(got.iter().map(|g| g.0).eq(0..got.len() as u64));
            prop_assert_eq!(got.into_iter().flat_map(|g| g.1).collect::<Vec<u8>>(), content);
        }
    }
}
