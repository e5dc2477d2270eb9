//! The message logs of a few processes, step by step as a script has it: for reading beside the paper.
//!
//! The lesson: what the paper's tables hold after a checkpoint decides what a failure costs. The tables are
//! those of [`crate::ledger`], as they run; what is lost and what is taken twice is known here by other means,
//! from what each process has truly sent and taken at the place in time to which it went back.
//!
//! Left out: parity, and the time that anything takes. An acknowledgement arrives at once.

mod script;

pub use script::{Error, Script, Table};

use crate::id::{Line, Worker};
use crate::ledger::{Layout, Ledger, Sent, To, Verdict};
use crate::limits::{SCRIPT_LOG_BYTES, SCRIPT_RECEIPTS};
use crate::mode::Mode;
use script::Step;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// The example of the paper, with its tables 3 to 9.
pub const PAPER: &str = include_str!("../examples/paper.script");

/// What a script shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A table: its title, the names of its columns, its rows.
    Table(String, Vec<&'static str>, Vec<Vec<String>>),
    /// Something that happens.
    Note(String),
}

/// What a process is, and what goes back with it.
#[derive(Clone)]
struct State {
    arena: Vec<u8>,
    /// Messages sent to each process.
    sent: Vec<u64>,
    /// Messages taken, by source and number.
    taken: BTreeSet<(Worker, u64)>,
}

/// A message of the script.
#[derive(Clone)]
struct Mail {
    from: Worker,
    to: Worker,
    sequence: u64,
    line: Line,
}

struct Player<'a> {
    script: &'a Script,
    layout: Layout,
    processes: Vec<State>,
    /// Of each process: its checkpoints, and to which of them it may have to go back.
    images: Vec<BTreeMap<Line, State>>,
    /// What each message is called.
    labels: BTreeMap<(Worker, Worker, u64), String>,
    transit: BTreeMap<(Worker, Worker), VecDeque<Mail>>,
    /// Has arrived, and its sender was a checkpoint ahead.
    early: Vec<Mail>,
    shown: Vec<Shown>,
}

/// Plays a script in a mode that logs messages.
///
/// # Errors
/// A step cannot be, and why; with its place in the script.
pub fn play(script: &Script, mode: Mode) -> Result<Vec<Shown>, Error> {
    let processes = script.names.len();
    let layout =
        Layout { mode, workers: processes, log_bytes: SCRIPT_LOG_BYTES, receipts: SCRIPT_RECEIPTS };
    let begin =
        State { arena: vec![0; layout.bytes()], sent: vec![0; processes], taken: BTreeSet::new() };
    let mut player = Player {
        script,
        layout,
        processes: vec![begin.clone(); processes],
        images: vec![BTreeMap::from([(Line(0), begin)]); processes],
        labels: BTreeMap::new(),
        transit: BTreeMap::new(),
        early: Vec::new(),
        shown: Vec::new(),
    };
    for (line, step) in &script.steps {
        player.step(step).map_err(|why| script.error(*line, why))?;
    }
    Ok(player.shown)
}

