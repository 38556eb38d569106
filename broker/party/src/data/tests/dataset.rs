use counterfoil_policy::tag::Unmapped;
use counterfoil_policy::taxonomy::Library;
use counterfoil_psi::IdentifierKind;

use super::super::{DatasetError, DatasetFile};
use super::Scratch;

const GOOD: &str = r#"
[[dataset]]
name = "customers"
source = "customers.csv"
delimiter = "semicolon"
identifiers = [
    { type = "phone", column = "mobile", default_region = "CN" },
    { type = "email", column = "mail" },
]

[dataset.tags]
wealth_tier = { column = "tier", bands = [{ below = 500000, value = "mass" }, { below = 6e6, value = "affluent" }, { value = "private" }] }
risk_appetite = { column = "risk", values = { "1" = "conservative", "5" = "aggressive" }, null = ["N/A"], empty = "*" }
customer_since = { column = "opened", date = "dd.mm.yyyy" }

[[dataset]]
name = "loans"
source = "postgres://agent:hush-hush@localhost/bank"
sql = "SELECT id FROM loans;"
identifiers = [{ type = "resident_id", column = "id" }]
"#;

fn parse(text: &str) -> Result<DatasetFile, DatasetError> {
    DatasetFile::parse(text, &Library::built_in())
}

#[test]
fn a_good_file_is_read_whole() {
    let file = parse(GOOD).unwrap();
    assert_eq!(file.datasets().len(), 2);
    let customers = file.dataset("customers").unwrap();
    assert_eq!(customers.source().to_string(), "customers.csv");
    assert_eq!(
        customers
            .identifier(IdentifierKind::Phone)
            .unwrap()
            .column(),
        "mobile"
    );
    assert!(
        customers
            .identifier(IdentifierKind::Phone)
            .unwrap()
            .normaliser()
            .normalise("13812345678")
            .is_ok()
    );
    assert!(customers.identifier(IdentifierKind::ResidentId).is_none());
    assert_eq!(customers.tags()["wealth_tier"].column(), "tier");
    assert_eq!(
        customers.taxonomy().reference().to_string(),
        "cn-finance version 1"
    );
    assert!(file.dataset("none").is_none());
}

#[test]
fn cells_become_values_of_the_tag() {
    let file = parse(GOOD).unwrap();
    let tags = file.dataset("customers").unwrap().tags();
    let value = |tag: &str, cell: &str| {
        tags[tag]
            .value(cell)
            .map(|value| value.map(|value| value.into_owned()))
    };
    let some = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(value("wealth_tier", "-1"), some("mass"));
    assert_eq!(value("wealth_tier", "499999.99"), some("mass"));
    assert_eq!(value("wealth_tier", " 500000 "), some("affluent"));
    assert_eq!(value("wealth_tier", "6000000"), some("private"));
    assert_eq!(value("wealth_tier", "much"), Err(Unmapped::NotANumber));
    assert_eq!(value("wealth_tier", " "), Err(Unmapped::Empty));
    assert_eq!(value("risk_appetite", "5"), some("aggressive"));
    assert_eq!(value("risk_appetite", "6"), Err(Unmapped::OutsideDomain));
    // What the dictionary gives is no key of it.
    assert_eq!(
        value("risk_appetite", "aggressive"),
        Err(Unmapped::OutsideDomain)
    );
    assert_eq!(value("risk_appetite", ""), Ok(None));
    assert_eq!(value("risk_appetite", "N/A"), Ok(None));
    assert_eq!(value("customer_since", "31.12.2019"), some("2019-12-31"));
    assert_eq!(
        value("customer_since", "2019-12-31"),
        Err(Unmapped::NotADate)
    );
    assert_eq!(value("customer_since", "31.12.19"), Err(Unmapped::NotADate));
}

