//! A torrent's connections: bytes in, bytes out.

use super::super::driver::Context;
use super::super::greeting::Greeting;
use super::super::link::Link;
use super::Torrent;
use crate::geometry::Block;
use crate::io::assembly::Assembly;
use crate::io::conn::{Lost, Sent, Sink, Supply};
use crate::limits::TURN_BYTES;
use crate::peer::{Conn, Input};
use crate::wire::handshake::Handshake;
use crate::wire::message::Message;
use rustix::event::PollFlags;

/// How often a connection is sent more before others have their turn; the session hands out some
/// [`crate::limits::SEND_BATCH_BYTES`] at a time.
const TURNS: u32 = 8;

impl Torrent {
    pub fn on_opened(
        &mut self,
        context: &mut Context,
        conn: Conn,
        greeting: Greeting,
        theirs: Handshake,
    ) {
        let Greeting { socket, address, direction, .. } = greeting;
        let Handshake { peer_id, features, .. } = theirs;
        self.links.insert(conn, Link::new(conn, socket, address, peer_id, context.now()));
        self.feed(context, Input::Opened { conn, address, direction, peer_id, features });
        self.settle(context);
    }

    /// A socket is ready.
    pub fn on_ready(&mut self, context: &mut Context, conn: Conn, events: PollFlags) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.turns = 0;
        }
        if events.contains(PollFlags::OUT) {
            self.write(context, conn);
        }
        // A broken connection says so when it is read from.
        if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.read(context, conn);
        }
        self.settle(context);
    }

    /// The rate limit lets this connection send.
    pub fn on_turn(&mut self, context: &mut Context, conn: Conn) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.in_line = false;
            link.turns = 0;
            self.write(context, conn);
            self.settle(context);
        }
    }

    pub(super) fn read(&mut self, context: &mut Context, conn: Conn) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let (socket, Some(mut reader)) = (link.socket.clone(), link.reader.take()) else { return };
        let most = context.download.share(TURN_BYTES);
        let mut feed = Feed { torrent: self, context, conn };
        let outcome = reader.read(&mut &*socket, &mut feed, most);
        let now = context.now();
        let Some(link) = self.links.get_mut(&conn) else {
            return reader.abandon(self.files.as_mut().map(|files| &mut files.assembly));
        };
        link.reader = Some(reader);
        match outcome {
            Ok(read) => {
                context.download.take(read as u64);
                if read > 0 {
                    link.heard = now;
                }
            }
            Err(lost) => self.lose(context, conn, &lost.to_string()),
        }
    }

    pub(super) fn write(&mut self, context: &mut Context, conn: Conn) {
        let Some(link) = self.links.get_mut(&conn).filter(|link| !link.in_line) else { return };
        let storage = self.files.as_ref().map(|files| (&*files.storage, files.metainfo.geometry));
        let now = context.now();
        let mut supply =
            Supply { storage, bucket: &mut context.upload, now, buffer: &mut context.buffer };
        match link.writer.write(&mut &*link.socket, &mut supply) {
            Ok(Sent::All) if link.owes_drained && link.turns < TURNS => {
                link.owes_drained = false;
                link.turns += 1;
                self.feed(context, Input::Drained { conn });
            }
            Ok(Sent::All | Sent::Some) => {}
            Ok(Sent::Until(_)) => {
                link.in_line = true;
                context.line.push_back((self.key, conn));
            }
            Err(Lost::Storage(error)) => self.part(context, Some(error)),
            Err(lost) => self.lose(context, conn, &lost.to_string()),
        }
    }

    /// A connection is gone.
    pub(super) fn lose(&mut self, context: &mut Context, conn: Conn, why: &str) {
        if self.remove(context, conn, why) {
            self.feed(context, Input::Closed { conn });
        }
    }

    pub(super) fn remove(&mut self, context: &mut Context, conn: Conn, why: &str) -> bool {
        let Some(link) = self.links.remove(&conn) else { return false };
        context.log(format_args!("{}: closed: {why}", link.address()));
        if let Some(reader) = link.reader {
            reader.abandon(self.files.as_mut().map(|files| &mut files.assembly));
        }
        true
    }

    pub(super) fn send(&mut self, context: &mut Context, conn: Conn, message: Message) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        match link.writer.push_message(message) {
            Ok(()) => {
                self.dirty.insert(conn);
            }
            Err(lost) => self.lose(context, conn, &lost.to_string()),
        }
    }
}

/// Who is told what a connection brings: its session.
struct Feed<'a> {
    torrent: &'a mut Torrent,
    context: &'a mut Context,
    conn: Conn,
}

impl Sink for Feed<'_> {
    fn expects(&self, block: Block) -> bool {
        self.torrent.session.as_ref().is_some_and(|session| session.expects(self.conn, block))
    }

    fn assembly(&mut self) -> Option<&mut Assembly> {
        self.torrent.files.as_mut().map(|files| &mut files.assembly)
    }

    fn on_message(&mut self, message: Message) -> bool {
        self.torrent.feed(self.context, Input::Message { conn: self.conn, message });
        self.torrent.links.contains_key(&self.conn)
    }

    fn on_block(&mut self, block: Block, kept: bool) -> bool {
        if let Some(link) = self.torrent.links.get_mut(&self.conn) {
            link.received_bytes += u64::from(block.length);
        }
        self.torrent.feed(self.context, Input::Block { conn: self.conn, block, kept });
        self.torrent.links.contains_key(&self.conn)
    }
}
