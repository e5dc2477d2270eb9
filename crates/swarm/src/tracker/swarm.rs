//! The peers of one torrent, as they have told of themselves.
//!
//! Each announce goes over all of them a few times. The bounds allow for it: ten thousand take less than a
//! millisecond, and no index has to be kept in step with another.

use super::snapshot::{SavedPeer, SavedSwarm};
use super::{Announce, PeerView};
use crate::id::{InfoHash, PeerId};
use crate::limits::{MAX_PEERS_PER_ADDRESS, MAX_SWARM_PEERS};
use crate::peer::AnnounceEvent;
use crate::wire::compact::is_somebodys;
use offload::rng::Rng;
use offload::time::Time;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// What is known of a torrent's peers.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    /// By where they listen.
    peers: BTreeMap<SocketAddr, Peer>,
    /// How often a peer has told that it had got all of it.
    pub(super) completed: u64,
}

#[derive(Clone, Debug)]
struct Peer {
    peer_id: PeerId,
    key: Option<String>,
    left: u64,
    uploaded: u64,
    downloaded: u64,
    since: Time,
    seen: Time,
    completed: bool,
}

/// Who is to be told of peers.
pub(super) struct Asker {
    pub(super) address: SocketAddr,
    pub(super) peer_id: PeerId,
    pub(super) seeder: bool,
    /// Is it on this very host?
    pub(super) local: bool,
}

impl Swarm {
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn knows(&self, address: SocketAddr) -> bool {
        self.peers.contains_key(&address)
    }

    /// Forgets whoever was last heard of before `heard`.
    pub(super) fn expire(&mut self, heard: Time) {
        // A look is cheaper than a walk that may change something.
        if self.peers.values().any(|peer| peer.seen < heard) {
            self.peers.retain(|_, peer| peer.seen >= heard);
        }
    }

    /// A peer that says it leaves. Another one may be at its address by now, which stays.
    pub(super) fn leave(&mut self, address: SocketAddr, peer_id: PeerId) {
        if self.peers.get(&address).is_some_and(|peer| peer.peer_id == peer_id) {
            self.peers.remove(&address);
        }
    }

    /// A peer that is here, new or not. Whoever was at its address has gone: the host has begun anew.
    pub(super) fn join(&mut self, now: Time, address: SocketAddr, announce: &Announce) {
        let before = self.take(address, announce);
        let finished = announce.event == AnnounceEvent::Completed;
        let finished_before = before.as_ref().is_some_and(|peer| peer.completed);
        if finished && !finished_before {
            self.completed = self.completed.saturating_add(1);
        }
        let peer = Peer {
            peer_id: announce.peer_id,
            key: announce.key.clone(),
            left: announce.left,
            uploaded: announce.uploaded,
            downloaded: announce.downloaded,
            since: before.map_or(now, |peer| peer.since),
            seen: now,
            completed: finished || finished_before,
        };
        self.make_room(address.ip());
        self.peers.insert(address, peer);
    }

    /// Takes out what is at the address, and what the announcing peer was known as: there, or at another
    /// address of this family if it has told the same secret.
    fn take(&mut self, address: SocketAddr, announce: &Announce) -> Option<Peer> {
        let here = self.peers.remove(&address).filter(|peer| peer.peer_id == announce.peer_id);
        if here.is_some() || announce.key.is_none() {
            return here;
        }
        let same = |(at, peer): (&SocketAddr, &Peer)| {
            let moved = peer.peer_id == announce.peer_id && peer.key == announce.key;
            (moved && at.is_ipv4() == address.is_ipv4()).then_some(*at)
        };
        let there = self.peers.iter().find_map(same)?;
        self.peers.remove(&there)
    }

    /// Forgets the stalest where one more at this address would be too many.
    fn make_room(&mut self, ip: IpAddr) {
        let here = SocketAddr::new(ip, 0)..=SocketAddr::new(ip, u16::MAX);
        let here = || self.peers.range(here.clone());
        if here().count() >= MAX_PEERS_PER_ADDRESS {
            if let Some((_, at)) = here().map(|(at, peer)| (peer.seen, *at)).min() {
                self.peers.remove(&at);
            }
        } else if self.peers.len() >= MAX_SWARM_PEERS {
            self.forget_stalest();
        }
    }

