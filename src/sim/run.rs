//! A run: a seed's plan, played with the real machines and judged.

use super::checkers::{Cast, Checkers, Expected, QUIET, screens::AWS_PORTS};
use super::liar::Liar;
use super::plan::{ClientPlan, Fault, Manner, Plan, Staged};
use super::trace::Trace;
use super::world::{Cut, Factory, File, Shelf, World};
use crate::dataset;
use crate::limits::AWS_SILENCE;
use crate::proto::{Machine, aws, backend, client};
use crate::reduction::{Reduction as _, Registry};
use crate::rng::Rng;
use crate::screen::Transcript;
use crate::time::Time;
use std::net::SocketAddr;
use std::time::Duration;

/// A machine that does more than this never comes to rest.
const MAX_HAPPENINGS: u64 = 3_000_000;

/// The name of every plan's dataset.
const DATASET: dataset::Id = dataset::Id([0xda; 20]);

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// What did not hold; empty where all is well.
    pub failures: Vec<String>,
    /// A hash of all that happened.
    pub hash: u64,
    /// Clients of any manner.
    pub jobs: u64,
    /// Honest clients that got the exact answer.
    pub answers: u64,
    /// Clients that got a reason instead.
    pub errors: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Virtual seconds.
    pub seconds: f64,
    /// The trace, where one was asked for.
    pub trace: String,
}

/// Plays a seed.
pub fn run(seed: u64, with_trace: bool) -> Run {
    let mut rng = Rng::from_seed(seed);
    let plan = Plan::new(&mut rng);
    Stage::new(plan, rng, Trace::new(with_trace)).play()
}

struct Stage {
    plan: Plan,
    world: World<Checkers>,
    cast: Cast,
    /// When each client must have ended.
    deadlines: Vec<Time>,
    left: Vec<bool>,
}

fn moment(after: Duration) -> Time {
    Time::ZERO + after
}

fn aws_addr() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], AWS_PORTS.1))
}

fn backend_addr(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, i as u8], 21_319))
}

fn backend_name(i: usize) -> String {
    char::from(b'A' + i as u8).to_string()
}

impl Stage {
    fn new(plan: Plan, rng: Rng, trace: Trace) -> Stage {
        let k = plan.weather.len();
        let cast = Cast { aws: 0, backends: 1, clients: 1 + k };
        let expected = plan.clients.iter().map(|c| Expected::new(c, k)).collect();
        let checkers = Checkers::new(&plan, cast, expected, (0..k).map(backend_name).collect());
        let mut world = World::new(rng, checkers, trace);
        world.add("aws", aws_addr(), Time::ZERO, aws_factory(&plan));
        for i in 0..k {
            let node =
                world.add(&backend_name(i), backend_addr(i), Time::ZERO, backend_factory(&plan, i));
            if plan.checkpoint {
                world.set_keeping(node);
            }
            if let Some(client) = plan.clients.iter().find(|client| client.is_dataset) {
                world.set_shelf(node, shelf(client.rows.clone(), plan.staged[i]));
            }
            let [to, from] = plan.weather[i].clone();
            world.set_weather(cast.aws, cast.backends + i, to);
            world.set_weather(cast.backends + i, cast.aws, from);
        }
        for &(i, fault) in &plan.faults {
            befall(&mut world, cast.backends + i, fault);
        }
        for (i, c) in plan.clients.iter().enumerate() {
            enter(&mut world, i, c, plan.key);
        }
        for &at in &plan.spoofs {
            world.spoof(moment(at));
        }
        let deadlines = plan.clients.iter().map(|c| moment(c.start + plan.deadline() + own_time(c)));
        let deadlines = deadlines.collect();
        let left = vec![false; plan.clients.len()];
        Stage { plan, world, cast, deadlines, left }
    }

    fn play(mut self) -> Run {
        let last = self.deadlines.iter().copied().max().unwrap_or_default();
        while !self.is_finished() && self.world.step(last) && self.goes_on() {
            self.see_off();
        }
        let end = self.world.now() + QUIET;
        while self.world.step(end) && self.goes_on() {
            self.see_off();
        }
        self.judge()
    }

