//! The trace: what happened, as a number that must come out the same again, and as text on request.
//!
//! The text is for the person who replays a failing seed: one line for everything sent, delivered,
//! said, started and ended, with what became of each datagram. What is left out: the bytes of TCP
//! pieces (their lengths are shown).

use super::link::Fate;
use crate::time::Time;
use crate::wire::datagram::{self, Body};
use std::fmt::Write as _;

/// A hash of all that happened, and its text if asked for.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    text: Option<String>,
}

impl Trace {
    /// An empty trace; `text` says whether lines are kept.
    pub fn new(text: bool) -> Trace {
        Trace { hash: 0, text: text.then(String::new) }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines so far; empty where none were asked for.
    pub fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }

    /// Takes in that something happened.
    pub fn note(&mut self, at: Time, what: u64, line: impl FnOnce() -> String) {
        self.mix(at.0);
        self.mix(what);
        if let Some(text) = &mut self.text {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:12.6}  {}", at.as_secs_f64(), line());
        }
    }

    /// Takes in that a datagram was sent (with its fate) or delivered (without).
    pub fn datagram(
        &mut self,
        at: Time,
        way: impl FnOnce() -> String,
        bytes: &[u8],
        fate: Option<Fate>,
    ) {
        for word in bytes.chunks(8) {
            self.mix(word.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)));
        }
        self.mix(fate.map_or(255, |f| f as u64));
        self.note(at, bytes.len() as u64, || match fate {
            Some(fate) => format!("{}  {}  {fate:?}", way(), describe(bytes)),
            None => format!("{}  {}", way(), describe(bytes)),
        });
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

/// A datagram in one line.
fn describe(bytes: &[u8]) -> String {
    match datagram::decode(bytes) {
        Err(defect) => format!("{} bytes: {defect}", bytes.len()),
        Ok((header, body)) => {
            let body = match body {
                Body::Data { width, ack_requested, seq, tx, numbers } => {
                    let (n, ask) =
                        (numbers.len() / usize::from(width), if ack_requested { "?" } else { "" });
                    format!("DATA{ask} seq {seq} tx {tx}: {n} x {width} bytes")
                }
                Body::Ack(ack) => {
                    let selected: Vec<u64> = ack.selected().take(8).collect();
                    format!(
                        "ACK next {} tx {} credit {} {selected:?}",
                        ack.next, ack.largest_tx, ack.credit
                    )
                }
                other => format!("{other:?}"),
            };
            format!("{:04x}/{:04x} {body}", (header.job >> 112) as u16, (header.session >> 48) as u16)
        }
    }
}
