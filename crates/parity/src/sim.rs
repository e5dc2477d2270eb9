//! The protocol in a world that is a value: every member, every link, every failure.
//!
//! The lesson: the members are the ones that run on real sockets. A [`World`] knows what can happen next
//! ([`World::actions`]) and makes it happen; who chooses is `random` (thousands of seeds) or `explore` (all of
//! them, at small sizes).
//!
//! A link keeps its order and is lost as a whole. What a dead member had sent may still arrive, all of it or
//! some: what its host had not sent is gone with it. Whoever was linked with it learns of its death after that.

mod cases;
mod chart;
mod explore;
mod memory;
mod random;
pub mod tasks;
pub mod testbed;

pub use cases::{CASES, Case};
pub use chart::chart;
pub use explore::{Bounds, Explored, explore, replay, sample};
pub use memory::Plain;
pub use random::{Plan, run};

use crate::arena::{self, Shadow};
use crate::code::Code;
use crate::id::{self, Epoch, Member};
use crate::ledger::Layout;
use crate::limits::PAGE_BYTES;
use crate::mode::Mode;
use crate::proto::frame::Frame;
use crate::proto::holder::{self, Holder};
use crate::proto::work::{Task, Work};
use crate::proto::worker::{self, Worker};
use crate::proto::{Bulk, Encode, Event, Input, Output};
use offload::time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What a world is made of.
#[derive(Clone)]
pub struct Settings {
    /// Who can be lost.
    pub code: Code,
    /// How messages and checkpoints fit together.
    pub mode: Mode,
    /// Bytes of a worker's message log.
    pub log_bytes: usize,
    /// Bytes of a task's state.
    pub state_bytes: usize,
    /// Bytes and number of the messages that a step sends at most.
    pub step: (usize, usize),
    /// The paper's Timeout.
    pub interval: Duration,
    /// The paper's primary buffer, in pages.
    pub buffer_pages: u32,
    /// Pages of a diff or an image that travel together.
    pub pages_per_frame: usize,
    /// What the workers do.
    pub task: fn(id::Worker) -> Box<dyn Task>,
}

/// Something that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The oldest of what one has sent to the other arrives.
    Deliver(Member, Member),
    /// A step of a task is done.
    Step(Member),
    /// A checkpoint's diff is made.
    Encode(Member),
    /// The moment has come for which a member waits.
    Timeout(Member),
    /// A member dies.
    Kill(Member),
    /// What one that is dead had sent to the other is lost, as far as it has not arrived.
    Lose(Member, Member),
    /// It is started again, with nothing.
    Start(Member),
}

/// What travels over a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    /// The link stands. The other's life, and the last epoch in which it had gone on.
    Opened(u32, Epoch),
    Frame(Frame),
    Closed,
}

#[derive(Clone, Debug, Hash)]
enum Machine {
    Worker(Box<Worker<Plain>>),
    Holder(Box<Holder>),
}

#[derive(Clone, Debug, Hash)]
struct Node {
    machine: Machine,
    /// Which life of its members it is linked with.
    knows: BTreeMap<Member, u32>,
    step: Option<Box<Work<Plain>>>,
    encode: Option<Box<Encode>>,
    wake: Option<Time>,
    ended: bool,
}

/// Rows of the receipt table beside a log of so many bytes.
fn receipts(log_bytes: usize) -> usize {
    (log_bytes / 64).max(64)
}

/// All members and links.
#[derive(Clone)]
pub struct World {
    settings: Arc<Settings>,
    now: Time,
    nodes: BTreeMap<Member, Node>,
    lives: BTreeMap<Member, u32>,
    /// What is on its way, from and to.
    pipes: BTreeMap<(Member, Member), VecDeque<Item>>,
    /// What each worker has said to the world outside.
    outside: BTreeMap<id::Worker, Vec<Vec<u8>>>,
    /// What must not be.
    fault: Option<String>,
    events: Vec<(Time, Member, Event)>,
}

