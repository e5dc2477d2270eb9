//! What extended messages carry: the extended handshake (BEP 10), metadata (BEP 9), addresses (BEP 11).
//!
//! Each side says in its [`Hello`] by which numbers it wants to be sent what; a message carries the
//! receiver's number. All are bencoded dictionaries: keys that we do not know are skipped, those that we
//! know must be of their type. What is left out: flags of addresses, encryption, and everything a session
//! would not act on.

use super::compact::{self, decode4, decode6};
use super::printable;
use crate::bencode::{self, Item, Value};
use crate::limits::{MAX_CLIENT_CHARS, MAX_METAINFO_BYTES, MAX_PEX_PEERS, METADATA_BLOCK_BYTES};
use std::net::SocketAddr;

/// The number of the extended handshake, the same for all.
pub const HELLO: u8 = 0;
/// Our number for addresses (BEP 11).
pub const UT_PEX: u8 = 1;
/// Our number for metadata (BEP 9).
pub const UT_METADATA: u8 = 2;

// The kinds of BEP 9.
const REQUEST: i64 = 0;
const DATA: i64 = 1;
const REJECT: i64 = 2;

/// The extended handshake (BEP 10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Bytes of the info dictionary, if the sender has it (BEP 9).
    pub metadata_bytes: Option<u32>,
    /// The sender's number for [`Metadata`], if it takes part.
    pub metadata_id: Option<u8>,
    /// The sender's number for [`Exchange`], if it takes part.
    pub pex_id: Option<u8>,
    /// Where the sender listens.
    pub port: Option<u16>,
    /// Requests that the sender lets wait (`reqq`).
    pub queue: Option<u32>,
    /// The sender's program, for a person.
    pub client: Option<String>,
}

/// The info dictionary in blocks (BEP 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// "Send me this block"
    Request {
        /// Its index.
        piece: u32,
    },
    /// A block: of [`METADATA_BLOCK_BYTES`], but for the last.
    Data {
        /// Its index.
        piece: u32,
        /// Bytes of the info dictionary.
        total_bytes: u32,
        /// Bytes of the block.
        bytes: Vec<u8>,
    },
    /// "I do not send it"
    Reject {
        /// Its index.
        piece: u32,
    },
}

/// Peers that the sender is newly connected to, or no more (BEP 11). Honest peers send 50 of each at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Newly connected.
    pub added: Vec<SocketAddr>,
    /// No more.
    pub dropped: Vec<SocketAddr>,
}

