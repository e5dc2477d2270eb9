//! Packs of real trees, there and back: by us, by GNU tar, by the `age` program, by attackers, and with the
//! power cut off in the middle.

#[path = "archive/hostile.rs"]
mod hostile;
#[path = "archive/interrupted.rs"]
mod interrupted;
#[path = "archive/tree.rs"]
mod tree;

use offload_swarm::image::pack::{self, Compression, Options, Packed, Why, pack};
use offload_swarm::image::unpack::{self, Layer, Unpacked, unpack};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tree::{is_root, make_tree, snapshot};

fn with(compression: Compression) -> Options {
    Options { compression, ..Options::default() }
}

fn packed(source: &Path, to: &Path, compression: Compression) -> Packed {
    pack(source, to, &with(compression), &mut |_| {}).unwrap()
}

fn layer(packed: &Packed) -> Layer {
    Layer { pack: packed.file.clone(), unpacked_bytes: packed.unpacked_bytes, entries: packed.entries }
}

fn unpacked(layers: &[Layer], into: &Path) -> Result<Unpacked, unpack::Error> {
    unpack(layers, into, &unpack::Options::default(), &mut |_| {})
}

fn sha256(path: &Path) -> Vec<u8> {
    Sha256::digest(fs::read(path).unwrap()).to_vec()
}

/// Runs a program that must be there and succeed.
#[track_caller]
fn run(program: &str, args: &[&Path]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}: scripts/setup.sh test installs it"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|child| child.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    make_tree(&source, false);
    for (compression, name) in [
        (Compression::None, "web.tar"),
        (Compression::Gzip, "web.tar.gz"),
        (Compression::Zstd, "web.tar.zst"),
    ] {
        let packed = packed(&source, &dir.path().join("store/web"), compression);
        assert_eq!(packed.file, dir.path().join("store/web").join(name));
        assert_eq!(packed.bytes, fs::metadata(&packed.file).unwrap().len());
        let into = dir.path().join(name);
        let unpacked = unpacked(&[layer(&packed)], &into).unwrap();
        assert_eq!(unpacked.missing, []);
        assert_eq!((unpacked.entries, unpacked.bytes), (packed.entries, packed.unpacked_bytes));
        assert_eq!(snapshot(&into), snapshot(&source));
        // One pack an image: the last form's is gone.
        assert_eq!(names(&dir.path().join("store/web")), ["web.stamp", name]);
    }
}

#[test]
fn holes_are_not_stored_and_stay_holes() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    tree::make_sparse(&source.join("many"), 1 << 26, 40);
    tree::make_sparse(&source.join("nothing"), 1 << 40, 0);
    let packed = packed(&source, &dir.path().join("store"), Compression::None);
    assert!(packed.bytes < 1 << 20, "{}", packed.bytes);
    let into = dir.path().join("into");
    unpacked(&[layer(&packed)], &into).unwrap();
    for name in ["many", "nothing"] {
        let (from, to) =
            (fs::metadata(source.join(name)).unwrap(), fs::metadata(into.join(name)).unwrap());
        assert_eq!(from.len(), to.len());
        assert!(to.blocks() <= from.blocks(), "{name}: {} blocks of {}", to.blocks(), from.blocks());
    }
    assert_eq!(sha256(&into.join("many")), sha256(&source.join("many")));
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    make_tree(&one, false);
    make_tree(&two, true);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let first = packed(&one, &dir.path().join("a/image"), compression);
        let second = packed(&two, &dir.path().join("b/image"), compression);
        assert_eq!(sha256(&first.file), sha256(&second.file), "{compression:?}");
    }
}

