//! Jobs over a staged dataset, with all processes: the course programs, `offload` beside them, a seeder.
//!
//! The seeder is this test's own node, so that it can say how much it has sent. Left out: the sentences of
//! every table (`tests/golden.rs` of the root package) and simulated deaths (`src/sim`).

#[path = "../../../tests/support/oracle.rs"]
mod oracle;

use offload::rng::Rng;
use offload_swarm::dataset;
use offload_swarm::id::PeerId;
use offload_swarm::io::node::{Handle, Job, Node, NodeSettings, What};
use offload_swarm::metainfo::{Metainfo, Recipe, build};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Rows of a dataset: some dozen pieces.
const ROWS: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the programs are built; the root package's are not this package's, so cargo is asked for them.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let place = Path::new(env!("CARGO_BIN_EXE_offload")).parent().unwrap();
        let profile = place.file_name().unwrap().to_str().unwrap().replace("debug", "dev");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "-p", "offload", "--bins", "--quiet", "--profile", &profile]);
        assert!(cargo.status().unwrap().success());
        place.to_owned()
    })
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A packed numbers file, and who has it.
struct Origin {
    dir: TempDir,
    numbers: Vec<i64>,
    metainfo: Arc<Metainfo>,
    port: u16,
}

struct Seeder {
    _node: Node,
    handle: Handle,
}

impl Origin {
    fn new(seed: u64) -> Origin {
        let dir = tempfile::tempdir().unwrap();
        let numbers = oracle::random(seed, ROWS);
        let path = dir.path().join("nums.csv");
        std::fs::write(&path, oracle::text(&numbers)).unwrap();
        let rows = Some(dataset::index(&path).unwrap());
        let recipe = Recipe { name: "nums.csv".into(), rows, ..Recipe::default() };
        let metainfo = Arc::new(build(&path, recipe, &mut |_, _| {}).unwrap());
        std::fs::write(dir.path().join("nums.csv.torrent"), metainfo.to_torrent()).unwrap();
        Origin { dir, numbers, metainfo, port: port() }
    }

    fn torrent(&self) -> String {
        self.dir.path().join("nums.csv.torrent").display().to_string()
    }

    fn link(&self) -> String {
        format!("magnet:?xt=urn:btih:{}&x.pe=127.0.0.1:{}", self.metainfo.info_hash, self.port)
    }

    fn seed(&self) -> Seeder {
        let mut settings = NodeSettings::new(PeerId([9; 20]));
        settings.listen = (Ipv4Addr::LOCALHOST, self.port).into();
        settings.discovery = false;
        let node = Node::start(settings, Rng::from_seed(1)).unwrap();
        let job = Job {
            what: What::Metainfo(self.metainfo.clone()),
            directory: self.dir.path().to_owned(),
            super_seed: false,
            wanted: None,
            peers: Vec::new(),
        };
        let handle = node.add(job).unwrap();
        handle.wait_complete(Some(PATIENCE)).unwrap();
        Seeder { _node: node, handle }
    }
}

impl Seeder {
    fn sent(&self) -> u64 {
        self.handle.status().progress.uploaded_bytes
    }
}

/// A course program under way; it is killed with its value.
struct Process {
    child: Child,
    screen: BufReader<ChildStdout>,
    err: Option<ChildStderr>,
}

impl Process {
    /// The next lines that it shows.
    fn lines(&mut self, count: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            assert!(self.screen.read_line(&mut text).unwrap() > 0, "it has ended after {text}");
        }
        text
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn outcome(mut self) -> (Option<i32>, String, String) {
        let deadline = Instant::now() + PATIENCE;
        let (mut out, mut err) = (String::new(), String::new());
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        self.screen.read_to_string(&mut out).unwrap();
        self.err.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), out, err)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A suite of its own: directories and ports.
struct Suite {
    dir: TempDir,
    aws: (u16, u16),
    backends: [u16; 3],
}

impl Suite {
    fn new() -> Suite {
        let dir = tempfile::tempdir().unwrap();
        Suite { dir, aws: (port(), port()), backends: [port(), port(), port()] }
    }

