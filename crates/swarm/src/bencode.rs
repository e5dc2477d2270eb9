//! Bencoding (BEP 3): integers, byte strings, lists and dictionaries.
//!
//! The lesson: check the bytes once, then look at them where they are. A [`Value`] is a slice that is known
//! to be sound; asking it for a key or an element walks that slice again, and nothing is ever built of what
//! came from outside. So a hostile input costs time in proportion to its length and no memory to speak of,
//! and [`Value::raw`] gives the very bytes that were published, which an info-hash is the hash of.
//!
//! What is refused, since two readers could take it for two things: an integer or a length with a leading
//! zero, `-0`, a key that comes twice, a key that is no string, nesting beyond [`MAX_BENCODE_DEPTH`]. What
//! is tolerated, since trackers and peers do it: keys out of order, in a dictionary of at most
//! [`MAX_UNSORTED_KEYS`], and bytes after the end ([`parse_prefix`]; BEP 9 puts them there on purpose, some
//! trackers a line feed). An integer that exceeds 64 bits is sound and has no [`Value::as_int`].
//!
//! What we write is an [`Item`], whose dictionaries are sorted by construction. Left out: serde, which
//! loses the raw bytes, and the `bendy` crate, which gives no way to read keys out of order.

use crate::limits::{MAX_BENCODE_DEPTH, MAX_UNSORTED_KEYS};
use std::collections::BTreeMap;

/// Whoever wrote the bytes: they are no bencoded value. Positions count from the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value is longer than its bytes.
    #[error("bencoding that breaks off at byte {at}")]
    Short {
        /// Where more was expected.
        at: usize,
    },
    /// Not one of the four kinds, or not in the one way to write it.
    #[error("no bencoding at byte {at}")]
    Syntax {
        /// The offending byte, or the start of the number it is in.
        at: usize,
    },
    /// Lists in lists, beyond the bound.
    #[error("bencoding nests deeper than {MAX_BENCODE_DEPTH} at byte {at}")]
    Deep {
        /// The list or dictionary that is one too many.
        at: usize,
    },
    /// A key that comes twice means two things.
    #[error("a key comes twice in the dictionary at byte {at}")]
    Duplicate {
        /// The dictionary.
        at: usize,
    },
    /// A large dictionary whose keys are out of order.
    #[error("the keys of the large dictionary at byte {at} are out of order")]
    Unsorted {
        /// The dictionary.
        at: usize,
    },
    /// Something follows the value.
    #[error("more bytes after the end of the bencoding at byte {at}")]
    Trailing {
        /// The first of them.
        at: usize,
    },
}

/// The value that all of `bytes` is.
///
/// # Errors
/// The bytes are no bencoded value, or more than one.
pub fn parse(bytes: &[u8]) -> Result<Value<'_>, Error> {
    let (value, used) = parse_prefix(bytes)?;
    if used < bytes.len() { Err(Error::Trailing { at: used }) } else { Ok(value) }
}

/// The value that `bytes` begins with, and how many of them it is.
///
/// # Errors
/// The bytes do not begin with a bencoded value.
pub fn parse_prefix(bytes: &[u8]) -> Result<(Value<'_>, usize), Error> {
    let mut reader = Reader { bytes, at: 0 };
    reader.check(MAX_BENCODE_DEPTH)?;
    Ok((Value { raw: &bytes[..reader.at] }, reader.at))
}

/// A bencoded value, where it lies. Copied freely: it is a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// Checked by [`Reader::check`].
    raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// The bytes that encode it, as they were published.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// `None` where it is no integer, or one that 64 bits do not hold.
    pub fn as_int(self) -> Option<i64> {
        match self.reader().token() {
            Ok(Token::Int(digits)) => std::str::from_utf8(digits).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// `None` where it is no byte string.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self.reader().token() {
            Ok(Token::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// `None` where it is no byte string in UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// Its elements in order; `None` where it is no list.
    pub fn as_list(self) -> Option<impl Iterator<Item = Value<'a>> + use<'a>> {
        let mut reader = self.reader();
        let is_list = matches!(reader.token(), Ok(Token::List));
        is_list.then(|| std::iter::from_fn(move || reader.value()))
    }

    /// Its keys and values in the order they are written; `None` where it is no dictionary.
    pub fn as_dict(self) -> Option<impl Iterator<Item = (&'a [u8], Value<'a>)> + use<'a>> {
        let mut reader = self.reader();
        let is_dict = matches!(reader.token(), Ok(Token::Dict));
        is_dict.then(|| std::iter::from_fn(move || reader.entry()))
    }

    /// What the dictionary has under `key`; `None` where it has no such key, or where this is no dictionary.
    pub fn get(self, key: &[u8]) -> Option<Value<'a>> {
        self.as_dict()?.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn reader(self) -> Reader<'a> {
        Reader { bytes: self.raw, at: 0 }
    }
}

