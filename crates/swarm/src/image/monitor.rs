//! Who stages what, how far each is, and how near all of them are to what their links allow.
//!
//! Clients of ours report ([`Report`]); others (aria2, libtorrent) are known by what they tell the tracker
//! ([`Observed`]). Both are shown together, as the reference deployer's monitor shows its clients: host,
//! address, image, per cent or phase, rates, time left. Nothing a client says is believed beyond its own
//! row: its texts are cleaned and cut, its numbers clamped, and whoever invents clients fills only the
//! share of one address.
//!
//! A value one feeds: time is an argument, nothing is sent or asked here.
//!
//! # The ratio to the physical limit
//!
//! A leecher whose link takes `rate` bytes a second cannot have received more than `rate` times the time it
//! has been leeching. Between two reports of a client that was staging at the first, its time and the bytes
//! that it gained are added up; over all clients,
//!
//! `ratio = leecher-seconds x rate / bytes gained`
//!
//! so 1.0 is the limit and 1.3 says that staging takes 1.3 times as long as the links would need. It is the
//! ratio of the measured tables (time over size/rate) where all clients have the same link. What was on
//! disk before the first report counts for nothing, and a client that falls silent counts until it is marked
//! so. Where `rate` is not given, the best rate that any client had between two reports stands for it: then
//! the ratio says how far the others are from the best one, and is too kind where something slows down all.
//!
//! Left out: history. The page draws none, and a run's curves are the bench's.

mod table;

use crate::limits::{MAX_OBSERVED, MAX_REASON_CHARS, MAX_REPORTED_CHARS, SILENT_AFTER};
use offload::time::Time;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use table::Table;

/// Intervals shorter than this say nothing of a link's rate.
const SHORTEST_SAMPLE: Duration = Duration::from_secs(1);

/// What a client is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Downloads.
    Staging,
    /// Unpacks.
    Extracting,
    /// Applies overrides and puts the result in place.
    Finalizing,
    /// Has all, and serves others.
    Seeding,
    /// Has left the swarm.
    Done,
    /// Has given up, with the reason.
    Failed(String),
}

impl Phase {
    /// Nothing more is to come.
    fn is_over(&self) -> bool {
        matches!(self, Phase::Done | Phase::Failed(_))
    }

    fn word(&self) -> &'static str {
        match self {
            Phase::Staging => "staging",
            Phase::Extracting => "extracting",
            Phase::Finalizing => "finalizing",
            Phase::Seeding => "seeding",
            Phase::Done => "done",
            Phase::Failed(_) => "failed",
        }
    }
}

/// What a client says of itself, every few seconds and at every change of phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it calls its host.
    pub host: String,
    /// What it stages.
    pub image: String,
    /// Its port for peers, which tells it from another client of its address.
    pub port: u16,
    /// What it is doing.
    pub phase: Phase,
    /// Bytes that are verified.
    pub done_bytes: u64,
    /// Bytes of the whole.
    pub total_bytes: u64,
    /// What it receives, in bytes a second.
    pub down_rate: u64,
    /// What it sends.
    pub up_rate: u64,
    /// Seconds since it was started.
    pub uptime_seconds: u64,
    /// Of its program.
    pub version: String,
}

/// What the tracker, and the first seeder's sessions, know of one image's swarm.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The image.
    pub image: String,
    /// Bytes of its torrent.
    pub total_bytes: u64,
    /// How many of each piece there are at the least, in the swarm that the first seeder sees, itself
    /// counted; `None` where it does not say.
    pub copies: Option<f64>,
    /// The peers of the tracker, without our own seeder.
    pub peers: Vec<ObservedPeer>,
}

/// A peer, as it told the tracker.
#[derive(Clone, Copy, Debug)]
pub struct ObservedPeer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it lacks.
    pub left_bytes: u64,
}

