//! Datagrams between AWS and a backend.
//!
//! Every datagram begins with the same 32 bytes: magic, kind, flags, CRC32C, job ID, session. The job
//! ID is 128 random bits chosen by AWS, the session 64 random bits chosen by the backend: whoever knows
//! neither can say nothing. What is left out: encryption (`auth`), and what to do with any of it
//! (`proto::rudp`).

use super::{Defect, cut_text, get_dataset, get_name, get_text, get_value, put_name, put_value};
use crate::dataset;
use byteorder::{ByteOrder, LE};
use ethnum::I256;

const MAGIC: u16 = u16::from_le_bytes(*b"oU");

/// Length of what every datagram begins with.
pub const HEADER_BYTES: usize = 32;
/// Where the numbers of a DATA datagram begin.
pub const DATA_HEADER_BYTES: usize = 48;
/// Most 64-bit words in an acknowledgement's bitmap.
pub const MAX_BITMAP_WORDS: usize = (crate::limits::WINDOW_DATAGRAMS / 64) as usize;

const OPEN: u8 = 1;
const ACCEPT: u8 = 2;
const DATA: u8 = 3;
const ACK: u8 = 4;
const PING: u8 = 5;
const RESULT: u8 = 6;
const DONE: u8 = 7;
const CLOSED: u8 = 8;
const GONE: u8 = 9;
const ABORT: u8 = 10;
const OPEN_ROWS: u8 = 11;

const ACK_REQUESTED: u8 = 0x80;

/// Whom a datagram is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Header {
    /// The job's ID: 128 random bits.
    pub job: u128,
    /// The backend's name for this attempt: 64 random bits; 0 before it has chosen.
    pub session: u64,
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// AWS: a shard of `count` numbers for reduction `function`; `attempt` counts its restarts.
    Open { attempt: u32, shard: u32, count: u64, function: String },
    /// Backend: go on, with at most `credit` bytes in flight. The header holds its session. It has the shard's
    /// numbers before `from`, counted from 0, by a checkpoint.
    Accept { attempt: u32, shard: u32, credit: u64, from: u64 },
    /// AWS: numbers. `seq` names the content, `tx` this transmission of it.
    Data { width: u8, ack_requested: bool, seq: u64, tx: u64, numbers: &'a [u8] },
    /// Backend: what has arrived.
    Ack(Ack<'a>),
    /// AWS: are you there? Also the first word of a session in which no numbers travel.
    Ping { tx: u64 },
    /// Backend: the partial result over `count` numbers; repeated until DONE or GONE.
    Result { count: u64, value: I256 },
    /// AWS: the result has arrived; repeated until CLOSED.
    Done,
    /// Backend: the job is over here.
    Closed,
    /// Either: no such job or session here.
    Gone,
    /// Either: the job is given up, and why.
    Abort { reason: String },
    /// AWS, in place of OPEN: the shard is these rows of a dataset, which the backend has or gets.
    OpenRows { attempt: u32, shard: u32, first: u64, count: u64, function: String, dataset: dataset::Id },
}

/// A selective acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Every datagram with `seq` below this has arrived.
    pub next: u64,
    /// The highest transmission number that has arrived.
    pub largest_tx: u64,
    /// Bytes that may be in flight.
    pub credit: u64,
    /// Microseconds between that arrival and this acknowledgement.
    pub delay_us: u32,
    /// Little-endian 64-bit words: bit i says whether `next + i` has arrived.
    pub bitmap: &'a [u8],
}

impl Ack<'_> {
    /// The bitmap's words, each with the sequence number of its lowest bit.
    pub fn words(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let words = self.bitmap.chunks_exact(8).map(LE::read_u64);
        (0..).step_by(64).map_while(|offset| self.next.checked_add(offset)).zip(words)
    }

    /// The sequence numbers at or above `next` that have arrived.
    pub fn selected(&self) -> impl Iterator<Item = u64> + '_ {
        self.words().flat_map(|(at, word)| {
            let set = (0..64u64).filter(move |bit| word >> bit & 1 == 1);
            set.filter_map(move |bit| at.checked_add(bit))
        })
    }
}

