//! What a tracker knows, to be written down: ages in place of moments, which mean nothing to another process.

use crate::id::InfoHash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::SocketAddr;

/// All that a tracker knows, for its successor. As JSON it is a file that a person can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub(super) torrents: Vec<SavedSwarm>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedSwarm {
    #[serde(serialize_with = "write_digits", deserialize_with = "read_digits")]
    pub(super) info_hash: [u8; 20],
    pub(super) completed: u64,
    pub(super) peers: Vec<SavedPeer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedPeer {
    pub(super) address: SocketAddr,
    #[serde(serialize_with = "write_digits", deserialize_with = "read_digits")]
    pub(super) peer_id: [u8; 20],
    pub(super) key: Option<String>,
    pub(super) left: u64,
    pub(super) uploaded: u64,
    pub(super) downloaded: u64,
    pub(super) since_ms: u64,
    pub(super) silent_ms: u64,
    pub(super) completed: bool,
}

/// Both names of BEP 3 are 20 bytes, and both are written as an info-hash is.
fn write_digits<S: Serializer>(name: &[u8; 20], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&InfoHash(*name))
}

fn read_digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 20], D::Error> {
    let text = String::deserialize(deserializer)?;
    let name: Result<InfoHash, ()> = text.parse();
    name.map(|name| name.0).map_err(|()| serde::de::Error::custom("expected 40 hexadecimal digits"))
}
