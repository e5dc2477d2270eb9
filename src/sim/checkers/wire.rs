//! The wire: how much may be in flight, how often things may be said again.

use crate::limits::{MAX_BACKEND_JOBS, MAX_RTO, WINDOW_DATAGRAMS};
use crate::sim::link::Fate;
use crate::sim::plan::Plan;
use crate::sim::world::NodeId;
use crate::time::Time;
use crate::wire::datagram::{self, Ack, Body};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// What may be sent each second to somebody who has been silent for so long, per job.
const PATIENCE: [(Duration, usize); 2] =
    [(Duration::from_millis(3000), 7), (Duration::from_millis(1000), 18)];

/// Silence, and what is said into it.
#[derive(Debug)]
pub(super) struct Politeness {
    jobs: usize,
    pairs: BTreeMap<(NodeId, SocketAddr), Silence>,
}

#[derive(Debug, Default)]
struct Silence {
    /// When the first thing that has had no answer was said.
    since: Option<Time>,
    recent: VecDeque<Time>,
}

impl Politeness {
    pub fn new(jobs: usize) -> Politeness {
        Politeness { jobs, pairs: BTreeMap::new() }
    }

    pub fn sent(&mut self, at: Time, from: NodeId, to: SocketAddr) -> Result<(), String> {
        let silence = self.pairs.entry((from, to)).or_default();
        let lasts = at.since(*silence.since.get_or_insert(at));
        silence.recent.push_back(at);
        while silence.recent.front().is_some_and(|t| at.since(*t) >= Duration::from_secs(1)) {
            silence.recent.pop_front();
        }
        // The window of one second must lie within the silence, after its beginning.
        let rule = PATIENCE.iter().find(|(after, _)| lasts >= *after + Duration::from_secs(1));
        let n = silence.recent.len();
        match rule {
            Some((_, most)) if n > most * self.jobs => Err(format!(
                "node {from} sends {n} datagrams in a second to {to}, silent for {:.3} s",
                lasts.as_secs_f64()
            )),
            _ => Ok(()),
        }
    }

    pub fn delivered(&mut self, to: NodeId, from: SocketAddr) {
        if let Some(silence) = self.pairs.get_mut(&(to, from)) {
            silence.since = None;
            silence.recent.clear();
        }
    }
}

/// Every session's numbers, as they go over the wire.
#[derive(Debug)]
pub struct Sessions {
    sessions: BTreeMap<(u128, u64), Session>,
    datagram_bytes: u64,
    is_steady: bool,
    losses: u64,
    repeats: u64,
}

#[derive(Debug, Default)]
struct Session {
    credit: u64,
    /// Sequence numbers that AWS has sent and not heard of, and their bytes.
    pending: BTreeMap<u64, u64>,
    pending_bytes: u64,
    next: u64,
    lost: u64,
    /// When the timer last began anew: numbers were sent, or acknowledged.
    timer_at: Time,
    /// When each transmission was sent, and the longest that AWS has seen one take.
    sent_at: BTreeMap<u64, Time>,
    slowest: Duration,
}

impl Sessions {
    pub(super) fn new(plan: &Plan) -> Sessions {
        Sessions {
            sessions: BTreeMap::new(),
            datagram_bytes: plan.datagram_bytes as u64,
            is_steady: plan.is_steady(),
            losses: 0,
            repeats: 0,
        }
    }

