//! Vectors from Python's hashlib over the definitions, apart from this code.

use super::super::tests::SESSION;
use super::*;
use crate::session::Role;

#[test]
fn commitment_and_answer_are_pinned() {
    let direction = Direction::new(SESSION, Role::Owner, 1);
    assert_eq!(
        hex::encode(commitment(&direction, 5)),
        "42b5250076d45edac95eedc6b5a1a8ec16ad713247b01a89f067e2a560b3381e"
    );
    assert_eq!(
        hex::encode(shown(&direction, 5)),
        "64aa83e525821e30c1ec3fa6867e9fa4fa56772b6b161daf8335faa724209ca4"
    );
}

/// The first tree of each direction has the keys of that direction: its left child of root 1 is AES of it plus 1.
#[test]
fn the_trees_keys_are_pinned() {
    for (keyed, keys) in [
        (
            Role::Owner,
            [
                0x4516_6e1d_864b_97eb_e0bb_a686_3dc8_1fe3,
                0xe237_1746_9aad_c347_093a_88ad_e9b2_1e0f,
            ],
        ),
        (
            Role::Recipient,
            [
                0x65c8_944b_2226_41d8_76df_0f22_de6f_91f2,
                0x5b51_40fe_2481_102a_e35c_3a4d_c692_77dc,
            ],
        ),
    ] {
        let grown = |growth: &Growth| {
            let mut leaves = [0; 2];
            growth.grow(1, &mut leaves, &mut [Sums::default()]);
            leaves
        };
        let direction = Direction::new(SESSION, keyed, 1);
        assert_eq!(grown(&growth(&direction)), grown(&Growth::new(keys)));
    }
}
