//! `offload client`, which `./client` becomes where a dataset is staged, and what backends have staged of it. It
//! shows what `./client` shows.

use anyhow::Context;
use clap::Args;
use offload::config::Config;
use offload::event::Event;
use offload::io::console::Console;
use offload::io::{self, places, run_dataset_client, signal};
use offload::reduction::{Function, Reduction};
use offload::rng::Rng;
use offload::screen::Line;
use offload_swarm::dataset::{self, Staged};
use std::path::{Path, PathBuf};

/// Beside the programs: what backends have staged.
const DATA: &str = "offload-data";

/// `./client` over a dataset.
#[derive(Args)]
pub struct Client {
    /// min, max, sum or sos.
    function: Function,
}

pub fn client(arguments: &Client) -> anyhow::Result<()> {
    signal::exit_on_interrupt()?;
    let places = places()?;
    let config = Config::load(&places)?;
    let mut console = Console::new("client", env)?;
    console.show(&Event::Screen(Line::ClientUp))?;
    let source = io::dataset(&config, &places, true).context(
        "no dataset: set `dataset` in offload.toml, or put nums.csv.torrent beside the programs",
    )?;
    let what = dataset::read(&source)?;
    let rows = dataset::rows(&what, Rng::from_system()?)?;
    let function = arguments.function.name();
    run_dataset_client(&config, function, dataset::id(&what), rows, &mut |event| console.show(&event))?;
    Ok(())
}

/// What the backend of this name has staged, where it is to use a dataset.
pub fn staged(config: &Config, places: &[PathBuf], name: &str) -> anyhow::Result<Option<Staged>> {
    let Some(source) = io::dataset(config, places, false) else { return Ok(None) };
    let what = dataset::read(&source)?;
    // Each backend has its own: several may run on one host.
    let directory = places.first().map_or(Path::new("."), PathBuf::as_path).join(DATA).join(name);
    Ok(Some(Staged::start(what, &directory, config.stage, Rng::from_system()?)?))
}

pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
