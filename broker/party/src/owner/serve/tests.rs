use std::sync::Mutex;

use time::Duration as Days;

use super::*;
use crate::clock::Clock;
use crate::flow::Stage;
use crate::testkit::Ca;

type Seen = Arc<Mutex<Vec<ServeEvent>>>;

fn recorder() -> (Seen, OnEvent) {
    let seen = Seen::default();
    let to = Arc::clone(&seen);
    (seen, Arc::new(move |event| to.lock().unwrap().push(event)))
}

/// A home that has joined a broker which is not there: nothing listens on port 1 of this machine.
fn lonely_home() -> (tempfile::TempDir, Arc<Home>) {
    let (dir, home) = Ca::new().joined("127.0.0.1:1", Clock::system(), Days::days(1));
    (dir, Arc::new(home))
}

#[tokio::test]
async fn a_broker_that_is_gone_is_tried_again_until_told_to_stop() {
    let (_dir, home) = lonely_home();
    let (seen, events) = recorder();
    let enough = Arc::clone(&seen);
    let shutdown = async move {
        while enough.lock().unwrap().len() < 3 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    serve(home, ServeOptions::default(), events, shutdown)
        .await
        .unwrap();
    let seen = seen.lock().unwrap();
    let waits: Vec<u64> = seen
        .iter()
        .filter_map(|event| match event {
            ServeEvent::Lost { why, retry_in_ms } => {
                assert!(why.contains("127.0.0.1:1"), "{why}");
                Some(*retry_in_ms)
            }
            _ => None,
        })
        .collect();
    assert!(
        (250..=313).contains(&waits[0]) && (500..=625).contains(&waits[1]),
        "{waits:?}"
    );
    assert_eq!(seen.last(), Some(&ServeEvent::Stopping { running: 0 }));
}

#[tokio::test]
async fn one_home_is_served_by_one_process() {
    let (_dir, home) = lonely_home();
    let _lock = ServeLock::take(&home, Shard::WHOLE).unwrap();
    let (_, events) = recorder();
    let second = serve(
        Arc::clone(&home),
        ServeOptions::default(),
        events,
        std::future::ready(()),
    )
    .await;
    assert!(matches!(second, Err(Error::Busy(_))));
}

#[tokio::test]
async fn a_home_that_never_joined_is_not_retried() {
    let (_dir, home) = crate::testkit::home(Clock::system());
    let (seen, events) = recorder();
    let result = serve(
        Arc::new(home),
        ServeOptions::default(),
        events,
        std::future::pending(),
    )
    .await;
    assert!(matches!(result, Err(Error::NotJoined(_))));
    assert!(
        !seen
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, ServeEvent::Lost { .. }))
    );
}

#[test]
fn offers_that_are_none_are_told_and_bounded() {
    let offer = |bytes: Vec<u8>| {
        read_offer(&Offer {
            signed_request: bytes,
        })
    };
    assert!(
        offer(vec![b'x'; REQUEST_BYTES_MAX + 1])
            .unwrap_err()
            .contains("32769 bytes")
    );
    assert!(offer(b"{}".to_vec()).is_err());
    assert!(offer(Vec::new()).is_err());
}

#[test]
fn events_have_one_flat_json_form() {
    let event = |what| {
        serde_json::to_value(ServeEvent::Flow {
            flow: "07".into(),
            what,
        })
        .unwrap()
    };
    let stage = event(FlowEvent::Stage {
        stage: Stage::Matching,
    });
    assert_eq!(
        stage,
        serde_json::json!({"event": "flow", "flow": "07", "what": "stage", "stage": "matching"})
    );
    let step = crate::matching::MatchProgress {
        own: 1,
        own_total: 2,
        peer: 3,
        peer_total: 4,
    };
    assert_eq!(
        event(FlowEvent::Matching(step)),
        serde_json::json!({"event": "flow", "flow": "07", "what": "matching", "own": 1, "own_total": 2, "peer": 3, "peer_total": 4})
    );
}
