//! Whole flows, and what ends them.

use counterfoil_audit::entry::Event;
use counterfoil_policy::request::SignedRequest;
use counterfoil_proto::delivery::{Delivery, DeliveryContext};
use counterfoil_proto::limits::SUBMISSION_BYTES_MAX;
use counterfoil_proto::v1::flow_reply::Result as Answer;
use counterfoil_proto::v1::flow_status::Stage as WireStage;
use counterfoil_proto::v1::relay_frame::Frame;
use counterfoil_proto::v1::{
    AcknowledgeRequest, Consent, DeclineRequest, FlowRequest, KeysChunk, KeysHeader, ListenRequest,
    RowsHeader, keys_chunk, rows_chunk,
};
use sha2::{Digest as _, Sha256};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use super::super::*;
use super::agent::Agent;
use crate::flow::budget::Need;
use crate::flow::submission::Submission;
use crate::home::Room;
use crate::testing::{TAGS, bank, insurer, request_body, stranger, submissions};

use super::scene::{
    FLOW, GRANTED, Scene, assert_aborted, come, flow, keys_of, last, noise, receipts, rows_of,
    wait, watching,
};

#[tokio::test]
async fn a_flow_from_request_to_acknowledgement_and_all_of_it_in_the_log() {
    let mut scene = Scene::set().await;
    let secret = scene.granted().await;
    let watches = [
        watching(&scene.owner).await,
        watching(&scene.recipient).await,
    ];
    let (to_recipient, mut at_owner) = wait(&scene.owner).await.unwrap();
    let (to_owner, mut at_recipient) = come(&scene.recipient, 1).await.unwrap();
    let told = at_owner.message().await.unwrap().unwrap().frame;
    assert!(
        matches!(&told, Some(Frame::Open(open)) if (open.bucket, open.attempt) == (0, 1)),
        "{told:?}"
    );
    to_recipient.send(noise(b"from the owner")).await.unwrap();
    to_owner.send(noise(b"from the recipient")).await.unwrap();
    let got = at_recipient.message().await.unwrap().unwrap();
    assert_eq!(got, noise(b"from the owner"));
    let got = at_owner.message().await.unwrap().unwrap();
    assert_eq!(got, noise(b"from the recipient"));
    assert_eq!(
        come(&scene.recipient, 1).await.err().unwrap().code(),
        Code::AlreadyExists
    );
    drop((to_owner, to_recipient));
    scene.submit(20).await;
    for watch in watches {
        assert_eq!(last(watch).await.stage(), WireStage::Released);
    }
    // A watch that begins after the end tells it too.
    assert_eq!(
        last(watching(&scene.owner).await).await.stage(),
        WireStage::Released
    );

    let (receipt, sealed) = scene.fetched(&scene.recipient).await.unwrap();
    let verified = scene.verified(&receipt);
    let Event::ReleaseIntent(intent) = verified.entry().event() else {
        panic!("{receipt}");
    };
    let sha256: [u8; 32] = Sha256::digest(&sealed).into();
    assert_eq!(*intent.result.sha256.as_bytes(), sha256);
    let context = DeliveryContext {
        flow: FLOW,
        agreement: *scene.agreement.digest().as_bytes(),
    };
    let delivery = Delivery::open(sealed.clone(), &secret, &context).unwrap();
    assert_eq!(delivery.rows.len(), 20);
    // The owner gets the receipt, and nothing else.
    let (_, nothing) = scene.fetched(&scene.owner).await.unwrap();
    assert!(nothing.is_empty());

    let acknowledge = |agent: &Agent, sha256: [u8; 32]| {
        let (mut flows, flow) = (agent.flows(), FLOW.to_vec());
        let sha256 = sha256.to_vec();
        async move { flows.acknowledge(AcknowledgeRequest { flow, sha256 }).await }
    };
    let other = acknowledge(&scene.recipient, [0; 32]).await;
    assert_eq!(other.unwrap_err().code(), Code::FailedPrecondition);
    let owners = acknowledge(&scene.owner, sha256).await;
    assert_eq!(owners.unwrap_err().code(), Code::PermissionDenied);
    let first = acknowledge(&scene.recipient, sha256).await.unwrap();
    let again = acknowledge(&scene.recipient, sha256).await.unwrap();
    assert_eq!(first.into_inner(), again.into_inner());

    for agent in [&scene.owner, &scene.recipient] {
        let seen = receipts(&scene, agent, FLOW.to_vec()).await;
        let expected = [
            "flow.granted",
            "release.intent",
            "release.outcome",
            "delivery.acknowledged",
        ];
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn to_a_third_institution_the_flow_does_not_exist() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    let third = scene.serving.agent(stranger()).await;
    let code = |status: Status| status.code();
    assert_eq!(
        third.flows().watch(flow()).await.map_err(code).err(),
        Some(Code::NotFound)
    );
    assert_eq!(
        third.flows().fetch(flow()).await.map_err(code).err(),
        Some(Code::NotFound)
    );
    assert_eq!(wait(&third).await.map_err(code).err(), Some(Code::NotFound));
    for wrong in [wait(&scene.recipient).await, come(&scene.owner, 1).await] {
        assert_eq!(wrong.map_err(code).err(), Some(Code::PermissionDenied));
    }
    let decline = DeclineRequest {
        flow: FLOW.to_vec(),
        ..DeclineRequest::default()
    };
    let refused = third.flows().decline(decline).await;
    assert_eq!(refused.map_err(code).err(), Some(Code::NotFound));
    assert_eq!(receipts(&scene, &third, FLOW.to_vec()).await.len(), 0);
    let own = receipts(&scene, &third, vec![]).await;
    assert_eq!(own, ["invite.issued", "partner.joined"]);
    // Each side submits its own, not the other's.
    let rows = submissions(&scene.agreement, &[], &[]);
    let rows = tokio_stream::iter(rows_of(&rows.0, &TAGS));
    let refused = scene.recipient.flows().submit_rows(rows).await;
    assert_eq!(refused.map_err(code).err(), Some(Code::PermissionDenied));
}

#[tokio::test]
async fn a_revoked_agreement_ends_relay_watch_and_submission_at_once() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    let watches = [
        watching(&scene.owner).await,
        watching(&scene.recipient).await,
    ];
    let (_to_recipient, mut at_owner) = wait(&scene.owner).await.unwrap();
    let (_to_owner, mut at_recipient) = come(&scene.recipient, 1).await.unwrap();
    at_owner.message().await.unwrap();
    // A submission that has begun and does not go on.
    let (rows, _) = submissions(&scene.agreement, &[(1, ["low", "own"])], &[1]);
    let begun = rows_of(&rows, &TAGS).into_iter().take(1);
    let stalled = tokio_stream::iter(begun).chain(tokio_stream::pending());
    let mut flows = scene.owner.flows();
    let submitting = tokio::spawn(async move { flows.submit_rows(stalled).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.recipient.revoke(&scene.agreement).await;
    for watch in watches {
        assert_aborted(&last(watch).await, "revoked");
    }
    for relay in [&mut at_owner, &mut at_recipient] {
        let end = tokio::time::timeout(Duration::from_secs(5), relay.message()).await;
        assert!(matches!(end, Ok(Ok(None) | Err(_))), "{end:?}");
    }
    let cut = tokio::time::timeout(Duration::from_secs(5), submitting).await;
    assert_eq!(cut.unwrap().unwrap().unwrap_err().code(), Code::Aborted);
}

#[tokio::test]
async fn a_column_outside_the_agreement_or_out_of_order_stops_the_flow() {
    for (tags, word) in [
        (["risk_appetite", "income"], "outside the agreement"),
        (["housing", "risk_appetite"], "in its order"),
        (["risk_appetite", "age_band"], "in its order"),
    ] {
        let mut scene = Scene::set().await;
        scene.granted().await;
        let watch = watching(&scene.recipient).await;
        let (rows, _) = submissions(&scene.agreement, &[], &[]);
        let chunks = tokio_stream::iter(rows_of(&rows, &tags));
        let refused = scene.owner.flows().submit_rows(chunks).await.unwrap_err();
        assert!(refused.message().contains(word), "{refused}");
        assert_aborted(&last(watch).await, "columns");
    }
}

#[tokio::test]
async fn a_consent_to_something_else_stops_the_flow() {
    type Change = fn(&mut RowsHeader);
    let changes: [(Change, &str); 6] = [
        (|header| header.consent = None, "have none"),
        (
            |header| consent(header).recipient = "west-fund".into(),
            "is not what",
        ),
        (|header| consent(header).contact.push('x'), "is not what"),
        (
            |header| consent(header).purpose = "risk_assessment".into(),
            "is not what",
        ),
        (
            |header| consent(header).method = "auction".into(),
            "is not what",
        ),
        (
            |header| consent(header).categories.truncate(1),
            "is not what",
        ),
    ];
    fn consent(header: &mut RowsHeader) -> &mut Consent {
        header.consent.as_mut().unwrap()
    }
    for (change, word) in changes {
        let mut scene = Scene::set().await;
        scene.granted().await;
        let watch = watching(&scene.recipient).await;
        let (rows, _) = submissions(&scene.agreement, &[], &[]);
        let mut chunks = rows_of(&rows, &TAGS);
        if let Some(rows_chunk::Part::Header(header)) = &mut chunks[0].part {
            change(header);
        }
        let submitted = scene
            .owner
            .flows()
            .submit_rows(tokio_stream::iter(chunks))
            .await;
        let refused = submitted.unwrap_err();
        assert!(refused.message().contains(word), "{refused}");
        assert_aborted(&last(watch).await, "columns");
    }
}

#[tokio::test]
async fn an_agent_that_leaves_while_it_submits_may_come_back() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    let watch = watching(&scene.recipient).await;
    let all: Vec<_> = (0..20).map(|c| (c, ["low", "own"])).collect();
    let (rows, _) = submissions(&scene.agreement, &all, &[1]);
    let begun = rows_of(&rows, &TAGS).into_iter().take(1);
    let stalled = tokio_stream::iter(begun).chain(tokio_stream::pending());
    let mut flows = scene.owner.flows();
    let submitting = tokio::spawn(async move { flows.submit_rows(stalled).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    submitting.abort();
    scene.submit(20).await;
    assert_eq!(last(watch).await.stage(), WireStage::Released);
}

#[tokio::test]
async fn a_broker_without_room_for_rows_lets_the_agent_come_again() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    let watch = watching(&scene.recipient).await;
    let budget = &scene.serving.broker.flows.budget;
    let others = budget.take(&scene.owner.house.org(), SUBMISSION_BYTES_MAX);
    let all: Vec<_> = (0..20).map(|c| (c, ["low", "own"])).collect();
    let (rows, _) = submissions(&scene.agreement, &all, &[1]);
    let sent = tokio_stream::iter(rows_of(&rows, &TAGS));
    let refused = scene.owner.flows().submit_rows(sent).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    drop(others.unwrap());
    scene.submit(20).await;
    assert_eq!(last(watch).await.stage(), WireStage::Released);
}

#[tokio::test]
async fn a_flow_for_which_no_disk_is_left_is_refused_with_what_to_do() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    let watch = watching(&scene.recipient).await;
    let budget = &scene.serving.broker.flows.budget;
    let all = Room::default().disk_mib << 19;
    let need = Need {
        disk: all,
        opened: 0,
    };
    let _others = budget
        .take_for_flow(&scene.owner.house.org(), need)
        .unwrap();
    let all: Vec<_> = (0..20).map(|c| (c, ["low", "own"])).collect();
    let (rows, _) = submissions(&scene.agreement, &all, &[1]);
    let sent = tokio_stream::iter(rows_of(&rows, &TAGS));
    let refused = scene.owner.flows().submit_rows(sent).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let ended = last(watch).await;
    assert_eq!(ended.stage(), WireStage::Aborted);
    let told = ended.denial.unwrap().message;
    assert!(
        told.contains("ask again when other flows are over"),
        "{told}"
    );
    assert!(
        told.contains("`disk_mib` under `[room]` in broker.toml"),
        "{told}"
    );
}

#[tokio::test]
async fn an_agent_that_is_gone_ends_the_session_of_the_other_at_once() {
    for owner_leaves in [true, false] {
        let mut scene = Scene::set().await;
        scene.granted().await;
        let recipient = come(&scene.recipient, 1).await.unwrap();
        let mut owner = wait(&scene.owner).await.unwrap();
        // It is told for which session, so the two have met.
        owner.1.message().await.unwrap().unwrap();
        let (gone, mut left) = if owner_leaves {
            (owner, recipient)
        } else {
            (recipient, owner)
        };
        gone.0.send(noise(b"last words")).await.unwrap();
        let heard = left.1.message().await.unwrap();
        assert_eq!(heard, Some(noise(b"last words")));
        drop(gone);
        let end = tokio::time::timeout(Duration::from_secs(5), left.1.message()).await;
        assert_eq!(end.unwrap().unwrap(), None);
    }
}

#[tokio::test]
async fn keys_without_rows_are_told_so_and_a_later_attempt_is_joined_once() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    let watch = watching(&scene.recipient).await;
    let recipient: Vec<_> = (0..GRANTED).collect();
    let all: Vec<_> = (0..20).map(|c| (c, ["low", "own"])).collect();
    let (rows, keys) = submissions(&scene.agreement, &all, &recipient);
    // The owner's agent is there and does nothing: it will not send rows of this session.
    let _waiting = wait(&scene.owner).await.unwrap();
    let submit = |keys: &Submission| {
        let (mut flows, keys) = (scene.recipient.flows(), tokio_stream::iter(keys_of(keys)));
        async move { flows.submit_keys(keys).await.unwrap().into_inner().joined }
    };
    assert!(!submit(&keys).await);
    let states = || async {
        let states = scene.recipient.flows().buckets(flow()).await.unwrap();
        states.into_inner().states
    };
    assert!(states().await.is_empty());
    let sent = tokio_stream::iter(rows_of(&rows, &TAGS));
    scene.owner.flows().submit_rows(sent).await.unwrap();
    let state = &states().await[0];
    assert!(!state.joined && state.session == rows.session.as_bytes());
    assert!(submit(&keys).await);
    assert_eq!(last(watch).await.stage(), WireStage::Released);
}

