//! Who sends how much to whom on loopback, from packet sockets.
//!
//! A packet socket of one protocol (not of all) is given each packet once, when it arrives. Bytes of TCP
//! are counted by sequence numbers, so that a packet that the socket had no room for is not missed; a
//! datagram can be missed on a busy machine, so volumes mean something for small inputs only.
//!
//! Layouts: IPv4 RFC 791, IPv6 RFC 8200 (without extension headers), UDP RFC 768, TCP RFC 9293.

use crate::limits::FLOWS;
use crate::model::Flow;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const TCP: u8 = 6;
/// As much as the kernel gives.
const BUFFER_BYTES: usize = 8 << 20;

type Flows = Arc<Mutex<BTreeMap<(bool, u16, u16), Tally>>>;

#[derive(Clone, Copy, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    /// TCP: the sequence number after the last byte seen.
    next: Option<u32>,
}

/// Packets counted since the last [`Capture::take`].
pub struct Capture {
    flows: Flows,
}

impl Capture {
    /// `None` where packet sockets are not allowed. `all`: every port, else only the assignment's.
    pub fn start(all: bool) -> Option<Capture> {
        let flows = Flows::default();
        for protocol in [ETH_P_IP, ETH_P_IPV6] {
            // The kernel wants it in network order.
            let number = i32::from(protocol.to_be());
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(number))).ok()?;
            let _as_is = socket.set_recv_buffer_size(BUFFER_BYTES);
            let flows = Arc::clone(&flows);
            thread::spawn(move || watch(socket, &flows, all));
        }
        Some(Capture { flows })
    }

    /// What was seen since the last call.
    pub fn take(&self) -> Vec<Flow> {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = flows
            .iter()
            .filter(|(_, tally)| tally.packets > 0)
            .map(|(&(tcp, from, to), t)| Flow { tcp, from, to, packets: t.packets, bytes: t.bytes })
            .collect();
        // A connection may live on: where it stands is kept, what it has carried is not.
        flows.retain(|_, tally| tally.next.is_some());
        for tally in flows.values_mut() {
            (tally.packets, tally.bytes) = (0, 0);
        }
        seen
    }
}

fn watch(mut socket: Socket, flows: &Flows, all: bool) {
    let mut buffer = [0; 65_536];
    while let Ok(n) = socket.read(&mut buffer) {
        let Some(packet) = decode(&buffer[..n]) else { continue };
        if !all && ![packet.from, packet.to].iter().any(|port| (21_000..26_000).contains(port)) {
            continue;
        }
        let mut flows = flows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (packet.sequence.is_some(), packet.from, packet.to);
        if flows.len() >= FLOWS && !flows.contains_key(&key) {
            continue;
        }
        count(flows.entry(key).or_default(), &packet);
    }
}

fn count(tally: &mut Tally, packet: &Packet) {
    let Some((sequence, opens)) = packet.sequence else {
        tally.packets += 1;
        tally.bytes += packet.bytes;
        return;
    };
    if opens || tally.next.is_none() {
        tally.next = Some(sequence.wrapping_add(u32::from(opens)));
    }
    let end = sequence.wrapping_add(packet.bytes as u32);
    let fresh = end.wrapping_sub(tally.next.unwrap_or(sequence));
    // Half of the numbers lie ahead, half behind (RFC 9293, 3.4).
    if packet.bytes > 0 && fresh > 0 && fresh < 1 << 31 {
        tally.next = Some(end);
        tally.bytes += u64::from(fresh);
        tally.packets += 1;
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Packet {
    from: u16,
    to: u16,
    bytes: u64,
    /// TCP: its first byte's number, and whether it opens a connection.
    sequence: Option<(u32, bool)>,
}

fn decode(ip: &[u8]) -> Option<Packet> {
    let (protocol, content) = match ip.first()? >> 4 {
        4 => {
            let header = usize::from(ip[0] & 0x0f) * 4;
            let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
            // A fragment but the first has no ports.
            if u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x1fff != 0 {
                return None;
            }
            // A segment that the kernel has not cut yet may be longer than 16 bits can say.
            let end = if total == 0 { ip.len() } else { total };
            (*ip.get(9)?, ip.get(header..end.min(ip.len()))?)
        }
        6 => (*ip.get(6)?, ip.get(40..)?),
        _ => return None,
    };
    let word = |at: usize| Some(u16::from_be_bytes([*content.get(at)?, *content.get(at + 1)?]));
    let (from, to) = (word(0)?, word(2)?);
    match protocol {
        UDP => {
            let bytes = content.len().saturating_sub(8) as u64;
            Some(Packet { from, to, bytes, sequence: None })
        }
        TCP => {
            let header = usize::from(*content.get(12)? >> 4) * 4;
            let bytes = content.len().checked_sub(header)? as u64;
            let sequence = u32::from(word(4)?) << 16 | u32::from(word(6)?);
            Some(Packet { from, to, bytes, sequence: Some((sequence, content.get(13)? & 2 != 0)) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(sequence: u32, flags: u8, content: &[u8]) -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, TCP, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
        ip.extend(40_000u16.to_be_bytes());
        ip.extend(25_319u16.to_be_bytes());
        ip.extend(sequence.to_be_bytes());
        ip.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        ip.extend(content);
        let total = (ip.len() as u16).to_be_bytes();
        ip[2..4].copy_from_slice(&total);
        ip
    }

    #[test]
    fn bytes_of_tcp_are_counted_once_whatever_is_missed_or_repeated() {
        let mut tally = Tally::default();
        let first = u32::MAX - 3;
        for packet in [
            tcp(first, 2, b""),
            tcp(first.wrapping_add(1), 0x10, b"ab"),
            tcp(first.wrapping_add(1), 0x10, b"ab"),
            // "cd" was missed.
            tcp(first.wrapping_add(5), 0x10, b"ef"),
            tcp(first.wrapping_add(7), 0x11, b""),
        ] {
            count(&mut tally, &decode(&packet).unwrap());
        }
        assert_eq!(tally.bytes, 6);
    }

    #[test]
    fn what_is_no_whole_packet_is_nothing() {
        let whole = tcp(1, 0x10, b"ab");
        for len in 0..whole.len() - 2 {
            assert_eq!(decode(&whole[..len]), None, "{len}");
        }
        assert_eq!(decode(&whole).unwrap().bytes, 2);
    }

    #[test]
    fn a_datagram_on_loopback_is_seen_once_where_packet_sockets_are_allowed() {
        let Some(capture) = Capture::start(true) else {
            panic!("packet sockets need CAP_NET_RAW: run the tests as root, or in a user namespace")
        };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap().port();
        socket.send_to(b"12345", ("127.0.0.1", to)).unwrap();
        let mine = |flows: Vec<Flow>| flows.into_iter().find(|f| !f.tcp && f.to == to);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let flow = loop {
            if let Some(flow) = mine(capture.take()) {
                break flow;
            }
            assert!(std::time::Instant::now() < deadline, "not seen");
            thread::yield_now();
        };
        assert_eq!((flow.packets, flow.bytes), (1, 5));
    }
}