impl std::fmt::Debug for Value<'_> {
    /// The beginning of its bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.raw[..self.raw.len().min(200)].escape_ascii())
    }
}

/// What one may read without looking further.
enum Token<'a> {
    /// Sign and digits.
    Int(&'a [u8]),
    Bytes(&'a [u8]),
    List,
    Dict,
    End,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn token(&mut self) -> Result<Token<'a>, Error> {
        let at = self.at;
        let kind = *self.bytes.get(at).ok_or(Error::Short { at })?;
        if kind.is_ascii_digit() {
            let length = self.number(b':')?;
            let length: Option<usize> = std::str::from_utf8(length).ok().and_then(|l| l.parse().ok());
            let rest = &self.bytes[self.at..];
            let short = Error::Short { at: self.bytes.len() };
            let bytes = length.and_then(|length| rest.get(..length)).ok_or(short)?;
            self.at += bytes.len();
            return Ok(Token::Bytes(bytes));
        }
        self.at += 1;
        match kind {
            b'i' => self.number(b'e').map(Token::Int),
            b'l' => Ok(Token::List),
            b'd' => Ok(Token::Dict),
            b'e' => Ok(Token::End),
            _ => Err(Error::Syntax { at }),
        }
    }

    /// Sign and digits up to `end`, in the one way to write them.
    fn number(&mut self, end: u8) -> Result<&'a [u8], Error> {
        let (at, rest) = (self.at, &self.bytes[self.at..]);
        let sign = usize::from(rest.first() == Some(&b'-'));
        let digits = rest[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let stop = *rest.get(sign + digits).ok_or(Error::Short { at: self.bytes.len() })?;
        let zero_leads = rest[sign] == b'0' && (sign == 1 || digits > 1);
        if stop != end || digits == 0 || zero_leads {
            return Err(Error::Syntax { at });
        }
        self.at += sign + digits + 1;
        Ok(&rest[..sign + digits])
    }

    /// Is the list or dictionary at its end? Then it is behind us.
    fn ends(&mut self) -> bool {
        let end = self.bytes.get(self.at) == Some(&b'e');
        self.at += usize::from(end);
        end
    }

    /// Goes over one value that nests at most `depth` deep.
    fn check(&mut self, depth: usize) -> Result<(), Error> {
        let at = self.at;
        match self.token()? {
            Token::Int(_) | Token::Bytes(_) => return Ok(()),
            Token::End => return Err(Error::Syntax { at }),
            Token::List | Token::Dict if depth == 0 => return Err(Error::Deep { at }),
            Token::Dict => return self.check_dict(at, depth - 1),
            Token::List => {}
        }
        while !self.ends() {
            self.check(depth - 1)?;
        }
        Ok(())
    }

    fn check_dict(&mut self, at: usize, depth: usize) -> Result<(), Error> {
        let mut keys = Reader { bytes: self.bytes, at: self.at };
        let (mut last, mut count, mut sorted) = (None, 0, true);
        while !self.ends() {
            let key_at = self.at;
            let Token::Bytes(key) = self.token()? else { return Err(Error::Syntax { at: key_at }) };
            sorted &= last < Some(key);
            (last, count) = (Some(key), count + 1);
            self.check(depth)?;
        }
        if sorted {
            return Ok(());
        }
        if count > MAX_UNSORTED_KEYS {
            return Err(Error::Unsorted { at });
        }
        let mut keys: Vec<&[u8]> = std::iter::from_fn(|| keys.entry()).map(|(key, _)| key).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).any(|pair| pair[0] == pair[1]);
        if twice { Err(Error::Duplicate { at }) } else { Ok(()) }
    }

    /// The next value of a list or dictionary that was checked; `None` at its end.
    fn value(&mut self) -> Option<Value<'a>> {
        let (start, mut open) = (self.at, 0);
        loop {
            match self.token().ok()? {
                Token::Int(_) | Token::Bytes(_) => {}
                Token::List | Token::Dict => open += 1,
                Token::End if open == 0 => return None,
                Token::End => open -= 1,
            }
            if open == 0 {
                return Some(Value { raw: &self.bytes[start..self.at] });
            }
        }
    }

    /// The next key and its value of a dictionary that was checked; `None` at its end.
    fn entry(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let Ok(Token::Bytes(key)) = self.token() else { return None };
        Some((key, self.value()?))
    }
}

