//! What is missing, late, wrong or taken: each is named with what to do, and works once it is mended.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_party::clock::Clock;
use counterfoil_party::doctor;
use counterfoil_party::error::Error;
use counterfoil_party::home::Home;
use counterfoil_party::owner::{ServeEvent, ServeOptions, serve};
use counterfoil_party::recipient::{ExchangeOptions, Exchanged, exchange};
use counterfoil_tests::ask::{COMMON, event_of};
use counterfoil_tests::background::{Started, signal, until};
use counterfoil_tests::hand::block_on;
use counterfoil_tests::world::AGREEMENT;
use counterfoil_tests::{Done, World, counterfoil, run};

const DAY: i64 = 86_400;

fn ask(world: &World) -> Done {
    let (from, out) = (world.path("policies.csv"), world.path("out.csv"));
    world.ask(from, "phone", &out, &["--json", "--overwrite"])
}

/// Asserts how the exchange fails: exit code and words of its message.
#[track_caller]
fn fails(world: &World, exit: i32, texts: &[&str]) {
    let done = ask(world);
    assert_eq!(done.exit, exit, "{done:#?}");
    for text in texts {
        assert!(done.out.contains(text), "no `{text}` in {done:#?}");
    }
    assert_eq!(world.unfinished(), [""; 0]);
    assert!(!world.path("out.csv").exists());
}

#[track_caller]
fn works(world: &World) {
    assert_eq!(ask(world).json()["delivered"], COMMON);
}

#[test]
fn an_invite_works_once_in_time_and_for_one_institution() {
    let world = World::broker_only();
    let invite = |name: &str, valid: &str| {
        let invited = world.at("broker", &["broker", "invite", name, "--valid", valid]);
        invited.ok().trim().to_owned()
    };
    world.at("bank", &["party", "init", "bank"]).ok();
    let join = |home: &str, invite: &str| world.at(home, &["party", "join", invite]);
    let not_joined = || {
        let shown = world.at("bank", &["--json", "party", "show"]).json();
        assert_eq!(shown["broker"], serde_json::Value::Null);
        let to_join = ["`bank` has not joined a broker yet", "party join INVITE"];
        world.at("bank", &["party", "partners"]).fails(7, &to_join);
    };
    let short = invite("bank", "1s");
    let good = invite("bank", "1h");
    let copy = "copy the whole line that `counterfoil broker invite` printed";
    join("bank", "nonsense").fails(3, &["this is not an invite", copy]);
    join("bank", &good[..good.len() - 5]).fails(3, &["the invite's secret is damaged", copy]);
    let (head, secret) = good.rsplit_once('.').unwrap();
    let guessed: String = secret
        .chars()
        .rev()
        .collect::<String>()
        .replacen(|_: char| true, "A", 1);
    let wrong = format!("{head}.{}", &guessed[..secret.len() - 1].to_owned()) + "A";
    join("bank", &wrong).fails(4, &["this broker issued no such invite", copy]);
    join("bank", &invite("insurer", "1h")).fails(
        3,
        &[
            "the invite is for `insurer` and this home is of `bank`",
            "an invite for `bank`",
        ],
    );
    std::thread::sleep(Duration::from_millis(1100));
    let expired = [
        "the invite has expired at 20",
        "ask the operator for a new one",
    ];
    join("bank", &short).fails(4, &expired);
    not_joined();
    let before = world.entries().len();
    join("bank", &good).ok();
    assert_eq!(world.entries().len(), before + 1);
    assert_eq!(event_of(&world.entries()[before])["type"], "partner.joined");
    // Whoever found the invite afterwards cannot use it, and learns that somebody did.
    world.at("thief", &["party", "init", "bank"]).ok();
    join("thief", &good).fails(
        4,
        &[
            "has been used already, and one works once",
            "tell the operator",
        ],
    );
    // Nor can an institution of other keys take the name with a fresh one.
    let keys = ["`bank` has joined with other keys", "revoke it first"];
    join("thief", &invite("bank", "1h")).fails(4, &keys);
    // The same home may: it renews its certificate.
    let file = world.path("invite.txt");
    fs::write(&file, invite("bank", "1h")).unwrap();
    join("bank", file.to_str().unwrap()).ok();
    let life = ["at most 30 days"];
    world
        .at("broker", &["broker", "invite", "third", "--valid", "31d"])
        .fails(4, &life);
    world
        .at("broker", &["broker", "invite", "third", "--valid", "soon"])
        .fails(2, &["90s, 30m, 12h or 7d"]);
}

