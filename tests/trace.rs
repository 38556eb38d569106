//! From a leaked file to the flow that it came from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use counterfoil_tests::ask::event_of;
use counterfoil_tests::data::{phones, write_customers, write_policies};
use counterfoil_tests::world::chmod_600;
use counterfoil_tests::{Done, World, run};
use serde_json::Value;

/// A large budget, so that a few rows tell much.
const MARKS: &str = "
[marks]
budget = 0.4
rows_min = 1000
tags = { age_band = {}, housing = { swaps = [['own', 'rent']] } }
";
const ROWS: usize = 1_500;
/// Of the delivery, rows that leak.
const LEAKED: usize = 900;

struct Leaked {
    world: World,
    /// The flow whose delivery leaked.
    flow: String,
    /// The other one.
    innocent: String,
    /// Rows as they were delivered in it: phone, age band, housing.
    rows: Vec<[String; 3]>,
}

/// Two deliveries to one recipient; of the first a part leaks.
fn leaked() -> Leaked {
    let mut world = World::agreed_with(|text| text + MARKS);
    let all = phones(1, ROWS);
    write_customers(&world.path("customers.csv"), &all);
    write_policies(&world.path("policies.csv"), &all);
    world.start_owner();
    let first = world.exchange(&["--json"]).json();
    let table = fs::read_to_string(world.path("matched.csv")).unwrap();
    let second = world.exchange(&["--json", "--overwrite"]).json();
    let row = |line: &str| {
        let (phone, cells) = line.split_once(',').unwrap();
        let (age, housing) = cells.rsplit_once(',').unwrap();
        [phone, age.trim_matches('"'), housing].map(str::to_owned)
    };
    let flow = |done: &Value| done["flow"].as_str().unwrap().to_owned();
    // The owner keeps its receipts a moment after the recipient has the delivery.
    let owner = world.owner.as_mut().unwrap();
    owner.wait_for("receipt verified and kept");
    owner.wait_for("receipt verified and kept");
    Leaked {
        flow: flow(&first),
        innocent: flow(&second),
        rows: table.lines().skip(1).map(row).collect(),
        world,
    }
}

impl Leaked {
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.world.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The leaked rows, mixed, in other columns with other names, and numbers as people write them.
    fn table(&self) -> String {
        let mut text = String::from("who;home;call;group\n");
        for i in 0..LEAKED {
            let [phone, age, housing] = &self.rows[i * 7 % ROWS];
            text += &format!("row {i};{housing};{} {};{age}\n", &phone[3..6], &phone[6..]);
        }
        text
    }

    fn propose(&self, file: &Path, user: &str) -> Done {
        let file = file.to_str().unwrap();
        run(
            &self.world.home("bank"),
            ["--json", "trace", file, "--as", user],
        )
    }

    fn approve(&self, file: &Path, id: &str, user: &str) -> Done {
        let file = file.to_str().unwrap();
        let arguments = ["--json", "trace", file, "--as", user, "--approve", id];
        run(&self.world.home("bank"), arguments)
    }

    /// Two people have a file scored.
    fn traced(&self, file: &Path) -> Value {
        let proposed = self.propose(file, "ana").json();
        let id = proposed["proposed"]["request"]["id"].as_str().unwrap();
        self.approve(file, id, "bo").json()
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let entries = self.world.entries();
        let events = entries.iter().map(event_of);
        events
            .filter(|event| event["type"] == kind)
            .cloned()
            .collect()
    }
}

