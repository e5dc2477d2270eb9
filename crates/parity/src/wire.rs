//! Frames as bytes: a length, a CRC-32C of what follows, and the frame as [postcard](https://postcard.jamesmunns.com/wire-format)
//! writes it.
//!
//! The lesson: what comes from outside is bounded before anything is kept for it: a frame that says it is
//! longer than any may be is refused from its first four bytes, and memory grows with what has come, not with
//! what is announced.

use crate::id::{Epoch, Member};
use crate::limits::MAX_FRAME_BYTES;
use crate::proto::frame::Frame;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read};

/// What both ends of a link say first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who speaks which protocol: [`MAGIC`].
    pub magic: [u8; 8],
    /// Of one run; others' members are refused.
    pub run: u64,
    /// What all members must agree on: the task, the mode, how many there are, how large the arena is.
    pub shape: String,
    /// Who speaks.
    pub member: Member,
    /// The last epoch in which it went on.
    pub went: Epoch,
    /// Which of this member's lives: who has lived since is refused.
    pub life: u64,
}

/// What is sent over a link after that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packet {
    /// Nothing, so that silence means death.
    Alive,
    /// What the protocol says.
    Frame(Frame),
}

/// The protocol's name and version.
pub const MAGIC: [u8; 8] = *b"parity01";

const HEADER_BYTES: usize = 8;
/// Memory for a frame grows by this.
const READ_BYTES: usize = 1 << 20;

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The link is lost.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No frame is so long.
    #[error("it sends a frame of {0} bytes: {MAX_FRAME_BYTES} are the most")]
    TooLong(usize),
    /// It was changed on its way.
    #[error("it sends a frame whose bytes are not what its checksum says")]
    Checksum,
    /// It was made without the key, or with another.
    #[error("what it sends is not sealed with our key: give all members a copy of the same key file")]
    Key,
    /// There is no room for what it sends.
    #[error("no memory for a frame of {0} bytes: allow the process more (ulimit -v, cgroup)")]
    Memory(usize),
    /// It is of another protocol.
    #[error("it sends a frame that is none: {0}")]
    Meaning(#[from] postcard::Error),
}

/// Appends something to what is to be sent.
///
/// # Errors
/// It is longer than any may be.
pub fn encode(what: &impl Serialize, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    let start = bytes.len();
    let mut bytes = bytes;
    bytes.extend([0; HEADER_BYTES]);
    let mut bytes = postcard::to_extend(what, bytes)?;
    let length = bytes.len() - start - HEADER_BYTES;
    if length > MAX_FRAME_BYTES {
        return Err(Error::TooLong(length));
    }
    let checksum = crc32c::crc32c(&bytes[start + HEADER_BYTES..]);
    bytes[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[start + 4..start + HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Reads the next; `None` where the other has ended in order.
///
/// # Errors
/// The link is lost, or what comes is not to be believed.
pub fn read<T: DeserializeOwned>(
    source: &mut impl Read,
    buffer: &mut Vec<u8>,
) -> Result<Option<T>, Error> {
    let mut header = [0; HEADER_BYTES];
    match source.read(&mut header[..1]) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::Interrupted => return read(source, buffer),
        Err(e) => return Err(e.into()),
    }
    source.read_exact(&mut header[1..])?;
    let (length, checksum) = header.split_at(4);
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    let (length, checksum) = (word(length) as usize, word(checksum));
    if length > MAX_FRAME_BYTES {
        return Err(Error::TooLong(length));
    }
    buffer.clear();
    while buffer.len() < length {
        let at = buffer.len();
        let more = READ_BYTES.min(length - at);
        buffer.try_reserve(more).map_err(|_| Error::Memory(length))?;
        buffer.resize(at + more, 0);
        source.read_exact(&mut buffer[at..])?;
    }
    if crc32c::crc32c(buffer) != checksum {
        return Err(Error::Checksum);
    }
    Ok(Some(postcard::from_bytes(buffer)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Holder, Line, Worker};
    use crate::proto::frame::{Body, Message, Pages};
    use proptest::prelude::*;

    fn frames() -> Vec<Packet> {
        let pages = Pages { indices: vec![3, 9], bytes: vec![7; 2 * crate::limits::PAGE_BYTES] };
        let message = Message { sequence: 5, line: Line(2), bytes: b"some words".to_vec() };
        let bodies = [
            Body::Prepare,
            Body::Pages(Line(4), pages),
            Body::Message(message),
            Body::Suspect(Member::Holder(Holder(1))),
            Body::Lost("everything".into()),
        ];
        let frame = |body| Packet::Frame(Frame { epoch: Epoch(77), body });
        bodies.into_iter().map(frame).chain([Packet::Alive]).collect()
    }

    #[test]
    fn what_is_sent_is_read() {
        let mut bytes = Vec::new();
        for packet in frames() {
            bytes = encode(&packet, bytes).unwrap();
        }
        let (mut source, mut buffer) = (&bytes[..], Vec::new());
        for packet in frames() {
            assert_eq!(read::<Packet>(&mut source, &mut buffer).unwrap(), Some(packet));
        }
        assert_eq!(read::<Packet>(&mut source, &mut buffer).unwrap(), None);
    }

    #[test]
    fn the_page_shows_what_is_sent() {
        let frame = Frame { epoch: Epoch(9), body: Body::Grant(Line(300)) };
        let bytes = encode(&Packet::Frame(frame), Vec::new()).unwrap();
        let page = include_str!("../../../PROTOCOL.md");
        let drawn = page.lines().skip_while(|line| !line.starts_with("A leader grants")).skip(3).take(3);
        let drawn: Vec<u8> = drawn
            .flat_map(|line| line.split("   ").next().unwrap_or("").split_whitespace())
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        assert_eq!(bytes, drawn);
    }

    #[test]
    fn every_bit_matters() {
        let member = Member::Worker(Worker(1));
        let hello = Hello { magic: MAGIC, run: 1, shape: "a b".into(), member, went: Epoch(0), life: 1 };
        let bytes = encode(&hello, Vec::new()).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read::<Hello>(&mut &flipped[..], &mut Vec::new()).is_err(), "bit {bit}");
        }
        for end in 1..bytes.len() {
            assert!(read::<Hello>(&mut &bytes[..end], &mut Vec::new()).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn a_long_frame_is_refused_before_it_has_come() {
        let mut bytes = (MAX_FRAME_BYTES as u32 + 1).to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        let mut buffer = Vec::new();
        assert!(matches!(read::<Packet>(&mut &bytes[..], &mut buffer), Err(Error::TooLong(_))));
        bytes[..4].copy_from_slice(&(MAX_FRAME_BYTES as u32).to_le_bytes());
        assert!(matches!(read::<Packet>(&mut &bytes[..], &mut buffer), Err(Error::Io(_))));
        assert!(buffer.capacity() <= 2 * READ_BYTES, "memory for what has not come");
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = (bytes.len() as u32).to_le_bytes().to_vec();
            framed.extend(crc32c::crc32c(&bytes).to_le_bytes());
            framed.extend(&bytes);
            let _ = read::<Packet>(&mut &framed[..], &mut Vec::new());
            let _ = read::<Packet>(&mut &bytes[..], &mut Vec::new());
        }
    }
}
