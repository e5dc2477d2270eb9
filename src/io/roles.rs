//! Machine, sockets and numbers put together: what each of the five processes runs.
//!
//! What is left out: arguments and exit statuses (`src/bin`), and the protocol (`proto`).

use super::console::Console;
use super::handover::hand_over_backend;
use super::keeper::Keeper;
use super::maps::{Dataset, Maps};
use super::run::Driver;
use super::signal;
use super::source::Feeder;
use super::tcp::{Tcp, listen};
use super::udp::Udp;
use crate::config::{self, Config};
use crate::dataset::Id;
use crate::event::Event;
use crate::limits::{
    AWS_SILENCE, LOOPBACK_RING_BYTES, MAX_NAME_BYTES, NETWORK_DATAGRAM_BYTES, NETWORK_RING_BYTES,
};
use crate::numbers::{self, Source};
use crate::proto::{aws, backend, client};
use crate::reduction::Registry;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::is_name;
use ethnum::I256;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Names the backend that a server binary is to be instead of its own: for more than three of them.
pub const BACKEND_VARIABLE: &str = "OFFLOAD_BACKEND";
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// More threads than this parse faster than any network takes.
const MAX_THREADS: usize = 4;

/// Why a process cannot go on. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The numbers.
    #[error(transparent)]
    Numbers(#[from] numbers::Error),
    /// A port is not to be had.
    #[error("{who} cannot have {protocol} {addr}: {source}; {help}")]
    Bind {
        /// The process.
        who: String,
        /// TCP or UDP.
        protocol: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
        /// What to do.
        help: String,
    },
    /// AWS is not there.
    #[error("AWS does not answer at {addr}: {source}; start it with `make aws`")]
    Connect {
        /// Where it should be.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No backend of that name.
    #[error("{name} is none of the configured backends ({known})")]
    Unknown {
        /// The name asked for.
        name: String,
        /// All there are.
        known: String,
    },
    /// A dataset is to be used, or checkpoints are to be taken, and the program that can is not there.
    #[error(
        "{wanted} wants the offload command, and {} cannot be started ({source}): build it with \
         `make suite`",
        command.display()
    )]
    NoCommand {
        /// What is to be used.
        wanted: String,
        /// Where the command should be.
        command: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The job has failed: the sentence says whose fault it is.
    #[error("{0}")]
    Failed(String),
    /// The screen, the log or a socket.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// What is done with events; an error ends the process.
pub type Sink<'a> = &'a mut dyn FnMut(Event) -> io::Result<()>;

/// How many threads parse on this machine.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// Runs one job: sends `source`'s numbers to AWS and returns what `function` makes of them.
///
/// `function` is the reduction's name in upper case.
///
/// # Errors
/// When there is no answer; nothing is ever returned that AWS did not say.
pub fn run_client(
    config: &Config,
    function: &str,
    source: &dyn Source,
    sink: Sink<'_>,
) -> Result<I256, Error> {
    run_job(config, function, (source.rows(), None), source, sink)
}

/// The same over all `rows` rows of a dataset that the backends have or get by themselves: only its name is
/// sent.
///
/// # Errors
/// As [`run_client`].
pub fn run_dataset_client(
    config: &Config,
    function: &str,
    dataset: Id,
    rows: u64,
    sink: Sink<'_>,
) -> Result<I256, Error> {
    let nothing: &[i64] = &[];
    run_job(config, function, (rows, Some(dataset)), &nothing, sink)
}

fn run_job(
    config: &Config,
    function: &str,
    (count, dataset): (u64, Option<Id>),
    source: &dyn Source,
    sink: Sink<'_>,
) -> Result<I256, Error> {
    if !is_name(function.as_bytes()) {
        let rule = format!("1 to {MAX_NAME_BYTES} of A-Z, 0-9 and _");
        return Err(Error::Failed(format!("{function:?} cannot name a reduction: names are {rule}")));
    }
    let topology = config.resolve()?;
    let addr = topology.aws_tcp;
    let stream = TcpStream::connect_timeout(&addr, CONNECT_PATIENCE)
        .map_err(|source| Error::Connect { addr, source })?;
    let start = Instant::now();
    let settings = client::Settings {
        function: function.to_owned(),
        count,
        dataset,
        key: config.key.as_ref().map(|key| *key.bytes()),
        silence: AWS_SILENCE,
    };
    let mut outcome = None;
    let mut on_event = |event: Event| {
        let finished = matches!(event, Event::Finished(_));
        if let Event::Finished(result) = &event {
            outcome = Some(result.clone());
        }
        sink(event)?;
        Ok(if finished { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    thread::scope(|scope| {
        let machine = client::Client::new(Time::ZERO, settings, Rng::from_system()?);
        let feeder = Feeder::new(scope, source, threads());
        let mut driver = Driver::new(start, machine, &mut on_event).with_feeder(feeder);
        driver.open(Tcp::new(stream)?, addr)?;
        driver.run()?;
        driver.part()
    })?;
    match outcome {
        Some(Ok(value)) => Ok(value),
        Some(Err(reason)) => Err(Error::Failed(reason)),
        None => Err(Error::Failed("the job ended without an outcome".to_owned())),
    }
}

/// Runs AWS until the sink fails.
///
/// # Errors
/// When a port is not to be had, or the sink fails.
pub fn run_aws(config: &Config, reductions: Registry, sink: Sink<'_>) -> Result<(), Error> {
    let topology = config.resolve()?;
    let in_use = |protocol, addr: SocketAddr| {
        move |source| Error::Bind {
            who: "AWS".to_owned(),
            protocol,
            addr,
            help: help(&source, addr),
            source,
        }
    };
    let listener = listen(topology.aws_tcp).map_err(in_use("TCP", topology.aws_tcp))?;
    let udp = Udp::bind(topology.aws_udp).map_err(in_use("UDP", topology.aws_udp))?;
    let settings = aws::Settings {
        backends: topology
            .backends
            .into_iter()
            .map(|backend| aws::Peer { name: backend.name, addr: backend.addr })
            .collect(),
        tcp_port: topology.aws_tcp.port(),
        udp_port: topology.aws_udp.port(),
        transcript: config.transcript,
        restart_wait: config.deadlines.restart_wait,
        client_stall: config.deadlines.client_stall,
        datagram_bytes: topology.datagram_bytes,
        loopback: topology.loopback,
        ring_bytes: if topology.datagram_bytes > NETWORK_DATAGRAM_BYTES {
            LOOPBACK_RING_BYTES
        } else {
            NETWORK_RING_BYTES
        },
        key: config.key.as_ref().map(|key| *key.bytes()),
        reductions,
    };
    let machine = aws::Aws::new(settings, Rng::from_system()?);
    let mut on_event = |event| sink(event).map(ControlFlow::Continue);
    let driver = Driver::new(Instant::now(), machine, &mut on_event);
    Ok(driver.with_listener(listener).with_udp(udp).run()?)
}

/// Runs the backend called `name` until the sink fails.
///
/// # Errors
/// When there is no such backend, its port is not to be had, or the sink fails.
pub fn run_backend(
    config: &Config,
    name: &str,
    reductions: Registry,
    sink: Sink<'_>,
) -> Result<(), Error> {
    run_equipped_backend(config, name, reductions, Equipment::default(), sink)
}

/// What a backend may have beside its sockets.
#[derive(Default)]
pub struct Equipment<'a> {
    /// Numbers whose rows it maps where a client asks for them.
    pub dataset: Option<Arc<dyn Dataset>>,
    /// Where how far its jobs are outlives it.
    pub keeper: Option<Box<dyn Keeper + 'a>>,
}

/// The same with a dataset, or checkpointed.
///
/// # Errors
/// As [`run_backend`].
pub fn run_equipped_backend(
    config: &Config,
    name: &str,
    reductions: Registry,
    equipment: Equipment<'_>,
    sink: Sink<'_>,
) -> Result<(), Error> {
    let Equipment { dataset, keeper } = equipment;
    let topology = config.resolve()?;
    let known = || topology.backends.iter().map(|b| b.name.as_str()).collect::<Vec<_>>().join(", ");
    let place = topology.backends.iter().position(|b| b.name == name);
    let place = place.ok_or_else(|| Error::Unknown { name: name.to_owned(), known: known() })?;
    let addr = topology.backends[place].addr;
    let udp = Udp::bind(addr).map_err(|source| Error::Bind {
        who: format!("Backend-Server {name}"),
        protocol: "UDP",
        addr,
        help: help(&source, addr),
        source,
    })?;
    let settings = backend::Settings {
        name: name.to_owned(),
        shard: place as u32,
        port: addr.port(),
        aws: topology.aws_udp,
        credit_bytes: udp.credit_bytes()?,
        key: config.key.as_ref().map(|key| *key.bytes()),
        reductions,
        dataset: dataset.as_ref().map(|dataset| dataset.id()),
        keeps: keeper.is_some(),
    };
    let maps = dataset.map(Maps::new).transpose()?;
    let machine = backend::Backend::new(settings, Rng::from_system()?);
    let mut on_event = |event| sink(event).map(ControlFlow::Continue);
    let driver = Driver::new(Instant::now(), machine, &mut on_event).with_udp(udp);
    Ok(driver.with_maps(maps).with_keeper(keeper).run()?)
}

/// What to do about an address that is not to be had.
fn help(error: &io::Error, addr: SocketAddr) -> String {
    let port = addr.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "`ss -tulpn | grep :{port}` shows which program has it; end that, or set another `id` in {}",
            config::FILE_NAME
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "this machine has no address {}; see `ip address` and {}",
                addr.ip(),
                config::FILE_NAME
            )
        }
        _ => format!("check host and port in {}", config::FILE_NAME),
    }
}

/// Where a process looks for its files: beside its binary, then in the current directory.
///
/// # Errors
/// When the system does not say where either is.
pub fn places() -> io::Result<Vec<PathBuf>> {
    let binary = std::env::current_exe()?;
    let mut places: Vec<PathBuf> = binary.parent().map(PathBuf::from).into_iter().collect();
    let current = std::env::current_dir()?;
    if !places.contains(&current) {
        places.push(current);
    }
    Ok(places)
}

/// A whole backend process, as its environment and `offload.toml` want it: the one called `name`, or
/// the one that `OFFLOAD_BACKEND` names; with a dataset or checkpoints, by way of the `offload` command.
///
/// # Errors
/// As [`run_backend`], and when signals, screen or configuration are not in order.
pub fn backend_process(name: &'static str) -> Result<(), Error> {
    signal::exit_on_interrupt().map_err(io::Error::other)?;
    let env = |name: &str| std::env::var(name).ok();
    let name = env(BACKEND_VARIABLE).unwrap_or(name.to_owned());
    let places = places()?;
    let config = Config::load(&places)?;
    hand_over_backend(&config, &places, &name)?;
    let mut console = Console::new("server", env)?;
    run_backend(&config, &name, Registry::course(), &mut |event| console.show(&event))
}
