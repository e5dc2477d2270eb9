//! Writes numbers for the bench, one a line, the same for the same seed:
//!
//! `cargo run --release --example generate -- full|small|digit ROWS SEED FILE`
//!
//! `full` is any i64, `small` is -1,000,000 to 1,000,000, `digit` is 0 to 9.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

const USAGE: &str = "usage: generate full|small|digit ROWS SEED FILE";
const BUFFER_BYTES: usize = 1 << 20;
/// The longest row: "-9223372036854775808" and a line feed.
const MAX_ROW_BYTES: usize = 21;

/// Splitmix64 (Steele, Lea, Flood 2014): fast, and good enough for numbers that are only to be added.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// 0 to `n` - 1, with a bias that no bench can see.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [shape, rows, seed, path] = &args[..] else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let number: fn(&mut Chance) -> i64 = match shape.as_str() {
        "full" => |chance| chance.next() as i64,
        "small" => |chance| chance.below(2_000_001) as i64 - 1_000_000,
        "digit" => |chance| chance.below(10) as i64,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let (Ok(rows), Ok(seed)) = (rows.parse(), seed.parse()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match File::create(path).and_then(|file| write(file, rows, Chance(seed), number)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("generate: {path}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn write(
    file: File,
    rows: u64,
    mut chance: Chance,
    number: fn(&mut Chance) -> i64,
) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut row = [b'\n'; MAX_ROW_BYTES];
    for _ in 0..rows {
        let start = format(number(&mut chance), &mut row);
        out.write_all(&row[start..])?;
    }
    out.flush()
}

/// Puts a number in front of the line feed that `row` ends with; returns where it begins.
fn format(number: i64, row: &mut [u8; MAX_ROW_BYTES]) -> usize {
    let mut at = MAX_ROW_BYTES - 1;
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        row[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        row[at] = b'-';
    }
    at
}
