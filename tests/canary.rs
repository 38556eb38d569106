//! The broker sees no identifier and no tag of a customer that both sides do not hold: not in its memory, not on its disk, not in
//! what it prints; and what it sees of a customer differs from flow to flow.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Stdio};

use counterfoil_tests::background::{Started, signal, until};
use counterfoil_tests::data::phones;
use counterfoil_tests::memory::{Finder, binary, hashes};
use counterfoil_tests::world::chmod_600;
use counterfoil_tests::{World, counterfoil, run};
use serde_json::json;

/// Customers on each side; half of them are common. Enough that a flow lasts while it is looked at.
const ROWS: usize = 2_000;
/// One row in so many is looked for.
const EACH: usize = 40;

/// Columns of the recipient's file, with the type of identifier in each.
const KINDS: [(&str, &str); 3] = [
    ("phone", "phone"),
    ("card", "resident_id"),
    ("mail", "email"),
];

/// The first is the owner's alone, the last the recipient's.
const CARDS: [&str; 8] = [
    "110105197101110212",
    "110105197202121340",
    "110105197303132479",
    "110105197404143601",
    "11010519750515473X",
    "110105197606165868",
    "110105197707176996",
    "110105197808188128",
];

/// The score of every customer that is the owner's alone.
const MARKER: u64 = 83_517_729;

const RULES: &str = r#"identifiers = [
    { type = "phone", rules = 1, default_region = "CN" },
    { type = "resident_id", rules = 1 },
    { type = "email", rules = 1 },
]"#;

const SCORE: &str = r#"[[tags]]
name = "score"
form = "exact"

[[segments]]"#;

/// The bank's own taxonomy.
const TAXONOMY: &str = r#"version_of_format = 1
name = "bank-own"
version = 1
extends = { name = "cn-finance", version = 1 }

[[tags]]
name = "score"
meaning = "A number of the bank's."
subject = "credit"
kind = "number"
class = "C1"
security_level = 2
bands = [[5000, 10000]]
"#;

const DATASETS: &str = r#"
[[dataset]]
name = "customers"
taxonomy = { name = "bank-own", version = 1 }
source = "../customers.csv"
identifiers = [
    { type = "phone", column = "mobile", default_region = "CN" },
    { type = "resident_id", column = "card" },
    { type = "email", column = "mail" },
]

[dataset.tags]
age_band = "age"
housing = "housing"
score = "score"
"#;

fn mail(number: usize) -> String {
    format!("reader.{number:05}@letters.example")
}

/// Customers 0 to 2/3 are the owner's, 1/3 to the end the recipient's.
struct Customers {
    phones: Vec<String>,
}

impl Customers {
    fn new() -> Self {
        Self {
            phones: phones(21, ROWS + ROWS / 2),
        }
    }

    /// Six common customers have one, and one beside them on each side.
    fn card(&self, number: usize) -> &'static str {
        let first = ROWS / 2 - 1;
        match number {
            ROWS => CARDS[7],
            _ if (first..first + 7).contains(&number) => CARDS[number - first],
            _ => "",
        }
    }

    fn write(&self, world: &World) {
        let mut text = String::from("mobile,card,mail,age,housing,score\n");
        for (i, phone) in self.phones.iter().enumerate().take(ROWS) {
            let score = if i < ROWS / 2 { MARKER } else { 7_001 };
            writeln!(text, "{phone},{},{},30,own,{score}", self.card(i), mail(i)).unwrap();
        }
        std::fs::write(world.path("customers.csv"), text).unwrap();
        let mut text = String::from("policy,phone,card,mail\n");
        for (i, phone) in self.phones.iter().enumerate().skip(ROWS / 2) {
            writeln!(text, "P{i},{phone},{},{}", self.card(i), mail(i)).unwrap();
        }
        std::fs::write(world.path("policies.csv"), text).unwrap();
    }

    /// What is looked for of the customers of a range, by one type of identifier.
    fn values(&self, kind: &str, range: Range<usize>) -> Vec<Value> {
        let number = |number: &usize| number.is_multiple_of(EACH);
        match kind {
            "phone" => range
                .filter(number)
                .map(|i| phone(&self.phones[i]))
                .collect(),
            "email" => range
                .filter(number)
                .map(|i| hashed(kind, &mail(i)))
                .collect(),
            _ => range
                .filter(|i| !self.card(*i).is_empty())
                .map(|i| hashed(kind, self.card(i)))
                .collect(),
        }
    }
}

