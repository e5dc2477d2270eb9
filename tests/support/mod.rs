//! The five programs as processes: an instance of the whole suite with its own files and ports.
//!
//! An [`Instance`] is a directory below the build's own, and ports of its own. Each process gets a
//! subdirectory with its binary (a hard link), its `offload.toml` and, for a client, its `nums.csv`, so
//! that one process can be told something else than the others. A [`Cluster`] is an instance with its
//! four servers up.
//!
//! Left out: expectations. `oracle` computes answers by the plainest code there is, `peer` speaks the
//! protocol where a test plays client, AWS or backend itself, `relay` is the network between.

#![allow(dead_code, unused_imports)] // each test program uses its own part of this

pub mod oracle;
pub mod peer;
pub mod ports;
pub mod process;
pub mod relay;

pub use ports::Ports;
pub use process::{Launch, Outcome, PATIENCE, Process, Screen, Screens, until};
pub use rustix::process::Signal;

use relay::{Control, Relay};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use tempfile::TempDir;

/// The servers, in the order in which the assignment starts them.
pub const SERVERS: [&str; 4] = ["serverA", "serverB", "serverC", "aws"];
/// The reductions, as a user types them.
pub const FUNCTIONS: [&str; 4] = ["min", "max", "sum", "sos"];

fn built(program: &str) -> &'static str {
    match program {
        "client" => env!("CARGO_BIN_EXE_client"),
        "aws" => env!("CARGO_BIN_EXE_aws"),
        "serverA" => env!("CARGO_BIN_EXE_servera"),
        "serverB" => env!("CARGO_BIN_EXE_serverb"),
        "serverC" => env!("CARGO_BIN_EXE_serverc"),
        other => panic!("no program is called {other}"),
    }
}

/// The sample input of the repository.
pub fn sample() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/nums.csv")).unwrap()
}

/// What one process's `offload.toml` says.
#[derive(Clone, Debug)]
pub struct Config {
    /// Lines above the tables.
    pub top: String,
    /// AWS's name or address, and its ports.
    pub host: String,
    pub tcp: u16,
    pub udp: u16,
    /// Name, host and port of each backend.
    pub backends: Vec<(String, String, u16)>,
    /// Lines of the table of deadlines.
    pub deadlines: String,
    /// Where set, the whole file.
    pub whole: Option<String>,
}

impl Config {
    fn text(&self) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let mut text = format!(
            "{}\n[aws]\nhost = \"{}\"\ntcp_port = {}\nudp_port = {}\n",
            self.top, self.host, self.tcp, self.udp
        );
        for (name, host, port) in &self.backends {
            let _ = write!(text, "[[backend]]\nname = \"{name}\"\nhost = \"{host}\"\nport = {port}\n");
        }
        let _ = write!(text, "[deadlines]\n{}\n", self.deadlines);
        text
    }
}

/// A whole suite of its own: directory, ports, configuration.
pub struct Instance {
    pub ports: Ports,
    /// What every process is told that is not told otherwise.
    pub config: Config,
    dir: TempDir,
    launched: AtomicU32,
}

impl Instance {
    pub fn new() -> Instance {
        Instance::with(Ports::any())
    }

    pub fn with(ports: Ports) -> Instance {
        let backend = |(name, &port): (&str, &u16)| (name.into(), "localhost".into(), port);
        let config = Config {
            top: String::new(),
            host: "localhost".into(),
            tcp: ports.tcp,
            udp: ports.udp,
            backends: ["A", "B", "C"].into_iter().zip(&ports.backends).map(backend).collect(),
            deadlines: String::new(),
            whole: None,
        };
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Instance { ports, config, dir, launched: AtomicU32::new(0) }
    }

