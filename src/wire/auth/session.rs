//! Sessions between AWS and a backend: a handshake in two datagrams, then sealed ones.
//!
//! The lesson: what comes from nobody yet must be refused with what is there already. A backend's
//! handshake state is built ahead, its key is derived from the header that the message claims, and the
//! message is opened on the stack; only one that was made with the key, for that job and attempt, gets
//! memory. What is left out: when to send again, and how many sessions to keep (`proto`).

use super::replay::ReplayWindow;
use super::{HANDSHAKE_BYTES, TAG_BYTES, handshake, opaque, sealed};
use crate::rng::Rng;
use crate::wire::{Defect, datagram::checksum};
use byteorder::{ByteOrder, LE};
use snow::params::HashChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::Hash;
use snow::{HandshakeState, StatelessTransportState};

const PROLOGUE: &[u8] = b"offload udp 1";
const MAGIC: u16 = u16::from_le_bytes(*b"oS");
/// Length of an envelope's header.
const HEADER_BYTES: usize = 32;
/// What sealing adds to a datagram: header and tag.
pub const ENVELOPE_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// Most bytes of the plain datagram in a handshake: OPEN has 64, ACCEPT 48.
const HANDSHAKE_PLAIN_BYTES: usize = 256;

/// What an envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// AWS's handshake message with OPEN in it. The nonce is the attempt.
    Handshake1 = 1,
    /// The backend's, with ACCEPT in it. The nonce is the attempt.
    Handshake2 = 2,
    /// Any other datagram, under the session's keys. The nonce counts up from 0 in each direction.
    Sealed = 3,
}

/// A sound envelope, not opened yet: whose it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What it holds.
    pub kind: Kind,
    /// The job's ID.
    pub job: u128,
    /// See [`Kind`].
    pub nonce: u64,
    /// A Noise message.
    pub body: &'a [u8],
}

/// Checks that the bytes are sound (length, magic, CRC32C, kind). Allocates nothing.
///
/// # Errors
/// When they are not an envelope.
pub fn peek(bytes: &[u8]) -> Result<Envelope<'_>, Defect> {
    if bytes.len() < ENVELOPE_BYTES {
        return Err(Defect::Short { what: "a sealed datagram", bytes: bytes.len() });
    }
    if LE::read_u16(bytes) != MAGIC {
        return Err(Defect::Foreign([bytes[0], bytes[1], bytes[2], bytes[3]]));
    }
    if LE::read_u32(&bytes[4..]) != checksum(bytes) {
        return Err(Defect::Checksum);
    }
    if bytes[3] != 0 {
        return Err(Defect::Field { field: "flags", value: u64::from(bytes[3]) });
    }
    let kind = match bytes[2] {
        1 => Kind::Handshake1,
        2 => Kind::Handshake2,
        3 => Kind::Sealed,
        other => return Err(Defect::Field { field: "kind", value: u64::from(other) }),
    };
    let (job, nonce) = (LE::read_u128(&bytes[8..]), LE::read_u64(&bytes[24..]));
    Ok(Envelope { kind, job, nonce, body: &bytes[HEADER_BYTES..] })
}

/// Appends an envelope whose body of `body_bytes` bytes `fill` writes.
fn put_envelope(
    out: &mut Vec<u8>,
    (kind, job, nonce): (Kind, u128, u64),
    body_bytes: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, snow::Error>,
) {
    let start = out.len();
    out.resize(start + HEADER_BYTES + body_bytes, 0);
    let envelope = &mut out[start..];
    let written = fill(&mut envelope[HEADER_BYTES..]);
    // What our own side writes fails only by our own fault; a half-written datagram must not leave.
    assert_eq!(written, Ok(body_bytes), "an envelope is written whole");
    LE::write_u16(envelope, MAGIC);
    envelope[2] = kind as u8;
    envelope[3] = 0;
    LE::write_u128(&mut envelope[8..], job);
    LE::write_u64(&mut envelope[24..], nonce);
    let sum = checksum(envelope);
    LE::write_u32(&mut envelope[4..], sum);
}

