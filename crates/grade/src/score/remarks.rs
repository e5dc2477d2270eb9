//! What is told and not charged, and which screens are shown.

use super::group::Group;
use super::round::{Read, Symptom};
use super::words::{boot_label, list};
use super::{Booted, Evidence};
use crate::limits::{REMARKS, SHOWN_RUNS};
use crate::model::{Class, Difference, Exit, Fared, Kind, Loss, Process, Sentence, Shown};
use crate::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};

/// How each input and function fared.
pub(super) fn fared(groups: &[Group<'_>]) -> Vec<Fared> {
    let one = |group: &Group<'_>| Fared {
        case: group.case.to_owned(),
        class: group.class,
        function: group.function,
        right: group.reads.iter().filter(|read| read.right()).count(),
        runs: group.reads.len(),
    };
    groups.iter().map(one).collect()
}

/// What came of a run, without the numbers, which may be another port each time, and without what is
/// forgiven.
type Outcome = (BTreeSet<(Process, Sentence, Kind)>, Option<&'static str>);

fn outcome(read: &Read<'_>, policy: &Policy) -> Outcome {
    let counts = |d: &&Difference| policy.screen(d.kind).lenient > 0.0;
    let lines = read.judged.differences.iter().filter(counts);
    (lines.map(|d| (d.process, d.sentence, d.kind)).collect(), read.broken.map(|broken| broken.check()))
}

/// The part of all runs that went other than most of their kind.
pub(super) fn flake_rate(groups: &[Group<'_>], policy: &Policy) -> f64 {
    let (mut odd, mut all) = (0, 0);
    for group in groups {
        let mut outcomes: BTreeMap<Outcome, usize> = BTreeMap::new();
        for read in &group.reads {
            *outcomes.entry(outcome(read, policy)).or_default() += 1;
        }
        all += group.reads.len();
        odd += group.reads.len() - outcomes.values().copied().max().unwrap_or(0);
    }
    if all == 0 { 0.0 } else { odd as f64 / all as f64 }
}

/// All remarks.
pub(super) fn remarks(
    evidence: &Evidence<'_>,
    policy: &Policy,
    groups: &[Group<'_>],
    id: Option<u16>,
    phase: u8,
) -> Vec<String> {
    let mut remarks = of_build(evidence);
    if let (Some(id), None) = (id, evidence.given_id) {
        remarks.push(format!("The ports say that the ID ends in {id:03}."));
    }
    if evidence.repeats > 1 && !evidence.rounds.is_empty() {
        let most = evidence.repeats;
        remarks.push(format!(
            "Each run was made up to {most} times; what more than half of the repeats show counts."
        ));
    }
    remarks.extend(unwatched(evidence));
    remarks.extend(minority(groups, policy));
    remarks.extend(beyond(groups));
    let more = evidence.not_run.len().saturating_sub(REMARKS);
    remarks.extend(evidence.not_run.iter().take(REMARKS).map(|why| format!("Not run: {why}.")));
    if more > 0 {
        remarks.push(format!("Not run, for the like reasons: {more} more."));
    }
    if let (Some(fork), true) = (&evidence.hand_in.fork, phase < 3) {
        remarks.push(format!("fork or the like at {fork} gives no bonus, since phase 3 does not work."));
    }
    remarks
}

fn of_build(evidence: &Evidence<'_>) -> Vec<String> {
    let Some(build) = evidence.build else { return Vec::new() };
    let mut remarks = Vec::new();
    if !build.stand_ins.is_empty() {
        remarks.push(format!(
            "The Makefile links SunOS libraries, which were answered with empty stand-ins: {}.",
            list(&build.stand_ins)
        ));
    }
    if build.exit != Exit::Status(0) && super::papers::compiled(evidence) {
        remarks.push(format!("{} did not end well, but the programs are there.", build.command));
    }
    remarks
}

/// What nobody could look at.
fn unwatched(evidence: &Evidence<'_>) -> Vec<String> {
    let mut remarks = Vec::new();
    let unseen = evidence.rounds.iter().filter(|judged| judged.round.flows.is_none()).count();
    if unseen > 0 {
        let which = if unseen == evidence.rounds.len() {
            "The wire was not watched".to_owned()
        } else {
            format!("The wire was not watched in {unseen} of {} runs", evidence.rounds.len())
        };
        remarks.push(format!("{which}: there, the screens alone decide."));
    }
    if !evidence.boots.is_empty() && evidence.boots.iter().all(|booted| booted.boot.bound.is_empty()) {
        remarks.push("No bound ports were seen, so that they were not checked.".to_owned());
    }
    remarks
}

/// What fewer than most of the repeats show.
fn minority(groups: &[Group<'_>], policy: &Policy) -> Vec<String> {
    let mut remarks = Vec::new();
    for group in groups.iter().filter(|group| group.class != Class::Beyond) {
        let failing = group.failing();
        for (symptom, count) in group.symptoms() {
            let costs =
                !matches!(symptom, Symptom::Screen(kind, _) if policy.screen(kind).lenient == 0.0);
            if let (true, false, Some((_, noted))) =
                (costs, failing.contains(&symptom), group.first(symptom))
            {
                let all = group.reads.len();
                let what = noted.what.trim_end_matches('.');
                remarks.push(format!(
                    "{count} of {all} runs of {} went otherwise, which is not charged: {what}.",
                    group.pair()
                ));
            }
        }
    }
    let more = remarks.len().saturating_sub(REMARKS);
    remarks.truncate(REMARKS);
    if more > 0 {
        remarks.push(format!("{more} more such differences between runs of the same kind."));
    }
    remarks
}

/// What the assignment does not promise.
fn beyond(groups: &[Group<'_>]) -> Option<String> {
    let wrong = |group: &&Group<'_>| group.failing().iter().any(|symptom| symptom.is_wrong());
    let pairs: Vec<String> = groups
        .iter()
        .filter(|group| group.class == Class::Beyond)
        .filter(wrong)
        .map(|group| group.pair())
        .collect();
    (!pairs.is_empty()).then(|| {
        format!(
            "Results that a long does not hold, or inputs beyond the assignment, go wrong, which is not \
             charged: {}.",
            list(&pairs)
        )
    })
}

/// The boot, a good run, and each run that a loss cites.
pub(super) fn shown(evidence: &Evidence<'_>, groups: &[Group<'_>], losses: &[Loss]) -> Vec<Shown> {
    let boots = || {
        let all = evidence.boots.iter().enumerate();
        all.map(|(index, booted)| of_boot(boot_label(evidence.boots, index), booted))
    };
    let reads = || groups.iter().flat_map(|group| &group.reads);
    let mut shown: Vec<Shown> = boots().next().into_iter().collect();
    // One without any difference, if there is one.
    let flawless =
        |read: &&Read<'_>| read.right() && read.reached == 3 && read.judged.differences.is_empty();
    let right = |read: &&Read<'_>| read.right() && read.reached == 3;
    shown.extend(reads().find(flawless).or_else(|| reads().find(right)).map(of_run));
    let begun = shown.len();
    for loss in losses {
        if shown.len() - begun == SHOWN_RUNS {
            break;
        }
        if shown.iter().any(|shown| shown.run == loss.run) {
            continue;
        }
        let run = reads().find(|read| read.label == loss.run).map(of_run);
        shown.extend(run.or_else(|| boots().find(|shown| shown.run == loss.run)));
    }
    shown
}

fn of_boot(run: String, booted: &Booted) -> Shown {
    Shown {
        run,
        expected: booted.expected.clone(),
        actual: booted.actual.clone(),
        differences: booted.differences.clone(),
    }
}

fn of_run(read: &Read<'_>) -> Shown {
    Shown {
        run: read.label.clone(),
        expected: read.judged.expected.clone(),
        actual: read.judged.actual.clone(),
        differences: read.judged.differences.clone(),
    }
}
