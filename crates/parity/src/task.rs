//! The paper's three applications, as tasks over an arena.
//!
//! Each has its input from a generator, so that nobody needs files, and says at its end what can be compared
//! with a plain run of one process ([`Kind::alone`]): sums over all of the result, in an order that does not
//! depend on who was when.

mod apsp;
mod matmul;
mod mergesort;

use crate::id::Worker;
use crate::limits::{MAX_RECORDS, MAX_SIDE};
use crate::proto::work::Task;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that can be run by [`run::run`](crate::run::run): one of the three here, or one's own. It travels to the
/// members as JSON.
pub trait Application: Clone + Serialize + DeserializeOwned {
    /// Can so many workers do it?
    ///
    /// # Errors
    /// No, and how many can.
    fn check(&self, _workers: u16) -> Result<(), String> {
        Ok(())
    }

    /// What each worker needs, where there are so many.
    fn needs(&self, workers: u16) -> Needs;

    /// It, to be run by a worker.
    fn task(&self) -> Box<dyn Task>;
}

/// Which application, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Worker 0 hands out chunks, the others sort them, worker 0 merges.
    MergeSort {
        /// Numbers to sort.
        records: usize,
        /// Numbers that are sorted at once.
        chunk: usize,
    },
    /// Cannon's algorithm on a square grid of workers, with numbers of 64 bits.
    MatMul {
        /// Rows, and columns, of the matrices.
        size: usize,
    },
    /// All pairs' shortest paths by Floyd and Warshall, rows dealt to the workers in turn.
    Apsp {
        /// Nodes of the graph.
        vertices: usize,
    },
}

/// What a run needs to know of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of a worker's state.
    pub state_bytes: usize,
    /// Bytes and number of the messages that a step sends at most.
    pub step: (usize, usize),
    /// Bytes of the message log with which no step waits long.
    pub log_bytes: usize,
}

impl Application for Kind {
    fn check(&self, workers: u16) -> Result<(), String> {
        match *self {
            Kind::MergeSort { .. } if workers < 2 => {
                Err("mergesort needs 2 workers or more: one that merges, and others that sort".into())
            }
            Kind::MatMul { .. } if workers.isqrt().pow(2) != workers => {
                Err(format!("matmul needs a square number of workers (1, 4, 9, 16), not {workers}"))
            }
            Kind::MergeSort { records: 0, .. }
            | Kind::MatMul { size: 0 }
            | Kind::Apsp { vertices: 0 } => Err("there is nothing to do: the size is 0".into()),
            Kind::MergeSort { chunk: 0, .. } => Err("there is nothing in a chunk".into()),
            Kind::MergeSort { records, .. } if records > MAX_RECORDS => {
                Err(format!("{MAX_RECORDS} numbers can be sorted at most, not {records}"))
            }
            Kind::MatMul { size: side } | Kind::Apsp { vertices: side } if side > MAX_SIDE => {
                Err(format!("a matrix has {MAX_SIDE} rows at most, not {side}"))
            }
            _ => Ok(()),
        }
    }

    fn needs(&self, workers: u16) -> Needs {
        match *self {
            Kind::MergeSort { records, chunk } => mergesort::needs(records, chunk),
            Kind::MatMul { size } => matmul::needs(size, workers),
            Kind::Apsp { vertices } => apsp::needs(vertices, workers),
        }
    }

    fn task(&self) -> Box<dyn Task> {
        match *self {
            Kind::MergeSort { records, chunk } => Box::new(mergesort::MergeSort { records, chunk }),
            Kind::MatMul { size } => Box::new(matmul::MatMul { size }),
            Kind::Apsp { vertices } => Box::new(apsp::Apsp { vertices }),
        }
    }
}

impl Kind {
    /// What each worker says at its end, by a plain run of one process.
    pub fn alone(&self, workers: u16) -> Vec<String> {
        (0..workers)
            .map(Worker)
            .zip(match *self {
                Kind::MergeSort { records, .. } => mergesort::alone(records, workers),
                Kind::MatMul { size } => matmul::alone(size, workers),
                Kind::Apsp { vertices } => apsp::alone(vertices, workers),
            })
            .map(|(_, said)| said)
            .collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::MergeSort { records, chunk } => {
                write!(f, "mergesort of {records} in chunks of {chunk}")
            }
            Kind::MatMul { size } => write!(f, "matmul of {size} x {size}"),
            Kind::Apsp { vertices } => write!(f, "apsp of {vertices} nodes"),
        }
    }
}

/// A number that looks random and depends on nothing but its index (SplitMix64).
fn number(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A sum in which every value and its place matter.
fn sum_up(sum: u64, value: u64) -> u64 {
    (sum.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95)
}

#[cfg(test)]
mod tests;
