//! How long an exchange of N x N rows takes, half of them common: three processes, from files to files.
//!
//! `cargo bench -p counterfoil-tests --bench scale`, or with `COUNTERFOIL_ROWS=16777216 COUNTERFOIL_PROTOCOL=vole` for another size and
//! protocol (`dh` unless it is said).

use std::time::{Duration, Instant};

use counterfoil_tests::World;
use counterfoil_tests::data::{phones, write_customers, write_policies};
use counterfoil_tests::usage::Usage;

fn main() {
    let rows: usize = std::env::var("COUNTERFOIL_ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(65_536);
    let protocol = std::env::var("COUNTERFOIL_PROTOCOL").unwrap_or("dh".to_owned());
    let mut world = World::agreed_with(|text| {
        text.replace("rows_per_flow = 1000000", "rows_per_flow = 16777216")
            .replace("protocol = \"dh\"", &format!("protocol = \"{protocol}\""))
    });
    let all = phones(1, rows + rows / 2);
    write_customers(&world.path("customers.csv"), &all[..rows]);
    write_policies(&world.path("policies.csv"), &all[rows / 2..]);
    std::fs::write(
        world.home("bank").join("limits.toml"),
        "[default]\nrows_per_flow = 16777216\nidentifiers_per_period = 1000000000\n",
    )
    .unwrap();
    counterfoil_tests::world::chmod_600(&world.home("bank").join("limits.toml"));
    world.start_owner();

    let before = [
        ("broker", world.broker.as_ref().unwrap().id()),
        ("owner's agent", world.owner.as_ref().unwrap().id()),
    ]
    .map(|(name, id)| (name, id, Usage::of(id)));
    let started = Instant::now();
    let exchange = world
        .exchange_command()
        .args(["--json", "--carry", "policy"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut recipient = Usage::default();
    while !recipient.ended {
        let usage = Usage::of(exchange.id());
        recipient = Usage {
            peak_mib: recipient.peak_mib.max(usage.peak_mib),
            ..usage
        };
        std::thread::sleep(Duration::from_millis(2));
    }
    let wall = started.elapsed();
    let output = exchange.wait_with_output().unwrap();
    assert!(output.status.success());
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        done["delivered"].as_u64(),
        Some(rows as u64 - rows as u64 / 2)
    );

    println!(
        "{rows} x {rows} rows, {}, {} delivered, {:.2} s wall",
        done["protocol"],
        done["delivered"],
        wall.as_secs_f64()
    );
    println!("{:16} {:>8} {:>14}", "process", "CPU s", "peak memory");
    for (name, id, earlier) in before {
        let now = Usage::of(id);
        report(name, now.cpu_s - earlier.cpu_s, now.peak_mib);
    }
    report("exchange", recipient.cpu_s, recipient.peak_mib);
    println!("phases of the recipient, ms: {}", done["durations"]);
}

fn report(name: &str, cpu_s: f64, peak_mib: u64) {
    println!("{name:16} {cpu_s:>8.2} {peak_mib:>10} MiB");
}
