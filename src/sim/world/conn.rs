//! A world's connections: opening, reading with back-pressure, draining, and the blocks of a file.

use super::{Happening, NodeId, Observer, World};
use crate::proto::{Block, Conn, Input};
use crate::sim::pipe::{End, Pipe, Wire};
use crate::wire::frame;
use std::ops::Range;
use std::time::Duration;

/// A connection; end 0 is the client's.
pub(super) struct Connection {
    nodes: [NodeId; 2],
    /// `pipes[e]` carries what end `e` writes.
    pipes: [Pipe; 2],
    /// End `e` hears nothing more.
    pub(super) over: [bool; 2],
    /// End `e` has written since it was last told that all is with the kernel.
    owes_drained: [bool; 2],
    end_due: [bool; 2],
}

impl Connection {
    pub(super) fn node(&self, end: usize) -> NodeId {
        self.nodes[end]
    }
}

impl<O: Observer> World<O> {
    pub(super) fn make_conn(&mut self, client: NodeId, server: NodeId, wire: Wire) {
        let conn = self.conns.len();
        let delay = wire.delay;
        let alive = [client, server].map(|n| self.nodes[n].machine.is_some());
        self.conns.push(Connection {
            nodes: [client, server],
            pipes: [Pipe::new(wire.clone()), Pipe::new(wire)],
            over: [!alive[0], !alive[1]],
            owes_drained: [false; 2],
            end_due: [false; 2],
        });
        if alive == [true, true] {
            for end in 0..2 {
                let node = self.conns[conn].nodes[end];
                self.nodes[node].conns.push((conn, end));
            }
            self.at(self.now + delay, Happening::Opened { conn, end: 1 });
            self.at(self.now + delay * 2, Happening::Opened { conn, end: 0 });
        } else if alive[0] {
            self.conns[conn].over[0] = true;
            let error = Some("connection refused".to_owned());
            self.feed(client, Some(Input::Closed { conn: Conn(conn as u64), error }));
        }
    }

    pub(super) fn opened(&mut self, conn: usize, end: usize) {
        let c = &self.conns[conn];
        if !c.over[end] {
            let (near, far) = (c.nodes[end], c.nodes[1 - end]);
            let (local, peer) = (self.nodes[near].addr, self.nodes[far].addr);
            self.feed(near, Some(Input::Opened { conn: Conn(conn as u64), peer, local }));
        }
    }

    pub(super) fn write(&mut self, node: NodeId, conn: Conn, bytes: &[u8]) {
        let Some((conn, end)) = self.my_end(node, conn) else { return };
        self.conns[conn].pipes[end].write(bytes);
        self.conns[conn].owes_drained[end] = true;
        self.pump(conn, end);
        let queued = self.conns[conn].pipes[end].unsent();
        self.observer.queued(self.now, node, queued);
    }

    /// A node's end of a connection, unless it is over.
    fn my_end(&self, node: NodeId, conn: Conn) -> Option<(usize, usize)> {
        let mine = self.nodes[node].conns.iter().copied().find(|&(c, _)| c as u64 == conn.0);
        mine.filter(|&(c, e)| !self.conns[c].over[e])
    }

    fn pump(&mut self, conn: usize, end: usize) {
        let c = &mut self.conns[conn];
        let moments = c.pipes[end].pump(self.now, &mut self.rng);
        let is_drained = c.pipes[end].unsent() == 0;
        let drained = is_drained && c.owes_drained[end];
        c.owes_drained[end] &= !drained;
        let ending = is_drained && c.pipes[end].ending.is_some() && !c.end_due[end];
        c.end_due[end] |= ending;
        for moment in moments {
            self.at(moment, Happening::Piece { conn, end: 1 - end });
        }
        if drained {
            self.at(self.now, Happening::Drained { conn, end });
        }
        if ending {
            let moment = self.conns[conn].pipes[end].moment(self.now, &mut self.rng);
            self.at(moment, Happening::Ended { conn, end: 1 - end });
        }
    }

    pub(super) fn close(&mut self, node: NodeId, conn: Conn) {
        if let Some((conn, end)) = self.my_end(node, conn) {
            self.trace.note(self.now, 1, || format!("{} closes tcp {conn}", self.nodes[node].name));
            self.conns[conn].over[end] = true;
            self.conns[conn].pipes[end].ending = Some(End::Orderly);
            self.pump(conn, end);
            self.discard(conn, end);
        }
    }

    /// A process has ended: what its kernel has still arrives, or not even that.
    pub(super) fn finish(&mut self, conn: usize, end: usize, how: End) {
        let c = &mut self.conns[conn];
        if c.pipes[end].ending.is_none() {
            c.over[end] = true;
            c.pipes[end].lose_unsent();
            if how != End::Orderly {
                c.pipes[end].break_off();
            }
            c.pipes[end].ending = Some(how);
            self.pump(conn, end);
            self.discard(conn, end);
        }
    }

    /// What comes to an end that is over goes nowhere.
    fn discard(&mut self, conn: usize, end: usize) {
        let pipe = &mut self.conns[conn].pipes[1 - end];
        while pipe.arrived() > 0 {
            pipe.read(usize::MAX, &mut self.rng);
        }
        self.pump(conn, 1 - end);
    }

