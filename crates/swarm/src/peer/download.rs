//! What we get: interest, requests, blocks, verdicts.

use super::blame::Culprit;
use super::link::{Asked, Link};
use super::picker::{Offer, Picker};
use super::session::Session;
use super::{Conn, Event, Output};
use crate::bitfield::Bitfield;
use crate::geometry::{Block, Geometry};
use crate::limits::MAX_EARLY_HAVES;
use crate::wire::message::Message;
use offload::rng::Rng;
use offload::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// In the end a peer is asked for no more than this of what others were asked for.
const ENDGAME_BLOCKS: usize = 4;
/// A peer that has refused a piece is asked for it again after this: its queue may have been full.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// A peer that owes us blocks and sends none for this long is left.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The content, so far.
pub struct Download {
    pub picker: Picker,
    /// Every wanted piece is in place.
    pub complete: bool,
    /// Peers may be asked for more than they were.
    pub hungry: bool,
    /// Who sent the blocks of the pieces that are being hashed, one entry a block.
    hashing: BTreeMap<u32, Vec<Culprit>>,
    /// Senders of kept blocks, those that are gone among them.
    senders: BTreeMap<Conn, Culprit>,
}

impl Download {
    pub fn new(geometry: Geometry, have: Bitfield, wanted: Bitfield, rng: &mut Rng) -> Download {
        let picker = Picker::new(geometry, have, wanted, rng);
        let complete = picker.is_complete();
        let (hashing, senders) = (BTreeMap::new(), BTreeMap::new());
        Download { picker, complete, hungry: false, hashing, senders }
    }
}

