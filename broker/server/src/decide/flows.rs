//! Granting and denying flows.

use std::sync::Arc;

use counterfoil_audit::entry::{
    Asked, Event, FlowDenied, FlowGranted, FlowKind, Measured, Recipient, Source, Spent,
};
use counterfoil_audit::entry::{Digest, FlowId, Integer, List, OrgName, Timestamp};
use counterfoil_policy::agreement::{Agreement, FlowKind as Kind};
use counterfoil_policy::decision::{
    self as policy, AgreementStatus, Assessments, Decision, Denial, Facts, OwnerLimits, Usage,
    decide,
};
use counterfoil_policy::moment::Timestamp as Moment;
use counterfoil_policy::request::{RequestBody, SignedRequest, VerifiedRequest};
use counterfoil_policy::tag::{DataClass, Tag};
use counterfoil_policy::text::OrgName as PolicyOrg;
use counterfoil_proto::delivery::SUITE;
use sha2::{Digest as _, Sha256};

use super::agreements::{check_party, reference};
use super::{Regime, budgets};
use crate::log::Decided;
use crate::refusal::{Refusal, label, sentence};
use crate::state::State;
use crate::state::agreements::{AgreementRecord, Status};

/// A flow that was granted, for the registry.
pub(crate) struct Granted {
    pub(crate) event: FlowGranted,
    pub(crate) agreement: Arc<Agreement>,
    pub(crate) request: VerifiedRequest,
}

/// What the broker knows of the moment beside its state.
pub(crate) struct Situation {
    /// The owner's agent waits for offers.
    pub(crate) owner_listens: bool,
    /// The recipient has as many running flows as it may have.
    pub(crate) recipient_busy: bool,
}

/// Decides on a recipient's request. Either answer is an entry.
pub(crate) fn request(
    state: &State,
    now: Timestamp,
    caller: &OrgName,
    signed: &SignedRequest,
    regime: &Regime,
    situation: impl FnOnce(&Agreement) -> Situation,
) -> Decided<Result<Granted, Refusal>> {
    let record = find(state, caller, signed);
    match judge(state, now, caller, signed, regime, record, situation) {
        Ok(granted) => Decided {
            events: vec![granted.event.clone().into()],
            value: Ok(granted),
        },
        Err(refusal) => Decided {
            events: vec![denied(caller, signed, record, &refusal)],
            value: Err(refusal),
        },
    }
}

/// The agreement that the request names by id and version, if the caller is a party of it; of a version that is not there,
/// the one in force. Version and digest are compared later, so that the denial can say what differs.
fn find<'s>(
    state: &'s State,
    caller: &OrgName,
    signed: &SignedRequest,
) -> Option<&'s AgreementRecord> {
    let body = signed.unverified();
    let of_caller = || {
        let of_id = state.agreements.of_id(body.agreement.as_str());
        of_id.filter(|record| record.concerns(caller))
    };
    let mut candidates =
        of_caller().filter(|record| record.agreement.version() == body.agreement_version);
    let Some(first) = candidates.next() else {
        // So that the denial can name the version that would pass.
        return of_caller().find(|record| {
            record.status == Status::Active
                && record.agreement.recipient().name.as_str() == caller.as_str()
        });
    };
    // Two pairs of institutions may use one id: then the digest tells them apart.
    let exact = std::iter::once(first)
        .chain(candidates)
        .find(|record| record.agreement.digest() == body.agreement_digest);
    Some(exact.unwrap_or(first))
}

fn judge(
    state: &State,
    now: Timestamp,
    caller: &OrgName,
    signed: &SignedRequest,
    regime: &Regime,
    record: Option<&AgreementRecord>,
    situation: impl FnOnce(&Agreement) -> Situation,
) -> Result<Granted, Refusal> {
    let body = signed.unverified();
    let record = record.ok_or_else(|| from_policy(Denial::unknown_agreement(&body.agreement)))?;
    let agreement = &record.agreement;
    let request = signed
        .verify(&agreement.recipient().signing_key)
        .map_err(|error| from_policy(Denial::from(&error)))?;
    let now = moment(now);
    let policy_caller: PolicyOrg = caller.as_str().parse().map_err(|_| {
        Refusal::new(
            "wrong_party",
            "the caller's name is not valid",
            "join under a valid name",
        )
    })?;
    let facts = facts(state, regime, record, &policy_caller, now, flow_id(signed));
    match decide(&regime.rules, &facts, &request) {
        Decision::Denied(denial) => return Err(from_policy(denial)),
        Decision::Granted(_) => {}
    }
    check_parties(state, agreement)?;
    check_suite(&request)?;
    check_situation(agreement, &situation(agreement))?;
    let reserved = budgets::reserve(state, agreement, request.body(), now)?;
    Ok(Granted {
        event: granted(agreement, &request, reserved)?,
        agreement: agreement.clone(),
        request,
    })
}

