//! A run on this host: a process for each member, started again when it dies.
//!
//! The lesson: the supervisor holds every member's listening socket, and hands it on as standard input. A
//! member that is started again listens where the dead one did, nobody else can take its port meanwhile, and
//! whoever dials it in between waits in the socket's queue.
//!
//! A member that says nothing for long is killed for good and started again: one that hangs holds up all others, and
//! one that was only stopped must not come back beside its successor.
//!
//! Left out: members on other hosts (`io` has what they need: addresses, and a key), and starting a run that the
//! supervisor's own death has ended.

mod member;
mod room;

pub use member::{Orders, Said, be};

use crate::arena::Mechanism;
use crate::chance::Chance;
use crate::code::Code;
use crate::id::{Holder, Member, Worker};
use crate::io::ping_period;
use crate::limits::{MAX_RESTARTS, PAGE_BYTES, PARTING_LIMIT, SILENCE_LIMIT};
use crate::mode::Mode;
use crate::proto::Event;
use crate::task::{Application, Kind};
use offload::rng::Rng;
use room::Room;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// The argument that says that this process is a member, where [`Plan::new`] has made the plan.
pub const MEMBER: &str = "parity-member";

/// What is to run.
#[derive(Clone, Debug)]
pub struct Plan<A = Kind> {
    /// The program that becomes a member, and its arguments before the member's orders.
    pub program: (PathBuf, Vec<String>),
    /// The application.
    pub kind: A,
    /// How checkpoints fit together.
    pub mode: Mode,
    /// Application processors.
    pub workers: u16,
    /// Deaths at once that are survived.
    pub failures: usize,
    /// The paper's Timeout.
    pub interval: Duration,
    /// The paper's primary buffer, in pages.
    pub buffer_pages: u32,
    /// How writes are noticed.
    pub mechanism: Mechanism,
    /// A member that says nothing for so long is taken for dead, and killed.
    pub silence: Duration,
    /// Who is killed, and when.
    pub kills: Vec<Kill>,
    /// Each member is killed by chance: how often on average, and the seed.
    pub chance: Option<(Duration, u64)>,
}

impl<A> Plan<A> {
    /// This program's processes do it, with a checkpoint a second, and survive one death at a time. The program must
    /// begin with [`Orders::of_this_process`].
    ///
    /// # Errors
    /// The system does not say where this program is.
    pub fn new(kind: A, workers: u16) -> Result<Plan<A>, Error> {
        let program = std::env::current_exe().map_err(|e| Error::System("where this program is", e))?;
        Ok(Plan {
            program: (program, vec![MEMBER.into()]),
            kind,
            mode: Mode::Offload,
            workers,
            failures: 1,
            interval: Duration::from_secs(1),
            buffer_pages: (64 << 20) / PAGE_BYTES as u32,
            mechanism: Mechanism::best(),
            silence: SILENCE_LIMIT,
            kills: Vec::new(),
            chance: None,
        })
    }
}

/// Somebody is killed once the run is so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Who.
    pub member: Member,
    /// When: thousandths of the run.
    pub at: u16,
}

/// What happens in a run.
#[derive(Clone, Debug)]
pub enum Happened {
    /// A process was started.
    Started(Member),
    /// One was killed, as asked for.
    Killed(Member),
    /// One has died, and how.
    Died(Member, String),
    /// One says something.
    Said(Member, Said),
}

/// How a run has ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// What each worker has said.
    pub said: BTreeMap<Worker, Vec<String>>,
    /// Everything, and when.
    pub happened: Vec<(Duration, Happened)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan cannot be carried out.
    #[error("{0}")]
    Plan(String),
    /// The system gives no process or socket.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    /// There is not so much memory.
    #[error(
        "not enough memory: {workers} workers need {worker} MiB each (state and image) and {holders} holders {holder} MiB \
         each (parity), {needed} MiB in all and what is written between two checkpoints, and {left} MiB are all that \
         {whose}: take a smaller task, or allow it more"
    )]
    Memory {
        /// MiB in all.
        needed: u64,
        /// MiB that are left.
        left: u64,
        /// Of what.
        whose: &'static str,
        /// How many.
        workers: u64,
        /// MiB of one.
        worker: u64,
        /// How many.
        holders: u64,
        /// MiB of one.
        holder: u64,
    },
    /// The run has failed.
    #[error("{0}")]
    Run(String),
    /// A member dies again and again.
    #[error("{0} has died {MAX_RESTARTS} times: {1}")]
    Hopeless(Member, String),
}

/// What the supervisor hears.
enum Heard {
    Said(Member, u32, Said),
    /// Its output has ended.
    Ended(Member, u32),
}

struct Process {
    child: Child,
    /// Which of the member's lives.
    life: u32,
    /// Periods in which it has said nothing.
    quiet: u32,
    /// It was too many.
    hangs: bool,
}