    /// Who was heard of least lately, and when.
    pub(super) fn stalest(&self) -> Option<(Time, SocketAddr)> {
        self.peers.iter().map(|(at, peer)| (peer.seen, *at)).min()
    }

    pub(super) fn forget_stalest(&mut self) {
        if let Some((_, at)) = self.stalest() {
            self.peers.remove(&at);
        }
    }

    /// At most `wanted` peers that are of use to the asker, each as likely as any other.
    pub(super) fn pick(&self, asker: &Asker, wanted: usize, rng: &mut Rng) -> Vec<(SocketAddr, PeerId)> {
        let useful = |at: &SocketAddr, peer: &Peer| {
            *at != asker.address
                && peer.peer_id != asker.peer_id
                && !(asker.seeder && peer.left == 0)
                && (asker.local || !at.ip().is_loopback())
        };
        let useful = self.peers.iter().filter(|(at, peer)| useful(at, peer));
        let mut useful: Vec<(&SocketAddr, &Peer)> = useful.collect();
        let wanted = wanted.min(useful.len());
        for i in 0..wanted {
            let other = i + rng.below((useful.len() - i) as u64) as usize;
            useful.swap(i, other);
        }
        useful[..wanted].iter().map(|(at, peer)| (**at, peer.peer_id)).collect()
    }

    /// Seeders and leechers that were heard of since `heard`.
    pub(super) fn count(&self, heard: Time) -> (usize, usize) {
        let (mut seeders, mut all) = (0, 0);
        for peer in self.peers.values().filter(|peer| peer.seen >= heard) {
            all += 1;
            seeders += usize::from(peer.left == 0);
        }
        (seeders, all - seeders)
    }

    /// Those who were heard of since `heard`.
    pub(super) fn views(&self, now: Time, heard: Time) -> Vec<PeerView> {
        let view = |(address, peer): (&SocketAddr, &Peer)| PeerView {
            address: *address,
            peer_id: peer.peer_id,
            left: peer.left,
            uploaded: peer.uploaded,
            downloaded: peer.downloaded,
            since: now.since(peer.since),
            silent: now.since(peer.seen),
            completed: peer.completed,
        };
        self.peers.iter().filter(|(_, peer)| peer.seen >= heard).map(view).collect()
    }

    /// What is worth writing down.
    pub(super) fn save(&self, info_hash: InfoHash, now: Time, heard: Time) -> SavedSwarm {
        let save = |(address, peer): (&SocketAddr, &Peer)| SavedPeer {
            address: *address,
            peer_id: peer.peer_id.0,
            key: peer.key.clone(),
            left: peer.left,
            uploaded: peer.uploaded,
            downloaded: peer.downloaded,
            since_ms: now.since(peer.since).as_millis() as u64,
            silent_ms: now.since(peer.seen).as_millis() as u64,
            completed: peer.completed,
        };
        let live = self.peers.iter().filter(|(_, peer)| peer.seen >= heard);
        SavedSwarm { info_hash: info_hash.0, completed: self.completed, peers: live.map(save).collect() }
    }

    /// Adds what was written down, at most `room` peers; who has announced meanwhile knows better.
    pub(super) fn restore(&mut self, now: Time, saved: &SavedSwarm, room: usize) {
        self.completed = self.completed.max(saved.completed);
        let ago = |ms: u64| Time(now.0.saturating_sub(ms.saturating_mul(1_000_000)));
        let most = MAX_SWARM_PEERS.min(self.len().saturating_add(room));
        for peer in &saved.peers {
            let address = SocketAddr::new(peer.address.ip(), peer.address.port());
            if self.len() >= most {
                break;
            }
            if self.knows(address) || !is_somebodys(address) {
                continue;
            }
            self.make_room(address.ip());
            let restored = Peer {
                peer_id: PeerId(peer.peer_id),
                key: peer.key.clone(),
                left: peer.left,
                uploaded: peer.uploaded,
                downloaded: peer.downloaded,
                since: ago(peer.since_ms),
                seen: ago(peer.silent_ms),
                completed: peer.completed,
            };
            self.peers.insert(address, restored);
        }
    }
}
