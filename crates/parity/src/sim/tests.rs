use super::tasks::Talk;
use super::*;
use offload::rng::Rng;

const TALK: Talk = Talk { messages: 6 };

fn settings(mode: Mode, workers: usize, failures: usize) -> Settings {
    Settings {
        code: Code::new(workers, failures).unwrap(),
        mode,
        log_bytes: 4096,
        state_bytes: Talk::state_bytes(workers),
        step: (64, 2),
        interval: Duration::from_millis(10),
        pages_per_frame: 1,
        task: |_| Box::new(TALK),
    }
}

/// What a run that is over should not have come to.
fn wrong(world: &World, talk: Talk, workers: u16) -> Option<String> {
    (0..workers).find_map(|me| {
        let said = world.outside().get(&id::Worker(me));
        let right = said.is_some_and(|said| *said == [talk.expected(workers, me)]);
        (!right).then(|| format!("worker {me} has said {said:?}"))
    })
}

/// What many seeds have shown.
#[derive(Debug, Default)]
struct Seen {
    /// The seed to have it again, and what was wrong.
    wrong: Vec<(u64, String)>,
    /// Runs that ended with the error that too much is lost.
    lost: usize,
    rebuilt_workers: usize,
    rebuilt_holders: usize,
}

fn survey(settings: &Settings, plan: Plan, seeds: u64) -> Seen {
    let mut seen = Seen::default();
    let workers = settings.code.workers() as u16;
    for seed in 0..seeds {
        let mut world = World::new(settings.clone()).unwrap();
        run(&mut world, plan, &mut Rng::from_seed(seed)).unwrap();
        match world.fault().map(str::to_owned).or_else(|| wrong(&world, TALK, workers)) {
            Some(why) if why.contains(crate::proto::plan::TOO_MUCH) => seen.lost += 1,
            Some(why) => seen.wrong.push((seed, why)),
            None => {}
        }
        for (_, member, event) in world.events() {
            let rebuilt = usize::from(matches!(event, Event::Recovered { rebuilt: true, .. }));
            match member {
                Member::Worker(_) => seen.rebuilt_workers += rebuilt,
                Member::Holder(_) => seen.rebuilt_holders += rebuilt,
            }
        }
    }
    seen
}

#[test]
fn without_failures_all_modes_come_to_the_same() {
    let plan = Plan { kills: 0, apart: true, actions: 20_000 };
    for mode in Mode::ALL {
        let seen = survey(&settings(mode, 3, 1), plan, 100);
        assert_eq!((seen.wrong.first(), seen.lost, seen.rebuilt_workers), (None, 0, 0), "{mode}");
    }
}

#[test]
fn ours_and_planks_survive_a_death_at_a_time() {
    let plan = Plan { kills: 4, apart: true, actions: 60_000 };
    for mode in [Mode::Plank, Mode::Offload] {
        let seen = survey(&settings(mode, 3, 1), plan, 300);
        assert_eq!((seen.wrong.first(), seen.lost), (None, 0), "{mode}");
        assert!(seen.rebuilt_workers > 100 && seen.rebuilt_holders > 50, "{mode}: {seen:?}");
    }
}

/// The second may die while the first is rebuilt, a checkpoint commits, or nobody leads.
#[test]
fn deaths_at_once_are_survived_or_named() {
    let plan = Plan { kills: 4, apart: false, actions: 60_000 };
    for mode in [Mode::Plank, Mode::Offload] {
        let seen = survey(&settings(mode, 3, 1), plan, 300);
        assert_eq!(seen.wrong.first(), None, "{mode}");
        assert!(seen.lost > 0 && seen.rebuilt_workers > 50, "{mode}: {seen:?}");
    }
}

#[test]
fn two_holders_of_different_parity_survive_any_two() {
    let plan = Plan { kills: 2, apart: false, actions: 60_000 };
    for mode in [Mode::Plank, Mode::Offload] {
        let seen = survey(&settings(mode, 4, 2), plan, 500);
        assert_eq!((seen.wrong.first(), seen.lost), (None, 0), "{mode}");
        assert!(seen.rebuilt_workers > 100 && seen.rebuilt_holders > 50, "{mode}: {seen:?}");
    }
}

/// The paper's scheme comes to an end in most of these runs only because nothing was in transit.
#[test]
fn the_papers_scheme_loses_messages() {
    let plan = Plan { kills: 4, apart: true, actions: 20_000 };
    let seen = survey(&settings(Mode::Enhanced, 3, 1), plan, 30);
    assert!(!seen.wrong.is_empty() && seen.wrong.len() < 30, "{} of 30", seen.wrong.len());
}
