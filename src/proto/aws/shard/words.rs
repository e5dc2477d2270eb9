//! What a shard says of itself: to its job, to people, to the log.
//!
//! What is left out: when (`shard`).

use super::{Failure, Shard, Stage, Told};
use crate::event::{Record, job_name};
use crate::limits::BACKEND_SILENCE;
use crate::proto::rudp::rtt::Retry;
use crate::proto::seal;
use crate::time::Time;
use std::time::Duration;

impl Shard {
    /// How the backend is called in sentences.
    pub fn backend(&self) -> String {
        format!("Backend-Server {} at {}", self.name, self.addr)
    }

    pub(super) fn on_delivered(&mut self, now: Time) {
        let numbers = self.count() - self.from;
        let Stage::Streaming { sender, result, .. } = &mut self.stage else { return };
        *result = Some(Retry::new(now, sender.rtt().clone()));
        let (stats, rtt) = (sender.stats(), sender.rtt());
        let seconds = now.since(self.began).as_secs_f64();
        let record = Record::ShardDelivered {
            job: job_name(self.terms.job),
            shard: self.name.clone(),
            numbers,
            datagrams: stats.datagrams,
            retransmissions: stats.retransmissions,
            bytes: stats.bytes,
            ms: seconds * 1e3,
            mib_per_s: stats.bytes as f64 / f64::from(1 << 20) / seconds.max(1e-9),
            srtt_us: rtt.smoothed().unwrap_or_default().as_secs_f64() * 1e6,
            rto_us: rtt.rto().as_secs_f64() * 1e6,
            window_bytes: sender.window(),
        };
        self.log(record);
        self.told.push_back(Told::Delivered);
    }

    /// How long numbers may be on their way without any arriving: longer than a death goes unnoticed.
    pub(super) fn stuck_wait(&self) -> Duration {
        self.terms.restart_wait.max(2 * BACKEND_SILENCE)
    }

    /// It answers PINGs, which are small, but numbers do not arrive.
    pub(super) fn on_stuck(&mut self) {
        let now = self.terms.datagram + seal::overhead(self.terms.key.as_ref());
        let text = format!(
            "{} answers, but no numbers get through to it: does the path carry datagrams of {now} \
             bytes? Set a smaller `datagram_bytes`",
            self.backend()
        );
        self.told.push_back(Told::Failed(text));
    }

    /// The backend says why it does not do it.
    pub(super) fn on_refused(&mut self, reason: &str, how: &str) {
        self.told.push_back(match self.terms.dataset {
            Some(_) => Told::LostRows(Failure::Refused(reason.to_owned())),
            None => Told::Failed(format!("{} {how}: {reason}", self.backend())),
        });
    }

    pub(super) fn on_waiting(&mut self, now: Time) {
        if self.terms.dataset.is_some() {
            if now >= self.patience() {
                self.told.push_back(Told::LostRows(Failure::Unanswered));
            }
            return;
        }
        let waited = now.since(self.waiting_since);
        let help = format!("start it with `make server{}`", self.name);
        if waited >= self.terms.restart_wait {
            let text = format!(
                "{} does not answer (waited {} s): {help}",
                self.backend(),
                waited.as_secs_f32()
            );
            self.told.push_back(Told::Failed(text));
        } else if waited >= BACKEND_SILENCE && !self.told_waiting {
            self.told_waiting = true;
            let left = self.terms.restart_wait.saturating_sub(waited).as_secs_f32();
            let text = format!("{} does not answer; waiting {left:.0} s more: {help}", self.backend());
            self.log_wait("does not answer".to_owned());
            self.told.push_back(Told::Waiting(text));
        }
    }

    pub fn log_wait(&mut self, reason: String) {
        self.log(Record::Wait { job: job_name(self.terms.job), on: self.backend(), reason });
    }

    pub(super) fn log(&mut self, record: Record) {
        self.told.push_back(Told::Record(record));
    }
}
