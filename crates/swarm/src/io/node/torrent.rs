//! One torrent of a node: does what its session says, with files, sockets and threads.

mod leave;
mod traffic;

use super::super::announcer::{Announcer, Subject, Told};
use super::super::assembly::Assembly;
use super::super::hasher::{Done, Task};
use super::super::rate::Meter;
use super::super::storage::Storage;
use super::super::{Error, opening};
use super::driver::{Context, Mail};
use super::link::Link;
use super::{Job, Phase, Shared, Status, What};
use crate::bitfield::Bitfield;
use crate::geometry::Geometry;
use crate::id::InfoHash;
use crate::limits::{IDLE_LIMIT, MAX_CONNECTIONS};
use crate::metainfo::Metainfo;
use crate::peer::{
    AnnounceEvent, Conn, Content, Event, Input, Output, Progress, Session, Settings, Source,
    Torrent as About,
};
use leave::Parting;
use offload::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// Such a torrent.
pub struct Torrent {
    key: u64,
    info_hash: InfoHash,
    directory: PathBuf,
    wanted: Option<Vec<Range<u64>>>,
    super_seed: bool,
    given: Vec<SocketAddr>,
    shared: Arc<Shared>,
    /// `None` while its files are looked at for the first time, and once it has left.
    session: Option<Session>,
    files: Option<Files>,
    announcer: Option<Announcer>,
    links: BTreeMap<Conn, Link>,
    /// Connections with something new to send.
    dirty: BTreeSet<Conn>,
    wake: Option<Time>,
    opening: bool,
    /// Pieces that are with the hasher.
    hashing: usize,
    complete: bool,
    parting: Option<Parting>,
    ended: bool,
    last: Progress,
    down: Meter,
    up: Meter,
}

/// What is known with the metadata.
struct Files {
    metainfo: Arc<Metainfo>,
    storage: Arc<Storage>,
    assembly: Assembly,
    /// The pieces that are in place; the session hears of them a little later.
    have: Bitfield,
}

impl Torrent {
    pub fn start(context: &mut Context, key: u64, job: Job) -> Result<Torrent, Error> {
        let Job { what, directory, super_seed, wanted, peers } = job;
        let info_hash = what.info_hash();
        let phase = match &what {
            What::Metainfo(_) => Phase::Opening,
            What::Magnet(_) => Phase::Metadata,
        };
        let mut torrent = Torrent {
            key,
            info_hash,
            directory,
            wanted,
            super_seed,
            given: peers,
            shared: Arc::new(Shared::new(phase)),
            session: None,
            files: None,
            announcer: None,
            links: BTreeMap::new(),
            dirty: BTreeSet::new(),
            wake: None,
            opening: false,
            hashing: 0,
            complete: false,
            parting: None,
            ended: false,
            last: Progress::default(),
            down: Meter::default(),
            up: Meter::default(),
        };
        match what {
            What::Metainfo(metainfo) => torrent.open(context, metainfo)?,
            What::Magnet(magnet) => {
                let trackers = magnet.trackers.into_iter().map(|url| vec![url]).collect();
                torrent.begin(context, trackers, About { private: false, content: None })?;
            }
        }
        Ok(torrent)
    }

    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub fn links(&self) -> &BTreeMap<Conn, Link> {
        &self.links
    }

    /// Does it take connections?
    pub fn is_open(&self) -> bool {
        self.session.is_some() && self.parting.is_none()
    }

