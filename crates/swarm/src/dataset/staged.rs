//! A dataset at a backend: fetched once, kept, shared with the others, mapped from disk.
//!
//! It lies under a directory of its own for each backend and dataset, beside the programs: there it outlives
//! the backend, so that the next job, or the next start, fetches nothing again, which a staging pool in memory
//! would not do; and two backends of one host never write to the same file. By default all of it is fetched
//! when the backend starts, so that any can stand in for another; else only the pieces that hold the rows
//! asked for. While the backend lives, it seeds what it has.
//!
//! Left out: removing datasets that nobody asks for any more.

use super::{Error, id, join, rows_of};
use crate::geometry::Geometry;
use crate::id::PeerId;
use crate::io as swarm;
use crate::io::node::{Handle, Node, NodeSettings, Status, What};
use crate::limits::{DATASET_POLL, DATASET_STALL};
use crate::metainfo::{Metainfo, RowIndex};
use ethnum::I256;
use offload::config::Stage;
use offload::dataset::Id;
use offload::io::Dataset;
use offload::numbers::Span;
use offload::reduction::Reduction;
use offload::rng::Rng;
use std::fs::DirBuilder;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A dataset that is being staged, or is.
pub struct Staged {
    id: Id,
    stage: Stage,
    directory: PathBuf,
    handle: Handle,
    /// Kept alive: it seeds.
    _node: Node,
}

impl Staged {
    /// Begins to stage `what` in `directory`, made if need be, below which it has a directory of its name.
    ///
    /// # Errors
    /// It is known to have no index of rows, or the directory, a port or a thread is not to be had.
    pub fn start(what: What, directory: &Path, stage: Stage, mut rng: Rng) -> Result<Staged, Error> {
        if let What::Metainfo(metainfo) = &what {
            rows_of(metainfo)?;
        }
        let id = id(&what);
        let directory = directory.join(id.to_string());
        let made = DirBuilder::new().recursive(true).create(&directory);
        made.map_err(|e| swarm::broken(&directory, e))?;
        let node = Node::start(NodeSettings::new(PeerId::random(&mut rng)), rng.split())?;
        let wanted = match stage {
            Stage::Whole => None,
            Stage::Shard => Some(Vec::new()),
        };
        let handle = join(&node, what, &directory, wanted)?;
        Ok(Staged { id, stage, directory, handle, _node: node })
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        self.handle.status()
    }

    /// Waits until all that is wanted is here.
    fn wait(&self, cancelled: &AtomicBool) -> Result<Arc<Metainfo>, String> {
        let mut seen = (0, 0);
        let mut since = Instant::now();
        loop {
            let outcome = self.handle.wait_complete(Some(DATASET_POLL));
            let status = self.handle.status();
            match (outcome, &status.metainfo) {
                (Ok(()), Some(metainfo)) => return Ok(Arc::clone(metainfo)),
                (Ok(()) | Err(swarm::Error::Late), _) => {}
                (Err(error), _) => return Err(format!("it cannot stage the dataset: {error}")),
            }
            if cancelled.load(Ordering::Relaxed) {
                return Err("its rows are no longer wanted".to_owned());
            }
            let now = (status.have_pieces, status.progress.downloaded_bytes);
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() >= DATASET_STALL {
                let (seconds, peers) = (DATASET_STALL.as_secs(), status.progress.connections);
                return Err(format!(
                    "nothing of the dataset has come for {seconds} s from {peers} peers; is its server up?"
                ));
            }
        }
    }
}

impl Dataset for Staged {
    fn id(&self) -> Id {
        self.id
    }

    fn map(
        &self,
        rows: Range<u64>,
        reduction: &dyn Reduction,
        cancelled: &AtomicBool,
    ) -> Result<I256, String> {
        let mut metainfo = self.wait(cancelled)?;
        let index = rows_of(&metainfo).map_err(|e| e.to_string())?;
        if rows.end > index.rows() {
            return Err(format!("the dataset has {} rows, not {}", index.rows(), rows.end));
        }
        if self.stage == Stage::Shard {
            self.handle.want(vec![bytes_of(index, metainfo.geometry, &rows)]);
            metainfo = self.wait(cancelled)?;
        }
        let file = self.directory.join(&metainfo.files[0].path);
        map_rows(&metainfo, &file, rows, reduction, cancelled)
    }
}

