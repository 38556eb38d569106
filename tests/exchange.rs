//! An exchange between three processes, from files to files.

use counterfoil_tests::ask::event_of;
use counterfoil_tests::data::{phones, write_customers, write_policies};
use counterfoil_tests::{World, run};

/// 300 customers, 200 insured, 120 of them the same people.
fn world() -> World {
    world_with(|text| text)
}

fn world_with(change: impl FnOnce(String) -> String) -> World {
    let mut world = World::agreed_with(change);
    let all = phones(1, 380);
    write_customers(&world.path("customers.csv"), &all[..300]);
    write_policies(&world.path("policies.csv"), &all[180..]);
    world.start_owner();
    world
}

#[test]
fn common_customers_and_no_others_are_delivered() {
    let mut world = world();
    let done = world.exchange(&["--json", "--carry", "policy"]).json();
    assert_eq!(done["delivered"], 120);
    let table = std::fs::read_to_string(world.path("matched.csv")).unwrap();
    let all = phones(1, 380);
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("phone,policy,age_band,housing"));
    let delivered: Vec<&str> = lines.collect();
    assert_eq!(delivered.len(), 120);
    for (i, phone) in all.iter().enumerate().take(300).skip(180) {
        let age = ["\"[25,45)\"", "\"[45,65)\""][i / 2 % 2];
        let housing = ["own", "rent"][i % 2];
        let row = format!("{phone},P{:06},{age},{housing}", i - 180);
        assert!(delivered.contains(&row.as_str()), "no row {row}");
    }
    world
        .owner
        .as_mut()
        .unwrap()
        .wait_for("receipt verified and kept");
    run(&world.home("insurer"), ["audit", "verify"]).ok();
    run(&world.home("bank"), ["audit", "verify"]).ok();
    assert_eq!(
        world.verify_log("log.jsonl")["findings"],
        serde_json::json!([])
    );
}

#[test]
fn sets_that_are_split_into_buckets_give_the_same_table_in_the_order_of_the_file() {
    deliver_in_buckets("dh", 6_000, "dh");
    deliver_in_buckets("vole", 6_000, "vole");
}

#[test]
fn auto_matches_with_vole_from_the_class_of_4096_on() {
    // One identifier more is the next class.
    deliver_in_buckets("auto", 3_000 + 3_584, "dh");
    deliver_in_buckets("auto", 3_000 + 3_585, "vole");
}

/// An owner with the first 4,500 of so many people, a recipient with all but the first 3,000.
fn deliver_in_buckets(agreed: &str, people: usize, ran: &str) {
    let mut world = World::agreed_with(|text| {
        text.replace("protocol = \"dh\"", &format!("protocol = \"{agreed}\""))
            .replacen("[retention]", "bucket_rows = 1024\n\n[retention]", 1)
    });
    let all = phones(1, people);
    write_customers(&world.path("customers.csv"), &all[..4_500]);
    write_policies(&world.path("policies.csv"), &all[3_000..]);
    world.start_owner();
    let done = world.exchange(&["--json"]).json();
    assert_eq!(
        (&done["delivered"], &done["protocol"]),
        (&1_500.into(), &ran.into())
    );
    let owner = world.owner.as_mut().unwrap();
    // A class of 5,120 for the owner's 4,500 rows.
    owner.wait_for("the sets are matched in 5 buckets");
    owner.wait_for("receipt verified and kept");
    let table = std::fs::read_to_string(world.path("matched.csv")).unwrap();
    let delivered: Vec<&str> = table.lines().skip(1).collect();
    let expected = all[3_000..4_500].iter().enumerate().map(|(i, phone)| {
        let i = i + 3_000;
        let age = ["\"[25,45)\"", "\"[45,65)\""][i / 2 % 2];
        format!("{phone},{age},{}", ["own", "rent"][i % 2])
    });
    assert!(delivered.into_iter().eq(expected), "{table}");
    // Neither agent nor the broker keeps anything of a flow that is over.
    for home in ["bank", "insurer", "broker"] {
        let left = std::fs::read_dir(world.home(home).join("flows")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{home}: {left:?}");
    }
}

#[test]
fn a_segment_is_evaluated_at_the_owner() {
    let world = world();
    let done = world.exchange(&["--json", "--segment", "renters"]).json();
    assert_eq!(done["delivered"], 60);
    let table = std::fs::read_to_string(world.path("matched.csv")).unwrap();
    assert!(
        table.lines().skip(1).all(|row| row.ends_with(",rent")),
        "{table}"
    );
}

#[test]
fn vole_delivers_what_dh_does_and_log_and_receipt_name_what_ran() {
    for (agreed, ran) in [("vole", "vole"), ("auto", "dh")] {
        let line = |protocol: &str| format!("protocol = \"{protocol}\"");
        let world = world_with(|text| text.replace(&line("dh"), &line(agreed)));
        let done = world.exchange(&["--json"]).json();
        assert_eq!(done["delivered"], 120, "{agreed}");
        assert_eq!(done["protocol"], ran);
        let entries = world.entries();
        for kind in ["flow.granted", "release.intent"] {
            let mut events = entries.iter().map(event_of);
            let event = events.find(|event| event["type"] == kind).unwrap();
            assert_eq!(event["protocol"], ran, "{kind}");
        }
        run(&world.home("insurer"), ["audit", "verify"]).ok();
    }
}
