//! A plan: everything that a seed decides before anything happens.
//!
//! Most swarms are small, because most faults show in small ones and a seed must be cheap. What a plan must
//! leave to honest hosts is a way to each other: a tracker dies for ever only after all have announced, and
//! only where multicasts or other peers can take its place.

use super::liar::Lie;
use super::world::{Act, Leave};
use crate::bitfield::Bitfield;
use crate::geometry::Geometry;
use offload::rng::Rng;
use offload::time::Time;
use std::ops::Range;
use std::time::Duration;

/// A host of the plan.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// When its process starts.
    pub start: Time,
    /// Bytes a second, out and in.
    pub rates: (u64, u64),
    /// To the switch.
    pub delay: Duration,
    /// Bytes a second.
    pub hash_rate: u64,
    /// BEP 6.
    pub fast: bool,
    /// Knows the info-hash only.
    pub magnet: bool,
    /// What it wants.
    pub wanted: Bitfield,
    /// When it leaves.
    pub leave: Leave,
    /// How it lies; `None` for the honest.
    pub lie: Option<Lie>,
    /// Of its blocks, so many are corrupt.
    pub poison: f64,
}

/// What a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cut.
    pub geometry: Geometry,
    /// The info dictionary.
    pub metadata: Vec<u8>,
    /// BEP 27.
    pub private: bool,
    /// Do hosts hear each other's multicasts?
    pub multicast: bool,
    /// How many of the hosts are seeders: the first ones.
    pub seeders: usize,
    /// BEP 16, for a first seeder that is alone.
    pub super_seed: bool,
    /// Everybody.
    pub hosts: Vec<HostPlan>,
    /// When the tracker does not answer.
    pub tracker_down: Vec<Range<Time>>,
    /// When it wants to be asked again.
    pub interval: Duration,
    /// What befalls whom.
    pub acts: Vec<(Time, Act)>,
    /// The seeders end when the others hold all pieces.
    pub seeders_die: bool,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A number below `few` as a rule, else below `many`.
fn mostly(rng: &mut Rng, p: f64, few: u64, many: u64) -> u64 {
    let most = if rng.chance(p) { few } else { many };
    rng.below(most)
}

fn moment(rng: &mut Rng, until: Duration) -> Time {
    Time(rng.below(until.as_nanos() as u64))
}

impl Plan {
    /// The plan of a seed's generator.
    pub fn new(rng: &mut Rng) -> Plan {
        let geometry = geometry(rng);
        let mut metadata = vec![0; 100 + mostly(rng, 0.8, 2000, 40_000) as usize];
        rng.fill(&mut metadata);
        let private = rng.chance(0.2);
        let seeders = if rng.chance(0.8) { 1 } else { 2 };
        let leechers = 1 + mostly(rng, 0.7, 8, 29) as usize;
        let style = Style::new(rng);
        let hosts: Vec<HostPlan> =
            (0..seeders + leechers).map(|i| host(rng, &style, geometry, i < seeders)).collect();
        let span = span(geometry, &hosts);
        let down_for_ever = !private && rng.chance(0.12);
        let mut plan = Plan {
            geometry,
            metadata,
            private,
            multicast: !private && (down_for_ever || rng.chance(0.4)),
            seeders,
            super_seed: seeders == 1 && rng.chance(0.25),
            tracker_down: Vec::new(),
            interval: ms(10_000 + rng.below(50_000)),
            acts: Vec::new(),
            seeders_die: rng.chance(0.25),
            hosts,
        };
        let last_start = plan.hosts.iter().map(|host| host.start).max().unwrap_or_default();
        if down_for_ever {
            plan.tracker_down.push(last_start + ms(2000)..Time(u64::MAX));
        } else if rng.chance(0.3) {
            let from = moment(rng, span);
            plan.tracker_down.push(from..from + ms(rng.below(60_000)));
        }
        if rng.chance(0.6) {
            plan.faults(rng, span);
        }
        plan
    }

    fn faults(&mut self, rng: &mut Rng, span: Duration) {
        let hosts = self.hosts.len() as u64;
        for _ in 0..rng.below(5) {
            let at = moment(rng, span);
            match rng.below(8) {
                0..4 if hosts > self.seeders as u64 => {
                    let node = self.seeders + rng.below(hosts - self.seeders as u64) as usize;
                    let back = rng.chance(0.7).then(|| ms(100 + rng.below(20_000)));
                    self.acts.push((at, Act::Crash { node, dark: rng.chance(0.4), back }));
                }
                4..6 => {
                    let islands = (0..hosts).map(|_| rng.below(2) as u8).collect();
                    self.acts.push((at, Act::Part(islands)));
                    let heals = at + ms(mostly(rng, 0.7, 10_000, 300_000));
                    self.acts.push((heals, Act::Part(vec![0; hosts as usize])));
                }
                _ => (0..1 + rng.below(10)).for_each(|_| self.acts.push((at, Act::Reset))),
            }
        }
    }

