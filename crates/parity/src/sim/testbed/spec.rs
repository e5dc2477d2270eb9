//! What is simulated, as a TOML file: each value is checked here, once, and an error names file and line.
//!
//! Numbers carry their unit in their key. `crates/parity/examples/testbed.toml` documents every key.

use super::clock::Pace;
use super::load::{Load, Pattern};
use crate::code::{self, Code};
use crate::id::{Holder, Member, Worker};
use crate::limits::{
    MAX_ARENA_BYTES, MAX_HOLDERS, MAX_MESSAGE_BYTES, MAX_TESTBED_DIFFS, MAX_TESTBED_KILLS,
    MAX_TESTBED_LOG, MAX_TESTBED_MESSAGES, MAX_TESTBED_PAGES, MAX_WORKERS, PAGE_BYTES, TESTBED_PAGES,
};
use crate::mode::Mode;
use serde::Deserialize;
use std::fmt::Display;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// A system, a task, and faults; checked.
#[derive(Clone, Debug)]
pub struct Spec {
    pub(super) workers: Vec<u16>,
    pub(super) workers_per_group: Option<u16>,
    failures: usize,
    pub(super) pace: Pace,
    /// The modes that are simulated, in this order.
    pub modes: Vec<Mode>,
    pub(super) interval: Duration,
    pub(super) buffer_bytes: Option<u64>,
    work: Duration,
    pub(super) state_bytes: u64,
    working_bytes: u64,
    written_bytes_per_s: u64,
    pattern: Pattern,
    message_bytes: u64,
    messages_per_s: f64,
    pub(super) mtbf: Option<Duration>,
    pub(super) seed: u64,
    pub(super) kills: Vec<(Duration, Member)>,
}

