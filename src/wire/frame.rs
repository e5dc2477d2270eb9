//! Frames on the TCP connection between client and AWS.
//!
//! A frame is a 16-byte header and a body. Small frames are decoded whole; the body of a DATA frame is
//! passed on slice by slice as it arrives, so that nobody holds it. What is left out: encryption
//! (`auth` wraps the whole stream) and any idea of which frame may come when (`proto`).

use super::{Defect, cut_text, get_dataset, get_name, get_text, get_value, put_name, put_value};
use crate::dataset;
use crate::limits::{
    FRAME_HEADER_BYTES, FRAME_NUMBERS_BYTES, MAX_CONTROL_BODY_BYTES, MAX_DATA_BODY_BYTES,
};
use byteorder::{ByteOrder, LE};
use ethnum::I256;

const MAGIC: u16 = u16::from_le_bytes(*b"of");
const VERSION: u8 = 1;

/// A frame other than DATA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Client: the reduction's name in upper case, and how many numbers there are.
    Hello { function: String, count: u64 },
    /// AWS: send the numbers with these indices, `first..end`. Asked again after a backend's death.
    Send { first: u64, end: u64 },
    /// AWS: the answer.
    Result { value: I256 },
    /// AWS: the job has failed, and why; the connection ends.
    Error { reason: String },
    /// AWS: a wait and its reason, for the person at the client.
    Notice { text: String },
    /// AWS: still at work.
    Alive,
    /// Client: the job is given up, and why.
    Abort { reason: String },
    /// Client, in place of HELLO: the numbers are all `count` rows of a dataset, which the backends
    /// have, or get by themselves.
    Dataset { function: String, count: u64, dataset: dataset::Id },
    /// AWS: what is left of this range, which it has asked for, is wanted no longer. Client: no more of it comes.
    Stop { first: u64, end: u64 },
}

const HELLO: u8 = 1;
const SEND: u8 = 2;
const DATA: u8 = 3;
const RESULT: u8 = 4;
const ERROR: u8 = 5;
const NOTICE: u8 = 6;
const ALIVE: u8 = 7;
const ABORT: u8 = 8;
const DATASET: u8 = 9;
const STOP: u8 = 10;

impl Frame {
    /// Appends the frame's bytes to `out`. Reasons over the limit are cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let kind = match self {
            Frame::Hello { function, count } => {
                put_name(&mut body, function);
                body.extend_from_slice(&count.to_le_bytes());
                HELLO
            }
            Frame::Send { first, end } => {
                body.extend_from_slice(&first.to_le_bytes());
                body.extend_from_slice(&end.to_le_bytes());
                SEND
            }
            Frame::Result { value } => {
                put_value(&mut body, *value);
                RESULT
            }
            Frame::Error { reason } => {
                body.extend_from_slice(cut_text(reason).as_bytes());
                ERROR
            }
            Frame::Notice { text } => {
                body.extend_from_slice(cut_text(text).as_bytes());
                NOTICE
            }
            Frame::Alive => ALIVE,
            Frame::Abort { reason } => {
                body.extend_from_slice(cut_text(reason).as_bytes());
                ABORT
            }
            Frame::Dataset { function, count, dataset } => {
                put_name(&mut body, function);
                body.extend_from_slice(&count.to_le_bytes());
                body.extend_from_slice(&dataset.0);
                DATASET
            }
            Frame::Stop { first, end } => {
                body.extend_from_slice(&first.to_le_bytes());
                body.extend_from_slice(&end.to_le_bytes());
                STOP
            }
        };
        put_header(out, kind, 0, body.len() as u64);
        out.extend_from_slice(&body);
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Frame, Defect> {
        let exactly = |n: usize, what| {
            if body.len() == n { Ok(()) } else { Err(Defect::Short { what, bytes: body.len() }) }
        };
        Ok(match kind {
            HELLO => {
                exactly(24, "HELLO")?;
                let function = get_name(&body[..16], "the reduction type")?;
                Frame::Hello { function, count: LE::read_u64(&body[16..]) }
            }
            SEND => {
                exactly(16, "SEND")?;
                Frame::Send { first: LE::read_u64(body), end: LE::read_u64(&body[8..]) }
            }
            RESULT => {
                exactly(32, "RESULT")?;
                Frame::Result { value: get_value(body) }
            }
            ERROR => Frame::Error { reason: get_text(body) },
            NOTICE => Frame::Notice { text: get_text(body) },
            ALIVE => {
                exactly(0, "ALIVE")?;
                Frame::Alive
            }
            ABORT => Frame::Abort { reason: get_text(body) },
            DATASET => {
                exactly(44, "DATASET")?;
                let function = get_name(&body[..16], "the reduction type")?;
                let (count, dataset) = (LE::read_u64(&body[16..]), get_dataset(&body[24..]));
                Frame::Dataset { function, count, dataset }
            }
            STOP => {
                exactly(16, "STOP")?;
                Frame::Stop { first: LE::read_u64(body), end: LE::read_u64(&body[8..]) }
            }
            other => return Err(Defect::Field { field: "kind", value: u64::from(other) }),
        })
    }
}

