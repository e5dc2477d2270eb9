//! Every bound of this room, its unit in its name.

use std::time::Duration;

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
/// Numbers that the example of sorting takes at most.
pub const MAX_RECORDS: usize = 1 << 36;
/// Rows of a matrix, and nodes of a graph, at most.
pub const MAX_SIDE: usize = 1 << 20;

/// Bytes of a frame at most: a message and its header, or some pages.
pub const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES + 4096;
/// Pages that travel in one frame.
pub const PAGES_PER_FRAME: usize = 64;
/// Frames that wait for a member's thread; then TCP pushes back.
pub const QUEUE_FRAMES: usize = 256;
/// Connections from others at once.
pub const MAX_STRANGERS: usize = 4 * (MAX_WORKERS + MAX_HOLDERS);
/// How long the first words of a link may take.
pub const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// How often a link that has nothing to say says so.
pub const PING_PERIOD: Duration = Duration::from_secs(1);
/// A link that has said nothing for so long is lost.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// How long after a link is lost, or was not had, it is dialled again; doubled up to the second.
pub const DIAL_PAUSE: Duration = Duration::from_millis(20);
/// See [`DIAL_PAUSE`].
pub const MAX_DIAL_PAUSE: Duration = Duration::from_secs(1);

/// How long a task may have no room for its messages, checkpoint after checkpoint, until that is an error.
pub const FULL_LOG_LIMIT: Duration = Duration::from_secs(60);

/// How often a member is started again.
pub const MAX_RESTARTS: u32 = 1000;
/// How long members may take to end once the first has.
pub const PARTING_LIMIT: Duration = Duration::from_secs(5);

/// How often a group of backends takes a checkpoint at most, while there is something new.
pub const GROUP_INTERVAL: Duration = Duration::from_millis(3);
/// How long after a group has failed a member begins anew.
pub const GROUP_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a script at most.
pub const MAX_SCRIPT_BYTES: u64 = 1 << 20;
/// Steps of a script at most.
pub const MAX_SCRIPT_STEPS: usize = 10_000;
/// Bytes of a process's message log in a script.
pub const SCRIPT_LOG_BYTES: usize = 1 << 18;
/// Rows of a process's receipt table in a script.
pub const SCRIPT_RECEIPTS: usize = 4096;

/// Bytes of a testbed's specification at most.
pub const MAX_SPEC_BYTES: u64 = 1 << 20;
/// Messages that a testbed's task sends at most; and those that a worker sends between two checkpoints.
pub const MAX_TESTBED_MESSAGES: u64 = 200_000;
/// See [`MAX_TESTBED_MESSAGES`].
pub const MAX_TESTBED_LOG: u64 = 20_000;
/// Diffs of a testbed's run at most: a checkpoint is one from each worker to each holder.
pub const MAX_TESTBED_DIFFS: f64 = 500_000.0;
/// Deaths that a specification lists at most, or that are to be expected.
pub const MAX_TESTBED_KILLS: usize = 10_000;
/// Pages that stand for a worker's working set or its log; for what a buffer holds where there is one.
pub const TESTBED_PAGES: u64 = 32;
/// Pages of a testbed's working set, or of its log, at most.
pub const MAX_TESTBED_PAGES: u64 = 128;
/// Things that happen in one simulated run at most.
pub const MAX_TESTBED_EVENTS: u64 = 20_000_000;
/// A simulated run that takes so many times as long as the task alone comes to no end.
pub const MAX_TESTBED_FACTOR: f64 = 20.0;
