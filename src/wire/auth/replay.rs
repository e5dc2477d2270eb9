//! Which nonces have been seen.
//!
//! The lesson: a window of bits that slides by whole words needs no shifting; one word more than the
//! window holds is enough to clear ahead of it (RFC 6479). What is left out: authenticity. Mark a nonce
//! only after its datagram has opened, or a forged one pushes the true ones out.

/// How far behind the newest nonce a datagram may arrive: twice what `rudp` has on its way.
pub const REPLAY_WINDOW: u64 = 2 * crate::limits::WINDOW_DATAGRAMS;
/// One word more than the window fills, because it may begin in the middle of one.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// Receives a nonce; true when it is fresh.
    fn receive(window: &mut ReplayWindow, nonce: u64) -> bool {
        let fresh = window.is_fresh(nonce);
        if fresh {
            window.mark(nonce);
        }
        fresh
    }

    #[test]
    fn a_nonce_is_fresh_once_and_only_within_the_window() {
        // One window throughout: what it saw before each leap must not look seen behind it.
        let mut window = ReplayWindow::new();
        let leaps =
            [REPLAY_WINDOW, 2 * REPLAY_WINDOW + 1, 4 * REPLAY_WINDOW + 63, 1 << 40, u64::MAX - 1];
        for newest in leaps {
            assert!(receive(&mut window, newest));
            let oldest = newest + 1 - REPLAY_WINDOW;
            assert!(!window.is_fresh(oldest - 1), "one too old");
            assert!(
                (oldest..newest).rev().all(|n| receive(&mut window, n)),
                "all within, newest {newest}"
            );
            assert!((oldest..=newest).all(|n| !window.is_fresh(n)), "none twice");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_set_that_forgets_what_is_old(
            start in prop_oneof![Just(0), any::<u64>()],
            steps in proptest::collection::vec(
                prop_oneof![-100i64..100, -9000i64..9000, 0i64..40_000], 1..300),
        ) {
            let (mut window, mut seen, mut newest) = (ReplayWindow::new(), HashSet::new(), None);
            let mut nonce = start.min(u64::MAX - 1);
            for step in steps {
                let old = newest.is_some_and(|newest: u64| newest - nonce.min(newest) >= REPLAY_WINDOW);
                prop_assert_eq!(receive(&mut window, nonce), !old && !seen.contains(&nonce));
                seen.insert(nonce);
                newest = newest.max(Some(nonce));
                nonce = newest.unwrap_or(0).saturating_add_signed(step).min(u64::MAX - 1);
            }
        }
    }
}
