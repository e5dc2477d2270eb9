//! Magnet links (BEP 9): a torrent by its info-hash alone; the metadata comes from peers.
//!
//! The lesson: a link is text that somebody pasted, so each part is taken if it is sound and left out if not,
//! all but the info-hash, without which there is nothing. The name only says what to show until the metadata
//! is there. Left out: the names of version 2 (`urn:btmh`, BEP 52), web seeds, and which files to select.

use crate::id::InfoHash;
use crate::limits::{MAX_HOST_BYTES, MAX_MAGNET_BYTES, MAX_MAGNET_PEERS, MAX_TRACKERS};
use crate::metainfo::{Metainfo, check_name, is_url};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;
use std::str::FromStr;

/// What is written as it is: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A magnet link's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// The torrent.
    pub info_hash: InfoHash,
    /// What to call it until its metadata is there; sound as a file's name.
    pub name: Option<String>,
    /// URLs to announce to, each a tier of its own.
    pub trackers: Vec<String>,
    /// Peers to begin with, as `host:port`; the host may be a name.
    pub peers: Vec<String>,
}

/// Why a text is no link to a torrent: its author's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another kind of text.
    #[error("no magnet link: one begins with \"magnet:?\"")]
    Scheme,
    /// More than is read.
    #[error("a magnet link of more than {MAX_MAGNET_BYTES} bytes")]
    Long,
    /// No `xt`.
    #[error("a magnet link without \"xt=urn:btih:\", which names the torrent")]
    Missing,
    /// `btih` with something else than a hash.
    #[error("a magnet link whose \"urn:btih:\" is neither 40 hexadecimal digits nor 32 of base 32")]
    Hash,
    /// Only `btmh`.
    #[error(
        "a magnet link of version 2 (\"urn:btmh:\"); make the torrent anew as version 1 or as a hybrid"
    )]
    Version2,
}

impl FromStr for Magnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Magnet, Error> {
        if text.len() > MAX_MAGNET_BYTES {
            return Err(Error::Long);
        }
        let scheme =
            text.split_at_checked(8).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("magnet:?"));
        let (_, query) = scheme.ok_or(Error::Scheme)?;
        let (mut hash, mut name) = (Err(Error::Missing), None);
        let (mut trackers, mut peers) = (Vec::new(), Vec::new());
        for (key, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            let key = unnumbered(key);
            // Some write the spaces of a name as forms do.
            let text = if key == "dn" { value.replace('+', " ") } else { value.to_owned() };
            let Ok(value) = percent_decode_str(&text).decode_utf8() else { continue };
            match key {
                "xt" if !matches!(hash, Ok(_) | Err(Error::Hash)) => {
                    hash = topic(&value).unwrap_or(hash)
                }
                "dn" if name.is_none() => name = check_name(value.as_bytes()).ok().map(str::to_owned),
                "tr" if trackers.len() < MAX_TRACKERS && is_url(&value) => trackers.push(value.into()),
                "x.pe" if peers.len() < MAX_MAGNET_PEERS && is_peer(&value) => peers.push(value.into()),
                _ => {}
            }
        }
        Ok(Magnet { info_hash: hash?, name, trackers, peers })
    }
}

/// The key without the number that several of a kind may have: `tr.1`.
fn unnumbered(key: &str) -> &str {
    match key.rsplit_once('.') {
        Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => kind,
        _ => key,
    }
}

/// What an `xt` names; `None` where it is nothing of BitTorrent's.
fn topic(urn: &str) -> Option<Result<InfoHash, Error>> {
    let (kind, name) = urn.split_at_checked(9)?;
    if kind.eq_ignore_ascii_case("urn:btmh:") {
        return Some(Err(Error::Version2));
    }
    let hash = || name.parse().ok().or_else(|| base_32(name)).ok_or(Error::Hash);
    kind.eq_ignore_ascii_case("urn:btih:").then(hash)
}

