//! A torrent's files under a directory, seen as one run of bytes.
//!
//! The lesson: a torrent's author chooses the names, so every one is walked component by component from the
//! directory, and a symbolic link on the way is refused: no path leads out, whatever is in the way already.
//! A file is made when its first verified piece comes, at its full length but without its bytes, so that a
//! file that is there has only verified bytes and holes. Files that only pad (BEP 47) are not made: they are
//! read as zeros.
//!
//! Left out: reserving room (a full disk is an error when it is met), and reading ahead: what is served is
//! in the page cache, or the thread that serves waits for the disk.

use super::{Error, broken};
use crate::limits::MAX_OPEN_FILES;
use crate::metainfo;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a file on disk looks like, to see whether it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its number on its device, and the device's.
    pub inode: (u64, u64),
    /// Its bytes.
    pub length: u64,
    /// Bytes that have their place on the disk.
    pub allocated: u64,
    /// When it or its inode changed last, in nanoseconds.
    pub changed: i128,
}

/// A torrent's files. Any thread may read and write.
pub struct Storage {
    root: OwnedFd,
    directory: PathBuf,
    files: Vec<metainfo::File>,
    /// The files used last, the latest in front.
    open: Mutex<VecDeque<Open>>,
    /// Writers take turns: the kernel lets one at a time into a file, and has the others spin.
    turn: Mutex<()>,
}

#[derive(Clone)]
struct Open {
    index: usize,
    writable: bool,
    file: Arc<File>,
}

/// Part of a request that lies in one file.
struct Part {
    index: usize,
    /// In the file.
    offset: u64,
    /// In the request.
    range: Range<usize>,
}

