//! `cargo run --release -p offload-swarm --example growth -- [--peers 1,2,4,..] [--size 64MiB] ...`
//!
//! How a swarm grows: for each number of peers, all started at once beside one seeder, the time until the
//! last has everything, as a ratio to the physical limit size/rate. The sessions are the real ones; hosts
//! and links are simulated (see `offload_swarm::sim::world` for what a link does). `--json` prints a line of
//! JSON for each number instead of the table; with `--bucket 1s` it has the bandwidth over time, for the
//! figures.

use offload::rng::Rng;
use offload::sim::trace::Trace;
use offload::time::Time;
use offload_swarm::bitfield::Bitfield;
use offload_swarm::geometry::{Block, Geometry};
use offload_swarm::limits::{MAX_CONNECTIONS, UPLOAD_SLOTS};
use offload_swarm::metainfo::piece_bytes_for;
use offload_swarm::sim::actor::honest;
use offload_swarm::sim::tracker::Tracker;
use offload_swarm::sim::world::{Host, Leave, Observer, Swarm, World};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: growth [--peers 1,2,4] [--size 64MiB] [--piece 64KiB] [--rate 100Mbit] \
[--delay 100us] [--spread 500ms] [--overhead 1.05] [--hash 1GB] [--slots 16] [--connections 40] \
[--leave never|now|seed-wait] [--upload-min 500KB] [--poll 5s] [--no-super-seed] [--seed 1] \
[--bucket 1s] [--json]";
/// A swarm that takes longer than this many times the limit for one server to each peer is stuck.
const GIVE_UP: u32 = 4;

#[derive(Clone)]
struct Arguments {
    peers: Vec<usize>,
    size: u64,
    piece: u64,
    rate: u64,
    delay: Duration,
    spread: Duration,
    overhead: f64,
    hash: u64,
    slots: usize,
    connections: usize,
    leave: Leave,
    super_seed: bool,
    seed: u64,
    bucket: Option<Duration>,
    json: bool,
}

/// Bytes that arrived, by time and host.
#[derive(Default)]
struct Meter {
    bucket: Option<Duration>,
    wasted: u64,
    /// For each bucket: all peers' bytes, and those of them that the seeder sent.
    buckets: Vec<(u64, u64)>,
    /// For each bucket, each peer's bytes.
    each: Vec<Vec<u64>>,
    hosts: usize,
    finished: usize,
    faults: Vec<String>,
}

impl Observer for Meter {
    fn arrived(&mut self, at: Time, from: usize, to: usize, block: Block, _: bool, kept: bool) {
        let length = u64::from(block.length);
        self.wasted += if kept { 0 } else { length };
        let Some(bucket) = self.bucket else { return };
        let index = (at.0 / bucket.as_nanos().max(1) as u64) as usize;
        while self.buckets.len() <= index {
            self.buckets.push((0, 0));
            self.each.push(vec![0; self.hosts]);
        }
        self.buckets[index].0 += length;
        self.buckets[index].1 += if from == 0 { length } else { 0 };
        self.each[index][to] += length;
    }

    fn said(
        &mut self,
        _: Time,
        _: usize,
        _: &offload_swarm::sim::disk::Disk,
        output: &offload_swarm::peer::Output,
    ) {
        use offload_swarm::peer::{Event, Output};
        self.finished += usize::from(matches!(output, Output::Event(Event::Complete)));
    }

    fn fault(&mut self, at: Time, node: usize, what: &str) {
        self.faults.push(format!("{:.3} s: host {node} {what}", at.as_secs_f64()));
    }
}

