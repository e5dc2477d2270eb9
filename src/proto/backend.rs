//! A backend: takes shards from AWS, folds every datagram once, answers with the partial result.
//!
//! ```text
//!  OPEN: a session is chosen        all numbers are in          DONE
//!  --------> Half-open ---> Receiving --------------> Answering -----> forgotten
//!             first word in the session         RESULT, again and again
//! ```
//!
//! A session is a random number that AWS can only have from ACCEPT. So a replayed or delayed OPEN
//! begins nothing that anybody sees: it stays half-open and is forgotten. What is left out: what a
//! reduction computes (`reduction`), sockets and screens (the driver's).

use super::rudp::receiver::{Arrival, Receiver};
use super::rudp::rtt::{Retry, Rtt};
use super::seal::Seal;
use super::{Conn, Input, Machine, Output};
use crate::event::{Event, Record, job_name};
use crate::limits::{
    BACKEND_SILENCE, JOB_SILENCE, LOOPBACK_DATAGRAM_BYTES, MAX_BACKEND_JOBS, MAX_HALF_OPEN,
    NETWORK_DATAGRAM_BYTES,
};
use crate::reduction::{Reduction, Registry};
use crate::rng::Rng;
use crate::screen::Line;
use crate::time::Time;
use crate::wire::auth::{self, DatagramResponder};
use crate::wire::datagram::{Body, Header, decode, encode};
use crate::wire::frame::widen;
use ethnum::I256;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
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
}

/// The backend machine.
pub struct Backend {
    settings: Settings,
    rng: Rng,
    responder: Option<DatagramResponder>,
    jobs: BTreeMap<u128, Job>,
    out: VecDeque<Out>,
    current: Vec<u8>,
    plain: Vec<u8>,
    numbers: Vec<i64>,
}

#[derive(Debug)]
enum Out {
    Datagram { to: SocketAddr, bytes: Vec<u8> },
    Event(Event),
}

#[derive(Debug)]
enum Stage {
    HalfOpen { accept: Vec<u8>, since: Time },
    Receiving,
    Answering { retry: Retry },
}