    pub(super) fn sent(
        &mut self,
        at: Time,
        from_aws: bool,
        bytes: &[u8],
        fate: Fate,
    ) -> Result<(), (&'static str, String)> {
        self.losses += u64::from(fate.is_loss());
        let Ok((header, body)) = datagram::decode(bytes) else {
            return Err(("size", "a machine sends a datagram that is unsound".into()));
        };
        let (seq, tx) = match body {
            Body::Data { seq, tx, .. } => (seq, tx),
            Body::Ping { tx } => {
                let session = self.sessions.get_mut(&(header.job, header.session));
                return session.map_or(Ok(()), |session| {
                    session.sent_at.insert(tx, at);
                    session.check_timer(at)
                });
            }
            _ => return Ok(()),
        };
        if !from_aws || bytes.len() as u64 > self.datagram_bytes {
            return Err(("size", format!("DATA of {} bytes", bytes.len())));
        }
        let s = self.sessions.entry((header.job, header.session)).or_default();
        s.lost += u64::from(fate.is_loss());
        s.timer_at = at;
        s.sent_at.insert(tx, at);
        if seq < s.next {
            self.repeats += 1;
            return Ok(());
        }
        if seq != s.next {
            return Err(("credit", format!("numbers {seq} are sent, {} are next", s.next)));
        }
        s.next += 1;
        s.pending.insert(seq, bytes.len() as u64);
        s.pending_bytes += bytes.len() as u64;
        let oldest = s.pending.keys().next().copied().unwrap_or(seq);
        if seq - oldest >= WINDOW_DATAGRAMS {
            return Err(("credit", format!("numbers {oldest} wait while {seq} are sent")));
        }
        // What is known to be lost is not in flight; AWS cannot know of more losses than there were.
        let most = s.credit.max(self.datagram_bytes) + s.lost * self.datagram_bytes;
        if self.is_steady && s.pending_bytes > most {
            let (pending, credit) = (s.pending_bytes, s.credit);
            return Err(("credit", format!("{pending} bytes in flight, credit {credit}")));
        }
        Ok(())
    }

    pub(super) fn delivered(&mut self, at: Time, to_aws: bool, bytes: &[u8]) {
        let Ok((header, body)) = datagram::decode(bytes) else { return };
        match body {
            // A backend makes no more sessions than jobs and attempts; lies are not counted.
            Body::Accept { credit, .. } if to_aws && self.sessions.len() < MAX_BACKEND_JOBS => {
                self.sessions.entry((header.job, header.session)).or_default().credit = credit;
            }
            Body::Ack(ack) if to_aws => {
                if let Some(s) = self.sessions.get_mut(&(header.job, header.session)) {
                    s.on_ack(at, &ack);
                }
            }
            _ => {}
        }
    }

    /// More was sent again than losses explain, where nothing is ever late.
    pub(super) fn excess(&self) -> Option<String> {
        // What is sent to a process that has died is not lost on the way: each session may end with the
        // dozen probes that go out until its backend counts as dead.
        let most = 4 * self.losses + 16 * self.sessions.len() as u64;
        let (repeats, losses) = (self.repeats, self.losses);
        (self.is_steady && repeats > most)
            .then(|| format!("{repeats} datagrams sent again, for {losses} losses"))
    }
}

impl Session {
    /// AWS pings whom it has not heard for a while. If numbers are unacknowledged, its timer must have
    /// sent some of them again by then: it never waits longer than its bound, or than what a round trip
    /// as slow as the slowest makes of SRTT + 4 RTTVAR.
    fn check_timer(&self, at: Time) -> Result<(), (&'static str, String)> {
        let idle = at.since(self.timer_at);
        let bound = MAX_RTO.max(self.slowest * 5);
        if self.pending.is_empty() || idle <= bound + bound / 4 {
            return Ok(());
        }
        let n = self.pending.len();
        Err(("timer", format!("{n} datagrams unacknowledged, none sent again for {idle:?}")))
    }

    fn on_ack(&mut self, at: Time, ack: &Ack<'_>) {
        if ack.next > self.next {
            return;
        }
        self.credit = ack.credit;
        if let Some(sent_at) = self.sent_at.get(&ack.largest_tx) {
            self.slowest = self.slowest.max(at.since(*sent_at));
        }
        let below: Vec<u64> = self.pending.range(..ack.next).map(|(&seq, _)| seq).collect();
        for seq in below.into_iter().chain(ack.selected()) {
            if let Some(bytes) = self.pending.remove(&seq) {
                self.pending_bytes -= bytes;
                self.timer_at = at;
            }
        }
    }
}
