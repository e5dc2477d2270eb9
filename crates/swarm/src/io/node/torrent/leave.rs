//! How a torrent leaves the swarm: the tracker is told, pieces on their way come to the disk, and what is
//! there is noted; all of it within [`PARTING_LIMIT`], or without.

use super::super::driver::{Context, Mail};
use super::Torrent;
use crate::io::{Error, resume};
use crate::limits::PARTING_LIMIT;
use crate::peer::Session;
use offload::time::Time;

/// It leaves the swarm.
pub struct Parting {
    pub deadline: Time,
    pub why: Option<Error>,
    /// The tracker is being told.
    pub untold: bool,
    /// What is there is being noted.
    pub noting: bool,
}

impl Torrent {
    /// Leaves the swarm, for a reason or because it is told to.
    pub fn part(&mut self, context: &mut Context, why: Option<Error>) {
        if self.parting.is_some() {
            return;
        }
        if let Some(error) = &why {
            context.log(format_args!("{}: {error}", self.info_hash));
        }
        let now = context.now();
        self.last = self.session.as_ref().map_or(self.last, Session::progress);
        let deadline = now + PARTING_LIMIT;
        self.parting = Some(Parting { deadline, why, untold: false, noting: false });
        if let Some(session) = &mut self.session {
            session.stop(now);
        }
        self.drain(context);
        self.session = None;
        self.links.clear();
        self.wake = None;
        self.go(context);
    }

    /// While it leaves: on to the next step.
    pub(super) fn go(&mut self, context: &mut Context) {
        let now = context.now();
        let Some(parting) = &mut self.parting else { return };
        let waits = self.opening || self.hashing > 0 || parting.untold;
        if parting.noting || (waits && now < parting.deadline) {
            return;
        }
        parting.noting = true;
        if self.files.is_none() || self.note(context).is_err() {
            self.end();
        }
    }

    /// Has a thread note which pieces are there.
    pub(super) fn note(&mut self, context: &mut Context) -> Result<(), Error> {
        let Some(files) = &self.files else { return Ok(()) };
        let (storage, have) = (files.storage.clone(), files.have.clone());
        let (torrent, info_hash, post) = (self.key, self.info_hash, context.post.clone());
        context.spawn("noting", move || {
            let outcome = resume::save(&storage, info_hash, &have);
            post.send(Mail::Noted { torrent, outcome });
        })
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
        self.publish(Time::ZERO);
    }

    pub(super) fn on_noted(&mut self, context: &mut Context, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            // The next start hashes what is there.
            context.log(format_args!("{}: what is there could not be noted: {error}", self.info_hash));
        }
        if self.parting.as_ref().is_some_and(|parting| parting.noting) {
            self.end();
        }
    }
}

/// Whoever waits for it does not wait for ever, whatever ends the node's thread.
impl Drop for Torrent {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}