fn put_header(out: &mut Vec<u8>, kind: u8, width: u8, length: u64) {
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[VERSION, kind, width, 0, 0, 0]);
    out.extend_from_slice(&length.to_le_bytes());
}

/// Appends `numbers` as DATA frames, the first of them being number `first` of the input.
///
/// Each frame's numbers are narrowed to the least of 1, 2, 4 or 8 bytes that holds them all.
pub fn encode_data(mut first: u64, numbers: &[i64], out: &mut Vec<u8>) {
    for chunk in numbers.chunks(FRAME_NUMBERS_BYTES / 8) {
        let width = width_of(chunk);
        put_header(out, DATA, width, 8 + chunk.len() as u64 * u64::from(width));
        out.extend_from_slice(&first.to_le_bytes());
        match width {
            1 => out.extend(chunk.iter().map(|&n| n as i8 as u8)),
            2 => narrow(chunk, out, |n| (n as i16).to_le_bytes()),
            4 => narrow(chunk, out, |n| (n as i32).to_le_bytes()),
            _ => narrow(chunk, out, i64::to_le_bytes),
        }
        first += chunk.len() as u64;
    }
}

fn narrow<const W: usize>(numbers: &[i64], out: &mut Vec<u8>, bytes: impl Fn(i64) -> [u8; W]) {
    // By way of a small buffer: growing `out` first would write all of it twice.
    let mut buffer = [[0; W]; 256];
    for chunk in numbers.chunks(buffer.len()) {
        for (place, &n) in buffer.iter_mut().zip(chunk) {
            *place = bytes(n);
        }
        out.extend_from_slice(buffer[..chunk.len()].as_flattened());
    }
}

/// The least width in bytes (1, 2, 4, 8) that holds every number.
fn width_of(numbers: &[i64]) -> u8 {
    // n ^ (n >> 63) is n for n >= 0 and !n below: its bits are what two's complement needs, less the sign.
    let bits = numbers.iter().fold(0i64, |all, &n| all | (n ^ (n >> 63)));
    match 64 - bits.leading_zeros() {
        0..=7 => 1,
        8..=15 => 2,
        16..=31 => 4,
        _ => 8,
    }
}

/// Widens numbers as they travel (`bytes.len()` a multiple of `width`) and appends them to `out`.
pub fn widen(width: u8, bytes: &[u8], out: &mut Vec<i64>) {
    match width {
        1 => out.extend(bytes.iter().map(|&b| i64::from(b as i8))),
        2 => out.extend(bytes.as_chunks().0.iter().map(|&b| i64::from(i16::from_le_bytes(b)))),
        4 => out.extend(bytes.as_chunks().0.iter().map(|&b| i64::from(i32::from_le_bytes(b)))),
        _ => out.extend(bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b))),
    }
}

/// What a [`Decoder`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole frame.
    Frame(Frame),
    /// A DATA frame begins: `count` numbers of `width` bytes, the first being number `first`.
    Data { first: u64, count: u64, width: u8 },
    /// The next bytes of that frame's numbers; they may end within a number.
    Numbers(&'a [u8]),
}

/// Turns a stream of bytes into frames, holding at most one small frame.
#[derive(Debug, Default)]
pub struct Decoder {
    held: Vec<u8>,
    numbers_left: u64,
}

impl Decoder {
    /// Takes what it can use off the front of `input`; `None` when it needs more.
    ///
    /// # Errors
    /// When the bytes are no frame. The stream has no way back from that: drop the connection.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Item<'a>>, Defect> {
        if self.numbers_left > 0 {
            let n = usize::try_from(self.numbers_left).unwrap_or(usize::MAX).min(input.len());
            self.numbers_left -= n as u64;
            let numbers = take(input, n);
            return Ok((n > 0).then_some(Item::Numbers(numbers)));
        }
        if !self.hold(input, FRAME_HEADER_BYTES) {
            return Ok(None);
        }
        let (kind, width, length) = check_header(&self.held)?;
        let whole = FRAME_HEADER_BYTES + if kind == DATA { 8 } else { length as usize };
        if !self.hold(input, whole) {
            return Ok(None);
        }
        let body = &self.held[FRAME_HEADER_BYTES..];
        let item = if kind == DATA {
            self.numbers_left = length - 8;
            let count = self.numbers_left / u64::from(width);
            Item::Data { first: LE::read_u64(body), count, width }
        } else {
            Item::Frame(Frame::decode(kind, body)?)
        };
        self.held.clear();
        Ok(Some(item))
    }

    /// True at the boundary between two frames.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.numbers_left == 0
    }

    /// Fills `held` up to `want` bytes from `input`; true when they are there.
    fn hold(&mut self, input: &mut &[u8], want: usize) -> bool {
        let n = want.saturating_sub(self.held.len()).min(input.len());
        self.held.extend_from_slice(take(input, n));
        self.held.len() >= want
    }
}

