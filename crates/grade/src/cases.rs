//! The inputs that a submission is tried on, and their exact answers.
//!
//! The lesson: a test input is worth as much as the mistakes that it tells apart. Totals hide most of what
//! goes wrong in a map: numbers dealt out in turn, one third sent to all, results credited to whoever
//! answered first. So inputs are drawn until the three partials differ from each other and from those of a
//! round robin. And an input asks one thing at a time: what is large in count is small in value, so that a
//! fixed buffer and a 32-bit sum are not mistaken for one another.
//!
//! Everything follows from a seed that the TA may keep secret. Left out: inputs that break the assignment's
//! promises (no number, a count that is not a multiple of three); what a program does then is its own
//! choice.

mod folder;

pub use folder::{Error, from_dir};

use crate::model::{Answer, Case, Class, Function};
use ethnum::I256;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::ops::RangeInclusive;

/// The sample that the course handed out.
const SAMPLE: &str = include_str!("cases/nums-300.csv");
/// Values whose squares, 300 of them, add up to less than 2^31.
const SMALL: RangeInclusive<i64> = 1..=1000;
/// How far the wide inputs stray from a power of two.
const NEAR_31: RangeInclusive<i64> = -1000..=1000;
const NEAR_63: RangeInclusive<i64> = 0..=999_999;

/// The inputs of a seed: the same ones for the same seed, the cheap and telling ones first.
pub fn cases(seed: u64) -> Vec<Case> {
    let rng = &mut StdRng::seed_from_u64(seed);
    let sample: Vec<i64> = SAMPLE.lines().filter_map(|row| row.parse().ok()).collect();
    let n3 = until(rng, |rng| draw(rng, 3, SMALL), |numbers| tells_shards(&Function::ALL, numbers));
    let telling = |rng: &mut StdRng, count, values: RangeInclusive<i64>| {
        until(rng, |rng| draw(rng, count, values.clone()), |numbers| tells(&Function::ALL, numbers))
    };
    // Where thousands are drawn from hundreds, every shard has the same least number.
    let telling_sums = |rng: &mut StdRng, count, values: RangeInclusive<i64>| {
        let sums = [Function::Sum, Function::Sos];
        until(rng, |rng| draw(rng, count, values.clone()), |numbers| tells(&sums, numbers))
    };
    vec![
        case("n300", Class::Ordinary, sample),
        case("n3", Class::Ordinary, n3),
        case("n30", Class::Ordinary, telling(rng, 30, SMALL)),
        case("n90", Class::Ordinary, telling(rng, 90, SMALL)),
        case("extremes-a", Class::Ordinary, extremes(rng, 0)),
        case("extremes-b", Class::Ordinary, extremes(rng, 1)),
        case("extremes-c", Class::Ordinary, extremes(rng, 2)),
        case("all-equal", Class::Ordinary, vec![rng.random_range(SMALL); 30]),
        case("negatives", Class::Negative, mixed(rng)),
        case("all-negative", Class::Negative, telling(rng, 30, -1000..=-1)),
        case("near-31", Class::Wide, near_31(rng)),
        case("near-63", Class::Wide, near_63(rng)),
        // Both so small that even the sum of squares fits 32 bits.
        case("n3000", Class::Large, telling_sums(rng, 3000, 1..=500)),
        case("n30000", Class::Large, telling_sums(rng, 30_000, 1..=200)),
    ]
}

/// What a run of `function` over `numbers` must say. `numbers` is a multiple of three of them; where a
/// shard is empty, its partial is 0.
pub fn answer(function: Function, numbers: &[i64]) -> Answer {
    let partials = thirds(numbers).map(|shard| map(function, shard));
    let total = match function {
        Function::Min | Function::Max => map(function, numbers),
        Function::Sum | Function::Sos => partials.iter().fold(I256::ZERO, |sum, partial| sum + partial),
    };
    let fits = |value: &I256| i64::try_from(*value).is_ok();
    Answer {
        count: numbers.len(),
        partials: partials.map(|partial| partial.to_string()),
        total: total.to_string(),
        fits_long: partials.iter().all(fits) && fits(&total),
    }
}

/// What a run of `case` with this answer is there to find out: the input's own class, unless the answer
/// needs more than 32 bits though the numbers do not.
pub fn class_of(case: &Case, answer: &Answer) -> Class {
    if !answer.fits_long {
        return Class::Beyond;
    }
    let narrow = |value: &String| value.parse::<i32>().is_ok();
    if answer.partials.iter().all(narrow) && narrow(&answer.total) { case.class } else { Class::Wide }
}

fn case(name: &str, class: Class, numbers: Vec<i64>) -> Case {
    let text = numbers.iter().map(|number| format!("{number}\n")).collect();
    Case { name: name.to_owned(), class, text, numbers }
}