    fn place(&self, program: &str) -> PathBuf {
        self.dir.path().join(program)
    }

    /// A program in a directory of its own, with `offload` beside it or not.
    fn command(&self, program: &str, top: &str, is_suite: bool) -> Command {
        let place = self.place(program);
        std::fs::create_dir_all(&place).unwrap();
        let mut toml = format!("{top}\naws.tcp_port = {}\naws.udp_port = {}\n", self.aws.0, self.aws.1);
        for port in self.backends {
            toml += &format!("[[backend]]\nport = {port}\n");
        }
        std::fs::write(place.join("offload.toml"), toml).unwrap();
        let names = [(program, program.to_lowercase()), ("offload", "offload".to_owned())];
        for (name, file) in names.into_iter().take(if is_suite { 2 } else { 1 }) {
            let _ = std::fs::remove_file(place.join(name));
            if std::fs::hard_link(built().join(&file), place.join(name)).is_err() {
                std::fs::copy(built().join(&file), place.join(name)).unwrap();
            }
        }
        let mut command = Command::new(place.join(program));
        command.current_dir(&place).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, program: &str, top: &str) -> Process {
        Suite::spawn(&mut self.command(program, top, true))
    }

    fn client(&self, function: &str, dataset: &str) -> Process {
        Suite::spawn(self.command("client", &of(dataset), true).arg(function))
    }

    fn spawn(command: &mut Command) -> Process {
        let mut child = command.spawn().unwrap();
        let (screen, err) = (BufReader::new(child.stdout.take().unwrap()), child.stderr.take());
        Process { child, screen, err }
    }

    /// A server, up and running.
    fn up(&self, program: &str, top: &str) -> Process {
        let mut server = self.start(program, top);
        let line = server.lines(1);
        assert!(line.contains(" is up and running"), "{line}");
        server
    }

    fn backends(&self, top: &str) -> [Process; 3] {
        ["serverA", "serverB", "serverC"].map(|server| self.up(server, top))
    }
}

/// What the seeder has sent, once that does not change any more.
fn settled(seeder: &Seeder) -> u64 {
    let (mut sent, mut since) = (seeder.sent(), Instant::now());
    // Its figures are at most a second old.
    while since.elapsed() < Duration::from_secs(2) {
        std::thread::park_timeout(Duration::from_millis(20));
        if seeder.sent() != sent {
            (sent, since) = (seeder.sent(), Instant::now());
        }
    }
    sent
}

fn of(dataset: &str) -> String {
    format!("dataset = \"{dataset}\"")
}

#[test]
fn two_jobs_over_a_dataset_show_the_same_screens_and_fetch_it_once() {
    let (origin, suite) = (Origin::new(1), Suite::new());
    let seeder = origin.seed();
    let mut servers = suite.backends(&of(&origin.link()));
    let mut aws = suite.up("aws", "");
    // The client asks the swarm how many rows there are, or reads it in the torrent.
    let mut sent = 0;
    for (function, dataset) in [("sum", origin.link()), ("sos", origin.torrent())] {
        let (code, out, err) = suite.client(function, &dataset).outcome();
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert_eq!(out, oracle::client_screen(function, &origin.numbers));
        let (tcp, udp) = suite.aws;
        assert_eq!(aws.lines(9), oracle::aws_lines(function, &origin.numbers, tcp, udp));
        for ((name, server), shard) in
            ["A", "B", "C"].into_iter().zip(&mut servers).zip(oracle::shards(ROWS, 3))
        {
            let expected = oracle::backend_lines(name, function, &origin.numbers[shard]);
            assert_eq!(server.lines(3), expected);
        }
        if sent == 0 {
            sent = settled(&seeder);
            assert!(sent >= origin.metainfo.geometry.total_bytes());
        }
    }
    assert_eq!(settled(&seeder), sent, "the second job moves no data");
}

