//! A world: hosts, their links and disks, a tracker, and the only simulated clock of the swarm.
//!
//! Everything that will happen waits in one queue, and chance is drawn from one generator: the same hosts
//! under the same seed do the same things at the same nanosecond.
//!
//! The network is what a switch makes of it: no link but each host's own is ever full. A host's uplink
//! serves its connections in turn, a block at a time, as TCP flows share a link; small messages go in front
//! of the block behind them, or alone. At the receiver all streams pass its downlink in order of sending; while that
//! holds more than a switch's buffer its senders give their turns to other connections. What is left out:
//! lost packets, slow start, and acknowledgements (a parameter adds the share of headers).

mod fate;
mod flow;
mod outputs;
#[cfg(test)]
mod tests;

use super::actor::{Actor, Make};
use super::disk::{Bytes, Disk};
use super::link::End;
use super::queue::Queue;
use super::tracker::Tracker;
use crate::bitfield::Bitfield;
use crate::geometry::{Block, Geometry};
use crate::id::PeerId;
use crate::peer::{Output, Progress, Settings, Torrent};
use offload::rng::Rng;
use offload::sim::trace::Trace;
use offload::time::Time;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// What watches a world.
pub trait Observer {
    /// A session has said what it wants done.
    fn said(&mut self, at: Time, node: usize, disk: &Disk, output: &Output) {
        let _ = (at, node, disk, output);
    }
    /// A block has arrived, and was kept or thrown away.
    fn arrived(&mut self, at: Time, from: usize, to: usize, block: Block, sound: bool, kept: bool) {
        let _ = (at, from, to, block, sound, kept);
    }
    /// A connection has so many messages and bytes of blocks that wait for the uplink.
    fn queued(&mut self, at: Time, node: usize, messages: usize, block_bytes: u64) {
        let _ = (at, node, messages, block_bytes);
    }
    /// A host keeps so many bytes of pieces that are begun.
    fn opened(&mut self, at: Time, node: usize, bytes: u64) {
        let _ = (at, node, bytes);
    }
    /// A session was given an address by its tracker or by hand.
    fn named(&mut self, node: usize, address: SocketAddr) {
        let _ = (node, address);
    }
    /// A session is about to be told whether the tracker has heard it.
    fn heard(&mut self, node: usize, heard: bool) {
        let _ = (node, heard);
    }
    /// A process has started with these pieces in place, or has ended.
    fn lives(&mut self, at: Time, node: usize, have: Option<&Bitfield>) {
        let _ = (at, node, have);
    }
    /// A session was asked to leave, and has said all that it had to say.
    fn stopped(&mut self, at: Time, node: usize) {
        let _ = (at, node);
    }
    /// A session has done what no driver could carry out.
    fn fault(&mut self, at: Time, node: usize, what: &str) {
        let _ = (at, node, what);
    }
}

/// Nobody watches.
impl Observer for () {}

/// What the swarm is about.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// Its cut.
    pub geometry: Geometry,
    /// Its info dictionary.
    pub metadata: Vec<u8>,
    /// BEP 27.
    pub private: bool,
    /// Bytes on a link for a thousand bytes of a stream: packet headers.
    pub link_permille: u64,
    /// Do hosts hear each other's multicasts?
    pub multicast: bool,
}

/// When a host leaves that has all it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It seeds for ever.
    Never,
    /// As soon as it has all.
    AtOnce,
    /// When it uploads less than this, looked at every so often.
    Slow {
        /// Bytes a second.
        bytes_per_s: u64,
        /// Time between two looks.
        poll: Duration,
    },
}

/// A host, and how its session is to behave.
pub struct Host {
    /// Bytes a second that it sends.
    pub up: u64,
    /// Bytes a second that it receives.
    pub down: u64,
    /// From it to the switch.
    pub delay: Duration,
    /// Bytes a second that it hashes and writes.
    pub hash_rate: u64,
    /// Peers that are served at once.
    pub upload_slots: usize,
    /// Connections at most.
    pub max_connections: usize,
    /// BEP 16.
    pub super_seed: bool,
    /// BEP 6.
    pub fast: bool,
    /// What is on its disk at the start.
    pub have: Bitfield,
    /// What it wants.
    pub wanted: Bitfield,
    /// It has the info-hash only.
    pub magnet: bool,
    /// When it leaves.
    pub leave: Leave,
    /// It keeps the rules.
    pub honest: bool,
    /// How many of the blocks that it serves are not what they should be.
    pub poison: f64,
    /// Where it makes its session.
    pub make: Make,
}

/// What befalls a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A process starts, with what is on its disk.
    Start(usize),
    /// A process is asked to end.
    Stop(usize),
    /// A process ends at once; its kernel tells the peers unless the host went dark.
    Crash {
        /// Whose.
        node: usize,
        /// Nobody is told.
        dark: bool,
        /// It starts anew after this.
        back: Option<Duration>,
    },
    /// A connection that stands is reset.
    Reset,
    /// Hosts on different islands do not reach each other.
    Part(Vec<u8>),
}

