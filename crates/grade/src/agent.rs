//! The grader's hand inside the sandbox: starts the programs under terminals and watches them.
//!
//! The lesson: what is to be watched and who watches share one process tree, network and clock, so the
//! watcher answers small questions ([`Request`]) one at a time, a line of JSON each, and decides nothing:
//! no points, no expectations but how many lines are worth waiting for. It opens its packet sockets, then
//! gives all rights away and makes itself unreadable, before anything of the submission runs. A submission
//! may still kill it; then the grader outside sees the answers end, and that is the program's own doing.
//!
//! Left out: namespaces and mounts ([`crate::sandbox`]), and what the screens mean ([`crate::screens`]).

mod capture;
mod sockets;
mod terminal;
mod work;

use crate::limits;
use crate::model::{Boot, Build, Exit, Flow, Process};
use capture::Capture;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use terminal::Terminal;

/// In the environment of every program, so that whoever looks at the system sees whose it is.
pub const MARK: &str = "OFFLOAD_GRADE_MARK";

/// How often what cannot be waited for is looked at.
const TICK: Duration = Duration::from_millis(5);
/// How often the memory of all processes is added up.
const WEIGHING: Duration = Duration::from_millis(20);
/// A screen on which nothing has moved for so long has nothing more to say.
const QUIET: Duration = Duration::from_millis(250);
/// How long lines that are due may stay away.
const LATE: Duration = Duration::from_secs(2);
/// After so many times they are not expected any more.
const IN_VAIN: usize = 3;
/// How much longer a server may take to come up whose target compiles it first.
const COMPILING: Duration = Duration::from_secs(20);
/// How often what has been started is looked for anew while it is ended.
const KILLS: usize = 50;
/// A screen that has all lines that were waited for is done after this.
const SETTLED: Duration = Duration::from_millis(15);

/// Where the agent finds what it works with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The submission, only to be read.
    pub submission: PathBuf,
    /// The folder that it is copied to, built and run in.
    pub work: PathBuf,
    /// A folder for the empty libraries.
    pub stand_ins: PathBuf,
    /// Alone in a process namespace: everything else may be killed.
    pub alone: bool,
    /// The user that programs are run as, where the agent is root and not alone.
    pub demote: Option<u32>,
    /// What [`MARK`] says: the grader's temporary folder.
    pub mark: String,
}

/// What the grader asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Copies the submission anew and runs `make all`.
    Build {
        /// For how long.
        patience_ms: u64,
    },
    /// Starts those servers that do not run.
    Boot {
        /// For how long to wait for each.
        patience_ms: u64,
    },
    /// Runs the client once.
    Round {
        /// What `nums.csv` is to hold; without it there is none.
        nums: Option<String>,
        /// The client's arguments.
        arguments: Vec<String>,
        /// How many lines each server prints in a job: when all are there, the round is over.
        lines: BTreeMap<Process, usize>,
        /// For how long the client may run.
        patience_ms: u64,
    },
    /// Ends all processes.
    Stop,
}

/// What the agent answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Build`].
    Built(Build),
    /// To [`Request::Boot`].
    Booted(Boot),
    /// To [`Request::Round`].
    Ran {
        /// What each terminal showed.
        screens: BTreeMap<Process, String>,
        /// How each process stood at the end.
        exits: BTreeMap<Process, Exit>,
        /// What went over the wire.
        flows: Option<Vec<Flow>>,
        /// How long it took.
        ms: u64,
    },
    /// To [`Request::Stop`].
    Stopped,
    /// The agent itself could not do it; the sentence says why.
    Failed(String),
}

