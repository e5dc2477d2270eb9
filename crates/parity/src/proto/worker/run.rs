//! Going on: steps, messages, checkpoints.

use super::*;
use crate::limits::FULL_LOG_LIMIT;

impl<M: Memory> Worker<M> {
    /// Does what can be done now.
    pub(super) fn proceed(&mut self, now: Time) {
        match self.phase {
            Phase::Stopping if self.live.is_some() && self.shadow.is_some() => self.report(),
            Phase::Running => self.run(now),
            _ => {}
        }
    }

    fn run(&mut self, now: Time) {
        if self.live.is_some() {
            self.catch_up();
            if !self.is_running() {
                return;
            }
            if self.settings.layout.mode == Mode::Plank {
                self.flush();
            }
            if self.may_checkpoint() {
                self.checkpoint(now);
            }
            self.look_at_buffer(now);
            if self.is_running() && self.may_step(now) {
                self.step();
            }
        }
        let due = now >= self.due && self.has_news() || self.hurry || self.done && !self.counted;
        if due && self.asked.is_none() && self.taken == self.committed && self.granted.is_none() {
            self.asked = Some(self.taken.next());
            self.tell_leader(Body::Ask(self.taken.next()));
        }
    }

    /// What was said while the memory was away.
    fn catch_up(&mut self) {
        for (to, taken) in std::mem::take(&mut self.resumes) {
            self.resume(to, taken);
        }
        let layout = self.settings.layout;
        if let Some(live) = &mut self.live {
            for (from, sequence) in std::mem::take(&mut self.acknowledged) {
                Self::ledger(layout, live).acknowledged(from, sequence);
            }
        }
        while let Some(commit) = self.commits.pop_front() {
            let me = self.settings.me;
            if layout.mode == Mode::Offload
                && let Some(live) = &mut self.live
            {
                let mut ledger = Self::ledger(layout, live);
                for (to, taken) in commit.unit.workers.iter().zip(&commit.taken) {
                    ledger.forget(To::Worker(*to), taken[usize::from(me.0)]);
                }
            }
            self.release();
            if commit.over {
                self.tell_leader(Body::Released);
            }
        }
    }

    pub(super) fn on_commit(&mut self, commit: Arc<Commit>) {
        let mine = commit.unit.workers.contains(&self.settings.me);
        if mine && commit.unit.line == self.taken {
            (self.committed, self.asked) = (self.taken, None);
            // Unless it is still being sent, its buffer is used again.
            self.spare =
                self.undo.take().and_then(Arc::into_inner).map(Diff::into_spare).unwrap_or_default();
            self.outputs.push_back(Output::Event(Event::Committed(self.committed)));
            self.counted = self.done_then;
        }
        self.commits.push_back(commit);
    }

    /// Says to the world outside what can no longer be undone.
    pub(super) fn release(&mut self) {
        let (layout, committed, said) = (self.settings.layout, self.committed, self.said);
        let Some(live) = &mut self.live else { return };
        let mut ledger = Self::ledger(layout, live);
        let released = ledger.resend(To::Outside, said).into_iter().filter(|row| row.line < committed);
        for row in released.collect::<Vec<_>>() {
            self.said = row.sequence;
            let event = Event::Outside { sequence: row.sequence, bytes: row.message };
            self.outputs.push_back(Output::Event(event));
        }
        ledger.forget(To::Outside, self.said);
    }

    /// Says that all was sent that is sent before the checkpoint: by the last step, and to those who were not
    /// ready for it then.
    fn flush(&mut self) {
        let Some(line) = self.granted.filter(|_| !self.stopped) else { return };
        if self.peers.iter().all(|peer| peer.held.is_empty()) {
            self.stopped = true;
            self.others().for_each(|worker| self.say(Member::Worker(worker), Body::Flush(line)));
        }
    }

    fn may_checkpoint(&self) -> bool {
        let flushed = self.settings.layout.mode != Mode::Plank
            || self.others().all(|worker| self.flushed.contains(&worker));
        self.granted == Some(self.taken.next())
            && self.taken == self.committed
            && self.shadow.is_some()
            && flushed
    }

