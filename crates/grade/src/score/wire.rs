//! Ports and traffic: rule 11, and whether the numbers travelled at all.
//!
//! A screen shows what a program says, the wire what it does. A client that computes by itself, or an AWS
//! that never asks a backend, prints flawless lines; only their traffic is too small for the numbers.

use super::words::{boot_again, boot_label, grade_again, list};
use super::{Booted, Evidence, Judged, group};
use crate::model::{Boot, Bound, Exit, Flow, Loss, Process};
use crate::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};

/// All static ports of the assignment, whatever the ID.
const STATIC: std::ops::RangeInclusive<u16> = 21_000..=25_999;
/// The thousands of AWS's ports.
const AWS_UDP: u16 = 24_000;
const AWS_TCP: u16 = 25_000;

/// The last three digits of the ID, as most of the bound ports have them; `None` where no port is one of
/// the assignment's, or as many speak for one ID as for another.
pub fn find_id(boots: &[Boot]) -> Option<u16> {
    found(boots.iter())
}

pub(super) fn found<'b>(boots: impl Iterator<Item = &'b Boot>) -> Option<u16> {
    let mut votes: BTreeMap<u16, usize> = BTreeMap::new();
    for bound in boots.flat_map(|boot| &boot.bound).filter(|bound| STATIC.contains(&bound.port)) {
        *votes.entry(bound.port % 1000).or_default() += 1;
    }
    let most = votes.values().copied().max()?;
    let mut ids = votes.into_iter().filter(|(_, count)| *count == most).map(|(id, _)| id);
    ids.next().filter(|_| ids.next().is_none())
}

/// The port that a server has to hold when it is up.
pub(super) fn static_port(process: Process, id: u16) -> Option<Bound> {
    let (tcp, base) = match process {
        Process::ServerA => (false, 21_000),
        Process::ServerB => (false, 22_000),
        Process::ServerC => (false, 23_000),
        Process::Aws => (true, AWS_TCP),
        Process::Client => return None,
    };
    Some(Bound { tcp, port: base + id })
}

/// Whether the numbers of a run went to AWS by TCP, and on to three places by UDP. What was not watched, or
/// is too long to be judged by volume, is believed.
pub(super) fn carried(judged: &Judged, boots: &[Booted], policy: &Policy) -> (bool, bool) {
    let Some(flows) = &judged.round.flows else { return (true, true) };
    if judged.answer.count as f64 > policy.most_numbers {
        return (true, true);
    }
    let needed = judged.answer.count as f64 * policy.bytes_per_number;
    let listening: BTreeSet<u16> = boots
        .iter()
        .flat_map(|booted| &booted.boot.bound)
        .filter(|bound| bound.tcp)
        .map(|bound| bound.port)
        .collect();
    let tcp: u64 = flows
        .iter()
        .filter(|flow| flow.tcp && (listening.is_empty() || listening.contains(&flow.to)))
        .map(|flow| flow.bytes)
        .sum();
    // Wrong ports are another question, so that any three places will do.
    let enough = to_places(flows).values().filter(|bytes| **bytes as f64 >= needed / 3.0).count();
    (tcp as f64 >= needed.max(1.0), enough >= Process::BACKENDS.len())
}

/// Bytes of UDP content by the port where they arrive.
fn to_places(flows: &[Flow]) -> BTreeMap<u16, u64> {
    let mut bytes = BTreeMap::new();
    for flow in flows.iter().filter(|flow| !flow.tcp && flow.bytes > 0) {
        *bytes.entry(flow.to).or_default() += flow.bytes;
    }
    bytes
}

/// What the wire carried, for people.
pub(super) fn traffic(judged: &Judged, tcp: bool) -> String {
    let flows = judged.round.flows.as_deref().unwrap_or_default();
    let shown: Vec<String> = flows
        .iter()
        .filter(|flow| flow.tcp == tcp && flow.bytes > 0)
        .take(6)
        .map(|flow| format!("{} bytes from port {} to {}", flow.bytes, flow.from, flow.to))
        .collect();
    match shown.as_slice() {
        [] => format!("no {} content at all", if tcp { "TCP" } else { "UDP" }),
        shown => list(shown),
    }
}

/// One port that is not as table 3 says.
struct Finding {
    what: String,
    run: String,
    expected: String,
    actual: String,
    again: String,
}

/// Rule 11: the loss, and the ports that are wrong, which lines may then name truly.
pub(super) fn ports(
    evidence: &Evidence<'_>,
    policy: &Policy,
    id: Option<u16>,
) -> Option<(Loss, BTreeSet<u16>)> {
    let Some(id) = id else { return nowhere(evidence, policy) };
    let mut wrong = BTreeSet::new();
    let mut findings = bound_findings(evidence, id, &mut wrong);
    findings.extend(always_the_same(evidence, id));
    for rounds in group::gather(evidence.rounds) {
        let odd = |flow: fn(&Flow, u16) -> bool| {
            let of = |judged: &Judged| {
                judged.round.flows.iter().flatten().find(|f| flow(f, id)).map(|flow| flow.from)
            };
            let ports: Vec<_> =
                rounds.iter().filter_map(|judged| Some((*judged, of(judged)?))).collect();
            // More than half, as everywhere.
            if 2 * ports.len() > rounds.len() { ports } else { Vec::new() }
        };
        let from_aws = odd(|flow, id| to_backend(flow, id) && flow.from != AWS_UDP + id);
        wrong.extend(from_aws.iter().map(|(_, port)| *port));
        if let Some((judged, port)) = from_aws.first() {
            let expected = AWS_UDP + id;
            let what = format!("AWS sends from UDP port {port} instead of {expected}");
            findings.push(seen(evidence, judged, what, format!("UDP from port {expected}"), *port));
        }
        let from_client =
            odd(|flow, id| flow.tcp && flow.to == AWS_TCP + id && STATIC.contains(&flow.from));
        if let Some((judged, port)) = from_client.first() {
            let what = format!("the client's TCP port {port} is not a dynamic one");
            findings.push(seen(evidence, judged, what, "a dynamic TCP port".to_owned(), *port));
        }
    }
    Some((loss(policy, findings)?, wrong))
}

