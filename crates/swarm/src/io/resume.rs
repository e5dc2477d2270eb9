//! Which pieces are verified, kept beside the files for the next start.
//!
//! The lesson: a note about files is worth what it knows of them. This one holds a digest of every file's
//! number, length and time of change, so that it speaks only of files that nobody has written to since;
//! and the kernel's boot, because after a power loss a file may look as noted and lack the bytes. In all
//! other cases, kill -9 among them, the pieces are hashed again, which costs half a second for a gigabyte.
//! So it need not be written while a torrent is being fetched.
//!
//! A file that was written and noted within one tick of the clock could be written again in that tick and
//! still look as noted; saving waits that long.

use super::storage::{Stamp, Storage};
use super::{Error, broken};
use crate::bitfield::Bitfield;
use crate::id::InfoHash;
use crate::limits::MAX_RESUME_BYTES;
use sha1::{Digest, Sha1};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MAGIC: &str = "offload-resume 1";
/// Time stamps are as coarse as the kernel's tick, 10 ms at most; two of them, to be sure.
const TICKS: Duration = Duration::from_millis(20);

/// Where the note about a torrent is.
pub fn path(storage: &Storage, info_hash: InfoHash) -> PathBuf {
    storage.directory().join(format!(".{info_hash}.offload-resume"))
}

/// Notes that exactly these pieces are verified. Call it when no more are written.
///
/// # Errors
/// The note cannot be written; an older one is still there, and does not speak of changed files.
pub fn save(storage: &Storage, info_hash: InfoHash, have: &Bitfield) -> Result<(), Error> {
    let mut stamps = storage.stamps()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i128;
    let changed = stamps.iter().flatten().map(|stamp| stamp.changed).max().unwrap_or(0);
    if let Ok(young) = u64::try_from(changed + TICKS.as_nanos() as i128 - now) {
        std::thread::sleep(Duration::from_nanos(young).min(TICKS));
        stamps = storage.stamps()?;
    }
    let mut note = head(info_hash, &stamps);
    for byte in have.as_bytes() {
        let _ = write!(note, "{byte:02x}");
    }
    note.push('\n');
    let path = path(storage, info_hash);
    let mut file = tempfile::NamedTempFile::new_in(storage.directory()).map_err(|e| broken(&path, e))?;
    file.write_all(note.as_bytes()).map_err(|e| broken(&path, e))?;
    file.persist(&path).map_err(|e| broken(&path, e.error))?;
    Ok(())
}

/// The pieces that are verified, where a note says so and nothing has changed since.
pub fn load(storage: &Storage, info_hash: InfoHash, pieces: u32) -> Option<Bitfield> {
    let file = std::fs::File::open(path(storage, info_hash)).ok()?;
    let mut note = String::new();
    file.take(MAX_RESUME_BYTES).read_to_string(&mut note).ok()?;
    let digits = note.strip_prefix(&head(info_hash, &storage.stamps().ok()?))?.strip_suffix('\n')?;
    let pairs = digits.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> =
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    Bitfield::from_bytes(&bytes?, pieces)
}

/// All of a note that must be as it was.
fn head(info_hash: InfoHash, stamps: &[Option<Stamp>]) -> String {
    let mut digest = Sha1::new();
    for stamp in stamps {
        digest.update(format!("{stamp:?}\n"));
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{MAGIC}\n{info_hash}\n{}\n{}\n", boot.trim(), InfoHash(digest.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::File;
    use std::fs;
    use std::os::unix::fs::FileExt;

    fn file(path: &str, length: u64, start: u64) -> File {
        File { path: path.into(), length, start, padding: false }
    }

    #[test]
    fn a_note_speaks_only_of_files_that_nobody_changed() {
        let place = tempfile::tempdir().unwrap();
        let files = vec![file("a", 10, 0), file("b/c", 20, 10)];
        let storage = Storage::open(place.path(), files).unwrap();
        let hash = InfoHash([7; 20]);
        let have = Bitfield::from_bytes(&[0xa0], 3).unwrap();
        storage.write(0, &[1; 15]).unwrap();
        assert_eq!(load(&storage, hash, 3), None);
        save(&storage, hash, &have).unwrap();
        assert_eq!(load(&storage, hash, 3), Some(have.clone()));
        assert_eq!(load(&storage, hash, 2), None);
        assert_eq!(load(&storage, InfoHash([8; 20]), 3), None);

        let file = fs::OpenOptions::new().write(true).open(place.path().join("b/c")).unwrap();
        file.write_all_at(b"x", 3).unwrap();
        assert_eq!(load(&storage, hash, 3), None);
        save(&storage, hash, &have).unwrap();
        assert_eq!(load(&storage, hash, 3), Some(have.clone()));
        fs::remove_file(place.path().join("a")).unwrap();
        assert_eq!(load(&Storage::open(place.path(), vec![]).unwrap(), hash, 3), None);
    }

    #[test]
    fn a_note_of_another_boot_or_in_pieces_is_none() {
        let place = tempfile::tempdir().unwrap();
        let storage = Storage::open(place.path(), vec![file("a", 9, 0)]).unwrap();
        let hash = InfoHash([7; 20]);
        storage.write(0, &[1; 9]).unwrap();
        save(&storage, hash, &Bitfield::full(9)).unwrap();
        let note = path(&storage, hash);
        let good = fs::read_to_string(&note).unwrap();
        assert_eq!(load(&storage, hash, 9), Some(Bitfield::full(9)));
        let boot = good.lines().nth(2).unwrap();
        for wrong in [
            good.replace(boot, "another-boot"),
            good[..good.len() - 2].to_owned(),
            good.replace("ff80", "ff8g"),
            good.replace("ff80", "ff8"),
            good.replace("ff80", "ffé"),
            good.replace("ff80", "ff81"),
            String::new(),
        ] {
            fs::write(&note, wrong).unwrap();
            assert_eq!(load(&storage, hash, 9), None);
        }
        fs::write(&note, [0xff; 100]).unwrap();
        assert_eq!(load(&storage, hash, 9), None);
    }
}
