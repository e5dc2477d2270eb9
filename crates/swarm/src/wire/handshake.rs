//! The first 68 bytes of a connection, each way (BEP 3).
//!
//! A name of the protocol, eight reserved bytes whose bits say what a peer can do beyond BEP 3, the torrent
//! and the peer. Bits that are not ours are nobody's fault: they are ignored. What is left out: whether the
//! torrent is one of ours, and whether the peer is ourselves, which a driver knows.

use crate::id::{InfoHash, PeerId};

/// Its length.
pub const HANDSHAKE_BYTES: usize = 68;

/// The name's length, and the name.
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// Which reserved byte has the bit of BEP 10, and the bit.
const EXTENDED: (usize, u8) = (5, 0x10);
/// The same for BEP 6.
const FAST: (usize, u8) = (7, 0x04);

/// What a peer says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The peer.
    pub peer_id: PeerId,
    /// What it can do.
    pub features: Features,
}

/// Reserved bits that we know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// BEP 6: `HaveAll`, `Reject` and their like.
    pub fast: bool,
    /// BEP 10: extended messages.
    pub extended: bool,
}

/// Why bytes are no handshake: the fault is the far end's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It speaks something else, perhaps a handshake that is encrypted.
    #[error("the far end does not speak BitTorrent (BEP 3): its first bytes are {:02x?}", .0)]
    Protocol([u8; 8]),
}

impl Handshake {
    /// As it is sent.
    pub fn encode(&self) -> [u8; HANDSHAKE_BYTES] {
        let mut reserved = [0; 8];
        for ((byte, bit), set) in [(EXTENDED, self.features.extended), (FAST, self.features.fast)] {
            reserved[byte] |= if set { bit } else { 0 };
        }
        let mut bytes = [0; HANDSHAKE_BYTES];
        let fields = [&PROTOCOL[..], &reserved, &self.info_hash.0, &self.peer_id.0].concat();
        bytes.copy_from_slice(&fields);
        bytes
    }

    /// What was sent.
    ///
    /// # Errors
    /// The bytes begin with another protocol's name.
    pub fn decode(bytes: &[u8; HANDSHAKE_BYTES]) -> Result<Handshake, Error> {
        if !bytes.starts_with(PROTOCOL) {
            return Err(Error::Protocol(part(bytes, 0)));
        }
        let reserved: [u8; 8] = part(bytes, 20);
        let set = |(byte, bit): (usize, u8)| reserved[byte] & bit != 0;
        Ok(Handshake {
            info_hash: InfoHash(part(bytes, 28)),
            peer_id: PeerId(part(bytes, 48)),
            features: Features { fast: set(FAST), extended: set(EXTENDED) },
        })
    }
}

/// `N` bytes from `start` on.
fn part<const N: usize>(bytes: &[u8; HANDSHAKE_BYTES], start: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[start + i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: &[u8; 68] = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04\
        AAAAAAAAAAAAAAAAAAAA-OF0010-abcdefghijkl";

    fn shake(fast: bool, extended: bool) -> Handshake {
        Handshake {
            info_hash: InfoHash([b'A'; 20]),
            peer_id: PeerId(*b"-OF0010-abcdefghijkl"),
            features: Features { fast, extended },
        }
    }

    #[test]
    fn the_bytes_are_those_of_bep_3() {
        assert_eq!(shake(true, true).encode(), *BYTES);
        assert_eq!(Handshake::decode(BYTES), Ok(shake(true, true)));
        assert_eq!(shake(true, false).encode()[20..28], [0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(shake(false, true).encode()[20..28], [0, 0, 0, 0, 0, 0x10, 0, 0]);
    }

    #[test]
    fn bits_of_other_proposals_are_ignored() {
        let mut bytes = *BYTES;
        bytes[20..28].fill(0xff);
        assert_eq!(Handshake::decode(&bytes), Ok(shake(true, true)));
        bytes[25] = !0x10;
        bytes[27] = !0x04;
        assert_eq!(Handshake::decode(&bytes), Ok(shake(false, false)));
    }

    #[test]
    fn another_protocol_is_refused() {
        for wrong in 0..20 {
            let mut bytes = *BYTES;
            bytes[wrong] ^= 1;
            assert!(Handshake::decode(&bytes).is_err(), "byte {wrong}");
        }
        let mut http = *BYTES;
        http[..8].copy_from_slice(b"GET / HT");
        assert_eq!(Handshake::decode(&http), Err(Error::Protocol(*b"GET / HT")));
    }

    proptest! {
        #[test]
        fn what_was_sent_is_what_arrives(
            hash: [u8; 20], peer: [u8; 20], fast: bool, extended: bool,
        ) {
            let shake = Handshake {
                info_hash: InfoHash(hash),
                peer_id: PeerId(peer),
                features: Features { fast, extended },
            };
            prop_assert_eq!(Handshake::decode(&shake.encode()), Ok(shake));
        }
    }
}
