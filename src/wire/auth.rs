//! Sealing: Noise around the TCP stream and around every UDP datagram, where a key is set.
//!
//! The lesson: a shared key alone makes neither privacy nor freshness. It only proves, to both ends,
//! whom a fresh Diffie-Hellman exchange was made with (the Noise Protocol Framework, revision 34,
//! pattern `NNpsk0`); what seals the traffic comes out of that exchange and dies with its connection or
//! session. On TCP a counter refuses whatever is replayed, dropped or reordered. UDP loses and reorders
//! by itself, so there each datagram names its nonce and a sliding window remembers which were seen
//! (RFC 6479). Sealed traffic goes in an envelope with a checksum of its own: noise on the line is told
//! from forgery, and neither costs memory.
//!
//! What is left out. A HANDSHAKE1 that was recorded earlier is authentic and opens again; the session
//! that it makes can say nothing more, because what follows needs the ephemeral key. Whoever calls
//! [`DatagramResponder`] bounds such sessions. The end of a TCP stream is not sealed: the frames say
//! which of them is the last. Whoever holds the key may play any role. Lengths and times are visible.

mod replay;
mod session;

pub use replay::REPLAY_WINDOW;
pub use session::{
    DatagramInitiator, DatagramResponder, DatagramSeal, ENVELOPE_BYTES, Envelope, Kind, Pending, peek,
};

use super::Defect;
use crate::rng::Rng;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, TransportState};
use std::cell::Cell;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const STREAM_PROLOGUE: &[u8] = b"offload tcp 1";

/// Length of ChaCha20-Poly1305's tag (RFC 8439).
const TAG_BYTES: usize = 16;
/// Length of a handshake message without payload: an ephemeral X25519 key and a tag.
const HANDSHAKE_BYTES: usize = 32 + TAG_BYTES;

// --- what both share ---

/// The default primitives, but chance from a value, so that a simulated run can be had again.
struct Seeded(Cell<Option<Rng>>);

struct Chance(Rng);

impl Random for Chance {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl CryptoResolver for Seeded {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        self.0.take().map(|rng| Box::new(Chance(rng)) as Box<dyn Random>)
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

fn handshake(prologue: &[u8], psk: &[u8; 32], rng: &mut Rng, initiator: bool) -> HandshakeState {
    let chance = Box::new(Seeded(Cell::new(Some(rng.split()))));
    let build = || -> Result<HandshakeState, snow::Error> {
        let builder =
            Builder::with_resolver(PATTERN.parse()?, chance).psk(0, psk)?.prologue(prologue)?;
        if initiator { builder.build_initiator() } else { builder.build_responder() }
    };
    // Nothing here comes from outside: the pattern is a constant whose primitives are compiled in, it
    // needs no static key, and each parameter is set once. So it fails always or never.
    build().expect("the Noise pattern is constant")
}

/// Turns what snow found wrong into what we say: it tells a forger nothing that it did not know.
fn sealed<T>(result: Result<T, snow::Error>) -> Result<T, Defect> {
    result.map_err(|_| Defect::Seal)
}

/// `Debug` that shows no key, for machines that derive theirs.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
use opaque;

// --- TCP ---

/// Most plain bytes in one record.
pub const RECORD_PLAIN_BYTES: usize = 32 << 10;
/// Length of the field before every record: its length, 16 bits.
const LENGTH_BYTES: usize = 2;

/// One end of a sealed TCP connection.
///
/// The stream is a row of records: length (16 bits), then as many bytes. Each side's first record is
/// its handshake message. Holds at most one unfinished record.
pub struct StreamSeal {
    handshake: Option<HandshakeState>,
    transport: Option<TransportState>,
    to_send: Vec<u8>,
    held: Vec<u8>,
    refused: bool,
}

opaque!(StreamSeal);

impl StreamSeal {
    /// The end that connects (the client). It has a handshake message to send at once.
    pub fn initiator(key: &[u8; 32], rng: &mut Rng) -> StreamSeal {
        let mut seal = StreamSeal::new(handshake(STREAM_PROLOGUE, key, rng, true));
        seal.send_handshake();
        seal
    }

    /// The end that accepts (AWS). It has a handshake message to send once the other's has arrived.
    pub fn responder(key: &[u8; 32], rng: &mut Rng) -> StreamSeal {
        StreamSeal::new(handshake(STREAM_PROLOGUE, key, rng, false))
    }

    fn new(handshake: HandshakeState) -> StreamSeal {
        StreamSeal {
            handshake: Some(handshake),
            transport: None,
            to_send: Vec::new(),
            held: Vec::new(),
            refused: false,
        }
    }

    /// Takes the handshake bytes that must be sent before anything sealed; empty where there are none.
    pub fn take_handshake(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_send)
    }

