use super::*;
use crate::agreement::tests::{changed, sample};
use crate::tag::Tag;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-06-15T12:00:00Z")
}

fn scope() -> Scope {
    let agreement = sample();
    Scope::of(&agreement, agreement.tags().iter().map(Tag::name), None).unwrap()
}

fn record() -> Record<'static> {
    Record {
        recipient: "east-life",
        contact: "privacy@east-life.example",
        purpose: "marketing_suitability",
        method: "private_matching",
        categories: "profile, credit;suitability  holdings",
        given: at("2026-01-05T08:00:00Z"),
        expires: at("2027-01-01T00:00:00Z"),
        withdrawn: None,
    }
}

#[test]
fn each_of_the_five_fields_must_be_the_one_of_the_flow() {
    let scope = scope();
    assert!(scope.covers(&record(), now()).is_ok());
    let other = |change: fn(&mut Record<'static>), why: Uncovered| {
        let mut record = record();
        change(&mut record);
        assert_eq!(scope.covers(&record, now()), Err(why));
    };
    other(
        |record| record.recipient = "west-life",
        Uncovered::Recipient,
    );
    other(|record| record.recipient = "", Uncovered::Recipient);
    other(
        |record| record.contact = "info@east-life.example",
        Uncovered::Contact,
    );
    other(
        |record| record.purpose = "risk_assessment",
        Uncovered::Purpose,
    );
    other(|record| record.method = "public_auction", Uncovered::Method);
    other(
        |record| record.categories = "profile credit",
        Uncovered::Categories,
    );
    other(
        |record| record.categories = "profile creditsuitability",
        Uncovered::Categories,
    );
}

#[test]
fn a_consent_counts_from_when_it_is_given_until_it_ends() {
    let scope = scope();
    let judge = |moment: &str| scope.covers(&record(), at(moment)).err();
    assert_eq!(judge("2026-01-05T07:59:59Z"), Some(Uncovered::NotYet));
    assert_eq!(judge("2026-01-05T08:00:00Z"), None);
    assert_eq!(judge("2026-12-31T23:59:59Z"), None);
    assert_eq!(judge("2027-01-01T00:00:00Z"), Some(Uncovered::Expired));
    let withdrawn = Record {
        withdrawn: Some(now()),
        ..record()
    };
    assert_eq!(scope.covers(&withdrawn, now()), Err(Uncovered::Withdrawn));
    // A withdrawal of tomorrow counts from tomorrow.
    let before = now().saturating_add_seconds(-1);
    assert!(scope.covers(&withdrawn, before).is_ok());
}

#[test]
fn a_withdrawal_of_any_category_counts_however_else_its_record_reads() {
    let scope = scope();
    let withdrawn = Record {
        withdrawn: Some(now()),
        ..record()
    };
    for (categories, contact, method, why) in [
        ("profile", "", "", Uncovered::Withdrawn),
        ("", "old@east-life.example", "", Uncovered::Withdrawn),
        ("credit holdings", "", "post", Uncovered::Withdrawn),
        ("holdings", "", "post", Uncovered::Contact),
    ] {
        let record = Record {
            categories,
            contact,
            method,
            ..withdrawn
        };
        assert_eq!(scope.covers(&record, now()), Err(why));
    }
    let elsewhere = Record {
        purpose: "risk_assessment",
        ..withdrawn
    };
    assert_eq!(scope.covers(&elsewhere, now()), Err(Uncovered::Purpose));
}

#[test]
fn fewer_tags_need_fewer_categories() {
    let agreement = sample();
    let housing = "housing".parse().unwrap();
    let scope = Scope::of(&agreement, [&housing], None).unwrap();
    let only_profile = Record {
        categories: "profile",
        ..record()
    };
    assert!(scope.covers(&only_profile, now()).is_ok());
}

#[test]
fn a_tag_that_the_segment_chooses_by_needs_its_category_as_if_it_were_delivered() {
    let agreement = changed(
        "where = \"years_as_customer >= 2 and customer_status in ('active', 'dormant')\"",
        "where = \"years_as_customer >= 2 and customer_status = 'active' and risk_appetite = 'aggressive'\"",
    )
    .unwrap();
    let housing = "housing".parse().unwrap();
    let established = "established".parse().unwrap();
    let scope = Scope::of(&agreement, [&housing], Some(&established)).unwrap();
    let categories: Vec<&str> = scope.categories.iter().map(AsRef::as_ref).collect();
    assert_eq!(categories, ["profile", "suitability"]);
}

