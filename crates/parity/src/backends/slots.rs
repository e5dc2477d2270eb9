//! Records as they lie in an arena: each in a slot of its own, which it keeps, so that little is written.
//!
//! What is left out: when (`backends`).

use bytemuck::{Pod, Zeroable};
use ethnum::I256;
use offload::limits::MAX_NAME_BYTES;
use offload::proto::backend::Kept;
use std::collections::{BTreeMap, BTreeSet};

/// A record, or room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Slot {
    job: [u64; 2],
    count: u64,
    numbers: u64,
    partial: [u64; 4],
    function: [u8; MAX_NAME_BYTES],
    shard: u32,
    /// 1 where there is a record.
    used: u32,
}

impl Slot {
    fn of(kept: &Kept) -> Slot {
        let mut function = [0; MAX_NAME_BYTES];
        let name = kept.function.as_bytes();
        let length = name.len().min(MAX_NAME_BYTES);
        function[..length].copy_from_slice(&name[..length]);
        let (high, low) = (*kept.partial.high() as u128, *kept.partial.low() as u128);
        let halves = |word: u128| [word as u64, (word >> 64) as u64];
        let ([a, b], [c, d]) = (halves(low), halves(high));
        let (job, shard) = (halves(kept.job), kept.shard);
        Slot {
            job,
            count: kept.count,
            numbers: kept.numbers,
            partial: [a, b, c, d],
            function,
            shard,
            used: 1,
        }
    }

    fn job(&self) -> u128 {
        u128::from(self.job[1]) << 64 | u128::from(self.job[0])
    }

    /// `None` where there is none.
    fn record(&self) -> Option<Kept> {
        let word = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
        let [a, b, c, d] = self.partial;
        let length = self.function.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME_BYTES);
        let function = String::from_utf8_lossy(&self.function[..length]).into_owned();
        (self.used == 1).then(|| Kept {
            job: self.job(),
            shard: self.shard,
            count: self.count,
            function,
            numbers: self.numbers,
            partial: I256::from_words(word(c, d) as i128, word(a, b) as i128),
        })
    }
}

/// All records.
pub fn read(slots: &[Slot]) -> Vec<Kept> {
    slots.iter().filter_map(Slot::record).collect()
}

/// Makes the slots those of these records, as far as there is room; says whether that changed any.
pub fn write(slots: &mut [Slot], records: &BTreeMap<u128, Kept>) -> bool {
    let (mut changed, mut there) = (false, BTreeSet::new());
    for slot in slots.iter_mut().filter(|slot| slot.used == 1) {
        let now = records.get(&slot.job()).filter(|kept| there.insert(kept.job)).map(Slot::of);
        changed |= replace(slot, now.unwrap_or(Slot::zeroed()));
    }
    let mut free = slots.iter_mut().filter(|slot| slot.used == 0);
    let new = records.values().filter(|kept| !there.contains(&kept.job));
    for (kept, slot) in new.zip(&mut free) {
        changed |= replace(slot, Slot::of(kept));
    }
    changed
}

/// What is not different is not written: a page that is not touched need not travel.
fn replace(slot: &mut Slot, by: Slot) -> bool {
    let differs = *slot != by;
    if differs {
        *slot = by;
    }
    differs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(job: u128, numbers: u64, partial: I256) -> Kept {
        let function = if job.is_multiple_of(2) { "SOS" } else { "A_NAME_OF_16_LTS" }.to_owned();
        Kept { job, shard: 2, count: u64::MAX, function, numbers, partial }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_an_unchanged_record_keeps_its_place(
            rounds in proptest::collection::vec(
                proptest::collection::btree_map(0u128..12, (any::<u64>(), any::<i128>(), any::<i128>()), 0..8), 1..8,
            ),
        ) {
            let mut slots = [Slot::zeroed(); 8];
            for round in rounds {
                let record = |(job, (numbers, high, low)): (&u128, &(u64, i128, i128))| {
                    let job = job << 120 | 7;
                    (job, kept(job, *numbers, I256::from_words(*high, *low)))
                };
                let records: BTreeMap<u128, Kept> = round.iter().map(record).collect();
                let before = slots;
                let changed = write(&mut slots, &records);
                prop_assert_eq!(changed, before != slots);
                let mut found = read(&slots);
                found.sort_by_key(|kept| kept.job);
                prop_assert_eq!(found, records.values().cloned().collect::<Vec<_>>());
                for (was, is) in before.iter().zip(&slots) {
                    let goes_on = was.used == 1 && records.contains_key(&was.job());
                    prop_assert!(!goes_on || was.job == is.job);
                }
                prop_assert!(!write(&mut slots, &records), "nothing is left to do");
            }
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out() {
        let mut slots = [Slot::zeroed(); 2];
        let records = (0..5).map(|job| (job, kept(job, 1, I256::ONE))).collect();
        assert!(write(&mut slots, &records));
        assert_eq!(read(&slots).len(), 2);
    }
}
