//! Who may call what, and for how long.

use counterfoil_proto::v1::operator_client::OperatorClient;
use counterfoil_proto::v1::{
    CheckpointRequest, ConsistencyRequest, ExportRequest, FlowRef, InviteRequest, JoinRequest,
    ListAgreementsRequest, ListenRequest, Offer, PartnersRequest, ProposeRequest, ReceiptsRequest,
    RevokePartnerRequest, StatusRequest,
};
use tonic::{Code, Status, Streaming};

use super::super::*;
use super::agent::{Agent, Serving};
use crate::testing::{bank, insurer, version};

fn code<T>(result: Result<T, Status>) -> Code {
    result.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// What one call or two of every service but enrolment answer; the operator's come first.
async fn codes(agent: &Agent) -> Vec<Code> {
    let mut operator = OperatorClient::new(agent.channel.clone());
    let flow = || FlowRef { flow: vec![0; 16] };
    let all = ListAgreementsRequest::default();
    let none = ProposeRequest::default();
    let revoke = RevokePartnerRequest::default();
    vec![
        code(operator.invite(InviteRequest::default()).await),
        code(operator.export(ExportRequest {}).await),
        code(operator.revoke_partner(revoke).await),
        code(agent.directory().status(StatusRequest {}).await),
        code(agent.directory().partners(PartnersRequest {}).await),
        code(agent.agreements().list(all).await),
        code(agent.agreements().propose(none).await),
        code(agent.flows().listen(ListenRequest::default()).await),
        code(agent.flows().fetch(flow()).await),
        code(agent.flows().watch(flow()).await),
        code(agent.log().checkpoint(CheckpointRequest {}).await),
        code(agent.log().consistency(ConsistencyRequest::default()).await),
        code(agent.log().receipts(ReceiptsRequest::default()).await),
    ]
}

async fn listening(agent: &Agent) -> Streaming<Offer> {
    let offers = agent.flows().listen(ListenRequest::default()).await;
    offers.unwrap().into_inner()
}

#[track_caller]
fn assert_cut(read: Result<Result<Option<Offer>, Status>, tokio::time::error::Elapsed>) {
    assert!(!matches!(read, Err(_) | Ok(Ok(Some(_)))), "{read:?}");
}

/// The next offer, waited for as long as a cut may take.
async fn next(
    offers: &mut Streaming<Offer>,
) -> Result<Result<Option<Offer>, Status>, tokio::time::error::Elapsed> {
    tokio::time::timeout(Duration::from_secs(5), offers.message()).await
}

#[tokio::test]
async fn without_a_certificate_one_can_join_and_nothing_else() {
    let serving = Serving::start().await;
    let nobody = Agent {
        house: bank(),
        channel: serving.channel(None),
        certificate: String::new(),
        key: String::new(),
    };
    for code in codes(&nobody).await {
        assert_eq!(code, Code::Unauthenticated);
    }
    let large = JoinRequest {
        signing_key: "x".repeat(JOIN_BYTES_MAX),
        ..serving.invited(&bank()).await
    };
    assert_eq!(code(serving.join(large).await), Code::OutOfRange);
    let request = serving.invited(&bank()).await;
    let (reply, _) = serving.join(request.clone()).await.unwrap();
    assert_eq!(reply.org, "north-bank");
    assert_eq!(reply.log_key, serving.broker.ledger.verifier());
    let again = serving.join(request.clone()).await;
    assert_eq!(code(again), Code::FailedPrecondition);
    let wrong = JoinRequest {
        secret: vec![0; 32],
        ..request
    };
    assert_eq!(code(serving.join(wrong).await), Code::NotFound);
}

#[tokio::test]
async fn a_partner_is_no_operator_and_the_operator_no_partner() {
    let serving = Serving::start().await;
    let bank = serving.agent(bank()).await;
    let seen = codes(&bank).await;
    let denied = |codes: &[Code]| codes.iter().all(|code| *code == Code::PermissionDenied);
    assert!(denied(&seen[..3]), "{seen:?}");
    assert!(!seen[3..].contains(&Code::Unauthenticated), "{seen:?}");
    let identity = serving.home.identity("operator").unwrap();
    let key = identity.key.to_string();
    let operator = serving.agent_with(insurer(), identity.certificate, key);
    let seen = codes(&operator).await;
    assert!(denied(&seen[5..10]), "{seen:?}");
    assert_eq!(serving.operator.partners().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_revocation_cuts_open_streams_and_is_told_on_new_ones() {
    let serving = Serving::start().await;
    let (bank, insurer) = (serving.agent(bank()).await, serving.agent(insurer()).await);
    let mut offers = listening(&bank).await;
    let mut others = listening(&insurer).await;
    assert!(serving.broker.flows.is_listening(&bank.house.org()));
    let revoked = serving.operator.revoke_partner("north-bank", "left").await;
    revoked.unwrap();
    assert_cut(next(&mut offers).await);
    assert!(!serving.broker.flows.is_listening(&bank.house.org()));
    let status = bank.directory().status(StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("of `north-bank` was revoked"));
    // The other's stream goes on.
    let quiet = tokio::time::timeout(Duration::from_millis(200), others.message()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn joining_again_replaces_the_certificate_and_cuts_the_old() {
    let serving = Serving::start().await;
    let old = serving.agent(bank()).await;
    let mut offers = listening(&old).await;
    let new = serving.agent(bank()).await;
    assert_cut(next(&mut offers).await);
    let refused = old.directory().status(StatusRequest {}).await;
    assert_eq!(code(refused), Code::Unauthenticated);
    assert_eq!(
        code(new.directory().status(StatusRequest {}).await),
        Code::Ok
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_gets_no_connection() {
    let serving = Serving::start().await;
    let other = Serving::start().await;
    let theirs = other.agent(bank()).await;
    let agent = serving.agent_with(bank(), theirs.certificate, theirs.key);
    let refused = agent.directory().status(StatusRequest {}).await;
    assert_ne!(code(refused), Code::Ok);
    assert_eq!(serving.broker.ledger.durable(), 1);
}

#[tokio::test]
async fn a_partner_that_proposes_without_end_hides_nothing_and_is_slowed() {
    let serving = Serving::start().await;
    let (bank, insurer) = (serving.agent(bank()).await, serving.agent(insurer()).await);
    bank.propose(&version(1)).await;
    insurer.countersign(&version(1)).await;
    for number in 2..20 {
        bank.propose(&version(number)).await;
    }
    let all = ListAgreementsRequest::default();
    let listed = insurer.agreements().list(all).await.unwrap();
    let listed = listed.into_inner().agreements;
    assert_eq!((listed.len(), listed[0].status.as_str()), (19, "active"));
    // Tries come back with time, and a busy machine may take long over one call.
    let mut answers = Vec::new();
    while answers.last() != Some(&Code::ResourceExhausted) && answers.len() < 20 {
        while serving.broker.rates.count(&bank.house.org()).is_ok() {}
        let slowed = bank.agreements().propose(ProposeRequest::default()).await;
        answers.push(code(slowed));
    }
    assert_eq!(answers.last(), Some(&Code::ResourceExhausted));
    // It still reads, and others are not slowed.
    let read = bank.directory().status(StatusRequest {}).await;
    assert_eq!(code(read), Code::Ok);
    let other = insurer
        .agreements()
        .propose(ProposeRequest::default())
        .await;
    assert_eq!(code(other), Code::Ok);
}

#[tokio::test]
async fn a_failed_log_ends_the_broker_and_every_connection() {
    let serving = Serving::start().await;
    let bank = serving.agent(bank()).await;
    let mut offers = listening(&bank).await;
    serving.broker.ledger.down().cancel();
    assert_cut(next(&mut offers).await);
    let said = serving.ended().await.unwrap_err().to_string();
    assert!(said.contains("not known what reached the disk"), "{said}");
}

#[tokio::test]
async fn a_log_that_was_begun_with_another_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let now = time::OffsetDateTime::now_utc();
    let home = Home::create(dir.path(), crate::testing::config(), now).unwrap();
    drop(Service::start(home.clone()).await.unwrap());
    crate::files::write_durably(&dir.path().join("keys/log.key"), &[9; 32]).unwrap();
    let said = Service::start(home).await.err().unwrap().to_string();
    assert!(said.contains("keys/log.key"), "{said}");
}
