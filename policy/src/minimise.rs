//! k-anonymity of a delivery: small groups are told coarser, then not at all.
//!
//! In the output every combination of delivered values occurs in at least k rows
//! (k-anonymity: Samarati 2001; Sweeney 2002). Only rows that are in too small a group
//! change (local recoding): each step tells one cell of such a group one level coarser,
//! up to `*`; a group that nothing can save is left out. Groups that were large enough stay
//! as they were, and so a table whose groups are all large enough comes out unchanged.
//!
//! While many groups are small, a step is taken by all of them on the tag with the most
//! distinct values among them (the heuristic of Sweeney's Datafly, 1998); when few are
//! left, each takes the step that loses least, preferring one that ends its smallness.
//! Finding the best recoding is NP-hard (Meyerson and Williams, PODS 2004); this is greedy.
//!
//! What it does not do: rows of a group may still share a value that is sensitive
//! (l-diversity), someone who knows this algorithm may infer a little from what was
//! generalised (minimality attack, Wong et al., VLDB 2007), and a recipient who knows its
//! own customers is not fooled at all. It limits rare combinations and what a leaked file shows.

mod column;
mod groups;

use crate::tag::{LOSS_PPM_MAX, Tag, Unmapped};
use crate::text::TagName;

use column::Column;
use groups::{Groups, Keys};

/// Most rows of a table; no agreement allows more in a flow.
pub const ROWS_MAX: u32 = crate::agreement::ROWS_PER_FLOW_MAX;

/// Why a row was not taken. The caller counts it as unmatched and tells nobody which it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Not one cell for each tag.
    #[error("the row has {found} cells for {expected} tags")]
    Width {
        /// Cells in the row.
        found: usize,
        /// Tags of the table.
        expected: usize,
    },
    /// A cell is not a value of its tag at the agreed level or coarser.
    #[error("tag `{tag}`: {reason}")]
    Cell {
        /// The tag.
        tag: TagName,
        /// Why the cell has no value in it.
        reason: Unmapped,
    },
    /// More than [`ROWS_MAX`] rows.
    #[error("the table has more than 10000000 rows")]
    TooManyRows,
}

/// Rows as opened, every cell checked against its tag.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    keys: Keys,
    /// Group of each row.
    rows: Vec<u32>,
    scratch: Vec<u32>,
}

