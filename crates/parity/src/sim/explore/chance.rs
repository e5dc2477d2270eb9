//! Where there is too much to look at all: courses of events by chance; and the short form of what is found.

use super::*;
use offload::rng::Rng;

/// Courses by chance, until kinds of fault or worlds are enough.
///
/// # Errors
/// There is no memory.
pub fn sample(
    world: &World,
    bounds: Bounds,
    rng: &mut Rng,
    wrong: impl Fn(&World) -> Option<String>,
) -> Result<Explored, arena::Error> {
    let (mut search, first) = Search::new(world, bounds, wrong);
    while !search.is_enough() {
        let (mut place, mut path) = (first.clone(), Vec::new());
        // Now and then somebody dies, or waits no longer.
        let rare = 1.0 / (1 + rng.below(60)) as f64;
        let fault = loop {
            let mut next = search.choices(&place);
            if let Some(end) = search.end(&place, &next) {
                break end;
            }
            if !rng.chance(rare) && next.iter().any(|choice| !choice.is_bad_luck()) {
                next.retain(|choice| !choice.is_bad_luck());
            }
            let choice = next[rng.below(next.len() as u64) as usize];
            path.push(choice);
            let (reached, fault) = search.apply(place, choice)?;
            place = reached;
            search.seen.insert(place.print());
            search.found.actions += 1;
            if fault.is_some() {
                break fault;
            }
        };
        search.found.depth = search.found.depth.max(path.len());
        if let Some(fault) = fault {
            search.note(&first, path, fault)?;
        }
    }
    Ok(search.report())
}

impl Choice {
    fn is_bad_luck(self) -> bool {
        matches!(self, Choice::Kill(_) | Choice::Timeout(_) | Choice::Lose(..))
    }
}

impl<W: Fn(&World) -> Option<String>> Search<W> {
    /// Keeps the shortest course that comes to this.
    pub(super) fn note(
        &mut self,
        first: &Place,
        path: Vec<Choice>,
        fault: String,
    ) -> Result<(), arena::Error> {
        if self.found.faults.contains_key(&fault) {
            return Ok(());
        }
        let path = self.shorten(first, path, &fault)?;
        let path = path.into_iter().map(|choice| self.action(choice)).collect();
        self.found.faults.insert(fault, path);
        Ok(())
    }

    /// Leaves out what it comes to the same without, many things at a time, then fewer.
    fn shorten(
        &mut self,
        first: &Place,
        mut path: Vec<Choice>,
        fault: &str,
    ) -> Result<Vec<Choice>, arena::Error> {
        let mut size = path.len() / 2;
        while size > 0 {
            let (mut at, before) = (0, path.len());
            while at < path.len() {
                let end = (at + size).min(path.len());
                let rest = path[..at].iter().chain(&path[end..]).copied().collect::<Vec<_>>();
                match self.again(first, &rest)? {
                    Some((shorter, same)) if same == fault && shorter.len() < path.len() => {
                        path = shorter
                    }
                    _ => at += size,
                }
            }
            if path.len() == before {
                size /= 2;
            }
        }
        Ok(path)
    }

    /// What can be of this happens, then whatever comes first; and what it comes to, if that is wrong.
    fn again(
        &mut self,
        first: &Place,
        path: &[Choice],
    ) -> Result<Option<(Vec<Choice>, String)>, arena::Error> {
        let (mut place, mut done) = (first.clone(), Vec::new());
        let mut wanted = path.iter().copied();
        loop {
            let next = self.choices(&place);
            if let Some(end) = self.end(&place, &next) {
                return Ok(end.map(|fault| (done, fault)));
            }
            let given = wanted.find(|choice| next.contains(choice));
            let usual = || next.iter().copied().find(|choice| !choice.is_bad_luck());
            let Some(choice) = given.or_else(usual) else { return Ok(None) };
            done.push(choice);
            let (reached, fault) = self.apply(place, choice)?;
            place = reached;
            if let Some(fault) = fault {
                return Ok(Some((done, fault)));
            }
        }
    }
}
