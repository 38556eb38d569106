//! What an owner's agent keeps of a flow that runs, to go on with it after it was killed: that it accepted the request, the plan,
//! and which attempt at each bucket was the last.
//!
//! An attempt counts from before the first message that depends on an identifier of the recipient's. Each bucket is matched
//! [`ATTEMPTS_MAX`] times at the most, each time with a higher number, and every time but the first is charged to the caps
//! ([`crate::limits::charge_more`]): so whatever breaks, and whoever breaks it, a recipient cannot query more identifiers than
//! the caps let it.

use std::collections::BTreeMap;

use counterfoil_policy::request::VerifiedRequest;
use counterfoil_policy::text::FlowId;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::flow::plan::Plan;
use crate::flow::{ATTEMPTS_MAX, Session};
use crate::home::Home;

const FORMAT: u32 = 1;
const END: &str = ".owner.json";
const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// A bucket takes some 12 bytes of it.
const BYTES_MAX: u64 = 1024 * 1024;

/// `flows/FLOW.owner.json`, 0600.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attempts {
    format: u32,
    flow: FlowId,
    /// Names the request that was accepted.
    request: String,
    plan: Option<Plan>,
    /// Last attempt at each bucket.
    attempts: BTreeMap<u32, u32>,
}

/// Why a session is not taken part in. The recipient is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAttempt {
    /// No plan, or no such bucket in it.
    #[error("this agent has no plan of the flow that has such a bucket: ask for the flow again")]
    NoBucket,
    /// The number is not above the last one.
    #[error("this attempt at the bucket was made before")]
    Made,
    /// Too many.
    #[error("the bucket was attempted as often as it may be: ask for the flow again")]
    TooMany,
}

impl Attempts {
    /// No bucket was attempted.
    pub(super) fn none_made(&self) -> bool {
        self.attempts.is_empty()
    }

    /// What is kept of a flow, if it is of this very request.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(super) fn load(home: &Home, request: &VerifiedRequest) -> Result<Option<Self>> {
        let flow = request.body().flow;
        let Some(bytes) = home.read(relative(flow), BYTES_MAX)? else {
            return Ok(None);
        };
        let kept: Self = serde_json::from_slice(&bytes)
            .map_err(|error| home.damaged(relative(flow), error.to_string()))?;
        let same = kept.format == FORMAT && kept.flow == flow && kept.request == name(request);
        Ok(same.then_some(kept))
    }

    /// Of a request that is about to be accepted; durable on return.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn begin(home: &Home, request: &VerifiedRequest) -> Result<()> {
        let attempts = Self {
            format: FORMAT,
            flow: request.body().flow,
            request: name(request),
            plan: None,
            attempts: BTreeMap::new(),
        };
        attempts.store(home)
    }

    /// The plan, once both agents have met.
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// A plan may be replaced as long as no bucket was matched by it.
    pub(super) fn may_meet(&self) -> bool {
        self.attempts.is_empty()
    }

    /// Keeps a plan; durable on return.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn keep(&mut self, home: &Home, plan: Plan) -> Result<()> {
        self.plan = Some(plan);
        self.store(home)
    }

    /// Whether a session may be carried out, and if so whether it repeats one.
    ///
    /// # Errors
    /// [`NoAttempt`].
    pub(super) fn check(&self, session: Session) -> std::result::Result<bool, NoAttempt> {
        let plan = self.plan.as_ref().ok_or(NoAttempt::NoBucket)?;
        if session.bucket >= plan.buckets() {
            return Err(NoAttempt::NoBucket);
        }
        if session.attempt > ATTEMPTS_MAX {
            return Err(NoAttempt::TooMany);
        }
        match self.attempts.get(&session.bucket) {
            Some(last) if session.attempt <= *last => Err(NoAttempt::Made),
            last => Ok(last.is_some()),
        }
    }

    /// Counts a session that [`Attempts::check`] passed; durable on return. Another process of this home may have counted
    /// others.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub(super) fn count(
        &mut self,
        home: &Home,
        request: &VerifiedRequest,
        session: Session,
    ) -> Result<()> {
        let _lock = home.lock()?;
        if let Some(kept) = Self::load(home, request)? {
            for (bucket, attempt) in kept.attempts {
                let last = self.attempts.entry(bucket).or_insert(attempt);
                *last = attempt.max(*last);
            }
        }
        self.attempts.insert(session.bucket, session.attempt);
        self.store(home)
    }

    fn store(&self, home: &Home) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|error| {
            Error::Unexpected(format!("cannot write a flow's attempts: {error}"))
        })?;
        home.write(relative(self.flow), &bytes)
    }
}

