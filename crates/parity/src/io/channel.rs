//! A connection's bytes, sealed where there is a key, as the course suite's are.
//!
//! The lesson: what reads and what writes are two threads, and the seal is one value: it is held while bytes are
//! sealed or opened, and never while the network is waited for.

use crate::wire::Error;
use offload::config::Key;
use offload::rng::Rng;
use offload::wire::auth::StreamSeal;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is read from the network at once.
const READ_BYTES: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub struct Channel {
    stream: TcpStream,
    seal: Option<Mutex<StreamSeal>>,
}

/// What comes over it.
pub struct Incoming {
    channel: Arc<Channel>,
    /// What was opened, and how much of it was read.
    plain: Vec<u8>,
    at: usize,
    raw: Vec<u8>,
}

impl Channel {
    /// Both prove that they hold the key, where there is one. `dials` says who begins.
    ///
    /// # Errors
    /// The connection is lost, or [`Error::Key`].
    pub fn new(stream: TcpStream, key: Option<&Key>, dials: bool) -> Result<Channel, Error> {
        let Some(key) = key else { return Ok(Channel { stream, seal: None }) };
        let mut rng = Rng::from_system()?;
        let mut seal = if dials {
            StreamSeal::initiator(key.bytes(), &mut rng)
        } else {
            StreamSeal::responder(key.bytes(), &mut rng)
        };
        (&stream).write_all(&seal.take_handshake())?;
        // A byte at a time: what follows the handshake is not for us.
        let (mut byte, mut none) = ([0], Vec::new());
        while !seal.is_ready() {
            (&stream).read_exact(&mut byte)?;
            seal.open(&byte, &mut none).map_err(|_| Error::Key)?;
        }
        (&stream).write_all(&seal.take_handshake())?;
        Ok(Channel { stream, seal: Some(Mutex::new(seal)) })
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes, using a buffer for what they are sealed to.
    pub fn send(&self, bytes: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        let Some(seal) = &self.seal else { return (&self.stream).write_all(bytes) };
        sealed.clear();
        held(seal).seal(bytes, sealed);
        (&self.stream).write_all(sealed)
    }

    /// What comes over it. There is one, as it may hold what has come.
    pub fn incoming(self: &Arc<Channel>) -> Incoming {
        let raw = if self.seal.is_some() { vec![0; READ_BYTES] } else { Vec::new() };
        Incoming { channel: self.clone(), plain: Vec::new(), at: 0, raw }
    }

    /// Ends it, both ways.
    pub fn close(&self) {
        // It may be lost already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn held(seal: &Mutex<StreamSeal>) -> MutexGuard<'_, StreamSeal> {
    seal.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(seal) = &self.channel.seal else { return (&self.channel.stream).read(into) };
        while self.at == self.plain.len() {
            self.plain.clear();
            self.at = 0;
            let length = (&self.channel.stream).read(&mut self.raw)?;
            if length == 0 {
                return Ok(0);
            }
            let opened = held(seal).open(&self.raw[..length], &mut self.plain);
            opened.map_err(|_| io::Error::new(ErrorKind::InvalidData, Error::Key))?;
        }
        let length = into.len().min(self.plain.len() - self.at);
        into[..length].copy_from_slice(&self.plain[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
