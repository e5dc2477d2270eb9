//! What is on disk before and after.

use super::*;
use offload_swarm::io::Error;
use offload_swarm::io::node::Phase;
use std::os::unix::fs::{FileExt, symlink};

/// Pieces there after looking, and bytes that came then.
fn fetch(packed: &Packed, place: &Path, peer: SocketAddr) -> u64 {
    let leecher = node(2);
    let handle = add(&leecher, packed.what(), place, &[peer]);
    handle.wait_complete(LONG).unwrap();
    leecher.stop();
    packed.assert_same(place);
    handle.status().progress.downloaded_bytes
}

#[test]
fn what_is_there_is_not_fetched_again_and_what_is_wrong_is() {
    let packed = Packed::new("data", &[("a", 600_000), ("b", 50_000)]);
    let (seeder, _seeding) = seeder(&packed);
    let (place, total) = (tempfile::tempdir().unwrap(), packed.metainfo.geometry.total_bytes());
    assert_eq!(fetch(&packed, place.path(), seeder.address()), total);
    assert_eq!(fetch(&packed, place.path(), seeder.address()), 0);
    let file = fs::OpenOptions::new().write(true).open(place.path().join("data/a")).unwrap();
    file.write_all_at(b"wrong", 100_000).unwrap();
    let piece = u64::from(packed.metainfo.geometry.piece_bytes());
    assert_eq!(fetch(&packed, place.path(), seeder.address()), piece);
    fs::remove_file(place.path().join("data/b")).unwrap();
    let rest = total - 600_000 / piece * piece;
    assert_eq!(fetch(&packed, place.path(), seeder.address()), rest);
}

#[test]
fn what_others_began_is_continued() {
    let packed = Packed::new("data", &[("", 700_000)]);
    let (seeder, _seeding) = seeder(&packed);
    let place = tempfile::tempdir().unwrap();
    let begun = fs::read(packed.place.path().join("data")).unwrap();
    fs::write(place.path().join("data"), &begun[..400_000]).unwrap();
    let piece = u64::from(packed.metainfo.geometry.piece_bytes());
    assert_eq!(fetch(&packed, place.path(), seeder.address()), 700_000 - 400_000 / piece * piece);
}

#[test]
fn what_is_in_the_way_is_named_and_not_touched() {
    let packed = Packed::new("data", &[("", 100_000)]);
    let place = tempfile::tempdir().unwrap();
    let (file, other) = (place.path().join("data"), place.path().join("other"));
    fs::write(&file, vec![1; 100_001]).unwrap();
    let leecher = node(2);
    let handle = add(&leecher, packed.what(), place.path(), &[]);
    let error = handle.wait_complete(LONG).unwrap_err();
    assert!(matches!(&error, Error::Longer { path, .. } if *path == file), "{error}");
    assert!(matches!(handle.status().phase, Phase::Failed(_)));
    assert_eq!(fs::read(&file).unwrap(), vec![1; 100_001]);
    fs::rename(&file, &other).unwrap();
    symlink(&other, &file).unwrap();
    let error = add(&leecher, packed.what(), place.path(), &[]).wait_complete(LONG).unwrap_err();
    assert!(error.to_string().contains("data"), "{error}");
    assert_eq!(fs::read(&other).unwrap(), vec![1; 100_001]);
}

#[test]
fn a_file_that_vanishes_from_under_a_seeder_ends_it_with_its_name() {
    let packed = Packed::new("data", &[("", 400_000)]);
    let (seeder, seeding) = seeder(&packed);
    fs::File::create(packed.place.path().join("data")).unwrap();
    let (leecher, place) = (node(2), tempfile::tempdir().unwrap());
    let _handle = add(&leecher, packed.what(), place.path(), &[seeder.address()]);
    until(|| matches!(seeding.status().phase, Phase::Failed(_)));
    let Phase::Failed(error) = seeding.status().phase else { unreachable!() };
    assert!(matches!(&error, Error::Storage { path, .. } if path.ends_with("data")), "{error}");
}
