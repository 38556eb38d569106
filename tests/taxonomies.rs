//! Taxonomies, mappings and segments, as an institution's people meet them.

use std::fs;

use counterfoil_tests::process::run;
use counterfoil_tests::world::{AGREEMENT, World, chmod_600};

const OWN: &str = r#"version_of_format = 1
name = "bank-own"
version = 1
extends = { name = "cn-finance", version = 1 }

[[tags]]
name = "pet"
meaning = "The animal that the customer insured."
subject = "holdings"
kind = "categorical"
class = "C1"
security_level = 2
values = ["cat", "dog", "horse"]
levels = [{ cat = "small", dog = "small", horse = "large" }]
"#;

const DATASETS: &str = r#"[[dataset]]
name = "customers"
taxonomy = { name = "bank-own", version = 1 }
source = "../customers.csv"
identifiers = [{ type = "phone", column = "mobile", default_region = "CN" }]

[dataset.tags]
pet = { column = "animal", values = { "1" = "cat", "2" = "dog", "3" = "horse" } }
wealth_tier = { column = "aum", bands = [{ below = 1000, value = "mass" }, { value = "private" }] }
years_as_customer = "years"
"#;

/// 40 customers; every fourth has an animal that nobody mapped, one a text for a number.
fn customers() -> String {
    let mut text = String::from("mobile,animal,aum,years\n");
    for i in 0..40 {
        let aum = if i == 7 {
            "much".to_owned()
        } else {
            (i * 100).to_string()
        };
        text += &format!("+86138{:08},{},{aum},{}\n", i * 7919, i % 4 + 1, i % 10);
    }
    text
}

fn bank(world: &World) {
    let home = world.home("bank");
    world.write_taxonomy("bank", OWN);
    fs::write(home.join("datasets.toml"), DATASETS).unwrap();
    chmod_600(&home.join("datasets.toml"));
    fs::write(world.path("customers.csv"), customers()).unwrap();
}

#[test]
fn a_mapping_is_checked_before_anything_runs() {
    let world = World::joined();
    bank(&world);
    let home = world.home("bank");
    let report = run(&home, ["--json", "dataset", "check"]).json();
    let dataset = &report["datasets"][0];
    assert_eq!(
        (&dataset["rows"], &dataset["usable"]),
        (&40.into(), &true.into())
    );
    assert_eq!(dataset["identifiers"][0]["valid"], 40);
    // The one without a number has no animal either.
    assert_eq!(dataset["whole"], 30);
    let tag = |name: &str| {
        let tags = dataset["tags"].as_array().unwrap();
        tags.iter().find(|tag| tag["tag"] == name).unwrap().clone()
    };
    let pet = tag("pet");
    assert_eq!(pet["mapped"], 30);
    assert_eq!(
        pet["delivered"],
        serde_json::json!([["small", 20], ["large", 10]])
    );
    assert_eq!(
        pet["unmapped"]["cells"],
        serde_json::json!([{ "cell": "4", "rows": 10 }])
    );
    let tier = tag("wealth_tier");
    assert_eq!(tier["mapped"], 39);
    assert_eq!(
        tier["unmapped"]["rows"],
        serde_json::json!({
            "the cell is not a decimal number like 1234.5; write it without separators, unit or sign of a currency":
                { "count": 1, "first": [9] }
        })
    );
    assert_eq!(
        tag("years_as_customer")["delivered"]
            .as_array()
            .unwrap()
            .len(),
        4
    );

    let sample = run(&home, ["dataset", "check", "customers", "--rows", "4"]).ok();
    for told in ["the first 4 rows", "bank-own version 1", "`4`"] {
        assert_eq!(sample.contains(told), told != "`4`", "{told}: {sample}");
    }
    run(&home, ["dataset", "check", "nobody"]).fails(3, &["it has customers"]);
}

