//! What sessions want done, and the answers.

use super::{Bytes, Happening, Leave, MAX_SPINS, Observer, TRACKER_DELAY, World, address};
use crate::limits::HANDSHAKE_LIMIT;
use crate::peer::{AnnounceEvent, Announced, Conn, Content, Event, Input, Output, Source};
use crate::sim::link::Item;
use crate::wire::message::Message;
use offload::time::Time;
use std::net::SocketAddr;

/// A message in a line.
pub(super) fn describe(message: &Message) -> String {
    match message {
        Message::Bitfield(bytes) => {
            let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
            format!("Bitfield({ones} of at most {})", bytes.len() * 8)
        }
        Message::Extended { id, payload } => format!("Extended {id}: {} bytes", payload.len()),
        Message::Request(block) => format!("Request {}+{}", block.piece, block.begin),
        Message::Cancel(block) => format!("Cancel {}+{}", block.piece, block.begin),
        Message::Reject(block) => format!("Reject {}+{}", block.piece, block.begin),
        other => format!("{other:?}"),
    }
}

impl<O: Observer> World<O> {
    /// Does what a session wants done, until it has nothing more.
    pub(super) fn poll(&mut self, node: usize) {
        let Some(mut actor) = self.nodes[node].actor.take() else {
            return;
        };
        let wake = loop {
            let output = actor.poll_output(self.now);
            self.observer.said(self.now, node, &self.nodes[node].disk, &output);
            match output {
                Output::Wake(wake) => break wake,
                Output::Message { conn, message } => self.say(node, conn, Item::Message(message)),
                Output::Block { conn, block } => {
                    let bytes = self.read(node, block.piece);
                    self.say(node, conn, Item::Block(block, bytes));
                }
                other => self.carry_out(node, other),
            }
        };
        self.nodes[node].actor = Some(actor);
        self.nodes[node].wake = wake;
        self.set_timer(node);
    }

    fn read(&mut self, node: usize, piece: u32) -> Bytes {
        let n = &self.nodes[node];
        if n.disk.have().has(piece) && (n.host.poison == 0.0 || !self.rng.chance(n.host.poison)) {
            return Bytes::SOUND;
        }
        self.corrupted += 1;
        Bytes::corrupt(self.corrupted)
    }

    fn say(&mut self, node: usize, conn: Conn, item: Item) {
        match u32::try_from(conn.0).ok().filter(|end| self.owns(node, *end)) {
            Some(end) => self.enqueue(end, item),
            None => self.observer.fault(self.now, node, "sends on a connection that is gone"),
        }
    }

    fn owns(&self, node: usize, end: u32) -> bool {
        self.ends.get(end as usize).is_some_and(|e| e.node as usize == node && e.open)
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        self.trace.note(self.now, node as u64, || format!("{node}  {}", brief(&output)));
        let (number, life) = (node as u32, self.nodes[node].life);
        match output {
            Output::Connect { address } => self.dial(node, address),
            Output::Close { conn, .. } => match u32::try_from(conn.0) {
                Ok(end) if self.owns(node, end) => self.hang_up(end, true),
                _ => self.observer.fault(self.now, node, "closes a connection that is gone"),
            },
            Output::Verify { piece, digests } => self.hash(node, piece, digests),
            Output::Forget { piece } => self.nodes[node].disk.forget(piece),
            Output::Metadata { bytes } => {
                let good = bytes == self.swarm.metadata;
                self.nodes[node].knows |= good;
                self.queue.push(self.now, Happening::Metadata { node: number, life, good });
            }
            Output::Announce { event, .. } => self.announce(node, event),
            Output::Discover => self.discover(node),
            Output::Event(Event::Complete) => self.complete(node),
            Output::Event(_) | Output::Message { .. } | Output::Block { .. } | Output::Wake(_) => {}
        }
    }

    fn hash(&mut self, node: usize, piece: u32, digests: bool) {
        let Some(length) = self.nodes[node].disk.hash(piece) else {
            return self.observer.fault(self.now, node, "verifies a piece that lacks blocks");
        };
        let n = &mut self.nodes[node];
        if digests {
            n.digests.push(piece);
        }
        let takes = u64::from(length) * 1_000_000_000 / n.host.hash_rate.max(1);
        n.hash_free = Time(n.hash_free.max(self.now).0 + takes);
        let happening = Happening::Hashed { node: node as u32, life: n.life, piece };
        self.queue.push(n.hash_free, happening);
    }

    fn announce(&mut self, node: usize, event: AnnounceEvent) {
        let answer = self.tracker.announce(self.now, node as u32, event);
        let index = self.answers.len() as u32;
        self.answers.push(answer);
        let (number, life) = (node as u32, self.nodes[node].life);
        let happening = Happening::Announced { node: number, life, answer: index };
        self.queue.push(self.now + TRACKER_DELAY, happening);
    }

    fn discover(&mut self, node: usize) {
        if !self.swarm.multicast {
            return;
        }
        for other in 0..self.nodes.len() {
            if other != node && !self.is_cut(node, other) {
                let at = self.now + self.delay(node, other);
                let happening = Happening::Discovered { node: other as u32, from: node as u32 };
                self.queue.push(at, happening);
            }
        }
    }

    fn complete(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        n.finished.get_or_insert(self.now);
        n.sent_at_look = n.sent_bytes;
        let happening = Happening::Look { node: node as u32, life: n.life };
        match n.host.leave {
            Leave::Never => {}
            Leave::AtOnce => self.queue.push(self.now, happening),
            Leave::Slow { poll, .. } => self.queue.push(self.now + poll, happening),
        }
    }

