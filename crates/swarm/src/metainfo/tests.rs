use super::*;
use crate::limits::MAX_NAME_BYTES;
use proptest::prelude::*;
use std::path::Path;

/// SHA-1 of "hello".
const HELLO: [u8; 20] = [
    0xaa, 0xf4, 0xc6, 0x1d, 0xdc, 0xc5, 0xe8, 0xa2, 0xda, 0xbe, 0xde, 0x0f, 0x3b, 0x48, 0x2c, 0xd9,
    0xae, 0xa9, 0x43, 0x4d,
];

/// A single file of 5 bytes, with `more` entries put over its own.
fn single(more: &[(&str, Item)]) -> Vec<u8> {
    let mut entries = vec![
        ("length", Item::Int(5)),
        ("name", "hello".into()),
        ("piece length", Item::Int(16 << 10)),
        ("pieces", HELLO[..].into()),
    ];
    entries.extend_from_slice(more);
    Item::dict(entries).encode()
}

/// Several files, each a length, a path and attributes, in one piece.
fn several(files: &[(i64, &[&[u8]], &str)]) -> Vec<u8> {
    let file = |(length, path, attributes): &(i64, &[&[u8]], &str)| {
        let path = Item::List(path.iter().map(|name| Item::from(*name)).collect());
        Item::dict([("length", Item::Int(*length)), ("path", path), ("attr", (*attributes).into())])
    };
    let files = Item::List(files.iter().map(file).collect());
    let rest =
        [("name", "dir".into()), ("piece length", Item::Int(16 << 10)), ("pieces", HELLO[..].into())];
    Item::dict([("files", files)].into_iter().chain(rest)).encode()
}

fn read(info: Vec<u8>) -> Result<Metainfo, Error> {
    Metainfo::from_info(info, Vec::new())
}

fn urls(tiers: &[&[&str]]) -> Vec<Vec<String>> {
    tiers.iter().map(|tier| tier.iter().map(|url| url.to_string()).collect()).collect()
}

#[test]
fn a_torrent_written_by_hand_is_read() {
    let bytes = [
        &b"d8:announce20:http://t.example/ann4:infod6:lengthi5e4:name5:hello12:piece lengthi16384e6:pieces20:"[..],
        &HELLO,
        b"ee",
    ]
    .concat();
    let torrent = Metainfo::from_torrent(&bytes).unwrap();
    assert_eq!(torrent.info_hash.to_string(), "bdb46b45d540f614aa67b474ea1e59a0857fb38f");
    assert_eq!((torrent.name.as_str(), torrent.private, &torrent.rows), ("hello", false, &None));
    assert_eq!(Some(torrent.geometry), Geometry::new(5, 16 << 10));
    assert_eq!(torrent.files, [File { path: "hello".into(), length: 5, start: 0, padding: false }]);
    assert_eq!(torrent.trackers, urls(&[&["http://t.example/ann"]]));
    assert_eq!((torrent.hash_of(0), torrent.hash_of(1)), (Some(HELLO), None));
    assert_eq!(torrent.to_torrent(), bytes);
}

#[test]
fn the_info_hash_is_of_the_bytes_as_published() {
    // Keys out of order, and one that nobody knows.
    let info = [
        &b"d6:pieces20:"[..],
        &HELLO,
        b"12:piece lengthi16384e4:name5:hello6:lengthi5e1:?d1:b0:1:a0:ee",
    ]
    .concat();
    let bytes = [b"d4:info", &info[..], b"7:commentl2:hiee"].concat();
    let torrent = Metainfo::from_torrent(&bytes).unwrap();
    assert_eq!(torrent.info, info);
    assert_eq!(torrent.info_hash.0[..], Sha1::digest(&info)[..]);
    assert_ne!(torrent.info_hash.to_string(), "bdb46b45d540f614aa67b474ea1e59a0857fb38f");
    assert_eq!(Metainfo::from_torrent(&torrent.to_torrent()), Ok(torrent.clone()));
    assert_eq!(Metainfo::from_info(info, Vec::new()), Ok(torrent));
}

