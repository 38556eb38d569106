use super::*;
use crate::testing::{World, suspect};
use crate::trace::Standard;

fn reach() -> Reach {
    Reach::new(&World::new(1, 20_000, 1).lineage)
}

fn threshold() -> f64 {
    Standard::BILLION.ln_threshold(1_000_000)
}

#[test]
fn more_colluders_need_more_rows() {
    let reach = reach();
    let rows = |colluders| {
        reach
            .rows_needed(Level::Recipient, colluders, threshold())
            .unwrap()
    };
    for colluders in 1..15 {
        assert!(rows(colluders) < rows(colluders + 1), "{colluders}");
    }
    let max = reach.colluders_max(Level::Recipient, rows(4), threshold());
    assert_eq!(max, 4);
    assert_eq!(
        reach.colluders_max(Level::Recipient, rows(1) - 1, threshold()),
        0
    );
}

#[test]
fn flows_have_half_of_what_recipients_have() {
    let reach = reach();
    let rows = |level| reach.rows_needed(level, 1, threshold()).unwrap() as f64;
    let ratio = rows(Level::Flow) / rows(Level::Recipient);
    assert!((1.9..2.1).contains(&ratio), "{ratio}");
}

#[test]
fn few_tags_cannot_carry_it() {
    let world = World::new(1, 20_000, 1);
    let columns = world.lineage.columns()[..1].to_vec();
    let narrow = Lineage::new(columns, crate::TagBits::new(12).unwrap()).unwrap();
    let reach = Reach::new(&narrow);
    // 4096 x .04 x 2/3 = 109 positions: just enough for one leaker, whatever the number of rows.
    assert!(
        reach
            .rows_needed(Level::Recipient, 1, threshold())
            .is_some()
    );
    assert_eq!(reach.rows_needed(Level::Recipient, 2, threshold()), None);
    assert_eq!(reach.rows_needed(Level::Flow, 1, threshold()), None);
    assert_eq!(
        reach.colluders_max(Level::Recipient, 1 << 30, threshold()),
        1
    );
}

/// Sixteen who always take the rarer cell look like innocents to a decoder that scores one by one.
#[test]
fn there_is_an_end_to_it() {
    assert_eq!(reach().rows_needed(Level::Recipient, 16, threshold()), None);
    assert_eq!(
        reach().colluders_max(Level::Recipient, u64::MAX, threshold()),
        15
    );
}

/// What is predicted for one leaker names it in most of twenty simulated leaks, and half does not.
#[test]
fn the_prediction_holds_for_one_leaker() {
    let rows = reach()
        .rows_needed(Level::Recipient, 1, threshold())
        .unwrap() as usize;
    let named = |rows: usize| {
        let one = |seed| {
            let world = World::new(rows, 20_000, seed);
            let trace = world.trace(&world.leak(&world.delivery(1, 0), rows));
            trace.ln_e(Level::Recipient, &suspect(1, 0).recipient) >= threshold()
        };
        (0..20).filter(|seed| one(*seed)).count()
    };
    assert!(named(rows) >= 17, "{rows}: {}", named(rows));
    assert!(named(rows / 2) <= 3, "{rows}: {}", named(rows / 2));
}
