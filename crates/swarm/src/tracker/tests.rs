use super::snapshot::{SavedPeer, SavedSwarm};
use super::*;
use crate::limits::{MAX_PEERS_PER_ADDRESS, MAX_SWARM_PEERS};
use crate::tracker::client::parse_answer;
use offload::rng::Rng;
use proptest::prelude::*;
use std::collections::BTreeSet;

const TORRENT: InfoHash = InfoHash([7; 20]);

fn tracker() -> Tracker {
    let mut tracker = Tracker::new(Settings::default(), Rng::from_seed(1));
    tracker.serve(TORRENT).unwrap();
    tracker
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

/// A leecher that begins.
fn peer(name: u8, port: u16) -> Announce {
    Announce {
        info_hash: TORRENT,
        peer_id: PeerId([name; 20]),
        port,
        uploaded: 0,
        downloaded: 0,
        left: 1000,
        event: AnnounceEvent::Started,
        wanted: None,
        compact: true,
        ip: None,
        key: None,
    }
}

fn seeder(name: u8, port: u16) -> Announce {
    Announce { left: 0, ..peer(name, port) }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whom the tracker names, as the peer reads it.
fn told(tracker: &mut Tracker, seconds: u64, from: &str, announce: &Announce) -> Vec<String> {
    let answer = tracker.announce(at(seconds), ip(from), announce);
    let answer = parse_answer(&answer.encode()).unwrap();
    let peers: BTreeSet<String> = answer.peers.iter().map(SocketAddr::to_string).collect();
    peers.into_iter().collect()
}

fn numbers(tracker: &Tracker, seconds: u64) -> (usize, usize, u64) {
    let [scraped] = tracker.scrape(at(seconds), &[TORRENT])[..] else { panic!("one torrent") };
    (scraped.seeders, scraped.leechers, scraped.completed)
}

#[test]
fn peers_are_told_of_each_other() {
    let mut tracker = tracker();
    assert!(told(&mut tracker, 0, "10.0.0.1", &seeder(1, 1)).is_empty());
    assert_eq!(told(&mut tracker, 1, "10.0.0.2", &peer(2, 2)), ["10.0.0.1:1"]);
    assert_eq!(told(&mut tracker, 2, "2001:db8::3", &peer(3, 3)), ["10.0.0.1:1", "10.0.0.2:2"]);
    let long = Announce { compact: false, ..peer(4, 4) };
    let all = ["10.0.0.1:1", "10.0.0.2:2", "[2001:db8::3]:3"];
    assert_eq!(told(&mut tracker, 3, "10.0.0.4", &long), all);
    assert_eq!(numbers(&tracker, 3), (1, 3, 0));
}

#[test]
fn only_published_torrents_are_tracked() {
    let mut tracker = tracker();
    let other = Announce { info_hash: InfoHash([8; 20]), ..peer(1, 1) };
    let refused = tracker.announce(at(0), ip("10.0.0.1"), &other).encode();
    let words = parse_answer(&refused).unwrap_err().to_string();
    assert_eq!(words, format!("the tracker refuses: no torrent {} is published here", "08".repeat(20)));
    told(&mut tracker, 0, "10.0.0.1", &peer(1, 1));
    tracker.forget(TORRENT);
    assert_eq!(tracker.announce(at(1), ip("10.0.0.1"), &peer(1, 1)), Answer::NotPublished(TORRENT));
    assert!(tracker.peers(at(1), TORRENT).is_empty() && tracker.scrape(at(1), &[]).is_empty());
}

#[test]
fn seeders_are_not_told_of_seeders() {
    let mut tracker = tracker();
    told(&mut tracker, 0, "10.0.0.1", &seeder(1, 1));
    told(&mut tracker, 0, "10.0.0.2", &peer(2, 2));
    assert_eq!(told(&mut tracker, 0, "10.0.0.3", &seeder(3, 3)), ["10.0.0.2:2"]);
    assert_eq!(told(&mut tracker, 0, "10.0.0.4", &peer(4, 4)).len(), 3);
}

#[test]
fn a_peer_that_leaves_is_gone_and_one_that_falls_silent_too() {
    let mut tracker = tracker();
    told(&mut tracker, 0, "10.0.0.1", &peer(1, 1));
    told(&mut tracker, 0, "10.0.0.2", &peer(2, 2));
    let stopped = Announce { event: AnnounceEvent::Stopped, ..peer(1, 1) };
    assert!(told(&mut tracker, 1, "10.0.0.1", &stopped).is_empty());
    assert_eq!(numbers(&tracker, 1), (0, 1, 0));
    // One announce was missed, and the next is a little late.
    assert_eq!(told(&mut tracker, 250, "10.0.0.3", &peer(3, 3)), ["10.0.0.2:2"]);
    assert!(told(&mut tracker, 256, "10.0.0.3", &peer(3, 3)).is_empty());
    assert_eq!(numbers(&tracker, 256), (0, 1, 0));
}

#[test]
fn a_peer_completes_once() {
    let mut tracker = tracker();
    told(&mut tracker, 0, "10.0.0.1", &peer(1, 1));
    let completed = Announce { event: AnnounceEvent::Completed, ..seeder(1, 1) };
    told(&mut tracker, 10, "10.0.0.1", &completed);
    told(&mut tracker, 11, "10.0.0.1", &completed);
    told(&mut tracker, 11, "10.0.0.2", &seeder(2, 2));
    assert_eq!(numbers(&tracker, 11), (2, 0, 1));
    let views = tracker.peers(at(12), TORRENT);
    let shown: Vec<_> =
        views.iter().map(|v| (v.since.as_secs(), v.silent.as_secs(), v.completed)).collect();
    assert_eq!(shown, [(12, 1, true), (1, 1, false)]);
}

#[test]
fn a_host_that_begins_anew_takes_its_own_place() {
    let mut tracker = tracker();
    told(&mut tracker, 0, "10.0.0.1", &peer(1, 1));
    told(&mut tracker, 5, "10.0.0.1", &peer(2, 1));
    let views = tracker.peers(at(6), TORRENT);
    assert_eq!(
        views.iter().map(|v| (v.peer_id, v.since.as_secs())).collect::<Vec<_>>(),
        [(PeerId([2; 20]), 1)]
    );
    // What the first one says late does not concern the second.
    told(&mut tracker, 6, "10.0.0.1", &Announce { event: AnnounceEvent::Stopped, ..peer(1, 1) });
    assert_eq!(tracker.peers(at(6), TORRENT).len(), 1);
}

#[test]
fn a_peer_that_moves_is_known_by_its_secret() {
    let mut tracker = tracker();
    let key = |key: &str| Announce { key: Some(key.into()), ..peer(1, 1) };
    told(&mut tracker, 0, "10.0.0.1", &key("a"));
    told(&mut tracker, 1, "10.0.0.2", &key("a"));
    let addresses = |tracker: &Tracker| {
        let views = tracker.peers(at(2), TORRENT);
        views.iter().map(|view| view.address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(addresses(&tracker), ["10.0.0.2:1"]);
    // Another secret, or the other family: it is at both places.
    told(&mut tracker, 1, "10.0.0.3", &key("b"));
    told(&mut tracker, 1, "::2", &key("a"));
    assert_eq!(addresses(&tracker), ["10.0.0.2:1", "10.0.0.3:1", "[::2]:1"]);
}

#[test]
fn nobody_names_another_ones_address_but_the_own_host() {
    let mut tracker = tracker();
    let named = Announce { ip: Some(ip("10.9.9.9")), ..peer(1, 1) };
    told(&mut tracker, 0, "10.0.0.1", &named);
    assert_eq!(told(&mut tracker, 0, "10.0.0.2", &peer(2, 2)), ["10.0.0.1:1"]);
    told(&mut tracker, 0, "::ffff:127.0.0.1", &Announce { ip: Some(ip("10.0.0.7")), ..peer(3, 3) });
    let expected = ["10.0.0.1:1", "10.0.0.7:3"];
    assert_eq!(told(&mut tracker, 0, "::ffff:10.0.0.2", &peer(2, 2)), expected);
}

#[test]
fn addresses_of_the_own_host_are_told_to_the_own_host_only() {
    let mut tracker = tracker();
    told(&mut tracker, 0, "127.0.0.1", &peer(1, 1));
    assert!(told(&mut tracker, 0, "10.0.0.2", &peer(2, 2)).is_empty());
    assert_eq!(told(&mut tracker, 0, "127.0.0.1", &peer(3, 3)), ["10.0.0.2:2", "127.0.0.1:1"]);
}

#[test]
fn the_peers_told_are_as_many_as_wanted_and_chosen_by_chance() {
    let mut tracker = tracker();
    for host in 1..=200 {
        tracker.announce(at(0), ip(&format!("10.0.0.{host}")), &peer(host, 1));
    }
    let mut wanted = |wanted| told(&mut tracker, 1, "10.0.1.0", &Announce { wanted, ..peer(255, 1) });
    assert_eq!(wanted(None).len(), TRACKER_PEERS);
    assert_eq!((wanted(Some(0)).len(), wanted(Some(u32::MAX)).len()), (0, 200));
    let seen: BTreeSet<String> = (0..60).flat_map(|_| wanted(Some(20))).collect();
    assert!(seen.len() > 190, "only {} of 200 in 60 answers of 20", seen.len());
}

#[test]
fn a_restarted_tracker_has_the_old_peers_until_they_fall_silent() {
    let mut first = tracker();
    first.serve(InfoHash([8; 20])).unwrap();
    told(&mut first, 1000, "10.0.0.1", &peer(1, 1));
    told(&mut first, 1100, "10.0.0.1", &Announce { event: AnnounceEvent::Completed, ..seeder(1, 1) });
    told(&mut first, 1130, "2001:db8::2", &Announce { key: Some("k".into()), ..peer(2, 2) });
    told(&mut first, 1130, "10.0.0.3", &Announce { info_hash: InfoHash([8; 20]), ..peer(3, 3) });
    let written = serde_json::to_vec(&first.snapshot(at(1150))).unwrap();
    let read: Snapshot = serde_json::from_slice(&written).unwrap();
    assert_eq!(read, first.snapshot(at(1150)));

    // The other torrent is published no more; the clock begins at 0; one peer was faster.
    let mut second = tracker();
    told(&mut second, 2, "10.0.0.4", &peer(4, 4));
    second.restore(at(3), &read);
    let views = second.peers(at(3), TORRENT);
    let shown: Vec<_> =
        views.iter().map(|v| (v.since.as_secs(), v.silent.as_secs(), v.completed)).collect();
    assert_eq!(shown, [(150, 50, true), (1, 1, false), (20, 20, false)]);
    assert_eq!(numbers(&second, 3), (1, 2, 1));
    assert_eq!(told(&mut second, 4, "10.0.0.5", &peer(5, 5)).len(), 3);
    // It had completed before the restart.
    told(&mut second, 5, "10.0.0.1", &Announce { event: AnnounceEvent::Completed, ..seeder(1, 1) });
    assert_eq!(numbers(&second, 5), (1, 3, 1));
    assert_eq!(told(&mut second, 239, "10.0.0.5", &peer(5, 5)), ["10.0.0.1:1", "10.0.0.4:4"]);
}

#[test]
fn a_tracker_that_has_lost_its_memory_takes_regular_announces() {
    let mut tracker = tracker();
    let regular = Announce { event: AnnounceEvent::Regular, ..seeder(1, 1) };
    told(&mut tracker, 0, "10.0.0.1", &regular);
    assert_eq!(told(&mut tracker, 1, "10.0.0.2", &peer(2, 2)), ["10.0.0.1:1"]);
    assert_eq!(numbers(&tracker, 1), (1, 1, 0));
}

#[test]
fn one_address_cannot_fill_the_tracker() {
    let mut tracker = tracker();
    told(&mut tracker, 0, "10.0.0.1", &peer(1, 1));
    for port in 1..=MAX_PEERS_PER_ADDRESS as u16 + 10 {
        tracker.announce(at(1), ip("10.0.0.2"), &peer(2, port));
    }
    let views = tracker.peers(at(1), TORRENT);
    assert_eq!(views.len(), 1 + MAX_PEERS_PER_ADDRESS);
    assert_eq!(views[0].address.to_string(), "10.0.0.1:1");
    assert_eq!(views.last().unwrap().address.port(), MAX_PEERS_PER_ADDRESS as u16 + 10);
}

/// As many peers as the snapshot of a larger tracker might have, the last heard of first.
fn crowd(info_hash: InfoHash, count: u32) -> SavedSwarm {
    let saved = |i: u32| SavedPeer {
        address: SocketAddr::from(((0x0a00_0000 + i).to_be_bytes(), 1)),
        peer_id: PeerId([0; 20]).0,
        key: None,
        left: 1,
        uploaded: 0,
        downloaded: 0,
        since_ms: u64::MAX,
        silent_ms: u64::from(i),
        completed: false,
    };
    SavedSwarm { info_hash: info_hash.0, completed: 0, peers: (0..count).map(saved).collect() }
}

#[test]
fn when_a_torrent_has_too_many_peers_the_stalest_is_forgotten() {
    let mut tracker = tracker();
    let torrents = vec![crowd(TORRENT, MAX_SWARM_PEERS as u32 + 5)];
    tracker.restore(at(100), &Snapshot { torrents });
    assert_eq!(tracker.peers(at(100), TORRENT).len(), MAX_SWARM_PEERS);
    told(&mut tracker, 100, "192.168.0.1", &peer(1, 1));
    let views = tracker.peers(at(100), TORRENT);
    assert_eq!(views.len(), MAX_SWARM_PEERS);
    assert!(views.iter().any(|view| view.address.to_string() == "192.168.0.1:1"));
    let longest = views.iter().map(|view| view.silent).max();
    assert_eq!(longest, Some(Duration::from_millis(MAX_SWARM_PEERS as u64 - 2)));
}

#[test]
fn when_all_torrents_have_too_many_peers_the_stalest_of_all_is_forgotten() {
    let mut tracker = tracker();
    let crowded = (MAX_TRACKED_PEERS / MAX_SWARM_PEERS) as u8;
    let hashes: Vec<InfoHash> = (0..crowded).map(|i| InfoHash([100 + i; 20])).collect();
    hashes.iter().for_each(|hash| tracker.serve(*hash).unwrap());
    let torrents = hashes.iter().map(|hash| crowd(*hash, MAX_SWARM_PEERS as u32)).collect();
    tracker.restore(at(100), &Snapshot { torrents });
    told(&mut tracker, 100, "192.168.0.1", &peer(1, 1));
    assert_eq!(tracker.peers(at(100), TORRENT).len(), 1);
    let sizes: Vec<usize> = hashes.iter().map(|hash| tracker.peers(at(100), *hash).len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), MAX_TRACKED_PEERS - 1);
}

#[test]
fn there_are_only_so_many_torrents() {
    let mut tracker = tracker();
    let hash =
        |i: u16| InfoHash(std::array::from_fn(|at| if at < 18 { 1 } else { i.to_be_bytes()[at - 18] }));
    let served = (0..2000).filter(|i| tracker.serve(hash(*i)).is_ok()).count();
    assert_eq!(served, MAX_TRACKED_TORRENTS - 1);
    assert_eq!((tracker.serve(TORRENT), tracker.serve(hash(1999))), (Ok(()), Err(Full)));
    tracker.forget(TORRENT);
    assert_eq!(tracker.serve(hash(1999)), Ok(()));
}

#[derive(Clone, Debug)]
enum Step {
    Announce(u8, Announce),
    Wait(u64),
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let event = prop::sample::select(vec![
        AnnounceEvent::Started,
        AnnounceEvent::Completed,
        AnnounceEvent::Stopped,
        AnnounceEvent::Regular,
    ]);
    let key = prop::option::of("[ab]");
    let announce = (0u8..8, 0u8..6, 1u16..4, 0u64..2, event, prop::option::of(0u32..5), key).prop_map(
        |(host, name, port, left, event, wanted, key)| {
            let info_hash = InfoHash([7 + host / 7; 20]);
            Step::Announce(host, Announce { info_hash, left, event, wanted, key, ..peer(name, port) })
        },
    );
    prop_oneof![10 => announce, 1 => (0u64..300).prop_map(Step::Wait), 1 => Just(Step::Restart)]
}

proptest! {
    #[test]
    fn whatever_is_announced_the_answers_make_sense(steps in prop::collection::vec(any_step(), 0..120)) {
        let (mut tracker, mut seconds) = (tracker(), 0);
        for step in steps {
            match step {
                Step::Wait(more) => seconds += more,
                Step::Restart => {
                    let snapshot = tracker.snapshot(at(seconds));
                    let before = tracker.peers(at(seconds), TORRENT);
                    tracker = self::tracker();
                    seconds = 0;
                    tracker.restore(at(0), &snapshot);
                    prop_assert_eq!(tracker.peers(at(0), TORRENT), before);
                }
                Step::Announce(host, announce) => {
                    let from = IpAddr::from([10, 0, 0, host]);
                    let answer = tracker.announce(at(seconds), from, &announce);
                    if announce.info_hash != TORRENT {
                        prop_assert_eq!(answer, Answer::NotPublished(announce.info_hash));
                        continue;
                    }
                    let Answer::Peers { seeders, leechers, peers, .. } = answer else { panic!("{answer:?}") };
                    let views = tracker.peers(at(seconds), TORRENT);
                    let mine = SocketAddr::new(from, announce.port);
                    prop_assert!(peers.iter().all(|(at, id)| *at != mine && *id != announce.peer_id));
                    let known = |told: &(SocketAddr, PeerId)| {
                        views.iter().any(|view| (view.address, view.peer_id) == *told)
                    };
                    prop_assert!(peers.iter().all(known));
                    let distinct: BTreeSet<_> = peers.iter().collect();
                    prop_assert_eq!(distinct.len(), peers.len());
                    prop_assert!(peers.len() <= announce.wanted.map_or(TRACKER_PEERS, |n| n as usize));
                    prop_assert_eq!(seeders + leechers, views.len());
                    let here = views.iter().any(|view| view.address == mine);
                    prop_assert!(here || announce.event == AnnounceEvent::Stopped);
                    prop_assert!(views.iter().all(|view| view.silent <= Duration::from_secs(255)));
                }
            }
        }
    }
}
