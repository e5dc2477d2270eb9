//! Offload a reduction over integers to a front end that maps it over UDP backends, exactly.

pub mod config;
pub mod event;
pub mod io;
pub mod limits;
pub mod numbers;
pub mod proto;
pub mod reduction;
pub mod rng;
pub mod screen;
pub mod shard;
pub mod sim;
pub mod time;
pub mod wire;
