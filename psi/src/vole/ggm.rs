//! Trees of keys after Goldreich, Goldwasser and Micali, punctured at one leaf.
//!
//! One side grows a tree from a root; the other learns all leaves but one from the sums of the
//! left and right nodes of each level, one of which it chooses by oblivious transfer (Boyle et
//! al. 2019, CCS, eprint 2019/1159). Trees of any number of leaves: a level has as many
//! nodes as it needs.

use zeroize::{Zeroize, Zeroizing};

use super::prg::FixedKey;

/// Nodes whose children are computed together.
const BATCH: usize = 64;

/// The two permutations that a session's trees grow by.
pub(super) struct Growth {
    left: FixedKey,
    right: FixedKey,
}

/// The sums of a level's left and right nodes.
pub(super) type Sums = [u128; 2];

impl Growth {
    pub(super) fn new(keys: [u128; 2]) -> Self {
        let [left, right] = keys.map(FixedKey::new);
        Self { left, right }
    }

    /// Fills `leaves`, and `sums` of each level from the root's children down.
    pub(super) fn grow(&self, root: u128, leaves: &mut [u128], sums: &mut [Sums]) {
        let mut parents = Zeroizing::new(vec![root]);
        for (sums, width) in sums.iter_mut().zip(widths(leaves.len())) {
            let mut nodes = Zeroizing::new(vec![0; width]);
            self.children(&parents, &mut nodes);
            *sums = level_sums(&nodes);
            parents = nodes;
        }
        leaves.copy_from_slice(&parents);
    }

    /// Fills `leaves` but for the one at `hole`, which stays zero. `known` has, for each level,
    /// the sum on the side that the path to the hole does not take.
    pub(super) fn grow_punctured(&self, hole: usize, known: &[u128], leaves: &mut [u128]) {
        let depth = known.len();
        let mut parents = Zeroizing::new(vec![0]);
        for ((sum, width), below) in known.iter().zip(widths(leaves.len())).zip((0..depth).rev()) {
            let mut nodes = Zeroizing::new(vec![0; width]);
            self.children(&parents, &mut nodes);
            let path = hole >> below;
            // Both children of the hole above are wrong: one stays a hole, the other is what the
            // sum of its side lacks.
            for place in [path, path ^ 1] {
                if let Some(node) = nodes.get_mut(place) {
                    node.zeroize();
                }
            }
            let side = (path & 1) ^ 1;
            let lacking = sum ^ level_sums(&nodes).get(side).copied().unwrap_or_default();
            if let Some(node) = nodes.get_mut(path ^ 1) {
                *node = lacking;
            }
            parents = nodes;
        }
        leaves.copy_from_slice(&parents);
    }

    fn children(&self, parents: &[u128], nodes: &mut [u128]) {
        let (mut left, mut right) = ([0; BATCH], [0; BATCH]);
        for (parents, nodes) in parents.chunks(BATCH).zip(nodes.chunks_mut(2 * BATCH)) {
            self.left.map(parents, &mut left);
            self.right.map(parents, &mut right);
            for (pair, (l, r)) in nodes.chunks_mut(2).zip(left.iter().zip(&right)) {
                for (node, child) in pair.iter_mut().zip([l, r]) {
                    *node = *child;
                }
            }
        }
        left.zeroize();
        right.zeroize();
    }
}

/// Nodes of each level below the root.
fn widths(leaves: usize) -> impl Iterator<Item = usize> {
    let depth = leaves.next_power_of_two().ilog2();
    (0..depth)
        .rev()
        .map(move |below| leaves.div_ceil(1 << below))
}

fn level_sums(nodes: &[u128]) -> Sums {
    let mut sums = [0; 2];
    for pair in nodes.chunks(2) {
        for (sum, node) in sums.iter_mut().zip(pair) {
            *sum ^= node;
        }
    }
    sums
}

#[cfg(test)]
#[path = "ggm_tests.rs"]
mod tests;
