//! Exports: a log, or a party's part of it, as one JSON Lines file that is verified
//! offline, with nothing but the log's key.
//!
//! Line 1 is a header `{"checkpoint","format","kind","origin","vkey"}`; each further line
//! is one entry, in order:
//!
//! ```text
//! {"entry":"<the canonical bytes, as a string>","index":17,"leaf":"<base64>","proof":[..]}
//! ```
//!
//! A whole export (`"kind":"whole"`) has every entry up to the checkpoint and no proofs:
//! the root is computed again. A part (`"kind":"part"`) has a proof on each line. `leaf` is
//! what lets a verifier name the one entry that was altered; whoever alters the leaf too is
//! still found, by the root, but then no entry can be named. Lines have one spelling:
//! compact, fields in alphabetical order.

mod verify;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

pub use verify::{Failure, Fault, Report, verify, verify_each};

use crate::{
    checkpoint::VerifiedCheckpoint,
    entry::{EntryBytes, Integer},
    note::VerifierKey,
    tree::{Hash, InclusionProof, OutOfRange, Tree},
};

pub(crate) const FORMAT: &str = "counterfoil-export@v1";
/// The longest line in bytes: a note or an entry at twice its size, each byte escaped, and
/// room for the rest.
pub(crate) const LINE_BYTES_MAX: usize = 640 * 1024;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderLine {
    pub(crate) checkpoint: String,
    pub(crate) format: String,
    pub(crate) kind: Kind,
    pub(crate) origin: String,
    pub(crate) vkey: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Whole,
    Part,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryLine {
    pub(crate) entry: String,
    pub(crate) index: Integer,
    pub(crate) leaf: Hash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<InclusionProof>,
}

/// An export that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The sink failed.
    #[error("cannot write the export: {0}")]
    Io(#[from] io::Error),
    /// The entries given are not those that the checkpoint signed, or out of order.
    #[error("the export has `{given}` entries and its checkpoint `{signed}`")]
    Count {
        /// The entries given.
        given: u64,
        /// The entries signed.
        signed: u64,
    },
    /// An entry of a part that comes before the last one, or twice.
    #[error("entry `{index}` is out of order; give a part's entries by rising index, each once")]
    Order {
        /// Its index.
        index: u64,
    },
    /// An index past the checkpoint.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

/// Writes a whole log, entry by entry.
#[derive(Debug)]
pub struct WholeWriter<W> {
    out: W,
    given: u64,
    signed: u64,
}

impl<W: Write> WholeWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn new(
        mut out: W,
        checkpoint: &VerifiedCheckpoint,
        key: &VerifierKey,
    ) -> Result<Self, ExportError> {
        write_line(&mut out, &header(Kind::Whole, checkpoint, key))?;
        Ok(Self {
            out,
            given: 0,
            signed: checkpoint.size(),
        })
    }

    /// Writes the next entry.
    ///
    /// # Errors
    /// [`ExportError::Count`] past the checkpoint; [`ExportError::Io`].
    pub fn entry(&mut self, entry: &EntryBytes) -> Result<(), ExportError> {
        if self.given == self.signed {
            return Err(ExportError::Count {
                given: self.given + 1,
                signed: self.signed,
            });
        }
        write_line(&mut self.out, &line(self.given, entry, None)?)?;
        self.given += 1;
        Ok(())
    }

    /// Ends the export and gives the sink back, flushed.
    ///
    /// # Errors
    /// [`ExportError::Count`] when entries are missing; [`ExportError::Io`].
    pub fn finish(mut self) -> Result<W, ExportError> {
        if self.given != self.signed {
            return Err(ExportError::Count {
                given: self.given,
                signed: self.signed,
            });
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Writes some entries of a log, each with its proof.
#[derive(Debug)]
pub struct PartWriter<W> {
    out: W,
    next: u64,
    signed: u64,
}

impl<W: Write> PartWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn new(
        mut out: W,
        checkpoint: &VerifiedCheckpoint,
        key: &VerifierKey,
    ) -> Result<Self, ExportError> {
        write_line(&mut out, &header(Kind::Part, checkpoint, key))?;
        Ok(Self {
            out,
            next: 0,
            signed: checkpoint.size(),
        })
    }

    /// Writes the entry at `index`, proved against the checkpoint.
    ///
    /// # Errors
    /// [`ExportError::Order`], [`ExportError::OutOfRange`] or [`ExportError::Io`].
    pub fn entry(
        &mut self,
        index: u64,
        entry: &EntryBytes,
        tree: &Tree,
    ) -> Result<(), ExportError> {
        if index < self.next {
            return Err(ExportError::Order { index });
        }
        let proof = tree.inclusion(index, self.signed)?;
        write_line(&mut self.out, &line(index, entry, Some(proof))?)?;
        self.next = index + 1;
        Ok(())
    }

    /// Ends the export and gives the sink back, flushed.
    ///
    /// # Errors
    /// [`ExportError::Io`].
    pub fn finish(mut self) -> Result<W, ExportError> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn header(kind: Kind, checkpoint: &VerifiedCheckpoint, key: &VerifierKey) -> HeaderLine {
    HeaderLine {
        checkpoint: checkpoint.signed().as_str().to_owned(),
        format: FORMAT.to_owned(),
        kind,
        origin: checkpoint.origin().to_string(),
        vkey: key.to_string(),
    }
}

fn line(
    index: u64,
    entry: &EntryBytes,
    proof: Option<InclusionProof>,
) -> Result<EntryLine, ExportError> {
    // 2^53 entries are more than any disk holds.
    let index = Integer::new(index).map_err(io::Error::other)?;
    Ok(EntryLine {
        entry: entry.as_str().to_owned(),
        index,
        leaf: entry.leaf_hash(),
        proof,
    })
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
