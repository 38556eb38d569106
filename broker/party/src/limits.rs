//! The owner's own caps, and the durable count of what was attempted under each agreement.
//!
//! An agreement's caps bind the recipient and the broker counts them; this is the owner counting for itself, so that a
//! broker that forgets or lies cannot let a recipient ask more often. An attempt counts before anything is shown, and
//! a crash after that leaves it counted.

use counterfoil_policy::agreement::{Agreement, Period};
use counterfoil_policy::decision::{Decision, OwnerLimits, Usage};
use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::text::{AgreementId, FlowId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::agreements;
use crate::error::{Error, Result};
use crate::home::{Home, HomeLock};

mod budget;

use budget::Spent;

/// A commented `limits.toml`.
pub const SAMPLE: &str = include_str!("limits.sample.toml");

const FILE: &str = "limits.toml";
const FILE_BYTES_MAX: u64 = 256 * 1024;
const COUNTERS: &str = "counters.json";
/// An attempt takes about 130 bytes: half a million of them.
const COUNTERS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Without a `limits.toml`: 2^20 identifiers in a flow, 100 flows and ten million identifiers in a period.
const DEFAULT: OwnerLimits = OwnerLimits {
    rows_per_flow: Some(1 << 20),
    flows_per_period: Some(100),
    identifiers_per_period: Some(10_000_000),
};

/// The owner's caps for each agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    default: OwnerLimits,
    agreements: BTreeMap<AgreementId, OwnerLimits>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    #[serde(default)]
    default: OwnerLimits,
    #[serde(default)]
    agreement: BTreeMap<String, OwnerLimits>,
}

impl Limits {
    /// From the home's `limits.toml`; safe defaults without one.
    ///
    /// # Errors
    /// [`Error::Input`] with the line that is wrong.
    pub fn load(home: &Home) -> Result<Self> {
        let Some(bytes) = home.read(FILE, FILE_BYTES_MAX)? else {
            return Ok(Self {
                default: DEFAULT,
                agreements: BTreeMap::new(),
            });
        };
        std::str::from_utf8(&bytes)
            .map_err(|_| "it is not UTF-8".to_owned())
            .and_then(Self::parse)
            .map_err(|why| Error::Input(format!("`{}`: {why}", home.path().join(FILE).display())))
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let file: LimitsFile = toml::from_str(text).map_err(|e| e.to_string())?;
        let agreements = file
            .agreement
            .into_iter()
            .map(|(id, limits)| {
                Ok((
                    id.parse::<AgreementId>().map_err(|e| e.to_string())?,
                    limits,
                ))
            })
            .collect::<std::result::Result<_, String>>()?;
        Ok(Self {
            default: or(file.default, DEFAULT),
            agreements,
        })
    }

    /// The caps for one agreement: its own, else the default of the file, else the built-in one.
    #[must_use]
    pub fn of(&self, agreement: &AgreementId) -> OwnerLimits {
        self.agreements
            .get(agreement)
            .map_or(self.default, |own| or(*own, self.default))
    }
}

fn or(first: OwnerLimits, second: OwnerLimits) -> OwnerLimits {
    OwnerLimits {
        rows_per_flow: first.rows_per_flow.or(second.rows_per_flow),
        flows_per_period: first.flows_per_period.or(second.flows_per_period),
        identifiers_per_period: first
            .identifiers_per_period
            .or(second.identifiers_per_period),
    }
}

/// One attempt that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    agreement: AgreementId,
    flow: FlowId,
    at: Timestamp,
    identifiers: u64,
    /// What a measure flow may spend of a privacy budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spent: Option<Spent>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counters {
    attempts: Vec<Attempt>,
}

impl Counters {
    fn of(&self, flow: FlowId) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.flow == flow)
    }

    fn store(&self, home: &Home) -> Result<()> {
        let bytes = serde_json::to_vec(self)
            .map_err(|e| Error::Unexpected(format!("cannot write {COUNTERS}: {e}")))?;
        home.write(COUNTERS, &bytes)
    }

    fn load(home: &Home) -> Result<Self> {
        home.read(COUNTERS, COUNTERS_BYTES_MAX)?.map_or_else(
            || Ok(Self::default()),
            |bytes| {
                serde_json::from_slice(&bytes).map_err(|e| {
                    let why = format!("{e}; no flow is served before it is restored from a backup");
                    home.damaged(COUNTERS, why)
                })
            },
        )
    }

    /// All versions of an agreement count together: a new version does not renew what was used.
    ///
    /// A flow that is resumed does not count against itself.
    fn usage(&self, agreement: &AgreementId, period: Option<Period>, flow: Asking) -> Usage {
        let in_period = |at: Timestamp| period.is_some_and(|p| at >= p.start && at < p.end);
        let (Asking::Anew(id) | Asking::Again(id)) = flow;
        let resumed = matches!(flow, Asking::Again(_));
        let mut usage = Usage {
            flow_id_used: !resumed && self.of(id).is_some(),
            ..Usage::default()
        };
        for attempt in &self.attempts {
            if resumed && attempt.flow == id {
                continue;
            }
            if attempt.agreement == *agreement && in_period(attempt.at) {
                usage.flows_in_period = usage.flows_in_period.saturating_add(1);
                usage.identifiers_in_period = usage
                    .identifiers_in_period
                    .saturating_add(attempt.identifiers);
            }
        }
        usage
    }
}

