//! What can be charged before anything runs: the hand-in, the Makefile, the build.

use super::Evidence;
use super::words::{boot_again, boot_label, file_again, grade_again, list, list_again};
use crate::limits::LINE_CHARS;
use crate::model::{Boot, Build, Exit, Loss, Process, Rule};
use crate::policy::Policy;

/// The README's points, as "Submission Rules" lists them.
const POINTS: [&str; 8] = [
    "your full name",
    "your student ID",
    "what you have done in the assignment",
    "what your code files are and what each one of them does",
    "what the TA should do to run your programs",
    "the format of all the messages exchanged",
    "any idiosyncrasy of your project",
    "reused code",
];

/// Whether there is something to run: `make all` ended well, or made all programs, or it did run.
pub(super) fn compiled(evidence: &Evidence<'_>) -> bool {
    let built = evidence.build.is_some_and(|build| match build.exit {
        Exit::Status(0) => !build.programs.is_empty(),
        _ => Process::ALL.iter().all(|process| build.programs.contains(process)),
    });
    built || !evidence.rounds.is_empty()
}

/// A loss that is the same in both readings.
fn loss(rule: Rule, check: impl Into<String>, points: f64, what: String) -> Loss {
    Loss {
        rule,
        check: check.into(),
        lenient: points,
        strict: points,
        what,
        run: "what was handed in".to_owned(),
        expected: String::new(),
        actual: String::new(),
        again: String::new(),
    }
}

/// All losses of the hand-in itself.
pub(super) fn losses(evidence: &Evidence<'_>, policy: &Policy) -> Vec<Loss> {
    let mut losses = readme(evidence, policy);
    losses.extend(names(evidence, policy));
    losses.extend(makefile(evidence, policy));
    losses
}

fn readme(evidence: &Evidence<'_>, policy: &Policy) -> Vec<Loss> {
    let Some(readme) = &evidence.hand_in.readme else {
        let what = "There is no README.".to_owned();
        return vec![Loss {
            expected: "a file README, README.txt or the like".to_owned(),
            actual: files(evidence),
            again: list_again(evidence),
            ..loss(10, "readme.missing", policy.missing_file, what)
        }];
    };
    let missing = ('a'..='h').zip(POINTS).zip(evidence.hand_in.points).filter(|(_, there)| !there);
    missing
        .map(|((letter, point), _)| Loss {
            run: readme.clone(),
            expected: format!("{letter}. {point}"),
            actual: "nothing about it was found".to_owned(),
            again: file_again(evidence, readme),
            ..loss(
                0,
                format!("readme.{letter}"),
                policy.readme_point,
                format!("The README does not address point {letter}: {point}."),
            )
        })
        .collect()
}

fn names(evidence: &Evidence<'_>, policy: &Policy) -> Vec<Loss> {
    let mut losses = Vec::new();
    let missing = &evidence.hand_in.missing_sources;
    if !missing.is_empty() {
        let what = format!("No source is named as prescribed for {}.", list(missing));
        losses.push(Loss {
            expected: list(
                &missing.iter().map(|name| format!("{name}.c, .cc or .cpp")).collect::<Vec<_>>(),
            ),
            actual: files(evidence),
            again: list_again(evidence),
            ..loss(0, "source-names", policy.source_names, what)
        });
    }
    if let Some(expected) = &evidence.hand_in.bad_archive_name {
        losses.push(Loss {
            expected: expected.clone(),
            actual: evidence.archive_name.unwrap_or(evidence.name).to_owned(),
            again: format!("ls {}", super::words::quote(evidence.path)),
            ..loss(
                0,
                "archive-name",
                policy.archive_name,
                "The archive is not named as prescribed.".to_owned(),
            )
        });
    }
    losses
}