struct Job {
    header: Header,
    attempt: u32,
    aws: SocketAddr,
    seal: Seal,
    reduction: Arc<dyn Reduction>,
    count: u64,
    received: u64,
    partial: I256,
    receiver: Receiver,
    stage: Stage,
    heard: Time,
    rtt: Rtt,
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
            match body {
                Body::Open { attempt, shard, count, function } => {
                    let open = Open { attempt, shard, count, function };
                    self.on_open(now, from, header, open, None);
                }
                body => self.on_session(now, from, header, &body),
            }
        }
    }

    fn on_sealed(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        let Ok(envelope) = auth::peek(bytes) else { return };
        let mut plain = std::mem::take(&mut self.plain);
        if envelope.kind == auth::Kind::Handshake1 {
            let Some(responder) = &mut self.responder else { return };
            if let Ok(pending) = responder.read_open(&envelope, &mut plain)
                && let Ok((header, Body::Open { attempt, shard, count, function })) = decode(&plain)
            {
                let open = Open { attempt, shard, count, function };
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
        if open.shard != self.settings.shard {
            let (own, asked) = (self.settings.shard + 1, open.shard + 1);
            let reason = format!(
                "it is backend {own} of its own configuration and {asked} of AWS's: the two must be the same"
            );
            return self.refuse(from, header.job, reason, pending);
        }
        self.jobs.remove(&header.job);
        let Some(reduction) = self.settings.reductions.get(&open.function) else {
            let known = self.settings.reductions.names().collect::<Vec<_>>().join(", ");
            let reason = format!("it knows no reduction {}, only {known}", open.function);
            return self.refuse(from, header.job, reason, pending);
        };
        if self.half_open().count() >= MAX_HALF_OPEN
            && let Some((oldest, _)) = self.half_open().min_by_key(|&(_, since)| since)
        {
            self.jobs.remove(&oldest);
        }
        if self.speaking() >= MAX_BACKEND_JOBS {
            let reason = format!("it is busy with {MAX_BACKEND_JOBS} jobs");
            return self.refuse(from, header.job, reason, pending);
        }
        let header = Header { job: header.job, session: self.rng.u64().max(1) };
        let mut plain = Vec::new();
        let accept = Body::Accept { attempt: open.attempt, shard: open.shard, credit: self.credit() };
        encode(header, &accept, &mut plain);
        let (seal, accept) = answer(pending, plain);
        self.out.push_back(Out::Datagram { to: from, bytes: accept.clone() });
        let job = Job {
            header,
            attempt: open.attempt,
            aws: from,
            seal,
            partial: reduction.identity(),
            reduction,
            count: open.count,
            received: 0,
            receiver: Receiver::default(),
            stage: Stage::HalfOpen { accept, since: now },
            heard: now,
            rtt: Rtt::default(),
        };
        self.jobs.insert(header.job, job);
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
        let Some(job) = self.jobs.get_mut(&header.job) else { return };
        job.heard = now;
        job.aws = from;
        if let (Stage::HalfOpen { since, .. }, Body::Data { .. } | Body::Ping { .. }) =
            (&job.stage, body)
        {
            let since = *since;
            if matches!(body, Body::Data { .. }) {
                job.rtt.sample(now.since(since)); // a PING comes when AWS has waited long enough
            }
            job.stage = Stage::Receiving;
        }
        match body {
            Body::Data { width, ack_requested, seq, tx, numbers } => {
                let bytes = numbers.len() + crate::wire::datagram::DATA_HEADER_BYTES;
                let arrival = job.receiver.on_data(now, *seq, *tx, bytes, *ack_requested, credit);
                if arrival == Arrival::New {
                    self.numbers.clear();
                    widen(*width, numbers, &mut self.numbers);
                    job.received += self.numbers.len() as u64;
                    job.partial = job.reduction.map(job.partial, &self.numbers);
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
        if job.received > job.count {
            let reason = format!("{} numbers came for a shard of {}", job.received, job.count);
            let abort = job.message(&Body::Abort { reason: reason.clone() });
            self.out.push_back(Out::Datagram { to: job.aws, bytes: abort });
            return self.forget(id, &reason);
        }
        if job.received == job.count && matches!(job.stage, Stage::Receiving) {
            let (name, function) = (self.settings.name.clone(), job.reduction.name().to_owned());
            let lines = [
                Line::ServerReceived { name: name.clone(), count: job.count },
                Line::ServerFinished { name: name.clone(), function, value: job.partial },
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
        let Some(mut job) = self.jobs.remove(&id) else { return };
        let bytes = job.message(&Body::Closed);
        self.out.push_back(Out::Datagram { to: job.aws, bytes });
        let name = self.settings.name.clone();
        self.out.push_back(Out::Event(Event::Screen(Line::ServerSent { name })));
    }

    fn forget(&mut self, id: u128, reason: &str) {
        let Some(job) = self.jobs.remove(&id) else { return };
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

/// What OPEN says.
struct Open {
    attempt: u32,
    shard: u32,
    count: u64,
    function: String,
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

impl Job {
    fn message(&mut self, body: &Body<'_>) -> Vec<u8> {
        let mut plain = Vec::new();
        encode(self.header, body, &mut plain);
        self.seal.seal(plain)
    }

    fn result(&mut self) -> Vec<u8> {
        self.message(&Body::Result { count: self.count, value: self.partial })
    }

    /// How long AWS may be silent.
    fn forgotten_at(&self) -> Time {
        match self.stage {
            Stage::HalfOpen { since, .. } => since + BACKEND_SILENCE,
            _ => self.heard + JOB_SILENCE,
        }
    }

    fn next_timeout(&self) -> Time {
        let retry = match &self.stage {
            Stage::Answering { retry } => Some(retry.at()),
            _ => None,
        };
        let rest = [retry, self.receiver.ack_at()].into_iter().flatten();
        rest.fold(self.forgotten_at(), Time::min)
    }
}

impl Machine for Backend {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => self.on_datagram(now, from, bytes),
            other => debug_assert!(false, "a backend has no connections: {other:?}"),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        let due = self.jobs.iter().filter(|(_, job)| job.next_timeout() <= now);
        let due: Vec<u128> = due.map(|(&id, _)| id).collect();
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
            Some(Out::Event(event)) => Output::Event(event),
            None => Output::Wake(self.jobs.values().map(Job::next_timeout).min()),
        }
    }

    fn room(&self, _conn: Conn) -> usize {
        0
    }

    fn jobs(&self) -> usize {
        self.jobs.len()
    }
}
