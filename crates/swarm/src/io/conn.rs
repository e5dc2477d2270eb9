//! A connection after its handshakes: a stream of bytes in messages and blocks, each way.
//!
//! The lesson: most bytes are content, so they are moved once. [`Reader`] has the kernel put a block's
//! bytes where they belong, and takes the next message's first bytes with the same call; [`Writer`]
//! gathers some blocks for one call. (The kernel's own way from file to socket, `sendfile`, was measured
//! at two thirds of that speed with blocks of 16 KiB: a call each, and a header between them.)
//!
//! What is written waits here, not in the kernel, until the peer has read what was before: what waits
//! here can still be cancelled, and belongs to the rate limit.

use super::Error;
use super::assembly::{Assembly, Place};
use super::rate::Bucket;
use super::storage::Storage;
use crate::geometry::{Block, Geometry};
use crate::limits::{MAX_MESSAGE_BYTES, MAX_UNSENT_BYTES, SEND_BATCH_BYTES};
use crate::peer::Conn;
use crate::wire::message::{self, Decoded, Message};
use offload::time::Time;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut, Read, Write};

/// Room for small messages; it grows for a large one.
const SMALL_BYTES: usize = 4 << 10;
/// What is read beyond a block: a header, and some small messages that may be before it.
const BEYOND_BYTES: usize = 64;

