//! The peer wire: whatever the bytes and wherever the stream is cut, the decoder says the same, and what it
//! has decoded encodes to the bytes that it was. What extended messages carry, handshakes and discovery
//! datagrams are read or refused, and survive a round trip.
//!
//! The first byte is a seed for the cuts; the rest is the stream. The memory bound is libFuzzer's
//! `-malloc_limit_mb`, set in `scripts/fuzz.sh`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offload_swarm::geometry::Block;
use offload_swarm::limits::{MAX_DISCOVERY_BYTES, MAX_PEX_PEERS, MAX_REQUEST_BYTES};
use offload_swarm::wire::discovery::{GROUP_V4, Search};
use offload_swarm::wire::extension::{Exchange, HELLO, Hello, Metadata, UT_METADATA, UT_PEX};
use offload_swarm::wire::handshake::Handshake;
use offload_swarm::wire::message::{Decoded, Error, Message, decode, encode_block_header};

/// What a stream holds: messages with their bytes, blocks with as many as came.
#[derive(Debug, PartialEq)]
enum Item {
    Message(Message, Vec<u8>),
    Block(Block, usize),
}

fuzz_target!(|input: &[u8]| {
    let Some((&seed, stream)) = input.split_first() else { return };
    let (items, error) = read(stream, usize::MAX, 0);
    assert_eq!(read(stream, 1 + usize::from(seed % 40), seed), (items, error));
    for item in read(stream, usize::MAX, 0).0 {
        check(&item);
    }
    if let Some(Ok(shake)) = stream.first_chunk().map(Handshake::decode) {
        assert_eq!(Handshake::decode(&shake.encode()), Ok(shake));
    }
    if let Ok(search) = Search::decode(stream) {
        for datagram in search.encode(GROUP_V4.into()) {
            // Another's cookie may be longer than leaves room for our form of the rest.
            assert!(
                Search::decode(&datagram) == Ok(search.clone()) || datagram.len() > MAX_DISCOVERY_BYTES
            );
        }
    }
});

/// Reads `stream`, of which about `step` bytes more are there each time, as `seed` has it.
fn read(stream: &[u8], step: usize, seed: u8) -> (Vec<Item>, Option<Error>) {
    let (mut items, mut chance) = (Vec::new(), u32::from(seed));
    let (mut there, mut at, mut of_block) = (0, 0, 0);
    while there < stream.len() {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        there = step.saturating_add((chance >> 24) as usize % 7).saturating_add(there).min(stream.len());
        loop {
            let taken = of_block.min(there - at);
            if let Some(Item::Block(_, bytes)) = items.last_mut() {
                *bytes += taken;
            }
            (at, of_block) = (at + taken, of_block - taken);
            if of_block > 0 {
                break;
            }
            match decode(&stream[at..there]) {
                Err(error) => return (items, Some(error)),
                Ok(Decoded::More) => break,
                Ok(Decoded::Message { message, used }) => {
                    items.push(Item::Message(message, stream[at..at + used].to_vec()));
                    at += used;
                }
                Ok(Decoded::Block { block, used }) => {
                    let mut header = Vec::new();
                    encode_block_header(block, &mut header);
                    assert_eq!(header, stream[at..at + used]);
                    items.push(Item::Block(block, 0));
                    (at, of_block) = (at + used, block.length as usize);
                }
            }
        }
    }
    (items, None)
}

fn check(item: &Item) {
    let (message, bytes) = match item {
        Item::Message(message, bytes) => (message, bytes),
        Item::Block(block, bytes) => {
            assert!((1..=MAX_REQUEST_BYTES).contains(&block.length) && *bytes <= block.length as usize);
            return;
        }
    };
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again.len(), message.encoded_len());
    match message {
        // Its body is not kept.
        Message::Unknown(kind) => assert_eq!((again[4], bytes[4]), (*kind, *kind)),
        _ => assert_eq!(again, *bytes),
    }
    let Message::Extended { id, payload } = message else { return };
    match *id {
        HELLO => {
            if let Ok(hello) = Hello::decode(payload) {
                assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
            }
        }
        UT_PEX => {
            if let Ok(exchange) = Exchange::decode(payload) {
                assert!(exchange.added.len().max(exchange.dropped.len()) <= MAX_PEX_PEERS);
                assert_eq!(Exchange::decode(&exchange.encode()), Ok(exchange));
            }
        }
        UT_METADATA => {
            if let Ok(Some(metadata)) = Metadata::decode(payload) {
                assert_eq!(Metadata::decode(&metadata.encode()), Ok(Some(metadata)));
            }
        }
        _ => {}
    }
}
