//! A connection until both handshakes are exchanged: they say which torrent it belongs to.
//!
//! No byte beyond the far end's handshake is read here, so that nothing has to be handed on.

use crate::id::{InfoHash, PeerId};
use crate::limits::{HANDSHAKE_LIMIT, NOTSENT_BYTES};
use crate::peer::Direction;
use crate::wire::handshake::{Features, HANDSHAKE_BYTES, Handshake};
use offload::time::Time;
use rustix::event::PollFlags;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What we can do.
const FEATURES: Features = Features { fast: true, extended: true };

/// Such a connection.
pub struct Greeting {
    pub socket: TcpStream,
    pub address: SocketAddr,
    pub direction: Direction,
    /// For which torrent it was made, and the handshake to send once it stands.
    pub ours: Option<(u64, Handshake)>,
    pub deadline: Time,
    theirs: [u8; HANDSHAKE_BYTES],
    filled: usize,
    standing: bool,
}

impl Greeting {
    /// The far end has come to us and speaks first.
    pub fn accepted(socket: TcpStream, address: SocketAddr, now: Time) -> io::Result<Greeting> {
        socket.set_nonblocking(true)?;
        prepare(&SockRef::from(&socket))?;
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Ok(Greeting::new(socket, address, Direction::Incoming, None, now))
    }

    /// Goes to the far end.
    pub fn connect(
        address: SocketAddr,
        torrent: u64,
        info_hash: InfoHash,
        peer_id: PeerId,
        now: Time,
    ) -> io::Result<Greeting> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        prepare(&SockRef::from(&socket))?;
        match socket.connect(&address.into()) {
            Err(e) if e.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(e);
            }
            _ => {}
        }
        let ours = Some((torrent, handshake(info_hash, peer_id)));
        Ok(Greeting::new(socket.into(), address, Direction::Outgoing, ours, now))
    }

    fn new(
        socket: TcpStream,
        address: SocketAddr,
        direction: Direction,
        ours: Option<(u64, Handshake)>,
        now: Time,
    ) -> Greeting {
        let standing = direction == Direction::Incoming;
        let (deadline, theirs) = (now + HANDSHAKE_LIMIT, [0; HANDSHAKE_BYTES]);
        Greeting { socket, address, direction, ours, deadline, theirs, filled: 0, standing }
    }

    /// What to wait for.
    pub fn interest(&self) -> PollFlags {
        if self.standing { PollFlags::IN } else { PollFlags::OUT }
    }

    /// Goes on; the far end's handshake once it is whole.
    ///
    /// # Errors
    /// It came to nothing.
    pub fn proceed(&mut self) -> io::Result<Option<Handshake>> {
        if !self.standing {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            self.standing = true;
            if let Some((_, ours)) = self.ours {
                self.send(ours)?;
            }
        }
        while self.filled < HANDSHAKE_BYTES {
            match self.socket.read(&mut self.theirs[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.filled += read,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let theirs = Handshake::decode(&self.theirs);
        theirs.map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    /// Sends our handshake. A fresh socket has room for it.
    pub fn send(&mut self, ours: Handshake) -> io::Result<()> {
        self.socket.write_all(&ours.encode())
    }
}

/// What we say.
pub fn handshake(info_hash: InfoHash, peer_id: PeerId) -> Handshake {
    Handshake { info_hash, peer_id, features: FEATURES }
}

fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    // Requests are small, and gathered here.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOTSENT_BYTES)
}
