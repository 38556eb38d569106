//! Made-up customers: real attributes of the German credit data, with telephone numbers from a seed.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use time::{Date, Duration};

use super::cast::RECIPIENT;
use crate::failure::Failure;

const GERMAN_CREDIT: &str = include_str!("../../data/german_credit.csv");

/// Columns that the bank keeps of the credit data.
const COLUMNS: [&str; 6] = [
    "age_in_years",
    "credit_amount",
    "duration_in_month",
    "housing",
    "job",
    "foreign_worker",
];

/// Customers of the insurer, and how many of them the bank has too.
const INSURED: usize = 800;
const COMMON: usize = 437;

/// Of each so many of the bank's customers one has withdrawn the consent, one has consented to another recipient only,
/// and one was never asked.
const NO_CONSENT_EVERY: usize = 13;

/// Sizes of what was written.
pub(super) struct Written {
    pub(super) owner: usize,
    pub(super) recipient: usize,
    /// Of these, customers whose consent covers the exchange.
    pub(super) consented: usize,
    pub(super) common: usize,
}

/// Writes the bank's `customers.csv` and `consents.csv`, and the insurer's `policies.csv`.
pub(super) fn write(
    seed: u64,
    today: Date,
    bank: &Path,
    insurer: &Path,
) -> Result<Written, Failure> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let rows = attributes()?;
    let mut numbers = Numbers::default();
    let phones: Vec<u64> = rows.iter().map(|_| numbers.draw(&mut rng)).collect();

    let mut out = create(bank)?;
    out.write_record(["customer", "mobile"].iter().chain(&COLUMNS))
        .map_err(Failure::input)?;
    for (i, (row, phone)) in rows.iter().zip(&phones).enumerate() {
        let own = [format!("NB{i:05}"), format!("+86{phone}")];
        out.write_record(own.iter().chain(row))
            .map_err(Failure::input)?;
    }
    out.flush().map_err(|e| Failure::file("write", bank, &e))?;
    let consented = write_consents(&bank.with_file_name("consents.csv"), rows.len(), today)?;

    let mut common = phones.clone();
    common.shuffle(&mut rng);
    common.truncate(COMMON);
    let mut insured = common;
    while insured.len() < INSURED {
        insured.push(numbers.draw(&mut rng));
    }
    insured.shuffle(&mut rng);
    write_policies(insurer, &insured, &mut rng)?;
    Ok(Written {
        owner: rows.len(),
        consented,
        recipient: INSURED,
        common: COMMON,
    })
}

/// For this user only, as everything in a home has to be.
pub(super) fn create(path: &Path) -> Result<csv::Writer<File>, Failure> {
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Failure::file("create", path, &e))?;
    Ok(csv::Writer::from_writer(file))
}

/// What the customers consented to, by their number at the bank; gives how many of them cover the exchange.
fn write_consents(path: &Path, customers: usize, today: Date) -> Result<usize, Failure> {
    let mut out = create(path)?;
    out.write_record([
        "customer",
        "recipient",
        "contact",
        "purpose",
        "method",
        "categories",
        "given",
        "expires",
        "withdrawn",
        "reference",
    ])
    .map_err(Failure::input)?;
    let (given, expires) = (today - Duration::days(60), today + Duration::days(300));
    let mut covering = 0;
    for i in 0..customers {
        let (recipient, withdrawn) = match i % NO_CONSENT_EVERY {
            3 => (RECIPIENT, Some(today - Duration::days(2))),
            7 => ("hill-funds", None),
            11 => continue,
            _ => (RECIPIENT, None),
        };
        covering += usize::from(recipient == RECIPIENT && withdrawn.is_none());
        let contact = format!("privacy@{recipient}.example");
        let withdrawn = withdrawn.map(|day| day.to_string()).unwrap_or_default();
        out.write_record([
            &*format!("NB{i:05}"),
            recipient,
            &*contact,
            "marketing_suitability",
            "private_matching",
            "profile credit",
            &*given.to_string(),
            &*expires.to_string(),
            &*withdrawn,
            &*format!("C-{i:05}"),
        ])
        .map_err(Failure::input)?;
    }
    out.flush().map_err(|e| Failure::file("write", path, &e))?;
    Ok(covering)
}

/// As real lists are: several ways to write a number, two that are none, one customer twice.
fn write_policies(path: &Path, insured: &[u64], rng: &mut ChaCha20Rng) -> Result<(), Failure> {
    let mut phones: Vec<String> = insured.iter().map(|phone| spelled(*phone, rng)).collect();
    phones.insert(100, "unknown".into());
    phones.insert(200, "12345".into());
    if let Some(first) = insured.first() {
        phones.insert(300, spelled(*first, rng));
    }
    let mut out = create(path)?;
    out.write_record(["policy", "phone"])
        .map_err(Failure::input)?;
    for (i, phone) in phones.iter().enumerate() {
        out.write_record([&format!("LI-{i:04}"), phone])
            .map_err(Failure::input)?;
    }
    out.flush().map_err(|e| Failure::file("write", path, &e))
}

fn spelled(phone: u64, rng: &mut ChaCha20Rng) -> String {
    let text = phone.to_string();
    let (head, tail) = text.split_at_checked(3).unwrap_or((&text, ""));
    let (middle, end) = tail.split_at_checked(4).unwrap_or((tail, ""));
    match rng.random_range(0..5) {
        0 => text,
        1 => format!("+86 {head} {middle} {end}"),
        2 => format!("0086-{head}-{middle}-{end}"),
        3 => format!("{head} {middle} {end}"),
        _ => format!("(+86) {text}"),
    }
}

/// Chinese mobile numbers, none twice.
#[derive(Default)]
struct Numbers(HashSet<u64>);

impl Numbers {
    fn draw(&mut self, rng: &mut ChaCha20Rng) -> u64 {
        loop {
            let number = 13_800_000_000 + rng.random_range(0..100_000_000);
            if self.0.insert(number) {
                return number;
            }
        }
    }
}

fn attributes() -> Result<Vec<Vec<String>>, Failure> {
    let mut reader = csv::Reader::from_reader(GERMAN_CREDIT.as_bytes());
    let header = reader.headers().map_err(Failure::input)?.clone();
    let places: Vec<usize> = COLUMNS
        .iter()
        .filter_map(|name| header.iter().position(|column| column == *name))
        .collect();
    reader
        .records()
        .map(|record| {
            let record = record.map_err(Failure::input)?;
            let cells = places.iter().filter_map(|place| record.get(*place));
            Ok(cells.map(str::to_owned).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_customers() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str, seed| {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            let (bank, insurer) = (folder.join("b"), folder.join("i"));
            let today = Date::from_calendar_date(2026, time::Month::June, 1).unwrap();
            let written = write(seed, today, &bank, &insurer).unwrap();
            assert_eq!((written.owner, written.consented), (1000, 769));
            (
                std::fs::read(bank).unwrap(),
                std::fs::read(insurer).unwrap(),
            )
        };
        let seven = made("a", 7);
        assert_eq!(seven, made("b", 7));
        assert_ne!(seven, made("c", 8));
    }

    #[test]
    fn every_attribute_is_there() {
        let rows = attributes().unwrap();
        assert_eq!(rows.len(), 1000);
        assert!(rows.iter().all(|row| row.len() == COLUMNS.len()));
    }
}
