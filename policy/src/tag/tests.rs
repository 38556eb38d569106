use super::*;
use closed::ParentMap;
use proptest::prelude::*;

pub(crate) fn spec(kind: TagKind, form: Form) -> TagSpec {
    TagSpec {
        name: "tag".parse().unwrap(),
        meaning: "A tag.".into(),
        kind,
        class: DataClass::C2,
        security_level: SecurityLevel::new(3).unwrap(),
        tolerance: Decimal::from(0),
        form,
        level: None,
        written: Written::default(),
    }
}

fn map(pairs: &[(&str, &str)]) -> ParentMap {
    pairs
        .iter()
        .map(|(from, to)| ((*from).into(), (*to).into()))
        .collect()
}

fn texts(items: &[&str]) -> Vec<Box<str>> {
    items.iter().map(|item| (*item).into()).collect()
}

fn edges(levels: &[&[&str]]) -> Vec<Vec<String>> {
    levels
        .iter()
        .map(|level| level.iter().map(ToString::to_string).collect())
        .collect()
}

fn banded(levels: &[&[&str]]) -> Written {
    Written {
        bands: edges(levels),
        ..Written::default()
    }
}

fn within(written: Written, min: &str, max: &str) -> Written {
    Written {
        min: Some(min.to_owned()),
        max: Some(max.to_owned()),
        ..written
    }
}

fn risk(level: Option<u64>) -> TagSpec {
    TagSpec {
        level,
        written: Written {
            values: texts(&["low", "mild", "high", "unknown"]),
            levels: vec![
                map(&[
                    ("low", "calm"),
                    ("mild", "calm"),
                    ("high", "bold"),
                    ("unknown", "unknown"),
                ]),
                map(&[("calm", "known"), ("bold", "known"), ("unknown", "unknown")]),
            ],
            ..Written::default()
        },
        ..spec(TagKind::Ordinal, Form::Level)
    }
}

fn amount(form: Form, level: Option<u64>) -> TagSpec {
    TagSpec {
        level,
        written: banded(&[&["1000", "2500", "5000"], &["2500"]]),
        ..spec(TagKind::Amount, form)
    }
}

fn told(tag: &Tag, raw: &str) -> String {
    tag.generalise(raw).unwrap().as_str().to_owned()
}

fn chain(tag: &Tag, text: &str) -> Vec<String> {
    let mut value = tag.admit(text).unwrap();
    let mut labels = Vec::new();
    while let Some(next) = tag.coarser(&value) {
        labels.push(next.as_str().to_owned());
        value = next;
    }
    labels
}

#[test]
fn closed_values_are_told_at_the_agreed_level() {
    let tag = risk(None).check().unwrap();
    assert_eq!(tag.level(), 1);
    assert_eq!(told(&tag, " mild "), "calm");
    assert_eq!(told(&tag, "unknown"), "unknown");
    assert_eq!(told(&risk(Some(2)).check().unwrap(), "low"), "known");
    assert_eq!(tag.generalise("calm"), Err(Unmapped::OutsideDomain));
    assert_eq!(tag.generalise("  "), Err(Unmapped::Empty));
    assert_eq!(tag.generalise(&"x".repeat(129)), Err(Unmapped::TooLong));
}

#[test]
fn the_broker_takes_the_agreed_level_or_coarser_and_nothing_finer() {
    let tag = risk(None).check().unwrap();
    for accepted in ["calm", "bold", "known", "unknown", "*"] {
        assert!(tag.accepts(accepted), "{accepted}");
    }
    for refused in ["low", "mild", "high", "", " calm", "Calm", "other"] {
        assert!(!tag.accepts(refused), "{refused}");
    }
    let banded = amount(Form::Banded, None).check().unwrap();
    for accepted in [
        "<1000",
        "[1000,2500)",
        "[2500,5000)",
        ">=5000",
        "<2500",
        ">=2500",
        "*",
    ] {
        assert!(banded.accepts(accepted), "{accepted}");
    }
    for refused in [
        "1200",
        "[1000,5000)",
        "<5000",
        ">=1000",
        "[1000.0,2500)",
        "[1000, 2500)",
        "[,2500)",
    ] {
        assert!(!banded.accepts(refused), "{refused}");
    }
    let coarse = amount(Form::Banded, Some(2)).check().unwrap();
    assert!(coarse.accepts("<2500") && !coarse.accepts("<1000"));
}

#[test]
fn bands_hold_their_lower_edge() {
    let tag = amount(Form::Banded, None).check().unwrap();
    for (raw, label) in [
        ("-1", "<1000"),
        ("999.99", "<1000"),
        ("1000", "[1000,2500)"),
        ("2499.999999", "[1000,2500)"),
        ("2500.0", "[2500,5000)"),
        ("5000", ">=5000"),
    ] {
        assert_eq!(told(&tag, raw), label);
    }
    assert_eq!(tag.generalise("1,000"), Err(Unmapped::NotANumber));
}

