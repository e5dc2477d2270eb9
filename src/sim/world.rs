//! A world: machines, the network between them, and the only simulated clock.
//!
//! Everything that will happen waits in one queue, ordered by time and then by insertion; everything
//! that chance decides is drawn from one generator. So a seed is a whole history: the same machines
//! under the same seed do the same things at the same nanosecond. A world knows nothing of jobs. What
//! is left out: system calls that fail, and clocks that differ between machines.

mod conn;
mod entry;
mod keeps;
mod shelf;
mod spoof;
#[cfg(test)]
mod tests;

use super::link::{Fate, Link, Weather};
use super::pipe::{End, Wire};
use super::trace::Trace;
use crate::event::Event;
use crate::proto::{Input, Machine, Output};
use crate::rng::Rng;
use crate::time::Time;
use conn::Connection;
use entry::Entry;
use ethnum::I256;
use keeps::Keeps;
pub use shelf::Shelf;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// A node's number, in the order of their making.
pub type NodeId = usize;

/// Makes a machine at each start of a process.
pub type Factory = Box<dyn FnMut(Time, Rng) -> Box<dyn Machine>>;

/// What watches a world: the checkers.
pub trait Observer {
    /// A machine has sent a datagram, and this is what became of it.
    fn sent(&mut self, at: Time, from: NodeId, to: SocketAddr, bytes: &[u8], fate: Fate);
    /// A datagram is about to reach a live machine.
    fn delivered(&mut self, at: Time, from: SocketAddr, to: NodeId, bytes: &[u8]);
    /// A machine has said something.
    fn said(&mut self, at: Time, node: NodeId, event: Event);
    /// A machine has so many bytes waiting for one connection's kernel.
    fn queued(&mut self, at: Time, node: NodeId, bytes: usize);
    /// A process has started or ended.
    fn lives(&mut self, at: Time, node: NodeId, alive: bool);
}

/// Something that will happen.
#[derive(Debug)]
enum Happening {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Wake { node: NodeId, life: u32 },
    Start { node: NodeId },
    Stop { node: NodeId, back: Option<Duration> },
    Freeze { node: NodeId, length: Duration },
    Connect { client: NodeId, server: NodeId, wire: Wire },
    Opened { conn: usize, end: usize },
    Piece { conn: usize, end: usize },
    Readable { conn: usize, end: usize },
    Drained { conn: usize, end: usize },
    Ended { conn: usize, end: usize },
    Block { node: NodeId, life: u32 },
    Mapped { node: NodeId, life: u32, ticket: u64, result: Result<I256, String> },
    Spoof,
}

/// The file beside a client: what `Output::Read` reads.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// The numbers.
    pub rows: Vec<i64>,
    /// Most numbers in one block.
    pub block_rows: u64,
    /// From this row on the file is found changed.
    pub broken_from: Option<u64>,
}

/// A process, or the place where one will run.
struct Node {
    name: String,
    addr: SocketAddr,
    factory: Factory,
    machine: Option<Box<dyn Machine>>,
    life: u32,
    wake: Option<Time>,
    frozen_until: Time,
    file: File,
    reads: VecDeque<Range<u64>>,
    block_due: bool,
    shelf: Shelf,
    keeps: Option<Keeps>,
    /// Tickets of what is being mapped.
    maps: BTreeSet<u64>,
    conns: Vec<(usize, usize)>,
    /// Ends the process after so many more datagrams, and starts it anew after a while, or never.
    fuse: Option<(u64, Option<Duration>)>,
}

/// A partition: from and until when nothing passes from `a` to `b` (and back, if `both`).
#[derive(Clone, Debug)]
pub struct Cut {
    /// One side.
    pub a: NodeId,
    /// The other.
    pub b: NodeId,
    /// Its start.
    pub from: Time,
    /// Its end.
    pub until: Time,
    /// Whether the way back is cut too.
    pub both: bool,
}

/// Machines and the network between them.
pub struct World<O> {
    now: Time,
    queue: BinaryHeap<Reverse<Entry>>,
    inserted: u64,
    nodes: Vec<Node>,
    conns: Vec<Connection>,
    links: BTreeMap<(NodeId, NodeId), Link>,
    cuts: Vec<Cut>,
    rng: Rng,
    happened: u64,
    /// A sample of what was sent, for spoofing.
    history: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
    /// What watches.
    pub observer: O,
    /// What has happened, hashed and, if asked for, written down.
    pub trace: Trace,
    /// What no machine may do to a driver.
    pub faults: Vec<String>,
}

