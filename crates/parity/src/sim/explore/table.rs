//! What a member does, found out once for each state and input.
//!
//! The lesson: a member is deterministic and sees of the others only what arrives. So what it does in a state with an
//! input is the same in every world, and a world of these is no more than a row of numbers: one for the state of each
//! member, one for what is on each link. Most of what happens next is then a look into a table; the machines run only
//! for what has not been met before.

use super::super::{Action, Item, Machine, Node, World};
use crate::arena;
use crate::id::{Epoch, Member};
use crate::proto::frame::Body;
use offload::time::Time;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// For keys that are numbers already.
#[derive(Clone, Copy, Default)]
pub struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub type Mixed = BuildHasherDefault<Mixer>;

/// One member, dead or alive, and what it leaves behind.
#[derive(Clone, Hash)]
struct Local {
    member: Member,
    node: Option<Node>,
    life: u32,
    /// Each has its own clock: they are not read by others.
    now: Time,
    said: Vec<Vec<u8>>,
}

/// What a search asks of a member's state.
#[derive(Clone, Debug)]
pub struct Facts {
    /// It lives and has not come to its end.
    pub hears: bool,
    pub ended: bool,
    pub life: u32,
    pub epoch: Epoch,
    pub went: Epoch,
    pub step: bool,
    pub encode: bool,
    pub wake: bool,
    /// Which life of each it is linked with; 0 for none.
    pub knows: Rc<[u32]>,
}

impl Facts {
    pub fn is_dead(&self) -> bool {
        !self.hears && !self.ended
    }
}

/// What can happen to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Step,
    Encode,
    Timeout,
    Kill,
    Start,
    /// This arrives.
    Item(u32),
}

/// What a member comes to, and what it sends.
#[derive(Clone, Debug)]
pub struct Effect {
    pub next: u32,
    /// To whom, and what.
    pub sends: Vec<(usize, u32)>,
    pub fault: Option<String>,
}

/// All that was found out.
pub struct Table {
    /// A world like the others, to have members do things in.
    blank: World,
    pub members: Vec<Member>,
    locals: Vec<Local>,
    facts: Vec<Facts>,
    local_ids: HashMap<u64, u32, Mixed>,
    items: Vec<(usize, Item)>,
    item_ids: HashMap<(usize, Item), u32>,
    pipes: Vec<Pipe>,
    pipe_ids: HashMap<Vec<u32>, u32>,
    pushed: HashMap<u64, u32, Mixed>,
    effects: HashMap<u64, Rc<Effect>, Mixed>,
}

/// What is on a link, the next first.
#[derive(Clone, Default)]
struct Pipe {
    items: Vec<u32>,
    /// Without the next.
    rest: u32,
    /// Frames come first, of a sender that is dead.
    may_lose: bool,
    /// Of frames that do not begin an epoch, the earliest.
    oldest: Option<Epoch>,
}

impl Table {
    pub fn new(world: &World) -> Table {
        let mut blank = world.clone();
        blank.pipes.clear();
        blank.outside.clear();
        blank.events.clear();
        Table {
            members: world.lives.keys().copied().collect(),
            blank,
            locals: Vec::new(),
            facts: Vec::new(),
            local_ids: HashMap::default(),
            items: Vec::new(),
            item_ids: HashMap::new(),
            pipes: vec![Pipe::default()],
            pipe_ids: [(Vec::new(), 0)].into(),
            pushed: HashMap::default(),
            effects: HashMap::default(),
        }
    }

    /// Its members, and what is on its links: from the first to all, from the second to all, and so on.
    pub fn row(&mut self, world: &World) -> Vec<u32> {
        let members = self.members.clone();
        let mut row = Vec::new();
        for member in &members {
            let said = match member {
                Member::Worker(worker) => world.outside.get(worker).cloned().unwrap_or_default(),
                Member::Holder(_) => Vec::new(),
            };
            let node = world.nodes.get(member).cloned();
            row.push(self.local(Local {
                member: *member,
                node,
                life: world.lives[member],
                now: world.now,
                said,
            }));
        }
        for (index, from) in members.iter().enumerate() {
            for to in &members {
                let items = world.pipes.get(&(*from, *to)).into_iter().flatten();
                let pipe = items.map(|item| self.item(index, item)).collect::<Vec<_>>();
                row.push(self.pipe(pipe));
            }
        }
        row
    }

