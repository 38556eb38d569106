use std::io;
use std::str::FromStr;

use super::super::csv::CsvReader;
use super::super::decode::detect_delimiter;
use super::super::redact::redact;
use super::super::{CELL_BYTES_MAX, Delimiter, ROWS_MAX, Rows, Source, SourceError};
use super::{Scratch, bad, drain, good, read_columns, refusal, source};

#[test]
fn reads_only_the_selected_columns_in_their_order() {
    let scratch = Scratch::new();
    let path = scratch.file("a.csv", "name,phone,tier\nLi,1,high\nWu,2,low\n");
    let rows = read_columns(&source(&path), &["tier", "phone"]).unwrap();
    assert_eq!(rows, [good(2, &["high", "1"]), good(3, &["low", "2"])]);
}

#[test]
fn a_row_is_found_by_name_and_shows_no_cell_in_debug() {
    let scratch = Scratch::new();
    let mut rows = source(&scratch.file("a.csv", "phone,tier\n13800138000,high\n"))
        .open()
        .unwrap();
    rows.select(&["tier", "phone", "tier"]).unwrap();
    let Some(super::Read::Row(row)) = rows.next_row().unwrap() else {
        panic!("a row")
    };
    assert_eq!(
        (row.get("phone"), row.get("tier"), row.get("name")),
        (Some("13800138000"), Some("high"), None)
    );
    assert_eq!((row.cell(1), row.cell(2)), (Some("13800138000"), None));
    assert_eq!(format!("{row:?}"), "Row(line 2)");
}

#[test]
fn byte_order_mark_and_crlf_change_nothing() {
    let scratch = Scratch::new();
    let plain = scratch.file("a.csv", "phone,tier\n1,high\n\n2,low");
    let windows = scratch.file(
        "b.csv",
        b"\xEF\xBB\xBFphone,tier\r\n1,high\r\n\r\n2,low\r\n",
    );
    let expected = [good(2, &["1", "high"]), good(4, &["2", "low"])];
    for path in [plain, windows] {
        assert_eq!(
            read_columns(&source(&path), &["phone", "tier"]).unwrap(),
            expected
        );
    }
}

#[test]
fn utf_16_with_a_mark_is_decoded() {
    let scratch = Scratch::new();
    let text = "phone;城市\r\n1;北京 😀\r\n";
    let units: Vec<u16> = std::iter::once(0xFEFF).chain(text.encode_utf16()).collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    for bytes in [little, big] {
        let path = scratch.file("a.csv", bytes);
        assert_eq!(
            read_columns(&source(&path), &["phone", "城市"]).unwrap(),
            [good(2, &["1", "北京 😀"])]
        );
    }
}

#[test]
fn utf_16_survives_reads_that_split_units_and_surrogates() {
    use super::super::utf16::{ByteOrder, Utf16Reader};
    struct OneByte<'a>(&'a [u8]);
    impl io::Read for OneByte<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(out.len()).min(1);
            io::Read::read(&mut self.0, &mut out[..count])
        }
    }
    let lone = [0xD83D_u16, 0x61, 0xDE00, 0xD83D, 0xD83D, 0xDE00, 0xD83D];
    let bytes: Vec<u8> = lone.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let mut text = String::new();
    io::Read::read_to_string(
        &mut Utf16Reader::new(OneByte(&bytes), ByteOrder::Little),
        &mut text,
    )
    .unwrap();
    assert_eq!(text, String::from_utf16_lossy(&lone));
}

