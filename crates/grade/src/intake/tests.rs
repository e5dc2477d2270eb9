use super::*;
use crate::limits::{ENTRIES, FILE_BYTES, LINKS, PATH_BYTES, RATIO_FREE_BYTES, UNPACKED_BYTES};
use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::stat::Mode;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use tar::{Builder, EntryType, Header};

/// An archive in the making.
struct Pack(Builder<Vec<u8>>);

impl Pack {
    fn new() -> Pack {
        Pack(Builder::new(Vec::new()))
    }

    fn file(self, name: &str, content: &[u8]) -> Pack {
        self.entry(name, EntryType::Regular, "", content)
    }

    /// Any entry, with a header made by hand: no library would write the hostile ones.
    fn entry(self, name: &str, kind: EntryType, link: &str, content: &[u8]) -> Pack {
        self.raw(name, kind, link, content, content.len() as u64, 0o644)
    }

    fn raw(
        mut self,
        name: &str,
        kind: EntryType,
        link: &str,
        content: &[u8],
        size: u64,
        mode: u32,
    ) -> Pack {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(1_479_427_140);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn tar(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn gz(self) -> Vec<u8> {
        gz(&self.tar())
    }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// What came of an archive: where it was unpacked, beside what, and what was said.
struct Tried {
    folder: tempfile::TempDir,
    outcome: Result<Taken, Error>,
}

const NAME: &str = "ee450_ada_session1.tar.gz";

fn try_archive(bytes: &[u8]) -> Tried {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    fs::write(&path, bytes).unwrap();
    fs::create_dir(folder.path().join("into")).unwrap();
    let outcome = take_in(&path, &folder.path().join("into"));
    assert_eq!(fs::read(&path).unwrap(), bytes, "the original was changed");
    let mut beside: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, [NAME, "into"], "something was written outside");
    Tried { folder, outcome }
}

/// Takes a good archive in.
#[track_caller]
fn taken(bytes: &[u8]) -> (tempfile::TempDir, Taken) {
    let tried = try_archive(bytes);
    (tried.folder, tried.outcome.unwrap())
}

/// The reason why an archive is refused.
#[track_caller]
fn refused(bytes: &[u8]) -> String {
    match try_archive(bytes).outcome {
        Err(Error::Refused { name, why }) => {
            assert_eq!(name, NAME);
            why.to_string()
        }
        other => panic!("{other:?}"),
    }
}

fn take_folder(from: &Path) -> Result<Taken, Error> {
    let into = tempfile::tempdir().unwrap();
    take_in(from, into.path())
}

fn listed(root: &Path) -> Vec<String> {
    files(root).unwrap().iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn an_archive_is_unpacked() {
    let pack = Pack::new()
        .file("./README", b"a. Ada\n")
        .entry("src/", EntryType::Directory, "", b"")
        .file("src/aws.c", b"int main(){}\n")
        .entry("link", EntryType::Symlink, "src/aws.c", b"")
        .entry("again.c", EntryType::Link, "src/aws.c", b"")
        .raw("tool", EntryType::Regular, "", b"#!/bin/sh\n", 10, 0o4755)
        .raw("shut", EntryType::Regular, "", b"x", 1, 0o000);
    let (folder, taken) = taken(&pack.gz());
    assert_eq!(taken.name, NAME);
    assert_eq!(taken.archive_name.as_deref(), Some(NAME));
    assert_eq!(taken.root, folder.path().join("into"));
    assert_eq!(listed(&taken.root), ["README", "again.c", "link", "shut", "src/aws.c", "tool"]);
    assert_eq!(fs::read_to_string(taken.root.join("link")).unwrap(), "int main(){}\n");
    assert_eq!(fs::read_to_string(taken.root.join("again.c")).unwrap(), "int main(){}\n");
    let mode = |name: &str| fs::metadata(taken.root.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("tool"), mode("shut"), mode("src")), (0o755, 0o644, 0o755));
    let known = fs::metadata(taken.root.join("README")).unwrap();
    let modified = known.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(modified.as_secs(), 1_479_427_140);
}

#[test]
fn the_name_does_not_say_what_is_packed() {
    let tar = Pack::new().file("aws.c", b"x").tar();
    let (_folder, plain) = taken(&tar);
    let (_folder, packed) = taken(&gz(&tar));
    assert_eq!(plain.fingerprint, packed.fingerprint);
    // Two members, and junk behind: gzip unpacks it all and ignores the junk.
    let (first, second) = tar.split_at(700);
    let (_folder, parts) = taken(&[gz(first), gz(second), b"\0\0junk".to_vec()].concat());
    assert_eq!(parts.fingerprint, packed.fingerprint);
}

#[test]
fn one_folder_around_everything_is_the_root() {
    let pack = Pack::new()
        .file("._proj", b"mac")
        .file("__MACOSX/proj/._aws.c", b"mac")
        .file(".DS_Store", b"mac")
        .file("proj/aws.c", b"x")
        .file("proj/.DS_Store", b"mac");
    let (folder, inner) = taken(&pack.gz());
    assert_eq!(inner.root, folder.path().join("into/proj"));
    assert_eq!(listed(&inner.root), ["aws.c"]);
    let (_folder, flat) = taken(&Pack::new().file("aws.c", b"x").gz());
    assert_eq!(inner.fingerprint, flat.fingerprint);
}

#[test]
fn the_fingerprint_is_of_names_and_bytes() {
    let print = |name: &str, content: &[u8]| taken(&Pack::new().file(name, content).gz()).1.fingerprint;
    let one = print("aws.c", b"x");
    assert_eq!(one.len(), 64);
    assert_eq!(one, print("aws.c", b"x"));
    assert_ne!(one, print("aws.c", b"y"));
    assert_ne!(one, print("aws.d", b"x"));
}

#[test]
fn long_names_are_whole_and_too_long_ones_refused() {
    let mut builder = Builder::new(Vec::new());
    let long = format!("{}/aws.c", "d".repeat(150));
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
    builder.append_pax_extensions([("path", "pax.c".as_bytes())]).unwrap();
    header.set_path("short").unwrap();
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    let (_folder, both) = taken(&gz(&builder.into_inner().unwrap()));
    assert_eq!(listed(&both.root), [long, "pax.c".to_owned()]);

    let name = |bytes: usize| {
        Pack::new().entry("x", EntryType::GNULongName, "", &vec![b'n'; bytes]).file("x", b"")
    };
    assert!(refused(&name(PATH_BYTES + 1).gz()).contains("is longer than 400 bytes"));
    assert!(refused(&name(300).gz()).contains("or a name in it too long"));
    // Longer than anything that describes an entry: not even read.
    assert!(refused(&name(1 << 20).gz()).contains("is longer than"));
}

#[test]
fn paths_that_lead_out_are_refused() {
    let file = |name: &str| refused(&Pack::new().file("README", b"x").file(name, b"x").gz());
    assert_eq!(file("/tmp/evil"), "/tmp/evil has an absolute path");
    assert_eq!(file("../evil"), "../evil leads out of the submission by \"..\"");
    assert_eq!(file("a/../../evil"), "a/../../evil leads out of the submission by \"..\"");
    assert_eq!(file("."), "the path . cannot be a file's");
    let hidden = Pack::new().entry("x", EntryType::GNULongName, "", b"../evil\0").file("fine", b"x");
    assert_eq!(refused(&hidden.gz()), "../evil leads out of the submission by \"..\"");
    assert_eq!(file("../\x1b[31m\n"), "../\\u{1b}[31m\\n leads out of the submission by \"..\"");
}

#[test]
fn links_that_lead_out_are_refused() {
    let link = |pairs: &[(&str, &str)]| {
        let pack = pairs.iter().fold(Pack::new().file("d/e/f", b"x"), |pack, (name, target)| {
            pack.entry(name, EntryType::Symlink, target, b"")
        });
        refused(&pack.gz())
    };
    assert_eq!(
        link(&[("l", "/etc/passwd")]),
        "l is a link that leads out of the submission, to /etc/passwd"
    );
    assert_eq!(link(&[("l", "../x")]), "l is a link that leads out of the submission, to ../x");
    assert_eq!(
        link(&[("d/l", "../../x")]),
        "d/l is a link that leads out of the submission, to ../../x"
    );
    // Each stays inside by its text.
    assert_eq!(
        link(&[("d/up", ".."), ("l", "d/up/..")]),
        "l is a link that leads out of the submission, to d/up/.."
    );
    assert_eq!(link(&[("a", "b"), ("b", "a")]), "a is a link that goes round in circles, to b");
    assert_eq!(link(&[("l", "")]), "the path  cannot be a file's");

    let many = (0..=LINKS).fold(Pack::new().file("f", b"x"), |pack, n| {
        pack.entry(&format!("l{n}"), EntryType::Symlink, "f", b"")
    });
    assert_eq!(refused(&many.gz()), "it has more than 100 links");
}

#[test]
fn links_that_stay_inside_are_kept() {
    let pack = Pack::new()
        .file("d/e/f", b"x")
        .entry("d/up", EntryType::Symlink, "..", b"")
        .entry("l", EntryType::Symlink, "d/up/d/e/../e/f", b"")
        .entry("later", EntryType::Symlink, "not-there", b"");
    let (_folder, taken) = taken(&pack.gz());
    assert_eq!(fs::read_link(taken.root.join("l")).unwrap(), Path::new("d/up/d/e/../e/f"));
    assert_eq!(fs::read(taken.root.join("l")).unwrap(), b"x");
    assert!(fs::symlink_metadata(taken.root.join("later")).unwrap().is_symlink());
}

#[test]
fn nothing_is_written_through_a_link() {
    let through = Pack::new().entry("d", EntryType::Symlink, ".", b"").file("d/x", b"x");
    assert_eq!(refused(&through.gz()), "d/x lies behind a link of the same archive");
    let over = Pack::new().entry("x", EntryType::Symlink, "y", b"").file("x", b"x");
    assert_eq!(refused(&over.gz()), "x is there twice, as different things");
    let under = Pack::new().file("d/x", b"x").entry("d", EntryType::Symlink, ".", b"");
    assert_eq!(refused(&under.gz()), "d is there twice, as different things");
    let both = Pack::new().file("d", b"x").file("d/x", b"x");
    assert_eq!(refused(&both.gz()), "d is there twice, as different things");
}

#[test]
fn the_later_of_two_files_counts() {
    let (_folder, taken) = taken(&Pack::new().file("aws.c", b"old").file("aws.c", b"new").gz());
    assert_eq!(fs::read(taken.root.join("aws.c")).unwrap(), b"new");
}

#[test]
fn hard_links_only_to_what_is_there() {
    let link = |target: &str| {
        refused(&Pack::new().file("f", b"x").entry("l", EntryType::Link, target, b"").gz())
    };
    assert_eq!(link("/etc/passwd"), "l is a link that leads out of the submission, to /etc/passwd");
    assert_eq!(link("../x"), "l is a link that leads out of the submission, to ../x");
    assert_eq!(link("g"), "l is a hard link to g, which is no file before it in the archive");
    assert_eq!(link("l"), "l is a hard link to l, which is no file before it in the archive");
}

#[test]
fn devices_and_the_like_are_refused() {
    let kind = |kind| refused(&Pack::new().file("f", b"x").entry("odd", kind, "", b"").gz());
    assert_eq!(kind(EntryType::Char), "odd is a device");
    assert_eq!(kind(EntryType::Block), "odd is a device");
    assert_eq!(kind(EntryType::Fifo), "odd is a FIFO");
    assert_eq!(kind(EntryType::GNUSparse), "odd is a sparse file");
    assert_eq!(kind(EntryType::new(b'Q')), "odd is neither a file, a folder nor a link");
    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions([("GNU.sparse.major", "1".as_bytes())]).unwrap();
    assert_eq!(refused(&builder.into_inner().unwrap()), "an entry is a sparse file");
}

#[test]
fn too_many_entries_are_refused() {
    // Junk counts too, and writes nothing: it takes as long to read.
    let junk = |n| (0..n).fold(Pack::new(), |pack, at| pack.file(&format!("._{at}"), b""));
    let (_folder, most) = taken(&junk(ENTRIES - 1).file("f", b"").gz());
    assert_eq!(listed(&most.root), ["f"]);
    let more = "it has more than 5000 entries";
    assert_eq!(refused(&junk(ENTRIES).file("f", b"").tar()), more);
    // Few entries, many folders: 40 and the file itself.
    let deep = "d/".repeat(40) + "f";
    assert!(try_archive(&junk(ENTRIES - 41).file(&deep, b"").tar()).outcome.is_ok());
    assert_eq!(refused(&junk(ENTRIES - 40).file(&deep, b"").tar()), more);
    // The same folder again and again makes nothing, and takes time.
    let again =
        (0..=ENTRIES).fold(Pack::new(), |pack, _| pack.entry("d/", EntryType::Directory, "", b""));
    assert_eq!(refused(&again.tar()), more);
}

#[test]
fn bombs_are_noticed_before_they_go_off() {
    let zeros = vec![0; 16 << 20];
    let tried = try_archive(&Pack::new().file("zeros", &zeros).gz());
    assert!(matches!(tried.outcome, Err(Error::Refused { why: Refusal::Ratio, .. })));
    let written = fs::metadata(tried.folder.path().join("into/zeros")).unwrap().len();
    assert!(written <= 2 * RATIO_FREE_BYTES, "{written} bytes were written");
    // The bomb is not in a file: it is in what follows the archive's end, or in a name.
    let mut behind = Pack::new().file("f", b"x").tar();
    behind.extend_from_slice(&zeros);
    assert_eq!(refused(&gz(&behind)), "it unpacks to more than 100 times its size");
    let skipped = Pack::new().file("f", b"x").entry("g", EntryType::XGlobalHeader, "", &zeros);
    assert_eq!(refused(&skipped.gz()), "it unpacks to more than 100 times its size");
}

#[test]
fn too_large_is_refused() {
    // Only said to be: that is enough.
    let huge = Pack::new().raw("huge", EntryType::Regular, "", b"", FILE_BYTES + 1, 0o644);
    assert_eq!(refused(&huge.tar()), "huge has more than 32 MiB");
    // A few bytes in the archive, linked until they are many.
    let part = vec![7; 20 << 20];
    let links = Pack::new()
        .file("f", &part)
        .entry("g", EntryType::Link, "f", b"")
        .entry("h", EntryType::Link, "f", b"")
        .entry("i", EntryType::Link, "f", b"");
    assert!(UNPACKED_BYTES < 4 * part.len() as u64);
    assert_eq!(refused(&links.tar()), "its files have more than 64 MiB together");
    let packed = vec![0; (crate::limits::ARCHIVE_BYTES + 1) as usize];
    let two = Pack::new().file("f", &packed[..16 << 20]).file("g", &packed[..16 << 20]);
    assert_eq!(refused(&two.tar()), "it has more than 32 MiB");
}

#[test]
fn what_is_no_whole_archive_is_refused() {
    let tar = Pack::new().file("f", &[b'x'; 3000]).file("g", b"y").tar();
    assert_eq!(refused(b""), "there is no file in it");
    assert_eq!(refused(&Pack::new().gz()), "there is no file in it");
    assert_eq!(
        refused(&Pack::new().entry("d/", EntryType::Directory, "", b"").gz()),
        "there is no file in it"
    );
    assert_eq!(refused(b"hello"), "it is not a tar archive");
    assert_eq!(refused(&[b'x'; 4000]), "it is not a tar archive");
    assert_eq!(refused(&gz(b"hello, world")), "it is not a tar archive");
    assert_eq!(
        refused(b"PK\x03\x04rest"),
        "it is a zip archive, whatever its name says; pack it with tar and gzip"
    );
    let truncated = "it ends too early; it was cut off on its way or never finished";
    assert_eq!(refused(&tar[..2000]), truncated);
    assert_eq!(refused(&tar[..512 + 3072 + 100]), truncated);
    let packed = gz(&tar);
    for cut in [5, 20, packed.len() / 2, packed.len() - 1] {
        assert_eq!(refused(&packed[..cut]), truncated, "{cut} of {} bytes", packed.len());
    }
    let mut wrong = packed.clone();
    let checksum = wrong.len() - 8;
    wrong[checksum] ^= 1;
    assert!(refused(&wrong).starts_with("it is damaged: corrupt gzip stream"));
    let mut wrong = tar;
    wrong[512 + 3072] ^= 1;
    assert_eq!(refused(&wrong), "it is damaged: archive header checksum mismatch");
}

#[test]
fn a_folder_is_copied_and_left_as_it_was() {
    let from = tempfile::tempdir().unwrap();
    let proj = from.path().join("proj");
    fs::create_dir_all(proj.join("src")).unwrap();
    fs::create_dir(proj.join(".git")).unwrap();
    fs::write(proj.join(".git/config"), "x").unwrap();
    fs::write(proj.join("src/aws.c"), "x").unwrap();
    fs::write(proj.join("tool"), "x").unwrap();
    fs::set_permissions(proj.join("tool"), fs::Permissions::from_mode(0o500)).unwrap();
    symlink("src/aws.c", proj.join("link")).unwrap();
    let into = tempfile::tempdir().unwrap();
    let taken = take_in(&proj, into.path()).unwrap();
    assert_eq!((taken.name.as_str(), taken.archive_name), ("proj", None));
    assert_eq!(listed(&taken.root), ["link", "src/aws.c", "tool"]);
    assert_eq!(fs::metadata(taken.root.join("tool")).unwrap().permissions().mode() & 0o7777, 0o755);
    fs::write(taken.root.join("tool"), "changed").unwrap();
    assert_eq!(fs::read_to_string(proj.join("tool")).unwrap(), "x");
    // The same, whether packed or not.
    assert_eq!(take_folder(&proj).unwrap().fingerprint, taken.fingerprint);
}

#[test]
fn a_folder_is_refused_for_what_an_archive_is_refused_for() {
    let case = |make: &dyn Fn(&Path)| {
        let from = tempfile::tempdir().unwrap();
        fs::write(from.path().join("aws.c"), "x").unwrap();
        make(from.path());
        match take_folder(from.path()) {
            Err(Error::Refused { why, .. }) => why.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let fifo = |at: &Path| {
        nix::unistd::mkfifo(&at.join("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
    };
    assert_eq!(case(&fifo), "pipe is a FIFO");
    let socket = |at: &Path| drop(std::os::unix::net::UnixListener::bind(at.join("s")).unwrap());
    assert_eq!(case(&socket), "s is a socket");
    assert_eq!(
        case(&|at| symlink("/etc", at.join("l")).unwrap()),
        "l is a link that leads out of the submission, to /etc"
    );
    let large = |at: &Path| {
        fs::File::create(at.join("holes")).unwrap().set_len(FILE_BYTES + 1).unwrap();
    };
    assert_eq!(case(&large), "holes has more than 32 MiB");
}

#[test]
fn what_is_no_submission_is_the_callers_fault() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone.tar.gz");
    assert!(matches!(take_folder(&gone), Err(Error::Missing(path)) if path == gone));
    let pipe = folder.path().join("x.tar.gz");
    nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    assert!(matches!(take_folder(&pipe), Err(Error::Neither(_))));
    assert!(matches!(find(&[pipe]), Err(Error::Neither(_))));
}

/// A folder with files of these names.
fn folder_of(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    folder
}

fn found(names: &[&str]) -> Vec<String> {
    let folder = folder_of(names);
    let found = find(&[folder.path().to_owned()]).unwrap();
    let within = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().display().to_string();
    found.iter().map(within).collect()
}

#[test]
fn a_path_is_a_submission_or_a_folder_of_them() {
    // The folder itself.
    assert_eq!(found(&["Makefile.txt"]), [""]);
    assert_eq!(found(&["ReadMe.md", "nums.csv"]), [""]);
    assert_eq!(found(&["aws.cc", "old.tar.gz"]), [""]);
    assert_eq!(found(&["proj/aws.c", ".DS_Store"]), [""]);
    // A folder of them, with the class's own files beside.
    assert_eq!(
        found(&[
            "b.tar.gz",
            "a/aws.c",
            "c.TGZ",
            "d.tar",
            "e.zip",
            "notes.csv",
            "docs/x.html",
            "README.md"
        ]),
        ["a", "b.tar.gz", "c.TGZ", "d.tar", "e.zip"]
    );
    assert_eq!(found(&["a/proj/Makefile", "b/proj/Makefile"]), ["a", "b"]);
}

#[test]
fn every_submission_is_found_once() {
    let folder = folder_of(&["x/a.tar.gz", "x/b.tar.gz"]);
    let class = folder.path().join("x");
    let named = [class.join("b.tar.gz"), class.clone(), folder.path().join("x/../x/a.tar.gz")];
    let found = find(&named).unwrap();
    assert_eq!(found.len(), 2);
    assert!(found[0].ends_with("a.tar.gz") && found[1].ends_with("b.tar.gz"));
    // A file that is named is one, whatever it is called.
    let odd = folder_of(&["homework"]).keep().join("homework");
    assert_eq!(find(std::slice::from_ref(&odd)).unwrap(), std::slice::from_ref(&odd));
    fs::remove_dir_all(odd.parent().unwrap()).unwrap();
}

#[test]
fn a_path_that_stands_for_nothing_is_named() {
    let folder = folder_of(&["nums.csv", "docs/x.html"]);
    let said = find(&[folder.path().to_owned()]).unwrap_err().to_string();
    assert!(said.starts_with(&format!("no submission in {}", folder.path().display())), "{said}");
    let gone = folder.path().join("gone");
    let said = find(std::slice::from_ref(&gone)).unwrap_err().to_string();
    assert!(said.starts_with(&format!("there is no {}", gone.display())), "{said}");
}
