//! userfaultfd: write protection apart from mappings, and a kernel that lifts it by itself.
//!
//! The lesson: the kernel keeps a bit in each page table entry. With `WP_ASYNC` the first write clears it, with
//! no signal and no message, and `PAGEMAP_SCAN` lists the pages whose bit is cleared and sets it again in the
//! same step: between both there is no moment in which a write goes by unseen.
//!
//! No rights are needed: the descriptor is asked for with `UFFD_USER_MODE_ONLY`, which promises not to handle
//! faults of the kernel. It does not have to: with `WP_ASYNC` there is nothing to handle, and with SIGBUS they
//! fail. Sandboxes may forbid the call all the same.
//!
//! See userfaultfd(2), ioctl_userfaultfd(2) and PAGEMAP_SCAN(2const).

use super::{Track, refused};
use crate::arena::memory::Mapping;
use crate::arena::{Error, Mechanism, Shadow};
use crate::limits::PAGE_BYTES;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};
use rustix::mm::UserfaultfdFlags;
use std::ffi::c_void;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

// From linux/userfaultfd.h.
const USER_MODE_ONLY: UserfaultfdFlags = UserfaultfdFlags::from_bits_retain(1);
const API_VERSION: u64 = 0xaa;
const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
const FEATURE_SIGBUS: u64 = 1 << 7;
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const REGISTER_MODE_WP: u64 = 1 << 1;
const WRITEPROTECT_MODE_WP: u64 = 1 << 0;
// From linux/fs.h.
const WP_MATCHING: u64 = 1 << 0;
const CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;

/// Runs of dirty pages that one scan returns at most, 24 bytes each.
const RUNS: usize = 1024;

#[repr(C)]
struct Api {
    version: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    bytes: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct WriteProtect {
    start: u64,
    bytes: u64,
    mode: u64,
}

#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    runs: u64,
    runs_room: u64,
    max_pages: u64,
    inverted: u64,
    mask: u64,
    any_of: u64,
    returned: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Run {
    start: u64,
    end: u64,
    categories: u64,
}

/// What the kernel reads and writes in a call.
///
/// # Safety
/// The layout is that of the structure in the kernel's headers, and the opcode that of its call.
unsafe trait Argument {
    const OPCODE: Opcode;
}

// SAFETY: `struct uffdio_api` and `UFFDIO_API`.
unsafe impl Argument for Api {
    const OPCODE: Opcode = opcode::read_write::<Api>(0xaa, 0x3f);
}

// SAFETY: `struct uffdio_register` with its `struct uffdio_range` in place, and `UFFDIO_REGISTER`.
unsafe impl Argument for Register {
    const OPCODE: Opcode = opcode::read_write::<Register>(0xaa, 0x00);
}

// SAFETY: `struct uffdio_writeprotect` with its `struct uffdio_range` in place, and `UFFDIO_WRITEPROTECT`.
unsafe impl Argument for WriteProtect {
    const OPCODE: Opcode = opcode::read_write::<WriteProtect>(0xaa, 0x06);
}

// SAFETY: `struct pm_scan_arg` and `PAGEMAP_SCAN`; its `vec` points to `struct page_region`s, which are `Run`s.
unsafe impl Argument for Scan {
    const OPCODE: Opcode = opcode::read_write::<Scan>(b'f', 16);
}

struct Call<'a, T>(&'a mut T);

// SAFETY: by the contract of `Argument`. The kernel returns a plain number.
unsafe impl<T: Argument> Ioctl for Call<'_, T> {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        T::OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut *self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<IoctlOutput, Errno> {
        Ok(output)
    }
}

/// A userfaultfd that write-protects pages of a mapping.
pub struct Userfault {
    descriptor: OwnedFd,
    mapping: Arc<Mapping>,
}

impl Userfault {
    /// The first write to a page that is protected is a SIGBUS of the thread that writes.
    pub fn with_signals(mapping: &Arc<Mapping>) -> Result<Userfault, Error> {
        let mechanism = Mechanism::UserfaultSignal;
        // What is not in the page table cannot be protected before Linux 6.4.
        let needs = "Linux 5.14 or later, to fill page tables";
        mapping.populate().map_err(|e| unsupported(mechanism, needs, e))?;
        let needs = "Linux 5.11 or later, with write protection by userfaultfd";
        Userfault::new(mechanism, mapping, FEATURE_SIGBUS | FEATURE_PAGEFAULT_FLAG_WP, needs)
    }

