//! The joint scorecard on the German credit data, split: the bank knows housing, age and amount, the insurer the outcome.

use counterfoil_tests::World;
use counterfoil_tests::data::phones;
use counterfoil_tests::measuring::{CONSENTED, HOUSINGS, agreed, measure};
use serde_json::Value;

const DATA: &str = include_str!("../broker/cli/data/german_credit.csv");

struct Credit {
    housing: String,
    good: bool,
}

fn split(world: &World) -> Vec<Credit> {
    let phones = phones(9, 1_000);
    let mut customers = format!("mobile,age,housing,amount,{}\n", CONSENTED[0]);
    let mut outcomes = String::from("phone,outcome\n");
    let mut all = Vec::new();
    for (line, phone) in DATA.lines().skip(1).zip(&phones) {
        let cells: Vec<&str> = line.split(',').collect();
        // One column, quoted, holds a comma; what is read here is counted from either end.
        let (age, housing) = (cells[12], cells[14]);
        let outcome = cells[cells.len() - 1];
        customers += &format!("{phone},{age},{housing},{},{}\n", cells[4], CONSENTED[1]);
        outcomes += &format!("{phone},{outcome}\n");
        all.push(Credit {
            housing: housing.to_owned(),
            good: outcome == "good",
        });
    }
    std::fs::write(world.path("customers.csv"), customers).unwrap();
    std::fs::write(world.path("policies.csv"), outcomes).unwrap();
    all
}

/// WOE of a housing, and the information value, computed from the rows themselves.
fn exact(all: &[Credit]) -> (Vec<f64>, f64) {
    let count = |housing: &str, good: bool| {
        all.iter()
            .filter(|c| c.housing == housing && c.good == good)
            .count() as f64
    };
    let of = |good: bool| {
        HOUSINGS
            .map(|housing| count(housing, good))
            .iter()
            .sum::<f64>()
    };
    let (goods, bads) = (of(true), of(false));
    let shares =
        HOUSINGS.map(|housing| (count(housing, true) / goods, count(housing, false) / bads));
    let woe = shares.map(|(good, bad)| (good / bad).ln());
    let iv = shares
        .iter()
        .zip(woe)
        .map(|((good, bad), woe)| (good - bad) * woe)
        .sum();
    (woe.to_vec(), iv)
}

#[test]
fn weights_of_evidence_are_near_the_exact_ones_at_epsilon_1_and_4() {
    let mut world = agreed(&[]);
    let all = split(&world);
    world.start_owner();
    let (woe, iv) = exact(&all);
    let mut held = 0;
    for epsilon in ["1", "4"] {
        let query = format!("scorecard housing by outcome bad bad epsilon {epsilon}");
        let done = measure(&world, &[&query], &[]).json();
        let card = &done["answers"][0]["scorecard"];
        let number = |value: &Value| value.as_f64().unwrap();
        for (bin, exact) in card["bins"].as_array().unwrap().iter().zip(&woe) {
            assert_eq!(bin["weak"], false, "{bin}");
            let (low, high) = (number(&bin["woe_low"]), number(&bin["woe_high"]));
            held += usize::from(low <= *exact && *exact <= high);
            println!(
                "epsilon {epsilon} {}: WOE {:.3} [{low:.3}, {high:.3}], exact {exact:.3}",
                bin["group"],
                number(&bin["woe"])
            );
            // Twice as far off as an interval says comes once in many thousands.
            assert!((number(&bin["woe"]) - exact).abs() < high - low, "{bin}");
        }
        let value = number(&card["information_value"]);
        println!(
            "epsilon {epsilon}: IV {value:.4} [{}, {}], exact {iv:.4}",
            card["information_value_low"], card["information_value_high"]
        );
        let near = if epsilon == "4" { 0.02 } else { 0.06 };
        assert!((value - iv).abs() < near, "{card}");
    }
    // Of six intervals of 95%, four hold all but once in two thousand.
    assert!(held >= 4, "{held} of 6");
}

#[test]
fn bins_with_too_little_signal_are_flagged() {
    let mut world = agreed(&[]);
    split(&world);
    world.start_owner();
    let query = "scorecard credit_amount bins 260,1000,4000,15900 by outcome bad bad epsilon 1";
    let done = measure(&world, &[query], &["--tag", "outcome=outcome"]).json();
    let card = &done["answers"][0]["scorecard"];
    let weak: Vec<bool> = card["bins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| bin["weak"].as_bool().unwrap())
        .collect();
    // One customer owes less than 260, two more than 15,900.
    assert_eq!(weak, [true, false, false, false, true], "{card}");
    assert_eq!(card["weak"], true);
}
