use super::tasks::Talk;
use super::*;
use crate::ledger::ENTRY_BYTES;
use crate::proto::work::Memory;
use offload::rng::Rng;

const TALK: Talk = Talk { messages: 6 };
const ONE_WORD: Talk = Talk { messages: 1 };

fn settings(mode: Mode, workers: usize, failures: usize) -> Settings {
    Settings {
        code: Code::new(workers, failures).unwrap(),
        mode,
        log_bytes: 4096,
        state_bytes: Talk::state_bytes(workers),
        step: (64, 2),
        interval: Duration::from_millis(10),
        buffer_pages: u32::MAX,
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

/// A worker may be much slower than another that fills its log meanwhile, checkpoint after checkpoint.
#[test]
fn a_full_log_waits_for_those_who_empty_it() {
    let plan = Plan { kills: 2, apart: true, actions: 60_000 };
    for mode in [Mode::Offload, Mode::Plank] {
        let mut settings = settings(mode, 3, 1);
        let step = 2 * (64 + 2 * (ENTRY_BYTES + 8));
        // And two messages for each of two others, which must be there for any to take a step.
        settings.log_bytes = step + 4 * (ENTRY_BYTES + 8);
        let seen = survey(&settings, plan, 100);
        assert_eq!((seen.wrong.first(), seen.lost), (None, 0), "{mode}");
        settings.log_bytes = step - 8;
        let seen = survey(&settings, plan, 1);
        assert!(seen.wrong[0].1.contains("give the task a larger log"), "{mode}: {seen:?}");
    }
}

/// What each worker has sent to and heard from each other, where its memory is not away.
fn come_to(world: &World) -> Vec<Option<Vec<u64>>> {
    let machines = world.nodes.values().filter_map(|node| match &node.machine {
        Machine::Worker(worker) => Some(worker.memory()),
        Machine::Holder(_) => None,
    });
    let words = |memory: &Plain| {
        let bytes = memory.bytes();
        let state = &bytes[bytes.len() - PAGE_BYTES..][..Talk::state_bytes(3)];
        let words: Vec<u64> = bytemuck::pod_collect_to_vec(&state[8..]);
        words.chunks(3).flat_map(|of| [of[0], of[1]]).collect()
    };
    machines.map(|memory| memory.map(words)).collect()
}

#[test]
fn the_death_of_a_holder_takes_no_worker_back() {
    let mut settings = settings(Mode::Offload, 3, 1);
    // There is no checkpoint but the first.
    settings.interval = Duration::from_secs(3600);
    let mut further = 0;
    for seed in 0..400 {
        let (mut world, mut rng) = (World::new(settings.clone()).unwrap(), Rng::from_seed(seed));
        let mut act = |world: &mut World| {
            let mut actions = world.actions();
            actions.retain(|action| !matches!(action, Action::Timeout(_)));
            let action = actions[rng.below(actions.len() as u64) as usize];
            world.apply(action).unwrap();
        };
        while !world.all_go_on() {
            act(&mut world);
        }
        (0..2 * (seed % 60)).for_each(|_| act(&mut world));
        let before = come_to(&world);
        let holder = Member::Holder(id::Holder((seed % 2) as u8));
        world.cut_off(holder, None);
        world.apply(Action::Start(holder)).unwrap();
        while !world.all_go_on() {
            act(&mut world);
        }
        // One that is done has asked for a checkpoint, which may be given up.
        if world.events().iter().any(|(_, _, event)| matches!(event, Event::Taken { .. })) {
            continue;
        }
        for (before, after) in before.iter().zip(come_to(&world)) {
            let (Some(before), Some(after)) = (before, after) else { continue };
            assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "seed {seed}");
            further += usize::from(before.iter().any(|count| *count > 0));
        }
    }
    assert!(further > 20, "{further}");
}

/// A leader dies before all have heard of its epoch, and leads again in its next life, in which it does not know of it.
#[test]
fn no_epoch_is_led_twice() {
    let hears = Member::Worker(id::Worker(1));
    for mode in [Mode::Plank, Mode::Offload] {
        for seed in 0..50 {
            let mut settings = settings(mode, 2, 1);
            settings.task = |_| Box::new(ONE_WORD);
            let mut world = World::new(settings).unwrap();
            while !world.all_go_on() {
                world.apply(world.actions()[0]).unwrap();
            }
            // A later epoch than a leader begins with.
            world.cut_off(hears, None);
            world.apply(Action::Start(hears)).unwrap();
            while !world.all_go_on() {
                world.apply(world.actions()[0]).unwrap();
            }
            let epoch = world.nodes.values().map(|node| node.machine.went()).max().unwrap().0;
            let (leader, other) = if epoch % 2 == 0 { (0, 1) } else { (1, 0) };
            let [leader, other] = [leader, other].map(|number| Member::Holder(id::Holder(number)));
            world.cut_off(leader, None);
            while world.actions().contains(&Action::Deliver(leader, other)) {
                world.apply(Action::Deliver(leader, other)).unwrap();
            }
            world.cut_off(other, Some(hears));
            world.apply(Action::Start(other)).unwrap();
            let plan = Plan { kills: 0, apart: true, actions: 20_000 };
            run(&mut world, plan, &mut Rng::from_seed(seed)).unwrap();
            assert_eq!(world.fault().map(str::to_owned).or_else(|| wrong(&world, ONE_WORD, 2)), None);
        }
    }
}

/// The paper's scheme comes to an end in most of these runs only because nothing was in transit.
#[test]
fn the_papers_scheme_loses_messages() {
    let plan = Plan { kills: 4, apart: true, actions: 20_000 };
    let seen = survey(&settings(Mode::Enhanced, 3, 1), plan, 30);
    assert!(!seen.wrong.is_empty() && seen.wrong.len() < 30, "{} of 30", seen.wrong.len());
}
