//! A holder's part: parity of all workers' checkpoints, and, where it leads, when they are taken and what
//! happens after a failure.
//!
//! The lesson: diffs are staged until all holders have them of all workers, so at any moment the parity is
//! that of one checkpoint, and the next is either whole at some holder or can be forgotten.
//!
//! Any holder can lead. The one that does is the lowest of those that have lived longest; another takes over
//! when its link to the leader is lost. Two that believe to lead do no harm: epochs are numbered apart, all
//! follow the highest, and a leader that is not followed by all gets no further than to ask.

use super::frame::{Body, Commit, End, Frame, Held, Pages, Plan, Report, Unit};
use super::rebuild::Rebuild;
use super::{Bulk, Event, Input, Output};
use crate::arena::{self, Shadow};
use crate::code::Code;
use crate::digest::Digest;
use crate::id::{self, Epoch, Line, Member, Worker};
use crate::limits::MAX_HOLDERS;
use crate::mode::Mode;
use lead::Lead;
use offload::time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

/// What a holder is told at its start.
#[derive(Clone, Debug, Hash)]
pub struct Settings {
    /// Which holder it is.
    pub me: id::Holder,
    /// How checkpoints fit together.
    pub mode: Mode,
    /// What it keeps of them.
    pub code: Code,
    /// Pages of the largest worker's arena.
    pub pages: u32,
}

/// A holder.
#[derive(Clone, Debug, Hash)]
pub struct Holder {
    settings: Settings,
    epoch: Epoch,
    leader: Option<id::Holder>,
    restored: Epoch,
    went: Epoch,
    phase: Phase,
    /// Who is linked, and since when it has gone on.
    up: BTreeMap<Member, Epoch>,
    parity: Arc<Shadow>,
    /// Of each worker: the checkpoint that is part of the parity, and its image's checksum.
    applied: Vec<(Line, Digest)>,
    /// Of each worker: was its task done there?
    done: Vec<bool>,
    /// Of each worker: what has come of its next checkpoint.
    sets: Vec<Set>,
    lead: Option<Lead>,
    wanted: Vec<Member>,
    outputs: VecDeque<Output<Infallible>>,
    /// What it says to itself.
    own: VecDeque<Frame>,
}

/// A diff on its way.
#[derive(Clone, Debug, Default, Hash)]
struct Set {
    pages: Vec<Pages>,
    /// The place of the next page at the earliest.
    next: u32,
    count: u32,
    digest: Digest,
    end: Option<End>,
}

#[derive(Clone, Debug, Hash)]
enum Phase {
    /// Nobody leads.
    Apart,
    Reported,
    Rebuilding(Arc<Plan>, Rebuild),
    Restored,
    Running,
    Ended,
}

impl Holder {
    /// One that has nothing yet.
    ///
    /// # Errors
    /// There is no memory for the parity.
    pub fn new(settings: Settings) -> Result<Holder, arena::Error> {
        let workers = settings.code.workers();
        Ok(Holder {
            parity: Arc::new(Shadow::new(settings.pages)?),
            settings,
            epoch: Epoch::default(),
            leader: None,
            restored: Epoch::default(),
            went: Epoch::default(),
            phase: Phase::Apart,
            up: BTreeMap::new(),
            applied: vec![Default::default(); workers],
            done: vec![false; workers],
            sets: (0..workers).map(|_| Set::default()).collect(),
            lead: None,
            wanted: Vec::new(),
            outputs: VecDeque::new(),
            own: VecDeque::new(),
        })
    }

    /// The epoch whose frames it hears.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The last epoch in which it went on.
    pub fn went(&self) -> Epoch {
        self.went
    }

    /// Takes in what has arrived.
    pub fn handle_input(&mut self, _now: Time, input: Input<Infallible>) {
        match input {
            Input::Opened { member, went } => self.on_opened(member, went),
            Input::Closed { member } => self.on_closed(member),
            Input::Frame { from, frame } => self.on_frame(from, frame),
            // It has no task.
            Input::Stepped(_) | Input::Encoded(_) | Input::Changed => {}
        }
        while let Some(frame) = self.own.pop_front() {
            self.on_frame(self.me(), frame);
        }
    }

