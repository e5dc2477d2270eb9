//! The paper's distributed simulator testbed: a system, a task set, faults; out come O, L, R and r.
//!
//! The lesson: the members are those that run on real sockets, and their world is that of [`crate::sim`]; only
//! when things happen is modelled. O is the difference between a run with checkpoints and one without, so what
//! checkpoints cost the task while they travel is in it, wherever it comes from.
//!
//! Modelled, and counted in bytes: the state, a page of which stands for many; messages; what memory and links
//! carry. Real: the protocol, parities, checksums, recoveries, and the answer, which is compared. Left out: what it
//! costs to notice writes, processors other than for the task's own work, and copying back what was written.
//!
//! Groups are runs beside each other, with holders of their own: a task whose messages stay within groups of
//! workers can be cut so, and a holder then has the diffs of its group alone to take in.

mod clock;
mod links;
mod load;
mod spec;

pub use load::Pattern;
pub use spec::{Error, Spec};

use crate::arena;
use crate::chance::Chance;
use crate::code;
use crate::id::{Holder, Member, Worker};
use crate::ledger::{ENTRY_BYTES, Layout};
use crate::limits::{MAX_TESTBED_FACTOR, PAGE_BYTES};
use crate::mode::Mode;
use crate::overhead::{Costs, optimal_interval_s, overhead_ratio, ratio_at};
use crate::sim::{Settings, World, receipts, tasks};
use clock::{Faults, Measured, Pace, Timed};
use load::WORD_BYTES;
use offload::rng::Rng;
use offload::time::Time;
use serde::Serialize;
use std::time::Duration;

/// What came of one mode with so many workers. What nothing was measured for is `None`.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How checkpoints fit together, by name.
    pub mode: &'static str,
    /// Workers of all groups.
    pub workers: u16,
    /// Groups with holders of their own.
    pub groups: u16,
    /// Seconds that the task takes without checkpoints.
    pub plain_s: f64,
    /// Checkpoints that each worker takes, where nobody dies.
    pub checkpoints: f64,
    /// O: seconds that each of them adds.
    pub overhead_s: Option<f64>,
    /// L: seconds from its grant until it counts, on average.
    pub latency_s: Option<f64>,
    /// R: seconds from the discovery of a death until all go on, on average.
    pub recovery_s: Option<f64>,
    /// Deaths in the run with faults.
    pub deaths: u32,
    /// Worker-seconds that a death makes to be done again, on average.
    pub lost_s: Option<f64>,
    /// Deaths a second, of all members of a group.
    pub failures_per_s: Option<f64>,
    /// Equation (1): the seconds between checkpoints at which r is least.
    pub optimal_interval_s: Option<f64>,
    /// r at that interval, by equations (2) and (3).
    pub ratio: Option<f64>,
    /// r at the interval that was simulated, by the same: the work between two checkpoints.
    pub ratio_here: Option<f64>,
    /// r as it was in the run with faults.
    pub ratio_measured: Option<f64>,
    /// Why a run has not ended as it should: too many deaths at once, or what the mode does wrong.
    pub fault: Option<String>,
}

/// Intervals' messages that a log has room for.
const MARGIN: usize = 6;
/// Messages that it has room for anyway.
const FEW_MESSAGES: usize = 64;
const PAGES_PER_FRAME: usize = 16;
/// The first of the ledger and the first of the state, written in each interval.
const OTHER_PAGES: u32 = 2;
/// How often it is looked whether a buffer is full, while it fills.
const STEPS_A_BUFFER: f64 = 8.0;
const SHORT_STEP: Duration = Duration::from_millis(1);

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] arena::Error),
    /// So many cannot be lost of so many.
    #[error(transparent)]
    Code(#[from] code::Error),
}

/// A run of one group.
struct Ran {
    measured: Measured,
    fault: Option<String>,
}

