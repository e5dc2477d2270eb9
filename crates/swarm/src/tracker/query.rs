//! What a peer asks a tracker: the query string of GET `/announce` (BEP 3) and `/scrape` (BEP 48).
//!
//! Names and values are percent-encoded bytes: an info-hash is 20 of them and seldom text. A field that comes
//! twice means two things and is refused; one that we do not know is skipped. What a peer is told when it is
//! refused is the [`Error`] in words, as the failure reason.

use super::Announce;
use crate::id::{InfoHash, PeerId};
use crate::limits::{MAX_KEY_BYTES, MAX_QUERY_BYTES, MAX_SCRAPE_HASHES};
use crate::peer::AnnounceEvent;
use percent_encoding::{CONTROLS, percent_decode, percent_encode};

/// Why a query is not answered: the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than any peer has to say.
    #[error("the query has {0} bytes, {MAX_QUERY_BYTES} are the most")]
    Long(usize),
    /// More torrents than one may ask for at once.
    #[error("a scrape names {MAX_SCRAPE_HASHES} torrents at most")]
    Torrents,
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field is there more than once.
    #[error("{0} comes twice")]
    Twice(&'static str),
    /// A field's value does not mean anything.
    #[error("{0} is malformed")]
    Malformed(&'static str),
}

/// The query of an announce: what follows the question mark.
///
/// # Errors
/// A field is missing, comes twice, or does not mean anything.
pub fn announce(query: &str) -> Result<Announce, Error> {
    let fields = Fields::new(query)?;
    Ok(Announce {
        info_hash: InfoHash(fields.required("info_hash", name)?),
        peer_id: PeerId(fields.required("peer_id", name)?),
        port: fields.required("port", port)?,
        uploaded: fields.required("uploaded", number)?,
        downloaded: fields.required("downloaded", number)?,
        left: fields.required("left", number)?,
        event: fields.optional("event", event)?.unwrap_or(AnnounceEvent::Regular),
        wanted: fields.optional("numwant", wanted)?.flatten(),
        // BEP 23 suggests the compact form for those that do not say.
        compact: fields.optional("compact", truth)?.unwrap_or(true),
        // BEP 3 allows a host's name too, which we do not look up.
        ip: fields
            .optional("ip", |bytes| Some(text(bytes).and_then(|text| text.parse().ok())))?
            .flatten(),
        key: fields.optional("key", key)?,
    })
}

/// The query of a scrape: the torrents it names, none if it is about all.
///
/// # Errors
/// A name is not 20 bytes, or there are too many.
pub fn scrape(query: &str) -> Result<Vec<InfoHash>, Error> {
    let fields = Fields::new(query)?;
    let values = fields.values("info_hash").take(MAX_SCRAPE_HASHES + 1);
    let read = |bytes: &[u8]| name(bytes).map(InfoHash);
    let hashes = values.map(|value| decoded("info_hash", value, read)).collect::<Result<Vec<_>, _>>()?;
    if hashes.len() > MAX_SCRAPE_HASHES { Err(Error::Torrents) } else { Ok(hashes) }
}

/// A query of a sensible length.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn new(query: &'a str) -> Result<Fields<'a>, Error> {
        if query.len() > MAX_QUERY_BYTES { Err(Error::Long(query.len())) } else { Ok(Fields(query)) }
    }

    /// All values of a field, as they came.
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        let pairs = self.0.split('&').map(|field| field.split_once('=').unwrap_or((field, "")));
        pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
    }

    fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let mut values = self.values(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Error::Twice(name));
        }
        decoded(name, value, read).map(Some)
    }

    fn required<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, Error> {
        self.optional(name, read)?.ok_or(Error::Missing(name))
    }
}

