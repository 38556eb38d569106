//! Whether a request is granted. Nothing is allowed by default.
//!
//! The broker and the owner's agent call the same function, each with its own counters; the
//! agent may add [`OwnerLimits`]. First the request is compared with its agreement (`checks.rs`);
//! then the rules are asked, house and packs ([`Rules`]), with [Cedar](https://cedarpolicy.com). Every check must pass, some
//! permit must apply and no rule may forbid; a rule that cannot be evaluated denies. The first that fails is the
//! denial, which names the rule, its source, the field and what would pass. A denial is built from the request, the
//! agreement that both sides signed, the caller's own use of its caps, the clock and what the broker assessed of the
//! parties, so it cannot reveal anything of the other side's data.

mod checks;
mod explain;
mod foresee;
mod partner;
mod question;
mod ruleset;

use serde::{Deserialize, Serialize};

use crate::agreement::{Agreement, Period};
use crate::moment::Timestamp;
use crate::request::{RequestBody, RequestError, VerifiedRequest};
use crate::text::{AgreementDigest, AgreementId, FlowId, OrgName, RequestDigest, closed_list};

pub use explain::{Explained, Explanation, explain};
pub use foresee::{Imagined, Obstacle, foresee, obstacles};
pub use partner::{
    Assessments, CERTIFICATIONS_MAX, CertificationName, Certifications, LastDay, PartnerFacts,
    Standing,
};
pub use ruleset::{
    PackSource, RULES_BYTES_MAX, Rule, Rules, RulesError, Verification, schema_text,
};

use question::Question;

/// Largest difference between `issued_at` and the clock, in seconds, either way.
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 300;

/// Where an agreement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgreementStatus {
    /// Not signed by both institutions yet.
    Proposed,
    /// Signed by both, in force.
    Active,
    /// Replaced by a higher version that both signed.
    Superseded {
        /// The version in force.
        by_version: u32,
    },
    /// Revoked by one of the parties.
    Revoked,
}

/// What the recipient has used of the caps in the period that holds `now`.
///
/// The caller counts in [`Agreement::period_at`]'s periods; a flow counts from its grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Flows granted in the period.
    pub flows_in_period: u32,
    /// Sum of their set sizes.
    pub identifiers_in_period: u64,
    /// Whether a request with this flow id was granted before, in any period.
    pub flow_id_used: bool,
    /// People whose data the owner provided abroad this calendar year (UTC), over all its agreements here: a flow counts
    /// with its whole set size.
    pub people_abroad_this_year: u64,
    /// Of these, those whose sensitive data was asked for.
    pub sensitive_abroad_this_year: u64,
}

/// Caps that the owner sets for itself, below the agreement's. `None` sets none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnerLimits {
    /// Most identifiers of one flow.
    pub rows_per_flow: Option<u32>,
    /// Most flows of a period.
    pub flows_per_period: Option<u32>,
    /// Most identifiers of a period.
    pub identifiers_per_period: Option<u64>,
}

/// Everything a decision rests on besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Where the agreement stands.
    pub status: AgreementStatus,
    /// The agreement that the request names.
    pub agreement: &'a Agreement,
    /// Who calls, by its certificate; the owner's agent passes what the broker attests.
    pub caller: &'a OrgName,
    /// What was used of the caps.
    pub usage: Usage,
    /// The owner's own caps; [`OwnerLimits::default`] at the broker.
    pub owner_limits: OwnerLimits,
    /// What the broker's officers assessed of the parties; the default at an agent.
    pub assessments: Assessments<'a>,
    /// The decider's clock.
    pub now: Timestamp,
}

