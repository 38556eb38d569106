//! The expand-convolute code of Raghuraman, Rindal and Tanguy 2023 (CRYPTO; eprint 2023/882), in
//! the transposed form that compresses a long sparse vector into a short pseudo-random one.
//!
//! Of a vector of length n >= 2k, the last n - k elements are convoluted: each is added to a random
//! half of the [`WINDOW`] that follow it, and to the one after those. That is done twice, around
//! the end, so that the last elements matter as much as the first. Then each of the first k
//! elements gets seven of the convoluted ones added, at random places: [`REGULAR`] of them one
//! from each quarter, the others anywhere. The weight 7 and window 24 are the paper's; the
//! systematic form, the second pass and the mixture are what its authors' library (libOTe) has
//! come to since. The code is public and the same for all.

use rayon::prelude::*;

use super::prg::Stream;

/// Random places of the convolution behind each element.
const WINDOW: usize = 24;
/// Places that an output takes from one region each.
const REGULAR: usize = 4;
/// Places that an output takes from anywhere.
const UNIFORM: usize = 3;

/// Outputs whose places come from one stream.
const ROWS_BATCH: usize = 4_096;
/// Streams of the expansion come after those of the convolution's passes.
const EXPANSION: u64 = 2;
/// Coefficients that are drawn at a time, four of 32 bits a block.
const COEFFICIENT_BLOCKS: usize = 256;

/// The first 16 bytes of SHA-256 of "counterfoil/vole/code/v1".
const SEED: u128 = 0xb148_78f8_856c_6df7_e3e5_5310_c15f_dde6;

/// Compresses: the first `k` elements of `x` become the result, the others are overwritten.
///
/// An element has `W` words, so that two vectors can be compressed by one walk through memory.
pub(super) fn compress<const W: usize>(x: &mut [[u128; W]], k: usize) {
    let Some((out, rest)) = x.split_at_mut_checked(k) else {
        return;
    };
    convolute(rest, 0);
    convolute(rest, 1);
    expand(rest, out);
}

fn convolute<const W: usize>(x: &mut [[u128; W]], pass: u64) {
    let mut coefficients = Coefficients::new(pass);
    // These have their window and the place after it ahead of them.
    let within = x.len().saturating_sub(WINDOW + 1);
    for place in 0..within {
        let bits = coefficients.next();
        if let Some((element, after)) = x.get_mut(place..).and_then(<[_]>::split_first_mut)
            && let Some(window) = after.first_chunk_mut()
        {
            step(*element, bits, window);
        }
    }
    wrap(x, within, &mut coefficients);
}

#[inline]
fn step<const W: usize>(element: [u128; W], bits: u32, window: &mut [[u128; W]; WINDOW + 1]) {
    for (place, to) in window.iter_mut().enumerate() {
        let mask = 0_u128.wrapping_sub(u128::from(bits >> place & 1));
        for (to, from) in to.iter_mut().zip(&element) {
            *to ^= from & mask;
        }
    }
}

/// The elements from `start` on, whose windows begin again at the front.
fn wrap<const W: usize>(x: &mut [[u128; W]], start: usize, coefficients: &mut Coefficients) {
    let length = x.len();
    for place in start..length {
        let Some(element) = x.get(place).copied() else {
            return;
        };
        let bits = coefficients.next();
        for ahead in 0..=WINDOW {
            if bits >> ahead & 1 == 1
                && let Some(to) = x.get_mut((place + 1 + ahead) % length)
            {
                for (to, from) in to.iter_mut().zip(&element) {
                    *to ^= from;
                }
            }
        }
    }
}

/// For each element, 24 random bits and a one.
struct Coefficients {
    stream: Stream,
    blocks: [u128; COEFFICIENT_BLOCKS],
    used: usize,
}

impl Coefficients {
    fn new(pass: u64) -> Self {
        Self {
            stream: Stream::new(SEED, pass),
            blocks: [0; COEFFICIENT_BLOCKS],
            used: 4 * COEFFICIENT_BLOCKS,
        }
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 32 bits of a block are meant"
    )]
    fn next(&mut self) -> u32 {
        if self.used == 4 * COEFFICIENT_BLOCKS {
            self.stream.fill(&mut self.blocks);
            self.used = 0;
        }
        let block = self.blocks.get(self.used / 4).copied().unwrap_or_default();
        let word = (block >> (32 * (self.used % 4))) as u32;
        self.used += 1;
        word & ((1 << WINDOW) - 1) | 1 << WINDOW
    }
}

fn expand<const W: usize>(from: &[[u128; W]], out: &mut [[u128; W]]) {
    out.par_chunks_mut(ROWS_BATCH)
        .enumerate()
        .for_each(|(number, out)| {
            // Two blocks, eight words, for the seven places of an output.
            let mut words = vec![0; 2 * out.len()];
            Stream::new(SEED, EXPANSION + number as u64).fill(&mut words);
            for (out, words) in out.iter_mut().zip(words.as_chunks::<2>().0) {
                for place in places(*words, from.len()) {
                    let element = from.get(place).copied().unwrap_or([0; W]);
                    for (to, from) in out.iter_mut().zip(&element) {
                        *to ^= from;
                    }
                }
            }
        });
}

/// The seven places of an output among `length`.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "words are cut out of blocks, and places are below the length"
)]
fn places([a, b]: [u128; 2], length: usize) -> [usize; REGULAR + UNIFORM] {
    let scale = |word: u32, range: usize| ((u64::from(word) * range as u64) >> 32) as usize;
    let region = length / REGULAR;
    [
        scale(a as u32, region),
        region + scale((a >> 32) as u32, region),
        2 * region + scale((a >> 64) as u32, region),
        3 * region + scale((a >> 96) as u32, region),
        scale(b as u32, length),
        scale((b >> 32) as u32, length),
        scale((b >> 64) as u32, length),
    ]
}

#[cfg(test)]
#[path = "code_tests.rs"]
mod tests;
