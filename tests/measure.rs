//! Measure flows between three processes: noised figures come out, and nothing that tells more.

use std::path::Path;
use std::process::Command;

use counterfoil_tests::ask::event_of;
use counterfoil_tests::data::phones;
use counterfoil_tests::process::counterfoil;
use counterfoil_tests::world::AGREEMENT;
use counterfoil_tests::{Done, World, run};
use serde_json::Value;

const SECTION: &str = r#"
[measure]
population = "retail"
queries = ["count", "histogram", "crosstab", "scorecard", "sum", "mean", "quantile"]
tags = ["age_band", "housing", "credit_amount"]
recipient_tags = [{ name = "claim", values = ["no", "yes"] }, { name = "outcome", values = ["good", "bad"] }]
minimum_epsilon = "0.1"
epsilon_per_flow = "100"
epsilon_recipient = "100"
epsilon_population = "100"
delta_recipient = "0.00001"
delta_population = "0.00001"
period_days = 365

[consent]
contact = "privacy@insurer.example"
method = "private_matching"
categories = { age_band = "profile", housing = "profile", credit_amount = "credit" }
"#;

/// Columns of the owner's file that say what everybody in it consented to, and their cells.
const CONSENTED: [&str; 2] = [
    "recipient,contact,purpose,method,categories,given,expires,reference",
    "insurer,privacy@insurer.example,marketing_suitability,private_matching,profile credit,2026-01-01,2099-12-31,C-1",
];

const AMOUNT: &str = "\n[[tags]]\nname = \"credit_amount\"\nform = \"exact\"\n\n[[segments]]";

/// An agreement to measure, with texts replaced, and a dataset that has amounts.
fn agreed(changes: &[(&str, &str)]) -> World {
    let world = World::agreed_with(|text| {
        let text = text
            .replace("[\"exchange\"]", "[\"exchange\", \"measure\"]")
            .replacen("\n[[segments]]", AMOUNT, 1)
            + SECTION;
        changes.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        })
    });
    let datasets = world.home("bank").join("datasets.toml");
    let text = std::fs::read_to_string(&datasets).unwrap()
        + "credit_amount = \"amount\"\n\n[dataset.consent]\nrecipients = [\"insurer\"]\n";
    std::fs::write(datasets, text).unwrap();
    world
}

const AGES: [u32; 2] = [30, 50];
const HOUSINGS: [&str; 3] = ["own", "rent", "for free"];

fn amount(index: usize) -> usize {
    index * 37 % 9_000
}

/// The owner's file, all housings and ages but no one over 65; and the recipient's, of whom each fifth made a claim.
fn write(world: &World, owner: &[String], recipient: &[String]) {
    let rows = owner.iter().enumerate().map(|(i, phone)| {
        format!(
            "{phone},{},{},{},{}\n",
            AGES[i % 2],
            HOUSINGS[i % 3],
            amount(i),
            CONSENTED[1]
        )
    });
    let head = format!("mobile,age,housing,amount,{}\n", CONSENTED[0]);
    let text = head + &rows.collect::<String>();
    std::fs::write(world.path("customers.csv"), text).unwrap();
    let rows = recipient
        .iter()
        .enumerate()
        .map(|(i, phone)| format!("{phone},{}\n", if i % 5 == 0 { "yes" } else { "no" }));
    let text = String::from("phone,claim\n") + &rows.collect::<String>();
    std::fs::write(world.path("policies.csv"), text).unwrap();
}

fn command(world: &World, queries: &[&str], more: &[&str]) -> Command {
    let mut command = counterfoil(&world.home("insurer"));
    command.args([
        "--json",
        "measure",
        "--agreement",
        AGREEMENT,
        "--as",
        "chen",
    ]);
    command.arg("--from").arg(world.path("policies.csv"));
    command.args(["--column", "phone"]).args(queries).args(more);
    command
}

fn measure(world: &World, queries: &[&str], more: &[&str]) -> Done {
    Done::of(command(world, queries, more).output().unwrap())
}

