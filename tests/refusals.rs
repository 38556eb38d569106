//! Everything that is refused: with the field, with what would pass, in the log, and beside something that is granted.

use std::fs;
use std::path::Path;

use counterfoil_tests::World;
use counterfoil_tests::ask::event_of;
use counterfoil_tests::data::{phones, write_policies};
use counterfoil_tests::process::Done;
use counterfoil_tests::world::chmod_600;
use counterfoil_tests::{hand, run};
use serde_json::Value;

/// Asks with the first `count` of the world's policies; the other arguments as given.
fn ask(world: &World, more: &[&str]) -> Done {
    let out = world.path("out.csv");
    let more = [&["--overwrite"], more].concat();
    world.ask(world.path("policies.csv"), "phone", &out, &more)
}

#[track_caller]
fn granted(world: &World) {
    assert_eq!(ask(world, &["--json"]).json()["delivered"], 20);
}

/// Asserts a refusal: what the person reads, and that the entry which it names records the same.
#[track_caller]
fn denied(world: &World, more: &[&str], code: &str, field: &str, texts: &[&str]) {
    let told = ask(world, more).fails(4, texts);
    assert!(told.err.contains(&format!("(`{field}`)")), "{told:#?}");
    world.recorded("flow.denied", code, field);
    let json = ask(world, &[more, &["--json"]].concat());
    let error: Value = serde_json::from_str::<Value>(&json.out).unwrap()["error"].clone();
    assert_eq!(
        (&error["code"], &error["field"], &error["exit"]),
        (&code.into(), &field.into(), &4.into())
    );
    let entry = &world.entries()[usize::try_from(error["entry"].as_u64().unwrap()).unwrap()];
    let decision = &event_of(entry)["decision"];
    assert_eq!(decision["code"], code);
    let words = |field: &str| decision[field].as_str().unwrap_or_default();
    let advice = format!("{}; {}", words("message"), words("would_pass"));
    // The two were asked at different moments, so they may name different times.
    for text in texts
        .iter()
        .filter(|text| !text.starts_with("what would pass"))
    {
        assert!(advice.contains(text), "no `{text}` in {advice}");
    }
    assert_eq!(world.unfinished(), [""; 0]);
}

#[test]
fn what_is_outside_the_agreement_is_denied() {
    let world = World::small(4);
    granted(&world);
    denied(
        &world,
        &["--tags", "housing,income"],
        "tag_outside",
        "tags[1]",
        &[
            "tag `income` is not in the agreement",
            "each once and in this order: age_band, housing",
        ],
    );
    denied(
        &world,
        &["--segment", "owners"],
        "segment_outside",
        "segment",
        &[
            "segment `owners` is not in the agreement",
            "no segment, or renters",
        ],
    );
    // By another identifier nothing could be read from the own file: that is found here.
    ask(&world, &["--by", "email"]).fails(3, &["does not match by `email`", "phone"]);
    let insurer = world.home("insurer");
    let by_mail = hand::request(&insurer, |body| body.identifier = "email".parse().unwrap());
    let denial = hand::send(&insurer, &by_mail).unwrap_err();
    assert_eq!(
        (&*denial.code, &*denial.field),
        ("identifier_outside", "identifier")
    );
    assert_eq!(denial.would_pass, "phone");
    world.recorded("flow.denied", "identifier_outside", "identifier");
    granted(&world);
}

#[test]
fn who_asks_and_for_what_is_not_believed() {
    let world = World::small(5);
    let (bank, insurer) = (world.home("bank"), world.home("insurer"));
    let refused = |home: &Path, request, code: &str, field: &str, would_pass: &str| {
        let denial = hand::send(home, &request).unwrap_err();
        assert_eq!((&*denial.code, &*denial.field), (code, field), "{denial:?}");
        assert!(denial.would_pass.contains(would_pass), "{denial:?}");
        let entry = world.recorded("flow.denied", code, field);
        assert_eq!(world.entries().len() as u64, denial.entry + 1, "{entry:#}");
    };
    // The owner asks for its own data: its command says so; its own request does not have the right signature.
    let out = world.path("out.csv");
    run(
        &bank,
        [
            "exchange",
            "--agreement",
            "bank-insurer-tags",
            "--as",
            "ana",
            "--column",
            "phone",
        ]
        .iter()
        .map(std::ffi::OsStr::new)
        .chain(["--from".as_ref(), world.path("policies.csv").as_os_str()])
        .chain(["--out".as_ref(), out.as_os_str()]),
    )
    .fails(
        3,
        &[
            "`bank` gives under agreement `bank-insurer-tags` and does not receive",
            "`insurer`",
        ],
    );
    refused(
        &bank,
        hand::request(&bank, |_| ()),
        "bad_signature",
        "signature",
        "key that the agreement pins",
    );
    // It passes on a request that the recipient has really signed.
    let stolen = hand::request(&insurer, |_| ());
    refused(
        &bank,
        stolen,
        "wrong_party",
        "recipient",
        "signs and sends itself",
    );
    let in_its_name = hand::request(&insurer, |body| body.recipient = "bank".parse().unwrap());
    refused(
        &insurer,
        in_its_name,
        "wrong_party",
        "recipient",
        "signs and sends itself",
    );
    let later = hand::request(&insurer, |body| body.agreement_version = 9);
    refused(
        &insurer,
        later,
        "wrong_version",
        "agreement_version",
        "version 1",
    );
    let other = hand::request(&insurer, |body| {
        body.agreement_digest = "00".repeat(32).parse().unwrap();
    });
    refused(&insurer, other, "wrong_digest", "agreement_digest", "");
    let nothing = hand::request(&insurer, |body| {
        body.agreement = "bank-insurer-all".parse().unwrap()
    });
    refused(
        &insurer,
        nothing,
        "unknown_agreement",
        "agreement",
        "an agreement that you are the recipient of",
    );
    let late = hand::request(&insurer, |body| {
        body.issued_at = body.issued_at.saturating_add_seconds(-1200);
    });
    refused(
        &insurer,
        late,
        "clock_skew",
        "issued_at",
        "at most 300 seconds",
    );
    // An honest one is granted, and not a second time.
    let honest = hand::request(&insurer, |_| ());
    hand::send(&insurer, &honest).unwrap();
    refused(
        &insurer,
        honest,
        "replayed",
        "flow",
        "16 fresh random bytes",
    );
    granted(&world);
}

