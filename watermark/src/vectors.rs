//! Vectors, computed outside of this crate.
//!
//! Keys and [`ORDINALS`] are of the design's reference program (Python, full-width tags: 15 bytes
//! of tag stand where a position has tag and column). All others come from a second program that
//! follows MARKS.md cell by cell, one AES call at a time, with the products of E multiplied out and
//! p-values added up in exact fractions; Python 3.11 with the `cryptography` package's AES.

use crate::form::{Form, Mark};
use crate::keys::{Commitment, MasterKey, SymbolKey, TraceKey};
use crate::lineage::{Budget, Column, Lineage};
use crate::position::{BATCH, Lanes, Places, Prefix, Symbols};
use crate::tag::TagBits;
use crate::trace::{Level, Trace};
use crate::{Embedder, Leak, Match, Reading};

const LINEAGE: &str = "ds-0001";

fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first + at as u8)
}

fn master() -> MasterKey {
    MasterKey::from_bytes(counting(0))
}

fn recipient() -> SymbolKey {
    master().recipient(LINEAGE, "rcpt-007")
}

fn flow() -> SymbolKey {
    master().flow(LINEAGE, "flow-042")
}

#[test]
fn keys_are_the_references() {
    let dataset = master().dataset(LINEAGE);
    assert_eq!(hex::encode(dataset.0), "86e0c88f893e5e5ada9683f64e156566");
    assert_eq!(
        hex::encode(recipient().0),
        "acc433f7b4b712a61d1774d4d47d4c28"
    );
    assert_eq!(hex::encode(flow().0), "3b482b248e71617df9407873adc302f4");
}

/// Full-width tag, bias, tie, symbol, value of 1..5 before and after.
const ORDINALS: [(&str, u16, bool, bool, &str, &str); 5] = [
    (
        "362335158ea4b1036de3075b1dd4f699",
        58150,
        false,
        true,
        "1",
        "1",
    ),
    (
        "9643baceedd7ce37161da03d0af81982",
        58150,
        false,
        true,
        "1",
        "1",
    ),
    (
        "dbe45b09ce96901c337f9e237f2bc91d",
        32768,
        false,
        true,
        "4",
        "3",
    ),
    (
        "cd54d9979a435f77c8e91596dabccc5b",
        58150,
        true,
        true,
        "3",
        "3",
    ),
    (
        "52086193608d19435c52f4962b6f60cf",
        7386,
        true,
        false,
        "3",
        "4",
    ),
];

#[test]
fn ordinals_are_the_references() {
    let places = Places::new(&master().dataset(LINEAGE), 0);
    let symbols = Symbols::new(&recipient());
    // The reference takes the value's own parity for its colour, so the list begins with 0 (and has both ends inside).
    let form = Form::ordinal(&["0", "1", "2", "3", "4", "5", "6"], None).unwrap();
    for (tag, bias, tie, bit, value, marked) in ORDINALS {
        let tag = hex::decode(tag).unwrap();
        let prefix: Prefix = tag[..15].try_into().unwrap();
        let mut params = Vec::new();
        places.params(&[prefix], 2621, 1, &mut params);
        let params = params[0][0].unwrap();
        let mut lanes = [Lanes::default(); BATCH];
        symbols.lanes(&[prefix], &mut lanes);
        assert_eq!((params.threshold(), params.tie), (bias, tie));
        assert_eq!(lanes[0][0] < bias, bit);
        let mark = Mark { bit, tie };
        let cell = form.mark(value, &[Some(mark), None]);
        assert_eq!(cell.as_deref().unwrap_or(value), marked);
    }
}

#[test]
fn mark_tags() {
    let key = TraceKey::from_bytes(counting(32));
    let tag = |customer: &str, bits| {
        let bits = TagBits::new(bits).unwrap();
        key.tag(LINEAGE, customer.as_bytes(), bits).get()
    };
    for (customer, narrow, wide) in [
        ("customer-0", 18_561, 1_216_438_650),
        ("customer-1", 48_400, 3_171_985_134),
        ("customer-2", 18_518, 1_213_610_906),
    ] {
        assert_eq!((tag(customer, 16), tag(customer, 32)), (narrow, wide));
    }
    assert_eq!(tag("customer-0", 12), 1160);
}

