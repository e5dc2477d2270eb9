//! `cargo run --release -p offload-parity --example explore -- [--case NAME] [--mode NAME] [--deaths N]
//! [--timeouts N] [--worlds N] [--faults N] [--seed S]`
//!
//! Looks at all that can happen to two workers and two holders, and draws what should not. With a seed, at courses by
//! chance.

use offload::rng::Rng;
use offload_parity::code::Code;
use offload_parity::mode::Mode;
use offload_parity::sim::{Bounds, CASES, Case, chart, explore, sample};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: explore [--case word|words|talk|glance] [--mode n+1|enhanced|offload] [--deaths N] \
                     [--timeouts N] [--worlds N] [--faults N] [--seed S]";

struct Arguments {
    case: Case,
    mode: Mode,
    bounds: Bounds,
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match look(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn look(Arguments { case, mode, bounds, seed }: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let began = Instant::now();
    let world = case.world(*mode, Code::new(2, 1)?)?;
    let found = match seed {
        Some(seed) => sample(&world, *bounds, &mut Rng::from_seed(*seed), case.wrong)?,
        None => explore(&world, *bounds, case.wrong)?,
    };
    for (fault, path) in &found.faults {
        println!("{}", chart(&world, path, fault)?);
    }
    println!(
        "{mode}, {}: {} worlds of {} states of members, {} actions, depth {}, {} kinds of answers, {} of faults, {} in \
         {:.1} s",
        case.name,
        found.worlds,
        found.states,
        found.actions,
        found.depth,
        found.answers.len(),
        found.faults.len(),
        if found.complete { "complete" } else { "NOT complete" },
        began.elapsed().as_secs_f64()
    );
    Ok(found.faults.is_empty())
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let bounds = Bounds { deaths: 0, timeouts: 0, worlds: usize::MAX, faults: 1 };
    let mut arguments = Arguments { case: CASES[0], mode: Mode::Offload, bounds, seed: None };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--case" => arguments.case = Case::named(&words.next()?)?,
            "--mode" => arguments.mode = words.next()?.parse().ok()?,
            "--deaths" => arguments.bounds.deaths = words.next()?.parse().ok()?,
            "--timeouts" => arguments.bounds.timeouts = words.next()?.parse().ok()?,
            "--worlds" => arguments.bounds.worlds = words.next()?.parse().ok()?,
            "--faults" => arguments.bounds.faults = words.next()?.parse().ok()?,
            "--seed" => arguments.seed = Some(words.next()?.parse().ok()?),
            _ => return None,
        }
    }
    Some(arguments)
}
