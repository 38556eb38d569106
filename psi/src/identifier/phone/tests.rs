use proptest::prelude::*;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn value(text: &str, default: Option<&str>) -> Result<String, Refusal> {
    normalise(text, default.map(region)).map(|id| id.expose_value().to_owned())
}

#[test]
fn one_chinese_mobile_in_its_many_spellings() {
    for text in [
        "13812345678",
        "138 1234 5678",
        "138-1234-5678",
        "+8613812345678",
        "+86 138 1234 5678",
        "+86-138-1234-5678",
        "(+86) 138 1234 5678",
        "0086 138 1234 5678",
        "008613812345678",
        "8613812345678",
        "86 138 1234 5678",
        "013812345678",
        "+86 013812345678",
        "\u{202a}+8613812345678\u{202c}",
    ] {
        assert_eq!(
            value(text, Some("CN")).as_deref(),
            Ok("+8613812345678"),
            "{text}"
        );
    }
}

#[test]
fn numbers_of_other_countries() {
    for (text, default, expected) in [
        ("0171 1234567", Some("DE"), "+491711234567"),
        ("+49 171 1234567", Some("DE"), "+491711234567"),
        ("+49 (0) 171 1234567", Some("DE"), "+491711234567"),
        ("0049 171 1234567", Some("CN"), "+491711234567"),
        ("030/901820", Some("DE"), "+4930901820"),
        ("(650) 253-0000", Some("US"), "+16502530000"),
        ("1-650-253-0000", Some("US"), "+16502530000"),
        ("650.253.0000", Some("US"), "+16502530000"),
        ("011 86 138 1234 5678", Some("US"), "+8613812345678"),
        ("416-555-0123", Some("CA"), "+14165550123"),
        ("020 7946 0958", Some("GB"), "+442079460958"),
        ("06 12 34 56 78", Some("FR"), "+33612345678"),
        ("02 3661 8300", Some("IT"), "+390236618300"),
        ("+39 02 3661 8300", None, "+390236618300"),
        ("010 12345678", Some("CN"), "+861012345678"),
        ("6123 4567", Some("HK"), "+85261234567"),
        ("+7 812 123 45 67", Some("RU"), "+78121234567"),
        ("8 (812) 123-45-67", Some("RU"), "+78121234567"),
        ("+86 138 1234 5678", None, "+8613812345678"),
    ] {
        assert_eq!(
            value(text, default).as_deref(),
            Ok(expected),
            "{text} in {default:?}"
        );
    }
}

/// The crate reads `+86 1...` by the trunk rules of the default region (in the US, 1).
#[test]
fn the_default_region_does_not_change_an_international_number() {
    for default in [
        None,
        Some("CN"),
        Some("US"),
        Some("DE"),
        Some("RU"),
        Some("HU"),
    ] {
        for number in [
            "+8613812345678",
            "+491711234567",
            "+16502530000",
            "+390236618300",
        ] {
            assert_eq!(
                value(number, default).as_deref(),
                Ok(number),
                "in {default:?}"
            );
        }
    }
}

#[test]
fn what_is_no_number_is_refused_with_its_reason() {
    for (name, text, default, refusal) in [
        ("no_region", "13812345678", None, Refusal::PhoneRegion),
        (
            "letters",
            "1381234CALL",
            Some("CN"),
            Refusal::PhoneCharacter,
        ),
        (
            "extension",
            "+1 650 253 0000 x12",
            Some("US"),
            Refusal::PhoneCharacter,
        ),
        (
            "two_numbers",
            "13812345678;13912345678",
            Some("CN"),
            Refusal::PhoneCharacter,
        ),
        (
            "plus_inside",
            "86+13812345678",
            Some("CN"),
            Refusal::PhoneCharacter,
        ),
        (
            "two_plus",
            "++8613812345678",
            Some("CN"),
            Refusal::PhoneCharacter,
        ),
        (
            "exponent",
            "1.38123E+10",
            Some("CN"),
            Refusal::PhoneCharacter,
        ),
        (
            "decimal",
            "13812345678.0",
            Some("CN"),
            Refusal::PhoneDecimal,
        ),
        (
            "decimal_german",
            "1711234567.0",
            Some("DE"),
            Refusal::PhoneDecimal,
        ),
        ("only_separators", "--", Some("CN"), Refusal::PhoneInvalid),
        ("plus_only", "+", Some("CN"), Refusal::PhoneInvalid),
        ("short", "1381234567", Some("CN"), Refusal::PhoneInvalid),
        ("long", "138123456789", Some("CN"), Refusal::PhoneInvalid),
        (
            "very_long",
            "+86138123456781381234",
            Some("CN"),
            Refusal::PhoneInvalid,
        ),
        (
            "unassigned_range",
            "12345678901",
            Some("CN"),
            Refusal::PhoneInvalid,
        ),
        (
            "unassigned_country",
            "+999 1234567",
            Some("CN"),
            Refusal::PhoneInvalid,
        ),
        (
            "zero_country",
            "+0086 13812345678",
            Some("CN"),
            Refusal::PhoneInvalid,
        ),
        ("masked", "138****5678", Some("CN"), Refusal::PhoneCharacter),
    ] {
        assert_eq!(value(text, default), Err(refusal), "{name}");
    }
}