    /// The world that a row stands for.
    pub fn world(&self, row: &[u32]) -> World {
        let mut world = self.blank.clone();
        world.nodes.clear();
        for id in &row[..self.members.len()] {
            let Local { member, node, life, said, .. } = &self.locals[*id as usize];
            world.lives.insert(*member, *life);
            if let Some(node) = node {
                world.nodes.insert(*member, node.clone());
            }
            if let (Member::Worker(worker), false) = (member, said.is_empty()) {
                world.outside.insert(*worker, said.clone());
            }
        }
        for (index, id) in row[self.members.len()..].iter().enumerate() {
            let (from, to) = (index / self.members.len(), index % self.members.len());
            let items: VecDeque<Item> = self.pipes[*id as usize]
                .items
                .iter()
                .map(|id| self.items[*id as usize].1.clone())
                .collect();
            if !items.is_empty() {
                world.pipes.insert((self.members[from], self.members[to]), items);
            }
        }
        world
    }

    pub fn facts(&self, local: u32) -> &Facts {
        &self.facts[local as usize]
    }

    /// How many deaths at once are survived.
    pub fn failures(&self) -> usize {
        self.blank.settings.code.failures()
    }

    /// How many states of a member there are.
    pub fn states(&self) -> usize {
        self.locals.len()
    }

    /// What is next on a link.
    pub fn head(&self, pipe: u32) -> Option<u32> {
        self.pipes[pipe as usize].items.first().copied()
    }

    /// A link without its next.
    pub fn rest(&self, pipe: u32) -> u32 {
        self.pipes[pipe as usize].rest
    }

    /// A link with one more.
    pub fn push(&mut self, pipe: u32, item: u32) -> u32 {
        let key = u64::from(pipe) << 32 | u64::from(item);
        if let Some(longer) = self.pushed.get(&key) {
            return *longer;
        }
        let mut longer = self.pipes[pipe as usize].items.clone();
        longer.push(item);
        let longer = self.pipe(longer);
        self.pushed.insert(key, longer);
        longer
    }

    /// Are there frames on this link whose sender is dead?
    pub fn may_lose(&self, pipe: u32) -> bool {
        self.pipes[pipe as usize].may_lose
    }

    /// A link without them.
    pub fn lost(&mut self, pipe: u32) -> u32 {
        let items = &self.pipes[pipe as usize].items;
        let is_frame = |id: &&u32| matches!(self.items[**id as usize].1, Item::Frame(_));
        let rest = items.iter().skip_while(is_frame).copied().collect::<Vec<_>>();
        self.pipe(rest)
    }

    /// A link without what its hearer no longer hears.
    pub fn heard(&mut self, pipe: u32, epoch: Epoch) -> u32 {
        let Pipe { items, oldest, .. } = &self.pipes[pipe as usize];
        if oldest.is_none_or(|oldest| oldest >= epoch) {
            return pipe;
        }
        let kept = items.iter().copied().filter(|id| !self.is_void(*id, epoch)).collect::<Vec<_>>();
        self.pipe(kept)
    }

    /// See [`Item::is_void`].
    pub fn is_void(&self, item: u32, epoch: Epoch) -> bool {
        self.items[item as usize].1.is_void(epoch)
    }

    pub fn opened(&mut self, from: usize, life: u32, went: Epoch) -> u32 {
        self.item(from, &Item::Opened(life, went))
    }

    pub fn closed(&mut self, from: usize) -> u32 {
        self.item(from, &Item::Closed)
    }

    /// What this member does then.
    ///
    /// # Errors
    /// There is no memory.
    pub fn effect(&mut self, local: u32, what: Move) -> Result<Rc<Effect>, arena::Error> {
        let code = match what {
            Move::Step => 0,
            Move::Encode => 1,
            Move::Timeout => 2,
            Move::Kill => 3,
            Move::Start => 4,
            Move::Item(item) => 5 + u64::from(item),
        };
        let key = u64::from(local) << 32 | code;
        if let Some(effect) = self.effects.get(&key) {
            return Ok(effect.clone());
        }
        let effect = Rc::new(self.find_out(local, what)?);
        self.effects.insert(key, effect.clone());
        Ok(effect)
    }

