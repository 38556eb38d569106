//! Whatever is killed, at whatever moment: nothing leaves unrecorded, nothing recorded is lost, and the next exchange works.
//!
//! `COUNTERFOIL_KILL_POINTS` says how often (12), `COUNTERFOIL_KILL_SEED` begins another series.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use counterfoil_tests::background::{Started, signal, until};
use counterfoil_tests::data::{phones, write_customers, write_policies};
use counterfoil_tests::{World, counterfoil, run};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

/// Rows on each side, in two buckets; half of them are common.
const ROWS: usize = 2_000;

/// From the stored delivery to the end of an exchange, generously.
const RELEASE: Duration = Duration::from_millis(25);

/// From the start of a process until it serves, generously.
const START: Duration = Duration::from_millis(60);

/// How a batch begins in the log's file.
const FRAME: &[u8] = b"\xFFCF1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Broker,
    Owner,
    Recipient,
}

/// When somebody is killed.
#[derive(Debug)]
struct Point {
    victim: Victim,
    /// From the start of the exchange; or from when the broker has stored the sealed delivery, to record the release next.
    after: Duration,
    stored: bool,
    /// It is killed once more, so long after it was started again.
    again: Option<Duration>,
}

struct Trial {
    world: World,
    /// Every complete delivery, in the order of the recipient's file.
    expected: String,
    outputs: usize,
    /// Lines of the log as it was last exported.
    log: Vec<String>,
}

impl Trial {
    fn new() -> Self {
        Self::matched_with("dh")
    }

    fn matched_with(protocol: &str) -> Self {
        let mut world = World::agreed_with(|text| {
            text.replace("protocol = \"dh\"", &format!("protocol = \"{protocol}\""))
                .replacen("[retention]", "bucket_rows = 1024\n\n[retention]", 1)
        });
        let all = phones(11, ROWS + ROWS / 2);
        write_customers(&world.path("customers.csv"), &all[..ROWS]);
        write_policies(&world.path("policies.csv"), &all[ROWS / 2..]);
        std::fs::create_dir(world.path("out")).unwrap();
        world.start_owner();
        let mut expected = String::from("phone,age_band,housing\n");
        for (i, phone) in all.iter().enumerate().take(ROWS).skip(ROWS / 2) {
            let age = ["\"[25,45)\"", "\"[45,65)\""][i / 2 % 2];
            let housing = ["own", "rent"][i % 2];
            expected += &format!("{phone},{age},{housing}\n");
        }
        Self {
            world,
            expected,
            outputs: 0,
            log: Vec::new(),
        }
    }

    fn entries_file(&self) -> PathBuf {
        self.world.home("broker").join("log/entries")
    }

    /// The log has an entry of this type, as far as its file tells.
    fn recorded(&self, kind: &str) -> bool {
        let log = std::fs::read(self.entries_file()).unwrap();
        log.windows(kind.len()).any(|at| at == kind.as_bytes())
    }

    fn out(&self) -> PathBuf {
        self.world.path("out")
    }

    fn start_exchange(&mut self) -> Started {
        self.outputs += 1;
        let out = self.out().join(format!("{}.csv", self.outputs));
        let policies = self.world.path("policies.csv");
        Started::start(self.world.ask_command(policies, "phone", &out, &[]))
    }

    /// An exchange that nothing disturbs.
    fn exchange(&mut self) {
        self.world.await_owner();
        let done = self.start_exchange().finish();
        assert_eq!(done.exit, 0, "{done:#?}");
    }

    /// Kills somebody during an exchange, starts what was killed again, and settles the flow.
    fn strike(&mut self, point: &Point) {
        self.world.await_owner();
        let mut exchange = self.start_exchange();
        if point.stored {
            let deliveries = self.world.home("broker").join("deliveries");
            let before = stems(&deliveries);
            while exchange.runs() && stems(&deliveries) == before {
                std::thread::yield_now();
            }
        }
        std::thread::sleep(point.after);
        match point.victim {
            Victim::Broker => {
                self.world.kill_broker();
                if let Some(after) = point.again {
                    strike_at_start(&self.world.home("broker"), "broker", after);
                }
                self.world.start_broker();
            }
            Victim::Owner => {
                self.world.kill_owner();
                if let Some(after) = point.again {
                    strike_at_start(&self.world.home("bank"), "party", after);
                }
                self.world.start_owner();
            }
            Victim::Recipient => exchange.kill(),
        }
        let done = exchange.finish();
        // Who is killed before the request is asked for denies it by being away.
        let away = done.exit == 4 && done.err.contains("the agent of `bank` is not connected");
        assert!(away || [0, 5, -1].contains(&done.exit), "{done:#?}");
        self.check_deliveries();
        let left = self.world.interrupted();
        for flow in &left {
            assert!(
                done.exit == -1 || done.err.contains(&format!("exchange --resume {flow}")),
                "the id of the flow is not told: {done:#?}"
            );
            self.resume(flow, point.again);
        }
        assert_eq!(self.world.interrupted(), [""; 0]);
        if done.exit != 0 && left.is_empty() {
            self.exchange();
        }
    }

