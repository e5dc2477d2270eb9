//! The client: says what it wants, sends the numbers it is asked for, waits for the answer.
//!
//! Of numbers that the backends have it sends only the dataset's name; nobody asks it for more, and its screen
//! is the same.
//!
//! Numbers come from the driver a block at a time, when the connection has taken the last one, so the
//! client never holds more than one. What is left out: where numbers come from (`numbers`), screens.

use super::{Block, Conn, Input, Machine, Output};
use crate::dataset;
use crate::event::{Event, Record};
use crate::limits::{MAX_ATTEMPTS, MAX_BACKENDS};
use crate::rng::Rng;
use crate::screen::Line;
use crate::time::Time;
use crate::wire::auth::StreamSeal;
use crate::wire::frame::{Decoder, Frame, Item};
use ethnum::I256;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// Most bytes of AWS's frames taken at a time.
const READ_BYTES: usize = 4096;

/// Most ranges asked for, and not wanted after all.
const MAX_ASKED: usize = 2 * MAX_BACKENDS * MAX_ATTEMPTS as usize;

/// What a client is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The reduction's name, in upper case.
    pub function: String,
    /// How many numbers there are.
    pub count: u64,
    /// The dataset that they are, where the backends have them.
    pub dataset: Option<dataset::Id>,
    /// The shared key, where traffic is to be sealed.
    pub key: Option<[u8; 32]>,
    /// How long AWS may be silent.
    pub silence: Duration,
}

/// The client machine, for one job.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    seal: Option<StreamSeal>,
    decoder: Decoder,
    conn: Option<(Conn, SocketAddr)>,
    stage: Stage,
    /// Ranges asked for, the first of which is being sent.
    asked: VecDeque<Range<u64>>,
    asked_ever: usize,
    /// The next number of the range that is being sent.
    next: u64,
    sent: Sent,
    bytes: u64,
    value: Option<I256>,
    began: Time,
    heard: Time,
    out: VecDeque<Out>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// Waiting for the sealed handshake's second message.
    Shaking,
    /// HELLO is on its way to the kernel.
    Greeting,
    Sending,
    /// All numbers have gone once.
    Waiting,
    Ended,
}

/// Numbers that were sent, each counted once however often it is asked for: ranges that do not touch, by their
/// beginnings.
#[derive(Debug, Default)]
struct Sent(BTreeMap<u64, u64>);

impl Sent {
    fn add(&mut self, rows: Range<u64>) {
        let Range { mut start, mut end } = rows;
        while let Some((&from, &to)) = self.0.range(..=end).next_back()
            && to >= start
        {
            self.0.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.0.insert(start, end);
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|(from, to)| to - from).sum()
    }
}

#[derive(Debug)]
enum Out {
    Stream(Conn, Vec<u8>),
    Close(Conn),
    Read(Range<u64>),
    Unread(Range<u64>),
    Event(Event),
}

impl Client {
    /// A client whose connection is being made.
    pub fn new(now: Time, settings: Settings, mut rng: Rng) -> Client {
        let seal = settings.key.as_ref().map(|key| StreamSeal::initiator(key, &mut rng));
        Client {
            settings,
            seal,
            decoder: Decoder::default(),
            conn: None,
            stage: Stage::Connecting,
            asked: VecDeque::new(),
            asked_ever: 0,
            next: 0,
            sent: Sent::default(),
            bytes: 0,
            value: None,
            began: now,
            heard: now,
            out: VecDeque::new(),
        }
    }

    fn on_opened(&mut self, now: Time, conn: Conn, peer: SocketAddr, local: SocketAddr) {
        self.conn = Some((conn, peer));
        self.heard = now;
        let (local, peer) = (local.to_string(), peer.to_string());
        self.out.push_back(Out::Event(Event::Log(Record::Connected { local, peer })));
        match &mut self.seal {
            None => self.greet(conn),
            Some(seal) => {
                self.out.push_back(Out::Stream(conn, seal.take_handshake()));
                self.stage = Stage::Shaking;
            }
        }
    }

    fn greet(&mut self, conn: Conn) {
        self.stage = Stage::Greeting;
        let (function, count) = (self.settings.function.clone(), self.settings.count);
        let hello = match self.settings.dataset {
            None => Frame::Hello { function, count },
            Some(dataset) => Frame::Dataset { function, count, dataset },
        };
        self.send(conn, &hello);
    }

