//! What a search has found, again in a world of machines.

use super::super::{Action, World};
use crate::arena;
use crate::id::Member;
use offload::time::Time;
use std::collections::BTreeMap;

/// Has the actions of a search happen again; `see` is shown each, and the world before it.
///
/// # Errors
/// There is no memory.
pub fn replay(
    world: &World,
    path: &[Action],
    mut see: impl FnMut(&World, Action),
) -> Result<World, arena::Error> {
    let mut world = world.clone();
    let begin = world.now;
    let mut clocks: BTreeMap<Member, Time> = BTreeMap::new();
    for action in path {
        let (Action::Deliver(_, by)
        | Action::Lose(_, by)
        | Action::Step(by)
        | Action::Encode(by)
        | Action::Timeout(by)
        | Action::Kill(by)
        | Action::Start(by)) = *action;
        world.now = clocks.get(&by).copied().unwrap_or(begin);
        see(&world, *action);
        world.apply(*action)?;
        clocks.insert(by, world.now);
        for ((_, to), items) in &mut world.pipes {
            let epoch = world.nodes.get(to).map(|node| node.machine.epoch());
            items.retain(|item| !epoch.is_some_and(|epoch| item.is_void(epoch)));
        }
    }
    Ok(world)
}
