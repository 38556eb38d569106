//! The check that the trees were grown as they should be (Weng, Yang, Katz, Wang 2021, IEEE S&P,
//! eprint 2020/925, for all trees at once).
//!
//! The asking side weighs all leaves at random and asks for the weighted sum of the other side's.
//! A side that grew a tree wrongly answers rightly only if the hole is where it guessed; what that
//! tells it about the noise is the leakage that regular LPN is assumed to stand (about one bit).

use rayon::prelude::*;

use super::direction::Direction;
use super::field;

const LABEL: &[u8] = b"counterfoil/vole/tree-check/v1";

/// Random weights of all leaves: products of a power for the place in the tree and one for the
/// tree. Two different vectors have the same sum for at most (leaves + trees) of 2^128 keys.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    pub(super) leaf: u128,
    pub(super) tree: u128,
}

impl Weights {
    /// The weighted sum of one tree's leaves, within the tree.
    pub(super) fn of_tree(&self, leaves: &[u128]) -> u128 {
        field::hash(self.leaf, leaves)
    }

    /// The weighted sum of the trees' sums.
    pub(super) fn of_all(&self, trees: &[u128]) -> u128 {
        field::hash(self.tree, trees)
    }

    /// The weighted sum of all leaves.
    pub(super) fn of_leaves(&self, leaves: &[u128], each: usize) -> u128 {
        let trees: Vec<u128> = leaves
            .par_chunks(each)
            .map(|tree| self.of_tree(tree))
            .collect();
        self.of_all(&trees)
    }

    /// The weighted sum of trees that are zero but for `scalars[i]` at `holes[i]`.
    pub(super) fn of_noise(&self, holes: &[usize], scalars: &[u128], leaves: usize) -> u128 {
        let powers = field::powers(self.leaf, leaves);
        let trees: Vec<u128> = holes
            .iter()
            .zip(scalars)
            .map(|(hole, scalar)| {
                let weight = powers.get(leaves - 1 - hole).copied().unwrap_or_default();
                field::hash(weight, &[*scalar])
            })
            .collect();
        self.of_all(&trees)
    }
}

/// What the sum is shown as. Hashed, so that a side whose noise is wrong cannot compute with it.
pub(super) fn shown(direction: &Direction, sum: u128) -> [u8; 32] {
    direction.digest(LABEL, &[&sum.to_le_bytes()])
}
