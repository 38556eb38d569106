//! What the recipient writes: whole or not at all, and a release that did not fit on the disk is not lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use counterfoil_tests::World;
use counterfoil_tests::ask::event_of;
use counterfoil_tests::world::chmod_600;

#[test]
fn parquet_that_was_written_is_read_on_both_sides() {
    let world = World::small(3);
    // The owner's columns go through the recipient's Parquet, carried as they are.
    let customers = fs::read_to_string(world.path("customers.csv")).unwrap();
    let named = customers.replacen("mobile,age,housing", "phone,years,home", 1);
    fs::write(world.path("named.csv"), named).unwrap();
    let parquet = world.path("customers.parquet");
    let carried = ["--carry", "years,home", "--json"];
    let done = world.ask(world.path("named.csv"), "phone", &parquet, &carried);
    assert_eq!(done.json()["delivered"], 40);
    assert!(fs::read(&parquet).unwrap().starts_with(b"PAR1"));

    let csv = world.path("from-csv.csv");
    let carried = ["--carry", "policy", "--json"];
    let policies = world.path("policies.csv");
    assert_eq!(
        world.ask(&policies, "phone", &csv, &carried).json()["delivered"],
        20
    );
    let expected = fs::read_to_string(&csv).unwrap();

    // The recipient's file as Parquet, out and in again.
    let between = world.path("between.parquet");
    world.ask(&policies, "phone", &between, &carried).ok();
    let out = world.path("from-parquet.csv");
    let done = world.ask(&between, "phone", &out, &carried).json();
    assert_eq!(
        (&done["counts"]["rows"], &done["delivered"]),
        (&20.into(), &20.into())
    );
    assert_eq!(fs::read_to_string(&out).unwrap(), expected);

    // And the owner's.
    let file = world.home("bank").join("datasets.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace("../customers.csv", "../customers.parquet")
        .replace("column = \"mobile\"", "column = \"phone\"")
        .replace("age_band = \"age\"", "age_band = \"years\"")
        .replace("housing = \"housing\"", "housing = \"home\"");
    fs::write(&file, text).unwrap();
    let out = world.path("owner-parquet.csv");
    world.ask(&policies, "phone", &out, &carried).ok();
    assert_eq!(fs::read_to_string(&out).unwrap(), expected);
    world.entries();
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_anything_is_asked() {
    let world = World::small(3);
    let before = world.entries().len();
    let policies = world.path("policies.csv");
    let there = world.path("there.csv");
    fs::write(&there, "my notes\n").unwrap();
    world.ask(&policies, "phone", &there, &[]).fails(
        3,
        &["there.csv` exists already: name another file, or replace it with `--overwrite`"],
    );
    assert_eq!(fs::read_to_string(&there).unwrap(), "my notes\n");
    for (name, texts) in [
        (
            "out.xlsx",
            ["names no format", "end it in .csv or .parquet"],
        ),
        (
            "no/such/out.csv",
            ["there is no directory", "create it first"],
        ),
    ] {
        world
            .ask(&policies, "phone", &world.path(name), &[])
            .fails(3, &texts);
    }
    let twice = ["--carry", "housing"];
    fs::write(world.path("twice.csv"), "phone,housing\n13800000000,own\n").unwrap();
    world
        .ask(
            world.path("twice.csv"),
            "phone",
            &world.path("out.csv"),
            &twice,
        )
        .fails(3, &["the output would have two columns named `housing`"]);
    assert_eq!(world.entries().len(), before);
    // Told to, it replaces the file.
    world.ask(&policies, "phone", &there, &["--overwrite"]).ok();
    let written = fs::read_to_string(&there).unwrap();
    assert!(written.starts_with("phone,age_band,housing\n"), "{written}");
    assert_eq!(written.lines().count(), 21);
}

/// A file system of a few kibibytes, without a free one; unmounted when dropped.
struct FullDisk(PathBuf);

impl FullDisk {
    /// `None`, and says why, where this user may not mount.
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16k", "counterfoil-test"]);
        match mount.arg(&path).output() {
            Ok(done) if done.status.success() => {
                let disk = Self(path);
                let filled = fs::write(disk.filler(), [0; 64 * 1024]);
                assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
                Some(disk)
            }
            other => {
                println!("skipped: no file system can be mounted here ({other:?})");
                None
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// The flow that a message tells to resume.
fn flow_in(message: &str) -> String {
    let (_, rest) = message
        .split_once("counterfoil exchange --resume ")
        .unwrap();
    rest.chars().take_while(|c| c.is_alphanumeric()).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_release_that_met_a_full_disk_is_fetched_again() {
    let world = World::small(3);
    let Some(disk) = FullDisk::mount(world.path("disk")) else {
        return;
    };
    let policies = world.path("policies.csv");
    let plain = world.path("plain.csv");
    let carried = ["--carry", "policy"];
    world.ask(&policies, "phone", &plain, &carried).ok();

    for (name, expected) in [
        ("out.csv", Some(fs::read(&plain).unwrap())),
        ("out.parquet", None),
    ] {
        let out = disk.0.join(name);
        let full = [
            "no space is left to write",
            "nothing is lost, free some space",
            "what was released is kept for you",
        ];
        let done = world
            .ask(&policies, "phone", &out, &carried)
            .fails(3, &full);
        let flow = flow_in(&done.err);
        assert_eq!(names(&disk.0), ["filler"], "a part stayed");
        // The release counts: it stands in the log and in this home.
        let released = world.entries();
        let intent = released
            .iter()
            .map(event_of)
            .find(|event| event["type"] == "release.intent" && event["flow"] == flow.as_str());
        assert!(intent.is_some(), "{released:#?}");
        assert!(!world.unfinished().is_empty());
        world
            .at("insurer", &["exchange", "--resume", &flow])
            .fails(3, &full);

        fs::remove_file(disk.filler()).unwrap();
        let done = world
            .at("insurer", &["--json", "exchange", "--resume", &flow])
            .json();
        assert_eq!(done["delivered"], 20, "{done:#}");
        assert_eq!(done["output"], out.to_str().unwrap());
        if let Some(expected) = expected {
            assert_eq!(fs::read(&out).unwrap(), expected);
        } else {
            let back = world.path("back.csv");
            let done = world.ask(&out, "phone", &back, &["--json"]).json();
            assert_eq!(done["counts"]["rows"], 20);
        }
        // Once it has arrived there is nothing to resume.
        assert_eq!(world.unfinished(), [""; 0]);
        world
            .at("insurer", &["exchange", "--resume", &flow])
            .fails(7, &[&format!("no flow `{flow}` is unfinished here")]);
        let acknowledged = world.entries().iter().map(event_of).any(|event| {
            event["type"] == "delivery.acknowledged" && event["flow"] == flow.as_str()
        });
        assert!(acknowledged);
        fs::remove_file(&out).unwrap();
        assert!(fs::write(disk.filler(), [0; 64 * 1024]).is_err());
    }
}

#[test]
fn what_is_written_is_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::small(3);
    let policies = world.path("policies.csv");
    chmod_600(&policies);
    for name in ["out.csv", "out.parquet"] {
        let out = world.path(name);
        world.ask(&policies, "phone", &out, &[]).ok();
        let mode = fs::metadata(&out).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