#[test]
fn a_leaked_file_names_its_flow_and_nobody_else() {
    let leaked = leaked();
    let (latin, ..) = (leaked.table().into_bytes(), ());
    let file = leaked.write("found on a stick", &latin);
    let proposed = leaked.propose(&file, "ana").json();
    assert_eq!(proposed["rows"]["used"], LEAKED);
    assert_eq!(proposed["columns"], serde_json::json!(["home", "group"]));
    let id = proposed["proposed"]["request"]["id"].as_str().unwrap();

    // Nothing is scored for one person, nor another file than the one that was asked for.
    assert_eq!(leaked.approve(&file, id, "ana").exit, 4);
    let other = leaked.write(
        "other.csv",
        leaked.table().replacen("row 1", "row x", 1).as_bytes(),
    );
    assert_eq!(leaked.approve(&other, id, "bo").exit, 3);
    assert!(leaked.events("trace.authorised").is_empty());
    let pending = run(&leaked.world.home("bank"), ["--json", "trace", "--pending"]).json();
    assert_eq!(pending["pending"].as_array().unwrap().len(), 1);

    let page = leaked.world.path("report.html");
    let signed = leaked.world.path("report.note");
    let done = run(
        &leaked.world.home("bank"),
        [
            "--json",
            "trace",
            file.to_str().unwrap(),
            "--as",
            "bo",
            "--approve",
            id,
            "--html",
            page.to_str().unwrap(),
            "--out",
            signed.to_str().unwrap(),
        ],
    )
    .json();
    let report = &done["report"];
    let accused = report["marks"]["accused"].as_array().unwrap();
    assert_eq!(accused.len(), 1, "{report:#}");
    assert_eq!(accused[0]["recipient"], "insurer");
    let flows = accused[0]["flows"].as_array().unwrap();
    assert_eq!(
        flows.len(),
        1,
        "the recipient's other flow is innocent: {flows:#?}"
    );
    assert_eq!(flows[0]["flow"], leaked.flow);
    assert_ne!(flows[0]["flow"], leaked.innocent);
    assert_eq!(done["commitments"]["in_receipts"], 1);
    assert_eq!(report["marks"]["candidates"], 3);
    // 3 candidates, one false naming in 10^9.
    assert_eq!(report["marks"]["log10_threshold"], 9.48);

    // Recorded before it was scored; the incident and its outcome after.
    let entries = leaked.world.entries();
    let place = |kind: &str| {
        let found = entries
            .iter()
            .position(|entry| event_of(entry)["type"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}"))
    };
    let order = ["trace.authorised", "incident.opened", "trace.concluded"].map(place);
    assert!(order.is_sorted(), "{order:?}");
    let authorised = event_of(&entries[order[0]]);
    assert_eq!(authorised["file_sha256"], report["file_sha256"]);
    assert_eq!(authorised["rows_used"], LEAKED);
    assert_eq!(
        event_of(&entries[order[2]])["named"],
        serde_json::json!(["insurer"])
    );
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains(&leaked.flow) && page.contains("<svg"));
    assert!(
        fs::read_to_string(signed)
            .unwrap()
            .starts_with("counterfoil trace report v1\n")
    );

    assert_eq!(
        leaked.world.verify_log("log.jsonl")["findings"],
        serde_json::json!([])
    );

    // The same file again joins the incident; and the accused hears nothing of it from the broker.
    leaked.traced(&file);
    assert_eq!(leaked.events("incident.opened").len(), 1);
    assert_eq!(leaked.events("trace.concluded").len(), 2);
    run(&leaked.world.home("insurer"), ["audit", "verify"]).ok();
    let log = entries.iter().map(Value::to_string).collect::<String>();
    assert!(
        !log.contains(&leaked.rows[0][0]),
        "an identifier in the log"
    );
}

