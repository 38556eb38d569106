//! Made-up customers.

use std::fmt::Write as _;
use std::path::Path;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

/// `count` different Chinese mobile numbers, E.164, the same for the same seed.
pub fn phones(seed: u64, count: usize) -> Vec<String> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut seen = std::collections::HashSet::new();
    let mut phones = Vec::with_capacity(count);
    while phones.len() < count {
        let number = 13_800_000_000_u64 + rng.random_range(0..100_000_000);
        if seen.insert(number) {
            phones.push(format!("+86{number}"));
        }
    }
    phones
}

/// The owner's file: mobile, age and housing. Ages and housings go round, so that every combination is frequent.
pub fn write_customers(path: &Path, phones: &[String]) {
    let mut text = String::from("mobile,age,housing\n");
    for (i, phone) in phones.iter().enumerate() {
        let housing = ["own", "rent"][i % 2];
        writeln!(text, "{phone},{},{housing}", [30, 50][i / 2 % 2]).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

/// The recipient's file: policy and phone.
pub fn write_policies(path: &Path, phones: &[String]) {
    let mut text = String::from("policy,phone\n");
    for (i, phone) in phones.iter().enumerate() {
        writeln!(text, "P{i:06},{phone}").unwrap();
    }
    std::fs::write(path, text).unwrap();
}
