//! Agreements: what two institutions and four people must do right, and what is said where they do not.

use std::fs;
use std::path::{Path, PathBuf};

use counterfoil_party::clock::Clock;
use counterfoil_party::home::Home;
use counterfoil_party::transport::{Broker, call};
use counterfoil_proto::v1::agreement_reply::Result as Reply;
use counterfoil_proto::v1::{AgreementReply, ProposeRequest};
use counterfoil_tests::World;
use counterfoil_tests::hand::block_on;
use counterfoil_tests::world::{AGREEMENT, chmod_600};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

fn sign(world: &World, home: &str, user: &str) -> counterfoil_tests::Done {
    world.at(home, &["agreement", "sign", AGREEMENT, "--as", user])
}

fn status(world: &World, home: &str) -> Value {
    let shown = world.at(home, &["--json", "agreement", "show", AGREEMENT]);
    shown.json()["agreement"]["status"].clone()
}

/// The text with other days, from today.
fn days(text: &str, from: i64, until: i64) -> String {
    let day = |days| (OffsetDateTime::now_utc().date() + Duration::days(days)).to_string();
    let line = |line: &str| match line.split_once(" = ") {
        Some(("valid_from", _)) => format!("valid_from = {}\n", day(from)),
        Some(("valid_until", _)) => format!("valid_until = {}\n", day(until)),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn a_text_with_unknown_keys_is_refused_by_line() {
    let world = World::joined();
    let good = world.agreement_text(1);
    let file = world.path("agreement.toml");
    let path = file.to_str().unwrap();
    let bad = good
        .replacen("dataset = ", "colour = \"green\"\ndataset = ", 1)
        .replacen("form = \"banded\"", "form = \"banded\"\nshade = 1", 1);
    fs::write(&file, &bad).unwrap();
    let at = |key: &str| 1 + bad.lines().position(|line| line.starts_with(key)).unwrap();
    let linted = world.at("bank", &["agreement", "lint", path]);
    for (key, name) in [("colour", "colour"), ("shade", "tags[0].shade")] {
        let line = format!("agreement.toml:{}: wrong: {name}", at(key));
        assert!(linted.out.contains(&line), "no `{line}` in {linted:#?}");
    }
    linted.fails(3, &["is not a valid agreement: 2 findings"]);
    let propose = ["agreement", "propose", path, "--as", "ana"];
    world.at("bank", &propose).fails(
        3,
        &[
            "the agreement is refused:",
            &format!("line {}: colour", at("colour")),
            &format!("line {}: tags[0].shade", at("shade")),
            "would pass: ",
        ],
    );
    let listed = world.at("bank", &["--json", "agreement", "list"]).json();
    assert_eq!(listed["agreements"], json!([]));

    // An agent that does not look sends it all the same: the broker refuses and records it.
    let reply = propose_by_hand(&world.home("bank"), b"{\"colour\":\"green\"}");
    let Some(Reply::Denied(denial)) = reply.result else {
        panic!("accepted");
    };
    assert_eq!(denial.code, "agreement_invalid");
    assert!(denial.message.contains("colour"), "{denial:?}");
    let entry = world.entries().pop().unwrap();
    assert_eq!(entry["event"]["type"], "agreement.refused", "{entry:#}");
    assert_eq!(entry["event"]["decision"]["code"], "agreement_invalid");

    fs::write(&file, &good).unwrap();
    assert!(
        world
            .at("bank", &["agreement", "lint", path])
            .ok()
            .contains("the agreement is valid")
    );
    world.at("bank", &propose).ok();
}

fn propose_by_hand(home: &Path, document: &[u8]) -> AgreementReply {
    let home = Home::open(home, Clock::system()).unwrap();
    let request = ProposeRequest {
        document: document.to_vec(),
        signature: b"{}".to_vec(),
    };
    block_on(async {
        let broker = Broker::connect(&home).await.unwrap();
        call(broker.agreements().propose(request)).await.unwrap()
    })
}

#[test]
fn nobody_is_maker_and_checker_and_no_partner_is_taken_on_the_brokers_word() {
    let world = World::joined();
    let file = world.path("agreement.toml");
    fs::write(&file, world.agreement_text(1)).unwrap();
    let propose = [
        "agreement",
        "propose",
        file.to_str().unwrap(),
        "--as",
        "ana",
    ];
    world.at("bank", &propose).ok();
    let alone = [
        "checker",
        "sign as another person",
        "counterfoil agreement sign",
    ];
    sign(&world, "bank", "ana").fails(4, &alone);
    sign(&world, "bank", "eve").fails(7, &["`eve` is not known", "counterfoil party add-user eve"]);
    assert_eq!(status(&world, "bank"), "awaiting_checker");
    sign(&world, "bank", "bo").ok();

    // The insurer has not compared the bank's fingerprint.
    let partners = world.home("insurer").join("partners.toml");
    let confirmed = fs::read(&partners).unwrap();
    fs::remove_file(&partners).unwrap();
    sign(&world, "insurer", "chen").fails(
        7,
        &[
            "the keys of `bank` are not confirmed: ask `bank` by telephone for the fingerprint",
            "counterfoil party confirm-partner bank FINGERPRINT",
        ],
    );
    let fingerprint = |home: &str| {
        let shown = world.at(home, &["--json", "party", "show"]).json();
        shown["fingerprint"].as_str().unwrap().to_owned()
    };
    let confirm = |fingerprint: &str| {
        world.at(
            "insurer",
            &["party", "confirm-partner", "bank", fingerprint],
        )
    };
    confirm(&fingerprint("insurer")).fails(
        6,
        &[
            "have another fingerprint than the one given, and nothing was confirmed",
            "`bank`",
        ],
    );
    confirm("1234").fails(3, &["fingerprint"]);
    world
        .at(
            "insurer",
            &["party", "confirm-partner", "bonk", &fingerprint("bank")],
        )
        .fails(
            3,
            &[
                "the broker knows no partner `bonk`",
                "counterfoil party partners",
            ],
        );
    assert!(!partners.exists());
    // The log was opened, two were invited and joined, one proposal was made.
    assert_eq!(world.entries().len(), 6);
    confirm(&fingerprint("bank")).ok();
    assert!(fs::read(&partners).unwrap().len() >= confirmed.len() - 8);

    // What arrives only with the signature cannot have been read.
    sign(&world, "insurer", "chen").fails(4, &["was not read here", "counterfoil agreement show"]);
    assert_eq!(status(&world, "insurer"), "awaiting_maker");
    sign(&world, "insurer", "chen").ok();
    sign(&world, "insurer", "chen").fails(4, &alone);
    assert_eq!(status(&world, "bank"), "awaiting_partner");
    sign(&world, "insurer", "dee").ok();
    assert_eq!(status(&world, "bank"), "active");
    assert_eq!(status(&world, "insurer"), "active");
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status();
    assert!(copied.unwrap().success());
}

#[test]
fn days_and_versions_are_kept() {
    let mut world = World::joined();
    world.write_small(8);
    let text = |version| world.agreement_text(version);
    let out: PathBuf = world.path("out.csv");
    let ask =
        |world: &World| world.ask(world.path("policies.csv"), "phone", &out, &["--overwrite"]);
    world.sign(&days(&text(1), -20, -1));
    let old = world.path("old");
    copy(&world.home("insurer"), &old);
    let texts = [text(2), text(3)];
    let datasets = world.home("bank").join("datasets.toml");
    fs::write(&datasets, counterfoil_tests::world::DATASETS).unwrap();
    chmod_600(&datasets);
    world.start_owner();
    let ended = [
        "the agreement ended at",
        "(`agreement.valid_until`)",
        "what would pass: a new version",
    ];
    ask(&world).fails(4, &ended);
    world.recorded("flow.denied", "expired", "agreement.valid_until");
    world.sign(&days(&texts[0], 2, 20));
    let begins = [
        "the agreement begins at",
        "(`agreement.valid_from`)",
        "what would pass: a request from",
    ];
    ask(&world).fails(4, &begins);
    world.recorded("flow.denied", "not_yet_valid", "agreement.valid_from");
    world.sign(&texts[1]);
    ask(&world).ok();

    // A home from a backup does not know of the versions since.
    let current = world.path("current");
    fs::rename(world.home("insurer"), &current).unwrap();
    fs::rename(&old, world.home("insurer")).unwrap();
    let replaced = [
        "version 1 was replaced",
        "(`agreement_version`)",
        "what would pass: version 3",
    ];
    ask(&world).fails(4, &replaced);
    world.recorded("flow.denied", "superseded", "agreement_version");
    world.at("insurer", &["agreement", "list"]).ok();
    // Which it knows as soon as it has looked.
    ask(&world).ok();
    // A version that stands cannot be proposed with another text.
    let file = world.path("agreement.toml");
    fs::write(&file, days(&texts[1], -3, 3)).unwrap();
    world
        .at(
            "bank",
            &[
                "agreement",
                "propose",
                file.to_str().unwrap(),
                "--as",
                "ana",
            ],
        )
        .fails(
            4,
            &[
                "version 3 of agreement `bank-insurer-tags` is here already",
                "version = 4",
            ],
        );
}
