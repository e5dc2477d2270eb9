//! Tar headers to entries. Whatever the bytes are, memory stays bounded and the end is an entry or a fault.

use super::write::BLOCK;
use super::{Attributes, Entry, Extent, Kind, Moment};
use crate::limits::{MAX_HEAD_BYTES, MAX_HEADS, MAX_SEGMENTS, MAX_TRAILER_BYTES};
use std::io::{self, Read};
use std::ops::Range;
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read: the disk's, or what compressed or sealed it finds the bytes wrong.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// It ends too early.
    #[error("it ends in the middle")]
    Truncated,
    /// A header is no header.
    #[error("a header's checksum is wrong: it is damaged, or no tar archive")]
    Checksum,
    /// A field does not hold what it should.
    #[error("a header's {0} makes no sense")]
    Field(&'static str),
    /// A name or attributes exceed a bound.
    #[error("a header's {what} exceeds {limit}")]
    TooLong {
        /// What.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// An extension that is not known.
    #[error("its entries of type {0:?} are not supported: pack it with GNU tar or `offload image pack`")]
    Unsupported(char),
}

/// Reads an archive entry by entry.
pub(crate) struct Reader<R> {
    input: R,
    /// Bytes of the entry's content that are not read yet, and of what fills its last block.
    left: u64,
    filling: u64,
}

/// What extension headers said about the entry that follows.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Moment>,
    xattrs: Attributes,
    /// GNU's sparse files, version 1.0: the map stands before the content.
    sparse: bool,
    real_size: Option<u64>,
}

impl<R: Read> Reader<R> {
    pub fn new(input: R) -> Reader<R> {
        Reader { input, left: 0, filling: 0 }
    }

