//! What a mapping makes of a dataset's rows, before anything runs.

use std::collections::BTreeMap;

use counterfoil_policy::canaries::threshold;
use counterfoil_policy::tag::Tag;
use serde::Serialize;

use super::consent::{ConsentReport, check_consent};
use super::dataset::{CanaryRecords, Dataset, IdentifierColumn};
use super::error::SourceError;
use super::mapping::Mapping;
use super::report::Lines;
use super::rows::{Read, Row};
use super::unmapped::{Tally, UnmappedCells};

/// Delivered values shown of a tag, at most.
const SHOWN_MAX: usize = 8;
/// Different delivered values counted of a tag, at most.
const COUNTED_MAX: usize = 1024;

/// What became of the rows that were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetReport {
    /// The dataset's name.
    pub dataset: String,
    /// The path or place, without a password.
    pub source: String,
    /// The taxonomy that it is mapped to.
    pub taxonomy: String,
    /// Rows read.
    pub rows: u64,
    /// Whether these are all rows of the source.
    pub complete: bool,
    /// Rows that cannot be read at all.
    pub bad: Lines,
    /// Rows with an identifier and a value in every tag, of the agreement if one was given: no other takes part in a flow that
    /// asks for all of them.
    pub whole: u64,
    /// The identifier columns.
    pub identifiers: Vec<IdentifierReport>,
    /// The tags.
    pub tags: Vec<TagReport>,
    /// The consent records, if the dataset has any.
    pub consent: Option<ConsentReport>,
    /// The canaries, by identifier column, if the dataset has any.
    pub canaries: Vec<CanaryReport>,
    /// Every identifier column and every tag has a value in some row; and where an agreement was given, some row is whole.
    #[serde(rename = "mapped")]
    pub is_mapped: bool,
    /// That, and every consent record can be relied on, and there are canaries enough where there are any.
    pub usable: bool,
}

/// What became of the canaries in one column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CanaryReport {
    /// The column.
    pub column: String,
    /// How many there are.
    pub canaries: u32,
    /// From about how many hits on a flow is stopped.
    pub stops_at: u32,
    /// Why a flow by this type would be declined.
    pub fault: Option<String>,
}

/// What became of an identifier column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentifierReport {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The column.
    pub column: String,
    /// Rows with a valid identifier, repeated ones too.
    pub valid: u64,
    /// Rows without a valid one.
    pub invalid: Lines,
}

/// What became of a tag's column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TagReport {
    /// The tag.
    pub tag: String,
    /// The column.
    pub column: String,
    /// Rows with a value.
    pub mapped: u64,
    /// Rows of which nothing is told.
    pub suppressed: u64,
    /// Rows without a value; they are left out of every flow that asks for the tag.
    pub unmapped: Option<UnmappedCells>,
    /// The level at which `delivered` is shown.
    pub level: usize,
    /// Delivered values and their rows, the most frequent first; never exact numbers or dates.
    pub delivered: Vec<(String, u64)>,
}

/// Reads up to `rows_max` rows of a dataset, and of its consent records, and applies its mapping. `forms` are tags in the form in
/// which they are delivered; a tag that is not among them is shown at the first level of its hierarchy. Blocks.
///
/// # Errors
/// [`SourceError`]: the source cannot be read, or lacks a column.
pub fn check_dataset(
    dataset: &Dataset,
    forms: &[Tag],
    rows_max: u64,
) -> Result<DatasetReport, SourceError> {
    let mut rows = dataset.source().open()?;
    let identifiers = dataset.identifiers().iter().map(|column| column.column());
    let tags = dataset.tags().values().map(Mapping::column);
    let columns: Vec<&str> = identifiers.chain(tags).collect();
    rows.select(&columns)?;
    // Of those that a trace reads, the columns alone: nothing of what is in them is told.
    let customer = dataset.customer_key();
    for source in std::iter::once(dataset.source()).chain(dataset.former()) {
        source.open()?.select(&[customer.column()])?;
    }
    let mut check = Check::new(dataset, forms);
    let mut complete = true;
    while let Some(read) = rows.next_row()? {
        if check.rows == rows_max {
            complete = false;
            break;
        }
        check.rows += 1;
        match read {
            Read::Row(row) => check.take(&row),
            Read::Bad(bad) => check.bad.add(bad.line),
        }
    }
    let mut report = check.finish(dataset, rows.name().to_owned(), complete);
    if let Some(records) = dataset.consent() {
        let consent = check_consent(records, dataset.source(), rows_max)?;
        report.usable &= consent.faults.is_empty();
        report.consent = Some(consent);
    }
    if let Some(records) = dataset.canaries() {
        let columns = dataset.identifiers().iter();
        report.canaries = columns
            .map(|column| check_canaries(records, column))
            .collect();
        report.usable &= report.canaries.iter().all(|told| told.fault.is_none());
    }
    Ok(report)
}

