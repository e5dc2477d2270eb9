//! The tracker: who else is there (BEP 3, 7, 23, 48).
//!
//! Peers announce themselves by HTTP, and are told of others; that is all a swarm needs to form, and peers
//! that know each other need the tracker no more. So nothing here is precious: what it knows is what peers
//! have said lately, a peer that falls silent is forgotten, and one that was never heard of is welcome at
//! any announce. A [`Snapshot`] lets the swarm outlive the process all the same.
//!
//! [`query`] reads what a peer asks, [`Tracker`] knows the answer, [`answer`] writes it, and [`client`] is
//! the peer's side of both. What is left out: HTTP, files, clocks (the image server has those), UDP trackers
//! (BEP 15), and proof of who announces: whoever reaches the tracker may take part.

pub mod answer;
pub mod client;
pub mod query;
mod snapshot;
mod swarm;

pub use snapshot::Snapshot;

use crate::id::{InfoHash, PeerId};
use crate::limits::{
    MAX_TRACKED_PEERS, MAX_TRACKED_TORRENTS, MAX_TRACKER_PEERS, TRACKER_INTERVAL, TRACKER_MIN_INTERVAL,
    TRACKER_PEERS,
};
use crate::peer::AnnounceEvent;
use crate::wire::compact::is_somebodys;
use offload::rng::Rng;
use offload::time::Time;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use swarm::{Asker, Swarm};

/// Peers that a snapshot brings back were there before the driver's start, the first moment there is. So
/// moments are counted from this much earlier in here.
const PAST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What a peer tells a tracker (BEP 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// What the peer calls itself.
    pub peer_id: PeerId,
    /// Where it listens.
    pub port: u16,
    /// Bytes it has sent to others since it started.
    pub uploaded: u64,
    /// Bytes it has received since it started.
    pub downloaded: u64,
    /// Bytes it lacks; 0 is a seeder.
    pub left: u64,
    /// Why it announces itself.
    pub event: AnnounceEvent,
    /// How many peers it would like to be told of.
    pub wanted: Option<u32>,
    /// BEP 23: does it take addresses in the compact form?
    pub compact: bool,
    /// Where it says it is, if the tracker sees another address.
    pub ip: Option<IpAddr>,
    /// A secret by which it is known again at another address.
    pub key: Option<String>,
}

/// How often peers are to announce themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As a rule.
    pub interval: Duration,
    /// At most, when they lack peers.
    pub min_interval: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { interval: TRACKER_INTERVAL, min_interval: TRACKER_MIN_INTERVAL }
    }
}

/// What an announce is answered. [`Answer::encode`] has its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No torrent of this name is published here.
    NotPublished(InfoHash),
    /// Who else is there.
    Peers {
        /// How often to announce.
        settings: Settings,
        /// Peers that have all of it.
        seeders: usize,
        /// Peers that have not.
        leechers: usize,
        /// Some of them, by chance.
        peers: Vec<(SocketAddr, PeerId)>,
        /// In which form they are told.
        compact: bool,
    },
}

/// A torrent in numbers (BEP 48).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scraped {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Peers that have all of it.
    pub seeders: usize,
    /// Peers that have not.
    pub leechers: usize,
    /// How often a peer has told that it had got all of it.
    pub completed: u64,
}

/// What a peer has told of itself, for a monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
    /// Bytes it lacks.
    pub left: u64,
    /// Bytes it has sent.
    pub uploaded: u64,
    /// Bytes it has received.
    pub downloaded: u64,
    /// For how long it has been there.
    pub since: Duration,
    /// For how long nothing was heard of it.
    pub silent: Duration,
    /// Did it get all of it while it was there? A seeder from the start did not.
    pub completed: bool,
}

/// [`MAX_TRACKED_TORRENTS`] are published already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this tracker has {MAX_TRACKED_TORRENTS} torrents already: publish fewer images and overrides")]
pub struct Full;

/// Who takes part in which published torrent.
#[derive(Debug)]
pub struct Tracker {
    settings: Settings,
    rng: Rng,
    swarms: BTreeMap<InfoHash, Swarm>,
}

impl Tracker {
    /// A tracker of no torrent yet.
    pub fn new(settings: Settings, rng: Rng) -> Tracker {
        Tracker { settings, rng, swarms: BTreeMap::new() }
    }

    /// Publishes a torrent; one that is published already stays as it is.
    ///
    /// # Errors
    /// There are too many.
    pub fn serve(&mut self, info_hash: InfoHash) -> Result<(), Full> {
        if self.swarms.len() >= MAX_TRACKED_TORRENTS && !self.swarms.contains_key(&info_hash) {
            return Err(Full);
        }
        self.swarms.entry(info_hash).or_default();
        Ok(())
    }

