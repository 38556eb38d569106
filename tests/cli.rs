//! The command itself: what it prints for people and for programs, and `doctor`, which finds the usual first mistakes.

use std::fs;

use counterfoil_tests::data::{phones, write_policies};
use counterfoil_tests::world::AGREEMENT;
use counterfoil_tests::{Done, World, run};
use serde_json::Value;

/// Runs with `--json`, wherever it stands, and asserts one document and nothing else on standard output.
#[track_caller]
fn one_document(world: &World, home: &str, args: &[&str], exit: i32) -> Value {
    let done = run(&world.home(home), [args, &["--json"]].concat());
    assert_eq!(done.exit, exit, "{args:?}: {done:#?}");
    let document: Value = serde_json::from_str(&done.out)
        .unwrap_or_else(|e| panic!("{args:?} prints not one document: {e}\n{done:#?}"));
    assert!(
        !done.out.contains('\u{1b}') && !done.err.contains('\u{1b}'),
        "{done:#?}"
    );
    document
}

/// As [`one_document`], for a failure: its code.
#[track_caller]
fn failure(world: &World, home: &str, args: &[&str], exit: i32) -> String {
    let document = one_document(world, home, args, exit);
    let error = &document["error"];
    assert_eq!(error["exit"], exit, "{document:#}");
    assert!(
        !error["message"].as_str().unwrap().is_empty(),
        "{document:#}"
    );
    error["code"].as_str().unwrap().to_owned()
}

