//! k-anonymity of a delivery: small groups are told coarser, and only then not at all.
//!
//! In the output every combination of delivered values occurs in at least k rows (k-anonymity:
//! Samarati 2001; Sweeney 2002). The outcome is a function of the multiset of rows: the order in
//! which they come changes nothing but the order in which they go.
//!
//! - A combination that has k rows is delivered as it is: nobody's rows become coarser to save
//!   others (local recoding; full-domain recoding as in Incognito, LeFevre et al. 2005, or OLA,
//!   El Emam et al. 2009, would coarsen a tag for all). No row leaves a group, so none shrinks.
//! - The rows of smaller combinations are brought together in clusters of k or more, from the top
//!   of the hierarchies down (`cluster`), each told as finely as its rows have in common.
//! - Fewer than k rows can be left over. Each goes where it costs least: to a combination that is
//!   told coarser already, or into a cluster, which becomes coarser for it (`rest`).
//! - Suppressed is only what then has no place: fewer than k rows in all, and only if the small
//!   combinations together have fewer than k. That is the least possible under the first rule.
//!
//! Finding the recoding of least loss is NP-hard (Meyerson and Williams, PODS 2004); this is
//! greedy. Against the optimum of 300 small tables, found by trying everything, it loses 1.20
//! times as much together, and 2.44 times at worst (`tests/optimum.rs`). Loss is measured as
//! [`Tag::loss_ppm`] says; a suppressed row counts as `*` in every tag.
//!
//! Marks (a watermark) are put in before k is counted ([`Table::mark`]), so that none betrays itself by a combination that
//! would have been removed. From then on the marked cells are the rows: all that is counted, told coarser and delivered is a
//! function of them, and the cells before are not kept. So whoever chooses which rows come together, in one flow or in many,
//! learns of a row at most what its marked cells say. A row that gave its marks up when they are rare would be cleaned of
//! them by whoever can make it rare. What is told coarser is above the marked value, and so as near to the true one as that
//! is: within the agreed bounds of the mark, perhaps on the other side of a band's edge.
//!
//! What it does not do: rows of a group may still share a value that is sensitive
//! (l-diversity), someone who knows this algorithm may infer a little from what was
//! generalised (minimality attack, Wong et al., VLDB 2007), and a recipient who knows its
//! own customers is not fooled at all. It limits rare combinations and what a leaked file shows.

mod cluster;
mod column;
mod keys;
mod report;
mod rest;

use crate::tag::{Tag, Unmapped};
use crate::text::TagName;

use cluster::{Cluster, Records};
use column::Column;
use keys::Keys;
use rest::Place;

