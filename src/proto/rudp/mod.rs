//! Reliable UDP: numbers to a backend, exactly once, as fast as it can take them.
//!
//! A [`sender::Sender`] cuts numbers into datagrams and keeps each until it is acknowledged; a
//! [`receiver::Receiver`] says which arrivals are new and acknowledges them selectively. Content has a
//! sequence number that stays, each transmission a transmission number that is new: so round trips are
//! never measured ambiguously (RFC 6298's Karn rule has nothing left to do) and loss is seen by order of
//! sending (RFC 9002, section 6.1).
//!
//! What is left out: order. A reduction is commutative, so a datagram is folded when it arrives and the
//! receiver buffers nothing. Opening, closing and liveness belong to `proto::aws` and `proto::backend`.

mod bits;
pub mod congestion;
pub mod receiver;
pub mod rtt;
pub mod sender;

/// What a sender has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams sent, retransmissions included.
    pub datagrams: u64,
    /// Datagrams sent again.
    pub retransmissions: u64,
    /// Bytes sent, headers and retransmissions included.
    pub bytes: u64,
}
