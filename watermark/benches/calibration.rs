//! Whether innocent candidates look innocent: ten million of them, against a file that somebody
//! else's marks are in. And whether ten million marked cells keep their tolerance.
//!
//! `cargo bench -p counterfoil-watermark --bench calibration`; `FLOWS` and `CELLS` set other numbers.

use std::collections::BTreeMap;

use counterfoil_watermark::{
    Budget, Column, Embedder, Form, Leak, Level, Lineage, MarkTag, MasterKey, TagBits, Trace,
    assignments,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

const LINEAGE: &str = "bank/customers";
const LEAKED_ROWS: usize = 300;
const VALUES: [&str; 5] = ["1", "2", "3", "4", "5"];

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    let number = |name: &str| match std::env::var(name) {
        Ok(number) => number.parse(),
        Err(_) => Ok(10_000_000_usize),
    };
    calibration(number("FLOWS")?)?;
    tolerance(number("CELLS")?)
}

/// p-values of innocent flows: a discrete p-value is at most alpha with a chance that is the largest
/// attainable value up to alpha, and that chance is compared with the count.
fn calibration(flows: usize) -> Result<(), Fault> {
    let bits = TagBits::new(16)?;
    let form = Form::ordinal(&VALUES, None)?;
    // Half of the cells are selected, so 300 rows have some 100 reads for recipients.
    let column = Column::new("tier", form, Budget::new(250_000, 1 << 40)?, bits)?;
    let lineage = Lineage::new(vec![column], bits)?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let tags = tags(LEAKED_ROWS, bits, &mut rng);
    let master = MasterKey::from_bytes([1; 32]);
    let dataset = master.dataset(LINEAGE);
    let mut cells: Vec<Box<str>> = (0..LEAKED_ROWS).map(|_| value(&mut rng).into()).collect();
    let (leaker, flow) = (
        master.recipient(LINEAGE, "leaker"),
        master.flow(LINEAGE, "f"),
    );
    let embedder = Embedder::new(&lineage, &dataset, &leaker, &flow);
    for column in lineage.columns() {
        let changes = embedder.mark(column, &tags, cells.iter().map(AsRef::as_ref));
        for (row, marked) in changes.iter() {
            if let Some(cell) = cells.get_mut(row) {
                *cell = marked.into();
            }
        }
    }
    let leak = Leak::new(tags, vec![cells])?;
    let trace = Trace::new(
        &lineage,
        &dataset,
        &leak,
        &assignments(&lineage, &leak, &[])?,
    );
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut largest: f64 = 0.0;
    for index in 0..flows {
        let key = master.recipient(LINEAGE, &index.to_string());
        let evidence = trace.evidence(Level::Recipient, &key);
        largest = largest.max(evidence.ln_e);
        // Positive floats are ordered as their bits are.
        *counts.entry(evidence.p.to_bits()).or_default() += 1;
    }
    println!(
        "{flows} innocent candidates, {} reads; largest log10 E {:.2}",
        trace.reads(Level::Recipient),
        largest / std::f64::consts::LN_10
    );
    println!(
        "{:>8} {:>14} {:>12} {:>12} {:>8}   goal |z| < 4",
        "alpha", "attainable", "expected", "found", "z"
    );
    for alpha in [1e-2, 1e-3, 1e-4, 1e-5, 1e-6_f64] {
        let below = counts.range(..=alpha.to_bits());
        let found: u64 = below.clone().map(|(_, count)| count).sum();
        let attained = below.last().map_or(0.0, |(p, _)| f64::from_bits(*p));
        let expected = flows as f64 * attained;
        let z = (found as f64 - expected) / (expected * (1.0 - attained)).sqrt();
        println!("{alpha:>8.0e} {attained:>14.3e} {expected:>12.1} {found:>12} {z:>8.2}");
    }
    Ok(())
}

fn tolerance(cells: usize) -> Result<(), Fault> {
    let bits = TagBits::new(24)?;
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let budget = Budget::new(500_000, 1 << 40)?;
    let domain = Some(("0".parse()?, "1000".parse()?));
    let columns = vec![
        Column::new("tier", Form::ordinal(&VALUES, None)?, budget, bits)?,
        Column::new("score", Form::score("3".parse()?, domain)?, budget, bits)?,
        Column::new("aum", Form::amount("1000".parse()?)?, budget, bits)?,
        Column::new("note", Form::exact(), budget, bits)?,
    ];
    let lineage = Lineage::new(columns, bits)?;
    let master = MasterKey::from_bytes([2; 32]);
    let dataset = master.dataset(LINEAGE);
    let embedder = Embedder::new(
        &lineage,
        &dataset,
        &master.recipient(LINEAGE, "r"),
        &master.flow(LINEAGE, "f"),
    );
    let rows = cells / lineage.columns().len();
    let tags = tags(rows, bits, &mut rng);
    let (mut changed, mut violations) = (0_u64, 0_u64);
    for column in lineage.columns() {
        let held: Vec<i64> = (0..rows).map(|_| held(column.name(), &mut rng)).collect();
        let texts: Vec<String> = held.iter().map(|held| text(column.name(), *held)).collect();
        let changes = embedder.mark(column, &tags, texts.iter().map(String::as_str));
        for (row, cell) in changes.iter() {
            changed += 1;
            let before = held.get(row).copied().unwrap_or(0);
            let within = units(cell).is_some_and(|after| permitted(column.name(), before, after));
            violations += u64::from(!within);
        }
    }
    println!("{cells} cells, {changed} changed, {violations} outside of their tolerance   goal 0");
    Ok(())
}

/// Hundredths for amounts, units for all others.
fn held(name: &str, rng: &mut ChaCha20Rng) -> i64 {
    let random = i64::from(rng.next_u32());
    match name {
        "tier" => random % 5 + 1,
        "score" => random % 1001,
        // All orders of magnitude up to 40 million.
        "aum" => random >> (rng.next_u32() % 32),
        _ => random,
    }
}

fn text(name: &str, held: i64) -> String {
    if name != "aum" {
        return held.to_string();
    }
    let (whole, cents) = (held / 100, held % 100);
    let text = format!("{whole}.{cents:02}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// In hundredths, read by another way than the crate's.
fn units(text: &str) -> Option<i64> {
    let (whole, cents) = text.split_once('.').unwrap_or((text, ""));
    let cents: i64 = format!("{cents:0<2}").parse().ok()?;
    Some(whole.parse::<i64>().ok()? * 100 + cents)
}

fn permitted(name: &str, before: i64, after: i64) -> bool {
    match name {
        "tier" => (after - before * 100).abs() == 100 && (100..=500).contains(&after),
        "score" => (after - before * 100).abs() <= 300 && (0..=100_000).contains(&after),
        "aum" => {
            let change = (after - before).abs();
            change <= 100_000 && change * 1000 <= before && after.ilog10() == before.ilog10()
        }
        _ => false,
    }
}

fn value(rng: &mut ChaCha20Rng) -> &'static str {
    VALUES
        .get((rng.next_u32() % 5) as usize)
        .copied()
        .unwrap_or("1")
}

fn tags(rows: usize, bits: TagBits, rng: &mut ChaCha20Rng) -> Vec<MarkTag> {
    let random = |_| MarkTag::new(rng.next_u32() >> (32 - u32::from(bits.get())), bits);
    (0..rows).filter_map(random).collect()
}