/// Opens a handshake message into `out`; neither `out` nor memory is touched unless it opens.
fn read_handshake(
    handshake: &mut HandshakeState,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Defect> {
    let mut plain = [0; HANDSHAKE_PLAIN_BYTES + TAG_BYTES];
    if envelope.body.len() > HANDSHAKE_BYTES + HANDSHAKE_PLAIN_BYTES {
        return Err(Defect::Field { field: "handshake bytes", value: envelope.body.len() as u64 });
    }
    // snow takes back what a message that fails has changed, so the state goes on waiting for a true one.
    let n = sealed(handshake.read_message(envelope.body, &mut plain))?;
    out.clear();
    out.extend_from_slice(&plain[..n]);
    Ok(())
}

/// Derives the key of one attempt of one job, so that a handshake under another header does not open.
struct JobKeys {
    key: [u8; 32],
    hash: Box<dyn Hash>,
}

impl JobKeys {
    fn new(key: &[u8; 32]) -> JobKeys {
        // BLAKE2s is compiled in: the pattern needs it too.
        let hash = DefaultResolver.resolve_hash(&HashChoice::Blake2s).expect("BLAKE2s is there");
        JobKeys { key: *key, hash }
    }

    /// HMAC-BLAKE2s of the prologue, the job's ID and the attempt.
    fn derive(&mut self, job: u128, attempt: u64) -> [u8; 32] {
        const LABEL: usize = PROLOGUE.len();
        let (mut data, mut derived) = ([0; LABEL + 24], [0; 32]);
        data[..LABEL].copy_from_slice(PROLOGUE);
        LE::write_u128(&mut data[LABEL..], job);
        LE::write_u64(&mut data[LABEL + 16..], attempt);
        self.hash.hmac(&self.key, &data, &mut derived);
        derived
    }
}

/// AWS's side of a session's handshake: one attempt at one shard.
pub struct DatagramInitiator {
    handshake: Option<HandshakeState>,
    job: u128,
    attempt: u64,
}

impl DatagramInitiator {
    /// A fresh handshake. `attempt` must tell apart all handshakes of this job (shards too).
    pub fn new(key: &[u8; 32], rng: &mut Rng, job: u128, attempt: u64) -> DatagramInitiator {
        let key = JobKeys::new(key).derive(job, attempt);
        let handshake = Some(handshake(PROLOGUE, &key, rng, true));
        DatagramInitiator { handshake, job, attempt }
    }

    /// Replaces `out` with HANDSHAKE1 around the plain datagram OPEN. Send it again as it is until
    /// HANDSHAKE2 comes.
    ///
    /// # Panics
    /// When called twice, or with more than 256 bytes.
    pub fn open_message(&mut self, plain_open: &[u8], out: &mut Vec<u8>) {
        assert!(plain_open.len() <= HANDSHAKE_PLAIN_BYTES, "OPEN is a small datagram");
        let handshake = self.handshake.as_mut().filter(|h| h.is_my_turn());
        let handshake = handshake.expect("a handshake is opened once");
        out.clear();
        let header = (Kind::Handshake1, self.job, self.attempt);
        put_envelope(out, header, HANDSHAKE_BYTES + plain_open.len(), |body| {
            handshake.write_message(plain_open, body)
        });
    }

    /// Takes HANDSHAKE2, replaces `out` with the plain datagram ACCEPT in it, and makes the session.
    ///
    /// # Errors
    /// When it is another's, forged, or comes a second time. Nothing has changed then: the true one is
    /// still accepted.
    pub fn accept(
        &mut self,
        envelope: &Envelope<'_>,
        out: &mut Vec<u8>,
    ) -> Result<DatagramSeal, Defect> {
        let ours = (Kind::Handshake2, self.job, self.attempt);
        if (envelope.kind, envelope.job, envelope.nonce) != ours {
            return Err(Defect::Seal);
        }
        read_handshake(self.handshake.as_mut().ok_or(Defect::Seal)?, envelope, out)?;
        let handshake = self.handshake.take().ok_or(Defect::Seal)?;
        DatagramSeal::new(handshake, self.job)
    }
}

/// A backend's side of all handshakes. It keeps one state built ahead, so that a forged HANDSHAKE1
/// costs no memory.
pub struct DatagramResponder {
    keys: JobKeys,
    rng: Rng,
    ahead: HandshakeState,
}

impl DatagramResponder {
    /// One per backend process.
    pub fn new(key: &[u8; 32], rng: &mut Rng) -> DatagramResponder {
        let mut rng = rng.split();
        // This key is replaced before every message by that of the message's job and attempt.
        let ahead = handshake(PROLOGUE, key, &mut rng, false);
        DatagramResponder { keys: JobKeys::new(key), rng, ahead }
    }

    /// Takes HANDSHAKE1 and replaces `out` with the plain datagram OPEN in it.
    ///
    /// One that AWS repeats opens again: look whether its job and attempt have a session already, and
    /// if so drop the [`Pending`] and send that session's HANDSHAKE2 again.
    ///
    /// # Errors
    /// When it is forged, or was made for another job or attempt. Nothing was allocated by then.
    pub fn read_open(&mut self, envelope: &Envelope<'_>, out: &mut Vec<u8>) -> Result<Pending, Defect> {
        let (job, attempt) = (envelope.job, envelope.nonce);
        if envelope.kind != Kind::Handshake1 {
            return Err(Defect::Seal);
        }
        sealed(self.ahead.set_psk(0, &self.keys.derive(job, attempt)))?;
        read_handshake(&mut self.ahead, envelope, out)?;
        let next = handshake(PROLOGUE, &self.keys.key, &mut self.rng, false);
        Ok(Pending { handshake: std::mem::replace(&mut self.ahead, next), job, attempt })
    }
}

/// A session that AWS has asked for and the backend has not answered yet.
pub struct Pending {
    handshake: HandshakeState,
    job: u128,
    attempt: u64,
}

impl Pending {
    /// Replaces `out` with HANDSHAKE2 around the plain datagram ACCEPT, and makes the session. Keep
    /// `out`, to send it again when AWS repeats its HANDSHAKE1.
    ///
    /// # Panics
    /// With more than 256 bytes.
    pub fn accept(mut self, plain_accept: &[u8], out: &mut Vec<u8>) -> DatagramSeal {
        assert!(plain_accept.len() <= HANDSHAKE_PLAIN_BYTES, "ACCEPT is a small datagram");
        out.clear();
        let header = (Kind::Handshake2, self.job, self.attempt);
        put_envelope(out, header, HANDSHAKE_BYTES + plain_accept.len(), |body| {
            self.handshake.write_message(plain_accept, body)
        });
        // The second of two messages was just written, so the handshake is finished.
        DatagramSeal::new(self.handshake, self.job).expect("the handshake is finished")
    }
}

/// One end of a session: seals and opens its datagrams.
pub struct DatagramSeal {
    transport: StatelessTransportState,
    job: u128,
    next_nonce: u64,
    window: ReplayWindow,
}

impl DatagramSeal {
    fn new(handshake: HandshakeState, job: u128) -> Result<DatagramSeal, Defect> {
        let transport = sealed(handshake.into_stateless_transport_mode())?;
        Ok(DatagramSeal { transport, job, next_nonce: 0, window: ReplayWindow::new() })
    }

    /// Replaces `out` with the sealed datagram, [`ENVELOPE_BYTES`] longer than `plain`.
    ///
    /// # Panics
    /// As [`seal_into`](Self::seal_into).
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        out.clear();
        self.seal_into(plain, out);
    }

    /// Appends the sealed datagram to `out`, so that several lie back to back for one system call.
    ///
    /// # Panics
    /// When `plain` is longer than 65,519 bytes, which no UDP payload is, or after 2^64 - 1 datagrams.
    pub fn seal_into(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        // snow refuses the nonce 2^64 - 1, so this cannot wrap round to one that was used.
        let (transport, nonce) = (&self.transport, self.next_nonce);
        put_envelope(out, (Kind::Sealed, self.job, nonce), plain.len() + TAG_BYTES, |body| {
            transport.write_message(nonce, plain, body)
        });
        self.next_nonce += 1;
    }

    /// Replaces `out` with the plain datagram. Allocates nothing where `out` has capacity for the
    /// envelope's body.
    ///
    /// # Errors
    /// When it is another's, forged, a replay, or older than the window. `out` is empty then.
    pub fn open(&mut self, envelope: &Envelope<'_>, out: &mut Vec<u8>) -> Result<(), Defect> {
        let opened = self.open_body(envelope, out);
        out.truncate(*opened.as_ref().unwrap_or(&0));
        opened.map(|_| ())
    }

    fn open_body(&mut self, envelope: &Envelope<'_>, out: &mut Vec<u8>) -> Result<usize, Defect> {
        if envelope.kind != Kind::Sealed || envelope.job != self.job {
            return Err(Defect::Seal);
        }
        if !self.window.is_fresh(envelope.nonce) {
            return Err(Defect::Replay);
        }
        out.resize(envelope.body.len(), 0);
        let n = sealed(self.transport.read_message(envelope.nonce, envelope.body, out))?;
        // Only now: a forged nonce must not push true ones out of the window.
        self.window.mark(envelope.nonce);
        Ok(n)
    }
}

opaque!(DatagramInitiator, DatagramResponder, Pending, DatagramSeal);
