//! What is on disk already of a torrent, before its session begins.
//!
//! Pieces are hashed by all processors, unless a note says which are verified ([`super::resume`]). Holes
//! are not read: what a piece of zeros hashes to is known after the first, so that a disk image's empty
//! parts count as there, and a file that was hardly begun costs nothing.

use super::storage::Storage;
use super::{Error, resume};
use crate::bitfield::Bitfield;
use crate::geometry::Geometry;
use crate::limits::{HASHED_BYTES, MAX_HASH_THREADS};
use crate::metainfo::Metainfo;
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

/// How many threads hash.
pub fn hash_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MAX_HASH_THREADS)
}

/// Opens a torrent's files under `directory` and finds the pieces that are there and right. `stop` ends it
/// early, with pieces missing.
///
/// # Errors
/// The files cannot be had, or there is no room for what is `wanted` and missing.
pub fn open(
    metainfo: &Metainfo,
    directory: &Path,
    wanted: Option<&Bitfield>,
    stop: &AtomicBool,
) -> Result<(Storage, Bitfield), Error> {
    let storage = Storage::open(directory, metainfo.files.clone())?;
    let stamps = storage.stamps()?;
    let pieces = metainfo.geometry.pieces();
    let have = match resume::load(&storage, metainfo.info_hash, pieces) {
        Some(have) => have,
        None => check(&storage, metainfo.geometry, &|piece| metainfo.hash_of(piece), stop)?,
    };
    if !have.is_full() {
        let all = Bitfield::full(pieces);
        let missing = wanted.unwrap_or(&all).without(&have);
        let missing: u64 = missing.map(|piece| u64::from(metainfo.geometry.length_of(piece))).sum();
        // Of a file that is there in full, pieces are only written again.
        let allocated: u64 = stamps.iter().flatten().map(|stamp| stamp.allocated).sum();
        let needed = missing.min(metainfo.geometry.total_bytes().saturating_sub(allocated));
        let free = storage.free_bytes()?;
        if needed > free {
            return Err(Error::NoRoom { directory: directory.to_owned(), needed, free });
        }
    }
    if wanted.is_none() {
        storage.make_empty_files()?;
    }
    Ok((storage, have))
}

/// Hashes what is on disk. Pieces that are not there in full are not read.
fn check(
    storage: &Storage,
    geometry: Geometry,
    hash_of: &(dyn Fn(u32) -> Option<[u8; 20]> + Sync),
    stop: &AtomicBool,
) -> Result<Bitfield, Error> {
    let pieces = geometry.pieces();
    let extents = storage.extents()?;
    let next = AtomicU32::new(0);
    let work = || -> Result<Vec<u32>, Error> {
        let (mut good, mut zeros) = (Vec::new(), BTreeMap::new());
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= pieces || stop.load(Ordering::Relaxed) {
                return Ok(good);
            }
            let span = geometry.span(piece);
            let hash = match look(&extents, &span) {
                Found::Missing => continue,
                Found::Data => hash(storage, span)?,
                Found::Zeros => *zeros
                    .entry(span.end - span.start)
                    .or_insert_with(|| hash_zeros(span.end - span.start)),
            };
            if Some(hash) == hash_of(piece) {
                good.push(piece);
            }
        }
    };
    let threads = if extents.is_empty() { 1 } else { hash_threads() };
    let found = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut found = vec![work()];
        for other in others {
            found.push(other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        }
        found
    });
    let mut have = Bitfield::new(pieces);
    for good in found {
        good?.into_iter().for_each(|piece| {
            have.insert(piece);
        });
    }
    Ok(have)
}

enum Found {
    Missing,
    Zeros,
    Data,
}

/// What of a span is on disk. The extents are in order.
fn look(extents: &[(Range<u64>, bool)], span: &Range<u64>) -> Found {
    let first = extents.partition_point(|(extent, _)| extent.end <= span.start);
    let (mut at, mut data) = (span.start, false);
    for (extent, is_data) in &extents[first..] {
        if at >= span.end || extent.start > at {
            break;
        }
        at = extent.end;
        data |= is_data;
    }
    match (at >= span.end, data) {
        (false, _) => Found::Missing,
        (true, false) => Found::Zeros,
        (true, true) => Found::Data,
    }
}

