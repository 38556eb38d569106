//! Which cells a mapping had no value for: counts and lines always, the cells themselves
//! only where they cannot be personal.
//!
//! Whoever maps a column must see that `"6"` is missing in a dictionary. A cell is shown only if its tag is
//! a closed list, so that its column should hold a few words; if the column holds no identifiers;
//! if it does not look like one (an `@`, six digits); if several rows have it; and if there
//! are few different ones. A column of names or numbers, mapped by mistake, breaks one of these, and then
//! nothing of it is shown. Shown cells stay at the owner: no message to a peer carries them.

use std::collections::BTreeMap;

use counterfoil_policy::tag::Unmapped;
use serde::Serialize;

use super::mapping::Mapping;
use super::report::Lines;

/// Different cells of a tag beyond which none is shown: that is no closed list.
const DIFFERENT_MAX: usize = 20;
/// Cells shown of a tag, at most.
const SHOWN_MAX: usize = 8;
/// Characters shown of a cell, at most.
const SHOWN_CHARS: usize = 32;
/// Rows that must have a cell before it is shown.
const ROWS_MIN: u64 = 3;
/// Digits from which a cell may be an identifier.
const DIGITS_MAX: usize = 5;

/// The cells of one tag that its mapping has no value for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnmappedCells {
    /// The tag.
    pub tag: String,
    /// The column.
    pub column: String,
    /// How many rows, and where the first of them are, by reason.
    pub rows: BTreeMap<String, Lines>,
    /// Some of the cells, the most frequent first.
    pub cells: Vec<ShownCell>,
}

/// A cell that may be shown to the owner's people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownCell {
    /// The cell, escaped and cut.
    pub cell: String,
    /// How many rows have it.
    pub rows: u64,
}

/// Counts the cells of one mapping while rows are read.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    may_show: bool,
    date_form: Option<&'static str>,
    cells: BTreeMap<Box<str>, u64>,
    told: UnmappedCells,
}

impl Tally {
    /// `is_identifier` says whether the column holds identifiers.
    pub(crate) fn new(mapping: &Mapping, is_identifier: bool) -> Self {
        Self {
            may_show: mapping.tag().kind().is_closed() && !is_identifier,
            date_form: mapping.date_form(),
            cells: BTreeMap::new(),
            told: UnmappedCells {
                tag: mapping.tag().name().to_string(),
                column: mapping.column().to_owned(),
                rows: BTreeMap::new(),
                cells: Vec::new(),
            },
        }
    }

    pub(crate) fn add(&mut self, line: u64, cell: &str, why: Unmapped) {
        let reason = match (why, self.date_form) {
            (Unmapped::NotADate, Some(form)) => {
                format!("the cell is not a date of the form {form}; correct it, or the mapping")
            }
            _ => why.to_string(),
        };
        self.told.rows.entry(reason).or_default().add(line);
        if !self.may_show || why == Unmapped::Empty {
            return;
        }
        let cell = cell.trim();
        let digits = cell.chars().filter(|c| c.is_numeric()).count();
        if digits > DIGITS_MAX || cell.contains(['@', '\u{ff20}']) {
            self.may_show = false;
        } else {
            let shown: String = cell.chars().take(SHOWN_CHARS).collect();
            *self.cells.entry(shown.into()).or_default() += 1;
            self.may_show = self.cells.len() <= DIFFERENT_MAX;
        }
        if !self.may_show {
            self.cells.clear();
        }
    }

    /// What was counted; `None` if every row had a value.
    pub(crate) fn finish(mut self) -> Option<UnmappedCells> {
        if self.told.rows.is_empty() {
            return None;
        }
        let mut cells: Vec<_> = self
            .cells
            .into_iter()
            .filter(|(_, rows)| *rows >= ROWS_MIN)
            .collect();
        cells.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        self.told.cells = cells
            .into_iter()
            .take(SHOWN_MAX)
            .map(|(cell, rows)| ShownCell {
                cell: cell.escape_debug().to_string(),
                rows,
            })
            .collect();
        Some(self.told)
    }
}

impl UnmappedCells {
    /// Rows without a value, for all reasons.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.rows.values().map(|lines| lines.count).sum()
    }
}

impl std::fmt::Display for UnmappedCells {
    /// `tag `x` (column `y`): 3 rows: the cell is empty (lines 2, 3, 9); cells that are not mapped: `a` (4 rows)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tag `{}` (column `{}`)", self.tag, self.column)?;
        for (index, (why, lines)) in self.rows.iter().enumerate() {
            let before = if index == 0 { ": " } else { "; " };
            write!(f, "{before}{} rows: {why} (lines {lines})", lines.count)?;
        }
        for (index, shown) in self.cells.iter().enumerate() {
            let before = if index == 0 {
                "; cells that are not mapped:"
            } else {
                ","
            };
            write!(f, "{before} `{}` ({} rows)", shown.cell, shown.rows)?;
        }
        Ok(())
    }
}
