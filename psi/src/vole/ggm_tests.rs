use super::*;

/// Left and right child of a node, one at a time.
fn children(growth: &Growth, node: u128) -> [u128; 2] {
    [&growth.left, &growth.right].map(|side| {
        let mut out = [0];
        side.map(&[node], &mut out);
        out[0]
    })
}

/// Leaf `place` by walking down to it, and the sums of all levels of the full tree cut at `leaves`.
fn expand(growth: &Growth, root: u128, leaves: usize) -> (Vec<u128>, Vec<Sums>) {
    let depth = leaves.next_power_of_two().ilog2();
    let mut level = vec![root];
    let mut sums = Vec::new();
    for below in (0..depth).rev() {
        level = level
            .iter()
            .flat_map(|node| children(growth, *node))
            .collect();
        level.truncate(leaves.div_ceil(1 << below));
        let side = |side| {
            level
                .iter()
                .skip(side)
                .step_by(2)
                .fold(0, |sum, node| sum ^ node)
        };
        sums.push([side(0), side(1)]);
    }
    (level, sums)
}

#[test]
fn a_tree_is_what_single_steps_make_it() {
    let growth = Growth::new([1, 2]);
    for leaves in [2, 3, 4, 5, 7, 8, 100, 128, 129, 1_000] {
        let (mut grown, depth) = (vec![0; leaves], leaves.next_power_of_two().ilog2() as usize);
        let mut sums = vec![[0; 2]; depth];
        growth.grow(77, &mut grown, &mut sums);
        assert_eq!((grown, sums), expand(&growth, 77, leaves), "{leaves}");
    }
}

#[test]
fn a_punctured_tree_lacks_one_leaf_and_no_other() {
    let growth = Growth::new([1, 2]);
    for leaves in [2, 3, 6, 11, 64, 65] {
        let (whole, sums) = expand(&growth, 5, leaves);
        for hole in 0..leaves {
            let known: Vec<u128> = sums
                .iter()
                .zip((0..sums.len()).rev())
                .map(|(sums, below)| sums[(hole >> below & 1) ^ 1])
                .collect();
            let mut punctured = vec![0; leaves];
            growth.grow_punctured(hole, &known, &mut punctured);
            let mut expected = whole.clone();
            expected[hole] = 0;
            assert_eq!(punctured, expected, "{leaves} leaves, hole {hole}");
        }
    }
}
