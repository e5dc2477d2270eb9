//! One peer's part in one torrent: what arrives is told to the part of it that knows, then everything that
//! has become possible is done.

use super::announce::Announcer;
use super::blame::Blame;
use super::book::Book;
use super::download::Download;
use super::link::Link;
use super::metadata::Fetch;
use super::superseed::Shown;
use super::upload::Upload;
use super::{
    AnnounceEvent, Announced, Conn, Content, Event, Input, Output, Progress, Settings, Source, Torrent,
};
use crate::bitfield::Bitfield;
use crate::geometry::Block;
use crate::wire::message::Message;
use offload::rng::Rng;
use offload::time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How often a session with connections looks around: who is late, whose turn it is, who else there is.
const TICK: Duration = Duration::from_millis(250);

/// A peer's part in one torrent. The call order is in the module's documentation.
pub struct Session {
    pub(super) settings: Settings,
    pub(super) private: bool,
    pub(super) rng: Rng,
    pub(super) links: BTreeMap<Conn, Link>,
    /// What is known of the content; nothing yet with a magnet link.
    pub(super) download: Option<Download>,
    pub(super) metadata: Vec<u8>,
    pub(super) fetch: Fetch,
    pub(super) upload: Upload,
    pub(super) shown: Option<Shown>,
    pub(super) book: Book,
    pub(super) connecting: usize,
    pub(super) blame: Blame,
    pub(super) announcer: Announcer,
    pub(super) out: VecDeque<Output>,
    pub(super) totals: Progress,
    tick_at: Time,
    stopped: bool,
}

impl Session {
    /// A session that knows nobody yet.
    pub fn new(settings: Settings, torrent: Torrent, mut rng: Rng) -> Session {
        let mut session = Session {
            settings,
            private: torrent.private,
            rng: rng.split(),
            links: BTreeMap::new(),
            download: None,
            metadata: Vec::new(),
            fetch: Fetch::default(),
            upload: Upload::default(),
            shown: None,
            book: Book::default(),
            connecting: 0,
            blame: Blame::default(),
            announcer: Announcer::new(),
            out: VecDeque::new(),
            totals: Progress::default(),
            tick_at: Time::ZERO,
            stopped: false,
        };
        if let Some(content) = torrent.content {
            session.learn_content(content);
        }
        session
    }

    /// Takes in what has arrived.
    pub fn handle_input(&mut self, now: Time, input: Input<'_>) {
        if self.stopped {
            return;
        }
        match input {
            Input::Peers { source, addresses } => self.named(now, source, addresses),
            Input::Opened { conn, address, direction, peer_id, features } => {
                self.opened(now, conn, address, direction, peer_id, features);
            }
            Input::ConnectFailed { address } => {
                self.connecting = self.connecting.saturating_sub(1);
                self.book.ended(now, address, false, &mut self.rng);
            }
            Input::Message { conn, message } => self.message(now, conn, message),
            Input::Block { conn, block, kept } => self.block(now, conn, block, kept),
            Input::Drained { conn } => self.drained(conn),
            Input::Closed { conn } => self.gone(now, conn),
            Input::Verified { piece, good, digests } => self.verified(now, piece, good, &digests),
            Input::Announced(answer) => self.announced(now, answer),
            Input::Content(content) => self.content_came(now, *content),
            Input::MetadataRefused => self.metadata_refused(now),
        }
        self.settle(now);
    }

