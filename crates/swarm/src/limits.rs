//! Every bound of this crate, its unit in its name. What comes from outside is held against one of these
//! before memory or work is spent on it.

use std::time::Duration;

/// What we ask for at a time (BEP 3: "current implementations use 2^14").
pub const BLOCK_BYTES: u32 = 16 << 10;
/// The largest request that we serve: some clients ask for more than a block.
pub const MAX_REQUEST_BYTES: u32 = 128 << 10;
/// The largest piece of a torrent that we take part in.
pub const MAX_PIECE_BYTES: u32 = 16 << 20;
/// The smallest: smaller ones cost more in hashes and HAVEs than they are worth.
pub const MIN_PIECE_BYTES: u32 = 16 << 10;
/// Pieces of a torrent at most: its hashes are 20 bytes each, its bitfield a bit.
pub const MAX_PIECES: u32 = 1 << 20;
/// A .torrent file, or metadata from a peer (BEP 9).
pub const MAX_METAINFO_BYTES: usize = 32 << 20;
/// Files of a torrent.
pub const MAX_FILES: usize = 1 << 16;
/// Components of a file's path, and bytes of each.
pub const MAX_PATH_COMPONENTS: usize = 64;
/// Bytes of a path component (Linux: `NAME_MAX`).
pub const MAX_NAME_BYTES: usize = 255;
/// Trackers of a torrent that are asked.
pub const MAX_TRACKERS: usize = 16;
/// How deep bencoded values nest.
pub const MAX_BENCODE_DEPTH: usize = 16;

/// The longest message of the peer wire: a bitfield of [`MAX_PIECES`], which exceeds a block and its header.
pub const MAX_MESSAGE_BYTES: usize = MAX_PIECES as usize / 8 + 64;
/// An extended message (BEP 10): a metadata block of 16 KiB and its header, or the addresses of BEP 11.
pub const MAX_EXTENDED_BYTES: usize = (16 << 10) + 1024;
/// Addresses taken from one message of peer exchange (BEP 11 allows 50 a kind and family).
pub const MAX_PEX_PEERS: usize = 200;
/// Addresses taken from one answer of a tracker.
pub const MAX_TRACKER_PEERS: usize = 1000;
/// An answer of a tracker.
pub const MAX_TRACKER_ANSWER_BYTES: usize = 256 << 10;

/// Requests of one peer that wait to be served; more are rejected. Told as `reqq` (BEP 10).
pub const MAX_QUEUED_REQUESTS: usize = 1024;
/// Blocks that are asked of one peer at once, at most.
pub const MAX_WINDOW_BLOCKS: usize = 1024;
/// Bytes of pieces that are begun and not verified: the larger part of a leecher's memory.
pub const MAX_OPEN_BYTES: u64 = 32 << 20;
/// Connections of one torrent. More spread news faster and leave each less to do: measured with 20 to 64.
pub const MAX_CONNECTIONS: usize = 40;
/// Peers of a torrent that are served at once: all. With fewer, some hosts fell to a fifth of their rate for
/// seconds: measured with 8 to 40, on virtual time.
pub const UPLOAD_SLOTS: usize = MAX_CONNECTIONS;
/// Addresses of peers that a torrent remembers.
pub const MAX_KNOWN_PEERS: usize = 2000;
/// Peers that were banned and are remembered.
pub const MAX_BANNED: usize = 1000;
/// Pieces that a peer announces one by one before the metadata of a magnet link is there.
pub const MAX_EARLY_HAVES: usize = 4096;
/// Bytes that a peer may send unasked, beyond what was called off: then it is banned. With this, and one bad
/// piece, a malicious peer's waste ends.
pub const MAX_UNASKED_BYTES: u64 = 4 << 20;

/// A connection that says nothing is closed (BEP 3: two minutes between keep-alives).
pub const IDLE_LIMIT: Duration = Duration::from_secs(150);
/// A handshake that is not finished is given up.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

// The driver (`io`).

