//! Consents from file to delivery: who has none is left out, and a withdrawal counts from the next exchange.

use std::fmt::Write as _;
use std::fs;

use counterfoil_tests::data::{phones, write_customers, write_policies};
use counterfoil_tests::world::{DATASETS, chmod_600};
use counterfoil_tests::{World, run};

const CUSTOMERS: usize = 300;
/// Of the customers, the recipient's too: from here on.
const COMMON_FROM: usize = 180;

const TERMS: &str = "
[consent]
contact = 'privacy@insurer.example'
method = 'private_matching'
categories = { age_band = 'profile', housing = 'home' }
";

/// A customer's consent, changed in one place.
type Change<'a> = &'a dyn Fn(usize, &mut [String; 9]);

fn write_consents(world: &World, change: Change<'_>) {
    let today = time::OffsetDateTime::now_utc().date();
    let day = |days: i64| (today + time::Duration::days(days)).to_string();
    let mut text = String::from(
        "phone,recipient,contact,purpose,method,categories,given,expires,withdrawn,reference\n",
    );
    for (i, phone) in phones(1, CUSTOMERS).iter().enumerate() {
        let mut fields = [
            "insurer".to_owned(),
            "privacy@insurer.example".to_owned(),
            "marketing_suitability".to_owned(),
            "private_matching".to_owned(),
            "profile home".to_owned(),
            day(-30),
            day(30),
            String::new(),
            format!("REF-{i}"),
        ];
        change(i, &mut fields);
        writeln!(text, "{phone},{}", fields.join(",")).unwrap();
    }
    fs::write(world.path("consents.csv"), text).unwrap();
}

/// 300 customers, 200 insured, 120 of them the same people; the agreement asks for proofs.
fn world() -> World {
    let mut world = World::agreed_with(|text| text + TERMS);
    let config = "[dataset.consent]
source = '../consents.csv'
key = 'phone'
dataset_key = 'mobile'
recipients = ['insurer', 'reinsurer']
columns = { withdrawn = 'withdrawn' }
";
    let file = world.home("bank").join("datasets.toml");
    fs::write(&file, format!("{DATASETS}\n{config}")).unwrap();
    chmod_600(&file);
    let all = phones(1, 380);
    write_customers(&world.path("customers.csv"), &all[..CUSTOMERS]);
    write_policies(&world.path("policies.csv"), &all[COMMON_FROM..]);
    world.start_owner();
    world
}

fn delivered(world: &World) -> Vec<String> {
    let table = fs::read_to_string(world.path("matched.csv")).unwrap();
    let phone = |row: &str| row.split(',').next().unwrap().to_owned();
    table.lines().skip(1).map(phone).collect()
}

#[test]
fn a_withdrawal_between_two_exchanges_counts_in_the_second() {
    let mut world = world();
    write_consents(&world, &|_, _| ());
    let first = world.exchange(&["--json"]).json();
    assert_eq!(first["delivered"], 120);
    assert_eq!(first["without_consent"], "fewer than 20");

    let yesterday = time::OffsetDateTime::now_utc().date() - time::Duration::days(1);
    write_consents(&world, &|i, fields| {
        if i < COMMON_FROM + 40 {
            fields[7] = yesterday.to_string();
        }
    });
    let second = world.exchange(&["--json", "--overwrite"]).json();
    assert_eq!(second["delivered"], 80);
    assert_eq!(second["without_consent"], "200 to 499");
    let all = phones(1, 380);
    let mut kept = delivered(&world);
    kept.sort();
    let mut expected = all[COMMON_FROM + 40..CUSTOMERS].to_vec();
    expected.sort();
    assert_eq!(kept, expected);

    // The owner sees how many and why; both sides' entry tells the bucket.
    world
        .owner
        .as_mut()
        .unwrap()
        .wait_for("left out: consent withdrawn");
    let mut entries = world.entries().into_iter().map(|entry| entry.to_string());
    let told = entries.rfind(|entry| entry.contains("without_consent"));
    let told = told.unwrap();
    assert!(
        told.contains("\"without_consent\":\"200 to 499\""),
        "{told}"
    );
    assert!(told.contains("\"loss\":\"under 5 %\""), "{told}");
    assert!(!told.contains("REF-"), "{told}");
    run(&world.home("bank"), ["audit", "verify"]).ok();
}

#[test]
fn consent_to_something_else_or_that_has_run_out_is_none() {
    let world = world();
    let day =
        |days| (time::OffsetDateTime::now_utc().date() + time::Duration::days(days)).to_string();
    write_consents(&world, &|i, fields| match i {
        180..190 => fields[0] = "reinsurer".into(),
        190..200 => fields[2] = "risk_assessment".into(),
        200..210 => fields[4] = "profile".into(),
        210..220 => fields[6] = day(-1),
        220..230 => fields[5] = day(1),
        230..240 => fields[1] = "info@insurer.example".into(),
        240..250 => fields[3] = "auction".into(),
        _ => {}
    });
    let done = world.exchange(&["--json"]).json();
    assert_eq!(
        (&done["delivered"], &done["without_consent"]),
        (&50.into(), &"50 to 99".into())
    );
    // Fewer tags need fewer categories.
    let done = world
        .exchange(&["--json", "--overwrite", "--tags", "age_band"])
        .json();
    assert_eq!(done["delivered"], 60);
}

