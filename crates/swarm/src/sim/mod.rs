//! The simulator: a whole swarm on virtual time, from a seed.
//!
//! The sessions are the ones that run on real sockets; only the driver is another. A [`world`] has hosts
//! with uplinks, downlinks and disks, and a [`tracker`]; blocks are symbols that say whether they are sound.
//! A seed decides who takes part, who lies and what breaks ([`plan`]); the [`checkers`] say what must hold,
//! and [`run()`] plays one. A seed that fails is a bug report: it is printed with the command that plays it
//! again, message by message. The same world without faults measures makespans up to ten thousand peers
//! (`examples/growth.rs`). What is left out: the bytes themselves, packets (a connection is a stream that
//! is served a block at a time), disks that fill up (a driver then ends with a named error, and a crash
//! stands for that), and several torrents in one process.

pub mod actor;
pub mod checkers;
pub mod disk;
pub mod liar;
mod link;
pub mod plan;
mod queue;
mod run;
pub mod tracker;
pub mod world;

pub use run::{Run, run, run_with};
