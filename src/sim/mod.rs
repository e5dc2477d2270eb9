//! The simulator: whole jobs on virtual time, from a seed.
//!
//! The machines are the ones that the binaries run; only the driver is another. A seed decides who
//! takes part, what the network does to them and when they die ([`plan`]); the [`world`] plays it; the
//! [`checkers`] say what must hold. A seed that fails is a bug report: `make sim` prints how to have it
//! again, message by message. What is left out: sockets, the kernel, and real time (`tests/` have them).

pub mod checkers;
pub mod liar;
pub mod link;
pub mod pipe;
pub mod plan;
mod run;
pub mod trace;
pub mod world;

pub use run::{Run, run};
