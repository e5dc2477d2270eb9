//! The driver: feeds a machine from real sockets and does what it says.
//!
//! One thread, level-triggered `poll`. The order within a round is: what arrived, the machine's timer,
//! the next numbers. After each the machine is drained. What is left out: which sockets there are and
//! what is done with events (`roles`).

use super::keeper::Keeper;
use super::maps::Maps;
use super::source::Feeder;
use super::tcp::Tcp;
use super::udp::{Batch, Udp};
use crate::event::Event;
use crate::proto::{Conn, Input, Machine, Output};
use crate::time::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const READ_BUFFER_BYTES: usize = 256 << 10;
/// How long to leave new clients waiting when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is done with an event; `Break` ends the run.
pub type Sink<'a> = &'a mut dyn FnMut(Event) -> io::Result<ControlFlow<()>>;

pub struct Driver<'a, M> {
    machine: M,
    start: Instant,
    udp: Option<Udp>,
    batch: Option<Batch>,
    listener: Option<TcpListener>,
    accept_from: Instant,
    conns: BTreeMap<Conn, Tcp>,
    next_conn: u64,
    feeder: Option<Feeder<'a>>,
    maps: Option<Maps>,
    keeper: Option<Box<dyn Keeper + 'a>>,
    buffer: Vec<u8>,
    wake: Option<Time>,
    sink: Sink<'a>,
    ended: bool,
}

/// What a descriptor in the poll set belongs to.
#[derive(Clone, Copy)]
enum Owner {
    Udp,
    Listener,
    Maps,
    Conn(Conn),
}

