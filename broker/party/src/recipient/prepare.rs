//! Reading the own source, before anything leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_policy::agreement::{Agreement, IdentifierType, MarkTerms};
use counterfoil_policy::text::TagName;
use counterfoil_psi::{IdentifierKind, Normaliser, Region};

use crate::data::{
    Existing, OutputFile, ReadReport, Row, Source, Verdict, Wanted, read_identifiers,
};
use crate::error::{Error, Result};
use crate::flow::identifier_rule;

use super::carry::Carried;
use super::own::{self, Own};
use super::{Counts, ExchangeOptions, OnProgress, Progress};

/// What to ask for, checked against the agreement as far as a mistake would be ours; whether it is granted is
/// for the broker to say and to record.
pub(super) struct Plan {
    pub(super) identifier: IdentifierType,
    pub(super) tags: Vec<TagName>,
    /// Identifier column, then carried ones.
    pub(super) columns: Vec<String>,
    /// Whether delivered rows have reference codes.
    coded: bool,
    /// Absolute, so that a resumed flow writes to the same file from any directory.
    pub(super) output: PathBuf,
    normaliser: Normaliser,
}

/// The output's column of reference codes, its last.
const CODES_COLUMN: &str = "reference_code";

/// Checks the options.
///
/// # Errors
/// [`Error::Input`], [`Error::Output`].
pub(super) fn plan(options: &ExchangeOptions, agreement: &Agreement) -> Result<Plan> {
    let (identifier, normaliser) = identified(options.identifier, options.region, agreement)?;
    let tags = if options.tags.is_empty() {
        agreement
            .tags()
            .iter()
            .map(|tag| tag.name().clone())
            .collect()
    } else {
        in_agreed_order(&options.tags, agreement)
    };
    let mut columns = vec![options.column.clone()];
    columns.extend(options.carry.iter().cloned());
    let output =
        std::path::absolute(&options.output).map_err(|e| Error::io("open", &options.output, e))?;
    let plan = Plan {
        coded: agreement.marks().is_some_and(MarkTerms::reference_codes),
        identifier,
        tags,
        columns,
        output,
        normaliser,
    };
    check_output(&plan, options.overwrite)?;
    Ok(plan)
}

/// What is matched by, and how it is read.
///
/// # Errors
/// [`Error::Input`].
pub(super) fn identified(
    wanted: Option<IdentifierType>,
    region: Option<Region>,
    agreement: &Agreement,
) -> Result<(IdentifierType, Normaliser)> {
    let identifier = match (wanted, agreement.identifiers()) {
        (Some(identifier), _) => identifier,
        (None, [only]) => only.identifier(),
        (None, several) => {
            let names: Vec<_> = several
                .iter()
                .map(|rule| rule.identifier().as_str())
                .collect();
            return Err(Error::Input(format!(
                "the agreement matches by {}: say which with --by",
                names.join(" or ")
            )));
        }
    };
    let (kind, agreed) = match identifier_rule(agreement, identifier) {
        Ok((rule, kind)) => (kind, rule.default_region()),
        Err(why) => return Err(Error::Input(why)),
    };
    let region = match (region, agreed) {
        (Some(own), _) => Some(own),
        (None, Some(agreed)) => Some(
            agreed
                .to_string()
                .parse::<Region>()
                .map_err(|e| Error::Input(e.to_string()))?,
        ),
        (None, None) => None,
    };
    let region = region.filter(|_| kind == IdentifierKind::Phone);
    Ok((identifier, Normaliser::new(kind, region)))
}

/// The agreement has the order; a tag that it does not have stays, at the end, for the broker to refuse and record.
fn in_agreed_order(asked: &[TagName], agreement: &Agreement) -> Vec<TagName> {
    let place = |name: &TagName| {
        agreement
            .tags()
            .iter()
            .position(|tag| tag.name() == name)
            .unwrap_or(usize::MAX)
    };
    let mut tags = asked.to_vec();
    tags.sort_by_key(place);
    tags
}

/// Finds out now whether the output can be written, not after the data has been released.
fn check_output(plan: &Plan, overwrite: bool) -> Result<()> {
    let names = output_columns(&plan.columns, &plan.tags, plan.coded);
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|earlier| earlier == name) {
            return Err(Error::Input(format!(
                "the output would have two columns named `{name}`: leave one out of --carry or --tags"
            )));
        }
    }
    let existing = if overwrite {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    drop(OutputFile::create(&plan.output, &names, existing)?);
    Ok(())
}

pub(super) fn output_columns<'n>(
    columns: &'n [String],
    tags: &'n [TagName],
    coded: bool,
) -> Vec<&'n str> {
    let tags = tags.iter().map(TagName::as_str);
    let codes = coded.then_some(CODES_COLUMN);
    let own = columns.iter().map(String::as_str);
    own.chain(tags).chain(codes).collect()
}

/// Reads the source; carried cells are kept in a file in `directory` meanwhile. Blocks.
///
/// # Errors
/// [`Error::Load`]; [`Error::Io`], such as a full disk.
pub(super) fn read(
    options: &ExchangeOptions,
    plan: &Plan,
    directory: &Path,
    progress: &OnProgress,
) -> Result<(own::Read, ReadReport)> {
    let others: Vec<&str> = options.carry.iter().map(String::as_str).collect();
    let from = From {
        source: &options.source,
        column: &options.column,
        others: &others,
        normaliser: plan.normaliser,
    };
    read_rows(&from, |_| None, directory, progress)
}

/// Where own rows are read from.
pub(super) struct From<'s> {
    pub(super) source: &'s Source,
    pub(super) column: &'s str,
    /// Columns that are kept beside the identifier.
    pub(super) others: &'s [&'s str],
    pub(super) normaliser: Normaliser,
}

/// As [`read`]; `unusable` says why the cells beside an identifier cannot be used, without showing one.
///
/// # Errors
/// As [`read`].
pub(super) fn read_rows(
    from: &From<'_>,
    unusable: impl Fn(&Row<'_>) -> Option<String>,
    directory: &Path,
    progress: &OnProgress,
) -> Result<(own::Read, ReadReport)> {
    let failed = |error| Error::io("write", directory, error);
    let mut carried = Carried::new(from.others.len(), directory).map_err(failed)?;
    let wanted = Wanted {
        added: &[],
        column: from.column,
        normaliser: from.normaliser,
        others: from.others,
        payload_bytes: carried.number_bytes(),
    };
    let mut fault = None;
    let mut keep = |row: &Row<'_>, number: &mut [u8]| {
        if let Some(why) = unusable(row) {
            return Verdict::Invalid(why.into());
        }
        match carried.push(row, from.others, number) {
            Ok(()) => Verdict::Keep,
            Err(error) => {
                fault.get_or_insert(error);
                Verdict::Leave
            }
        }
    };
    let mut tell = |rows| progress(Progress::Reading { rows });
    let loaded = read_identifiers(
        from.source,
        &wanted,
        Some(&mut keep),
        &mut tell,
        &mut rand::rng(),
    );
    if let Some(fault) = fault {
        return Err(failed(fault));
    }
    let loaded = loaded?;
    let own = Own {
        set: Arc::new(loaded.set),
    };
    let read = own::Read {
        own,
        carried,
        numbers: loaded.payloads,
    };
    Ok((read, loaded.report))
}

pub(super) fn counts(report: &ReadReport) -> Counts {
    Counts {
        rows: report.rows,
        empty: report.empty.count,
        invalid: report.invalid_rows(),
        duplicates: report.duplicates.count,
        submitted: report.accepted,
        owner_submitted: 0,
    }
}
