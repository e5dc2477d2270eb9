//! Matrix multiplication by Cannon's algorithm: blocks of A move to the left, blocks of B upwards, and each
//! worker adds up its block of C.

use super::{Needs, number, sum_up};
use crate::id::Worker;
use crate::proto::work::{Context, Outcome, Task};
use bytemuck::{Pod, Zeroable};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

/// Rows of a block that are multiplied in a step.
const ROWS_AT_ONCE: usize = 32;

#[derive(Debug)]
pub struct MatMul {
    pub size: usize,
}

/// The state is this, then the blocks of A, B and C, row by row.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Head {
    /// 1 once the blocks are there.
    begun: u64,
    /// How often blocks have moved.
    shift: u64,
    /// Rows of C to which this shift's product is added.
    rows: u64,
    /// Of this shift's blocks: A was sent, B was sent, A has come, B has come.
    moved: [u64; 4],
    said: u64,
}

/// Where a worker is in the grid, and the grid's side.
#[derive(Clone, Copy)]
struct Place {
    row: u16,
    column: u16,
    side: u16,
}

impl Place {
    fn of(worker: u16, workers: u16) -> Place {
        let side = workers.isqrt();
        Place { row: worker / side, column: worker % side, side }
    }

    fn beside(self, down: u16, right: u16) -> Worker {
        let (row, column) = ((self.row + down) % self.side, (self.column + right) % self.side);
        Worker(row * self.side + column)
    }
}

fn block(size: usize, workers: u16) -> usize {
    size.div_ceil(usize::from(workers.isqrt()))
}

pub fn needs(size: usize, workers: u16) -> Needs {
    let bytes = 8 * block(size, workers).pow(2);
    Needs { state_bytes: size_of::<Head>() + 3 * bytes, step: (bytes, 1), log_bytes: 4 * (bytes + 64) }
}

