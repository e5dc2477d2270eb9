//! From a signal to the arena that was written.
//!
//! The lesson: a handler may use nothing but atomics. It finds the arena of an address in a fixed list, whose
//! entries are one word each (first page and number of pages), so that none is ever half of one arena and half
//! of another. Faults elsewhere are not ours: they go to whoever handled them before, and where that was nobody,
//! the process dies of the signal, as it should.
//!
//! Left out: to put the previous handler back when the last arena is gone. Somebody may have chained to ours.

use super::watch::Watch;
use super::{Error, Track};
use crate::arena::Shadow;
use crate::limits::{MAX_ARENA_BYTES, MAX_SIGNAL_ARENAS, PAGE_BYTES};
use libc::{c_int, c_void, siginfo_t};
use std::io;
use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The arenas of this process.
static ARENAS: [Slot; MAX_SIGNAL_ARENAS] = [const { Slot::new() }; MAX_SIGNAL_ARENAS];
/// The signals of pages that may not be written, with the code of such a fault (`SEGV_ACCERR`, `BUS_ADRERR`),
/// and who handled them before.
static SIGNALS: [Signal; 2] =
    [Signal::new(libc::SIGSEGV, 2), Signal::new(libc::SIGBUS, libc::BUS_ADRERR)];
/// Held to install handlers.
static TURN: Mutex<()> = Mutex::new(());

/// The bits of an entry that say how many pages: enough for the largest arena.
const COUNT_BITS: u32 = 25;
const _: () = assert!(MAX_ARENA_BYTES / PAGE_BYTES < 1 << COUNT_BITS);

struct Slot {
    /// The first page and how many, or 0.
    range: AtomicU64,
    /// From `Arc::into_raw`, and there before `range` is, and until it is not; null for a free slot.
    watch: AtomicPtr<Watch>,
}

struct Signal {
    number: c_int,
    code: c_int,
    previous: OnceLock<libc::sigaction>,
}

/// A watch that the handler knows of, as long as this lives.
pub struct Registered {
    slot: &'static Slot,
    watch: Arc<Watch>,
}

