use super::*;

fn bits(bits: u8) -> TagBits {
    TagBits::new(bits).unwrap()
}

#[test]
fn twice_the_budget_is_selected_less_three_deviations() {
    // 2 (.02 - 3 sqrt(.02 / 10000)) 2^16 = 2065; without the margin 2 x .02 x 2^16 = 2621.
    let budget = Budget::new(20_000, 10_000).unwrap();
    assert_eq!(budget.selected(bits(32)), Ok(2065));
    assert_eq!(
        Budget::new(20_000, u64::MAX).unwrap().selected(bits(32)),
        Ok(2621)
    );
}

#[test]
fn a_flow_counts_for_no_more_rows_than_there_are_tags() {
    let budget = Budget::new(20_000, 1 << 30).unwrap();
    let few = Budget::new(20_000, 1 << 12).unwrap();
    assert_eq!(budget.selected(bits(12)), few.selected(bits(32)));
}

#[test]
fn what_is_said_to_change_is_the_budget_from_the_least_number_of_rows_on() {
    let budget = Budget::new(20_000, 10_000).unwrap();
    assert_eq!(budget.changed_ppm_max(10_000, bits(32)), 20_000);
    // .02 + 3 sqrt(.02 / 1000) = .033416.
    assert_eq!(budget.changed_ppm_max(1000, bits(32)), 33_417);
    assert_eq!(budget.changed_ppm_max(0, bits(32)), 444_265);
}

#[test]
fn budgets_that_cannot_be_kept_are_refused() {
    assert_eq!(Budget::new(0, 1), Err(MarkError::Budget { ppm: 0 }));
    assert_eq!(
        Budget::new(500_001, 1),
        Err(MarkError::Budget { ppm: 500_001 })
    );
    let (ppm, rows_min) = (20_000, 100);
    let small = Budget::new(ppm, rows_min).unwrap().selected(bits(16));
    assert_eq!(small, Err(MarkError::BudgetTooSmall { ppm, rows_min }));
}

#[test]
fn tag_bits_follow_the_rows() {
    for (rows, expected) in [
        (0, 16),
        (1000, 16),
        (1 << 20, 16),
        (1 << 21, 17),
        (1 << 40, 32),
    ] {
        assert_eq!(TagBits::for_rows(rows).get(), expected, "{rows}");
    }
    assert_eq!(TagBits::new(11), Err(MarkError::TagBits { found: 11 }));
    assert_eq!(TagBits::new(33), Err(MarkError::TagBits { found: 33 }));
    assert!(crate::MarkTag::new(1 << 12, bits(12)).is_none());
}

#[test]
fn a_column_is_its_name_and_form() {
    let budget = Budget::new(20_000, 10_000).unwrap();
    let column = |name, values: &[&str]| {
        Column::new(name, Form::ordinal(values, None).unwrap(), budget, bits(16)).unwrap()
    };
    let twice = Lineage::new(
        vec![column("a", &["x", "y"]), column("a", &["x", "y"])],
        bits(16),
    );
    assert_eq!(twice.map(|_| ()), Err(MarkError::ColumnTwice { index: 1 }));
    let digest = |name, values: &[&str]| *column(name, values).digest();
    assert_ne!(digest("a", &["x", "y"]), digest("b", &["x", "y"]));
    assert_ne!(digest("a", &["x", "y"]), digest("a", &["y", "x"]));
    let exact = Column::new("", Form::exact(), budget, bits(16)).map(|_| ());
    assert_eq!(exact, Err(MarkError::Name { bytes: 0 }));
}

#[test]
fn flows_leave_recipients_at_least_half() {
    let lineage = |share| {
        Lineage::new(Vec::new(), bits(16))
            .unwrap()
            .with_flow_share(share)
    };
    assert!(lineage(16_384).is_ok());
    let refused = lineage(16_385).map(|_| ());
    assert_eq!(refused, Err(MarkError::FlowShare { share: 16_385 }));
}

#[test]
fn merged_lineages_have_each_column_once_and_agree_on_what_is_selected() {
    let bits = TagBits::new(16).unwrap();
    let ordinal = || Form::ordinal(&["low", "medium", "high"], None).unwrap();
    let score = || Form::score("3".parse().unwrap(), None).unwrap();
    let column = |name: &str, form: Form, ppm: u32| {
        Column::new(name, form, Budget::new(ppm, 10_000).unwrap(), bits).unwrap()
    };
    let lineage = |columns: Vec<Column>| Lineage::new(columns, bits).unwrap();
    let one = lineage(vec![column("risk", ordinal(), 20_000)]);
    let two = lineage(vec![
        column("risk", ordinal(), 20_000),
        // One name and another form are another column: its marks are independent.
        column("risk_score", score(), 20_000),
        column("risk", score(), 20_000),
    ]);
    for order in [[&one, &two], [&two, &one]] {
        let merged = Lineage::merged(order).unwrap();
        assert_eq!(merged.columns().len(), 3);
    }
    let other = lineage(vec![column("risk", ordinal(), 50_000)]);
    assert!(Lineage::merged([&one, &other]).is_none());
    assert!(Lineage::merged([]).is_none());
    let restricted = two.restricted(|column| column.name() == "risk_score");
    assert_eq!(restricted.columns().len(), 1);
}
