//! The expand-convolute code of Raghuraman, Rindal and Tanguy 2023 (CRYPTO; eprint 2023/882), in
//! the transposed form that compresses a long sparse vector into a short pseudo-random one.
//!
//! Of a vector of length n >= 2k, the last n - k elements are convoluted: to each is added a random
//! half of the [`WINDOW`] before it, as they have become, and the one before those. That is done twice, around
//! the end, so that the last elements matter as much as the first. Then each of the first k
//! elements gets seven of the convoluted ones added, at random places: [`REGULAR`] of them one
//! from each quarter, the others anywhere. The weight 7 and window 24 are the paper's; the
//! systematic form, the second pass and the mixture are what its authors' library (libOTe) has
//! come to since. The code is public and the same for all.

use rayon::prelude::*;
use zeroize::Zeroize;

use super::prg::Stream;

/// Elements before each that the convolution adds or not, at random.
const WINDOW: usize = 24;
/// Elements whose sums are tabled together: random halves of a window are then read as six of their
/// 16 sums each (the method of the four Russians).
const GROUP: usize = 4;
const SUMS: usize = 1 << GROUP;
/// Groups before its own that the window of an element lies in whole.
const WHOLE: usize = WINDOW / GROUP - 1;
/// Tables at hand: of the current group and the [`WHOLE`] + 2 before it.
const TABLES: usize = WHOLE + 3;
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

/// An element of a vector that is compressed, or several of vectors that are compressed at once: the places that an output reads lie far apart in
/// memory, and fetching them is most of the work.
pub(super) trait Element: Copy + Default + Send + Sync {
    /// Adds another.
    fn add(&mut self, other: Self);
    /// Itself if the bit is 1, zero if it is 0.
    fn times_bit(self, bit: usize) -> Self;
}

impl Element for u128 {
    #[inline]
    fn add(&mut self, other: Self) {
        *self ^= other;
    }

    #[inline]
    fn times_bit(self, bit: usize) -> Self {
        self & 0_u128.wrapping_sub(bit as u128)
    }
}

/// Elements of two vectors, in one line of the cache: a pair that begins in the middle of one would be two to fetch.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Zeroize)]
#[repr(align(32))]
pub(super) struct Pair(pub(super) u128, pub(super) u128);

impl Element for Pair {
    #[inline]
    fn add(&mut self, Self(first, second): Self) {
        self.0 ^= first;
        self.1 ^= second;
    }

    #[inline]
    fn times_bit(self, bit: usize) -> Self {
        let mask = 0_u128.wrapping_sub(bit as u128);
        Self(self.0 & mask, self.1 & mask)
    }
}

/// Compresses: the first `k` elements of `x` become the result, the others are overwritten.
pub(super) fn compress<E: Element>(x: &mut [E], k: usize) {
    let Some((out, rest)) = x.split_at_mut_checked(k) else {
        return;
    };
    convolute(rest, 0);
    convolute(rest, 1);
    expand(rest, out);
}

fn convolute<E: Element>(x: &mut [E], pass: u64) {
    let mut coefficients = Coefficients::new(pass);
    // Those of the groups before the first are zero.
    let mut tables = [[E::default(); SUMS]; TABLES];
    let (groups, rest) = x.as_chunks_mut::<GROUP>();
    let mut number = 0;
    for group in groups {
        *group = convoluted(*group, coefficients.next(), &tables, number);
        if let Some(table) = tables.get_mut(number % TABLES) {
            *table = all_sums(*group);
        }
        number += 1;
    }
    let mut last = [E::default(); GROUP];
    for (to, from) in last.iter_mut().zip(&*rest) {
        *to = *from;
    }
    last = convoluted(last, coefficients.next(), &tables, number);
    for (to, from) in rest.iter_mut().zip(last) {
        *to = from;
    }
    wrap(x, pass);
}