/// A machine that says so much in one round will never end it.
const MAX_OUTPUTS: usize = 100_000;
/// Datagrams kept for spoofing.
const HISTORY: usize = 64;

impl<O: Observer> World<O> {
    /// An empty world.
    pub fn new(rng: Rng, observer: O, trace: Trace) -> World<O> {
        World {
            now: Time::ZERO,
            queue: BinaryHeap::new(),
            inserted: 0,
            nodes: Vec::new(),
            conns: Vec::new(),
            links: BTreeMap::new(),
            cuts: Vec::new(),
            rng,
            happened: 0,
            history: Vec::new(),
            sent: 0,
            observer,
            trace,
            faults: Vec::new(),
        }
    }

    /// Adds a node whose process starts at `start`.
    pub fn add(&mut self, name: &str, addr: SocketAddr, start: Time, factory: Factory) -> NodeId {
        let node = self.nodes.len();
        self.nodes.push(Node {
            name: name.into(),
            addr,
            factory,
            machine: None,
            life: 0,
            wake: None,
            frozen_until: Time::ZERO,
            file: File::default(),
            reads: VecDeque::new(),
            block_due: false,
            shelf: Shelf::default(),
            keeps: None,
            maps: BTreeSet::new(),
            conns: Vec::new(),
            fuse: None,
        });
        self.at(start, Happening::Start { node });
        node
    }

    /// Puts a file beside a client.
    pub fn set_file(&mut self, node: NodeId, file: File) {
        self.nodes[node].file = file;
    }

    /// Puts a dataset where a backend finds it.
    pub fn set_shelf(&mut self, node: NodeId, shelf: Shelf) {
        self.nodes[node].shelf = shelf;
    }

    /// Has what a backend keeps outlive it.
    pub fn set_keeping(&mut self, node: NodeId) {
        self.nodes[node].keeps = Some(Keeps::default());
    }

    /// Sets the weather from `a` to `b`; [`Weather::fair`] where never set.
    pub fn set_weather(&mut self, a: NodeId, b: NodeId, weather: Weather) {
        self.links.insert((a, b), Link::new(weather));
    }

    /// Adds a partition.
    pub fn cut(&mut self, cut: Cut) {
        self.cuts.push(cut);
    }

    /// Connects a client at a moment.
    pub fn connect(&mut self, at: Time, client: NodeId, server: NodeId, wire: Wire) {
        self.at(at, Happening::Connect { client, server, wire });
    }

    /// Ends a process at a moment, and starts it anew after a while, or never.
    pub fn stop(&mut self, at: Time, node: NodeId, back: Option<Duration>) {
        self.at(at, Happening::Stop { node, back });
    }

    /// The same, once `datagrams` more have reached it.
    pub fn stop_after(&mut self, node: NodeId, datagrams: u64, back: Option<Duration>) {
        self.nodes[node].fuse = Some((datagrams, back));
    }

    /// Suspends a process: what comes to it waits.
    pub fn freeze(&mut self, at: Time, node: NodeId, length: Duration) {
        self.at(at, Happening::Freeze { node, length });
    }

