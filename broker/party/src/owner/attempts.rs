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
use counterfoil_psi::Role;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::flow::plan::Plan;
use crate::flow::{ATTEMPTS_MAX, Session};
use crate::home::Home;
use crate::limits;

use super::flow::Accepted;

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
    /// The two meet anew, but a bucket was attempted by the plan that they had.
    #[error("buckets of this flow were matched already: ask for the flow again")]
    Matched,
    /// The caps leave no room.
    #[error(
        "the buckets of this flow, or one that is matched again, take more identifiers than are left in the period"
    )]
    OverIdentifiers,
}

impl NoAttempt {
    /// What the recipient's agent is told.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::NoBucket => "no_bucket",
            Self::Made | Self::TooMany => "attempts",
            Self::Matched => "begun",
            Self::OverIdentifiers => "over_identifiers",
        }
    }
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

    /// Keeps a plan, as what is kept allows now: another process of this home may have counted attempts since it was read. What
    /// its buckets have room for is charged as far as it is more than was charged before. Durable on return. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`]; why not.
    pub(super) fn keep(
        home: &Home,
        accepted: &Accepted,
        plan: Plan,
    ) -> Result<std::result::Result<Self, NoAttempt>> {
        let held = home.lock()?;
        let mut kept = Self::kept(home, accepted)?;
        if !kept.attempts.is_empty() {
            return Ok(Err(NoAttempt::Matched));
        }
        let slots = |plan: &Plan| plan.slots_in_all(Role::Recipient);
        let charged = kept.plan.as_ref().map(slots);
        let charged = charged
            .unwrap_or_default()
            .max(accepted.grant.identifiers().into());
        let more = slots(&plan).saturating_sub(charged);
        let (agreement, flow) = (&accepted.agreement, kept.flow);
        if more > 0 && !limits::charge_more(home, &held, agreement, flow, more)? {
            return Ok(Err(NoAttempt::OverIdentifiers));
        }
        kept.plan = Some(plan);
        kept.store(home)?;
        Ok(Ok(kept))
    }

    /// What is kept of a flow that this home has accepted.
    ///
    /// # Errors
    /// [`Error::Damaged`]; it is gone.
    pub(super) fn kept(home: &Home, accepted: &Accepted) -> Result<Self> {
        Self::load(home, accepted.grant.request())?
            .ok_or_else(|| Error::Unexpected("what was kept of the flow is gone".to_owned()))
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

    /// Counts a session of this plan if it may be carried out as things stand now, whatever other processes of this home counted since
    /// it was checked; one that repeats another is charged first. Durable on return. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`]; why not.
    pub(super) fn count(
        home: &Home,
        accepted: &Accepted,
        plan: &Plan,
        session: Session,
    ) -> Result<std::result::Result<Self, NoAttempt>> {
        let held = home.lock()?;
        let mut kept = Self::kept(home, accepted)?;
        if kept.plan.as_ref() != Some(plan) {
            return Ok(Err(NoAttempt::NoBucket));
        }
        let repeated = match kept.check(session) {
            Ok(repeated) => repeated,
            Err(why) => return Ok(Err(why)),
        };
        let (agreement, more) = (&accepted.agreement, plan.slots(Role::Recipient).into());
        if repeated && !limits::charge_more(home, &held, agreement, kept.flow, more)? {
            return Ok(Err(NoAttempt::OverIdentifiers));
        }
        kept.attempts.insert(session.bucket, session.attempt);
        kept.store(home)?;
        Ok(Ok(kept))
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
mod tests;
