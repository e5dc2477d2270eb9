//! The clients that report: bounded, and fair where the bound is met.

use super::{Client, Phase, Report, percent};
use crate::limits::{FORGOTTEN_AFTER, MAX_MONITORED, MAX_MONITORED_PER_ADDRESS, SILENT_AFTER};
use offload::time::Time;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The last report of each client.
#[derive(Default)]
pub(super) struct Table {
    last: BTreeMap<Key, (Time, Report)>,
    /// How many of [`Self::last`] are of each address.
    of_address: BTreeMap<IpAddr, usize>,
}

/// What tells clients apart. What they call themselves does not: two may have the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    address: IpAddr,
    port: u16,
    image: String,
}

impl Table {
    /// Keeps a report and gives the one before it; `None` where there is no room.
    pub(super) fn put(
        &mut self,
        now: Time,
        from: IpAddr,
        report: Report,
    ) -> Option<Option<(Time, Report)>> {
        let key = Key { address: from.to_canonical(), port: report.port, image: report.image.clone() };
        if let Some(there) = self.last.get_mut(&key) {
            return Some(Some(std::mem::replace(there, (now, report))));
        }
        let of_address = self.of_address.get(&key.address).copied().unwrap_or(0);
        if of_address >= MAX_MONITORED_PER_ADDRESS || self.last.len() >= MAX_MONITORED {
            // Whoever is over or silent makes room, at the address that has too many or anywhere.
            let only = (of_address >= MAX_MONITORED_PER_ADDRESS).then_some(key.address);
            self.make_room(now, only)?;
        }
        *self.of_address.entry(key.address).or_default() += 1;
        self.last.insert(key, (now, report));
        Some(None)
    }

    fn make_room(&mut self, now: Time, only: Option<IpAddr>) -> Option<()> {
        let idle = self.last.iter().filter(|(key, (then, report))| {
            only.is_none_or(|address| key.address == address)
                && (report.phase.is_over() || now.since(*then) > SILENT_AFTER)
        });
        let oldest = idle.min_by_key(|(_, (then, _))| *then).map(|(key, _)| key.clone())?;
        self.remove(&oldest);
        Some(())
    }

    fn remove(&mut self, key: &Key) {
        if self.last.remove(key).is_none() {
            return;
        }
        if let Some(count) = self.of_address.get_mut(&key.address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&key.address);
            }
        }
    }

    /// Drops clients that have long been silent.
    pub(super) fn forget(&mut self, now: Time) {
        let old = self.last.iter().filter(|(_, (then, _))| now.since(*then) > FORGOTTEN_AFTER);
        let old: Vec<Key> = old.map(|(key, _)| key.clone()).collect();
        old.iter().for_each(|key| self.remove(key));
    }

    /// Does the peer at this address report itself? Whatever it stages: with its image it stages overrides,
    /// which have swarms of their own.
    pub(super) fn reports(&self, peer: SocketAddr) -> bool {
        let address = peer.ip().to_canonical();
        self.last.keys().any(|key| key.address == address && key.port == peer.port())
    }

    /// A row for each client.
    pub(super) fn rows(&self, now: Time) -> Vec<Client> {
        self.last.iter().map(|(key, (then, report))| row(now, key, *then, report)).collect()
    }
}

fn row(now: Time, key: &Key, then: Time, report: &Report) -> Client {
    let over = report.phase.is_over();
    let silent = !over && now.since(then) > SILENT_AFTER;
    // What was so when it was last heard of is so no more.
    let live = !over && !silent;
    let left = report.total_bytes - report.done_bytes;
    let going = live && report.phase == Phase::Staging && report.down_rate > 0;
    Client {
        host: report.host.clone(),
        address: key.address.to_string(),
        image: report.image.clone(),
        phase: report.phase.word().to_owned(),
        why: if let Phase::Failed(why) = &report.phase { why.clone() } else { String::new() },
        percent: percent(report.done_bytes, report.total_bytes),
        down_rate: live.then_some(report.down_rate),
        up_rate: live.then_some(report.up_rate),
        seconds_left: going.then(|| left.div_ceil(report.down_rate)),
        uptime_seconds: Some(report.uptime_seconds),
        version: report.version.clone(),
        silent,
    }
}
