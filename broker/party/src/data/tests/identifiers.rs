use counterfoil_psi::{IdentifierKind, Normaliser};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::super::{
    Decide, LoadError, Loaded, Source, TableRow, Verdict, Wanted, read_identifiers,
};
use super::{Scratch, source};

fn phones() -> Normaliser {
    Normaliser::new(IdentifierKind::Phone, Some("CN".parse().unwrap()))
}

fn load(
    source: &Source,
    others: &[&str],
    payload_bytes: usize,
    decide: Option<Decide<'_>>,
) -> Result<Loaded, LoadError> {
    let wanted = Wanted {
        added: &[],
        column: "phone",
        normaliser: phones(),
        others,
        payload_bytes,
    };
    read_identifiers(
        source,
        &wanted,
        decide,
        &mut |_| {},
        &mut ChaCha20Rng::seed_from_u64(1),
    )
}

fn values(loaded: &Loaded) -> Vec<&str> {
    (0..loaded.set.len())
        .map(|index| loaded.set.expose_value(index as u32).unwrap())
        .collect()
}

const MIXED: &str = "phone,tier
13812345678,high
,low
+86 138-1234-5678,low
12,low
13912345678,low,more
13912345678,low
abc,low
+86 (139) 1234 5678,high
13,high
";

#[test]
fn every_row_is_counted_once_and_shown_by_line() {
    let scratch = Scratch::new();
    let loaded = load(&source(&scratch.file("a.csv", MIXED)), &[], 0, None).unwrap();
    assert_eq!(values(&loaded), ["+8613812345678", "+8613912345678"]);
    let report = &loaded.report;
    assert_eq!(
        (report.rows, report.accepted, report.not_selected),
        (9, 2, 0)
    );
    assert_eq!(
        (report.empty.count, report.empty.first.as_slice()),
        (1, [3].as_slice())
    );
    assert_eq!(
        (report.duplicates.count, report.duplicates.first.as_slice()),
        (2, [4, 9].as_slice())
    );
    assert_eq!(report.invalid_rows(), 4);
    assert_eq!(report.invalid[0].lines.first, [5, 10]);
    assert_eq!(
        report.rows,
        report.accepted + report.empty.count + report.duplicates.count + report.invalid_rows()
    );
}

#[test]
fn the_report_is_a_table_and_json_without_values() {
    let scratch = Scratch::new();
    let report = load(&source(&scratch.file("a.csv", MIXED)), &[], 0, None)
        .unwrap()
        .report;
    let row = |what: &str, rows, lines: &str| TableRow {
        what: what.to_owned(),
        rows,
        lines: lines.to_owned(),
    };
    let table = report.table();
    assert_eq!(
        table[..4],
        [
            row("rows", 9, ""),
            row("accepted", 2, ""),
            row("empty", 1, "3"),
            row("duplicate", 2, "4, 9")
        ]
    );
    assert!(
        table.contains(&row(
            "invalid: another number of cells than the header",
            1,
            "6"
        )),
        "{table:?}"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["kind"], "phone");
    assert_eq!(
        json["duplicates"],
        serde_json::json!({ "count": 2, "first": [4, 9] })
    );
    assert_eq!(json["invalid"][0]["count"], 2);
    let shown = format!("{json} {report:?}");
    assert!(!shown.contains("138") && !shown.contains("abc"), "{shown}");
}

#[test]
fn only_the_first_lines_are_kept() {
    let scratch = Scratch::new();
    let text = format!("phone\n{}", "13812345678\n".repeat(1_000));
    let report = load(&source(&scratch.file("a.csv", text)), &[], 0, None)
        .unwrap()
        .report;
    assert_eq!(report.duplicates.count, 999);
    assert_eq!(report.duplicates.first, (3..23).collect::<Vec<u64>>());
    assert!(report.duplicates.to_string().ends_with("21, 22, …"));
}

