//! One of the five programs, run as a user would run it: its screens, its signals, its end.
//!
//! Everything is waited for with a deadline, and whatever was started is killed when its value is
//! dropped. Left out: what is on the screens (the tests know that) and where the files lie (`mod`).

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fs::Permissions;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `look` finds something. The pause between two looks is no assumption about speed.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// What a process has written to one stream, read by a thread of its own so that no pipe fills up.
#[derive(Clone)]
pub struct Screen(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    closed: bool,
}

impl Screen {
    fn pump(from: Option<impl Read + Send + 'static>) -> Screen {
        let screen = Screen(Arc::new((Mutex::default(), Condvar::new())));
        let Some(mut from) = from else {
            screen.0.0.lock().unwrap().closed = true;
            return screen;
        };
        let theirs = screen.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            loop {
                // A pty whose last process has gone reads as EIO: an end like any other.
                let n = from.read(&mut piece).unwrap_or(0);
                let mut written = theirs.0.0.lock().unwrap();
                written.bytes.extend_from_slice(&piece[..n]);
                written.closed = n == 0;
                theirs.0.1.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        screen
    }

    /// All that was written so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).expect("a screen shows UTF-8")
    }

    fn wait(&self, what: &str, ready: impl Fn(&str, bool) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut written = self.0.0.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&written.bytes).into_owned();
            if ready(&text, written.closed) {
                return text;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if written.closed || left.is_zero() {
                // Not under the lock: the screen is shown once more where a test fails.
                drop(written);
                panic!("waited for {what}; the screen shows:\n{text}");
            }
            written = self.0.1.wait_timeout(written, left).unwrap().0;
        }
    }

    /// Waits until `needle` is shown; returns the whole text.
    pub fn wait_for(&self, needle: &str) -> String {
        self.wait(&format!("{needle:?}"), |text, _| text.contains(needle))
    }

    /// Waits until `needle` is shown `times` times; returns the whole text.
    pub fn wait_for_times(&self, needle: &str, times: usize) -> String {
        self.wait(&format!("{times} times {needle:?}"), |text, _| text.matches(needle).count() >= times)
    }

    /// Waits until there are `count` whole lines; returns the whole text.
    pub fn wait_lines(&self, count: usize) -> String {
        self.wait(&format!("{count} lines"), |text, _| text.matches('\n').count() >= count)
    }

    /// Waits until nobody can write any more; returns the whole text.
    pub fn wait_closed(&self) -> String {
        self.wait("the end", |_, closed| closed)
    }
}

/// Where a process's screens go.
pub enum Screens {
    /// Two pipes.
    Pipes,
    /// One terminal of its own for stdin, stdout and stderr, as its controlling terminal.
    Terminal,
    /// Standard output as given, standard error a pipe.
    Stdout(Stdio),
}

/// A program about to be started, in a directory of its own.
pub struct Launch {
    name: String,
    dir: PathBuf,
    command: Command,
    screens: Screens,
}

