//! A world whose events take time: what happens next is what is due first.

use super::links::{Links, Pair};
use super::load::{Load, Step};
use crate::arena;
use crate::chance::Chance;
use crate::id::{Holder, Line, Member, Worker};
use crate::limits::{MAX_TESTBED_EVENTS, PAGE_BYTES};
use crate::proto::Event;
use crate::proto::frame::Body;
use crate::sim::{Action, Item, World};
use offload::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How fast the hosts and the network are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub link_bytes_per_s: f64,
    pub latency: Duration,
    pub memory_bytes_per_s: f64,
    /// From a death until others know; no later than it is back.
    pub detect: Duration,
    /// From a death until it is started again.
    pub restart: Duration,
    /// Steps are cut so short, so that a buffer that is full is noticed.
    pub longest_step: Duration,
}

/// Who dies when; nobody.
#[derive(Default)]
pub(super) struct Faults {
    /// As asked for, in order.
    pub listed: VecDeque<(Duration, Member)>,
    /// And by chance.
    pub chance: Option<Chance>,
}

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// When the task of each worker was done.
    pub finished: BTreeMap<Worker, Time>,
    /// Checkpoints that workers took before that.
    pub taken: u64,
    /// From a grant until its worker knows that the checkpoint counts.
    pub latencies: Vec<Duration>,
    /// From the discovery of a death until all go on.
    pub recoveries: Vec<Duration>,
    pub deaths: u32,
    /// Work that was done and had to be done again, of all workers.
    pub lost: Duration,
}

/// Bytes of what has no data.
const CONTROL_BYTES: u64 = 64;
/// The checksum and the exclusive-or.
const PASSES: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Sent(Pair),
    Arrived(Pair),
    Encoded(Member),
    Stepped(Member),
    Due(Member),
    Dies(Member),
    Starts(Member),
}

pub(super) struct Timed<'a> {
    pub world: World,
    pub measured: Measured,
    load: &'a Load,
    pace: Pace,
    faults: Faults,
    /// Pages of the ledger, and of the head behind it: each is one.
    small_pages: u32,
    image_bytes: u64,
    links: Links,
    /// What has left its sender: when it is heard.
    coming: BTreeSet<(Time, u64, Pair)>,
    serial: u64,
    /// Of each pipe: how many bytes each thing in it keeps its hearer's memory busy.
    known: BTreeMap<Pair, VecDeque<u64>>,
    /// Of those, how many have left their sender.
    gone: BTreeMap<Pair, usize>,
    /// When the last of it will be heard.
    last: BTreeMap<Pair, Time>,
    /// Until when a member's memory is busy with what it hears.
    hears: BTreeMap<Member, Time>,
    /// Until when a task is stopped.
    rests: BTreeMap<Member, Time>,
    steps: BTreeMap<Member, (Time, Time)>,
    encodes: BTreeMap<Member, Time>,
    starts: BTreeSet<(Time, Member)>,
    worked: BTreeMap<Member, Duration>,
    granted: BTreeMap<(Worker, Line), Time>,
    /// Somebody has died, and, once known, since when.
    outage: Option<Option<Time>>,
}

