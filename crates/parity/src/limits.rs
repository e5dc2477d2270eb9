//! Every bound of this room, its unit in its name.

/// What dirty tracking tells apart, the pages of the processor.
pub const PAGE_BYTES: usize = 4096;
/// Application processors at most.
pub const MAX_WORKERS: usize = 64;
/// Holders of parity at most, a backup among them.
pub const MAX_HOLDERS: usize = 8;
/// Bytes of one worker's state at most.
pub const MAX_ARENA_BYTES: usize = 64 << 30;
/// Arenas of a process whose writes are noticed by signals, at most.
pub const MAX_SIGNAL_ARENAS: usize = 64;
/// Pages that mprotect lets through one by one between two checkpoints. Each may cost two of the mappings that a
/// process has (65,530, where nobody has changed vm.max_map_count), and others need some too.
pub const MAX_SINGLE_PAGES: u32 = 1 << 14;
/// Pages that it lets through together from there on: what one page of the page table maps.
pub const CHUNK_PAGES: u32 = 512;
/// Bytes of one message between workers at most.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;
