//! The simulator.

pub mod link;
pub mod pipe;
pub mod trace;
pub mod world;