impl Registered {
    pub fn new(watch: Watch) -> Result<Registered, Error> {
        SIGNALS.iter().try_for_each(Signal::install)?;
        let watch = Arc::new(watch);
        let pointer = Arc::into_raw(watch.clone()).cast_mut();
        let take = |slot: &&Slot| {
            let free = ptr::null_mut();
            slot.watch.compare_exchange(free, pointer, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let Some(slot) = ARENAS.iter().find(take) else {
            // SAFETY: from `into_raw` above, and in no slot.
            drop(unsafe { Arc::from_raw(pointer) });
            return Err(Error::TooMany);
        };
        let first = watch.mapping.first_page() as u64;
        // Linux maps beyond 2^51 only where it is asked to.
        assert!(first >> (u64::BITS - COUNT_BITS) == 0, "an address of a process");
        slot.range.store(first << COUNT_BITS | u64::from(watch.mapping.pages()), Ordering::Release);
        Ok(Registered { slot, watch })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.slot.range.store(0, Ordering::Release);
        let pointer = self.slot.watch.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: from `into_raw` in `new`, and taken out once. No handler uses it: each does so while a thread is
        // writing the arena, and whoever drops this owns the arena.
        drop(unsafe { Arc::from_raw(pointer) });
    }
}

impl Track for Registered {
    fn dirty(
        &self,
        live: &[AtomicU64],
        shadow: &Shadow,
        renew: bool,
        pages: &mut Vec<u32>,
    ) -> Result<(), Error> {
        self.watch.dirty(live, shadow, renew, pages)
    }

    fn lift(&self, pages: Range<u32>) -> Result<(), Error> {
        self.watch.lift(pages)
    }
}

impl Slot {
    const fn new() -> Slot {
        Slot { range: AtomicU64::new(0), watch: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Lets the page at an address be written, if it is one of this arena.
    fn admit(&self, address: usize) -> bool {
        let range = self.range.load(Ordering::Acquire);
        let (first, pages) = (range >> COUNT_BITS, range & ((1 << COUNT_BITS) - 1));
        let page = ((address / PAGE_BYTES) as u64).wrapping_sub(first);
        if page >= pages {
            return false;
        }
        // SAFETY: the address is in the arena of this slot, and a thread, which is this one, is writing there: so
        // the arena is borrowed, its `Registered` not dropped before this returns, and the pointer, which was
        // there before `range` was, stays. A `Watch` is only shared, here and elsewhere.
        let watch = unsafe { &*self.watch.load(Ordering::Acquire) };
        watch.admit(page as u32)
    }
}

impl Signal {
    const fn new(number: c_int, code: c_int) -> Signal {
        Signal { number, code, previous: OnceLock::new() }
    }

    /// Has our handler called from here on, once in a process.
    fn install(&self) -> Result<(), Error> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if self.previous.get().is_some() {
            return Ok(());
        }
        // Asked for before, as a fault elsewhere may come as soon as ours is in place.
        let previous = action(self.number, None)?;
        self.previous.get_or_init(|| previous);
        // SAFETY: a structure of numbers, for which zeros are valid: no flags, no handler, an empty mask.
        let mut ours: libc::sigaction = unsafe { mem::zeroed() };
        ours.sa_sigaction = on_fault as *const () as usize;
        // On the stack for signals where the thread has one, as Rust's handler of a stack that overflows needs it.
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: the mask is ours to write. With all signals blocked no other handler runs inside the gate.
        unsafe { libc::sigfillset(&mut ours.sa_mask) };
        action(self.number, Some(&ours)).map(|_| ())
    }

    /// Has a fault that is not ours handled as if we were not there.
    fn pass_on(&self, info: *mut siginfo_t, context: *mut c_void) {
        let handler = self.previous.get().map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
        // SAFETY: `info` is what the kernel gave the handler.
        let sent = unsafe { (*info).si_code } <= 0;
        match handler {
            // A signal that somebody sent is ignored; a fault cannot be, and is fatal.
            libc::SIG_IGN if sent => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                // SAFETY: as in `install`.
                let mut fatal: libc::sigaction = unsafe { mem::zeroed() };
                fatal.sa_sigaction = libc::SIG_DFL;
                // An error leaves ours in place, and there is nobody to tell.
                action(self.number, Some(&fatal)).ok();
                // What faulted is run again when this returns, and faults again; what was sent is sent again.
                if sent {
                    // SAFETY: it is blocked until this returns.
                    unsafe { libc::raise(self.number) };
                }
            }
            handler => {
                let with_info = self.previous.get().is_some_and(|p| p.sa_flags & libc::SA_SIGINFO != 0);
                // SAFETY: it is neither of the two constants, so it is the function that was installed, of the
                // type that its flags say.
                unsafe {
                    if with_info {
                        type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                        mem::transmute::<usize, Handler>(handler)(self.number, info, context);
                    } else {
                        mem::transmute::<usize, extern "C" fn(c_int)>(handler)(self.number);
                    }
                }
            }
        }
    }
}

/// Runs in the thread that faulted. Of the calls in it, those by rustix do not touch `errno`, and those by libc
/// are made only where the fault is not ours.
extern "C" fn on_fault(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: `info` is what the kernel gave. The code says that it is of a fault, so that it has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    let Some(signal) = SIGNALS.iter().find(|signal| signal.number == number) else { return };
    let ours = code == signal.code && ARENAS.iter().any(|slot| slot.admit(address));
    if !ours {
        signal.pass_on(info, context);
    }
}

/// Changes how a signal is handled, or does not, and returns how it was.
fn action(number: c_int, new: Option<&libc::sigaction>) -> Result<libc::sigaction, Error> {
    let mut old = MaybeUninit::uninit();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: both are structures of the kind that is expected, or null; the handler, where there is one, is
    // `on_fault`, which can be called at any moment.
    if unsafe { libc::sigaction(number, new, old.as_mut_ptr()) } != 0 {
        return Err(Error::System { call: "sigaction", source: io::Error::last_os_error() });
    }
    // SAFETY: written, as there was no error.
    Ok(unsafe { old.assume_init() })
}
