//! Each form keeps its tolerance, shows its symbol where it can, and reads what it wrote.

use proptest::prelude::*;

use super::*;

fn number(text: &str) -> Number {
    text.parse().unwrap()
}

fn mark(bit: bool, tie: bool) -> Option<Mark> {
    Some(Mark { bit, tie })
}

fn marked(form: &Form, cell: &str, marks: Marks) -> String {
    form.mark(cell, &marks).unwrap_or_else(|| cell.into())
}

/// A number's distance from another, in units of 10^-4.
fn distance(a: &str, b: &str) -> i64 {
    let units = |text: &str| number(text).in_units(4).unwrap();
    (units(a) - units(b)).abs()
}

proptest! {
    #[test]
    fn a_score_stays_within_its_tolerance_and_domain(
        value in 0_i64..=10_000, tolerance in 1_i64..40, bits: (bool, bool), ties: (bool, bool),
    ) {
        // A tolerance of whole units would leave tenths as they are.
        prop_assume!(tolerance % 10 != 0);
        let domain = Some((number("0"), number("1000")));
        let form = Form::score(Number::units(tolerance, 1), domain).unwrap();
        let cell = Number::units(value, 1).to_string();
        let after = marked(&form, &cell, [mark(bits.0, ties.0), mark(bits.1, ties.1)]);
        prop_assert!(distance(&cell, &after) <= tolerance * 1000);
        prop_assert!((0..=10_000).contains(&number(&after).in_units(1).unwrap()));
        let read = form.colours(&after, Reading::AsDelivered);
        prop_assert!(read[0] == Some(bits.0) || tolerance < 5 || !(50..=9950).contains(&value));
    }

    #[test]
    fn an_amount_moves_by_a_thousandth_at_most_and_over_no_power_of_ten(
        magnitude in 1_i64..1_000_000_000_000, places in 0_u32..4, bit: bool, tie: bool, negative: bool,
    ) {
        let form = Form::amount(number("5000")).unwrap();
        let cell = Number { negative, ..Number::units(magnitude, places) }.to_string();
        let after = marked(&form, &cell, [mark(bit, tie), None]);
        let (before, moved) = (number(&cell), number(&after));
        prop_assert_eq!(before.negative, moved.negative);
        let units = |number: Number| number.in_units(4).unwrap().abs();
        let change = (units(before) - units(moved)).abs();
        prop_assert!(change * 1000 <= units(before));
        prop_assert!(change <= 50_000_000);
        prop_assert_eq!(units(before).checked_ilog10(), units(moved).checked_ilog10());
        match form.colours(&after, Reading::AsDelivered)[0] {
            Some(colour) => prop_assert_eq!(colour, bit),
            None => prop_assert_eq!(cell, after),
        }
    }

    #[test]
    fn a_date_moves_by_a_day_at_most(day in 0_i32..40_000, bit: bool, tie: bool) {
        let first = time::Date::from_calendar_date(1930, time::Month::January, 1).unwrap();
        let last = time::Date::from_julian_day(first.to_julian_day() + 40_000).unwrap();
        let form = Form::date(Some((first, last))).unwrap();
        let date = time::Date::from_julian_day(first.to_julian_day() + day).unwrap();
        let cell = date.to_string();
        let after = marked(&form, &cell, [mark(bit, tie), None]);
        let read = [DateStyle::YearFirst].map(Reading::Date).map(|style| form.colours(&after, style)[0]);
        prop_assert_eq!(read, [Some(bit)]);
        prop_assert!(form.fits(&after, Reading::AsDelivered));
        let parsed: Vec<i32> = after.split('-').map(|field| field.parse().unwrap()).collect();
        let month = time::Month::try_from(parsed[1] as u8).unwrap();
        let moved = time::Date::from_calendar_date(parsed[0], month, parsed[2] as u8).unwrap();
        prop_assert!((moved.to_julian_day() - date.to_julian_day()).abs() <= 1);
    }

    #[test]
    fn an_ordinal_moves_by_a_step_at_most_and_shows_its_symbol(
        count in 2_usize..9, place in 0_usize..9, bit: bool, tie: bool,
    ) {
        let values: Vec<String> = (0..count).map(|value| format!("level {value}")).collect();
        let form = Form::ordinal(&values, None).unwrap();
        let place = place % count;
        let after = marked(&form, &values[place], [mark(bit, tie), None]);
        let moved = values.iter().position(|value| *value == after).unwrap();
        prop_assert!(moved.abs_diff(place) <= 1);
        prop_assert_eq!(form.colours(&after, Reading::AsDelivered)[0], Some(bit));
        // In the direction of the tie where there is one.
        if moved != place && place > 0 && place + 1 < count {
            prop_assert_eq!(moved > place, tie);
        }
    }

    #[test]
    fn exact_cells_and_strange_cells_stay_as_they_are(cell in "\\PC{0,40}", bit: bool, tie: bool) {
        let marks = [mark(bit, tie), mark(!bit, tie)];
        prop_assert_eq!(Form::exact().mark(&cell, &marks), None);
        let forms = [
            Form::score(number("3"), None).unwrap(),
            Form::amount(number("100")).unwrap(),
            Form::date(None).unwrap(),
            Form::ordinal(&["a", "b"], None).unwrap(),
        ];
        for form in forms {
            if let Some(after) = form.mark(&cell, &marks) {
                // What is marked reads as marked, so it was in the form's one spelling.
                prop_assert!(form.fits(&after, Reading::AsDelivered));
            }
            for reading in form.readings() {
                form.colours(&cell, reading);
            }
        }
    }

    #[test]
    fn a_number_has_one_spelling(units in any::<i32>(), places in 0_u32..9) {
        let text = Number::units(i64::from(units), places).to_string();
        prop_assert_eq!(number(&text).to_string(), text);
    }
}