#[test]
fn every_command_prints_one_json_document() {
    let world = World::small(20);
    let path = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let (policies, out) = (path("policies.csv"), path("out.csv"));
    let (agreement, export) = (path("agreement.toml"), path("export.jsonl"));
    let exchange = |out: &str| {
        let fixed = [
            "exchange",
            "--agreement",
            AGREEMENT,
            "--column",
            "phone",
            "--as",
            "chen",
        ];
        let files = ["--from", &policies, "--out", out];
        fixed
            .iter()
            .chain(&files)
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let words = |texts: &[String]| {
        texts
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let own = path("own.jsonl");
    let asking = words(&exchange(&out));
    for (home, args) in [
        ("broker2", "broker\ninit"),
        ("broker", "broker\ninvite\nthird"),
        ("broker", "broker\npartners"),
        ("broker", &format!("broker\nexport\n--out\n{export}")),
        ("third", "party\ninit\nthird"),
        ("bank", "party\nshow"),
        ("bank", "party\nadd-user\neve"),
        ("bank", "party\npartners"),
        ("bank", "agreement\ndraft\n--with\ninsurer\n--side\nowner"),
        ("bank", &format!("agreement\nlint\n{agreement}")),
        (
            "bank",
            &format!("agreement\npropose\n{agreement}\n--as\nana"),
        ),
        ("bank", &format!("agreement\nsign\n{AGREEMENT}\n--as\nana")),
        ("bank", &format!("agreement\nshow\n{AGREEMENT}")),
        ("bank", "agreement\nlist"),
        ("insurer", &asking),
        ("insurer", "exchange\n--resume"),
        ("insurer", "audit\nverify"),
        ("insurer", &format!("audit\nverify\n--file\n{export}")),
        ("insurer", &format!("audit\nexport\n--out\n{own}")),
        ("insurer", "doctor"),
    ] {
        let args: Vec<&str> = args.split('\n').collect();
        let document = one_document(&world, home, &args, 0);
        assert!(document.get("error").is_none(), "{args:?}: {document:#}");
    }

    // Failures of each exit code.
    assert_eq!(failure(&world, "bank", &["exchange"], 2), "usage");
    assert_eq!(failure(&world, "bank", &["party", "grow"], 2), "usage");
    assert_eq!(
        failure(
            &world,
            "insurer",
            &words(&exchange(&out)).split('\n').collect::<Vec<_>>(),
            3
        ),
        "output"
    );
    write_policies(&world.path("policies.csv"), &phones(99, 30));
    let other = words(&exchange(&path("other.csv")));
    let other: Vec<&str> = other.split('\n').collect();
    assert_eq!(failure(&world, "insurer", &other, 4), "minimum_match");
    assert_eq!(
        failure(&world, "third", &["doctor", "--nonsense"], 2),
        "usage"
    );
    assert_eq!(failure(&world, "nowhere", &["party", "show"], 7), "no_home");
    assert_eq!(
        failure(&world, "nowhere", &["broker", "serve"], 7),
        "broker_home"
    );
    let tampered = fs::read_to_string(&export).unwrap().replace("bank", "bonk");
    fs::write(&export, tampered).unwrap();
    failure(
        &world,
        "insurer",
        &["audit", "verify", "--file", &export],
        6,
    );
    // Where the result itself shows what is wrong, it is the one document.
    fs::write(&agreement, "colour = 1\n").unwrap();
    let linted = one_document(&world, "bank", &["agreement", "lint", &agreement], 3);
    assert_eq!(linted["valid"], false);
    assert!(one_document(&world, "third", &["doctor"], 7).is_array());
}

#[test]
fn help_tells_the_exit_codes_and_pipes_get_no_progress() {
    let world = World::small(21);
    let help = run(&world.home("none"), ["--help"]).ok();
    let (_, codes) = help.split_once("Exit codes:").unwrap();
    for code in 0..=7 {
        assert!(codes.contains(&format!("\n  {code}  ")), "{codes}");
    }
    let (from, out) = (world.path("policies.csv"), world.path("out.csv"));
    let done = world.ask(&from, "phone", &out, &[]);
    assert_eq!((done.exit, &*done.err), (0, ""), "{done:#?}");
    let odd = done.out.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(odd, None, "{done:#?}");
    let done = world.ask(&from, "phone", &out, &["--json", "--overwrite"]);
    assert_eq!((done.exit, &*done.err), (0, ""), "{done:#?}");
}

/// Asserts that `doctor` ends with this code and has a check of this name, health and text.
#[track_caller]
fn doctor(world: &World, home: &str, exit: i32, name: &str, health: &str, text: &str) {
    let document = one_document(world, home, &["doctor"], exit);
    let checks = document.as_array().unwrap();
    let found = checks.iter().find(|check| {
        let told = format!(
            "{} {}",
            check["detail"].as_str().unwrap(),
            check["advice"].as_str().unwrap()
        );
        check["name"] == name && check["health"] == health && told.contains(text)
    });
    assert!(
        found.is_some(),
        "no {health} `{name}` with `{text}` in {document:#}"
    );
    let people = run(&world.home(home), ["doctor"]);
    assert_eq!(people.exit, exit, "{people:#?}");
    assert!(people.out.contains(text), "{people:#?}");
}

#[test]
fn doctor_finds_the_usual_first_mistakes() {
    let mut world = World::joined();
    fs::create_dir(world.path("empty")).unwrap();
    doctor(&world, "empty", 7, "home", "failed", "party init NAME");
    world.at("third", &["party", "init", "third"]).ok();
    doctor(
        &world,
        "third",
        7,
        "joined",
        "failed",
        "counterfoil party join INVITE",
    );
    doctor(
        &world,
        "third",
        7,
        "people",
        "warning",
        "counterfoil party add-user USER",
    );

    // A partner whose fingerprint was not compared; nothing fails yet.
    let partners = world.home("bank").join("partners.toml");
    let confirmed = fs::read(&partners).unwrap();
    fs::remove_file(&partners).unwrap();
    doctor(
        &world,
        "bank",
        0,
        "partner insurer",
        "warning",
        "counterfoil party confirm-partner insurer FINGERPRINT",
    );
    fs::write(&partners, confirmed).unwrap();
    counterfoil_tests::world::chmod_600(&partners);
    doctor(
        &world,
        "bank",
        0,
        "partner insurer",
        "ok",
        "its keys are confirmed",
    );

    // An agreement that waits for somebody.
    let file = world.path("agreement.toml");
    fs::write(&file, world.agreement_text(1)).unwrap();
    let datasets = world.home("bank").join("datasets.toml");
    let good = counterfoil_tests::world::DATASETS;
    let write = |text: &str| {
        fs::write(&datasets, text).unwrap();
        counterfoil_tests::world::chmod_600(&datasets);
    };
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
        .ok();
    let name = format!("agreement {AGREEMENT} version 1");
    doctor(
        &world,
        "bank",
        7,
        &name,
        "warning",
        "a second person here, not `ana`",
    );
    doctor(&world, "bank", 7, "datasets", "failed", "there is no `");
    write(good);
    doctor(
        &world,
        "bank",
        7,
        "dataset customers",
        "failed",
        "there is no file",
    );
    world.write_small(22);
    world.sign(&world.agreement_text(1));
    doctor(&world, "bank", 0, &name, "ok", "active until");

    write(&good.replace("housing = \"housing\"\n", ""));
    doctor(
        &world,
        "bank",
        7,
        &name,
        "failed",
        "add `housing = \"COLUMN\"` under [dataset.tags]",
    );
    write(&good.replace("\"age\"", "\"years\""));
    doctor(
        &world,
        "bank",
        7,
        "dataset customers",
        "failed",
        "no column `years`",
    );
    write(&good.replace("identifiers", "identifers"));
    doctor(&world, "bank", 7, "datasets", "failed", "line");
    write(good);

    world.broker = None;
    doctor(
        &world,
        "bank",
        7,
        "broker",
        "failed",
        "is `counterfoil broker serve` running there?",
    );
    world.start_broker();
    for home in ["bank", "insurer"] {
        let checks = one_document(&world, home, &["doctor"], 0);
        let bad = |check: &&Value| check["health"] != "ok" && check["name"] != "disk space";
        let bad: Vec<&Value> = checks.as_array().unwrap().iter().filter(bad).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        doctor(&world, home, 0, "clock", "ok", "the broker's");
    }
}

#[test]
fn the_demo_tells_what_happened_and_leaves_its_homes_if_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let demo = |args: &[&str]| -> Done {
        let args = [&["demo"], args].concat();
        run(&dir.path().join("unused"), args)
    };
    let keep = kept.to_str().unwrap();
    let told = demo(&["--json", "--keep", keep]).json();
    let (denied, granted) = (&told["denied"], &told["granted_entry"]);
    assert!(
        denied["message"]
            .as_str()
            .unwrap()
            .contains("what would pass"),
        "{told:#}"
    );
    assert!(denied["entry"].is_u64() && granted.is_u64(), "{told:#}");
    for fact in [
        "receipt_verified",
        "owner_has_receipt",
        "log_verified",
        "tampering_caught",
    ] {
        assert_eq!(told[fact], true, "{fact} in {told:#}");
    }
    let (delivered, common) = (
        told["delivered"].as_u64().unwrap(),
        told["common"].as_u64().unwrap(),
    );
    assert!(0 < delivered && delivered <= common, "{told:#}");
    assert!(
        told["release_entry"].as_u64() > granted.as_u64(),
        "{told:#}"
    );
    // The homes are those of the commands.
    for side in ["owner", "recipient"] {
        let name = told[side]["name"].as_str().unwrap();
        let home = homes(&kept).into_iter().find(|home| {
            let shown = run(home, ["--json", "party", "show"]);
            shown.exit == 0 && shown.json()["org"] == name
        });
        assert!(home.is_some(), "no home of `{name}` in {:?}", homes(&kept));
    }
    // It is not played over what is there, and in words it is a page.
    demo(&["--keep", keep]).fails(3, &["exists already: choose another name"]);
    let again = demo(&["--seed", "7"]);
    assert_eq!((again.exit, &*again.err), (0, ""), "{again:#?}");
    for said in [
        "granted and recorded",
        "denied: ",
        "what would pass",
        "of the 769 and 800",
        "recorded: then, and only then, the delivery was released",
        "receipt verified",
        "delivery opened",
        "lowered k from 10 to 1: caught",
    ] {
        assert!(again.out.contains(said), "no `{said}` in {again:#?}");
    }
    let seeded = |seed: &[&str]| {
        let told = demo(&[&["--json"], seed].concat()).json();
        (told["delivered"].clone(), told["common"].clone())
    };
    let first = (told["delivered"].clone(), told["common"].clone());
    assert_eq!(seeded(&[]), first, "same seed, same story");
    assert_ne!(seeded(&["--seed", "8"]), first, "the seed counts");
    assert!(!dir.path().join("unused").exists());
}

/// Directories within `kept`, two levels down.
fn homes(kept: &std::path::Path) -> Vec<std::path::PathBuf> {
    let within = |path: &std::path::Path| {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect::<Vec<_>>()
    };
    let first = within(kept);
    first
        .iter()
        .flat_map(|path| within(path))
        .chain(first.clone())
        .collect()
}
