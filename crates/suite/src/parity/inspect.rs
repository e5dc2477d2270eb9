//! `offload parity inspect`.

use clap::Args;
use offload_parity::inspect::{PAPER, Script, Shown, play};
use offload_parity::limits::MAX_SCRIPT_BYTES;
use offload_parity::mode::Mode;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints sent and receipt tables as a script has them: without one, tables 3 to 9 of the paper.
#[derive(Args)]
pub struct Inspect {
    /// Who sends what, who checkpoints, who fails; `crates/parity/examples/paper.script` says how it is written.
    script: Option<PathBuf>,
    /// `enhanced` is the paper's scheme, `offload` ours.
    #[arg(long, value_name = "NAME", default_value_t = Mode::Enhanced, value_parser = logs)]
    mode: Mode,
}

fn logs(name: &str) -> Result<Mode, String> {
    match name.parse()? {
        Mode::Plank => Err("it logs no messages, so there are no tables: enhanced or offload".into()),
        mode => Ok(mode),
    }
}

/// Plays the script.
pub fn show(arguments: &Inspect) -> anyhow::Result<ExitCode> {
    let (origin, text) = match &arguments.script {
        Some(path) => (path.display().to_string(), super::read(path, MAX_SCRIPT_BYTES)?),
        None => ("paper.script".into(), PAPER.to_owned()),
    };
    let shown = play(&Script::parse(&origin, &text)?, arguments.mode)?;
    let mut out = io::stdout().lock();
    let mut after_table = false;
    for shown in &shown {
        let note = matches!(shown, Shown::Note(_));
        write!(out, "{}{shown}", if note && after_table { "\n" } else { "" })?;
        after_table = !note;
    }
    Ok(ExitCode::SUCCESS)
}
