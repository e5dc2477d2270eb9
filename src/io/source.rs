//! Numbers for the driver: parsed and encoded by threads, handed over in order.
//!
//! Thread t of T does pieces t, t + T, t + 2T, ... of a range, each into its own short queue; taking
//! from the queues in turn puts them back in order with a bounded number of blocks in memory. What is
//! left out: parsing (`numbers`) and the encoding (`wire::frame`).

use crate::numbers::{Error, Source};
use crate::proto::Block;
use crate::wire::frame::encode_data;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

/// Blocks that a thread may be ahead of the network.
const AHEAD: usize = 2;

type Parsed = Result<Block, Error>;

/// Serves ranges of a source, one after the other.
pub struct Feeder<'a> {
    source: &'a dyn Source,
    start: Box<dyn Fn(Range<u64>) -> Active + 'a>,
    waiting: VecDeque<Range<u64>>,
    /// The range that is being handed over, and the one behind it, whose first blocks are read meanwhile.
    active: VecDeque<Active>,
}

/// A range that is being read.
struct Active {
    queues: Vec<Receiver<Parsed>>,
    turn: usize,
    pieces_left: usize,
}

impl<'scope> Feeder<'scope> {
    /// Reads `source` by at most `threads` threads of `scope`.
    pub fn new<'env>(
        scope: &'scope Scope<'scope, 'env>,
        source: &'env dyn Source,
        threads: usize,
    ) -> Feeder<'scope> {
        let start = move |rows: Range<u64>| {
            let pieces = source.pieces(&rows);
            let threads = threads.min(pieces.len()).max(1);
            let mut queues = Vec::new();
            for first in pieces.clone().take(threads) {
                let (sender, receiver) = sync_channel(AHEAD);
                let (rows, pieces) = (rows.clone(), pieces.clone());
                let alone = pieces.len() == 1;
                let read = move || read_pieces(source, &rows, pieces, first, threads, &sender);
                // A block alone fits its queue: reading it here costs less than a thread.
                if alone {
                    read()
                } else {
                    drop(scope.spawn(read))
                }
                queues.push(receiver);
            }
            Active { queues, turn: 0, pieces_left: pieces.len() }
        };
        Feeder { source, start: Box::new(start), waiting: VecDeque::new(), active: VecDeque::new() }
    }

    /// Asks for a range, behind those asked for before.
    pub fn request(&mut self, rows: Range<u64>) {
        self.waiting.push_back(rows);
        self.begin();
    }

    /// Whether there are numbers to be had.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The next block; waits for its thread.
    pub fn next(&mut self) -> Option<Result<Block, String>> {
        let active = self.active.front_mut()?;
        let queue = &active.queues[active.turn];
        let parsed = queue.recv().map_err(|_| "the thread that reads the numbers has died".to_owned());
        active.turn = (active.turn + 1) % active.queues.len();
        active.pieces_left -= 1;
        let mut block = parsed.and_then(|parsed| parsed.map_err(|e| e.to_string()));
        if active.pieces_left == 0 {
            // All threads have read what is theirs, and AWS, which waits for this block, cannot have
            // answered: was it one and the same source throughout?
            block =
                block.and_then(|block| self.source.check().map(|()| block).map_err(|e| e.to_string()));
        }
        if block.is_err() {
            self.waiting.clear();
            self.active.clear();
        } else if active.pieces_left == 0 {
            self.active.pop_front();
            self.begin();
        }
        Some(block)
    }

    fn begin(&mut self) {
        while self.active.len() < 2
            && let Some(rows) = self.waiting.pop_front()
        {
            self.active.push_back((self.start)(rows));
        }
    }
}

/// One thread's share of a range. Ends early when nobody listens any more.
fn read_pieces(
    source: &dyn Source,
    rows: &Range<u64>,
    pieces: Range<usize>,
    first: usize,
    step: usize,
    queue: &SyncSender<Parsed>,
) {
    let (mut scratch, mut numbers) = (Vec::new(), Vec::new());
    for piece in pieces.clone().skip(first - pieces.start).step_by(step) {
        numbers.clear();
        let parsed = source.read(piece, rows, &mut scratch, &mut numbers).map(|first| {
            let mut frames = Vec::with_capacity(numbers.len() * 8 + 1024);
            encode_data(first, &numbers, &mut frames);
            Block { first, count: numbers.len() as u64, frames }
        });
        let failed = parsed.is_err();
        if queue.send(parsed).is_err() || failed {
            return;
        }
    }
}
