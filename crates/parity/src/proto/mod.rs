//! The protocol, as values one feeds: no sockets, no threads, no clocks, no chance.
//!
//! A driver (`io` on real sockets, `sim` on simulated ones) tells a [`worker::Worker`] or a
//! [`holder::Holder`] what arrived and what time it is, and asks it what to do:
//!
//! 1. call `handle_input` when something arrives, `handle_timeout` when the moment of the last
//!    [`Output::Wake`] has come;
//! 2. after each of these, call `poll_output` until it returns [`Output::Wake`];
//! 3. do the work of [`Output::Step`] and [`Output::Encode`] elsewhere, and tell of it by
//!    [`Input::Stepped`] and [`Input::Encoded`].
//!
//! A link between two members is made and lost as a whole, and keeps the order of what is sent over it. A
//! member whose links are lost is taken for dead; the driver tries to link with it again, and whoever answers
//! in its name says what it has.
//!
//! ```text
//!  leader (a holder)        every member                        workers            holders
//!   Prepare ------------------> stops          Ask(k+1) -----> leader
//!   <------------------ Report                 Grant(k+1) <--- leader
//!   Plan ---------------------> goes back      Pages, End(k+1) ------------------> all stage
//!        Image, ImageEnd: from survivors       leader <-------------- Staged(k+1)
//!        to those who are rebuilt              leader: Commit(k+1) --------------> all apply
//!   <---------------- Restored                 leader <-------------- Applied(k+1)
//!   Go -----------------------> goes on
//! ```

pub mod frame;
pub mod holder;
pub mod plan;
mod rebuild;
pub mod work;
pub mod worker;

use crate::arena::{Diff, Frozen, Shadow};
use crate::id::{Epoch, Line, Member};
use crate::limits::PAGE_BYTES;
use frame::{Body, Frame, Pages};
use offload::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use work::{Stepped, Work};

/// What arrives at a member. `M` is the memory that its task writes.
#[derive(Debug)]
pub enum Input<M> {
    /// A link stands.
    Opened {
        /// The far end.
        member: Member,
        /// The last epoch in which the far end went on.
        went: Epoch,
    },
    /// A link is lost.
    Closed {
        /// The far end.
        member: Member,
    },
    /// Something was said.
    Frame {
        /// By whom.
        from: Member,
        /// What.
        frame: Frame,
    },
    /// What [`Output::Step`] asked for is done.
    Stepped(Box<Stepped<M>>),
    /// What [`Output::Encode`] asked for is done.
    Encoded(Box<Encoded>),
    /// The world outside has changed: a task that waits is to look again.
    Changed,
}

/// What a member wants done.
#[derive(Clone, Debug, Hash)]
pub enum Output<M> {
    /// Say this.
    Send {
        /// To whom.
        to: Member,
        /// What.
        frame: Frame,
    },
    /// Send these pages as [`frame::Body::Pages`] or [`frame::Body::Image`], before what follows.
    Bulk {
        /// To whom.
        to: Member,
        /// In which epoch.
        epoch: Epoch,
        /// What.
        bulk: Bulk,
    },
    /// Have the task take a step.
    Step(Box<Work<M>>),
    /// Bring the image up to date, and say how it has changed.
    Encode(Box<Encode>),
    /// End this link.
    Close {
        /// The far end.
        member: Member,
        /// Why.
        why: String,
    },
    /// Something to show or to write down.
    Event(Event),
    /// The run is over; or it cannot go on, and why.
    End(Result<(), String>),
    /// Nothing more for now. Call `handle_timeout` at this moment if nothing arrives before.
    Wake(Option<Time>),
}

/// Many pages.
#[derive(Clone, Debug, Hash)]
pub enum Bulk {
    /// A checkpoint's diff.
    Diff(Line, Arc<Diff>),
    /// The pages of an image or a parity that are not zeros.
    Image(Arc<Shadow>),
}

/// A checkpoint that was taken, and the image of the one before.
#[derive(Clone, Debug, Hash)]
pub struct Encode {
    /// The pages that were written to.
    pub frozen: Frozen,
    /// The image before.
    pub shadow: Arc<Shadow>,
}

/// The image of a checkpoint, and how it came to be.
#[derive(Debug)]
pub struct Encoded {
    /// The image.
    pub shadow: Arc<Shadow>,
    /// Its difference from the one before.
    pub diff: Diff,
}

impl Bulk {
    /// Cut into parts of so many pages at most.
    pub fn parts(&self, pages: usize) -> impl Iterator<Item = Pages> + '_ {
        let mut all: Box<dyn Iterator<Item = (u32, &[u8; PAGE_BYTES])>> = match self {
            Bulk::Diff(_, diff) => Box::new(diff.iter()),
            Bulk::Image(shadow) => {
                let written = (0..shadow.pages()).map(|index| (index, shadow.page(index)));
                Box::new(written.filter(|(_, page)| **page != [0; PAGE_BYTES]))
            }
        };
        std::iter::from_fn(move || {
            let mut part = Pages { indices: Vec::new(), bytes: Vec::new() };
            for (index, page) in all.by_ref().take(pages) {
                part.indices.push(index);
                part.bytes.extend_from_slice(page);
            }
            (!part.indices.is_empty()).then_some(part)
        })
    }

    /// A part as it is said.
    pub fn body(&self, part: Pages) -> Body {
        match self {
            Bulk::Diff(line, _) => Body::Pages(*line, part),
            Bulk::Image(_) => Body::Image(part),
        }
    }
}

impl Encode {
    /// Does it.
    pub fn run(mut self) -> Encoded {
        let diff = Arc::make_mut(&mut self.shadow).advance(self.frozen);
        Encoded { shadow: self.shadow, diff }
    }
}

/// What a member does, for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The task says this to the world outside. Its number is the same after a recovery.
    Outside {
        /// From 1.
        sequence: u64,
        /// What it says.
        bytes: Vec<u8>,
    },
    /// The task is so far, in thousandths.
    Progress(u16),
    /// A checkpoint was taken here.
    Taken {
        /// Which.
        line: Line,
        /// Pages that were copied.
        pages: u32,
    },
    /// A checkpoint counts.
    Committed(Line),
    /// Someone is gone.
    Gone(Member),
    /// All have stopped, and go on from here: a worker's own line, the first worker's at a holder.
    Recovered {
        /// From where.
        line: Line,
        /// The checkpoint that was taken last, before.
        from: Line,
        /// This member was rebuilt.
        rebuilt: bool,
    },
    /// Something is not what its checksum says.
    Corrupt(String),
}
