//! The test as a peer: it plays AWS to a client, or a client to AWS, and may lie as it likes.
//!
//! Frames are written and read by the library's own codec; PROTOCOL.md's bytes are another test's matter.

use super::{Instance, PATIENCE, until};
use ethnum::I256;
use offload::wire::frame::{Decoder, Frame, Item, encode_data, widen};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

/// What came over a connection.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Frame(Frame),
    /// A whole DATA frame.
    Data {
        first: u64,
        numbers: Vec<i64>,
    },
    /// The connection has ended, in order or not.
    End,
}

/// One end of a connection between a client and AWS.
pub struct Peer {
    pub stream: TcpStream,
    decoder: Decoder,
    held: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Peer {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer { stream, decoder: Decoder::default(), held: Vec::new() }
    }

    /// Connects to the AWS at this port, as a client does.
    pub fn connect(port: u16) -> Peer {
        Peer::new(TcpStream::connect(Instance::address(port)).unwrap())
    }

    pub fn send(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    pub fn hello(&mut self, function: &str, count: u64) {
        self.send(&Frame::Hello { function: function.into(), count });
    }

    /// Sends numbers as DATA frames.
    ///
    /// # Errors
    /// Where the far end no longer listens.
    pub fn data(&mut self, first: u64, numbers: &[i64]) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode_data(first, numbers, &mut bytes);
        self.stream.write_all(&bytes)
    }

    /// The next thing that comes; signs of life are passed over.
    pub fn hear(&mut self) -> Heard {
        let mut data: Option<(u64, u8, usize, Vec<u8>)> = None;
        loop {
            if let Some((first, width, _, raw)) = data.take_if(|(_, _, bytes, raw)| raw.len() == *bytes)
            {
                let mut numbers = Vec::new();
                widen(width, &raw, &mut numbers);
                return Heard::Data { first, numbers };
            }
            let mut input = &self.held[..];
            let item = self.decoder.next(&mut input).expect("the far end speaks the protocol");
            let heard = match item {
                Some(Item::Frame(Frame::Alive)) => None,
                Some(Item::Frame(frame)) => Some(Heard::Frame(frame)),
                Some(Item::Data { first, count, width }) => {
                    data = Some((first, width, count as usize * usize::from(width), Vec::new()));
                    None
                }
                Some(Item::Numbers(bytes)) => {
                    data.as_mut().expect("numbers follow a DATA header").3.extend_from_slice(bytes);
                    None
                }
                None => {
                    let left = input.len();
                    self.held.drain(..self.held.len() - left);
                    if !self.read_more() {
                        return Heard::End;
                    }
                    continue;
                }
            };
            let left = input.len();
            self.held.drain(..self.held.len() - left);
            if let Some(heard) = heard {
                return heard;
            }
        }
    }

    fn read_more(&mut self) -> bool {
        let mut piece = [0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(n) => {
                self.held.extend_from_slice(&piece[..n]);
                n > 0
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => false,
            Err(e) => panic!("the far end said nothing for {PATIENCE:?}: {e}"),
        }
    }

    /// Waits for the next SEND; answers nothing.
    pub fn hear_send(&mut self) -> (u64, u64) {
        loop {
            match self.hear() {
                Heard::Frame(Frame::Send { first, end }) => return (first, end),
                Heard::Frame(Frame::Notice { .. }) => {}
                other => panic!("instead of SEND came {other:?}"),
            }
        }
    }

    /// Waits for the reason that AWS gives before it ends the connection; `None` where it gives none.
    pub fn hear_error(&mut self) -> Option<String> {
        loop {
            match self.hear() {
                Heard::Frame(Frame::Error { reason }) => return Some(reason),
                Heard::End => return None,
                Heard::Frame(Frame::Result { value }) => panic!("AWS gave an answer: {value}"),
                _ => {}
            }
        }
    }

    /// Waits for the answer, sending what AWS asks for out of `numbers`, as an honest client does.
    pub fn hear_result(&mut self, numbers: &[i64]) -> I256 {
        loop {
            match self.hear() {
                Heard::Frame(Frame::Send { first, end }) => {
                    self.data(first, &numbers[first as usize..end as usize]).unwrap();
                }
                Heard::Frame(Frame::Result { value }) => return value,
                Heard::Frame(Frame::Notice { .. }) => {}
                other => panic!("instead of the answer came {other:?}"),
            }
        }
    }

    /// Reads until the connection ends, whatever comes.
    pub fn drain(&mut self) {
        while self.hear() != Heard::End {}
    }

    /// Says that nothing more will come from here.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// A place where clients look for AWS.
pub struct FakeAws(TcpListener);

impl FakeAws {
    pub fn bind(port: u16) -> FakeAws {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        FakeAws(listener)
    }

    /// The next client.
    pub fn accept(&self) -> Peer {
        let (stream, _) = until("a client to connect", || self.0.accept().ok());
        stream.set_nonblocking(false).unwrap();
        Peer::new(stream)
    }

    /// Insists that nobody has connected.
    pub fn expect_nobody(&self) {
        let error = self.0.accept().expect_err("AWS was contacted");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
