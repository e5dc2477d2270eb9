//! One client's job: take its numbers, pass them on, put the partial results together, answer.
//!
//! The client is asked for a shard's numbers when that shard's backend has accepted it, so numbers
//! always have somewhere to go, and a backend that died is served by asking again. A client whose numbers are
//! a dataset is asked for nothing. What is left out: routing datagrams and driving several jobs (`aws`), one
//! backend's session (`shard`), who takes over from a backend that has failed (`takeover`).

use super::request::Request;
use super::shard::{Shard, Terms, Told};
use super::takeover::Standing;
use super::{Context, Out, Settings};
use crate::dataset;
use crate::event::{Event, Record, job_name};
use crate::limits::{ALIVE_INTERVAL, MAX_JOBS};
use crate::proto::rudp::congestion::Path;
use crate::proto::{Conn, seal};
use crate::reduction::Reduction;
use crate::rng::Rng;
use crate::screen::Line;
use crate::time::Time;
use crate::wire::auth::StreamSeal;
use crate::wire::frame::{Decoder, Frame, Item};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// Most bytes of a connection taken at a time while no numbers are expected.
const CONTROL_ROOM_BYTES: usize = 2048;
/// The same while numbers are taken.
const READ_BYTES: usize = 256 << 10;

/// The DATA frame that is arriving.
#[derive(Debug)]
struct Data {
    width: u8,
    numbers: u64,
    bytes_left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client has connected and owes its HELLO.
    Greeting,
    /// Numbers and partial results are on their way.
    Running,
    /// The answer is on its way to the client; the backends are let go.
    Answered,
    /// The connection is done with.
    Left,
}

#[derive(Debug)]
pub(super) struct Job {
    pub conn: Conn,
    pub peer: SocketAddr,
    pub id: u128,
    stage: Stage,
    seal: Option<StreamSeal>,
    decoder: Decoder,
    /// Bytes that arrived but found no room yet, from `inbox_at` on; meanwhile no more are read.
    inbox: Vec<u8>,
    inbox_at: usize,
    data: Data,
    function: Option<Arc<dyn Reduction>>,
    count: u64,
    pub shards: Vec<Shard>,
    /// How each backend has done, in the order of the configuration.
    pub standings: Vec<Standing>,
    pub(super) requests: VecDeque<Request>,
    /// Ranges that came whole although they were not wanted any more, of which the client will say so.
    pub(super) late: Vec<(u64, u64)>,
    shown: Shown,
    /// Since when the client owes a frame.
    owed_since: Option<Time>,
    alive_at: Time,
    began: Time,
}

/// Which of the job's lines have been shown; they always come in the order of table 7.
#[derive(Debug, Default)]
struct Shown {
    received: bool,
    sent: usize,
    results: usize,
}

impl Job {
    pub fn new(now: Time, conn: Conn, peer: SocketAddr, settings: &Settings, rng: &mut Rng) -> Job {
        Job {
            conn,
            peer,
            id: rng.u128(),
            stage: Stage::Greeting,
            seal: settings.key.as_ref().map(|key| StreamSeal::responder(key, rng)),
            decoder: Decoder::default(),
            inbox: Vec::new(),
            inbox_at: 0,
            data: Data { width: 8, numbers: 0, bytes_left: 0 },
            function: None,
            count: 0,
            shards: Vec::new(),
            standings: Vec::new(),
            requests: VecDeque::new(),
            late: Vec::new(),
            shown: Shown::default(),
            owed_since: Some(now),
            alive_at: now + ALIVE_INTERVAL,
            began: now,
        }
    }

    /// Takes in bytes of the connection. An error ends the job; it says what the client did wrong.
    pub fn on_stream(&mut self, now: Time, bytes: &[u8], cx: &mut Context<'_>) -> Result<(), String> {
        match &mut self.seal {
            None if self.inbox.is_empty() => {
                let taken = self.process(now, bytes, cx)?;
                self.inbox.extend_from_slice(&bytes[taken..]);
                return Ok(());
            }
            None => self.inbox.extend_from_slice(bytes),
            Some(seal) => {
                let opened = seal.open(bytes, &mut self.inbox);
                opened.map_err(|_| "the client does not hold the same key (`key_file`)".to_owned())?;
                let reply = seal.take_handshake();
                if !reply.is_empty() {
                    cx.out.push_back(Out::Stream { conn: self.conn, bytes: reply });
                }
            }
        }
        self.resume(now, cx)
    }

