//! A run: a seed's plan, played and judged.

use super::actor::{Actor, Make, honest};
use super::checkers::Checkers;
use super::liar::Liar;
use super::plan::{HostPlan, Plan};
use super::tracker::Tracker;
use super::world::{Act, Host, Swarm, World};
use crate::bitfield::Bitfield;
use crate::geometry::Geometry;
use crate::limits::MAX_UNASKED_BYTES;
use crate::peer::{Session, Settings, Torrent};
use offload::rng::Rng;
use offload::sim::trace::Trace;
use offload::time::Time;
use std::time::Duration;

/// Happenings of a run that never comes to rest.
const MAX_HAPPENINGS: u64 = 30_000_000;
/// How long the complete stay, so that the last words reach the tracker.
const STAY: Duration = Duration::from_secs(30);
/// Beside what [`MAX_UNASKED_BYTES`] allows it, a liar may spoil so many pieces,
const SPOILT_PIECES: u64 = 4;
/// and send so much of what was asked and called off.
const CALLED_OFF_BYTES: u64 = 1 << 20;
/// Honest hosts make each other receive this in vain, beside a share of the whole (endgame, lost requests).
///
/// Most of it falls to peers without BEP 6 after a partition: the chokes and unchokes of that time arrive in one
/// breath, each drops all requests and asks again, and what was sent meanwhile comes twice (seed 770).
const HONEST_WASTE_BYTES: u64 = 6 << 20;

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// What did not hold; empty where all is well.
    pub failures: Vec<String>,
    /// A hash of all that happened.
    pub hash: u64,
    /// Honest leechers.
    pub leechers: u64,
    /// Those of them that had all they want.
    pub finished: u64,
    /// Liars.
    pub liars: u64,
    /// Things that happened.
    pub happened: u64,
    /// Virtual seconds.
    pub seconds: f64,
    /// The most that one liar made one honest host receive in vain.
    pub liar_waste_bytes: u64,
    /// The most that one honest host received in vain from honest ones.
    pub honest_waste_bytes: u64,
    /// The trace, where one was asked for.
    pub trace: String,
}

/// Plays a seed.
pub fn run(seed: u64, with_trace: bool) -> Run {
    run_with(seed, with_trace, || honest())
}

/// Plays a seed with other players in the honest hosts: to see that a fault shows.
pub fn run_with(seed: u64, with_trace: bool, make: impl Fn() -> Make) -> Run {
    let mut rng = Rng::from_seed(seed);
    let plan = Plan::new(&mut rng);
    Stage::new(plan, rng, Trace::new(with_trace), make).play()
}

struct Stage {
    plan: Plan,
    world: World<Checkers>,
    run: Run,
}

impl Stage {
    fn new(plan: Plan, mut rng: Rng, trace: Trace, make: impl Fn() -> Make) -> Stage {
        let swarm = Swarm {
            geometry: plan.geometry,
            metadata: plan.metadata.clone(),
            private: plan.private,
            link_permille: 1050,
            multicast: plan.multicast,
        };
        let checkers = Checkers::new(plan.private, plan.geometry.pieces());
        let mut tracker = Tracker::new(plan.interval, rng.split());
        tracker.down.clone_from(&plan.tracker_down);
        let mut world = World::new(swarm, tracker, rng, checkers, trace);
        world.seeders = plan.seeders;
        for (i, host) in plan.hosts.iter().enumerate() {
            let seeder = i < plan.seeders;
            world.observer.add(host.lie.is_none(), host.wanted.clone());
            let super_seed = plan.super_seed && seeder;
            world.add(host.start, cast(host, plan.geometry, seeder, super_seed, make()));
        }
        for (at, act) in &plan.acts {
            world.plan(*at, act.clone());
        }
        let run = Run {
            leechers: plan.hosts[plan.seeders..].iter().filter(|h| h.lie.is_none()).count() as u64,
            liars: plan.hosts.iter().filter(|host| host.lie.is_some()).count() as u64,
            ..Run::default()
        };
        Stage { plan, world, run }
    }

    fn play(mut self) -> Run {
        let deadline = self.plan.deadline();
        let mut seeders_live = true;
        while self.world.happened() < MAX_HAPPENINGS && self.world.step(deadline) {
            if self.plan.seeders_die && seeders_live && self.can_do_without_seeders() {
                seeders_live = false;
                for node in 0..self.plan.seeders {
                    let crash = Act::Crash { node, dark: node == 1, back: None };
                    self.world.plan(self.world.now(), crash);
                }
            }
            if self.world.happened().is_multiple_of(256) && self.is_finished() {
                break;
            }
        }
        self.judge();
        self.leave();
        let mut run = self.run;
        run.happened = self.world.happened();
        run.seconds = self.world.now().as_secs_f64();
        run.failures.append(&mut self.world.observer.failures);
        run.hash = self.world.trace.hash();
        run.trace = self.world.trace.into_text();
        run
    }

