//! Time of minimisation on 2^20 rows x 8 tags, on one core.
//!
//! `cargo bench -p counterfoil-policy`; a plain program, because one number is asked for.

use std::error::Error;
use std::time::Instant;

use counterfoil_policy::agreement::{Agreement, template};
use counterfoil_policy::keys::{InstitutionKey, NoisePublicKey, PartyKeys};
use counterfoil_policy::minimise::Table;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const ROWS: usize = 1 << 20;
const TAGS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    for (name, skew) in [("skewed", 3), ("uniform", 1)] {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let agreement = agreement()?;
        let tags = agreement.tags();
        let labels: Vec<Vec<String>> = tags
            .iter()
            .map(|tag| {
                let values = tag.values().iter();
                values
                    .map(|value| Ok(tag.generalise(value)?.as_str().to_owned()))
                    .collect()
            })
            .collect::<Result<_, Box<dyn Error>>>()?;
        // The product of `skew` uniform draws favours the first values, as real columns do.
        let picks: Vec<[usize; TAGS]> = (0..ROWS)
            .map(|_| {
                [(); TAGS].map(|()| {
                    let draw: f64 = (0..skew).map(|_| rng.random::<f64>()).product();
                    (draw * 8.0) as usize
                })
            })
            .collect();
        let start = Instant::now();
        let mut table = Table::new(tags);
        let mut cells: Vec<&str> = Vec::with_capacity(TAGS);
        for pick in &picks {
            cells.clear();
            cells.extend(
                labels
                    .iter()
                    .zip(pick)
                    .filter_map(|(labels, at)| labels.get(*at))
                    .map(String::as_str),
            );
            table.push(&cells)?;
        }
        let loaded = start.elapsed();
        let result = table.minimise(10);
        let report = result.report();
        println!(
            "{name}: {ROWS} rows x {TAGS} tags: load {loaded:.2?}, load and minimise {:.2?}; {} cells generalised, {} rows suppressed",
            start.elapsed(),
            report.generalised_cells,
            report.suppressed_rows,
        );
    }
    Ok(())
}

/// Eight closed tags of eight values, each with two levels above.
fn agreement() -> Result<Agreement, Box<dyn Error>> {
    let party = |name: &str, seed: u8| -> Result<PartyKeys, Box<dyn Error>> {
        Ok(PartyKeys {
            name: name.parse()?,
            signing_key: InstitutionKey::from_seed(&[seed; 32]).public(),
            noise_key: NoisePublicKey::from_bytes([seed; 32]).ok_or("zero key")?,
        })
    };
    let first_day = time::Date::from_calendar_date(2026, time::Month::January, 1)?;
    let text = template(&party("north-bank", 1)?, &party("east-life", 2)?, first_day);
    let (head, rest) = text.split_once("[[tags]]").ok_or("no tags")?;
    let (_, tail) = rest.split_once("[[segments]]").ok_or("no segments")?;
    let tag = |tag: usize| {
        let values: Vec<_> = (0..8).map(|value| format!("'v{value}'")).collect();
        let first: Vec<_> = (0..8)
            .map(|value| format!("v{value} = 'w{}'", value / 2))
            .collect();
        let second: Vec<_> = (0..4)
            .map(|value| format!("w{value} = 'x{}'", value / 2))
            .collect();
        format!(
            "[[tags]]\nname = 'tag_{tag}'\nkind = 'ordinal'\nclass = 'C2'\nform = 'exact'\nvalues = [{}]\nlevels = [{{ {} }}, {{ {} }}]\n",
            values.join(","),
            first.join(","),
            second.join(","),
        )
    };
    let tags: String = (0..TAGS).map(tag).collect();
    Ok(Agreement::parse(&format!(
        "{head}{tags}[[segments]]{tail}"
    ))?)
}
