//! The image server's HTTP/1.1: small, blocking, and the same port for plain and TLS.
//!
//! The lesson: a server that strangers may talk to is a list of bounds. A fixed number of threads, a queue
//! with an end, a deadline for the whole request and not for each byte of it (who sends a byte a second
//! would never meet the latter), and no host may hold more than a share of the threads. A thousand clients
//! that announce at once wait in the queue; one host that dawdles delays itself.
//!
//! A client of TLS begins with byte 22 (RFC 8446 §5.1) and no method does, so one port serves both: foreign
//! clients announce in plain HTTP to the port whose torrents are handed out by HTTPS. [`Request::secure`]
//! says which it was; who may do what is decided in [`super::routes`].
//!
//! Left out: keep-alive (an idle client would hold a thread; clients ask every few seconds at most), ranges,
//! chunked bodies (refused), `Expect` (clients that send it go on without an answer), virtual hosts.

mod request;
mod response;

pub use request::{Method, Request};
pub use response::Response;

use crate::limits::{
    HTTP_ANSWER_LIMIT, HTTP_LINGER_LIMIT, HTTP_REQUEST_LIMIT, HTTP_SLOWEST_BYTES_PER_S, HTTP_THREADS,
    MAX_HTTP_LINGER_BYTES, MAX_HTTP_SERVED_PER_ADDRESS, MAX_HTTP_WAITING,
};
use request::Stop;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ServerConfig, ServerConnection};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 22;
/// How long to wait where the system has no descriptor left for another connection.
const OUT_OF_DESCRIPTORS: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// What a stack needs here is little; torrents are not on it.
const STACK_BYTES: usize = 512 << 10;

/// What answers requests, from many threads at once.
pub type Handler = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// Why there is no server. This machine's fault or the caller's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, not this host's, or not allowed.
    #[error(
        "cannot listen on {address}: {source}; choose an address and port of this host that are free"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// No threads or pipes to be had.
    #[error("cannot start the HTTP server: {0}")]
    Start(#[from] io::Error),
}

/// A server that runs until it is stopped or dropped.
pub struct Server {
    local: SocketAddr,
    shared: Arc<Shared>,
    wake: Option<PipeWriter>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    handler: Handler,
    tls: Option<Arc<ServerConfig>>,
}

/// A connection on its way through the server.
#[derive(Clone)]
struct Visitor {
    from: SocketAddr,
    stream: Arc<TcpStream>,
}

struct Queue {
    open: bool,
    waiting: VecDeque<Visitor>,
    served: Vec<Visitor>,
}

impl Server {
    /// Listens at `listen` (port 0: any) and answers with `handler`; with `tls`, TLS as well.
    ///
    /// # Errors
    /// When the address cannot be had, or threads cannot.
    pub fn start(
        listen: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        handler: Handler,
    ) -> Result<Server, Error> {
        let listener = bind(listen).map_err(|source| Error::Listen { address: listen, source })?;
        let (woken, wake) = io::pipe()?;
        let queue = Queue { open: true, waiting: VecDeque::new(), served: Vec::new() };
        let shared =
            Arc::new(Shared { queue: Mutex::new(queue), arrived: Condvar::new(), handler, tls });
        let local = listener.local_addr()?;
        // What has started already is stopped by the drop, should a later thread not start.
        let mut server = Server { local, shared, wake: Some(wake), threads: Vec::new() };
        for _ in 0..HTTP_THREADS {
            let shared = Arc::clone(&server.shared);
            server.spawn("http", move || shared.work())?;
        }
        let shared = Arc::clone(&server.shared);
        server.spawn("http-accept", move || shared.accept(&listener, &woken))?;
        Ok(server)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        self.threads.push(builder.spawn(work)?);
        Ok(())
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Stops: connections are cut, and all threads have ended when this returns. It waits for nobody but
    /// a handler that runs.
    pub fn stop(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        // The acceptor sees its pipe close.
        drop(self.wake.take());
        let mut queue = self.shared.queue();
        queue.open = false;
        queue.waiting.clear();
        for visitor in &queue.served {
            // One that has just gone is no trouble.
            let _ = visitor.stream.shutdown(Shutdown::Both);
        }
        drop(queue);
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            // Handlers' panics are caught, and there is nobody to tell of another.
            let _ = thread.join();
        }
    }
}

