//! A dataset beside a backend, and what it is asked to map of it.
//!
//! What is left out: fetching it (`crates/swarm` simulates swarms).

use super::{Happening, NodeId, Observer, World};
use crate::limits::MAX_MAPS;
use crate::reduction::Reduction;
use ethnum::I256;
use std::ops::Range;
use std::time::Duration;

/// The dataset beside a backend: what `Output::Map` maps.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// The numbers; `None` where they cannot be read.
    pub rows: Option<Vec<i64>>,
    /// The longest that it takes to map some.
    pub slowest: Duration,
}

impl<O: Observer> World<O> {
    pub(super) fn map(
        &mut self,
        node: NodeId,
        ticket: u64,
        rows: Range<u64>,
        reduction: &dyn Reduction,
    ) {
        let n = &mut self.nodes[node];
        let result = match &n.shelf.rows {
            None => Err("its disk is broken".to_owned()),
            Some(all) => match all.get(rows.start as usize..rows.end as usize) {
                Some(some) => Ok(reduction.map(reduction.identity(), some)),
                None => Err(format!("rows {rows:?} of {}", all.len())),
            },
        };
        if rows.is_empty() || !n.maps.insert(ticket) {
            self.faults.push(format!("{}: asks for rows {rows:?} by ticket {ticket}", n.name));
        }
        let life = n.life;
        let time = Duration::from_nanos(1 + self.rng.below(n.shelf.slowest.as_nanos() as u64 + 1));
        self.at(self.now + time, Happening::Mapped { node, life, ticket, result });
    }

    pub(super) fn unmap(&mut self, node: NodeId, ticket: u64) {
        let n = &mut self.nodes[node];
        if !n.maps.remove(&ticket) {
            self.faults.push(format!("{}: calls off ticket {ticket}, which is nothing's", n.name));
        }
    }

    pub(super) fn mapped(&mut self, node: NodeId, life: u32, ticket: u64, result: Result<I256, String>) {
        let n = &mut self.nodes[node];
        if n.life == life && n.maps.remove(&ticket) {
            let name = &n.name;
            self.trace.note(self.now, ticket, || format!("{name} maps by ticket {ticket}: {result:?}"));
            self.feed(node, Some(crate::proto::Input::Mapped { ticket, result }));
        }
    }

    /// Nothing is mapped for a job that is over, and never too much.
    pub(super) fn check_maps(&mut self, node: NodeId, jobs: usize) {
        let n = &self.nodes[node];
        let maps = n.maps.len();
        if maps > jobs.min(MAX_MAPS) {
            self.faults.push(format!("{}: {maps} maps for {jobs} jobs", n.name));
        }
    }
}