#[test]
fn a_broker_or_partner_that_is_away_is_named_and_waited_for() {
    let mut world = World::agreed();
    world.write_small(9);
    // The other side does not serve.
    let away = [
        "the agent of `bank` is not connected",
        "ask them to start `counterfoil party serve`",
    ];
    fails(&world, 4, &away);
    let denied = world.entries().pop().unwrap();
    assert_eq!(event_of(&denied)["decision"]["code"], "owner_not_serving");
    world.start_owner();
    works(&world);
    fs::remove_file(world.path("out.csv")).unwrap();

    world.broker = None;
    let address = format!("cannot reach the broker at `{}`", world.address);
    let texts = [&*address, "is `counterfoil broker serve` running there?"];
    fails(&world, 5, &texts);
    for args in [
        &["party", "partners"][..],
        &["agreement", "sign", AGREEMENT, "--as", "chen"],
        &["audit", "verify"],
    ] {
        world.at("insurer", args).fails(5, &texts);
    }
    world.at("insurer", &["agreement", "list"]).ok();
    world.at("broker", &["broker", "partners"]).fails(
        5,
        &["no broker answers at", "start it with `counterfoil --home"],
    );
    world.start_broker();
    // The owner's agent comes back by itself.
    world
        .owner
        .as_mut()
        .unwrap()
        .wait_for("listening for flows");
    works(&world);
}

#[test]
fn a_broker_that_restarts_in_a_flow_goes_on_with_it() {
    let mut world = World::small(10);
    // The owner's agent does not answer, so that the flow stands at its beginning for as long as is wanted.
    signal(world.owner.as_ref().unwrap().id(), "STOP");
    let (from, out) = (world.path("policies.csv"), world.path("went-on.csv"));
    let asking = Started::start(world.ask_command(from, "phone", &out, &[]));
    until("the flow is granted", || {
        event_of(world.entries().last().unwrap())["type"] == "flow.granted"
    });
    world.broker = None;
    world.start_broker();
    signal(world.owner.as_ref().unwrap().id(), "CONT");
    let done = asking.finish();
    assert_eq!(done.exit, 0, "{done:#?}");
    assert!(out.exists());
    assert_eq!(world.unfinished(), [""; 0]);
    let entries = world.entries();
    let granted = entries
        .iter()
        .map(event_of)
        .filter(|event| event["type"] == "flow.granted");
    assert_eq!(granted.count(), 1, "{entries:#?}");
    world
        .owner
        .as_mut()
        .unwrap()
        .wait_for("listening for flows");
    works(&world);
}

/// An exchange in this process, by an agent whose clock is wrong.
fn ask_at(world: &World, clock: Clock) -> Result<Exchanged, Error> {
    let home = Home::open(&world.home("insurer"), clock).unwrap();
    let from = world.path("policies.csv");
    let options = ExchangeOptions {
        agreement: AGREEMENT.parse().unwrap(),
        user: "chen".parse().unwrap(),
        segment: None,
        identifier: None,
        tags: vec![],
        source: counterfoil_party::data::Source::parse(from.to_str().unwrap()).unwrap(),
        column: "phone".into(),
        region: None,
        carry: vec![],
        output: world.path("out.csv"),
        overwrite: false,
    };
    block_on(exchange(&home, &options, &(Arc::new(|_| ()) as _)))
}

