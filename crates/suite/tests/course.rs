//! The course backends checkpointed: the real processes, `kill -9` in the middle of a job, and what is sent again.
//!
//! "In the middle" is made certain: a relay between AWS and each backend counts the numbers that pass, and cuts
//! the network after so many, so that a job stands until the relay is mended. Left out: every way in which a
//! backend can die (`src/sim` of the root package), and every step of a checkpoint (`offload_parity::sim`).

#[path = "../../../tests/support/oracle.rs"]
mod oracle;

use offload::wire::datagram::{Body, decode};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Numbers of a job, of full range: 1.6 MB a shard, some two dozen datagrams.
const NUMBERS: usize = 600_000;
const PATIENCE: Duration = Duration::from_secs(60);
const BACKENDS: [&str; 3] = ["serverA", "serverB", "serverC"];
const HOLDERS: [&str; 2] = ["checkpoint", "backup"];

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

/// Waits for something, not for ever.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Between AWS and a backend: each sees the relay as the other.
struct Relay {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    stop: AtomicBool,
    /// Nothing passes.
    cut: AtomicBool,
    /// It cuts by itself when so many numbers have passed.
    cut_after: AtomicU64,
    /// Numbers that have passed to the backend, repetitions within a session not counted.
    numbers: AtomicU64,
}

impl Relay {
    fn new(backend: SocketAddr) -> Relay {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // As much as the backend's own: then what it can take does not get lost here.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(
            &socket,
            offload::limits::SOCKET_BUFFER_BYTES,
        );
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let state = State {
            stop: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            cut_after: AtomicU64::new(u64::MAX),
            numbers: AtomicU64::new(0),
        };
        let state = Arc::new(state);
        let theirs = state.clone();
        let thread = Some(std::thread::spawn(move || theirs.run(&socket, backend)));
        Relay { port, state, thread }
    }

    fn numbers(&self) -> u64 {
        self.state.numbers.load(SeqCst)
    }

    fn cut_after(&self, numbers: u64) {
        self.state.cut_after.store(self.numbers() + numbers, SeqCst);
    }

    fn wait_cut(&self) {
        until("the relay's cut", || self.state.cut.load(SeqCst).then_some(()));
    }

    fn mend(&self) {
        self.state.cut_after.store(u64::MAX, SeqCst);
        self.state.cut.store(false, SeqCst);
    }
}

