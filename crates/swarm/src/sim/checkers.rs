//! What must hold in every run, whatever befalls it.
//!
//! Honest sessions are watched at everything they say: they serve and announce verified pieces only, keep
//! private torrents private, tell the tracker what it is owed, and stay within their memory. What liars
//! make them receive in vain is counted, for each liar and victim.

use super::disk::Disk;
use super::world::Observer;
use crate::bitfield::Bitfield;
use crate::geometry::Block;
use crate::limits::{MAX_OPEN_BYTES, MAX_QUEUED_REQUESTS};
use crate::peer::{AnnounceEvent, Event, Output};
use crate::wire::message::Message;
use offload::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Messages of a run's failures; more say nothing new.
const MAX_FAILURES: usize = 20;
/// Blocks that a session may queue for a connection before it is told that they have gone.
const MAX_QUEUED_BYTES: u64 = 1 << 20;

/// What one honest host has said.
struct Record {
    honest: bool,
    wanted: Bitfield,
    alive: bool,
    /// What it said to the tracker in this life, last, and of that what was heard.
    announced: Option<AnnounceEvent>,
    heard: Vec<AnnounceEvent>,
    /// It had all that it wants when this life began.
    whole: bool,
    named: BTreeSet<SocketAddr>,
}

/// The checkers.
pub struct Checkers {
    private: bool,
    most_messages: usize,
    records: Vec<Record>,
    /// Bytes of content that a host received in vain, and from whom.
    pub waste: BTreeMap<(usize, usize), u64>,
    /// What did not hold.
    pub failures: Vec<String>,
}

impl Checkers {
    /// Checkers of a swarm of so many pieces.
    pub fn new(private: bool, pieces: u32) -> Checkers {
        // A HAVE for each piece, a cancel or an answer for each request, and some.
        let most_messages = pieces as usize + 4 * MAX_QUEUED_REQUESTS;
        Checkers {
            private,
            most_messages,
            records: Vec::new(),
            waste: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// The next host.
    pub fn add(&mut self, honest: bool, wanted: Bitfield) {
        self.records.push(Record {
            honest,
            wanted,
            alive: false,
            announced: None,
            heard: Vec::new(),
            whole: false,
            named: BTreeSet::new(),
        });
    }

    /// Something did not hold.
    pub fn fail(&mut self, at: Time, what: String) {
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(format!("{:.6} s: {what}", at.as_secs_f64()));
        }
    }

    /// Bytes that a host received in vain from all whom `from` names.
    pub fn wasted(&self, to: usize, from: impl Fn(usize) -> bool) -> u64 {
        let of = |((a, b), bytes): (&(usize, usize), &u64)| (*a == to && from(*b)).then_some(*bytes);
        self.waste.iter().filter_map(of).sum()
    }

    fn judge(&mut self, node: usize, disk: &Disk, output: &Output) -> Result<(), String> {
        let have = disk.have();
        match output {
            Output::Block { block, .. } if !have.has(block.piece) => {
                Err(format!("serves piece {}, which is not verified", block.piece))
            }
            Output::Message { message, .. } => self.judge_message(have, message),
            Output::Connect { address }
                if self.private && !self.records[node].named.contains(address) =>
            {
                Err(format!("connects to {address}, which no tracker of its private torrent named"))
            }
            Output::Discover if self.private => Err("tells the network of a private torrent".into()),
            Output::Event(Event::Piece { piece }) if !have.has(*piece) => {
                Err(format!("says that piece {piece} is in place, and it is not"))
            }
            Output::Event(Event::Complete) if self.records[node].wanted.exceeds(have) => {
                Err("says that it is complete, and it is not".into())
            }
            Output::Announce { event, .. } => self.judge_announce(node, have, *event),
            _ => Ok(()),
        }
    }

    fn judge_message(&self, have: &Bitfield, message: &Message) -> Result<(), String> {
        let claimed = match message {
            Message::Have(piece) if !have.has(*piece) => Some(*piece),
            Message::HaveAll => Bitfield::full(have.len()).without(have).next(),
            Message::Bitfield(bytes) => match Bitfield::from_bytes(bytes, have.len()) {
                None => return Err("sends a bitfield of a wrong length".into()),
                Some(claimed) => claimed.without(have).next(),
            },
            Message::Extended { payload, .. }
                if self.private && payload.windows(7).any(|word| word == b"5:added") =>
            {
                return Err("tells peers of peers of a private torrent".into());
            }
            _ => None,
        };
        claimed.map_or(Ok(()), |piece| Err(format!("claims piece {piece}, which is not verified")))
    }

    fn judge_announce(
        &mut self,
        node: usize,
        have: &Bitfield,
        event: AnnounceEvent,
    ) -> Result<(), String> {
        let record = &mut self.records[node];
        let heard = &record.heard;
        let wrong = match event {
            _ if record.announced == Some(AnnounceEvent::Stopped) => "announces after it has stopped",
            AnnounceEvent::Started | AnnounceEvent::Stopped => "",
            _ if heard.is_empty() => "announces something before it has started",
            AnnounceEvent::Completed if record.whole => "completes what was whole at its start",
            AnnounceEvent::Completed if heard.contains(&event) => "completes twice",
            AnnounceEvent::Completed if record.wanted.exceeds(have) => "completes too early",
            _ => "",
        };
        record.announced = Some(event);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
    }

    /// Judges, at the end, what a host has told the tracker, if it owes it word of its completion.
    pub fn conclude(&mut self, at: Time, node: usize, owes: bool) {
        let record = &self.records[node];
        let owed = owes && record.alive && !record.whole;
        let untold = !record.heard.is_empty() && !record.heard.contains(&AnnounceEvent::Completed);
        if owed && untold {
            self.fail(at, format!("host {node} never tells the tracker that it is complete"));
        }
    }
}

impl Observer for Checkers {
    fn said(&mut self, at: Time, node: usize, disk: &Disk, output: &Output) {
        if self.records[node].honest
            && let Err(what) = self.judge(node, disk, output)
        {
            self.fail(at, format!("host {node} {what}"));
        }
    }