/// 300 customers and 200 insured, of whom 120 are the same people: 180 to 299 of the owner's rows, 0 to 119 of the recipient's.
fn served(changes: &[(&str, &str)]) -> World {
    let mut world = agreed(changes);
    let all = phones(1, 380);
    write(&world, &all[..300], &all[180..]);
    world.start_owner();
    world
}

fn values(answer: &Value) -> Vec<f64> {
    let rows = answer["rows"].as_array().unwrap().iter();
    rows.map(|row| row["value"].as_f64().unwrap()).collect()
}

/// With an epsilon that all but switches the noise off, every figure is that of the common customers.
#[test]
fn every_query_is_answered_from_the_common_customers_of_one_match() {
    let mut world = served(&[]);
    let out = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let (json, csv, svg) = (out("a.json"), out("a.csv"), out("a.svg"));
    let queries = [
        "count epsilon 14",
        "histogram housing epsilon 14",
        "crosstab age_band by claim epsilon 14",
        "sum credit_amount from 0 to 4000 step 10 epsilon 14",
        "mean credit_amount from 0 to 9000 epsilon 14",
        "quantile 0.5 credit_amount bins 2000,4000,6000 epsilon 14",
        "histogram credit_amount bins 1000,5000 epsilon 14 noise gaussian",
    ];
    let more = [
        "--delta",
        "0.00001",
        "--readable",
        "--out",
        &json,
        "--out",
        &csv,
        "--out",
        &svg,
    ];
    let done = measure(&world, &queries, &more).json();
    let common: Vec<usize> = (180..300).collect();
    let answers = done["answers"].as_array().unwrap();
    assert_eq!(values(&answers[0]), [120.0]);
    // Every group of the domain is there, in its order.
    assert_eq!(values(&answers[1]), [40.0, 40.0, 40.0]);
    let claims = |age: u32, yes: bool| {
        let rows = common
            .iter()
            .filter(|i| AGES[*i % 2] == age && ((*i - 180) % 5 == 0) == yes);
        rows.count() as f64
    };
    let crosstab = [
        [0.0, 0.0],
        [claims(30, false), claims(30, true)],
        [claims(50, false), claims(50, true)],
        [0.0, 0.0],
    ];
    assert_eq!(values(&answers[2]), crosstab.as_flattened());
    let near =
        |value: f64, exact: f64, by: f64| assert!((value - exact).abs() < by, "{value} {exact}");
    // In steps of 10, held at 4,000.
    let sum: f64 = common
        .iter()
        .map(|i| ((amount(*i).min(4_000) as f64) / 10.0).round() * 10.0)
        .sum();
    near(values(&answers[3])[0], sum, 4_000.0);
    let mean = common.iter().map(|i| amount(*i) as f64).sum::<f64>() / 120.0;
    near(values(&answers[4])[0], mean, 100.0);
    let mut amounts: Vec<usize> = common.iter().map(|i| amount(*i)).collect();
    amounts.sort_unstable();
    let median = amounts[59];
    let group = ["<2000", "[2000,4000)", "[4000,6000)", ">=6000"][(median / 2000).min(3)];
    assert_eq!(answers[5]["rows"][0]["value"], group);
    assert_eq!(answers[6]["delta"], "0.00001");
    assert!(
        answers[6]["mechanism"]
            .as_str()
            .unwrap()
            .contains("discrete Gaussian")
    );
    assert_eq!(done["spent"]["epsilon"], "98.1");
    assert_eq!(done["left"]["epsilon"], "1.9");
    assert_eq!(answers[0]["rows"][0]["readable"], 120);
    for answer in &answers[..5] {
        assert!(answer["rows"][0]["low"].is_number() && answer["epsilon"] == "14");
        assert!(answer["mechanism"].as_str().unwrap().contains("scale"));
    }

    let written: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(written["answers"], done["answers"]);
    let csv = std::fs::read_to_string(csv).unwrap();
    assert!(
        csv.contains("crosstab age_band by claim epsilon 14,\"[25,45)\",yes,value,"),
        "{csv}"
    );
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("class=\"interval\"") && svg.contains("&gt;=6000")
    );

    world
        .owner
        .as_mut()
        .unwrap()
        .wait_for("receipt verified and kept");
    run(&world.home("insurer"), ["audit", "verify"]).ok();
    run(&world.home("bank"), ["audit", "verify"]).ok();
    for home in ["bank", "insurer", "broker"] {
        let left = std::fs::read_dir(world.home(home).join("flows")).unwrap();
        assert_eq!(left.count(), 0, "{home}");
    }
    let entries = world.entries();
    let event = |kind: &str| {
        entries
            .iter()
            .map(event_of)
            .find(|e| e["type"] == kind)
            .unwrap()
    };
    assert_eq!(event("flow.granted")["kind"], "measure");
    assert_eq!(event("flow.granted")["reserved"]["epsilon"], "98.1");
    assert_eq!(
        event("flow.granted")["measure"]["queries"][0],
        "count epsilon 14"
    );
    assert_eq!(
        event("release.intent")["spent"],
        event("flow.granted")["reserved"]
    );
}

