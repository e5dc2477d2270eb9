//! UDP datagrams: any bytes decode or are refused, what decodes survives a round trip, and a sender and a
//! receiver agree over a network that does anything to the datagrams between them.
//!
//! The first byte says which: raw bytes, bytes with a good magic and checksum (which no fuzzer finds), or
//! a script for the network.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offload::proto::rudp::congestion::Path;
use offload::proto::rudp::receiver::{Arrival, Receiver};
use offload::proto::rudp::rtt::Rtt;
use offload::proto::rudp::sender::Sender;
use offload::time::Time;
use offload::wire::auth;
use offload::wire::datagram::{Body, HEADER_BYTES, Header, decode, encode};
use std::collections::VecDeque;
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    match choice % 4 {
        0 => {
            let _ = auth::peek(rest);
            check(rest);
        }
        1 => check(&sound(*b"oU", rest)),
        2 => {
            let bytes = sound(*b"oS", rest);
            if let Ok(envelope) = auth::peek(&bytes) {
                assert!(bytes.ends_with(envelope.body));
            }
        }
        _ => network(rest),
    }
});

/// The bytes with this magic and the checksum that they need, by another crate's hand.
fn sound(magic: [u8; 2], bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 8 {
        bytes[..2].copy_from_slice(&magic);
        let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

fn check(bytes: &[u8]) {
    let Ok((header, body)) = decode(bytes) else { return };
    let mut again = Vec::new();
    encode(header, &body, &mut again);
    let (header_again, body_again) = decode(&again).expect("what was encoded decodes");
    assert_eq!((header_again, &body_again), (header, &body));
    if matches!(body, Body::Data { .. }) {
        assert_eq!(again, bytes);
    }
    if let Body::Ack(ack) = &body {
        assert!(ack.selected().all(|seq| seq >= ack.next));
    }
}

const DATAGRAM: usize = 256;
const RING: usize = 16 * DATAGRAM;
const MOST_CREDIT: u64 = 15 * DATAGRAM as u64;
const HEADER: Header = Header { job: 7, session: 9 };

/// Sender, receiver, and what is on its way between them.
struct Net {
    now: Time,
    sender: Sender,
    receiver: Receiver,
    forth: VecDeque<Vec<u8>>,
    back: VecDeque<Vec<u8>>,
    pushed: Vec<u8>,
    /// What was folded, by sequence number.
    folded: Vec<Option<Vec<u8>>>,
    credit: u64,
    /// An acknowledgement that the receiver never sent has been taken in: it may lie.
    lied_to: bool,
}

/// Each byte of `script` is one thing that happens; then the network behaves, and all must arrive.
fn network(script: &[u8]) {
    let mut net = Net {
        now: Time::ZERO,
        sender: Sender::new(HEADER, Path::Network, DATAGRAM, RING, 8 * DATAGRAM as u64, Rtt::default()),
        receiver: Receiver::default(),
        forth: VecDeque::new(),
        back: VecDeque::new(),
        pushed: Vec::new(),
        folded: Vec::new(),
        credit: 8 * DATAGRAM as u64,
        lied_to: false,
    };
    let mut script = script.iter().copied();
    while let Some(step) = script.next() {
        let amount = usize::from(step >> 4);
        match step & 15 {
            0 | 1 => net.push(amount * 37),
            2 | 3 => net.transmit(),
            4 | 5 => net.arrive(amount),
            6 => net.lose(amount),
            7 => net.duplicate(amount),
            8 | 9 => net.acknowledge(),
            10 => net.hear(amount),
            11 => drop(net.back.pop_front()),
            12 => net.wait(Duration::from_micros(1 << amount)),
            13 => {
                let tx = net.sender.ping(net.now);
                net.receiver.on_ping(net.now, tx);
            }
            14 => net.credit = (amount as u64) * DATAGRAM as u64,
            _ => {
                let body: Vec<u8> = script.by_ref().take(24 + 8 * amount).collect();
                net.lie(&body);
            }
        }
        net.check();
    }
    net.calm();
}

impl Net {
    fn push(&mut self, bytes: usize) {
        let start = self.pushed.len();
        let numbers: Vec<u8> = (start..start + bytes).map(|i| (i ^ (i >> 8)) as u8).collect();
        let room = self.sender.room(1);
        let taken = self.sender.push(1, &numbers);
        assert_eq!(taken, bytes.min(room));
        self.pushed.extend_from_slice(&numbers[..taken]);
    }

    fn transmit(&mut self) {
        while let Some(run) = self.sender.poll_transmit(self.now) {
            assert!(run.segment <= DATAGRAM && run.bytes <= RING);
            for datagram in self.sender.bytes(&run).chunks(run.segment) {
                self.forth.push_back(datagram.to_vec());
            }
            if self.forth.len() > 256 {
                self.forth.drain(..128);
            }
        }
    }

    fn arrive(&mut self, place: usize) {
        let Some(datagram) = take(&mut self.forth, place) else { return };
        let (header, body) = decode(&datagram).expect("what a sender makes decodes");
        let Body::Data { width, ack_requested, seq, tx, numbers } = body else { panic!("{body:?}") };
        assert_eq!((header, width), (HEADER, 1));
        let arrival =
            self.receiver.on_data(self.now, seq, tx, datagram.len(), ack_requested, self.credit);
        let seq = usize::try_from(seq).unwrap();
        assert!(seq < 1 << 16);
        if self.folded.len() <= seq {
            self.folded.resize(seq + 1, None);
        }
        match arrival {
            Arrival::New => {
                assert_eq!(self.folded[seq], None, "folded twice");
                self.folded[seq] = Some(numbers.to_vec());
            }
            Arrival::Duplicate => assert_eq!(self.folded[seq].as_deref(), Some(numbers)),
            Arrival::Beyond => assert!(self.lied_to, "an honest sender keeps within the window"),
        }
    }

    fn lose(&mut self, place: usize) {
        take(&mut self.forth, place);
    }

    fn duplicate(&mut self, place: usize) {
        if let Some(datagram) = self.forth.get(place).cloned() {
            self.forth.push_back(datagram);
        }
    }

    fn acknowledge(&mut self) {
        let ack = self.receiver.ack(self.now, self.credit);
        let mut bytes = Vec::new();
        encode(HEADER, &Body::Ack(ack), &mut bytes);
        if self.back.len() < 64 {
            self.back.push_back(bytes);
        }
    }

    fn hear(&mut self, place: usize) {
        let Some(bytes) = take(&mut self.back, place) else { return };
        let Ok((_, Body::Ack(ack))) = decode(&bytes) else { panic!("an ACK does not decode") };
        self.sender.on_ack(self.now, &ack);
    }

    /// An acknowledgement out of nothing.
    fn lie(&mut self, body: &[u8]) {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[2] = 4;
        bytes.extend_from_slice(body);
        if let Ok((_, Body::Ack(ack))) = decode(&sound(*b"oU", &bytes)) {
            self.lied_to = true;
            self.sender.on_ack(self.now, &ack);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        if self.sender.next_timeout().is_some_and(|at| at <= self.now) {
            self.sender.on_timeout(self.now);
            assert!(self.sender.next_timeout().is_none_or(|at| at > self.now), "a timeout that stays");
        }
    }

    fn check(&self) {
        assert!(self.sender.window() <= MOST_CREDIT || self.lied_to);
        assert!(self.sender.room(1) <= RING);
    }

    /// From here on nothing is lost, and time passes: all that was pushed is folded once.
    fn calm(&mut self) {
        self.sender.finish();
        self.credit = 8 * DATAGRAM as u64;
        for _ in 0..4096 {
            if self.lied_to || self.sender.is_delivered() {
                break;
            }
            self.acknowledge();
            self.transmit();
            while !self.forth.is_empty() {
                self.arrive(0);
            }
            while !self.back.is_empty() {
                self.hear(0);
            }
            self.acknowledge();
            self.hear(0);
            self.wait(Duration::from_millis(50));
        }
        if !self.lied_to {
            assert!(self.sender.is_delivered(), "a calm network does not deliver");
            let folded: Vec<u8> = self.folded.iter().flatten().flatten().copied().collect();
            assert_eq!(folded, self.pushed);
        }
    }
}

fn take(queue: &mut VecDeque<Vec<u8>>, place: usize) -> Option<Vec<u8>> {
    queue.remove(place.min(queue.len().checked_sub(1)?))
}
