//! Tar: a header of 512 bytes, the content in blocks of 512, and two empty blocks at the end.
//!
//! The lesson: forty years of extensions live in headers that precede the one they belong to. What we
//! write is GNU's form, which every tar reads and whose names are plain bytes, with a POSIX (PAX) header
//! where GNU's has no field: nanoseconds and extended attributes. What we read is that, old and POSIX tars,
//! and both of GNU's forms of sparse files.
//!
//! The blocks are walked here and not by the `tar` crate, whose header types are used: it reads names and
//! attributes of any length into memory, ends a PAX record at a line feed (values are bytes), and takes an
//! archive that ends between two entries for a whole one.
//!
//! Left out: names of owners (numbers only: a name means somebody else on the next host), access times,
//! GNU's text form of ACLs (`SCHILY.acl`; ours travel as attributes), archives in volumes.

mod read;
mod write;

pub use read::Fault;
pub(crate) use read::Reader;
pub(crate) use write::{fill, write_end, write_head};

use std::ops::Range;

/// One member of an archive without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name as it stands in the archive, without the slash after a directory's.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// The permissions: the low 12 bits of `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Moment,
    pub xattrs: Attributes,
}

/// Extended attributes: names and values.
pub(crate) type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File(Extent),
    Directory,
    /// Its target.
    Symlink(Vec<u8>),
    /// The path of an entry before it.
    HardLink(Vec<u8>),
    Fifo,
    /// Major and minor number.
    Character(u32, u32),
    /// Major and minor number.
    Block(u32, u32),
}

/// A file's size and where in it data is: elsewhere are holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub size: u64,
    /// Ascending, apart, none empty.
    pub data: Vec<Range<u64>>,
}

/// Seconds since 1970 and nanoseconds after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub seconds: i64,
    pub nanos: u32,
}

impl Extent {
    /// A file without holes.
    pub fn dense(size: u64) -> Extent {
        Extent { size, data: Some(0..size).filter(|whole| !whole.is_empty()).into_iter().collect() }
    }

    pub fn is_sparse(&self) -> bool {
        self.data_bytes() != self.size
    }

    /// Bytes that are not holes.
    pub fn data_bytes(&self) -> u64 {
        self.data.iter().map(|range| range.end - range.start).sum()
    }
}

impl Entry {
    /// What it takes on a disk, in blocks of 4 KiB. Packing adds this up, unpacking is held to the sum.
    pub fn disk_bytes(&self) -> u64 {
        match &self.kind {
            Kind::File(extent) => on_disk(extent.data_bytes()),
            Kind::Directory | Kind::Symlink(_) => on_disk(1),
            Kind::HardLink(_) | Kind::Fifo | Kind::Character(..) | Kind::Block(..) => 0,
        }
    }
}

/// Bytes of content in whole blocks of 4 KiB.
pub(crate) fn on_disk(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(4096).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &[u8], kind: Kind) -> Entry {
        let mtime = Moment { seconds: 1_700_000_000, nanos: 123_456_789 };
        Entry { path: path.to_vec(), kind, mode: 0o4755, uid: 3_000_000, gid: 12, mtime, xattrs: vec![] }
    }

    fn through(entries: &[Entry]) -> Vec<Entry> {
        let mut bytes = Vec::new();
        for entry in entries {
            write_head(&mut bytes, entry).unwrap();
            if let Kind::File(extent) = &entry.kind {
                bytes.resize(bytes.len() + extent.data_bytes() as usize, 7);
                fill(&mut bytes, extent.data_bytes()).unwrap();
            }
        }
        write_end(&mut bytes).unwrap();
        let mut reader = Reader::new(bytes.as_slice());
        let mut read = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            read.push(entry);
        }
        reader.finish().unwrap();
        read
    }

    #[test]
    fn what_is_written_is_read() {
        let long = [b"d/".as_slice(), &[0xff; 200], b"/", &[b'x'; 250]].concat();
        let mut attributed = entry(&long, Kind::File(Extent::dense(1025)));
        attributed.xattrs =
            vec![(b"user.a=b%".to_vec(), b"line\nfeed\0".to_vec()), (b"user.z".to_vec(), vec![])];
        let mut old = entry(b"old", Kind::Fifo);
        old.mtime = Moment { seconds: -2, nanos: 500_000_000 };
        let mut late = entry(b"late", Kind::Character(4095, 1_048_575));
        late.mtime = Moment { seconds: 1 << 40, nanos: 0 };
        let entries = [
            entry(b".", Kind::Directory),
            attributed,
            old,
            late,
            entry(b"block", Kind::Block(8, 1)),
            entry(b"hard", Kind::HardLink(long.clone())),
            entry(b"soft", Kind::Symlink(vec![b'/'; 4000])),
            entry(b"empty", Kind::File(Extent::dense(0))),
        ];
        assert_eq!(through(&entries), entries);
    }

    #[test]
    fn holes_stay_where_they_are_however_many() {
        for count in [0, 1, 3, 4, 5, 24, 25, 26, 1000] {
            for end in [0, 9000] {
                let data = (0..count).map(|i| 10_000 * i + 4096..10_000 * i + 8192).collect();
                let extent = Extent { size: count * 10_000 + end + 1, data };
                let entries = [entry(b"sparse", Kind::File(extent)), entry(b"next", Kind::Fifo)];
                assert_eq!(through(&entries), entries, "{count} ranges");
            }
        }
    }
}
