//! Mark tags: the pseudonyms by which the broker marks rows without knowing anybody.

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::text::TagName;
use counterfoil_watermark::{Commitment, TagBits, TraceKey};

use crate::data::{CustomerKey, Row};
use crate::error::Result;
use crate::home::Home;

/// Bytes of a mark tag in a row.
pub(super) const TAG_BYTES: usize = 4;

/// Makes the mark tags of a flow's rows.
pub(super) struct MarkTags {
    key: TraceKey,
    lineage: Box<str>,
    bits: TagBits,
    customer: CustomerKey,
}

impl MarkTags {
    /// Of a flow in which something is marked, with the key of the lineage, which is made when it is first needed; none of
    /// another: the broker gets no lasting pseudonym for nothing.
    ///
    /// # Errors
    /// As [`Home::make_trace_key`].
    pub(super) fn of(
        home: &Home,
        agreement: &Agreement,
        asked: &[TagName],
        customer: CustomerKey,
    ) -> Result<Option<Self>> {
        let Some(marks) = agreement.marks().filter(|marks| marks.mark_any(asked)) else {
            return Ok(None);
        };
        Ok(Some(Self {
            key: home.make_trace_key(marks.name(), &customer)?,
            lineage: marks.name().into(),
            bits: marks.bits(),
            customer,
        }))
    }

    /// The commitment to the key, which the log has before anything leaves.
    pub(super) fn commitment(&self) -> Commitment {
        Commitment::to_trace(&self.key, &self.lineage)
    }

    /// The column that the tags are made from.
    pub(super) fn column(&self) -> &str {
        self.customer.column()
    }

    /// The tag of a row, big-endian; `None` if the row does not say whose it is.
    pub(super) fn tag(&self, row: &Row<'_>) -> Option<[u8; TAG_BYTES]> {
        let customer = self.customer.read(row.get(self.customer.column())?)?;
        let tag = self.key.tag(&self.lineage, &customer, self.bits);
        Some(tag.get().to_be_bytes())
    }
}
