use counterfoil_audit::entry::{AgreementRevoked, PartnerRevoked};
use counterfoil_policy::agreement::Agreement;

use super::*;
use crate::decide::agreements::reference;
use crate::refusal::sentence;
use crate::testing::{TAGS, World, agreement, bank, document, intent_event};

const SEALED: &[u8] = b"sealed";

async fn stored(world: &World, agreement: &Agreement) -> Stored {
    world.granted(agreement, 1, &TAGS).await;
    Stored::store(
        &world.broker.deliveries,
        &Sealed::without_rows(SEALED),
        |sha256, bytes| {
            let mut intent = intent_event(agreement, 1);
            (intent.result.sha256, intent.result.bytes) = (sha256, bytes);
            intent
        },
    )
    .unwrap()
}

fn recorded(world: &World) -> Option<RecordedRelease> {
    let flow = counterfoil_audit::entry::FlowId::from_bytes([1; 16]);
    world.broker.ledger.release(flow)
}

async fn sent(world: &World) -> (Result<ReleaseOutcome, Unsent>, Vec<u8>) {
    let released = Released::open(recorded(world).unwrap(), &world.broker.deliveries).unwrap();
    let (to, mut from) = mpsc::channel(16);
    let outcome = released.send(&world.broker, &to).await;
    drop(to);
    let mut bytes = Vec::new();
    while let Some(Ok(DeliveryChunk {
        part: Some(Part::Sealed(piece)),
    })) = from.recv().await
    {
        bytes.extend(piece);
    }
    (outcome, bytes)
}

#[tokio::test]
async fn stored_is_not_recorded_and_recorded_leaves_as_often_as_it_is_fetched() {
    let agreement = agreement();
    let world = World::with(&agreement).await;
    let stored = stored(&world, &agreement).await;
    assert_eq!(world.deliveries(), 1);
    assert!(recorded(&world).is_none());
    let index = stored.record(&world.broker).await.unwrap().index();
    for _ in 0..2 {
        let (outcome, bytes) = sent(&world).await;
        assert_eq!(bytes, SEALED);
        let outcome = outcome.unwrap();
        assert_eq!(
            (outcome.intent.value(), outcome.outcome),
            (index, Outcome::Delivered)
        );
        record_outcome(&world.broker, outcome).await;
    }
    // The intent and one outcome.
    assert_eq!(world.broker.ledger.durable(), index + 2);
}

#[tokio::test]
async fn a_revocation_stops_what_was_recorded_before_the_next_piece() {
    let agreement = agreement();
    let world = World::with(&agreement).await;
    stored(&world, &agreement)
        .await
        .record(&world.broker)
        .await
        .unwrap();
    world
        .record(AgreementRevoked {
            agreement: reference(&agreement),
            org: bank().org(),
            reason: sentence("over"),
            signature: document(&bank().revocation(&agreement)),
        })
        .await;
    let (outcome, bytes) = sent(&world).await;
    assert!(matches!(outcome, Err(Unsent::Withdrawn)) && bytes.is_empty());
}

#[tokio::test]
async fn a_revoked_party_or_a_failed_log_stops_it_too() {
    let agreement = agreement();
    for failed_log in [false, true] {
        let world = World::with(&agreement).await;
        stored(&world, &agreement)
            .await
            .record(&world.broker)
            .await
            .unwrap();
        let released = Released::open(recorded(&world).unwrap(), &world.broker.deliveries).unwrap();
        if failed_log {
            world.broker.ledger.down().cancel();
        } else {
            let (org, reason) = (bank().org(), sentence("left"));
            world.record(PartnerRevoked { org, reason }).await;
        }
        let (to, mut from) = mpsc::channel(16);
        assert!(matches!(
            released.send(&world.broker, &to).await,
            Err(Unsent::Withdrawn)
        ));
        assert!(from.try_recv().is_err());
    }
}

#[tokio::test]
async fn that_it_was_delivered_outlasts_that_it_was_withdrawn() {
    let agreement = agreement();
    let world = World::with(&agreement).await;
    stored(&world, &agreement)
        .await
        .record(&world.broker)
        .await
        .unwrap();
    let base = world.broker.ledger.durable();
    for (told, entries) in [
        (Outcome::Withdrawn, 1),
        (Outcome::Withdrawn, 1),
        (Outcome::Delivered, 2),
        (Outcome::Delivered, 2),
        (Outcome::Withdrawn, 2),
    ] {
        let outcome = outcome(&recorded(&world).unwrap(), told);
        record_outcome(&world.broker, outcome).await;
        assert_eq!(world.broker.ledger.durable(), base + entries);
    }
}

#[tokio::test]
async fn a_reader_that_leaves_gets_no_outcome() {
    let agreement = agreement();
    let world = World::with(&agreement).await;
    stored(&world, &agreement)
        .await
        .record(&world.broker)
        .await
        .unwrap();
    let released = Released::open(recorded(&world).unwrap(), &world.broker.deliveries).unwrap();
    let (to, from) = mpsc::channel(1);
    drop(from);
    assert!(matches!(
        released.send(&world.broker, &to).await,
        Err(Unsent::RecipientLeft)
    ));
}
