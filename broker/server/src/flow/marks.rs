//! Marks: what the cells of a delivery say of its recipient.
//!
//! The order is in the types: [`Marked`] is made from the opened rows, with the commitments to the keys that marked them;
//! only [`Marked::minimise`] counts k, so on marked cells; only its result can be sealed; and [`Sealed`] brings the
//! commitments into the entry of the release. So rows of an agreement with marks leave with marks or not at all.

use counterfoil_audit::entry::{Digest, Integer, Label, List, ReleaseMarks, ValueError};
use counterfoil_policy::agreement::{Agreement, MarkTerms};
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_policy::minimise::{Minimised, Report, Table};
use counterfoil_policy::tag::Tag;
use counterfoil_policy::text::TagName;
use counterfoil_proto::WireError;
use counterfoil_proto::delivery::{DeliveredRows, Delivery, DeliveryContext, ReferenceSecret};
use counterfoil_watermark::{
    Commitment, DatasetKey, Embedder, Lineage, MarkTag, MasterKey, Reach, ReferenceKey, SymbolKey,
};
use rand::rngs::SysRng;
use rand_core::UnwrapErr;

use super::join::{Common, MatchId};

/// Whose delivery it is.
pub(crate) struct Whose<'a> {
    pub(crate) recipient: &'a str,
    pub(crate) flow: &'a str,
    /// The owner's commitment to its key of mark tags.
    pub(crate) tag_key: Option<Digest>,
}

/// Rows with all the marks that the agreement gives them.
pub(crate) struct Marked {
    table: Table,
    match_ids: Vec<MatchId>,
    marks: Option<Marks>,
}

/// What the entry says of marks, but for what depends on the cells that are left.
struct Marks {
    said: ReleaseMarks,
    terms: MarkTerms,
    lineage: Lineage,
    /// Names of the table's columns.
    tags: Vec<TagName>,
    codes: Option<ReferenceKey>,
}

/// Rows of which no combination is rare.
pub(crate) struct Minimal {
    minimised: Minimised,
    match_ids: Vec<MatchId>,
    marks: Option<ReleaseMarks>,
    codes: Option<ReferenceKey>,
}

/// What a delivery says beside its rows.
pub(crate) struct Head {
    pub(crate) columns: Vec<String>,
    pub(crate) generalised: String,
    pub(crate) suppressed: String,
}

/// A sealed delivery, and the marks in it.
pub(crate) struct Sealed {
    bytes: Vec<u8>,
    marks: Option<ReleaseMarks>,
}

impl Marked {
    /// Puts the agreement's marks into the rows of a flow with these tags; leaves them as they are if it has none.
    pub(crate) fn of(
        common: Common,
        agreement: &Agreement,
        tags: &[&Tag],
        whose: &Whose<'_>,
        master: &MasterKey,
    ) -> Result<Self, ValueError> {
        let (mut table, match_ids, mark_tags) = common.into_parts();
        let asked: Vec<TagName> = tags.iter().map(|tag| tag.name().clone()).collect();
        // A flow that asks for none of the marked tags is not marked.
        let carries = |terms: &&MarkTerms| terms.mark_any(&asked) || terms.reference_codes();
        let marks = match agreement.marks().filter(carries) {
            None => None,
            Some(terms) => {
                let lineage = terms.lineage_of(&asked);
                let keys = Keys::derive(master, terms, whose);
                keys.embed(&lineage, tags, &mark_tags, &mut table);
                Some(Marks {
                    said: keys.said(terms, &lineage, whose)?,
                    terms: terms.clone(),
                    lineage,
                    tags: asked,
                    codes: keys.codes,
                })
            }
        };
        Ok(Self {
            table,
            match_ids,
            marks,
        })
    }

    /// Generalises the marked cells, then suppresses, until no combination has fewer than `k` rows.
    pub(crate) fn minimise(self, k: u32) -> Result<Minimal, ValueError> {
        let minimised = self.table.minimise(k);
        let codes = self.marks.as_ref().and_then(|marks| marks.codes.clone());
        let marks = self.marks.map(|marks| marks.left_in(&minimised));
        let marks = marks.transpose()?;
        Ok(Minimal {
            minimised,
            match_ids: self.match_ids,
            marks,
            codes,
        })
    }
}

impl Marks {
    /// What can be promised of the cells that k left as they were marked (coarser ones show no marks). The number of rows is told in a bucket, so it is
    /// the bucket's least of which something can be promised.
    fn left_in(self, minimised: &Minimised) -> Result<ReleaseMarks, ValueError> {
        let shown = |column: &counterfoil_watermark::Column| {
            let of_tag = |tag: &TagName| tag.as_str() == column.name();
            let place = self.tags.iter().position(of_tag);
            place.and_then(|place| minimised.cells_left().get(place).copied())
        };
        let reach = Reach::thinned(&self.lineage, |column| shown(column).unwrap_or(0.0));
        let rows = CoarseCount::of(minimised.report().after).at_least();
        let told = reach.traceability(rows);
        Ok(ReleaseMarks {
            changed_ppm_max: self.terms.changed_ppm_max(&self.lineage, rows),
            rows_needed: told.rows_needed.map(Integer::new).transpose()?,
            colluders_max: told.colluders_max,
            ..self.said
        })
    }
}

