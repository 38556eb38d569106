use super::*;
use crate::agreement::tests::{changed, sample};
use crate::agreement::{IdentifierType, Purpose};
use crate::request::RequestBody;
use crate::request::tests::{body, verified};

struct Case {
    agreement: Agreement,
    status: AgreementStatus,
    caller: &'static str,
    usage: Usage,
    limits: OwnerLimits,
    now: &'static str,
    body: RequestBody,
}

fn granted_case() -> Case {
    Case {
        agreement: sample(),
        status: AgreementStatus::Active,
        caller: "east-life",
        usage: Usage::default(),
        limits: OwnerLimits::default(),
        now: "2026-05-01T12:00:10Z",
        body: body(),
    }
}

impl Case {
    fn decide(self) -> Decision {
        let caller = self.caller.parse().unwrap();
        let facts = Facts {
            status: self.status,
            agreement: &self.agreement,
            caller: &caller,
            usage: self.usage,
            owner_limits: self.limits,
            assessments: Assessments::default(),
            now: self.now.parse().unwrap(),
        };
        decide(Rules::built_in(), &facts, &verified(self.body))
    }
}

fn assert_granted(change: impl FnOnce(&mut Case)) -> Grant {
    let mut case = granted_case();
    change(&mut case);
    match case.decide() {
        Decision::Granted(grant) => grant,
        Decision::Denied(denial) => panic!("{denial}"),
    }
}

#[track_caller]
fn assert_denied(
    code: DenialCode,
    field: &str,
    would_pass: &str,
    change: impl FnOnce(&mut Case),
) -> Denial {
    let mut case = granted_case();
    change(&mut case);
    match case.decide() {
        Decision::Denied(denial) => {
            assert_eq!(
                (denial.code, denial.field.as_str()),
                (code, field),
                "{denial}"
            );
            assert!(denial.would_pass.contains(would_pass), "{denial}");
            denial
        }
        Decision::Granted(_) => panic!("granted, expected {code}"),
    }
}

#[test]
fn rules_about_classes_hear_of_tags_by_which_only_a_segment_chooses() {
    let text = crate::agreement::tests::sample_text()
        .replace(
            "segment_tags = [\"years_as_customer\", ",
            "segment_tags = [\"assets\", ",
        )
        .replace("years_as_customer >= 2", "assets >= 1000000")
        .replace("years_as_customer = \"profile\"", "assets = \"wealth\"")
        .replace("separate_consent = true ", "separate_consent = false ");
    let agreement = Agreement::parse(&text).unwrap();
    let with = |segment: Option<&str>| {
        let mut body = body();
        body.agreement_digest = agreement.digest();
        body.tags = vec!["housing".parse().unwrap()];
        body.segment = segment.map(|name| name.parse().unwrap());
        let caller = "east-life".parse().unwrap();
        let facts = Facts {
            status: AgreementStatus::Active,
            agreement: &agreement,
            caller: &caller,
            usage: Usage::default(),
            owner_limits: OwnerLimits::default(),
            assessments: Assessments::default(),
            now: "2026-05-01T12:00:10Z".parse().unwrap(),
        };
        let explained = explain(Rules::built_in(), &facts, &body);
        let denies = |id: &str| {
            let rule = explained.rules.iter().find(|found| found.rule.id == id);
            !rule.unwrap().satisfied
        };
        (denies("jrt0171-c2-evidence"), denies("jrt0171-c2-coarse"))
    };
    // Belonging tells something of the assets, so evidence is asked for, and not their value.
    assert_eq!(with(Some("established")), (true, false));
    assert_eq!(with(None), (false, false));
}

#[test]
fn a_request_within_the_agreement_is_granted() {
    let grant = assert_granted(|_| {});
    assert_eq!(grant.flow(), body().flow);
    assert_eq!(grant.agreement(), sample().digest());
    assert_eq!(grant.period().index, 4);
    assert_eq!(grant.identifiers(), 65_536);
    assert_eq!(grant.request_digest(), verified(body()).digest());
}

#[test]
fn only_the_recipient_may_ask_and_a_stranger_learns_no_name() {
    let denial = assert_denied(
        DenialCode::WrongParty,
        "recipient",
        "recipient signs",
        |case| case.caller = "west-fund",
    );
    assert!(!denial.to_string().contains("east-life"), "{denial}");
    assert_denied(DenialCode::WrongParty, "recipient", "", |case| {
        case.caller = "north-bank"
    });
    assert_denied(DenialCode::WrongParty, "recipient", "", |case| {
        case.body.recipient = "west-fund".parse().unwrap()
    });
    assert_denied(DenialCode::UnknownAgreement, "agreement", "", |case| {
        case.body.agreement = "other".parse().unwrap()
    });
}

