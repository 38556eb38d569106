use proptest::prelude::*;

use super::*;

/// dot(a, b) of RFC 8452 from its definition: a bit of `a` at a time, ordinary product modulo the
/// polynomial, then 128 divisions by x.
pub(in crate::vole) fn schoolbook(a: u128, b: u128) -> u128 {
    let mut product = 0;
    for bit in (0..128).rev() {
        product = doubled(product);
        if a >> bit & 1 == 1 {
            product ^= b;
        }
    }
    (0..128).fold(product, |p, _| halved(p))
}

/// The modulus below x^128.
const POLYNOMIAL: u128 = 1 << 127 | 1 << 126 | 1 << 121 | 1;

fn doubled(a: u128) -> u128 {
    (a << 1) ^ if a >> 127 == 1 { POLYNOMIAL } else { 0 }
}

fn halved(a: u128) -> u128 {
    if a & 1 == 1 {
        (a ^ POLYNOMIAL) >> 1 | 1 << 127
    } else {
        a >> 1
    }
}

fn hex(text: &str) -> u128 {
    u128::from_be_bytes(hex::decode(text).unwrap().try_into().unwrap()).swap_bytes()
}

#[test]
fn the_example_of_rfc_8452_comes_out() {
    // Appendix A: dot(H, X_1) is not given alone, but POLYVAL(H, X_1, X_2) is.
    let key = hex("25629347589242761d31f826ba4b757b");
    let x = [
        hex("4f4f95668c83dfb6401762bb2d01a262"),
        hex("d1a24ddd2721d006bbe45f20d3c9f362"),
    ];
    assert_eq!(hash(key, &x), hex("f7a3b47b846119fae5b7866cf5e5b77e"));
    let first = schoolbook(x[0], key);
    assert_eq!(schoolbook(first ^ x[1], key), hash(key, &x));
}

proptest! {
    #[test]
    fn products_are_those_of_the_schoolbook(a: u128, b: u128) {
        let product = schoolbook(a, b);
        prop_assert_eq!(Multiplier::new(a).mul(b), product);
        prop_assert_eq!(hash(a, &[b]), product);
        prop_assert_eq!(times_x(a), doubled(a));
    }

    #[test]
    fn it_is_a_field_as_far_as_the_protocol_uses_it(a: u128, b: u128, c: u128) {
        prop_assert_eq!(schoolbook(a, b), schoolbook(b, a));
        prop_assert_eq!(schoolbook(schoolbook(a, b), c), schoolbook(a, schoolbook(b, c)));
        prop_assert_eq!(schoolbook(a ^ b, c), schoolbook(a, c) ^ schoolbook(b, c));
        prop_assert_eq!(schoolbook(a, REDUCTION), a);
    }

    #[test]
    fn a_hash_is_the_sum_of_powers(key: u128, x in prop::collection::vec(any::<u128>(), 0..200)) {
        let powers = powers(key, x.len());
        let sum = x.iter().zip(powers.iter().rev()).fold(0, |sum, (x, p)| sum ^ schoolbook(*x, *p));
        prop_assert_eq!(hash(key, &x), sum);
    }
}
