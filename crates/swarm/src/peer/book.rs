//! The addresses of peers: whom to try next, and when again.

use crate::limits::MAX_KNOWN_PEERS;
use crate::peer::Source;
use offload::rng::Rng;
use offload::time::Time;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Wait after the first failure; it doubles with each, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After so many failures in a row an address that nobody names again is forgotten.
const MAX_FAILURES: u32 = 12;

/// What is known of an address.
#[derive(Debug)]
struct Entry {
    source: Source,
    failures: u32,
    not_before: Time,
    /// A connection stands or is being made.
    busy: bool,
    /// It has all, and so have we; or it is ourselves.
    useless: bool,
}

impl Entry {
    fn is_open(&self, passive: bool) -> bool {
        let called = matches!(self.source, Source::Given | Source::Discovery);
        !self.busy && !self.useless && (called || !passive)
    }
}

/// Addresses at which peers listen.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<SocketAddr, Entry>,
}

impl Book {
    /// Somebody named this address; true where it is new.
    pub fn learn(&mut self, now: Time, source: Source, address: SocketAddr) -> bool {
        let unusable =
            address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast();
        if unusable {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&address) {
            // A tracker names whoever has announced lately: a host that was rebooted is tried soon.
            if source == Source::Tracker && !entry.busy {
                entry.failures = entry.failures.min(3);
                entry.not_before = entry.not_before.min(now + FIRST_WAIT * 8);
            }
            return false;
        }
        if self.entries.len() >= MAX_KNOWN_PEERS && !self.make_room() {
            return false;
        }
        let entry = Entry { source, failures: 0, not_before: now, busy: false, useless: false };
        self.entries.insert(address, entry);
        true
    }

    /// Forgets the address that has failed most, if any has.
    fn make_room(&mut self) -> bool {
        let idle = self.entries.iter().filter(|(_, entry)| !entry.busy && entry.failures > 0);
        let worst = idle.max_by_key(|(_, entry)| entry.failures).map(|(address, _)| *address);
        worst.is_some_and(|address| self.entries.remove(&address).is_some())
    }

    /// An address to connect to now, any of those whose time has come. One that has all (`passive`) waits to
    /// be found by those whom a tracker told of it, but answers calls from where no tracker is.
    pub fn next(&mut self, now: Time, passive: bool, rng: &mut Rng) -> Option<SocketAddr> {
        let ready =
            |(_, entry): &(&SocketAddr, &Entry)| entry.is_open(passive) && entry.not_before <= now;
        let count = self.entries.iter().filter(ready).count();
        let chosen = rng.below(count as u64) as usize;
        let address = self.entries.iter().filter(ready).nth(chosen).map(|(address, _)| *address)?;
        self.entries.get_mut(&address)?.busy = true;
        Some(address)
    }

    /// Is anybody left who could be tried, now or later?
    pub fn is_exhausted(&self) -> bool {
        !self.entries.values().any(|entry| !entry.busy && !entry.useless && entry.failures < 3)
    }

    /// A connection to this address stands.
    pub fn connected(&mut self, now: Time, source: Source, address: SocketAddr) {
        self.learn(now, source, address);
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.busy = true;
        }
    }

    /// A connection could not be made, or has ended; `served` where it was of use.
    pub fn ended(&mut self, now: Time, address: SocketAddr, served: bool, rng: &mut Rng) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.busy = false;
        entry.failures = if served { 1 } else { entry.failures + 1 };
        let wait = FIRST_WAIT.saturating_mul(1 << (entry.failures - 1).min(16)).min(LONGEST_WAIT);
        // Hosts that lost the same peer at the same moment do not all come back at the same moment.
        let wait = wait.mul_f64(0.75 + rng.below(512) as f64 / 1024.0);
        entry.not_before = now + wait;
        if entry.failures > MAX_FAILURES && entry.source != Source::Given {
            self.entries.remove(&address);
        }
    }

    /// There is no use in connecting to this address.
    pub fn useless(&mut self, address: SocketAddr) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.useless = true;
        }
    }

    /// All addresses may be of use again: what is wanted has changed.
    pub fn reconsider(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.useless = false);
    }

    /// When the next address may be tried.
    pub fn next_at(&self, passive: bool) -> Option<Time> {
        let idle = self.entries.values().filter(|entry| entry.is_open(passive));
        idle.map(|entry| entry.not_before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6881))
    }

    #[test]
    fn an_address_that_fails_is_tried_again_later_and_later() {
        let (mut book, mut rng, mut now) = (Book::default(), Rng::from_seed(1), Time::ZERO);
        assert!(book.learn(now, Source::Given, address(1)));
        assert!(!book.learn(now, Source::Exchange, address(1)));
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(book.next(now, false, &mut rng), Some(address(1)));
            assert_eq!(book.next(now, false, &mut rng), None, "it is being tried");
            book.ended(now, address(1), false, &mut rng);
            let at = book.next_at(false).unwrap();
            waits.push(at - now);
            now = at;
        }
        assert!(waits[0] < Duration::from_secs(1) && waits[4] > waits[1]);
        assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT.mul_f64(1.25)));
    }

    #[test]
    fn the_book_is_bounded_and_keeps_whom_it_talks_to() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        let at = |n: u32| SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 1));
        for n in 0..2 * MAX_KNOWN_PEERS as u32 {
            book.learn(Time::ZERO, Source::Exchange, at(n));
        }
        assert_eq!(book.entries.len(), MAX_KNOWN_PEERS);
        let tried = book.next(Time::ZERO, false, &mut rng).unwrap();
        book.ended(Time::ZERO, tried, false, &mut rng);
        assert!(
            book.learn(Time::ZERO, Source::Exchange, at(9_999_999)),
            "the one that failed makes room"
        );
    }

    #[test]
    fn one_that_has_all_only_answers_calls() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        book.learn(Time::ZERO, Source::Tracker, address(1));
        book.learn(Time::ZERO, Source::Exchange, address(2));
        assert_eq!((book.next(Time::ZERO, true, &mut rng), book.next_at(true)), (None, None));
        book.learn(Time::ZERO, Source::Discovery, address(3));
        assert_eq!(book.next(Time::ZERO, true, &mut rng), Some(address(3)));
    }

    #[test]
    fn nonsense_is_not_learnt() {
        let mut book = Book::default();
        for text in ["10.0.0.1:0", "0.0.0.0:1", "224.0.0.1:1", "[ff02::1]:1"] {
            assert!(!book.learn(Time::ZERO, Source::Tracker, text.parse().unwrap()), "{text}");
        }
    }
}
