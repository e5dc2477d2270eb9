//! A thousand simulated runs. `make sim` plays more, and shows traces.

use offload::sim::run;

const SEEDS: u64 = 1000;

/// The halves are played at once; what one seed does depends on nothing else.
fn play(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let one = run(seed, false);
        let again = format!("cargo run --release --example sim -- --seed {seed} --trace");
        assert!(one.failures.is_empty(), "seed {seed}: {:#?}\nagain: {again}", one.failures);
    }
}

#[test]
fn even_seeds_hold() {
    play((0..SEEDS).step_by(2));
}

#[test]
fn odd_seeds_hold() {
    play((1..SEEDS).step_by(2));
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_gives_another() {
    let hashes: Vec<u64> = (0..25).map(|seed| run(seed, false).hash).collect();
    let again: Vec<u64> = (0..25).map(|seed| run(seed, true).hash).collect();
    assert_eq!(hashes, again, "whether or not the text is kept");
    assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn seeds_reach_answers_errors_and_every_fate() {
    let runs: Vec<_> = (0..200).map(|seed| run(seed, true)).collect();
    let (answers, errors) = runs.iter().fold((0, 0), |(a, e), r| (a + r.answers, e + r.errors));
    assert!(answers > 250 && errors > 20, "{answers} answers, {errors} errors");
    let text: String = runs.iter().map(|r| r.trace.as_str()).collect();
    assert!(
        text.contains("takes over") && text.contains("maps by ticket"),
        "no dataset was ever mapped"
    );
    let resumed = |line: &str| line.contains("Accept {") && !line.contains("from: 0 }");
    assert!(text.lines().any(resumed), "no backend ever went on where its checkpoint was");
    for fate in ["Arrives", "Doubled", "Corrupted", "Lost", "Congested", "Cut"] {
        assert!(text.lines().any(|line| line.ends_with(fate)), "no datagram was ever {fate}");
    }
}
