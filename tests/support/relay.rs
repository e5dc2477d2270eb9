//! A UDP relay between AWS and one backend: the bad network, on demand.
//!
//! It has one socket. What comes from the backend goes to whoever sent last from elsewhere (AWS); all
//! else goes to the backend. So each side sees the relay as the other: AWS is told that the backend is
//! at the relay's address, the backend that AWS is. Losses are drawn for each datagram in the order of
//! arrival, for each direction from its own generator: a seed names them. A relay passes on bundles
//! (GRO in, GSO out) so as to measure the protocol's loss recovery and not itself.
//!
//! Left out: delay, reordering, corruption. The simulator has them, at no cost in time.
//!
//! `examples/relay.rs` is the command; the tests run it on a thread and also use what [`Control`] has.

use offload::rng::Rng;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Bundles taken per system call.
const BATCH: usize = 8;
/// The largest bundle that GRO makes.
const BUNDLE_BYTES: usize = 64 << 10;
/// How often a quiet relay looks whether it shall stop.
const LOOK_AROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToBackend,
    ToAws,
}

/// What is done to the datagrams, and what is known of them. Shared with the test.
#[derive(Debug)]
pub struct Control {
    /// Ends [`Relay::run`].
    pub stop: AtomicBool,
    /// While set, nothing passes in either direction.
    pub cut: AtomicBool,
    /// `cut` is set by itself when this many bytes have gone to the backend.
    pub cut_after_bytes: AtomicU64,
    /// Payload bytes that have gone to the backend.
    pub to_backend_bytes: AtomicU64,
    /// Datagrams dropped, by chance or by the cut.
    pub dropped: AtomicU64,
    /// Copies of the first datagrams that passed, while there is room.
    pub kept: Mutex<Vec<(Way, Vec<u8>)>>,
    /// How many of them are kept.
    pub keep: AtomicU64,
    /// Who sent last from elsewhere than the backend.
    pub aws: Mutex<Option<SocketAddr>>,
}

impl Default for Control {
    fn default() -> Control {
        Control {
            stop: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            cut_after_bytes: AtomicU64::new(u64::MAX),
            to_backend_bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            kept: Mutex::new(Vec::new()),
            keep: AtomicU64::new(0),
            aws: Mutex::new(None),
        }
    }
}

/// The relay.
pub struct Relay {
    socket: UdpSocket,
    state: UdpSocketState,
    backend: SocketAddr,
    loss: f64,
    chance: [Rng; 2],
}

impl Relay {
    /// Binds `listen`; drops `loss_percent` of the datagrams of each direction.
    pub fn bind(
        listen: SocketAddr,
        backend: SocketAddr,
        loss_percent: f64,
        seed: u64,
    ) -> io::Result<Relay> {
        let socket = UdpSocket::bind(listen)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The kernel gives what it allows; a smaller buffer only loses more.
        let bytes = offload::limits::SOCKET_BUFFER_BYTES;
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), bytes);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), bytes);
        let mut seeded = Rng::from_seed(seed);
        let chance = [seeded.split(), seeded.split()];
        Ok(Relay { socket, state, backend, loss: loss_percent / 100.0, chance })
    }

    /// The bound address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket, for sending what the far side will take for the relay's own.
    #[allow(dead_code)] // the command has no use for it
    pub fn socket(&self) -> io::Result<UdpSocket> {
        self.socket.try_clone()
    }

    /// Relays until told to stop.
    pub fn run(&mut self, control: &Control) -> io::Result<()> {
        let mut buffers = vec![vec![0u8; BUNDLE_BYTES]; BATCH];
        let mut metas = [RecvMeta::default(); BATCH];
        while !control.stop.load(SeqCst) {
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            match self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) {
                Ok(n) => {
                    for (buffer, meta) in buffers.iter_mut().zip(metas).take(n) {
                        self.pass(control, meta.addr, &mut buffer[..meta.len], meta.stride);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::IN)?,
                // A refusal by a closed port is the far side's death, not the relay's.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.socket, what)], Some(&LOOK_AROUND)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Passes on what survives of one bundle of datagrams of `stride` bytes each (the last one less).
    fn pass(&mut self, control: &Control, from: SocketAddr, bundle: &mut [u8], stride: usize) {
        let way = if from == self.backend { Way::ToAws } else { Way::ToBackend };
        if way == Way::ToBackend {
            *control.aws.lock().unwrap() = Some(from);
        }
        let to = match way {
            Way::ToBackend => Some(self.backend),
            Way::ToAws => *control.aws.lock().unwrap(),
        };
        let kept = self.survivors(control, way, bundle, stride);
        if let Some(to) = to {
            self.send(to, &bundle[..kept], stride);
        }
    }

    /// Moves the surviving datagrams to the front, which keeps their order; returns how many bytes.
    fn survivors(&mut self, control: &Control, way: Way, bundle: &mut [u8], stride: usize) -> usize {
        let mut kept = 0;
        for start in (0..bundle.len()).step_by(stride.max(1)) {
            let end = (start + stride).min(bundle.len());
            let lost = self.chance[way as usize].chance(self.loss);
            if lost || control.cut.load(SeqCst) {
                control.dropped.fetch_add(1, SeqCst);
                continue;
            }
            control.note(way, &bundle[start..end]);
            bundle.copy_within(start..end, kept);
            kept += end - start;
        }
        kept
    }

    /// Sends in the largest bundles that the kernel takes. What cannot be sent is lost, as on a network.
    fn send(&self, to: SocketAddr, bytes: &[u8], stride: usize) {
        let most = self.state.max_gso_segments().max(1) * stride.max(1);
        for chunk in bytes.chunks(most) {
            if self.send_bundle(to, chunk, stride).is_err() && chunk.len() > stride {
                for datagram in chunk.chunks(stride) {
                    let _ = self.send_bundle(to, datagram, stride);
                }
            }
        }
    }

    fn send_bundle(&self, to: SocketAddr, contents: &[u8], stride: usize) -> io::Result<()> {
        let segment_size = (contents.len() > stride).then_some(stride);
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
        loop {
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::OUT)?,
                other => return other,
            }
        }
    }
}

impl Control {
    fn note(&self, way: Way, datagram: &[u8]) {
        if self.keep.load(SeqCst) > 0 {
            self.keep.fetch_sub(1, SeqCst);
            self.kept.lock().unwrap().push((way, datagram.to_vec()));
        }
        if way == Way::ToBackend {
            let bytes = datagram.len() as u64;
            let sum = self.to_backend_bytes.fetch_add(bytes, SeqCst) + bytes;
            if sum >= self.cut_after_bytes.load(SeqCst) {
                self.cut.store(true, SeqCst);
            }
        }
    }
}
