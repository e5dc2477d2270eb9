//! What a tracker answers, as bytes: bencoded dictionaries (BEP 3, 7, 23, 48).

use super::{Answer, Scraped};
use crate::bencode::Item;
use crate::id::PeerId;
use crate::wire::compact;
use std::net::SocketAddr;
use std::time::Duration;

impl Answer {
    /// The body of the HTTP answer, whose status is 200 even for a refusal: peers read the body.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Answer::NotPublished(hash) => failure(&format!("no torrent {hash} is published here")),
            Answer::Peers { settings, seeders, leechers, peers, compact } => {
                let (peers, peers6) =
                    if *compact { compact_form(peers) } else { (long_form(peers), None) };
                let fields = [
                    ("complete", Some(number(*seeders as u64))),
                    ("incomplete", Some(number(*leechers as u64))),
                    ("interval", Some(seconds(settings.interval))),
                    ("min interval", Some(seconds(settings.min_interval))),
                    ("peers", Some(peers)),
                    ("peers6", peers6),
                ];
                Item::dict(fields.into_iter().filter_map(|(key, item)| Some((key, item?)))).encode()
            }
        }
    }
}

/// The body for a peer whose query is not answered.
pub fn failure(reason: &str) -> Vec<u8> {
    Item::dict([("failure reason", reason.into())]).encode()
}

/// The body for a scrape (BEP 48).
pub fn scrape(torrents: &[Scraped]) -> Vec<u8> {
    let torrent = |torrent: &Scraped| {
        let numbers = Item::dict([
            ("complete", number(torrent.seeders as u64)),
            ("downloaded", number(torrent.completed)),
            ("incomplete", number(torrent.leechers as u64)),
        ]);
        (torrent.info_hash.0.to_vec(), numbers)
    };
    Item::dict([("files", Item::Dict(torrents.iter().map(torrent).collect()))]).encode()
}

/// BEP 23, and BEP 7 where there is an IPv6 address.
fn compact_form(peers: &[(SocketAddr, PeerId)]) -> (Item, Option<Item>) {
    let (four, six) = compact::encode(peers.iter().map(|(address, _)| *address));
    (four.into(), (!six.is_empty()).then(|| six.into()))
}

/// BEP 3's first form, for those that say they take no other.
fn long_form(peers: &[(SocketAddr, PeerId)]) -> Item {
    let peer = |(address, peer_id): &(SocketAddr, PeerId)| {
        let ip = address.ip().to_string();
        let fields = [
            ("ip", ip.as_str().into()),
            ("peer id", peer_id.0.as_slice().into()),
            ("port", address.port().into()),
        ];
        Item::dict(fields)
    };
    Item::List(peers.iter().map(peer).collect())
}

/// Whole seconds, one at least: none would mean "all the time".
fn seconds(time: Duration) -> Item {
    number(time.as_secs().max(1))
}

fn number(number: u64) -> Item {
    Item::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InfoHash;
    use crate::tracker::Settings;

    fn answer(compact: bool) -> Answer {
        Answer::Peers {
            settings: Settings::default(),
            seeders: 1,
            leechers: 2,
            peers: vec![
                ("10.0.0.1:258".parse().unwrap(), PeerId(*b"aaaaaaaaaaaaaaaaaaaa")),
                ("[::2]:3".parse().unwrap(), PeerId(*b"bbbbbbbbbbbbbbbbbbbb")),
            ],
            compact,
        }
    }

    fn shown(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    #[test]
    fn peers_are_told_in_the_compact_form() {
        let expected = b"d8:completei1e10:incompletei2e8:intervali120e12:min intervali15e\
            5:peers6:\x0a\0\0\x01\x01\x026:peers618:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\x03e";
        assert_eq!(shown(&answer(true).encode()), shown(expected));
    }

    #[test]
    fn or_in_the_long_form() {
        let expected = b"d8:completei1e10:incompletei2e8:intervali120e12:min intervali15e5:peersl\
            d2:ip8:10.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti258ee\
            d2:ip3:::27:peer id20:bbbbbbbbbbbbbbbbbbbb4:porti3eeee";
        assert_eq!(shown(&answer(false).encode()), shown(expected));
    }

    #[test]
    fn a_refusal_says_why() {
        let refusal = Answer::NotPublished(InfoHash([0xab; 20])).encode();
        let text = format!("no torrent {} is published here", "ab".repeat(20));
        assert_eq!(shown(&refusal), format!("d14:failure reason{}:{text}e", text.len()));
    }

    #[test]
    fn a_scrape_has_a_dictionary_for_each_torrent() {
        let info_hash = InfoHash([b'h'; 20]);
        let torrents = [Scraped { info_hash, seeders: 3, leechers: 4, completed: 5 }];
        let expected =
            "d5:filesd20:hhhhhhhhhhhhhhhhhhhhd8:completei3e10:downloadedi5e10:incompletei4eeee";
        assert_eq!(shown(&scrape(&torrents)), expected);
        assert_eq!(scrape(&[]), b"d5:filesdee");
    }
}