/// Puts a whole datagram into `out`, replacing what was there.
pub fn encode(header: Header, body: &Body<'_>, out: &mut Vec<u8>) {
    out.clear();
    out.resize(HEADER_BYTES, 0);
    let mut flags = 0;
    let kind = match body {
        Body::Open { attempt, shard, count, function } => {
            out.extend_from_slice(&attempt.to_le_bytes());
            out.extend_from_slice(&shard.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            put_name(out, function);
            OPEN
        }
        Body::Accept { attempt, shard, credit, from } => {
            out.extend_from_slice(&attempt.to_le_bytes());
            out.extend_from_slice(&shard.to_le_bytes());
            out.extend_from_slice(&credit.to_le_bytes());
            out.extend_from_slice(&from.to_le_bytes());
            ACCEPT
        }
        Body::Data { width, ack_requested, seq, tx, numbers } => {
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&tx.to_le_bytes());
            out.extend_from_slice(numbers);
            flags = data_flags(*width, *ack_requested);
            DATA
        }
        Body::Ack(ack) => {
            out.extend_from_slice(&ack.next.to_le_bytes());
            out.extend_from_slice(&ack.largest_tx.to_le_bytes());
            out.extend_from_slice(&ack.credit.to_le_bytes());
            out.extend_from_slice(&ack.delay_us.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(ack.bitmap);
            ACK
        }
        Body::Ping { tx } => {
            out.extend_from_slice(&tx.to_le_bytes());
            PING
        }
        Body::Result { count, value } => {
            out.extend_from_slice(&count.to_le_bytes());
            put_value(out, *value);
            RESULT
        }
        Body::Done => DONE,
        Body::Closed => CLOSED,
        Body::Gone => GONE,
        Body::Abort { reason } => {
            out.extend_from_slice(cut_text(reason).as_bytes());
            ABORT
        }
        Body::OpenRows { attempt, shard, first, count, function, dataset } => {
            out.extend_from_slice(&attempt.to_le_bytes());
            out.extend_from_slice(&shard.to_le_bytes());
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            put_name(out, function);
            out.extend_from_slice(&dataset.0);
            OPEN_ROWS
        }
    };
    finish(out, kind, flags, header);
}

fn data_flags(width: u8, ack_requested: bool) -> u8 {
    width | if ack_requested { ACK_REQUESTED } else { 0 }
}

/// Writes the first 48 bytes of a DATA datagram whose numbers already lie behind them.
pub fn finish_data(out: &mut [u8], header: Header, width: u8, ack_requested: bool, seq: u64, tx: u64) {
    LE::write_u64(&mut out[32..], seq);
    LE::write_u64(&mut out[40..], tx);
    finish(out, DATA, data_flags(width, ack_requested), header);
}

fn finish(out: &mut [u8], kind: u8, flags: u8, header: Header) {
    LE::write_u16(out, MAGIC);
    out[2] = kind;
    out[3] = flags;
    LE::write_u128(&mut out[8..], header.job);
    LE::write_u64(&mut out[24..], header.session);
    let sum = checksum(out);
    LE::write_u32(&mut out[4..], sum);
}

/// CRC32C over the datagram without the four bytes that hold it.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..])
}

/// Checks that the bytes are sound (magic, length, CRC32C), then says what they mean.
///
/// # Errors
/// When they are not, or mean nothing. Nothing was allocated by then but a short name or reason.
pub fn decode(bytes: &[u8]) -> Result<(Header, Body<'_>), Defect> {
    if bytes.len() < HEADER_BYTES {
        return Err(Defect::Short { what: "a datagram", bytes: bytes.len() });
    }
    if LE::read_u16(bytes) != MAGIC {
        return Err(Defect::Foreign([bytes[0], bytes[1], bytes[2], bytes[3]]));
    }
    if LE::read_u32(&bytes[4..]) != checksum(bytes) {
        return Err(Defect::Checksum);
    }
    let header = Header { job: LE::read_u128(&bytes[8..]), session: LE::read_u64(&bytes[24..]) };
    decode_body(bytes[2], bytes[3], &bytes[HEADER_BYTES..]).map(|body| (header, body))
}

fn decode_body(kind: u8, flags: u8, b: &[u8]) -> Result<Body<'_>, Defect> {
    let at_least = |n: usize, what| {
        if b.len() >= n { Ok(()) } else { Err(Defect::Short { what, bytes: HEADER_BYTES + b.len() }) }
    };
    if kind != DATA && flags != 0 {
        return Err(Defect::Field { field: "flags", value: u64::from(flags) });
    }
    Ok(match kind {
        OPEN => {
            at_least(32, "OPEN")?;
            Body::Open {
                attempt: LE::read_u32(b),
                shard: LE::read_u32(&b[4..]),
                count: LE::read_u64(&b[8..]),
                function: get_name(&b[16..32], "the reduction type")?,
            }
        }
        ACCEPT => {
            at_least(24, "ACCEPT")?;
            Body::Accept {
                attempt: LE::read_u32(b),
                shard: LE::read_u32(&b[4..]),
                credit: LE::read_u64(&b[8..]),
                from: LE::read_u64(&b[16..]),
            }
        }
        DATA => {
            at_least(17, "DATA")?;
            let (width, numbers) = (flags & !ACK_REQUESTED, &b[16..]);
            if !matches!(width, 1 | 2 | 4 | 8) || !numbers.len().is_multiple_of(usize::from(width)) {
                return Err(Defect::Field { field: "width", value: u64::from(width) });
            }
            let (seq, tx) = (LE::read_u64(b), LE::read_u64(&b[8..]));
            Body::Data { width, ack_requested: flags & ACK_REQUESTED != 0, seq, tx, numbers }
        }
        ACK => {
            at_least(32, "ACK")?;
            let bitmap = &b[32..];
            if !bitmap.len().is_multiple_of(8) || bitmap.len() / 8 > MAX_BITMAP_WORDS {
                return Err(Defect::Field { field: "bitmap bytes", value: bitmap.len() as u64 });
            }
            Body::Ack(Ack {
                next: LE::read_u64(b),
                largest_tx: LE::read_u64(&b[8..]),
                credit: LE::read_u64(&b[16..]),
                delay_us: LE::read_u32(&b[24..]),
                bitmap,
            })
        }
        PING => {
            at_least(8, "PING")?;
            Body::Ping { tx: LE::read_u64(b) }
        }
        RESULT => {
            at_least(40, "RESULT")?;
            Body::Result { count: LE::read_u64(b), value: get_value(&b[8..]) }
        }
        DONE => Body::Done,
        CLOSED => Body::Closed,
        GONE => Body::Gone,
        ABORT => Body::Abort { reason: get_text(b) },
        OPEN_ROWS => {
            at_least(60, "OPEN ROWS")?;
            decode_rows(b)?
        }
        other => return Err(Defect::Field { field: "kind", value: u64::from(other) }),
    })
}

