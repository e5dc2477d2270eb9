//! `./client min|max|sum|sos`: offloads that reduction over nums.csv to AWS (table 8).

use offload::config::Config;
use offload::event::Event;
use offload::io::console::Console;
use offload::io::{hand_over_client, places, run_client, signal, threads};
use offload::numbers::{Source, Table};
use offload::reduction::{Function, Reduction};
use offload::screen::Line;
use std::process::ExitCode;

const USAGE: &str = "usage: ./client min|max|sum|sos";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let function = args.next().and_then(|arg| arg.to_str().and_then(|arg| arg.parse().ok()));
    let (Some(function), None) = (function, args.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(function) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(function: Function) -> anyhow::Result<()> {
    signal::exit_on_interrupt()?;
    let env = |name: &str| std::env::var(name).ok();
    let places = places()?;
    let config = Config::load(&places)?;
    hand_over_client(&config, &places, function.name())?;
    let mut console = Console::new("client", env)?;
    console.show(&Event::Screen(Line::ClientUp))?;
    let files: Vec<_> = places.iter().map(|place| place.join("nums.csv")).collect();
    let numbers = Table::find(&files, threads())?;
    console.expect(numbers.rows());
    run_client(&config, function.name(), &numbers, &mut |event| console.show(&event))?;
    Ok(())
}
