//! Sessions wired to each other without a network: messages arrive at once and in order. The simulator has
//! links, time and faults; here it is shown what two or a few peers say.

use super::*;
use crate::wire::handshake::Features;
use offload::rng::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const PIECE_BYTES: u32 = 64 << 10;
const FEATURES: Features = Features { fast: true, extended: true };

/// Sessions, and which end of which connection belongs to whom.
struct Net {
    now: Time,
    peers: Vec<Peer>,
    ends: BTreeMap<Conn, (usize, Conn)>,
    next_conn: u64,
    /// What is on its way: the session and its input.
    pending: VecDeque<(usize, Input<'static>)>,
    said: Vec<(usize, Conn, Message)>,
    announced: Vec<(usize, AnnounceEvent)>,
}

struct Peer {
    session: Session,
    /// Whose bytes make up each piece that is begun: block number to "is it sound".
    kept: BTreeMap<u32, BTreeMap<u32, bool>>,
    liar: bool,
    complete: bool,
    banned: usize,
    served: BTreeMap<u32, usize>,
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, index as u8 + 1], 6881))
}

fn geometry(pieces: u32) -> Geometry {
    Geometry::new(u64::from(pieces) * u64::from(PIECE_BYTES) - 5, PIECE_BYTES).unwrap()
}

fn content(pieces: u32, have: Bitfield) -> Content {
    Content {
        geometry: geometry(pieces),
        have,
        wanted: Bitfield::full(pieces),
        metadata: vec![7; 40_000],
    }
}

impl Net {
    fn new() -> Net {
        let (peers, ends, pending) = (Vec::new(), BTreeMap::new(), VecDeque::new());
        let (said, announced) = (Vec::new(), Vec::new());
        Net { now: Time::ZERO, peers, ends, next_conn: 0, pending, said, announced }
    }

    fn add(&mut self, content: Option<Content>, super_seed: bool) -> usize {
        let index = self.peers.len();
        let settings = Settings {
            peer_id: PeerId([index as u8; 20]),
            port: 6881,
            upload_slots: 8,
            max_connections: 50,
            super_seed,
        };
        let torrent = Torrent { private: false, content };
        let session = Session::new(settings, torrent, Rng::from_seed(index as u64));
        let (kept, served) = (BTreeMap::new(), BTreeMap::new());
        self.peers.push(Peer { session, kept, liar: false, complete: false, banned: 0, served });
        index
    }

    fn seeder(&mut self, pieces: u32) -> usize {
        self.add(Some(content(pieces, Bitfield::full(pieces))), false)
    }

    fn leecher(&mut self, pieces: u32) -> usize {
        self.add(Some(content(pieces, Bitfield::new(pieces))), false)
    }

    fn know(&mut self, who: usize, whom: usize) {
        self.peers[who].session.handle_input(
            self.now,
            Input::Peers { source: Source::Tracker, addresses: &[address(whom)] },
        );
        self.drain(who);
    }

