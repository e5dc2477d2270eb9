//! Rule 12: each error, and each task that is not done correctly, once.

use super::Evidence;
use super::group::Group;
use super::round::{Noted, Read, Symptom, noted, only_port_differs};
use super::words::{boot_again, boot_label, grade_again, kind_name, list, sentence_name};
use crate::model::{Class, Function, Kind, Loss};
use crate::policy::{Cost, Policy};
use std::collections::{BTreeMap, BTreeSet};

/// A symptom of the assignment's own inputs or of a boot, with what shows it first.
struct Found {
    noted: Noted,
    /// For what broke off: its check.
    broken: Option<&'static str>,
    run: String,
    again: String,
}

/// All losses of rule 12, of the phases up to `phase`.
pub(super) fn losses(
    evidence: &Evidence<'_>,
    policy: &Policy,
    groups: &[Group<'_>],
    phase: u8,
    charged_ports: &BTreeSet<u16>,
) -> Vec<Loss> {
    let mut found = of_boots(evidence, charged_ports);
    for group in groups.iter().filter(|group| group.class == Class::Ordinary) {
        for symptom in group.failing() {
            if let Some((read, noted)) = group.first(symptom) {
                found.entry(symptom).or_insert_with(|| of_run(evidence, read, noted));
            }
        }
    }
    found.retain(|symptom, _| symptom.phase() <= phase);
    settle_shards(&mut found, groups);
    let mut losses = plain(policy, &found);
    for class in [Class::Negative, Class::Wide, Class::Large] {
        losses.extend(of_class(evidence, policy, groups, phase, class, &found));
    }
    losses
}

/// What most boots show.
fn of_boots(evidence: &Evidence<'_>, charged_ports: &BTreeSet<u16>) -> BTreeMap<Symptom, Found> {
    let mut seen: BTreeMap<Symptom, (usize, Found)> = BTreeMap::new();
    for (index, booted) in evidence.boots.iter().enumerate() {
        let mut here = BTreeSet::new();
        for d in booted.differences.iter().filter(|d| !only_port_differs(d, charged_ports)) {
            let symptom = Symptom::Screen(d.kind, d.sentence);
            if !here.insert(symptom) {
                continue;
            }
            let (count, _) = seen.entry(symptom).or_insert_with(|| {
                let run = boot_label(evidence.boots, index);
                (
                    0,
                    Found {
                        noted: noted(symptom, d, None),
                        broken: None,
                        run,
                        again: boot_again(evidence),
                    },
                )
            });
            *count += 1;
        }
    }
    let most = |count: usize| 2 * count > evidence.boots.len();
    seen.into_iter()
        .filter(|(_, (count, _))| most(*count))
        .map(|(symptom, (_, found))| (symptom, found))
        .collect()
}

fn of_run(evidence: &Evidence<'_>, read: &Read<'_>, noted: &Noted) -> Found {
    let broken = read.broken.filter(|_| noted.symptom == Symptom::Broken);
    Found {
        noted: noted.clone(),
        broken: broken.map(|broken| broken.check()),
        run: read.label.clone(),
        again: grade_again(evidence, Some((&read.judged.round.case, read.judged.round.function))),
    }
}

/// Another way to divide the numbers is one error, where it explains all wrong sums. Where it does not, the
/// partial results that happened to make the right total are wrong like any others.
fn settle_shards(found: &mut BTreeMap<Symptom, Found>, groups: &[Group<'_>]) {
    let sums = [Function::Sum, Function::Sos];
    let ran = |function: &Function| {
        groups.iter().any(|group| group.class == Class::Ordinary && group.function == *function)
    };
    let mut asked: Vec<Function> = sums.into_iter().filter(ran).collect();
    if asked.is_empty() {
        asked = Function::ALL.into_iter().filter(ran).collect();
    }
    let divided = !asked.is_empty()
        && asked.iter().all(|function| {
            found.contains_key(&Symptom::Shards(*function))
                && !found.contains_key(&Symptom::Map(*function))
        });
    if divided {
        return;
    }
    for function in Function::ALL {
        if let Some(mut shards) = found.remove(&Symptom::Shards(function)) {
            let symptom = Symptom::Map(function);
            shards.noted.symptom = symptom;
            shards.noted.what = format!("A backend shows a wrong result of {}.", function.upper());
            found.entry(symptom).or_insert(shards);
        }
    }
}

/// The name under which a symptom is charged, and what it costs.
fn charge(policy: &Policy, symptom: Symptom, broken: Option<&'static str>) -> (String, Cost) {
    let error = Cost::both(policy.error);
    match symptom {
        Symptom::Broken => (broken.unwrap_or("unfinished").to_owned(), error),
        Symptom::Map(function) => (format!("map.{}", function.argument()), error),
        Symptom::Reduce(function) => (format!("reduce.{}", function.argument()), error),
        Symptom::Shards(_) => ("shards".to_owned(), error),
        Symptom::Attribution => ("attribution".to_owned(), error),
        Symptom::Screen(kind @ (Kind::WrongValue | Kind::MissingLine | Kind::Wording), sentence) => {
            let check = format!("screen.{}.{}", kind_name(kind), sentence_name(sentence));
            (check, policy.screen(kind))
        }
        Symptom::Screen(kind, _) => (format!("screen.{}", kind_name(kind)), policy.screen(kind)),
    }
}

/// The losses of the assignment's own inputs: one for each name.
fn plain(policy: &Policy, found: &BTreeMap<Symptom, Found>) -> Vec<Loss> {
    let mut losses: Vec<Loss> = Vec::new();
    for (symptom, found) in found {
        let (check, cost) = charge(policy, *symptom, found.broken);
        if !losses.iter().any(|loss| loss.check == check) {
            losses.push(loss(check, cost, found));
        }
    }
    losses
}

fn loss(check: String, cost: Cost, found: &Found) -> Loss {
    Loss {
        rule: 12,
        check,
        lenient: cost.lenient,
        strict: cost.strict,
        what: found.noted.what.clone(),
        run: found.run.clone(),
        expected: found.noted.expected.clone(),
        actual: found.noted.actual.clone(),
        again: found.again.clone(),
    }
}

/// Whether what is wrong is charged already.
fn is_known(symptom: Symptom, found: &BTreeMap<Symptom, Found>) -> bool {
    let shards = || found.keys().any(|known| matches!(known, Symptom::Shards(_)));
    match symptom {
        Symptom::Shards(function) => shards() || found.contains_key(&Symptom::Map(function)),
        // Where the first lines of a kind are charged once in all, so are these.
        Symptom::Screen(kind, _) if !symptom.is_wrong() && kind != Kind::Wording => {
            kind == Kind::ExtraLine
                || found.keys().any(|known| matches!(known, Symptom::Screen(other, _) if *other == kind))
        }
        symptom => found.contains_key(&symptom),
    }
}

/// What goes wrong with a class of inputs only, however it goes wrong.
fn of_class(
    evidence: &Evidence<'_>,
    policy: &Policy,
    groups: &[Group<'_>],
    phase: u8,
    class: Class,
    found: &BTreeMap<Symptom, Found>,
) -> Option<Loss> {
    let (check, with) = match class {
        Class::Negative => ("negative", "with negative numbers"),
        Class::Wide => ("wide", "with numbers or results beyond 32 bits"),
        Class::Large => ("large", "with thousands of numbers"),
        Class::Ordinary | Class::Beyond => return None,
    };
    let mut first: Option<Found> = None;
    let mut pairs = Vec::new();
    let mut cost = Cost::both(0.0);
    for group in groups.iter().filter(|group| group.class == class) {
        let failing = group.failing();
        let new = failing.iter().filter(|s| s.phase() <= phase && !is_known(**s, found));
        for (nth, symptom) in new.enumerate() {
            let costs = |points: f64| if points > 0.0 { policy.class(class) } else { 0.0 };
            let (_, own) = charge(policy, *symptom, None);
            cost.lenient = cost.lenient.max(costs(own.lenient));
            cost.strict = cost.strict.max(costs(own.strict));
            if nth == 0 {
                pairs.push(group.pair());
            }
            if let (None, Some((read, noted))) = (&first, group.first(*symptom)) {
                first = Some(of_run(evidence, read, noted));
            }
        }
    }
    let first = first?;
    let others = match pairs.len() {
        1 => String::new(),
        all => format!(" It is so in {all} of the inputs: {}.", list(&pairs)),
    };
    let mut loss = loss(check.to_owned(), cost, &first);
    loss.what = format!("Wrong only {with}: {}{others}", first.noted.what);
    Some(loss)
}