    /// Goes on with bytes that found no room before.
    pub fn resume(&mut self, now: Time, cx: &mut Context<'_>) -> Result<(), String> {
        let mut inbox = std::mem::take(&mut self.inbox);
        self.inbox_at += self.process(now, &inbox[self.inbox_at..], cx)?;
        if self.inbox_at == inbox.len() {
            inbox.clear();
            self.inbox_at = 0;
        }
        self.inbox = inbox;
        Ok(())
    }

    /// Decodes `input` as far as there is room for its numbers; returns how many bytes it took.
    fn process(&mut self, now: Time, input: &[u8], cx: &mut Context<'_>) -> Result<usize, String> {
        let mut taken = 0;
        loop {
            let mut most = input.len() - taken;
            if self.data.bytes_left > 0 {
                most = most.min(self.room_for_numbers());
            }
            let mut portion = &input[taken..taken + most];
            let item = self.decoder.next(&mut portion).map_err(|e| format!("the client sent {e}"))?;
            taken += most - portion.len();
            match item {
                None => break,
                Some(Item::Frame(frame)) => self.on_frame(now, frame, cx)?,
                Some(Item::Data { first, count, width }) => self.on_data(first, count, width)?,
                Some(Item::Numbers(bytes)) => self.on_numbers(bytes),
            }
            if self.decoder.is_idle() {
                self.owed_since = None; // a whole frame: the clock begins anew
            }
        }
        self.settle(now, taken == input.len(), cx)?;
        Ok(taken)
    }

    fn on_frame(&mut self, now: Time, frame: Frame, cx: &mut Context<'_>) -> Result<(), String> {
        match frame {
            Frame::Hello { function, count } if self.stage == Stage::Greeting => {
                self.on_hello(now, function, count, None, cx)
            }
            Frame::Dataset { function, count, dataset } if self.stage == Stage::Greeting => {
                self.on_hello(now, function, count, Some(dataset), cx)
            }
            Frame::Stop { first, end } => self.on_stopped(first, end),
            Frame::Abort { reason } => Err(format!("the client gave up: {reason}")),
            other => Err(format!("the client sent {other:?}, which is not its to send now")),
        }
    }

    fn on_hello(
        &mut self,
        now: Time,
        function: String,
        count: u64,
        dataset: Option<dataset::Id>,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let settings = cx.settings;
        if cx.running >= MAX_JOBS {
            return Err(format!("AWS is busy with {MAX_JOBS} jobs; try again later"));
        }
        let reduction = settings.reductions.get(&function).ok_or_else(|| {
            let known = settings.reductions.names().collect::<Vec<_>>().join(", ");
            format!("the client asks for the reduction {function}; known are {known}")
        })?;
        self.function = Some(reduction);
        self.count = count;
        self.stage = Stage::Running;
        let terms = Terms {
            job: self.id,
            function: function.clone(),
            dataset,
            path: if settings.loopback { Path::Loopback } else { Path::Network },
            datagram: settings.datagram_bytes - seal::overhead(settings.key.as_ref()),
            restart_wait: settings.restart_wait,
            key: settings.key,
        };
        let ranges = crate::shard::shards(count, settings.backends.len());
        for (i, (range, peer)) in (0u32..).zip(ranges.into_iter().zip(&settings.backends)) {
            let backend = (peer.name.clone(), peer.addr);
            self.shards.push(Shard::open(now, terms.clone(), i, backend, range, cx.rng));
        }
        self.standings = settings.backends.iter().map(|_| Standing::default()).collect();
        let (job, peer) = (job_name(self.id), self.peer.to_string());
        cx.log(Record::JobOpened { job, peer, function, numbers: count });
        Ok(())
    }

    /// A DATA frame begins.
    fn on_data(&mut self, first: u64, count: u64, width: u8) -> Result<(), String> {
        let Some(request) = self.requests.front() else {
            return Err("the client sends numbers that nobody asked for: more than it announced".into());
        };
        if first != request.next || count > request.end - request.next {
            let (last, next, end) = (first.saturating_add(count), request.next, request.end);
            return Err(format!("the client sends numbers {first}..{last}; {next}..{end} are due"));
        }
        let shard = &mut self.shards[request.shard];
        if shard.wants(request.attempt) {
            shard.passes(first + count - shard.range.start);
        }
        self.data = Data { width, numbers: count, bytes_left: count * u64::from(width) };
        Ok(())
    }

    /// Numbers of that frame, no more than [`Job::room_for_numbers`] said.
    fn on_numbers(&mut self, bytes: &[u8]) {
        let Some(request) = self.requests.front_mut() else { return };
        let shard = &mut self.shards[request.shard];
        let wanted = shard.wants(request.attempt);
        if wanted {
            shard.push(self.data.width, bytes);
        }
        self.data.bytes_left -= bytes.len() as u64;
        if self.data.bytes_left > 0 {
            return;
        }
        request.next += self.data.numbers;
        if request.is_whole() {
            shard.received = true;
            if wanted {
                shard.finish();
            }
            self.whole();
        }
    }

