//! The programs, as a user would start them, and what they say.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The longest that anything may take: the choker of transmission has rounds of ten seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A BitTorrent client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Ours,
    Aria2,
    Libtorrent,
    Transmission,
}

/// What a client is to do; who has all files goes on seeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Seeder,
    SuperSeeder,
    Leecher,
}

impl Client {
    /// `what` is a .torrent file's path or a magnet link. It prints a line `complete` when it has all.
    pub fn command(self, role: Role, address: &str, port: u16, what: &str, directory: &Path) -> Command {
        let (seeds, directory) = (role != Role::Leecher, directory.to_str().unwrap());
        let listen = format!("{address}:{port}");
        let mut command = match self {
            Client::Ours => {
                let mut command = Command::new(ours());
                command.args(["--listen", &listen, "--seed", "--no-discovery", "--verbose"]);
                command.args((role == Role::SuperSeeder).then_some("--super-seed"));
                command
            }
            Client::Aria2 => {
                let mut command = tool("aria2c");
                command.args(["--no-conf", "--quiet", "--enable-dht=false", "--file-allocation=none"]);
                command.args(["--seed-ratio=0", "--seed-time=60"]);
                command.args([format!("--listen-port={port}"), format!("--dir={directory}")]);
                command.arg(format!("--bt-seed-unverified={seeds}"));
                command.arg(format!("--on-bt-download-complete={}", script("complete.sh").display()));
                command
            }
            Client::Libtorrent => {
                let mut command = Command::new(python());
                command.arg("-B").arg(script("libtorrent_peer.py")).arg("--one-host");
                command.args(seeds.then_some("--seed")).arg(listen);
                command
            }
            Client::Transmission => {
                let config = format!("{directory}-config");
                std::fs::create_dir(&config).unwrap();
                // With uTP on, it did not reach a peer that has TCP only within a minute.
                let settings = r#"{"dht-enabled": false, "lpd-enabled": false, "utp-enabled": false}"#;
                std::fs::write(format!("{config}/settings.json"), settings).unwrap();
                let mut command = tool("transmission-cli");
                command.args(["-M", "-g", &config, "-p", &port.to_string(), "-w", directory, "-f"]);
                command.arg(script("complete.sh")).args(seeds.then_some("--verify"));
                command
            }
        };
        command.arg(what).env("HOME", directory);
        if matches!(self, Client::Ours | Client::Libtorrent) {
            command.arg(directory);
        }
        command
    }
}

/// A program of the machine's.
pub fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path.split(':').map(|directory| Path::new(directory).join(name)).find(|p| p.exists());
    Command::new(found.unwrap_or_else(|| panic!("{name} is missing: scripts/setup.sh test")))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// What the benchmark starts libtorrent with, and hears of the others by.
fn script(name: &str) -> PathBuf {
    root().join("scripts/bench_swarm").join(name)
}

fn python() -> PathBuf {
    let python = root().join("bench/work/peers/bin/python");
    assert!(python.exists(), "libtorrent is missing: scripts/setup.sh test");
    python
}

/// Cargo builds the examples beside the tests.
fn ours() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let peer = test.parent().and_then(Path::parent).unwrap().join("examples/peer");
    assert!(peer.exists(), "no example: cargo build --package offload-swarm --example peer");
    peer
}

/// A program at work, and the lines that it prints; it ends with this value.
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub fn start(mut command: Command, name: impl Display) -> Process {
        let script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = script.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        // The libtorrent script waits for a line; the others do not read.
        let _ = child.stdin.as_mut().unwrap().write_all(b"\n");
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            // Progress is drawn over itself with carriage returns.
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if line.split('\r').any(|part| sender.send(part.trim().to_string()).is_err()) {
                    break;
                }
            }
        });
        Process { name: name.to_string(), child, lines }
    }

    /// Waits for a line that begins so.
    #[track_caller]
    pub fn wait_line(&self, beginning: &str) {
        let (mut said, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if line.starts_with(beginning) {
                return;
            }
            said.push(line);
        }
        let last = said.split_off(said.len().saturating_sub(10)).join("\n");
        panic!("{} never said \"{beginning}\", but last: {last}", self.name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
