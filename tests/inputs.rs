//! Files as people really have them: what can be read is, what cannot is named, and nothing is lost over it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use counterfoil_tests::World;
use counterfoil_tests::ask::{COMMON, event_of};
use counterfoil_tests::data::{phones, write_policies};

/// Runs the exchange with this file; asserts that all common customers arrived and returns the file that was written.
#[track_caller]
fn arrives(world: &World, from: &Path, more: &[&str]) -> PathBuf {
    let out = from.with_extension("out.csv");
    let done = world.ask(from, "phone", &out, &[&["--json"], more].concat());
    assert_eq!(done.json()["delivered"], COMMON, "{}", from.display());
    out
}

/// A file in the world's directory.
fn put(world: &World, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = world.path(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn text_of_spreadsheets_is_read() {
    let world = World::small(2);
    let text = fs::read_to_string(world.path("policies.csv")).unwrap();
    let little = |text: &str| utf16(text, u16::to_le_bytes);
    let files = [
        ("plain.csv", text.clone().into_bytes()),
        ("mark.csv", format!("\u{feff}{text}").into_bytes()),
        ("crlf.csv", text.replace('\n', "\r\n").into_bytes()),
        (
            "mark-crlf.csv",
            format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes(),
        ),
        ("no-last-line-end.csv", text.trim_end().as_bytes().to_vec()),
        ("semicolon.csv", text.replace(',', ";").into_bytes()),
        ("tab.tsv", text.replace(',', "\t").into_bytes()),
        ("utf16le.csv", little(&format!("\u{feff}{text}"))),
        (
            "utf16be.txt",
            utf16(&format!("\u{feff}{text}"), u16::to_be_bytes),
        ),
    ];
    let plain = put(&world, "first.csv", &text);
    let expected = fs::read(arrives(&world, &plain, &[])).unwrap();
    for (name, bytes) in files {
        let path = put(&world, name, &bytes);
        let out = arrives(&world, &path, &[]);
        assert_eq!(fs::read(out).unwrap(), expected, "{name}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name} was changed");
    }
    // A delimiter that cannot be found by itself is given.
    let path = put(&world, "colon.csv", text.replace(',', ":"));
    let out = arrives(&world, &path, &["--delimiter", ":"]);
    assert_eq!(fs::read(out).unwrap(), expected);
}

/// A source that cannot be used: its name, its bytes, further arguments, and what the message has to say.
type Bad<'a> = (&'a str, Vec<u8>, &'a [&'a str], &'a [&'a str]);

fn bad_files(text: &str, parquet: &[u8]) -> Vec<Bad<'static>> {
    let bare_utf16 = utf16(text, u16::to_le_bytes);
    let ragged = text.replacen("policy,phone", "policy;phone", 1);
    let invalid = "policy,phone\nP1,12\nP2,none\nP3,\nP4,0000000\n";
    vec![
        (
            "column.csv",
            text.replace("phone", "telephone").into(),
            &[],
            &["has no column `phone`: it has `policy`, `telephone`"],
        ),
        (
            "case.csv",
            text.replace("phone", "Phone").into(),
            &[],
            &["did you mean `Phone`?"],
        ),
        (
            "delimiter.csv",
            text.into(),
            &["--delimiter", ";"],
            &[
                "has no column `phone`",
                "the delimiter is probably wrong, try `--delimiter ','`",
            ],
        ),
        (
            "mixed.csv",
            ragged.into(),
            &[],
            &["not one of the 30 rows", "--delimiter"],
        ),
        (
            "bare-utf16.csv",
            bare_utf16,
            &[],
            &[
                "UTF-16 text without a byte order mark",
                "iconv -f UTF-16LE -t UTF-8",
            ],
        ),
        (
            "cut.parquet",
            parquet[..parquet.len() / 2].to_vec(),
            &[],
            &["is not a whole Parquet file", "copy or export it again"],
        ),
        (
            "parquet.csv",
            parquet.to_vec(),
            &[],
            &[
                "looks like a Parquet file",
                "give its name the ending .parquet",
            ],
        ),
        (
            "empty.csv",
            vec![],
            &[],
            &["is empty: expected a header line and at least one row"],
        ),
        (
            "empty.parquet",
            vec![],
            &[],
            &[
                "empty.parquet` is not a whole Parquet file",
                "copy or export it again",
            ],
        ),
        (
            "header.csv",
            "policy,phone\n".into(),
            &[],
            &["has a header but no rows: nothing can be matched"],
        ),
        (
            "invalid.csv",
            invalid.into(),
            &[],
            &[
                "not one of the 4 rows",
                "usable phone in column `phone`",
                "lines",
            ],
        ),
        (
            "quote.csv",
            text.replacen("P000003", "\"P000003", 1).into(),
            &[],
            &[
                "a quote opened in the row that starts on line 5",
                "is never closed",
            ],
        ),
    ]
}

