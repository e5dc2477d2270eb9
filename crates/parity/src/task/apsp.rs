//! All pairs' shortest paths: in turn, each node's row goes to all, who see whether the way by it is shorter.

use super::{Needs, number, sum_up};
use crate::id::Worker;
use crate::proto::work::{Context, Outcome, Task};
use bytemuck::{Pod, Zeroable};

/// No way: twice this is no overflow.
const FAR: u64 = u64::MAX / 4;

#[derive(Debug)]
pub struct Apsp {
    pub vertices: usize,
}

/// The state is this, then the worker's rows.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Head {
    /// 1 once the rows are there.
    begun: u64,
    /// The node by which ways are tried next.
    by: u64,
    said: u64,
}

fn rows(vertices: usize, workers: u16, me: u16) -> usize {
    (vertices + usize::from(workers) - 1 - usize::from(me)) / usize::from(workers)
}

pub fn needs(vertices: usize, workers: u16) -> Needs {
    let row = 8 * vertices;
    let others = usize::from(workers) - 1;
    let state_bytes = size_of::<Head>() + rows(vertices, workers, 0) * row;
    let step = (others * row, others.max(1));
    Needs { state_bytes, step, log_bytes: (64 * others * (row + 64)).max(1 << 16) }
}

/// The length of the way from one node straight to another: about one of eight have one.
fn way(vertices: usize, from: usize, to: usize) -> u64 {
    let chance = number((from * vertices + to) as u64);
    match chance % 8 {
        _ if from == to => 0,
        // A ring, so that all can be reached.
        _ if to == (from + 1) % vertices => 1000 + chance / 8 % 1000,
        0 => 1 + chance / 8 % 1000,
        _ => FAR,
    }
}

/// Tries the ways by a node whose row this is.
fn relax(row: &mut [u64], by: usize, through: &[u64]) {
    let first = row[by];
    for (known, rest) in row.iter_mut().zip(through) {
        *known = (*known).min(first + rest);
    }
}

impl Task for Apsp {
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let (me, workers, vertices) = (cx.me(), cx.workers(), self.vertices);
        let mine = rows(vertices, workers, me.0);
        let (head, rows) = cx.parts::<Head, u64>();
        let rows = &mut rows[..mine * vertices];
        if head.begun == 0 {
            for (i, row) in rows.chunks_mut(vertices).enumerate() {
                let from = usize::from(me.0) + i * usize::from(workers);
                row.iter_mut().enumerate().for_each(|(to, length)| *length = way(vertices, from, to));
            }
            head.begun = 1;
            return Outcome::Again;
        }
        let by = head.by as usize;
        if by == vertices {
            if head.said == 0 {
                head.said = 1;
                let sum = rows.iter().fold(0, |sum, length| sum_up(sum, *length));
                cx.output(format!("rows {mine} sum {sum:016x}").into_bytes());
            }
            return Outcome::Done;
        }
        let owner = Worker((by % usize::from(workers)) as u16);
        if owner == me {
            let at = by / usize::from(workers) * vertices;
            let through = rows[at..at + vertices].to_vec();
            rows.chunks_mut(vertices).for_each(|row| relax(row, by, &through));
            head.by += 1;
            for other in (0..workers).map(Worker).filter(|other| *other != me) {
                cx.send(other, bytemuck::cast_slice(&through).to_vec());
            }
            return Outcome::Again;
        }
        let Some(message) = cx.receive(owner) else { return Outcome::Wait };
        let through: Vec<u64> = bytemuck::pod_collect_to_vec(&message);
        let (head, rows) = cx.parts::<Head, u64>();
        rows[..mine * vertices].chunks_mut(vertices).for_each(|row| relax(row, by, &through));
        head.by += 1;
        Outcome::Again
    }

    fn progress(&self, state: &[u8]) -> u16 {
        let head: &Head = bytemuck::from_bytes(&state[..size_of::<Head>()]);
        (1000 * head.by / self.vertices as u64) as u16
    }
}

pub fn alone(vertices: usize, workers: u16) -> Vec<String> {
    let all = 0..vertices;
    let mut rows: Vec<Vec<u64>> =
        all.clone().map(|from| all.clone().map(|to| way(vertices, from, to)).collect()).collect();
    for by in all {
        let through = rows[by].clone();
        rows.iter_mut().for_each(|row| relax(row, by, &through));
    }
    let said = |me: u16| {
        let mine = rows.iter().skip(usize::from(me)).step_by(usize::from(workers));
        let sum = mine.clone().flatten().fold(0, |sum, length| sum_up(sum, *length));
        format!("rows {} sum {sum:016x}", mine.count())
    };
    (0..workers).map(said).collect()
}
