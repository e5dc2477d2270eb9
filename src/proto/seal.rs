//! Plain or sealed, behind one face: where no key is set, datagrams travel as they are.
//!
//! What is left out: the cryptography (`wire::auth`), and when to answer (`aws`, `backend`).

use crate::rng::Rng;
use crate::wire::Defect;
use crate::wire::auth::{DatagramInitiator, DatagramSeal, ENVELOPE_BYTES, Envelope};

/// How much smaller a plain datagram must be where a key is set.
pub fn overhead(key: Option<&[u8; 32]>) -> usize {
    if key.is_some() { ENVELOPE_BYTES } else { 0 }
}

/// AWS's side of opening a session.
#[derive(Debug)]
pub enum Opener {
    /// No key.
    Plain,
    /// The handshake, and what came of it.
    Sealed {
        /// Until HANDSHAKE2 arrives.
        initiator: Box<DatagramInitiator>,
        /// From then on.
        seal: Option<Box<DatagramSeal>>,
    },
}

impl Opener {
    /// From the plain OPEN datagram, the message to send (and to repeat as it is).
    pub fn new(
        key: Option<&[u8; 32]>,
        rng: &mut Rng,
        job: u128,
        (shard, attempt): (u32, u32),
        plain: Vec<u8>,
    ) -> (Opener, Vec<u8>) {
        let Some(key) = key else { return (Opener::Plain, plain) };
        let tag = u64::from(shard) << 32 | u64::from(attempt);
        let mut initiator = Box::new(DatagramInitiator::new(key, rng, job, tag));
        let mut message = Vec::new();
        initiator.open_message(&plain, &mut message);
        (Opener::Sealed { initiator, seal: None }, message)
    }

    /// Opens HANDSHAKE2; the plain ACCEPT datagram is then in `plain`.
    ///
    /// # Errors
    /// When it is not from a holder of the key; the opener goes on as if it had not come.
    pub fn accept(&mut self, envelope: &Envelope<'_>, plain: &mut Vec<u8>) -> Result<(), Defect> {
        match self {
            Opener::Plain => Err(Defect::Seal),
            Opener::Sealed { initiator, seal } => {
                *seal = Some(Box::new(initiator.accept(envelope, plain)?));
                Ok(())
            }
        }
    }

    /// What seals the session from now on; `None` before a sealed ACCEPT has come.
    pub fn take_seal(&mut self) -> Option<Seal> {
        match self {
            Opener::Plain => Some(Seal::Plain),
            Opener::Sealed { seal, .. } => seal.take().map(Seal::Sealed),
        }
    }
}

/// One end of an open session.
#[derive(Debug)]
pub enum Seal {
    /// No key.
    Plain,
    /// Keys of this session.
    Sealed(Box<DatagramSeal>),
}

impl Seal {
    /// One datagram, ready to send.
    pub fn seal(&mut self, plain: Vec<u8>) -> Vec<u8> {
        match self {
            Seal::Plain => plain,
            Seal::Sealed(seal) => {
                let mut out = Vec::with_capacity(plain.len() + ENVELOPE_BYTES);
                seal.seal_into(&plain, &mut out);
                out
            }
        }
    }

    /// Opens a sealed datagram into `plain`.
    ///
    /// # Errors
    /// When it was not sealed by the other end of this session, or came before.
    pub fn open(&mut self, envelope: &Envelope<'_>, plain: &mut Vec<u8>) -> Result<(), Defect> {
        match self {
            Seal::Plain => Err(Defect::Seal),
            Seal::Sealed(seal) => seal.open(envelope, plain),
        }
    }
}
