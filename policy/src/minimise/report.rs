//! What minimisation did, in numbers.

use super::column::Column;
use super::keys::Keys;
use crate::tag::LOSS_PPM_MAX;
use crate::text::TagName;

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
    /// ([`Tag::loss_ppm`](crate::tag::Tag::loss_ppm) after less before); rounded down.
    pub added_loss_ppm: u32,
}

impl Report {
    /// `rows` has the first combination of each row, `kept` each kept row with the last.
    pub(super) fn of(columns: &[Column], keys: &Keys, rows: &[u32], kept: &[(u32, u32)]) -> Self {
        let mut cells = vec![0_u64; columns.len()];
        let mut added = vec![0_u64; columns.len()];
        let mut generalised_rows = 0;
        for (index, last) in kept {
            let Some(first) = rows.get(*index as usize).filter(|first| *first != last) else {
                continue;
            };
            generalised_rows += 1;
            let codes = keys.codes(*first).iter().zip(keys.codes(*last));
            let sums = cells.iter_mut().zip(&mut added);
            for ((column, (old, new)), (cells, added)) in columns.iter().zip(codes).zip(sums) {
                if old != new {
                    *cells += 1;
                    *added += u64::from(column.loss(*new).saturating_sub(column.loss(*old)));
                }
            }
        }
        let after = kept.len() as u64;
        let loss = |((column, generalised_cells), added): ((&Column, &u64), u64)| TagLoss {
            tag: column.tag().name().clone(),
            generalised_cells: *generalised_cells,
            added_loss_ppm: u32::try_from(added.checked_div(after).unwrap_or(0))
                .unwrap_or(LOSS_PPM_MAX),
        };
        Self {
            before: rows.len() as u64,
            after,
            generalised_rows,
            generalised_cells: cells.iter().sum(),
            suppressed_rows: rows.len() as u64 - after,
            tags: columns.iter().zip(&cells).zip(added).map(loss).collect(),
        }
    }
}
