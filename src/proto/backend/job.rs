//! One job at a backend: what was asked for, how far it is, when it is forgotten.
//!
//! What is left out: what moves it (`backend`).

use super::fold::Fold;
use crate::dataset;
use crate::limits::{BACKEND_SILENCE, JOB_SILENCE};
use crate::proto::rudp::receiver::Receiver;
use crate::proto::rudp::rtt::{Retry, Rtt};
use crate::proto::seal::Seal;
use crate::time::Time;
use crate::wire::datagram::{Body, Header, encode};
use std::net::SocketAddr;

/// What OPEN or OPEN ROWS says.
pub(super) struct Open {
    pub attempt: u32,
    pub shard: u32,
    pub count: u64,
    pub function: String,
    /// OPEN ROWS: of which dataset, from which row on.
    pub rows: Option<(dataset::Id, u64)>,
}

impl Open {
    /// `None` where the datagram says anything else.
    pub fn of(body: &Body<'_>) -> Option<Open> {
        let (attempt, shard, count, function, rows) = match body {
            Body::Open { attempt, shard, count, function } => (attempt, shard, count, function, None),
            Body::OpenRows { attempt, shard, first, count, function, dataset } => {
                (attempt, shard, count, function, Some((*dataset, *first)))
            }
            _ => return None,
        };
        let (attempt, shard, count) = (*attempt, *shard, *count);
        Some(Open { attempt, shard, count, function: function.clone(), rows })
    }
}

#[derive(Debug)]
pub(super) enum Stage {
    HalfOpen {
        accept: Vec<u8>,
        since: Time,
    },
    Receiving,
    /// The driver maps rows of the dataset.
    Mapping {
        ticket: u64,
    },
    Answering {
        retry: Retry,
    },
}

pub(super) struct Job {
    pub header: Header,
    pub attempt: u32,
    pub shard: u32,
    pub aws: SocketAddr,
    pub seal: Seal,
    pub count: u64,
    /// The first row, where the numbers are a dataset's.
    pub first: Option<u64>,
    pub fold: Fold,
    /// How many of its first numbers are kept beyond this process.
    pub kept: u64,
    pub receiver: Receiver,
    pub stage: Stage,
    pub heard: Time,
    pub rtt: Rtt,
}

impl Job {
    pub fn message(&mut self, body: &Body<'_>) -> Vec<u8> {
        let mut plain = Vec::new();
        encode(self.header, body, &mut plain);
        self.seal.seal(plain)
    }

    pub fn result(&mut self) -> Vec<u8> {
        self.message(&Body::Result { count: self.count, value: self.fold.value() })
    }

    /// How long AWS may be silent.
    pub fn forgotten_at(&self) -> Time {
        match self.stage {
            Stage::HalfOpen { since, .. } => since + BACKEND_SILENCE,
            _ => self.heard + JOB_SILENCE,
        }
    }

    pub fn next_timeout(&self) -> Time {
        let retry = match &self.stage {
            Stage::Answering { retry } => Some(retry.at()),
            _ => None,
        };
        let rest = [retry, self.receiver.ack_at()].into_iter().flatten();
        rest.fold(self.forgotten_at(), Time::min)
    }
}
