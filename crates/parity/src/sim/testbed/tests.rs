use super::*;
use proptest::prelude::*;
use std::fmt::Write;

const EXAMPLE: &str = include_str!("../../../examples/testbed.toml");

/// Three workers with 64 MiB each, of which 8 MiB are written between two checkpoints, on a gigabit network.
fn spec(more: &str) -> String {
    let mut text = String::from(
        "[system]\nworkers = 3\nlink_mbit_per_s = 1000\nlatency_ms = 0.1\nmemory_mb_per_s = 4000\n\
         [checkpoints]\ninterval_s = 20\n[task]\nwork_s = 400\nstate_mib = 64\nworking_set_mib = 32\n\
         written_pages_per_s = 102.4\nmessage_kib = 64\nmessages_per_s = 0.5\n",
    );
    let _ = write!(text, "{more}");
    text
}

fn rows(text: &str) -> Vec<Row> {
    simulate(&Spec::parse("test.toml", text).unwrap()).unwrap()
}

#[test]
fn costs_are_what_links_and_memory_take() {
    let rows = rows(&spec(
        "[faults]\nkill = [{ at_s = 150, member = 'worker:1' }, { at_s = 310, member = 'holder:0' }]",
    ));
    let names: Vec<&str> = rows.iter().map(|row| row.mode).collect();
    assert_eq!(names, ["n+1", "enhanced", "offload"]);
    // 8 MiB of three workers come to each holder's link, at 125 MB/s.
    let network_s = 3.0 * 8.0 * 1_048_576.0 / 125e6;
    for row in &rows {
        assert_eq!((row.workers, row.groups, row.deaths), (3, 1, 2), "{row:?}");
        assert!((400.0..401.0).contains(&row.plain_s), "{row:?}");
        assert!((18.0..=20.0).contains(&row.checkpoints), "{row:?}");
        let latency_s = row.latency_s.unwrap();
        // In the paper's scheme each commits alone; those whose turn is first wait for fewer.
        assert!(latency_s < 1.3 * network_s && latency_s > 0.3 * network_s, "{row:?}");
    }
    let [plank, enhanced, ours] = &rows[..] else { unreachable!() };
    // Who freezes pays all of it. Who does not pays the copy, and messages that share a link with a diff.
    assert!((plank.overhead_s.unwrap() / network_s - 1.0).abs() < 0.2, "{plank:?}");
    assert!(ours.overhead_s.unwrap() < 0.3 * network_s, "{ours:?}");
    assert!(enhanced.overhead_s.unwrap() < 0.3 * network_s, "{enhanced:?}");
    // A worker is rebuilt from two others and a holder, a holder from its twin: 64 MiB and logs, over one link.
    for row in [plank, ours] {
        assert_eq!(row.fault, None, "{row:?}");
        let image_s = 64.0 * 1_048_576.0 / 125e6;
        let recovery_s = row.recovery_s.unwrap();
        assert!(recovery_s > image_s && recovery_s < 4.0 * image_s, "{row:?}");
        // Two deaths, three workers, an interval and the time until it counts at most.
        let lost_s = row.lost_s.unwrap();
        assert!(lost_s > 0.0 && lost_s < 3.0 * (20.0 + 2.0 * network_s), "{row:?}");
        assert!(row.ratio_measured.unwrap() > 0.0, "{row:?}");
        assert!(row.ratio.unwrap() <= row.ratio_here.unwrap(), "{row:?}");
    }
}

#[test]
fn deaths_by_chance_are_the_same_in_each_mode_and_are_had_again() {
    let text = spec("[faults]\nmtbf_s = 200\nseed = 3\n");
    let first = rows(&text);
    let deaths: Vec<u32> = first.iter().map(|row| row.deaths).collect();
    assert!(deaths[0] >= 2, "{deaths:?}");
    assert_eq!(format!("{first:?}"), format!("{:?}", rows(&text)));
    assert_ne!(format!("{first:?}"), format!("{:?}", rows(&text.replace("seed = 3", "seed = 4"))));
    // Five members, each of whom dies every 200 s.
    assert_eq!(first[0].failures_per_s, Some(5.0 / 200.0));
}

