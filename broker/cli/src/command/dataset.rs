//! `counterfoil dataset ...`

use std::path::{Path, PathBuf};

use counterfoil_party::agreements;
use counterfoil_party::data::{
    ConsentReport, DATASETS, DatasetFile, DatasetReport, TagReport, check_dataset,
};
use counterfoil_party::error::Error;
use counterfoil_party::taxonomies;
use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::taxonomy::Library;
use serde_json::json;

use super::{open, parse};
use crate::args::DatasetCommand;
use crate::failure::Failure;
use crate::ui::{Ui, table};

pub(crate) fn run(home: &Path, command: DatasetCommand, ui: Ui) -> Result<(), Failure> {
    let DatasetCommand::Check {
        name,
        rows,
        agreement,
    } = command;
    let library = taxonomies::library(home)?;
    let path = home.join(DATASETS);
    let file = DatasetFile::read(&path, &library).map_err(Error::from)?;
    let agreement = match agreement {
        Some(agreement) => {
            let (agreement, held) = find(home, &agreement, &library)?;
            let held = (&agreement, held.as_path());
            agreements::check_taxonomy(home, held, &library, (&file, &path))?;
            agreements::check_mapped(&agreement, (&file, &path))?;
            Some(agreement)
        }
        None => None,
    };
    // The agreement says nothing of other datasets.
    let agreed = |dataset: &str| {
        let agreement = agreement.as_ref();
        agreement.filter(|agreement| agreement.dataset().as_str() == dataset)
    };
    let wanted = |dataset: &str| name.as_deref().is_none_or(|name| name == dataset);
    let mut reports = Vec::new();
    for dataset in file
        .datasets()
        .iter()
        .filter(|dataset| wanted(dataset.name()))
    {
        let forms = agreed(dataset.name()).map_or(&[][..], Agreement::tags);
        let report = check_dataset(dataset, forms, rows.unwrap_or(u64::MAX));
        reports.push(report.map_err(Error::from)?);
    }
    if reports.is_empty() {
        let known: Vec<_> = file
            .datasets()
            .iter()
            .map(|dataset| dataset.name())
            .collect();
        return Err(Failure::input(format!(
            "`{}` has no such dataset: it has {}",
            path.display(),
            known.join(", ")
        )));
    }
    ui.result(&json!({ "datasets": reports }), || {
        let told = reports
            .iter()
            .map(|report| describe(report, agreed(&report.dataset).is_some()));
        told.collect::<Vec<_>>().join("\n")
    })?;
    match unusable(&reports, &path) {
        Some(failure) => Err(failure.after_result()),
        None => Ok(()),
    }
}

fn unusable(reports: &[DatasetReport], path: &Path) -> Option<Failure> {
    let unusable: Vec<_> = reports.iter().filter(|report| !report.usable).collect();
    if unusable.is_empty() {
        return None;
    }
    let canaries = unusable.iter().flat_map(|report| &report.canaries);
    let fault = canaries.filter_map(|told| told.fault.as_ref()).next();
    if let (true, Some(fault)) = (unusable.iter().all(|report| report.is_mapped), fault) {
        return Some(Failure::new("canaries_unusable", 3, fault.clone()));
    }
    Some(if unusable.iter().all(|report| report.is_mapped) {
        Failure::new(
            "consent_records",
            3,
            format!(
                "a consent record of `{}` cannot be relied on, and stops every flow that asks for consents: correct it",
                path.display()
            ),
        )
    } else {
        Failure::new(
            "mapping_unusable",
            3,
            format!(
                "a column of `{}` has no usable value at all, or no row a value in every tag: correct the mapping",
                path.display()
            ),
        )
    })
}

/// An agreement in a file, or the latest version here of one that is signed or being signed; and where it is.
fn find(home: &Path, named: &str, library: &Library) -> Result<(Agreement, PathBuf), Failure> {
    let file = Path::new(named);
    if !super::is_agreement_file(file) {
        return Ok(agreements::latest_agreement(&open(home)?, &parse(named)?)?);
    }
    let agreement = super::agreement::parsed(file, library)?;
    Ok((agreement, file.to_owned()))
}

fn describe(report: &DatasetReport, agreed: bool) -> String {
    let all = if report.complete { "all" } else { "the first" };
    let mut text = format!(
        "dataset `{}`: {all} {} rows of {}, mapped to {}\n",
        report.dataset, report.rows, report.source, report.taxonomy
    );
    let mut rows = Vec::new();
    if report.bad.count > 0 {
        rows.push(vec![
            "  unreadable rows".to_owned(),
            report.bad.count.to_string(),
            format!("lines {}", report.bad),
        ]);
    }
    for column in &report.identifiers {
        let invalid = match column.invalid.count {
            0 => String::new(),
            count => format!("{count} without (lines {})", column.invalid),
        };
        rows.push(vec![
            format!("  {} (column `{}`)", column.kind, column.column),
            format!("{} valid", column.valid),
            invalid,
        ]);
    }
    for tag in &report.tags {
        rows.push(vec![
            format!("  {} (column `{}`)", tag.tag, tag.column),
            format!("{} mapped", tag.mapped),
            delivered(tag),
        ]);
    }
    text += &table(&rows);
    text += &format!(
        "  {} of {} rows have an identifier and a value in every tag{}\n",
        report.whole,
        report.rows,
        if agreed { " of the agreement" } else { "" }
    );
    for cells in report.tags.iter().filter_map(|tag| tag.unmapped.as_ref()) {
        text += &format!("  unmapped: {cells}\n");
    }
    if let Some(consent) = &report.consent {
        text += &describe_consent(consent);
    }
    for told in &report.canaries {
        text += &match &told.fault {
            Some(fault) => format!("  canaries (column `{}`): {fault}\n", told.column),
            None => format!(
                "  canaries (column `{}`): {}, a flow is stopped from about {} hits on\n",
                told.column, told.canaries, told.stops_at
            ),
        };
    }
    text
}

fn describe_consent(report: &ConsentReport) -> String {
    let all = if report.complete { "all" } else { "the first" };
    let refused: u64 = report.faults.iter().map(|fault| fault.lines.count).sum();
    let mut text = format!(
        "  consent records in {all} rows of {}: {} read, {refused} refused",
        report.source, report.records
    );
    if report.without > 0 {
        text += &format!("; {} rows without", report.without);
    }
    text.push('\n');
    for fault in &report.faults {
        let line = match fault.lines.count {
            1 => "line",
            _ => "lines",
        };
        text += &format!(
            "  refused: {line} {} of {}: {}\n",
            fault.lines, report.source, fault.reason
        );
    }
    text
}

fn delivered(tag: &TagReport) -> String {
    let values: Vec<_> = tag
        .delivered
        .iter()
        .map(|(value, rows)| format!("{value} ({rows})"))
        .collect();
    let told = match (tag.level, values.is_empty()) {
        (_, true) if tag.mapped == 0 => "nothing".to_owned(),
        (_, true) => "exact values, not shown here".to_owned(),
        (level, false) => format!("level {level}: {}", values.join(", ")),
    };
    match tag.suppressed {
        0 => told,
        rows => format!("{told}; * ({rows})"),
    }
}
