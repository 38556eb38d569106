use std::fs;

use super::*;

const TABLE: &str = "phone;city\n13800000001;M\u{fc}nchen\n13800000002;K\u{f6}ln\n";

fn read(name: &str, bytes: &[u8]) -> Result<LeakedFile> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    LeakedFile::read(&path)
}

fn cities(file: &LeakedFile) -> Vec<&str> {
    file.cells[1].iter().map(AsRef::as_ref).collect()
}

#[test]
fn text_is_read_whatever_its_encoding_delimiter_and_name() {
    let (latin, ..) = encoding_rs::WINDOWS_1252.encode(TABLE);
    let utf16: Vec<u8> = [0xFF, 0xFE]
        .into_iter()
        .chain(TABLE.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    let marked = [&[0xEF, 0xBB, 0xBF], TABLE.as_bytes()].concat();
    let tabs = TABLE.replace(';', "\t");
    for (name, bytes) in [
        ("a.csv", TABLE.as_bytes()),
        ("a.dat", &latin),
        ("leak", &utf16),
        ("b.csv", &marked),
        ("b.xlsx", tabs.as_bytes()),
    ] {
        let file = read(name, bytes).unwrap();
        assert_eq!(file.columns, ["phone", "city"], "{name}");
        assert_eq!(cities(&file), ["M\u{fc}nchen", "K\u{f6}ln"], "{name}");
        assert_eq!((file.rows, file.taken()), (2, 2));
        assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(bytes)));
    }
}

#[test]
fn chinese_text_in_gb18030_is_read() {
    let text = "\u{624b}\u{673a},\u{57ce}\u{5e02}\n".to_owned()
        + &"13800000001,\u{5317}\u{4eac}\n13800000002,\u{4e0a}\u{6d77}\u{6d66}\u{4e1c}\u{65b0}\u{533a}\n".repeat(20);
    let (bytes, ..) = encoding_rs::GB18030.encode(&text);
    let file = read("leak.csv", &bytes).unwrap();
    assert_eq!(file.columns[0], "\u{624b}\u{673a}");
    assert_eq!(cities(&file)[0], "\u{5317}\u{4eac}");
}

#[test]
fn what_is_no_table_is_refused() {
    assert!(read("a.xlsx", b"PK\x03\x04 and nothing more").is_err());
    assert!(read("a.csv", b"").is_err());
    assert!(read("a.parquet", b"PAR1 and nothing more").is_err());
}

const SHEET: &str = r#"<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>
<row r="1"><c r="A1" t="inlineStr"><is><t>phone</t></is></c><c r="B1" t="inlineStr"><is><t>score, new</t></is></c></row>
<row r="2"><c r="A2"><v>13800000001</v></c><c r="B2"><v>612</v></c></row>
<row r="3"><c r="A3" t="inlineStr"><is><t>138 0000 0002</t></is></c><c r="B3"><v>0.5</v></c></row>
</sheetData></worksheet>"#;

/// The least that a workbook is (ECMA-376).
fn workbook() -> Vec<u8> {
    use std::io::Write as _;
    let parts = [
        (
            "[Content_Types].xml",
            r#"<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>"#,
        ),
        (
            "_rels/.rels",
            r#"<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#,
        ),
        (
            "xl/workbook.xml",
            r#"<?xml version="1.0"?><workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="one" sheetId="1" r:id="r1"/></sheets></workbook>"#,
        ),
        (
            "xl/_rels/workbook.xml.rels",
            r#"<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#,
        ),
        ("xl/worksheets/sheet1.xml", SHEET),
    ];
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, text) in parts {
        archive.start_file(name, stored).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn a_workbook_is_read_whatever_its_name() {
    for name in ["a.xlsx", "leak.csv"] {
        let file = read(name, &workbook()).unwrap();
        assert_eq!(file.columns, ["phone", "score, new"]);
        let phones: Vec<&str> = file.cells[0].iter().map(AsRef::as_ref).collect();
        assert_eq!(phones, ["13800000001", "138 0000 0002"]);
        assert_eq!(cities(&file), ["612", "0.5"]);
    }
}
