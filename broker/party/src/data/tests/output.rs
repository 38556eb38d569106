use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::encode::Encoder;
use super::super::output::failed;
use super::super::{Existing, Format, OutputFile, Written};
use super::{Scratch, good, read_columns, source};

const COLUMNS: [&str; 2] = ["phone", "tier"];

fn names(scratch: &Scratch) -> Vec<String> {
    let entries = std::fs::read_dir(scratch.path("")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn both_formats_read_back() {
    let scratch = Scratch::new();
    for name in ["out.csv", "OUT.PARQUET"] {
        let path = scratch.path(name);
        let mut output = OutputFile::create(&path, &COLUMNS, Existing::Refuse).unwrap();
        for row in 0..70_000 {
            output
                .write_row([
                    format!("+86{row}").as_str(),
                    if row == 1 { "" } else { "高, \"net\"\n" },
                ])
                .unwrap();
        }
        assert!(!path.exists(), "nothing under the name before the end");
        assert_eq!(
            output.finish().unwrap(),
            Written {
                rows: 70_000,
                neutralised: 0
            }
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let rows = read_columns(&source(&path), &COLUMNS).unwrap();
        assert_eq!(rows.len(), 70_000);
        assert_eq!(rows[1].1, good(0, &["+861", ""]).1);
        assert_eq!(rows[69_999].1, good(0, &["+8669999", "高, \"net\"\n"]).1);
    }
    assert_eq!(names(&scratch).len(), 2);
}

#[test]
fn what_is_there_is_taken_for_this_run_only_if_it_is_the_same() {
    let scratch = Scratch::new();
    for name in ["out.csv", "out.parquet"] {
        let path = scratch.path(name);
        let write = |existing, last: &str| {
            let mut output = OutputFile::create(&path, &COLUMNS, existing).unwrap();
            for row in 0..20_000 {
                output
                    .write_row([format!("+86{row}").as_str(), last])
                    .unwrap();
            }
            output.finish()
        };
        write(Existing::Same, "gold").unwrap();
        let there = std::fs::read(&path).unwrap();
        assert!(write(Existing::Same, "gold").is_ok());
        for other in ["iron", "silver", ""] {
            let refused = write(Existing::Same, other).unwrap_err().to_string();
            assert!(refused.contains("exists already"), "{refused}");
            assert!(std::fs::read(&path).unwrap() == there);
        }
        write(Existing::Replace, "iron").unwrap();
        assert!(std::fs::read(&path).unwrap() != there);
    }
    assert_eq!(names(&scratch).len(), 2);
}

#[test]
fn a_table_without_rows_has_a_header() {
    let scratch = Scratch::new();
    let path = scratch.path("out.csv");
    let written = OutputFile::create(&path, &COLUMNS, Existing::Refuse)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(
        written,
        Written {
            rows: 0,
            neutralised: 0
        }
    );
    assert_eq!(std::fs::read_to_string(path).unwrap(), "phone,tier\n");
    let path = scratch.path("out.parquet");
    OutputFile::create(&path, &COLUMNS, Existing::Refuse)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(source(&path).open().unwrap().columns(), COLUMNS);
}

#[test]
fn what_is_there_is_not_replaced_unless_asked() {
    let scratch = Scratch::new();
    let path = scratch.file("out.csv", "mine");
    let message = OutputFile::create(&path, &COLUMNS, Existing::Refuse)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("exists already: name another file, or replace it with `--overwrite`"),
        "{message}"
    );
    let unfinished = OutputFile::create(&path, &COLUMNS, Existing::Replace).unwrap();
    drop(unfinished);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    OutputFile::create(&path, &COLUMNS, Existing::Replace)
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "phone,tier\n");
    assert_eq!(names(&scratch), ["out.csv"]);
}

#[test]
fn a_target_that_appears_meanwhile_is_kept() {
    let scratch = Scratch::new();
    let path = scratch.path("out.csv");
    let output = OutputFile::create(&path, &COLUMNS, Existing::Refuse).unwrap();
    scratch.file("out.csv", "theirs");
    assert!(
        output
            .finish()
            .unwrap_err()
            .to_string()
            .contains("exists already")
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
    assert_eq!(names(&scratch), ["out.csv"]);
}

#[test]
fn places_that_cannot_be_written() {
    let scratch = Scratch::new();
    let refusal = |path: &Path| {
        OutputFile::create(path, &COLUMNS, Existing::Replace)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(
        refusal(&scratch.path("out.txt")).ends_with("names no format: end it in .csv or .parquet")
    );
    std::fs::create_dir(scratch.path("dir.csv")).unwrap();
    assert!(refusal(&scratch.path("dir.csv")).ends_with("is a directory: name a file in it"));
    let message = refusal(&scratch.path("none/out.csv"));
    assert!(
        message.starts_with("there is no directory `")
            && message.ends_with("none`: create it first")
    );
}

#[test]
fn a_row_that_does_not_fit_writes_nothing() {
    let scratch = Scratch::new();
    for name in ["out.csv", "out.parquet"] {
        let mut output =
            OutputFile::create(&scratch.path(name), &COLUMNS, Existing::Refuse).unwrap();
        output.write_row(["1", "high"]).unwrap();
        for (cells, found) in [(vec!["1"], 1), (vec!["1", "2", "3"], 3)] {
            let error = output.write_row(cells).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("has {found} cells where it has 2 columns")),
                "{error}"
            );
        }
        drop(output);
    }
    assert!(names(&scratch).is_empty());
}

#[test]
fn leftovers_of_killed_runs_are_removed_and_live_ones_kept() {
    let scratch = Scratch::new();
    let path = scratch.path("out.csv");
    scratch.file(".out.csv.aB3dE6.part", "left by a kill");
    scratch.file(".other.csv.aB3dE6.part", "of another target");
    let first = OutputFile::create(&path, &COLUMNS, Existing::Refuse).unwrap();
    let second = OutputFile::create(&path, &COLUMNS, Existing::Refuse).unwrap();
    let there = names(&scratch);
    assert_eq!(there.len(), 3, "{there:?}");
    assert!(!there.contains(&".out.csv.aB3dE6.part".to_owned()));
    first.finish().unwrap();
    assert!(
        second
            .finish()
            .unwrap_err()
            .to_string()
            .contains("exists already")
    );
}

/// A disk with room for so many bytes.
struct SmallDisk(usize);

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.min(bytes.len()) {
            0 => Err(io::Error::from(io::ErrorKind::StorageFull)),
            count => {
                self.0 -= count;
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn fill(sink: impl Write + Send, format: Format) -> io::Result<()> {
    let mut encoder = Encoder::new(sink, format, &COLUMNS)?;
    for row in 0..200_000 {
        encoder.write_row([row.to_string().as_str(), "high"])?;
    }
    encoder.finish().map(drop)
}

#[test]
fn a_full_disk_is_named_at_whichever_write_it_happens() {
    let expected = "no space is left to write `out.csv`: nothing was written there and nothing is lost, free some space";
    for format in [Format::Csv, Format::Parquet] {
        assert!(fill(SmallDisk(100_000_000), format).is_ok());
        for room in [0, 3, 100_000, 400_000] {
            let error = fill(SmallDisk(room), format).unwrap_err();
            assert_eq!(
                failed(Path::new("out.csv"), error).to_string(),
                expected,
                "{format:?} {room}"
            );
        }
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = fill(full, format).unwrap_err();
        assert_eq!(
            failed(Path::new("out.csv"), error).to_string(),
            expected,
            "{format:?} /dev/full"
        );
    }
}

fn csv(rows: &[&[&str]]) -> (String, u64) {
    let mut encoder = Encoder::new(Vec::new(), Format::Csv, &["a"]).unwrap();
    for row in rows {
        encoder.write_row(row.iter().copied()).unwrap();
    }
    let neutralised = encoder.written().neutralised;
    (
        String::from_utf8(encoder.finish().unwrap()).unwrap(),
        neutralised,
    )
}

#[test]
fn numbers_and_telephone_numbers_stay_as_they_are() {
    let numbers = ["+8613800138000", "-12.50", "+0", "1e5", "plain", "a=b"];
    for number in numbers {
        assert_eq!(csv(&[&[number]]), (format!("a\n{number}\n"), 0));
    }
}

#[test]
fn formulas_are_shown_as_text() {
    for formula in [
        "=1+1",
        "@SUM(A1)",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "-",
        "+1.",
        "＝1",
        "\t=1",
        "\r=1",
    ] {
        let (text, neutralised) = csv(&[&[formula]]);
        assert_eq!(neutralised, 1, "{formula}");
        let body = text.strip_prefix("a\n").unwrap();
        assert!(body.starts_with('\'') || body.starts_with("\"'"), "{body}");
    }
    // Split at `;` by a spreadsheet of another locale, the rest would be a formula: quotes prevent it.
    assert_eq!(csv(&[&["x;=1+1"]]).0, "a\n\"x;=1+1\"\n");
}

#[test]
fn an_empty_cell_alone_is_a_row() {
    assert_eq!(
        csv(&[&[""], &[" x"], &["a\"b"]]).0,
        "a\n\"\"\n\" x\"\n\"a\"\"b\"\n"
    );
}
