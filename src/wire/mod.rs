//! Bytes: TCP frames, UDP datagrams, and the envelope that seals both where a key is set.
//!
//! Parsing is two steps: are the bytes sound, then what do they mean. "Need more" is no error. Nothing
//! here opens a socket, reads a clock or decides what to do: PROTOCOL.md draws every layout, and
//! `tests/protocol.rs` decodes the drawn bytes. Little-endian throughout: the bulk is numbers, and
//! nearly every host is.

pub mod auth;
pub mod datagram;
pub mod frame;

use crate::dataset;
use byteorder::{ByteOrder, LE};
use ethnum::I256;

/// Why bytes are no message. Shown to people: a lower-case clause without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Too short for what it claims to be.
    #[error("{what} of {bytes} bytes is too short")]
    Short {
        /// What was being read.
        what: &'static str,
        /// How many bytes there were.
        bytes: usize,
    },
    /// Not ours, or another version.
    #[error("not a message of this protocol (first bytes {0:02x?})")]
    Foreign([u8; 4]),
    /// The checksum does not hold.
    #[error("the checksum does not hold")]
    Checksum,
    /// A field has a value that the protocol does not allow.
    #[error("{field} is {value}, which the protocol does not allow")]
    Field {
        /// The field's name in PROTOCOL.md.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A text or name is not what it must be.
    #[error("{0} is not a name in A-Z, 0-9 and _")]
    Name(&'static str),
    /// A sealed message that does not open: another key, or it was changed on the way.
    #[error("it was not sealed with this job's key")]
    Seal,
    /// A sealed datagram that has been received before, or is too old to tell.
    #[error("it has been received before")]
    Replay,
}

/// Writes a value as 32 bytes, two's complement.
pub(crate) fn put_value(out: &mut Vec<u8>, value: I256) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Reads what [`put_value`] wrote; `bytes` holds at least 32.
pub(crate) fn get_value(bytes: &[u8]) -> I256 {
    let (hi, lo) = (LE::read_i128(&bytes[16..32]), LE::read_u128(&bytes[..16]));
    (I256::from(hi) << 128) | I256::from(lo)
}

/// Reads a dataset's name; `bytes` holds at least 20.
pub(crate) fn get_dataset(bytes: &[u8]) -> dataset::Id {
    let mut id = [0; 20];
    id.copy_from_slice(&bytes[..20]);
    dataset::Id(id)
}

/// Writes a name of at most 16 bytes, padded with zeros.
pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    let mut field = [0u8; crate::limits::MAX_NAME_BYTES];
    field[..name.len()].copy_from_slice(name.as_bytes());
    out.extend_from_slice(&field);
}

/// Reads what [`put_name`] wrote.
pub(crate) fn get_name(field: &[u8], what: &'static str) -> Result<String, Defect> {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    let (name, pad) = field.split_at(end);
    if is_name(name) && pad.iter().all(|&b| b == 0) {
        Ok(name.iter().map(|&b| char::from(b)).collect())
    } else {
        Err(Defect::Name(what))
    }
}

/// Whether `name` may name a reduction: 1 to 16 bytes of A-Z, 0-9 and `_`.
pub fn is_name(name: &[u8]) -> bool {
    (1..=crate::limits::MAX_NAME_BYTES).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
}

/// Cuts a reason to what a message carries, at a character's boundary.
pub(crate) fn cut_text(text: &str) -> &str {
    &text[..text.floor_char_boundary(crate::limits::MAX_TEXT_BYTES)]
}

/// Reads a reason; bytes that are not UTF-8, and control characters, are shown as `?`.
pub(crate) fn get_text(bytes: &[u8]) -> String {
    let clean = |c: char| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '?' } else { c };
    String::from_utf8_lossy(&bytes[..bytes.len().min(crate::limits::MAX_TEXT_BYTES)])
        .chars()
        .map(clean)
        .collect()
}