#[test]
fn commitments() {
    let dataset = Commitment::to_dataset(&master().dataset(LINEAGE), LINEAGE);
    let recipient = Commitment::to_recipient(&recipient(), LINEAGE, "rcpt-007");
    let flow = Commitment::to_flow(&flow(), LINEAGE, "flow-042");
    let trace = Commitment::to_trace(&TraceKey::from_bytes(counting(32)), LINEAGE);
    for (commitment, expected) in [
        (
            dataset,
            "89fc0fcd58444bdb9b3d829d6c676f11dcf175bb7a9d0dffda1b99b74a0f408f",
        ),
        (
            recipient,
            "3aa4e26efb3720dbd8867a8fdde8859bb5d5cf1626a4e4e26ad2c46bd6266528",
        ),
        (
            flow,
            "29de54e16b7fbe7ef57937026145a666b8f01ff1c4449bb9e64ab08988e33312",
        ),
        (
            trace,
            "893a78154cc9a120ae4728786c910f33b208dc870aa654a9e0477ec19ff568f0",
        ),
    ] {
        assert_eq!(hex::encode(commitment.as_bytes()), expected);
    }
}

/// Rows of customer-0 to customer-39, tags of 16 bits: an ordinal, a category, a score, an amount and
/// a date, as held and as delivered to rcpt-007 in flow-042.
const ROWS: [(&str, &str); 40] = [
    ("a b 995 1000 1988-01-25", "a b 995 1001 1988-01-26"),
    ("a d 590 1000 2027-07-22", "a d 590 1001 2027-07-22"),
    (
        "a b 0 12345678901 2024-02-26",
        "a b 1 12345678901 2024-02-25",
    ),
    ("a a 0 50000 2023-01-24", "a a 1 49990 2023-01-24"),
    ("d e 5 950 1999-02-09", "d d 5 950 1999-02-09"),
    ("b f 0 0 2002-12-27", "c f 1 0 2002-12-28"),
    ("a a 855 0 2007-08-18", "a a 853 0 2007-08-19"),
    ("c a 0 0 2002-05-15", "c a 1 0 2002-05-14"),
    ("e c 199 50000 1955-11-11", "e b 199 50000 1955-11-11"),
    ("d d 0 9999 1970-12-12", "d d 0 9999 1970-12-11"),
    ("e b 1000 950 2023-09-08", "d b 999 950 2023-09-08"),
    ("a f 4 950 1965-03-16", "a f 5 950 1965-03-16"),
    (
        "e c 995 1234567.89 1966-12-22",
        "e b 996 1234567.89 1966-12-23",
    ),
    ("a d 995 50000 1959-09-12", "a d 995 50000 1959-09-12"),
    ("b f 62 50000 1976-07-30", "b f 61 50000 1976-07-30"),
    ("e f 4 1234567.89 2001-04-01", "d f 6 1233567.89 2001-04-02"),
    ("d e 619 0 1962-10-22", "d e 619 0 1962-10-21"),
    ("d c 0 50000 1980-09-22", "d c 1 50010 1980-09-21"),
    ("e b 1000 1000 1983-05-14", "e b 999 1001 1983-05-14"),
    ("a a 5 50000 1973-09-16", "a a 6 49990 1973-09-16"),
    ("c f 0 50000 2010-06-24", "b f 1 50010 2010-06-24"),
    (
        "c d 0 12345678901 2029-01-18",
        "c e 0 12345678901 2029-01-19",
    ),
    ("a b 391 1000 2017-09-07", "a a 391 1000 2017-09-07"),
    ("a e 4 1000 1956-07-15", "b d 4 1001 1956-07-16"),
    ("c d 825 950 1991-09-08", "d e 826 950 1991-09-08"),
    ("e e 122 -87654.3 1991-06-11", "d e 122 -87644.3 1991-06-11"),
    ("d d 0 1000 1967-08-01", "d d 1 1001 1967-08-01"),
    ("b c 5 50000 1950-05-13", "a c 5 50000 1950-05-12"),
    (
        "c a 922 12345678901 2026-02-10",
        "c a 925 12345678901 2026-02-11",
    ),
    ("d f 4 9999 2029-07-23", "d f 3 9998 2029-07-24"),
    ("a c 995 50000 2019-08-05", "b c 993 49990 2019-08-05"),
    ("d f 3 1234567.89 1962-05-02", "d f 3 1233567.89 1962-05-03"),
    ("b e 995 1000 2019-09-03", "b e 993 1001 2019-09-03"),
    ("e e 1000 50000 2027-05-30", "e d 1000 50000 2027-05-31"),
    ("c b 815 950 1974-05-30", "c b 813 950 1974-05-29"),
    ("a e 3 950 2021-05-16", "b d 5 950 2021-05-16"),
    ("b b 3 50000 2012-07-21", "c b 2 50010 2012-07-21"),
    ("e d 995 1000 1982-04-01", "d d 994 1001 1982-04-02"),
    ("a e 995 0 1972-04-25", "b e 995 0 1972-04-25"),
    ("e b 169 950 1950-10-27", "e b 169 950 1950-10-26"),
];

