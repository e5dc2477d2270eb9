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

impl Talk {
    /// Bytes of its state, where there are so many workers.
    pub fn state_bytes(workers: usize) -> usize {
        8 + 3 * 8 * workers
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

impl Task for Talk {
    /// The state is a word, 1 once all is said, and three for each worker: messages sent to it, messages heard of
    /// it, and their sum.
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let (me, workers) = (cx.me(), cx.workers());
        let others = (0..workers).map(Worker).filter(|other| *other != me);
        let mut finished = true;
        for other in others.clone() {
            let at = 3 * usize::from(other.0);
            let (_, words) = cx.parts::<u64, u64>();
            let (sent, heard, sum) = (words[at], words[at + 1], words[at + 2]);
            // One ahead of what was heard, so that one is in transit each way.
            if sent < self.messages && sent <= heard {
                words[at] = sent + 1;
                cx.send(other, word(sent + 1, me.0, sum).to_le_bytes().to_vec());
                return Outcome::Again;
            }
            if let Some(message) = cx.receive(other) {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&message[..8]);
                let (_, words) = cx.parts::<u64, u64>();
                words[at + 1] = heard + 1;
                words[at + 2] = mix(sum, u64::from_le_bytes(bytes));
                return Outcome::Again;
            }
            finished &= heard >= self.messages && sent >= self.messages;
        }
        if !finished {
            return Outcome::Wait;
        }
        let (is_said, words) = cx.parts::<u64, u64>();
        if *is_said == 0 {
            *is_said = 1;
            let sums = others.flat_map(|other| words[3 * usize::from(other.0) + 2].to_le_bytes());
            let said: Vec<u8> = sums.collect();
            cx.output(said);
        }
        Outcome::Done
    }
}

/// The first worker sends some words to the second, which says at its end what it has heard.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// How many.
    pub messages: u64,
}

impl Words {
    /// What a worker says at its end, had nothing ever failed.
    pub fn expected(&self, me: u16) -> Vec<Vec<u8>> {
        let heard = (1..=self.messages).fold(0, |heard, number| mix(heard, word(number, 0, 0)));
        if me == 1 { vec![heard.to_le_bytes().to_vec()] } else { Vec::new() }
    }
}

impl Task for Words {
    /// The state is how many words were sent or heard, and the sum of those that were heard.
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let (number, _) = cx.parts::<u64, u64>();
        let next = *number + 1;
        if next > self.messages {
            return Outcome::Done;
        }
        *number = next;
        if cx.me() == Worker(0) {
            cx.send(Worker(1), word(next, 0, 0).to_le_bytes().to_vec());
        } else {
            let Some(message) = cx.receive(Worker(0)) else {
                let (number, _) = cx.parts::<u64, u64>();
                *number = next - 1;
                return Outcome::Wait;
            };
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&message[..8]);
            let (_, words) = cx.parts::<u64, u64>();
            words[0] = mix(words[0], u64::from_le_bytes(bytes));
            if next == self.messages {
                let heard = words[0].to_le_bytes().to_vec();
                cx.output(heard);
            }
        }
        if next == self.messages { Outcome::Done } else { Outcome::Again }
    }
}

/// The first worker sends a word to the second, which tells it whether that had come by then: a matter of chance.
/// Both say what was told.
#[derive(Clone, Copy, Debug)]
pub struct Glance;

impl Task for Glance {
    /// The state is a word: 1 once it was sent, 2 once all is said.
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let (stage, _) = cx.parts::<u64, u64>();
        let was = *stage;
        let told = match (cx.me(), was) {
            (_, 2) => return Outcome::Done,
            (Worker(0), 0) => {
                let (stage, _) = cx.parts::<u64, u64>();
                *stage = 1;
                cx.send(Worker(1), vec![1]);
                return Outcome::Again;
            }
            (Worker(0), _) => match cx.receive(Worker(1)) {
                Some(told) => told,
                None => return Outcome::Wait,
            },
            _ => {
                let told = vec![u8::from(cx.receive(Worker(0)).is_some())];
                cx.send(Worker(0), told.clone());
                told
            }
        };
        let (stage, _) = cx.parts::<u64, u64>();
        *stage = 2;
        cx.output(told);
        Outcome::Done
    }
}