#[test]
fn tiers_come_before_the_one_tracker() {
    let torrent = |list: &str| {
        let list = Item::Raw(list.as_bytes().to_vec());
        let info = Item::Raw(single(&[]));
        let bytes =
            Item::dict([("announce", "http://a/".into()), ("announce-list", list), ("info", info)])
                .encode();
        Metainfo::from_torrent(&bytes).unwrap().trackers
    };
    assert_eq!(
        torrent("ll9:http://b/9:http://c/el9:udp://d:1ee"),
        [vec!["http://b/", "http://c/"], vec!["udp://d:1"]]
    );
    for nothing in ["le", "i5e", "lleli3eee", "l9:http://b/e", "ll3:a\nbee"] {
        assert_eq!(torrent(nothing), [["http://a/"]], "{nothing}");
    }
    let many = format!("ll{}el9:http://c/ee", "9:http://b/".repeat(MAX_TRACKERS + 3));
    assert_eq!(torrent(&many), [vec!["http://b/"; MAX_TRACKERS]]);
}

#[test]
fn empty_files_and_padding_are_kept_apart() {
    let files = several(&[
        (0, &[b"a"], ""),
        (2, &[b"b"], "x"),
        (1, &[b".pad", b"1"], "p"),
        (0, &[b".pad", b"1"], "ph"),
        (2, &[b"d", b"e"], ""),
        (0, &[b"z"], ""),
    ]);
    let files = read(files).unwrap().files;
    let seen: Vec<_> =
        files.iter().map(|f| (f.path.to_str().unwrap(), f.start, f.length, f.padding)).collect();
    assert_eq!(
        seen,
        [
            ("dir/a", 0, 0, false),
            ("dir/b", 0, 2, false),
            ("dir/.pad/1", 2, 1, true),
            ("dir/.pad/1", 3, 0, true),
            ("dir/d/e", 3, 2, false),
            ("dir/z", 5, 0, false),
        ]
    );
}

#[test]
fn private_is_what_the_info_dictionary_says() {
    let private = |more: &[(&str, Item)]| read(single(more)).unwrap().private;
    assert!(private(&[("private", Item::Int(1))]));
    assert!(!private(&[("private", Item::Int(0))]) && !private(&[("private", "1".into())]));
    let outside = Item::dict([("info", Item::Raw(single(&[]))), ("private", Item::Int(1))]).encode();
    assert!(!Metainfo::from_torrent(&outside).unwrap().private);
}

