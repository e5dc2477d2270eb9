//! Nanoseconds a number, on one core and in memory, for what the client does with `nums.csv`: counting
//! rows, parsing them portably, and parsing them with what this processor has. Prints one line of JSON.
//!
//! `cargo run --release --example parse_speed` [numbers]

use offload::limits::PIECE_BYTES;
use offload::numbers::plain;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 7;

fn main() -> anyhow::Result<()> {
    let numbers = std::env::args().nth(1).map_or(Ok(3_000_000), |n| n.parse())?;
    let mut rng = StdRng::seed_from_u64(1);
    let full: String = (0..numbers).map(|_| format!("{}\n", rng.random::<i64>())).collect();
    let small: String =
        (0..numbers).map(|_| format!("{}\n", rng.random_range(-1_000_000..=1_000_000))).collect();
    let crlf = full.replace('\n', "\r\n");
    let line = serde_json::json!({
        "numbers": numbers,
        "unit": "ns a number, one core, median of 7",
        "full": measure(full.as_bytes(), numbers),
        "small": measure(small.as_bytes(), numbers),
        "crlf": measure(crlf.as_bytes(), numbers),
    });
    println!("{line}");
    Ok(())
}

fn measure(text: &[u8], numbers: usize) -> serde_json::Value {
    serde_json::json!({
        "count": median(numbers, || {
            assert_eq!(memchr::memchr_iter(b'\n', black_box(text)).count(), numbers);
        }),
        "portable": median(numbers, || parse(text, numbers, plain::parse_portable)),
        "fast": median(numbers, || parse(text, numbers, plain::parse)),
    })
}

/// As the client does it: piece after piece into the same buffer.
fn parse(mut text: &[u8], numbers: usize, parse: fn(&[u8], &mut Vec<i64>) -> usize) {
    let mut out = Vec::new();
    let mut parsed = 0;
    while !text.is_empty() {
        out.clear();
        let piece = &text[..text.len().min(PIECE_BYTES)];
        text = &text[parse(black_box(piece), &mut out)..];
        parsed += black_box(&out).len();
    }
    assert_eq!(parsed, numbers);
}

fn median(numbers: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e9 / numbers as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[ROUNDS / 2] * 100.0).round() / 100.0
}
