//! Stopping, saying what is there, and becoming what the plan says.

use super::*;

impl Holder {
    pub(super) fn prepare(&mut self, epoch: Epoch, leader: id::Holder) {
        if matches!(self.phase, Phase::Rebuilding(..)) {
            // Half of a parity is none.
            self.forget_all();
        }
        (self.epoch, self.leader) = (epoch, Some(leader));
        self.wanted.clear();
        // What has not come whole will not: its sender is told to stop too.
        self.sets.iter_mut().filter(|set| set.end.is_none()).for_each(|set| *set = Set::default());
    }

    fn forget_all(&mut self) {
        match Shadow::new(self.settings.pages) {
            Ok(zeros) => self.parity = Arc::new(zeros),
            Err(error) => return self.end(Err(error.to_string())),
        }
        (self.restored, self.went) = (Epoch::default(), Epoch::default());
        self.applied.fill(Default::default());
        self.done.fill(false);
        self.sets.iter_mut().for_each(|set| *set = Set::default());
    }

    pub(super) fn report(&mut self) {
        if !self.parity.is_sound() {
            let why = format!("the parity of {} has changed in memory", self.settings.me);
            self.outputs.push_back(Output::Event(Event::Corrupt(why)));
            self.forget_all();
        }
        let staged = self.sets.iter().map(|set| set.end.as_ref().map(|end| end.image));
        let held = Held::Parity { applied: self.applied.clone(), staged: staged.collect() };
        self.phase = Phase::Reported;
        self.tell_leader(Body::Report(Report { restored: self.restored, went: self.went, held }));
    }

    pub(super) fn on_plan(&mut self, plan: Arc<Plan>) {
        if !matches!(self.phase, Phase::Reported) {
            return;
        }
        let me = self.me();
        if let Some(terms) = plan.rebuilt.get(&me) {
            self.forget_all();
            let rebuild = Rebuild::new(terms);
            for from in rebuild.sources().filter(|from| self.up.contains_key(from)).collect::<Vec<_>>() {
                self.say(from, Body::Want);
            }
            self.phase = Phase::Rebuilding(plan, rebuild);
            return;
        }
        if plan.fresh.contains(&me) {
            self.forget_all();
        }
        for worker in self.workers() {
            let line = plan.lines[usize::from(worker.0)];
            if line > self.applied[usize::from(worker.0)].0 {
                self.apply(&Unit { line, workers: vec![worker] });
            }
        }
        self.settle(&plan);
    }

    pub(super) fn on_image(&mut self, from: Member, pages: &Pages) {
        let Phase::Rebuilding(_, rebuild) = &mut self.phase else { return };
        if let Err(why) = rebuild.add(Arc::make_mut(&mut self.parity), from, pages) {
            self.end(Err(why));
        }
    }

    pub(super) fn on_image_end(&mut self, from: Member, digest: Digest) {
        let Phase::Rebuilding(plan, rebuild) = &mut self.phase else { return };
        match rebuild.end(from, digest) {
            Ok(()) if rebuild.is_whole() => {
                let plan = plan.clone();
                self.settle(&plan);
            }
            Ok(()) => {}
            Err(why) => self.end(Err(why)),
        }
    }

    /// The parity is the plan's.
    fn settle(&mut self, plan: &Plan) {
        let from = self.applied.first().map_or(Line(0), |(line, _)| *line);
        self.applied = plan.lines.iter().copied().zip(plan.digests.iter().copied()).collect();
        let sum = plan.digests.iter().fold(Digest::default(), |sum, digest| sum.plus(*digest));
        if self.settings.code.is_plain(self.settings.me) && self.parity.digest() != sum {
            let me = self.settings.me;
            return self
                .end(Err(format!("the parity of {me} is not that of the checkpoints that it is for")));
        }
        self.sets.iter_mut().for_each(|set| *set = Set::default());
        (self.phase, self.restored) = (Phase::Restored, self.epoch);
        let line = plan.lines.first().copied().unwrap_or_default();
        let rebuilt = plan.rebuilt.contains_key(&self.me());
        self.outputs.push_back(Output::Event(Event::Recovered { line, from, rebuilt }));
        for to in std::mem::take(&mut self.wanted) {
            self.help(to);
        }
        self.tell_leader(Body::Restored);
    }

    /// Someone is rebuilt with the help of our parity: it is sent once it is the plan's.
    pub(super) fn help(&mut self, to: Member) {
        if !matches!(self.phase, Phase::Restored) {
            return self.wanted.push(to);
        }
        let bulk = Bulk::Image(self.parity.clone());
        self.outputs.push_back(Output::Bulk { to, epoch: self.epoch, bulk });
        self.say(to, Body::ImageEnd(self.parity.digest()));
    }
}