    /// The next entry, or `None` at the archive's end. What is left of the last one's content is skipped.
    pub fn next(&mut self) -> Result<Option<Entry>, Fault> {
        self.skip()?;
        let mut extensions = Extensions::default();
        for heads in 0..=MAX_HEADS {
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                return if heads == 0 { Ok(None) } else { Err(Fault::Truncated) };
            }
            let header = Header::from_byte_slice(&block);
            check(header)?;
            let size = number(&header.as_old().size, "size")?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(self.long_name(size)?),
                EntryType::GNULongLink => extensions.link = Some(self.long_name(size)?),
                EntryType::XHeader => extensions.take(&self.head(size)?)?,
                EntryType::XGlobalHeader => comment_only(&self.head(size)?)?,
                _ => return self.entry(header, size, extensions).map(Some),
            }
        }
        Err(Fault::TooLong { what: "number of extensions", limit: MAX_HEADS as u64 })
    }

    /// Content of the entry, or nothing at its end.
    pub fn content(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let wanted = self.left.min(buffer.len() as u64) as usize;
        let read = self.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(Fault::Truncated);
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// Reads what follows the archive: only there a checksum of what compressed or sealed it may stand.
    pub fn finish(mut self) -> Result<(), Fault> {
        let trailer = io::copy(&mut self.input.by_ref().take(MAX_TRAILER_BYTES + 1), &mut io::sink())?;
        if trailer > MAX_TRAILER_BYTES {
            return Err(Fault::TooLong { what: "end", limit: MAX_TRAILER_BYTES });
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        loop {
            match self.input.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(Fault::Truncated),
                other => return Ok(other?),
            }
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Fault> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..])? {
                0 => return Err(Fault::Truncated),
                read => filled += read,
            }
        }
        Ok(block)
    }

    fn skip(&mut self) -> Result<(), Fault> {
        let bytes = self.left.saturating_add(self.filling);
        let skipped = io::copy(&mut self.input.by_ref().take(bytes), &mut io::sink());
        match skipped {
            Ok(skipped) if skipped == bytes => {}
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(e.into()),
            _ => return Err(Fault::Truncated),
        }
        (self.left, self.filling) = (0, 0);
        Ok(())
    }

    /// The content of an extension header.
    fn head(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        if size > MAX_HEAD_BYTES {
            return Err(Fault::TooLong { what: "extension", limit: MAX_HEAD_BYTES });
        }
        let mut content = Vec::new();
        let whole = size.next_multiple_of(BLOCK as u64);
        while (content.len() as u64) < whole {
            content.extend(self.block()?);
        }
        content.truncate(size as usize);
        Ok(content)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        let mut name = self.head(size)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn entry(&mut self, header: &Header, size: u64, ext: Extensions) -> Result<Entry, Fault> {
        let fields = header.as_old();
        let size = ext.size.unwrap_or(size);
        let mut path = ext.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let target =
            ext.link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let slashed = path.last() == Some(&b'/');
        while path.last() == Some(&b'/') && path.len() > 1 {
            path.pop();
        }
        let kind = match header.entry_type() {
            // Before 1988 a slash was all that marked a directory.
            EntryType::Regular if slashed => Kind::Directory,
            EntryType::Regular | EntryType::Continuous if ext.sparse => {
                self.start(size);
                Kind::File(self.map_before_content(ext.real_size.ok_or(Fault::Field("sparse size"))?)?)
            }
            EntryType::Regular | EntryType::Continuous => Kind::File(Extent::dense(size)),
            EntryType::GNUSparse => Kind::File(self.map_in_headers(header, size)?),
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(target),
            EntryType::Link => Kind::HardLink(target),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => device(header).map(|(major, minor)| Kind::Character(major, minor))?,
            EntryType::Block => device(header).map(|(major, minor)| Kind::Block(major, minor))?,
            other => return Err(Fault::Unsupported(char::from(other.as_byte()))),
        };
        match kind {
            Kind::File(_) if ext.sparse => {}
            Kind::File(_) => self.start(size),
            // Some programs repeat the file's size; its content stands where it was first.
            Kind::HardLink(_) => {}
            _ if size != 0 => return Err(Fault::Field("size")),
            _ => {}
        }
        let mtime = Moment { seconds: number(&fields.mtime, "time")? as i64, nanos: 0 };
        let id = |given: Option<u64>, field: &[u8]| {
            let id = given.map_or_else(|| number(field, "owner"), Ok)?;
            u32::try_from(id).map_err(|_| Fault::Field("owner"))
        };
        Ok(Entry {
            path,
            kind,
            mode: (number(&fields.mode, "mode")? & 0o7777) as u32,
            uid: id(ext.uid, &fields.uid)?,
            gid: id(ext.gid, &fields.gid)?,
            mtime: ext.mtime.unwrap_or(mtime),
            xattrs: ext.xattrs,
        })
    }

    fn start(&mut self, size: u64) {
        self.left = size;
        self.filling = size.wrapping_neg() % BLOCK as u64;
    }

    fn map_in_headers(&mut self, header: &Header, size: u64) -> Result<Extent, Fault> {
        let gnu = header.as_gnu().ok_or(Fault::Field("sparse map"))?;
        let mut data = Vec::new();
        ranges(&gnu.sparse, &mut data)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            block.as_mut_bytes().copy_from_slice(&self.block()?);
            ranges(block.sparse(), &mut data)?;
            more = block.is_extended();
        }
        extent(number(&gnu.realsize, "sparse size")?, data, size)
    }

    /// The map as text: how many ranges, then offset and length of each, one number a line.
    fn map_before_content(&mut self, real_size: u64) -> Result<Extent, Fault> {
        let mut block: &[u8] = &[];
        let mut buffer;
        let mut numbers = Vec::new();
        let mut text = Vec::new();
        while numbers.first().is_none_or(|count: &u64| (numbers.len() as u64 - 1) / 2 < *count) {
            let Some((byte, rest)) = block.split_first() else {
                self.left = self.left.checked_sub(BLOCK as u64).ok_or(Fault::Field("sparse map"))?;
                buffer = self.block()?;
                block = &buffer;
                continue;
            };
            block = rest;
            if *byte != b'\n' {
                text.push(*byte);
                continue;
            }
            numbers.push(digits(&text, 10).ok_or(Fault::Field("sparse map"))?);
            text.clear();
            if numbers.len() > 2 * MAX_SEGMENTS {
                return Err(TOO_MANY_RANGES);
            }
        }
        let pairs = numbers.get(1..).unwrap_or_default().chunks_exact(2);
        let data = pairs
            .map(|pair| Some(pair[0]..pair[0].checked_add(pair[1])?))
            .collect::<Option<Vec<_>>>()
            .ok_or(Fault::Field("sparse map"))?;
        extent(real_size, data, self.left)
    }
}

