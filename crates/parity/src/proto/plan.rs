//! From what all members have to where the run goes on.
//!
//! The lesson: a checkpoint counts when all holders have it whole from all workers. So whatever one survivor
//! knows to count, every holder that lives can reach. What all holders that live have whole may have counted
//! for one that is dead, which has made its output known: it counts. What one of them lacks has counted for
//! nobody, and is given up: with it, the others' parity of the checkpoint before would be given up too, and
//! two workers that are lost need two of the same. Everyone goes to that checkpoint, forward or back, and who
//! cannot is rebuilt. In the paper's scheme each worker's last checkpoint is decided by itself.
//!
//! A plan that some have carried out binds the next: what it gave up is not taken up again, though another holder's
//! death would allow it, as some have it no more.
//!
//! Where no worker is lost and none has taken a checkpoint that is given up, none goes back: what was in transit
//! is in the logs, as after a checkpoint. That is ours only; the others' schemes have no such logs.
//!
//! One whose state is of another course of events than the others' has nothing: it slept through a recovery
//! after which they went on.

use super::frame::{Held, Plan, Report};
use crate::code::Code;
use crate::digest::Digest;
use crate::id::{Epoch, Holder, Line, Member, Worker};
use crate::mode::Mode;
use std::collections::{BTreeMap, BTreeSet};

/// What the error says where more is lost at once than the holders' parity can be for.
pub const TOO_MUCH: &str = "at once can be had again";

/// Where the run goes on.
///
/// # Errors
/// Nobody can know what is lost: who, and what would have been enough.
pub fn decide(mode: Mode, code: &Code, reports: &BTreeMap<Member, Report>) -> Result<Plan, String> {
    let went = reports.values().map(|report| report.went).max().unwrap_or_default();
    let restored = reports.values().map(|report| report.restored).max().unwrap_or_default();
    let known = Known { code, reports, went, restored };
    let lines: Vec<Line> = match mode {
        Mode::Enhanced => known.workers().map(|worker| known.reachable(&[worker])).collect(),
        Mode::Plank | Mode::Offload => {
            let all: Vec<Worker> = known.workers().collect();
            vec![known.reachable(&all); all.len()]
        }
    };
    let digests = known.workers().map(|worker| known.digest(worker, lines[usize::from(worker.0)]));
    let digests: Vec<Digest> = digests.collect();
    let is_fresh = |member: &Member| match member {
        Member::Worker(worker) => lines[usize::from(worker.0)] == Line(0),
        Member::Holder(_) => lines.iter().all(|line| *line == Line(0)),
    };
    let lost: Vec<Member> =
        reports.keys().copied().filter(|member| !known.reaches(*member, &lines, &digests)).collect();
    let fresh: BTreeSet<Member> = lost.iter().copied().filter(is_fresh).collect();
    let stays = mode == Mode::Offload
        && known.are_together(&lines)
        && lost.iter().all(|member| matches!(member, Member::Holder(_)));
    let rebuilt =
        known.rebuild(lost.iter().copied().filter(|member| !fresh.contains(member)).collect())?;
    Ok(Plan { lines, digests, rebuilt, fresh, stays })
}

struct Known<'a> {
    code: &'a Code,
    reports: &'a BTreeMap<Member, Report>,
    went: Epoch,
    /// The last epoch whose plan somebody has carried out.
    restored: Epoch,
}