impl Player<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send { from, to, label, bytes } => self.send(*from, *to, label, bytes),
            Step::Deliver { label } => self.deliver(label),
            Step::Checkpoint { who } => self.checkpoint(*who),
            Step::Fail { who } => self.fail(*who),
            Step::Show { table, who, title } => {
                self.show(*table, *who, title);
                Ok(())
            }
        }
    }

    fn name(&self, who: Worker) -> &str {
        &self.script.names[usize::from(who.0)]
    }

    fn label(&self, from: Worker, to: Worker, sequence: u64) -> &str {
        self.labels.get(&(from, to, sequence)).map_or("?", String::as_str)
    }

    fn note(&mut self, what: String) {
        self.shown.push(Shown::Note(what));
    }

    fn ledger(&mut self, who: Worker) -> Ledger<'_> {
        Ledger::new(self.layout, &mut self.processes[usize::from(who.0)].arena)
    }

    fn line(&mut self, who: Worker) -> Line {
        self.ledger(who).line()
    }

    fn all(&self) -> impl Iterator<Item = Worker> + use<> {
        (0..self.processes.len() as u16).map(Worker)
    }

    /// The checkpoint that all have: the paper's global checkpoint number.
    fn common(&mut self) -> Line {
        self.all().map(|who| self.line(who)).min().unwrap_or_default()
    }

    fn send(&mut self, from: Worker, to: Worker, label: &str, bytes: &str) -> Result<(), String> {
        let sequence = self.processes[usize::from(from.0)].sent[usize::from(to.0)] + 1;
        let key = (from, to, sequence);
        let same = self.labels.iter().find(|(_, known)| *known == label).map(|(key, _)| *key);
        let known = self.labels.get(&key);
        if same.is_some_and(|same| same != key) || known.is_some_and(|known| known != label) {
            let names = (self.name(from), self.name(to));
            return Err(match known {
                Some(known) => format!(
                    "message {sequence} from {} to {} was {known}: it is sent again under its name",
                    names.0, names.1
                ),
                None => format!("{label} is another message already"),
            });
        }
        let (number, line) =
            self.ledger(from).send(To::Worker(to), bytes.as_bytes()).map_err(|e| e.to_string())?;
        debug_assert_eq!(number, sequence);
        self.processes[usize::from(from.0)].sent[usize::from(to.0)] = sequence;
        self.labels.insert(key, label.to_owned());
        self.transit.entry((from, to)).or_default().push_back(Mail { from, to, sequence, line });
        Ok(())
    }

    fn deliver(&mut self, label: &str) -> Result<(), String> {
        let key = self.labels.iter().find(|(_, known)| *known == label).map(|(key, _)| *key);
        let Some((from, to, sequence)) = key else {
            return Err(format!("{label} was never sent"));
        };
        let mut queue = self.transit.remove(&(from, to)).unwrap_or_default();
        if !queue.iter().any(|mail| mail.sequence == sequence) {
            return Err(format!("{label} is not on its way"));
        }
        match queue.pop_front() {
            Some(mail) if mail.sequence != sequence => {
                let first = self.label(from, to, mail.sequence);
                Err(format!("{first} is on its way before {label}, and a link keeps its order"))
            }
            mail => {
                self.transit.insert((from, to), queue);
                mail.map_or(Ok(()), |mail| self.arrive(mail, false))
            }
        }
    }

    /// A message arrives; `again` where it is sent again after a failure, which is told.
    fn arrive(&mut self, mail: Mail, again: bool) -> Result<(), String> {
        let Mail { from, to, sequence, line } = mail;
        let label = self.label(from, to, sequence).to_owned();
        let (sender, receiver) = (self.name(from).to_owned(), self.name(to).to_owned());
        let waits = self.early.iter().any(|early| (early.from, early.to) == (from, to));
        let verdict = match self.ledger(to).judge(from, sequence, line, 0) {
            _ if waits => Verdict::Early,
            verdict => verdict,
        };
        let sends = if again { format!("{sender} sends {label} again: ") } else { String::new() };
        match verdict {
            Verdict::Take => {
                self.ledger(to).take(from, sequence).map_err(|e| e.to_string())?;
                self.ledger(from).acknowledged(to, sequence);
                let first = self.processes[usize::from(to.0)].taken.insert((from, sequence));
                if !first {
                    self.note(format!("{sends}{receiver} takes {label} A SECOND TIME"));
                } else if again {
                    self.note(format!("{sends}{receiver} takes it"));
                }
            }
            Verdict::Duplicate => {
                self.note(format!("{sends}{receiver} discards {label}, which it has taken before"));
            }
            Verdict::Early => {
                self.note(format!(
                    "{sends}{label} waits: {sender} was a checkpoint ahead of {receiver} when it was sent"
                ));
                self.early.push(mail);
            }
            Verdict::Gap => return Err(format!("{receiver} has not had what comes before {label}")),
        }
        Ok(())
    }

    fn checkpoint(&mut self, who: Worker) -> Result<(), String> {
        let before = self.common();
        if self.line(who) > before {
            let late = self.all().find(|other| self.line(*other) == before).unwrap_or(who);
            return Err(format!(
                "{} is a checkpoint ahead of {} already, and its next has to wait",
                self.name(who),
                self.name(late)
            ));
        }
        self.ledger(who).checkpoint();
        let line = self.line(who);
        let image = self.processes[usize::from(who.0)].clone();
        self.images[usize::from(who.0)].insert(line, image);
        let common = self.common();
        if self.layout.mode == Mode::Offload && common > before {
            self.commit(common);
        }
        let (ready, early) =
            std::mem::take(&mut self.early).into_iter().partition(|mail| mail.to == who);
        self.early = early;
        ready.into_iter().try_for_each(|mail| self.arrive(mail, false))
    }

    /// All have this checkpoint: nobody goes back beyond it, and what it has taken is needed no more.
    fn commit(&mut self, line: Line) {
        for receiver in self.all() {
            let images = &mut self.images[usize::from(receiver.0)];
            images.retain(|known, _| *known >= line);
            let Some(image) = images.get_mut(&line) else { continue };
            let taken = Ledger::new(self.layout, &mut image.arena).all_taken();
            for sender in self.all() {
                self.ledger(sender).forget(To::Worker(receiver), taken[usize::from(sender.0)]);
            }
        }
    }

    fn fail(&mut self, who: Worker) -> Result<(), String> {
        let common = self.common();
        self.transit.clear();
        self.early.clear();
        let mut places = Vec::new();
        for process in self.all() {
            let line = if self.layout.mode == Mode::Enhanced { self.line(process) } else { common };
            if let Some(image) = self.images[usize::from(process.0)].get(&line) {
                self.processes[usize::from(process.0)] = image.clone();
            }
            places.push(format!("{} at {line}", self.name(process)));
        }
        self.note(format!("{} fails; all go back: {}", self.name(who), places.join(", ")));
        for (sender, receiver) in self.pairs() {
            let taken = self.ledger(receiver).taken(sender);
            for row in self.ledger(sender).resend(To::Worker(receiver), taken) {
                let Sent { sequence, line, .. } = row;
                self.arrive(Mail { from: sender, to: receiver, sequence, line }, true)?;
            }
        }
        for (sender, receiver) in self.pairs() {
            let sent = self.processes[usize::from(sender.0)].sent[usize::from(receiver.0)];
            for sequence in 1..=sent {
                if !self.processes[usize::from(receiver.0)].taken.contains(&(sender, sequence)) {
                    let label = self.label(sender, receiver, sequence).to_owned();
                    let (sender, receiver) = (self.name(sender), self.name(receiver));
                    self.note(format!(
                        "{label} is LOST: {sender} has sent it, {receiver} has not taken it, and nobody sends it again"
                    ));
                }
            }
        }
        Ok(())
    }

    fn pairs(&self) -> Vec<(Worker, Worker)> {
        let pair = |from: Worker| self.all().map(move |to| (from, to)).filter(|(from, to)| from != to);
        self.all().flat_map(pair).collect()
    }

    fn show(&mut self, table: Table, who: Worker, title: &str) {
        let enhanced = self.layout.mode == Mode::Enhanced;
        let (columns, rows) = match table {
            Table::Sent => {
                let sent = self.ledger(who).sent();
                let row = |row: Sent| {
                    let To::Worker(to) = row.to else { return Vec::new() };
                    let first = if enhanced { row.status.to_string() } else { row.line.0.to_string() };
                    let message = String::from_utf8_lossy(&row.message).into_owned();
                    let label = self.label(who, to, row.sequence).to_owned();
                    vec![first, label, self.name(to).to_owned(), message]
                };
                let rows: Vec<_> = sent.into_iter().map(row).collect();
                let first = if enhanced { "Ack Status" } else { "Checkpoint" };
                (vec![first, "Seq Number", "Destination", "Message slot"], rows)
            }
            Table::Receipt if enhanced => {
                let receipts = self.ledger(who).receipts();
                let row = |row: &crate::ledger::Receipt| {
                    let label = self.label(row.from, who, row.sequence).to_owned();
                    vec![row.status.to_string(), label, self.name(row.from).to_owned()]
                };
                (vec!["Ack Status", "Seq Number", "Source"], receipts.iter().map(row).collect())
            }
            Table::Receipt => {
                let taken = self.ledger(who).all_taken();
                let row = |(source, taken): (Worker, &u64)| {
                    let last = if *taken == 0 { "-" } else { self.label(source, who, *taken) };
                    vec![self.name(source).to_owned(), taken.to_string(), last.to_owned()]
                };
                let others = self.all().zip(&taken).filter(|(source, _)| *source != who);
                (vec!["Source", "Taken", "Last"], others.map(row).collect())
            }
        };
        self.shown.push(Shown::Table(title.to_owned(), columns, rows));
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, columns, rows) = match self {
            Shown::Note(note) => return writeln!(f, "{note}"),
            Shown::Table(title, columns, rows) => (title, columns, rows),
        };
        writeln!(f, "\n{title}")?;
        let wide = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).fold(columns[column].len(), usize::max)
        };
        let widths: Vec<usize> = (0..columns.len()).map(wide).collect();
        let line = |cells: Vec<&str>| {
            let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
        };
        writeln!(f, "{}", line(columns.clone()))?;
        rows.iter()
            .try_for_each(|row| writeln!(f, "{}", line(row.iter().map(String::as_str).collect())))?;
        if rows.is_empty() { writeln!(f, "  (empty)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