/// The bytes that hold rows, for who has the places of some only.
fn bytes_of(index: &RowIndex, geometry: Geometry, rows: &Range<u64>) -> Range<u64> {
    let place = |row| {
        let (piece, before, first) = index.locate(row)?;
        Some((geometry.span(piece), u64::from(before), first))
    };
    let start = place(rows.start).map_or(0, |(span, before, _)| span.start + before);
    let end = match place(rows.end) {
        Some((span, before, first)) if first == rows.end => span.start + before,
        Some((span, ..)) => span.end,
        None => geometry.total_bytes(),
    };
    start..end
}

/// Maps rows from a file, piece by piece: where one ends, the index has the next one begin, or it is wrong.
fn map_rows(
    metainfo: &Metainfo,
    file: &Path,
    rows: Range<u64>,
    reduction: &dyn Reduction,
    cancelled: &AtomicBool,
) -> Result<I256, String> {
    let index = rows_of(metainfo).map_err(|e| e.to_string())?;
    let span = Span::open(file).map_err(|e| e.to_string())?;
    let mut partial = reduction.identity();
    let mut row = rows.start;
    let mut at = None;
    while row < rows.end {
        if cancelled.load(Ordering::Relaxed) {
            return Err("its rows are no longer wanted".to_owned());
        }
        let (piece, before, first) = index.locate(row).ok_or("the dataset ends too early")?;
        let begins = metainfo.geometry.span(piece).start + u64::from(before);
        if at.is_some_and(|at| at != begins) {
            let name = &metainfo.name;
            return Err(format!("the index of rows of {name} is wrong at row {row}; pack it again"));
        }
        let end = index.end_of(piece).min(rows.end);
        let mut fold = |numbers: &[i64]| partial = reduction.map(partial, numbers);
        let read = span.read((first, begins), row..end, index.rows(), &mut fold);
        at = Some(read.map_err(|e| e.to_string())?);
        row = end;
    }
    Ok(partial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{index, rows};
    use crate::magnet::Magnet;
    use crate::metainfo::{Recipe, build};
    use offload::reduction::Function;
    use std::net::{Ipv4Addr, SocketAddr};
    use tempfile::TempDir;

    static NO: AtomicBool = AtomicBool::new(false);

    fn numbers() -> Vec<i64> {
        (0..60_000).map(|n: i64| n * n * n - 1_000_003).collect()
    }

    /// A packed file and its only seeder.
    struct Origin {
        _dir: TempDir,
        node: Node,
        seeder: Handle,
        metainfo: Arc<Metainfo>,
    }

    impl Origin {
        fn new() -> Origin {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("nums.csv");
            let text: String = numbers().iter().map(|n| format!("{n}\n")).collect();
            std::fs::write(&path, text).unwrap();
            let rows = Some(index(&path).unwrap());
            let recipe = Recipe { name: "nums.csv".into(), rows, ..Recipe::default() };
            let metainfo = Arc::new(build(&path, recipe, &mut |_, _| {}).unwrap());
            let mut settings = NodeSettings::new(PeerId([1; 20]));
            (settings.listen, settings.discovery) = ((Ipv4Addr::LOCALHOST, 0).into(), false);
            let node = Node::start(settings, Rng::from_seed(1)).unwrap();
            let what = What::Metainfo(metainfo.clone());
            let seeder = join(&node, what, dir.path(), None).unwrap();
            seeder.wait_complete(None).unwrap();
            Origin { _dir: dir, node, seeder, metainfo }
        }

        fn link(&self) -> What {
            let address: SocketAddr = self.node.address();
            let (info_hash, peers) = (self.metainfo.info_hash, vec![address.to_string()]);
            What::Magnet(Magnet { info_hash, name: None, trackers: Vec::new(), peers })
        }

        fn uploaded(&self) -> u64 {
            self.seeder.status().progress.uploaded_bytes
        }
    }

    fn sum(rows: Range<u64>) -> I256 {
        let all = numbers();
        let some = &all[rows.start as usize..rows.end as usize];
        some.iter().fold(I256::ZERO, |sum, &n| sum + I256::from(n))
    }

    #[test]
    fn any_rows_are_mapped_and_a_second_start_fetches_nothing() {
        let (origin, here) = (Origin::new(), tempfile::tempdir().unwrap());
        assert_eq!(rows(&origin.link(), Rng::from_seed(3)).unwrap(), 60_000);
        let staged = Staged::start(origin.link(), here.path(), Stage::Whole, Rng::from_seed(2)).unwrap();
        for rows in [0..60_000, 0..1, 59_999..60_000, 20_000..40_000, 12_345..54_321] {
            assert_eq!(staged.map(rows.clone(), &Function::Sum, &NO), Ok(sum(rows)));
        }
        assert!(staged.map(0..60_001, &Function::Sum, &NO).unwrap_err().contains("60000 rows"));
        let whole = origin.metainfo.geometry.total_bytes();
        drop(staged);
        // The seeder's figures come a little later.
        while origin.uploaded() < whole {
            std::thread::yield_now();
        }
        let before = origin.uploaded();
        let again = Staged::start(origin.link(), here.path(), Stage::Whole, Rng::from_seed(4)).unwrap();
        assert_eq!(again.map(7..50_000, &Function::Sum, &NO), Ok(sum(7..50_000)));
        assert_eq!(again.status().progress.downloaded_bytes, 0);
        assert_eq!(origin.uploaded(), before);
    }

    #[test]
    fn a_shard_is_all_that_is_fetched_where_no_more_is_asked_for() {
        let (origin, here) = (Origin::new(), tempfile::tempdir().unwrap());
        let staged = Staged::start(origin.link(), here.path(), Stage::Shard, Rng::from_seed(2)).unwrap();
        assert_eq!(staged.map(20_000..40_000, &Function::Sum, &NO), Ok(sum(20_000..40_000)));
        let (all, have) = (origin.metainfo.geometry.pieces(), staged.status().have_pieces);
        assert!(have > 0 && have <= all / 3 + 3, "{have} of {all} pieces");
        assert_eq!(staged.map(39_000..60_000, &Function::Sum, &NO), Ok(sum(39_000..60_000)));
        assert_eq!(staged.map(0..60_000, &Function::Sum, &NO), Ok(sum(0..60_000)));
        assert_eq!(staged.status().have_pieces, all);
    }

    #[test]
    fn what_is_called_off_ends_though_nobody_has_the_dataset() {
        let here = tempfile::tempdir().unwrap();
        let info_hash = crate::id::InfoHash([7; 20]);
        let (name, trackers, peers) = (None, Vec::new(), Vec::new());
        let what = What::Magnet(Magnet { info_hash, name, trackers, peers });
        let staged = Staged::start(what, here.path(), Stage::Whole, Rng::from_seed(2)).unwrap();
        let outcome = staged.map(0..1, &Function::Sum, &AtomicBool::new(true));
        assert_eq!(outcome, Err("its rows are no longer wanted".to_owned()));
    }

    #[test]
    fn a_wrong_index_gives_no_wrong_number() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nums.csv");
        let text: String = numbers().iter().map(|n| format!("{n}\n")).collect();
        std::fs::write(&path, &text).unwrap();
        let (cut, right) = {
            let index = index(&path).unwrap();
            let recipe = Recipe { name: "nums.csv".into(), rows: Some(index), ..Recipe::default() };
            let metainfo = build(&path, recipe, &mut |_, _| {}).unwrap();
            (metainfo.geometry, metainfo)
        };
        let index = right.rows.clone().unwrap();
        let mut pieces: Vec<(u32, u32)> = (0..cut.pieces())
            .map(|piece| {
                let first = if piece == 0 { 0 } else { index.end_of(piece - 1) };
                let (_, before, _) = index.locate(first).unwrap();
                ((index.end_of(piece) - first) as u32, before)
            })
            .collect();
        // A row too many in one piece, one too few in the next.
        pieces[2].0 += 1;
        pieces[3].0 -= 1;
        let rows = RowIndex::new(cut, pieces).unwrap();
        let recipe = Recipe { name: "nums.csv".into(), rows: Some(rows), ..Recipe::default() };
        let wrong = build(&path, recipe, &mut |_, _| {}).unwrap();
        let outcome = map_rows(&wrong, &path, 0..60_000, &Function::Sum, &NO);
        assert!(outcome.unwrap_err().contains("pack it again"));
        assert_eq!(map_rows(&right, &path, 0..60_000, &Function::Sum, &NO), Ok(sum(0..60_000)));
    }
}
