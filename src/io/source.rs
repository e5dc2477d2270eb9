//! Numbers for the driver: parsed and encoded by threads, handed over in order.
//!
//! Thread t of T does pieces t, t + T, t + 2T, ... of each range, into a short queue of its own; taking
//! from the queues in turn puts them back in order with a bounded number of blocks in memory. What is
//! left out: parsing (`numbers`) and the encoding (`wire::frame`).

use crate::numbers::{Error, Source};
use crate::proto::Block;
use crate::wire::frame::encode_data;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvError, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;

/// Blocks that a thread may be ahead of the network.
const AHEAD: usize = 2;

type Parsed = Result<Block, Error>;
/// A range, numbered, and whether it is called off.
type Asked = (u64, Range<u64>, Arc<AtomicBool>);

/// Serves ranges of a source, one after the other.
pub struct Feeder<'scope> {
    source: &'scope dyn Source,
    workers: Vec<Worker>,
    ranges: VecDeque<Active>,
    /// Ranges ever asked for.
    asked: u64,
    own: Reader,
}

/// A thread, what it is to read, and what it has read.
struct Worker {
    ranges: Sender<Asked>,
    /// With the number of the range.
    parsed: Receiver<(u64, Parsed)>,
}

/// A range that is being handed over, or will be.
struct Active {
    number: u64,
    rows: Range<u64>,
    called_off: Arc<AtomicBool>,
    pieces: Range<usize>,
    /// How many of them have been handed over.
    done: usize,
}

impl<'scope> Feeder<'scope> {
    /// Starts at most `threads` threads in `scope`, as many as `source` has pieces: they are there when
    /// AWS asks.
    pub fn new<'env>(
        scope: &'scope Scope<'scope, 'env>,
        source: &'env dyn Source,
        threads: usize,
    ) -> Feeder<'scope> {
        // A piece alone is read when its turn comes, by `next`: that costs less than a thread.
        let threads = match source.pieces(&(0..source.rows())).len() {
            0 | 1 => 0,
            pieces => threads.min(pieces),
        };
        let start = |first| {
            let (ranges, asked) = channel::<Asked>();
            let (queue, parsed) = sync_channel(AHEAD);
            scope.spawn(move || work(source, &asked, first, threads, &queue));
            Worker { ranges, parsed }
        };
        let workers = (0..threads).map(start).collect();
        Feeder { source, workers, ranges: VecDeque::new(), asked: 0, own: Reader::default() }
    }

    /// Asks for a range, behind those asked for before.
    pub fn request(&mut self, rows: Range<u64>) {
        let pieces = self.source.pieces(&rows);
        self.asked += 1;
        let (number, called_off) = (self.asked, Arc::new(AtomicBool::new(false)));
        if pieces.len() > 1 {
            for worker in &self.workers {
                // One that has died is noticed where its block is missing.
                let _ = worker.ranges.send((number, rows.clone(), called_off.clone()));
            }
        }
        self.ranges.push_back(Active { number, rows, called_off, pieces, done: 0 });
    }

    /// Hands over no more of a range.
    pub fn call_off(&mut self, rows: &Range<u64>) {
        if let Some(place) = self.ranges.iter().position(|active| active.rows == *rows)
            && let Some(active) = self.ranges.remove(place)
        {
            active.called_off.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there are numbers to be had.
    pub fn is_active(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// The next block; waits for its thread.
    pub fn next(&mut self) -> Option<Result<Block, String>> {
        let active = self.ranges.front_mut()?;
        let parsed = if active.pieces.len() == 1 {
            Ok(self.own.read(self.source, active.pieces.start, &active.rows))
        } else {
            next_of(&self.workers[active.done % self.workers.len()], active.number)
        };
        active.done += 1;
        let parsed = parsed.map_err(|_| "the thread that reads the numbers has died".to_owned());
        let mut block = parsed.and_then(|parsed| parsed.map_err(|e| e.to_string()));
        if active.done == active.pieces.len() {
            // All threads have read what is theirs, and AWS, which waits for this block, cannot have
            // answered: was it one and the same source throughout?
            block =
                block.and_then(|block| self.source.check().map(|()| block).map_err(|e| e.to_string()));
            self.ranges.pop_front();
        }
        if block.is_err() {
            self.ranges.clear();
        }
        Some(block)
    }
}

/// The thread's next block of this range: what it has of one that was called off is of no use, but an error is one.
fn next_of(worker: &Worker, number: u64) -> Result<Parsed, RecvError> {
    loop {
        match worker.parsed.recv()? {
            (of, parsed) if of == number || parsed.is_err() => return Ok(parsed),
            _ => {}
        }
    }
}

/// A thread's work: its share of each range. It ends when nobody asks or listens any more.
fn work(
    source: &dyn Source,
    asked: &Receiver<Asked>,
    first: usize,
    step: usize,
    queue: &SyncSender<(u64, Parsed)>,
) {
    let mut reader = Reader::default();
    for (number, rows, called_off) in asked {
        for piece in source.pieces(&rows).skip(first).step_by(step) {
            if called_off.load(Ordering::Relaxed) {
                break;
            }
            let parsed = reader.read(source, piece, &rows);
            let failed = parsed.is_err();
            if queue.send((number, parsed)).is_err() || failed {
                return;
            }
        }
    }
}

/// Memory that is used again for each piece.
#[derive(Default)]
struct Reader {
    scratch: Vec<u8>,
    numbers: Vec<i64>,
}

impl Reader {
    fn read(&mut self, source: &dyn Source, piece: usize, rows: &Range<u64>) -> Parsed {
        self.numbers.clear();
        let first = source.read(piece, rows, &mut self.scratch, &mut self.numbers)?;
        let mut frames = Vec::with_capacity(self.numbers.len() * 8 + 1024);
        encode_data(first, &self.numbers, &mut frames);
        Ok(Block { first, count: self.numbers.len() as u64, frames })
    }
}
