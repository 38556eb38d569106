use counterfoil_psi::IdentifierKind;

use super::super::DatasetFile;
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
wealth_tier = "tier"

[[dataset.segments]]
name = "affluent"
where = "wealth_tier >= 3"

[[dataset]]
name = "loans"
source = "postgres://agent:hush-hush@localhost/bank"
sql = "SELECT id FROM loans;"
identifiers = [{ type = "resident_id", column = "id" }]
"#;

#[test]
fn a_good_file_is_read_whole() {
    let file = DatasetFile::parse(GOOD).unwrap();
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
    assert_eq!(customers.tags()["wealth_tier"], "tier");
    let segment = customers.segment("affluent").unwrap();
    assert_eq!(
        (segment.name(), segment.predicate(), segment.line()),
        ("affluent", "wealth_tier >= 3", 16)
    );
    assert!(customers.segment("poor").is_none() && file.dataset("none").is_none());
}

#[test]
fn no_password_in_debug() {
    let shown = format!("{:?}", DatasetFile::parse(GOOD).unwrap());
    assert!(
        shown.contains("postgres://localhost:5432/bank") && !shown.contains("hush"),
        "{shown}"
    );
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let scratch = Scratch::new();
    let path = scratch.file("datasets.toml", GOOD);
    let file = DatasetFile::read(&path).unwrap();
    let expected = scratch.path("customers.csv").display().to_string();
    assert_eq!(file.datasets()[0].source().to_string(), expected);
    assert_eq!(
        file.datasets()[1].source().to_string(),
        "postgres://localhost:5432/bank"
    );
    let error = DatasetFile::read(&scratch.path("none.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot read the datasets"), "{error}");
}

/// The message for the good file with one text replaced.
fn refusal(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    DatasetFile::parse(&GOOD.replacen(from, to, 1))
        .unwrap_err()
        .to_string()
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
            "wealth_tier = \"tier\"",
            "Wealth = \"tier\"",
            "line 12: `Wealth` is not a name: use 1 to 64 of a-z, 0-9, `_` and `-`, beginning with a letter",
        ),
        (
            "\"wealth_tier >= 3\"",
            "\"\"",
            "line 16: `where` is empty: write something there or leave the entry out",
        ),
        (
            "\"loans\"",
            "\"customers\"",
            "line 19: dataset `customers` is there twice: keep one",
        ),
        (
            "sql = \"SELECT id FROM loans;\"",
            "",
            "line 20: a postgres:// source needs a query: add `sql = \"SELECT …\"`",
        ),
        (
            "[{ type = \"resident_id\", column = \"id\" }]",
            "[]",
            "line 22: `identifiers` is empty: add at least one `{ type = \"phone\", column = \"…\" }`",
        ),
    ];
    for (from, to, expected) in cases {
        assert_eq!(refusal(from, to), expected);
    }
}

#[test]
fn unknown_and_missing_keys_and_broken_syntax() {
    let unknown = refusal(
        "wealth_tier = \"tier\"\n",
        "wealth_tier = \"tier\"\n[dataset.extra]\na = 1\n",
    );
    assert!(
        unknown.contains("unknown field `extra`, expected one of `name`, `source`"),
        "{unknown}"
    );
    let missing = refusal("source = \"customers.csv\"\n", "");
    assert!(
        missing.starts_with("line 2: missing field `source`"),
        "{missing}"
    );
    let broken = refusal("name = \"loans\"", "name = loans");
    assert!(broken.starts_with("line 19: "), "{broken}");
}

#[test]
fn a_broken_line_does_not_show_its_password() {
    let unclosed = refusal("localhost/bank\"", "localhost/bank");
    assert!(
        unclosed.starts_with("line 20: ") && !unclosed.contains("hush"),
        "{unclosed}"
    );
    let wrong_type = refusal(
        "identifiers = [{ type = \"resident_id\", column = \"id\" }]",
        "identifiers = \"x://u:hush@h\"",
    );
    assert!(!wrong_type.contains("hush"), "{wrong_type}");
}
