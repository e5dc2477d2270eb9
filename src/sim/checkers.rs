//! What must hold in every run.
//!
//! The checkers see what a person with a packet sniffer and all the screens would see, and what the
//! plan says should be on them. They look inside nothing: so they hold for any implementation of the
//! protocol. Where traffic is sealed they judge screens, sizes and rates only. What is left out:
//! verdicts that need the end of the run, which `run` gives.

pub(super) mod screens;
mod wire;

use super::link::Fate;
use super::plan::{ClientPlan, Plan};
use super::world::{NodeId, Observer};
use crate::event::{Event, Record};
use crate::reduction::Reduction as _;
use crate::screen::Line;
use crate::time::Time;
use ethnum::I256;
use screens::{AwsScreen, BackendScreen};
use std::net::SocketAddr;
use std::time::Duration;
use wire::{Politeness, Sessions};

/// AWS never has more than this waiting for one client's kernel: it says little.
const MAX_AWS_QUEUE_BYTES: usize = 64 << 10;
/// A client has one block waiting, and it is at most this.
const MAX_CLIENT_QUEUE_BYTES: usize = 64 << 10;
/// No datagram but DATA is longer: an acknowledgement with its whole bitmap, or a reason, sealed.
const MAX_CONTROL_BYTES: usize = 700;

/// What one job should show and come to.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The reduction's name.
    pub function: String,
    /// Each shard's count and partial result, in the order of the backends.
    pub shards: Vec<(u64, I256)>,
    /// The answer.
    pub value: I256,
    /// How many numbers there are.
    pub count: u64,
    /// Whether they are a dataset, so that any backend may do any shard.
    pub is_dataset: bool,
}

impl Expected {
    /// For a client and `k` backends, computed without any of the code under test but the cut.
    pub fn new(client: &ClientPlan, k: usize) -> Expected {
        let (function, rows) = (client.function, &client.rows[..]);
        let of = |rows: &[i64]| naive(function.name(), rows);
        let count = rows.len() as u64;
        let ranges = crate::shard::shards(count, k);
        let shard =
            |r: std::ops::Range<u64>| (r.end - r.start, of(&rows[r.start as usize..r.end as usize]));
        let shards = ranges.into_iter().map(shard).collect();
        let is_dataset = client.is_dataset;
        Expected { function: function.name().into(), shards, value: of(rows), count, is_dataset }
    }
}

fn naive(function: &str, rows: &[i64]) -> I256 {
    let wide = rows.iter().map(|&n| I256::from(n));
    match function {
        "MIN" => wide.min().unwrap_or(I256::from(i64::MAX)),
        "MAX" => wide.max().unwrap_or(I256::from(i64::MIN)),
        "SUM" => wide.fold(I256::ZERO, |a, b| a + b),
        _ => wide.fold(I256::ZERO, |a, b| a + b * b),
    }
}

/// Who is who in the world.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// AWS's node.
    pub aws: NodeId,
    /// The first backend's; the others follow.
    pub backends: NodeId,
    /// The first client's; the others follow.
    pub clients: NodeId,
}

/// Watches one run.
pub struct Checkers {
    cast: Cast,
    backend_names: Vec<String>,
    /// What each client has ended with, and when.
    pub finished: Vec<Option<(Time, Result<I256, String>)>>,
    expected: Vec<Expected>,
    client_lines: Vec<usize>,
    aws: AwsScreen,
    backends: Vec<BackendScreen>,
    politeness: Politeness,
    /// What is known of the sessions; nothing where they are sealed.
    pub sessions: Option<Sessions>,
    datagram_bytes: usize,
    restarted: bool,
    /// Datagrams sent by machines.
    pub datagrams: u64,
    /// What did not hold.
    pub failures: Vec<String>,
}

impl Checkers {
    /// For a plan.
    pub fn new(plan: &Plan, cast: Cast, expected: Vec<Expected>, names: Vec<String>) -> Checkers {
        let clients = plan.clients.len();
        Checkers {
            cast,
            finished: vec![None; clients],
            client_lines: vec![0; clients],
            aws: AwsScreen::new(&expected, &names),
            backends: names.iter().map(|name| BackendScreen::new(name.clone())).collect(),
            backend_names: names,
            expected,
            politeness: Politeness::new(clients),
            sessions: plan.key.is_none().then(|| Sessions::new(plan)),
            datagram_bytes: plan.datagram_bytes,
            restarted: false,
            datagrams: 0,
            failures: Vec::new(),
        }
    }

    fn fail(&mut self, at: Time, checker: &str, what: String) {
        if self.failures.len() < 20 {
            self.failures.push(format!("{checker}: at {:.6}: {what}", at.as_secs_f64()));
        }
    }