#[test]
fn too_many_deaths_at_once_are_named() {
    let kills =
        "[faults]\nkill = [{ at_s = 150, member = 'worker:1' }, { at_s = 150, member = 'worker:2' }]";
    let text = spec(kills).replace("[task]", "mode = 'offload'\n[task]");
    let rows = rows(&text);
    assert!(rows[0].fault.as_ref().unwrap().contains("worker 1, worker 2 are lost"), "{rows:?}");
    assert_eq!(rows[0].ratio_measured, None);
    let survived = self::rows(&text.replace("latency_ms", "failures = 2\nlatency_ms"));
    assert_eq!((survived[0].fault.clone(), survived[0].deaths), (None, 2));
}

#[test]
fn a_holder_takes_the_longer_the_more_workers_it_has_and_groups_are_the_way_out() {
    let one = "mode = 'n+1'\n[task]";
    let text = spec("").replace("[task]", one).replace("workers = 3", "workers = [2, 8]");
    let all = rows(&text);
    let overheads: Vec<f64> = all.iter().map(|row| row.overhead_s.unwrap()).collect();
    assert!((overheads[1] / overheads[0] - 4.0).abs() < 0.4, "{overheads:?}");
    let cut = rows(&text.replace("latency_ms", "workers_per_group = 2\nlatency_ms"));
    assert_eq!((cut[1].workers, cut[1].groups), (8, 4));
    assert_eq!(cut[1].overhead_s, cut[0].overhead_s);
}

#[test]
fn a_buffer_that_is_full_is_a_reason_for_a_checkpoint() {
    let text = spec("").replace("[task]", "mode = 'n+1'\nbuffer_mib = 4\n[task]");
    let row = &rows(&text)[0];
    // 4 MiB are written in ten seconds; then all wait for the network.
    assert!((30.0..=40.0).contains(&row.checkpoints), "{row:?}");
    let network_s = 3.0 * 4.0 * 1_048_576.0 / 125e6;
    assert!((row.overhead_s.unwrap() / network_s - 1.0).abs() < 0.3, "{row:?}");
}

#[test]
fn all_patterns_come_to_an_end() {
    for pattern in ["none", "ring", "all", "first"] {
        let text = spec("").replace("message_kib", &format!("pattern = '{pattern}'\nmessage_kib"));
        for row in rows(&text) {
            assert_eq!(row.fault, None, "{pattern}: {row:?}");
        }
    }
    let alone = rows(&spec("").replace("workers = 3", "workers = 1"));
    assert!(alone.iter().all(|row| row.fault.is_none()), "{alone:?}");
}

