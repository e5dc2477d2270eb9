//! A link: who is at the other end, what it says, and what it is sent.

use super::channel::{Channel, Incoming};
use crate::id::{Epoch, Member};
use crate::limits::{HELLO_LIMIT, PAGES_PER_FRAME, PING_PERIOD};
use crate::proto::Bulk;
use crate::proto::frame::Frame;
use crate::wire::{self, Hello, MAGIC, Packet};
use offload::config::Key;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel as queue};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// What links have to say to the member.
#[derive(Debug)]
pub enum Heard {
    /// A link stands. Its number is never used again.
    Opened {
        link: u64,
        member: Member,
        went: Epoch,
        outbox: Sender<ToSend>,
        channel: Arc<Channel>,
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
    /// With which links are sealed.
    pub key: Option<Key>,
    /// A link that has said nothing for so long is lost.
    pub silence: Duration,
    /// The last life of each member that has said who it is.
    pub lives: Mutex<BTreeMap<Member, u64>>,
    /// As of now.
    pub went: AtomicU64,
    pub next_link: AtomicU64,
    pub heard: Mutex<SyncSender<H>>,
}

impl<H: From<Heard>> Common<H> {
    /// Of a member that has not gone on yet.
    pub fn new(hello: Hello, key: Option<Key>, silence: Duration, heard: SyncSender<H>) -> Common<H> {
        let (went, next_link) = (AtomicU64::new(0), AtomicU64::new(0));
        Common {
            hello,
            key,
            silence,
            lives: Mutex::default(),
            went,
            next_link,
            heard: Mutex::new(heard),
        }
    }

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
    let (theirs, channel, incoming) = match greet(common, stream, expected) {
        Ok(Some(greeted)) => greeted,
        // It has died meanwhile; it is dialled, or dials, again.
        Ok(None) => return,
        Err(why) => {
            common.tell(Heard::Refused(format!("{}: {why}", name())));
            return;
        }
    };
    let (outbox, queue) = queue();
    let (output, ping) = (channel.clone(), ping_period(common.silence));
    let writer = Builder::new().name("parity-writer".into()).spawn(move || write(&output, &queue, ping));
    let Ok(writer) = writer else { return };
    let link = common.next_link.fetch_add(1, Ordering::Relaxed);
    let (member, went) = (theirs.member, theirs.went);
    if !common.tell(Heard::Opened { link, member, went, outbox, channel: channel.clone(), writer }) {
        return;
    }
    let why = listen(common, link, incoming);
    channel.close();
    common.tell(Heard::Closed { link, why });
}

/// How often one that has nothing to say says so.
pub fn ping_period(silence: Duration) -> Duration {
    PING_PERIOD.min(silence / 4)
}

/// Both say who they are; `None` where the link is lost before that.
fn greet<H>(
    common: &Common<H>,
    stream: TcpStream,
    expected: Option<Member>,
) -> Result<Option<(Hello, Arc<Channel>, Incoming)>, String> {
    let ours = Hello { went: Epoch(common.went.load(Ordering::Relaxed)), ..common.hello.clone() };
    let exchange = || -> Result<_, wire::Error> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HELLO_LIMIT))?;
        stream.set_write_timeout(Some(common.silence))?;
        let channel = Arc::new(Channel::new(stream, common.key.as_ref(), expected.is_some())?);
        channel.send(&wire::encode(&ours, Vec::new())?, &mut Vec::new())?;
        let mut incoming = channel.incoming();
        let theirs: Option<Hello> = wire::read(&mut incoming, &mut Vec::new())?;
        channel.stream().set_read_timeout(Some(common.silence))?;
        Ok(theirs.map(|theirs| (theirs, channel, incoming)))
    };
    let (theirs, channel, incoming) = match exchange() {
        Ok(Some(greeted)) => greeted,
        Err(wire::Error::Io(e)) if e.kind() == ErrorKind::InvalidData => return Err(e.to_string()),
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
    let mut lives = common.lives.lock().unwrap_or_else(PoisonError::into_inner);
    let life = lives.entry(theirs.member).or_default();
    if theirs.life < *life {
        return Err(format!("it is a {} that was taken for dead and has a successor", theirs.member));
    }
    *life = theirs.life;
    Ok(Some((theirs, channel, incoming)))
}

fn listen<H: From<Heard>>(common: &Common<H>, link: u64, mut source: Incoming) -> String {
    let mut buffer = Vec::new();
    loop {
        match wire::read(&mut source, &mut buffer) {
            Ok(Some(Packet::Alive)) => {}
            Ok(Some(Packet::Frame(frame))) => {
                if !common.tell(Heard::Frame { link, frame }) {
                    return "the run is over".into();
                }
            }
            Ok(None) => return "it has closed the connection".into(),
            Err(wire::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {
                return format!("it has said nothing for {:?}", common.silence);
            }
            Err(e) => return e.to_string(),
        }
    }
}

/// Bytes that are sent, before they are sealed and after.
#[derive(Default)]
struct Buffers {
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

/// Sends what it is given until nobody gives any more.
fn write(channel: &Channel, queue: &Receiver<ToSend>, ping: Duration) {
    let mut buffers = Buffers::default();
    loop {
        let sent = match queue.recv_timeout(ping) {
            Ok(ToSend::Frame(frame)) => send(channel, &Packet::Frame(frame), &mut buffers),
            Ok(ToSend::Bulk(epoch, bulk)) => send_bulk(channel, epoch, &bulk, &mut buffers),
            Err(RecvTimeoutError::Timeout) => send(channel, &Packet::Alive, &mut buffers),
            Err(RecvTimeoutError::Disconnected) => {
                let _ = channel.stream().shutdown(Shutdown::Write);
                return;
            }
        };
        if sent.is_err() {
            // The reader sees it, and tells.
            channel.close();
            return;
        }
    }
}

fn send(channel: &Channel, packet: &Packet, buffers: &mut Buffers) -> Result<(), wire::Error> {
    buffers.plain.clear();
    buffers.plain = wire::encode(packet, std::mem::take(&mut buffers.plain))?;
    Ok(channel.send(&buffers.plain, &mut buffers.sealed)?)
}

fn send_bulk(
    channel: &Channel,
    epoch: Epoch,
    bulk: &Bulk,
    buffers: &mut Buffers,
) -> Result<(), wire::Error> {
    for part in bulk.parts(PAGES_PER_FRAME) {
        send(channel, &Packet::Frame(Frame { epoch, body: bulk.body(part) }), buffers)?;
    }
    Ok(())
}

/// Connects, and says why not.
pub fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address, HELLO_LIMIT)
}
