//! One course of events of many, by chance.

use super::{Action, World};
use crate::arena;
use crate::id::Member;
use offload::rng::Rng;

/// What is to happen beside what must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Deaths at most.
    pub kills: u32,
    /// Deaths only while all live and go on, so that no two are at once.
    pub apart: bool,
    /// Things that happen, at most: what takes longer is stuck.
    pub actions: usize,
}

/// Has things happen until all have come to their end; what then is wrong with the world is its fault.
///
/// # Errors
/// There is no memory.
pub fn run(world: &mut World, plan: Plan, rng: &mut Rng) -> Result<(), arena::Error> {
    let mut kills = plan.kills;
    // How far apart deaths are, in things that happen.
    let patience = 1 + rng.below(400);
    for _ in 0..plan.actions {
        if world.is_over() || world.fault.is_some() {
            return Ok(());
        }
        let calm = !plan.apart || world.all_go_on();
        if kills > 0 && calm && rng.below(patience) == 0 {
            kills -= 1;
            kill(world, rng)?;
            continue;
        }
        let mut actions = world.actions();
        let hasty = rng.chance(0.05);
        actions.retain(|action| hasty || !matches!(action, Action::Timeout(_)));
        let dead: Vec<Member> = world.dead().collect();
        if actions.is_empty() || rng.chance(0.02) {
            actions.extend(dead.into_iter().map(Action::Start));
        }
        if actions.is_empty() {
            actions = world.actions();
        }
        match actions.get(rng.below(actions.len() as u64) as usize).copied() {
            Some(action) => world.apply(action)?,
            None => {
                world.fault = Some("all wait for each other".into());
                return Ok(());
            }
        }
    }
    world.fault.get_or_insert_with(|| format!("not over after {} things have happened", plan.actions));
    Ok(())
}

/// Somebody dies. What it had sent still arrives: all, nothing, or what one of the others was sent.
fn kill(world: &mut World, rng: &mut Rng) -> Result<(), arena::Error> {
    let members: Vec<Member> = world.nodes.keys().copied().collect();
    let pick = |rng: &mut Rng| members[rng.below(members.len() as u64) as usize];
    let arrives = rng.below(3);
    let spared = (arrives == 2).then(|| pick(rng));
    let dies = pick(rng);
    world.apply(Action::Kill(dies))?;
    let cut_off = members.iter().filter(|member| arrives > 0 && Some(**member) != spared);
    cut_off.copied().try_for_each(|member| world.apply(Action::Lose(dies, member)))
}