impl<'a, M: Machine> Driver<'a, M> {
    pub fn new(start: Instant, machine: M, sink: Sink<'a>) -> Driver<'a, M> {
        Driver {
            machine,
            start,
            udp: None,
            batch: None,
            listener: None,
            accept_from: start,
            conns: BTreeMap::new(),
            next_conn: 0,
            feeder: None,
            maps: None,
            keeper: None,
            buffer: vec![0; READ_BUFFER_BYTES],
            wake: None,
            sink,
            ended: false,
        }
    }

    pub fn with_udp(mut self, udp: Udp) -> Self {
        self.udp = Some(udp);
        self.batch = Some(Batch::new());
        self
    }

    pub fn with_listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    pub fn with_feeder(mut self, feeder: Feeder<'a>) -> Self {
        self.feeder = Some(feeder);
        self
    }

    pub fn with_maps(mut self, maps: Option<Maps>) -> Self {
        self.maps = maps;
        self
    }

    pub fn with_keeper(mut self, keeper: Option<Box<dyn Keeper + 'a>>) -> Self {
        self.keeper = keeper;
        self
    }

    /// Tells the machine of a connection that stands.
    pub fn open(&mut self, tcp: Tcp, peer: SocketAddr) -> io::Result<()> {
        let conn = Conn(self.next_conn);
        self.next_conn += 1;
        let local = tcp.local_addr()?;
        self.conns.insert(conn, tcp);
        self.feed(Input::Opened { conn, peer, local })
    }

    /// Runs until the sink says `Break`.
    pub fn run(&mut self) -> io::Result<()> {
        self.drain()?;
        if let Some(keeper) = &mut self.keeper {
            let kept = keeper.kept();
            self.feed(Input::Kept(kept))?;
        }
        while !self.ended {
            self.round()?;
        }
        Ok(())
    }

    /// After `run`: gives last words a little time to arrive.
    pub fn part(&mut self) -> io::Result<()> {
        while self.conns.values().any(|tcp| tcp.closing().is_some()) {
            self.wait_and_serve(None)?;
            self.expire();
        }
        Ok(())
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    fn round(&mut self) -> io::Result<()> {
        let hungry = self.feeder.as_ref().is_some_and(Feeder::is_active)
            && self.conns.values().all(Tcp::is_drained);
        let timeout = if hungry { Some(Time::ZERO) } else { self.wake };
        self.wait_and_serve(timeout)?;
        self.expire();
        let now = self.now();
        if self.wake.is_some_and(|at| at <= now) && !self.ended {
            self.machine.handle_timeout(now);
            self.drain()?;
        }
        if hungry && !self.ended && self.conns.values().all(Tcp::is_drained) {
            let block = self.feeder.as_mut().and_then(Feeder::next);
            if let Some(block) = block {
                self.feed(Input::Block(block))?;
            }
        }
        Ok(())
    }

    /// Waits for sockets or for `until`, and serves what is ready.
    fn wait_and_serve(&mut self, until: Option<Time>) -> io::Result<()> {
        let (mut fds, mut owners) = (Vec::new(), Vec::new());
        if let Some(udp) = &self.udp {
            fds.push(PollFd::new(udp, PollFlags::IN));
            owners.push(Owner::Udp);
        }
        if let Some(maps) = &self.maps {
            fds.push(PollFd::new(maps, PollFlags::IN));
            owners.push(Owner::Maps);
        }
        let instant = Instant::now();
        let paused = self.accept_from > instant;
        if let Some(listener) = self.listener.as_ref().filter(|_| !paused) {
            fds.push(PollFd::new(listener, PollFlags::IN));
            owners.push(Owner::Listener);
        }
        for (&conn, tcp) in &self.conns {
            let mut events = PollFlags::empty();
            events.set(PollFlags::OUT, !tcp.is_drained());
            events.set(PollFlags::IN, tcp.closing().is_some() || self.machine.room(conn) > 0);
            fds.push(PollFd::from_borrowed_fd(tcp.as_fd(), events));
            owners.push(Owner::Conn(conn));
        }
        let closing = self.conns.values().filter_map(Tcp::closing).min();
        let resume = paused.then_some(self.accept_from);
        let until = until.map(|at| self.start + at.since(Time::ZERO));
        let until = [until, closing, resume].into_iter().flatten().min();
        let timeout = until.map(|at| timespec(at.saturating_duration_since(instant)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<(Owner, PollFlags)> = owners
            .into_iter()
            .zip(fds.iter().map(PollFd::revents))
            .filter(|(_, r)| !r.is_empty())
            .collect();
        for (owner, events) in ready {
            match owner {
                Owner::Udp => self.on_udp()?,
                Owner::Listener => self.on_listener()?,
                Owner::Maps => {
                    let done = self.maps.as_mut().map_or(Vec::new(), Maps::take_done);
                    for (ticket, result) in done {
                        self.feed(Input::Mapped { ticket, result })?;
                    }
                }
                Owner::Conn(conn) => self.on_conn(conn, events)?,
            }
        }
        Ok(())
    }

    fn on_udp(&mut self) -> io::Result<()> {
        let (Some(udp), Some(mut batch)) = (&self.udp, self.batch.take()) else { return Ok(()) };
        let filled = batch.fill(udp);
        let fed =
            batch.datagrams().try_for_each(|(from, bytes)| self.feed(Input::Datagram { from, bytes }));
        self.batch = Some(batch);
        filled.and(fed)
    }

    fn on_listener(&mut self) -> io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        match listener.accept() {
            Ok((stream, peer)) => {
                // A client that has gone again already is no concern of the others.
                if let Ok(tcp) = Tcp::new(stream) {
                    self.open(tcp, peer)?;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.accept_from = Instant::now() + ACCEPT_PAUSE,
        }
        Ok(())
    }

    fn on_conn(&mut self, conn: Conn, events: PollFlags) -> io::Result<()> {
        if events.contains(PollFlags::OUT) {
            self.write(conn)?;
        }
        let Some(tcp) = self.conns.get_mut(&conn) else { return Ok(()) };
        let room = match tcp.closing() {
            Some(_) => READ_BUFFER_BYTES,
            None => self.machine.room(conn).min(READ_BUFFER_BYTES),
        };
        if room == 0 {
            // Nothing is wanted of it; but a broken connection would be reported for ever.
            let broken = events.intersects(PollFlags::HUP | PollFlags::ERR);
            let error = tcp.take_error();
            return if broken { self.lose(conn, error) } else { Ok(()) };
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = tcp.read(&mut buffer[..room]);
        let closing = tcp.closing().is_some();
        let fed = match read {
            Ok(None) => Ok(()),
            Ok(Some(n)) if n > 0 && !closing => self.feed(Input::Stream { conn, bytes: &buffer[..n] }),
            Ok(Some(n)) if n > 0 => Ok(()),
            Ok(Some(_)) => self.lose(conn, None),
            Err(e) => self.lose(conn, Some(e.to_string())),
        };
        self.buffer = buffer;
        fed
    }

    /// Writes what waits; tells the machine when nothing waits any more.
    fn write(&mut self, conn: Conn) -> io::Result<()> {
        let Some(tcp) = self.conns.get_mut(&conn) else { return Ok(()) };
        match tcp.write() {
            Err(e) => self.lose(conn, Some(e.to_string())),
            Ok(()) if tcp.is_drained() && tcp.closing().is_none() => self.feed(Input::Drained { conn }),
            Ok(()) => Ok(()),
        }
    }

    fn lose(&mut self, conn: Conn, error: Option<String>) -> io::Result<()> {
        match self.conns.remove(&conn) {
            Some(tcp) if tcp.closing().is_none() => self.feed(Input::Closed { conn, error }),
            _ => Ok(()),
        }
    }

    /// Lets go of connections whose far end takes too long to close.
    fn expire(&mut self) {
        let now = Instant::now();
        self.conns.retain(|_, tcp| tcp.closing().is_none_or(|at| at > now));
    }

    fn feed(&mut self, input: Input<'_>) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.machine.handle_input(self.now(), input);
        self.drain()
    }

    /// Does all that the machine wants done.
    fn drain(&mut self) -> io::Result<()> {
        let mut touched: Vec<Conn> = Vec::new();
        loop {
            let now = Time::ZERO + self.start.elapsed();
            match self.machine.poll_output(now) {
                Output::Datagrams { to, bytes, segment } => {
                    if let Some(udp) = &self.udp {
                        udp.send(to, bytes, segment);
                    }
                }
                Output::Stream { conn, bytes } => {
                    if let Some(tcp) = self.conns.get_mut(&conn) {
                        tcp.push(bytes);
                        touched.push(conn);
                    }
                }
                Output::Close { conn } => {
                    if let Some(tcp) = self.conns.get_mut(&conn) {
                        tcp.close(Instant::now());
                        touched.push(conn);
                    }
                }
                Output::Read { rows } => {
                    if let Some(feeder) = &mut self.feeder {
                        feeder.request(rows);
                    }
                }
                Output::Unread { rows } => {
                    if let Some(feeder) = &mut self.feeder {
                        feeder.call_off(&rows);
                    }
                }
                Output::Map { ticket, rows, reduction } => {
                    if let Some(maps) = &mut self.maps {
                        maps.begin(ticket, rows, reduction);
                    }
                }
                Output::Unmap { ticket } => {
                    if let Some(maps) = &mut self.maps {
                        maps.call_off(ticket);
                    }
                }
                Output::Keep { job, kept } => {
                    if let Some(keeper) = &mut self.keeper {
                        keeper.keep(job, kept);
                    }
                }
                Output::Event(event) => {
                    if (self.sink)(event)?.is_break() {
                        self.ended = true;
                    }
                }
                Output::Wake(at) => {
                    self.wake = at;
                    break;
                }
            }
        }
        touched.dedup();
        touched.into_iter().try_for_each(|conn| self.write(conn))
    }
}

fn timespec(d: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(d.subsec_nanos()),
    }
}
