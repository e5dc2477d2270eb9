//! Pi by throwing darts, by four processes of which one is killed halfway: the answer is the same, to the bit.
//!
//! `cargo run --release -p offload-parity --example pi`

use bytemuck::{Pod, Zeroable};
use offload_parity::id::{Member, Worker};
use offload_parity::proto::work::{Context, Outcome, Task};
use offload_parity::run::{self, Error, Kill, Orders, Plan};
use offload_parity::task::{Application, Needs};
use serde::{Deserialize, Serialize};

/// Each worker throws so many darts at a square, and counts those that hit the circle in it.
#[derive(Clone, Serialize, Deserialize)]
struct Pi {
    darts: u64,
}

/// All that a worker knows, zeros at first: where it is, and what its next dart will be.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct State {
    thrown: u64,
    hits: u64,
    random: u64,
    /// Whose hits worker 0 has added to its own.
    added: u64,
}

impl Application for Pi {
    fn needs(&self, _workers: u16) -> Needs {
        Needs { state_bytes: size_of::<State>(), step: (64, 1), log_bytes: 4096 }
    }

    fn task(&self) -> Box<dyn Task> {
        Box::new(self.clone())
    }
}

impl Task for Pi {
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let (me, workers) = (cx.me().0, cx.workers());
        // Worker 0 hears from the others in turn, once it has thrown its own.
        let (State { thrown, added, .. }, _) = cx.parts::<State, u64>();
        let next = Worker(*added as u16 + 1);
        let heard = if *thrown == self.darts && me == 0 { cx.receive(next) } else { None };
        let (state, _) = cx.parts::<State, u64>();
        if let Some(hits) = heard {
            state.hits += bytemuck::pod_read_unaligned::<u64>(&hits);
            state.added += 1;
        } else if state.thrown == self.darts {
            let waits = me == 0 && next.0 < workers;
            return if waits { Outcome::Wait } else { Outcome::Done };
        }
        for _ in 0..(self.darts - state.thrown).min(100_000) {
            let mut coordinate = || {
                state.random =
                    state.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(2 * u64::from(me) + 1);
                u128::from(state.random >> 32)
            };
            state.hits += u64::from(coordinate().pow(2) + coordinate().pow(2) < 1 << 64);
            state.thrown += 1;
        }
        let (thrown, hits, added) = (state.thrown, state.hits, state.added);
        if thrown == self.darts && me != 0 {
            cx.send(Worker(0), hits.to_le_bytes().to_vec());
        } else if thrown == self.darts && added + 1 == u64::from(workers) {
            let pi = 4.0 * hits as f64 / (thrown * u64::from(workers)) as f64;
            cx.output(format!("{hits} hits: pi is {pi}").into_bytes());
        }
        Outcome::Again
    }

    fn progress(&self, state: &[u8]) -> u16 {
        (1000 * bytemuck::from_bytes::<State>(&state[..size_of::<State>()]).thrown / self.darts) as u16
    }
}

fn main() -> Result<(), Error> {
    // The members are processes of this program too.
    if let Some(orders) = Orders::<Pi>::of_this_process()? {
        return run::be(orders);
    }
    let mut plan = Plan::new(Pi { darts: 20_000_000 }, 4)?;
    plan.interval = std::time::Duration::from_millis(50);
    plan.kills = vec![Kill { member: Member::Worker(Worker(2)), at: 500 }];
    let report = run::run(&plan, |at, happened| eprintln!("{at:?} {happened:?}"))?;
    report.said[&Worker(0)].iter().for_each(|said| println!("{said}"));
    Ok(())
}