/// Whether anything is kept of a flow: it was accepted here, and is not over.
pub(super) fn is_kept(home: &Home, flow: FlowId) -> bool {
    home.path().join(relative(flow)).exists()
}

/// Removes what is kept of a flow that is over.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn forget(home: &Home, flow: FlowId) -> Result<()> {
    home.remove(relative(flow))
}

/// Removes what is kept of flows that were over before this home was served again: no flow runs for a day.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn forget_old(home: &Home) -> Result<()> {
    for name in home.list("flows")? {
        if !name.ends_with(END) {
            continue;
        }
        let path = home.path().join("flows").join(&name);
        let changed = std::fs::metadata(&path)
            .and_then(|file| file.modified())
            .map_err(|error| Error::io("read", &path, error))?;
        if changed.elapsed().is_ok_and(|age| age > DAY) {
            home.remove(format!("flows/{name}"))?;
        }
    }
    Ok(())
}

fn name(request: &VerifiedRequest) -> String {
    request.digest().to_string()
}

fn relative(flow: FlowId) -> String {
    format!("flows/{flow}{END}")
}

#[cfg(test)]
mod tests {
    use counterfoil_proto::delivery::DeliverySecret;
    use counterfoil_psi::BucketKey;

    use super::*;
    use crate::clock::Clock;
    use crate::flow::fixture::{self, OWNER};
    use crate::testkit::home_of;

    fn session(bucket: u32, attempt: u32) -> Session {
        Session { bucket, attempt }
    }

    #[test]
    fn attempts_rise_are_few_and_outlive_the_process() {
        let (_dir, home) = home_of(OWNER, Clock::system());
        let secret = DeliverySecret::generate(&mut rand::rng());
        let agreement = fixture::agreement();
        let request = fixture::request(&agreement, &secret);
        assert!(Attempts::load(&home, &request).unwrap().is_none());
        Attempts::begin(&home, &request).unwrap();
        let mut kept = Attempts::load(&home, &request).unwrap().unwrap();
        assert_eq!(kept.check(session(0, 1)), Err(NoAttempt::NoBucket));
        let plan = Plan::new(
            &BucketKey::from_bytes([1; 16]),
            1 << 21,
            1 << 20,
            &agreement,
        );
        kept.keep(&home, plan.clone()).unwrap();
        assert!(kept.may_meet());
        assert_eq!(kept.check(session(0, 2)), Ok(false));
        kept.count(&home, &request, session(0, 2)).unwrap();
        let kept = Attempts::load(&home, &request).unwrap().unwrap();
        assert!(kept.plan() == Some(&plan) && !kept.may_meet());
        assert_eq!(kept.check(session(0, 2)), Err(NoAttempt::Made));
        assert_eq!(kept.check(session(0, 1)), Err(NoAttempt::Made));
        assert_eq!(kept.check(session(0, 3)), Ok(true));
        assert_eq!(kept.check(session(1, 1)), Ok(false));
        assert_eq!(kept.check(session(2, 1)), Err(NoAttempt::NoBucket));
        assert_eq!(
            kept.check(session(1, ATTEMPTS_MAX + 1)),
            Err(NoAttempt::TooMany)
        );
        // Another request under the same id is another flow.
        let other = DeliverySecret::generate(&mut rand::rng());
        let other = fixture::request(&agreement, &other);
        assert!(Attempts::load(&home, &other).unwrap().is_none());
        forget(&home, request.body().flow).unwrap();
        assert!(Attempts::load(&home, &request).unwrap().is_none());
    }
}
