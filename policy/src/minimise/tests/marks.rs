//! Marks: once they are in, there is nothing else to fall back on.

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
fn rare_rows_are_told_coarser_from_what_marks_made_of_them() {
    let mut table = Table::new(&tags());
    for housing in ["own", "own", "for free", "own", "own", "own"] {
        table.push(&["low", "[25,35)", "<1000", housing]).unwrap();
    }
    marked(&mut table, 0..2);
    let result = table.minimise(3);
    // Two that were "own" are told as what is above "rent".
    assert_eq!(housing(&result), [["not own"; 3], ["own"; 3]].concat(),);
    assert_eq!(result.report().generalised_rows, 3);
}

#[test]
fn no_neighbours_bring_back_what_a_row_had_before_its_marks() {
    // The same eight rows with the same marks in two flows. In the second there are no others with the marked value.
    let flow = |others: usize| {
        let mut table = Table::new(&tags());
        for _ in 0..8 {
            table.push(&["low", "[25,35)", "<1000", "own"]).unwrap();
        }
        for _ in 0..others {
            table.push(&["low", "[25,35)", "<1000", "rent"]).unwrap();
        }
        marked(&mut table, 0..3);
        let delivered = delivered(&table.minimise(5)).into_iter();
        delivered
            .filter(|(row, _)| *row < 3)
            .map(|(_, cells)| cells[PLACE].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(flow(2), ["rent"; 3]);
    // Fewer than k in all have no place, and "own" they are not.
    assert!(flow(1).is_empty());
    assert!(flow(0).is_empty());
}

#[test]
fn cells_that_can_show_marks_are_counted() {
    let left = |marks: std::ops::Range<usize>| {
        let mut table = table(10);
        marked(&mut table, marks);
        table.minimise(5).cells_left().to_vec()
    };
    assert_eq!(left(0..5), [1.0; 4]);
    assert_eq!(left(0..0), [1.0; 4]);
    // What is told coarser shows no mark.
    let mut coarse = Table::new(&tags());
    for housing in ["own", "rent", "for free"] {
        coarse.push(&["low", "[25,35)", "<1000", housing]).unwrap();
    }
    coarse.mark(0, [(0, "low")]);
    let coarse = coarse.minimise(3);
    assert_eq!(
        (coarse.len(), coarse.cells_left()),
        (3, &[1.0, 1.0, 1.0, 0.0][..])
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

/// Rows as they are, and marks: row, column and the number of a value of that column.
fn rows_and_marks() -> impl Strategy<Value = (Rows, Vec<(usize, usize, usize)>)> {
    let marks = prop::collection::vec((0_usize..60, 0_usize..4, 0_usize..3), 0..90);
    (any_rows(), marks)
}

proptest! {
    /// The whole promise: who chooses rows sees a function of marked rows, and no cell that is not above a marked one.
    #[test]
    fn a_marked_table_is_minimised_as_if_its_rows_had_come_so(
        (rows, marks) in rows_and_marks(),
        k in 2_u32..12,
    ) {
        let tags = tags();
        let mut table = Table::new(&tags);
        for row in &rows {
            let cells: Vec<_> = row.iter().map(String::as_str).collect();
            table.push(&cells).unwrap();
        }
        let mut as_marked = rows.clone();
        for (row, column, value) in marks {
            let value = &values(&tags[column])[value];
            table.mark(column, [(row, value.as_str())]);
            if let Some(cells) = as_marked.get_mut(row) {
                cells[column].clone_from(value);
            }
        }
        let result = table.minimise(k);
        check(&as_marked, &result, k);
        let plain = minimise(&tags, &as_marked, k);
        prop_assert_eq!(delivered(&result), delivered(&plain));
        prop_assert_eq!(result.report(), plain.report());
    }
}
