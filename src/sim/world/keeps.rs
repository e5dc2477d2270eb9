//! What a backend keeps beyond its death: as of its last checkpoint, which may be a while ago, or lost.
//!
//! What is left out: how that is done (`crates/parity` simulates it).

use super::{NodeId, Observer, World};
use crate::limits::MAX_BACKEND_JOBS;
use crate::proto::Input;
use crate::proto::backend::Kept;
use std::collections::BTreeMap;

/// Changes that a checkpoint may lack.
const LAG: u64 = 20;

/// All that was to be kept, in its order.
#[derive(Debug, Default)]
pub(super) struct Keeps(Vec<(u128, Option<Kept>)>);

impl Keeps {
    /// What is kept now.
    fn records(&self) -> BTreeMap<u128, Kept> {
        let mut records = BTreeMap::new();
        for (job, kept) in &self.0 {
            match kept {
                Some(kept) => drop(records.insert(*job, kept.clone())),
                None => drop(records.remove(job)),
            }
        }
        records
    }
}

impl<O: Observer> World<O> {
    pub(super) fn keep(&mut self, node: NodeId, job: u128, kept: Option<Kept>) {
        let n = &mut self.nodes[node];
        let name = &n.name;
        let Some(keeps) = &mut n.keeps else {
            return self.faults.push(format!("{name}: has something kept and is not to"));
        };
        keeps.0.push((job, kept));
        if keeps.records().len() > MAX_BACKEND_JOBS {
            self.faults.push(format!("{name}: has more kept than it can have jobs"));
        }
    }

    /// A process that starts is given what the last checkpoint of the one before has.
    pub(super) fn restore(&mut self, node: NodeId) {
        let Some(keeps) = &mut self.nodes[node].keeps else { return };
        let lag = match self.rng.below(10) {
            0 => u64::MAX,
            1..5 => self.rng.below(LAG),
            _ => 0,
        };
        keeps.0.truncate((keeps.0.len() as u64).saturating_sub(lag) as usize);
        let records: Vec<Kept> = keeps.records().into_values().collect();
        let (n, count) = (&mut self.nodes[node], records.len() as u64);
        self.trace.note(self.now, count, || format!("{} has kept {records:?}", n.name));
        if let Some(machine) = &mut n.machine {
            machine.handle_input(self.now, Input::Kept(records));
        }
    }

    /// Whether a node has nothing kept: as it should, where it has no job.
    pub fn keeps_nothing(&self, node: NodeId) -> bool {
        self.nodes[node].keeps.as_ref().is_none_or(|keeps| keeps.records().is_empty())
    }
}
