//! A file that proves this institution's part of the log to anybody who has the log's key, and its verification.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use counterfoil_audit::checkpoint::VerifiedCheckpoint;
use counterfoil_audit::export::{Report, verify as verify_export};
use counterfoil_audit::history::Coverage;
use counterfoil_audit::note::VerifierKey;
use counterfoil_audit::receipt::{RECEIPT_BYTES_MAX, VerifiedReceipt};
use serde::Serialize;

use super::log_key;
use super::own::{Proved, own_entries, parse};
use crate::error::{Error, Result, shown};
use crate::home::Home;
use crate::transport::Broker;

/// First line of a receipt (c2sp.org/tlog-proof).
const RECEIPT_FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The file.
    pub path: String,
    /// Entries in it.
    pub entries: u64,
    /// Entries of the log that they are proved to be in.
    pub log_size: u64,
    /// The key to verify it with, to be given by another way than the file.
    pub log_key: String,
}

/// What an offline verification found. If it is returned, everything in it was proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OfflineReport {
    /// "whole log", "part of a log" or "receipt".
    pub kind: &'static str,
    /// The log's name.
    pub log: String,
    /// Entries that the log's key signed.
    pub size: u64,
    /// The root hash that it signed, base64.
    pub root: String,
    /// Entries in the file, each proved to be in the log.
    pub entries: u64,
    /// What does not follow from what came before.
    pub findings: Vec<String>,
    /// Findings beyond those listed.
    pub findings_left_out: u64,
}

/// Writes all entries about this institution, each with its proof, to a new file.
///
/// # Errors
/// As [`super::verify`]; [`Error::Io`] if the file exists or cannot be written.
pub async fn export(home: &Home, broker: &Broker, path: &Path) -> Result<Exported> {
    let key = log_key(home)?;
    let (entries, checkpoint) = own_entries(home, broker, &key).await?;
    let text = part(&entries, &checkpoint, &key)?;
    write_new(path, &text)?;
    Ok(Exported {
        path: path.display().to_string(),
        entries: entries.len() as u64,
        log_size: checkpoint.size(),
        log_key: key.to_string(),
    })
}

/// Verifies an exported file, or a single receipt, with nothing but the log's key.
///
/// # Errors
/// [`Error::Input`] for a key that is none, [`Error::Unverified`] with the first line that does not hold.
pub fn verify_file(path: &Path, log_key: &str) -> Result<OfflineReport> {
    let key = VerifierKey::parse(log_key.trim())
        .map_err(|e| Error::Input(format!("the log's key: {e}")))?;
    let file = File::open(path)
        .map_err(|e| Error::Input(format!("cannot read `{}`: {e}", path.display())))?;
    let mut source = BufReader::new(file);
    let head = source.fill_buf().map_err(|e| Error::io("read", path, e))?;
    if head.starts_with(RECEIPT_FIRST_LINE.as_bytes()) {
        let mut text = String::new();
        source
            .take(RECEIPT_BYTES_MAX as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|e| Error::io("read", path, e))?;
        let receipt = parse(&text, &key, &format!("`{}`", path.display()))?;
        return Ok(of_receipt(&receipt));
    }
    verify_export(source, &key)
        .map(|report| of_export(&report))
        .map_err(|failure| {
            Error::Unverified(format!(
                "`{}`: {}",
                path.display(),
                shown(&failure.to_string())
            ))
        })
}

/// The file as `counterfoil_audit::export` defines it. It is verified before anybody gets it.
pub(super) fn part(
    entries: &[Proved],
    checkpoint: &VerifiedCheckpoint,
    key: &VerifierKey,
) -> Result<String> {
    let failed =
        |e: &dyn std::fmt::Display| Error::Unexpected(format!("the export cannot be made: {e}"));
    let header = Header {
        checkpoint: checkpoint.signed().as_str(),
        format: "counterfoil-export@v1",
        kind: "part",
        origin: checkpoint.origin().as_str(),
        vkey: key.to_string(),
    };
    let mut text = serde_json::to_string(&header).map_err(|e| failed(&e))?;
    text.push('\n');
    for Proved {
        text: proof,
        receipt,
    } in entries
    {
        let entry = receipt.entry().encode().map_err(|e| failed(&e))?;
        // `extra`, `index` and the first line stand before the hashes, an empty line after them.
        let proof = proof
            .lines()
            .skip(3)
            .take_while(|line| !line.is_empty())
            .collect();
        let line = Line {
            entry: entry.as_str(),
            index: receipt.index(),
            leaf: entry.leaf_hash().to_base64(),
            proof,
        };
        text.push_str(&serde_json::to_string(&line).map_err(|e| failed(&e))?);
        text.push('\n');
    }
    verify_export(text.as_bytes(), key).map_err(|e| failed(&e))?;
    Ok(text)
}

/// The fields stand in the alphabetical order that the format asks for.
#[derive(Serialize)]
struct Header<'a> {
    checkpoint: &'a str,
    format: &'static str,
    kind: &'static str,
    origin: &'a str,
    vkey: String,
}

#[derive(Serialize)]
struct Line<'a> {
    entry: &'a str,
    index: u64,
    leaf: String,
    proof: Vec<&'a str>,
}

/// A new file, 0600, durable on return; never over another.
fn write_new(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Error::Input(format!(
            "`{}` exists: give the name of a new file",
            path.display()
        )),
        _ => Error::io("write", path, e),
    };
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|e| {
        let _ = std::fs::remove_file(path);
        failed(e)
    })
}

fn of_receipt(receipt: &VerifiedReceipt) -> OfflineReport {
    OfflineReport {
        kind: "receipt",
        entries: 1,
        findings: Vec::new(),
        findings_left_out: 0,
        ..of_checkpoint(receipt.checkpoint())
    }
}

fn of_export(report: &Report) -> OfflineReport {
    OfflineReport {
        kind: match report.coverage {
            Coverage::Whole => "whole log",
            Coverage::Part => "part of a log",
        },
        entries: report.entries,
        findings: report.findings.iter().map(ToString::to_string).collect(),
        findings_left_out: report.findings_left_out,
        ..of_checkpoint(&report.checkpoint)
    }
}

fn of_checkpoint(checkpoint: &VerifiedCheckpoint) -> OfflineReport {
    OfflineReport {
        kind: "",
        log: checkpoint.origin().to_string(),
        size: checkpoint.size(),
        root: checkpoint.root().to_base64(),
        entries: 0,
        findings: Vec::new(),
        findings_left_out: 0,
    }
}