#[test]
fn what_is_not_text_is_named() {
    let scratch = Scratch::new();
    let utf16: Vec<u8> = "phone,tier\n1,high\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let cases: [(&[u8], &str); 7] = [
        (
            &utf16,
            "UTF-16 text without a byte order mark, not like CSV text: convert it with `iconv -f UTF-16LE -t UTF-8`",
        ),
        (
            b"PK\x03\x04....",
            "an Excel workbook or a zip archive, not like CSV text: save the sheet as CSV UTF-8, or unpack it first",
        ),
        (
            b"\x1F\x8B\x08....",
            "a gzip file, not like CSV text: unpack it first with `gunzip`",
        ),
        (
            b"PAR1....",
            "a Parquet file, not like CSV text: give its name the ending .parquet",
        ),
        (
            b"\x7FELF\x02\x00\x01\x00abc",
            "binary data, not like CSV text: export the table as CSV UTF-8 or Parquet",
        ),
        (
            b"\xFF\xFE\x00\x00p\x00\x00\x00",
            "UTF-32 text, not like CSV text: convert it with `iconv -f UTF-32 -t UTF-8`",
        ),
        (
            b" <!DOCTYPE HTML>",
            "a web page, not like CSV text: it is probably an error page of the site it was fetched from; fetch it again",
        ),
    ];
    for (bytes, expected) in cases {
        let path = scratch.file("a.csv", bytes);
        assert_eq!(
            refusal(&path, &["phone"]),
            format!("`a.csv` looks like {expected}")
        );
    }
}

#[test]
fn nothing_to_read() {
    let scratch = Scratch::new();
    let empty = "`a.csv` is empty: expected a header line and at least one row";
    for content in ["", "\u{FEFF}", "\n\r\n"] {
        assert_eq!(refusal(&scratch.file("a.csv", content), &["phone"]), empty);
    }
    for content in ["phone,tier", "phone,tier\r\n\r\n"] {
        let path = scratch.file("a.csv", content);
        assert_eq!(
            refusal(&path, &["phone"]),
            "`a.csv` has a header but no rows: nothing can be matched"
        );
    }
}

#[test]
fn no_such_file_or_no_file() {
    let scratch = Scratch::new();
    let missing =
        "there is no file `a.csv`: check the path, it is relative to the current directory";
    assert_eq!(refusal(&scratch.path("a.csv"), &["phone"]), missing);
    std::fs::create_dir(scratch.path("a.csv")).unwrap();
    assert_eq!(
        refusal(&scratch.path("a.csv"), &["phone"]),
        "`a.csv` is a directory: name one file in it"
    );
    let other = "`a.xlsx` is not a source: give a file that ends in .csv, .tsv, .txt or .parquet, or a postgres:// \
                 URL with a query";
    assert_eq!(
        refusal(&scratch.path("a.xlsx"), &["phone"])
            .replace(scratch.path("").to_str().unwrap(), ""),
        other
    );
}

#[test]
fn a_file_that_breaks_off_while_it_is_read() {
    struct Broken(usize);
    impl io::Read for Broken {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1 => io::Read::read(&mut b"phone\n1\n".as_slice(), out),
                2 => Err(io::ErrorKind::Interrupted.into()),
                _ => Err(io::Error::other("device gone")),
            }
        }
    }
    let error = CsvReader::open(Box::new(Broken(0)), None, "a.csv".to_owned())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot read `a.csv`: device gone");
}

#[test]
fn a_missing_column_lists_the_others() {
    let scratch = Scratch::new();
    let path = scratch.file("a.csv", "name,Phone\nLi,1\n");
    let expected = "`a.csv` has no column `phone`: it has `name`, `Phone`; upper and lower case differ, did you mean \
                    `Phone`?";
    assert_eq!(refusal(&path, &["phone"]), expected);
    let wide: Vec<String> = (0..40).map(|index| format!("c{index}")).collect();
    let path = scratch.file("a.csv", format!("{}\n", wide.join(",")));
    assert!(refusal(&path, &["phone"]).ends_with("`c28`, `c29`, 10 more"));
}

#[test]
fn a_wrong_delimiter_is_guessed_from_the_header() {
    let scratch = Scratch::new();
    let path = scratch.file("a.csv", "name;phone\nLi;1\n");
    let comma = source(&path)
        .with_delimiter(Delimiter::from_str(",").unwrap())
        .unwrap();
    let message = read_columns(&comma, &["phone"]).unwrap_err().to_string();
    assert!(message.ends_with(
        "has no column `phone`: it has `name;phone`; the delimiter is probably wrong, try `--delimiter ';'`"
    ));
}

