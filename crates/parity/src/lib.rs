//! Diskless checkpoints by N+1 parity, with message logging: processes that finish the job after `kill -9`.
//!
//! The data flow: a task steps over the bytes of an `arena`; its messages pass the `ledger`, which is in the
//! arena too; at a checkpoint the pages that have changed leave as a diff for the holders, who keep the
//! `code` of all workers' states; what a dead one had is computed from the code and the survivors.
//!
//! A task of one's own is an [`Application`](task::Application), whose members are processes of the program itself:
//!
//! ```no_run
//! use offload_parity::proto::work::{Context, Outcome, Task};
//! use offload_parity::run::{self, Orders, Plan};
//! use offload_parity::task::{Application, Needs};
//! # use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Count(u64);
//!
//! impl Application for Count {
//!     fn needs(&self, _workers: u16) -> Needs {
//!         Needs { state_bytes: 8, step: (64, 1), log_bytes: 4096 }
//!     }
//!     fn task(&self) -> Box<dyn Task> {
//!         Box::new(self.clone())
//!     }
//! }
//!
//! impl Task for Count {
//!     fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
//!         // All that is kept is in the state, which is zeros at first.
//!         let (counted, _) = cx.parts::<u64, u64>();
//!         if *counted > self.0 {
//!             return Outcome::Done;
//!         }
//!         *counted += 1;
//!         if *counted > self.0 {
//!             cx.output(b"counted".to_vec());
//!         }
//!         Outcome::Again
//!     }
//! }
//!
//! fn main() -> Result<(), run::Error> {
//!     if let Some(orders) = Orders::<Count>::of_this_process()? {
//!         return run::be(orders);
//!     }
//!     let report = run::run(&Plan::new(Count(1_000_000), 4)?, |_, _| {})?;
//!     println!("{:?}", report.said);
//!     Ok(())
//! }
//! ```
//!
//! `examples/pi.rs` has messages, and a worker that is killed halfway.
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
