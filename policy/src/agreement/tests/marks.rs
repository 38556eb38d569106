//! The section `[marks]`.

use super::*;

const MARKS: &str = r#"
[marks]
budget = 0.02
rows_min = 10000
tags = { risk_appetite = {}, age_band = {}, housing = { swaps = [["own", "rent"]] } }
"#;

/// The sample with marks, in which one piece is replaced, of the marks if they have it.
fn marked(from: &str, to: &str) -> Result<Agreement, Findings> {
    let (text, marks) = (sample_text(), MARKS);
    assert!(
        text.contains(from) || marks.contains(from),
        "the sample has no {from}"
    );
    if marks.contains(from) {
        return Agreement::parse(&(text + &marks.replacen(from, to, 1)));
    }
    Agreement::parse(&(text.replacen(from, to, 1) + marks))
}

#[test]
fn what_is_left_out_is_signed_with_its_default_and_read_back() {
    let agreement = marked("k = 10", "k = 10").unwrap();
    let spelled = marked(
        "budget = 0.02",
        "budget = \"0.020\"\ntag_bits = 16\nepoch = 1",
    )
    .unwrap();
    assert_eq!(agreement.digest(), spelled.digest());
    let again = Agreement::from_canonical(agreement.canonical_bytes()).unwrap();
    assert_eq!(again, agreement);
    let marks = again.marks().unwrap();
    assert_eq!(marks.name(), "north-bank/customers/1/16/2065");
    let columns = marks.lineage().columns().iter().map(|column| column.name());
    assert_eq!(
        columns.collect::<Vec<_>>(),
        ["age_band", "housing", "risk_appetite"]
    );
    assert!(sample().marks().is_none() && sample().mark_reach().is_none());
}

#[test]
fn every_term_of_the_marks_is_signed() {
    let before = marked("k = 10", "k = 10").unwrap();
    for (from, to) in [
        ("budget = 0.02", "budget = 0.03"),
        ("rows_min = 10000", "rows_min = 10001"),
        ("rows_min = 10000", "rows_min = 10000\ntag_bits = 17"),
        ("rows_min = 10000", "rows_min = 10000\nepoch = 2"),
        ("risk_appetite = {}, ", ""),
        (
            "rows_min = 10000",
            "rows_min = 10000\nreference_codes = true",
        ),
        ("[\"own\", \"rent\"]", "[\"own\", \"for free\"]"),
        (
            "[[\"own\", \"rent\"]]",
            "[[\"own\", \"rent\"]], weights = [7, 3, 1]",
        ),
    ] {
        let after = marked(from, to).unwrap();
        assert_ne!(before.digest(), after.digest(), "{to}");
        assert_eq!(
            Agreement::from_canonical(after.canonical_bytes()).unwrap(),
            after
        );
    }
}

/// One name is one set of keys, so it names all that must be the same for cells to be comparable, and no more.
#[test]
fn agreements_of_one_lineage_select_the_same_cells() {
    let name = |from: &str, to: &str| marked(from, to).unwrap().marks().unwrap().name().to_owned();
    let sample = name("k = 10", "k = 10");
    for (from, to) in [
        ("budget = 0.02", "budget = 0.03"),
        ("rows_min = 10000", "rows_min = 20000"),
        ("rows_min = 10000", "rows_min = 10000\ntag_bits = 17"),
        ("rows_min = 10000", "rows_min = 10000\nepoch = 2"),
    ] {
        assert_ne!(name(from, to), sample, "{to}");
    }
    for (from, to) in [("risk_appetite = {}, ", ""), ("k = 10", "k = 20")] {
        assert_eq!(name(from, to), sample, "{to}");
    }
}

