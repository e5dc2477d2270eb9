//! A UDP socket with segmentation offload and batched reception, by `quinn-udp`.
//!
//! Where the kernel lacks GSO or GRO, `quinn-udp` notices and datagrams go one by one. What is left out:
//! reliability (`proto::rudp`). A datagram that the kernel will not take is lost like any other.

use crate::limits::GSO_BYTES;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

/// How long a full socket may hold up a datagram before it is lost.
const SEND_PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
const BUFFER_BYTES: usize = 1 << 16;

pub struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Udp {
    pub fn bind(addr: SocketAddr) -> io::Result<Udp> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&addr.into())?;
        let socket: UdpSocket = socket.into();
        let state = UdpSocketState::new((&socket).into())?;
        // The kernel gives what net.core.rmem_max allows; credit_bytes reads back what that was.
        let bytes = crate::limits::SOCKET_BUFFER_BYTES;
        state.set_recv_buffer_size((&socket).into(), bytes)?;
        state.set_send_buffer_size((&socket).into(), bytes)?;
        Ok(Udp { socket, state })
    }

    /// Bytes of datagrams that surely fit into the socket's receive buffer. The kernel charges a
    /// datagram for its bookkeeping too; for 1,472 bytes that is about 2,300, hence a quarter of its
    /// doubled figure.
    pub fn credit_bytes(&self) -> io::Result<u64> {
        Ok(self.state.recv_buffer_size((&self.socket).into())? as u64 / 4)
    }

    /// Sends `bytes` as datagrams of `segment` bytes each, the last of which may be shorter.
    pub fn send(&self, destination: SocketAddr, bytes: &[u8], segment: usize) {
        // Sealed datagrams are longer than the ring's: what was a full call before may be too much.
        let per_call =
            segment * (GSO_BYTES / segment.max(1)).clamp(1, self.state.max_gso_segments().max(1));
        for contents in bytes.chunks(per_call.max(1)) {
            let segment_size = (contents.len() > segment).then_some(segment);
            let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
            let socket = || UdpSockRef::from(&self.socket);
            match self.state.try_send(socket(), &transmit) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
                    if poll(&mut fds, Some(&SEND_PATIENCE)).is_ok() {
                        let _lost_if_it_fails = self.state.try_send(socket(), &transmit);
                    }
                }
                // Unreachable, refused, too large for the path: lost; the sender's timers see to it.
                Err(_) | Ok(()) => {}
            }
        }
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for one batch of received datagrams.
pub struct Batch {
    buffers: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

impl Batch {
    pub fn new() -> Batch {
        Batch {
            buffers: vec![0; BUFFER_BYTES * BATCH_SIZE],
            metas: [RecvMeta::default(); BATCH_SIZE],
            filled: 0,
        }
    }

    /// Takes in what has arrived, if anything.
    pub fn fill(&mut self, udp: &Udp) -> io::Result<()> {
        self.filled = 0;
        let mut chunks = self.buffers.chunks_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        match udp.state.recv((&udp.socket).into(), &mut slices, &mut self.metas) {
            Ok(n) => self.filled = n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // An ICMP error for something sent earlier: the sender's timers see to it.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Each datagram with its source.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let filled = self.buffers.chunks(BUFFER_BYTES).zip(&self.metas).take(self.filled);
        filled.flat_map(|(buffer, meta)| {
            let bytes = &buffer[..meta.len.min(buffer.len())];
            bytes.chunks(meta.stride.max(1)).map(move |datagram| (meta.addr, datagram))
        })
    }
}
