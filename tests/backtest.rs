//! A log with every kind of request, decided again: under the same rules nothing differs, under others exactly what they say.

use std::fs;

use counterfoil_policy::text::AgreementDigest;
use counterfoil_tests::ask::event_of;
use counterfoil_tests::hand::{request, send};
use counterfoil_tests::measuring::{measure, served};
use counterfoil_tests::{Done, World};
use serde_json::{Value, json};

/// The decisions of the log, in its order: flow and code, a grant's being `granted`.
fn decided(world: &World) -> Vec<(String, String)> {
    let entries = world.entries();
    let decisions = entries.iter().map(event_of).filter_map(|event| {
        let code = match event["type"].as_str()? {
            "flow.granted" => "granted",
            "flow.denied" => event["decision"]["code"].as_str()?,
            _ => return None,
        };
        Some((event["flow"].as_str()?.to_owned(), code.to_owned()))
    });
    decisions.collect()
}

/// What of it the same log says under a rule more.
struct Backtest<'w> {
    world: &'w World,
}

impl Backtest<'_> {
    fn done(&self, rule: &str, more: &[&str]) -> Done {
        let pack = self.world.path("new.cedar");
        let head = "@id(\"new\")\n@source(\"house\")\n@says(\"no\")\n@advice(\"another\")\n@status(\"verified\")\n";
        fs::write(&pack, format!("{head}{rule};\n")).unwrap();
        let log = self.world.path("log.jsonl");
        let (pack, log) = (pack.to_str().unwrap(), log.to_str().unwrap());
        let command = ["--json", "policy", "backtest", pack, "--log", log];
        self.world.at("broker", &[&command[..], more].concat())
    }

    fn report(&self, rule: &str) -> Value {
        self.done(rule, &[]).json()
    }

    /// The flows that would differ, with what they were and would be.
    fn differences(&self, rule: &str) -> Vec<(String, String, String)> {
        let report = self.report(rule);
        let text = |difference: &Value, key: &str| difference[key].as_str().unwrap().to_owned();
        let all = report["differences"].as_array().unwrap().iter();
        all.map(|one| (text(one, "flow"), text(one, "was"), text(one, "would_be")))
            .collect()
    }
}

/// Asks for everything that there is, allowed and not; returns the codes that must stand in the log.
fn ask_for_everything(world: &mut World) -> [&'static str; 9] {
    let exchange = ["--tags", "age_band,housing", "--overwrite"];
    world.exchange(&exchange).ok();
    let renters = [&exchange[..], &["--segment", "renters"]].concat();
    world.exchange(&renters).ok();
    measure(world, &["count epsilon 1"], &[]).ok();
    // Of epsilon 3, 1.1 is spent.
    let over = measure(world, &["count epsilon 1.9"], &[]);
    assert_eq!(over.exit, 4, "{over:?}");
    // Amounts as they are may be measured and not delivered.
    world.exchange(&["--overwrite"]).fails(4, &["pipl-6"]);
    let home = world.home("insurer");
    let by_hand = |change: &dyn Fn(&mut counterfoil_policy::request::RequestBody)| {
        send(&home, &request(&home, change)).unwrap_err()
    };
    by_hand(&|body| body.agreement_version += 1);
    by_hand(&|body| body.agreement_digest = AgreementDigest::from_bytes([7; 32]));
    by_hand(&|body| body.tags.reverse());
    // It passes all rules, and nobody serves.
    world.owner = None;
    world.exchange(&exchange).fails(4, &["is not connected"]);
    [
        "granted",
        "granted",
        "granted",
        "over_budget",
        "rule",
        "wrong_version",
        "wrong_digest",
        "tag_outside",
        "owner_not_serving",
    ]
}

#[test]
fn every_kind_of_request_is_decided_again_and_each_difference_is_listed() {
    let mut world = served(&[
        ("epsilon_per_flow = \"100\"", "epsilon_per_flow = \"2\""),
        ("epsilon_recipient = \"100\"", "epsilon_recipient = \"3\""),
    ]);
    let codes = ask_for_everything(&mut world);
    let decided = decided(&world);
    let found: Vec<_> = decided.iter().map(|(_, code)| code.as_str()).collect();
    assert_eq!(found, codes);
    let flow = |index: usize| decided[index].0.clone();
    world.verify_log("log.jsonl");
    let backtest = Backtest { world: &world };

    let same = backtest.report("forbid (principal, action, resource) when { context.k > 1000 }");
    assert_eq!(same["differences"], json!([]), "{same:#}");
    // Which version and which text was asked for instead is not in the log.
    assert_eq!(
        (&same["replayed"], &same["not_replayed"]),
        (&7.into(), &2.into())
    );

    let granted = |index| (flow(index), "granted".to_owned(), "new".to_owned());
    let measures =
        backtest.differences("forbid (principal, action == Action::\"measure\", resource)");
    let over = (flow(3), "over_budget".to_owned(), "new".to_owned());
    assert_eq!(measures, [granted(2), over]);
    let segments =
        backtest.differences("forbid (principal, action, resource) when { context.segment }");
    assert_eq!(segments, [granted(1)]);
    let exchanges =
        backtest.differences("forbid (principal, action == Action::\"exchange\", resource)");
    // What another rule denied is still denied by that one, which is asked first.
    assert_eq!(exchanges, [granted(0), granted(1), granted(8)]);

    // A pack that replaces another takes its rules away.
    let pack = world.path("pipl.cedar");
    fs::rename(world.path("new.cedar"), &pack).unwrap();
    let log = world.path("log.jsonl");
    let files = [pack.to_str().unwrap(), "--log", log.to_str().unwrap()];
    let lax = world.at(
        "broker",
        &[&["--json", "policy", "backtest"], &files[..]].concat(),
    );
    let lax = lax.json();
    let of_amounts = lax["differences"].as_array().unwrap().iter();
    let of_amounts = of_amounts.filter(|one| one["flow"] == flow(4).as_str());
    let told: Vec<_> = of_amounts
        .map(|one| (&one["was"], &one["would_be"]))
        .collect();
    // The other packs deny exact amounts as well.
    assert_eq!(told, [(&json!("pipl-6"), &json!("new"))]);

    // Why a flow was over its budget is explained in the state of then.
    let log = log.to_str().unwrap();
    let explain = ["--json", "policy", "explain", &flow(3), "--log", log];
    let explained = world.at("broker", &explain).json();
    assert_eq!(explained["denial"]["code"], "over_budget", "{explained:#}");
    let rules = explained["rules"].as_array().unwrap();
    let failed: Vec<_> = rules
        .iter()
        .filter(|rule| rule["satisfied"] == false)
        .collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["id"], "budget");
}