#[test]
fn a_bad_file_is_named_and_costs_nothing() {
    let world = World::small(2);
    let parquet = world.path("good.parquet");
    world
        .ask(world.path("policies.csv"), "phone", &parquet, &[])
        .ok();
    let before = world.entries().len();
    let text = fs::read_to_string(world.path("policies.csv")).unwrap();
    for (name, bytes, more, texts) in bad_files(&text, &fs::read(&parquet).unwrap()) {
        let path = put(&world, name, &bytes);
        let out = world.path("never.csv");
        let done = world.ask(&path, "phone", &out, more).fails(3, texts);
        assert!(done.err.contains(name), "the file is not named: {done:#?}");
        assert_eq!(done.out, "");
        assert!(!out.exists(), "{name}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name} was changed");
        assert_eq!(world.unfinished(), [""; 0], "{name}");
    }
    let missing = world.path("nowhere.csv");
    world
        .ask(&missing, "phone", &world.path("never.csv"), &[])
        .fails(3, &["there is no file", "nowhere.csv", "check the path"]);
    let directory = world.path("folder.csv");
    fs::create_dir(&directory).unwrap();
    world
        .ask(&directory, "phone", &world.path("never.csv"), &[])
        .fails(3, &["is a directory: name one file in it"]);
    // The broker was not even asked, and everything still works.
    assert_eq!(world.entries().len(), before);
    arrives(&world, &world.path("policies.csv"), &[]);
}

#[test]
fn no_common_customer_is_refused_and_recorded() {
    let mut world = World::small(2);
    let strangers = world.path("strangers.csv");
    write_policies(&strangers, &phones(77, 30));
    let out = world.path("nobody.csv");
    world.ask(&strangers, "phone", &out, &[]).fails(
        4,
        &[
            "fewer common customers than the agreed minimum of 5",
            "(`minimum_match`)",
            "nothing is released",
            "; what would pass: a larger set, or another segment",
        ],
    );
    assert!(!out.exists());
    assert_eq!(world.unfinished(), [""; 0]);
    let entry = world.recorded("flow.refused", "minimum_match", "minimum_match");
    let released = |entries: &[serde_json::Value]| {
        let is = |entry: &&serde_json::Value| event_of(entry)["type"] == "release.intent";
        entries.iter().filter(is).count()
    };
    assert_eq!(released(&world.entries()), 0, "{entry:#}");
    world
        .owner
        .as_mut()
        .unwrap()
        .wait_for("fewer common customers than the agreed minimum");
    // With one customer fewer than the minimum it is the same; with the minimum it is not.
    let (all, few) = (phones(2, 50), world.path("few.csv"));
    write_policies(&few, &all[36..]);
    world
        .ask(&few, "phone", &out, &[])
        .fails(4, &["minimum of 5"]);
    write_policies(&few, &all[35..]);
    let done = world.ask(&few, "phone", &out, &["--json"]).json();
    assert_eq!(done["counts"]["submitted"], 15);
    assert_eq!(released(&world.entries()), 1);
}

