use super::*;
use proptest::prelude::*;

fn columns() -> Columns {
    [
        ("tier", ColumnType::Text),
        ("balance", ColumnType::Number),
        ("since", ColumnType::Date),
        ("\u{5730}\u{533a}", ColumnType::Text),
        ("has space", ColumnType::Text),
    ]
    .into_iter()
    .map(|(name, column_type)| (name.into(), column_type))
    .collect()
}

fn predicate(text: &str) -> Predicate {
    Predicate::parse(text, &columns()).unwrap()
}

fn row(column: &str) -> Option<&'static str> {
    Some(match column {
        "tier" => "gold",
        "balance" => " 1000.10 ",
        "since" => "2024-02-29",
        "has space" => "it's",
        _ => "\u{6df1}\u{5733}",
    })
}

fn refusal(text: &str) -> PredicateError {
    Predicate::parse(text, &columns()).unwrap_err()
}

#[test]
fn grammar_and_meaning() {
    for (text, member) in [
        ("tier = 'gold'", true),
        ("tier != 'gold'", false),
        ("tier in ('silver', 'gold')", true),
        ("tier not in ('silver', 'gold')", false),
        ("balance >= 1000.1", true),
        ("balance > 1000.1000", false),
        ("balance < -1", false),
        ("since < 2024-03-01 and since >= 2024-02-29", true),
        ("not tier = 'gold' or balance <= 5000", true),
        ("not (tier = 'gold' or balance <= 5000)", false),
        ("TIER = 'gold' or tier = 'gold'", true),
        ("\"has space\" = 'it''s'", true),
        ("\u{5730}\u{533a} = '\u{6df1}\u{5733}'", true),
        // `and` binds tighter than `or`.
        ("tier = 'gold' or tier = 'x' and balance < 0", true),
    ] {
        let mut declared = columns();
        declared.insert("TIER".into(), ColumnType::Text);
        let parsed = Predicate::parse(text, &declared).unwrap();
        assert_eq!(parsed.eval(row), Ok(member), "{text}");
    }
}

#[test]
fn columns_are_those_the_predicate_reads() {
    let read: Vec<_> = predicate("tier = 'a' and (balance > 1 or tier = 'b')")
        .columns()
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(read, ["balance", "tier"]);
}

#[test]
fn refusals_name_the_position_and_what_would_pass() {
    for (text, position, words) in [
        ("", 1, "a column is expected"),
        ("tier", 5, "a comparison is expected"),
        ("tier = gold", 8, "a literal is expected"),
        (
            "tier = 5",
            8,
            "a number is compared with column `tier`, which is a text",
        ),
        ("balance > '5'", 11, "without quotes"),
        ("since > 5", 9, "write a date"),
        ("tier > 'a'", 6, "text has no order"),
        ("colour = 'red'", 1, "column `colour` is not declared"),
        ("tier = 'gold", 8, "the quotation does not end"),
        ("tier == 'gold'", 6, "`==` is not a comparison"),
        ("(tier = 'gold'", 15, "not closed"),
        ("tier = 'gold' balance > 1", 15, "something follows"),
        ("tier in ()", 10, "a literal is expected"),
        ("balance > 1.2.3", 11, "neither a decimal nor a date"),
        ("since = 2024-02-30", 9, "neither a decimal nor a date"),
        ("tier = 'a' ; drop", 12, "`;` has no meaning"),
    ] {
        let error = refusal(text);
        assert_eq!(error.position(), position, "{text}: {error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let nested = |depth: usize| format!("{}tier = 'a'{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Predicate::parse(&nested(PREDICATE_DEPTH_MAX), &columns()).is_ok());
    assert!(
        refusal(&nested(PREDICATE_DEPTH_MAX + 1))
            .problem
            .contains("too deeply")
    );
    assert!(
        refusal(&format!("{}tier = 'a'", "not ".repeat(200)))
            .problem
            .contains("too deeply")
    );
    let exact = format!("tier = '{}'", "a".repeat(PREDICATE_BYTES_MAX - 9));
    assert!(Predicate::parse(&exact, &columns()).is_ok());
    assert!(refusal(&format!("{exact} ")).problem.contains("1025 bytes"));
}

#[test]
fn an_unreadable_cell_is_never_a_member_wherever_it_stands() {
    let bad = |column: &str| Some(if column == "balance" { "n/a" } else { "gold" });
    for text in [
        "balance > 1 or tier = 'gold'",
        "tier = 'gold' or balance > 1",
        "not balance > 1",
        "balance != 1",
    ] {
        assert_eq!(
            predicate(text).eval(bad),
            Err(EvalError::Cell {
                column: "balance".into(),
                expected: ColumnType::Number
            }),
            "{text}"
        );
    }
}

#[test]
fn a_missing_column_is_told_apart_and_no_error_shows_a_value() {
    let error = predicate("tier = 'gold'").eval(|_| None).unwrap_err();
    assert_eq!(error, EvalError::MissingColumn("tier".into()));
    let secret = predicate("balance > 1")
        .eval(|_| Some("13800138000x"))
        .unwrap_err();
    assert!(!format!("{secret} {secret:?}").contains("138"));
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}") {
        let _ = Predicate::parse(&text, &columns());
    }

    #[test]
    fn near_grammatical_text_never_panics(
        words in prop::collection::vec(prop::sample::select(vec![
            "tier", "balance", "since", "=", "!=", "<", ">=", "in", "(", ")", ",", "and", "or",
            "not", "'gold'", "12.5", "2024-01-01", "\"has space\"",
        ]), 0..40),
    ) {
        if let Ok(parsed) = Predicate::parse(&words.join(" "), &columns()) {
            prop_assert!(parsed.eval(row).is_ok());
        }
    }

    #[test]
    fn numbers_compare_by_value(cell in -1000i64..1000, literal in -1000i64..1000) {
        let parsed = predicate(&format!("balance < {literal}.0"));
        let text = format!("{cell}.00");
        prop_assert_eq!(parsed.eval(|_| Some(text.as_str())), Ok(cell < literal));
    }
}
