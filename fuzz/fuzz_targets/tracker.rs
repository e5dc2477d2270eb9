//! The tracker: any query is read or refused, whoever announces what, and the answers are what the peer's
//! side reads. Any bytes for an answer are read or refused too.
//!
//! The first byte says which: queries, one a line, each from another host; or an answer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offload::rng::Rng;
use offload::time::Time;
use offload_swarm::limits::MAX_TRACKER_PEERS;
use offload_swarm::tracker::client::{announce_url, parse_answer};
use offload_swarm::tracker::{Answer, Settings, Snapshot, Tracker, answer, query};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    if choice % 2 == 0 {
        serve(&String::from_utf8_lossy(rest));
    } else if let Ok(answer) = parse_answer(rest) {
        assert!(answer.peers.len() <= MAX_TRACKER_PEERS && !answer.interval.is_zero());
        assert!(answer.peers.iter().all(|address| address.port() != 0));
    }
});

fn serve(queries: &str) {
    let mut tracker = Tracker::new(Settings::default(), Rng::from_seed(1));
    let mut now = Time::ZERO;
    for (line, query) in queries.lines().enumerate() {
        now += Duration::from_secs(7);
        if let Ok(hashes) = query::scrape(query) {
            answer::scrape(&tracker.scrape(now, &hashes));
        }
        let announce = match query::announce(query) {
            Ok(announce) => announce,
            Err(error) => {
                assert!(parse_answer(&answer::failure(&error.to_string())).is_err());
                continue;
            }
        };
        let url = announce_url("http://t/announce?pass=1", &announce).expect("an address of a tracker");
        let (_, again) = url.split_once('?').expect("a query");
        assert_eq!(query::announce(again).as_ref(), Ok(&announce));

        tracker.serve(announce.info_hash).expect("a few lines");
        let answer = tracker.announce(now, host(line), &announce);
        let read = parse_answer(&answer.encode()).expect("a tracker's answer");
        let Answer::Peers { peers, .. } = answer else { panic!("it is published") };
        assert!(peers.iter().all(|(_, peer_id)| *peer_id != announce.peer_id));
        let sorted = |mut peers: Vec<SocketAddr>| {
            peers.sort();
            peers
        };
        let told = sorted(peers.into_iter().map(|(address, _)| address).collect());
        assert_eq!(sorted(read.peers), told);
        let mine = SocketAddr::new(host(line), announce.port);
        assert!(!told.contains(&mine) || announce.ip.is_some());
    }
    let snapshot: Snapshot = tracker.snapshot(now);
    let hashes = tracker.scrape(now, &[]).into_iter().map(|scraped| scraped.info_hash);
    let mut other = Tracker::new(Settings::default(), Rng::from_seed(2));
    hashes.for_each(|hash| other.serve(hash).expect("as many as there were"));
    other.restore(Time::ZERO, &snapshot);
    assert_eq!(other.scrape(Time::ZERO, &[]), tracker.scrape(now, &[]));
}

/// Few hosts, so that they meet; some are the tracker's own.
fn host(line: usize) -> IpAddr {
    match line % 5 {
        0 => IpAddr::from([127, 0, 0, 1]),
        1 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]),
        other => IpAddr::from([10, 0, 0, other as u8]),
    }
}
