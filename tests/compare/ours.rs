//! A whole governed exchange, files to files: broker, owner's agent, recipient's agent.

use std::path::Path;
use std::process::Stdio;

use counterfoil_tests::World;
use counterfoil_tests::data::{write_customers, write_policies};
use counterfoil_tests::world::chmod_600;

use crate::measure::{Cost, watch};

/// Everything ready but the owner's agent; `protocol` as the agreement names it, and `caps` further lines of its caps.
pub fn world(protocol: &str, caps: &str, owner: &[String], recipient: &[String]) -> World {
    let world = World::agreed_with(|text| {
        let text = set(&text, "protocol = ", &format!("\"{protocol}\""));
        set(&text, "rows_per_flow = ", &format!("16777216\n{caps}"))
    });
    write_customers(&world.path("customers.csv"), owner);
    write_policies(&world.path("policies.csv"), recipient);
    let limits = world.home("bank").join("limits.toml");
    let text = "[default]\nrows_per_flow = 16777216\nidentifiers_per_period = 1000000000\n";
    std::fs::write(&limits, text).unwrap();
    chmod_600(&limits);
    world
}

/// A whole exchange.
pub fn run(protocol: &str, owner: &[String], recipient: &[String]) -> Cost {
    let mut world = world(protocol, "", owner, recipient);
    world.start_owner();
    let services = [
        world.broker.as_ref().unwrap().id(),
        world.owner.as_ref().unwrap().id(),
    ];
    let exchange = world
        .exchange_command()
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let cost = watch(&services, vec![exchange]);
    let rows = lines(&world.path("matched.csv")) - 1;
    let common = owner.len() - owner.len() / 2;
    assert_eq!(rows, common, "the exchange delivered something else");
    cost
}

/// Gives a setting at the start of a line another value.
fn set(text: &str, setting: &str, value: &str) -> String {
    assert!(text.contains(setting), "no `{setting}` in the agreement");
    text.lines()
        .map(|line| match line.strip_prefix(setting) {
            Some(_) => format!("{setting}{value}\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

fn lines(path: &Path) -> usize {
    let text = std::fs::read(path).unwrap();
    text.iter().filter(|byte| **byte == b'\n').count()
}
