//! What a signal handler and a freeze do with the same pages at the same time.
//!
//! The lesson: a fault makes a page dirty in two steps, first the bit, then the right to write. A freeze that
//! comes in between would clear the bit and leave the page writable, and every write from then on would be
//! lost. So faults pass a gate: any number of them at once, but none while a freeze turns dirty pages into clean
//! ones. It waits for those inside, and they for it; copying is done when the gate is open again.
//!
//! Everything that a handler runs is here, and none of it allocates, locks or panics.

use super::userfault::Userfault;
use super::{Error, Track, refused, spans};
use crate::arena::Shadow;
use crate::arena::memory::Mapping;
use crate::limits::{CHUNK_PAGES, MAX_SINGLE_PAGES};
use rustix::io::Errno;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Pages whose first write is a signal.
pub struct Watch {
    pub mapping: Arc<Mapping>,
    /// Where it protects pages; by mprotect without.
    userfault: Option<Userfault>,
    /// A bit a page. Set before a page gets writable, cleared when it no longer is.
    dirty: Box<[AtomicU64]>,
    gate: Gate,
    /// Pages that were let through one by one.
    singles: AtomicU32,
}

impl Watch {
    pub fn by_userfault(mapping: &Arc<Mapping>) -> Result<Watch, Error> {
        Ok(Watch::new(mapping, Some(Userfault::with_signals(mapping)?)))
    }

    pub fn by_mprotect(mapping: &Arc<Mapping>) -> Result<Watch, Error> {
        mapping.protect(0..mapping.pages(), false).map_err(refused("mprotect"))?;
        Ok(Watch::new(mapping, None))
    }

    fn new(mapping: &Arc<Mapping>, userfault: Option<Userfault>) -> Watch {
        let words = mapping.pages().div_ceil(u64::BITS);
        let dirty = (0..words).map(|_| AtomicU64::new(0)).collect();
        let (gate, singles) = (Gate(AtomicU32::new(0)), AtomicU32::new(0));
        Watch { mapping: mapping.clone(), userfault, dirty, gate, singles }
    }

    /// A page was written: lets it be. Called by the handler; `false` where the kernel refuses.
    ///
    /// mprotect makes mappings, and has none left in the end. Then more pages than one are let through, up to
    /// all, which takes no mapping but gives some back.
    pub fn admit(&self, page: u32) -> bool {
        let _inside = self.gate.enter();
        let pages = self.mapping.pages();
        let chunk = page - page % CHUNK_PAGES;
        let spans = [page..page + 1, chunk..pages.min(chunk + CHUNK_PAGES), 0..pages];
        let crowded =
            self.userfault.is_none() && self.singles.fetch_add(1, Ordering::Relaxed) >= MAX_SINGLE_PAGES;
        spans.into_iter().skip(usize::from(crowded)).any(|span| self.open(span).is_ok())
    }

    fn open(&self, pages: Range<u32>) -> Result<(), Errno> {
        let mut page = pages.start;
        while page < pages.end {
            let (word, bit) = (page / u64::BITS, page % u64::BITS);
            let count = (u64::BITS - bit).min(pages.end - page);
            let bits = u64::MAX >> (u64::BITS - count) << bit;
            // In this order even for a thread that finds the page writable and has seen no fault.
            self.dirty[word as usize].fetch_or(bits, Ordering::SeqCst);
            page += count;
        }
        self.protect(pages, true)
    }

    fn protect(&self, pages: Range<u32>, writable: bool) -> Result<(), Errno> {
        match &self.userfault {
            Some(userfault) => userfault.protect(pages, writable),
            None => self.mapping.protect(pages, writable),
        }
    }
}

impl Track for Watch {
    fn dirty(
        &self,
        _live: &[AtomicU64],
        _shadow: &Shadow,
        renew: bool,
        pages: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let _closed = renew.then(|| self.gate.close());
        let from = pages.len();
        for (word, bits) in (0..).zip(&self.dirty) {
            let mut bits = bits.load(Ordering::SeqCst);
            while bits != 0 {
                pages.push(word * u64::BITS + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        if renew {
            for span in spans(&pages[from..]) {
                self.protect(span, false).map_err(refused("protecting pages"))?;
            }
            self.dirty.iter().for_each(|bits| bits.store(0, Ordering::SeqCst));
            self.singles.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn lift(&self, pages: Range<u32>) -> Result<(), Error> {
        let _inside = self.gate.enter();
        match self.open(pages) {
            Err(Errno::NOMEM) => self.open(0..self.mapping.pages()),
            done => done,
        }
        .map_err(refused("letting pages be written"))
    }
}

/// Counts who is inside; the highest bit says that nobody else may enter.
struct Gate(AtomicU32);

const CLOSED: u32 = 1 << 31;

impl Gate {
    fn enter(&self) -> Inside<'_> {
        loop {
            if self.0.load(Ordering::Relaxed) & CLOSED != 0 {
                rustix::thread::sched_yield();
            } else if self.0.fetch_add(1, Ordering::Acquire) & CLOSED == 0 {
                return Inside(self);
            } else {
                self.0.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// Whoever closes it is alone when this returns.
    fn close(&self) -> Closed<'_> {
        self.0.fetch_or(CLOSED, Ordering::Acquire);
        while self.0.load(Ordering::Acquire) != CLOSED {
            rustix::thread::sched_yield();
        }
        Closed(self)
    }
}

struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

struct Closed<'a>(&'a Gate);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_and(!CLOSED, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::memory::Memory;
    use crate::arena::tests::Stop;
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    /// That `work` does not end before `guard` is dropped.
    fn waits_for<T>(guard: T, work: impl FnOnce() + Send) {
        thread::scope(|scope| {
            let work = scope.spawn(work);
            thread::sleep(Duration::from_millis(30));
            let early = work.is_finished();
            drop(guard);
            assert!(!early);
        });
    }

    #[test]
    fn faults_and_freezes_wait_for_each_other() {
        let memory = Memory::new(2).unwrap();
        let watch = Watch::by_mprotect(memory.mapping()).unwrap();
        let shadow = Shadow::new(2).unwrap();
        let dirty = |renew| {
            let mut pages = Vec::new();
            watch.dirty(&[], &shadow, renew, &mut pages).unwrap();
            pages
        };
        waits_for(watch.gate.close(), || assert!(watch.admit(1)));
        assert_eq!(dirty(false), [1]);
        waits_for(watch.gate.close(), || watch.lift(0..1).unwrap());
        waits_for(watch.gate.enter(), || assert_eq!(dirty(true), [0, 1]));
        assert!(dirty(true).is_empty());
    }

    #[test]
    fn nobody_is_inside_a_closed_gate() {
        let (gate, inside, stop) = (Gate(AtomicU32::new(0)), AtomicU32::new(0), AtomicBool::new(false));
        let entered = AtomicU64::new(0);
        thread::scope(|scope| {
            let _stopping = Stop(&stop);
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let _inside = gate.enter();
                        inside.fetch_add(1, Ordering::Relaxed);
                        rustix::thread::sched_yield();
                        inside.fetch_sub(1, Ordering::Relaxed);
                        entered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for round in 0..2000 {
                let closed = gate.close();
                let before = entered.load(Ordering::Relaxed);
                for _ in 0..3 {
                    assert_eq!(inside.load(Ordering::Relaxed), 0, "round {round}");
                    rustix::thread::sched_yield();
                }
                assert_eq!(entered.load(Ordering::Relaxed), before, "round {round}");
                drop(closed);
                while entered.load(Ordering::Relaxed) == before {
                    rustix::thread::sched_yield();
                }
            }
        });
    }
}
