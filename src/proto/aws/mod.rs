//! AWS: takes jobs from clients, has them mapped at the backends, reduces and answers.
//!
//! One machine serves all clients. A job lives here exactly as long as somebody still needs it: its
//! client until it has the answer, its backends until they have let go. Whatever arrives for no job
//! changes nothing. What is left out: sockets and screens (the driver's), one client's job (`job`), one
//! backend's session (`shard`), who does the rows of a backend that has failed (`takeover`).

mod job;
mod request;
mod shard;
mod takeover;

use super::{Conn, Input, Machine, Output};
use crate::event::{Event, Record};
use crate::limits::{LOOPBACK_DATAGRAM_BYTES, MAX_GREETINGS, SEND_RINGS_BYTES};
use crate::reduction::Registry;
use crate::rng::Rng;
use crate::screen::{Line, Transcript};
use crate::time::Time;
use crate::wire::auth;
use crate::wire::datagram::{Body, Header, decode, encode};
use job::Job;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use std::time::Duration;

/// What AWS is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The backends, in the order of the shards. Each has its own address.
    pub backends: Vec<Peer>,
    /// AWS's TCP port, for the screen.
    pub tcp_port: u16,
    /// AWS's UDP port, for the screen.
    pub udp_port: u16,
    /// The wording of the screen.
    pub transcript: Transcript,
    /// How long a job waits for a backend that does not answer.
    pub restart_wait: Duration,
    /// How long a client may take over one frame.
    pub client_stall: Duration,
    /// Size of a UDP payload: a multiple of 8.
    pub datagram_bytes: usize,
    /// Whether all addresses are this host's loopback.
    pub loopback: bool,
    /// Most bytes that one shard keeps for retransmission.
    pub ring_bytes: usize,
    /// The shared key, where traffic is to be sealed.
    pub key: Option<[u8; 32]>,
    /// The reductions that are known.
    pub reductions: Registry,
}

/// A backend.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As it is called on screens.
    pub name: String,
    /// Its UDP address.
    pub addr: SocketAddr,
}

/// The AWS machine.
#[derive(Debug)]
pub struct Aws {
    settings: Settings,
    rng: Rng,
    jobs: BTreeMap<Conn, Job>,
    /// How many of them are of clients that have not said what they want.
    greetings: usize,
    /// Whose an ID is. A job has one, and one more for each shard that has changed backends.
    by_id: BTreeMap<u128, Conn>,
    out: VecDeque<Out>,
    /// The job that was served last, so that the next one is served next.
    turn: Conn,
    current: Vec<u8>,
    plain: Vec<u8>,
}

/// Something to hand to the driver.
#[derive(Debug)]
enum Out {
    Datagram { to: SocketAddr, bytes: Vec<u8> },
    Stream { conn: Conn, bytes: Vec<u8> },
    Close { conn: Conn },
    Event(Event),
}

/// What a job may use of its AWS.
struct Context<'a> {
    settings: &'a Settings,
    rng: &'a mut Rng,
    by_id: &'a mut BTreeMap<u128, Conn>,
    out: &'a mut VecDeque<Out>,
    /// Jobs of clients that have said what they want.
    running: usize,
}

impl Context<'_> {
    fn show(&mut self, line: Line) {
        self.out.push_back(Out::Event(Event::Screen(line)));
    }

    fn log(&mut self, record: Record) {
        self.out.push_back(Out::Event(Event::Log(record)));
    }
}

impl Aws {
    /// An AWS without jobs; its first output is the boot message.
    pub fn new(settings: Settings, rng: Rng) -> Aws {
        Aws {
            settings,
            rng,
            jobs: BTreeMap::new(),
            greetings: 0,
            by_id: BTreeMap::new(),
            out: VecDeque::from([Out::Event(Event::Screen(Line::AwsUp))]),
            turn: Conn(0),
            current: Vec::new(),
            // Taken now, so that no datagram makes it grow before it is known to be a backend's.
            plain: Vec::with_capacity(LOOPBACK_DATAGRAM_BYTES),
        }
    }

