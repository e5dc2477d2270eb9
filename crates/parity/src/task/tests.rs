use super::*;
use crate::code::Code;
use crate::mode::Mode;
use crate::sim::{Plan, Settings, World, run};
use offload::rng::Rng;
use std::time::Duration;

const KINDS: [(Kind, u16); 4] = [
    (Kind::MergeSort { records: 1000, chunk: 130 }, 3),
    (Kind::MatMul { size: 37 }, 4),
    (Kind::Apsp { vertices: 15 }, 15),
    (Kind::Apsp { vertices: 40 }, 3),
];

fn settings(kind: Kind, workers: u16) -> Settings {
    let needs = kind.needs(workers);
    Settings {
        code: Code::new(usize::from(workers), 1).unwrap(),
        mode: Mode::Offload,
        log_bytes: needs.log_bytes,
        state_bytes: needs.state_bytes,
        step: needs.step,
        interval: Duration::from_millis(10),
        buffer_pages: u32::MAX,
        pages_per_frame: 8,
        task: match kind {
            Kind::MergeSort { .. } => |_| KINDS[0].0.task(),
            Kind::MatMul { .. } => |_| KINDS[1].0.task(),
            Kind::Apsp { vertices: 15 } => |_| KINDS[2].0.task(),
            Kind::Apsp { .. } => |_| KINDS[3].0.task(),
        },
    }
}

#[test]
fn they_come_to_what_one_process_comes_to_whoever_dies() {
    for (kind, workers) in KINDS {
        let alone = kind.alone(workers);
        for seed in 0..4 {
            let mut world = World::new(settings(kind, workers)).unwrap();
            let plan = Plan { kills: 2 * (seed as u32 % 2), apart: true, actions: 1_000_000 };
            run(&mut world, plan, &mut Rng::from_seed(seed)).unwrap();
            assert_eq!(world.fault(), None, "{kind}, seed {seed}");
            for (worker, expected) in (0..).map(Worker).zip(&alone) {
                let said = world.outside().get(&worker).cloned().unwrap_or_default();
                let said: Vec<String> =
                    said.into_iter().map(|said| String::from_utf8(said).unwrap()).collect();
                let expected: Vec<String> =
                    Some(expected.clone()).filter(|s| !s.is_empty()).into_iter().collect();
                assert_eq!(said, expected, "{kind}, seed {seed}, {worker}");
            }
        }
    }
}

#[test]
fn who_cannot_do_it_is_told() {
    assert!(Kind::MatMul { size: 10 }.check(3).unwrap_err().contains("1, 4, 9, 16"));
    assert!(Kind::MergeSort { records: 10, chunk: 5 }.check(1).unwrap_err().contains("2 workers"));
    assert!(Kind::Apsp { vertices: 0 }.check(1).is_err());
    assert!(Kind::MergeSort { records: 10, chunk: 0 }.check(2).is_err());
    assert_eq!(Kind::Apsp { vertices: 15 }.check(15), Ok(()));
}
