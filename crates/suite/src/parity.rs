//! `offload parity`: tasks that survive `kill -9`, and the tools to look at how. Arguments, progress and words; the
//! work is `offload_parity`'s.

mod inspect;
mod run;
mod simulate;

use anyhow::Context;
use clap::{Args, Subcommand};
use offload_parity::arena::Mechanism;
use offload_parity::run::{Orders, be};
use serde_json::json;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Runs tasks that survive `kill -9`: checkpoints in memory, by N+1 parity.
#[derive(Subcommand)]
pub enum Command {
    Run(run::Run),
    Inspect(inspect::Inspect),
    Simulate(simulate::Simulate),
    Doctor(Doctor),
    /// What a member's process becomes; it is of no use by hand.
    #[command(hide = true)]
    Member {
        orders: String,
    },
}

/// Says how writes to memory can be noticed here.
#[derive(Args)]
pub struct Doctor {
    /// JSON in place of lines.
    #[arg(long)]
    json: bool,
}

/// Does what the command says.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => run::start(&arguments),
        Command::Inspect(arguments) => inspect::show(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Doctor(arguments) => doctor(&arguments),
        Command::Member { orders } => {
            let orders: Orders = serde_json::from_str(&orders).context("the orders of a member")?;
            // Whoever started it says why.
            Ok(if be(orders).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn doctor(arguments: &Doctor) -> anyhow::Result<ExitCode> {
    let best = Mechanism::best();
    let found = Mechanism::available();
    let mut out = io::stdout().lock();
    if arguments.json {
        let row = |(mechanism, works): &(Mechanism, Result<(), _>)| {
            let why = works.as_ref().err().map(ToString::to_string);
            json!({ "mechanism": mechanism.name(), "works": works.is_ok(), "why": why, "chosen": *mechanism == best })
        };
        writeln!(out, "{}", json!(found.iter().map(row).collect::<Vec<_>>()))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (mechanism, works) in &found {
        let verdict = match works {
            Ok(()) if *mechanism == best => "works, and is chosen".to_owned(),
            Ok(()) => "works".to_owned(),
            Err(why) => format!("does not work: {why}"),
        };
        writeln!(out, "{:20} {verdict}", mechanism.name())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A small file of text. Anything else than a file might block for ever, or never end.
fn read(path: &Path, most: u64) -> anyhow::Result<String> {
    let read = || {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::other(format!("it is longer than {most} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
    };
    read().with_context(|| path.display().to_string())
}