/// The keys of one delivery.
struct Keys {
    dataset: DatasetKey,
    recipient: SymbolKey,
    flow: SymbolKey,
    codes: Option<ReferenceKey>,
}

impl Keys {
    fn derive(master: &MasterKey, terms: &MarkTerms, whose: &Whose<'_>) -> Self {
        Self {
            dataset: master.dataset(terms.name()),
            recipient: master.recipient(terms.name(), whose.recipient),
            flow: master.flow(terms.name(), whose.flow),
            codes: (terms.reference_codes()).then(|| master.reference(terms.name(), whose.flow)),
        }
    }

    fn embed(&self, lineage: &Lineage, tags: &[&Tag], mark_tags: &[MarkTag], table: &mut Table) {
        let embedder = Embedder::new(lineage, &self.dataset, &self.recipient, &self.flow);
        for (place, tag) in tags.iter().enumerate() {
            let of_tag =
                |column: &&counterfoil_watermark::Column| column.name() == tag.name().as_str();
            if let Some(column) = lineage.columns().iter().find(of_tag) {
                let changed = embedder.mark(column, mark_tags, table.cells(place));
                table.mark(place, changed.iter());
            }
        }
    }

    fn said(
        &self,
        terms: &MarkTerms,
        lineage: &Lineage,
        whose: &Whose<'_>,
    ) -> Result<ReleaseMarks, ValueError> {
        let name = terms.name();
        let digest = |commitment: Commitment| Digest::from_bytes(*commitment.as_bytes());
        let columns = lineage.columns().iter();
        let columns: Result<Vec<_>, _> = columns.map(|c| Label::new(c.name())).collect();
        Ok(ReleaseMarks {
            lineage: Label::new(name)?,
            columns: List::new(columns?)?,
            dataset_key: digest(Commitment::to_dataset(&self.dataset, name)),
            recipient_key: digest(Commitment::to_recipient(
                &self.recipient,
                name,
                whose.recipient,
            )),
            flow_key: digest(Commitment::to_flow(&self.flow, name, whose.flow)),
            rows_needed: None,
            colluders_max: 0,
            changed_ppm_max: None,
            reference_key: (self.codes.as_ref())
                .map(|key| digest(Commitment::to_reference(key, name, whose.flow))),
            tag_key: whose.tag_key,
        })
    }
}

impl Minimal {
    /// What was generalised and left out.
    pub(crate) fn report(&self) -> &Report {
        self.minimised.report()
    }

    /// Seals the rows.
    pub(crate) fn seal(
        self,
        head: Head,
        context: &DeliveryContext,
        key: &[u8],
    ) -> Result<Sealed, WireError> {
        let delivery = Delivery {
            rows: in_order(&self.minimised, self.match_ids, head.columns.len())?,
            columns: head.columns,
            generalised: head.generalised,
            suppressed: head.suppressed,
            reference_key: self.codes.map(|key| ReferenceSecret(*key.expose())),
        };
        // The table is large, and sealing takes as much again.
        drop(self.minimised);
        Ok(Sealed {
            bytes: delivery.seal(key, context, &mut UnwrapErr(SysRng))?,
            marks: self.marks,
        })
    }
}

/// The rows that are delivered, by their match ids: those of different buckets are random alike, so in their order nothing
/// tells the buckets apart.
fn in_order(
    minimised: &Minimised,
    match_ids: Vec<MatchId>,
    columns: usize,
) -> Result<DeliveredRows, WireError> {
    let mut value_bytes = 0;
    let mut order = Vec::with_capacity(minimised.len());
    for (number, (index, cells)) in (0_u32..).zip(minimised.rows()) {
        value_bytes += cells.map(str::len).sum::<usize>();
        order.extend(match_ids.get(index as usize).map(|id| (*id, number)));
    }
    drop(match_ids);
    // Within a bucket they rise already: a stable sort merges such runs.
    order.sort_by_key(|(match_id, _)| u128::from_be_bytes(*match_id));
    let mut rows = DeliveredRows::with_room(columns, order.len(), value_bytes);
    for (match_id, number) in order {
        if let Some(cells) = minimised.row(number) {
            rows.push(&match_id, cells)?;
        }
    }
    Ok(rows)
}

impl Sealed {
    /// A delivery that has no rows of customers, such as the answers of a measure flow, and so no marks.
    pub(crate) fn without_rows(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            marks: None,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For the entry.
    pub(crate) fn marks(&self) -> Option<&ReleaseMarks> {
        self.marks.as_ref()
    }
}

#[cfg(test)]
mod tests;
