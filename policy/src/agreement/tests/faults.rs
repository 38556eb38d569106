//! Agreements that must fail, and what is said of them.

use super::*;

#[test]
fn every_fault_is_named_with_its_line_path_and_what_would_pass() {
    let cases = [
        (
            "version_of_format = 2",
            "version_of_format = 1",
            "version_of_format",
            "2 to 2",
        ),
        ("id = \"north", "id = \"North", "id", "a-z"),
        ("\nversion = 1", "\nversion = 0", "version", "from 1"),
        (
            "\"marketing_suitability\"\n",
            "\"marketing\"\n",
            "purpose",
            "marketing_suitability",
        ),
        ("\"consent\"\n", "\"because\"\n", "legal_basis", "contract"),
        (
            "2026-12-31",
            "2025-12-31",
            "valid_until",
            "2026-01-01 or later",
        ),
        (
            "valid_from = 2026-01-01",
            "valid_from = 2026-01-01T00:00:00Z",
            "valid_from",
            "2026-11-23",
        ),
        ("[\"exchange\"]", "[\"refer\"]", "flows[0]", "exchange"),
        ("[\"exchange\"]", "[]", "flows", "1 to 2"),
        ("\"dh\"", "\"ecdh\"", "protocol", "vole"),
        ("\nk = 10", "\nk = 1", "k", "from 2"),
        (
            "minimum_match = 50",
            "minimum_match = 9",
            "minimum_match",
            "10 or more",
        ),
        (
            "minimum_match = 50",
            "minimum_match = 100001",
            "minimum_match",
            "at most",
        ),
        (
            "default_region = \"CN\"",
            "default_region = \"cn\"",
            "identifiers[0].default_region",
            "capital",
        ),
        (
            "\"resident_id\", rules = 1",
            "\"email\", rules = 1",
            "identifiers[2]",
            "each once",
        ),
        (
            "\"resident_id\", rules = 1",
            "\"email\", rules = 1, default_region = \"CN\"",
            "identifiers[1].default_region",
            "only phone",
        ),
        (
            "name = \"cn-finance\"",
            "name = \"cn-funance\"",
            "taxonomy",
            "cn-finance version 1",
        ),
        (
            "name = \"cn-finance\"\nversion = 1",
            "name = \"cn-finance\"\nversion = 2",
            "taxonomy",
            "the highest here is 1",
        ),
        (
            "name = \"cn-finance\"",
            "name = \"cn-finance\"\ndigest = \"0000000000000000000000000000000000000000000000000000000000000000\"",
            "taxonomy.digest",
            "",
        ),
        (
            "name = \"housing\"",
            "name = \"house\"",
            "tags[3].name",
            "housing",
        ),
        (
            "name = \"housing\"",
            "name = \"password\"",
            "tags[3]",
            "no agreement can allow it",
        ),
        (
            "name = \"housing\"",
            "name = \"housing\"\nclass = \"C1\"",
            "tags[3].class",
            "one of name, form, level, levels, bands",
        ),
        ("level = 1", "level = 3", "tags[0].level", "1 to 2"),
        (
            "level = 1",
            "levels = [{ conservative = \"a\", cautious = \"b\", balanced = \"c\", growth = \"d\", aggressive = \"d\" }] #",
            "tags[0].levels[0]",
            "split none",
        ),
        (
            "level = 1",
            "levels = [{ conservative = \"a\" }] #",
            "tags[0].levels[0]",
            "parent",
        ),
        (
            "age_band\"\nform = \"banded\"",
            "age_band\"\nform = \"banded\"\nbands = [[30]]",
            "tags[1].bands[0]",
            "split none",
        ),
        (
            "name = \"housing\"",
            "name = \"age_band\"",
            "tags[3]",
            "each once",
        ),
        (
            "age_band\"\nform = \"banded\"",
            "age_band\"\nform = \"banded\"\nbands = [[45, 35]]",
            "tags[1].bands[0]",
            "greater",
        ),
        (
            "years_as_customer >= 2",
            "years_as_customer >= '2'",
            "segments[0].where",
            "without quotes",
        ),
        (
            "'dormant'",
            "'sleeping'",
            "segments[0].where",
            "'active', 'dormant', 'closed'",
        ),
        (
            "customer_status in ('active', 'dormant')",
            "customer_status > 'active'",
            "segments[0].where",
            "use =, != or in",
        ),
        (
            "years_as_customer >= 2 and",
            "tenure >= 2 and",
            "segments[0].where",
            "use one of",
        ),
        (
            "customer_status in",
            "wealth_tier = 'mass' or customer_status in",
            "segments[0].where",
            "list `wealth_tier` under `segment_tags`",
        ),
        (
            ", \"customer_status\"]",
            ", \"customer_status\", \"wealth_tier\"]",
            "segment_tags[2]",
            "exactly the tags",
        ),
        (
            ", \"customer_status\"]",
            ", \"customer_status\", \"biometric\"]",
            "segment_tags[2]",
            "no agreement can allow it",
        ),
        (
            ", \"customer_status\"]",
            ", \"customer_status\", \"housing\"]",
            "segment_tags[2]",
            "not delivered",
        ),
        (
            "rows_per_flow = 100000 ",
            "rows_per_flow = 16777217 ",
            "caps.rows_per_flow",
            "16777216",
        ),
        (
            "rows_per_flow = 100000 ",
            "rows_per_flow = 600000 ",
            "caps.identifiers_per_period",
            "600000 or more",
        ),
        (
            "audit_years = 7",
            "audit_years = 2",
            "retention.audit_years",
            "from 3",
        ),
        (
            "name = \"east-life\"",
            "name = \"north-bank\"",
            "recipient",
            "two institutions",
        ),
        (
            "flows_per_period = 12",
            "flows_per_periods = 12",
            "caps.flows_per_periods",
            "flows_per_period",
        ),
        (
            "flows_per_period = 12",
            "flows_per_period = \"12\"",
            "caps.flows_per_period",
            "whole number",
        ),
        ("dataset = ", "data_set = ", "dataset", "give `dataset`"),
    ];
    for (from, to, path, would_pass) in cases {
        let findings = changed(from, to).expect_err(to);
        let hit = findings
            .iter()
            .find(|finding| finding.path == path && finding.would_pass.contains(would_pass));
        assert!(hit.is_some(), "{to}:\n{findings}");
    }
}