#[test]
fn so_does_a_tag_that_no_delivery_shows() {
    let agreement = changed(
        "years_as_customer = \"profile\"",
        "years_as_customer = \"history\"",
    )
    .unwrap();
    let (housing, established) = ("housing".parse().unwrap(), "established".parse().unwrap());
    let categories = |segment| {
        let scope = Scope::of(&agreement, [&housing], segment).unwrap();
        scope
            .categories
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(categories(Some(&established)), ["history", "profile"]);
    assert_eq!(categories(None), ["profile"]);
}

#[test]
fn every_tag_of_an_agreement_has_a_category() {
    let without = changed(", housing = \"profile\"", "").unwrap_err();
    assert!(
        without
            .to_string()
            .contains("tag `housing` has no category"),
        "{without}"
    );
    let untold = changed(", customer_status = \"profile\" }", " }").unwrap_err();
    assert!(
        untold
            .to_string()
            .contains("tag `customer_status` has no category"),
        "{untold}"
    );
    let stray = changed(", housing = \"profile\"", ", hosing = \"profile\"").unwrap_err();
    assert!(
        stray.to_string().contains("consent.categories.hosing"),
        "{stray}"
    );
    let text = crate::agreement::tests::sample_text();
    let (head, rest) = text.split_once("[consent]").unwrap();
    let (_, tail) = rest.split_once("[compliance]").unwrap();
    let without = Agreement::parse(&format!("{head}[compliance]{tail}")).unwrap();
    assert!(Scope::of(&without, [], None).is_none());
    let advice = crate::agreement::lint(&without);
    assert!(
        advice.iter().any(|advice| advice.path == "legal_basis"),
        "{advice:?}"
    );
}

#[test]
fn the_broker_takes_what_the_owner_makes_and_no_proof_that_is_not_in_force() {
    let days = scope().covers(&record(), now()).unwrap();
    let key = ReferenceKey::of_flow(&[7; 32], FlowId::from_bytes([1; 16]));
    let proof = RowProof::new(days, key.mac("C-1")).to_bytes();
    assert_eq!(RowProof::check(&proof, now()), Ok(()));
    assert_eq!(RowProof::check(&proof, at("2026-12-31T23:59:59Z")), Ok(()));
    assert_eq!(
        RowProof::check(&proof, at("2027-01-01T00:00:00Z")),
        Err(Uncovered::Expired)
    );
    assert_eq!(
        RowProof::check(&proof, at("2026-01-04T23:59:59Z")),
        Err(Uncovered::NotYet)
    );
    let unreferenced = RowProof::new(days, [0; MAC_BYTES]).to_bytes();
    assert_eq!(
        RowProof::check(&unreferenced, now()),
        Err(Uncovered::Absent)
    );
    assert!(RowProof::check(&[0; PROOF_BYTES], now()).is_err());
}

#[test]
fn references_do_not_link_flows_and_the_owner_can_compute_them_again() {
    let mac = |secret: u8, flow: u8, reference: &str| {
        ReferenceKey::of_flow(&[secret; 32], FlowId::from_bytes([flow; 16])).mac(reference)
    };
    assert_eq!(mac(1, 1, "C-1"), mac(1, 1, "C-1"));
    let others = [mac(1, 2, "C-1"), mac(2, 1, "C-1"), mac(1, 1, "C-2")];
    assert!(others.iter().all(|other| *other != mac(1, 1, "C-1")));
}

proptest! {
    #[test]
    fn a_proof_that_the_owner_makes_passes_at_the_broker(
        given in 0_i64..4_000_000_000,
        length in 1_i64..400_000_000,
        at in 0.0..1.0_f64,
    ) {
        let moment = |seconds| Timestamp::from_unix_seconds(seconds).unwrap();
        let now = moment(given + (at * length as f64) as i64);
        let record = Record { given: moment(given), expires: moment(given + length), ..record() };
        let days = scope().covers(&record, now).unwrap();
        let proof = RowProof::new(days, [1; MAC_BYTES]).to_bytes();
        prop_assert_eq!(RowProof::check(&proof, now), Ok(()));
    }

    #[test]
    fn any_bytes_are_judged(bytes: [u8; PROOF_BYTES], seconds in 0_i64..200_000_000_000) {
        let _ = RowProof::check(&bytes, Timestamp::from_unix_seconds(seconds).unwrap());
    }
}
