//! Whom we talk to: connections, what both ends say first, addresses, metadata.

use super::blame::Culprit;
use super::link::Link;
use super::session::Session;
use super::{Conn, Content, Direction, Output, Source};
use crate::bitfield::Bitfield;
use crate::id::PeerId;
use crate::limits::{MAX_PEX_PEERS, MAX_QUEUED_REQUESTS, METADATA_BLOCK_BYTES};
use crate::wire::extension::{self, Exchange, Hello, Metadata, UT_METADATA, UT_PEX};
use crate::wire::handshake::Features;
use crate::wire::message::Message;
use offload::time::Time;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Connections that are being made at once.
const MAX_CONNECTING: usize = 16;
/// A peer hears of our other peers soon after it has come, then once a minute (BEP 11).
const FIRST_EXCHANGE: Duration = Duration::from_secs(1);
const NEXT_EXCHANGE: Duration = Duration::from_secs(60);

impl Session {
    pub(super) fn named(&mut self, now: Time, source: Source, addresses: &[SocketAddr]) {
        // BEP 27: a private torrent's peers come from its tracker only.
        if self.private && matches!(source, Source::Exchange | Source::Discovery) {
            return;
        }
        for address in addresses {
            self.book.learn(now, source, *address);
        }
    }

    /// Half of the connections are left to those who come to us: else a large swarm falls in cliques of
    /// early peers that have no room for late ones.
    pub(super) fn may_connect(&self) -> bool {
        self.connecting < MAX_CONNECTING
            && self.links.len() + self.connecting < self.settings.max_connections.div_ceil(2)
    }

    pub(super) fn connect(&mut self, now: Time) {
        while self.may_connect() {
            let Some(address) = self.book.next(now, self.is_complete(), &mut self.rng) else { return };
            self.connecting += 1;
            self.out.push_back(Output::Connect { address });
        }
    }

    pub(super) fn opened(
        &mut self,
        now: Time,
        conn: Conn,
        address: SocketAddr,
        direction: Direction,
        peer_id: PeerId,
        features: Features,
    ) {
        if direction == Direction::Outgoing {
            self.connecting = self.connecting.saturating_sub(1);
            self.book.connected(now, Source::Given, address);
        }
        let pieces = self.download.as_ref().map_or(0, |download| download.picker.geometry().pieces());
        self.links.insert(conn, Link::new(now, address, direction, peer_id, features, pieces));
        if self.blame.is_banned(Culprit::new(address, peer_id)) {
            return self.close(now, conn, "it was banned");
        }
        if peer_id == self.settings.peer_id {
            self.book.useless(address);
            return self.close(now, conn, "it is ourselves");
        }
        if let Some(double) = self.double_of(conn, peer_id, direction) {
            self.close(now, double, "there is a connection already");
            if double == conn {
                return;
            }
        }
        if self.links.len() > self.settings.max_connections {
            return self.close(now, conn, "we have connections enough");
        }
        self.greet(now, conn, features);
    }

    /// Which of two connections to the same peer goes: both ends keep the one that was opened by the peer
    /// with the smaller name.
    fn double_of(&self, conn: Conn, peer_id: PeerId, direction: Direction) -> Option<Conn> {
        let same = |(other, link): &(&Conn, &Link)| **other != conn && link.peer_id == peer_id;
        let (other, link) = self.links.iter().find(same)?;
        let kept =
            if self.settings.peer_id < peer_id { Direction::Outgoing } else { Direction::Incoming };
        let goes = if direction != link.direction && direction == kept { *other } else { conn };
        Some(goes)
    }

    fn greet(&mut self, now: Time, conn: Conn, features: Features) {
        let have = self.download.as_ref().map(|download| download.picker.have());
        let have = have.filter(|have| self.shown.is_none() && !have.is_empty());
        let message = match have {
            Some(have) if have.is_full() && features.fast => Some(Message::HaveAll),
            Some(have) => Some(Message::Bitfield(have.as_bytes().to_vec())),
            None => features.fast.then_some(Message::HaveNone),
        };
        message.into_iter().for_each(|message| self.say(conn, message));
        if features.extended {
            self.say(conn, Message::Extended { id: extension::HELLO, payload: self.hello().encode() });
        }
        if let Some(shown) = &mut self.shown {
            shown.joined(conn);
            self.show_more(now, conn, &[]);
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            metadata_bytes: u32::try_from(self.metadata.len()).ok().filter(|bytes| *bytes > 0),
            metadata_id: Some(UT_METADATA),
            pex_id: (!self.private).then_some(UT_PEX),
            port: Some(self.settings.port),
            queue: Some(MAX_QUEUED_REQUESTS as u32),
            client: Some(concat!("offload ", env!("CARGO_PKG_VERSION")).to_owned()),
        }
    }

    /// Closes a connection; the driver need not report it.
    pub(super) fn close(&mut self, now: Time, conn: Conn, reason: &'static str) {
        if self.links.contains_key(&conn) {
            self.out.push_back(Output::Close { conn, reason });
            self.gone(now, conn);
        }
    }

    pub(super) fn gone(&mut self, now: Time, conn: Conn) {
        self.release_all(conn);
        let Some(link) = self.links.remove(&conn) else { return };
        if let Some(download) = &mut self.download {
            download.picker.unseen(&link.pieces);
        }
        if let Some(shown) = &mut self.shown {
            shown.left(conn);
        }
        self.fetch.dismiss(conn);
        // Only the address that we dialled is marked busy, and that of a peer that told us its port.
        if let Some(address) = link.listens_at {
            let served = link.received_bytes > 0;
            let taken = self.links.values().any(|other| other.listens_at == Some(address));
            if !taken {
                self.book.ended(now, address, served, &mut self.rng);
            }
        }
        self.choke_round(now);
    }