    fn on_client(&mut self, at: Time, client: usize, event: Event) {
        match event {
            Event::Screen(line) => {
                let e = &self.expected[client];
                let function = e.function.clone();
                let script = [
                    Line::ClientSentFunction { function: function.clone() },
                    Line::ClientSentNumbers { count: e.count },
                    Line::ClientReceived { function, value: e.value },
                ];
                let at_line = self.client_lines[client];
                self.client_lines[client] += 1;
                if script.get(at_line) != Some(&line) {
                    self.fail(
                        at,
                        "screens",
                        format!("client {client} shows {line:?} as line {at_line}"),
                    );
                }
            }
            Event::Finished(outcome) => {
                if self.finished[client].is_some() {
                    self.fail(at, "answer", format!("client {client} ends twice"));
                }
                match &outcome {
                    Ok(value) if *value != self.expected[client].value => {
                        let right = self.expected[client].value;
                        self.fail(at, "answer", format!("client {client} has {value}, not {right}"));
                    }
                    Ok(_) if self.client_lines[client] != 3 => {
                        self.fail(at, "screens", format!("client {client} ends before its last line"));
                    }
                    Err(text) if text.trim().is_empty() => {
                        self.fail(at, "answer", format!("client {client} fails without a reason"));
                    }
                    _ => {}
                }
                self.finished[client] = Some((at, outcome));
            }
            _ => {}
        }
    }

    /// Whether no shard was ever begun anew.
    pub fn has_no_retries(&self) -> bool {
        !self.restarted
    }

    /// Judges, at the end, what the screens of completed jobs lack.
    pub fn conclude(&mut self, at: Time, all_answered: bool, undisturbed: bool) {
        if all_answered && !self.aws.is_complete() {
            self.fail(at, "screens", "AWS lacks lines of an answered job".into());
        }
        if all_answered && undisturbed {
            for i in 0..self.backends.len() {
                if let Err(what) = self.backends[i].check_complete(self.expected.len()) {
                    self.fail(at, "screens", what);
                }
            }
        }
        let found = self.sessions.as_ref().and_then(Sessions::excess);
        if let Some(what) = found {
            self.fail(at, "politeness", what);
        }
    }
}

impl Observer for Checkers {
    fn sent(&mut self, at: Time, from: NodeId, to: SocketAddr, bytes: &[u8], fate: Fate) {
        self.datagrams += 1;
        let most = self.datagram_bytes.max(MAX_CONTROL_BYTES);
        if bytes.len() > most || bytes.is_empty() {
            self.fail(at, "size", format!("node {from} sends a datagram of {} bytes", bytes.len()));
        }
        if let Err(what) = self.politeness.sent(at, from, to) {
            self.fail(at, "politeness", what);
        }
        let from_aws = from == self.cast.aws;
        if let Some(sessions) = &mut self.sessions
            && let Err((checker, what)) = sessions.sent(at, from_aws, bytes, fate)
        {
            self.fail(at, checker, what);
        }
    }

    fn delivered(&mut self, at: Time, from: SocketAddr, to: NodeId, bytes: &[u8]) {
        self.politeness.delivered(to, from);
        if let Some(sessions) = &mut self.sessions {
            let backend = to.checked_sub(self.cast.backends).filter(|b| *b < self.backends.len());
            sessions.delivered(at, to == self.cast.aws, bytes);
            if let Some(backend) = backend {
                self.backends[backend].delivered(bytes);
            }
        }
    }

    fn said(&mut self, at: Time, node: NodeId, event: Event) {
        if let Event::Stderr(text) = &event
            && text.trim().is_empty()
        {
            self.fail(at, "screens", format!("node {node} says nothing on stderr"));
        }
        self.restarted |= matches!(event, Event::Log(Record::Wait { .. }));
        if node >= self.cast.clients {
            self.on_client(at, node - self.cast.clients, event);
        } else if let Event::Screen(line) = event {
            let judged = if node == self.cast.aws {
                self.aws.show(&line)
            } else {
                let sealed = self.sessions.is_none();
                self.backends[node - self.cast.backends].show(&line, &self.expected, sealed)
            };
            if let Err(what) = judged {
                self.fail(at, "screens", what);
            }
        }
    }

    fn queued(&mut self, at: Time, node: NodeId, bytes: usize) {
        let most = if node == self.cast.aws { MAX_AWS_QUEUE_BYTES } else { MAX_CLIENT_QUEUE_BYTES };
        if bytes > most {
            self.fail(at, "memory", format!("node {node} has {bytes} bytes waiting for one connection"));
        }
    }

    fn lives(&mut self, _: Time, node: NodeId, alive: bool) {
        if let Some(backend) = node.checked_sub(self.cast.backends).filter(|b| *b < self.backends.len())
            && alive
        {
            let name = self.backend_names[backend].clone();
            self.backends[backend] = BackendScreen::new(name);
        }
    }
}

/// How long a run goes on after its last client, to see that everything is forgotten: a backend's
/// JOB_SILENCE and AWS's LINGER fit.
pub const QUIET: Duration = Duration::from_secs(12);