#[tokio::test]
async fn a_side_that_cannot_go_on_ends_the_flow() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    let watch = watching(&scene.owner).await;
    let decline = DeclineRequest {
        flow: FLOW.to_vec(),
        code: "internal".into(),
        message: "it cannot go on".into(),
        ..DeclineRequest::default()
    };
    scene.recipient.flows().decline(decline).await.unwrap();
    assert_eq!(last(watch).await.stage(), WireStage::Refused);
}

#[tokio::test]
async fn the_recipient_is_held_to_the_size_it_declared() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    let header = KeysHeader {
        columns: Vec::new(),
        flow: FLOW.to_vec(),
        session: vec![4; 32],
        count: u64::from(GRANTED) + 1,
        bucket: 0,
        buckets: 1,
    };
    let part = Some(keys_chunk::Part::Header(header));
    let chunks = tokio_stream::iter([KeysChunk { part }]);
    let refused = scene
        .recipient
        .flows()
        .submit_keys(chunks)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_aborted(&last(watching(&scene.recipient).await).await, "submitting");
}

#[tokio::test]
async fn the_owner_declines_in_its_own_words() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    let watch = watching(&scene.recipient).await;
    let decline = DeclineRequest {
        flow: FLOW.to_vec(),
        code: "owner_limit".into(),
        field: "set_size".into(),
        message: "too many".into(),
        would_pass: "at most 50".into(),
    };
    scene.owner.flows().decline(decline.clone()).await.unwrap();
    let told = last(watch).await;
    assert_eq!(told.stage(), WireStage::Refused);
    assert_eq!(told.denial.unwrap().message, "too many");
    let again = scene.owner.flows().decline(decline).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
}