impl Session {
    /// BITFIELD, or HAVE ALL where `bytes` is `None`. BEP 3 has it as the first message only; aria2 sends it
    /// again in place of many HAVEs, so it adds to what was known.
    pub(super) fn has_pieces(&mut self, now: Time, conn: Conn, bytes: Option<&[u8]>) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let Some(download) = &mut self.download else {
            link.early.all |= bytes.is_none();
            let bytes = bytes.unwrap_or_default();
            link.early.bitfield.resize(bytes.len().max(link.early.bitfield.len()), 0);
            link.early.bitfield.iter_mut().zip(bytes).for_each(|(known, new)| *known |= new);
            return;
        };
        let count = download.picker.geometry().pieces();
        let pieces =
            bytes.map_or(Some(Bitfield::full(count)), |bytes| Bitfield::from_bytes(bytes, count));
        let Some(pieces) = pieces else {
            return self.close(now, conn, "its bitfield is not of this torrent");
        };
        for piece in pieces.iter() {
            if link.pieces.insert(piece) {
                download.picker.seen(piece);
            }
        }
        link.lacking = download.picker.lacking_of(&link.pieces);
        if self.shown.is_some() {
            // What it was shown when it came may be what it had already.
            let news: Vec<u32> = link.pieces.iter().collect();
            self.show_more(now, conn, &news);
        }
        self.weigh(now, conn);
    }

    pub(super) fn has_piece(&mut self, now: Time, conn: Conn, piece: u32) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let Some(download) = &mut self.download else {
            link.early.haves.push(piece);
            if link.early.haves.len() > MAX_EARLY_HAVES {
                self.close(now, conn, "it has more news than we can remember");
            }
            return;
        };
        if piece >= link.pieces.len() {
            return self.close(now, conn, "it has a piece that does not exist");
        }
        if link.pieces.insert(piece) {
            download.picker.seen(piece);
            link.lacking += u32::from(download.picker.lacks(piece));
            self.show_more(now, conn, &[piece]);
            self.weigh(now, conn);
        }
    }

    /// Says whether we are interested, if that has changed, and asks for what we are interested in.
    fn weigh(&mut self, now: Time, conn: Conn) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        if self.download.as_ref().is_some_and(|download| download.complete) && link.pieces.is_full() {
            // Two that have all have nothing to say to each other.
            if let Some(address) = link.listens_at {
                self.book.useless(address);
            }
            return self.close(now, conn, "both of us have all");
        }
        let want = link.lacking > 0;
        if want != std::mem::replace(&mut link.we_want, want) {
            self.say(conn, if want { Message::Interested } else { Message::NotInterested });
        }
        self.refill(now, conn);
    }

    /// What is wanted has changed.
    pub(super) fn count_lacking(&mut self) {
        let Some(download) = &self.download else { return };
        for link in self.links.values_mut() {
            link.lacking = download.picker.lacking_of(&link.pieces);
        }
        let news: Vec<Conn> =
            self.links.iter().filter(|(_, l)| (l.lacking > 0) != l.we_want).map(|(c, _)| *c).collect();
        for conn in news {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            link.we_want = link.lacking > 0;
            let message = if link.we_want { Message::Interested } else { Message::NotInterested };
            self.say(conn, message);
        }
    }

    pub(super) fn choked(&mut self, conn: Conn) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.they_choke = true;
        // With BEP 6 each request that will not be served is rejected by itself.
        if !link.features.fast {
            self.release_all(conn);
            if let Some(link) = self.links.get_mut(&conn) {
                let dropped = link.asked.drain(..).map(|asked| u64::from(asked.block.length)).sum();
                self.blame.excuse(link.culprit, dropped);
                link.snubbed = false;
            }
        } else if link.asked.is_empty() {
            self.release_all(conn);
        }
    }

    pub(super) fn unchoked(&mut self, now: Time, conn: Conn) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.they_choke = false;
        link.refused.clear();
        // Its words do not excuse what it owes: a mute peer could hold a piece for ever by choking in turns.
        link.snubbed &= !link.asked.is_empty();
        self.refill(now, conn);
    }

    pub(super) fn allowed(&mut self, now: Time, conn: Conn, piece: u32) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        if link.features.fast && piece < link.pieces.len() && link.allowed.len() < ALLOWED_PIECES {
            link.allowed.insert(piece);
            self.refill(now, conn);
        }
    }

    pub(super) fn rejected(&mut self, now: Time, conn: Conn, block: Block) {
        let (Some(link), Some(download)) = (self.links.get_mut(&conn), &mut self.download) else {
            return;
        };
        let Some(asked) = link.settle(block) else { return };
        if !asked.released {
            download.picker.release(block);
            download.hungry = true;
        }
        link.answered = now;
        // Nothing is owed any more that could show it to be awake again.
        link.snubbed &= !link.asked.is_empty();
        if !link.they_choke {
            link.refused.insert(block.piece);
            link.refused_at = now;
        } else if link.asked.is_empty() {
            // Nobody knows when its turn comes again: what it has begun is for others.
            self.release_all(conn);
        }
    }

    /// Asks every peer for as much as its window allows.
    pub(super) fn refill_all(&mut self, now: Time) {
        if let Some(download) = &mut self.download {
            download.hungry = false;
        }
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            self.refill(now, conn);
        }
    }

    pub(super) fn refill(&mut self, now: Time, conn: Conn) {
        let peers = self.links.len();
        let (Some(link), Some(download)) = (self.links.get_mut(&conn), &mut self.download) else {
            return;
        };
        if link.snubbed || !link.we_want || (link.they_choke && link.allowed.is_empty()) {
            return;
        }
        if link.asked.is_empty() {
            link.answered = now;
        }
        let was_endgame = download.picker.is_endgame();
        while link.asked.len() < link.window.blocks(peers) {
            let barred = |piece: u32| {
                link.refused.contains(&piece) || (link.they_choke && !link.allowed.contains(&piece))
            };
            let offer = Offer {
                conn,
                pieces: &link.pieces,
                barred: &barred,
                asked: &|block| link.was_asked(block),
                double: link.asked.len() < ENDGAME_BLOCKS,
            };
            let Some(block) = download.picker.next(&offer) else { break };
            link.asked.push_back(Asked { block, at: now, released: false });
            self.out.push_back(Output::Message { conn, message: Message::Request(block) });
        }
        // The last piece is begun: from now on idle peers may help with others' blocks.
        download.hungry |= !was_endgame && download.picker.is_endgame();
    }

    /// A PIECE has arrived.
    pub(super) fn block(&mut self, now: Time, conn: Conn, block: Block, kept: bool) {
        let peers = self.links.len();
        let (Some(link), Some(download)) = (self.links.get_mut(&conn), &mut self.download) else {
            return;
        };
        self.totals.downloaded_bytes += u64::from(block.length);
        let full = link.asked.len() >= link.window.blocks(peers);
        let asked = link.settle(block);
        match asked {
            Some(asked) => {
                let took = now.since(asked.at);
                link.window.answered(took, full);
                link.measure(took);
                link.answered = now;
                link.snubbed = false;
            }
            None => self.blame.charge(link.culprit, u64::from(block.length)),
        }
        let arrival = if kept { download.picker.keep(block, conn) } else { None };
        match (arrival, asked) {
            (Some(arrival), _) => {
                link.received_bytes += u64::from(block.length);
                download.senders.insert(conn, link.culprit);
                if arrival.elsewhere {
                    self.call_off(block);
                }
                if arrival.whole {
                    self.check(block.piece);
                }
            }
            (None, asked) => {
                self.totals.wasted_bytes += u64::from(block.length);
                if asked.is_some_and(|asked| !asked.released) {
                    download.picker.release(block);
                    download.hungry = true;
                }
                if self.blame.is_banned(link.culprit) {
                    return self.close(now, conn, "it sends what nobody asked for");
                }
            }
        }
        self.refill(now, conn);
    }

    /// Tells the others who were asked for a block that it is here.
    fn call_off(&mut self, block: Block) {
        for (conn, link) in &mut self.links {
            if link.settle(block).is_some() {
                self.blame.excuse(link.culprit, u64::from(block.length));
                self.out.push_back(Output::Message { conn: *conn, message: Message::Cancel(block) });
            }
        }
    }

    /// All blocks of a piece are here: it is to be hashed.
    fn check(&mut self, piece: u32) {
        let Some(download) = &mut self.download else { return };
        let senders: Vec<Culprit> = download
            .picker
            .senders(piece)
            .iter()
            .filter_map(|conn| download.senders.get(conn).copied())
            .collect();
        let digests = self.blame.needs_digests(piece, &senders);
        download.hashing.insert(piece, senders);
        self.out.push_back(Output::Verify { piece, digests });
    }

    pub(super) fn verified(&mut self, now: Time, piece: u32, good: bool, digests: &[u64]) {
        let Some(download) = &mut self.download else { return };
        let Some(senders) = download.hashing.remove(&piece) else { return };
        download.picker.verified(piece, good);
        download.hungry = true;
        if download.hashing.is_empty() {
            // Whoever is gone and has no block in an open piece need not be remembered; those who have
            // are found again when they send.
            let open = download.picker.all_senders();
            download.senders.retain(|conn, _| open.contains(conn));
        }
        let guilty = self.blame.judge(piece, good, &senders, digests);
        for culprit in guilty {
            self.expel(now, culprit);
        }
        if good {
            self.placed(now, piece);
        } else {
            self.totals.wasted_bytes += self
                .download
                .as_ref()
                .map_or(0, |download| u64::from(download.picker.geometry().length_of(piece)));
        }
    }

    /// A piece is in place: everybody is told.
    fn placed(&mut self, now: Time, piece: u32) {
        for (conn, link) in &mut self.links {
            link.lacking = link.lacking.saturating_sub(u32::from(link.pieces.has(piece)));
            self.out.push_back(Output::Message { conn: *conn, message: Message::Have(piece) });
            if link.we_want && link.lacking == 0 {
                link.we_want = false;
                self.out.push_back(Output::Message { conn: *conn, message: Message::NotInterested });
            }
        }
        self.tell(Event::Piece { piece });
        let Some(download) = &mut self.download else { return };
        if download.complete || !download.picker.is_complete() {
            return;
        }
        download.complete = true;
        self.announcer.completed(now);
        self.tell(Event::Complete);
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            self.weigh(now, conn);
        }
    }

    /// Leaves all connections to a peer that sent bad bytes.
    fn expel(&mut self, now: Time, culprit: Culprit) {
        let theirs =
            |(conn, link): (&Conn, &Link)| (link.culprit == culprit).then_some((*conn, link.address));
        for (conn, address) in self.links.iter().filter_map(theirs).collect::<Vec<_>>() {
            self.tell(Event::Banned { address });
            self.close(now, conn, "it sent bytes that the hash does not name");
        }
    }

    /// Those who owe us blocks for too long are no longer counted on, and left in the end.
    pub(super) fn check_lateness(&mut self, now: Time) {
        for link in self.links.values_mut().filter(|link| now.since(link.refused_at) > REFUSED_FOR) {
            link.refused.clear();
        }
        let late: Vec<Conn> =
            self.links.iter().filter(|(_, link)| link.is_late(now)).map(|(conn, _)| *conn).collect();
        for conn in late {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            if now.since(link.answered) > GIVE_UP {
                self.close(now, conn, "it does not answer requests");
            } else if !std::mem::replace(&mut link.snubbed, true) {
                self.release_all(conn);
            }
        }
    }

    /// What this peer was asked for may be asked of others.
    pub(super) fn release_all(&mut self, conn: Conn) {
        let (Some(link), Some(download)) = (self.links.get_mut(&conn), &mut self.download) else {
            return;
        };
        for asked in link.asked.iter_mut().filter(|asked| !asked.released) {
            asked.released = true;
            download.picker.release(asked.block);
        }
        for piece in download.picker.disown(conn) {
            self.out.push_back(Output::Forget { piece });
        }
        download.hungry = true;
    }
}

/// Pieces that a peer may allow while it chokes (BEP 6 recommends ten).
const ALLOWED_PIECES: usize = 32;
