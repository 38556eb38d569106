use std::collections::BTreeMap;

use super::*;
use crate::agreement::tests::sample;
use crate::tag::LOSS_PPM_MAX;
use proptest::prelude::*;

type Rows = Vec<Vec<String>>;

fn minimise(tags: &[Tag], rows: &Rows, k: u32) -> Minimised {
    let mut table = Table::new(tags);
    for row in rows {
        let cells: Vec<_> = row.iter().map(String::as_str).collect();
        table.push(&cells).unwrap();
    }
    table.minimise(k)
}

fn delivered(result: &Minimised) -> Vec<(u32, Vec<String>)> {
    result
        .rows()
        .map(|(index, cells)| (index, cells.map(str::to_owned).collect()))
        .collect()
}

fn repeat(rows: &mut Rows, times: usize, cells: &[&str]) {
    for _ in 0..times {
        rows.push(cells.iter().map(ToString::to_string).collect());
    }
}

/// risk_appetite, age_band, credit_amount, housing.
fn tags() -> Vec<Tag> {
    sample().tags().to_vec()
}

#[test]
fn large_groups_stay_as_they_are() {
    let mut rows = Rows::new();
    repeat(&mut rows, 3, &["low", "[25,35)", "<1000", "own"]);
    repeat(&mut rows, 4, &["high", ">=65", ">=10000", "rent"]);
    let result = minimise(&tags(), &rows, 3);
    assert_eq!(
        delivered(&result)
            .into_iter()
            .map(|(_, cells)| cells)
            .collect::<Vec<_>>(),
        rows
    );
    assert_eq!(
        (
            result.report().generalised_cells,
            result.report().suppressed_rows
        ),
        (0, 0)
    );
}

#[test]
fn a_small_group_takes_the_step_that_loses_least_and_joins() {
    let mut rows = Rows::new();
    // One step on housing makes 2 + 1 = 3 rows "not own"; every other step leaves them apart.
    repeat(&mut rows, 2, &["low", "[25,35)", "<1000", "rent"]);
    repeat(&mut rows, 1, &["low", "[25,35)", "<1000", "for free"]);
    repeat(&mut rows, 5, &["high", "[25,35)", "<1000", "own"]);
    let result = minimise(&tags(), &rows, 3);
    let cells: Vec<_> = delivered(&result)
        .into_iter()
        .map(|(_, cells)| cells[3].clone())
        .collect();
    assert_eq!(
        cells,
        [
            "not own", "not own", "not own", "own", "own", "own", "own", "own"
        ]
    );
    let report = result.report();
    assert_eq!(
        (report.before, report.after, report.generalised_rows),
        (8, 8, 3)
    );
    assert_eq!(report.tags[3].generalised_cells, 3);
    // Three of eight rows lost half of the housing domain.
    assert_eq!(report.tags[3].added_loss_ppm, 187_500);
}

#[test]
fn what_cannot_be_saved_is_suppressed_and_indices_are_kept() {
    let mut rows = Rows::new();
    repeat(&mut rows, 1, &["low", "<25", "<1000", "rent"]);
    repeat(&mut rows, 3, &["high", ">=65", ">=10000", "own"]);
    let result = minimise(&tags(), &rows, 3);
    let indices: Vec<_> = delivered(&result)
        .into_iter()
        .map(|(index, _)| index)
        .collect();
    assert_eq!(indices, [1, 2, 3]);
    assert_eq!(
        (result.report().suppressed_rows, result.report().after),
        (1, 3)
    );
    assert!(minimise(&tags(), &rows, 5).is_empty());
    assert!(minimise(&tags(), &Rows::new(), 5).is_empty());
}

#[test]
fn rows_outside_the_agreement_are_refused_without_their_value() {
    let tags = tags();
    let mut table = Table::new(&tags);
    assert_eq!(
        table.push(&["low"]),
        Err(RowError::Width {
            found: 1,
            expected: 4
        })
    );
    let finer = table
        .push(&["conservative", "<25", "<1000", "own"])
        .unwrap_err();
    assert!(!format!("{finer} {finer:?}").contains("conservative"));
    assert!(table.push(&["low", "31", "<1000", "own"]).is_err());
    assert_eq!(table.push(&["*", "<45", "<5000", "*"]), Ok(0));
    assert_eq!(table.len(), 1);
}

fn values(tag: &Tag) -> Vec<String> {
    let raws: &[&str] = match tag.name().as_str() {
        "risk_appetite" => &["conservative", "balanced", "growth"],
        "age_band" => &["20", "30", "40", "50", "60", "70"],
        "credit_amount" => &["500", "1500", "3000", "7000", "20000"],
        _ => &["own", "rent", "for free"],
    };
    raws.iter()
        .map(|raw| tag.generalise(raw).unwrap().as_str().to_owned())
        .collect()
}

/// Rows of the finest values, and among them some told coarser, as an owner may submit them.
fn any_rows() -> impl Strategy<Value = Rows> {
    let cells: Vec<_> = tags()
        .iter()
        .map(|tag| prop_oneof![15 => prop::sample::select(values(tag)), 1 => Just("*".to_owned())])
        .collect();
    prop::collection::vec(cells, 0..200)
}

fn is_ancestor(tag: &Tag, of: &str, candidate: &str) -> bool {
    let mut current = tag.admit(of).unwrap();
    loop {
        if current.as_str() == candidate {
            return true;
        }
        match tag.coarser(&current) {
            Some(next) => current = next,
            None => return false,
        }
    }
}

