//! The mechanisms behind one trait, and the one that needs nothing of the kernel.
//!
//! The lesson: a tracker may say that a page is dirty which is not, never the reverse. That is what makes the
//! rest simple: neighbours are protected with their neighbours, a fault in a crowd lets 2 MiB through, an error
//! makes pages dirty again; what is equal to the shadow drops out when the difference is made.

mod signal;
mod userfault;
mod watch;

use super::memory::Mapping;
use super::{Error, Mechanism, Shadow};
use crate::limits::PAGE_BYTES;
use rustix::io::Errno;
use signal::Registered;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use userfault::Asynchronous;
use watch::Watch;

/// Clean pages between dirty ones that are cheaper to protect once more than to go round by another call.
const GAP_PAGES: u32 = 64;

/// Knows which pages of an arena were written.
pub trait Track: Send + Sync {
    /// Appends the dirty pages in ascending order. Where `renew`, none is dirty from here on; then every write
    /// that comes before this returns is in memory, and every later one is noticed.
    fn dirty(
        &self,
        live: &[AtomicU64],
        shadow: &Shadow,
        renew: bool,
        pages: &mut Vec<u32>,
    ) -> Result<(), Error>;

    /// Makes pages dirty, so that they are written without faults.
    fn lift(&self, pages: Range<u32>) -> Result<(), Error>;
}

/// Begins to notice writes. Nothing is dirty.
pub fn start(mechanism: Mechanism, mapping: &Arc<Mapping>) -> Result<Box<dyn Track>, Error> {
    let found = rustix::param::page_size();
    if found != PAGE_BYTES && mechanism != Mechanism::Compare {
        return Err(Error::PageSize { mechanism, found });
    }
    Ok(match mechanism {
        Mechanism::UserfaultAsync => Box::new(Asynchronous::new(mapping)?),
        Mechanism::UserfaultSignal => Box::new(Registered::new(Watch::by_userfault(mapping)?)?),
        Mechanism::Protect => Box::new(Registered::new(Watch::by_mprotect(mapping)?)?),
        Mechanism::Compare => Box::new(Compare),
    })
}

/// Runs that cover all of these pages, which ascend, and as few others as is worth a call.
pub fn spans(pages: &[u32]) -> impl Iterator<Item = Range<u32>> {
    let near = |a: &u32, b: &u32| b - a <= GAP_PAGES;
    pages.chunk_by(near).map(|run| run[0]..run[run.len() - 1] + 1)
}

/// What the kernel said to a call that protects, or lets write.
fn refused(call: &'static str) -> impl Fn(Errno) -> Error {
    move |e| match e {
        Errno::NOMEM => Error::Mappings,
        e => Error::System { call, source: e.into() },
    }
}

/// Looks at everything. A page that is written after it was looked at is different the next time.
struct Compare;

impl Track for Compare {
    fn dirty(
        &self,
        live: &[AtomicU64],
        shadow: &Shadow,
        _renew: bool,
        pages: &mut Vec<u32>,
    ) -> Result<(), Error> {
        for (index, words) in (0..).zip(live.chunks_exact(PAGE_BYTES / size_of::<AtomicU64>())) {
            let mut old = shadow.page(index).as_chunks().0.iter().zip(words);
            if old.any(|(old, word)| *old != word.load(Ordering::Relaxed).to_ne_bytes()) {
                pages.push(index);
            }
        }
        Ok(())
    }

    fn lift(&self, _pages: Range<u32>) -> Result<(), Error> {
        Ok(())
    }
}