impl State {
    fn run(&self, socket: &UdpSocket, backend: SocketAddr) {
        let (mut buffer, mut aws, mut seen) =
            (vec![0; 1 << 16], None, std::collections::BTreeSet::new());
        while !self.stop.load(SeqCst) {
            let (length, from) = match socket.recv_from(&mut buffer) {
                Ok(come) => come,
                // A closed port is its process's death.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {
                    continue;
                }
                Err(e) => panic!("{e}"),
            };
            let bytes = &buffer[..length];
            if self.cut.load(SeqCst) {
                continue;
            }
            if from == backend {
                let _ = aws.map(|aws| socket.send_to(bytes, aws));
                continue;
            }
            aws = Some(from);
            if let Ok((header, Body::Data { width, seq, numbers, .. })) = decode(bytes)
                && seen.insert((header.session, seq))
            {
                let count = (numbers.len() / usize::from(width)) as u64;
                let sum = self.numbers.fetch_add(count, SeqCst) + count;
                if sum >= self.cut_after.load(SeqCst) {
                    self.cut.store(true, SeqCst);
                }
            }
            let _ = socket.send_to(bytes, backend);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A program under way; it is killed with its value.
struct Process {
    child: Child,
    screen: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Process {
    fn lines(&mut self, count: usize) -> String {
        let mut text = String::new();
        for _ in 0..count {
            assert!(self.screen.read_line(&mut text).unwrap() > 0, "it has ended after {text}");
        }
        text
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn log_bytes(&self) -> usize {
        std::fs::read(&self.log).unwrap_or_default().len()
    }

    /// Waits until it has written a line to its log, behind so many bytes, that is this.
    fn wait_log(&self, what: &str, behind: usize, is: impl Fn(&serde_json::Value) -> bool) {
        until(what, || {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            log[behind.min(log.len())..]
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .any(|line| is(&line))
                .then_some(())
        });
    }

    fn wait_complete(&self) {
        let complete = |line: &serde_json::Value| {
            line["state"].as_str().is_some_and(|state| state.starts_with("all members are there"))
        };
        self.wait_log("all members of the group", 0, complete);
    }

    /// Waits until a checkpoint, told of behind so many bytes of the log, has a job's first numbers, at least so many.
    fn wait_checkpoint(&self, behind: usize, numbers: u64) {
        self.wait_log("a checkpoint", behind, |line| {
            line["kept"]
                .as_object()
                .is_some_and(|kept| kept.values().any(|kept| kept.as_u64() >= Some(numbers)))
        });
    }

    fn outcome(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        let status = until("the client's end", || self.child.try_wait().unwrap());
        self.screen.read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (status.code(), out, err)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A suite of its own: directories, ports, relays.
struct Suite {
    dir: TempDir,
    id: u16,
    relays: [Relay; 3],
    started: AtomicU32,
}

impl Suite {
    fn new() -> Suite {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let begin = std::process::id().wrapping_mul(2_654_435_761) >> 16;
        let id = (0..1000).find_map(|_| {
            let id = (begin + NEXT.fetch_add(1, SeqCst)) % 1000;
            let tcp = [21, 22, 23, 25, 26, 27].map(|base| base * 1000 + id as u16);
            let udp = [21, 22, 23, 24].map(|base| base * 1000 + id as u16);
            let free = tcp.iter().all(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
                && udp.iter().all(|&port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
            free.then_some(id as u16)
        });
        let id = id.expect("an ID whose ports are free");
        let relays =
            [21_000, 22_000, 23_000].map(|base| Relay::new((Ipv4Addr::LOCALHOST, base + id).into()));
        Suite { dir: tempfile::tempdir().unwrap(), id, relays, started: AtomicU32::new(0) }
    }

    /// A program in a directory of its own, with `offload` beside it, and its log there.
    fn command(&self, program: &str) -> (Command, PathBuf) {
        let number = self.started.fetch_add(1, SeqCst);
        let place = self.dir.path().join(format!("{number}-{program}"));
        std::fs::create_dir_all(&place).unwrap();
        let mut toml = format!("id = {}\ncheckpoint = true\n", self.id);
        match BACKENDS.iter().position(|name| *name == program) {
            Some(i) => toml += &format!("aws.udp_port = {}\n", self.relays[i].port),
            None if program == "aws" => {
                self.relays
                    .iter()
                    .for_each(|relay| toml += &format!("[[backend]]\nport = {}\n", relay.port));
            }
            None => {}
        }
        std::fs::write(place.join("offload.toml"), toml).unwrap();
        let files: &[(&str, &str)] = match program {
            _ if HOLDERS.contains(&program) => &[("offload", "offload")],
            _ => &[(program, &program.to_lowercase()), ("offload", "offload")],
        };
        for (name, file) in files {
            if std::fs::hard_link(built().join(file), place.join(name)).is_err() {
                std::fs::copy(built().join(file), place.join(name)).unwrap();
            }
        }
        let mut command = Command::new(place.join(files[0].0));
        if HOLDERS.contains(&program) {
            command.args(["holder", program]);
        }
        let log = place.join("log");
        command.current_dir(&place).env("OFFLOAD_LOG", &log);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (command, log)
    }

    fn spawn((mut command, log): (Command, PathBuf)) -> Process {
        let mut child = command.spawn().unwrap();
        let screen = BufReader::new(child.stdout.take().unwrap());
        Process { child, screen, log }
    }

    /// A server or a holder, up and running.
    fn up(&self, program: &str) -> Process {
        let mut process = Suite::spawn(self.command(program));
        let line = process.lines(1);
        assert!(line.contains(" is up and running"), "{line}");
        process
    }

    fn client(&self, function: &str, numbers: &[i64]) -> Process {
        let (mut command, log) = self.command("client");
        std::fs::write(log.with_file_name("nums.csv"), oracle::text(numbers)).unwrap();
        command.arg(function);
        Suite::spawn((command, log))
    }

    fn numbers(&self) -> Vec<u64> {
        self.relays.iter().map(Relay::numbers).collect()
    }
}

fn expect_answer(client: Process, function: &str, numbers: &[i64]) {
    let (code, out, err) = client.outcome();
    assert_eq!((code, out), (Some(0), oracle::client_screen(function, numbers)), "{err}");
}

#[test]
fn any_of_the_five_is_killed_in_mid_job_and_hardly_anything_is_sent_again() {
    let suite = Suite::new();
    let all = BACKENDS.into_iter().chain(HOLDERS);
    let mut members: BTreeMap<&str, Process> = all.clone().map(|name| (name, suite.up(name))).collect();
    let mut aws = suite.up("aws");
    members.values().for_each(Process::wait_complete);
    for (seed, victim) in (1..).zip(all) {
        let numbers = oracle::random(seed, NUMBERS);
        let shards = oracle::shards(NUMBERS, 3);
        // A holder is killed while B's shard is on its way.
        let i = BACKENDS.iter().position(|name| *name == victim).unwrap_or(1);
        let (relay, before) = (&suite.relays[i], suite.numbers());
        let behind = members[BACKENDS[i]].log_bytes();
        relay.cut_after(shards[i].len() as u64 / 2);
        let client = suite.client("sos", &numbers);
        relay.wait_cut();
        let there = relay.numbers() - before[i];
        members[BACKENDS[i]].wait_checkpoint(behind, there);
        members.remove(victim).unwrap().kill();
        if victim == BACKENDS[i] {
            // What AWS sends before that goes nowhere.
            let name = format!("Backend-Server {}", victim.trim_start_matches("server"));
            aws.wait_log("AWS to notice", 0, |line| {
                let said =
                    |key: &str, what: &str| line[key].as_str().is_some_and(|said| said.contains(what));
                said("on", &name) && said("reason", "attempt 1 begins")
            });
        }
        relay.mend();
        let again = suite.up(victim);
        again.wait_complete();
        members.insert(victim, again);
        expect_answer(client, "sos", &numbers);

        let sent: Vec<u64> =
            suite.numbers().iter().zip(&before).map(|(now, before)| now - before).collect();
        for (sent, shard) in sent.iter().zip(&shards) {
            let again = sent - shard.len() as u64;
            assert!(again <= shard.len() as u64 / 20, "{victim}: {again} of {} again", shard.len());
        }
        let ports = (25_000 + suite.id, 24_000 + suite.id);
        assert_eq!(aws.lines(9), oracle::aws_lines("sos", &numbers, ports.0, ports.1));
        for ((name, server), shard) in ["A", "B", "C"].iter().zip(BACKENDS).zip(shards) {
            let shown = members.get_mut(server).unwrap().lines(3);
            assert_eq!(shown, oracle::backend_lines(name, "sos", &numbers[shard]), "{victim}");
        }
    }
}

#[test]
fn more_deaths_than_parity_makes_good_cost_time_and_no_answer() {
    let suite = Suite::new();
    let all = BACKENDS.into_iter().chain(HOLDERS);
    let mut members: BTreeMap<&str, Process> = all.map(|name| (name, suite.up(name))).collect();
    let _aws = suite.up("aws");
    members.values().for_each(Process::wait_complete);
    let numbers = oracle::random(7, NUMBERS);
    let half = NUMBERS as u64 / 6;
    suite.relays[1].cut_after(half);
    let client = suite.client("sum", &numbers);
    suite.relays[1].wait_cut();
    members["serverB"].wait_checkpoint(0, half);
    for victim in ["serverA", "serverB", "backup"] {
        members.remove(victim).unwrap().kill();
    }
    suite.relays[1].mend();
    for victim in ["serverA", "serverB", "backup"] {
        members.insert(victim, suite.up(victim));
    }
    expect_answer(client, "sum", &numbers);
    // Nobody knows what B knew: it was sent all of its shard again, and no more.
    let again = suite.relays[1].numbers() - oracle::shards(NUMBERS, 3)[1].len() as u64;
    assert!(again >= half, "{again}");
    // The group has begun anew.
    members.values().for_each(Process::wait_complete);
    let client = suite.client("max", &numbers);
    expect_answer(client, "max", &numbers);
}

#[test]
fn without_holders_jobs_run_and_what_is_not_in_order_is_said() {
    let suite = Suite::new();
    let numbers = oracle::random(8, 1000);
    {
        let servers = BACKENDS.map(|server| suite.up(server));
        let _aws = suite.up("aws");
        expect_answer(suite.client("min", &numbers), "min", &numbers);
        // The same backend again: its port for checkpoints is taken.
        let (mut command, _) = suite.command("serverA");
        let err = String::from_utf8(command.output().unwrap().stderr).unwrap();
        let port = (21_000 + suite.id).to_string();
        assert!(err.contains("Backend-Server A") && err.contains(&port), "{err}");
        drop(servers);
    }
    let (mut command, log) = suite.command("checkpoint");
    let toml = log.with_file_name("offload.toml");
    std::fs::write(&toml, format!("id = {}\n", suite.id)).unwrap();
    let err = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(err.contains("checkpoint = true") && err.lines().count() == 1, "{err}");
    std::fs::write(log.with_file_name("offload.key"), "5a".repeat(32)).unwrap();
    let only_us = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(log.with_file_name("offload.key"), only_us).unwrap();
    let away = "checkpoint = true\nkey_file = \"offload.key\"\naws.host = \"10.0.0.1\"\n[[backend]]\nhost = \"10.0.0.2\"\n";
    std::fs::write(&toml, away).unwrap();
    let err = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(err.contains("on loopback only") && err.contains("10.0.0.2"), "{err}");
}
