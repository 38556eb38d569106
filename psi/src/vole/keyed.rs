//! The side whose key it is: the "sender" of the papers.

use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::PeerFault;
use super::base_ot::{CHOICE_BYTES, Chooser, OFFER_BYTES};
use super::check::{Weights, shown};
use super::direction::Direction;
use super::field::Multiplier;
use super::ggm::{Growth, Sums};
use super::okvs::{Hashed, Rows};
use super::prg::{Stream, draw};
use super::shape::{NOISE, Shape};
use super::transfers::{packed, pad};
use super::wire::{put, take};
use super::{code, cot};

const COMMIT_LABEL: &[u8] = b"counterfoil/vole/coin/v1";
const GROWTH_LABEL: &[u8] = b"counterfoil/vole/growth/v1";

/// Bytes of the first message: choices of the base transfers, commitment to the coin's half.
pub(super) const OPENING_BYTES: usize = CHOICE_BYTES + 32;
/// Bytes before the masked store in the asking side's second message: weights of the check, its
/// masked sum, the coin's other half, the seed of the rows.
pub(super) const HEADER_BYTES: usize = 5 * 16;
/// Bytes of the last message: answer to the check, the coin's half.
pub(super) const CLOSING_BYTES: usize = 32 + 16;

/// Bytes of the message with the trees: both sums of each level, and each tree's correction.
pub(super) const fn trees_bytes(shape: &Shape) -> usize {
    16 * NOISE * (2 * shape.depth() + 1)
}

/// The commitment to half of the coin.
pub(super) fn commitment(direction: &Direction, coin: u128) -> [u8; 32] {
    direction.digest(COMMIT_LABEL, &[&coin.to_le_bytes()])
}

/// The permutations that trees of this evaluation grow by.
pub(super) fn growth(direction: &Direction) -> Growth {
    Growth::new([0_u8, 1].map(|side| direction.element(GROWTH_LABEL, &[&[side]])))
}

/// Before anything came from the peer.
pub(super) struct Begun {
    direction: Direction,
    delta: Zeroizing<u128>,
    coin: Zeroizing<u128>,
    roots: Zeroizing<u128>,
    chooser: Chooser,
}

impl Begun {
    pub(super) fn new<R: CryptoRng + ?Sized>(
        direction: Direction,
        delta: u128,
        rng: &mut R,
    ) -> Self {
        Self {
            direction,
            delta: Zeroizing::new(delta),
            coin: Zeroizing::new(draw(rng)),
            roots: Zeroizing::new(draw(rng)),
            chooser: Chooser::begin(&direction, delta, rng),
        }
    }

    pub(super) const fn direction(&self) -> &Direction {
        &self.direction
    }

    /// [`OPENING_BYTES`].
    pub(super) fn opening(&self) -> Vec<u8> {
        let mut message = self.chooser.message().to_vec();
        message.extend_from_slice(&commitment(&self.direction, *self.coin));
        message
    }

    /// Takes the peer's offer and correlated transfers, and gives the message with the trees.
    pub(super) fn grow(self, reply: &[u8]) -> Result<(Grown, Vec<u8>), PeerFault> {
        let (offer, extension) = reply.split_at_checked(OFFER_BYTES).unwrap_or_default();
        let choices = self.chooser.message().to_vec();
        let keys = self.chooser.finish(&self.direction, offer)?;
        let transcript = [choices.as_slice(), offer];
        let rows = cot::correlate(&self.direction, &keys, *self.delta, &transcript, extension)?;
        let shape = self.direction.shape;
        let scalars = Zeroizing::new(packed(&shape, &rows));
        let (leaves, message) = trees(&self.direction, *self.roots, &rows, &scalars, *self.delta);
        let grown = Grown {
            direction: self.direction,
            delta: self.delta,
            coin: self.coin,
            mask: Zeroizing::new(scalars.last().copied().unwrap_or_default()),
            leaves,
        };
        Ok((grown, message))
    }
}

type Leaves = Zeroizing<Vec<u128>>;

