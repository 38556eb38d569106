//! `counterfoil audit ...`

use std::path::Path;

use counterfoil_party::audit;
use counterfoil_party::transport::Broker;

use super::open;
use crate::args::AuditCommand;
use crate::failure::Failure;
use crate::ui::{Ui, table};

pub(crate) async fn run(home: &Path, command: AuditCommand, ui: Ui) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify { file: None, .. } => verify(home, ui).await,
        AuditCommand::Verify {
            file: Some(file),
            key,
        } => verify_file(home, &file, key, ui),
        AuditCommand::Export { out } => {
            let home = open(home)?;
            let broker = Broker::connect(&home).await?;
            let exported = audit::export(&home, &broker, &out).await?;
            ui.result(&exported, || {
                format!(
                    "{} entries written to {}; check them anywhere with\n  counterfoil audit verify --file {1} --key {}",
                    exported.entries, exported.path, exported.log_key
                )
            })
        }
    }
}

async fn verify(home: &Path, ui: Ui) -> Result<(), Failure> {
    let home = open(home)?;
    let broker = Broker::connect(&home).await?;
    let report = audit::verify(&home, &broker).await?;
    ui.result(&report, || {
        let since = report.previous_size.map_or_else(
            || "seen for the first time".to_owned(),
            |size| format!("begins with the {size} entries that were seen before"),
        );
        let kinds = report.entries.iter().map(|(kind, count)| vec![format!("  {kind}"), count.to_string()]);
        format!(
            "log `{}`: {} entries, {since}\n{} receipts of this party verified, and its own entries:\n{}",
            report.log,
            report.size,
            report.receipts,
            table(&kinds.collect::<Vec<_>>())
        )
    })?;
    findings(&report.findings)
}

fn verify_file(home: &Path, file: &Path, key: Option<String>, ui: Ui) -> Result<(), Failure> {
    let key = match key {
        Some(key) => key,
        None => open(home)?.broker()?.log_key.clone(),
    };
    let report = audit::verify_file(file, &key)?;
    ui.result(&report, || {
        format!(
            "log `{}`: {} of {} entries verified in {}\n  root {}",
            report.log,
            report.entries,
            report.size,
            file.display(),
            report.root
        )
    })?;
    findings(&report.findings)
}

/// Entries that are authentic and yet cannot follow from each other.
fn findings(findings: &[String]) -> Result<(), Failure> {
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        "log_findings",
        6,
        format!(
            "the entries are authentic but do not follow from each other: {}",
            findings.join("; ")
        ),
    )
    .after_result())
}
