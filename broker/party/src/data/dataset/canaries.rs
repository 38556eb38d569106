//! The section of a dataset that says which identifiers are nobody's.

use counterfoil_policy::canaries::ExpectedRate;
use serde::Deserialize;
use toml::Spanned;

use super::super::source::Source;
use super::{DatasetError, DatasetFault, LineIndex, read_source};

/// Where a dataset's canaries are: in columns that are named as the dataset's own.
#[derive(Clone, Debug)]
pub struct CanaryRecords {
    source: Source,
    rate: ExpectedRate,
}

impl CanaryRecords {
    /// Where they are.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The share of them that an honest recipient is expected to hold.
    #[must_use]
    pub fn rate(&self) -> ExpectedRate {
        self.rate
    }

    pub(super) fn relative_to(&mut self, folder: &std::path::Path) {
        self.source = self.source.clone().relative_to(folder);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCanaries {
    source: Spanned<String>,
    sql: Option<Spanned<String>>,
    delimiter: Option<Spanned<String>>,
    expected_rate: Spanned<String>,
}

impl RawCanaries {
    pub(super) fn check(self, lines: &LineIndex<'_>) -> Result<CanaryRecords, DatasetError> {
        let (sql, delimiter) = (self.sql.as_ref(), self.delimiter.as_ref());
        let rate = self.expected_rate.get_ref().parse();
        Ok(CanaryRecords {
            source: read_source(&self.source, sql, delimiter, lines)?,
            rate: rate
                .map_err(|why| lines.error(&self.expected_rate, DatasetFault::ExpectedRate(why)))?,
        })
    }
}
