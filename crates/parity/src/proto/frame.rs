//! What members say to each other.

use crate::code::Term;
use crate::digest::Digest;
use crate::id::{Epoch, Line, Member, Worker};
use crate::limits::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Something said, and in which epoch. What belongs to another epoch than the hearer's is void.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// When.
    pub epoch: Epoch,
    /// What.
    pub body: Body,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Leader to all: stop, and say what you have. The only frame that begins an epoch.
    Prepare,
    /// To one who would lead: I am in this epoch already, and you do not lead it.
    Behind,
    /// All to leader.
    Report(Report),
    /// Leader to all: who goes on from where.
    Plan(Arc<Plan>),
    /// One that is rebuilt to a source: send me your image.
    Want,
    /// A source to one that is rebuilt: pages of its image that are not zeros.
    Image(Pages),
    /// That was all; the checksum is of the source's whole image.
    ImageEnd(Digest),
    /// All to leader: as the plan says, and, a worker, linked with all.
    Restored,
    /// Leader to all: go on.
    Go,
    /// Leader to all: too much is lost, the run ends.
    Lost(String),
    /// All to leader: this link is broken, though both ends may live.
    Suspect(Member),
    /// Worker to leader: may I take this checkpoint?
    Ask(Line),
    /// Leader to worker: take this checkpoint.
    Grant(Line),
    /// Worker to worker, in Plank's scheme: I send nothing more before this checkpoint.
    Flush(Line),
    /// Worker to holder: part of a checkpoint's diff.
    Pages(Line, Pages),
    /// Worker to holder: that was all of it.
    End(End),
    /// Holder to leader: I have this checkpoint of all in the unit, not applied yet.
    Staged(Unit),
    /// Leader to all: this checkpoint counts.
    Commit(Arc<Commit>),
    /// Holder to leader: it is part of my parity.
    Applied(Unit),
    /// Worker to worker, first of all: how many of your messages my checkpoint has taken.
    Resume(u64),
    /// Worker to worker.
    Message(Message),
    /// Worker to worker, in the paper's scheme: I have taken this message.
    Acknowledge(u64),
    /// Worker to leader: what the last checkpoint releases is outside.
    Released,
    /// Leader to all: the run is over.
    Over,
}

/// A message of the task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Its number among those from its source to its destination, from 1.
    pub sequence: u64,
    /// Its sender's last checkpoint.
    pub line: Line,
    /// What the task says.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// Some pages and where they belong.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pages {
    /// Their places, ascending.
    pub indices: Vec<u32>,
    /// Their bytes, [`PAGE_BYTES`] each.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// The end of a checkpoint's diff.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct End {
    /// Which checkpoint.
    pub line: Line,
    /// How many pages the diff has.
    pub pages: u32,
    /// Its checksum.
    pub diff: Digest,
    /// The checksum of the image that it leads to.
    pub image: Digest,
    /// How many messages of each source that image has taken.
    pub taken: Vec<u64>,
    /// The task is done there.
    pub done: bool,
}

/// The workers whose checkpoints count together: all, or one in the paper's scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unit {
    /// Which checkpoint.
    pub line: Line,
    /// Whose.
    pub workers: Vec<Worker>,
}

/// A checkpoint counts from now on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Commit {
    /// Which, of whom.
    pub unit: Unit,
    /// [`End::taken`] of each of them.
    pub taken: Vec<Vec<u64>>,
    /// All workers are done in it.
    pub over: bool,
}

/// What a member has when it has stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Report {
    /// The last epoch whose plan it has carried out.
    pub restored: Epoch,
    /// The last epoch in which it went on.
    pub went: Epoch,
    /// What it has.
    pub held: Held,
}

/// What a member has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Held {
    /// A worker: its last checkpoint that counts and the last that it has taken, with their checksums.
    Images {
        /// It counts.
        committed: (Line, Digest),
        /// The same, or one later.
        taken: (Line, Digest),
        /// The epoch in which its memory last was made that of a checkpoint.
        since: Epoch,
    },
    /// A holder, of each worker.
    Parity {
        /// Its checkpoint that is part of the parity, and that image's checksum.
        applied: Vec<(Line, Digest)>,
        /// The image's checksum after the next, where that is here whole.
        staged: Vec<Option<Digest>>,
    },
}

/// From where a run goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// Each worker's checkpoint.
    pub lines: Vec<Line>,
    /// The checksums of their images there.
    pub digests: Vec<Digest>,
    /// Those who have nothing, and what their image or parity is the sum of.
    pub rebuilt: BTreeMap<Member, Vec<Term>>,
    /// Those who begin with zeros, as nothing was ever checkpointed.
    pub fresh: BTreeSet<Member>,
    /// No worker was lost: they go on from where they are, which is after that checkpoint.
    pub stays: bool,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pages {:?}", self.indices)
    }
}

impl Pages {
    /// Each page with its place.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8; PAGE_BYTES])> {
        self.indices.iter().copied().zip(self.bytes.as_chunks().0)
    }
}

/// Whose image or parity it is.
pub fn source(term: Term) -> Member {
    match term {
        Term::Image(worker, _) => Member::Worker(worker),
        Term::Parity(holder, _) => Member::Holder(holder),
    }
}
