//! Marks: what an agreement with them changes in a flow.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use counterfoil_tests::ask::event_of;
use counterfoil_tests::data::{phones, write_customers, write_policies};
use counterfoil_tests::world::{DATASETS, chmod_600, without_marked_segments};
use counterfoil_tests::{World, run};

/// A large budget, so that a few rows tell much.
const MARKS: &str = "
[marks]
budget = 0.4
rows_min = 1000
tags = { age_band = {}, housing = { swaps = [['own', 'rent']] } }
";
const ROWS: usize = 1_500;

/// 1,500 people whom both sides have.
fn world() -> World {
    let mut world = World::agreed_with(|text| text + MARKS);
    let all = phones(1, ROWS);
    write_customers(&world.path("customers.csv"), &all);
    write_policies(&world.path("policies.csv"), &all);
    world.start_owner();
    world
}

fn delivered(world: &World) -> Vec<String> {
    let table = fs::read_to_string(world.path("matched.csv")).unwrap();
    table.lines().skip(1).map(str::to_owned).collect()
}

/// Rows of which a cell is not what the owner's file has: of the first column, of the second.
fn moved(rows: &[String]) -> (usize, usize) {
    let all = phones(1, ROWS);
    let place: std::collections::HashMap<_, _> = all.iter().zip(0..).collect();
    let (mut ages, mut housings) = (0, 0);
    for row in rows {
        let (phone, cells) = row.split_once(',').unwrap();
        let i: usize = place[&phone.to_owned()];
        let (age, housing) = cells.rsplit_once(',').unwrap();
        ages += usize::from(age != ["\"[25,45)\"", "\"[45,65)\""][i / 2 % 2]);
        housings += usize::from(housing != ["own", "rent"][i % 2]);
        assert!(["own", "rent"].contains(&housing), "no swap leads there");
    }
    (ages, housings)
}

#[test]
fn a_marked_delivery_says_so_everywhere_and_differs_by_no_more_than_agreed() {
    let mut world = world();
    let first = world.exchange(&["--json"]).json();
    assert_eq!(first["delivered"], ROWS);
    let marks = &first["marks"];
    assert_eq!(marks["lineage"], "bank/customers/1/16/44564");
    assert_eq!(marks["tags"], serde_json::json!(["age_band", "housing"]));
    let needed = marks["rows_needed"].as_u64().unwrap();
    assert!((20..1_000).contains(&needed), "{needed}");
    assert!(marks["colluders_max"].as_u64().unwrap() >= 1);
    let rows = delivered(&world);
    let (ages, housings) = moved(&rows);
    let budget = ROWS * 4 / 10;
    for changed in [ages, housings] {
        assert!((budget / 4..=budget).contains(&changed), "{changed}");
    }
    let owner = world.owner.as_mut().unwrap();
    let said = format!("traceable if >= {needed} rows leak");
    owner.wait_for(&said);

    // The keys are committed to in the entry of the release, and another flow has one of its own.
    let second = world.exchange(&["--overwrite"]).ok();
    assert!(second.contains(&said), "{second}");
    assert_ne!(delivered(&world), rows, "the flow's own marks differ");
    let entries = world.entries();
    let intents: Vec<_> = entries
        .iter()
        .map(event_of)
        .filter(|event| event["type"] == "release.intent")
        .map(|event| &event["marks"])
        .collect();
    let [one, two] = intents[..] else {
        panic!("{intents:?}");
    };
    assert_eq!(one["dataset_key"], two["dataset_key"]);
    assert_eq!(one["recipient_key"], two["recipient_key"]);
    assert_ne!(one["flow_key"], two["flow_key"]);
    run(&world.home("bank"), ["audit", "verify"]).ok();
}

