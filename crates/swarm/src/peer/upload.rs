//! What we give: turns, requests, and what a first seeder shows.
//!
//! Peers on a local network work for one goal, so nobody has to earn a turn by giving (BEP 3's tit for tat):
//! whoever is interested is served, as many at once as there are slots, the longest waiting first. Blocks
//! go out in turns of about a piece, to a few peers at a time: a piece that is whole at one peer can be
//! passed on, a bit of a piece at each of sixteen can not.

use super::Conn;
use super::Output;
use super::session::Session;
use crate::geometry::Block;
use crate::limits::{MAX_QUEUED_REQUESTS, MAX_REQUEST_BYTES};
use crate::wire::message::Message;
use offload::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Peers that blocks are sent to at a time; the requests of others wait.
const TURNS: usize = 4;
/// Bytes that the driver is given before it has reported the last ones gone: enough that it never idles,
/// little enough that a request can still be called off.
const AHEAD_BYTES: u32 = 128 << 10;
/// Who takes nothing for so long does not count as one of the [`TURNS`].
const STALLED: Duration = Duration::from_millis(500);
/// A turn is a piece, within these.
const TURN_BYTES: std::ops::RangeInclusive<u32> = (64 << 10)..=(1 << 20);
/// A served peer stays served this long, if others wait.
const SLOT_TIME: Duration = Duration::from_secs(2);

/// Those with requests, in the order of their turns.
#[derive(Debug, Default)]
pub struct Upload {
    line: VecDeque<Conn>,
}

impl Session {
    pub(super) fn interest(&mut self, now: Time, conn: Conn, want: bool) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        if std::mem::replace(&mut link.they_want, want) != want {
            if want && link.we_choke {
                link.turned = now;
            }
            self.choke_round(now);
        }
    }

    /// Gives free slots to those who wait, and the slots of those who had them longest, if any wait.
    pub(super) fn choke_round(&mut self, now: Time) {
        let slots = self.settings.upload_slots;
        let wanting = |served: bool| {
            let links =
                self.links.iter().filter(move |(_, link)| link.they_want && link.we_choke != served);
            let mut conns: Vec<(Time, Conn)> = links.map(|(conn, link)| (link.turned, *conn)).collect();
            conns.sort_unstable();
            conns
        };
        let (served, waiting) = (wanting(true), wanting(false));
        let excess = served.len().saturating_sub(slots);
        let expired = served.iter().filter(|(turned, _)| now.since(*turned) >= SLOT_TIME).count();
        // A quarter at a time, so that requests in flight are not all lost at once.
        let rotated = expired
            .min((slots / 4).max(1))
            .min(waiting.len().saturating_sub(slots - served.len().min(slots)));
        let ended = excess.max(rotated);
        for (_, conn) in served.iter().take(ended) {
            self.choke(now, *conn);
        }
        let free = slots.saturating_sub(served.len() - ended);
        for (_, conn) in waiting.iter().take(free) {
            if let Some(link) = self.links.get_mut(conn) {
                link.we_choke = false;
                link.turned = now;
                self.say(*conn, Message::Unchoke);
            }
        }
    }

    fn choke(&mut self, now: Time, conn: Conn) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.we_choke = true;
        link.turned = now;
        let (fast, dropped) = (link.features.fast, std::mem::take(&mut link.queue));
        self.say(conn, Message::Choke);
        if fast {
            dropped.into_iter().for_each(|block| self.say(conn, Message::Reject(block)));
        }
    }

    pub(super) fn requested(&mut self, now: Time, conn: Conn, block: Block) {
        let (Some(link), Some(download)) = (self.links.get_mut(&conn), &self.download) else { return };
        if !download.picker.geometry().contains(block) || block.length > MAX_REQUEST_BYTES {
            return self.close(now, conn, "it asks for what does not exist");
        }
        // Without BEP 6, a peer that was choked and unchoked in one breath asks for everything again.
        if link.queue.contains(&block) {
            return;
        }
        let served = !link.we_choke && download.picker.have().has(block.piece);
        if served && link.queue.len() < MAX_QUEUED_REQUESTS {
            link.queue.push_back(block);
            if !self.upload.line.contains(&conn) {
                self.upload.line.push_back(conn);
            }
        } else if link.features.fast {
            self.say(conn, Message::Reject(block));
        }
    }

    pub(super) fn called_off(&mut self, conn: Conn, block: Block) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let Some(place) = link.queue.iter().position(|queued| *queued == block) else { return };
        link.queue.remove(place);
        // BEP 6: every request is answered, by its block or by this.
        if link.features.fast {
            self.say(conn, Message::Reject(block));
        }
    }

    pub(super) fn drained(&mut self, conn: Conn) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.ahead_bytes = 0;
        }
    }

    /// Hands blocks to the driver, to those whose turn it is.
    pub(super) fn serve(&mut self, now: Time) {
        let turn_bytes = self.download.as_ref().map_or(0, |download| {
            download.picker.geometry().piece_bytes().clamp(*TURN_BYTES.start(), *TURN_BYTES.end())
        });
        let (mut index, mut busy) = (0, 0);
        while busy < TURNS && index < self.upload.line.len() {
            let conn = self.upload.line[index];
            let Some(link) = self.links.get_mut(&conn).filter(|link| !link.queue.is_empty()) else {
                self.upload.line.remove(index);
                continue;
            };
            while link.ahead_bytes < AHEAD_BYTES && link.turn_bytes < turn_bytes {
                let Some(block) = link.queue.pop_front() else { break };
                if link.ahead_bytes == 0 {
                    link.ahead_since = now;
                }
                link.ahead_bytes += block.length;
                link.turn_bytes += block.length;
                self.totals.uploaded_bytes += u64::from(block.length);
                self.out.push_back(Output::Block { conn, block });
            }
            if link.turn_bytes >= turn_bytes || link.queue.is_empty() {
                link.turn_bytes = 0;
                let waits = !link.queue.is_empty();
                self.upload.line.remove(index);
                if waits {
                    self.upload.line.push_back(conn);
                }
                busy += 1;
            } else {
                busy += usize::from(now.since(link.ahead_since) < STALLED);
                index += 1;
            }
        }
    }

    /// A first seeder shows this peer what it may fetch next; `news`: what it has told to have.
    pub(super) fn show_more(&mut self, now: Time, conn: Conn, news: &[u32]) {
        let (Some(shown), Some(link), Some(download)) =
            (&mut self.shown, self.links.get(&conn), &self.download)
        else {
            return;
        };
        for piece in news {
            shown.fetched(conn, *piece);
        }
        for piece in shown.next(now, conn, &link.pieces, &download.picker) {
            self.out.push_back(Output::Message { conn, message: Message::Have(piece) });
        }
    }

    /// A first seeder shows more to those who do not fetch what they were shown.
    pub(super) fn show_others(&mut self, now: Time) {
        if self.shown.is_none() {
            return;
        }
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            let wants = self.links.get(&conn).is_some_and(|link| link.they_want);
            self.shown.iter_mut().for_each(|shown| shown.overlook(now, conn, wants));
            self.show_more(now, conn, &[]);
        }
    }
}