fn makefile(evidence: &Evidence<'_>, policy: &Policy) -> Vec<Loss> {
    let Some(makefile) = &evidence.hand_in.makefile else {
        let misnamed = evidence.hand_in.misnamed_makefile.as_ref();
        let what = match misnamed {
            Some(name) => format!("There is no Makefile: make does not read {name}."),
            None => "There is no Makefile.".to_owned(),
        };
        return vec![Loss {
            expected: "a file Makefile".to_owned(),
            actual: misnamed.cloned().unwrap_or_else(|| files(evidence)),
            again: list_again(evidence),
            ..loss(10, "makefile.missing", policy.missing_file, what)
        }];
    };
    let mut losses = Vec::new();
    let missing = &evidence.hand_in.missing_targets;
    if !missing.is_empty() {
        losses.push(Loss {
            run: makefile.clone(),
            expected: "the targets all, serverA, serverB, serverC and aws".to_owned(),
            actual: format!("no target {}", list(missing)),
            again: file_again(evidence, makefile),
            ..loss(
                12,
                "makefile.target",
                policy.error,
                format!("The Makefile lacks {} of the five targets.", list(missing)),
            )
        });
    }
    losses.extend(not_started(evidence, policy));
    losses
}

/// Servers that their make target does not start, though it is there.
fn not_started(evidence: &Evidence<'_>, policy: &Policy) -> Option<Loss> {
    let lacks = |process: &Process| evidence.hand_in.missing_targets.iter().any(|t| t == process.name());
    let by_hand = |boot: &Boot| -> Vec<Process> {
        boot.by_hand.iter().copied().filter(|process| !lacks(process)).collect()
    };
    let boots: Vec<_> = evidence.boots.iter().map(|booted| by_hand(&booted.boot)).collect();
    if 2 * boots.iter().filter(|processes| !processes.is_empty()).count() <= boots.len() {
        return None;
    }
    let index = boots.iter().position(|processes| !processes.is_empty())?;
    let processes: Vec<&str> = boots[index].iter().map(|process| process.name()).collect();
    let targets = list(&processes);
    let why = if evidence.hand_in.phony {
        "make did not start it."
    } else {
        "make takes the target for the file of that name, which is up to date; .PHONY would tell it."
    };
    Some(Loss {
        run: boot_label(evidence.boots, index),
        expected: format!("make {} starts the server", processes[0]),
        actual: "make ended, and no server ran".to_owned(),
        again: boot_again(evidence),
        ..loss(
            12,
            "makefile.phony",
            policy.error,
            format!("The Makefile's target {targets} starts no server: {why}"),
        )
    })
}

/// Rule 5: it does not compile.
pub(super) fn not_compiled(evidence: &Evidence<'_>, policy: &Policy) -> Loss {
    let what = match evidence.build {
        None if evidence.hand_in.makefile.is_none() => {
            "It does not compile as handed in: without a Makefile, `make all` makes nothing."
        }
        None => "It was not built.",
        Some(_) => "It does not compile: `make all` fails.",
    };
    let actual = evidence.build.map_or("nothing was built".to_owned(), complaint);
    Loss {
        run: evidence.build.map_or("make all".to_owned(), |build| build.command.clone()),
        expected: "make all ends with status 0 and makes the five programs".to_owned(),
        actual,
        again: grade_again(evidence, None),
        ..loss(5, "compile", policy.full() - policy.no_compile, what.to_owned())
    }
}

/// How a build ended, with the line that most likely says why.
fn complaint(build: &Build) -> String {
    let mut lines = build.output.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = ["error", "undefined reference", "No rule", "***", "missing separator"];
    let first = lines.clone().find(|line| telling.iter().any(|word| line.contains(word)));
    let line: String =
        first.or(lines.next_back()).unwrap_or("no output").chars().take(LINE_CHARS).collect();
    match build.exit {
        Exit::Status(0) => format!("make ended well and made no program: {line}"),
        Exit::Status(status) => format!("make ended with status {status}: {line}"),
        Exit::Signal(signal) => format!("make died of signal {signal}: {line}"),
        Exit::TimedOut => format!("make did not end in time: {line}"),
        Exit::TooMuchOutput => format!("make printed without end: {line}"),
        Exit::Running => format!("make did not end: {line}"),
    }
}

/// What there is, in few words.
fn files(evidence: &Evidence<'_>) -> String {
    const SHOWN: usize = 12;
    let files = &evidence.hand_in.files;
    match files.len() {
        0 => "no files".to_owned(),
        all if all > SHOWN => format!("{} and {} more", files[..SHOWN].join(", "), all - SHOWN),
        _ => list(files),
    }
}