    /// The address of one of our ports.
    pub fn address(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// A file of the test's own beside the processes' directories.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program in a new directory, told what all are told.
    pub fn launch(&self, program: &str) -> Launch {
        self.launch_with(program, &self.config)
    }

    /// A program in a new directory, told something of its own.
    pub fn launch_with(&self, program: &str, config: &Config) -> Launch {
        let number = self.launched.fetch_add(1, SeqCst);
        let dir = self.path(&format!("{number}-{program}"));
        std::fs::create_dir(&dir).unwrap();
        place(Path::new(built(program)), &dir.join(program));
        Launch::new(dir, program).file("offload.toml", config.text())
    }

    /// A client with this argument and this `nums.csv`.
    pub fn client(&self, function: &str, nums: impl AsRef<[u8]>) -> Launch {
        self.launch("client").args(&[function]).file("nums.csv", nums)
    }

    /// A server, up and running.
    pub fn up(&self, server: &str) -> Process {
        boot(self.launch(server))
    }

    /// All servers, up and running.
    pub fn cluster(self) -> Cluster {
        let [a, b, c, aws] = SERVERS.map(|server| self.launch(server).start());
        for server in [&a, &b, &c, &aws] {
            server.out.wait_for(" is up and running");
        }
        Cluster { a, b, c, aws, instance: self }
    }

    /// A relay between AWS and backend `i`, and what AWS and that backend are to be told of it.
    pub fn relay(&self, i: usize, loss_percent: f64, seed: u64) -> RunningRelay {
        let port = self.ports.spare[i];
        let backend = Instance::address(self.ports.backends[i]);
        let mut relay = Relay::bind(Instance::address(port), backend, loss_percent, seed).unwrap();
        let control = Arc::new(Control::default());
        let socket = relay.socket().unwrap();
        let theirs = control.clone();
        let thread = std::thread::spawn(move || relay.run(&theirs).unwrap());
        let mut for_aws = self.config.clone();
        for_aws.backends[i].2 = port;
        let mut for_backend = self.config.clone();
        for_backend.udp = port;
        RunningRelay { control, socket, for_aws, for_backend, thread: Some(thread) }
    }
}

/// Hard links where the file system can: a copy of five programs for each test is much.
fn place(from: &Path, to: &Path) {
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).unwrap();
    }
}

/// Starts a server and waits until it is up and running.
pub fn boot(launch: Launch) -> Process {
    let server = launch.start();
    server.out.wait_for(" is up and running");
    server
}

/// An instance with its servers.
pub struct Cluster {
    pub a: Process,
    pub b: Process,
    pub c: Process,
    pub aws: Process,
    pub instance: Instance,
}

impl Cluster {
    pub fn new() -> Cluster {
        Instance::new().cluster()
    }

    /// Runs a client over these numbers and insists on the exact answer.
    pub fn expect_answer(&self, function: &str, numbers: &[i64]) {
        self.instance.client(function, oracle::text(numbers)).run().expect_answer(function, numbers);
    }
}

impl Outcome {
    /// The whole screen of a client that has got its answer, and nothing on stderr.
    pub fn expect_answer(&self, function: &str, numbers: &[i64]) {
        assert_eq!(self.out, oracle::client_screen(function, numbers), "{}", self.err);
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""));
    }

    /// Exit status `code`, no answer, and every one of `clues` on stderr; no panic.
    pub fn expect_failure(&self, code: i32, clues: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.out.contains("has received"), "an answer was printed: {}", self.out);
        for clue in clues {
            assert!(self.err.contains(clue), "stderr does not say {clue:?}: {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

/// A relay on a thread of its own, stopped when dropped.
pub struct RunningRelay {
    pub control: Arc<Control>,
    /// The relay's socket.
    pub socket: std::net::UdpSocket,
    /// What AWS is to be told.
    pub for_aws: Config,
    /// What the backend is to be told.
    pub for_backend: Config,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RunningRelay {
    /// Cuts the network once this many bytes have gone to the backend from now on.
    pub fn cut_after(&self, bytes: u64) {
        let now = self.control.to_backend_bytes.load(SeqCst);
        self.control.cut_after_bytes.store(now + bytes, SeqCst);
    }

    /// Waits until the cut has come.
    pub fn wait_cut(&self) {
        until("the relay's cut", || self.control.cut.load(SeqCst).then_some(()));
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        self.control.cut_after_bytes.store(u64::MAX, SeqCst);
        self.control.cut.store(false, SeqCst);
    }
}

impl Drop for RunningRelay {
    fn drop(&mut self) {
        self.control.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