fn take<'a>(input: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = input.split_at(n);
    *input = tail;
    head
}

/// Kind, width and length, checked against every bound that a header alone can break.
fn check_header(header: &[u8]) -> Result<(u8, u8, u64), Defect> {
    let (kind, width, length) = (header[3], header[4], LE::read_u64(&header[8..]));
    if LE::read_u16(header) != MAGIC || header[2] != VERSION || header[5..8] != [0; 3] {
        return Err(Defect::Foreign([header[0], header[1], header[2], header[3]]));
    }
    let most = if kind == DATA { MAX_DATA_BODY_BYTES } else { MAX_CONTROL_BODY_BYTES };
    if length > most {
        return Err(Defect::Field { field: "length", value: length });
    }
    let width_allowed = if kind == DATA { matches!(width, 1 | 2 | 4 | 8) } else { width == 0 };
    if !width_allowed {
        return Err(Defect::Field { field: "width", value: u64::from(width) });
    }
    if kind == DATA && (length <= 8 || !(length - 8).is_multiple_of(u64::from(width))) {
        return Err(Defect::Field { field: "length", value: length });
    }
    Ok((kind, width, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(mut bytes: &[u8], step: usize) -> Result<(Vec<Frame>, Vec<i64>), Defect> {
        let (mut decoder, mut frames, mut numbers) = (Decoder::default(), Vec::new(), Vec::new());
        let (mut width, mut raw) = (8, Vec::new());
        while !bytes.is_empty() {
            let n = step.min(bytes.len());
            let mut input = take(&mut bytes, n);
            while let Some(item) = decoder.next(&mut input)? {
                match item {
                    Item::Frame(f) => frames.push(f),
                    Item::Data { width: w, .. } => {
                        widen(width, &raw, &mut numbers);
                        raw.clear();
                        width = w;
                    }
                    Item::Numbers(n) => raw.extend_from_slice(n),
                }
            }
            assert!(input.is_empty());
        }
        widen(width, &raw, &mut numbers);
        Ok((frames, numbers))
    }

    #[test]
    fn a_length_of_two_to_the_sixty_is_refused_at_the_header() {
        for kind in [HELLO, DATA] {
            let mut bytes = Vec::new();
            put_header(&mut bytes, kind, u8::from(kind == DATA), 1 << 60);
            assert_eq!(
                Decoder::default().next(&mut &bytes[..]),
                Err(Defect::Field { field: "length", value: 1 << 60 })
            );
        }
    }

    #[test]
    fn width_is_the_least_that_holds_every_number() {
        for (n, width) in [(0, 1), (-128, 1), (127, 1), (128, 2), (-129, 2), (32768, 4), (-32769, 4)] {
            assert_eq!(width_of(&[n, 0]), width, "{n}");
        }
        assert_eq!(width_of(&[i64::from(i32::MIN)]), 4);
        assert_eq!(width_of(&[i64::from(i32::MAX) + 1]), 8);
        assert_eq!(width_of(&[i64::MIN]), 8);
    }

    proptest! {
        #[test]
        fn frames_round_trip_however_the_stream_is_cut(
            count: u64, first: u64, end: u64, lo: u128, hi: i128, step in 1usize..40,
            reason in "[ -~]{0,60}",
        ) {
            let value = (I256::from(hi) << 128) | I256::from(lo);
            let sent = vec![
                Frame::Hello { function: "SUM".into(), count },
                Frame::Send { first, end },
                Frame::Result { value },
                Frame::Error { reason: reason.clone() },
                Frame::Notice { text: reason.clone() },
                Frame::Alive,
                Frame::Abort { reason },
                Frame::Dataset { function: "MAX".into(), count, dataset: dataset::Id([step as u8; 20]) },
            ];
            let mut bytes = Vec::new();
            sent.iter().for_each(|f| f.encode(&mut bytes));
            prop_assert_eq!(decode_all(&bytes, step).unwrap().0, sent);
        }

        #[test]
        fn numbers_round_trip_at_every_width(
            shift in 0u32..64, raw in proptest::collection::vec(any::<i64>(), 1..300), step in 1usize..400,
        ) {
            let numbers: Vec<i64> = raw.iter().map(|n| n >> shift).collect();
            let mut bytes = Vec::new();
            encode_data(0, &numbers, &mut bytes);
            prop_assert_eq!(decode_all(&bytes, step).unwrap().1, numbers);
        }

        #[test]
        fn garbage_is_refused_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_all(&bytes, 7);
        }
    }
}
