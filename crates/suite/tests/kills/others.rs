//! What else goes wrong with a process: it hangs, its memory changes, there is no memory, or no room for its words.

use crate::plan::After;
use crate::processes::{Ended, Running, members};
use offload_parity::id::{Holder, Member, Worker};
use offload_parity::task::Kind;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const SIZE: usize = 800;

/// A second or more of work for three workers.
fn start(more: &[&str]) -> Running {
    let size = SIZE.to_string();
    let words = ["parity", "run", "apsp", "--size", &size, "--workers", "3", "--interval", "0.05"];
    let words = [&words[..], &["--json", "--no-check"], more].concat();
    Running::start(&words.into_iter().map(str::to_owned).collect::<Vec<_>>())
}

fn end(running: Running) -> Ended {
    let ended = running.end().unwrap();
    assert!(ended.succeeded, "{}", ended.said);
    let report: serde_json::Value = serde_json::from_str(&ended.report).unwrap();
    for (worker, expected) in (Kind::Apsp { vertices: SIZE }).alone(3).into_iter().enumerate() {
        assert_eq!(report["said"][format!("worker {worker}")][0], expected);
    }
    ended
}

fn pid_of(running: &Running, member: Member) -> Pid {
    let all = members(running.id());
    let found = all.into_iter().find(|(name, _)| *name == member).unwrap();
    Pid::from_raw(found.1 as i32).unwrap()
}

#[test]
fn one_that_hangs_is_replaced_and_wakes_up_to_nothing() {
    for member in [Member::Worker(Worker(1)), Member::Holder(Holder(0))] {
        let mut running = start(&["--silence", "0.5"]);
        assert!(running.wait(After::Kill, Duration::from_millis(150)));
        let stopped = pid_of(&running, member);
        kill_process(stopped, Signal::STOP).unwrap();
        assert!(
            running.wait_for(&format!("{member} has died (it said nothing for 500ms, and was killed)"))
        );
        // To wake it up is too late: who has its number now, if anybody, is nobody of this run.
        assert!(members(running.id()).iter().all(|(_, pid)| *pid as i32 != stopped.as_raw_pid()));
        end(running);
    }
}

#[test]
fn one_that_hangs_for_a_little_goes_on() {
    let mut running = start(&["--silence", "5"]);
    assert!(running.wait(After::Kill, Duration::from_millis(150)));
    let stopped = pid_of(&running, Member::Worker(Worker(1)));
    kill_process(stopped, Signal::STOP).unwrap();
    assert!(running.wait(After::Kill, Duration::from_millis(300)));
    kill_process(stopped, Signal::CONT).unwrap();
    let ended = end(running);
    assert!(!ended.said.contains("has died"), "{}", ended.said);
}

/// A bit flips in the middle of the parity, as by a cosmic ray.
#[test]
fn parity_that_has_changed_in_memory_is_not_believed() {
    let mut running = start(&[]);
    assert!(running.wait(After::Kill, Duration::from_millis(150)));
    let holder = pid_of(&running, Member::Holder(Holder(0))).as_raw_pid();
    // The largest piece of its memory ends with the parity, of some MiB; a thread's stack may come before.
    let maps = fs::read_to_string(format!("/proc/{holder}/maps")).unwrap();
    let range = |line: &str| {
        let (from, to) = line.strip_suffix(" rw-p 00000000 00:00 0 ")?.split_once('-')?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    };
    let (_, to) = maps.lines().filter_map(range).max_by_key(|(from, to)| to - from).unwrap();
    // Whoever may kill a process may write its memory, on most systems.
    let memory = File::options().read(true).write(true).open(format!("/proc/{holder}/mem")).unwrap();
    let (mut byte, place) = ([0], to - (1 << 20));
    memory.read_exact_at(&mut byte, place).unwrap();
    memory.write_all_at(&[byte[0] ^ 4], place).unwrap();
    kill_process(pid_of(&running, Member::Worker(Worker(2))), Signal::KILL).unwrap();
    let ended = end(running);
    assert!(ended.said.contains("the parity of holder 0 has changed in memory"), "{}", ended.said);
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn too_little_memory_is_named_before_the_start_and_later() {
    let offload = env!("CARGO_BIN_EXE_offload");
    let huge = ["parity", "run", "mergesort", "--size", "8000000000", "--workers", "64"];
    let output = Command::new(offload).args(huge).output().unwrap();
    let why = said(&output);
    assert!(!output.status.success(), "{why}");
    assert!(
        why.contains("not enough memory: 64 workers need ") && why.contains("MiB are all that"),
        "{why}"
    );
    // The state fits into what a process may have, and its image does not.
    let limited = "ulimit -v 700000; exec \"$0\" parity run matmul --size 6000 --workers 4 --no-check";
    let output = Command::new("sh").args(["-c", limited, offload]).output().unwrap();
    let why = said(&output);
    assert!(!output.status.success() && why.contains("no memory for "), "{why}");
}

#[test]
fn a_full_disk_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_offload"))
        .args(["parity", "run", "apsp", "--json"])
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!output.status.success() && said(&output).contains("No space left"), "{}", said(&output));
}
