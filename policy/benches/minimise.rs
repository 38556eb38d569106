//! Time of minimisation on 2^20 rows x 8 tags, on one core.
//!
//! `cargo bench -p counterfoil-policy`; a plain program, because one number is asked for.

use std::error::Error;
use std::time::Instant;

use counterfoil_policy::agreement::{Agreement, template};
use counterfoil_policy::keys::{InstitutionKey, NoisePublicKey, PartyKeys};
use counterfoil_policy::minimise::Table;
use counterfoil_policy::tag::Value;
use counterfoil_policy::taxonomy::Library;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const ROWS: usize = 1 << 20;
const TAGS: usize = 8;

/// A kind of data: how its values are drawn, and how many of its tags are exact amounts.
struct Data {
    name: &'static str,
    /// The product of so many uniform draws favours the first values, as real columns do.
    draws: usize,
    amounts: usize,
}

const DATA: [Data; 3] = [
    Data {
        name: "skewed",
        draws: 3,
        amounts: 0,
    },
    // 8^8 combinations of equal chance: hardly a row has a second one like it.
    Data {
        name: "near-unique",
        draws: 1,
        amounts: 0,
    },
    // Nearly every row has two values of its own besides.
    Data {
        name: "near-unique, two exact amounts",
        draws: 1,
        amounts: 2,
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    for data in DATA {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let agreement = agreement(data.amounts)?;
        let tags = agreement.tags();
        let mut rows = Vec::with_capacity(ROWS * TAGS);
        for _ in 0..ROWS {
            for tag in tags {
                let draw: f64 = (0..data.draws).map(|_| rng.random::<f64>()).product();
                let values = tag.values();
                let raw = match values.get((draw * values.len() as f64) as usize) {
                    Some(value) => value.to_string(),
                    None => ((draw * 1e7) as u32).to_string(),
                };
                rows.push(tag.generalise(&raw)?);
            }
        }
        let start = Instant::now();
        let mut table = Table::new(tags);
        for row in rows.chunks_exact(TAGS) {
            let cells: Vec<&str> = row.iter().map(Value::as_str).collect();
            table.push(&cells)?;
        }
        let loaded = start.elapsed();
        let result = table.minimise(10);
        let report = result.report();
        let loss: u64 = report
            .tags
            .iter()
            .map(|tag| u64::from(tag.added_loss_ppm))
            .sum();
        println!(
            "{}: {ROWS} rows x {TAGS} tags: load {loaded:.2?}, load and minimise {:.2?}; {} cells generalised, mean loss {:.4}, {} rows suppressed",
            data.name,
            start.elapsed(),
            report.generalised_cells,
            loss as f64 / 1e6 / TAGS as f64,
            report.suppressed_rows,
        );
    }
    Ok(())
}

/// Eight tags: closed ones of eight values, each with two levels above, then exact amounts.
fn agreement(amounts: usize) -> Result<Agreement, Box<dyn Error>> {
    let party = |name: &str, seed: u8| -> Result<PartyKeys, Box<dyn Error>> {
        Ok(PartyKeys {
            name: name.parse()?,
            signing_key: InstitutionKey::from_seed(&[seed; 32]).public(),
            noise_key: NoisePublicKey::from_bytes([seed; 32]).ok_or("zero key")?,
        })
    };
    let first_day = time::Date::from_calendar_date(2026, time::Month::January, 1)?;
    let text = template(&party("north-bank", 1)?, &party("east-life", 2)?, first_day);
    let (head, _) = text.split_once("segment_tags").ok_or("no segment tags")?;
    let (_, rest) = text.split_once("]\n\n# What").ok_or("no identifiers")?;
    let (middle, _) = rest.split_once("[taxonomy]").ok_or("no taxonomy")?;
    let (_, caps) = text.split_once("[caps]").ok_or("no caps")?;
    // Consents name the template's tags.
    let (caps, _) = caps.split_once("[consent]").ok_or("no consent")?;
    let used: String = (0..TAGS)
        .map(|tag| format!("[[tags]]\nname = 'tag_{tag}'\nform = 'exact'\n"))
        .collect();
    let own = format!(
        "version_of_format = 1\nname = 'bench'\nversion = 1\n{}",
        (0..TAGS)
            .map(|tag| definition(tag, tag >= TAGS - amounts))
            .collect::<String>()
    );
    Ok(Agreement::parse_with(
        &format!(
            "{head}\n# What{middle}[taxonomy]\nname = 'bench'\nversion = 1\n{used}[caps]{caps}"
        ),
        &Library::load(&[("bench.toml", &own)])?,
    )?)
}

fn definition(tag: usize, is_amount: bool) -> String {
    let head = format!(
        "[[tags]]\nname = 'tag_{tag}'\nmeaning = 'A tag.'\nsubject = 'bench'\nclass = 'C2'\nsecurity_level = 3\n"
    );
    if is_amount {
        let bands = |step: usize| {
            (1..10_000_000 / step)
                .map(|edge| (edge * step).to_string())
                .collect::<Vec<_>>()
                .join(",")
        };
        return format!(
            "{head}kind = 'amount'\nbands = [[{}], [{}]]\n",
            bands(50_000),
            bands(1_000_000)
        );
    }
    let values: Vec<_> = (0..8).map(|value| format!("'v{value}'")).collect();
    let first: Vec<_> = (0..8)
        .map(|value| format!("v{value} = 'w{}'", value / 2))
        .collect();
    let second: Vec<_> = (0..4)
        .map(|value| format!("w{value} = 'x{}'", value / 2))
        .collect();
    format!(
        "{head}kind = 'ordinal'\nvalues = [{}]\nlevels = [{{ {} }}, {{ {} }}]\n",
        values.join(","),
        first.join(","),
        second.join(","),
    )
}
