//! `offload parity run`.

use crate::units;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use offload::rng::Rng;
use offload_parity::arena::Mechanism;
use offload_parity::id::{Holder, Member, Worker};
use offload_parity::limits::PAGE_BYTES;
use offload_parity::mode::Mode;
use offload_parity::proto::Event;
use offload_parity::run::{self, Happened, Kill, Plan, Report, Said};
use offload_parity::task::Kind;
use offload_parity::timeline::Timeline;
use serde_json::json;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs a task with a process for each worker and each holder of parity, and checks its answer.
#[derive(Args)]
pub struct Run {
    /// Which of the paper's applications.
    task: Task,
    /// Numbers to sort, rows of the matrices, or nodes of the graph (default 1000000, 2629, 15).
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// Numbers that a worker of `mergesort` sorts at once.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    chunk: usize,
    /// Application processors.
    #[arg(long, value_name = "N", default_value_t = 4)]
    workers: u16,
    /// Deaths at once that are survived, by as many holders of parity; 1 is parity and its backup.
    #[arg(long, value_name = "M", default_value_t = 1)]
    failures: usize,
    /// `offload`; `n+1` is Plank's scheme, `enhanced` the paper's, which loses messages.
    #[arg(long, value_name = "NAME", default_value_t = Mode::Offload)]
    mode: Mode,
    /// The time between checkpoints, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Take a checkpoint once so much was written, as 64MiB.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = units::bytes)]
    buffer: u64,
    /// How writes are noticed (`offload parity doctor` lists what works here).
    #[arg(long, value_name = "NAME")]
    dirty: Option<Mechanism>,
    /// Kill a member once the run is so far: `worker:2@50%` or `holder:0@25%`; may be repeated.
    #[arg(long, value_name = "MEMBER@PERCENT", value_parser = kill)]
    kill: Vec<Kill>,
    /// A member that says nothing for so long is taken for dead, and killed.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    silence: Duration,
    /// Kill each member by chance, every so many seconds on average: more than `--failures` at once end the run.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    mtbf: Option<Duration>,
    /// The seed of `--mtbf`, to have the same kills again; told where it is not given.
    #[arg(long, value_name = "N", requires = "mtbf")]
    seed: Option<u64>,
    /// Draw what happens to whom and when, as SVG.
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// Do not run it again in one process, to compare.
    #[arg(long)]
    no_check: bool,
    /// One JSON object with all that has happened.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Task {
    Mergesort,
    Matmul,
    Apsp,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value = text.parse::<f64>().ok().and_then(|value| Duration::try_from_secs_f64(value).ok());
    value
        .filter(|value| !value.is_zero())
        .ok_or_else(|| format!("{text:?} is no number of seconds above 0"))
}

/// `worker:2@50%`.
fn kill(text: &str) -> Result<Kill, String> {
    let parse = || {
        let (who, percent) = text.split_once('@')?;
        let (role, number) = who.split_once(':')?;
        let member = match role {
            "worker" => Member::Worker(Worker(number.parse().ok()?)),
            "holder" => Member::Holder(Holder(number.parse().ok()?)),
            _ => return None,
        };
        let percent: f64 = percent.strip_suffix('%')?.parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(Kill { member, at: (percent * 10.0) as u16 })
    };
    parse().ok_or_else(|| {
        format!("{text:?} says neither who nor when: write it as worker:2@50% or holder:0@25%")
    })
}

fn plan(arguments: &Run) -> anyhow::Result<Plan> {
    let size = |default| arguments.size.unwrap_or(default);
    let kind = match arguments.task {
        Task::Mergesort => Kind::MergeSort { records: size(1_000_000), chunk: arguments.chunk },
        Task::Matmul => Kind::MatMul { size: size(2629) },
        Task::Apsp => Kind::Apsp { vertices: size(15) },
    };
    let holders = if arguments.failures == 1 { 2 } else { arguments.failures };
    for kill in &arguments.kill {
        let there = match kill.member {
            Member::Worker(worker) => worker.0 < arguments.workers,
            Member::Holder(holder) => usize::from(holder.0) < holders,
        };
        if !there {
            bail!(
                "--kill {}: there are {} workers and {holders} holders, counted from 0",
                kill.member,
                arguments.workers
            );
        }
    }
    let chance = match (arguments.mtbf, arguments.seed) {
        (None, _) => None,
        (Some(mean), Some(seed)) => Some((mean, seed)),
        // Short enough to be typed.
        (Some(mean), None) => Some((mean, Rng::from_system()?.below(1_000_000))),
    };
    let program = std::env::current_exe().context("where this program is")?;
    Ok(Plan {
        program: (program, vec!["parity".into(), "member".into()]),
        kind,
        mode: arguments.mode,
        workers: arguments.workers,
        failures: arguments.failures,
        interval: arguments.interval,
        buffer_pages: u32::try_from(arguments.buffer / PAGE_BYTES as u64).unwrap_or(u32::MAX).max(1),
        mechanism: arguments.dirty.unwrap_or_else(Mechanism::best),
        silence: arguments.silence,
        kills: arguments.kill.clone(),
        chance,
    })
}

