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
/// Most bytes of the plain datagram in a handshake: OPEN has 64, ACCEPT 48, an ABORT instead this.
const HANDSHAKE_PLAIN_BYTES: usize = crate::wire::datagram::HEADER_BYTES + crate::limits::MAX_TEXT_BYTES;

/// What an envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// AWS's handshake message with OPEN in it. The nonce tells apart a job's handshakes: shard and attempt.
    Handshake1 = 1,
    /// The backend's, with ACCEPT in it, under the same nonce.
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
    /// When called twice, or with more than 544 bytes (the longest ABORT).
    pub fn open_message(&mut self, plain_open: &[u8], out: &mut Vec<u8>) {
        assert!(plain_open.len() <= HANDSHAKE_PLAIN_BYTES, "too long for a handshake");
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
    /// Replaces `out` with HANDSHAKE2 around the plain datagram ACCEPT (or ABORT), and makes the session. Keep
    /// `out`, to send it again when AWS repeats its HANDSHAKE1.
    ///
    /// # Panics
    /// With more than 544 bytes (the longest ABORT).
    pub fn accept(mut self, plain_accept: &[u8], out: &mut Vec<u8>) -> DatagramSeal {
        assert!(plain_accept.len() <= HANDSHAKE_PLAIN_BYTES, "too long for a handshake");
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

#[cfg(test)]
mod tests {
    use super::super::REPLAY_WINDOW;
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [7; 32];
    const JOB: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

    /// Both sides, and the bytes that have passed.
    struct Pair {
        aws: DatagramSeal,
        backend: DatagramSeal,
        handshake1: Vec<u8>,
        handshake2: Vec<u8>,
    }

    fn pair(seed: u64) -> Pair {
        let (mut initiator, mut responder, handshake1) = begin(seed, &KEY, &KEY);
        let (mut plain, mut handshake2) = (Vec::new(), Vec::new());
        let pending = responder.read_open(&peek(&handshake1).unwrap(), &mut plain).unwrap();
        assert_eq!(plain, b"plain open");
        let backend = pending.accept(b"plain accept", &mut handshake2);
        let aws = initiator.accept(&peek(&handshake2).unwrap(), &mut plain).unwrap();
        assert_eq!(plain, b"plain accept");
        Pair { aws, backend, handshake1, handshake2 }
    }

    fn begin(
        seed: u64,
        aws: &[u8; 32],
        b: &[u8; 32],
    ) -> (DatagramInitiator, DatagramResponder, Vec<u8>) {
        let mut rng = Rng::from_seed(seed);
        let mut initiator = DatagramInitiator::new(aws, &mut rng, JOB, 3);
        let mut handshake1 = b"what was there".to_vec();
        initiator.open_message(b"plain open", &mut handshake1);
        (initiator, DatagramResponder::new(b, &mut rng), handshake1)
    }

    fn sealed_by(end: &mut DatagramSeal, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        end.seal(plain, &mut out);
        out
    }

    fn open(end: &mut DatagramSeal, bytes: &[u8]) -> Result<Vec<u8>, Defect> {
        let mut out = b"old".to_vec();
        let opened = end.open(&peek(bytes)?, &mut out);
        assert!(opened.is_ok() || out.is_empty(), "nothing unopened is shown");
        opened.map(|()| out)
    }

    /// A forger's checksum is right.
    fn fix_up(bytes: &mut [u8]) {
        let sum = checksum(bytes);
        LE::write_u32(&mut bytes[4..], sum);
    }

    /// Every datagram that differs from `bytes` by a bit, checksum right again.
    fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
        let fields = (0..bytes.len() * 8).filter(|bit| !(4..8).contains(&(bit / 8)));
        fields.map(|bit| {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            fix_up(&mut bad);
            bad
        })
    }

    #[test]
    fn both_directions_carry_any_length() {
        let mut p = pair(1);
        for n in [0, 1, 32, 1424, 65_504 - ENVELOPE_BYTES] {
            let plain: Vec<u8> = (0..n).map(|i| i as u8).collect();
            let there = sealed_by(&mut p.aws, &plain);
            assert_eq!(there.len(), n + ENVELOPE_BYTES);
            assert_eq!(open(&mut p.backend, &there), Ok(plain.clone()));
            let back = sealed_by(&mut p.backend, &plain);
            assert_eq!(open(&mut p.aws, &back), Ok(plain));
        }
    }

    #[test]
    fn datagrams_lie_back_to_back() {
        let (mut p, mut out) = (pair(1), Vec::new());
        for i in 0..10u8 {
            p.aws.seal_into(&[i; 100], &mut out);
        }
        for (i, bytes) in out.chunks(100 + ENVELOPE_BYTES).enumerate() {
            assert_eq!(peek(bytes).map(|e| e.nonce), Ok(i as u64));
            assert_eq!(open(&mut p.backend, bytes), Ok(vec![i as u8; 100]));
        }
    }

    #[test]
    fn an_envelope_is_laid_out_as_drawn() {
        let mut p = pair(1);
        sealed_by(&mut p.aws, b"the first has nonce 0");
        let bytes = sealed_by(&mut p.aws, b"plain");
        assert_eq!(bytes[..4], [b'o', b'S', 3, 0]);
        assert_eq!(bytes[4..8], checksum(&bytes).to_le_bytes());
        assert_eq!((&bytes[8..24], &bytes[24..32]), (&JOB.to_le_bytes()[..], &1u64.to_le_bytes()[..]));
        assert_eq!(bytes.len(), 32 + 5 + 16);
        for (bytes, kind) in [(&p.handshake1, Kind::Handshake1), (&p.handshake2, Kind::Handshake2)] {
            let envelope = peek(bytes).unwrap();
            assert_eq!((envelope.kind, envelope.job, envelope.nonce), (kind, JOB, 3));
        }
    }

    #[test]
    fn no_bit_of_handshake_1_may_change_and_the_state_goes_on() {
        let (_, mut responder, handshake1) = begin(1, &KEY, &KEY);
        let mut out = b"untouched".to_vec();
        for bad in flipped(&handshake1) {
            let opened = peek(&bad).and_then(|e| responder.read_open(&e, &mut out).map(drop));
            assert!(opened.is_err(), "{:x?}", &bad[..32]);
            assert_eq!(out, b"untouched");
        }
        assert!(responder.read_open(&peek(&handshake1).unwrap(), &mut out).is_ok());
        assert_eq!(out, b"plain open");
    }

    #[test]
    fn no_bit_of_handshake_2_may_change_and_the_state_goes_on() {
        let (mut initiator, mut responder, handshake1) = begin(1, &KEY, &KEY);
        let (mut out, mut handshake2) = (Vec::new(), Vec::new());
        let pending = responder.read_open(&peek(&handshake1).unwrap(), &mut out).unwrap();
        let mut backend = pending.accept(b"plain accept", &mut handshake2);
        out = b"untouched".to_vec();
        for bad in flipped(&handshake2) {
            let opened = peek(&bad).and_then(|e| initiator.accept(&e, &mut out).map(drop));
            assert!(opened.is_err(), "{:x?}", &bad[..32]);
            assert_eq!(out, b"untouched");
        }
        let mut aws = initiator.accept(&peek(&handshake2).unwrap(), &mut out).unwrap();
        assert_eq!(open(&mut backend, &sealed_by(&mut aws, b"on")), Ok(b"on".to_vec()));
        // A second copy, which UDP may well deliver, changes nothing.
        assert!(initiator.accept(&peek(&handshake2).unwrap(), &mut out).is_err());
    }

    #[test]
    fn no_bit_of_a_sealed_datagram_may_change_and_the_window_stays() {
        let mut p = pair(1);
        let bytes = sealed_by(&mut p.aws, b"numbers");
        for bad in flipped(&bytes) {
            assert!(open(&mut p.backend, &bad).is_err(), "{:x?}", &bad[..32]);
        }
        // Among them were nonces up to 2^63: had one been marked, this would be too old.
        assert_eq!(open(&mut p.backend, &bytes), Ok(b"numbers".to_vec()));
    }

    #[test]
    fn a_flipped_bit_on_the_line_is_a_checksum_and_a_cut_is_no_datagram() {
        let mut p = pair(1);
        let bytes = sealed_by(&mut p.aws, b"numbers");
        let mut bad = bytes.clone();
        bad[5] ^= 1;
        assert_eq!(peek(&bad), Err(Defect::Checksum));
        for whole in [&bytes, &p.handshake1, &p.handshake2] {
            for n in 0..whole.len() {
                assert!(peek(&whole[..n]).is_err(), "{n} bytes");
                let mut cut = whole[..n].to_vec();
                if n >= ENVELOPE_BYTES {
                    fix_up(&mut cut);
                }
                assert!(open(&mut p.backend, &cut).is_err());
                let (mut initiator, mut responder, _) = begin(1, &KEY, &KEY);
                let Ok(envelope) = peek(&cut) else { continue };
                assert!(responder.read_open(&envelope, &mut Vec::new()).is_err());
                assert!(initiator.accept(&envelope, &mut Vec::new()).is_err());
            }
        }
    }

    #[test]
    fn a_wrong_key_on_either_side_opens_nothing() {
        for (aws, backend) in [(&KEY, &[8; 32]), (&[8; 32], &KEY)] {
            let (_, mut responder, handshake1) = begin(1, aws, backend);
            let opened = responder.read_open(&peek(&handshake1).unwrap(), &mut Vec::new());
            assert!(matches!(opened, Err(Defect::Seal)));
        }
        let (mut initiator, ..) = begin(1, &KEY, &KEY);
        let (_, mut responder, theirs) = begin(2, &[8; 32], &[8; 32]);
        let mut out = Vec::new();
        let pending = responder.read_open(&peek(&theirs).unwrap(), &mut out).unwrap();
        pending.accept(b"plain accept", &mut out);
        assert!(initiator.accept(&peek(&out).unwrap(), &mut Vec::new()).is_err());
    }

    #[test]
    fn what_was_sealed_for_another_session_or_direction_does_not_open() {
        let (mut p, mut other) = (pair(1), pair(2));
        let bytes = sealed_by(&mut p.aws, b"numbers");
        assert_eq!(open(&mut other.backend, &bytes), Err(Defect::Seal));
        assert_eq!(open(&mut p.aws, &bytes), Err(Defect::Seal), "reflected");
        // HANDSHAKE2 of the same job and attempt, but an answer to another HANDSHAKE1.
        let (mut initiator, ..) = begin(3, &KEY, &KEY);
        let answer = peek(&p.handshake2).unwrap();
        assert!(initiator.accept(&answer, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_repeated_handshake_1_opens_again_but_makes_other_keys() {
        let (mut initiator, mut responder, handshake1) = begin(1, &KEY, &KEY);
        let (mut out, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        let envelope = peek(&handshake1).unwrap();
        let mut live = responder.read_open(&envelope, &mut out).unwrap().accept(b"1", &mut first);
        let mut replayed = responder.read_open(&envelope, &mut out).unwrap().accept(b"2", &mut second);
        assert_ne!(first, second);
        let mut aws = initiator.accept(&peek(&first).unwrap(), &mut out).unwrap();
        let bytes = sealed_by(&mut aws, b"numbers");
        assert_eq!(open(&mut replayed, &bytes), Err(Defect::Seal));
        assert_eq!(open(&mut live, &bytes), Ok(b"numbers".to_vec()));
    }

    #[test]
    fn replays_are_refused_and_reordering_within_the_window_is_not() {
        let mut p = pair(1);
        let all: Vec<_> = (0..=REPLAY_WINDOW).map(|i| sealed_by(&mut p.aws, &i.to_le_bytes())).collect();
        let (oldest, rest) = all.split_first().unwrap();
        for (i, bytes) in rest.iter().enumerate().rev() {
            assert_eq!(open(&mut p.backend, bytes), Ok((i as u64 + 1).to_le_bytes().to_vec()));
        }
        assert!(all.iter().all(|bytes| open(&mut p.backend, bytes) == Err(Defect::Replay)));
        assert_eq!(open(&mut p.backend, oldest), Err(Defect::Replay), "older than the window");
    }

    #[test]
    fn the_longest_abort_fits_a_handshake() {
        use crate::wire::datagram::{Body, Header, encode};
        let (mut initiator, mut responder, handshake1) = begin(1, &KEY, &KEY);
        let (mut abort, mut out, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        let body = Body::Abort { reason: "x".repeat(2000) };
        encode(Header { job: JOB, session: 0 }, &body, &mut abort);
        let pending = responder.read_open(&peek(&handshake1).unwrap(), &mut plain).unwrap();
        pending.accept(&abort, &mut out);
        initiator.accept(&peek(&out).unwrap(), &mut plain).unwrap();
        assert_eq!(plain, abort);
    }

    #[test]
    fn a_seed_replays_every_byte() {
        let bytes = |seed| {
            let mut p = pair(seed);
            let there = sealed_by(&mut p.aws, b"same");
            [p.handshake1, p.handshake2, there]
        };
        assert_eq!(bytes(1), bytes(1));
        assert!(bytes(1).iter().zip(&bytes(2)).all(|(a, b)| a != b));
    }

    #[test]
    #[should_panic(expected = "written whole")]
    fn a_nonce_never_wraps() {
        let mut p = pair(1);
        p.aws.next_nonce = u64::MAX;
        p.aws.seal(b"once too often", &mut Vec::new());
    }

    #[test]
    fn debugging_shows_no_key() {
        let (initiator, responder, _) = begin(1, &KEY, &KEY);
        assert_eq!(format!("{initiator:?}"), "DatagramInitiator { .. }");
        assert_eq!(format!("{responder:?}"), "DatagramResponder { .. }");
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(
            kind in 0u8..5, nonce: u64, mut bytes in proptest::collection::vec(any::<u8>(), 0..500),
        ) {
            prop_assert!(peek(&bytes).is_err());
            if bytes.len() < ENVELOPE_BYTES {
                return Ok(());
            }
            // With header and checksum in order, what comes behind them is reached too.
            LE::write_u16(&mut bytes, MAGIC);
            (bytes[2], bytes[3]) = (kind, 0);
            LE::write_u128(&mut bytes[8..], JOB);
            LE::write_u64(&mut bytes[24..], if nonce % 2 == 0 { 3 } else { nonce });
            fix_up(&mut bytes);
            let (mut initiator, mut responder, _) = begin(1, &KEY, &KEY);
            prop_assert!(open(&mut pair(1).backend, &bytes).is_err());
            if let Ok(envelope) = peek(&bytes) {
                prop_assert!(initiator.accept(&envelope, &mut Vec::new()).is_err());
                prop_assert!(responder.read_open(&envelope, &mut Vec::new()).is_err());
            }
        }
    }
}