/// Who is told what a connection brings.
pub trait Sink {
    /// Is a block to be kept?
    fn expects(&self, block: Block) -> bool;
    /// Where blocks are kept; `None` while there is no metadata.
    fn assembly(&mut self) -> Option<&mut Assembly>;
    /// A message has come. False: the connection was closed, no more is to be read.
    fn on_message(&mut self, message: Message) -> bool;
    /// A block has come whole. False: as above.
    fn on_block(&mut self, block: Block, kept: bool) -> bool;
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The peer has closed it.
    #[error("the peer has closed the connection")]
    Closed,
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer does not keep to the protocol.
    #[error(transparent)]
    Protocol(#[from] message::Error),
    /// The peer does not read.
    #[error("the peer does not read: {MAX_UNSENT_BYTES} bytes wait for it")]
    Deaf,
    /// A file to be served cannot be read: not the peer's fault, and it ends more than the connection.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// What has arrived of a message or a block.
pub struct Reader {
    conn: Conn,
    /// Bytes `start..end` are not decoded.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    payload: Option<Payload>,
    closed: bool,
}

struct Payload {
    block: Block,
    filled: usize,
    place: Place,
    beside: Vec<u8>,
}

impl Reader {
    /// Nothing has arrived.
    pub fn new(conn: Conn) -> Reader {
        Reader { conn, bytes: vec![0; SMALL_BYTES], start: 0, end: 0, payload: None, closed: false }
    }

    /// Reads until nothing is there or about `most` bytes were read; returns how many.
    ///
    /// # Errors
    /// The connection is at its end.
    pub fn read(
        &mut self,
        source: &mut impl Read,
        sink: &mut impl Sink,
        most: usize,
    ) -> Result<usize, Lost> {
        let mut total = 0;
        while total < most && !self.closed {
            let (asked, read) = self.read_once(source, sink);
            match read {
                Ok(0) => return Err(Lost::Closed),
                Ok(read) => {
                    total += read;
                    self.decode(sink)?;
                    if read < asked {
                        break;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(total)
    }

    /// The connection is gone: what it was filling is free for others.
    pub fn abandon(self, assembly: Option<&mut Assembly>) {
        if let (Some(payload), Some(assembly)) = (self.payload, assembly) {
            assembly.abandon(self.conn, payload.block);
        }
    }

    /// One call of the kernel: how much was asked for, and what came.
    fn read_once(&mut self, source: &mut impl Read, sink: &mut impl Sink) -> (usize, io::Result<usize>) {
        if self.payload.is_none() {
            self.make_room();
        } else {
            // All that was there belongs to the block.
            (self.start, self.end) = (0, 0);
        }
        let (conn, free) = (self.conn, self.end);
        if let Some(payload) = &mut self.payload
            && let Some(place) = payload.place(conn, sink)
        {
            let (rest, beyond) = (place.len(), &mut self.bytes[..BEYOND_BYTES]);
            let asked = rest + BEYOND_BYTES;
            let read = source.read_vectored(&mut [IoSliceMut::new(place), IoSliceMut::new(beyond)]);
            if let Ok(read) = read {
                payload.filled += read.min(rest);
                self.end = read.saturating_sub(rest);
            }
            return (asked, read);
        }
        let free = &mut self.bytes[free..];
        let asked = free.len();
        let read = source.read(free);
        self.end += read.as_ref().copied().unwrap_or(0);
        (asked, read)
    }

    /// Moves what is not decoded to the front, and grows where a message is larger than the room.
    fn make_room(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.bytes.len() {
            // The decoder has refused anything longer.
            self.bytes.resize((2 * self.end).min(MAX_MESSAGE_BYTES + SMALL_BYTES), 0);
        } else if self.end < SMALL_BYTES && self.bytes.len() > SMALL_BYTES {
            self.bytes.truncate(SMALL_BYTES);
            self.bytes.shrink_to_fit();
        }
    }

    fn decode(&mut self, sink: &mut impl Sink) -> Result<(), Lost> {
        while !self.closed {
            if let Some(payload) = &mut self.payload {
                self.start += payload.copy(self.conn, sink, &self.bytes[self.start..self.end]);
                if payload.filled < payload.block.length as usize {
                    return Ok(());
                }
                let kept = payload.finish(self.conn, sink);
                let block = payload.block;
                self.payload = None;
                self.closed = !sink.on_block(block, kept);
                continue;
            }
            match message::decode(&self.bytes[self.start..self.end])? {
                Decoded::More => return Ok(()),
                Decoded::Message { message, used } => {
                    self.start += used;
                    self.closed = !sink.on_message(message);
                }
                Decoded::Block { block, used } => {
                    self.start += used;
                    let conn = self.conn;
                    let assembly = if sink.expects(block) { sink.assembly() } else { None };
                    let place = assembly.map_or(Place::Nowhere, |assembly| assembly.begin(conn, block));
                    let beside = if place == Place::Beside { block.length as usize } else { 0 };
                    self.payload = Some(Payload { block, filled: 0, place, beside: vec![0; beside] });
                }
            }
        }
        Ok(())
    }
}

impl Payload {
    /// Where the bytes that have not come go.
    fn place<'a>(&'a mut self, conn: Conn, sink: &'a mut impl Sink) -> Option<&'a mut [u8]> {
        let place = match self.place {
            Place::InPiece => sink.assembly().and_then(|assembly| assembly.place(conn, self.block)),
            Place::Beside => Some(&mut self.beside[..]),
            Place::Nowhere => None,
        };
        place.map(|place| &mut place[self.filled..])
    }

    /// Takes what belongs to the block from the front of `bytes`.
    fn copy(&mut self, conn: Conn, sink: &mut impl Sink, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.block.length as usize - self.filled);
        if let Some(place) = self.place(conn, sink) {
            place[..taken].copy_from_slice(&bytes[..taken]);
        }
        self.filled += taken;
        taken
    }

    /// The block is whole: is it kept?
    fn finish(&self, conn: Conn, sink: &mut impl Sink) -> bool {
        let Some(assembly) = sink.assembly() else { return false };
        match self.place {
            Place::InPiece => assembly.finish(conn, self.block),
            Place::Beside => assembly.supply(self.block, &self.beside),
            Place::Nowhere => false,
        }
    }
}

/// What is to be sent.
#[derive(Default)]
pub struct Writer {
    queue: VecDeque<Queued>,
    /// Bytes of the messages in the queue.
    waiting: usize,
    /// Bytes `start..` are to be sent first.
    batch: Vec<u8>,
    start: usize,
}

enum Queued {
    Message(Message),
    Block(Block),
}

/// How far sending got.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// All is with the kernel.
    All,
    /// The kernel takes no more for now.
    Some,
    /// The next is a block, and the rate limit has it wait until then.
    Until(Time),
}

/// What blocks are read from, and how fast they may go.
pub struct Supply<'a> {
    /// The files; `None` while there is no metadata.
    pub storage: Option<(&'a Storage, Geometry)>,
    /// The rate limit.
    pub bucket: &'a mut Bucket,
    /// The moment.
    pub now: Time,
    /// A buffer that any connection may use while it has nothing unsent.
    pub buffer: &'a mut Vec<u8>,
}

impl Writer {
    /// Sends a message after what is queued.
    ///
    /// # Errors
    /// The peer does not read.
    pub fn push_message(&mut self, message: Message) -> Result<(), Lost> {
        self.waiting += message.encoded_len();
        self.queue.push_back(Queued::Message(message));
        if self.waiting > MAX_UNSENT_BYTES { Err(Lost::Deaf) } else { Ok(()) }
    }

    /// Sends a block after what is queued.
    pub fn push_block(&mut self, block: Block) {
        self.queue.push_back(Queued::Block(block));
    }

    /// Has all been sent?
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.start == self.batch.len()
    }

    /// Sends what the kernel takes and the rate limit allows.
    ///
    /// # Errors
    /// The connection is broken, or a file is ([`Lost::Storage`]).
    pub fn write(&mut self, sink: &mut impl Write, supply: &mut Supply<'_>) -> Result<Sent, Lost> {
        loop {
            while self.start < self.batch.len() {
                match sink.write(&self.batch[self.start..]) {
                    Ok(0) => return Err(Lost::Closed),
                    Ok(sent) => self.start += sent,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Sent::Some),
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e.into()),
                }
            }
            self.batch.clear();
            self.start = 0;
            if self.batch.capacity() > 0 {
                *supply.buffer = std::mem::take(&mut self.batch);
            }
            if self.queue.is_empty() {
                return Ok(Sent::All);
            }
            self.batch = std::mem::take(supply.buffer);
            if let Some(then) = self.gather(supply)? {
                *supply.buffer = std::mem::take(&mut self.batch);
                return Ok(Sent::Until(then));
            }
        }
    }

    /// Fills the batch; where it stays empty, says until when.
    fn gather(&mut self, supply: &mut Supply<'_>) -> Result<Option<Time>, Lost> {
        while self.batch.len() < SEND_BATCH_BYTES {
            match self.queue.front() {
                None => break,
                Some(Queued::Message(message)) => {
                    self.waiting -= message.encoded_len();
                    message.encode(&mut self.batch);
                }
                Some(Queued::Block(block)) => {
                    if let Err(then) = supply.bucket.ready(supply.now) {
                        return Ok(self.batch.is_empty().then_some(then));
                    }
                    supply.bucket.take(u64::from(block.length));
                    if let Some((storage, geometry)) = supply.storage {
                        message::encode_block_header(*block, &mut self.batch);
                        let header = self.batch.len();
                        self.batch.resize(header + block.length as usize, 0);
                        let offset = geometry.span(block.piece).start + u64::from(block.begin);
                        storage.read(offset, &mut self.batch[header..])?;
                    }
                }
            }
            self.queue.pop_front();
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
