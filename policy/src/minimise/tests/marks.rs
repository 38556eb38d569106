//! Marks, and how they are taken back.

use super::*;

const PLACE: usize = 3;

/// `rows` rows of one combination.
fn table(rows: usize) -> Table {
    let mut table = Table::new(&tags());
    for _ in 0..rows {
        table.push(&["low", "[25,35)", "<1000", "own"]).unwrap();
    }
    table
}

fn housing(result: &Minimised) -> Vec<String> {
    delivered(result)
        .into_iter()
        .map(|(_, cells)| cells[PLACE].clone())
        .collect()
}

fn marked(table: &mut Table, rows: std::ops::Range<usize>) {
    table.mark(PLACE, rows.map(|row| (row, "rent")));
}

#[test]
fn marks_stay_where_k_rows_have_the_marked_combination() {
    let mut table = table(10);
    marked(&mut table, 0..5);
    assert_eq!(table.cells(PLACE).filter(|cell| *cell == "rent").count(), 5);
    let result = table.minimise(5);
    assert_eq!(housing(&result), [["rent"; 5], ["own"; 5]].concat());
    assert_eq!(result.report().generalised_rows, 0);
}

#[test]
fn a_row_loses_its_marks_before_it_is_told_coarser() {
    let mut table = table(10);
    marked(&mut table, 0..4);
    let result = table.minimise(5);
    // Four rows of `rent` are under k; without marks all ten are alike, and nothing is lost.
    assert_eq!(housing(&result), ["own"; 10]);
    assert_eq!(result.report().generalised_rows, 0);
}

#[test]
fn who_lost_a_mark_is_counted_with_those_who_had_none() {
    let mut table = table(7);
    // Four without a mark are under k as well, but not with the three that lose theirs.
    marked(&mut table, 0..3);
    let result = table.minimise(5);
    assert_eq!(housing(&result), ["own"; 7]);
    assert_eq!(result.report().suppressed_rows, 0);
}

#[test]
fn who_loses_a_mark_leaves_nothing_that_others_are_told_coarser_for() {
    // Three rows that are told as one group of `not own`, and five of which one is marked and given back its cell.
    let rows = |marked: bool| {
        let mut table = Table::new(&tags());
        for housing in ["rent", "rent", "for free"] {
            table.push(&["low", "[25,35)", "<1000", housing]).unwrap();
        }
        for _ in 0..5 {
            table.push(&["high", ">=65", ">=10000", "own"]).unwrap();
        }
        if marked {
            table.mark(0, [(3, "medium")]);
            table.mark(PLACE, [(3, "rent")]);
        }
        delivered(&table.minimise(3))
    };
    assert_eq!(rows(true), rows(false));
}

#[test]
fn cells_that_show_their_marks_are_counted() {
    let left = |marks: std::ops::Range<usize>| {
        let mut table = table(10);
        marked(&mut table, marks);
        table.minimise(5).marks_left().to_vec()
    };
    assert_eq!(left(0..5), [1.0; 4]);
    assert_eq!(left(0..0), [1.0; 4]);
    // Four were given back what they had.
    assert_eq!(left(0..4), [0.6; 4]);
    // What is told coarser shows no mark.
    let mut coarse = Table::new(&tags());
    for housing in ["own", "rent", "for free"] {
        coarse.push(&["low", "[25,35)", "<1000", housing]).unwrap();
    }
    coarse.mark(0, [(0, "low")]);
    let coarse = coarse.minimise(3);
    assert_eq!(
        (coarse.len(), coarse.marks_left()),
        (3, &[1.0, 1.0, 1.0, 0.0][..])
    );
}

#[test]
fn marks_of_several_columns_are_taken_back_together() {
    let mut table = table(10);
    marked(&mut table, 0..3);
    table.mark(0, (2..4).map(|row| (row, "medium")));
    let result = table.minimise(5);
    let cells = delivered(&result);
    assert!(
        cells
            .iter()
            .all(|(_, cells)| cells[0] == "low" && cells[PLACE] == "own")
    );
}

#[test]
fn a_mark_that_is_no_value_of_its_tag_changes_nothing() {
    let mut table = table(10);
    table.mark(PLACE, (0..10).map(|row| (row, "castle")));
    table.mark(9, [(0, "own")]);
    marked(&mut table, 10..12);
    assert_eq!(housing(&table.minimise(5)), ["own"; 10]);
}

proptest! {
    #[test]
    fn no_marked_combination_under_k_is_delivered(
        marks in prop::collection::vec((0_usize..40, 0_usize..3), 0..60),
        k in 2_u32..8,
    ) {
        let mut table = table(40);
        for (row, value) in marks {
            table.mark(PLACE, [(row, ["own", "rent", "for free"][value])]);
        }
        let result = table.minimise(k);
        let mut counts: BTreeMap<Vec<String>, u32> = BTreeMap::new();
        for (_, cells) in delivered(&result) {
            *counts.entry(cells).or_default() += 1;
        }
        prop_assert!(counts.values().all(|count| *count >= k));
    }
}
