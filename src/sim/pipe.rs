//! A pipe: one direction of a simulated TCP connection.
//!
//! Bytes arrive once, in order, cut anew wherever chance wants, and no more than a window of them is
//! between the writer's kernel and the reader: a reader without room stops the writer. What is left
//! out: loss (TCP repairs it; delay stands for it).

use crate::rng::Rng;
use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Properties of both directions of a connection.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Least time on the way.
    pub delay: Duration,
    /// Most time added to it.
    pub jitter: Duration,
    /// Most bytes on the way or unread.
    pub window_bytes: usize,
    /// Most bytes that arrive in one piece.
    pub piece_bytes: usize,
}

/// How a pipe ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// After its last byte.
    Orderly,
    /// At once, with this error; bytes on the way are lost.
    Broken(String),
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Pipe {
    wire: Wire,
    unsent: VecDeque<u8>,
    flying: VecDeque<Vec<u8>>,
    arrived: VecDeque<u8>,
    unread: usize,
    last_arrival: Time,
    /// Set when the writer has ended it.
    pub ending: Option<End>,
    /// True once the reader's side knows of the end.
    pub end_arrived: bool,
}

impl Pipe {
    /// An open pipe with nothing in it.
    pub fn new(wire: Wire) -> Pipe {
        Pipe {
            wire,
            unsent: VecDeque::new(),
            flying: VecDeque::new(),
            arrived: VecDeque::new(),
            unread: 0,
            last_arrival: Time::ZERO,
            ending: None,
            end_arrived: false,
        }
    }

    /// Appends what the writer gave.
    pub fn write(&mut self, bytes: &[u8]) {
        self.unsent.extend(bytes);
    }

    /// Bytes that the kernel has not taken yet.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Bytes that wait for the reader.
    pub fn arrived(&self) -> usize {
        self.arrived.len()
    }

    /// Lets the kernel take what fits: the moments at which pieces will arrive.
    pub fn pump(&mut self, now: Time, rng: &mut Rng) -> Vec<Time> {
        let mut moments = Vec::new();
        while !self.unsent.is_empty() && self.unread < self.wire.window_bytes {
            let most = self.wire.piece_bytes.min(self.unsent.len());
            let n = 1 + rng.below(most as u64) as usize;
            let n = n.min(self.wire.window_bytes - self.unread);
            self.flying.push_back(self.unsent.drain(..n).collect());
            self.unread += n;
            moments.push(self.moment(now, rng));
        }
        moments
    }

    /// When the next thing put in now will arrive: never before what went in earlier.
    pub fn moment(&mut self, now: Time, rng: &mut Rng) -> Time {
        let jitter = Duration::from_nanos(rng.below(self.wire.jitter.as_nanos() as u64 + 1));
        self.last_arrival = self.last_arrival.max(now + self.wire.delay + jitter);
        self.last_arrival
    }

    /// The oldest piece on the way has arrived.
    pub fn arrive(&mut self) {
        self.arrived.extend(self.flying.pop_front().unwrap_or_default());
    }

    /// Up to `room` bytes for the reader, cut by chance.
    pub fn read(&mut self, room: usize, rng: &mut Rng) -> Vec<u8> {
        let most = room.min(self.arrived.len());
        let n = if rng.chance(0.5) { most } else { most.min(1 + rng.below(most as u64) as usize) };
        self.unread -= n;
        self.arrived.drain(..n).collect()
    }

    /// Drops what the kernel has not taken: its writer is no more.
    pub fn lose_unsent(&mut self) {
        self.unsent.clear();
    }

    /// Drops all that has not been read.
    pub fn break_off(&mut self) {
        self.unsent.clear();
        self.flying.clear();
        self.arrived.clear();
        self.unread = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_within_the_window_whatever_the_cuts() {
        let mut rng = Rng::from_seed(3);
        let (delay, jitter) = (Duration::from_millis(1), Duration::from_millis(9));
        let mut pipe = Pipe::new(Wire { delay, jitter, window_bytes: 1000, piece_bytes: 300 });
        let sent: Vec<u8> = (0..50_000u32).map(|i| (i * i) as u8).collect();
        pipe.write(&sent);
        let (mut got, mut now, mut due) = (Vec::new(), Time::ZERO, VecDeque::new());
        while got.len() < sent.len() {
            due.extend(pipe.pump(now, &mut rng));
            assert!(pipe.unread <= 1000);
            let next = due.pop_front().expect("something is on the way");
            assert!(next >= now, "nothing overtakes");
            now = next;
            pipe.arrive();
            if rng.chance(0.7) || due.is_empty() {
                let room = 1 + rng.below(2000) as usize;
                while pipe.arrived() > 0 {
                    got.extend(pipe.read(room, &mut rng));
                }
            }
        }
        assert_eq!(got, sent);
        assert_eq!(pipe.unsent(), 0);
    }
}
