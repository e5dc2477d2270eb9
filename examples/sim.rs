//! `cargo run --release --example sim -- [--seeds N] [--first S] [--seed S [--trace]]`
//!
//! Plays seeds, 10,000 unless told otherwise, every hundredth twice. A failing seed prints what did not
//! hold, how to have it again, and the end of its message trace; `--trace` prints the whole trace.

use offload::sim::{Run, run};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: sim [--seeds N] [--first S] [--seed S [--trace]]";
/// Lines of a failing seed's trace that are shown unasked.
const TAIL: usize = 60;
/// After so many failing seeds the rest would say nothing new.
const ENOUGH: u64 = 5;

struct Arguments {
    seeds: u64,
    first: u64,
    trace: bool,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let (mut total, mut played, mut failing) = (Run::default(), 0, 0);
    for seed in arguments.first..arguments.first.saturating_add(arguments.seeds) {
        let one = play(seed, arguments.trace);
        played += 1;
        failing += u64::from(!one.failures.is_empty());
        total.jobs += one.jobs;
        total.answers += one.answers;
        total.errors += one.errors;
        total.datagrams += one.datagrams;
        total.seconds += one.seconds;
        if failing == ENOUGH {
            break;
        }
    }
    println!(
        "{played} seeds, {failing} failing: {} jobs, {} answers, {} named errors, {} datagrams, {:.0} virtual s in {:.1} s",
        total.jobs,
        total.answers,
        total.errors,
        total.datagrams,
        total.seconds,
        began.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(failing > 0))
}

fn play(seed: u64, trace: bool) -> Run {
    let mut one = run(seed, trace);
    if seed.is_multiple_of(100) && run(seed, false).hash != one.hash {
        one.failures.push("trace: the same seed gives another trace".into());
    }
    if trace {
        print!("{}", one.trace);
    }
    if !one.failures.is_empty() {
        println!("seed {seed}:");
        one.failures.iter().for_each(|failure| println!("  {failure}"));
        if !trace {
            let text = run(seed, true).trace;
            let lines: Vec<&str> = text.lines().collect();
            println!("the last {TAIL} of {} lines of its trace:", lines.len());
            lines.iter().skip(lines.len().saturating_sub(TAIL)).for_each(|line| println!("{line}"));
        }
        println!("again: cargo run --release --example sim -- --seed {seed} --trace");
    }
    one
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut a = Arguments { seeds: 10_000, first: 0, trace: false };
    while let Some(arg) = args.next() {
        let mut number = || args.next()?.parse().ok();
        match arg.as_str() {
            "--seeds" => a.seeds = number()?,
            "--first" => a.first = number()?,
            "--seed" => (a.first, a.seeds) = (number()?, 1),
            "--trace" => a.trace = true,
            _ => return None,
        }
    }
    Some(a)
}
