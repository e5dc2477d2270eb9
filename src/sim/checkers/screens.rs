//! The screens: every line belongs to a job, comes in its order, and comes once.
//!
//! Lines do not name their job, so with several at once a line may belong to any of them. All ways to
//! assign the lines so far are kept; when none is left, a line was wrong, early or one too many.

use super::Expected;
use crate::screen::{Line, Transcript};
use crate::wire::datagram::{self, Body};
use ethnum::I256;
use std::collections::{BTreeMap, BTreeSet};

/// The ports that the plan's AWS shows.
pub const AWS_PORTS: (u16, u16) = (25319, 24319);

/// More ways than this are not told apart.
const MAX_WAYS: usize = 5000;

/// What AWS shows.
pub(super) struct AwsScreen {
    scripts: Vec<Vec<Line>>,
    /// The jobs whose lines may name any backend.
    is_dataset: Vec<bool>,
    names: Vec<String>,
    /// How far each job may be.
    ways: BTreeSet<Vec<usize>>,
    up: bool,
}

impl AwsScreen {
    pub fn new(expected: &[Expected], names: &[String]) -> AwsScreen {
        let scripts: Vec<_> = expected.iter().map(|e| script(e, names)).collect();
        let ways = BTreeSet::from([vec![0; scripts.len()]]);
        let is_dataset = expected.iter().map(|e| e.is_dataset).collect();
        AwsScreen { scripts, is_dataset, names: names.to_vec(), ways, up: false }
    }

    pub fn show(&mut self, line: &Line) -> Result<(), String> {
        if !self.up {
            self.up = *line == Line::AwsUp;
            return if self.up { Ok(()) } else { Err(format!("AWS shows {line:?} first")) };
        }
        let mut next = BTreeSet::new();
        for way in &self.ways {
            for (job, script) in self.scripts.iter().enumerate() {
                let due = script.get(way[job]).is_some_and(|due| self.fits(job, due, line));
                if due && next.len() < MAX_WAYS {
                    let mut way = way.clone();
                    way[job] += 1;
                    next.insert(way);
                }
            }
        }
        if next.is_empty() {
            return Err(format!("AWS shows a line that is wrong, early or one too many: {line}"));
        }
        self.ways = next;
        Ok(())
    }

    /// Whether a line is the one that is due. Rows of a dataset are shown as whoever's had them then.
    fn fits(&self, job: usize, due: &Line, line: &Line) -> bool {
        let mut due = due.clone();
        if let (
            true,
            Line::AwsSent { name, .. } | Line::AwsResult { name, .. },
            Line::AwsSent { name: shown, .. } | Line::AwsResult { name: shown, .. },
        ) = (self.is_dataset[job], &mut due, line)
            && self.names.contains(shown)
        {
            name.clone_from(shown);
        }
        due == *line
    }

    pub fn is_complete(&self) -> bool {
        let full: Vec<usize> = self.scripts.iter().map(Vec::len).collect();
        self.ways.contains(&full)
    }
}

fn script(e: &Expected, names: &[String]) -> Vec<Line> {
    let (tcp, port) = AWS_PORTS;
    let function = || e.function.clone();
    let shards = || e.shards.iter().zip(names);
    let mut lines = vec![Line::AwsReceived { count: e.count, port: tcp }];
    lines.extend(shards().map(|(&(count, _), name)| Line::AwsSent {
        count,
        name: name.clone(),
        transcript: Transcript::Tables,
    }));
    lines.extend(shards().map(|(&(_, value), name)| Line::AwsResult {
        function: function(),
        name: name.clone(),
        port,
        value,
    }));
    lines.push(Line::AwsFinished { function: function(), value: e.value });
    lines.push(Line::AwsAnswered);
    lines
}

/// What one life of a backend shows.
#[derive(Debug)]
pub(super) struct BackendScreen {
    name: String,
    up: bool,
    /// The count of a "received" line whose "finished" line must come next.
    received: Option<u64>,
    /// How often each pair of lines has come: count, function, value.
    shown: BTreeMap<(u64, String, I256), usize>,
    sent: usize,
    /// Jobs opened here: what for.
    opened: BTreeMap<u128, (u64, String)>,
    /// Sessions in which AWS has spoken.
    sessions: BTreeSet<(u128, u64)>,
}

impl BackendScreen {
    pub fn new(name: String) -> BackendScreen {
        BackendScreen {
            name,
            up: false,
            received: None,
            shown: BTreeMap::new(),
            sent: 0,
            opened: BTreeMap::new(),
            sessions: BTreeSet::new(),
        }
    }

    /// A datagram that is about to reach it.
    pub fn delivered(&mut self, bytes: &[u8]) {
        match datagram::decode(bytes) {
            Ok((
                header,
                Body::Open { count, function, .. } | Body::OpenRows { count, function, .. },
            )) => {
                self.opened.insert(header.job, (count, function));
            }
            Ok((header, Body::Data { .. } | Body::Ping { .. })) => {
                self.sessions.insert((header.job, header.session));
            }
            _ => {}
        }
    }

    pub fn show(&mut self, line: &Line, expected: &[Expected], sealed: bool) -> Result<(), String> {
        let wrong = || Err(format!("Backend-Server {} shows a line out of order: {line}", self.name));
        match line {
            Line::ServerUp { .. } if !self.up => self.up = true,
            _ if !self.up => return wrong(),
            Line::ServerReceived { count, .. } if self.received.is_none() => {
                self.received = Some(*count)
            }
            Line::ServerFinished { function, value, .. } => {
                let Some(count) = self.received.take() else { return wrong() };
                return self.finished((count, function.clone(), *value), expected, sealed);
            }
            Line::ServerSent { .. } if self.received.is_none() => {
                self.sent += 1;
                if self.sent > self.shown.values().sum() {
                    return wrong();
                }
            }
            _ => return wrong(),
        }
        Ok(())
    }

    fn finished(
        &mut self,
        pair: (u64, String, I256),
        expected: &[Expected],
        sealed: bool,
    ) -> Result<(), String> {
        let (count, function, value) = &pair;
        let is_due = |e: &Expected| e.function == *function && e.shards.contains(&(*count, *value));
        if !expected.iter().any(is_due) {
            let name = &self.name;
            return Err(format!("Backend-Server {name}: {function} of {count} numbers is not {value}"));
        }
        // A job that AWS began anew here is shown again: once for each session in which AWS spoke.
        let of_pair =
            |job: &u128| self.opened.get(job).is_some_and(|o| (o.0, &o.1) == (*count, function));
        let allowed = self.sessions.iter().filter(|(job, _)| of_pair(job)).count();
        let times = self.shown.entry(pair.clone()).or_default();
        *times += 1;
        if !sealed && *times > allowed {
            let (name, times) = (&self.name, *times);
            return Err(format!(
                "Backend-Server {name} shows {pair:?} {times} times for {allowed} sessions"
            ));
        }
        Ok(())
    }

    /// Where nothing was disturbed: every job was shown, once.
    pub fn check_complete(&self, jobs: usize) -> Result<(), String> {
        let shown: usize = self.shown.values().sum();
        if (shown, self.sent) == (jobs, jobs) {
            return Ok(());
        }
        let (name, sent) = (&self.name, self.sent);
        Err(format!("Backend-Server {name} shows {shown} results and {sent} as sent, for {jobs} jobs"))
    }
}