    pub(super) fn piece(&mut self, conn: usize, end: usize) {
        self.conns[conn].pipes[1 - end].arrive();
        if self.conns[conn].over[end] {
            self.discard(conn, end);
        } else {
            self.at(self.now, Happening::Readable { conn, end });
        }
    }

    pub(super) fn ended(&mut self, conn: usize, end: usize) {
        self.conns[conn].pipes[1 - end].end_arrived = true;
        self.at(self.now, Happening::Readable { conn, end });
    }

    /// Whether a driver would find something to read: it finds an orderly end by reading, too.
    pub(super) fn is_readable(&self, conn: usize, end: usize) -> bool {
        let c = &self.conns[conn];
        let pipe = &c.pipes[1 - end];
        let room = || {
            let machine = &self.nodes[c.nodes[end]].machine;
            machine.as_ref().map_or(0, |m| m.room(Conn(conn as u64)))
        };
        let broken = pipe.end_arrived && matches!(pipe.ending, Some(End::Broken(_)));
        !c.over[end] && (broken || (pipe.arrived() > 0 || pipe.end_arrived) && room() > 0)
    }

    pub(super) fn readable(&mut self, conn: usize, end: usize) {
        if !self.is_readable(conn, end) {
            return;
        }
        let node = self.conns[conn].nodes[end];
        let number = Conn(conn as u64);
        let room = self.nodes[node].machine.as_ref().map_or(0, |m| m.room(number));
        let pipe = &mut self.conns[conn].pipes[1 - end];
        if pipe.arrived() == 0 {
            let error = match &pipe.ending {
                Some(End::Broken(error)) => Some(error.clone()),
                _ => None,
            };
            self.conns[conn].over[end] = true;
            self.trace.note(self.now, 2, || {
                format!("{} hears that tcp {conn} is over", self.nodes[node].name)
            });
            return self.feed(node, Some(Input::Closed { conn: number, error }));
        }
        let bytes = pipe.read(room, &mut self.rng);
        self.pump(conn, 1 - end);
        let (name, n) = (&self.nodes[node].name, bytes.len());
        self.trace.note(self.now, n as u64, || format!("tcp {conn} => {name}  {n} bytes"));
        self.feed(node, Some(Input::Stream { conn: number, bytes: &bytes }));
    }

    pub(super) fn drained(&mut self, conn: usize, end: usize) {
        let c = &self.conns[conn];
        if c.over[end] || c.pipes[end].unsent() > 0 {
            return;
        }
        let node = c.nodes[end];
        self.plan_block(node);
        self.feed(node, Some(Input::Drained { conn: Conn(conn as u64) }));
    }

    pub(super) fn read(&mut self, node: NodeId, rows: Range<u64>) {
        let have = self.nodes[node].file.rows.len() as u64;
        if rows.start > rows.end || rows.end > have {
            let name = &self.nodes[node].name;
            return self.faults.push(format!("{name}: reads rows {rows:?} of {have}"));
        }
        self.nodes[node].reads.push_back(rows);
        self.plan_block(node);
    }

    /// A range is known by its end, since its beginning moves.
    pub(super) fn unread(&mut self, node: NodeId, rows: &Range<u64>) {
        let n = &mut self.nodes[node];
        match n.reads.iter().position(|read| read.end == rows.end && read.start >= rows.start) {
            Some(place) => drop(n.reads.remove(place)),
            None => {
                self.faults.push(format!("{}: calls off rows {rows:?}, which it does not read", n.name))
            }
        }
    }

    /// The next block is read when the one before is with the kernel.
    fn plan_block(&mut self, node: NodeId) {
        let n = &self.nodes[node];
        let drained = n.conns.iter().all(|&(c, e)| self.conns[c].pipes[e].unsent() == 0);
        if !n.reads.is_empty() && !n.block_due && drained {
            let life = n.life;
            self.nodes[node].block_due = true;
            let parsing = Duration::from_nanos(1 + self.rng.below(50_000));
            self.at(self.now + parsing, Happening::Block { node, life });
        }
    }

    pub(super) fn block(&mut self, node: NodeId, life: u32) {
        let n = &mut self.nodes[node];
        if n.life != life {
            return;
        }
        n.block_due = false;
        let Some(rows) = n.reads.front_mut() else { return };
        let count = (1 + self.rng.below(n.file.block_rows)).min(rows.end - rows.start);
        let first = rows.start;
        rows.start += count;
        if rows.is_empty() {
            n.reads.pop_front();
        }
        let block = if n.file.broken_from.is_some_and(|row| first + count > row) {
            n.reads.clear();
            Err("the file has changed while it was sent".to_owned())
        } else {
            let mut frames = Vec::new();
            let part = &n.file.rows[first as usize..(first + count) as usize];
            frame::encode_data(first, part, &mut frames);
            Ok(Block { first, count, frames })
        };
        if count > 0 || block.is_err() {
            self.feed(node, Some(Input::Block(block)));
        }
        self.plan_block(node);
    }
}