    /// A resumed flow is whole, or was not released; it may be interrupted too.
    fn resume(&self, flow: &str, again: Option<Duration>) {
        if let Some(after) = again {
            let mut command = counterfoil(&self.world.home("insurer"));
            command.args(["exchange", "--resume", flow]);
            let mut resumed = Started::start(command);
            std::thread::sleep(after);
            resumed.kill();
            resumed.finish();
            self.check_deliveries();
        }
        if !self.world.interrupted().contains(&flow.to_owned()) {
            return;
        }
        let done = self.world.resume(flow);
        match done.exit {
            0 => {}
            5 => drop(done.fails(5, &["nothing was released"])),
            _ => panic!("{done:#?}"),
        }
    }

    /// Everything that must hold whatever happened.
    fn check(&mut self) {
        let name = format!("log-{}.jsonl", self.outputs);
        let report = self.world.verify_log(&name);
        assert_eq!(report["findings"], json!([]), "{report:#}");
        let text = std::fs::read_to_string(self.world.path(&name)).unwrap();
        // The first line is about the export.
        let log: Vec<String> = text.lines().skip(1).map(ToOwned::to_owned).collect();
        assert!(log.starts_with(&self.log), "an entry was lost or changed");
        self.log = log;
        for home in ["bank", "insurer"] {
            let verified = run(&self.world.home(home), ["--json", "audit", "verify"]).json();
            assert_eq!(verified["findings"], json!([]), "{verified:#}");
        }
        let released = self.released();
        for home in ["bank", "insurer"] {
            let receipts = stems(&self.world.home(home).join("receipts"));
            assert!(receipts.is_subset(&released), "a receipt without an entry");
        }
        let receipts = stems(&self.world.home("insurer").join("receipts"));
        let deliveries = self.check_deliveries();
        assert!(deliveries <= receipts.len(), "a delivery without a receipt");
        // Of a flow that was not released the broker keeps nothing that could still be.
        let sealed = stems(&self.world.home("broker").join("deliveries"));
        assert!(sealed.is_subset(&released), "{sealed:?} of {released:?}");
    }