#[test]
fn the_example_is_near_the_papers_rate() {
    let spec = Spec::parse("testbed.toml", EXAMPLE).unwrap();
    assert_eq!(spec.modes, Mode::ALL);
    let members = f64::from(spec.workers[0]) + spec.code(spec.workers[0]).unwrap().holders() as f64;
    let rate = members / spec.mtbf.unwrap().as_secs_f64();
    assert!((rate / 6.301e-6 - 1.0).abs() < 1e-5, "{rate}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Deaths at any time, two at once and in a recovery included: the right answer, or the error for too many.
    #[test]
    fn whatever_the_system_ours_and_planks_end_right_or_say_why(
        (workers, failures) in (1u16..6, 1usize..4),
        pattern in prop::sample::select(vec!["none", "ring", "all", "first"]),
        (link, latency, memory) in (10u32..10_000, 0.0f64..50.0, 100u32..10_000),
        (interval, rate, written) in (1.0f64..15.0, 0.0f64..3.0, 0u32..1500),
        (detect, restart) in (0.0f64..3.0, 0.0f64..5.0),
        buffer in prop::option::of(2u32..8),
        (mtbf, seed) in (50.0f64..500.0, 0u32..1000),
    ) {
        let buffer = buffer.map_or(String::new(), |mib| format!("buffer_mib = {mib}\n"));
        let text = format!(
            "[system]\nworkers = {workers}\nfailures = {failures}\nlink_mbit_per_s = {link}\n\
             latency_ms = {latency}\nmemory_mb_per_s = {memory}\ndetect_s = {detect}\nrestart_s = {restart}\n\
             [checkpoints]\nmode = ['n+1', 'offload']\ninterval_s = {interval}\n{buffer}[task]\nwork_s = 40\n\
             state_mib = 8\nwritten_pages_per_s = {written}\npattern = '{pattern}'\nmessages_per_s = {rate}\n\
             [faults]\nmtbf_s = {mtbf}\nseed = {seed}\n"
        );
        for row in rows(&text) {
            let fault = row.fault.as_deref().unwrap_or_default();
            let named = fault.is_empty() || fault.contains("at once can be had again");
            prop_assert!(named, "{text}{row:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_specification_does_harm(at in 0usize..2000, new in "[ -~\n]{0,4}", remove in 0usize..20) {
        let begin = at % EXAMPLE.len();
        let end = (begin + remove).min(EXAMPLE.len());
        let text = format!("{}{new}{}", &EXAMPLE[..begin], &EXAMPLE[end..]);
        if let Err(error) = Spec::parse("x", &text) {
            prop_assert!(error.to_string().starts_with("x"), "{error}");
        }
    }
}

#[test]
fn what_cannot_be_simulated_is_refused_with_its_line() {
    let good = spec("");
    for (from, to, line, word) in [
        ("workers = 3", "workers = 0", 2, "1 to 64"),
        ("workers = 3", "workers = [2, 65]", 2, "1 to 64"),
        ("workers = 3", "workers = []", 2, "list"),
        ("workers = 3", "workers = 'all'", 2, "did not match"),
        (
            "workers = 3",
            "workers = 3\nworkers_per_group = 2",
            3,
            "3 workers cannot be cut into groups of 2",
        ),
        ("workers = 3", "workers = 3\nfailures = 9", 3, "1 to 8"),
        ("= 1000\n", "= nan\n", 3, "it has to be"),
        ("= 1000\n", "= 0\n", 3, "it has to be"),
        ("= 0.1", "= -1", 4, "it has to be"),
        ("= 4000", "= inf", 5, "it has to be"),
        ("= 20", "= 0", 7, "interval_s"),
        ("= 20", "= 0.001", 7, "400000 checkpoints with 6 diffs each, and 500000 diffs are the most"),
        (
            "= 20\n[task]\nwork_s = 400",
            "= 20\nbuffer_mib = 0.01\n[task]\nwork_s = 4000",
            8,
            "with 6 diffs each",
        ),
        ("= 0.5", "= 0.5\n[faults]\nmtbf_s = 0.1", 16, "10000 deaths"),
        ("= 20", "= 20\nmode = 'best'", 8, "n+1, enhanced or offload"),
        ("= 20", "= 20\nmode = []", 8, "1 to 3"),
        ("= 20", "= 20\nbuffer_mib = 65", 8, "it has to be 0.01 to 64"),
        ("= 400\n", "= 1e10\n", 9, "work_s"),
        ("= 32\n", "= 65\n", 11, "working_set_mib = 65"),
        ("= 102.4", "= -1", 12, "it has to be"),
        ("= 64\nmessages", "= 1e9\nmessages", 13, "message_kib"),
        ("= 0.5", "= 1e6", 14, "would send"),
        ("= 0.5", "= 0.5\npattern = 'star'", 15, "none, ring, all or first"),
        ("= 0.5", "= 0.5\ncolour = 1", 15, "unknown field"),
        ("[task]", "[tasks]", 8, "unknown field"),
        ("= 0.5", "= 0.5\n[faults]\nseed = -1", 16, "0 or more"),
        ("= 0.5", "= 0.5\n[faults]\nmtbf_s = 0", 16, "it has to be"),
        ("= 0.5", "= 0.5\n[faults]\nkill = [{ at_s = 1, member = 'worker:3' }]", 16, "worker:2"),
        ("= 0.5", "= 0.5\n[faults]\nkill = [{ at_s = 1, member = 'holder:2' }]", 16, "holder:1"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let said = Spec::parse("test.toml", &text).unwrap_err().to_string();
        assert!(said.starts_with(&format!("test.toml:{line}: ")) && said.contains(word), "{to}: {said}");
    }
    let long = good.replace("= 20\n", "= 400\n").replace("= 0.5", "= 100");
    assert!(Spec::parse("t", &long).unwrap_err().to_string().contains("between two checkpoints"));
    assert!(Spec::parse("t", "").unwrap_err().to_string().contains("missing field `system`"));
}