closed_list!(
    /// Why a request was denied. Stable: it enters the log.
    DenialCode, "a denial code", "a code of this version",
    {
        UnknownAgreement = "unknown_agreement": "No agreement of this id is known to the caller.",
        MalformedRequest = "malformed_request": "The request does not parse, or a field is out of its bounds.",
        BadSignature = "bad_signature": "The request is not signed with the pinned key.",
        NotCountersigned = "not_countersigned": "One institution has not signed yet.",
        Revoked = "revoked": "A party revoked the agreement.",
        Superseded = "superseded": "A higher version is in force.",
        WrongParty = "wrong_party": "The caller is not the agreement's recipient.",
        WrongVersion = "wrong_version": "The request names another version.",
        WrongDigest = "wrong_digest": "The request names other content.",
        NotYetValid = "not_yet_valid": "The agreement has not begun.",
        Expired = "expired": "The agreement has ended.",
        ClockSkew = "clock_skew": "The request's time is too far from the decider's clock.",
        RequestExpired = "request_expired": "The request has lapsed.",
        Replayed = "replayed": "The flow id was used before.",
        KindNotAllowed = "kind_not_allowed": "The agreement does not allow this kind of flow.",
        PurposeMismatch = "purpose_mismatch": "The purpose is not the agreement's.",
        PurposeDenied = "purpose_denied": "The purpose is one that is denied by default.",
        IdentifierOutside = "identifier_outside": "The identifier type is not in the agreement.",
        TagOutside = "tag_outside": "A tag is not in the agreement, or out of order.",
        SegmentOutside = "segment_outside": "The segment is not in the agreement.",
        QueryOutside = "query_outside": "A query is outside the agreement's section `measure`, or does not fit its tags.",
        OverBudget = "over_budget": "Not enough epsilon or delta is left in the period.",
        OverRows = "over_rows": "More identifiers than one flow may bring.",
        OverFlows = "over_flows": "No flow is left in the period.",
        OverIdentifiers = "over_identifiers": "Not enough identifiers are left in the period.",
        Rule = "rule": "A rule of the house or of a pack forbids it; the denial names the rule.",
        NotPermitted = "not_permitted": "No rule permits it: nothing is allowed by default.",
        RuleBroken = "rule_broken": "A rule could not be evaluated, which counts as a no.",
        OwnerLimit = "owner_limit": "The owner's own cap is lower than the agreement's.",
    }
);

/// A refusal: which rule, which field, and what would pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// The rule.
    pub code: DenialCode,
    /// The field of the request (or `agreement.`...) that it concerns.
    pub field: String,
    /// What is wrong, in words.
    pub message: String,
    /// What would be granted.
    pub would_pass: String,
    /// Id of the rule that forbids; absent where the agreement itself is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Box<str>>,
    /// The article that the rule rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<str>>,
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "denied ({}): {}: {}; would pass: {}",
            self.code, self.field, self.message, self.would_pass
        )
    }
}

impl std::error::Error for Denial {}

impl Denial {
    pub(crate) fn new(
        code: DenialCode,
        field: &str,
        message: impl Into<String>,
        would_pass: impl Into<String>,
    ) -> Self {
        Self {
            code,
            field: field.to_owned(),
            message: message.into(),
            would_pass: would_pass.into(),
            rule: None,
            source: None,
        }
    }

    /// For a flow that would spend more of a privacy budget than the caller's own count leaves.
    #[must_use]
    pub fn over_budget(message: String, would_pass: String) -> Self {
        Self::new(
            DenialCode::OverBudget,
            "agreement.measure",
            message,
            would_pass,
        )
    }

    /// A rule forbids.
    fn by_rule(code: DenialCode, rule: &Rule, question: &Question) -> Self {
        let mut says = rule.says.clone();
        for (index, tag) in rule.tags(question).iter().enumerate() {
            let before = if index == 0 { ": " } else { ", " };
            says += &format!("{before}`{tag}`");
        }
        Self {
            code,
            field: rule.field.clone(),
            message: format!("{says} (rule `{}`, {})", rule.id, rule.source),
            would_pass: rule.advice.clone(),
            rule: Some(rule.id.as_str().into()),
            source: Some(rule.source.as_str().into()),
        }
    }

    /// For a request that names an agreement the caller is no party of, or that does not
    /// exist: one answer for both, so that ids cannot be probed.
    #[must_use]
    pub fn unknown_agreement(id: &AgreementId) -> Self {
        Self::new(
            DenialCode::UnknownAgreement,
            "agreement",
            format!("no agreement `{id}` of yours is known"),
            "the id of an agreement that you are the recipient of",
        )
    }
}

impl From<&RequestError> for Denial {
    fn from(error: &RequestError) -> Self {
        match error {
            RequestError::BadSignature => Self::new(
                DenialCode::BadSignature,
                "signature",
                error.to_string(),
                "a signature with the key that the agreement pins",
            ),
            RequestError::Field { field, .. } => Self::new(
                DenialCode::MalformedRequest,
                field,
                error.to_string(),
                "a value within its bounds",
            ),
            RequestError::TooLarge(_) | RequestError::Malformed(_) => Self::new(
                DenialCode::MalformedRequest,
                "request",
                error.to_string(),
                "a request of format 1 without unknown keys",
            ),
        }
    }
}

