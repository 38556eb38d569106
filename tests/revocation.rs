//! Who is revoked is out at once: connections, calls, flows and what was not fetched yet.

use counterfoil_tests::background::{Started, signal, until};
use counterfoil_tests::data::{phones, write_customers, write_policies};
use counterfoil_tests::process::Done;
use counterfoil_tests::world::AGREEMENT;
use counterfoil_tests::{Serving, World, run};
use serde_json::{Value, json};

/// An agreement in force, 300 customers on each side, 150 of them common.
fn world() -> World {
    let mut world = World::agreed();
    let all = phones(31, 450);
    write_customers(&world.path("customers.csv"), &all[..300]);
    write_policies(&world.path("policies.csv"), &all[150..]);
    world.start_owner();
    world
}

/// An exchange that is granted and whose owner is held still, so that it runs until something happens.
struct Running {
    exchange: Started,
    flow: String,
}

impl Running {
    fn start(world: &World) -> Self {
        signal(world.owner.as_ref().unwrap().id(), "STOP");
        let mut exchange = Started::start(world.exchange_command());
        let mut flow = None;
        until("the grant", || {
            assert!(exchange.runs(), "it is over before it began");
            flow = types(world)
                .into_iter()
                .rfind(|(kind, _)| kind == "flow.granted");
            flow.is_some()
        });
        let (_, flow) = flow.unwrap();
        Self { exchange, flow }
    }

    /// Lets the owner go on, if it is there, and waits for the end of both.
    fn finish(self, world: &mut World) -> Done {
        let owner = world.owner.as_mut().unwrap();
        if owner.ended().is_none() {
            signal(owner.id(), "CONT");
        }
        self.exchange.finish()
    }
}

/// Type of each entry of the log, with its flow, if it is about one.
fn types(world: &World) -> Vec<(String, String)> {
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or("").to_owned();
    let entries = world.entries().into_iter();
    entries
        .map(|entry| (text(&entry["event"], "type"), text(&entry["event"], "flow")))
        .collect()
}

/// Types of a flow's entries.
fn story(world: &World, flow: &str) -> Vec<String> {
    let entries = types(world).into_iter().filter(|(_, of)| of == flow);
    entries.map(|(kind, _)| kind).collect()
}

fn revoke(world: &World, org: &str) -> Done {
    let home = world.home("broker");
    run(
        &home,
        [
            "broker",
            "revoke",
            org,
            "--reason",
            "its contract has ended",
        ],
    )
}

fn rejoin(world: &World, org: &str) -> Done {
    let invite = run(&world.home("broker"), ["broker", "invite", org]).ok();
    run(&world.home(org), ["party", "join", invite.trim()])
}

fn revoke_agreement(world: &World, home: &str, user: &str) {
    let args = [
        "agreement",
        "revoke",
        AGREEMENT,
        "--as",
        user,
        "--reason",
        "consent was withdrawn",
    ];
    run(&world.home(home), args).ok();
}

/// Waits until a process that serves ends by itself.
fn end_of(serving: &mut Serving) -> i32 {
    let mut exit = None;
    until("its end", || {
        exit = serving.ended();
        exit.is_some()
    });
    exit.unwrap()
}

const REVOKED: &str =
    "was revoked or replaced: ask the broker's operator why, and join with a new invite";

#[test]
fn a_revoked_owner_that_listens_is_cut_off_and_may_come_back() {
    let mut world = world();
    revoke(&world, "bank").ok();
    let mut owner = world.owner.take().unwrap();
    owner.wait_for(&format!("error: the certificate of `bank` {REVOKED}"));
    assert_eq!(end_of(&mut owner), 4);
    for command in [
        ["party", "partners"],
        ["audit", "verify"],
        ["party", "serve"],
    ] {
        run(&world.home("bank"), command).fails(4, &["the certificate of `bank`", REVOKED]);
    }
    let refused = world.exchange(&[]);
    assert_eq!(refused.exit, 4, "{refused:#?}");
    assert!(!world.path("matched.csv").exists());
    revoke(&world, "bank").fails(4, &["no institution `bank` stands to be revoked"]);

    rejoin(&world, "bank").ok();
    world.start_owner();
    world.exchange(&[]).ok();
    let kinds: Vec<String> = types(&world).into_iter().map(|(kind, _)| kind).collect();
    let of = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
    assert_eq!(
        (
            of("partner.revoked"),
            of("partner.joined"),
            of("flow.denied")
        ),
        (1, 3, 1)
    );
}

