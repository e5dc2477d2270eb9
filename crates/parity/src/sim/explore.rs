//! All that can happen, at small sizes.
//!
//! The lesson: a search is as good as its worlds are few and small. Members are deterministic and share nothing but
//! links, so `table` has each do the same only once, and a world is a row of numbers. What is not looked at, and why
//! nothing is missed:
//!
//! - A frame of an epoch that its hearer has left is void then and for ever. It is taken off its link at once.
//! - A death loses nothing by itself: what was sent may arrive or be lost from any place on ([`Action::Lose`]), each
//!   link apart, up to when its end is heard. So a death has one form, and a host that had not sent all is among them.
//! - Each member has its own clock, which others do not see: one that waits for a moment has that moment whenever.
//!
//! Worlds are told apart by 64 bits of hash: of n worlds, n^2 / 2^65 are expected to be missed, 0.0004 of 10^8.
//!
//! Left out: links that break between two that live; a host that reorders or changes bytes (TCP and checksums are for
//! that); how likely anything is.

use super::{Action, World};
use crate::arena;
use crate::id::{Member, Worker};
use crate::proto::plan::TOO_MUCH;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::Hasher;
use table::{Mixed, Mixer, Move, Table};

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Deaths at most.
    pub deaths: u8,
    /// How often somebody's moment to ask for a checkpoint comes, at most.
    pub timeouts: u8,
    /// Worlds at most.
    pub worlds: usize,
    /// Kinds of what must not be, after which the search ends.
    pub faults: usize,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Worlds that differ.
    pub worlds: usize,
    /// States of a member that differ.
    pub states: usize,
    /// What can happen in all of them.
    pub actions: usize,
    /// Things that happen one after the other, at most.
    pub depth: usize,
    /// What workers have said in worlds that are over.
    pub answers: BTreeSet<BTreeMap<Worker, Vec<Vec<u8>>>>,
    /// All within the bounds were seen.
    pub complete: bool,
    /// What must not be, and how each comes to be.
    pub faults: BTreeMap<String, Vec<Action>>,
}

/// A world: its members and links, deaths and timeouts so far.
#[derive(Clone)]
struct Place {
    row: Box<[u32]>,
    deaths: u8,
    timeouts: u8,
}

/// An [`Action`], with members by their places in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Deliver(u8, u8),
    Lose(u8, u8),
    Step(u8),
    Encode(u8),
    Timeout(u8),
    Kill(u8),
    Start(u8),
}

/// Where a choice leads.
enum Reached {
    /// Where the search has been.
    Known(u64),
    /// Nothing happens any more.
    End,
    Fault(String),
    /// And what can happen there.
    New(u64, Place, Vec<Choice>),
}

struct Search<W> {
    table: Table,
    bounds: Bounds,
    wrong: W,
    /// Void frames are taken off their links.
    prune: bool,
    seen: HashSet<u64, Mixed>,
    found: Explored,
}

/// Looks at all that can happen from here; `wrong` says what must not be of a world that is over.
///
/// # Errors
/// There is no memory.
pub fn explore(
    world: &World,
    bounds: Bounds,
    wrong: impl Fn(&World) -> Option<String>,
) -> Result<Explored, arena::Error> {
    let (search, first) = Search::new(world, bounds, wrong);
    search.deep(first)
}

/// A world on the way to the one that is looked at.
struct Level {
    place: Place,
    print: u64,
    /// What is still to be tried.
    next: Vec<Choice>,
    by: Option<Choice>,
}

impl<W: Fn(&World) -> Option<String>> Search<W> {
    fn new(world: &World, bounds: Bounds, wrong: W) -> (Search<W>, Place) {
        let mut table = Table::new(world);
        let first = Place { row: table.row(world).into(), deaths: 0, timeouts: 0 };
        let (seen, found) = (HashSet::default(), Explored::default());
        (Search { table, bounds, wrong, prune: true, seen, found }, first)
    }

