//! The identifiers of a dataset.

use counterfoil_psi::{IdentifierKind, Normaliser, Region, UnknownKind, UnknownRegion};
use serde::Deserialize;
use toml::Spanned;

use super::super::customer::CustomerKey;
use super::{DatasetError, DatasetFault, LineIndex, filled};

/// A column that holds identifiers of one type.
#[derive(Clone, Debug)]
pub struct IdentifierColumn {
    column: String,
    normaliser: Normaliser,
}

impl IdentifierColumn {
    /// The column of the source.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The type of its identifiers.
    #[must_use]
    pub fn kind(&self) -> IdentifierKind {
        self.normaliser.kind()
    }

    /// How its cells become identifiers.
    #[must_use]
    pub fn normaliser(&self) -> Normaliser {
        self.normaliser
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdentifier {
    #[serde(rename = "type")]
    pub(super) kind: Spanned<String>,
    column: Spanned<String>,
    default_region: Option<Spanned<String>>,
}

impl RawIdentifier {
    pub(super) fn check(&self, lines: &LineIndex<'_>) -> Result<IdentifierColumn, DatasetError> {
        let kind: IdentifierKind = self
            .kind
            .get_ref()
            .parse()
            .map_err(|error: UnknownKind| lines.error(&self.kind, error))?;
        let region = match &self.default_region {
            Some(region) if kind != IdentifierKind::Phone => {
                return Err(lines.error(region, DatasetFault::RegionWithoutPhone(kind)));
            }
            Some(name) => {
                let region = name.get_ref().parse::<Region>();
                Some(region.map_err(|error: UnknownRegion| lines.error(name, error))?)
            }
            None => None,
        };
        let column = filled(self.column.clone(), "column", lines)?;
        Ok(IdentifierColumn {
            column,
            normaliser: Normaliser::new(kind, region),
        })
    }
}

/// Every dataset has an identifier.
pub(super) fn first_identifier(identifiers: &[IdentifierColumn]) -> CustomerKey {
    match identifiers.first() {
        Some(first) => CustomerKey::of_identifier(&first.column, first.normaliser),
        None => CustomerKey::of_column(""),
    }
}
