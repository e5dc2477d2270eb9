//! A submission that is an archive: tar, packed with gzip or not, whatever its name says.
//!
//! Entries are read raw. What describes the next entry (long names) is read here too and not by the `tar`
//! crate, which takes as much of it as there is.

use super::refusal::{Refusal, quoted};
use super::stage::{About, Stage, Stop, is_junk, place};
use crate::limits::{ARCHIVE_BYTES, EXTENSION_BYTES, FILE_BYTES, RATIO, RATIO_FREE_BYTES, STREAM_BYTES};
use flate2::bufread::GzDecoder;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};
use tar::{Archive, Entry, EntryType};

const GZIP: &[u8] = b"\x1f\x8b";
/// How other archives begin.
const OTHERS: [(&[u8], &str); 7] = [
    (b"PK\x03\x04", "zip archive"),
    (b"PK\x05\x06", "zip archive"),
    (b"Rar!", "RAR archive"),
    (b"7z\xbc\xaf", "7-Zip archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ", "xz archive"),
    (b"\x1f\x9d", "compress archive"),
];

/// Unpacks an archive.
pub(super) fn unpack(file: File, stage: &mut Stage<'_>) -> Result<(), Stop> {
    let meter = Rc::new(Meter::default());
    let mut packed = BufReader::new(Packed { from: file, meter: meter.clone() });
    let start = packed.fill_buf().map_err(|e| meter.damage(e, true))?;
    if start.is_empty() {
        return Err(Refusal::Empty.into());
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(Refusal::OtherArchive(what).into());
    }
    let from: Box<dyn Read> = if start.starts_with(GZIP) {
        Box::new(Members { now: Some(GzDecoder::new(packed)) })
    } else {
        Box::new(packed)
    };
    let mut archive = Archive::new(Unpacked { from, meter: meter.clone() });
    entries(&mut archive, stage, &meter)?;
    // To the very end, where gzip keeps its checksum.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(|_| ()).map_err(|e| meter.damage(e, false))
}

type Source = Archive<Unpacked<Box<dyn Read>>>;

fn entries(archive: &mut Source, stage: &mut Stage<'_>, meter: &Meter) -> Result<(), Stop> {
    let mut ahead = Ahead::default();
    let mut first = true;
    for entry in archive.entries().map_err(|e| meter.damage(e, first))?.raw(true) {
        let mut entry = entry.map_err(|e| meter.damage(e, first))?;
        first = false;
        stage.count()?;
        match entry.header().entry_type() {
            EntryType::GNULongName => ahead.name = Some(ahead_of(&mut entry, meter)?),
            EntryType::GNULongLink => ahead.link = Some(ahead_of(&mut entry, meter)?),
            EntryType::XHeader => ahead.pax(&ahead_of(&mut entry, meter)?)?,
            // Of the whole archive, of Solaris, a volume's label: nothing that matters here.
            EntryType::XGlobalHeader => {}
            kind if matches!(kind.as_byte(), b'X' | b'V') => {}
            _ => one(&mut entry, std::mem::take(&mut ahead), stage, meter)?,
        }
    }
    Ok(())
}

