//! Rules, from the agreement and the officers to the exported log: each pack denies by name, assessments stop flows, decisions
//! are explained and tried again.

use std::fs;

use counterfoil_tests::World;
use counterfoil_tests::ask::event_of;
use counterfoil_tests::background::{Started, signal, until};
use counterfoil_tests::data::{phones, write_customers, write_policies};
use counterfoil_tests::process::Done;
use counterfoil_tests::world::AGREEMENT;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

fn ask(world: &World) -> Done {
    let out = world.path("out.csv");
    world.ask(world.path("policies.csv"), "phone", &out, &["--overwrite"])
}

/// The newest decision of the exported log.
fn newest(world: &World, kind: &str) -> Value {
    let entry = world.entries().pop().unwrap();
    let event = event_of(&entry);
    assert_eq!(event["type"], kind, "{entry:#}");
    event["decision"].clone()
}

#[track_caller]
fn denied_by(world: &World, rule: &str, source: &str) {
    ask(world).fails(4, &[rule, source]);
    let decision = newest(world, "flow.denied");
    assert_eq!(decision["rule"], rule, "{decision:#}");
    assert_eq!(decision["source"], source, "{decision:#}");
    assert!(!decision["would_pass"].as_str().unwrap().is_empty());
}

#[test]
fn each_pack_denies_by_name_and_the_log_says_so() {
    type Change = &'static [(&'static str, &'static str)];
    let cases: [(Change, &str, &str); 4] = [
        (
            &[("refusal_option = true", "refusal_option = false")],
            "pipl-24",
            "PIPL Art. 24",
        ),
        (
            &[(
                "[[segments]]",
                "[[tags]]\nname = \"risk_appetite\"\nform = \"exact\"\n\n[[segments]]",
            )],
            "jrt0171-c2-coarse",
            "JR/T 0171-2020, class C2",
        ),
        (
            &[
                ("owner_region = \"CN\"", "owner_region = \"DE\""),
                ("recipient_region = \"CN\"", "recipient_region = \"FR\""),
                ("processor_contract = \"test/processing\"\n", ""),
            ],
            "gdpr-28",
            "GDPR Art. 28",
        ),
        (
            &[
                ("recipient_region = \"CN\"", "recipient_region = \"SG\""),
                (
                    "\"necessity\"]",
                    "\"necessity\", \"rights\"]\ncross_border = { basis = \"exempt\" }",
                ),
            ],
            "cross-border-contract",
            "Provisions on Cross-border Data Flows (2024-03-22), thresholds",
        ),
    ];
    for (changes, rule, source) in cases {
        let world = World::agreed_with(|text| {
            changes.iter().fold(text, |text, (from, to)| {
                assert!(text.contains(from), "{from}");
                text.replace(from, to)
            })
        });
        world.write_small(61);
        denied_by(&world, rule, source);
        // The recipient's own agent comes to the same before it asks.
        let explained = world.at(
            "insurer",
            &["--json", "policy", "explain", "--agreement", AGREEMENT],
        );
        let explained = explained.json();
        assert_eq!(explained["denial"]["rule"], rule);
        assert!(explained["unknown"].as_str().unwrap().contains("standing"));
        told_before_anybody_signs(&world, rule);
    }
}

/// The linter names the rule by its line, and the draft is explained as the agreement is.
fn told_before_anybody_signs(world: &World, rule: &str) {
    let file = world.path("agreement.toml");
    let draft = file.to_str().unwrap();
    let told = world.at("bank", &["agreement", "lint", draft]).ok();
    let line = |line: &str| {
        let (_, told) = line.split_once("agreement.toml:").unwrap_or_default();
        let is_numbered = told.starts_with(|c: char| c.is_ascii_digit());
        is_numbered && told.contains(": denied: ") && told.contains(&format!("`{rule}`"))
    };
    assert!(told.lines().any(line), "{told}");
    assert!(
        told.contains("would deny every request for all its tags"),
        "{told}"
    );
    let explain = ["--json", "policy", "explain", "--agreement", draft];
    let explained = world.at("bank", &explain).json();
    assert_eq!(explained["denial"]["rule"], rule, "{explained:#}");
}

#[test]
fn an_agreement_is_explained_before_it_stands_and_queries_as_they_would_be_asked() {
    let world = World::joined();
    let file = world.path("agreement.toml");
    let section = "\n[measure]\npopulation = \"retail\"\nqueries = [\"count\", \"histogram\"]\ntags = [\"housing\"]\n\
                   minimum_epsilon = \"0.1\"\nepsilon_per_flow = \"1\"\nepsilon_recipient = \"4\"\n\
                   epsilon_population = \"8\"\nperiod_days = 365\n";
    let text = world
        .agreement_text(1)
        .replace("[\"exchange\"]", "[\"measure\"]")
        + section;
    fs::write(&file, text).unwrap();
    let explain = |agreement: &str, more: &[&str]| {
        let command = ["--json", "policy", "explain", "--agreement", agreement];
        world.at("bank", &[&command[..], more].concat())
    };
    let draft = file.to_str().unwrap();
    explain(draft, &[]).fails(3, &[]);
    let asked = |query: &str| explain(draft, &["--query", query]).json();
    assert_eq!(asked("histogram housing epsilon 0.5")["granted"], true);
    let dear = asked("count epsilon 2");
    assert_eq!(dear["denial"]["code"], "query_outside", "{dear:#}");
    explain(draft, &["--query", "all of it"]).fails(3, &[]);

    world
        .at("bank", &["agreement", "propose", draft, "--as", "ana"])
        .ok();
    let proposed = explain(AGREEMENT, &["--query", "count epsilon 0.5"]).json();
    assert_eq!(
        proposed["denial"]["code"], "not_countersigned",
        "{proposed:#}"
    );
    explain("nobody", &[]).fails(7, &[]);
}

