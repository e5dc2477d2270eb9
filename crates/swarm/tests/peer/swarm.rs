//! From whom the bytes come.

use super::*;
use offload_swarm::io::Error;
use offload_swarm::io::node::Phase;
use offload_swarm::magnet::Magnet;
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn a_leecher_gets_all_files_from_a_seeder() {
    let packed =
        Packed::new("data", &[("a", 300_000), ("empty", 0), ("sub/deep/b", 1_000_001), ("c", 1)]);
    let (seeder, seeding) = seeder(&packed);
    let place = tempfile::tempdir().unwrap();
    let leecher = node(2);
    let handle = add(&leecher, packed.what(), place.path(), &[seeder.address()]);
    handle.wait_complete(LONG).unwrap();
    packed.assert_same(place.path());
    let status = handle.status();
    assert_eq!((status.progress.left_bytes, status.progress.wasted_bytes), (0, 0));
    assert_eq!(status.progress.downloaded_bytes, packed.metainfo.geometry.total_bytes());
    assert_eq!(status.have_pieces, status.pieces());
    leecher.stop();
    assert!(matches!(handle.status().phase, Phase::Stopped));
    assert_eq!(handle.wait_complete(LONG).map_err(|e| e.to_string()), Ok(()));
    seeder.stop();
    assert_eq!(seeding.status().progress.uploaded_bytes, packed.metainfo.geometry.total_bytes());
}

#[test]
fn five_peers_help_each_other() {
    let packed = Packed::new("data", &[("", 8 << 20)]);
    let (seeder, _seeding) = seeder(&packed);
    let peers: Vec<(Node, TempDir)> =
        (2..6).map(|seed| (node(seed), tempfile::tempdir().unwrap())).collect();
    let all: Vec<SocketAddr> =
        peers.iter().map(|(node, _)| node.address()).chain([seeder.address()]).collect();
    let start = |(node, place): &(Node, TempDir)| add(node, packed.what(), place.path(), &all);
    let handles: Vec<Handle> = peers.iter().map(start).collect();
    handles.iter().for_each(|handle| handle.wait_complete(LONG).unwrap());
    peers.iter().for_each(|(_, place)| packed.assert_same(place.path()));
}

#[test]
fn a_magnet_link_is_enough() {
    let packed = Packed::new("data", &[("a", 100_000), ("b", 200_000)]);
    let (seeder, _seeding) = seeder(&packed);
    let place = tempfile::tempdir().unwrap();
    let mut magnet = Magnet::from(&*packed.metainfo);
    magnet.peers = vec![seeder.address().to_string()];
    let leecher = node(2);
    let handle = add(&leecher, What::Magnet(magnet), place.path(), &[]);
    handle.wait_complete(LONG).unwrap();
    packed.assert_same(place.path());
    assert_eq!(handle.status().metainfo.unwrap().files, packed.metainfo.files);
}

#[test]
fn one_node_has_many_torrents_and_none_twice() {
    let packed: Vec<Packed> =
        (1..9).map(|n| Packed::new(&format!("data{n}"), &[("", n * 50_000)])).collect();
    let (seeder, leecher) = (node(1), node(2));
    let place = tempfile::tempdir().unwrap();
    let mut handles = Vec::new();
    for packed in &packed {
        handles.push(add(&seeder, packed.what(), packed.place.path(), &[]));
        handles.push(add(&leecher, packed.what(), place.path(), &[seeder.address()]));
    }
    let (directory, what) = (place.path().to_owned(), packed[3].what());
    let twice = leecher.add(Job { what, directory, super_seed: false, wanted: None, peers: Vec::new() });
    assert!(matches!(twice, Err(Error::Known(hash)) if hash == packed[3].metainfo.info_hash));
    handles.iter().for_each(|handle| handle.wait_complete(LONG).unwrap());
    packed.iter().for_each(|packed| packed.assert_same(place.path()));
    // One leaves, the others stay.
    handles[1].stop();
    assert!(matches!(handles[1].status().phase, Phase::Stopped));
    assert!(matches!(handles[3].status().phase, Phase::Seeding));
}

