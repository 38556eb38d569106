//! The canaries of a running flow: which the owner committed to, and which the recipient hit.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use counterfoil_audit::entry::{CoarseCount as EntryCount, Digest, Integer, ValueError};
use counterfoil_policy::canaries::{CANARIES_MAX, EPSILON, ExpectedRate, threshold};
use counterfoil_policy::coarse::CoarseCount;
use counterfoil_proto::limits::CANARY_CODE_BYTES;
use counterfoil_proto::payload::CanaryCode;
use sha2::{Digest as _, Sha256};

use super::registry::Running;
use crate::measure::noise::{Unnoised, noised};

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
}

impl Canaries {
    /// None if these are not the codes that were committed to.
    pub(crate) fn new(committed: Committed, codes: &Codes) -> Option<Self> {
        (codes.digest() == committed.codes_sha256).then(|| Self {
            committed,
            codes: codes.0.iter().copied().collect(),
            hit: Mutex::default(),
        })
    }

    /// A row with this code was opened. One that was not committed to before the flow counts for nothing, and none counts twice.
    pub(super) fn count(&self, code: &CanaryCode) {
        if self.codes.contains(code) {
            self.hits().insert(*code);
        }
    }

    fn hits(&self) -> std::sync::MutexGuard<'_, HashSet<CanaryCode>> {
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
}

/// Whether the row of this code is somebody's.
pub(super) fn is_somebodys(code: &CanaryCode) -> bool {
    *code == NOBODYS
}

/// More canaries of a flow were hit than chance explains.
pub(super) struct Hit {
    pub(super) committed: Integer,
    /// Noised.
    pub(super) hits: EntryCount,
}

/// Decides, once all buckets are joined and before anything is minimised, counted or released.
pub(super) fn hit(running: &Running) -> Result<Option<Hit>, Uncounted> {
    let Some(canaries) = running.canaries.get() else {
        return Ok(None);
    };
    let Some(hits) = canaries.stops()? else {
        return Ok(None);
    };
    Ok(Some(Hit {
        committed: canaries.committed.entry,
        hits: EntryCount::new(CoarseCount::of(hits).to_string())?,
    }))
}

/// Why canaries could not be counted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Uncounted {
    #[error(transparent)]
    Unnoised(#[from] Unnoised),
    #[error(transparent)]
    Value(#[from] ValueError),
}

#[cfg(test)]
mod tests;
