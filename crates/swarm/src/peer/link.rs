//! What a session knows of one connection.

use crate::bitfield::Bitfield;
use crate::geometry::Block;
use crate::id::PeerId;
use crate::peer::Direction;
use crate::peer::blame::Culprit;
use crate::peer::window::Window;
use crate::wire::extension::Hello;
use crate::wire::handshake::Features;
use offload::time::Time;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// A peer that owes us blocks and sends none for this long is no longer counted on; eight times what its
/// answers take, within these.
const SNUB_SOONEST: Duration = Duration::from_secs(4);
const SNUB_LATEST: Duration = Duration::from_secs(60);

/// A connection to a peer.
#[derive(Debug)]
pub struct Link {
    pub address: SocketAddr,
    pub direction: Direction,
    pub peer_id: PeerId,
    pub features: Features,
    pub culprit: Culprit,
    /// Where it listens, once that is known.
    pub listens_at: Option<SocketAddr>,
    pub hello: Hello,

    /// What it has. Until the metadata is there: what it said first, in `early`.
    pub pieces: Bitfield,
    pub early: Early,
    /// How many pieces it has that we lack.
    pub lacking: u32,

    pub they_choke: bool,
    pub we_want: bool,
    pub asked: VecDeque<Asked>,
    pub window: Window,
    /// Pieces that it has refused to send since it last unchoked us.
    pub refused: BTreeSet<u32>,
    pub refused_at: Time,
    /// Pieces that it sends even while it chokes us (BEP 6).
    pub allowed: BTreeSet<u32>,
    /// The last moment at which it gave what was asked, or was first asked.
    pub answered: Time,
    pub latency: Duration,
    pub snubbed: bool,
    pub received_bytes: u64,

    pub we_choke: bool,
    pub they_want: bool,
    /// When `we_choke` changed.
    pub turned: Time,
    pub queue: VecDeque<Block>,
    /// Bytes that the driver was given and has not reported gone, and since when.
    pub ahead_bytes: u32,
    pub ahead_since: Time,
    /// Bytes sent in its present turn.
    pub turn_bytes: u32,

    /// Addresses that it was told of (BEP 11), and when.
    pub told: BTreeSet<SocketAddr>,
    pub told_at: Option<Time>,
    pub since: Time,
}

/// What a peer says of its pieces before we know how many there are.
#[derive(Debug, Default)]
pub struct Early {
    pub all: bool,
    pub bitfield: Vec<u8>,
    pub haves: Vec<u32>,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub block: Block,
    pub at: Time,
    /// Others may be asked too: this peer is late.
    pub released: bool,
}

impl Link {
    pub fn new(
        now: Time,
        address: SocketAddr,
        direction: Direction,
        peer_id: PeerId,
        features: Features,
        pieces: u32,
    ) -> Link {
        Link {
            address,
            direction,
            peer_id,
            features,
            culprit: Culprit::new(address, peer_id),
            listens_at: (direction == Direction::Outgoing).then_some(address),
            hello: Hello::default(),
            pieces: Bitfield::new(pieces),
            early: Early::default(),
            lacking: 0,
            they_choke: true,
            we_want: false,
            asked: VecDeque::new(),
            window: Window::new(),
            refused: BTreeSet::new(),
            refused_at: now,
            allowed: BTreeSet::new(),
            answered: now,
            latency: Duration::ZERO,
            snubbed: false,
            received_bytes: 0,
            we_choke: true,
            they_want: false,
            turned: now,
            queue: VecDeque::new(),
            ahead_bytes: 0,
            ahead_since: now,
            turn_bytes: 0,
            told: BTreeSet::new(),
            told_at: None,
            since: now,
        }
    }

    /// Was it asked for this block?
    pub fn was_asked(&self, block: Block) -> bool {
        self.asked.iter().any(|asked| asked.block == block)
    }

    /// Takes a request off the list: it is answered, refused or called off.
    pub fn settle(&mut self, block: Block) -> Option<Asked> {
        let place = self.asked.iter().position(|asked| asked.block == block)?;
        self.asked.remove(place)
    }

    /// Has it owed us blocks for too long?
    pub fn is_late(&self, now: Time) -> bool {
        let patience = (self.latency * 8).clamp(SNUB_SOONEST, SNUB_LATEST);
        !self.asked.is_empty() && now.since(self.answered) > patience
    }

    /// An answer took this long: a moving average of eight.
    pub fn measure(&mut self, took: Duration) {
        self.latency = if self.latency.is_zero() { took } else { (self.latency * 7 + took) / 8 };
    }
}
