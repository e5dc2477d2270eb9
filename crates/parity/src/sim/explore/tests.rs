use super::*;
use crate::code::Code;
use crate::mode::Mode;
use crate::sim::tasks::Words;
use crate::sim::{CASES, Case, chart};
use offload::rng::Rng;

const SOME: Bounds = Bounds { deaths: 0, timeouts: 0, worlds: 2_000_000, faults: 1 };

fn case(name: &str, mode: Mode) -> (Case, World) {
    let case = Case::named(name).unwrap();
    (case, case.world(mode, Code::new(2, 1).unwrap()).unwrap())
}

/// A worker that has nothing to do, and two holders.
fn alone(mode: Mode) -> World {
    let nothing = Case { task: |_| Box::new(Words { messages: 0 }), ..CASES[0] };
    nothing.world(mode, Code::new(1, 1).unwrap()).unwrap()
}

fn whole(world: &World, bounds: Bounds, wrong: impl Fn(&World) -> Option<String>) -> Explored {
    let (mut search, first) = Search::new(world, bounds, wrong);
    search.prune = false;
    search.deep(first).unwrap()
}

#[test]
fn without_deaths_all_is_seen_and_right() {
    for mode in Mode::ALL {
        for case in CASES {
            let world = case.world(mode, Code::new(2, 1).unwrap()).unwrap();
            let found = explore(&world, Bounds { timeouts: 1, ..SOME }, case.wrong).unwrap();
            assert_eq!(
                (found.faults.keys().next(), found.complete),
                (None, true),
                "{mode}, {}",
                case.name
            );
        }
    }
}

/// Each of the three dies, at any moment; the epochs of two that contend to lead do not grow for ever.
#[test]
fn with_a_death_all_is_seen_and_right() {
    for mode in Mode::ALL {
        let found = explore(&alone(mode), Bounds { deaths: 1, ..SOME }, |_| None).unwrap();
        assert_eq!((found.faults.keys().next(), found.complete), (None, true), "{mode}");
        assert!(found.worlds > 1000, "{mode}: {}", found.worlds);
    }
}

/// The second dies at any moment of the recovery from the first, and what is then too much is named.
#[test]
fn nothing_is_wrong_in_the_first_worlds_with_two_deaths() {
    let bounds = Bounds { deaths: 2, worlds: 300_000, ..SOME };
    let found = explore(&alone(Mode::Offload), bounds, |_| None).unwrap();
    assert_eq!((found.faults.keys().next(), found.complete), (None, false));
}

#[test]
fn nothing_is_wrong_in_the_first_worlds_with_two_workers_and_a_death() {
    for name in ["word", "talk"] {
        let (case, world) = case(name, Mode::Offload);
        let bounds = Bounds { deaths: 1, timeouts: 1, worlds: 200_000, ..SOME };
        let found = explore(&world, bounds, case.wrong).unwrap();
        assert_eq!((found.faults.keys().next(), found.complete), (None, false), "{name}");
    }
}

#[test]
fn what_is_left_out_changes_no_outcome() {
    let worlds = [
        (alone(Mode::Offload), Bounds { deaths: 1, ..SOME }),
        (case("talk", Mode::Offload).1, Bounds { timeouts: 1, ..SOME }),
        (case("glance", Mode::Enhanced).1, Bounds { timeouts: 1, ..SOME }),
    ];
    for (world, bounds) in worlds {
        let wrong = |world: &World| Some(format!("{:?} is said", world.outside()));
        let bounds = Bounds { faults: usize::MAX, ..bounds };
        let (few, all) = (explore(&world, bounds, wrong).unwrap(), whole(&world, bounds, wrong));
        assert!(
            few.complete && all.complete && few.worlds <= all.worlds,
            "{} {}",
            few.worlds,
            all.worlds
        );
        assert_eq!(few.answers, all.answers);
        assert!(few.faults.keys().eq(all.faults.keys()));
    }
}

/// The machines come to the same where they run, not looked up in a table.
#[test]
fn what_is_found_comes_with_how_it_comes_to_be() {
    let bounds = Bounds { deaths: 1, timeouts: 2, faults: 2, ..SOME };
    let (case, world) = case("words", Mode::Enhanced);
    let found = sample(&world, bounds, &mut Rng::from_seed(1), case.wrong).unwrap();
    assert_eq!(found.faults.len(), 2);
    for (fault, path) in found.faults {
        let end = replay(&world, &path, |_, _| {}).unwrap();
        if end.is_over() {
            assert_eq!((case.wrong)(&end), Some(fault));
        } else {
            let idle = |action: &Action| matches!(action, Action::Timeout(_));
            assert!(end.actions().iter().all(idle) && end.dead().next().is_none(), "{fault}");
        }
    }
}

/// As the page says them to be had: each drawing follows the command that draws it.
#[test]
fn the_page_shows_what_the_search_finds() {
    let page = include_str!("../../../../../docs/parity.md");
    let mut drawn = 0;
    for part in page.split("--example explore -- --mode enhanced ").skip(1) {
        let (options, rest) = part.split_once('\n').unwrap();
        let (_, rest) = rest.split_once("```text\n").unwrap();
        let (drawing, _) = rest.split_once("```").unwrap();
        let words: Vec<&str> = options.split_whitespace().collect();
        let number = |name: &str| {
            let at = words.iter().position(|word| *word == name).unwrap();
            words[at + 1].parse::<u8>().unwrap()
        };
        let (case, world) = case(words[1], Mode::Enhanced);
        let faults = usize::from(number("--faults"));
        let bounds =
            Bounds { deaths: number("--deaths"), timeouts: number("--timeouts"), faults, ..SOME };
        let mut rng = Rng::from_seed(number("--seed").into());
        let found = sample(&world, bounds, &mut rng, case.wrong).unwrap();
        let charts = found.faults.iter().map(|(fault, path)| chart(&world, path, fault).unwrap());
        assert!(charts.collect::<Vec<_>>().contains(&drawing.to_owned()), "{options}:\n{drawing}");
        drawn += 1;
    }
    assert_eq!(drawn, 2);
}