#[test]
fn rows_left_out_are_told_by_line_and_never_by_value() {
    let mut world = World::small(2);
    let all = phones(2, 50);
    let (wrong, foreign) = ("+86138-oops-4711", "+999912345678901");
    let mut text = fs::read_to_string(world.path("policies.csv")).unwrap();
    // Lines 32 to 36 of the recipient's file.
    text += &format!("X1,{wrong}\nX2,\nX3,{}\nX4,{foreign}\nX5\n", all[25]);
    let policies = put(&world, "policies.csv", text);
    let mut text = fs::read_to_string(world.path("customers.csv")).unwrap();
    // Lines 42 to 45 of the owner's: a telephone that is none, a repeated one, an age and a housing that are none.
    let (age, housing) = ("quarantadue-31", "houseboat-77");
    let (first, second) = ("+8613700000001", "+8613700000002");
    text += &format!(
        "{wrong},30,own\n{},30,rent\n{first},{age},own\n{second},30,{housing}\n",
        all[3]
    );
    put(&world, "customers.csv", text);

    let done = world.ask(&policies, "phone", &world.path("out.csv"), &[]);
    assert_eq!(done.exit, 0, "{done:#?}");
    for line in ["rows", "accepted", "empty", "duplicate", "invalid: "] {
        assert!(done.out.contains(line), "no `{line}` in {}", done.out);
    }
    let told = |text: &str, what: &str, line: &str| {
        let words = |row: &str| {
            row.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let found = text
            .lines()
            .any(|row| row.contains(what) && words(row).contains(&line.to_owned()));
        assert!(found, "no line {line} for `{what}` in\n{text}");
    };
    told(&done.out, "duplicate", "34");
    told(&done.out, "empty", "33");
    told(&done.out, "invalid: another number of cells", "36");
    told(&done.out, "invalid: ", "32");
    told(&done.out, "invalid: ", "35");

    let owner = world.owner.as_mut().unwrap();
    owner.wait_for("receipt verified and kept");
    let seen = owner.seen.join("\n");
    told(&seen, "duplicate", "43");
    told(&seen, "invalid: tag `age_band`", "44");
    told(&seen, "invalid: tag `housing`", "45");

    // Everything that either side printed, against every value of both files.
    let customers = fs::read_to_string(world.path("customers.csv")).unwrap();
    let policies = fs::read_to_string(policies).unwrap();
    let values = customers
        .lines()
        .chain(policies.lines())
        .flat_map(|row| row.split(','))
        .filter(|value| value.len() > 5 && !matches!(*value, "mobile" | "housing" | "policy"))
        .map(|value| value.trim_start_matches("+86"));
    let printed = [done.out, done.err, seen].join("\n");
    for value in values {
        assert!(
            !printed.contains(value),
            "`{value}` was printed:\n{printed}"
        );
    }
}

#[test]
fn the_owners_bad_file_stays_its_own_business() {
    let mut world = World::small(2);
    let good = fs::read_to_string(world.path("customers.csv")).unwrap();
    put(&world, "customers.csv", good.replacen("age", "years", 1));
    let ask = |world: &World| {
        let out = world.path("out.csv");
        world.ask(world.path("policies.csv"), "phone", &out, &["--json"])
    };
    let done = ask(&world);
    assert_eq!(done.exit, 4, "{done:#?}");
    assert!(
        done.out.contains("cannot read its data just now"),
        "{done:#?}"
    );
    assert!(!done.out.contains("years"), "{done:#?}");
    let owner = world.owner.as_mut().unwrap();
    owner.wait_for("has no column `age`: it has `mobile`, `years`, `housing`");
    world.recorded("flow.declined", "owner_data", "dataset");
    // Mended while it serves: the next flow reads the file anew.
    put(&world, "customers.csv", good);
    assert_eq!(ask(&world).json()["delivered"], COMMON);
}

#[test]
fn two_to_the_24_rows_are_the_most() {
    let world = World::small(2);
    let path = world.path("big.csv");
    let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    file.write_all(b"policy,phone\n").unwrap();
    // Rows without an identifier are rows too, and cost the least to read.
    for _ in 0..1 << 14 {
        file.write_all(&b"P,\n".repeat(1 << 10)).unwrap();
    }
    file.write_all(b"P,\n").unwrap();
    file.flush().unwrap();
    drop(file);
    let done = world.ask(&path, "phone", &world.path("never.csv"), &[]);
    fs::remove_file(&path).unwrap();
    done.fails(
        3,
        &["has more than 16777216 rows, the most that one flow takes: split it"],
    );
    assert_eq!(world.unfinished(), [""; 0]);
    arrives(&world, &world.path("policies.csv"), &[]);
}