    /// Does it leave now?
    pub(super) fn on_look(&mut self, node: usize, life: u32) {
        let n = &mut self.nodes[node];
        if n.life != life || n.actor.is_none() {
            return;
        }
        if let Leave::Slow { bytes_per_s, poll } = n.host.leave {
            let sent = u128::from(n.sent_bytes - n.sent_at_look);
            n.sent_at_look = n.sent_bytes;
            if sent * 1000 >= u128::from(bytes_per_s) * poll.as_millis() {
                return self.queue.push(self.now + poll, Happening::Look { node: node as u32, life });
            }
        }
        self.stop(node);
    }

    /// What a session asked for is there.
    pub(super) fn on_answer(&mut self, node: usize, happening: Happening) {
        if self.nodes[node].actor.is_none() {
            return;
        }
        match happening {
            Happening::Failed { stranger, .. } => {
                let address = self.strangers[stranger as usize];
                self.input(node, Input::ConnectFailed { address });
            }
            Happening::Hashed { piece, .. } => self.on_hashed(node, piece),
            Happening::Announced { answer, .. } => {
                let peers = self.answers[answer as usize].take();
                let peers = peers.map(|peers| {
                    peers.iter().map(|peer| address(*peer as usize)).collect::<Vec<SocketAddr>>()
                });
                peers.iter().flatten().for_each(|peer| self.observer.named(node, *peer));
                self.observer.heard(node, peers.is_some());
                let interval = self.tracker.interval;
                let answer = peers.map(|peers| Announced { interval, peers });
                self.note_answer(node, &answer);
                self.input(node, Input::Announced(answer));
            }
            Happening::Metadata { good: true, .. } => {
                let content = Box::new(self.content(node));
                self.input(node, Input::Content(content));
            }
            Happening::Metadata { .. } => self.input(node, Input::MetadataRefused),
            Happening::Discovered { from, .. } => {
                let addresses = [address(from as usize)];
                let source = Source::Discovery;
                self.input(node, Input::Peers { source, addresses: &addresses });
            }
            _ => {}
        }
    }

    fn note_answer(&mut self, node: usize, answer: &Option<Announced>) {
        self.trace.note(self.now, 7, || match answer {
            Some(answer) => format!("{node}  the tracker names {}", answer.peers.len()),
            None => format!("{node}  the tracker does not answer"),
        });
    }

    fn on_hashed(&mut self, node: usize, piece: u32) {
        let n = &mut self.nodes[node];
        let Some(verdict) = n.disk.verdict(piece) else {
            return self.observer.fault(self.now, node, "forgets a piece that is being hashed");
        };
        let asked = n.digests.iter().position(|other| *other == piece);
        if let Some(at) = asked {
            n.digests.swap_remove(at);
        }
        if verdict.good {
            self.count_piece(node, piece);
        }
        let good = verdict.good;
        self.trace.note(self.now, u64::from(piece) << 1 | u64::from(good), || {
            format!("{node}  piece {piece} is {}", if good { "good" } else { "bad" })
        });
        let digests = if asked.is_some() { verdict.digests } else { Vec::new() };
        self.input(node, Input::Verified { piece, good, digests });
    }

    /// What a driver knows of a torrent whose metadata is there.
    pub(super) fn content(&self, node: usize) -> Content {
        let n = &self.nodes[node];
        Content {
            geometry: self.swarm.geometry,
            have: n.disk.have().clone(),
            wanted: n.host.wanted.clone(),
            metadata: self.swarm.metadata.clone(),
        }
    }

    fn set_timer(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        if let Some(wake) = n.wake
            && n.timer.is_none_or(|timer| wake < timer)
        {
            let at = wake.max(self.now);
            n.timer = Some(at);
            self.queue.push(at, Happening::Timer { node: node as u32, life: n.life });
        }
    }

    /// Perhaps it is time to wake a session; a timer that was overtaken by an earlier one is none.
    pub(super) fn on_timer(&mut self, node: usize, life: u32) {
        let n = &mut self.nodes[node];
        if n.life != life || n.timer != Some(self.now) {
            return;
        }
        n.timer = None;
        if n.wake.is_none_or(|wake| wake > self.now) {
            n.spins = 0;
            return self.set_timer(node);
        }
        n.spins += 1;
        if n.spins == MAX_SPINS {
            n.wake = None;
            return self.observer.fault(self.now, node, "wants to be woken for ever at one moment");
        }
        let now = self.now;
        if let Some(actor) = &mut n.actor {
            actor.handle_timeout(now);
            self.poll(node);
            self.pump(node);
        }
        if self.nodes[node].wake.is_none_or(|wake| wake > now) {
            self.nodes[node].spins = 0;
        }
    }

    fn dial(&mut self, node: usize, address: SocketAddr) {
        let (from, life) = (node as u32, self.nodes[node].life);
        match self.node_at(address) {
            Some(to) if to != node => {
                let at = self.now + self.delay(node, to) * 3;
                self.queue.push(at, Happening::Dial { from, to: to as u32, life });
            }
            _ => self.fail(node, address, self.now + TRACKER_DELAY),
        }
    }

    pub(super) fn fail(&mut self, node: usize, address: SocketAddr, at: Time) {
        let stranger = self.strangers.len() as u32;
        self.strangers.push(address);
        let life = self.nodes[node].life;
        self.queue.push(at, Happening::Failed { node: node as u32, life, stranger });
    }

    /// Nobody answers, not even with a refusal.
    pub(super) fn fail_late(&mut self, node: usize, to: usize) {
        self.fail(node, address(to), self.now + HANDSHAKE_LIMIT);
    }
}

/// An output in a line.
fn brief(output: &Output) -> String {
    match output {
        Output::Metadata { bytes } => format!("Metadata: {} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}
