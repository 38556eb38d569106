//! What may be done with a log file that was read to its end.

use super::End;
use crate::checkpoint::VerifiedCheckpoint;

/// What to do before the log is opened for appending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing.
    Keep,
    /// Cut the file to this length, flush it, and say so to the operator.
    CutTo {
        /// The length.
        offset: u64,
    },
}

/// A log that must not be opened. A person decides, with a copy at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// Damage that no interrupted append leaves.
    #[error(
        "the log is damaged at byte `{offset}`, after `{entries}` good entries: {reason}; nothing was cut, restore the file from a copy"
    )]
    Corrupt {
        /// Where.
        offset: u64,
        /// The good entries before it.
        entries: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Fewer good entries than were signed.
    #[error(
        "the log has `{entries}` good entries, but its last checkpoint signed `{signed}`: the file was rolled back or cut; nothing was changed, restore it from a copy"
    )]
    BelowCheckpoint {
        /// The good entries.
        entries: u64,
        /// The entries that were signed.
        signed: u64,
    },
}

/// Decides what a start may do: only an incomplete last batch is cut, since nobody was
/// told of it, and never below the last signed checkpoint. Afterwards the caller compares
/// the tree with that checkpoint ([`VerifiedCheckpoint::check_log`]).
///
/// # Errors
/// [`RecoveryError`] when the log must not be opened.
pub fn plan_recovery(
    end: &End,
    last_signed: Option<&VerifiedCheckpoint>,
) -> Result<Recovery, RecoveryError> {
    let signed = last_signed.map_or(0, VerifiedCheckpoint::size);
    let (entries, recovery) = match *end {
        End::Clean { entries, .. } => (entries, Recovery::Keep),
        End::Torn { offset, entries } => (entries, Recovery::CutTo { offset }),
        End::Corrupt {
            offset,
            entries,
            reason,
        } => {
            return Err(RecoveryError::Corrupt {
                offset,
                entries,
                reason,
            });
        }
    };
    if entries < signed {
        return Err(RecoveryError::BelowCheckpoint { entries, signed });
    }
    Ok(recovery)
}
