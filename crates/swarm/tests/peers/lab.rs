//! A network of its own, files to publish, our tracker on a socket.

use crate::clients::{Client, PATIENCE, Process, Role, tool};
use offload::rng::Rng;
use offload::time::Time;
use offload_swarm::magnet::Magnet;
use offload_swarm::metainfo::{self, Recipe};
use offload_swarm::tracker::{Announce, Settings, Tracker, answer, query};
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;
use tempfile::TempDir;

const INSIDE: &str = "OFFLOAD_TEST_INSIDE_NAMESPACE";
/// No loopback address: transmission takes none of them for a peer's.
const ADDRESS: &str = "10.77.0.1";
const TRACKER_PORT: u16 = 6969;
/// What is published: sizes that fall between pieces, a directory, a name beyond ASCII.
const FILES: [(&str, usize); 4] =
    [("boot/kernel", 1_300_001), ("numbers.csv", 2_700_000), ("läs mig", 11), ("z/last", 70_000)];

/// Runs the test once more in namespaces of its own, or its body if we are there.
pub fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let script = format!("ip link set lo up && ip address add {ADDRESS}/24 dev lo && exec \"$@\"");
    let ran = Command::new("unshare")
        .args(["--map-root-user", "--net", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (package util-linux) is needed: scripts/setup.sh test");
    let said =
        [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "in a namespace (needs root or user namespaces, and package iproute2): {said}"
    );
}

/// One torrent and everybody's directories.
pub struct Lab {
    directory: TempDir,
    /// The .torrent file's path.
    pub torrent: String,
    /// The same torrent, by name only.
    pub magnet: String,
    info_hash: offload_swarm::id::InfoHash,
    next_port: Cell<u16>,
}

impl Lab {
    pub fn new() -> Lab {
        let directory = TempDir::new().unwrap();
        let mut rng = Rng::from_seed(4);
        for (name, bytes) in FILES {
            let path = directory.path().join("published/image").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut content = vec![0; bytes];
            rng.fill(&mut content);
            fs::write(path, content).unwrap();
        }
        let url = format!("http://{ADDRESS}:{TRACKER_PORT}/announce");
        let recipe =
            Recipe { name: "image".into(), trackers: vec![vec![url.clone()]], ..Recipe::default() };
        let published = directory.path().join("published/image");
        let made = metainfo::build(&published, recipe, &mut |_, _| ()).unwrap();
        let torrent = directory.path().join("image.torrent");
        fs::write(&torrent, made.to_torrent()).unwrap();
        let magnet =
            Magnet { info_hash: made.info_hash, name: None, trackers: vec![url], peers: Vec::new() };
        Lab {
            torrent: torrent.to_str().unwrap().into(),
            magnet: magnet.to_string(),
            info_hash: made.info_hash,
            next_port: Cell::new(7001),
            directory,
        }
    }

    /// Starts a client that has all files, if it seeds, or none.
    pub fn start(&self, client: Client, role: Role, what: &str) -> Peer {
        let port = self.next_port.replace(self.next_port.get() + 1);
        let directory = self.directory.path().join(format!("peer-{port}"));
        for (name, _) in FILES.iter().filter(|_| role != Role::Leecher) {
            let path = directory.join("image").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(self.published(name), path).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
        let command = client.command(role, ADDRESS, port, what, &directory);
        let process = Process::start(command, format!("{client:?} ({role:?}, port {port})"));
        let files = FILES.map(|(name, _)| (self.published(name), directory.join("image").join(name)));
        Peer { port, process, files }
    }

    fn published(&self, name: &str) -> PathBuf {
        self.directory.path().join("published/image").join(name)
    }

    /// Our tracker, at the address that the torrent names.
    pub fn tracker(&self) -> Heard {
        let listener = TcpListener::bind((ADDRESS, TRACKER_PORT)).unwrap();
        let mut tracker = Tracker::new(Settings::default(), Rng::from_seed(5));
        tracker.serve(self.info_hash).unwrap();
        let (sender, announces) = channel();
        std::thread::spawn(move || serve(&listener, &mut tracker, &sender));
        Heard { announces, before: RefCell::default() }
    }

    /// The tracker of Debian, which serves what is on its list.
    pub fn opentracker(&self) -> Process {
        let list = self.directory.path().join("list");
        fs::write(&list, format!("{}\n", self.info_hash)).unwrap();
        // It refuses to be root, which we are in our namespace; in one more it is nobody.
        let mut command = tool("unshare");
        command.arg("--user").arg(tool("opentracker").get_program());
        command.args(["-i", ADDRESS, "-p", &TRACKER_PORT.to_string(), "-w", "list", "-d", "."]);
        command.current_dir(self.directory.path());
        let process = Process::start(command, "opentracker");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((ADDRESS, TRACKER_PORT)).is_err() {
            assert!(Instant::now() < deadline, "opentracker does not listen");
            std::thread::yield_now();
        }
        process
    }
}

/// A client at work.
pub struct Peer {
    pub port: u16,
    process: Process,
    files: [(PathBuf, PathBuf); FILES.len()],
}

impl Peer {
    /// Waits until it says that it has all, and compares.
    #[track_caller]
    pub fn complete(&self) {
        self.process.wait_line("complete");
        for (published, received) in &self.files {
            let same = fs::read(received).ok() == fs::read(published).ok();
            assert!(same, "{} is not what was published", received.display());
        }
    }
}

/// What peers tell our tracker.
pub struct Heard {
    announces: Receiver<Result<Announce, String>>,
    before: RefCell<Vec<Result<Announce, String>>>,
}

impl Heard {
    /// Waits for an announce, which may have come already.
    #[track_caller]
    pub fn wait(&self, wanted: impl Fn(&Announce) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut before = self.before.borrow_mut();
        while !before.iter().flatten().any(&wanted) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(next) = self.announces.recv_timeout(left) else {
                panic!("not announced to the tracker; only {before:?}");
            };
            before.push(next);
        }
    }
}

/// Answers one connection after the other, until the test ends.
fn serve(listener: &TcpListener, tracker: &mut Tracker, heard: &Sender<Result<Announce, String>>) {
    let start = Instant::now();
    for stream in listener.incoming().map_while(Result::ok) {
        let now = Time(start.elapsed().as_nanos() as u64);
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let Some(request) = lines.next() else { continue };
        // The rest of the head, so that nothing unread makes the system reset the connection.
        lines.take_while(|line| !line.is_empty()).for_each(drop);
        let path = request.split(' ').nth(1).unwrap_or_default();
        let from = stream.peer_addr().unwrap().ip();
        let body = match path.split_once('?') {
            Some(("/announce", asked)) => match query::announce(asked) {
                Ok(announce) => {
                    let answer = tracker.announce(now, from, &announce);
                    let _ = heard.send(Ok(announce));
                    answer.encode()
                }
                Err(error) => {
                    let _ = heard.send(Err(format!("{request}: {error}")));
                    answer::failure(&error.to_string())
                }
            },
            Some(("/scrape", asked)) => match query::scrape(asked) {
                Ok(hashes) => answer::scrape(&tracker.scrape(now, &hashes)),
                Err(error) => answer::failure(&error.to_string()),
            },
            _ => answer::failure("no such place"),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        // Who asked may be gone.
        let _ = (&stream).write_all(&[head.as_bytes(), &body].concat());
    }
}
