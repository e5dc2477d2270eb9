//! Which block to ask for next: rarest piece first, a piece from one peer as long as that does.
//!
//! A piece belongs to the peer that it was first asked of: pieces become whole, and can be passed on,
//! sooner than if all peers sent bits of all of them, and a bad one has one sender. What a peer leaves
//! behind is adopted before new pieces are begun. Peers that have nothing else to send join others'
//! pieces, and in the end (every piece is begun) they are asked for blocks that are outstanding elsewhere.
//!
//! Left out: how many blocks a peer is asked for (`window`), and what a peer refuses.

use crate::bitfield::Bitfield;
use crate::geometry::{Block, Geometry};
use crate::limits::MAX_OPEN_BYTES;
use crate::peer::Conn;
use offload::rng::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many peers are asked for the same block in the end.
const ENDGAME_ASKERS: u8 = 2;

/// The pieces of one torrent, from rare to verified.
#[derive(Debug)]
pub struct Picker {
    geometry: Geometry,
    have: Bitfield,
    wanted: Bitfield,
    /// Verified, begun or not wanted: all that need not be begun.
    closed: Bitfield,
    /// How many connected peers have each piece.
    availability: Vec<u32>,
    /// Breaks ties, differently in every peer, so that not all ask for the same rare piece.
    order: Vec<u32>,
    open: BTreeMap<u32, Open>,
    open_bytes: u64,
    /// Pieces that belong to a peer and may have blocks that were not asked for, oldest first.
    owned: BTreeMap<Conn, VecDeque<u32>>,
    /// Open pieces whose peer is gone or silent.
    orphans: BTreeSet<u32>,
    /// Pieces that came from several peers and were bad: the next try is one peer's alone.
    suspect: BTreeSet<u32>,
}

/// A piece that is begun.
#[derive(Debug)]
struct Open {
    slots: Vec<Slot>,
    missing: u32,
    kept: u32,
    owner: Option<Conn>,
    /// Nobody but the owner may send any of it.
    alone: bool,
}

/// A block of a piece that is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Missing,
    /// Of so many peers.
    Asked(u8),
    /// It is here, and who sent it.
    Kept(Conn),
}

/// What a peer may be asked for.
pub struct Offer<'a> {
    /// Who it is.
    pub conn: Conn,
    /// What it has.
    pub pieces: &'a Bitfield,
    /// Is it no use to ask for this piece, though the peer has it?
    pub barred: &'a dyn Fn(u32) -> bool,
    /// Has it been asked for this block already?
    pub asked: &'a dyn Fn(Block) -> bool,
    /// In the end, may it be asked for what others were asked for?
    pub double: bool,
}

impl Offer<'_> {
    fn has(&self, piece: u32) -> bool {
        self.pieces.has(piece) && !(self.barred)(piece)
    }
}

/// What became of a block that arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The piece has all of its blocks.
    pub whole: bool,
    /// Others were asked for it too: they should be told never to mind.
    pub elsewhere: bool,
}

