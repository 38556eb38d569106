use counterfoil_audit::entry::{Event, PartnerRevoked};

use super::*;
use crate::testing::{
    House, Story, agreement, agreement_with, bank, countersigned, insurer, proposed, stranger,
    version,
};

#[track_caller]
fn accepted(story: &mut Story, decided: Decided<Verdict>) {
    assert_eq!(decided.value.as_ref().err(), None);
    let [event] = <[Event; 1]>::try_from(decided.events).unwrap();
    story.told(event);
}

/// A refusal is recorded with the same code, field and advice that the caller gets.
#[track_caller]
fn refused(decided: Decided<Verdict>, code: &str, field: &str) -> Refusal {
    let refusal = decided.value.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_str()),
        (code, field),
        "{refusal:?}"
    );
    let [Event::AgreementRefused(entry)] = decided.events.as_slice() else {
        panic!("{:?}", decided.events);
    };
    assert_eq!(entry.decision.code.as_str(), code);
    assert_eq!(
        entry.decision.field.as_ref().map_or("", |f| f.as_str()),
        field
    );
    assert!(
        entry
            .decision
            .message
            .as_str()
            .starts_with(refusal.message.get(..20).unwrap())
    );
    refusal
}

fn propose_as(story: &Story, house: &House, agreement: &Agreement) -> Decided<Verdict> {
    let (text, signature) = (agreement.canonical_bytes(), house.sign(agreement));
    propose(&story.state, &house.org(), text, &signature)
}

fn countersign_as(story: &Story, house: &House, agreement: &Agreement) -> Decided<Verdict> {
    let (digest, signature) = (reference(agreement).sha256, house.sign(agreement));
    countersign(&story.state, &house.org(), &digest, &signature)
}

fn status(story: &Story, agreement: &Agreement) -> Status {
    let digest = reference(agreement).sha256;
    story.state.agreements.get(&digest).unwrap().status
}

#[test]
fn an_agreement_is_proposed_by_either_and_active_by_both() {
    let agreement = agreement();
    for (first, second) in [(bank(), insurer()), (insurer(), bank())] {
        let mut story = Story::begun();
        let decided = propose_as(&story, &first, &agreement);
        accepted(&mut story, decided);
        assert_eq!(status(&story, &agreement), Status::Proposed);
        let decided = countersign_as(&story, &second, &agreement);
        accepted(&mut story, decided);
        assert_eq!(status(&story, &agreement), Status::Active);
    }
}

#[test]
fn proposals_that_must_fail() {
    let (story, agreement) = (Story::begun(), agreement());
    let (org, text) = (bank().org(), agreement.canonical_bytes());
    let signature = bank().sign(&agreement);
    let try_text = |text: &[u8]| propose(&story.state, &org, text, &signature);
    refused(try_text(b"{}"), "agreement_invalid", "");
    let spaced = [text, b" "].concat();
    refused(try_text(&spaced), "agreement_invalid", "");

    let try_signature = |signature: &[u8]| propose(&story.state, &org, text, signature);
    refused(try_signature(b"{"), "malformed", "signature");
    let long = vec![b' '; SIGNATURE_BYTES_MAX + 1];
    refused(try_signature(&long), "malformed", "signature");
    let of_other = bank().sign(&version(2));
    refused(try_signature(&of_other), "signature_invalid", "signature");
    // The partner's signature, handed in by somebody else; and a stranger's.
    let partners = insurer().sign(&agreement);
    refused(
        try_signature(&partners),
        "signer_is_not_caller",
        "signature",
    );
    let strangers = propose(
        &story.state,
        &stranger().org(),
        text,
        &stranger().sign(&agreement),
    );
    refused(strangers, "signature_invalid", "signature");
}

#[test]
fn both_parties_must_have_joined_with_the_keys_that_are_pinned() {
    let joined_only = |house: House| {
        let mut story = Story::empty();
        story.told(crate::testing::initialised());
        story.told(house.invited());
        story.told(house.joined());
        story
    };
    let unknown = propose_as(&joined_only(bank()), &bank(), &agreement());
    refused(unknown, "party_unknown", "recipient.name");
    let unknown = propose_as(&joined_only(insurer()), &bank(), &agreement());
    refused(unknown, "party_unknown", "owner.name");

    let mut story = Story::begun();
    for (key, other) in [
        ("signing_key", stranger().keys().signing_key.to_string()),
        ("noise_key", stranger().keys().noise_key.to_string()),
    ] {
        let own = match key {
            "signing_key" => insurer().keys().signing_key.to_string(),
            _ => insurer().keys().noise_key.to_string(),
        };
        let changed = agreement_with(&[(&own, &other)]);
        let field = format!("recipient.{key}");
        refused(propose_as(&story, &bank(), &changed), "key_differs", &field);
    }
    let decided = propose_as(&story, &bank(), &agreement());
    accepted(&mut story, decided);
    story.told(PartnerRevoked {
        org: bank().org(),
        reason: sentence("left"),
    });
    let decided = countersign_as(&story, &insurer(), &agreement());
    refused(decided, "party_unknown", "owner.name");
    let decided = propose_as(&story, &insurer(), &version(2));
    refused(decided, "party_unknown", "owner.name");
}