#[test]
fn only_an_active_agreement_grants() {
    assert_denied(DenialCode::NotCountersigned, "agreement", "both", |case| {
        case.status = AgreementStatus::Proposed
    });
    assert_denied(DenialCode::Revoked, "agreement", "new version", |case| {
        case.status = AgreementStatus::Revoked
    });
    assert_denied(
        DenialCode::Superseded,
        "agreement_version",
        "version 3",
        |case| {
            case.status = AgreementStatus::Superseded { by_version: 3 };
        },
    );
}

#[test]
fn version_and_content_must_be_those_signed() {
    assert_denied(
        DenialCode::WrongVersion,
        "agreement_version",
        "version 1",
        |case| case.body.agreement_version = 2,
    );
    let digest = sample().digest().to_string();
    assert_denied(
        DenialCode::WrongDigest,
        "agreement_digest",
        &digest,
        |case| {
            case.agreement = sample();
            case.body.agreement_digest = AgreementDigest::from_bytes([1; 32]);
        },
    );
}

fn at(case: &mut Case, now: &'static str) {
    case.now = now;
    case.body.issued_at = now.parse().unwrap();
    case.body.expires_at = case.body.issued_at.saturating_add_seconds(3600);
}

#[test]
fn the_agreement_holds_on_its_days_only() {
    assert_granted(|case| at(case, "2026-01-01T00:00:00Z"));
    assert_granted(|case| at(case, "2026-12-31T23:59:59Z"));
    assert_denied(
        DenialCode::NotYetValid,
        "agreement.valid_from",
        "2026-01-01T00:00:00Z",
        |case| at(case, "2025-12-31T23:59:59Z"),
    );
    assert_denied(
        DenialCode::Expired,
        "agreement.valid_until",
        "new version",
        |case| at(case, "2027-01-01T00:00:00Z"),
    );
}

#[test]
fn clocks_may_differ_by_five_minutes() {
    assert_granted(|case| case.now = "2026-05-01T12:05:00Z");
    assert_granted(|case| case.now = "2026-05-01T11:55:00Z");
    let late = assert_denied(DenialCode::ClockSkew, "issued_at", "300 seconds", |case| {
        case.now = "2026-05-01T12:05:01Z"
    });
    assert!(
        late.message.contains("301 seconds behind") && late.message.contains("check the clock"),
        "{late}"
    );
    let early = assert_denied(DenialCode::ClockSkew, "issued_at", "", |case| {
        case.now = "2026-05-01T11:54:59Z"
    });
    assert!(early.message.contains("301 seconds ahead"), "{early}");
    let day = assert_denied(DenialCode::ClockSkew, "issued_at", "", |case| {
        case.now = "2026-04-30T12:00:00Z"
    });
    assert!(day.message.contains("86400 seconds"), "{day}");
}

#[test]
fn a_request_lapses_and_is_used_once() {
    let short = |case: &mut Case| case.body.expires_at = "2026-05-01T12:01:00Z".parse().unwrap();
    assert_granted(|case| {
        short(case);
        case.now = "2026-05-01T12:00:59Z";
    });
    assert_denied(
        DenialCode::RequestExpired,
        "expires_at",
        "new request",
        |case| {
            short(case);
            case.now = "2026-05-01T12:01:00Z";
        },
    );
    assert_denied(DenialCode::Replayed, "flow", "fresh", |case| {
        case.usage.flow_id_used = true
    });
}

#[test]
fn purpose_and_identifier_are_the_agreements() {
    assert_granted(|case| case.body.identifier = IdentifierType::Email);
    assert_denied(
        DenialCode::PurposeMismatch,
        "purpose",
        "marketing_suitability",
        |case| case.body.purpose = Purpose::RiskAssessment,
    );
    assert_denied(
        DenialCode::PurposeDenied,
        "purpose",
        "another purpose",
        |case| {
            case.agreement =
                changed("\"marketing_suitability\"\n", "\"credit_decision\"\n").unwrap();
            case.body.agreement_digest = case.agreement.digest();
            case.body.purpose = Purpose::CreditDecision;
        },
    );
    assert_denied(
        DenialCode::IdentifierOutside,
        "identifier",
        "phone, resident_id",
        |case| {
            case.agreement = changed("    { type = \"email\", rules = 1 },\n", "").unwrap();
            case.body.agreement_digest = case.agreement.digest();
            case.body.identifier = IdentifierType::Email;
        },
    );
}

