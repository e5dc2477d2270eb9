//! What a first seeder shows to whom (BEP 16), made for a local network.
//!
//! A seeder that shows everything sends the same rare piece to many; one that shows each peer only pieces
//! that others lack sends each piece about once, and the peers have something to give to each other. BEP 16
//! waits until a piece is seen elsewhere before it shows the next: that saves uploads and leaves the line
//! idle. Here a peer always has a few pieces to fetch, the least spread ones first.

use crate::bitfield::Bitfield;
use crate::peer::Conn;
use crate::peer::picker::Picker;
use offload::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Pieces that are shown and not fetched, all peers together; a peer has two at least.
const AHEAD: usize = 32;
const AHEAD_OF_ONE: usize = 2;
/// What a peer has not fetched after this is no reason to show it no more: it may want only a part.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for one that wants nothing of what it was shown.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);

/// What has been shown and not been fetched.
#[derive(Debug)]
pub struct Shown {
    to: BTreeMap<Conn, Shows>,
    /// How many peers each piece is shown to and lacked by.
    pending: Vec<u32>,
}

/// What one peer was shown.
#[derive(Debug)]
struct Shows {
    told: Bitfield,
    /// What it is expected to fetch, and since when.
    awaited: BTreeMap<u32, Time>,
}

impl Shown {
    pub fn new(pieces: u32) -> Shown {
        Shown { to: BTreeMap::new(), pending: vec![0; pieces as usize] }
    }

    pub fn joined(&mut self, conn: Conn) {
        let told = Bitfield::new(self.pending.len() as u32);
        self.to.insert(conn, Shows { told, awaited: BTreeMap::new() });
    }

    pub fn left(&mut self, conn: Conn) {
        for piece in self.to.remove(&conn).into_iter().flat_map(|shows| shows.awaited.into_keys()) {
            self.pending[piece as usize] -= 1;
        }
    }

    /// A peer has this piece now.
    pub fn fetched(&mut self, conn: Conn, piece: u32) {
        if self.to.get_mut(&conn).is_some_and(|shows| shows.awaited.remove(&piece).is_some()) {
            self.pending[piece as usize] -= 1;
        }
    }

    /// No longer waits for this peer to fetch what it was shown long ago.
    pub fn overlook(&mut self, now: Time, conn: Conn, wants: bool) {
        let patience = if wants { PATIENCE } else { SHORT_PATIENCE };
        let Some(shows) = self.to.get_mut(&conn) else { return };
        let pending = &mut self.pending;
        shows.awaited.retain(|piece, since| {
            let keep = now.since(*since) <= patience;
            pending[*piece as usize] -= u32::from(!keep);
            keep
        });
    }

    /// The pieces to show this peer now, who has `pieces`.
    pub fn next(&mut self, now: Time, conn: Conn, pieces: &Bitfield, picker: &Picker) -> Vec<u32> {
        let ahead = (AHEAD / self.to.len().max(1)).max(AHEAD_OF_ONE);
        let Some(shows) = self.to.get_mut(&conn) else { return Vec::new() };
        let wanting = ahead.saturating_sub(shows.awaited.len());
        if wanting == 0 {
            return Vec::new();
        }
        let hidden = picker.have().without(pieces).filter(|piece| !shows.told.has(*piece));
        let spread = |piece: u32| picker.availability(piece) + self.pending[piece as usize];
        let mut ranked: Vec<(u32, u32, u32)> =
            hidden.map(|piece| (spread(piece), picker.order(piece), piece)).collect();
        let chosen = wanting.min(ranked.len());
        if chosen < ranked.len() {
            ranked.select_nth_unstable(chosen);
        }
        ranked.truncate(chosen);
        ranked.sort_unstable();
        for (_, _, piece) in &ranked {
            shows.told.insert(*piece);
            shows.awaited.insert(*piece, now);
            self.pending[*piece as usize] += 1;
        }
        ranked.into_iter().map(|(_, _, piece)| piece).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;
    use offload::rng::Rng;

    #[test]
    fn every_piece_is_shown_once_before_any_is_shown_twice() {
        let geometry = Geometry::new(100 << 14, 1 << 14).unwrap();
        let all = Bitfield::full(100);
        let mut picker = Picker::new(geometry, all.clone(), all, &mut Rng::from_seed(1));
        let mut shown = Shown::new(100);
        let mut peers = vec![Bitfield::new(100); 5];
        (0..5).for_each(|conn| shown.joined(Conn(conn)));
        let mut copies = [0; 100];
        for round in 0..200 {
            let peer = round % 5;
            let conn = Conn(peer as u64);
            for piece in shown.next(Time::ZERO, conn, &peers[peer], &picker) {
                copies[piece as usize] += 1;
                peers[peer].insert(piece);
                picker.seen(piece);
                shown.fetched(conn, piece);
                let (least, most) = (copies.iter().min(), copies.iter().max());
                assert!(most.unwrap() - least.unwrap() <= 1, "{copies:?}");
            }
        }
        assert!(peers.iter().all(Bitfield::is_full));
        assert!(shown.pending.iter().all(|pending| *pending == 0));
    }

    #[test]
    fn what_a_peer_takes_away_with_it_is_shown_to_others() {
        let geometry = Geometry::new(2 << 14, 1 << 14).unwrap();
        let picker = Picker::new(geometry, Bitfield::full(2), Bitfield::full(2), &mut Rng::from_seed(1));
        let mut shown = Shown::new(2);
        shown.joined(Conn(1));
        assert_eq!(shown.next(Time::ZERO, Conn(1), &Bitfield::new(2), &picker).len(), 2);
        shown.left(Conn(1));
        assert_eq!(shown.pending, [0, 0]);
        assert!(shown.next(Time::ZERO, Conn(1), &Bitfield::new(2), &picker).is_empty(), "it is gone");
    }

    #[test]
    fn a_peer_that_wants_only_a_part_is_shown_all_in_time() {
        let geometry = Geometry::new(100 << 14, 1 << 14).unwrap();
        let all = Bitfield::full(100);
        let picker = Picker::new(geometry, all.clone(), all, &mut Rng::from_seed(1));
        let mut shown = Shown::new(100);
        shown.joined(Conn(1));
        let (mut now, mut seen) = (Time::ZERO, 0);
        while seen < 100 {
            let next = shown.next(now, Conn(1), &Bitfield::new(100), &picker);
            assert!(!next.is_empty(), "after {seen}");
            seen += next.len();
            now += SHORT_PATIENCE * 2;
            shown.overlook(now, Conn(1), false);
        }
        assert!(now < Time::ZERO + Duration::from_secs(10));
    }
}
