use counterfoil_audit::entry::{Document, Event, TraceAuthorised};
use counterfoil_policy::approval::{ScoringRequest, all_lineages};
use counterfoil_policy::text::ScoringId;

use super::*;
use crate::testing::{World, agreement, bank, moment, now};

fn partner() -> Partner {
    Partner {
        org: bank().org(),
        certificate: bank().certificate(),
    }
}

/// A scoring that was just authorised.
async fn authorised(broker: &Broker) -> Authorised {
    let request = ScoringRequest {
        id: ScoringId::from_bytes([7; 8]),
        org: bank().keys().name,
        lineage: all_lineages(&bank().keys().name),
        file_sha256: ContentDigest::from_bytes([5; 32]),
        content_sha256: ContentDigest::from_bytes([6; 32]),
        rows: 1,
        rows_used: 1,
        tag_key: None,
        at: moment(now()),
    };
    let document = |json| Document::new(json).unwrap();
    let lineage = label(&request.lineage);
    let event = TraceAuthorised {
        org: bank().org(),
        lineage: lineage.clone(),
        request: document(serde_json::to_value(&request).unwrap()),
        authorisation: document(serde_json::json!({})),
        request_sha256: Digest::from_bytes([7; 32]),
        file_sha256: Digest::from_bytes([5; 32]),
        rows_used: Integer::new(1).unwrap(),
        tag_key: None,
    };
    let value = ScoringEntry { request, lineage };
    let decided = Decided {
        events: vec![event.into()],
        value,
    };
    let recorded: Result<_, Refusal> = broker
        .ledger
        .commit(&partner().actor(), |_, _| Ok(decided))
        .await;
    recorded.unwrap()
}

fn reason_of_last(broker: &Broker, scoring: u64) -> String {
    let last = broker.ledger.durable() - 1;
    let entry = broker.ledger.entry(last).unwrap().parse().unwrap();
    let Event::TraceFailed(event) = entry.event() else {
        panic!("{:?}", entry.event());
    };
    assert_eq!(
        (event.scoring.value(), &event.org),
        (scoring, &bank().org())
    );
    event.reason.to_string()
}

#[tokio::test]
async fn a_scoring_that_the_broker_fails_in_has_an_outcome_all_the_same() {
    let world = World::with(&agreement()).await;
    let broker = &world.broker;
    let (replies, _told) = mpsc::channel(STREAM_CHUNKS);
    let scoring = authorised(broker).await;
    let index = scoring.index();
    assert!(broker.ledger.read(|state| state.marks.is_open(index)));
    // The content is not there: no owner can bring that about.
    let failed = ended(broker, &partner(), scoring, None, &replies).await;
    assert!(failed.is_err());
    assert_eq!(reason_of_last(broker, index), BROKER_FAILED);
    assert!(!broker.ledger.read(|state| state.marks.is_open(index)));
    // What the owner can change is told to it, and is the same in the log.
    let scoring = authorised(broker).await;
    let index = scoring.index();
    let content = LeakContent {
        known: Vec::new(),
        mark_tags: Vec::new(),
        columns: Vec::new(),
    };
    let denied = ended(broker, &partner(), scoring, Some(content), &replies).await;
    let trace_reply::Part::Denied(denied) = denied.unwrap() else {
        panic!("no code is in an empty file");
    };
    assert_eq!(reason_of_last(broker, index), denied.message);
}

#[tokio::test]
async fn scorings_that_a_stop_cut_off_fail_at_the_next_start() {
    let world = World::with(&agreement()).await;
    let index = authorised(&world.broker).await.index();
    fail_interrupted(&world.broker).await.unwrap();
    assert!(reason_of_last(&world.broker, index).contains("was stopped"));
    // Once.
    let entries = world.broker.ledger.durable();
    fail_interrupted(&world.broker).await.unwrap();
    assert_eq!(world.broker.ledger.durable(), entries);
}
