//! Archives that somebody made to do harm. Each is refused with nothing in place, or does no harm.

use super::{layer, names, packed, unpacked};
use offload_swarm::image::pack::Compression;
use offload_swarm::image::unpack::{Error, Layer, Unpacked};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use tar::{EntryType, Header};

/// An archive in the making, without any of the checks that libraries make.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn header(mut self, kind: EntryType, path: &str, link: &str, size: u64) -> Archive {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(size);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self
    }

    fn content(mut self, content: &[u8]) -> Archive {
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Archive {
        self.header(EntryType::Regular, path, "", content.len() as u64).content(content.as_bytes())
    }

    fn directory(self, path: &str) -> Archive {
        self.header(EntryType::Directory, path, "", 0)
    }

    fn link(self, kind: EntryType, path: &str, target: &str) -> Archive {
        self.header(kind, path, target, 0)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// Where an attack happens: `outside` must stay as it is, and `image` must not appear.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        Scene { dir }
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn unpack_named(&self, name: &str, archive: &[u8]) -> Result<Unpacked, Error> {
        let pack = self.dir.path().join(name);
        fs::write(&pack, archive).unwrap();
        let done = unpacked(
            &[Layer { pack: pack.clone(), unpacked_bytes: 1 << 20, entries: 100 }],
            &self.target(),
        );
        fs::remove_file(&pack).unwrap();
        assert_eq!(names(&self.dir.path().join("outside")), ["secret"]);
        assert_eq!(fs::read_to_string(self.dir.path().join("outside/secret")).unwrap(), "secret");
        let expected = if done.is_ok() { &["image", "outside"][..] } else { &["outside"] };
        assert_eq!(names(self.dir.path()), expected);
        done
    }

    fn unpack(&self, archive: &[u8]) -> Result<Unpacked, Error> {
        self.unpack_named("evil.tar", archive)
    }

    #[track_caller]
    fn refuses(&self, archive: Archive, why: &str) {
        self.refuses_bytes(&archive.end(), why);
    }

    #[track_caller]
    fn refuses_bytes(&self, archive: &[u8], why: &str) {
        let error = self.unpack(archive).unwrap_err().to_string();
        assert!(error.ends_with(why), "{error}");
    }
}

#[test]
fn no_path_leaves_the_directory() {
    let scene = Scene::new();
    let absolute = scene.dir.path().join("outside/new");
    scene.refuses(Archive::default().file(absolute.to_str().unwrap(), "x"), "is an absolute path");
    scene.refuses(Archive::default().file("../outside/new", "x"), "leads upwards (..)");
    scene.refuses(Archive::default().file("a/../../outside/new", "x"), "leads upwards (..)");
    scene.refuses(Archive::default().directory("../outside/"), "leads upwards (..)");
    scene.refuses(Archive::default().file("", "x"), "has no possible file name");
    scene.refuses(Archive::default().file(".", "x"), "has no possible file name");
    scene.refuses(
        Archive::default()
            .header(EntryType::XHeader, "x", "", 21)
            .content(b"21 path=../outside/x\n")
            .file("a", ""),
        "leads upwards (..)",
    );
}

#[test]
fn no_symbolic_link_is_followed() {
    let scene = Scene::new();
    let outside = scene.dir.path().join("outside");
    for target in ["../outside", outside.to_str().unwrap(), "."] {
        let link = || Archive::default().link(EntryType::Symlink, "link", target);
        let through = "leads through what is no directory (a file, or a symbolic link)";
        let conflict = "and what is there are not both directories, nor both files";
        scene.refuses(link().file("link/secret", "x"), through);
        scene.refuses(link().directory("link/new/"), through);
        scene.refuses(link().directory("link/"), conflict);
        scene.refuses(link().link(EntryType::Symlink, "link/new", "x"), through);
        scene.refuses(link().file("real", "x").link(EntryType::Link, "link/new", "real"), through);
        scene.refuses(
            link().link(EntryType::Link, "copy", "link/secret"),
            "is a hard link to what is no file before it in the pack",
        );
    }
    let two = Archive::default().link(EntryType::Symlink, "a", "..").link(
        EntryType::Symlink,
        "a/b",
        "outside",
    );
    scene.refuses(two, "leads through what is no directory (a file, or a symbolic link)");
    scene.refuses(
        Archive::default().link(EntryType::Symlink, "a", ""),
        "is a symbolic link to an impossible path",
    );
    scene.refuses(
        Archive::default().file("a", "x").file("a/b", "x"),
        "leads through what is no directory (a file, or a symbolic link)",
    );
}

#[test]
fn a_file_replaces_a_link_and_not_what_it_means() {
    let scene = Scene::new();
    let archive = Archive::default()
        .link(EntryType::Symlink, "soft", "../outside/secret")
        .file("soft", "mine")
        .file("kept", "first")
        .link(EntryType::Link, "hard", "kept")
        .file("hard", "second")
        .file("kept2", "one")
        .file("./kept2", "two");
    scene.unpack(&archive.end()).unwrap();
    let read = |name: &str| fs::read_to_string(scene.target().join(name)).unwrap();
    assert_eq!(["soft", "kept", "hard", "kept2"].map(read), ["mine", "first", "second", "two"]);
    assert!(fs::symlink_metadata(scene.target().join("soft")).unwrap().is_file());
}

#[test]
fn hard_links_stay_inside() {
    let scene = Scene::new();
    let why = "is a hard link to what is no file before it in the pack";
    for target in ["../outside/secret", "/etc/passwd", "", ".", "later", "directory", "self"] {
        let archive = Archive::default().directory("directory").link(EntryType::Link, "self", target);
        scene.refuses(archive.file("later", "x"), why);
    }
    // To a symbolic link, it is one more of that, and a file through it replaces it.
    let archive = Archive::default()
        .link(EntryType::Symlink, "soft", "../outside/secret")
        .link(EntryType::Link, "hard", "soft")
        .file("hard", "mine");
    scene.unpack(&archive.end()).unwrap();
}

#[test]
fn no_more_is_unpacked_than_was_told() {
    let scene = Scene::new();
    let huge = Archive::default().header(EntryType::Regular, "huge", "", 1 << 40).content(&[0; 4096]);
    scene.refuses(huge, "exceeds the size of 1048576 bytes that the pack's description tells");
    let most = Archive::default().header(EntryType::Regular, "most", "", u64::MAX).content(&[0; 4096]);
    scene.refuses(most, "exceeds the size of 1048576 bytes that the pack's description tells");
    let many = (0..101).fold(Archive::default(), |archive, i| archive.file(&i.to_string(), ""));
    scene.refuses(many, "exceeds the number of 100 entries that the pack's description tells");

    // A bomb: a gigabyte of zeros in a few kilobytes, and one behind the archive's end.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&Archive::default().end()).unwrap();
    (0..64).for_each(|_| gzip.write_all(&[0; 1 << 16]).unwrap());
    let error = scene.unpack_named("bomb.tar.gz", &gzip.finish().unwrap()).unwrap_err().to_string();
    assert!(error.ends_with("a header's end exceeds 1048576"), "{error}");
    // A dataset has no headers that could be held against the description.
    let error = scene.unpack_named("nums.csv", &vec![b'1'; (1 << 20) + 1]).unwrap_err().to_string();
    assert!(
        error.ends_with("exceeds the size of 1048576 bytes that the pack's description tells"),
        "{error}"
    );
}

#[test]
fn names_and_attributes_have_bounds() {
    let scene = Scene::new();
    let long = |size| Archive::default().header(EntryType::GNULongName, "././@LongLink", "", size);
    scene.refuses(long(1 << 40), "a header's extension exceeds 1048576");
    scene.refuses(long(300).content(&[b'x'; 300]).file("a", ""), "has no possible file name");
    scene.refuses(long(2000).content(&b"d/".repeat(1000)).file("a", ""), "is nested too deep");
    scene.refuses(long(4).content(b"a\0b\0").file("a", ""), "has no possible file name");
    let chain = (0..20).fold(Archive::default(), |archive, _| {
        archive.header(EntryType::GNULongName, "x", "", 2).content(b"x\0")
    });
    scene.refuses(chain.file("a", ""), "a header's number of extensions exceeds 8");
    scene.refuses(long(2).content(b"x\0"), "it ends in the middle");
    for records in ["5 a=b\n", "99 a=b\n", "-1 a=b\n", "6 a=b", "18446744073709551616 a=b\n", "\0\0\0\0"]
    {
        let archive = Archive::default().header(EntryType::XHeader, "x", "", records.len() as u64);
        let archive = archive.content(records.as_bytes()).file("a", "");
        scene.refuses(archive, "a header's extension makes no sense");
    }
}

#[test]
fn damage_is_found() {
    let scene = Scene::new();
    let whole = Archive::default().file("a", "content").file("b", "content").end();
    for cut in [0, 100, 512, 600, 1024, 1500, 2047, 2048, 2200] {
        scene.refuses_bytes(&whole[..cut], "it ends in the middle");
    }
    let mut wrong = whole.clone();
    wrong[1024] ^= 1;
    scene.refuses_bytes(&wrong, "a header's checksum is wrong: it is damaged, or no tar archive");
    scene.refuses_bytes(&[b'x'; 4096], "a header's checksum is wrong: it is damaged, or no tar archive");
    let mut header = Header::new_gnu();
    header.as_old_mut().name[0] = b'a';
    header.as_old_mut().size = *b"99999999999\0";
    header.set_cksum();
    scene.refuses_bytes(header.as_bytes(), "a header's size makes no sense");
    let odd = Archive::default().header(EntryType::new(b'M'), "a", "", 0);
    let error = scene.unpack(&odd.end()).unwrap_err().to_string();
    assert!(error.contains("its entries of type 'M' are not supported"), "{error}");
    let fat = Archive::default().header(EntryType::Symlink, "a", "b", 512).content(&[0; 512]);
    scene.refuses(fat, "a header's size makes no sense");

    // Compression has a checksum of its own, at the very end.
    let source = scene.dir.path().join("outside");
    for (compression, name) in [(Compression::Gzip, "x.tar.gz"), (Compression::Zstd, "x.tar.zst")] {
        let store = tempfile::tempdir().unwrap();
        let packed = packed(&source, store.path(), compression);
        let mut bytes = fs::read(&packed.file).unwrap();
        let end = bytes.len();
        scene.unpack_named(name, &bytes[..end - 1]).unwrap_err();
        bytes[end - if compression == Compression::Gzip { 8 } else { 1 }] ^= 1;
        scene.unpack_named(name, &bytes).unwrap_err();
        let other = Layer { pack: "none/such.tar".into(), ..layer(&packed) };
        assert!(matches!(unpacked(&[other], &scene.target()), Err(Error::Pack { .. })));
    }
}

#[test]
fn sparse_maps_must_fit() {
    let scene = Scene::new();
    let sparse = |ranges: &[(u64, u64)], real: u64, size: u64| {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[0] = b's';
        header.set_entry_type(EntryType::GNUSparse);
        header.set_size(size);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(real);
        for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(ranges) {
            slot.set_offset(*offset);
            slot.set_length(*length);
        }
        header.set_cksum();
        Archive(header.as_bytes().to_vec()).content(&vec![b'x'; size as usize])
    };
    let why = "a header's sparse map makes no sense";
    scene.refuses(sparse(&[(0, 512), (100, 512)], 2000, 1024), why);
    scene.refuses(sparse(&[(0, 512)], 100, 512), why);
    scene.refuses(sparse(&[(0, 512)], 2000, 1024), why);
    scene.refuses(sparse(&[(u64::MAX, 512)], u64::MAX, 512), why);
    for map in ["99999999999999999999\n", "9\n", "2\n0\n512\n100\n512\n", "1\n0\n", "x\n"] {
        let records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n30 GNU.sparse.realsize=100000\n";
        let archive = Archive::default().header(EntryType::XHeader, "x", "", records.len() as u64);
        let archive = archive.content(records).header(EntryType::Regular, "s", "", 1024);
        scene.refuses(archive.content(map.as_bytes()).content(&[0; 512]), why);
    }
    let far = sparse(&[(1 << 62, 512)], (1 << 62) + 512, 512).end();
    // Few file systems hold that; what the others say is told.
    match scene.unpack(&far) {
        Ok(_) => assert_eq!(fs::metadata(scene.target().join("s")).unwrap().len(), (1 << 62) + 512),
        Err(error) => assert!(matches!(error, Error::Write { .. } | Error::Full { .. }), "{error}"),
    }
}
