//! The runs of one submission in its sandbox: in which order, on which servers, and when it is enough.

use super::Options;
use crate::agent::{Reply, Request};
use crate::cases;
use crate::limits::{BOOT_PATIENCE, BUDGET, BUILD_PATIENCE, DEATHS, HANGS};
use crate::model::{Boot, Build, Case, Exit, Function, Probe, Process, Round};
use crate::sandbox::{Error as SandboxError, Ground, Sandbox};
use crate::screens;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// A submission in its sandbox.
pub(super) struct Exam<'a> {
    ground: &'a Ground,
    root: &'a Path,
    options: &'a Options,
    pub(super) tell: &'a dyn Fn(&str),
    sandbox: Option<Sandbox>,
    pub(super) until: Instant,
    /// How often the sandbox has died.
    deaths: usize,
    /// Whether the servers have served before.
    used: bool,
    /// Whether they serve a second client, once that is known.
    pub(super) serves_again: Option<bool>,
    pub(super) build: Option<Build>,
    pub(super) boots: Vec<Boot>,
    /// How many of them came before anything beyond the assignment.
    pub(super) graded_boots: usize,
    pub(super) rounds: Vec<Round>,
    pub(super) not_run: Vec<String>,
    pub(super) probes: Vec<Probe>,
}

impl<'a> Exam<'a> {
    pub(super) fn new(
        ground: &'a Ground,
        root: &'a Path,
        options: &'a Options,
        tell: &'a dyn Fn(&str),
        until: Instant,
    ) -> Exam<'a> {
        Exam {
            ground,
            root,
            options,
            tell,
            sandbox: None,
            until,
            deaths: 0,
            used: false,
            serves_again: None,
            build: None,
            boots: Vec::new(),
            graded_boots: 0,
            rounds: Vec::new(),
            not_run: Vec::new(),
            probes: Vec::new(),
        }
    }

    /// Builds it, runs everything, and tries what is beyond.
    pub(super) fn run(&mut self, cases: &[Case]) -> Result<(), SandboxError> {
        (self.tell)("building");
        if !self.build()? {
            return Ok(());
        }
        self.repeat(cases)?;
        self.graded_boots = self.boots.len();
        if self.options.only.is_none() && self.rounds.iter().any(answered) {
            self.probe(cases)?;
        }
        Ok(())
    }

    /// Makes the programs in a new sandbox; whether there is something to run.
    fn build(&mut self) -> Result<bool, SandboxError> {
        self.used = false;
        self.sandbox = None;
        let mut sandbox = self.ground.enter(self.root)?;
        let request = Request::Build { patience_ms: BUILD_PATIENCE.as_millis() as u64 };
        let build = match sandbox.ask(&request, BUILD_PATIENCE) {
            Ok(Reply::Built(build)) => build,
            Ok(other) => return Err(unexpected(&other)),
            // Whatever it was, it has killed its own grader.
            Err(SandboxError::Dead(why)) => {
                self.deaths += 1;
                lost_build(&why)
            }
            Err(SandboxError::Silent) => lost_build("no answer in time"),
            Err(other) => return Err(other),
        };
        let runs = build.exit == Exit::Status(0) || build.programs.contains(&Process::Client);
        if self.build.is_none() {
            self.build = Some(build);
        }
        self.sandbox = Some(sandbox);
        Ok(runs)
    }

    /// Everything once, then everything again.
    fn repeat(&mut self, cases: &[Case]) -> Result<(), SandboxError> {
        let functions: Vec<Function> = match &self.options.only {
            Some((_, function)) => vec![*function],
            None => Function::ALL.into(),
        };
        let mut hangs_in_a_row = 0;
        for repeat in 0..self.options.repeats {
            for case in cases {
                for function in &functions {
                    let label = format!("{}/{}", case.name, function.argument());
                    if let Some(why) = self.pointless(hangs_in_a_row, case, *function) {
                        if repeat == 0 {
                            self.not_run.push(format!("{label}: {why}"));
                        }
                        continue;
                    }
                    let total = self.options.repeats;
                    (self.tell)(&format!("{label}, run {} of {total}", repeat + 1));
                    let round = self.fair_round(case, *function, repeat)?;
                    hangs_in_a_row = if hung(&round) { hangs_in_a_row + 1 } else { 0 };
                    self.rounds.push(round);
                }
            }
        }
        Ok(())
    }

    /// Why a run would tell nothing that is worth its time.
    fn pointless(&self, hangs_in_a_row: usize, case: &Case, function: Function) -> Option<String> {
        if self.deaths >= DEATHS {
            return Some("the programs have killed their sandbox too often".to_owned());
        }
        if Instant::now() >= self.until {
            return Some(format!("the {} s for one submission were over", BUDGET.as_secs()));
        }
        if hangs_in_a_row >= HANGS {
            return Some(format!("the client hung {HANGS} times in a row"));
        }
        let dead_boots = self.boots.iter().filter(|boot| boot.bound.is_empty()).count();
        if dead_boots >= 2 && dead_boots == self.boots.len() {
            return Some("no server ever came up".to_owned());
        }
        let same = |round: &&Round| round.case == case.name && round.function == function;
        let earlier: Vec<&Round> = self.rounds.iter().filter(same).collect();
        (earlier.len() >= 2 && earlier.iter().all(|round| hung(round)))
            .then(|| "it has hung twice".to_owned())
    }

    /// One run. The first on servers that have served before tells whether they do it again; where they do
    /// not, every run has fresh ones.
    fn fair_round(
        &mut self,
        case: &Case,
        function: Function,
        repeat: usize,
    ) -> Result<Round, SandboxError> {
        if self.serves_again == Some(false) {
            self.stop()?;
        }
        let second = self.used;
        let arguments = [function.argument()];
        let mut round = self.round(case, function, repeat, Some(case.text.clone()), &arguments)?;
        if second && self.serves_again.is_none() {
            self.serves_again = Some(answered(&round));
            if !answered(&round) {
                self.stop()?;
                round = self.round(case, function, repeat, Some(case.text.clone()), &arguments)?;
                // Fresh ones fail too: then this run says nothing of second clients.
                self.serves_again = answered(&round).then_some(false);
            }
        }
        if !answered(&round) {
            self.stop()?;
        }
        Ok(round)
    }

    /// Starts what does not run, then runs the client.
    pub(super) fn round(
        &mut self,
        case: &Case,
        function: Function,
        repeat: usize,
        nums: Option<String>,
        arguments: &[&str],
    ) -> Result<Round, SandboxError> {
        let mut round = Round {
            case: case.name.clone(),
            class: case.class,
            function,
            repeat,
            screens: BTreeMap::new(),
            exits: BTreeMap::from([(Process::Client, Exit::Signal(nix::libc::SIGKILL))]),
            flows: None,
            ms: 0,
        };
        if self.deaths >= DEATHS || (self.sandbox.is_none() && !self.build()?) {
            return Ok(round);
        }
        if self.boot()? && !self.beyond() {
            // A TA would wait a minute for the port; a new sandbox has a network that knows of no earlier run.
            self.build()?;
            self.boot()?;
        }
        let patience = self.options.patience;
        let answer = cases::answer(function, &case.numbers);
        let lines = |process| (process, screens::job(process, function, &answer, None).len());
        // Nothing is to be waited for where there is no job.
        let is_job = nums.is_some() && arguments == [function.argument()];
        let request = Request::Round {
            nums,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            lines: if is_job { Process::ALL.map(lines).into() } else { BTreeMap::new() },
            patience_ms: patience.as_millis() as u64,
        };
        self.used = true;
        if let Some(Reply::Ran { screens, exits, flows, ms }) = self.ask(&request, patience)? {
            (round.screens, round.exits, round.flows, round.ms) = (screens, exits, flows, ms);
        }
        Ok(round)
    }

    /// Whether what is done now is beyond the assignment.
    fn beyond(&self) -> bool {
        self.graded_boots > 0
    }

    /// Starts the servers that do not run; whether one of them finds its port in use after an earlier run.
    fn boot(&mut self) -> Result<bool, SandboxError> {
        let request = Request::Boot { patience_ms: BOOT_PATIENCE.as_millis() as u64 };
        if let Some(Reply::Booted(boot)) = self.ask(&request, BOOT_PATIENCE * 8)?
            && !boot.screens.is_empty()
        {
            let in_use = boot.screens.values().any(|screen| screen.contains("in use"));
            if in_use && !self.rounds.is_empty() && !self.beyond() {
                return Ok(true);
            }
            self.used &= boot.screens.len() < Process::SERVERS.len();
            self.boots.push(boot);
        }
        Ok(false)
    }

    pub(super) fn stop(&mut self) -> Result<(), SandboxError> {
        self.used = false;
        self.ask(&Request::Stop, Duration::ZERO).map(drop)
    }

    /// The agent's answer; `None` where the submission has brought its sandbox down, which is then built anew
    /// when it is needed.
    fn ask(&mut self, request: &Request, patience: Duration) -> Result<Option<Reply>, SandboxError> {
        let Some(sandbox) = &mut self.sandbox else { return Ok(None) };
        match sandbox.ask(request, patience) {
            Ok(reply) => Ok(Some(reply)),
            // The submission may have removed its own programs, or filled its disk.
            Err(SandboxError::Dead(_) | SandboxError::Silent | SandboxError::Failed(_)) => {
                self.deaths += 1;
                self.sandbox = None;
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}

fn lost_build(why: &str) -> Build {
    Build {
        command: "make all".to_owned(),
        output: format!("the sandbox has died while it was built: {why}\n"),
        exit: Exit::Signal(nix::libc::SIGKILL),
        programs: Vec::new(),
        stand_ins: Vec::new(),
    }
}

fn unexpected(reply: &Reply) -> SandboxError {
    SandboxError::Failed(format!("an answer to another question: {reply:?}"))
}

fn hung(round: &Round) -> bool {
    matches!(round.exits.get(&Process::Client), Some(Exit::TimedOut))
}

/// Whether the client shows something that looks like an answer: right or wrong, the job went round.
pub(super) fn answered(round: &Round) -> bool {
    let screen = round.screens.get(&Process::Client).map_or("", String::as_str).to_lowercase();
    screen.contains("received") && !hung(round)
}
