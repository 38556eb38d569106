//! SHA-256 of many short strings behind one block that is the same for all.

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Bytes of a block.
const BLOCK: usize = 64;
/// Bytes after the first block that fit a second one with the padding.
const SHORT_MAX: usize = BLOCK - 9;

/// FIPS 180-4, section 5.3.3.
pub(crate) const SHA256_START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The state after the first block.
pub(crate) struct Prefixed {
    state: [u32; 8],
    whole: Sha256,
}

impl Prefixed {
    /// After a prefix of two halves.
    pub(crate) fn new(prefix: [&[u8; BLOCK / 2]; 2]) -> Self {
        let mut block = [0; BLOCK];
        for (to, from) in block.iter_mut().zip(prefix.into_iter().flatten()) {
            *to = *from;
        }
        let mut state = SHA256_START;
        compress256(&mut state, &[block]);
        Self {
            state,
            whole: Sha256::new().chain_update(block),
        }
    }

    /// SHA-256 of the prefix and these parts. Where both fit two blocks, which a telephone number does, the second is laid
    /// out here (FIPS 180-4, section 5.1.1): the general way takes a third longer.
    pub(crate) fn digest(&self, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > SHORT_MAX {
            let hash = parts.iter().fold(self.whole.clone(), Sha256::chain_update);
            return Zeroizing::new(hash.finalize().into());
        }
        let mut block = Zeroizing::new([0; BLOCK]);
        let mut rest = block.as_mut_slice();
        for part in parts.iter().chain([&[0x80].as_slice()]) {
            let (to, after) = rest.split_at_mut_checked(part.len()).unwrap_or_default();
            to.copy_from_slice(part.get(..to.len()).unwrap_or_default());
            rest = after;
        }
        let bits = (8 * (BLOCK + length) as u64).to_be_bytes();
        if let Some(end) = block.last_chunk_mut() {
            *end = bits;
        }
        let mut state = Zeroizing::new(self.state);
        compress256(&mut state, std::slice::from_ref(&*block));
        let mut digest = Zeroizing::new([0; 32]);
        for (to, word) in digest.as_chunks_mut().0.iter_mut().zip(state.iter()) {
            *to = word.to_be_bytes();
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_hashed_as_sha_256_does() {
        let (first, second) = ([1; 32], [2; 32]);
        let prefixed = Prefixed::new([&first, &second]);
        for length in 0..200 {
            let text: Vec<u8> = (0..length).collect();
            for cut in [0, text.len() / 3, text.len()] {
                let (head, tail) = text.split_at(cut);
                let expected = Sha256::new().chain_update(first).chain_update(second);
                let expected: [u8; 32] = expected.chain_update(&text).finalize().into();
                assert_eq!(*prefixed.digest(&[head, tail]), expected, "{length} {cut}");
            }
        }
    }
}
