//! Image servers and clients as processes, each test in a directory of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// More than anything here takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

pub fn offload() -> Command {
    Command::new(env!("CARGO_BIN_EXE_offload"))
}

/// A directory with a store and sources in it.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Runs `offload image ...` here to its end.
    pub fn image(&self, arguments: &[&str]) -> Output {
        offload().arg("image").args(arguments).current_dir(self.0.path()).output().unwrap()
    }

    /// The same; what it says on stdout. It must succeed.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.image(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {} {out}{err}", output.status);
        out
    }

    /// The same; what it says on stderr. It must fail.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.image(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Starts the image server on ports of its own.
    pub fn serve(&self, more: &[&str]) -> Server {
        self.serve_at("0", more)
    }

    pub fn serve_at(&self, port: &str, more: &[&str]) -> Server {
        let mut command = offload();
        command.args(["image", "serve", "--port", port, "--seed-port", "0", "--address", "127.0.0.1"]);
        command.args(more).current_dir(self.0.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || lines.next().and_then(Result::ok);
        let (Some(page), Some(hint)) = (next(), next()) else {
            let mut why = String::new();
            child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            let _ = child.wait();
            panic!("the image server did not start: {why}");
        };
        let words: Vec<String> = hint.split(' ').map(str::to_owned).collect();
        let after = |option| words[words.iter().position(|word| word == option).unwrap() + 1].clone();
        assert!(page.starts_with("status page: https://"), "{page}");
        Server { process: Process(child), url: after("--from"), trust: after("--trust") }
    }

    /// Begins to stage into the directory `into`, by way of `pool-INTO`.
    pub fn stage(&self, server: &Server, name: &str, into: &str, more: &[&str]) -> Process {
        let mut command = offload();
        command.args(["image", "stage", name, "--into", into]).args(server.options());
        command.args(["--staging", &format!("pool-{into}")]).args(more).current_dir(self.0.path());
        Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }
}

pub struct Server {
    pub process: Process,
    pub url: String,
    pub trust: String,
}

impl Server {
    pub fn options(&self) -> [&str; 4] {
        ["--from", &self.url, "--trust", &self.trust]
    }
}

/// A process that does not outlive its test.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end: its exit status, and what it said.
    #[track_caller]
    pub fn end(&mut self) -> (Option<i32>, String, String) {
        let mut status = None;
        await_that("the process ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let mut out = String::new();
        let stdout = self.0.stdout.take();
        stdout.into_iter().for_each(|mut stdout| drop(stdout.read_to_string(&mut out)));
        let said = |mut stderr: ChildStderr| {
            let mut err = String::new();
            stderr.read_to_string(&mut err).map(|_| err).unwrap_or_default()
        };
        (status.unwrap().code(), out, self.0.stderr.take().map(said).unwrap_or_default())
    }

    #[track_caller]
    pub fn done(&mut self) -> String {
        let (status, out, err) = self.end();
        assert_eq!(status, Some(0), "{out}{err}");
        out
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
pub fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "waited for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that no compression makes less of.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    offload::rng::Rng::from_seed(seed).fill(&mut bytes);
    bytes
}

/// Bytes that files below a directory take on the disk.
pub fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}
