//! The thread at `poll`: waits, hands what is ready to whom it belongs, and keeps the clock.

use super::super::discovery::Discovery;
use super::super::hasher::{Done, Hasher};
use super::super::mail::{Mailbox, Post};
use super::super::opening::hash_threads;
use super::super::rate::Bucket;
use super::super::storage::Storage;
use super::super::{Error, announcer, refused};
use super::greeting::{Greeting, handshake};
use super::torrent::Torrent;
use super::{Job, Log, NodeSettings, Shared};
use crate::bitfield::Bitfield;
use crate::id::{InfoHash, PeerId};
use crate::limits::{ACCEPT_PAUSE, MAX_GREETINGS, MAX_NODE_CONNECTIONS, MAX_TORRENTS, STATUS_PERIOD};
use crate::metainfo::Metainfo;
use crate::peer::{Conn, Direction};
use crate::wire::handshake::Handshake;
use offload::rng::Rng;
use offload::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// What handles and other threads have to say.
pub enum Mail {
    Add {
        job: Box<Job>,
        reply: SyncSender<Result<(u64, Arc<Shared>), Error>>,
    },
    Want {
        torrent: u64,
        ranges: Vec<Range<u64>>,
        /// Told once the status knows of it.
        heard: SyncSender<()>,
    },
    Stop {
        torrent: u64,
    },
    End,
    /// A piece was hashed.
    Hashed(Done),
    /// A torrent's files were opened.
    Opened {
        torrent: u64,
        metainfo: Arc<Metainfo>,
        files: Result<(Storage, Bitfield), Error>,
    },
    /// What peers gave as its metadata is not.
    Refused {
        torrent: u64,
    },
    /// A tracker was asked.
    Told {
        torrent: u64,
        told: announcer::Told,
    },
    /// What is there was noted.
    Noted {
        torrent: u64,
        outcome: Result<(), Error>,
    },
}

/// What torrents share.
pub struct Context {
    start: Instant,
    pub peer_id: PeerId,
    pub port: u16,
    pub upload_slots: usize,
    pub upload: Bucket,
    pub download: Bucket,
    /// See [`super::super::conn::Supply`].
    pub buffer: Vec<u8>,
    pub hasher: Hasher,
    pub post: Post<Mail>,
    pub rng: Rng,
    log: Log,
    /// Who waits for the upload limit, in the order in which they came.
    pub line: VecDeque<(u64, Conn)>,
    /// Where sessions want to go.
    pub connects: Vec<(u64, SocketAddr)>,
    /// What the local network is to be told.
    pub calls: Vec<InfoHash>,
    /// Ends the threads that look at files.
    pub ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Context {
    pub fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    pub fn log(&self, line: impl std::fmt::Display) {
        (self.log)(&line.to_string());
    }

    /// Has a thread do what may take a while; it is joined at the end.
    pub fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.threads.retain(|thread| !thread.is_finished());
        let thread = Builder::new().name(name.into()).spawn(work);
        self.threads.push(thread.map_err(|e| refused("a thread to look at files", e))?);
        Ok(())
    }
}

/// What a descriptor in the poll set belongs to.
#[derive(Clone, Copy)]
enum Owner {
    Bell,
    Listener,
    Discovery(usize),
    Greeting(Conn),
    Link(u64, Conn),
}

pub struct Driver {
    context: Context,
    mailbox: Mailbox<Mail>,
    listener: TcpListener,
    accept_from: Time,
    discovery: Option<Discovery>,
    torrents: BTreeMap<u64, Torrent>,
    greetings: BTreeMap<Conn, Greeting>,
    max_connections: usize,
    next_torrent: u64,
    next_conn: u64,
    tick_at: Time,
    rounds: usize,
    ended: bool,
}

