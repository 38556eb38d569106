use super::*;
use crate::testing::{TAGS, World, agreement, bank, insurer, stranger};

const WHOLE: Session = Session {
    bucket: 0,
    attempt: 1,
};

async fn running() -> (World, Arc<Running>) {
    let agreement = agreement();
    let world = World::with(&agreement).await;
    let (running, _) = world.granted(&agreement, 1, &TAGS).await;
    (world, running)
}

fn whole() -> Shard {
    Shard::new(0, 1).unwrap()
}

fn session(byte: u8) -> SessionId {
    SessionId::from_bytes([byte; 32])
}

/// As if this much time had passed.
fn age(of: &mut Instant, by: Duration) {
    *of = Instant::now().checked_sub(by).unwrap();
}

#[tokio::test]
async fn stages_follow_what_happens() {
    let (_world, running) = running().await;
    assert_eq!(running.role(&bank().org()), Some(Role::Owner));
    assert_eq!(running.role(&insurer().org()), Some(Role::Recipient));
    assert_eq!(running.role(&stranger().org()), None);
    let stage = running.watch();
    let mut owner = running.wait(whole());
    assert_eq!(*stage.borrow(), Stage::Granted);
    running.come(WHOLE).unwrap();
    assert_eq!(owner.try_recv().unwrap().session, WHOLE);
    assert_eq!(*stage.borrow(), Stage::Matching);
    running.received(0, None);
    assert_eq!(*stage.borrow(), Stage::Matching);
    running.received(0, Some(session(1)));
    assert_eq!(*stage.borrow(), Stage::Submitting);
    let declared = crate::flow::buckets::Declared {
        bucket: 0,
        buckets: 1,
        count: 100,
    };
    running.buckets(|all| all.declare_keys(declared)).unwrap();
    assert!(running.joined(0, session(1)));
    assert!(!running.joined(0, session(1)), "the last one is told once");
    assert_eq!(*stage.borrow(), Stage::Joining);
    let again = Session {
        attempt: 2,
        ..WHOLE
    };
    assert_eq!(running.come(again).err(), Some(NoSession::Repeated));
}

#[tokio::test]
async fn what_ended_is_gone() {
    let (world, running) = running().await;
    let flows = &world.broker.flows;
    flows.end(running.grant.flow);
    assert!(running.ended().is_cancelled());
    assert!(flows.get(running.grant.flow).is_none());
    assert!(!flows.admit(running.grant.flow));
    flows.end(running.grant.flow);
}

#[tokio::test]
async fn running_flows_are_counted_for_both_sides_while_the_recipient_is_there() {
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
    // One that was killed does not keep the others from being asked for.
    age(&mut running.inner().recipient.left, ABSENT_MAX * 2);
    assert_eq!(flows.count(&insurer().org()), 0);
    let present = running.attend(Role::Recipient);
    assert_eq!(flows.count(&insurer().org()), 1);
    drop(present);
    assert_eq!(flows.count(&insurer().org()), 1);
}

#[tokio::test]
async fn a_flow_is_stale_without_an_agent_or_anything_to_do_but_never_while_the_broker_works() {
    let (world, running) = running().await;
    let flows = &world.broker.flows;
    let second = Duration::from_secs(1);
    let stale = || flows.stale().len();
    let _listening = flows.listen(bank().org(), whole());
    let recipient = running.attend(Role::Recipient);
    assert_eq!(stale(), 0);
    age(
        &mut running.inner().active,
        IDLE_BEFORE_MATCHING_MAX - second,
    );
    assert_eq!(stale(), 0);
    age(
        &mut running.inner().active,
        IDLE_BEFORE_MATCHING_MAX + second,
    );
    assert_eq!(stale(), 1);
    running.touch();
    // Both met, and then nothing.
    drop(running.wait(whole()));
    let waiting = running.wait(whole());
    running.come(WHOLE).unwrap();
    drop(waiting);
    age(&mut running.inner().active, IDLE_MAX + second);
    assert_eq!(stale(), 1);
    running.touch();
    // The recipient left: at once before anything was matched, later where there is something to come back for.
    drop(recipient);
    age(&mut running.inner().recipient.left, ABSENT_MAX + second);
    assert_eq!(stale(), 0);
    running.inner().matching = false;
    assert_eq!(stale(), 1);
    running.inner().matching = true;
    let declared = crate::flow::buckets::Declared {
        bucket: 0,
        buckets: 1,
        count: 100,
    };
    running.buckets(|all| all.declare_keys(declared)).unwrap();
    assert_eq!(stale(), 0);
    age(&mut running.inner().recipient.left, RESUME_MAX + second);
    assert_eq!(stale(), 1);
    let _recipient = running.attend(Role::Recipient);
    assert_eq!(stale(), 0);
    // An owner that listens may be reading its files.
    age(&mut running.inner().owner.left, RESUME_MAX + second);
    assert_eq!(stale(), 0);
    flows.stop_listening(&bank().org());
    assert_eq!(stale(), 1);
    age(&mut running.inner().began, LIFE_MAX + second);
    assert_eq!(stale(), 1);
    running.inner().completing = true;
    assert_eq!(stale(), 0);
}