    /// The next thing to do; [`Output::Wake`] ends the round.
    pub fn poll_output(&mut self) -> Output<Infallible> {
        self.outputs.pop_front().unwrap_or(Output::Wake(None))
    }

    fn me(&self) -> Member {
        Member::Holder(self.settings.me)
    }

    fn say(&mut self, to: Member, body: Body) {
        let frame = Frame { epoch: self.epoch, body };
        if to == self.me() {
            self.own.push_back(frame);
        } else {
            self.outputs.push_back(Output::Send { to, frame });
        }
    }

    fn tell_leader(&mut self, body: Body) {
        if let Some(leader) = self.leader {
            self.say(Member::Holder(leader), body);
        }
    }

    fn end(&mut self, how: Result<(), String>) {
        self.phase = Phase::Ended;
        self.outputs.push_back(Output::End(how));
    }

    fn on_opened(&mut self, member: Member, went: Epoch) {
        self.up.insert(member, went);
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        if let Phase::Rebuilding(_, rebuild) = &self.phase
            && rebuild.needs(member)
        {
            self.say(member, Body::Want);
        }
        if self.lead.is_some() {
            // Someone who is linked while all go on has missed what made them.
            let gathering = self.lead.as_ref().is_some_and(Lead::is_gathering);
            if gathering { self.say(member, Body::Prepare) } else { self.begin_epoch() }
        } else if self.leader.is_none() {
            self.consider();
        }
    }

    fn on_closed(&mut self, member: Member) {
        if self.up.remove(&member).is_none() || matches!(self.phase, Phase::Ended) {
            return;
        }
        self.outputs.push_back(Output::Event(Event::Gone(member)));
        if self.lead.is_some() {
            return self.begin_epoch();
        }
        if self.leader.is_some_and(|leader| Member::Holder(leader) == member) {
            self.leader = None;
            // As a worker does.
            for other in self.up.keys().copied().filter(Holder::is_holder).collect::<Vec<_>>() {
                self.say(other, Body::Behind);
            }
            self.consider();
        } else {
            self.tell_leader(Body::Suspect(member));
        }
    }

    /// Leads, if nobody who is linked should rather.
    fn consider(&mut self) {
        let mine = (std::cmp::Reverse(self.went), self.settings.me);
        let others = self.up.iter().filter_map(|(member, went)| match member {
            Member::Holder(holder) => Some((std::cmp::Reverse(*went), *holder)),
            Member::Worker(_) => None,
        });
        if others.min().is_none_or(|other| mine < other) {
            self.begin_epoch();
        }
    }

    /// Has all stop and say what they have.
    fn begin_epoch(&mut self) {
        let (turn, mine) = (self.epoch.0 / MAX_HOLDERS as u64 + 1, u64::from(self.settings.me.0));
        let epoch = Epoch(turn * MAX_HOLDERS as u64 + mine);
        self.prepare(epoch, self.settings.me);
        self.lead = Some(Lead::new());
        self.report();
        for member in self.up.keys().copied().collect::<Vec<_>>() {
            self.say(member, Body::Prepare);
        }
    }