    /// Runs until nobody has anything to say, then lets time pass, up to so many seconds.
    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        (0..self.peers.len()).for_each(|index| self.drain(index));
        while self.now < end {
            while let Some((index, input)) = self.pending.pop_front() {
                self.peers[index].session.handle_input(self.now, input);
                self.drain(index);
            }
            self.now += Duration::from_millis(50);
            for index in 0..self.peers.len() {
                self.peers[index].session.handle_timeout(self.now);
                self.drain(index);
            }
        }
    }

    fn drain(&mut self, index: usize) {
        loop {
            let output = self.peers[index].session.poll_output(self.now);
            match output {
                Output::Wake(_) => return,
                Output::Connect { address: to } => self.dial(index, to),
                Output::Message { conn, message } => {
                    self.said.push((index, conn, message.clone()));
                    if let Some((other, theirs)) = self.ends.get(&conn).copied() {
                        self.pending.push_back((other, Input::Message { conn: theirs, message }));
                    }
                }
                Output::Block { conn, block } => self.carry(index, conn, block),
                Output::Verify { piece, digests } => self.verify(index, piece, digests),
                Output::Forget { piece } => {
                    self.peers[index].kept.remove(&piece);
                }
                Output::Metadata { bytes } => {
                    let input = if bytes == vec![7; 40_000] {
                        Input::Content(Box::new(content(20, Bitfield::new(20))))
                    } else {
                        Input::MetadataRefused
                    };
                    self.pending.push_back((index, input));
                }
                Output::Announce { event, .. } => self.announced.push((index, event)),
                Output::Close { conn, .. } => {
                    if let Some((other, theirs)) = self.ends.remove(&conn) {
                        self.ends.remove(&theirs);
                        self.pending.push_back((other, Input::Closed { conn: theirs }));
                    }
                }
                Output::Event(Event::Complete) => self.peers[index].complete = true,
                Output::Event(Event::Banned { .. }) => self.peers[index].banned += 1,
                Output::Event(Event::Piece { .. }) | Output::Discover => {}
            }
        }
    }

    fn dial(&mut self, from: usize, to: SocketAddr) {
        let Some(other) = (0..self.peers.len()).find(|index| address(*index) == to) else {
            return self.pending.push_back((from, Input::ConnectFailed { address: to }));
        };
        let (ours, theirs) = (Conn(self.next_conn), Conn(self.next_conn + 1));
        self.next_conn += 2;
        self.ends.insert(ours, (other, theirs));
        self.ends.insert(theirs, (from, ours));
        let opened = |conn, address, direction, peer: usize| Input::Opened {
            conn,
            address,
            direction,
            peer_id: PeerId([peer as u8; 20]),
            features: FEATURES,
        };
        self.pending.push_back((from, opened(ours, to, Direction::Outgoing, other)));
        let far = SocketAddr::new(address(from).ip(), 40_000);
        self.pending.push_back((other, opened(theirs, far, Direction::Incoming, from)));
    }

    fn carry(&mut self, from: usize, conn: Conn, block: Block) {
        *self.peers[from].served.entry(block.piece).or_default() += 1;
        let Some((to, theirs)) = self.ends.get(&conn).copied() else { return };
        // What was said before the block arrives before it.
        while let Some((index, input)) = self.pending.pop_front() {
            self.peers[index].session.handle_input(self.now, input);
            if index != from {
                self.drain(index);
            }
        }
        let kept = self.peers[to].session.expects(theirs, block);
        if kept {
            let sound = !self.peers[from].liar;
            self.peers[to].kept.entry(block.piece).or_default().insert(block.number(), sound);
        }
        self.peers[to].session.handle_input(self.now, Input::Block { conn: theirs, block, kept });
        self.pending.push_back((from, Input::Drained { conn }));
        self.drain(to);
    }

    fn verify(&mut self, index: usize, piece: u32, digests: bool) {
        let blocks = self.peers[index].kept.remove(&piece).expect("it was kept");
        assert_eq!(blocks.len() as u32, geometry(1000).blocks(piece).min(blocks.len() as u32));
        let good = blocks.values().all(|sound| *sound);
        let digests =
            if digests { blocks.values().map(|sound| u64::from(*sound)).collect() } else { Vec::new() };
        self.pending.push_back((index, Input::Verified { piece, good, digests }));
    }

    fn has_all(&self, index: usize) -> bool {
        self.peers[index].session.have().is_some_and(Bitfield::is_full)
    }
}

#[test]
fn one_peer_gets_all_from_another_and_both_part() {
    let mut net = Net::new();
    let (seeder, leecher) = (net.seeder(20), net.leecher(20));
    net.know(leecher, seeder);
    net.run(5);
    assert!(net.has_all(leecher) && net.peers[leecher].complete);
    let progress = net.peers[leecher].session.progress();
    assert_eq!(progress.downloaded_bytes, geometry(20).total_bytes());
    assert_eq!((progress.left_bytes, progress.wasted_bytes, progress.connections), (0, 0, 0));
    assert_eq!(net.peers[seeder].session.progress().uploaded_bytes, geometry(20).total_bytes());
    assert!(net.ends.is_empty(), "two that have all close");
}

#[test]
fn leechers_give_each_other_what_a_super_seeder_gives_once() {
    let mut net = Net::new();
    let seeder = net.add(Some(content(40, Bitfield::full(40))), true);
    let leechers: Vec<usize> = (0..5).map(|_| net.leecher(40)).collect();
    for a in &leechers {
        net.know(*a, seeder);
        leechers.iter().filter(|b| *b != a).for_each(|b| net.know(*a, *b));
    }
    net.run(10);
    assert!(leechers.iter().all(|leecher| net.has_all(*leecher)));
    let copies =
        net.peers[seeder].session.progress().uploaded_bytes as f64 / geometry(40).total_bytes() as f64;
    assert!(copies < 3.0, "{copies} copies from the seeder");
}

#[test]
fn a_super_seeder_shows_what_a_returning_peer_lacks() {
    let mut net = Net::new();
    let seeder = net.add(Some(content(46, Bitfield::full(46))), true);
    let mut part = Bitfield::full(46);
    (0..3).for_each(|piece| assert!(part.remove(piece * 7)));
    let leecher = net.add(Some(content(46, part)), false);
    net.know(leecher, seeder);
    net.run(3);
    assert!(net.has_all(leecher));
}

#[test]
fn a_magnet_link_becomes_a_torrent() {
    let mut net = Net::new();
    let (seeder, leecher) = (net.seeder(20), net.add(None, false));
    assert_eq!(net.peers[leecher].session.progress().left_bytes, 1);
    net.know(leecher, seeder);
    net.run(5);
    assert!(net.has_all(leecher));
}

