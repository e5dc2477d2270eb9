//! Every bound of this room, its unit in its name.

/// What dirty tracking tells apart, the pages of the processor.
pub const PAGE_BYTES: usize = 4096;
/// Application processors at most.
pub const MAX_WORKERS: usize = 64;
/// Holders of parity at most, a backup among them.
pub const MAX_HOLDERS: usize = 8;
/// Bytes of one worker's state at most.
pub const MAX_ARENA_BYTES: usize = 64 << 30;
/// Bytes of one message between workers at most.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;
