//! A shard's numbers on their way through: room for them, and where they go.
//!
//! What is left out: what becomes of them on the line (`rudp::sender`).

use super::{Shard, Stage, Told};
use crate::wire::datagram::DATA_HEADER_BYTES;

impl Shard {
    /// Begins behind the first `from` numbers, which the backend says it has; false where it cannot have them, since
    /// nobody was ever sent so many.
    pub(super) fn begin_at(&mut self, from: u64) -> bool {
        let passed = self.passed;
        if from > passed {
            let backend = self.backend();
            let text =
                format!("{backend} says that it has {from} numbers of its shard; it was sent {passed}");
            self.told.push_back(Told::Failed(text));
            return false;
        }
        self.from = from;
        true
    }

    /// Numbers before `row` of the shard are about to be pushed.
    pub fn passes(&mut self, row: u64) {
        self.passed = self.passed.max(row);
    }

    /// Whether numbers for `attempt` are still wanted; those of a lost attempt are thrown away.
    pub fn wants(&self, attempt: u32) -> bool {
        attempt == self.attempt && matches!(self.stage, Stage::Streaming { .. })
    }

    /// Whether it waits for [`Shard::provide`] before it can take numbers.
    pub fn wants_ring(&self) -> bool {
        matches!(&self.stage, Stage::Streaming { sender, .. } if !sender.is_provided())
    }

    /// Gives it memory for numbers on their way: at most `bytes`, and no more than all of them need.
    pub fn provide(&mut self, bytes: usize) {
        let datagrams = self.count() / ((self.terms.datagram - DATA_HEADER_BYTES) as u64 / 8) + 2;
        let all = usize::try_from(datagrams).unwrap_or(usize::MAX).saturating_mul(self.terms.datagram);
        if let Stage::Streaming { sender, .. } = &mut self.stage {
            sender.provide(bytes.min(all));
        }
    }

    /// Bytes of that memory held now.
    pub fn held_bytes(&self) -> usize {
        match &self.stage {
            Stage::Streaming { sender, .. } => sender.held_bytes(),
            _ => 0,
        }
    }

    /// Bytes of numbers of `width` bytes each that [`Shard::push`] would take.
    pub fn room(&self, width: u8) -> usize {
        match &self.stage {
            Stage::Streaming { sender, .. } => sender.room(width),
            _ => 0,
        }
    }

    /// Takes numbers, at most [`Shard::room`] bytes.
    pub fn push(&mut self, width: u8, bytes: &[u8]) {
        if let Stage::Streaming { sender, .. } = &mut self.stage {
            let taken = sender.push(width, bytes);
            debug_assert_eq!(taken, bytes.len(), "more than there was room for");
        }
    }

    /// The last number has been pushed.
    pub fn finish(&mut self) {
        if let Stage::Streaming { sender, .. } = &mut self.stage {
            sender.finish();
        }
    }
}