    fn arrived(&mut self, _: Time, from: usize, to: usize, block: Block, sound: bool, kept: bool) {
        if !sound || !kept {
            *self.waste.entry((to, from)).or_default() += u64::from(block.length);
        }
    }

    fn queued(&mut self, at: Time, node: usize, messages: usize, block_bytes: u64) {
        let fits = messages <= self.most_messages && block_bytes <= MAX_QUEUED_BYTES;
        if self.records[node].honest && !fits {
            let what = format!("{messages} messages and {block_bytes} bytes of blocks");
            self.fail(at, format!("host {node} has {what} waiting for one connection"));
        }
    }

    fn opened(&mut self, at: Time, node: usize, bytes: u64) {
        if bytes > MAX_OPEN_BYTES && self.records[node].honest {
            self.fail(at, format!("host {node} keeps {bytes} bytes of pieces that are begun"));
        }
    }

    fn named(&mut self, node: usize, address: SocketAddr) {
        self.records[node].named.insert(address);
    }

    fn heard(&mut self, node: usize, heard: bool) {
        let record = &mut self.records[node];
        record.heard.extend(record.announced.filter(|_| heard));
    }

    fn lives(&mut self, _: Time, node: usize, have: Option<&Bitfield>) {
        let record = &mut self.records[node];
        record.alive = have.is_some();
        (record.announced, record.heard) = (None, Vec::new());
        record.whole = have.is_some_and(|have| !record.wanted.exceeds(have));
    }

    fn stopped(&mut self, at: Time, node: usize) {
        let record = &self.records[node];
        let owes = !record.heard.is_empty() && record.announced != Some(AnnounceEvent::Stopped);
        if record.honest && owes {
            self.fail(at, format!("host {node} leaves without a word to the tracker"));
        }
    }

    fn fault(&mut self, at: Time, node: usize, what: &str) {
        if self.records[node].honest {
            self.fail(at, format!("host {node} {what}"));
        }
    }
}