    fn on_frame(&mut self, from: Member, frame: Frame) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        if let (Body::Prepare, Member::Holder(leader)) = (&frame.body, from) {
            if frame.epoch > self.epoch {
                self.lead = None;
                self.prepare(frame.epoch, leader);
                self.report();
            } else {
                // The same number is one of its last life.
                self.say(from, Body::Behind);
            }
            return;
        }
        if frame.body == Body::Behind && frame.epoch >= self.epoch {
            return self.on_behind(from, frame.epoch);
        }
        if frame.epoch != self.epoch {
            return;
        }
        let leads = matches!(from, Member::Holder(holder) if self.leader == Some(holder));
        match (frame.body, from) {
            (Body::Want, _) => self.help(from),
            (Body::Image(pages), _) => self.on_image(from, &pages),
            (Body::ImageEnd(digest), _) => self.on_image_end(from, digest),
            (Body::Plan(plan), _) if leads => self.on_plan(plan),
            (Body::Go, _) if leads && matches!(self.phase, Phase::Restored) => {
                (self.phase, self.went) = (Phase::Running, self.epoch);
            }
            (Body::Lost(why), _) if leads => self.end(Err(why)),
            (Body::Over, _) if leads => self.end(Ok(())),
            (Body::Commit(commit), _) if leads && self.is_running() => self.on_commit(&commit),
            // A worker may hear sooner than we that all go on.
            (Body::Pages(line, pages), Member::Worker(worker)) if self.is_restored() => {
                self.on_pages(worker, line, pages);
            }
            (Body::End(end), Member::Worker(worker)) if self.is_restored() => self.on_end(worker, end),
            (body, _) => self.on_led(from, body),
        }
    }

    /// Does it go on, as far as it knows?
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    fn is_restored(&self) -> bool {
        matches!(self.phase, Phase::Restored | Phase::Running)
    }

    /// Ends a link with one that does not keep to the protocol.
    fn refuse(&mut self, member: Member, why: String) {
        self.outputs.push_back(Output::Event(Event::Corrupt(why.clone())));
        self.outputs.push_back(Output::Close { member, why });
        self.on_closed(member);
    }

    fn on_pages(&mut self, worker: Worker, line: Line, pages: Pages) {
        let index = usize::from(worker.0);
        let set = &mut self.sets[index];
        if line != self.applied[index].0.next() || set.end.is_some() {
            return;
        }
        for (place, page) in pages.iter() {
            if place < set.next || place >= self.settings.pages {
                let why = format!("{worker} sends page {place} of {line}, which is not its next");
                return self.refuse(Member::Worker(worker), why);
            }
            set.next = place + 1;
            set.count += 1;
            set.digest = set.digest.plus(Digest::of_page(place, page));
        }
        set.pages.push(pages);
    }

    fn on_end(&mut self, worker: Worker, end: End) {
        let index = usize::from(worker.0);
        let (applied, set) = (self.applied[index], &mut self.sets[index]);
        if end.line != applied.0.next() || set.end.is_some() {
            return;
        }
        let sound = end.taken.len() == self.settings.code.workers()
            && (end.pages, end.diff, end.image) == (set.count, set.digest, applied.1.plus(set.digest));
        if !sound {
            let why = format!("{worker}: {} has other checksums than its pages", end.line);
            return self.refuse(Member::Worker(worker), why);
        }
        let line = end.line;
        set.end = Some(end);
        let workers = match self.settings.mode {
            Mode::Enhanced => vec![worker],
            Mode::Plank | Mode::Offload => self.workers().collect(),
        };
        if workers.iter().all(|worker| self.sets[usize::from(worker.0)].end.is_some()) {
            self.tell_leader(Body::Staged(Unit { line, workers }));
        }
    }

    fn workers(&self) -> impl Iterator<Item = Worker> + use<> {
        (0..self.settings.code.workers() as u16).map(Worker)
    }

    fn on_commit(&mut self, commit: &Commit) {
        if self.apply(&commit.unit) {
            self.tell_leader(Body::Applied(commit.unit.clone()));
        }
    }

    /// Adds what is staged to the parity; false where it is not all there.
    fn apply(&mut self, unit: &Unit) -> bool {
        let is_next = |worker: &Worker| {
            let end = self.sets.get(usize::from(worker.0)).and_then(|set| set.end.as_ref());
            end.is_some_and(|end| end.line == unit.line)
        };
        if !unit.workers.iter().all(is_next) {
            return false;
        }
        let parity = Arc::make_mut(&mut self.parity);
        for worker in &unit.workers {
            let index = usize::from(worker.0);
            let Set { pages, digest, end, .. } = std::mem::take(&mut self.sets[index]);
            let pages = pages.iter().flat_map(Pages::iter);
            match self.settings.code.coefficient(self.settings.me, *worker) {
                1 => parity.add_known(pages, digest),
                factor => pages.for_each(|(place, page)| parity.add(place, page, factor)),
            }
            if let Some(end) = end {
                (self.applied[index], self.done[index]) = ((end.line, end.image), end.done);
            }
        }
        self.outputs.push_back(Output::Event(Event::Committed(unit.line)));
        true
    }
}

mod lead;
mod recover;