#[test]
fn holes_are_the_same_on_every_file_system() {
    let mut digests = Vec::new();
    for base in [std::env::temp_dir().as_path(), Path::new("/dev/shm")] {
        let dir = tempfile::tempdir_in(base).unwrap();
        let source = dir.path().join("sparse");
        tree::make_sparse(&source, 10_000_000, 300);
        // An empty page inside of data, which one file system keeps and another does not.
        let file = fs::File::options().write(true).open(&source).unwrap();
        file.write_all_at(&[0; 16_384], 5 << 20).unwrap();
        file.write_all_at(&[1; 100], (5 << 20) + 4096).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let options = Options { archive: true, ..Options::default() };
        let packed = pack(&source, &dir.path().join("store"), &options, &mut |_| {}).unwrap();
        digests.push(sha256(&packed.file));
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_tree_is_packed_again_only_where_it_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (source, to) = (dir.path().join("source"), dir.path().join("store"));
    make_tree(&source, false);
    let first = packed(&source, &to, Compression::Zstd);
    assert!(!first.reused);
    let again = packed(&source, &to, Compression::Zstd);
    assert_eq!(again, Packed { reused: true, ..first.clone() });
    assert_eq!(pack::published(&to), Some(again));

    // A byte in place, size as before, time set back: the change time tells.
    let file = source.join("etc/passwd");
    let times = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "root:x:0:1").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(times).unwrap();
    // Left by a process that was killed.
    fs::write(to.join(".packing"), "half").unwrap();
    let changed = packed(&source, &to, Compression::Zstd);
    assert!(!changed.reused);
    assert_eq!(names(&to), ["store.stamp", "store.tar.zst"]);
    // A pack that was touched is no longer what its stamp is of.
    fs::write(&changed.file, "nonsense").unwrap();
    assert_eq!(pack::published(&to), None);
    assert!(!packed(&source, &to, Compression::Zstd).reused);
    let into = dir.path().join("into");
    unpacked(&[layer(&changed)], &into).unwrap();
    assert_eq!(fs::read_to_string(into.join("etc/passwd")).unwrap(), "root:x:0:1");
}

#[test]
fn gnu_tar_reads_ours_and_we_read_gnu_tars() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    make_tree(&source, false);
    let expected = snapshot(&source);
    let packed = packed(&source, &dir.path().join("store"), Compression::Zstd);
    let theirs = dir.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    run(
        "tar",
        &[
            "--xattrs".as_ref(),
            "--xattrs-include=*".as_ref(),
            "--same-permissions".as_ref(),
            "--numeric-owner".as_ref(),
            "--zstd".as_ref(),
            "-xf".as_ref(),
            &packed.file,
            "-C".as_ref(),
            &theirs,
        ],
    );
    assert_eq!(snapshot(&theirs), expected);

    for (format, file) in [("gnu", "g.tar"), ("posix", "p.tar.gz"), ("gnu", "s.tar.zst")] {
        let file = dir.path().join(file);
        let format_option = format!("--format={format}");
        let mut args: Vec<&Path> = vec![format_option.as_ref(), "-S".as_ref(), "-caf".as_ref(), &file];
        if format == "posix" {
            args.extend([Path::new("--xattrs"), Path::new("--xattrs-include=*")]);
        }
        args.extend([Path::new("-C"), &source, Path::new(".")]);
        run("tar", &args);
        let into = file.with_extension("into");
        let layer = Layer { pack: file.clone(), unpacked_bytes: 10 << 20, entries: 100 };
        unpacked(&[layer], &into).unwrap();
        let mut found = snapshot(&into);
        let mut expected = expected.clone();
        if format == "gnu" {
            // It has whole seconds and no attributes.
            found.values_mut().chain(expected.values_mut()).for_each(tree::Shown::forget_fine);
        }
        assert_eq!(found, expected, "{format}");
    }
}

#[test]
fn a_dataset_is_staged_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (source, to) = (dir.path().join("nums.csv"), dir.path().join("store/numbers"));
    fs::write(&source, "1\n2\n").unwrap();
    let plain = packed(&source, &to, Compression::None);
    assert_eq!(plain.file, to.join("nums.csv"));
    assert_eq!(fs::read_to_string(&plain.file).unwrap(), "1\n2\n");
    let into = dir.path().join("into");
    unpacked(&[layer(&plain)], &into).unwrap();
    assert_eq!(fs::read_to_string(into.join("nums.csv")).unwrap(), "1\n2\n");
    assert_eq!(fs::metadata(&into).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(packed(&source, &to, Compression::None).reused);

    // Asked for, or named like an archive: wrapped, and then it comes back under its name.
    let tar = dir.path().join("backup.tar");
    fs::write(&tar, "no tar at all").unwrap();
    for (source, options) in [
        (&source, Options { archive: true, ..Options::default() }),
        (&source, with(Compression::Gzip)),
        (&tar, Options::default()),
    ] {
        let wrapped = pack(source, &to, &options, &mut |_| {}).unwrap();
        assert_eq!(wrapped.entries, 1);
        assert!(wrapped.file.file_name().unwrap().to_str().unwrap().starts_with("numbers.tar"));
        fs::remove_dir_all(&into).unwrap();
        unpacked(&[layer(&wrapped)], &into).unwrap();
        assert_eq!(fs::read(into.join(source.file_name().unwrap())).unwrap(), fs::read(source).unwrap());
    }
}

