//! What a worker remembers of its messages, inside its arena.
//!
//! The lesson: the log is part of the state that is checkpointed. After a failure all go back, and what was
//! in transit at the checkpoint is in the sender's log, at the place in time to which the sender went back.
//! The paper keeps a sent table and a receipt table with states 0 to 2 ([`Mode::Enhanced`]). Ours
//! ([`Mode::Offload`]) keeps the sent messages and, in place of the receipt table, one number for each source:
//! how many of its messages were taken. A message is dropped from the log once the receiver's *checkpoint*
//! has taken it; it carries its sender's line, and a receiver takes none from a later line than its own.
//!
//! Bytes that are all zero are a ledger without messages, so that a fresh arena needs no set-up. A message
//! counts as received when the task takes it, not when it arrives: what has arrived and was not taken lives
//! in no arena but the sender's.
//!
//! Left out: sending, and who is told which number (`proto`).

use crate::id::{Line, Worker};
use crate::limits::PAGE_BYTES;
use crate::mode::Mode;
use std::ops::Range;

/// How large it is; the same in every process of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// How messages are remembered.
    pub mode: Mode,
    /// Workers, this one among them.
    pub workers: usize,
    /// Bytes for messages that may have to be sent again.
    pub log_bytes: usize,
    /// Rows of the receipt table, which only the paper's mode has.
    pub receipts: usize,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum To {
    /// Another worker.
    Worker(Worker),
    /// The world outside, which cannot go back: it gets what a committed checkpoint has sent.
    Outside,
}

/// A row of the sent table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// 0 sent, 1 acknowledged, 2 of an earlier checkpoint interval: the paper's.
    pub status: u8,
    /// Its number among the messages for this destination, from 1.
    pub sequence: u64,
    /// Its destination.
    pub to: To,
    /// The sender's last checkpoint when it was sent.
    pub line: Line,
    /// Its bytes.
    pub message: Vec<u8>,
}

/// A row of the receipt table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// 1 received, 2 in an earlier checkpoint interval: the paper's.
    pub status: u8,
    /// Its number at its source.
    pub sequence: u64,
    /// Its source.
    pub from: Worker,
}

/// What to do with a message that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next: give it to the task.
    Take,
    /// It was taken before.
    Duplicate,
    /// Its sender is a checkpoint ahead: after our own.
    Early,
    /// Messages before it are missing, which no order of events explains.
    Gap,
}

/// Why a message cannot be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing will make room for it.
    #[error("a message of {0} bytes does not fit into a log of {1}: give the task a larger log")]
    TooLong(usize, usize),
    /// A checkpoint will make room.
    #[error("the message log is full until the next checkpoint")]
    Full,
    /// The paper's table has no more rows.
    #[error("the receipt table is full until the next checkpoint")]
    NoReceipt,
}

/// The ledger in these bytes.
pub struct Ledger<'a> {
    layout: Layout,
    bytes: &'a mut [u8],
}

const LINE: usize = 0;
/// Bytes ever appended to the log, and ever dropped from it.
const TAIL: usize = 8;
const HEAD: usize = 16;
const RECEIPTS: usize = 24;
const OUTPUTS: usize = 32;
const COUNTERS: usize = 40;
/// What a message takes of the log beside its own bytes: status and destination, length, sequence, line.
pub const ENTRY_BYTES: usize = 24;
const RECEIPT_BYTES: usize = 16;

const OUTSIDE: u16 = u16::MAX;
const SENT: u8 = 0;
const ACKNOWLEDGED: u8 = 1;
const ARCHIVED: u8 = 2;
/// Dropped, while older ones are not.
const DROPPED: u8 = 3;
/// Nothing until the log begins anew at its first byte.
const SKIP: u8 = 4;
/// Not sent but arrived, from the one that is its destination otherwise.
const STASHED: u8 = 5;

impl Layout {
    /// Whole pages that the ledger takes.
    pub fn bytes(&self) -> usize {
        (self.log_at() + self.log_bytes()).next_multiple_of(PAGE_BYTES)
    }