#[test]
fn records_in_doubt_stop_the_flow_and_only_the_owner_is_told_where() {
    let mut world = world();
    write_consents(&world, &|i, fields| {
        if i == 7 {
            fields[0] = "nobody-we-know".into();
        }
    });
    let refused = world.exchange(&[]);
    assert_eq!(refused.exit, 4, "{}", refused.err);
    assert!(!refused.err.contains("line"), "{}", refused.err);
    let owner = world.owner.as_mut().unwrap();
    let told = owner.wait_for("the recipient is none of `recipients`");
    assert!(
        told.contains("line 9 of") && told.contains("consents.csv"),
        "{told}"
    );
}

#[test]
fn records_in_doubt_are_found_before_anything_runs() {
    let world = World::joined();
    let bank = world.home("bank");
    let file = bank.join("datasets.toml");
    let configure = |consent: &str| {
        fs::write(&file, format!("{DATASETS}\n[dataset.consent]\n{consent}")).unwrap();
        chmod_600(&file);
    };
    let own_source = "source = '../consents.csv'\nkey = 'phone'\ndataset_key = 'mobile'\n";
    configure(&format!("{own_source}recipients = ['insurer']\n"));
    let all = phones(1, CUSTOMERS);
    write_customers(&world.path("customers.csv"), &all);
    write_consents(&world, &|_, _| ());
    let report = run(&bank, ["--json", "dataset", "check"]).json();
    let consent = &report["datasets"][0]["consent"];
    assert_eq!(consent["records"], CUSTOMERS);
    assert_eq!(consent["faults"], serde_json::json!([]));

    write_consents(&world, &|i, fields| match i {
        7 | 9 => fields[0] = "nobody-we-know".into(),
        11 => fields[5] = "31.12.2025".into(),
        12 => fields[7] = "yesterday".into(),
        13 => fields[8] = String::new(),
        _ => {}
    });
    let done = run(&bank, ["dataset", "check"]);
    for value in ["nobody-we-know", "31.12.2025", "yesterday", &all[7][3..]] {
        assert!(
            !done.out.contains(value) && !done.err.contains(value),
            "{done:?}"
        );
    }
    for told in [
        "295 read, 5 refused",
        "refused: lines 9, 11 of",
        "consents.csv: the recipient is none of `recipients`: correct it, or list it",
        "refused: line 13 of",
        "the time of consent is not a date like",
        "refused: line 14 of",
        "the withdrawal is not a date like",
        "refused: line 15 of",
        "the reference is empty",
    ] {
        assert!(done.out.contains(told), "{told}: {done:?}");
    }
    done.fails(3, &["a consent record of", "datasets.toml"]);
    let done = run(&bank, ["--json", "dataset", "check"]);
    assert_eq!(done.exit, 3);
    let report: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let dataset = &report["datasets"][0];
    assert_eq!(
        (&dataset["mapped"], &dataset["usable"]),
        (&true.into(), &false.into())
    );
    let fault = &dataset["consent"]["faults"][0];
    assert_eq!(
        (&fault["count"], &fault["first"]),
        (&2.into(), &serde_json::json!([9, 11]))
    );
    // Lines beyond those that were asked for are not looked at.
    let first = run(&bank, ["dataset", "check", "--rows", "7"]).ok();
    assert!(first.contains("7 read, 0 refused"), "{first}");

    // The records as columns of the dataset: who has none is counted, and is no fault.
    configure("recipients = ['insurer']\n");
    let mut rows = String::from(
        "mobile,age,housing,recipient,contact,purpose,method,categories,given,expires,reference\n",
    );
    for (phone, consent) in [
        (&all[0], "insurer,c,p,m,profile,2026-01-01,2026-12-31,R1"),
        (&all[1], ",,,,,,,"),
        (&all[2], "insurer,c,p,m,profile,2026-01-01,2025-12-31,R3"),
        (&all[3], "other,c,p,m,profile,2026-01-01,2026-12-31,R4"),
    ] {
        writeln!(rows, "{phone},30,own,{consent}").unwrap();
    }
    fs::write(world.path("customers.csv"), rows).unwrap();
    let done = run(&bank, ["dataset", "check"]);
    for told in [
        "1 read, 2 refused; 1 rows without",
        "refused: line 4 of",
        "customers.csv: the consent ends before it begins",
        "refused: line 5 of",
    ] {
        assert!(done.out.contains(told), "{told}: {done:?}");
    }
    assert_eq!(done.exit, 3);
}
