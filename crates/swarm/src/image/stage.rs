//! Staging: torrents fetched, packs downloaded into a pool, unpacked, and served to others until nobody
//! needs them.
//!
//! The paper's client, in its order: torrents come by the auxiliary protocol, a pool is found that has room
//! for the packs (BitTorrent's pieces come in any order, so nothing can be unpacked on the way), the image
//! and its overrides are unpacked in one step while they are served on, and the host leaves when what it
//! sends falls below a threshold: a peer that leaves at once takes its upload away from those behind it.
//!
//! A run that is interrupted at any point is begun again by the same command: verified pieces are found in
//! the pool, and the directory appears complete or not at all. Left out: keeping the packs. They are removed
//! when the host leaves the swarm.

use super::catalog::{Item, Kind, Listing, Name};
use super::client::{self, Remote, Reporter};
use super::monitor::{Phase, Report};
use super::pool::{self, Survey};
use super::unpack::{self, Layer, Options, Unpacked};
use crate::id::PeerId;
use crate::io as swarm;
use crate::io::node::{Handle, Job, Node, NodeSettings, Phase as Stage, Status, What};
use crate::limits::{REPORT_PERIOD, SHOW_PERIOD};
use crate::metainfo::{self, Metainfo};
use offload::rng::Rng;
use rustix::process::geteuid;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What to stage, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image.
    pub name: Name,
    /// Overrides to apply after the image's own.
    pub overrides: Vec<Name>,
    /// The directory that is to appear.
    pub into: PathBuf,
    /// The pool; found where `None`.
    pub staging: Option<PathBuf>,
    /// The keys that open sealed packs.
    pub identity: Option<PathBuf>,
    /// When to leave the swarm; at once where `None`.
    pub seed_wait: Option<SeedWait>,
    /// Where to listen for peers; port 0 is any.
    pub port: u16,
    /// What this host is called on the monitor.
    pub host: String,
}

/// How long to serve others.
#[derive(Clone, Copy, Debug)]
pub struct SeedWait {
    /// Leave when less is sent, in bytes a second.
    pub upload_min: u64,
    /// How often to look.
    pub poll: Duration,
}

/// How far staging is, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Packs are being downloaded.
    Downloading {
        /// Bytes that are verified.
        done: u64,
        /// Bytes of all packs.
        all: u64,
        /// Bytes received a second.
        down: u64,
        /// Bytes sent a second.
        up: u64,
        /// Peers that are connected.
        peers: usize,
    },
    /// Packs are being unpacked: bytes of bytes.
    Extracting(u64, u64),
    /// Others are served: bytes sent a second.
    Seeding(u64),
}

/// What was staged.
#[derive(Clone, Debug)]
pub struct Staged {
    /// What was unpacked.
    pub unpacked: Unpacked,
    /// Bytes of the packs.
    pub packed_bytes: u64,
    /// Bytes that were received; less than all where an earlier run had begun.
    pub downloaded_bytes: u64,
    /// Bytes that were sent to others.
    pub uploaded_bytes: u64,
}