fn assess(world: &World, standing: &str, certification: &str) {
    world
        .at(
            "broker",
            &[
                "broker",
                "partner",
                "assess",
                "insurer",
                "--standing",
                standing,
                "--region",
                "CN",
                "--certification",
                certification,
                "--as",
                "kim",
            ],
        )
        .ok();
}

fn approve(world: &World, officer: &str) -> Done {
    world.at(
        "broker",
        &["broker", "partner", "approve", "insurer", "--as", officer],
    )
}

fn with_officers(world: &World) {
    for officer in ["kim", "lou"] {
        world.at("broker", &["broker", "add-officer", officer]).ok();
    }
}

fn certified_until(days: i64) -> String {
    let day = OffsetDateTime::now_utc().date() + Duration::days(days);
    format!("mlps-3={day}")
}

#[test]
fn two_officers_assess_and_flows_stop_and_start_by_it() {
    let world = World::small(62);
    with_officers(&world);
    ask(&world).ok();
    // What one officer proposes changes nothing, and the same officer cannot approve it.
    assess(&world, "79", &certified_until(30));
    ask(&world).ok();
    approve(&world, "kim").fails(4, &["`kim` proposed this assessment; a second officer"]);
    assert_eq!(newest(&world, "assessment.refused")["code"], "same_person");
    ask(&world).ok();
    approve(&world, "lou").ok();
    denied_by(&world, "standing", "house");

    assess(&world, "80", &certified_until(-1));
    approve(&world, "lou").ok();
    denied_by(&world, "certificate-lapsed", "house");

    assess(&world, "80", &certified_until(0));
    approve(&world, "lou").ok();
    ask(&world).ok();
    let shown = world
        .at(
            "broker",
            &["--json", "broker", "partner", "show", "insurer"],
        )
        .json();
    assert_eq!(shown["in_force"]["standing"], 80);
    assert_eq!(shown["proposed"], Value::Null);
    world
        .at(
            "broker",
            &[
                "broker",
                "partner",
                "assess",
                "nobody",
                "--standing",
                "90",
                "--as",
                "kim",
            ],
        )
        .fails(4, &["no institution `nobody` has joined"]);
    world
        .at("broker", &["broker", "add-officer", "kim"])
        .fails(7, &["has a key already"]);
}

#[test]
fn a_running_flow_stops_when_the_standing_falls() {
    stops_a_running_flow(63, "10", 30, "standing");
}

#[test]
fn a_running_flow_stops_when_a_certificate_has_lapsed() {
    stops_a_running_flow(65, "90", -1, "certificate-lapsed");
}

#[test]
fn a_flow_stops_between_two_buckets_when_the_standing_falls() {
    const ROWS: usize = 12_000;
    let mut world = World::agreed_with(|text| {
        text.replacen("[retention]", "bucket_rows = 1024\n\n[retention]", 1)
    });
    with_officers(&world);
    let all = phones(66, ROWS);
    write_customers(&world.path("customers.csv"), &all);
    write_policies(&world.path("policies.csv"), &all);
    world.start_owner();
    let exchange = Started::start(world.exchange_command());
    let flows = world.home("broker").join("flows");
    let joined = || {
        let files = fs::read_dir(&flows)
            .unwrap()
            .filter_map(|flow| fs::read_dir(flow.ok()?.path()).ok());
        files.flatten().any(|file| {
            file.is_ok_and(|file| file.path().extension().is_some_and(|end| end == "rows"))
        })
    };
    until("the rows of a bucket", joined);
    signal(world.owner.as_ref().unwrap().id(), "STOP");
    assess(&world, "10", &certified_until(30));
    approve(&world, "lou").ok();
    signal(world.owner.as_mut().unwrap().id(), "CONT");
    exchange.finish().fails(4, &["standing"]);
    let decision = newest(&world, "flow.refused");
    assert_eq!(decision["rule"], "standing", "{decision:#}");
    assert!(!world.path("matched.csv").exists());
    until("the end of the rows", || !joined());
}

