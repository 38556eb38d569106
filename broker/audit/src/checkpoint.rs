//! Checkpoints (c2sp.org/tlog-checkpoint): the signed size and root of a log.
//!
//! The specification allows extension lines and advises against them, since nobody can
//! audit them. This log never writes any, so a checkpoint that has some is refused.

#[cfg(test)]
mod tests;

use std::fmt;

use crate::{
    note::{KeyName, Note, NoteError, SignerKey, VerifierKey},
    tree::{ConsistencyProof, Hash, ProofError, Tree},
};

/// A checkpoint that is none, or that does not vouch for what it stands beside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The note around it is malformed or not signed by the log's key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is not origin, size and root.
    #[error(
        "a checkpoint's text must be three lines: origin, decimal size, base64 root; extension lines are refused"
    )]
    Text,
    /// Signed for another log.
    #[error("the checkpoint is of log `{found}`, not of `{expected}`")]
    Origin {
        /// The log of the verifier key.
        expected: KeyName,
        /// The log that the text names.
        found: String,
    },
    /// The log at hand is shorter than what was signed.
    #[error(
        "the log has `{size}` entries, but `{signed}` were signed: entries were lost or cut off"
    )]
    RolledBack {
        /// The entries there are.
        size: u64,
        /// The entries that were signed.
        signed: u64,
    },
    /// The log at hand has another history.
    #[error("the log's first `{signed}` entries are not those that were signed")]
    Forked {
        /// The size that was signed.
        signed: u64,
    },
    /// Two checkpoints of one log do not fit.
    #[error("the checkpoints are not of one growing log: {0}")]
    Inconsistent(ProofError),
}

/// What a log signs: this many entries have this root. By itself it is only a claim; what
/// needs a checkpoint takes a [`VerifiedCheckpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is also its key's.
    pub origin: KeyName,
    /// How many entries.
    pub size: u64,
    /// Their root.
    pub root: Hash,
}

impl Checkpoint {
    /// The claim for all entries of a tree.
    #[must_use]
    pub fn of(origin: KeyName, tree: &Tree) -> Self {
        Self {
            origin,
            size: tree.size(),
            root: tree.root(),
        }
    }

    /// Signs it. The caller must never sign two that contradict each other.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] when the key is of another log.
    pub fn sign(self, signer: &SignerKey) -> Result<VerifiedCheckpoint, CheckpointError> {
        check_origin(&self.origin, signer.verifier())?;
        let note = Note::sign(self.to_string(), signer)?;
        let signed = SignedCheckpoint {
            text: note.to_string(),
            note,
        };
        Ok(VerifiedCheckpoint {
            checkpoint: self,
            signed,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = KeyName::new(lines.next()?).ok()?;
        let size = parse_decimal(lines.next()?)?;
        let root = Hash::from_base64(lines.next()?)?;
        lines
            .next()
            .is_none()
            .then_some(Self { origin, size, root })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}\n{}\n{}",
            self.origin,
            self.size,
            self.root.to_base64()
        )
    }
}

/// A checkpoint note as it was received: well-formed, and nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    text: String,
    note: Note,
}

impl SignedCheckpoint {
    /// Reads the note.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] for what is no note.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        Ok(Self {
            note: Note::parse(text)?,
            text: text.to_owned(),
        })
    }

    /// Checks it with the log's key.
    ///
    /// # Errors
    /// [`CheckpointError`] unless the key signed it and its origin is the key's name.
    pub fn verify(&self, key: &VerifierKey) -> Result<VerifiedCheckpoint, CheckpointError> {
        let note = self.note.verify(std::slice::from_ref(key))?;
        let checkpoint = Checkpoint::parse(note.text()).ok_or(CheckpointError::Text)?;
        check_origin(&checkpoint.origin, key)?;
        Ok(VerifiedCheckpoint {
            checkpoint,
            signed: self.clone(),
        })
    }

    /// The note as it was received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A checkpoint that the log's key has signed: built only by signing or verifying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    signed: SignedCheckpoint,
}

impl VerifiedCheckpoint {
    /// The log's name.
    #[must_use]
    pub const fn origin(&self) -> &KeyName {
        &self.checkpoint.origin
    }

    /// How many entries were signed.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Their root.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.checkpoint.root
    }

    /// The whole signed note, to hand on: whoever gets it verifies it again.
    #[must_use]
    pub const fn signed(&self) -> &SignedCheckpoint {
        &self.signed
    }

    /// Checks that a log still begins with what was signed, as after a restart.
    ///
    /// # Errors
    /// [`CheckpointError::RolledBack`] or [`CheckpointError::Forked`].
    pub fn check_log(&self, tree: &Tree) -> Result<(), CheckpointError> {
        let signed = self.size();
        match tree.root_at(signed) {
            Ok(root) if root == self.root() => Ok(()),
            Ok(_) => Err(CheckpointError::Forked { signed }),
            Err(_) => Err(CheckpointError::RolledBack {
                size: tree.size(),
                signed,
            }),
        }
    }

    /// Checks that a newer checkpoint of the same log only appended to this one.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] or [`CheckpointError::Inconsistent`]. Keep both
    /// checkpoints then: together they are evidence against the log.
    pub fn check_newer(
        &self,
        newer: &Self,
        proof: &ConsistencyProof,
    ) -> Result<(), CheckpointError> {
        if self.origin() != newer.origin() {
            return Err(CheckpointError::Origin {
                expected: self.origin().clone(),
                found: newer.origin().to_string(),
            });
        }
        proof
            .verify(self.size(), &self.root(), newer.size(), &newer.root())
            .map_err(CheckpointError::Inconsistent)
    }
}

fn check_origin(origin: &KeyName, key: &VerifierKey) -> Result<(), CheckpointError> {
    if origin == key.name() {
        return Ok(());
    }
    Err(CheckpointError::Origin {
        expected: key.name().clone(),
        found: origin.to_string(),
    })
}

/// An unsigned decimal in its one spelling: no sign, no leading zero.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