/// The standard library's queue of unaccepted connections is too short for a room of hosts that start at
/// once.
fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(listen))?;
    socket.listen(MAX_HTTP_WAITING as i32)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues connections until the other end of `woken` is closed.
    fn accept(&self, listener: &TcpListener, woken: &PipeReader) {
        loop {
            let mut ready = [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
            // Interrupted is as good as ready: the socket does not block.
            let _ = poll(&mut ready, None);
            if !ready[1].revents().is_empty() {
                return;
            }
            match listener.accept() {
                Ok((stream, from)) => self.enqueue(stream, from),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    // The connection still waits; do not turn while no descriptor is free.
                    let mut ready = [PollFd::new(woken, PollFlags::IN)];
                    let _ = poll(&mut ready, Some(&OUT_OF_DESCRIPTORS));
                }
            }
        }
    }

    fn enqueue(&self, stream: TcpStream, from: SocketAddr) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let mut queue = self.queue();
        if queue.waiting.len() < MAX_HTTP_WAITING {
            queue.waiting.push_back(Visitor { from, stream: Arc::new(stream) });
            self.arrived.notify_one();
            return;
        }
        drop(queue);
        // As much as fits without waiting; who speaks TLS sees the connection close.
        if stream.set_nonblocking(true).is_ok() {
            let _ = (&stream).write(&Response::busy().head());
        }
    }

    /// Answers connections until the queue is closed.
    fn work(&self) {
        while let Some(visitor) = self.next() {
            self.serve(&visitor);
            self.queue().served.retain(|other| !Arc::ptr_eq(&other.stream, &visitor.stream));
        }
    }

    /// The connection that has waited longest, of an address that has not its share of threads yet.
    fn next(&self) -> Option<Visitor> {
        let mut queue = self.queue();
        while queue.open {
            let fair = queue.waiting.iter().position(|v| queue.served_at(v.from.ip()));
            if let Some(visitor) = fair.and_then(|at| queue.waiting.remove(at)) {
                queue.served.push(visitor.clone());
                return Some(visitor);
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn serve(&self, visitor: &Visitor) {
        let deadline = Cell::new(Instant::now() + HTTP_REQUEST_LIMIT);
        let mut plain = Timed { stream: &visitor.stream, deadline: &deadline };
        let mut first = [0];
        if !matches!(plain.peek(&mut first), Ok(1)) {
            return;
        }
        let whole = match (first[0] == TLS_HANDSHAKE, &self.tls) {
            (true, Some(config)) => {
                let Ok(mut tls) = ServerConnection::new(Arc::clone(config)) else { return };
                let mut stream = rustls::Stream::new(&mut tls, &mut plain);
                let whole = self.exchange(&mut stream, visitor.from, true, &deadline);
                tls.send_close_notify();
                let _ = tls.write_tls(&mut plain);
                whole
            }
            (true, None) => return,
            (false, _) => self.exchange(&mut plain, visitor.from, false, &deadline),
        };
        if !whole {
            linger(&mut plain);
        }
    }

    /// One request, one answer. False where the client may still be sending.
    fn exchange(
        &self,
        stream: &mut (impl Read + Write),
        from: SocketAddr,
        secure: bool,
        deadline: &Cell<Instant>,
    ) -> bool {
        let (response, head_only, whole) = match request::read(stream, from, secure) {
            Ok(request) => (self.answer(&request), request.method == Method::Head, true),
            Err(Stop::Refused(response)) => (response, false, false),
            Err(Stop::Gone) => return true,
        };
        let slow = Duration::from_secs((response.body.len() / HTTP_SLOWEST_BYTES_PER_S) as u64);
        deadline.set(Instant::now() + HTTP_ANSWER_LIMIT + slow);
        let body: &[u8] = if head_only { &[] } else { &response.body };
        let sent = stream.write_all(&response.head()).and_then(|()| stream.write_all(body));
        sent.and_then(|()| stream.flush()).is_err() || whole
    }

    fn answer(&self, request: &Request) -> Response {
        // A fault of ours costs this answer, not the thread.
        catch_unwind(AssertUnwindSafe(|| (self.handler)(request)))
            .unwrap_or_else(|_| Response::text(500, "fault in the server\n"))
    }
}

impl Queue {
    /// Has the address less than its share of threads?
    fn served_at(&self, address: IpAddr) -> bool {
        let served = self.served.iter().filter(|visitor| visitor.from.ip() == address).count();
        served < MAX_HTTP_SERVED_PER_ADDRESS
    }
}

/// Reads what a refused client still sends: closing at once would reset the connection, and the reset may
/// overtake the answer.
fn linger(stream: &mut Timed<'_>) {
    stream.deadline.set(Instant::now() + HTTP_LINGER_LIMIT);
    if stream.stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut scratch = [0; 4096];
    let mut seen = 0;
    while seen < MAX_HTTP_LINGER_BYTES {
        match stream.read(&mut scratch) {
            Ok(0) | Err(_) => return,
            Ok(n) => seen += n,
        }
    }
}

/// A connection of which every read and write is over by a deadline.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: &'a Cell<Instant>,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.get().saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }

    fn peek(&self, out: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.peek(out)
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        let mut stream = self.stream;
        stream.read(out)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        let mut stream = self.stream;
        stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