    /// Takes in that time has passed. Harmless when called early.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.stopped {
            return;
        }
        if now >= self.tick_at {
            self.tick_at = now + TICK;
            self.check_lateness(now);
            self.exchange_addresses(now);
            self.fetch.expire(now);
            self.ask_for_metadata(now);
            self.choke_round(now);
            self.show_others(now);
            self.download.iter_mut().for_each(|download| download.hungry = true);
        }
        self.settle(now);
    }

    /// Does what has become possible.
    fn settle(&mut self, now: Time) {
        if self.download.as_ref().is_some_and(|download| download.hungry) {
            self.refill_all(now);
        }
        self.serve(now);
        self.connect(now);
        let lonely = self.is_lonely();
        if let Some(event) = self.announcer.due(now, lonely) {
            self.out.push_back(Output::Announce { event, progress: self.progress() });
        }
        if !self.private && self.announcer.discover(now, lonely) {
            self.out.push_back(Output::Discover);
        }
    }

    /// Is nobody there who could give us what we lack?
    fn is_lonely(&self) -> bool {
        !self.is_complete() && self.links.is_empty() && self.connecting == 0 && self.book.is_exhausted()
    }

    fn announced(&mut self, now: Time, answer: Option<Announced>) {
        self.announcer.answered(now, answer.as_ref().map(|answer| answer.interval), &mut self.rng);
        if let Some(answer) = answer {
            self.named(now, Source::Tracker, &answer.peers);
        }
    }

    fn message(&mut self, now: Time, conn: Conn, message: Message) {
        if !self.links.contains_key(&conn) {
            return;
        }
        match message {
            Message::KeepAlive | Message::HaveNone | Message::Suggest(_) | Message::Unknown(_) => {}
            Message::Choke => self.choked(conn),
            Message::Unchoke => self.unchoked(now, conn),
            Message::AllowedFast(piece) => self.allowed(now, conn, piece),
            Message::Reject(block) => self.rejected(now, conn, block),
            Message::Have(piece) => self.has_piece(now, conn, piece),
            Message::Bitfield(bytes) => self.has_pieces(now, conn, Some(&bytes)),
            Message::HaveAll => self.has_pieces(now, conn, None),
            Message::Interested => self.interest(now, conn, true),
            Message::NotInterested => self.interest(now, conn, false),
            Message::Request(block) => self.requested(now, conn, block),
            Message::Cancel(block) => self.called_off(conn, block),
            Message::Extended { id, payload } => self.extended(now, conn, id, &payload),
        }
    }

    /// The next thing to do; [`Output::Wake`] ends the round.
    pub fn poll_output(&mut self, now: Time) -> Output {
        self.out.pop_front().unwrap_or_else(|| Output::Wake(self.wake(now)))
    }

    fn wake(&self, now: Time) -> Option<Time> {
        if self.stopped {
            return None;
        }
        let tick = (!self.links.is_empty()).then_some(self.tick_at);
        let book = if self.may_connect() { self.book.next_at(self.is_complete()) } else { None };
        let soonest = [tick, book, self.announcer.next_at()].into_iter().flatten().min();
        // A session without a tracker that answers still looks around on the local network.
        Some(soonest.unwrap_or(now + 40 * TICK).max(now))
    }

    /// A PIECE's header has come: is the driver to keep its bytes? A block that was not asked of this
    /// connection, or is there already, is not kept.
    pub fn expects(&self, conn: Conn, block: Block) -> bool {
        let asked = self.links.get(&conn).is_some_and(|link| link.was_asked(block));
        asked && self.download.as_ref().is_some_and(|download| !download.picker.is_kept(block))
    }

    /// Wants these pieces too.
    pub fn want(&mut self, now: Time, pieces: &Bitfield) {
        if let Some(download) = &mut self.download {
            download.picker.want(pieces);
            download.complete = download.picker.is_complete();
            download.hungry = true;
        }
        self.book.reconsider();
        self.count_lacking();
        self.settle(now);
    }

    /// Leaves the swarm: says so to the tracker and closes all connections. Drain the output afterwards.
    pub fn stop(&mut self, now: Time) {
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            self.close(now, conn, "we leave");
        }
        if !self.stopped && self.announcer.is_known() {
            self.out.push_back(Output::Announce {
                event: AnnounceEvent::Stopped,
                progress: self.progress(),
            });
        }
        self.stopped = true;
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let left = self.download.as_ref().map(|download| download.picker.left_bytes());
        // Without metadata nobody knows; a tracker is told something that is not "nothing is left".
        Progress { left_bytes: left.unwrap_or(1), connections: self.links.len(), ..self.totals }
    }

    /// The verified pieces, once the metadata is known.
    pub fn have(&self) -> Option<&Bitfield> {
        self.download.as_ref().map(|download| download.picker.have())
    }

    /// How many copies of the content there are among us and the connected peers, as far as they say.
    pub fn copies(&self) -> Option<f64> {
        self.download.as_ref().map(|download| download.picker.copies())
    }

    /// Is every wanted piece in place?
    pub fn is_complete(&self) -> bool {
        self.download.as_ref().is_some_and(|download| download.complete)
    }

    pub(super) fn learn_content(&mut self, content: Content) {
        let pieces = content.geometry.pieces();
        let download = Download::new(content.geometry, content.have, content.wanted, &mut self.rng);
        if self.settings.super_seed && download.picker.have().is_full() {
            self.shown = Some(Shown::new(pieces));
        }
        self.download = Some(download);
        self.metadata = content.metadata;
    }

    pub(super) fn say(&mut self, conn: Conn, message: Message) {
        self.out.push_back(Output::Message { conn, message });
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }
}
