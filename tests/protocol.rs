//! PROTOCOL.md is what travels: every example drawn there is decoded, compared and encoded again.
//!
//! An example is a fenced block whose language is `frame`, `datagram`, `envelope` or `record`. Its first
//! line is the meaning, as `Debug` shows it; in the others, bytes in hexadecimal come first and two
//! blanks end them. Envelopes and records follow one another in the page as on the line, since each
//! depends on what was said before.

use offload::rng::Rng;
use offload::wire::auth::{DatagramInitiator, DatagramResponder, Kind, StreamSeal, peek};
use offload::wire::datagram::{self, Body, Header};
use offload::wire::frame::{self, Decoder, Frame, Item};
use std::collections::BTreeSet;

/// The key that the page names.
fn key() -> [u8; 32] {
    std::array::from_fn(|i| i as u8)
}

struct Example {
    line: usize,
    language: String,
    meaning: String,
    bytes: Vec<u8>,
}

impl Example {
    #[track_caller]
    fn check(&self, meaning: &str, again: &[u8]) {
        let line = self.line;
        assert_eq!(meaning, self.meaning, "PROTOCOL.md:{line}: the bytes mean something else");
        assert_eq!(again, self.bytes, "PROTOCOL.md:{line}: encoded again, the bytes differ");
    }
}

fn bytes_of(row: &str) -> Vec<u8> {
    let hexadecimal = row.split("  ").next().unwrap_or_default();
    hexadecimal.split(' ').map(|b| u8::from_str_radix(b, 16).expect(row)).collect()
}

fn examples_in(page: &str) -> Vec<Example> {
    let mut lines = page.lines().zip(1..);
    let mut examples = Vec::new();
    while let Some((open, line)) = lines.next() {
        let Some(language) = open.strip_prefix("```") else { continue };
        let block: Vec<&str> =
            lines.by_ref().map(|(row, _)| row).take_while(|row| *row != "```").collect();
        if language != "text" {
            let bytes = block[1..].iter().flat_map(|row| bytes_of(row)).collect();
            let (language, meaning) = (language.to_owned(), block[0].to_owned());
            examples.push(Example { line, language, meaning, bytes });
        }
    }
    examples
}

fn examples(language: &str) -> Vec<Example> {
    let page = include_str!("../PROTOCOL.md");
    let (these, _) = examples_in(page).into_iter().partition(|example| example.language == language);
    these
}

/// A kind that is missing here does not compile; one that is missing in the page is found by the tests.
fn frame_name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello { .. } => "HELLO",
        Frame::Send { .. } => "SEND",
        Frame::Result { .. } => "RESULT",
        Frame::Error { .. } => "ERROR",
        Frame::Notice { .. } => "NOTICE",
        Frame::Alive => "ALIVE",
        Frame::Abort { .. } => "ABORT",
        Frame::Dataset { .. } => "DATASET",
        Frame::Stop { .. } => "STOP",
    }
}

