//! A worker's state: pages of memory in which every write is noticed.
//!
//! The lesson: a checkpoint need not stop the task for longer than it takes to copy what changed. [`Live`] is
//! what the task writes, [`Shadow`] the image of the last checkpoint. A freeze, the only pause, lists the dirty
//! pages, protects them anew and then copies them; in this order, a write by another thread that comes too late
//! for the copy is noticed for the next one. The rest (the difference, its checksum, sending) is done from the
//! copy while the task goes on.
//!
//! The paper (section II, figure 1) has two buffers beside the memory: the primary one takes each page's old
//! content at its first write, so that a rollback finds it there, and the secondary one the diffs that are on
//! their way. Our shadow has the old content of all pages, so that the primary buffer needs none of its own: it
//! is the number of pages that may be dirty before a checkpoint is due, against which [`Live::dirty_pages`] is
//! held. The price is memory, 2 times the state and not 1; the gain is that a first write copies nothing (1 us
//! and not 5), and that an image can be sent to who rebuilds another's at any time. [`Frozen`] is the secondary
//! buffer.
//!
//! Left out: pointers. Whatever is in an arena must mean the same in another process, at another address.
//!
//! Also left out: system calls that write into an arena, such as `read` into [`Live::bytes_mut`]. Where a signal
//! notices writes ([`Mechanism::UserfaultSignal`], [`Mechanism::Protect`]) they fail with `EFAULT` on a page
//! that is clean: read into a buffer and copy. Signal handlers of the task must not write there either.

mod image;
mod mechanism;
mod memory;
mod track;

pub use image::{Diff, Frozen, Shadow};
pub use mechanism::Mechanism;

use crate::limits::{MAX_ARENA_BYTES, MAX_SIGNAL_ARENAS, PAGE_BYTES};
use memory::Memory;
use std::io;
use std::sync::atomic::AtomicU64;
use track::{Track, spans};

/// Why there is no arena, or what became of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No page, or too many.
    #[error("an arena has 1 to {} pages of {PAGE_BYTES} bytes, not {pages}", MAX_ARENA_BYTES / PAGE_BYTES)]
    Size {
        /// What was wanted.
        pages: u32,
    },
    /// The kernel has none for us. The arena is as it was.
    #[error(
        "no memory for {bytes} bytes more: take a smaller arena, or allow the process more (ulimit -v, cgroup)"
    )]
    OutOfMemory {
        /// What was wanted.
        bytes: usize,
    },
    /// It is there, but not for us.
    #[error(
        "{mechanism}: userfaultfd is not permitted here: let the sandbox allow it, run as root, or set vm.unprivileged_userfaultfd to 1"
    )]
    NotPermitted {
        /// Which.
        mechanism: Mechanism,
    },
    /// It is not there.
    #[error("{mechanism} needs {needs}: {source}")]
    Unsupported {
        /// Which.
        mechanism: Mechanism,
        /// What is missing.
        needs: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The processor's pages are not ours.
    #[error("{mechanism} tells pages of {found} bytes apart, and {PAGE_BYTES} are needed: take compare")]
    PageSize {
        /// Which.
        mechanism: Mechanism,
        /// Bytes of a page.
        found: usize,
    },
    /// It seems to work, but was tried and does not.
    #[error("{mechanism}: a write was not noticed")]
    Unnoticed {
        /// Which.
        mechanism: Mechanism,
    },
    /// A handler finds the arena of a fault in a list, which is full.
    #[error("{MAX_SIGNAL_ARENAS} arenas of this process are tracked by signals, and no more can be")]
    TooMany,
    /// The kernel gives a process only so many mappings, and mprotect makes some.
    #[error(
        "mprotect has made too many mappings: set vm.max_map_count higher, or write pages that are neighbours"
    )]
    Mappings,
    /// No such mechanism.
    #[error(
        "there is no mechanism {name}: it is one of userfaultfd-async, userfaultfd-signal, mprotect, compare"
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Arena and shadow, or arena and page, do not belong together.
    #[error("the arena has {pages} pages, and not {given}")]
    Pages {
        /// Of the arena.
        pages: u32,
        /// Of the other.
        given: u32,
    },
    /// A call failed that has no reason to. What is dirty is unknown from here on: give the arena up.
    #[error("{call}: {source}")]
    System {
        /// Which.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The memory that a task writes.
pub struct Live {
    tracker: Box<dyn Track>,
    memory: Memory,
    mechanism: Mechanism,
}

/// An arena that threads write while one of them takes checkpoints.
///
/// A write is in the copy of a freeze, or dirty for the next, or both. That the words of a copy fit each other is
/// up to the threads, which stop where that matters.
pub struct Shared<'a> {
    tracker: &'a dyn Track,
    atomics: &'a [AtomicU64],
}