/// The fields of OPEN ROWS; `b` holds at least 60 bytes.
fn decode_rows(b: &[u8]) -> Result<Body<'_>, Defect> {
    let (first, count) = (LE::read_u64(&b[8..]), LE::read_u64(&b[16..]));
    if first.checked_add(count).is_none() {
        return Err(Defect::Field { field: "first", value: first });
    }
    Ok(Body::OpenRows {
        attempt: LE::read_u32(b),
        shard: LE::read_u32(&b[4..]),
        first,
        count,
        function: get_name(&b[24..40], "the reduction type")?,
        dataset: get_dataset(&b[40..]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(header: Header, body: &Body<'_>) {
        let mut bytes = vec![9; 3];
        encode(header, body, &mut bytes);
        assert_eq!(decode(&bytes), Ok((header, body.clone())));
    }

    #[test]
    fn a_single_flipped_bit_is_noticed_wherever_it_is() {
        let mut bytes = Vec::new();
        let body = Body::Data { width: 2, ack_requested: true, seq: 1, tx: 2, numbers: &[1, 2, 3, 4] };
        encode(Header { job: 3, session: 4 }, &body, &mut bytes);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn data_finished_in_place_is_data_encoded() {
        let header = Header { job: 1 << 100, session: 7 };
        let mut whole = Vec::new();
        let numbers = [5u8; 16];
        let body = Body::Data { width: 8, ack_requested: true, seq: 6, tx: 9, numbers: &numbers };
        encode(header, &body, &mut whole);
        let mut slot = [0xaau8; 64];
        slot[48..].copy_from_slice(&numbers);
        finish_data(&mut slot, header, 8, true, 6, 9);
        assert_eq!(&slot[..], &whole[..]);
    }

    #[test]
    fn an_acknowledgement_names_what_it_selects() {
        let mut bitmap = [0u8; 16];
        bitmap[0] = 0b101;
        bitmap[8] = 1;
        let ack = Ack { next: 10, largest_tx: 0, credit: 0, delay_us: 0, bitmap: &bitmap };
        assert_eq!(ack.selected().collect::<Vec<_>>(), [10, 12, 74]);
        let far = Ack { next: u64::MAX, ..ack };
        assert_eq!(far.selected().collect::<Vec<_>>(), [u64::MAX]);
    }

    proptest! {
        #[test]
        fn every_body_round_trips(
            job: u128, session: u64, a: u64, b: u64, c: u32, hi: i128, lo: u128,
            words in proptest::collection::vec(any::<u64>(), 0..=MAX_BITMAP_WORDS),
            reason in "[ -~]{0,60}",
        ) {
            let header = Header { job, session };
            let bitmap: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let ack = Ack { next: a, largest_tx: b, credit: a ^ b, delay_us: c, bitmap: &bitmap };
            round_trip(header, &Body::Open { attempt: c, shard: c ^ 1, count: a, function: "SOS".into() });
            let (first, count) = (a >> 1, b >> 1);
            let dataset = dataset::Id([c as u8; 20]);
            let function = "MAX".to_owned();
            let rows = Body::OpenRows { attempt: c, shard: c ^ 1, first, count, function, dataset };
            round_trip(header, &rows);
            round_trip(header, &Body::Accept { attempt: c, shard: c ^ 1, credit: a, from: b });
            round_trip(header, &Body::Ack(ack));
            round_trip(header, &Body::Ping { tx: a });
            let value = (I256::from(hi) << 128) | I256::from(lo);
            round_trip(header, &Body::Result { count: a, value });
            for body in [Body::Done, Body::Closed, Body::Gone, Body::Abort { reason }] {
                round_trip(header, &body);
            }
        }

        #[test]
        fn garbage_is_refused_and_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            if bytes.len() >= HEADER_BYTES {
                // With magic and checksum in order, what comes behind them is reached too.
                LE::write_u16(&mut bytes, MAGIC);
                let sum = checksum(&bytes);
                LE::write_u32(&mut bytes[4..], sum);
                let _ = decode(&bytes);
            }
        }
    }
}
