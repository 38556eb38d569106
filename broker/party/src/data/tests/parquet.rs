use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray,
    FixedLenByteArrayType, Int32Type, Int64Type, Int96, Int96Type,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::super::ROWS_MAX;
use super::{Scratch, bad, good, read_columns, refusal, source};

type Group<'a> = SerializedRowGroupWriter<'a, std::fs::File>;

fn write(path: &Path, schema: &str, groups: &[&dyn Fn(&mut Group<'_>)]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    for fill in groups {
        let mut group = writer.next_row_group().unwrap();
        fill(&mut group);
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn column<T: DataType>(group: &mut Group<'_>, values: &[T::T], levels: Option<&[i16]>) {
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<T>()
        .write_batch(values, levels, None)
        .unwrap();
    column.close().unwrap();
}

const TWO: &str = "message m { REQUIRED BYTE_ARRAY phone (STRING); OPTIONAL INT32 tier; }";

fn two_groups(path: &Path, rows: usize) {
    let fill = |group: &mut Group<'_>| {
        let phones: Vec<ByteArray> = (0..rows)
            .map(|row| row.to_string().as_str().into())
            .collect();
        column::<ByteArrayType>(group, &phones, None);
        let levels: Vec<i16> = (0..rows).map(|row| i16::from(row % 2 == 0)).collect();
        let tiers: Vec<i32> = (0..rows)
            .filter(|row| row % 2 == 0)
            .map(|row| row as i32 * 10)
            .collect();
        column::<Int32Type>(group, &tiers, Some(&levels));
    };
    write(path, TWO, &[&fill, &fill]);
}

#[test]
fn rows_of_all_groups_come_in_order_and_null_is_empty() {
    let scratch = Scratch::new();
    let path = scratch.path("a.parquet");
    two_groups(&path, 2_500);
    let rows = read_columns(&source(&path), &["tier", "phone"]).unwrap();
    assert_eq!(rows.len(), 5_000);
    for (index, seen) in rows.into_iter().enumerate() {
        let value = index % 2_500;
        let tier = if value % 2 == 0 {
            (value * 10).to_string()
        } else {
            String::new()
        };
        assert_eq!(seen, good(index as u64 + 1, &[&tier, &value.to_string()]));
    }
}

#[test]
fn every_type_has_one_text_form() {
    let scratch = Scratch::new();
    let path = scratch.path("a.parquet");
    let schema = "message m {
        REQUIRED INT32 day (DATE);
        REQUIRED INT64 at (TIMESTAMP(MICROS,true));
        REQUIRED INT64 local (TIMESTAMP(NANOS,false));
        REQUIRED INT96 old;
        REQUIRED INT32 clock (TIME(MILLIS,true));
        REQUIRED INT64 money (DECIMAL(18,2));
        REQUIRED FIXED_LEN_BYTE_ARRAY (3) debt (DECIMAL(6,3));
        REQUIRED INT64 count (INTEGER(64,false));
        REQUIRED DOUBLE phone;
        REQUIRED BOOLEAN yes;
        REQUIRED BYTE_ARRAY bare;
        REQUIRED FIXED_LEN_BYTE_ARRAY (16) id (UUID);
    }";
    let fill = |group: &mut Group<'_>| {
        column::<Int32Type>(group, &[-1], None);
        column::<Int64Type>(group, &[1_700_000_000_120_000], None);
        column::<Int64Type>(group, &[1_000_000_001], None);
        // 1.5 seconds into Julian day 2,440,589, which is 1970-01-02.
        column::<Int96Type>(
            group,
            &[Int96::from(vec![1_500_000_000, 0, 2_440_589])],
            None,
        );
        column::<Int32Type>(group, &[3_723_004], None);
        column::<Int64Type>(group, &[-5], None);
        column::<FixedLenByteArrayType>(
            group,
            &[FixedLenByteArray::from(vec![0xFF, 0xFB, 0x2E])],
            None,
        );
        column::<Int64Type>(group, &[-1], None);
        column::<DoubleType>(group, &[13_800_138_000.0], None);
        column::<BoolType>(group, &[true], None);
        column::<ByteArrayType>(group, &["北京".into()], None);
        column::<FixedLenByteArrayType>(
            group,
            &[FixedLenByteArray::from((0..16).collect::<Vec<u8>>())],
            None,
        );
    };
    write(&path, schema, &[&fill]);
    let columns = [
        "day", "at", "local", "old", "clock", "money", "debt", "count", "phone", "yes", "bare",
        "id",
    ];
    let expected = [
        "1969-12-31",
        "2023-11-14T22:13:20.12Z",
        "1970-01-01T00:00:01.000000001",
        "1970-01-02T00:00:01.5Z",
        "01:02:03.004",
        "-0.05",
        "-1.234",
        "18446744073709551615",
        "13800138000",
        "true",
        "北京",
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
    ];
    assert_eq!(
        read_columns(&source(&path), &columns).unwrap(),
        [good(1, &expected)]
    );
}

