//! What befalls hosts and connections: they open and close, start and end, are cut off and come back.

use super::{Act, Happening, Observer, World, address};
use crate::peer::{Conn, Direction, Input};
use crate::sim::link::{End, Held};
use crate::wire::handshake::Features;
use offload::time::Time;
use std::net::SocketAddr;
use std::time::Duration;

/// Where the ports begin from which hosts connect.
const FIRST_PORT: u16 = 32_768;

impl<O: Observer> World<O> {
    /// The handshake of somebody who connects has come.
    pub(super) fn on_dial(&mut self, from: u32, to: u32, life: u32) {
        let (a, b) = (from as usize, to as usize);
        if self.nodes[a].life != life || self.nodes[a].actor.is_none() {
            return;
        }
        if self.is_cut(a, b) || self.nodes[b].dark {
            return self.fail_late(a, b);
        }
        if self.nodes[b].actor.is_none() {
            return self.fail(a, address(b), self.now + self.delay(a, b));
        }
        let end = self.ends.len() as u32;
        self.ends.push(End::new(from, life));
        self.ends.push(End::new(to, self.nodes[b].life));
        self.queue.push(self.now + self.delay(a, b), Happening::Greet { end });
        let port = FIRST_PORT | (end >> 1) as u16;
        let far = SocketAddr::new(address(a).ip(), port);
        self.open(end ^ 1, far, Direction::Incoming);
    }

    /// The answer to a handshake has come.
    pub(super) fn on_greet(&mut self, end: u32) {
        let (node, life) = (self.ends[end as usize].node as usize, self.ends[end as usize].life);
        if self.nodes[node].life == life && self.nodes[node].actor.is_some() {
            return self.open(end, address(self.other(end)), Direction::Outgoing);
        }
        if !self.nodes[node].dark {
            let at = self.now + self.delay(node, self.other(end));
            self.queue.push(at, Happening::Closed { end: end ^ 1 });
        }
    }

    fn open(&mut self, end: u32, address: SocketAddr, direction: Direction) {
        let (node, other) = (self.ends[end as usize].node as usize, self.other(end));
        self.ends[end as usize].open = true;
        self.nodes[node].ends.push(end);
        self.trace.note(self.now, u64::from(end), || format!("{node}  {direction:?} {other}"));
        let (a, b) = (&self.nodes[node].host, &self.nodes[other].host);
        let features = Features { fast: a.fast && b.fast, extended: true };
        let peer_id = self.nodes[other].peer_id;
        let conn = Conn(u64::from(end));
        self.input(node, Input::Opened { conn, address, direction, peer_id, features });
    }

    /// Closes our end; the other hears of it, or of nothing.
    pub(super) fn hang_up(&mut self, end: u32, told: bool) {
        let e = &mut self.ends[end as usize];
        e.shut();
        let (node, last) = (e.node as usize, e.last);
        self.nodes[node].ends.retain(|other| *other != end);
        if told {
            let at = last.max(self.now + self.delay(node, self.other(end)));
            self.queue.push(at, Happening::Closed { end: end ^ 1 });
        }
    }

    /// The other end has hung up, or its kernel knows of nothing.
    pub(super) fn on_closed(&mut self, end: u32) {
        let (node, other) = (self.ends[end as usize].node as usize, self.other(end));
        if !self.ends[end as usize].open {
            return;
        }
        if self.is_cut(node, other) {
            self.ends[end as usize].late = true;
            return;
        }
        self.hang_up(end, false);
        self.trace.note(self.now, u64::from(end), || format!("{node}  lost {other}"));
        self.input(node, Input::Closed { conn: Conn(u64::from(end)) });
    }

