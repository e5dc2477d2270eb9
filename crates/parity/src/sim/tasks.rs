//! Small tasks that notice every message that is lost, taken twice or taken out of order.

use crate::id::Worker;
use crate::proto::work::{Context, Outcome, Task};

/// Each worker sends to each other, and all that it hears goes into what it says at its end.
///
/// A message is its number and a sum of all that its sender had heard from its receiver when it sent it: as
/// many as it had sent before. So half of the messages wait for others, and half are in transit at any time.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// Messages to each other worker.
    pub messages: u64,
}

const COUNTERS: usize = 8;

impl Talk {
    /// Bytes of its state, where there are so many workers.
    pub fn state_bytes(workers: usize) -> usize {
        COUNTERS + 3 * 8 * workers
    }

    /// What a worker says at its end, had nothing ever failed.
    pub fn expected(&self, workers: u16, me: u16) -> Vec<u8> {
        let pair = |other: u16| {
            // What the two have heard of each other, turn by turn.
            let (mut mine, mut theirs) = (0, 0);
            for number in 1..=self.messages {
                let (to_them, to_me) = (word(number, me, mine), word(number, other, theirs));
                (mine, theirs) = (mix(mine, to_me), mix(theirs, to_them));
            }
            mine
        };
        (0..workers).filter(|other| *other != me).flat_map(|other| pair(other).to_le_bytes()).collect()
    }
}

fn word(number: u64, from: u16, heard: u64) -> u64 {
    mix(mix(number, u64::from(from)), heard)
}

/// Different for every order of what is mixed.
fn mix(a: u64, b: u64) -> u64 {
    (a.rotate_left(7) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn get(state: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&state[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn set(state: &mut [u8], at: usize, value: u64) {
    state[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

impl Task for Talk {
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let (me, workers) = (cx.me(), cx.workers());
        let others = (0..workers).map(Worker).filter(|other| *other != me);
        let sent_at = |other: Worker| COUNTERS + 24 * usize::from(other.0);
        let mut finished = true;
        for other in others.clone() {
            let at = sent_at(other);
            let (sent, heard, sum) = (get(cx.state, at), get(cx.state, at + 8), get(cx.state, at + 16));
            // One ahead of what was heard, so that one is in transit each way.
            if sent < self.messages && sent <= heard {
                set(cx.state, at, sent + 1);
                cx.send(other, word(sent + 1, me.0, sum).to_le_bytes().to_vec());
                return Outcome::Again;
            }
            if let Some(message) = cx.receive(other) {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&message[..8]);
                set(cx.state, at + 8, heard + 1);
                set(cx.state, at + 16, mix(sum, u64::from_le_bytes(bytes)));
                return Outcome::Again;
            }
            finished &= heard >= self.messages && sent >= self.messages;
        }
        if !finished {
            return Outcome::Wait;
        }
        if get(cx.state, 0) == 0 {
            set(cx.state, 0, 1);
            let sums = others.flat_map(|other| get(cx.state, sent_at(other) + 16).to_le_bytes());
            let said: Vec<u8> = sums.collect();
            cx.output(said);
        }
        Outcome::Done
    }
}