impl Driver {
    pub fn new(
        settings: NodeSettings,
        listener: TcpListener,
        address: SocketAddr,
        mailbox: Mailbox<Mail>,
        post: Post<Mail>,
        mut rng: Rng,
    ) -> Result<Driver, Error> {
        let reports = post.clone();
        let report = move |done| {
            reports.send(Mail::Hashed(done));
        };
        let cookie = format!("{:016x}", rng.u64());
        // Half of the descriptors are for files.
        let descriptors = getrlimit(Resource::Nofile).current.and_then(|n| usize::try_from(n).ok());
        let context = Context {
            start: Instant::now(),
            peer_id: settings.peer_id,
            port: address.port(),
            upload_slots: settings.upload_slots,
            upload: Bucket::new(settings.upload_bytes_per_second),
            download: Bucket::new(settings.download_bytes_per_second),
            buffer: Vec::new(),
            hasher: Hasher::start(hash_threads(), report)?,
            post,
            rng,
            log: settings.log,
            line: VecDeque::new(),
            connects: Vec::new(),
            calls: Vec::new(),
            ending: Arc::default(),
            threads: Vec::new(),
        };
        Ok(Driver {
            context,
            mailbox,
            listener,
            accept_from: Time::ZERO,
            discovery: settings.discovery.then(|| Discovery::open(cookie)),
            torrents: BTreeMap::new(),
            greetings: BTreeMap::new(),
            max_connections: descriptors
                .map_or(MAX_NODE_CONNECTIONS, |n| (n / 2).min(MAX_NODE_CONNECTIONS)),
            next_torrent: 0,
            next_conn: 0,
            tick_at: Time::ZERO,
            rounds: 0,
            ended: false,
        })
    }

    pub fn run(mut self) {
        if self.discovery.as_ref().is_some_and(|discovery| discovery.sockets().is_empty()) {
            self.context.log("no multicast here: peers are not looked for on the local network");
        }
        while !self.ended || !self.torrents.is_empty() {
            self.wait();
            self.go_on();
            self.keep_time();
        }
        self.context.ending.store(true, Ordering::Relaxed);
        for thread in self.context.threads.drain(..) {
            let _ = thread.join();
        }
    }

    /// Waits for something to happen, and hands it on.
    fn wait(&mut self) {
        let now = self.context.now();
        let download_at = self.context.download.ready(now).err();
        let line_at = self.context.upload.ready(now).err().filter(|_| !self.context.line.is_empty());
        let (mut fds, owners) = self.poll_set(now, download_at.is_none());
        let busy = !self.torrents.is_empty() || !self.greetings.is_empty() || self.accept_from > now;
        let wakes = self.torrents.values().filter_map(Torrent::wake);
        let times = [download_at, line_at, busy.then_some(self.tick_at)].into_iter().flatten();
        let until = wakes.chain(times).min();
        let timeout = until.and_then(|at| Timespec::try_from(at.since(now)).ok());
        // Interrupted or out of memory: as if nothing had happened, and the next round tries again.
        let _ = poll(&mut fds, timeout.as_ref());
        let mut ready: Vec<(Owner, PollFlags)> = owners
            .into_iter()
            .zip(fds.iter().map(PollFd::revents))
            .filter(|(_, events)| !events.is_empty())
            .collect();
        drop(fds);
        // Nobody is always the first to have what the limits allow.
        self.rounds = self.rounds.wrapping_add(1);
        let first = self.rounds % ready.len().max(1);
        ready.rotate_left(first);
        for (owner, events) in ready {
            match owner {
                Owner::Bell => self.read_mail(),
                Owner::Listener => self.accept(),
                Owner::Discovery(socket) => self.hear(socket),
                Owner::Greeting(conn) => self.greet(conn),
                Owner::Link(torrent, conn) => {
                    if let Some(torrent) = self.torrents.get_mut(&torrent) {
                        torrent.on_ready(&mut self.context, conn, events);
                    }
                }
            }
        }
    }

