//! The protocol, as values one feeds: no sockets, no threads, no clocks, no global chance.
//!
//! Client, AWS and backend are each a [`Machine`]. A driver (`io::run` on real sockets, `sim::world`
//! on simulated ones) tells a machine what arrived and what time it is, and asks it what to do:
//!
//! 1. call [`Machine::handle_input`] when something arrives, [`Machine::handle_timeout`] when the
//!    moment of the last [`Output::Wake`] has come;
//! 2. after each of these, call [`Machine::poll_output`] until it returns [`Output::Wake`];
//! 3. before reading a connection, ask [`Machine::room`]; while it is 0, leave the bytes where they are,
//!    so that TCP pushes back;
//! 4. do the work of an [`Output::Map`] elsewhere, and tell the machine of it by [`Input::Mapped`].
//!
//! What is left out: resolving names, files, screens (`Output::Event` carries the lines).

pub mod aws;
pub mod backend;
pub mod client;
pub mod rudp;
mod seal;

use crate::event::Event;
use crate::reduction::Reduction;
use crate::time::Time;
use ethnum::I256;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

/// A TCP connection, as the driver numbers them; numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conn(pub u64);

/// What arrives at a machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A UDP datagram.
    Datagram {
        /// Its source address.
        from: SocketAddr,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// AWS: a client has connected. Client: the connection to AWS stands.
    Opened {
        /// The connection's number.
        conn: Conn,
        /// The far end.
        peer: SocketAddr,
        /// The near end, by `getsockname`.
        local: SocketAddr,
    },
    /// Bytes of a connection, no more than [`Machine::room`] said.
    Stream {
        /// The connection.
        conn: Conn,
        /// Its next bytes.
        bytes: &'a [u8],
    },
    /// All that [`Output::Stream`] gave for this connection is with the kernel.
    Drained {
        /// The connection.
        conn: Conn,
    },
    /// The far end has closed or broken the connection, or it could not be made.
    Closed {
        /// The connection.
        conn: Conn,
        /// Why, where it was not an orderly end.
        error: Option<String>,
    },
    /// Client only: the next numbers of the range that [`Output::Read`] asked for, or why there are none.
    Block(Result<Block, String>),
    /// Backend only: what [`Output::Map`] asked for, or why there is nothing.
    Mapped {
        /// As it was asked for.
        ticket: u64,
        /// The partial result.
        result: Result<I256, String>,
    },
    /// Backend only, before anything else: what [`Output::Keep`] has kept for it, perhaps not the latest.
    Kept(Vec<backend::Kept>),
}

/// Numbers, encoded as DATA frames (`wire::frame::encode_data`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Index of the first number.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// The frames.
    pub frames: Vec<u8>,
}

/// What a machine wants done.
#[derive(Debug)]
pub enum Output<'a> {
    /// Send these bytes as datagrams of `segment` bytes each (the last may be shorter), in one system
    /// call where the kernel can.
    Datagrams {
        /// Where to.
        to: SocketAddr,
        /// One or more datagrams back to back.
        bytes: &'a [u8],
        /// The size of each.
        segment: usize,
    },
    /// Append to what is to be written to this connection.
    Stream {
        /// The connection.
        conn: Conn,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Write what is left, then end the connection without losing it; ignore what still comes.
    Close {
        /// The connection.
        conn: Conn,
    },
    /// Client only: read these numbers, a [`Block`] each time the connection is drained.
    Read {
        /// Indices.
        rows: Range<u64>,
    },
    /// Client only: read no more of a range that [`Output::Read`] asked for.
    Unread {
        /// As it was asked for.
        rows: Range<u64>,
    },
    /// Backend only: map these rows of the dataset, which may take its time, and answer by [`Input::Mapped`].
    Map {
        /// Names the answer; never used again.
        ticket: u64,
        /// Indices; never empty.
        rows: Range<u64>,
        /// By what.
        reduction: Arc<dyn Reduction>,
    },
    /// Backend only: that answer is no longer wanted.
    Unmap {
        /// Whose.
        ticket: u64,
    },
    /// Backend only: keep this for a process that is started after this one has died; no longer what was kept
    /// of this job before.
    Keep {
        /// The job's ID.
        job: u128,
        /// How far it is; `None` where nothing of it is to be kept.
        kept: Option<backend::Kept>,
    },
    /// Something to show or to write down.
    Event(Event),
    /// Nothing more for now. Call `handle_timeout` at this moment if nothing arrives before.
    Wake(Option<Time>),
}

/// A participant of the protocol. The call order is in the module's documentation.
pub trait Machine {
    /// Takes in what has arrived.
    fn handle_input(&mut self, now: Time, input: Input<'_>);
    /// Takes in that time has passed. Harmless when called early.
    fn handle_timeout(&mut self, now: Time);
    /// The next thing to do; [`Output::Wake`] ends the round.
    fn poll_output(&mut self, now: Time) -> Output<'_>;
    /// How many bytes of this connection it would take now.
    fn room(&self, conn: Conn) -> usize;
    /// Jobs in progress: 0 when idle. The simulator checks that it comes back to 0.
    fn jobs(&self) -> usize;
}
