//! A backend: takes shards from AWS, folds every datagram once, answers with the partial result.
//!
//! ```text
//!  OPEN: a session is chosen        all numbers are in          DONE
//!  --------> Half-open ---> Receiving --------------> Answering -----> forgotten
//!             first word in the session         RESULT, again and again
//! ```
//!
//! Where the numbers are rows of a dataset that lies here, none are received: the job is Mapping until the
//! driver, which has the dataset, has mapped them.
//!
//! A session is a random number that AWS can only have from ACCEPT. So a replayed or delayed OPEN
//! begins nothing that anybody sees: it stays half-open and is forgotten. What is left out: what a
//! reduction computes (`reduction`), sockets and screens (the driver's).

mod fold;
mod job;
mod keep;
mod rows;

use super::rudp::receiver::{Arrival, Receiver};
use super::rudp::rtt::{Retry, Rtt};
use super::seal::Seal;
use super::{Conn, Input, Machine, Output};
use crate::dataset;
use crate::event::{Event, Record, job_name};
use crate::limits::{LOOPBACK_DATAGRAM_BYTES, MAX_BACKEND_JOBS, MAX_HALF_OPEN, NETWORK_DATAGRAM_BYTES};
use crate::reduction::{Reduction, Registry};
use crate::rng::Rng;
use crate::screen::Line;
use crate::time::Time;
use crate::wire::auth::{self, DatagramResponder};
use crate::wire::datagram::{Body, Header, decode, encode};
use crate::wire::frame::widen;
use fold::Fold;
use job::{Job, Open, Stage};
pub use keep::Kept;
use keep::{Left, beginning};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

/// What a backend is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As it is called on screens.
    pub name: String,
    /// Its place among the configured backends, from 0: the shard that is its to do.
    pub shard: u32,
    /// Its UDP port, for the screen.
    pub port: u16,
    /// AWS's UDP address. Whatever comes from elsewhere is ignored.
    pub aws: SocketAddr,
    /// Bytes that may be in flight to this backend, over all jobs: what its socket's buffer holds.
    pub credit_bytes: u64,
    /// The shared key, where traffic is to be sealed.
    pub key: Option<[u8; 32]>,
    /// The reductions that are known.
    pub reductions: Registry,
    /// The dataset whose rows the driver can map.
    pub dataset: Option<dataset::Id>,
    /// Whether the driver keeps how far each job is, for a backend that is started after this one.
    pub keeps: bool,
}

/// The backend machine.
pub struct Backend {
    settings: Settings,
    rng: Rng,
    responder: Option<DatagramResponder>,
    jobs: BTreeMap<u128, Job>,
    left: Left,
    /// The last ticket that was given out.
    ticket: u64,
    out: VecDeque<Out>,
    current: Vec<u8>,
    plain: Vec<u8>,
    numbers: Vec<i64>,
}

#[derive(Debug)]
enum Out {
    Datagram { to: SocketAddr, bytes: Vec<u8> },
    Map { ticket: u64, rows: Range<u64>, reduction: Arc<dyn Reduction> },
    Unmap { ticket: u64 },
    Keep { job: u128, kept: Option<Kept> },
    Event(Event),
}

impl Backend {
    /// A backend without jobs; its first output is the boot message.
    pub fn new(settings: Settings, mut rng: Rng) -> Backend {
        let up = Line::ServerUp { name: settings.name.clone(), port: settings.port };
        let responder = settings.key.as_ref().map(|key| DatagramResponder::new(key, &mut rng));
        Backend {
            settings,
            rng,
            responder,
            jobs: BTreeMap::new(),
            left: Left::default(),
            ticket: 0,
            out: VecDeque::from([Out::Event(Event::Screen(up))]),
            current: Vec::new(),
            // Taken now, so that no datagram makes it grow before it is known to be AWS's.
            plain: Vec::with_capacity(LOOPBACK_DATAGRAM_BYTES),
            numbers: Vec::new(),
        }
    }

    /// A job's part of the socket's buffer, at least two datagrams of a network.
    fn credit(&self) -> u64 {
        let part = self.settings.credit_bytes / self.speaking().max(1) as u64;
        part.max(2 * NETWORK_DATAGRAM_BYTES as u64)
    }

    /// How many jobs have a session in which AWS speaks.
    fn speaking(&self) -> usize {
        self.jobs.len() - self.half_open().count()
    }