#[test]
fn delimiters_are_told_apart_outside_quotes() {
    let scratch = Scratch::new();
    for (delimiter, shown) in [(",", ","), (";", ";"), ("\t", "tab"), ("|", "|")] {
        let path = scratch.file(
            "a.txt",
            format!("\"a;,|\tb;;,,||\t\t\"{delimiter}phone\nLi{delimiter}1\n"),
        );
        assert_eq!(
            read_columns(&source(&path), &["phone"]).unwrap(),
            [good(2, &["1"])]
        );
        assert_eq!(
            detect_delimiter(format!("a{delimiter}b\n,,,;;;").as_bytes()).to_string(),
            shown
        );
    }
    let path = scratch.file("a.csv", "a,b^phone\nLi^1\n");
    let caret = source(&path).with_delimiter("^".parse().unwrap()).unwrap();
    assert_eq!(read_columns(&caret, &["phone"]).unwrap(), [good(2, &["1"])]);
}

#[test]
fn a_delimiter_that_cannot_be_one() {
    for given in ["", "x", "7", "\"", ",,", "\n", "，"] {
        let message = Delimiter::from_str(given).unwrap_err().to_string();
        assert!(
            message.contains("cannot be a delimiter: give one of `,` `;` `|` `tab`"),
            "{message}"
        );
    }
    let error = Source::parse("a.parquet")
        .unwrap()
        .with_delimiter("tab".parse().unwrap())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`a.parquet` takes no delimiter: only text files have one, leave it out"
    );
}

#[test]
fn two_columns_of_one_name() {
    let scratch = Scratch::new();
    let path = scratch.file("a.csv", "phone,tier, phone\n1,high,2\n");
    assert_eq!(
        refusal(&path, &["phone"]),
        "`a.csv` has two columns named `phone`: rename one"
    );
    let path = scratch.file("a.csv", "phone,,\n1,x,y\n");
    assert_eq!(
        read_columns(&source(&path), &["phone"]).unwrap(),
        [good(2, &["1"])]
    );
}

#[test]
fn quoted_cells_hold_delimiters_quotes_and_line_ends() {
    let scratch = Scratch::new();
    let path = scratch.file(
        "a.csv",
        "phone,note\r\n1,\"a,\"\"b\"\"\r\nc\"\r\n2,\"\"\r\n",
    );
    let expected = [good(2, &["1", "a,\"b\"\r\nc"]), good(4, &["2", ""])];
    assert_eq!(
        read_columns(&source(&path), &["phone", "note"]).unwrap(),
        expected
    );
}

#[test]
fn ragged_rows_are_bad_but_not_fatal() {
    let scratch = Scratch::new();
    let path = scratch.file("a.csv", "phone,tier\n1\n2,high\n3,low,more\n");
    let expected = [
        bad(2, "has 1 cells where the header has 2"),
        good(3, &["2"]),
        bad(4, "has 3 cells where the header has 2"),
    ];
    assert_eq!(read_columns(&source(&path), &["phone"]).unwrap(), expected);
}

#[test]
fn a_file_with_only_ragged_rows_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.file("a.csv", "phone,tier\n1;high\n2;low\n");
    let expected = "not one of the 2 rows of `a.csv` can be read: line 2 has 1 cells where the header has 2; is the \
                    delimiter the right one? set it with `--delimiter`";
    assert_eq!(refusal(&path, &["phone"]), expected);
}

#[test]
fn other_encodings_are_named() {
    let scratch = Scratch::new();
    // 城市 in GB18030.
    let path = scratch.file("a.csv", b"phone,\xB3\xC7\xCA\xD0\n1,x\n");
    assert_eq!(
        refusal(&path, &["phone"]),
        "the header of `a.csv` is not UTF-8: convert the file, for one from a Chinese spreadsheet with \
         `iconv -f GB18030 -t UTF-8`"
    );
    let path = scratch.file("a.csv", b"phone,city\n1,\xB3\xC7\n2,x\n");
    let expected = [bad(2, "is not UTF-8"), good(3, &["2", "x"])];
    assert_eq!(
        read_columns(&source(&path), &["phone", "city"]).unwrap(),
        expected
    );
    // A column that is not needed may hold anything.
    assert_eq!(
        read_columns(&source(&path), &["phone"]).unwrap(),
        [good(2, &["1"]), good(3, &["2"])]
    );
    let path = scratch.file("a.csv", b"phone,city\n1,\xB3\xC7\n");
    assert!(refusal(&path, &["city"]).contains("line 2 is not UTF-8; convert the file"));
}

