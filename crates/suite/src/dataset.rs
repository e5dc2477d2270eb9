//! `offload client` and `offload backend`: what the course programs become where a dataset is staged. They
//! show what those show, on the same screens.

use anyhow::Context;
use clap::Args;
use offload::config::Config;
use offload::event::Event;
use offload::io::console::Console;
use offload::io::{self, Equipment, places, run_dataset_client, run_equipped_backend, signal};
use offload::reduction::{Function, Reduction, Registry};
use offload::rng::Rng;
use offload::screen::Line;
use offload_swarm::dataset::{self, Staged};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Beside the programs: what backends have staged.
const DATA: &str = "offload-data";

/// `./client` over a dataset.
#[derive(Args)]
pub struct Client {
    /// min, max, sum or sos.
    function: Function,
}

/// A backend server over a dataset.
#[derive(Args)]
pub struct Backend {
    /// As on the screens.
    name: String,
}

impl Backend {
    /// As the program is called that has become this.
    pub fn program(&self) -> String {
        format!("server{}", self.name)
    }
}

pub fn client(arguments: &Client) -> anyhow::Result<()> {
    signal::exit_on_interrupt()?;
    let places = places()?;
    let config = Config::load(&places)?;
    let mut console = Console::new("client", env)?;
    console.show(&Event::Screen(Line::ClientUp))?;
    let what = dataset::read(&source(&config, &places, true)?)?;
    let rows = dataset::rows(&what, Rng::from_system()?)?;
    let function = arguments.function.name();
    run_dataset_client(&config, function, dataset::id(&what), rows, &mut |event| console.show(&event))?;
    Ok(())
}

pub fn backend(arguments: &Backend) -> anyhow::Result<()> {
    signal::exit_on_interrupt()?;
    let places = places()?;
    let config = Config::load(&places)?;
    let what = dataset::read(&source(&config, &places, false)?)?;
    let name = &arguments.name;
    // Each backend has its own: several may run on one host.
    let directory = places.first().map_or(Path::new("."), PathBuf::as_path).join(DATA).join(name);
    let staged = Staged::start(what, &directory, config.stage, Rng::from_system()?)?;
    let mut console = Console::new("server", env)?;
    let mut show = |event| console.show(&event);
    let equipment = Equipment { dataset: Some(Arc::new(staged)), keeper: None };
    run_equipped_backend(&config, name, Registry::course(), equipment, &mut show)?;
    Ok(())
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn source(config: &Config, places: &[PathBuf], is_client: bool) -> anyhow::Result<String> {
    io::dataset(config, places, is_client).context(
        "no dataset: set `dataset` in offload.toml, or put nums.csv.torrent beside the programs",
    )
}
