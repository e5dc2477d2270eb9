use super::*;
use crate::limits::BLOCK_BYTES;
use crate::metainfo::File;
use proptest::prelude::*;
use std::time::Duration;

const PIECE: u32 = 2 * BLOCK_BYTES;
const TOTAL: u64 = 5 * PIECE as u64 + 100;

fn geometry() -> Geometry {
    Geometry::new(TOTAL, PIECE).unwrap()
}

fn content() -> Vec<u8> {
    (0..TOTAL).map(|at| (at * 7 % 251) as u8).collect()
}

fn bytes_of(block: Block) -> Vec<u8> {
    let start = geometry().span(block.piece).start as usize + block.begin as usize;
    content()[start..start + block.length as usize].to_vec()
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn sent(block: Block) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::encode_block_header(block, &mut bytes);
    bytes.extend(bytes_of(block));
    bytes
}

/// A socket that takes and gives so many bytes at a time, and would block after each.
struct Chunks {
    bytes: VecDeque<u8>,
    sizes: Vec<usize>,
    turn: usize,
}

impl Chunks {
    fn new(bytes: Vec<u8>, sizes: &[usize]) -> Chunks {
        Chunks { bytes: bytes.into(), sizes: sizes.to_vec(), turn: 0 }
    }

    fn next(&mut self) -> io::Result<usize> {
        self.turn += 1;
        let blocked = self.turn.is_multiple_of(2);
        if blocked {
            Err(ErrorKind::WouldBlock.into())
        } else {
            Ok(self.sizes[self.turn % self.sizes.len()])
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(buffer)])
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let most = self.next()?;
        let mut read = 0;
        for to in buffers.iter_mut().flat_map(|buffer| buffer.iter_mut()).take(most) {
            let Some(byte) = self.bytes.pop_front() else { break };
            *to = byte;
            read += 1;
        }
        Ok(read)
    }
}