    fn on_stream(&mut self, now: Time, conn: Conn, bytes: &[u8]) {
        self.heard = now;
        let mut opened = Vec::new();
        let mut input = bytes;
        if let Some(seal) = &mut self.seal {
            if seal.open(bytes, &mut opened).is_err() {
                return self.fail("AWS does not hold the same key (`key_file`)".to_owned());
            }
            input = &opened;
            if self.stage == Stage::Shaking && seal.is_ready() {
                self.greet(conn);
            }
        }
        loop {
            match self.decoder.next(&mut input) {
                Ok(None) => return,
                Ok(Some(Item::Frame(frame))) => self.on_frame(frame),
                Ok(Some(other)) => return self.fail(format!("AWS sends numbers: {other:?}")),
                Err(defect) => return self.fail(format!("what answers is no {}: {defect}", self.aws())),
            }
            if self.stage == Stage::Ended {
                return;
            }
        }
    }

    fn on_frame(&mut self, frame: Frame) {
        match frame {
            Frame::Send { first, end } => self.on_asked(first..end),
            Frame::Stop { first, end } => self.on_stop(first..end),
            Frame::Result { value } => self.on_result(value),
            Frame::Error { reason } => self.fail(format!("AWS reports: {reason}")),
            Frame::Notice { text } => self.out.push_back(Out::Event(Event::Stderr(text))),
            Frame::Alive => {}
            other => self.fail(format!("AWS sends {other:?}, which is not its to send")),
        }
    }

    fn on_asked(&mut self, rows: Range<u64>) {
        self.asked_ever += 1;
        if self.settings.dataset.is_some() {
            return self
                .fail("AWS asks for the numbers of a dataset, which the backends have".to_owned());
        }
        let in_range = rows.start < rows.end && rows.end <= self.settings.count;
        if !in_range || self.asked_ever > MAX_ASKED {
            let count = self.settings.count;
            return self.fail(format!("AWS asks for numbers {rows:?} of {count}, too far or too often"));
        }
        if self.asked.is_empty() {
            self.next = rows.start;
        }
        self.asked.push_back(rows.clone());
        self.out.push_back(Out::Read(rows));
    }

    /// What is left of a range is not wanted: AWS is told where the numbers of it end.
    fn on_stop(&mut self, rows: Range<u64>) {
        self.asked_ever += 1;
        if self.asked_ever > MAX_ASKED {
            return self.fail("AWS asks for numbers and wants them no longer, too often".to_owned());
        }
        let Some((conn, _)) = self.conn else { return };
        if let Some(place) = self.asked.iter().position(|asked| *asked == rows) {
            self.asked.remove(place);
            if let Some(next) = self.asked.front().filter(|_| place == 0) {
                self.next = next.start;
            }
            self.out.push_back(Out::Unread(rows.clone()));
        }
        self.send(conn, &Frame::Stop { first: rows.start, end: rows.end });
    }

    fn on_result(&mut self, value: I256) {
        if !self.has_sent_all() {
            return self.fail("AWS answers before it has all numbers".to_owned());
        }
        self.value = Some(value);
        self.settle_result();
    }

    /// The driver has read the next numbers.
    fn on_block(&mut self, conn: Conn, block: Block) {
        let Some(rows) = self.asked.front_mut() else { return };
        debug_assert_eq!(block.first, self.next, "the source skips numbers");
        self.next += block.count;
        self.sent.add(block.first..self.next);
        self.bytes += block.frames.len() as u64;
        self.out.push_back(Out::Event(Event::Progress { numbers: block.count }));
        if self.next == rows.end {
            self.asked.pop_front();
            if let Some(next) = self.asked.front() {
                self.next = next.start;
            }
        }
        self.stream(conn, block.frames);
    }

    fn on_drained(&mut self, now: Time) {
        match self.stage {
            Stage::Greeting => {
                self.stage = Stage::Sending;
                let function = self.settings.function.clone();
                self.out.push_back(Out::Event(Event::Screen(Line::ClientSentFunction { function })));
                self.began = now;
            }
            Stage::Sending => {}
            _ => return,
        }
        if self.has_sent_all() {
            self.stage = Stage::Waiting;
            let (count, bytes) = (self.settings.count, self.bytes);
            let ms = now.since(self.began).as_secs_f64() * 1e3;
            self.out.push_back(Out::Event(Event::Log(Record::NumbersSent {
                numbers: count,
                bytes,
                ms,
            })));
            self.out.push_back(Out::Event(Event::Screen(Line::ClientSentNumbers { count })));
        }
        self.settle_result();
    }

    /// The name of a dataset is as good as its numbers.
    fn has_sent_all(&self) -> bool {
        self.settings.dataset.is_some() || self.sent.count() >= self.settings.count
    }