impl Picker {
    pub fn new(geometry: Geometry, have: Bitfield, wanted: Bitfield, rng: &mut Rng) -> Picker {
        let pieces = geometry.pieces();
        let mut closed = Bitfield::full(pieces);
        for piece in wanted.without(&have) {
            closed.remove(piece);
        }
        Picker {
            geometry,
            have,
            wanted,
            closed,
            availability: vec![0; pieces as usize],
            order: (0..pieces).map(|_| rng.u64() as u32).collect(),
            open: BTreeMap::new(),
            open_bytes: 0,
            owned: BTreeMap::new(),
            orphans: BTreeSet::new(),
            suspect: BTreeSet::new(),
        }
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Is this one of the pieces that are wanted and not in place?
    pub fn lacks(&self, piece: u32) -> bool {
        self.wanted.has(piece) && !self.have.has(piece)
    }

    /// How many of these pieces are lacking?
    pub fn lacking_of(&self, pieces: &Bitfield) -> u32 {
        pieces.without(&self.have).filter(|piece| self.wanted.has(*piece)).count() as u32
    }

    /// Is every wanted piece in place?
    pub fn is_complete(&self) -> bool {
        !self.wanted.exceeds(&self.have)
    }

    /// Bytes of wanted pieces that are not in place.
    pub fn left_bytes(&self) -> u64 {
        self.wanted.without(&self.have).map(|piece| u64::from(self.geometry.length_of(piece))).sum()
    }

    /// How many connected peers have the piece.
    pub fn availability(&self, piece: u32) -> u32 {
        self.availability.get(piece as usize).copied().unwrap_or(0)
    }

    /// How many copies of the content there are among the connected peers and here: of its rarest piece, and
    /// the share of pieces that there are more of.
    pub fn copies(&self) -> f64 {
        let of = |piece: u32| self.availability(piece) + u32::from(self.have.has(piece));
        let pieces = self.geometry.pieces();
        let least = (0..pieces).map(of).min().unwrap_or(0);
        let more = (0..pieces).filter(|piece| of(*piece) > least).count();
        f64::from(least) + more as f64 / f64::from(pieces)
    }

    /// The tie-breaker of a piece.
    pub fn order(&self, piece: u32) -> u32 {
        self.order.get(piece as usize).copied().unwrap_or(0)
    }

    /// Wants these pieces too.
    pub fn want(&mut self, pieces: &Bitfield) {
        for piece in pieces.iter() {
            if self.wanted.insert(piece) && !self.have.has(piece) {
                self.closed.remove(piece);
            }
        }
    }

    /// A connected peer has the piece.
    pub fn seen(&mut self, piece: u32) {
        if let Some(count) = self.availability.get_mut(piece as usize) {
            *count += 1;
        }
    }

    /// A peer with these pieces is gone.
    pub fn unseen(&mut self, pieces: &Bitfield) {
        for piece in pieces.iter() {
            if let Some(count) = self.availability.get_mut(piece as usize) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Is every wanted piece begun or in place?
    pub fn is_endgame(&self) -> bool {
        self.closed.is_full()
    }

    /// The next block to ask this peer for; it counts as asked from now on.
    pub fn next(&mut self, offer: &Offer<'_>) -> Option<Block> {
        self.next_of_own(offer)
            .or_else(|| self.adopt(offer))
            .or_else(|| self.begin(offer))
            .or_else(|| self.join(offer))
            .or_else(|| self.double(offer))
    }

    fn next_of_own(&mut self, offer: &Offer<'_>) -> Option<Block> {
        let own = self.owned.get_mut(&offer.conn)?;
        while let Some(piece) = own.front().copied() {
            let usable = offer.has(piece);
            match self.open.get_mut(&piece).filter(|open| open.owner == Some(offer.conn)) {
                Some(open) if open.missing > 0 && usable => return ask(&self.geometry, piece, open),
                Some(open) if open.missing > 0 => {
                    open.owner = None;
                    self.orphans.insert(piece);
                }
                _ => {}
            }
            own.pop_front();
        }
        None
    }

    fn adopt(&mut self, offer: &Offer<'_>) -> Option<Block> {
        let piece = self.orphans.iter().copied().find(|piece| offer.has(*piece))?;
        self.orphans.remove(&piece);
        self.give(piece, offer.conn)
    }

    /// Begins the rarest piece that this peer has.
    fn begin(&mut self, offer: &Offer<'_>) -> Option<Block> {
        // Asked often while there is no room, so answered before anything is looked for. The last piece
        // may be shorter; that it waits a little harms nobody.
        let usual = u64::from(self.geometry.piece_bytes());
        if self.open_bytes + usual > MAX_OPEN_BYTES && !self.open.is_empty() {
            return None;
        }
        let fresh = offer.pieces.without(&self.closed).filter(|piece| offer.has(*piece));
        let rarest = fresh.min_by_key(|piece| (self.availability(*piece), self.order(*piece)))?;
        self.open_bytes += u64::from(self.geometry.length_of(rarest));
        self.closed.insert(rarest);
        let blocks = self.geometry.blocks(rarest);
        let slots = vec![Slot::Missing; blocks as usize];
        let alone = self.suspect.contains(&rarest);
        self.open.insert(rarest, Open { slots, missing: blocks, kept: 0, owner: None, alone });
        self.give(rarest, offer.conn)
    }

    fn give(&mut self, piece: u32, conn: Conn) -> Option<Block> {
        let open = self.open.get_mut(&piece)?;
        open.owner = Some(conn);
        self.owned.entry(conn).or_default().push_back(piece);
        ask(&self.geometry, piece, open)
    }

    /// Helps with somebody else's piece, the one that is nearest to its end.
    fn join(&mut self, offer: &Offer<'_>) -> Option<Block> {
        let joinable =
            |(piece, open): &(&u32, &mut Open)| open.missing > 0 && !open.alone && offer.has(**piece);
        let near = self.open.iter_mut().filter(joinable).min_by_key(|(_, open)| open.missing);
        near.and_then(|(piece, open)| ask(&self.geometry, *piece, open))
    }

    /// The end: asks for a block that somebody else was asked for.
    fn double(&mut self, offer: &Offer<'_>) -> Option<Block> {
        if !offer.double || !self.is_endgame() {
            return None;
        }
        for (piece, open) in self.open.iter_mut().filter(|(_, open)| !open.alone) {
            if !offer.has(*piece) {
                continue;
            }
            for (number, slot) in open.slots.iter_mut().enumerate() {
                let block = self.geometry.block(*piece, number as u32);
                match slot {
                    Slot::Asked(askers) if *askers < ENDGAME_ASKERS && !(offer.asked)(block) => {
                        *askers += 1;
                        return Some(block);
                    }
                    _ => {}
                }
            }
        }
        None
    }

    /// A block that was asked for will not come, or not soon.
    pub fn release(&mut self, block: Block) {
        let Some(open) = self.open.get_mut(&block.piece) else { return };
        match open.slots.get_mut(block.number() as usize) {
            Some(slot @ Slot::Asked(1)) => {
                *slot = Slot::Missing;
                open.missing += 1;
                match open.owner {
                    // It may have left the queue of its owner's pieces when all of it was asked for.
                    Some(owner) => {
                        let own = self.owned.entry(owner).or_default();
                        if !own.contains(&block.piece) {
                            own.push_front(block.piece);
                        }
                    }
                    None => {
                        self.orphans.insert(block.piece);
                    }
                }
            }
            Some(Slot::Asked(askers)) => *askers -= 1,
            _ => {}
        }
    }

    /// Need this block not come any more?
    pub fn is_kept(&self, block: Block) -> bool {
        let slot = self.open.get(&block.piece).and_then(|open| open.slots.get(block.number() as usize));
        // What is not open is verified, or was forgotten.
        !matches!(slot, Some(Slot::Missing | Slot::Asked(_)))
    }

    /// Takes all pieces from a peer that is gone or silent. Returns those whose blocks are to be forgotten.
    pub fn disown(&mut self, conn: Conn) -> Vec<u32> {
        self.owned.remove(&conn);
        let mut forgotten = Vec::new();
        for (piece, open) in self.open.iter_mut().filter(|(_, open)| open.owner == Some(conn)) {
            open.owner = None;
            if open.alone && open.kept < open.slots.len() as u32 {
                forgotten.push(*piece);
            } else if open.missing > 0 {
                self.orphans.insert(*piece);
            }
        }
        for piece in &forgotten {
            self.forget(*piece);
        }
        forgotten
    }

    fn forget(&mut self, piece: u32) {
        if self.open.remove(&piece).is_some() {
            self.open_bytes -= u64::from(self.geometry.length_of(piece));
            self.orphans.remove(&piece);
        }
        if self.lacks(piece) {
            self.closed.remove(piece);
        }
    }

    /// A block has come; `None` where it is of no use.
    pub fn keep(&mut self, block: Block, from: Conn) -> Option<Arrival> {
        if self.is_kept(block) {
            return None;
        }
        let open = self.open.get_mut(&block.piece)?;
        if open.alone && open.owner != Some(from) {
            return None;
        }
        let slot = open.slots.get_mut(block.number() as usize)?;
        let elsewhere = match slot {
            Slot::Missing => {
                open.missing -= 1;
                false
            }
            Slot::Asked(askers) => *askers > 1,
            Slot::Kept(_) => return None,
        };
        *slot = Slot::Kept(from);
        open.kept += 1;
        let whole = open.kept == open.slots.len() as u32;
        if open.missing == 0 {
            self.orphans.remove(&block.piece);
        }
        Some(Arrival { whole, elsewhere })
    }

    /// Who sent each block of a piece that is whole.
    pub fn senders(&self, piece: u32) -> Vec<Conn> {
        let slots = self.open.get(&piece).map(|open| open.slots.as_slice()).unwrap_or_default();
        let sender = |slot: &Slot| match slot {
            Slot::Kept(conn) => Some(*conn),
            _ => None,
        };
        slots.iter().filter_map(sender).collect()
    }

    /// All who sent blocks of pieces that are open.
    pub fn all_senders(&self) -> BTreeSet<Conn> {
        self.open.keys().flat_map(|piece| self.senders(*piece)).collect()
    }

    /// The piece was hashed. A bad one is begun anew.
    pub fn verified(&mut self, piece: u32, good: bool) {
        if good {
            self.have.insert(piece);
            self.suspect.remove(&piece);
        } else {
            self.suspect.insert(piece);
        }
        self.forget(piece);
    }
}

/// Asks for the first block that nobody was asked for.
fn ask(geometry: &Geometry, piece: u32, open: &mut Open) -> Option<Block> {
    let number = open.slots.iter().position(|slot| *slot == Slot::Missing)?;
    open.slots[number] = Slot::Asked(1);
    open.missing -= 1;
    Some(geometry.block(piece, number as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BLOCK_BYTES;
    use offload::rng::Rng;
    use proptest::prelude::*;

    const PIECE: u32 = 4 * BLOCK_BYTES;

    fn picker(pieces: u32) -> Picker {
        let geometry = Geometry::new(u64::from(pieces) * u64::from(PIECE), PIECE).unwrap();
        Picker::new(geometry, Bitfield::new(pieces), Bitfield::full(pieces), &mut Rng::from_seed(1))
    }

    fn next(picker: &mut Picker, conn: u64, pieces: &Bitfield) -> Option<Block> {
        let asked = |_| false;
        let offer = Offer { conn: Conn(conn), pieces, barred: &|_| false, asked: &asked, double: true };
        picker.next(&offer)
    }

    #[test]
    fn the_rarest_comes_first_and_whole_from_one_peer() {
        let mut picker = picker(10);
        let all = Bitfield::full(10);
        for piece in 0..10 {
            (0..=u32::from(piece != 6)).for_each(|_| picker.seen(piece));
        }
        let blocks: Vec<Block> = (0..4).map(|_| next(&mut picker, 1, &all).unwrap()).collect();
        assert!(
            blocks.iter().enumerate().all(|(i, block)| *block == picker.geometry.block(6, i as u32))
        );
        let other = next(&mut picker, 2, &all).unwrap();
        assert_ne!(other.piece, 6);
    }

    #[test]
    fn copies_are_those_of_the_rarest_piece_and_a_share() {
        let mut picker = picker(10);
        assert_eq!(picker.copies(), 0.0);
        picker.verified(0, true);
        assert_eq!(picker.copies(), 0.1);
        (0..10).for_each(|piece| picker.seen(piece));
        assert_eq!(picker.copies(), 1.1);
    }

    #[test]
    fn peers_break_ties_differently() {
        let all = Bitfield::full(100);
        let geometry = Geometry::new(100 * u64::from(PIECE), PIECE).unwrap();
        let first = |seed| {
            let mut rng = Rng::from_seed(seed);
            let mut picker = Picker::new(geometry, Bitfield::new(100), all.clone(), &mut rng);
            next(&mut picker, 1, &all).unwrap().piece
        };
        let firsts: BTreeSet<u32> = (0..20).map(first).collect();
        assert!(firsts.len() > 10, "{firsts:?}");
    }

    #[test]
    fn what_a_peer_leaves_is_adopted_before_new_pieces_are_begun() {
        let mut picker = picker(10);
        let all = Bitfield::full(10);
        let block = next(&mut picker, 1, &all).unwrap();
        picker.release(block);
        assert!(picker.disown(Conn(1)).is_empty());
        assert_eq!(next(&mut picker, 2, &all), Some(block));
    }

    #[test]
    fn open_pieces_are_bounded_and_shared_at_the_bound() {
        let piece = crate::limits::MAX_PIECE_BYTES;
        let geometry = Geometry::new(u64::from(piece) * 10, piece).unwrap();
        let all = Bitfield::full(10);
        let mut picker = Picker::new(geometry, Bitfield::new(10), all.clone(), &mut Rng::from_seed(1));
        let opened: BTreeSet<u32> =
            (0..8).map(|conn| next(&mut picker, conn, &all).unwrap().piece).collect();
        assert_eq!(opened.len() as u64, MAX_OPEN_BYTES / u64::from(piece));
    }

    #[test]
    fn a_bad_piece_is_fetched_from_one_peer_alone() {
        let mut picker = picker(1);
        let all = Bitfield::full(1);
        for (conn, number) in [(1, 0), (2, 1), (1, 2), (2, 3)] {
            let block = next(&mut picker, conn, &all).unwrap();
            assert_eq!(block.number(), number);
            let whole = picker.keep(block, Conn(conn)).unwrap().whole;
            assert_eq!(whole, number == 3);
        }
        assert_eq!(picker.senders(0), [Conn(1), Conn(2), Conn(1), Conn(2)]);
        picker.verified(0, false);
        let block = next(&mut picker, 1, &all).unwrap();
        assert_eq!(next(&mut picker, 2, &all), None, "nobody may help");
        assert_eq!(picker.keep(block, Conn(2)), None, "or send what only the other was asked for");
        assert!(picker.keep(block, Conn(1)).is_some());
        assert_eq!(picker.disown(Conn(1)), [0], "nor go on with it");
        assert_eq!(next(&mut picker, 2, &all), Some(block));
    }

    proptest! {
        /// Whatever peers do, every block is asked for until it is here, and the bounds hold.
        #[test]
        fn nothing_is_lost(seed in any::<u64>(), steps in 50usize..400) {
            let (pieces, mut rng) = (12, Rng::from_seed(seed));
            let mut picker = picker(pieces);
            let all = Bitfield::full(pieces);
            let mut asked: Vec<(u64, Block)> = Vec::new();
            for _ in 0..steps {
                let conn = rng.below(4);
                match rng.below(10) {
                    0..5 => {
                        let theirs = |block: Block| asked.contains(&(conn, block));
                        let offer = Offer {
                            conn: Conn(conn), pieces: &all, barred: &|_| false, asked: &theirs, double: rng.chance(0.5),
                        };
                        if let Some(block) = picker.next(&offer) {
                            prop_assert!(!asked.contains(&(conn, block)));
                            asked.push((conn, block));
                        }
                    }
                    5..8 if !asked.is_empty() => {
                        let (conn, block) = asked.swap_remove(rng.below(asked.len() as u64) as usize);
                        if let Some(arrival) = picker.keep(block, Conn(conn)) {
                            if arrival.elsewhere {
                                asked.retain(|(_, other)| *other != block);
                            }
                            if arrival.whole {
                                picker.verified(block.piece, rng.chance(0.8));
                            }
                        }
                    }
                    8 => {
                        // Before a peer goes, what it was asked for is released.
                        asked.iter().filter(|(who, _)| *who == conn).for_each(|(_, block)| picker.release(*block));
                        asked.retain(|(who, _)| *who != conn);
                        picker.disown(Conn(conn));
                    }
                    _ => {}
                }
                let open: u64 = picker.open.keys().map(|piece| u64::from(picker.geometry.length_of(*piece))).sum();
                prop_assert_eq!(open, picker.open_bytes);
            }
            asked.iter().for_each(|(_, block)| picker.release(*block));
            (0..4).for_each(|conn| drop(picker.disown(Conn(conn))));
            while let Some(block) = next(&mut picker, 9, &all) {
                if picker.keep(block, Conn(9)).is_some_and(|arrival| arrival.whole) {
                    picker.verified(block.piece, true);
                }
            }
            prop_assert!(picker.is_complete());
            prop_assert_eq!((picker.open_bytes, picker.open.len()), (0, 0));
        }
    }
}