/// `status.json`, and what the page shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Seconds since the server's start.
    pub seconds: u64,
    /// In the order of images, hosts and addresses.
    pub clients: Vec<Client>,
    /// In the order of images.
    pub swarms: Vec<Swarm>,
    /// What all clients receive, in bytes a second.
    pub down_rate: u64,
    /// What all clients send.
    pub up_rate: u64,
    /// `None` until two reports of a staging client have come.
    pub limit: Option<Limit>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// What it calls its host; empty for one that does not report.
    pub host: String,
    /// Its address.
    pub address: String,
    /// What it stages.
    pub image: String,
    /// A word of [`Phase`].
    pub phase: String,
    /// Why it failed, or empty.
    pub why: String,
    /// Of the bytes of its image; `None` where that is not known.
    pub percent: Option<f64>,
    /// In bytes a second; `None` for one that does not report, or is silent.
    pub down_rate: Option<u64>,
    /// What it sends.
    pub up_rate: Option<u64>,
    /// Until it has all bytes, at its rate.
    pub seconds_left: Option<u64>,
    /// Since its start.
    pub uptime_seconds: Option<u64>,
    /// Of its program; empty where not known.
    pub version: String,
    /// Its reports have stopped coming, and it was not done.
    pub silent: bool,
}

/// One image's swarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swarm {
    /// The image.
    pub image: String,
    /// Clients that have all of it.
    pub seeders: usize,
    /// Clients that have not.
    pub leechers: usize,
    /// [`Observed::copies`].
    pub copies: Option<f64>,
}

/// How near the clients are to what their links allow: see the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Leecher-seconds x rate / bytes gained.
    pub ratio: f64,
    /// Of one link, in bytes a second.
    pub rate: u64,
    /// Was it given, or is it the best that was seen?
    pub rate_given: bool,
    /// Bytes that all clients gained between their reports.
    pub gained_bytes: u64,
    /// Seconds that they spent on it.
    pub leecher_seconds: f64,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is shown.
    Shown,
    /// There are too many clients, or too many of this address.
    Full,
}

/// All clients that are known.
pub struct Monitor {
    link_rate: Option<u64>,
    table: Table,
    observed: Vec<Observed>,
    gained_bytes: u64,
    leecher_seconds: f64,
    best_rate: f64,
}

impl Monitor {
    /// Nobody is known; `link_rate` is what a client's link takes, in bytes a second, where that is given.
    pub fn new(link_rate: Option<u64>) -> Monitor {
        Monitor {
            link_rate: link_rate.filter(|rate| *rate > 0),
            table: Table::default(),
            observed: Vec::new(),
            gained_bytes: 0,
            leecher_seconds: 0.0,
            best_rate: 0.0,
        }
    }

    /// Takes in what a client says.
    pub fn report(&mut self, now: Time, from: IpAddr, report: Report) -> Taken {
        let report = cleaned(report);
        let Some(before) = self.table.put(now, from, report.clone()) else { return Taken::Full };
        if let Some((then, old)) = before
            && old.phase == Phase::Staging
        {
            self.sample(now.since(then).min(SILENT_AFTER), &old, &report);
        }
        Taken::Shown
    }

    /// Adds what a client gained between two reports.
    fn sample(&mut self, time: Duration, old: &Report, new: &Report) {
        let gained = new.done_bytes.saturating_sub(old.done_bytes);
        self.gained_bytes = self.gained_bytes.saturating_add(gained);
        self.leecher_seconds += time.as_secs_f64();
        if time >= SHORTEST_SAMPLE {
            self.best_rate = self.best_rate.max(gained as f64 / time.as_secs_f64());
        }
    }

    /// Takes in what the tracker and the seeder know now, in place of what they knew before.
    pub fn observe(&mut self, observed: Vec<Observed>) {
        let mut room = MAX_OBSERVED;
        self.observed = observed;
        for swarm in &mut self.observed {
            swarm.peers.truncate(room);
            room -= swarm.peers.len();
        }
    }

