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
/// Most files that a TA may add to the inputs: each costs a run of every function and repeat.
pub const CASES: usize = 50;
/// Most bytes of one such file.
pub const CASE_BYTES: u64 = 2 << 20;
/// Most rows of one such file.
pub const CASE_ROWS: usize = 90_000;
/// Most characters of an input's name.
pub const CASE_NAME_CHARS: usize = 40;
/// Most lines of the compiler's output that a report shows: as many of its end as of its start.
pub const REPORT_BUILD_LINES: usize = 200;
/// Most names of handed-in files that a report lists.
pub const REPORT_FILES: usize = 200;
/// Most characters of a test's output in Gradescope's results.
pub const GRADESCOPE_OUTPUT_CHARS: usize = 20_000;
/// Most bytes of a policy file.
pub const POLICY_BYTES: u64 = 64 << 10;
/// Most points that a key of a policy may say.
pub const POLICY_POINTS: f64 = 1000.0;
/// Most remarks of one kind.
pub const REMARKS: usize = 8;
/// Most runs that are shown because a loss cites them.
pub const SHOWN_RUNS: usize = 8;
/// Most bytes that an archive's stream may have: its files, and headers and padding between them.
pub const STREAM_BYTES: u64 = UNPACKED_BYTES + ENTRIES as u64 * 4096;
/// Most bytes of a record that only describes the next entry of an archive.
pub const EXTENSION_BYTES: u64 = 64 << 10;
/// Most bytes of one name in a path: what Linux allows.
pub const NAME_BYTES: usize = 255;
/// Most symbolic links of a submission: each is followed on paper before any is made.
pub const LINKS: usize = 100;
/// Most links on the way to where a link leads: as many as Linux follows.
pub const LINK_HOPS: usize = 40;
/// Most characters of a submission's own words that a message repeats.
pub const QUOTED_CHARS: usize = 120;
