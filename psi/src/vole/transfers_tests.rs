//! Vectors from Python (hashlib, and integers for the field) over the definitions, apart from this code.

use sha2::{Digest, Sha256};

use super::super::direction::first_half;
use super::super::tests::SESSION;
use super::*;
use crate::session::Role;

#[test]
fn pads_are_pinned() {
    let direction = |keyed| Direction::new(SESSION, keyed, 1);
    assert_eq!(
        pad(&direction(Role::Owner), 0, 7),
        0x2c8b_9011_ec19_8983_7df9_65f1_fe13_d4f0
    );
    assert_eq!(
        pad(&direction(Role::Recipient), 1_000, 1 << 127 | 5),
        0x8be3_014a_a1a8_767f_2f95_6cba_1bb1_c014
    );
}

#[test]
fn packing_is_pinned() {
    // Row i is the first half of SHA-256 of i in decimal digits.
    let rows: Vec<u128> = (0..128)
        .map(|i: u32| first_half(&Sha256::digest(i.to_string()).into()))
        .collect();
    assert_eq!(pack(&rows), 0x07eb_3eb7_4216_e05f_fdd8_6386_e4b5_1b07);
}

/// pack(t + r * delta) = pack(t) + dot(r, delta), which makes the scalars of the noise.
#[test]
fn packed_rows_differ_by_the_packed_bits_times_delta() {
    use super::super::field::tests::schoolbook;
    let (bits, delta) = (0x1234_5678_9abc_def0_u128 << 60 | 7, 3 << 90 | 11);
    let t: Vec<u128> = (0..128).map(|i| (i << 100) + i * i).collect();
    let q: Vec<u128> = (0..)
        .zip(&t)
        .map(|(i, t)| t ^ ((bits >> i & 1) * delta))
        .collect();
    assert_eq!(pack(&q), pack(&t) ^ schoolbook(bits, delta));
}
