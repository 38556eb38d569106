//! `counterfoil dataset ...`

use std::path::Path;

use counterfoil_party::agreements;
use counterfoil_party::data::{DatasetFile, DatasetReport, TagReport, check_dataset};
use counterfoil_party::error::Error;
use counterfoil_party::taxonomies;
use counterfoil_policy::tag::Tag;
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
    let path = home.join("datasets.toml");
    let file = DatasetFile::read(&path, &library).map_err(Error::from)?;
    let forms = match agreement {
        Some(id) => forms(home, &id)?,
        None => Vec::new(),
    };
    let wanted = |dataset: &str| name.as_deref().is_none_or(|name| name == dataset);
    let mut reports = Vec::new();
    for dataset in file
        .datasets()
        .iter()
        .filter(|dataset| wanted(dataset.name()))
    {
        let report = check_dataset(dataset, &forms, rows.unwrap_or(u64::MAX));
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
        reports.iter().map(describe).collect::<Vec<_>>().join("\n")
    })?;
    if reports.iter().all(|report| report.usable) {
        return Ok(());
    }
    Err(Failure::new(
        "mapping_unusable",
        3,
        format!(
            "a column of `{}` has no usable value at all: correct its mapping",
            path.display()
        ),
    )
    .after_result())
}

/// The tags of an agreement's latest version here.
fn forms(home: &Path, id: &str) -> Result<Vec<Tag>, Failure> {
    let agreement = agreements::latest_agreement(&open(home)?, &parse(id)?)?;
    Ok(agreement.tags().to_vec())
}

fn describe(report: &DatasetReport) -> String {
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
    for cells in report.tags.iter().filter_map(|tag| tag.unmapped.as_ref()) {
        text += &format!("  unmapped: {cells}\n");
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
