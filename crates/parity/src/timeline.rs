//! What has happened to each member of a run, over time: as text, and as a drawing.
//!
//! The lesson: a line for each member shows what a death costs: its own gap, and on every worker's line the work
//! since the checkpoint to which all go back.
//!
//! Left out: messages, of which there are too many to be seen.

mod svg;
mod text;

use crate::id::{Line, Member};
use crate::proto::Event;
use crate::run::{Happened, Said};
use std::collections::BTreeMap;
use std::time::Duration;

/// A run, as far as it is drawn.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    lanes: BTreeMap<Member, Lane>,
    end: Duration,
}

/// One member's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lane {
    marks: Vec<(Duration, Mark)>,
    /// From a death until it goes on; the end of the run where it does not.
    dead: Vec<(Duration, Duration)>,
    /// Work that had to be done again.
    rolled_back: Vec<(Duration, Duration, Line)>,
    /// When each checkpoint was taken that still may be gone back to.
    taken: BTreeMap<Line, Duration>,
    died: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Taken(Line),
    Committed(Line),
    Killed,
    Died,
    Recovered(Line),
    Rebuilt(Line),
}

impl Timeline {
    /// Of what has happened until `end`, in its order.
    pub fn new(happened: &[(Duration, Happened)], end: Duration) -> Timeline {
        let mut timeline = Timeline { lanes: BTreeMap::new(), end };
        let mut last_death = None;
        for (at, happened) in happened {
            match happened {
                Happened::Started(member) => drop(timeline.lanes.entry(*member).or_default()),
                Happened::Killed(member) => timeline.mark(*member, *at, Mark::Killed),
                Happened::Died(member, _) => {
                    timeline.mark(*member, *at, Mark::Died);
                    timeline.lane(*member).died.get_or_insert(*at);
                    last_death = Some(*at);
                }
                Happened::Said(member, Said::Event(event)) => {
                    timeline.event(*member, *at, event, last_death);
                }
                Happened::Said(..) => {}
            }
        }
        for lane in timeline.lanes.values_mut() {
            lane.dead.extend(lane.died.take().map(|died| (died, end)));
        }
        timeline
    }

    fn lane(&mut self, member: Member) -> &mut Lane {
        self.lanes.entry(member).or_default()
    }

    fn mark(&mut self, member: Member, at: Duration, mark: Mark) {
        self.lane(member).marks.push((at, mark));
    }

    fn event(&mut self, member: Member, at: Duration, event: &Event, death: Option<Duration>) {
        let lane = self.lanes.entry(member).or_default();
        match event {
            Event::Taken { line, .. } => {
                lane.taken.insert(*line, at);
                lane.marks.push((at, Mark::Taken(*line)));
            }
            Event::Committed(line) => lane.marks.push((at, Mark::Committed(*line))),
            // Everyone's first: nothing was there before.
            Event::Recovered { .. } if death.is_none() => {}
            Event::Recovered { line, rebuilt, .. } => {
                let mark = if *rebuilt { Mark::Rebuilt(*line) } else { Mark::Recovered(*line) };
                lane.marks.push((at, mark));
                let until = lane.died.or(death).unwrap_or(at);
                lane.dead.extend(lane.died.take().map(|died| (died, at)));
                let from = lane.taken.get(line).copied().unwrap_or_default();
                if matches!(member, Member::Worker(_)) && from < until {
                    lane.rolled_back.push((from, until, *line));
                }
                lane.taken.retain(|taken, _| taken <= line);
                // From here on, what is done after it is done now. A recovery that begins anew loses no more.
                lane.taken.insert(*line, at);
            }
            _ => {}
        }
    }

    /// How long members worked for nothing, all together, and for how many deaths.
    fn lost(&self) -> (Duration, usize) {
        let spans = self.lanes.values().flat_map(|lane| &lane.rolled_back);
        let lost = spans.map(|(from, until, _)| until.saturating_sub(*from)).sum();
        let marks = self.lanes.values().flat_map(|lane| &lane.marks);
        (lost, marks.filter(|(_, mark)| *mark == Mark::Died).count())
    }
}

#[cfg(test)]
mod tests;
