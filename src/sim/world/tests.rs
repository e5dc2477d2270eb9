//! The world proved by itself, with machines of a few lines.

use super::*;
use crate::proto::Conn;
use crate::wire::frame;
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Default)]
struct Log {
    fates: Vec<(Time, Fate)>,
    delivered: usize,
    said: Vec<Event>,
    most_queued: usize,
    lives: Vec<(NodeId, bool)>,
}

impl Observer for Log {
    fn sent(&mut self, at: Time, _: NodeId, _: SocketAddr, _: &[u8], fate: Fate) {
        self.fates.push((at, fate));
    }
    fn delivered(&mut self, _: Time, _: SocketAddr, _: NodeId, _: &[u8]) {
        self.delivered += 1;
    }
    fn said(&mut self, _: Time, _: NodeId, event: Event) {
        self.said.push(event);
    }
    fn queued(&mut self, _: Time, _: NodeId, bytes: usize) {
        self.most_queued = self.most_queued.max(bytes);
    }
    fn lives(&mut self, _: Time, node: NodeId, alive: bool) {
        self.lives.push((node, alive));
    }
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

/// Sends 0..100, each until it comes back: stop and wait, the number 251 times as a poor man's checksum.
struct Asker {
    at: u8,
    due: Option<Time>,
    out: Option<Vec<u8>>,
}

impl Machine for Asker {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        if let Input::Datagram { bytes, .. } = input
            && bytes.len() == 251
            && bytes.iter().all(|&b| b == self.at)
        {
            self.at += 1;
            self.due = (self.at < 100).then_some(now);
            self.handle_timeout(now);
        }
    }
    fn handle_timeout(&mut self, now: Time) {
        if self.due.is_some_and(|due| due <= now) {
            self.out = Some(vec![self.at; 251]);
            self.due = Some(now + Duration::from_millis(100));
        }
    }
    fn poll_output(&mut self, now: Time) -> Output<'_> {
        self.handle_timeout(now);
        match self.out.take() {
            Some(bytes) => {
                // The machine keeps nothing to lend: the test may leak what it sends.
                Output::Datagrams { to: addr(2), bytes: bytes.leak(), segment: 251 }
            }
            None => Output::Wake(self.due),
        }
    }
    fn room(&self, _: Conn) -> usize {
        0
    }
    fn jobs(&self) -> usize {
        usize::from(self.due.is_some())
    }
}

/// Sends back what comes, and says what it has not yet heard in this life.
#[derive(Default)]
struct Echo {
    out: Option<(SocketAddr, Vec<u8>)>,
    news: Option<u8>,
    heard: Option<u8>,
}

impl Machine for Echo {
    fn handle_input(&mut self, _: Time, input: Input<'_>) {
        if let Input::Datagram { from, bytes } = input
            && from == addr(1)
            && bytes.iter().all(|b| *b == bytes[0])
        {
            self.out = Some((from, bytes.to_vec()));
            if self.heard.is_none_or(|h| bytes[0] > h) {
                (self.heard, self.news) = (Some(bytes[0]), Some(bytes[0]));
            }
        }
    }
    fn handle_timeout(&mut self, _: Time) {}
    fn poll_output(&mut self, _: Time) -> Output<'_> {
        if let Some(news) = self.news.take() {
            return Output::Event(Event::Stderr(news.to_string()));
        }
        match self.out.take() {
            Some((to, bytes)) => Output::Datagrams { to, bytes: bytes.leak(), segment: 251 },
            None => Output::Wake(None),
        }
    }
    fn room(&self, _: Conn) -> usize {
        0
    }
    fn jobs(&self) -> usize {
        0
    }
}

fn rough() -> Weather {
    Weather {
        loss: 0.3,
        duplicate: 0.1,
        corrupt: 0.1,
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(3),
        bytes_per_s: 0,
        queue_bytes: 0,
    }
}