#[test]
fn numbers_in_another_spelling_are_not_marked() {
    let form = Form::score(number("3"), None).unwrap();
    for cell in [
        "0712",
        "712.0",
        "+712",
        " 712",
        "-0",
        "7e2",
        "1,000",
        "712.5",
        "12345678901234567890",
    ] {
        for bits in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(
                form.mark(cell, &[mark(bits.0, true), mark(bits.1, true)]),
                None,
                "{cell}"
            );
        }
    }
}

#[test]
fn numbers_of_leaked_files_are_read_in_many_spellings() {
    for (text, read) in [
        ("1234.50", "1234.5"),
        ("1,234,567.89", "1234567.89"),
        ("1.234.567,89", "1234567.89"),
        ("1 234 567,89", "1234567.89"),
        ("12,34", "12.34"),
        ("1,234", "1234"),
        ("1'234'567", "1234567"),
        ("$1,000.5", "1000.5"),
        ("007", "7"),
        ("1,234,567", "1234567"),
    ] {
        let number = Number::lenient(text).map(|number| number.to_string());
        // `1'234'567` has neither comma nor point, and is not read.
        if text.contains('\'') {
            assert_eq!(number, None);
        } else {
            assert_eq!(number.as_deref(), Some(read), "{text}");
        }
    }
    for text in ["", "abc", "1.2.x", "12-11-2026", ".", ","] {
        assert!(Number::lenient(text).is_none(), "{text}");
    }
}

#[test]
fn a_rounded_score_keeps_its_coarse_symbol() {
    let form = Form::score(number("3"), None).unwrap();
    let (mut right, mut all) = (0, 0);
    for value in 100..300 {
        for bits in [(false, false), (false, true), (true, false), (true, true)] {
            let after = marked(
                &form,
                &value.to_string(),
                [mark(bits.0, false), mark(bits.1, true)],
            );
            let rounded = (after.parse::<i64>().unwrap() + 5).div_euclid(10) * 10;
            let read = form.colours(&rounded.to_string(), Reading::AsDelivered)[0];
            right += u32::from(read == Some(bits.0));
            all += 1;
        }
    }
    let [coarse, _] = form.misses();
    // 4 of 10 places are too far from the next ten, and half of them need not go there.
    assert_eq!((right, all), (640, 800));
    assert!((coarse - 0.2).abs() < 1e-9);
}

#[test]
fn a_scaled_score_is_read_by_its_scale() {
    let form = Form::score(number("3"), Some((number("0"), number("1000")))).unwrap();
    let plain = form.colours("713", Reading::AsDelivered);
    assert_eq!(plain, [Some(true), Some(true)]);
    assert_eq!(form.colours("7130", Reading::Scaled(1)), plain);
    assert_eq!(form.colours("7.13", Reading::Scaled(-2)), plain);
    assert!(!form.fits("7130", Reading::Scaled(0)));
    assert!(!form.fits("7.13", Reading::Scaled(0)));
}

