//! The noisy VOLE, before it is compressed, and the noise in it.

use super::super::field::tests::schoolbook;
use super::super::tests::{SESSION, rng};
use super::super::{keyed, shape};
use super::*;
use crate::session::Role;

struct NoisyVole {
    /// C' and A'.
    pairs: Zeroizing<Vec<code::Pair>>,
    /// B'.
    leaves: Vec<u128>,
    delta: u128,
    asking: Extended,
}

fn noisy_vole(items: usize) -> NoisyVole {
    let direction = Direction::new(SESSION, Role::Owner, items);
    let delta = draw(&mut rng(20));
    let keyed = keyed::Begun::new(direction, delta, &mut rng(21));
    let asking = Begun::new(direction, &mut rng(22));
    let (asking, reply) = asking.extend(&keyed.opening()).unwrap();
    let (keyed, trees) = keyed.grow(&reply).unwrap();
    let (pairs, _) = asking.answers_and_noise(&trees);
    let (leaves, used) = keyed.leaves();
    assert_eq!(used, delta);
    NoisyVole {
        pairs,
        leaves: leaves.to_vec(),
        delta,
        asking,
    }
}

/// C' = A' * delta + B' at every leaf, with the product from the field's definition: trees of one, three and four levels, of
/// which two lack leaves.
#[test]
fn answers_are_the_noise_times_delta_plus_the_other_sides_leaves() {
    for (items, leaves) in [(1, 2), (1_100, 5), (3_000, 11)] {
        let vole = noisy_vole(items);
        assert_eq!(vole.asking.direction.shape.leaves, leaves);
        assert_eq!(vole.pairs.len(), vole.leaves.len());
        assert_eq!(vole.pairs.len(), leaves * shape::NOISE);
        for (place, (code::Pair(c, a), b)) in vole.pairs.iter().zip(&vole.leaves).enumerate() {
            assert_eq!(*c, schoolbook(*a, vole.delta) ^ b, "{items}: {place}");
        }
    }
}

#[test]
fn each_block_has_one_noisy_place_with_the_scalar_that_was_drawn() {
    for items in [1, 1_100, 3_000] {
        let NoisyVole { pairs, asking, .. } = noisy_vole(items);
        let (shape, noise) = (asking.direction.shape, &asking.drawn.noise);
        assert_eq!(noise.holes.len(), shape::NOISE);
        // The blocks of choices behind those of the paths, which nothing else reads.
        let scalars = &noise.choices[shape.path_blocks()..][..shape::NOISE];
        for ((block, hole), scalar) in pairs.chunks(shape.leaves).zip(&*noise.holes).zip(scalars) {
            let noisy: Vec<_> = block
                .iter()
                .enumerate()
                .filter(|(_, code::Pair(_, a))| *a != 0)
                .map(|(place, code::Pair(_, a))| (place, *a))
                .collect();
            assert_eq!(noisy, [(*hole, *scalar)]);
        }
        // 843 of 2^128: two equal ones are as good as impossible.
        let different: std::collections::BTreeSet<_> = scalars.iter().collect();
        assert_eq!(different.len(), shape::NOISE);
    }
}

/// Pearson's statistic over all leaves of all trees, against the normal distribution that it is near to, five standard deviations
/// to either side; and over the leaves of one tree, all trees together, which shows a bias that is the same in each.
#[test]
fn holes_are_spread_evenly_over_each_tree() {
    const DRAWS: usize = 400;
    for (items, leaves) in [(1, 2), (1_100, 5), (3_000, 11), (12_000, 38)] {
        let shape = Shape::new(Direction::new(SESSION, Role::Owner, items).layout.length());
        assert_eq!(shape.leaves, leaves);
        let mut counts = vec![vec![0_usize; leaves]; shape::NOISE];
        for key in 0..DRAWS as u128 {
            let noise = Noise::draw(&shape, key);
            for (counts, hole) in counts.iter_mut().zip(&*noise.holes) {
                counts[*hole] += 1;
            }
        }
        let expected = DRAWS as f64 / leaves as f64;
        let statistic: f64 = counts
            .iter()
            .flatten()
            .map(|count| (*count as f64 - expected).powi(2) / expected)
            .sum();
        let freedom = (shape::NOISE * (leaves - 1)) as f64;
        assert!(
            (statistic - freedom).abs() < 5.0 * (2.0 * freedom).sqrt(),
            "{leaves} leaves: {statistic} of {freedom}"
        );
        let expected = expected * shape::NOISE as f64;
        let statistic: f64 = (0..leaves)
            .map(|leaf| {
                let count: usize = counts.iter().map(|tree| tree[leaf]).sum();
                (count as f64 - expected).powi(2) / expected
            })
            .sum();
        let freedom = (leaves - 1) as f64;
        assert!(
            statistic < freedom + 5.0 * (2.0 * freedom).sqrt(),
            "{leaves} leaves together: {statistic} of {freedom}"
        );
    }
}
