use counterfoil_audit::entry::{
    AgreementRevoked, CanariesCommitted, Event, FlowDeclined, OrgName, PartnerRevoked,
};
use counterfoil_proto::delivery::{Delivery, DeliverySecret};
use counterfoil_proto::limits::CANARY_CODE_BYTES;
use counterfoil_proto::payload::CanaryCode;
use counterfoil_proto::v1::{Consent, RowsHeader};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::flow::buckets::{Declared, Said};
use crate::flow::canaries::{Canaries, Codes};
use crate::refusal::sentence;
use crate::state::flows::Stage as State;
use crate::testing::{
    TAGS, World, agreement_with, bank, document, insurer, submissions, submissions_watched,
};

/// Small enough for a test: five rows to a group, ten in common.
fn terms() -> Agreement {
    agreement_with(&[
        ("\nk = 10 ", "\nk = 5 "),
        ("minimum_match = 50", "minimum_match = 10"),
    ])
}

/// Rows of customers, alike in groups of `group`.
fn rows(customers: u32, group: u32) -> Vec<(u32, [&'static str; 2])> {
    let cells = [
        ["low", "own"],
        ["medium", "rent"],
        ["high", "for free"],
        ["low", "rent"],
    ];
    (0..customers)
        .map(|c| (c, cells[(c / group) as usize % 4]))
        .collect()
}

async fn completed(
    world: &World,
    running: &Arc<Running>,
    agreement: &Agreement,
    rows: &[(u32, [&str; 2])],
    recipient: u32,
) {
    let recipient: Vec<_> = (0..recipient).collect();
    let (rows, keys) = submissions(agreement, rows, &recipient);
    joined(world, running, &rows, keys).await;
}

/// One bucket is all there is.
async fn joined(world: &World, running: &Arc<Running>, rows: &Submission, keys: Submission) {
    let (broker, flow) = (&world.broker, *running.grant.flow.as_bytes());
    let layout = rows.layout.clone().unwrap();
    let proven = running.agreement.consent().is_some();
    let said = Said {
        withheld: proven.then(|| CoarseCount::of(0)),
        tag_key: layout.is_marked().then(|| Digest::from_bytes([9; 32])),
    };
    let header = RowsHeader {
        keyed: false,
        watched: layout.is_watched(),
        flow: flow.to_vec(),
        session: rows.session.as_bytes().to_vec(),
        count: rows.len() as u64,
        columns: layout.to_wire(),
        bucket: 0,
        buckets: 1,
        consent: proven.then(Consent::default),
        marked: layout.is_marked(),
        tag_key: said
            .tag_key
            .map_or_else(Vec::new, |key| key.as_bytes().to_vec()),
    };
    broker.running.store_rows(flow, &header, rows).unwrap();
    let declared = Declared {
        bucket: 0,
        buckets: 1,
        count: header.count,
    };
    running
        .buckets(|all| all.declare_rows(declared, &layout, said))
        .unwrap();
    running.received(0, Some(rows.session));
    if join(broker, running, 0, keys).await == Some(true) {
        run(broker.clone(), running.clone()).await;
    }
}

fn closed_with(world: &World, running: &Running) -> (String, bool) {
    match world.stage(running) {
        State::Closed {
            decision, aborted, ..
        } => (decision.code.to_string(), aborted),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_release_is_recorded_of_exactly_the_bytes_that_are_stored() {
    let agreement = terms();
    let world = World::with(&agreement).await;
    let (running, secret) = world.granted(&agreement, 1, &TAGS).await;
    completed(&world, &running, &agreement, &rows(20, 5), 15).await;

    let recorded = world.broker.ledger.release(running.grant.flow).unwrap();
    let intent = recorded.intent();
    let path = world
        .dir
        .path()
        .join("deliveries")
        .join(format!("{}.sealed", "01".repeat(16)));
    let sealed = std::fs::read(path).unwrap();
    assert_eq!(intent.result.bytes.value(), sealed.len() as u64);
    assert_eq!(
        *intent.result.sha256.as_bytes(),
        <[u8; 32]>::from(Sha256::digest(&sealed))
    );
    assert_eq!(intent.result.rows.as_str(), "fewer than 20");
    assert_eq!(intent.recipient, running.grant.recipient);
    assert_eq!(intent.transform.k, 5);
    let columns: Vec<_> = intent
        .source
        .columns
        .as_slice()
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(columns, TAGS);

    let delivery = opened(&agreement, &sealed, &secret);
    assert_eq!(delivery.columns, TAGS);
    assert_eq!(delivery.rows.len(), 15);
    assert!(delivery.rows.iter().is_sorted_by_key(|(id, _)| *id));
    assert!(world.broker.flows.get(running.grant.flow).is_none());
    assert!(running.ended().is_cancelled());
}

fn opened(agreement: &Agreement, sealed: &[u8], secret: &DeliverySecret) -> Delivery {
    let context = DeliveryContext {
        flow: [1; 16],
        agreement: *agreement.digest().as_bytes(),
    };
    Delivery::open(sealed.to_vec(), secret, &context).unwrap()
}

#[tokio::test]
async fn no_group_under_k_is_delivered() {
    let agreement = terms();
    let world = World::with(&agreement).await;
    let (running, secret) = world.granted(&agreement, 1, &TAGS).await;
    // Groups of five, five, five and two.
    completed(&world, &running, &agreement, &rows(17, 5), 17).await;
    let path = world
        .dir
        .path()
        .join("deliveries")
        .join(format!("{}.sealed", "01".repeat(16)));
    let delivery = opened(&agreement, &std::fs::read(path).unwrap(), &secret);
    let mut groups = std::collections::HashMap::new();
    for (_, cells) in delivery.rows.iter() {
        *groups.entry(cells.collect::<Vec<_>>()).or_insert(0) += 1;
    }
    assert!(
        !groups.is_empty() && groups.values().all(|rows| *rows >= 5),
        "{groups:?}"
    );
}

#[tokio::test]
async fn under_the_minimum_the_refusal_is_recorded_and_nothing_is_stored() {
    let agreement = terms();
    let world = World::with(&agreement).await;
    let (running, _) = world.granted(&agreement, 1, &TAGS).await;
    completed(&world, &running, &agreement, &rows(9, 9), 50).await;
    assert_eq!(
        closed_with(&world, &running),
        ("minimum_match".into(), false)
    );
    assert_eq!(world.deliveries(), 0);
    assert!(world.broker.ledger.release(running.grant.flow).is_none());
    assert!(running.ended().is_cancelled());
    // And on the minimum it is released.
    let (running, _) = world.granted(&agreement, 2, &TAGS).await;
    completed(&world, &running, &agreement, &rows(10, 10), 50).await;
    assert!(matches!(world.stage(&running), State::Released { .. }));
}

#[tokio::test]
async fn rows_that_do_not_open_do_not_help_over_the_minimum() {
    let agreement = terms();
    let world = World::with(&agreement).await;
    let (running, _) = world.granted(&agreement, 1, &TAGS).await;
    let mut owner = rows(12, 12);
    for row in &mut owner[..3] {
        row.1 = ["low", "castle"];
    }
    completed(&world, &running, &agreement, &owner, 12).await;
    assert_eq!(
        closed_with(&world, &running),
        ("minimum_match".into(), false)
    );
}

#[tokio::test]
async fn a_submission_that_no_honest_agent_makes_ends_the_flow() {
    let agreement = terms();
    let world = World::with(&agreement).await;
    let (running, _) = world.granted(&agreement, 1, &TAGS).await;
    let recipient: Vec<_> = (0..20).collect();
    let (rows, _) = submissions(&agreement, &rows(20, 5), &recipient);
    let keys = Submission::keys(&[9; 32], 0, 0).unwrap();
    joined(&world, &running, &rows, keys).await;
    assert_eq!(closed_with(&world, &running), ("joining".into(), true));
    assert_eq!(world.deliveries(), 0);
}

/// What may end a flow, its agreement or a party while rows are joined.
fn interruptions(agreement: &Agreement, running: &Running) -> Vec<Event> {
    let decision = Refusal::new("busy", "the owner has no time", "ask later").decision("declined");
    vec![
        FlowDeclined {
            flow: running.grant.flow,
            org: bank().org(),
            decision,
            spent: None,
        }
        .into(),
        AgreementRevoked {
            agreement: reference(agreement),
            org: bank().org(),
            reason: sentence("over"),
            signature: document(&bank().revocation(agreement)),
        }
        .into(),
        PartnerRevoked {
            org: insurer().org(),
            reason: sentence("left"),
        }
        .into(),
        PartnerRevoked {
            org: bank().org(),
            reason: sentence("left"),
        }
        .into(),
    ]
}

#[tokio::test]
async fn what_ended_meanwhile_is_not_released_nor_stored_nor_the_end_of_the_broker() {
    for (case, customers) in (0..4).flat_map(|case| [(case, 20), (case, 3)]) {
        let agreement = terms();
        let world = World::with(&agreement).await;
        let (running, _) = world.granted(&agreement, 1, &TAGS).await;
        let event = interruptions(&agreement, &running).swap_remove(case);
        // In the log only, as in the moment before the registry is told: the join goes all the way.
        world.record(event).await;
        completed(&world, &running, &agreement, &rows(customers, 5), customers).await;
        assert!(
            matches!(world.stage(&running), State::Closed { .. }),
            "{case} {customers}"
        );
        assert_eq!(world.deliveries(), 0, "{case} {customers}");
        assert!(world.broker.ledger.release(running.grant.flow).is_none());
        assert!(!world.broker.ledger.down().is_cancelled());
    }
}

#[tokio::test]
async fn a_flow_that_has_ended_opens_no_row() {
    let agreement = terms();
    let world = World::with(&agreement).await;
    let (running, _) = world.granted(&agreement, 1, &TAGS).await;
    world
        .broker
        .abort(running.grant.flow, "idle", "nothing came")
        .await;
    let entries = world.broker.ledger.durable();
    completed(&world, &running, &agreement, &rows(20, 5), 20).await;
    assert_eq!(world.broker.ledger.durable(), entries);
}

/// The code of a customer, of whom those from 100 on are canaries.
fn canary(customer: u32) -> CanaryCode {
    let mut code = [0; CANARY_CODE_BYTES];
    if customer >= 100 {
        code[..4].copy_from_slice(&customer.to_be_bytes());
    }
    code
}

/// A flow whose owner committed to 200 canaries.
async fn flow_with_canaries(agreement: &Agreement) -> (World, Arc<Running>, DeliverySecret) {
    let world = World::with(agreement).await;
    let (running, secret) = world.granted(agreement, 1, &TAGS).await;
    let codes: Vec<u8> = (100..300).flat_map(canary).collect();
    let rate = "0.001".parse().unwrap();
    let codes = Codes::read(&codes, rate).unwrap();
    let committed = CanariesCommitted {
        flow: running.grant.flow,
        count: Integer::new(200).unwrap(),
        expected_rate: label("0.001"),
        codes_sha256: codes.digest(),
    };
    let decided = crate::log::Decided {
        events: vec![committed.into()],
        value: (),
    };
    let by = bank().actor();
    let ledger = &world.broker.ledger;
    let recorded = ledger.commit(&by, |_, _| Ok::<_, Refusal>(decided)).await;
    assert!(recorded.is_ok());
    let committed = |state: &crate::state::State| state.flow(running.grant.flow).unwrap().canaries;
    let committed = ledger.read(committed).unwrap();
    let canaries = Canaries::new(committed, &codes).unwrap();
    assert!(running.canaries.set(canaries).is_ok());
    (world, running, secret)
}

/// What comes of it if the recipient holds these.
async fn with_canaries(
    agreement: &Agreement,
    recipient: &[u32],
) -> (World, Arc<Running>, DeliverySecret) {
    let (world, running, secret) = flow_with_canaries(agreement).await;
    let owner: Vec<_> = rows(20, 5)
        .into_iter()
        .chain((100..300).map(|canary| (canary, ["low", "own"])))
        .collect();
    let (rows, keys) = submissions_watched(agreement, &owner, recipient, canary);
    joined(&world, &running, &rows, keys).await;
    (world, running, secret)
}

#[tokio::test]
async fn canaries_are_neither_delivered_nor_counted() {
    let agreement = terms();
    let recipient: Vec<u32> = (0..20).chain(100..102).collect();
    let (world, running, secret) = with_canaries(&agreement, &recipient).await;
    assert!(world.broker.ledger.release(running.grant.flow).is_some());
    let path = world
        .dir
        .path()
        .join("deliveries")
        .join(format!("{}.sealed", "01".repeat(16)));
    let delivery = opened(&agreement, &std::fs::read(path).unwrap(), &secret);
    assert_eq!(delivery.rows.len(), 20);
}

#[tokio::test]
async fn a_flow_in_which_many_canaries_are_hit_is_held_back() {
    let agreement = terms();
    let recipient: Vec<u32> = (0..20).chain(100..250).collect();
    let (world, running, _) = with_canaries(&agreement, &recipient).await;
    assert_eq!(closed_with(&world, &running), ("review".into(), true));
    assert_eq!(world.deliveries(), 0);
    let ledger = &world.broker.ledger;
    let events: Vec<Event> = (0..ledger.durable())
        .map(|index| {
            ledger
                .entry(index)
                .unwrap()
                .parse()
                .unwrap()
                .event()
                .clone()
        })
        .collect();
    let [
        ..,
        Event::IncidentCanaries(incident),
        Event::FlowAborted(aborted),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (incident.flow, aborted.flow),
        (running.grant.flow, running.grant.flow)
    );
    let committed = usize::try_from(incident.committed.value()).unwrap();
    assert!(matches!(events[committed], Event::CanariesCommitted(_)));
    // Which were hit is kept for whoever looks at it.
    let file = world
        .dir
        .path()
        .join(format!("incidents/{}.json", incident.incident));
    let record = std::fs::read(file).unwrap();
    assert_eq!(
        *incident.record_sha256.as_bytes(),
        <[u8; 32]>::from(Sha256::digest(&record))
    );
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["hit"].as_array().unwrap().len(), 150);
    // Neither side sees the incident, and the recipient no commitment.
    let sees = |org: &str| {
        let of = |state: &crate::state::State| state.about(&OrgName::new(org).unwrap()).to_vec();
        let indices = ledger.read(of);
        let kinds = indices
            .iter()
            .map(|index| events[usize::try_from(*index).unwrap()].type_name());
        kinds
            .filter(|kind| kind.contains("canaries"))
            .collect::<Vec<_>>()
    };
    assert_eq!(sees("north-bank"), ["canaries.committed"]);
    assert!(sees("east-life").is_empty());
}

/// Who breaks the flow off before it is decided does not escape.
#[tokio::test]
async fn a_recipient_that_ends_the_flow_first_leaves_an_incident() {
    let agreement = terms();
    let (world, running, _) = flow_with_canaries(&agreement).await;
    let canaries = running.canaries.get().unwrap();
    for customer in 100..250_u32 {
        canaries.count(&canary(customer));
    }
    running.buckets(crate::flow::buckets::Buckets::restored);
    let decision = Refusal::new("c", "m", "w").decision("declined");
    let declined = |spent| FlowDeclined {
        flow: running.grant.flow,
        org: insurer().org(),
        decision,
        spent,
    };
    let actor = insurer().actor();
    assert!(world.broker.end(&actor, running.grant.flow, declined).await);
    let ledger = &world.broker.ledger;
    let last = [2, 1].map(|back| {
        let index = ledger.durable() - back;
        ledger
            .entry(index)
            .unwrap()
            .parse()
            .unwrap()
            .event()
            .type_name()
    });
    assert_eq!(last, ["incident.canaries", "flow.declined"]);
    let sees = |state: &crate::state::State| state.about(&insurer().org()).to_vec();
    assert!(!ledger.read(sees).contains(&(ledger.durable() - 2)));
}
