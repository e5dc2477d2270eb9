//! The messages after the handshake (BEP 3, BEP 6, BEP 10).
//!
//! PIECE is the odd one: its bytes are most of all traffic, so they are never part of a [`Message`]. The
//! decoder gives its header, and whoever reads the connection puts the bytes where they belong.
//!
//! A message is four bytes of length, one of kind, and a body. The length is judged as soon as it is there,
//! and again as soon as the kind is: nobody waits for, or keeps, bytes that no message can have. What is left
//! out: whether a piece or a block exists, and whether the message makes sense now, which a session knows.

use crate::geometry::Block;
use crate::limits::{
    MAX_EXTENDED_BYTES, MAX_MESSAGE_BYTES, MAX_PIECES, MAX_REQUEST_BYTES, MAX_UNKNOWN_MESSAGE_BYTES,
};
use std::ops::RangeInclusive;

/// Bytes of a PIECE before its block: length, kind, piece, begin.
pub const BLOCK_HEADER_BYTES: usize = 13;

/// Bytes of a message's length.
const LENGTH_BYTES: usize = 4;

// The kinds of BEP 3, BEP 6 and BEP 10.
const CHOKE: u8 = 0;
const UNCHOKE: u8 = 1;
const INTERESTED: u8 = 2;
const NOT_INTERESTED: u8 = 3;
const HAVE: u8 = 4;
const BITFIELD: u8 = 5;
const REQUEST: u8 = 6;
const PIECE: u8 = 7;
const CANCEL: u8 = 8;
const SUGGEST: u8 = 13;
const HAVE_ALL: u8 = 14;
const HAVE_NONE: u8 = 15;
const REJECT: u8 = 16;
const ALLOWED_FAST: u8 = 17;
const EXTENDED: u8 = 20;

/// A message, PIECE left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Nothing, so that the connection is not taken for dead.
    KeepAlive,
    /// "I serve you nothing"
    Choke,
    /// "I serve you"
    Unchoke,
    /// "You have what I lack"
    Interested,
    /// "You have nothing that I lack"
    NotInterested,
    /// "I have verified this piece"
    Have(u32),
    /// The pieces the sender has, as [`crate::bitfield::Bitfield`] has them. Only as the first message.
    Bitfield(Vec<u8>),
    /// "Send me this"
    Request(Block),
    /// "Never mind"
    Cancel(Block),
    /// BEP 6: "fetch this one, if you like"
    Suggest(u32),
    /// BEP 6: in place of a full bitfield.
    HaveAll,
    /// BEP 6: in place of an empty bitfield.
    HaveNone,
    /// BEP 6: "this request will not be served"
    Reject(Block),
    /// BEP 6: "ask for this piece even while you are choked"
    AllowedFast(u32),
    /// BEP 10.
    Extended {
        /// 0 for the extended handshake, else as the receiver's extended handshake numbers them.
        id: u8,
        /// Bencoded, or bencoded and bytes.
        payload: Vec<u8>,
    },
    /// A message of a proposal that we do not follow; it is skipped.
    Unknown(u8),
}

/// What the first bytes of a stream are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Not enough to say.
    More,
    /// A message.
    Message {
        /// It.
        message: Message,
        /// Its bytes.
        used: usize,
    },
    /// The header of a PIECE: as many bytes as `block.length` says follow it.
    Block {
        /// Which block.
        block: Block,
        /// The header's bytes.
        used: usize,
    },
}

/// Why bytes are no message: the fault is the peer's, and nothing after them can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than any message is.
    #[error("the peer announces a message of {bytes} bytes; the longest has {MAX_MESSAGE_BYTES}")]
    Long {
        /// What the length says.
        bytes: usize,
    },
    /// A length that this kind of message never has.
    #[error("the peer announces a message of kind {kind} with {bytes} bytes; it has {least} to {most}")]
    Length {
        /// Its kind.
        kind: u8,
        /// What the length says.
        bytes: usize,
        /// Bytes of such a message at least.
        least: usize,
        /// And at most.
        most: usize,
    },
}

