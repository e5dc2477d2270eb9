//! A connection of a torrent, as its driver keeps it.

use super::super::conn::{Reader, Writer};
use super::PeerStatus;
use crate::id::PeerId;
use crate::peer::Conn;
use offload::time::Time;
use rustix::event::PollFlags;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// Such a connection.
pub struct Link {
    pub socket: Arc<TcpStream>,
    /// Away while it is being read from.
    pub reader: Option<Reader>,
    pub writer: Writer,
    /// When bytes came last.
    pub heard: Time,
    /// Blocks were queued since the session heard that all are sent.
    pub owes_drained: bool,
    /// It stands in the queue for the rate limit.
    pub in_line: bool,
    /// Times that it was sent more in this round.
    pub turns: u32,
    address: SocketAddr,
    peer_id: PeerId,
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

impl Link {
    pub fn new(conn: Conn, socket: TcpStream, address: SocketAddr, peer_id: PeerId, now: Time) -> Link {
        Link {
            socket: Arc::new(socket),
            reader: Some(Reader::new(conn)),
            writer: Writer::default(),
            heard: now,
            owes_drained: false,
            in_line: false,
            turns: 0,
            address,
            peer_id,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// What to wait for.
    pub fn interest(&self, may_read: bool) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, may_read);
        interest.set(PollFlags::OUT, (self.owes_drained || !self.writer.is_empty()) && !self.in_line);
        interest
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn status(&self) -> PeerStatus {
        let Link { address, peer_id, received_bytes, sent_bytes, .. } = *self;
        PeerStatus { address, peer_id, received_bytes, sent_bytes }
    }
}
