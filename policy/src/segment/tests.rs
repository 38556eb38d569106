use super::*;
use proptest::prelude::*;

fn list(values: &[&str]) -> Vec<Box<str>> {
    values.iter().map(|value| (*value).into()).collect()
}

fn domains() -> Domains {
    let score = Bounds {
        min: Some(Point::Number(0.into())),
        max: Some(Point::Number(1000.into())),
    };
    [
        ("tier", Domain::Ordered(list(&["silver", "gold", "jade"]))),
        ("colour", Domain::Unordered(list(&["red", "it's"]))),
        ("balance", Domain::Number(Bounds::default())),
        ("since", Domain::Date(Bounds::default())),
        ("score", Domain::Number(score)),
    ]
    .into_iter()
    .map(|(name, domain)| (name.into(), domain))
    .collect()
}

fn predicate(text: &str) -> Predicate {
    Predicate::parse(text, &domains()).unwrap()
}

fn row(tag: &str) -> Result<Cow<'static, str>, Unmapped> {
    Ok(match tag {
        "tier" => "gold",
        "colour" => "it's",
        "balance" => " 1000.10 ",
        _ => "2024-02-29",
    }
    .into())
}

fn refusal(text: &str) -> PredicateError {
    Predicate::parse(text, &domains()).unwrap_err()
}

#[test]
fn grammar_and_meaning() {
    for (text, member) in [
        ("tier = 'gold'", true),
        ("tier != 'gold'", false),
        ("tier in ('silver', 'gold')", true),
        ("tier not in ('silver', 'gold')", false),
        // In the order of the list, not of the alphabet.
        ("tier > 'silver' and tier < 'jade'", true),
        ("tier >= 'jade'", false),
        ("balance >= 1000.1", true),
        ("balance > 1000.1000", false),
        ("balance < -1", false),
        ("since < 2024-03-01 and since >= 2024-02-29", true),
        ("not tier = 'gold' or balance <= 5000", true),
        ("not (tier = 'gold' or balance <= 5000)", false),
        ("colour = 'it''s'", true),
        // `and` binds tighter than `or`.
        ("tier = 'gold' or tier = 'jade' and balance < 0", true),
    ] {
        assert_eq!(predicate(text).eval(row), Ok(member), "{text}");
    }
}

#[test]
fn a_cell_out_of_bounds_is_no_value() {
    let member = |cell: &'static str| predicate("score <= 1000").eval(|_| Ok(cell.into()));
    assert_eq!(member("1000"), Ok(true));
    assert_eq!(member("-5").unwrap_err().why, Unmapped::OutOfBounds);
}

#[test]
fn tags_are_those_the_predicate_names() {
    let parsed = predicate("tier = 'gold' and (balance > 1 or tier = 'jade')");
    assert_eq!(parsed.tags(), BTreeSet::from(["balance", "tier"]));
}

#[test]
fn refusals_name_the_position_and_what_would_pass() {
    for (text, position, words) in [
        ("", 1, "a tag is expected"),
        ("tier", 5, "a comparison is expected"),
        ("tier = gold", 8, "a literal is expected"),
        ("tier = 5", 8, "a number is compared with tag `tier`"),
        (
            "tier = 'gilt'",
            8,
            "`gilt` is no value of tag `tier`; write one of 'silver'",
        ),
        ("tier in ('gold', 'gilt')", 18, "`gilt` is no value"),
        ("balance > '5'", 11, "without quotes"),
        ("since > 5", 9, "write a date"),
        (
            "score > 1001",
            9,
            "`1001` is no value of tag `score`; write a number without quotes, 0 to 1000",
        ),
        ("colour > 'red'", 8, "have no order; use =, != or in"),
        (
            "shade = 'red'",
            1,
            "`shade` is no tag of this agreement; use one of: balance",
        ),
        ("\"tier\" = 'gold'", 1, "has no meaning"),
        ("tier = 'gold", 8, "the quotation does not end"),
        ("tier == 'gold'", 6, "`==` is not a comparison"),
        ("(tier = 'gold'", 15, "not closed"),
        ("tier = 'gold' balance > 1", 15, "something follows"),
        ("tier in ()", 10, "a literal is expected"),
        ("balance > 1.2.3", 11, "neither a decimal nor a date"),
        ("since = 2024-02-30", 9, "neither a decimal nor a date"),
        ("tier = 'gold' ; drop", 15, "`;` has no meaning"),
    ] {
        let error = refusal(text);
        assert_eq!(error.position(), position, "{text}: {error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let nested = |depth: usize| format!("{}tier = 'gold'{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Predicate::parse(&nested(PREDICATE_DEPTH_MAX), &domains()).is_ok());
    assert!(
        refusal(&nested(PREDICATE_DEPTH_MAX + 1))
            .problem
            .contains("too deeply")
    );
    assert!(
        refusal(&format!("{}tier = 'gold'", "not ".repeat(200)))
            .problem
            .contains("too deeply")
    );
    let exact = format!("tier = 'gold'{}", " ".repeat(PREDICATE_BYTES_MAX - 13));
    assert!(Predicate::parse(&exact, &domains()).is_ok());
    assert!(refusal(&format!("{exact} ")).problem.contains("1025 bytes"));
}

#[test]
fn a_row_without_a_value_is_never_a_member_wherever_the_tag_stands() {
    let bad = |tag: &str| Ok(if tag == "balance" { "n/a" } else { "gold" }.into());
    for text in [
        "balance > 1 or tier = 'gold'",
        "tier = 'gold' or balance > 1",
        "not balance > 1",
        "balance != 1",
    ] {
        let expected = EvalError {
            tag: "balance".into(),
            why: Unmapped::NotANumber,
        };
        assert_eq!(predicate(text).eval(bad), Err(expected), "{text}");
    }
    let empty = |_: &str| Err(Unmapped::Empty);
    assert_eq!(
        predicate("tier != 'gold'").eval(empty).unwrap_err().why,
        Unmapped::Empty
    );
}

#[test]
fn no_error_shows_a_value() {
    let secret = predicate("balance > 1")
        .eval(|_| Ok("13800138000x".into()))
        .unwrap_err();
    assert!(!format!("{secret} {secret:?}").contains("138"));
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}") {
        let _ = Predicate::parse(&text, &domains());
    }

    #[test]
    fn near_grammatical_text_never_panics(
        words in prop::collection::vec(prop::sample::select(vec![
            "tier", "balance", "since", "colour", "=", "!=", "<", ">=", "in", "(", ")", ",", "and", "or",
            "not", "'gold'", "'red'", "12.5", "2024-01-01",
        ]), 0..40),
    ) {
        if let Ok(parsed) = Predicate::parse(&words.join(" "), &domains()) {
            prop_assert!(parsed.eval(row).is_ok());
        }
    }

    #[test]
    fn numbers_compare_by_value(cell in -1000i64..1000, literal in -1000i64..1000) {
        let parsed = predicate(&format!("balance < {literal}.0"));
        let text = format!("{cell}.00");
        prop_assert_eq!(parsed.eval(|_| Ok(Cow::from(text.as_str()))), Ok(cell < literal));
    }
}
