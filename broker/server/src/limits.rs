//! What one institution may take of the broker at one time, so that none can keep the others from it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use counterfoil_audit::entry::OrgName;
use tonic::Status;

/// Calls that end in an entry, in a row. A refusal is an entry too, and the log is never cut.
const ENTRIES_BURST: u32 = 240;
/// One more such call each so often. A proposal has at most some 48 KiB: 16 GB a day from one institution, whose
/// operator has its name.
const ENTRY_EVERY: Duration = Duration::from_millis(250);
/// Streams of deliveries and receipts: each holds up to three pieces for a reader that may be slow.
const READERS_MAX: u32 = 16;

/// How often each institution may cause an entry: a token bucket (the leaky bucket of ITU-T I.371 as a meter).
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<OrgName, Bucket>>);

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled: Instant,
}

impl Rates {
    /// Counts one call.
    ///
    /// # Errors
    /// `ResourceExhausted` when there were too many.
    pub(crate) fn count(&self, org: &OrgName) -> Result<(), Status> {
        self.count_at(org, Instant::now())
    }

    fn count_at(&self, org: &OrgName, now: Instant) -> Result<(), Status> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(org.clone()).or_insert(Bucket {
            left: ENTRIES_BURST,
            filled: now,
        });
        let passed = now.saturating_duration_since(bucket.filled).as_millis();
        let more = u32::try_from(passed / ENTRY_EVERY.as_millis()).unwrap_or(u32::MAX);
        bucket.filled += ENTRY_EVERY.saturating_mul(more);
        bucket.left = bucket.left.saturating_add(more).min(ENTRIES_BURST);
        bucket.left = bucket.left.checked_sub(1).ok_or_else(|| {
            Status::resource_exhausted(
                "your institution makes calls faster than the broker records them: wait a few seconds",
            )
        })?;
        Ok(())
    }
}

/// How many streams of deliveries and receipts each institution reads.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<HashMap<OrgName, u32>>);

/// One such stream; counted until dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    readers: Arc<Readers>,
    org: OrgName,
}

impl Readers {
    /// Counts one more stream.
    ///
    /// # Errors
    /// `ResourceExhausted` when there are too many.
    pub(crate) fn add(self: &Arc<Self>, org: &OrgName) -> Result<Reader, Status> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.entry(org.clone()).or_default();
        if *own >= READERS_MAX {
            return Err(Status::resource_exhausted(
                "your institution reads as many streams as it may: finish reading one first",
            ));
        }
        *own += 1;
        Ok(Reader {
            readers: self.clone(),
            org: org.clone(),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut open = self
            .readers
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.org) {
            *own = own.saturating_sub(1);
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
    fn a_flood_of_one_institution_ends_and_spares_the_others() {
        let (rates, start) = (Rates::default(), Instant::now());
        for _ in 0..ENTRIES_BURST {
            rates.count_at(&org("aa"), start).unwrap();
        }
        assert!(rates.count_at(&org("aa"), start).is_err());
        assert!(rates.count_at(&org("bb"), start).is_ok());
        let later = start + ENTRY_EVERY;
        assert!(rates.count_at(&org("aa"), later).is_ok());
        assert!(rates.count_at(&org("aa"), later).is_err());
        // Rest is not saved up beyond the burst.
        let rested = start + Duration::from_secs(86_400);
        for _ in 0..ENTRIES_BURST {
            rates.count_at(&org("aa"), rested).unwrap();
        }
        assert!(rates.count_at(&org("aa"), rested).is_err());
    }

    #[test]
    fn readers_are_counted_until_they_are_done() {
        let readers = Arc::new(Readers::default());
        let mut open: Vec<_> = (0..READERS_MAX)
            .map(|_| readers.add(&org("aa")).unwrap())
            .collect();
        assert!(readers.add(&org("aa")).is_err());
        assert!(readers.add(&org("bb")).is_ok());
        open.pop();
        assert!(readers.add(&org("aa")).is_ok());
    }
}