    fn poll_set(&self, now: Time, may_read: bool) -> (Vec<PollFd<'_>>, Vec<Owner>) {
        let mut fds = vec![PollFd::from_borrowed_fd(self.mailbox.bell(), PollFlags::IN)];
        let mut owners = vec![Owner::Bell];
        let links: usize = self.torrents.values().map(|torrent| torrent.links().len()).sum();
        if !self.ended && now >= self.accept_from && links + self.greetings.len() < self.max_connections
        {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
            owners.push(Owner::Listener);
        }
        let discovery = self.discovery.iter().flat_map(Discovery::sockets).enumerate();
        for (index, socket) in discovery {
            fds.push(PollFd::new(socket, PollFlags::IN));
            owners.push(Owner::Discovery(index));
        }
        for (conn, greeting) in &self.greetings {
            fds.push(PollFd::new(&greeting.socket, greeting.interest()));
            owners.push(Owner::Greeting(*conn));
        }
        for (key, torrent) in &self.torrents {
            for (conn, link) in torrent.links() {
                fds.push(PollFd::new(&*link.socket, link.interest(may_read)));
                owners.push(Owner::Link(*key, *conn));
            }
        }
        (fds, owners)
    }

    fn read_mail(&mut self) {
        self.mailbox.open();
        while let Some(mail) = self.mailbox.take() {
            let torrent = match &mail {
                Mail::Add { .. } | Mail::End => None,
                Mail::Hashed(done) => Some(done.torrent),
                Mail::Want { torrent, .. }
                | Mail::Stop { torrent }
                | Mail::Opened { torrent, .. }
                | Mail::Refused { torrent }
                | Mail::Told { torrent, .. }
                | Mail::Noted { torrent, .. } => Some(*torrent),
            };
            let torrent = torrent.and_then(|key| self.torrents.get_mut(&key));
            match (mail, torrent) {
                (Mail::Add { job, reply }, _) => {
                    let _ = reply.send(self.add(*job));
                }
                (Mail::End, _) => {
                    self.ended = true;
                    self.context.ending.store(true, Ordering::Relaxed);
                    self.torrents.values_mut().for_each(|torrent| torrent.part(&mut self.context, None));
                }
                (mail, Some(torrent)) => torrent.on_mail(&mut self.context, mail),
                (_, None) => {}
            }
        }
    }

    fn add(&mut self, job: Job) -> Result<(u64, Arc<Shared>), Error> {
        let info_hash = job.what.info_hash();
        if self.ended {
            return Err(Error::Stopped);
        }
        // One that has just ended, and was seen to, is swept away at the end of this round.
        let there = |torrent: &Torrent| torrent.info_hash() == info_hash && !torrent.has_ended();
        if self.torrents.values().any(there) {
            return Err(Error::Known(info_hash));
        }
        if self.torrents.len() >= MAX_TORRENTS {
            return Err(Error::TooMany(info_hash));
        }
        let key = self.next_torrent;
        self.next_torrent += 1;
        let torrent = Torrent::start(&mut self.context, key, job)?;
        let shared = torrent.shared();
        self.torrents.insert(key, torrent);
        Ok((key, shared))
    }