impl World {
    /// All members are started, and no link stands yet.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(settings: Settings) -> Result<World, arena::Error> {
        let holders =
            (0..settings.code.holders() as u8).map(|holder| Member::Holder(id::Holder(holder)));
        let workers =
            (0..settings.code.workers() as u16).map(|worker| Member::Worker(id::Worker(worker)));
        let members: Vec<Member> = holders.chain(workers).collect();
        let mut world = World {
            settings: Arc::new(settings),
            now: Time::ZERO,
            nodes: BTreeMap::new(),
            lives: members.iter().map(|member| (*member, 0)).collect(),
            pipes: BTreeMap::new(),
            outside: BTreeMap::new(),
            fault: None,
            events: Vec::new(),
        };
        members.into_iter().try_for_each(|member| world.start(member))?;
        Ok(world)
    }

    /// What has happened, as members tell it.
    pub fn events(&self) -> &[(Time, Member, Event)] {
        &self.events
    }

    /// What each worker has said to the world outside.
    pub fn outside(&self) -> &BTreeMap<id::Worker, Vec<Vec<u8>>> {
        &self.outside
    }

    /// What must not be, if it was.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Has anyone come to its end? Then all workers have said all, and whoever started them ends the others.
    pub fn is_over(&self) -> bool {
        self.nodes.values().any(|node| node.ended)
    }

    /// Who is dead, or has not been started.
    pub fn dead(&self) -> impl Iterator<Item = Member> + '_ {
        self.lives.keys().copied().filter(|member| !self.nodes.contains_key(member))
    }

    /// Has things happen, one at a time, until all go on and have heard all that was said to bring that about.
    ///
    /// # Errors
    /// There is no memory.
    pub fn begin(&mut self) -> Result<(), arena::Error> {
        loop {
            let arrives = |action: &Action| matches!(action, Action::Deliver(..));
            let Some(action) = self.actions().into_iter().find(arrives) else { return Ok(()) };
            self.apply(action)?;
        }
    }

    /// Do all live, in the same epoch and at work?
    fn all_go_on(&self) -> bool {
        let mut epochs = self.nodes.values().map(|node| node.machine.went());
        let first = epochs.next();
        let same =
            first.is_some_and(|first| first > Epoch::default() && epochs.all(|epoch| epoch == first));
        same && self.nodes.len() == self.lives.len()
            && self.nodes.values().all(|node| node.machine.is_running())
    }

    /// What can happen now by itself: no failures, nobody is started.
    pub fn actions(&self) -> Vec<Action> {
        let arrive = |((from, to), items): (&(Member, Member), &VecDeque<Item>)| {
            let there = self.nodes.get(to).is_some_and(|node| !node.ended);
            (there && !items.is_empty()).then_some(Action::Deliver(*from, *to))
        };
        let mut actions: Vec<Action> = self.pipes.iter().filter_map(arrive).collect();
        for (member, node) in self.nodes.iter().filter(|(_, node)| !node.ended) {
            actions.extend(node.step.is_some().then_some(Action::Step(*member)));
            actions.extend(node.encode.is_some().then_some(Action::Encode(*member)));
            actions.extend(node.wake.is_some().then_some(Action::Timeout(*member)));
        }
        actions
    }

    /// Makes it happen.
    ///
    /// # Errors
    /// There is no memory.
    pub fn apply(&mut self, action: Action) -> Result<(), arena::Error> {
        match action {
            Action::Start(member) => self.start(member)?,
            Action::Kill(member) => self.kill(member),
            Action::Lose(from, to) => self.lose(from, to),
            Action::Deliver(from, to) => self.deliver(from, to),
            Action::Step(member) => {
                if let Member::Worker(worker) = member {
                    let task = self.settings.task;
                    self.step(member, &mut *task(worker));
                }
            }
            Action::Encode(member) => {
                let encode = self.nodes.get_mut(&member).and_then(|node| node.encode.take());
                if let Some(encode) = encode {
                    self.feed(member, Input::Encoded(Box::new(encode.run())));
                }
            }
            Action::Timeout(member) => {
                let wake = self.nodes.get(&member).and_then(|node| node.wake);
                self.now = self.now.max(wake.unwrap_or(self.now));
                let now = self.now;
                if let Some(Node { machine: Machine::Worker(worker), .. }) = self.nodes.get_mut(&member)
                {
                    worker.handle_timeout(now);
                }
                self.drain(member);
            }
        }
        Ok(())
    }

    /// Has a task take the step that is due.
    fn step(&mut self, member: Member, task: &mut dyn Task) {
        let work = self.nodes.get_mut(&member).and_then(|node| node.step.take());
        if let Some(work) = work {
            self.feed(member, Input::Stepped(Box::new(work.run(task))));
        }
    }

    fn start(&mut self, member: Member) -> Result<(), arena::Error> {
        let settings = self.settings.clone();
        let layout = Layout {
            mode: settings.mode,
            workers: settings.code.workers(),
            log_bytes: settings.log_bytes,
            receipts: receipts(settings.log_bytes),
        };
        let pages = (layout.bytes() + settings.state_bytes).div_ceil(PAGE_BYTES) as u32;
        let machine = match member {
            Member::Worker(me) => {
                let own = worker::Settings {
                    me,
                    holders: settings.code.holders() as u8,
                    layout,
                    step: settings.step,
                    interval: settings.interval,
                    buffer_pages: settings.buffer_pages,
                };
                Machine::Worker(Box::new(Worker::new(own, Plain::new(pages), Shadow::new(pages)?)))
            }
            Member::Holder(me) => {
                let own =
                    holder::Settings { me, mode: settings.mode, code: settings.code.clone(), pages };
                Machine::Holder(Box::new(Holder::new(own)?))
            }
        };
        let life = self.lives.entry(member).or_default();
        *life += 1;
        let life = *life;
        let node =
            Node { machine, knows: BTreeMap::new(), step: None, encode: None, wake: None, ended: false };
        for (other, linked) in self.nodes.iter().filter(|(_, node)| !node.ended) {
            let went = linked.machine.went();
            self.pipes
                .entry((*other, member))
                .or_default()
                .push_back(Item::Opened(self.lives[other], went));
            self.pipes
                .entry((member, *other))
                .or_default()
                .push_back(Item::Opened(life, Epoch::default()));
        }
        self.nodes.insert(member, node);
        self.drain(member);
        Ok(())
    }

    fn kill(&mut self, member: Member) {
        if self.nodes.remove(&member).is_none() {
            return;
        }
        for ((from, to), items) in &mut self.pipes {
            if *to == member {
                items.clear();
            } else if *from == member && self.nodes.contains_key(to) {
                items.push_back(Item::Closed);
            }
        }
    }

    /// A member dies, and with it what it had sent, but for what this one was sent.
    fn cut_off(&mut self, member: Member, kept: Option<Member>) {
        self.kill(member);
        let others: Vec<Member> =
            self.lives.keys().copied().filter(|other| Some(*other) != kept).collect();
        others.into_iter().for_each(|other| self.lose(member, other));
    }

    fn lose(&mut self, from: Member, to: Member) {
        let Some(items) = self.pipes.get_mut(&(from, to)) else { return };
        if items.contains(&Item::Closed) {
            while matches!(items.front(), Some(Item::Frame(_))) {
                items.pop_front();
            }
        }
    }

    fn deliver(&mut self, from: Member, to: Member) {
        let item = self.pipes.get_mut(&(from, to)).and_then(VecDeque::pop_front);
        let (Some(item), Some(node)) = (item, self.nodes.get_mut(&to)) else { return };
        match item {
            Item::Opened(life, went) => {
                node.knows.insert(from, life);
                self.feed(to, Input::Opened { member: from, went });
            }
            Item::Frame(frame) => self.feed(to, Input::Frame { from, frame }),
            Item::Closed => {
                node.knows.remove(&from);
                self.feed(to, Input::Closed { member: from });
            }
        }
    }

    fn feed(&mut self, member: Member, input: Input<Plain>) {
        let now = self.now;
        match self.nodes.get_mut(&member).map(|node| &mut node.machine) {
            Some(Machine::Worker(worker)) => worker.handle_input(now, input),
            Some(Machine::Holder(holder)) => {
                // A holder has no task.
                let input = match input {
                    Input::Opened { member, went } => Input::Opened { member, went },
                    Input::Closed { member } => Input::Closed { member },
                    Input::Frame { from, frame } => Input::Frame { from, frame },
                    Input::Stepped(_) | Input::Encoded(_) | Input::Changed => return,
                };
                holder.handle_input(now, input);
            }
            None => {}
        }
        self.drain(member);
    }

    /// Does what a member wants done.
    fn drain(&mut self, member: Member) {
        loop {
            let Some(node) = self.nodes.get_mut(&member) else { return };
            let output = match &mut node.machine {
                Machine::Worker(worker) => worker.poll_output(),
                Machine::Holder(holder) => match holder.poll_output() {
                    Output::Send { to, frame } => Output::Send { to, frame },
                    Output::Bulk { to, epoch, bulk } => Output::Bulk { to, epoch, bulk },
                    Output::Close { member, why } => Output::Close { member, why },
                    Output::Event(event) => Output::Event(event),
                    Output::End(how) => Output::End(how),
                    Output::Wake(at) => Output::Wake(at),
                    Output::Step(_) | Output::Encode(_) => continue,
                },
            };
            match output {
                Output::Send { to, frame } => self.send(member, to, Item::Frame(frame)),
                Output::Bulk { to, epoch, bulk } => self.send_bulk(member, to, epoch, &bulk),
                Output::Step(work) => node.step = Some(work),
                Output::Encode(encode) => node.encode = Some(encode),
                Output::Close { why, .. } => self.fault = Some(format!("{member} ends a link: {why}")),
                Output::Event(event) => self.note(member, event),
                Output::End(how) => {
                    node.ended = true;
                    if let Err(why) = how {
                        self.fault.get_or_insert(format!("{member}: {why}"));
                    }
                }
                Output::Wake(at) => {
                    node.wake = at;
                    return;
                }
            }
        }
    }

    fn send(&mut self, from: Member, to: Member, item: Item) {
        let linked = self.nodes.get(&from).and_then(|node| node.knows.get(&to));
        let alive = self.nodes.get(&to).is_some_and(|node| !node.ended);
        if alive && linked == self.lives.get(&to) {
            self.pipes.entry((from, to)).or_default().push_back(item);
        }
    }

    fn send_bulk(&mut self, from: Member, to: Member, epoch: Epoch, bulk: &Bulk) {
        for part in bulk.parts(self.settings.pages_per_frame) {
            self.send(from, to, Item::Frame(Frame { epoch, body: bulk.body(part) }));
        }
    }

    /// Output comes again after a failure, with the same numbers; it must be the same.
    fn note(&mut self, member: Member, event: Event) {
        if let (Event::Outside { sequence, bytes }, Member::Worker(worker)) = (&event, member) {
            let said = self.outside.entry(worker).or_default();
            let index = *sequence as usize - 1;
            if index < said.len() && said[index] != *bytes {
                self.fault =
                    Some(format!("{worker} takes back what it has said: its output {sequence}"));
            } else if index > said.len() {
                self.fault = Some(format!("{worker} has not said its output {}", said.len() + 1));
            } else if index == said.len() {
                said.push(bytes.clone());
            }
        }
        self.events.push((self.now, member, event));
    }
}

impl Machine {
    fn went(&self) -> Epoch {
        match self {
            Machine::Worker(worker) => worker.went(),
            Machine::Holder(holder) => holder.went(),
        }
    }

    fn is_running(&self) -> bool {
        match self {
            Machine::Worker(worker) => worker.is_running(),
            Machine::Holder(holder) => holder.is_running(),
        }
    }
}

#[cfg(test)]
mod tests;
