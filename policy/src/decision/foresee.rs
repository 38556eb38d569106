//! What the rules would say to a request that nobody has made yet.

use serde::Serialize;

use super::{AgreementStatus, Assessments, Explanation, Facts, OwnerLimits, Rules, Usage, explain};
use crate::agreement::{Agreement, FlowKind, IdentifierType};
use crate::measure::{Asked, Plan};
use crate::moment::Timestamp;
use crate::purpose::Purpose;
use crate::request::{DeliveryKey, RequestBody};
use crate::text::{FlowId, SegmentName, SuiteId, TagName, UserId};

/// A request as somebody thinks of it. What is left out is the agreement's: all its tags, its purpose, the first type of
/// identifier.
#[derive(Clone, Debug)]
pub struct Imagined {
    /// The kind of flow.
    pub kind: FlowKind,
    /// The tags; all of the kind if there is none. Of a flow with queries, those that they use.
    pub tags: Vec<TagName>,
    /// What a measure flow asks; without it, the rules alone are asked about its tags.
    pub measure: Option<Asked>,
    /// The segment.
    pub segment: Option<SegmentName>,
    /// What is matched by.
    pub identifier: Option<IdentifierType>,
    /// The purpose.
    pub purpose: Option<Purpose>,
    /// How many identifiers the recipient brings.
    pub set_size: u32,
}

impl Imagined {
    /// Everything that an agreement gives in flows of a kind, for one identifier.
    #[must_use]
    pub fn all(kind: FlowKind) -> Self {
        Self {
            kind,
            tags: Vec::new(),
            measure: None,
            segment: None,
            identifier: None,
            purpose: None,
            set_size: 1,
        }
    }
}

/// Explains the decision on a request that the agreement's recipient could make.
///
/// The caps count as unused, and of the parties nothing is known beside the agreement: whoever knows more may deny what
/// passes here.
#[must_use]
pub fn foresee(
    rules: &Rules,
    agreement: &Agreement,
    status: AgreementStatus,
    now: Timestamp,
    imagined: &Imagined,
) -> Explanation {
    let facts = Facts {
        status,
        agreement,
        caller: &agreement.recipient().name,
        usage: Usage::default(),
        owner_limits: OwnerLimits::default(),
        assessments: Assessments::default(),
        now,
    };
    explain(rules, &facts, &body(agreement, now, imagined))
}

#[expect(clippy::expect_used, reason = "constant texts, read by each test")]
fn body(agreement: &Agreement, now: Timestamp, imagined: &Imagined) -> RequestBody {
    let user: UserId = "nobody".parse().expect("a user id");
    let suite: SuiteId = "none".parse().expect("a suite id");
    let first = agreement.identifiers().first();
    RequestBody {
        format: 1,
        flow: FlowId::from_bytes([0; 16]),
        recipient: agreement.recipient().name.clone(),
        agreement: agreement.id().clone(),
        agreement_version: agreement.version(),
        agreement_digest: agreement.digest(),
        kind: imagined.kind,
        purpose: imagined.purpose.unwrap_or(agreement.purpose()),
        segment: imagined.segment.clone(),
        identifier: imagined
            .identifier
            .or(first.map(|rule| rule.identifier()))
            .unwrap_or(IdentifierType::Phone),
        tags: tags(agreement, imagined),
        measure: imagined.measure.clone(),
        set_size: imagined.set_size,
        delivery_suite: suite,
        delivery_key: DeliveryKey::from_bytes(vec![0]).expect("a byte"),
        issued_at: now,
        expires_at: now.saturating_add_seconds(60),
        user,
    }
}

fn tags(agreement: &Agreement, imagined: &Imagined) -> Vec<TagName> {
    if let Some(asked) = &imagined.measure {
        // What is wrong with the queries, the comparison with the agreement says.
        return Plan::new(agreement, asked)
            .map(|plan| plan.owner_tags().to_vec())
            .unwrap_or_default();
    }
    if !imagined.tags.is_empty() {
        return imagined.tags.clone();
    }
    let measured = agreement.measure().map(|terms| terms.tags());
    let all = agreement.tags().iter().map(|tag| tag.name());
    match (imagined.kind, measured) {
        (FlowKind::Measure, Some(measured)) => measured.to_vec(),
        _ => all.cloned().collect(),
    }
}

/// A rule for which a request for all tags would be denied, whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// Line in the agreement's text, from 1; absent if it came in canonical form.
    pub line: Option<u32>,
    /// The field that the rule is mostly about.
    pub path: String,
    /// The kind of flow.
    pub kind: FlowKind,
    /// The rule's id.
    pub rule: String,
    /// The article that it rests on.
    pub source: String,
    /// What it says.
    pub says: String,
    /// The tags for which it denies, where it is about some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What would pass.
    pub would_pass: String,
}

