//! Merge sort: one worker hands out chunks and merges what comes back, the others sort.

use super::{Needs, number, sum_up};
use crate::id::Worker;
use crate::proto::work::{Context, Outcome, Task};
use bytemuck::{Pod, Zeroable};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The one that hands out and merges.
const COORDINATOR: Worker = Worker(0);
/// Chunks that a worker has at once: one that it sorts, and one on its way.
const AT_ONCE: u64 = 2;
/// Records that are merged in a step.
const MERGED_AT_ONCE: usize = 1 << 17;

#[derive(Debug)]
pub struct MergeSort {
    pub records: usize,
    pub chunk: usize,
}

/// The state is this, then at the coordinator a word for each chunk (how much of it is merged), a word for each
/// worker (chunks that it has), and the records, chunk by chunk.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Head {
    /// Chunks that were handed out; that came back, or that a sorter has sorted.
    handed: u64,
    sorted: u64,
    /// Records that are merged, and their sum.
    merged: u64,
    sum: u64,
    said: u64,
    /// The sorters know that there are no more chunks; a sorter does.
    told: u64,
}

fn chunks(records: usize, chunk: usize) -> usize {
    records.div_ceil(chunk)
}

pub fn needs(records: usize, chunk: usize) -> Needs {
    let words = chunks(records, chunk) + crate::limits::MAX_WORKERS + records;
    let message = 8 * (chunk.min(records) + 1);
    Needs {
        state_bytes: size_of::<Head>() + 8 * words,
        step: (message, crate::limits::MAX_WORKERS),
        log_bytes: 24 * (message + 64) + (1 << 16),
    }
}

impl MergeSort {
    fn coordinate(&self, cx: &mut Context<'_>) -> Outcome {
        let (workers, count) = (cx.workers(), chunks(self.records, self.chunk));
        let mut arrived = None;
        for from in (1..workers).map(Worker) {
            if let Some(message) = cx.receive(from) {
                arrived = Some((from, message));
                break;
            }
        }
        let (head, words) = cx.parts::<Head, u64>();
        let (cursors, rest) = words.split_at_mut(count);
        let (has, records) = rest.split_at_mut(crate::limits::MAX_WORKERS);
        let records = &mut records[..self.records];
        if let Some((from, message)) = arrived {
            let sorted: Vec<u64> = bytemuck::pod_collect_to_vec(&message);
            let at = sorted[0] as usize * self.chunk;
            records[at..at + sorted.len() - 1].copy_from_slice(&sorted[1..]);
            head.sorted += 1;
            has[usize::from(from.0)] -= 1;
            return Outcome::Again;
        }
        let idle = (1..workers).find(|to| has[usize::from(*to)] < AT_ONCE);
        if let Some(to) = idle.filter(|_| (head.handed as usize) < count) {
            let index = head.handed;
            head.handed += 1;
            has[usize::from(to)] += 1;
            let first = index as usize * self.chunk;
            let range = first..(first + self.chunk).min(self.records);
            let message: Vec<u64> =
                std::iter::once(index).chain(range.map(|record| number(record as u64))).collect();
            cx.send(Worker(to), bytemuck::cast_slice(&message).to_vec());
            return Outcome::Again;
        }
        if (head.sorted as usize) < count {
            return Outcome::Wait;
        }
        if head.told == 0 {
            head.told = 1;
            // An empty message: there is no more.
            (1..workers).for_each(|to| cx.send(Worker(to), Vec::new()));
            return Outcome::Again;
        }
        if (head.merged as usize) < self.records {
            self.merge(head, cursors, records);
            return Outcome::Again;
        }
        if head.said == 0 {
            head.said = 1;
            let said = format!("records {} sum {:016x}", head.merged, head.sum);
            cx.output(said.into_bytes());
        }
        Outcome::Done
    }

    fn merge(&self, head: &mut Head, cursors: &mut [u64], records: &[u64]) {
        let run =
            |index: usize| &records[index * self.chunk..((index + 1) * self.chunk).min(self.records)];
        let next = |index: usize, cursor: u64| run(index).get(cursor as usize).copied();
        let waiting = cursors.iter().enumerate();
        let mut heap: BinaryHeap<Reverse<(u64, usize)>> = waiting
            .filter_map(|(index, cursor)| next(index, *cursor).map(|value| Reverse((value, index))))
            .collect();
        for _ in 0..MERGED_AT_ONCE {
            let Some(Reverse((value, index))) = heap.pop() else { return };
            cursors[index] += 1;
            head.merged += 1;
            head.sum = sum_up(head.sum, value);
            heap.extend(next(index, cursors[index]).map(|value| Reverse((value, index))));
        }
    }

    fn sort(&self, cx: &mut Context<'_>) -> Outcome {
        let (head, _) = cx.parts::<Head, u64>();
        if head.told == 1 {
            return Outcome::Done;
        }
        let Some(message) = cx.receive(COORDINATOR) else { return Outcome::Wait };
        let (head, _) = cx.parts::<Head, u64>();
        if message.is_empty() {
            head.told = 1;
            return Outcome::Again;
        }
        head.sorted += 1;
        let mut records: Vec<u64> = bytemuck::pod_collect_to_vec(&message);
        records[1..].sort_unstable();
        cx.send(COORDINATOR, bytemuck::cast_slice(&records).to_vec());
        Outcome::Again
    }
}

impl Task for MergeSort {
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        if cx.me() == COORDINATOR { self.coordinate(cx) } else { self.sort(cx) }
    }

    fn progress(&self, state: &[u8]) -> u16 {
        let head: &Head = bytemuck::from_bytes(&state[..size_of::<Head>()]);
        let count = chunks(self.records, self.chunk) as u64;
        // Sorting and merging are about half of it each, at the one that sees both.
        ((500 * head.sorted / count) + 500 * head.merged / self.records as u64) as u16
    }
}

pub fn alone(records: usize, workers: u16) -> Vec<String> {
    let mut all: Vec<u64> = (0..records as u64).map(number).collect();
    all.sort_unstable();
    let sum = all.iter().fold(0, |sum, record| sum_up(sum, *record));
    let others = (1..workers).map(|_| String::new());
    std::iter::once(format!("records {records} sum {sum:016x}")).chain(others).collect()
}
