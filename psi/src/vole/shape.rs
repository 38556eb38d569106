//! Sizes of the silent VOLE behind one evaluation. The parameters' reasons are in `VOLE.md`.

/// Noisy positions, one in each of as many equal blocks ("regular noise").
///
/// No linear test on dual LPN with a code of relative distance d and noise uniform in GF(2^128)
/// does better than (1 - d)^t. With d = 0.1, which is below the Gilbert-Varshamov distance 0.110
/// of a binary code of rate 1/2, t = 843 makes that 2^-128.
pub(super) const NOISE: usize = 843;

/// Code length over message length.
const RATE_INVERSE: usize = 2;

/// Sizes for one VOLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Elements of the VOLE: k.
    pub(super) length: usize,
    /// Leaves of each of the [`NOISE`] trees.
    pub(super) leaves: usize,
}

impl Shape {
    pub(super) fn new(length: usize) -> Self {
        Self {
            length,
            leaves: (RATE_INVERSE * length).div_ceil(NOISE).max(2),
        }
    }

    /// Length of the noisy vector: n, at least 2k.
    pub(super) const fn noisy(&self) -> usize {
        self.leaves * NOISE
    }

    /// Levels of each tree below its root.
    pub(super) const fn depth(&self) -> usize {
        self.leaves.next_power_of_two().ilog2() as usize
    }

    /// Correlated transfers that choose the trees' paths.
    pub(super) const fn path_transfers(&self) -> usize {
        NOISE * self.depth()
    }

    /// Blocks of 128 correlated transfers: the paths, one block for each scalar of the noise and
    /// for the mask of the trees' check, and the mask of the extension's own check.
    pub(super) const fn blocks(&self) -> usize {
        self.path_blocks() + NOISE + 2
    }

    /// Blocks that hold the paths' transfers.
    pub(super) const fn path_blocks(&self) -> usize {
        self.path_transfers().div_ceil(128)
    }
}
