//! A node: one listening address, one thread at `poll`, and any number of torrents.
//!
//! [`Node::start`] gives the thread its sockets, [`Node::add`] a torrent, and the [`Handle`] that comes
//! back shows how far it is. Nothing here decides anything about peers: that is the session's.
//!
//! Left out: making room on disk ahead, more than one thread at the sockets (the hashes cost more than the
//! sockets, and they have threads of their own), and waiting for a disk that is slower than the network:
//! a block that is not in the page cache is read when its turn comes, and all connections wait for it.

mod driver;
mod greeting;
mod link;
mod torrent;

use super::mail::{Post, mailbox};
use super::{Error, refused};
use crate::id::{InfoHash, PeerId};
use crate::limits::UPLOAD_SLOTS;
use crate::magnet::Magnet;
use crate::metainfo::Metainfo;
use crate::peer::Progress;
use driver::{Driver, Mail};
use offload::rng::Rng;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// What may interest a person: a line without a line feed.
pub type Log = Box<dyn Fn(&str) + Send>;

/// How a node behaves.
pub struct NodeSettings {
    /// Where to listen; port 0 is any. `[::]` listens for IPv4 too, and for nothing else where the kernel has
    /// no IPv6.
    pub listen: SocketAddr,
    /// Our name.
    pub peer_id: PeerId,
    /// Peers of a torrent that are served at once.
    pub upload_slots: usize,
    /// The most to send, over all torrents.
    pub upload_bytes_per_second: Option<u64>,
    /// The most to receive.
    pub download_bytes_per_second: Option<u64>,
    /// Look for peers on the local network (BEP 14).
    pub discovery: bool,
    /// Who is told what happens.
    pub log: Log,
}

impl NodeSettings {
    /// Any port of every address, no limits, discovery, silence.
    pub fn new(peer_id: PeerId) -> NodeSettings {
        NodeSettings {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            peer_id,
            upload_slots: UPLOAD_SLOTS,
            upload_bytes_per_second: None,
            download_bytes_per_second: None,
            discovery: true,
            log: Box::new(|_| {}),
        }
    }
}

/// What is known of a torrent.
#[derive(Clone, Debug)]
pub enum What {
    /// All.
    Metainfo(Arc<Metainfo>),
    /// Its name; the rest comes from peers (BEP 9).
    Magnet(Magnet),
}

impl What {
    /// Its name in the swarm.
    pub fn info_hash(&self) -> InfoHash {
        match self {
            What::Metainfo(metainfo) => metainfo.info_hash,
            What::Magnet(magnet) => magnet.info_hash,
        }
    }
}

/// A torrent to take part in.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which.
    pub what: What,
    /// Where its files are, or are to be.
    pub directory: PathBuf,
    /// BEP 16. For a first seeder.
    pub super_seed: bool,
    /// The bytes that are wanted; all where `None`.
    pub wanted: Option<Vec<Range<u64>>>,
    /// Peers to try.
    pub peers: Vec<SocketAddr>,
}

/// Where a torrent is on its way.
#[derive(Clone, Debug)]
pub enum Phase {
    /// What is on disk is being looked at.
    Opening,
    /// The metadata of a magnet link is awaited.
    Metadata,
    /// Pieces are being fetched.
    Fetching,
    /// All wanted pieces are in place; others are served.
    Seeding,
    /// It has left the swarm.
    Stopped,
    /// It has left the swarm for this reason.
    Failed(Error),
}

/// How far a torrent is; at most [`crate::limits::STATUS_PERIOD`] old.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where it is on its way.
    pub phase: Phase,
    /// Every wanted piece is in place, or was when it left the swarm.
    pub complete: bool,
    /// Its metadata, once known.
    pub metainfo: Option<Arc<Metainfo>>,
    /// Pieces in place.
    pub have_pieces: u32,
    /// Bytes moved and missing.
    pub progress: Progress,
    /// Bytes of content that are received a second.
    pub down_rate: u64,
    /// Bytes of content that are sent a second.
    pub up_rate: u64,
    /// Who is connected.
    pub peers: Vec<PeerStatus>,
    /// How many copies of the content there are among us and them.
    pub copies: Option<f64>,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The far end.
    pub address: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
    /// Bytes of content from it.
    pub received_bytes: u64,
    /// Bytes of content to it.
    pub sent_bytes: u64,
}

impl Status {
    /// Pieces there are; 0 while that is not known.
    pub fn pieces(&self) -> u32 {
        self.metainfo.as_ref().map_or(0, |metainfo| metainfo.geometry.pieces())
    }

    /// Time until all is there, at the present rate.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.progress.left_bytes;
        self.metainfo.as_ref().and(left.checked_div(self.down_rate)).map(Duration::from_secs)
    }
}

/// What the node's thread and a handle share.
struct Shared {
    status: Mutex<Status>,
    changed: Condvar,
}