#[test]
fn a_segment_is_measured_alone_and_deliveries_have_one_size() {
    let world = served(&[]);
    let whole = measure(&world, &["count epsilon 20"], &[]).json();
    let queries = ["count epsilon 20", "crosstab housing by claim epsilon 20"];
    let renters = measure(&world, &queries, &["--segment", "renters"]).json();
    assert_eq!(values(&whole["answers"][0]), [120.0]);
    assert_eq!(values(&renters["answers"][0]), [40.0]);
    let entries = world.entries();
    let intents = entries
        .iter()
        .map(event_of)
        .filter(|e| e["type"] == "release.intent");
    let bytes: Vec<&Value> = intents.map(|e| &e["result"]["bytes"]).collect();
    assert!(bytes.len() == 2 && bytes[0] == bytes[1], "{bytes:?}");
}

/// Everything in a directory, and below.
fn texts(directory: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, into);
        } else {
            into.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// Where a number stands by itself in text.
fn has_number(text: &[u8], number: &str) -> bool {
    let word = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'.');
    text.windows(number.len()).enumerate().any(|(i, window)| {
        let before = i.checked_sub(1).and_then(|i| text.get(i));
        window == number.as_bytes() && !word(before) && !word(text.get(i + number.len()))
    })
}

#[test]
fn nothing_that_the_recipient_receives_holds_the_exact_count() {
    let mut world = agreed(&[
        ("protocol = \"dh\"", "protocol = \"auto\""),
        ("minimum_epsilon = \"0.1\"", "minimum_epsilon = \"0.001\""),
    ]);
    let (common, owned, own) = (7_351, 9_000, 8_200);
    let all = phones(3, owned + own - common);
    write(&world, &all[..owned], &all[owned - common..]);
    world.start_owner();
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for run in 0..2 {
        // Noise of scale 200 and more: a figure hits the exact count once in 400 runs, and in both of two by no accident.
        let done = measure(
            &world,
            &[
                "count epsilon 0.005",
                "mean credit_amount from 0 to 9000 epsilon 0.01",
            ],
            &[],
        );
        seen.push((format!("stdout {run}"), done.out.clone().into()));
        seen.push((format!("stderr {run}"), done.err.clone().into()));
        done.ok();
    }
    let audit = world.at("insurer", &["--json", "audit", "verify"]);
    seen.push(("audit".into(), audit.ok().into()));
    texts(&world.home("insurer"), &mut seen);
    let log: Vec<u8> = world
        .entries()
        .iter()
        .flat_map(|e| e.to_string().into_bytes())
        .collect();
    seen.push(("log".into(), log));
    assert!(seen.len() > 10, "nothing was looked at");
    let found = seen
        .iter()
        .filter(|(_, text)| has_number(text, &common.to_string()));
    let found: Vec<&String> = found.map(|(name, _)| name).collect();
    let is_answer = |name: &&&String| name.starts_with("stdout") || name.contains("/answers/");
    assert!(found.iter().all(|name| is_answer(&name)), "{found:?}");
    let by_chance = found.iter().filter(|name| name.starts_with("stdout"));
    assert!(by_chance.count() < 2, "{found:?}");
    // The search finds what is there: the recipient's own number of rows.
    assert!(
        seen.iter()
            .any(|(_, text)| has_number(text, &own.to_string()))
    );
}

