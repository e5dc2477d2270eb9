//! A step of a task: from a state and its mail to another state and what it sends.
//!
//! The lesson: between steps nothing of a task is anywhere but in its arena, so between any two steps a
//! checkpoint can be taken, and a step that does not count is as if it had never been.

use super::frame::Message;
use crate::arena::{Error, Frozen, Live, Mechanism, Shadow};
use crate::id::Worker;
use crate::ledger::To;
use bytemuck::Pod;
use std::collections::VecDeque;

/// Something that runs over an arena.
///
/// A task must not keep anything in itself that a step changes: after a failure another process goes on
/// from the arena alone. An arena of zeros is where it begins.
pub trait Task: Send {
    /// Does a little, some milliseconds at best, and says how it goes on.
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome;

    /// How far it is, in thousandths, for people.
    fn progress(&self, _state: &[u8]) -> u16 {
        0
    }
}

/// How a task goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With another step.
    Again,
    /// With another step once a message has come that is not here yet, or the world outside has changed.
    /// Nothing of the state may have changed.
    Wait,
    /// Not at all: what it has sent is its result.
    Done,
}

/// What a step sees.
pub struct Context<'a> {
    /// The state: all that is kept.
    pub state: &'a mut [u8],
    me: Worker,
    mail: &'a mut [VecDeque<Message>],
    received: &'a mut Vec<(Worker, u64)>,
    sent: &'a mut Vec<(To, Vec<u8>)>,
}

impl Context<'_> {
    /// Which worker this is.
    pub fn me(&self) -> Worker {
        self.me
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        self.mail.len() as u16
    }

    /// The state as a head and words after it, as far as they go.
    ///
    /// # Panics
    /// The head is longer than the state, or no whole number of words.
    pub fn parts<H: Pod, W: Pod>(&mut self) -> (&mut H, &mut [W]) {
        let (head, words) = self.state.split_at_mut(size_of::<H>());
        let whole = words.len() / size_of::<W>() * size_of::<W>();
        (bytemuck::from_bytes_mut(head), bytemuck::cast_slice_mut(&mut words[..whole]))
    }

    /// The next message of this worker, if it is here.
    pub fn receive(&mut self, from: Worker) -> Option<Vec<u8>> {
        let message = self.mail.get_mut(usize::from(from.0))?.pop_front()?;
        self.received.push((from, message.sequence));
        Some(message.bytes)
    }

    /// Sends to another worker: after the step.
    pub fn send(&mut self, to: Worker, bytes: Vec<u8>) {
        debug_assert_ne!(to, self.me);
        self.sent.push((To::Worker(to), bytes));
    }

    /// Says something to the world outside: once it can no longer be undone.
    pub fn output(&mut self, bytes: Vec<u8>) {
        self.sent.push((To::Outside, bytes));
    }
}

/// A step to be taken.
#[derive(Clone, Debug, Hash)]
pub struct Work<M> {
    pub(super) live: M,
    pub(super) state_at: usize,
    pub(super) me: Worker,
    pub(super) mail: Vec<VecDeque<Message>>,
}

/// A step that was taken.
#[derive(Debug)]
pub struct Stepped<M> {
    pub(super) live: M,
    pub(super) outcome: Outcome,
    pub(super) progress: u16,
    /// What was not received.
    pub(super) mail: Vec<VecDeque<Message>>,
    pub(super) received: Vec<(Worker, u64)>,
    pub(super) sent: Vec<(To, Vec<u8>)>,
}

/// The memory that a task writes, and how writes to it are noticed.
pub trait Memory: Send {
    /// All of it.
    fn bytes(&self) -> &[u8];
    /// All of it, to be written.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// How many pages were written to since the last freeze; `None` where that cannot be had cheaply.
    ///
    /// # Errors
    /// The system does not say.
    fn dirty_pages(&mut self, shadow: &Shadow) -> Result<Option<u32>, Error>;
    /// Copies the pages that were written to since the last freeze. This is all that a checkpoint stops a task
    /// for.
    ///
    /// # Errors
    /// The system does not say which.
    fn freeze(&mut self, shadow: &Shadow, spare: Frozen) -> Result<Frozen, Error>;
    /// Makes the pages that were written to since the last freeze, and these, the image's.
    ///
    /// # Errors
    /// The system does not say which.
    fn restore(&mut self, shadow: &Shadow, also: &[u32]) -> Result<(), Error>;
}

impl Memory for Live {
    fn bytes(&self) -> &[u8] {
        Live::bytes(self)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        Live::bytes_mut(self)
    }

    fn dirty_pages(&mut self, shadow: &Shadow) -> Result<Option<u32>, Error> {
        match self.mechanism() {
            Mechanism::Compare => Ok(None),
            _ => Live::dirty_pages(self, shadow).map(Some),
        }
    }

    fn freeze(&mut self, shadow: &Shadow, spare: Frozen) -> Result<Frozen, Error> {
        Live::freeze(self, shadow, spare)
    }

    fn restore(&mut self, shadow: &Shadow, also: &[u32]) -> Result<(), Error> {
        Live::restore(self, shadow, also)
    }
}

impl<M: Memory> Work<M> {
    /// The state before the step.
    pub fn state(&self) -> &[u8] {
        &self.live.bytes()[self.state_at..]
    }

    /// Takes the step.
    pub fn run(self, task: &mut dyn Task) -> Stepped<M> {
        let Work { mut live, state_at, me, mut mail } = self;
        let (mut received, mut sent) = (Vec::new(), Vec::new());
        let state = &mut live.bytes_mut()[state_at..];
        let mut cx = Context { state, me, mail: &mut mail, received: &mut received, sent: &mut sent };
        let outcome = task.step(&mut cx);
        let progress = task.progress(&live.bytes()[state_at..]);
        Stepped { live, outcome, progress, mail, received, sent }
    }
}
