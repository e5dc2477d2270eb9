//! Rows of a dataset, mapped by threads: the driver goes on meanwhile, and is woken when one is done.
//!
//! A map may take as long as it takes to fetch the rows, so each has a thread of its own; the machine bounds
//! how many there are. What is left out: where a dataset lies and how it gets there (`crates/swarm`).

use crate::dataset::Id;
use crate::reduction::Reduction;
use ethnum::I256;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

/// Numbers that are here already, or come when they are asked for.
pub trait Dataset: Send + Sync {
    /// Its name.
    fn id(&self) -> Id;

    /// What `reduction` makes of these rows, which are some. To be called by several threads at once; it may
    /// take as long as it likes, but is to end soon after `cancelled` is set, by any result.
    ///
    /// # Errors
    /// Why it cannot be had here; another backend is asked then.
    fn map(
        &self,
        rows: Range<u64>,
        reduction: &dyn Reduction,
        cancelled: &AtomicBool,
    ) -> Result<I256, String>;
}

type Done = (u64, Result<I256, String>);

/// Maps under way. Dropped, it calls them off.
pub struct Maps {
    dataset: Arc<dyn Dataset>,
    /// Readable when something is done.
    event: Arc<OwnedFd>,
    reply: Sender<Done>,
    done: Receiver<Done>,
    cancels: BTreeMap<u64, Arc<AtomicBool>>,
}

impl Maps {
    pub fn new(dataset: Arc<dyn Dataset>) -> io::Result<Maps> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (reply, done) = channel();
        Ok(Maps { dataset, event, reply, done, cancels: BTreeMap::new() })
    }

    /// Begins one.
    pub fn begin(&mut self, ticket: u64, rows: Range<u64>, reduction: Arc<dyn Reduction>) {
        let cancelled = Arc::new(AtomicBool::new(false));
        self.cancels.insert(ticket, cancelled.clone());
        let (dataset, event, reply) = (self.dataset.clone(), self.event.clone(), self.reply.clone());
        let finish = move |result| {
            // Both fail only where nobody is interested any more.
            let _ = reply.send((ticket, result));
            let _ = rustix::io::write(&event, &1u64.to_ne_bytes());
        };
        let failed = finish.clone();
        let work = move || {
            let map = AssertUnwindSafe(|| dataset.map(rows, &*reduction, &cancelled));
            finish(catch_unwind(map).unwrap_or(Err("the thread that mapped its rows has died".into())));
        };
        if let Err(e) = Builder::new().name(format!("map {ticket}")).spawn(work) {
            failed(Err(format!("it has no thread for its rows: {e}")));
        }
    }

    /// Its result is no longer wanted.
    pub fn call_off(&mut self, ticket: u64) {
        if let Some(cancelled) = self.cancels.remove(&ticket) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// All that is done and wanted.
    pub fn take_done(&mut self) -> Vec<Done> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.event, &mut count); // empty where somebody was faster
        let done = self.done.try_iter();
        done.filter(|(ticket, _)| self.cancels.remove(ticket).is_some()).collect()
    }
}

impl AsFd for Maps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        self.cancels.values().for_each(|cancelled| cancelled.store(true, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reduction::Function;
    use rustix::event::{PollFd, PollFlags, poll};

    /// The numbers 0, 1, 2 and so on; row 66 panics, row 77 waits until it is called off.
    struct Counting;

    impl Dataset for Counting {
        fn id(&self) -> Id {
            Id([1; 20])
        }

        fn map(
            &self,
            rows: Range<u64>,
            reduction: &dyn Reduction,
            cancelled: &AtomicBool,
        ) -> Result<I256, String> {
            assert!(rows.start != 66, "row 66");
            while rows.start == 77 && !cancelled.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            let numbers: Vec<i64> = rows.map(|row| row as i64).collect();
            Ok(reduction.map(reduction.identity(), &numbers))
        }
    }

    fn next(maps: &mut Maps) -> Vec<Done> {
        poll(&mut [PollFd::new(maps, PollFlags::IN)], None).unwrap();
        maps.take_done()
    }

    #[test]
    fn results_come_once_and_wake_and_a_panic_is_a_reason() {
        let mut maps = Maps::new(Arc::new(Counting)).unwrap();
        maps.begin(1, 1..5, Arc::new(Function::Sum));
        assert_eq!(next(&mut maps), [(1, Ok(I256::from(10)))]);
        maps.begin(2, 66..67, Arc::new(Function::Sum));
        let died = Err("the thread that mapped its rows has died".to_owned());
        assert_eq!(next(&mut maps), [(2, died)]);
        assert!(maps.take_done().is_empty() && maps.cancels.is_empty());
    }

    #[test]
    fn what_is_called_off_ends_and_is_not_told() {
        let mut maps = Maps::new(Arc::new(Counting)).unwrap();
        maps.begin(1, 77..80, Arc::new(Function::Sum));
        maps.call_off(1);
        // It ends, since it was called off; its result goes nowhere.
        assert!(next(&mut maps).is_empty());
        let event = {
            maps.begin(2, 77..80, Arc::new(Function::Sum));
            let event = maps.event.clone();
            drop(maps);
            event
        };
        poll(&mut [PollFd::new(&*event, PollFlags::IN)], None).unwrap();
    }
}
