//! Who counts in a measure flow: each customer once, and nobody told of for nothing.

use std::fs;

use counterfoil_tests::ask::event_of;
use counterfoil_tests::data::phones;
use counterfoil_tests::process::counterfoil;
use counterfoil_tests::world::{AGREEMENT, DATASETS, chmod_600};
use counterfoil_tests::{Done, World};

/// With so large an epsilon the noise is all but switched off.
const SECTION: &str = r#"
[measure]
population = "retail"
queries = ["count"]
tags = ["housing"]
minimum_epsilon = "14"
epsilon_per_flow = "50"
epsilon_recipient = "100"
epsilon_population = "100"
period_days = 365
"#;

/// 100 customers who own their homes, each with two telephone numbers, all of which the recipient brings.
fn world() -> World {
    let mut world = World::agreed_with(|text| {
        text.replace("[\"exchange\"]", "[\"exchange\", \"measure\"]") + SECTION
    });
    let all = phones(1, 200);
    let rows = all
        .iter()
        .enumerate()
        .map(|(i, phone)| format!("{phone},30,own,C{}\n", i / 2));
    let text = String::from("mobile,age,housing,customer\n") + &rows.collect::<String>();
    fs::write(world.path("customers.csv"), text).unwrap();
    fs::write(
        world.path("policies.csv"),
        format!("phone\n{}\n", all.join("\n")),
    )
    .unwrap();
    let file = world.home("bank").join("datasets.toml");
    let config = DATASETS.replace("identifiers =", "customer = 'customer'\nidentifiers =");
    fs::write(&file, config).unwrap();
    chmod_600(&file);
    world.start_owner();
    world
}

fn count(world: &World, more: &[&str]) -> Done {
    let mut command = counterfoil(&world.home("insurer"));
    command.args(["--json", "measure", "--agreement", AGREEMENT]);
    command.args(["--as", "chen", "--column", "phone", "--from"]);
    command.arg(world.path("policies.csv"));
    command.arg("count epsilon 20").args(more);
    Done::of(command.output().unwrap())
}

#[test]
fn a_customer_with_two_numbers_counts_once() {
    let world = world();
    let done = count(&world, &[]).json();
    assert_eq!(done["answers"][0]["rows"][0]["value"], 100.0);
}

#[test]
fn an_empty_segment_is_told_by_a_noised_minimum_alone_and_charged() {
    let world = world();
    let refused = count(&world, &["--segment", "renters"]);
    assert_eq!(refused.exit, 4, "{refused:#?}");
    assert!(refused.out.contains("\"minimum_match\""), "{refused:#?}");
    let entries = world.entries();
    let events: Vec<_> = entries.iter().map(event_of).collect();
    assert!(events.iter().all(|event| event["type"] != "flow.declined"));
    let refused = events
        .iter()
        .find(|event| event["type"] == "flow.refused")
        .unwrap();
    assert_eq!(refused["spent"]["epsilon"], "14");
}
