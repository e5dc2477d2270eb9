//! Local service discovery (BEP 14): a multicast datagram that says "at this port are these torrents".
//!
//! It looks like HTTP, one header a line, but nobody answers: whoever has one of the torrents connects to
//! the address the datagram came from. Anybody on the network can send one, so it is a hint and no more.
//! What is left out: when to send, which interfaces, and torrents that are private (BEP 27) and must not be
//! told of; drivers and sessions know those.

use crate::id::InfoHash;
use crate::limits::{MAX_DISCOVERY_BYTES, MAX_DISCOVERY_HASHES};
use httparse::{EMPTY_HEADER, Request, Status};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The group that IPv4 hosts join.
pub const GROUP_V4: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 192, 152, 143), 6771);
/// The group that IPv6 hosts join.
pub const GROUP_V6: SocketAddrV6 =
    SocketAddrV6::new(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f), 6771, 0, 0);

const METHOD: &str = "BT-SEARCH";
/// Headers of a datagram: each info-hash has one, and others may send what we do not know.
const MAX_HEADERS: usize = MAX_DISCOVERY_HASHES + 16;

/// What a datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Where its sender listens for peers.
    pub port: u16,
    /// The torrents it takes part in.
    pub info_hashes: Vec<InfoHash>,
    /// By what its sender recognises its own datagrams, which the group gives back to it. A few
    /// letters and digits.
    pub cookie: Option<String>,
}

/// Why a datagram is no search: its sender's fault, and no reason to do anything but ignore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than such a datagram is.
    #[error("a discovery datagram of {0} bytes; {MAX_DISCOVERY_BYTES} are the most")]
    Long(usize),
    /// Not HTTP, or too many headers.
    #[error("not a discovery datagram: {0}")]
    Http(httparse::Error),
    /// The empty line at its end is not there.
    #[error("a discovery datagram that breaks off")]
    Short,
    /// Another protocol in the same group.
    #[error("not a discovery datagram: its method is not {METHOD}")]
    Method,
    /// A header that is not there or does not mean anything.
    #[error("a discovery datagram with a missing, doubled or malformed {0} header")]
    Header(&'static str),
}

impl Search {
    /// The datagrams that say it to `group`, as many as it takes.
    pub fn encode(&self, group: SocketAddr) -> Vec<Vec<u8>> {
        // Without the interface, which is of no interest to others.
        let host = SocketAddr::new(group.ip(), group.port());
        let datagram = |hashes: &[InfoHash]| {
            let mut text = format!("{METHOD} * HTTP/1.1\r\nHost: {host}\r\nPort: {}\r\n", self.port);
            for hash in hashes {
                text += &format!("Infohash: {hash}\r\n");
            }
            if let Some(cookie) = &self.cookie {
                text += &format!("cookie: {cookie}\r\n");
            }
            (text + "\r\n\r\n").into_bytes()
        };
        self.info_hashes.chunks(MAX_DISCOVERY_HASHES).map(datagram).collect()
    }

