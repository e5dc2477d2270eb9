//! TCP connections that never block: what the kernel does not take waits here.
//!
//! What is left out: frames (`wire`), and when to read (the machine's `room`).

use crate::limits::LOOPBACK_TCP_BYTES;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long the far end may take to close after we have said our last word.
const CLOSING_PATIENCE: Duration = Duration::from_secs(1);
const BACKLOG: i32 = 1024;

/// A listener that can be bound again at once after its process has ended.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// One connection.
pub struct Tcp {
    stream: TcpStream,
    out: VecDeque<Vec<u8>>,
    written: usize,
    /// Once our last word is written, until when to wait for the far end.
    closing: Option<Instant>,
}

impl Tcp {
    pub fn new(stream: TcpStream) -> io::Result<Tcp> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        if stream.peer_addr()?.ip().is_loopback() {
            let socket = SockRef::from(&stream);
            socket.set_recv_buffer_size(LOOPBACK_TCP_BYTES)?;
            socket.set_send_buffer_size(LOOPBACK_TCP_BYTES)?;
        }
        Ok(Tcp { stream, out: VecDeque::new(), written: 0, closing: None })
    }

    pub fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.out.push_back(bytes);
        }
    }

    pub fn is_drained(&self) -> bool {
        self.out.is_empty()
    }

    /// Hands the kernel what it takes.
    pub fn write(&mut self) -> io::Result<()> {
        while let Some(bytes) = self.out.front() {
            match self.stream.write(&bytes[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if self.written == bytes.len() {
                self.out.pop_front();
                self.written = 0;
            }
        }
        if self.closing.is_some() {
            // Ending our half first: the far end reads our last word before it sees the end.
            let _already_gone = self.stream.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Reads what is there, at most `buffer`; `None` when there is nothing yet, 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(n) => return Ok(Some(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// What broke the connection, if anything did.
    pub fn take_error(&self) -> Option<String> {
        self.stream.take_error().ok().flatten().map(|e| e.to_string())
    }

    /// Begins an end that loses nothing: closing with unread bytes would reset the connection and
    /// could destroy our last word on its way.
    pub fn close(&mut self, now: Instant) {
        self.closing = Some(now + CLOSING_PATIENCE);
    }

    /// Until when to wait for the far end to close.
    pub fn closing(&self) -> Option<Instant> {
        self.closing
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }
}

impl AsFd for Tcp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
