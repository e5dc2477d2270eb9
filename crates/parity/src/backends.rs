//! The course's backends as the workers of a group: how far their jobs are outlives them.
//!
//! The lesson: what a backend knows of a shard is two numbers, so its task does no work of its own. It copies
//! into the arena what the backend has had kept, as it is at each step; after a recovery it does so again, and
//! what the arena had lost is there. One that was started after a death finds in its arena what the dead one had
//! put there, and gives it to the backend before that accepts a job. No messages travel between these workers.
//!
//! A group is started by hand: each member binds its own port, and there are no checkpoints until all are there.
//! Where more have died than parity makes good, the group begins anew with what those who live know.
//!
//! What is left out: what a record is good for (the root package's `proto::backend`).

mod slots;

use crate::arena::{Live, Mechanism};
use crate::code::{self, Code};
use crate::id::{Holder, Line, Member, Worker};
use crate::io::{self as node, Error, Outside, Told};
use crate::ledger::Layout;
use crate::limits::{GROUP_INTERVAL, GROUP_PAUSE, PAGE_BYTES};
use crate::mode::Mode;
use crate::proto::work::{Context, Outcome, Task};
use crate::proto::{Event, holder, worker};
use offload::event::{Record, job_name};
use offload::io::Keeper;
use offload::limits::{KEPT_WAIT, MAX_BACKEND_JOBS};
use offload::proto::backend::Kept;
use offload::time::Time;
use slots::Slot;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

/// Deaths at once that are survived: parity and its backup, as in the paper.
const FAILURES: usize = 1;
/// All groups have the same number: who is of another has other ports.
const RUN: u64 = 0;

/// The backends and the holders of their parity, and where they listen.
#[derive(Clone, Debug)]
pub struct Group {
    names: Vec<String>,
    workers: Vec<SocketAddr>,
    holders: [SocketAddr; 2],
    code: Code,
}

/// What is told of a member, for the log.
pub type Sink = Box<dyn FnMut(Record) + Send>;

impl Group {
    /// The backends in their order, by name, with where each one's member listens by TCP; and where the
    /// checkpoint processor and its backup do.
    ///
    /// # Errors
    /// There are more than one group can have.
    pub fn new(
        backends: Vec<(String, SocketAddr)>,
        holders: [SocketAddr; 2],
    ) -> Result<Group, code::Error> {
        let code = Code::new(backends.len(), FAILURES)?;
        let (names, workers) = backends.into_iter().unzip();
        Ok(Group { names, workers, holders, code })
    }

    /// The place of the backend of this name.
    pub fn place(&self, name: &str) -> Option<Worker> {
        (0..).map(Worker).zip(&self.names).find(|(_, known)| *known == name).map(|(place, _)| place)
    }

    /// Where a member listens.
    pub fn address(&self, member: Member) -> Option<SocketAddr> {
        self.addresses().get(&member).copied()
    }

    fn addresses(&self) -> BTreeMap<Member, SocketAddr> {
        let holders = (0..).map(|holder| Member::Holder(Holder(holder))).zip(self.holders);
        let workers = (0..).map(|worker| Member::Worker(Worker(worker)));
        holders.chain(workers.zip(self.workers.iter().copied())).collect()
    }

    fn layout(&self) -> Layout {
        Layout { mode: Mode::Offload, workers: self.workers.len(), log_bytes: PAGE_BYTES, receipts: 0 }
    }

    fn pages(&self) -> u32 {
        (self.layout().bytes() + MAX_BACKEND_JOBS * size_of::<Slot>()).div_ceil(PAGE_BYTES) as u32
    }

    fn settings(&self, me: Member, outside: Outside) -> node::Settings {
        let shape = format!("backends {}, {} pages", self.names.join(" "), self.pages());
        // One process at a time is a member: it alone has the port.
        node::Settings { outside, ..node::Settings::new(me, RUN, shape, self.addresses()) }
    }
}

