//! The Merkle tree of RFC 6962 section 2.1 (RFC 9162 keeps the same hashes): appending,
//! roots of every size so far, inclusion and consistency proofs.
//!
//! [`Tree`] keeps every complete subtree's hash, level by level: 64 bytes an entry (64 MB
//! for 1 M), a root or proof in O(log n) hashes, no entry read again. [`RootBuilder`]
//! keeps only the right edge and answers only for the root now.

mod proof;

#[cfg(test)]
mod tests;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use proof::{ConsistencyProof, InclusionProof, ProofError};

/// A SHA-256 hash of the tree: a leaf, a node or a root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    /// Takes the bytes of a hash that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The root of the tree without leaves: SHA-256 of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    /// `SHA-256(0x00 || data)`.
    #[must_use]
    pub fn leaf(data: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update([0])
                .chain_update(data)
                .finalize()
                .into(),
        )
    }

    /// `SHA-256(0x01 || left || right)`. The first byte keeps a node from passing as a
    /// leaf (RFC 6962 section 2.1, second preimages).
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        Self(
            Sha256::new()
                .chain_update([1])
                .chain_update(left.0)
                .chain_update(right.0)
                .finalize()
                .into(),
        )
    }

    /// The hash in padded standard base64, 44 characters, as checkpoints write it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads the one base64 form that [`to_base64`](Self::to_base64) writes.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        // STANDARD refuses missing padding, stray bits in the last character and spaces.
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_base64(&text).ok_or("a hash must be 32 bytes in padded standard base64")
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_base64()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// A question about leaves that the tree does not have. The fault is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree has `{size}` leaves, too few for `{asked}`")]
pub struct OutOfRange {
    /// The leaves there are.
    pub size: u64,
    /// The size or index that was asked for.
    pub asked: u64,
}

/// The tree of a whole log, in memory.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    // INVARIANT (complete-levels): `levels[l][i]` is the hash over the leaves
    // i * 2^l .. (i + 1) * 2^l, for each such run that is complete.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Appends a leaf: amortised one hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(row) = self.levels.get_mut(level) else {
                return;
            };
            row.push(hash);
            match row.as_slice() {
                [.., left, right] if row.len() % 2 == 0 => hash = Hash::node(left, right),
                _ => return,
            }
        }
    }

    /// The leaf at an index.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        self.node(0, index)
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.run(0, self.size()).unwrap_or_else(Hash::empty)
    }

    /// The root that the tree had at `size` leaves.
    ///
    /// # Errors
    /// [`OutOfRange`] when it never had so many.
    pub fn root_at(&self, size: u64) -> Result<Hash, OutOfRange> {
        self.check(size)?;
        Ok(self.run(0, size).unwrap_or_else(Hash::empty))
    }

    /// The proof that the leaf at `index` is in the tree of `size` leaves: RFC 6962
    /// section 2.1.1 `PATH(index, D[0..size])`, the leaf's sibling first.
    ///
    /// # Errors
    /// [`OutOfRange`] unless `index < size` and `size` is at most the tree's.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<InclusionProof, OutOfRange> {
        self.check(size)?;
        if index >= size {
            return Err(OutOfRange { size, asked: index });
        }
        let (mut start, mut count) = (0, size);
        let mut path = Vec::new();
        while count > 1 {
            let left = split(count);
            if index - start < left {
                path.extend(self.run(start + left, count - left));
                count = left;
            } else {
                path.extend(self.run(start, left));
                start += left;
                count -= left;
            }
        }
        path.reverse();
        Ok(InclusionProof::of(path))
    }

    /// The proof that the tree of `new` leaves begins with the tree of `old` leaves: RFC
    /// 6962 section 2.1.2 `PROOF(old, D[0..new])`; without hashes when `old` is 0 or `new`.
    ///
    /// # Errors
    /// [`OutOfRange`] unless `old <= new` and `new` is at most the tree's size.
    pub fn consistency(&self, old: u64, new: u64) -> Result<ConsistencyProof, OutOfRange> {
        self.check(new)?;
        if old > new {
            return Err(OutOfRange {
                size: new,
                asked: old,
            });
        }
        let mut path = Vec::new();
        if old == 0 {
            return Ok(ConsistencyProof::of(path));
        }
        let (mut start, mut count) = (0, new);
        while old - start != count {
            let left = split(count);
            if old - start <= left {
                path.extend(self.run(start + left, count - left));
                count = left;
            } else {
                path.extend(self.run(start, left));
                start += left;
                count -= left;
            }
        }
        // The old tree itself, which the verifier knows, is left out (RFC 6962: `b`).
        if start > 0 {
            path.extend(self.run(start, count));
        }
        path.reverse();
        Ok(ConsistencyProof::of(path))
    }

    fn node(&self, level: u32, index: u64) -> Option<Hash> {
        self.levels
            .get(level as usize)?
            .get(usize::try_from(index).ok()?)
            .copied()
    }

    /// `MTH(D[start..start + count])` from complete subtrees, the right edge first. Needs
    /// `start` aligned to the smallest power of two that holds `count`, as every run in a
    /// proof is. Nothing for an empty run.
    fn run(&self, start: u64, count: u64) -> Option<Hash> {
        let mut rest = count;
        let mut right: Option<Hash> = None;
        while rest > 0 {
            let level = rest.trailing_zeros();
            rest &= rest - 1;
            let hash = self.node(level, (start + rest) >> level)?;
            right = Some(right.map_or(hash, |right| Hash::node(&hash, &right)));
        }
        right
    }

    fn check(&self, size: u64) -> Result<(), OutOfRange> {
        if size <= self.size() {
            Ok(())
        } else {
            Err(OutOfRange {
                size: self.size(),
                asked: size,
            })
        }
    }
}

/// The largest power of two under `count`, for counts of 2 and more (RFC 6962 `k`).
const fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

/// The root of a log that is only read once, start to end, in O(log n) memory.
#[derive(Clone, Debug, Default)]
pub struct RootBuilder {
    size: u64,
    // The complete subtrees that `size` is made of, largest first: one for each set bit.
    edge: Vec<Hash>,
}

impl RootBuilder {
    /// Of nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            edge: Vec::new(),
        }
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Each trailing set bit is a subtree as large as what is carried.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                hash = Hash::node(&left, &hash);
            }
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// How many leaves there were.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    #[must_use]
    pub fn root(&self) -> Hash {
        let edge = self.edge.iter().rev().copied();
        edge.reduce(|right, left| Hash::node(&left, &right))
            .unwrap_or_else(Hash::empty)
    }
}