fn body_name(body: &Body<'_>) -> &'static str {
    match body {
        Body::Open { .. } => "OPEN",
        Body::Accept { .. } => "ACCEPT",
        Body::Data { .. } => "DATA",
        Body::Ack(_) => "ACK",
        Body::Ping { .. } => "PING",
        Body::Result { .. } => "RESULT",
        Body::Done => "DONE",
        Body::Closed => "CLOSED",
        Body::Gone => "GONE",
        Body::Abort { .. } => "ABORT",
        Body::OpenRows { .. } => "OPEN ROWS",
    }
}

fn numbers_of(width: u8, bytes: &[u8]) -> Vec<i64> {
    let mut numbers = Vec::new();
    frame::widen(width, bytes, &mut numbers);
    numbers
}

/// Name, meaning and bytes of a frame, by way of the library.
fn read_frame(bytes: &[u8]) -> (&'static str, String, Vec<u8>) {
    let (mut decoder, mut input, mut again) = (Decoder::default(), bytes, Vec::new());
    let item = decoder.next(&mut input).expect("a sound frame").expect("a whole frame");
    let (name, meaning) = match item {
        Item::Frame(frame) => {
            frame.encode(&mut again);
            (frame_name(&frame), format!("{frame:?}"))
        }
        Item::Data { first, width, .. } => {
            let Ok(Some(Item::Numbers(raw))) = decoder.next(&mut input) else { panic!("no numbers") };
            let numbers = numbers_of(width, raw);
            frame::encode_data(first, &numbers, &mut again);
            ("DATA", format!("{item:?} {numbers:?}"))
        }
        Item::Numbers(_) => panic!("numbers before a frame"),
    };
    assert!(input.is_empty() && decoder.is_idle(), "more than one frame");
    (name, meaning, again)
}

/// The same of a datagram.
fn read_datagram(bytes: &[u8]) -> (&'static str, String, Vec<u8>) {
    let (header, body) = datagram::decode(bytes).expect("a sound datagram");
    let mut again = Vec::new();
    datagram::encode(header, &body, &mut again);
    let said = match &body {
        Body::Data { width, numbers, .. } => format!("{body:?}")
            .replace(&format!("{numbers:?}"), &format!("{:?}", numbers_of(*width, numbers))),
        other => format!("{other:?}"),
    };
    let Header { job, session } = header;
    (body_name(&body), format!("job {job:032x}, session {session:016x}: {said}"), again)
}

fn set<const N: usize>(names: [&'static str; N]) -> BTreeSet<&'static str> {
    BTreeSet::from(names)
}

#[test]
fn every_frame_is_drawn_and_means_what_is_said() {
    let mut drawn = BTreeSet::new();
    for example in examples("frame") {
        let (name, meaning, again) = read_frame(&example.bytes);
        example.check(&meaning, &again);
        drawn.insert(name);
    }
    let all =
        ["HELLO", "SEND", "DATA", "RESULT", "ERROR", "NOTICE", "ALIVE", "ABORT", "DATASET", "STOP"];
    assert_eq!(drawn, set(all));
}

#[test]
fn every_datagram_is_drawn_and_means_what_is_said() {
    let mut drawn = BTreeSet::new();
    for example in examples("datagram") {
        let (name, meaning, again) = read_datagram(&example.bytes);
        example.check(&meaning, &again);
        drawn.insert(name);
    }
    let all = [
        "OPEN",
        "ACCEPT",
        "DATA",
        "ACK",
        "PING",
        "RESULT",
        "DONE",
        "CLOSED",
        "GONE",
        "ABORT",
        "OPEN ROWS",
    ];
    assert_eq!(drawn, set(all));
}

#[test]
fn every_envelope_opens_to_what_is_said() {
    let drawn = examples("envelope");
    let [first, second, third] = &drawn[..] else { panic!("three envelopes, not {}", drawn.len()) };
    let (mut aws, mut backend) = (Rng::from_seed(1), Rng::from_seed(2));
    let (mut plain, mut again) = (Vec::new(), Vec::new());

    let envelope = peek(&first.bytes).expect("a sound envelope");
    assert_eq!(envelope.kind, Kind::Handshake1);
    let mut responder = DatagramResponder::new(&key(), &mut backend);
    let pending = responder.read_open(&envelope, &mut plain).expect("it opens");
    let mut initiator = DatagramInitiator::new(&key(), &mut aws, envelope.job, envelope.nonce);
    initiator.open_message(&plain, &mut again);
    first.check(&format!("Handshake1 {}", read_datagram(&plain).1), &again);

    let envelope = peek(&second.bytes).expect("a sound envelope");
    assert_eq!(envelope.kind, Kind::Handshake2);
    let mut at_aws = initiator.accept(&envelope, &mut plain).expect("it opens");
    let mut at_backend = pending.accept(&plain, &mut again);
    second.check(&format!("Handshake2 {}", read_datagram(&plain).1), &again);

    let envelope = peek(&third.bytes).expect("a sound envelope");
    assert_eq!(envelope.kind, Kind::Sealed);
    at_backend.open(&envelope, &mut plain).expect("it opens");
    at_aws.seal(&plain, &mut again);
    third.check(&format!("Sealed {}", read_datagram(&plain).1), &again);
}

#[test]
fn every_record_opens_to_what_is_said() {
    let drawn = examples("record");
    let [first, second, third] = &drawn[..] else { panic!("three records, not {}", drawn.len()) };
    let mut client = StreamSeal::initiator(&key(), &mut Rng::from_seed(3));
    let mut aws = StreamSeal::responder(&key(), &mut Rng::from_seed(4));
    let (mut plain, mut again) = (Vec::new(), Vec::new());

    aws.open(&first.bytes, &mut plain).expect("it opens");
    first.check("client: handshake", &client.take_handshake());
    client.open(&second.bytes, &mut plain).expect("it opens");
    second.check("AWS: handshake", &aws.take_handshake());
    assert!(plain.is_empty(), "a handshake carries nothing");
    aws.open(&third.bytes, &mut plain).expect("it opens");
    client.seal(&plain, &mut again);
    third.check(&format!("client: {}", read_frame(&plain).1), &again);
}

/// The table of timers, against the constants it names.
#[test]
fn the_waits_in_the_table_are_those_of_limits() {
    use offload::limits::*;
    let page = include_str!("../PROTOCOL.md");
    let rows = [
        ("first retransmission,", INITIAL_RTO),
        ("retransmission timeout", MIN_RTO),
        ("the same, doubling", MAX_RTO),
        ("an acknowledgement is kept back", MAX_ACK_DELAY),
        ("where one is missing", GAP_ACK_DELAY),
        ("AWS asks a quiet backend", PING_INTERVAL),
        ("AWS tells the client (NOTICE)", BACKEND_SILENCE),
        ("rows of a dataset go to another", BACKEND_SILENCE),
        ("a backend forgets a half-open session", BACKEND_SILENCE),
        ("a job waits as long", RESTART_WAIT),
        ("a backend is taken for dead", BACKEND_SILENCE),
        ("a job waits for a backend", RESTART_WAIT),
        ("AWS repeats DONE", LINGER),
        ("a backend forgets a job", JOB_SILENCE),
        ("a checkpointed backend waits for what was kept", KEPT_WAIT),
        ("it forgets what nobody asks for", JOB_SILENCE),
        ("a client may take over one frame", CLIENT_STALL),
        ("AWS says ALIVE", ALIVE_INTERVAL),
        ("a client gives AWS up", AWS_SILENCE),
    ];
    for (start, wait) in rows {
        let row = page.lines().find(|line| line.starts_with(&format!("| {start}")));
        let row = row.unwrap_or_else(|| panic!("PROTOCOL.md has no row \"{start}\""));
        let (micros, millis, seconds) = (wait.as_micros(), wait.as_millis(), wait.as_secs_f64());
        let as_said =
            [format!("| {micros} µs |"), format!("| {millis} ms |"), format!("| {seconds} s |")];
        assert!(as_said.iter().any(|said| row.ends_with(said)), "PROTOCOL.md: {row}\nis {wait:?}");
    }
}

#[test]
fn a_wrong_drawing_is_noticed() {
    let page = "```text\nnone\n```\n\n```frame\nAlive\n6f 66  be\n01\n```\n";
    let [example] = &examples_in(page)[..] else { panic!("one example") };
    assert_eq!((example.line, &example.bytes[..]), (5, &[0x6f, 0x66, 0x01][..]));
    let wrong = std::panic::catch_unwind(|| example.check("Alive", &[0x6f, 0x66, 0x02]));
    assert!(wrong.is_err(), "other bytes");
    let wrong = std::panic::catch_unwind(|| example.check("Hello", &[0x6f, 0x66, 0x01]));
    assert!(wrong.is_err(), "another meaning");
}