#[test]
fn tags_are_a_subset_in_order() {
    let tags = |names: &[&str]| {
        names
            .iter()
            .map(|name| name.parse().unwrap())
            .collect::<Vec<_>>()
    };
    assert_granted(|case| {
        case.body.tags = tags(&["risk_appetite", "age_band", "credit_amount", "housing"])
    });
    assert_granted(|case| case.body.tags = tags(&["housing"]));
    let outside = assert_denied(
        DenialCode::TagOutside,
        "tags[1]",
        "risk_appetite, age_band",
        |case| {
            case.body.tags = tags(&["age_band", "income"]);
        },
    );
    assert!(
        outside.message.contains("`income` is not in the agreement"),
        "{outside}"
    );
    for order in [["housing", "age_band"], ["housing", "housing"]] {
        let denial = assert_denied(DenialCode::TagOutside, "tags[1]", "in this order", |case| {
            case.body.tags = tags(&order)
        });
        assert!(denial.message.contains("repeated or out of"), "{denial}");
    }
}

#[test]
fn segments_are_those_of_the_agreement() {
    assert_granted(|case| case.body.segment = None);
    assert_denied(
        DenialCode::SegmentOutside,
        "segment",
        "no segment, or established",
        |case| {
            case.body.segment = Some("everyone-else".parse().unwrap());
        },
    );
}

#[test]
fn caps_hold_to_the_last_unit_and_say_when_they_renew() {
    assert_granted(|case| case.body.set_size = 100_000);
    assert_denied(DenialCode::OverRows, "set_size", "at most 100000", |case| {
        case.body.set_size = 100_001
    });
    assert_granted(|case| case.usage.flows_in_period = 11);
    assert_denied(
        DenialCode::OverFlows,
        "agreement.caps.flows_per_period",
        "2026-05-31T00:00:00Z",
        |case| case.usage.flows_in_period = 12,
    );
    assert_granted(|case| case.usage.identifiers_in_period = 500_000 - 65_536);
    assert_denied(
        DenialCode::OverIdentifiers,
        "set_size",
        "at most 65535 now, or a request from 2026-05-31",
        |case| {
            case.usage.identifiers_in_period = 500_000 - 65_535;
        },
    );
    assert_denied(
        DenialCode::OverIdentifiers,
        "set_size",
        "2026-05-31",
        |case| case.usage.identifiers_in_period = u64::MAX,
    );
    assert_denied(
        DenialCode::OverFlows,
        "agreement.caps.flows_per_period",
        "ends before",
        |case| {
            at(case, "2026-12-31T10:00:00Z");
            case.usage.flows_in_period = 12;
        },
    );
}

#[test]
fn the_owner_may_cap_lower_than_the_agreement() {
    let limits = OwnerLimits {
        rows_per_flow: Some(65_536),
        flows_per_period: Some(2),
        identifiers_per_period: Some(100_000),
    };
    assert_granted(|case| {
        case.limits = limits;
        case.usage = Usage {
            flows_in_period: 1,
            identifiers_in_period: 34_464,
            ..Usage::default()
        };
    });
    assert_denied(
        DenialCode::OwnerLimit,
        "set_size",
        "at most 65536",
        |case| {
            case.limits = limits;
            case.body.set_size = 65_537;
        },
    );
    assert_denied(DenialCode::OwnerLimit, "flow", "renew", |case| {
        case.limits = limits;
        case.usage.flows_in_period = 2;
    });
    assert_denied(
        DenialCode::OwnerLimit,
        "set_size",
        "at most 65535 now",
        |case| {
            case.limits = limits;
            case.usage.identifiers_in_period = 34_465;
        },
    );
}

#[test]
fn request_errors_become_denials() {
    let denial = Denial::from(&RequestError::BadSignature);
    assert_eq!(denial.code, DenialCode::BadSignature);
    let field = RequestError::Field {
        field: "tags",
        problem: "1 to 64 tags pass",
    };
    assert_eq!(Denial::from(&field).field, "tags");
    let json = serde_json::to_string(&denial).unwrap();
    assert_eq!(serde_json::from_str::<Denial>(&json).unwrap(), denial);
    assert!(json.contains("\"code\":\"bad_signature\""));
}