    fn log_bytes(&self) -> usize {
        self.log_bytes.next_multiple_of(8)
    }

    fn receipts_at(&self) -> usize {
        COUNTERS + 2 * 8 * self.workers
    }

    fn log_at(&self) -> usize {
        let receipts = if self.mode == Mode::Enhanced { self.receipts } else { 0 };
        self.receipts_at() + receipts * RECEIPT_BYTES
    }
}

/// A row as it lies in the log.
#[derive(Clone, Copy)]
struct Entry {
    /// Of its first byte, among all bytes ever appended.
    at: u64,
    status: u8,
    to: u16,
    length: usize,
    sequence: u64,
    line: Line,
}

impl Entry {
    fn end(&self) -> u64 {
        self.at + (ENTRY_BYTES + self.length).next_multiple_of(8) as u64
    }
}

impl<'a> Ledger<'a> {
    /// A view of bytes that hold one.
    pub fn new(layout: Layout, bytes: &'a mut [u8]) -> Ledger<'a> {
        debug_assert!(bytes.len() >= layout.bytes());
        Ledger { layout, bytes }
    }

    /// The last checkpoint.
    pub fn line(&self) -> Line {
        Line(self.get(LINE))
    }

    /// How many messages of this source were taken.
    pub fn taken(&self, from: Worker) -> u64 {
        self.get(self.taken_at(from))
    }

    /// [`Ledger::taken`] of every source.
    pub fn all_taken(&self) -> Vec<u64> {
        (0..self.layout.workers as u16).map(|worker| self.taken(Worker(worker))).collect()
    }

    /// Bytes of the log that are free. A message takes its own, [`ENTRY_BYTES`], and where it does not fit
    /// before the log's end, what is left there: twice that of a step's messages is always enough.
    pub fn free_bytes(&self) -> usize {
        self.layout.log_bytes() - (self.get(TAIL) - self.get(HEAD)) as usize
    }

    /// Remembers a message that is sent; returns its number and its sender's line.
    ///
    /// # Errors
    /// There is no room; nothing has changed.
    pub fn send(&mut self, to: To, message: &[u8]) -> Result<(u64, Line), Error> {
        let counter = self.sent_at(to);
        let (sequence, line) = (self.get(counter) + 1, self.line());
        if self.layout.mode != Mode::Plank || to == To::Outside {
            self.append(to, sequence, line, message)?;
        }
        self.set(counter, sequence);
        Ok((sequence, line))
    }

    /// What to do with a message that has arrived, as if so many before it had been taken; taking it is
    /// [`Ledger::take`].
    pub fn judge(&self, from: Worker, sequence: u64, line: Line, before: u64) -> Verdict {
        if self.layout.mode == Mode::Enhanced {
            let known = self.receipts().iter().any(|row| (row.from, row.sequence) == (from, sequence));
            return if known { Verdict::Duplicate } else { Verdict::Take };
        }
        let taken = self.taken(from) + before;
        if sequence <= taken {
            Verdict::Duplicate
        } else if sequence > taken + 1 {
            Verdict::Gap
        } else if line > self.line() {
            Verdict::Early
        } else {
            Verdict::Take
        }
    }

    /// The task has got this message.
    ///
    /// # Errors
    /// [`Error::NoReceipt`].
    pub fn take(&mut self, from: Worker, sequence: u64) -> Result<(), Error> {
        if self.layout.mode == Mode::Enhanced {
            let rows = self.get(RECEIPTS);
            if rows as usize >= self.layout.receipts {
                return Err(Error::NoReceipt);
            }
            self.put_receipt(rows as usize, Receipt { status: ACKNOWLEDGED, sequence, from });
            self.set(RECEIPTS, rows + 1);
        }
        let at = self.taken_at(from);
        self.set(at, self.get(at).max(sequence));
        Ok(())
    }

    /// The paper's acknowledgement: this message was received.
    pub fn acknowledged(&mut self, from: Worker, sequence: u64) {
        let entries: Vec<Entry> = self.entries().collect();
        let of = |entry: &&Entry| (entry.status, entry.to, entry.sequence) == (SENT, from.0, sequence);
        if let Some(entry) = entries.iter().find(of) {
            self.set_status(entry.at, ACKNOWLEDGED);
        }
    }

    /// A checkpoint is taken: from here on it is the next interval.
    pub fn checkpoint(&mut self) {
        if self.layout.mode == Mode::Enhanced {
            for entry in self.entries().collect::<Vec<_>>() {
                match entry.status {
                    ARCHIVED => self.set_status(entry.at, DROPPED),
                    ACKNOWLEDGED => self.set_status(entry.at, ARCHIVED),
                    _ => {}
                }
            }
            self.drop_front();
            let kept: Vec<Receipt> =
                self.receipts().into_iter().filter(|row| row.status != ARCHIVED).collect();
            for (row, receipt) in kept.iter().enumerate() {
                self.put_receipt(row, Receipt { status: ARCHIVED, ..*receipt });
            }
            self.set(RECEIPTS, kept.len() as u64);
        }
        self.set(LINE, self.line().next().0);
    }

    /// The destination will never need these again: its committed checkpoint has taken so many.
    pub fn forget(&mut self, to: To, taken: u64) {
        let to = code_of(to);
        for entry in self.entries().collect::<Vec<_>>() {
            if entry.status != STASHED && entry.to == to && entry.sequence <= taken {
                self.set_status(entry.at, DROPPED);
            }
        }
        self.drop_front();
    }

    /// What to send again to a destination that has taken so many. The paper resends what is archived.
    pub fn resend(&self, to: To, taken: u64) -> Vec<Sent> {
        let archived = self.layout.mode == Mode::Enhanced && to != To::Outside;
        let to = code_of(to);
        let wanted = |entry: &Entry| {
            let again = if archived { entry.status == ARCHIVED } else { entry.sequence > taken };
            again && entry.to == to && entry.status != STASHED
        };
        self.entries().filter(wanted).map(|entry| self.row(entry)).collect()
    }

    /// The sent table, the oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        self.entries().filter(|entry| entry.status != STASHED).map(|entry| self.row(entry)).collect()
    }

