use super::*;
use crate::DateStyle;
use crate::form::Form;
use crate::lineage::{Budget, Column};
use crate::tag::TagBits;
use crate::testing::World;

fn lineage(forms: Vec<(&str, Form)>) -> Lineage {
    let bits = TagBits::new(16).unwrap();
    let budget = Budget::new(20_000, 1 << 20).unwrap();
    let column = |(name, form)| Column::new(name, form, budget, bits).unwrap();
    Lineage::new(forms.into_iter().map(column).collect(), bits).unwrap()
}

fn leak(columns: &[&[&str]]) -> Leak {
    let bits = TagBits::new(16).unwrap();
    let tags = (0..columns[0].len()).map(|row| MarkTag::new(row as u32, bits).unwrap());
    let text = |column: &&[&str]| column.iter().map(|cell| Box::from(*cell)).collect();
    Leak::new(tags.collect(), columns.iter().map(text).collect()).unwrap()
}

fn pairs(assignment: &Assignment) -> Vec<(usize, usize)> {
    assignment
        .iter()
        .map(|matched| (matched.found, matched.column))
        .collect()
}

#[test]
fn columns_that_look_alike_are_tried_both_ways() {
    let list = |values: &[&str]| Form::ordinal(values, None).unwrap();
    let lineage = lineage(vec![
        ("a", list(&["1", "2"])),
        ("b", list(&["1", "2", "3"])),
    ]);
    let leak = leak(&[&["1", "2"], &["2", "1"], &["x", "y"]]);
    let both = assignments(&lineage, &leak, &[]).unwrap();
    assert_eq!(
        both.iter().map(pairs).collect::<Vec<_>>(),
        [[(0, 0), (1, 1)], [(0, 1), (1, 0)]]
    );
    let known = assignments(&lineage, &leak, &[Some(1)]).unwrap();
    assert_eq!(
        known.iter().map(pairs).collect::<Vec<_>>(),
        [[(0, 1), (1, 0)]]
    );
    let wrong = assignments(&lineage, &leak, &[Some(2)]);
    assert_eq!(wrong, Err(MarkError::NoColumn { index: 2 }));
}

#[test]
fn a_column_gives_way_to_one_that_has_no_other_place() {
    let list = |values: &[&str]| Form::ordinal(values, None).unwrap();
    let lineage = lineage(vec![
        ("a", list(&["1", "2"])),
        ("b", list(&["1", "2", "3"])),
    ]);
    // The first could be both; the second, with its 3, the second alone.
    let leak = leak(&[&["1", "2", "1"], &["3", "3", "1"]]);
    let found = assignments(&lineage, &leak, &[]).unwrap();
    assert_eq!(
        found.iter().map(pairs).collect::<Vec<_>>(),
        [[(0, 0), (1, 1)]]
    );
}

#[test]
fn scales_and_date_styles_are_told_from_the_cells() {
    let domain = Some(("0".parse().unwrap(), "1000".parse().unwrap()));
    let score = Form::score("3".parse().unwrap(), domain).unwrap();
    let lineage = lineage(vec![("score", score), ("born", Form::date(None).unwrap())]);
    let leak = leak(&[
        &["7.13", "6.48", "9.9"],
        &["11/23/2026", "1/31/2026", "2/2/2026"],
    ]);
    let found = assignments(&lineage, &leak, &[]).unwrap();
    let readings: Vec<_> = found
        .iter()
        .map(|all| (all[0].reading, all[1].reading))
        .collect();
    assert_eq!(
        readings,
        [(Reading::Scaled(-2), Reading::Date(DateStyle::MonthFirst))]
    );
}

#[test]
fn nothing_of_the_lineage_gives_no_reading() {
    let world = World::new(10, 20_000, 1);
    let leak = leak(&[&["red", "green"], &["", " "]]);
    assert!(assignments(&world.lineage, &leak, &[]).unwrap().is_empty());
}

#[test]
fn too_many_ways_are_refused() {
    let list = || Form::ordinal(&["1", "2"], None).unwrap();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let lineage = lineage(names.iter().map(|name| (*name, list())).collect());
    let leak = leak(&[&["1", "2"] as &[_]; 12]);
    let limit = ASSIGNMENTS_MAX;
    assert_eq!(
        assignments(&lineage, &leak, &[]),
        Err(MarkError::TooAmbiguous { limit })
    );
    let known: Vec<_> = (0..12).map(Some).collect();
    assert_eq!(assignments(&lineage, &leak, &known).unwrap().len(), 1);
}

#[test]
fn ragged_columns_are_refused() {
    let bits = TagBits::new(16).unwrap();
    let tags = vec![MarkTag::new(1, bits).unwrap()];
    let ragged = Leak::new(tags, vec![vec!["a".into()], Vec::new()]).map(|_| ());
    let (index, found, expected) = (1, 0, 1);
    assert_eq!(
        ragged,
        Err(MarkError::Ragged {
            index,
            found,
            expected
        })
    );
}

#[test]
fn debug_shows_no_cell() {
    let shown = format!("{:?}", leak(&[&["secret"]]));
    assert!(!shown.contains("secret"), "{shown}");
}
