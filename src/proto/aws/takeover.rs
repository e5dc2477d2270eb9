//! Who does the rows of a dataset when their backend has failed.
//!
//! Every backend has the dataset, or gets it, so none is waited for: the one that has failed this job least
//! often, and of these the one with least to do, takes over. It is given the rows under an ID of their own.
//! So a backend tells two shards of one job apart as it tells jobs apart, and what the one that failed may
//! still say about them names nothing that exists: no answer counts twice.
//!
//! What is left out: numbers that travel, whose backend is waited for (`shard`), since only the client could
//! send them again.

use super::job::Job;
use super::shard::{Failure, Shard};
use super::{Context, Out};
use crate::limits::{BACKEND_SILENCE, MAX_ATTEMPTS, MAX_RTO};
use crate::time::Time;

/// How a backend has done in a job.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// How often it has failed.
    failures: u32,
    /// It said that it cannot: it is not asked again.
    refused: bool,
    /// What it failed at last.
    reason: String,
}

impl Standing {
    /// Takes in that the backend of this name has failed; says how.
    fn note(&mut self, failure: &Failure, name: &str) -> String {
        self.failures += 1;
        self.refused = matches!(failure, Failure::Refused(_));
        self.reason = match failure {
            Failure::Unanswered => format!("does not answer; start it with `make server{name}`"),
            Failure::Silent => "fell silent".to_owned(),
            Failure::Forgotten => "was started anew".to_owned(),
            Failure::Refused(reason) => reason.clone(),
        };
        self.reason.clone()
    }
}

impl Job {
    /// The backend of shard `i` has failed at its rows: somebody else does them.
    pub fn on_lost(
        &mut self,
        now: Time,
        i: usize,
        failure: Failure,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let backends = &cx.settings.backends;
        let shard = &mut self.shards[i];
        let Some(from) = backends.iter().position(|peer| peer.addr == shard.addr) else {
            return Err(format!("{} is configured no more", shard.backend()));
        };
        let is_first = self.standings[from].failures == 0;
        let said = self.standings[from].note(&failure, &shard.name);
        shard.log_wait(said.clone());
        if failure != Failure::Unanswered {
            shard.failures += 1;
        }
        if shard.failures >= MAX_ATTEMPTS || shard.is_given_up(now) {
            return Err(self.nobody(cx));
        }
        // One that was started anew answers, and may have its rows on disk: it has a second chance.
        let stays = failure == Failure::Forgotten && is_first;
        let next = if stays { Some(from) } else { self.candidate(from, cx) };
        let Some(to) = next else { return Err(self.nobody(cx)) };
        let (failed, peer) = (self.shards[i].backend(), &backends[to]);
        if is_first || failure != Failure::Unanswered {
            let then = match to == from {
                true => "it is asked again".to_owned(),
                false => format!("Backend-Server {} takes over", peer.name),
            };
            self.tell(format!("{failed}: {said}; {then}"), cx);
        }
        // However many shards wait for one that is silent, together they ask it no more often than one would.
        let waiting = self.shards.iter().filter(|shard| shard.partial.is_none()).count() as u32;
        let waits_there = |shard: &Shard| shard.is_waiting() && shard.addr == backends[to].addr;
        let is_silent = self.standings[to].failures > 0 || self.shards.iter().any(waits_there);
        let pause = (is_silent && !stays).then(|| (MAX_RTO * waiting).min(BACKEND_SILENCE));
        let (peer, shard) = (&backends[to], &mut self.shards[i]);
        let (addr, mut id) = (shard.addr, shard.id);
        if to != from {
            if id != self.id {
                cx.by_id.remove(&id);
            }
            id = cx.rng.u128();
            cx.by_id.insert(id, self.conn);
        }
        let backend = (peer.name.clone(), peer.addr);
        let last_word = shard.move_to(now, id, backend, pause, cx.rng);
        cx.out.extend(last_word.map(|bytes| Out::Datagram { to: addr, bytes }));
        Ok(())
    }

    /// Who takes over from backend `from`: perhaps itself, where nobody has done better.
    fn candidate(&self, from: usize, cx: &Context<'_>) -> Option<usize> {
        let (backends, standings) = (&cx.settings.backends, &self.standings);
        let k = backends.len();
        let has_work = |b: usize| {
            let mine = self.shards.iter().filter(|shard| shard.addr == backends[b].addr);
            mine.filter(|shard| shard.partial.is_none()).count()
        };
        let willing = (0..k).filter(|&b| !standings[b].refused);
        willing.min_by_key(|&b| (standings[b].failures, has_work(b), (b + k - from - 1) % k))
    }

    /// Why nobody is left: each backend that has failed, those with the same reason together.
    fn nobody(&self, cx: &Context<'_>) -> String {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        let failed = self.standings.iter().zip(&cx.settings.backends).filter(|(s, _)| s.failures > 0);
        for (standing, peer) in failed {
            match reasons.iter_mut().find(|(reason, _)| *reason == standing.reason) {
                Some((_, names)) => names.push(&peer.name),
                None => reasons.push((&standing.reason, vec![&peer.name])),
            }
        }
        let of_reason = |(reason, names): &(&str, Vec<&str>)| {
            format!("Backend-Server {}: {reason}", names.join(" and "))
        };
        let all: Vec<String> = reasons.iter().map(of_reason).collect();
        format!("no backend is left that maps the dataset's rows ({})", all.join("; "))
    }
}
