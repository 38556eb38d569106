//! Hashing to ristretto255 as RFC 9380 prescribes it.
//!
//! curve25519-dalek offers the map from 64 uniform bytes to the group
//! (`from_uniform_bytes`: RFC 9496 section 4.3.4, the "one-way map"), but no
//! domain-separated expansion in front of it. That part is here, and is checked
//! against the vectors of RFC 9380 (expansion) and RFC 9497 (the whole hash).

use curve25519_dalek::RistrettoPoint;
use sha2::{Digest, Sha512};
use zeroize::Zeroize;

/// Bytes of a SHA-512 digest: `b_in_bytes` of RFC 9380.
const DIGEST_BYTES: usize = 64;
/// Bytes of a SHA-512 input block: `s_in_bytes` of RFC 9380.
const BLOCK_BYTES: usize = 128;

/// A domain separation tag, 1 to 255 bytes (RFC 9380 section 3.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dst(&'static [u8]);

impl Dst {
    /// Refuses a tag of the wrong length at compile time when called in a constant.
    pub(crate) const fn new(tag: &'static [u8]) -> Self {
        assert!(
            !tag.is_empty() && tag.len() <= 255,
            "a tag has 1 to 255 bytes"
        );
        Self(tag)
    }

    /// `I2OSP(len(DST), 1)`.
    fn length_byte(self) -> [u8; 1] {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the constructor bounds it by 255"
        )]
        [self.0.len() as u8]
    }
}

/// The tag under which identifiers are hashed, in the form of RFC 9380 section 3.1:
/// application, version, suite id (the suite as RFC 9380 appendix B names it).
pub(crate) const ITEM_DST: Dst =
    Dst::new(b"COUNTERFOIL-V01-CS01-with-ristretto255_XMD:SHA-512_R255MAP_RO_");

/// `hash_to_ristretto255` of RFC 9380 appendix B. Constant time for inputs of one length.
///
/// In the random-oracle model the result is indistinguishable from a random element
/// whose discrete logarithm nobody knows, which is what the protocol rests on: bare
/// `SHA-256(z) * G` would let anyone who learns one g^(ab) compute every token.
pub(crate) fn hash_to_ristretto255(message: &[u8], dst: Dst) -> RistrettoPoint {
    let mut uniform = expand_message_xmd::<DIGEST_BYTES>(message, dst);
    let point = RistrettoPoint::from_uniform_bytes(&uniform);
    uniform.zeroize();
    point
}

/// `expand_message_xmd` of RFC 9380 section 5.3.1 with SHA-512, `N` bytes out.
fn expand_message_xmd<const N: usize>(message: &[u8], dst: Dst) -> [u8; N] {
    const { assert!(N <= 255 * DIGEST_BYTES, "RFC 9380 allows no longer output") };
    #[expect(clippy::cast_possible_truncation, reason = "255 * 64 fits 16 bits")]
    let length = (N as u16).to_be_bytes();
    let mut first: [u8; DIGEST_BYTES] = Sha512::new()
        .chain_update([0; BLOCK_BYTES])
        .chain_update(message)
        .chain_update(length)
        .chain_update([0])
        .chain_update(dst.0)
        .chain_update(dst.length_byte())
        .finalize()
        .into();
    let mut previous = [0; DIGEST_BYTES];
    let mut out = [0; N];
    for (block, counter) in out.chunks_mut(DIGEST_BYTES).zip(1_u8..) {
        previous.iter_mut().zip(&first).for_each(|(p, f)| *p ^= f);
        previous = Sha512::new()
            .chain_update(previous)
            .chain_update([counter])
            .chain_update(dst.0)
            .chain_update(dst.length_byte())
            .finalize()
            .into();
        block
            .iter_mut()
            .zip(&previous)
            .for_each(|(to, from)| *to = *from);
    }
    first.zeroize();
    previous.zeroize();
    out
}

#[cfg(test)]
mod tests;
