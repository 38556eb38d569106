use super::*;

const KEYS: [u128; 2] = [1, 2];

/// Left and right child of a node: AES of it, plus itself.
fn children(node: u128) -> [u128; 2] {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    KEYS.map(|key| {
        let mut block = node.to_le_bytes().into();
        aes::Aes128Enc::new(&key.to_le_bytes().into()).encrypt_block(&mut block);
        u128::from_le_bytes(block.into()) ^ node
    })
}

/// Leaf `place` by walking down to it, and the sums of all levels of the full tree cut at `leaves`.
fn expand(root: u128, leaves: usize) -> (Vec<u128>, Vec<Sums>) {
    let depth = leaves.next_power_of_two().ilog2();
    let mut level = vec![root];
    let mut sums = Vec::new();
    for below in (0..depth).rev() {
        level = level.iter().flat_map(|node| children(*node)).collect();
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
    let growth = Growth::new(KEYS);
    for leaves in [2, 3, 4, 5, 7, 8, 100, 128, 129, 1_000] {
        let (mut grown, depth) = (vec![0; leaves], leaves.next_power_of_two().ilog2() as usize);
        let mut sums = vec![[0; 2]; depth];
        growth.grow(77, &mut grown, &mut sums);
        assert_eq!((grown, sums), expand(77, leaves), "{leaves}");
    }
}

#[test]
fn a_punctured_tree_lacks_one_leaf_and_no_other() {
    let growth = Growth::new(KEYS);
    for leaves in [2, 3, 6, 11, 64, 65] {
        let (whole, sums) = expand(5, leaves);
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

/// From Python (AES-128 of `cryptography`, apart from this code): a tree of 11 leaves, which its four levels would have room for
/// 16 of.
#[test]
fn a_tree_is_pinned() {
    let mut leaves = [0; 11];
    let mut sums = [Sums::default(); 4];
    Growth::new(KEYS).grow(77, &mut leaves, &mut sums);
    assert_eq!(leaves, LEAVES);
    assert_eq!(sums, SUMS);
    // And punctured at the seventh leaf, from what the other side would then be told.
    let known = [SUMS[0][1], SUMS[1][0], SUMS[2][0], SUMS[3][1]];
    let mut punctured = [0; 11];
    Growth::new(KEYS).grow_punctured(6, &known, &mut punctured);
    let mut expected = LEAVES;
    expected[6] = 0;
    assert_eq!(punctured, expected);
}

const LEAVES: [u128; 11] = [
    0xe78c_3197_21e5_9dbf_6f72_be3c_cfb2_4c2e,
    0xc532_baa8_111f_2eea_fa09_2296_a4fa_dcad,
    0x6ac8_9e1a_25cb_327a_a96a_c9d1_2b60_1a4b,
    0x5a11_3256_8456_53f8_5de7_9d1c_64c9_29db,
    0xafd1_0a3c_a06f_30bf_0586_ee51_071d_8e29,
    0xc7e0_9528_eefe_b1d2_cd6a_f3e2_a4cf_2230,
    0x3bba_be14_c156_2b07_8196_f24e_1dcd_099d,
    0xf324_e1bf_63a2_51bb_2eb9_c921_900d_03e2,
    0x2119_cd82_33e7_0f2c_245c_f0e7_9e4d_5dab,
    0xb180_4d95_bdc2_359b_13b3_fcec_981f_5945,
    0x4cc3_4cdb_8dfe_0888_2e0c_e2d8_f074_53f3,
];

const SUMS: [Sums; 4] = [
    [
        0xe0aa_c6ef_e56a_3806_f9c8_cc61_08c3_9438,
        0xe8a7_050b_f55e_6b72_4f36_4dbb_e2d7_acdc,
    ],
    [
        0xc2c9_dc56_e99c_0c08_599b_c239_5dc8_0d28,
        0x6138_e933_201d_be07_d233_ab1c_597f_0655,
    ],
    [
        0x23a8_19fd_dcc9_5f7a_5175_71cc_14d8_b514,
        0xeeea_b010_85f5_02e4_d85b_408a_35bd_3517,
    ],
    [
        0x74f5_9afc_db0e_b3d9_4858_79cd_903b_df89,
        0x1a67_b1fc_a5d7_a8e0_578e_79a5_6cee_8de1,
    ],
];
