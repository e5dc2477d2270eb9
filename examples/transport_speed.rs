//! Nanoseconds a number, on loopback, for the two ways that numbers travel: DATA frames by TCP, and our
//! reliable UDP with the datagrams of a loopback and of an Ethernet. One thread sends what was made
//! before, another takes it apart; nothing is parsed or reduced. Prints one line of JSON.
//!
//! `cargo run --release --example transport_speed` [numbers]

// The socket is measured as the processes use it; the library does not offer it to others.
#[path = "../src/io/udp.rs"]
mod udp;

use offload::limits::{
    self, LOOPBACK_DATAGRAM_BYTES, LOOPBACK_RING_BYTES, NETWORK_DATAGRAM_BYTES, PIECE_BYTES,
};
use offload::proto::rudp::congestion::Path;
use offload::proto::rudp::receiver::{Arrival, Receiver};
use offload::proto::rudp::rtt::Rtt;
use offload::proto::rudp::sender::Sender;
use offload::time::Time;
use offload::wire::datagram::{Body, Header, decode, encode};
use offload::wire::frame::{Decoder, Item, encode_data};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};
use udp::{Batch, Udp};

const ROUNDS: usize = 5;
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
const HEADER: Header = Header { job: 1, session: 1 };

fn main() -> anyhow::Result<()> {
    let numbers = std::env::args().nth(1).map_or(Ok(30_000_000), |n| n.parse())?;
    let udp = |datagram| median(numbers, || reliable_udp(numbers, datagram));
    let line = serde_json::json!({
        "numbers": numbers,
        "unit": "ns a number of 8 bytes, two threads, median of 5",
        "tcp": median(numbers, || tcp(numbers))?,
        "udp": udp(LOOPBACK_DATAGRAM_BYTES)?,
        "udp_1472": udp(NETWORK_DATAGRAM_BYTES)?,
    });
    println!("{line}");
    Ok(())
}

fn median(numbers: u64, work: impl Fn() -> anyhow::Result<Duration>) -> anyhow::Result<f64> {
    let mut times = (0..ROUNDS).map(|_| work()).collect::<anyhow::Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok((times[ROUNDS / 2].as_secs_f64() * 1e11 / numbers as f64).round() / 100.0)
}

/// Frames of a piece of numbers, sent again and again until there were `numbers` of them.
fn tcp(numbers: u64) -> anyhow::Result<Duration> {
    let piece: Vec<i64> = (0..PIECE_BYTES as i64 / 8).map(|n| n | i64::MIN).collect();
    let mut frames = Vec::new();
    encode_data(0, &piece, &mut frames);
    let pieces = numbers.div_ceil(piece.len() as u64);
    let listener = TcpListener::bind("localhost:0")?;
    let mut out = TcpStream::connect(listener.local_addr()?)?;
    let (mut from, _) = listener.accept()?;
    let start = Instant::now();
    thread::scope(|scope| {
        let sender = scope.spawn(move || (0..pieces).try_for_each(|_| out.write_all(&frames)));
        let (mut decoder, mut buffer, mut bytes) = (Decoder::default(), vec![0; PIECE_BYTES], 0);
        loop {
            let n = from.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            let mut input = &buffer[..n];
            while let Some(item) = decoder.next(&mut input)? {
                if let Item::Numbers(numbers) = item {
                    bytes += numbers.len() as u64;
                }
            }
        }
        anyhow::ensure!(bytes / 8 == pieces * piece.len() as u64, "TCP has lost numbers");
        sender.join().map_err(|_| anyhow::anyhow!("the sending thread has died"))??;
        Ok(start.elapsed())
    })
}

fn reliable_udp(numbers: u64, datagram: usize) -> anyhow::Result<Duration> {
    let there: SocketAddr = free_address()?;
    let here: SocketAddr = free_address()?;
    let (out, into) = (Udp::bind(here)?, Udp::bind(there)?);
    let credit = into.credit_bytes()?;
    let start = Instant::now();
    thread::scope(|scope| {
        let receiving = scope.spawn(move || receive(&into, here, numbers * 8, credit, start));
        send(&out, there, numbers * 8, datagram, credit, start)?;
        receiving.join().map_err(|_| anyhow::anyhow!("the receiving thread has died"))??;
        Ok(start.elapsed())
    })
}

/// An address that nobody has; both ends must be known before either is bound.
fn free_address() -> std::io::Result<SocketAddr> {
    UdpSocket::bind("localhost:0")?.local_addr()
}

fn send(
    udp: &Udp,
    to: SocketAddr,
    mut bytes: u64,
    datagram: usize,
    credit: u64,
    start: Instant,
) -> anyhow::Result<()> {
    let mut sender = Sender::new(HEADER, Path::Loopback, datagram, credit, Rtt::default());
    sender.provide(LOOPBACK_RING_BYTES);
    let (numbers, mut batch) = (vec![7; 64 << 10], Batch::new());
    loop {
        let now = Time::ZERO + start.elapsed();
        while bytes > 0 {
            let n = numbers.len().min(usize::try_from(bytes)?);
            let taken = sender.push(8, &numbers[..n]);
            bytes -= taken as u64;
            if bytes == 0 {
                sender.finish();
            }
            if taken < n {
                break;
            }
        }
        if sender.is_delivered() {
            return Ok(());
        }
        while let Some(run) = sender.poll_transmit(now) {
            udp.send(to, sender.bytes(&run), run.segment);
        }
        poll(&mut [PollFd::new(udp, PollFlags::IN)], Some(&WAIT))?;
        batch.fill(udp)?;
        let now = Time::ZERO + start.elapsed();
        for (_, datagram) in batch.datagrams() {
            if let Ok((_, Body::Ack(ack))) = decode(datagram) {
                sender.on_ack(now, &ack);
            }
        }
        if sender.next_timeout().is_some_and(|at| at <= now) {
            sender.on_timeout(now);
        }
    }
}

/// Takes in datagrams until `bytes` bytes of numbers are there, each once, and the sender knows it.
fn receive(udp: &Udp, to: SocketAddr, bytes: u64, credit: u64, start: Instant) -> anyhow::Result<()> {
    let (mut receiver, mut batch) = (Receiver::default(), Batch::new());
    let (mut here, mut reply) = (0, Vec::new());
    while here < bytes {
        poll(&mut [PollFd::new(udp, PollFlags::IN)], Some(&WAIT))?;
        batch.fill(udp)?;
        let now = Time::ZERO + start.elapsed();
        for (_, datagram) in batch.datagrams() {
            let Ok((_, Body::Data { ack_requested, seq, tx, numbers, .. })) = decode(datagram) else {
                continue;
            };
            let arrival = receiver.on_data(now, seq, tx, datagram.len(), ack_requested, credit);
            if arrival == Arrival::New {
                here += numbers.len() as u64;
            }
        }
        if here == bytes || receiver.ack_at().is_some_and(|at| at <= now) {
            encode(HEADER, &Body::Ack(receiver.ack(now, credit)), &mut reply);
            udp.send(to, &reply, reply.len());
        }
    }
    Ok(())
}
