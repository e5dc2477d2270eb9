//! What was shown, beside what should have been.

use crate::cases;
use crate::model::{Boot, Case, Process, Round};
use crate::score::{Booted, Judged};
use crate::screens;
use std::collections::BTreeMap;

/// A start of the servers, its screens compared.
pub(super) fn boot(boot: Boot, id: Option<u16>) -> Booted {
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
pub(super) fn round(round: Round, cases: &[Case], id: Option<u16>) -> Option<Judged> {
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