/// Serves requests from `input` until it ends. Nothing else may be written to `output`.
///
/// # Errors
/// When the grader is gone or the agent cannot shut itself in.
pub fn serve(settings: Settings, input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let capture = Capture::start(settings.alone);
    shut_in(settings.alone)?;
    let mut agent = Agent {
        settings,
        capture,
        terminals: BTreeMap::new(),
        weighed: Instant::now(),
        own: RefCell::default(),
        in_vain: 0,
    };
    for line in input.lines() {
        let reply = match serde_json::from_str(&line?) {
            Ok(request) => agent.answer(request).unwrap_or_else(|e| Reply::Failed(e.to_string())),
            Err(e) => Reply::Failed(e.to_string()),
        };
        let mut text = serde_json::to_string(&reply)?;
        text.push('\n');
        output.write_all(text.as_bytes())?;
        output.flush()?;
    }
    agent.stop();
    Ok(())
}

/// Gives all rights away, for itself and its children, and lets nobody look into its memory and files.
fn shut_in(alone: bool) -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    let bounds = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_CPU, limits::CPU_SECONDS),
        (Resource::RLIMIT_FSIZE, limits::WRITTEN_FILE_BYTES),
        (Resource::RLIMIT_NOFILE, limits::OPEN_FILES),
        (Resource::RLIMIT_NPROC, limits::PROCESSES),
        (Resource::RLIMIT_AS, limits::ADDRESS_SPACE_BYTES),
    ];
    for (resource, bound) in bounds {
        setrlimit(resource, bound, bound)?;
    }
    nix::sys::prctl::set_no_new_privs()?;
    nix::sys::prctl::set_dumpable(false)?;
    // Whoever loses its parent becomes the agent's child, and is found.
    nix::sys::prctl::set_child_subreaper(true)?;
    use caps::CapSet::{Ambient, Effective, Inheritable, Permitted};
    // Where it is not alone, the agent may have to become another user for each program.
    let sets: &[caps::CapSet] =
        if alone { &[Ambient, Inheritable, Effective, Permitted] } else { &[Ambient, Inheritable] };
    for set in sets {
        caps::clear(None, *set).map_err(io::Error::other)?;
    }
    Ok(())
}

struct Agent {
    settings: Settings,
    capture: Option<Capture>,
    terminals: BTreeMap<Process, Terminal>,
    /// When memory was last looked at.
    weighed: Instant,
    /// The processes of terminals, which wait for them themselves.
    own: RefCell<BTreeSet<Pid>>,
    /// How often it was waited in vain for lines that did not come.
    in_vain: usize,
}

impl Agent {
    fn answer(&mut self, request: Request) -> io::Result<Reply> {
        Ok(match request {
            Request::Build { patience_ms } => Reply::Built(self.build(ms(patience_ms))?),
            Request::Boot { patience_ms } => Reply::Booted(self.boot(ms(patience_ms))?),
            Request::Round { nums, arguments, lines, patience_ms } => {
                self.round(nums, &arguments, &lines, ms(patience_ms))?
            }
            Request::Stop => {
                self.stop();
                Reply::Stopped
            }
        })
    }

    fn build(&mut self, patience: Duration) -> io::Result<Build> {
        self.stop();
        work::copy(&self.settings.submission, &self.settings.work)?;
        let stand_ins = work::stand_ins(&self.settings.work, &self.settings.stand_ins)?;
        if let Some(uid) = self.settings.demote {
            work::give(&self.settings.work, uid)?;
        }
        let command = "make all";
        let mut terminal = self.start("make", &["all"])?;
        let until = Instant::now() + patience;
        while self.still(&mut terminal, until) {
            terminal.wait(TICK);
        }
        let exit = terminal.exit();
        let output = terminal.take();
        // What a build leaves running is not part of it.
        terminal.kill();
        self.stop();
        let there = |process: &&Process| self.settings.work.join(process.name()).is_file();
        let programs = Process::ALL.iter().filter(there).copied().collect();
        Ok(Build { command: command.to_owned(), output, exit, programs, stand_ins })
    }

    /// Whether a process still runs within its bounds; one that does not is ended.
    fn still(&mut self, terminal: &mut Terminal, until: Instant) -> bool {
        self.hold_bounds();
        if terminal.is_flooded() {
            terminal.end(Exit::TooMuchOutput);
        } else if Instant::now() >= until {
            terminal.end(Exit::TimedOut);
        }
        terminal.exit() == Exit::Running
    }