#[test]
fn regions_have_names() {
    for name in ["CN", "DE", "US"] {
        assert_eq!(region(name).to_string(), name);
    }
    for name in ["cn", "XX", "", "China", "001"] {
        assert!(name.parse::<Region>().is_err(), "{name}");
    }
}

/// New metadata can change outcomes, so it needs a new version of the rules.
#[test]
fn the_rules_version_names_the_metadata_in_use() {
    let lock = include_str!("../../../../Cargo.lock");
    let (_, after) = lock
        .split_once("name = \"phonenumber\"\nversion = \"")
        .unwrap();
    let (version, _) = after.split_once('"').unwrap();
    let (_, metadata) = version.split_once('+').unwrap();
    assert_eq!(
        PHONE_RULES_VERSION,
        format!("phone/1+libphonenumber-{metadata}")
    );
}

/// The same number both ways. Where the fast path accepts, the crate must say the same.
fn disagreement(text: &str, default: Region) -> Option<String> {
    let number = Dialled::read(text).ok()?.resolve(Some(default)).ok()?;
    let fast = fast::e164(&number)?.with_plus();
    let library = match &number {
        Number::International(digits) => library_e164(None, &digits.with_plus()),
        Number::National(digits, region) => library_e164(Some(region.0), digits.as_str()),
    };
    if begins_with_trunk_prefix(&number) {
        // Here the crate cuts off what it takes for a trunk prefix: it refuses `+7 812 ...`,
        // which is all of Saint Petersburg. The number must stay as it stands.
        let expected = match &number {
            Number::International(digits) => digits.with_plus(),
            Number::National(digits, _) => {
                Zeroizing::new(format!("+7{}", digits.without(1).as_str()))
            }
        };
        return (fast != expected).then(|| format!("{text} in {default}: changed"));
    }
    (library.as_ref() != Some(&fast))
        .then(|| format!("{text} in {default}: fast {fast:?}, library {library:?}"))
}

/// Whether the number without any trunk prefix begins with the digits of one.
fn begins_with_trunk_prefix(number: &Number) -> bool {
    match number {
        Number::International(digits) => {
            digits.as_str().starts_with("78") || digits.as_str().starts_with("5590")
        }
        Number::National(digits, region) => {
            ["RU", "KZ"].contains(&region.0.as_ref()) && digits.as_str().starts_with("88")
        }
    }
}

const ROUNDS: usize = 24_000;

const REGIONS: [&str; 24] = [
    "CN", "DE", "US", "CA", "GB", "FR", "IT", "ES", "JP", "KR", "IN", "HK", "TW", "SG", "RU", "KZ",
    "BR", "MX", "AU", "CH", "NL", "PL", "TR", "ZA",
];

/// A random number that has a fair chance of being valid: an example of the metadata with
/// some digits changed, in national or international dress.
fn random_number(rng: &mut ChaCha20Rng, default: &str) -> String {
    let metadata = phonenumber::metadata::DATABASE.by_id(default).unwrap();
    let all = metadata.descriptors();
    let kinds = [all.mobile(), all.fixed_line(), all.toll_free(), all.voip()];
    let known: Vec<&str> = kinds
        .into_iter()
        .flatten()
        .filter_map(|d| d.example())
        .collect();
    let mut digits: Vec<u8> = known[rng.random_range(0..known.len())].bytes().collect();
    for _ in 0..rng.random_range(0..digits.len()) {
        let at = rng.random_range(0..digits.len());
        digits[at] = rng.random_range(b'0'..=b'9');
    }
    match rng.random_range(0..8) {
        0 => drop(digits.pop()),
        1 => digits.push(rng.random_range(b'0'..=b'9')),
        _ => {}
    }
    let national = String::from_utf8(digits).unwrap();
    match rng.random_range(0..4) {
        0 => national,
        1 => format!(
            "{}{national}",
            metadata.national_prefix().unwrap_or_default()
        ),
        2 => format!("+{}{national}", metadata.country_code()),
        _ => format!("{}{national}", metadata.country_code()),
    }
}

#[test]
fn the_fast_path_agrees_with_the_library_on_random_numbers() {
    let mut rng = ChaCha20Rng::seed_from_u64(20);
    let mut accepted = 0;
    let mut wrong = Vec::new();
    // Region by region: the crate keeps only its last hundred patterns compiled.
    for round in 0..ROUNDS {
        let default = REGIONS[round * REGIONS.len() / ROUNDS];
        let text = random_number(&mut rng, default);
        let number = Dialled::read(&text)
            .unwrap()
            .resolve(Some(region(default)))
            .unwrap();
        accepted += usize::from(fast::e164(&number).is_some());
        wrong.extend(disagreement(&text, region(default)));
    }
    assert!(
        wrong.is_empty(),
        "{} differ: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
    assert!(
        accepted > ROUNDS / 4,
        "the corpus must reach the fast path: {accepted}"
    );
}

proptest! {
    /// Whatever is dialled, nothing panics, and the outcome is read the same way again
    /// everywhere.
    #[test]
    fn e164_is_stable(text in "\\+?[0-9]{1,20}", at in 0..REGIONS.len()) {
        if let Ok(e164) = value(&text, Some(REGIONS[at])) {
            for default in [None, Some("CN"), Some("US"), Some("DE")] {
                prop_assert_eq!(value(&e164, default), Ok(e164.clone()));
            }
        }
    }
}
