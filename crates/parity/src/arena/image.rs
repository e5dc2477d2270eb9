//! The image of a checkpoint, what is copied for the next, and what changed between both.
//!
//! The lesson: with exclusive-or, one buffer is three things in turn. A freeze fills it with the pages that are
//! dirty (the paper's secondary buffer); advancing the shadow turns it, in place, into the difference, which is
//! what is sent, and the undo log for as long as the checkpoint is not committed; then it is free for the next
//! freeze. There is one uncommitted checkpoint at most, so there is one buffer.
//!
//! Left out: compression of pages that changed a little. The network is slower than memory, but not so slow.

use super::Error;
use super::memory::Memory;
use crate::code::add_scaled;
use crate::digest::Digest;
use crate::limits::PAGE_BYTES;
use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// A page.
type Page = [u8; PAGE_BYTES];
/// The words of a page.
const PAGE_WORDS: usize = PAGE_BYTES / size_of::<u64>();

/// Copies of the pages that were dirty when a checkpoint began. The default is an empty buffer.
#[derive(Clone, Default)]
pub struct Frozen {
    /// In ascending order.
    pub(super) pages: Vec<u32>,
    /// The first ones are these pages; the rest is room.
    bytes: Vec<Page>,
}

/// The image of the last checkpoint taken.
pub struct Shadow {
    memory: Memory,
    digest: Digest,
}

/// The exclusive-or of one checkpoint and the next, on the pages that are not equal.
#[derive(Clone, Default)]
pub struct Diff {
    pages: Vec<u32>,
    bytes: Vec<Page>,
    digest: Digest,
}

impl Frozen {
    /// A buffer for this many pages that are touched now rather than in the first pause.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn with_room(pages: u32) -> Result<Frozen, Error> {
        let mut frozen = Frozen::default();
        frozen.pages.try_reserve_exact(pages as usize).map_err(|_| out_of_memory(pages as usize))?;
        frozen.grow(pages as usize)?;
        Ok(frozen)
    }

    /// Which pages, in ascending order.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Pages that a memory of its own kind has copied, in ascending order.
    pub fn from_pages(pages: Vec<u32>, bytes: Vec<Page>) -> Frozen {
        Frozen { pages, bytes }
    }

    /// Copies its pages from an arena that others may be writing.
    pub(super) fn copy(&mut self, live: &[AtomicU64]) -> Result<(), Error> {
        self.grow(self.pages.len())?;
        for (index, copy) in self.pages.iter().zip(&mut self.bytes) {
            let words = &live[*index as usize * PAGE_WORDS..][..PAGE_WORDS];
            for (copy, word) in copy.as_chunks_mut().0.iter_mut().zip(words) {
                *copy = word.load(Ordering::Relaxed).to_ne_bytes();
            }
        }
        Ok(())
    }

    fn grow(&mut self, pages: usize) -> Result<(), Error> {
        let more = pages.saturating_sub(self.bytes.len());
        self.bytes.try_reserve_exact(more).map_err(|_| out_of_memory(more))?;
        self.bytes.resize(self.bytes.len() + more, [0; PAGE_BYTES]);
        Ok(())
    }
}

fn out_of_memory(pages: usize) -> Error {
    Error::OutOfMemory { bytes: pages * PAGE_BYTES }
}

impl Shadow {
    /// An image of zeros. Pages that nobody has touched take no memory.
    ///
    /// # Errors
    /// [`Error::Size`] and [`Error::OutOfMemory`].
    pub fn new(pages: u32) -> Result<Shadow, Error> {
        Ok(Shadow { memory: Memory::new(pages)?, digest: Digest::default() })
    }

    /// How many pages.
    pub fn pages(&self) -> u32 {
        self.memory.mapping().pages()
    }

    /// A page.
    ///
    /// # Panics
    /// There is no such page.
    pub fn page(&self, index: u32) -> &Page {
        &self.memory.bytes().as_chunks().0[index as usize]
    }

    /// The checksum of the image.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Takes a checkpoint that was frozen, and returns what changed. The task may go on meanwhile, in another
    /// thread.
    ///
    /// # Panics
    /// What is frozen is of a larger arena.
    pub fn advance(&mut self, frozen: Frozen) -> Diff {
        let Frozen { pages, bytes } = frozen;
        let mut diff = Diff { pages, bytes, digest: Digest::default() };
        let mut kept = 0;
        for n in 0..diff.pages.len() {
            let index = diff.pages[n];
            let change = &mut diff.bytes[n];
            if exchange(self.page_mut(index), change) {
                diff.digest = diff.digest.plus(Digest::of_page(index, change));
                if kept < n {
                    diff.pages[kept] = index;
                    diff.bytes[kept] = diff.bytes[n];
                }
                kept += 1;
            }
        }
        diff.pages.truncate(kept);
        self.digest = self.digest.plus(diff.digest);
        diff
    }

