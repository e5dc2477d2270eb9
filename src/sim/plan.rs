//! A plan: everything that a seed decides before anything happens.
//!
//! Who takes part, what the clients ask for and how honest they are, the weather of each link, what is
//! cut off, what crashes and what freezes, where a dataset lies. About half of the seeds are mild: there every honest client
//! must get its answer. In the others an error with a reason will do. What is left out: AWS's own
//! death, which ends every job it has.

use super::link::Weather;
use super::pipe::Wire;
use crate::limits::{
    LOOPBACK_DATAGRAM_BYTES, LOOPBACK_RING_BYTES, MIN_DATAGRAM_BYTES, NETWORK_DATAGRAM_BYTES,
};
use crate::reduction::Function;
use crate::rng::Rng;
use std::time::Duration;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Honest,
    /// Its process ends so long after its start.
    Dies(Duration),
    /// It stops for so long, so long after its start.
    Stalls(Duration, Duration),
    /// Its file turns out changed from this row on.
    FileChanges(u64),
    /// It breaks the protocol.
    Lies(Lie),
}

/// A way to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Says nothing at all.
    Mute,
    /// Sends noise.
    Noise,
    /// A frame that claims 2^60 bytes.
    Huge,
    /// Half of the numbers it announced, then nothing.
    Fewer,
    /// More than was asked for.
    More,
    /// Other numbers than were asked for.
    Elsewhere,
    /// Numbers before anybody asked.
    Unasked,
    /// A function that nobody knows.
    Stranger,
    /// The greeting, a byte a second.
    Drip,
}

const LIES: [Lie; 9] = [
    Lie::Mute,
    Lie::Noise,
    Lie::Huge,
    Lie::Fewer,
    Lie::More,
    Lie::Elsewhere,
    Lie::Unasked,
    Lie::Stranger,
    Lie::Drip,
];

/// A client of the plan.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// When it connects.
    pub start: Duration,
    /// What it asks for.
    pub function: Function,
    /// Over which numbers.
    pub rows: Vec<i64>,
    /// How it behaves.
    pub manner: Manner,
    /// Its connection.
    pub wire: Wire,
    /// Most numbers that it reads at a time.
    pub block_rows: u64,
    /// Whether its numbers are the plan's dataset, which the backends have.
    pub is_dataset: bool,
}

/// Something that befalls a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends at a moment, or once so many datagrams have reached it; back after a while, or never.
    Crash { at: Result<Duration, u64>, back: Option<Duration> },
    /// Its link to AWS is cut: both ways, or only from AWS (`Some(true)`), or only to it.
    Cut { at: Duration, length: Duration, one_way: Option<bool> },
    /// It hangs.
    Freeze { at: Duration, length: Duration },
}

impl Fault {
    /// How long it lasts at most; `None` for ever.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Fault::Crash { back, .. } => *back,
            Fault::Cut { length, .. } | Fault::Freeze { length, .. } => Some(*length),
        }
    }

    /// When it begins, where time decides.
    fn at(&self) -> Duration {
        match self {
            Fault::Crash { at, .. } => at.unwrap_or_default(),
            Fault::Cut { at, .. } | Fault::Freeze { at, .. } => *at,
        }
    }
}

/// The dataset at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staged {
    /// It is there; to map rows takes so long at most.
    There(Duration),
    /// There is none.
    Absent,
    /// It cannot be read.
    Broken,
}

/// What a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether every honest client must get its answer.
    pub mild: bool,
    /// For each backend, the weather from AWS and to AWS.
    pub weather: Vec<[Weather; 2]>,
    /// What befalls which backend.
    pub faults: Vec<(usize, Fault)>,
    /// Who asks.
    pub clients: Vec<ClientPlan>,
    /// Size of AWS's datagrams.
    pub datagram_bytes: usize,
    /// AWS's memory for a shard's numbers on their way: often so little that it is always full.
    pub ring_bytes: usize,
    /// What a backend lets be in flight to it.
    pub credit_bytes: u64,
    /// The shared key.
    pub key: Option<[u8; 32]>,
    /// How long a job waits for a dead backend.
    pub restart_wait: Duration,
    /// How long a client may take over a frame.
    pub client_stall: Duration,
    /// Whether AWS paces as on loopback.
    pub loopback: bool,
    /// Whether backends are checkpointed.
    pub checkpoint: bool,
    /// For each backend, the dataset there.
    pub staged: Vec<Staged>,
    /// When forged or repeated datagrams turn up.
    pub spoofs: Vec<Duration>,
}

