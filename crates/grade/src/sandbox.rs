//! Where a submission runs: shut in by bubblewrap, with an agent that does as it is asked.
//!
//! The lesson: a submission needs a system to compile and run on, and none of the host. So it gets the
//! host's `/usr` to read, a folder in memory to write, a network of its own with nothing but loopback (any
//! number of them have the same ports), a process tree of its own that dies with the grader, and no rights.
//! Only the agent's answers come out. Where namespaces are not to be had, as in many containers, programs
//! run on the host as a user without rights, one submission at a time, and the report says what is weaker.
//!
//! Left out: what is run and why ([`crate::exam`]).

use crate::agent::{self, Reply, Request, Settings};
use crate::limits::{REPLY_BYTES, WRITTEN_BYTES};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// The user that root runs submissions as: the one that owns nothing.
const NOBODY: u32 = 65_534;
/// How much longer than the submission's own patience an answer may take.
const GRACE: Duration = Duration::from_secs(20);

/// Why a sandbox does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent is gone, which is what a submission that kills everything it can reach brings about.
    #[error("the sandbox has died: {0}")]
    Dead(String),
    /// It does not answer in time.
    #[error("the sandbox does not answer")]
    Silent,
    /// The agent could not do as it was asked.
    #[error("in the sandbox: {0}")]
    Failed(String),
    /// The grader's own system.
    #[error("cannot start a sandbox")]
    System(#[from] io::Error),
}

/// How well submissions are shut in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// By namespaces.
    Namespaces,
    /// Not at all; the reason. Root still has another user to run programs as.
    Bare(String),
}

impl Isolation {
    /// Looks what this system allows.
    pub fn find() -> Isolation {
        let mut probe = bubblewrap();
        probe.args(["--ro-bind", "/", "/", "--", "true"]).stdin(Stdio::null()).stdout(Stdio::null());
        match probe.output() {
            Ok(done) if done.status.success() => Isolation::Namespaces,
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stderr);
                Isolation::Bare(said.lines().next().unwrap_or("bwrap fails").trim().to_owned())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Isolation::Bare("bubblewrap is not installed (apt-get install bubblewrap)".to_owned())
            }
            Err(e) => Isolation::Bare(format!("bwrap: {e}")),
        }
    }

    /// One sentence for the report.
    pub fn sentence(&self) -> String {
        match self {
            Isolation::Namespaces => {
                "shut in: own network, processes, files and user; nothing of the host can be changed"
                    .to_owned()
            }
            Isolation::Bare(why) if is_root() => format!(
                "NOT shut in ({why}): programs ran on the host's loopback as the user nobody, one submission at \
                 a time; they could read what everybody may read, and use the network"
            ),
            Isolation::Bare(why) => format!(
                "NOT shut in ({why}): programs ran on the host's loopback AS YOU, one submission at a time; they \
                 could read, change and remove all that you can"
            ),
        }
    }

    /// Whether programs run with the rights of whoever grades.
    pub fn is_reckless(&self) -> bool {
        matches!(self, Isolation::Bare(_)) && !is_root()
    }
}

/// What all sandboxes of one grader share: the agent's program, and a small `/etc`.
pub struct Ground {
    folder: TempDir,
    isolation: Isolation,
    read_only: Vec<PathBuf>,
    built: String,
}

impl Ground {
    /// `agent` is the program that serves [`agent::serve`] when it is called with `grade-agent`;
    /// `read_only` are folders of the host that submissions may read beside `/usr`.
    ///
    /// # Errors
    /// When the temporary folder cannot be written.
    pub fn new(agent: &Path, isolation: Isolation, read_only: Vec<PathBuf>) -> io::Result<Ground> {
        let folder = tempfile::Builder::new().prefix("offload-grade-").tempdir()?;
        open_to_all(folder.path())?;
        // A copy: the original may lie where an unprivileged user cannot go.
        let program = folder.path().join("agent");
        fs::copy(agent, &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let etc = folder.path().join("etc");
        fs::create_dir(&etc)?;
        open_to_all(&etc)?;
        for (name, text) in [
            ("hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 nunki.usc.edu nunki\n"),
            ("passwd", "student:x:0:0:Student:/work:/bin/sh\n"),
            ("group", "student:x:0:\n"),
            ("nsswitch.conf", "hosts: files\npasswd: files\ngroup: files\n"),
        ] {
            fs::write(etc.join(name), text)?;
            fs::set_permissions(etc.join(name), fs::Permissions::from_mode(0o644))?;
        }
        let known = fs::metadata(agent)?;
        let built = format!("{} {}.{}", known.len(), known.mtime(), known.mtime_nsec());
        Ok(Ground { folder, isolation, read_only, built })
    }

    /// Where everything temporary lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Tells one build of the grader from another.
    pub fn built(&self) -> &str {
        &self.built
    }

    /// How well submissions are shut in.
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// An empty folder that an unprivileged user can read, for a submission's files.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn scratch(&self) -> io::Result<TempDir> {
        let scratch = tempfile::Builder::new().prefix("submission-").tempdir_in(self.folder.path())?;
        open_to_all(scratch.path())?;
        Ok(scratch)
    }