#[test]
fn dates_are_read_in_the_form_that_the_mapping_names() {
    let read = |form: &str, cell: &str| {
        let file = parse(&GOOD.replace("dd.mm.yyyy", form)).unwrap();
        let mapping = &file.dataset("customers").unwrap().tags()["customer_since"];
        let told = mapping.value(cell).map(|value| value.unwrap().into_owned());
        told.ok()
    };
    for (form, cell) in [
        ("yyyy-mm-dd", "2024-3-5"),
        ("yyyy/mm/dd", "2024/03/05"),
        ("yyyy.mm.dd", "2024.3.05"),
        ("yyyymmdd", "20240305"),
        ("dd/mm/yyyy", "5/3/2024"),
        ("dd.mm.yyyy", "05.3.2024"),
        ("mm/dd/yyyy", "3/5/2024"),
        ("yyyy年mm月dd日", "2024年3月5日"),
        ("yyyy年mm月dd日", "2024年03月05日"),
    ] {
        assert_eq!(read(form, cell).as_deref(), Some("2024-03-05"), "{cell}");
    }
    for (form, cell) in [
        ("yyyymmdd", "2024035"),
        ("yyyymmdd", "202403051"),
        ("yyyy/mm/dd", "24/3/5"),
        ("yyyy/mm/dd", "2024//5"),
        ("yyyy/mm/dd", "2024/003/5"),
        ("yyyy/mm/dd", "2024/3/5 12:00"),
        ("dd.mm.yyyy", "5/3/2024"),
        ("yyyy年mm月dd日", "2024年3月5"),
        ("yyyy年mm月dd日", "２０２４年3月5日"),
    ] {
        assert_eq!(read(form, cell), None, "{form} {cell}");
    }
}

#[test]
fn a_cell_in_chinese_is_a_key_in_quotes() {
    let text = GOOD.replace("\"5\" = ", "激进 = ");
    assert_ne!(text, GOOD);
    let error = parse(&text).unwrap_err().to_string();
    assert!(error.contains("put it in quotes"), "{error}");
}

#[test]
fn no_password_in_debug() {
    let shown = format!("{:?}", parse(GOOD).unwrap());
    assert!(
        shown.contains("postgres://localhost:5432/bank") && !shown.contains("hush"),
        "{shown}"
    );
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let scratch = Scratch::new();
    let path = scratch.file("datasets.toml", GOOD);
    let file = DatasetFile::read(&path, &Library::built_in()).unwrap();
    let expected = scratch.path("customers.csv").display().to_string();
    assert_eq!(file.datasets()[0].source().to_string(), expected);
    assert_eq!(
        file.datasets()[1].source().to_string(),
        "postgres://localhost:5432/bank"
    );
    let error = DatasetFile::read(&scratch.path("none.toml"), &Library::built_in())
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot read the datasets"), "{error}");
}

