//! The leader's part: who has what, when all go on, and which checkpoint counts.

use super::super::plan;
use super::*;
use std::collections::BTreeSet;

/// What a leader knows of an epoch.
#[derive(Clone, Debug, Hash)]
pub(super) struct Lead {
    stage: Stage,
    /// An epoch that is later than this one, and that someone is in.
    later: Option<Epoch>,
    /// Which checkpoints were asked for, and not granted.
    asked: BTreeMap<Worker, Line>,
    /// Checkpoints that are granted and not applied everywhere, by whose they are.
    rounds: BTreeMap<Vec<Worker>, Round>,
    released: BTreeSet<Worker>,
}

#[derive(Clone, Debug, Hash)]
enum Stage {
    Gathering(BTreeMap<Member, Report>),
    /// Who is as the plan says.
    Restoring(BTreeSet<Member>),
    Running,
}

#[derive(Clone, Debug, Default, Hash)]
struct Round {
    staged: BTreeSet<Member>,
    applied: BTreeSet<Member>,
}

/// Who begins epochs of such numbers.
fn leader_of(epoch: Epoch) -> id::Holder {
    id::Holder((epoch.0 % MAX_HOLDERS as u64) as u8)
}

impl Lead {
    pub fn new() -> Lead {
        let stage = Stage::Gathering(BTreeMap::new());
        Lead {
            stage,
            later: None,
            asked: BTreeMap::new(),
            rounds: BTreeMap::new(),
            released: BTreeSet::new(),
        }
    }

    pub fn is_gathering(&self) -> bool {
        matches!(self.stage, Stage::Gathering(_))
    }
}

impl Holder {
    fn members(&self) -> impl Iterator<Item = Member> + use<> {
        let holders =
            (0..self.settings.code.holders() as u8).map(|holder| Member::Holder(id::Holder(holder)));
        holders.chain(self.workers().map(Member::Worker))
    }

    pub(super) fn is_holder(member: &Member) -> bool {
        matches!(member, Member::Holder(_))
    }

    fn tell(&mut self, who: impl Fn(&Member) -> bool, body: &Body) {
        for member in self.members().filter(who).collect::<Vec<_>>() {
            self.say(member, body.clone());
        }
    }

    /// What only a leader is told.
    pub(super) fn on_led(&mut self, from: Member, body: Body) {
        let Some(lead) = &mut self.lead else { return };
        match (body, from, &mut lead.stage) {
            (Body::Report(report), _, Stage::Gathering(reports)) => {
                reports.insert(from, report);
                if lead.later.is_some() { self.outbid(false) } else { self.plan() }
            }
            (Body::Restored, _, Stage::Restoring(restored)) => {
                restored.insert(from);
                if restored.len() == self.members().count() {
                    self.go();
                }
            }
            // While all gather, nothing is lost with a link.
            (Body::Suspect(_), _, Stage::Restoring(_) | Stage::Running) => self.begin_epoch(),
            (Body::Ask(line), Member::Worker(worker), Stage::Running) => {
                lead.asked.insert(worker, line);
                self.grant();
            }
            (Body::Staged(unit), Member::Holder(_), Stage::Running) => {
                if let Some(round) = lead.rounds.get_mut(&unit.workers) {
                    round.staged.insert(from);
                    if round.staged.len() == self.settings.code.holders() {
                        self.commit(unit);
                    }
                }
            }
            (Body::Applied(unit), Member::Holder(_), Stage::Running) => {
                if let Some(round) = lead.rounds.get_mut(&unit.workers) {
                    round.applied.insert(from);
                    if round.applied.len() == self.settings.code.holders() {
                        lead.rounds.remove(&unit.workers);
                        self.grant();
                    }
                }
            }
            (Body::Released, Member::Worker(worker), Stage::Running) => {
                lead.released.insert(worker);
                if lead.released.len() == self.settings.code.workers() {
                    self.tell(|_| true, &Body::Over);
                }
            }
            _ => {}
        }
    }