#[test]
fn any_piece_size_between_the_limits_will_do() {
    for size in [16 << 10, 100_000, 12_345_678, 16 << 20] {
        let torrent = read(single(&[("piece length", Item::Int(size))])).unwrap();
        assert_eq!(i64::from(torrent.geometry.piece_bytes()), size);
    }
    for size in [0, 1, -1, (16 << 10) - 1, (16 << 20) + 1, 1 << 32, i64::MIN] {
        assert_eq!(read(single(&[("piece length", Item::Int(size))])), Err(Error::PieceBytes(size)));
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let long = [b'a'; MAX_NAME_BYTES + 1];
    for (name, fault) in [
        (&b""[..], NameFault::Empty),
        (b".", NameFault::Dots),
        (b"..", NameFault::Dots),
        (b"/etc", NameFault::Character),
        (b"../a", NameFault::Character),
        (b"a/", NameFault::Character),
        (b"a\0", NameFault::Character),
        (b"\x1b[2J", NameFault::Character),
        ("a\u{9b}".as_bytes(), NameFault::Character),
        (b"\xff", NameFault::NotUtf8),
        (&long, NameFault::Long),
    ] {
        let refused = Err(Error::Name { name: Shown::new(name), fault });
        assert_eq!(read(single(&[("name", name.into())])), refused);
        assert_eq!(read(several(&[(5, &[b"a", name, b"b"], "")])), refused);
        assert_eq!(read(several(&[(5, &[name], "p")])), refused);
    }
    for name in [&b"..."[..], b"a\\..\\b", b" ", b"C:", "\u{e9}t\u{e9}".as_bytes(), &long[1..]] {
        assert!(read(several(&[(5, &[name], "")])).is_ok());
    }
}

#[test]
fn paths_have_bounds() {
    let names = |count: usize, bytes: usize| vec![vec![b'a'; bytes]; count];
    let result = |names: Vec<Vec<u8>>| {
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        read(several(&[(5, &names, "")])).map(drop)
    };
    assert_eq!(result(names(MAX_PATH_COMPONENTS - 1, 1)), Ok(()));
    assert!(matches!(result(names(MAX_PATH_COMPONENTS, 1)), Err(Error::LongPath { .. })));
    assert!(matches!(result(names(10, 250)), Err(Error::LongPath { .. })));
    assert_eq!(result(Vec::new()), Err(Error::Key("path")));
}

#[test]
fn no_two_files_share_a_path() {
    let clash = |path: &str| Err(Error::Clash { path: path.into() });
    assert_eq!(read(several(&[(3, &[b"a"], ""), (1, &[b"b"], ""), (1, &[b"a"], "")])), clash("dir/a"));
    let nested = [(3, &[&b"a"[..], b"b"][..], ""), (1, &[b"a-"], ""), (1, &[b"a"], "")];
    assert_eq!(read(several(&nested)), clash("dir/a"));
    let deep = [(3, &[&b"a"[..], b"b", b"c"][..], ""), (2, &[b"a", b"b"], "")];
    assert_eq!(read(several(&deep)), clash("dir/a/b"));
    assert!(read(several(&[(3, &[b"a", b"b"], ""), (2, &[b"a", b"c"], "")])).is_ok());
    assert!(read(several(&[(3, &[b"a"], ""), (2, &[b"A"], "")])).is_ok());
}

#[test]
fn lengths_and_hashes_must_agree() {
    assert_eq!(read(single(&[("length", Item::Int(0))])), Err(Error::Empty));
    assert_eq!(read(several(&[])), Err(Error::Empty));
    assert_eq!(read(several(&[(0, &[b"a"], "")])), Err(Error::Empty));
    assert_eq!(read(single(&[("length", Item::Int(-1))])), Err(Error::Key("length")));
    assert_eq!(read(single(&[("length", Item::Int(i64::MAX))])), Err(Error::Pieces));
    let huge = (i64::MAX, &[&b"a"[..]][..], "");
    assert_eq!(read(several(&[huge, (i64::MAX, &[b"b"], ""), (2, &[b"c"], "")])), Err(Error::Pieces));
    for hash_bytes in [0, 19, 21, 40] {
        let hashes = vec![7u8; hash_bytes];
        assert_eq!(
            read(single(&[("pieces", hashes.into())])),
            Err(Error::Hashes { pieces: 1, hash_bytes })
        );
    }
    let most = i64::from(MAX_PIECES) << 14;
    assert_eq!(
        read(single(&[("length", Item::Int(most))])),
        Err(Error::Hashes { pieces: MAX_PIECES, hash_bytes: 20 })
    );
    assert_eq!(read(single(&[("length", Item::Int(most + 1))])), Err(Error::Pieces));
}

#[test]
fn what_is_no_torrent_says_what_is_missing() {
    for (key, wrong) in [("name", Item::Int(1)), ("pieces", Item::Int(1)), ("piece length", "1".into())]
    {
        assert_eq!(read(single(&[(key, wrong)])), Err(Error::Key(key)));
    }
    assert_eq!(read(single(&[("files", Item::List(Vec::new()))])), Err(Error::Key("length")));
    assert_eq!(read(b"le".to_vec()), Err(Error::Key("info")));
    assert_eq!(Metainfo::from_torrent(b"de"), Err(Error::Key("info")));
    assert_eq!(Metainfo::from_torrent(b"d4:infoi1ee"), Err(Error::Key("info")));
    assert_eq!(Metainfo::from_torrent(b""), Err(Error::Bencode(bencode::Error::Short { at: 0 })));
    let large = vec![b'l'; MAX_METAINFO_BYTES + 1];
    assert_eq!(Metainfo::from_torrent(&large), Err(Error::Large { bytes: large.len() }));
    let file = Item::dict([("length", Item::Int(1))]);
    let pathless = [("files", vec![file].into()), ("name", "a".into()), ("pieces", HELLO[..].into())];
    let pathless = Item::dict(pathless.into_iter().chain([("piece length", Item::Int(16 << 10))]));
    assert_eq!(read(pathless.encode()), Err(Error::Key("path")));
}

#[test]
fn other_kinds_of_torrents_are_named() {
    let version_2 = Item::dict([("meta version", Item::Int(2)), ("name", "a".into())]);
    assert_eq!(read(version_2.encode()), Err(Error::Version2));
    assert!(read(single(&[("meta version", Item::Int(2))])).is_ok());
    let link = Err(Error::Link { path: Path::new("dir/a").into() });
    assert_eq!(read(several(&[(0, &[b"a"], "l"), (5, &[b"b"], "")])), link);
}

#[test]
fn files_have_a_bound() {
    let names: Vec<String> = (0..=MAX_FILES).map(|i| i.to_string()).collect();
    let paths: Vec<[&[u8]; 1]> = names.iter().map(|name| [name.as_bytes()]).collect();
    let mut files: Vec<(i64, &[&[u8]], &str)> = paths.iter().map(|path| (0, &path[..], "")).collect();
    files[0].0 = 5;
    assert_eq!(read(several(&files)), Err(Error::Files));
    files.pop();
    assert_eq!(read(several(&files)).unwrap().files.len(), MAX_FILES);
}

#[test]
fn an_index_of_rows_must_fit() {
    let index = |bytes: &[u8]| read(single(&[(rows::KEY, bytes.into())])).map(|torrent| torrent.rows);
    let rows = index(&[0, 0, 0, 2, 0, 0, 0, 1]).unwrap().unwrap();
    assert_eq!((rows.rows(), rows.locate(1)), (2, Some((0, 1, 0))));
    for wrong in [&[][..], &[0; 8], &[0, 0, 0, 2, 0, 0, 0, 4], &[0, 0, 0, 1, 0, 0, 0]] {
        assert_eq!(index(wrong), Err(Error::Rows));
    }
    assert_eq!(read(single(&[(rows::KEY, Item::Int(1))])), Err(Error::Rows));
}

proptest! {
    #[test]
    fn a_set_of_files_reads_as_it_was_written(
        files in prop::collection::btree_map("[a-d]{1,2}(/[a-d]{1,2}){0,2}", 0i64..4000, 1..9),
        tiers in prop::collection::vec(prop::collection::vec("http://[a-z]{1,9}/", 1..3), 0..4),
        private: bool,
    ) {
        let split = |path: &str| path.split('/').map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        let paths: Vec<_> = files.keys().map(|path| split(path)).collect();
        let refs: Vec<Vec<&[u8]>> = paths.iter().map(|path| path.iter().map(Vec::as_slice).collect()).collect();
        let entries: Vec<_> = files.values().zip(&refs).map(|(length, path)| (*length, &path[..], "")).collect();
        let mut info = several(&entries);
        if private {
            info.pop();
            info.extend_from_slice(b"7:privatei1ee");
        }
        let inside = |a: &Vec<Vec<u8>>, b: &Vec<Vec<u8>>| a != b && b.starts_with(a);
        let clash = paths.iter().any(|a| paths.iter().any(|b| inside(a, b)));
        let total: i64 = files.values().sum();
        match Metainfo::from_info(info, tiers.clone()) {
            Err(Error::Clash { .. }) => prop_assert!(clash),
            Err(Error::Empty) => prop_assert_eq!(total, 0),
            Err(Error::Hashes { .. }) => prop_assert!(total > 16 << 10),
            Err(error) => prop_assert!(false, "{error}"),
            Ok(torrent) => {
                prop_assert!(!clash && total > 0);
                prop_assert_eq!(torrent.private, private);
                prop_assert_eq!(&torrent.trackers, &tiers);
                let mut start = 0;
                for (file, (path, length)) in torrent.files.iter().zip(&files) {
                    prop_assert_eq!(&file.path, &Path::new("dir").join(path));
                    prop_assert_eq!((file.start, file.length as i64), (start, *length));
                    start += file.length;
                }
                prop_assert_eq!(torrent.geometry.total_bytes(), start);
                prop_assert_eq!(Metainfo::from_torrent(&torrent.to_torrent()), Ok(torrent));
            }
        }
    }
}
