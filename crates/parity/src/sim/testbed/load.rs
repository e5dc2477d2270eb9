//! The task of a testbed: it computes for a while, writes pages as it does, sends, and waits for what others send.
//!
//! The lesson: a page of its state stands for many, so that a state of gigabytes is a megabyte here, and yet every
//! checkpoint, parity and recovery is of real bytes. At its end a worker says a sum over all that it has heard and
//! all its pages: what a wrong recovery would change.
//!
//! Pages are written in turn, each once, over the working set and then again from its begin. The message log,
//! which really lies in the ledger's pages, is there only for what the protocol needs; its bytes are modelled by
//! pages behind the state that are written as messages are sent.

use crate::id::Worker;
use crate::limits::PAGE_BYTES;
use crate::proto::work::{Context, Outcome, Task};
use bytemuck::{Pod, Zeroable};
use std::time::Duration;

/// Who sends to whom, at the end of each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Nobody.
    None,
    /// Each to the next, the last to the first.
    Ring,
    /// Each to all others.
    All,
    /// All to the first, and the first to all.
    First,
}

/// What every worker does.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub workers: u16,
    pub pattern: Pattern,
    /// Messages to each partner, and how long is computed for each.
    pub rounds: u64,
    pub round_ns: u64,
    pub message_bytes: u64,
    pub written_bytes_per_s: u64,
    /// Bytes that a page of the state stands for.
    pub page_bytes: u64,
    /// Pages of the working set.
    pub working_pages: u32,
    /// Pages of the message log; 0 where the mode has none.
    pub log_pages: u32,
}

/// The first page of the state.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Head {
    worked_ns: u64,
    round: u64,
    /// Messages heard in this round, and sent in all.
    heard: u64,
    sent: u64,
    sum: u64,
    is_said: u64,
}

const PAGE_WORDS: usize = PAGE_BYTES / 8;
const HEAD_WORDS: usize = size_of::<Head>() / 8;
/// Bytes of a message as it is here.
pub(super) const WORD_BYTES: usize = 8;

/// A step that takes so long.
pub(super) struct Step<'a> {
    pub load: &'a Load,
    pub elapsed: Duration,
    /// What it has come to: how long was computed, and whether that is all.
    pub worked: Duration,
    pub finished: bool,
}

impl Load {
    /// Bytes of its state here.
    pub fn state_bytes(&self) -> usize {
        (1 + self.working_pages as usize + self.log_pages as usize) * PAGE_BYTES
    }

    /// How long a worker with this state has computed.
    pub fn worked(&self, state: &[u8]) -> Duration {
        Duration::from_nanos(head(state).worked_ns)
    }

    /// How long it computes before it sends or waits.
    pub fn remaining(&self, state: &[u8]) -> Duration {
        let head = head(state);
        Duration::from_nanos(self.end_of(head.round).saturating_sub(head.worked_ns))
    }

    fn end_of(&self, round: u64) -> u64 {
        (round + 1).min(self.rounds) * self.round_ns
    }

    /// Who sends to this one, in the order in which they are heard.
    fn senders(&self, me: Worker) -> impl Iterator<Item = Worker> + use<> {
        let (workers, pattern) = (self.workers, self.pattern);
        let sends = move |from: Worker, to: Worker| match pattern {
            Pattern::None => false,
            Pattern::Ring => (from.0 + 1) % workers == to.0,
            Pattern::All => true,
            Pattern::First => from.0 == 0 || to.0 == 0,
        };
        (0..workers).map(Worker).filter(move |from| *from != me && sends(*from, me))
    }

    /// To whom this one sends.
    pub fn receivers(&self, me: Worker) -> Vec<Worker> {
        let all = (0..self.workers).map(Worker);
        all.filter(|to| self.senders(*to).any(|from| from == me)).collect()
    }

    fn written(&self, worked_ns: u64) -> u64 {
        let bytes = u128::from(worked_ns) * u128::from(self.written_bytes_per_s) / 1_000_000_000;
        (bytes / u128::from(self.page_bytes)) as u64
    }

    fn logged(&self, sent: u64) -> u64 {
        (u128::from(sent) * u128::from(self.message_bytes) / u128::from(self.page_bytes)) as u64
    }

    /// The pages from `first`, so many, are written in turn; of all ever written these are `from..to`.
    fn sweep(words: &mut [u64], first: u32, pages: u32, from: u64, to: u64) {
        let pages = u64::from(pages);
        if pages == 0 {
            return;
        }
        for count in from.max(to.saturating_sub(pages))..to {
            let page = 1 + first as usize + (count % pages) as usize;
            words[page * PAGE_WORDS - HEAD_WORDS] = count + 1;
        }
    }