    /// Undoes a checkpoint, or takes it again.
    ///
    /// # Panics
    /// The checkpoint is of a larger arena.
    pub fn toggle(&mut self, diff: &Diff) {
        for (index, change) in diff.iter() {
            for (byte, change) in self.page_mut(index).iter_mut().zip(change) {
                *byte ^= change;
            }
        }
        self.digest = self.digest.plus(diff.digest);
    }

    /// Puts a page in its place, as when an image is built from others'.
    ///
    /// # Panics
    /// There is no such page.
    pub fn replace_page(&mut self, index: u32, page: &Page) {
        let mut change = *page;
        if exchange(self.page_mut(index), &mut change) {
            self.digest = self.digest.plus(Digest::of_page(index, &change));
        }
    }

    /// Adds a multiple of a page, as when an image is the sum of others.
    ///
    /// # Panics
    /// There is no such page.
    pub fn add(&mut self, index: u32, page: &Page, factor: u8) {
        let mut change = [0; PAGE_BYTES];
        add_scaled(&mut change, page, factor);
        add_scaled(self.page_mut(index), &change, 1);
        self.digest = self.digest.plus(Digest::of_page(index, &change));
    }

    /// Adds pages, and the checksum that they are known to have.
    ///
    /// # Panics
    /// There is no such page.
    pub fn add_known<'a>(&mut self, pages: impl Iterator<Item = (u32, &'a Page)>, digest: Digest) {
        for (index, page) in pages {
            add_scaled(self.page_mut(index), page, 1);
        }
        self.digest = self.digest.plus(digest);
    }

    /// Are its bytes what its checksum says?
    pub fn is_sound(&self) -> bool {
        Digest::of_image(self.memory.bytes().as_chunks().0) == self.digest
    }

    fn page_mut(&mut self, index: u32) -> &mut Page {
        &mut self.memory.bytes_mut().as_chunks_mut().0[index as usize]
    }
}

/// The old page becomes the new one, which becomes the exclusive-or of both. Tells whether they are different.
fn exchange(old: &mut Page, new: &mut Page) -> bool {
    // Looked at first, so that a page of zeros that stays one is not written, which would take memory.
    if old == new {
        return false;
    }
    for (old, new) in old.iter_mut().zip(new) {
        let change = *old ^ *new;
        *old = *new;
        *new = change;
    }
    true
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages with checksum {:016x}", self.pages(), self.digest.0)
    }
}

impl fmt::Debug for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "changes of pages {:?} with checksum {:016x}", self.pages, self.digest.0)
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copies of pages {:?}", self.pages)
    }
}

/// By their checksums: two that are the same have the same.
impl Hash for Shadow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.pages(), self.digest).hash(state);
    }
}

impl Hash for Diff {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.pages, self.digest).hash(state);
    }
}

impl Hash for Frozen {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.pages, &self.bytes[..self.pages.len()]).hash(state);
    }
}

/// Pages of zeros are not copied, and take no memory in the copy.
impl Clone for Shadow {
    fn clone(&self) -> Shadow {
        let bytes = self.memory.bytes();
        let Ok(mut copy) = Shadow::new(self.pages()) else {
            handle_alloc_error(Layout::for_value(bytes))
        };
        for index in (0..self.pages()).filter(|index| *self.page(*index) != [0; PAGE_BYTES]) {
            *copy.page_mut(index) = *self.page(index);
        }
        copy.digest = self.digest;
        copy
    }
}

impl Diff {
    /// Which pages, in ascending order.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// The change of the `n`th of [`Diff::pages`].
    ///
    /// # Panics
    /// There are not so many.
    pub fn page(&self, n: usize) -> &Page {
        &self.bytes[..self.pages.len()][n]
    }

    /// The pages with their changes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &Page)> {
        self.pages.iter().copied().zip(&self.bytes)
    }

    /// The checksum of the changes: the old image's and this are the new one's.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The buffer, when the checkpoint is committed and need not be undone.
    pub fn into_spare(self) -> Frozen {
        Frozen { pages: Vec::new(), bytes: self.bytes }
    }
}
