//! What was seen, as points: the document's rules 5 to 18.
//!
//! The lesson: an error is charged where it begins. Wrong lines come in crowds, since one wrong partial
//! result shows on three screens and a crash takes all later lines with it; a TA takes five points for it,
//! not fifty. So each run is read along the way that values take, what it shows is reduced to first causes,
//! and a cause costs once, over all runs. A run is not trusted either: of equal runs, the majority counts.
//!
//! Which phase works decides the tier; the errors of later phases are in the tier's loss and not charged
//! again. `papers` has what needs no run, `wire` the ports and the traffic, `round` one run and `values`
//! its values, `group` the majority, `tier` the phases, `errors` rule 12, `remarks` what is free.
//!
//! Left out: rules 2 to 4 and 16, which need a reader, and rule 1, which is all of the others.

mod errors;
mod group;
mod papers;
mod remarks;
mod round;
mod tier;
mod values;
mod wire;
mod words;

pub use wire::find_id;
pub use words::quote;

use crate::model::{
    Answer, Boot, Build, Class, Difference, Grade, HandIn, Loss, Probe, Process, Round, Score,
};
use crate::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};

/// One run, its screens compared.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The run.
    pub round: Round,
    /// What it had to say.
    pub answer: Answer,
    /// The input's class with this answer.
    pub class: Class,
    /// How its lines differ from the tables.
    pub differences: Vec<Difference>,
    /// What each terminal should have shown.
    pub expected: BTreeMap<Process, Vec<String>>,
    /// What it showed, as it was compared.
    pub actual: BTreeMap<Process, Vec<String>>,
}

/// One start of the servers, its screens compared.
#[derive(Clone, Debug)]
pub struct Booted {
    /// The start.
    pub boot: Boot,
    /// How its lines differ from the tables.
    pub differences: Vec<Difference>,
    /// What each terminal should have shown.
    pub expected: BTreeMap<Process, Vec<String>>,
    /// What it showed, as it was compared.
    pub actual: BTreeMap<Process, Vec<String>>,
}

/// All that is known of a submission.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The archive's or folder's name.
    pub name: &'a str,
    /// Where it was taken from.
    pub path: &'a str,
    /// What was typed to grade it, but for its path, the inputs and the seed: `./offload grade`.
    pub command: &'a str,
    /// The archive's name; a folder has none.
    pub archive_name: Option<&'a str>,
    /// What was handed in.
    pub hand_in: &'a HandIn,
    /// The build, if there was one.
    pub build: Option<&'a Build>,
    /// Every start of the servers, the first one first.
    pub boots: &'a [Booted],
    /// Every run, in order.
    pub rounds: &'a [Judged],
    /// Inputs and functions that were never reached, with the reason, without a period.
    pub not_run: &'a [String],
    /// What was tried beyond the assignment.
    pub probes: &'a [Probe],
    /// The last three digits of the ID, as the screens were compared with.
    pub id: Option<u16>,
    /// The same, as the TA gave it.
    pub given_id: Option<u16>,
    /// Each repair, one sentence.
    pub repairs: &'a [String],
    /// How well it was shut in.
    pub isolation: &'a str,
    /// The seed of the inputs.
    pub seed: u64,
    /// How often each run was to be made.
    pub repeats: usize,
    /// How long grading took.
    pub seconds: f64,
}

/// Turns what was seen into a grade. [`Grade::repaired`] is for the caller to fill in.
pub fn grade(evidence: &Evidence<'_>, policy: &Policy) -> Grade {
    let id = evidence
        .given_id
        .or(evidence.id)
        .or_else(|| wire::found(evidence.boots.iter().map(|booted| &booted.boot)));
    let compiled = papers::compiled(evidence);
    let ports = wire::ports(evidence, policy, id);
    let charged_ports = ports.as_ref().map(|(_, wrong)| wrong.clone()).unwrap_or_default();
    let setting = round::Setting {
        up: tier::all_up(evidence, id),
        charged_ports: charged_ports.clone(),
        hard_coded: BTreeSet::new(),
    };
    let groups = group::read(evidence, policy, setting);
    let phase = if compiled { tier::phase(&groups) } else { 0 };

    let mut losses = papers::losses(evidence, policy);
    if !compiled {
        losses.push(papers::not_compiled(evidence, policy));
    } else {
        losses.extend(tier::loss(evidence, policy, &groups, phase, id));
        if phase > 0 {
            losses.extend(ports.map(|(loss, _)| loss));
            losses.extend(errors::losses(evidence, policy, &groups, phase, &charged_ports));
        }
    }
    losses.extend(probes(evidence, policy));

    let bonus = evidence.hand_in.fork.as_ref().filter(|_| phase == 3 && policy.fork > 0.0);
    let bonus = bonus.map(|at| (policy.fork, format!("fork or the like at {at}, and phase 3 works")));
    let mut remarks = remarks::remarks(evidence, policy, &groups, id, phase);
    let won = bonus.as_ref().map_or(0.0, |(points, _)| *points);
    let (score, raised) = score(evidence, policy, compiled, &losses, won);
    remarks.extend(raised);
    Grade {
        name: evidence.name.to_owned(),
        path: evidence.path.to_owned(),
        refused: None,
        score,
        repaired: None,
        repairs: evidence.repairs.to_vec(),
        phase,
        bonus,
        shown: remarks::shown(evidence, &groups, &losses),
        losses,
        remarks,
        probes: evidence.probes.to_vec(),
        hand_in: evidence.hand_in.clone(),
        build: evidence.build.cloned(),
        fared: remarks::fared(&groups),
        flake_rate: remarks::flake_rate(&groups, policy),
        id,
        isolation: evidence.isolation.to_owned(),
        seed: evidence.seed,
        seconds: evidence.seconds,
    }
}

/// What is beyond the assignment, where the policy charges it.
fn probes(evidence: &Evidence<'_>, policy: &Policy) -> Vec<Loss> {
    let bad = evidence.probes.iter().filter(|probe| !probe.good && policy.probe > 0.0);
    bad.map(|probe| Loss {
        rule: 12,
        check: format!("probe.{}", probe.name),
        lenient: policy.probe,
        strict: policy.probe,
        what: format!("Beyond the assignment, and charged by this policy: {}.", probe.what),
        run: probe.what.clone(),
        expected: "what a careful program does".to_owned(),
        actual: probe.outcome.clone(),
        again: words::grade_again(evidence, None),
    })
    .collect()
}

/// Both scores, and what to say where the losses were more than can be lost.
fn score(
    evidence: &Evidence<'_>,
    policy: &Policy,
    compiled: bool,
    losses: &[Loss],
    bonus: f64,
) -> (Score, Option<String>) {
    let complete = evidence.hand_in.readme.is_some() && evidence.hand_in.makefile.is_some();
    let (floor, why) = match (compiled, complete) {
        (false, _) => (policy.no_compile, "by rule 5 what does not compile has"),
        (true, true) => {
            (policy.least, "by rule 13 what compiles and has README and Makefile has at least")
        }
        (true, false) => (0.0, "there is never less than"),
    };
    let reading = |points: fn(&Loss) -> f64| {
        let lost: f64 = losses.iter().map(points).sum();
        policy.full() - lost + bonus
    };
    let bounded = |points: f64| points.max(floor).min(policy.most).max(0.0);
    let (lenient, strict) = (reading(|loss| loss.lenient), reading(|loss| loss.strict));
    let raised = (lenient < floor)
        .then(|| format!("The losses are more than there is to lose: {why} {floor} points."));
    (Score { lenient: bounded(lenient), strict: bounded(strict) }, raised)
}

#[cfg(test)]
mod tests;