#[test]
fn the_callback_chooses_rows_and_writes_their_payload() {
    let scratch = Scratch::new();
    let path = scratch.file(
        "a.csv",
        "tier,name,phone\n3,x,13812345678\n1,x,13812345679\n9,x,13812345670\n5,x,13812345671\n",
    );
    let mut decide = |row: &super::super::Row<'_>, payload: &mut [u8]| match row.get("tier") {
        Some("9") => Verdict::Invalid("tag `tier` is outside its domain".into()),
        Some(tier) if tier >= "3" => {
            payload[1] = tier.as_bytes()[0];
            Verdict::Keep
        }
        _ => Verdict::Leave,
    };
    let loaded = load(&source(&path), &["tier"], 2, Some(&mut decide)).unwrap();
    assert_eq!(values(&loaded), ["+8613812345678", "+8613812345671"]);
    let payloads: Vec<_> = (0..3).map(|index| payload(&loaded, index)).collect();
    assert_eq!(
        payloads,
        [Some(b"\x003".to_vec()), Some(b"\x005".to_vec()), None]
    );
    assert_eq!((loaded.payloads.len(), loaded.report.not_selected), (2, 1));
    assert_eq!(
        loaded.report.invalid[0].reason,
        "tag `tier` is outside its domain"
    );
    assert_eq!(loaded.report.invalid[0].lines.first, [4]);
    assert!(!format!("{loaded:?}").contains("138"));
}

#[test]
fn the_first_row_of_a_person_decides_in_a_segment_too() {
    let scratch = Scratch::new();
    let path = scratch.file(
        "a.csv",
        "phone,tier\n13812345678,low\n13812345678,high\n13812345679,high\n13812345679,low\n",
    );
    let mut high = |row: &super::super::Row<'_>, _: &mut [u8]| match row.get("tier") {
        Some("high") => Verdict::Keep,
        _ => Verdict::Leave,
    };
    let loaded = load(&source(&path), &["tier"], 0, Some(&mut high)).unwrap();
    assert_eq!(values(&loaded), ["+8613812345679"]);
    assert_eq!(loaded.report.duplicates.first, [3]);
    assert_eq!(loaded.report.rows, 4);
}

#[test]
fn a_segment_without_rows_is_no_error() {
    let scratch = Scratch::new();
    let path = scratch.file("a.csv", "phone\n13812345678\n");
    let loaded = load(&source(&path), &[], 0, Some(&mut |_, _| Verdict::Leave)).unwrap();
    assert!(loaded.set.is_empty() && loaded.payloads.is_empty());
}

#[test]
fn a_column_without_one_identifier_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.file("a.csv", "phone,x\nLi,1\nWu,1\n,1\n");
    let error = load(&source(&path), &[], 0, None).unwrap_err().to_string();
    assert!(error.starts_with("not one of the 3 rows of `"), "{error}");
    let expected = "/a.csv` has a usable phone in column `phone`: 1 empty (lines 4), 2 invalid: not a phone number: use \
                    digits, spaces, `-`, `.`, `/`, brackets and one leading `+` (lines 2, 3); is it the right column, \
                    type and default region?";
    assert!(error.ends_with(expected), "{error}");
}

fn payload(loaded: &Loaded, index: usize) -> Option<Vec<u8>> {
    let mut payload = vec![0; loaded.payloads.length()];
    loaded.payloads.read(index, &mut payload)?;
    Some(payload)
}

#[test]
fn blocks_of_payloads_fill() {
    let scratch = Scratch::new();
    let rows: String = (0..9_000).map(|row| format!("138{row:08}\n")).collect();
    let path = scratch.file("a.csv", format!("phone\n{rows}"));
    let mut next = 0_u32;
    let mut decide = |_: &super::super::Row<'_>, payload: &mut [u8]| {
        payload.copy_from_slice(&next.to_be_bytes());
        next += 1;
        Verdict::Keep
    };
    let loaded = load(&source(&path), &[], 4, Some(&mut decide)).unwrap();
    assert_eq!(loaded.set.len(), 9_000);
    for index in 0..9_000 {
        let expected = (index as u32).to_be_bytes().to_vec();
        assert_eq!(payload(&loaded, index), Some(expected));
    }
    assert_eq!(payload(&loaded, 9_000), None);
}

#[test]
fn progress_is_told_and_ends_at_the_last_row() {
    let scratch = Scratch::new();
    let rows: String = (0..70_000).map(|row| format!("138{row:08}\n")).collect();
    let path = scratch.file("a.csv", format!("phone\n{rows}"));
    let wanted = Wanted {
        added: &[],
        column: "phone",
        normaliser: phones(),
        others: &[],
        payload_bytes: 0,
    };
    let mut told = Vec::new();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    read_identifiers(
        &source(&path),
        &wanted,
        None,
        &mut |rows| told.push(rows),
        &mut rng,
    )
    .unwrap();
    assert_eq!(told, [65_536, 70_000]);
}
