//! What moves on the links: who may send next, and when it arrives.

use super::{Happening, Observer, World};
use crate::geometry::Block;
use crate::peer::{Conn, Input};
use crate::sim::link::{DOWNLINK_BYTES, Held, Item, KERNEL_BYTES, WINDOW_BYTES};
use offload::time::Time;
use std::time::Duration;

impl<O: Observer> World<O> {
    /// Puts something behind what the end has to send.
    pub(super) fn enqueue(&mut self, end: u32, item: Item) {
        let e = &mut self.ends[end as usize];
        if let Item::Block(block, _) = &item {
            e.waiting_bytes += u64::from(block.length);
            e.owed = true;
        }
        e.items.push_back(item);
        if e.owed && e.waiting_bytes <= KERNEL_BYTES {
            e.owed = false;
            self.drained.push(end);
        }
        let e = &self.ends[end as usize];
        let (node, messages) = (e.node as usize, e.items.len() - e.flying);
        self.observer.queued(self.now, node, messages, e.waiting_bytes);
        self.ready(end);
    }

    fn ready(&mut self, end: u32) {
        let e = &mut self.ends[end as usize];
        if !e.ready && e.held.is_none() {
            e.ready = true;
            self.nodes[e.node as usize].ready.push_back(end);
        }
    }

    /// What kept it is over.
    pub(super) fn release(&mut self, end: u32) {
        let e = &mut self.ends[end as usize];
        e.held = None;
        if e.open && e.has_waiting() {
            let node = e.node as usize;
            self.ready(end);
            self.come_back(node);
        }
    }

    /// The uplink will be looked at when it is free.
    fn come_back(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        if !n.uplink_due {
            n.uplink_due = true;
            self.queue.push(n.uplink_free.max(self.now), Happening::Uplink { node: node as u32 });
        }
    }

    /// Serves a host's connections until the next one has a block and the uplink is busy with another's.
    /// Messages without a block go at once, and what they cost is added to the uplink's time.
    pub(super) fn serve(&mut self, node: usize) {
        while let Some(&end) = self.nodes[node].ready.front() {
            let e = &self.ends[end as usize];
            let next = e.next();
            let sends = e.open && e.has_waiting();
            if sends && next.2.is_some() && self.nodes[node].uplink_free > self.now {
                return self.come_back(node);
            }
            self.nodes[node].ready.pop_front();
            self.ends[end as usize].ready = false;
            if !sends {
                continue;
            }
            let to = self.other(end);
            if let Some(held) = self.obstacle(end, node, to) {
                self.ends[end as usize].held = Some(held);
                continue;
            }
            self.send(end, node, to, next);
            if self.ends[end as usize].has_waiting() {
                self.ready(end);
            }
        }
    }

    fn obstacle(&mut self, end: u32, node: usize, to: usize) -> Option<Held> {
        if self.is_cut(node, to) {
            return Some(Held::Cut);
        }
        if self.ends[end as usize].flying_bytes >= WINDOW_BYTES {
            return Some(Held::Window);
        }
        let most = self.time_of(DOWNLINK_BYTES, self.nodes[to].host.down);
        if self.nodes[to].downlink_free.since(self.now) >= most {
            self.nodes[to].senders.push_back(end);
            self.look_for_room(to, most / 2);
            return Some(Held::Downlink);
        }
        None
    }

    /// Looks at the downlink again when it holds no more than this.
    fn look_for_room(&mut self, to: usize, holds: Duration) {
        let n = &mut self.nodes[to];
        if !n.room_due {
            n.room_due = true;
            let at = Time(n.downlink_free.0.saturating_sub(holds.as_nanos() as u64));
            self.queue.push(at.max(self.now + holds / 8), Happening::Room { node: to as u32 });
        }
    }

    pub(super) fn on_room(&mut self, node: usize) {
        self.nodes[node].room_due = false;
        let half = self.time_of(DOWNLINK_BYTES / 2, self.nodes[node].host.down);
        // As many as there is room for; whoever does not use it is not waited for.
        for _ in 0..DOWNLINK_BYTES / 2 / KERNEL_BYTES {
            let Some(end) = self.nodes[node].senders.pop_front() else {
                return;
            };
            if self.ends[end as usize].held == Some(Held::Downlink) {
                self.release(end);
            }
        }
        if !self.nodes[node].senders.is_empty() {
            self.look_for_room(node, half);
        }
    }