#[test]
fn dates_are_banded_by_time() {
    let tag = TagSpec {
        written: banded(&[&["1990-01-01", "2000-01-01"]]),
        ..spec(TagKind::Date, Form::Banded)
    }
    .check()
    .unwrap();
    assert_eq!(told(&tag, "1989-12-31"), "<1990-01-01");
    assert_eq!(told(&tag, "1990-01-01"), "[1990-01-01,2000-01-01)");
    assert_eq!(tag.generalise("01/01/1990"), Err(Unmapped::NotADate));
    assert!(tag.accepts(">=2000-01-01"));
}

#[test]
fn bounds_are_inclusive_and_nothing_beyond_is_a_value() {
    for form in [Form::Exact, Form::Banded] {
        let tag = TagSpec {
            written: within(banded(&[&["300", "500"], &["500"]]), "0", "1000"),
            ..spec(TagKind::Score, form)
        }
        .check()
        .unwrap();
        for (raw, bound) in [
            ("0", true),
            ("1000", true),
            ("-5", false),
            ("1000.1", false),
        ] {
            let expected = if bound {
                Ok(())
            } else {
                Err(Unmapped::OutOfBounds)
            };
            assert_eq!(tag.generalise(raw).map(|_| ()), expected, "{raw}");
            assert_eq!(tag.accepts(raw), bound && form == Form::Exact, "{raw}");
        }
        assert_eq!(tag.definition_json()["min"], "0");
    }
    let open = amount(Form::Exact, None).check().unwrap();
    assert!(open.accepts("-5") && open.definition_json().get("min").is_none());
    let from = TagSpec {
        written: Written {
            min: Some("1990-01-01".into()),
            ..banded(&[&["2000-01-01"]])
        },
        ..spec(TagKind::Date, Form::Exact)
    }
    .check()
    .unwrap();
    assert!(from.accepts("1990-01-01") && !from.accepts("1989-12-31"));
}

#[test]
fn every_step_up_changes_the_label_and_ends_in_suppression() {
    let tag = risk(None).check().unwrap();
    assert_eq!(chain(&tag, "calm"), ["known", "*"]);
    assert_eq!(chain(&tag, "unknown"), ["*"]);
    let banded = amount(Form::Banded, None).check().unwrap();
    assert_eq!(chain(&banded, "[1000,2500)"), ["<2500", "*"]);
    assert_eq!(chain(&banded, ">=5000"), [">=2500", "*"]);
    let exact = amount(Form::Exact, None).check().unwrap();
    assert_eq!(chain(&exact, "1234.5"), ["[1000,2500)", "<2500", "*"]);
    assert_eq!(
        tag.coarser(&Value("stranger".into())),
        Some(Value::suppressed())
    );
}

#[test]
fn loss_is_the_share_of_the_domain_covered() {
    let loss = |tag: &Tag, text: &str| tag.loss_ppm(&tag.admit(text).unwrap());
    let tag = risk(None).check().unwrap();
    assert_eq!(loss(&tag, "calm"), 333_333);
    assert_eq!(loss(&tag, "bold"), 0);
    assert_eq!(loss(&tag, "known"), 666_666);
    assert_eq!(loss(&tag, "*"), LOSS_PPM_MAX);
    let banded = amount(Form::Banded, None).check().unwrap();
    assert_eq!(loss(&banded, "<1000"), 0);
    assert_eq!(loss(&banded, "<2500"), 333_333);
    let exact = amount(Form::Exact, None).check().unwrap();
    assert_eq!(loss(&exact, "1234.5"), 0);
    assert_eq!(loss(&exact, "[1000,2500)"), 250_000);
}

#[test]
fn exact_values_have_one_spelling() {
    let tag = amount(Form::Exact, None).check().unwrap();
    assert_eq!(told(&tag, "0012.50"), "12.5");
    assert!(tag.accepts("12.5") && !tag.accepts("12.50"));
}