    /// One way to its end, then the next.
    fn deep(mut self, first: Place) -> Result<Explored, arena::Error> {
        let place = first.clone();
        let (print, next) = (place.print(), self.choices(&place));
        let mut open: HashSet<u64, Mixed> = [print].into_iter().collect();
        let mut way = vec![Level { place, print, next, by: None }];
        self.seen.insert(print);
        while let Some(level) = way.last_mut() {
            let Some(choice) = level.next.pop() else {
                open.remove(&level.print);
                way.pop();
                continue;
            };
            let fault = match self.reach(&level.place, choice)? {
                Reached::New(print, place, next) => {
                    open.insert(print);
                    way.push(Level { place, print, next, by: Some(choice) });
                    self.found.depth = self.found.depth.max(way.len() - 1);
                    continue;
                }
                Reached::Known(print) if open.contains(&print) => "this may go on for ever".to_owned(),
                Reached::Fault(fault) => fault,
                Reached::Known(_) | Reached::End => continue,
            };
            let path: Vec<Choice> = way.iter().filter_map(|level| level.by).chain([choice]).collect();
            self.note(&first, path, fault)?;
            if self.is_enough() {
                break;
            }
        }
        self.found.complete = way.is_empty() && !self.is_enough();
        Ok(self.report())
    }

    fn report(self) -> Explored {
        Explored { worlds: self.seen.len(), states: self.table.states(), ..self.found }
    }

    fn is_enough(&self) -> bool {
        self.seen.len() >= self.bounds.worlds || self.found.faults.len() >= self.bounds.faults
    }

    fn reach(&mut self, from: &Place, choice: Choice) -> Result<Reached, arena::Error> {
        self.found.actions += 1;
        let (place, fault) = self.apply(from.clone(), choice)?;
        if let Some(fault) = fault {
            let survived = self.table.failures();
            let named = usize::from(place.deaths) > survived && fault.contains(TOO_MUCH);
            return Ok(if named { Reached::End } else { Reached::Fault(fault) });
        }
        let print = place.print();
        if self.seen.len() >= self.bounds.worlds || !self.seen.insert(print) {
            return Ok(Reached::Known(print));
        }
        let next = self.choices(&place);
        Ok(match self.end(&place, &next) {
            None => Reached::New(print, place, next),
            Some(None) => Reached::End,
            Some(Some(fault)) => Reached::Fault(fault),
        })
    }

    /// Does nothing happen any more, and is that wrong?
    fn end(&mut self, place: &Place, next: &[Choice]) -> Option<Option<String>> {
        let members = self.table.members.len();
        if place.row[..members].iter().any(|member| self.table.facts(*member).ended) {
            let world = self.table.world(&place.row);
            let fault = (self.wrong)(&world);
            self.found.answers.insert(world.outside);
            return Some(fault);
        }
        next.is_empty().then(|| Some("all wait for each other".into()))
    }

    fn choices(&self, place: &Place) -> Vec<Choice> {
        let members = self.table.members.len();
        let mut choices = Vec::new();
        for me in 0..members {
            let (facts, member) = (self.table.facts(place.row[me]), me as u8);
            if facts.is_dead() {
                choices.push(Choice::Start(member));
            }
            if !facts.hears {
                continue;
            }
            for from in 0..members {
                let link = place.row[link(members, from, me)];
                if link != 0 {
                    choices.push(Choice::Deliver(from as u8, member));
                }
                if self.table.may_lose(link) {
                    choices.push(Choice::Lose(from as u8, member));
                }
            }
            choices.extend(facts.step.then_some(Choice::Step(member)));
            choices.extend(facts.encode.then_some(Choice::Encode(member)));
            if facts.wake && place.timeouts < self.bounds.timeouts {
                choices.push(Choice::Timeout(member));
            }
            if place.deaths < self.bounds.deaths {
                choices.push(Choice::Kill(member));
            }
        }
        choices
    }