    fn row(&self, entry: Entry) -> Sent {
        Sent {
            status: entry.status,
            sequence: entry.sequence,
            to: if entry.to == OUTSIDE { To::Outside } else { To::Worker(Worker(entry.to)) },
            line: entry.line,
            message: self.bytes[self.place(entry.at + ENTRY_BYTES as u64, entry.length)].to_vec(),
        }
    }

    /// Plank's scheme, whose checkpoints have no message in transit: keeps one that has arrived and was not
    /// taken.
    ///
    /// # Errors
    /// There is no room; nothing has changed.
    pub fn stash(
        &mut self,
        from: Worker,
        sequence: u64,
        line: Line,
        message: &[u8],
    ) -> Result<(), Error> {
        let at = self.append(To::Worker(from), sequence, line, message)?;
        self.set_status(at, STASHED);
        Ok(())
    }

    /// Gives back what was stashed, in its order, with its sources.
    pub fn unstash(&mut self) -> Vec<(Worker, Sent)> {
        let stashed: Vec<Entry> = self.entries().filter(|entry| entry.status == STASHED).collect();
        let rows = stashed.iter().map(|entry| (Worker(entry.to), self.row(*entry))).collect();
        stashed.iter().for_each(|entry| self.set_status(entry.at, DROPPED));
        self.drop_front();
        rows
    }

    /// The receipt table, the oldest first.
    pub fn receipts(&self) -> Vec<Receipt> {
        if self.layout.mode != Mode::Enhanced {
            return Vec::new();
        }
        let row = |row: usize| {
            let at = self.layout.receipts_at() + row * RECEIPT_BYTES;
            let packed = self.get(at + 8);
            let (status, from) = (packed as u8, Worker((packed >> 16) as u16));
            Receipt { status, sequence: self.get(at), from }
        };
        (0..self.get(RECEIPTS) as usize).map(row).collect()
    }

