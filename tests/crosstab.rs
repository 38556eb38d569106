//! What cross-tabulations add to a flow: of the owner's tags, and of tags of both sides, beside a flow over the same rows that only
//! counts, in one run.
//!
//! `cargo bench -p counterfoil-tests --bench crosstab`, or with `COUNTERFOIL_ROWS=65536` for another size than 2^20.

use std::time::Instant;

use counterfoil_tests::World;
use counterfoil_tests::data::phones;
use counterfoil_tests::measuring::{agreed, command, write};
use counterfoil_tests::usage::Usage;
use counterfoil_tests::world::chmod_600;

const QUERIES: [&str; 3] = [
    "count epsilon 1",
    "crosstab age_band by housing epsilon 1",
    "crosstab age_band by claim epsilon 1",
];

fn main() {
    let rows: usize = std::env::var("COUNTERFOIL_ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(1 << 20);
    let mut world = agreed(&[
        ("protocol = \"dh\"", "protocol = \"vole\""),
        ("rows_per_flow = 1000000", "rows_per_flow = 16777216"),
    ]);
    let limits = world.home("bank").join("limits.toml");
    let text = "[default]\nrows_per_flow = 16777216\nidentifiers_per_period = 1000000000\n";
    std::fs::write(&limits, text).unwrap();
    chmod_600(&limits);
    let all = phones(1, rows + rows / 2);
    write(&world, &all[..rows], &all[rows / 2..]);
    world.start_owner();
    // The first flow warms the caches of both.
    flow(&world, QUERIES[0]);
    let costs = QUERIES.map(|query| flow(&world, query));
    println!("{rows} x {rows} rows, vole, half of them common");
    println!(
        "{:40} {:>7} {:>7} {:>7} {:>9} {:>16}",
        "seconds", "wall", "broker", "owner", "recipient", "of the first"
    );
    let all = |cost: &Cost| cost.cpu.iter().sum::<f64>();
    for (query, cost) in QUERIES.iter().zip(&costs) {
        let [broker, owner, recipient] = cost.cpu;
        println!(
            "{query:40} {:7.2} {broker:7.2} {owner:7.2} {recipient:9.2} {:8.3} of CPU",
            cost.wall,
            all(cost) / all(&costs[0])
        );
    }
}

/// Seconds of wall, and of processors: the broker's, the owner's agent's, and the recipient's.
struct Cost {
    wall: f64,
    cpu: [f64; 3],
}

fn flow(world: &World, query: &str) -> Cost {
    let serving = [&world.broker, &world.owner].map(|process| process.as_ref().unwrap().id());
    let used = || serving.map(|id| Usage::of(id).cpu_s);
    let (before, started) = (used(), Instant::now());
    let mut asked = command(world, &[query], &[])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut own = Usage::default();
    while !own.ended {
        own = Usage::of(asked.id());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let wall = started.elapsed().as_secs_f64();
    assert!(asked.wait().unwrap().success());
    let after = used();
    Cost {
        wall,
        cpu: [after[0] - before[0], after[1] - before[1], own.cpu_s],
    }
}