    /// Sends some messages and, if there is one, the block behind them.
    fn send(&mut self, end: u32, node: usize, to: usize, next: (usize, u64, Option<Block>)) {
        let (messages, small, block) = next;
        let length = block.map_or(0, |block| Item::Block(block, super::Bytes::SOUND).length());
        let bytes = small + length;
        let (delay, now) = (self.delay(node, to), self.now);
        let (up, down) = (
            self.time_of(bytes, self.nodes[node].host.up),
            self.time_of(bytes, self.nodes[to].host.down),
        );
        let begins = self.nodes[node].uplink_free.max(now);
        self.nodes[node].uplink_free = begins + up;
        // A downlink takes in as the uplink sends, unless something else is before it.
        let first = (begins + delay).max(self.nodes[to].downlink_free);
        self.nodes[to].downlink_free = first + down;
        let last = (first + down).max(begins + up + delay);
        let e = &mut self.ends[end as usize];
        let head = if block.is_some() { first } else { last };
        let head = head.max(e.last);
        e.last = last.max(head);
        e.flying += messages + usize::from(block.is_some());
        e.flying_bytes += length;
        let arrives = e.last;
        self.queue
            .push(head, Happening::Head { end, messages: messages as u16, block: block.is_some() });
        if let Some(block) = block {
            self.nodes[node].sent_bytes += u64::from(block.length);
            self.queue.push(arrives, Happening::Block { end });
            let e = &mut self.ends[end as usize];
            e.waiting_bytes -= u64::from(block.length);
            if e.owed && e.waiting_bytes <= KERNEL_BYTES {
                e.owed = false;
                self.drained.push(end);
            }
        }
    }

    /// Messages have come, and perhaps the header of a block.
    pub(super) fn on_head(&mut self, end: u32, messages: u16, block: bool) {
        let receiver = end ^ 1;
        let node = self.ends[receiver as usize].node as usize;
        for _ in 0..messages {
            let e = &mut self.ends[end as usize];
            e.flying -= 1;
            let Some(Item::Message(message)) = e.items.pop_front() else {
                continue;
            };
            if !self.takes(end, receiver) {
                continue;
            }
            let from = self.ends[end as usize].node;
            self.trace.note(self.now, u64::from(end) << 8 | 1, || {
                format!("{node} <- {from}  {}", super::outputs::describe(&message))
            });
            self.input(node, Input::Message { conn: Conn(u64::from(receiver)), message });
        }
        if let (true, Some(Item::Block(block, _))) = (block, self.ends[end as usize].items.front()) {
            let (block, conn) = (*block, Conn(u64::from(receiver)));
            let actor = self.nodes[node].actor.as_ref();
            let wants = self.ends[receiver as usize].open
                && actor.is_some_and(|actor| actor.expects(conn, block));
            if wants && !self.swarm.geometry.has_block(block) {
                self.observer.fault(self.now, node, "keeps a block that nobody asks for");
            }
            self.ends[end as usize].kept = wants;
        }
    }

    /// Is there somebody to receive? If only a kernel, it answers with a reset.
    fn takes(&mut self, end: u32, receiver: u32) -> bool {
        if self.ends[receiver as usize].open {
            return true;
        }
        let (to, from) = (self.other(end), self.ends[end as usize].node as usize);
        if self.ends[end as usize].open && !self.nodes[to].dark {
            let at = self.now + self.delay(from, to);
            self.queue.push(at, Happening::Closed { end });
        }
        false
    }

    /// A block has come whole.
    pub(super) fn on_block(&mut self, end: u32) {
        let receiver = end ^ 1;
        let node = self.ends[receiver as usize].node as usize;
        let from = self.ends[end as usize].node as usize;
        let e = &mut self.ends[end as usize];
        let Some(Item::Block(block, bytes)) = e.items.pop_front() else {
            return;
        };
        e.flying -= 1;
        if self.nodes[node].dark {
            // Nobody acknowledges it: it stays under way for ever.
            return;
        }
        self.ends[end as usize].flying_bytes -= Item::Block(block, bytes).length();
        if self.ends[end as usize].held == Some(Held::Window) {
            self.release(end);
        }
        if !self.takes(end, receiver) {
            return;
        }
        let kept = self.ends[end as usize].kept && self.nodes[node].disk.keep(block, bytes);
        self.observer.arrived(self.now, from, node, block, bytes.is_sound(), kept);
        self.observer.opened(self.now, node, self.nodes[node].disk.open_bytes());
        self.note_block(end, node, from, block, bytes.is_sound(), kept);
        self.input(node, Input::Block { conn: Conn(u64::from(receiver)), block, kept });
    }

    fn note_block(&mut self, end: u32, node: usize, from: usize, block: Block, sound: bool, kept: bool) {
        let what = u64::from(block.piece) << 32 | u64::from(block.begin) | u64::from(sound) << 1;
        self.trace.note(self.now, what ^ u64::from(end) << 40 ^ u64::from(kept), || {
            let (sound, kept) =
                (if sound { "" } else { " corrupt" }, if kept { "" } else { " thrown away" });
            format!("{node} <- {from}  PIECE {}+{}{sound}{kept}", block.piece, block.begin)
        });
    }

    /// Tells a session something and does what it says.
    pub(super) fn input(&mut self, node: usize, input: Input<'_>) {
        let now = self.now;
        if let Some(actor) = &mut self.nodes[node].actor {
            actor.handle_input(now, input);
            self.poll(node);
            self.pump(node);
        }
    }

    /// Serves the uplink, and lets the session go on where the kernel has taken everything.
    pub(super) fn pump(&mut self, node: usize) {
        loop {
            self.serve(node);
            let Some(end) = self.drained.pop() else {
                return;
            };
            let now = self.now;
            if let Some(actor) = &mut self.nodes[node].actor
                && self.ends[end as usize].open
            {
                actor.handle_input(now, Input::Drained { conn: Conn(u64::from(end)) });
                self.poll(node);
            }
        }
    }
}
