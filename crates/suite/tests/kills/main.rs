//! `kill -9` at random moments: every run ends with the answer of one process, or with the error that too many were
//! dead at once; and nothing of it is left.
//!
//! A seed is a run: the task, who is killed, and how long after what. The processes run in real time, so that a seed
//! that has failed comes close to what it was, and no nearer. `KILLS_RUNS` and `KILLS_SEED` ask for other runs than
//! the few of a test; `scripts/kills-parity.sh` does.
//!
//! Left out: mode `enhanced`, which loses messages. What else goes wrong with a process is in `others`.

mod others;
mod plan;
mod processes;

use offload_parity::id::Member;
use plan::Plan;
use processes::{Running, shared_memory};
use std::collections::BTreeSet;
use std::fmt;

/// Runs of a test. More are for `scripts/kills-parity.sh`.
const RUNS: u64 = 8;

/// How a run has ended.
enum End {
    /// With the answer of one process.
    Right,
    /// With the error that names more members than can be lost.
    Named,
    /// It was the supervisor that was killed; the members are gone with it.
    Headless,
}

#[derive(Default)]
struct Table {
    runs: usize,
    right: usize,
    named: usize,
    headless: usize,
    /// Those that were over before anybody was killed.
    untouched: usize,
    workers: usize,
    holders: usize,
    supervisors: usize,
    /// Deaths while another member was not back.
    in_recovery: usize,
    twice: usize,
    rebuilt: usize,
    most_descriptors: usize,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deaths = self.workers + self.holders + self.supervisors;
        for (what, count) in [
            ("runs", self.runs),
            ("  with the answer of one process", self.right),
            ("  with the error that too many were dead at once", self.named),
            ("  whose supervisor was killed", self.headless),
            ("  over before anybody was killed", self.untouched),
            ("deaths", deaths),
            ("  of workers", self.workers),
            ("  of holders", self.holders),
            ("  of supervisors", self.supervisors),
            ("  while another was not back", self.in_recovery),
            ("  of one that had died before", self.twice),
            ("members rebuilt from parity", self.rebuilt),
            ("descriptors of a process at most", self.most_descriptors),
        ] {
            writeln!(f, "{what:52} {count:6}")?;
        }
        Ok(())
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn every_run_ends_right_or_says_why_not() {
    let (runs, seed) = (number("KILLS_RUNS").unwrap_or(RUNS), number("KILLS_SEED").unwrap_or(1));
    let shared = shared_memory();
    let mut table = Table::default();
    for seed in seed..seed + runs {
        let plan = Plan::from_seed(seed);
        // What a failing one was is in the output of the test.
        println!("KILLS_SEED={seed}: {plan}");
        let how = run(&plan, &mut table);
        println!(
            "  {}",
            how.unwrap_or_else(|why| panic!("KILLS_SEED={seed} KILLS_RUNS=1: {plan}\n{why}"))
        );
    }
    assert_eq!(shared_memory(), shared, "shared memory is left");
    println!("{table}");
}

fn run(plan: &Plan, table: &mut Table) -> Result<String, String> {
    let mut running = Running::start(&plan.arguments());
    for kill in &plan.kills {
        if !running.wait(kill.after, kill.pause) {
            break;
        }
        running.kill(kill.chance)?;
    }
    let ended = running.end()?;
    let end = judge(plan, &ended)?;
    table.runs += 1;
    table.untouched += usize::from(ended.killed.is_empty());
    let again: BTreeSet<Option<Member>> = ended.killed.iter().map(|(member, _)| *member).collect();
    table.twice += ended.killed.len() - again.len();
    for (member, in_recovery) in &ended.killed {
        table.in_recovery += usize::from(*in_recovery);
        match member {
            None => table.supervisors += 1,
            Some(Member::Worker(_)) => table.workers += 1,
            Some(Member::Holder(_)) => table.holders += 1,
        }
    }
    table.rebuilt += ended.said.lines().filter(|line| line.contains(" is rebuilt")).count();
    table.most_descriptors = table.most_descriptors.max(ended.most_descriptors);
    let (count, word) = match end {
        End::Right => (&mut table.right, "right"),
        End::Named => (&mut table.named, "too many dead at once"),
        End::Headless => (&mut table.headless, "no supervisor"),
    };
    *count += 1;
    let killed = ended.killed.iter().map(|(member, _)| match member {
        Some(member) => member.to_string(),
        None => "the supervisor".into(),
    });
    Ok(format!("{word}; killed: {}", killed.collect::<Vec<_>>().join(", ")))
}

fn judge(plan: &Plan, ended: &processes::Ended) -> Result<End, String> {
    let wrong = |why: &str| Err(format!("{why}: {}\n{}", ended.said, ended.report));
    if ended.killed.iter().any(|(member, _)| member.is_none()) {
        return Ok(End::Headless);
    }
    if ended.succeeded {
        let report: serde_json::Value =
            serde_json::from_str(&ended.report).map_err(|e| format!("{e}: {}", ended.report))?;
        for (worker, expected) in plan.kind.alone(plan.workers).iter().enumerate() {
            let said = &report["said"][format!("worker {worker}")];
            let said: Vec<&str> =
                said.as_array().into_iter().flatten().filter_map(|it| it.as_str()).collect();
            let right = if expected.is_empty() { said.is_empty() } else { said == [expected] };
            if !right {
                return wrong(&format!("worker {worker} says {said:?} and not {expected:?}"));
            }
        }
        return Ok(End::Right);
    }
    let Some((_, lost)) = ended.said.split_once("the states of ") else {
        return wrong("it ends with an error that is not the one");
    };
    let Some((names, _)) = lost.split_once(" are lost, and ") else {
        return wrong("it ends with an error that is not the one");
    };
    let names: Vec<&str> = names.split(", ").collect();
    if names.len() <= plan.failures {
        return wrong("so few are not too many");
    }
    let dead = |name: &&str| ended.unrecovered.contains(*name);
    if names.iter().all(dead) { Ok(End::Named) } else { wrong("not all of these were dead at once") }
}
