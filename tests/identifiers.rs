//! Every type of identifier, written as people write it on either side.

use std::fmt::Write as _;
use std::fs;

use counterfoil_tests::World;
use counterfoil_tests::process::Done;
use counterfoil_tests::world::chmod_600;

const RULES: &str = r#"identifiers = [
    { type = "phone", rules = 1, default_region = "CN" },
    { type = "resident_id", rules = 1 },
    { type = "email", rules = 1 },
]"#;

const DATASETS: &str = r#"
[[dataset]]
name = "customers"
source = "../customers.csv"
identifiers = [
    { type = "phone", column = "mobile", default_region = "CN" },
    { type = "resident_id", column = "card" },
    { type = "email", column = "mail" },
]

[dataset.tags]
age_band = "age"
housing = "housing"
"#;

/// The same telephones as the owner and as the recipient write them; the owner's region is CN.
const PHONES: [(&str, &str); 10] = [
    ("13800138000", "+86 138 0013 8000"),
    ("138-0013-8001", "0086 13800138001"),
    ("+8613800138002", "１３８００１３８００２"),
    ("(0086) 13800138003", "138 0013 8003"),
    ("010 6552 9988", "+86 10 6552 9988"),
    ("+49 30 901820", "0049 30 901820"),
    ("+49 (0)30 901821", "＋４９３０９０１８２１"),
    ("+1 650 253 0000", "001-650-253-0000"),
    ("+16502530001", "+1 (650) 253-0001"),
    ("+44 20 7946 0018", "+44 (0) 20 7946 0018"),
];

/// 17 digits with the check digit of ISO 7064 MOD 11-2.
fn resident_id(serial: u32) -> String {
    let digits = format!("110105199003{:02}{:03}", serial % 28 + 1, serial);
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = digits
        .bytes()
        .zip(weights)
        .map(|(d, w)| u32::from(d - b'0') * w)
        .sum();
    let check = ["1", "0", "X", "9", "8", "7", "6", "5", "4", "3", "2"][sum as usize % 11];
    digits + check
}

/// The owner's ten customers, one tag for all, so that nothing is suppressed.
fn world() -> World {
    let rule = "identifiers = [{ type = \"phone\", rules = 1, default_region = \"CN\" }]";
    let mut world = World::agreed_with(|text| {
        assert!(text.contains(rule));
        text.replace(rule, RULES)
    });
    let mut text = String::from("mobile,card,mail,age,housing\n");
    for (i, (phone, _)) in (0..).zip(PHONES) {
        writeln!(
            text,
            "{phone},{},Customer.{i}@Bank-Mail.EXAMPLE,30,own",
            resident_id(i)
        )
        .unwrap();
    }
    fs::write(world.path("customers.csv"), text).unwrap();
    let datasets = world.home("bank").join("datasets.toml");
    fs::write(&datasets, DATASETS).unwrap();
    chmod_600(&datasets);
    world.start_owner();
    world
}

fn ask(world: &World, name: &str, cells: &[String], more: &[&str]) -> Done {
    let path = world.path(&format!("{name}.csv"));
    let mut text = String::from("number,key\n");
    for (i, cell) in cells.iter().enumerate() {
        writeln!(text, "N{i},{cell}").unwrap();
    }
    fs::write(&path, text).unwrap();
    let out = world.path(&format!("{name}.out.csv"));
    world.ask(&path, "key", &out, &[&["--carry", "number"], more].concat())
}

/// The own numbers of the rows that were delivered.
fn numbers(world: &World, name: &str) -> Vec<String> {
    let text = fs::read_to_string(world.path(&format!("{name}.out.csv"))).unwrap();
    let number = |row: &str| row.split(',').nth(1).unwrap().to_owned();
    text.lines().skip(1).map(number).collect()
}

fn upto(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("N{i}")).collect()
}

#[test]
fn telephones_match_in_whatever_form_they_are_written() {
    let world = world();
    let cells: Vec<String> = PHONES.iter().map(|(_, own)| (*own).to_owned()).collect();
    ask(&world, "phones", &cells, &["--by", "phone"]).ok();
    assert_eq!(numbers(&world, "phones"), upto(10));

    // German numbers without their country code are other numbers, or none, in China.
    let mut german: Vec<String> = vec!["030 901820".into(), "(030) 90-18-21".into()];
    german.extend(cells.iter().take(4).map(|own| match own.as_str() {
        bare if bare.starts_with("１") || bare.starts_with("138") => format!("+86 {bare}"),
        international => international.to_owned(),
    }));
    ask(&world, "china", &german, &["--by", "phone"]).fails(4, &["minimum of 5"]);
    let done = ask(
        &world,
        "germany",
        &german,
        &["--by", "phone", "--region", "DE"],
    );
    done.ok();
    assert_eq!(numbers(&world, "germany"), upto(6));
    ask(
        &world,
        "nowhere",
        &german,
        &["--by", "phone", "--region", "XX"],
    )
    .fails(3, &["`XX`"]);
}

#[test]
fn resident_ids_match_and_a_wrong_check_digit_is_told_by_line() {
    let world = world();
    let mut cells: Vec<String> = (0..10).map(resident_id).collect();
    assert!(cells.iter().any(|id| id.ends_with('X')), "{cells:?}");
    for cell in cells.iter_mut().take(5) {
        *cell = format!(" {} ", cell.to_lowercase());
    }
    // Line 12: one of them with another check digit.
    let good = cells[9].clone();
    let (head, last) = good.split_at(17);
    let wrong = format!("{head}{}", if last == "1" { "2" } else { "1" });
    cells.push(wrong.clone());
    let done = ask(&world, "cards", &cells, &["--by", "resident_id"]);
    assert!(
        !done.out.contains(&wrong) && !done.err.contains(&wrong),
        "{done:#?}"
    );
    let row = done
        .out
        .lines()
        .find(|row| row.contains("invalid: "))
        .unwrap_or_default();
    let last: Vec<&str> = row.split_whitespace().rev().take(2).collect();
    assert!(
        row.contains("check digit") && last == ["12", "1"],
        "{done:#?}"
    );
    done.ok();
    assert_eq!(numbers(&world, "cards"), upto(10));
}

#[test]
fn addresses_match_in_upper_and_lower_case_and_the_type_is_chosen() {
    let world = world();
    let cells: Vec<String> = (0..10)
        .map(|i| match i % 3 {
            0 => format!("customer.{i}@bank-mail.example"),
            1 => format!("CUSTOMER.{i}@BANK-MAIL.EXAMPLE"),
            _ => format!("Customer.{i}@bank-mail.Example"),
        })
        .collect();
    ask(&world, "mails", &cells, &["--by", "email"]).ok();
    assert_eq!(numbers(&world, "mails"), upto(10));
    ask(&world, "unsaid", &cells, &[]).fails(
        3,
        &["the agreement matches by phone or resident_id or email: say which with --by"],
    );
    ask(&world, "unknown", &cells, &["--by", "passport"]).fails(3, &["`passport`"]);
    // The wrong type for the column: nothing usable, and the message says what to look at.
    ask(&world, "wrong", &cells, &["--by", "phone"]).fails(
        3,
        &[
            "has a usable phone in column `key`",
            "is it the right column, type and default region?",
        ],
    );
    world.entries();
}
