//! Reference codes in a leaked file: no scores, and so no oracle.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use counterfoil_audit::entry::Digest;
use counterfoil_proto::leak::{CODES, LeakContent};
use counterfoil_proto::report::{AccusedFlow, CodedFlow};
use counterfoil_watermark::{Commitment, MasterKey, ReferenceCode, ReferenceKey};

use super::{FLOWS_LISTED_MAX, Unscored, flow};
use crate::state::marks::Release;

/// What the codes of a file say.
pub(super) struct Coded {
    /// The flows of which the file has codes, most rows first, [`FLOWS_LISTED_MAX`] at most.
    pub(super) flows: Vec<CodedFlow>,
    /// Keys that were compared with what the log committed to: those of all releases with codes, if the file has any.
    pub(super) keys_compared: u64,
}

/// A flow whose rows have codes, and how many of them are in the file.
struct Coding<'r> {
    release: &'r Release,
    key: ReferenceKey,
    committed: Digest,
    rows: u64,
}

/// Looks for codes of these releases. A code counts once, however often it is there.
pub(super) fn found(
    releases: &[Arc<Release>],
    content: &LeakContent,
    master: &MasterKey,
) -> Result<Coded, Unscored> {
    let columns = content.columns.iter().zip(&content.known);
    let coded = columns.filter(|(_, known)| known.as_deref() == Some(CODES));
    let codes: HashSet<ReferenceCode> = coded
        .flat_map(|(cells, _)| cells.iter().filter_map(|cell| cell.parse().ok()))
        .collect();
    if codes.is_empty() {
        return Ok(Coded {
            flows: Vec::new(),
            keys_compared: 0,
        });
    }
    let mut by_handle = codings(releases, master)?;
    for code in codes {
        // Handles of 32 bits are shared by few flows.
        let flows = by_handle.get_mut(&code.handle()).into_iter().flatten();
        for coding in flows.filter(|coding| coding.key.made(&code)) {
            coding.rows += 1;
        }
    }
    let found = by_handle.into_values().flatten();
    let mut flows: Vec<CodedFlow> = found.filter_map(coded_flow).collect();
    flows.sort_by_key(|coded| (std::cmp::Reverse(coded.rows), coded.flow.entry));
    // Whoever had many deliveries can put a code of each into a file: a report has an end.
    flows.truncate(FLOWS_LISTED_MAX);
    Ok(Coded {
        flows,
        keys_compared: releases.len() as u64,
    })
}

/// All flows with codes by their handles, each key compared with what the log committed to.
fn codings<'r>(
    releases: &'r [Arc<Release>],
    master: &MasterKey,
) -> Result<HashMap<u32, Vec<Coding<'r>>>, Unscored> {
    let mut by_handle: HashMap<u32, Vec<Coding<'_>>> = HashMap::new();
    for release in releases {
        let Some(committed) = release.marks.reference_key else {
            continue;
        };
        let (lineage, flow) = (release.marks.lineage.as_str(), release.flow.to_string());
        let key = master.reference(lineage, &flow);
        let opened = Commitment::to_reference(&key, lineage, &flow);
        if Commitment::from_bytes(*committed.as_bytes()) != opened {
            return Err(Unscored::Commitment);
        }
        by_handle.entry(key.handle()).or_default().push(Coding {
            release,
            key,
            committed,
            rows: 0,
        });
    }
    Ok(by_handle)
}

fn coded_flow(coding: Coding<'_>) -> Option<CodedFlow> {
    (coding.rows > 0).then(|| CodedFlow {
        recipient: coding.release.recipient.to_string(),
        lineage: coding.release.marks.lineage.to_string(),
        rows: coding.rows,
        flow: AccusedFlow {
            key_commitment: coding.committed.to_string(),
            ..flow(coding.release, None)
        },
    })
}
