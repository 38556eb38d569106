//! The join: opens the rows that both sides hold, and no others.

use std::cmp::Ordering;

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::consent::RowProof;
use counterfoil_policy::minimise::Table;
use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::tag::Tag;
use counterfoil_proto::payload::Layout;
use counterfoil_psi::Role;
use counterfoil_psi::{PayloadLength, RowContext, RowKey};
use counterfoil_watermark::{MarkTag, TagBits};
use zeroize::Zeroizing;

use super::submission::{MATCH_ID_BYTES, Submission};

/// The common rows, opened and checked against the agreement.
pub(crate) struct Common {
    /// One value per tag of the flow.
    table: Table,
    /// Names each row of the table to the recipient, for its session only; within a bucket in rising order.
    match_ids: Vec<MatchId>,
    /// By which the marks know each row of the table. In memory alone, and gone once the delivery is sealed.
    mark_tags: Vec<MarkTag>,
    /// Bits of a mark tag; none if rows have none.
    bits: Option<TagBits>,
}

pub(crate) type MatchId = [u8; MATCH_ID_BYTES];

/// A submission that no honest agent makes. The flow ends; nothing was opened to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    /// The two agents name different sessions.
    #[error("the two agents submitted for different sessions")]
    Sessions,
    /// The owner's rows have no columns, or too many.
    #[error("the owner submitted no columns, or more than a row may have")]
    NoColumns,
}

impl Common {
    /// Nothing yet, of a flow with these tags whose rows have mark tags of so many bits.
    pub(crate) fn new<'t>(tags: impl Iterator<Item = &'t Tag>, bits: Option<TagBits>) -> Self {
        Self {
            table: Table::new(tags),
            match_ids: Vec::new(),
            mark_tags: Vec::new(),
            bits,
        }
    }

    /// Common rows.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The rows, what names them, and their mark tags.
    #[cfg(test)]
    pub(super) fn parts(&self) -> (&Table, &[MatchId], &[MarkTag]) {
        (&self.table, &self.match_ids, &self.mark_tags)
    }

    /// For [`super::marks::Marked`], through which alone rows go on.
    pub(super) fn into_parts(self) -> (Table, Vec<MatchId>, Vec<MarkTag>) {
        (self.table, self.match_ids, self.mark_tags)
    }
}

/// Opens the rows of a bucket whose match id both sides submitted and whose key fits, and adds them to the common ones.
///
/// A row that does not open, whose consent proof is not in force at `now`, or whose values or mark tag break the agreement, counts as
/// unmatched and nobody is told which: a visible failure would tell whoever made it that the other side holds that customer.
pub(crate) fn open_common(
    agreement: &Agreement,
    rows: &Submission,
    keys: &Submission,
    now: Timestamp,
    common: &mut Common,
) -> Result<(), JoinError> {
    if rows.session != keys.session {
        return Err(JoinError::Sessions);
    }
    let layout = rows.layout.as_ref().ok_or(JoinError::NoColumns)?;
    let length = PayloadLength::new(layout.payload_len()).map_err(|_| JoinError::NoColumns)?;
    let context = RowContext::new(rows.session, *agreement.digest().as_bytes(), length);
    let proven = agreement.consent().map(|_| now);
    // One buffer for all rows, wiped at the end.
    let mut payload = Zeroizing::new(Vec::with_capacity(length.payload()));
    for pair in pairs(rows, keys) {
        let key = pair.key.first_chunk().map(RowKey::from_bytes);
        let opened =
            key.and_then(|key| context.open_into(&key, Role::Owner, pair.sealed, &mut payload));
        let taken = opened.and_then(|()| take_row(layout, &payload, proven, common));
        if taken.is_some() {
            common.match_ids.push(pair.match_id);
        }
    }
    Ok(())
}

/// What both sides submitted under one match id.
struct Pair<'s> {
    match_id: MatchId,
    sealed: &'s [u8],
    key: &'s [u8],
}

/// Sealed row and key of each match id that both sides submitted, in the order of the match ids, which neither side chose: both
/// submissions are in that order, so one walk along the two finds all.
fn pairs<'s>(rows: &'s Submission, keys: &'s Submission) -> impl Iterator<Item = Pair<'s>> {
    let (mut rows, mut keys) = (rows.records().peekable(), keys.records().peekable());
    std::iter::from_fn(move || {
        loop {
            let ((row_id, sealed), (key_id, key)) = (rows.peek()?, keys.peek()?);
            let order = row_id.cmp(key_id);
            let (match_id, sealed, key) = (*row_id, *sealed, *key);
            if order.is_le() {
                rows.next();
            }
            if order.is_ge() {
                keys.next();
            }
            if order == Ordering::Equal {
                return Some(Pair {
                    match_id,
                    sealed,
                    key,
                });
            }
        }
    })
}

/// Adds an opened row to the table, if all of it is as agreed.
fn take_row(
    layout: &Layout,
    payload: &[u8],
    proven: Option<Timestamp>,
    common: &mut Common,
) -> Option<()> {
    let (head, values) = layout.decode(payload).ok()?;
    if let Some(now) = proven {
        RowProof::check(head.proof?, now).ok()?;
    }
    let mark_tag = match common.bits {
        Some(bits) => Some(MarkTag::new(head.mark_tag?, bits)?),
        None => None,
    };
    common.table.push(&values).ok()?;
    common.mark_tags.extend(mark_tag);
    Some(())
}

#[cfg(test)]
mod tests;