#[test]
fn the_agreements_caps_hold() {
    let mut world = World::agreed_with(|text| {
        text.replace("rows_per_flow = 1000000", "rows_per_flow = 1500")
            .replace("flows_per_period = 1000", "flows_per_period = 3")
            .replace(
                "identifiers_per_period = 1000000000",
                "identifiers_per_period = 3500",
            )
    });
    world.write_small(6);
    world.start_owner();
    // Sets are charged as their class: 1,024 is the smallest, 1,536 the one of 1,501.
    let all = phones(6, 1_521);
    let policies = |rows| write_policies(&world.path("policies.csv"), rows);
    policies(&all[20..]);
    denied(
        &world,
        &[],
        "over_rows",
        "set_size",
        &["1536 identifiers in one flow", "at most 1500"],
    );
    policies(&all[20..50]);
    granted(&world);
    granted(&world);
    // 2,048 of 3,500 are used; what fits the cap is never padded over it.
    policies(&all[20..1_320]);
    let left = [
        "1500 identifiers, of which 1452 are left in the period",
        "at most 1452 now, or a request from",
    ];
    denied(&world, &[], "over_identifiers", "set_size", &left);
    policies(&all[20..50]);
    granted(&world);
    let used = ["all 3 flows of the period are used", "when the caps renew"];
    denied(
        &world,
        &[],
        "over_flows",
        "agreement.caps.flows_per_period",
        &used,
    );
}

/// Asserts that the owner's agent declines, and that the log says so with this field.
#[track_caller]
fn declined(world: &mut World, more: &[&str], code: &str, field: &str, texts: &[&str]) {
    let told = ask(world, more).fails(4, texts);
    assert!(told.err.contains(&format!("(`{field}`)")), "{told:#?}");
    let entry = world.recorded("flow.declined", code, field);
    assert_eq!(event_of(&entry)["org"], "bank");
    world.owner.as_mut().unwrap().wait_for("declined: denied: ");
    assert_eq!(world.unfinished(), [""; 0]);
}

/// Tags of the same names that mean something else.
const OTHER_TAXONOMY: &str = r#"version_of_format = 1
name = "other"
version = 1

[[tags]]
name = "age_band"
meaning = "The age of the customer's account in years."
subject = "relationship"
kind = "number"
class = "C2"
security_level = 2
bands = [[25, 45, 65], [45]]

[[tags]]
name = "housing"
meaning = "Where the customer lives."
subject = "person"
kind = "categorical"
class = "C1"
security_level = 2
values = ["own", "rent"]
"#;

#[test]
fn the_owner_has_the_last_word() {
    let mut world = World::small(7);
    granted(&world);
    let (limits, datasets) = (
        world.home("bank").join("limits.toml"),
        world.home("bank").join("datasets.toml"),
    );
    let cap = |text: &str| {
        fs::write(&limits, format!("[agreement.bank-insurer-tags]\n{text}\n")).unwrap();
        chmod_600(&limits);
    };
    cap("rows_per_flow = 1023");
    let own = [
        "1024 identifiers exceed the owner's own cap for one flow",
        "at most 1023",
    ];
    declined(&mut world, &[], "owner_limit", "set_size", &own);
    cap("flows_per_period = 1");
    let own = [
        "the owner's own cap of flows for the period is used",
        "when the caps renew",
    ];
    declined(&mut world, &[], "owner_limit", "flow", &own);
    cap("identifiers_per_period = 2047");
    let own = ["exceed what the owner's own cap leaves", "at most 1023 now"];
    declined(&mut world, &[], "owner_limit", "set_size", &own);
    fs::remove_file(&limits).unwrap();

    let good = fs::read_to_string(&datasets).unwrap();
    let change = |from: &str, to: &str| {
        assert!(good.contains(from));
        fs::write(&datasets, good.replace(from, to)).unwrap();
    };
    world.write_taxonomy("bank", OTHER_TAXONOMY);
    change(
        "name = \"customers\"\n",
        "name = \"customers\"\ntaxonomy = { name = \"other\", version = 1 }\n",
    );
    let differs = [
        "the agreement's tags are those of cn-finance version 1",
        "is mapped to other version 1",
        "taxonomy = { name = \"cn-finance\", version = 1 }",
    ];
    declined(&mut world, &[], "taxonomy_differs", "taxonomy", &differs);
    change("housing = \"housing\"\n", "");
    let unmapped = ["has no column for tag `housing`", "datasets.toml"];
    declined(&mut world, &[], "tag_missing", "tags", &unmapped);
    change("name = \"customers\"", "name = \"clients\"");
    let unknown = ["has no dataset `customers`", "datasets.toml"];
    declined(&mut world, &[], "dataset_missing", "dataset", &unknown);
    fs::write(&datasets, &good).unwrap();
    assert_eq!(
        ask(&world, &["--segment", "renters", "--json"]).json()["delivered"],
        10
    );
}
