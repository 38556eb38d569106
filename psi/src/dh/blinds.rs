//! The blinds of a party's own items: s or r of the protocol, one for each item.
//!
//! A blind of its own for each item is what binds a reply to the item it was asked for. With one blind s for all, a
//! peer that answers every question with powers H(x)^(s t) of a *single* one makes all tokens out of H(x)^(a t): as
//! soon as it has queried that one x, it knows every group element behind the tokens, and with the broker's match ids
//! can try all phone numbers against them. With s_k for the k-th item such an answer gives H(x)^(a t s_j / s_k), and
//! the ratio is known to nobody else. A question H(x_k)^(s_k) is then a uniform element, whatever x_k is.

use std::ops::Range;

use curve25519_dalek::Scalar;
use rand_core::CryptoRng;
use rayon::prelude::*;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::group::BATCH;

const LABEL: &[u8] = b"counterfoil/blind/v1";
const SEED_BYTES: usize = 32;

/// Draws one blind for each place, and draws it again when the reply comes: kept, they would be 32 bytes an item.
#[cfg_attr(test, derive(Clone))]
pub(super) enum Blinds {
    /// Expanded from a seed by SHA-512, which is taken for a random oracle elsewhere too.
    Drawn(Zeroizing<[u8; SEED_BYTES]>),
    /// The same for every item: the mistake that the attacks of the tests must find.
    #[cfg(test)]
    Shared(Scalar),
}

impl Blinds {
    pub(super) fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::Drawn(seed)
    }

    /// The blind of the item sent as point `place`; never zero.
    pub(super) fn at(&self, place: usize) -> Scalar {
        match self {
            Self::Drawn(seed) => expand(seed, place as u64),
            #[cfg(test)]
            Self::Shared(scalar) => *scalar,
        }
    }

    /// s/2 for each place: the exponent of a question, as `raise` takes it.
    pub(super) fn question_halves(&self, places: Range<usize>) -> Zeroizing<Vec<Scalar>> {
        self.halves(places, |blinds| {
            blinds
                .iter_mut()
                .for_each(|blind| *blind = blind.div_by_2());
        })
    }

    /// (key / s) / 2 for each place: the exponent of a reply.
    pub(super) fn reply_halves(
        &self,
        places: Range<usize>,
        key: &Scalar,
    ) -> Zeroizing<Vec<Scalar>> {
        let half = Zeroizing::new(key.div_by_2());
        self.halves(places, |blinds| {
            // One inversion for a batch. None of them is zero, as it asks for.
            drop(Zeroizing::new(Scalar::invert_batch_alloc(blinds)));
            blinds.iter_mut().for_each(|inverse| *inverse *= *half);
        })
    }

    /// Filled in place, so that growing leaves no copy behind.
    fn halves(
        &self,
        places: Range<usize>,
        finish: impl Fn(&mut [Scalar]) + Sync,
    ) -> Zeroizing<Vec<Scalar>> {
        let mut halves = Zeroizing::new(vec![Scalar::ONE; places.len()]);
        let batches = halves.par_chunks_mut(BATCH).enumerate();
        batches.for_each(|(number, batch)| {
            for (blind, place) in batch.iter_mut().zip(places.start + number * BATCH..) {
                *blind = self.at(place);
            }
            finish(batch);
        });
        halves
    }
}

impl std::fmt::Debug for Blinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blinds(<redacted>)")
    }
}

/// 512 bits reduced, so that the bias is below 2^-250. All inputs have fixed lengths.
fn expand(seed: &[u8; SEED_BYTES], place: u64) -> Scalar {
    for round in 0_u8.. {
        let wide: Zeroizing<[u8; 64]> = Zeroizing::new(
            Sha512::new()
                .chain_update(LABEL)
                .chain_update(seed)
                .chain_update(place.to_be_bytes())
                .chain_update([round])
                .finalize()
                .into(),
        );
        let scalar = Scalar::from_bytes_mod_order_wide(&wide);
        // Zero comes with probability 2^-252; the loop is cheaper than the argument.
        if scalar != Scalar::ZERO {
            return scalar;
        }
    }
    Scalar::ONE
}