/// A value to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An integer.
    Int(i64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Item>),
    /// A dictionary, its keys sorted as BEP 3 asks.
    Dict(BTreeMap<Vec<u8>, Item>),
    /// A value that is encoded already and goes out as it is: an info dictionary as it was published.
    Raw(Vec<u8>),
}

impl Item {
    /// A dictionary of these keys.
    pub fn dict<'k>(entries: impl IntoIterator<Item = (&'k str, Item)>) -> Item {
        Item::Dict(entries.into_iter().map(|(key, item)| (key.as_bytes().to_vec(), item)).collect())
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Item::Int(int) => out.extend_from_slice(format!("i{int}e").as_bytes()),
            Item::Bytes(bytes) => encode_bytes(bytes, out),
            Item::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.encode_into(out));
                out.push(b'e');
            }
            Item::Dict(entries) => {
                out.push(b'd');
                for (key, item) in entries {
                    encode_bytes(key, out);
                    item.encode_into(out);
                }
                out.push(b'e');
            }
            Item::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

impl From<i64> for Item {
    fn from(int: i64) -> Item {
        Item::Int(int)
    }
}

impl From<u32> for Item {
    fn from(int: u32) -> Item {
        Item::Int(int.into())
    }
}

impl From<u16> for Item {
    fn from(int: u16) -> Item {
        Item::Int(int.into())
    }
}

