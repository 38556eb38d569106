//! The join: opens the rows that both sides hold, and no others.

use std::cmp::Ordering;

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::consent::RowProof;
use counterfoil_policy::measure::Tally;
use counterfoil_policy::minimise::Table;
use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::tag::Tag;
use counterfoil_proto::payload::Layout;
use counterfoil_psi::Role;
use counterfoil_psi::{PayloadLength, RowContext, RowKey, SessionId};
use counterfoil_watermark::{MarkTag, TagBits};
use zeroize::Zeroizing;

use super::canaries::{Canaries, is_somebodys};
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

/// A row that both sides hold, opened.
pub(crate) struct CommonRow<'r> {
    match_id: MatchId,
    mark_tag: Option<u32>,
    /// The owner's values.
    owner: &'r [&'r str],
    /// The recipient's own, of a measure flow that counts them.
    recipient: &'r [&'r str],
}

/// Where opened rows go.
pub(crate) trait Gather {
    /// Takes one common row. `None` for one that breaks the agreement.
    fn take(&mut self, row: &CommonRow<'_>) -> Option<()>;
}

impl Gather for Common {
    fn take(&mut self, row: &CommonRow<'_>) -> Option<()> {
        let mark_tag = match self.bits {
            Some(bits) => Some(MarkTag::new(row.mark_tag?, bits)?),
            None => None,
        };
        self.table.push(row.owner).ok()?;
        self.mark_tags.extend(mark_tag);
        self.match_ids.push(row.match_id);
        Some(())
    }
}

impl Gather for Tally {
    fn take(&mut self, row: &CommonRow<'_>) -> Option<()> {
        self.add(row.owner, row.recipient)
    }
}

/// What a running flow gathers, by its kind.
pub(crate) enum Gathered {
    /// Rows, of an exchange.
    Rows(Common),
    /// Counts, of a measure flow: no row stays.
    Counts(Tally),
}

impl Gather for Gathered {
    fn take(&mut self, row: &CommonRow<'_>) -> Option<()> {
        match self {
            Self::Rows(common) => common.take(row),
            Self::Counts(tally) => tally.take(row),
        }
    }
}

/// Opens the rows of a bucket whose match id both sides submitted and whose key fits, and adds them to the common ones.
///
/// A canary that was hit is counted as that and as nothing else. A row that does not open, whose consent proof is not in force at `now`, or whose values or mark tag break the agreement, counts as
/// unmatched and nobody is told which: a visible failure would tell whoever made it that the other side holds that customer.
pub(crate) fn open_common(
    agreement: &Agreement,
    rows: &Submission,
    keys: &Submission,
    now: Timestamp,
    canaries: Option<&Canaries>,
    common: &mut impl Gather,
) -> Result<(), JoinError> {
    if rows.session != keys.session {
        return Err(JoinError::Sessions);
    }
    let side = |layout| Side::new(rows.session, agreement, layout).ok_or(JoinError::NoColumns);
    let mut owner = side(rows.layout.as_ref().ok_or(JoinError::NoColumns)?)?;
    let mut recipient = keys.layout.as_ref().map(side).transpose()?;
    let rules = Rules {
        proven: agreement.consent().map(|_| now),
        canaries,
    };
    for pair in pairs(rows, keys) {
        // A row that breaks off here counts as unmatched.
        let _ = open_row(&mut owner, recipient.as_mut(), &pair, &rules, common);
    }
    Ok(())
}

/// What is looked at in an opened row beside its values.
struct Rules<'c> {
    /// When consent proofs have to be in force, where there are some.
    proven: Option<Timestamp>,
    canaries: Option<&'c Canaries>,
}

/// The rows of one side.
struct Side<'l> {
    layout: &'l Layout,
    context: RowContext,
    sealed_bytes: usize,
    /// One buffer for all rows, wiped at the end.
    payload: Zeroizing<Vec<u8>>,
}

impl<'l> Side<'l> {
    fn new(session: SessionId, agreement: &Agreement, layout: &'l Layout) -> Option<Self> {
        let length = PayloadLength::new(layout.payload_len()).ok()?;
        Some(Self {
            layout,
            context: RowContext::new(session, *agreement.digest().as_bytes(), length),
            sealed_bytes: length.sealed(),
            payload: Zeroizing::new(Vec::with_capacity(length.payload())),
        })
    }

    fn open(&mut self, key: &RowKey, sealer: Role, sealed: &[u8]) -> Option<()> {
        self.context
            .open_into(key, sealer, sealed, &mut self.payload)
    }
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

/// Opens the owner's row with the recipient's key and, where the recipient brings one too, the recipient's row with the key that
/// stands behind the owner's: either side's row opens only where both hold the customer. Taken is what is as agreed as a whole.
fn open_row(
    owner: &mut Side<'_>,
    recipient: Option<&mut Side<'_>>,
    pair: &Pair<'_>,
    rules: &Rules<'_>,
    common: &mut impl Gather,
) -> Option<()> {
    let (key, own_row) = pair.key.split_first_chunk()?;
    let (sealed, their_key) = pair.sealed.split_at_checked(owner.sealed_bytes)?;
    owner.open(&RowKey::from_bytes(key), Role::Owner, sealed)?;
    let (head, values) = owner.layout.decode(&owner.payload).ok()?;
    if let (Some(code), Some(canaries)) = (head.canary, rules.canaries)
        && !is_somebodys(code)
    {
        canaries.count(code);
        return None;
    }
    if let Some(now) = rules.proven {
        RowProof::check(head.proof?, now).ok()?;
    }
    let mut row = CommonRow {
        match_id: pair.match_id,
        mark_tag: head.mark_tag,
        owner: &values,
        recipient: &[],
    };
    let Some(recipient) = recipient else {
        return common.take(&row);
    };
    let key = RowKey::from_bytes(their_key.first_chunk()?);
    recipient.open(&key, Role::Recipient, own_row)?;
    let (_, own_values) = recipient.layout.decode(&recipient.payload).ok()?;
    row.recipient = &own_values;
    common.take(&row)
}

#[cfg(test)]
mod tests;
