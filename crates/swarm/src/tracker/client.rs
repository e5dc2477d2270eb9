//! The peer's side of a tracker: the address to ask at, and what the answer means.
//!
//! Trackers differ: peers come compact (BEP 23), IPv6 apart (BEP 7), or as a list of dictionaries (BEP 3),
//! and all are read. What is left out: the request itself, and which tracker to ask when.

use super::Announce;
use crate::bencode::{self, Value};
use crate::limits::{
    MAX_REASON_CHARS, MAX_TRACKER_ANSWER_BYTES, MAX_TRACKER_INTERVAL, MAX_TRACKER_PEERS, MAX_URL_BYTES,
};
use crate::peer::AnnounceEvent;
use crate::wire::compact::{decode4, decode6, is_somebodys};
use crate::wire::printable;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// All but what a query may have as it is (RFC 3986, unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a tracker has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAnswer {
    /// When to announce again, as a rule.
    pub interval: Duration,
    /// When to announce again at the earliest.
    pub min_interval: Option<Duration>,
    /// Who else is there; we may be among them.
    pub peers: Vec<SocketAddr>,
    /// What the tracker would like a person to know.
    pub warning: Option<String>,
}

/// Why a tracker cannot be asked, or has not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Whoever named the tracker: another protocol, or not a URL.
    #[error(
        "the tracker {0} cannot be asked: expected http:// or https:// and at most {MAX_URL_BYTES} bytes"
    )]
    Url(String),
    /// The tracker knows why.
    #[error("the tracker refuses: {0}")]
    Refused(String),
    /// The tracker's answer is too long to be one.
    #[error("the tracker's answer has {0} bytes, {MAX_TRACKER_ANSWER_BYTES} are the most")]
    Long(usize),
    /// Perhaps a page for people.
    #[error("the tracker's answer is not what a tracker says ({0}): is its address right?")]
    Bencode(bencode::Error),
    /// Bencoding, but no dictionary.
    #[error("the tracker's answer is no dictionary")]
    Dictionary,
    /// A key is there, with a value that it cannot have.
    #[error("the tracker's answer has a {0} that means nothing")]
    Field(&'static str),
    /// A key is not there.
    #[error("the tracker's answer lacks {0}")]
    Missing(&'static str),
}

/// Where to send GET. A query that the tracker's address has, a pass key perhaps, stays in front.
///
/// # Errors
/// The address is none of HTTP.
pub fn announce_url(base: &str, announce: &Announce) -> Result<String, Error> {
    let is_http = ["http://", "https://"].iter().any(|scheme| {
        base.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme) && base.len() > scheme.len())
    });
    if !is_http || base.len() > MAX_URL_BYTES || !base.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Url(printable(base.as_bytes(), MAX_REASON_CHARS)));
    }
    let base = base.split_once('#').map_or(base, |(base, _)| base);
    let joint = match base.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    let mut url = format!(
        "{base}{joint}info_hash={}&peer_id={}&port={}&uploaded={}&downloaded={}&left={}&compact={}",
        percent_encode(&announce.info_hash.0, ESCAPED),
        percent_encode(&announce.peer_id.0, ESCAPED),
        announce.port,
        announce.uploaded,
        announce.downloaded,
        announce.left,
        u8::from(announce.compact),
    );
    let event = match announce.event {
        AnnounceEvent::Started => Some("started".into()),
        AnnounceEvent::Completed => Some("completed".into()),
        AnnounceEvent::Stopped => Some("stopped".into()),
        AnnounceEvent::Regular => None,
    };
    let others = [
        ("event", event),
        ("numwant", announce.wanted.map(|wanted| wanted.to_string())),
        ("ip", announce.ip.map(|ip| ip.to_string())),
        ("key", announce.key.clone()),
    ];
    for (name, value) in others {
        if let Some(value) = value {
            url += &format!("&{name}={}", percent_encode(value.as_bytes(), ESCAPED));
        }
    }
    Ok(url)
}

/// What the body of a tracker's answer means.
///
/// # Errors
/// The tracker refuses, or its answer is none.
pub fn parse_answer(body: &[u8]) -> Result<ClientAnswer, Error> {
    if body.len() > MAX_TRACKER_ANSWER_BYTES {
        return Err(Error::Long(body.len()));
    }
    // Some trackers end their answer with a line feed.
    let (answer, _) = bencode::parse_prefix(body).map_err(Error::Bencode)?;
    let text = |bytes: Value<'_>| Some(printable(bytes.as_bytes()?, MAX_REASON_CHARS));
    if let Some(reason) = field(answer, "failure reason", text)? {
        return Err(Error::Refused(reason));
    }
    let peers = field(answer, "peers", peers)?.into_iter().flatten();
    let peers6 = field(answer, "peers6", |value| Some(decode6(value.as_bytes()?)?.collect::<Vec<_>>()))?;
    Ok(ClientAnswer {
        interval: field(answer, "interval", seconds)?.ok_or(Error::Missing("interval"))?,
        min_interval: field(answer, "min interval", seconds)?,
        peers: peers.chain(peers6.into_iter().flatten()).take(MAX_TRACKER_PEERS).collect(),
        warning: field(answer, "warning message", text)?,
    })
}

