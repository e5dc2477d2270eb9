//! Rules 6 to 9: how far it works, and what the first run shows that does not come further.

use super::group::Group;
use super::round::{Read, first_missing};
use super::words::{boot_again, boot_label, grade_again, list};
use super::{Booted, Evidence, wire};
use crate::model::{Class, Difference, Exit, Kind, Loss, Process, Sentence};
use crate::policy::Policy;

/// The groups that phases are judged by: the assignment's own inputs, or where none was run, what was.
fn telling<'g, 'a>(groups: &'g [Group<'a>]) -> Vec<&'g Group<'a>> {
    for classes in
        [&[Class::Ordinary][..], &[Class::Negative, Class::Wide, Class::Large], &[Class::Beyond]]
    {
        let of: Vec<_> = groups.iter().filter(|group| classes.contains(&group.class)).collect();
        if !of.is_empty() {
            return of;
        }
    }
    Vec::new()
}

/// The last phase that works with at least one input and function.
pub(super) fn phase(groups: &[Group<'_>]) -> u8 {
    telling(groups).iter().map(|group| group.reached()).max().unwrap_or(0)
}

/// Whether a server came up in at least half of the boots.
fn is_up(boots: &[Booted], process: Process, id: Option<u16>) -> bool {
    let up = boots.iter().filter(|booted| came_up(booted, process, id)).count();
    !boots.is_empty() && 2 * up >= boots.len()
}

fn came_up(booted: &Booted, process: Process, id: Option<u16>) -> bool {
    let port = id.and_then(|id| wire::static_port(process, id));
    let missing = |d: &Difference| {
        d.process == process
            && d.kind == Kind::MissingLine
            && matches!(d.sentence, Sentence::BackendUp | Sentence::AwsUp)
    };
    let runs = booted.boot.exits.get(&process) == Some(&Exit::Running);
    port.is_some_and(|port| booted.boot.bound.contains(&port))
        || (runs && !booted.differences.iter().any(missing))
}

/// Whether all four servers came up.
pub(super) fn all_up(evidence: &Evidence<'_>, id: Option<u16>) -> bool {
    Process::SERVERS.iter().all(|process| is_up(evidence.boots, *process, id))
}

/// Why a run, or the boot, did not come further.
struct Reason {
    check: &'static str,
    what: String,
    run: String,
    expected: String,
    actual: String,
    again: String,
}

/// The loss of all phases after `phase`; none after the third.
pub(super) fn loss(
    evidence: &Evidence<'_>,
    policy: &Policy,
    groups: &[Group<'_>],
    phase: u8,
    id: Option<u16>,
) -> Option<Loss> {
    let (rule, check, title) = match phase {
        0 => (6, "no-task", "It does no task of the project: phase 1 does not work"),
        1 => (7, "phase2", "Only phase 1 works"),
        2 => (8, "phase3", "Only phases 1 and 2 work"),
        _ => return None,
    };
    let reason = reason(evidence, groups, phase, id);
    let points = policy.full() - policy.tier(phase);
    Some(Loss {
        rule,
        check: if reason.check.is_empty() { check } else { reason.check }.to_owned(),
        lenient: points,
        strict: points,
        what: format!("{title}: {}.", reason.what),
        run: reason.run,
        expected: reason.expected,
        actual: reason.actual,
        again: reason.again,
    })
}

fn reason(evidence: &Evidence<'_>, groups: &[Group<'_>], phase: u8, id: Option<u16>) -> Reason {
    if let Some(reason) = no_client(evidence) {
        return reason;
    }
    let telling = telling(groups);
    let reads = || telling.iter().flat_map(|group| &group.reads);
    // The runs that come as far as any, and no further, say best what is missing next.
    let silent = |read: &&Read<'_>| !read.tcp || (phase == 1 && !read.udp && read.broken.is_none());
    let first = reads()
        .filter(|read| read.reached == phase)
        .find(silent)
        .or_else(|| reads().find(|read| read.reached == phase))
        .or_else(|| reads().next());
    match first {
        Some(read) if phase > 0 || all_up(evidence, id) => of_run(evidence, read, phase),
        _ => of_boot(evidence, id),
    }
}

/// The document starts the client as `./client` beside the Makefile.
fn no_client(evidence: &Evidence<'_>) -> Option<Reason> {
    let build = evidence.build.filter(|build| !build.programs.contains(&Process::Client))?;
    let there: Vec<String> = build.programs.iter().map(|process| format!("./{process}")).collect();
    Some(Reason {
        check: "",
        what: "there is no ./client after make all".to_owned(),
        run: "build".to_owned(),
        expected: "./client beside the Makefile".to_owned(),
        actual: if there.is_empty() { "no program there".to_owned() } else { list(&there) },
        again: grade_again(evidence, None),
    })
}

fn of_run(evidence: &Evidence<'_>, read: &Read<'_>, phase: u8) -> Reason {
    let count = read.judged.answer.count;
    let (check, what, expected, actual) = if !read.tcp {
        let what = "the client does not send the numbers to AWS by TCP".to_owned();
        ("wire.no-tcp", what, format!("{count} numbers by TCP"), wire::traffic(read.judged, true))
    } else if phase == 1 && !read.udp && claims_to_send(read) {
        let what = "AWS does not send the numbers to the backends by UDP".to_owned();
        let expected = format!("{} numbers by UDP to each of three ports", count / 3);
        ("wire.no-udp", what, expected, wire::traffic(read.judged, false))
    } else if phase == 1 && read.broken.is_none() && read.values.mapped(read.judged.round.function) {
        let what = "the results are the same whatever the numbers are".to_owned();
        let expected = format!("X_A, X_B and X_C = {}", read.judged.answer.partials.join(", "));
        ("hard-coded", what, expected, "the same values as for other numbers".to_owned())
    } else {
        let (what, expected, actual) = of_lines(read, phase);
        ("", what, expected, actual)
    };
    let again = grade_again(evidence, Some((&read.judged.round.case, read.judged.round.function)));
    Reason { check, what, run: read.label.clone(), expected, actual, again }
}

/// Whether AWS says that it sent the numbers on.
fn claims_to_send(read: &Read<'_>) -> bool {
    let missing = |d: &Difference| d.sentence == Sentence::AwsSent && d.kind == Kind::MissingLine;
    !read.judged.differences.iter().any(missing)
}

/// The first line of the next phase that is missing, or else wrong.
fn of_lines(read: &Read<'_>, phase: u8) -> (String, String, String) {
    let line = first_missing(read.judged).or_else(|| {
        let wrong =
            |d: &&Difference| d.kind == Kind::WrongValue && super::words::phase(d.sentence) > phase;
        read.judged.differences.iter().find(wrong)
    });
    let (expected, actual) = match line {
        Some(d) if d.kind == Kind::MissingLine => {
            (d.expected.clone(), format!("(the line is missing at {})", d.process))
        }
        Some(d) => (d.expected.clone(), d.actual.clone()),
        None => ("a run that comes to its end".to_owned(), "it does not".to_owned()),
    };
    let what = match (read.broken, line) {
        (Some(broken), _) => broken.what(),
        (None, Some(d)) if d.kind == Kind::MissingLine => {
            format!("{} does not show what it should", d.process)
        }
        (None, Some(d)) => format!("{} shows wrong values", d.process),
        (None, None) => "the servers do not come up by themselves".to_owned(),
    };
    (what, expected, actual)
}

/// What is wrong before any run.
fn of_boot(evidence: &Evidence<'_>, id: Option<u16>) -> Reason {
    let again = boot_again(evidence);
    let down = Process::SERVERS.into_iter().find(|process| !is_up(evidence.boots, *process, id));
    let of = down.and_then(|process| {
        let index = evidence.boots.iter().position(|booted| !came_up(booted, process, id))?;
        Some((process, index))
    });
    let Some((process, index)) = of else {
        let why = evidence.not_run.first().cloned();
        return Reason {
            check: "",
            what: "no run came about".to_owned(),
            run: "all runs".to_owned(),
            expected: "servers that start, and a client that runs".to_owned(),
            actual: why.unwrap_or_else(|| "nothing was run".to_owned()),
            again,
        };
    };
    let booted = &evidence.boots[index];
    let lines = |screens: &std::collections::BTreeMap<Process, Vec<String>>| {
        screens.get(&process).map(|lines| lines.join(" / ")).unwrap_or_default()
    };
    let how = match booted.boot.exits.get(&process) {
        Some(Exit::Status(status)) => format!("it ended with status {status}"),
        Some(Exit::Signal(signal)) => format!("it died of signal {signal}"),
        Some(Exit::TooMuchOutput) => "it printed without end".to_owned(),
        Some(Exit::Running | Exit::TimedOut) => "it runs and does not say that it is up".to_owned(),
        None => "it was not started".to_owned(),
    };
    let shown = lines(&booted.actual);
    Reason {
        check: "",
        what: format!("{process} does not come up; {how}"),
        run: boot_label(evidence.boots, index),
        expected: lines(&booted.expected),
        actual: if shown.is_empty() { format!("(nothing; {how})") } else { shown },
        again,
    }
}
