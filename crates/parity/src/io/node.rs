//! A member's own thread: what has come goes into the machine, and what that wants done is done.

use super::channel::Channel;
use super::link::{Common, Heard, ToSend, converse, dial};
use super::outside::Outside;
use crate::arena::{self, Live, Shadow};
use crate::id::{Epoch, Member};
use crate::limits::{DIAL_PAUSE, MAX_DIAL_PAUSE, MAX_STRANGERS, QUEUE_FRAMES, SILENCE_LIMIT};
use crate::proto::work::{Memory, Stepped, Task, Work};
use crate::proto::{Encode, Encoded, Event, Input, Output, holder, worker};
use crate::wire::{Hello, MAGIC};
use offload::config::{Key, recipe};
use offload::time::Time;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Who takes part in a run, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this is.
    pub me: Member,
    /// The run's number, by which its members know each other.
    pub run: u64,
    /// What all members must agree on.
    pub shape: String,
    /// Where each member listens.
    pub addresses: BTreeMap<Member, SocketAddr>,
    /// The secret that all members share, with which links are sealed; mandatory off loopback.
    pub key: Option<Key>,
    /// A member that says nothing for so long is taken for dead.
    pub silence: Duration,
    /// Greater than that of any process that was this member before, which is refused from then on.
    pub life: u64,
    /// What tells the task that the world outside has changed.
    pub outside: Outside,
}

impl Settings {
    /// A member on loopback, in its first life.
    pub fn new(
        me: Member,
        run: u64,
        shape: String,
        addresses: BTreeMap<Member, SocketAddr>,
    ) -> Settings {
        let outside = Outside::default();
        Settings { me, run, shape, addresses, key: None, silence: SILENCE_LIMIT, life: 1, outside }
    }

    /// Nobody listens or dials off loopback without a key.
    fn check(&self, listens: SocketAddr) -> Result<(), Error> {
        let all = self.addresses.values().copied().chain([listens]);
        match all.into_iter().find(|address| self.key.is_none() && !address.ip().is_loopback()) {
            Some(address) => Err(Error::Exposed { address }),
            None => Ok(()),
        }
    }
}

/// Why a member ends before the run is over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no memory, or writes cannot be noticed.
    #[error(transparent)]
    Arena(#[from] arena::Error),
    /// The system gives no thread or no socket.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    /// An address off loopback, and no key.
    #[error(
        "{address} is not on loopback and there is no key, so anyone who reaches it could read and forge the state of all; \
         this member does not start. Make a key with: {}; give every host a copy, and every member the key",
        recipe(Path::new("offload.key"))
    )]
    Exposed {
        /// Which.
        address: SocketAddr,
    },
    /// The run has failed for all.
    #[error("{0}")]
    Run(String),
}

/// What a member tells while it runs.
pub type Sink<'a> = &'a mut dyn FnMut(Time, Told);

/// What a member tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// What its machine says.
    Event(Event),
    /// A link was refused, and why.
    Refused(String),
    /// A link is lost, and why.
    Lost(Member, String),
}

/// Runs a worker until the run is over.
///
/// # Errors
/// See [`Error`].
pub fn worker(
    settings: Settings,
    own: worker::Settings,
    listener: TcpListener,
    live: Live,
    task: Box<dyn Task>,
    sink: Sink<'_>,
) -> Result<(), Error> {
    let shadow = Shadow::new(live.pages())?;
    Node::start(settings, listener, worker::Worker::new(own, live, shadow), Some(task))?.run(sink)
}

/// Runs a holder until the run is over.
///
/// # Errors
/// See [`Error`].
pub fn holder(
    settings: Settings,
    own: holder::Settings,
    listener: TcpListener,
    sink: Sink<'_>,
) -> Result<(), Error> {
    Node::start(settings, listener, holder::Holder::new(own)?, None)?.run(sink)
}

/// What runs at a node: a worker or a holder.
trait Machine {
    type Memory: Send + 'static;
    fn handle_input(&mut self, now: Time, input: Input<Self::Memory>);
    fn handle_timeout(&mut self, now: Time);
    fn poll_output(&mut self) -> Output<Self::Memory>;
    fn went(&self) -> Epoch;
    fn step(work: Work<Self::Memory>, task: &mut dyn Task) -> Option<Stepped<Self::Memory>>;
}

impl<M: Memory + 'static> Machine for worker::Worker<M> {
    type Memory = M;

    fn handle_input(&mut self, now: Time, input: Input<M>) {
        self.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Output<M> {
        self.poll_output()
    }

    fn went(&self) -> Epoch {
        self.went()
    }

    fn step(work: Work<M>, task: &mut dyn Task) -> Option<Stepped<M>> {
        Some(work.run(task))
    }
}

impl Machine for holder::Holder {
    type Memory = Infallible;