impl Ran {
    fn finished_s(&self) -> f64 {
        self.measured.finished.values().max().map_or(0.0, |at| at.as_secs_f64())
    }
}

/// One group of a row, in one mode.
#[derive(Clone, Copy)]
struct Group<'a> {
    spec: &'a Spec,
    mode: Mode,
    workers: u16,
}

/// Simulates all that a specification asks for, in its order.
///
/// # Errors
/// See [`Failed`].
pub fn simulate(spec: &Spec) -> Result<Vec<Row>, Failed> {
    let mut rows = Vec::new();
    for all in spec.workers.iter().copied() {
        let workers = spec.workers_per_group.map_or(all, |most| most.min(all));
        let group = Group { spec, mode: Mode::Plank, workers };
        // Plank's scheme logs nothing, so without checkpoints it is the task alone.
        let plain = group.run(false, Time(u64::MAX), Faults::default())?;
        for mode in spec.modes.iter().copied() {
            rows.push(Group { mode, ..group }.row(all / workers, &plain)?);
        }
    }
    Ok(rows)
}

impl Group<'_> {
    fn row(self, groups: u16, plain: &Ran) -> Result<Row, Failed> {
        let spec = self.spec;
        let holders = spec.code(self.workers)?.holders() as u8;
        let plain_s = plain.finished_s();
        let until = Time::ZERO + Duration::from_secs_f64(plain_s * MAX_TESTBED_FACTOR);
        let calm = self.run(true, until, Faults::default())?;
        let mut stormy = Vec::new();
        if spec.mtbf.is_some() || !spec.kills.is_empty() {
            for number in 0..groups {
                let faults = self.faults(number, holders);
                stormy.push(self.run(true, until, faults)?);
            }
        }
        let checkpoints = calm.measured.taken as f64 / f64::from(self.workers);
        let added_s = (calm.finished_s() - plain_s).max(0.0);
        let overhead_s = (calm.fault.is_none() && checkpoints > 0.0).then(|| added_s / checkpoints);
        let latency_s = mean_s(calm.measured.latencies.iter());
        let recovery_s = mean_s(stormy.iter().flat_map(|ran| &ran.measured.recoveries));
        let deaths: u32 = stormy.iter().map(|ran| ran.measured.deaths).sum();
        let lost: Duration = stormy.iter().map(|ran| ran.measured.lost).sum();
        let finished_s = stormy.iter().map(Ran::finished_s).fold(0.0, f64::max);
        let fault = [plain, &calm].into_iter().chain(&stormy).find_map(|ran| ran.fault.clone());
        let members = f64::from(self.workers) + f64::from(holders);
        let failures_per_s = match spec.mtbf {
            Some(mtbf) => Some(members / mtbf.as_secs_f64()),
            None => (deaths > 0 && finished_s > 0.0)
                .then(|| f64::from(deaths) / f64::from(groups) / finished_s),
        };
        let costs = overhead_s
            .zip(latency_s)
            .zip(recovery_s)
            .map(|((overhead_s, latency_s), recovery_s)| Costs { overhead_s, latency_s, recovery_s });
        let both = failures_per_s.zip(costs);
        // Also where a buffer was full sooner, and where time passes while all are frozen.
        let here_s = plain_s / checkpoints.max(1.0);
        Ok(Row {
            mode: self.mode.name(),
            workers: self.workers * groups,
            groups,
            plain_s,
            checkpoints,
            overhead_s,
            latency_s,
            recovery_s,
            deaths,
            lost_s: (deaths > 0).then(|| lost.as_secs_f64() / f64::from(deaths)),
            failures_per_s,
            optimal_interval_s: failures_per_s
                .zip(overhead_s)
                .and_then(|(rate, overhead_s)| optimal_interval_s(rate, overhead_s).ok()),
            ratio: both.and_then(|(rate, costs)| overhead_ratio(rate, costs).ok()),
            ratio_here: both.and_then(|(rate, costs)| ratio_at(rate, costs, here_s).ok()),
            ratio_measured: (deaths > 0 && fault.is_none()).then(|| finished_s / plain_s - 1.0),
            fault,
        })
    }

    /// Those of a group, with its members counted from 0.
    fn faults(self, number: u16, holders: u8) -> Faults {
        let own = |(at, member): &(Duration, Member)| {
            let (of, own) = match *member {
                Member::Worker(Worker(n)) => {
                    (n / self.workers, Member::Worker(Worker(n % self.workers)))
                }
                Member::Holder(Holder(n)) => {
                    (u16::from(n / holders), Member::Holder(Holder(n % holders)))
                }
            };
            (of == number).then_some((*at, own))
        };
        let members = (0..holders).map(|holder| Member::Holder(Holder(holder)));
        let members = members.chain((0..self.workers).map(|worker| Member::Worker(Worker(worker))));
        // The same deaths in each mode.
        let rng = Rng::from_seed(self.spec.seed.wrapping_add(u64::from(number)));
        Faults {
            listed: self.spec.kills.iter().filter_map(own).collect(),
            chance: self.spec.mtbf.map(|mtbf| Chance::new(members, mtbf, rng)),
        }
    }

    /// With checkpoints, or without any before the end.
    fn run(self, checkpoints: bool, until: Time, faults: Faults) -> Result<Ran, Failed> {
        let Group { spec, mode, workers } = self;
        let load = spec.load(mode, workers);
        let buffer_bytes = spec.buffer_bytes.filter(|_| checkpoints);
        let partners = (0..workers).map(|me| load.receivers(Worker(me)).len()).max().unwrap_or_default();
        let kept = spec.messages_per_interval(load.rounds) as usize * partners;
        let log_bytes = (MARGIN * kept + FEW_MESSAGES) * (ENTRY_BYTES + WORD_BYTES);
        let settings = Settings {
            code: spec.code(workers)?,
            mode,
            log_bytes,
            state_bytes: load.state_bytes(),
            step: (partners * WORD_BYTES, partners),
            interval: if checkpoints { spec.interval } else { Duration::MAX },
            buffer_pages: buffer_bytes
                .map_or(u32::MAX, |bytes| bytes.div_ceil(load.page_bytes) as u32 + OTHER_PAGES),
            pages_per_frame: PAGES_PER_FRAME,
            // Its steps are taken here, where it is known how long they take.
            task: |_| Box::new(tasks::Talk { messages: 0 }),
        };
        let layout = Layout { mode, workers: workers.into(), log_bytes, receipts: receipts(log_bytes) };
        let small_pages = (layout.bytes() / PAGE_BYTES) as u32 + 1;
        let image_bytes = spec.state_bytes + u64::from(load.log_pages) * load.page_bytes;
        let fill = |bytes: u64| bytes as f64 / STEPS_A_BUFFER / load.written_bytes_per_s.max(1) as f64;
        let longest_step = buffer_bytes.map_or(Duration::MAX, |bytes| {
            Duration::try_from_secs_f64(fill(bytes)).unwrap_or(Duration::MAX).max(SHORT_STEP)
        });
        let pace = Pace { longest_step, ..spec.pace };
        let world = World::new(settings)?;
        let mut timed = Timed::new(world, &load, pace, faults, small_pages, image_bytes);
        timed.run(until)?;
        let right = || {
            let said = timed.world.outside().values().map(|said| said.concat());
            said.eq(load.expected())
        };
        let fault = match timed.world.fault() {
            Some(why) => Some(why.to_owned()),
            None if right() => None,
            None => Some("the answer is wrong".to_owned()),
        };
        Ok(Ran { measured: timed.measured, fault })
    }
}

fn mean_s<'a>(all: impl Iterator<Item = &'a Duration>) -> Option<f64> {
    let (count, sum) = all.fold((0u32, 0.0), |(count, sum), one| (count + 1, sum + one.as_secs_f64()));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests;