fn ask(seed: u64, faults: impl FnOnce(&mut World<Log>, NodeId, NodeId)) -> World<Log> {
    let mut world = World::new(Rng::from_seed(seed), Log::default(), Trace::new(false));
    let asker = |_, _| Box::new(Asker { at: 0, due: Some(Time::ZERO), out: None }) as Box<dyn Machine>;
    let a = world.add("asker", addr(1), Time::ZERO, Box::new(asker));
    let e = world.add("echo", addr(2), Time::ZERO, Box::new(|_, _| Box::<Echo>::default()));
    world.set_weather(a, e, rough());
    world.set_weather(e, a, rough());
    faults(&mut world, a, e);
    while world.step(Time::ZERO + Duration::from_secs(600)) {}
    assert_eq!(world.jobs(a), Some(0), "stop and wait gets through");
    assert_eq!(world.wake(a), None);
    world
}

fn heard(world: &World<Log>) -> Vec<String> {
    let texts = world.observer.said.iter().map(|event| match event {
        Event::Stderr(text) => text.clone(),
        other => format!("{other:?}"),
    });
    texts.collect()
}

#[test]
fn a_retransmitting_machine_gets_through_rough_weather_in_order() {
    let world = ask(1, |_, _, _| {});
    assert_eq!(heard(&world), (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    let lost = world.observer.fates.iter().filter(|(_, f)| f.is_loss()).count();
    assert!(lost > world.observer.fates.len() / 5, "and it was rough: {lost}");
}

#[test]
fn a_seed_is_a_history() {
    let hashes: Vec<u64> = (0..20).map(|seed| ask(seed, |_, _, _| {}).trace.hash()).collect();
    assert_eq!(hashes, (0..20).map(|seed| ask(seed, |_, _, _| {}).trace.hash()).collect::<Vec<_>>());
    assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_partition_lets_nothing_through_until_it_ends() {
    let (from, until) = (Time::ZERO + Duration::from_secs(1), Time::ZERO + Duration::from_secs(31));
    let world = ask(2, |world, a, b| world.cut(Cut { a, b, from, until, both: true }));
    let inside = |at: Time| (from..until).contains(&at);
    assert!(world.observer.fates.iter().all(|&(at, f)| inside(at) == (f == Fate::Cut)));
    assert!(world.observer.fates.iter().any(|&(at, _)| inside(at)));
}

#[test]
fn a_restarted_process_remembers_nothing() {
    let world = ask(3, |world, _, e| world.stop_after(e, 50, Some(Duration::from_secs(5))));
    assert_eq!(world.observer.lives, [(0, true), (1, true), (1, false), (1, true)]);
    let asked_twice = heard(&world).windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!(asked_twice <= 1, "only what was on the way at the crash is news again");
    assert!(heard(&world).len() >= 100);
}

#[test]
fn a_frozen_process_hears_everything_afterwards() {
    let world = ask(4, |world, _, e| {
        world.freeze(Time::ZERO + Duration::from_millis(500), e, Duration::from_secs(9));
    });
    assert_eq!(heard(&world).len(), 100);
    assert!(world.observer.fates.iter().filter(|(at, _)| at.as_secs_f64() > 1.0).count() > 90);
}

#[test]
fn spoofed_datagrams_reach_machines_that_did_not_ask() {
    let quiet = ask(5, |_, _, _| {});
    let noisy = ask(5, |world, _, _| {
        (0..200).for_each(|i| world.spoof(Time::ZERO + Duration::from_millis(i)));
    });
    assert!(noisy.observer.delivered > quiet.observer.delivered + 100);
}

/// Writes its file to the connection, then closes.
#[derive(Default)]
struct Reader {
    outs: VecDeque<Output<'static>>,
    left: u64,
    conn: Option<Conn>,
}

impl Machine for Reader {
    fn handle_input(&mut self, _: Time, input: Input<'_>) {
        match input {
            Input::Opened { conn, .. } => {
                self.conn = Some(conn);
                self.left = 5000;
                self.outs.push_back(Output::Read { rows: 0..2000 });
                self.outs.push_back(Output::Read { rows: 2000..5000 });
            }
            Input::Block(Ok(block)) => {
                self.left -= block.count;
                let Some(conn) = self.conn else { return };
                self.outs.push_back(Output::Stream { conn, bytes: block.frames });
                if self.left == 0 {
                    self.outs.push_back(Output::Close { conn });
                }
            }
            Input::Block(Err(text)) => self.outs.push_back(Output::Event(Event::Stderr(text))),
            _ => {}
        }
    }
    fn handle_timeout(&mut self, _: Time) {}
    fn poll_output(&mut self, _: Time) -> Output<'_> {
        self.outs.pop_front().unwrap_or(Output::Wake(None))
    }
    fn room(&self, _: Conn) -> usize {
        1
    }
    fn jobs(&self) -> usize {
        0
    }
}

/// Takes at most 100 bytes a millisecond.
struct Slow {
    got: Rc<RefCell<Vec<u8>>>,
    room: usize,
    wake: Option<Time>,
    closed: bool,
}

impl Machine for Slow {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Stream { bytes, .. } => {
                assert!(!self.closed && bytes.len() <= self.room && !bytes.is_empty());
                self.room -= bytes.len();
                self.got.borrow_mut().extend(bytes);
                self.wake.get_or_insert(now + Duration::from_millis(1));
            }
            Input::Closed { error, .. } => {
                assert_eq!(error, None);
                self.closed = true;
            }
            _ => {}
        }
    }
    fn handle_timeout(&mut self, now: Time) {
        if self.wake.is_some_and(|t| t <= now) {
            (self.room, self.wake) = (100, None);
        }
    }
    fn poll_output(&mut self, _: Time) -> Output<'_> {
        Output::Wake(self.wake)
    }
    fn room(&self, _: Conn) -> usize {
        self.room
    }
    fn jobs(&self) -> usize {
        usize::from(!self.closed)
    }
}

