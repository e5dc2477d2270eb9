//! Unpacking that is cut off: by SIGKILL, by a full disk, by another process.

use super::{Compression, layer, names, packed, unpacked};
use offload_swarm::image::unpack::{self, Layer, unpack};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Begins a command whose script may mount: root's, or that of a user who may have namespaces.
pub const MOUNTS: [&str; 5] = ["unshare", "--map-root-user", "--mount", "sh", "-c"];

/// This test binary again, with only the test `name` of this module, started by way of `before`.
pub fn child(name: &str, before: &[&str]) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match before {
        [] => Command::new(&program),
        [first, others @ ..] => {
            let mut command = Command::new(first);
            command.args(others).arg(&program);
            command
        }
    };
    command.args(["--exact", &format!("interrupted::{name}"), "--nocapture", "--test-threads=1"]);
    command
}

fn told(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// Not a test by itself: what the children of other tests do.
#[test]
fn unpack_for_a_parent() {
    let (Some(pack), Some(into)) = (told("ARCHIVE_PACK"), told("ARCHIVE_INTO")) else { return };
    let layers = [Layer { pack, unpacked_bytes: 64 << 20, entries: 100 }];
    let mut stopped = false;
    let done = unpack(&layers, &into, &unpack::Options::default(), &mut |done| {
        if done.bytes > 2 << 20 && !stopped && told("ARCHIVE_STOP").is_some() {
            stopped = true;
            println!("\nin the middle");
            // Until the parent has seen enough.
            let _ = std::io::stdin().read(&mut [0]);
        }
    });
    if let (Err(error), Some(outcome)) = (done, told("ARCHIVE_OUTCOME")) {
        fs::write(outcome, error.to_string()).unwrap();
    }
}

/// Not a test by itself: what the child of another test does.
#[test]
fn pack_for_a_parent() {
    if let (Some(source), Some(into)) = (told("ARCHIVE_SOURCE"), told("ARCHIVE_INTO")) {
        packed(&source, &into, Compression::None);
    }
}

/// A pack of 4 MiB in four files.
fn make_pack(dir: &Path) -> Layer {
    let source = dir.join("source");
    fs::create_dir(&source).unwrap();
    for file in 0..4 {
        fs::write(source.join(file.to_string()), vec![file; 1 << 20]).unwrap();
    }
    layer(&packed(&source, &dir.join("store"), Compression::None))
}

/// A process that has unpacked half.
fn half(layer: &Layer, into: &Path) -> Child {
    let mut child = child("unpack_for_a_parent", &[])
        .env("ARCHIVE_PACK", &layer.pack)
        .env("ARCHIVE_INTO", into)
        .env("ARCHIVE_STOP", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "in the middle"));
    child
}

#[test]
fn a_killed_run_leaves_nothing_in_place_and_the_next_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let layer = make_pack(dir.path());
    let into = dir.path().join("image");
    let mut child = half(&layer, &into);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(dir.path()), [".image.unpacking", "source", "store"]);
    unpacked(&[layer], &into).unwrap();
    assert_eq!(names(dir.path()), ["image", "source", "store"]);
    assert_eq!(fs::read(into.join("3")).unwrap(), [3; 1 << 20]);
}

#[test]
fn what_another_process_unpacks_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let layer = make_pack(dir.path());
    let into = dir.path().join("image");
    let mut child = half(&layer, &into);
    let error = unpacked(&[layer], &into).unwrap_err();
    assert!(matches!(error, unpack::Error::Busy(_)), "{error}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(names(&into), ["0", "1", "2", "3"]);
}

/// Unpacks by way of `before` into a directory of `dir` named `small`; the error as text.
fn fails(dir: &Path, layer: &Layer, before: &[&str]) -> String {
    let outcome = dir.join("outcome");
    let status = child("unpack_for_a_parent", before)
        .env("ARCHIVE_PACK", &layer.pack)
        .env("ARCHIVE_INTO", dir.join("small/image"))
        .env("ARCHIVE_OUTCOME", &outcome)
        .status();
    assert!(status.unwrap().success(), "{before:?} (mounting needs root or user namespaces)");
    fs::read_to_string(outcome).unwrap()
}

#[test]
fn a_limit_on_files_is_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let layer = make_pack(dir.path());
    // Blocks of 512 bytes.
    let error =
        fails(dir.path(), &layer, &["sh", "-c", "trap '' XFSZ; ulimit -f 1024; exec \"$@\"", "sh"]);
    let start = format!("no room for {}", dir.path().join("small/image/0").display());
    assert!(error.starts_with(&start), "{error}");
    assert!(error.contains("all takes 67108864 bytes"), "{error}");
    assert_eq!(names(&dir.path().join("small")), [""; 0]);
}

#[test]
fn a_full_disk_is_told_and_left_empty() {
    let dir = tempfile::tempdir().unwrap();
    let layer = make_pack(dir.path());
    let small = dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=2500k tmpfs {0} && \"$@\" && test -z \"$(ls -A {0})\"",
        small.display()
    );
    let error = fails(dir.path(), &layer, &[&MOUNTS[..], &[&script, "sh"]].concat());
    let start = format!("no room for {}", small.join("image/2").display());
    assert!(error.starts_with(&start), "{error}");
}