#[test]
fn ipv6_is_as_good() {
    let packed = Packed::new("data", &[("", 500_000)]);
    let start = |seed| {
        let mut settings = settings(seed);
        settings.listen = "[::1]:0".parse().unwrap();
        Node::start(settings, Rng::from_seed(seed)).unwrap()
    };
    let (seeder, leecher, place) = (start(1), start(2), tempfile::tempdir().unwrap());
    let _seeding = add(&seeder, packed.what(), packed.place.path(), &[]);
    let handle = add(&leecher, packed.what(), place.path(), &[seeder.address()]);
    handle.wait_complete(LONG).unwrap();
    packed.assert_same(place.path());
}

#[test]
fn a_tracker_that_is_not_there_keeps_nobody_from_finishing() {
    let trackers = vec![vec!["http://127.0.0.1:1/announce".into()]];
    let packed = Packed::with_trackers("data", &[("", 500_000)], trackers);
    let (seeder, _seeding) = seeder(&packed);
    let (leecher, place) = (node(2), tempfile::tempdir().unwrap());
    let handle = add(&leecher, packed.what(), place.path(), &[seeder.address()]);
    handle.wait_complete(LONG).unwrap();
    packed.assert_same(place.path());
    leecher.stop();
}

#[test]
fn limits_hold_back() {
    let packed = Packed::new("data", &[("", 1 << 20)]);
    for (up, down) in [(Some(1 << 20), None), (None, Some(1 << 20))] {
        let (mut sends, mut receives) = (settings(1), settings(2));
        sends.upload_bytes_per_second = up;
        receives.download_bytes_per_second = down;
        let seeder = Node::start(sends, Rng::from_seed(1)).unwrap();
        let leecher = Node::start(receives, Rng::from_seed(2)).unwrap();
        add(&seeder, packed.what(), packed.place.path(), &[]).wait_complete(LONG).unwrap();
        let (place, start) = (tempfile::tempdir().unwrap(), Instant::now());
        let handle = add(&leecher, packed.what(), place.path(), &[seeder.address()]);
        handle.wait_complete(LONG).unwrap();
        packed.assert_same(place.path());
        assert!(start.elapsed() > Duration::from_millis(700), "{:?}", start.elapsed());
    }
}

#[test]
fn only_what_is_wanted_comes_and_more_when_more_is_wanted() {
    let packed = Packed::new("data", &[("", 640_000)]);
    let (seeder, _seeding) = seeder(&packed);
    let (leecher, place) = (node(2), tempfile::tempdir().unwrap());
    let directory = place.path().to_owned();
    let (what, peers) = (packed.what(), vec![seeder.address()]);
    let wanted = Some(vec![70_000..70_001, 0..0]);
    let handle = leecher.add(Job { what, directory, super_seed: false, wanted, peers }).unwrap();
    handle.wait_complete(LONG).unwrap();
    assert_eq!(handle.status().have_pieces, 1);
    handle.want(vec![0..1, 1..u64::MAX]);
    until(|| handle.status().have_pieces == handle.status().pieces());
    packed.assert_same(place.path());
}

#[test]
fn strangers_and_liars_do_no_harm() {
    let packed = Packed::new("data", &[("", 500_000)]);
    let (seeder, _seeding) = seeder(&packed);
    let hello =
        |hash: &[u8; 20]| [b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0", &hash[..], &[b'x'; 20]].concat();
    let (ours, other) = (hello(&packed.metainfo.info_hash.0), hello(&[9; 20]));
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: this is another protocol than the one of the peers\r\n\r\n\r\n",
        &other,
        &[&ours[..], &[0xff; 100]].concat(),
        &[&ours[..], &[0, 0, 0, 13, 6, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0x40, 0]].concat(),
        b"\x13BitTor",
    ];
    let mut held: Vec<TcpStream> = Vec::new();
    for bytes in garbage {
        let mut stranger = TcpStream::connect(seeder.address()).unwrap();
        stranger.write_all(bytes).unwrap();
        if bytes.len() > 60 {
            // It is left, sooner or later; what it was told before does not matter.
            let _ = stranger.read_to_end(&mut Vec::new());
        }
        held.push(stranger);
    }
    let (leecher, place) = (node(2), tempfile::tempdir().unwrap());
    add(&leecher, packed.what(), place.path(), &[seeder.address()]).wait_complete(LONG).unwrap();
    packed.assert_same(place.path());
}