#[test]
fn a_mapping_that_leaves_an_agreement_nothing_is_found_before_a_flow() {
    let world = World::joined();
    bank(&world);
    let home = world.home("bank");
    let own = "name = \"bank-own\"\nversion = 1";
    let text = world
        .agreement_text(1)
        .replace("name = \"cn-finance\"\nversion = 1", own);
    let file = world.path("agreement.toml");
    fs::write(&file, text).unwrap();
    let check = |mapping: &str| {
        fs::write(home.join("datasets.toml"), format!("{DATASETS}{mapping}")).unwrap();
        let command = ["dataset", "check", "--agreement", file.to_str().unwrap()];
        run(&home, command)
    };
    let missing = "no column of dataset `customers` is mapped to the agreement's tag `age_band`";
    check("").fails(3, &[missing, "add `age_band = \"COLUMN\"`"]);

    // Each tag has rows, and an exchange of both has those that have both.
    let housing = |rents: &str| {
        let values = format!("{{ \"2\" = \"own\", \"{rents}\" = \"rent\" }}");
        format!("age_band = \"years\"\nhousing = {{ column = \"animal\", values = {values} }}\n")
    };
    let told = check(&housing("3")).ok();
    let whole = "20 of 40 rows have an identifier and a value in every tag of the agreement";
    assert!(told.contains(whole), "{told}");
    let customers = customers().replace(",much,", ",0,");
    // Who has an animal that counts as a home has no number of years.
    let without_years = customers.lines().map(|line| match line.split(',').nth(1) {
        Some("2" | "3") => format!("{},\n", line.rsplit_once(',').unwrap().0),
        _ => format!("{line}\n"),
    });
    fs::write(
        world.path("customers.csv"),
        without_years.collect::<String>(),
    )
    .unwrap();
    check(&housing("3")).fails(3, &["no row a value in every tag"]);
}

#[test]
fn a_mapping_that_cannot_serve_ends_with_3_and_shows_no_identifier() {
    let world = World::joined();
    bank(&world);
    let home = world.home("bank");
    let with = |from: &str, to: &str| {
        assert!(DATASETS.contains(from));
        fs::write(home.join("datasets.toml"), DATASETS.replace(from, to)).unwrap();
        run(&home, ["dataset", "check"])
    };
    // The telephone numbers stand where a pet should.
    let done = with("\"animal\"", "\"mobile\"");
    assert!(
        !done.out.contains("86138") && !done.err.contains("86138"),
        "{done:?}"
    );
    done.fails(3, &["no usable value at all"]);
    with("pet = ", "password = ").fails(3, &["line 8: `password` is of class C3", "never leaves"]);
    with("\"animal\"", "\"beast\"").fails(3, &["has no column `beast`"]);
    with(
        "below = 1000,",
        "below = 1000, value = \"mass\" }, { below = 999,",
    )
    .fails(3, &["line 9: bands overlap"]);
    with("version = 1 }", "version = 2 }")
        .fails(3, &["line 3: taxonomy `bank-own` version 2 is not here"]);
}