/// 32 digits of RFC 4648, section 6, in either case.
fn base_32(text: &str) -> Option<InfoHash> {
    let mut hash = [0; 20];
    let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
    for (eight, five) in digits.chunks_exact(8).zip(hash.chunks_exact_mut(5)) {
        let mut bits = 0u64;
        for digit in eight {
            let value = match digit.to_ascii_lowercase() {
                letter @ b'a'..=b'z' => letter - b'a',
                number @ b'2'..=b'7' => number - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(value);
        }
        five.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(InfoHash(hash))
}

/// Could this be `host:port`?
fn is_peer(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let fits = text.len() <= MAX_HOST_BYTES && is_url(text) && !host.is_empty();
    fits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl From<&Metainfo> for Magnet {
    fn from(metainfo: &Metainfo) -> Magnet {
        Magnet {
            info_hash: metainfo.info_hash,
            name: Some(metainfo.name.clone()),
            trackers: metainfo.trackers.concat(),
            peers: Vec::new(),
        }
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "magnet:?xt=urn:btih:{}", self.info_hash)?;
        let names = self.name.iter().map(|name| ("dn", name));
        let trackers = self.trackers.iter().map(|url| ("tr", url));
        let peers = self.peers.iter().map(|peer| ("x.pe", peer));
        for (key, value) in names.chain(trackers).chain(peers) {
            write!(f, "&{key}={}", utf8_percent_encode(value, ESCAPED))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MAX_NAME_BYTES, MAX_URL_BYTES};
    use proptest::prelude::*;

    const HEX: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    /// The same in base 32.
    const BASE_32: &str = "VL2MMHO4YXUKFWV63YHTWSBM3GXKSQ2N";

    #[test]
    fn a_link_is_read_whole() {
        let link = format!(
            "magnet:?xt=urn:btih:{HEX}&dn=a%20b+%2B&tr=http%3A%2F%2Ft.example%3A6969%2Fannounce&tr.1=udp://u.example:1\
             &x.pe=10.0.0.1:6881&x.pe=[2001:db8::1]:6881&x.pe=host.example:1&ws=http://w.example/"
        );
        let magnet: Magnet = link.parse().unwrap();
        assert_eq!(magnet.info_hash.to_string(), HEX);
        assert_eq!(magnet.name.as_deref(), Some("a b +"));
        assert_eq!(magnet.trackers, ["http://t.example:6969/announce", "udp://u.example:1"]);
        assert_eq!(magnet.peers, ["10.0.0.1:6881", "[2001:db8::1]:6881", "host.example:1"]);
    }

    #[test]
    fn both_ways_to_write_a_hash_are_one() {
        for hash in [HEX, &HEX.to_uppercase(), BASE_32, &BASE_32.to_lowercase()] {
            let magnet: Magnet = format!("MAGNET:?xt=urn:btih:{hash}").parse().unwrap();
            assert_eq!(magnet.to_string(), format!("magnet:?xt=urn:btih:{HEX}"));
        }
    }

    #[test]
    fn of_several_topics_the_one_we_know_is_taken() {
        for link in [
            format!("magnet:?xt=urn:btmh:1220{HEX}{HEX}&xt=urn:btih:{HEX}"),
            format!("magnet:?xt.1=urn:btih:{HEX}&xt.2=urn:btmh:1220{HEX}"),
            format!("magnet:?xt=urn:sha1:{BASE_32}&xt=urn:btih:{HEX}&xt=urn:btih:00"),
        ] {
            assert_eq!(link.parse::<Magnet>().unwrap().info_hash.to_string(), HEX);
        }
    }

    #[test]
    fn what_names_no_torrent_is_refused() {
        for (link, error) in [
            ("", Error::Scheme),
            ("http://t.example/?xt=urn:btih:", Error::Scheme),
            ("magnet:é", Error::Scheme),
            ("magnet:?", Error::Missing),
            ("magnet:?dn=a", Error::Missing),
            ("magnet:?xt=urn:sha1:VL2MMHO4YXUKFWV63YHTWSBM3GXKSQ2N", Error::Missing),
            ("magnet:?xt=urn:btih:", Error::Hash),
            ("magnet:?xt=urn:btih:aaf4", Error::Hash),
            ("magnet:?xt=urn:btih:1L2MMHO4YXUKFWV63YHTWSBM3GXKSQ2N", Error::Hash),
            ("magnet:?xt=urn:btmh:1220aaf4", Error::Version2),
        ] {
            assert_eq!(link.parse::<Magnet>(), Err(error), "{link}");
        }
        let long = format!("magnet:?xt=urn:btih:{HEX}&dn={}", "a".repeat(MAX_MAGNET_BYTES));
        assert_eq!(long.parse::<Magnet>(), Err(Error::Long));
    }

    #[test]
    fn parts_that_are_not_sound_are_left_out() {
        let link = format!(
            "magnet:?xt=urn:btih:{HEX}&dn=..%2Fetc&tr=&tr=a%0D%0AHost:+b&tr=%ff&x.pe=:1&x.pe=a:0&x.pe=a&x.pe=a:70000&&="
        );
        let magnet: Magnet = link.parse().unwrap();
        assert_eq!((magnet.name, magnet.trackers, magnet.peers), (None, vec![], vec![]));
        let many = format!("magnet:?xt=urn:btih:{HEX}{}", "&tr=http://a/&x.pe=a:1".repeat(200));
        assert!(many.len() < MAX_MAGNET_BYTES);
        let magnet: Magnet = many.parse().unwrap();
        assert_eq!((magnet.trackers.len(), magnet.peers.len()), (MAX_TRACKERS, MAX_MAGNET_PEERS));
    }

    #[test]
    fn the_longest_link_that_we_write_is_read() {
        let magnet = Magnet {
            info_hash: InfoHash([7; 20]),
            name: Some("%".repeat(MAX_NAME_BYTES)),
            trackers: vec!["?".repeat(MAX_URL_BYTES); MAX_TRACKERS],
            peers: vec!["?".repeat(MAX_HOST_BYTES - 2) + ":1"; MAX_MAGNET_PEERS],
        };
        assert_eq!(magnet.to_string().parse(), Ok(magnet));
    }

    proptest! {
        #[test]
        fn a_link_reads_as_it_was_written(hash: [u8; 20], name in "[^/\\p{Cc}]{3,20}", url in "http://[!-~]{0,40}") {
            let peers = vec!["[::1]:2".to_owned()];
            let magnet = Magnet { info_hash: InfoHash(hash), name: Some(name), trackers: vec![url], peers };
            prop_assert_eq!(magnet.to_string().parse(), Ok(magnet));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(magnet:\\?)?(xt=urn:bt[im]h:|&|dn=|tr|=|%|[a-z2-7]{32}|\\PC){0,12}") {
            if let Ok(magnet) = text.parse::<Magnet>() {
                prop_assert!(magnet.to_string().len() > 40);
            }
        }
    }
}