    /// Slips a forged or repeated datagram to somebody at a moment.
    pub fn spoof(&mut self, at: Time) {
        self.at(at, Happening::Spoof);
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many things have happened.
    pub fn happened(&self) -> u64 {
        self.happened
    }

    /// Jobs of a node's machine; `None` where no process runs.
    pub fn jobs(&self, node: NodeId) -> Option<usize> {
        self.nodes[node].machine.as_ref().map(|m| m.jobs())
    }

    /// When a node's machine wants to be woken.
    pub fn wake(&self, node: NodeId) -> Option<Time> {
        self.nodes[node].wake
    }

    /// Whether a node has had connections, and all have ended.
    pub fn is_opened_and_over(&self, node: NodeId) -> bool {
        !self.nodes[node].conns.is_empty() && self.is_disconnected(node)
    }

    /// Whether a node's connections have all ended.
    pub fn is_disconnected(&self, node: NodeId) -> bool {
        self.nodes[node].conns.iter().all(|&(c, e)| self.conns[c].over[e])
    }

    fn at(&mut self, time: Time, happening: Happening) {
        self.inserted += 1;
        self.queue.push(Reverse(Entry(time.max(self.now), self.inserted, happening)));
    }

    /// Lets the next thing happen, if it is due by `until`; false where nothing is.
    pub fn step(&mut self, until: Time) -> bool {
        match self.queue.peek() {
            Some(Reverse(Entry(time, _, _))) if *time <= until => {}
            _ => {
                self.now = self.now.max(until);
                return false;
            }
        }
        if let Some(Reverse(Entry(time, _, happening))) = self.queue.pop() {
            self.now = time;
            self.happened += 1;
            self.happen(happening);
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(node) = self.subject(&happening) {
            let until = self.nodes[node].frozen_until;
            if until > self.now {
                return self.at(until, happening);
            }
        }
        match happening {
            Happening::Datagram { from, to, bytes } => self.deliver(from, to, &bytes),
            Happening::Wake { node, life } => self.wake_up(node, life),
            Happening::Start { node } => self.start(node),
            Happening::Stop { node, back } => self.end_process(node, back),
            Happening::Freeze { node, length } => self.nodes[node].frozen_until = self.now + length,
            Happening::Connect { client, server, wire } => self.make_conn(client, server, wire),
            Happening::Opened { conn, end } => self.opened(conn, end),
            Happening::Piece { conn, end } => self.piece(conn, end),
            Happening::Readable { conn, end } => self.readable(conn, end),
            Happening::Drained { conn, end } => self.drained(conn, end),
            Happening::Ended { conn, end } => self.ended(conn, end),
            Happening::Block { node, life } => self.block(node, life),
            Happening::Mapped { node, life, ticket, result } => self.mapped(node, life, ticket, result),
            Happening::Spoof => self.forge(),
        }
    }

    /// Whom a happening concerns, where a frozen process makes it wait.
    fn subject(&self, happening: &Happening) -> Option<NodeId> {
        match happening {
            Happening::Datagram { to, .. } => self.find(*to),
            Happening::Wake { node, .. }
            | Happening::Block { node, .. }
            | Happening::Mapped { node, .. } => Some(*node),
            Happening::Opened { conn, end }
            | Happening::Readable { conn, end }
            | Happening::Drained { conn, end } => Some(self.conns[*conn].node(*end)),
            _ => None,
        }
    }

    fn find(&self, addr: SocketAddr) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.addr == addr)
    }

    fn start(&mut self, node: NodeId) {
        let rng = self.rng.split();
        let n = &mut self.nodes[node];
        n.life += 1;
        n.machine = Some((n.factory)(self.now, rng));
        self.trace.note(self.now, node as u64, || format!("{} starts", n.name));
        self.observer.lives(self.now, node, true);
        self.restore(node);
        self.drive(node);
    }

    fn end_process(&mut self, node: NodeId, back: Option<Duration>) {
        let n = &mut self.nodes[node];
        if n.machine.take().is_none() {
            return;
        }
        (n.wake, n.fuse, n.block_due) = (None, None, false);
        n.reads.clear();
        n.maps.clear();
        self.trace.note(self.now, node as u64, || format!("{} ends, back in {back:?}", n.name));
        self.observer.lives(self.now, node, false);
        for (conn, end) in std::mem::take(&mut self.nodes[node].conns) {
            let broken = self.rng.chance(0.5);
            let how = if broken { End::Broken("connection reset by peer".into()) } else { End::Orderly };
            self.finish(conn, end, how);
        }
        if let Some(back) = back {
            self.at(self.now + back, Happening::Start { node });
        }
    }

