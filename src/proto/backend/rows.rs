//! Rows of a dataset that lies here: whose they are, and what the driver makes of them.
//!
//! What is left out: the dataset (`io::maps`), and who does rows whose backend has failed (`aws::takeover`).

use super::job::{Job, Open, Stage};
use super::{Backend, Out};
use crate::limits::MAX_MAPS;
use crate::time::Time;
use ethnum::I256;

impl Backend {
    /// Why this shard is none of this backend's. Any backend may have any rows of its dataset, since another
    /// may have died.
    pub(super) fn misplaced(&self, open: &Open) -> Option<String> {
        let (own, asked) = (self.settings.shard, open.shard);
        match (open.rows, self.settings.dataset) {
            (None, _) => (own != asked).then(|| {
                let (own, asked) = (own + 1, asked + 1);
                format!(
                    "it is backend {own} of its own configuration and {asked} of AWS's: the two must be \
                     the same"
                )
            }),
            (Some(_), None) => Some(
                "it has no dataset: set `dataset` in its offload.toml or put nums.csv.torrent beside it, \
                 and start it again"
                    .to_owned(),
            ),
            (Some((asked, _)), Some(own)) => (own != asked)
                .then(|| format!("its dataset is {own}, the client's is {asked}: use the same torrent")),
        }
    }

    /// Has the rows of a job mapped; false where the job ends instead.
    pub(super) fn begin_map(&mut self, id: u128, first: u64) -> bool {
        let maps = self.jobs.values().filter(|job| matches!(job.stage, Stage::Mapping { .. })).count();
        if maps >= MAX_MAPS {
            self.give_up(id, &format!("it is busy with the rows of {MAX_MAPS} jobs"));
            return false;
        }
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        self.ticket += 1;
        let ticket = self.ticket;
        job.stage = Stage::Mapping { ticket };
        let (rows, reduction) = (first..first + job.count, job.fold.reduction.clone());
        self.out.push_back(Out::Map { ticket, rows, reduction });
        true
    }

    /// The driver has mapped rows, or cannot.
    pub(super) fn on_mapped(&mut self, now: Time, ticket: u64, result: Result<I256, String>) {
        let of_ticket = |job: &Job| matches!(job.stage, Stage::Mapping { ticket: t } if t == ticket);
        let Some((&id, job)) = self.jobs.iter_mut().find(|(_, job)| of_ticket(job)) else { return };
        // Nothing goes on behind the ticket any more: a job that ends now has nothing to call off.
        job.stage = Stage::Receiving;
        match result {
            Ok(partial) => {
                job.fold.complete(job.count, partial);
                let credit = self.credit();
                self.on_progress(now, id, credit);
            }
            Err(reason) => self.give_up(id, &reason),
        }
    }
}
