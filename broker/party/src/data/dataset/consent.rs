//! The section of a dataset that says where its consent records are.

use serde::Deserialize;
use time::UtcOffset;
use time::macros::format_description;
use toml::Spanned;

use super::super::consent::{ConsentColumns, ConsentRecords, JoinedRecords};
use super::{DatasetError, DatasetFault, IdentifierColumn, LineIndex, filled, read_source};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConsent {
    source: Option<Spanned<String>>,
    sql: Option<Spanned<String>>,
    delimiter: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
    dataset_key: Option<Spanned<String>>,
    recipients: Spanned<Vec<String>>,
    utc_offset: Option<Spanned<String>>,
    #[serde(default)]
    columns: RawConsentColumns,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConsentColumns {
    recipient: Option<Spanned<String>>,
    contact: Option<Spanned<String>>,
    purpose: Option<Spanned<String>>,
    method: Option<Spanned<String>>,
    categories: Option<Spanned<String>>,
    given: Option<Spanned<String>>,
    expires: Option<Spanned<String>>,
    withdrawn: Option<Spanned<String>>,
    reference: Option<Spanned<String>>,
}

impl RawConsent {
    pub(super) fn check(
        self,
        identifiers: &[IdentifierColumn],
        lines: &LineIndex<'_>,
    ) -> Result<ConsentRecords, DatasetError> {
        if self.recipients.get_ref().is_empty() {
            return Err(lines.error(&self.recipients, DatasetFault::Empty("recipients")));
        }
        let joined = match (self.source, self.key) {
            (Some(place), Some(key)) => {
                let source =
                    read_source(&place, self.sql.as_ref(), self.delimiter.as_ref(), lines)?;
                let key = filled(key, "key", lines)?;
                let dataset_key = match self.dataset_key {
                    Some(column) => filled(column, "dataset_key", lines)?,
                    None => key.clone(),
                };
                let identifier = identifiers
                    .iter()
                    .find(|known| known.column() == dataset_key);
                Some(JoinedRecords {
                    source,
                    key,
                    dataset_key,
                    normaliser: identifier.map(IdentifierColumn::normaliser),
                })
            }
            (None, None) => None,
            (Some(lone), None) | (None, Some(lone)) => {
                return Err(lines.error(&lone, DatasetFault::ConsentKey));
            }
        };
        let column = |given: Option<Spanned<String>>, field: &'static str| {
            given.map_or_else(|| Ok(field.to_owned()), |name| filled(name, field, lines))
        };
        let utc_offset = match self.utc_offset {
            None => UtcOffset::UTC,
            Some(text) => read_offset(text.get_ref())
                .ok_or_else(|| lines.error(&text, DatasetFault::UtcOffset))?,
        };
        let raw = self.columns;
        let columns = ConsentColumns {
            recipient: column(raw.recipient, "recipient")?,
            contact: column(raw.contact, "contact")?,
            purpose: column(raw.purpose, "purpose")?,
            method: column(raw.method, "method")?,
            categories: column(raw.categories, "categories")?,
            given: column(raw.given, "given")?,
            expires: column(raw.expires, "expires")?,
            withdrawn: match raw.withdrawn {
                Some(name) => Some(filled(name, "withdrawn", lines)?),
                None => None,
            },
            reference: column(raw.reference, "reference")?,
        };
        Ok(ConsentRecords {
            joined,
            columns,
            utc_offset,
            recipients: self.recipients.into_inner(),
        })
    }
}

fn read_offset(text: &str) -> Option<UtcOffset> {
    let format = format_description!("[offset_hour sign:mandatory]:[offset_minute]");
    let offset = UtcOffset::parse(text, format).ok()?;
    // From the west of the date line to the east of it.
    (-12 * 60..=14 * 60)
        .contains(&offset.whole_minutes())
        .then_some(offset)
}
