//! Decides the requests of an exported log again, under other rules.
//!
//! The log holds what a decision rests on: agreements whole, grants with what they charged, what a denied request asked,
//! assessments. So the state before each request is folded as the broker did, and the same functions are asked: the
//! rules', and the privacy budget's. Requests whose signature did not verify are not recorded with what they asked, and
//! of those that named another party, version or text it is not recorded which: these cannot be replayed, and no rule
//! would have been asked.

use std::io::BufRead;

use counterfoil_audit::entry::{Entry, Event, FlowId, Integer, Label, List, Measured};
use counterfoil_audit::export::{Failure, verify_each};
use counterfoil_audit::note::VerifierKey;
use counterfoil_policy::agreement::{Agreement, FlowKind};
use counterfoil_policy::decision::{Denial, DenialCode, Explanation, Rules, explain};
use counterfoil_policy::measure::Asked;
use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::request::{DeliveryKey, RequestBody};
use counterfoil_proto::delivery::SUITE;
use serde::Serialize;

use crate::decide::flows::{facts, moment};
use crate::decide::{Regime, budgets};
use crate::state::{Inconsistent, State};

/// Why a log could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// The key is no key.
    #[error(
        "the log's key `{0}` is not valid: copy the line that `counterfoil broker serve` prints"
    )]
    Key(String),
    /// The file is not what the log's key signed.
    #[error(transparent)]
    Unverified(#[from] Failure),
    /// The entries are signed, and do not follow from each other.
    #[error(
        "entry `{index}` of the export: {why}; only an export of the whole log can be replayed"
    )]
    Inconsistent {
        /// The entry.
        index: u64,
        /// What is wrong.
        why: String,
    },
    /// The flow is not there, or what it asked is not recorded.
    #[error("the log has no request of flow `{0}` that can be decided again")]
    NoSuchFlow(String),
}

/// Whose rules decide.
#[derive(Debug)]
pub struct Setting {
    regime: Regime,
}

impl Setting {
    /// These rules, and whether only assessed institutions may take part.
    #[must_use]
    pub fn new(rules: Rules, assessed_only: bool) -> Self {
        Self {
            regime: Regime {
                rules,
                assessed_only,
            },
        }
    }
}

/// A decision that would differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Index of the entry with the decision.
    pub entry: u64,
    /// When it was made.
    pub time: String,
    /// The flow.
    pub flow: String,
    /// Id of the agreement.
    pub agreement: String,
    /// Who asked.
    pub recipient: String,
    /// What the log has: `granted`, or the code of the denial or its rule.
    pub was: String,
    /// What it would be, in the same words.
    pub would_be: String,
    /// What would pass, if it would be denied.
    pub would_pass: Option<String>,
}

/// The outcome of a backtest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Backtest {
    /// Requests that were decided again.
    pub replayed: u64,
    /// Requests of which the log does not have what they asked.
    pub not_replayed: u64,
    /// What would differ, oldest first.
    pub differences: Vec<Difference>,
}

/// Replays every request since `since` (an entry's time, RFC 3339, compared as text; a date is the start of its day).
///
/// # Errors
/// The file is not the log's, or not whole.
pub fn run(
    source: impl BufRead,
    log_key: &str,
    setting: &Setting,
    since: Option<&str>,
) -> Result<Backtest, BacktestError> {
    let mut outcome = Backtest::default();
    replay(source, log_key, setting, |index, entry, explanation| {
        let time = entry.time().to_string();
        if since.is_some_and(|since| time.as_str() < since) {
            return;
        }
        let Some(explanation) = explanation else {
            outcome.not_replayed += 1;
            return;
        };
        outcome.replayed += 1;
        let (was, would_be) = (logged(entry.event()), words(&explanation));
        if was != would_be {
            outcome
                .differences
                .extend(difference(index, entry, was, would_be, &explanation));
        }
    })?;
    Ok(outcome)
}

