//! Where what a backend has had kept outlives its process.
//!
//! What is left out: where that is (`crates/parity`).

use crate::proto::backend::Kept;

/// Keeps how far a backend's jobs are.
pub trait Keeper {
    /// What the backend of before has had kept. It may take a little while to find out; then there is nothing.
    fn kept(&mut self) -> Vec<Kept>;

    /// Keeps this of a job in place of what it has kept of it before. It must not block.
    fn keep(&mut self, job: u128, kept: Option<Kept>);
}
