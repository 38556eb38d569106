//! The broker's report, verified.

use counterfoil_audit::note::Note;
use counterfoil_policy::approval::ScoringRequest;
use counterfoil_proto::report::{AccusedFlow, AccusedRecipient, MarksRead, TraceReport};
use serde::Serialize;

use super::Resolved;
use crate::audit::log_key;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::receipts;

/// A trace, as the broker signed it and as this side could check it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Traced {
    /// What the broker says.
    pub report: TraceReport,
    /// What became of the file's rows here.
    pub rows: Resolved,
    /// The commitments that the broker names, against this side's own receipts.
    pub commitments: Commitments,
    /// The report as it was signed.
    pub note: String,
}

/// The commitments to the keys of accused flows: whether those that the broker says it scored under are those to which the log
/// committed when the flows left. No key is opened by that: that the keys open them is the broker's signed word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Commitments {
    /// The same as in the receipt of then.
    pub in_receipts: usize,
    /// There is no receipt here to compare with.
    pub without_receipt: usize,
}

/// Checks the signature, that the report is about this request, that the broker says it compared every candidate's key with the
/// log, and the accused's commitments against the receipts that this side kept when the deliveries left.
///
/// # Errors
/// [`Error::Unverified`].
pub(super) fn verify(
    home: &Home,
    note: String,
    request: &ScoringRequest,
    resolved: &Resolved,
) -> Result<Traced> {
    let unverified = |why: String| Error::Unverified(format!("the broker's report: {why}"));
    let key = log_key(home)?;
    let verified = Note::parse(&note)
        .and_then(|parsed| parsed.verify(std::slice::from_ref(&key)))
        .map_err(|e| unverified(e.to_string()))?;
    let report = TraceReport::from_text(verified.text()).map_err(|e| unverified(e.to_string()))?;
    let asked = report.org == request.org.as_str()
        && report.lineage == request.lineage
        && report.file_sha256 == request.file_sha256.to_string()
        && report.rows == request.rows
        && report.rows_used == request.rows_used
        && report.tag_key == request.tag_key.map(|key| key.to_string());
    if !asked {
        return Err(unverified("it is about another file".to_owned()));
    }
    let not_compared = |marks: &MarksRead| marks.keys_compared != marks.candidates + 1;
    if report.marks.as_ref().is_some_and(not_compared) {
        return Err(unverified(
            "it was scored with keys that were not compared with the log".to_owned(),
        ));
    }
    let commitments = compare(home, &report)?;
    Ok(Traced {
        report,
        rows: resolved.clone(),
        commitments,
        note,
    })
}

fn compare(home: &Home, report: &TraceReport) -> Result<Commitments> {
    let kept = receipts::marked(home)?;
    let mut commitments = Commitments::default();
    for coded in &report.coded {
        let (flow, recipient) = (&coded.flow, coded.recipient.as_str());
        let agrees = |receipt: &receipts::MarkedReceipt| {
            let committed = receipt.marks.reference_key.map(|key| key.to_string());
            is_of(receipt, &coded.lineage, recipient, flow)
                && committed.as_ref() == Some(&flow.key_commitment)
        };
        commitments.count(&flow.flow, kept.get(&flow.flow).map(agrees))?;
    }
    for accused in report.marks.iter().flat_map(|marks| &marks.accused) {
        for flow in &accused.flows {
            let agrees = |receipt: &receipts::MarkedReceipt| {
                is_of(receipt, &report.lineage, &accused.recipient, flow)
                    && receipt.marks.recipient_key.to_string() == accused.key_commitment
                    && receipt.marks.flow_key.to_string() == flow.key_commitment
                    && tag_key_fits(receipt, report)
            };
            commitments.count(&flow.flow, kept.get(&flow.flow).map(agrees))?;
        }
    }
    Ok(commitments)
}

/// Deliveries of earlier versions committed to no key of mark tags.
fn tag_key_fits(receipt: &receipts::MarkedReceipt, report: &TraceReport) -> bool {
    let committed = receipt.marks.tag_key.map(|key| key.to_string());
    committed.is_none_or(|key| report.tag_key.as_ref() == Some(&key))
}

impl Commitments {
    fn count(&mut self, flow: &str, agrees: Option<bool>) -> Result<()> {
        match agrees {
            None => self.without_receipt += 1,
            Some(true) => self.in_receipts += 1,
            Some(false) => {
                return Err(Error::Unverified(format!(
                    "the broker's report: the key of flow `{flow}` is not the one that the log committed to when it left; keep the report and the receipt as evidence"
                )));
            }
        }
        Ok(())
    }
}

fn is_of(
    receipt: &receipts::MarkedReceipt,
    lineage: &str,
    recipient: &str,
    flow: &AccusedFlow,
) -> bool {
    receipt.entry == flow.entry
        && receipt.recipient == recipient
        && receipt.marks.lineage.as_str() == lineage
}

/// The outcome in a sentence or two.
#[must_use]
pub fn verdict(report: &TraceReport) -> String {
    let coded = report.coded.iter().map(|coded| {
        format!(
            " {} different reference codes of flow `{}`, delivered to `{}`, are in the file: that recipient, the broker and whoever saw the delivery had them, and a code does not cover what stands beside it.",
            coded.rows, coded.flow.flow, coded.recipient
        )
    });
    let marks = report.marks.as_ref();
    let marked = marks.map_or_else(|| "No marks were scored.".to_owned(), marked);
    marked + &coded.collect::<String>()
}

/// What the marks say.
fn marked(report: &MarksRead) -> String {
    if report.accused.is_empty() {
        let more = report.shortfall.map_or_else(String::new, |missing| {
            let unaltered = missing.rows_more_unaltered.map_or_else(
                || "these columns cannot name anybody, however many rows there are".to_owned(),
                |rows| format!("about {rows} more rows of one unaltered delivery would be needed"),
            );
            let rate = missing
                .rows_more_at_this_rate
                .map_or_else(String::new, |rows| {
                    format!("; about {rows} if the rest is like this part")
                });
            format!(": {unaltered}{rate}")
        });
        return format!("Nobody can be named{more}.");
    }
    let one = |accused: &AccusedRecipient| {
        let told: Vec<_> = accused
            .flows
            .iter()
            .filter(|flow| flow.evidence.is_some())
            .collect();
        match told.as_slice() {
            [] => format!(
                "`{}`, in which of its {} flows cannot be told",
                accused.recipient,
                accused.flows.len() as u64 + accused.flows_left_off
            ),
            flows => {
                let flows: Vec<_> = flows
                    .iter()
                    .map(|flow| format!("`{}`", flow.flow))
                    .collect();
                format!("`{}`, in flow {}", accused.recipient, flows.join(" and "))
            }
        }
    };
    let named: Vec<String> = report.accused.iter().map(one).collect();
    format!(
        "The file comes from what was delivered to {}.",
        named.join("; and to ")
    )
}
