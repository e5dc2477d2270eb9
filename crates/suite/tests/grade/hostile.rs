//! Programs that do harm, or would: each gets a finite grade and leaves nothing behind.
//!
//! They are harmless should a sandbox fail: bounded in forks, bytes and seconds, and aimed at decoys that
//! are made here.

use crate::submissions::{self, Decoys, HOSTILE};
use crate::support::{good, graded, left_clean, named, offload, open_folder, text};
use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tempfile::TempDir;

const SECRET: &str = "the TA's notes are nobody's business";

/// Ends its process when it goes.
struct Decoy(Child);

impl Drop for Decoy {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn harm_is_bounded_and_leaves_nothing() {
    let (class, home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = home.path().join("decoy");
    fs::write(&file, SECRET).unwrap();
    // Anybody may read and write it, so that only the sandbox protects it.
    for (path, mode) in [(home.path(), 0o777), (file.as_path(), 0o666)] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connected = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connected);
    thread::spawn(move || {
        for _stream in listener.incoming() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut process = Decoy(Command::new("sleep").arg("600").spawn().unwrap());
    let decoys = Decoys { file: file.clone(), port, pid: process.0.id() };
    for hostile in HOSTILE {
        let folder = class.path().join(hostile.name);
        fs::create_dir(&folder).unwrap();
        submissions::make_hostile(hostile, &folder, &decoys);
    }
    assert!(HOSTILE.len() >= 17, "each kind in a server, and those that can in the Makefile");

    let (grades, out) = graded(class.path(), &["--runs", "1", "--patience", "2", "--jobs", "4"]);

    for hostile in HOSTILE {
        let score = named(&grades, hostile.name)["score"]["lenient"].as_f64().expect(hostile.name);
        assert!((0.0..=100.0).contains(&score), "{} ({}): {score}", hostile.name, hostile.what);
        let page = fs::read_to_string(out.path().join(hostile.name).join("index.html")).unwrap();
        assert!(!page.contains(SECRET), "{}: the decoy was read", hostile.name);
        assert!(!page.contains('\u{1b}'), "{}: an escape sequence in the page", hostile.name);
        assert!(!page.contains("<script"), "{}: a script in the page", hostile.name);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), SECRET, "the decoy file is as it was");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing new beside it");
    assert_eq!(connected.load(Ordering::Relaxed), 0, "nobody got out of the sandbox");
    assert!(process.0.try_wait().unwrap().is_none(), "the decoy process lives");
    assert!(!std::path::Path::new("/etc/offload-decoy").exists());
}

/// A Makefile that goes for the grader itself: its first process, its pipes, its environment.
#[test]
fn the_grader_inside_cannot_be_reached() {
    let folder = TempDir::new().unwrap();
    submissions::flawless(folder.path());
    let makefile = fs::read_to_string(folder.path().join("Makefile")).unwrap();
    let attack = "all: reach\n.PHONY: reach\nreach:\n\
        \t-cat /proc/1/environ /proc/1/mem\n\
        \t-ls -l /proc/1/fd/\n\
        \t-echo '{\"stopped\":null}' > /proc/1/fd/1\n\
        \t-kill -STOP 1\n\t-kill -KILL 1\n\
        \t-head -c 1M /dev/zero > /dev/zeros\n\t-touch /usr/decoy /etc/decoy /run/decoy\n";
    fs::write(folder.path().join("Makefile"), makefile + attack).unwrap();
    let (temporary, out) = (open_folder(), TempDir::new().unwrap());
    let mut command = offload();
    command.arg("grade").arg(folder.path()).args(["--runs", "1", "--json", "--out"]).arg(out.path());
    command.env("TA_TOKEN", SECRET).env("TMPDIR", temporary.path());
    let (grades, _said) = left_clean(&mut command, &temporary);
    let built = grades[0]["build"]["output"].as_str().unwrap();
    for refused in [
        "/proc/1/environ: Permission denied",
        "/proc/1/mem: Permission denied",
        "symbolic link '/proc/1/fd/1': Permission denied",
        "/proc/1/fd/1: Permission denied",
        "/dev/zeros: Read-only file system",
        "'/usr/decoy': Read-only file system",
        "'/etc/decoy': Read-only file system",
        "'/run/decoy': Read-only file system",
    ] {
        assert!(built.contains(refused), "{refused} is missing in\n{built}");
    }
    assert!(!built.contains(SECRET), "{built}");
    assert_eq!(grades[0]["score"]["strict"], 100.0, "and it is graded as if nothing had been");
}

/// What containers without namespaces are like: bubblewrap is not to be found.
#[test]
fn without_namespaces_it_works_and_says_what_is_weaker() {
    let (class, tools, out) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    submissions::flawless(&class.path().join("ada"));
    let daemon = HOSTILE.iter().find(|h| h.name == "daemon-in-server").expect("one that forks twice");
    let decoys = Decoys { file: "/nonexistent".into(), port: 9, pid: u32::MAX };
    submissions::make_hostile(daemon, &class.path().join("daemon"), &decoys);
    std::os::unix::fs::symlink("/usr/bin/setpriv", tools.path().join("setpriv")).unwrap();
    let temporary = open_folder();
    let mut command = offload();
    command.arg("grade").arg(class.path()).args(["--runs", "1", "--json", "--out"]).arg(out.path());
    command.env("PATH", tools.path()).env("TMPDIR", temporary.path());
    let (grades, said) = left_clean(&mut command, &temporary);
    assert!(said.contains("NOT shut in"), "the TA is warned: {said}");
    let ada = named(&grades, "ada");
    assert_eq!(ada["score"]["strict"], 100.0, "{:#}", ada["losses"]);
    assert!(ada["isolation"].as_str().unwrap().starts_with("NOT shut in"));
    assert!(named(&grades, "daemon")["score"]["lenient"].is_number());
}

#[test]
fn escape_sequences_do_not_reach_the_terminal() {
    let folder = TempDir::new().unwrap();
    let hostile = HOSTILE.iter().find(|h| h.name.contains("escape")).expect("one that prints them");
    let decoys = Decoys { file: "/nonexistent".into(), port: 9, pid: u32::MAX };
    submissions::make_hostile(hostile, folder.path(), &decoys);
    let out = TempDir::new().unwrap();
    let mut command = offload();
    command.arg("grade").arg(folder.path()).arg("--out").arg(out.path()).args(["--runs", "1", "--show"]);
    let output = good(&mut command);
    assert!(!output.stdout.contains(&0x1b), "{}", text(&output.stdout));
    assert!(!output.stderr.contains(&0x1b));
}
