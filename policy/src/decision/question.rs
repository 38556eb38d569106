//! What a rule is asked: everything that the schema knows, from the facts and the request.

use std::collections::BTreeSet;

use cedar_policy::{Context, Entities, EntityUid, Request, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Facts, PartnerFacts};
use crate::agreement::{Agreement, FlowKind, Region};
use crate::moment::Timestamp;
use crate::request::RequestBody;
use crate::tag::{Form, Tag};

/// The European Economic Area, where the GDPR is law: the 27 members of the Union, Iceland, Liechtenstein, Norway.
const EUROPE: [&str; 30] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS",
    "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
];

/// The lowest level of a person's financial status after JR/T 0197-2020: below it stand age, region and occupation.
const FINANCIAL_STATUS_LEVEL: u8 = 3;

/// A request with all facts, in the schema's words. Plain data, so that a corpus can write it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    pub(super) action: String,
    pub(super) recipient: Party,
    pub(super) owner: Party,
    pub(super) tags: Vec<TagFacts>,
    pub(super) context: Asked,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Party {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) facts: PartyFacts,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartyFacts {
    pub(super) assessed: bool,
    pub(super) standing: u8,
    pub(super) certified: BTreeSet<String>,
    pub(super) lapsed: BTreeSet<String>,
    pub(super) region_differs: bool,
}

/// What a rule may know of a tag that was asked for, or by which the segment chooses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TagFacts {
    pub(super) name: String,
    /// `None` is a tag that nobody has classified.
    pub(super) class: Option<String>,
    /// The security level after JR/T 0197-2020; `None` is a tag that nobody has classified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<u8>,
    /// Delivered as the owner holds it.
    pub(super) exact: bool,
    /// A number or a date, without a closed list of values.
    pub(super) open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) now: i64,
    pub(super) purpose: String,
    pub(super) legal_basis: String,
    pub(super) identifier: String,
    pub(super) protocol: String,
    pub(super) segment: bool,
    pub(super) set_size: u64,
    pub(super) k: u32,
    pub(super) minimum_match: u32,
    pub(super) audit_years: u32,
    pub(super) deletion_days: u32,
    pub(super) flows_used: u64,
    pub(super) identifiers_used: i64,
    pub(super) compliance: Declared,
    pub(super) in_china: bool,
    pub(super) in_europe: bool,
    pub(super) leaves_china: bool,
    pub(super) people_abroad: i64,
    pub(super) sensitive_abroad: i64,
    pub(super) assessed_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    pub(super) contract: bool,
    pub(super) processor_contract: bool,
    pub(super) separate_consent: bool,
    /// Each row carries a proof, which the owner's agent and the broker check.
    pub(super) row_proofs: bool,
    pub(super) told: BTreeSet<String>,
    pub(super) withdrawal: bool,
    pub(super) refusal_option: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) impact_assessment: Option<MadeAt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) breach_notice_hours: Option<u32>,
    pub(super) transfer_basis: String,
    pub(super) critical_infrastructure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MadeAt {
    pub(super) made_at: i64,
}

/// Tags that a rule is about and can name where it denies: the sets of the schema's `Dataset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagSet {
    /// Those without a class.
    Unclassified,
    /// Those of class C2 that tell of somebody's financial status.
    C2Status,
    /// Those of class C2 that are delivered as the owner holds them.
    C2Exact,
    /// Numbers and dates that are delivered as the owner holds them.
    OpenExact,
}

impl TagSet {
    const ALL: [Self; 4] = [
        Self::Unclassified,
        Self::C2Status,
        Self::C2Exact,
        Self::OpenExact,
    ];

    /// The set of an attribute's name.
    pub(super) fn named(attribute: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|set| set.attribute() == attribute)
    }

    fn attribute(self) -> &'static str {
        match self {
            Self::Unclassified => "unclassified",
            Self::C2Status => "c2_status",
            Self::C2Exact => "c2_exact",
            Self::OpenExact => "open_exact",
        }
    }

    fn holds(self, tag: &TagFacts) -> bool {
        let is_c2 = tag.class.as_deref() == Some("C2");
        match self {
            Self::Unclassified => tag.class.is_none(),
            Self::C2Status => {
                is_c2
                    && tag
                        .level
                        .is_none_or(|level| level >= FINANCIAL_STATUS_LEVEL)
            }
            Self::C2Exact => is_c2 && tag.exact,
            Self::OpenExact => tag.exact && tag.open,
        }
    }
}

