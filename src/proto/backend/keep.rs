//! What outlives a backend: how far each of its shards is, for whoever is started after it.
//!
//! The lesson: that the first n numbers of a shard come to p is true for ever, whoever says it and whenever. So
//! a record may be old, or of a job that is over, and does no harm: AWS is asked for what is missing in it, from
//! row n on, and where there is none, for all.
//!
//! What is left out: where records are kept (the driver's; `crates/parity`).

use super::job::{Job, Open};
use super::{Backend, Out};
use crate::limits::{JOB_SILENCE, KEEPS_PER_SHARD, MAX_BACKEND_JOBS};
use crate::reduction::Reduction;
use crate::time::Time;
use ethnum::I256;
use std::collections::BTreeMap;

/// How far a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The job's ID.
    pub job: u128,
    /// The shard's index.
    pub shard: u32,
    /// How many numbers the shard has.
    pub count: u64,
    /// The reduction's name.
    pub function: String,
    /// How many of them, from the first on, are folded.
    pub numbers: u64,
    /// What those come to.
    pub partial: I256,
}

impl Kept {
    /// Whether it is about the shard that is asked for.
    fn is_of(&self, open: &Open) -> bool {
        open.rows.is_none()
            && (self.shard, self.count) == (open.shard, open.count)
            && self.function == open.function
            && self.numbers <= self.count
    }
}

/// What a backend of before has left.
#[derive(Debug, Default)]
pub(super) struct Left {
    records: BTreeMap<u128, Kept>,
    /// When those that nobody has asked for are forgotten.
    until: Time,
}

impl Left {
    pub fn until(&self) -> Option<Time> {
        (!self.records.is_empty()).then_some(self.until)
    }
}

impl Backend {
    /// A backend of before has left these.
    pub(super) fn on_kept(&mut self, now: Time, records: Vec<Kept>) {
        let records = records.into_iter().take(MAX_BACKEND_JOBS).map(|kept| (kept.job, kept));
        self.left = Left { records: records.collect(), until: now + JOB_SILENCE };
    }

    /// Forgets what nobody has asked for.
    pub(super) fn forget_left(&mut self, now: Time) {
        if self.left.until().is_some_and(|until| until <= now) {
            for job in std::mem::take(&mut self.left.records).into_keys() {
                self.out.push_back(Out::Keep { job, kept: None });
            }
        }
    }

    /// What is known of a shard that is asked for: by a backend of before, or from a session that has failed. It
    /// is kept no longer, until it is again.
    pub(super) fn known(&mut self, job: u128, open: &Open, of_session: Option<&Job>) -> Option<Kept> {
        let left = self.left.records.remove(&job);
        if left.is_some() {
            self.out.push_back(Out::Keep { job, kept: None });
        }
        let own = of_session.and_then(Job::to_keep);
        let known = [left, own].into_iter().flatten().filter(|kept| kept.is_of(open));
        known.filter(|kept| kept.numbers > 0).max_by_key(|kept| kept.numbers)
    }

    /// Has kept how far a job is, where that is worth it.
    pub(super) fn keep(&mut self, id: u128) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some((numbers, _)) = job.fold.prefix() else { return };
        let step = (job.count / KEEPS_PER_SHARD).max(1);
        if numbers >= job.kept + step || (numbers == job.count && numbers > job.kept) {
            job.kept = numbers;
            let kept = job.to_keep();
            self.out.push_back(Out::Keep { job: id, kept });
        }
    }

    /// Has nothing kept of a job that is over.
    pub(super) fn let_go(&mut self, id: u128, job: &Job) {
        if job.kept > 0 {
            self.out.push_back(Out::Keep { job: id, kept: None });
        }
    }
}

impl Job {
    /// How far it is, where a checkpoint may know.
    fn to_keep(&self) -> Option<Kept> {
        let (numbers, partial) = self.fold.prefix()?;
        Some(Kept {
            job: self.header.job,
            shard: self.shard,
            count: self.count,
            function: self.fold.reduction.name().to_owned(),
            numbers,
            partial,
        })
    }
}

/// How far a shard is before its first number has come, by what is known of it.
pub(super) fn beginning(known: Option<&Kept>, reduction: &dyn Reduction) -> (u64, I256) {
    known.map_or((0, reduction.identity()), |kept| (kept.numbers, kept.partial))
}
