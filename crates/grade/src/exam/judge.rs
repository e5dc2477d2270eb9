//! What was shown, beside what should have been.

use crate::cases;
use crate::model::{Boot, Case, Process, Round};
use crate::score::{Booted, Judged};
use crate::screens;
use std::collections::BTreeMap;

/// A start of the servers, its screens compared.
pub(super) fn boot(mut boot: Boot, id: Option<u16>, one_for_all: bool) -> Booted {
    if one_for_all {
        sort_out(&mut boot.screens);
    }
    let mut booted =
        Booted { boot, differences: Vec::new(), expected: BTreeMap::new(), actual: BTreeMap::new() };
    for (process, screen) in &booted.boot.screens {
        let lines = screens::boot(*process, id);
        let compared = screens::compare(*process, &lines, screen);
        booted.differences.extend(compared.differences);
        booted.actual.insert(*process, compared.actual);
        booted.expected.insert(*process, first_forms(lines));
    }
    booted
}

/// One run, its screens compared; `None` for an input that nobody knows.
pub(super) fn round(
    mut round: Round,
    cases: &[Case],
    id: Option<u16>,
    one_for_all: bool,
) -> Option<Judged> {
    if one_for_all {
        sort_out(&mut round.screens);
    }
    let case = cases.iter().find(|case| case.name == round.case)?;
    let answer = cases::answer(round.function, &case.numbers);
    let class = cases::class_of(case, &answer);
    let (mut differences, mut expected, mut actual) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for process in Process::ALL {
        let lines = screens::job(process, round.function, &answer, id);
        let screen = round.screens.get(&process).map_or("", String::as_str);
        let compared = screens::compare(process, &lines, screen);
        differences.extend(compared.differences);
        actual.insert(process, compared.actual);
        expected.insert(process, first_forms(lines));
    }
    Some(Judged { round, answer, class, differences, expected, actual })
}

fn first_forms(lines: Vec<screens::Line>) -> Vec<String> {
    lines.into_iter().filter_map(|line| line.forms.into_iter().next()).collect()
}

/// Gives each server its lines, whichever terminal they are on: one program for all servers (`servers.c`)
/// may show them all on one.
fn sort_out(screens: &mut BTreeMap<Process, String>) {
    let mut sorted: BTreeMap<Process, String> = BTreeMap::new();
    for (process, screen) in std::mem::take(screens) {
        // None is left out for being empty.
        sorted.entry(process).or_default();
        for line in screen.split_inclusive('\n') {
            let owner = if process == Process::Client { None } else { owner(line) };
            sorted.entry(owner.unwrap_or(process)).or_default().push_str(line);
        }
    }
    *screens = sorted;
}

/// The server that a line is about, by its first words.
fn owner(line: &str) -> Option<Process> {
    let line = line.trim_start().to_lowercase();
    let begins = |process: &&Process| match process.letter() {
        Some(letter) => line.starts_with(&format!("the server {} ", letter.to_ascii_lowercase())),
        None => line.starts_with("the aws "),
    };
    Process::SERVERS.iter().find(begins).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_terminal_for_all_servers_is_sorted_out() {
        let all =
            "The Server B is up\nThe AWS received it from Backend-Server A\nhm\nThe Server A has\n";
        let mut screens =
            BTreeMap::from([(Process::ServerA, all.to_owned()), (Process::Aws, String::new())]);
        sort_out(&mut screens);
        assert_eq!(screens[&Process::ServerA], "hm\nThe Server A has\n");
        assert_eq!(screens[&Process::ServerB], "The Server B is up\n");
        assert_eq!(screens[&Process::Aws], "The AWS received it from Backend-Server A\n");
    }
}