#[test]
fn a_backend_killed_in_mid_job_has_its_rows_done_by_a_live_one() {
    let (origin, suite) = (Origin::new(2), Suite::new());
    let [a, b, c] = suite.backends(&of(&origin.link()));
    let mut aws = suite.up("aws", "");
    // Nobody has the numbers yet, so the job stands once all backends have accepted it.
    let client = suite.client("sum", &origin.torrent());
    let shown = aws.lines(4);
    assert!(shown.contains("sent 33333 numbers to Backend-Server C"), "{shown}");
    b.kill();
    let mut notice = String::new();
    let mut told = BufReader::new(aws.err.take().unwrap());
    told.read_line(&mut notice).unwrap();
    assert!(notice.contains("Backend-Server B") && notice.contains(" takes over"), "{notice}");
    let _seeder = origin.seed();
    let (code, out, err) = client.outcome();
    assert_eq!((code, out), (Some(0), oracle::client_screen("sum", &origin.numbers)), "{err}");
    assert!(err.contains(" takes over"), "{err}");
    let shown = aws.lines(5);
    assert_eq!(shown.matches("from Backend-Server B").count(), 0, "{shown}");
    assert_eq!(shown.matches("received reduction result of SUM").count(), 3, "{shown}");
    drop((a, c));
}

#[test]
fn with_shards_each_backend_fetches_its_own_rows_only() {
    let (origin, suite) = (Origin::new(3), Suite::new());
    let _seeder = origin.seed();
    let _servers = suite.backends(&format!("{}\nstage = \"shard\"", of(&origin.link())));
    let _aws = suite.up("aws", "");
    let (code, out, err) = suite.client("max", &origin.torrent()).outcome();
    assert_eq!((code, out), (Some(0), oracle::client_screen("max", &origin.numbers)), "{err}");
    let geometry = origin.metainfo.geometry;
    for name in ["A", "B", "C"] {
        let data = suite.place(&format!("server{name}")).join("offload-data").join(name);
        let file = data.join(origin.metainfo.info_hash.to_string()).join("nums.csv");
        let bytes = std::fs::metadata(&file).unwrap().blocks() * 512;
        let most = geometry.total_bytes() / 3 + 3 * u64::from(geometry.piece_bytes());
        assert!(bytes > 0 && bytes <= most, "{name} has {bytes} of {}", geometry.total_bytes());
    }
}

#[test]
fn what_is_not_in_order_is_said_in_one_line() {
    let (origin, other, suite) = (Origin::new(4), Origin::new(5), Suite::new());
    let failure = |output: &Output, clues: &[&str]| {
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{err}");
        for clue in clues {
            assert!(err.contains(clue), "{clue:?} is not in {err}");
        }
        assert!(!String::from_utf8_lossy(&output.stdout).contains("has received"));
        err
    };
    // No `offload` beside the program.
    for (program, argument) in [("client", Some("sum")), ("serverB", None)] {
        let mut command = suite.command(program, &of(&origin.torrent()), false);
        let err = failure(&command.args(argument).output().unwrap(), &["make suite", program]);
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    // Backends without a dataset, and with another one.
    let mut plain = suite.backends("");
    let aws = suite.up("aws", "");
    let client = || suite.command("client", &of(&origin.torrent()), true).arg("sum").output().unwrap();
    let clues = ["no backend is left", "A and B and C: it has no dataset", "nums.csv.torrent"];
    failure(&client(), &clues);
    plain.iter_mut().for_each(|server| server.child.kill().unwrap());
    drop(plain);
    let _seeder = other.seed();
    let others = suite.backends(&of(&other.link()));
    let (own, asked) = (other.metainfo.info_hash.to_string(), origin.metainfo.info_hash.to_string());
    failure(&client(), &["A and B and C: its dataset is", &own, &asked, "use the same torrent"]);
    drop((others, aws));
    // No torrent where one is named.
    let mut command = suite.command("serverA", &of("/none/nums.csv.torrent"), true);
    failure(&command.output().unwrap(), &["serverA: ", "/none/nums.csv.torrent", "offload.toml"]);
}
