//! Plain rows, `-?[0-9]{1,19}` within the `i64` range, as fast as the machine can.
//!
//! The lesson: a fast path may be simple if it is allowed to decline. It takes rows until one is not
//! plain and says where it stopped; it never says why, and never guesses. Eight digits are converted at a
//! time by arithmetic on a 64-bit word (each step joins neighbours: digits to pairs, pairs to fours, fours
//! to eight); where the processor has AVX-512, `simd` does the same for eight numbers at a time.
//!
//! Left out: plus signs, blanks, quotes, more than 19 digits. They are rare; `row` takes them.

use super::simd;

/// Appends to `out` the plain rows at the start of `bytes`, each ended by a line feed (or carriage return
/// and line feed), and returns how many bytes they take. What follows, if anything, is a row that is not
/// plain or has no line feed.
pub fn parse(bytes: &[u8], out: &mut Vec<i64>) -> usize {
    simd::parse(bytes, out).unwrap_or_else(|| parse_portable(bytes, out))
}

/// The same without instructions that only some processors have.
pub fn parse_portable(bytes: &[u8], out: &mut Vec<i64>) -> usize {
    let mut at = 0;
    while let Some(window) = bytes[at..].first_chunk() {
        match row(window) {
            Some((number, taken)) => {
                out.push(number);
                at += taken;
            }
            None => return at,
        }
    }
    // The last rows, with zeros behind them, which end every row without taking it.
    let rest = &bytes[at..];
    let mut padded = [0; 2 * WINDOW];
    padded[..rest.len()].copy_from_slice(rest);
    let mut padded = &padded[..];
    while let Some((number, taken)) = padded.first_chunk().and_then(row) {
        out.push(number);
        at += taken;
        padded = &padded[taken..];
    }
    at
}

/// Enough for the longest plain row and for whole words to be loaded from anywhere in it.
const WINDOW: usize = 32;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;

/// The plain row at the start of `window`, and how many bytes it takes.
///
/// Where the row ends is found first and from its first byte on, whatever the sign: the next row waits for
/// nothing else, so that the processor converts this one while it looks for the end of the next.
#[inline(always)]
fn row(window: &[u8; WINDOW]) -> Option<(i64, usize)> {
    let end = end_of_digits(window)?;
    let negative = window[0] == b'-';
    let digits = end - usize::from(negative);
    // 19 digits are below 2^64; whether they are an i64 is seen below.
    if digits == 0 || digits > 19 || !(negative || window[0].is_ascii_digit()) {
        return None;
    }
    let mut taken = end + 1;
    if window[end] != b'\n' {
        // A call, which stays a branch: to load and add it in every row would make the next row wait for it.
        taken += carriage_return(window, end)?;
    }
    let start = usize::from(negative);
    let word = |at: usize| load(window, start + at);
    let value = if digits > 16 {
        let most = eight_digits(word(0)) * POWERS[8] + eight_digits(word(8));
        join(most, word(16), digits - 16)
    } else if digits > 8 {
        join(eight_digits(word(0)), word(8), digits - 8)
    } else {
        join(0, word(0), digits)
    };
    if value > i64::MAX as u64 + u64::from(negative) {
        return None;
    }
    Some((if negative { value.wrapping_neg() } else { value } as i64, taken))
}

/// The length of a carriage return at `end` that a line feed follows.
#[inline(never)]
fn carriage_return(window: &[u8; WINDOW], end: usize) -> Option<usize> {
    (window.get(end..end + 2)? == b"\r\n").then_some(1)
}

/// The first byte of `window` but the very first that is no digit; none among the first 24.
#[inline(always)]
fn end_of_digits(window: &[u8; WINDOW]) -> Option<usize> {
    let first = not_digits(load(window, 0)) & !0xff;
    if first != 0 {
        return Some(first.trailing_zeros() as usize / 8);
    }
    for at in [8, 16] {
        let mask = not_digits(load(window, at));
        if mask != 0 {
            return Some(at + mask.trailing_zeros() as usize / 8);
        }
    }
    None
}

/// `most` followed by the first `few` (1 to 8) digits of `word`.
#[inline(always)]
fn join(most: u64, word: u64, few: usize) -> u64 {
    most * POWERS[few] + eight_digits(word << (64 - 8 * few))
}

const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Eight bytes, of which ASCII digits become 0 to 9. `at` is at most 24.
#[inline(always)]
fn load(window: &[u8; WINDOW], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(word) ^ (LOW_BITS * u64::from(b'0'))
}

/// The high bit of each byte of `word` that is over 9, exact up to the first of them (and beyond it if that
/// is a minus sign: only bytes over 0x89 carry into the next).
#[inline(always)]
fn not_digits(word: u64) -> u64 {
    (word.wrapping_add(LOW_BITS * (0x80 - 10)) | word) & (LOW_BITS * 0x80)
}