#[test]
fn a_sealed_pack_is_kept_and_the_age_program_opens_it() {
    let dir = tempfile::tempdir().unwrap();
    let (source, to) = (dir.path().join("source"), dir.path().join("store/secret"));
    make_tree(&source, false);
    let (key, public) = (dir.path().join("key"), dir.path().join("public"));
    run("age-keygen", &["-o".as_ref(), &key]);
    run("age-keygen", &["-y".as_ref(), "-o".as_ref(), &public, &key]);
    let options = Options {
        compression: Compression::Zstd,
        recipients: Some(public.clone()),
        ..Options::default()
    };
    let sealed = pack(&source, &to, &options, &mut |_| {}).unwrap();
    assert_eq!(sealed.file, to.join("secret.tar.zst.age"));
    let before = sha256(&sealed.file);
    assert!(pack(&source, &to, &options, &mut |_| {}).unwrap().reused);
    assert_eq!(sha256(&sealed.file), before);

    let into = dir.path().join("into");
    let error = unpacked(&[layer(&sealed)], &into).unwrap_err();
    assert!(matches!(error, unpack::Error::NoIdentity(_)), "{error}");
    let keys = unpack::Options { identity: Some(key.clone()), ..unpack::Options::default() };
    unpack(&[layer(&sealed)], &into, &keys, &mut |_| {}).unwrap();
    assert_eq!(snapshot(&into), snapshot(&source));

    let opened = dir.path().join("opened.tar.zst");
    run("age", &["-d".as_ref(), "-i".as_ref(), &key, "-o".as_ref(), &opened, &sealed.file]);
    let theirs = dir.path().join("theirs.tar.zst.age");
    run("age", &["-R".as_ref(), &public, "-o".as_ref(), &theirs, &opened]);
    let again = dir.path().join("again");
    unpack(&[Layer { pack: theirs, ..layer(&sealed) }], &again, &keys, &mut |_| {}).unwrap();
    assert_eq!(snapshot(&again), snapshot(&source));

    // Cut off at a chunk's border: nothing but the seal tells.
    let bytes = fs::read(&sealed.file).unwrap();
    let cut = dir.path().join("cut.tar.zst.age");
    fs::write(&cut, &bytes[..bytes.len() - 10]).unwrap();
    let third = dir.path().join("third");
    unpack(&[Layer { pack: cut, ..layer(&sealed) }], &third, &keys, &mut |_| {}).unwrap_err();
    assert!(!third.exists());
}

#[test]
fn overrides_replace_files_and_add_to_directories() {
    let dir = tempfile::tempdir().unwrap();
    let (image, site, node) =
        (dir.path().join("image"), dir.path().join("site"), dir.path().join("node"));
    for (tree, files) in [
        (&image, &["etc/motd", "etc/hosts", "bin/sh"][..]),
        (&site, &["etc/motd", "etc/ntp/conf"]),
        (&node, &["etc/hosts"]),
    ] {
        for file in files {
            let path = tree.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, tree.file_name().unwrap().to_str().unwrap()).unwrap();
        }
    }
    symlink("sh", image.join("bin/bash")).unwrap();
    fs::set_permissions(&image, fs::Permissions::from_mode(0o751)).unwrap();
    fs::set_permissions(&site, fs::Permissions::from_mode(0o700)).unwrap();
    let pack_of = |tree: &Path| {
        let to = dir.path().join("store").join(tree.file_name().unwrap());
        layer(&packed(tree, &to, Compression::None))
    };
    let layers = [pack_of(&image), pack_of(&site), pack_of(&node)];
    let into = dir.path().join("into");
    unpacked(&layers, &into).unwrap();
    let read = |path: &str| fs::read_to_string(into.join(path)).unwrap();
    assert_eq!(
        ["etc/motd", "etc/hosts", "bin/bash", "etc/ntp/conf"].map(read),
        ["site", "node", "image", "site"]
    );
    assert_eq!(fs::metadata(&into).unwrap().permissions().mode() & 0o777, 0o751, "the image's own");

    // A directory where the image has a link, and the reverse.
    fs::create_dir_all(site.join("bin/bash")).unwrap();
    let again = dir.path().join("again");
    let error = unpacked(&[layers[0].clone(), pack_of(&site)], &again).unwrap_err().to_string();
    assert!(
        error.ends_with("\"bin/bash\" and what is there are not both directories, nor both files"),
        "{error}"
    );
    fs::remove_dir_all(site.join("bin")).unwrap();
    fs::write(site.join("bin"), "").unwrap();
    let error = unpacked(&[layers[0].clone(), pack_of(&site)], &again).unwrap_err().to_string();
    assert!(error.contains("its entry \"bin\" and what is there"), "{error}");
    assert_eq!(names(dir.path()), ["image", "into", "node", "site", "store"]);
}

