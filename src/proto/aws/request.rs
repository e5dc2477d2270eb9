//! Ranges that a client has been asked for, and those of them that are not wanted any more.
//!
//! When a backend dies, the client is told to stop, and goes on with other shards; what this one lacks is asked for
//! once its backend is back. Numbers may be on their way meanwhile: they are thrown away until the client says that
//! no more come.
//!
//! What is left out: what becomes of the numbers (`shard`).

use super::Context;
use super::job::Job;
use crate::wire::frame::Frame;

/// A range that the client has been asked for.
#[derive(Debug)]
pub(super) struct Request {
    pub shard: usize,
    pub attempt: u32,
    pub first: u64,
    pub next: u64,
    pub end: u64,
    /// The client has been told to stop.
    pub stops: bool,
}

impl Request {
    pub fn is_whole(&self) -> bool {
        self.next == self.end
    }
}

impl Job {
    /// The first request has come whole.
    pub(super) fn whole(&mut self) {
        let whole = self.requests.pop_front();
        self.late
            .extend(whole.filter(|request| request.stops).map(|request| (request.first, request.end)));
    }

    /// Numbers of this shard that are on their way are not wanted.
    pub(super) fn stop(&mut self, shard: usize, cx: &mut Context<'_>) {
        let ours = self.requests.iter_mut().filter(|request| request.shard == shard && !request.stops);
        let mut stopped = Vec::new();
        for request in ours {
            request.stops = true;
            stopped.push(Frame::Stop { first: request.first, end: request.end });
        }
        stopped.iter().for_each(|stop| self.send(stop, cx));
    }

    /// The client says that no more of a range comes.
    pub(super) fn on_stopped(&mut self, first: u64, end: u64) -> Result<(), String> {
        let is_it = |request: &Request| request.stops && (request.first, request.end) == (first, end);
        if let Some(place) = self.requests.iter().position(is_it) {
            self.requests.remove(place);
        } else if let Some(place) = self.late.iter().position(|late| *late == (first, end)) {
            self.late.remove(place);
        } else {
            return Err(format!(
                "the client stops sending numbers {first}..{end}, which it was not told to"
            ));
        }
        Ok(())
    }
}
