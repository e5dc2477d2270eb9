//! Every bound of the grader, its unit in its name.

use std::time::Duration;

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

/// Most processor seconds of one process of a submission.
pub const CPU_SECONDS: u64 = 60;
/// Most bytes of one file that a submission writes.
pub const WRITTEN_FILE_BYTES: u64 = 64 << 20;
/// Most bytes of all files that a submission writes, in each of its two file systems.
pub const WRITTEN_BYTES: u64 = 256 << 20;
/// Most open files of one process of a submission.
pub const OPEN_FILES: u64 = 512;
/// Most processes of a submission at a time, the grader's agent and its threads among them.
pub const PROCESSES: u64 = 128;
/// Most address space of one process of a submission.
pub const ADDRESS_SPACE_BYTES: u64 = 4 << 30;
/// Most memory of all processes of a submission together.
pub const MEMORY_BYTES: u64 = 1 << 30;
/// Most pairs of ports that are told apart.
pub const FLOWS: usize = 4_096;
/// Most bytes of one answer of the agent.
pub const REPLY_BYTES: u64 = 16 << 20;

/// How long `make all` may take.
pub const BUILD_PATIENCE: Duration = Duration::from_secs(60);
/// How long a server may take to come up.
pub const BOOT_PATIENCE: Duration = Duration::from_secs(2);
/// How long all runs of one submission may take; the run that is on then is finished.
pub const BUDGET: Duration = Duration::from_secs(120);
/// How often in a row a client may hang before the rest is left out.
pub const HANGS: usize = 8;
/// How often a submission may bring its own sandbox down.
pub const DEATHS: usize = 3;