fn trees(
    direction: &Direction,
    roots: u128,
    rows: &[u128],
    scalars: &[u128],
    delta: u128,
) -> (Leaves, Vec<u8>) {
    let shape = direction.shape;
    let growth = growth(direction);
    let mut seeds = Zeroizing::new(vec![0; NOISE]);
    Stream::new(roots, 0).fill(&mut seeds);
    let mut leaves = Zeroizing::new(vec![0; shape.noisy()]);
    let messages: Vec<Vec<u8>> = leaves
        .par_chunks_mut(shape.leaves)
        .zip(seeds.par_iter())
        .zip(rows.par_chunks(shape.depth()))
        .zip(scalars)
        .enumerate()
        .map(|(tree, (((leaves, seed), rows), scalar))| {
            let mut sums: Zeroizing<Vec<Sums>> = Zeroizing::new(vec![[0; 2]; shape.depth()]);
            growth.grow(*seed, leaves, &mut sums);
            let mut message = Vec::with_capacity(16 * (2 * shape.depth() + 1));
            let transfers = tree * shape.depth()..;
            for ((sums, row), transfer) in sums.iter().zip(rows).zip(transfers) {
                let [left, right] = sums;
                put(
                    &mut message,
                    &[
                        left ^ pad(direction, transfer, *row),
                        right ^ pad(direction, transfer, row ^ delta),
                    ],
                );
            }
            let sum = leaves.iter().fold(0, |sum, leaf| sum ^ leaf);
            put(&mut message, &[sum ^ scalar]);
            message
        })
        .collect();
    (leaves, messages.concat())
}

/// After the trees were sent.
pub(super) struct Grown {
    direction: Direction,
    delta: Zeroizing<u128>,
    coin: Zeroizing<u128>,
    mask: Zeroizing<u128>,
    leaves: Leaves,
}

impl Grown {
    /// Answers the check, and compresses. `header` has [`HEADER_BYTES`].
    pub(super) fn compress(mut self, header: &[u8]) -> Key {
        let [leaf, tree, masked_sum, peer_coin, row_seed] = header_fields(header);
        let weights = Weights { leaf, tree };
        let shape = self.direction.shape;
        let delta = Multiplier::new(*self.delta);
        let sum = weights.of_leaves(&self.leaves, shape.leaves);
        let answer = shown(&self.direction, sum ^ *self.mask ^ delta.mul(masked_sum));
        code::compress(&mut self.leaves, shape.length);
        self.leaves.truncate(shape.length);
        let mut closing = answer.to_vec();
        put(&mut closing, &[*self.coin]);
        Key {
            direction: self.direction,
            delta,
            coin: Zeroizing::new(*self.coin ^ peer_coin),
            row_seed,
            vector: self.leaves,
            absorbed: 0,
            closing,
        }
    }
}

/// The five elements of a header.
pub(super) fn header_fields(header: &[u8]) -> [u128; 5] {
    let mut fields = [0; 5];
    for (field, element) in fields.iter_mut().zip(take(header)) {
        *field = element;
    }
    fields
}

/// The key of the evaluation, as far as the peer's masked store has come.
pub(super) struct Key {
    direction: Direction,
    delta: Multiplier,
    coin: Zeroizing<u128>,
    row_seed: u128,
    vector: Leaves,
    absorbed: usize,
    closing: Vec<u8>,
}

impl Key {
    /// Adds delta times what comes of the peer's masked store, in order.
    pub(super) fn absorb(&mut self, piece: &[u8]) {
        let (elements, _) = piece.as_chunks::<16>();
        let places = self
            .vector
            .get_mut(self.absorbed..self.absorbed + elements.len())
            .unwrap_or_default();
        places
            .par_iter_mut()
            .zip(elements)
            .with_min_len(1_024)
            .for_each(|(place, element)| {
                *place ^= self.delta.mul(u128::from_le_bytes(*element));
            });
        self.absorbed += elements.len();
    }

    /// [`CLOSING_BYTES`]: only to be sent once the whole store has come, because it opens the
    /// coin.
    pub(super) fn closing(&self) -> Vec<u8> {
        self.closing.clone()
    }

    /// The function at each item, before it is hashed.
    pub(super) fn evaluate(&self, items: &[Hashed]) -> Zeroizing<Vec<u128>> {
        let rows = Rows::new(self.direction.layout, self.row_seed, items);
        let mut values = rows.decode(&self.vector);
        values
            .par_iter_mut()
            .zip(items)
            .with_min_len(1_024)
            .for_each(|(value, item)| {
                *value ^= self.delta.mul(item.value) ^ *self.coin;
            });
        values
    }
}

#[cfg(test)]
impl Grown {
    /// B before compression, and delta.
    pub(super) fn leaves(&self) -> (&[u128], u128) {
        (&self.leaves, *self.delta)
    }
}

#[cfg(test)]
impl Key {
    pub(super) fn parts(&self) -> (&[u128], &Multiplier) {
        (&self.vector, &self.delta)
    }

    pub(super) fn rows(&self) -> (super::okvs::Layout, u128) {
        (self.direction.layout, self.row_seed)
    }

    pub(super) fn coin(&self) -> u128 {
        *self.coin
    }
}

#[cfg(test)]
#[path = "keyed_tests.rs"]
mod tests;