#[test]
fn a_clock_that_is_a_day_off_is_told_on_either_side() {
    let mut world = World::small(11);
    let ahead = ask_at(&world, Clock::shifted(DAY)).unwrap_err();
    assert_eq!(
        (ahead.code(), ahead.exit_code()),
        ("clock_skew", 4),
        "{ahead}"
    );
    let text = ahead.to_string();
    for part in [
        "seconds ahead of ours; check the clock",
        "(`issued_at`)",
        "at most 300 seconds",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    world.recorded("flow.denied", "clock_skew", "issued_at");
    let behind = ask_at(&world, Clock::shifted(-DAY)).unwrap_err();
    assert_eq!(
        (behind.code(), behind.exit_code()),
        ("certificate_time", 5),
        "{behind}"
    );
    assert!(
        behind
            .to_string()
            .contains("check the clock of this machine"),
        "{behind}"
    );
    for (shift, name) in [(DAY, "clock"), (-DAY, "broker")] {
        let checks = block_on(doctor::run(&world.home("insurer"), Clock::shifted(shift)));
        let check = checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(check.health, doctor::Health::Failed, "{checks:#?}");
        assert!(check.advice.contains("clock"), "{check:?}");
    }

    // An owner whose clock is ahead declines what has lapsed by it, and its answer says which clock to look at.
    world.owner = None;
    let home = Arc::new(Home::open(&world.home("bank"), Clock::shifted(DAY)).unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let serving = std::thread::spawn(move || {
        let tell = Arc::new(move |event| drop(tell.send(event)));
        let stopped = async { drop(stopped.await) };
        block_on(serve(home, ServeOptions::default(), tell, stopped))
    });
    let first = told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(matches!(first, ServeEvent::Connected { .. }), "{first:?}");
    fails(&world, 4, &["the request lapsed at", "check the clock"]);
    world.recorded("flow.declined", "request_expired", "expires_at");
    stop.send(()).unwrap();
    serving.join().unwrap().unwrap();
    world.start_owner();
    works(&world);
}

#[test]
fn a_home_that_others_can_read_is_not_used() {
    let mut world = World::small(12);
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let insurer = world.home("insurer");
    for (name, open, wanted) in [
        ("", 0o755, 0o700),
        ("keys/institution.key", 0o640, 0o600),
        ("flows", 0o750, 0o700),
    ] {
        let path = if name.is_empty() {
            insurer.clone()
        } else {
            insurer.join(name)
        };
        mode(&path, open);
        let chmod = format!("chmod {wanted:o} {}", path.display());
        let seen = format!("(mode {open:o})");
        fails(
            &world,
            7,
            &[
                "can be opened by other users of this machine",
                &seen,
                &chmod,
            ],
        );
        mode(&path, wanted);
    }
    world.broker = None;
    let keys = world.home("broker").join("keys/log.key");
    mode(&keys, 0o644);
    world
        .at("broker", &["broker", "serve"])
        .fails(7, &["log.key", "chmod 600"]);
    mode(&keys, 0o600);
    world.start_broker();
    world.await_owner();
    works(&world);
}

#[test]
fn nothing_is_served_twice() {
    let world = World::small(13);
    let served = format!(
        "`counterfoil party serve` already runs for `{}`",
        world.home("bank").display()
    );
    world.at("bank", &["party", "serve"]).fails(7, &[&served]);
    let open = ["another broker has", "stop it first"];
    world.at("broker", &["broker", "serve"]).fails(7, &open);
    // Another broker at the same address.
    let other = world.path("other");
    run(&other, ["broker", "init", "--listen", &world.address]).ok();
    run(&other, ["broker", "serve"]).fails(
        7,
        &[
            "cannot listen on",
            "choose another with `listen` in broker.toml",
        ],
    );
    run(&world.home("broker"), ["broker", "init"]).fails(7, &["broker"]);
    run(&world.home("bank"), ["party", "init", "bank"]).fails(
        7,
        &[
            "already holds the party `bank`",
            "keys are never overwritten",
        ],
    );
    // No home at all: the command to make one.
    let none = world.path("none");
    let init = format!(
        "run `counterfoil --home {} party init NAME`",
        none.display()
    );
    run(&none, ["party", "show"]).fails(7, &[&init]);
    let output = counterfoil(&none)
        .args(["broker", "serve"])
        .output()
        .unwrap();
    Done::of(output).fails(7, &["no broker lives in", "broker init"]);
    works(&world);
}