impl Launch {
    /// `program` (a file in `dir`) without arguments, in `dir`, untouched by our own environment.
    pub fn new(dir: PathBuf, program: &str) -> Launch {
        let mut command = Command::new(dir.join(program));
        command.current_dir(&dir).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OFFLOAD_") {
                command.env_remove(name);
            }
        }
        Launch { name: program.into(), dir, command, screens: Screens::Pipes }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts it elsewhere than beside its files.
    pub fn current_dir(mut self, dir: &Path) -> Launch {
        self.command.current_dir(dir);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Launch {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.command.env(name, value);
        self
    }

    /// Puts a file into its directory.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Launch {
        std::fs::write(self.dir.join(name), content).unwrap();
        self
    }

    /// Puts a file into its directory that its owner alone may read, as a key must be.
    pub fn secret(self, name: &str, content: &str) -> Launch {
        let launch = self.file(name, content);
        std::fs::set_permissions(launch.dir.join(name), Permissions::from_mode(0o600)).unwrap();
        launch
    }

    pub fn screens(mut self, screens: Screens) -> Launch {
        self.screens = screens;
        self
    }

    /// As the user with this number; for root only.
    pub fn user(mut self, uid: u32) -> Launch {
        self.command.uid(uid);
        self
    }

    pub fn start(mut self) -> Process {
        let terminal = match self.screens {
            Screens::Pipes => {
                self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
                None
            }
            Screens::Stdout(stdout) => {
                self.command.stdout(stdout).stderr(Stdio::piped());
                None
            }
            Screens::Terminal => Some(attach_terminal(&mut self.command)),
        };
        let spawned = self.command.spawn();
        let mut child = spawned.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        // Our copies of the terminal's end must go, or its reader never sees the end.
        drop(self.command);
        let terminal = terminal.map(std::fs::File::from);
        let keyboard = terminal.as_ref().map(|t| t.try_clone().unwrap());
        let out = match terminal {
            Some(terminal) => Screen::pump(Some(terminal)),
            None => Screen::pump(child.stdout.take()),
        };
        let err = Screen::pump(child.stderr.take());
        Process { name: self.name, child, keyboard, out, err }
    }

    /// Starts it and waits for its end.
    pub fn run(self) -> Outcome {
        self.start().outcome()
    }
}

/// Gives the command a new terminal and returns our end of it. Output is passed on as it is (no CR
/// before LF), and what is typed is not echoed, so that the screen is what the program wrote.
fn attach_terminal(command: &mut Command) -> OwnedFd {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap();
    let theirs = std::fs::File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    let mut modes = tcgetattr(&theirs).unwrap();
    modes.output_modes -= OutputModes::OPOST;
    modes.local_modes -= LocalModes::ECHO;
    tcsetattr(&theirs, OptionalActions::Now, &modes).unwrap();
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let take_terminal = || {
        rustix::process::setsid()?;
        // Standard input is the terminal by now.
        // SAFETY: descriptor 0 is open in the child and nobody closes it before exec.
        let stdin = unsafe { std::os::fd::BorrowedFd::borrow_raw(0) };
        Ok(rustix::process::ioctl_tiocsctty(stdin)?)
    };
    // SAFETY: between fork and exec the closure makes two system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(take_terminal) };
    ours
}

/// A started program.
pub struct Process {
    name: String,
    child: Child,
    keyboard: Option<std::fs::File>,
    /// Its standard output; under a terminal, all that is shown.
    pub out: Screen,
    /// Its standard error; under a terminal, nothing.
    pub err: Screen,
}

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Types these bytes at its terminal.
    pub fn type_in(&mut self, bytes: &[u8]) {
        use std::io::Write;
        self.keyboard.as_mut().expect("it has a terminal").write_all(bytes).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(PATIENCE)
    }

    /// Waits for its end, no longer than `limit`.
    pub fn wait_within(&mut self, limit: Duration) -> ExitStatus {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap();
        let limit_spec = Timespec::try_from(limit).unwrap();
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit_spec)).unwrap();
        assert!(ended > 0, "{} did not end within {limit:?}", self.name);
        self.child.wait().unwrap()
    }

    /// Waits for its end and for all it has written.
    pub fn outcome(mut self) -> Outcome {
        let code = self.wait().code();
        Outcome { code, out: self.out.wait_closed(), err: self.err.wait_closed() }
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Ctrl-C, and how it ended, which must be at once.
    pub fn interrupt(mut self) -> Outcome {
        self.signal(Signal::INT);
        let code = self.wait_within(Duration::from_secs(2)).code();
        Outcome { code, out: self.out.wait_closed(), err: self.err.wait_closed() }
    }

    /// The most memory it has had resident so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- {} ---\n{}--- its stderr ---\n{}",
                self.name,
                self.out.text(),
                self.err.text()
            );
        }
    }
}

/// Makes a pipe whose reading end is closed already: a screen that is gone.
pub fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(writer)
}