pub use report::{Report, TagLoss};

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
    #[error("the table has more than {ROWS_MAX} rows")]
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

    /// The cells of a column, row by row; none if there is no such column.
    pub fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        let of_row = move |group: &u32| {
            let code = self.keys.codes(*group).get(column)?;
            Some(self.columns.get(column)?.text(*code))
        };
        self.rows.iter().filter_map(of_row)
    }

    /// Puts marks into a column: other cells for some rows, which take the place of what was there. A cell that its tag
    /// does not admit changes nothing.
    pub fn mark<'c>(&mut self, column: usize, changes: impl IntoIterator<Item = (usize, &'c str)>) {
        for (row, cell) in changes {
            let code = self.columns.get_mut(column).map(|column| column.code(cell));
            let (Some(Ok(code)), Some(group)) = (code, self.rows.get_mut(row)) else {
                continue;
            };
            self.scratch.clear();
            self.scratch.extend_from_slice(self.keys.codes(*group));
            if let Some(place) = self.scratch.get_mut(column) {
                *place = code;
            }
            *group = self.keys.intern(&self.scratch);
        }
    }

    /// For each column the share of the delivered cells that are told as they were before k was counted.
    fn cells_left(&self, kept: &[(u32, u32)]) -> Vec<f64> {
        let mut left = vec![0_u32; self.columns.len()];
        for (row, told) in kept {
            let Some(own) = self.rows.get(*row as usize) else {
                continue;
            };
            let cells = self.keys.codes(*own).iter().zip(self.keys.codes(*told));
            for (left, (own, told)) in left.iter_mut().zip(cells) {
                *left += u32::from(own == told);
            }
        }
        let all = kept.len().max(1) as f64;
        left.into_iter().map(|left| f64::from(left) / all).collect()
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
    /// The outcome is a function of the multiset of rows: another order of the same rows gives
    /// the same cells in that order. Rows are those with marks: nothing else is left of a row that has some.
    #[must_use]
    pub fn minimise(mut self, k: u32) -> Minimised {
        self.columns.iter_mut().for_each(Column::close);
        let told = self.told(k);
        let moves = || {
            let told = |first: &u32| told.get(*first as usize).copied().flatten();
            self.rows.iter().map(told)
        };
        // Counted on what would be delivered, whatever was decided before: nothing under k leaves.
        let sizes = Sizes::of(self.keys.len(), moves().flatten());
        let large = |group: &u32| sizes.rows(*group) >= k;
        let kept = (0_u32..).zip(moves());
        let kept = kept.filter_map(|(index, group)| Some((index, group.filter(large)?)));
        let kept: Vec<(u32, u32)> = kept.collect();
        let report = Report::of(&self.columns, &self.keys, &self.rows, &kept);
        let cells_left = self.cells_left(&kept);
        Minimised {
            cells_left,
            columns: self.columns,
            keys: self.keys,
            kept,
            report,
        }
    }

    /// For each combination the one that its rows are told as; `None` if they are suppressed.
    fn told(&mut self, k: u32) -> Vec<Option<u32>> {
        let sizes = Sizes::of(self.keys.len(), self.rows.iter().copied());
        let all = 0..self.keys.len();
        // A combination that marks have left is nobody's any more.
        let held = all.filter(|group| sizes.rows(*group) > 0);
        let (large, small): (Vec<u32>, Vec<u32>) = held.partition(|group| sizes.rows(*group) >= k);
        let mut places: Vec<Option<Place>> = (0..self.keys.len())
            .map(|group| Some(Place::Large(group)))
            .collect();
        let mut place = |group: u32, to: Option<Place>| {
            if let Some(place) = places.get_mut(group as usize) {
                *place = to;
            }
        };
        let mut records = Records::new(self.columns.len());
        for group in small {
            records.push(group, sizes.rows(group), self.keys.codes(group));
        }
        let assign = |group, cluster: u32| place(group, Some(Place::Cluster(cluster as usize)));
        let (mut clusters, rest) = cluster::cluster(&self.columns, k.into(), records, assign);
        let mut rest: Vec<_> = rest.iter().collect();
        rest.sort_unstable_by(|a, b| rest::compare(&self.columns, a.codes(), b.codes()));
        for record in rest {
            // Fewer than k records, at most n / k large groups and as many clusters: n steps.
            let large = large.iter().map(|group| (*group, self.keys.codes(*group)));
            let cheapest = rest::cheapest(&self.columns, record, large, &clusters);
            if let Some(Place::Cluster(index)) = cheapest
                && let Some(cluster) = clusters.get_mut(index)
            {
                rest::take_in(&self.columns, cluster, record);
            }
            place(record.number(), cheapest);
        }
        let intern = |cluster: &Cluster| self.keys.intern(&cluster.told);
        let clusters: Vec<u32> = clusters.iter().map(intern).collect();
        let group = |place: Place| match place {
            Place::Large(group) => Some(group),
            Place::Cluster(index) => clusters.get(index).copied(),
        };
        let groups = places.into_iter().map(|place| place.and_then(group));
        groups.collect()
    }
}

/// Rows of each group.
struct Sizes(Vec<u32>);

impl Sizes {
    fn of(groups: u32, rows: impl Iterator<Item = u32>) -> Self {
        let mut sizes = vec![0_u32; groups as usize];
        for group in rows {
            if let Some(size) = sizes.get_mut(group as usize) {
                *size += 1;
            }
        }
        Self(sizes)
    }

    fn rows(&self, group: u32) -> u32 {
        self.0.get(group as usize).copied().unwrap_or(0)
    }
}

/// A table in which every combination has at least k rows.
#[derive(Debug)]
pub struct Minimised {
    columns: Vec<Column>,
    keys: Keys,
    kept: Vec<(u32, u32)>,
    report: Report,
    cells_left: Vec<f64>,
}

impl Minimised {
    /// What was generalised and left out.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// For each column the share of the delivered cells that are not told coarser, 0 to 1: only these show marks.
    #[must_use]
    pub fn cells_left(&self) -> &[f64] {
        &self.cells_left
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
        self.kept
            .iter()
            .map(|(index, group)| (*index, self.cells(*group)))
    }

    /// The cells of the kept row with this number in [`rows`](Self::rows), from 0.
    #[must_use]
    pub fn row(&self, number: u32) -> Option<impl Iterator<Item = &str>> {
        let (_, group) = self.kept.get(number as usize)?;
        Some(self.cells(*group))
    }

    fn cells(&self, group: u32) -> impl Iterator<Item = &str> {
        let cells = self.columns.iter().zip(self.keys.codes(group));
        cells.map(|(column, code)| column.text(*code))
    }
}

#[cfg(test)]
mod tests;