    fn handle_input(&mut self, now: Time, input: Input<Infallible>) {
        self.handle_input(now, input);
    }

    fn handle_timeout(&mut self, _now: Time) {}

    fn poll_output(&mut self) -> Output<Infallible> {
        self.poll_output()
    }

    fn went(&self) -> Epoch {
        self.went()
    }

    fn step(_work: Work<Infallible>, _task: &mut dyn Task) -> Option<Stepped<Infallible>> {
        None
    }
}

/// What comes to a member's thread.
enum Come<M> {
    Link(Heard),
    Stepped(Box<Stepped<M>>),
    Encoded(Box<Encoded>),
    /// The task has panicked.
    Broken,
    /// The world outside has changed, as its flag says.
    Changed,
}

impl<M> From<Heard> for Come<M> {
    fn from(heard: Heard) -> Come<M> {
        Come::Link(heard)
    }
}

struct Link {
    number: u64,
    outbox: Sender<ToSend>,
    channel: Arc<Channel>,
    writer: JoinHandle<()>,
}

struct Node<N: Machine> {
    machine: N,
    start: Instant,
    address: SocketAddr,
    common: Arc<Common<Come<N::Memory>>>,
    come: Receiver<Come<N::Memory>>,
    links: BTreeMap<Member, Link>,
    steps: Sender<Box<Work<N::Memory>>>,
    encodes: Sender<Box<Encode>>,
    ending: Arc<AtomicBool>,
    outside: Outside,
    /// Dropped, dialers end.
    dialling: Vec<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    wake: Option<Time>,
    end: Option<Result<(), String>>,
}