    fn checkpoint(&mut self, now: Time) {
        let layout = self.settings.layout;
        let (Some(live), Some(shadow)) = (&mut self.live, self.shadow.take()) else { return };
        let mut ledger = Self::ledger(layout, live);
        if layout.mode == Mode::Plank {
            for (from, peer) in (0..).zip(&self.peers) {
                for message in &peer.inbox {
                    if let Err(error) =
                        ledger.stash(id::Worker(from), message.sequence, message.line, &message.bytes)
                    {
                        return self.fail(error.to_string());
                    }
                }
            }
        }
        ledger.checkpoint();
        let frozen = match live.freeze(&shadow, std::mem::take(&mut self.spare)) {
            Ok(frozen) => frozen,
            Err(error) => return self.fail(error.to_string()),
        };
        let mut ledger = Self::ledger(layout, live);
        ledger.unstash();
        let taken = ledger.all_taken();
        self.taken = self.taken.next();
        self.outputs.push_back(Output::Event(Event::Taken {
            line: self.taken,
            pages: frozen.pages().len() as u32,
        }));
        (self.due, self.hurry, self.granted) = (now + self.settings.interval, false, None);
        self.worked = false;
        // A message of a sender that was ahead can be taken now.
        self.waiting = false;
        self.flushed.clear();
        (self.ending, self.done_then) = (Some(taken), self.done);
        self.outputs.push_back(Output::Encode(Box::new(Encode { frozen, shadow })));
    }

    pub(super) fn on_encoded(&mut self, encoded: Encoded) {
        let Encoded { shadow, diff } = encoded;
        let (image, diff) = (shadow.digest(), Arc::new(diff));
        (self.shadow, self.undo) = (Some(shadow), Some(diff.clone()));
        let Some(taken) = self.ending.take().filter(|_| self.is_running()) else { return };
        let done = self.done_then;
        let (line, pages) = (self.taken, diff.pages().len() as u32);
        for to in self.holders().collect::<Vec<_>>() {
            let bulk = Bulk::Diff(line, diff.clone());
            self.outputs.push_back(Output::Bulk { to, epoch: self.epoch, bulk });
            let (diff, taken) = (diff.digest(), taken.clone());
            self.say(to, Body::End(End { line, pages, diff, image, taken, done }));
        }
    }

