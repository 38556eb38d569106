//! How the correlated transfers of one evaluation are used: some choose the trees' paths, the
//! others are packed into scalars.

use super::direction::Direction;
use super::field;
use super::shape::{NOISE, Shape};

const PAD_LABEL: &[u8] = b"counterfoil/vole/path-pad/v1";

/// The pad that hides the sum of one side of one level.
pub(super) fn pad(direction: &Direction, transfer: usize, row: u128) -> u128 {
    direction.element(
        PAD_LABEL,
        &[&(transfer as u64).to_be_bytes(), &row.to_le_bytes()],
    )
}

/// 128 correlated bits as one correlated element: sums of row_i * x^i. With rows q = t + r delta,
/// and r itself the 128 bits, this gives pack(q) = pack(t) + dot(r, delta).
pub(super) fn pack(rows: &[u128]) -> u128 {
    let sum = rows
        .iter()
        .rev()
        .fold(0, |sum, row| field::times_x(sum) ^ row);
    field::hash(sum, &[1])
}

/// The packed elements: one for each tree, and one for the check's mask.
pub(super) fn packed(shape: &Shape, rows: &[u128]) -> Vec<u128> {
    let (blocks, _) = rows.as_chunks::<128>();
    let scalars = blocks.iter().skip(shape.path_blocks()).take(NOISE + 1);
    scalars.map(|block| pack(block)).collect()
}

/// Bit `place` of the path to a leaf, counted from the root.
pub(super) const fn path_bit(shape: &Shape, hole: usize, level: usize) -> usize {
    hole >> (shape.depth() - 1 - level) & 1
}

#[cfg(test)]
#[path = "transfers_tests.rs"]
mod tests;
