//! One end of a connection, and what it sends: an ordered stream of messages and blocks.

use super::disk::Bytes;
use crate::geometry::Block;
use crate::limits::BLOCK_BYTES;
use crate::wire::message::Message;
use offload::time::Time;
use std::collections::VecDeque;

/// Of one connection, so much is under way at most: what TCP's window does.
pub(super) const WINDOW_BYTES: u64 = 256 << 10;
/// A host's downlink holds so much back; then its senders wait.
pub(super) const DOWNLINK_BYTES: u64 = 256 << 10;
/// Blocks that wait in the kernel: with so much or less, the session is told that it may send more.
pub(super) const KERNEL_BYTES: u64 = BLOCK_BYTES as u64;
/// Small messages that are sent in one go.
pub(super) const GO_BYTES: u64 = BLOCK_BYTES as u64;
/// What precedes a block's bytes on the wire.
const PIECE_HEADER_BYTES: u64 = 13;

/// What a stream carries.
#[derive(Debug)]
pub(super) enum Item {
    /// A message, PIECE left out.
    Message(Message),
    /// A PIECE.
    Block(Block, Bytes),
}

impl Item {
    /// Its bytes on the wire.
    pub(super) fn length(&self) -> u64 {
        match self {
            Item::Message(message) => message.encoded_len() as u64,
            Item::Block(block, _) => PIECE_HEADER_BYTES + u64::from(block.length),
        }
    }
}

/// Why an end is not served although it has something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Too much of it is under way.
    Window,
    /// The receiver's downlink is full.
    Downlink,
    /// Nothing passes between the two hosts.
    Cut,
}

/// One end of a connection; the other's number differs in the lowest bit.
#[derive(Debug)]
pub(super) struct End {
    pub(super) node: u32,
    /// Of which run of the node's process.
    pub(super) life: u32,
    /// The session was told of it, and neither side's end of it has been.
    pub(super) open: bool,
    /// The first `flying` are under way, the others wait for the uplink.
    pub(super) items: VecDeque<Item>,
    pub(super) flying: usize,
    /// Bytes of blocks that wait.
    pub(super) waiting_bytes: u64,
    pub(super) flying_bytes: u64,
    /// It is among those that the uplink serves in turn.
    pub(super) ready: bool,
    pub(super) held: Option<Held>,
    /// Blocks were sent since the session was last told that it may send more.
    pub(super) owed: bool,
    /// The receiver wants the block whose header has come.
    pub(super) kept: bool,
    /// When the last thing that was sent arrives.
    pub(super) last: Time,
    /// The other end has hung up, and a partition keeps it from us.
    pub(super) late: bool,
}

impl End {
    pub(super) fn new(node: u32, life: u32) -> End {
        End {
            node,
            life,
            open: false,
            items: VecDeque::new(),
            flying: 0,
            waiting_bytes: 0,
            flying_bytes: 0,
            ready: false,
            held: None,
            owed: false,
            kept: false,
            last: Time::ZERO,
            late: false,
        }
    }

    /// Nothing more is sent; what is under way arrives.
    pub(super) fn shut(&mut self) {
        self.open = false;
        self.items.truncate(self.flying);
        self.items.shrink_to_fit();
        (self.waiting_bytes, self.owed, self.held) = (0, false, None);
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.items.len() > self.flying
    }

    /// The next to be sent in one go: so many messages, their bytes, and the block behind them.
    pub(super) fn next(&self) -> (usize, u64, Option<Block>) {
        let (mut count, mut bytes) = (0, 0);
        for item in self.items.range(self.flying..) {
            if let Item::Block(block, _) = item {
                return (count, bytes, Some(*block));
            }
            if bytes >= GO_BYTES {
                break;
            }
            (count, bytes) = (count + 1, bytes + item.length());
        }
        (count, bytes, None)
    }
}
