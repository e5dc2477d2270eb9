//! Every bound of the grader, its unit in its name.

/// Most bytes of a packed archive that are read.
pub const ARCHIVE_BYTES: u64 = 32 << 20;
/// Most bytes of all files of a submission, unpacked.
pub const UNPACKED_BYTES: u64 = 64 << 20;
/// Most bytes of one file of a submission.
pub const FILE_BYTES: u64 = 32 << 20;
/// Most entries of an archive or folder.
pub const ENTRIES: usize = 5_000;
/// Most bytes of a path inside a submission.
pub const PATH_BYTES: usize = 400;
/// Most times that an archive may grow when it is unpacked, beyond the first `RATIO_FREE_BYTES`.
pub const RATIO: u64 = 100;
/// Bytes that may be unpacked without looking at the ratio.
pub const RATIO_FREE_BYTES: u64 = 4 << 20;
/// Most bytes of a text file of a submission that are looked at.
pub const LOOKED_AT_BYTES: usize = 1 << 20;
/// Most bytes of one terminal's output in one run; a program that prints more is ended.
pub const SCREEN_BYTES: usize = 256 << 10;
/// Most lines of one screen that are compared and shown.
pub const SCREEN_LINES: usize = 200;
/// Most characters of one line that are shown.
pub const LINE_CHARS: usize = 400;