    /// What a datagram says.
    ///
    /// # Errors
    /// It is none of BEP 14, or does not say enough.
    pub fn decode(datagram: &[u8]) -> Result<Search, Error> {
        if datagram.len() > MAX_DISCOVERY_BYTES {
            return Err(Error::Long(datagram.len()));
        }
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = Request::new(&mut headers);
        if request.parse(datagram).map_err(Error::Http)? == Status::Partial {
            return Err(Error::Short);
        }
        if request.method != Some(METHOD) {
            return Err(Error::Method);
        }
        let values = |name: &'static str| {
            let named = request.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
            named.map(move |header| std::str::from_utf8(header.value).map_err(|_| Error::Header(name)))
        };
        let one = |name: &'static str| match (values(name).next(), values(name).nth(1)) {
            (value, None) => value.transpose(),
            (_, Some(_)) => Err(Error::Header(name)),
        };
        let hash = |text: Result<&str, Error>| text?.parse().map_err(|()| Error::Header("Infohash"));
        let info_hashes = values("Infohash").map(hash).collect::<Result<Vec<InfoHash>, Error>>()?;
        let port = one("Port")?.and_then(port).ok_or(Error::Header("Port"))?;
        let cookie = one("cookie")?.map(String::from);
        if info_hashes.is_empty() || info_hashes.len() > MAX_DISCOVERY_HASHES {
            return Err(Error::Header("Infohash"));
        }
        Ok(Search { port, info_hashes, cookie })
    }
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATAGRAM: &str = "BT-SEARCH * HTTP/1.1\r\n\
        Host: 239.192.152.143:6771\r\n\
        Port: 6881\r\n\
        Infohash: 000102030405060708090a0b0c0d0e0f10111213\r\n\
        cookie: 5f3a\r\n\
        \r\n\r\n";

    fn search() -> Search {
        let hash = InfoHash(std::array::from_fn(|i| i as u8));
        Search { port: 6881, info_hashes: vec![hash], cookie: Some("5f3a".into()) }
    }

    #[test]
    fn the_bytes_are_those_of_bep_14() {
        assert_eq!(search().encode(GROUP_V4.into()), [DATAGRAM.as_bytes()]);
        assert_eq!(Search::decode(DATAGRAM.as_bytes()), Ok(search()));
        let six = search().encode(SocketAddrV6::new(*GROUP_V6.ip(), GROUP_V6.port(), 0, 3).into());
        let text = String::from_utf8(six[0].clone()).unwrap();
        assert!(text.contains("Host: [ff15::efc0:988f]:6771\r\n"), "{text}");
    }

    #[test]
    fn what_other_programs_send_is_read() {
        let upper = DATAGRAM.replace("0a0b0c", "0A0B0C").replace("cookie: 5f3a\r\n", "name: x\r\n");
        let one_line_less = upper.strip_suffix("\r\n").unwrap();
        let other_case = one_line_less.replace("Infohash", "INFOHASH").replace("Port", "port");
        let expected = Search { cookie: None, ..search() };
        assert_eq!(Search::decode(other_case.as_bytes()), Ok(expected));
    }

    #[test]
    fn many_torrents_take_several_datagrams_of_a_packet_each() {
        let info_hashes: Vec<_> = (0..100).map(|i| InfoHash([i; 20])).collect();
        let search = Search { info_hashes: info_hashes.clone(), ..search() };
        let datagrams = search.encode(GROUP_V6.into());
        let all = datagrams.iter().flat_map(|bytes| Search::decode(bytes).unwrap().info_hashes);
        assert_eq!(all.collect::<Vec<_>>(), info_hashes);
        assert!(datagrams.len() > 1 && datagrams.iter().all(|d| d.len() <= MAX_DISCOVERY_BYTES));
    }

    #[test]
    fn what_is_no_search_is_refused() {
        let long = DATAGRAM.replace("5f3a", &"a".repeat(MAX_DISCOVERY_BYTES));
        assert_eq!(Search::decode(long.as_bytes()), Err(Error::Long(long.len())));
        let hash = "Infohash: 000102030405060708090a0b0c0d0e0f10111213\r\n";
        for (from, to, error) in [
            ("BT-SEARCH", "M-SEARCH", Error::Method),
            ("Port: 6881\r\n", "", Error::Header("Port")),
            ("6881", "0", Error::Header("Port")),
            ("6881", "+6881", Error::Header("Port")),
            ("6881", "68810", Error::Header("Port")),
            ("Port: 6881\r\n", "Port: 1\r\nPort: 2\r\n", Error::Header("Port")),
            (hash, "", Error::Header("Infohash")),
            ("0001", "", Error::Header("Infohash")),
            ("0001", "xy01", Error::Header("Infohash")),
            (hash, &hash.repeat(MAX_DISCOVERY_HASHES + 1), Error::Header("Infohash")),
            (
                "cookie",
                "x: 1\r\n".repeat(MAX_HEADERS).as_str(),
                Error::Http(httparse::Error::TooManyHeaders),
            ),
        ] {
            let wrong = DATAGRAM.replace(from, to);
            assert_eq!(Search::decode(wrong.as_bytes()), Err(error), "{from} -> {to}");
        }
        let latin = [&DATAGRAM.as_bytes()[..DATAGRAM.len() - 8], b"\xe9\r\n\r\n"].concat();
        assert_eq!(Search::decode(&latin), Err(Error::Header("cookie")));
        // The second of the two empty lines is left out by some.
        let end = DATAGRAM.len() - 2;
        for cut in 0..end {
            assert!(Search::decode(&DATAGRAM.as_bytes()[..cut]).is_err(), "{cut} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_was_sent_is_what_arrives(
            port in 1u16.., hashes in prop::collection::vec(any::<[u8; 20]>(), 1..=MAX_DISCOVERY_HASHES),
            cookie in prop::option::of("[a-z0-9]{1,16}"),
        ) {
            let info_hashes = hashes.into_iter().map(InfoHash).collect();
            let search = Search { port, info_hashes, cookie };
            let [datagram] = &search.encode(GROUP_V6.into())[..] else { panic!("one is enough") };
            prop_assert_eq!(Search::decode(datagram), Ok(search));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Search::decode(&bytes);
            let _ = Search::decode(&[&DATAGRAM.as_bytes()[..30], &bytes[..]].concat());
        }
    }
}
