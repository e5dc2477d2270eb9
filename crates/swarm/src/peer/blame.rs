//! Who sent the bytes that made a piece bad.
//!
//! A piece from one peer condemns that peer. A piece from several condemns nobody yet: digests of its blocks
//! are kept, the piece is fetched from one peer alone, and once it is good, whoever had sent a block that
//! differs is found. Bytes that nobody asked for are counted, and too many of them end in a ban too.

use crate::id::PeerId;
use crate::limits::{MAX_BANNED, MAX_UNASKED_BYTES};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Bad pieces whose blocks are remembered at most.
const MAX_CASES: usize = 64;

/// A peer, as far as one can tell peers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Culprit {
    /// Its host.
    Host(IpAddr),
    /// On loopback all peers share a host.
    Local(PeerId),
}

impl Culprit {
    pub fn new(address: SocketAddr, peer_id: PeerId) -> Culprit {
        match address.ip().to_canonical() {
            ip if ip.is_loopback() => Culprit::Local(peer_id),
            ip => Culprit::Host(ip),
        }
    }
}

/// Bad pieces, and the peers that are not spoken to again.
#[derive(Debug, Default)]
pub struct Blame {
    cases: BTreeMap<u32, Vec<(Culprit, u64)>>,
    banned: BTreeSet<Culprit>,
    /// Bytes that came unasked, and those that were called off and may have been on their way.
    unasked: BTreeMap<Culprit, (u64, u64)>,
}

impl Blame {
    /// Is a verdict about this piece to come with digests?
    pub fn needs_digests(&self, piece: u32, senders: &[Culprit]) -> bool {
        self.cases.contains_key(&piece) || senders.iter().any(|sender| Some(sender) != senders.first())
    }

    /// A verdict: returns who is now known to have sent bad bytes. `senders` has one entry a block, as have
    /// `digests` where they were asked for.
    pub fn judge(
        &mut self,
        piece: u32,
        good: bool,
        senders: &[Culprit],
        digests: &[u64],
    ) -> Vec<Culprit> {
        let mut guilty = BTreeSet::new();
        if good {
            for (number, (culprit, digest)) in
                self.cases.remove(&piece).into_iter().flatten().enumerate()
            {
                if digests.get(number).is_some_and(|sound| *sound != digest) {
                    guilty.insert(culprit);
                }
            }
        } else if let Some(first) = senders.first() {
            if senders.iter().all(|sender| sender == first) {
                guilty.insert(*first);
            } else if self.cases.len() < MAX_CASES {
                let blocks = senders.iter().copied().zip(digests.iter().copied());
                self.cases.entry(piece).or_insert_with(|| blocks.collect());
            }
        }
        for culprit in &guilty {
            if self.banned.len() < MAX_BANNED {
                self.banned.insert(*culprit);
            }
        }
        guilty.into_iter().collect()
    }

    /// Bytes came that nobody asked for, whatever connection they came by.
    pub fn charge(&mut self, culprit: Culprit, bytes: u64) {
        if self.unasked.len() >= MAX_BANNED && !self.unasked.contains_key(&culprit) {
            return;
        }
        let (unasked, excused) = self.unasked.entry(culprit).or_default();
        *unasked += bytes;
        if *unasked > MAX_UNASKED_BYTES + *excused {
            self.ban(culprit);
        }
    }

    /// These bytes were asked for and called off: they may come.
    pub fn excuse(&mut self, culprit: Culprit, bytes: u64) {
        if self.unasked.len() < MAX_BANNED || self.unasked.contains_key(&culprit) {
            self.unasked.entry(culprit).or_default().1 += bytes;
        }
    }

    pub fn ban(&mut self, culprit: Culprit) {
        if self.banned.len() < MAX_BANNED {
            self.banned.insert(culprit);
        }
    }

    pub fn is_banned(&self, culprit: Culprit) -> bool {
        self.banned.contains(&culprit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> Culprit {
        Culprit::new(SocketAddr::from(([10, 0, 0, last], 6881)), PeerId([last; 20]))
    }

    #[test]
    fn a_lone_sender_is_guilty_at_once() {
        let mut blame = Blame::default();
        assert!(!blame.needs_digests(3, &[host(1); 4]));
        assert_eq!(blame.judge(3, false, &[host(1); 4], &[]), [host(1)]);
        assert!(blame.is_banned(host(1)) && !blame.is_banned(host(2)));
    }

    #[test]
    fn of_several_the_one_whose_block_differed_is_guilty() {
        let mut blame = Blame::default();
        let senders = [host(1), host(2), host(1), host(3)];
        assert!(blame.needs_digests(7, &senders));
        assert_eq!(blame.judge(7, false, &senders, &[10, 20, 30, 40]), []);
        assert!(blame.needs_digests(7, &[host(4)]), "the good one is to be compared");
        assert_eq!(blame.judge(7, true, &[host(4); 4], &[10, 21, 30, 40]), [host(2)]);
        assert!(!blame.is_banned(host(1)) && !blame.is_banned(host(3)));
    }

    #[test]
    fn on_loopback_peers_are_told_apart_by_their_names() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_ne!(Culprit::new(at(1), PeerId([1; 20])), Culprit::new(at(1), PeerId([2; 20])));
        assert_eq!(Culprit::new(at(1), PeerId([1; 20])), Culprit::new(at(2), PeerId([1; 20])));
    }
}
