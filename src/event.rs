//! What a machine tells the outside: lines for screens, for stderr, for the log.
//!
//! Machines only say what happened. Where it is shown, and whether, is up to the driver: the binaries
//! print screen lines and stderr lines, and write log records where `OFFLOAD_LOG` names a file.

use crate::screen::Line;
use ethnum::I256;
use serde::Serialize;
use std::collections::BTreeMap;

/// One thing that happened in a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A sentence of the course screens.
    Screen(Line),
    /// One line for the person at this process: whose fault, where, what to do.
    Stderr(String),
    /// A record for the log.
    Log(Record),
    /// The client has handed over this many more numbers.
    Progress {
        /// How many.
        numbers: u64,
    },
    /// The client's job has ended: the answer, or why there is none.
    Finished(Result<I256, String>),
}

/// A log record. Jobs are named by the first 16 hexadecimal digits of their ID.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Record {
    JobOpened {
        job: String,
        peer: String,
        function: String,
        numbers: u64,
    },
    JobEnded {
        job: String,
        outcome: String,
        ms: f64,
    },
    ShardAccepted {
        job: String,
        shard: String,
        attempt: u32,
        from: u64,
        credit_bytes: u64,
        rtt_us: f64,
    },
    ShardDelivered {
        job: String,
        shard: String,
        numbers: u64,
        datagrams: u64,
        retransmissions: u64,
        bytes: u64,
        ms: f64,
        mib_per_s: f64,
        srtt_us: f64,
        rto_us: f64,
        window_bytes: u64,
    },
    ShardResult {
        job: String,
        shard: String,
        value: String,
    },
    ShardReceived {
        job: String,
        shard: String,
        numbers: u64,
        datagrams: u64,
        duplicates: u64,
    },
    /// A checkpoint of all backends counts, and how far this one's jobs are in it.
    Checkpoint {
        checkpoint: u64,
        kept: BTreeMap<String, u64>,
    },
    /// Whether checkpoints are taken, or why not.
    Checkpoints {
        state: String,
    },
    Wait {
        job: String,
        on: String,
        reason: String,
    },
    Dropped {
        peer: String,
        reason: String,
    },
    Connected {
        local: String,
        peer: String,
    },
    NumbersSent {
        numbers: u64,
        bytes: u64,
        ms: f64,
    },
}

/// How a job is called in logs.
pub fn job_name(job: u128) -> String {
    format!("{:016x}", (job >> 64) as u64)
}