    /// Shows the answer once all that came before it has been shown.
    fn settle_result(&mut self) {
        if let (Stage::Waiting, Some(value)) = (self.stage, self.value) {
            let function = self.settings.function.clone();
            self.out.push_back(Out::Event(Event::Screen(Line::ClientReceived { function, value })));
            self.end(Ok(value));
        }
    }

    fn send(&mut self, conn: Conn, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.stream(conn, bytes);
    }

    fn stream(&mut self, conn: Conn, plain: Vec<u8>) {
        let bytes = match &mut self.seal {
            None => plain,
            Some(seal) if seal.is_ready() => {
                let mut sealed = Vec::with_capacity(plain.len() + 1024);
                seal.seal(&plain, &mut sealed);
                sealed
            }
            Some(_) => return,
        };
        self.out.push_back(Out::Stream(conn, bytes));
    }

    fn fail(&mut self, reason: String) {
        self.end(Err(reason));
    }

    fn end(&mut self, outcome: Result<I256, String>) {
        if self.stage == Stage::Ended {
            return;
        }
        self.stage = Stage::Ended;
        if let Some((conn, _)) = self.conn {
            self.out.push_back(Out::Close(conn));
        }
        self.out.push_back(Out::Event(Event::Finished(outcome)));
    }

    /// How AWS is called in sentences.
    fn aws(&self) -> String {
        self.conn.map_or("AWS".to_owned(), |(_, peer)| format!("AWS at {peer}"))
    }

    fn silent_at(&self) -> Option<Time> {
        // While it sends, the kernel's window says whether AWS is there; AWS gives signs of life anyway.
        (self.stage != Stage::Ended).then(|| self.heard + self.settings.silence)
    }
}

impl Machine for Client {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        if self.stage == Stage::Ended {
            return;
        }
        match input {
            Input::Opened { conn, peer, local } => self.on_opened(now, conn, peer, local),
            Input::Stream { conn, bytes } => self.on_stream(now, conn, bytes),
            Input::Drained { .. } => self.on_drained(now),
            Input::Closed { error, .. } => {
                let why = error.map(|e| format!(" ({e})")).unwrap_or_default();
                // A stranger to the key is shut out without a word that it could read.
                let hint = match self.stage {
                    Stage::Shaking => ": it has another key, or none (`key_file`)",
                    Stage::Greeting | Stage::Sending if self.asked_ever == 0 => {
                        ": does it want a key (`key_file`)?"
                    }
                    _ => "",
                };
                self.fail(format!("{} closed the connection before the answer{why}{hint}", self.aws()));
            }
            Input::Block(Ok(block)) => {
                if let Some((conn, _)) = self.conn {
                    self.on_block(conn, block);
                }
            }
            Input::Block(Err(reason)) => {
                if let Some((conn, _)) = self.conn {
                    self.send(conn, &Frame::Abort { reason: reason.clone() });
                }
                self.fail(reason);
            }
            Input::Datagram { .. } | Input::Mapped { .. } | Input::Kept(_) => {
                debug_assert!(false, "a client has no UDP socket, maps nothing and keeps nothing");
            }
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.silent_at().is_some_and(|at| at <= now) {
            let seconds = self.settings.silence.as_secs_f32();
            self.fail(format!("{} has said nothing for {seconds} s", self.aws()));
        }
    }

    fn poll_output(&mut self, _now: Time) -> Output<'_> {
        match self.out.pop_front() {
            Some(Out::Stream(conn, bytes)) => Output::Stream { conn, bytes },
            Some(Out::Close(conn)) => Output::Close { conn },
            Some(Out::Read(rows)) => Output::Read { rows },
            Some(Out::Unread(rows)) => Output::Unread { rows },
            Some(Out::Event(event)) => Output::Event(event),
            None => Output::Wake(self.silent_at()),
        }
    }

    fn room(&self, _conn: Conn) -> usize {
        if self.stage == Stage::Ended { 0 } else { READ_BYTES }
    }

    fn jobs(&self) -> usize {
        usize::from(self.stage != Stage::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sent_twice_counts_once(ranges in proptest::collection::vec((0u64..60, 1u64..20), 0..20)) {
            let (mut sent, mut rows) = (Sent::default(), std::collections::BTreeSet::new());
            for (from, count) in ranges {
                sent.add(from..from + count);
                rows.extend(from..from + count);
                prop_assert_eq!(sent.count(), rows.len() as u64);
            }
            // None touch.
            let ranges: Vec<_> = sent.0.iter().collect();
            prop_assert!(ranges.windows(2).all(|two| two[0].1 < two[1].0));
        }
    }
}
