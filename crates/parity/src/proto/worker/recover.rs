//! Stopping, saying what is there, going back or being rebuilt, and going on.

use super::*;

impl<M: Memory> Worker<M> {
    pub(super) fn prepare(&mut self, epoch: Epoch, leader: Holder) {
        if matches!(self.phase, Phase::Rebuilding(..)) {
            // Half of an image is none.
            self.forget_all();
        }
        (self.epoch, self.leader, self.phase) = (epoch, Some(leader), Phase::Stopping);
        self.peers.iter_mut().for_each(|peer| *peer = Peer::default());
        self.acknowledged.clear();
        self.resumes.clear();
        self.wanted.clear();
        self.commits.clear();
        (self.asked, self.granted, self.hurry, self.cramped) = (None, None, false, None);
        (self.done, self.done_then, self.counted, self.waiting, self.said) =
            (false, false, false, false, 0);
        (self.due, self.look) = (Time::ZERO, Time::ZERO);
        self.flushed.clear();
        self.stopped = false;
    }

    fn forget_all(&mut self) {
        if let Some(shadow) = &mut self.shadow {
            match Shadow::new(shadow.pages()) {
                Ok(zeros) => *shadow = Arc::new(zeros),
                Err(error) => return self.fail(error.to_string()),
            }
        }
        self.another = true;
        (self.restored, self.went) = (Epoch::default(), Epoch::default());
        (self.committed, self.taken, self.undo) = (Line::default(), Line::default(), None);
    }

    /// Memory and image are home.
    pub(super) fn report(&mut self) {
        let Some(shadow) = &self.shadow else { return };
        if !shadow.is_sound() {
            let why = format!("{}'s image of {} has changed in memory", self.settings.me, self.taken);
            self.outputs.push_back(Output::Event(Event::Corrupt(why)));
            self.forget_all();
        }
        let digest = self.shadow.as_ref().map_or(Digest::default(), |shadow| shadow.digest());
        let before = self.undo.as_ref().map_or(Digest::default(), |undo| undo.digest());
        let held = Held::Images {
            committed: (self.committed, digest.plus(before)),
            taken: (self.taken, digest),
            since: self.since,
        };
        self.phase = Phase::Reported;
        self.tell_leader(Body::Report(Report { restored: self.restored, went: self.went, held }));
    }

    pub(super) fn on_plan(&mut self, plan: Arc<Plan>) {
        let me = self.me();
        let line = plan.lines[usize::from(self.settings.me.0)];
        if let Some(terms) = plan.rebuilt.get(&me) {
            self.forget_all();
            let rebuild = Rebuild::new(terms);
            for from in rebuild.sources().filter(|from| self.up.contains(from)).collect::<Vec<_>>() {
                self.say(from, Body::Want);
            }
            self.phase = Phase::Rebuilding(plan, rebuild);
            return;
        }
        let from = self.taken;
        if plan.fresh.contains(&me) {
            self.forget_all();
        }
        let undone = self.undo.take().filter(|_| line < self.taken);
        if let (Some(undone), Some(shadow)) = (&undone, &mut self.shadow) {
            Arc::make_mut(shadow).toggle(undone);
        }
        let also = undone.as_ref().map_or(&[][..], |undone| undone.pages());
        self.settle(&plan, line, from, also);
    }

    pub(super) fn on_image(&mut self, from: Member, pages: &Pages) {
        let Phase::Rebuilding(_, rebuild) = &mut self.phase else { return };
        let Some(shadow) = &mut self.shadow else { return };
        if let Err(why) = rebuild.add(Arc::make_mut(shadow), from, pages) {
            self.fail(why);
        }
    }

    pub(super) fn on_image_end(&mut self, from: Member, digest: Digest) {
        let Phase::Rebuilding(_, rebuild) = &mut self.phase else { return };
        match rebuild.end(from, digest) {
            Ok(()) => self.rebuilt(),
            Err(why) => self.fail(why),
        }
    }

