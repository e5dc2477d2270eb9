//! Parity of n images that m holders keep, of which any m images or parities may be lost.
//!
//! The lesson: what a holder keeps is a sum, over the workers, of image times coefficient in GF(256), so a
//! diff is added without the image that it belongs to, and one that is lost is a sum of what is left. With
//! m = 1 all coefficients are 1 and the sum is the paper's exclusive-or. For more, any square part of the
//! coefficients must be invertible: they are a Cauchy matrix, 1 / (x_j + y_i), each column scaled so that the
//! first holder has the exclusive-or still.
//!
//! Left out: who is asked for what (`proto`); speed beyond one table for each coefficient, as only m > 1 has
//! coefficients other than 1.

use crate::id::{Holder, Worker};
use crate::limits::{MAX_HOLDERS, MAX_WORKERS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// x^8 = x^4 + x^3 + x^2 + 1, by which the powers of x run through all of the field.
const MODULUS: u16 = 0x11d;
const POWERS: [u8; 255] = powers();
const LOGARITHMS: [u8; 256] = logarithms();

/// How images become parity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    workers: usize,
    /// Of each holder, a coefficient for each worker.
    rows: Vec<Vec<u8>>,
    backup: bool,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too few or too many workers.
    #[error("{0} workers: there may be 1 to {MAX_WORKERS}")]
    Workers(usize),
    /// Too few or too many failures to survive.
    #[error("parity for {0} simultaneous failures: 1 to {MAX_HOLDERS} can be survived")]
    Failures(usize),
}

/// A term of the sum that is an image or a parity that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Term {
    /// A worker's image times this.
    Image(Worker, u8),
    /// A holder's parity times this.
    Parity(Holder, u8),
}

impl Code {
    /// For so many workers, any `failures` of which, or of the holders, may be lost at once. One failure is
    /// the paper's case: the second holder is the first one's backup.
    ///
    /// # Errors
    /// There is no such code.
    pub fn new(workers: usize, failures: usize) -> Result<Code, Error> {
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(Error::Workers(workers));
        }
        match failures {
            1 => Ok(Code { workers, rows: vec![vec![1; workers]; 2], backup: true }),
            2..=MAX_HOLDERS => {
                // x_j = j and y_i = m + i all differ, so that no sum of them is 0.
                let cauchy = |j: usize, i: usize| inverse((j ^ (failures + i)) as u8);
                let scaled = |j, i| multiply(cauchy(j, i), inverse(cauchy(0, i)));
                let rows = (0..failures).map(|j| (0..workers).map(|i| scaled(j, i)).collect());
                Ok(Code { workers, rows: rows.collect(), backup: false })
            }
            _ => Err(Error::Failures(failures)),
        }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// How many holders there are.
    pub fn holders(&self) -> usize {
        self.rows.len()
    }

    /// How many losses at once are survived, whoever they hit.
    pub fn failures(&self) -> usize {
        if self.backup { 1 } else { self.rows.len() }
    }

    /// What a worker's image is multiplied by in a holder's parity.
    pub fn coefficient(&self, holder: Holder, worker: Worker) -> u8 {
        self.rows
            .get(usize::from(holder.0))
            .and_then(|row| row.get(usize::from(worker.0)))
            .map_or(0, |c| *c)
    }

    /// Is this holder's parity all workers' plain exclusive-or?
    pub fn is_plain(&self, holder: Holder) -> bool {
        self.rows.get(usize::from(holder.0)).is_some_and(|row| row.iter().all(|c| *c == 1))
    }

    /// What the images of `lost` are the sums of, in their order, where the parity of `held` is there; `None`
    /// where that is not enough.
    pub fn images(&self, lost: &[Worker], held: &[Holder]) -> Option<Vec<Vec<Term>>> {
        let mut rows = BTreeSet::new();
        let differ = |holder: &&Holder| rows.insert(&self.rows[usize::from(holder.0)]);
        let held: Vec<Holder> = held.iter().filter(differ).take(lost.len()).copied().collect();
        if held.len() < lost.len() {
            return None;
        }
        let square =
            held.iter().map(|h| lost.iter().map(|w| self.coefficient(*h, *w)).collect()).collect();
        let inverted = invert(square)?;
        let left = (0..self.workers as u16).map(Worker).filter(|worker| !lost.contains(worker));
        let left: Vec<Worker> = left.collect();
        let sum = |weights: &Vec<u8>| {
            let image = |worker: &Worker| {
                let each = held.iter().zip(weights);
                let sum = each.fold(0, |sum, (h, w)| sum ^ multiply(*w, self.coefficient(*h, *worker)));
                Term::Image(*worker, sum)
            };
            let parity = held.iter().zip(weights).map(|(holder, weight)| Term::Parity(*holder, *weight));
            parity.chain(left.iter().map(image)).filter(|term| term.factor() != 0).collect()
        };
        Some(inverted.iter().map(sum).collect())
    }

