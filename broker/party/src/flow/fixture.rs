//! An agreement, its parties' keys and a request, for the tests of both sides.

use counterfoil_policy::agreement::{Agreement, FlowKind, IdentifierType, template};
use counterfoil_policy::keys::{InstitutionKey, NoisePublicKey, PartyKeys};
use counterfoil_policy::moment::Timestamp;
use counterfoil_policy::request::{DeliveryKey, RequestBody, SignedRequest, VerifiedRequest};
use counterfoil_policy::taxonomy::Library;
use counterfoil_policy::text::FlowId;
use counterfoil_proto::delivery::{DeliverySecret, SUITE};

pub(crate) const OWNER: &str = "north-bank";
pub(crate) const RECIPIENT: &str = "east-life";

pub(crate) fn key(org: &str) -> InstitutionKey {
    InstitutionKey::from_seed(&[if org == OWNER { 1 } else { 2 }; 32])
}

fn party(org: &str) -> PartyKeys {
    PartyKeys {
        name: org.parse().unwrap(),
        signing_key: key(org).public(),
        noise_key: NoisePublicKey::from_bytes([if org == OWNER { 3 } else { 4 }; 32]).unwrap(),
    }
}

/// The template, valid from 2026 on, with `edit` made to its text.
pub(crate) fn agreement_with(edit: impl FnOnce(String) -> String) -> Agreement {
    agreement_over(&Library::built_in(), edit)
}

/// As [`agreement_with`], over taxonomies of one's own.
pub(crate) fn agreement_over(library: &Library, edit: impl FnOnce(String) -> String) -> Agreement {
    let first_day = time::Date::from_calendar_date(2026, time::Month::January, 1).unwrap();
    let text = edit(template(&party(OWNER), &party(RECIPIENT), first_day));
    Agreement::parse_with(&text, library).unwrap()
}

pub(crate) fn agreement() -> Agreement {
    agreement_with(|text| text)
}

/// A day of the template's validity.
pub(crate) fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn body(
    agreement: &Agreement,
    secret: &DeliverySecret,
    issued_at: Timestamp,
) -> RequestBody {
    RequestBody {
        format: 1,
        flow: FlowId::from_bytes([7; 16]),
        recipient: RECIPIENT.parse().unwrap(),
        agreement: agreement.id().clone(),
        agreement_version: agreement.version(),
        agreement_digest: agreement.digest(),
        kind: FlowKind::Exchange,
        purpose: agreement.purpose(),
        segment: None,
        identifier: IdentifierType::Email,
        tags: vec!["risk_appetite".parse().unwrap(), "housing".parse().unwrap()],
        measure: None,
        set_size: 100,
        delivery_suite: SUITE.parse().unwrap(),
        delivery_key: DeliveryKey::from_bytes(secret.public_bytes()).unwrap(),
        issued_at,
        expires_at: issued_at.saturating_add_seconds(3600),
        user: "casey".parse().unwrap(),
    }
}

pub(crate) fn sign(body: RequestBody) -> SignedRequest {
    SignedRequest::sign(&key(RECIPIENT), body).unwrap()
}

pub(crate) fn request(agreement: &Agreement, secret: &DeliverySecret) -> VerifiedRequest {
    sign(body(agreement, secret, now()))
        .verify(&key(RECIPIENT).public())
        .unwrap()
}
