//! `cargo run --release -p offload-parity --example writer -- [--state MIB] [--dirty PERCENT] [--steps N] ...`
//!
//! A task that does nothing but write: each step writes so many per cent of the pages of each worker's state. With
//! an `--interval` of a millisecond, checkpoints are as fast as they can be; with `--kill`, it shows how long all of
//! the state takes to be had again. A line of JSON tells what the checkpoints moved, how long the recovery took, and
//! the processor time of each member; another what plain TCP does on this machine with as many bytes, by as many
//! senders to as many receivers. `scripts/bench_parity` compares them.

use offload_parity::id::{Holder, Member, Worker};
use offload_parity::limits::PAGE_BYTES;
use offload_parity::proto::Event;
use offload_parity::proto::work::{Context, Outcome, Task};
use offload_parity::run::{self, Happened, Kill, Orders, Plan, Report, Said};
use offload_parity::task::{Application, Needs};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: writer [--state MIB] [--dirty PERCENT] [--steps N] [--workers N] [--interval SECONDS] [--kill]";
const MIB: usize = 1 << 20;
/// As a frame of pages.
const CHUNK: usize = 64 * PAGE_BYTES;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Writer {
    pages: usize,
    dirty: usize,
    steps: u64,
}

impl Application for Writer {
    fn needs(&self, _workers: u16) -> Needs {
        Needs { state_bytes: self.pages * PAGE_BYTES, step: (64, 1), log_bytes: 4096 }
    }

    fn task(&self) -> Box<dyn Task> {
        Box::new(self.clone())
    }
}

impl Task for Writer {
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let me = u64::from(cx.me().0) + 1;
        let words: &mut [u64] = bytemuck::cast_slice_mut(cx.state);
        let step = words[0];
        if step == self.steps {
            return Outcome::Done;
        }
        // The first writes all, so that there is something in each page; the others some, at even distances.
        let (count, from) = if step == 0 { (self.pages, 0) } else { (self.dirty, step as usize) };
        for number in 0..count {
            let page = (from + number * self.pages / count) % self.pages;
            let words = &mut words[page * PAGE_BYTES / 8..][..PAGE_BYTES / 8];
            // A word makes a page as dirty as all of them do.
            let some = if step == 0 { 1..PAGE_BYTES / 8 } else { 1..2 };
            for word in &mut words[some] {
                *word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(me + page as u64);
            }
        }
        words[0] += 1;
        Outcome::Again
    }

    fn progress(&self, state: &[u8]) -> u16 {
        (1000 * bytemuck::pod_read_unaligned::<u64>(&state[..8]) / self.steps) as u16
    }
}

struct Arguments {
    writer: Writer,
    workers: u16,
    interval: Duration,
    kill: bool,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let (mut state, mut dirty, mut steps, mut workers, mut interval, mut kill) =
        (64, 10, 100, 2, 0.001, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--state" => state = words.next()?.parse().ok()?,
            "--dirty" => dirty = words.next()?.parse().ok()?,
            "--steps" => steps = words.next()?.parse().ok()?,
            "--workers" => workers = words.next()?.parse().ok()?,
            "--interval" => interval = words.next()?.parse().ok()?,
            "--kill" => kill = true,
            _ => return None,
        }
    }
    let pages = usize::checked_mul(state, MIB)? / PAGE_BYTES;
    let interval = Duration::try_from_secs_f64(interval).ok()?;
    let is_sound = pages > 0 && dirty <= 100 && steps > 0;
    is_sound.then_some(Arguments {
        writer: Writer { pages, dirty: pages * dirty / 100, steps },
        workers,
        interval,
        kill,
    })
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if let Some(orders) = Orders::<Writer>::of_this_process()? {
        let me = orders.me;
        run::be(orders)?;
        eprintln!(
            "{}",
            json!({ "member": me.to_string(), "cpu_s": processor_seconds("/proc/self/stat")? })
        );
        return Ok(ExitCode::SUCCESS);
    }
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    let mut plan = Plan::new(arguments.writer.clone(), arguments.workers)?;
    (plan.interval, plan.buffer_pages) = (arguments.interval, u32::MAX);
    if arguments.kill {
        plan.kills = vec![Kill { member: Member::Worker(Worker(0)), at: 500 }];
    }
    let report = run::run(&plan, |_, _| ())?;
    let (bytes, seconds, all) = checkpoints(&report);
    let recovery = recovery(&report);
    println!(
        "{}",
        json!({ "bytes": bytes, "all_bytes": all, "seconds": seconds, "recovery_s": recovery, "elapsed_s": report.elapsed.as_secs_f64() })
    );
    // A sender and a receiver where it is about a recovery, which is had from one process in the end.
    let (senders, receivers) = if arguments.kill { (1, 1) } else { (usize::from(arguments.workers), 2) };
    let bytes = if arguments.kill { arguments.writer.pages * PAGE_BYTES } else { bytes as usize };
    let (seconds, cpu_s) = plain_tcp(senders, receivers, bytes / senders)?;
    println!("{}", json!({ "bytes": bytes / senders * senders, "seconds": seconds, "cpu_s": cpu_s }));
    Ok(ExitCode::SUCCESS)
}

