//! Whole pages of memory from the kernel, whose access rights may change.
//!
//! The lesson: the address and the access are two values. A [`Mapping`] keeps the pages mapped and changes who
//! may write them, and never looks at them: trackers share it. [`Memory`] is the only one who looks, and is
//! borrowed as any Rust value is.
//!
//! Left out: huge pages. A write must make 4 KiB dirty and not 2 MiB, and what is never touched must cost nothing.

use super::Error;
use crate::limits::{MAX_ARENA_BYTES, PAGE_BYTES};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Pages of memory, zeros at first.
pub struct Memory {
    mapping: Arc<Mapping>,
}

/// Where they are. The last one who has it unmaps them.
pub struct Mapping {
    start: NonNull<c_void>,
    pages: u32,
}

// SAFETY: an address and a length; every method is a system call, which any thread may make.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Memory {
    /// Pages of zeros, which take memory when they are touched.
    pub fn new(pages: u32) -> Result<Memory, Error> {
        let bytes = pages as usize * PAGE_BYTES;
        if pages == 0 || bytes > MAX_ARENA_BYTES {
            return Err(Error::Size { pages });
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so that nothing else is there.
        let start = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, access, MapFlags::PRIVATE)
        };
        let start = start.ok().and_then(NonNull::new).ok_or(Error::OutOfMemory { bytes })?;
        let mapping = Mapping { start, pages };
        // A kernel that knows no huge pages refuses, and has none.
        mapping.advise(Advice::LinuxNoHugepage).ok();
        Ok(Memory { mapping: Arc::new(mapping) })
    }

    /// Where it is, for who changes the access.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        let start = self.mapping.start.cast().as_ptr();
        // SAFETY: mapped as long as `self`, readable whatever the access, and initialised, as the kernel gives
        // zeros. It is `self`'s alone, so that nobody writes while this borrow lasts.
        unsafe { slice::from_raw_parts(start, self.mapping.bytes()) }
    }

    /// All of it, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.mapping.start.cast().as_ptr();
        // SAFETY: as in `bytes`, and nobody reads. Where a page is read-only, writing faults, and goes on when a
        // handler has made it writable; where none can, the process dies.
        unsafe { slice::from_raw_parts_mut(start, self.mapping.bytes()) }
    }

    /// All of it, to write from many threads.
    pub fn atomics(&mut self) -> &[AtomicU64] {
        let start = self.mapping.start.cast().as_ptr();
        // SAFETY: as in `bytes_mut`: the exclusive borrow becomes a shared one of atomics, which have the layout
        // of the 8 bytes that they are in, at an address that pages of 4 KiB align.
        unsafe { slice::from_raw_parts(start, self.mapping.bytes() / size_of::<AtomicU64>()) }
    }
}

impl Mapping {
    /// How many pages.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// The number of the first page among all pages of the address space.
    pub fn first_page(&self) -> usize {
        self.start.addr().get() / PAGE_BYTES
    }

    /// The addresses of some pages.
    pub fn addresses(&self, pages: Range<u32>) -> Range<usize> {
        assert!(pages.start <= pages.end && pages.end <= self.pages, "pages that are mapped");
        let start = self.start.addr().get();
        start + pages.start as usize * PAGE_BYTES..start + pages.end as usize * PAGE_BYTES
    }

    /// Lets pages be written, or not. May be called by a signal handler.
    pub fn protect(&self, pages: Range<u32>, writable: bool) -> Result<(), Errno> {
        let addresses = self.addresses(pages);
        let mut access = MprotectFlags::READ;
        access.set(MprotectFlags::WRITE, writable);
        // SAFETY: within what is mapped. Reading stays allowed; writing may begin to fault, which no reference
        // minds: see `bytes_mut`.
        unsafe {
            let start = self.start.as_ptr().with_addr(addresses.start);
            rustix::mm::mprotect(start, addresses.len(), access)
        }
    }

    /// Has every page in the page table, the same page of zeros where none was written.
    pub fn populate(&self) -> Result<(), Errno> {
        self.advise(Advice::LinuxPopulateRead)
    }

    fn bytes(&self) -> usize {
        self.pages as usize * PAGE_BYTES
    }

    fn advise(&self, advice: Advice) -> Result<(), Errno> {
        // SAFETY: within what is mapped, and neither advice that is given changes what is in it.
        unsafe { rustix::mm::madvise(self.start.as_ptr(), self.bytes(), advice) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `Memory::new` and by nobody else; `Memory`, from which all references are borrowed,
        // is gone, as it holds a share of this. An error leaves it mapped, which harms nobody.
        unsafe { rustix::mm::munmap(self.start.as_ptr(), self.bytes()) }.ok();
    }
}