/// Torrents of one node.
pub const MAX_TORRENTS: usize = 256;
/// Connections of one node, whatever the system would allow.
pub const MAX_NODE_CONNECTIONS: usize = 1000;
/// Connections of one node that have not said whose they are.
pub const MAX_GREETINGS: usize = 100;
/// Files that a torrent keeps open at once.
pub const MAX_OPEN_FILES: usize = 32;
/// Threads that hash pieces: with as many, SHA-1 outruns a 40 Gbit/s link.
pub const MAX_HASH_THREADS: usize = 4;
/// Bytes that are read from disk to be hashed at a time.
pub const HASHED_BYTES: usize = 256 << 10;
/// What is gathered for one write to a socket: eight blocks cost the kernel half of what eight writes of
/// one do, and more of them gain nothing.
pub const SEND_BATCH_BYTES: usize = 8 * (BLOCK_BYTES as usize + 13);
/// What the kernel holds of a connection and has not sent: more could not be cancelled, less starves it.
pub const NOTSENT_BYTES: u32 = 128 << 10;
/// Messages that wait for a peer that does not read: 100 000 HAVEs, or some bitfields. Beyond, the
/// connection is closed.
pub const MAX_UNSENT_BYTES: usize = 1 << 20;
/// What is read from a connection, or sent, before the others have their turn.
pub const TURN_BYTES: usize = 1 << 20;
/// Bytes of a resume file: a bitfield of [`MAX_PIECES`] in hexadecimal digits, and its head.
pub const MAX_RESUME_BYTES: u64 = MAX_PIECES as u64 / 4 + 1024;

/// How old a status can be.
pub const STATUS_PERIOD: Duration = Duration::from_millis(250);
/// Rates are averages over this long.
pub const RATE_WINDOW: Duration = Duration::from_secs(5);
/// How long a tracker may take to answer.
pub const TRACKER_LIMIT: Duration = Duration::from_secs(10);
/// How long leaving a swarm may take: the tracker's ear, and pieces on their way to the disk.
pub const PARTING_LIMIT: Duration = Duration::from_secs(2);
/// How long new connections wait when the system has no descriptors left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// The peer wire.

/// A message of a proposal that we do not follow: it is read and thrown away.
pub const MAX_UNKNOWN_MESSAGE_BYTES: usize = 1024;
/// What metadata is cut in (BEP 9); the last block may be shorter.
pub const METADATA_BLOCK_BYTES: usize = 16 << 10;
/// The name of a peer's program, as it says.
pub const MAX_CLIENT_CHARS: usize = 64;
/// A datagram of local discovery (BEP 14: "should not exceed 1400 bytes").
pub const MAX_DISCOVERY_BYTES: usize = 1400;
/// Torrents of one such datagram: what fits, with a cookie.
pub const MAX_DISCOVERY_HASHES: usize = 24;

// The tracker.
/// How often peers are to announce themselves, as a rule: hosts of a LAN come and go within minutes.
pub const TRACKER_INTERVAL: Duration = Duration::from_secs(120);
/// And when they lack peers.
pub const TRACKER_MIN_INTERVAL: Duration = Duration::from_secs(15);
/// Peers that one is told of who does not say how many: as many as it keeps connections to.
pub const TRACKER_PEERS: usize = MAX_CONNECTIONS;
/// Torrents that are published at once.
pub const MAX_TRACKED_TORRENTS: usize = 1024;
/// Peers of one torrent; beyond, the stalest is forgotten.
pub const MAX_SWARM_PEERS: usize = 1 << 14;
/// Peers of all torrents, about 200 bytes each; beyond, the stalest is forgotten.
pub const MAX_TRACKED_PEERS: usize = 1 << 16;
/// Peers of one torrent at one IP address; beyond, the stalest of them is forgotten.
pub const MAX_PEERS_PER_ADDRESS: usize = 256;
/// The query string of an announce or a scrape.
pub const MAX_QUERY_BYTES: usize = 8 << 10;
/// Torrents that one scrape names.
pub const MAX_SCRAPE_HASHES: usize = 100;
/// The secret by which a peer is known again.
pub const MAX_KEY_BYTES: usize = 64;
/// The address of a tracker.
pub const MAX_URL_BYTES: usize = 2048;
/// What a tracker says in words, as far as it is shown.
pub const MAX_REASON_CHARS: usize = 200;
/// A tracker that wants to be asked less often than this is asked this often.
pub const MAX_TRACKER_INTERVAL: Duration = Duration::from_secs(3600);