/// The first, second and last third.
fn thirds(numbers: &[i64]) -> [&[i64]; 3] {
    let (first, rest) = numbers.split_at(numbers.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    [first, second, third]
}

/// One shard's partial. The square of a `long` has 126 bits at most, and there are fewer than 2^64 of them.
fn map(function: Function, shard: &[i64]) -> I256 {
    let wide = shard.iter().map(|number| I256::from(*number));
    let value = match function {
        Function::Min => wide.min(),
        Function::Max => wide.max(),
        Function::Sum => wide.reduce(|sum, number| sum + number),
        Function::Sos => wide.map(|number| number * number).reduce(|sum, square| sum + square),
    };
    value.unwrap_or(I256::ZERO)
}

/// Whether no two shards have the same partial.
fn tells_shards(functions: &[Function], numbers: &[i64]) -> bool {
    functions.iter().all(|function| {
        let [a, b, c] = thirds(numbers).map(|shard| map(*function, shard));
        a != b && b != c && c != a
    })
}

/// Whether, besides, numbers dealt out in turn give other partials.
fn tells(functions: &[Function], numbers: &[i64]) -> bool {
    let dealt = [0, 1, 2].map(|i| numbers.iter().copied().skip(i).step_by(3).collect::<Vec<_>>());
    tells_shards(functions, numbers)
        && functions.iter().all(|function| {
            thirds(numbers).map(|shard| map(*function, shard))
                != dealt.each_ref().map(|shard| map(*function, shard))
        })
}

/// Draws until `holds`; what is asked for below holds for at least one draw in a few dozen.
fn until(
    rng: &mut StdRng,
    mut draw: impl FnMut(&mut StdRng) -> Vec<i64>,
    holds: impl Fn(&[i64]) -> bool,
) -> Vec<i64> {
    loop {
        let numbers = draw(rng);
        if holds(&numbers) {
            return numbers;
        }
    }
}

fn draw(rng: &mut StdRng, count: usize, values: RangeInclusive<i64>) -> Vec<i64> {
    (0..count).map(|_| rng.random_range(values.clone())).collect()
}

/// Ninety numbers whose least and greatest are both in one shard, inside it and in no order, so that a
/// program that forgets that shard is wrong.
fn extremes(rng: &mut StdRng, shard: usize) -> Vec<i64> {
    let make = |rng: &mut StdRng| {
        let mut numbers = draw(rng, 90, 100..=900);
        let inside = 30 * shard + 1..30 * shard + 29;
        let least = rng.random_range(inside.clone());
        let greatest = rng.random_range(inside);
        numbers[least] = rng.random_range(1..=99);
        numbers[greatest] = rng.random_range(901..=1000);
        numbers
    };
    // The same place drawn twice leaves no least number below 100.
    until(rng, make, |numbers| tells(&Function::ALL, numbers) && numbers.iter().any(|n| *n < 100))
}

/// Thirty numbers of both signs, in every shard.
fn mixed(rng: &mut StdRng) -> Vec<i64> {
    until(
        rng,
        |rng| draw(rng, 30, -1000..=1000),
        |numbers| tells(&Function::ALL, numbers) && has_both(numbers, -1, 1),
    )
}

/// Thirty numbers around 2^31 and -2^31. Every shard has some beyond 32 bits on either side, and no sum
/// comes back into 32 bits, where truncation would not show.
fn near_31(rng: &mut StdRng) -> Vec<i64> {
    let make = |rng: &mut StdRng| {
        let power = |rng: &mut StdRng| if rng.random_bool(0.5) { 1 << 31 } else { -(1 << 31) };
        (0..30).map(|_| power(rng) + rng.random_range(NEAR_31)).collect()
    };
    until(rng, make, |numbers| {
        let wide = |shard: &[i64]| i32::try_from(map(Function::Sum, shard)).is_err();
        tells(&Function::ALL, numbers)
            && has_both(numbers, i64::from(i32::MIN) - 1, i64::from(i32::MAX) + 1)
            && thirds(numbers).into_iter().all(wide)
            && wide(numbers)
    })
}

/// Thirty numbers within a million of either end of a `long`, both in every shard: a `double` cannot tell
/// them apart.
fn near_63(rng: &mut StdRng) -> Vec<i64> {
    let make = |rng: &mut StdRng| {
        let mut one = || {
            let stray = rng.random_range(NEAR_63);
            if rng.random_bool(0.5) { i64::MAX - stray } else { i64::MIN + stray }
        };
        (0..30).map(|_| one()).collect()
    };
    until(rng, make, |numbers| tells(&Function::ALL, numbers) && has_both(numbers, -1, 1))
}

/// Whether every shard reaches `low` and `high`.
fn has_both(numbers: &[i64], low: i64, high: i64) -> bool {
    thirds(numbers)
        .into_iter()
        .all(|shard| shard.iter().any(|n| *n <= low) && shard.iter().any(|n| *n >= high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(seed: u64, name: &str) -> Case {
        cases(seed).into_iter().find(|case| case.name == name).unwrap()
    }

    #[test]
    fn the_cheap_and_telling_come_first() {
        let names: Vec<String> = cases(0).into_iter().map(|case| case.name).collect();
        let expected = "n300 n3 n30 n90 extremes-a extremes-b extremes-c all-equal negatives \
                        all-negative near-31 near-63 n3000 n30000";
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn a_seed_is_an_input() {
        assert_eq!(cases(7), cases(7));
        let (one, other) = (cases(7), cases(8));
        for (one, other) in one.iter().zip(&other) {
            assert_eq!(one.numbers == other.numbers, one.name == "n300", "{}", one.name);
        }
    }

    #[test]
    fn the_courses_sample_has_the_known_answers() {
        let sample = named(1, "n300");
        assert_eq!(sample.text, SAMPLE);
        assert_eq!(sample.numbers.len(), 300);
        let sum = answer(Function::Sum, &sample.numbers);
        assert_eq!((sum.total.as_str(), sum.count), ("163262", 300));
        assert_eq!(sum.partials, ["50553", "58962", "53747"]);
        assert_eq!(answer(Function::Min, &sample.numbers).total, "100");
        assert_eq!(answer(Function::Max, &sample.numbers).total, "998");
        assert_eq!(answer(Function::Sos, &sample.numbers).total, "110643000");
    }

    #[test]
    fn every_case_of_many_seeds_is_as_promised() {
        for seed in 0..200 {
            for case in cases(seed) {
                let Case { name, class, text, numbers } = &case;
                let at = format!("{name} of seed {seed}");
                assert!(numbers.len() % 3 == 0 && !numbers.is_empty(), "{at}");
                let read: Vec<i64> =
                    text.split_terminator('\n').map(|row| row.parse().unwrap()).collect();
                assert_eq!(&read, numbers, "{at}");
                assert!(text.ends_with('\n'), "{at}");
                assert!(*class != Class::Ordinary || numbers.iter().all(|n| SMALL.contains(n)), "{at}");
                assert_eq!(*class == Class::Large, numbers.len() > 300, "{at}");
                for function in Function::ALL {
                    let answer = answer(function, numbers);
                    if *class != Class::Wide {
                        assert_eq!(class_of(&case, &answer), *class, "{at}, {function:?}");
                    }
                }
                if name != "all-equal" {
                    assert!(tells_shards(&[Function::Sum], numbers), "{at}");
                    assert!(name == "n3" || tells(&[Function::Sum], numbers), "{at}");
                }
            }
        }
    }

    #[test]
    fn each_shard_decides_once() {
        for (shard, name) in ["extremes-a", "extremes-b", "extremes-c"].into_iter().enumerate() {
            let numbers = named(3, name).numbers;
            for function in [Function::Min, Function::Max] {
                let answer = answer(function, &numbers);
                let deciding: Vec<bool> = answer.partials.iter().map(|x| *x == answer.total).collect();
                assert!((0..3).all(|i| deciding[i] == (i == shard)), "{name}: {answer:?}");
            }
        }
    }

    #[test]
    fn wide_numbers_are_beyond_32_bits_in_every_answer_and_some_beyond_64() {
        for seed in 0..50 {
            let wide = named(seed, "near-31");
            for function in [Function::Min, Function::Max, Function::Sum] {
                let answer = answer(function, &wide.numbers);
                assert_eq!(class_of(&wide, &answer), Class::Wide);
                for value in answer.partials.iter().chain([&answer.total]) {
                    assert!(value.parse::<i32>().is_err(), "{function:?} {value}");
                }
            }
            assert_eq!(class_of(&wide, &answer(Function::Sos, &wide.numbers)), Class::Beyond);
            let widest = named(seed, "near-63");
            assert_eq!(class_of(&widest, &answer(Function::Max, &widest.numbers)), Class::Wide);
            assert_eq!(class_of(&widest, &answer(Function::Sos, &widest.numbers)), Class::Beyond);
        }
    }

    #[test]
    fn answers_are_exact_beyond_128_bits() {
        let numbers = [i64::MIN; 9];
        let sos = answer(Function::Sos, &numbers);
        // 3 * 2^126, and 9 * 2^126, which needs 130 bits.
        assert_eq!(sos.partials[2], "255211775190703847597530955573826158592");
        assert_eq!(sos.total, "765635325572111542792592866721478475776");
        assert!(!sos.fits_long);
        assert_eq!(answer(Function::Sum, &numbers).total, "-83010348331692982272");
        assert!(answer(Function::Min, &numbers).fits_long);
    }

    #[test]
    fn an_answer_is_wide_where_its_numbers_are_not() {
        let few = case("few", Class::Ordinary, vec![50_000, -1, 7]);
        assert_eq!(class_of(&few, &answer(Function::Sum, &few.numbers)), Class::Ordinary);
        assert_eq!(class_of(&few, &answer(Function::Sos, &few.numbers)), Class::Wide);
    }

    #[test]
    fn no_number_is_no_panic() {
        for numbers in [&[][..], &[5], &[5, 6]] {
            assert_eq!(answer(Function::Min, numbers).count, numbers.len());
        }
    }
}
