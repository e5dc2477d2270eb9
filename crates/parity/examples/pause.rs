//! `cargo run --release -p offload-parity --example pause -- [--size 256] [--dirty 10] [--rounds 9]`
//!
//! How long a task stands still for a checkpoint: a state of so many MiB, of which per cent of the pages, drawn
//! anew each round, have been written since the last one. For each mechanism that works here, a line of JSON:
//! the pauses, what the writes cost before, and what the rest of a checkpoint costs, which does not stop the
//! task. The first round is not counted. `--writer` stands for a process whose state others checkpoint
//! (`scripts/bench_parity` has CRIU dump it): it fills its memory, says `ready` and writes for ever.

use offload::rng::Rng;
use offload_parity::arena::{Error, Frozen, Live, Mechanism, Shadow};
use offload_parity::limits::PAGE_BYTES;
use serde_json::json;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: pause [--size MIB] [--dirty PERCENT] [--rounds N] [--seed N] [--writer]";
const MIB: usize = 1 << 20;

struct Arguments {
    pages: u32,
    dirty: u32,
    rounds: usize,
    seed: u64,
    writer: bool,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut all = Arguments { pages: 0, dirty: 10, rounds: 9, seed: 1, writer: false };
    let mut size = 256;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--writer" => all.writer = true,
            "--size" => size = words.next()?.parse().ok()?,
            "--dirty" => all.dirty = words.next()?.parse().ok()?,
            "--rounds" => all.rounds = words.next()?.parse().ok()?,
            "--seed" => all.seed = words.next()?.parse().ok()?,
            _ => return None,
        }
    }
    all.pages = u32::try_from(usize::checked_mul(size, MIB)? / PAGE_BYTES).ok()?;
    (all.dirty <= 100 && all.pages > 0 && all.rounds > 0).then_some(all)
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if arguments.writer {
        write_for_ever(&arguments);
    }
    for (mechanism, works) in Mechanism::available() {
        let measured = works.and_then(|()| measure(mechanism, &arguments));
        match measured {
            Ok(line) => println!("{line}"),
            Err(why) => {
                println!("{}", json!({ "mechanism": mechanism.name(), "failed": why.to_string() }))
            }
        }
    }
    ExitCode::SUCCESS
}

/// So many different pages, in no order.
fn some_pages(arguments: &Arguments, rng: &mut Rng) -> Vec<u32> {
    let count = (u64::from(arguments.pages) * u64::from(arguments.dirty) / 100) as usize;
    let mut all: Vec<u32> = (0..arguments.pages).collect();
    for place in 0..count {
        let other = place + rng.below((all.len() - place) as u64) as usize;
        all.swap(place, other);
    }
    all.truncate(count);
    all
}

fn write(bytes: &mut [u8], pages: &[u32], rng: &mut Rng) {
    for page in pages {
        let place = *page as usize * PAGE_BYTES + rng.below(PAGE_BYTES as u64) as usize;
        bytes[place] = bytes[place].wrapping_add(1);
    }
}

fn measure(mechanism: Mechanism, arguments: &Arguments) -> Result<serde_json::Value, Error> {
    let mut rng = Rng::from_seed(arguments.seed);
    let mut live = Live::new(arguments.pages, mechanism)?;
    let mut shadow = Shadow::new(arguments.pages)?;
    rng.fill(live.bytes_mut());
    let frozen = live.freeze(&shadow, Frozen::default())?;
    drop(shadow.advance(frozen));
    let room = arguments.pages * arguments.dirty / 100 + 1;
    let mut spare = Frozen::with_room(room)?;
    let (mut pauses, mut writes, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=arguments.rounds {
        let pages = some_pages(arguments, &mut rng);
        let begin = Instant::now();
        write(live.bytes_mut(), &pages, &mut rng);
        let written = Instant::now();
        let frozen = live.freeze(&shadow, spare)?;
        let paused = Instant::now();
        assert_eq!(frozen.pages().len(), pages.len(), "{mechanism}: what was written, and nothing else");
        spare = shadow.advance(frozen).into_spare();
        writes.push((written - begin).as_secs_f64());
        pauses.push((paused - written).as_secs_f64());
        rest.push(paused.elapsed().as_secs_f64());
    }
    Ok(json!({
        "mechanism": mechanism.name(),
        "state_bytes": arguments.pages as usize * PAGE_BYTES,
        "dirty_percent": arguments.dirty,
        "pause_s": pauses[1..],
        "write_s": writes[1..],
        "rest_s": rest[1..],
    }))
}

fn write_for_ever(arguments: &Arguments) -> ! {
    let mut rng = Rng::from_seed(arguments.seed);
    let mut state = vec![0; arguments.pages as usize * PAGE_BYTES];
    rng.fill(&mut state);
    println!("ready");
    loop {
        let pages = some_pages(arguments, &mut rng);
        write(&mut state, &pages, &mut rng);
    }
}
