//! One submission from the folder it lies in to its grade: what is run, in which order, and when it ends.
//!
//! The lesson: a submission is judged by what it does when it is given a fair chance, and it has no end of
//! ways to waste time. So each run has its patience, what has hung twice is not run a third time, the
//! whole has a budget, and the telling runs come first. A run that fails on servers that have served before
//! is run again on fresh ones, since the assignment allows servers that serve one client.
//!
//! Left out: what a run says about the program ([`crate::score`]).

mod judge;
mod probes;

use crate::agent::{Reply, Request};
use crate::cases;
use crate::handin;
use crate::intake;
use crate::limits::{BOOT_PATIENCE, BUDGET, BUILD_PATIENCE, DEATHS, HANGS};
use crate::model::{Boot, Build, Case, Exit, Function, Grade, HandIn, Probe, Process, Round, Score};
use crate::policy::Policy;
use crate::repair;
use crate::sandbox::{Error as SandboxError, Ground, Sandbox};
use crate::score::{self, Booted, Evidence, Judged};
use crate::screens;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a TA may set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Makes the inputs.
    pub seed: u64,
    /// How often each input and function is run.
    pub repeats: usize,
    /// How long the client may run.
    pub patience: Duration,
    /// The last three digits of the ID, where they are not to be found from the ports.
    pub id: Option<u16>,
    /// Inputs beside the generated ones.
    pub extra: Vec<Case>,
    /// Only this input and function.
    pub only: Option<(String, Function)>,
    /// Repair what can be repaired, and grade once more.
    pub repair: bool,
    /// Points and tolerance.
    pub policy: Policy,
    /// What was typed, but for the path, the inputs and the seed: for commands that show something again.
    pub command: String,
}

/// Why there is no grade: never the submission's fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The grader's own system.
    #[error("{name} cannot be graded")]
    Sandbox {
        /// The submission.
        name: String,
        /// What failed.
        source: SandboxError,
    },
    /// What is to be graded cannot be read, or the copy of it not written.
    #[error(transparent)]
    Intake(#[from] intake::Error),
    /// It was asked to run what there is not.
    #[error("there is no input named {0:?}; there are {1}")]
    NoCase(String, String),
}

/// A submission, unpacked where a sandbox can read it.
pub struct Opened {
    subject: Subject,
    taken: Result<intake::Taken, String>,
    /// Holds the unpacked files as long as they are needed.
    _scratch: TempDir,
}

impl Opened {
    /// Unpacks `path`.
    ///
    /// # Errors
    /// When it cannot be read, or there is no room for it. What is refused is the student's to mend, and
    /// becomes a grade.
    pub fn new(path: &Path, ground: &Ground) -> Result<Opened, Error> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let system = |e: std::io::Error| Error::Sandbox { name: name.clone(), source: e.into() };
        let scratch = ground.scratch().map_err(system)?;
        let taken = match intake::take_in(path, scratch.path()) {
            Ok(taken) => Ok(taken),
            Err(intake::Error::Refused { why, .. }) => Err(why.to_string()),
            Err(other) => return Err(other.into()),
        };
        let archive = taken.as_ref().ok().and_then(|taken| taken.archive_name.clone());
        let subject = Subject { path: path.display().to_string(), archive, name };
        Ok(Opened { subject, taken, _scratch: scratch })
    }

    /// Its name, without the endings of an archive.
    pub fn name(&self) -> &str {
        self.taken.as_ref().map_or(&self.subject.name, |taken| &taken.name)
    }

    /// Changes with the content.
    pub fn fingerprint(&self) -> &str {
        self.taken.as_ref().map_or("refused", |taken| &taken.fingerprint)
    }
}

/// Grades one submission. `tell` hears what runs now.
///
/// # Errors
/// When the grader's own system fails; whatever is wrong with the submission is in the grade.
pub fn grade(
    opened: &Opened,
    ground: &Ground,
    options: &Options,
    tell: &dyn Fn(&str),
) -> Result<Grade, Error> {
    let began = Instant::now();
    let subject = &opened.subject;
    let taken = match &opened.taken {
        Ok(taken) => taken,
        Err(why) => return Ok(refuse(subject, why, options)),
    };
    let mut grade = examine(subject, &taken.root, ground, options, &[], tell)?;
    if options.repair {
        let repaired = repair::repair(&taken.root, &grade.hand_in);
        let name = || subject.name.clone();
        let repairs = repaired.map_err(|e| Error::Sandbox { name: name(), source: e.into() })?;
        if !repairs.is_empty() {
            let again = examine(subject, &taken.root, ground, options, &repairs, tell)?;
            grade.repaired = Some(again.score);
            grade.repairs = repairs;
            if grade.fared.is_empty() {
                (grade.shown, grade.fared) = (again.shown, again.fared);
            }
        }
    }
    grade.seconds = began.elapsed().as_secs_f64();
    Ok(grade)
}