    /// Lets a job do something; ends it if that fails or if it is over.
    fn with_job(
        &mut self,
        now: Time,
        conn: Conn,
        act: impl FnOnce(&mut Job, &mut Context<'_>) -> Result<(), String>,
    ) {
        let running = self.jobs.len() - self.greetings;
        let Some(job) = self.jobs.get_mut(&conn) else { return };
        let was_greeting = job.is_greeting();
        let (settings, rng, by_id, out) =
            (&self.settings, &mut self.rng, &mut self.by_id, &mut self.out);
        let mut cx = Context { settings, rng, by_id, out, running };
        let acted = act(job, &mut cx);
        if let Err(reason) = &acted {
            job.fail(now, reason, &mut cx);
        }
        let ends = acted.is_err() || job.is_over();
        if was_greeting && (ends || !job.is_greeting()) {
            self.greetings -= 1;
        }
        let wants_ring = !ends && job.wants_ring();
        if ends {
            self.by_id.remove(&job.id);
            for shard in &job.shards {
                self.by_id.remove(&shard.id);
            }
            self.jobs.remove(&conn);
        }
        if wants_ring {
            self.provide(now, conn);
        }
    }

    /// Memory for numbers on their way: a quarter of what the jobs together have left, so that there is
    /// always some left, and at most what a shard makes use of.
    fn provide(&mut self, now: Time, conn: Conn) {
        let held: usize = self.jobs.values().map(Job::held_bytes).sum();
        let bytes = (SEND_RINGS_BYTES.saturating_sub(held) / 4).min(self.settings.ring_bytes);
        self.with_job(now, conn, |job, cx| job.provide(now, bytes, cx));
    }

    fn on_opened(&mut self, now: Time, conn: Conn, peer: SocketAddr) {
        if self.greetings >= MAX_GREETINGS {
            // Who does not say what it wants makes room for who may.
            let oldest = self.jobs.iter().find(|(_, job)| job.is_greeting()).map(|(&conn, _)| conn);
            if let Some(oldest) = oldest {
                let reason = format!("{MAX_GREETINGS} clients have come and asked for nothing yet");
                self.with_job(now, oldest, |_, _| Err(reason));
            }
        }
        let job = Job::new(now, conn, peer, &self.settings, &mut self.rng);
        self.by_id.insert(job.id, conn);
        self.jobs.insert(conn, job);
        self.greetings += 1;
    }

    /// A datagram is somebody's only if it comes from a backend's address and names a job.
    fn on_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        if !self.settings.backends.iter().any(|peer| peer.addr == from) {
            return;
        }
        if self.settings.key.is_some() {
            self.on_sealed(now, from, bytes);
            return;
        }
        let Ok((header, body)) = decode(bytes) else { return };
        match self.find(from, header.job) {
            Some((conn, index)) => self.on_shard(now, conn, index, header, &body),
            None => self.on_stale(from, header, &body),
        }
    }

    fn on_sealed(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        let Ok(envelope) = auth::peek(bytes) else { return };
        let Some((conn, index)) = self.find(from, envelope.job) else { return };
        let mut plain = std::mem::take(&mut self.plain);
        let shard = self.jobs.get_mut(&conn).and_then(|job| job.shards.get_mut(index));
        if shard.is_some_and(|shard| shard.unseal(&envelope, &mut plain).is_ok())
            && let Ok((header, body)) = decode(&plain)
            && header.job == envelope.job
        {
            self.on_shard(now, conn, index, header, &body);
        }
        self.plain = plain;
    }

    /// The shard that the backend at this address has under this ID.
    fn find(&self, from: SocketAddr, id: u128) -> Option<(Conn, usize)> {
        let conn = *self.by_id.get(&id)?;
        let shards = &self.jobs.get(&conn)?.shards;
        let index = shards.iter().position(|shard| shard.addr == from && shard.id == id)?;
        Some((conn, index))
    }