fn stream(seed: u64, broken_from: Option<u64>) -> (World<Log>, Vec<u8>, Vec<u8>) {
    let mut world = World::new(Rng::from_seed(seed), Log::default(), Trace::new(false));
    let got = Rc::new(RefCell::new(Vec::new()));
    let kept = got.clone();
    let c = world.add("reader", addr(1), Time::ZERO, Box::new(|_, _| Box::<Reader>::default()));
    let slow = move |_, _| {
        Box::new(Slow { got: kept.clone(), room: 100, wake: None, closed: false }) as Box<dyn Machine>
    };
    let s = world.add("slow", addr(2), Time::ZERO, Box::new(slow));
    let rows: Vec<i64> = (0..5000).map(|n| n * n * n).collect();
    world.set_file(c, File { rows: rows.clone(), block_rows: 700, broken_from });
    let wire = Wire {
        delay: Duration::from_millis(3),
        jitter: Duration::from_millis(3),
        window_bytes: 4000,
        piece_bytes: 1500,
    };
    world.connect(Time::ZERO + Duration::from_millis(1), c, s, wire);
    while world.step(Time::ZERO + Duration::from_secs(60)) {}
    let mut numbers = Vec::new();
    let (mut decoder, bytes) = (frame::Decoder::default(), got.borrow().clone());
    let mut input = &bytes[..];
    let (mut width, mut raw) = (8, Vec::new());
    while let Ok(Some(item)) = decoder.next(&mut input) {
        match item {
            frame::Item::Data { width: w, .. } => {
                frame::widen(width, &raw, &mut numbers);
                raw.clear();
                width = w;
            }
            frame::Item::Numbers(n) => raw.extend_from_slice(n),
            frame::Item::Frame(_) => {}
        }
    }
    frame::widen(width, &raw, &mut numbers);
    assert!(broken_from.is_some() || numbers == rows, "{} numbers arrived", numbers.len());
    (world, bytes, raw)
}

#[test]
fn a_file_streams_through_a_slow_reader_whole_and_in_order() {
    for seed in 0..10 {
        let (world, bytes, _) = stream(seed, None);
        assert_eq!(world.jobs(1), Some(0), "and its end is heard");
        assert!(world.is_disconnected(0) && world.is_disconnected(1));
        // One block at most is read ahead of the connection.
        assert!(world.observer.most_queued < 700 * 8 + 100, "{}", world.observer.most_queued);
        assert!(bytes.len() as f64 / 100.0 < 1000.0 * 60.0);
        assert!(world.faults.is_empty());
    }
}

#[test]
fn a_file_that_changes_says_so() {
    let (world, _, _) = stream(1, Some(2500));
    assert_eq!(heard(&world).len(), 1, "and nothing is read after it");
}