#[test]
fn a_budget_that_is_spent_refuses_with_the_day_of_renewal_also_after_a_restart() {
    let mut world = served(&[
        ("epsilon_recipient = \"100\"", "epsilon_recipient = \"1\""),
        ("epsilon_per_flow = \"100\"", "epsilon_per_flow = \"1\""),
    ]);
    let preview = |world: &World| {
        let mut dry = counterfoil(&world.home("insurer"));
        dry.args([
            "--json",
            "measure",
            "--dry-run",
            "--agreement",
            AGREEMENT,
            "count epsilon 0.6",
        ]);
        Done::of(dry.output().unwrap()).json()
    };
    let first = preview(&world);
    assert_eq!(first["cost"]["epsilon"], "0.7");
    assert_eq!(first["left"]["epsilon"], "1");
    assert_eq!(first["left_after"]["epsilon"], "0.3");
    assert_eq!(first["fits"], true);
    assert!(first["queries"][0]["half_width"].as_f64().unwrap() > 1.0);
    let entries = world.entries().len();
    measure(&world, &["count epsilon 0.6"], &[]).ok();
    assert!(world.entries().len() > entries);
    world.broker.as_mut().unwrap().kill();
    world.start_broker();
    world.owner = None;
    world.start_owner();
    let second = preview(&world);
    assert_eq!(
        (&second["left"]["epsilon"], &second["fits"]),
        (&"0.3".into(), &false.into())
    );
    let done = measure(&world, &["count epsilon 0.6"], &[]);
    assert_eq!(done.exit, 4, "{done:?}");
    let denial: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(denial["error"]["code"], "over_budget", "{denial}");
    let text = denial.to_string();
    assert!(
        text.contains("of which epsilon 0.3 and delta 0.00001 is left")
            && text.contains("on, when what was spent"),
        "{text}"
    );
    world.recorded("flow.denied", "over_budget", "agreement.measure");
    // What fits still passes, to the last tenth.
    measure(&world, &["count epsilon 0.2"], &[]).ok();
    assert_eq!(preview(&world)["left"]["epsilon"], "0");
}

#[test]
fn under_the_minimum_nothing_is_told_and_finding_that_out_is_charged() {
    let world = served(&[
        ("minimum_match = 5", "minimum_match = 100000"),
        ("minimum_epsilon = \"0.1\"", "minimum_epsilon = \"0.5\""),
    ]);
    let done = measure(&world, &["count epsilon 1"], &[]);
    assert_eq!(done.exit, 4, "{done:?}");
    let entry = world.recorded("flow.refused", "minimum_match", "minimum_match");
    assert_eq!(event_of(&entry)["spent"]["epsilon"], "0.5");
    let mut dry = counterfoil(&world.home("insurer"));
    dry.args([
        "--json",
        "measure",
        "--dry-run",
        "--agreement",
        AGREEMENT,
        "count epsilon 1",
    ]);
    let left = Done::of(dry.output().unwrap()).json();
    assert_eq!(left["left"]["epsilon"], "99.5");
}