#[test]
fn a_file_that_was_never_marked_names_nobody() {
    let leaked = leaked();
    let mut text = String::from("phone,age_band,housing\n");
    for (i, phone) in phones(1, ROWS).iter().enumerate() {
        let age = ["\"[25,45)\"", "\"[45,65)\""][i / 2 % 2];
        text += &format!("{phone},{age},{}\n", ["own", "rent"][i % 2]);
    }
    let file = leaked.write("own.csv", text.as_bytes());
    let done = leaked.traced(&file);
    assert_eq!(done["report"]["marks"]["accused"], serde_json::json!([]));
    assert!(done["report"]["marks"]["shortfall"].is_object());
    let others: u64 = done["report"]["marks"]["others"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(others, 1, "the recipient's score is in the histogram alone");
    // An incident it is all the same.
    assert_eq!(leaked.events("incident.opened").len(), 1);
}

/// The owner has no key of a symbol, and the broker none of a mark tag; the log has commitments to both, so nothing is scored
/// under another. (What a broker finds with other tags: `without_the_owners_tags_or_the_brokers_keys_nothing_is_named`.)
#[test]
fn another_key_than_the_owners_of_then_is_refused_and_the_owner_alone_scores_nothing() {
    let leaked = leaked();
    let file = leaked.write("leak.csv", leaked.table().as_bytes());
    let named = leaked.traced(&file);
    assert_eq!(
        named["report"]["marks"]["accused"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let released = &leaked.events("release.intent")[0]["marks"]["tag_key"];
    assert!(released.is_string());
    assert_eq!(&named["report"]["tag_key"], released);
    assert_eq!(&leaked.events("trace.authorised")[0]["tag_key"], released);
    let key = leaked
        .world
        .home("bank")
        .join("keys/trace-bank.customers.1.16.44564.key");
    let kept = fs::read_to_string(&key).unwrap();
    let (_, made_for) = kept.split_once('\n').unwrap();
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    fs::write(&key, format!("trace-secret:{zeros}\n{made_for}")).unwrap();
    chmod_600(&key);
    let refused = leaked.propose(&file, "ana");
    assert_eq!(refused.exit, 7, "{}", refused.out);
    assert!(
        refused
            .out
            .contains("is not the key that the log commits to")
    );
    fs::write(&key, kept).unwrap();
    chmod_600(&key);
    // And the owner alone scores nothing.
    let mut world = leaked.world;
    let file = file.to_str().unwrap().to_owned();
    let proposed = run(
        &world.home("bank"),
        ["--json", "trace", &file, "--as", "ana"],
    )
    .json();
    world.broker = None;
    let id = proposed["proposed"]["request"]["id"].as_str().unwrap();
    let alone = run(
        &world.home("bank"),
        ["trace", &file, "--as", "bo", "--approve", id],
    );
    assert_eq!(alone.exit, 5, "{}", alone.err);
}

/// A new key would trace nothing of what is delivered, and tags made from another column would name other customers.
#[test]
fn the_owners_key_is_not_made_anew_nor_used_for_another_column() {
    let leaked = leaked();
    let file = leaked.write("leak.csv", leaked.table().as_bytes());
    let bank = leaked.world.home("bank");
    let key = bank.join("keys/trace-bank.customers.1.16.44564.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let lost = leaked.propose(&file, "ana");
    assert_eq!(lost.exit, 7, "{}", lost.out);
    assert!(
        lost.out.contains("Restore it from your backup"),
        "{}",
        lost.out
    );
    let exchanged = leaked.world.exchange(&["--overwrite"]);
    assert_ne!(exchanged.exit, 0);
    assert!(!key.exists(), "no key was made");

    fs::write(&key, &kept).unwrap();
    chmod_600(&key);
    let config = bank.join("datasets.toml");
    let text = fs::read_to_string(&config).unwrap();
    let by_another = text.replacen("identifiers =", "customer = 'age'\nidentifiers =", 1);
    fs::write(&config, by_another).unwrap();
    let changed = leaked.propose(&file, "ana");
    assert_eq!(changed.exit, 7, "{}", changed.out);
    assert!(changed.out.contains("phone `mobile`"), "{}", changed.out);
    let exchanged = leaked.world.exchange(&["--overwrite"]);
    assert_ne!(exchanged.exit, 0);
    fs::write(&config, text).unwrap();
    leaked.world.exchange(&["--overwrite"]).ok();
}

/// With receipts and key gone the owner's agent cannot know that there was a key: the log does.
#[test]
fn an_old_copy_of_the_owners_home_brings_no_second_key_into_a_lineage() {
    let mut world = World::agreed_with(|text| text + MARKS);
    let all = phones(1, ROWS);
    write_customers(&world.path("customers.csv"), &all);
    write_policies(&world.path("policies.csv"), &all);
    let (bank, old) = (world.home("bank"), world.path("bank.old"));
    let copied = Command::new("cp").arg("-a").args([&bank, &old]).status();
    assert!(copied.unwrap().success());
    world.start_owner();
    world.exchange(&[]).ok();
    let owner = world.owner.as_mut().unwrap();
    owner.wait_for("receipt verified and kept");
    world.owner = None;
    fs::remove_dir_all(&bank).unwrap();
    fs::rename(&old, &bank).unwrap();
    world.start_owner();
    let refused = world.exchange(&["--overwrite"]);
    assert_ne!(refused.exit, 0);
    assert!(
        refused
            .err
            .contains("is not the one that the log has for lineage"),
        "{}",
        refused.err
    );
}

/// Nothing in the delivery can carry a mark, and what leaks are a few rows without any identifier.
#[test]
fn a_reference_code_names_the_flow_of_a_few_rows_without_identifiers() {
    let marks = "\n[marks]\nbudget = 0.4\nrows_min = 1000\nreference_codes = true\ntags = {}\n";
    let mut world = World::agreed_with(|text| text + marks);
    let all = phones(1, ROWS);
    write_customers(&world.path("customers.csv"), &all);
    write_policies(&world.path("policies.csv"), &all);
    world.start_owner();
    let first = world.exchange(&["--json"]).json();
    assert_eq!(first["marks"]["reference_codes"], true);
    let table = fs::read_to_string(world.path("matched.csv")).unwrap();
    let mut lines = table.lines();
    assert!(lines.next().unwrap().ends_with(",reference_code"));
    let code_of = |line: &str| line.rsplit_once(',').unwrap().1.to_owned();
    let codes: Vec<String> = lines.map(code_of).collect();
    world.exchange(&["--overwrite"]).ok();
    let owner = world.owner.as_mut().unwrap();
    owner.wait_for("each row has a reference code, and no cell a mark");
    owner.wait_for("each row has a reference code, and no cell a mark");
    let leaked = Leaked {
        flow: first["flow"].as_str().unwrap().to_owned(),
        innocent: String::new(),
        rows: Vec::new(),
        world,
    };
    assert!(
        !leaked
            .world
            .home("bank")
            .join("keys")
            .read_dir()
            .unwrap()
            .any(|file| {
                file.unwrap()
                    .file_name()
                    .to_str()
                    .unwrap()
                    .starts_with("trace-")
            }),
        "rows without marks have no pseudonym"
    );

    let text = format!(
        "what,where\n{},x\nno code,y\n{},z\n",
        codes[3],
        codes[700].to_lowercase()
    );
    let file = leaked.write("note.csv", text.as_bytes());
    let done = leaked.traced(&file);
    let why = done["rows"]["codes_only"].as_str().unwrap();
    assert!(
        why.contains("nothing of `customers` was delivered with marks"),
        "{why}"
    );
    let report = &done["report"];
    // Nothing was scored, and nothing is said of candidates or thresholds.
    assert_eq!(report["marks"], Value::Null);
    assert_eq!(report["lineage"], "bank/*");
    assert_eq!(report["code_keys_compared"], 2);
    let coded = report["coded"].as_array().unwrap();
    assert_eq!(coded.len(), 1, "{report:#}");
    assert_eq!(
        (&coded[0]["recipient"], &coded[0]["rows"]),
        (&"insurer".into(), &2.into())
    );
    assert_eq!(coded[0]["flow"]["flow"], leaked.flow);
    assert_eq!(done["commitments"]["in_receipts"], 1);
    let concluded = leaked.events("trace.concluded");
    assert_eq!(concluded[0]["coded"], serde_json::json!(["insurer"]));
    assert_eq!(concluded[0]["named"], serde_json::json!([]));

    assert_eq!(concluded[0]["candidates"], 0);

    // Codes are not counted against the scorings of a lineage, nor is a file without a right one: that ends in the log too.
    let none = "7".repeat(32);
    let file = leaked.write(
        "note2.csv",
        format!("what\n{}\n{none}\n", codes[5]).as_bytes(),
    );
    for _ in 0..10 {
        leaked.traced(&file);
    }
    assert_eq!(leaked.events("trace.concluded").len(), 11);
    assert_eq!(
        leaked.world.verify_log("log.jsonl")["findings"],
        serde_json::json!([])
    );

    // A code with a character altered is none, and nothing of such a file is sent.
    let altered = codes[3].replace(&codes[3][20..], "7777");
    let file = leaked.write("altered.csv", format!("what\n{altered}\n").as_bytes());
    assert_eq!(leaked.propose(&file, "ana").exit, 3);
}

/// What was delivered under a telephone number is still its customer's when the number is another one's, or nobody's.
#[test]
fn customers_whose_number_changed_since_are_found_by_their_former_one() {
    let mut world = World::agreed_with(|text| text + MARKS);
    let (all, new) = (phones(1, ROWS), phones(2, ROWS));
    let customers = |phones: &[String]| {
        let row = |(i, phone): (usize, &String)| {
            let (age, housing) = ([30, 50][i / 2 % 2], ["own", "rent"][i % 2]);
            format!("{phone},{age},{housing},C{i}\n")
        };
        let rows: String = phones.iter().enumerate().map(row).collect();
        format!("mobile,age,housing,customer\n{rows}")
    };
    fs::write(world.path("customers.csv"), customers(&all)).unwrap();
    write_policies(&world.path("policies.csv"), &all);
    let config = world.home("bank").join("datasets.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replacen("identifiers =", "customer = 'customer'\nidentifiers =", 1);
    fs::write(&config, &text).unwrap();
    world.start_owner();
    world.exchange(&[]).ok();
    world
        .owner
        .as_mut()
        .unwrap()
        .wait_for("receipt verified and kept");
    let file = world.path("matched.csv");
    let file = file.to_str().unwrap();
    // All have other numbers by now, and of the old ones the owner keeps a list.
    fs::write(world.path("customers.csv"), customers(&new)).unwrap();
    let former: String = all
        .iter()
        .enumerate()
        .map(|(i, phone)| format!("C{i},{phone}\n"))
        .collect();
    fs::write(
        world.path("former.csv"),
        format!("customer,mobile\n{former}"),
    )
    .unwrap();
    let propose = || {
        run(
            &world.home("bank"),
            ["--json", "trace", file, "--as", "ana"],
        )
    };
    assert_eq!(propose().exit, 3, "their rows are nobody's");
    fs::write(
        &config,
        text + "\n[dataset.former]\nsource = '../former.csv'\n",
    )
    .unwrap();
    assert_eq!(propose().json()["rows"]["used"], ROWS);
}

#[test]
fn a_few_rows_are_not_scored_nor_files_without_identifiers() {
    let leaked = leaked();
    let few: String = leaked
        .table()
        .lines()
        .take(40)
        .map(|line| format!("{line}\n"))
        .collect();
    let few = leaked.write("few.csv", few.as_bytes());
    let refused = leaked.propose(&few, "ana");
    assert_eq!(refused.exit, 3);
    assert!(refused.out.contains("fewer than 50"), "{}", refused.out);
    let nameless: String = leaked
        .rows
        .iter()
        .map(|[_, age, housing]| format!("{age};{housing}\n"))
        .collect();
    let nameless = leaked.write("nameless.csv", format!("age;home\n{nameless}").as_bytes());
    let refused = leaked.propose(&nameless, "ana");
    assert_eq!(refused.exit, 3);
    assert!(
        refused
            .out
            .contains("no column of the file holds identifiers"),
        "{}",
        refused.out
    );
}
