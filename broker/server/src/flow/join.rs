//! The join: opens the rows that both sides hold, and no others.

use std::collections::{HashMap, HashSet};

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::consent::RowProof;
use counterfoil_policy::minimise::Table;
use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::tag::Tag;
use counterfoil_proto::payload::Layout;
use counterfoil_psi::Role;
use counterfoil_psi::{PayloadLength, RowContext, RowKey};

use super::submission::{MATCH_ID_BYTES, Submission};

/// The common rows, opened and checked against the agreement.
pub(crate) struct Common {
    /// One value per tag of the flow.
    pub(crate) table: Table,
    /// Names each row of the table to the recipient, for its session only; within a bucket in rising order.
    pub(crate) match_ids: Vec<MatchId>,
}

type MatchId = [u8; MATCH_ID_BYTES];

/// A submission that no honest agent makes. The flow ends; nothing was opened to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    /// The two agents name different sessions.
    #[error("the two agents submitted for different sessions")]
    Sessions,
    /// A side submitted a match id twice.
    #[error("the {0} submitted a match id twice")]
    Repeated(Role),
    /// The owner's rows have no columns, or too many.
    #[error("the owner submitted no columns, or more than a row may have")]
    NoColumns,
}

impl Common {
    /// Nothing yet, of a flow with these tags.
    pub(crate) fn new<'t>(tags: impl Iterator<Item = &'t Tag>) -> Self {
        Self {
            table: Table::new(tags),
            match_ids: Vec::new(),
        }
    }
}

/// Opens the rows of a bucket whose match id both sides submitted and whose key fits, and adds them to the common ones.
///
/// A row that does not open, whose consent proof is not in force at `now`, or whose values break the agreement, counts as
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
    for pair in pairs(rows, keys)? {
        let proven = agreement.consent().map(|_| now);
        if open_row(&context, layout, &pair, proven, &mut common.table).is_some() {
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

/// Sealed row and key of each match id that both sides submitted, in the order of the match ids, which neither side chose.
fn pairs<'s>(rows: &'s Submission, keys: &'s Submission) -> Result<Vec<Pair<'s>>, JoinError> {
    let mut sealed = HashMap::with_capacity(rows.len());
    for (match_id, row) in rows.records() {
        if sealed.insert(match_id, row).is_some() {
            return Err(JoinError::Repeated(Role::Owner));
        }
    }
    let mut seen = HashSet::with_capacity(keys.len());
    let mut pairs = Vec::new();
    for (match_id, key) in keys.records() {
        if !seen.insert(match_id) {
            return Err(JoinError::Repeated(Role::Recipient));
        }
        if let Some(row) = sealed.get(&match_id) {
            pairs.push(Pair {
                match_id,
                sealed: row,
                key,
            });
        }
    }
    pairs.sort_unstable_by_key(|pair| pair.match_id);
    Ok(pairs)
}

fn open_row(
    context: &RowContext,
    layout: &Layout,
    pair: &Pair<'_>,
    proven: Option<Timestamp>,
    table: &mut Table,
) -> Option<()> {
    let key = RowKey::from_bytes(pair.key.first_chunk()?);
    let payload = context.open(&key, Role::Owner, pair.sealed)?;
    let (proof, values) = layout.decode(&payload).ok()?;
    if let Some(now) = proven {
        RowProof::check(proof?, now).ok()?;
    }
    table.push(&values).ok()?;
    Some(())
}

#[cfg(test)]
mod tests;