#[test]
fn a_flow_of_which_nothing_was_computed_gives_its_budget_back() {
    let world = served(&[]);
    // The owner cannot read its file, and declines.
    std::fs::remove_file(world.path("customers.csv")).unwrap();
    assert_eq!(measure(&world, &["count epsilon 1"], &[]).exit, 4);
    let mut dry = counterfoil(&world.home("insurer"));
    dry.args([
        "--json",
        "measure",
        "--dry-run",
        "--agreement",
        AGREEMENT,
        "count epsilon 1",
    ]);
    assert_eq!(
        Done::of(dry.output().unwrap()).json()["left"]["epsilon"],
        "100"
    );
}

#[test]
fn bad_input_is_told_with_what_would_pass() {
    let world = served(&[("epsilon_per_flow = \"100\"", "epsilon_per_flow = \"2\"")]);
    for (query, texts) in [
        (
            "histogram wealth_tier epsilon 1",
            &["`wealth_tier` is outside the agreement", "one of age_band"][..],
        ),
        (
            "histogram credit_amount bins 10,5 epsilon 1",
            &["the bins overlap: `5` follows `10`"],
        ),
        (
            "histogram age_band bins 30 epsilon 1",
            &["which bins would overlap"],
        ),
        (
            "count epsilon 0",
            &["`0` is not an epsilon", "0.0001 to 100"],
        ),
        ("count epsilon -1", &["`-1` is not an epsilon"]),
        ("count epsilon NaN", &["`NaN` is not an epsilon"]),
        (
            "count epsilon 2",
            &["it would spend epsilon 2.1", "at most epsilon 2"],
        ),
        ("sum credit_amount epsilon 1", &["no bounds"]),
        ("sum housing from 0 to 1 epsilon 1", &["not as a number"]),
        ("count epsilon 1 noise gaussian", &["needs a delta"]),
    ] {
        let mut asked = counterfoil(&world.home("insurer"));
        asked.args([
            "measure",
            "--agreement",
            AGREEMENT,
            "--as",
            "chen",
            "--column",
            "phone",
        ]);
        asked
            .arg("--from")
            .arg(world.path("policies.csv"))
            .arg(query);
        Done::of(asked.output().unwrap()).fails(3, texts);
    }
    // Nothing of it was asked: no entry.
    assert!(
        world
            .entries()
            .iter()
            .all(|e| event_of(e)["type"] != "flow.denied")
    );
    // A value of an own tag that is none: the row is left out, and said by line.
    let text = std::fs::read_to_string(world.path("policies.csv")).unwrap();
    std::fs::write(
        world.path("policies.csv"),
        text.replacen(",yes", ",maybe", 1),
    )
    .unwrap();
    let done = measure(&world, &["crosstab housing by claim epsilon 1"], &[]).json();
    assert_eq!(done["counts"]["invalid"], 1);
    // A recipient that asks for kinds of flow that the agreement does not have.
    let plain = World::small(1);
    measure(&plain, &["count epsilon 1"], &[])
        .out
        .contains("no section [measure]");
}

/// An interrupted flow goes on, and what it set aside is spent once.
#[test]
fn a_broker_that_is_killed_in_between_spends_once() {
    let mut world = agreed(&[]);
    let all = phones(5, 30_000);
    write(&world, &all[..20_000], &all[10_000..]);
    world.start_owner();
    let asked = command(&world, &["crosstab housing by claim epsilon 3"], &[])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    world.owner.as_mut().unwrap().wait_for("accepted  20000");
    world.broker.as_mut().unwrap().kill();
    world.start_broker();
    let done = Done::of(asked.wait_with_output().unwrap());
    let mut dry = counterfoil(&world.home("insurer"));
    dry.args([
        "--json",
        "measure",
        "--dry-run",
        "--agreement",
        AGREEMENT,
        "count epsilon 1",
    ]);
    let left = Done::of(dry.output().unwrap()).json();
    // Released, it cost what it says; ended by the crash, it counts as spent all the same.
    assert_eq!(left["left"]["epsilon"], "96.9", "{done:?}");
}

/// The German credit data, split: the bank knows housing, age and amount, the insurer the outcome.
mod scorecard {
    use super::*;

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
}
