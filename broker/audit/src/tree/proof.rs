//! Proofs apart from the tree that made them, and their verification (RFC 9162).

use serde::{Deserialize, Serialize};

use super::Hash;

/// No proof of a tree with 64-bit sizes has more hashes: a path of 64 levels, and the
/// one extra hash that a consistency proof may begin with.
const HASHES_MAX: usize = 65;

/// A proof that proves nothing. The fault is with whoever made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The index is not in a tree of that size.
    #[error("index `{index}` is not in a tree of `{size}` entries")]
    Index {
        /// The index.
        index: u64,
        /// The size.
        size: u64,
    },
    /// The newer tree is the smaller one.
    #[error(
        "the newer tree has `{new}` entries, fewer than the older with `{old}`: the log was rolled back"
    )]
    Shrunk {
        /// The older size.
        old: u64,
        /// The newer size.
        new: u64,
    },
    /// Too few or too many hashes for these sizes.
    #[error("the proof has the wrong number of hashes for its sizes")]
    Length,
    /// The hashes lead to another root.
    #[error(
        "the proof leads to another root: the entry or the tree is not the one that was signed"
    )]
    Root,
}

macro_rules! proof_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "Vec<Hash>", into = "Vec<Hash>")]
        pub struct $name(Vec<Hash>);

        impl $name {
            pub(super) const fn of(hashes: Vec<Hash>) -> Self {
                Self(hashes)
            }

            /// Takes the hashes of a proof that came from elsewhere, in their order.
            ///
            /// # Errors
            /// [`ProofError::Length`] for more than any tree can need.
            pub fn from_hashes(hashes: Vec<Hash>) -> Result<Self, ProofError> {
                if hashes.len() <= HASHES_MAX { Ok(Self(hashes)) } else { Err(ProofError::Length) }
            }

            /// The hashes.
            #[must_use]
            pub fn hashes(&self) -> &[Hash] {
                &self.0
            }
        }

        impl TryFrom<Vec<Hash>> for $name {
            type Error = ProofError;
            fn try_from(hashes: Vec<Hash>) -> Result<Self, ProofError> {
                Self::from_hashes(hashes)
            }
        }

        impl From<$name> for Vec<Hash> {
            fn from(proof: $name) -> Self {
                proof.0
            }
        }
    };
}

proof_type!(
    /// That one leaf is in a tree: the hashes beside the path from the leaf to the root,
    /// the leaf's sibling first.
    InclusionProof
);
proof_type!(
    /// That a tree begins with an older one.
    ConsistencyProof
);

impl InclusionProof {
    /// Checks that `leaf` is at `index` in the tree of `size` leaves with `root` (RFC 9162
    /// section 2.1.3.2).
    ///
    /// # Errors
    /// [`ProofError`] when that is not shown.
    pub fn verify(
        &self,
        leaf: &Hash,
        index: u64,
        size: u64,
        root: &Hash,
    ) -> Result<(), ProofError> {
        if index >= size {
            return Err(ProofError::Index { index, size });
        }
        let mut walk = Walk {
            node: index,
            last: size - 1,
        };
        let mut hash = *leaf;
        for sibling in &self.0 {
            hash = match walk.step()? {
                Side::Left => Hash::node(sibling, &hash),
                Side::Right => Hash::node(&hash, sibling),
            };
        }
        walk.finish()?;
        if hash == *root {
            Ok(())
        } else {
            Err(ProofError::Root)
        }
    }
}

impl ConsistencyProof {
    /// Checks that the tree of `new` leaves with `new_root` begins with the tree of `old`
    /// leaves with `old_root` (RFC 9162 section 2.1.4.2; with `old` 0 or equal to `new`
    /// the proof is empty, which the RFC leaves out).
    ///
    /// # Errors
    /// [`ProofError`] when that is not shown.
    pub fn verify(
        &self,
        old: u64,
        old_root: &Hash,
        new: u64,
        new_root: &Hash,
    ) -> Result<(), ProofError> {
        if old > new {
            return Err(ProofError::Shrunk { old, new });
        }
        if old == 0 || old == new {
            return self.verify_trivial(old, old_root, new, new_root);
        }
        // A complete old tree is a node of the new one, so the proof leaves it out.
        let mut hashes = self.0.iter();
        let first = if old.is_power_of_two() {
            Some(old_root)
        } else {
            hashes.next()
        };
        let first = *first.ok_or(ProofError::Length)?;
        let shift = (old - 1).trailing_ones();
        let mut walk = Walk {
            node: (old - 1) >> shift,
            last: (new - 1) >> shift,
        };
        let (mut old_hash, mut new_hash) = (first, first);
        for sibling in hashes {
            match walk.step()? {
                Side::Left => {
                    old_hash = Hash::node(sibling, &old_hash);
                    new_hash = Hash::node(sibling, &new_hash);
                }
                Side::Right => new_hash = Hash::node(&new_hash, sibling),
            }
        }
        walk.finish()?;
        if old_hash == *old_root && new_hash == *new_root {
            Ok(())
        } else {
            Err(ProofError::Root)
        }
    }

    fn verify_trivial(
        &self,
        old: u64,
        old_root: &Hash,
        new: u64,
        new_root: &Hash,
    ) -> Result<(), ProofError> {
        let roots_fit = if old == new {
            old_root == new_root
        } else {
            true
        };
        // Only size 0 has a root that is known without any proof.
        let empties_fit =
            (old > 0 || *old_root == Hash::empty()) && (new > 0 || *new_root == Hash::empty());
        if !self.0.is_empty() {
            Err(ProofError::Length)
        } else if roots_fit && empties_fit {
            Ok(())
        } else {
            Err(ProofError::Root)
        }
    }
}

/// On which side of the path a proof's hash stands.
enum Side {
    Left,
    Right,
}

/// The walk up that both algorithms of RFC 9162 share (their `fn` and `sn`).
struct Walk {
    node: u64,
    last: u64,
}

impl Walk {
    /// Goes up past one hash of the proof.
    const fn step(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length);
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // The last node of a level without a right sibling goes up unhashed.
            while self.node & 1 == 0 && self.node != 0 {
                self.node >>= 1;
                self.last >>= 1;
            }
            Side::Left
        } else {
            Side::Right
        };
        self.node >>= 1;
        self.last >>= 1;
        Ok(side)
    }

    const fn finish(&self) -> Result<(), ProofError> {
        if self.last == 0 {
            Ok(())
        } else {
            Err(ProofError::Length)
        }
    }
}
