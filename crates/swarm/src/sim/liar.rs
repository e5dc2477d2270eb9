//! Peers that break the protocol: a session, with what it hears and says bent.
//!
//! What they must not do is keep anybody else from finishing, or waste more than a stated amount of his
//! link. Corrupt blocks are the world's doing ([`super::world::Host::poison`]). What is left out: liars that
//! act in concert.

use super::actor::Actor;
use crate::bitfield::Bitfield;
use crate::geometry::{Block, Geometry};
use crate::limits::BLOCK_BYTES;
use crate::peer::{Conn, Input, Output, Progress, Session};
use crate::wire::message::Message;
use offload::rng::Rng;
use offload::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// A way to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Some or all of its blocks are not what they should be.
    Poisons,
    /// Says that it has everything, and sends rubbish.
    Claims,
    /// Says that it has everything, and answers nothing; chokes in turns, so that it seems to be awake.
    Mute,
    /// Answers requests after ten seconds.
    Late,
    /// Requests, bitfields and indices that make no sense, without end.
    Floods,
    /// Blocks that nobody asked for.
    Pushes,
    /// Never unchokes anybody.
    Chokes,
    /// Hangs up again and again.
    Quits,
    /// Extended messages of random bytes.
    Noise,
}

impl Lie {
    /// All of them.
    pub const ALL: [Lie; 9] = [
        Lie::Poisons,
        Lie::Claims,
        Lie::Mute,
        Lie::Late,
        Lie::Floods,
        Lie::Pushes,
        Lie::Chokes,
        Lie::Quits,
        Lie::Noise,
    ];
}

/// How late the late are.
const LATE: Duration = Duration::from_secs(10);
/// Between two deeds.
const PAUSE: Duration = Duration::from_millis(300);
/// Messages of a flood at a time.
const FLOOD: u64 = 40;

/// The liar.
pub struct Liar {
    inner: Session,
    lie: Lie,
    geometry: Geometry,
    rng: Rng,
    conns: Vec<Conn>,
    out: VecDeque<Output>,
    late: VecDeque<(Time, Output)>,
    next: Option<Time>,
}

impl Liar {
    /// One that bends what this session does.
    pub fn new(inner: Session, lie: Lie, geometry: Geometry, rng: Rng) -> Liar {
        let (conns, out, late) = (Vec::new(), VecDeque::new(), VecDeque::new());
        Liar { inner, lie, geometry, rng, conns, out, late, next: None }
    }

    fn say(&mut self, conn: Conn, message: Message) {
        self.out.push_back(Output::Message { conn, message });
    }

    fn deed(&mut self, now: Time) {
        for conn in self.conns.clone() {
            match self.lie {
                Lie::Floods => (0..FLOOD).for_each(|_| self.flood(conn)),
                Lie::Pushes => {
                    for _ in 0..4 {
                        let block = self.some_block();
                        self.out.push_back(Output::Block { conn, block });
                    }
                }
                Lie::Mute => {
                    let turn = if self.rng.chance(0.5) { Message::Choke } else { Message::Unchoke };
                    self.say(conn, turn);
                }
                Lie::Quits if self.rng.chance(0.1) => {
                    self.out.push_back(Output::Close { conn, reason: "no reason" });
                    self.inner.handle_input(now, Input::Closed { conn });
                }
                Lie::Noise => {
                    let mut payload = vec![0; self.rng.below(200) as usize];
                    self.rng.fill(&mut payload);
                    let id = self.rng.below(4) as u8;
                    self.say(conn, Message::Extended { id, payload });
                }
                _ => {}
            }
        }
    }

    fn some_block(&mut self) -> Block {
        let piece = self.rng.below(u64::from(self.geometry.pieces())) as u32;
        let number = self.rng.below(u64::from(self.geometry.blocks(piece))) as u32;
        self.geometry.block(piece, number)
    }

    fn flood(&mut self, conn: Conn) {
        let any = self.rng.u64() as u32;
        let block = match self.rng.below(3) {
            0 => Block { piece: any, begin: 0, length: BLOCK_BYTES },
            1 => Block { length: any, ..self.some_block() },
            _ => self.some_block(),
        };
        let message = match self.rng.below(12) {
            0 => Message::Have(any),
            1 => Message::Bitfield(vec![0xff; self.rng.below(50) as usize]),
            2 => Message::HaveAll,
            3 => Message::Suggest(any),
            4 => Message::AllowedFast(any),
            5 => Message::Cancel(block),
            6 => Message::Reject(block),
            7 => Message::Unknown(21),
            _ => Message::Request(block),
        };
        self.say(conn, message);
    }

    /// What becomes of something the session wants done; `None` where it is not done now.
    fn bend(&mut self, now: Time, output: Output) -> Option<Output> {
        match (self.lie, output) {
            (Lie::Claims | Lie::Mute, Output::Message { conn, message }) => {
                let message = match message {
                    Message::Bitfield(_) | Message::HaveAll | Message::HaveNone => {
                        let all = Bitfield::full(self.geometry.pieces());
                        Message::Bitfield(all.as_bytes().to_vec())
                    }
                    Message::Reject(_) => return None,
                    other => other,
                };
                Some(Output::Message { conn, message })
            }
            (Lie::Mute, Output::Block { .. })
            | (Lie::Chokes, Output::Message { message: Message::Unchoke, .. }) => None,
            (Lie::Late, output @ Output::Block { .. }) => {
                self.late.push_back((now + LATE, output));
                None
            }
            (_, Output::Close { conn, reason }) => {
                self.conns.retain(|other| *other != conn);
                Some(Output::Close { conn, reason })
            }
            (_, other) => Some(other),
        }
    }
}

impl Actor for Liar {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match &input {
            Input::Opened { conn, .. } => {
                self.conns.push(*conn);
                self.next.get_or_insert(now + PAUSE);
            }
            Input::Closed { conn } => self.conns.retain(|other| other != conn),
            Input::Message { conn, message: Message::Request(block) } if self.lie == Lie::Claims => {
                self.out.push_back(Output::Block { conn: *conn, block: *block });
            }
            _ => {}
        }
        self.inner.handle_input(now, input);
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.next.is_some_and(|next| next <= now) {
            self.deed(now);
            self.next = (!self.conns.is_empty()).then(|| now + PAUSE);
        }
        self.inner.handle_timeout(now);
    }

    fn poll_output(&mut self, now: Time) -> Output {
        if let Some((at, _)) = self.late.front()
            && *at <= now
            && let Some((_, output)) = self.late.pop_front()
        {
            self.out.push_back(output);
        }
        if let Some(output) = self.out.pop_front() {
            if let Output::Close { conn, .. } = output {
                self.conns.retain(|other| *other != conn);
            }
            return output;
        }
        loop {
            let output = self.inner.poll_output(now);
            if let Output::Wake(wake) = output {
                let late = self.late.front().map(|(at, _)| *at);
                return Output::Wake([wake, self.next, late].into_iter().flatten().min());
            }
            if let Some(output) = self.bend(now, output) {
                return output;
            }
        }
    }

    fn expects(&self, conn: Conn, block: Block) -> bool {
        self.inner.expects(conn, block)
    }

    fn stop(&mut self, now: Time) {
        self.inner.stop(now);
        (self.next, self.conns) = (None, Vec::new());
    }

    fn progress(&self) -> Progress {
        self.inner.progress()
    }

    fn have(&self) -> Option<&Bitfield> {
        self.inner.have()
    }
}
