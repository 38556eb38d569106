//! Canaries between three processes: who tries all numbers of a range is stopped, who does not sees nothing of them.

use counterfoil_tests::ask::event_of;
use counterfoil_tests::data::phones;
use counterfoil_tests::measuring::{agreed, measure, values, write};
use counterfoil_tests::{World, run};
use serde_json::Value;

const CANARIES: usize = 300;

/// 300 customers, of whom the recipient has 120, and 300 numbers of nobody, of which it has so many.
fn world(hit: usize) -> World {
    let mut world = agreed(&[]);
    let all = phones(1, 380 + CANARIES);
    let (people, nobody) = all.split_at(380);
    // One of them is a customer's since: it is matched as any.
    let file = [nobody, &people[..1]].concat().join("\n");
    std::fs::write(world.path("nobody.csv"), format!("mobile\n{file}\n")).unwrap();
    let recipient = [&people[180..], &nobody[..hit]].concat();
    write(&world, &people[..300], &recipient);
    let datasets = world.home("bank").join("datasets.toml");
    let text = std::fs::read_to_string(&datasets).unwrap()
        + "\n[dataset.canaries]\nsource = \"../nobody.csv\"\nexpected_rate = \"0.001\"\n";
    std::fs::write(datasets, text).unwrap();
    world.start_owner();
    world
}

fn kinds(world: &World) -> Vec<String> {
    let entries = world.entries();
    let kinds = entries
        .iter()
        .map(|entry| event_of(entry)["type"].as_str().unwrap().to_owned());
    kinds.collect()
}

fn exchange(world: &World) -> counterfoil_tests::Done {
    world.exchange(&["--json", "--tags", "age_band,housing"])
}

#[test]
fn an_honest_recipient_sees_nothing_of_canaries() {
    let mut world = world(2);
    let done = exchange(&world).json();
    assert_eq!(done["delivered"], 120);
    let matched = std::fs::read_to_string(world.path("matched.csv")).unwrap();
    assert_eq!(matched.lines().count(), 121);
    let owner = world.owner.as_mut().unwrap();
    owner.wait_for("301 canaries mixed in");
    owner.wait_for("receipt verified and kept");
    // They count for nothing in figures either.
    let answer = measure(&world, &["count epsilon 20"], &[]).json();
    assert_eq!(values(&answer["answers"][0]), [120.0]);

    // Recorded before anything was released, of each flow with other codes.
    let entries = world.entries();
    let committed: Vec<&Value> = entries
        .iter()
        .map(event_of)
        .filter(|event| event["type"] == "canaries.committed")
        .collect();
    assert_eq!(committed.len(), 2);
    assert_eq!(committed[0]["count"], CANARIES + 1);
    assert_ne!(committed[0]["codes_sha256"], committed[1]["codes_sha256"]);
    let order: Vec<String> = kinds(&world)
        .into_iter()
        .filter(|kind| {
            ["flow.granted", "canaries.committed", "release.intent"].contains(&kind.as_str())
        })
        .collect();
    assert_eq!(
        order[..3],
        ["flow.granted", "canaries.committed", "release.intent"]
    );
    for side in ["bank", "insurer"] {
        run(&world.home(side), ["audit", "verify"]).ok();
    }
}

#[test]
fn a_recipient_that_tries_a_range_is_stopped_before_anything_leaves() {
    let mut world = world(200);
    let done = exchange(&world);
    assert_eq!(done.exit, 4, "{done:?}");
    assert!(done.out.contains("holds the flow back"), "{done:?}");
    assert!(!done.out.contains("run it again"), "{done:?}");
    // Neither side is told why, nor finds it in what it may see of the log.
    assert!(
        !done.out.contains("canar") && !done.err.contains("canar"),
        "{done:?}"
    );
    let audit = world.at("insurer", &["--json", "audit", "verify"]).ok();
    assert!(!audit.contains("canar"), "{audit}");
    world
        .owner
        .as_mut()
        .unwrap()
        .wait_for("holds the flow back");
    let kinds = kinds(&world);
    let last = &kinds[kinds.len() - 2..];
    assert_eq!(last, ["incident.canaries", "flow.aborted"]);
    assert!(!kinds.contains(&"release.intent".to_owned()));
    assert!(!world.path("matched.csv").exists());

    // A figure would tell as much: it is stopped too, and costs what it would have.
    let done = measure(&world, &["count epsilon 1"], &[]);
    assert_ne!(done.exit, 0);
    let entries = world.entries();
    let mut aborted = entries
        .iter()
        .map(event_of)
        .filter(|event| event["type"] == "flow.aborted");
    assert_eq!(aborted.next_back().unwrap()["spent"]["epsilon"], "1.1");
}

#[test]
fn canaries_that_could_stop_nothing_are_the_owners_mistake() {
    let mut world = world(0);
    let check = |world: &World| run(&world.home("bank"), ["dataset", "check"]);
    let text = check(&world).ok();
    assert!(text.contains("301, a flow is stopped from about"), "{text}");
    std::fs::write(world.path("nobody.csv"), "mobile\n+8613912345678\n").unwrap();
    check(&world).fails(3, &["give several times as many"]);
    let done = exchange(&world);
    assert_ne!(done.exit, 0);
    assert!(!done.out.contains("canar"), "{done:?}");
    world
        .owner
        .as_mut()
        .unwrap()
        .wait_for("has 1 canaries, and a flow is stopped from 30 hits on");
}