fn hash(storage: &Storage, span: Range<u64>) -> Result<[u8; 20], Error> {
    let mut buffer = vec![0; HASHED_BYTES.min((span.end - span.start) as usize)];
    let (mut digest, mut at) = (Sha1::new(), span.start);
    while at < span.end {
        let part = (span.end - at).min(buffer.len() as u64) as usize;
        storage.read(at, &mut buffer[..part])?;
        digest.update(&buffer[..part]);
        at += part as u64;
    }
    Ok(digest.finalize().into())
}

fn hash_zeros(length: u64) -> [u8; 20] {
    let (mut digest, zeros) = (Sha1::new(), [0; 4096]);
    let mut left = length;
    while left > 0 {
        let part = left.min(zeros.len() as u64);
        digest.update(&zeros[..part as usize]);
        left -= part;
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::InfoHash;
    use crate::metainfo::{Recipe, build};
    use std::fs;
    use std::os::unix::fs::FileExt;

    static NEVER: AtomicBool = AtomicBool::new(false);

    /// A torrent of a file in `place/name`, 200 000 bytes of which the middle half is zeros.
    fn packed(place: &Path) -> Metainfo {
        let mut bytes = vec![0; 200_000];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = if (50_000..150_000).contains(&at) { 0 } else { (at % 251) as u8 };
        }
        fs::write(place.join("name"), &bytes).unwrap();
        let recipe = Recipe { name: "name".into(), ..Recipe::default() };
        build(&place.join("name"), recipe, &mut |_, _| {}).unwrap()
    }

    fn have(metainfo: &Metainfo, directory: &Path) -> Vec<u32> {
        open(metainfo, directory, None, &NEVER).unwrap().1.iter().collect()
    }

    #[test]
    fn pieces_that_are_there_are_found_and_wrong_ones_are_not() {
        let place = tempfile::tempdir().unwrap();
        let metainfo = packed(place.path());
        assert_eq!(metainfo.geometry.pieces(), 4);
        assert_eq!(have(&metainfo, place.path()), [0, 1, 2, 3]);
        let file = fs::OpenOptions::new().write(true).open(place.path().join("name")).unwrap();
        file.write_all_at(b"!", 70_000).unwrap();
        assert_eq!(have(&metainfo, place.path()), [0, 2, 3]);
        file.set_len(100_000).unwrap();
        assert_eq!(have(&metainfo, place.path()), [0]);
        fs::remove_file(place.path().join("name")).unwrap();
        assert!(have(&metainfo, place.path()).is_empty());
    }

    #[test]
    fn holes_are_zeros() {
        let place = tempfile::tempdir().unwrap();
        let metainfo = packed(place.path());
        let sparse = tempfile::tempdir().unwrap();
        let file = fs::File::create(sparse.path().join("name")).unwrap();
        file.set_len(200_000).unwrap();
        // Only the second of four pieces is all zeros.
        assert_eq!(have(&metainfo, sparse.path()), [1]);
    }

    #[test]
    fn a_note_is_believed_and_only_while_it_is_true() {
        let place = tempfile::tempdir().unwrap();
        let metainfo = packed(place.path());
        let (storage, _) = open(&metainfo, place.path(), None, &NEVER).unwrap();
        let noted = Bitfield::from_bytes(&[0x50], 4).unwrap();
        resume::save(&storage, metainfo.info_hash, &noted).unwrap();
        assert_eq!(have(&metainfo, place.path()), [1, 3]);
        fs::OpenOptions::new()
            .append(true)
            .open(place.path().join("name"))
            .unwrap()
            .set_len(199_999)
            .unwrap();
        assert_eq!(have(&metainfo, place.path()), [0, 1, 2]);
        assert_ne!(metainfo.info_hash, InfoHash([0; 20]));
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_fetched() {
        let place = tempfile::tempdir().unwrap();
        let mut info = b"d6:lengthi".to_vec();
        let pieces: u64 = 1 << 20;
        info.extend(
            format!("{}e4:name4:huge12:piece lengthi16777216e6:pieces{}:", pieces << 24, pieces * 20)
                .bytes(),
        );
        info.extend(vec![1; pieces as usize * 20]);
        info.push(b'e');
        let metainfo = Metainfo::from_info(info, Vec::new()).unwrap();
        let refused = open(&metainfo, place.path(), None, &NEVER);
        assert!(matches!(&refused, Err(Error::NoRoom { needed, .. }) if *needed == pieces << 24));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        let few = Bitfield::from_bytes(
            &{
                let mut few = vec![0; pieces as usize / 8];
                few[7] = 1;
                few
            },
            pieces as u32,
        )
        .unwrap();
        assert!(open(&metainfo, place.path(), Some(&few), &NEVER).is_ok());
    }
}