/// The value of eight digits (0 to 9, not ASCII), the first in the lowest byte.
#[inline(always)]
fn eight_digits(word: u64) -> u64 {
    let pairs = (word.wrapping_mul(10) + (word >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::row::Parser;
    use proptest::prelude::*;

    /// Plain rows as the module's documentation defines them, by std alone.
    fn reference(bytes: &[u8]) -> (Vec<i64>, usize) {
        let mut numbers = Vec::new();
        let mut taken = 0;
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let Some(row) = line.strip_suffix(b"\n") else { break };
            let row = row.strip_suffix(b"\r").unwrap_or(row);
            let digits = row.strip_prefix(b"-").unwrap_or(row);
            if !(1..=19).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
                break;
            }
            let Ok(number) = std::str::from_utf8(row).unwrap().parse() else { break };
            numbers.push(number);
            taken += line.len();
        }
        (numbers, taken)
    }

    fn same(bytes: &[u8]) -> Result<(), TestCaseError> {
        let want = reference(bytes);
        for (name, parse) in
            [("fast", parse as fn(&[u8], &mut Vec<i64>) -> usize), ("portable", parse_portable)]
        {
            let mut out = vec![7];
            let taken = parse(bytes, &mut out);
            prop_assert_eq!(out.remove(0), 7);
            prop_assert_eq!((&out, taken), (&want.0, want.1), "{}: {}", name, bytes.escape_ascii());
        }
        Ok(())
    }

    #[test]
    fn every_length_sign_and_byte() {
        for sign in ["", "-"] {
            for digits in 0..=24 {
                for lead in ["0", "1", "8", "9"] {
                    for end in ["\n", "\r\n", "\r\r\n", "\r", ""] {
                        let row = format!("{sign}{}{end}", lead.repeat(digits));
                        // Alone, and with enough before and after it for every path.
                        same(row.as_bytes()).unwrap();
                        let many = format!("{0}{row}{0}", "-123\n4\n".repeat(40));
                        same(many.as_bytes()).unwrap();
                    }
                }
            }
        }
        // Each byte in each place of a row.
        let around = b"1234567890123456789\n-1\n".repeat(12);
        for place in 0..20 {
            for byte in 0..=255 {
                let mut row = *b"-1234567890123456789\n";
                row[place] = byte;
                same(&[&around[..], &row, &around[..]].concat()).unwrap();
            }
        }
    }

    #[test]
    fn the_limits_of_the_range() {
        for last in i64::MAX as u64 - 20..=i64::MAX as u64 + 20 {
            for sign in ["", "-"] {
                let row = format!("{sign}{last}\n");
                same(row.as_bytes()).unwrap();
                same(row.repeat(50).as_bytes()).unwrap();
            }
        }
    }

    fn rows(row: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        prop::collection::vec(row, 0..300).prop_map(|rows| rows.concat())
    }

    proptest! {
        #[test]
        fn plain_rows_are_all_taken(numbers in prop::collection::vec(any::<i64>(), 0..300), shift in 0..63u32) {
            let numbers: Vec<i64> = numbers.iter().map(|n| n >> shift).collect();
            for end in ["\n", "\r\n"] {
                let text: String = numbers.iter().map(|n| format!("{n}{end}")).collect();
                let mut out = Vec::new();
                prop_assert_eq!(parse(text.as_bytes(), &mut out), text.len());
                prop_assert_eq!(&out, &numbers);
                same(text.as_bytes())?;
            }
        }

        #[test]
        fn almost_plain_rows(text in rows("-?[0-9]{1,19}\r?\n|[0-9]{1,3}\n|-?[0-9]{0,21}[\r:/]?\n")) {
            same(text.as_bytes())?;
        }

        #[test]
        fn bytes_that_look_like_rows(text in rows("[-0-9\r\n]{0,20}\n?")) {
            same(text.as_bytes())?;
        }

        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..300), flip in any::<prop::sample::Index>()) {
            same(&bytes)?;
            // And one stray byte among good rows.
            let mut good = b"-12\n345\n6\n7890123456789\n".repeat(20);
            let at = flip.index(good.len());
            good[at] = bytes.pop().unwrap_or(b'-');
            same(&good)?;
        }

        /// What is taken here is what the csv crate would have made of it.
        #[test]
        fn the_csv_path_agrees(row in "-?[0-9]{1,19}\r?|[-0-9\r]{0,20}") {
            let mut out = Vec::new();
            if parse(format!("{row}\n").as_bytes(), &mut out) > 0 {
                prop_assert_eq!(Parser::default().parse(row.as_bytes()), Ok(out[0]));
            }
        }
    }
}
