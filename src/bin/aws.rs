//! AWS: takes jobs from clients by TCP, maps them at the backends by UDP, reduces, answers (table 7).

use offload::config::Config;
use offload::io::console::Console;
use offload::io::{places, run_aws, signal};
use offload::reduction::Registry;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        eprintln!("usage: ./aws (no arguments)");
        return ExitCode::from(2);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aws: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    signal::exit_on_interrupt()?;
    let env = |name: &str| std::env::var(name).ok();
    let config = Config::load(&places()?)?.with_env(env)?;
    let mut console = Console::new("aws", env)?;
    run_aws(&config, Registry::course(), &mut |event| console.show(&event))?;
    Ok(())
}