/// Why nothing was staged. What was downloaded stays in the pool for the next run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See there.
    #[error(transparent)]
    Server(#[from] client::Error),
    /// The caller's: no such name, or it is something else.
    #[error("the image server publishes no {what} called {name}; it has: {known}")]
    Unknown {
        /// What was asked for.
        what: Kind,
        /// Its name.
        name: Name,
        /// What there is.
        known: String,
    },
    /// The server's: a torrent that is not the catalog's.
    #[error("the image server's torrent of {name} is not the one of its catalog: ask whoever runs it")]
    OtherTorrent {
        /// Whose.
        name: Name,
    },
    /// The server's: a torrent that makes no sense.
    #[error("the image server's torrent of {name} makes no sense: {source}")]
    Torrent {
        /// Whose.
        name: Name,
        /// What is wrong.
        source: metainfo::Error,
    },
    /// See there.
    #[error(transparent)]
    Pool(#[from] pool::Error),
    /// See there.
    #[error(transparent)]
    Unpack(#[from] unpack::Error),
    /// See there.
    #[error(transparent)]
    Swarm(#[from] swarm::Error),
    /// This machine's: the pool cannot be used.
    #[error("the staging pool {}: {reason}; remove it, or name another with --staging", path.display())]
    Place {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No threads to be had.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The user's.
    #[error("interrupted; the same command goes on with what is there")]
    Interrupted,
}

/// A pack on its way.
struct Pack {
    item: Item,
    metainfo: Arc<Metainfo>,
    directory: PathBuf,
}

/// Stages an image. `told` hears of every step, and ends it by saying `false`.
///
/// # Errors
/// See [`Error`].
pub fn stage(
    settings: &Settings,
    remote: &Remote,
    mut rng: Rng,
    told: &mut dyn FnMut(Step) -> bool,
) -> Result<Staged, Error> {
    let listing = remote.catalog()?;
    let packs = choose(&listing, settings)?;
    foresee(settings, &packs)?;
    let packs = packs.into_iter().map(|item| fetch(remote, item)).collect::<Result<Vec<_>, _>>()?;
    let pool = find_pool(settings, &packs)?;
    let packs = packs.into_iter().map(|(item, metainfo)| {
        let directory = claim(&pool.join(metainfo.info_hash.to_string()))?;
        Ok(Pack { item, metainfo, directory })
    });
    let packs = packs.collect::<Result<Vec<_>, Error>>()?;

    let mut node = NodeSettings::new(PeerId::random(&mut rng));
    node.listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, settings.port));
    let node = Node::start(node, rng.split())?;
    let mut run = Run {
        settings,
        reporter: Reporter::start(remote.clone())?,
        port: node.address().port(),
        start: Instant::now(),
        reported: None,
        handles: Vec::new(),
        told,
    };
    let done = run.all(&node, &packs);
    node.stop();
    run.report(match &done {
        Ok(_) => Phase::Done,
        Err(error) => Phase::Failed(error.to_string()),
    });
    run.reporter.stop();
    if done.is_ok() {
        for pack in &packs {
            // It is done with; that it cannot be removed harms nobody.
            let _ = fs::remove_dir_all(&pack.directory);
        }
        let _ = fs::remove_dir(&pool);
    }
    done
}

/// What would fail in the end fails now, before anything is downloaded.
fn foresee(settings: &Settings, packs: &[Item]) -> Result<(), Error> {
    let into = &settings.into;
    if let Ok(meta) = fs::symlink_metadata(into)
        && !(meta.is_dir() && fs::read_dir(into).is_ok_and(|mut entries| entries.next().is_none()))
    {
        return Err(unpack::Error::Exists(into.clone()).into());
    }
    let sealed = packs.iter().find(|item| item.sealed && settings.identity.is_none());
    sealed.map_or(Ok(()), |item| Err(unpack::Error::NoIdentity(item.file_name.as_str().into()).into()))
}

/// The image, its overrides, and those asked for, each once.
fn choose(listing: &Listing, settings: &Settings) -> Result<Vec<Item>, Error> {
    let find = |name: &Name, kind: Kind| {
        let found = listing.entries.iter().find(|item| item.name == *name && item.kind == kind);
        found.cloned().ok_or_else(|| {
            let all = listing.entries.iter().filter(|item| item.kind == kind);
            let known: Vec<&str> = all.map(|item| item.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Error::Unknown { what: kind, name: name.clone(), known }
        })
    };
    let bundle = listing.entries.iter().any(|i| i.name == settings.name && i.kind == Kind::Bundle);
    let image = find(&settings.name, if bundle { Kind::Bundle } else { Kind::Image })?;
    let mut wanted = image.overrides.clone();
    wanted.extend(settings.overrides.iter().filter(|name| !image.overrides.contains(name)).cloned());
    let mut all = vec![image];
    for name in &wanted {
        all.push(find(name, Kind::Override)?);
    }
    Ok(all)
}

fn fetch(remote: &Remote, item: Item) -> Result<(Item, Arc<Metainfo>), Error> {
    let bytes = remote.torrent(&item.name)?;
    let metainfo = Metainfo::from_torrent(&bytes)
        .map_err(|source| Error::Torrent { name: item.name.clone(), source })?;
    // What is downloaded has one name and one size: those the catalog told of.
    let file = match metainfo.files.as_slice() {
        [file] => file.path == Path::new(item.file_name.as_str()) && file.length == item.packed_bytes,
        _ => false,
    };
    if metainfo.info_hash != item.info_hash || !file {
        return Err(Error::OtherTorrent { name: item.name });
    }
    Ok((item, Arc::new(metainfo)))
}

/// The pool: where an earlier run left pieces of this image, else the first place with room.
fn find_pool(settings: &Settings, packs: &[(Item, Arc<Metainfo>)]) -> Result<PathBuf, Error> {
    let survey = Survey::take(settings.staging.as_deref(), Some(&settings.into))?;
    let below = |place: &Path| place.join(format!("offload-staging-{}", geteuid().as_raw()));
    let unpacked = packs.iter().fold(0u64, |sum, (item, _)| sum.saturating_add(item.unpacked_bytes));
    let left_in = |pool: &Path| {
        let present = packs.iter().map(|(item, metainfo)| {
            let file = pool.join(metainfo.info_hash.to_string()).join(item.file_name.as_str());
            fs::metadata(file).map_or(0, |meta| meta.blocks().saturating_mul(512).min(item.packed_bytes))
        });
        present.sum::<u64>()
    };
    let all = packs.iter().fold(0u64, |sum, (item, _)| sum.saturating_add(item.packed_bytes));
    let begun = survey.candidates().into_iter().map(|place| (left_in(&below(&place.path)), place));
    let begun = begun.filter(|(bytes, _)| *bytes > 0).max_by_key(|(bytes, _)| *bytes);
    let place = match begun {
        Some((bytes, place)) => Survey { explicit: Some(place.clone()), ..survey.clone() }
            .choose(all - bytes, unpacked)
            .map(Path::to_owned),
        None => survey.choose(all, unpacked).map(Path::to_owned),
    };
    claim(&below(&place?))
}

/// A directory of our own. Pools are open to all users of a host: what another has put in its place, or may
/// write to, is not used.
fn claim(path: &Path) -> Result<PathBuf, Error> {
    let refuse = |reason: String| Error::Place { path: path.to_owned(), reason };
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        DirBuilder::new().recursive(true).create(parent).map_err(|e| refuse(e.to_string()))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(refuse(e.to_string())),
        _ => {}
    }
    let meta = fs::symlink_metadata(path).map_err(|e| refuse(e.to_string()))?;
    if !meta.is_dir() || meta.uid() != geteuid().as_raw() || meta.mode() & 0o022 != 0 {
        return Err(refuse("it is there and is not a directory of this user alone".to_owned()));
    }
    Ok(path.to_owned())
}

/// A staging under way.
struct Run<'a> {
    settings: &'a Settings,
    reporter: Reporter,
    port: u16,
    start: Instant,
    reported: Option<(Instant, Phase)>,
    handles: Vec<Handle>,
    told: &'a mut dyn FnMut(Step) -> bool,
}

impl Run<'_> {
    fn all(&mut self, node: &Node, packs: &[Pack]) -> Result<Staged, Error> {
        for pack in packs {
            self.handles.push(node.add(Job {
                what: What::Metainfo(Arc::clone(&pack.metainfo)),
                directory: pack.directory.clone(),
                super_seed: false,
                wanted: None,
                peers: Vec::new(),
            })?);
        }
        self.download()?;
        let unpacked = self.extract(packs)?;
        self.seed()?;
        Ok(Staged {
            unpacked,
            packed_bytes: packs.iter().map(|pack| pack.item.packed_bytes).sum(),
            downloaded_bytes: self.sum(|status| status.progress.downloaded_bytes),
            uploaded_bytes: self.sum(|status| status.progress.uploaded_bytes),
        })
    }

    fn download(&mut self) -> Result<(), Error> {
        loop {
            let statuses: Vec<Status> = self.handles.iter().map(Handle::status).collect();
            let failed = statuses.iter().find_map(|status| match &status.phase {
                Stage::Failed(error) => Some(error.clone()),
                _ => None,
            });
            if let Some(error) = failed {
                return Err(error.into());
            }
            let (done, all) = self.bytes();
            self.tell(Step::Downloading {
                done,
                all,
                down: self.sum(|status| status.down_rate),
                up: self.sum(|status| status.up_rate),
                peers: self.sum(|status| status.progress.connections as u64) as usize,
            })?;
            self.report(Phase::Staging);
            let Some(waiting) = self.handles.iter().find(|handle| !handle.status().complete) else {
                return Ok(());
            };
            match waiting.wait_complete(Some(SHOW_PERIOD)) {
                Ok(()) | Err(swarm::Error::Late) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Unpacks in a thread of its own: reports go on, and so does the seeding of the node's.
    fn extract(&mut self, packs: &[Pack]) -> Result<Unpacked, Error> {
        let layers: Vec<Layer> = packs.iter().map(Pack::layer).collect();
        let options = Options { identity: self.settings.identity.clone(), ..Options::default() };
        let (into, (send, steps)) = (self.settings.into.clone(), channel());
        std::thread::scope(|scope| {
            let work = scope.spawn(move || {
                unpack::unpack(&layers, &into, &options, &mut |now| {
                    // Nobody listens once the user has interrupted; the end comes soon then.
                    let _ = send.send((now.bytes, now.of_bytes));
                })
            });
            let watched = self.watch(&steps);
            let unpacked = work.join().map_err(|_| io::Error::other("unpacking ended unexpectedly"))?;
            watched?;
            Ok(unpacked?)
        })
    }

    fn watch(&mut self, steps: &Receiver<(u64, u64)>) -> Result<(), Error> {
        let mut last = (0, 0);
        loop {
            match steps.recv_timeout(SHOW_PERIOD) {
                Ok(now) => last = steps.try_iter().last().unwrap_or(now),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.tell(Step::Extracting(last.0, last.1))?;
            self.report(Phase::Extracting);
        }
    }

    fn seed(&mut self) -> Result<(), Error> {
        let Some(wait) = self.settings.seed_wait else { return Ok(()) };
        let mut next = Instant::now() + wait.poll;
        loop {
            let up = self.sum(|status| status.up_rate);
            self.tell(Step::Seeding(up))?;
            self.report(Phase::Seeding);
            if Instant::now() >= next {
                if up < wait.upload_min {
                    return Ok(());
                }
                next += wait.poll;
            }
            std::thread::sleep(SHOW_PERIOD.min(next.saturating_duration_since(Instant::now())));
        }
    }

    fn sum(&self, what: impl Fn(&Status) -> u64) -> u64 {
        self.handles.iter().map(|handle| what(&handle.status())).sum()
    }

    /// Verified bytes of bytes.
    fn bytes(&self) -> (u64, u64) {
        let total = |status: &Status| status.metainfo.as_ref().map_or(0, |m| m.geometry.total_bytes());
        let all = self.sum(total);
        (all.saturating_sub(self.sum(|status| status.progress.left_bytes)), all)
    }

    fn tell(&mut self, step: Step) -> Result<(), Error> {
        if (self.told)(step) { Ok(()) } else { Err(Error::Interrupted) }
    }

    /// Tells the monitor, now and then, and of each new phase at once.
    fn report(&mut self, phase: Phase) {
        let fresh = |(at, last): &(Instant, Phase)| *last == phase && at.elapsed() < REPORT_PERIOD;
        if self.reported.as_ref().is_some_and(fresh) {
            return;
        }
        let (done_bytes, total_bytes) = self.bytes();
        self.reported = Some((Instant::now(), phase.clone()));
        self.reporter.tell(Report {
            host: self.settings.host.clone(),
            image: self.settings.name.to_string(),
            port: self.port,
            phase,
            done_bytes,
            total_bytes,
            down_rate: self.sum(|status| status.down_rate),
            up_rate: self.sum(|status| status.up_rate),
            uptime_seconds: self.start.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
    }
}

impl Pack {
    fn layer(&self) -> Layer {
        Layer {
            pack: self.directory.join(self.item.file_name.as_str()),
            unpacked_bytes: self.item.unpacked_bytes,
            entries: self.item.entries,
        }
    }
}
