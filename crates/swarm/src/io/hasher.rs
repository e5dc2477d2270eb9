//! Threads that hash whole pieces and put the good ones in place.
//!
//! A piece is hashed, and written at once while its bytes are still in the processor's cache. No byte
//! reaches a file in another way.

use super::storage::Storage;
use super::{Error, refused};
use crate::geometry::Geometry;
use crate::limits::BLOCK_BYTES;
use sha1::{Digest, Sha1};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// A piece to hash.
pub struct Task {
    /// Whose piece, as the asker numbers them.
    pub torrent: u64,
    /// Where it belongs.
    pub storage: Arc<Storage>,
    /// How the torrent is cut.
    pub geometry: Geometry,
    /// Which piece.
    pub piece: u32,
    /// Its bytes, and perhaps more.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub hash: [u8; 20],
    /// Are digests of its blocks wanted?
    pub digests: bool,
}

/// What became of it.
pub struct Done {
    /// Whose piece.
    pub torrent: u64,
    /// Which piece.
    pub piece: u32,
    /// The buffer, to be used again.
    pub bytes: Vec<u8>,
    /// Is it right, and in place? An error is of a file.
    pub good: Result<bool, Error>,
    /// Where asked for: a digest of each block.
    pub digests: Vec<u64>,
}

/// The threads. Dropped, they finish what they were given.
pub struct Hasher {
    tasks: Option<Sender<Task>>,
    threads: Vec<JoinHandle<()>>,
}

impl Hasher {
    /// So many threads, which call `report` for each piece.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        threads: usize,
        report: impl Fn(Done) + Send + Clone + 'static,
    ) -> Result<Hasher, Error> {
        let (tasks, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let mut hasher = Hasher { tasks: Some(tasks), threads: Vec::new() };
        for _ in 0..threads {
            let (queue, report) = (queue.clone(), report.clone());
            let thread = Builder::new().name("hasher".into()).spawn(move || {
                while let Some(task) = next(&queue) {
                    report(verify(task));
                }
            });
            hasher.threads.push(thread.map_err(|e| refused("a thread to hash pieces", e))?);
        }
        Ok(hasher)
    }

    /// Hashes a piece when its turn comes.
    pub fn submit(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // The threads live as long as `self`.
            let _ = tasks.send(task);
        }
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.tasks = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn next(queue: &Mutex<Receiver<Task>>) -> Option<Task> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn verify(task: Task) -> Done {
    let Task { torrent, storage, geometry, piece, bytes, hash, digests } = task;
    let content = &bytes[..geometry.length_of(piece) as usize];
    let sound = Sha1::digest(content).as_slice() == hash;
    let good = match sound {
        true => storage.write(geometry.span(piece).start, content).map(|()| true),
        false => Ok(false),
    };
    let blocks = content.chunks(BLOCK_BYTES as usize).filter(|_| digests);
    Done { torrent, piece, good, digests: blocks.map(digest).collect(), bytes }
}

/// The first 64 bits of the block's SHA-1.
fn digest(block: &[u8]) -> u64 {
    Sha1::digest(block).iter().take(8).fold(0, |digest, byte| digest << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::File;

    fn file(length: u64) -> Vec<File> {
        vec![File { path: "f".into(), length, start: 0, padding: false }]
    }

    #[test]
    fn good_pieces_are_in_place_and_bad_ones_are_not() {
        let place = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..50_000).map(|i| (i % 251) as u8).collect();
        let geometry = Geometry::new(50_000, 32 << 10).unwrap();
        let storage = Storage::open(place.path(), file(50_000)).unwrap();
        let storage = Arc::new(storage);
        let (report, reports) = channel();
        let hasher = Hasher::start(2, move |done| report.send(done).unwrap()).unwrap();
        let piece = |index: u32| {
            let span = geometry.span(index);
            let mut bytes = content[span.start as usize..span.end as usize].to_vec();
            let hash = Sha1::digest(&bytes).into();
            bytes.resize(32 << 10, 9);
            Task {
                torrent: 3,
                storage: storage.clone(),
                geometry,
                piece: index,
                bytes,
                hash,
                digests: false,
            }
        };
        let mut bad = piece(0);
        bad.bytes[0] ^= 1;
        bad.digests = true;
        hasher.submit(bad);
        let bad = reports.recv().unwrap();
        assert!(matches!(bad.good, Ok(false)) && bad.torrent == 3 && bad.bytes.len() == 32 << 10);
        assert!(!place.path().join("f").exists());
        let good = Task { digests: true, ..piece(0) };
        hasher.submit(good);
        let good = reports.recv().unwrap();
        assert!(matches!(good.good, Ok(true)));
        let differ = |i: usize| bad.digests[i] != good.digests[i];
        assert!(good.digests.len() == 2 && differ(0) && !differ(1));
        hasher.submit(piece(1));
        drop(hasher);
        assert!(reports.recv().unwrap().digests.is_empty());
        assert_eq!(std::fs::read(place.path().join("f")).unwrap(), content);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_that_names_it() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("f")).unwrap();
        let storage = Storage::open(place.path(), file(5)).unwrap();
        let (storage, geometry) = (Arc::new(storage), Geometry::new(5, 5).unwrap());
        let hash = Sha1::digest(b"hello").into();
        let task = Task {
            torrent: 0,
            storage,
            geometry,
            piece: 0,
            bytes: b"hello".to_vec(),
            hash,
            digests: false,
        };
        let error = verify(task).good.unwrap_err();
        assert!(error.to_string().contains("/f: "), "{error}");
    }
}