fn check(rows: &Rows, result: &Minimised, k: u32) {
    let tags = tags();
    let mut groups: BTreeMap<Vec<String>, u32> = BTreeMap::new();
    let (mut changed, mut changed_rows) = (0, 0);
    for (index, cells) in delivered(result) {
        let original = &rows[index as usize];
        for ((tag, old), new) in tags.iter().zip(original).zip(&cells) {
            assert!(is_ancestor(tag, old, new), "{new} is not above {old}");
            changed += u64::from(old != new);
        }
        changed_rows += u64::from(*original != cells);
        *groups.entry(cells).or_default() += 1;
    }
    assert!(groups.values().all(|count| *count >= k), "{groups:?}");
    let report = result.report();
    assert_eq!(
        (report.generalised_cells, report.generalised_rows),
        (changed, changed_rows)
    );
    assert_eq!(report.after + report.suppressed_rows, rows.len() as u64);
    assert_eq!(report.suppressed_rows, unavoidably_suppressed(rows, k));
    assert!(
        report
            .tags
            .iter()
            .all(|tag| tag.added_loss_ppm <= LOSS_PPM_MAX)
    );
}

/// Rows that nothing can save while large groups stay as they are: there are not `k` rows in
/// small groups to bring together, and no large group is told coarser already.
fn unavoidably_suppressed(rows: &Rows, k: u32) -> u64 {
    let tags = tags();
    let mut counts: BTreeMap<&Vec<String>, u32> = BTreeMap::new();
    rows.iter()
        .for_each(|row| *counts.entry(row).or_default() += 1);
    let (large, small): (Vec<_>, Vec<_>) = counts.into_iter().partition(|(_, count)| *count >= k);
    if small.iter().map(|(_, count)| *count).sum::<u32>() >= k {
        return 0;
    }
    let joins = |row: &&Vec<String>, large: &Vec<String>| {
        let mut cells = tags.iter().zip(row.iter().zip(large));
        cells.all(|(tag, (own, told))| is_ancestor(tag, own, told))
    };
    let lost = small
        .iter()
        .filter(|(row, _)| !large.iter().any(|(large, _)| joins(row, large)));
    lost.map(|(_, count)| u64::from(*count)).sum()
}

proptest! {
    #[test]
    fn every_group_delivered_has_k_rows_of_ancestors(rows in any_rows(), k in 2u32..12) {
        let result = minimise(&tags(), &rows, k);
        check(&rows, &result, k);
    }

    #[test]
    fn another_order_of_the_rows_is_another_order_of_the_outcome(
        (rows, order) in any_rows().prop_flat_map(|rows| {
            let order: Vec<usize> = (0..rows.len()).collect();
            (Just(rows), Just(order).prop_shuffle())
        }),
        k in 2u32..12,
    ) {
        let shuffled: Rows = order.iter().map(|at| rows[*at].clone()).collect();
        let straight = minimise(&tags(), &rows, k);
        let other = minimise(&tags(), &shuffled, k);
        let told: BTreeMap<_, _> = delivered(&straight).into_iter().collect();
        let back = delivered(&other).into_iter();
        let back: BTreeMap<_, _> = back.map(|(at, cells)| (u32::try_from(order[at as usize]).unwrap(), cells)).collect();
        prop_assert_eq!(told, back);
        prop_assert_eq!(straight.report(), other.report());
    }

    #[test]
    fn groups_that_were_large_enough_do_not_change(rows in any_rows(), k in 2u32..6) {
        let result = minimise(&tags(), &rows, k);
        let mut counts: BTreeMap<&Vec<String>, u32> = BTreeMap::new();
        rows.iter().for_each(|row| *counts.entry(row).or_default() += 1);
        let told: BTreeMap<_, _> = delivered(&result).into_iter().collect();
        for (index, row) in (0_u32..).zip(&rows) {
            if counts[row] >= k {
                prop_assert_eq!(told.get(&index), Some(row));
            }
        }
    }

    #[test]
    fn a_minimised_table_is_a_fixed_point(rows in any_rows(), k in 2u32..6) {
        let once: Vec<_> = delivered(&minimise(&tags(), &rows, k)).into_iter().map(|(_, cells)| cells).collect();
        let twice = minimise(&tags(), &once, k);
        prop_assert_eq!(twice.report().generalised_cells + twice.report().suppressed_rows, 0);
    }
}

#[test]
fn steps_taken_together_keep_the_promise_too() {
    // 5 * 20 * 1000 exact amounts: far more small groups than choose one by one.
    let text = crate::agreement::tests::sample_text().replace(
        "credit_amount\"\nform = \"banded\"",
        "credit_amount\"\nform = \"exact\"",
    );
    let tags = crate::agreement::Agreement::parse(&text)
        .unwrap()
        .tags()
        .to_vec();
    let [risk, age, _, housing] = [0, 1, 2, 3].map(|tag| values(&tags[tag]));
    let mut table = Table::new(&tags);
    for row in 0..100_000_usize {
        let amount = row.to_string();
        let cells = [
            &risk[row % 3],
            &age[row % 6],
            &amount,
            &housing[row / 7 % 3],
        ];
        table.push(&cells.map(String::as_str)).unwrap();
    }
    let result = table.minimise(10);
    let mut groups: BTreeMap<Vec<String>, u32> = BTreeMap::new();
    delivered(&result)
        .into_iter()
        .for_each(|(_, cells)| *groups.entry(cells).or_default() += 1);
    assert!(groups.values().all(|count| *count >= 10));
    assert_eq!(result.report().suppressed_rows, 0);
    // The amounts are banded; the other tags lose nothing for it.
    assert_eq!(result.report().tags[0].generalised_cells, 0);
    assert_eq!(result.report().tags[2].generalised_cells, 100_000);
}

mod marks;
mod optimum;
