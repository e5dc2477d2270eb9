//! How fast the reductions run in cache: nanoseconds a number, the median of many passes over a batch
//! of 32 Ki full-range numbers, for each function and each variant of the kernels that this processor
//! has, and as dispatched. Prints one line of JSON, for `make bench`.

use ethnum::I256;

use offload::reduction::{Function, Reduction, Variant};
use serde_json::{Map, Value, json};
use std::hint::black_box;
use std::time::Instant;

const NUMBERS: usize = 32 << 10;
const PASSES: usize = 2001;

fn main() {
    // Splitmix64 from a fixed seed: the same numbers every time.
    let numbers: Vec<i64> = (1..=NUMBERS as u64)
        .map(|i| {
            let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (x >> 31)) as i64
        })
        .collect();
    let mut functions = Map::new();
    for function in Function::ALL {
        let mut row = Map::new();
        for variant in Variant::all() {
            let ns = ns_per_number(&numbers, |n| function.map_by(variant, function.identity(), n));
            row.insert(variant.to_string(), ns);
        }
        let ns = ns_per_number(&numbers, |n| function.map(function.identity(), n));
        row.insert("dispatched".into(), ns);
        functions.insert(function.to_string(), Value::Object(row));
    }
    println!(
        "{}",
        json!({ "what": "reduce", "unit": "ns/number", "numbers": NUMBERS, "functions": functions })
    );
}

fn ns_per_number(numbers: &[i64], map: impl Fn(&[i64]) -> I256) -> Value {
    let mut passes: Vec<f64> = (0..PASSES)
        .map(|_| {
            let start = Instant::now();
            black_box(map(black_box(numbers)));
            start.elapsed().as_nanos() as f64 / numbers.len() as f64
        })
        .collect();
    passes.sort_unstable_by(f64::total_cmp);
    // Four digits are more than the clock is good for, and keep the line readable.
    json!((passes[PASSES / 2] * 1e4).round() / 1e4)
}