/// What a field's value means. A plus sign is a space, as forms write it.
fn decoded<T>(
    name: &'static str,
    value: &str,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, Error> {
    let escape = |rest: &str| {
        rest.as_bytes().first_chunk().is_some_and(|two: &[u8; 2]| two.iter().all(u8::is_ascii_hexdigit))
    };
    let sound = value.split('%').skip(1).all(escape);
    let bytes: Vec<u8> = percent_decode(value.replace('+', " ").as_bytes()).collect();
    read(&bytes).filter(|_| sound).ok_or(Error::Malformed(name))
}

fn name(bytes: &[u8]) -> Option<[u8; 20]> {
    bytes.try_into().ok()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Digits and nothing else.
fn number(bytes: &[u8]) -> Option<u64> {
    text(bytes).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn port(bytes: &[u8]) -> Option<u16> {
    number(bytes)?.try_into().ok().filter(|port| *port != 0)
}

/// A negative number leaves it to the tracker, some say; `None` then.
fn wanted(bytes: &[u8]) -> Option<Option<u32>> {
    match bytes.strip_prefix(b"-") {
        Some(digits) => number(digits).map(|_| None),
        None => number(bytes).map(|wanted| Some(u32::try_from(wanted).unwrap_or(u32::MAX))),
    }
}

fn event(bytes: &[u8]) -> Option<AnnounceEvent> {
    match bytes {
        b"started" => Some(AnnounceEvent::Started),
        b"completed" => Some(AnnounceEvent::Completed),
        b"stopped" => Some(AnnounceEvent::Stopped),
        // BEP 21: it has what it wants, though not all, and stays.
        b"" | b"empty" | b"paused" => Some(AnnounceEvent::Regular),
        _ => None,
    }
}

fn truth(bytes: &[u8]) -> Option<bool> {
    match bytes {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

/// Any bytes: aria2's are random. Escaped where need be, they are kept as text.
fn key(bytes: &[u8]) -> Option<String> {
    let escaped = || percent_encode(bytes, CONTROLS).to_string();
    (bytes.len() <= MAX_KEY_BYTES).then(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNOUNCE: &str = "info_hash=%00%01%02%03%04%05%06%07%08%09%0a%0B%0c%0d%0e%0f%10%11%12%ff\
        &peer_id=-OF0010-abcdefghijkl&port=6881&uploaded=1&downloaded=2&left=3";

    #[test]
    fn an_announce_is_what_bep_3_says() {
        let mut hash: [u8; 20] = std::array::from_fn(|i| i as u8);
        hash[19] = 0xff;
        let least = Announce {
            info_hash: InfoHash(hash),
            peer_id: PeerId(*b"-OF0010-abcdefghijkl"),
            port: 6881,
            uploaded: 1,
            downloaded: 2,
            left: 3,
            event: AnnounceEvent::Regular,
            wanted: None,
            compact: true,
            ip: None,
            key: None,
        };
        assert_eq!(announce(ANNOUNCE), Ok(least.clone()));
        let more = format!(
            "{ANNOUNCE}&event=completed&numwant=80&compact=0&ip=%3A%3A1&key=1f2e&no_peer_id=1&&x"
        );
        let most = Announce {
            event: AnnounceEvent::Completed,
            wanted: Some(80),
            compact: false,
            ip: Some("::1".parse().unwrap()),
            key: Some("1f2e".into()),
            ..least.clone()
        };
        assert_eq!(announce(&more), Ok(most));
        let other = format!("{ANNOUNCE}&event=&numwant=-1&ip=my.host&supportcrypto=1&supportcrypto=1");
        assert_eq!(announce(&other), Ok(least));
    }

    #[test]
    fn an_announce_that_lacks_something_is_told_what() {
        for field in ["info_hash", "peer_id", "port", "uploaded", "downloaded", "left"] {
            let other = format!("no_{field}");
            let without = ANNOUNCE.replace(&format!("{field}="), &format!("{other}="));
            assert_eq!(announce(&without), Err(Error::Missing(field)));
            let twice = format!("{ANNOUNCE}&{field}=1");
            assert_eq!(announce(&twice).unwrap_err().to_string(), format!("{field} comes twice"));
        }
        assert_eq!(announce("").unwrap_err().to_string(), "info_hash is missing");
        let long = format!("{ANNOUNCE}&x={}", "x".repeat(MAX_QUERY_BYTES));
        assert_eq!(announce(&long), Err(Error::Long(long.len())));
    }

    #[test]
    fn an_announce_that_means_nothing_is_told_where() {
        for (from, to, field) in [
            ("info_hash=%00", "info_hash=", "info_hash"),
            ("%ff", "%fg", "info_hash"),
            ("%ff", "%f", "info_hash"),
            ("%ff", "%", "info_hash"),
            ("kl&", "klm&", "peer_id"),
            ("=6881", "=0", "port"),
            ("=6881", "=65536", "port"),
            ("=6881", "=", "port"),
            ("=6881", "=+1", "port"),
            ("uploaded=1", "uploaded=-1", "uploaded"),
            ("downloaded=2", "downloaded=2.0", "downloaded"),
            ("left=3", "left=18446744073709551616", "left"),
            ("left=3", "left=3&event=begun", "event"),
            ("left=3", "left=3&numwant=many", "numwant"),
            ("left=3", "left=3&compact=yes", "compact"),
            ("left=3", &format!("left=3&key={}", "k".repeat(MAX_KEY_BYTES + 1)), "key"),
        ] {
            let wrong = ANNOUNCE.replacen(from, to, 1);
            assert_eq!(announce(&wrong), Err(Error::Malformed(field)), "{wrong}");
        }
    }

    #[test]
    fn a_scrape_names_torrents() {
        let hash = "info_hash=aaaaaaaaaaaaaaaaaaaa";
        assert_eq!(scrape(""), Ok(vec![]));
        let two = format!("{hash}&info_hash=bbbbbbbbbbbbbbbbbbb%42");
        let names = [InfoHash([b'a'; 20]), InfoHash(*b"bbbbbbbbbbbbbbbbbbbB")];
        assert_eq!(scrape(&two), Ok(names.to_vec()));
        assert_eq!(scrape("info_hash=a"), Err(Error::Malformed("info_hash")));
        let many = vec![hash; MAX_SCRAPE_HASHES + 1].join("&");
        assert_eq!(scrape(&many), Err(Error::Torrents));
        assert_eq!(scrape(&"x".repeat(MAX_QUERY_BYTES + 1)), Err(Error::Long(MAX_QUERY_BYTES + 1)));
    }
}