/// Something that will happen. A connection's end is told by its number.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Uplink { node: u32 },
    Room { node: u32 },
    Head { end: u32, messages: u16, block: bool },
    Block { end: u32 },
    Timer { node: u32, life: u32 },
    Dial { from: u32, to: u32, life: u32 },
    Greet { end: u32 },
    Closed { end: u32 },
    Failed { node: u32, life: u32, stranger: u32 },
    Hashed { node: u32, life: u32, piece: u32 },
    Announced { node: u32, life: u32, answer: u32 },
    Metadata { node: u32, life: u32, good: bool },
    Discovered { node: u32, from: u32 },
    Look { node: u32, life: u32 },
    Act { index: u32 },
}

struct Node {
    host: Host,
    actor: Option<Box<dyn Actor>>,
    life: u32,
    dark: bool,
    island: u8,
    peer_id: PeerId,
    disk: Disk,
    /// It knows the metadata, from its start or by now.
    knows: bool,
    /// Its ends that are open.
    ends: Vec<u32>,
    /// Its ends that have something to send, in turn.
    ready: VecDeque<u32>,
    /// When what was given to the uplink has left, and whether we come back then.
    uplink_free: Time,
    uplink_due: bool,
    downlink_free: Time,
    /// Ends of others that wait for room in the downlink.
    senders: VecDeque<u32>,
    room_due: bool,
    hash_free: Time,
    /// Pieces of which digests are asked for.
    digests: Vec<u32>,
    /// When the session wants to be woken, and when it will be looked at.
    wake: Option<Time>,
    timer: Option<Time>,
    /// Timeouts at this very moment.
    spins: u32,
    started: Time,
    finished: Option<Time>,
    progress: Progress,
    sent_bytes: u64,
    sent_at_look: u64,
}

/// The port where every host listens.
const PORT: u16 = 6881;
/// So many timeouts at one moment never end.
const MAX_SPINS: u32 = 1000;
/// From a host to the tracker and back.
const TRACKER_DELAY: Duration = Duration::from_millis(2);

/// Where a host listens.
pub fn address(node: usize) -> SocketAddr {
    let [_, a, b, c] = (node as u32 + 1).to_be_bytes();
    SocketAddr::from(([10, a, b, c], PORT))
}

/// Hosts and what is between them.
pub struct World<O> {
    now: Time,
    queue: Queue<Happening>,
    swarm: Swarm,
    nodes: Vec<Node>,
    ends: Vec<End>,
    acts: Vec<Act>,
    answers: Vec<Option<Vec<u32>>>,
    strangers: Vec<SocketAddr>,
    drained: Vec<u32>,
    /// Of each piece, the live honest hosts that have it, the first `seeders` hosts left out.
    copies: Vec<u32>,
    covered: u32,
    corrupted: u32,
    rng: Rng,
    happened: u64,
    /// How many of the first hosts are seeders.
    pub seeders: usize,
    /// Who names peers.
    pub tracker: Tracker,
    /// What watches.
    pub observer: O,
    /// What has happened, hashed and, if asked for, written down.
    pub trace: Trace,
}

impl<O: Observer> World<O> {
    /// A world without hosts.
    pub fn new(swarm: Swarm, tracker: Tracker, rng: Rng, observer: O, trace: Trace) -> World<O> {
        let copies = vec![0; swarm.geometry.pieces() as usize];
        World {
            now: Time::ZERO,
            queue: Queue::default(),
            swarm,
            nodes: Vec::new(),
            ends: Vec::new(),
            acts: Vec::new(),
            answers: Vec::new(),
            strangers: Vec::new(),
            drained: Vec::new(),
            copies,
            covered: 0,
            corrupted: 0,
            rng,
            happened: 0,
            seeders: 1,
            tracker,
            observer,
            trace,
        }
    }

    /// Adds a host whose process starts at a moment; its number.
    pub fn add(&mut self, start: Time, host: Host) -> usize {
        let number = self.nodes.len();
        let disk = Disk::new(self.swarm.geometry, host.have.clone());
        self.nodes.push(Node {
            knows: !host.magnet,
            host,
            actor: None,
            life: 0,
            dark: false,
            island: 0,
            peer_id: PeerId([0; 20]),
            disk,
            ends: Vec::new(),
            ready: VecDeque::new(),
            uplink_free: Time::ZERO,
            uplink_due: false,
            downlink_free: Time::ZERO,
            senders: VecDeque::new(),
            room_due: false,
            hash_free: Time::ZERO,
            digests: Vec::new(),
            wake: None,
            timer: None,
            spins: 0,
            started: start,
            finished: None,
            progress: Progress::default(),
            sent_bytes: 0,
            sent_at_look: 0,
        });
        self.plan(start, Act::Start(number));
        number
    }

