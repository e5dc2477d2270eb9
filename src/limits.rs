//! Every bound, its unit in its name.
//!
//! What comes from outside (a file, a peer, a configuration) is checked against one of these before
//! memory or work is spent on it. What is left out: time limits that a user may set, which are in
//! `config::Deadlines` with these as defaults, and waits that only one module knows (connecting and
//! closing in `io`, a file's time stamp in `numbers`), which are beside their use.

use std::time::Duration;

// --- the input file ---

/// A longer row cannot be an integer that anybody meant.
pub const MAX_ROW_BYTES: usize = 4096;
/// The file is read, parsed and sent in pieces of this size.
pub const PIECE_BYTES: usize = 256 << 10;

// --- TCP frames ---

/// Length of every frame's header.
pub const FRAME_HEADER_BYTES: usize = 16;
/// Most bytes of numbers in one DATA frame.
pub const FRAME_NUMBERS_BYTES: usize = 64 << 10;
/// Most bytes in the body of a DATA frame: the index of the first number, then the numbers.
pub const MAX_DATA_BODY_BYTES: u64 = 8 + FRAME_NUMBERS_BYTES as u64;
/// Most bytes in the body of any other frame.
pub const MAX_CONTROL_BODY_BYTES: u64 = 1024;
/// Most bytes of a reason that travels in a frame or datagram; a longer one is cut.
pub const MAX_TEXT_BYTES: usize = 512;
/// Most bytes in the name of a reduction.
pub const MAX_NAME_BYTES: usize = 16;

/// What a loopback connection's buffers hold, each, on either side. When a backend dies, what is on its way to it
/// there has been sent in vain. The kernel would let it grow to tens of megabytes, to no use where no time passes
/// between the ends.
pub const LOOPBACK_TCP_BYTES: usize = 512 << 10;

// --- UDP datagrams ---

/// Largest UDP payload that an Ethernet path carries whole over IPv4: 1500 - 20 (IPv4) - 8 (UDP). Over IPv6,
/// whose header is 20 bytes longer, the default is that much less, rounded down to a multiple of 8.
pub const NETWORK_DATAGRAM_BYTES: usize = 1472;
/// The same on loopback: the largest multiple of 8 under IPv4's ceiling of 65,507. Over IPv6 as above.
pub const LOOPBACK_DATAGRAM_BYTES: usize = 65_504;
/// Smallest datagram size that may be configured.
pub const MIN_DATAGRAM_BYTES: usize = 256;
/// Most datagrams between the oldest unacknowledged one and the newest sent.
pub const WINDOW_DATAGRAMS: u64 = 4096;
/// Most bytes a sender keeps for retransmission, per shard, of a network's small datagrams: what is
/// behind a lost one must have room until it has been sent again.
pub const NETWORK_RING_BYTES: usize = 4 << 20;
/// The same for loopback's large ones: hardly any is lost, and a ring that stays in the cache is faster.
pub const LOOPBACK_RING_BYTES: usize = 1 << 20;
/// Most bytes of all those together, in one AWS.
pub const SEND_RINGS_BYTES: usize = 64 << 20;
/// What a receiver asks of its socket's buffer; the kernel may give less.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Most bytes handed to one system call under generic segmentation offload.
pub const GSO_BYTES: usize = 65_507;
/// Most datagrams handed to one system call under generic segmentation offload (the kernel's 64).
pub const GSO_SEGMENTS: usize = 64;

// --- jobs ---

/// Most jobs at once in one AWS.
pub const MAX_JOBS: usize = 256;
/// Most clients that have connected to AWS and not said what they want; the oldest makes room.
pub const MAX_GREETINGS: usize = 256;
/// Most jobs at once in one backend.
pub const MAX_BACKEND_JOBS: usize = 1024;
/// Most sessions in which AWS has yet to say a word; the oldest makes room.
pub const MAX_HALF_OPEN: usize = 1024;
/// Most ranges of a dataset that one backend maps at once, a thread for each.
pub const MAX_MAPS: usize = 64;
/// Where backends are checkpointed: how often, at most, a backend says how far a shard is. A shard's next part
/// of so many is what a checkpoint lacks, and what comes until it counts.
pub const KEEPS_PER_SHARD: u64 = 128;
/// Most backends.
pub const MAX_BACKENDS: usize = 256;
/// Times that one shard is tried, the first included, before its job is given up.
pub const MAX_ATTEMPTS: u32 = 16;
/// Longest configuration or key file that is read.
pub const MAX_CONFIG_BYTES: u64 = 64 << 10;

// --- waiting ---

/// First retransmission timeout, before any round trip is measured. RFC 6298 says 1 s; RFC 9002
/// 6.2.2 says 333 ms of round trip; a LAN is faster than either.
pub const INITIAL_RTO: Duration = Duration::from_millis(100);
/// A round trip on loopback, before any is measured.
pub const LOOPBACK_RTT: Duration = Duration::from_millis(1);
/// Least retransmission timeout. RFC 6298's 1 s is for the clocks of 1988; this is RFC 9002's
/// granularity (1 ms) with room for a busy scheduler.
pub const MIN_RTO: Duration = Duration::from_millis(10);
/// The back-off stops doubling here, so that a backend that comes back is found soon.
pub const MAX_RTO: Duration = Duration::from_millis(250);
/// Longest that a receiver keeps an acknowledgement back.
pub const MAX_ACK_DELAY: Duration = Duration::from_millis(1);
/// The same where one is missing: soon, but once for all that are missing in one batch.
pub const GAP_ACK_DELAY: Duration = Duration::from_micros(200);
/// A quiet backend is asked for a sign of life this often.
pub const PING_INTERVAL: Duration = Duration::from_millis(250);
/// A backend silent this long is dead (or cut off): its shard is begun anew. A session in which AWS has
/// yet to say a word is forgotten by its backend after as long.
pub const BACKEND_SILENCE: Duration = Duration::from_millis(1500);
/// A backend that hears nothing from AWS for this long forgets the job.
pub const JOB_SILENCE: Duration = Duration::from_secs(5);
/// How long AWS repeats "done" to a backend that does not confirm.
pub const LINGER: Duration = Duration::from_secs(2);
/// AWS gives a waiting client a sign of life this often.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// A client that hears nothing from AWS for this long gives up.
pub const AWS_SILENCE: Duration = Duration::from_secs(10);
/// A checkpointed backend that is started waits this long at most for what was kept before it accepts a job:
/// others dial it once a second at least, and the parity of a few pages is nothing.
pub const KEPT_WAIT: Duration = Duration::from_secs(3);
/// Default of `deadlines.client_stall_s`: what a client may take over one frame.
pub const CLIENT_STALL: Duration = Duration::from_secs(10);
/// Default of `deadlines.restart_wait_s`: how long a job waits for a dead backend, or for numbers to reach
/// a living one.
pub const RESTART_WAIT: Duration = Duration::from_secs(30);