// Bencoding and metainfo.
/// Keys of a dictionary that may be out of order: each is remembered until no other was found equal.
pub const MAX_UNSORTED_KEYS: usize = 1024;
/// Bytes of a file's path: the rest of Linux's `PATH_MAX`, 4096, is for the directory it is unpacked in.
pub const MAX_PATH_BYTES: usize = 2048;
/// Bytes of a peer's `host:port`: a name in the DNS has 253 at most.
pub const MAX_HOST_BYTES: usize = 260;
/// Bytes of a magnet link: as many trackers and peers as it may have, each byte escaped.
pub const MAX_MAGNET_BYTES: usize = 256 << 10;
/// Addresses of peers that a magnet link may give.
pub const MAX_MAGNET_PEERS: usize = 64;
/// Pieces that are hashed at the same time while a torrent is made.
pub const MAX_HASHING_BYTES: u32 = 64 << 20;
/// How long a file may go on changing before no torrent is made of it.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(1);
// Packs: directories and files as one file (`image`).

/// Entries of a pack; each costs memory while a tree is packed.
pub const MAX_ENTRIES: u64 = 4 << 20;
/// How deep directories nest in a tree: removing one holds a descriptor a level.
pub const MAX_TREE_DEPTH: usize = 256;
/// Bytes of what precedes an entry: its extended attributes, or a long name.
pub const MAX_HEAD_BYTES: u64 = 1 << 20;
/// Headers that precede an entry: attributes, a long name, a long link.
pub const MAX_HEADS: usize = 8;
/// Bytes of a symbolic link's target (Linux: `PATH_MAX` with its end).
pub const MAX_LINK_BYTES: usize = 4095;
/// Paths and attributes of directories, which are kept until all is unpacked.
pub const MAX_DIRECTORY_BYTES: usize = 256 << 20;
/// Ranges of data in a sparse file, 16 bytes of memory each; with more, small holes are stored as zeros.
pub const MAX_SEGMENTS: usize = 1 << 18;
/// Bytes after an archive's end: programs round archives up, by 10 KiB as a rule.
pub const MAX_TRAILER_BYTES: u64 = 1 << 20;
/// Window of zstd, as a power of two: 8 MiB is what every decoder should allow (RFC 8878, 3.1.1.1.2).
pub const MAX_ZSTD_WINDOW_LOG: u32 = 23;
/// A file of keys (`age` recipients or identities).
pub const MAX_KEY_FILE_BYTES: u64 = 1 << 20;
/// The description beside a pack.
pub const MAX_STAMP_BYTES: u64 = 64 << 10;
/// The kernel's list of mounts.
pub const MAX_MOUNTINFO_BYTES: u64 = 16 << 20;
/// What a staging pool must have beyond what is staged (the paper's 100 MB).
pub const POOL_SPARE_BYTES: u64 = 100 << 20;
/// Program headers of an executable.
pub const MAX_PROGRAM_HEADERS: u16 = 256;
// The image server's outward face: HTTP, catalog, monitor.

