//! Why a submission is not taken in, in words for its author.

use crate::limits::{
    ARCHIVE_BYTES, ENTRIES, FILE_BYTES, LINKS, PATH_BYTES, QUOTED_CHARS, RATIO, UNPACKED_BYTES,
};

/// Why a submission is refused. Names in it are shown with control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another kind of archive.
    #[error("it is a {0}, whatever its name says; pack it with tar and gzip")]
    OtherArchive(&'static str),
    /// No archive at all.
    #[error("it is not a tar archive")]
    NotTar,
    /// Nothing in it.
    #[error("there is no file in it")]
    Empty,
    /// The end is missing.
    #[error("it ends too early; it was cut off on its way or never finished")]
    Truncated,
    /// Its own checks fail.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Too large a file.
    #[error("it has more than {} MiB", ARCHIVE_BYTES >> 20)]
    PackedBytes,
    /// Too much in it.
    #[error("its files have more than {} MiB together", UNPACKED_BYTES >> 20)]
    UnpackedBytes,
    /// Too large a file in it.
    #[error("{0} has more than {size} MiB", size = FILE_BYTES >> 20)]
    FileBytes(String),
    /// Too many files and folders.
    #[error("it has more than {ENTRIES} entries")]
    Entries,
    /// Too many symbolic links.
    #[error("it has more than {LINKS} links")]
    Links,
    /// A bomb.
    #[error("it unpacks to more than {RATIO} times its size")]
    Ratio,
    /// A path that is too long.
    #[error("the path {0} is longer than {PATH_BYTES} bytes, or a name in it too long")]
    LongPath(String),
    /// A name that no file can have.
    #[error("the path {0} cannot be a file's")]
    BadName(String),
    /// `/etc/passwd`.
    #[error("{0} has an absolute path")]
    Absolute(String),
    /// `../x`.
    #[error("{0} leads out of the submission by \"..\"")]
    ParentDir(String),
    /// A link that leads out.
    #[error("{entry} is a link that leads out of the submission, to {target}")]
    LinkOut {
        /// The link.
        entry: String,
        /// Its text.
        target: String,
    },
    /// A link that leads nowhere, however long it is followed.
    #[error("{entry} is a link that goes round in circles, to {target}")]
    LinkRound {
        /// The link.
        entry: String,
        /// Its text.
        target: String,
    },
    /// A hard link to what is not in the archive.
    #[error("{entry} is a hard link to {target}, which is no file before it in the archive")]
    HardLink {
        /// The link.
        entry: String,
        /// Its text.
        target: String,
    },
    /// A file that would be written through a link.
    #[error("{0} lies behind a link of the same archive")]
    ThroughLink(String),
    /// The same path as a file, a folder or a link.
    #[error("{0} is there twice, as different things")]
    Twice(String),
    /// Not a file, folder or link.
    #[error("{entry} is {what}")]
    Special {
        /// The entry.
        entry: String,
        /// A device, a FIFO ...
        what: &'static str,
    },
}

/// A submission's own words as a message may repeat them: one line, nothing a terminal obeys, not endless.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(QUOTED_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}
