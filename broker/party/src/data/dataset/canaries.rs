//! The section of a dataset that says which identifiers are nobody's.

use counterfoil_policy::canaries::{CANARIES_MAX, ExpectedRate, threshold};
use counterfoil_psi::{Identifier, Normaliser};
use serde::Deserialize;
use toml::Spanned;

use super::super::identifiers::{LoadError, Wanted, read_identifiers};
use super::super::source::Source;
use super::{DatasetError, DatasetFault, LineIndex, read_source};

/// Why canaries cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The source.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No number of hits among so few could stop a flow, or there are too many.
    #[error(
        "`{place}` has {count} canaries, and a flow is stopped from {least} hits on: give several times as many, {CANARIES_MAX} at most"
    )]
    Count {
        /// Where they are, without a password.
        place: String,
        /// How many there are.
        count: u32,
        /// From how many hits on a flow would be stopped.
        least: u32,
    },
}

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

    /// Reads them, as identifiers of one type. Blocks.
    ///
    /// # Errors
    /// [`CanaryError`].
    pub fn read(
        &self,
        column: &str,
        normaliser: Normaliser,
    ) -> Result<Vec<Identifier>, CanaryError> {
        let wanted = Wanted {
            column,
            normaliser,
            others: &[],
            payload_bytes: 0,
            added: &[],
        };
        let read = read_identifiers(&self.source, &wanted, None, &mut |_| (), &mut rand::rng())?;
        let values = (0..).map_while(|index| read.set.expose_value(index));
        // A value of a set is its identifier's own normal form.
        let read: Vec<Identifier> = values
            .flat_map(|value| normaliser.normalise(value))
            .collect();
        let count = u32::try_from(read.len()).unwrap_or(u32::MAX);
        let least = threshold(count.min(CANARIES_MAX), self.rate);
        if (least..=CANARIES_MAX).contains(&count) {
            return Ok(read);
        }
        Err(CanaryError::Count {
            place: self.source.to_string(),
            count,
            least,
        })
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