/// Holds parity until the process ends.
///
/// # Errors
/// When there is no memory, or no thread.
pub fn hold(group: &Group, me: Holder, listener: TcpListener, sink: Sink) -> Result<(), Error> {
    let mut news = News::new(sink);
    again_and_again(listener, |listener| {
        let settings = group.settings(Member::Holder(me), Outside::default());
        let own =
            holder::Settings { me, mode: Mode::Offload, code: group.code.clone(), pages: group.pages() };
        let ended = node::holder(settings, own, listener, &mut |_, told| news.hear(told));
        news.tell(&ended);
        ended
    })
}

/// What a backend and its member share.
#[derive(Default)]
struct Mail {
    /// What the backend has had kept; `None` until it is known what one of before has.
    live: Option<BTreeMap<u128, Kept>>,
    /// What one of before has had kept.
    found: Vec<Kept>,
    /// What of it is in the arena: jobs' names, and how far they are.
    written: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Shared {
    mail: Mutex<Mail>,
    known: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        // Whoever has panicked with it has left it whole: each change is one.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody knows of anything of before.
    fn begin(&self) {
        self.lock().live.get_or_insert_default();
        self.known.notify_all();
    }
}

/// A backend's member of its group, on threads of its own.
pub struct Keeping {
    shared: Arc<Shared>,
    outside: Outside,
}

impl Keeping {
    /// Joins the group as the backend of this place.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(group: Group, me: Worker, listener: TcpListener, sink: Sink) -> io::Result<Keeping> {
        let (shared, outside) = (Arc::<Shared>::default(), Outside::default());
        let keeping = Keeping { shared: shared.clone(), outside: outside.clone() };
        Builder::new().name("parity".into()).spawn(move || {
            let mut news = News::new(sink);
            let ended = again_and_again(listener, |listener| {
                let ended = join(&group, me, listener, &shared, &outside, &mut news);
                news.tell(&ended);
                // What is lost is lost: the backend need not wait for it.
                shared.begin();
                ended
            });
            news.tell(&ended);
        })?;
        Ok(keeping)
    }
}

impl Keeper for Keeping {
    fn kept(&mut self) -> Vec<Kept> {
        let waited = self
            .shared
            .known
            .wait_timeout_while(self.shared.lock(), KEPT_WAIT, |mail| mail.live.is_none());
        let mut mail = waited.unwrap_or_else(PoisonError::into_inner).0;
        mail.live.get_or_insert_default();
        std::mem::take(&mut mail.found)
    }

    fn keep(&mut self, job: u128, kept: Option<Kept>) {
        if let Some(live) = &mut self.shared.lock().live {
            match kept {
                Some(kept) => drop(live.insert(job, kept)),
                None => drop(live.remove(&job)),
            }
        }
        self.outside.changed();
    }
}

/// Is a worker until the group fails.
fn join(
    group: &Group,
    me: Worker,
    listener: TcpListener,
    shared: &Arc<Shared>,
    outside: &Outside,
    news: &mut News,
) -> Result<(), Error> {
    // So few pages are compared sooner than the kernel is asked.
    let live = Live::new(group.pages(), Mechanism::Compare)?;
    let own = worker::Settings {
        me,
        holders: group.holders.len() as u8,
        layout: group.layout(),
        step: (0, 0),
        interval: GROUP_INTERVAL,
        buffer_pages: u32::MAX,
    };
    let task = Box::new(Copying(shared.clone()));
    let settings = group.settings(Member::Worker(me), outside.clone());
    let mut frozen = BTreeMap::new();
    node::worker(settings, own, listener, live, task, &mut |_: Time, told| {
        match &told {
            // No step is under way: the arena has what the last one has written.
            Told::Event(Event::Taken { .. }) => frozen = shared.lock().written.clone(),
            Told::Event(Event::Committed(Line(checkpoint))) => {
                let (checkpoint, kept) = (*checkpoint, std::mem::take(&mut frozen));
                (news.sink)(Record::Checkpoint { checkpoint, kept });
            }
            _ => {}
        }
        news.hear(told);
    })
}

