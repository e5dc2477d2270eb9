//! Which nonces have been seen.
//!
//! The lesson: a window of bits that slides by whole words needs no shifting; one word more than the
//! window holds is enough to clear ahead of it (RFC 6479). What is left out: authenticity. Mark a nonce
//! only after its datagram has opened, or a forged one pushes the true ones out.

/// How far behind the newest nonce a datagram may arrive: twice what `rudp` has on its way.
pub const REPLAY_WINDOW: u64 = 2 * crate::limits::WINDOW_DATAGRAMS;
/// One word more than the window fills: it never begins at a word's boundary (RFC 6479, section 2).
const REPLAY_WORDS: u64 = REPLAY_WINDOW / 64 + 1;

/// A ring of bits, cleared word by word as it moves on.
pub(super) struct ReplayWindow {
    /// One more than the newest nonce seen.
    next: u64,
    seen: [u64; REPLAY_WORDS as usize],
}

impl ReplayWindow {
    pub(super) fn new() -> ReplayWindow {
        ReplayWindow { next: 0, seen: [0; REPLAY_WORDS as usize] }
    }

    fn place(nonce: u64) -> (usize, u64) {
        ((nonce / 64 % REPLAY_WORDS) as usize, 1 << (nonce % 64))
    }

    pub(super) fn is_fresh(&self, nonce: u64) -> bool {
        let (word, bit) = ReplayWindow::place(nonce);
        nonce >= self.next || (self.next - nonce <= REPLAY_WINDOW && self.seen[word] & bit == 0)
    }

    /// `nonce` is fresh, and below 2^64 - 1 since it was opened.
    pub(super) fn mark(&mut self, nonce: u64) {
        if nonce >= self.next {
            let newest = self.next.saturating_sub(1) / 64;
            for passed in 1..=(nonce / 64 - newest).min(REPLAY_WORDS) {
                self.seen[((newest + passed) % REPLAY_WORDS) as usize] = 0;
            }
            self.next = nonce + 1;
        }
        let (word, bit) = ReplayWindow::place(nonce);
        self.seen[word] |= bit;
    }
}
