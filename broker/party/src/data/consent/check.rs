//! What the consent records of a dataset hold, before anything runs.

use serde::Serialize;

use super::super::error::SourceError;
use super::super::report::{Invalid, add};
use super::super::rows::{Read, Row};
use super::super::source::Source;
use super::record::KEY;
use super::{ConsentRecords, JoinedRecords};

/// What became of the consent records that were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsentReport {
    /// The path or place of the records, without a password.
    pub source: String,
    /// Records that can be relied on, whatever they consent to.
    pub records: u64,
    /// Rows of the dataset without a record; 0 where the records have a source of their own.
    pub without: u64,
    /// Records that cannot be relied on, by reason with what to do, most frequent first. One of them stops a flow.
    pub faults: Vec<Invalid>,
    /// Whether these are all rows of the source.
    pub complete: bool,
}

/// Reads the consent records in up to `rows_max` rows of their source, or of `dataset` if they are columns of it. Blocks.
///
/// # Errors
/// [`SourceError`]: the source cannot be read, or lacks a column.
pub(in crate::data) fn check_consent(
    records: &ConsentRecords,
    dataset: &Source,
    rows_max: u64,
) -> Result<ConsentReport, SourceError> {
    let mut records = records.clone();
    let joined = records.joined.clone();
    let source = joined.as_ref().map_or(dataset, |joined| &joined.source);
    let mut rows = source.open()?;
    records.columns.notice_withdrawals(rows.columns());
    records.select(&mut rows)?;
    let mut report = ConsentReport {
        source: rows.name().to_owned(),
        records: 0,
        without: 0,
        faults: Vec::new(),
        complete: true,
    };
    let mut left = rows_max;
    while let Some(read) = rows.next_row()? {
        if left == 0 {
            report.complete = false;
            break;
        }
        left -= 1;
        match (read, &joined) {
            (Read::Row(row), joined) => report.take(&records, joined.as_ref(), &row),
            (Read::Bad(bad), Some(_)) => {
                add(&mut report.faults, bad.line, bad.reason.sort().into());
            }
            // No flow takes this row of the dataset: its report counts it.
            (Read::Bad(_), None) => {}
        }
    }
    let most_frequent_first = |fault: &Invalid| std::cmp::Reverse(fault.lines.count);
    report.faults.sort_by_key(most_frequent_first);
    Ok(report)
}

impl ConsentReport {
    fn take(&mut self, records: &ConsentRecords, joined: Option<&JoinedRecords>, row: &Row<'_>) {
        let fault = match joined {
            None if records.columns.are_empty(row) => {
                self.without += 1;
                return;
            }
            Some(joined) if !joined.has_key(row) => Some(KEY),
            _ => records.record(row).err(),
        };
        match fault {
            Some(why) => add(&mut self.faults, row.line(), why.into()),
            None => self.records += 1,
        }
    }
}

impl JoinedRecords {
    fn has_key(&self, row: &Row<'_>) -> bool {
        let cell = row.get(&self.key).unwrap_or_default().trim();
        match &self.normaliser {
            Some(normaliser) => normaliser.normalise(cell).is_ok(),
            None => !cell.is_empty(),
        }
    }
}
