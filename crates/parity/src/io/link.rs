//! A link: who is at the other end, what it says, and what it is sent.

use crate::id::{Epoch, Member};
use crate::limits::{HELLO_LIMIT, PAGES_PER_FRAME, PING_PERIOD, SILENCE_LIMIT};
use crate::proto::Bulk;
use crate::proto::frame::Frame;
use crate::wire::{self, Hello, MAGIC, Packet};
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// What links have to say to the member.
#[derive(Debug)]
pub enum Heard {
    /// A link stands. Its number is never used again.
    Opened {
        link: u64,
        member: Member,
        went: Epoch,
        outbox: Sender<ToSend>,
        stream: TcpStream,
        writer: JoinHandle<()>,
    },
    /// Something was said.
    Frame { link: u64, frame: Frame },
    /// A link is lost.
    Closed { link: u64, why: String },
    /// One was refused, or refuses us.
    Refused(String),
}

/// What is to be sent.
#[derive(Debug)]
pub enum ToSend {
    Frame(Frame),
    Bulk(Epoch, Bulk),
}

/// What all links of a member have in common.
pub struct Common<H> {
    pub hello: Hello,
    /// As of now.
    pub went: AtomicU64,
    pub next_link: AtomicU64,
    pub heard: Mutex<SyncSender<H>>,
}

impl<H: From<Heard>> Common<H> {
    /// False: nobody listens any more.
    pub fn tell(&self, heard: Heard) -> bool {
        let sender = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.send(heard.into()).is_ok()
    }
}

/// Talks over a connection until it is lost.
pub fn converse<H: From<Heard> + Send + 'static>(
    common: &Arc<Common<H>>,
    stream: TcpStream,
    expected: Option<Member>,
) {
    let address = stream.peer_addr();
    let name = || match (&address, expected) {
        (_, Some(member)) => member.to_string(),
        (Ok(address), None) => address.to_string(),
        (Err(_), None) => "an unknown address".into(),
    };
    let theirs = match greet(common, &stream, expected) {
        Ok(Some(theirs)) => theirs,
        // It has died meanwhile; it is dialled, or dials, again.
        Ok(None) => return,
        Err(why) => {
            common.tell(Heard::Refused(format!("{}: {why}", name())));
            return;
        }
    };
    let (outbox, queue) = channel();
    let (Ok(output), Ok(handle)) = (stream.try_clone(), stream.try_clone()) else { return };
    let writer = Builder::new().name("parity-writer".into()).spawn(move || write(&output, &queue));
    let Ok(writer) = writer else { return };
    let link = common.next_link.fetch_add(1, Ordering::Relaxed);
    let (member, went) = (theirs.member, theirs.went);
    if !common.tell(Heard::Opened { link, member, went, outbox, stream: handle, writer }) {
        return;
    }
    let why = listen(common, link, &stream);
    let _ = stream.shutdown(Shutdown::Both);
    common.tell(Heard::Closed { link, why });
}

/// Both say who they are; `None` where the link is lost before that.
fn greet<H>(
    common: &Common<H>,
    stream: &TcpStream,
    expected: Option<Member>,
) -> Result<Option<Hello>, String> {
    let ours = Hello { went: Epoch(common.went.load(Ordering::Relaxed)), ..common.hello.clone() };
    let exchange = || -> Result<Option<Hello>, wire::Error> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HELLO_LIMIT))?;
        stream.set_write_timeout(Some(SILENCE_LIMIT))?;
        (&*stream).write_all(&wire::encode(&ours, Vec::new())?)?;
        let theirs = wire::read(&mut &*stream, &mut Vec::new())?;
        stream.set_read_timeout(Some(SILENCE_LIMIT))?;
        Ok(theirs)
    };
    let theirs = match exchange() {
        Ok(Some(theirs)) => theirs,
        Ok(None) | Err(wire::Error::Io(_)) => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    if theirs.magic != MAGIC {
        return Err("it speaks another protocol".into());
    }
    if theirs.run != ours.run {
        return Err("it belongs to another run".into());
    }
    if theirs.shape != ours.shape {
        return Err(format!("it was started for `{}`, and we for `{}`", theirs.shape, ours.shape));
    }
    if expected.is_some_and(|expected| expected != theirs.member) || theirs.member == ours.member {
        return Err(format!("it says that it is {}", theirs.member));
    }
    Ok(Some(theirs))
}

fn listen<H: From<Heard>>(common: &Common<H>, link: u64, stream: &TcpStream) -> String {
    let (mut source, mut buffer) = (stream, Vec::new());
    loop {
        match wire::read(&mut source, &mut buffer) {
            Ok(Some(Packet::Alive)) => {}
            Ok(Some(Packet::Frame(frame))) => {
                if !common.tell(Heard::Frame { link, frame }) {
                    return "the run is over".into();
                }
            }
            Ok(None) => return "it has closed the connection".into(),
            Err(wire::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                return format!("it has said nothing for {} s", SILENCE_LIMIT.as_secs());
            }
            Err(e) => return e.to_string(),
        }
    }
}

/// Sends what it is given until nobody gives any more.
fn write(stream: &TcpStream, queue: &Receiver<ToSend>) {
    let mut bytes = Vec::new();
    loop {
        let sent = match queue.recv_timeout(PING_PERIOD) {
            Ok(ToSend::Frame(frame)) => send(stream, &Packet::Frame(frame), &mut bytes),
            Ok(ToSend::Bulk(epoch, bulk)) => send_bulk(stream, epoch, &bulk, &mut bytes),
            Err(RecvTimeoutError::Timeout) => send(stream, &Packet::Alive, &mut bytes),
            Err(RecvTimeoutError::Disconnected) => {
                let _ = stream.shutdown(Shutdown::Write);
                return;
            }
        };
        if sent.is_err() {
            // The reader sees it, and tells.
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn send(mut stream: &TcpStream, packet: &Packet, buffer: &mut Vec<u8>) -> Result<(), wire::Error> {
    buffer.clear();
    *buffer = wire::encode(packet, std::mem::take(buffer))?;
    Ok(stream.write_all(buffer)?)
}

fn send_bulk(
    stream: &TcpStream,
    epoch: Epoch,
    bulk: &Bulk,
    buffer: &mut Vec<u8>,
) -> Result<(), wire::Error> {
    for part in bulk.parts(PAGES_PER_FRAME) {
        send(stream, &Packet::Frame(Frame { epoch, body: bulk.body(part) }), buffer)?;
    }
    Ok(())
}

/// Connects, and says why not.
pub fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address, HELLO_LIMIT)
}