/// What the log knows at `now` that a request under this agreement is decided on.
pub(crate) fn facts<'s>(
    state: &'s State,
    regime: &Regime,
    record: &'s AgreementRecord,
    caller: &'s PolicyOrg,
    now: Moment,
    flow: FlowId,
) -> Facts<'s> {
    let agreement = &*record.agreement;
    let facts = Facts {
        status: status(state, record),
        agreement,
        caller,
        usage: usage(state, agreement, now, flow),
        owner_limits: OwnerLimits::default(),
        assessments: Assessments {
            required: regime.assessed_only,
            ..assessments(state, agreement)
        },
        now,
    };
    if !policy::leaves_china(&facts) {
        return facts;
    }
    Facts {
        usage: with_abroad(state, agreement, now, facts.usage),
        ..facts
    }
}

/// Whether a flow that was granted may go on, with the facts and the clock of now.
pub(crate) fn may_continue(
    state: &State,
    regime: &Regime,
    now: Timestamp,
    grant: &FlowGranted,
    request: &VerifiedRequest,
) -> Result<(), Refusal> {
    let ended = || {
        Refusal::new(
            "agreement_unknown",
            "the agreement is not in the log",
            "ask again under an agreement that stands",
        )
    };
    let record = state
        .agreements
        .get(&grant.agreement.sha256)
        .ok_or_else(ended)?;
    let caller = &record.agreement.recipient().name;
    let facts = facts(state, regime, record, caller, moment(now), grant.flow);
    policy::may_continue(&regime.rules, &facts, request).map_err(from_policy)?;
    check_parties(state, &record.agreement)
}

/// Both parties stand, with the keys that they signed with: an institution that was revoked and came back with other keys
/// needs its agreements signed anew.
fn check_parties(state: &State, agreement: &Agreement) -> Result<(), Refusal> {
    [
        ("agreement.owner", agreement.owner()),
        ("agreement.recipient", agreement.recipient()),
    ]
    .into_iter()
    .try_for_each(|(field, party)| check_party(state, field, party))
}

fn check_suite(request: &VerifiedRequest) -> Result<(), Refusal> {
    if request.body().delivery_suite.as_str() == SUITE {
        return Ok(());
    }
    Err(Refusal {
        field: "delivery_suite".into(),
        ..Refusal::new(
            "suite",
            "this broker seals deliveries with another suite",
            format!("`{SUITE}`"),
        )
    })
}

fn check_situation(agreement: &Agreement, situation: &Situation) -> Result<(), Refusal> {
    if situation.recipient_busy {
        return Err(Refusal::new(
            "too_many_running",
            "as many of your flows are running as may run at one time",
            "wait until one has ended",
        ));
    }
    if situation.owner_listens {
        return Ok(());
    }
    Err(Refusal::new(
        "owner_not_serving",
        format!("the agent of `{}` is not connected", agreement.owner().name),
        "ask them to start `counterfoil party serve`, then try again",
    ))
}

fn status(state: &State, record: &AgreementRecord) -> AgreementStatus {
    match record.status {
        Status::Proposed => AgreementStatus::Proposed,
        Status::Active => AgreementStatus::Active,
        Status::Revoked => AgreementStatus::Revoked,
        Status::Superseded => AgreementStatus::Superseded {
            by_version: state
                .agreements
                .latest_version(record.agreement.id().as_str(), record.parties()),
        },
    }
}