#[tokio::test]
async fn an_agent_that_comes_back_is_offered_what_it_takes_no_part_in() {
    let (world, running) = running().await;
    let (flows, flow, org) = (&world.broker.flows, running.grant.flow, bank().org());
    assert!(!flows.is_listening(&org) && !flows.offer(flow));
    let mut first = flows.listen(org.clone(), whole());
    assert!(first.try_recv().is_ok());
    assert!(first.try_recv().is_err());
    // A newer one takes the place of an older.
    let mut second = flows.listen(org.clone(), whole());
    assert!(matches!(
        first.try_recv(),
        Err(mpsc::error::TryRecvError::Disconnected)
    ));
    assert!(second.try_recv().is_ok());
    assert!(flows.offer(flow) && second.try_recv().is_ok());
    let present = running.attend(Role::Owner);
    let mut third = flows.listen(org.clone(), whole());
    assert!(third.try_recv().is_ok() && third.try_recv().is_err());
    // It left only now, when another was there already.
    drop(present);
    flows.offer_again();
    assert!(third.try_recv().is_err(), "it may just be changing streams");
    age(&mut running.inner().owner.left, OFFER_AGAIN * 2);
    age(&mut running.inner().offered, OFFER_AGAIN * 2);
    flows.offer_again();
    flows.offer_again();
    assert!(third.try_recv().is_ok() && third.try_recv().is_err());
    // An agent that takes no offers gets no more than wait for it.
    for _ in 0..OFFERS_MAX {
        assert!(flows.offer(flow));
    }
    assert!(!flows.offer(flow));
    drop(third);
    assert!(!flows.is_listening(&org) && !flows.offer(flow));
}

#[tokio::test]
async fn every_process_of_an_owner_is_offered_a_flow_and_replaces_its_own_shard_alone() {
    let (world, running) = running().await;
    let (flows, flow, org) = (&world.broker.flows, running.grant.flow, bank().org());
    let shard = |index| Shard::new(index, 2).unwrap();
    let (mut first, mut second) = (
        flows.listen(org.clone(), shard(0)),
        flows.listen(org.clone(), shard(1)),
    );
    for process in [&mut first, &mut second] {
        assert!(process.try_recv().is_ok() && process.try_recv().is_err());
    }
    assert!(flows.offer(flow));
    assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
    drop(first);
    let mut again = flows.listen(org.clone(), shard(0));
    assert!(again.try_recv().is_ok() && second.try_recv().is_err());
    assert!(flows.offer(flow));
    assert!(again.try_recv().is_ok() && second.try_recv().is_ok());
    drop((again, second));
    assert!(!flows.is_listening(&org));
}

#[tokio::test]
async fn keys_wait_for_rows_as_long_as_these_may_come() {
    let (_world, running) = running().await;
    let may_come = || running.rows_may_come(0, session(1));
    let owner = running.attend(Role::Owner);
    assert!(may_come(), "its agent may be computing");
    let waiting = running.wait(whole());
    assert!(!may_come(), "it is free for another session");
    running.received(0, Some(session(1)));
    assert!(may_come() && !running.rows_may_come(0, session(2)));
    running.received(0, Some(session(2)));
    drop(waiting);
    assert!(may_come());
    drop(owner);
    assert!(may_come(), "it may have been cut off");
    age(&mut running.inner().owner.left, ROWS_WAIT * 2);
    assert!(!may_come(), "it left");
}
