use counterfoil_audit::entry::{
    AgreementRevoked, DeliveryAcknowledged, Event, FlowAborted, FlowDeclined, FlowDenied,
    FlowGranted, FlowRefused, InviteIssued, Outcome, PartnerRevoked, ReleaseIntent, ReleaseOutcome,
};
use counterfoil_audit::entry::{Digest, FlowId, Integer};

use super::*;
use crate::decide::agreements::reference;
use crate::refusal::{Refusal, label, sentence};
use crate::testing::{
    Story, agreement, bank, countersigned, document, granted_event, initialised, insurer,
    intent_event, later, now, proposed, stranger,
};

fn flow(byte: u8) -> FlowId {
    FlowId::from_bytes([byte; 16])
}

fn granted(byte: u8) -> FlowGranted {
    granted_event(&agreement(), byte)
}

fn intent(byte: u8) -> ReleaseIntent {
    intent_event(&agreement(), byte)
}

fn revoked(house: &crate::testing::House) -> PartnerRevoked {
    PartnerRevoked {
        org: house.org(),
        reason: sentence("left"),
    }
}

/// Every event that ends a running flow.
fn ends(byte: u8) -> Vec<Event> {
    let decision = Refusal::new("code", "message", "advice").decision("over");
    vec![
        FlowDeclined {
            flow: flow(byte),
            org: bank().org(),
            decision: decision.clone(),
            spent: None,
        }
        .into(),
        FlowRefused {
            flow: flow(byte),
            decision,
            spent: None,
        }
        .into(),
        FlowAborted {
            flow: flow(byte),
            stage: label("idle"),
            reason: sentence("nothing came"),
            spent: None,
        }
        .into(),
        intent(byte).into(),
    ]
}

#[test]
fn the_first_entry_opens_the_log_and_no_other_does() {
    let mut story = Story::empty();
    assert!(story.tell(bank().invited()).is_err());
    story.told(initialised());
    assert!(story.tell(initialised()).is_err());
    assert_eq!(story.state.vkey(), Some("a key"));
}

#[test]
fn partners_that_must_fail() {
    let mut story = Story::empty();
    story.told(initialised());
    assert!(story.tell(bank().joined()).is_err(), "without an invite");
    story.told(bank().invited());
    assert!(story.tell(bank().invited()).is_err(), "an invite twice");
    let mut theirs = insurer().joined();
    theirs.invite = label(bank().name);
    assert!(story.tell(theirs).is_err(), "with another's invite");
    assert!(
        story.tell(revoked(&bank())).is_err(),
        "revoked before it joined"
    );
    story.told(bank().joined());
    assert!(story.tell(bank().joined()).is_err(), "an invite used twice");
    story.told(revoked(&bank()));
    assert!(story.tell(revoked(&bank())).is_err(), "revoked twice");
}

#[test]
fn a_certificate_calls_until_it_is_revoked_replaced_or_ended() {
    use partners::Stranger;
    let mut story = Story::begun();
    let calls = |story: &Story, certificate: Digest, time| {
        story.state.partners.caller(&certificate, time).cloned()
    };
    let own = bank().certificate();
    assert_eq!(calls(&story, own, now()), Ok(bank().org()));
    assert_eq!(
        calls(&story, stranger().certificate(), now()),
        Err(Stranger::Unknown)
    );
    let end = bank().joined().cert_expires;
    assert_eq!(
        calls(&story, own, end),
        Err(Stranger::Expired(bank().org()))
    );
    let mut again = bank().joined();
    again.invite = label("again");
    again.cert_sha256 = Digest::from_bytes([99; 32]);
    story.told(InviteIssued {
        invite: label("again"),
        ..bank().invited()
    });
    story.told(again);
    assert_eq!(
        calls(&story, own, now()),
        Err(Stranger::Revoked(bank().org()))
    );
    let new = Digest::from_bytes([99; 32]);
    assert_eq!(calls(&story, new, now()), Ok(bank().org()));
    story.told(revoked(&bank()));
    assert_eq!(
        calls(&story, new, now()),
        Err(Stranger::Revoked(bank().org()))
    );
}