/// The message for the good file with one text replaced.
fn refusal(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn every_fault_names_its_line_and_what_would_pass() {
    let cases = [
        (
            "source = \"customers.csv\"",
            "source = \"customers.xlsx\"",
            "line 4: `customers.xlsx` is not a source: give a \
          file that ends in .csv, .tsv, .txt or .parquet, or a postgres:// URL with a query",
        ),
        (
            "\"semicolon\"",
            "\"x\"",
            "line 5: `x` cannot be a delimiter: give one of `,` `;` `|` `tab` or another \
          punctuation mark",
        ),
        (
            "\"phone\"",
            "\"fax\"",
            "line 7: unknown identifier kind `fax`; use `phone`, `resident_id` or `email`",
        ),
        (
            "\"CN\"",
            "\"China\"",
            "line 7: unknown region `China`; use a two-letter ISO 3166 code such as `CN`, `DE` or `US`",
        ),
        (
            "column = \"mail\"",
            "column = \"mail\", default_region = \"CN\"",
            "line 8: only phones have a default region: leave it out for `email`",
        ),
        (
            "\"email\"",
            "\"phone\"",
            "line 8: identifier type `phone` is there twice: keep one",
        ),
        (
            "\"mail\"",
            "\" \"",
            "line 8: `column` is empty: write something there or leave the entry out",
        ),
        (
            "wealth_tier = ",
            "welth_tier = ",
            "line 12: `welth_tier` is not a tag of cn-finance version 1, so it is not classified: `counterfoil taxonomy \
          show` lists its tags",
        ),
        (
            "wealth_tier = ",
            "biometric = ",
            "line 12: `biometric` is of class C3 (authentication data), which never leaves its institution: take it out",
        ),
        (
            "below = 6e6",
            "below = 400000",
            "line 12: bands overlap: give ascending `below`, and `below` in all but the last",
        ),
        (
            "below = 500000, ",
            "",
            "line 12: bands overlap: give ascending `below`, and `below` in all but the last",
        ),
        (
            "500000",
            "true",
            "line 12: `below` is not a decimal number: give one like 500000 or 0.5",
        ),
        (
            "\"mass\"",
            "\"poor\"",
            "line 12: `poor` is no value of tag `wealth_tier`: give one of `mass`, `affluent`, `wealthy`, `private`",
        ),
        (
            "\"conservative\"",
            "\"timid\"",
            "line 13: `timid` is no value of tag `risk_appetite`: give one of `conservative`, `cautious`, `balanced`, \
          `growth`, `aggressive`",
        ),
        (
            "empty = \"*\"",
            "empty = \"none\"",
            "line 13: `none` is no value of tag `risk_appetite`: give one of `conservative`, `cautious`, `balanced`, \
          `growth`, `aggressive`",
        ),
        (
            "null = [\"N/A\"]",
            "date = \"yyyy-mm-dd\"",
            "line 13: a tag has one of `values`, `bands` and `date`: keep one",
        ),
        (
            "dd.mm.yyyy",
            "d.m.yy",
            "line 14: this is not a form of dates, or the tag is none: give one of yyyy-mm-dd, yyyy/mm/dd, yyyy.mm.dd, \
          yyyymmdd, dd/mm/yyyy, dd.mm.yyyy, mm/dd/yyyy, yyyy年mm月dd日",
        ),
        (
            "column = \"opened\"",
            "column = \" \"",
            "line 14: `column` is empty: write something there or leave the entry out",
        ),
        (
            "delimiter = ",
            "taxonomy = { name = \"cn-finance\", version = 9 }\ndelimiter = ",
            "line 5: taxonomy `cn-finance` version 9 is not here: give version 9 of taxonomy `cn-finance`; the highest here \
          is 1",
        ),
        (
            "\"loans\"",
            "\"customers\"",
            "line 17: dataset `customers` is there twice: keep one",
        ),
        (
            "sql = \"SELECT id FROM loans;\"",
            "",
            "line 18: a postgres:// source needs a query: add `sql = \"SELECT …\"`",
        ),
        (
            "[{ type = \"resident_id\", column = \"id\" }]",
            "[]",
            "line 20: `identifiers` is empty: add at least one `{ type = \"phone\", column = \"…\" }`",
        ),
    ];
    for (from, to, expected) in cases {
        assert_eq!(refusal(from, to), expected);
    }
}

#[test]
fn unknown_and_missing_keys_and_broken_syntax() {
    let unknown = refusal(
        "date = \"dd.mm.yyyy\" }\n",
        "date = \"dd.mm.yyyy\" }\n[dataset.extra]\na = 1\n",
    );
    assert!(
        unknown.contains("unknown field `extra`, expected one of `name`, `taxonomy`, `source`"),
        "{unknown}"
    );
    let missing = refusal("source = \"customers.csv\"\n", "");
    assert!(
        missing.starts_with("line 2: missing field `source`"),
        "{missing}"
    );
    let broken = refusal("name = \"loans\"", "name = loans");
    assert!(broken.starts_with("line 17: "), "{broken}");
}

#[test]
fn a_broken_line_does_not_show_its_password() {
    let unclosed = refusal("localhost/bank\"", "localhost/bank");
    assert!(
        unclosed.starts_with("line 18: ") && !unclosed.contains("hush"),
        "{unclosed}"
    );
    let wrong_type = refusal(
        "identifiers = [{ type = \"resident_id\", column = \"id\" }]",
        "identifiers = \"x://u:hush@h\"",
    );
    assert!(!wrong_type.contains("hush"), "{wrong_type}");
}