const TOO_MANY_RANGES: Fault =
    Fault::TooLong { what: "number of ranges of data", limit: MAX_SEGMENTS as u64 };

impl Extensions {
    fn take(&mut self, mut records: &[u8]) -> Result<(), Fault> {
        while let Some((key, value, rest)) = split_record(records) {
            records = rest;
            match key {
                b"path" if !self.sparse => self.path = Some(value.to_vec()),
                b"GNU.sparse.name" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(digits(value, 10).ok_or(Fault::Field("size"))?),
                b"uid" => self.uid = Some(digits(value, 10).ok_or(Fault::Field("owner"))?),
                b"gid" => self.gid = Some(digits(value, 10).ok_or(Fault::Field("owner"))?),
                b"mtime" => self.mtime = Some(moment(value).ok_or(Fault::Field("time"))?),
                b"GNU.sparse.major" if value == b"1" => self.sparse = true,
                b"GNU.sparse.minor" if value == b"0" => {}
                b"GNU.sparse.realsize" => {
                    self.real_size = Some(digits(value, 10).ok_or(Fault::Field("sparse size"))?);
                }
                // Versions 0.0 and 0.1, which GNU tar wrote before 2006.
                _ if key.starts_with(b"GNU.sparse.") => return Err(Fault::Unsupported('S')),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.xattrs.push((decoded(name), value.to_vec()));
                    }
                }
            }
        }
        if records.is_empty() { Ok(()) } else { Err(Fault::Field("extension")) }
    }
}

/// Headers for all that follows: git writes one with a comment; nothing else is known in the wild.
fn comment_only(mut records: &[u8]) -> Result<(), Fault> {
    while let Some((b"comment", _, rest)) = split_record(records) {
        records = rest;
    }
    if records.is_empty() { Ok(()) } else { Err(Fault::Unsupported('g')) }
}

/// `LENGTH KEY=VALUE\n`, and what follows it.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(digits(&records[..space], 10)?).ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    let text = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    Some((&text[..equals], &text[equals + 1..], rest))
}

/// Takes `%3D` and `%25` back, which stand for what a key cannot hold.
fn decoded(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = name;
    while let Some((first, others)) = rest.split_first() {
        let (byte, next) = match rest {
            [b'%', b'3', b'D', next @ ..] => (b'=', next),
            [b'%', b'2', b'5', next @ ..] => (b'%', next),
            _ => (*first, others),
        };
        plain.push(byte);
        rest = next;
    }
    plain
}