impl Question {
    /// The names of the tags in a set, in the order of the request.
    pub(super) fn tags_in(&self, set: TagSet) -> impl Iterator<Item = &str> {
        let tags = self.tags.iter().filter(move |tag| set.holds(tag));
        tags.map(|tag| tag.name.as_str())
    }

    pub(super) fn new(facts: &Facts<'_>, request: &RequestBody) -> Self {
        let agreement = facts.agreement;
        let declared = agreement.compliance();
        let asked_for = request.tags.iter().filter_map(|name| agreement.tag(name));
        let told = agreement.told_by(request.segment.as_ref());
        let told = told.filter(|tag| !request.tags.contains(tag.name()));
        let tags: Vec<TagFacts> = asked_for
            .map(|tag| TagFacts::of(tag, request.kind))
            .chain(told.map(TagFacts::told))
            .collect();
        Self {
            action: request.kind.to_string(),
            recipient: Party {
                name: agreement.recipient().name.to_string(),
                facts: party(
                    facts.assessments.recipient,
                    declared.recipient_region,
                    facts.now,
                ),
            },
            owner: Party {
                name: agreement.owner().name.to_string(),
                facts: party(facts.assessments.owner, declared.owner_region, facts.now),
            },
            context: asked(facts, request, &tags),
            tags,
        }
    }

    /// For Cedar. Everything is checked against the schema once more.
    pub(super) fn for_cedar(&self, schema: &Schema) -> Result<(Request, Entities), Unaskable> {
        let unaskable = |error: &dyn std::fmt::Display| Unaskable(error.to_string());
        let uid = |kind: &str, id: &str| {
            EntityUid::from_json(json!({ "type": kind, "id": id })).map_err(|e| unaskable(&e))
        };
        let action = uid("Action", &self.action)?;
        let context = serde_json::to_value(&self.context).map_err(|e| unaskable(&e))?;
        let context = Context::from_json_value(context, Some((schema, &action)))
            .map_err(|e| unaskable(&e))?;
        let entities =
            Entities::from_json_value(self.entities(), Some(schema)).map_err(|e| unaskable(&e))?;
        let request = Request::new(
            uid("Institution", &self.recipient.name)?,
            action,
            uid("Dataset", "asked")?,
            context,
            Some(schema),
        )
        .map_err(|e| unaskable(&e))?;
        Ok((request, entities))
    }

    fn entities(&self) -> Value {
        let institution = |party: &Party| {
            json!({
                "uid": { "type": "Institution", "id": party.name },
                "attrs": party.facts,
                "parents": [],
            })
        };
        let classes: BTreeSet<_> = self
            .tags
            .iter()
            .filter_map(|tag| tag.class.as_deref())
            .collect();
        let mut dataset = serde_json::Map::new();
        let mut set = |attribute: &str, value| dataset.insert(attribute.to_owned(), value);
        set(
            "owner",
            json!({ "type": "Institution", "id": self.owner.name }),
        );
        let all: BTreeSet<_> = self.tags.iter().map(|tag| tag.name.as_str()).collect();
        set("tags", json!(all));
        set("classes", json!(classes));
        for of in TagSet::ALL {
            let names: BTreeSet<_> = self.tags_in(of).collect();
            set(of.attribute(), json!(names));
        }
        json!([
            institution(&self.recipient),
            institution(&self.owner),
            {
                "uid": { "type": "Dataset", "id": "asked" },
                "attrs": dataset,
                "parents": [],
            },
        ])
    }
}

/// A question that does not fit the schema: a fault of this crate, and no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the question does not fit the schema of rules: {0}")]
pub(super) struct Unaskable(String);

impl TagFacts {
    /// A tag by which the segment chooses, and which is not delivered: that a person belongs tells something of it, and not
    /// its value.
    fn told(tag: &Tag) -> Self {
        Self {
            exact: false,
            open: false,
            ..Self::of(tag, FlowKind::Exchange)
        }
    }

    /// Exact is what is delivered as it is: of a measure flow nothing is, whatever form the owner seals.
    fn of(tag: &Tag, kind: FlowKind) -> Self {
        Self {
            name: tag.name().to_string(),
            class: Some(tag.class().to_string()),
            level: Some(tag.security_level().number()),
            exact: tag.form() == Form::Exact && kind == FlowKind::Exchange,
            open: !tag.kind().is_closed(),
        }
    }
}