/// By how frequent values are the marks leave out moves to rare ones, and so the recipients of one lineage agree on it.
#[test]
fn weights_are_part_of_the_form() {
    let housing = |weights: &str| {
        let swaps = "swaps = [[\"own\", \"rent\"]]";
        marked(swaps, &format!("{swaps}{weights}"))
    };
    let form = |agreement: &Agreement| {
        let columns = agreement.marks().unwrap().lineage().columns();
        let housing = columns.iter().find(|column| column.name() == "housing");
        format!("{:?}", housing.unwrap().form())
    };
    let plain = housing("").unwrap();
    let weighted = housing(", weights = [90, 3, 7]").unwrap();
    assert_ne!(form(&plain), form(&weighted));
    let unweighted = |agreement: &Agreement| agreement.mark_reach().unwrap().unweighted;
    assert_eq!(unweighted(&plain), ["age_band", "housing", "risk_appetite"]);
    assert_eq!(unweighted(&weighted), ["age_band", "risk_appetite"]);
    for (weights, says) in [
        (", weights = [1, 2]", "one number for each value"),
        (", weights = [0, 0, 0]", "one number for each value"),
        (", weights = [1, 2, -3]", "0 to 1000000000"),
    ] {
        let refused = housing(weights).unwrap_err().to_string();
        assert!(
            refused.contains("marks.tags.housing") && refused.contains(says),
            "{refused}"
        );
    }
}

/// What two recipients together could take away is said before it is signed.
#[test]
fn marks_that_undo_each_other_are_advised_against() {
    let id = format!("id = \"{}\"", sample().id());
    let other = "id = \"another\"";
    let advice = |beside: Result<Agreement, Findings>| -> Vec<String> {
        let own = marked("k = 10", "k = 10").unwrap();
        let beside = [beside.unwrap()];
        let advice = crate::agreement::lint_beside(&own, &beside).into_iter();
        advice
            .map(|advice| format!("{}: {}", advice.path, advice.advice))
            .collect()
    };
    let beside = |from: &str, to: &str| {
        let text = sample_text().replacen(&id, other, 1);
        Agreement::parse(&(text + &MARKS.replacen(from, to, 1)))
    };
    assert_eq!(advice(beside("risk_appetite = {}, ", "")), [""; 0]);
    let budget = advice(beside("budget = 0.02", "budget = 0.03"));
    assert!(
        budget[0].starts_with("marks: ") && budget[0].contains("agree on"),
        "{budget:?}"
    );
    // The same agreement's next version: the recipient would have both deliveries.
    let earlier = advice(marked("budget = 0.02", "budget = 0.03"));
    assert!(
        earlier.len() == 1 && earlier[0].contains("version 1"),
        "{earlier:?}"
    );
    let without = advice(Agreement::parse(&sample_text().replacen(&id, other, 1)));
    assert!(
        without[0].contains("`age_band` without marks"),
        "{without:?}"
    );
}

/// Codes are for deliveries in which nothing can be marked, too.
#[test]
fn codes_need_no_tag_that_carries_marks() {
    let tags =
        "tags = { risk_appetite = {}, age_band = {}, housing = { swaps = [[\"own\", \"rent\"]] } }";
    assert!(marked(tags, "tags = {}").is_err());
    let coded = marked(tags, "tags = {}\nreference_codes = true").unwrap();
    let marks = coded.marks().unwrap();
    assert!(marks.reference_codes() && marks.lineage().columns().is_empty());
    assert!(coded.mark_bits(&["housing".parse().unwrap()]).is_none());
    let plain = marked(tags, tags).unwrap();
    assert!(!plain.marks().unwrap().reference_codes());
    assert!(plain.mark_bits(&["housing".parse().unwrap()]).is_some());
    assert!(
        plain
            .mark_bits(&["credit_amount".parse().unwrap()])
            .is_none()
    );
}

#[test]
fn a_tag_by_which_a_segment_chooses_carries_no_marks() {
    let chosen = "where = \"age_band >= 35 and years_as_customer >= 2";
    let refused = marked("where = \"years_as_customer >= 2", chosen).unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains("marks.tags.age_band") && said.contains("segment `established`"),
        "{said}"
    );
}