impl Write for Chunks {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let taken = self.next()?.min(buffer.len());
        self.bytes.extend(&buffer[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Told {
    assembly: Assembly,
    expects: bool,
    messages: Vec<Message>,
    blocks: Vec<(Block, bool)>,
    /// Close the connection after so many.
    patience: usize,
}

impl Told {
    fn new() -> Told {
        let assembly = Assembly::new(geometry());
        Told { assembly, expects: true, messages: Vec::new(), blocks: Vec::new(), patience: usize::MAX }
    }

    fn goes_on(&self) -> bool {
        self.messages.len() + self.blocks.len() < self.patience
    }
}

impl Sink for Told {
    fn expects(&self, _: Block) -> bool {
        self.expects
    }

    fn assembly(&mut self) -> Option<&mut Assembly> {
        Some(&mut self.assembly)
    }

    fn on_message(&mut self, message: Message) -> bool {
        self.messages.push(message);
        self.goes_on()
    }

    fn on_block(&mut self, block: Block, kept: bool) -> bool {
        self.blocks.push((block, kept));
        self.goes_on()
    }
}

fn read_all(reader: &mut Reader, source: &mut Chunks, told: &mut Told) -> Lost {
    loop {
        if let Err(lost) = reader.read(source, told, 1 << 20) {
            return lost;
        }
        if !told.goes_on() {
            return Lost::Closed;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Message(Message),
    Block(Block),
}

fn step() -> impl Strategy<Value = Step> {
    let block = (0..5u32, 0..2u32).prop_map(|(piece, number)| geometry().block(piece, number));
    prop_oneof![
        any::<u32>().prop_map(|piece| Step::Message(Message::Have(piece))),
        (1usize..20_000).prop_map(|length| Step::Message(Message::Bitfield(vec![7; length]))),
        Just(Step::Message(Message::KeepAlive)),
        block.prop_map(Step::Block),
    ]
}

proptest! {
    #[test]
    fn bytes_arrive_as_they_were_sent_however_they_are_cut(
        steps in prop::collection::vec(step(), 0..12),
        sizes in prop::collection::vec(prop_oneof![1usize..40, 1000usize..70_000], 1..5),
    ) {
        let mut stream = Vec::new();
        for step in &steps {
            match step {
                Step::Message(message) => message.encode(&mut stream),
                Step::Block(block) => stream.extend(sent(*block)),
            }
        }
        let (mut told, mut reader) = (Told::new(), Reader::new(Conn(1)));
        let lost = read_all(&mut reader, &mut Chunks::new(stream, &sizes), &mut told);
        prop_assert!(matches!(lost, Lost::Closed), "{lost}");
        let (mut messages, mut blocks) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Message(message) => messages.push(message),
                Step::Block(block) => {
                    let again = blocks.iter().any(|(before, _)| *before == block);
                    blocks.push((block, !again));
                }
            }
        }
        prop_assert_eq!(&told.messages, &messages);
        prop_assert_eq!(&told.blocks, &blocks);
        for piece in 0..5 {
            if let Some(bytes) = told.assembly.take(piece) {
                let span = geometry().span(piece);
                prop_assert!(bytes == content()[span.start as usize..span.end as usize]);
            }
        }
        prop_assert!(reader.bytes.len() <= 64 << 10);
    }

    #[test]
    fn what_is_sent_is_what_was_queued(
        steps in prop::collection::vec(step(), 0..30),
        sizes in prop::collection::vec(1usize..70_000, 1..5),
    ) {
        let (place, storage) = storage();
        let (mut writer, mut expected) = (Writer::default(), Vec::new());
        for step in steps {
            match step {
                Step::Message(message) => {
                    message.encode(&mut expected);
                    writer.push_message(message).unwrap();
                }
                Step::Block(block) => {
                    expected.extend(sent(block));
                    writer.push_block(block);
                }
            }
        }
        let (mut wire, mut buffer) = (Chunks::new(Vec::new(), &sizes), Vec::new());
        let mut bucket = Bucket::new(None);
        loop {
            let storage = Some((&storage, geometry()));
            let mut supply = Supply { storage, bucket: &mut bucket, now: Time::ZERO, buffer: &mut buffer };
            match writer.write(&mut wire, &mut supply).unwrap() {
                Sent::All => break,
                Sent::Some => prop_assert!(!writer.is_empty()),
                Sent::Until(then) => prop_assert!(false, "{then:?}"),
            }
        }
        prop_assert!(writer.is_empty() && writer.waiting == 0);
        prop_assert!(wire.bytes == expected);
        drop(place);
    }
}

fn storage() -> (tempfile::TempDir, Storage) {
    let place = tempfile::tempdir().unwrap();
    let file = File { path: "f".into(), length: TOTAL, start: 0, padding: false };
    let storage = Storage::open(place.path(), vec![file]).unwrap();
    storage.write(0, &content()).unwrap();
    (place, storage)
}

#[test]
fn of_two_that_bring_one_block_the_first_whole_one_is_kept() {
    let (slow, fast) = (geometry().block(1, 0), geometry().block(1, 0));
    let (mut a, mut b, mut told) = (Reader::new(Conn(1)), Reader::new(Conn(2)), Told::new());
    let mut wrong = sent(slow);
    wrong[13..].fill(0);
    let rest = wrong.split_off(5000);
    let sizes = [1 << 20];
    let mut begun = Chunks::new(wrong, &sizes);
    let read: usize = (0..2).map(|_| a.read(&mut begun, &mut told, 1 << 20).unwrap()).sum();
    assert_eq!(read, 5000);
    let lost = read_all(&mut b, &mut Chunks::new(sent(fast), &sizes), &mut told);
    assert!(matches!(lost, Lost::Closed));
    let lost = read_all(&mut a, &mut Chunks::new(rest, &sizes), &mut told);
    assert!(matches!(lost, Lost::Closed));
    assert_eq!(told.blocks, [(fast, true), (slow, false)]);
    let other = geometry().block(1, 1);
    read_all(&mut Reader::new(Conn(3)), &mut Chunks::new(sent(other), &sizes), &mut told);
    assert_eq!(told.assembly.take(1).unwrap(), [bytes_of(fast), bytes_of(other)].concat());
}

#[test]
fn what_is_not_expected_or_not_finished_leaves_no_trace() {
    let block = geometry().block(2, 0);
    let mut told = Told::new();
    told.expects = false;
    let unasked = Block { piece: 9, begin: 3, length: 100_000 };
    let mut stream = Vec::new();
    message::encode_block_header(unasked, &mut stream);
    stream.extend(vec![1; 100_000]);
    stream.extend(encoded(&Message::Choke));
    read_all(&mut Reader::new(Conn(1)), &mut Chunks::new(stream, &[30_000]), &mut told);
    assert_eq!((&told.blocks[..], &told.messages[..]), (&[(unasked, false)][..], &[Message::Choke][..]));

    told.expects = true;
    let mut reader = Reader::new(Conn(2));
    reader.read(&mut Chunks::new(sent(block)[..100].to_vec(), &[1 << 20]), &mut told, 1 << 20).unwrap();
    assert_eq!(told.assembly.begin(Conn(3), block), Place::Beside);
    reader.abandon(Some(&mut told.assembly));
    assert_eq!(told.assembly.begin(Conn(3), block), Place::InPiece);
}

#[test]
fn nothing_is_read_after_the_connection_was_closed() {
    let mut told = Told::new();
    told.patience = 1;
    let stream = [encoded(&Message::Choke), encoded(&Message::Unchoke)].concat();
    read_all(&mut Reader::new(Conn(1)), &mut Chunks::new(stream, &[1000]), &mut told);
    assert_eq!(told.messages, [Message::Choke]);
}

#[test]
fn a_peer_that_breaks_the_protocol_is_left() {
    let stream = u32::MAX.to_be_bytes().to_vec();
    let lost = read_all(&mut Reader::new(Conn(1)), &mut Chunks::new(stream, &[9]), &mut Told::new());
    assert!(matches!(lost, Lost::Protocol(_)), "{lost}");
}

#[test]
fn a_peer_that_does_not_read_is_left() {
    let mut writer = Writer::default();
    let deaf = (0..=MAX_UNSENT_BYTES / 9).find_map(|_| writer.push_message(Message::Have(1)).err());
    assert!(matches!(deaf, Some(Lost::Deaf)));
}

#[test]
fn blocks_wait_for_the_rate_limit_and_messages_before_them_do_not() {
    let (_place, storage) = storage();
    let (mut writer, mut wire) = (Writer::default(), Chunks::new(Vec::new(), &[1 << 20]));
    let (mut bucket, mut buffer, block) =
        (Bucket::new(Some(16 << 10)), Vec::new(), geometry().block(0, 0));
    writer.push_message(Message::Unchoke).unwrap();
    (0..3).for_each(|_| writer.push_block(block));
    let mut sent_by = |milliseconds: u64| {
        let now = Time::ZERO + Duration::from_millis(milliseconds);
        loop {
            let storage = Some((&storage, geometry()));
            let mut supply = Supply { storage, bucket: &mut bucket, now, buffer: &mut buffer };
            match writer.write(&mut wire, &mut supply).unwrap() {
                Sent::Some => {}
                sent => return (sent == Sent::All, wire.bytes.len()),
            }
        }
    };
    let one = sent(block).len();
    assert_eq!(sent_by(0), (false, 5));
    assert_eq!(sent_by(100), (false, 5 + one));
    assert_eq!(sent_by(900), (false, 5 + one));
    assert_eq!(sent_by(1200), (false, 5 + 2 * one));
    assert_eq!(sent_by(2200), (true, 5 + 3 * one));
}

#[test]
fn a_file_that_is_gone_is_no_fault_of_the_peer() {
    let (place, storage) = storage();
    std::fs::File::create(place.path().join("f")).unwrap();
    let mut writer = Writer::default();
    writer.push_block(geometry().block(0, 0));
    let (mut bucket, mut buffer) = (Bucket::new(None), Vec::new());
    let storage = Some((&storage, geometry()));
    let mut supply = Supply { storage, bucket: &mut bucket, now: Time::ZERO, buffer: &mut buffer };
    let lost = writer.write(&mut Chunks::new(Vec::new(), &[9]), &mut supply);
    assert!(matches!(&lost, Err(Lost::Storage(Error::Storage { path, .. })) if path.ends_with("f")));
}
