//! `offload image`: packs, serves and stages images. Arguments, progress and words; the work is
//! `offload_swarm::image`'s.

use crate::units;
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use offload::config::Key;
use offload::rng::Rng;
use offload_swarm::image::catalog::{Kind, Name};
use offload_swarm::image::client::Remote;
use offload_swarm::image::monitor::Status;
use offload_swarm::image::pack::Compression;
use offload_swarm::image::plan::{self, Costs};
use offload_swarm::image::serve::{self, ImageServer};
use offload_swarm::image::stage::{self, SeedWait};
use offload_swarm::image::store::{Record, Step, Store};
use offload_swarm::image::tls::{Fingerprint, Trust};
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Packs directories and datasets once, and stages them on any number of hosts by BitTorrent.
#[derive(Subcommand)]
pub enum Command {
    Pack(Pack),
    Serve(Serve),
    Stage(Stage),
    Status(Watch),
    Plan(Plan),
}

/// Packs a directory or a file into the store, unless it is packed and has not changed.
#[derive(Args)]
pub struct Pack {
    /// What it is to be called: letters, digits, '.', '_' and '-'.
    name: Name,
    /// The directory or file.
    source: PathBuf,
    #[command(flatten)]
    store: StoreAt,
    /// It is an override: files laid over an image once that is unpacked.
    #[arg(long = "override")]
    is_override: bool,
    /// The image that the override belongs to; may be repeated. Others are asked for by `stage --override`.
    #[arg(long = "for", value_name = "IMAGE", requires = "is_override")]
    images: Vec<Name>,
    /// It is the bootstrap bundle: a static executable, for hosts that have nothing.
    #[arg(long, conflicts_with_all = ["is_override", "compress", "archive", "seal"])]
    bundle: bool,
    /// Compress it.
    #[arg(long, value_enum, default_value_t = Compress::None)]
    compress: Compress,
    /// Wrap a single file too, so that its owner, permissions and attributes are kept.
    #[arg(long)]
    archive: bool,
    /// Encrypt it to the age recipients in this file.
    #[arg(long, value_name = "FILE")]
    seal: Option<PathBuf>,
    /// Peers are to come from the tracker only (BEP 27).
    #[arg(long)]
    private: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Compress {
    None,
    Gzip,
    Zstd,
}

/// The image server's directory.
#[derive(Args)]
struct StoreAt {
    /// The image server's directory.
    #[arg(long, value_name = "DIRECTORY", default_value = "offload-images")]
    store: PathBuf,
}

/// Serves what was packed: tracker, torrents, status page and first seeder.
#[derive(Args)]
pub struct Serve {
    #[command(flatten)]
    store: StoreAt,
    /// The images to publish; all, unless given.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    images: Option<Vec<Name>>,
    /// The overrides to publish; all, unless given.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    overrides: Option<Vec<Name>>,
    /// The address or name that clients reach this host at; found, unless given.
    #[arg(long, value_name = "HOST")]
    address: Option<String>,
    /// The port of tracker, torrents and status, for HTTP and HTTPS alike.
    #[arg(long, default_value_t = 6969)]
    port: u16,
    /// The port of the first seeder.
    #[arg(long, default_value_t = 6881)]
    seed_port: u16,
    /// Only who has this key file (64 hexadecimal digits) may have torrents.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The most that the first seeder sends, as 50MB/s or 400Mbit/s.
    #[arg(long, value_parser = units::rate, value_name = "RATE")]
    upload_limit: Option<u64>,
    /// What a client's link takes, as 1Gbit/s: the status then shows how near to the limit all are.
    #[arg(long, value_parser = units::rate, value_name = "RATE")]
    link_rate: Option<u64>,
    /// Serve what was packed, even where its source has changed since.
    #[arg(long)]
    no_update: bool,
}

/// How to find and trust an image server.
#[derive(Args)]
struct From {
    /// The image server, as https://HOST:6969.
    #[arg(long, value_name = "URL")]
    from: String,
    /// The fingerprint that the image server shows when it starts, or the PEM file of an authority.
    #[arg(long, value_name = "FINGERPRINT|FILE")]
    trust: Option<String>,
    /// The image server's key file.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Fetches an image, unpacks it, and serves it to others until nobody needs it.
#[derive(Args)]
pub struct Stage {
    /// The image.
    name: Name,
    #[command(flatten)]
    from: From,
    /// The directory that is to appear; the image's name, unless given.
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<PathBuf>,
    /// Where to keep packs meanwhile; the RAM disk, /tmp or a partition with room, unless given.
    #[arg(long, value_name = "DIRECTORY")]
    staging: Option<PathBuf>,
    /// An override to apply after the image's own; may be repeated.
    #[arg(long = "override", value_name = "NAME")]
    overrides: Vec<Name>,
    /// The age identity file that opens sealed packs.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Leave the swarm when less than this is sent to others.
    #[arg(long, value_parser = units::rate, value_name = "RATE", default_value = "500KB/s")]
    upload_min: u64,
    /// Seconds between two looks at the upload rate.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    poll: u64,
    /// Leave the swarm as soon as the image is in place.
    #[arg(long)]
    no_seed_wait: bool,
    /// The port for other peers; any, unless given.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Shows every client of an image server.
#[derive(Args)]
pub struct Watch {
    #[command(flatten)]
    from: From,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Says which way to stage is best, and how long it will take.
#[derive(Args)]
pub struct Plan {
    /// How many hosts.
    #[arg(long)]
    clients: u64,
    /// The image's size, as 606MB.
    #[arg(long, value_parser = units::bytes)]
    size: u64,
    /// What each host's link takes, as 1Gbit/s.
    #[arg(long, value_parser = units::rate)]
    rate: u64,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Pack(arguments) => pack(arguments)?,
        Command::Serve(arguments) => serve(arguments)?,
        Command::Stage(arguments) => return stage(arguments),
        Command::Status(arguments) => status(arguments)?,
        Command::Plan(arguments) => plan(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn pack(arguments: &Pack) -> anyhow::Result<()> {
    let store = Store::open(&arguments.store.store)?;
    let full = |path: &Path| path.canonicalize().with_context(|| path.display().to_string());
    let record = Record {
        kind: match (arguments.is_override, arguments.bundle) {
            (true, _) => Kind::Override,
            (_, true) => Kind::Bundle,
            _ => Kind::Image,
        },
        source: full(&arguments.source)?,
        compression: match arguments.compress {
            Compress::None => Compression::None,
            Compress::Gzip => Compression::Gzip,
            Compress::Zstd => Compression::Zstd,
        },
        archive: arguments.archive,
        recipients: arguments.seal.as_deref().map(full).transpose()?,
        private: arguments.private,
        overrides: arguments.images.clone(),
    };
    let bar = Bar::new();
    let stored = store.put(&arguments.name, &record, &mut |step| bar.store(step))?;
    bar.clear();
    for skipped in &stored.packed.skipped {
        eprintln!("left out: {} ({})", skipped.path.display(), skipped.why);
    }
    let item = &stored.item;
    let state = if stored.packed.reused { "unchanged" } else { "packed" };
    println!(
        "{state} {}: {} entries, {} bytes, info-hash {}, {}",
        item.name,
        item.entries,
        item.packed_bytes,
        item.info_hash,
        stored.packed.file.display()
    );
    Ok(())
}

fn serve(arguments: &Serve) -> anyhow::Result<()> {
    let stop = interrupt()?;
    let store = Store::open(&arguments.store.store)?;
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let settings = serve::Settings {
        images: arguments.images.clone(),
        overrides: arguments.overrides.clone(),
        listen: SocketAddr::new(any, arguments.port),
        seed: SocketAddr::new(any, arguments.seed_port),
        host: arguments.address.clone().unwrap_or_else(own_address),
        key: arguments.key_file.as_deref().map(Key::read).transpose()?,
        update: !arguments.no_update,
        upload_bytes_per_second: arguments.upload_limit,
        link_bytes_per_second: arguments.link_rate,
    };
    let bar = Bar::new();
    let rng = Rng::from_system()?;
    let server = ImageServer::start(&store, settings, rng, &mut |_, step| bar.store(step))?;
    bar.clear();
    println!("status page: {}", server.url());
    println!(
        "on each host: ./offload image stage NAME --from {} --trust {}{}",
        server.url(),
        server.fingerprint(),
        if arguments.key_file.is_some() { " --key-file FILE" } else { "" }
    );
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(200));
    }
    server.stop();
    Ok(())
}

/// The address by which this host reaches others: no packet is sent to find it.
fn own_address() -> String {
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    found.map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string())
}

impl From {
    fn remote(&self) -> anyhow::Result<Remote> {
        let trust = self.trust.as_ref().map(|text| match text.parse::<Fingerprint>() {
            Ok(fingerprint) => Trust::Pin(fingerprint),
            Err(_) => Trust::Authority(PathBuf::from(text)),
        });
        let key = self.key_file.as_deref().map(Key::read).transpose()?;
        Ok(Remote::new(&self.from, trust.as_ref(), key.as_ref())?)
    }
}

fn stage(arguments: &Stage) -> anyhow::Result<ExitCode> {
    let stop = interrupt()?;
    let into = arguments.into.clone().unwrap_or_else(|| PathBuf::from(arguments.name.as_str()));
    let wait = SeedWait { upload_min: arguments.upload_min, poll: Duration::from_secs(arguments.poll) };
    let settings = stage::Settings {
        name: arguments.name.clone(),
        overrides: arguments.overrides.clone(),
        into: std::path::absolute(into)?,
        staging: arguments.staging.clone(),
        identity: arguments.identity.clone(),
        seed_wait: (!arguments.no_seed_wait).then_some(wait),
        port: arguments.port,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    let remote = arguments.from.remote()?;
    let bar = Bar::new();
    let mut told = |step| {
        bar.stage(step);
        !stop.load(Ordering::Relaxed)
    };
    let staged = stage::stage(&settings, &remote, Rng::from_system()?, &mut told);
    bar.clear();
    let staged = match staged {
        Err(stage::Error::Interrupted) => {
            eprintln!("offload: {}", stage::Error::Interrupted);
            return Ok(ExitCode::from(130));
        }
        other => other?,
    };
    for missing in &staged.unpacked.missing {
        eprintln!("left out: {missing}");
    }
    println!(
        "{}: {} entries; {} of {} bytes downloaded, {} sent to others",
        settings.into.display(),
        staged.unpacked.entries,
        staged.downloaded_bytes,
        staged.packed_bytes,
        staged.uploaded_bytes
    );
    Ok(ExitCode::SUCCESS)
}

fn status(arguments: &Watch) -> anyhow::Result<()> {
    let status = arguments.from.remote()?.status()?;
    if arguments.json {
        println!("{}", serde_json::to_string(&status)?);
    } else {
        show(&status);
    }
    Ok(())
}

/// The reference monitor's table.
fn show(status: &Status) {
    println!(
        "{:<20} {:<22} {:<16} {:<12} {:>10} {:>10} {:>8}",
        "host", "address", "image", "state", "down", "up", "left"
    );
    let rate =
        |rate: Option<u64>| rate.map_or("-".to_owned(), |rate| format!("{:.1} MB/s", rate as f64 / 1e6));
    for client in &status.clients {
        let state = match (client.silent, client.percent) {
            (true, _) => "silent".to_owned(),
            (_, Some(percent)) if client.phase == "staging" => format!("{percent:.1} %"),
            _ => client.phase.clone(),
        };
        let left = client.seconds_left.map_or("-".to_owned(), |seconds| format!("{seconds} s"));
        println!(
            "{:<20} {:<22} {:<16} {:<12} {:>10} {:>10} {:>8}",
            client.host,
            client.address,
            client.image,
            state,
            rate(client.down_rate),
            rate(client.up_rate),
            left
        );
    }
    for swarm in &status.swarms {
        let copies = swarm.copies.map_or("-".to_owned(), |copies| format!("{copies:.2}"));
        println!(
            "{}: {} with all, {} without, {copies} copies",
            swarm.image, swarm.seeders, swarm.leechers
        );
    }
    println!("all: {} down, {} up", rate(Some(status.down_rate)), rate(Some(status.up_rate)));
    if let Some(limit) = &status.limit {
        let of = if limit.rate_given { "the links' rate" } else { "the best client's rate" };
        println!("{:.2} times the time that {of} ({}) allows", limit.ratio, rate(Some(limit.rate)));
    }
}

fn plan(arguments: &Plan) -> anyhow::Result<()> {
    if arguments.rate == 0 {
        bail!("--rate 0: nothing would ever arrive");
    }
    let plan = plan::plan(arguments.clients, arguments.size, arguments.rate, &Costs::MEASURED);
    if arguments.json {
        println!("{}", serde_json::to_string(&plan)?);
    } else {
        let clients = if plan.clients == 1 { "client" } else { "clients" };
        println!("until the last of {} {clients} has all:", plan.clients);
        for (transport, seconds) in &plan.predicted {
            println!("{:<12} {seconds:>10.1} s", transport.to_string());
        }
        let crossover = plan.crossover.map_or("no number of".to_owned(), |n| n.to_string());
        println!("best: {}; a swarm is faster than one server from {crossover} clients on", plan.best());
    }
    Ok(())
}

/// True once the user has asked to stop; a second time ends the process at once.
fn interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;
    Ok(stop)
}

/// A bar where a person looks at a terminal, a line now and then elsewhere.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new() -> Bar {
        let bar = if io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) =
            ProgressStyle::with_template("{msg:<28} {wide_bar} {bytes}/{total_bytes} {eta}")
        {
            bar.set_style(style);
        }
        Bar { bar }
    }

    fn store(&self, step: Step) {
        match step {
            Step::Packing(done, all) => self.show("packing".to_owned(), done, all),
            Step::Hashing(done, all) => self.show("hashing".to_owned(), done, all),
            Step::NoDataset(why) => self.bar.suspend(|| {
                eprintln!("{why}: packed without a row index: it cannot be a dataset");
            }),
        }
    }

    fn stage(&self, step: stage::Step) {
        let rate = |rate: u64| format!("{:.1} MB/s", rate as f64 / 1e6);
        match step {
            stage::Step::Downloading { done, all, down, up, peers } => {
                self.show(format!("{} down {} up, {peers} peers", rate(down), rate(up)), done, all);
            }
            stage::Step::Extracting(done, all) => self.show("extracting".to_owned(), done, all),
            stage::Step::Seeding(up) => self.bar.set_message(format!("seeding, {}", rate(up))),
        }
    }

    fn show(&self, message: String, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_message(message);
        self.bar.set_position(done);
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
