//! The rules: a corpus of decisions, properties that hold for all of them, and files that must not load.

mod mutants;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::question::{Question, TagFacts};
use super::*;
use crate::agreement::BuiltInPack;
use crate::agreement::tests::{changed, sample};
use crate::request::tests::{body, verified};

const BASE: &str = include_str!("../../corpus/base.json");
const CORPUS: &str = include_str!("../../corpus/decisions.jsonl");

/// What is set differs from the base; a path that is set to null is left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    rule: String,
    expect: String,
    set: BTreeMap<String, Value>,
}

fn base() -> Question {
    serde_json::from_str(BASE).unwrap()
}

fn corpus() -> Vec<Case> {
    let lines = CORPUS.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

impl Case {
    fn question(&self) -> Question {
        let mut question: Value = serde_json::from_str(BASE).unwrap();
        for (path, value) in &self.set {
            let mut steps: Vec<&str> = path.split('.').collect();
            let last = steps.pop().unwrap();
            let place = steps.iter().fold(&mut question, |at, step| &mut at[*step]);
            let fields = place.as_object_mut().unwrap();
            assert!(fields.contains_key(last), "{path} is not in the base");
            match value {
                Value::Null => fields.remove(last),
                value => fields.insert(last.to_owned(), value.clone()),
            };
        }
        serde_json::from_value(question).unwrap()
    }
}

#[test]
fn the_corpus_is_decided_as_written() {
    let rules = Rules::built_in();
    let cases = corpus();
    assert!(cases.len() >= 120, "{} cases", cases.len());
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for case in &cases {
        let question = case.question();
        let verdict = rules.ask(&question, &[]).unwrap();
        assert!(verdict.broken.is_empty(), "{}", case.case);
        let denied = answer(rules, &question, &[]).is_err();
        let rule = rules
            .in_force(&[])
            .find(|rule| rule.id == case.rule)
            .unwrap();
        let applies = verdict.applying.contains(&rule);
        assert!(
            seen.insert(format!("{} {}", case.rule, case.case)),
            "{}",
            case.case
        );
        match case.expect.as_str() {
            "deny" => assert!(
                denied && applies != rule.permits,
                "{}: {verdict:?}",
                case.case
            ),
            "allow" => assert!(
                !denied && applies == rule.permits,
                "{}: {verdict:?}",
                case.case
            ),
            // The rule lets it pass, and another one does not.
            "passes" => assert!(
                denied && applies == rule.permits,
                "{}: {verdict:?}",
                case.case
            ),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn every_rule_has_a_decision_of_either_kind() {
    let cases = corpus();
    for rule in Rules::built_in().in_force(&[]) {
        for expect in ["allow", "deny"] {
            let of_rule = |case: &&Case| case.rule == rule.id && case.expect == expect;
            assert!(
                cases.iter().any(|case| of_rule(&case)),
                "{} has no {expect}",
                rule.id
            );
        }
    }
}

/// The house rules with each of the 16 choices of packs.
fn all_choices() -> &'static [(BTreeSet<BuiltInPack>, Rules)] {
    static CHOICES: std::sync::LazyLock<Vec<(BTreeSet<BuiltInPack>, Rules)>> =
        std::sync::LazyLock::new(|| {
            let choice = |bits: usize| {
                let packs = BuiltInPack::ALL.iter().enumerate();
                let packs: Vec<_> = packs
                    .filter(|(index, _)| bits & (1 << index) != 0)
                    .map(|(_, pack)| *pack)
                    .collect();
                let rules = Rules::load(&packs, &[]).unwrap();
                (packs.into_iter().collect(), rules)
            };
            (0..16).map(choice).collect()
        });
    &CHOICES
}

fn any_tag() -> impl Strategy<Value = TagFacts> {
    let class = prop_oneof![
        Just(Some("C1")),
        Just(Some("C2")),
        Just(Some("C3")),
        Just(None)
    ];
    let level = prop::option::of(1..=5_u8);
    ("[a-z]{1,8}", class, level, any::<bool>(), any::<bool>()).prop_map(
        |(name, class, level, exact, open)| TagFacts {
            name,
            class: class.map(str::to_owned),
            level,
            exact,
            open,
        },
    )
}

fn any_party(name: &'static str) -> impl Strategy<Value = question::Party> {
    let names = || prop::collection::btree_set("mlps-3|iso-27001", 0..2);
    (
        any::<bool>(),
        prop_oneof![Just(100_u8), 70..=100_u8],
        names(),
        prop::bool::weighted(0.1),
    )
        .prop_map(
            move |(assessed, standing, certified, region_differs)| question::Party {
                name: name.to_owned(),
                facts: question::PartyFacts {
                    assessed,
                    standing,
                    certified,
                    lapsed: BTreeSet::new(),
                    region_differs,
                },
            },
        )
}

prop_compose! {
    /// Questions near those that are granted, so that either answer is frequent.
    fn any_question()(
        recipient in any_party("east-life"),
        owner in any_party("north-bank"),
        tags in prop::collection::vec(any_tag(), 1..5),
        flags in prop::array::uniform10(prop::bool::weighted(0.85)),
        scope in prop::array::uniform3(any::<bool>()),
        purpose in prop::sample::select(crate::agreement::Purpose::ALL),
        basis in prop::sample::select(crate::agreement::LegalBasis::ALL),
        transfer in prop::sample::select(crate::agreement::TransferBasis::ALL),
        abroad in (0..2_000_000_i64, 0..20_000_i64),
    ) -> Question {
        let mut question = base();
        let context = &mut question.context;
        context.purpose = purpose.to_string();
        context.legal_basis = basis.to_string();
        [context.in_china, context.in_europe, context.leaves_china] = scope;
        (context.people_abroad, context.sensitive_abroad) = abroad;
        let declared = &mut context.compliance;
        let [contract, processor, consent, withdrawal, refusal, assessed, notice, told, ordinary, any] = flags;
        (declared.contract, declared.processor_contract) = (contract, processor);
        (declared.separate_consent, declared.withdrawal) = (consent, withdrawal);
        declared.refusal_option = refusal;
        if !assessed { declared.impact_assessment = None; }
        if !notice { declared.breach_notice_hours = None; }
        if !told { declared.told.remove("name"); }
        declared.transfer_basis = transfer.to_string();
        declared.critical_infrastructure = !ordinary;
        context.assessed_only = !any;
        Question { recipient, owner, tags, ..question }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_choice_of_packs_releases_c3_or_the_unclassified(
        question in any_question(),
        forbidden in prop_oneof![Just(Some("C3".to_owned())), Just(None)],
        named in prop::sample::subsequence(BuiltInPack::ALL, 0..=4),
    ) {
        let mut question = question;
        question.tags.push(TagFacts { name: "x".into(), class: forbidden, level: None, exact: false, open: false });
        for (_, rules) in all_choices() {
            prop_assert!(answer(rules, &question, &named).is_err());
        }
    }

    #[test]
    fn adding_a_pack_never_grants_what_was_denied(question in any_question()) {
        for (fewer, denying) in all_choices() {
            if answer(denying, &question, &[]).is_ok() {
                continue;
            }
            for (more, rules) in all_choices().iter().filter(|(more, _)| more.is_superset(fewer)) {
                prop_assert!(answer(rules, &question, &[]).is_err(), "{fewer:?} {more:?}");
            }
            // An agreement that names packs adds them in the same way.
            prop_assert!(answer(denying, &question, BuiltInPack::ALL).is_err());
        }
    }
}

#[test]
fn the_properties_are_about_grants_too() {
    let granted = all_choices()
        .iter()
        .filter(|(_, rules)| answer(rules, &base(), &[]).is_ok());
    assert_eq!(granted.count(), 16);
}

fn own(text: &str) -> Result<Rules, RulesError> {
    let source = PackSource {
        name: "own".into(),
        file: "packs/own.cedar".into(),
        text: text.into(),
    };
    Rules::load(&[], &[source])
}

const NOTES: &str = "@source(\"house\")\n@says(\"s\")\n@advice(\"a\")\n@status(\"verified\")\n";

#[test]
fn a_rule_that_errs_denies_though_cedar_skips_it() {
    // Cedar's integers do not wrap: an overflow is an error, which the validator cannot see.
    let text = format!(
        "@id(\"overflows\")\n{NOTES}forbid (principal, action, resource) when {{ context.set_size * 9223372036854775807 < 0 }};"
    );
    let rules = own(&text).unwrap();
    let denial = answer(&rules, &base(), &[]).unwrap_err();
    assert_eq!(
        (denial.code, denial.rule.as_deref()),
        (DenialCode::RuleBroken, Some("overflows"))
    );
    let mut small = base();
    small.context.set_size = 1;
    assert!(answer(&rules, &small, &[]).is_ok());
}

#[test]
fn files_that_must_not_load_say_where_and_why() {
    let forbid = "forbid (principal, action, resource)";
    let cases = [
        (
            format!("@id(\"a\")\n{NOTES}permit (principal, action, resource);"),
            1,
            "a pack holds a permit",
            "forbids only",
        ),
        (
            format!("// x\n\n@id(\"a\")\n{NOTES}{forbid} when {{ context.sise > 1 }};"),
            8,
            "sise",
            "schema",
        ),
        (
            format!("@id(\"a\")\n{NOTES}{forbid} when {{ context.set_size > \"1\" }};"),
            6,
            "unexpected type",
            "schema",
        ),
        (
            format!("@id(\"a\")\n{NOTES}{forbid} when {{ context. }};"),
            6,
            "unexpected token",
            "Cedar",
        ),
        (
            format!("\n{NOTES}{forbid};"),
            2,
            "`@id` is missing",
            "@source",
        ),
        (
            format!("@id(\"a\")\n{forbid};"),
            1,
            "`@status` is missing",
            "@advice",
        ),
        (
            format!("@id(\"A b\")\n{NOTES}{forbid};"),
            1,
            "`A b` is not a rule id",
            "a-z",
        ),
        (
            format!("@id(\"pipl-24\")\n{NOTES}{forbid};"),
            1,
            "`pipl-24` is used twice",
            "over all packs",
        ),
        (
            format!("@id(\"a\")\n{}{forbid};", NOTES.replace("verified", "sure")),
            1,
            "`sure` is not a status",
            "unverified",
        ),
        (
            format!("@id(\"a\")\n@names(\"all\")\n{NOTES}{forbid};"),
            1,
            "`all` is no set of tags",
            "c2_exact",
        ),
    ];
    for (text, line, problem, advice) in cases {
        let error = own(&text).unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.starts_with(&format!("packs/own.cedar:{line}: ")),
            "{shown}\n{text}"
        );
        assert!(shown.contains(problem) && shown.contains(advice), "{shown}");
    }
    assert!(
        own(&"/".repeat(RULES_BYTES_MAX + 1))
            .unwrap_err()
            .to_string()
            .contains("262144")
    );
}

#[test]
fn a_pack_of_ones_own_replaces_a_built_in_one_by_its_name() {
    let replacing = PackSource {
        name: "gdpr".into(),
        file: "packs/gdpr.cedar".into(),
        text: format!(
            "@id(\"gdpr-ours\")\n{NOTES}forbid (principal, action, resource) when {{ context.k < 5 }};"
        ),
    };
    let rules = Rules::load(BuiltInPack::ALL, &[replacing]).unwrap();
    assert!(rules.in_force(&[]).any(|rule| rule.id == "gdpr-ours"));
    assert!(rules.in_force(&[]).all(|rule| rule.id != "gdpr-28"));
}

struct Parties<'a> {
    owner: Option<&'a PartnerFacts>,
    recipient: Option<&'a PartnerFacts>,
}

fn decide_with(agreement: &Agreement, parties: &Parties<'_>, rules: &Rules) -> Decision {
    let mut body = body();
    body.agreement_digest = agreement.digest();
    let caller = "east-life".parse().unwrap();
    let facts = Facts {
        status: AgreementStatus::Active,
        agreement,
        caller: &caller,
        usage: Usage::default(),
        owner_limits: OwnerLimits::default(),
        assessments: Assessments {
            owner: parties.owner,
            recipient: parties.recipient,
            required: false,
        },
        now: "2026-05-01T12:00:10Z".parse().unwrap(),
    };
    let request = verified(body);
    let decided = decide(rules, &facts, &request);
    let explained = explain(rules, &facts, request.body());
    assert_eq!(explained.granted, matches!(decided, Decision::Granted(_)));
    assert_eq!(
        explained.granted,
        may_continue(rules, &facts, &request).is_ok()
    );
    assert_eq!(
        explained.granted,
        explained.rules.iter().all(|rule| rule.satisfied)
    );
    decided
}

const NOBODY: Parties<'static> = Parties {
    owner: None,
    recipient: None,
};

#[test]
fn a_denial_names_rule_source_and_what_would_pass() {
    let agreement = changed("refusal_option = true", "refusal_option = false").unwrap();
    let Decision::Denied(denial) = decide_with(&agreement, &NOBODY, Rules::built_in()) else {
        panic!("granted");
    };
    assert_eq!(denial.code, DenialCode::Rule);
    assert_eq!(denial.rule.as_deref(), Some("pipl-24"));
    assert_eq!(denial.source.as_deref(), Some("PIPL Art. 24"));
    assert_eq!(denial.field, "agreement.compliance.refusal_option");
    assert!(
        denial.would_pass.contains("refusal_option = true"),
        "{denial}"
    );
    assert!(
        denial.message.contains("pipl-24") && denial.message.contains("PIPL Art. 24"),
        "{denial}"
    );
}

#[test]
fn a_denial_names_the_tags_that_the_rule_is_about() {
    let mut question = base();
    let tag = |name: &str, exact| TagFacts {
        name: name.into(),
        class: Some("C2".into()),
        level: Some(3),
        exact,
        open: true,
    };
    question.tags = vec![tag("income", true), tag("assets", false), tag("debt", true)];
    let denial = answer(Rules::built_in(), &question, &[]).unwrap_err();
    assert_eq!(denial.rule.as_deref(), Some("pipl-6"));
    assert!(
        denial.message.contains(": `income`, `debt` (rule"),
        "{denial}"
    );
    // However many there are, a denial fits an entry.
    question.tags = (0..64).map(|i| tag(&format!("tag_{i}"), true)).collect();
    let denial = answer(Rules::built_in(), &question, &[]).unwrap_err();
    assert!(denial.message.contains("`tag_7`") && !denial.message.contains("`tag_8`"));
}

#[test]
fn an_agreement_may_name_more_packs_than_are_in_force() {
    let none = Rules::load(&[], &[]).unwrap();
    let text = [("refusal_option = true", "refusal_option = false")];
    let lax = changed(text[0].0, text[0].1).unwrap();
    assert!(matches!(
        decide_with(&lax, &NOBODY, &none),
        Decision::Granted(_)
    ));
    let named = crate::agreement::tests::sample_text()
        .replace(text[0].0, text[0].1)
        .replace("packs = []", "packs = [\"pipl\"]");
    let named = Agreement::parse(&named).unwrap();
    assert!(matches!(
        decide_with(&named, &NOBODY, &none),
        Decision::Denied(_)
    ));
}

#[test]
fn assessments_stop_flows_by_the_day() {
    let facts = |text: &str| serde_json::from_str::<PartnerFacts>(text).unwrap();
    let denied = |parties: Parties<'_>| match decide_with(&sample(), &parties, Rules::built_in()) {
        Decision::Granted(_) => None,
        Decision::Denied(denial) => denial.rule,
    };
    let certified =
        facts(r#"{"standing":80,"region":"CN","certifications":{"mlps-3":"2026-05-01"}}"#);
    assert_eq!(
        denied(Parties {
            owner: Some(&certified),
            recipient: Some(&certified)
        }),
        None
    );
    let lapsed = facts(r#"{"standing":100,"certifications":{"mlps-3":"2026-04-30"}}"#);
    assert_eq!(
        denied(Parties {
            recipient: Some(&lapsed),
            ..NOBODY
        })
        .as_deref(),
        Some("certificate-lapsed")
    );
    let low = facts(r#"{"standing":79,"certifications":{"mlps-3":"2027-01-01"}}"#);
    assert_eq!(
        denied(Parties {
            owner: Some(&low),
            ..NOBODY
        })
        .as_deref(),
        Some("standing")
    );
    let elsewhere =
        facts(r#"{"standing":100,"region":"HK","certifications":{"mlps-3":"2027-01-01"}}"#);
    assert_eq!(
        denied(Parties {
            recipient: Some(&elsewhere),
            ..NOBODY
        })
        .as_deref(),
        Some("region-differs")
    );
    let uncertified = facts(r#"{"standing":100}"#);
    assert_eq!(
        denied(Parties {
            owner: Some(&uncertified),
            ..NOBODY
        })
        .as_deref(),
        Some("mlps-3")
    );
    assert!(serde_json::from_str::<PartnerFacts>(r#"{"standing":101}"#).is_err());
}

#[test]
fn every_built_in_rule_says_what_it_rests_on() {
    let rules: Vec<_> = Rules::built_in().in_force(&[]).collect();
    assert!(
        rules
            .iter()
            .filter(|rule| rule.permits)
            .all(|rule| rule.pack == "house")
    );
    for rule in rules.iter().filter(|rule| rule.pack == "cn-finance") {
        assert_eq!(rule.status, Verification::Unverified, "{}", rule.id);
    }
}
