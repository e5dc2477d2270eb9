//! A worker's part: steps, messages, checkpoints, and going back.
//!
//! The lesson: the task's memory is at one place at a time. While it is away for a step, or the image for a
//! diff, nothing is decided about them; what arrives meanwhile waits. So a checkpoint is between two steps,
//! and a recovery begins when both are home.

use super::frame::{Body, Commit, End, Frame, Held, Message, Pages, Plan, Report};
use super::rebuild::Rebuild;
use super::work::{Memory, Outcome, Stepped, Work};
use super::{Bulk, Encode, Encoded, Event, Input, Output};
use crate::arena::{Diff, Frozen, Shadow};
use crate::digest::Digest;
use crate::id::{self, Epoch, Holder, Line, Member};
use crate::ledger::{self, ENTRY_BYTES, Layout, Ledger, To, Verdict};
use crate::mode::Mode;
use offload::time::Time;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How often the written pages are counted.
const LOOK: Duration = Duration::from_millis(10);
/// Thousandths of progress that are worth a word.
const PROGRESS_STEP: u16 = 10;

/// What a worker is told at its start.
#[derive(Clone, Debug, Hash)]
pub struct Settings {
    /// Which worker it is.
    pub me: id::Worker,
    /// How many holders there are.
    pub holders: u8,
    /// How its messages are remembered.
    pub layout: Layout,
    /// Bytes of messages that one step sends at most, and how many messages.
    pub step: (usize, usize),
    /// The paper's Timeout: a checkpoint is asked for this long after the last.
    pub interval: Duration,
    /// The paper's primary buffer: a checkpoint is asked for when so many pages were written to. `u32::MAX` of
    /// them are never counted.
    pub buffer_pages: u32,
}

/// A worker.
#[derive(Clone, Debug, Hash)]
pub struct Worker<M> {
    settings: Settings,
    epoch: Epoch,
    leader: Option<Holder>,
    restored: Epoch,
    went: Epoch,
    phase: Phase,
    up: BTreeSet<Member>,
    live: Option<M>,
    shadow: Option<Arc<Shadow>>,
    spare: Frozen,
    committed: Line,
    taken: Line,
    /// The epoch in which the memory last was made that of a checkpoint.
    since: Epoch,
    /// From the last checkpoint that counts to the one that was taken.
    undo: Option<Arc<Diff>>,
    peers: Vec<Peer>,
    /// What other workers have said while the memory was away: acknowledgements, and what they have taken.
    acknowledged: Vec<(id::Worker, u64)>,
    resumes: Vec<(id::Worker, u64)>,
    /// Who waits for our image.
    wanted: Vec<Member>,
    /// The memory may differ from the image anywhere.
    another: bool,
    commits: VecDeque<Arc<Commit>>,
    asked: Option<Line>,
    granted: Option<Line>,
    /// Plank's scheme: who has sent all, and whether all know that we have.
    flushed: BTreeSet<id::Worker>,
    stopped: bool,
    due: Time,
    look: Time,
    /// The buffer is full, or something else needs a checkpoint soon.
    hurry: bool,
    /// Since when the log has no room for a step.
    cramped: Option<Time>,
    /// The task is done; it was when the last checkpoint was taken; the checkpoint that says so counts.
    done: bool,
    done_then: bool,
    counted: bool,
    /// What to say with the diff that is being made: messages taken.
    ending: Option<Vec<u64>>,
    /// The task waits for a message, or for the world outside.
    waiting: bool,
    /// A step has done something since the last checkpoint.
    worked: bool,
    /// Output that was said.
    said: u64,
    /// What was last told of how far the task is.
    progress: u16,
    outputs: VecDeque<Output<M>>,
}

/// Another worker, as this one sees it in an epoch.
#[derive(Clone, Debug, Default, Hash)]
struct Peer {
    /// What has come and was not received.
    inbox: VecDeque<Message>,
    /// It has said what it has; until then nothing is sent to it.
    resumed: bool,
    /// What waits for that and is in no log.
    held: Vec<Message>,
}

#[derive(Clone, Debug, Hash)]
enum Phase {
    /// Nobody leads.
    Apart,
    /// A report is due once memory and image are home.
    Stopping,
    Reported,
    Rebuilding(Arc<Plan>, Rebuild),
    /// As the plan says. True: the leader knows.
    Restored(bool),
    Running,
    Ended,
}