    fn find_out(&mut self, local: u32, what: Move) -> Result<Effect, arena::Error> {
        let Local { member, node, life, now, said } = self.locals[local as usize].clone();
        let mut world = self.blank.clone();
        let worker = match member {
            Member::Worker(worker) => Some(worker),
            Member::Holder(_) => None,
        };
        world.now = now;
        world.nodes.remove(&member);
        world.lives.insert(member, life);
        worker.and_then(|worker| world.outside.insert(worker, said));
        if let Some(node) = node {
            world.lives.extend(node.knows.iter().map(|(member, life)| (*member, *life)));
            world.nodes.insert(member, node);
        }
        let action = match what {
            Move::Step => Action::Step(member),
            Move::Encode => Action::Encode(member),
            Move::Timeout => Action::Timeout(member),
            Move::Kill => Action::Kill(member),
            Move::Start => {
                // Links are another's business.
                world.nodes.clear();
                Action::Start(member)
            }
            Move::Item(item) => {
                let (from, item) = self.items[item as usize].clone();
                let from = self.members[from];
                if let Item::Opened(life, _) = item {
                    world.lives.insert(from, life);
                }
                world.pipes.insert((from, member), VecDeque::from([item]));
                Action::Deliver(from, member)
            }
        };
        world.apply(action)?;
        let index = self.index(member);
        let mut sends = Vec::new();
        for ((_, to), items) in world.pipes.iter().filter(|((from, _), _)| *from == member) {
            for item in items.iter().filter(|_| what != Move::Kill) {
                sends.push((self.index(*to), self.item(index, item)));
            }
        }
        let next = Local {
            member,
            node: world.nodes.remove(&member),
            life: world.lives[&member],
            now: world.now,
            said: worker.and_then(|worker| world.outside.remove(&worker)).unwrap_or_default(),
        };
        Ok(Effect { next: self.local(next), sends, fault: world.fault })
    }

    pub fn index(&self, member: Member) -> usize {
        self.members.iter().position(|other| *other == member).unwrap_or_default()
    }

    fn local(&mut self, local: Local) -> u32 {
        let mut hasher = DefaultHasher::new();
        local.hash(&mut hasher);
        let key = hasher.finish();
        if let Some(id) = self.local_ids.get(&key) {
            return *id;
        }
        let id = self.locals.len() as u32;
        let none = BTreeMap::new();
        let node = local.node.as_ref();
        let knows = node.map_or(&none, |node| &node.knows);
        self.facts.push(Facts {
            hears: node.is_some_and(|node| !node.ended),
            ended: node.is_some_and(|node| node.ended),
            life: local.life,
            epoch: node.map_or(Epoch::default(), |node| node.machine.epoch()),
            went: node.map_or(Epoch::default(), |node| node.machine.went()),
            step: node.is_some_and(|node| node.step.is_some()),
            encode: node.is_some_and(|node| node.encode.is_some()),
            wake: node.is_some_and(|node| node.wake.is_some()),
            knows: self
                .members
                .iter()
                .map(|member| knows.get(member).copied().unwrap_or_default())
                .collect(),
        });
        self.locals.push(local);
        self.local_ids.insert(key, id);
        id
    }

    fn item(&mut self, from: usize, item: &Item) -> u32 {
        let key = (from, item.clone());
        if let Some(id) = self.item_ids.get(&key) {
            return *id;
        }
        let id = self.items.len() as u32;
        self.items.push(key.clone());
        self.item_ids.insert(key, id);
        id
    }

    fn pipe(&mut self, items: Vec<u32>) -> u32 {
        if let Some(id) = self.pipe_ids.get(&items) {
            return *id;
        }
        let rest = self.pipe(items[1..].to_vec());
        let item = |id: &u32| &self.items[*id as usize].1;
        let may_lose = matches!(item(&items[0]), Item::Frame(_))
            && items.iter().any(|id| *item(id) == Item::Closed);
        let oldest = items.iter().filter_map(|id| match item(id) {
            Item::Frame(frame) if frame.body != Body::Prepare => Some(frame.epoch),
            _ => None,
        });
        let oldest = oldest.min();
        let id = self.pipes.len() as u32;
        self.pipes.push(Pipe { items: items.clone(), rest, may_lose, oldest });
        self.pipe_ids.insert(items, id);
        id
    }
}

impl Item {
    /// Never heard by one who is in this epoch, which only grows: a frame of an earlier one that does not begin it.
    pub fn is_void(&self, epoch: Epoch) -> bool {
        match self {
            Item::Frame(frame) => frame.epoch < epoch && frame.body != Body::Prepare,
            Item::Opened(..) | Item::Closed => false,
        }
    }
}

impl Machine {
    pub fn epoch(&self) -> Epoch {
        match self {
            Machine::Worker(worker) => worker.epoch(),
            Machine::Holder(holder) => holder.epoch(),
        }
    }
}