    /// Every file that is there is whole, at any moment; returns how many there are.
    fn check_deliveries(&self) -> usize {
        let paths = std::fs::read_dir(self.out()).unwrap();
        let paths = paths.map(|entry| entry.unwrap().path());
        let whole = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text == self.expected, "{} is not whole", path.display());
        };
        let named = |path: &PathBuf| path.extension().is_some_and(|end| end == "csv");
        paths.filter(named).inspect(whole).count()
    }

    /// Flows with a `release.intent` in the log.
    fn released(&self) -> BTreeSet<String> {
        let entries = self.log.iter().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            serde_json::from_str::<Value>(line["entry"].as_str().unwrap()).unwrap()
        });
        entries
            .filter(|entry| entry["event"]["type"] == "release.intent")
            .map(|entry| entry["event"]["flow"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Names of the files in a directory, without what follows the first dot. What begins with one was not finished; nothing reads it.
fn stems(dir: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| !name.starts_with('.'))
        .map(|name| name.split('.').next().unwrap().to_owned())
        .collect()
}

/// Starts `broker serve` or `party serve` and kills it `after` so long.
fn strike_at_start(home: &Path, what: &str, after: Duration) {
    let mut command = counterfoil(home);
    command.args([what, "serve"]);
    let mut started = Started::start(command);
    std::thread::sleep(after);
    started.kill();
    started.finish();
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn a_kill_at_any_moment_loses_nothing_and_releases_nothing_unrecorded() {
    let mut trials = ["dh", "vole"].map(|protocol| {
        let mut trial = Trial::matched_with(protocol);
        trial.world.await_owner();
        let began = Instant::now();
        trial.exchange();
        let whole = began.elapsed();
        trial.check();
        (trial, whole)
    });
    let mut rng = ChaCha20Rng::seed_from_u64(from_env("COUNTERFOIL_KILL_SEED", 1));
    for number in 0..from_env("COUNTERFOIL_KILL_POINTS", 12) {
        let victims = [Victim::Recipient, Victim::Broker, Victim::Owner];
        // Each protocol's points: every victim, with and without a stored delivery.
        let (trial, whole) = &mut trials[number as usize / 6 % 2];
        // The few milliseconds around the release get as many points as all the rest.
        let stored = number / 3 % 2 == 1;
        let most = if stored { RELEASE } else { *whole };
        let point = Point {
            victim: victims[number as usize % victims.len()],
            after: most.mul_f64(rng.random_range(0.0..1.0)),
            stored,
            again: rng
                .random_bool(0.3)
                .then(|| START.mul_f64(rng.random_range(0.0..1.0))),
        };
        println!("{number}: {point:?}");
        trial.strike(&point);
        trial.check();
    }
    for (mut trial, _) in trials {
        trial.exchange();
        trial.check();
    }
}

#[test]
fn an_owner_that_is_killed_with_an_offer_in_its_hands_is_offered_the_flow_again() {
    let mut trial = Trial::new();
    let owner = trial.world.owner.as_ref().unwrap().id();
    signal(owner, "STOP");
    let exchange = trial.start_exchange();
    until("the grant", || trial.recorded("flow.granted"));
    // The offer follows the entry; no log says when it has left.
    std::thread::sleep(Duration::from_millis(500));
    trial.world.kill_owner();
    trial.world.start_owner();
    let done = exchange.finish();
    assert_eq!(done.exit, 0, "{done:#?}");
    trial.exchange();
    trial.check();
}

#[test]
fn whoever_is_killed_between_two_buckets_the_flow_goes_on_and_releases_all() {
    let victims = [Victim::Broker, Victim::Owner, Victim::Recipient];
    for (protocol, victim) in victims
        .into_iter()
        .flat_map(|victim| [("dh", victim), ("vole", victim)])
    {
        let mut trial = Trial::matched_with(protocol);
        let exchange = trial.start_exchange();
        let flows = trial.world.home("broker").join("flows");
        let rows = |flow: &Path| {
            std::fs::read_dir(flow).is_ok_and(|mut files| {
                files.any(|file| {
                    file.unwrap()
                        .path()
                        .extension()
                        .is_some_and(|end| end == "rows")
                })
            })
        };
        until("the rows of a bucket", || {
            let mut running = std::fs::read_dir(&flows).unwrap();
            running.any(|flow| rows(&flow.unwrap().path()))
        });
        let mut exchange = exchange;
        match victim {
            Victim::Broker => {
                trial.world.kill_broker();
                trial.world.start_broker();
            }
            Victim::Owner => {
                trial.world.kill_owner();
                trial.world.start_owner();
            }
            Victim::Recipient => exchange.kill(),
        }
        let done = exchange.finish();
        if victim == Victim::Recipient {
            let left = trial.world.interrupted();
            let done = trial.world.resume(&left[0]);
            assert_eq!(done.exit, 0, "{done:#?}");
        } else {
            assert_eq!(done.exit, 0, "{protocol}, {victim:?}: {done:#?}");
        }
        assert_eq!(trial.check_deliveries(), 1);
        trial.check();
        assert_eq!(trial.released().len(), 1, "it was matched anew");
    }
}

#[test]
fn a_torn_last_batch_is_cut_and_the_broker_starts() {
    let mut trial = Trial::new();
    trial.exchange();
    trial.check();
    let file = trial.entries_file();
    let before = std::fs::read(&file).unwrap();
    // One batch more, which no checkpoint covers.
    run(
        &trial.world.home("broker"),
        ["broker", "invite", "latecomer"],
    )
    .ok();
    trial.world.kill_broker();
    let whole = std::fs::read(&file).unwrap();
    assert!(whole.starts_with(&before) && whole[before.len()..].starts_with(FRAME));
    for left in [before.len() + 1, before.len() + 30, whole.len() - 1] {
        std::fs::write(&file, &whole[..left]).unwrap();
        trial.world.start_broker();
        trial.world.kill_broker();
        assert!(std::fs::read(&file).unwrap() == before, "of {left} bytes");
    }
    trial.world.start_broker();
    trial.exchange();
    trial.check();
}

#[test]
fn a_log_that_is_shorter_than_was_signed_is_refused() {
    let mut trial = Trial::new();
    trial.exchange();
    trial.check();
    trial.world.kill_broker();
    let file = trial.entries_file();
    let whole = std::fs::read(&file).unwrap();
    let last = whole.windows(4).rposition(|at| at == FRAME).unwrap();
    let mut altered = whole.clone();
    altered[last / 2] ^= 1;
    for (wrong, what) in [
        // Whole batches, so that every byte that is left is good.
        (whole[..last].to_vec(), "rolled back or cut"),
        (whole[..last + 60].to_vec(), "rolled back or cut"),
        (altered, "damaged at byte"),
    ] {
        std::fs::write(&file, &wrong).unwrap();
        run(&trial.world.home("broker"), ["broker", "serve"]).fails(6, &[what, "restore"]);
        assert!(std::fs::read(&file).unwrap() == wrong, "it was changed");
    }
    std::fs::remove_file(&file).unwrap();
    run(&trial.world.home("broker"), ["broker", "serve"]).fails(6, &["is missing", "restore"]);
    std::fs::write(&file, &whole).unwrap();
    trial.world.start_broker();
    trial.exchange();
    trial.check();
}