    pub fn wake(&self) -> Option<Time> {
        self.wake
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Has a thread look at the files.
    fn open(&mut self, context: &mut Context, metainfo: Arc<Metainfo>) -> Result<(), Error> {
        let (torrent, directory, post) = (self.key, self.directory.clone(), context.post.clone());
        let (stop, wanted) = (context.ending.clone(), self.wanted_pieces(&metainfo));
        self.opening = true;
        context.spawn("opening", move || {
            let files = opening::open(&metainfo, &directory, wanted.as_ref(), &stop);
            post.send(Mail::Opened { torrent, metainfo, files });
        })
    }

    fn wanted_pieces(&self, metainfo: &Metainfo) -> Option<Bitfield> {
        self.wanted.as_ref().map(|ranges| pieces_of(metainfo.geometry, ranges))
    }

    /// Begins to take part.
    fn begin(
        &mut self,
        context: &mut Context,
        trackers: Vec<Vec<String>>,
        about: About,
    ) -> Result<(), Error> {
        if !trackers.is_empty() {
            let (peer_id, port) = (context.peer_id, context.port);
            let subject = Subject { info_hash: self.info_hash, peer_id, port, trackers };
            let (post, torrent) = (context.post.clone(), self.key);
            let report = move |told| {
                post.send(Mail::Told { torrent, told });
            };
            self.announcer = Some(Announcer::start(subject, context.rng.split(), report)?);
        }
        let settings = Settings {
            peer_id: context.peer_id,
            port: context.port,
            upload_slots: context.upload_slots,
            max_connections: MAX_CONNECTIONS,
            super_seed: self.super_seed,
        };
        self.session = Some(Session::new(settings, about, context.rng.split()));
        let given = std::mem::take(&mut self.given);
        self.feed(context, Input::Peers { source: Source::Given, addresses: &given });
        self.settle(context);
        Ok(())
    }

    pub fn on_mail(&mut self, context: &mut Context, mail: Mail) {
        match mail {
            Mail::Hashed(done) => self.on_hashed(context, done),
            Mail::Opened { metainfo, files, .. } => self.on_files(context, metainfo, files),
            Mail::Refused { .. } => self.feed(context, Input::MetadataRefused),
            Mail::Told { told, .. } => self.on_told(context, told),
            Mail::Noted { outcome, .. } => self.on_noted(context, outcome),
            Mail::Stop { .. } => self.part(context, None),
            Mail::Want { ranges, heard, .. } => {
                self.on_want(context, ranges);
                self.settle(context);
                let _ = heard.send(());
            }
            Mail::Add { .. } | Mail::End => {}
        }
        self.settle(context);
    }

    fn on_files(
        &mut self,
        context: &mut Context,
        metainfo: Arc<Metainfo>,
        files: Result<(Storage, Bitfield), Error>,
    ) {
        self.opening = false;
        if self.parting.is_some() {
            return self.go(context);
        }
        let (storage, have) = match files {
            Ok(files) => files,
            Err(error) => return self.part(context, Some(error)),
        };
        let geometry = metainfo.geometry;
        let content = Content {
            geometry,
            have: have.clone(),
            wanted: self.wanted_pieces(&metainfo).unwrap_or_else(|| Bitfield::full(geometry.pieces())),
            metadata: metainfo.info.clone(),
        };
        let trackers = metainfo.trackers.clone();
        let private = metainfo.private;
        let (storage, assembly) = (Arc::new(storage), Assembly::new(geometry));
        self.files = Some(Files { metainfo, storage, assembly, have });
        if self.session.is_some() {
            return self.feed(context, Input::Content(Box::new(content)));
        }
        let begun = self.begin(context, trackers, About { private, content: Some(content) });
        if let Err(error) = begun {
            self.part(context, Some(error));
        }
    }

    fn on_want(&mut self, context: &mut Context, ranges: Vec<Range<u64>>) {
        if let (Some(files), Some(session)) = (&self.files, &mut self.session) {
            session.want(context.now(), &pieces_of(files.metainfo.geometry, &ranges));
            self.drain(context);
        }
        if let Some(wanted) = &mut self.wanted {
            wanted.extend(ranges);
        }
    }

    fn on_hashed(&mut self, context: &mut Context, done: Done) {
        self.hashing -= 1;
        let Done { piece, bytes, good, digests, .. } = done;
        let Some(files) = &mut self.files else { return };
        files.assembly.give_back(bytes);
        match good {
            Ok(good) => {
                if good {
                    files.have.insert(piece);
                }
                self.feed(context, Input::Verified { piece, good, digests });
            }
            Err(error) => self.part(context, Some(error)),
        }
        self.go(context);
    }

    fn on_told(&mut self, context: &mut Context, told: Told) {
        if let Err(reason) = &told.answer {
            context.log(format_args!("{}: no tracker answers: {reason}", self.info_hash));
        }
        if told.event == AnnounceEvent::Stopped {
            if let Some(announcer) = self.announcer.take() {
                announcer.join();
            }
            self.parting.iter_mut().for_each(|parting| parting.untold = false);
            return self.go(context);
        }
        self.feed(context, Input::Announced(told.answer.ok()));
    }

    pub fn on_unreached(&mut self, context: &mut Context, address: SocketAddr) {
        self.feed(context, Input::ConnectFailed { address });
        self.settle(context);
    }

    pub fn on_discovered(&mut self, context: &mut Context, address: SocketAddr) {
        self.feed(context, Input::Peers { source: Source::Discovery, addresses: &[address] });
        self.settle(context);
    }

    pub fn on_wake(&mut self, context: &mut Context) {
        let now = context.now();
        self.wake = None;
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
        self.drain(context);
        self.settle(context);
    }

    pub fn on_tick(&mut self, context: &mut Context) {
        let now = context.now();
        let idle = self.links.iter().filter(|(_, link)| now.since(link.heard) > IDLE_LIMIT);
        for conn in idle.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.lose(context, conn, "it has said nothing for too long");
        }
        self.settle(context);
        self.go(context);
        if !self.ended {
            self.publish(now);
        }
    }

    /// Sends what has come to be sent, and sees whether all is there.
    fn settle(&mut self, context: &mut Context) {
        while let Some(conn) = self.dirty.pop_first() {
            self.write(context, conn);
        }
        let complete = self.session.as_ref().is_some_and(Session::is_complete);
        if complete == self.complete || self.parting.is_some() {
            return;
        }
        self.complete = complete;
        if complete {
            if let Some(files) = &mut self.files {
                files.assembly.clear();
            }
            if let Err(error) = self.note(context) {
                return self.part(context, Some(error));
            }
        }
        self.publish(context.now());
    }

