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
mod runs;

use crate::cases;
use crate::handin;
use crate::intake;
use crate::limits::BUDGET;
use crate::model::{Case, Function, Grade, HandIn, Score};
use crate::policy::Policy;
use crate::repair;
use crate::sandbox::{Error as SandboxError, Ground};
use crate::score::{self, Booted, Evidence, Judged};
use runs::Exam;
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

    /// Changes with the content.
    pub fn fingerprint(&self) -> &str {
        self.taken.as_ref().map_or_else(|why| why.as_str(), |taken| &taken.fingerprint)
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
    let mut exam = Exam::new(ground, root, options, tell, began + BUDGET);
    exam.run(&cases).map_err(|source| Error::Sandbox { name: subject.name.clone(), source })?;
    let id = options.id.or_else(|| score::find_id(&exam.boots));
    // What was tried beyond the assignment is no evidence of anything.
    exam.boots.truncate(exam.graded_boots);
    let one_for_all = handin::is_one_for_all(&hand_in);
    let boots: Vec<Booted> =
        exam.boots.into_iter().map(|boot| judge::boot(boot, id, one_for_all)).collect();
    let judge = |round| judge::round(round, &cases, id, one_for_all);
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
