//! `offload parity simulate`.

use clap::Args;
use offload_parity::limits::MAX_SPEC_BYTES;
use offload_parity::mode::Mode;
use offload_parity::sim::testbed::{Row, Spec, simulate};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Simulates a system, a task and its faults, in virtual time: what a checkpoint and a recovery cost in each mode.
#[derive(Args)]
pub struct Simulate {
    /// What to simulate; `crates/parity/examples/testbed.toml` documents every key.
    spec: PathBuf,
    /// Only this mode, whatever the specification says.
    #[arg(long, value_name = "NAME")]
    mode: Option<Mode>,
    /// JSON in place of a table.
    #[arg(long)]
    json: bool,
}

/// Does it.
pub fn run(arguments: &Simulate) -> anyhow::Result<ExitCode> {
    let text = super::read(&arguments.spec, MAX_SPEC_BYTES)?;
    let mut spec = Spec::parse(&arguments.spec.display().to_string(), &text)?;
    if let Some(mode) = arguments.mode {
        spec.modes = vec![mode];
    }
    let rows = simulate(&spec)?;
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    table(&mut out, &rows)?;
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [&str; 13] = [
    "workers", "groups", "mode", "ckpts", "O s", "L s", "R s", "T_opt s", "r", "r here", "r run",
    "deaths", "lost s",
];

fn table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(out, "{}", line(COLUMNS.map(str::to_owned)))?;
    for row in rows {
        let percent =
            |ratio: Option<f64>| ratio.map_or("-".into(), |ratio| format!("{:.3} %", 100.0 * ratio));
        let cells = [
            row.workers.to_string(),
            row.groups.to_string(),
            row.mode.to_owned(),
            format!("{:.1}", row.checkpoints),
            seconds(row.overhead_s),
            seconds(row.latency_s),
            seconds(row.recovery_s),
            seconds(row.optimal_interval_s),
            percent(row.ratio),
            percent(row.ratio_here),
            percent(row.ratio_measured),
            row.deaths.to_string(),
            seconds(row.lost_s),
        ];
        writeln!(out, "{}", line(cells))?;
        if let Some(fault) = &row.fault {
            writeln!(out, "        {}, {} workers: {fault}", row.mode, row.workers)?;
        }
    }
    if let Some(row) = rows.first() {
        writeln!(
            out,
            "\nO: what a checkpoint adds; L: until it counts; R: until all go on; r: overhead by the paper's equations \
             at T_opt,\nhere: at the interval that was simulated, run: as the run with faults had it; lost: work done \
             again for a death,\nof all workers. The task alone takes {:.1} s.",
            row.plain_s
        )?;
    }
    Ok(())
}

/// Four digits that count.
fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 100.0 => format!("{value:.1}"),
        Some(value) if value >= 1.0 => format!("{value:.3}"),
        Some(value) => format!("{value:.6}"),
    }
}

fn line(cells: [String; 13]) -> String {
    let widths = [7, 6, 8, 6, 9, 9, 9, 9, 9, 9, 9, 6, 9];
    let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
    cells.collect::<Vec<_>>().join(" ")
}