    /// True once the other end has proved that it holds the key as far as this end can know by now:
    /// for the responder, that its first message was made with the key, perhaps long ago. Only the
    /// first record that opens proves that somebody is there who holds it now.
    pub fn is_ready(&self) -> bool {
        self.transport.is_some()
    }

    /// Appends `plain` to `out` as sealed records; nothing where `plain` is empty.
    ///
    /// # Panics
    /// Before [`is_ready`](Self::is_ready): that is for the caller to know.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let transport = self.transport.as_mut().expect("sealed before the handshake was done");
        for plain in plain.chunks(RECORD_PLAIN_BYTES) {
            let (start, length) = (out.len() + LENGTH_BYTES, plain.len() + TAG_BYTES);
            out.extend_from_slice(&(length as u16).to_le_bytes());
            out.resize(start + length, 0);
            // The lengths are right by the lines above; 2^64 records take longer than the Earth has.
            transport.write_message(plain, &mut out[start..]).expect("the record has room");
        }
    }

    /// Takes all of `input` and appends what it opens to `out`.
    ///
    /// # Errors
    /// When a record is none or does not open. Every plain byte in `out` is authentic even then, but
    /// the connection has no way back: drop it. Whatever comes later is refused.
    pub fn open(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Defect> {
        if self.refused {
            return Err(Defect::Seal);
        }
        let opened = self.open_records(input, out);
        self.refused = opened.is_err();
        opened
    }

    fn open_records(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Defect> {
        while !input.is_empty() {
            if self.held.is_empty() {
                // A whole record is opened where it lies.
                let n = self.record_bytes(input)?.filter(|&n| n <= input.len());
                let (record, rest) = input.split_at(n.unwrap_or(input.len()));
                input = rest;
                match n {
                    Some(_) => self.open_record(&record[LENGTH_BYTES..], out)?,
                    None => self.held.extend_from_slice(record),
                }
                continue;
            }
            self.hold(&mut input, LENGTH_BYTES);
            let Some(n) = self.record_bytes(&self.held)? else { break };
            self.hold(&mut input, n);
            if self.held.len() == n {
                let mut held = std::mem::take(&mut self.held);
                self.open_record(&held[LENGTH_BYTES..], out)?;
                held.clear();
                self.held = held;
            }
        }
        Ok(())
    }

    /// Fills `held` up to `want` bytes from `input`.
    fn hold(&mut self, input: &mut &[u8], want: usize) {
        let (head, tail) = input.split_at(want.saturating_sub(self.held.len()).min(input.len()));
        self.held.extend_from_slice(head);
        *input = tail;
    }

    /// The length, with its field, of the record at the front of `bytes`; `None` when it is not there yet.
    fn record_bytes(&self, bytes: &[u8]) -> Result<Option<usize>, Defect> {
        let Some(length) = bytes.first_chunk().map(|&length| u16::from_le_bytes(length)) else {
            return Ok(None);
        };
        let allowed = if self.transport.is_some() {
            TAG_BYTES + 1..=TAG_BYTES + RECORD_PLAIN_BYTES
        } else {
            HANDSHAKE_BYTES..=HANDSHAKE_BYTES
        };
        if !allowed.contains(&usize::from(length)) {
            return Err(Defect::Field { field: "record length", value: u64::from(length) });
        }
        Ok(Some(LENGTH_BYTES + usize::from(length)))
    }

    fn open_record(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), Defect> {
        let Some(transport) = &mut self.transport else {
            return self.read_handshake(record);
        };
        let start = out.len();
        out.resize(start + record.len(), 0);
        let opened = sealed(transport.read_message(record, &mut out[start..]));
        // Bytes that did not open are not the caller's to see.
        out.truncate(start + opened.as_ref().unwrap_or(&0));
        opened.map(|_| ())
    }

    fn read_handshake(&mut self, message: &[u8]) -> Result<(), Defect> {
        let handshake = self.handshake.as_mut().ok_or(Defect::Seal)?;
        sealed(handshake.read_message(message, &mut [0; TAG_BYTES]))?;
        if !handshake.is_handshake_finished() {
            self.send_handshake();
        }
        self.transport = self.handshake.take().and_then(|h| h.into_transport_mode().ok());
        Ok(())
    }

    fn send_handshake(&mut self) {
        let mut message = [0; HANDSHAKE_BYTES];
        let handshake = self.handshake.as_mut().expect("called during the handshake only");
        handshake.write_message(&[], &mut message).expect("it is this end's turn, and there is room");
        self.to_send.extend_from_slice(&(HANDSHAKE_BYTES as u16).to_le_bytes());
        self.to_send.extend_from_slice(&message);
    }
}