    /// The jobs in whose session AWS has yet to say a word.
    fn half_open(&self) -> impl Iterator<Item = (u128, Time)> {
        self.jobs.iter().filter_map(|(&id, job)| match job.stage {
            Stage::HalfOpen { since, .. } => Some((id, since)),
            _ => None,
        })
    }

    fn on_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        if from != self.settings.aws {
            return;
        }
        if self.settings.key.is_some() {
            self.on_sealed(now, from, bytes);
        } else if let Ok((header, body)) = decode(bytes) {
            match Open::of(&body) {
                Some(open) => self.on_open(now, from, header, open, None),
                None => self.on_session(now, from, header, &body),
            }
        }
    }

    fn on_sealed(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        let Ok(envelope) = auth::peek(bytes) else { return };
        let mut plain = std::mem::take(&mut self.plain);
        if envelope.kind == auth::Kind::Handshake1 {
            let Some(responder) = &mut self.responder else { return };
            if let Ok(pending) = responder.read_open(&envelope, &mut plain)
                && let Ok((header, body)) = decode(&plain)
                && let Some(open) = Open::of(&body)
            {
                self.on_open(now, from, header, open, Some(pending));
            }
        } else if let Some(job) = self.jobs.get_mut(&envelope.job)
            && job.seal.open(&envelope, &mut plain).is_ok()
            && let Ok((header, body)) = decode(&plain)
            && header.job == envelope.job
        {
            self.on_session(now, from, header, &body);
        }
        self.plain = plain;
    }

    fn on_open(
        &mut self,
        now: Time,
        from: SocketAddr,
        header: Header,
        open: Open,
        pending: Option<auth::Pending>,
    ) {
        match self.jobs.get(&header.job) {
            Some(job) if open.attempt < job.attempt => return,
            Some(job) if open.attempt == job.attempt => {
                // ACCEPT was lost; in a session that has begun, this OPEN is an old copy.
                if let Stage::HalfOpen { accept, .. } = &job.stage {
                    self.out.push_back(Out::Datagram { to: job.aws, bytes: accept.clone() });
                }
                return;
            }
            _ => {}
        }
        if let Some(reason) = self.misplaced(&open) {
            return self.refuse(from, header.job, reason, pending);
        }
        let before = self.remove(header.job);
        let known = self.known(header.job, &open, before.as_ref());
        let Some(reduction) = self.settings.reductions.get(&open.function) else {
            let known = self.settings.reductions.names().collect::<Vec<_>>().join(", ");
            let reason = format!("it knows no reduction {}, only {known}", open.function);
            return self.refuse(from, header.job, reason, pending);
        };
        if self.half_open().count() >= MAX_HALF_OPEN
            && let Some((oldest, _)) = self.half_open().min_by_key(|&(_, since)| since)
        {
            self.remove(oldest);
        }
        if self.speaking() >= MAX_BACKEND_JOBS {
            let reason = format!("it is busy with {MAX_BACKEND_JOBS} jobs");
            return self.refuse(from, header.job, reason, pending);
        }
        let header = Header { job: header.job, session: self.rng.u64().max(1) };
        let mut plain = Vec::new();
        let (attempt, shard, credit) = (open.attempt, open.shard, self.credit());
        let (numbers, partial) = beginning(known.as_ref(), &*reduction);
        let accept = Body::Accept { attempt, shard, credit, from: numbers };
        encode(header, &accept, &mut plain);
        let (seal, accept) = answer(pending, plain);
        self.out.push_back(Out::Datagram { to: from, bytes: accept.clone() });
        let job = Job {
            header,
            attempt,
            shard,
            aws: from,
            seal,
            count: open.count,
            first: open.rows.map(|(_, first)| first),
            fold: Fold::new(reduction, numbers, partial, self.settings.keeps && open.rows.is_none()),
            kept: numbers,
            receiver: Receiver::default(),
            stage: Stage::HalfOpen { accept, since: now },
            heard: now,
            rtt: Rtt::default(),
        };
        self.jobs.insert(header.job, job);
        if let Some(kept) = known {
            self.out.push_back(Out::Keep { job: kept.job, kept: Some(kept) });
        }
    }

    fn refuse(&mut self, to: SocketAddr, job: u128, reason: String, pending: Option<auth::Pending>) {
        let line = format!("Backend-Server {}: refuses a job of AWS {to}: {reason}", self.settings.name);
        self.out.push_back(Out::Event(Event::Stderr(line)));
        let mut plain = Vec::new();
        encode(Header { job, session: 0 }, &Body::Abort { reason }, &mut plain);
        let (_, bytes) = answer(pending, plain);
        self.out.push_back(Out::Datagram { to, bytes });
    }

    /// What belongs to a session.
    fn on_session(&mut self, now: Time, from: SocketAddr, header: Header, body: &Body<'_>) {
        if self.jobs.get(&header.job).is_none_or(|job| job.header != header) {
            return self.on_unknown(from, header, body);
        }
        let credit = self.credit();
        if matches!(body, Body::Accept { .. } | Body::Ack(_) | Body::Result { .. } | Body::Closed) {
            return; // only backends say these: its own words have come back to it
        }
        if matches!(body, Body::Data { .. } | Body::Ping { .. }) && !self.begin(now, header.job, body) {
            return;
        }
        let Some(job) = self.jobs.get_mut(&header.job) else { return };
        job.heard = now;
        job.aws = from;
        match body {
            Body::Data { .. } if job.first.is_some() => {} // the dataset has all there are
            Body::Data { width, ack_requested, seq, tx, numbers } => {
                let bytes = numbers.len() + crate::wire::datagram::DATA_HEADER_BYTES;
                let arrival = job.receiver.on_data(now, *seq, *tx, bytes, *ack_requested, credit);
                if arrival == Arrival::New {
                    self.numbers.clear();
                    widen(*width, numbers, &mut self.numbers);
                    job.fold.add(*seq, &self.numbers);
                    self.keep(header.job);
                }
            }
            Body::Ping { tx } => {
                job.receiver.on_ping(now, *tx);
                if matches!(job.stage, Stage::Answering { .. }) {
                    // AWS knows of no result yet.
                    let result = job.result();
                    self.out.push_back(Out::Datagram { to: job.aws, bytes: result });
                }
            }
            Body::Done if matches!(job.stage, Stage::Answering { .. }) => {
                return self.on_done(header.job);
            }
            Body::Gone | Body::Abort { .. } => {
                let reason = match body {
                    Body::Abort { reason } => reason.clone(),
                    _ => "AWS knows it no longer".to_owned(),
                };
                return self.forget(header.job, &reason);
            }
            _ => {}
        }
        self.on_progress(now, header.job, credit);
    }

    /// The first word in a session that is half-open ends that; false where the job ends instead.
    fn begin(&mut self, now: Time, id: u128, body: &Body<'_>) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        let Stage::HalfOpen { since, .. } = job.stage else { return true };
        if matches!(body, Body::Data { .. }) {
            job.rtt.sample(now.since(since)); // a PING comes when AWS has waited long enough
        }
        job.stage = Stage::Receiving;
        match job.first.filter(|_| job.count > 0) {
            Some(first) => self.begin_map(id, first),
            None => true,
        }
    }

    /// What names no session here: AWS is told so, where it asks for an answer.
    fn on_unknown(&mut self, from: SocketAddr, header: Header, body: &Body<'_>) {
        let half_open = header.session == 0 && matches!(body, Body::Abort { .. });
        let reply = match body {
            Body::Data { .. } | Body::Ping { .. } => Body::Gone,
            Body::Done => Body::Closed,
            Body::Abort { .. } if half_open => {
                self.jobs
                    .retain(|id, job| *id != header.job || !matches!(job.stage, Stage::HalfOpen { .. }));
                return;
            }
            _ => return,
        };
        if self.settings.key.is_none() {
            let mut bytes = Vec::new();
            encode(header, &reply, &mut bytes);
            self.out.push_back(Out::Datagram { to: from, bytes });
        }
    }

    /// Answers when all numbers are in; acknowledges when that is due.
    fn on_progress(&mut self, now: Time, id: u128, credit: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let received = job.fold.received();
        if received > job.count {
            let reason = format!("{received} numbers came for a shard of {}", job.count);
            return self.give_up(id, &reason);
        }
        if received == job.count && matches!(job.stage, Stage::Receiving) {
            let (name, function) = (self.settings.name.clone(), job.fold.reduction.name().to_owned());
            let lines = [
                Line::ServerReceived { name: name.clone(), count: job.count },
                Line::ServerFinished { name: name.clone(), function, value: job.fold.value() },
            ];
            self.out.extend(lines.map(|line| Out::Event(Event::Screen(line))));
            self.out.push_back(Out::Event(Event::Log(Record::ShardReceived {
                job: job_name(id),
                shard: name,
                numbers: job.count,
                datagrams: job.receiver.datagrams(),
                duplicates: job.receiver.duplicates(),
            })));
            job.stage = Stage::Answering { retry: Retry::new(now, job.rtt.clone()) };
            let result = job.result();
            self.out.push_back(Out::Datagram { to: job.aws, bytes: result });
        }
        if job.receiver.ack_at().is_some_and(|at| at <= now) {
            let mut plain = Vec::new();
            encode(job.header, &Body::Ack(job.receiver.ack(now, credit)), &mut plain);
            self.out.push_back(Out::Datagram { to: job.aws, bytes: job.seal.seal(plain) });
        }
    }

    /// AWS has the result: the job is over.
    fn on_done(&mut self, id: u128) {
        let Some(mut job) = self.remove(id) else { return };
        let bytes = job.message(&Body::Closed);
        self.out.push_back(Out::Datagram { to: job.aws, bytes });
        let name = self.settings.name.clone();
        self.out.push_back(Out::Event(Event::Screen(Line::ServerSent { name })));
    }

    /// Ends a job and tells AWS why.
    fn give_up(&mut self, id: u128, reason: &str) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let bytes = job.message(&Body::Abort { reason: reason.to_owned() });
        self.out.push_back(Out::Datagram { to: job.aws, bytes });
        self.forget(id, reason);
    }

    /// Takes a job away, and calls off what is mapped for it.
    fn remove(&mut self, id: u128) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        self.let_go(id, &job);
        if let Stage::Mapping { ticket } = job.stage {
            self.out.push_back(Out::Unmap { ticket });
        }
        Some(job)
    }

    fn forget(&mut self, id: u128, reason: &str) {
        let Some(job) = self.remove(id) else { return };
        if matches!(job.stage, Stage::HalfOpen { .. }) {
            return; // nobody ever spoke in this session: nothing is lost
        }
        let line = format!(
            "Backend-Server {}: a job of AWS {} ended without its result: {reason}",
            self.settings.name, job.aws
        );
        self.out.push_back(Out::Event(Event::Stderr(line)));
        let peer = job.aws.to_string();
        self.out.push_back(Out::Event(Event::Log(Record::Dropped { peer, reason: reason.to_owned() })));
    }
}