    /// Bytes that the numbers' shard takes now; those of a lost attempt are thrown away without limit.
    fn room_for_numbers(&self) -> usize {
        match self.requests.front() {
            Some(request) if self.shards[request.shard].wants(request.attempt) => {
                self.shards[request.shard].room(self.data.width)
            }
            _ => usize::MAX,
        }
    }

    /// Whether numbers have come for a shard that has no memory for them yet.
    pub fn wants_ring(&self) -> bool {
        let shard = self.requests.front().map(|request| &self.shards[request.shard]);
        self.data.bytes_left > 0 && shard.is_some_and(Shard::wants_ring)
    }

    /// Gives that shard at most `bytes`, and goes on.
    pub fn provide(&mut self, now: Time, bytes: usize, cx: &mut Context<'_>) -> Result<(), String> {
        if let Some(request) = self.requests.front() {
            self.shards[request.shard].provide(bytes);
        }
        self.resume(now, cx)
    }

    /// Bytes of memory that the shards hold for numbers on their way.
    pub fn held_bytes(&self) -> usize {
        self.shards.iter().map(Shard::held_bytes).sum()
    }

    /// Whether the client has yet to say what it wants.
    pub fn is_greeting(&self) -> bool {
        self.stage == Stage::Greeting
    }

    /// How many bytes of the connection to read.
    pub fn room(&self) -> usize {
        let first = self.requests.front().map(|request| &self.shards[request.shard]);
        match self.stage {
            _ if !self.inbox.is_empty() => 0,
            Stage::Running if first.is_none_or(Shard::wants_ring) => CONTROL_ROOM_BYTES,
            Stage::Running => match self.room_for_numbers() {
                0 => 0,
                room => room.saturating_add(CONTROL_ROOM_BYTES).min(READ_BYTES),
            },
            Stage::Greeting => CONTROL_ROOM_BYTES,
            Stage::Answered | Stage::Left => 0,
        }
    }

    /// Takes in that time has passed.
    pub fn on_timeout(&mut self, now: Time, cx: &mut Context<'_>) -> Result<(), String> {
        for shard in &mut self.shards {
            shard.on_timeout(now, cx.rng);
        }
        let stall = cx.settings.client_stall;
        if self.owed_since.is_some_and(|since| now.since(since) >= stall) {
            return Err(format!("the client has not completed a frame for {} s", stall.as_secs_f32()));
        }
        if self.stage == Stage::Running && now >= self.alive_at {
            self.alive_at = now + ALIVE_INTERVAL;
            self.send(&Frame::Alive, cx);
        }
        self.resume(now, cx)
    }

    /// When [`Job::on_timeout`] is next wanted.
    pub fn next_timeout(&self, settings: &Settings) -> Option<Time> {
        let stall = self.owed_since.map(|since| since + settings.client_stall);
        let alive = (self.stage == Stage::Running).then_some(self.alive_at);
        self.shards.iter().map(Shard::next_timeout).chain([stall, alive]).flatten().min()
    }

    /// All bytes for the client are with the kernel.
    pub fn on_drained(&mut self, now: Time, cx: &mut Context<'_>) {
        if self.stage == Stage::Answered {
            self.stage = Stage::Left;
            cx.show(Line::AwsAnswered);
            cx.out.push_back(Out::Close { conn: self.conn });
            let ms = now.since(self.began).as_secs_f64() * 1e3;
            cx.log(Record::JobEnded { job: job_name(self.id), outcome: "answered".into(), ms });
        }
    }

    /// The client has gone. Before its answer, that ends the job.
    pub fn on_closed(&mut self, error: Option<String>) -> Result<(), String> {
        let why = error.map(|e| format!(": {e}")).unwrap_or_default();
        match std::mem::replace(&mut self.stage, Stage::Left) {
            Stage::Left => Ok(()),
            Stage::Greeting => Err(format!("the client left without asking for anything{why}")),
            Stage::Running => Err(format!("the client left before its answer{why}")),
            Stage::Answered => Err(format!("the client left before it took its answer{why}")),
        }
    }

    /// Ends the job: tells the client (if it is there), the backends and whoever looks at AWS.
    pub fn fail(&mut self, now: Time, reason: &str, cx: &mut Context<'_>) {
        if self.stage != Stage::Left {
            self.send(&Frame::Error { reason: reason.to_owned() }, cx);
            cx.out.push_back(Out::Close { conn: self.conn });
        }
        for shard in &mut self.shards {
            if let Some(bytes) = shard.abort(reason) {
                cx.out.push_back(Out::Datagram { to: shard.addr, bytes });
            }
        }
        cx.out.push_back(Out::Event(Event::Stderr(format!("client {}: dropped: {reason}", self.peer))));
        let ms = now.since(self.began).as_secs_f64() * 1e3;
        cx.log(Record::JobEnded { job: job_name(self.id), outcome: reason.to_owned(), ms });
    }

