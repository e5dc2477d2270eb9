//! What a seed stands for.

use offload::rng::Rng;
use offload_parity::mode::Mode;
use offload_parity::task::Kind;
use std::fmt;
use std::time::Duration;

#[derive(Debug)]
pub struct Plan {
    pub kind: Kind,
    pub mode: Mode,
    pub workers: u16,
    pub failures: usize,
    interval_ms: u64,
    pub kills: Vec<Kill>,
}

/// A random process is killed.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub after: After,
    /// And so long.
    pub pause: Duration,
    /// Who, as a number that says it once it is known who lives.
    pub chance: u64,
}

#[derive(Clone, Copy, Debug)]
pub enum After {
    /// The kill before, or the start.
    Kill,
    /// The last one is known to be dead: it is being started again, and rebuilt.
    Death,
    /// Somebody is rebuilt, or goes back.
    Recovery,
}

impl Plan {
    pub fn from_seed(seed: u64) -> Plan {
        let mut rng = Rng::from_seed(seed);
        let (kind, workers) = match rng.below(3) {
            0 => {
                let records = 300_000 + rng.below(900_000) as usize;
                (Kind::MergeSort { records, chunk: 5_000 }, 2 + rng.below(3))
            }
            1 => (Kind::MatMul { size: 500 + rng.below(400) as usize }, 4),
            _ => (Kind::Apsp { vertices: 400 + rng.below(400) as usize }, 1 + rng.below(4)),
        };
        let mode = if rng.chance(0.2) { Mode::Plank } else { Mode::Offload };
        let failures = if rng.chance(0.3) { 2 } else { 1 };
        let interval_ms = 10 + rng.below(50);
        let kills = (0..1 + rng.below(5)).map(|n| Kill::from_chance(n, &mut rng)).collect();
        Plan { kind, mode, workers: workers as u16, failures, interval_ms, kills }
    }

    pub fn arguments(&self) -> Vec<String> {
        let (name, size, chunk) = match self.kind {
            Kind::MergeSort { records, chunk } => ("mergesort", records, chunk),
            Kind::MatMul { size } => ("matmul", size, 1),
            Kind::Apsp { vertices } => ("apsp", vertices, 1),
        };
        let interval = format!("{}", self.interval_ms as f64 / 1000.0);
        let words = [
            &["parity", "run", name, "--json", "--no-check", "--mode", self.mode.name()][..],
            &["--size", &size.to_string(), "--chunk", &chunk.to_string(), "--interval", &interval],
            &["--workers", &self.workers.to_string(), "--failures", &self.failures.to_string()],
        ];
        words.concat().into_iter().map(str::to_owned).collect()
    }
}

impl Kill {
    fn from_chance(number: u64, rng: &mut Rng) -> Kill {
        let (after, most_ms) = match rng.below(4) {
            _ if number == 0 => (After::Kill, 120),
            // Two in a row.
            0 => (After::Kill, 5),
            1 => (After::Death, 40),
            2 => (After::Recovery, 20),
            _ => (After::Kill, 200),
        };
        let pause = Duration::from_micros(rng.below(1000 * most_ms));
        Kill { after, pause, chance: rng.u64() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offload {}", self.arguments().join(" "))?;
        for kill in &self.kills {
            write!(f, "; {:?} + {:?}", kill.after, kill.pause)?;
        }
        Ok(())
    }
}