impl Storage {
    /// Opens the directory, which is made where it is not there. No file is opened yet.
    ///
    /// # Errors
    /// The directory cannot be had, or a name leads out of it.
    pub fn open(directory: &Path, files: Vec<metainfo::File>) -> Result<Storage, Error> {
        for file in files.iter().filter(|file| !file.padding) {
            let mut components = file.path.components();
            let inside = components.all(|part| matches!(part, Component::Normal(_)));
            if !inside || file.path.as_os_str().is_empty() {
                return Err(Error::Escapes { path: file.path.clone() });
            }
        }
        std::fs::create_dir_all(directory).map_err(|e| broken(directory, e))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let root = rustix::fs::open(directory, flags, Mode::empty());
        let root = root.map_err(|e| broken(directory, e.into()))?;
        Ok(Storage {
            root,
            directory: directory.to_owned(),
            files,
            open: Mutex::default(),
            turn: Mutex::default(),
        })
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Bytes that the directory's file system has left for us.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        let room = rustix::fs::fstatvfs(&self.root).map_err(|e| broken(&self.directory, e.into()))?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// Fills `buffer` from the torrent's byte `offset` on.
    ///
    /// # Errors
    /// A file is missing, too short, or cannot be read.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        for part in self.parts(offset, buffer.len()) {
            let bytes = &mut buffer[part.range];
            if self.files[part.index].padding {
                bytes.fill(0);
                continue;
            }
            let file = self.file(part.index, false)?;
            file.read_exact_at(bytes, part.offset).map_err(|e| self.at(part.index, e))?;
        }
        Ok(())
    }

    /// Puts verified bytes in place, and makes the files where they are not there.
    ///
    /// # Errors
    /// A file cannot be made or written; [`Error::DiskFull`] where that is why.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        for part in self.parts(offset, bytes.len()).filter(|part| !self.files[part.index].padding) {
            let file = self.file(part.index, true)?;
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all_at(&bytes[part.range], part.offset).map_err(|e| self.at(part.index, e))?;
        }
        Ok(())
    }

    /// Makes the empty files: no piece ever does.
    ///
    /// # Errors
    /// As [`Storage::write`].
    pub fn make_empty_files(&self) -> Result<(), Error> {
        let empty = self.files.iter().enumerate().filter(|(_, file)| file.length == 0 && !file.padding);
        empty.map(|(index, _)| index).try_for_each(|index| self.file(index, true).map(|_| ()))
    }

    /// What is on disk of each file, in order; `None` where there is none.
    ///
    /// # Errors
    /// Something else than a file is in the way, or a file is longer than the torrent's.
    pub fn stamps(&self) -> Result<Vec<Option<Stamp>>, Error> {
        let stamp = |index: usize| if self.files[index].padding { Ok(None) } else { self.stamp(index) };
        (0..self.files.len()).map(stamp).collect()
    }

    /// The runs of bytes that are on disk: `true` for data, `false` for holes, which read as zeros.
    ///
    /// # Errors
    /// As [`Storage::stamps`].
    pub fn extents(&self) -> Result<Vec<(Range<u64>, bool)>, Error> {
        let mut extents = Vec::new();
        for (index, placed) in self.files.iter().enumerate() {
            if placed.padding {
                extents.push((placed.start..placed.start + placed.length, false));
                continue;
            }
            let Some(stamp) = self.stamp(index)?.filter(|stamp| stamp.length > 0) else { continue };
            let file = self.file(index, false)?;
            let mut at = 0;
            while at < stamp.length {
                let data = next(&file, SeekFrom::Data(at), stamp.length);
                let hole =
                    data.and_then(|data| Ok((data, next(&file, SeekFrom::Hole(data), stamp.length)?)));
                let (data, hole) = hole.map_err(|e| self.at(index, e))?;
                let place = |range: Range<u64>| placed.start + range.start..placed.start + range.end;
                extents.extend((at < data).then(|| (place(at..data), false)));
                extents.extend((data < hole).then(|| (place(data..hole), true)));
                at = hole;
            }
        }
        Ok(extents)
    }

    fn stamp(&self, index: usize) -> Result<Option<Stamp>, Error> {
        let file = match self.file(index, false) {
            Err(Error::Storage { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            file => file?,
        };
        let found = rustix::fs::fstat(&*file).map_err(|e| self.at(index, e.into()))?;
        let (length, entry) = (found.st_size as u64, &self.files[index]);
        if length > entry.length {
            let path = self.directory.join(&entry.path);
            return Err(Error::Longer { path, found: length, expected: entry.length });
        }
        let nanoseconds =
            |seconds: i64, rest: u64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let modified = nanoseconds(found.st_mtime as i64, found.st_mtime_nsec as u64);
        Ok(Some(Stamp {
            inode: (found.st_ino as u64, found.st_dev as u64),
            length,
            allocated: found.st_blocks as u64 * 512,
            changed: modified.max(nanoseconds(found.st_ctime as i64, found.st_ctime_nsec as u64)),
        }))
    }

    /// Cuts a request at the borders of files.
    fn parts(&self, offset: u64, length: usize) -> impl Iterator<Item = Part> + '_ {
        let first = self.files.partition_point(|file| file.start + file.length <= offset);
        let end = offset + length as u64;
        let touched =
            self.files[first..].iter().enumerate().take_while(move |(_, file)| file.start < end);
        touched.filter(|(_, file)| file.length > 0).map(move |(i, file)| {
            let from = offset.max(file.start);
            let to = end.min(file.start + file.length);
            let range = (from - offset) as usize..(to - offset) as usize;
            Part { index: first + i, offset: from - file.start, range }
        })
    }

    /// The file, opened now or before. One that is opened to be written has its full length.
    fn file(&self, index: usize, writable: bool) -> Result<Arc<File>, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.iter().position(|open| open.index == index && (open.writable || !writable));
        if let Some(known) = known {
            if let Some(found) = (known > 0).then(|| open.remove(known)).flatten() {
                open.push_front(found);
            }
            return Ok(open[0].file.clone());
        }
        let entry = &self.files[index];
        let file = self.walk(&entry.path, writable).map_err(|e| self.at(index, e))?;
        if writable && file.metadata().map_err(|e| self.at(index, e))?.len() != entry.length {
            file.set_len(entry.length).map_err(|e| self.at(index, e))?;
        }
        let file = Arc::new(file);
        open.retain(|open| open.index != index);
        open.truncate(MAX_OPEN_FILES - 1);
        open.push_front(Open { index, writable, file: file.clone() });
        Ok(file)
    }

    /// Opens a file; where it is to be written, makes it and the directories that lead to it.
    fn walk(&self, path: &Path, writable: bool) -> io::Result<File> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let directories = path.parent().into_iter().flat_map(Path::components);
        let mut at: Option<OwnedFd> = None;
        for directory in directories {
            let parent = at.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut next = rustix::fs::openat(parent, directory.as_os_str(), flags, Mode::empty());
            if writable && matches!(next, Err(Errno::NOENT)) {
                match rustix::fs::mkdirat(parent, directory.as_os_str(), Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                next = rustix::fs::openat(parent, directory.as_os_str(), flags, Mode::empty());
            }
            at = Some(next?);
        }
        let parent = at.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
        let access = if writable { OFlags::RDWR | OFlags::CREATE } else { OFlags::RDONLY };
        // Not to wait for ever where the name is a pipe's.
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o666))?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something else than a file is there",
            ));
        }
        Ok(File::from(file))
    }

    fn at(&self, index: usize, error: io::Error) -> Error {
        broken(&self.directory.join(&self.files[index].path), error)
    }
}

