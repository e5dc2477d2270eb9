//! Images: packed once, served with one command, staged on many hosts.
//!
//! `pack` and `unpack` are the two ends of an archive, `seal` and `bundle` kinds of it; `store` is where the
//! server keeps them and `pool` where a client does. The server's face is `http` and `tls` below, `routes`,
//! `access`, `catalog`, `monitor` and `page` above; `client` is who talks to it. `serve` and `stage` put all
//! of it together, and `plan` says beforehand whether that is worth it.

pub mod access;
mod archive;
pub mod bundle;
pub mod catalog;
pub mod client;
pub mod http;
pub mod monitor;
pub mod pack;
pub mod page;
pub mod plan;
pub mod pool;
pub mod routes;
pub mod seal;
pub mod serve;
pub mod stage;
pub mod store;
pub mod tls;
pub mod unpack;