/// How a value is looked for: its text, and other bytes that stand for it.
type Value = (String, Vec<Vec<u8>>);

/// The national number, which every longer form holds; numbers in binary; hashes.
fn phone(phone: &str) -> Value {
    let national = phone.strip_prefix("+86").unwrap();
    let mut others = binary(national.parse().unwrap()).to_vec();
    others.extend(binary(format!("86{national}").parse().unwrap()));
    for text in [national, phone, &format!("phone\0{phone}")] {
        others.extend(hashes(text.as_bytes()));
    }
    (national.to_owned(), others)
}

/// A value, its hash, and the hash of the form in which it enters the protocol.
fn hashed(kind: &str, value: &str) -> Value {
    let mut others = hashes(value.as_bytes()).to_vec();
    others.extend(hashes(format!("{kind}\0{value}").as_bytes()));
    (value.to_owned(), others)
}

fn marker() -> Value {
    let mut others = binary(MARKER).to_vec();
    let float = MARKER as f64;
    others.extend([float.to_le_bytes().to_vec(), float.to_be_bytes().to_vec()]);
    (MARKER.to_string(), others)
}

/// A broker that logs all it can to a file; killed when dropped.
struct Talkative(Child);

impl Talkative {
    fn start(home: &Path, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        let child = counterfoil(home)
            .args(["broker", "serve"])
            .env("COUNTERFOIL_LOG", "trace")
            .stdout(Stdio::from(file.try_clone().unwrap()))
            .stderr(Stdio::from(file))
            .spawn()
            .unwrap();
        until("the broker listens", || {
            std::fs::read_to_string(log)
                .unwrap()
                .contains("listening on")
        });
        Self(child)
    }
}

impl Drop for Talkative {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// With three types of identifier and a score.
fn world() -> (World, Customers) {
    let world = World::joined();
    world.write_taxonomy("bank", TAXONOMY);
    let text = world.agreement_text(1);
    let rule = "identifiers = [{ type = \"phone\", rules = 1, default_region = \"CN\" }]";
    assert!(text.contains(rule));
    // The score is told exactly, so that it can be searched for, which the rules for China forbid.
    let text = text
        .replace(rule, RULES)
        .replace("[[segments]]", SCORE)
        .replace("\"cn-finance\"", "\"bank-own\"")
        .replace("_region = \"CN\"", "_region = \"SG\"");
    world.sign(&text);
    let datasets = world.home("bank").join("datasets.toml");
    std::fs::write(&datasets, DATASETS).unwrap();
    chmod_600(&datasets);
    let customers = Customers::new();
    customers.write(&world);
    (world, customers)
}

fn none() -> BTreeSet<&'static str> {
    BTreeSet::new()
}