/// An element of one of the factors; beyond their size they are zeros.
fn element(size: usize, matrix: u64, row: usize, column: usize) -> f64 {
    if row >= size || column >= size {
        return 0.0;
    }
    let index = (row * size + column) as u64 * 2 + matrix;
    (number(index) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

/// The blocks of A and B that a worker begins with.
fn fill(size: usize, place: Place, a: &mut [f64], b: &mut [f64]) {
    let side = a.len().isqrt();
    let (row, column) = (usize::from(place.row), usize::from(place.column));
    let skewed = (row + column) % usize::from(place.side);
    for i in 0..side {
        for j in 0..side {
            a[i * side + j] = element(size, 0, row * side + i, skewed * side + j);
            b[i * side + j] = element(size, 1, skewed * side + i, column * side + j);
        }
    }
}

/// Adds some rows of the product of two blocks.
fn multiply(a: &[f64], b: &[f64], c: &mut [f64], first: usize) -> usize {
    let side = b.len().isqrt();
    let end = (first + ROWS_AT_ONCE).min(side);
    let rows = first * side..end * side;
    let views = (
        ArrayView2::from_shape((end - first, side), &a[rows.clone()]),
        ArrayView2::from_shape((side, side), b),
        ArrayViewMut2::from_shape((end - first, side), &mut c[rows]),
    );
    if let (Ok(a), Ok(b), Ok(mut c)) = views {
        general_mat_mul(1.0, &a, &b, 1.0, &mut c);
    }
    end
}

fn said(c: &[f64]) -> String {
    let sum = c.iter().fold(0, |sum, value| sum_up(sum, value.to_bits()));
    format!("elements {} sum {sum:016x}", c.len())
}

impl Task for MatMul {
    fn step(&mut self, cx: &mut Context<'_>) -> Outcome {
        let place = Place::of(cx.me().0, cx.workers());
        let (side, turns) = (block(self.size, cx.workers()), u64::from(place.side));
        let elements = side * side;
        let (head, words) = cx.parts::<Head, f64>();
        let (a, rest) = words.split_at_mut(elements);
        let (b, rest) = rest.split_at_mut(elements);
        let c = &mut rest[..elements];
        if head.begun == 0 {
            fill(self.size, place, a, b);
            head.begun = 1;
            return Outcome::Again;
        }
        if head.shift == turns {
            if head.said == 0 {
                head.said = 1;
                let said = said(c);
                cx.output(said.into_bytes());
            }
            return Outcome::Done;
        }
        if (head.rows as usize) < side {
            head.rows = multiply(a, b, c, head.rows as usize) as u64;
            return Outcome::Again;
        }
        if head.shift + 1 == turns {
            head.shift += 1;
            return Outcome::Again;
        }
        let [sent_a, sent_b, has_a, has_b] = head.moved;
        if sent_a == 0 || sent_b == 0 {
            let (which, bytes) = if sent_a == 0 { (0, a) } else { (1, b) };
            head.moved[which] = 1;
            let bytes = bytemuck::cast_slice(bytes).to_vec();
            let to = if which == 0 {
                place.beside(0, place.side - 1)
            } else {
                place.beside(place.side - 1, 0)
            };
            cx.send(to, bytes);
            return Outcome::Again;
        }
        let next = [(2, has_a, place.beside(0, 1)), (3, has_b, place.beside(1, 0))];
        for (which, has, from) in next {
            if has == 0
                && let Some(message) = cx.receive(from)
            {
                let (head, words) = cx.parts::<Head, f64>();
                let at = (which - 2) * elements;
                bytemuck::cast_slice_mut(&mut words[at..at + elements]).copy_from_slice(&message);
                head.moved[which] = 1;
                return Outcome::Again;
            }
        }
        if has_a == 0 || has_b == 0 {
            return Outcome::Wait;
        }
        let (head, _) = cx.parts::<Head, f64>();
        (head.moved, head.rows) = ([0; 4], 0);
        head.shift += 1;
        Outcome::Again
    }

    fn progress(&self, state: &[u8]) -> u16 {
        let head: &Head = bytemuck::from_bytes(&state[..size_of::<Head>()]);
        let side = ((state.len() - size_of::<Head>()) / 24).isqrt() as u64;
        // As many turns as a block goes into the matrix.
        let turns = (self.size as u64).div_ceil(side).max(1);
        (1000 * head.shift.min(turns) / turns + 1000 * head.rows.min(side) / side / turns).min(1000)
            as u16
    }
}

/// The same products in the same order: the bits must be the same.
pub fn alone(size: usize, workers: u16) -> Vec<String> {
    let side = block(size, workers);
    let zeros = vec![0.0; side * side];
    let one = |worker: u16| {
        let place = Place::of(worker, workers);
        let (mut a, mut b, mut c) = (zeros.clone(), zeros.clone(), zeros.clone());
        for turn in 0..place.side {
            // The blocks that have come to be here after so many moves.
            let skewed = Place { column: (place.column + turn) % place.side, ..place };
            fill(size, skewed, &mut a, &mut zeros.clone());
            let skewed = Place { row: (place.row + turn) % place.side, ..place };
            fill(size, skewed, &mut zeros.clone(), &mut b);
            let mut rows = 0;
            while rows < side {
                rows = multiply(&a, &b, &mut c, rows);
            }
        }
        said(&c)
    };
    (0..workers).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of one worker are the matrices, and their product is the product.
    #[test]
    fn a_product_is_right() {
        let size = 37;
        let place = Place::of(0, 1);
        let (mut a, mut b, mut c) =
            (vec![0.0; size * size], vec![0.0; size * size], vec![0.0; size * size]);
        fill(size, place, &mut a, &mut b);
        let mut rows = 0;
        while rows < size {
            rows = multiply(&a, &b, &mut c, rows);
        }
        for (i, found) in c.iter().enumerate() {
            let (row, column) = (i / size, i % size);
            let terms = (0..size).map(|k| element(size, 0, row, k) * element(size, 1, k, column));
            assert!((found - terms.sum::<f64>()).abs() < 1e-12, "element {row}, {column}");
        }
    }
}