impl Message {
    /// Appends it as it is sent.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = self.encoded_len() - LENGTH_BYTES;
        out.extend_from_slice(&(length as u32).to_be_bytes());
        match self {
            Message::KeepAlive => {}
            Message::Choke => out.push(CHOKE),
            Message::Unchoke => out.push(UNCHOKE),
            Message::Interested => out.push(INTERESTED),
            Message::NotInterested => out.push(NOT_INTERESTED),
            Message::Have(piece) => put(out, HAVE, [*piece]),
            Message::Bitfield(bytes) => {
                out.push(BITFIELD);
                out.extend_from_slice(bytes);
            }
            Message::Request(block) => put(out, REQUEST, numbers(*block)),
            Message::Cancel(block) => put(out, CANCEL, numbers(*block)),
            Message::Suggest(piece) => put(out, SUGGEST, [*piece]),
            Message::HaveAll => out.push(HAVE_ALL),
            Message::HaveNone => out.push(HAVE_NONE),
            Message::Reject(block) => put(out, REJECT, numbers(*block)),
            Message::AllowedFast(piece) => put(out, ALLOWED_FAST, [*piece]),
            Message::Extended { id, payload } => {
                out.extend_from_slice(&[EXTENDED, *id]);
                out.extend_from_slice(payload);
            }
            Message::Unknown(kind) => out.push(*kind),
        }
    }

    /// The bytes that [`Message::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        LENGTH_BYTES
            + match self {
                Message::KeepAlive => 0,
                Message::Choke
                | Message::Unchoke
                | Message::Interested
                | Message::NotInterested
                | Message::HaveAll
                | Message::HaveNone
                | Message::Unknown(_) => 1,
                Message::Have(_) | Message::Suggest(_) | Message::AllowedFast(_) => 5,
                Message::Request(_) | Message::Cancel(_) | Message::Reject(_) => 13,
                Message::Bitfield(bytes) => 1 + bytes.len(),
                Message::Extended { payload, .. } => 2 + payload.len(),
            }
    }
}

/// Appends what a PIECE has before its block: [`BLOCK_HEADER_BYTES`].
pub fn encode_block_header(block: Block, out: &mut Vec<u8>) {
    let length = (BLOCK_HEADER_BYTES - LENGTH_BYTES) as u32 + block.length;
    out.extend_from_slice(&length.to_be_bytes());
    put(out, PIECE, [block.piece, block.begin]);
}

/// What `bytes` begin with.
///
/// # Errors
/// They begin no message that is allowed, however they go on.
pub fn decode(bytes: &[u8]) -> Result<Decoded, Error> {
    let Some((prefix, rest)) = bytes.split_first_chunk() else { return Ok(Decoded::More) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(Error::Long { bytes: length });
    }
    if length == 0 {
        return Ok(Decoded::Message { message: Message::KeepAlive, used: LENGTH_BYTES });
    }
    let Some((&kind, body)) = rest.split_first() else { return Ok(Decoded::More) };
    let allowed = lengths(kind);
    if !allowed.contains(&length) {
        let (least, most) = allowed.into_inner();
        return Err(Error::Length { kind, bytes: length, least, most });
    }
    if kind == PIECE {
        let Some([piece, begin]) = words(body) else { return Ok(Decoded::More) };
        let length = (LENGTH_BYTES + length - BLOCK_HEADER_BYTES) as u32;
        let block = Block { piece, begin, length };
        return Ok(Decoded::Block { block, used: BLOCK_HEADER_BYTES });
    }
    let message = body.get(..length - 1).and_then(|body| read(kind, body));
    Ok(message
        .map_or(Decoded::More, |message| Decoded::Message { message, used: LENGTH_BYTES + length }))
}

/// The lengths that a message of this kind may have, its kind included.
fn lengths(kind: u8) -> RangeInclusive<usize> {
    match kind {
        CHOKE | UNCHOKE | INTERESTED | NOT_INTERESTED | HAVE_ALL | HAVE_NONE => 1..=1,
        HAVE | SUGGEST | ALLOWED_FAST => 5..=5,
        REQUEST | CANCEL | REJECT => 13..=13,
        // A torrent has one piece at least, a block one byte.
        BITFIELD => 2..=1 + MAX_PIECES as usize / 8,
        PIECE => 10..=9 + MAX_REQUEST_BYTES as usize,
        EXTENDED => 2..=2 + MAX_EXTENDED_BYTES,
        _ => 1..=MAX_UNKNOWN_MESSAGE_BYTES,
    }
}

