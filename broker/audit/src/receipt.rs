//! Receipts: what a party of a flow keeps, to show later that the log has its entry.
//!
//! The text is a c2sp.org/tlog-proof@v1 file whose `extra` line carries the entry, which
//! the specification has for what is needed to rebuild the record hash. So any tool that
//! knows the format checks it; save it as `NAME.tlog-proof`.

#[cfg(test)]
mod tests;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    checkpoint::{CheckpointError, SignedCheckpoint, VerifiedCheckpoint, parse_decimal},
    entry::{Entry, EntryBytes, EntryError},
    note::VerifierKey,
    tree::{Hash, InclusionProof, OutOfRange, ProofError, Tree},
};

/// The largest receipt in bytes: an entry in base64, 64 proof hashes and a note.
pub const RECEIPT_BYTES_MAX: usize = 384 * 1024;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// A receipt that shows nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Too many bytes.
    #[error("the receipt has `{bytes}` bytes, more than {RECEIPT_BYTES_MAX}")]
    Size {
        /// Its length.
        bytes: usize,
    },
    /// Not a receipt's text.
    #[error(
        "the receipt's {part} is missing or malformed; a receipt begins with the line `c2sp.org/tlog-proof@v1`, then `extra`, `index`, proof hashes, a blank line and a checkpoint"
    )]
    Text {
        /// Which part.
        part: &'static str,
    },
    /// Its checkpoint is not one of the log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its entry is not in the signed log.
    #[error("the receipt does not show its entry in the signed log: {0}")]
    Proof(#[from] ProofError),
    /// What the log has there is not an entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A receipt was asked for that this log cannot give.
    #[error("no receipt can be made: {0}")]
    OutOfRange(#[from] OutOfRange),
    /// The entry at the index is another one.
    #[error("no receipt can be made: the log has another entry at index `{index}`")]
    OtherEntry {
        /// The index.
        index: u64,
    },
}

/// A receipt as it was made or received. Its entry may be read only from a
/// [`VerifiedReceipt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    entry: EntryBytes,
    index: u64,
    proof: InclusionProof,
    checkpoint: SignedCheckpoint,
}

impl Receipt {
    /// Makes the receipt of the entry at `index`, in the tree that `checkpoint` signed.
    ///
    /// # Errors
    /// [`ReceiptError::OutOfRange`] when the checkpoint does not reach the entry yet, or
    /// the tree not the checkpoint; [`ReceiptError::OtherEntry`] when it is not its entry.
    pub fn new(
        entry: EntryBytes,
        index: u64,
        tree: &Tree,
        checkpoint: &VerifiedCheckpoint,
    ) -> Result<Self, ReceiptError> {
        let proof = tree.inclusion(index, checkpoint.size())?;
        checkpoint.check_log(tree)?;
        if tree.leaf(index) != Some(entry.leaf_hash()) {
            return Err(ReceiptError::OtherEntry { index });
        }
        Ok(Self {
            entry,
            index,
            proof,
            checkpoint: checkpoint.signed().clone(),
        })
    }

    /// Reads the text that [`Display`](fmt::Display) writes; nothing is verified yet.
    ///
    /// # Errors
    /// [`ReceiptError`] for what is no receipt.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        if text.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptError::Size { bytes: text.len() });
        }
        let part = |part| ReceiptError::Text { part };
        let (head, checkpoint) = text.split_once("\n\n").ok_or(part("checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(part("first line"));
        }
        let entry = lines.next().and_then(|line| line.strip_prefix("extra "));
        let entry = entry
            .and_then(|base64| STANDARD.decode(base64).ok())
            .ok_or(part("entry"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(parse_decimal).ok_or(part("index"))?;
        let hashes: Option<Vec<Hash>> = lines.map(Hash::from_base64).collect();
        Ok(Self {
            entry: EntryBytes::new(entry)?,
            index,
            proof: InclusionProof::from_hashes(hashes.ok_or(part("proof"))?)?,
            checkpoint: SignedCheckpoint::parse(checkpoint)?,
        })
    }

    /// Checks the receipt with the log's key: signature, then inclusion, then entry.
    ///
    /// # Errors
    /// [`ReceiptError`] when any of them fails.
    pub fn verify(&self, key: &VerifierKey) -> Result<VerifiedReceipt, ReceiptError> {
        let checkpoint = self.checkpoint.verify(key)?;
        let leaf = self.entry.leaf_hash();
        self.proof
            .verify(&leaf, self.index, checkpoint.size(), &checkpoint.root())?;
        Ok(VerifiedReceipt {
            entry: self.entry.parse()?,
            index: self.index,
            checkpoint,
        })
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{FIRST_LINE}\nextra {}",
            STANDARD.encode(self.entry.as_bytes())
        )?;
        writeln!(f, "index {}", self.index)?;
        for hash in self.proof.hashes() {
            writeln!(f, "{}", hash.to_base64())?;
        }
        write!(f, "\n{}", self.checkpoint.as_str())
    }
}

/// An entry that is in the signed log, shown by a verified receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedReceipt {
    entry: Entry,
    index: u64,
    checkpoint: VerifiedCheckpoint,
}

impl VerifiedReceipt {
    /// The entry.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Its place in the log, from 0.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The log that it is in.
    #[must_use]
    pub const fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }
}
