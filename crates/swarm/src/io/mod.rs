//! The driver on real sockets, files, threads and clocks: the only place of this crate that has them.
//!
//! One thread ([`node`]) owns every socket of all torrents and feeds their sessions; it never waits for
//! anything but `poll`. What could make it wait is elsewhere: worker threads hash pieces and put them in
//! place ([`hasher`]), a thread opens a torrent's files and looks what is there already ([`opening`]), one
//! for each torrent talks to its trackers ([`announcer`]). They answer through one channel.
//!
//! A block's bytes are copied twice: by the kernel from the socket to the place in its piece's buffer
//! ([`conn`], [`assembly`]), and by the kernel again from there to the file, once the piece's hash agrees.

pub mod announcer;
pub mod assembly;
pub mod conn;
pub mod discovery;
pub mod hasher;
pub mod mail;
pub mod node;
pub mod opening;
pub mod rate;
pub mod resume;
pub mod storage;

use crate::id::InfoHash;
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a torrent or a node does not go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The file system has no room for a verified piece.
    #[error("{}: the disk is full; make room and start again: what is there is kept", path.display())]
    DiskFull {
        /// The file that was written.
        path: PathBuf,
    },
    /// The file system has less room than the torrent lacks.
    #[error("{}: {needed} bytes are needed, {free} are free; choose a larger place", directory.display())]
    NoRoom {
        /// Where the files were to be.
        directory: PathBuf,
        /// Bytes that are not there yet.
        needed: u64,
        /// Bytes that the file system has.
        free: u64,
    },
    /// A file cannot be made, read or written.
    #[error("{}: {source}", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// A file is there and is longer than the torrent's: it is somebody else's, and not cut.
    #[error("{}: is {found} bytes long, the torrent's is {expected}; move it away", path.display())]
    Longer {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// What the torrent says.
        expected: u64,
    },
    /// The torrent's author named a file that is not in the directory.
    #[error("{}: the torrent names a file outside of its directory", path.display())]
    Escapes {
        /// The name.
        path: PathBuf,
    },
    /// The address cannot be listened at.
    #[error("{address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The system gives no thread, pipe or socket.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The node has this torrent, or as many as it can.
    #[error("{0}: is in this node already")]
    Known(InfoHash),
    /// See [`crate::limits::MAX_TORRENTS`].
    #[error("{0}: the node has as many torrents as it takes")]
    TooMany(InfoHash),
    /// It was stopped before it was complete.
    #[error("stopped before it was complete")]
    Stopped,
    /// The time to wait is over.
    #[error("not complete in time")]
    Late,
}

/// What went wrong with a file.
pub(crate) fn broken(path: &Path, source: io::Error) -> Error {
    let errno = source.raw_os_error().map(Errno::from_raw_os_error);
    if matches!(errno, Some(Errno::NOSPC | Errno::DQUOT)) {
        return Error::DiskFull { path: path.to_owned() };
    }
    Error::Storage { path: path.to_owned(), source: Arc::new(source) }
}

/// What the system refused.
pub(crate) fn refused(what: &'static str, source: io::Error) -> Error {
    Error::System { what, source: Arc::new(source) }
}