impl Known<'_> {
    fn workers(&self) -> impl Iterator<Item = Worker> {
        (0..self.code.workers() as u16).map(Worker)
    }

    /// What a member has of this course of events.
    fn held(&self, member: Member) -> Option<&Held> {
        self.reports
            .get(&member)
            .filter(|report| report.restored >= self.went)
            .map(|report| &report.held)
    }

    /// Since when what these workers have in memory has come of this checkpoint and what they said to each other: of
    /// all the same, where nobody has gone back alone, in a recovery that did not come to its end.
    fn are_together(&self, lines: &[Line]) -> bool {
        let since = |(worker, line): (Worker, &Line)| match self.held(Member::Worker(worker)) {
            Some(Held::Images { taken, since, .. }) if taken.0 == *line => Some(*since),
            _ => None,
        };
        let mut all = self.workers().zip(lines).map(since);
        let first = all.next().flatten();
        first.is_some() && all.all(|since| since == first)
    }

    fn parities(&self) -> impl Iterator<Item = (&[(Line, Digest)], &[Option<Digest>])> {
        let holders = (0..self.code.holders() as u8).map(|holder| Member::Holder(Holder(holder)));
        holders.filter_map(|holder| match self.held(holder) {
            Some(Held::Parity { applied, staged }) => Some((&applied[..], &staged[..])),
            _ => None,
        })
    }

    /// The last checkpoint of these that counts, or could.
    fn reachable(&self, unit: &[Worker]) -> Line {
        let counts = unit.iter().map(|worker| {
            let own = match self.held(Member::Worker(*worker)) {
                Some(Held::Images { committed, .. }) => committed.0,
                _ => Line(0),
            };
            self.parities().map(|(applied, _)| applied[usize::from(worker.0)].0).fold(own, Line::max)
        });
        let counts = counts.max().unwrap_or_default();
        let mut whole = self.parities().map(|(applied, staged)| {
            unit.iter()
                .map(|worker| usize::from(worker.0))
                .all(|worker| applied[worker].0 == counts && staged[worker].is_some())
        });
        // What was staged before a plan that others have carried out was given up by it, if that did not count it.
        let mut holders = (0..self.code.holders() as u8).map(|holder| Member::Holder(Holder(holder)));
        let given_up = holders.any(|holder| {
            let report = self.reports.get(&holder).filter(|_| self.held(holder).is_some());
            report.is_some_and(|report| report.restored < self.restored)
        });
        let forward = !given_up && whole.next().is_some_and(|first| first && whole.all(|whole| whole));
        if forward { counts.next() } else { counts }
    }

    /// The checksum of a worker's image, as a holder knows it, or else as itself does.
    fn digest(&self, worker: Worker, line: Line) -> Digest {
        let index = usize::from(worker.0);
        let of_holder = self.parities().find_map(|(applied, staged)| match applied[index] {
            (applied, digest) if applied == line => Some(digest),
            (applied, _) if applied.next() == line => staged[index],
            _ => None,
        });
        let own = || match self.held(Member::Worker(worker)) {
            Some(Held::Images { committed, taken, .. }) => {
                [taken, committed].into_iter().find(|(at, _)| *at == line).map(|(_, digest)| *digest)
            }
            _ => None,
        };
        of_holder.or_else(own).unwrap_or_default()
    }

    /// Can this member go there by itself, to the right bytes?
    fn reaches(&self, member: Member, lines: &[Line], digests: &[Digest]) -> bool {
        match (member, self.held(member)) {
            (Member::Worker(worker), Some(Held::Images { committed, taken, .. })) => {
                let there = (lines[usize::from(worker.0)], digests[usize::from(worker.0)]);
                [committed, taken].into_iter().any(|state| *state == there)
            }
            (Member::Holder(_), Some(Held::Parity { applied, staged })) => lines
                .iter()
                .zip(digests)
                .zip(applied.iter().zip(staged))
                .all(|(there, (applied, staged))| {
                    let there = (*there.0, *there.1);
                    *applied == there || staged.map(|digest| (applied.0.next(), digest)) == Some(there)
                }),
            _ => false,
        }
    }

    fn rebuild(&self, lost: Vec<Member>) -> Result<BTreeMap<Member, Vec<crate::code::Term>>, String> {
        let worker = |member: &Member| match member {
            Member::Worker(worker) => Some(*worker),
            Member::Holder(_) => None,
        };
        let held: Vec<Holder> = (0..self.code.holders() as u8)
            .map(Holder)
            .filter(|holder| !lost.contains(&Member::Holder(*holder)))
            .collect();
        let workers: Vec<Worker> = lost.iter().filter_map(worker).collect();
        let Some(images) = self.code.images(&workers, &held) else {
            let names: Vec<String> = lost.iter().map(Member::to_string).collect();
            return Err(format!(
                "the states of {} are lost, and {} {TOO_MUCH}: start the run anew, and where more are to \
                 be survived, with more holders",
                names.join(", "),
                self.code.failures()
            ));
        };
        let mut rebuilt: BTreeMap<Member, Vec<_>> =
            workers.into_iter().map(Member::Worker).zip(images).collect();
        for member in lost {
            if let Member::Holder(holder) = member {
                rebuilt.insert(member, self.code.parity(holder, &held));
            }
        }
        Ok(rebuilt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worker 3 dies, holder 0 lacks its next checkpoint, so that all are to go back; two workers have when holder 0
    /// dies too. Holder 1, which has all of that checkpoint, must not want it back.
    #[test]
    fn what_some_have_given_up_is_not_taken_up_again() {
        let code = Code::new(4, 2).unwrap();
        let (old, new) = ((Line(2), Digest::default()), (Line(3), Digest::default()));
        let nothing = (Line(0), Digest::default());
        let worker = |restored, taken| Report {
            restored: Epoch(restored),
            went: Epoch(restored.min(8)),
            held: Held::Images { committed: taken, taken, since: Epoch(restored) },
        };
        let holder = |epoch, applied, staged| Report {
            restored: Epoch(epoch),
            went: Epoch(epoch),
            held: Held::Parity { applied: vec![applied; 4], staged: vec![staged; 4] },
        };
        let mut at_work = worker(8, new);
        at_work.held = Held::Images { committed: old, taken: new, since: Epoch(0) };
        let mut reports: BTreeMap<Member, Report> = BTreeMap::from([
            (Member::Holder(Holder(0)), holder(0, nothing, None)),
            (Member::Holder(Holder(1)), holder(8, old, Some(new.1))),
            (Member::Worker(Worker(0)), at_work.clone()),
            (Member::Worker(Worker(1)), worker(24, old)),
            (Member::Worker(Worker(2)), worker(24, old)),
            (Member::Worker(Worker(3)), worker(0, nothing)),
        ]);
        // What worker 0 has of it is the digest of nothing, as is all here; only lines differ.
        let plan = decide(Mode::Offload, &code, &reports).unwrap();
        assert_eq!(plan.lines, [Line(2); 4]);
        let lost = [Member::Holder(Holder(0)), Member::Worker(Worker(3))];
        assert!(plan.rebuilt.keys().eq(&lost) && !plan.stays, "{plan:?}");
        // Had none gone back, holder 1 could not know that it does not count.
        for number in [1, 2] {
            reports.insert(Member::Worker(Worker(number)), at_work.clone());
        }
        let plan = decide(Mode::Offload, &code, &reports).unwrap();
        assert_eq!(plan.lines, [Line(3); 4]);
    }
}