fn lineage() -> Lineage {
    let bits = TagBits::new(16).unwrap();
    let column = |name, form| Column::new(name, form, Budget::new(250_000, 10_000).unwrap(), bits);
    let number = |text: &str| text.parse().unwrap();
    let budgeted = |name, form| column(name, form).unwrap().with_selected(1 << 15);
    let letters = ["a", "b", "c", "d", "e", "f"];
    let swaps = [(1, 0), (1, 2), (3, 4)];
    let domain = Some((number("0"), number("1000")));
    let columns = vec![
        budgeted("tier", Form::ordinal(&letters[..5], None).unwrap()),
        budgeted("hobby", Form::categorical(&letters, &swaps, None).unwrap()),
        column("score", Form::score(number("3"), domain).unwrap()).unwrap(),
        column("aum", Form::amount(number("1000")).unwrap()).unwrap(),
        column("born", Form::date(None).unwrap()).unwrap(),
    ];
    Lineage::new(columns, bits).unwrap()
}

fn tag(customer: usize) -> crate::MarkTag {
    let customer = format!("customer-{customer}");
    TraceKey::from_bytes(counting(32)).tag(LINEAGE, customer.as_bytes(), TagBits::new(16).unwrap())
}

#[test]
fn cells_of_every_form() {
    let lineage = lineage();
    let dataset = master().dataset(LINEAGE);
    let embedder = Embedder::new(&lineage, &dataset, &recipient(), &flow());
    let tags: Vec<_> = (0..ROWS.len()).map(tag).collect();
    for (place, column) in lineage.columns().iter().enumerate() {
        let cells = |row: &'static str| row.split(' ').nth(place).unwrap();
        let mut marked: Vec<String> = ROWS.iter().map(|(held, _)| cells(held).into()).collect();
        let held = ROWS.iter().map(|(held, _)| cells(held));
        for (row, cell) in embedder.mark(column, &tags, held).iter() {
            assert_ne!(marked[row], cell);
            marked[row] = cell.into();
        }
        let delivered: Vec<_> = ROWS.iter().map(|(_, delivered)| cells(delivered)).collect();
        assert_eq!(marked, delivered, "column {place}");
    }
}

/// ln E and p at one level, and the reads.
#[track_caller]
fn check(trace: &Trace, level: Level, key: &SymbolKey, reads: u64, ln_e: f64, p: f64) {
    let evidence = trace.evidence(level, key);
    assert_eq!(trace.reads(level), reads);
    assert!((evidence.ln_e - ln_e).abs() < 1e-9, "{evidence:?}");
    assert!((evidence.p / p - 1.0).abs() < 1e-9, "{evidence:?}");
}

fn trace(rows: &[(usize, usize)]) -> Trace {
    let lineage = lineage();
    let cells = |place: usize| {
        let cell = |(_, row): &(usize, usize)| ROWS[*row].1.split(' ').nth(place).unwrap().into();
        rows.iter().map(cell).collect()
    };
    let tags = rows.iter().map(|(customer, _)| tag(*customer)).collect();
    let leak = Leak::new(tags, (0..5).map(cells).collect()).unwrap();
    let reading = Reading::AsDelivered;
    let assignment = (0..5).map(|found| Match {
        found,
        column: found,
        reading,
    });
    let dataset = master().dataset(LINEAGE);
    Trace::new(&lineage, &dataset, &leak, &[assignment.collect()])
}

#[test]
fn evidence_of_the_whole_delivery() {
    let rows: Vec<_> = (0..40).map(|row| (row, row)).collect();
    let trace = trace(&rows);
    let other = master().recipient(LINEAGE, "rcpt-008");
    let other_flow = master().flow(LINEAGE, "flow-043");
    let (recipients, flows) = (Level::Recipient, Level::Flow);
    check(
        &trace,
        recipients,
        &recipient(),
        119,
        34.189591725515236,
        3.677046194918483e-18,
    );
    check(
        &trace,
        flows,
        &flow(),
        64,
        16.855453135257985,
        3.0932365355185937e-10,
    );
    check(
        &trace,
        recipients,
        &other,
        119,
        -2.511187711972104,
        0.9051025895332747,
    );
    check(
        &trace,
        flows,
        &other_flow,
        64,
        -1.4912524010416943,
        0.3655802291698116,
    );
}

#[test]
fn evidence_of_a_half_with_rows_repeated_and_one_swapped() {
    let repeated = (5..15).map(|row| (row, row));
    let rows: Vec<_> = (0..20)
        .map(|row| (row, row))
        .chain(repeated)
        .chain([(3, 7)])
        .collect();
    let trace = trace(&rows);
    let (recipients, flows) = (Level::Recipient, Level::Flow);
    check(
        &trace,
        recipients,
        &recipient(),
        57,
        15.107675986735925,
        3.1875741118922363e-09,
    );
    check(
        &trace,
        flows,
        &flow(),
        29,
        3.8927706876870234,
        0.0005973221377800111,
    );
}
