//! Offload a reduction over integers to a front end that maps it over UDP backends, exactly.
//!
//! The data flow on one page: a [`numbers::Source`] is read by threads and encoded as frames
//! ([`wire::frame`]); the client machine ([`proto::client`]) sends them by TCP to AWS
//! ([`proto::aws`]), which cuts the range in shards ([`mod@shard`]) and passes each on by reliable UDP
//! ([`proto::rudp`], [`wire::datagram`]) to a backend ([`proto::backend`]). The backend maps
//! ([`reduction`]), AWS reduces, the client has the answer as a 256-bit integer. Numbers stream: no
//! process holds them all. The machines know no sockets; [`io`] drives them on real ones, [`sim`] on
//! simulated ones. ARCHITECTURE.md says why, PROTOCOL.md shows the bytes.
//!
//! Offload a slice of numbers to the AWS of the course's ports:
//!
//! ```no_run
//! use offload::{config::Config, io::run_client};
//!
//! let numbers: &[i64] = &[3, -1, 4, 1, -5];
//! let config = Config::load(&[])?; // no offload.toml: the assignment's addresses
//! let sum = run_client(&config, "SUM", &numbers, &mut |_event| Ok(()))?;
//! println!("the sum is {sum}");
//! # Ok::<(), offload::io::Error>(())
//! ```
//!
//! Serve a backend that knows one reduction more (AWS must know it too: `run_aws` with the same registry):
//!
//! ```no_run
//! use ethnum::I256;
//! use offload::{config::Config, io::run_backend, reduction::{Reduction, Registry}};
//!
//! struct Xor;
//! impl Reduction for Xor {
//!     fn name(&self) -> &str { "XOR" }
//!     fn identity(&self) -> I256 { I256::ZERO }
//!     fn map(&self, so_far: I256, numbers: &[i64]) -> I256 {
//!         numbers.iter().fold(so_far, |all, &n| all ^ I256::from(n))
//!     }
//!     fn reduce(&self, a: I256, b: I256) -> I256 { a ^ b }
//! }
//! let known = Registry::course().with(Xor);
//! run_backend(&Config::load(&[])?, "A", known, &mut |event| Ok(eprintln!("{event:?}")))?;
//! # Ok::<(), offload::io::Error>(())
//! ```

pub mod config;
pub mod dataset;
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