    fn new(
        mechanism: Mechanism,
        mapping: &Arc<Mapping>,
        features: u64,
        needs: &'static str,
    ) -> Result<Userfault, Error> {
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK | USER_MODE_ONLY;
        // SAFETY: a descriptor that nobody else knows of, and by which only `mapping` is registered.
        let descriptor = unsafe { rustix::mm::userfaultfd(flags) };
        let descriptor = descriptor.map_err(|e| match e {
            Errno::PERM | Errno::ACCESS => Error::NotPermitted { mechanism },
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
                Error::System { call: "userfaultfd", source: e.into() }
            }
            e => unsupported(mechanism, needs, e),
        })?;
        let mut api = Api { version: API_VERSION, features, ioctls: 0 };
        // SAFETY: the kernel writes `api` and nothing else.
        unsafe { rustix::ioctl::ioctl(&descriptor, Call(&mut api)) }
            .map_err(|e| unsupported(mechanism, needs, e))?;
        let addresses = mapping.addresses(0..mapping.pages());
        let (start, bytes) = (addresses.start as u64, addresses.len() as u64);
        let mut register = Register { start, bytes, mode: REGISTER_MODE_WP, ioctls: 0 };
        // SAFETY: the kernel writes `register`, and of the mapping, which outlives the descriptor beside it, it
        // changes only whether writing faults.
        unsafe { rustix::ioctl::ioctl(&descriptor, Call(&mut register)) }
            .map_err(|e| unsupported(mechanism, needs, e))?;
        let userfault = Userfault { descriptor, mapping: mapping.clone() };
        userfault.protect(0..mapping.pages(), false).map_err(|e| unsupported(mechanism, needs, e))?;
        Ok(userfault)
    }

    /// Lets pages be written, or not. May be called by a signal handler.
    pub fn protect(&self, pages: Range<u32>, writable: bool) -> Result<(), Errno> {
        let addresses = self.mapping.addresses(pages);
        let (start, bytes) = (addresses.start as u64, addresses.len() as u64);
        let mode = if writable { 0 } else { WRITEPROTECT_MODE_WP };
        loop {
            let mut protect = WriteProtect { start, bytes, mode };
            // SAFETY: the kernel reads `protect` and changes, of pages that are mapped as long as `self`, only
            // whether writing them faults.
            match unsafe { rustix::ioctl::ioctl(&self.descriptor, Call(&mut protect)) } {
                Err(Errno::AGAIN) => {}
                done => return done.map(|_| ()),
            }
        }
    }
}

fn unsupported(mechanism: Mechanism, needs: &'static str, e: Errno) -> Error {
    Error::Unsupported { mechanism, needs, source: e.into() }
}

/// The kernel notices.
pub struct Asynchronous {
    userfault: Userfault,
    pagemap: File,
}

impl Asynchronous {
    pub fn new(mapping: &Arc<Mapping>) -> Result<Asynchronous, Error> {
        let mechanism = Mechanism::UserfaultAsync;
        let needs = "Linux 6.7 or later, with userfaultfd";
        let userfault = Userfault::new(mechanism, mapping, FEATURE_WP_ASYNC, needs)?;
        let pagemap = File::open("/proc/self/pagemap");
        let needs = "/proc/self/pagemap, with PAGEMAP_SCAN";
        let pagemap = pagemap.map_err(|source| Error::Unsupported { mechanism, needs, source })?;
        let tracker = Asynchronous { userfault, pagemap };
        tracker.scan(false, |_| ()).map_err(|e| unsupported(mechanism, needs, e))?;
        Ok(tracker)
    }

    /// Finds runs of dirty pages.
    fn scan(&self, renew: bool, mut found: impl FnMut(Range<u32>)) -> Result<(), Errno> {
        let mapping = &self.userfault.mapping;
        let addresses = mapping.addresses(0..mapping.pages());
        let mut runs = vec![Run::default(); RUNS];
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            flags: CHECK_WPASYNC | if renew { WP_MATCHING } else { 0 },
            start: addresses.start as u64,
            end: addresses.end as u64,
            runs: runs.as_mut_ptr().expose_provenance() as u64,
            runs_room: RUNS as u64,
            mask: PAGE_IS_WRITTEN,
            returned: PAGE_IS_WRITTEN,
            ..Scan::default()
        };
        let page = |address: u64| ((address as usize - addresses.start) / PAGE_BYTES) as u32;
        while scan.start < scan.end {
            // SAFETY: the kernel writes `scan` and at most `RUNS` of `runs`, whose pointer is taken anew by
            // nobody before they are read; of the mapping it changes only whether writing faults.
            let count = unsafe { rustix::ioctl::ioctl(self.pagemap.as_fd(), Call(&mut scan)) }?;
            for run in &runs[..count as usize] {
                found(page(run.start)..page(run.end));
            }
            scan.start = scan.walk_end;
        }
        Ok(())
    }
}

impl Track for Asynchronous {
    fn dirty(
        &self,
        _live: &[AtomicU64],
        _shadow: &Shadow,
        renew: bool,
        pages: &mut Vec<u32>,
    ) -> Result<(), Error> {
        self.scan(renew, |run| pages.extend(run))
            .map_err(|e| Error::System { call: "PAGEMAP_SCAN", source: e.into() })
    }

    fn lift(&self, pages: Range<u32>) -> Result<(), Error> {
        self.userfault.protect(pages, true).map_err(refused("UFFDIO_WRITEPROTECT"))
    }
}