fn between(rng: &mut Rng, low: Duration, high: Duration) -> Duration {
    low + Duration::from_nanos(rng.below((high - low).as_nanos() as u64 + 1))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Plan {
    /// The plan of a seed's generator.
    pub fn new(rng: &mut Rng) -> Plan {
        let mild = rng.chance(0.55);
        let k = 1 + rng.below(7) as usize;
        let datagram_bytes = datagram_bytes(rng);
        let ring_bytes = if rng.chance(0.5) {
            datagram_bytes * (2 + rng.below(15) as usize)
        } else {
            LOOPBACK_RING_BYTES
        };
        let is_steady = rng.chance(0.3);
        let one = |rng: &mut Rng| weather(rng, mild, is_steady, datagram_bytes);
        let weather = (0..k).map(|_| [one(rng), one(rng)]).collect();
        let faults: Vec<_> = match rng.below(if mild { 3 } else { 6 }) {
            0 => Vec::new(),
            n => (0..n).map(|_| (rng.below(k as u64) as usize, fault(rng, mild))).collect(),
        };
        let client_stall = between(rng, ms(2000), ms(10_000));
        let mut restart_wait = between(rng, ms(3000), ms(30_000));
        if mild {
            // What must be survived: even all faults at one backend, one after the other.
            let all: Duration = faults.iter().filter_map(|(_, fault)| fault.length()).sum();
            restart_wait = restart_wait.max(all * 2 + ms(5000));
        }
        let (dataset, staged) = (rows_of_any_count(rng), staged(rng, k));
        let clients = 0..1 + rng.below(4);
        let clients = clients.map(|i| client(rng, i == 0, client_stall, &dataset)).collect();
        let spoofs = if rng.chance(0.5) { 0 } else { rng.below(60) };
        let mut key = [0; 32];
        rng.fill(&mut key);
        Plan {
            mild,
            weather,
            faults,
            clients,
            datagram_bytes,
            ring_bytes,
            credit_bytes: 1 << (11 + rng.below(12)),
            key: rng.chance(0.3).then_some(key),
            restart_wait,
            client_stall,
            loopback: rng.chance(0.5),
            staged,
            spoofs: (0..spoofs).map(|_| moment(rng)).collect(),
            checkpoint: rng.chance(0.5),
        }
    }

    /// By when a client must have its answer or a reason, counted from its start.
    pub fn deadline(&self) -> Duration {
        let ends = self.faults.iter().filter_map(|(_, f)| Some(f.at() + f.length()?));
        let last = ends.max().unwrap_or_default();
        let waits = self.restart_wait * (self.faults.len() as u32 + 1);
        // A backend that dies has its rows mapped again by another.
        let mapped = self.staged.iter().map(Staged::time).max().unwrap_or_default();
        let own = self.client_stall * 3 + mapped * (self.faults.len() as u32 + 4);
        // Sixteen attempts of two seconds each are what heavy loss alone may take.
        let attempts = if self.mild { ms(15_000) } else { ms(60_000) };
        if self.mild && self.faults.is_empty() { own + attempts } else { last + waits + own + attempts }
    }

    /// Links without jitter or a queue: there nothing is late, so nothing is retransmitted needlessly.
    pub fn is_steady(&self) -> bool {
        let steady = |w: &Weather| w.jitter.is_zero() && w.bytes_per_s == 0;
        self.weather.iter().flatten().all(steady)
            && !self.faults.iter().any(|(_, f)| matches!(f, Fault::Freeze { .. }))
    }
}

fn datagram_bytes(rng: &mut Rng) -> usize {
    let most = match rng.below(10) {
        0..7 => NETWORK_DATAGRAM_BYTES,
        7..9 => 9000,
        _ => LOOPBACK_DATAGRAM_BYTES,
    };
    (MIN_DATAGRAM_BYTES + rng.below((most - MIN_DATAGRAM_BYTES) as u64 + 1) as usize) & !7
}

fn weather(rng: &mut Rng, mild: bool, is_steady: bool, datagram: usize) -> Weather {
    let most = if mild { 0.15 } else { 0.4 };
    let part = |rng: &mut Rng, most: f64| {
        if rng.chance(0.4) { 0.0 } else { most * rng.below(1001) as f64 / 1000.0 }
    };
    let delay = Duration::from_micros(50 + rng.below(if mild { 20_000 } else { 60_000 }));
    let limited = !is_steady && rng.chance(0.3);
    Weather {
        loss: part(rng, most),
        duplicate: part(rng, 0.2),
        corrupt: part(rng, 0.05),
        delay,
        jitter: if is_steady { ms(0) } else { between(rng, ms(0), delay * 2) },
        bytes_per_s: if limited { 100_000 + rng.below(5_000_000) } else { 0 },
        queue_bytes: datagram as u64 * (2 + rng.below(8)),
    }
}

/// Most jobs last less than a second: early moments are where it hurts.
fn moment(rng: &mut Rng) -> Duration {
    let latest = ms(if rng.chance(0.7) { 400 } else { 5000 });
    between(rng, ms(0), latest)
}

fn fault(rng: &mut Rng, mild: bool) -> Fault {
    let at = moment(rng);
    let longest = ms(if rng.chance(0.5) { 1500 } else { 6000 });
    let length = between(rng, ms(5), longest);
    match rng.below(10) {
        0..6 => Fault::Crash {
            at: if rng.chance(0.6) { Err(1 + rng.below(60)) } else { Ok(at) },
            back: (mild || rng.chance(0.7)).then_some(length),
        },
        6..8 => Fault::Cut { at, length, one_way: rng.chance(0.4).then(|| rng.chance(0.5)) },
        _ => Fault::Freeze { at, length: length.min(ms(4000)) },
    }
}

impl Staged {
    /// How long it may take to map rows there.
    fn time(&self) -> Duration {
        match self {
            Staged::There(time) => *time,
            Staged::Absent | Staged::Broken => Duration::ZERO,
        }
    }
}

/// At least one backend has the dataset.
fn staged(rng: &mut Rng, k: usize) -> Vec<Staged> {
    let slow = rng.chance(0.3);
    let has_all = rng.chance(0.7);
    let sure = rng.below(k as u64) as usize;
    let one = |i| match rng.below(4) {
        0 if !has_all && i != sure => Staged::Absent,
        1 if !has_all && i != sure => Staged::Broken,
        _ => Staged::There(between(rng, ms(0), ms(if slow { 4000 } else { 50 }))),
    };
    (0..k).map(one).collect()
}

fn client(rng: &mut Rng, first: bool, stall: Duration, dataset: &[i64]) -> ClientPlan {
    let is_dataset = rng.chance(0.3);
    let rows = if is_dataset { dataset.to_vec() } else { rows_of_any_count(rng) };
    let count = rows.len() as u64;
    let delay = Duration::from_micros(20 + rng.below(20_000));
    let wire = Wire {
        delay,
        jitter: between(rng, ms(0), delay),
        window_bytes: 1 << (9 + rng.below(10)),
        piece_bytes: 1 << rng.below(15),
    };
    let soon = |rng: &mut Rng| between(rng, ms(0), ms(600));
    let manner = match rng.below(20) {
        _ if first => Manner::Honest,
        0..12 => Manner::Honest,
        12..14 => Manner::Dies(soon(rng)),
        14 => Manner::Stalls(soon(rng), between(rng, ms(0), stall * 2)),
        15 if !is_dataset => Manner::FileChanges(rng.below(count.max(1))),
        _ => Manner::Lies(LIES[rng.below(LIES.len() as u64) as usize]),
    };
    let latest = ms(if rng.chance(0.8) { 100 } else { 4000 });
    let start = between(rng, ms(0), latest);
    let function = Function::ALL[rng.below(4) as usize];
    // A liar says what its script says.
    let is_dataset = is_dataset && !matches!(manner, Manner::Lies(_));
    ClientPlan { start, function, rows, manner, wire, block_rows: 1 + rng.below(2000), is_dataset }
}

fn rows_of_any_count(rng: &mut Rng) -> Vec<i64> {
    let count = match rng.below(10) {
        0 => rng.below(8),
        1..4 => rng.below(5000),
        _ => rng.below(1200),
    };
    rows(rng, count)
}

/// Numbers of mixed widths, in stretches, so that frames and datagrams change width too.
fn rows(rng: &mut Rng, count: u64) -> Vec<i64> {
    let mut rows = Vec::with_capacity(count as usize);
    while (rows.len() as u64) < count {
        let stretch = 1 + rng.below(count);
        let shift = [0, 1, 32, 33, 48, 49, 56, 57][rng.below(8) as usize];
        for _ in 0..stretch.min(count - rows.len() as u64) {
            rows.push(match rng.below(200) {
                0 => i64::MIN,
                1 => i64::MAX,
                _ => rng.u64() as i64 >> shift,
            });
        }
    }
    rows
}