impl<M: Memory> Worker<M> {
    /// One that has nothing yet; memory and image are zeros.
    pub fn new(settings: Settings, live: M, shadow: Shadow) -> Worker<M> {
        let peers = (0..settings.layout.workers).map(|_| Peer::default()).collect();
        Worker {
            settings,
            epoch: Epoch::default(),
            leader: None,
            restored: Epoch::default(),
            went: Epoch::default(),
            phase: Phase::Apart,
            up: BTreeSet::new(),
            live: Some(live),
            shadow: Some(Arc::new(shadow)),
            spare: Frozen::default(),
            committed: Line::default(),
            taken: Line::default(),
            since: Epoch::default(),
            undo: None,
            peers,
            acknowledged: Vec::new(),
            resumes: Vec::new(),
            wanted: Vec::new(),
            another: false,
            commits: VecDeque::new(),
            asked: None,
            granted: None,
            flushed: BTreeSet::new(),
            stopped: false,
            due: Time::ZERO,
            look: Time::ZERO,
            hurry: false,
            cramped: None,
            done: false,
            done_then: false,
            counted: false,
            ending: None,
            waiting: false,
            worked: false,
            said: 0,
            progress: 0,
            outputs: VecDeque::new(),
        }
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
    pub fn handle_input(&mut self, now: Time, input: Input<M>) {
        match input {
            Input::Opened { member, .. } => {
                self.up.insert(member);
                if let Phase::Rebuilding(_, rebuild) = &self.phase
                    && rebuild.needs(member)
                {
                    self.say(member, Body::Want);
                }
                self.tell_restored();
            }
            Input::Closed { member } => self.on_closed(member),
            Input::Frame { from, frame } => self.on_frame(now, from, frame),
            Input::Stepped(stepped) => self.on_stepped(*stepped),
            Input::Encoded(encoded) => self.on_encoded(*encoded),
            Input::Changed => self.waiting = false,
        }
        self.proceed(now);
    }

    /// Takes in that time has passed. Harmless when called early.
    pub fn handle_timeout(&mut self, now: Time) {
        self.proceed(now);
    }

    /// Is there anything that the last checkpoint does not have? The paper's takes one at each Timeout all the same.
    fn has_news(&self) -> bool {
        self.worked || self.settings.layout.mode == Mode::Enhanced
    }

    /// The next thing to do; [`Output::Wake`] ends the round.
    pub fn poll_output(&mut self) -> Output<M> {
        let quiet = self.asked.is_some()
            || self.granted.is_some()
            || self.taken > self.committed
            || self.done
            || !self.has_news();
        let wake = (matches!(self.phase, Phase::Running) && !quiet).then_some(self.due);
        self.outputs.pop_front().unwrap_or(Output::Wake(wake))
    }

    /// The memory, where it is not away for a step.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> Option<&M> {
        self.live.as_ref()
    }

    fn me(&self) -> Member {
        Member::Worker(self.settings.me)
    }

    fn others(&self) -> impl Iterator<Item = id::Worker> + use<M> {
        let me = self.settings.me;
        (0..self.settings.layout.workers as u16).map(id::Worker).filter(move |worker| *worker != me)
    }

    fn holders(&self) -> impl Iterator<Item = Member> + use<M> {
        (0..self.settings.holders).map(|holder| Member::Holder(Holder(holder)))
    }

    fn say(&mut self, to: Member, body: Body) {
        let frame = Frame { epoch: self.epoch, body };
        self.outputs.push_back(Output::Send { to, frame });
    }

    fn tell_leader(&mut self, body: Body) {
        if let Some(leader) = self.leader {
            self.say(Member::Holder(leader), body);
        }
    }

    fn fail(&mut self, why: String) {
        self.phase = Phase::Ended;
        self.outputs.push_back(Output::End(Err(why)));
    }

    fn on_closed(&mut self, member: Member) {
        self.up.remove(&member);
        match member {
            Member::Holder(holder) if self.leader == Some(holder) => {
                self.leader = None;
                // Its last word may have come late: another may lead by an earlier epoch, and wait for us.
                for other in self.holders().filter(|other| self.up.contains(other)).collect::<Vec<_>>() {
                    self.say(other, Body::Behind);
                }
            }
            // The leader sees for itself when somebody is dead, but not that only this link is.
            _ => self.tell_leader(Body::Suspect(member)),
        }
    }

    fn on_frame(&mut self, now: Time, from: Member, frame: Frame) {
        if let (Body::Prepare, Member::Holder(leader)) = (&frame.body, from) {
            if matches!(self.phase, Phase::Ended) {
                return;
            }
            if frame.epoch > self.epoch {
                self.prepare(frame.epoch, leader);
            } else {
                // The same number is one of its last life.
                self.say(from, Body::Behind);
            }
            return;
        }
        if frame.epoch != self.epoch {
            return;
        }
        match (from, frame.body) {
            (Member::Holder(holder), body) => {
                let leads = self.leader == Some(holder);
                self.on_holder(now, from, leads, body);
            }
            (Member::Worker(worker), body) => self.on_worker(worker, body),
        }
    }

    fn on_holder(&mut self, now: Time, from: Member, leads: bool, body: Body) {
        match body {
            Body::Want => self.help(from),
            Body::Plan(plan) if leads && matches!(self.phase, Phase::Reported) => self.on_plan(plan),
            Body::Image(pages) => self.on_image(from, &pages),
            Body::ImageEnd(digest) => self.on_image_end(from, digest),
            Body::Go if leads && matches!(self.phase, Phase::Restored(_)) => self.go(now),
            Body::Lost(why) if leads => self.fail(why),
            Body::Grant(line) if leads && self.is_running() && line == self.taken.next() => {
                (self.granted, self.stopped) = (Some(line), false);
            }
            Body::Commit(commit) if leads && self.is_running() => self.on_commit(commit),
            Body::Over if leads && self.is_running() => {
                self.phase = Phase::Ended;
                self.outputs.push_back(Output::End(Ok(())));
            }
            _ => {}
        }
    }

    fn on_worker(&mut self, from: id::Worker, body: Body) {
        match body {
            Body::Want => self.help(Member::Worker(from)),
            Body::Image(pages) => self.on_image(Member::Worker(from), &pages),
            Body::ImageEnd(digest) => self.on_image_end(Member::Worker(from), digest),
            Body::Resume(taken) => self.resume(from, taken),
            Body::Message(message) => {
                self.peers[usize::from(from.0)].inbox.push_back(message);
                self.waiting = false;
            }
            Body::Acknowledge(sequence) => self.acknowledged.push((from, sequence)),
            Body::Flush(line) if line == self.taken.next() => {
                self.flushed.insert(from);
            }
            _ => {}
        }
    }

    /// Does it go on, as far as it knows?
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    fn ledger<'a>(layout: Layout, live: &'a mut M) -> Ledger<'a> {
        Ledger::new(layout, &mut live.bytes_mut()[..layout.bytes()])
    }
}

mod recover;
mod run;
