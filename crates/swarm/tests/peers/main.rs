//! With the peers that others use: aria2, transmission and libtorrent as seeders and as leechers, by
//! .torrent file and by magnet link, against our tracker; and with the tracker that others use.
//!
//! Each test has a network namespace of its own, all peers at one address, each at a port of its own.
//! Nobody knows anybody but by the tracker. Every file is compared with the one that was published.

mod clients;
mod lab;

use clients::{Client, Role};
use lab::{Lab, in_namespace};
use offload_swarm::peer::AnnounceEvent;
use offload_swarm::tracker::Announce;

/// Transmission says that it has stopped before it starts.
fn is_seeding(announce: &Announce) -> bool {
    announce.left == 0 && announce.event == AnnounceEvent::Started
}

/// The other has the files; one of us comes with the torrent, one with a magnet link alone.
fn they_seed(client: Client) {
    let lab = Lab::new();
    let tracker = lab.tracker();
    let _seeder = lab.start(client, Role::Seeder, &lab.torrent);
    tracker.wait(is_seeding);
    let leechers = [&lab.torrent, &lab.magnet].map(|what| lab.start(Client::Ours, Role::Leecher, what));
    for leecher in leechers {
        leecher.complete();
        tracker.wait(|announce| {
            announce.port == leecher.port && announce.event == AnnounceEvent::Completed
        });
    }
}

/// We have the files; one of the others comes with the torrent, one with a magnet link alone.
fn we_seed(client: Client) {
    let lab = Lab::new();
    let tracker = lab.tracker();
    let _seeder = lab.start(Client::Ours, Role::Seeder, &lab.torrent);
    tracker.wait(is_seeding);
    let leechers = [&lab.torrent, &lab.magnet].map(|what| lab.start(client, Role::Leecher, what));
    for leecher in leechers {
        leecher.complete();
        tracker.wait(|announce| announce.port == leecher.port && announce.left == 0);
    }
}

#[test]
fn aria2_seeds() {
    in_namespace("aria2_seeds", || they_seed(Client::Aria2));
}

#[test]
fn libtorrent_seeds() {
    in_namespace("libtorrent_seeds", || they_seed(Client::Libtorrent));
}

#[test]
fn transmission_seeds() {
    in_namespace("transmission_seeds", || they_seed(Client::Transmission));
}

#[test]
fn aria2_leeches() {
    in_namespace("aria2_leeches", || we_seed(Client::Aria2));
}

#[test]
fn libtorrent_leeches() {
    in_namespace("libtorrent_leeches", || we_seed(Client::Libtorrent));
}

#[test]
fn transmission_leeches() {
    in_namespace("transmission_leeches", || we_seed(Client::Transmission));
}

#[test]
fn a_swarm_of_all_of_them() {
    in_namespace("a_swarm_of_all_of_them", || {
        let lab = Lab::new();
        let tracker = lab.tracker();
        let _seeder = lab.start(Client::Ours, Role::SuperSeeder, &lab.torrent);
        tracker.wait(is_seeding);
        let kinds =
            [Client::Ours, Client::Aria2, Client::Libtorrent, Client::Transmission, Client::Ours];
        let leechers = kinds.map(|client| lab.start(client, Role::Leecher, &lab.torrent));
        leechers.iter().for_each(|leecher| leecher.complete());
    });
}

#[test]
fn peers_meet_at_another_tracker() {
    in_namespace("peers_meet_at_another_tracker", || {
        let lab = Lab::new();
        let _tracker = lab.opentracker();
        let _seeder = lab.start(Client::Ours, Role::Seeder, &lab.torrent);
        let leechers = [Client::Ours, Client::Libtorrent]
            .map(|client| lab.start(client, Role::Leecher, &lab.torrent));
        leechers.iter().for_each(|leecher| leecher.complete());
    });
}