    /// Makes it happen; and what must not be, where it was that.
    fn apply(
        &mut self,
        mut place: Place,
        choice: Choice,
    ) -> Result<(Place, Option<String>), arena::Error> {
        let (members, me) = (self.table.members.len(), choice.whose());
        let before = place.row[me];
        let what = match choice {
            Choice::Deliver(from, _) => {
                let link = &mut place.row[link(members, usize::from(from), me)];
                let Some(item) = self.table.head(*link) else { return Ok((place, None)) };
                *link = self.table.rest(*link);
                Move::Item(item)
            }
            Choice::Lose(from, _) => {
                let link = &mut place.row[link(members, usize::from(from), me)];
                *link = self.table.lost(*link);
                return Ok((place, None));
            }
            Choice::Step(_) => Move::Step,
            Choice::Encode(_) => Move::Encode,
            Choice::Timeout(_) => Move::Timeout,
            Choice::Kill(_) => Move::Kill,
            Choice::Start(_) => Move::Start,
        };
        place.timeouts += u8::from(what == Move::Timeout);
        place.deaths += u8::from(what == Move::Kill);
        let effect = self.table.effect(before, what)?;
        place.row[me] = effect.next;
        self.link(&mut place, me, what);
        let (epoch, knows) =
            (self.table.facts(effect.next).epoch, self.table.facts(effect.next).knows.clone());
        if self.prune && epoch > self.table.facts(before).epoch {
            for from in 0..members {
                let link = &mut place.row[link(members, from, me)];
                *link = self.table.heard(*link, epoch);
            }
        }
        for (to, item) in &effect.sends {
            let theirs = self.table.facts(place.row[*to]);
            let void = self.prune && self.table.is_void(*item, theirs.epoch);
            if theirs.hears && knows[*to] == theirs.life && !void {
                let link = &mut place.row[link(members, me, *to)];
                *link = self.table.push(*link, *item);
            }
        }
        Ok((place, effect.fault.clone()))
    }

    /// Who dies or is started loses or gets its links.
    fn link(&mut self, place: &mut Place, me: usize, what: Move) {
        let members = self.table.members.len();
        let mine = self.table.facts(place.row[me]).life;
        for other in (0..members).filter(|other| *other != me) {
            let theirs = self.table.facts(place.row[other]);
            let (hears, is_dead, life, went) =
                (theirs.hears, theirs.is_dead(), theirs.life, theirs.went);
            let (out, back) = (link(members, me, other), link(members, other, me));
            match what {
                Move::Kill => {
                    place.row[back] = 0;
                    if !is_dead {
                        let closed = self.table.closed(me);
                        place.row[out] = self.table.push(place.row[out], closed);
                    }
                }
                Move::Start if hears => {
                    let (to_me, to_them) = (
                        self.table.opened(other, life, went),
                        self.table.opened(me, mine, Default::default()),
                    );
                    place.row[back] = self.table.push(place.row[back], to_me);
                    place.row[out] = self.table.push(place.row[out], to_them);
                }
                _ => {}
            }
        }
    }

    fn action(&self, choice: Choice) -> Action {
        let member = |index: u8| -> Member { self.table.members[usize::from(index)] };
        match choice {
            Choice::Deliver(from, to) => Action::Deliver(member(from), member(to)),
            Choice::Lose(from, to) => Action::Lose(member(from), member(to)),
            Choice::Step(by) => Action::Step(member(by)),
            Choice::Encode(by) => Action::Encode(member(by)),
            Choice::Timeout(by) => Action::Timeout(member(by)),
            Choice::Kill(by) => Action::Kill(member(by)),
            Choice::Start(by) => Action::Start(member(by)),
        }
    }
}

/// The place in a row of what is on its way between two of so many members.
fn link(members: usize, from: usize, to: usize) -> usize {
    members + from * members + to
}

impl Choice {
    /// Whose state it changes; nobody else's does.
    fn whose(self) -> usize {
        let (Choice::Deliver(_, by)
        | Choice::Lose(_, by)
        | Choice::Step(by)
        | Choice::Encode(by)
        | Choice::Timeout(by)
        | Choice::Kill(by)
        | Choice::Start(by)) = self;
        usize::from(by)
    }
}

impl Place {
    fn print(&self) -> u64 {
        let mut mixer = Mixer::default();
        self.row.iter().for_each(|number| mixer.write_u32(*number));
        mixer.write_u32(u32::from(self.deaths) << 8 | u32::from(self.timeouts));
        mixer.finish()
    }
}

mod chance;
mod replay;
mod table;

pub use chance::sample;
pub use replay::replay;

#[cfg(test)]
mod tests;