fn stops_a_running_flow(seed: u64, standing: &str, certified_days: i64, rule: &str) {
    let mut world = World::small(seed);
    with_officers(&world);
    signal(world.owner.as_ref().unwrap().id(), "STOP");
    let mut exchange = Started::start(world.exchange_command());
    until("the grant", || {
        assert!(exchange.runs(), "it is over before it began");
        let entries = world.entries();
        entries
            .iter()
            .any(|entry| event_of(entry)["type"] == "flow.granted")
    });
    assess(&world, standing, &certified_until(certified_days));
    approve(&world, "lou").ok();
    signal(world.owner.as_mut().unwrap().id(), "CONT");
    exchange.finish().fails(4, &[rule]);
    let decision = newest(&world, "flow.refused");
    assert_eq!(decision["rule"], rule, "{decision:#}");
    assert!(!world.path("matched.csv").exists());
    let released = world.entries();
    assert!(
        released
            .iter()
            .all(|entry| event_of(entry)["type"] != "release.intent")
    );
}

#[test]
fn decisions_are_explained_and_tried_again_under_other_rules() {
    let world = World::small(64);
    ask(&world).ok();
    world
        .ask(
            world.path("policies.csv"),
            "phone",
            &world.path("o.csv"),
            &["--segment", "owners"],
        )
        .fails(4, &["segment `owners`"]);
    let log = world.path("log.jsonl");
    let log = log.to_str().unwrap();
    world.verify_log("log.jsonl");
    let flow = world
        .entries()
        .iter()
        .map(event_of)
        .find(|event| event["type"] == "flow.granted")
        .unwrap()["flow"]
        .as_str()
        .unwrap()
        .to_owned();

    let explained = world
        .at(
            "broker",
            &["--json", "policy", "explain", &flow, "--log", log],
        )
        .json();
    assert_eq!(explained["granted"], true);
    let rules = explained["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["satisfied"] == true));
    for id in [
        "caps",
        "permit-exchange",
        "pipl-24",
        "mlps-3",
        "gdpr-33",
        "cross-border-assessment",
    ] {
        assert!(rules.iter().any(|rule| rule["id"] == id), "{id}");
    }
    let told = world
        .at("broker", &["policy", "explain", &flow, "--log", log])
        .ok();
    assert!(
        told.contains("PIPL Art. 24") && told.contains("(unverified)"),
        "{told}"
    );

    let rule = |body: &str| {
        format!(
            "@id(\"few\")\n@source(\"house\")\n@says(\"too many\")\n@advice(\"fewer\")\n@status(\"verified\")\n{body};\n"
        )
    };
    let packs = world.path("new");
    fs::create_dir(&packs).unwrap();
    let write = |body: &str| fs::write(packs.join("own.cedar"), rule(body)).unwrap();
    let backtest = |more: &[&str]| {
        let command = [
            "--json",
            "policy",
            "backtest",
            packs.to_str().unwrap(),
            "--log",
            log,
        ];
        world.at("broker", &[&command[..], more].concat())
    };
    write("forbid (principal, action, resource) when { context.set_size > 1024 }");
    let same = backtest(&[]).json();
    assert_eq!(
        (&same["replayed"], &same["not_replayed"]),
        (&2.into(), &0.into())
    );
    assert_eq!(same["differences"], serde_json::json!([]));

    write("forbid (principal, action, resource) when { context.set_size > 3 }");
    let stricter = backtest(&["--since", "2026-01-01"]).json();
    let differences = stricter["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{stricter:#}");
    assert_eq!(differences[0]["flow"], flow.as_str());
    assert_eq!(
        (&differences[0]["was"], &differences[0]["would_be"]),
        (&"granted".into(), &"few".into())
    );
    assert_eq!(backtest(&["--since", "9999-01-01"]).json()["replayed"], 0);

    for (body, line, problem) in [
        (
            "permit (principal, action, resource)",
            "own.cedar:1:",
            "a pack holds a permit",
        ),
        (
            "forbid (principal, action, resource) when { context.sise > 3 }",
            "own.cedar:6:",
            "sise",
        ),
    ] {
        write(body);
        backtest(&[]).fails(3, &[]);
        let command = ["policy", "backtest", packs.to_str().unwrap(), "--log", log];
        world
            .at("broker", &command)
            .fails(3, &[line, problem, "would pass"]);
    }
    // An altered log is not replayed.
    let text =
        fs::read_to_string(log)
            .unwrap()
            .replacen("\\\"set_size\\\":", "\\\"set_size\\\":1", 1);
    fs::write(log, text).unwrap();
    write("forbid (principal, action, resource) when { context.set_size > 3 }");
    backtest(&[]).fails(6, &[]);
}

#[test]
fn a_broker_starts_only_with_rules_that_hold() {
    let mut world = World::broker_only();
    world.broker = None;
    let config = world.home("broker").join("broker.toml");
    let text = fs::read_to_string(&config).unwrap();
    let serve = || world.at("broker", &["broker", "serve"]);
    fs::write(&config, text.replace("packs = [", "packs = [\"hipaa\", ")).unwrap();
    serve().fails(
        7,
        &[
            "no pack `hipaa` is known",
            "pipl, cn-finance, gdpr, cross-border",
        ],
    );
    fs::create_dir(world.home("broker").join("packs")).unwrap();
    let pack = world.home("broker").join("packs/hipaa.cedar");
    fs::write(&pack, "permit (principal, action, resource);\n").unwrap();
    serve().fails(7, &["hipaa.cedar:1: a pack holds a permit"]);
}