#[test]
fn nothing_that_exists_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "new").unwrap();
    let packed = packed(&source, &dir.path().join("store"), Compression::None);
    let unpack_to = |into: &Path| unpacked(&[layer(&packed)], into);
    let (full, file, link) = (dir.path().join("full"), dir.path().join("file"), dir.path().join("link"));
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "").unwrap();
    fs::write(&file, "mine").unwrap();
    symlink("nowhere", &link).unwrap();
    for target in [&full, &file, &link] {
        let error = unpack_to(target).unwrap_err().to_string();
        assert!(error.ends_with("remove it, or choose another --into"), "{error}");
    }
    assert!(matches!(unpack_to(Path::new("/")), Err(unpack::Error::MountPoint(_))));
    if is_root() {
        assert!(matches!(unpack_to(Path::new("/proc")), Err(unpack::Error::MountPoint(_))));
    }
    let empty = dir.path().join("deep/empty");
    fs::create_dir_all(&empty).unwrap();
    unpack_to(&empty).unwrap();
    assert_eq!(fs::read_to_string(empty.join("file")).unwrap(), "new");
}

#[test]
fn what_only_root_may_do_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar");
    let mut archive = tar::Builder::new(fs::File::create(&file).unwrap());
    for (name, kind, mode) in [("sda", b'b', 0o660), ("su", b'0', 0o6755), ("tty", b'3', 0o600)] {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.as_mut_bytes()[156] = if kind == b'b' { b'4' } else { kind };
        header.set_mode(mode);
        header.set_uid(12345);
        header.set_gid(12345);
        header.set_size(0);
        header.set_mtime(1);
        header.set_device_major(8).unwrap();
        header.set_device_minor(1).unwrap();
        header.set_cksum();
        archive.append(&header, &b""[..]).unwrap();
    }
    archive.finish().unwrap();
    let layer = [Layer { pack: file, unpacked_bytes: 0, entries: 3 }];
    let into = dir.path().join("into");
    let options = unpack::Options { as_root: false, ..unpack::Options::default() };
    let unpacked = unpack(&layer, &into, &options, &mut |_| {}).unwrap();
    let told: Vec<_> = unpacked.missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "owner of 1, first su",
            "set-user-ID or set-group-ID bit of 1, first su",
            "device of 2, first sda"
        ]
    );
    assert_eq!(names(&into), ["su"]);
    assert_eq!(fs::metadata(into.join("su")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn what_is_not_packed_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (source, store) = (dir.path().join("source"), dir.path().join("store"));
    fs::create_dir(&source).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let first = packed(&source, &store, Compression::None);
    assert_eq!((first.entries, first.skipped.len()), (1, 1));
    assert_eq!(first.skipped[0].why, Why::Socket);

    let pack_error =
        |source: &Path, to: &Path| pack(source, to, &Options::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(pack_error(&source, &source.join("store")), pack::Error::Overlap { .. }));
    assert!(matches!(pack_error(&first.file, &store), pack::Error::Overlap { .. }));
    assert!(matches!(pack_error(&source.join("none"), &store), pack::Error::Source { .. }));
    assert!(matches!(pack_error(Path::new("/dev/null"), &store), pack::Error::Neither(_)));
    let link = dir.path().join("link");
    symlink(&source, &link).unwrap();
    assert!(matches!(pack_error(&link, &store), pack::Error::Elsewhere { .. }));
    let mut deep = source.clone();
    (0..300).for_each(|_| deep.push("d"));
    fs::create_dir_all(&deep).unwrap();
    let error = pack_error(&source, &store).to_string();
    assert!(error.ends_with("more than 256 directories in one another"), "{error}");
}

#[test]
fn the_kernels_own_file_systems_are_empty_directories() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    for child in ["pts", "data", "file"] {
        fs::create_dir_all(source.join(child)).unwrap();
    }
    let script = format!(
        "mount -t devpts none {0}/pts && mount -t tmpfs none {0}/data && echo hi > {0}/data/file && exec \"$@\"",
        source.display()
    );
    let packed = dir.path().join("packed");
    let before = [&interrupted::MOUNTS[..], &[&script, "sh"]].concat();
    let status = interrupted::child("pack_for_a_parent", &before)
        .env("ARCHIVE_SOURCE", &source)
        .env("ARCHIVE_INTO", &packed)
        .status();
    assert!(status.unwrap().success(), "{before:?} (mounting needs root or user namespaces)");
    let into: PathBuf = dir.path().join("into");
    let found = pack::published(&packed).unwrap();
    assert_eq!(found.entries, 5);
    unpacked(&[layer(&found)], &into).unwrap();
    assert_eq!(fs::read_to_string(into.join("data/file")).unwrap(), "hi\n");
    assert_eq!(names(&into.join("pts")), [""; 0]);
}
