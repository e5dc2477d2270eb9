//! `offload backend`: what a backend server becomes where a dataset is staged or backends are checkpointed; it
//! shows what that shows. `offload holder`: one of the two that hold the parity of the backends' checkpoints.

use crate::dataset::{env, staged};
use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use offload::config::{Config, FILE_NAME};
use offload::event::{Event, Record};
use offload::io::console::Console;
use offload::io::{Equipment, Keeper, places, run_equipped_backend, signal};
use offload::reduction::Registry;
use offload_parity::backends::{Group, Keeping, Sink, hold};
use offload_parity::id::{Holder, Member};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

/// A backend server over a dataset, or checkpointed.
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

/// Holds parity of the course backends' checkpoints (`make checkpoint`, `make backup`).
#[derive(Args)]
pub struct Holding {
    /// The paper's P_c, or its backup P_b.
    which: Which,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Checkpoint,
    Backup,
}

pub fn backend(arguments: &Backend) -> anyhow::Result<()> {
    signal::exit_on_interrupt()?;
    let places = places()?;
    let config = Config::load(&places)?;
    let name = &arguments.name;
    let console = Arc::new(Mutex::new(Console::new("server", env)?));
    let show = |event: &Event| console.lock().unwrap_or_else(PoisonError::into_inner).show(event);
    let keeper = if config.checkpoint { keeper(&config, name, &console)? } else { None };
    let dataset = staged(&config, &places, name)?;
    let equipment = Equipment { dataset: dataset.map(|staged| Arc::new(staged) as Arc<_>), keeper };
    run_equipped_backend(&config, name, Registry::course(), equipment, &mut |event| show(&event))?;
    Ok(())
}

pub fn holder(arguments: &Holding) -> anyhow::Result<()> {
    signal::exit_on_interrupt()?;
    let config = Config::load(&places()?)?;
    if !config.checkpoint {
        bail!(
            "nobody is to be checkpointed: set `checkpoint = true` in {FILE_NAME}, and start the backends again"
        );
    }
    let group = group(&config)?;
    let (me, called) = match arguments.which {
        Which::Checkpoint => (Holder(0), "The Checkpoint-Processor"),
        Which::Backup => (Holder(1), "The Backup-Processor"),
    };
    let listener = listen(called, &group, Member::Holder(me))?;
    let port = listener.local_addr()?.port();
    let console = Arc::new(Mutex::new(Console::new("holder", env)?));
    writeln!(io::stdout(), "{called} is up and running using TCP on port {port}.")?;
    Ok(hold(&group, me, listener, log(&console))?)
}

/// Where a backend's records outlive it; `None` where there is no such backend, which is said where it starts.
fn keeper(
    config: &Config,
    name: &str,
    console: &Arc<Mutex<Console>>,
) -> anyhow::Result<Option<Box<dyn Keeper>>> {
    let group = group(config)?;
    let Some(me) = group.place(name) else { return Ok(None) };
    let listener = listen(&format!("Backend-Server {name}"), &group, Member::Worker(me))?;
    let keeping =
        Keeping::start(group, me, listener, log(console)).context("a thread for checkpoints")?;
    Ok(Some(Box::new(keeping)))
}

/// Who is checkpointed, and where they and the holders listen.
fn group(config: &Config) -> anyhow::Result<Group> {
    let topology = config.resolve()?;
    let away = topology.backends.iter().find(|backend| !backend.addr.ip().is_loopback());
    if let Some(backend) = away {
        bail!(
            "checkpoint = true: backends are checkpointed on loopback only, and {} is at {}: take one of the two out \
             of {FILE_NAME}",
            backend.name,
            backend.addr.ip()
        );
    }
    let backends = topology.backends.into_iter().map(|backend| (backend.name, backend.addr));
    let holders = config.holder_ports().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    Ok(Group::new(backends.collect(), holders)?)
}

fn listen(who: &str, group: &Group, me: Member) -> anyhow::Result<TcpListener> {
    let address = group.address(me).context("a member without an address")?;
    TcpListener::bind(address).map_err(|e| {
        let port = address.port();
        anyhow!(
            "{who} cannot have TCP {address} for checkpoints: {e}; `ss -tlpn | grep :{port}` shows which program has \
             it; end that, or set another `id` in {FILE_NAME}"
        )
    })
}

/// What is told of a member goes to the log. A log that cannot be written ends the process by what is shown next.
fn log(console: &Arc<Mutex<Console>>) -> Sink {
    let console = console.clone();
    Box::new(move |record: Record| {
        let mut console = console.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = console.show(&Event::Log(record));
    })
}