impl Shared {
    fn new(phase: Phase) -> Shared {
        let status = Status {
            phase,
            complete: false,
            metainfo: None,
            have_pieces: 0,
            progress: Progress::default(),
            down_rate: 0,
            up_rate: 0,
            peers: Vec::new(),
            copies: None,
        };
        Shared { status: Mutex::new(status), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, status: Status) {
        *self.lock() = status;
        self.changed.notify_all();
    }

    /// Waits until `done` has something to say of the status, or until the moment.
    fn wait<T>(&self, until: Option<Instant>, done: impl Fn(&Status) -> Option<T>) -> Option<T> {
        let mut status = self.lock();
        loop {
            if let Some(outcome) = done(&status) {
                return Some(outcome);
            }
            status = match until {
                None => self.changed.wait(status).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let rest = until.checked_duration_since(Instant::now())?;
                    self.changed.wait_timeout(status, rest).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// A torrent of a node. Dropped, it goes on.
pub struct Handle {
    torrent: u64,
    info_hash: InfoHash,
    shared: Arc<Shared>,
    post: Post<Mail>,
}

impl Handle {
    /// Which torrent.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        self.shared.lock().clone()
    }

    /// Waits until every wanted piece is in place, at most for `limit`.
    ///
    /// # Errors
    /// It failed or was stopped before, or the time is over ([`Error::Late`]).
    pub fn wait_complete(&self, limit: Option<Duration>) -> Result<(), Error> {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        let outcome = self.shared.wait(until, |status| match &status.phase {
            _ if status.complete => Some(Ok(())),
            Phase::Failed(error) => Some(Err(error.clone())),
            Phase::Stopped => Some(Err(Error::Stopped)),
            _ => None,
        });
        outcome.unwrap_or(Err(Error::Late))
    }

    /// Wants these bytes too. From now on it is complete only with them.
    pub fn want(&self, ranges: Vec<Range<u64>>) {
        let (heard, answer) = sync_channel(1);
        self.post.send(Mail::Want { torrent: self.torrent, ranges, heard });
        // No answer where the torrent has ended; its status says so.
        let _ = answer.recv();
    }

    /// Leaves the swarm: tells the tracker, notes what is there for the next start. The wait is bounded by
    /// [`crate::limits::PARTING_LIMIT`] and the disk.
    pub fn stop(&self) {
        self.post.send(Mail::Stop { torrent: self.torrent });
        let ended =
            |status: &Status| matches!(status.phase, Phase::Stopped | Phase::Failed(_)).then_some(());
        self.shared.wait(None, ended);
    }
}

/// A node. Dropped, it stops.
pub struct Node {
    address: SocketAddr,
    post: Post<Mail>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Listens and starts the threads.
    ///
    /// # Errors
    /// The address cannot be had, or the system gives no threads.
    pub fn start(settings: NodeSettings, rng: Rng) -> Result<Node, Error> {
        let asked = settings.listen;
        let unlistened = |e: io::Error| Error::Listen { address: asked, source: Arc::new(e) };
        let listener = match listen(asked) {
            // A kernel without IPv6.
            Err(e) if is_any(asked) && e.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
                listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, asked.port())))
            }
            listener => listener,
        };
        let listener = listener.map_err(unlistened)?;
        let address = listener.local_addr().map_err(unlistened)?;
        let (mailbox, post) = mailbox().map_err(|e| refused("an event descriptor", e))?;
        let driver = Driver::new(settings, listener, address, mailbox, post.clone(), rng)?;
        let thread = Builder::new().name("node".into()).spawn(move || driver.run());
        let thread = Some(thread.map_err(|e| refused("a thread for the sockets", e))?);
        Ok(Node { address, post, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes part in a torrent. What is on disk is looked at first, in a thread of its own.
    ///
    /// # Errors
    /// The node has it already, or has too many. All else shows in the handle.
    pub fn add(&self, mut job: Job) -> Result<Handle, Error> {
        let info_hash = job.what.info_hash();
        if let What::Magnet(magnet) = &job.what {
            let known = magnet.peers.iter().filter_map(|peer| peer.to_socket_addrs().ok());
            job.peers.extend(known.flatten());
        }
        let (reply, answer) = sync_channel(1);
        self.post.send(Mail::Add { job: Box::new(job), reply });
        let (torrent, shared) = answer.recv().unwrap_or(Err(Error::Stopped))?;
        Ok(Handle { torrent, info_hash, shared, post: self.post.clone() })
    }

    /// Stops all torrents as [`Handle::stop`] does, then the threads.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.post.send(Mail::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// Every address of both families?
fn is_any(address: SocketAddr) -> bool {
    address.ip() == Ipv6Addr::UNSPECIFIED
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!is_any(address))?;
    }
    // A node that is started again listens where it did.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
