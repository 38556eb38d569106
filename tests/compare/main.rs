//! Our protocols beside the unprotected join and SecretFlow's SPU, in one run on one machine, half of the rows common.
//!
//! `COUNTERFOIL_SPU_PYTHON=…/bin/python cargo bench -p counterfoil-tests --bench compare`
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `COUNTERFOIL_SPU_PYTHON` | a Python 3.11 with `pip install spu==0.9.5` | SPU is left out |
//! | `COUNTERFOIL_ROWS` | sizes for all contenders | `65536 1048576` |
//! | `COUNTERFOIL_ROWS_LARGE` | further sizes, for the token step of `vole` and the join alone | none; `16777216` takes minutes |
//! | `COUNTERFOIL_ROWS_DH` | the largest size for `dh` | `65536`; 2^20 takes minutes |
//! | `COUNTERFOIL_RUNS` | runs of each; the one with the median processor time counts | 1 |
//!
//! Ours is there twice: as the token step alone (files in, tokens in memory, the two sides connected directly), and as a whole
//! governed exchange: files in, tokens through the relay, sealed rows, join, minimisation, log, delivery, files out. The others are
//! bare matches of two files. The table, its figures and a plot are written to `target/compare/`.

mod bare;
mod measure;
mod naive;
mod ours;
mod report;
mod spu;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use counterfoil_tests::data::phones;

use measure::Cost;
use report::Line;

const SPU_RR22: &str = "SPU RR22";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--part", "send", file, address] => naive::send(file, address),
        ["--part", "tokens", protocol, role, file, address] => {
            bare::tokens(protocol, role, file, address);
        }
        ["--part", "join", file, address, out] => naive::join(file, address, out),
        _ => compare(),
    }
}

fn compare() {
    let spu = spu::Spu::find();
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
        let mut take = |contender: &'static str, run: &dyn Fn() -> Cost| {
            let cost = median(runs, run);
            println!(
                "{rows:>9} {contender:32} {:8.2} s wall {:8.2} s CPU",
                cost.wall_s, cost.cpu_s
            );
            lines.push(Line {
                contender,
                rows,
                cost,
            });
            // After every run, so that an interrupted comparison leaves what it has.
            write(&out, &lines);
        };
        take("unprotected hash join", &|| {
            naive::run(&sides.a, &sides.b, &sides.out)
        });
        take("counterfoil vole, token step", &|| {
            bare::run("vole", &sides.b, &sides.a)
        });
        if all {
            take("counterfoil vole, whole exchange", &|| {
                ours::run("vole", &sides.owner, &sides.recipient)
            });
        }
        if rows <= dh {
            take("counterfoil dh, token step", &|| {
                bare::run("dh", &sides.b, &sides.a)
            });
            take("counterfoil dh, whole exchange", &|| {
                ours::run("dh", &sides.owner, &sides.recipient)
            });
        }
        if let Some(spu) = spu.as_ref().filter(|_| all) {
            take(SPU_RR22, &|| {
                spu.run("RR22", &sides.a, &sides.b, &sides.out)
            });
            take("SPU ECDH curve25519", &|| {
                spu.run("ECDH", &sides.a, &sides.b, &sides.out)
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
fn median(runs: usize, run: &dyn Fn() -> Cost) -> Cost {
    let mut costs: Vec<Cost> = (0..runs.max(1)).map(|_| run()).collect();
    costs.sort_by(|a, b| a.cpu_s.total_cmp(&b.cpu_s));
    costs[costs.len() / 2]
}

fn numbers(variable: &str, default: &str) -> Vec<usize> {
    let text = std::env::var(variable).unwrap_or(default.to_owned());
    text.split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect()
}
