//! A shard that goes from backend to backend: how long one is waited for, and how it begins at the next.
//!
//! What is left out: who is next (`takeover`).

use super::{Shard, Stage};
use crate::limits::BACKEND_SILENCE;
use crate::rng::Rng;
use crate::time::Time;
use std::net::SocketAddr;
use std::time::Duration;

impl Shard {
    /// Begins anew at a backend: at another one under an ID of the shard's own, at the same one by an attempt
    /// that is newer. Returns a last datagram for the one that loses a session.
    pub fn move_to(
        &mut self,
        now: Time,
        id: u128,
        backend: (String, SocketAddr),
        pause: Option<Duration>,
        rng: &mut Rng,
    ) -> Option<Vec<u8>> {
        let waits = self.is_waiting();
        let since = if waits { self.waiting_since } else { now };
        let is_lost = !waits && id != self.id;
        let last_word = is_lost.then(|| self.abort("another backend has its rows now")).flatten();
        self.attempt += 1;
        self.pause = pause;
        self.id = id;
        (self.name, self.addr) = backend;
        self.begin(now, rng);
        self.waiting_since = since;
        last_word
    }

    /// Whether its backend has yet to accept it.
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Opening { .. })
    }

    /// Whether nobody has accepted it for as long as a job waits.
    pub fn is_given_up(&self, now: Time) -> bool {
        self.is_waiting() && now >= self.waiting_since + self.terms.restart_wait
    }

    /// When to do more about an OPEN that has no answer than to repeat it.
    pub(super) fn patience(&self) -> Time {
        let end = self.waiting_since + self.terms.restart_wait;
        match self.stage {
            Stage::Opening { sent_at, .. } if self.terms.dataset.is_some() => {
                // Whole pauses, and two at least: each OPEN has as long to be answered.
                let pauses =
                    |pause: Duration| BACKEND_SILENCE.as_nanos().div_ceil(pause.as_nanos()).max(2);
                let patience = self.pause.map_or(BACKEND_SILENCE, |pause| pause * pauses(pause) as u32);
                end.min(sent_at + patience)
            }
            _ if self.told_waiting => end,
            _ => end.min(self.waiting_since + BACKEND_SILENCE),
        }
    }
}