/// Why an extended message cannot be read: the fault is the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No bencoding.
    #[error("the peer's extended message: {0}")]
    Bencode(#[from] bencode::Error),
    /// Bencoding, but no dictionary.
    #[error("the peer's extended message is no dictionary")]
    Dictionary,
    /// A key is there, with a value that it cannot have.
    #[error("the peer's extended message has a {0} that means nothing")]
    Field(&'static str),
    /// A key is not there.
    #[error("the peer's extended message lacks {0}")]
    Missing(&'static str),
    /// The bytes after the dictionary are not those that it announces.
    #[error("the peer's metadata message has {0} bytes of metadata, which is not what belongs there")]
    Length(usize),
}

impl Hello {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let numbers = [("ut_metadata", self.metadata_id), ("ut_pex", self.pex_id)];
        let numbers = numbers.into_iter().filter_map(|(name, id)| Some((name, Item::from(id?))));
        let fields = [
            ("m", Some(Item::dict(numbers))),
            ("metadata_size", self.metadata_bytes.map(Item::from)),
            ("p", self.port.map(Item::from)),
            ("reqq", self.queue.map(Item::from)),
            ("v", self.client.as_deref().map(Item::from)),
        ];
        Item::dict(fields.into_iter().filter_map(|(key, item)| Some((key, item?)))).encode()
    }

    /// What was sent.
    ///
    /// # Errors
    /// It is no dictionary, or a key that we know is not of its type or exceeds what we take.
    pub fn decode(payload: &[u8]) -> Result<Hello, Error> {
        let hello = bencode::parse(payload)?;
        let m = field(hello, "m", |value| value.as_dict().map(|_| value))?;
        // 0 takes a number back.
        let id = |name| -> Result<Option<u8>, Error> {
            let Some(m) = m else { return Ok(None) };
            Ok(field(m, name, number)?.filter(|id| *id != 0))
        };
        let metadata_bytes = field(hello, "metadata_size", number)?.filter(|bytes| *bytes != 0);
        if metadata_bytes.is_some_and(|bytes: u32| bytes as usize > MAX_METAINFO_BYTES) {
            return Err(Error::Field("metadata_size"));
        }
        let client = field(hello, "v", Value::as_bytes)?;
        Ok(Hello {
            metadata_bytes,
            metadata_id: id("ut_metadata")?,
            pex_id: id("ut_pex")?,
            port: field(hello, "p", number)?.filter(|port| *port != 0),
            queue: field(hello, "reqq", number)?,
            client: client.map(|name| printable(name, MAX_CLIENT_CHARS)),
        })
    }
}

impl Metadata {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, piece) = match self {
            Metadata::Request { piece } => (REQUEST, *piece),
            Metadata::Data { piece, .. } => (DATA, *piece),
            Metadata::Reject { piece } => (REJECT, *piece),
        };
        let head = [("msg_type", Item::Int(kind)), ("piece", piece.into())];
        if let Metadata::Data { total_bytes, bytes, .. } = self {
            let head = head.into_iter().chain([("total_size", (*total_bytes).into())]);
            let mut out = Item::dict(head).encode();
            out.extend_from_slice(bytes);
            return out;
        }
        Item::dict(head).encode()
    }

    /// What was sent; `None` where it is of a kind that we do not know, which BEP 9 says to ignore.
    ///
    /// # Errors
    /// It is no dictionary, lacks a key, or a block is not as long as its place in the whole says.
    pub fn decode(payload: &[u8]) -> Result<Option<Metadata>, Error> {
        let (head, used) = bencode::parse_prefix(payload)?;
        let bytes = &payload[used..];
        let required = |name| field(head, name, number::<u32>)?.ok_or(Error::Missing(name));
        let kind = field(head, "msg_type", Value::as_int)?.ok_or(Error::Missing("msg_type"))?;
        if !(REQUEST..=REJECT).contains(&kind) {
            return Ok(None);
        }
        let piece = required("piece")?;
        if kind == DATA {
            let total_bytes = required("total_size")?;
            if total_bytes as usize > MAX_METAINFO_BYTES {
                return Err(Error::Field("total_size"));
            }
            let begin = u64::from(piece) * METADATA_BLOCK_BYTES as u64;
            let belongs = u64::from(total_bytes).saturating_sub(begin).min(METADATA_BLOCK_BYTES as u64);
            if bytes.is_empty() || bytes.len() as u64 != belongs {
                return Err(Error::Length(bytes.len()));
            }
            return Ok(Some(Metadata::Data { piece, total_bytes, bytes: bytes.to_vec() }));
        }
        if !bytes.is_empty() {
            return Err(Error::Length(bytes.len()));
        }
        let request = kind == REQUEST;
        Ok(Some(if request { Metadata::Request { piece } } else { Metadata::Reject { piece } }))
    }
}

impl Exchange {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let (added4, added6) = compact::encode(self.added.iter().copied());
        let (dropped4, dropped6) = compact::encode(self.dropped.iter().copied());
        // Flags say how to connect; the plain way is none.
        let (flags4, flags6) = (vec![0; added4.len() / 6], vec![0; added6.len() / 18]);
        let fields = [
            ("added", added4),
            ("added.f", flags4),
            ("added6", added6),
            ("added6.f", flags6),
            ("dropped", dropped4),
            ("dropped6", dropped6),
        ];
        Item::dict(fields.map(|(key, bytes)| (key, bytes.into()))).encode()
    }

    /// What was sent: the first [`MAX_PEX_PEERS`] of each, IPv4 before IPv6.
    ///
    /// # Errors
    /// It is no dictionary, or its addresses do not come out even.
    pub fn decode(payload: &[u8]) -> Result<Exchange, Error> {
        let message = bencode::parse(payload)?;
        let both = |four, six| -> Result<Vec<SocketAddr>, Error> {
            let four = field(message, four, |value| decode4(value.as_bytes()?))?;
            let six = field(message, six, |value| decode6(value.as_bytes()?))?;
            Ok(four.into_iter().flatten().chain(six.into_iter().flatten()).take(MAX_PEX_PEERS).collect())
        };
        Ok(Exchange { added: both("added", "added6")?, dropped: both("dropped", "dropped6")? })
    }
}

