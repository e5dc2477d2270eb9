//! One shard's way to its backend and back: open, stream, result, close; and again if the backend dies.
//!
//! ```text
//!            ACCEPT            RESULT           CLOSED, GONE or LINGER over
//!  Opening ---------> Streaming -----> Closing ------------------------> Closed
//!     ^                  |
//!     +--- GONE, silence +      (a new attempt: the backend will choose a new session)
//! ```
//!
//! Rows of a dataset are not streamed: after ACCEPT a PING is all that AWS says until RESULT comes. Whoever
//! fails at them is not waited for: the job gives them to another backend (`takeover`).
//!
//! What is left out: where the numbers come from, and what the partial results add up to (`job`).

mod moving;
mod numbers;
mod words;

use crate::dataset;
use crate::event::{Record, job_name};
use crate::limits::{BACKEND_SILENCE, LINGER, LOOPBACK_RTT, MAX_ATTEMPTS, PING_INTERVAL};
use crate::proto::rudp::congestion::Path;
use crate::proto::rudp::rtt::{Retry, Rtt};
use crate::proto::rudp::sender::{Run, Sender};
use crate::proto::seal::{Opener, Seal};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::Defect;
use crate::wire::auth::{ENVELOPE_BYTES, Envelope};
use crate::wire::datagram::{Body, Header, encode};
use ethnum::I256;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// What every shard of a job has in common.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub job: u128,
    pub function: String,
    /// The dataset that the numbers are, where they are not to be sent.
    pub dataset: Option<dataset::Id>,
    pub path: Path,
    /// Size of a plain DATA datagram, header included.
    pub datagram: usize,
    pub restart_wait: Duration,
    pub key: Option<[u8; 32]>,
}

/// What a shard tells its job.
#[derive(Debug)]
pub(super) enum Told {
    /// The backend is there and wants the numbers.
    Accepted,
    /// It has died: what is on its way to it is not wanted.
    Lost,
    /// Every number has been acknowledged.
    Delivered,
    /// The backend has not answered for a while; a sentence for people.
    Waiting(String),
    /// The shard cannot be done; the job's end.
    Failed(String),
    /// The backend has failed at rows of a dataset, which another may do.
    LostRows(Failure),
    /// For the log.
    Record(Record),
}

/// How a backend fails at rows of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It does not answer OPEN ROWS.
    Unanswered,
    /// It has fallen silent.
    Silent,
    /// It was started anew and knows nothing.
    Forgotten,
    /// It says why it cannot.
    Refused(String),
}

#[derive(Debug)]
enum Stage {
    Opening {
        message: Vec<u8>,
        opener: Box<Opener>,
        retry: Retry,
        sent_at: Time,
        resent: bool,
    },
    Streaming {
        session: u64,
        sender: Box<Sender>,
        seal: Seal,
        pinged: Time,
        /// Once everything has arrived: when to ask for the result, should that be lost.
        result: Option<Retry>,
    },
    Closing {
        session: u64,
        seal: Seal,
        retry: Retry,
        until: Time,
    },
    Closed,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub index: u32,
    /// The ID under which the backend knows it: the job's, or its own once another backend has it.
    pub id: u128,
    pub name: String,
    pub addr: SocketAddr,
    pub range: Range<u64>,
    /// The client has sent the whole range at least once.
    pub received: bool,
    /// The backend has had the whole range at least once.
    pub delivered: bool,
    /// How many of its first numbers the backend has had before this attempt.
    pub from: u64,
    /// How many of them, at most, backends have ever been sent.
    passed: u64,
    pub partial: Option<I256>,
    pub attempt: u32,
    /// How often backends have lost or refused it, where it is rows of a dataset.
    pub failures: u32,
    /// Where the backend has failed before: the pause before each OPEN, so that many shards are no flood.
    pause: Option<Duration>,
    terms: Terms,
    stage: Stage,
    /// When the backend last said anything, and since when this stage waits for it.
    heard: Time,
    waiting_since: Time,
    told_waiting: bool,
    began: Time,
    outbox: VecDeque<Vec<u8>>,
    told: VecDeque<Told>,
    ready: Option<Ready>,
    current: Vec<u8>,
}