fn party(known: Option<&PartnerFacts>, declared: Option<Region>, now: Timestamp) -> PartyFacts {
    let names = |holding| {
        let known = known.into_iter();
        known
            .flat_map(|facts| facts.certifications.names(holding, now))
            .collect()
    };
    let region = known.and_then(|facts| facts.region);
    PartyFacts {
        assessed: known.is_some(),
        standing: known.map_or(100, |facts| facts.standing.score()),
        certified: names(true),
        lapsed: names(false),
        region_differs: region.is_some_and(|region| declared.is_some_and(|said| said != region)),
    }
}

fn asked(facts: &Facts<'_>, request: &RequestBody, tags: &[TagFacts]) -> Asked {
    let agreement = facts.agreement;
    let reach = Reach::of(facts);
    let sensitive = tags.iter().any(|tag| tag.class.as_deref() != Some("C1"));
    let (people, sensitive_people) = abroad(facts, request, sensitive);
    let declared = agreement.compliance();
    Asked {
        now: facts.now.unix_seconds(),
        purpose: request.purpose.to_string(),
        legal_basis: agreement.legal_basis().to_string(),
        identifier: request.identifier.to_string(),
        // What will run, which is what the log will name.
        protocol: agreement
            .protocol()
            .for_request(request.set_size)
            .to_string(),
        segment: request.segment.is_some(),
        set_size: request.set_size.into(),
        k: agreement.k(),
        minimum_match: agreement.minimum_match(),
        audit_years: agreement.retention().audit_years,
        deletion_days: agreement.retention().deletion_days,
        flows_used: facts.usage.flows_in_period.into(),
        identifiers_used: long(facts.usage.identifiers_in_period),
        compliance: Declared {
            contract: declared.contract.is_some(),
            processor_contract: declared.processor_contract.is_some(),
            separate_consent: declared.separate_consent,
            row_proofs: agreement.consent().is_some(),
            told: declared.told.iter().map(ToString::to_string).collect(),
            withdrawal: declared.withdrawal,
            refusal_option: declared.refusal_option,
            impact_assessment: declared.impact_assessment.as_ref().map(|made| MadeAt {
                made_at: Timestamp::start_of(made.date).unix_seconds(),
            }),
            breach_notice_hours: declared.breach_notice_hours,
            transfer_basis: declared.cross_border.basis.to_string(),
            critical_infrastructure: declared.cross_border.critical_infrastructure,
        },
        in_china: reach.china,
        in_europe: reach.europe,
        leaves_china: reach.leaves_china,
        people_abroad: people,
        sensitive_abroad: sensitive_people,
        assessed_only: facts.assessments.required,
    }
}

/// People whose data went abroad this year, and sensitive data, with all of this request's identifiers.
fn abroad(facts: &Facts<'_>, request: &RequestBody, sensitive: bool) -> (i64, i64) {
    let declared = facts.agreement.compliance().cross_border;
    let sum = |elsewhere: u64, here: u64, now: u64| {
        long(elsewhere.saturating_add(here).saturating_add(now))
    };
    let size = u64::from(request.set_size);
    let usage = facts.usage;
    (
        sum(
            declared.people_elsewhere,
            usage.people_abroad_this_year,
            size,
        ),
        sum(
            declared.sensitive_elsewhere,
            usage.sensitive_abroad_this_year,
            if sensitive { size } else { 0 },
        ),
    )
}

/// A count as Cedar holds it: more than anybody counts is held at the largest.
fn long(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Which law reaches the parties, by where they handle data.
pub(super) struct Reach {
    china: bool,
    europe: bool,
    /// From an owner in China to a recipient that is not; Hong Kong, Macao and Taiwan count as abroad (PIPL Art. 38).
    pub(super) leaves_china: bool,
}

impl Reach {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let agreement: &Agreement = facts.agreement;
        let declared = agreement.compliance();
        let known = |found: Option<&PartnerFacts>, said: Option<Region>| {
            let region = found.and_then(|facts| facts.region).or(said);
            region.map(|region| region.to_string())
        };
        let owner = known(facts.assessments.owner, declared.owner_region);
        let recipient = known(facts.assessments.recipient, declared.recipient_region);
        // Where a party is unknown, every law may reach it.
        let within = |region: &Option<String>, of: &[&str]| {
            region.as_deref().is_none_or(|region| of.contains(&region))
        };
        Self {
            china: within(&owner, &["CN"]) || within(&recipient, &["CN"]),
            europe: within(&owner, &EUROPE) || within(&recipient, &EUROPE),
            leaves_china: within(&owner, &["CN"]) && recipient.as_deref() != Some("CN"),
        }
    }
}
