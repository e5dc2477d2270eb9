//! Torrents and magnet links: any bytes are read or refused, no path leads out, files cover all bytes once,
//! and what is written reads the same.
//!
//! The first byte says which: a .torrent file; an info dictionary of which the fuzzer writes the rest after
//! the hashes, whose number it would not guess; a magnet link.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offload_swarm::limits::{MAX_FILES, MAX_PIECES, MAX_TRACKERS};
use offload_swarm::magnet::Magnet;
use offload_swarm::metainfo::Metainfo;
use std::path::Component;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    match choice % 3 {
        0 => check(Metainfo::from_torrent(rest).ok()),
        1 => {
            let pieces = choice / 3;
            let head = format!("d6:pieces{}:", usize::from(pieces) * 20);
            let info = [head.as_bytes(), &vec![pieces; usize::from(pieces) * 20], rest, b"e"].concat();
            check(Metainfo::from_info(info, vec![vec!["http://t.example/".to_owned()]]).ok());
        }
        _ => {
            let Ok(magnet) = String::from_utf8_lossy(rest).parse::<Magnet>() else { return };
            assert_eq!(magnet.to_string().parse(), Ok(magnet));
        }
    }
});

fn check(metainfo: Option<Metainfo>) {
    let Some(metainfo) = metainfo else { return };
    let geometry = metainfo.geometry;
    assert!(metainfo.files.len() <= MAX_FILES && geometry.pieces() <= MAX_PIECES);
    assert!(metainfo.trackers.iter().flatten().count() <= MAX_TRACKERS);
    let mut start = 0;
    for file in &metainfo.files {
        assert!(file.path.starts_with(&metainfo.name) && file.path.is_relative());
        assert!(file.path.components().all(|name| matches!(name, Component::Normal(_))));
        assert!(!file.path.to_str().unwrap().chars().any(char::is_control));
        assert_eq!(file.start, start);
        start += file.length;
    }
    assert_eq!(start, geometry.total_bytes());
    let real: Vec<_> = metainfo.files.iter().filter(|file| !file.padding).collect();
    for (i, a) in real.iter().enumerate() {
        assert!(
            real[i + 1..].iter().all(|b| !a.path.starts_with(&b.path) && !b.path.starts_with(&a.path))
        );
    }
    assert!(metainfo.hash_of(geometry.pieces() - 1).is_some());
    assert!(metainfo.hash_of(geometry.pieces()).is_none());
    if let Some(rows) = &metainfo.rows {
        let last = rows.rows() - 1;
        for row in [0, last / 2, last] {
            let (piece, offset, first) = rows.locate(row).expect("it begins somewhere");
            assert!(first <= row && offset < geometry.length_of(piece));
        }
        assert_eq!(rows.locate(last + 1), None);
    }
    let magnet = Magnet::from(&metainfo);
    assert_eq!(magnet.to_string().parse().as_ref(), Ok(&magnet));
    assert_eq!(Metainfo::from_torrent(&metainfo.to_torrent()), Ok(metainfo));
}
