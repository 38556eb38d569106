use super::*;
use crate::agreement::tests::sample;
use crate::approval::tests::{bank, insurer};
use proptest::prelude::*;

pub(crate) fn body() -> RequestBody {
    let agreement = sample();
    RequestBody {
        format: 1,
        flow: FlowId::from_bytes([3; 16]),
        recipient: "east-life".parse().unwrap(),
        agreement: agreement.id().clone(),
        agreement_version: 1,
        agreement_digest: agreement.digest(),
        kind: FlowKind::Exchange,
        purpose: Purpose::MarketingSuitability,
        segment: Some("established".parse().unwrap()),
        identifier: IdentifierType::Phone,
        tags: vec!["risk_appetite".parse().unwrap(), "housing".parse().unwrap()],
        measure: None,
        set_size: 65_536,
        delivery_suite: "x-wing_hkdf-sha256_aes-256-gcm".parse().unwrap(),
        delivery_key: DeliveryKey::from_bytes(vec![5; 1216]).unwrap(),
        issued_at: "2026-05-01T12:00:00Z".parse().unwrap(),
        expires_at: "2026-05-01T13:00:00Z".parse().unwrap(),
        user: "u.analyst".parse().unwrap(),
    }
}

pub(crate) fn verified(body: RequestBody) -> VerifiedRequest {
    let house = insurer();
    SignedRequest::sign(&house.key, body)
        .unwrap()
        .verify(&house.key.public())
        .unwrap()
}

#[test]
fn a_signed_request_verifies_after_the_wire_and_has_one_digest() {
    let house = insurer();
    let signed = SignedRequest::sign(&house.key, body()).unwrap();
    let wire = signed.to_json().unwrap();
    assert!(wire.len() <= REQUEST_BYTES_MAX);
    let read = SignedRequest::from_json(&wire).unwrap();
    let verified = read.verify(&house.key.public()).unwrap();
    assert_eq!(verified.body(), &body());
    let spaced = String::from_utf8(wire).unwrap().replace(',', ", ");
    let again = SignedRequest::from_json(spaced.as_bytes())
        .unwrap()
        .verify(&house.key.public())
        .unwrap();
    assert_eq!(again.digest(), verified.digest());
}

#[test]
fn a_changed_request_or_another_key_must_fail() {
    let house = insurer();
    let signed = SignedRequest::sign(&house.key, body()).unwrap();
    assert_eq!(
        signed.verify(&bank().key.public()),
        Err(RequestError::BadSignature)
    );
    let mut changed = signed.clone();
    changed.request.set_size += 1;
    assert_eq!(
        changed.verify(&house.key.public()),
        Err(RequestError::BadSignature)
    );
    let mut changed = signed;
    changed.request.segment = None;
    assert_eq!(
        changed.verify(&house.key.public()),
        Err(RequestError::BadSignature)
    );
}

#[test]
fn requests_that_must_fail() {
    let key = insurer().key;
    type Change = fn(&mut RequestBody);
    let cases: [(&str, Change); 6] = [
        ("format", |body| body.format = 2),
        ("tags", |body| body.tags.clear()),
        ("tags", |body| body.tags = vec!["a".parse().unwrap(); 65]),
        ("set_size", |body| body.set_size = 0),
        ("expires_at", |body| body.expires_at = body.issued_at),
        ("expires_at", |body| {
            body.expires_at = body.issued_at.saturating_add_seconds(86_401)
        }),
    ];
    for (name, change) in cases {
        let mut changed = body();
        change(&mut changed);
        match SignedRequest::sign(&key, changed) {
            Err(RequestError::Field { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn json_that_must_fail() {
    let signed = SignedRequest::sign(&insurer().key, body()).unwrap();
    let good = String::from_utf8(signed.to_json().unwrap()).unwrap();
    for (name, text) in [
        (
            "unknown_key",
            good.replacen("{\"request\":{", "{\"request\":{\"x\":1,", 1),
        ),
        ("unknown_outer_key", good.replacen('{', "{\"x\":1,", 1)),
        (
            "duplicate_key",
            good.replacen("\"set_size\":65536", "\"set_size\":1,\"set_size\":65536", 1),
        ),
        (
            "unknown_kind",
            good.replacen("\"exchange\"", "\"measure\"", 1),
        ),
        ("float", good.replacen("65536", "65536.5", 1)),
        ("negative", good.replacen("65536", "-1", 1)),
        ("truncated", good.trim_end_matches('}').to_owned()),
        ("huge", " ".repeat(REQUEST_BYTES_MAX + 1)),
    ] {
        assert_ne!(text, good, "{name}");
        assert!(SignedRequest::from_json(text.as_bytes()).is_err(), "{name}");
    }
    assert!(DeliveryKey::from_bytes(vec![]).is_none());
    assert!(DeliveryKey::from_bytes(vec![0; 4097]).is_none());
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes: Vec<u8>, at in 0usize..2000, bit in 0u8..8) {
        let _ = SignedRequest::from_json(&bytes);
        let house = insurer();
        let mut wire = SignedRequest::sign(&house.key, body()).unwrap().to_json().unwrap();
        let at = at % wire.len();
        wire[at] ^= 1 << bit;
        if let Ok(read) = SignedRequest::from_json(&wire) {
            prop_assert!(read.verify(&house.key.public()).is_err());
        }
    }
}
