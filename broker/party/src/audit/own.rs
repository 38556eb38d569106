//! Everything that this institution has of the log, checked against the log as it is now.

use std::collections::BTreeMap;

use counterfoil_audit::checkpoint::VerifiedCheckpoint;
use counterfoil_audit::entry::Event;
use counterfoil_audit::history::{Coverage, History};
use counterfoil_audit::note::VerifierKey;
use counterfoil_audit::receipt::{RECEIPT_BYTES_MAX, Receipt, VerifiedReceipt};
use counterfoil_proto::v1::ReceiptsRequest;
use serde::Serialize;
use tokio_stream::StreamExt as _;

use super::{fetch, latest, log_key, refresh, same_log};
use crate::error::{Error, Result, shown};
use crate::home::Home;
use crate::transport::Broker;

/// What `verify` found. If it is returned, everything in it was proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// The log's name.
    pub log: String,
    /// Entries of the log.
    pub size: u64,
    /// Its root hash, base64.
    pub root: String,
    /// Entries that this home had verified before; the log only grew since.
    pub previous_size: Option<u64>,
    /// Receipts kept here, each proved to be in the log.
    pub receipts: u64,
    /// Entries about this institution, each proved to be in the log, by type.
    pub entries: BTreeMap<String, u64>,
    /// What does not follow from what came before: questions to the broker, not proof of tampering.
    pub findings: Vec<String>,
}

/// Verifies the broker's latest checkpoint against the stored one, every receipt that is kept here and every entry
/// about this institution.
///
/// # Errors
/// [`Error::Fork`], [`Error::Unverified`] with the first thing that does not hold; or the broker cannot be asked.
pub async fn verify(home: &Home, broker: &Broker) -> Result<AuditReport> {
    let key = log_key(home)?;
    let previous_size = latest(home)?.map(|checkpoint| checkpoint.size());
    let (entries, checkpoint) = own_entries(home, broker, &key).await?;
    let kept = verify_kept(home, broker, &key, &checkpoint, &entries).await?;
    let mut history = History::new(Coverage::Part);
    let mut types = BTreeMap::new();
    for Proved { receipt: entry, .. } in &entries {
        history.apply(entry.index(), entry.entry());
        *types
            .entry(entry.entry().event().type_name().to_owned())
            .or_insert(0) += 1;
    }
    let (findings, _) = history.into_findings();
    Ok(AuditReport {
        log: checkpoint.origin().to_string(),
        size: checkpoint.size(),
        root: checkpoint.root().to_base64(),
        previous_size,
        receipts: kept,
        entries: types,
        findings: findings.iter().map(ToString::to_string).collect(),
    })
}

/// All entries about this institution, proved under one checkpoint that is confirmed and stored.
pub(super) async fn own_entries(
    home: &Home,
    broker: &Broker,
    key: &VerifierKey,
) -> Result<(Vec<Proved>, VerifiedCheckpoint)> {
    let before = refresh(home, broker).await?;
    let mut stream = broker
        .log()
        .receipts(ReceiptsRequest { flow: Vec::new() })
        .await?
        .into_inner();
    let mut own = Own::default();
    while let Some(receipt) = stream.next().await {
        own.push(&receipt?.text, key)?;
    }
    let checkpoint = match own.checkpoint() {
        Some(checkpoint) => {
            super::confirm(home, broker, &checkpoint).await?;
            checkpoint
        }
        None => before,
    };
    Ok((own.entries, checkpoint))
}

/// Entries in the order of the log, under one checkpoint.
#[derive(Default)]
pub(super) struct Own {
    pub(super) entries: Vec<Proved>,
}

/// A verified entry and the text that proves it.
pub(super) struct Proved {
    pub(super) text: String,
    pub(super) receipt: VerifiedReceipt,
}

impl Own {
    pub(super) fn push(&mut self, text: &str, key: &VerifierKey) -> Result<()> {
        let receipt = parse(text, key, "an entry about this institution")?;
        if let Some(Proved { receipt: last, .. }) = self.entries.last() {
            if receipt.index() <= last.index() {
                return Err(Error::Unverified(
                    "the broker shows entries twice or out of order".to_owned(),
                ));
            }
            if receipt.checkpoint().root() != last.checkpoint().root() {
                return Err(Error::Unverified(
                    "the broker shows entries under different checkpoints in one answer".to_owned(),
                ));
            }
        }
        self.entries.push(Proved {
            text: text.to_owned(),
            receipt,
        });
        Ok(())
    }

    fn checkpoint(&self) -> Option<VerifiedCheckpoint> {
        self.entries
            .last()
            .map(|last| last.receipt.checkpoint().clone())
    }
}

async fn verify_kept(
    home: &Home,
    broker: &Broker,
    key: &VerifierKey,
    now: &VerifiedCheckpoint,
    entries: &[Proved],
) -> Result<u64> {
    let mut checkpoints: BTreeMap<(u64, [u8; 32]), VerifiedCheckpoint> = BTreeMap::new();
    let mut kept = 0;
    for file in home.list("receipts")? {
        let name = format!("receipts/{file}");
        let Some(bytes) = home.read(&name, RECEIPT_BYTES_MAX as u64)? else {
            continue;
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| home.damaged(&name, "it is no text"))?;
        let receipt = parse(text, key, &format!("`{name}`"))?;
        check_listed(home, &name, &receipt, entries)?;
        let checkpoint = receipt.checkpoint();
        checkpoints
            .entry((checkpoint.size(), *checkpoint.root().as_bytes()))
            .or_insert_with(|| checkpoint.clone());
        kept += 1;
    }
    for checkpoint in checkpoints.values() {
        same_log(home, now, checkpoint, async |old, new| {
            fetch(broker, old, new).await
        })
        .await?;
    }
    Ok(kept)
}

/// An entry that this side has a receipt of must be among those that the broker shows.
pub(super) fn check_listed(
    home: &Home,
    name: &str,
    receipt: &VerifiedReceipt,
    entries: &[Proved],
) -> Result<()> {
    let mut listed = entries.iter().map(|proved| &proved.receipt);
    if listed.any(|listed| listed.index() == receipt.index() && listed.entry() == receipt.entry()) {
        return Ok(());
    }
    // A receipt of a flow between others has no business here.
    if let Event::ReleaseIntent(intent) = receipt.entry().event() {
        let org = home.org().as_str();
        if intent.recipient.org.as_str() != org && intent.source.org.as_str() != org {
            return Err(home.damaged(
                name,
                "it is the receipt of a flow between other institutions",
            ));
        }
    }
    Err(Error::Unverified(format!(
        "the broker no longer shows entry {}, of which `{name}` is a valid receipt: keep that file as evidence",
        receipt.index()
    )))
}

pub(super) fn parse(text: &str, key: &VerifierKey, what: &str) -> Result<VerifiedReceipt> {
    Receipt::parse(text)
        .and_then(|receipt| receipt.verify(key))
        .map_err(|e| Error::Unverified(format!("{what}: {}", shown(&e.to_string()))))
}
