//! A process under a terminal of its own, and what it shows there.
//!
//! A terminal and no pipe: on a pipe the C library keeps lines back until a program ends, and programs that
//! are ended by a signal have then shown nothing.

use crate::limits::SCREEN_BYTES;
use crate::model::Exit;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long what an ended process has written may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Wide enough that no line of the assignment is folded.
const SIZE: PtySize = PtySize { rows: 50, cols: 400, pixel_width: 0, pixel_height: 0 };

pub struct Terminal {
    pid: Pid,
    exit: Exit,
    shown: Arc<(Mutex<Shown>, Condvar)>,
    _master: Box<dyn MasterPty + Send>,
    _child: Box<dyn Child + Send + Sync>,
}

struct Shown {
    bytes: Vec<u8>,
    lines: usize,
    total: usize,
    moved: Instant,
    closed: bool,
}

impl Terminal {
    /// Starts `program` in `directory`, as the user `demote` where one is given.
    pub fn start(
        program: &str,
        arguments: &[&str],
        directory: &Path,
        environment: &[(String, String)],
        demote: Option<u32>,
    ) -> io::Result<Terminal> {
        let mut command = match demote {
            None => CommandBuilder::new(program),
            Some(uid) => {
                let mut command = CommandBuilder::new("setpriv");
                let uid = uid.to_string();
                command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--", program]);
                command
            }
        };
        command.args(arguments);
        command.cwd(directory);
        command.env_clear();
        for (name, value) in environment {
            command.env(name, value);
        }
        let pair = native_pty_system().openpty(SIZE).map_err(io::Error::other)?;
        let child = pair.slave.spawn_command(command).map_err(io::Error::other)?;
        let reader = pair.master.try_clone_reader().map_err(io::Error::other)?;
        let pid = child.process_id().ok_or_else(|| io::Error::other("a process without an ID"))?;
        let shown =
            Shown { bytes: Vec::new(), lines: 0, total: 0, moved: Instant::now(), closed: false };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let screen = Arc::clone(&shown);
        thread::spawn(move || watch(reader, &screen));
        let pid = Pid::from_raw(pid as i32);
        Ok(Terminal { pid, exit: Exit::Running, shown, _master: pair.master, _child: child })
    }

    /// The process that was started.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something new on the screen, at most `patience`.
    pub fn wait(&self, patience: Duration) {
        let guard = self.shown();
        if guard.closed {
            drop(guard);
            // Nothing more will move: the process is what is waited for.
            thread::park_timeout(patience);
            return;
        }
        drop(self.shown.1.wait_timeout(guard, patience));
    }

    /// How long nothing has moved.
    pub fn idle(&self) -> Duration {
        self.shown().moved.elapsed()
    }

    /// Lines since the last [`Terminal::take`].
    pub fn lines(&self) -> usize {
        self.shown().lines
    }

    /// Whether more has been printed since the last [`Terminal::take`] than anybody needs.
    pub fn is_flooded(&self) -> bool {
        self.shown().total > SCREEN_BYTES
    }

    /// What has been shown since the last call.
    pub fn take(&mut self) -> String {
        let mut shown = self.shown();
        (shown.lines, shown.total) = (0, 0);
        let bytes = std::mem::take(&mut shown.bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for the last words of a process that has ended.
    pub fn drain(&self) {
        let until = Instant::now() + LAST_WORDS;
        let mut shown = self.shown();
        // A child that lives on keeps the screen open: then silence must do.
        while !shown.closed && Instant::now() < until && shown.moved.elapsed() < LAST_WORDS / 4 {
            let left = until.saturating_duration_since(Instant::now()).min(LAST_WORDS / 8);
            shown = match self.shown.1.wait_timeout(shown, left) {
                Ok((shown, _)) => shown,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// How the process stands now.
    pub fn exit(&mut self) -> Exit {
        if self.exit == Exit::Running {
            self.exit = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => Exit::Status(status),
                Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signal(signal as i32),
                Ok(_) => Exit::Running,
                Err(_) => Exit::Signal(Signal::SIGKILL as i32),
            };
        }
        self.exit
    }

    /// Ends the process for a reason.
    pub fn end(&mut self, reason: Exit) {
        if self.exit() == Exit::Running {
            self.kill();
            self.exit = reason;
        }
    }

    /// Ends the process and those of its group.
    pub fn kill(&mut self) {
        let running = self.exit() == Exit::Running;
        let _gone = killpg(self.pid, Signal::SIGKILL);
        if running {
            // SIGKILL cannot be refused.
            let _ = waitpid(self.pid, None);
            self.exit = Exit::Signal(Signal::SIGKILL as i32);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads the screen until nobody can write to it any more.
fn watch(mut reader: Box<dyn Read + Send>, shown: &(Mutex<Shown>, Condvar)) {
    let mut buffer = [0; 8192];
    loop {
        let read = reader.read(&mut buffer);
        let mut screen = shown.0.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            // A terminal whose last user is gone gives an error, not an end.
            Ok(0) | Err(_) => {
                screen.closed = true;
                shown.1.notify_all();
                return;
            }
            Ok(n) => {
                let room = SCREEN_BYTES.saturating_sub(screen.bytes.len()).min(n);
                screen.bytes.extend_from_slice(&buffer[..room]);
                screen.lines += buffer[..n].iter().filter(|b| **b == b'\n').count();
                screen.total += n;
                screen.moved = Instant::now();
                shown.1.notify_all();
            }
        }
    }
}