/// What the recipient has used of the agreement's caps, from the log alone.
fn usage(state: &State, agreement: &Agreement, now: Moment, flow: FlowId) -> Usage {
    let flow_id_used = state.flow(flow).is_some();
    let since = agreement
        .period_at(now)
        .and_then(|period| entry_time(period.start));
    let Some(since) = since else {
        return Usage {
            flow_id_used,
            ..Usage::default()
        };
    };
    let digest = reference(agreement).sha256;
    let charged = state.flows.granted_since(digest, since);
    charged.fold(
        Usage {
            flow_id_used,
            ..Usage::default()
        },
        |used, grant| Usage {
            flows_in_period: used.flows_in_period.saturating_add(1),
            identifiers_in_period: used
                .identifiers_in_period
                .saturating_add(grant.set_size.value()),
            ..used
        },
    )
}

/// What the broker's officers found out about the parties.
fn assessments<'s>(state: &'s State, agreement: &Agreement) -> Assessments<'s> {
    Assessments {
        owner: state.assessments.of(agreement.owner().name.as_str()),
        recipient: state.assessments.of(agreement.recipient().name.as_str()),
        required: false,
    }
}

/// People whose data the owner let go abroad since 1 January (UTC), over all its agreements.
fn with_abroad(state: &State, agreement: &Agreement, now: Moment, usage: Usage) -> Usage {
    let year = ::time::OffsetDateTime::from_unix_timestamp(now.unix_seconds())
        .ok()
        .and_then(|now| now.replace_ordinal(1).ok())
        .map(|first| Moment::start_of(first.date()));
    let Some(since) = year.and_then(entry_time) else {
        return usage;
    };
    let owner = agreement.owner().name.as_str();
    let records = state.agreements.iter().filter(|(_, record)| {
        let of_owner = record.agreement.owner().name.as_str() == owner;
        of_owner && goes_abroad(state, &record.agreement, now)
    });
    records
        .flat_map(|(digest, record)| {
            let granted = state.flows.granted_since(*digest, since);
            granted.map(|grant| (grant, sensitive(&record.agreement, grant)))
        })
        .fold(usage, |usage, (grant, sensitive)| {
            let size = grant.set_size.value();
            let sensitive = if sensitive { size } else { 0 };
            Usage {
                people_abroad_this_year: usage.people_abroad_this_year.saturating_add(size),
                sensitive_abroad_this_year: usage
                    .sensitive_abroad_this_year
                    .saturating_add(sensitive),
                ..usage
            }
        })
}

/// A tag of class C2 was asked for, or chosen by.
fn sensitive(agreement: &Agreement, grant: &FlowGranted) -> bool {
    let asked = grant.tags.as_slice();
    let asked = agreement.tags().iter().filter(|tag| {
        let name = tag.name().as_str();
        asked.iter().any(|asked| asked.as_str() == name)
    });
    let segment = grant
        .segment
        .as_ref()
        .and_then(|name| name.as_str().parse().ok());
    let told = agreement.told_by(segment.as_ref()).map(Tag::class);
    asked
        .map(Tag::class)
        .chain(told)
        .any(|class| class != DataClass::C1)
}

fn goes_abroad(state: &State, agreement: &Agreement, now: Moment) -> bool {
    policy::leaves_china(&Facts {
        status: AgreementStatus::Active,
        agreement,
        caller: &agreement.recipient().name,
        usage: Usage::default(),
        owner_limits: OwnerLimits::default(),
        assessments: assessments(state, agreement),
        now,
    })
}

fn granted(
    agreement: &Agreement,
    request: &VerifiedRequest,
    reserved: Option<Spent>,
) -> Result<FlowGranted, Refusal> {
    let body = request.body();
    let tags = body.tags.iter().map(|tag| label(tag.as_str())).collect();
    let value = |e: counterfoil_audit::entry::ValueError| {
        Refusal::new(
            "request",
            e.to_string(),
            "a request within the bounds of the wire",
        )
    };
    Ok(FlowGranted {
        flow: FlowId::from_bytes(*body.flow.as_bytes()),
        agreement: reference(agreement),
        kind: kind(body),
        purpose: label(body.purpose.as_str()),
        legal_basis: label(agreement.legal_basis().as_str()),
        segment: body.segment.as_ref().map(|s| label(s.as_str())),
        identifier: label(body.identifier.as_str()),
        tags: List::new(tags).map_err(value)?,
        protocol: label(agreement.protocol().for_request(body.set_size).as_str()),
        request_sha256: Digest::from_bytes(*request.digest().as_bytes()),
        source: Source {
            org: OrgName::new(agreement.owner().name.as_str()).map_err(value)?,
            dataset: label(agreement.dataset().as_str()),
        },
        recipient: Recipient {
            org: OrgName::new(agreement.recipient().name.as_str()).map_err(value)?,
            key_id: key_id(body.delivery_key.as_bytes()),
        },
        set_size: Integer::new(body.set_size.into()).map_err(value)?,
        measure: measure(body),
        reserved,
    })
}

