//! All that can happen, at small sizes.

use super::{Action, Kept, World};
use crate::arena;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Deaths at most.
    pub kills: u32,
    /// How often somebody's moment to ask for a checkpoint comes, at most.
    pub timeouts: u32,
    /// Worlds at most.
    pub worlds: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Worlds that differ.
    pub worlds: usize,
    /// All within the bounds were seen.
    pub complete: bool,
    /// What must not be, and how it comes to be.
    pub fault: Option<(String, Vec<Action>)>,
}

#[derive(Clone)]
struct Place {
    world: World,
    kills: u32,
    timeouts: u32,
    depth: usize,
}

/// Looks at all that can happen from here; `wrong` says what must not be of a world that is over.
///
/// # Errors
/// There is no memory.
pub fn explore(
    world: World,
    bounds: Bounds,
    wrong: impl Fn(&World) -> Option<String>,
) -> Result<Explored, arena::Error> {
    let mut seen = HashSet::new();
    let mut path: Vec<Action> = Vec::new();
    let mut open = vec![(Place { world, kills: 0, timeouts: 0, depth: 0 }, None)];
    while let Some((mut place, action)) = open.pop() {
        path.truncate(place.depth.saturating_sub(1));
        if let Some(action) = action {
            path.push(action);
            place.world.apply(action)?;
        }
        if !seen.insert((place.world.fingerprint(), place.kills, place.timeouts)) {
            continue;
        }
        let mut next = choices(&place, bounds);
        let over = place.world.is_over();
        let fault = place.world.fault().map(str::to_owned);
        let fault = fault.or_else(|| if over { wrong(&place.world) } else { None });
        let fault =
            fault.or_else(|| (next.is_empty() && !over).then(|| "all wait for each other".into()));
        if let Some(fault) = fault {
            return Ok(Explored { worlds: seen.len(), complete: false, fault: Some((fault, path)) });
        }
        if over {
            continue;
        }
        if seen.len() >= bounds.worlds {
            return Ok(Explored { worlds: seen.len(), complete: false, fault: None });
        }
        let last = next.pop();
        for action in next.into_iter().chain(last) {
            let mut place = place.clone();
            place.depth += 1;
            place.kills += u32::from(matches!(action, Action::Kill(..)));
            place.timeouts += u32::from(matches!(action, Action::Timeout(_)));
            open.push((place, Some(action)));
        }
    }
    Ok(Explored { worlds: seen.len(), complete: true, fault: None })
}

fn choices(place: &Place, bounds: Bounds) -> Vec<Action> {
    let world = &place.world;
    let mut actions = world.actions();
    // What is made of a checkpoint is made by nobody else: when does not matter.
    if let Some(encode) = actions.iter().find(|action| matches!(action, Action::Encode(_))) {
        return vec![*encode];
    }
    actions.retain(|action| !matches!(action, Action::Timeout(_)) || place.timeouts < bounds.timeouts);
    actions.extend(world.dead().map(Action::Start));
    if place.kills < bounds.kills {
        for member in world.nodes.keys().copied() {
            let others = world.nodes.keys().copied().filter(|other| *other != member);
            let kept = [Kept::All, Kept::None].into_iter().chain(others.map(Kept::To));
            actions.extend(kept.map(|kept| Action::Kill(member, kept)));
        }
    }
    actions
}

impl World {
    /// Of all that what happens from here depends on.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.nodes, &self.outside, &self.fault).hash(&mut hasher);
        let on_its_way = self.pipes.iter().filter(|(_, items)| !items.is_empty());
        on_its_way.for_each(|pipe| pipe.hash(&mut hasher));
        hasher.finish()
    }
}
