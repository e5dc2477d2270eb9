//! A peer's part in one torrent, as a value one feeds: no sockets, no threads, no clocks, no global chance.
//!
//! A driver (`io` on real sockets, `sim` on simulated ones) tells a [`Session`] what arrived and what time
//! it is, and asks it what to do:
//!
//! 1. call [`Session::handle_input`] when something arrives, [`Session::handle_timeout`] when the moment of
//!    the last [`Output::Wake`] has come;
//! 2. after each of these, call [`Session::poll_output`] until it returns [`Output::Wake`].
//!
//! The driver exchanges handshakes (they say which session a connection belongs to), keeps the bytes of
//! pieces that are begun, hashes them, writes them in place once they are verified, and reads what is to be
//! served. The session never sees a byte of content. What is left out: which tracker, how to reach it.

mod announce;
mod blame;
mod book;
mod download;
mod link;
mod meet;
mod metadata;
mod picker;
mod session;
mod superseed;
mod upload;
mod window;

pub use session::Session;

#[cfg(test)]
mod tests;

use crate::bitfield::Bitfield;
use crate::geometry::{Block, Geometry};
use crate::id::PeerId;
use crate::wire::handshake::Features;
use crate::wire::message::Message;
use offload::time::Time;
use std::net::SocketAddr;
use std::time::Duration;

/// A connection, as the driver numbers them; numbers are never used again, not even by another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We did; its address is the one the peer listens at.
    Outgoing,
    /// The peer did, from any port.
    Incoming,
}

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A tracker's answer.
    Tracker,
    /// Another peer (BEP 11).
    Exchange,
    /// A multicast on the local network (BEP 14).
    Discovery,
    /// The user, or a magnet link.
    Given,
}

/// What a session is about.
#[derive(Clone, Debug)]
pub struct Torrent {
    /// BEP 27: peers come from its trackers only.
    pub private: bool,
    /// Its cut; `None` for a magnet link, until the metadata has come.
    pub content: Option<Content>,
}

/// A torrent whose metadata is known.
#[derive(Clone, Debug)]
pub struct Content {
    /// How it is cut.
    pub geometry: Geometry,
    /// The pieces that are verified and in place.
    pub have: Bitfield,
    /// The pieces that are wanted; all of them, as a rule.
    pub wanted: Bitfield,
    /// The info dictionary, for peers that came by a magnet link (BEP 9).
    pub metadata: Vec<u8>,
}

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name.
    pub peer_id: PeerId,
    /// Where we listen, told to trackers and peers.
    pub port: u16,
    /// Peers that are served at once; others wait their turn.
    pub upload_slots: usize,
    /// Connections at most.
    pub max_connections: usize,
    /// BEP 16: show each peer only what others lack. For a first seeder.
    pub super_seed: bool,
}

/// What arrives at a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// Addresses to try.
    Peers {
        /// Who named them.
        source: Source,
        /// Where they listen.
        addresses: &'a [SocketAddr],
    },
    /// Handshakes were exchanged for this torrent.
    Opened {
        /// The connection's number.
        conn: Conn,
        /// The far end.
        address: SocketAddr,
        /// Who opened it.
        direction: Direction,
        /// What the peer calls itself.
        peer_id: PeerId,
        /// What both ends can do.
        features: Features,
    },
    /// What [`Output::Connect`] asked for did not come about.
    ConnectFailed {
        /// Where to.
        address: SocketAddr,
    },
    /// A message, PIECE left out.
    Message {
        /// The connection.
        conn: Conn,
        /// The message.
        message: Message,
    },
    /// A PIECE has arrived whole. The driver keeps its bytes if [`Session::expects`] said so when its header
    /// came, and has thrown them away if not; `kept` says which.
    Block {
        /// The connection.
        conn: Conn,
        /// Which bytes.
        block: Block,
        /// Does the driver have them?
        kept: bool,
    },
    /// All that was to be sent on this connection is with the kernel; more blocks may follow.
    Drained {
        /// The connection.
        conn: Conn,
    },
    /// The connection is gone.
    Closed {
        /// The connection.
        conn: Conn,
    },
    /// What [`Output::Verify`] asked for. A good piece is in place, a bad one's bytes are gone.
    Verified {
        /// The piece.
        piece: u32,
        /// Does its hash agree?
        good: bool,
        /// Where asked for: a digest of each of its blocks.
        digests: Vec<u64>,
    },
    /// A tracker has answered, or none has: then `None`.
    Announced(Option<Announced>),
    /// What [`Output::Metadata`] carried was found sound, and nothing or something of it is on disk already.
    Content(Box<Content>),
    /// What [`Output::Metadata`] carried was not what the info-hash names.
    MetadataRefused,
}

/// A tracker's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// When to ask again.
    pub interval: Duration,
    /// Who else is there.
    pub peers: Vec<SocketAddr>,
}

/// Why a tracker is told of us (BEP 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnounceEvent {
    /// For the first time.
    Started,
    /// The last piece is in place, and it was not at the start.
    Completed,
    /// We leave.
    Stopped,
    /// Time has passed, or we lack peers.
    Regular,
}

/// What a session wants done.
#[derive(Debug)]
pub enum Output {
    /// Open a connection and exchange handshakes.
    Connect {
        /// Where to.
        address: SocketAddr,
    },
    /// Send this.
    Message {
        /// The connection.
        conn: Conn,
        /// The message.
        message: Message,
    },
    /// Send a PIECE with these bytes, after all messages before it. [`Input::Drained`] is awaited before more
    /// than a few follow.
    Block {
        /// The connection.
        conn: Conn,
        /// Which bytes.
        block: Block,
    },
    /// All blocks of this piece were kept: hash it, put it in place if it is good, drop it if not.
    Verify {
        /// The piece.
        piece: u32,
        /// Give digests of its blocks too, so that a liar can be told from honest peers.
        digests: bool,
    },
    /// Drop what is kept of this piece.
    Forget {
        /// The piece.
        piece: u32,
    },
    /// The metadata of a magnet link, unverified: answer with `Content` or `MetadataRefused`.
    Metadata {
        /// An info dictionary, it is said.
        bytes: Vec<u8>,
    },
    /// Ask a tracker.
    Announce {
        /// Why.
        event: AnnounceEvent,
        /// How much is left and was moved.
        progress: Progress,
    },
    /// Tell the local network of us (BEP 14).
    Discover,
    /// Close this connection.
    Close {
        /// The connection.
        conn: Conn,
        /// Why, for the log.
        reason: &'static str,
    },
    /// Something a person may want to know.
    Event(Event),
    /// Nothing more for now. Call `handle_timeout` at this moment if nothing arrives before.
    Wake(Option<Time>),
}

/// What a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A verified piece is in place.
    Piece {
        /// Its index.
        piece: u32,
    },
    /// Every wanted piece is in place.
    Complete,
    /// A peer sent bytes that are not what the hash names, and is not spoken to again.
    Banned {
        /// Its address.
        address: SocketAddr,
    },
}

/// How far a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of content received, the useless ones too.
    pub downloaded_bytes: u64,
    /// Bytes of content sent.
    pub uploaded_bytes: u64,
    /// Bytes of wanted pieces that are not in place; all bytes while the metadata is not there.
    pub left_bytes: u64,
    /// Bytes that were received in vain: not asked for, a second time, or of bad pieces.
    pub wasted_bytes: u64,
    /// Connections that stand.
    pub connections: usize,
}