impl Table {
    /// An empty table with these tags as columns.
    #[must_use]
    pub fn new<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Self {
        let columns: Vec<_> = tags
            .into_iter()
            .map(|tag| Column::new(tag.clone()))
            .collect();
        Self {
            keys: Keys::new(columns.len()),
            columns,
            rows: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Adds a row, one cell for each tag; gives its index, counted from 0 over the rows taken.
    ///
    /// # Errors
    /// [`RowError`]; the table is then as before.
    pub fn push(&mut self, cells: &[&str]) -> Result<u32, RowError> {
        if cells.len() != self.columns.len() {
            return Err(RowError::Width {
                found: cells.len(),
                expected: self.columns.len(),
            });
        }
        let index = u32::try_from(self.rows.len())
            .ok()
            .filter(|index| *index < ROWS_MAX)
            .ok_or(RowError::TooManyRows)?;
        self.scratch.clear();
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            let code = column.code(cell).map_err(|reason| RowError::Cell {
                tag: column.tag().name().clone(),
                reason,
            })?;
            self.scratch.push(code);
        }
        self.rows.push(self.keys.intern(&self.scratch));
        Ok(index)
    }

    /// Rows in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Generalises, then suppresses, until no combination has fewer than `k` rows.
    ///
    /// Deterministic: the same rows in the same order give the same result. Runs in time
    /// proportional to rows, plus distinct combinations times the heights of the hierarchies.
    #[must_use]
    pub fn minimise(mut self, k: u32) -> Minimised {
        self.columns.iter_mut().for_each(Column::close);
        let before = self.keys.clone();
        let mut groups = Groups::new(self.keys, &self.rows);
        groups.enlarge(&self.columns, k);
        let target: Vec<u32> = (0..before.len())
            .map(|group| groups.resolve(group))
            .collect();
        let mut kept = Vec::with_capacity(self.rows.len());
        // Rows of each first group, to count what changed without walking every row's cells.
        let mut weights = vec![0_u64; before.len() as usize];
        let mut generalised_rows = 0;
        for (index, group) in (0_u32..).zip(&self.rows) {
            let last = target.get(*group as usize).copied().unwrap_or(*group);
            if groups.count(last) >= k {
                kept.push((index, last));
                // A group that moved alone keeps its number: only its cells tell that it moved.
                let told = groups.keys().codes(last);
                generalised_rows += u64::from(before.codes(*group) != told);
                if let Some(weight) = weights.get_mut(*group as usize) {
                    *weight += 1;
                }
            }
        }
        let moves = weights.into_iter().zip((0_u32..).zip(target));
        let tags = losses(
            &self.columns,
            &before,
            groups.keys(),
            moves,
            kept.len() as u64,
        );
        let report = Report {
            before: self.rows.len() as u64,
            after: kept.len() as u64,
            generalised_rows,
            generalised_cells: tags.iter().map(|tag| tag.generalised_cells).sum(),
            suppressed_rows: (self.rows.len() - kept.len()) as u64,
            tags,
        };
        Minimised {
            columns: self.columns,
            keys: groups.into_keys(),
            kept,
            report,
        }
    }
}

/// What minimisation did. Exact counts: tell them as [`crate::coarse::CoarseCount`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Rows that went in.
    pub before: u64,
    /// Rows that came out.
    pub after: u64,
    /// Kept rows in which at least one cell was told coarser.
    pub generalised_rows: u64,
    /// Cells of kept rows that were told coarser than they came in.
    pub generalised_cells: u64,
    /// Rows left out.
    pub suppressed_rows: u64,
    /// Loss of each tag, in the order of the columns.
    pub tags: Vec<TagLoss>,
}

/// What one tag lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagLoss {
    /// The tag.
    pub tag: TagName,
    /// Cells of kept rows that were told coarser.
    pub generalised_cells: u64,
    /// Mean over kept rows of the loss that was added, in parts per million
    /// ([`Tag::loss_ppm`] after less before); rounded down.
    pub added_loss_ppm: u32,
}

fn losses(
    columns: &[Column],
    before: &Keys,
    after: &Keys,
    moves: impl Iterator<Item = (u64, (u32, u32))>,
    kept: u64,
) -> Vec<TagLoss> {
    let mut cells = vec![0_u64; columns.len()];
    let mut added = vec![0_u64; columns.len()];
    for (rows, (first, last)) in moves.filter(|(rows, _)| *rows > 0) {
        let codes = before.codes(first).iter().zip(after.codes(last));
        let sums = cells.iter_mut().zip(&mut added);
        for ((column, (old, new)), (cells, added)) in columns.iter().zip(codes).zip(sums) {
            if old != new {
                *cells += rows;
                *added += rows * u64::from(column.loss(*new).saturating_sub(column.loss(*old)));
            }
        }
    }
    let loss = |((column, generalised_cells), added): ((&Column, u64), u64)| TagLoss {
        tag: column.tag().name().clone(),
        generalised_cells,
        added_loss_ppm: u32::try_from(added.checked_div(kept).unwrap_or(0)).unwrap_or(LOSS_PPM_MAX),
    };
    columns.iter().zip(cells).zip(added).map(loss).collect()
}

/// A table in which every combination has at least k rows.
#[derive(Debug)]
pub struct Minimised {
    columns: Vec<Column>,
    keys: Keys,
    kept: Vec<(u32, u32)>,
    report: Report,
}

impl Minimised {
    /// What was generalised and left out.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Rows kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The kept rows in their order: index from [`Table::push`], and the cells to deliver.
    pub fn rows(&self) -> impl Iterator<Item = (u32, impl Iterator<Item = &str>)> {
        self.kept.iter().map(|(index, group)| {
            let cells = self.columns.iter().zip(self.keys.codes(*group));
            (*index, cells.map(|(column, code)| column.text(*code)))
        })
    }
}

#[cfg(test)]
mod tests;
