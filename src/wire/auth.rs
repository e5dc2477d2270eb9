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
use snow::resolvers::{CryptoResolver, DefaultResolver, RingResolver};
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

/// snow's primitives, but chance from a value, so that a simulated run can be had again.
///
/// The cipher is ring's: snow's default one takes 3 times as long over datagrams of 1,472 bytes, which
/// is what travels where a key is set (0.52 and 1.57 GB/s on one core of a Zen 4).
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
        RingResolver.resolve_cipher(choice)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [7; 32];

    /// A connection whose handshake is done: client, AWS.
    fn connection(seed: u64) -> (StreamSeal, StreamSeal) {
        let (mut client, mut aws) = ends(seed, &KEY, &KEY);
        let mut none = Vec::new();
        aws.open(&client.take_handshake(), &mut none).unwrap();
        client.open(&aws.take_handshake(), &mut none).unwrap();
        assert!(client.is_ready() && aws.is_ready() && none.is_empty());
        (client, aws)
    }

    fn ends(seed: u64, client: &[u8; 32], aws: &[u8; 32]) -> (StreamSeal, StreamSeal) {
        let mut rng = Rng::from_seed(seed);
        (StreamSeal::initiator(client, &mut rng), StreamSeal::responder(aws, &mut rng))
    }

    fn sealed_by(end: &mut StreamSeal, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        end.seal(plain, &mut out);
        out
    }

    #[test]
    fn both_directions_carry_any_length() {
        let (mut client, mut aws) = connection(1);
        for n in [0, 1, RECORD_PLAIN_BYTES, RECORD_PLAIN_BYTES + 1, 3 * RECORD_PLAIN_BYTES + 5] {
            let plain: Vec<u8> = (0..n).map(|i| i as u8).collect();
            let (mut there, mut back) = (b"kept".to_vec(), Vec::new());
            aws.open(&sealed_by(&mut client, &plain), &mut there).unwrap();
            assert_eq!((&there[..4], &there[4..]), (&b"kept"[..], &plain[..]));
            client.open(&sealed_by(&mut aws, &plain), &mut back).unwrap();
            assert_eq!(back, plain);
        }
    }

    #[test]
    fn the_stream_may_be_cut_at_every_byte() {
        for step in 1..120 {
            let (mut client, mut aws) = ends(1, &KEY, &KEY);
            let mut out = Vec::new();
            let first = client.take_handshake();
            first.chunks(step).for_each(|part| aws.open(part, &mut out).unwrap());
            // AWS's first records follow its handshake message at once.
            let mut bytes = aws.take_handshake();
            aws.seal(b"asked", &mut bytes);
            aws.seal(b" again", &mut bytes);
            assert!(!client.is_ready());
            bytes.chunks(step).for_each(|part| client.open(part, &mut out).unwrap());
            assert!(client.is_ready() && client.held.is_empty());
            assert_eq!(out, b"asked again", "step {step}");
        }
    }

    #[test]
    fn a_wrong_key_on_either_side_ends_it_at_the_first_message() {
        for (client, aws) in [(&KEY, &[8; 32]), (&[8; 32], &KEY)] {
            let (mut client, mut aws) = ends(1, client, aws);
            let mut out = Vec::new();
            assert_eq!(aws.open(&client.take_handshake(), &mut out), Err(Defect::Seal));
            assert!(!aws.is_ready() && aws.take_handshake().is_empty() && out.is_empty());
        }
        // An AWS that cannot know the key cannot answer either.
        let (mut client, _) = ends(1, &KEY, &KEY);
        let (mut forger, mut aws) = ends(2, &[8; 32], &[8; 32]);
        aws.open(&forger.take_handshake(), &mut Vec::new()).unwrap();
        assert_eq!(client.open(&aws.take_handshake(), &mut Vec::new()), Err(Defect::Seal));
        assert!(!client.is_ready());
    }

    #[test]
    fn a_handshake_of_the_other_transport_does_not_open() {
        let mut udp = StreamSeal::new(handshake(b"offload udp 1", &KEY, &mut Rng::from_seed(1), true));
        udp.send_handshake();
        let (_, mut aws) = ends(2, &KEY, &KEY);
        assert_eq!(aws.open(&udp.take_handshake(), &mut Vec::new()), Err(Defect::Seal));
    }

    #[test]
    fn no_bit_of_handshake_or_record_may_change() {
        let (mut client, mut aws) = ends(1, &KEY, &KEY);
        let first = client.take_handshake();
        aws.open(&first, &mut Vec::new()).unwrap();
        client.open(&aws.take_handshake(), &mut Vec::new()).unwrap();
        let record = sealed_by(&mut client, b"12");
        for bit in 0..(first.len() + record.len()) * 8 {
            let (mut client, mut aws) = ends(1, &KEY, &KEY);
            let mut bytes = [client.take_handshake(), record.clone()].concat();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for bytes, so some are there: then it does not open.
            bytes.extend_from_slice(&[0; RECORD_PLAIN_BYTES + TAG_BYTES]);
            let mut out = Vec::new();
            assert!(aws.open(&bytes, &mut out).is_err(), "bit {bit}");
            assert!(out.is_empty(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_that_is_replayed_dropped_or_reflected_ends_the_stream() {
        let records = |client: &mut StreamSeal| [sealed_by(client, b"one"), sealed_by(client, b"two")];
        for order in [[0, 0], [1, 0], [1, 1]] {
            let (mut client, mut aws) = connection(1);
            let records = records(&mut client);
            let mut out = Vec::new();
            let bytes = order.map(|i| records[i].clone()).concat();
            assert_eq!(aws.open(&bytes, &mut out), Err(Defect::Seal));
            assert_eq!(out, if order[0] == 0 { &b"one"[..] } else { b"" });
            assert_eq!(aws.open(&records[1], &mut out), Err(Defect::Seal), "no way back");
        }
        let (mut client, _) = connection(1);
        let [own, _] = records(&mut client);
        assert_eq!(client.open(&own, &mut Vec::new()), Err(Defect::Seal));
    }

    #[test]
    fn a_recorded_connection_cannot_be_played_again() {
        let (mut client, mut aws) = ends(1, &KEY, &KEY);
        let first = client.take_handshake();
        aws.open(&first, &mut Vec::new()).unwrap();
        client.open(&aws.take_handshake(), &mut Vec::new()).unwrap();
        let record = sealed_by(&mut client, b"offload this");
        let (_, mut later) = ends(2, &KEY, &KEY);
        let mut out = Vec::new();
        later.open(&first, &mut out).unwrap();
        assert_eq!((later.open(&record, &mut out), out), (Err(Defect::Seal), vec![]));
    }

    #[test]
    fn a_length_that_no_record_has_is_refused_before_its_bytes_come() {
        let refused = |seal: &mut StreamSeal, length: usize| {
            let bytes = (length as u16).to_le_bytes();
            let value = length as u64;
            let defect = Err(Defect::Field { field: "record length", value });
            assert_eq!(seal.open(&bytes[..1], &mut Vec::new()), Ok(()));
            assert_eq!(seal.open(&bytes[1..], &mut Vec::new()), defect);
        };
        for length in [0, TAG_BYTES, TAG_BYTES + RECORD_PLAIN_BYTES + 1, 65535] {
            refused(&mut connection(1).1, length);
        }
        for length in [0, HANDSHAKE_BYTES - 1, HANDSHAKE_BYTES + 1, 65535] {
            refused(&mut ends(1, &KEY, &KEY).1, length);
        }
    }

    #[test]
    fn a_truncated_record_gives_nothing_and_is_no_error() {
        let (mut client, mut aws) = connection(1);
        let record = sealed_by(&mut client, b"number");
        let mut out = Vec::new();
        aws.open(&record[..record.len() - 1], &mut out).unwrap();
        assert!(out.is_empty());
        aws.open(&record[record.len() - 1..], &mut out).unwrap();
        assert_eq!(out, b"number");
    }

    #[test]
    fn a_seed_replays_every_byte() {
        let bytes = |seed| {
            let (mut client, mut aws) = ends(seed, &KEY, &KEY);
            let first = client.take_handshake();
            aws.open(&first, &mut Vec::new()).unwrap();
            let second = aws.take_handshake();
            [first, second, sealed_by(&mut aws, b"same")]
        };
        assert_eq!(bytes(1), bytes(1));
        assert!(bytes(1).iter().zip(&bytes(2)).all(|(a, b)| a != b));
    }

    #[test]
    #[should_panic(expected = "before the handshake was done")]
    fn sealing_before_the_handshake_is_our_own_fault() {
        ends(1, &KEY, &KEY).0.seal(b"early", &mut Vec::new());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(
            length in prop_oneof![Just(48u16), 0u16..100, any::<u16>()],
            bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..60,
        ) {
            let whole = [&length.to_le_bytes()[..], &bytes].concat();
            for seal in [ends(1, &KEY, &KEY), connection(1)].into_iter().flat_map(|(a, b)| [a, b]) {
                let (mut seal, mut out) = (seal, Vec::new());
                whole.chunks(step).for_each(|part| drop(seal.open(part, &mut out)));
                prop_assert!(out.is_empty());
                prop_assert!(seal.held.len() <= LENGTH_BYTES + TAG_BYTES + RECORD_PLAIN_BYTES);
            }
        }
    }
}
