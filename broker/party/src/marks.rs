//! The marks of a delivery, as both sides read them in the log's entry.

use std::fmt;

use counterfoil_audit::entry::ReleaseMarks;
use counterfoil_policy::agreement::{Agreement, MarkTerms};
use counterfoil_policy::text::TagName;
use counterfoil_watermark::Traceability;
use serde::Serialize;

/// That a delivery is marked, and what a leak of it would tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeliveryMarks {
    /// The lineage, `OWNER/DATASET/EPOCH/BITS/SELECTED`.
    pub lineage: String,
    /// The tags that carry marks.
    pub tags: Vec<String>,
    /// Rows by which its recipient is named, and how many together.
    #[serde(flatten)]
    pub traceability: Traceability,
    /// Whether each row has a reference code.
    pub reference_codes: bool,
    /// Most cells of a list or band, in a million, that are said to be changed; none if there are no such columns.
    pub changed_ppm_max: Option<u32>,
}

impl DeliveryMarks {
    /// What an entry says.
    #[must_use]
    pub fn of(marks: &ReleaseMarks) -> Self {
        let tags = marks.columns.as_slice().iter();
        Self {
            lineage: marks.lineage.to_string(),
            tags: tags.map(ToString::to_string).collect(),
            traceability: Traceability {
                rows_needed: marks.rows_needed.map(|rows| rows.value()),
                colluders_max: marks.colluders_max,
            },
            reference_codes: marks.reference_key.is_some(),
            changed_ppm_max: marks.changed_ppm_max,
        }
    }
}

impl fmt::Display for DeliveryMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tags.is_empty() {
            return f.write_str("each row has a reference code, and no cell a mark");
        }
        self.traceability.fmt(f)?;
        if self.reference_codes {
            f.write_str("; each row has a reference code")?;
        }
        match self.changed_ppm_max {
            None => Ok(()),
            Some(ppm) => write!(
                f,
                "; at most {:.1} % of a list's cells changed",
                f64::from(ppm) / 10_000.0
            ),
        }
    }
}

/// Whether an entry says of marks what the agreement and the tags that were asked for make.
pub(crate) fn as_agreed(
    marks: Option<&ReleaseMarks>,
    agreement: &Agreement,
    asked: &[TagName],
) -> bool {
    let carries = |terms: &&MarkTerms| terms.mark_any(asked) || terms.reference_codes();
    match (marks, agreement.marks().filter(carries)) {
        (None, None) => true,
        (Some(said), Some(terms)) => {
            let lineage = terms.lineage_of(asked);
            let columns = lineage.columns().iter().map(|column| column.name());
            let told = said.columns.as_slice().iter().map(|name| name.as_str());
            said.lineage.as_str() == terms.name()
                && columns.eq(told)
                && said.tag_key.is_some() == terms.mark_any(asked)
                && said.reference_key.is_some() == terms.reference_codes()
        }
        _ => false,
    }
}
