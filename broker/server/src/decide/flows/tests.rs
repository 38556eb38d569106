use ::time::Duration;
use counterfoil_audit::entry::{AgreementRevoked, PartnerRevoked};
use counterfoil_policy::request::{DeliveryKey, RequestBody};

use super::*;
use crate::testing::{
    self, Story, agreement, agreement_with, bank, countersigned, document, insurer, now, proposed,
    request, request_with, stranger, version,
};

const READY: Situation = Situation {
    owner_listens: true,
    recipient_busy: false,
};

fn ask(
    story: &Story,
    caller: &OrgName,
    signed: &SignedRequest,
    situation: Situation,
) -> Decided<Result<Granted, Refusal>> {
    super::request(
        &story.state,
        now(),
        caller,
        signed,
        &testing::regime(),
        |_| situation,
    )
}

/// Asks as the insurer with everything ready.
fn asked(story: &Story, signed: &SignedRequest) -> Decided<Result<Granted, Refusal>> {
    ask(story, &insurer().org(), signed, READY)
}

#[track_caller]
fn granted(story: &mut Story, signed: &SignedRequest) -> FlowGranted {
    let decided = asked(story, signed);
    let event = decided.value.map_err(|r| r.message).unwrap().event;
    let [Event::FlowGranted(recorded)] = decided.events.as_slice() else {
        panic!("{:?}", decided.events);
    };
    assert_eq!(**recorded, event);
    story.told(event.clone());
    event
}

#[track_caller]
fn denied(
    story: &mut Story,
    decided: Decided<Result<Granted, Refusal>>,
    code: &str,
    field: &str,
) -> FlowDenied {
    let refusal = decided.value.err().expect("granted");
    assert_eq!(
        (refusal.code, refusal.field.as_str()),
        (code, field),
        "{refusal:?}"
    );
    let [Event::FlowDenied(recorded)] = decided.events.as_slice() else {
        panic!("{:?}", decided.events);
    };
    let recorded = (**recorded).clone();
    assert_eq!(recorded.decision.code.as_str(), code);
    story.told(recorded.clone());
    recorded
}