impl<N: Machine> Node<N> {
    fn start(
        settings: Settings,
        listener: TcpListener,
        machine: N,
        task: Option<Box<dyn Task>>,
    ) -> Result<Node<N>, Error> {
        let address = listener.local_addr().map_err(|e| Error::System("the listening socket", e))?;
        settings.check(address)?;
        let Settings { me, run, shape, addresses, key, silence, life, outside } = settings;
        let (heard, come) = sync_channel(QUEUE_FRAMES);
        let wakes = heard.clone();
        // Where the queue is full, the flag is looked at soon.
        outside.wake_by(Box::new(move || drop(wakes.try_send(Come::Changed))));
        let hello = Hello { magic: MAGIC, run, shape, member: me, went: Epoch::default(), life };
        let common = Arc::new(Common::new(hello, key, silence, heard.clone()));
        let (steps, work) = channel::<Box<Work<N::Memory>>>();
        let (encodes, diffs) = channel::<Box<Encode>>();
        let ending = Arc::new(AtomicBool::new(false));
        let (mut threads, mut dialling) = (Vec::new(), Vec::new());
        let stepped = heard.clone();
        threads.push(spawn("parity-task", move || {
            let Some(mut task) = task else { return };
            while let Ok(work) = work.recv() {
                let step = std::panic::AssertUnwindSafe(|| N::step(*work, &mut *task));
                let come = match std::panic::catch_unwind(step) {
                    Ok(Some(done)) => Come::Stepped(Box::new(done)),
                    Ok(None) => return,
                    // It has said why on standard error; what it was at is gone with its memory.
                    Err(_) => Come::Broken,
                };
                if stepped.send(come).is_err() {
                    return;
                }
            }
        })?);
        threads.push(spawn("parity-diff", move || {
            while let Ok(encode) = diffs.recv() {
                if heard.send(Come::Encoded(Box::new(encode.run()))).is_err() {
                    return;
                }
            }
        })?);
        for (member, address) in addresses.into_iter().filter(|(member, _)| *member < me) {
            let (go_on, told) = channel();
            dialling.push(go_on);
            let common = common.clone();
            threads.push(spawn("parity-dial", move || keep_linked(&common, member, address, &told))?);
        }
        let (accepting, stop) = (common.clone(), ending.clone());
        threads.push(spawn("parity-accept", move || accept(&accepting, &listener, &stop))?);
        Ok(Node {
            machine,
            start: Instant::now(),
            address,
            common,
            come,
            links: BTreeMap::new(),
            steps,
            encodes,
            ending,
            outside,
            dialling,
            threads,
            wake: None,
            end: None,
        })
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    fn run(mut self, sink: Sink<'_>) -> Result<(), Error> {
        self.drain(sink);
        while self.end.is_none() {
            let come = match self.wake {
                None => self.come.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.come.recv_timeout(at.since(self.now())),
            };
            let now = self.now();
            match come {
                Ok(Come::Link(heard)) => self.hear(heard, sink),
                Ok(Come::Stepped(stepped)) => self.machine.handle_input(now, Input::Stepped(stepped)),
                Ok(Come::Broken) => self.end = Some(Err("the task has panicked".into())),
                Ok(Come::Encoded(encoded)) => self.machine.handle_input(now, Input::Encoded(encoded)),
                Ok(Come::Changed) => {}
                Err(RecvTimeoutError::Timeout) => self.machine.handle_timeout(now),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.outside.take() {
                self.machine.handle_input(now, Input::Changed);
            }
            self.drain(sink);
        }
        self.part()
    }

    fn hear(&mut self, heard: Heard, sink: Sink<'_>) {
        let now = self.now();
        match heard {
            Heard::Opened { link, member, went, outbox, channel, writer } => {
                if let Some(old) = self.links.remove(&member) {
                    old.channel.close();
                    self.machine.handle_input(now, Input::Closed { member });
                    self.drain(sink);
                }
                self.links.insert(member, Link { number: link, outbox, channel, writer });
                self.machine.handle_input(now, Input::Opened { member, went });
            }
            Heard::Frame { link, frame } => {
                if let Some(from) = self.member(link) {
                    self.machine.handle_input(now, Input::Frame { from, frame });
                }
            }
            Heard::Closed { link, why } => {
                if let Some(member) = self.member(link) {
                    self.links.remove(&member);
                    sink(now, Told::Lost(member, why));
                    self.machine.handle_input(now, Input::Closed { member });
                }
            }
            Heard::Refused(why) => sink(now, Told::Refused(why)),
        }
    }

    fn member(&self, link: u64) -> Option<Member> {
        self.links.iter().find(|(_, known)| known.number == link).map(|(member, _)| *member)
    }

    fn drain(&mut self, sink: Sink<'_>) {
        loop {
            match self.machine.poll_output() {
                Output::Send { to, frame } => self.send(to, ToSend::Frame(frame)),
                Output::Bulk { to, epoch, bulk } => self.send(to, ToSend::Bulk(epoch, bulk)),
                // The threads live as long as `self`.
                Output::Step(work) => drop(self.steps.send(work)),
                Output::Encode(encode) => drop(self.encodes.send(encode)),
                Output::Close { member, why } => {
                    if let Some(link) = self.links.remove(&member) {
                        link.channel.close();
                    }
                    sink(self.now(), Told::Lost(member, why));
                }
                Output::Event(event) => sink(self.now(), Told::Event(event)),
                Output::End(how) => self.end = Some(how),
                Output::Wake(at) => {
                    self.wake = at;
                    self.common.went.store(self.machine.went().0, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn send(&mut self, to: Member, what: ToSend) {
        if let Some(link) = self.links.get(&to) {
            // Where the writer has ended, the reader tells of it.
            let _ = link.outbox.send(what);
        }
    }

    /// Sends what is left, then ends all threads.
    fn part(self) -> Result<(), Error> {
        let Node { address, links, ending, dialling, threads, steps, encodes, end, come, .. } = self;
        ending.store(true, Ordering::Relaxed);
        for link in links.into_values() {
            drop(link.outbox);
            let _ = link.writer.join();
            link.channel.close();
        }
        // Nobody waits for room in a queue that nobody empties.
        drop((dialling, steps, encodes, come));
        // Wakes the one who accepts.
        let _ = TcpStream::connect(address);
        for thread in threads {
            let _ = thread.join();
        }
        match end {
            Some(Err(why)) => Err(Error::Run(why)),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    Builder::new().name(name.into()).spawn(work).map_err(|e| Error::System("a thread", e))
}

/// Dials until told to end.
fn keep_linked<H: From<Heard> + Send + 'static>(
    common: &Arc<Common<H>>,
    member: Member,
    address: SocketAddr,
    told: &Receiver<()>,
) {
    let mut pause = DIAL_PAUSE;
    loop {
        match dial(address) {
            Ok(stream) => {
                pause = DIAL_PAUSE;
                converse(common, stream, Some(member));
            }
            Err(_) => pause = (2 * pause).min(MAX_DIAL_PAUSE),
        }
        if told.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Takes what others dial.
fn accept<H: From<Heard> + Send + 'static>(
    common: &Arc<Common<H>>,
    listener: &TcpListener,
    ending: &AtomicBool,
) {
    let talking = Arc::new(AtomicUsize::new(0));
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while !ending.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            // No descriptors are left, perhaps; the next try is no sooner than a dialler's.
            std::thread::sleep(DIAL_PAUSE);
            continue;
        };
        threads.retain(|thread| !thread.is_finished());
        if talking.load(Ordering::Relaxed) >= MAX_STRANGERS || ending.load(Ordering::Relaxed) {
            continue;
        }
        let (common, counted) = (common.clone(), talking.clone());
        counted.fetch_add(1, Ordering::Relaxed);
        let thread = Builder::new().name("parity-reader".into()).spawn(move || {
            converse(&common, stream, None);
            counted.fetch_sub(1, Ordering::Relaxed);
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(_) => drop(talking.fetch_sub(1, Ordering::Relaxed)),
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}