/// Runs after which a client's port that never changes is no chance.
const SAME_RUNS: usize = 3;

/// A client that has one and the same port in every run.
fn always_the_same(evidence: &Evidence<'_>, id: u16) -> Option<Finding> {
    let port = |judged: &Judged| {
        let flow = judged.round.flows.iter().flatten().find(|f| f.tcp && f.to == AWS_TCP + id);
        flow.map(|flow| flow.from)
    };
    let seen_in: Vec<_> = evidence.rounds.iter().filter_map(|j| Some((j, port(j)?))).collect();
    let (judged, first) = *seen_in.first()?;
    let same = seen_in.len() >= SAME_RUNS && seen_in.iter().all(|(_, port)| *port == first);
    let what = format!("the client's TCP port is {first} in every run");
    same.then(|| seen(evidence, judged, what, "a dynamic TCP port".to_owned(), first))
}

fn to_backend(flow: &Flow, id: u16) -> bool {
    let ports = [21_000, 22_000, 23_000].map(|base| base + id);
    !flow.tcp && ports.contains(&flow.to) && !ports.contains(&flow.from)
}

fn seen(evidence: &Evidence<'_>, judged: &Judged, what: String, expected: String, port: u16) -> Finding {
    let (case, function) = (judged.round.case.as_str(), judged.round.function);
    let repeat = judged.round.repeat + 1;
    let same = |other: &&Judged| other.round.case == case && other.round.function == function;
    let runs = evidence.rounds.iter().filter(same).map(|other| other.round.repeat + 1);
    let runs = runs.clone().count().max(runs.max().unwrap_or(repeat));
    Finding {
        what,
        run: format!("{case}/{}, run {repeat} of {runs}", function.argument()),
        expected,
        actual: format!("from port {port}"),
        again: grade_again(evidence, Some((case, function))),
    }
}

/// Servers that run, and do not hold their port, in most boots.
fn bound_findings(evidence: &Evidence<'_>, id: u16, wrong: &mut BTreeSet<u16>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for process in Process::SERVERS {
        let Some(port) = static_port(process, id) else { continue };
        let boots = evidence.boots.iter().enumerate();
        let watched: Vec<_> = boots
            .filter(|(_, booted)| !booted.boot.bound.is_empty())
            .filter(|(_, booted)| booted.boot.exits.get(&process) == Some(&Exit::Running))
            .collect();
        let without: Vec<_> =
            watched.iter().filter(|(_, booted)| !booted.boot.bound.contains(&port)).collect();
        if 2 * without.len() <= watched.len() {
            continue;
        }
        if let Some((index, booted)) = without.first() {
            let odd = |bound: &&Bound| bound.port % 1000 != id || !STATIC.contains(&bound.port);
            wrong.extend(booted.boot.bound.iter().filter(odd).map(|bound| bound.port));
            findings.push(Finding {
                what: format!("{process} does not hold {}", name(&port)),
                run: boot_label(evidence.boots, *index),
                expected: name(&port),
                actual: names(&booted.boot.bound),
                again: boot_again(evidence),
            });
        }
    }
    findings
}

/// No port at all is one of the assignment's.
fn nowhere(evidence: &Evidence<'_>, policy: &Policy) -> Option<(Loss, BTreeSet<u16>)> {
    let bound = |booted: &Booted| !booted.boot.bound.is_empty();
    let index = evidence.boots.iter().position(bound)?;
    let ports = &evidence.boots[index].boot.bound;
    let finding = Finding {
        what: "no ID has these ports".to_owned(),
        run: boot_label(evidence.boots, index),
        expected: "UDP 21xxx, 22xxx, 23xxx and TCP 25xxx, xxx being the same".to_owned(),
        actual: names(ports),
        again: boot_again(evidence),
    };
    Some((loss(policy, vec![finding])?, ports.iter().map(|bound| bound.port).collect()))
}

fn name(bound: &Bound) -> String {
    format!("{} port {}", if bound.tcp { "TCP" } else { "UDP" }, bound.port)
}

fn names(bound: &[Bound]) -> String {
    list(&bound.iter().take(12).map(name).collect::<Vec<_>>())
}

fn loss(policy: &Policy, findings: Vec<Finding>) -> Option<Loss> {
    let mut what: Vec<&str> = Vec::new();
    // An ephemeral port is another one in each run, and one mistake.
    let kind =
        |what: &str| what.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned();
    for finding in &findings {
        if !what.iter().any(|told| kind(told) == kind(&finding.what)) {
            what.push(&finding.what);
        }
    }
    let what = format!("Ports are not assigned as table 3 says: {}.", list(&what));
    let first = findings.into_iter().next()?;
    Some(Loss {
        rule: 11,
        check: "ports".to_owned(),
        lenient: policy.ports,
        strict: policy.ports,
        what,
        run: first.run,
        expected: first.expected,
        actual: first.actual,
        again: first.again,
    })
}