#[test]
fn long_cells_and_rows_are_bounded() {
    let scratch = Scratch::new();
    let fits = "x".repeat(CELL_BYTES_MAX);
    let path = scratch.file("a.csv", format!("phone,note\n1,{fits}\n2,{fits}x\n"));
    let expected = [
        good(2, &["1", &fits]),
        bad(3, "has a cell longer than 65536 bytes"),
    ];
    assert_eq!(
        read_columns(&source(&path), &["phone", "note"]).unwrap(),
        expected
    );

    let rows = "2,low\n".repeat(800_000);
    let path = scratch.file("a.csv", format!("phone,tier\n1,\"high\n{rows}"));
    let expected = "the row that starts on line 2 of `a.csv` is longer than 4194304 bytes: probably a quote that is \
                    never closed";
    assert_eq!(refusal(&path, &["phone"]), expected);
}

#[test]
fn a_quote_open_at_the_end_is_refused() {
    let scratch = Scratch::new();
    for content in [
        "phone,tier\n1,low\n2,\"high\n3,low\n",
        "phone,tier\n1,low\n2,\"",
    ] {
        let path = scratch.file("a.csv", content);
        let expected = "a quote opened in the row that starts on line 3 of `a.csv` is never closed: close it, or export \
                        the file again if it was cut off";
        assert_eq!(refusal(&path, &["phone"]), expected);
    }
    // A quote inside an unquoted cell is only a character.
    let path = scratch.file("a.csv", "phone,size\n1,5\"");
    assert_eq!(
        read_columns(&source(&path), &["size"]).unwrap(),
        [good(2, &["5\""])]
    );
}

#[test]
fn too_many_columns() {
    let scratch = Scratch::new();
    let path = scratch.file("a.csv", ",".repeat(4096));
    let expected = "line 1 of `a.csv` has more than 4096 columns: select the ones that are needed";
    assert_eq!(refusal(&path, &["phone"]), expected);
    let path = scratch.file(
        "a.csv",
        format!("phone{}\n1{}\n", ",".repeat(4095), ",".repeat(4095)),
    );
    assert_eq!(
        read_columns(&source(&path), &["phone"]).unwrap(),
        [good(2, &["1"])]
    );
}

/// A header and so many rows, made as they are read.
struct Synthetic {
    rows_left: u64,
    header: &'static [u8],
}

impl io::Read for Synthetic {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.header.is_empty() {
            return io::Read::read(&mut self.header, out);
        }
        let rows = (out.len() as u64 / 2).min(self.rows_left);
        let bytes = rows as usize * 2;
        for pair in out[..bytes].chunks_exact_mut(2) {
            pair.copy_from_slice(b"1\n");
        }
        self.rows_left -= rows;
        Ok(bytes)
    }
}

fn synthetic(rows: u64) -> Result<u64, SourceError> {
    let input = Box::new(Synthetic {
        rows_left: rows,
        header: b"phone\n",
    });
    let mut rows = Rows::from_csv(CsvReader::open(input, None, "a.csv".to_owned())?)?;
    let mut count = 0;
    while rows.next_row()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[test]
fn the_last_row_is_that_of_the_cap() {
    assert_eq!(synthetic(ROWS_MAX).unwrap(), 16_777_216);
    let expected = "`a.csv` has more than 16777216 rows, the most that one flow takes: split it, or read it by a query \
                    that selects fewer";
    assert_eq!(synthetic(ROWS_MAX + 1).unwrap_err().to_string(), expected);
}

#[test]
fn rows_are_numbered_where_lines_mean_nothing() {
    let text: &[u8] = b"phone\n\"1\n\"\n2\n";
    let reader = CsvReader::open(Box::new(text), None, "db".to_owned())
        .unwrap()
        .without_lines();
    let rows = drain(&mut Rows::from_csv(reader).unwrap(), 1).unwrap();
    assert_eq!(rows, [good(1, &["1\n"]), good(2, &["2"])]);
}

#[test]
fn passwords_are_taken_out_of_messages() {
    assert_eq!(
        redact("bad `postgres://u:p@ss@h/db` and 'https://h/x' and x://u@h"),
        "bad `postgres://u:***@h/db` and 'https://h/x' and x://u:***@h"
    );
}
