//! The README's commands, exactly as they are written there.

use std::process::Command;

use counterfoil_tests::Serving;
use counterfoil_tests::process::binary;
use counterfoil_tests::world::free_address;

const README: &str = include_str!("../README.md");

/// A block of the README: what follows the word `sh` on its first line, and its commands.
fn blocks() -> impl Iterator<Item = (&'static str, &'static str)> {
    README.split("\n```sh").skip(1).map(|block| {
        let (info, rest) = block.split_once('\n').unwrap();
        (info.trim(), rest.split("\n```").next().unwrap())
    })
}

#[test]
fn the_second_part_works_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let path = std::env::join_paths(
        std::iter::once(binary().parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    let shell = |commands: &str| {
        let mut shell = Command::new("bash");
        // Another port than the README's, so that tests may run side by side.
        shell
            .arg("-euo")
            .arg("pipefail")
            .arg("-c")
            .arg(commands.replace("127.0.0.1:7443", &address));
        shell
            .current_dir(dir.path())
            .env("PATH", &path)
            .env_remove("COUNTERFOIL_HOME");
        shell
    };
    let mut serving = Vec::new();
    let mut ran = 0;
    for (info, commands) in blocks() {
        let Some(info) = info.strip_prefix("by-hand") else {
            continue;
        };
        ran += 1;
        if let Some(text) = info.trim().strip_prefix("serves: ") {
            let mut service = Serving::start(shell(&format!("exec {commands}")));
            service.wait_for(text);
            serving.push(service);
            continue;
        }
        let done = shell(commands).output().unwrap();
        assert!(
            done.status.success(),
            "{commands}\n{}\n{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    assert!(
        ran >= 10 && serving.len() == 2,
        "the README's blocks were not found"
    );
    let matched = std::fs::read_to_string(dir.path().join("matched.csv")).unwrap();
    assert!(
        matched.starts_with(
            "phone,policy,risk_appetite,age_band,credit_amount,housing,reference_code\n"
        ),
        "{matched}"
    );
    // Customers 1,000 to 4,999 are common, a tenth of them has no consent, and hardly anybody is so rare that the row is left out.
    let rows = matched.lines().count() - 1;
    assert!((3_500..=3_600).contains(&rows), "{rows}");
    let report = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(
        report.contains("comes from what was delivered to `insurer`, in flow"),
        "{report}"
    );
    assert!(dir.path().join("established.parquet").exists());
    let overlap = std::fs::read_to_string(dir.path().join("overlap.json")).unwrap();
    let overlap: serde_json::Value = serde_json::from_str(&overlap).unwrap();
    assert_eq!(overlap["spent"]["epsilon"], "1");
    assert!(dir.path().join("overlap.svg").exists());
}

#[test]
fn the_first_part_names_the_two_commands() {
    let commands: Vec<&str> = blocks()
        .filter(|(info, _)| info.is_empty())
        .map(|(_, c)| c.trim())
        .collect();
    assert_eq!(
        commands,
        ["cargo run --release -- demo", "cargo test --workspace"]
    );
    let demo = Command::new(binary())
        .arg("demo")
        .current_dir(tempfile::tempdir().unwrap().path())
        .output()
        .unwrap();
    assert!(
        demo.status.success(),
        "{}",
        String::from_utf8_lossy(&demo.stderr)
    );
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let help = Command::new(binary()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for row in README
        .lines()
        .skip_while(|line| !line.starts_with("| exit code"))
        .skip(2)
        .take_while(|l| l.starts_with('|'))
    {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(
            help.contains(&format!("{}  {}", cells[0], cells[1])),
            "not in --help: {row}"
        );
    }
}