/// What came of one number of peers.
struct Growth {
    peers: usize,
    finished: usize,
    makespan: f64,
    mean: f64,
    copies: f64,
    wasted: f64,
    happened: u64,
    took: Duration,
    meter: Meter,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let Some(geometry) = Geometry::new(arguments.size, arguments.piece as u32) else {
        eprintln!("no torrent has {} bytes in pieces of {}", arguments.size, arguments.piece);
        return ExitCode::from(2);
    };
    let limit = arguments.size as f64 / arguments.rate as f64;
    if !arguments.json {
        println!(
            "{} bytes in {} pieces, {} bytes/s each way, headers x{}: the limit is {limit:.3} s",
            arguments.size,
            geometry.pieces(),
            arguments.rate,
            arguments.overhead
        );
        println!(
            "{:>7} {:>9} {:>7} {:>7} {:>8} {:>12} {:>9}",
            "peers", "makespan", "mean", "copies", "wasted", "happenings", "real s"
        );
    }
    let mut stuck = false;
    for peers in arguments.peers.clone() {
        let growth = grow(&arguments, geometry, peers, limit);
        stuck |= growth.finished < peers || !growth.meter.faults.is_empty();
        if arguments.json { print_json(&arguments, &growth, limit) } else { print_row(&growth) }
    }
    ExitCode::from(u8::from(stuck))
}

fn grow(arguments: &Arguments, geometry: Geometry, peers: usize, limit: f64) -> Growth {
    let began = Instant::now();
    let mut rng = Rng::from_seed(arguments.seed);
    let swarm = Swarm {
        geometry,
        metadata: vec![0; 100],
        private: true,
        link_permille: (arguments.overhead * 1000.0).round() as u64,
        multicast: false,
    };
    let tracker = Tracker::new(Duration::from_secs(60), rng.split());
    let meter = Meter { bucket: arguments.bucket, hosts: peers + 1, ..Meter::default() };
    let mut starts = rng.split();
    let mut world = World::new(swarm, tracker, rng, meter, Trace::new(false));
    for node in 0..=peers {
        let spread = arguments.spread.as_nanos() as u64;
        let start = if node == 0 { Time::ZERO } else { Time(starts.below(spread + 1)) };
        world.add(start, host(arguments, geometry, node == 0));
    }
    let deadline = Time::ZERO + Duration::from_secs_f64(limit * (peers + 2) as f64) * GIVE_UP;
    while world.observer.finished < peers && world.step(deadline) {}
    let times: Vec<f64> =
        (1..=peers).filter_map(|n| world.finished(n)).map(|at| at.as_secs_f64()).collect();
    let received = arguments.size as f64 * peers as f64;
    Growth {
        peers,
        finished: times.len(),
        makespan: times.iter().copied().fold(0.0, f64::max) / limit,
        mean: times.iter().sum::<f64>() / times.len().max(1) as f64 / limit,
        copies: world.sent_bytes(0) as f64 / arguments.size as f64,
        wasted: 100.0 * world.observer.wasted as f64 / received,
        happened: world.happened(),
        took: began.elapsed(),
        meter: std::mem::take(&mut world.observer),
    }
}

fn host(arguments: &Arguments, geometry: Geometry, seeder: bool) -> Host {
    let pieces = geometry.pieces();
    Host {
        up: arguments.rate,
        down: arguments.rate,
        delay: arguments.delay,
        hash_rate: arguments.hash,
        upload_slots: arguments.slots,
        max_connections: arguments.connections,
        super_seed: seeder && arguments.super_seed,
        fast: true,
        have: if seeder { Bitfield::full(pieces) } else { Bitfield::new(pieces) },
        wanted: Bitfield::full(pieces),
        magnet: false,
        leave: if seeder { Leave::Never } else { arguments.leave },
        honest: true,
        poison: 0.0,
        make: honest(),
    }
}

fn print_row(growth: &Growth) {
    let Growth { peers, finished, makespan, mean, copies, wasted, happened, .. } = growth;
    println!(
        "{peers:>7} {makespan:>9.3} {mean:>7.3} {copies:>7.2} {wasted:>7.2}% {happened:>12} {:>9.1}",
        growth.took.as_secs_f64()
    );
    if finished < peers {
        println!("        only {finished} have everything");
    }
    growth.meter.faults.iter().take(5).for_each(|fault| println!("        {fault}"));
}