/// A request's line and headers.
pub const MAX_HTTP_HEAD_BYTES: usize = 16 << 10;
/// Headers of a request.
pub const MAX_HTTP_HEADERS: usize = 64;
/// A request's body: a client's report.
pub const MAX_HTTP_BODY_BYTES: usize = 8 << 10;
/// Connections that are answered at once.
pub const HTTP_THREADS: usize = 32;
/// Of these, from one address: a host that dawdles must not keep all threads.
pub const MAX_HTTP_SERVED_PER_ADDRESS: usize = 8;
/// Connections that wait for a thread; more are answered 503.
pub const MAX_HTTP_WAITING: usize = 1024;
/// A request is there by then, the handshake of TLS included, or its connection is closed.
pub const HTTP_REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// An answer is taken by then, and a second more for each [`HTTP_SLOWEST_BYTES_PER_S`] of it.
pub const HTTP_ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The slowest client that still gets a large torrent whole.
pub const HTTP_SLOWEST_BYTES_PER_S: usize = 1 << 20;
/// How long what a refused client still sends is thrown away, so that it reads why instead of a reset.
pub const HTTP_LINGER_LIMIT: Duration = Duration::from_secs(1);
/// How much of it.
pub const MAX_HTTP_LINGER_BYTES: usize = 256 << 10;
/// A file that holds a certificate, its key, or authorities.
pub const MAX_PEM_BYTES: u64 = 1 << 20;

/// Images, overrides and bundles that a server publishes.
pub const MAX_CATALOG_ENTRIES: usize = 1000;
/// Bytes of a published name, or of its packed file's: with `.torrent` behind it, it is still a file's name.
pub const MAX_PUBLISHED_NAME_BYTES: usize = 128;
/// Overrides of an image.
pub const MAX_OVERRIDES: usize = 32;
/// The catalog as a client reads it.
pub const MAX_CATALOG_BYTES: usize = 4 << 20;
/// A refusal as a client reads it.
pub const MAX_REFUSAL_BYTES: usize = 4 << 10;
/// From connecting to the last byte of a catalog or a report's answer.
pub const CLIENT_LIMIT: Duration = Duration::from_secs(20);
/// A status as a client reads it: rows of [`MAX_MONITORED`] and [`MAX_OBSERVED`] clients.
pub const MAX_STATUS_BYTES: usize = 64 << 20;
/// From connecting to the answer to a report: who watches is worth no longer wait.
pub const REPORT_LIMIT: Duration = Duration::from_secs(5);
/// From connecting to the last byte of a torrent.
pub const TORRENT_LIMIT: Duration = Duration::from_secs(90);

/// Clients that the monitor knows.
pub const MAX_MONITORED: usize = 20_000;
/// Of these, at one address: whoever invents clients must not drive out the others.
pub const MAX_MONITORED_PER_ADDRESS: usize = 256;
/// Peers of a tracker that the monitor shows beside those that report.
pub const MAX_OBSERVED: usize = 20_000;
/// Characters of a client's name of itself or of its program.
pub const MAX_REPORTED_CHARS: usize = 64;
/// A client that has not reported for so long is marked.
pub const SILENT_AFTER: Duration = Duration::from_secs(20);
/// And forgotten after this.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// Rows of the status page: browsers get slow beyond. `status.json` has all.
pub const MAX_PAGE_ROWS: usize = 2000;
/// The largest number of clients that a plan is made for.
pub const MAX_PLANNED_CLIENTS: u64 = 1 << 20;

// Serving and staging images.

/// How often the image server asks its tracker and its seeder how the swarms are.
pub const OBSERVE_PERIOD: Duration = Duration::from_secs(1);
/// How often the tracker's memory is written down.
pub const TRACKER_SAVE_PERIOD: Duration = Duration::from_secs(10);
/// How often a client reports; the reference monitor is told every 10 s.
pub const REPORT_PERIOD: Duration = Duration::from_secs(2);
/// How often it shows how far it is.
pub const SHOW_PERIOD: Duration = Duration::from_millis(250);

// Datasets.

/// How long the swarm is asked what is behind a magnet link.
pub const METADATA_LIMIT: Duration = Duration::from_secs(30);
/// A backend that waits for rows looks this often whether they are still wanted.
pub const DATASET_POLL: Duration = Duration::from_millis(100);
/// A dataset of which nothing has come for so long is given up for that job; the swarm is not left.
pub const DATASET_STALL: Duration = Duration::from_secs(60);