/// A message whose body is whole. `None` where the body is shorter than [`lengths`] allows.
fn read(kind: u8, body: &[u8]) -> Option<Message> {
    let piece = || words(body).map(|[piece]| piece);
    let block = || words(body).map(|[piece, begin, length]| Block { piece, begin, length });
    Some(match kind {
        CHOKE => Message::Choke,
        UNCHOKE => Message::Unchoke,
        INTERESTED => Message::Interested,
        NOT_INTERESTED => Message::NotInterested,
        HAVE => Message::Have(piece()?),
        BITFIELD => Message::Bitfield(body.to_vec()),
        REQUEST => Message::Request(block()?),
        CANCEL => Message::Cancel(block()?),
        SUGGEST => Message::Suggest(piece()?),
        HAVE_ALL => Message::HaveAll,
        HAVE_NONE => Message::HaveNone,
        REJECT => Message::Reject(block()?),
        ALLOWED_FAST => Message::AllowedFast(piece()?),
        EXTENDED => {
            let (id, payload) = body.split_first()?;
            Message::Extended { id: *id, payload: payload.to_vec() }
        }
        _ => Message::Unknown(kind),
    })
}

/// The first `N` numbers of a body, where they are there.
fn words<const N: usize>(body: &[u8]) -> Option<[u32; N]> {
    let (words, _) = body.as_chunks();
    let words: &[[u8; 4]; N] = words.first_chunk()?;
    Some(words.map(u32::from_be_bytes))
}

fn put<const N: usize>(out: &mut Vec<u8>, kind: u8, words: [u32; N]) {
    out.push(kind);
    out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
}

