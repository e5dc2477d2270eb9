//! A course of events as a message chart: a lane for each worker and for whoever dies, time downward.
//!
//! The lesson: of some eighty things that happen, a dozen matter to one who asks where a message is. What holders and
//! leaders say to bring about a checkpoint or a recovery is left out; what it comes to is shown.

use super::{Action, Item, World, replay};
use crate::arena;
use crate::id::Member;
use crate::proto::Event;
use crate::proto::frame::Body;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Columns from one lane to the next.
const WIDTH: usize = 31;

/// Draws what a search has found; `fault` is what it has come to.
///
/// # Errors
/// There is no memory.
pub fn chart(world: &World, path: &[Action], fault: &str) -> Result<String, arena::Error> {
    let dies = |member: &Member| path.contains(&Action::Kill(*member));
    let lanes = world.lives.keys().rev().copied();
    let mut lanes: Vec<Member> =
        lanes.filter(|member| matches!(member, Member::Worker(_)) || dies(member)).collect();
    lanes.sort_by_key(|member| (matches!(member, Member::Holder(_)), *member));
    let mut chart = Chart { lanes, dead: Vec::new(), rows: String::new() };
    let names = chart.lanes.iter().map(|lane| format!("{:<WIDTH$}", lane.to_string()));
    let names: String = names.collect();
    let _ = writeln!(chart.rows, "{}", names.trim_end());
    let mut before = world.clone();
    let mut last: Option<Action> = None;
    let end = replay(world, path, |now, action| {
        if let Some(last) = last {
            chart.row_of(&before, last, now);
        }
        before = now.clone();
        last = Some(action);
    })?;
    if let Some(last) = last {
        chart.row_of(&before, last, &end);
    }
    let _ = writeln!(chart.rows, "=> {fault}");
    Ok(chart.rows)
}

struct Chart {
    lanes: Vec<Member>,
    dead: Vec<Member>,
    rows: String,
}

impl Chart {
    /// What an action comes to.
    fn row_of(&mut self, before: &World, action: Action, after: &World) {
        match action {
            Action::Kill(member) => {
                self.put(member, "X dies");
                self.dead.push(member);
            }
            Action::Start(member) => {
                self.dead.retain(|dead| *dead != member);
                self.put(member, "o is started again");
            }
            Action::Lose(from, to) => {
                for item in before.pipes.get(&(from, to)).into_iter().flatten() {
                    if let Some(name) = name_of(item) {
                        self.put(to, &format!("  {name} is lost with its link"));
                    }
                }
            }
            Action::Deliver(from, to) => {
                let item = before.pipes.get(&(from, to)).and_then(|items| items.front());
                if let Some(name) = item.and_then(name_of) {
                    let arrow = if from < to { format!("-->o {name}") } else { format!("o<-- {name}") };
                    self.put(to, &arrow);
                }
            }
            Action::Step(_) | Action::Encode(_) | Action::Timeout(_) => {}
        }
        for (_, member, event) in &after.events[before.events.len()..] {
            if let (Member::Worker(_), Some(text)) = (member, text_of(event)) {
                self.put(*member, &text);
            }
        }
        for ((from, to), items) in &after.pipes {
            let known = before.pipes.get(&(*from, *to)).map_or(0, |items| items.len());
            let arrived = usize::from(action == Action::Deliver(*from, *to));
            for item in items.iter().skip(known - arrived.min(known)) {
                if let Some(name) = name_of(item) {
                    let arrow = if from < to { format!("o--> {name}") } else { format!("<--o {name}") };
                    self.put(*from, &arrow);
                }
            }
        }
    }

    /// A row with this in one lane.
    fn put(&mut self, member: Member, text: &str) {
        let cells: BTreeMap<usize, &str> = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| **lane == member)
            .map(|(at, _)| (at, text))
            .collect();
        if cells.is_empty() {
            return;
        }
        let mut row = String::new();
        for (at, lane) in self.lanes.iter().enumerate() {
            let idle = if self.dead.contains(lane) { "" } else { "   |" };
            let cell = cells.get(&at).map_or(idle.to_owned(), |text| match text.strip_prefix("-->") {
                Some(rest) => format!("-->{rest}"),
                None => format!("   {text}"),
            });
            let _ = write!(row, "{cell:<WIDTH$}");
        }
        let _ = writeln!(self.rows, "{}", row.trim_end());
    }
}

/// A message between workers, or its acknowledgement.
fn name_of(item: &Item) -> Option<String> {
    match item {
        Item::Frame(frame) => match &frame.body {
            Body::Message(message) => Some(format!("message {}", message.sequence)),
            Body::Acknowledge(sequence) => Some(format!("acknowledges {sequence}")),
            _ => None,
        },
        Item::Opened(..) | Item::Closed => None,
    }
}

fn text_of(event: &Event) -> Option<String> {
    match event {
        Event::Outside { .. } => Some("* says its answer".to_owned()),
        Event::Taken { line, .. } => Some(format!("# {line}")),
        Event::Committed(line) => Some(format!("# {line} counts")),
        Event::Recovered { line, rebuilt: true, .. } => Some(format!("= rebuilt as of {line}")),
        Event::Recovered { line, .. } => Some(format!("= back to {line}")),
        Event::Progress(_) | Event::Gone(_) | Event::Corrupt(_) => None,
    }
}
