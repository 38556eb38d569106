//! Lineages: the columns that all flows from one data set share.

use std::collections::BTreeSet;

use crate::error::MarkError;
use crate::form::{Form, Reading};
use crate::keys::column_digest;
use crate::tag::TagBits;

/// Longest name of a column.
const NAME_BYTES_MAX: usize = 128;
/// One third of 2^15.
const FLOW_SHARE_DEFAULT: u16 = 10_923;
/// One half of 2^15.
const FLOW_SHARE_MAX: u16 = 1 << 14;
const PPM: f64 = 1e6;

/// What share of the cells of a closed list a lineage may change, for flows of at least so many rows.
///
/// Half of the selected cells have the right colour already, so a budget of q selects twice as many,
/// less three standard deviations in the smallest flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    ppm: u32,
    rows_min: u64,
}

impl Budget {
    /// `ppm` cells in a million, at most one half, in flows of `rows_min` rows or more.
    ///
    /// # Errors
    /// [`MarkError::Budget`].
    pub fn new(ppm: u32, rows_min: u64) -> Result<Self, MarkError> {
        match ppm {
            1..=500_000 => Ok(Self { ppm, rows_min }),
            _ => Err(MarkError::Budget { ppm }),
        }
    }

    /// Of the 2^16 values of a lane, how many select a cell.
    ///
    /// Rows with one tag are selected together, so a flow counts for no more rows than there are tags.
    ///
    /// # Errors
    /// [`MarkError::BudgetTooSmall`] if that is none.
    pub fn selected(self, bits: TagBits) -> Result<u32, MarkError> {
        let q = f64::from(self.ppm) / PPM;
        let share = 2.0 * (q - deviations(q, self.rows_min, bits));
        let selected = (share * 65536.0).round();
        if selected < 1.0 {
            let Self { ppm, rows_min } = self;
            return Err(MarkError::BudgetTooSmall { ppm, rows_min });
        }
        Ok(to_u32(selected))
    }

    /// Most cells of a column, in a million, that a flow of `rows` rows is said to change: the budget, and three standard
    /// deviations more in a flow that is smaller than the lineage expects. A bound on a chance (MARKS.md section 2), to be stated.
    #[must_use]
    pub fn changed_ppm_max(self, rows: u64, bits: TagBits) -> u32 {
        if rows >= self.rows_min {
            return self.ppm;
        }
        let q = f64::from(self.ppm) / PPM;
        to_u32(((q + deviations(q, rows, bits)).min(1.0) * PPM).ceil())
    }
}

fn deviations(q: f64, rows: u64, bits: TagBits) -> f64 {
    3.0 * (q / rows.clamp(1, bits.tags()) as f64).sqrt()
}

/// Rounds towards 0 and to the nearest end of the range, as `as` does.
fn to_u32(number: f64) -> u32 {
    number as u32
}

/// A column that may carry marks: a lasting name and a form. Its place in a delivery is nothing to it.
#[derive(Clone, Debug)]
pub struct Column {
    name: Box<str>,
    form: Form,
    selected: u32,
    digest: [u8; 11],
}

impl Column {
    /// A column of a lineage. The budget is for closed lists; in columns with a tolerance every
    /// cell carries marks.
    ///
    /// # Errors
    /// [`MarkError::Name`], [`MarkError::BudgetTooSmall`].
    pub fn new(name: &str, form: Form, budget: Budget, bits: TagBits) -> Result<Self, MarkError> {
        let bytes = name.len();
        if !(1..=NAME_BYTES_MAX).contains(&bytes) {
            return Err(MarkError::Name { bytes });
        }
        let selected = if form.has_tolerance() {
            1 << 16
        } else {
            budget.selected(bits)?
        };
        Ok(Self {
            name: name.into(),
            digest: column_digest(name, &form.canonical()),
            form,
            selected,
        })
    }

    /// The lasting name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its cells carry symbols.
    #[must_use]
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// The share of its cells that may carry a symbol.
    #[must_use]
    pub fn selected_share(&self) -> f64 {
        f64::from(self.selected) / 65536.0
    }

    /// Whether a cell, written like that, could stand in the column.
    #[must_use]
    pub fn fits(&self, cell: &str, reading: Reading) -> bool {
        self.form.fits(cell, reading)
    }

    #[cfg(test)]
    pub(crate) fn with_selected(self, selected: u32) -> Self {
        Self { selected, ..self }
    }

    pub(crate) fn selected(&self) -> u32 {
        self.selected
    }

    pub(crate) fn digest(&self) -> &[u8; 11] {
        &self.digest
    }
}

/// The columns of a lineage, and what all of its flows have in common.
#[derive(Clone, Debug)]
pub struct Lineage {
    columns: Vec<Column>,
    bits: TagBits,
    flow_share: u16,
}

impl Lineage {
    /// A lineage whose flows have a third of the positions, its recipients the rest.
    ///
    /// # Errors
    /// [`MarkError::ColumnTwice`].
    pub fn new(columns: Vec<Column>, bits: TagBits) -> Result<Self, MarkError> {
        let mut digests = BTreeSet::new();
        if let Some(index) = (columns.iter()).position(|column| !digests.insert(column.digest)) {
            return Err(MarkError::ColumnTwice { index });
        }
        Ok(Self {
            columns,
            bits,
            flow_share: FLOW_SHARE_DEFAULT,
        })
    }

    /// With another share of the positions for flows, in 2^-15: 0 to one half.
    ///
    /// # Errors
    /// [`MarkError::FlowShare`].
    pub fn with_flow_share(self, share: u16) -> Result<Self, MarkError> {
        if share > FLOW_SHARE_MAX {
            return Err(MarkError::FlowShare { share });
        }
        Ok(Self {
            flow_share: share,
            ..self
        })
    }

    /// All columns of some lineages with one number of bits, which are parts of one: agreements over the same data may mark
    /// other columns. `None` without a lineage, or if two select different cells of one column: parts of one never do, because
    /// a reader would take cells for marked that are not.
    #[must_use]
    pub fn merged<'l>(lineages: impl IntoIterator<Item = &'l Self>) -> Option<Self> {
        let mut lineages = lineages.into_iter();
        let mut merged = lineages.next()?.clone();
        for column in lineages.flat_map(|lineage| &lineage.columns) {
            let same = |known: &&Column| known.digest == column.digest;
            match merged.columns.iter().find(same) {
                Some(known) if known.selected != column.selected => return None,
                Some(_) => {}
                None => merged.columns.push(column.clone()),
            }
        }
        Some(merged)
    }

    /// With those of its columns that `keep` keeps. Positions do not depend on which other columns there are.
    #[must_use]
    pub fn restricted(&self, keep: impl Fn(&Column) -> bool) -> Self {
        let columns = self.columns.iter().filter(|column| keep(column));
        Self {
            columns: columns.cloned().collect(),
            ..*self
        }
    }

    /// Its columns.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Bits of its mark tags.
    #[must_use]
    pub fn bits(&self) -> TagBits {
        self.bits
    }

    pub(crate) fn flow_share(&self) -> u16 {
        self.flow_share
    }
}

#[cfg(test)]
mod tests;