impl From<u8> for Item {
    fn from(int: u8) -> Item {
        Item::Int(int.into())
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Item {
        Item::Bytes(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Item {
    fn from(bytes: &[u8]) -> Item {
        Item::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Item {
    fn from(bytes: Vec<u8>) -> Item {
        Item::Bytes(bytes)
    }
}

impl From<Vec<Item>> for Item {
    fn from(items: Vec<Item>) -> Item {
        Item::List(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same value, to write.
    fn item(value: Value<'_>) -> Item {
        if let Some(list) = value.as_list() {
            return Item::List(list.map(item).collect());
        }
        if let Some(dict) = value.as_dict() {
            return Item::Dict(dict.map(|(key, value)| (key.to_vec(), item(value))).collect());
        }
        let bytes = value.as_bytes().map(Item::from).or_else(|| value.as_int().map(Item::Int));
        bytes.unwrap_or_else(|| Item::Raw(value.raw().to_vec()))
    }

    #[test]
    fn the_examples_of_bep_3_read_as_they_say() {
        let text = parse(b"4:spam").unwrap();
        assert_eq!((text.as_str(), text.as_bytes()), (Some("spam"), Some(&b"spam"[..])));
        for (bytes, int) in [(&b"i3e"[..], 3), (b"i-3e", -3), (b"i0e", 0)] {
            assert_eq!(parse(bytes).unwrap().as_int(), Some(int));
        }
        let list = parse(b"l4:spam4:eggse").unwrap();
        let texts: Vec<_> = list.as_list().unwrap().map(|value| value.as_str().unwrap()).collect();
        assert_eq!(texts, ["spam", "eggs"]);
        let dict = parse(b"d3:cow3:moo4:spaml1:a1:bee").unwrap();
        assert_eq!(dict.get(b"cow").unwrap().as_str(), Some("moo"));
        assert_eq!(dict.get(b"spam").unwrap().raw(), b"l1:a1:be");
        assert_eq!(dict.get(b"moo"), None);
    }

    #[test]
    fn a_value_is_of_one_kind_only() {
        for bytes in [&b"i1e"[..], b"1:1", b"l1:ae", b"d1:a1:be", b"le", b"de", b"0:"] {
            let value = parse(bytes).unwrap();
            let kinds = [
                value.as_int().is_some(),
                value.as_bytes().is_some(),
                value.as_list().is_some(),
                value.as_dict().is_some(),
            ];
            assert_eq!(kinds.iter().filter(|kind| **kind).count(), 1, "{value:?}");
            assert_eq!(value.get(b"a").is_some(), bytes == b"d1:a1:be", "{value:?}");
        }
        assert_eq!(parse(b"2:\xff\xfe").unwrap().as_str(), None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_where_it_is() {
        for (bytes, error) in [
            (&b""[..], Error::Short { at: 0 }),
            (b"i", Error::Short { at: 1 }),
            (b"i12", Error::Short { at: 3 }),
            (b"l1:a", Error::Short { at: 4 }),
            (b"5:four", Error::Short { at: 6 }),
            (b"99999999999999999999999:", Error::Short { at: 24 }),
            (b"ie", Error::Syntax { at: 1 }),
            (b"i-e", Error::Syntax { at: 1 }),
            (b"i-0e", Error::Syntax { at: 1 }),
            (b"i03e", Error::Syntax { at: 1 }),
            (b"i+3e", Error::Syntax { at: 1 }),
            (b"i3 e", Error::Syntax { at: 1 }),
            (b"03:abc", Error::Syntax { at: 0 }),
            (b"-1:a", Error::Syntax { at: 0 }),
            (b"e", Error::Syntax { at: 0 }),
            (b"x", Error::Syntax { at: 0 }),
            (b"di1e1:ae", Error::Syntax { at: 1 }),
            (b"d1:ae", Error::Syntax { at: 4 }),
            (b"d1:a1:b1:a1:ce", Error::Duplicate { at: 0 }),
            (b"d1:b0:1:a0:1:b0:e", Error::Duplicate { at: 0 }),
            (b"ld1:a1:b1:a1:cee", Error::Duplicate { at: 1 }),
            (b"i1e\n", Error::Trailing { at: 3 }),
        ] {
            assert_eq!(parse(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn keys_out_of_order_are_read_all_the_same() {
        let value = parse(b"d5:peers0:8:intervali60ee").unwrap();
        assert_eq!(value.get(b"interval").and_then(Value::as_int), Some(60));
        let many = |count: usize| {
            let keys = (0..count).rev().map(|i| format!("5:{i:05}0:")).collect::<String>();
            format!("d{keys}e")
        };
        assert!(parse(many(MAX_UNSORTED_KEYS).as_bytes()).is_ok());
        let one_more = many(MAX_UNSORTED_KEYS + 1);
        assert_eq!(parse(one_more.as_bytes()), Err(Error::Unsorted { at: 0 }));
    }

    #[test]
    fn integers_beyond_64_bits_are_sound_and_have_no_value() {
        assert_eq!(parse(b"i9223372036854775807e").unwrap().as_int(), Some(i64::MAX));
        assert_eq!(parse(b"i-9223372036854775808e").unwrap().as_int(), Some(i64::MIN));
        assert_eq!(parse(b"i9223372036854775808e").unwrap().as_int(), None);
    }

    #[test]
    fn nesting_has_a_bound() {
        let nested = |depth: usize| format!("{}{}", "l".repeat(depth), "e".repeat(depth));
        assert!(parse(nested(MAX_BENCODE_DEPTH).as_bytes()).is_ok());
        let deep = Err(Error::Deep { at: MAX_BENCODE_DEPTH });
        assert_eq!(parse(nested(MAX_BENCODE_DEPTH + 1).as_bytes()), deep);
        assert_eq!(parse("l".repeat(1 << 20).as_bytes()), deep);
        assert_eq!(parse("d0:".repeat(1 << 20).as_bytes()), Err(Error::Deep { at: 48 }));
    }

    #[test]
    fn a_message_may_follow() {
        let (value, used) = parse_prefix(b"d8:msg_typei1eeblock").unwrap();
        assert_eq!((value.get(b"msg_type").and_then(Value::as_int), used), (Some(1), 15));
    }

    #[test]
    fn what_is_written_is_sorted_and_raw_bytes_stay() {
        let item = Item::dict([
            ("z", Item::Raw(b"d1:b0:1:a0:e".to_vec())),
            ("a", Item::from(-7i64)),
            ("m", vec![Item::from("x"), Item::from(&b"\0"[..])].into()),
        ]);
        assert_eq!(item.encode(), b"d1:ai-7e1:ml1:x1:\0e1:zd1:b0:1:a0:ee");
    }

    fn items() -> impl Strategy<Value = Item> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..12);
        let leaf = prop_oneof![any::<i64>().prop_map(Item::Int), bytes().prop_map(Item::Bytes)];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Item::List),
                prop::collection::btree_map(bytes(), inner, 0..8).prop_map(Item::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(written in items(), after in prop::collection::vec(any::<u8>(), 0..4)) {
            let bytes = written.encode();
            prop_assert_eq!(item(parse(&bytes).unwrap()), written);
            let longer = [&bytes[..], &after].concat();
            prop_assert_eq!(parse_prefix(&longer).unwrap().1, bytes.len());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(prop::sample::select(&b"idle012:-a"[..]), 0..40)) {
            if let Ok((value, used)) = parse_prefix(&bytes) {
                prop_assert_eq!(value.raw(), &bytes[..used]);
                let again = item(value).encode();
                prop_assert_eq!(again.len(), used);
                prop_assert_eq!(item(parse(&again).unwrap()), item(value));
            }
        }
    }
}
