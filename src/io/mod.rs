//! The real world: sockets, files, threads, the clock, signals. All of it is here and nowhere else.
//!
//! [`roles`] puts a machine, its sockets and its numbers together; `run` drives any machine. What is
//! left out: protocol decisions. The driver does what the machine says.

pub mod console;
pub mod roles;
mod run;
pub mod signal;
mod source;
mod tcp;
mod udp;

pub use roles::{Error, backend_process, places, run_aws, run_backend, run_client, threads};