    /// Starts an agent for the submission in `root`.
    ///
    /// # Errors
    /// When bubblewrap or the agent cannot be started.
    pub fn enter(&self, root: &Path) -> Result<Sandbox, Error> {
        let mark = self.folder.path().display().to_string();
        let (mut command, settings, outside) = match &self.isolation {
            Isolation::Namespaces => (self.shut_in(root), agent::inside(mark), None),
            Isolation::Bare(_) => {
                let outside = self.scratch()?;
                let settings = bare(root, outside.path(), mark)?;
                let mut command = Command::new(self.folder.path().join("agent"));
                without_environment(&mut command);
                (command, settings, Some(outside))
            }
        };
        let settings = serde_json::to_string(&settings).map_err(io::Error::from)?;
        command.args(["grade-agent", &settings]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is the grader's to handle: it ends the agent by ending its input.
        command.process_group(0);
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(io::Error::other("a process without pipes").into());
        };
        let (send, replies) = channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(output);
            loop {
                let mut line = String::new();
                match (&mut lines).take(REPLY_BYTES).read_line(&mut line) {
                    Ok(n) if n > 0 && line.ends_with('\n') && send.send(line).is_ok() => {}
                    _ => return,
                }
            }
        });
        let (said, complaints) = channel();
        thread::spawn(move || {
            let mut text = String::new();
            let _cut = errors.take(4096).read_to_string(&mut text);
            let _nobody_asks = said.send(text);
        });
        Ok(Sandbox { child, input, replies, complaints, _outside: outside })
    }

    fn shut_in(&self, root: &Path) -> Command {
        let mut command = bubblewrap();
        let etc = self.folder.path().join("etc");
        command.args(["--ro-bind", "/usr", "/usr"]);
        for (name, target) in
            [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
        {
            command.args(["--symlink", target, &format!("/{name}")]);
        }
        let size = WRITTEN_BYTES.to_string();
        command.args(["--proc", "/proc", "--dev", "/dev"]);
        command.args(["--size", &size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]);
        command.args(["--size", &size, "--tmpfs", "/tmp", "--size", &size, "--tmpfs", "/work"]);
        command.args(["--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]);
        command.args(["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]);
        for name in ["hosts", "passwd", "group", "nsswitch.conf"] {
            command.arg("--ro-bind").arg(etc.join(name)).arg(format!("/etc/{name}"));
        }
        for folder in &self.read_only {
            command.arg("--ro-bind").arg(folder).arg(folder);
        }
        command.arg("--ro-bind").arg(root).arg("/submission");
        command.arg("--ro-bind").arg(self.folder.path().join("agent")).arg("/run/agent");
        // Number 0 of a user namespace owns nothing outside; the one right is for the agent, which opens
        // its packet sockets with it and then drops it.
        command.args(["--uid", "0", "--gid", "0", "--cap-add", "CAP_NET_RAW", "--hostname", "nunki"]);
        // As the first process of its tree nobody inside can stop the agent, end it, or look into it; any
        // other first process would hold the pipes to the grader too.
        command.arg("--as-pid-1");
        command.args(["--remount-ro", "/", "--chdir", "/work", "--clearenv", "--", "/run/agent"]);
        command
    }
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// bubblewrap with all namespaces, by somebody without rights.
fn bubblewrap() -> Command {
    let mut command = match is_root() {
        false => Command::new("bwrap"),
        true => {
            let mut command = Command::new("setpriv");
            let nobody = NOBODY.to_string();
            command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "--", "bwrap"]);
            command
        }
    };
    command.args(["--unshare-all", "--die-with-parent", "--new-session"]);
    without_environment(&mut command);
    command
}

/// What a grader has in its environment, such as tokens, is nobody else's business.
fn without_environment(command: &mut Command) {
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
}

fn bare(root: &Path, outside: &Path, mark: String) -> io::Result<Settings> {
    let work = outside.join("work");
    fs::create_dir(&work)?;
    let demote = is_root().then_some(NOBODY);
    let (submission, stand_ins) = (root.to_owned(), outside.join("stand-ins"));
    Ok(Settings { submission, work, stand_ins, alone: false, demote, mark })
}

fn open_to_all(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

/// One running sandbox; dropping it ends everything in it.
pub struct Sandbox {
    child: Child,
    input: ChildStdin,
    replies: Receiver<String>,
    complaints: Receiver<String>,
    _outside: Option<TempDir>,
}

impl Sandbox {
    /// Asks the agent for something that should take at most `patience`.
    ///
    /// # Errors
    /// When there is no answer: the sandbox is of no use any more, but after [`Error::Failed`].
    pub fn ask(&mut self, request: &Request, patience: Duration) -> Result<Reply, Error> {
        let mut line = serde_json::to_string(request).map_err(io::Error::from)?;
        line.push('\n');
        if self.input.write_all(line.as_bytes()).is_err() {
            return Err(self.dead());
        }
        match self.replies.recv_timeout(patience + GRACE) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Reply::Failed(why)) => Err(Error::Failed(why)),
                Ok(reply) => Ok(reply),
                Err(e) => Err(Error::Dead(e.to_string())),
            },
            Err(RecvTimeoutError::Timeout) => Err(Error::Silent),
            Err(RecvTimeoutError::Disconnected) => Err(self.dead()),
        }
    }

    fn dead(&mut self) -> Error {
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        let said = self.complaints.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        let said = said.lines().last().unwrap_or_default().trim();
        Error::Dead(if said.is_empty() { status } else { format!("{said} ({status})") })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // In namespaces everything dies with bubblewrap; a bare agent ends its programs at the end of input.
        if self._outside.is_some() {
            let mut line = serde_json::to_string(&Request::Stop).unwrap_or_default();
            line.push('\n');
            let _gone = self.input.write_all(line.as_bytes());
            let _stopped = self.replies.recv_timeout(GRACE);
        }
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