/// What was said of the next entry before it came.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Ahead {
    fn pax(&mut self, record: &[u8]) -> Result<(), Refusal> {
        for field in tar::PaxExtensions::new(record) {
            let field = field.map_err(|e| Refusal::Damaged(e.to_string()))?;
            match field.key_bytes() {
                b"path" => self.name = Some(field.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(field.value_bytes().to_vec()),
                b"size" => self.size = field.value().ok().and_then(|size| size.parse().ok()),
                key if key.starts_with(b"GNU.sparse") => {
                    let entry = quoted(self.name.as_deref().unwrap_or(b"an entry"));
                    return Err(Refusal::Special { entry, what: "a sparse file" });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The content of an entry that describes the next one.
fn ahead_of(entry: &mut Entry<'_, Unpacked<Box<dyn Read>>>, meter: &Meter) -> Result<Vec<u8>, Stop> {
    if entry.size() > EXTENSION_BYTES {
        return Err(Refusal::LongPath(quoted(&entry.path_bytes())).into());
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content).map_err(|e| meter.damage(e, false))?;
    if content.len() as u64 != entry.size() {
        return Err(Refusal::Truncated.into());
    }
    if entry.header().entry_type() != EntryType::XHeader && content.last() == Some(&0) {
        content.pop();
    }
    Ok(content)
}

/// Puts one entry where it belongs.
fn one(
    entry: &mut Entry<'_, Unpacked<Box<dyn Read>>>,
    ahead: Ahead,
    stage: &mut Stage<'_>,
    meter: &Meter,
) -> Result<(), Stop> {
    let name = ahead.name.unwrap_or_else(|| entry.path_bytes().into_owned());
    let path = place(&name)?;
    if ahead.size.is_some_and(|size| size != entry.size()) {
        return Err(Refusal::Damaged(format!("two sizes for {}", quoted(&name))).into());
    }
    let link = ahead.link.or_else(|| entry.link_name_bytes().map(|target| target.into_owned()));
    let link = link.unwrap_or_default();
    let kind = entry.header().entry_type();
    if is_junk(&path) {
        return Ok(());
    }
    let top = path.as_os_str().is_empty();
    match kind {
        EntryType::Directory if top => Ok(()),
        _ if top => Err(Refusal::BadName(quoted(&name)).into()),
        EntryType::Directory => stage.folder(&path),
        // As archives said it before there was a kind for folders.
        EntryType::Regular if name.ends_with(b"/") && entry.size() == 0 => stage.folder(&path),
        EntryType::Regular | EntryType::Continuous => file(entry, &path, stage, meter),
        EntryType::Symlink => stage.link(&path, &link),
        EntryType::Link => stage.hard_link(&path, &link),
        other => {
            let what = match other {
                EntryType::Char | EntryType::Block => "a device",
                EntryType::Fifo => "a FIFO",
                EntryType::GNUSparse => "a sparse file",
                _ => "neither a file, a folder nor a link",
            };
            Err(Refusal::Special { entry: quoted(&name), what }.into())
        }
    }
}

fn file(
    entry: &mut Entry<'_, Unpacked<Box<dyn Read>>>,
    path: &std::path::Path,
    stage: &mut Stage<'_>,
    meter: &Meter,
) -> Result<(), Stop> {
    let size = entry.size();
    if size > FILE_BYTES {
        return Err(Refusal::FileBytes(quoted(path.as_os_str().as_encoded_bytes())).into());
    }
    let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
    let modified = entry.header().mtime().ok();
    let modified = modified.and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s)));
    match stage.file(path, &About { executable, modified }, entry) {
        Ok(written) if written < size => Err(Refusal::Truncated.into()),
        Ok(_) => Ok(()),
        Err(Stop::Source(_, e)) => Err(meter.damage(e, false)),
        Err(stop) => Err(stop),
    }
}

/// How much went in and came out, and why no more may.
#[derive(Default)]
struct Meter {
    packed: Cell<u64>,
    unpacked: Cell<u64>,
    ended: Cell<bool>,
    refused: RefCell<Option<Refusal>>,
    failed: RefCell<Option<io::Error>>,
}

impl Meter {
    fn refuse(&self, why: Refusal) -> io::Error {
        *self.refused.borrow_mut() = Some(why);
        io::Error::other("refused")
    }

    /// What stopped the stream: a limit, the disk, or the archive itself, whose `first` entry it may be.
    fn damage(&self, error: io::Error, first: bool) -> Stop {
        if let Some(why) = self.refused.borrow_mut().take() {
            return why.into();
        }
        if let Some(e) = self.failed.borrow_mut().take() {
            return Stop::Source(PathBuf::new(), e);
        }
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => Refusal::Truncated,
            // So flate2 says that what is packed is not whole.
            io::ErrorKind::InvalidInput => Refusal::Damaged(quoted(error.to_string().as_bytes())),
            _ if first => Refusal::NotTar,
            _ if self.ended.get() => Refusal::Truncated,
            _ => Refusal::Damaged(quoted(error.to_string().as_bytes())),
        };
        why.into()
    }
}

/// The archive's own bytes.
struct Packed {
    from: File,
    meter: Rc<Meter>,
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match self.from.read(buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => {
                *self.meter.failed.borrow_mut() = Some(e);
                return Err(io::Error::other("unreadable"));
            }
        };
        self.meter.packed.set(self.meter.packed.get() + n as u64);
        if self.meter.packed.get() > ARCHIVE_BYTES {
            return Err(self.meter.refuse(Refusal::PackedBytes));
        }
        Ok(n)
    }
}

/// The tar stream.
struct Unpacked<R> {
    from: R,
    meter: Rc<Meter>,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.meter.ended.set(n == 0);
        let unpacked = self.meter.unpacked.get() + n as u64;
        self.meter.unpacked.set(unpacked);
        if unpacked > STREAM_BYTES {
            return Err(self.meter.refuse(Refusal::UnpackedBytes));
        }
        if unpacked > RATIO_FREE_BYTES && unpacked / RATIO > self.meter.packed.get() {
            return Err(self.meter.refuse(Refusal::Ratio));
        }
        Ok(n)
    }
}

/// The members of a gzip file, one after the other. What follows them is ignored, as gzip does.
struct Members<R: BufRead> {
    now: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = self.now.as_mut() else { return Ok(0) };
            let n = member.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let Some(mut rest) = self.now.take().map(GzDecoder::into_inner) else { return Ok(0) };
            if rest.fill_buf()?.starts_with(GZIP) {
                self.now = Some(GzDecoder::new(rest));
            }
        }
    }
}
