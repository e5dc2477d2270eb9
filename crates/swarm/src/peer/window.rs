//! How many blocks to ask of one peer at once.
//!
//! Too few, and the peer waits for our next request; too many, and pieces are reserved at a slow peer that
//! a fast one could send (16 leechers with 128 outstanding blocks each reserve half of a 64 MiB file). So
//! the window follows the time an answer takes: it grows while answers come soon and shrinks while they
//! come late, whether the reason is the network or a queue at the peer.

use crate::limits::MAX_WINDOW_BLOCKS;
use std::time::Duration;

/// Answers that take less than this let the window grow by a block each; those that take twice as long
/// let it shrink.
const TARGET: Duration = Duration::from_millis(50);
/// The least: one block on its way and one behind it. With forty peers even this is a queue of a tenth of a
/// second at 100 Mbit/s; a longer one delays every piece on its way through the swarm, and piles up at some
/// peers while others are asked for nothing.
const FLOOR_BLOCKS: usize = 2;
/// What all peers together may be asked for however late they answer: there are clients that send twice a second
/// (transmission), and they may be all that there are.
const SHARED_BLOCKS: usize = 16;

/// The number of blocks that may be outstanding at one peer.
#[derive(Debug)]
pub struct Window {
    blocks: usize,
    most: usize,
}

impl Window {
    pub fn new() -> Window {
        Window { blocks: FLOOR_BLOCKS, most: MAX_WINDOW_BLOCKS }
    }

    /// The peer says how many requests it queues (BEP 10, `reqq`).
    pub fn bound(&mut self, queue: u32) {
        self.most = (queue as usize).clamp(1, MAX_WINDOW_BLOCKS);
        self.blocks = self.blocks.min(self.most);
    }

    /// Where there are so many peers.
    pub fn blocks(&self, peers: usize) -> usize {
        let share = SHARED_BLOCKS / peers.max(1);
        self.blocks.max(share).min(self.most)
    }

    /// An answer took this long; `full` where as many blocks were outstanding as the window allows.
    pub fn answered(&mut self, after: Duration, full: bool) {
        if after < TARGET && full {
            self.blocks = (self.blocks + 1).min(self.most);
        } else if after > 2 * TARGET {
            self.blocks = (self.blocks - 1).max(FLOOR_BLOCKS.min(self.most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_secs(1);
    /// So many that a share is less than the least.
    const MANY: usize = 40;

    #[test]
    fn it_follows_the_answers_within_bounds() {
        let mut window = Window::new();
        (0..5000).for_each(|_| window.answered(SOON, true));
        assert_eq!(window.blocks(MANY), MAX_WINDOW_BLOCKS);
        (0..5000).for_each(|_| window.answered(LATE, true));
        assert_eq!(window.blocks(MANY), FLOOR_BLOCKS);
        window.answered(SOON, false);
        assert_eq!(window.blocks(MANY), FLOOR_BLOCKS, "what is not used up need not grow");
    }

    #[test]
    fn a_few_late_peers_are_asked_for_more_than_many() {
        let mut window = Window::new();
        window.answered(SOON, true);
        (0..100).for_each(|_| window.answered(LATE, true));
        let asked = [1, 2, 4, 8, 16, MANY].map(|peers| window.blocks(peers));
        assert_eq!(asked, [16, 8, 4, 2, 2, 2]);
    }

    #[test]
    fn a_peer_with_a_short_queue_is_asked_for_no_more() {
        let mut window = Window::new();
        window.bound(3);
        (0..100).for_each(|_| window.answered(SOON, true));
        assert_eq!((window.blocks(MANY), window.blocks(1)), (3, 3));
        (0..100).for_each(|_| window.answered(LATE, true));
        assert_eq!(window.blocks(MANY), FLOOR_BLOCKS);
        window.bound(0);
        assert_eq!(window.blocks(1), 1, "none would be a deadlock");
    }
}