/// Explains the decision on one flow: the one that was made when it was first asked for.
///
/// # Errors
/// As [`run`], or the flow is not in the log.
pub fn explain_flow(
    source: impl BufRead,
    log_key: &str,
    setting: &Setting,
    flow: &str,
) -> Result<Explanation, BacktestError> {
    let mut found = None;
    replay(source, log_key, setting, |_, entry, explanation| {
        let asked_for = entry.event().flow().map(|id| id.to_string());
        if found.is_none() && asked_for.as_deref() == Some(flow) {
            found = explanation;
        }
    })?;
    found.ok_or_else(|| BacktestError::NoSuchFlow(flow.escape_debug().to_string()))
}

/// Shows each request with its decision made anew, in the state before it.
fn replay(
    source: impl BufRead,
    log_key: &str,
    setting: &Setting,
    mut each: impl FnMut(u64, &Entry, Option<Explanation>),
) -> Result<(), BacktestError> {
    let key = VerifierKey::parse(log_key.trim())
        .map_err(|_| BacktestError::Key(log_key.trim().escape_debug().to_string()))?;
    let mut state = State::default();
    let mut wrong: Option<(u64, Inconsistent)> = None;
    verify_each(source, &key, |index, entry| {
        if wrong.is_some() {
            return;
        }
        if matches!(entry.event(), Event::FlowGranted(_) | Event::FlowDenied(_)) {
            each(index, entry, again(&state, &setting.regime, entry));
        }
        if let Err(why) = state.apply(index, entry) {
            wrong = Some((index, why));
        }
    })?;
    wrong.map_or(Ok(()), |(index, why)| {
        Err(BacktestError::Inconsistent {
            index,
            why: why.to_string(),
        })
    })
}

fn again(state: &State, regime: &Regime, entry: &Entry) -> Option<Explanation> {
    let (body, flow, caller) = request_of(state, entry)?;
    let digest = counterfoil_audit::entry::Digest::from_bytes(*body.agreement_digest.as_bytes());
    let record = state.agreements.get(&digest)?;
    let caller = caller.parse().ok()?;
    let now = moment(entry.time());
    let facts = facts(state, regime, record, &caller, now, flow);
    let mut explanation = explain(&regime.rules, &facts, &body);
    if body.measure.is_some() {
        let denial = over_budget(state, &record.agreement, &body, now);
        explanation.add("budget", "the privacy budget leaves room", denial);
    }
    Some(explanation)
}

/// The denial of a flow for which too little of its population's budget was left.
fn over_budget(
    state: &State,
    agreement: &Agreement,
    body: &RequestBody,
    now: Timestamp,
) -> Option<Denial> {
    let refusal = budgets::reserve(state, agreement, body, now).err()?;
    // Anything else is of the moment, as in `logged`, or was found by the comparisons.
    let is_budget = refusal.code == DenialCode::OverBudget.as_str();
    is_budget.then(|| Denial::over_budget(refusal.message, refusal.would_pass))
}

/// What was asked, as far as a decision reads it. What it does not read (the delivery key, the person) is made up.
fn request_of(state: &State, entry: &Entry) -> Option<(RequestBody, FlowId, String)> {
    let now = moment(entry.time());
    let asked = match entry.event() {
        Event::FlowGranted(e) => Terms {
            flow: e.flow,
            agreement: &e.agreement,
            caller: e.recipient.org.as_str(),
            purpose: &e.purpose,
            segment: e.segment.as_ref(),
            identifier: &e.identifier,
            tags: &e.tags,
            set_size: e.set_size,
            measure: e.measure.as_ref(),
            // It was granted, so it was fresh.
            times: (now, now.saturating_add_seconds(1)),
        },
        Event::FlowDenied(e) => {
            let asked = e.asked.as_ref()?;
            if is_of_another(&e.decision.code) {
                return None;
            }
            Terms {
                flow: e.flow,
                agreement: e.agreement.as_ref()?,
                caller: e.recipient.org.as_str(),
                purpose: &asked.purpose,
                segment: asked.segment.as_ref(),
                identifier: &asked.identifier,
                tags: &asked.tags,
                set_size: asked.set_size,
                measure: asked.measure.as_ref(),
                times: (moment(asked.issued_at), moment(asked.expires_at)),
            }
        }
        _ => return None,
    };
    let agreement = &state.agreements.get(&asked.agreement.sha256)?.agreement;
    Some((asked.body(agreement)?, asked.flow, asked.caller.to_owned()))
}