/// Seals the answer to an OPEN where the OPEN was sealed.
fn answer(pending: Option<auth::Pending>, plain: Vec<u8>) -> (Seal, Vec<u8>) {
    match pending {
        None => (Seal::Plain, plain),
        Some(pending) => {
            let mut bytes = Vec::new();
            let seal = pending.accept(&plain, &mut bytes);
            (Seal::Sealed(Box::new(seal)), bytes)
        }
    }
}

impl Machine for Backend {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => self.on_datagram(now, from, bytes),
            Input::Mapped { ticket, result } => self.on_mapped(now, ticket, result),
            Input::Kept(records) => self.on_kept(now, records),
            other => debug_assert!(false, "a backend has no connections: {other:?}"),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        let due = self.jobs.iter().filter(|(_, job)| job.next_timeout() <= now);
        let due: Vec<u128> = due.map(|(&id, _)| id).collect();
        self.forget_left(now);
        let credit = self.credit();
        for id in due {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if now >= job.forgotten_at() {
                self.forget(id, "AWS fell silent");
                continue;
            }
            if let Stage::Answering { retry } = &mut job.stage
                && retry.is_due(now)
            {
                let result = job.result();
                self.out.push_back(Out::Datagram { to: job.aws, bytes: result });
            }
            self.on_progress(now, id, credit);
        }
    }

    fn poll_output(&mut self, _now: Time) -> Output<'_> {
        match self.out.pop_front() {
            Some(Out::Datagram { to, bytes }) => {
                self.current = bytes;
                let segment = self.current.len();
                Output::Datagrams { to, bytes: &self.current, segment }
            }
            Some(Out::Map { ticket, rows, reduction }) => Output::Map { ticket, rows, reduction },
            Some(Out::Unmap { ticket }) => Output::Unmap { ticket },
            Some(Out::Keep { job, kept }) => Output::Keep { job, kept },
            Some(Out::Event(event)) => Output::Event(event),
            None => {
                Output::Wake(self.jobs.values().map(Job::next_timeout).chain(self.left.until()).min())
            }
        }
    }

    fn room(&self, _conn: Conn) -> usize {
        0
    }

    fn jobs(&self) -> usize {
        self.jobs.len()
    }
}