/// Addresses in either form. Of a list, those that we cannot use are left out: a host's name, say.
fn peers(value: Value<'_>) -> Option<Vec<SocketAddr>> {
    if let Some(bytes) = value.as_bytes() {
        return Some(decode4(bytes)?.take(MAX_TRACKER_PEERS).collect());
    }
    let address = |peer: Value<'_>| {
        let ip: IpAddr = peer.get(b"ip")?.as_str()?.parse().ok()?;
        let port = peer.get(b"port")?.as_int()?.try_into().ok()?;
        Some(SocketAddr::new(ip, port)).filter(|address| is_somebodys(*address))
    };
    Some(value.as_list()?.filter_map(address).take(MAX_TRACKER_PEERS).collect())
}

/// A second at least, whatever it says: nobody is asked without pause. And not for ever.
fn seconds(value: Value<'_>) -> Option<Duration> {
    let seconds = u64::try_from(value.as_int()?).ok()?;
    Some(Duration::from_secs(seconds.max(1)).min(MAX_TRACKER_INTERVAL))
}

/// A key's value, if the key is there.
fn field<'a, T>(
    answer: Value<'a>,
    name: &'static str,
    read: impl FnOnce(Value<'a>) -> Option<T>,
) -> Result<Option<T>, Error> {
    let found = answer.as_dict().ok_or(Error::Dictionary)?.find(|(key, _)| *key == name.as_bytes());
    found.map(|(_, value)| read(value).ok_or(Error::Field(name))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{InfoHash, PeerId};
    use crate::tracker::query;
    use proptest::prelude::*;

    fn announce() -> Announce {
        Announce {
            info_hash: InfoHash(*b"\x00 &%+=~-._aZ09\x7f\x80\xff/?#"),
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
        }
    }

    #[test]
    fn the_url_carries_the_announce() {
        let query = "info_hash=%00%20%26%25%2B%3D~-._aZ09%7F%80%FF%2F%3F%23&peer_id=-OF0010-abcdefghijkl\
            &port=6881&uploaded=1&downloaded=2&left=3&compact=1";
        for (base, start) in [
            ("http://10.0.0.1:6969/announce", "http://10.0.0.1:6969/announce?"),
            ("HTTPS://[::1]/a#top", "HTTPS://[::1]/a?"),
            ("http://t/announce?pass=5f", "http://t/announce?pass=5f&"),
            ("http://t/announce?", "http://t/announce?"),
            ("http://t/announce?pass=5f&", "http://t/announce?pass=5f&"),
        ] {
            assert_eq!(announce_url(base, &announce()), Ok(format!("{start}{query}")));
        }
        let more = Announce {
            event: AnnounceEvent::Started,
            wanted: Some(30),
            ip: Some("::1".parse().unwrap()),
            key: Some("a b".into()),
            ..announce()
        };
        let rest = format!("{query}&event=started&numwant=30&ip=%3A%3A1&key=a%20b");
        assert_eq!(announce_url("http://t/a", &more), Ok(format!("http://t/a?{rest}")));
    }

    #[test]
    fn what_is_no_address_of_a_tracker_is_refused() {
        let long = format!("http://{}", "t".repeat(MAX_URL_BYTES));
        for wrong in [
            "",
            "http://",
            "udp://t:6969",
            "httpx://t",
            "http:/t",
            "http://t/a b",
            "http://t/\r\nX: y",
            "é://t",
            &long,
        ] {
            let refused = announce_url(wrong, &announce());
            assert!(matches!(&refused, Err(Error::Url(_))), "{wrong}: {refused:?}");
        }
    }

    #[test]
    fn answers_of_all_forms_are_read() {
        let expected = ["10.0.0.1:258".parse().unwrap(), "[::2]:3".parse().unwrap()];
        let compact = b"d8:completei9e8:intervali1800e12:min intervali60e5:peers6:\x0a\0\0\x01\x01\x02\
            6:peers618:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\x03e\n";
        let answer = parse_answer(compact).unwrap();
        assert_eq!(answer.peers, expected);
        assert_eq!(answer.interval, Duration::from_secs(1800));
        assert_eq!((answer.min_interval, answer.warning), (Some(Duration::from_secs(60)), None));
        let list = b"d8:intervali1e5:peersld2:ip8:10.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti258ee\
            d2:ip3:::24:porti3eed2:ip7:my.host4:porti3eed2:ip8:10.0.0.24:porti0eei1ee\
            15:warning message4:slowe";
        let answer = parse_answer(list).unwrap();
        assert_eq!(answer.peers, expected);
        assert_eq!((answer.min_interval, answer.warning), (None, Some("slow".into())));
        let nobody = parse_answer(b"d8:intervali0e5:peers0:e").unwrap();
        assert_eq!((nobody.interval, nobody.peers), (Duration::from_secs(1), vec![]));
        let rarely = parse_answer(b"d8:intervali99999999999ee").unwrap();
        assert_eq!(rarely.interval, MAX_TRACKER_INTERVAL);
    }

    #[test]
    fn a_refusal_is_told_in_the_trackers_words() {
        let refused = parse_answer(b"d14:failure reason10:no\x1b[2J\r\nabe").unwrap_err();
        assert_eq!(refused.to_string(), "the tracker refuses: no\u{fffd}[2J\u{fffd}\u{fffd}ab");
        let long = format!("d14:failure reason5000:{}e", "x".repeat(5000));
        let Err(Error::Refused(reason)) = parse_answer(long.as_bytes()) else { panic!("refused") };
        assert_eq!(reason.len(), MAX_REASON_CHARS);
        let unknown = query::announce("port=1").unwrap_err().to_string();
        let body = crate::tracker::answer::failure(&unknown);
        assert_eq!(parse_answer(&body), Err(Error::Refused("info_hash is missing".into())));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (body, error) in [
            (&b"le"[..], Error::Dictionary),
            (b"d5:peers0:e", Error::Missing("interval")),
            (b"d8:interval1:15:peers0:e", Error::Field("interval")),
            (b"d8:intervali-1e5:peers0:e", Error::Field("interval")),
            (b"d8:intervali1e5:peers5:abcdee", Error::Field("peers")),
            (b"d8:intervali1e5:peersi1ee", Error::Field("peers")),
            (b"d8:intervali1e6:peers66:abcdefe", Error::Field("peers6")),
            (b"d14:failure reasoni1ee", Error::Field("failure reason")),
        ] {
            assert_eq!(parse_answer(body), Err(error), "{}", body.escape_ascii());
        }
        let page = parse_answer(b"<html>404</html>").unwrap_err().to_string();
        assert!(page.contains("is its address right?"), "{page}");
        let long = vec![b'0'; MAX_TRACKER_ANSWER_BYTES + 1];
        assert_eq!(parse_answer(&long), Err(Error::Long(long.len())));
    }

    #[test]
    fn no_answer_names_more_peers_than_we_take() {
        let contacts = b"\x0a\0\0\x01\x01\x02".repeat(2 * MAX_TRACKER_PEERS);
        let head = format!("d8:intervali1e5:peers{}:", contacts.len());
        let compact = [head.as_bytes(), &contacts, b"e"].concat();
        assert_eq!(parse_answer(&compact).unwrap().peers.len(), MAX_TRACKER_PEERS);
        let list = "d2:ip8:10.0.0.14:porti258ee".repeat(2 * MAX_TRACKER_PEERS);
        let list = format!("d8:intervali1e5:peersl{list}ee");
        assert_eq!(parse_answer(list.as_bytes()).unwrap().peers.len(), MAX_TRACKER_PEERS);
    }

    proptest! {
        #[test]
        fn what_a_peer_asks_is_what_a_tracker_reads(
            names: ([u8; 20], [u8; 20]), port in 1u16.., moved: (u64, u64, u64), compact: bool,
            wanted: Option<u32>, ip: Option<IpAddr>, key in prop::option::of("[!-~]{0,64}"),
            event in prop::sample::select(vec![
                AnnounceEvent::Started, AnnounceEvent::Completed, AnnounceEvent::Stopped, AnnounceEvent::Regular,
            ]),
        ) {
            let asked = Announce {
                info_hash: InfoHash(names.0),
                peer_id: PeerId(names.1),
                port,
                uploaded: moved.0,
                downloaded: moved.1,
                left: moved.2,
                event,
                wanted,
                compact,
                ip,
                key,
            };
            let url = announce_url("http://t/announce?pass=1", &asked).unwrap();
            let (_, query) = url.split_once('?').unwrap();
            prop_assert_eq!(query::announce(query), Ok(asked));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), query: String) {
            let _ = (parse_answer(&bytes), query::announce(&query), query::scrape(&query));
        }
    }
}
