//! What the assignment leaves open, tried all the same: shown to the student, and not charged.

use super::runs::{Exam, answered};
use crate::cases;
use crate::model::{Case, Exit, Function, Probe, Process, Round};
use crate::sandbox::Error;
use std::time::Instant;

impl Exam<'_> {
    /// Runs every probe on fresh servers.
    pub(super) fn probe(&mut self, cases: &[Case]) -> Result<(), Error> {
        let Some(case) = cases.iter().find(|case| case.numbers.len() == 3).or(cases.first()) else {
            return Ok(());
        };
        let text = Some(case.text.clone());
        let refusals: [(&str, &str, Option<String>, &[&str]); 3] = [
            ("foo", "./client foo", text.clone(), &["foo"]),
            ("no-argument", "./client without an argument", text.clone(), &[]),
            ("missing-file", "./client sum without nums.csv", None, &["sum"]),
        ];
        for (name, what, nums, arguments) in refusals {
            if self.is_late() {
                return Ok(());
            }
            (self.tell)(what);
            self.stop()?;
            let round = self.round(case, Function::Sum, 0, nums, arguments)?;
            let (outcome, good) = refused(&round);
            self.note(name, what, outcome, good);
        }
        if self.is_late() {
            return Ok(());
        }
        (self.tell)("no final newline");
        self.stop()?;
        let cut = case.text.trim_end().to_owned();
        let round = self.round(case, Function::Sum, 0, Some(cut), &["sum"])?;
        let good = has_answer(&round, case);
        let outcome = if good { "the right answer".to_owned() } else { outcome_of(&round) };
        self.note("no-final-newline", "nums.csv without a final line feed", outcome, good);
        let again = self.serves_again == Some(true);
        let outcome = match again {
            true => "the servers serve one client after the other",
            false => "the servers have to be started again for each client, which the assignment allows",
        };
        self.note("second-client", "a second client without a restart", outcome.to_owned(), again);
        if self.is_late() {
            return Ok(());
        }
        (self.tell)("restart right after a run");
        self.stop()?;
        let round = self.round(case, Function::Sum, 0, text, &["sum"])?;
        let good = has_answer(&round, case);
        let outcome = match good {
            true => "the servers can be started again at once".to_owned(),
            false => self.complaint().unwrap_or_else(|| outcome_of(&round)),
        };
        self.note("restart", "all servers ended and started again right after a run", outcome, good);
        self.stop()
    }

    /// What has taken that long already is not asked for more.
    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    fn note(&mut self, name: &str, what: &str, outcome: String, good: bool) {
        self.probes.push(Probe { name: name.to_owned(), what: what.to_owned(), outcome, good });
    }

    /// What a server said of its port when it was started last.
    fn complaint(&self) -> Option<String> {
        let boot = self.boots.last()?;
        let line = boot
            .screens
            .values()
            .flat_map(|screen| screen.lines())
            .find(|line| line.contains("in use"))?;
        Some(line.trim().to_owned())
    }
}

/// Whether a client that cannot do its work says so and ends, and takes nobody along.
fn refused(round: &Round) -> (String, bool) {
    let down: Vec<&str> = Process::SERVERS
        .iter()
        .filter(|process| round.exits.get(process).is_some_and(|exit| *exit != Exit::Running))
        .map(|process| process.name())
        .collect();
    let mut outcome = outcome_of(round);
    if !down.is_empty() {
        outcome += &format!("; {} ended with it", down.join(", "));
    }
    let by_itself = matches!(round.exits.get(&Process::Client), Some(Exit::Status(_)));
    (outcome, by_itself && !answered(round) && down.is_empty())
}

fn outcome_of(round: &Round) -> String {
    let screen = round.screens.get(&Process::Client).map_or("", String::as_str);
    let last = screen.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("nothing");
    let last: String = last.chars().take(120).collect();
    let how = match round.exits.get(&Process::Client) {
        Some(Exit::Status(status)) => format!("the client ended with status {status}"),
        Some(Exit::Signal(signal)) => format!("the client was ended by signal {signal}"),
        Some(Exit::TimedOut) => "the client hung".to_owned(),
        Some(Exit::TooMuchOutput) => "the client printed without end".to_owned(),
        Some(Exit::Running) | None => "the client did not end".to_owned(),
    };
    format!("{how}; the last it showed: {last}")
}

fn has_answer(round: &Round, case: &Case) -> bool {
    let total = cases::answer(Function::Sum, &case.numbers).total;
    let screen = round.screens.get(&Process::Client).map_or("", String::as_str);
    answered(round) && screen.split(|c: char| !c.is_ascii_digit() && c != '-').any(|word| word == total)
}