    fn wake_up(&mut self, node: NodeId, life: u32) {
        let n = &mut self.nodes[node];
        if n.life == life && n.wake.is_some_and(|t| t <= self.now) {
            n.wake = None;
            self.feed(node, None);
        }
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let Some(node) = self.find(to).filter(|&n| self.nodes[n].machine.is_some()) else { return };
        let name = &self.nodes[node].name;
        self.trace.datagram(self.now, || format!("{from} => {name}"), bytes, None);
        self.observer.delivered(self.now, from, node, bytes);
        self.feed(node, Some(Input::Datagram { from, bytes }));
        if let Some((left, back)) = &mut self.nodes[node].fuse {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let back = *back;
                self.end_process(node, back);
            }
        }
    }

    /// Gives a machine an input (or tells it that time has passed) and does all that it then wants.
    fn feed(&mut self, node: NodeId, input: Option<Input<'_>>) {
        let Some(machine) = &mut self.nodes[node].machine else { return };
        match input {
            Some(input) => machine.handle_input(self.now, input),
            None => machine.handle_timeout(self.now),
        }
        self.drive(node);
    }

    fn drive(&mut self, node: NodeId) {
        let Some(mut machine) = self.nodes[node].machine.take() else { return };
        let mut outputs = 0;
        let wake = loop {
            outputs += 1;
            if outputs > MAX_OUTPUTS {
                self.faults.push(format!("{}: a round without end", self.nodes[node].name));
                break None;
            }
            match machine.poll_output(self.now) {
                Output::Datagrams { to, bytes, segment } => {
                    for datagram in bytes.chunks(segment.max(1)) {
                        self.send(node, to, datagram);
                    }
                }
                Output::Stream { conn, bytes } => self.write(node, conn, &bytes),
                Output::Close { conn } => self.close(node, conn),
                Output::Read { rows } => self.read(node, rows),
                Output::Unread { rows } => self.unread(node, &rows),
                Output::Map { ticket, rows, reduction } => self.map(node, ticket, rows, &*reduction),
                Output::Unmap { ticket } => self.unmap(node, ticket),
                Output::Keep { job, kept } => self.keep(node, job, kept),
                Output::Event(event) => {
                    let name = &self.nodes[node].name;
                    self.trace.note(self.now, node as u64, || format!("{name}: {event:?}"));
                    self.observer.said(self.now, node, event);
                }
                Output::Wake(wake) => break wake,
            }
        };
        self.check_maps(node, machine.jobs());
        self.nodes[node].machine = Some(machine);
        self.set_wake(node, wake);
        for (conn, end) in self.nodes[node].conns.clone() {
            if self.is_readable(conn, end) {
                self.at(self.now, Happening::Readable { conn, end });
            }
        }
    }

    /// Timers of a real process fire late, never early.
    fn set_wake(&mut self, node: NodeId, wake: Option<Time>) {
        let n = &mut self.nodes[node];
        if wake == n.wake {
            return;
        }
        n.wake = wake;
        if let Some(wake) = wake {
            let (life, late) = (n.life, Duration::from_nanos(1 + self.rng.below(500_000)));
            self.at(wake.max(self.now) + late, Happening::Wake { node, life });
        }
    }

    fn send(&mut self, from: NodeId, to: SocketAddr, bytes: &[u8]) {
        let target = self.find(to);
        let source = self.nodes[from].addr;
        let cut = target.is_some_and(|t| self.is_cut(from, t));
        let (fate, arrivals) = match target {
            None => (Fate::Nobody, Vec::new()),
            Some(_) if cut => (Fate::Cut, Vec::new()),
            Some(t) => {
                let link = self.links.entry((from, t)).or_insert_with(|| Link::new(Weather::fair()));
                link.send(self.now, bytes, &mut self.rng)
            }
        };
        let name = &self.nodes[from].name;
        self.trace.datagram(self.now, || format!("{name} -> {to}"), bytes, Some(fate));
        self.observer.sent(self.now, from, to, bytes, fate);
        self.remember(source, to, bytes);
        for (time, bytes) in arrivals {
            self.at(time, Happening::Datagram { from: source, to, bytes });
        }
    }

    fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.cuts.iter().any(|c| {
            let way = (c.a, c.b) == (a, b) || c.both && (c.b, c.a) == (a, b);
            way && (c.from..c.until).contains(&self.now)
        })
    }

    /// Keeps an even sample of everything sent so far (reservoir sampling).
    fn remember(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.sent += 1;
        if self.history.len() < HISTORY {
            return self.history.push((from, to, bytes.to_vec()));
        }
        let place = self.rng.below(self.sent) as usize;
        if place < HISTORY {
            self.history[place] = (from, to, bytes.to_vec());
        }
    }
}
