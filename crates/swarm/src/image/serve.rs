//! The image server: tracker, packs, torrents and first seeder in one process.
//!
//! The paper's four stages of an image server, in its order: the tracker is up before any torrent is handed
//! out, what has changed is packed again, torrents are made, one seeder serves all of them.
//!
//! Left out: more than one image server for a swarm. Peers that know each other go on without this one.

use super::access::Access;
use super::catalog::{self, Entry, Kind, Name};
use super::http::{self, Server};
use super::monitor::{Monitor, Observed, ObservedPeer, Status};
use super::routes::{Routes, TrackerCall};
use super::store::{self, Step, Store, Stored};
use super::tls::{self, Fingerprint, Identity};
use crate::id::PeerId;
use crate::io as swarm;
use crate::io::node::{Handle, Job, Node, NodeSettings, What};
use crate::limits::{OBSERVE_PERIOD, TRACKER_SAVE_PERIOD};
use crate::tracker::{self, Tracker, query};
use offload::config::Key;
use offload::rng::Rng;
use offload::time::Time;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// What to serve, and where.
#[derive(Debug)]
pub struct Settings {
    /// The images to publish; all where `None`.
    pub images: Option<Vec<Name>>,
    /// The overrides to publish; all where `None`.
    pub overrides: Option<Vec<Name>>,
    /// Where to listen for HTTP and HTTPS: tracker, torrents, status.
    pub listen: SocketAddr,
    /// Where the first seeder listens.
    pub seed: SocketAddr,
    /// The host that clients reach this server at: it goes into the announce URLs.
    pub host: String,
    /// Who may have torrents; anybody where there is none.
    pub key: Option<Key>,
    /// Pack again what has changed.
    pub update: bool,
    /// The most that the first seeder sends.
    pub upload_bytes_per_second: Option<u64>,
    /// What a client's link takes, for the ratio to the physical limit.
    pub link_bytes_per_second: Option<u64>,
}