#[test]
fn the_broker_holds_no_identifier_and_no_tag_of_others() {
    let (mut world, customers) = world();
    world.kill_broker();
    let log = world.path("broker.log");
    let broker = Talkative::start(&world.home("broker"), &log);
    let broker_id = broker.0.id();

    // What is surely there, so that a search that finds nothing is known to search.
    let surely = Finder::new([("bank-insurer-tags".to_owned(), Vec::new())]);
    if let Err(error) = surely.in_process(broker_id) {
        println!("skipped: the memory of a process cannot be read here: {error}");
        return;
    }
    let everybody = 0..customers.phones.len();
    let all = KINDS
        .iter()
        .flat_map(|(_, kind)| customers.values(kind, everybody.clone()));
    let finder = Finder::new(all.chain([marker()]));
    let look = |when: &str| {
        assert_eq!(surely.in_process(broker_id).unwrap().len(), 1, "{when}");
        assert_eq!(finder.in_process(broker_id).unwrap(), none(), "{when}");
    };

    world.start_owner();
    for (column, kind) in KINDS {
        let out = world.path(&format!("{kind}.csv"));
        let ask = world.ask_command(world.path("policies.csv"), column, &out, &["--by", kind]);
        let mut exchange = Started::start(ask);
        let owner = world.owner.as_mut().unwrap();
        owner.wait_for("accepted from");
        // Held still, so that the owner has read its rows and gets no further.
        signal(broker_id, "STOP");
        owner.wait_for("read ");
        look("while both sides wait");
        // The same search finds them where they are.
        let held = customers
            .values(kind, 0..ROWS)
            .into_iter()
            .chain([marker()]);
        let held = Finder::new(held);
        assert_eq!(
            held.in_process(owner.id()).unwrap(),
            held.values(),
            "it misses what is there"
        );
        let theirs = Finder::new(customers.values(kind, ROWS..everybody.end));
        assert_eq!(theirs.in_process(owner.id()).unwrap(), none());
        signal(broker_id, "CONT");
        while exchange.runs() {
            look("while it runs");
        }
        let done = exchange.finish();
        assert_eq!(done.exit, 0, "{done:#?}");
        look("after it");
    }

    let export = world.path("log.jsonl");
    run(
        &world.home("broker"),
        ["broker", "export", "--out", export.to_str().unwrap()],
    )
    .ok();
    drop(broker);
    for path in [&world.home("broker"), &export] {
        assert_eq!(finder.in_files(path), none(), "{}", path.display());
        assert_eq!(surely.in_files(path).len(), 1, "{}", path.display());
    }
    assert_eq!(finder.in_files(&log), none());
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(
        log.contains("release recorded") && log.contains("TRACE"),
        "it said little"
    );
    // As the recipient has what it was sent, the search would have found it.
    assert!(!finder.in_files(&world.path("phone.csv")).is_empty());
}

/// The match ids that the recipient is about to send, out of the map that it keeps meanwhile.
fn match_ids(world: &World, out: &str) -> BTreeSet<Vec<u8>> {
    let flows = world.home("insurer").join("flows");
    let ask = world.ask_command(
        world.path("policies.csv"),
        "phone",
        &world.path(out),
        &["--by", "phone"],
    );
    let mut exchange = Started::start(ask);
    let mut read = None;
    // It has its name once it is whole, and is removed when the exchange ends.
    while read.is_none() && exchange.runs() {
        let mut names = std::fs::read_dir(&flows).unwrap().flatten();
        let map = names.find(|entry| entry.path().extension().is_some_and(|end| end == "map"));
        read = map.and_then(|entry| std::fs::read(entry.path()).ok());
    }
    assert_eq!(exchange.finish().exit, 0);
    rows_of_map(&read.unwrap())
}

/// After the first line, the session and the length of own sealed rows, which an exchange has none of: own row, match id and key of each slot, those of dummies among them.
fn rows_of_map(bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    let start = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1 + 32 + 4;
    let slots = bytes[start..].chunks(4 + 16 + 32);
    let ids: BTreeSet<_> = slots.clone().map(|slot| slot[4..20].to_vec()).collect();
    assert_eq!(ids.len(), slots.len());
    ids
}

#[test]
fn two_flows_over_the_same_rows_share_no_token() {
    let (mut world, customers) = world();
    world.start_owner();
    let first = match_ids(&world, "first.csv");
    let second = match_ids(&world, "second.csv");
    let rows = customers.phones.len() - ROWS / 2;
    assert_eq!(first.len(), second.len());
    assert!(first.len() >= rows, "a slot for each row, and dummies");
    assert!(first.is_disjoint(&second));
    let files = ["first.csv", "second.csv"].map(|name| std::fs::read(world.path(name)).unwrap());
    assert!(files[0] == files[1], "the same customers both times");
    assert_eq!(world.verify_log("log.jsonl")["findings"], json!([]));
}
