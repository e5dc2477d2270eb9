//! A small BitTorrent client on this library, for tests and benchmarks.
//!
//! `peer [--port PORT | --listen ADDRESS:PORT] [--seed] [--super-seed] [--upload-limit BYTES]
//! [--download-limit BYTES] [--no-discovery] [--verbose] [--peer ADDRESS:PORT]... TORRENT|MAGNET DIRECTORY`
//!
//! It ends when all is there, with `--seed` when it is told to (SIGINT, SIGTERM).

mod client;

fn main() -> anyhow::Result<()> {
    client::run(std::env::args().skip(1))
}