#[test]
fn a_bad_cell_leaves_out_its_row_only() {
    let scratch = Scratch::new();
    let path = scratch.path("a.parquet");
    let schema =
        "message m { REQUIRED BYTE_ARRAY name; REQUIRED INT32 day (DATE); REQUIRED INT32 n; }";
    let fill = |group: &mut Group<'_>| {
        column::<ByteArrayType>(group, &[vec![0xFF].into(), "b".into(), "c".into()], None);
        column::<Int32Type>(group, &[0, i32::MAX, 0], None);
        column::<Int32Type>(group, &[1, 2, 3], None);
    };
    write(&path, schema, &[&fill]);
    let expected = [
        bad(1, "is not UTF-8"),
        bad(2, "has a value outside the range of its type"),
        good(3, &["c", "1970-01-01", "3"]),
    ];
    assert_eq!(
        read_columns(&source(&path), &["name", "day", "n"]).unwrap(),
        expected
    );
}

#[test]
fn a_truncated_file_is_named_so() {
    let scratch = Scratch::new();
    let whole = scratch.path("whole.parquet");
    two_groups(&whole, 100);
    let bytes = std::fs::read(&whole).unwrap();
    for length in [4, 9, bytes.len() / 2, bytes.len() - 1] {
        let path = scratch.file("a.parquet", &bytes[..length]);
        let message = refusal(&path, &["phone"]);
        assert!(
            message
                .starts_with("`a.parquet` is not a whole Parquet file (it is cut off or damaged: "),
            "{message}"
        );
        assert!(message.ends_with("): copy or export it again"), "{message}");
    }
}

#[test]
fn a_damaged_page_is_an_error_and_not_a_value() {
    let scratch = Scratch::new();
    let whole = scratch.path("whole.parquet");
    two_groups(&whole, 100);
    let mut bytes = std::fs::read(&whole).unwrap();
    bytes[4..40].fill(0xFF);
    let message = refusal(&scratch.file("a.parquet", &bytes), &["phone"]);
    assert!(
        message.starts_with("`a.parquet` is not a whole Parquet file"),
        "{message}"
    );
}

#[test]
fn empty_files_and_other_kinds() {
    let scratch = Scratch::new();
    let path = scratch.file("a.parquet", "");
    assert_eq!(
        refusal(&path, &["phone"]),
        "`a.parquet` is not a whole Parquet file (it is cut off or damaged: it has no bytes): copy or export it again"
    );
    let path = scratch.file("a.parquet", "phone,tier\n1,high\n");
    assert_eq!(
        refusal(&path, &["phone"]),
        "`a.parquet` looks like something else, not like Parquet: if it is text, give its name the ending .csv"
    );
    let path = scratch.path("a.parquet");
    write(&path, TWO, &[]);
    assert_eq!(
        refusal(&path, &["phone"]),
        "`a.parquet` has a header but no rows: nothing can be matched"
    );
}

#[test]
fn columns_that_cannot_be_read() {
    let scratch = Scratch::new();
    let path = scratch.path("a.parquet");
    let schema = "message m { REQUIRED INT32 n; REQUIRED FIXED_LEN_BYTE_ARRAY (12) span (INTERVAL);
        REQUIRED GROUP list (LIST) { REPEATED GROUP list { REQUIRED INT32 element; } } }";
    write(&path, schema, &[]);
    assert_eq!(
        refusal(&path, &["span"]),
        "column `span` of `a.parquet` has the type INTERVAL, which has no text form here: cast it to a string"
    );
    assert_eq!(
        refusal(&path, &["list"]),
        "`a.parquet` has no column `list`: it has `n`, `span`"
    );
}

#[test]
fn more_rows_than_the_cap_are_refused_before_reading() {
    let scratch = Scratch::new();
    let path = scratch.path("a.parquet");
    let fill = |rows: u64| {
        move |group: &mut Group<'_>| {
            column::<BoolType>(group, &vec![true; usize::try_from(rows).unwrap()], None);
        }
    };
    write(
        &path,
        "message m { REQUIRED BOOLEAN yes; }",
        &[&fill(ROWS_MAX), &fill(1)],
    );
    let error = source(&path).open().map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("has more than 16777216 rows"),
        "{error}"
    );
}
