//! The side that has its items evaluated: the "receiver" of the papers.

use rand_core::CryptoRng;
use rayon::prelude::*;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::base_ot::{CHOICE_BYTES, Offerer};
use super::check::{Weights, shown};
use super::direction::Direction;
use super::keyed::{commitment, growth};
use super::okvs::{Hashed, Rows};
use super::prg::{Stream, draw};
use super::shape::{NOISE, Shape};
use super::transfers::{packed, pad, path_bit};
use super::wire::{put, take};
use super::{Error, PeerFault, code, cot};

/// Everything this side draws, at the very beginning.
struct Drawn {
    noise: Noise,
    weights: Weights,
    coin: Zeroizing<u128>,
    row_seed: u128,
}

/// Before anything came from the peer.
pub(super) struct Begun {
    direction: Direction,
    offerer: Offerer,
    drawn: Drawn,
}

impl Begun {
    pub(super) fn new<R: CryptoRng + ?Sized>(direction: Direction, rng: &mut R) -> Self {
        Self {
            direction,
            offerer: Offerer::begin(rng),
            drawn: Drawn {
                noise: Noise::draw(&direction.shape, *Zeroizing::new(draw(rng))),
                weights: Weights {
                    leaf: draw(rng),
                    tree: draw(rng),
                },
                coin: Zeroizing::new(draw(rng)),
                row_seed: draw(rng),
            },
        }
    }

    pub(super) const fn direction(&self) -> &Direction {
        &self.direction
    }

    /// Takes the peer's opening, and gives offer and correlated transfers.
    pub(super) fn extend(self, opening: &[u8]) -> Result<(Extended, Vec<u8>), PeerFault> {
        let (choices, commitment) = opening.split_at_checked(CHOICE_BYTES).unwrap_or_default();
        let offer = self.offerer.message().to_vec();
        let keys = self.offerer.finish(&self.direction, choices)?;
        let mut message = offer.clone();
        let rows = cot::choose(
            &self.direction,
            &keys,
            &self.drawn.noise.choices,
            &[choices, &offer],
            &mut message,
        );
        let extended = Extended {
            direction: self.direction,
            drawn: self.drawn,
            rows,
            commitment: commitment.first_chunk().copied().unwrap_or_default(),
        };
        Ok((extended, message))
    }
}

/// Where the noise is, and how much of it.
struct Noise {
    /// One in each tree.
    holes: Zeroizing<Vec<usize>>,
    /// The bits of the correlated transfers: paths, scalars, masks.
    choices: Zeroizing<Vec<u128>>,
}

impl Noise {
    /// `key` is that of the stream which holes and choices are taken from.
    fn draw(shape: &Shape, key: u128) -> Self {
        let mut stream = Stream::new(key, 0);
        let mut words = Zeroizing::new(vec![0; NOISE]);
        stream.fill(&mut words);
        let holes: Zeroizing<Vec<usize>> = Zeroizing::new(
            words
                .iter()
                .map(|word| scale(*word, shape.leaves))
                .collect(),
        );
        let mut choices = Zeroizing::new(vec![0; shape.blocks()]);
        stream.fill(&mut choices);
        let bits = holes
            .iter()
            .flat_map(|&hole| (0..shape.depth()).map(move |level| path_bit(shape, hole, level)));
        for (bit, transfer) in bits.zip(0_usize..) {
            // The side that is asked for is the one that the path does not take.
            if let Some(block) = choices.get_mut(transfer / 128) {
                let place = transfer % 128;
                *block &= !(1 << place);
                *block |= ((bit as u128) ^ 1) << place;
            }
        }
        Self { holes, choices }
    }

    /// The noise's values, one for each hole, and the mask of the check's sum.
    fn scalars(&self, shape: &Shape) -> &[u128] {
        let from = shape.path_blocks();
        self.choices.get(from..from + NOISE + 1).unwrap_or_default()
    }
}

/// A random word as a number below `range`; the bias is below 2^-40.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the result is below the range"
)]
const fn scale(word: u128, range: usize) -> usize {
    (((word >> 64) * range as u128) >> 64) as usize
}

/// After offer and transfers were sent.
pub(super) struct Extended {
    direction: Direction,
    drawn: Drawn,
    rows: Zeroizing<Vec<u128>>,
    commitment: [u8; 32],
}

/// The asking side's second message: a header and a long vector.
pub(super) struct Masked {
    pub(super) header: Vec<u8>,
    pub(super) store: Vec<u128>,
}

impl Extended {
    /// Takes the trees, and gives the masked store of the own items.
    pub(super) fn submit(
        self,
        trees: &[u8],
        items: &[Hashed],
    ) -> Result<(Submitted, Masked), Error> {
        let shape = self.direction.shape;
        let solve = || {
            Rows::new(self.direction.layout, self.drawn.row_seed, items)
                .solve()
                .map_err(|_| Error::Unsolvable)
        };
        let (store, (vector, sum)) = rayon::join(solve, || {
            let (mut vector, sum) = self.answers_and_noise(trees);
            code::compress(&mut vector, shape.length);
            (vector, sum)
        });
        let mut store = store?;
        let mut answers = Zeroizing::new(Vec::with_capacity(shape.length));
        for (place, code::Pair(answer, noise)) in store.iter_mut().zip(vector.iter()) {
            *place ^= noise;
            answers.push(*answer);
        }
        drop(vector);
        let mut header = Vec::new();
        put(
            &mut header,
            &[
                self.drawn.weights.leaf,
                self.drawn.weights.tree,
                self.masked_noise(),
                *self.drawn.coin,
                self.drawn.row_seed,
            ],
        );
        let submitted = Submitted {
            direction: self.direction,
            coin: self.drawn.coin,
            row_seed: self.drawn.row_seed,
            commitment: self.commitment,
            expected: shown(&self.direction, sum),
            answers,
        };
        Ok((submitted, Masked { header, store }))
    }

