//! A run from outside: its processes as the system knows them, killed by number.

use crate::plan::After;
use offload_parity::id::Member;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing takes so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// One of so many kills is the supervisor's.
const SUPERVISOR: u64 = 25;

pub struct Running {
    child: Child,
    /// What it says on standard error; the end of that is its own.
    lines: Receiver<String>,
    said: String,
    report: JoinHandle<String>,
    killed: Vec<(Option<Member>, bool)>,
    unrecovered: BTreeSet<String>,
    most_descriptors: usize,
}

/// What has come of it.
pub struct Ended {
    pub succeeded: bool,
    /// On standard error.
    pub said: String,
    /// On standard output.
    pub report: String,
    /// Who, and whether another was not back then.
    pub killed: Vec<(Option<Member>, bool)>,
    /// Who was killed, and has not said that it was rebuilt since.
    pub unrecovered: BTreeSet<String>,
    /// Of one of its processes.
    pub most_descriptors: usize,
}

impl Running {
    pub fn start(arguments: &[String]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_offload"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (output, error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (says, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(error).lines().map_while(Result::ok).for_each(|line| drop(says.send(line)));
        });
        let report = std::thread::spawn(move || {
            let mut text = String::new();
            BufReader::new(output).read_to_string(&mut text).unwrap();
            text
        });
        let (killed, unrecovered) = (Vec::new(), BTreeSet::new());
        Running { child, lines, said: String::new(), report, killed, unrecovered, most_descriptors: 0 }
    }

    /// Until the moment has come for a kill; false where the run is over before.
    pub fn wait(&mut self, after: After, pause: Duration) -> bool {
        let mut words = match after {
            After::Kill => &[][..],
            After::Death => &[" has died"],
            After::Recovery => &[" is rebuilt", " goes back"],
        };
        // A recovery from before the first checkpoint is not told.
        let patience = if words.is_empty() { pause } else { Duration::from_millis(100) };
        let mut until = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if words.iter().any(|word| line.contains(word)) {
                        (words, until) = (&[], Instant::now() + pause);
                    }
                    self.hear(&line);
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Until it says so; false where it does not.
    pub fn wait_for(&mut self, words: &str) -> bool {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.hear(&line);
            if line.contains(words) {
                return true;
            }
        }
        false
    }

    /// The supervisor's process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn hear(&mut self, line: &str) {
        if let Some((before, _)) = line.split_once(" is rebuilt") {
            self.unrecovered.retain(|name| !before.ends_with(name));
        }
        self.said += line;
        self.said.push('\n');
    }

    /// Kills one of those who live; nobody any more once the supervisor is dead.
    pub fn kill(&mut self, chance: u64) -> Result<(), String> {
        if self.killed.iter().any(|(member, _)| member.is_none()) {
            return Ok(());
        }
        if chance.is_multiple_of(SUPERVISOR) {
            self.child.kill().map_err(|e| e.to_string())?;
            self.killed.push((None, !self.unrecovered.is_empty()));
            return Ok(());
        }
        let members = members(self.child.id());
        for (_, pid) in &members {
            self.look_at(*pid)?;
        }
        let Some((member, pid)) = members.get((chance / SUPERVISOR) as usize % members.len().max(1))
        else {
            return Ok(());
        };
        let Some(process) = Pid::from_raw(*pid as i32) else { return Ok(()) };
        // Held, its number is nobody else's; it may have been until now.
        let Ok(held) = pidfd_open(process, PidfdFlags::empty()) else { return Ok(()) };
        if orders(*pid, self.child.id()).is_some_and(|(still, _)| still == *member)
            && pidfd_send_signal(&held, Signal::KILL).is_ok()
        {
            let others = self.unrecovered.iter().any(|name| *name != member.to_string());
            self.killed.push((Some(*member), others));
            self.unrecovered.insert(member.to_string());
        }
        Ok(())
    }

    /// Links that are lost must not stay, and nothing may be mapped that outlives a process.
    fn look_at(&mut self, pid: u32) -> Result<(), String> {
        // Who has died meanwhile has none.
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.most_descriptors = self.most_descriptors.max(descriptors);
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let is_shared = |line: &&str| line.split_whitespace().nth(1).is_some_and(|it| it.ends_with('s'));
        maps.lines().find(is_shared).map_or(Ok(()), |line| Err(format!("shared memory: {line}")))
    }

    /// Waits for the end, and sees that nothing is left.
    pub fn end(mut self) -> Result<Ended, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.hear(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    // Its members go with it, or are found below.
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err(format!("it does not end: {}", self.said));
                }
            }
        }
        let status = self.child.wait().map_err(|e| e.to_string())?;
        let report = self.report.join().map_err(|_| "its standard output was not read")?;
        let deadline = Instant::now() + PATIENCE;
        while !members(self.child.id()).is_empty() {
            if Instant::now() > deadline {
                return Err(format!("processes are left: {:?}", members(self.child.id())));
            }
            std::thread::yield_now();
        }
        Ok(Ended {
            succeeded: status.success(),
            said: self.said,
            report,
            killed: self.killed,
            unrecovered: self.unrecovered,
            most_descriptors: self.most_descriptors,
        })
    }
}

/// The members of a supervisor's run, wherever they are now, by who they are.
pub fn members(supervisor: u32) -> Vec<(Member, u32)> {
    let names =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids = names.filter_map(|name| name.parse().ok());
    let mut members: Vec<(Member, u32)> = pids.filter_map(|pid| orders(pid, supervisor)).collect();
    members.sort_unstable();
    members
}

/// Who a process is in this supervisor's run.
fn orders(pid: u32, supervisor: u32) -> Option<(Member, u32)> {
    // A zombie has no arguments.
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let orders = arguments.split(|byte| *byte == 0).rfind(|word| word.first() == Some(&b'{'))?;
    let orders: serde_json::Value = serde_json::from_slice(orders).ok()?;
    let run = orders["run"].as_u64()?;
    (run == u64::from(supervisor)).then_some((serde_json::from_value(orders["me"].clone()).ok()?, pid))
}

/// What outlives processes.
pub fn shared_memory() -> Vec<String> {
    let files = fs::read_dir("/dev/shm").into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> =
        files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