#[test]
fn versions_only_rise_and_the_highest_there_can_be_stops_nothing_but_itself() {
    let mut story = Story::with(&version(2));
    for taken in [1, 2] {
        let refusal = refused(
            propose_as(&story, &bank(), &version(taken)),
            "version_taken",
            "version",
        );
        assert_eq!(refusal.would_pass, "set `version = 3`");
    }
    let highest = version(u32::MAX);
    let decided = propose_as(&story, &bank(), &highest);
    accepted(&mut story, decided);
    refused(
        propose_as(&story, &bank(), &highest),
        "version_taken",
        "version",
    );
    assert_eq!(status(&story, &version(2)), Status::Active);
}

#[test]
fn a_new_version_in_force_replaces_the_old_and_what_was_pending_below_it() {
    let mut story = Story::with(&version(1));
    story.told(proposed(&version(2)));
    story.told(proposed(&version(3)));
    let decided = countersign_as(&story, &insurer(), &version(3));
    accepted(&mut story, decided);
    for (number, expected) in [
        (1, Status::Superseded),
        (2, Status::Superseded),
        (3, Status::Active),
    ] {
        assert_eq!(status(&story, &version(number)), expected);
    }
    let decided = countersign_as(&story, &insurer(), &version(2));
    refused(decided, "not_waiting", "status");
}

#[test]
fn countersignatures_that_must_fail() {
    let mut story = Story::begun();
    let agreement = agreement();
    let decided = countersign_as(&story, &insurer(), &agreement);
    refused(decided, "agreement_unknown", "digest");
    story.told(proposed(&agreement));
    // To somebody who is no party of it, it does not exist.
    let decided = countersign_as(&story, &stranger(), &agreement);
    let unknown = refused(decided, "agreement_unknown", "digest");
    assert!(!unknown.message.contains(agreement.id().as_str()));
    // The proposer cannot sign for both, with its own bundle or its partner's.
    let decided = countersign_as(&story, &bank(), &agreement);
    refused(decided, "signature_invalid", "signature");
    let digest = reference(&agreement).sha256;
    let theirs = insurer().sign(&agreement);
    let decided = countersign(&story.state, &bank().org(), &digest, &theirs);
    refused(decided, "signer_is_not_caller", "signature");
    let of_other = insurer().sign(&version(2));
    let decided = countersign(&story.state, &insurer().org(), &digest, &of_other);
    refused(decided, "signature_invalid", "signature");
    story.told(countersigned(&agreement));
    let decided = countersign_as(&story, &insurer(), &agreement);
    refused(decided, "not_waiting", "status");
}

#[test]
fn either_party_revokes_once_and_for_itself() {
    let agreement = agreement();
    let digest = reference(&agreement).sha256;
    let by = |story: &Story, caller: &House, signer: &House| {
        let signed = signer.revocation(&agreement);
        revoke(&story.state, &caller.org(), &digest, &signed, "over")
    };
    for house in [bank(), insurer()] {
        let mut story = Story::with(&agreement);
        let decided = by(&story, &house, &house);
        accepted(&mut story, decided);
        assert_eq!(status(&story, &agreement), Status::Revoked);
        refused(by(&story, &bank(), &bank()), "revoked_already", "status");
        let decided = propose_as(&story, &bank(), &agreement);
        refused(decided, "version_taken", "version");
    }
    let story = Story::with(&agreement);
    let decided = by(&story, &stranger(), &stranger());
    refused(decided, "agreement_unknown", "digest");
    let decided = by(&story, &bank(), &insurer());
    refused(decided, "signer_is_not_caller", "signature");
    let decided = by(&story, &bank(), &stranger());
    refused(decided, "signature_invalid", "signature");
    let of_other = bank().revocation(&version(2));
    let decided = revoke(&story.state, &bank().org(), &digest, &of_other, "over");
    refused(decided, "signature_invalid", "signature");
}
