//! An agreement to measure, the files of both sides, and the command.

use std::process::Command;

use serde_json::Value;

use crate::data::phones;
use crate::process::{Done, counterfoil};
use crate::world::{AGREEMENT, World};

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
pub const CONSENTED: [&str; 2] = [
    "recipient,contact,purpose,method,categories,given,expires,reference",
    "insurer,privacy@insurer.example,marketing_suitability,private_matching,profile credit,2026-01-01,2099-12-31,C-1",
];

const AMOUNT: &str = "\n[[tags]]\nname = \"credit_amount\"\nform = \"exact\"\n\n[[segments]]";

/// An agreement to measure, with texts replaced, and a dataset that has amounts.
pub fn agreed(changes: &[(&str, &str)]) -> World {
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

/// Ages of the owner's customers, in turn.
pub const AGES: [u32; 2] = [30, 50];
/// Their housings, in turn.
pub const HOUSINGS: [&str; 3] = ["own", "rent", "for free"];

/// The amount of the owner's row at an index.
pub fn amount(index: usize) -> usize {
    index * 37 % 9_000
}

/// The owner's file, all housings and ages but no one over 65; and the recipient's, of whom each fifth made a claim.
pub fn write(world: &World, owner: &[String], recipient: &[String]) {
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

/// A measurement by the recipient.
pub fn command(world: &World, queries: &[&str], more: &[&str]) -> Command {
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

/// It, carried out.
pub fn measure(world: &World, queries: &[&str], more: &[&str]) -> Done {
    Done::of(command(world, queries, more).output().unwrap())
}

/// 300 customers and 200 insured, of whom 120 are the same people: 180 to 299 of the owner's rows, 0 to 119 of the recipient's.
pub fn served(changes: &[(&str, &str)]) -> World {
    let mut world = agreed(changes);
    let all = phones(1, 380);
    write(&world, &all[..300], &all[180..]);
    world.start_owner();
    world
}

/// The figures of an answer.
pub fn values(answer: &Value) -> Vec<f64> {
    let rows = answer["rows"].as_array().unwrap().iter();
    rows.map(|row| row["value"].as_f64().unwrap()).collect()
}

/// What a query would cost, and what is left, as JSON.
pub fn preview(world: &World, query: &str) -> Value {
    let mut dry = counterfoil(&world.home("insurer"));
    dry.args(["--json", "measure", "--dry-run", "--agreement", AGREEMENT]);
    Done::of(dry.arg(query).output().unwrap()).json()
}