fn check_canaries(records: &CanaryRecords, column: &IdentifierColumn) -> CanaryReport {
    let read = records.read(column.column(), column.normaliser());
    let (canaries, fault) = match read {
        Ok(read) => (u32::try_from(read.len()).unwrap_or(u32::MAX), None),
        Err(error) => (0, Some(error.to_string())),
    };
    CanaryReport {
        column: column.column().to_owned(),
        canaries,
        stops_at: threshold(canaries, records.rate()),
        fault,
    }
}

struct Check<'d> {
    rows: u64,
    bad: Lines,
    whole: u64,
    /// A flow asks for the tags of an agreement, and not for whatever is mapped.
    is_agreed: bool,
    identifiers: Vec<(&'d IdentifierColumn, IdentifierReport)>,
    tags: Vec<TagCheck<'d>>,
}

struct TagCheck<'d> {
    mapping: &'d Mapping,
    form: Tag,
    /// A flow for all tags asks for it.
    is_wanted: bool,
    tally: Tally,
    mapped: u64,
    suppressed: u64,
    delivered: BTreeMap<Box<str>, u64>,
}

impl<'d> Check<'d> {
    fn new(dataset: &'d Dataset, forms: &[Tag]) -> Self {
        let identifiers = dataset.identifiers().iter().map(|column| {
            let report = IdentifierReport {
                kind: column.kind().to_string(),
                column: column.column().to_owned(),
                valid: 0,
                invalid: Lines::default(),
            };
            (column, report)
        });
        let tags = dataset.tags().values().map(|mapping| {
            let agreed = forms
                .iter()
                .find(|form| form.name() == mapping.tag().name());
            TagCheck {
                mapping,
                is_wanted: agreed.is_some() || forms.is_empty(),
                form: agreed
                    .cloned()
                    .unwrap_or_else(|| mapping.tag().at_first_level()),
                tally: Tally::new(mapping, dataset.is_identifier(mapping.column())),
                mapped: 0,
                suppressed: 0,
                delivered: BTreeMap::new(),
            }
        });
        Self {
            rows: 0,
            bad: Lines::default(),
            whole: 0,
            is_agreed: !forms.is_empty(),
            identifiers: identifiers.collect(),
            tags: tags.collect(),
        }
    }

    fn take(&mut self, row: &Row<'_>) {
        let mut is_matched = false;
        for (column, report) in &mut self.identifiers {
            let cell = row.get(column.column()).unwrap_or_default();
            match column.normaliser().normalise(cell) {
                Ok(_) => {
                    report.valid += 1;
                    is_matched = true;
                }
                Err(_) => report.invalid.add(row.line()),
            }
        }
        let mut is_whole = is_matched;
        for tag in &mut self.tags {
            let has_value = tag.take(row);
            is_whole &= has_value || !tag.is_wanted;
        }
        self.whole += u64::from(is_whole);
    }

    fn finish(self, dataset: &Dataset, source: String, complete: bool) -> DatasetReport {
        let identifiers: Vec<_> = self.identifiers.into_iter().map(|(_, told)| told).collect();
        let tags: Vec<_> = self.tags.into_iter().map(TagCheck::finish).collect();
        let is_mapped = identifiers.iter().all(|column| column.valid > 0)
            && tags.iter().all(|tag| tag.mapped + tag.suppressed > 0)
            && (self.whole > 0 || !self.is_agreed);
        DatasetReport {
            dataset: dataset.name().to_owned(),
            source,
            taxonomy: dataset.taxonomy().reference().to_string(),
            rows: self.rows,
            complete,
            bad: self.bad,
            whole: self.whole,
            identifiers,
            tags,
            consent: None,
            canaries: Vec::new(),
            is_mapped,
            usable: is_mapped,
        }
    }
}

impl TagCheck<'_> {
    /// Whether the row takes part in a flow that asks for the tag.
    fn take(&mut self, row: &Row<'_>) -> bool {
        let cell = row.get(self.mapping.column()).unwrap_or_default();
        let told = match self.mapping.value(cell) {
            Ok(Some(value)) => self.form.generalise(&value),
            Ok(None) => {
                self.suppressed += 1;
                return true;
            }
            Err(why) => Err(why),
        };
        match told {
            Err(why) => {
                self.tally.add(row.line(), cell, why);
                false
            }
            Ok(value) => {
                self.mapped += 1;
                if self.delivered.len() < COUNTED_MAX || self.delivered.contains_key(value.as_str())
                {
                    *self.delivered.entry(value.as_str().into()).or_default() += 1;
                }
                true
            }
        }
    }

    fn finish(self) -> TagReport {
        // An exact number or date may single a person out, or be an identifier in the wrong column.
        let shows = self.form.distinct_values().is_some();
        let mut delivered: Vec<(String, u64)> = self
            .delivered
            .into_iter()
            .filter(|_| shows)
            .map(|(value, rows)| (value.into(), rows))
            .collect();
        delivered.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        delivered.truncate(SHOWN_MAX);
        TagReport {
            tag: self.mapping.tag().name().to_string(),
            column: self.mapping.column().to_owned(),
            mapped: self.mapped,
            suppressed: self.suppressed,
            unmapped: self.tally.finish(),
            level: self.form.level(),
            delivered,
        }
    }
}
