//! Forged and repeated datagrams: noise, well-formed lies, and true ones again, late or elsewhere.
//!
//! The liar here may have seen any datagram but cannot invent a session's secret: what it makes up has
//! a session of its own. What is left out: who changes what he sees and mends the checksum, or takes an
//! OPEN to a backend that it is not for and brings the refusal back, which ends the job.

use super::{Happening, Observer, World};
use crate::rng::Rng;
use crate::wire::auth;
use crate::wire::datagram::{self, Ack, Body, Header};

impl<O: Observer> World<O> {
    /// Slips one in, among those whom datagrams have reached so far.
    pub(super) fn forge(&mut self) {
        if self.history.is_empty() {
            return;
        }
        let mut pick = || self.rng.below(self.history.len() as u64) as usize;
        let (one, other) = (pick(), pick());
        let (from, to, seen) = self.history[one].clone();
        let (from, to, bytes) = match self.rng.below(7) {
            0 => (from, to, noise(&mut self.rng)),
            1 => (from, to, lie(None, &mut self.rng)),
            2 => {
                let job = datagram::decode(&seen).ok().map(|(header, _)| header.job);
                (from, to, lie(job, &mut self.rng))
            }
            // What somebody said, put into another's mouth; the sender's own words come back to it.
            3 if !is_open(&seen) => (self.history[other].0, to, seen),
            4 => (to, from, seen),
            5 if !is_open(&seen) => (from, self.history[other].1, seen),
            _ => (from, to, seen),
        };
        self.at(self.now, Happening::Datagram { from, to, bytes });
    }
}

fn is_open(bytes: &[u8]) -> bool {
    let is_sealed = auth::peek(bytes).is_ok_and(|envelope| envelope.kind == auth::Kind::Handshake1);
    is_sealed || matches!(datagram::decode(bytes), Ok((_, Body::Open { .. } | Body::OpenRows { .. })))
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0; rng.below(300) as usize];
    rng.fill(&mut bytes);
    bytes
}

/// A sound datagram about `job`, or a job of its own, in a session of its own.
fn lie(job: Option<u128>, rng: &mut Rng) -> Vec<u8> {
    let header = Header { job: job.unwrap_or_else(|| rng.u128()), session: rng.u64() | 1 };
    let (a, b, count) = (rng.below(50), rng.below(50), rng.below(2000));
    let mut raw = [0; 64];
    rng.fill(&mut raw);
    let body = match rng.below(8) {
        0 => Body::Ack(Ack { next: a, largest_tx: b, credit: rng.u64(), delay_us: 0, bitmap: &raw }),
        1 => Body::Data { width: 8, ack_requested: true, seq: a, tx: b, numbers: &raw },
        2 => Body::Ping { tx: b },
        3 => Body::Result { count, value: ethnum::I256::from(rng.u64()) },
        4 => Body::Done,
        5 => Body::Closed,
        6 => Body::Gone,
        _ => Body::Abort { reason: "forged".into() },
    };
    let mut bytes = Vec::new();
    datagram::encode(header, &body, &mut bytes);
    bytes
}
