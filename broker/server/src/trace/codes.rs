//! Reference codes in a leaked file: no scores, and so no oracle.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use counterfoil_audit::entry::{Digest, Label};
use counterfoil_proto::leak::{CODES, LeakContent};
use counterfoil_proto::report::{AccusedFlow, CodedFlow};
use counterfoil_watermark::{Commitment, MasterKey, ReferenceCode, ReferenceKey};

use super::{FLOWS_LISTED_MAX, Unscored, flow};
use crate::state::marks::Release;

/// A flow whose rows have codes, and how many of them are in the file.
struct Coding<'r> {
    recipient: &'r str,
    release: &'r Release,
    key: ReferenceKey,
    committed: Digest,
    rows: u64,
}

/// The flows of which the file has codes, most rows first, [`FLOWS_LISTED_MAX`] at most. A code counts once, however often it is there.
pub(super) fn found(
    candidates: &[(String, Vec<Arc<Release>>)],
    lineage: &Label,
    content: &LeakContent,
    master: &MasterKey,
) -> Result<Vec<CodedFlow>, Unscored> {
    let columns = content.columns.iter().zip(&content.known);
    let coded = columns.filter(|(_, known)| known.as_deref() == Some(CODES));
    let codes: HashSet<ReferenceCode> = coded
        .flat_map(|(cells, _)| cells.iter().filter_map(|cell| cell.parse().ok()))
        .collect();
    if codes.is_empty() {
        return Ok(Vec::new());
    }
    let mut by_handle = codings(candidates, lineage, master)?;
    for code in codes {
        // Handles of 32 bits are shared by few flows.
        let flows = by_handle.get_mut(&code.handle()).into_iter().flatten();
        for coding in flows.filter(|coding| coding.key.made(&code)) {
            coding.rows += 1;
        }
    }
    let found = by_handle.into_values().flatten();
    let mut found: Vec<CodedFlow> = found.filter_map(coded_flow).collect();
    found.sort_by_key(|coded| (std::cmp::Reverse(coded.rows), coded.flow.entry));
    // Whoever had many deliveries can put a code of each into a file: a report has an end.
    found.truncate(FLOWS_LISTED_MAX);
    Ok(found)
}

/// All flows with codes by their handles, each key compared with what the log committed to.
fn codings<'r>(
    candidates: &'r [(String, Vec<Arc<Release>>)],
    lineage: &Label,
    master: &MasterKey,
) -> Result<HashMap<u32, Vec<Coding<'r>>>, Unscored> {
    let name = lineage.as_str();
    let mut by_handle: HashMap<u32, Vec<Coding<'_>>> = HashMap::new();
    for (recipient, releases) in candidates {
        for release in releases {
            let Some(committed) = release.marks.reference_key else {
                continue;
            };
            let flow = release.flow.to_string();
            let key = master.reference(name, &flow);
            let opened = Commitment::to_reference(&key, name, &flow);
            if Commitment::from_bytes(*committed.as_bytes()) != opened {
                return Err(Unscored::Commitment);
            }
            by_handle.entry(key.handle()).or_default().push(Coding {
                recipient,
                release,
                key,
                committed,
                rows: 0,
            });
        }
    }
    Ok(by_handle)
}

fn coded_flow(coding: Coding<'_>) -> Option<CodedFlow> {
    (coding.rows > 0).then(|| CodedFlow {
        recipient: coding.recipient.to_owned(),
        rows: coding.rows,
        flow: AccusedFlow {
            key_commitment: coding.committed.to_string(),
            ..flow(coding.release, None)
        },
    })
}
