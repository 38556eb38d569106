use super::*;
use crate::testing::{TAGS, World, agreement, bank, insurer, stranger};

fn keys() -> Submission {
    Submission::keys(&[0; 32], 0, 0).unwrap()
}

async fn running() -> (World, Arc<Running>) {
    let agreement = agreement();
    let world = World::with(&agreement).await;
    let (running, _) = world.granted(&agreement, 1, &TAGS).await;
    (world, running)
}

#[tokio::test]
async fn each_side_has_one_role_one_relay_end_and_one_submission() {
    let (_world, running) = running().await;
    assert_eq!(running.role(&bank().org()), Some(Role::Owner));
    assert_eq!(running.role(&insurer().org()), Some(Role::Recipient));
    assert_eq!(running.role(&stranger().org()), None);
    let stage = running.watch();
    assert!(running.open_relay(Role::Owner).is_some());
    assert!(running.open_relay(Role::Owner).is_none());
    assert_eq!(*stage.borrow(), Stage::Granted);
    assert!(running.open_relay(Role::Recipient).is_some());
    assert_eq!(*stage.borrow(), Stage::Matching);
    assert!(running.reserve(Role::Owner) && !running.reserve(Role::Owner));
    assert!(running.reserve(Role::Recipient));
    assert!(running.submit(Role::Owner, keys()).is_none());
    assert!(running.has_submitted(Role::Owner) && !running.has_submitted(Role::Recipient));
    assert_eq!(*stage.borrow(), Stage::Submitting);
    assert!(running.submit(Role::Recipient, keys()).is_some());
    assert_eq!(*stage.borrow(), Stage::Joining);
    assert!(!running.reserve(Role::Owner) && !running.reserve(Role::Recipient));
}

#[tokio::test]
async fn what_ended_is_gone_and_takes_no_submission() {
    let (world, running) = running().await;
    let flows = &world.broker.flows;
    running.reserve(Role::Owner);
    running.submit(Role::Owner, keys());
    running.reserve(Role::Recipient);
    flows.end(running.grant.flow);
    assert!(running.ended().is_cancelled());
    assert!(flows.get(running.grant.flow).is_none());
    assert!(!flows.admit(running.grant.flow));
    assert!(running.submit(Role::Recipient, keys()).is_none());
    flows.end(running.grant.flow);
}

#[tokio::test]
async fn running_flows_are_counted_for_both_sides() {
    let (world, running) = running().await;
    let flows = &world.broker.flows;
    for (house, count) in [(bank(), 1), (insurer(), 1), (stranger(), 0)] {
        assert_eq!(flows.count(&house.org()), count);
    }
    let flow = running.grant.flow;
    assert_eq!(
        flows.matching(|grant| grant.source.org == bank().org()),
        [flow]
    );
    assert!(
        flows
            .matching(|grant| grant.source.org == insurer().org())
            .is_empty()
    );
    assert_eq!(flows.agreements(), [(flow, running.grant.agreement.sha256)]);
}

#[tokio::test]
async fn idle_is_without_frames_for_long_or_too_old_but_never_while_joining() {
    let (world, running) = running().await;
    let idle = || world.broker.flows.idle();
    let age = |active: Duration, began: Duration| {
        let mut inner = running.inner();
        inner.active = Instant::now().checked_sub(active).unwrap();
        inner.began = Instant::now().checked_sub(began).unwrap();
    };
    let second = Duration::from_secs(1);
    assert!(idle().is_empty());
    age(IDLE_BEFORE_RELAY_MAX - second, Duration::ZERO);
    assert!(idle().is_empty());
    age(IDLE_BEFORE_RELAY_MAX + second, Duration::ZERO);
    assert_eq!(idle().len(), 1);
    running.touch();
    assert!(idle().is_empty());
    running.open_relay(Role::Owner);
    running.open_relay(Role::Recipient);
    age(IDLE_MAX + second, Duration::ZERO);
    assert_eq!(idle().len(), 1);
    age(Duration::ZERO, LIFE_MAX + second);
    assert_eq!(idle().len(), 1);
    for role in [Role::Owner, Role::Recipient] {
        running.reserve(role);
        running.submit(role, keys());
    }
    assert!(idle().is_empty());
}

#[test]
fn a_newer_listener_takes_the_place_of_an_older() {
    let (registry, org) = (Registry::default(), bank().org());
    let flow = FlowId::from_bytes([1; 16]);
    let offer = || Offer {
        signed_request: vec![1],
    };
    assert!(!registry.is_listening(&org) && !registry.offer(flow, &org, offer()));
    let mut first = registry.listen(org.clone());
    let mut second = registry.listen(org.clone());
    assert!(registry.offer(flow, &org, offer()));
    assert!(matches!(
        first.try_recv(),
        Err(mpsc::error::TryRecvError::Disconnected)
    ));
    assert!(second.try_recv().is_ok());
    // An agent that takes no offers gets no more than wait for it.
    for _ in 0..OFFERS_MAX {
        assert!(registry.offer(flow, &org, offer()));
    }
    assert!(!registry.offer(flow, &org, offer()));
    drop(second);
    assert!(!registry.is_listening(&org) && !registry.offer(flow, &org, offer()));
    let third = registry.listen(org.clone());
    registry.stop_listening(&org);
    assert!(!registry.is_listening(&org));
    drop(third);
}

#[tokio::test]
async fn a_flow_is_deserted_if_its_owner_left_before_it_came() {
    let (world, running) = running().await;
    let (flows, flow, org) = (&world.broker.flows, running.grant.flow, bank().org());
    let offer = || Offer {
        signed_request: vec![1],
    };
    assert!(flows.deserted().is_empty());
    let took_it = flows.listen(org.clone());
    assert!(flows.offer(flow, &org, offer()));
    assert!(flows.deserted().is_empty());
    // What came back is another agent, as far as anyone knows.
    let came_back = flows.listen(org.clone());
    drop(took_it);
    assert_eq!(flows.deserted(), [flow]);
    assert!(flows.offer(flow, &org, offer()));
    assert!(running.open_relay(Role::Owner).is_some());
    drop(came_back);
    assert!(flows.deserted().is_empty());
}