/// Whether a flow is asked for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// It must not have been counted before.
    Anew(FlowId),
    /// This home holds that it accepted this very request and that the flow is not over: it is counted already, or a crash
    /// came before that.
    Again(FlowId),
}

/// Decides on a flow with this owner's own counters and caps, and counts it if it is granted.
///
/// `decide` gets what was used, the caps, and the time to decide by: that of the first decision where a flow goes on.
/// When this returns [`Decision::Granted`] the attempt is durable: a crash at any later moment leaves it counted, and the
/// same flow id is never granted again. Two processes of one home decide one after the other.
///
/// # Errors
/// Counters or caps cannot be read or written; then nothing was granted.
pub fn authorise(
    home: &Home,
    agreement: &Agreement,
    flow: Asking,
    decide: impl FnOnce(Usage, OwnerLimits, Timestamp) -> Decision,
) -> Result<Decision> {
    let limits = Limits::load(home)?.of(agreement.id());
    let _lock = home.lock()?;
    let mut counters = Counters::load(home)?;
    let counted = match flow {
        Asking::Anew(_) => None,
        Asking::Again(flow) => counters.of(flow).map(|attempt| attempt.at),
    };
    let now = counted.unwrap_or_else(|| home.clock().now());
    let usage = counters.usage(agreement.id(), agreement.period_at(now), flow);
    let mut decision = decide(usage, limits, now);
    let mut spent = None;
    if counted.is_none()
        && let Decision::Granted(grant) = &decision
    {
        let charges = counters
            .attempts
            .iter()
            .map(|attempt| (attempt.at, attempt.spent.as_ref()));
        let in_force = agreements::in_force(home)?;
        match budget::charge(agreement, grant, charges, &in_force, now) {
            Ok(cost) => spent = cost,
            Err(denial) => decision = Decision::Denied(denial),
        }
    }
    if let Decision::Granted(grant) = &decision
        && counted.is_none()
    {
        counters.attempts.push(Attempt {
            agreement: agreement.id().clone(),
            flow: grant.flow(),
            at: grant.decided_at(),
            identifiers: u64::from(grant.identifiers()),
            spent: spent.take(),
        });
        // A crash before this write leaves nothing granted, one after it an attempt that counts as used.
        counters.store(home)?;
    }
    Ok(decision)
}

/// Gives back what a flow may spend of a privacy budget: it ended here before anything of this home's data had left. It stays counted
/// as an attempt.
///
/// # Errors
/// The counters cannot be read or written; then it stays charged.
pub fn spent_nothing(home: &Home, flow: FlowId) -> Result<()> {
    let _lock = home.lock()?;
    let mut counters = Counters::load(home)?;
    let mut changed = false;
    for attempt in counters.attempts.iter_mut().filter(|a| a.flow == flow) {
        changed |= attempt.spent.take().is_some();
    }
    if changed {
        counters.store(home)?;
    }
    Ok(())
}

/// Charges a counted flow with further identifiers: the slots of a bucket that is matched once more, or the room for chance that
/// buckets need. False, and nothing is charged, if the period has no room for them.
///
/// A recipient that breaks sessions off and comes again with other identifiers would learn nothing from an honest broker, which
/// releases one attempt at each bucket; together with a broker that shows it what the owner submits, it would query as many
/// identifiers again. So a repeated bucket costs what asking for as many identifiers anew would cost.
///
/// The home's lock is the caller's, which decides by what it reads under the same lock whether there is anything to charge.
///
/// # Errors
/// Counters or caps cannot be read or written; then nothing was charged.
pub fn charge_more(
    home: &Home,
    _held: &HomeLock,
    agreement: &Agreement,
    flow: FlowId,
    identifiers: u64,
) -> Result<bool> {
    let limits = Limits::load(home)?.of(agreement.id());
    let mut counters = Counters::load(home)?;
    let Some(at) = counters.of(flow).map(|attempt| attempt.at) else {
        return Err(Error::Unexpected(
            "a flow that was never counted is to be charged".to_owned(),
        ));
    };
    let usage = counters.usage(agreement.id(), agreement.period_at(at), Asking::Anew(flow));
    let cap = agreement.caps().identifiers_per_period;
    let cap = limits
        .identifiers_per_period
        .map_or(cap, |own| own.min(cap));
    if usage.identifiers_in_period.saturating_add(identifiers) > cap {
        return Ok(false);
    }
    for attempt in counters.attempts.iter_mut().filter(|a| a.flow == flow) {
        attempt.identifiers = attempt.identifiers.saturating_add(identifiers);
    }
    counters.store(home)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