#[test]
fn ones_own_taxonomy_is_checked_by_file_and_line() {
    let world = World::joined();
    let home = world.home("bank");
    let file = world.path("own.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        run(&home, ["taxonomy", "check", file.to_str().unwrap()])
    };
    assert!(check(OWN).ok().contains("bank-own version 1 is valid"));
    check(&OWN.replace("horse = \"large\"", "hors = \"large\""))
        .fails(3, &["own.toml: line 14", "`horse` has no parent"]);
    check(&OWN.replace("\"cn-finance\"", "\"none\""))
        .fails(3, &["own.toml: line 4", "is not here"]);
    let shown = run(&home, ["taxonomy", "show"]).ok();
    for told in ["risk_appetite", "never leaves", "wealth_tier"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let purposes = run(&home, ["agreement", "purposes"]).ok();
    assert!(
        purposes.contains("credit_decision") && purposes.contains("denied by default"),
        "{purposes}"
    );
}

#[test]
fn a_taxonomy_other_than_the_agreements_is_found_before_a_flow() {
    let world = World::joined();
    bank(&world);
    let home = world.home("bank");
    let folder = home.join("taxonomies");
    let later = OWN.replace("\nversion = 1\n", "\nversion = 2\n");
    let install = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        chmod_600(&folder.join(name));
    };
    let text = world.agreement_text(1).replace(
        "name = \"cn-finance\"\nversion = 1",
        "name = \"bank-own\"\nversion = 2",
    );
    let line = 1 + text.lines().position(|line| line == "[taxonomy]").unwrap();
    let file = world.path("agreement.toml");
    fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    let check = |agreement: &str| run(&home, ["dataset", "check", "--agreement", agreement]);
    let housing = "{ column = \"animal\", values = { \"1\" = \"own\", \"2\" = \"rent\" } }";
    let mapped = format!("{DATASETS}age_band = \"years\"\nhousing = {housing}\n");
    fs::write(home.join("datasets.toml"), &mapped).unwrap();

    // Missing: the text names its own line.
    let line = format!("agreement.toml`: line {line}: taxonomy");
    check(file).fails(3, &[&line, "version 2 is not here", "`taxonomies` folder"]);
    // Here, and the mapping is of the older one.
    install("later.toml", &later);
    let older = [
        "datasets.toml`: line 3: dataset `customers` is mapped to bank-own version 1",
        "version = 2 }`",
    ];
    check(file).fails(3, &older);
    run(&home, ["agreement", "propose", file, "--as", "ana"]).ok();
    check(AGREEMENT).fails(3, &older);
    let datasets = mapped.replace("\"bank-own\", version = 1", "\"bank-own\", version = 2");
    fs::write(home.join("datasets.toml"), datasets).unwrap();
    check(file).ok();
    check(AGREEMENT).ok();
    // What the agreement pins says something else here by now.
    install(
        "later.toml",
        &later.replace("the customer insured", "the customer owns"),
    );
    let stored = format!("{AGREEMENT}-v1.json`: taxonomy.digest");
    check(AGREEMENT).fails(3, &[&stored, "says something else here"]);
    // Gone: the mapping is of the older one again.
    fs::remove_file(folder.join("later.toml")).unwrap();
    fs::write(home.join("datasets.toml"), &mapped).unwrap();
    check(AGREEMENT).fails(3, &[older[0], "its file belongs into"]);
}

#[test]
fn a_segment_over_a_tag_that_is_not_delivered_is_named_in_the_receipt() {
    let mut world = World::joined();
    let text = world
        .agreement_text(1)
        .replace(
            "[owner]",
            "segment_tags = [\"years_as_customer\"]\n\n[owner]",
        )
        .replace(
            "name = \"renters\"\nwhere = \"housing = 'rent'\"",
            "name = \"loyal\"\nwhere = \"years_as_customer >= 5\"",
        );
    world.sign(&text);
    let datasets = "[[dataset]]\nname = \"customers\"\nsource = \"../customers.csv\"\n\
                    identifiers = [{ type = \"phone\", column = \"mobile\" }]\n\
                    [dataset.tags]\nage_band = \"age\"\nhousing = \"housing\"\nyears_as_customer = \"years\"\n";
    fs::write(world.home("bank").join("datasets.toml"), datasets).unwrap();
    chmod_600(&world.home("bank").join("datasets.toml"));
    let (mut rows, mut asked) = (
        String::from("mobile,age,housing,years\n"),
        String::from("phone\n"),
    );
    for i in 0..40 {
        let phone = format!("+86138{:08}", i * 7919);
        rows += &format!("{phone},30,own,{}\n", i % 10);
        asked += &format!("{phone}\n");
    }
    fs::write(world.path("customers.csv"), rows).unwrap();
    fs::write(world.path("policies.csv"), asked).unwrap();
    world.start_owner();
    let done = world.exchange(&["--json", "--segment", "loyal"]).json();
    assert_eq!(done["delivered"], 20, "{done}");
    let file = world.path("log.jsonl");
    run(
        &world.home("broker"),
        ["broker", "export", "--out", file.to_str().unwrap()],
    )
    .ok();
    let log = fs::read_to_string(&file).unwrap();
    let released = log
        .lines()
        .find(|line| line.contains("release.intent"))
        .unwrap();
    assert!(released.contains("loyal"), "{released}");
}