    /// What a lost parity is the sum of, where all images are there: another with the same coefficients if
    /// there is one, else the images.
    pub fn parity(&self, lost: Holder, held: &[Holder]) -> Vec<Term> {
        let row = self.rows.get(usize::from(lost.0));
        match held.iter().find(|holder| **holder != lost && self.rows.get(usize::from(holder.0)) == row)
        {
            Some(twin) => vec![Term::Parity(*twin, 1)],
            None => {
                let workers = (0..self.workers as u16).map(Worker);
                workers.map(|worker| Term::Image(worker, self.coefficient(lost, worker))).collect()
            }
        }
    }
}

impl Term {
    /// What the image or parity is multiplied by.
    pub fn factor(self) -> u8 {
        match self {
            Term::Image(_, factor) | Term::Parity(_, factor) => factor,
        }
    }
}

/// Adds `bytes` times `factor` to `sum`; both are equally long.
pub fn add_scaled(sum: &mut [u8], bytes: &[u8], factor: u8) {
    match factor {
        0 => {}
        1 => sum.iter_mut().zip(bytes).for_each(|(sum, byte)| *sum ^= byte),
        _ => {
            let products: [u8; 256] = std::array::from_fn(|byte| multiply(byte as u8, factor));
            sum.iter_mut().zip(bytes).for_each(|(sum, byte)| *sum ^= products[usize::from(*byte)]);
        }
    }
}

fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    let sum = usize::from(LOGARITHMS[usize::from(a)]) + usize::from(LOGARITHMS[usize::from(b)]);
    POWERS[sum % 255]
}

/// Of anything but 0.
fn inverse(a: u8) -> u8 {
    POWERS[(255 - usize::from(LOGARITHMS[usize::from(a)])) % 255]
}

/// By Gauss and Jordan; `None` where there is no inverse.
fn invert(mut square: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    let size = square.len();
    for (i, row) in square.iter_mut().enumerate() {
        row.extend((0..size).map(|j| u8::from(i == j)));
    }
    for i in 0..size {
        let pivot = (i..size).find(|row| square[*row][i] != 0)?;
        square.swap(i, pivot);
        let scale = inverse(square[i][i]);
        square[i].iter_mut().for_each(|value| *value = multiply(*value, scale));
        let pivot = square[i].clone();
        for (_, row) in square.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let factor = row[i];
            add_scaled(row, &pivot, factor);
        }
    }
    square.iter_mut().for_each(|row| drop(row.drain(..size)));
    Some(square)
}

const fn powers() -> [u8; 255] {
    let (mut powers, mut value, mut i) = ([0; 255], 1u16, 0);
    while i < 255 {
        powers[i] = value as u8;
        value <<= 1;
        if value > 255 {
            value ^= MODULUS;
        }
        i += 1;
    }
    powers
}

const fn logarithms() -> [u8; 256] {
    let (mut logarithms, mut i) = ([0; 256], 0);
    while i < 255 {
        logarithms[POWERS[i] as usize] = i as u8;
        i += 1;
    }
    logarithms
}

#[cfg(test)]
mod tests {
    use super::*;
    use offload::rng::Rng;

    const BYTES: usize = 40;

    struct House {
        code: Code,
        images: Vec<Vec<u8>>,
        parities: Vec<Vec<u8>>,
    }

    /// Images that came to be by diffs, and their parity.
    fn house(workers: usize, failures: usize, rng: &mut Rng) -> House {
        let code = Code::new(workers, failures).unwrap();
        let mut images = vec![vec![0; BYTES]; workers];
        let mut parities = vec![vec![0; BYTES]; code.holders()];
        for _ in 0..3 * workers {
            let worker = Worker(rng.below(workers as u64) as u16);
            let mut diff = vec![0; BYTES];
            rng.fill(&mut diff);
            add_scaled(&mut images[usize::from(worker.0)], &diff, 1);
            for (holder, parity) in (0..).zip(&mut parities) {
                add_scaled(parity, &diff, code.coefficient(Holder(holder), worker));
            }
        }
        House { code, images, parities }
    }