    fn honest(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.plan.hosts.len()).filter(|node| self.plan.hosts[*node].lie.is_none())
    }

    fn leechers(&self) -> impl Iterator<Item = usize> + '_ {
        self.honest().filter(|node| *node >= self.plan.seeders)
    }

    /// Others hold every piece, and all know the metadata.
    fn can_do_without_seeders(&self) -> bool {
        self.world.is_covered() && self.leechers().all(|node| self.world.knows(node))
    }

    fn is_finished(&self) -> bool {
        self.world.now() > self.plan.calm()
            && self.leechers().all(|node| self.world.finished(node).is_some())
    }

    fn judge(&mut self) {
        let now = self.world.now();
        if self.world.happened() >= MAX_HAPPENINGS {
            self.run.failures.push("rest: the swarm never comes to rest".into());
        }
        let mut union = Bitfield::new(self.plan.geometry.pieces());
        for node in self.honest().filter(|node| self.world.is_alive(*node)) {
            self.world.disk(node).have().iter().for_each(|piece| {
                union.insert(piece);
            });
        }
        let stuck: Vec<usize> = self
            .leechers()
            .filter(|node| self.world.finished(*node).is_none() && self.world.is_alive(*node))
            .filter(|node| !self.plan.hosts[*node].wanted.exceeds(&union))
            .filter(|node| self.world.knows(*node) || self.others_know(*node))
            .collect();
        let stuck: Vec<String> = stuck.into_iter().map(|node| self.why_stuck(node)).collect();
        self.run.failures.extend(stuck);
        let finished = self.leechers().filter(|node| self.world.finished(*node).is_some());
        self.run.finished = finished.count() as u64;
        self.judge_waste(now);
    }

    fn others_know(&self, node: usize) -> bool {
        self.honest().any(|n| n != node && self.world.is_alive(n) && self.world.knows(n))
    }

    fn why_stuck(&self, node: usize) -> String {
        let have = self.world.disk(node).have();
        let lacks: Vec<u32> = self.plan.hosts[node].wanted.without(have).take(8).collect();
        let holders = |piece: u32| {
            self.honest()
                .filter(move |n| self.world.is_alive(*n) && self.world.disk(*n).have().has(piece))
        };
        let holders: Vec<usize> = lacks.first().map(|p| holders(*p).collect()).unwrap_or_default();
        format!(
            "stuck: host {node} ({:?}) has {have:?}, metadata {}, lacks {lacks:?}, the first of which {holders:?} have; \
             it is connected with {:?}, {:?}",
            self.plan.hosts[node].lie,
            self.world.knows(node),
            self.world.peers(node),
            self.world.progress(node),
        )
    }

    fn judge_waste(&mut self, now: Time) {
        let whole = self.plan.geometry.total_bytes();
        let piece = u64::from(self.plan.geometry.piece_bytes());
        let lies = |node: usize| self.plan.hosts[node].lie.is_some();
        // Each crash, reset or partition may make new connections, and each of these has its bound.
        let again = 1 + self.plan.acts.len() as u64;
        for node in (0..self.plan.hosts.len()).filter(|node| !lies(*node)) {
            let honest = self.world.observer.wasted(node, |from| !lies(from));
            self.run.honest_waste_bytes = self.run.honest_waste_bytes.max(honest);
            if honest > (HONEST_WASTE_BYTES + whole / 4) * again {
                let what =
                    format!("waste: host {node} received {honest} bytes from honest ones in vain");
                self.world.observer.fail(now, what);
            }
            for liar in (0..self.plan.hosts.len()).filter(|node| lies(*node)) {
                let wasted = self.world.observer.wasted(node, |from| from == liar);
                self.run.liar_waste_bytes = self.run.liar_waste_bytes.max(wasted);
                if wasted > (MAX_UNASKED_BYTES + CALLED_OFF_BYTES + SPOILT_PIECES * piece) * again {
                    let lie = self.plan.hosts[liar].lie;
                    let what = format!(
                        "waste: host {node} received {wasted} bytes from liar {liar} ({lie:?}) in vain"
                    );
                    self.world.observer.fail(now, what);
                }
            }
        }
    }

    /// All stay a little, say what they owe the tracker, and leave; then nothing may be left to do.
    fn leave(&mut self) {
        let until = self.world.now() + STAY;
        while self.world.happened() < MAX_HAPPENINGS && self.world.step(until) {}
        for node in self.honest().collect::<Vec<_>>() {
            // A tracker that did not answer for a while is told later, or never.
            let owes = self.world.finished(node).is_some() && self.plan.tracker_down.is_empty();
            self.world.observer.conclude(until, node, owes);
        }
        for node in 0..self.plan.hosts.len() {
            self.world.plan(until, Act::Stop(node));
        }
        while self.world.happened() < MAX_HAPPENINGS && self.world.step(until + STAY) {}
        // Timers of processes that have ended go off unheard; anything else would be in the trace.
        let hash = self.world.trace.hash();
        while self.world.happened() < MAX_HAPPENINGS && self.world.step(Time(u64::MAX)) {}
        if self.world.trace.hash() != hash {
            self.run.failures.push("rest: something happens after all have left".into());
        }
    }
}

/// The host that a plan describes.
fn cast(plan: &HostPlan, geometry: Geometry, seeder: bool, super_seed: bool, make: Make) -> Host {
    let pieces = geometry.pieces();
    let make: Make = match plan.lie {
        None => make,
        Some(lie) => Box::new(move |settings: Settings, torrent: Torrent, mut rng: Rng| {
            let own = rng.split();
            let session = Session::new(settings, torrent, own);
            Box::new(Liar::new(session, lie, geometry, rng)) as Box<dyn Actor>
        }),
    };
    Host {
        up: plan.rates.0,
        down: plan.rates.1,
        delay: plan.delay,
        hash_rate: plan.hash_rate,
        upload_slots: 4,
        max_connections: 40,
        super_seed,
        fast: plan.fast,
        have: if seeder { Bitfield::full(pieces) } else { Bitfield::new(pieces) },
        wanted: plan.wanted.clone(),
        magnet: plan.magnet,
        leave: plan.leave,
        honest: plan.lie.is_none(),
        poison: plan.poison,
        make,
    }
}