    /// When the last thing befalls somebody, and whoever comes back is back.
    pub fn calm(&self) -> Time {
        let ends = self.acts.iter().map(|(at, act)| match act {
            Act::Crash { back: Some(back), .. } => *at + *back,
            _ => *at,
        });
        ends.max().unwrap_or_default()
    }

    /// By when every honest host must have what it wants, generously.
    pub fn deadline(&self) -> Time {
        let downs = self.tracker_down.iter().map(|down| down.end).filter(|end| end.0 < u64::MAX);
        let last = downs.max().unwrap_or_default().max(self.calm());
        last + Duration::from_secs(900) + span(self.geometry, &self.hosts) * self.hosts.len() as u32 * 4
    }
}

/// What the hosts of a swarm have in common.
struct Style {
    rates: (u64, u64),
    mixed: bool,
    most_delay: u64,
    liars: f64,
    magnets: f64,
    parts: f64,
    old: f64,
    leave: u64,
    late_starts: Duration,
}

impl Style {
    fn new(rng: &mut Rng) -> Style {
        let or_none = |rng: &mut Rng, p: f64, value: f64| if rng.chance(p) { value } else { 0.0 };
        Style {
            rates: (rate(rng), rate(rng)),
            mixed: rng.chance(0.4),
            most_delay: if rng.chance(0.5) { 1000 } else { 25_000 },
            liars: or_none(rng, 0.4, 0.3),
            magnets: or_none(rng, 0.3, 0.5),
            parts: or_none(rng, 0.2, 0.6),
            old: or_none(rng, 0.2, 0.4),
            leave: rng.below(4),
            late_starts: if rng.chance(0.6) { ms(100) } else { ms(15_000) },
        }
    }
}

fn rate(rng: &mut Rng) -> u64 {
    300_000 << rng.below(7)
}

fn geometry(rng: &mut Rng) -> Geometry {
    loop {
        let pieces = 1 + mostly(rng, 0.7, 30, 299);
        let piece_bytes = (16 << 10) << rng.below(if pieces > 100 { 2 } else { 4 });
        let total = pieces * piece_bytes - rng.below(piece_bytes);
        if let Some(geometry) = Geometry::new(total, piece_bytes as u32) {
            return geometry;
        }
    }
}

fn host(rng: &mut Rng, style: &Style, geometry: Geometry, seeder: bool) -> HostPlan {
    let pieces = geometry.pieces();
    let rates = if style.mixed { (rate(rng), rate(rng)) } else { style.rates };
    let mut wanted = Bitfield::full(pieces);
    if rng.chance(style.parts) && !seeder {
        let first = rng.below(u64::from(pieces)) as u32;
        let count = 1 + rng.below(u64::from(pieces - first)) as u32;
        wanted = Bitfield::new(pieces);
        (first..first + count).for_each(|piece| {
            wanted.insert(piece);
        });
    }
    let lie = (!seeder && rng.chance(style.liars))
        .then(|| Lie::ALL[rng.below(Lie::ALL.len() as u64) as usize]);
    let poison = match lie {
        Some(Lie::Poisons) if rng.chance(0.5) => 1.0,
        Some(Lie::Poisons) => 0.1,
        _ => 0.0,
    };
    let leave = match style.leave {
        _ if seeder => Leave::Never,
        0 => Leave::AtOnce,
        1 => Leave::Slow { bytes_per_s: 50_000, poll: ms(5000) },
        _ => Leave::Never,
    };
    HostPlan {
        start: if seeder { Time::ZERO } else { moment(rng, style.late_starts) },
        rates,
        delay: Duration::from_micros(50 + rng.below(style.most_delay)),
        hash_rate: if rng.chance(0.8) { 1_000_000_000 } else { 5_000_000 },
        fast: !rng.chance(style.old),
        magnet: !seeder && lie.is_none() && rng.chance(style.magnets),
        wanted,
        leave,
        lie,
        poison,
    }
}

/// About how long a copy takes on the slowest link.
fn span(geometry: Geometry, hosts: &[HostPlan]) -> Duration {
    let slowest = hosts.iter().map(|host| host.rates.0.min(host.rates.1)).min().unwrap_or(1);
    ms(geometry.total_bytes() * 2000 / slowest.max(1) + 500)
}
