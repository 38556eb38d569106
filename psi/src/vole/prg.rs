//! Pseudo-random strings from AES-128.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use rand_core::CryptoRng;

/// Blocks that are enciphered in one call.
const BATCH: usize = 64;

/// x -> AES_k(x) ^ x for a key that both sides know and that is new in every session.
///
/// Correlation robust when AES is an ideal cipher (Guo, Katz, Wang, Yu: IEEE S&P 2020, section 4).
pub(super) struct FixedKey(Aes128Enc);

impl FixedKey {
    pub(super) fn new(key: u128) -> Self {
        Self(Aes128Enc::new(&key.to_le_bytes().into()))
    }

    /// Writes the image of `x[i]` to `out[i]`.
    pub(super) fn map(&self, x: &[u128], out: &mut [u128]) {
        let mut blocks = [Block::default(); BATCH];
        for (x, out) in x.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            for (block, x) in blocks.iter_mut().zip(x) {
                *block = x.to_le_bytes().into();
            }
            self.0
                .encrypt_blocks(blocks.get_mut(..x.len()).unwrap_or_default());
            for ((out, x), block) in out.iter_mut().zip(x).zip(&blocks) {
                *out = u128::from_le_bytes((*block).into()) ^ x;
            }
        }
    }
}

/// A long string out of one key: AES-128 in counter mode.
pub(super) struct Stream {
    cipher: Aes128Enc,
    counter: u128,
}

impl Stream {
    /// Streams of one key with different `number`s do not overlap before 2^64 blocks.
    pub(super) fn new(key: u128, number: u64) -> Self {
        Self {
            cipher: Aes128Enc::new(&key.to_le_bytes().into()),
            counter: u128::from(number) << 64,
        }
    }

    /// Fills `out` with what comes next.
    pub(super) fn fill(&mut self, out: &mut [u128]) {
        let mut blocks = [Block::default(); BATCH];
        for out in out.chunks_mut(BATCH) {
            for block in blocks.iter_mut().take(out.len()) {
                *block = self.counter.to_le_bytes().into();
                self.counter = self.counter.wrapping_add(1);
            }
            self.cipher
                .encrypt_blocks(blocks.get_mut(..out.len()).unwrap_or_default());
            for (out, block) in out.iter_mut().zip(&blocks) {
                *out = u128::from_le_bytes((*block).into());
            }
        }
    }
}

/// Draws an element, or a key.
pub(super) fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> u128 {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
#[path = "prg_tests.rs"]
mod tests;
