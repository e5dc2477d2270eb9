//! Entries to tar headers.

use super::{Entry, Extent, Kind, Moment};
use crate::limits::MAX_HEAD_BYTES;
use std::io::{self, Write};
use tar::{EntryType, GnuExtSparseHeader, Header};

/// Bytes of a header, and what content is rounded up to.
pub(crate) const BLOCK: usize = 512;
/// A number that fills the twelve characters of a time: 11 octal digits.
const MAX_OCTAL_SECONDS: i64 = 1 << 33;

/// Writes all that precedes the entry's content. The same entry always gives the same bytes.
///
/// # Errors
/// The writer's; [`io::ErrorKind::InvalidInput`] where attributes exceed [`MAX_HEAD_BYTES`].
pub(crate) fn write_head(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    let records = records(entry);
    if records.len() as u64 > MAX_HEAD_BYTES {
        let why = format!("its extended attributes exceed {MAX_HEAD_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if !records.is_empty() {
        write_extension(out, EntryType::XHeader, b"././@PaxHeader", &records)?;
    }
    let mut path = entry.path.clone();
    if entry.kind == Kind::Directory {
        path.push(b'/');
    }
    let (entry_type, target) = match &entry.kind {
        Kind::File(extent) if extent.is_sparse() => (EntryType::GNUSparse, &[][..]),
        Kind::File(_) => (EntryType::Regular, &[][..]),
        Kind::Directory => (EntryType::Directory, &[][..]),
        Kind::Symlink(target) => (EntryType::Symlink, &target[..]),
        Kind::HardLink(target) => (EntryType::Link, &target[..]),
        Kind::Fifo => (EntryType::Fifo, &[][..]),
        Kind::Character(..) => (EntryType::Char, &[][..]),
        Kind::Block(..) => (EntryType::Block, &[][..]),
    };
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    let fields = header.as_old_mut();
    name(out, EntryType::GNULongName, &mut fields.name, &path)?;
    name(out, EntryType::GNULongLink, &mut fields.linkname, target)?;
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(entry.mtime.seconds.clamp(0, MAX_OCTAL_SECONDS - 1) as u64);
    header.set_size(0);
    if let Kind::Character(major, minor) | Kind::Block(major, minor) = entry.kind {
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
    }
    match &entry.kind {
        Kind::File(extent) => write_file_head(out, header, extent),
        _ => write_header(out, header),
    }
}

/// Fills the last block of `bytes` bytes of content.
pub(crate) fn fill(out: &mut dyn Write, bytes: u64) -> io::Result<()> {
    let beyond = (bytes % BLOCK as u64) as usize;
    if beyond > 0 { out.write_all(&[0; BLOCK][beyond..]) } else { Ok(()) }
}

/// Ends an archive.
pub(crate) fn write_end(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn write_header(out: &mut dyn Write, mut header: Header) -> io::Result<()> {
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// GNU's form of sparse files has four ranges in the header and 21 in each block after it.
fn write_file_head(out: &mut dyn Write, mut header: Header, extent: &Extent) -> io::Result<()> {
    header.set_size(extent.data_bytes());
    if !extent.is_sparse() {
        return write_header(out, header);
    }
    let mut ranges = extent.data.clone();
    // An empty range at the end says that a hole precedes it.
    if ranges.last().is_none_or(|last| last.end < extent.size) {
        ranges.push(extent.size..extent.size);
    }
    let (first, others) = ranges.split_at(ranges.len().min(4));
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.set_real_size(extent.size);
        gnu.set_is_extended(!others.is_empty());
        for (slot, range) in gnu.sparse.iter_mut().zip(first) {
            slot.set_offset(range.start);
            slot.set_length(range.end - range.start);
        }
    }
    write_header(out, header)?;
    let mut left = others.len();
    for chunk in others.chunks(21) {
        let mut block = GnuExtSparseHeader::new();
        left -= chunk.len();
        block.set_is_extended(left > 0);
        for (slot, range) in block.sparse_mut().iter_mut().zip(chunk) {
            slot.set_offset(range.start);
            slot.set_length(range.end - range.start);
        }
        out.write_all(block.as_bytes())?;
    }
    Ok(())
}

/// Puts `name` into its field, and what is too long for it into a header of its own before that.
fn name(out: &mut dyn Write, kind: EntryType, field: &mut [u8], name: &[u8]) -> io::Result<()> {
    if name.len() > field.len() {
        write_extension(out, kind, b"././@LongLink", &[name, b"\0"].concat())?;
    }
    let fitting = name.len().min(field.len());
    field[..fitting].copy_from_slice(&name[..fitting]);
    Ok(())
}

fn write_extension(out: &mut dyn Write, kind: EntryType, name: &[u8], content: &[u8]) -> io::Result<()> {
    let mut header = if kind == EntryType::XHeader { Header::new_ustar() } else { Header::new_gnu() };
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    write_header(out, header)?;
    out.write_all(content)?;
    fill(out, content.len() as u64)
}

/// The PAX records of what GNU's header cannot say.
fn records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    let Moment { seconds, nanos } = entry.mtime;
    if nanos != 0 || !(0..MAX_OCTAL_SECONDS).contains(&seconds) {
        record(&mut records, b"mtime", decimal(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        let mut key = b"SCHILY.xattr.".to_vec();
        // A record's key ends at its first equals sign; GNU tar writes one so.
        for byte in name {
            match byte {
                b'=' => key.extend(b"%3D"),
                b'%' => key.extend(b"%25"),
                _ => key.push(*byte),
            }
        }
        record(&mut records, &key, value);
    }
    records
}

/// Adds `LENGTH KEY=VALUE\n`, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} ").bytes());
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// Before 1970 the fraction counts away from it, too: -1.5 is half a second before -1.
fn decimal(moment: Moment) -> String {
    let total = i128::from(moment.seconds) * 1_000_000_000 + i128::from(moment.nanos);
    let sign = if total < 0 { "-" } else { "" };
    let (seconds, nanos) = (total.unsigned_abs() / 1_000_000_000, total.unsigned_abs() % 1_000_000_000);
    let text = format!("{sign}{seconds}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [1, 2, 89, 90, 91, 92, 93, 985, 986, 987, 988, 9_990] {
            let mut records = Vec::new();
            record(&mut records, b"k", &vec![b'v'; length]);
            let text = String::from_utf8(records).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse(), Ok(text.len()), "{length}");
        }
    }

    #[test]
    fn a_moment_reads_as_other_programs_write_it() {
        let shown = |seconds, nanos| decimal(Moment { seconds, nanos });
        assert_eq!(shown(10, 0), "10");
        assert_eq!(shown(0, 0), "0");
        assert_eq!(shown(10, 1_000_000), "10.001");
        assert_eq!(shown(-2, 500_000_000), "-1.5");
        assert_eq!(shown(-1, 500_000_000), "-0.5");
        assert_eq!(shown(i64::MIN, 0), "-9223372036854775808");
    }
}