/// The request named another party, version or text than the agreement's, and which is not recorded.
fn is_of_another(code: &Label) -> bool {
    use DenialCode::{WrongDigest, WrongParty, WrongVersion};
    [WrongParty, WrongVersion, WrongDigest]
        .iter()
        .any(|of| of.as_str() == code.as_str())
}

struct Terms<'e> {
    flow: FlowId,
    agreement: &'e counterfoil_audit::entry::AgreementRef,
    caller: &'e str,
    purpose: &'e Label,
    segment: Option<&'e Label>,
    identifier: &'e Label,
    tags: &'e List<Label>,
    set_size: Integer,
    measure: Option<&'e Measured>,
    times: (Timestamp, Timestamp),
}

impl Terms<'_> {
    fn body(&self, agreement: &Agreement) -> Option<RequestBody> {
        let tags = self.tags.as_slice().iter();
        Some(RequestBody {
            format: 1,
            flow: counterfoil_policy::text::FlowId::from_bytes(*self.flow.as_bytes()),
            recipient: agreement.recipient().name.clone(),
            agreement: agreement.id().clone(),
            agreement_version: agreement.version(),
            agreement_digest: agreement.digest(),
            kind: match self.measure {
                Some(_) => FlowKind::Measure,
                None => FlowKind::Exchange,
            },
            purpose: self.purpose.as_str().parse().ok()?,
            segment: match self.segment {
                Some(segment) => Some(segment.as_str().parse().ok()?),
                None => None,
            },
            identifier: self.identifier.as_str().parse().ok()?,
            tags: tags
                .map(|tag| tag.as_str().parse().ok())
                .collect::<Option<_>>()?,
            measure: match self.measure {
                Some(measured) => Some(queries(measured)?),
                None => None,
            },
            set_size: u32::try_from(self.set_size.value()).ok()?,
            delivery_suite: SUITE.parse().ok()?,
            delivery_key: DeliveryKey::from_bytes(vec![0])?,
            issued_at: self.times.0,
            expires_at: self.times.1,
            user: "replayed".parse().ok()?,
        })
    }
}

/// The queries of a measure flow, read back.
fn queries(measured: &Measured) -> Option<Asked> {
    let queries = measured.queries.as_slice().iter();
    let delta = measured.delta.as_ref();
    Some(Asked {
        queries: queries
            .map(|query| query.as_str().parse().ok())
            .collect::<Option<_>>()?,
        delta: match delta {
            Some(delta) => Some(delta.as_str().parse().ok()?),
            None => None,
        },
    })
}

/// What the log says of a decision. A request that was denied for the moment alone (nobody served, too many ran) had
/// passed the rules.
fn logged(event: &Event) -> String {
    match event {
        Event::FlowDenied(e) => {
            let code = e.decision.code.as_str();
            let of_policy = code.parse::<DenialCode>().is_ok();
            match &e.decision.rule {
                Some(rule) => rule.to_string(),
                None if of_policy => code.to_owned(),
                None => GRANTED.to_owned(),
            }
        }
        _ => GRANTED.to_owned(),
    }
}

const GRANTED: &str = "granted";

fn words(explanation: &Explanation) -> String {
    explanation.denial.as_ref().map_or_else(
        || GRANTED.to_owned(),
        |denial| {
            denial
                .rule
                .as_deref()
                .map_or_else(|| denial.code.to_string(), str::to_owned)
        },
    )
}

fn difference(
    entry: u64,
    of: &Entry,
    was: String,
    would_be: String,
    explanation: &Explanation,
) -> Option<Difference> {
    let (agreement, recipient) = match of.event() {
        Event::FlowGranted(e) => (&e.agreement, &e.recipient),
        Event::FlowDenied(e) => (e.agreement.as_ref()?, &e.recipient),
        _ => return None,
    };
    Some(Difference {
        entry,
        time: of.time().to_string(),
        flow: of.event().flow()?.to_string(),
        agreement: agreement.id.to_string(),
        recipient: recipient.org.to_string(),
        was,
        would_be,
        would_pass: explanation.denial.as_ref().map(|d| d.would_pass.clone()),
    })
}
