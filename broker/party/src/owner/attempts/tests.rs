use counterfoil_policy::decision::AgreementStatus;
use counterfoil_proto::delivery::DeliverySecret;
use counterfoil_psi::BucketKey;

use super::super::flow::judge_under;
use super::*;
use crate::clock::Clock;
use crate::flow::fixture::{self, OWNER};
use crate::testkit::home_of;

fn session(bucket: u32, attempt: u32) -> Session {
    Session { bucket, attempt }
}

/// A home that accepted a flow of 100 identifiers, and may answer so many in the period.
fn accepted(identifiers: u64) -> (tempfile::TempDir, Home, Accepted) {
    let shift = fixture::now().unix_seconds() - Clock::system().now().unix_seconds();
    let (dir, home) = home_of(OWNER, Clock::shifted(shift));
    let caps = format!("[default]\nidentifiers_per_period = {identifiers}\n");
    home.write("limits.toml", caps.as_bytes()).unwrap();
    let secret = DeliverySecret::generate(&mut rand::rng());
    let agreement = fixture::agreement();
    let body = fixture::body(&agreement, &secret, home.clock().now());
    let signed = fixture::sign(body);
    let accepted = judge_under(&home, agreement, AgreementStatus::Active, &signed);
    (dir, home, accepted.unwrap().unwrap())
}

fn plan(accepted: &Accepted, key: u8) -> Plan {
    let key = BucketKey::from_bytes([key; 16]);
    let identifiers = accepted.grant.identifiers();
    Plan::new(&key, 1 << 21, identifiers, &accepted.agreement)
}

#[test]
fn attempts_rise_are_few_and_outlive_the_process() {
    let (_dir, home, accepted) = accepted(1_000_000);
    let load = || Attempts::load(&home, accepted.grant.request()).unwrap();
    let kept = load().unwrap();
    assert_eq!(kept.check(session(0, 1)), Err(NoAttempt::NoBucket));
    let plan = plan(&accepted, 1);
    let kept = Attempts::keep(&home, &accepted, plan.clone())
        .unwrap()
        .unwrap();
    assert_eq!(kept.check(session(0, 2)), Ok(false));
    Attempts::count(&home, &accepted, &plan, session(0, 2))
        .unwrap()
        .unwrap();
    let kept = load().unwrap();
    assert!(kept.plan() == Some(&plan) && !kept.none_made());
    assert_eq!(kept.check(session(0, 2)), Err(NoAttempt::Made));
    assert_eq!(kept.check(session(0, 1)), Err(NoAttempt::Made));
    assert_eq!(kept.check(session(0, 3)), Ok(true));
    assert_eq!(kept.check(session(1, 1)), Ok(false));
    assert_eq!(
        kept.check(session(plan.buckets(), 1)),
        Err(NoAttempt::NoBucket)
    );
    assert_eq!(
        kept.check(session(1, ATTEMPTS_MAX + 1)),
        Err(NoAttempt::TooMany)
    );
    // Another request under the same id is another flow.
    let other = DeliverySecret::generate(&mut rand::rng());
    let other = fixture::request(&fixture::agreement(), &other);
    assert!(Attempts::load(&home, &other).unwrap().is_none());
    forget(&home, accepted.grant.flow()).unwrap();
    assert!(load().is_none());
}

#[test]
fn what_another_process_of_the_home_counted_in_the_meantime_holds() {
    let (_dir, home, accepted) = accepted(1_000_000);
    let first = plan(&accepted, 1);
    let seen = Attempts::keep(&home, &accepted, first.clone())
        .unwrap()
        .unwrap();
    let count = |plan: &Plan, session| Attempts::count(&home, &accepted, plan, session).unwrap();
    // Two processes were brought the same session, and both found that it was not made.
    assert_eq!(seen.check(session(1, 1)), Ok(false));
    count(&first, session(1, 1)).unwrap();
    assert_eq!(count(&first, session(1, 1)).err(), Some(NoAttempt::Made));
    // One meets while another matches: the count is not lost with the old plan.
    let second = plan(&accepted, 2);
    let met = Attempts::keep(&home, &accepted, second.clone()).unwrap();
    assert_eq!(met.err(), Some(NoAttempt::Matched));
    assert_eq!(
        count(&second, session(0, 1)).err(),
        Some(NoAttempt::NoBucket)
    );
    let kept = Attempts::load(&home, accepted.grant.request())
        .unwrap()
        .unwrap();
    assert!(kept.plan() == Some(&first));
    assert_eq!(kept.check(session(1, 1)), Err(NoAttempt::Made));
}

#[test]
fn what_is_repeated_is_charged_once_for_each_time() {
    let (_dir, home, probe) = accepted(1_000_000);
    let slots = u64::from(plan(&probe, 1).slots(Role::Recipient));
    let in_all = plan(&probe, 1).slots_in_all(Role::Recipient);
    drop(home);
    let (_dir, home, accepted) = accepted(in_all + 2 * slots);
    let plan = plan(&accepted, 1);
    for _ in 0..3 {
        // Meeting again charges nothing more.
        Attempts::keep(&home, &accepted, plan.clone())
            .unwrap()
            .unwrap();
    }
    let count = |session| Attempts::count(&home, &accepted, &plan, session).unwrap();
    for (bucket, attempt) in [(0, 1), (1, 1), (0, 2), (1, 2)] {
        count(session(bucket, attempt)).unwrap();
    }
    assert_eq!(count(session(0, 3)).err(), Some(NoAttempt::OverIdentifiers));
    // What was not charged was not counted.
    let kept = Attempts::load(&home, accepted.grant.request())
        .unwrap()
        .unwrap();
    assert_eq!(kept.check(session(0, 3)), Ok(true));
}
