//! Which dataset is staged, and how much of it; where parity is held.
//!
//! What is left out: what is in a torrent or a link (`crates/swarm`), and what parity is (`crates/parity`).

use super::{Config, Error, Source};
use serde::Deserialize;
use std::path::Path;
use toml::Spanned;

/// How a magnet link begins.
const MAGNET: &str = "magnet:?";
/// How the name of a torrent file ends.
const TORRENT: &str = ".torrent";

/// How much of a dataset a backend stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// All of it, so that any backend can stand in for another.
    #[default]
    Whole,
    /// Only the rows that it is asked for.
    Shard,
}

impl Config {
    /// The TCP ports of those who hold parity, where backends are checkpointed: the checkpoint processor's and
    /// its backup's. A backend's own for that is the number of its UDP port.
    pub fn holder_ports(&self) -> [u16; 2] {
        [26_000 + self.id, 27_000 + self.id]
    }
}

/// A magnet link as it is; a path, from where the file is.
pub(super) fn dataset(
    written: Option<Spanned<String>>,
    source: &Source<'_>,
) -> Result<Option<String>, Error> {
    let Some(written) = written else { return Ok(None) };
    let text = written.get_ref();
    if text.starts_with(MAGNET) {
        return Ok(Some(written.into_inner()));
    }
    if !text.ends_with(TORRENT) {
        let rule = format!("it has to be a path that ends with {TORRENT} or a link, {MAGNET}...");
        return Err(source.refuse(written.span(), "dataset", rule));
    }
    let directory = source.path.and_then(Path::parent).unwrap_or(Path::new(""));
    Ok(Some(directory.join(text).display().to_string()))
}