/// Bytes of the pages of all checkpoints that count but for the first, which allocates, and the time from the second
/// that was taken to the last that counts; and the bytes of all.
fn checkpoints(report: &Report) -> (u64, f64, u64) {
    let (mut taken, mut begin, mut end, mut bytes) = (BTreeMap::new(), None, Duration::ZERO, 0);
    let mut all = 0;
    for (at, happened) in &report.happened {
        match happened {
            Happened::Said(Member::Worker(_), Said::Event(Event::Taken { line, pages })) => {
                all += u64::from(*pages) * PAGE_BYTES as u64;
                if line.0 == 1 {
                    continue;
                }
                begin.get_or_insert(*at);
                *taken.entry(*line).or_insert(0) += u64::from(*pages) * PAGE_BYTES as u64;
            }
            Happened::Said(Member::Holder(Holder(0)), Said::Event(Event::Committed(line))) => {
                bytes += taken.remove(line).unwrap_or(0);
                end = *at;
            }
            _ => {}
        }
    }
    (bytes, begin.map_or(0.0, |begin| end.saturating_sub(begin).as_secs_f64()), all)
}

/// From the discovery of the death until the last goes on.
fn recovery(report: &Report) -> Option<f64> {
    let died = report.happened.iter().find(|(_, it)| matches!(it, Happened::Died(..)))?.0;
    let is_end = |it: &Happened| matches!(it, Happened::Said(_, Said::Event(Event::Recovered { .. })));
    let last = report.happened.iter().rfind(|(at, it)| *at >= died && is_end(it))?.0;
    Some((last - died).as_secs_f64())
}

/// Each sender sends so many bytes to each receiver: seconds, and processor seconds of one receiver.
fn plain_tcp(senders: usize, receivers: usize, bytes: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let listeners: Vec<TcpListener> =
        (0..receivers).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    let begin = Instant::now();
    let cpu: std::io::Result<Vec<f64>> = std::thread::scope(|scope| {
        for address in (0..senders).flat_map(|_| &addresses) {
            scope.spawn(move || {
                let (chunk, mut left) = (vec![1; CHUNK], bytes);
                let mut stream = TcpStream::connect(address)?;
                while left > 0 {
                    let part = left.min(CHUNK);
                    stream.write_all(&chunk[..part])?;
                    left -= part;
                }
                Ok::<(), std::io::Error>(())
            });
        }
        let mut readers = Vec::new();
        for listener in &listeners {
            for _ in 0..senders {
                let (mut stream, _) = listener.accept()?;
                readers.push(scope.spawn(move || {
                    let mut chunk = vec![0; CHUNK];
                    while stream.read(&mut chunk)? > 0 {}
                    processor_seconds("/proc/thread-self/stat")
                }));
            }
        }
        readers.into_iter().map(|reader| reader.join().expect("it does not panic")).collect()
    });
    Ok((begin.elapsed().as_secs_f64(), cpu?.iter().sum::<f64>() / receivers as f64))
}

/// User and system time of a process or thread, by its `stat` in `/proc`.
fn processor_seconds(stat: &str) -> std::io::Result<f64> {
    let text = std::fs::read_to_string(stat)?;
    // The name, in parentheses, may have spaces in it.
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum();
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}