    impl House {
        fn sum(&self, terms: &[Term]) -> Vec<u8> {
            let mut sum = vec![0; BYTES];
            for term in terms {
                let bytes = match *term {
                    Term::Image(worker, _) => &self.images[usize::from(worker.0)],
                    Term::Parity(holder, _) => &self.parities[usize::from(holder.0)],
                };
                add_scaled(&mut sum, bytes, term.factor());
            }
            sum
        }

        /// Everything of `lost`, members counted workers first, is had again from the rest.
        fn survives(&self, lost: &[usize]) -> bool {
            let workers = self.images.len();
            let gone: Vec<Worker> =
                lost.iter().filter(|i| **i < workers).map(|i| Worker(*i as u16)).collect();
            let held: Vec<Holder> = (0..self.code.holders())
                .filter(|i| !lost.contains(&(workers + i)))
                .map(|i| Holder(i as u8))
                .collect();
            let Some(sums) = self.code.images(&gone, &held) else { return false };
            for (worker, terms) in gone.iter().zip(sums) {
                assert!(!terms.iter().any(|t| matches!(t, Term::Image(w, _) if gone.contains(w))));
                assert!(!terms.iter().any(|t| matches!(t, Term::Parity(h, _) if !held.contains(h))));
                assert_eq!(self.sum(&terms), self.images[usize::from(worker.0)], "{worker}");
            }
            for holder in (0..self.code.holders()).filter(|i| lost.contains(&(workers + i))) {
                let terms = self.code.parity(Holder(holder as u8), &held);
                assert_eq!(self.sum(&terms), self.parities[holder], "holder {holder}");
            }
            true
        }
    }

    /// All ways to choose so many of `members`.
    fn choices(members: usize, count: usize) -> Vec<Vec<usize>> {
        let sets = (0..1u32 << members).filter(|set| set.count_ones() as usize == count);
        sets.map(|set| (0..members).filter(|i| set >> i & 1 == 1).collect()).collect()
    }

    #[test]
    fn any_losses_up_to_what_was_asked_for_are_survived() {
        let mut rng = Rng::from_seed(5);
        for (workers, failures) in [(1, 1), (2, 1), (5, 1), (1, 2), (4, 2), (5, 3), (6, 4)] {
            let house = house(workers, failures, &mut rng);
            let members = workers + house.code.holders();
            for count in 0..=failures {
                for lost in choices(members, count) {
                    assert!(house.survives(&lost), "{workers} workers, {lost:?}");
                }
            }
            let workers_gone: Vec<usize> = (0..=failures).filter(|i| *i < workers).collect();
            assert_eq!(house.survives(&workers_gone), workers_gone.len() <= failures);
        }
    }

    #[test]
    fn the_largest_house_survives_too() {
        let mut rng = Rng::from_seed(6);
        let house = house(MAX_WORKERS, MAX_HOLDERS, &mut rng);
        for _ in 0..50 {
            let members = MAX_WORKERS + house.code.holders();
            let lost: BTreeSet<usize> =
                (0..house.code.failures()).map(|_| rng.below(members as u64) as usize).collect();
            assert!(house.survives(&lost.into_iter().collect::<Vec<_>>()));
        }
    }

    #[test]
    fn one_failure_is_the_papers_parity_and_its_backup() {
        let code = Code::new(3, 1).unwrap();
        assert_eq!((code.holders(), code.failures()), (2, 1));
        assert!(code.is_plain(Holder(0)) && code.is_plain(Holder(1)));
        assert_eq!(code.parity(Holder(0), &[Holder(1)]), [Term::Parity(Holder(1), 1)]);
        let both_holders_and = code.images(&[Worker(0), Worker(1)], &[Holder(0), Holder(1)]);
        assert_eq!(both_holders_and, None, "two copies of one sum are one equation");
        let many = Code::new(3, 2).unwrap();
        assert!(many.is_plain(Holder(0)) && !many.is_plain(Holder(1)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(Code::new(0, 1), Err(Error::Workers(0)));
        assert_eq!(Code::new(MAX_WORKERS + 1, 1), Err(Error::Workers(MAX_WORKERS + 1)));
        assert_eq!(Code::new(3, 0), Err(Error::Failures(0)));
        assert_eq!(Code::new(3, MAX_HOLDERS + 1), Err(Error::Failures(MAX_HOLDERS + 1)));
    }

    #[test]
    fn it_is_a_field() {
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1);
            assert_eq!(multiply(a, 0), 0);
        }
        let (a, b, c) = (0x53, 0xca, 0x0f);
        assert_eq!(multiply(a, b ^ c), multiply(a, b) ^ multiply(a, c));
        assert_eq!(multiply(0x80, 2), 0x1d);
    }
}