    fn feed(&mut self, context: &mut Context, input: Input<'_>) {
        let now = context.now();
        if let Some(session) = &mut self.session {
            session.handle_input(now, input);
        }
        self.drain(context);
    }

    /// Does all that the session wants done.
    fn drain(&mut self, context: &mut Context) {
        loop {
            let now = context.now();
            let Some(session) = &mut self.session else { return };
            match session.poll_output(now) {
                Output::Connect { address } => context.connects.push((self.key, address)),
                Output::Message { conn, message } => self.send(context, conn, message),
                Output::Block { conn, block } => {
                    if let Some(link) = self.links.get_mut(&conn) {
                        link.writer.push_block(block);
                        link.owes_drained = true;
                        link.sent_bytes += u64::from(block.length);
                        self.dirty.insert(conn);
                    }
                }
                Output::Verify { piece, digests } => self.verify(context, piece, digests),
                Output::Forget { piece } => self.files.iter_mut().for_each(|f| f.assembly.forget(piece)),
                Output::Metadata { bytes } => self.on_metadata(context, bytes),
                Output::Announce { event, progress } => self.announce(context, event, progress),
                Output::Discover => context.calls.push(self.info_hash),
                Output::Close { conn, reason } => {
                    self.remove(context, conn, reason);
                }
                Output::Event(Event::Banned { address }) => {
                    context.log(format_args!(
                        "{address}: banned: it sent bytes that are not the torrent's"
                    ));
                }
                Output::Event(Event::Piece { .. } | Event::Complete) => {}
                Output::Wake(at) => {
                    self.wake = at;
                    return;
                }
            }
        }
    }

    fn verify(&mut self, context: &mut Context, piece: u32, digests: bool) {
        let Some(files) = &mut self.files else { return };
        let taken = files.assembly.take(piece).zip(files.metainfo.hash_of(piece));
        debug_assert!(taken.is_some(), "piece {piece} is not whole");
        let Some((bytes, hash)) = taken else { return };
        let (storage, geometry) = (files.storage.clone(), files.metainfo.geometry);
        self.hashing += 1;
        context.hasher.submit(Task {
            torrent: self.key,
            storage,
            geometry,
            piece,
            bytes,
            hash,
            digests,
        });
    }

    fn announce(&mut self, context: &mut Context, event: AnnounceEvent, progress: Progress) {
        match &self.announcer {
            Some(announcer) => {
                announcer.ask(event, progress);
                if event == AnnounceEvent::Stopped {
                    self.parting.iter_mut().for_each(|parting| parting.untold = true);
                }
            }
            None if event == AnnounceEvent::Stopped => {}
            None => {
                let told = Told { event, answer: Err("it has none".into()) };
                context.post.send(Mail::Told { torrent: self.key, told });
            }
        }
    }

    fn on_metadata(&mut self, context: &mut Context, bytes: Vec<u8>) {
        let metainfo = Metainfo::from_info(bytes, Vec::new());
        match metainfo.map_err(|e| e.to_string()) {
            Ok(metainfo) if metainfo.info_hash == self.info_hash => {
                if let Err(error) = self.open(context, Arc::new(metainfo)) {
                    self.part(context, Some(error));
                }
            }
            other => {
                let why = other.err().unwrap_or_else(|| "it is another torrent's".into());
                context.log(format_args!("{}: metadata refused: {why}", self.info_hash));
                context.post.send(Mail::Refused { torrent: self.key });
            }
        }
    }

    fn publish(&mut self, now: Time) {
        if let Some(session) = &self.session {
            self.last = session.progress();
            self.down.set(now, self.last.downloaded_bytes);
            self.up.set(now, self.last.uploaded_bytes);
        }
        let phase = match &mut self.parting {
            Some(Parting { why: Some(error), .. }) if self.ended => Phase::Failed(error.clone()),
            Some(_) if self.ended => Phase::Stopped,
            _ if self.complete => Phase::Seeding,
            _ if self.opening => Phase::Opening,
            _ if self.files.is_none() => Phase::Metadata,
            _ => Phase::Fetching,
        };
        self.shared.set(Status {
            phase,
            complete: self.complete,
            metainfo: self.files.as_ref().map(|files| files.metainfo.clone()),
            have_pieces: self.files.as_ref().map_or(0, |files| files.have.count()),
            progress: self.last,
            down_rate: self.down.rate(),
            up_rate: self.up.rate(),
            peers: self.links.values().map(Link::status).collect(),
            copies: self.session.as_ref().and_then(Session::copies),
        });
    }
}

fn pieces_of(geometry: Geometry, ranges: &[Range<u64>]) -> Bitfield {
    let mut pieces = Bitfield::new(geometry.pieces());
    let size = u64::from(geometry.piece_bytes());
    for range in ranges.iter().filter(|range| range.start < range.end) {
        let end = range.end.min(geometry.total_bytes()).div_ceil(size);
        for piece in (range.start / size)..end {
            pieces.insert(u32::try_from(piece).unwrap_or(u32::MAX));
        }
    }
    pieces
}
