//! The real world: sockets, the screen and the log, threads, the clock, signals.
//!
//! The protocol's is all here. Elsewhere are only `numbers`, which opens the file of integers, counts its
//! rows with threads, and waits by the system's clock until the file's time stamp is old enough; `config`,
//! which opens its file and the key's and resolves names; and `rng`, which asks the system for a seed.
//!
//! [`roles`] puts a machine, its sockets and its numbers together; `run` drives any machine. What is
//! left out: protocol decisions. The driver does what the machine says.

pub mod console;
mod handover;
mod keeper;
mod maps;
pub mod roles;
mod run;
pub mod signal;
mod source;
mod tcp;
mod udp;

pub use handover::{TORRENT, dataset, hand_over_backend, hand_over_client};
pub use keeper::Keeper;
pub use maps::Dataset;
pub use roles::{
    Equipment, Error, backend_process, places, run_aws, run_backend, run_client, run_dataset_client,
    run_equipped_backend, threads,
};