    fn look_at_buffer(&mut self, now: Time) {
        let endless = self.settings.buffer_pages == u32::MAX;
        if endless || self.taken > self.committed || self.hurry || now < self.look {
            return;
        }
        self.look = now + LOOK;
        let Some(live) = &mut self.live else { return };
        let Some(shadow) = &self.shadow else { return };
        match live.dirty_pages(shadow) {
            Ok(dirty) => self.hurry = dirty.is_some_and(|dirty| dirty >= self.settings.buffer_pages),
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// Bytes of the log that a step may take.
    fn step_bytes(&self) -> usize {
        let (bytes, messages) = self.settings.step;
        2 * (bytes + messages * (ENTRY_BYTES + 8))
    }

    fn may_step(&mut self, now: Time) -> bool {
        let layout = self.settings.layout;
        let frozen =
            layout.mode == Mode::Plank && (self.granted.is_some() || self.taken > self.committed);
        if self.done || self.waiting || frozen {
            return false;
        }
        let needed = self.step_bytes();
        let Some(live) = &mut self.live else { return false };
        if Self::ledger(layout, live).free_bytes() >= needed {
            self.cramped = None;
            return true;
        }
        // What others have taken at a checkpoint makes room; how soon they take it is theirs to say.
        self.hurry = true;
        let since = *self.cramped.get_or_insert(now);
        if needed > layout.log_bytes || now.since(since) > FULL_LOG_LIMIT {
            self.fail(format!(
                "{}: its messages of {} bytes a step do not fit into a log of {} that others do not empty: give the \
                 task a larger log",
                self.settings.me, self.settings.step.0, layout.log_bytes
            ));
        }
        false
    }

    /// Sends the memory away for a step, with the mail that it may see.
    fn step(&mut self) {
        let layout = self.settings.layout;
        let Some(mut live) = self.live.take() else { return };
        let ledger = Self::ledger(layout, &mut live);
        let mut mail = Vec::new();
        for (from, peer) in (0..).map(id::Worker).zip(&mut self.peers) {
            match deliverable(&ledger, from, &mut peer.inbox) {
                Ok(given) => mail.push(given),
                Err(why) => return self.fail(why),
            }
        }
        // Until something else comes.
        self.waiting = true;
        let (state_at, me) = (layout.bytes(), self.settings.me);
        self.outputs.push_back(Output::Step(Box::new(Work { live, state_at, me, mail })));
    }

    pub(super) fn on_stepped(&mut self, stepped: Stepped<M>) {
        let Stepped { mut live, outcome, progress, mail, received, sent } = stepped;
        if !self.is_running() {
            // It counts where the plan is to stay; else the memory becomes that of a checkpoint.
            let kept = match self.settings.layout.mode {
                Mode::Offload => self.keep(&mut live, received, sent),
                Mode::Plank | Mode::Enhanced => Ok(()),
            };
            self.live = Some(live);
            return kept.unwrap_or_else(|error| self.fail(format!("{}: {error}", self.settings.me)));
        }
        for (peer, mut rest) in self.peers.iter_mut().zip(mail) {
            rest.append(&mut peer.inbox);
            peer.inbox = rest;
        }
        let kept = self.keep(&mut live, received, sent);
        self.live = Some(live);
        if let Err(error) = kept {
            return self.fail(format!("{}: {error}", self.settings.me));
        }
        if progress / PROGRESS_STEP != self.progress / PROGRESS_STEP {
            self.progress = progress;
            self.outputs.push_back(Output::Event(Event::Progress(progress)));
        }
        self.worked |= outcome != Outcome::Wait;
        match outcome {
            Outcome::Again => self.waiting = false,
            Outcome::Wait => {}
            Outcome::Done => (self.done, self.counted) = (true, false),
        }
    }

    /// Notes in the memory what a step has received and sent, and sends it.
    fn keep(
        &mut self,
        live: &mut M,
        received: Vec<(id::Worker, u64)>,
        sent: Vec<(To, Vec<u8>)>,
    ) -> Result<(), ledger::Error> {
        let mode = self.settings.layout.mode;
        for (from, sequence) in received {
            Self::ledger(self.settings.layout, live).take(from, sequence)?;
            if mode == Mode::Enhanced {
                self.say(Member::Worker(from), Body::Acknowledge(sequence));
            }
        }
        for (to, bytes) in sent {
            let (sequence, line) = Self::ledger(self.settings.layout, live).send(to, &bytes)?;
            let To::Worker(worker) = to else { continue };
            let message = Message { sequence, line, bytes };
            let peer = &mut self.peers[usize::from(worker.0)];
            if peer.resumed {
                self.say(Member::Worker(worker), Body::Message(message));
            } else if mode != Mode::Offload {
                // Ours has it in the log, from which all is sent that the other lacks.
                peer.held.push(message);
            }
        }
        Ok(())
    }
}

/// Takes from an inbox what the task may see.
fn deliverable(
    ledger: &Ledger<'_>,
    from: id::Worker,
    inbox: &mut VecDeque<Message>,
) -> Result<VecDeque<Message>, String> {
    let mut mail: VecDeque<Message> = VecDeque::new();
    while let Some(message) = inbox.pop_front() {
        if mail.back().is_some_and(|given| message.sequence <= given.sequence) {
            continue;
        }
        match ledger.judge(from, message.sequence, message.line, mail.len() as u64) {
            Verdict::Take => mail.push_back(message),
            Verdict::Duplicate => {}
            Verdict::Early => {
                inbox.push_front(message);
                break;
            }
            Verdict::Gap => {
                let taken = ledger.taken(from) + mail.len() as u64;
                return Err(format!(
                    "{from} sends message {} after {taken}: some are lost",
                    message.sequence
                ));
            }
        }
    }
    Ok(mail)
}