    pub(super) fn extended(&mut self, now: Time, conn: Conn, id: u8, payload: &[u8]) {
        let understood = match id {
            extension::HELLO => Hello::decode(payload).map(|hello| self.greeted(now, conn, hello)),
            UT_PEX => Exchange::decode(payload)
                .map(|exchange| self.named(now, Source::Exchange, &exchange.added)),
            UT_METADATA => Metadata::decode(payload)
                .map(|message| message.into_iter().for_each(|m| self.metadata_message(now, conn, m))),
            _ => Ok(()),
        };
        if understood.is_err() {
            self.close(now, conn, "its extended message makes no sense");
        }
    }

    fn greeted(&mut self, now: Time, conn: Conn, hello: Hello) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        if let Some(queue) = hello.queue {
            link.window.bound(queue);
        }
        // BEP 27: a private torrent's peers are dialled at addresses that a tracker gave.
        if let (None, Some(port), false) = (link.listens_at, hello.port, self.private) {
            let address = SocketAddr::new(link.address.ip(), port);
            link.listens_at = Some(address);
            self.book.connected(now, Source::Exchange, address);
        }
        link.hello = hello;
        self.ask_for_metadata(now);
    }

    /// Tells each peer of those who have come and gone (BEP 11).
    pub(super) fn exchange_addresses(&mut self, now: Time) {
        if self.private {
            return;
        }
        let all: BTreeSet<SocketAddr> = self.links.values().filter_map(|link| link.listens_at).collect();
        for (conn, link) in &mut self.links {
            let due = link.told_at.map_or(link.since + FIRST_EXCHANGE, |last| last + NEXT_EXCHANGE);
            let Some(id) = link.hello.pex_id.filter(|_| now >= due) else { continue };
            link.told_at = Some(now);
            let news = |a: &BTreeSet<SocketAddr>, b: &BTreeSet<SocketAddr>| -> Vec<SocketAddr> {
                a.difference(b)
                    .filter(|address| Some(**address) != link.listens_at)
                    .take(MAX_PEX_PEERS / 4)
                    .copied()
                    .collect()
            };
            let exchange = Exchange { added: news(&all, &link.told), dropped: news(&link.told, &all) };
            if exchange.added.is_empty() && exchange.dropped.is_empty() {
                continue;
            }
            link.told.extend(&exchange.added);
            exchange.dropped.iter().for_each(|address| {
                link.told.remove(address);
            });
            let message = Message::Extended { id, payload: exchange.encode() };
            self.out.push_back(Output::Message { conn: *conn, message });
        }
    }

    pub(super) fn ask_for_metadata(&mut self, now: Time) {
        if self.download.is_some() {
            return;
        }
        for (conn, link) in &self.links {
            let (Some(id), Some(total)) = (link.hello.metadata_id, link.hello.metadata_bytes) else {
                continue;
            };
            if let Some(piece) = self.fetch.next(now, *conn, total) {
                let message = Message::Extended { id, payload: Metadata::Request { piece }.encode() };
                self.out.push_back(Output::Message { conn: *conn, message });
            }
        }
    }

    fn metadata_message(&mut self, now: Time, conn: Conn, message: Metadata) {
        match message {
            Metadata::Request { piece } => self.metadata_requested(conn, piece),
            Metadata::Reject { .. } => self.fetch.dismiss(conn),
            Metadata::Data { piece, bytes, .. } => {
                if let Some(bytes) = self.fetch.arrived(conn, piece, &bytes) {
                    self.out.push_back(Output::Metadata { bytes });
                }
            }
        }
        self.ask_for_metadata(now);
    }

    fn metadata_requested(&mut self, conn: Conn, piece: u32) {
        let Some(id) = self.links.get(&conn).and_then(|link| link.hello.metadata_id) else { return };
        let start = (piece as usize).saturating_mul(METADATA_BLOCK_BYTES);
        let part = self.metadata.get(start..).filter(|rest| !rest.is_empty());
        let answer = match part {
            Some(rest) => Metadata::Data {
                piece,
                total_bytes: self.metadata.len() as u32,
                bytes: rest[..rest.len().min(METADATA_BLOCK_BYTES)].to_vec(),
            },
            None => Metadata::Reject { piece },
        };
        self.say(conn, Message::Extended { id, payload: answer.encode() });
    }

    pub(super) fn metadata_refused(&mut self, now: Time) {
        let senders = self.fetch.refused();
        // One sender is guilty; of several nobody knows who, but none is asked again.
        if senders.len() == 1 {
            for conn in senders {
                if let Some(link) = self.links.get(&conn) {
                    self.blame.ban(link.culprit);
                }
                self.close(now, conn, "it sent metadata that the info-hash does not name");
            }
        }
        self.ask_for_metadata(now);
    }

    /// The metadata of a magnet link is here: what peers said before is understood now.
    pub(super) fn content_came(&mut self, now: Time, content: Content) {
        if self.download.is_some() {
            return;
        }
        let pieces = content.geometry.pieces();
        let have = content.have.clone();
        self.learn_content(content);
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            link.pieces = Bitfield::new(pieces);
            let early = std::mem::take(&mut link.early);
            if early.all || !early.bitfield.is_empty() {
                let bytes = (!early.all).then_some(early.bitfield);
                self.has_pieces(now, conn, bytes.as_deref());
            }
            early.haves.iter().for_each(|piece| self.has_piece(now, conn, *piece));
            have.iter().for_each(|piece| self.say(conn, Message::Have(piece)));
        }
    }
}