/// A group that has failed begins anew, at the same port.
fn again_and_again(
    listener: TcpListener,
    mut be: impl FnMut(TcpListener) -> Result<(), Error>,
) -> Result<(), Error> {
    let system = |e| Error::System("the port of a member", e);
    let address = listener.local_addr().map_err(system)?;
    let mut listener = Some(listener);
    loop {
        let bound = match listener.take() {
            Some(listener) => Ok(listener),
            None => TcpListener::bind(address),
        };
        match bound {
            Ok(listener) => match be(listener) {
                Ok(()) | Err(Error::Run(_)) => {}
                Err(error) => return Err(error),
            },
            // Somebody's connection from this port, perhaps, which will end.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(system(error)),
        }
        std::thread::sleep(GROUP_PAUSE);
    }
}

/// Puts what is told into words.
struct News {
    sink: Sink,
}

impl News {
    fn new(sink: Sink) -> News {
        News { sink }
    }

    fn say(&mut self, state: String) {
        (self.sink)(Record::Checkpoints { state });
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Lost(member, why) => {
                self.say(format!("none are taken until {member} is back: its link is lost ({why})"));
            }
            Told::Refused(why) => self.say(format!("a link is refused: {why}")),
            Told::Event(Event::Recovered { line, rebuilt, .. }) => {
                let how = if rebuilt { ", rebuilt from the others" } else { "" };
                self.say(format!("all members are there: they are taken, from {line} on{how}"));
            }
            Told::Event(Event::Corrupt(why)) => self.say(why),
            Told::Event(_) => {}
        }
    }

    fn tell(&mut self, ended: &Result<(), Error>) {
        if let Err(error) = ended {
            self.say(format!("the group begins anew: {error}"));
        }
    }
}

/// The task: the arena is what the backend has had kept.
struct Copying(Arc<Shared>);

impl Task for Copying {
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let (_, all) = cx.parts::<[u64; 0], Slot>();
        let mut mail = self.0.lock();
        let Mail { live, found, written } = &mut *mail;
        let Some(live) = live else {
            *found = slots::read(all);
            *live = Some(found.iter().map(|kept| (kept.job, kept.clone())).collect());
            self.0.known.notify_all();
            return Outcome::Wait;
        };
        let changed = slots::write(all, live);
        *written = live.values().map(|kept| (job_name(kept.job), kept.numbers)).collect();
        if changed { Outcome::Again } else { Outcome::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ethnum::I256;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn what_is_kept_is_in_a_checkpoint_soon_and_an_idle_group_takes_none() {
        let mut ports: Vec<_> = (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let at = |i: usize| ports[i].local_addr().unwrap();
        let backends = ["A", "B", "C"].into_iter().map(String::from).zip((0..3).map(at)).collect();
        let group = Group::new(backends, [at(3), at(4)]).unwrap();
        let (tell, told) = channel();
        for holder in [Holder(1), Holder(0)] {
            let (group, port) = (group.clone(), ports.pop().unwrap());
            std::thread::spawn(move || hold(&group, holder, port, Box::new(drop)));
        }
        let keep = |me: u16| {
            let (group, port, tell) = (group.clone(), ports.pop().unwrap(), tell.clone());
            // Nobody listens once the test is over.
            let sink: Sink = Box::new(move |record| drop(tell.send((me, record))));
            Keeping::start(group, Worker(me), port, sink).unwrap()
        };
        let mut members: Vec<Keeping> = [2, 1, 0].map(keep).into();
        assert!(members.iter_mut().all(|member| member.kept().is_empty()), "nobody has kept anything");
        let function = "SUM".to_owned();
        let kept =
            Kept { job: 7 << 100, shard: 1, count: 9, function, numbers: 5, partial: I256::from(-3) };
        members[1].keep(kept.job, Some(kept.clone()));
        let expected = BTreeMap::from([(job_name(kept.job), 5)]);
        let first = loop {
            match told.recv_timeout(PATIENCE).unwrap() {
                (1, Record::Checkpoint { checkpoint, kept }) if kept == expected => break checkpoint,
                _ => {}
            }
        };
        assert_eq!(first, 1, "before that there was nothing to take a checkpoint of");
        members[1].keep(kept.job, None);
        loop {
            match told.recv_timeout(PATIENCE).unwrap() {
                (1, Record::Checkpoint { checkpoint: 2, kept }) => break assert!(kept.is_empty()),
                (_, Record::Checkpoint { checkpoint, .. }) => assert!(checkpoint <= 2),
                _ => {}
            }
        }
    }
}
