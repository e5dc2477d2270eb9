//! Links, clocks and hosts, with scripted players in place of sessions.

use super::*;
use crate::peer::{Conn, Input};
use crate::wire::message::Message;
use std::cell::RefCell;
use std::rc::Rc;

/// What a player has seen: when, whose, what.
type Log = Rc<RefCell<Vec<(Time, usize, String)>>>;

/// Connects where it is told to, sends blocks as long as it has some, keeps everything, and writes down
/// what it sees.
struct Player {
    number: usize,
    connect: Vec<usize>,
    /// Blocks to send on each connection that is opened.
    blocks: u32,
    left: Vec<(Conn, u32)>,
    wake: Option<Time>,
    out: VecDeque<Output>,
    log: Log,
}

impl Player {
    fn more(&mut self, conn: Conn) {
        for (_, left) in self.left.iter_mut().filter(|(other, left)| *other == conn && *left > 0) {
            *left -= 1;
            let block = geometry().block(*left, 0);
            self.out.push_back(Output::Message { conn, message: Message::Have(*left) });
            self.out.push_back(Output::Block { conn, block });
        }
    }
}

impl Actor for Player {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        let what = match &input {
            Input::Opened { conn, .. } => {
                self.left.push((*conn, self.blocks));
                self.more(*conn);
                "opened".into()
            }
            Input::Drained { conn } => return self.more(*conn),
            Input::Closed { .. } => "closed".into(),
            Input::Block { block, .. } => format!("block {}", block.piece),
            Input::Message { message: Message::Have(piece), .. } => format!("have {piece}"),
            other => format!("{other:?}"),
        };
        self.log.borrow_mut().push((now, self.number, what));
    }
    fn handle_timeout(&mut self, now: Time) {
        let addresses = std::mem::take(&mut self.connect);
        self.out.extend(addresses.iter().map(|to| Output::Connect { address: address(*to) }));
        if self.wake.is_some_and(|wake| wake <= now) {
            self.wake = None;
            self.log.borrow_mut().push((now, self.number, "woken".into()));
        }
    }
    fn poll_output(&mut self, _: Time) -> Output {
        self.out.pop_front().unwrap_or(Output::Wake(self.wake))
    }
    fn expects(&self, _: Conn, _: Block) -> bool {
        true
    }
    fn stop(&mut self, _: Time) {}
    fn progress(&self) -> Progress {
        Progress::default()
    }
    fn have(&self) -> Option<&Bitfield> {
        None
    }
}

const RATE: u64 = 1 << 20;
const DELAY: Duration = Duration::from_millis(1);

fn geometry() -> Geometry {
    Geometry::new(1000 * (16 << 10), 16 << 10).unwrap()
}

fn world() -> World<()> {
    let swarm = Swarm {
        geometry: geometry(),
        metadata: Vec::new(),
        private: false,
        link_permille: 1000,
        multicast: false,
    };
    let tracker = Tracker::new(Duration::from_secs(60), Rng::from_seed(1));
    World::new(swarm, tracker, Rng::from_seed(2), (), Trace::new(false))
}

/// Adds a player that connects to these hosts and sends so many blocks to whom it is connected with.
fn add(world: &mut World<()>, log: &Log, connect: &[usize], blocks: u32, rate: u64) -> usize {
    let (number, log, connect) = (world.hosts(), log.clone(), connect.to_vec());
    let make: Make = Box::new(move |_, _, _| {
        Box::new(Player {
            number,
            connect: connect.clone(),
            blocks,
            left: Vec::new(),
            wake: (blocks == 0).then_some(Time(123_456_789)),
            out: VecDeque::new(),
            log: log.clone(),
        })
    });
    let all = Bitfield::full(1000);
    world.add(
        Time::ZERO,
        Host {
            up: rate,
            down: rate,
            delay: DELAY,
            hash_rate: RATE,
            upload_slots: 4,
            max_connections: 8,
            super_seed: false,
            fast: true,
            have: if blocks > 0 { all.clone() } else { Bitfield::new(1000) },
            wanted: all,
            magnet: false,
            leave: Leave::Never,
            honest: true,
            poison: 0.0,
            make,
        },
    )
}

fn play(world: &mut World<()>, seconds: u64) {
    while world.step(Time::ZERO + Duration::from_secs(seconds)) {}
}

/// Moments at which a player saw something.
fn seen(log: &Log, number: usize, what: &str) -> Vec<f64> {
    let log = log.borrow();
    let of = log.iter().filter(|(_, n, w)| *n == number && w.starts_with(what));
    of.map(|(at, ..)| at.as_secs_f64()).collect()
}

