//! Members on real sockets: threads that block, and one that decides.
//!
//! The lesson: a link is two threads. One reads frames and hands them to the member's thread, through a queue
//! that is short, so that TCP pushes back; the other writes what it is given, from a queue that never makes
//! the member wait, so that no two members can wait for each other. Tasks step in a thread of their own, and
//! diffs are made in another.
//!
//! Off loopback a key is mandatory, and links are sealed with it.
//!
//! Who has the greater name dials; a link that is lost is dialled again. A link that is silent is lost, as a
//! member that is stopped but not dead says nothing.

mod channel;
mod link;
mod node;
mod outside;

pub use link::ping_period;
pub use node::{Error, Settings, Told, holder, worker};
pub use outside::Outside;