/// Runs it.
pub fn start(arguments: &Run) -> anyhow::Result<ExitCode> {
    let plan = plan(arguments)?;
    // Before all else: a run whose drawing nobody can have is not begun.
    let drawing = arguments.timeline.as_ref().map(|path| {
        let file = File::create(path).with_context(|| format!("{}: --timeline", path.display()))?;
        anyhow::Ok((path, file))
    });
    let drawing = drawing.transpose()?;
    if let Some((mean, seed)) = plan.chance {
        let mean = mean.as_secs_f64();
        eprintln!(
            "each member is killed every {mean} s on average: --mtbf {mean} --seed {seed} kills so again"
        );
    }
    let bar = if io::stderr().is_terminal() { ProgressBar::new(1000) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:40} {percent}%  {elapsed}  {msg}")?);
    let mut happened = Vec::new();
    let report = run::run(&plan, |at, what| {
        show(&bar, at, what);
        happened.push((at, what.clone()));
    });
    bar.finish_and_clear();
    let end = happened.last().map_or(Duration::ZERO, |(at, _)| *at);
    let timeline = Timeline::new(&happened, end);
    // That of a run that has failed is wanted most.
    let drawn = drawing.map_or(Ok(()), |(path, file)| {
        draw(file, &timeline, &plan).with_context(|| format!("{}: --timeline", path.display()))
    });
    let report = report.inspect_err(|_| eprint!("{timeline}"))?;
    let right = if arguments.no_check { None } else { Some(is_right(&plan, &report)) };
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", as_json(&plan, &report, right))?;
    } else {
        summarize(&mut out, &plan, &report, right)?;
        write!(out, "{timeline}")?;
    }
    drawn?;
    Ok(if right.is_some_and(|(right, _)| !right) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn draw(mut file: File, timeline: &Timeline, plan: &Plan) -> io::Result<()> {
    let title = format!(
        "{}, {} workers, mode {}, a checkpoint every {} s",
        plan.kind,
        plan.workers,
        plan.mode,
        plan.interval.as_secs_f64()
    );
    file.write_all(timeline.svg(&title).as_bytes())
}

fn summarize(
    out: &mut impl Write,
    plan: &Plan,
    report: &Report,
    right: Option<(bool, Duration)>,
) -> io::Result<()> {
    for (worker, said) in &report.said {
        said.iter().try_for_each(|said| writeln!(out, "{worker}: {said}"))?;
    }
    let count = |what: fn(&Happened) -> bool| report.happened.iter().filter(|(_, it)| what(it)).count();
    let checkpoints = count(|it| {
        matches!(it, Happened::Said(Member::Holder(Holder(0)), Said::Event(Event::Committed(_))))
    });
    writeln!(
        out,
        "{}, {} workers, mode {}: {:.3} s, {checkpoints} checkpoints, {} deaths",
        plan.kind,
        plan.workers,
        plan.mode,
        report.elapsed.as_secs_f64(),
        count(|it| matches!(it, Happened::Died(..))),
    )?;
    match right {
        Some((true, alone)) => {
            writeln!(out, "the answer is that of one process, which took {:.3} s", alone.as_secs_f64())
        }
        Some((false, _)) => writeln!(out, "the answer is NOT that of one process"),
        None => Ok(()),
    }
}

/// Is the answer that of one process? And how long that took.
fn is_right(plan: &Plan, report: &Report) -> (bool, Duration) {
    let begin = Instant::now();
    let alone = plan.kind.alone(plan.workers);
    let took = begin.elapsed();
    let said = |(worker, expected): (u16, &String)| {
        let said = report.said.get(&Worker(worker)).map(Vec::as_slice).unwrap_or_default();
        if expected.is_empty() { said.is_empty() } else { said == [expected.clone()] }
    };
    ((0..).zip(&alone).all(said), took)
}

/// What people want to see while it runs.
fn show(bar: &ProgressBar, at: Duration, happened: &Happened) {
    let line = match happened {
        Happened::Killed(member) => format!("{member} is killed"),
        Happened::Died(member, how) => format!("{member} has died ({how}) and is started again"),
        Happened::Said(member, Said::Event(event)) => match event {
            Event::Progress(progress) => {
                return bar.set_position(u64::from(*progress).max(bar.position()));
            }
            Event::Recovered { line, rebuilt: true, .. } => format!("{member} is rebuilt, at {line}"),
            Event::Recovered { line, from, .. } if line < from => {
                format!("{member} goes back from {from} to {line}")
            }
            Event::Corrupt(why) => why.clone(),
            _ => return,
        },
        Happened::Said(member, Said::Refused(why)) => format!("{member} refuses {why}"),
        Happened::Said(..) | Happened::Started(_) => return,
    };
    let line = format!("{:8.3} s  {line}", at.as_secs_f64());
    if bar.is_hidden() { eprintln!("{line}") } else { bar.println(line) }
}

fn as_json(plan: &Plan, report: &Report, right: Option<(bool, Duration)>) -> serde_json::Value {
    let happened = report.happened.iter().map(|(at, happened)| {
        let (member, what) = match happened {
            Happened::Started(member) => (member, json!("started")),
            Happened::Killed(member) => (member, json!("killed")),
            Happened::Died(member, how) => (member, json!({ "died": how })),
            Happened::Said(member, said) => (member, json!(said)),
        };
        json!({ "at_s": at.as_secs_f64(), "member": member.to_string(), "what": what })
    });
    json!({
        "task": plan.kind.to_string(),
        "mode": plan.mode.name(),
        "workers": plan.workers,
        "failures": plan.failures,
        "mtbf_s": plan.chance.map(|(mean, _)| mean.as_secs_f64()),
        "seed": plan.chance.map(|(_, seed)| seed),
        "interval_s": plan.interval.as_secs_f64(),
        "mechanism": plan.mechanism.name(),
        "elapsed_s": report.elapsed.as_secs_f64(),
        "alone_s": right.map(|(_, alone)| alone.as_secs_f64()),
        "right": right.map(|(right, _)| right),
        "said": report.said.iter().map(|(worker, said)| (worker.to_string(), json!(said))).collect::<serde_json::Map<_, _>>(),
        "happened": happened.collect::<Vec<_>>(),
    })
}