    pub(super) fn on_act(&mut self, act: Act) {
        self.trace.note(self.now, 99, || format!("--  {act:?}"));
        match act {
            Act::Start(node) => self.start(node),
            Act::Stop(node) => self.stop(node),
            Act::Crash { node, dark, back } => {
                if self.nodes[node].actor.is_some() {
                    self.end(node, dark);
                    if let Some(after) = back {
                        self.plan(self.now + after, Act::Start(node));
                    }
                }
            }
            Act::Reset => self.reset(),
            Act::Part(islands) => self.part(&islands),
        }
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].actor.is_some() {
            return;
        }
        let (settings, torrent) = (self.settings(node), self.torrent(node));
        self.nodes[node].peer_id = settings.peer_id;
        let rng = self.rng.split();
        let n = &mut self.nodes[node];
        n.actor = Some((n.host.make)(settings, torrent, rng));
        n.dark = false;
        let now = self.now;
        self.observer.lives(now, node, Some(self.nodes[node].disk.have()));
        let pieces: Vec<u32> = self.nodes[node].disk.have().iter().collect();
        pieces.into_iter().for_each(|piece| self.count_piece(node, piece));
        // What was sent to it while it was away is sent again now, and its kernel knows nothing of it.
        let ends = if self.nodes[node].life == 0 { 0 } else { self.ends.len() as u32 };
        for end in 0..ends {
            if self.other(end) == node && self.ends[end as usize].open {
                self.queue.push(now + Duration::from_millis(1), Happening::Closed { end });
            }
        }
        if let Some(actor) = &mut self.nodes[node].actor {
            actor.handle_timeout(now);
        }
        self.poll(node);
        self.pump(node);
    }

    /// A piece is there at a live host.
    pub(super) fn count_piece(&mut self, node: usize, piece: u32) {
        if node >= self.seeders && self.nodes[node].host.honest {
            self.copies[piece as usize] += 1;
            self.covered += u32::from(self.copies[piece as usize] == 1);
        }
    }

    /// A process leaves as it should; then it must be at rest.
    pub(super) fn stop(&mut self, node: usize) {
        let now = self.now;
        let Some(actor) = &mut self.nodes[node].actor else {
            return;
        };
        actor.stop(now);
        self.poll(node);
        self.pump(node);
        self.observer.stopped(now, node);
        if self.nodes[node].host.honest {
            if self.nodes[node].wake.is_some() {
                self.observer.fault(now, node, "wants to be woken after its stop");
            }
            if !self.nodes[node].ends.is_empty() {
                self.observer.fault(now, node, "keeps connections after its stop");
            }
        }
        self.end(node, false);
    }

    fn end(&mut self, node: usize, dark: bool) {
        for end in std::mem::take(&mut self.nodes[node].ends) {
            self.hang_up(end, !dark);
        }
        let n = &mut self.nodes[node];
        if let Some(actor) = n.actor.take() {
            n.progress = actor.progress();
        }
        (n.life, n.dark) = (n.life + 1, dark);
        (n.wake, n.timer) = (None, None);
        n.ready.clear();
        n.digests.clear();
        n.disk.crash();
        let senders = std::mem::take(&mut n.senders);
        let counts = node >= self.seeders && n.host.honest;
        for piece in self.nodes[node].disk.have().iter().filter(|_| counts) {
            self.copies[piece as usize] -= 1;
            self.covered -= u32::from(self.copies[piece as usize] == 0);
        }
        for end in senders {
            if self.ends[end as usize].held == Some(Held::Downlink) {
                self.release(end);
            }
        }
        self.observer.lives(self.now, node, None);
    }

    fn reset(&mut self) {
        let count = self.ends.len() as u64 / 2;
        let first = self.rng.below(count) as u32 * 2;
        for end in [first, first + 1].into_iter().filter(|_| count > 0) {
            self.queue.push(self.now, Happening::Closed { end });
        }
    }

    fn part(&mut self, islands: &[u8]) {
        for (node, island) in self.nodes.iter_mut().zip(islands) {
            node.island = *island;
        }
        for end in 0..self.ends.len() as u32 {
            let (node, other) = (self.ends[end as usize].node as usize, self.other(end));
            if self.is_cut(node, other) {
                continue;
            }
            if std::mem::take(&mut self.ends[end as usize].late) {
                self.queue.push(Time(self.now.0 + 1), Happening::Closed { end });
            }
            if self.ends[end as usize].held == Some(Held::Cut) {
                self.release(end);
            }
        }
    }
}
