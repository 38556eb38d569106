//! How many bytes of submissions the broker holds in memory at one time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_audit::entry::OrgName;
use counterfoil_proto::limits::SUBMISSION_BYTES_MAX;

/// Of one institution: a single one of the largest submissions, or many small ones.
const INSTITUTION_BYTES_MAX: u64 = SUBMISSION_BYTES_MAX;
/// Of all together.
const ALL_BYTES_MAX: u64 = 2 * SUBMISSION_BYTES_MAX;

/// What is held, by institution.
#[derive(Debug, Default)]
pub(crate) struct Budget(Mutex<HashMap<OrgName, u64>>);

/// Bytes set aside for one submission, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    org: OrgName,
    bytes: u64,
}

impl Budget {
    /// Sets bytes aside for an institution's submission; nothing if it, or all together, would hold too much.
    pub(crate) fn take(self: &Arc<Self>, org: &OrgName, bytes: u64) -> Option<Share> {
        let mut held = self.held();
        let own = held.get(org).copied().unwrap_or(0).saturating_add(bytes);
        let all = held.values().sum::<u64>().saturating_add(bytes);
        if own > INSTITUTION_BYTES_MAX || all > ALL_BYTES_MAX {
            return None;
        }
        held.insert(org.clone(), own);
        Some(Share {
            budget: self.clone(),
            org: org.clone(),
            bytes,
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<OrgName, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        if let Some(own) = held.get_mut(&self.org) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                held.remove(&self.org);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(name: &str) -> OrgName {
        OrgName::new(name).unwrap()
    }

    #[test]
    fn one_institution_cannot_take_what_all_share_and_gives_back_what_it_held() {
        let budget = Arc::new(Budget::default());
        let first = budget.take(&org("aa"), INSTITUTION_BYTES_MAX).unwrap();
        assert!(budget.take(&org("aa"), 1).is_none());
        let second = budget.take(&org("bb"), INSTITUTION_BYTES_MAX).unwrap();
        assert!(budget.take(&org("cc"), 1).is_none());
        drop(second);
        assert!(budget.take(&org("cc"), 1).is_some());
        drop(first);
        assert!(budget.take(&org("aa"), u64::MAX).is_none());
        assert!(budget.held().is_empty());
    }
}