/// Where the next data or hole begins, or the end.
fn next(file: &File, what: SeekFrom, end: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, what) {
        Ok(at) => Ok(at.min(end)),
        Err(Errno::NXIO) => Ok(end),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn entries(files: &[(&str, u64)]) -> Vec<metainfo::File> {
        let mut next = 0;
        let mut place = |(path, length): &(&str, u64)| {
            let start = next;
            next += length;
            metainfo::File { path: path.into(), length: *length, start, padding: *path == "pad" }
        };
        files.iter().map(&mut place).collect()
    }

    fn numbered(lengths: &[u64]) -> Vec<metainfo::File> {
        let names: Vec<String> = (0..lengths.len()).map(|i| format!("f{i}")).collect();
        let files: Vec<(&str, u64)> =
            names.iter().map(String::as_str).zip(lengths.iter().copied()).collect();
        entries(&files)
    }

    #[test]
    fn bytes_cross_the_borders_of_files() {
        let place = tempfile::tempdir().unwrap();
        let files = entries(&[("t/a", 3), ("t/none", 0), ("t/sub/b", 4), ("t/c", 1)]);
        let storage = Storage::open(place.path(), files).unwrap();
        storage.write(1, b"12345").unwrap();
        assert_eq!(fs::read(place.path().join("t/a")).unwrap(), b"\x0012");
        assert_eq!(fs::read(place.path().join("t/sub/b")).unwrap(), b"345\0");
        assert!(!place.path().join("t/c").exists() && !place.path().join("t/none").exists());
        storage.make_empty_files().unwrap();
        assert_eq!(fs::read(place.path().join("t/none")).unwrap(), b"");
        let mut read = [0; 6];
        storage.read(1, &mut read).unwrap();
        assert_eq!(&read, b"12345\0");
        let missing = storage.read(7, &mut [0]).unwrap_err();
        assert!(missing.to_string().contains("t/c"), "{missing}");
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let place = tempfile::tempdir().unwrap();
        for path in ["../x", "/etc/x", "a/../../x", "", "."] {
            let refused = Storage::open(place.path(), entries(&[(path, 1)]));
            assert!(matches!(refused, Err(Error::Escapes { .. })), "{path}");
        }
        let inside = place.path().join("in");
        fs::create_dir(&inside).unwrap();
        fs::write(place.path().join("secret"), b"s").unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("../secret", inside.join("file")).unwrap();
        let storage = Storage::open(&inside, entries(&[("up/secret", 1), ("file", 1)])).unwrap();
        for offset in [0, 1] {
            assert!(storage.write(offset, b"x").is_err() && storage.read(offset, &mut [0]).is_err());
        }
        assert_eq!(fs::read(place.path().join("secret")).unwrap(), b"s");
    }

    #[test]
    fn something_else_in_the_way_is_an_error_that_names_it() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("dir")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.path().join("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        fs::write(place.path().join("long"), b"four").unwrap();
        for name in ["dir", "pipe", "long"] {
            let storage = Storage::open(place.path(), entries(&[(name, 3)])).unwrap();
            let error = storage.stamps().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn padding_is_zeros_and_not_on_disk() {
        let place = tempfile::tempdir().unwrap();
        let storage = Storage::open(place.path(), entries(&[("a", 2), ("pad", 6), ("b", 2)])).unwrap();
        storage.write(0, b"12\0\0\0\0\0\0AB").unwrap();
        let mut read = [1; 10];
        storage.read(0, &mut read).unwrap();
        assert_eq!(&read, b"12\0\0\0\0\0\0AB");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
        assert!(storage.stamps().unwrap()[1].is_none());
    }

    #[test]
    fn a_full_device_is_told_from_other_errors() {
        let error = broken(Path::new("/x/y"), Errno::NOSPC.into());
        assert!(matches!(&error, Error::DiskFull { path } if path.ends_with("x/y")), "{error}");
        let error = broken(Path::new("/x/y"), Errno::IO.into());
        assert!(matches!(error, Error::Storage { .. }));
    }

    #[test]
    fn holes_are_told_from_data() {
        let place = tempfile::tempdir().unwrap();
        let storage = Storage::open(place.path(), entries(&[("a", 5), ("b", 1 << 20)])).unwrap();
        assert_eq!(storage.extents().unwrap(), []);
        storage.write(5 + (512 << 10), &[1; 64 << 10]).unwrap();
        let extents = storage.extents().unwrap();
        let covered: u64 = extents.iter().map(|(range, _)| range.end - range.start).sum();
        assert_eq!(covered, 1 << 20);
        let data = extents.iter().filter(|(_, data)| *data);
        assert!(data.clone().any(|(range, _)| range.contains(&(5 + (512 << 10)))));
        assert!(data.map(|(range, _)| range.end - range.start).sum::<u64>() < 1 << 20);
    }

    #[test]
    fn more_files_than_descriptors_are_fine() {
        let place = tempfile::tempdir().unwrap();
        let storage = Storage::open(place.path(), numbered(&[2; 3 * MAX_OPEN_FILES])).unwrap();
        let bytes: Vec<u8> = (0..6 * MAX_OPEN_FILES).map(|i| i as u8).collect();
        storage.write(0, &bytes).unwrap();
        let mut read = vec![0; bytes.len()];
        storage.read(0, &mut read).unwrap();
        assert_eq!(read, bytes);
        assert!(storage.open.lock().unwrap().len() <= MAX_OPEN_FILES);
    }

    proptest! {
        #[test]
        fn it_is_one_run_of_bytes(
            lengths in prop::collection::vec(0u64..9, 1..8),
            writes in prop::collection::vec((0usize..40, prop::collection::vec(any::<u8>(), 1..20)), 0..8),
        ) {
            let place = tempfile::tempdir().unwrap();
            let total: u64 = lengths.iter().sum();
            let storage = Storage::open(place.path(), numbered(&lengths)).unwrap();
            let mut model = vec![0; total as usize];
            storage.write(0, &model).unwrap();
            for (at, bytes) in writes {
                if at + bytes.len() <= model.len() {
                    storage.write(at as u64, &bytes).unwrap();
                    model[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
            let mut read = vec![1; total as usize];
            storage.read(0, &mut read).unwrap();
            prop_assert_eq!(read, model);
        }
    }
}