    /// Before compression, side by side: the product of the noise and the peer's difference, less the peer's vector; and the
    /// noise, which is zero but for one place in each tree. Then the sum of the first for the check.
    fn answers_and_noise(&self, trees: &[u8]) -> (Zeroizing<Vec<code::Pair>>, u128) {
        let shape = self.direction.shape;
        let growth = growth(&self.direction);
        let products = Zeroizing::new(packed(&shape, &self.rows));
        let mut vector = Zeroizing::new(vec![code::Pair::default(); shape.noisy()]);
        let scalars = self.drawn.noise.scalars(&shape);
        let sums: Vec<u128> = vector
            .par_chunks_mut(shape.leaves)
            .zip(trees.par_chunks(16 * (2 * shape.depth() + 1)))
            .zip(self.drawn.noise.holes.par_iter().zip(scalars))
            .zip(products.par_iter())
            .enumerate()
            .map(|(tree, (((pairs, message), (hole, scalar)), product))| {
                let message = take(message);
                let (known, correction) = self.known_sums(tree, *hole, &message);
                let mut leaves = Zeroizing::new(vec![0; pairs.len()]);
                growth.grow_punctured(*hole, &known, &mut leaves);
                let others = leaves.iter().fold(0, |sum, leaf| sum ^ leaf);
                if let Some(leaf) = leaves.get_mut(*hole) {
                    *leaf = others ^ correction ^ product;
                }
                for (pair, leaf) in pairs.iter_mut().zip(leaves.iter()) {
                    *pair = code::Pair(*leaf, 0);
                }
                if let Some(code::Pair(_, noise)) = pairs.get_mut(*hole) {
                    *noise = *scalar;
                }
                self.drawn.weights.of_tree(&leaves)
            })
            .collect();
        let mask = products.last().copied().unwrap_or_default();
        (vector, self.drawn.weights.of_all(&sums) ^ mask)
    }

    /// The sums that this side chose, unmasked, and the tree's correction.
    fn known_sums(
        &self,
        tree: usize,
        hole: usize,
        message: &[u128],
    ) -> (Zeroizing<Vec<u128>>, u128) {
        let shape = self.direction.shape;
        let (pairs, correction) = message.as_chunks::<2>();
        let known = pairs.iter().enumerate().map(|(level, pair)| {
            let transfer = tree * shape.depth() + level;
            let wanted = path_bit(&shape, hole, level) ^ 1;
            let row = self.rows.get(transfer).copied().unwrap_or_default();
            pair.get(wanted).copied().unwrap_or_default() ^ pad(&self.direction, transfer, row)
        });
        (
            Zeroizing::new(known.collect()),
            correction.first().copied().unwrap_or_default(),
        )
    }

    fn masked_noise(&self) -> u128 {
        let shape = self.direction.shape;
        let scalars = self.drawn.noise.scalars(&shape);
        let mask = scalars.last().copied().unwrap_or_default();
        let weights = self.drawn.weights;
        weights.of_noise(&self.drawn.noise.holes, scalars, shape.leaves) ^ mask
    }
}

/// After the masked store was sent.
pub(super) struct Submitted {
    direction: Direction,
    coin: Zeroizing<u128>,
    row_seed: u128,
    commitment: [u8; 32],
    expected: [u8; 32],
    answers: Zeroizing<Vec<u128>>,
}

impl Submitted {
    /// Checks the peer's last message.
    pub(super) fn close(self, closing: &[u8]) -> Result<Answers, PeerFault> {
        let (answer, coin) = closing.split_at_checked(32).unwrap_or_default();
        if !bool::from(answer.ct_eq(&self.expected)) {
            return Err(PeerFault::TreeCheck);
        }
        let peer_coin = take(coin).first().copied().unwrap_or_default();
        if commitment(&self.direction, peer_coin) != self.commitment {
            return Err(PeerFault::Coin);
        }
        Ok(Answers {
            direction: self.direction,
            coin: Zeroizing::new(*self.coin ^ peer_coin),
            row_seed: self.row_seed,
            answers: self.answers,
        })
    }
}

/// What the peer's key gave to the own items.
pub(super) struct Answers {
    direction: Direction,
    coin: Zeroizing<u128>,
    row_seed: u128,
    answers: Zeroizing<Vec<u128>>,
}

impl Answers {
    /// The function at each own item, before it is hashed.
    pub(super) fn evaluate(&self, items: &[Hashed]) -> Zeroizing<Vec<u128>> {
        let rows = Rows::new(self.direction.layout, self.row_seed, items);
        let mut values = rows.decode(&self.answers);
        for value in values.iter_mut() {
            *value ^= *self.coin;
        }
        values
    }
}

#[cfg(test)]
impl Answers {
    pub(super) fn rows(&self) -> (super::okvs::Layout, u128) {
        (self.direction.layout, self.row_seed)
    }

    pub(super) fn vector(&self) -> &[u128] {
        &self.answers
    }
}

#[cfg(test)]
impl Begun {
    /// Leaves the noise away: C = A * delta + B with A = 0, so that the store is sent as it is. For the test of an attack that
    /// must then succeed.
    pub(super) fn without_noise(&mut self) {
        let from = self.direction.shape.path_blocks();
        self.drawn.noise.choices[from..from + NOISE].fill(0);
    }
}

#[cfg(test)]
#[path = "asking_tests.rs"]
mod tests;