fn print_json(arguments: &Arguments, growth: &Growth, limit: f64) {
    let seconds = growth.meter.bucket.unwrap_or_default().as_secs_f64();
    let value = serde_json::json!({
        "peers": growth.peers,
        "finished": growth.finished,
        "bytes": arguments.size,
        "bytes_per_s": arguments.rate,
        "overhead": arguments.overhead,
        "limit_s": limit,
        "makespan": growth.makespan,
        "mean": growth.mean,
        "seeder_copies": growth.copies,
        "wasted_percent": growth.wasted,
        "bucket_s": seconds,
        "received_bytes": growth.meter.buckets.iter().map(|b| b.0).collect::<Vec<_>>(),
        "seeder_bytes": growth.meter.buckets.iter().map(|b| b.1).collect::<Vec<_>>(),
        "each_bytes": growth.meter.each.iter().map(|each| &each[1..]).collect::<Vec<_>>(),
    });
    println!("{value}");
}

/// A number with one of these units behind it.
fn measure(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1;
    Some(number.parse::<f64>().ok()? * factor)
}

fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 10] = [
        ("", 1.0),
        ("B", 1.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("KiB", 1024.0),
        ("MiB", 1048576.0),
        ("GiB", 1073741824.0),
        ("Mbit", 125e3),
        ("Gbit", 125e6),
    ];
    measure(text, &UNITS).map(|bytes| bytes as u64)
}

fn duration(text: &str) -> Option<Duration> {
    measure(text, &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0)]).map(Duration::from_secs_f64)
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut a = Arguments {
        peers: vec![1, 2, 4, 8, 16, 15, 150, 1000],
        size: 64 << 20,
        piece: 0,
        rate: 12_500_000,
        delay: Duration::from_micros(100),
        spread: Duration::ZERO,
        overhead: 1.05,
        hash: 1_000_000_000,
        slots: UPLOAD_SLOTS,
        connections: MAX_CONNECTIONS,
        leave: Leave::Never,
        super_seed: true,
        seed: 1,
        bucket: None,
        json: false,
    };
    let (mut upload_min, mut poll, mut seed_wait) = (500_000, Duration::from_secs(5), false);
    while let Some(arg) = args.next() {
        let mut next = || args.next();
        match arg.as_str() {
            "--peers" => a.peers = next()?.split(',').map(|n| n.parse().ok()).collect::<Option<_>>()?,
            "--size" => a.size = bytes(&next()?)?,
            "--piece" => a.piece = bytes(&next()?)?,
            "--rate" => a.rate = bytes(&next()?)?,
            "--hash" => a.hash = bytes(&next()?)?,
            "--delay" => a.delay = duration(&next()?)?,
            "--spread" => a.spread = duration(&next()?)?,
            "--overhead" => a.overhead = next()?.parse().ok()?,
            "--slots" => a.slots = next()?.parse().ok()?,
            "--connections" => a.connections = next()?.parse().ok()?,
            "--upload-min" => upload_min = bytes(&next()?)?,
            "--poll" => poll = duration(&next()?)?,
            "--seed" => a.seed = next()?.parse().ok()?,
            "--bucket" => a.bucket = Some(duration(&next()?)?),
            "--no-super-seed" => a.super_seed = false,
            "--json" => a.json = true,
            "--leave" => match next()?.as_str() {
                "never" => (a.leave, seed_wait) = (Leave::Never, false),
                "now" => (a.leave, seed_wait) = (Leave::AtOnce, false),
                "seed-wait" => seed_wait = true,
                _ => return None,
            },
            _ => return None,
        }
    }
    if a.piece == 0 {
        a.piece = piece_bytes_for(a.size).into();
    }
    if seed_wait {
        a.leave = Leave::Slow { bytes_per_s: upload_min, poll };
    }
    Some(a)
}