    /// Takes a torrent back, and forgets its peers.
    pub fn forget(&mut self, info_hash: InfoHash) {
        self.swarms.remove(&info_hash);
    }

    /// Takes in what a peer tells, and says who else is there. `from` is where the connection came from.
    pub fn announce(&mut self, now: Time, from: IpAddr, announce: &Announce) -> Answer {
        let (now, heard) = (now + PAST, self.heard_after(now));
        let address = address_of(from, announce);
        let Some(swarm) = self.swarms.get(&announce.info_hash) else {
            return Answer::NotPublished(announce.info_hash);
        };
        if !swarm.knows(address) && announce.event != AnnounceEvent::Stopped {
            self.make_room();
        }
        let swarm = self.swarms.entry(announce.info_hash).or_default();
        swarm.expire(heard);
        let mut peers = Vec::new();
        if announce.event == AnnounceEvent::Stopped {
            swarm.leave(address, announce.peer_id);
        } else {
            swarm.join(now, address, announce);
            let asker = Asker {
                address,
                peer_id: announce.peer_id,
                seeder: announce.left == 0,
                local: from.to_canonical().is_loopback(),
            };
            let wanted = announce.wanted.map_or(TRACKER_PEERS, |wanted| wanted as usize);
            peers = swarm.pick(&asker, wanted.min(MAX_TRACKER_PEERS), &mut self.rng);
        }
        let (seeders, leechers) = swarm.count(heard);
        Answer::Peers { settings: self.settings, seeders, leechers, peers, compact: announce.compact }
    }

    /// The torrents in numbers: those of these that are published, or all where none is named.
    pub fn scrape(&self, now: Time, info_hashes: &[InfoHash]) -> Vec<Scraped> {
        let named = |hash: &InfoHash| info_hashes.is_empty() || info_hashes.contains(hash);
        let scraped = |(info_hash, swarm): (&InfoHash, &Swarm)| {
            let (seeders, leechers) = swarm.count(self.heard_after(now));
            Scraped { info_hash: *info_hash, seeders, leechers, completed: swarm.completed }
        };
        self.swarms.iter().filter(|(hash, _)| named(hash)).map(scraped).collect()
    }

    /// The peers of a torrent by address; none where it is not published.
    pub fn peers(&self, now: Time, info_hash: InfoHash) -> Vec<PeerView> {
        let swarm = self.swarms.get(&info_hash);
        swarm.map_or_else(Vec::new, |swarm| swarm.views(now + PAST, self.heard_after(now)))
    }

    /// What a tracker that takes this one's place needs to know. Time that passes before it does is not
    /// counted: nobody could announce anything meanwhile.
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let swarms = self.swarms.iter();
        let saved = swarms.map(|(hash, swarm)| swarm.save(*hash, now + PAST, self.heard_after(now)));
        Snapshot { torrents: saved.collect() }
    }

    /// Brings back the peers of the torrents that are published. Nobody who has announced meanwhile is
    /// forgotten for them.
    pub fn restore(&mut self, now: Time, snapshot: &Snapshot) {
        for saved in &snapshot.torrents {
            let room = MAX_TRACKED_PEERS.saturating_sub(self.len());
            if let Some(swarm) = self.swarms.get_mut(&InfoHash(saved.info_hash)) {
                swarm.restore(now + PAST, saved, room);
            }
        }
    }

    /// A peer that was last heard of before this moment is gone: it may miss one announce, and be late with
    /// the next.
    fn heard_after(&self, now: Time) -> Time {
        let patience =
            self.settings.interval.saturating_mul(2).saturating_add(self.settings.min_interval);
        Time::ZERO + (now + PAST).since(Time::ZERO + patience)
    }

    fn len(&self) -> usize {
        self.swarms.values().map(Swarm::len).sum()
    }

    /// Forgets the stalest of all peers where there is no room for a new one.
    fn make_room(&mut self) {
        if self.len() >= MAX_TRACKED_PEERS {
            let swarms = self.swarms.values_mut().filter_map(|swarm| Some((swarm.stalest()?, swarm)));
            if let Some((_, swarm)) = swarms.min_by_key(|(stalest, _)| *stalest) {
                swarm.forget_stalest();
            }
        }
    }
}

/// Where a peer listens: where its connection comes from, at the port it names. What it says of its own
/// address counts only where it is on this very host: others could not reach it at 127.0.0.1, and nobody
/// else may name an address, or a stranger could send the whole swarm to a victim.
fn address_of(from: IpAddr, announce: &Announce) -> SocketAddr {
    let from = from.to_canonical();
    let said = announce.ip.map(|ip| SocketAddr::new(ip.to_canonical(), announce.port));
    let said = said.filter(|address| from.is_loopback() && is_somebodys(*address));
    said.unwrap_or(SocketAddr::new(from, announce.port))
}

#[cfg(test)]
mod tests;