    fn put_receipt(&mut self, row: usize, receipt: Receipt) {
        let at = self.layout.receipts_at() + row * RECEIPT_BYTES;
        self.set(at, receipt.sequence);
        self.set(at + 8, u64::from(receipt.status) | u64::from(receipt.from.0) << 16);
    }

    fn append(&mut self, to: To, sequence: u64, line: Line, message: &[u8]) -> Result<u64, Error> {
        let capacity = self.layout.log_bytes() as u64;
        let needed = (ENTRY_BYTES + message.len()).next_multiple_of(8) as u64;
        if needed > capacity {
            return Err(Error::TooLong(message.len(), self.layout.log_bytes));
        }
        let mut tail = self.get(TAIL);
        if self.get(HEAD) == tail && !tail.is_multiple_of(capacity) {
            // Empty: begin at the first byte, where anything fits.
            tail = self.next_turn(tail);
            self.set(HEAD, tail);
        }
        let rest = capacity - tail % capacity;
        let skipped = if rest < needed { rest } else { 0 };
        if tail + skipped + needed - self.get(HEAD) > capacity {
            return Err(Error::Full);
        }
        if skipped > 0 {
            self.set_status(tail, SKIP);
            tail += skipped;
        }
        let place = self.place(tail, ENTRY_BYTES + message.len());
        let entry = u64::from(SENT) | u64::from(code_of(to)) << 16 | (message.len() as u64) << 32;
        self.set(place.start, entry);
        self.set(place.start + 8, sequence);
        self.set(place.start + 16, line.0);
        self.bytes[place.start + ENTRY_BYTES..place.end].copy_from_slice(message);
        self.set(TAIL, tail + needed);
        Ok(tail)
    }

    /// Those that are not dropped.
    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.all_entries().filter(|entry| entry.status != DROPPED)
    }

    fn all_entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let (mut at, tail) = (self.get(HEAD), self.get(TAIL));
        std::iter::from_fn(move || {
            while at < tail {
                let entry = self.entry(at);
                if entry.status != SKIP {
                    at = entry.end();
                    return Some(entry);
                }
                at = self.next_turn(at);
            }
            None
        })
    }

    fn entry(&self, at: u64) -> Entry {
        let place = self.place(at, 8).start;
        let packed = self.get(place);
        if packed as u8 == SKIP {
            // It may be too short to have more.
            return Entry { at, status: SKIP, to: 0, length: 0, sequence: 0, line: Line(0) };
        }
        Entry {
            at,
            status: packed as u8,
            to: (packed >> 16) as u16,
            length: (packed >> 32) as usize,
            sequence: self.get(place + 8),
            line: Line(self.get(place + 16)),
        }
    }

    fn drop_front(&mut self) {
        let (mut head, tail) = (self.get(HEAD), self.get(TAIL));
        while head < tail {
            let entry = self.entry(head);
            head = match entry.status {
                SKIP => self.next_turn(head),
                DROPPED => entry.end(),
                _ => break,
            };
        }
        self.set(HEAD, head);
    }

    fn next_turn(&self, at: u64) -> u64 {
        let capacity = self.layout.log_bytes() as u64;
        (at / capacity + 1) * capacity
    }

    fn set_status(&mut self, at: u64, status: u8) {
        let place = self.place(at, 8).start;
        self.bytes[place] = status;
    }

    /// Where in the arena a part of the log is.
    fn place(&self, at: u64, length: usize) -> Range<usize> {
        let start = self.layout.log_at() + (at % self.layout.log_bytes() as u64) as usize;
        start..start + length
    }

    fn sent_at(&self, to: To) -> usize {
        match to {
            To::Worker(worker) => COUNTERS + 8 * usize::from(worker.0),
            To::Outside => OUTPUTS,
        }
    }

    fn taken_at(&self, from: Worker) -> usize {
        COUNTERS + 8 * (self.layout.workers + usize::from(from.0))
    }

    fn get(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    fn set(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

fn code_of(to: To) -> u16 {
    match to {
        To::Worker(worker) => worker.0,
        To::Outside => OUTSIDE,
    }
}

#[cfg(test)]
mod tests;