/// A group after the elements before it, and in it, were added. The bits of a word are, from the lowest: the sum of
/// the group before, of that before it, and so on five times; then four for the rest of the window, which
/// begins in the sixth group before and ends in the element's own.
#[inline]
fn convoluted<E: Element>(
    mut group: [E; GROUP],
    words: [u32; GROUP],
    tables: &[[E; SUMS]; TABLES],
    number: usize,
) -> [E; GROUP] {
    let sum = |distance: usize, which: usize| {
        let table = tables.get(number.wrapping_sub(distance) % TABLES);
        let sum = table.and_then(|table| table.get(which % SUMS));
        sum.copied().unwrap_or_default()
    };
    for (place, (element, word)) in group.iter_mut().zip(words).enumerate() {
        for distance in 2..=WHOLE {
            element.add(sum(distance, nibble(word, distance - 1)));
        }
        // What lies in the own group comes below, and what is always added is the one before the window.
        let outside = nibble(word, WHOLE) & ((SUMS - 1) << place);
        element.add(sum(WHOLE + 1, outside | ((1 << place) >> 1)));
        if place == 0 {
            element.add(sum(WHOLE + 2, SUMS / 2));
        }
        element.add(sum(1, nibble(word, 0)));
    }
    for place in 1..GROUP {
        let (known, rest) = group.split_at_mut(place);
        if let (Some(element), Some(word)) = (rest.first_mut(), words.get(place)) {
            for (bit, known) in known.iter().enumerate() {
                let bit = nibble(*word, WHOLE) >> bit & 1;
                element.add(known.times_bit(bit));
            }
        }
    }
    group
}

const fn nibble(word: u32, number: usize) -> usize {
    (word >> (GROUP * number)) as usize % SUMS
}

/// The sum of each subset of a group.
#[inline]
fn all_sums<E: Element>(group: [E; GROUP]) -> [E; SUMS] {
    let mut sums = [E::default(); SUMS];
    let mut filled = 1;
    for element in group {
        let (known, next) = sums.split_at_mut(filled);
        for (to, from) in next.iter_mut().zip(known) {
            *to = *from;
            to.add(element);
        }
        filled *= 2;
    }
    sums
}

/// The first elements, to which those at the end are still to be added.
fn wrap<E: Element>(x: &mut [E], pass: u64) {
    let length = x.len();
    let mut coefficients = Coefficients::new(pass);
    for first in (0..=WINDOW).step_by(GROUP) {
        for (within, word) in coefficients.next().into_iter().enumerate() {
            let place = first + within;
            let added = (0..WINDOW).filter(|bit| word >> bit & 1 == 1);
            for distance in added.map(|bit| distance(within, bit)).chain([WINDOW + 1]) {
                // Of those that are not before the first there is none at this index.
                let before = (length + place).checked_sub(distance);
                if let Some(from) = before.and_then(|before| x.get(before)).copied()
                    && let Some(to) = x.get_mut(place)
                {
                    to.add(from);
                }
            }
        }
    }
}

/// How far before an element, `within` its group, the one lies that a bit of its word adds.
const fn distance(within: usize, bit: usize) -> usize {
    let (group, other) = (bit / GROUP, bit % GROUP);
    if group == WHOLE && other < within {
        within - other
    } else {
        GROUP * (group + 1) + within - other
    }
}

/// For each element of a group a word, of which [`WINDOW`] bits are used.
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
            used: COEFFICIENT_BLOCKS,
        }
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low 32 bits of a block are meant"
    )]
    fn next(&mut self) -> [u32; GROUP] {
        if self.used == COEFFICIENT_BLOCKS {
            self.stream.fill(&mut self.blocks);
            self.used = 0;
        }
        let block = self.blocks.get(self.used).copied().unwrap_or_default();
        self.used += 1;
        [
            block as u32,
            (block >> 32) as u32,
            (block >> 64) as u32,
            (block >> 96) as u32,
        ]
    }
}

fn expand<E: Element>(from: &[E], out: &mut [E]) {
    out.par_chunks_mut(ROWS_BATCH)
        .enumerate()
        .for_each(|(number, out)| {
            // Two blocks, eight words, for the seven places of an output.
            let mut words = vec![0; 2 * out.len()];
            Stream::new(SEED, EXPANSION + number as u64).fill(&mut words);
            for (out, words) in out.iter_mut().zip(words.as_chunks::<2>().0) {
                for place in places(*words, from.len()) {
                    out.add(from.get(place).copied().unwrap_or_default());
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