    /// All sources have sent all: or not yet.
    fn rebuilt(&mut self) {
        let Phase::Rebuilding(plan, rebuild) = &self.phase else { return };
        if !rebuild.is_whole() {
            return;
        }
        let plan = plan.clone();
        let worker = self.settings.me;
        let (line, digest) = (plan.lines[usize::from(worker.0)], plan.digests[usize::from(worker.0)]);
        if self.shadow.as_ref().is_some_and(|shadow| shadow.digest() != digest) {
            return self.fail(format!(
                "what {worker} had at {line} cannot be had again: the sum of what is left does not have the \
                 checksum that it gave then"
            ));
        }
        self.settle(&plan, line, Line(0), &[]);
    }

    /// The image is the plan's: the memory becomes that, or stays what has come of it.
    fn settle(&mut self, plan: &Arc<Plan>, line: Line, from: Line, also: &[u32]) {
        let (Some(live), Some(shadow)) = (&mut self.live, &self.shadow) else { return };
        let all: Vec<u32> = (0..shadow.pages()).filter(|_| self.another).collect();
        if !plan.stays {
            if let Err(error) = live.restore(shadow, if self.another { &all } else { also }) {
                return self.fail(error.to_string());
            }
            self.since = self.epoch;
        }
        self.another = false;
        (self.committed, self.taken, self.restored) = (line, line, self.epoch);
        let me = self.me();
        let recovered = Event::Recovered { line, from, rebuilt: plan.rebuilt.contains_key(&me) };
        self.outputs.push_back(Output::Event(recovered));
        self.phase = Phase::Restored(false);
        for to in std::mem::take(&mut self.wanted) {
            self.help(to);
        }
        self.tell_restored();
    }

    /// Someone is rebuilt with the help of our image: it is sent once it is the plan's.
    pub(super) fn help(&mut self, to: Member) {
        let Some(shadow) = self.shadow.as_ref().filter(|_| matches!(self.phase, Phase::Restored(_)))
        else {
            return self.wanted.push(to);
        };
        let (bulk, digest) = (Bulk::Image(shadow.clone()), shadow.digest());
        self.outputs.push_back(Output::Bulk { to, epoch: self.epoch, bulk });
        self.say(to, Body::ImageEnd(digest));
    }

    /// Once all are linked: to whom would be sent is not known before that.
    pub(super) fn tell_restored(&mut self) {
        let all = self.others().map(Member::Worker).chain(self.holders());
        let linked = all.into_iter().all(|member| self.up.contains(&member));
        if linked && matches!(self.phase, Phase::Restored(false)) {
            self.phase = Phase::Restored(true);
            self.tell_leader(Body::Restored);
        }
    }

    pub(super) fn go(&mut self, now: Time) {
        let layout = self.settings.layout;
        let Some(live) = &mut self.live else { return };
        let mut ledger = Self::ledger(layout, live);
        let taken = ledger.all_taken();
        for (worker, row) in ledger.unstash() {
            let message = Message { sequence: row.sequence, line: row.line, bytes: row.message };
            self.peers[usize::from(worker.0)].inbox.push_back(message);
        }
        self.phase = Phase::Running;
        self.went = self.epoch;
        self.worked = false;
        (self.due, self.look) = (now + self.settings.interval, now + LOOK);
        for worker in self.others() {
            // What had come before the checkpoint is here already.
            let stashed = self.peers[usize::from(worker.0)].inbox.len() as u64;
            self.say(Member::Worker(worker), Body::Resume(taken[usize::from(worker.0)] + stashed));
        }
        self.release();
    }

    /// This worker has said what it has: it is sent what it lacks.
    pub(super) fn resume(&mut self, to: id::Worker, taken: u64) {
        let layout = self.settings.layout;
        let Some(live) = &mut self.live else {
            return self.resumes.push((to, taken));
        };
        let again = Self::ledger(layout, live).resend(To::Worker(to), taken);
        let again = again.into_iter().map(|row| Message {
            sequence: row.sequence,
            line: row.line,
            bytes: row.message,
        });
        let peer = &mut self.peers[usize::from(to.0)];
        peer.resumed = true;
        let held = std::mem::take(&mut peer.held);
        for message in again.chain(held).collect::<Vec<_>>() {
            self.say(Member::Worker(to), Body::Message(message));
        }
    }
}