    /// What is known at this moment.
    pub fn snapshot(&mut self, now: Time) -> Status {
        self.table.forget(now);
        let mut clients: Vec<Client> = self.table.rows(now);
        for swarm in &self.observed {
            let unheard = swarm.peers.iter().filter(|peer| !self.table.reports(peer.address));
            clients.extend(unheard.map(|peer| unreported(peer, swarm)));
        }
        clients.sort_by(|a, b| (&a.image, &a.host, &a.address).cmp(&(&b.image, &b.host, &b.address)));
        let sum = |rate: fn(&Client) -> Option<u64>| {
            clients.iter().filter_map(rate).fold(0, u64::saturating_add)
        };
        Status {
            seconds: now.as_secs_f64() as u64,
            down_rate: sum(|client| client.down_rate),
            up_rate: sum(|client| client.up_rate),
            swarms: self.swarms(&clients),
            limit: self.limit(),
            clients,
        }
    }

    /// Each image with a row or a tracker's view.
    fn swarms(&self, clients: &[Client]) -> Vec<Swarm> {
        let mut images: Vec<&str> = clients.iter().map(|client| client.image.as_str()).collect();
        images.extend(self.observed.iter().map(|swarm| swarm.image.as_str()));
        images.sort_unstable();
        images.dedup();
        let count = |image: &str, phases: &[&str]| {
            let live = clients.iter().filter(|c| c.image == image && !c.silent);
            live.filter(|c| phases.contains(&c.phase.as_str())).count()
        };
        let copies = |image| self.observed.iter().find(|s| s.image == image).and_then(|s| s.copies);
        images
            .into_iter()
            .map(|image| Swarm {
                image: image.to_owned(),
                // Who unpacks serves others meanwhile.
                seeders: count(image, &["extracting", "finalizing", "seeding"]),
                leechers: count(image, &["staging"]),
                copies: copies(image).filter(|copies| copies.is_finite()),
            })
            .collect()
    }

    fn limit(&self) -> Option<Limit> {
        let rate = self.link_rate.map_or(self.best_rate, |rate| rate as f64);
        (self.gained_bytes > 0 && rate >= 1.0).then(|| Limit {
            ratio: self.leecher_seconds * rate / self.gained_bytes as f64,
            rate: rate as u64,
            rate_given: self.link_rate.is_some(),
            gained_bytes: self.gained_bytes,
            leecher_seconds: self.leecher_seconds,
        })
    }
}

fn unreported(peer: &ObservedPeer, swarm: &Observed) -> Client {
    let phase = if peer.left_bytes == 0 { Phase::Seeding } else { Phase::Staging };
    Client {
        host: String::new(),
        address: peer.address.ip().to_canonical().to_string(),
        image: swarm.image.clone(),
        phase: phase.word().to_owned(),
        why: String::new(),
        percent: percent(swarm.total_bytes.saturating_sub(peer.left_bytes), swarm.total_bytes),
        down_rate: None,
        up_rate: None,
        seconds_left: None,
        uptime_seconds: None,
        version: String::new(),
        silent: false,
    }
}

/// To a tenth, and 100 only where nothing is missing.
fn percent(done: u64, total: u64) -> Option<f64> {
    let tenths = u128::from(done.min(total)) * 1000 / u128::from(total.max(1));
    (total > 0).then_some(tenths as f64 / 10.0)
}

/// Texts cut and made harmless, numbers made to fit each other.
fn cleaned(report: Report) -> Report {
    Report {
        host: clean(&report.host, MAX_REPORTED_CHARS),
        image: clean(&report.image, MAX_REPORTED_CHARS * 2),
        version: clean(&report.version, MAX_REPORTED_CHARS),
        phase: match report.phase {
            Phase::Failed(why) => Phase::Failed(clean(&why, MAX_REASON_CHARS)),
            phase => phase,
        },
        done_bytes: report.done_bytes.min(report.total_bytes),
        ..report
    }
}

/// At most `most` characters, none of which acts: no control characters, none that turn the direction of
/// text or show nothing.
fn clean(text: &str, most: usize) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().take(most).map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests;