#[tokio::test]
async fn a_restart_goes_on_with_what_ran_and_keeps_what_was_released() {
    let mut scene = Scene::set().await;
    let secret = scene.granted().await;
    scene.submit(20).await;
    assert_eq!(
        last(watching(&scene.owner).await).await.stage(),
        WireStage::Released
    );
    let (_, before) = scene.fetched(&scene.recipient).await.unwrap();
    let (mut body, _) = request_body(&scene.agreement, 2);
    body.tags = TAGS.map(|tag| tag.parse().unwrap()).to_vec();
    let signed = SignedRequest::sign(&insurer().key, body).unwrap();
    let request = FlowRequest {
        signed_request: signed.to_json().unwrap(),
    };
    scene
        .recipient
        .flows()
        .request(request.clone())
        .await
        .unwrap();

    let serving = scene.serving.restart().await;
    let certificates =
        [&scene.owner, &scene.recipient].map(|a| (a.certificate.clone(), a.key.clone()));
    let [owner, recipient] = certificates;
    let recipient = serving.agent_with(insurer(), recipient.0, recipient.1);
    let scene = Scene {
        owner: serving.agent_with(bank(), owner.0, owner.1),
        serving,
        recipient,
        ..scene
    };
    // It is offered again, to an agent that has come back.
    let offers = scene.owner.flows().listen(ListenRequest::default()).await;
    let offer = offers.unwrap().into_inner().message().await.unwrap();
    assert_eq!(offer.unwrap().signed_request, request.signed_request);
    let decline = DeclineRequest {
        flow: vec![2; 16],
        code: "busy".into(),
        ..DeclineRequest::default()
    };
    scene.owner.flows().decline(decline).await.unwrap();
    let (receipt, after) = scene.fetched(&scene.recipient).await.unwrap();
    assert_eq!(before, after);
    scene.verified(&receipt);
    let context = DeliveryContext {
        flow: FLOW,
        agreement: *scene.agreement.digest().as_bytes(),
    };
    Delivery::open(after, &secret, &context).unwrap();
    // The same signed request once more, after the restart.
    let reply = scene.recipient.flows().request(request).await.unwrap();
    let Some(Answer::Denied(denial)) = reply.into_inner().result else {
        panic!("granted");
    };
    assert_eq!(denial.code, "replayed");
}

#[tokio::test]
async fn a_revocation_withdraws_what_was_not_fetched() {
    let mut scene = Scene::set().await;
    scene.granted().await;
    scene.submit(20).await;
    assert_eq!(
        last(watching(&scene.owner).await).await.stage(),
        WireStage::Released
    );
    scene.owner.revoke(&scene.agreement).await;
    let refused = scene.fetched(&scene.recipient).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("withdrawn"), "{refused}");
    // The owner may still show what was recorded.
    let (receipt, _) = scene.fetched(&scene.owner).await.unwrap();
    scene.verified(&receipt);
}