fn kind(body: &RequestBody) -> FlowKind {
    match body.kind {
        Kind::Exchange => FlowKind::Exchange,
        Kind::Measure => FlowKind::Measure,
    }
}

/// What a measure flow asks, for an entry: a list of at most sixteen queries fits one.
fn measure(body: &RequestBody) -> Option<Measured> {
    let asked = body.measure.as_ref()?;
    let queries = asked
        .queries
        .iter()
        .map(|query| sentence(&query.to_string()));
    Some(Measured {
        queries: List::new(queries.collect()).ok()?,
        delta: asked.delta.map(|delta| label(&delta.to_string())),
    })
}

fn denied(
    caller: &OrgName,
    signed: &SignedRequest,
    record: Option<&AgreementRecord>,
    refusal: &Refusal,
) -> Event {
    let body = signed.unverified();
    // Of a request whose signature may be anybody's only digests are recorded. As in a grant, the digest is of the body
    // without its signature.
    let verified = record.and_then(|record| {
        signed
            .verify(&record.agreement.recipient().signing_key)
            .ok()
    });
    let canonical = serde_json_canonicalizer::to_vec(body).unwrap_or_default();
    FlowDenied {
        flow: flow_id(signed),
        agreement: record.map(|record| reference(&record.agreement)),
        request_sha256: Digest::from_bytes(Sha256::digest(canonical).into()),
        asked: verified.and_then(|request| asked(request.body())),
        decision: refusal.decision("denied"),
        recipient: Recipient {
            org: caller.clone(),
            key_id: key_id(body.delivery_key.as_bytes()),
        },
    }
    .into()
}

/// What was asked, for deciding it again. `None` only for values that no entry can hold.
fn asked(body: &RequestBody) -> Option<Asked> {
    let tags = body.tags.iter().map(|tag| label(tag.as_str())).collect();
    Some(Asked {
        kind: kind(body),
        purpose: label(body.purpose.as_str()),
        segment: body.segment.as_ref().map(|s| label(s.as_str())),
        identifier: label(body.identifier.as_str()),
        tags: List::new(tags).ok()?,
        set_size: Integer::new(body.set_size.into()).ok()?,
        measure: measure(body),
        issued_at: entry_time(body.issued_at)?,
        expires_at: entry_time(body.expires_at)?,
    })
}

/// Names a delivery key: SHA-256 in hex.
pub(crate) fn key_id(key: &[u8]) -> counterfoil_audit::entry::Label {
    label(&Digest::from_bytes(Sha256::digest(key).into()).to_string())
}

fn flow_id(signed: &SignedRequest) -> FlowId {
    FlowId::from_bytes(*signed.unverified().flow.as_bytes())
}

pub(crate) fn moment(time: Timestamp) -> Moment {
    let seconds = i64::try_from(time.unix_micros() / 1_000_000).unwrap_or(i64::MAX);
    Moment::from_unix_seconds(seconds).unwrap_or_else(|| Moment::start_of(::time::Date::MIN))
}

fn entry_time(moment: Moment) -> Option<Timestamp> {
    let seconds = u64::try_from(moment.unix_seconds()).ok()?;
    Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000)).ok()
}

fn from_policy(denial: Denial) -> Refusal {
    Refusal {
        code: denial.code.as_str(),
        field: denial.field,
        message: denial.message,
        would_pass: denial.would_pass,
        rule: denial.rule.zip(denial.source).map(Box::new),
    }
}

#[cfg(test)]
mod tests;