#[test]
fn a_grant_says_what_was_asked_and_of_whom() {
    let agreement = agreement();
    let signed = request(&agreement, 1);
    let event = granted(&mut Story::with(&agreement), &signed);
    assert_eq!(event.agreement, reference(&agreement));
    assert_eq!(event.source.org, bank().org());
    assert_eq!(event.recipient.org, insurer().org());
    let key = signed.unverified().delivery_key.as_bytes();
    assert_eq!(event.recipient.key_id.as_str(), hex(&Sha256::digest(key)));
    assert_eq!(event.set_size.value(), 100);
    let tags: Vec<_> = event
        .tags
        .as_slice()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(tags, ["age_band", "housing"]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_denial_names_the_same_request_as_its_grant_would() {
    let agreement = agreement();
    let mut story = Story::with(&agreement);
    let signed = request(&agreement, 1);
    let grant = granted(&mut story, &signed);
    let decided = asked(&story, &signed);
    let denial = denied(&mut story, decided, "replayed", "flow");
    assert_eq!(denial.request_sha256, grant.request_sha256);
}

#[test]
fn an_id_is_used_once_even_by_a_denied_request_and_a_replay_changes_nothing() {
    let agreement = agreement();
    let mut story = Story::with(&agreement);
    let outside = request_with(&agreement, 1, |body| {
        body.tags = vec!["income".parse().unwrap()]
    });
    let decided = asked(&story, &outside);
    denied(&mut story, decided, "tag_outside", "tags[0]");
    for _ in 0..3 {
        let decided = asked(&story, &request(&agreement, 1));
        denied(&mut story, decided, "replayed", "flow");
    }
    let running = granted(&mut story, &request(&agreement, 2)).flow;
    let decided = asked(&story, &request(&agreement, 2));
    denied(&mut story, decided, "replayed", "flow");
    let stage = &story.state.flow(running).unwrap().stage;
    assert_eq!(*stage, crate::state::flows::Stage::Running);
}

#[test]
fn only_the_recipient_asks_and_only_under_what_both_signed() {
    let agreement = agreement();
    let mut story = Story::with(&agreement);
    let signed = request(&agreement, 1);
    // The owner may not act as recipient, and a stranger learns of no agreement.
    let decided = ask(&story, &bank().org(), &signed, READY);
    denied(&mut story, decided, "wrong_party", "recipient");
    let decided = ask(&story, &stranger().org(), &request(&agreement, 2), READY);
    let denial = denied(&mut story, decided, "unknown_agreement", "agreement");
    assert_eq!(denial.agreement, None);
    let by_other = SignedRequest::sign(&bank().key, testing::request_body(&agreement, 3).0);
    let decided = asked(&story, &by_other.unwrap());
    denied(&mut story, decided, "bad_signature", "signature");
    let other_text = request_with(&agreement, 4, |body| {
        body.agreement_digest = version(2).digest()
    });
    let decided = asked(&story, &other_text);
    denied(&mut story, decided, "wrong_digest", "agreement_digest");
    let other_version = request_with(&agreement, 5, |body| body.agreement_version = 2);
    let decided = asked(&story, &other_version);
    denied(&mut story, decided, "wrong_version", "agreement_version");
}

#[test]
fn only_an_agreement_in_force_grants() {
    let agreement = agreement();
    let mut story = Story::begun();
    story.told(proposed(&agreement));
    let decided = asked(&story, &request(&agreement, 1));
    denied(&mut story, decided, "not_countersigned", "agreement");
    story.told(countersigned(&agreement));
    granted(&mut story, &request(&agreement, 2));
    story.told(proposed(&version(2)));
    granted(&mut story, &request(&agreement, 3));
    story.told(countersigned(&version(2)));
    let decided = asked(&story, &request(&agreement, 4));
    denied(&mut story, decided, "superseded", "agreement_version");
    granted(&mut story, &request(&version(2), 5));
    story.told(AgreementRevoked {
        agreement: reference(&version(2)),
        org: bank().org(),
        reason: crate::refusal::sentence("over"),
        signature: document(&bank().revocation(&version(2))),
    });
    let decided = asked(&story, &request(&version(2), 6));
    denied(&mut story, decided, "revoked", "agreement");
}

#[test]
fn a_party_that_was_revoked_or_came_back_with_other_keys_takes_part_in_nothing_old() {
    for (house, side) in [(bank(), "owner"), (insurer(), "recipient")] {
        let agreement = agreement();
        let mut story = Story::with(&agreement);
        story.told(PartnerRevoked {
            org: house.org(),
            reason: crate::refusal::sentence("keys were stolen"),
        });
        let decided = asked(&story, &request(&agreement, 1));
        let field = format!("agreement.{side}.name");
        denied(&mut story, decided, "party_unknown", &field);
        let back = testing::House::new(house.name, 60);
        let invite = label("again");
        story.told(counterfoil_audit::entry::InviteIssued {
            invite: invite.clone(),
            ..back.invited()
        });
        story.told(counterfoil_audit::entry::PartnerJoined {
            invite,
            ..back.joined()
        });
        let decided = asked(&story, &request(&agreement, 2));
        let field = format!("agreement.{side}.signing_key");
        denied(&mut story, decided, "key_differs", &field);
    }
}

#[test]
fn the_clock_decides_by_the_brokers_time() {
    let agreement = agreement();
    let story = Story::with(&agreement);
    let code_at = |time, flow| {
        let signed = request(&agreement, flow);
        let decided = super::request(
            &story.state,
            time,
            &insurer().org(),
            &signed,
            &testing::regime(),
            |_| READY,
        );
        decided
            .value
            .map_or_else(|refusal| refusal.code, |_| "granted")
    };
    assert_eq!(
        code_at(testing::later(now(), Duration::seconds(299)), 1),
        "granted"
    );
    assert_eq!(
        code_at(testing::later(now(), Duration::seconds(302)), 1),
        "clock_skew"
    );
    assert_eq!(
        code_at(testing::later(now(), Duration::DAY), 1),
        "request_expired"
    );
    assert_eq!(
        code_at(testing::later(now(), Duration::days(400)), 1),
        "expired"
    );
}

#[test]
fn caps_count_what_the_log_granted_in_the_period_and_nothing_else() {
    let agreement = agreement_with(&[
        ("rows_per_flow = 100000", "rows_per_flow = 149"),
        ("flows_per_period = 12", "flows_per_period = 2"),
        (
            "identifiers_per_period = 500000",
            "identifiers_per_period = 150",
        ),
    ]);
    let mut story = Story::with(&agreement);
    let of_size = |flow, size| request_with(&agreement, flow, |body| body.set_size = size);
    let decided = asked(&story, &of_size(1, 150));
    denied(&mut story, decided, "over_rows", "set_size");
    // A request for a segment is charged as one for the whole dataset.
    let of_segment = request_with(&agreement, 2, |body| {
        body.set_size = 100;
        body.segment = Some("established".parse().unwrap());
    });
    let event = granted(&mut story, &of_segment);
    assert_eq!(event.segment.unwrap().as_str(), "established");
    let decided = asked(&story, &of_size(3, 51));
    denied(&mut story, decided, "over_identifiers", "set_size");
    granted(&mut story, &of_size(4, 50));
    let decided = asked(&story, &of_size(5, 1));
    denied(
        &mut story,
        decided,
        "over_flows",
        "agreement.caps.flows_per_period",
    );
}

#[test]
fn sensitive_data_abroad_counts_where_only_the_segment_chose_by_it() {
    let agreement = agreement_with(&[
        ("recipient_region = \"CN\"", "recipient_region = \"SG\""),
        (
            "segment_tags = [\"years_as_customer\", ",
            "segment_tags = [\"assets\", ",
        ),
        ("years_as_customer >= 2", "assets >= 1000000"),
        ("years_as_customer = \"profile\"", "assets = \"wealth\""),
    ]);
    let mut story = Story::with(&agreement);
    let mut counted = |flow, segment: Option<&str>| {
        story.told(FlowGranted {
            segment: segment.map(label),
            tags: List::new(vec![label("housing")]).unwrap(),
            set_size: Integer::new(1000).unwrap(),
            agreement: reference(&agreement),
            ..testing::granted_event(&testing::agreement(), flow)
        });
        let usage = with_abroad(&story.state, &agreement, moment(now()), Usage::default());
        (
            usage.people_abroad_this_year,
            usage.sensitive_abroad_this_year,
        )
    };
    assert_eq!(counted(1, None), (1000, 0));
    assert_eq!(counted(2, Some("established")), (2000, 1000));
}

#[test]
fn flows_of_an_earlier_period_are_not_counted() {
    let agreement = agreement();
    let mut story = Story::with(&agreement);
    let event = asked(&story, &request(&agreement, 1))
        .value
        .ok()
        .unwrap()
        .event;
    let digest = reference(&agreement).sha256;
    let since = now();
    let before = Timestamp::from_unix_micros(since.unix_micros() - 1).unwrap();
    for (flow, time) in [(1, before), (2, since)] {
        let event = FlowGranted {
            flow: FlowId::from_bytes([flow; 16]),
            ..event.clone()
        };
        story.tell_at(time, event).unwrap();
    }
    let counted: Vec<_> = story.state.flows.granted_since(digest, since).collect();
    assert_eq!(counted.len(), 1);
    assert_eq!(counted[0].flow, FlowId::from_bytes([2; 16]));
    assert_eq!(story.state.flows.granted_since(digest, before).count(), 2);
}

#[test]
fn what_the_broker_knows_of_the_moment_denies_too() {
    let agreement = agreement();
    let mut story = Story::with(&agreement);
    let insurer = insurer().org();
    let absent = Situation {
        owner_listens: false,
        ..READY
    };
    let decided = ask(&story, &insurer, &request(&agreement, 1), absent);
    denied(&mut story, decided, "owner_not_serving", "");
    let busy = Situation {
        recipient_busy: true,
        ..READY
    };
    let decided = ask(&story, &insurer, &request(&agreement, 2), busy);
    denied(&mut story, decided, "too_many_running", "");
    type Change = fn(&mut RequestBody);
    let suite: Change = |body| body.delivery_suite = "rot13".parse().unwrap();
    let decided = ask(&story, &insurer, &request_with(&agreement, 3, suite), READY);
    denied(&mut story, decided, "suite", "delivery_suite");
}

#[test]
fn two_pairs_of_institutions_may_use_one_id() {
    let ours = agreement();
    // Between the same recipient and another owner, under the same id.
    let theirs = agreement_with(&[
        ("name = \"north-bank\"", "name = \"west-fund\""),
        (
            &bank().keys().signing_key.to_string(),
            &stranger().keys().signing_key.to_string(),
        ),
        (
            &bank().keys().noise_key.to_string(),
            &stranger().keys().noise_key.to_string(),
        ),
    ]);
    assert_eq!(ours.id(), theirs.id());
    let mut story = Story::begun();
    story.told(stranger().invited());
    story.told(stranger().joined());
    for agreement in [&theirs, &ours] {
        story.told(proposed(agreement));
        story.told(countersigned(agreement));
    }
    assert_eq!(
        granted(&mut story, &request(&ours, 1)).source.org,
        bank().org()
    );
    assert_eq!(
        granted(&mut story, &request(&theirs, 2)).source.org,
        stranger().org()
    );
}

#[test]
fn key_ids_are_of_the_key_alone() {
    let key = DeliveryKey::from_bytes(vec![7; 40]).unwrap();
    assert_eq!(key_id(key.as_bytes()), key_id(&[7; 40]));
    assert_ne!(key_id(&[7; 40]), key_id(&[8; 40]));
}
