//! The canaries of a running flow: which the owner committed to, and which the recipient hit.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use counterfoil_audit::entry::{
    CoarseCount as EntryCount, Digest, Event, FlowId, IncidentCanaries, Integer, Label, ValueError,
};
use counterfoil_policy::canaries::{CANARIES_MAX, EPSILON, ExpectedRate, threshold};
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_proto::limits::CANARY_CODE_BYTES;
use counterfoil_proto::payload::CanaryCode;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::registry::Running;
use crate::api::off_thread;
use crate::broker::Broker;
use crate::files::write_durably;
use crate::measure::noise::{Unnoised, noised};
use crate::refusal::label;

/// What stands in the place of a code in the row of somebody.
const NOBODYS: CanaryCode = [0; CANARY_CODE_BYTES];

/// Codes of canaries, in rising order, no two alike and none of zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Codes(Vec<CanaryCode>);

impl Codes {
    /// None if they are in no such order, not whole, too many or of too few for any number of hits to stop a flow.
    pub(crate) fn read(bytes: &[u8], rate: ExpectedRate) -> Option<Self> {
        let (codes, rest) = bytes.as_chunks();
        let count = u32::try_from(codes.len()).ok()?;
        let usable = rest.is_empty()
            && count <= CANARIES_MAX
            && count >= threshold(count, rate)
            && codes.iter().is_sorted_by(|a, b| a < b)
            && codes.first() != Some(&NOBODYS);
        usable.then(|| Self(codes.to_vec()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// For the log.
    pub(crate) fn digest(&self) -> Digest {
        Digest::from_bytes(Sha256::digest(self.bytes()).into())
    }
}

/// What a flow's owner committed to, as it stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Index of the entry.
    pub(crate) entry: Integer,
    pub(crate) codes_sha256: Digest,
    pub(crate) rate: ExpectedRate,
}

/// The canaries of a flow.
pub(crate) struct Canaries {
    pub(crate) committed: Committed,
    codes: HashSet<CanaryCode>,
    hit: Mutex<HashSet<CanaryCode>>,
    /// Made once: every further draw of the noise would tell more.
    decision: OnceLock<Option<Decision>>,
}

/// That more canaries were hit than chance explains.
pub(crate) struct Decision {
    incident: Label,
    /// Noised.
    hits: EntryCount,
    /// What people need who look at it; JSON.
    record: Vec<u8>,
}

impl Canaries {
    /// None if these are not the codes that were committed to.
    pub(crate) fn new(committed: Committed, codes: &Codes) -> Option<Self> {
        (codes.digest() == committed.codes_sha256).then(|| Self {
            committed,
            codes: codes.0.iter().copied().collect(),
            hit: Mutex::default(),
            decision: OnceLock::new(),
        })
    }

    /// A row with this code was opened. One that was not committed to before the flow counts for nothing, and none counts twice.
    pub(super) fn count(&self, code: &CanaryCode) {
        if self.codes.contains(code) {
            self.hits().insert(*code);
        }
    }

    fn hits(&self) -> MutexGuard<'_, HashSet<CanaryCode>> {
        self.hit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The noised number of hits, if it is one that stops the flow.
    fn stops(&self) -> Result<Option<u64>, Unnoised> {
        let hits = i64::try_from(self.hits().len()).unwrap_or(i64::MAX);
        let count = u32::try_from(self.codes.len()).unwrap_or(u32::MAX);
        let noised = u64::try_from(noised(hits, EPSILON)?).unwrap_or(0);
        let enough = noised >= threshold(count, self.committed.rate).into();
        Ok(enough.then_some(noised))
    }

    /// Whether the flow is stopped, as it was decided when this was first asked.
    pub(super) fn decide(&self, flow: FlowId) -> Result<Option<&Decision>, Undecided> {
        if self.decision.get().is_none() {
            let decision = match self.stops()? {
                Some(noised) => Some(self.decision(flow, noised)?),
                None => None,
            };
            // If another was first, that one counts.
            let _ = self.decision.set(decision);
        }
        Ok(self.decision.get().and_then(Option::as_ref))
    }

    fn decision(&self, flow: FlowId, noised: u64) -> Result<Decision, Undecided> {
        let mut codes: Vec<String> = self.hits().iter().map(hex::encode).collect();
        codes.sort_unstable();
        let record = serde_json::json!({
            "flow": flow.to_string(),
            "committed": self.committed.entry,
            "hit": codes,
        });
        Ok(Decision {
            incident: label(&Uuid::now_v7().to_string()),
            hits: EntryCount::new(CoarseCount::of(noised).to_string())?,
            record: serde_json::to_vec_pretty(&record)?,
        })
    }
}

/// The entry of an incident, for a flow that ends; what people need who look at it is on disk then. None if chance explains the hits.
pub(crate) async fn incident(broker: &Broker, flow: FlowId) -> Option<Event> {
    let running = broker.flows.ending(flow)?;
    let canaries = running.canaries.get()?;
    let decision = match canaries.decide(flow) {
        Ok(decision) => decision?,
        Err(error) => {
            tracing::error!(%error, %flow, "canaries could not be counted");
            return None;
        }
    };
    let file = format!("{}.json", decision.incident);
    let (path, record) = (
        broker.home.incidents_dir().join(file),
        decision.record.clone(),
    );
    // An incident is recorded even if the disk does not take its particulars.
    if let Err(status) = off_thread(move || write_durably(&path, &record)).await {
        tracing::error!(%flow, error = status.message(), "which canaries were hit could not be kept");
    }
    tracing::warn!(%flow, incident = %decision.incident, "more canaries were hit than chance explains");
    let event = IncidentCanaries {
        incident: decision.incident.clone(),
        flow,
        committed: canaries.committed.entry,
        hits: decision.hits.clone(),
        record_sha256: Digest::from_bytes(Sha256::digest(&decision.record).into()),
    };
    Some(event.into())
}

/// Whether the row of this code is somebody's.
pub(super) fn is_somebodys(code: &CanaryCode) -> bool {
    *code == NOBODYS
}

/// Whether a flow is stopped, once all buckets are joined and before anything is minimised, counted or released.
pub(super) fn stop(running: &Running) -> Result<bool, Undecided> {
    match running.canaries.get() {
        Some(canaries) => Ok(canaries.decide(running.grant.flow)?.is_some()),
        None => Ok(false),
    }
}

/// Why canaries could not be counted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undecided {
    #[error(transparent)]
    Unnoised(#[from] Unnoised),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests;