#[test]
fn a_liar_is_found_and_banned_and_all_come_to_the_right_bytes() {
    let mut net = Net::new();
    let (seeder, liar, leecher) = (net.seeder(40), net.seeder(40), net.leecher(40));
    net.peers[liar].liar = true;
    net.know(leecher, liar);
    net.know(leecher, seeder);
    net.run(20);
    assert!(net.has_all(leecher));
    assert_eq!(net.peers[leecher].banned, 1);
    net.know(liar, leecher);
    net.run(2);
    assert!(net.ends.is_empty(), "it is not spoken to again");
}

#[test]
fn only_what_is_wanted_is_fetched() {
    let mut net = Net::new();
    let seeder = net.seeder(40);
    let mut shard = content(40, Bitfield::new(40));
    shard.wanted = Bitfield::new(40);
    (10..20).for_each(|piece| assert!(shard.wanted.insert(piece)));
    let leecher = net.add(Some(shard), false);
    net.know(leecher, seeder);
    net.run(5);
    assert!(net.peers[leecher].complete);
    assert_eq!(
        net.peers[leecher].session.have().unwrap().iter().collect::<Vec<_>>(),
        (10..20).collect::<Vec<_>>()
    );
    let mut more = Bitfield::new(40);
    more.insert(0);
    let now = net.now;
    net.peers[leecher].session.want(now, &more);
    net.know(leecher, seeder);
    net.run(5);
    assert!(net.peers[leecher].session.have().unwrap().has(0));
    assert_eq!(net.peers[leecher].session.have().unwrap().count(), 11);
}

#[test]
fn a_tracker_hears_of_the_start_and_of_the_end() {
    let mut net = Net::new();
    let (seeder, leecher) = (net.seeder(20), net.leecher(20));
    net.run(1);
    for index in [seeder, leecher] {
        let peers = vec![address(seeder), address(leecher)];
        let answer = Announced { interval: Duration::from_secs(60), peers };
        net.pending.push_back((index, Input::Announced(Some(answer))));
    }
    net.run(5);
    let now = net.now;
    net.pending.push_back((leecher, Input::Announced(None)));
    net.peers[leecher].session.stop(now);
    net.drain(leecher);
    let told: BTreeSet<_> =
        net.announced.iter().map(|(who, event)| (*who, format!("{event:?}"))).collect();
    let expected = [(0, "Started"), (1, "Completed"), (1, "Started"), (1, "Stopped")];
    assert_eq!(told, expected.map(|(who, event)| (who, event.to_owned())).into());
}

#[test]
fn peers_hear_of_each_other_from_each_other() {
    let mut net = Net::new();
    let (seeder, a, b) = (net.seeder(400), net.leecher(400), net.leecher(400));
    net.know(a, seeder);
    net.know(b, seeder);
    // Nobody serves yet: the seeder's slots are what is tested elsewhere.
    net.run(3);
    let heard = net.said.iter().any(|(who, _, message)| {
        *who == seeder
            && matches!(message, Message::Extended { id, .. } if *id == crate::wire::extension::UT_PEX)
    });
    assert!(heard || (net.has_all(a) && net.has_all(b)));
}

#[test]
fn requests_for_what_does_not_exist_end_the_connection() {
    for block in [
        Block { piece: 20, begin: 0, length: 16384 },
        Block { piece: 0, begin: PIECE_BYTES, length: 1 },
        Block { piece: 0, begin: 0, length: 0 },
        Block { piece: 0, begin: 0, length: crate::limits::MAX_REQUEST_BYTES + 1 },
    ] {
        let mut net = Net::new();
        let (seeder, stranger) = (net.seeder(20), net.leecher(20));
        net.know(stranger, seeder);
        while let Some((index, input)) = net.pending.pop_front() {
            net.peers[index].session.handle_input(net.now, input);
        }
        let conn = *net.ends.keys().find(|conn| net.ends[conn].0 == stranger).unwrap();
        let now = net.now;
        net.peers[seeder]
            .session
            .handle_input(now, Input::Message { conn, message: Message::Request(block) });
        assert_eq!(net.peers[seeder].session.progress().connections, 0, "{block:?}");
    }
}

#[test]
fn what_nobody_asked_for_is_not_kept_and_ends_in_a_ban() {
    let mut net = Net::new();
    let (sender, victim) = (net.seeder(20), net.leecher(20));
    net.know(victim, sender);
    while let Some((index, input)) = net.pending.pop_front() {
        net.peers[index].session.handle_input(net.now, input);
    }
    let conn = *net.ends.keys().find(|conn| net.ends[conn].0 == sender).unwrap();
    let block = geometry(20).block(3, 0);
    let mut sent = 0;
    while net.peers[victim].session.progress().connections > 0 {
        assert!(!net.peers[victim].session.expects(conn, block));
        let now = net.now;
        net.peers[victim].session.handle_input(now, Input::Block { conn, block, kept: false });
        sent += u64::from(block.length);
    }
    assert!(sent <= crate::limits::MAX_UNASKED_BYTES + u64::from(block.length));
    assert_eq!(net.peers[victim].session.progress().wasted_bytes, sent);
}