    fn start(&self, program: &str, arguments: &[&str]) -> io::Result<Terminal> {
        let environment = work::environment(&self.settings);
        let (work, demote) = (&self.settings.work, self.settings.demote);
        let terminal = Terminal::start(program, arguments, work, &environment, demote)?;
        self.own.borrow_mut().insert(terminal.pid());
        Ok(terminal)
    }

    fn boot(&mut self, patience: Duration) -> io::Result<Boot> {
        let mut boot = Boot {
            screens: BTreeMap::new(),
            exits: BTreeMap::new(),
            by_hand: Vec::new(),
            bound: Vec::new(),
        };
        for process in Process::SERVERS {
            if self.terminals.get_mut(&process).is_some_and(|t| t.exit() == Exit::Running) {
                continue;
            }
            let mut terminal = self.start("make", &[process.name()])?;
            self.await_boot(&mut terminal, patience);
            let mut screen = terminal.take();
            if makes_nothing(&screen) && self.settings.work.join(process.name()).is_file() {
                terminal.kill();
                terminal = self.start(&format!("./{}", process.name()), &[])?;
                self.await_boot(&mut terminal, patience);
                screen = terminal.take();
                boot.by_hand.push(process);
            }
            boot.screens.insert(process, screen);
            self.terminals.insert(process, terminal);
        }
        for (process, terminal) in &mut self.terminals {
            boot.exits.insert(*process, terminal.exit());
        }
        if !boot.screens.is_empty() {
            boot.bound = sockets::bound();
        }
        Ok(boot)
    }

    /// Waits until a server has a new port and has said something, or has ended, or its time is up. What make
    /// and compilers say is nothing of the server's.
    fn await_boot(&self, terminal: &mut Terminal, patience: Duration) {
        let before = sockets::bound().len();
        let mut until = Instant::now() + patience;
        let last = until + COMPILING;
        while Instant::now() < until && terminal.exit() == Exit::Running {
            let enough = if terminal.lines() > 0 { SETTLED } else { QUIET };
            if terminal.idle() >= enough && sockets::bound().len() > before {
                return;
            }
            terminal.wait(TICK);
            if Instant::now() >= until && work::compiles(&work::descendants(Pid::this())) {
                until = last.min(Instant::now() + patience);
            }
        }
        // What an ended process has written may still be on its way.
        terminal.drain();
    }

    fn round(
        &mut self,
        nums: Option<String>,
        arguments: &[String],
        lines: &BTreeMap<Process, usize>,
        patience: Duration,
    ) -> io::Result<Reply> {
        self.write_nums(nums)?;
        for terminal in self.terminals.values_mut() {
            terminal.take();
        }
        if let Some(capture) = &self.capture {
            capture.take();
        }
        let began = Instant::now();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut client = match self.start("./client", &arguments) {
            Ok(client) => client,
            Err(e) => return Ok(no_client(&e)),
        };
        let all_said = lines.get(&Process::Client).copied().unwrap_or(usize::MAX);
        let mut waits = false;
        while self.still(&mut client, began + patience) {
            client.wait(TICK);
            if client.lines() >= all_said && client.idle() >= QUIET && self.idle() >= QUIET {
                // It has its answer and waits to be ended, which the assignment allows.
                client.end(Exit::TimedOut);
                waits = true;
            }
        }
        client.drain();
        self.await_servers(&client, lines, began + patience + LATE);
        let ms = began.elapsed().as_millis() as u64;
        let (mut screens, mut exits) = (BTreeMap::new(), BTreeMap::new());
        exits.insert(Process::Client, if waits { Exit::Running } else { client.exit() });
        screens.insert(Process::Client, client.take());
        client.kill();
        for (process, terminal) in &mut self.terminals {
            exits.insert(*process, terminal.exit());
            screens.insert(*process, terminal.take());
        }
        let flows = self.capture.as_ref().map(Capture::take);
        Ok(Reply::Ran { screens, exits, flows, ms })
    }

