//! The info dictionary of a magnet link, from peers (BEP 9).
//!
//! It comes in pieces of 16 KiB, each from one peer. The driver holds the whole against the info-hash; if it
//! disagrees, all who sent part of it are asked no more.

use crate::limits::{BLOCK_BYTES, MAX_METAINFO_BYTES};
use crate::peer::Conn;
use offload::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A piece that has not come in this time is asked of somebody else.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who was of no use may be asked again after this.
const FORGIVE: Duration = Duration::from_secs(30);

/// Metadata on its way.
#[derive(Debug, Default)]
pub struct Fetch {
    total_bytes: u32,
    pieces: Vec<Option<Vec<u8>>>,
    asked: BTreeMap<u32, (Conn, Time)>,
    senders: BTreeSet<Conn>,
    /// Those who do not have it, or sent what it is not.
    useless: BTreeSet<Conn>,
    forgiven: Time,
    judged: bool,
}

impl Fetch {
    /// The piece to ask this peer for, who says that the metadata has so many bytes.
    pub fn next(&mut self, now: Time, conn: Conn, total_bytes: u32) -> Option<u32> {
        let plausible = total_bytes > 0 && total_bytes as usize <= MAX_METAINFO_BYTES;
        if self.judged || !plausible || self.useless.contains(&conn) {
            return None;
        }
        if self.pieces.is_empty() {
            self.total_bytes = total_bytes;
            self.pieces = vec![None; total_bytes.div_ceil(BLOCK_BYTES) as usize];
        }
        if total_bytes != self.total_bytes || self.asked.values().any(|(other, _)| *other == conn) {
            return None;
        }
        let open =
            |piece: &u32| self.pieces[*piece as usize].is_none() && !self.asked.contains_key(piece);
        let piece = (0..self.pieces.len() as u32).find(open)?;
        self.asked.insert(piece, (conn, now));
        Some(piece)
    }

    /// A piece has come. The whole, when it is the last.
    pub fn arrived(&mut self, conn: Conn, piece: u32, bytes: &[u8]) -> Option<Vec<u8>> {
        let expected = self.asked.get(&piece).is_some_and(|(asked, _)| *asked == conn);
        let size = self.total_bytes.saturating_sub(piece.saturating_mul(BLOCK_BYTES)).min(BLOCK_BYTES);
        if !expected || bytes.len() != size as usize {
            return None;
        }
        self.asked.remove(&piece);
        self.senders.insert(conn);
        *self.pieces.get_mut(piece as usize)? = Some(bytes.to_vec());
        let whole: Vec<u8> = self.pieces.iter().flatten().flatten().copied().collect();
        self.judged = whole.len() == self.total_bytes as usize;
        self.judged.then_some(whole)
    }

    /// A peer will not give it, or is gone.
    pub fn dismiss(&mut self, conn: Conn) {
        self.useless.insert(conn);
        self.asked.retain(|_, (asked, _)| *asked != conn);
    }

    /// It was not what the info-hash names: all anew, with others. Returns who took part.
    pub fn refused(&mut self) -> BTreeSet<Conn> {
        let senders = std::mem::take(&mut self.senders);
        let mut useless = std::mem::take(&mut self.useless);
        useless.extend(&senders);
        *self = Fetch { useless, ..Fetch::default() };
        senders
    }

    /// Peers that were asked too long ago; they are dismissed. Nobody's word on the size is left unproved:
    /// where all who agreed with it are silent, it is asked anew.
    pub fn expire(&mut self, now: Time) {
        if now.since(self.forgiven) > FORGIVE {
            self.forgiven = now;
            self.useless.clear();
        }
        let late = |(_, (conn, at)): (&u32, &(Conn, Time))| (now.since(*at) > PATIENCE).then_some(*conn);
        let silent: Vec<Conn> = self.asked.iter().filter_map(late).collect();
        for conn in &silent {
            self.dismiss(*conn);
        }
        if !silent.is_empty() && self.asked.is_empty() && !self.judged {
            self.pieces.clear();
            self.senders.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 2 * BLOCK_BYTES + 5;

    #[test]
    fn pieces_come_from_several_peers() {
        let (mut fetch, now) = (Fetch::default(), Time::ZERO);
        let whole: Vec<u8> = (0..SIZE).map(|i| i as u8).collect();
        let part = |piece: u32| {
            let start = (piece * BLOCK_BYTES) as usize;
            &whole[start..(start + BLOCK_BYTES as usize).min(whole.len())]
        };
        let asked: Vec<u32> = (0..3).map(|conn| fetch.next(now, Conn(conn), SIZE).unwrap()).collect();
        assert_eq!(asked, [0, 1, 2]);
        assert_eq!(fetch.next(now, Conn(0), SIZE), None, "one at a time");
        assert_eq!(fetch.arrived(Conn(1), 0, part(0)), None, "it was not asked for that");
        assert_eq!(fetch.arrived(Conn(2), 2, part(2)), None);
        assert_eq!(fetch.arrived(Conn(0), 0, part(0)), None);
        fetch.dismiss(Conn(1));
        assert_eq!(fetch.next(now, Conn(1), SIZE), None);
        assert_eq!(fetch.next(now, Conn(2), SIZE), Some(1));
        assert_eq!(fetch.arrived(Conn(2), 1, part(1)), Some(whole.clone()));
        assert_eq!(fetch.refused(), BTreeSet::from([Conn(0), Conn(2)]));
        assert_eq!(fetch.next(now, Conn(2), SIZE), None, "who took part is not asked again");
        assert_eq!(fetch.next(now, Conn(3), SIZE), Some(0));
    }

    #[test]
    fn a_wrong_size_holds_nothing_up() {
        let (mut fetch, now) = (Fetch::default(), Time::ZERO);
        for wrong in [0, MAX_METAINFO_BYTES as u32 + 1] {
            assert_eq!(fetch.next(now, Conn(0), wrong), None);
        }
        assert_eq!(fetch.next(now, Conn(1), 100), Some(0));
        assert_eq!(fetch.next(now, Conn(2), SIZE), None);
        fetch.expire(now + PATIENCE * 2);
        assert_eq!(fetch.next(now, Conn(2), SIZE), Some(0));
    }
}
