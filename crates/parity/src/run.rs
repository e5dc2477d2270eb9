//! A run on this host: a process for each member, started again when it dies.
//!
//! The lesson: the supervisor holds every member's listening socket, and hands it on as standard input. A
//! member that is started again listens where the dead one did, nobody else can take its port meanwhile, and
//! whoever dials it in between waits in the socket's queue.
//!
//! Left out: members on other hosts, and starting a run that the supervisor's own death has ended.

mod member;

pub use member::{Orders, Said, be};

use crate::arena::Mechanism;
use crate::chance::Chance;
use crate::code::Code;
use crate::id::{Holder, Member, Worker};
use crate::limits::{MAX_RESTARTS, PARTING_LIMIT};
use crate::mode::Mode;
use crate::proto::Event;
use crate::task::Kind;
use offload::rng::Rng;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// What is to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program that becomes a member, and its arguments before the member's orders.
    pub program: (PathBuf, Vec<String>),
    /// The application.
    pub kind: Kind,
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
    /// Who is killed, and when.
    pub kills: Vec<Kill>,
    /// Each member is killed by chance: how often on average, and the seed.
    pub chance: Option<(Duration, u64)>,
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
}

struct Supervisor<'a> {
    plan: &'a Plan,
    orders: Orders,
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
}

/// Runs it, and tells what happens.
///
/// # Errors
/// See [`Error`]. All processes have ended then.
pub fn run(plan: &Plan, mut tell: impl FnMut(Duration, &Happened)) -> Result<Report, Error> {
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

impl Supervisor<'_> {
    fn new(plan: &Plan) -> Result<Supervisor<'_>, Error> {
        plan.kind.check(plan.workers).map_err(Error::Plan)?;
        let code = Code::new(usize::from(plan.workers), plan.failures);
        let code = code.map_err(|e| Error::Plan(e.to_string()))?;
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
            run: u64::from(std::process::id()),
            addresses: addresses
                .map_err(|e| Error::System("a port for a member", e))?
                .into_iter()
                .collect(),
            kind: plan.kind,
            mode: plan.mode,
            workers: plan.workers,
            failures: plan.failures,
            interval: plan.interval,
            buffer_pages: plan.buffer_pages,
            mechanism: plan.mechanism.name().into(),
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
        let orders = Orders { me: member, ..self.orders.clone() };
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
        let life = self.lives.entry(member).or_default();
        *life += 1;
        let life = *life;
        let output = child.stdout.take();
        self.processes.insert(member, Process { child, life });
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
        while !self.processes.is_empty() {
            let next = self.chance.as_ref().and_then(Chance::peek).filter(|_| self.over.is_none());
            let left = next.map(|(at, _)| at.saturating_sub(self.start.elapsed()));
            if let (Some((_, member)), Some(Duration::ZERO)) = (next, left) {
                self.chance.as_mut().and_then(Iterator::next);
                self.kill(member, tell);
                continue;
            }
            let heard = match (self.over, left) {
                (None, None) => self.heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
                (None, Some(left)) => self.heard.recv_timeout(left),
                // Who lives on has been told too, or was started again for nothing.
                (Some(at), _) => self.heard.recv_timeout(PARTING_LIMIT.saturating_sub(at.elapsed())),
            };
            match heard {
                Ok(Heard::Said(member, life, said)) if self.lives.get(&member) == Some(&life) => {
                    self.hear(member, said, tell)?;
                }
                Ok(Heard::Said(..)) => {}
                Ok(Heard::Ended(member, life)) if self.lives.get(&member) == Some(&life) => {
                    self.bury(member, tell)?;
                }
                Ok(Heard::Ended(..)) => {}
                Err(RecvTimeoutError::Timeout) if self.over.is_none() => {}
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn hear(
        &mut self,
        member: Member,
        said: Said,
        tell: &mut impl FnMut(Duration, &Happened),
    ) -> Result<(), Error> {
        match (&said, member) {
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
        let how = status.to_string();
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