struct Supervisor<'a, A> {
    plan: &'a Plan<A>,
    orders: Orders<A>,
    listeners: BTreeMap<Member, TcpListener>,
    processes: BTreeMap<Member, Process>,
    lives: BTreeMap<Member, u32>,
    kills: Vec<Kill>,
    chance: Option<Chance>,
    progress: u16,
    report: Report,
    start: Instant,
    heard: Receiver<Heard>,
    hears: Sender<Heard>,
    over: Option<Instant>,
    /// When the last period of quiet began.
    period: Instant,
}

/// Runs it, and tells what happens.
///
/// # Errors
/// See [`Error`]. All processes have ended then.
pub fn run<A: Application>(
    plan: &Plan<A>,
    mut tell: impl FnMut(Duration, &Happened),
) -> Result<Report, Error> {
    let mut supervisor = Supervisor::new(plan)?;
    let members: Vec<Member> = supervisor.listeners.keys().copied().collect();
    for member in members {
        supervisor.launch(member, &mut tell)?;
    }
    let outcome = supervisor.supervise(&mut tell);
    supervisor.end_all();
    outcome?;
    supervisor.report.elapsed = supervisor.start.elapsed();
    Ok(supervisor.report)
}

impl<A: Application> Supervisor<'_, A> {
    fn new(plan: &Plan<A>) -> Result<Supervisor<'_, A>, Error> {
        plan.kind.check(plan.workers).map_err(Error::Plan)?;
        let code = Code::new(usize::from(plan.workers), plan.failures);
        let code = code.map_err(|e| Error::Plan(e.to_string()))?;
        let (_, pages, _) = member::arena(&plan.kind, plan.mode, plan.workers)?;
        let state = u64::from(pages) * PAGE_BYTES as u64;
        Room { workers: plan.workers.into(), holders: code.holders() as u64, state }.check()?;
        let holders = (0..code.holders() as u8).map(|holder| Member::Holder(Holder(holder)));
        let workers = (0..plan.workers).map(|worker| Member::Worker(Worker(worker)));
        let mut listeners = BTreeMap::new();
        for member in holders.chain(workers) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
            listeners.insert(member, listener.map_err(|e| Error::System("a port for a member", e))?);
        }
        let address =
            |(member, listener): (&Member, &TcpListener)| Ok((*member, listener.local_addr()?));
        let addresses: io::Result<BTreeMap<_, _>> = listeners.iter().map(address).collect();
        let orders = Orders {
            me: Member::Holder(Holder(0)),
            life: 0,
            run: u64::from(std::process::id()),
            addresses: addresses
                .map_err(|e| Error::System("a port for a member", e))?
                .into_iter()
                .collect(),
            kind: plan.kind.clone(),
            mode: plan.mode,
            workers: plan.workers,
            failures: plan.failures,
            interval: plan.interval,
            buffer_pages: plan.buffer_pages,
            mechanism: plan.mechanism.name().into(),
            silence: plan.silence,
        };
        let (hears, heard) = channel();
        let report = Report { said: BTreeMap::new(), happened: Vec::new(), elapsed: Duration::ZERO };
        Ok(Supervisor {
            plan,
            listeners,
            processes: BTreeMap::new(),
            lives: BTreeMap::new(),
            kills: plan.kills.clone(),
            chance: plan.chance.map(|(mean, seed)| {
                Chance::new(
                    orders.addresses.iter().map(|(member, _)| *member),
                    mean,
                    Rng::from_seed(seed),
                )
            }),
            orders,
            progress: 0,
            report,
            start: Instant::now(),
            heard,
            hears,
            over: None,
            period: Instant::now(),
        })
    }

    fn note(&mut self, happened: Happened, tell: &mut impl FnMut(Duration, &Happened)) {
        let now = self.start.elapsed();
        tell(now, &happened);
        self.report.happened.push((now, happened));
    }

    fn launch(
        &mut self,
        member: Member,
        tell: &mut impl FnMut(Duration, &Happened),
    ) -> Result<(), Error> {
        let Some(listener) = self.listeners.get(&member) else { return Ok(()) };
        let life = self.lives.entry(member).or_default();
        *life += 1;
        let life = *life;
        let orders = Orders { me: member, life: u64::from(life), ..self.orders.clone() };
        let orders = serde_json::to_string(&orders).map_err(|e| Error::Plan(e.to_string()))?;
        let socket = listener.try_clone().map_err(|e| Error::System("a member's socket", e))?;
        let (program, arguments) = &self.plan.program;
        let spawned = Command::new(program)
            .args(arguments)
            .arg(orders)
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        let mut child = spawned.map_err(|e| Error::System("a member's process", e))?;
        let output = child.stdout.take();
        self.processes.insert(member, Process { child, life, quiet: 0, hangs: false });
        let hears = self.hears.clone();
        let reader = Builder::new().name("parity-said".into()).spawn(move || {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            for line in lines.map_while(Result::ok) {
                if let Ok(said) = serde_json::from_str(&line) {
                    // Who no longer listens has ended the run.
                    let _ = hears.send(Heard::Said(member, life, said));
                }
            }
            let _ = hears.send(Heard::Ended(member, life));
        });
        reader.map_err(|e| Error::System("a thread", e))?;
        self.note(Happened::Started(member), tell);
        Ok(())
    }

    fn supervise(&mut self, tell: &mut impl FnMut(Duration, &Happened)) -> Result<(), Error> {
        let period = ping_period(self.plan.silence);
        while !self.processes.is_empty() {
            let next = self.chance.as_ref().and_then(Chance::peek).filter(|_| self.over.is_none());
            let due = next.map(|(at, member)| (at.saturating_sub(self.start.elapsed()), member));
            if let Some((Duration::ZERO, member)) = due {
                self.chance.as_mut().and_then(Iterator::next);
                self.kill(member, tell);
                continue;
            }
            if self.period.elapsed() >= period {
                self.watch();
            }
            let left = match self.over {
                None => {
                    let quiet = period.saturating_sub(self.period.elapsed());
                    due.map_or(quiet, |(left, _)| left.min(quiet))
                }
                // Who lives on has been told too, or was started again for nothing.
                Some(at) => PARTING_LIMIT.saturating_sub(at.elapsed()),
            };
            match self.heard.recv_timeout(left) {
                Ok(Heard::Said(member, life, said)) if self.lives.get(&member) == Some(&life) => {
                    self.hear(member, said, tell)?;
                }
                Ok(Heard::Said(..)) => {}
                Ok(Heard::Ended(member, life)) if self.lives.get(&member) == Some(&life) => {
                    self.bury(member, tell)?;
                }
                Ok(Heard::Ended(..)) => {}
                Err(_) if self.over.is_some() => return Ok(()),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Kills who has said nothing for too long. Periods are counted, and not time: when this process was itself
    /// stopped, nobody else was quiet.
    fn watch(&mut self) {
        self.period = Instant::now();
        let silence = self.plan.silence;
        let most = silence.div_duration_f64(ping_period(silence)).ceil() as u32;
        for process in self.processes.values_mut() {
            process.quiet += 1;
            if process.quiet > most && !process.hangs {
                process.hangs = true;
                // Its end is heard of as any other's.
                let _ = process.child.kill();
            }
        }
    }

    fn hear(
        &mut self,
        member: Member,
        said: Said,
        tell: &mut impl FnMut(Duration, &Happened),
    ) -> Result<(), Error> {
        if let Some(process) = self.processes.get_mut(&member) {
            process.quiet = 0;
        }
        match (&said, member) {
            (Said::Alive, _) => return Ok(()),
            (Said::Event(Event::Outside { sequence, bytes }), Member::Worker(worker)) => {
                let known = self.report.said.entry(worker).or_default();
                // After a failure it may be said again.
                if *sequence as usize == known.len() + 1 {
                    known.push(String::from_utf8_lossy(bytes).into_owned());
                }
            }
            (Said::Event(Event::Progress(progress)), _) => self.progress = self.progress.max(*progress),
            (Said::Failed(why), _) => return Err(Error::Run(why.clone())),
            _ => {}
        }
        self.note(Happened::Said(member, said), tell);
        let progress = self.progress;
        let due: Vec<Kill> = self.kills.extract_if(.., |kill| kill.at <= progress).collect();
        due.into_iter().for_each(|kill| self.kill(kill.member, tell));
        Ok(())
    }

    fn kill(&mut self, member: Member, tell: &mut impl FnMut(Duration, &Happened)) {
        if let Some(process) = self.processes.get(&member) {
            let pid = i32::try_from(process.child.id()).ok().and_then(Pid::from_raw);
            // One that has just died is what was asked for.
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
            self.note(Happened::Killed(member), tell);
        }
    }

    /// A member has ended: it is started again, unless the run is over.
    fn bury(&mut self, member: Member, tell: &mut impl FnMut(Duration, &Happened)) -> Result<(), Error> {
        let Some(mut process) = self.processes.remove(&member) else { return Ok(()) };
        let status = process.child.wait().map_err(|e| Error::System("a member's process", e))?;
        if status.success() {
            self.over.get_or_insert_with(Instant::now);
            return Ok(());
        }
        let how = if process.hangs {
            format!("it said nothing for {:?}, and was killed", self.plan.silence)
        } else {
            status.to_string()
        };
        self.note(Happened::Died(member, how.clone()), tell);
        if self.over.is_some() {
            return Ok(());
        }
        if process.life > MAX_RESTARTS {
            return Err(Error::Hopeless(member, how));
        }
        self.launch(member, tell)
    }

    fn end_all(&mut self) {
        for process in self.processes.values_mut() {
            // One that has ended meanwhile is as well.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        self.processes.clear();
    }
}
