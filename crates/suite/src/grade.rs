//! `offload grade`: arguments, progress, and where reports go.

use anyhow::{Context, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use offload_grade::class::{self, Event};
use offload_grade::exam::{self, Opened, Options};
use offload_grade::model::{Function, Grade};
use offload_grade::policy::Policy;
use offload_grade::sandbox::{Ground, Isolation};
use offload_grade::score::quote;
use offload_grade::{agent, cases, intake, report};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE_S: u64 = 5;

/// Judges submissions of the assignment: archives, folders, or folders full of either
///
/// Each gets a page below --out, a class also one of its own and grades.csv. What was graded before and has
/// not changed is not graded again. The exit status is 0 when grading worked, whatever the grades are.
#[derive(clap::Args)]
pub struct Arguments {
    /// Archives (.tar.gz), source folders, or folders full of either
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where pages, data and grades.csv go
    #[arg(long, default_value = "grades", value_name = "DIR")]
    out: PathBuf,
    /// How many submissions at a time [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Makes the inputs; keep it secret and nobody can prepare for them
    #[arg(long, default_value_t = 450, value_name = "N")]
    seed: u64,
    /// How often each input and function is run
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=50))]
    runs: u8,
    /// How many seconds the client may run
    #[arg(long, default_value_t = PATIENCE_S, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=60))]
    patience: u64,
    /// The last three digits of the student's ID [default: found from the ports]
    #[arg(long, value_name = "XXX", value_parser = clap::value_parser!(u16).range(..1000))]
    id: Option<u16>,
    /// More inputs: every .csv file in a folder
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Only this input and function, once, without a report: n300/sum
    #[arg(long, value_name = "CASE/FUNCTION", value_parser = only)]
    only: Option<(String, Function)>,
    /// Shows the five terminals of the runs that matter
    #[arg(long)]
    show: bool,
    /// Repairs what can be repaired (Makefile's name, .PHONY, targets, file names, includes), grades again
    #[arg(long)]
    repair: bool,
    /// Points and tolerance; docs/grading.md explains it
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Prints all grades as JSON
    #[arg(long)]
    json: bool,
    /// Writes Gradescope's results.json, for one submission
    #[arg(long, value_name = "FILE")]
    gradescope: Option<PathBuf>,
    /// Run programs with your own rights where there are no namespaces and you are not root
    #[arg(long)]
    reckless: bool,
    /// A folder of this system that submissions may read, beside /usr (a compiler elsewhere)
    #[arg(long, value_name = "DIR")]
    read_only: Vec<PathBuf>,
}

fn only(text: &str) -> Result<(String, Function), String> {
    let wrong = || format!("{text:?} is not like n300/sum");
    let (case, function) = text.split_once('/').ok_or_else(wrong)?;
    let function = Function::ALL.into_iter().find(|f| f.argument() == function).ok_or_else(wrong)?;
    Ok((case.to_owned(), function))
}

/// Grades what is asked for.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let paths = intake::find(&arguments.paths)?;
    if arguments.gradescope.is_some() && paths.len() != 1 {
        bail!("--gradescope is for one submission; here are {}", paths.len());
    }
    let options = options(arguments)?;
    let program = std::env::current_exe().context("where is this program?")?;
    let read_only = arguments.read_only.iter().map(std::fs::canonicalize).collect::<Result<_, _>>();
    let ground = Ground::new(&program, Isolation::find(), read_only.context("--read-only")?)?;
    if let Isolation::Bare(why) = ground.isolation()
        && ground.isolation().is_reckless()
        && !arguments.reckless
    {
        bail!(
            "submissions cannot be shut in here ({why}) and would run with your rights: grade where there are \
             namespaces, or as root, who can run them as nobody; or accept it with --reckless"
        );
    }
    if let Isolation::Bare(_) = ground.isolation() {
        eprintln!("offload: submissions are {}", ground.isolation().sentence());
    }
    let folder = ground.folder().to_owned();
    ctrlc::set_handler(move || {
        // Sandboxes die with this process; finished grades are kept.
        let _as_far_as_possible = std::fs::remove_dir_all(&folder);
        std::process::exit(130);
    })?;
    let grades = match arguments.only {
        Some(_) => paths
            .iter()
            .map(|path| exam::grade(&Opened::new(path, &ground)?, &ground, &options, &|_| {}))
            .collect::<Result<Vec<Grade>, _>>()?,
        None => with_progress(arguments, &paths, &ground, &options)?,
    };
    drop(ground);
    show(arguments, &grades)
}