/// A key's value, if the key is there.
fn field<'a, T>(
    message: Value<'a>,
    name: &'static str,
    read: impl FnOnce(Value<'a>) -> Option<T>,
) -> Result<Option<T>, Error> {
    let found = message.as_dict().ok_or(Error::Dictionary)?.find(|(key, _)| *key == name.as_bytes());
    found.map(|(_, value)| read(value).ok_or(Error::Field(name))).transpose()
}

fn number<T: TryFrom<i64>>(value: Value<'_>) -> Option<T> {
    value.as_int()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hello_has_the_bytes_of_bep_10() {
        let hello = Hello {
            metadata_bytes: Some(31235),
            metadata_id: Some(UT_METADATA),
            pex_id: Some(UT_PEX),
            port: Some(6881),
            queue: Some(1024),
            client: Some("offload 0.1".into()),
        };
        let bytes = b"d1:md11:ut_metadatai2e6:ut_pexi1ee13:metadata_sizei31235e1:pi6881e\
            4:reqqi1024e1:v11:offload 0.1e";
        assert_eq!(hello.encode(), bytes);
        assert_eq!(Hello::decode(bytes), Ok(hello));
        assert_eq!(Hello::default().encode(), b"d1:mdee");
        assert_eq!(Hello::decode(b"de"), Ok(Hello::default()));
    }

    #[test]
    fn what_other_programs_say_in_their_hello_is_skipped() {
        let theirs = b"d1:ei0e4:ipv44:\x7f\0\0\x011:md11:LT_metadatai14e6:ut_pexi0ee13:metadata_sizei0e\
            1:pi0e11:upload_onlyi1e1:v7:a\x1b[2J\r\n6:yourip4:\x7f\0\0\x01e";
        let hello = Hello { client: Some("a\u{fffd}[2J\u{fffd}\u{fffd}".into()), ..Hello::default() };
        assert_eq!(Hello::decode(theirs), Ok(hello));
    }

    #[test]
    fn a_hello_of_wrong_types_is_refused() {
        for (bytes, field) in [
            (&b"d1:mlee"[..], "m"),
            (b"d1:md6:ut_pex1:1ee", "ut_pex"),
            (b"d1:md6:ut_pexi256eee", "ut_pex"),
            (b"d1:md11:ut_metadatai-1eee", "ut_metadata"),
            (b"d13:metadata_sizei-1ee", "metadata_size"),
            (b"d13:metadata_sizei33554433ee", "metadata_size"),
            (b"d1:pi65536ee", "p"),
            (b"d4:reqq1:1e", "reqq"),
            (b"d4:reqqi4294967296ee", "reqq"),
            (b"d1:vi1ee", "v"),
        ] {
            assert_eq!(Hello::decode(bytes), Err(Error::Field(field)), "{}", bytes.escape_ascii());
        }
        assert_eq!(Hello::decode(b"le"), Err(Error::Dictionary));
        assert!(matches!(Hello::decode(b"d1:md"), Err(Error::Bencode(_))));
        assert!(matches!(Hello::decode(b"dee"), Err(Error::Bencode(_))));
    }

    #[test]
    fn metadata_messages_have_the_bytes_of_bep_9() {
        let total_bytes = METADATA_BLOCK_BYTES as u32 + 3;
        let data = Metadata::Data { piece: 1, total_bytes, bytes: b"abc".to_vec() };
        for (message, bytes) in [
            (Metadata::Request { piece: 0 }, &b"d8:msg_typei0e5:piecei0ee"[..]),
            (data, b"d8:msg_typei1e5:piecei1e10:total_sizei16387eeabc"),
            (Metadata::Reject { piece: 7 }, b"d8:msg_typei2e5:piecei7ee"),
        ] {
            assert_eq!(message.encode(), bytes);
            assert_eq!(Metadata::decode(bytes), Ok(Some(message)));
        }
        assert_eq!(Metadata::decode(b"d8:msg_typei3ee"), Ok(None));
    }

    #[test]
    fn metadata_that_does_not_belong_there_is_refused() {
        for (bytes, error) in [
            (&b"d5:piecei0ee"[..], Error::Missing("msg_type")),
            (b"d8:msg_typei0ee", Error::Missing("piece")),
            (b"d8:msg_typei1e5:piecei0eeabc", Error::Missing("total_size")),
            (b"d8:msg_typei0e5:piecei-1ee", Error::Field("piece")),
            (b"d8:msg_type1:05:piecei0ee", Error::Field("msg_type")),
            (b"d8:msg_typei1e5:piecei0e10:total_sizei33554433eeabc", Error::Field("total_size")),
            (b"d8:msg_typei1e5:piecei0e10:total_sizei3eeab", Error::Length(2)),
            (b"d8:msg_typei1e5:piecei0e10:total_sizei3eeabcd", Error::Length(4)),
            (b"d8:msg_typei1e5:piecei0e10:total_sizei16387eeabc", Error::Length(3)),
            (b"d8:msg_typei1e5:piecei1e10:total_sizei16384ee", Error::Length(0)),
            (b"d8:msg_typei1e5:piecei4294967295e10:total_sizei3eeabc", Error::Length(3)),
            (b"d8:msg_typei0e5:piecei0eex", Error::Length(1)),
            (b"i0e", Error::Dictionary),
        ] {
            assert_eq!(Metadata::decode(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn an_exchange_has_the_bytes_of_bep_11() {
        let exchange = Exchange {
            added: vec!["10.0.0.1:1".parse().unwrap(), "[::2]:3".parse().unwrap()],
            dropped: vec!["10.0.0.2:258".parse().unwrap()],
        };
        let bytes = b"d5:added6:\x0a\0\0\x01\0\x017:added.f1:\0\
            6:added618:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\x038:added6.f1:\0\
            7:dropped6:\x0a\0\0\x02\x01\x028:dropped60:e";
        assert_eq!(exchange.encode(), bytes);
        assert_eq!(Exchange::decode(bytes), Ok(exchange));
        assert_eq!(Exchange::decode(b"d7:added.f3:abc4:spami1ee"), Ok(Exchange::default()));
    }

    #[test]
    fn an_exchange_is_bounded_and_strict() {
        let many = (0..20_000u32).map(|i| SocketAddr::from(((0x0a00_0000 + i).to_be_bytes(), 1)));
        let exchange = Exchange { added: many.collect(), dropped: Vec::new() };
        let taken = Exchange::decode(&exchange.encode()).unwrap();
        assert_eq!(taken.added, exchange.added[..MAX_PEX_PEERS]);
        for (bytes, field) in [
            (&b"d5:added5:abcdee"[..], "added"),
            (b"d6:added66:abcdefe", "added6"),
            (b"d7:droppedi1ee", "dropped"),
        ] {
            assert_eq!(Exchange::decode(bytes), Err(Error::Field(field)));
        }
        assert_eq!(Exchange::decode(b"i1e"), Err(Error::Dictionary));
    }

    fn addresses() -> impl Strategy<Value = Vec<SocketAddr>> {
        let four = (1u32..0xe000_0000, 1u16..).prop_map(|(ip, port)| (ip.to_be_bytes(), port).into());
        let six = (1u128..1 << 127, 1u16..).prop_map(|(ip, port)| (ip.to_be_bytes(), port).into());
        let all = (prop::collection::vec(four, 0..50), prop::collection::vec(six, 0..50));
        all.prop_map(|(four, six)| [four, six].concat())
    }

    proptest! {
        #[test]
        fn a_hello_arrives(
            metadata_bytes in prop::option::of(1..=MAX_METAINFO_BYTES as u32),
            metadata_id in prop::option::of(1u8..), pex_id in prop::option::of(1u8..),
            port in prop::option::of(1u16..), queue: Option<u32>, client in prop::option::of("[ -~é]{0,64}"),
        ) {
            let hello = Hello { metadata_bytes, metadata_id, pex_id, port, queue, client };
            prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        }

        #[test]
        fn metadata_arrives(all in prop::collection::vec(any::<u8>(), 1..3 * METADATA_BLOCK_BYTES), piece: u32) {
            let total_bytes = all.len() as u32;
            for (piece, bytes) in (0..).zip(all.chunks(METADATA_BLOCK_BYTES)) {
                let data = Metadata::Data { piece, total_bytes, bytes: bytes.to_vec() };
                prop_assert_eq!(Metadata::decode(&data.encode()), Ok(Some(data)));
            }
            for message in [Metadata::Request { piece }, Metadata::Reject { piece }] {
                prop_assert_eq!(Metadata::decode(&message.encode()), Ok(Some(message)));
            }
        }

        #[test]
        fn an_exchange_arrives(added in addresses(), dropped in addresses()) {
            let exchange = Exchange { added, dropped };
            prop_assert_eq!(Exchange::decode(&exchange.encode()), Ok(exchange));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Hello::decode(&bytes), Metadata::decode(&bytes), Exchange::decode(&bytes));
        }
    }
}
