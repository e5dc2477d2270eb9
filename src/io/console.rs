//! Where events go: screen, stderr, log, progress bar.
//!
//! A screen line is written whole and at once, also into a pipe. What is left out: the wording
//! (`screen`, and the machines for stderr).

use crate::event::{Event, Record};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Names a file that gets one JSON object a line for each thing that happens.
pub const LOG_VARIABLE: &str = "OFFLOAD_LOG";
/// Set to 1, the client shows a progress bar on stderr where that is a terminal.
pub const PROGRESS_VARIABLE: &str = "OFFLOAD_PROGRESS";

/// The outlets of one process.
#[derive(Debug)]
pub struct Console {
    process: &'static str,
    log: Option<File>,
    bar: Option<ProgressBar>,
}

/// A log line: when, who, what.
#[derive(Serialize)]
struct Entry<'a> {
    unix_s: f64,
    process: &'static str,
    pid: u32,
    #[serde(flatten)]
    record: &'a Record,
}

impl Console {
    /// The outlets of `process`, as the environment wants them: `get` is `std::env::var`.
    ///
    /// # Errors
    /// When the log file cannot be opened; the error names it.
    pub fn new(process: &'static str, get: impl Fn(&str) -> Option<String>) -> io::Result<Console> {
        let log = get(LOG_VARIABLE).map(|path| {
            let opened = OpenOptions::new().create(true).append(true).open(&path);
            opened.map_err(|e| io::Error::new(e.kind(), format!("{LOG_VARIABLE}={path}: {e}")))
        });
        let wanted = get(PROGRESS_VARIABLE).is_some_and(|v| v == "1") && io::stderr().is_terminal();
        let bar = wanted.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = "{bar:40} {human_pos}/{human_len} numbers  {per_sec}  {eta}";
            bar.with_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()))
        });
        Ok(Console { process, log: log.transpose()?, bar })
    }

    /// How many numbers the progress bar is about.
    pub fn expect(&self, numbers: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(numbers);
        }
    }

    /// Takes in an event.
    ///
    /// # Errors
    /// When the screen or the log cannot be written: closed, or its disk is full.
    pub fn show(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Screen(line) => self.beside_bar(|| {
                // One write a line: lines of several processes on one terminal stay whole.
                let mut out = io::stdout().lock();
                out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).map_err(|e| {
                    io::Error::new(e.kind(), format!("the screen (stdout) cannot be written: {e}"))
                })
            }),
            Event::Stderr(text) => {
                // Nobody may be there to read it; what failed is in the exit status too.
                let _ = self.beside_bar(|| io::stderr().write_all(format!("{text}\n").as_bytes()));
                Ok(())
            }
            Event::Log(record) => self.write_log(record),
            Event::Progress { numbers } => {
                if let Some(bar) = &self.bar {
                    bar.inc(*numbers);
                }
                Ok(())
            }
            Event::Finished(_) => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
                Ok(())
            }
        }
    }

    fn beside_bar(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn write_log(&mut self, record: &Record) -> io::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let entry = Entry { unix_s, process: self.process, pid: std::process::id(), record };
        let mut line = serde_json::to_string(&entry)?;
        line.push('\n');
        log.write_all(line.as_bytes()).map_err(|e| {
            io::Error::new(e.kind(), format!("the log ({LOG_VARIABLE}) cannot be written: {e}"))
        })
    }
}