    /// What each worker says at its end.
    pub fn expected(&self) -> Vec<Vec<u8>> {
        let mut sums = vec![0; usize::from(self.workers)];
        for round in 0..self.rounds {
            let said: Vec<u64> = (0..).zip(&sums).map(|(me, sum)| word(round, me, *sum)).collect();
            for (me, sum) in (0..).map(Worker).zip(&mut sums) {
                *sum = self.senders(me).fold(*sum, |sum, from| mix(sum, said[usize::from(from.0)]));
            }
        }
        let mut words = vec![0; self.state_bytes() / 8 - HEAD_WORDS];
        let written = self.written(self.rounds * self.round_ns);
        Self::sweep(&mut words, 0, self.working_pages, 0, written);
        let answer = |(me, sum): (u16, &u64)| {
            let mut words = words.clone();
            let sent = self.rounds * self.receivers(Worker(me)).len() as u64;
            Self::sweep(&mut words, self.working_pages, self.log_pages, 0, self.logged(sent));
            self.answer(*sum, &words)
        };
        (0..).zip(&sums).map(answer).collect()
    }

    fn answer(&self, sum: u64, words: &[u64]) -> Vec<u8> {
        let stamps = (1..=(self.working_pages + self.log_pages) as usize)
            .map(|page| words[page * PAGE_WORDS - HEAD_WORDS]);
        stamps.fold(sum, mix).to_le_bytes().to_vec()
    }
}

fn head(state: &[u8]) -> Head {
    bytemuck::pod_read_unaligned(&state[..size_of::<Head>()])
}

fn word(round: u64, from: u16, sum: u64) -> u64 {
    mix(mix(round, u64::from(from)), sum)
}

/// Different for every order of what is mixed.
fn mix(a: u64, b: u64) -> u64 {
    (a.rotate_left(7) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Step<'_> {
    /// Computes; at the end of the round, sends.
    fn compute(&mut self, cx: &mut Context<'_>) {
        let (load, me) = (self.load, cx.me());
        let receivers = load.receivers(me);
        let (head, words) = cx.parts::<Head, u64>();
        let end = load.end_of(head.round);
        let from = head.worked_ns;
        head.worked_ns = end.min(from + self.elapsed.as_nanos() as u64);
        let (written, now) = (load.written(from), load.written(head.worked_ns));
        Load::sweep(words, 0, load.working_pages, written, now);
        if head.worked_ns == end {
            let sent = head.sent;
            head.sent += receivers.len() as u64;
            let (logged, now) = (load.logged(sent), load.logged(head.sent));
            Load::sweep(words, load.working_pages, load.log_pages, logged, now);
            let word = word(head.round, me.0, head.sum).to_le_bytes();
            receivers.into_iter().for_each(|to| cx.send(to, word.to_vec()));
        }
    }

    /// Hears what is there; false where that is nothing.
    fn hear(&mut self, cx: &mut Context<'_>) -> bool {
        let me = cx.me();
        let heard = cx.parts::<Head, u64>().0.heard;
        let mut any = false;
        for from in self.load.senders(me).skip(heard as usize) {
            let Some(message) = cx.receive(from) else { return any };
            let mut bytes = [0; WORD_BYTES];
            bytes.copy_from_slice(&message[..WORD_BYTES]);
            let (head, _) = cx.parts::<Head, u64>();
            head.sum = mix(head.sum, u64::from_le_bytes(bytes));
            head.heard += 1;
            any = true;
        }
        let (head, _) = cx.parts::<Head, u64>();
        (head.round, head.heard) = (head.round + 1, 0);
        true
    }
}

impl Task for Step<'_> {
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let load = self.load;
        let head = *cx.parts::<Head, u64>().0;
        self.worked = Duration::from_nanos(head.worked_ns);
        if head.round >= load.rounds {
            self.finished = true;
            let (head, words) = cx.parts::<Head, u64>();
            if head.is_said == 0 {
                head.is_said = 1;
                let answer = load.answer(head.sum, words);
                cx.output(answer);
            }
            return Outcome::Done;
        }
        if head.worked_ns < load.end_of(head.round) {
            self.compute(cx);
            self.worked = Duration::from_nanos(cx.parts::<Head, u64>().0.worked_ns);
            return Outcome::Again;
        }
        if self.hear(cx) { Outcome::Again } else { Outcome::Wait }
    }
}