    /// The assignment has `nums.csv` beside the client. What lies there may be anything.
    fn write_nums(&self, nums: Option<String>) -> io::Result<()> {
        let path = self.settings.work.join("nums.csv");
        let removed = match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(_) => Ok(()),
        };
        removed?;
        match nums {
            Some(nums) => std::fs::write(&path, nums),
            None => Ok(()),
        }
    }

    /// Ends servers that print too much, and everything where memory is short.
    fn hold_bounds(&mut self) {
        if self.weighed.elapsed() >= WEIGHING {
            self.weighed = Instant::now();
            if work::resident_bytes(&work::descendants(Pid::this())) > limits::MEMORY_BYTES {
                self.kill_all();
            }
            self.reap();
        }
        for terminal in self.terminals.values_mut() {
            if terminal.is_flooded() {
                terminal.end(Exit::TooMuchOutput);
            }
        }
    }

    /// How long no server has said anything.
    fn idle(&self) -> Duration {
        self.terminals.values().map(Terminal::idle).min().unwrap_or(LATE)
    }

    /// Waits until the servers have said what there is to say, or nothing more comes.
    fn await_servers(&mut self, client: &Terminal, lines: &BTreeMap<Process, usize>, until: Instant) {
        loop {
            self.hold_bounds();
            let idle = self.idle().min(client.idle());
            let complete =
                self.terminals.iter().all(|(p, t)| t.lines() >= lines.get(p).copied().unwrap_or(0));
            let all_dead = self.terminals.values_mut().all(|t| t.exit() != Exit::Running);
            let enough = match complete || all_dead {
                true => SETTLED,
                // Some sleep before they speak; some never do, and are not waited for again and again.
                false if self.in_vain < IN_VAIN => LATE,
                false => QUIET,
            };
            if idle >= enough || Instant::now() >= until {
                self.in_vain += usize::from(enough == LATE);
                break;
            }
            client.wait(TICK);
        }
        for terminal in self.terminals.values_mut() {
            if terminal.exit() != Exit::Running {
                terminal.drain();
            }
        }
    }

    fn stop(&mut self) {
        for terminal in self.terminals.values_mut() {
            terminal.kill();
        }
        self.terminals.clear();
        self.kill_all();
    }

    /// Ends everything that the submission has started, whatever it calls itself now.
    fn kill_all(&self) {
        if self.settings.alone {
            // In its own process namespace the agent may signal all others, and nobody else's.
            let _none_left = kill(Pid::from_raw(-1), Signal::SIGKILL);
        } else {
            for _ in 0..KILLS {
                let left = work::descendants(Pid::this());
                if left.is_empty() {
                    break;
                }
                for pid in left {
                    let _gone = kill(pid, Signal::SIGKILL);
                }
                self.reap();
            }
        }
        self.reap();
    }

    /// Takes note of the end of processes whose own parents are gone: they count as long as nobody does.
    fn reap(&self) {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, flags) {
            let Some(pid) = status.pid() else { return };
            // The terminals' own processes are theirs.
            if self.own.borrow().contains(&pid) || waitpid(pid, None).is_err() {
                return;
            }
        }
    }
}

/// What a shell would say of a program that it cannot start.
fn no_client(why: &io::Error) -> Reply {
    const NOT_FOUND: i32 = 127;
    let screens = BTreeMap::from([(Process::Client, format!("./client: {why}\n"))]);
    let exits = BTreeMap::from([(Process::Client, Exit::Status(NOT_FOUND))]);
    Reply::Ran { screens, exits, flows: None, ms: 0 }
}

/// Whether make says that there is nothing for it to do.
fn makes_nothing(screen: &str) -> bool {
    ["up to date", "No rule to make target", "Nothing to be done", "No targets", "no makefile found"]
        .iter()
        .any(|phrase| screen.contains(phrase))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Where the agent works inside of a sandbox.
pub fn inside(mark: String) -> Settings {
    let path = |path: &str| Path::new(path).to_owned();
    Settings {
        submission: path("/submission"),
        work: path("/work"),
        stand_ins: path("/tmp/stand-ins"),
        alone: true,
        demote: None,
        mark,
    }
}