/// Why there is no image server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See there.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// See there.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// See there.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// See there.
    #[error(transparent)]
    Identity(#[from] tls::Error),
    /// See there.
    #[error(transparent)]
    Swarm(#[from] swarm::Error),
    /// The caller's: there is nothing to serve.
    #[error("there is nothing to serve in {}: run `offload image pack NAME DIRECTORY` first", .0.display())]
    Nothing(PathBuf),
    /// The caller's: an image is served as what it is not.
    #[error("{name} is an {kind}: name it with {option}")]
    Kind {
        /// What.
        name: Name,
        /// What it is.
        kind: Kind,
        /// Where it belongs.
        option: &'static str,
    },
    /// More torrents than a tracker keeps.
    #[error("more torrents than one tracker keeps")]
    Tracker(#[from] tracker::Full),
    /// No threads or randomness to be had.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

/// A running image server. Dropped, it stops.
pub struct ImageServer {
    routes: Arc<Routes>,
    /// Its doors close when it is dropped.
    _http: Server,
    identity: Identity,
    watcher: Option<(Sender<()>, JoinHandle<()>)>,
    url: String,
}

/// What is published, with its seeder.
struct Published {
    image: String,
    total_bytes: u64,
    handle: Handle,
}

/// The tracker and where its memory is kept.
struct Desk {
    tracker: Mutex<Tracker>,
    memory: PathBuf,
    start: Instant,
}

impl ImageServer {
    /// Starts the server: when this returns, clients can stage.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn start(
        store: &Store,
        settings: Settings,
        mut rng: Rng,
        told: &mut (dyn FnMut(&Name, Step) + Send),
    ) -> Result<ImageServer, Error> {
        let desk = Arc::new(Desk::open(&store.state(), &mut rng));
        let names = [settings.host.clone(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        let identity = Identity::load_or_make(&store.state(), &names)?;
        let access = settings.key.as_ref().map(Access::new);
        let routes = {
            let (desk, clock) = (Arc::clone(&desk), desk.start);
            let tracker = move |call, query: &str, from| desk.answer(call, query, from);
            let clock = move || Time::ZERO + clock.elapsed();
            let monitor = Monitor::new(settings.link_bytes_per_second);
            Arc::new(Routes::new(monitor, access, Box::new(tracker), Box::new(clock)))
        };
        let http = {
            let routes = Arc::clone(&routes);
            let answer = Arc::new(move |request: &http::Request| routes.answer(request));
            Server::start(settings.listen, Some(identity.server_config()), answer)?
        };
        let authority = authority(&settings.host, http.local_addr().port());
        let announce = format!("http://{authority}{}", routes.announce_path());

        let chosen = choose(store, &settings)?;
        let own = PeerId::random(&mut rng);
        let mut seeder = NodeSettings::new(own);
        seeder.listen = settings.seed;
        seeder.upload_bytes_per_second = settings.upload_bytes_per_second;
        let node = Node::start(seeder, rng.split())?;
        let mut published = Vec::new();
        for name in &chosen {
            let mut stored = load(store, name, settings.update, told)?;
            stored.item.overrides = overrides_of(store, name, &chosen)?;
            published.push(publish(&routes, &desk, &node, &announce, stored)?);
        }
        desk.remember();
        routes.with_catalog(|catalog| catalog.write_files(store.root(), settings.key.is_some()))?;

        let (stop, stopped) = channel();
        let watched = Arc::clone(&routes);
        let watch = move || {
            let mut saved = Instant::now();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(OBSERVE_PERIOD) {
                watched.monitor().observe(published.iter().map(|one| desk.observe(one, own)).collect());
                if saved.elapsed() >= TRACKER_SAVE_PERIOD {
                    desk.save();
                    saved = Instant::now();
                }
            }
            desk.save();
            node.stop();
        };
        let thread = std::thread::Builder::new().name("image-server".to_owned()).spawn(watch)?;
        let url = format!("https://{authority}");
        Ok(ImageServer { routes, _http: http, identity, watcher: Some((stop, thread)), url })
    }

    /// Where clients find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint()
    }

    /// What its monitor shows.
    pub fn status(&self) -> Status {
        self.routes.status()
    }

    /// Stops the seeder, keeps what the tracker knows, and closes the doors.
    pub fn stop(self) {}
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.watcher.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// IPv6 addresses stand in brackets in URLs (RFC 3986 §3.2.2).
fn authority(host: &str, port: u16) -> String {
    match host.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// The names to publish: overrides first, since images refer to them.
fn choose(store: &Store, settings: &Settings) -> Result<Vec<Name>, Error> {
    let mut names = (Vec::new(), Vec::new());
    for name in store.names()? {
        let is_override = store.record(&name)?.kind == Kind::Override;
        let wanted = if is_override { &settings.overrides } else { &settings.images };
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&name)) {
            if is_override { names.0.push(name) } else { names.1.push(name) }
        }
    }
    let asked = |list: &Option<Vec<Name>>| list.clone().unwrap_or_default();
    for (wanted, found, option) in [
        (asked(&settings.overrides), &names.0, "--images"),
        (asked(&settings.images), &names.1, "--overrides"),
    ] {
        if let Some(name) = wanted.into_iter().find(|name| !found.contains(name)) {
            let kind = store.record(&name)?.kind;
            return Err(Error::Kind { name, kind, option });
        }
    }
    names.0.append(&mut names.1);
    if names.0.is_empty() { Err(Error::Nothing(store.root().to_owned())) } else { Ok(names.0) }
}

/// The published overrides that belong to an image.
fn overrides_of(store: &Store, image: &Name, published: &[Name]) -> Result<Vec<Name>, Error> {
    let mut overrides = Vec::new();
    for name in published {
        if store.record(name)?.overrides.contains(image) {
            overrides.push(name.clone());
        }
    }
    Ok(overrides)
}

fn load(
    store: &Store,
    name: &Name,
    update: bool,
    told: &mut (dyn FnMut(&Name, Step) + Send),
) -> Result<Stored, Error> {
    let record = store.record(name)?;
    // A source that is gone takes nothing away from what was made of it.
    if update && record.source.exists() {
        Ok(store.put(name, &record, &mut |step| told(name, step))?)
    } else {
        Ok(store.get(name)?)
    }
}

fn publish(
    routes: &Routes,
    desk: &Desk,
    node: &Node,
    announce: &str,
    stored: Stored,
) -> Result<Published, Error> {
    let Stored { item, mut metainfo, packed } = stored;
    metainfo.trackers = vec![vec![announce.to_owned()]];
    desk.lock().serve(metainfo.info_hash)?;
    let torrent = metainfo.to_torrent().into();
    let published = |handle| Published {
        image: item.name.to_string(),
        total_bytes: metainfo.geometry.total_bytes(),
        handle,
    };
    let handle = node.add(Job {
        what: What::Metainfo(Arc::new(metainfo.clone())),
        directory: packed.file.parent().unwrap_or(Path::new(".")).to_owned(),
        super_seed: true,
        wanted: None,
        peers: Vec::new(),
    })?;
    let published = published(handle);
    routes.with_catalog(|catalog| catalog.publish(Entry { item, torrent }))?;
    Ok(published)
}

impl Desk {
    fn open(state: &Path, rng: &mut Rng) -> Desk {
        let tracker = Tracker::new(tracker::Settings::default(), rng.split());
        Desk { tracker: Mutex::new(tracker), memory: state.join("tracker.json"), start: Instant::now() }
    }

    /// Whom the tracker knew before a restart, of the torrents that it serves now.
    fn remember(&self) {
        let snapshot = fs::read(&self.memory).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(snapshot) = snapshot {
            self.lock().restore(self.now(), &snapshot);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    fn answer(&self, call: TrackerCall, query: &str, from: IpAddr) -> Vec<u8> {
        match call {
            TrackerCall::Announce => match query::announce(query) {
                Ok(announce) => self.lock().announce(self.now(), from, &announce).encode(),
                Err(error) => tracker::answer::failure(&error.to_string()),
            },
            TrackerCall::Scrape => match query::scrape(query) {
                Ok(hashes) => tracker::answer::scrape(&self.lock().scrape(self.now(), &hashes)),
                Err(error) => tracker::answer::failure(&error.to_string()),
            },
        }
    }

    /// Peers are known by the tracker; what is lost with its memory comes back with their next announces.
    fn save(&self) {
        let snapshot = self.lock().snapshot(self.now());
        if let Ok(text) = serde_json::to_vec(&snapshot) {
            let _ = catalog::replace(&self.memory, &text, true);
        }
    }

    /// What the tracker knows of a swarm, but for the first seeder, which is called `own`.
    fn observe(&self, published: &Published, own: PeerId) -> Observed {
        let peers = self.lock().peers(self.now(), published.handle.info_hash());
        let peers = peers.iter().filter(|peer| peer.peer_id != own);
        Observed {
            image: published.image.clone(),
            total_bytes: published.total_bytes,
            copies: published.handle.status().copies,
            peers: peers.map(|p| ObservedPeer { address: p.address, left_bytes: p.left }).collect(),
        }
    }
}