/// Permission for one flow; made only by [`decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    request: VerifiedRequest,
    agreement: AgreementDigest,
    period: Period,
    decided_at: Timestamp,
    obligations: Vec<String>,
}

impl Grant {
    /// The flow that was granted.
    #[must_use]
    pub fn flow(&self) -> FlowId {
        self.request.body().flow
    }

    /// The request as verified.
    #[must_use]
    pub fn request(&self) -> &VerifiedRequest {
        &self.request
    }

    /// The request's digest.
    #[must_use]
    pub fn request_digest(&self) -> RequestDigest {
        self.request.digest()
    }

    /// The agreement under which it was granted.
    #[must_use]
    pub fn agreement(&self) -> AgreementDigest {
        self.agreement
    }

    /// The period whose caps the flow is charged to.
    #[must_use]
    pub fn period(&self) -> Period {
        self.period
    }

    /// Identifiers charged to the period: the declared set size.
    #[must_use]
    pub fn identifiers(&self) -> u32 {
        self.request.body().set_size
    }

    /// What the permit obliges to.
    #[must_use]
    pub fn obligations(&self) -> &[String] {
        &self.obligations
    }

    /// When it was decided, by the decider's clock.
    #[must_use]
    pub fn decided_at(&self) -> Timestamp {
        self.decided_at
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a denial must be recorded as well"]
#[expect(
    clippy::large_enum_variant,
    reason = "one per flow; a box would burden every caller"
)]
pub enum Decision {
    /// The flow may begin.
    Granted(Grant),
    /// It may not, and why.
    Denied(Denial),
}

/// Decides on a verified request.
pub fn decide(rules: &Rules, facts: &Facts<'_>, request: &VerifiedRequest) -> Decision {
    let decided = checks::all(facts, request.body())
        .and_then(|period| Ok((period, ask(rules, facts, request.body())?)));
    match decided {
        Ok((period, obligations)) => Decision::Granted(Grant {
            request: request.clone(),
            agreement: facts.agreement.digest(),
            period,
            decided_at: facts.now,
            obligations,
        }),
        Err(denial) => Decision::Denied(denial),
    }
}

/// Whether a flow that was granted may go on: as [`decide`], without what is about asking alone (the request's age,
/// its flow id, the caps it was charged to).
///
/// # Errors
/// [`Denial`]: what changed since the grant.
pub fn may_continue(
    rules: &Rules,
    facts: &Facts<'_>,
    request: &VerifiedRequest,
) -> Result<(), Denial> {
    for check in checks::CHECKS.iter().filter(|check| check.lasts) {
        (check.run)(facts, request.body())?;
    }
    ask(rules, facts, request.body()).map(|_| ())
}

/// Whether the request would take data from China to a recipient abroad, and so counts to the year's sum.
#[must_use]
pub fn leaves_china(facts: &Facts<'_>) -> bool {
    question::Reach::of(facts).leaves_china
}

/// Asks the rules; the permit's obligations, or the first rule that says no.
fn ask(rules: &Rules, facts: &Facts<'_>, request: &RequestBody) -> Result<Vec<String>, Denial> {
    let question = Question::new(facts, request);
    answer(rules, &question, &facts.agreement.compliance().packs)
}

fn answer(
    rules: &Rules,
    question: &Question,
    named: &[crate::agreement::BuiltInPack],
) -> Result<Vec<String>, Denial> {
    let verdict = rules.ask(question, named).map_err(|error| {
        Denial::new(
            DenialCode::RuleBroken,
            "request",
            error.to_string(),
            "the same request at a newer version of the program",
        )
    })?;
    if let Some(rule) = verdict.broken.first() {
        let mut denial = Denial::by_rule(DenialCode::RuleBroken, rule, question);
        denial.message = format!(
            "the rule `{}` ({}) could not be evaluated, which counts as a no",
            rule.id, rule.source
        );
        "the same request once whoever wrote the rule has mended it"
            .clone_into(&mut denial.would_pass);
        return Err(denial);
    }
    if let Some(rule) = verdict.forbids().next() {
        let code = if rule.id == "credit-decision" {
            DenialCode::PurposeDenied
        } else {
            DenialCode::Rule
        };
        return Err(Denial::by_rule(code, rule, question));
    }
    match verdict.permit() {
        Some(permit) => Ok(permit.obligations.clone()),
        None => Err(Denial::new(
            DenialCode::NotPermitted,
            "kind",
            format!("no rule permits {} here", question.action),
            "an exchange under an agreement that both institutions signed",
        )),
    }
}

#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod tests;