#[test]
fn marks_stay_within_the_bounds_of_their_tag() {
    let score = |more: &str| {
        let text = sample_text().replacen(
            "[[segments]]",
            "[[tags]]\nname = \"credit_score\"\nform = \"exact\"\n\n[[segments]]",
            1,
        );
        let text = text.replace(
            "housing = \"profile\"",
            "housing = \"profile\", credit_score = \"credit\"",
        );
        Agreement::parse(&format!(
            "{text}\n[marks]\nbudget = 0.02\nrows_min = 10000\ntags = {{ credit_score = {{ {more} }} }}\n"
        ))
    };
    let form = |agreement: &Agreement| {
        let lineage = agreement.marks().unwrap().lineage();
        format!("{:?}", lineage.columns()[0].form())
    };
    let bounded = form(&score("").unwrap());
    assert_eq!(bounded, form(&score("range = [0, 1000]").unwrap()));
    assert_ne!(bounded, form(&score("range = [0, 850]").unwrap()));
    let beyond = score("range = [0, 1001]").unwrap_err().to_string();
    assert!(beyond.contains("0 to 1000"), "{beyond}");
}

#[test]
fn marks_that_cannot_be_made_are_refused_where_they_stand() {
    let lines = (sample_text() + MARKS).lines().count();
    let last = u32::try_from(lines).unwrap();
    let cases = [
        ("budget = 0.02", "budget = 0.6", "marks.budget", "0.5"),
        ("budget = 0.02", "budget = 0", "marks.budget", "0.000001"),
        ("budget = 0.02", "budget = 0.0000001", "marks.budget", "six"),
        (
            "rows_min = 10000",
            "rows_min = 100",
            "marks.budget",
            "larger",
        ),
        (
            "rows_min = 10000",
            "rows_min = 0",
            "marks.rows_min",
            "from 1",
        ),
        (
            "rows_min = 10000",
            "rows_min = 9\ntag_bits = 11",
            "marks.tag_bits",
            "12",
        ),
        (
            "rows_min = 10000",
            "rows_min = 9\ntag_bits = 33",
            "marks.tag_bits",
            "32",
        ),
        (
            "rows_min = 10000",
            "rows_min = 9\ncanaries = 1",
            "marks.canaries",
            "epoch",
        ),
        (
            "risk_appetite = {}",
            "risk = {}",
            "marks.tags.risk",
            "names",
        ),
        (
            "risk_appetite = {}",
            "years_as_customer = {}",
            "marks.tags.years_as_customer",
            "names",
        ),
        (
            "risk_appetite = {}",
            "risk_appetite = { tolerance = 1 }",
            "marks.tags.risk_appetite",
            "neither",
        ),
        (
            "age_band = {}",
            "age_band = { range = [1, 2] }",
            "marks.tags.age_band",
            "neither",
        ),
        (
            "age_band = {}",
            "age_band = { swaps = [[\"a\", \"b\"]] }",
            "marks.tags.age_band",
            "swaps",
        ),
        (
            "age_band = {}",
            "age_band = { step = 1 }",
            "marks.tags.age_band.step",
            "tolerance",
        ),
        (
            "{ swaps = [[\"own\", \"rent\"]] }",
            "{}",
            "marks.tags.housing",
            "swaps",
        ),
        ("\"rent\"]", "\"tent\"]", "marks.tags.housing", "rent"),
        ("\"rent\"]", "\"own\"]", "marks.tags.housing", "sentence"),
        (
            "[[\"own\", \"rent\"]]",
            "[[\"own\", \"rent\"], [\"rent\", \"for free\"], [\"for free\", \"own\"]]",
            "marks.tags.housing",
            "odd",
        ),
        (
            "\"rent\"]",
            "\"rent\", \"for free\"]",
            "marks.tags.housing.swaps[0]",
            "2 to 2",
        ),
    ];
    for (from, to, path, would_pass) in cases {
        let findings = marked(from, to).unwrap_err();
        let found = findings.iter().find(|finding| finding.path == path);
        let found = found.unwrap_or_else(|| panic!("{to}: {findings}"));
        assert!(found.would_pass.contains(would_pass), "{to}: {found}");
        let added = to.matches('\n').count() - from.matches('\n').count();
        let line = found.line.unwrap();
        assert!(line > last - 4, "{to}: line {line}");
        assert!(
            line <= last + u32::try_from(added).unwrap(),
            "{to}: line {line}"
        );
    }
    let none = marked(
        "{ risk_appetite = {}, age_band = {}, housing = { swaps = [[\"own\", \"rent\"]] } }",
        "{}",
    );
    assert!(
        none.unwrap_err()
            .to_string()
            .contains("no tag carries marks")
    );
}