/// Where the datagrams to be sent next lie.
#[derive(Clone, Copy, Debug)]
enum Ready {
    Ring(Run),
    Current { segment: usize },
}

impl Shard {
    pub fn open(
        now: Time,
        terms: Terms,
        index: u32,
        (name, addr): (String, SocketAddr),
        range: Range<u64>,
        rng: &mut Rng,
    ) -> Shard {
        let mut shard = Shard {
            index,
            id: terms.job,
            name,
            addr,
            received: range.is_empty() || terms.dataset.is_some(),
            range,
            delivered: false,
            from: 0,
            passed: 0,
            partial: None,
            attempt: 0,
            failures: 0,
            pause: None,
            terms,
            stage: Stage::Closed,
            heard: now,
            waiting_since: now,
            told_waiting: false,
            began: now,
            outbox: VecDeque::new(),
            told: VecDeque::new(),
            ready: None,
            current: Vec::new(),
        };
        shard.begin(now, rng);
        shard
    }

    fn count(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Begins an attempt: OPEN, until there is an answer.
    fn begin(&mut self, now: Time, rng: &mut Rng) {
        let terms = &self.terms;
        let (attempt, shard, count) = (self.attempt, self.index, self.count());
        let (first, function) = (self.range.start, terms.function.clone());
        let open = match terms.dataset {
            None => Body::Open { attempt, shard, count, function },
            Some(dataset) => Body::OpenRows { attempt, shard, first, count, function, dataset },
        };
        let mut plain = Vec::new();
        encode(Header { job: self.id, session: 0 }, &open, &mut plain);
        let (opener, message) =
            Opener::new(terms.key.as_ref(), rng, self.id, (self.index, self.attempt), plain);
        self.outbox.clear();
        if self.pause.is_none() {
            self.outbox.push_back(message.clone());
        }
        self.waiting_since = now;
        self.told_waiting = false;
        let mut rtt = Rtt::default();
        match self.pause {
            // The first sample of a round trip makes a timeout of three (RFC 6298, 2.2).
            Some(pause) => rtt.sample(pause / 3),
            None if terms.path == Path::Loopback => rtt.sample(LOOPBACK_RTT),
            None => {}
        }
        let retry = Retry::new(now, rtt);
        self.stage =
            Stage::Opening { message, opener: Box::new(opener), retry, sent_at: now, resent: false };
    }

    fn restart(&mut self, now: Time, why: &str, rng: &mut Rng) {
        self.log_wait(format!("{why}; attempt {} begins", self.attempt + 1));
        self.attempt += 1;
        if self.attempt >= MAX_ATTEMPTS {
            let text =
                format!("{} was lost {MAX_ATTEMPTS} times; the last time it {why}", self.backend());
            self.told.push_back(Told::Failed(text));
            return;
        }
        self.told.push_back(Told::Lost);
        self.begin(now, rng);
    }

    /// Opens a sealed datagram of this shard's backend.
    pub fn unseal(&mut self, envelope: &Envelope<'_>, plain: &mut Vec<u8>) -> Result<(), Defect> {
        match &mut self.stage {
            Stage::Opening { opener, .. } => opener.accept(envelope, plain),
            Stage::Streaming { seal, .. } | Stage::Closing { seal, .. } => seal.open(envelope, plain),
            Stage::Closed => Err(Defect::Seal),
        }
    }

    /// Takes in what the backend says. Whatever does not fit the stage and session changes nothing.
    pub fn on_datagram(&mut self, now: Time, header: Header, body: &Body<'_>, rng: &mut Rng) {
        match (&mut self.stage, body) {
            (Stage::Opening { .. }, Body::Accept { attempt, shard, credit, from })
                if (*attempt, *shard) == (self.attempt, self.index) && header.session != 0 =>
            {
                self.on_accept(now, header.session, *credit, *from);
            }
            (Stage::Opening { .. }, Body::Abort { reason }) if header.session == 0 => {
                self.on_refused(reason, "refuses");
            }
            (Stage::Streaming { session, .. }, _) if *session == header.session => {
                self.heard = now;
                self.on_stream(now, header.session, body, rng);
            }
            (Stage::Closing { session, .. }, Body::Closed | Body::Gone)
                if *session == header.session =>
            {
                self.stage = Stage::Closed;
            }
            (Stage::Closing { session, .. }, Body::Result { .. }) if *session == header.session => {
                self.say(Body::Done);
            }
            _ => {}
        }
    }

    fn on_accept(&mut self, now: Time, session: u64, credit: u64, from: u64) {
        if !self.begin_at(from) {
            return;
        }
        let header = Header { job: self.id, session };
        let Stage::Opening { opener, sent_at, resent, .. } = &mut self.stage else { return };
        let mut rtt = Rtt::default();
        if !*resent {
            rtt.sample(now.since(*sent_at));
        }
        let round_trip = now.since(*sent_at);
        let Some(seal) = opener.take_seal() else { return };
        let terms = &self.terms;
        let mut sender = Box::new(Sender::new(header, terms.path, terms.datagram, credit, rtt));
        let silent = self.from == self.range.end - self.range.start || terms.dataset.is_some();
        if silent {
            sender.finish();
        }
        let result = silent.then(|| Retry::new(now, sender.rtt().clone()));
        self.stage = Stage::Streaming { session, sender, seal, pinged: now, result };
        self.heard = now;
        self.began = now;
        self.log(Record::ShardAccepted {
            job: job_name(self.terms.job),
            shard: self.name.clone(),
            attempt: self.attempt,
            from: self.from,
            credit_bytes: credit,
            rtt_us: round_trip.as_secs_f64() * 1e6,
        });
        if silent {
            // A first word in the session is what lets the backend answer for numbers that do not travel.
            self.ping(now);
            self.told.push_back(Told::Delivered);
        } else {
            self.told.push_back(Told::Accepted);
        }
    }

    fn on_stream(&mut self, now: Time, session: u64, body: &Body<'_>, rng: &mut Rng) {
        let Stage::Streaming { sender, .. } = &mut self.stage else { return };
        match body {
            Body::Ack(ack) => {
                let before = sender.is_delivered();
                sender.on_ack(now, ack);
                if !before && sender.is_delivered() {
                    self.on_delivered(now);
                }
            }
            Body::Result { count, value } => self.on_result(now, session, *count, *value),
            Body::Gone if self.terms.dataset.is_some() => {
                self.told.push_back(Told::LostRows(Failure::Forgotten));
            }
            Body::Gone => self.restart(now, "has forgotten the job: it was started anew", rng),
            Body::Abort { reason } => self.on_refused(reason, "gives up"),
            _ => {}
        }
    }

    fn on_result(&mut self, now: Time, session: u64, count: u64, value: I256) {
        let Stage::Streaming { sender, .. } = &self.stage else { return };
        if count != self.count() || !sender.is_finished() {
            let text = format!(
                "{} answers for {count} numbers; its shard has {}",
                self.backend(),
                self.count()
            );
            self.told.push_back(Told::Failed(text));
            return;
        }
        if !sender.is_delivered() {
            // The acknowledgement of the last numbers was lost; the result says the same.
            self.on_delivered(now);
        }
        if let Stage::Streaming { seal, sender, .. } = std::mem::replace(&mut self.stage, Stage::Closed)
        {
            let retry = Retry::new(now, sender.rtt().clone());
            self.stage = Stage::Closing { session, seal, retry, until: now + LINGER };
        }
        self.say(Body::Done);
        self.partial = Some(value);
        self.log(Record::ShardResult {
            job: job_name(self.terms.job),
            shard: self.name.clone(),
            value: value.to_string(),
        });
    }

    /// Takes in that time has passed.
    pub fn on_timeout(&mut self, now: Time, rng: &mut Rng) {
        let (stuck_wait, dataset) = (self.stuck_wait(), self.terms.dataset);
        match &mut self.stage {
            Stage::Opening { message, retry, resent, .. } => {
                if retry.is_due(now) {
                    *resent = true;
                    self.outbox.clear();
                    self.outbox.push_back(message.clone());
                }
                self.on_waiting(now);
            }
            Stage::Streaming { sender, pinged, result, .. } => {
                sender.on_timeout(now);
                let ask = result.as_mut().is_some_and(|retry| retry.is_due(now));
                let stuck = sender.stuck_since().is_some_and(|at| now >= at + stuck_wait);
                let silent = now.since(self.heard) >= BACKEND_SILENCE;
                if silent && dataset.is_some() {
                    self.told.push_back(Told::LostRows(Failure::Silent));
                } else if silent {
                    self.restart(now, "fell silent", rng);
                } else if stuck {
                    self.on_stuck();
                } else if ask || now.since((*pinged).max(self.heard)) >= PING_INTERVAL {
                    self.ping(now);
                }
            }
            Stage::Closing { retry, until, .. } => {
                if now >= *until {
                    self.stage = Stage::Closed;
                } else if retry.is_due(now) {
                    self.say(Body::Done);
                }
            }
            Stage::Closed => {}
        }
    }

    /// When [`Shard::on_timeout`] is next wanted.
    pub fn next_timeout(&self) -> Option<Time> {
        match &self.stage {
            Stage::Opening { retry, .. } => Some(retry.at().min(self.patience())),
            Stage::Streaming { sender, pinged, result, .. } => {
                let result = result.as_ref().map(Retry::at);
                let ping = (*pinged).max(self.heard) + PING_INTERVAL;
                let dead = self.heard + BACKEND_SILENCE;
                let stuck = sender.stuck_since().map(|at| at + self.stuck_wait());
                let all = [sender.next_timeout(), result, stuck, Some(ping), Some(dead)];
                all.into_iter().flatten().min()
            }
            Stage::Closing { retry, until, .. } => Some(retry.at().min(*until)),
            Stage::Closed => None,
        }
    }

    /// True when the backend has let go, or has been waited for long enough.
    pub fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    /// The next thing to tell the job.
    pub fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// Makes the next datagrams for `addr` ready; false when there are none.
    pub fn poll_datagrams(&mut self, now: Time) -> bool {
        self.ready = self.outbox.pop_front().map(|bytes| {
            self.current = bytes;
            Ready::Current { segment: self.current.len() }
        });
        if let (None, Stage::Streaming { sender, seal, .. }) = (self.ready, &mut self.stage) {
            self.ready = sender.poll_transmit(now).map(|run| match seal {
                Seal::Plain => Ready::Ring(run),
                Seal::Sealed(seal) => {
                    self.current.clear();
                    sender
                        .bytes(&run)
                        .chunks(run.segment)
                        .for_each(|d| seal.seal_into(d, &mut self.current));
                    Ready::Current { segment: run.segment + ENVELOPE_BYTES }
                }
            });
        }
        self.ready.is_some()
    }

    /// The datagrams that [`Shard::poll_datagrams`] made ready, back to back, and the size of each.
    pub fn datagrams(&self) -> (&[u8], usize) {
        match (&self.ready, &self.stage) {
            (Some(Ready::Ring(run)), Stage::Streaming { sender, .. }) => {
                (sender.bytes(run), run.segment)
            }
            (Some(Ready::Current { segment }), _) => (&self.current, *segment),
            _ => (&[], 0),
        }
    }

    /// A last datagram that tells the backend to forget the job.
    pub fn abort(&mut self, reason: &str) -> Option<Vec<u8>> {
        if matches!(self.stage, Stage::Closed) {
            return None;
        }
        self.outbox.clear();
        if !(self.is_waiting() && self.pause.is_some()) {
            // Else it is said to one that is silent, whose session, if there is one, nobody ever speaks in.
            self.say(Body::Abort { reason: reason.to_owned() });
        }
        self.stage = Stage::Closed;
        self.outbox.pop_front()
    }

    fn ping(&mut self, now: Time) {
        if let Stage::Streaming { sender, pinged, .. } = &mut self.stage {
            *pinged = now;
            let tx = sender.ping(now);
            self.say(Body::Ping { tx });
        }
    }

    /// Queues a datagram of the current session, if there is one (an Opening shard speaks for session 0).
    fn say(&mut self, body: Body<'_>) {
        let job = self.id;
        let mut plain = Vec::new();
        match &mut self.stage {
            Stage::Streaming { session, seal, .. } | Stage::Closing { session, seal, .. } => {
                encode(Header { job, session: *session }, &body, &mut plain);
                self.outbox.push_back(seal.seal(plain));
            }
            Stage::Opening { .. } if self.terms.key.is_none() => {
                encode(Header { job, session: 0 }, &body, &mut plain);
                self.outbox.push_back(plain);
            }
            _ => {}
        }
    }
}