impl<'a> Timed<'a> {
    /// `small_pages` are no part of the modelled state; an image has `image_bytes`.
    pub fn new(
        world: World,
        load: &'a Load,
        pace: Pace,
        faults: Faults,
        small_pages: u32,
        image_bytes: u64,
    ) -> Timed<'a> {
        Timed {
            world,
            measured: Measured::default(),
            load,
            pace,
            faults,
            small_pages,
            image_bytes,
            links: Links::new(pace.link_bytes_per_s),
            coming: BTreeSet::new(),
            serial: 0,
            known: BTreeMap::new(),
            gone: BTreeMap::new(),
            last: BTreeMap::new(),
            hears: BTreeMap::new(),
            rests: BTreeMap::new(),
            steps: BTreeMap::new(),
            encodes: BTreeMap::new(),
            starts: BTreeSet::new(),
            worked: BTreeMap::new(),
            granted: BTreeMap::new(),
            outage: None,
        }
    }

    /// Runs until it is over; what is wrong then is the world's fault.
    ///
    /// # Errors
    /// There is no memory.
    pub fn run(&mut self, until: Time) -> Result<(), arena::Error> {
        self.follow_all();
        for _ in 0..MAX_TESTBED_EVENTS {
            if self.world.is_over() || self.world.fault.is_some() {
                return Ok(());
            }
            let Some((at, next)) = self.next() else {
                self.world.fault = Some("all wait for each other".into());
                return Ok(());
            };
            if at > until {
                let why = format!("it is not over after {} s", until.as_secs_f64());
                self.world.fault = Some(why);
                return Ok(());
            }
            self.links.advance(at);
            self.world.now = at;
            self.apply(next)?;
        }
        let events = MAX_TESTBED_EVENTS;
        self.world.fault = Some(format!("it is not over after {events} events: simulate less"));
        Ok(())
    }

    fn next(&self) -> Option<(Time, Next)> {
        let first = |all: &BTreeMap<Member, Time>, what: fn(Member) -> Next| {
            all.iter().map(|(member, at)| (*at, what(*member))).min()
        };
        let due = self.world.nodes.iter().filter(|(_, node)| !node.ended);
        let due = due.filter_map(|(member, node)| node.wake.map(|at| (at, Next::Due(*member))));
        let steps = self.steps.iter().map(|(member, (_, end))| (*end, Next::Stepped(*member)));
        let listed = self.faults.listed.front().copied();
        let by_chance = self.faults.chance.as_ref().and_then(Chance::peek);
        let dies = listed.into_iter().chain(by_chance).min();
        let found = [
            self.links.next().map(|(at, pair)| (at, Next::Sent(pair))),
            self.coming.first().map(|(at, _, pair)| (*at, Next::Arrived(*pair))),
            first(&self.encodes, Next::Encoded),
            steps.min(),
            due.min(),
            dies.map(|(after, member)| (Time::ZERO + after, Next::Dies(member))),
            self.starts.first().map(|(at, member)| (*at, Next::Starts(*member))),
        ];
        let (at, next) = found.into_iter().flatten().min()?;
        // Only deaths to come are no life.
        let alive = !matches!(next, Next::Dies(_)) || found[..5].iter().any(Option::is_some);
        (alive || !self.starts.is_empty()).then_some((at.max(self.world.now), next))
    }

    fn apply(&mut self, next: Next) -> Result<(), arena::Error> {
        match next {
            Next::Sent(pair) => {
                self.links.pop(pair);
                self.leave(pair, self.world.now + self.pace.latency);
            }
            Next::Arrived(pair) => self.arrive(pair)?,
            Next::Encoded(member) => {
                self.encodes.remove(&member);
                self.world.apply(Action::Encode(member))?;
                self.follow(member);
                self.cut(member);
            }
            Next::Stepped(member) => self.cut(member),
            Next::Due(member) => {
                self.world.apply(Action::Timeout(member))?;
                self.follow(member);
            }
            Next::Dies(member) => self.kill(member)?,
            Next::Starts(member) => {
                self.starts.pop_first();
                self.world.apply(Action::Start(member))?;
                self.follow_all();
            }
        }
        Ok(())
    }

    /// It has left its sender, and is heard once it is there and its hearer's memory has time.
    fn leave(&mut self, pair: Pair, there: Time) {
        let gone = self.gone.entry(pair).or_default();
        let busy = self.known.get(&pair).and_then(|known| known.get(*gone)).copied().unwrap_or_default();
        *gone += 1;
        let last = self.last.entry(pair).or_default();
        let mut at = there.max(*last);
        if busy > 0 {
            let hears = self.hears.entry(pair.1).or_default();
            at = at.max(*hears) + seconds(busy, self.pace.memory_bytes_per_s);
            *hears = at;
        }
        *last = at;
        self.serial += 1;
        self.coming.insert((at, self.serial, pair));
    }

    fn arrive(&mut self, pair: Pair) -> Result<(), arena::Error> {
        self.coming.pop_first();
        self.known.get_mut(&pair).map(VecDeque::pop_front);
        self.gone.entry(pair).and_modify(|gone| *gone -= 1);
        let item = self.world.pipes.get(&pair).and_then(VecDeque::front);
        let orders = match item {
            Some(Item::Frame(frame)) => !matches!(frame.body, Body::Message(_) | Body::Acknowledge(_)),
            _ => true,
        };
        self.world.apply(Action::Deliver(pair.0, pair.1))?;
        self.follow(pair.1);
        if orders {
            // A task can stop at any time, and does so for what is no message of its own.
            self.cut(pair.1);
        }
        Ok(())
    }

    /// Ends the step that a member is in, with what was done of it.
    fn cut(&mut self, member: Member) {
        let Some((begin, _)) = self.steps.remove(&member) else { return };
        let elapsed = self.world.now.since(begin);
        let (worked, finished) = (Duration::ZERO, false);
        let mut step = Step { load: self.load, elapsed, worked, finished };
        self.world.step(member, &mut step);
        self.worked.insert(member, step.worked);
        if let (true, Member::Worker(worker)) = (step.finished, member) {
            self.measured.finished.insert(worker, self.world.now);
        }
        self.follow(member);
    }

    fn kill(&mut self, member: Member) -> Result<(), arena::Error> {
        let now = self.world.now;
        let by_chance = self.faults.chance.as_ref().and_then(Chance::peek);
        match (self.faults.listed.front(), &mut self.faults.chance) {
            (Some(listed), _) if by_chance.is_none_or(|other| *listed <= other) => {
                self.faults.listed.pop_front();
            }
            (_, Some(chance)) => drop(chance.next()),
            (_, None) => {}
        }
        if !self.world.nodes.contains_key(&member) {
            return Ok(());
        }
        if let (Some((begin, _)), Some(worked)) =
            (self.steps.remove(&member), self.worked.get_mut(&member))
        {
            *worked += now.since(begin);
        }
        self.world.cut_off(member, None);
        self.measured.deaths += 1;
        self.outage.get_or_insert(None);
        self.encodes.remove(&member);
        self.rests.remove(&member);
        self.hears.remove(&member);
        self.coming.retain(|(_, _, (from, to))| *from != member && *to != member);
        let pairs: Vec<Pair> = self.known.keys().copied().collect();
        for pair in pairs.into_iter().filter(|(from, to)| *from == member || *to == member) {
            self.links.cut(pair);
            self.known.remove(&pair);
            self.gone.remove(&pair);
            self.last.remove(&pair);
            // That the link is lost is known later.
            for _ in 0..self.world.pipes.get(&pair).map_or(0, VecDeque::len) {
                self.known.entry(pair).or_default().push_back(0);
                self.leave(pair, now + self.pace.detect.min(self.pace.restart));
            }
        }
        self.starts.insert((now + self.pace.restart, member));
        Ok(())
    }

    fn follow_all(&mut self) {
        for member in self.world.nodes.keys().copied().collect::<Vec<_>>() {
            self.follow(member);
        }
    }

    /// Takes note of what a member wants done since it was last looked at.
    fn follow(&mut self, member: Member) {
        self.follow_pipes(member);
        self.follow_events();
        let now = self.world.now;
        let Some(node) = self.world.nodes.get(&member) else { return };
        if let Some(encode) = node.encode.as_ref().filter(|_| !self.encodes.contains_key(&member)) {
            let bytes = encode.frozen.pages().iter().map(|page| self.page_bytes(*page)).sum();
            let pass = seconds(bytes, self.pace.memory_bytes_per_s);
            // Copied while the task is stopped, then compared while it goes on.
            self.rests.insert(member, now + pass);
            self.encodes.insert(member, now + pass + pass * PASSES as u32);
        }
        if let Some(work) = node.step.as_ref().filter(|_| !self.steps.contains_key(&member)) {
            let state = work.state();
            let (worked, before) = (self.load.worked(state), self.worked.get(&member));
            let lost = before.map_or(Duration::ZERO, |before| before.saturating_sub(worked));
            self.measured.lost += lost;
            if let (false, Member::Worker(worker)) = (lost.is_zero(), member) {
                self.measured.finished.remove(&worker);
            }
            self.worked.insert(member, worked);
            let begin = self.rests.get(&member).map_or(now, |rest| now.max(*rest));
            let long = self.load.remaining(state).min(self.pace.longest_step);
            self.steps.insert(member, (begin, begin + long));
        }
    }

    fn follow_pipes(&mut self, member: Member) {
        let (first, last) = (Member::Holder(Holder(0)), Member::Worker(Worker(u16::MAX)));
        let mut sent = Vec::new();
        for (pair, items) in self.world.pipes.range((member, first)..=(member, last)) {
            let known = self.known.entry(*pair).or_default();
            for item in items.iter().skip(known.len()) {
                let (bytes, busy) = self.cost(item);
                sent.push((*pair, bytes, busy, item.granted()));
            }
        }
        for (pair, bytes, busy, granted) in sent {
            self.known.entry(pair).or_default().push_back(busy);
            self.links.push(pair, bytes);
            if let (Some(line), Member::Worker(worker)) = (granted, pair.1)
                && !self.measured.finished.contains_key(&worker)
            {
                self.granted.insert((worker, line), self.world.now);
            }
        }
    }

    /// Bytes on the link, and bytes that the hearer's memory moves.
    fn cost(&self, item: &Item) -> (u64, u64) {
        let Item::Frame(frame) = item else { return (CONTROL_BYTES, 0) };
        match &frame.body {
            Body::Pages(_, pages) => {
                let bytes = pages.indices.iter().map(|page| self.page_bytes(*page)).sum();
                (bytes, PASSES * bytes)
            }
            // What was never written here is there nevertheless, and counted at the end.
            Body::Image(_) => (0, 0),
            Body::ImageEnd(_) => (self.image_bytes, PASSES * self.image_bytes),
            Body::Message(_) => (self.load.message_bytes, self.load.message_bytes),
            // Whoever stops looks whether its image is sound.
            Body::Prepare => (CONTROL_BYTES, self.image_bytes),
            _ => (CONTROL_BYTES, 0),
        }
    }

    fn page_bytes(&self, index: u32) -> u64 {
        if index < self.small_pages { PAGE_BYTES as u64 } else { self.load.page_bytes }
    }

    fn follow_events(&mut self) {
        for (at, member, event) in std::mem::take(&mut self.world.events) {
            match (event, member) {
                (Event::Taken { .. }, Member::Worker(worker))
                    if !self.measured.finished.contains_key(&worker) =>
                {
                    self.measured.taken += 1;
                }
                (Event::Committed(line), Member::Worker(worker)) => {
                    if let Some(begin) = self.granted.remove(&(worker, line)) {
                        self.measured.latencies.push(at.since(begin));
                    }
                }
                (Event::Gone(_), _) => {
                    if let Some(since @ None) = &mut self.outage {
                        *since = Some(at);
                    }
                }
                _ => {}
            }
        }
        if let Some(Some(since)) = self.outage
            && self.world.all_go_on()
        {
            self.outage = None;
            self.granted.clear();
            self.measured.recoveries.push(self.world.now.since(since));
        }
    }
}

impl Item {
    /// The checkpoint that it grants.
    fn granted(&self) -> Option<Line> {
        match self {
            Item::Frame(frame) => match &frame.body {
                Body::Grant(line) => Some(*line),
                _ => None,
            },
            Item::Opened(..) | Item::Closed => None,
        }
    }
}

fn seconds(bytes: u64, bytes_per_s: f64) -> Duration {
    Duration::from_nanos((bytes as f64 / bytes_per_s * 1e9) as u64)
}