    /// True when nothing is left to do for anybody.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Left && self.shards.iter().all(Shard::is_closed)
    }

    /// Draws the consequences: of what the shards tell, for the screen, the answer and the clock.
    fn settle(&mut self, now: Time, caught_up: bool, cx: &mut Context<'_>) -> Result<(), String> {
        for i in 0..self.shards.len() {
            while let Some(told) = self.shards[i].poll_told() {
                self.on_told(now, i, told, cx)?;
            }
        }
        if self.stage == Stage::Running {
            self.show_progress(cx);
            self.answer(cx);
        }
        let owes = caught_up
            && match self.stage {
                Stage::Greeting => true,
                Stage::Running => !self.requests.is_empty() && self.room() > 0,
                Stage::Answered | Stage::Left => false,
            };
        self.owed_since = if owes { self.owed_since.or(Some(now)) } else { None };
        Ok(())
    }

    fn on_told(&mut self, now: Time, i: usize, told: Told, cx: &mut Context<'_>) -> Result<(), String> {
        match told {
            Told::Accepted => {
                let shard = &self.shards[i];
                let (next, end) = (shard.range.start + shard.from, shard.range.end);
                self.requests.push_back(Request {
                    shard: i,
                    attempt: shard.attempt,
                    first: next,
                    next,
                    end,
                    stops: false,
                });
                self.send(&Frame::Send { first: next, end }, cx);
            }
            Told::Delivered => self.shards[i].delivered = true,
            Told::Waiting(text) => self.tell(text, cx),
            Told::Failed(text) => return Err(text),
            Told::Lost => self.stop(i, cx),
            Told::LostRows(failure) => return self.on_lost(now, i, failure, cx),
            Told::Record(record) => cx.log(record),
        }
        Ok(())
    }

    /// A sentence for whoever looks at AWS and at the client.
    pub fn tell(&mut self, text: String, cx: &mut Context<'_>) {
        let line = format!("client {}: {text}", self.peer);
        cx.out.push_back(Out::Event(Event::Stderr(line)));
        self.send(&Frame::Notice { text }, cx);
    }

    /// Shows what has become true, in the order of table 7 whatever the order of events.
    fn show_progress(&mut self, cx: &mut Context<'_>) {
        let Some(function) = &self.function else { return };
        if !self.shown.received {
            if !self.shards.iter().all(|shard| shard.received) {
                return;
            }
            self.shown.received = true;
            cx.show(Line::AwsReceived { count: self.count, port: cx.settings.tcp_port });
        }
        while let Some(shard) = self.shards.get(self.shown.sent).filter(|shard| shard.delivered) {
            self.shown.sent += 1;
            let count = shard.range.end - shard.range.start;
            let (name, transcript) = (shard.name.clone(), cx.settings.transcript);
            cx.show(Line::AwsSent { count, name, transcript });
        }
        if self.shown.sent < self.shards.len() {
            return;
        }
        while let Some(shard) = self.shards.get(self.shown.results) {
            let Some(value) = shard.partial else { break };
            self.shown.results += 1;
            let (function, name) = (function.name().to_owned(), shard.name.clone());
            cx.show(Line::AwsResult { function, name, port: cx.settings.udp_port, value });
        }
    }

    /// Reduces and answers when every partial result has been shown.
    fn answer(&mut self, cx: &mut Context<'_>) {
        let Some(function) = &self.function else { return };
        if self.shown.results < self.shards.len() {
            return;
        }
        let partials = self.shards.iter().filter_map(|shard| shard.partial);
        let value = partials.fold(function.identity(), |a, b| function.reduce(a, b));
        cx.show(Line::AwsFinished { function: function.name().to_owned(), value });
        self.stage = Stage::Answered;
        self.send(&Frame::Result { value }, cx);
    }

    pub(super) fn send(&mut self, frame: &Frame, cx: &mut Context<'_>) {
        let mut plain = Vec::new();
        frame.encode(&mut plain);
        let bytes = match &mut self.seal {
            None => plain,
            Some(seal) if seal.is_ready() => {
                let mut sealed = Vec::new();
                seal.seal(&plain, &mut sealed);
                sealed
            }
            Some(_) => return, // a stranger without the key: there is nothing that it could read
        };
        cx.out.push_back(Out::Stream { conn: self.conn, bytes });
    }
}
