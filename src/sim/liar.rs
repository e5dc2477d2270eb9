//! A client that breaks the protocol: a script in place of a machine.
//!
//! What it must not do is harm anybody else, and AWS must be rid of it in time. What is left out: lies
//! inside a sealed stream, which takes a holder of the key.

use super::plan::Lie;
use crate::proto::{Conn, Input, Machine, Output};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::frame::{Decoder, Frame, Item, encode_data};
use std::collections::VecDeque;
use std::time::Duration;

/// The scripted client.
pub struct Liar {
    lie: Lie,
    function: String,
    rows: Vec<i64>,
    rng: Rng,
    conn: Option<Conn>,
    decoder: Decoder,
    drip: VecDeque<u8>,
    wake: Option<Time>,
    out: VecDeque<Vec<u8>>,
}

impl Liar {
    /// One that would ask for `function` over `rows`.
    pub fn new(lie: Lie, function: String, rows: Vec<i64>, rng: Rng) -> Liar {
        let (decoder, drip, out) = (Decoder::default(), VecDeque::new(), VecDeque::new());
        Liar { lie, function, rows, rng, conn: None, decoder, drip, wake: None, out }
    }

    fn begin(&mut self, now: Time) {
        let mut bytes = Vec::new();
        let function = if self.lie == Lie::Stranger { "FOO".into() } else { self.function.clone() };
        Frame::Hello { function, count: self.rows.len() as u64 }.encode(&mut bytes);
        match self.lie {
            Lie::Mute => return,
            Lie::Noise => {
                bytes.resize(1 + self.rng.below(500) as usize, 0);
                self.rng.fill(&mut bytes);
            }
            Lie::Huge => bytes[8..16].copy_from_slice(&(1u64 << 60).to_le_bytes()),
            Lie::Unasked => encode_data(0, &[1, 2, 3], &mut bytes),
            Lie::Drip => {
                self.drip = bytes.into();
                self.wake = Some(now);
                return;
            }
            _ => {}
        }
        self.out.push_back(bytes);
    }

    fn on_send(&mut self, first: u64, end: u64) {
        let mut bytes = Vec::new();
        let all = self.rows.get(first as usize..end as usize).unwrap_or_default();
        match self.lie {
            Lie::Fewer => encode_data(first, &all[..all.len() / 2], &mut bytes),
            Lie::More => {
                encode_data(first, all, &mut bytes);
                // Beyond the last: at `end`, they could be taken for another shard's.
                encode_data(self.rows.len() as u64, &[7; 3], &mut bytes);
            }
            Lie::Elsewhere => encode_data(first + 1, all, &mut bytes),
            _ => {}
        }
        self.out.push_back(bytes);
    }
}

impl Machine for Liar {
    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Opened { conn, .. } => {
                self.conn = Some(conn);
                self.begin(now);
            }
            Input::Stream { mut bytes, .. } => {
                while let Ok(Some(item)) = self.decoder.next(&mut bytes) {
                    if let Item::Frame(Frame::Send { first, end }) = item {
                        self.on_send(first, end);
                    }
                }
            }
            Input::Closed { .. } => (self.conn, self.wake) = (None, None),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.wake.is_some_and(|at| at <= now) {
            self.out.extend(self.drip.pop_front().map(|byte| vec![byte]));
            self.wake = (!self.drip.is_empty()).then(|| now + Duration::from_secs(1));
        }
    }

    fn poll_output(&mut self, _: Time) -> Output<'_> {
        if let (Some(conn), Some(bytes)) = (self.conn, self.out.pop_front()) {
            return Output::Stream { conn, bytes };
        }
        Output::Wake(self.wake)
    }

    fn room(&self, _: Conn) -> usize {
        4096
    }

    fn jobs(&self) -> usize {
        0
    }
}