fn moment(text: &[u8]) -> Option<Moment> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(digits(&text[..dot], 10)?).ok()?;
    let mut nanos = 0;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    for place in 0..9 {
        let digit = fraction.get(place).map_or(Some(0), |byte| char::from(*byte).to_digit(10))?;
        nanos = 10 * nanos + digit;
    }
    Some(match (negative, nanos) {
        (false, _) => Moment { seconds, nanos },
        (true, 0) => Moment { seconds: -seconds, nanos },
        (true, _) => Moment { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

fn digits(text: &[u8], base: u32) -> Option<u64> {
    let first = (!text.is_empty()).then_some(0u64);
    text.iter().fold(first, |sum, byte| {
        let digit = char::from(*byte).to_digit(base)?;
        sum?.checked_mul(base.into())?.checked_add(digit.into())
    })
}

/// A header's number: octal digits, or GNU's binary form, marked by the first bit, of which the last 64
/// bits are looked at. An empty field is 0.
fn number(field: &[u8], what: &'static str) -> Result<u64, Fault> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Ok(field[1..]
            .iter()
            .fold(u64::from(field[0] & 0x7f), |sum, byte| sum.wrapping_shl(8) | u64::from(*byte)));
    }
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    match field[..end].trim_ascii() {
        [] => Ok(0),
        text => digits(text, 8).ok_or(Fault::Field(what)),
    }
}

fn check(header: &Header) -> Result<(), Fault> {
    let bytes = header.as_bytes();
    let sum = |range: Range<usize>| bytes[range].iter().map(|byte| u64::from(*byte)).sum::<u64>();
    // The checksum counts itself as eight spaces.
    let expected = sum(0..148) + 8 * u64::from(b' ') + sum(156..BLOCK);
    match number(&header.as_old().cksum, "checksum") {
        Ok(told) if told == expected => Ok(()),
        _ => Err(Fault::Checksum),
    }
}

fn device(header: &Header) -> Result<(u32, u32), Fault> {
    let number = |told: io::Result<Option<u32>>| match told {
        Ok(Some(number)) => Ok(number),
        _ => Err(Fault::Field("device number")),
    };
    Ok((number(header.device_major())?, number(header.device_minor())?))
}

fn ranges(slots: &[GnuSparseHeader], data: &mut Vec<Range<u64>>) -> Result<(), Fault> {
    for slot in slots.iter().filter(|slot| slot.numbytes[0] != 0) {
        let start = number(&slot.offset, "sparse map")?;
        let length = number(&slot.numbytes, "sparse map")?;
        data.push(start..start.checked_add(length).ok_or(Fault::Field("sparse map"))?);
    }
    if data.len() > MAX_SEGMENTS { Err(TOO_MANY_RANGES) } else { Ok(()) }
}

/// Holds a map against what it must be: ascending, inside the file, as long as the content.
fn extent(size: u64, data: Vec<Range<u64>>, content_bytes: u64) -> Result<Extent, Fault> {
    let mut end = 0;
    let sound = data.iter().all(|range| {
        let after = range.start >= end;
        end = range.end;
        after
    });
    let data = data.into_iter().filter(|range| !range.is_empty()).collect();
    let extent = Extent { size, data };
    if !sound || end > size || extent.data_bytes() != content_bytes {
        return Err(Fault::Field("sparse map"));
    }
    Ok(extent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_as_others_write_them() {
        let read = |text: &str| moment(text.as_bytes());
        assert_eq!(read("12"), Some(Moment { seconds: 12, nanos: 0 }));
        assert_eq!(read("12.5"), Some(Moment { seconds: 12, nanos: 500_000_000 }));
        assert_eq!(read("-1.5"), Some(Moment { seconds: -2, nanos: 500_000_000 }));
        assert_eq!(read("1.1234567899"), Some(Moment { seconds: 1, nanos: 123_456_789 }));
        for wrong in ["", "-", ".5", "1.x", "1e9", "99999999999999999999"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0", "x").unwrap(), 0o644);
        assert_eq!(number(b"  644 \0\0", "x").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0", "x").unwrap(), 0);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0], "x").unwrap(), 256);
        assert_eq!(number(&[0xff; 12], "x").unwrap() as i64, -1);
        assert!(number(b"9", "x").is_err() && number(b"-1", "x").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_entries_or_a_fault(
            bytes in prop::collection::vec(any::<u8>(), 0..4096),
            kind in prop::sample::select(b"0LKxgS125".to_vec()),
        ) {
            let mut header = Header::new_gnu();
            header.set_size(600);
            header.as_mut_bytes()[156] = kind;
            header.set_cksum();
            let bytes = [header.as_bytes().as_slice(), &bytes].concat();
            let mut reader = Reader::new(bytes.as_slice());
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
