//! Diskless checkpoints by N+1 parity, with message logging: processes that finish the job after `kill -9`.
//!
//! The data flow: a task steps over the bytes of an `arena`; its messages pass the `ledger`, which is in the
//! arena too; at a checkpoint the pages that have changed leave as a diff for the holders, who keep the
//! `code` of all workers' states; what a dead one had is computed from the code and the survivors.
//!
//! After Ch. D. V. Subba Rao and M. M. Naidu, "Enhanced N+1 Parity Scheme combined with Message Logging".

pub mod arena;
pub mod backends;
pub mod chance;
pub mod code;
pub mod digest;
pub mod id;
pub mod inspect;
pub mod io;
pub mod ledger;
pub mod limits;
pub mod mode;
pub mod overhead;
pub mod proto;
pub mod run;
pub mod sim;
pub mod task;
pub mod timeline;
pub mod wire;