#[test]
fn lines_are_those_of_the_text() {
    for (needle, from, to) in [
        ("name = \"housing\"", "\"housing\"", "\"house\""),
        ("where = ", "'dormant'", "'sleeping'"),
        ("level = 1 ", "level = 1 ", "level = 9 "),
        (
            "segment_tags = ",
            "[\"years_as",
            "[\"password\", \"years_as",
        ),
    ] {
        let findings = changed(from, to).unwrap_err();
        let lines: Vec<_> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines.first(), Some(&Some(line_of(needle))), "{findings}");
    }
    let findings = changed("[retention]", "[retention]\nkeep = 1").unwrap_err();
    assert_eq!(
        findings.iter().next().unwrap().line,
        Some(line_of("[retention]") + 1)
    );
}

#[test]
fn several_faults_are_reported_at_once() {
    let text = sample_text()
        .replace("k = 10 ", "k = 1 ")
        .replace("\"dh\"", "\"ecdh\"")
        .replace("form = \"banded\"", "form = \"level\"")
        .replace("deletion_days", "deletion_dayz");
    let findings = Agreement::parse(&text).unwrap_err();
    // k, protocol, two forms, an unknown and a missing key.
    assert_eq!(findings.iter().count(), 6, "{findings}");
    assert!(findings.iter().is_sorted_by_key(|finding| finding.line));
}

#[test]
fn syntax_errors_have_lines_too() {
    let findings = changed("protocol = \"dh\"", "protocol = \"dh").unwrap_err();
    assert_eq!(
        findings.iter().next().unwrap().line,
        Some(line_of("protocol"))
    );
    assert!(Agreement::parse(&" ".repeat(TEXT_BYTES_MAX + 1)).is_err());
}

#[test]
fn same_keys_on_both_sides_must_fail() {
    let text = template(
        &party("north-bank", 1),
        &party("east-life", 1),
        date!(2026 - 01 - 01),
    );
    let shown = Agreement::parse(&text).unwrap_err().to_string();
    assert!(
        shown.contains("`signing_key`") && shown.contains("`noise_key`"),
        "{shown}"
    );
}

#[test]
fn an_agreement_too_large_for_the_log_must_fail() {
    let values: Vec<_> = (0..1000).map(|i| format!("\"{i:0>60}\"")).collect();
    let own = format!(
        "version_of_format = 1\nname = \"wide\"\nversion = 1\n[[tags]]\nname = \"wide\"\nmeaning = \"Wide.\"\n\
         subject = \"person\"\nkind = \"categorical\"\nclass = \"C1\"\nsecurity_level = 1\nvalues = [{}]\n",
        values.join(",")
    );
    let library = Library::load(&[("wide.toml", &own)]).unwrap();
    let text = sample_text();
    let (head, _) = text.split_once("[taxonomy]").unwrap();
    let (_, tail) = text.split_once("[caps]").unwrap();
    let (tail, _) = tail.split_once("[consent]").unwrap();
    let head = head.replace("segment_tags = ", "# ");
    let text = format!(
        "{head}[taxonomy]\nname = \"wide\"\nversion = 1\n[[tags]]\nname = \"wide\"\nform = \"exact\"\n[caps]{tail}"
    );
    let findings = Agreement::parse_with(&text, &library).unwrap_err();
    assert!(findings.to_string().contains("32768"), "{findings}");
}
