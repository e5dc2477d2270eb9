//! The client: arguments in, progress out.

use anyhow::{Context, Result, bail};
use offload::rng::Rng;
use offload_swarm::id::PeerId;
use offload_swarm::io::Error;
use offload_swarm::io::node::{Handle, Job, Node, NodeSettings, Phase, Status, What};
use offload_swarm::metainfo::Metainfo;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How soon a signal is heard.
const LOOK: Duration = Duration::from_millis(100);
/// How often progress is shown.
const SHOW: Duration = Duration::from_secs(1);

struct Arguments {
    settings: NodeSettings,
    job: Job,
    seed: bool,
}

/// Does what these arguments say. A process runs it once.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<()> {
    let mut rng = Rng::from_system()?;
    let told = Arc::new(AtomicBool::new(false));
    let hear = told.clone();
    ctrlc::set_handler(move || hear.store(true, Ordering::Relaxed))?;
    let Arguments { settings, job, seed } = parse(arguments, PeerId::random(&mut rng))?;
    let start = Instant::now();
    let node = Node::start(settings, rng)?;
    say(format_args!("listening {}", node.address().port()));
    let handle = node.add(job)?;
    let outcome = watch(&handle, &told, start);
    while seed && outcome.is_ok() && !told.load(Ordering::Relaxed) && !has_ended(&handle.status()) {
        std::thread::sleep(LOOK);
    }
    node.stop();
    let progress = handle.status().progress;
    say(format_args!("uploaded {}", progress.uploaded_bytes));
    say(format_args!("downloaded {}", progress.downloaded_bytes));
    say(format_args!("wasted {}", progress.wasted_bytes));
    match (outcome, handle.status().phase) {
        (_, Phase::Failed(error)) => Err(error.into()),
        // It was told to stop.
        (Err(Error::Stopped), _) => Ok(()),
        (outcome, _) => Ok(outcome?),
    }
}

/// Shows how far it is until all is there or a signal comes.
fn watch(handle: &Handle, told: &AtomicBool, start: Instant) -> Result<(), Error> {
    let (mut shown, mut shown_at) = (None, start);
    loop {
        let outcome = handle.wait_complete(Some(LOOK));
        let status = handle.status();
        let known = status.metainfo.is_some() && !matches!(status.phase, Phase::Opening);
        let due = shown.is_none() || shown_at.elapsed() >= SHOW || outcome.is_ok();
        if known && due && shown != Some(status.have_pieces) {
            (shown, shown_at) = (Some(status.have_pieces), Instant::now());
            say(format_args!("have {} of {}", status.have_pieces, status.pieces()));
        }
        match outcome {
            Err(Error::Late) if told.load(Ordering::Relaxed) => return Err(Error::Stopped),
            Err(Error::Late) => {}
            Ok(()) => {
                say(format_args!("complete {:.3}", start.elapsed().as_secs_f64()));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn has_ended(status: &Status) -> bool {
    matches!(status.phase, Phase::Stopped | Phase::Failed(_))
}

fn say(line: std::fmt::Arguments<'_>) {
    // Whoever reads may have gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn parse(mut arguments: impl Iterator<Item = String>, peer_id: PeerId) -> Result<Arguments> {
    let mut settings = NodeSettings::new(peer_id);
    let (mut places, mut peers, mut seed, mut super_seed) = (Vec::new(), Vec::new(), false, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--listen" => settings.listen = value()?.parse()?,
            "--port" => settings.listen.set_port(value()?.parse()?),
            "--seed" => seed = true,
            "--super-seed" => super_seed = true,
            "--upload-limit" => settings.upload_bytes_per_second = Some(value()?.parse()?),
            "--download-limit" => settings.download_bytes_per_second = Some(value()?.parse()?),
            "--no-discovery" => settings.discovery = false,
            "--verbose" => settings.log = Box::new(|line| eprintln!("{line}")),
            "--peer" => peers.push(value()?.parse::<SocketAddr>()?),
            option if option.starts_with("--") => bail!("no such option: {option}"),
            _ => places.push(argument),
        }
    }
    let [torrent, directory] = &places[..] else { bail!("a torrent and a directory are needed") };
    let what = if torrent.starts_with("magnet:") {
        What::Magnet(torrent.parse()?)
    } else {
        let bytes = std::fs::read(torrent).with_context(|| torrent.clone())?;
        What::Metainfo(Arc::new(Metainfo::from_torrent(&bytes).with_context(|| torrent.clone())?))
    };
    let job = Job { what, directory: PathBuf::from(directory), super_seed, wanted: None, peers };
    Ok(Arguments { settings, job, seed })
}