    /// Someone is in a later epoch than the one that is led here, or in one of that number.
    pub(super) fn on_behind(&mut self, from: Member, epoch: Epoch) {
        let Some(lead) = &mut self.lead else { return };
        lead.later = lead.later.max(Some(epoch));
        let leads = Member::Holder(leader_of(epoch)) == from;
        if leads && from < self.me() {
            // Its word is on its way. Of two that lead, the first in number does.
            (self.lead, self.leader) = (None, Some(leader_of(epoch)));
        } else {
            self.outbid(leads);
        }
    }

    /// Leads by a still later epoch, where it is known that the later one's leader does not lead by it, or may not.
    /// Otherwise its word is on its way, or comes once it is linked: two that outbid each other at every rumour could
    /// do so for ever.
    fn outbid(&mut self, known: bool) {
        let Some(Lead { later: Some(later), stage, .. }) = &self.lead else { return };
        let (later, rival) = (*later, leader_of(*later));
        let follows = match stage {
            Stage::Gathering(reports) => reports.contains_key(&Member::Holder(rival)),
            Stage::Restoring(_) | Stage::Running => true,
        };
        if known || follows || rival == self.settings.me {
            self.epoch = later;
            self.begin_epoch();
        }
    }

    /// Once all have said what they have.
    fn plan(&mut self) {
        let Some(Lead { stage: Stage::Gathering(reports), .. }) = &self.lead else { return };
        if reports.len() < self.members().count() {
            return;
        }
        match plan::decide(self.settings.mode, &self.settings.code, reports) {
            Ok(plan) => {
                if let Some(lead) = &mut self.lead {
                    lead.stage = Stage::Restoring(BTreeSet::new());
                }
                self.tell(|_| true, &Body::Plan(Arc::new(plan)));
            }
            Err(why) => self.tell(|_| true, &Body::Lost(why)),
        }
    }

    fn go(&mut self) {
        if let Some(lead) = &mut self.lead {
            lead.stage = Stage::Running;
        }
        self.tell(|_| true, &Body::Go);
    }

    /// Grants what was asked for, as far as the last checkpoints are behind us.
    fn grant(&mut self) {
        let all: Vec<Worker> = self.workers().collect();
        let least = self.applied.iter().map(|(line, _)| *line).min().unwrap_or_default();
        let Some(lead) = &mut self.lead else { return };
        let mut granted = Vec::new();
        match self.settings.mode {
            Mode::Plank | Mode::Offload => {
                let asked = lead.asked.values().any(|line| *line == least.next());
                if asked && lead.rounds.is_empty() {
                    lead.asked.clear();
                    lead.rounds.insert(all.clone(), Round::default());
                    granted.extend(all.into_iter().map(|worker| (worker, least.next())));
                }
            }
            Mode::Enhanced => {
                let held = lead.asked.values().any(|line| *line > least.next());
                for worker in all {
                    let line = self.applied[usize::from(worker.0)].0;
                    let asked = lead.asked.get(&worker) == Some(&line.next());
                    // Nobody waits for ever for one that has no reason to ask.
                    let laggard = held && line == least;
                    if line == least && (asked || laggard) && !lead.rounds.contains_key(&vec![worker]) {
                        lead.asked.remove(&worker);
                        granted.push((worker, line.next()));
                    }
                }
                lead.rounds.extend(granted.iter().map(|(worker, _)| (vec![*worker], Round::default())));
            }
        }
        for (worker, line) in granted {
            self.say(Member::Worker(worker), Body::Grant(line));
        }
    }

    /// All holders have it: it counts.
    fn commit(&mut self, unit: Unit) {
        let ends =
            unit.workers.iter().filter_map(|worker| self.sets[usize::from(worker.0)].end.as_ref());
        let taken = ends.map(|end| end.taken.clone()).collect();
        let is_done = |worker: Worker| {
            let set = &self.sets[usize::from(worker.0)];
            let end = set.end.as_ref().filter(|_| unit.workers.contains(&worker));
            end.map_or(self.done[usize::from(worker.0)], |end| end.done)
        };
        let over = self.workers().all(is_done);
        let commit = Body::Commit(Arc::new(Commit { unit, taken, over }));
        // Holders first: a worker that knows makes its task's output known.
        self.tell(Self::is_holder, &commit);
        self.tell(|member| !Self::is_holder(member), &commit);
    }
}