#[test]
fn dates_are_read_in_the_styles_of_spreadsheets() {
    let form = Form::date(None).unwrap();
    let plain = form.colours("2026-11-23", Reading::AsDelivered)[0];
    for (cell, style) in [
        ("2026/11/23", DateStyle::YearFirst),
        ("20261123", DateStyle::YearFirst),
        ("2026-11-23 00:00:00", DateStyle::YearFirst),
        ("23.11.2026", DateStyle::DayFirst),
        ("11/23/2026", DateStyle::MonthFirst),
        ("46349", DateStyle::Serial),
    ] {
        assert_eq!(form.colours(cell, Reading::Date(style))[0], plain, "{cell}");
    }
    assert!(!form.fits("23.11.2026", Reading::Date(DateStyle::MonthFirst)));
}

#[test]
fn a_move_to_a_much_rarer_value_is_left_out() {
    let weights = [100, 100, 24, 25];
    let form = Form::ordinal(&["a", "b", "c", "d"], Some(&weights)).unwrap();
    // From b up to c would be to a value under a quarter as frequent: it goes down instead.
    assert_eq!(
        form.mark("b", &[mark(false, true), None]).as_deref(),
        Some("a")
    );
    assert_eq!(
        form.mark("c", &[mark(true, false), None]).as_deref(),
        Some("b")
    );
    let lonely = Form::ordinal(&["a", "b"], Some(&[100, 24])).unwrap();
    assert_eq!(lonely.mark("a", &[mark(true, true), None]), None);
    // 100 of 124 rows show the wrong colour every other time.
    assert!((lonely.misses()[0] - 100.0 / 124.0 / 2.0).abs() < 1e-9);
}

#[test]
fn swaps_need_two_colours() {
    let values = ["a", "b", "c", "d"];
    let swaps = |swaps: &[(u16, u16)]| Form::categorical(&values, swaps, None).map(|_| ());
    assert_eq!(swaps(&[(0, 1), (1, 2), (2, 3), (3, 0)]), Ok(()));
    assert_eq!(
        swaps(&[(0, 1), (1, 2), (2, 0)]),
        Err(MarkError::OddRing { index: 1 })
    );
    assert_eq!(swaps(&[(0, 1), (2, 2)]), Err(MarkError::Swap { index: 1 }));
    assert_eq!(swaps(&[(0, 4)]), Err(MarkError::Swap { index: 0 }));
}

#[test]
fn a_category_moves_along_its_swaps_only() {
    let form = Form::categorical(&["a", "b", "c", "d"], &[(0, 1), (1, 2)], None).unwrap();
    assert_eq!(
        form.mark("a", &[mark(true, true), None]).as_deref(),
        Some("b")
    );
    assert_eq!(
        form.mark("b", &[mark(false, false), None]).as_deref(),
        Some("a")
    );
    assert_eq!(
        form.mark("b", &[mark(false, true), None]).as_deref(),
        Some("c")
    );
    assert_eq!(form.mark("d", &[mark(true, true), None]), None);
    assert_eq!(form.colours("d", Reading::AsDelivered), [None, None]);
}

#[test]
fn what_cannot_carry_marks_is_refused() {
    let ordinal = |values: &[&str], weights| Form::ordinal(values, weights).map(|_| ());
    assert_eq!(ordinal(&["a"], None), Err(MarkError::Values { found: 1 }));
    assert_eq!(
        ordinal(&["a", "a"], None),
        Err(MarkError::Values { found: 2 })
    );
    let weights = Err(MarkError::Weights {
        found: 1,
        expected: 2,
    });
    assert_eq!(ordinal(&["a", "b"], Some(&[1])), weights);
    for tolerance in ["0", "-1", "1001"] {
        let score = Form::score(number(tolerance), None).map(|_| ());
        assert_eq!(score, Err(MarkError::Tolerance), "{tolerance}");
    }
    for tolerance in ["0", "-1"] {
        let amount = Form::amount(number(tolerance)).map(|_| ());
        assert_eq!(amount, Err(MarkError::Tolerance), "{tolerance}");
    }
    let empty = Form::score(number("3"), Some((number("5"), number("5"))));
    assert_eq!(empty.map(|_| ()), Err(MarkError::Domain));
}
