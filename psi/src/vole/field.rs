//! GF(2^128), its elements held in `u128`.
//!
//! The field is the one of POLYVAL (RFC 8452 section 3): bit i of a `u128` is the coefficient of
//! x^i, the modulus is x^128 + x^127 + x^126 + x^121 + 1, addition is exclusive or, and the product
//! is RFC 8452's `dot(a, b) = a * b * x^-128`. With that product the set is a field too (divide by
//! x^128 to come to the ordinary one), so everything linear that the protocol relies on holds, and
//! the `polyval` crate computes long polynomial hashes in it with the processor's instruction.

use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// x^128 modulo the field's polynomial: the element that changes nothing when multiplied with.
const REDUCTION: u128 = 0xc200_0000_0000_0000_0000_0000_0000_0001;

/// a * x in the ordinary product, in constant time.
pub(super) const fn times_x(a: u128) -> u128 {
    let carry = 0_u128.wrapping_sub(a >> 127);
    (a << 1) ^ (carry & REDUCTION)
}

/// Multiplies many elements by one, by tables (64 KiB) of that one.
///
/// The tables are read at places that depend on the other factor. That factor is a message of the
/// peer or the hash of an own item, which decides memory accesses of the key-value store as well;
/// the secret factor is in the tables only.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Multiplier(Vec<[u128; 256]>);

impl Multiplier {
    pub(super) fn new(factor: u128) -> Self {
        // dot(factor, 1), which doubling takes to dot(factor, x^i).
        let mut power = hash(factor, &[1]);
        let mut tables = vec![[0; 256]; 16];
        for table in &mut tables {
            let mut filled = 1;
            while filled < table.len() {
                let (known, next) = table.split_at_mut(filled);
                for (to, from) in next.iter_mut().zip(known) {
                    *to = *from ^ power;
                }
                power = times_x(power);
                filled *= 2;
            }
        }
        power.zeroize();
        Self(tables)
    }

    /// dot(factor, x).
    #[inline]
    pub(super) fn mul(&self, x: u128) -> u128 {
        let products = self.0.iter().zip(x.to_le_bytes());
        products.fold(0, |sum, (table, byte)| {
            sum ^ table.get(usize::from(byte)).copied().unwrap_or_default()
        })
    }
}

/// POLYVAL(key, x): the sum of dot(x_i, key^(s - i)) over i from 0 to s - 1, powers in the field's
/// own product. Two different inputs of s elements collide for at most s of the 2^128 keys.
pub(super) fn hash(key: u128, x: &[u128]) -> u128 {
    const BATCH: usize = 64;
    let mut state = Polyval::new(&key.to_le_bytes().into());
    let mut blocks = [polyval::Block::default(); BATCH];
    for batch in x.chunks(BATCH) {
        for (block, x) in blocks.iter_mut().zip(batch) {
            *block = x.to_le_bytes().into();
        }
        state.update(blocks.get(..batch.len()).unwrap_or_default());
    }
    u128::from_le_bytes(state.finalize().into())
}

/// key^1 to key^count, in the field's own product.
pub(super) fn powers(key: u128, count: usize) -> Vec<u128> {
    let key_times = Multiplier::new(key);
    let mut power = key;
    (0..count)
        .map(|_| {
            let this = power;
            power = key_times.mul(power);
            this
        })
        .collect()
}

#[cfg(test)]
#[path = "field_tests.rs"]
pub(super) mod tests;