    fn goes_on(&mut self) -> bool {
        let goes_on = self.world.happened() < MAX_HAPPENINGS;
        if !goes_on {
            let rest = "rest: the machines never come to rest".to_owned();
            self.world.observer.failures.push(rest);
        }
        goes_on
    }

    /// A client that has its outcome goes: its process ends.
    fn see_off(&mut self) {
        for i in 0..self.left.len() {
            if !self.left[i] && self.world.observer.finished[i].is_some() {
                self.left[i] = true;
                let node = self.cast.clients + i;
                if self.world.jobs(node) != Some(0) || self.world.wake(node).is_some() {
                    let what = format!("rest: client {i} has ended and is still at work");
                    self.world.observer.failures.push(what);
                }
                self.world.stop(self.world.now() + Duration::from_millis(200), node, None);
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.plan.clients.iter().enumerate().all(|(i, c)| match c.manner {
            Manner::Dies(_) => self.world.now() > moment(c.start + own_time(c)),
            Manner::Lies(_) => self.world.is_opened_and_over(self.cast.clients + i),
            _ => self.world.observer.finished[i].is_some(),
        })
    }

    fn judge(mut self) -> Run {
        let now = self.world.now();
        let mut run = Run { jobs: self.plan.clients.len() as u64, ..Run::default() };
        let mut failures = Vec::new();
        for (i, c) in self.plan.clients.iter().enumerate() {
            let finished = self.world.observer.finished[i].clone();
            match &finished {
                Some((_, Ok(_))) => run.answers += 1,
                Some((_, Err(_))) => run.errors += 1,
                None => {}
            }
            failures.extend(self.judge_client(i, c, finished.as_ref().map(|(at, r)| (*at, r))));
        }
        for node in 0..self.cast.clients {
            let (jobs, wake) = (self.world.jobs(node), self.world.wake(node));
            if jobs.is_some_and(|n| n != 0) || wake.is_some() {
                failures.push(format!(
                    "rest: node {node} has jobs {jobs:?}, next wake {wake:?}, long after"
                ));
            }
        }
        for node in self.cast.backends..self.cast.clients {
            if self.world.jobs(node).is_some() && !self.world.keeps_nothing(node) {
                failures.push(format!("rest: node {node} still has something kept, long after"));
            }
        }
        let honest = self.plan.clients.iter().all(|c| c.manner == Manner::Honest);
        let all_answered = honest && run.answers == run.jobs;
        let undisturbed = self.plan.faults.is_empty() && self.world.observer.has_no_retries();
        self.world.observer.conclude(now, all_answered, undisturbed);
        failures.append(&mut self.world.observer.failures);
        failures.extend(self.world.faults.iter().map(|fault| format!("driver: {fault}")));
        run.failures = failures;
        run.hash = self.world.trace.hash();
        run.datagrams = self.world.observer.datagrams;
        run.seconds = now.as_secs_f64();
        run.trace = self.world.trace.into_text();
        run
    }

    fn judge_client(
        &self,
        i: usize,
        c: &ClientPlan,
        finished: Option<(Time, &Result<ethnum::I256, String>)>,
    ) -> Option<String> {
        let deadline = self.deadlines[i];
        let stalls =
            matches!(c.manner, Manner::Stalls(_, length) if length * 2 > self.plan.client_stall);
        match (c.manner, finished) {
            (Manner::Dies(_), _) => None,
            (Manner::Lies(lie), _) => (!self.world.is_opened_and_over(self.cast.clients + i))
                .then(|| format!("liars: AWS keeps client {i}, who lies ({lie:?})")),
            (_, None) => Some(format!("deadline: client {i} has neither answer nor reason")),
            (_, Some((at, _))) if at > deadline => {
                Some(format!("deadline: client {i} waited until {:.3}", at.as_secs_f64()))
            }
            (Manner::FileChanges(_), Some((_, Ok(_)))) if !c.rows.is_empty() => {
                Some(format!("answer: client {i} has an answer though its file changed"))
            }
            (Manner::FileChanges(_), _) => None,
            (_, Some((_, Err(reason)))) if self.plan.mild && !stalls => {
                Some(format!("answer: client {i} has none in mild weather: {reason}"))
            }
            _ => None,
        }
    }
}

/// How long a client's own trouble may keep it.
fn own_time(c: &ClientPlan) -> Duration {
    match c.manner {
        Manner::Dies(after) => after,
        Manner::Stalls(after, length) => after + length,
        Manner::Lies(_) => Duration::from_secs(40),
        _ => Duration::ZERO,
    }
}

fn shelf(rows: Vec<i64>, staged: Staged) -> Shelf {
    match staged {
        Staged::There(slowest) => Shelf { rows: Some(rows), slowest },
        Staged::Absent | Staged::Broken => Shelf::default(),
    }
}

fn befall(world: &mut World<Checkers>, node: usize, fault: Fault) {
    match fault {
        Fault::Crash { at: Ok(at), back } => world.stop(moment(at), node, back),
        Fault::Crash { at: Err(datagrams), back } => world.stop_after(node, datagrams, back),
        Fault::Cut { at, length, one_way } => {
            let (a, b) = if one_way == Some(false) { (node, 0) } else { (0, node) };
            let (from, until) = (moment(at), moment(at + length));
            world.cut(Cut { a, b, from, until, both: one_way.is_none() });
        }
        Fault::Freeze { at, length } => world.freeze(moment(at), node, length),
    }
}

fn enter(world: &mut World<Checkers>, i: usize, c: &ClientPlan, key: Option<[u8; 32]>) {
    let addr = SocketAddr::from(([10, 0, 2, i as u8], 40_000));
    let start = moment(c.start);
    let node = world.add(&format!("client{i}"), addr, start, client_factory(c, key));
    let broken_from = match c.manner {
        Manner::FileChanges(row) => Some(row),
        _ => None,
    };
    world.set_file(node, File { rows: c.rows.clone(), block_rows: c.block_rows, broken_from });
    world.connect(start + Duration::from_micros(10), node, 0, c.wire.clone());
    match c.manner {
        Manner::Dies(after) => world.stop(start + after, node, None),
        Manner::Stalls(after, length) => world.freeze(start + after, node, length),
        _ => {}
    }
}

fn aws_factory(plan: &Plan) -> Factory {
    let peer = |i| aws::Peer { name: backend_name(i), addr: backend_addr(i) };
    let settings = aws::Settings {
        backends: (0..plan.weather.len()).map(peer).collect(),
        tcp_port: AWS_PORTS.0,
        udp_port: AWS_PORTS.1,
        transcript: Transcript::Tables,
        restart_wait: plan.restart_wait,
        client_stall: plan.client_stall,
        datagram_bytes: plan.datagram_bytes,
        loopback: plan.loopback,
        ring_bytes: plan.ring_bytes,
        key: plan.key,
        reductions: Registry::course(),
    };
    Box::new(move |_, rng| Box::new(aws::Aws::new(settings.clone(), rng)))
}

fn backend_factory(plan: &Plan, i: usize) -> Factory {
    let settings = backend::Settings {
        name: backend_name(i),
        shard: i as u32,
        port: 21_319,
        aws: aws_addr(),
        credit_bytes: plan.credit_bytes,
        key: plan.key,
        reductions: Registry::course(),
        dataset: (plan.staged[i] != Staged::Absent).then_some(DATASET),
        keeps: plan.checkpoint,
    };
    Box::new(move |_, rng| Box::new(backend::Backend::new(settings.clone(), rng)))
}

fn client_factory(c: &ClientPlan, key: Option<[u8; 32]>) -> Factory {
    let (manner, rows, function) = (c.manner, c.rows.clone(), c.function.name().to_owned());
    let dataset = c.is_dataset.then_some(DATASET);
    Box::new(move |now, rng| -> Box<dyn Machine> {
        if let Manner::Lies(lie) = manner {
            return Box::new(Liar::new(lie, function.clone(), rows.clone(), rng));
        }
        let settings = client::Settings {
            function: function.clone(),
            count: rows.len() as u64,
            dataset,
            key,
            silence: AWS_SILENCE,
        };
        Box::new(client::Client::new(now, settings, rng))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reduction::Function;
    use crate::sim::link::Weather;
    use crate::sim::pipe::Wire;

    /// A client and three backends in fair weather, all of which have the dataset.
    fn plan(faults: Vec<(usize, Fault)>) -> Plan {
        let rows = (0..1000).map(|n| n * n - 77).collect();
        let wire = Wire {
            delay: Duration::from_micros(50),
            jitter: Duration::ZERO,
            window_bytes: 1 << 16,
            piece_bytes: 1 << 10,
        };
        let client = ClientPlan {
            start: Duration::from_millis(1),
            function: Function::Sos,
            rows,
            manner: Manner::Honest,
            wire,
            block_rows: 1,
            is_dataset: true,
        };
        Plan {
            mild: true,
            weather: vec![[Weather::fair(), Weather::fair()]; 3],
            faults,
            clients: vec![client],
            datagram_bytes: 1472,
            ring_bytes: 1 << 20,
            credit_bytes: 1 << 20,
            key: None,
            restart_wait: Duration::from_secs(10),
            client_stall: Duration::from_secs(10),
            loopback: true,
            checkpoint: false,
            staged: vec![Staged::There(Duration::from_secs(2)); 3],
            spoofs: Vec::new(),
        }
    }

    /// Numbers that are sent, with backends that are checkpointed.
    fn checkpointed(faults: Vec<(usize, Fault)>) -> Plan {
        let mut plan = plan(faults);
        plan.clients[0].is_dataset = false;
        (plan.checkpoint, plan.datagram_bytes, plan.credit_bytes) = (true, 256, 2048);
        plan
    }

    #[test]
    fn a_backend_that_comes_back_goes_on_where_its_checkpoint_is() {
        let mut resumed = 0;
        for datagrams in 1..20 {
            for seed in 0..10 {
                let back = Some(Duration::from_millis(50));
                let dies = (1, Fault::Crash { at: Err(datagrams), back });
                let plan = checkpointed(vec![dies]);
                let run = Stage::new(plan, Rng::from_seed(seed), Trace::new(true)).play();
                let failures = &run.failures;
                assert!(failures.is_empty(), "{datagrams} {seed}: {failures:?}\n{}", run.trace);
                assert_eq!(run.answers, 1);
                let from = |line: &str| line.contains("Accept {") && !line.contains("from: 0 }");
                resumed += usize::from(run.trace.lines().any(from));
            }
        }
        assert!(resumed > 20, "{resumed}");
    }

    fn played(faults: Vec<(usize, Fault)>, seed: u64) -> Run {
        Stage::new(plan(faults), Rng::from_seed(seed), Trace::new(true)).play()
    }

    #[test]
    fn rows_of_a_backend_that_dies_for_ever_are_done_by_a_live_one() {
        // It dies with each datagram that could reach it: OPEN ROWS, the first PING, any later one, DONE.
        for datagrams in 1..12 {
            for seed in 0..5 {
                let dies = |i| (i, Fault::Crash { at: Err(datagrams), back: None });
                for faults in [vec![dies(1)], vec![dies(0), dies(1)], vec![dies(2), dies(0)]] {
                    let run = played(faults.clone(), seed);
                    assert!(
                        run.failures.is_empty(),
                        "{faults:?} {seed}: {:?}\n{}",
                        run.failures,
                        run.trace
                    );
                    assert_eq!(run.answers, 1);
                    assert!(!run.trace.contains("DATA"), "no numbers travel");
                }
            }
        }
    }

    #[test]
    fn where_all_are_dead_the_error_names_all() {
        let dies = |i| (i, Fault::Crash { at: Err(3), back: None });
        let mut dead = plan(vec![dies(0), dies(1), dies(2)]);
        dead.mild = false;
        let run = Stage::new(dead, Rng::from_seed(1), Trace::new(true)).play();
        assert_eq!((run.answers, run.errors), (0, 1));
        let last = run.trace.lines().rfind(|line| line.contains("Finished(Err(")).unwrap();
        for part in ["no backend is left", "Backend-Server A", "Backend-Server B", "Backend-Server C"] {
            assert!(last.contains(part), "{last}");
        }
    }
}