#[test]
fn exact_numbers_move_by_the_agreements_tolerance_or_the_taxonomys() {
    let exact = |marks: &str| {
        let text = sample_text().replacen(
            "name = \"credit_amount\"\nform = \"banded\"",
            "name = \"credit_amount\"\nform = \"exact\"",
            1,
        );
        let tags = format!("tags = {{ credit_amount = {marks} }}\n");
        Agreement::parse(&format!(
            "{text}\n[marks]\nbudget = 0.02\nrows_min = 10000\n{tags}"
        ))
    };
    // The taxonomy gives amounts no tolerance.
    assert!(exact("{}").unwrap_err().to_string().contains("tolerance"));
    assert!(exact("{ tolerance = 0 }").is_err() && exact("{ tolerance = -1 }").is_err());
    assert!(exact("{ tolerance = 100, range = [0, 1] }").is_err());
    let agreement = exact("{ tolerance = 100 }").unwrap();
    assert!(
        agreement.marks().unwrap().lineage().columns()[0]
            .form()
            .has_tolerance()
    );
    assert_eq!(
        Agreement::from_canonical(agreement.canonical_bytes()).unwrap(),
        agreement
    );
}

#[test]
fn reach_grows_with_what_the_agreement_gives_the_marks() {
    let reach = |from: &str, to: &str| marked(from, to).unwrap().mark_reach().unwrap();
    let usual = reach("k = 10", "k = 10");
    assert_eq!(usual.tag_bits, 16);
    assert!(usual.rows_by_colluders.is_sorted() && !usual.rows_by_colluders.is_empty());
    assert_eq!(
        usual.largest_flow.rows_needed,
        usual.rows_by_colluders.first().copied()
    );
    let larger = reach("budget = 0.02", "budget = 0.05");
    assert!(larger.rows_by_colluders[0] < usual.rows_by_colluders[0]);
    let wider = reach("rows_min = 10000", "rows_min = 10000\ntag_bits = 24");
    assert!(wider.rows_by_colluders.len() > usual.rows_by_colluders.len());
    let small = reach("rows_per_flow = 100000 ", "rows_per_flow = 100 ");
    assert_eq!(small.largest_flow.rows_needed, None);
    assert_eq!(small.largest_flow.colluders_max, 0);
}

#[test]
fn a_flow_that_asks_for_fewer_tags_carries_fewer_marks() {
    let agreement = marked("k = 10", "k = 10").unwrap();
    let marks = agreement.marks().unwrap();
    let asked = ["housing".parse().unwrap()];
    let columns = marks.lineage_of(&asked);
    assert_eq!(columns.columns().len(), 1);
    assert!(marks.lineage_of(&[]).columns().is_empty());
}

#[test]
fn the_templates_own_section_works_once_its_comment_is_taken_away() {
    let text = sample_text();
    let begin = text.find("# [marks]").unwrap();
    let (before, rest) = text.split_at(begin);
    let (section, after) = rest.split_once("\n\n").unwrap();
    let section: String = section
        .lines()
        .map(|line| line.trim_start_matches("# ").to_owned() + "\n")
        .collect();
    let agreement = Agreement::parse(&format!("{before}{section}\n{after}")).unwrap();
    assert_eq!(agreement.marks().unwrap().lineage().columns().len(), 4);
    assert_eq!(agreement.mark_reach().unwrap().tags.len(), 4);
}