/// The grade of what was not even unpacked.
fn refuse(subject: &Subject, why: &str, options: &Options) -> Grade {
    let hand_in = HandIn::default();
    let mut grade = score::grade(&subject.evidence(&hand_in, options), &options.policy);
    grade.refused = Some(why.to_owned());
    grade.score = Score { lenient: 0.0, strict: 0.0 };
    grade.losses.clear();
    grade.remarks.clear();
    grade
}

/// Who is graded.
struct Subject {
    name: String,
    path: String,
    archive: Option<String>,
}

impl Subject {
    fn evidence<'a>(&'a self, hand_in: &'a HandIn, options: &'a Options) -> Evidence<'a> {
        Evidence {
            name: &self.name,
            path: &self.path,
            archive_name: self.archive.as_deref(),
            hand_in,
            build: None,
            boots: &[],
            rounds: &[],
            not_run: &[],
            probes: &[],
            id: None,
            given_id: options.id,
            repairs: &[],
            command: &options.command,
            isolation: "",
            seed: options.seed,
            repeats: options.repeats,
            seconds: 0.0,
        }
    }
}

fn examine(
    subject: &Subject,
    root: &Path,
    ground: &Ground,
    options: &Options,
    repairs: &[String],
    tell: &dyn Fn(&str),
) -> Result<Grade, Error> {
    let began = Instant::now();
    let hand_in = handin::look(root, subject.archive.as_deref());
    let cases = chosen(options)?;
    let mut exam = Exam {
        ground,
        root,
        options,
        tell,
        sandbox: None,
        until: began + BUDGET,
        deaths: 0,
        used: false,
        serves_again: None,
        build: None,
        boots: Vec::new(),
        graded_boots: 0,
        rounds: Vec::new(),
        not_run: Vec::new(),
        probes: Vec::new(),
    };
    exam.run(&cases).map_err(|source| Error::Sandbox { name: subject.name.clone(), source })?;
    let id = options.id.or_else(|| score::find_id(&exam.boots));
    // What was tried beyond the assignment is no evidence of anything.
    exam.boots.truncate(exam.graded_boots);
    let boots: Vec<Booted> = exam.boots.into_iter().map(|boot| judge::boot(boot, id)).collect();
    let judge = |round| judge::round(round, &cases, id);
    let rounds: Vec<Judged> = exam.rounds.into_iter().filter_map(judge).collect();
    let isolation = ground.isolation().sentence();
    let evidence = Evidence {
        build: exam.build.as_ref(),
        boots: &boots,
        rounds: &rounds,
        not_run: &exam.not_run,
        probes: &exam.probes,
        id,
        repairs,
        isolation: &isolation,
        seconds: began.elapsed().as_secs_f64(),
        ..subject.evidence(&hand_in, options)
    };
    Ok(score::grade(&evidence, &options.policy))
}

/// The inputs that are asked for.
fn chosen(options: &Options) -> Result<Vec<Case>, Error> {
    let mut all = cases::cases(options.seed);
    all.extend(options.extra.iter().cloned());
    let Some((name, _)) = &options.only else { return Ok(all) };
    let names: Vec<&str> = all.iter().map(|case| case.name.as_str()).collect();
    let names = names.join(", ");
    all.retain(|case| case.name == *name);
    if all.is_empty() { Err(Error::NoCase(name.clone(), names)) } else { Ok(all) }
}

/// A submission in its sandbox.
struct Exam<'a> {
    ground: &'a Ground,
    root: &'a Path,
    options: &'a Options,
    tell: &'a dyn Fn(&str),
    sandbox: Option<Sandbox>,
    until: Instant,
    /// How often the sandbox has died.
    deaths: usize,
    /// Whether the servers have served before.
    used: bool,
    /// Whether they serve a second client, once that is known.
    serves_again: Option<bool>,
    build: Option<Build>,
    boots: Vec<Boot>,
    /// How many of them came before anything beyond the assignment.
    graded_boots: usize,
    rounds: Vec<Round>,
    not_run: Vec<String>,
    probes: Vec<Probe>,
}

impl Exam<'_> {
    fn run(&mut self, cases: &[Case]) -> Result<(), SandboxError> {
        (self.tell)("building");
        if !self.build()? {
            return Ok(());
        }
        self.repeat(cases)?;
        self.graded_boots = self.boots.len();
        if self.options.only.is_none() && self.rounds.iter().any(|round| ended(round) && answered(round))
        {
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
    fn round(
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
        let request = Request::Round {
            nums,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            lines: Process::SERVERS.map(lines).into(),
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

    fn stop(&mut self) -> Result<(), SandboxError> {
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

/// Whether the client ended by itself.
fn ended(round: &Round) -> bool {
    matches!(round.exits.get(&Process::Client), Some(Exit::Status(_)))
}

fn hung(round: &Round) -> bool {
    matches!(round.exits.get(&Process::Client), Some(Exit::TimedOut))
}

/// Whether the client shows something that looks like an answer: right or wrong, the job went round.
fn answered(round: &Round) -> bool {
    let screen = round.screens.get(&Process::Client).map_or("", String::as_str).to_lowercase();
    screen.contains("received") && !hung(round)
}