#[test]
fn tags_that_must_fail_name_their_key() {
    let cycle = vec![map(&[("a", "b"), ("b", "a")])];
    let closed = |values: &[&str], levels: Vec<ParentMap>| TagSpec {
        written: Written {
            values: texts(values),
            levels,
            ..Written::default()
        },
        ..spec(TagKind::Ordinal, Form::Level)
    };
    let in_bands = |written: Written| TagSpec {
        written,
        ..spec(TagKind::Amount, Form::Banded)
    };
    let bounded = |min: &str, max: &str| within(banded(&[&["5", "9"], &["9"]]), min, max);
    for (name, spec, key) in [
        ("cycle", closed(&["a", "b"], cycle), "levels"),
        (
            "not_total",
            closed(&["a", "b"], vec![map(&[("a", "x")])]),
            "levels",
        ),
        (
            "stray_label",
            closed(&["a"], vec![map(&[("a", "x"), ("z", "x")])]),
            "levels",
        ),
        ("no_hierarchy", closed(&["a"], vec![]), "levels"),
        (
            "duplicate_value",
            closed(&["a", "a"], vec![map(&[("a", "x")])]),
            "values",
        ),
        (
            "formula",
            closed(&["=1+1"], vec![map(&[("=1+1", "x")])]),
            "values",
        ),
        (
            "star_is_reserved",
            closed(&["a"], vec![map(&[("a", "*")])]),
            "levels",
        ),
        ("no_values", closed(&[], vec![map(&[("a", "x")])]), "values"),
        (
            "level_not_coarser",
            closed(
                &["a", "b"],
                vec![
                    map(&[("a", "x"), ("b", "y")]),
                    map(&[("x", "z"), ("y", "z")]),
                ],
            ),
            "levels",
        ),
        (
            "tolerance_below_0",
            TagSpec {
                tolerance: Decimal::from(-1),
                ..amount(Form::Exact, None)
            },
            "tolerance",
        ),
        (
            "tolerance_of_a_closed_list",
            TagSpec {
                tolerance: Decimal::from(1),
                ..risk(None)
            },
            "tolerance",
        ),
        ("level_too_high", risk(Some(3)), "level"),
        ("level_zero", risk(Some(0)), "level"),
        ("exact_with_level", amount(Form::Exact, Some(1)), "level"),
        (
            "overlapping_bands",
            in_bands(banded(&[&["5", "5"]])),
            "bands",
        ),
        (
            "descending_bands",
            in_bands(banded(&[&["5", "4"]])),
            "bands",
        ),
        (
            "stray_edge",
            in_bands(banded(&[&["1", "2"], &["3"]])),
            "bands",
        ),
        (
            "not_coarser",
            in_bands(banded(&[&["1", "2"], &["1", "2"]])),
            "bands",
        ),
        ("no_edges", in_bands(banded(&[&[]])), "bands"),
        ("no_bands", in_bands(banded(&[])), "bands"),
        ("edge_is_no_number", in_bands(banded(&[&["one"]])), "bands"),
        ("wrong_form", amount(Form::Level, None), "form"),
        (
            "bands_on_closed",
            TagSpec {
                written: banded(&[&["1"]]),
                ..risk(None)
            },
            "bands",
        ),
        (
            "values_on_number",
            TagSpec {
                written: Written {
                    values: texts(&["1"]),
                    ..banded(&[&["1"]])
                },
                ..amount(Form::Banded, None)
            },
            "values",
        ),
        ("min_above_max", in_bands(bounded("10", "1")), "max"),
        ("min_is_no_number", in_bands(bounded("low", "10")), "min"),
        ("edge_at_min", in_bands(bounded("5", "10")), "bands"),
        ("edge_above_max", in_bands(bounded("1", "8")), "bands"),
        (
            "bounds_on_closed",
            TagSpec {
                written: within(risk(None).written, "1", "2"),
                ..risk(None)
            },
            "min",
        ),
    ] {
        let problems = spec.check().expect_err(name);
        assert!(
            problems.iter().any(|problem| problem.key == key),
            "{name}: {problems:?}"
        );
    }
}

#[test]
fn debug_shows_no_value() {
    let tag = risk(None).check().unwrap();
    assert!(!format!("{:?}", tag.generalise("low")).contains("calm"));
}

proptest! {
    #[test]
    fn what_the_owner_tells_the_broker_admits(cents in -1_000_000i64..1_000_000, level in 0u64..=2) {
        let form = if level == 0 { Form::Exact } else { Form::Banded };
        let tag = amount(form, Some(level)).check().unwrap();
        let value = tag.generalise(&format!("{}.{:02}", cents / 100, cents.abs() % 100)).unwrap();
        prop_assert!(tag.accepts(value.as_str()));
        let mut loss = tag.loss_ppm(&value);
        let mut current = value;
        while let Some(next) = tag.coarser(&current) {
            prop_assert!(tag.accepts(next.as_str()));
            prop_assert!(tag.loss_ppm(&next) >= loss);
            loss = tag.loss_ppm(&next);
            current = next;
        }
        prop_assert!(current.is_suppressed());
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,140}") {
        for tag in [risk(None).check().unwrap(), amount(Form::Exact, None).check().unwrap()] {
            let _ = tag.generalise(&text);
            if let Ok(value) = tag.admit(&text) { let _ = (tag.coarser(&value), tag.loss_ppm(&value)); }
        }
    }
}