#[test]
fn a_stream_has_the_rate_of_its_link_and_keeps_its_order() {
    let (mut world, log) = (world(), Log::default());
    add(&mut world, &log, &[1], 128, RATE);
    add(&mut world, &log, &[], 0, RATE);
    play(&mut world, 10);
    let blocks = seen(&log, 1, "block");
    // 128 blocks of 16 KiB at 1 MiB/s, and what messages and round trips add.
    assert!(blocks.len() == 128 && (2.0..2.03).contains(&blocks[127]), "{blocks:?}");
    let log = log.borrow();
    let order: Vec<&str> = log.iter().filter(|l| l.1 == 1).map(|l| l.2.as_str()).collect();
    let expected: Vec<String> =
        (0..128).rev().flat_map(|i| [format!("have {i}"), format!("block {i}")]).collect();
    let order: Vec<&str> = order.into_iter().filter(|w| *w != "opened" && *w != "woken").collect();
    assert_eq!(order, expected);
}

#[test]
fn streams_share_an_uplink_and_a_downlink() {
    let (mut world, log) = (world(), Log::default());
    add(&mut world, &log, &[2, 3], 64, RATE);
    add(&mut world, &log, &[3], 64, RATE);
    add(&mut world, &log, &[], 0, RATE);
    add(&mut world, &log, &[], 0, RATE);
    play(&mut world, 10);
    let (a, b) = (seen(&log, 2, "block"), seen(&log, 3, "block"));
    assert_eq!((a.len(), b.len()), (64, 128));
    // 192 blocks over two uplinks; host 3's downlink takes 128 of them in two seconds, if never idle.
    assert!((2.0..2.1).contains(&b[127]), "{}", b[127]);
    assert!(a[63] < 2.1 && a[31] < 1.2, "{a:?}");
}

#[test]
fn a_full_downlink_holds_back_its_own_senders_only() {
    let (mut world, log) = (world(), Log::default());
    add(&mut world, &log, &[1, 2], 100, RATE);
    add(&mut world, &log, &[], 0, RATE / 100);
    add(&mut world, &log, &[], 0, RATE);
    play(&mut world, 5);
    let (slow, fast) = (seen(&log, 1, "block"), seen(&log, 2, "block"));
    assert!(slow.len() < 5, "{slow:?}");
    assert!(fast.len() == 100 && fast[99] < 2.0, "{fast:?}");
}

#[test]
fn a_timer_fires_at_its_moment_and_once() {
    let (mut world, log) = (world(), Log::default());
    add(&mut world, &log, &[], 0, RATE);
    play(&mut world, 5);
    assert_eq!(seen(&log, 0, "woken"), [0.123_456_789]);
}

#[test]
fn peers_hear_of_a_crash_at_once_and_of_a_dark_host_when_it_is_back() {
    for (dark, told) in [(false, 1.002), (true, 3.001)] {
        let (mut world, log) = (world(), Log::default());
        add(&mut world, &log, &[], 5, RATE);
        add(&mut world, &log, &[0], 0, RATE);
        let back = Some(Duration::from_secs(2));
        world.plan(Time(1_000_000_000), Act::Crash { node: 0, dark, back });
        play(&mut world, 10);
        assert_eq!(seen(&log, 1, "closed"), [told]);
    }
}

#[test]
fn nothing_passes_between_islands_until_they_are_one_again() {
    let (mut world, log) = (world(), Log::default());
    add(&mut world, &log, &[1], 64, RATE);
    add(&mut world, &log, &[], 0, RATE);
    world.plan(Time(500_000_000), Act::Part(vec![0, 1]));
    world.plan(Time(3_000_000_000), Act::Part(vec![0, 0]));
    play(&mut world, 10);
    let blocks = seen(&log, 1, "block");
    assert_eq!(blocks.len(), 64);
    assert!(!blocks.iter().any(|at| (0.7..3.0).contains(at)), "{blocks:?}");
}

#[test]
fn a_host_that_does_not_run_refuses_and_a_dark_one_says_nothing() {
    for (dark, after) in [(false, 0.1), (true, 10.0)] {
        let (mut world, log) = (world(), Log::default());
        add(&mut world, &log, &[], 0, RATE);
        world.plan(Time::ZERO, Act::Crash { node: 0, dark, back: None });
        add(&mut world, &log, &[0], 0, RATE);
        play(&mut world, 20);
        let failed = seen(&log, 1, "ConnectFailed");
        assert!(failed.len() == 1 && (failed[0] - after).abs() < 0.2, "{failed:?}");
    }
}