impl Live {
    /// Pages of zeros, none of them dirty.
    ///
    /// # Errors
    /// There is no memory, or the mechanism does not work here.
    pub fn new(pages: u32, mechanism: Mechanism) -> Result<Live, Error> {
        let memory = Memory::new(pages)?;
        let tracker = track::start(mechanism, memory.mapping())?;
        Ok(Live { tracker, memory, mechanism })
    }

    /// How many pages.
    pub fn pages(&self) -> u32 {
        self.memory.mapping().pages()
    }

    /// How writes are noticed.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// All of it, from the start of a page on.
    pub fn bytes(&self) -> &[u8] {
        self.memory.bytes()
    }

    /// All of it, to write. Only what is really written gets dirty.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.bytes_mut()
    }

    /// All of it, for many threads.
    pub fn share(&mut self) -> Shared<'_> {
        Shared { tracker: &*self.tracker, atomics: self.memory.atomics() }
    }

    /// Pages that were written since the last freeze, perhaps a few more: is the primary buffer full? Costs about
    /// 5 ns a page at most; [`Mechanism::Compare`] 1 us.
    ///
    /// # Errors
    /// [`Error::System`], or [`Error::Pages`] where the shadow is another arena's.
    pub fn dirty_pages(&mut self, shadow: &Shadow) -> Result<u32, Error> {
        self.share().dirty_pages(shadow)
    }

    /// The pause: copies the dirty pages, and nothing is dirty. The copy goes into `spare`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where there are more dirty pages than `spare` and memory have room for; they are
    /// still dirty then. [`Error::Mappings`], [`Error::System`] and [`Error::Pages`].
    pub fn freeze(&mut self, shadow: &Shadow, spare: Frozen) -> Result<Frozen, Error> {
        self.share().freeze(shadow, spare)
    }

    /// Rolls back: the dirty pages, and `also` (those of a checkpoint that is undone, of a copy that is thrown
    /// away, or all where the shadow was rebuilt), become the shadow's. Nothing is dirty then.
    ///
    /// # Errors
    /// [`Error::System`] and [`Error::Mappings`], after which the arena is of no use; [`Error::Pages`], after
    /// which it is as it was.
    pub fn restore(&mut self, shadow: &Shadow, also: &[u32]) -> Result<(), Error> {
        self.share().check(shadow)?;
        if let Some(page) = also.iter().copied().find(|page| *page >= self.pages()) {
            return Err(Error::Pages { pages: self.pages(), given: page });
        }
        let mut pages = also.to_vec();
        self.tracker.dirty(self.memory.atomics(), shadow, false, &mut pages)?;
        pages.sort_unstable();
        pages.dedup();
        // All at once, where each alone would fault.
        spans(&pages).try_for_each(|span| self.tracker.lift(span))?;
        let live = self.memory.bytes_mut().as_chunks_mut().0;
        for index in pages.iter().copied() {
            let (page, old) = (&mut live[index as usize], shadow.page(index));
            // Zeros that are there already are not written, which would take memory. All else is written without
            // a look, as looking at a page that was never touched is a fault of its own.
            if *old != [0; PAGE_BYTES] || page != old {
                *page = *old;
            }
        }
        pages.clear();
        self.tracker.dirty(self.memory.atomics(), shadow, true, &mut pages)
    }
}

impl<'a> Shared<'a> {
    /// All of it, as words in the order of this processor's bytes. Any thread may write them at any time.
    pub fn atomics(&self) -> &'a [AtomicU64] {
        self.atomics
    }

    /// As [`Live::dirty_pages`].
    ///
    /// # Errors
    /// As [`Live::dirty_pages`].
    pub fn dirty_pages(&mut self, shadow: &Shadow) -> Result<u32, Error> {
        self.check(shadow)?;
        let mut pages = Vec::new();
        self.tracker.dirty(self.atomics, shadow, false, &mut pages)?;
        Ok(pages.len() as u32)
    }

    /// As [`Live::freeze`]. What another thread writes meanwhile is in the copy, or dirty for the next freeze.
    ///
    /// # Errors
    /// As [`Live::freeze`].
    pub fn freeze(&mut self, shadow: &Shadow, mut spare: Frozen) -> Result<Frozen, Error> {
        self.check(shadow)?;
        spare.pages.clear();
        self.tracker.dirty(self.atomics, shadow, true, &mut spare.pages)?;
        if let Err(e) = spare.copy(self.atomics) {
            spans(&spare.pages).try_for_each(|span| self.tracker.lift(span))?;
            return Err(e);
        }
        Ok(spare)
    }

    fn check(&self, shadow: &Shadow) -> Result<(), Error> {
        let pages = (self.atomics.len() / (PAGE_BYTES / size_of::<AtomicU64>())) as u32;
        if shadow.pages() == pages { Ok(()) } else { Err(Error::Pages { pages, given: shadow.pages() }) }
    }
}

#[cfg(test)]
mod tests;
