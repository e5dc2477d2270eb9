//! Runs of the same input and function, and what the majority of them shows.
//!
//! A program with a race is right on some days. A check fails where more than half of the repeats show it;
//! what fewer show is told, not charged.

use super::round::{Noted, Read, Setting, Symptom};
use super::values::{Reading, Values};
use super::{Evidence, Judged, wire};
use crate::model::{Class, Function};
use crate::policy::Policy;
use ethnum::I256;
use std::collections::{BTreeMap, BTreeSet};

/// All repeats of one input and function.
pub(super) struct Group<'a> {
    pub case: &'a str,
    pub class: Class,
    pub function: Function,
    pub reads: Vec<Read<'a>>,
}

impl<'a> Group<'a> {
    /// As commands and people name it.
    pub(super) fn pair(&self) -> String {
        format!("{}/{}", self.case, self.function.argument())
    }

    /// Whether this many of the repeats are more than half.
    fn most(&self, count: usize) -> bool {
        2 * count > self.reads.len()
    }

    fn showing(&self, symptom: Symptom) -> usize {
        self.reads.iter().filter(|read| read.note(symptom).is_some()).count()
    }

    /// How often each symptom shows.
    pub(super) fn symptoms(&self) -> BTreeMap<Symptom, usize> {
        let all = self.reads.iter().flat_map(|read| &read.notes).map(|noted| noted.symptom);
        all.map(|symptom| (symptom, self.showing(symptom))).collect()
    }

    /// The symptoms that count.
    pub(super) fn failing(&self) -> BTreeSet<Symptom> {
        let symptoms = self.symptoms();
        let mut failing: BTreeSet<Symptom> = symptoms
            .iter()
            .filter(|(_, count)| self.most(**count))
            .map(|(symptom, _)| *symptom)
            .collect();
        // Wrong most of the time, but each time in another way, is wrong.
        let wrong = self.reads.iter().filter(|read| !read.right()).count();
        if self.most(wrong) && !failing.iter().any(|symptom| symptom.is_wrong()) {
            let ways = symptoms.iter().filter(|(symptom, _)| symptom.is_wrong());
            failing.extend(ways.max_by_key(|(_, count)| **count).map(|(symptom, _)| *symptom));
        }
        failing
    }

    /// The first run that shows a symptom, and how.
    pub(super) fn first(&self, symptom: Symptom) -> Option<(&Read<'a>, &Noted)> {
        self.reads.iter().find_map(|read| Some((read, read.note(symptom)?)))
    }

    /// The last phase that works: not more than half of the runs are without it.
    pub(super) fn reached(&self) -> u8 {
        let works = |phase| {
            let without = self.reads.iter().filter(|read| read.reached < phase).count();
            !self.most(without)
        };
        (1..=3).take_while(|phase| works(*phase)).last().unwrap_or(0)
    }
}

/// The runs of each input and function, in the order in which they were made.
pub(super) fn gather<'a>(rounds: &'a [Judged]) -> Vec<Vec<&'a Judged>> {
    let mut order: Vec<Vec<&'a Judged>> = Vec::new();
    let mut places: BTreeMap<(&str, Function), usize> = BTreeMap::new();
    for judged in rounds {
        let place = *places.entry((&judged.round.case, judged.round.function)).or_insert(order.len());
        match order.get_mut(place) {
            Some(group) => group.push(judged),
            None => order.push(vec![judged]),
        }
    }
    order
}

/// Understands all runs.
pub(super) fn read<'a>(
    evidence: &Evidence<'a>,
    policy: &Policy,
    mut setting: Setting,
) -> Vec<Group<'a>> {
    let gathered = gather(evidence.rounds);
    setting.hard_coded = hard_coded(&gathered);
    let mut groups = Vec::with_capacity(gathered.len());
    for rounds in gathered {
        let Some(first) = rounds.first() else { continue };
        let (case, class, function) = (first.round.case.as_str(), first.class, first.round.function);
        let runs = rounds.iter().map(|judged| judged.round.repeat + 1).fold(rounds.len(), usize::max);
        let reads = rounds.iter().map(|judged| {
            let run = judged.round.repeat + 1;
            let label = format!("{case}/{}, run {run} of {runs}", function.argument());
            Read::new(judged, label, &setting, wire::carried(judged, evidence.boots, policy))
        });
        groups.push(Group { case, class, function, reads: reads.collect() });
    }
    distrust(&mut groups);
    groups
}

/// A right result of numbers that did not travel was not computed where it says. Three numbers may fit into
/// any few bytes, so that one input which tells stands for all.
fn distrust(groups: &mut [Group<'_>]) {
    let lies = |group: &Group<'_>, carried: fn(&Read<'_>) -> bool| {
        let right = |read: &Read<'_>| read.values.reading(group.function) == Some(Reading::Right);
        let lies = |read: &&Read<'_>| read.broken.is_none() && right(read) && !carried(read);
        group.class == Class::Ordinary && group.most(group.reads.iter().filter(lies).count())
    };
    let tcp = groups.iter().any(|group| lies(group, |read| read.tcp));
    let udp = groups.iter().any(|group| lies(group, |read| read.udp));
    let most = if tcp { 0 } else { 1 };
    for read in groups.iter_mut().flat_map(|group| &mut group.reads).filter(|_| tcp || udp) {
        read.reached = read.reached.min(most);
    }
}

/// Functions whose results are right for one input and the same for others, where they should differ: then
/// they do not come from the numbers.
fn hard_coded(gathered: &[Vec<&Judged>]) -> BTreeSet<Function> {
    let mut seen: BTreeMap<Function, Vec<(bool, [I256; 3])>> = BTreeMap::new();
    for rounds in gathered {
        let Some(judged) = rounds.first().filter(|judged| judged.class == Class::Ordinary) else {
            continue;
        };
        if let Some(results) = Values::of(judged).results() {
            let exact = results.map(|result| result.to_string()) == judged.answer.partials;
            seen.entry(judged.round.function).or_default().push((exact, results));
        }
    }
    let constant = |results: &[(bool, [I256; 3])]| {
        results.windows(2).all(|pair| pair[0].1 == pair[1].1)
            && results.iter().any(|(exact, _)| *exact)
            && results.iter().any(|(exact, _)| !*exact)
    };
    seen.into_iter().filter(|(_, results)| constant(results)).map(|(function, _)| function).collect()
}
