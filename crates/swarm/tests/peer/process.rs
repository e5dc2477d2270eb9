//! Peers that are killed, told to stop, or run out of disk: processes of their own.

use super::*;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

#[path = "../../examples/peer/client.rs"]
mod example;

/// The example's arguments, one a line.
const ARGUMENTS: &str = "OFFLOAD_PEER_ARGUMENTS";

/// No test: this program is started again, with the arguments, to be the example.
#[test]
fn the_example() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let outcome = example::run(arguments.lines().map(String::from));
    if let Err(error) = &outcome {
        eprintln!("{error:?}");
    }
    std::process::exit(i32::from(outcome.is_err()));
}

/// Has the command be the example.
fn become_example(command: &mut Command, arguments: &[&OsStr]) {
    let ours = ["--listen", "127.0.0.1:0", "--no-discovery"].map(OsStr::new);
    let lines: Vec<&str> =
        ours.iter().chain(arguments).map(|argument| argument.to_str().unwrap()).collect();
    command.env(ARGUMENTS, lines.join("\n"));
    command.args(["--exact", "process::the_example", "--nocapture", "--test-threads", "2"]);
}

struct Peer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    fn start(arguments: &[&OsStr]) -> Peer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        become_example(&mut command, arguments);
        Peer::spawn(&mut command)
    }

    fn spawn(command: &mut Command) -> Peer {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Peer { child, lines }
    }

    /// Reads on to a line that begins so, and gives the number after it.
    fn number(&mut self, word: &str) -> u64 {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim_start().split([' ', '.', '\n']).next().unwrap().parse().unwrap();
            }
            line.clear();
        }
        panic!("it ended without {word}: {:?}", self.child.wait());
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

fn torrent(packed: &Packed) -> PathBuf {
    let path = packed.place.path().join("t.torrent");
    fs::write(&path, packed.metainfo.to_torrent()).unwrap();
    path
}

#[test]
fn after_kill_9_verified_pieces_are_kept_and_nothing_is_fetched_twice() {
    let packed = Packed::new("data", &[("a", 3 << 20), ("b", 5 << 20)]);
    let (seeder, _seeding) = seeder(&packed);
    let (torrent, place) = (torrent(&packed), tempfile::tempdir().unwrap());
    let peer = seeder.address().to_string();
    let rest: [&OsStr; 4] = ["--peer".as_ref(), peer.as_ref(), torrent.as_ref(), place.path().as_ref()];
    let limit: [&OsStr; 2] = ["--download-limit".as_ref(), "500000".as_ref()];
    let mut first = Peer::start(&[&limit[..], &rest].concat());
    let mut kept = 0;
    while kept < 8 {
        kept = first.number("have ");
    }
    first.signal(Signal::KILL);
    first.end();

    let mut second = Peer::start(&rest);
    second.number("complete");
    let pieces = u64::from(packed.metainfo.geometry.pieces());
    let piece = u64::from(packed.metainfo.geometry.piece_bytes());
    let downloaded = second.number("downloaded");
    assert!(downloaded <= (pieces - kept) * piece, "{downloaded} of {pieces} pieces, {kept} were there");
    assert_eq!((second.number("wasted"), downloaded % piece), (0, 0));
    assert!(second.end().status.success());
    packed.assert_same(place.path());
}

#[test]
fn a_seeder_that_is_told_to_stop_stops_cleanly() {
    let packed = Packed::new("data", &[("", 300_000)]);
    let torrent = torrent(&packed);
    let mut seeder = Peer::start(&["--seed".as_ref(), torrent.as_ref(), packed.place.path().as_ref()]);
    let port = seeder.number("listening") as u16;
    seeder.number("complete");
    let (leecher, place) = (node(2), tempfile::tempdir().unwrap());
    let handle = add(&leecher, packed.what(), place.path(), &[([127, 0, 0, 1], port).into()]);
    handle.wait_complete(LONG).unwrap();
    seeder.signal(Signal::TERM);
    assert_eq!(seeder.number("uploaded"), 300_000);
    assert!(seeder.end().status.success());
}

#[test]
fn a_full_disk_is_named_and_what_was_there_is_kept() {
    let packed = Packed::new("data", &[("", 8 << 20)]);
    let (torrent, mount) = (torrent(&packed), tempfile::tempdir().unwrap());
    // A file system of its own that becomes too small after the start.
    let script = "mount -t tmpfs -o size=10m none \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(mount.path());
    let can = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status();
    assert!(
        can.is_ok_and(|status| status.success()),
        "mounting needs root or user namespaces, and unshare (package util-linux)"
    );
    command.arg(std::env::current_exe().unwrap());
    become_example(&mut command, &[torrent.as_ref(), mount.path().as_ref()]);
    let mut leecher = Peer::spawn(&mut command);
    let address: SocketAddr = ([127, 0, 0, 1], leecher.number("listening") as u16).into();
    assert_eq!(leecher.number("have "), 0);
    let inside = format!("/proc/{}/root{}/other", leecher.child.id(), mount.path().display());
    fs::write(inside, vec![1; 6 << 20]).unwrap();
    let seeder = node(1);
    add(&seeder, packed.what(), packed.place.path(), &[address]);
    let output = leecher.end();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("the disk is full") && error.contains("/data"), "{error}");
}
