//! `cargo run --release -p offload-parity --example equations -- [RATE O L R]...`
//!
//! The paper's equations (1) to (3): a line of JSON for each failure rate (per second) and costs of a checkpoint
//! (seconds). Without arguments: tables 10 to 12 of the paper, from the O, L and R that are printed there.

use offload_parity::overhead::{Costs, Error, optimal_interval_s, overhead_ratio};
use serde_json::{Value, json};
use std::process::ExitCode;

/// The paper's failure rate, per second.
const RATE: f64 = 6.301e-6;
/// Table, scheme, O, L, R, and r as printed, with the digits that are printed.
const PRINTED: [(&str, &str, [f64; 3], &str); 6] = [
    ("10", "N+1", [420.0, 43.34, 140.2], "0.07482"),
    ("10", "proposed", [209.0, 32.15, 142.5], "0.05277"),
    ("11", "N+1", [391.0, 90.0, 190.2], "0.07286"),
    ("11", "proposed", [183.0, 52.0, 190.2], "0.049993"),
    ("12", "N+1", [391.0, 90.0, 190.2], "0.07286"),
    ("12", "proposed", [183.0, 52.0, 190.2], "0.049993"),
];

fn solve(rate: f64, [overhead_s, latency_s, recovery_s]: [f64; 3]) -> Result<(f64, f64), Error> {
    let interval = optimal_interval_s(rate, overhead_s)?;
    Ok((interval, overhead_ratio(rate, Costs { overhead_s, latency_s, recovery_s })?))
}

fn printed() -> Result<Vec<Value>, Error> {
    let row = |(table, scheme, costs, printed): &(&str, &str, [f64; 3], &str)| {
        let (interval, ratio) = solve(RATE, *costs)?;
        let digits = printed.len() - "0.".len();
        Ok(json!({
            "table": table, "scheme": scheme, "costs_s": costs, "interval_s": interval, "printed": printed,
            "ratio": ratio, "reproduces": format!("{ratio:.digits$}") == *printed,
        }))
    };
    PRINTED.iter().map(row).collect()
}

fn given(words: &[String]) -> Option<Vec<Result<Value, Error>>> {
    let numbers: Option<Vec<f64>> = words.iter().map(|word| word.parse().ok()).collect();
    let (rows, rest) = numbers.as_deref()?.as_chunks::<4>();
    let row = |&[rate, overhead, latency, recovery]: &[f64; 4]| {
        let (interval, ratio) = solve(rate, [overhead, latency, recovery])?;
        Ok(json!({ "interval_s": interval, "ratio": ratio }))
    };
    if rest.is_empty() { Some(rows.iter().map(row).collect()) } else { None }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let rows = if words.is_empty() {
        printed().map(|rows| rows.into_iter().map(Ok).collect()).ok()
    } else {
        given(&words)
    };
    let Some(rows) = rows else {
        eprintln!("usage: equations [RATE O L R]...");
        return ExitCode::from(2);
    };
    let mut exit = ExitCode::SUCCESS;
    for row in rows {
        match row {
            Ok(row) => println!("{row}"),
            Err(why) => {
                eprintln!("{why}");
                exit = ExitCode::FAILURE;
            }
        }
    }
    exit
}
