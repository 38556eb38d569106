//! Whether a request keeps to its agreement: parties, dates, tags, caps. Compared before any rule is asked.
//!
//! The line to [`super::ruleset`]: what compares the request with the document that both signed, and can say to the unit
//! what would pass, stands here; what a house or a law says of it stands in the rules. Nothing stands in both.

use super::{AgreementStatus, CLOCK_SKEW_SECONDS_MAX, Denial, DenialCode, Facts};
use crate::agreement::Period;
use crate::measure::Plan;
use crate::request::RequestBody;

type Checked = Result<(), Denial>;

/// One comparison of a request with its agreement.
pub(super) struct Check {
    pub(super) id: &'static str,
    /// What holds when it passes.
    pub(super) says: &'static str,
    pub(super) run: fn(&Facts<'_>, &RequestBody) -> Checked,
    /// It also stands while a granted flow runs; the others are about asking alone.
    pub(super) lasts: bool,
}

/// In the order in which they are applied. Who calls comes first, so a stranger learns nothing about an agreement.
pub(super) const CHECKS: [Check; 11] = [
    Check {
        id: "caller",
        says: "the agreement's recipient asks, for itself",
        run: caller,
        lasts: true,
    },
    Check {
        id: "status",
        says: "both institutions signed the agreement, and it stands",
        run: status,
        lasts: true,
    },
    Check {
        id: "content",
        says: "the request names the version and the text that were signed",
        run: content,
        lasts: true,
    },
    Check {
        id: "validity",
        says: "the agreement holds today",
        run: valid,
        lasts: true,
    },
    Check {
        id: "clock",
        says: "the request is fresh",
        run: clock,
        lasts: false,
    },
    Check {
        id: "replay",
        says: "the flow id is new",
        run: replay,
        lasts: false,
    },
    Check {
        id: "terms",
        says: "kind, purpose and identifier are the agreement's",
        run: terms,
        lasts: true,
    },
    Check {
        id: "tags",
        says: "the tags are the agreement's, in its order",
        run: tags,
        lasts: true,
    },
    Check {
        id: "measure",
        says: "the queries are the agreement's, and cost what one flow may cost",
        run: measure,
        lasts: true,
    },
    Check {
        id: "segment",
        says: "the segment is the agreement's",
        run: segment,
        lasts: true,
    },
    Check {
        id: "caps",
        says: "the caps of the agreement and the owner's own leave room",
        run: all_caps,
        lasts: false,
    },
];

/// Applies every check; the period is the one that the flow is charged to.
pub(super) fn all(facts: &Facts<'_>, request: &RequestBody) -> Result<Period, Denial> {
    for check in &CHECKS {
        (check.run)(facts, request)?;
    }
    validity(facts)
}

fn valid(facts: &Facts<'_>, _: &RequestBody) -> Checked {
    validity(facts).map(|_| ())
}

/// Outside the agreement's validity there is no period to count in, and `validity` says so.
fn all_caps(facts: &Facts<'_>, request: &RequestBody) -> Checked {
    let Some(period) = facts.agreement.period_at(facts.now) else {
        return Ok(());
    };
    caps(facts, request, period)?;
    owner_limits(facts, request, period)
}

fn deny<T>(
    code: DenialCode,
    field: &str,
    message: impl Into<String>,
    would_pass: impl Into<String>,
) -> Result<T, Denial> {
    Err(Denial::new(code, field, message, would_pass))
}

fn caller(facts: &Facts<'_>, request: &RequestBody) -> Checked {
    if request.agreement != *facts.agreement.id() {
        return Err(Denial::unknown_agreement(&request.agreement));
    }
    let recipient = &facts.agreement.recipient().name;
    if facts.caller != recipient || request.recipient != *recipient {
        // The recipient's name is not told: the caller may be a stranger to the agreement.
        return deny(
            DenialCode::WrongParty,
            "recipient",
            format!(
                "`{}` is not the recipient of this agreement, or asks in another's name",
                facts.caller
            ),
            "a request that the agreement's recipient signs and sends itself",
        );
    }
    Ok(())
}

fn status(facts: &Facts<'_>, _: &RequestBody) -> Checked {
    match facts.status {
        AgreementStatus::Active => Ok(()),
        AgreementStatus::Proposed => deny(
            DenialCode::NotCountersigned,
            "agreement",
            "the agreement is not signed by both institutions",
            "the same request once both have signed",
        ),
        AgreementStatus::Superseded { by_version } => deny(
            DenialCode::Superseded,
            "agreement_version",
            format!("version {} was replaced", facts.agreement.version()),
            format!("version {by_version}"),
        ),
        AgreementStatus::Revoked => deny(
            DenialCode::Revoked,
            "agreement",
            "the agreement was revoked",
            "a new version, signed by both institutions",
        ),
    }
}

fn content(facts: &Facts<'_>, request: &RequestBody) -> Checked {
    let agreement = facts.agreement;
    if request.agreement_version != agreement.version() {
        return deny(
            DenialCode::WrongVersion,
            "agreement_version",
            format!("the request names version {}", request.agreement_version),
            format!("version {}", agreement.version()),
        );
    }
    if request.agreement_digest != agreement.digest() {
        return deny(
            DenialCode::WrongDigest,
            "agreement_digest",
            "the request rests on other content than the parties signed",
            agreement.digest().to_string(),
        );
    }
    Ok(())
}

fn validity(facts: &Facts<'_>) -> Result<Period, Denial> {
    let (begins, ends) = (facts.agreement.begins(), facts.agreement.ends());
    if let Some(period) = facts.agreement.period_at(facts.now) {
        return Ok(period);
    }
    if facts.now < begins {
        let message = format!("the agreement begins at {begins}, now is {}", facts.now);
        return deny(
            DenialCode::NotYetValid,
            "agreement.valid_from",
            message,
            format!("a request from {begins} on"),
        );
    }
    let message = format!("the agreement ended at {ends}, now is {}", facts.now);
    deny(
        DenialCode::Expired,
        "agreement.valid_until",
        message,
        "a new version, signed by both institutions",
    )
}

fn clock(facts: &Facts<'_>, request: &RequestBody) -> Checked {
    if facts.now >= request.expires_at {
        let message = format!(
            "the request lapsed at {}, now is {}",
            request.expires_at, facts.now
        );
        return deny(
            DenialCode::RequestExpired,
            "expires_at",
            message,
            "a new request; if its time is wrong, check the clock",
        );
    }
    let ahead = request.issued_at.unix_seconds() - facts.now.unix_seconds();
    if ahead.abs() > CLOCK_SKEW_SECONDS_MAX {
        let direction = if ahead > 0 { "ahead of" } else { "behind" };
        let message = format!(
            "the request's time is {} seconds {direction} ours; check the clock",
            ahead.abs()
        );
        return deny(
            DenialCode::ClockSkew,
            "issued_at",
            message,
            format!(
                "a difference of at most {CLOCK_SKEW_SECONDS_MAX} seconds from {}",
                facts.now
            ),
        );
    }
    Ok(())
}

fn replay(facts: &Facts<'_>, _: &RequestBody) -> Checked {
    if facts.usage.flow_id_used {
        return deny(
            DenialCode::Replayed,
            "flow",
            "a request with this flow id was granted before",
            "16 fresh random bytes",
        );
    }
    Ok(())
}

fn terms(facts: &Facts<'_>, request: &RequestBody) -> Checked {
    let agreement = facts.agreement;
    if !agreement.flows().contains(&request.kind) {
        let message = format!("the agreement does not allow {}", request.kind);
        return deny(
            DenialCode::KindNotAllowed,
            "kind",
            message,
            one_of(agreement.flows()),
        );
    }
    if request.purpose != agreement.purpose() {
        let message = format!("the purpose {} is not the agreement's", request.purpose);
        return deny(
            DenialCode::PurposeMismatch,
            "purpose",
            message,
            agreement.purpose().as_str(),
        );
    }
    let allowed: Vec<_> = agreement
        .identifiers()
        .iter()
        .map(|rule| rule.identifier())
        .collect();
    if !allowed.contains(&request.identifier) {
        let message = format!("the agreement does not match by {}", request.identifier);
        return deny(
            DenialCode::IdentifierOutside,
            "identifier",
            message,
            one_of(&allowed),
        );
    }
    Ok(())
}

fn tags(facts: &Facts<'_>, request: &RequestBody) -> Checked {
    let names: Vec<_> = facts
        .agreement
        .tags()
        .iter()
        .map(|tag| tag.name())
        .collect();
    // One pass over the agreement's tags finds the request's in order and without repeats.
    let mut rest = names.iter();
    for (index, wanted) in request.tags.iter().enumerate() {
        if !rest.any(|name| *name == wanted) {
            let message = if names.contains(&wanted) {
                format!("tag `{wanted}` is repeated or out of the agreement's order")
            } else {
                format!("tag `{wanted}` is not in the agreement")
            };
            let would_pass = format!("each once and in this order: {}", one_of(&names));
            return deny(
                DenialCode::TagOutside,
                &format!("tags[{index}]"),
                message,
                would_pass,
            );
        }
    }
    Ok(())
}

fn measure(facts: &Facts<'_>, request: &RequestBody) -> Checked {
    let Some(asked) = &request.measure else {
        return Ok(());
    };
    let plan = match Plan::new(facts.agreement, asked) {
        Ok(plan) => plan,
        Err(error) => {
            return deny(
                DenialCode::QueryOutside,
                "measure.queries",
                format!("{}: {}", error.what, error.problem),
                error.would_pass,
            );
        }
    };
    // Nothing is opened that no query counts.
    if plan.owner_tags() != request.tags {
        return deny(
            DenialCode::TagOutside,
            "tags",
            "the request has other tags than its queries use",
            format!("exactly these: {}", one_of(plan.owner_tags())),
        );
    }
    Ok(())
}

fn segment(facts: &Facts<'_>, request: &RequestBody) -> Checked {
    let Some(wanted) = &request.segment else {
        return Ok(());
    };
    if facts.agreement.segment(wanted).is_none() {
        let names: Vec<_> = facts
            .agreement
            .segments()
            .iter()
            .map(|segment| segment.name())
            .collect();
        let message = format!("segment `{wanted}` is not in the agreement");
        let would_pass = if names.is_empty() {
            "no segment".to_owned()
        } else {
            format!("no segment, or {}", one_of(&names))
        };
        return deny(DenialCode::SegmentOutside, "segment", message, would_pass);
    }
    Ok(())
}

fn caps(facts: &Facts<'_>, request: &RequestBody, period: Period) -> Checked {
    let (caps, usage) = (facts.agreement.caps(), facts.usage);
    if request.set_size > caps.rows_per_flow {
        let message = format!("{} identifiers in one flow", request.set_size);
        return deny(
            DenialCode::OverRows,
            "set_size",
            message,
            format!("at most {}", caps.rows_per_flow),
        );
    }
    if usage.flows_in_period >= caps.flows_per_period {
        let message = format!("all {} flows of the period are used", caps.flows_per_period);
        return deny(
            DenialCode::OverFlows,
            "agreement.caps.flows_per_period",
            message,
            renewal(facts, period),
        );
    }
    let left = caps
        .identifiers_per_period
        .saturating_sub(usage.identifiers_in_period);
    if u64::from(request.set_size) > left {
        let message = format!(
            "{} identifiers, of which {left} are left in the period",
            request.set_size
        );
        return deny(
            DenialCode::OverIdentifiers,
            "set_size",
            message,
            at_most_or_renewal(left, facts, period),
        );
    }
    Ok(())
}

fn owner_limits(facts: &Facts<'_>, request: &RequestBody, period: Period) -> Checked {
    let (limits, usage) = (facts.owner_limits, facts.usage);
    if let Some(cap) = limits.rows_per_flow.filter(|cap| request.set_size > *cap) {
        let message = format!(
            "{} identifiers exceed the owner's own cap for one flow",
            request.set_size
        );
        return deny(
            DenialCode::OwnerLimit,
            "set_size",
            message,
            format!("at most {cap}"),
        );
    }
    if limits
        .flows_per_period
        .is_some_and(|cap| usage.flows_in_period >= cap)
    {
        let message = "the owner's own cap of flows for the period is used";
        return deny(
            DenialCode::OwnerLimit,
            "flow",
            message,
            renewal(facts, period),
        );
    }
    if let Some(cap) = limits.identifiers_per_period {
        let left = cap.saturating_sub(usage.identifiers_in_period);
        if u64::from(request.set_size) > left {
            let message = format!(
                "{} identifiers exceed what the owner's own cap leaves in the period",
                request.set_size
            );
            return deny(
                DenialCode::OwnerLimit,
                "set_size",
                message,
                at_most_or_renewal(left, facts, period),
            );
        }
    }
    Ok(())
}

fn at_most_or_renewal(left: u64, facts: &Facts<'_>, period: Period) -> String {
    match left {
        0 => renewal(facts, period),
        left => format!("at most {left} now, or {}", renewal(facts, period)),
    }
}

/// When used-up caps renew: the next period, if the agreement still holds then.
fn renewal(facts: &Facts<'_>, period: Period) -> String {
    if period.end < facts.agreement.ends() {
        format!("a request from {} on, when the caps renew", period.end)
    } else {
        "a new version of the agreement; this one ends before its caps renew".to_owned()
    }
}

fn one_of<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}