/// What has to be typed again beside the path, the inputs and the seed.
fn command(arguments: &Arguments) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "offload".to_owned());
    let mut command = format!("{} grade", quote(&program));
    let mut add = |name: &str, value: &str| command += &format!(" {name} {}", quote(value));
    if let Some(folder) = &arguments.cases {
        add("--cases", &folder.to_string_lossy());
    }
    for folder in &arguments.read_only {
        add("--read-only", &folder.to_string_lossy());
    }
    if let Some(file) = &arguments.policy {
        add("--policy", &file.to_string_lossy());
    }
    if arguments.patience != PATIENCE_S {
        add("--patience", &arguments.patience.to_string());
    }
    command
}

fn options(arguments: &Arguments) -> anyhow::Result<Options> {
    Ok(Options {
        seed: arguments.seed,
        repeats: if arguments.only.is_some() { 1 } else { usize::from(arguments.runs) },
        patience: Duration::from_secs(arguments.patience),
        id: arguments.id,
        extra: arguments.cases.as_deref().map(cases::from_dir).transpose()?.unwrap_or_default(),
        only: arguments.only.clone(),
        repair: arguments.repair,
        policy: Policy::load(arguments.policy.as_deref())?,
        command: command(arguments),
    })
}

/// One line a submission that is being graded, and how long the rest will take; plain lines in a pipe.
fn with_progress(
    arguments: &Arguments,
    paths: &[PathBuf],
    ground: &Ground,
    options: &Options,
) -> anyhow::Result<Vec<Grade>> {
    let jobs = arguments
        .jobs
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let terminal = std::io::stderr().is_terminal();
    let lines = MultiProgress::new();
    let all = lines.add(ProgressBar::new(paths.len() as u64));
    all.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} graded, about {eta} left")?);
    all.enable_steady_tick(Duration::from_millis(500));
    let line = ProgressStyle::with_template("{spinner} {prefix}: {msg}")?;
    let current: Vec<std::sync::OnceLock<ProgressBar>> =
        paths.iter().map(|_| Default::default()).collect();
    let name = |index: usize| {
        let path = &paths[index];
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    };
    let tell = |index: usize, event: Event<'_>| match event {
        Event::Now(now) if terminal => {
            let bar = current[index].get_or_init(|| {
                let bar = lines.insert_before(&all, ProgressBar::new_spinner());
                bar.set_style(line.clone());
                bar.set_prefix(name(index));
                bar
            });
            bar.set_message(now.to_owned());
            bar.tick();
        }
        Event::Now(_) => {}
        Event::Failed(error) => {
            if let Some(bar) = current[index].get() {
                bar.finish_and_clear();
            }
            let said = format!("{}: no grade: {error}", name(index));
            if terminal { all.println(said) } else { eprintln!("{said}") }
        }
        Event::Done { grade, kept } => {
            if let Some(bar) = current[index].get() {
                bar.finish_and_clear();
            }
            all.inc(1);
            let kept = if kept { ", graded before" } else { "" };
            let done = all.position();
            let said = format!("[{done}/{}] {}: {}{kept}", paths.len(), grade.name, points(grade));
            if terminal { all.println(said) } else { eprintln!("{said}") }
        }
    };
    let grades = class::run(paths, ground, options, &arguments.out, jobs, &tell)?;
    all.finish_and_clear();
    Ok(grades)
}

/// One submission in one line.
fn points(grade: &Grade) -> String {
    let score = grade.score;
    match (&grade.refused, grade.repaired) {
        (Some(why), _) => format!("refused: {why}"),
        (None, None) => format!("{} of 100, strict {}", score.lenient, score.strict),
        (None, Some(again)) => {
            format!("{} of 100, strict {}; repaired {}", score.lenient, score.strict, again.lenient)
        }
    }
}

/// Says what came out, in the form that was asked for.
fn show(arguments: &Arguments, grades: &[Grade]) -> anyhow::Result<()> {
    if let (Some(file), [grade]) = (&arguments.gradescope, grades) {
        std::fs::write(file, report::gradescope(grade)).with_context(|| file.display().to_string())?;
    }
    let mut out = std::io::stdout().lock();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if arguments.json {
        writeln!(out, "{}", report::json(grades))?;
        return Ok(());
    }
    for grade in grades {
        if arguments.only.is_none() && grades.len() == 1 {
            writeln!(out, "{}", report::terminal(grade, colour))?;
        }
        if arguments.show || arguments.only.is_some() {
            for shown in &grade.shown {
                writeln!(out, "{}", report::screens(shown, colour))?;
            }
        }
    }
    if arguments.only.is_none() {
        let page = match grades {
            [one] => arguments.out.join(&one.name).join("index.html"),
            _ => arguments.out.join("index.html"),
        };
        writeln!(out, "page: {}", page.display())?;
    }
    Ok(())
}

/// Serves a grader's requests from inside a sandbox.
pub fn agent(settings: &str) -> anyhow::Result<()> {
    let settings = serde_json::from_str(settings).context("the agent's settings")?;
    agent::serve(settings, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(())
}
