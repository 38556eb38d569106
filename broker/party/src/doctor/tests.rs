use std::os::unix::fs::PermissionsExt as _;

use time::Duration;

use super::*;
use crate::testkit::{Ca, home};

fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks
        .iter()
        .find(|check| check.name == name)
        .unwrap_or_else(|| panic!("{name} in {checks:#?}"))
}

#[tokio::test]
async fn no_home_and_an_open_home_are_the_only_findings() {
    let dir = tempfile::tempdir().unwrap();
    let checks = run(&dir.path().join("none"), Clock::system()).await;
    assert_eq!((checks.len(), checks[0].health), (1, Health::Failed));
    assert!(checks[0].advice.contains("party init"), "{checks:?}");

    let (_dir, home) = home(Clock::system());
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let checks = run(home.path(), Clock::system()).await;
    assert!(checks[0].advice.starts_with("run `chmod 700"), "{checks:?}");
}

#[tokio::test]
async fn a_fresh_home_lacks_people_and_a_broker() {
    let (_dir, home) = home(Clock::system());
    let checks = run(home.path(), Clock::system()).await;
    assert_eq!(find(&checks, "home").health, Health::Ok);
    assert_eq!(find(&checks, "keys").health, Health::Ok);
    assert_eq!(find(&checks, "people").health, Health::Warning);
    let joined = find(&checks, "joined");
    assert_eq!(joined.health, Health::Failed);
    assert!(joined.advice.contains("party join"), "{joined:?}");
    for user in ["alice", "bob"] {
        home.add_person(&user.parse().unwrap()).unwrap();
    }
    assert_eq!(people(&home).health, Health::Ok);
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named() {
    let ca = Ca::new();
    let (_dir, home) = ca.joined("127.0.0.1:1", Clock::system(), Duration::days(365));
    let checks = run(home.path(), Clock::system()).await;
    let broker = find(&checks, "broker");
    assert_eq!(broker.health, Health::Failed);
    assert!(
        broker.advice.contains("counterfoil broker serve"),
        "{broker:?}"
    );
    assert_eq!(find(&checks, "certificate").health, Health::Ok);
}

#[test]
fn certificates_are_watched() {
    let ca = Ca::new();
    for (ends, health) in [
        (Duration::days(365), Health::Ok),
        (Duration::days(3), Health::Warning),
        (Duration::hours(-1), Health::Failed),
    ] {
        let (_dir, home) = ca.joined("127.0.0.1:1", Clock::system(), ends);
        assert_eq!(certificate(&home).health, health, "{ends}");
    }
}

#[test]
fn clocks_are_compared() {
    let now: Timestamp = "2026-11-23T03:20:00Z".parse().unwrap();
    for (broker, health) in [
        ("2026-11-23T03:20:00.123456Z", Health::Ok),
        ("2026-11-23T03:20:31Z", Health::Warning),
        ("2026-11-23T03:14:00.000000Z", Health::Failed),
        ("2026-11-24T03:20:00Z", Health::Failed),
        ("yesterday", Health::Warning),
    ] {
        assert_eq!(skew(now, broker).health, health, "{broker}");
    }
    assert!(
        skew(now, "2026-11-24T03:20:00Z")
            .detail
            .starts_with("86400 s behind")
    );
}

#[test]
fn a_changed_partner_fails_and_an_unconfirmed_one_warns() {
    let org: OrgName = "east-life".parse().unwrap();
    assert_eq!(
        partner(&org, Confirmation::Confirmed, false).health,
        Health::Ok
    );
    assert_eq!(
        partner(&org, Confirmation::Changed, false).health,
        Health::Failed
    );
    let unconfirmed = partner(&org, Confirmation::NotConfirmed, false);
    assert_eq!(unconfirmed.health, Health::Warning);
    assert!(unconfirmed.advice.contains("confirm-partner east-life"));
    assert_eq!(
        partner(&org, Confirmation::Confirmed, true).health,
        Health::Warning
    );
}

#[test]
fn datasets_that_cannot_serve_are_named() {
    let (_dir, home) = home(Clock::system());
    let put = |text: &str| home.write(DATASETS, text.as_bytes()).unwrap();
    let only = || datasets(&home, &[]).into_iter().next().unwrap();
    let text = "[[dataset]]\nname = \"customers\"\nsource = \"customers.csv\"\n\
                identifiers = [{ type = \"phone\", column = \"mobile\" }]\n[dataset.tags]\nhousing = \"appetite\"\n";
    put("[[dataset]]\nname = 3\n");
    assert!(only().detail.contains("line 2"), "{:?}", only());
    put(text);
    assert!(only().detail.contains("there is no file"), "{:?}", only());
    let csv = |text: &str| std::fs::write(home.path().join("customers.csv"), text).unwrap();
    csv("mobile,other\n1,2\n");
    assert!(
        only().detail.contains("no column `appetite`"),
        "{:?}",
        only()
    );
    csv("mobile,appetite\n1,2\n");
    assert_eq!(only().health, Health::Ok);
    // What only some flows need is looked at too.
    for (more, missing) in [
        (
            "\n[dataset.canaries]\nsource = \"gone.csv\"\nexpected_rate = \"0.01\"\n",
            "gone.csv",
        ),
        ("\n[dataset.former]\nsource = \"gone.csv\"\n", "gone.csv"),
    ] {
        let keyed = text.replace("[dataset.tags]", "customer = \"mobile\"\n[dataset.tags]");
        put(&[&keyed, more].concat());
        let told = only();
        assert!(
            told.health == Health::Failed && told.detail.contains(missing),
            "{told:?}"
        );
    }
}
