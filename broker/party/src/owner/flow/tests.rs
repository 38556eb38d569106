use counterfoil_proto::delivery::DeliverySecret;

use super::*;
use crate::clock::Clock;
use crate::flow::fixture::{self, OWNER};
use crate::testkit::home_of;

/// A home whose clock stands in the fixture agreement's validity.
fn owner_home(org: &str) -> (tempfile::TempDir, Home) {
    let shift = fixture::now().unix_seconds() - Clock::system().now().unix_seconds();
    home_of(org, Clock::shifted(shift))
}

fn request(home: &Home, edit: impl FnOnce(&mut RequestBody)) -> SignedRequest {
    let secret = DeliverySecret::generate(&mut rand::rng());
    let mut body = fixture::body(&fixture::agreement(), &secret, home.clock().now());
    edit(&mut body);
    fixture::sign(body)
}

fn code(home: &Home, status: AgreementStatus, signed: &SignedRequest) -> String {
    match judge_under(home, fixture::agreement(), status, signed).unwrap() {
        Ok(_) => "granted".to_owned(),
        Err(denial) => denial.code,
    }
}

#[test]
fn a_flow_is_granted_once_and_its_attempt_survives_a_restart() {
    let (dir, home) = owner_home(OWNER);
    let signed = request(&home, |_| ());
    assert_eq!(code(&home, AgreementStatus::Active, &signed), "granted");
    let reopened = Home::open(&dir.path().join("home"), home.clock()).unwrap();
    // It goes on, and counts as one, until it is over.
    assert_eq!(code(&reopened, AgreementStatus::Active, &signed), "granted");
    forget(&reopened, signed.unverified().flow).unwrap();
    assert_eq!(
        code(&reopened, AgreementStatus::Active, &signed),
        "replayed"
    );
}

#[test]
fn a_flow_that_goes_on_needs_no_young_request_but_an_agreement_that_lasts() {
    let (dir, home) = owner_home(OWNER);
    let signed = request(&home, |_| ());
    assert_eq!(code(&home, AgreementStatus::Active, &signed), "granted");
    let shift = home.clock().now().unix_seconds() - Clock::system().now().unix_seconds();
    let later = |days: i64| {
        let clock = Clock::shifted(shift + days * 86_400);
        let home = Home::open(&dir.path().join("home"), clock).unwrap();
        code(&home, AgreementStatus::Active, &signed)
    };
    assert_eq!(later(1), "granted");
    assert_eq!(later(10_000), "expired");
}

#[test]
fn the_own_copy_of_the_agreement_decides() {
    let (_dir, home) = owner_home(OWNER);
    let active = AgreementStatus::Active;
    type Edit = fn(&mut RequestBody);
    let cases: [(&str, Edit); 7] = [
        ("wrong_version", |b| b.agreement_version = 2),
        ("wrong_digest", |b| {
            b.agreement_digest = counterfoil_policy::text::AgreementDigest::from_bytes([0; 32])
        }),
        ("tag_outside", |b| b.tags.push("salary".parse().unwrap())),
        ("segment_outside", |b| {
            b.segment = Some("everyone".parse().unwrap())
        }),
        ("over_rows", |b| b.set_size = 100_001),
        ("request_expired", |b| {
            b.issued_at = b.issued_at.saturating_add_seconds(-86_400);
            b.expires_at = b.issued_at.saturating_add_seconds(60);
        }),
        ("clock_skew", |b| {
            b.issued_at = b.issued_at.saturating_add_seconds(86_400);
            b.expires_at = b.issued_at.saturating_add_seconds(60);
        }),
    ];
    for (expected, edit) in cases {
        assert_eq!(code(&home, active, &request(&home, edit)), expected);
    }
    assert_eq!(
        code(&home, AgreementStatus::Revoked, &request(&home, |_| ())),
        "revoked"
    );
    // None of the refusals was counted.
    assert_eq!(code(&home, active, &request(&home, |_| ())), "granted");
}

#[test]
fn a_signature_of_another_key_is_refused() {
    let (_dir, home) = owner_home(OWNER);
    let secret = DeliverySecret::generate(&mut rand::rng());
    let body = fixture::body(&fixture::agreement(), &secret, home.clock().now());
    let forged = SignedRequest::sign(&fixture::key(OWNER), body).unwrap();
    assert_eq!(
        code(&home, AgreementStatus::Active, &forged),
        "bad_signature"
    );
}

#[test]
fn an_agreement_of_others_is_unknown() {
    let (_dir, home) = owner_home("third-bank");
    assert_eq!(
        code(&home, AgreementStatus::Active, &request(&home, |_| ())),
        "unknown_agreement"
    );
    assert!(
        matches!(judge(&home, &request(&home, |_| ())).unwrap(), Err(denial) if denial.code == "unknown_agreement")
    );
}

#[test]
fn the_owners_own_cap_holds_below_the_agreements() {
    let (_dir, home) = owner_home(OWNER);
    home.write("limits.toml", b"[default]\nrows_per_flow = 99\n")
        .unwrap();
    assert_eq!(
        code(&home, AgreementStatus::Active, &request(&home, |_| ())),
        "owner_limit"
    );
    assert_eq!(
        code(
            &home,
            AgreementStatus::Active,
            &request(&home, |b| b.set_size = 99)
        ),
        "granted"
    );
}
