//! The marking assumption: who has the same symbol gets the same cell.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::form::Marks;
use crate::position::{Places, Symbols, prefix};
use crate::testing::{NAME, World, master, suspect};
use crate::{Column, Embedder};

use super::Batch;

/// The symbols that a flow's cells carry.
fn marks(world: &World, column: &Column, recipient: usize) -> Vec<Marks> {
    let suspect = suspect(recipient, 1);
    let dataset = world.dataset();
    let embedder = Embedder::new(
        &world.lineage,
        &dataset,
        &suspect.recipient,
        &suspect.flows[0],
    );
    let mut marks = Vec::new();
    for tags in world.tags.chunks(crate::position::BATCH) {
        let mut batch = Batch::default();
        batch.fill(&embedder, column, column.form().channels(), tags);
        marks.extend(batch.marks);
    }
    marks
}

/// The symbols alone: a tie that differed between flows must be seen in the cells.
fn bits(marks: &Marks) -> [Option<bool>; 2] {
    marks.map(|mark| mark.map(|mark| mark.bit))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever else the two flows have: one has all rows, the other some of them in another order.
    #[test]
    fn equal_symbols_give_identical_cells(seed: u64, kept in 1_usize..300) {
        let world = World::new(300, 300_000, seed);
        let whole = world.delivery(1, 0);
        let mut part = World::new(300, 300_000, seed);
        part.tags.reverse();
        part.held.iter_mut().for_each(|column| column.reverse());
        part.tags.truncate(kept);
        part.held.iter_mut().for_each(|column| column.truncate(kept));
        let small = part.delivery(2, 0);
        let mut same = 0;
        for (place, column) in world.lineage.columns().iter().enumerate() {
            let ours = marks(&world, column, 1);
            let theirs = marks(&part, column, 2);
            for row in 0..kept {
                let there = 299 - row;
                if bits(&ours[there]) == bits(&theirs[row]) {
                    same += 1;
                    prop_assert_eq!(&whole[place][there], &small[place][row]);
                }
            }
        }
        prop_assert!(same > 0);
    }
}

#[test]
fn biases_ties_and_classes_are_the_lineages_and_not_the_recipients() {
    let world = World::new(2000, 300_000, 1);
    let ours = marks(&world, &world.lineage.columns()[2], 1);
    let theirs = marks(&world, &world.lineage.columns()[2], 2);
    let ties = |marks: &[Marks]| {
        marks
            .iter()
            .map(|marks| marks.map(|mark| mark.map(|mark| mark.tie)))
            .collect::<Vec<_>>()
    };
    assert_eq!(ties(&ours), ties(&theirs));
    assert_ne!(ours, theirs);
}

/// Shares of 2000 x 2 positions, within four standard deviations.
#[test]
fn biases_classes_and_selection_have_their_shares() {
    let world = World::new(20_000, 300_000, 2);
    let places = Places::new(&world.dataset(), world.lineage.flow_share());
    let column = &world.lineage.columns()[2];
    let prefixes: Vec<_> = world
        .tags
        .iter()
        .map(|tag| prefix(*tag, column.digest()))
        .collect();
    let (mut biases, mut flows, mut ties, mut selected) = (BTreeMap::new(), 0, 0, 0);
    for prefixes in prefixes.chunks(crate::position::BATCH) {
        let mut all = Vec::new();
        places.params(prefixes, 1 << 16, 1, &mut all);
        for params in all.iter().map(|lanes| lanes[0].unwrap()) {
            *biases.entry(params.bias).or_insert(0) += 1;
            flows += u32::from(params.class == crate::position::Class::Flow);
            ties += u32::from(params.tie);
        }
        let mut some = Vec::new();
        places.params(prefixes, 2621, 1, &mut some);
        selected += some.iter().flatten().flatten().count() as u32;
    }
    let near = |found: u32, share: f64| {
        let deviation = (20_000.0 * share * (1.0 - share)).sqrt();
        assert!(
            (f64::from(found) - 20_000.0 * share).abs() < 4.0 * deviation,
            "{found} {share}"
        );
    };
    near(biases[&0], 0.332);
    near(biases[&1], 0.336);
    near(biases[&2], 0.332);
    near(flows, 1.0 / 3.0);
    near(ties, 0.5);
    near(selected, 0.04);
}

#[test]
fn symbols_are_one_as_often_as_their_bias() {
    let world = World::new(5000, 300_000, 3);
    let symbols = Symbols::new(&master().recipient(NAME, "somebody"));
    let column = &world.lineage.columns()[0];
    let mut below = 0;
    for tags in world.tags.chunks(crate::position::BATCH) {
        let prefixes: Vec<_> = tags
            .iter()
            .map(|tag| prefix(*tag, column.digest()))
            .collect();
        let mut lanes = [[0; 2]; crate::position::BATCH];
        symbols.lanes(&prefixes, &mut lanes);
        below += lanes[..tags.len()]
            .iter()
            .filter(|lanes| lanes[0] < 7386)
            .count();
    }
    // 5000 x .1127 = 563.5, standard deviation 22.4.
    assert!((474..=653).contains(&below), "{below}");
}