    fn on_shard(&mut self, now: Time, conn: Conn, index: usize, header: Header, body: &Body<'_>) {
        self.with_job(now, conn, |job, cx| {
            if let Some(shard) = job.shards.get_mut(index) {
                shard.on_datagram(now, header, body, cx.rng);
            }
            job.resume(now, cx)
        });
    }

    /// A backend that still works for a job that is over is told so.
    fn on_stale(&mut self, from: SocketAddr, header: Header, body: &Body<'_>) {
        if matches!(body, Body::Accept { .. } | Body::Ack(_) | Body::Result { .. }) {
            let mut bytes = Vec::new();
            encode(header, &Body::Gone, &mut bytes);
            self.out.push_back(Out::Datagram { to: from, bytes });
        }
    }

    /// Makes datagrams ready in the next job that has any, after the one whose turn it was.
    fn next_sender(&mut self, now: Time) -> Option<(Conn, usize)> {
        let after = (Bound::Excluded(self.turn), Bound::Unbounded);
        let upto = (Bound::Unbounded, Bound::Included(self.turn));
        for range in [after, upto] {
            for (&conn, job) in self.jobs.range_mut(range) {
                let ready = job.shards.iter_mut().position(|shard| shard.poll_datagrams(now));
                if let Some(index) = ready {
                    self.turn = conn;
                    return Some((conn, index));
                }
            }
        }
        None
    }

    fn wake(&self) -> Option<Time> {
        self.jobs.values().filter_map(|job| job.next_timeout(&self.settings)).min()
    }
}

impl Machine for Aws {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => self.on_datagram(now, from, bytes),
            Input::Opened { conn, peer, .. } => self.on_opened(now, conn, peer),
            Input::Stream { conn, bytes } => {
                self.with_job(now, conn, |job, cx| job.on_stream(now, bytes, cx));
            }
            Input::Drained { conn } => self.with_job(now, conn, |job, cx| {
                job.on_drained(now, cx);
                Ok(())
            }),
            Input::Closed { conn, error } => self.with_job(now, conn, |job, _| job.on_closed(error)),
            Input::Block(_) | Input::Mapped { .. } | Input::Kept(_) => {
                debug_assert!(false, "AWS reads no numbers, maps none and keeps nothing");
            }
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        let due = |job: &Job| job.next_timeout(&self.settings).is_some_and(|at| at <= now);
        let due: Vec<Conn> =
            self.jobs.iter().filter(|(_, job)| due(job)).map(|(&conn, _)| conn).collect();
        for conn in due {
            self.with_job(now, conn, |job, cx| job.on_timeout(now, cx));
        }
    }

    fn poll_output(&mut self, now: Time) -> Output<'_> {
        match self.out.pop_front() {
            Some(Out::Datagram { to, bytes }) => {
                self.current = bytes;
                let segment = self.current.len();
                return Output::Datagrams { to, bytes: &self.current, segment };
            }
            Some(Out::Stream { conn, bytes }) => return Output::Stream { conn, bytes },
            Some(Out::Close { conn }) => return Output::Close { conn },
            Some(Out::Event(event)) => return Output::Event(event),
            None => {}
        }
        if let Some((conn, index)) = self.next_sender(now)
            && let Some(shard) = self.jobs.get(&conn).and_then(|job| job.shards.get(index))
        {
            let (bytes, segment) = shard.datagrams();
            return Output::Datagrams { to: shard.addr, bytes, segment };
        }
        Output::Wake(self.wake())
    }

    fn room(&self, conn: Conn) -> usize {
        self.jobs.get(&conn).map_or(0, Job::room)
    }

    fn jobs(&self) -> usize {
        self.jobs.len()
    }
}