#[test]
fn each_side_keeps_its_key_to_itself_and_the_broker_no_tag() {
    let mut world = world();
    world.exchange(&[]).ok();
    let keys = [
        ("bank", "keys/trace-bank.customers.1.16.44564.key"),
        ("broker", "keys/marks.key"),
    ];
    for (home, name) in keys {
        let mode = fs::metadata(world.home(home).join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{home}");
    }
    assert!(!world.home("insurer").join(keys[0].1).exists());
    // Without the key that the log commits to, the broker does not go on.
    world.broker = None;
    let key = world.home("broker").join("keys/marks.key");
    let kept = fs::read(&key).unwrap();
    for (state, says) in [(None, "is missing"), (Some([7; 32]), "is not the key")] {
        match state {
            None => fs::remove_file(&key).unwrap(),
            Some(other) => {
                fs::write(&key, other).unwrap();
                chmod_600(&key);
            }
        }
        let refused = run(&world.home("broker"), ["broker", "serve"]);
        assert_ne!(refused.exit, 0);
        assert!(refused.err.contains(says), "{}", refused.err);
    }
    fs::write(&key, kept).unwrap();
    world.start_broker();
}

#[test]
fn a_home_from_before_there_were_marks_gets_its_key_at_the_start() {
    let mut world = World::broker_only();
    world.broker = None;
    let key = world.home("broker").join("keys/marks.key");
    fs::remove_file(&key).unwrap();
    world.start_broker();
    assert_eq!(fs::read(&key).unwrap().len(), 32);
}

#[test]
fn mark_tags_are_of_the_customer_whatever_is_matched() {
    let mut world = World::agreed_with(|text| text + MARKS);
    let all = phones(1, ROWS);
    // Two numbers of each customer, the second one of a flow of its own.
    let mut text = String::from("mobile,age,housing,customer\n");
    for (i, phone) in all.iter().enumerate() {
        let (age, housing) = ([30, 50][i / 4 % 2], ["own", "rent"][i / 2 % 2]);
        text += &format!("{phone},{age},{housing},C{}\n", i / 2);
    }
    fs::write(world.path("customers.csv"), text).unwrap();
    let config = DATASETS.replace("identifiers =", "customer = 'customer'\nidentifiers =");
    let file = world.home("bank").join("datasets.toml");
    fs::write(&file, config).unwrap();
    chmod_600(&file);
    world.start_owner();
    let of_half = |which: usize| {
        let half: Vec<String> = all.iter().skip(which).step_by(2).cloned().collect();
        write_policies(&world.path("policies.csv"), &half);
        world.exchange(&["--overwrite"]).ok();
        let rows = delivered(&world);
        let cells = rows
            .iter()
            .map(|row| row.split_once(',').unwrap().1.to_owned());
        cells.collect::<Vec<_>>()
    };
    let (first, second) = (of_half(0), of_half(1));
    assert_eq!(first.len(), ROWS / 2);
    // Marks of the recipient agree in both; those of the two flows (a third) do not, where they move anything.
    let differ = first.iter().zip(&second).filter(|(a, b)| a != b).count();
    assert!((1..ROWS / 2 / 3).contains(&differ), "{differ}");
}

#[test]
fn lint_tells_what_the_marks_can_do() {
    let world = World::joined();
    let file = world.path("agreement.toml");
    let text = world.agreement_text(1);
    let lint = |more: &str| {
        let text = without_marked_segments(format!("{text}{more}"));
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap().to_owned();
        run(&world.home("bank"), ["--json", "agreement", "lint", &file])
    };
    assert!(lint("").json()["marks"].is_null());
    let marks = lint(MARKS).json()["marks"].clone();
    assert_eq!(marks["tag_bits"], 16);
    let rows = marks["rows_by_colluders"].as_array().unwrap();
    assert!(
        rows.len() > 1 && rows[0].as_u64() < rows[1].as_u64(),
        "{marks}"
    );
    let plain = run(
        &world.home("bank"),
        ["agreement", "lint", file.to_str().unwrap()],
    );
    let plain = plain.ok();
    assert!(
        plain.contains("rows name a recipient that leaks alone"),
        "{plain}"
    );
    let wrong = lint(&MARKS.replace("age_band = {}", "age = {}"));
    assert_eq!(wrong.exit, 3);
    assert!(wrong.out.contains("marks.tags.age"), "{}", wrong.out);
}