fn numbers(block: Block) -> [u32; 3] {
    [block.piece, block.begin, block.length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: Block = Block { piece: 1, begin: 0x0203, length: 0x4000 };

    fn encoded(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        out
    }

    #[test]
    fn each_message_has_the_bytes_of_its_proposal() {
        let block = b"\0\0\0\x01\0\0\x02\x03\0\0\x40\0";
        let with_block = |kind: u8| [&[0, 0, 0, 13, kind], &block[..]].concat();
        let payload = b"de".to_vec();
        for (message, bytes) in [
            (Message::KeepAlive, b"\0\0\0\0".to_vec()),
            (Message::Choke, b"\0\0\0\x01\0".to_vec()),
            (Message::Unchoke, b"\0\0\0\x01\x01".to_vec()),
            (Message::Interested, b"\0\0\0\x01\x02".to_vec()),
            (Message::NotInterested, b"\0\0\0\x01\x03".to_vec()),
            (Message::Have(0x0102), b"\0\0\0\x05\x04\0\0\x01\x02".to_vec()),
            (Message::Bitfield(vec![0xff, 0x80]), b"\0\0\0\x03\x05\xff\x80".to_vec()),
            (Message::Request(BLOCK), with_block(6)),
            (Message::Cancel(BLOCK), with_block(8)),
            (Message::Suggest(7), b"\0\0\0\x05\x0d\0\0\0\x07".to_vec()),
            (Message::HaveAll, b"\0\0\0\x01\x0e".to_vec()),
            (Message::HaveNone, b"\0\0\0\x01\x0f".to_vec()),
            (Message::Reject(BLOCK), with_block(16)),
            (Message::AllowedFast(7), b"\0\0\0\x05\x11\0\0\0\x07".to_vec()),
            (Message::Extended { id: 3, payload }, b"\0\0\0\x04\x14\x03de".to_vec()),
            (Message::Unknown(9), b"\0\0\0\x01\x09".to_vec()),
        ] {
            assert_eq!(encoded(&message), bytes, "{message:?}");
            assert_eq!(decode(&bytes), Ok(Decoded::Message { message, used: bytes.len() }));
        }
    }

    #[test]
    fn a_piece_gives_its_header_before_its_bytes_are_there() {
        let mut out = Vec::new();
        encode_block_header(BLOCK, &mut out);
        assert_eq!(out, b"\0\0\x40\x09\x07\0\0\0\x01\0\0\x02\x03");
        assert_eq!(decode(&out), Ok(Decoded::Block { block: BLOCK, used: 13 }));
        out.extend_from_slice(b"bytes of the block");
        assert_eq!(decode(&out), Ok(Decoded::Block { block: BLOCK, used: 13 }));
    }

    #[test]
    fn port_of_another_proposal_is_skipped() {
        let port = b"\0\0\0\x03\x09\x1a\xe1and more";
        assert_eq!(decode(port), Ok(Decoded::Message { message: Message::Unknown(9), used: 7 }));
    }

    #[test]
    fn lengths_that_no_message_has_are_refused_before_the_bytes_come() {
        let long = MAX_MESSAGE_BYTES + 1;
        assert_eq!(decode(&(long as u32).to_be_bytes()), Err(Error::Long { bytes: long }));
        assert!(decode(&[0xff; 4]).is_err());
        let block = MAX_REQUEST_BYTES as usize;
        for (kind, wrong) in [
            (CHOKE, vec![2]),
            (UNCHOKE, vec![2]),
            (INTERESTED, vec![5]),
            (NOT_INTERESTED, vec![2]),
            (HAVE, vec![1, 4, 6]),
            (BITFIELD, vec![1, 2 + MAX_PIECES as usize / 8]),
            (REQUEST, vec![1, 12, 14]),
            (PIECE, vec![1, 8, 9, 10 + block]),
            (CANCEL, vec![12, 14]),
            (SUGGEST, vec![4, 6]),
            (HAVE_ALL, vec![2]),
            (HAVE_NONE, vec![2]),
            (REJECT, vec![12, 14]),
            (ALLOWED_FAST, vec![4, 6]),
            (EXTENDED, vec![1, 3 + MAX_EXTENDED_BYTES]),
            (9, vec![1 + MAX_UNKNOWN_MESSAGE_BYTES]),
            (255, vec![1 + MAX_UNKNOWN_MESSAGE_BYTES]),
        ] {
            for bytes in wrong {
                let mut head = (bytes as u32).to_be_bytes().to_vec();
                head.push(kind);
                let refused = decode(&head);
                let expected = matches!(refused, Err(Error::Length { kind: k, bytes: b, .. })
                    if (k, b) == (kind, bytes));
                assert!(expected, "kind {kind} of {bytes} bytes: {refused:?}");
            }
        }
    }

    #[test]
    fn the_longest_messages_pass() {
        for message in [
            Message::Bitfield(vec![1; MAX_PIECES as usize / 8]),
            Message::Extended { id: 255, payload: vec![1; MAX_EXTENDED_BYTES] },
        ] {
            let bytes = encoded(&message);
            assert_eq!(decode(&bytes), Ok(Decoded::Message { message, used: bytes.len() }));
        }
        let block = Block { piece: u32::MAX, begin: u32::MAX, length: MAX_REQUEST_BYTES };
        let mut out = Vec::new();
        encode_block_header(block, &mut out);
        assert_eq!(decode(&out), Ok(Decoded::Block { block, used: 13 }));
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let block =
            any::<(u32, u32, u32)>().prop_map(|(piece, begin, length)| Block { piece, begin, length });
        prop_oneof![
            prop::sample::select(vec![
                Message::KeepAlive,
                Message::Choke,
                Message::Unchoke,
                Message::Interested,
                Message::NotInterested,
                Message::HaveAll,
                Message::HaveNone,
                Message::Unknown(9),
                Message::Unknown(21),
            ]),
            any::<u32>().prop_map(Message::Have),
            any::<u32>().prop_map(Message::Suggest),
            any::<u32>().prop_map(Message::AllowedFast),
            block.clone().prop_map(Message::Request),
            block.clone().prop_map(Message::Cancel),
            block.prop_map(Message::Reject),
            prop::collection::vec(any::<u8>(), 1..40).prop_map(Message::Bitfield),
            (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(id, payload)| Message::Extended { id, payload }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_sent_is_what_arrives(message in any_message(), more: Vec<u8>) {
            let mut bytes = encoded(&message);
            let used = bytes.len();
            prop_assert_eq!(message.encoded_len(), used);
            for cut in 0..used {
                prop_assert_eq!(decode(&bytes[..cut]), Ok(Decoded::More));
            }
            bytes.extend(more);
            prop_assert_eq!(decode(&bytes), Ok(Decoded::Message { message, used }));
        }

        #[test]
        fn a_block_header_arrives(piece: u32, begin: u32, length in 1..=MAX_REQUEST_BYTES) {
            let (block, mut bytes) = (Block { piece, begin, length }, Vec::new());
            encode_block_header(block, &mut bytes);
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..cut]), Ok(Decoded::More));
            }
            prop_assert_eq!(decode(&bytes), Ok(Decoded::Block { block, used: bytes.len() }));
        }

        #[test]
        fn any_bytes_are_decoded_refused_or_awaited(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Decoded::Message { used, .. } | Decoded::Block { used, .. }) = decode(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
