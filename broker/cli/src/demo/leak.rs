//! A few delivered rows turn up where they should not be, and tell whose delivery they were.

use std::path::Path;

use counterfoil_party::trace::{self, TraceOptions};
use serde::Serialize;

use super::cast::Institution;
use super::customers::create;
use crate::command::parse;
use crate::failure::Failure;

/// Rows that leak: too few for marks, enough for reference codes.
const LEAKED: usize = 3;

/// What the leaked file told.
#[derive(Debug, Serialize)]
pub(super) struct Leak {
    pub(super) rows: u64,
    pub(super) recipient: String,
    pub(super) flow: String,
    /// Index of the release in the log.
    pub(super) entry: u64,
}

/// Two people of the owner have a file looked at that they found: a few rows of the delivery, without telephone numbers and with
/// other names of columns.
pub(super) async fn traced(bank: &Institution, delivered: &Path) -> Result<Leak, Failure> {
    let file = bank.path.join("found.csv");
    write(delivered, &file)?;
    let options = TraceOptions {
        file,
        dataset: parse("customers")?,
        lineage: None,
        known: Vec::new(),
    };
    let prepared = trace::prepare(&bank.home, &options)?;
    let proposed = trace::propose(&bank.home, &prepared, &bank.maker)?;
    let id = &proposed.request.id;
    let (home, broker) = (&bank.home, &bank.broker);
    let mut tell = |_, _| ();
    let traced = trace::score(home, broker, &prepared, id, &bank.checker, &mut tell).await?;
    let [coded] = traced.report.coded.as_slice() else {
        return Err(Failure::new("demo", 1, trace::verdict(&traced.report)));
    };
    Ok(Leak {
        rows: coded.rows,
        recipient: coded.recipient.clone(),
        flow: coded.flow.flow.clone(),
        entry: coded.flow.entry,
    })
}

/// The delivery's columns are phone, policy, age band, amount, housing and code.
fn write(delivered: &Path, file: &Path) -> Result<(), Failure> {
    let mut reader = csv::Reader::from_path(delivered).map_err(Failure::input)?;
    let mut writer = create(file)?;
    let header = ["home", "age", "ref"];
    writer.write_record(header).map_err(Failure::input)?;
    for row in reader.records().take(LEAKED) {
        let row = row.map_err(Failure::input)?;
        let cells = [4, 2, 5].map(|column| row.get(column).unwrap_or_default());
        writer.write_record(cells).map_err(Failure::input)?;
    }
    writer.flush().map_err(|e| Failure::file("write", file, &e))
}