    fn accept(&mut self) {
        let now = self.context.now();
        match self.listener.accept() {
            Ok((socket, address)) => {
                let incoming = self.greetings.iter().filter(|(_, g)| g.direction == Direction::Incoming);
                let first = incoming.clone().next().map(|(conn, _)| *conn);
                // Whoever says nothing does not keep out who would.
                if let Some(first) = first.filter(|_| incoming.count() >= MAX_GREETINGS) {
                    self.greetings.remove(&first);
                }
                if let Ok(greeting) = Greeting::accepted(socket, address, now) {
                    let conn = self.number();
                    self.greetings.insert(conn, greeting);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => {
                self.context.log(format_args!("a connection could not be accepted: {e}"));
                self.accept_from = now + ACCEPT_PAUSE;
                self.tick_at = self.tick_at.min(self.accept_from);
            }
        }
    }

    fn number(&mut self) -> Conn {
        self.next_conn += 1;
        Conn(self.next_conn)
    }

    fn hear(&mut self, socket: usize) {
        while let Some((address, hashes)) = self.discovery.as_ref().and_then(|d| d.receive(socket)) {
            for torrent in
                self.torrents.values_mut().filter(|torrent| hashes.contains(&torrent.info_hash()))
            {
                torrent.on_discovered(&mut self.context, address);
            }
        }
    }

    fn greet(&mut self, conn: Conn) {
        let Some(greeting) = self.greetings.get_mut(&conn) else { return };
        match greeting.proceed() {
            Ok(None) => {}
            Ok(Some(theirs)) => self.adopt(conn, theirs),
            Err(e) => self.give_up(conn, &e.to_string()),
        }
    }

    /// The far end has said which torrent it is about.
    fn adopt(&mut self, conn: Conn, theirs: Handshake) {
        let Some(greeting) = self.greetings.get_mut(&conn) else { return };
        let key = match &greeting.ours {
            Some((key, ours)) => (ours.info_hash == theirs.info_hash).then_some(*key),
            None => {
                let same =
                    |torrent: &Torrent| torrent.info_hash() == theirs.info_hash && torrent.is_open();
                let found = self.torrents.iter().find(|(_, torrent)| same(torrent)).map(|(key, _)| *key);
                let ours = handshake(theirs.info_hash, self.context.peer_id);
                found.filter(|_| greeting.send(ours).is_ok())
            }
        };
        let torrent =
            key.and_then(|key| self.torrents.get_mut(&key)).filter(|torrent| torrent.is_open());
        let Some(torrent) = torrent else { return self.give_up(conn, "it is about another torrent") };
        if let Some(greeting) = self.greetings.remove(&conn) {
            torrent.on_opened(&mut self.context, conn, greeting, theirs);
        }
    }

    fn give_up(&mut self, conn: Conn, reason: &str) {
        let Some(greeting) = self.greetings.remove(&conn) else { return };
        self.context.log(format_args!("{}: no connection: {reason}", greeting.address));
        if let Some(torrent) = greeting.ours.and_then(|(key, _)| self.torrents.get_mut(&key)) {
            torrent.on_unreached(&mut self.context, greeting.address);
        }
    }

    /// Does what torrents have asked for.
    fn go_on(&mut self) {
        while let Some((key, conn)) = self.context.line.pop_front() {
            if self.context.upload.ready(self.context.now()).is_err() {
                self.context.line.push_front((key, conn));
                break;
            }
            if let Some(torrent) = self.torrents.get_mut(&key) {
                torrent.on_turn(&mut self.context, conn);
            }
        }
        while let Some((key, address)) = self.context.connects.pop() {
            let (peer_id, now) = (self.context.peer_id, self.context.now());
            let Some(torrent) = self.torrents.get_mut(&key) else { continue };
            match Greeting::connect(address, key, torrent.info_hash(), peer_id, now) {
                Ok(greeting) => {
                    let conn = self.number();
                    self.greetings.insert(conn, greeting);
                }
                Err(e) => {
                    self.context.log(format_args!("{address}: no connection: {e}"));
                    torrent.on_unreached(&mut self.context, address);
                }
            }
        }
        while let Some(info_hash) = self.context.calls.pop() {
            let sent =
                self.discovery.as_ref().map(|discovery| discovery.send(self.context.port, info_hash));
            if let Some(Err(e)) = sent {
                self.context.log(format_args!("{info_hash}: the local network could not be told: {e}"));
            }
        }
    }

    /// Sessions are woken when they asked for it, all else is looked at from time to time.
    fn keep_time(&mut self) {
        let now = self.context.now();
        for torrent in self.torrents.values_mut() {
            if torrent.wake().is_some_and(|at| at <= now) {
                torrent.on_wake(&mut self.context);
            }
        }
        if now >= self.tick_at {
            self.tick_at = now + STATUS_PERIOD;
            let late = self.greetings.iter().filter(|(_, greeting)| greeting.deadline <= now);
            for conn in late.map(|(conn, _)| *conn).collect::<Vec<_>>() {
                self.give_up(conn, "no handshake in time");
            }
            self.torrents.values_mut().for_each(|torrent| torrent.on_tick(&mut self.context));
        }
        self.torrents.retain(|_, torrent| !torrent.has_ended());
    }
}