#[test]
fn agreements_that_must_fail() {
    let agreement = agreement();
    let mut story = Story::begun();
    let revocation = AgreementRevoked {
        agreement: reference(&agreement),
        org: bank().org(),
        reason: sentence("over"),
        signature: document(&bank().revocation(&agreement)),
    };
    assert!(
        story.tell(countersigned(&agreement)).is_err(),
        "never proposed"
    );
    assert!(story.tell(revocation.clone()).is_err(), "never proposed");
    let mut other_digest = proposed(&agreement);
    other_digest.agreement.sha256 = Digest::from_bytes([7; 32]);
    assert!(story.tell(other_digest).is_err(), "another digest");
    let mut no_agreement = proposed(&agreement);
    no_agreement.document = document(b"{}");
    assert!(story.tell(no_agreement).is_err(), "no agreement");
    story.told(proposed(&agreement));
    assert!(story.tell(proposed(&agreement)).is_err(), "proposed twice");
    story.told(countersigned(&agreement));
    assert!(
        story.tell(countersigned(&agreement)).is_err(),
        "signed twice"
    );
    story.told(revocation.clone());
    assert!(story.tell(revocation).is_err(), "revoked twice");
    assert!(
        story.tell(countersigned(&agreement)).is_err(),
        "signed when revoked"
    );
}

#[test]
fn a_flow_ends_once_whatever_came_first() {
    for first in 0..4 {
        for second in 0..4 {
            let mut story = Story::with(&agreement());
            story.told(granted(1));
            story.told(ends(1).swap_remove(first));
            assert!(
                story.tell(ends(1).swap_remove(second)).is_err(),
                "{first} {second}"
            );
        }
    }
    let mut story = Story::with(&agreement());
    for end in ends(1) {
        assert!(story.tell(end).is_err(), "never granted");
    }
    story.told(granted(1));
    assert!(story.tell(granted(1)).is_err(), "granted twice");
}

#[test]
fn what_follows_a_release_needs_one() {
    let mut story = Story::with(&agreement());
    story.told(granted(1));
    let outcome = |index| ReleaseOutcome {
        flow: flow(1),
        intent: Integer::new(index).unwrap(),
        outcome: Outcome::Delivered,
    };
    let acknowledged = DeliveryAcknowledged {
        flow: flow(1),
        sha256: Digest::from_bytes([0; 32]),
    };
    assert!(story.tell(outcome(0)).is_err());
    assert!(story.tell(acknowledged.clone()).is_err());
    let index = story.told(intent(1));
    assert_eq!(
        story.state.flow(flow(1)).unwrap().intent_index(),
        Some(index)
    );
    story.told(outcome(index));
    story.told(acknowledged);
}

#[test]
fn each_institution_sees_what_is_about_it_and_nothing_else() {
    let mut story = Story::with(&agreement());
    story.told(stranger().invited());
    story.told(stranger().joined());
    story.told(granted(1));
    story.told(FlowDenied {
        // The insurer repeats its request; that is not the bank's to know.
        flow: flow(1),
        agreement: Some(reference(&agreement())),
        request_sha256: Digest::from_bytes([0; 32]),
        asked: None,
        decision: Refusal::new("replayed", "message", "advice").decision("denied"),
        recipient: granted(1).recipient,
    });
    story.told(intent(1));
    let about = |house: &crate::testing::House| story.state.about(&house.org()).to_vec();
    // 0 opens the log; 1, 2 and 3, 4 are the joins; 5, 6 the agreement; 7, 8 the stranger's; 9 to 11 the flow.
    assert_eq!(about(&bank()), [1, 2, 5, 6, 9, 11]);
    assert_eq!(about(&insurer()), [3, 4, 5, 6, 9, 10, 11]);
    assert_eq!(about(&stranger()), [7, 8]);
    assert_eq!(story.state.flow(flow(1)).unwrap().entries, [9, 10, 11]);
    let before = later(now(), time::Duration::ZERO);
    assert_eq!(story.state.flow(flow(1)).unwrap().asked, before);
}
