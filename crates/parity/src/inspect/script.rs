//! A script as text: a step a line, and where it is wrong.

use crate::id::Worker;
use crate::ledger::ENTRY_BYTES;
use crate::limits::{MAX_SCRIPT_STEPS, MAX_WORKERS, SCRIPT_LOG_BYTES};

/// What processes do, in its order.
#[derive(Clone, Debug)]
pub struct Script {
    /// Who takes part.
    pub(super) names: Vec<String>,
    /// Each with its line.
    pub(super) steps: Vec<(usize, Step)>,
    origin: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Send { from: Worker, to: Worker, label: String, bytes: String },
    Deliver { label: String },
    Checkpoint { who: Worker },
    Fail { who: Worker },
    Show { table: Table, who: Worker, title: String },
}

/// Which of a process's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// What it has sent and may have to send again.
    Sent,
    /// What it has received.
    Receipt,
}

/// A script that cannot be played: where, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{line}: {reason}")]
pub struct Error {
    /// The file.
    pub origin: String,
    /// The line in it, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Script {
    /// Reads a script; `origin` is what errors call it.
    ///
    /// # Errors
    /// A line means nothing, or names somebody whom nobody knows.
    pub fn parse(origin: &str, text: &str) -> Result<Script, Error> {
        let mut script = Script { names: Vec::new(), steps: Vec::new(), origin: origin.to_owned() };
        let mut last = 1;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            last = number;
            let read = if script.names.is_empty() {
                script.read_names(line)
            } else {
                script.read_step(line).map(|step| script.steps.push((number, step)))
            };
            read.map_err(|reason| script.error(number, reason))?;
            if script.steps.len() > MAX_SCRIPT_STEPS {
                return Err(script.error(number, format!("{MAX_SCRIPT_STEPS} steps are the most")));
            }
        }
        if script.names.is_empty() {
            return Err(script.error(last, "there is no line `processes NAME NAME...`".into()));
        }
        Ok(script)
    }

    pub(super) fn error(&self, line: usize, reason: String) -> Error {
        Error { origin: self.origin.clone(), line, reason }
    }

    fn read_names(&mut self, line: &str) -> Result<(), String> {
        let names = line.strip_prefix("processes ").map(str::split_whitespace);
        let names: Vec<String> = names.into_iter().flatten().map(str::to_owned).collect();
        if !(2..=MAX_WORKERS).contains(&names.len()) {
            return Err(format!(
                "the first line says who takes part: `processes P1 P2`, 2 to {MAX_WORKERS} names"
            ));
        }
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(format!("{} is there twice", twice.1));
        }
        self.names = names;
        Ok(())
    }

    fn process(&self, name: &str) -> Result<Worker, String> {
        let found = (0..).zip(&self.names).find(|(_, known)| *known == name);
        let found = found.map(|(index, _)| Worker(index));
        found.ok_or_else(|| format!("there is no process {name:?}: there are {}", self.names.join(", ")))
    }

    fn read_step(&self, line: &str) -> Result<Step, String> {
        let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let mut rest = rest.trim();
        let mut word = |what: &str| match rest.split_once(char::is_whitespace).unwrap_or((rest, "")) {
            ("", _) => Err(format!("`{verb}` lacks {what}")),
            (word, after) => {
                rest = after.trim_start();
                Ok(word)
            }
        };
        let step = match verb {
            "send" => {
                let (from, to) =
                    (self.process(word("its sender")?)?, self.process(word("a receiver")?)?);
                if from == to {
                    return Err(format!("{} sends to itself", self.names[usize::from(from.0)]));
                }
                let (label, bytes) = (word("the message's name")?.to_owned(), rest.to_owned());
                if bytes.len() + ENTRY_BYTES > SCRIPT_LOG_BYTES / 4 {
                    return Err(format!("{label} has {} bytes, too many for a line", bytes.len()));
                }
                return Ok(Step::Send { from, to, label, bytes });
            }
            "show" => {
                let table = match word("which table")? {
                    "sent" => Table::Sent,
                    "receipt" => Table::Receipt,
                    other => return Err(format!("there is no table {other:?}: show sent, or receipt")),
                };
                let who = self.process(word("whose table")?)?;
                if rest.is_empty() {
                    return Err("`show` lacks a title".into());
                }
                return Ok(Step::Show { table, who, title: rest.to_owned() });
            }
            "deliver" => Step::Deliver { label: word("the message's name")?.to_owned() },
            "checkpoint" => Step::Checkpoint { who: self.process(word("a process")?)? },
            "fail" => Step::Fail { who: self.process(word("a process")?)? },
            other => {
                return Err(format!(
                    "{other:?} is no step: there are send, deliver, checkpoint, fail and show"
                ));
            }
        };
        if rest.is_empty() { Ok(step) } else { Err(format!("{rest:?} is too much behind `{verb}`")) }
    }
}