#[test]
fn revoking_either_side_ends_a_running_flow_without_a_release() {
    for org in ["bank", "insurer"] {
        let mut world = world();
        let running = Running::start(&world);
        let flow = running.flow.clone();
        revoke(&world, org).ok();
        let done = running.finish(&mut world);
        match org {
            "bank" => drop(done.fails(
                4,
                &["a party of the flow was revoked; nothing was released; what would pass"],
            )),
            _ => drop(done.fails(4, &["the certificate of `insurer`", REVOKED])),
        }
        assert_eq!(story(&world, &flow), ["flow.granted", "flow.aborted"]);
        assert!(!world.path("matched.csv").exists());
        let sealed = std::fs::read_dir(world.home("broker").join("deliveries")).unwrap();
        assert_eq!(sealed.count(), 0);
        assert_eq!(world.interrupted(), [""; 0]);

        if org == "bank" {
            assert_eq!(end_of(world.owner.as_mut().unwrap()), 4);
        }
        rejoin(&world, org).ok();
        if org == "bank" {
            world.start_owner();
        }
        world.exchange(&[]).ok();
    }
}

#[test]
fn revoking_the_agreement_ends_a_running_flow_and_every_later_one() {
    for (home, user) in [("bank", "ana"), ("insurer", "dee")] {
        let mut world = world();
        let running = Running::start(&world);
        let flow = running.flow.clone();
        revoke_agreement(&world, home, user);
        let done = running.finish(&mut world);
        done.fails(
            4,
            &["the agreement of the flow was revoked; nothing was released; what would pass"],
        );
        assert_eq!(story(&world, &flow), ["flow.granted", "flow.aborted"]);
        assert!(!world.path("matched.csv").exists());
        let again = world.exchange(&[]);
        assert!(
            [4, 7].contains(&again.exit) && again.err.contains("revoked"),
            "{again:#?}"
        );
        assert!(
            !types(&world)
                .iter()
                .any(|(kind, _)| kind == "release.intent")
        );
    }
}

/// An exchange that is released and whose recipient is killed before it has fetched.
fn released(world: &World) -> String {
    let deliveries = world.home("broker").join("deliveries");
    let sealed = || {
        let mut names = std::fs::read_dir(&deliveries).unwrap().flatten();
        names.find(|entry| entry.path().extension().is_some_and(|end| end == "sealed"))
    };
    let mut exchange = Started::start(world.exchange_command());
    while sealed().is_none() && exchange.runs() {}
    exchange.kill();
    exchange.finish();
    let left = world.interrupted();
    assert_eq!(left.len(), 1, "it was not interrupted in time");
    left[0].clone()
}

#[test]
fn what_was_released_and_not_fetched_is_withdrawn_with_the_agreement_or_a_party() {
    for withdraw in ["agreement", "bank"] {
        let world = world();
        let flow = released(&world);
        until("the release", || {
            story(&world, &flow).contains(&"release.intent".to_owned())
        });
        match withdraw {
            "agreement" => revoke_agreement(&world, "bank", "ana"),
            org => drop(revoke(&world, org).ok()),
        }
        world.resume(&flow).fails(4, &["it is withdrawn"]);
        assert!(!world.path("matched.csv").exists());
        until("the outcome", || {
            story(&world, &flow).contains(&"release.outcome".to_owned())
        });
        let outcome = world
            .entries()
            .into_iter()
            .rfind(|entry| entry["event"]["flow"] == flow.as_str());
        assert_eq!(outcome.unwrap()["event"]["outcome"], "withdrawn");
        run(&world.home("insurer"), ["audit", "verify"]).ok();
    }
}

#[test]
fn a_certificate_that_was_replaced_is_refused() {
    let mut world = world();
    let home = world.home("bank");
    let certificate = home.join("tls/cert.pem");
    let old = std::fs::read(&certificate).unwrap();
    rejoin(&world, "bank").ok();
    // The agent, which came with the old one, is cut off and comes back with the new one.
    let owner = world.owner.as_mut().unwrap();
    owner.wait_for("trying again");
    owner.wait_for("listening for flows");
    let new = std::fs::read(&certificate).unwrap();
    assert!(old != new);
    let with = |bytes: &[u8]| {
        std::fs::write(&certificate, bytes).unwrap();
        run(&home, ["party", "partners"])
    };
    with(&old).fails(4, &["the certificate of `bank`", REVOKED]);
    with(&new).ok();
    world.exchange(&[]).ok();
    assert_eq!(world.verify_log("log.jsonl")["findings"], json!([]));
}
