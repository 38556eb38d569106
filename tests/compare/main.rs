//! Our protocols beside the unprotected join and SecretFlow's SPU, in one run on one machine, half of the rows common.
//!
//! `COUNTERFOIL_SPU_PYTHON=…/bin/python cargo bench -p counterfoil-tests --bench compare`
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `COUNTERFOIL_SPU_PYTHON` | a Python 3.11 with `pip install spu==0.9.5 openmined-psi` | both are left out |
//! | `COUNTERFOIL_ROWS` | sizes for all contenders | `65536 1048576` |
//! | `COUNTERFOIL_ROWS_LARGE` | further sizes, for `vole` and the join alone | none; `16777216` takes minutes |
//! | `COUNTERFOIL_ROWS_DH` | the largest size for `dh` and for OpenMined's PSI | `65536`; 2^20 takes minutes |
//! | `COUNTERFOIL_RUNS` | runs of each; the one with the median processor time counts | 1 |
//!
//! Ours is there in parts and whole. `phones read`: both sides' CSV to sets of E.164 numbers in memory. `token step`: from there
//! to tokens in memory, the two sides connected directly; both in the two processes alone that make tokens. `files to tokens`:
//! the whole of these processes. `messages, direct` and `messages, relayed`: the token step from its first message to its last in
//! the agents' own code, over one TLS connection and through the broker, whose processor time counts then. `whole exchange`: files
//! in, tokens through the relay, sealed rows, join, minimisation, log, delivery, files out, all three processes. The others are
//! bare matches of two files. The table, its figures and a plot are written to `target/compare/`.

mod bare;
mod direct;
mod measure;
mod naive;
mod openmined;
mod ours;
mod report;
mod spu;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use counterfoil_tests::data::phones;

use measure::Cost;
use report::Line;

const SPU_RR22: &str = "SPU RR22";

/// What [`bare::run`] measures.
const VOLE: [&str; 3] = [
    "counterfoil, phones read",
    "counterfoil vole, token step",
    "counterfoil vole, files to tokens",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--part", "send", file, address] => naive::send(file, address),
        ["--part", "tokens", protocol, role, file, address, report] => {
            bare::tokens(protocol, role, file, address, report);
        }
        ["--part", "direct", role, file, address, certificate, report] => {
            direct::side(role, file, address, certificate, report);
        }
        ["--part", "join", file, address, out] => naive::join(file, address, out),
        _ => compare(),
    }
}

fn compare() {
    let (spu, openmined) = (spu::Spu::find(), openmined::OpenMined::find());
    let sizes = numbers("COUNTERFOIL_ROWS", "65536 1048576");
    let large = numbers("COUNTERFOIL_ROWS_LARGE", "");
    let dh = numbers("COUNTERFOIL_ROWS_DH", "65536")[0];
    let runs = numbers("COUNTERFOIL_RUNS", "1")[0];
    let out = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/compare"));
    std::fs::create_dir_all(&out).unwrap();
    let mut lines = Vec::new();
    for (rows, all) in sizes
        .iter()
        .map(|n| (*n, true))
        .chain(large.iter().map(|n| (*n, false)))
    {
        let sides = Sides::new(rows);
        let mut take = |contenders: &[&'static str], run: &dyn Fn() -> Vec<Cost>| {
            for (contender, cost) in contenders.iter().zip(median(runs, run)) {
                println!(
                    "{rows:>9} {contender:36} {:8.2} s wall {:8.2} s CPU",
                    cost.wall_s, cost.cpu_s
                );
                lines.push(Line {
                    contender,
                    rows,
                    cost,
                });
            }
            // After every run, so that an interrupted comparison leaves what it has.
            write(&out, &lines);
        };
        take(&["unprotected hash join"], &|| {
            vec![naive::run(&sides.a, &sides.b, &sides.out)]
        });
        take(&VOLE, &|| bare::run("vole", &sides.b, &sides.a).to_vec());
        take(&["counterfoil vole, whole exchange"], &|| {
            vec![ours::run("vole", &sides.owner, &sides.recipient)]
        });
        if all {
            take(&["counterfoil vole, messages, direct"], &|| {
                vec![direct::direct(&sides.b, &sides.a)]
            });
            take(&["counterfoil vole, messages, relayed"], &|| {
                vec![direct::relayed(&sides.owner, &sides.recipient)]
            });
        }
        if rows <= dh {
            take(&["counterfoil dh, token step"], &|| {
                bare::run("dh", &sides.b, &sides.a)[1..2].to_vec()
            });
            take(&["counterfoil dh, whole exchange"], &|| {
                vec![ours::run("dh", &sides.owner, &sides.recipient)]
            });
            if let Some(openmined) = &openmined {
                take(&["OpenMined PSI"], &|| {
                    vec![openmined.run(&sides.a, &sides.b, &sides.out)]
                });
            }
        }
        if let Some(spu) = spu.as_ref().filter(|_| all) {
            take(&[SPU_RR22], &|| {
                vec![spu.run("RR22", &sides.a, &sides.b, &sides.out)]
            });
            take(&["SPU ECDH curve25519"], &|| {
                vec![spu.run("ECDH", &sides.a, &sides.b, &sides.out)]
            });
        }
    }
    println!("\n{}", report::table(&lines, SPU_RR22));
    println!("written to {}", out.canonicalize().unwrap().display());
}

fn write(out: &Path, lines: &[Line]) {
    std::fs::write(out.join("table.md"), report::table(lines, SPU_RR22)).unwrap();
    std::fs::write(out.join("plot.svg"), report::chart(lines)).unwrap();
    let json = serde_json::to_vec_pretty(&report::json(lines)).unwrap();
    std::fs::write(out.join("figures.json"), json).unwrap();
}

/// The same customers for every contender: telephone numbers as strings, half of each side's common.
struct Sides {
    owner: Vec<String>,
    recipient: Vec<String>,
    a: PathBuf,
    b: PathBuf,
    out: PathBuf,
    _dir: tempfile::TempDir,
}

impl Sides {
    fn new(rows: usize) -> Self {
        let mut all = phones(1, rows + rows / 2);
        let recipient = all[rows / 2..].to_vec();
        all.truncate(rows);
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, ids: &[String]| {
            let mut text = String::from("id\n");
            for id in ids {
                writeln!(text, "{id}").unwrap();
            }
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            a: file("recipient.csv", &recipient),
            b: file("owner.csv", &all),
            out: dir.path().join("out.csv"),
            owner: all,
            recipient,
            _dir: dir,
        }
    }
}

/// Of several runs the one whose processor time is the median.
fn median(runs: usize, run: &dyn Fn() -> Vec<Cost>) -> Vec<Cost> {
    let mut costs: Vec<Vec<Cost>> = (0..runs.max(1)).map(|_| run()).collect();
    let all = |costs: &[Cost]| costs.iter().map(|cost| cost.cpu_s).sum::<f64>();
    costs.sort_by(|a, b| all(a).total_cmp(&all(b)));
    costs.swap_remove(costs.len() / 2)
}

fn numbers(variable: &str, default: &str) -> Vec<usize> {
    let text = std::env::var(variable).unwrap_or(default.to_owned());
    text.split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect()
}