    /// Something will befall the world.
    pub fn plan(&mut self, at: Time, act: Act) {
        let index = self.acts.len() as u32;
        self.acts.push(act);
        self.queue.push(at.max(self.now), Happening::Act { index });
    }

    /// Lets the next thing happen; false if there is none until then.
    pub fn step(&mut self, until: Time) -> bool {
        let Some((at, happening)) = self.queue.pop(until) else {
            return false;
        };
        self.now = self.now.max(at);
        self.happened += 1;
        match happening {
            Happening::Uplink { node } => {
                self.nodes[node as usize].uplink_due = false;
                self.pump(node as usize);
            }
            Happening::Room { node } => self.on_room(node as usize),
            Happening::Head { end, messages, block } => self.on_head(end, messages, block),
            Happening::Block { end } => self.on_block(end),
            Happening::Timer { node, life } => self.on_timer(node as usize, life),
            Happening::Dial { from, to, life } => self.on_dial(from, to, life),
            Happening::Greet { end } => self.on_greet(end),
            Happening::Closed { end } => self.on_closed(end),
            Happening::Look { node, life } => self.on_look(node as usize, life),
            Happening::Act { index } => self.on_act(self.acts[index as usize].clone()),
            Happening::Failed { node, life, .. }
            | Happening::Hashed { node, life, .. }
            | Happening::Announced { node, life, .. }
            | Happening::Metadata { node, life, .. } => {
                if self.nodes[node as usize].life == life {
                    self.on_answer(node as usize, happening);
                }
            }
            Happening::Discovered { node, .. } => self.on_answer(node as usize, happening),
        }
        true
    }

    /// The moment.
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many things have happened.
    pub fn happened(&self) -> u64 {
        self.happened
    }

    /// How many hosts there are.
    pub fn hosts(&self) -> usize {
        self.nodes.len()
    }

    /// Does its process run?
    pub fn is_alive(&self, node: usize) -> bool {
        self.nodes[node].actor.is_some()
    }

    /// When it had all that it wants.
    pub fn finished(&self, node: usize) -> Option<Time> {
        self.nodes[node].finished
    }

    /// Time from its start until it had all that it wants.
    pub fn took(&self, node: usize) -> Option<Duration> {
        self.nodes[node].finished.map(|at| at.since(self.nodes[node].started))
    }

    /// Its disk.
    pub fn disk(&self, node: usize) -> &Disk {
        &self.nodes[node].disk
    }

    /// What is known of it.
    pub fn host(&self, node: usize) -> &Host {
        &self.nodes[node].host
    }

    /// Bytes of content that it has sent.
    pub fn sent_bytes(&self, node: usize) -> u64 {
        self.nodes[node].sent_bytes
    }

    /// What its session says of itself, or said last.
    pub fn progress(&self, node: usize) -> Progress {
        let node = &self.nodes[node];
        node.actor.as_ref().map_or(node.progress, |actor| actor.progress())
    }

    /// Who it is connected with.
    pub fn peers(&self, node: usize) -> Vec<usize> {
        self.nodes[node].ends.iter().map(|end| self.ends[*end as usize ^ 1].node as usize).collect()
    }

    /// Does it know the metadata?
    pub fn knows(&self, node: usize) -> bool {
        self.nodes[node].knows
    }

    /// Has every piece a live honest host that is no seeder?
    pub fn is_covered(&self) -> bool {
        self.covered == self.swarm.geometry.pieces()
    }

    /// What the swarm is about.
    pub fn swarm(&self) -> &Swarm {
        &self.swarm
    }

    /// Who listens there.
    pub fn node_at(&self, address: SocketAddr) -> Option<usize> {
        let SocketAddr::V4(v4) = address else {
            return None;
        };
        let [net, a, b, c] = v4.ip().octets();
        let node = (u32::from_be_bytes([0, a, b, c]) as usize).checked_sub(1)?;
        (net == 10 && v4.port() == PORT && node < self.nodes.len()).then_some(node)
    }

    fn delay(&self, a: usize, b: usize) -> Duration {
        self.nodes[a].host.delay + self.nodes[b].host.delay
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.nodes[a].island != self.nodes[b].island
    }

    /// Bytes of a stream at a rate.
    fn time_of(&self, bytes: u64, rate: u64) -> Duration {
        Duration::from_nanos(bytes * self.swarm.link_permille * 1_000_000 / rate.max(1))
    }

    fn other(&self, end: u32) -> usize {
        self.ends[end as usize ^ 1].node as usize
    }

    fn settings(&mut self, node: usize) -> Settings {
        let host = &self.nodes[node].host;
        Settings {
            peer_id: PeerId::random(&mut self.rng),
            port: PORT,
            upload_slots: host.upload_slots,
            max_connections: host.max_connections,
            super_seed: host.super_seed,
        }
    }

    fn torrent(&self, node: usize) -> Torrent {
        let content = self.nodes[node].knows.then(|| self.content(node));
        Torrent { private: self.swarm.private, content }
    }
}