/// What is wrong with a specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No TOML, an unknown or missing key, or a value of another type.
    #[error("{at}: {reason}")]
    Syntax {
        /// File and line.
        at: String,
        /// What the parser says.
        reason: String,
    },
    /// A value that breaks a rule.
    #[error("{at}: {key} = {value}: {rule}")]
    Value {
        /// File and line.
        at: String,
        /// The key.
        key: String,
        /// As it is written.
        value: String,
        /// What it has to be.
        rule: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    system: RawSystem,
    checkpoints: RawCheckpoints,
    task: RawTask,
    #[serde(default)]
    faults: RawFaults,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSystem {
    workers: Spanned<OneOrMany<i64>>,
    workers_per_group: Option<Spanned<i64>>,
    failures: Option<Spanned<i64>>,
    link_mbit_per_s: Spanned<f64>,
    latency_ms: Spanned<f64>,
    memory_mb_per_s: Spanned<f64>,
    detect_s: Option<Spanned<f64>>,
    restart_s: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheckpoints {
    mode: Option<Spanned<OneOrMany<String>>>,
    interval_s: Spanned<f64>,
    buffer_mib: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTask {
    work_s: Spanned<f64>,
    state_mib: Spanned<f64>,
    working_set_mib: Option<Spanned<f64>>,
    written_pages_per_s: Spanned<f64>,
    pattern: Option<Spanned<String>>,
    message_kib: Option<Spanned<f64>>,
    messages_per_s: Option<Spanned<f64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFaults {
    mtbf_s: Option<Spanned<f64>>,
    seed: Option<Spanned<i64>>,
    kill: Vec<RawKill>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKill {
    at_s: Spanned<f64>,
    member: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T: Clone> OneOrMany<T> {
    fn all(&self) -> Vec<T> {
        match self {
            OneOrMany::One(one) => vec![one.clone()],
            OneOrMany::Many(many) => many.clone(),
        }
    }
}

/// Where values come from, so that an error can say where it is.
struct Source<'a> {
    origin: &'a str,
    text: &'a str,
}

const MIB: f64 = 1_048_576.0;
const KIB: f64 = 1024.0;
/// A run of thirty years is none of these.
const MAX_S: f64 = 1e9;

impl Source<'_> {
    fn at(&self, span: &Range<usize>) -> String {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", self.origin)
    }

    fn refuse<T>(&self, key: &str, written: &Spanned<T>, rule: impl Display) -> Error {
        let span = written.span();
        let value = self.text.get(span.clone()).unwrap_or_default().to_owned();
        Error::Value { at: self.at(&span), key: key.to_owned(), value, rule: rule.to_string() }
    }

    fn number(&self, key: &str, written: &Spanned<f64>, least: f64, most: f64) -> Result<f64, Error> {
        let value = *written.get_ref();
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(self.refuse(key, written, format!("it has to be {least} to {most}")))
        }
    }

    fn seconds(&self, key: &str, written: &Spanned<f64>, least: f64) -> Result<Duration, Error> {
        Ok(Duration::from_secs_f64(self.number(key, written, least, MAX_S)?))
    }

    fn count(&self, key: &str, written: &Spanned<i64>, least: u16, most: usize) -> Result<u16, Error> {
        let value = u16::try_from(*written.get_ref()).ok();
        let good = value.filter(|value| *value >= least && usize::from(*value) <= most);
        good.ok_or_else(|| self.refuse(key, written, format!("it has to be {least} to {most}")))
    }
}

impl Spec {
    /// Reads a specification; `origin` is what errors call it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(origin: &str, text: &str) -> Result<Spec, Error> {
        let source = Source { origin, text };
        let raw: Raw = toml::from_str(text).map_err(|e| Error::Syntax {
            at: e.span().map_or_else(|| origin.to_owned(), |span| source.at(&span)),
            reason: e.message().replace('\n', "; "),
        })?;
        let system = &raw.system;
        let workers = workers(system, &source)?;
        let failures = system
            .failures
            .as_ref()
            .map_or(Ok(1), |failures| source.count("failures", failures, 1, MAX_HOLDERS))?;
        let pace = pace(system, &source)?;
        let checkpoints = &raw.checkpoints;
        let task = &raw.task;
        let state_mib =
            source.number("state_mib", &task.state_mib, 0.01, MAX_ARENA_BYTES as f64 / MIB)?;
        let working_mib = task.working_set_mib.as_ref().map_or(Ok(state_mib), |working| {
            source.number("working_set_mib", working, 0.01, state_mib)
        })?;
        let pages = source.number("written_pages_per_s", &task.written_pages_per_s, 0.0, 1e9)?;
        let message_kib = task.message_kib.as_ref().map_or(Ok(1.0), |kib| {
            source.number("message_kib", kib, 0.01, MAX_MESSAGE_BYTES as f64 / KIB)
        })?;
        let messages_per_s = task
            .messages_per_s
            .as_ref()
            .map_or(Ok(0.0), |rate| source.number("messages_per_s", rate, 0.0, 1e6))?;
        let buffer = checkpoints.buffer_mib.as_ref();
        let buffer = buffer.map(|mib| source.number("buffer_mib", mib, 0.01, state_mib)).transpose()?;
        let mut spec = Spec {
            workers,
            workers_per_group: None,
            failures: failures.into(),
            pace,
            modes: modes(checkpoints, &source)?,
            interval: source.seconds("interval_s", &checkpoints.interval_s, 0.001)?,
            buffer_bytes: buffer.map(|mib| (mib * MIB) as u64),
            work: source.seconds("work_s", &task.work_s, 0.001)?,
            state_bytes: (state_mib * MIB) as u64,
            working_bytes: (working_mib * MIB) as u64,
            written_bytes_per_s: (pages * PAGE_BYTES as f64) as u64,
            pattern: pattern(task, &source)?,
            message_bytes: (message_kib * KIB) as u64,
            messages_per_s,
            mtbf: None,
            seed: 0,
            kills: Vec::new(),
        };
        spec.check_checkpoints(checkpoints, &source)?;
        spec.check_messages(task, &source)?;
        spec.set_groups(system, &source)?;
        spec.set_faults(&raw.faults, &source)?;
        Ok(spec)
    }

    /// Who can be lost of a group.
    pub(super) fn code(&self, workers: u16) -> Result<Code, code::Error> {
        Code::new(workers.into(), self.failures)
    }

    /// Messages to one partner between two checkpoints, at most.
    pub(super) fn messages_per_interval(&self, rounds: u64) -> u64 {
        (self.interval.as_secs_f64() * self.messages_per_s).ceil().min(rounds as f64) as u64
    }

    pub(super) fn load(&self, mode: Mode, workers: u16) -> Load {
        let rounds = (self.work.as_secs_f64() * self.messages_per_s).round().max(1.0) as u64;
        let mut load = Load {
            workers,
            pattern: if self.messages_per_s == 0.0 { Pattern::None } else { self.pattern },
            rounds,
            round_ns: self.work.as_nanos() as u64 / rounds,
            message_bytes: self.message_bytes,
            written_bytes_per_s: self.written_bytes_per_s,
            page_bytes: PAGE_BYTES as u64,
            working_pages: 0,
            log_pages: 0,
        };
        let partners = (0..workers).map(|me| load.receivers(Worker(me)).len() as u64).max();
        let sent = self.messages_per_interval(rounds) * partners.unwrap_or_default();
        let log_bytes = if mode == Mode::Plank { 0 } else { sent.saturating_mul(self.message_bytes) };
        let most = self.working_bytes.max(log_bytes);
        let coarse = most.div_ceil(TESTBED_PAGES);
        // A buffer is counted in pages, so there must be some in it.
        let fine = self.buffer_bytes.map_or(coarse, |bytes| bytes.div_ceil(TESTBED_PAGES));
        let page_bytes = coarse.min(fine).max(most.div_ceil(MAX_TESTBED_PAGES));
        load.page_bytes = page_bytes.next_multiple_of(PAGE_BYTES as u64);
        load.working_pages = self.working_bytes.div_ceil(load.page_bytes) as u32;
        load.log_pages = log_bytes.div_ceil(load.page_bytes) as u32;
        load
    }

    fn check_checkpoints(&self, raw: &RawCheckpoints, source: &Source<'_>) -> Result<(), Error> {
        let work_s = self.work.as_secs_f64();
        let most = self.workers.iter().copied().max().unwrap_or_default();
        let holders = self.code(most).map_or(MAX_HOLDERS, |code| code.holders());
        let each = usize::from(most) * holders;
        let too_many = |checkpoints: f64| {
            (checkpoints * each as f64 > MAX_TESTBED_DIFFS).then(|| {
                format!(
                    "that makes {checkpoints:.0} checkpoints with {each} diffs each, and {MAX_TESTBED_DIFFS} diffs are \
                     the most"
                )
            })
        };
        if let Some(rule) = too_many(work_s / self.interval.as_secs_f64()) {
            return Err(source.refuse("interval_s", &raw.interval_s, rule));
        }
        if let (Some(written), Some(bytes)) = (&raw.buffer_mib, self.buffer_bytes)
            && let Some(rule) = too_many(work_s * self.written_bytes_per_s as f64 / bytes as f64)
        {
            return Err(source.refuse("buffer_mib", written, rule));
        }
        Ok(())
    }

    fn check_messages(&self, task: &RawTask, source: &Source<'_>) -> Result<(), Error> {
        let Some(rate) = &task.messages_per_s else { return Ok(()) };
        for workers in self.workers.iter().copied() {
            let load = self.load(Mode::Offload, workers);
            let partners: Vec<u64> =
                (0..workers).map(|me| load.receivers(Worker(me)).len() as u64).collect();
            let all = load.rounds * partners.iter().sum::<u64>();
            let log = self.messages_per_interval(load.rounds) * partners.iter().max().unwrap_or(&0);
            if all > MAX_TESTBED_MESSAGES {
                let rule = format!(
                    "{workers} workers would send {all} messages, and {MAX_TESTBED_MESSAGES} are the most: simulate \
                     fewer and longer ones"
                );
                return Err(source.refuse("messages_per_s", rate, rule));
            }
            if log > MAX_TESTBED_LOG {
                let rule = format!(
                    "a worker would send {log} messages between two checkpoints, and {MAX_TESTBED_LOG} are the most: \
                     simulate fewer and longer ones, or a shorter interval"
                );
                return Err(source.refuse("messages_per_s", rate, rule));
            }
        }
        Ok(())
    }

    fn set_groups(&mut self, system: &RawSystem, source: &Source<'_>) -> Result<(), Error> {
        let Some(written) = &system.workers_per_group else { return Ok(()) };
        let most = source.count("workers_per_group", written, 1, MAX_WORKERS)?;
        if let Some(odd) = self.workers.iter().find(|all| **all > most && !all.is_multiple_of(most)) {
            let rule = format!("{odd} workers cannot be cut into groups of {most}");
            return Err(source.refuse("workers_per_group", written, rule));
        }
        self.workers_per_group = Some(most);
        Ok(())
    }

    fn set_faults(&mut self, faults: &RawFaults, source: &Source<'_>) -> Result<(), Error> {
        let mtbf = faults.mtbf_s.as_ref();
        self.mtbf = mtbf.map(|mtbf| source.seconds("mtbf_s", mtbf, 0.001)).transpose()?;
        let all =
            f64::from(self.workers.iter().copied().max().unwrap_or_default()) * self.work.as_secs_f64();
        if let (Some(written), Some(mean)) = (mtbf, self.mtbf)
            && all / mean.as_secs_f64() > MAX_TESTBED_KILLS as f64
        {
            let rule = format!("more than {MAX_TESTBED_KILLS} deaths of workers are to be expected");
            return Err(source.refuse("mtbf_s", written, rule));
        }
        if let Some(seed) = &faults.seed {
            self.seed = u64::try_from(*seed.get_ref())
                .map_err(|_| source.refuse("seed", seed, "it has to be 0 or more"))?;
        }
        for kill in &faults.kill {
            if self.kills.len() >= MAX_TESTBED_KILLS {
                let rule = format!("{MAX_TESTBED_KILLS} deaths are the most");
                return Err(source.refuse("kill", &kill.member, rule));
            }
            let at = source.seconds("at_s", &kill.at_s, 0.0)?;
            self.kills.push((at, self.member(&kill.member, source)?));
        }
        self.kills.sort_unstable();
        Ok(())
    }

    /// `worker:2` or `holder:0`, of all groups, in the smallest system that is simulated.
    fn member(&self, written: &Spanned<String>, source: &Source<'_>) -> Result<Member, Error> {
        let workers = self.workers.iter().copied().min().unwrap_or_default();
        let group = self.workers_per_group.map_or(workers, |most| most.min(workers));
        let code = self.code(group).map_err(|e| source.refuse("member", written, e))?;
        let holders = code.holders() * usize::from(workers / group);
        let parsed = written.get_ref().split_once(':').and_then(|(role, number)| match role {
            "worker" => number.parse().ok().filter(|n| *n < workers).map(|n| Member::Worker(Worker(n))),
            "holder" => {
                let number = number.parse().ok().filter(|n| usize::from(*n) < holders);
                number.map(|n| Member::Holder(Holder(n)))
            }
            _ => None,
        });
        parsed.ok_or_else(|| {
            let (workers, holders) = (workers - 1, holders - 1);
            let rule =
                format!("it has to be worker:0 to worker:{workers} or holder:0 to holder:{holders}");
            source.refuse("member", written, rule)
        })
    }
}

fn workers(system: &RawSystem, source: &Source<'_>) -> Result<Vec<u16>, Error> {
    let all = system.workers.get_ref().all();
    let good = |n: &i64| u16::try_from(*n).ok().filter(|n| (1..=MAX_WORKERS as u16).contains(n));
    let read: Option<Vec<u16>> = all.iter().map(good).collect();
    read.filter(|read| (1..=MAX_WORKERS).contains(&read.len())).ok_or_else(|| {
        let rule = format!("it has to be 1 to {MAX_WORKERS}, or a list of such numbers");
        source.refuse("workers", &system.workers, rule)
    })
}

fn modes(checkpoints: &RawCheckpoints, source: &Source<'_>) -> Result<Vec<Mode>, Error> {
    let Some(written) = &checkpoints.mode else { return Ok(Mode::ALL.to_vec()) };
    let read = written.get_ref().all().iter().map(|name| name.parse()).collect::<Result<Vec<_>, _>>();
    match read {
        Ok(modes) if (1..=Mode::ALL.len()).contains(&modes.len()) => Ok(modes),
        Ok(_) => Err(source.refuse("mode", written, "it has to be 1 to 3 of n+1, enhanced, offload")),
        Err(why) => Err(source.refuse("mode", written, why)),
    }
}

fn pattern(task: &RawTask, source: &Source<'_>) -> Result<Pattern, Error> {
    let Some(written) = &task.pattern else { return Ok(Pattern::Ring) };
    match written.get_ref().as_str() {
        "none" => Ok(Pattern::None),
        "ring" => Ok(Pattern::Ring),
        "all" => Ok(Pattern::All),
        "first" => Ok(Pattern::First),
        _ => Err(source.refuse("pattern", written, "it has to be none, ring, all or first")),
    }
}

fn pace(system: &RawSystem, source: &Source<'_>) -> Result<Pace, Error> {
    let seconds = |key, written: &Option<Spanned<f64>>, default: Duration| {
        written.as_ref().map_or(Ok(default), |written| source.seconds(key, written, 0.0))
    };
    let link = source.number("link_mbit_per_s", &system.link_mbit_per_s, 0.001, 1e7)?;
    let memory = source.number("memory_mb_per_s", &system.memory_mb_per_s, 1.0, 1e7)?;
    let latency_ms = source.number("latency_ms", &system.latency_ms, 0.0, 1e6)?;
    Ok(Pace {
        link_bytes_per_s: link * 1e6 / 8.0,
        latency: Duration::from_secs_f64(latency_ms / 1e3),
        memory_bytes_per_s: memory * 1e6,
        detect: seconds("detect_s", &system.detect_s, Duration::from_secs(1))?,
        restart: seconds("restart_s", &system.restart_s, Duration::from_secs(1))?,
        longest_step: Duration::MAX,
    })
}