/// The rules that stand against an agreement as it is written, for each kind of flow that it allows. Once it is signed they
/// would deny every request for all its tags; fewer tags may pass.
#[must_use]
pub fn obstacles(rules: &Rules, agreement: &Agreement, now: Timestamp) -> Vec<Obstacle> {
    // An agreement that begins later is judged as on its first day.
    let now = now.max(agreement.begins());
    let of_kind = |kind: &FlowKind| {
        let imagined = Imagined::all(*kind);
        let explained = foresee(rules, agreement, AgreementStatus::Active, now, &imagined);
        let rules = explained.rules.into_iter();
        let denying = rules.filter(|rule| !rule.satisfied && !rule.is_comparison());
        let kind = *kind;
        denying.map(move |explained| {
            let rule = explained.rule;
            let path = place(agreement, &rule.field, explained.tags.first());
            Obstacle {
                line: agreement.line_of(&path),
                path,
                tags: explained.tags,
                kind,
                rule: rule.id,
                source: rule.source,
                says: rule.says,
                would_pass: rule.advice,
            }
        })
    };
    let mut all: Vec<_> = agreement.flows().iter().flat_map(of_kind).collect();
    all.sort_by_key(|obstacle| obstacle.line);
    all
}

/// Where the agreement has what a rule is about: the first of its tags, if it names some.
fn place(agreement: &Agreement, field: &str, tag: Option<&String>) -> String {
    let mut tags = agreement.tags().iter();
    let index = tag.and_then(|tag| tags.position(|known| known.name().as_str() == tag));
    match index {
        Some(index) => format!("tags[{index}]"),
        None => field.strip_prefix("agreement.").unwrap_or(field).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::tests::{changed, sample, sample_text};

    fn day(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn found(agreement: &Agreement) -> Vec<(String, Option<u32>)> {
        let all = obstacles(Rules::built_in(), agreement, day("2026-05-01T00:00:00Z"));
        all.into_iter().map(|one| (one.rule, one.line)).collect()
    }

    fn line_of(text: &str) -> Option<u32> {
        let line = sample_text()
            .lines()
            .position(|line| line.starts_with(text));
        Some(u32::try_from(line.unwrap()).unwrap() + 1)
    }

    #[test]
    fn an_agreement_that_would_be_denied_is_told_so_by_line_before_it_is_signed() {
        assert_eq!(found(&sample()), []);
        let refusal = changed("refusal_option = true", "refusal_option = false").unwrap();
        assert_eq!(
            found(&refusal),
            [("pipl-24".to_owned(), line_of("refusal_option"))]
        );
        // What is not there is missed where it would stand.
        let silent = changed("breach_notice_hours = 24", "").unwrap();
        assert_eq!(
            found(&silent),
            [("pipl-57".to_owned(), line_of("[compliance]"))]
        );
        let amount = "name = \"credit_amount\"\nform = ";
        let exact = changed(
            &format!("{amount}\"banded\""),
            &format!("{amount}\"exact\""),
        );
        let rules = ["pipl-6", "jrt0171-c2-coarse"];
        // Its table begins one line before its name.
        let line = line_of("name = \"credit_amount\"").map(|line| line - 1);
        let expected = rules.map(|rule| (rule.to_owned(), line));
        assert_eq!(found(&exact.unwrap()), expected);
    }

    #[test]
    fn one_that_begins_later_is_judged_as_on_its_first_day() {
        // The assessment was made on that day, and would be too late today.
        let early = day("2025-06-01T00:00:00Z");
        assert!(obstacles(Rules::built_in(), &sample(), early).is_empty());
        let today = foresee(
            Rules::built_in(),
            &sample(),
            AgreementStatus::Active,
            early,
            &Imagined::all(FlowKind::Exchange),
        );
        assert!(!today.granted);
    }

    #[test]
    fn what_is_imagined_is_what_is_explained() {
        let denied = |change: &dyn Fn(&mut Imagined)| {
            let mut imagined = Imagined::all(FlowKind::Exchange);
            change(&mut imagined);
            let now = day("2026-05-01T00:00:00Z");
            let status = AgreementStatus::Active;
            let explained = foresee(Rules::built_in(), &sample(), status, now, &imagined);
            explained.denial.map(|denial| denial.field)
        };
        assert_eq!(denied(&|_| ()), None);
        let field = |text: &str| Some(text.to_owned());
        assert_eq!(denied(&|i| i.set_size = 100_001), field("set_size"));
        assert_eq!(
            denied(&|i| i.purpose = Some(Purpose::RiskAssessment)),
            field("purpose")
        );
        assert_eq!(
            denied(&|i| i.segment = Some("nobody".parse().unwrap())),
            field("segment")
        );
        assert_eq!(
            denied(&|i| i.tags = vec!["income".parse().unwrap()]),
            field("tags[0]")
        );
        assert_eq!(denied(&|i| i.kind = FlowKind::Measure), field("kind"));
    }
}
