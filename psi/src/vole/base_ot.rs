//! 128 oblivious transfers of random keys: the protocol of Masny and Rindal 2019 (CCS; eprint
//! 2019/706, "Endemic Oblivious Transfer"), instantiated with Diffie-Hellman over ristretto255.
//!
//! The receiver, who wants key c, sends r_0 and r_1 such that it knows the logarithm of
//! r_c + H_c(r_(1-c)) and the other is random; the sender sends g^b and takes both sums to b. Secure
//! against malicious sides under computational Diffie-Hellman in the random-oracle model; a
//! malicious side may choose its own outputs, which is what the extension on top of it assumes.
//! Every transfer has exponents of its own: one g^b for all of them would need a further argument
//! (McQuoid, Rosulek, Roy 2021, eprint 2021/682).

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE as BASE;
use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::traits::IsIdentity;
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand_core::CryptoRng;
use rayon::prelude::*;
use subtle::{Choice, ConditionallySelectable};
use zeroize::Zeroizing;

use super::PeerFault;
use super::direction::Direction;
use crate::hash_to_group::{Dst, hash_to_ristretto255};

/// Transfers of one batch, one for each bit of the extension's global difference.
pub(super) const TRANSFERS: usize = 128;
const POINT_BYTES: usize = 32;
/// r_0 and r_1 for each transfer.
pub(super) const CHOICE_BYTES: usize = TRANSFERS * 2 * POINT_BYTES;
/// g^b for each transfer.
pub(super) const OFFER_BYTES: usize = TRANSFERS * POINT_BYTES;

const POINT_DST: Dst = Dst::new(b"COUNTERFOIL-V01-CS02-with-ristretto255_XMD:SHA-512_R255MAP_RO_");
const KEY_LABEL: &[u8] = b"counterfoil/vole/base-ot/v1";

/// The side that chooses.
pub(super) struct Chooser {
    choices: Zeroizing<u128>,
    exponents: Zeroizing<Vec<Scalar>>,
    message: Vec<u8>,
}

impl Chooser {
    /// Bit i of `choices` chooses in transfer i.
    pub(super) fn begin<R: CryptoRng + ?Sized>(
        direction: &Direction,
        choices: u128,
        rng: &mut R,
    ) -> Self {
        let mut exponents = Zeroizing::new(Vec::with_capacity(TRANSFERS));
        let mut message = Vec::with_capacity(CHOICE_BYTES);
        for transfer in 0..TRANSFERS {
            let choice = bit(choices, transfer);
            let exponent = Scalar::random(rng);
            let other = RistrettoPoint::random(rng).compress().to_bytes();
            // H of the wanted side, over the point that stands on the other side.
            let hashes = [0, 1].map(|side| hashed(direction, transfer, side, &other));
            let hash = RistrettoPoint::conditional_select(&hashes[0], &hashes[1], choice);
            let wanted = (BASE * &exponent - hash).compress().to_bytes();
            message.extend_from_slice(&select(&wanted, &other, choice));
            message.extend_from_slice(&select(&other, &wanted, choice));
            exponents.push(exponent);
        }
        Self {
            choices: Zeroizing::new(choices),
            exponents,
            message,
        }
    }

    /// What to send: [`CHOICE_BYTES`].
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// The chosen key of each transfer, from the peer's offer of [`OFFER_BYTES`].
    pub(super) fn finish(
        self,
        direction: &Direction,
        offer: &[u8],
    ) -> Result<Zeroizing<Vec<u128>>, PeerFault> {
        let (offers, _) = offer.as_chunks::<POINT_BYTES>();
        let (pairs, _) = self.message.as_chunks::<{ 2 * POINT_BYTES }>();
        let mut keys = Zeroizing::new(vec![0; TRANSFERS]);
        keys.par_iter_mut()
            .zip(offers)
            .zip(pairs)
            .zip(self.exponents.par_iter())
            .enumerate()
            .try_for_each(|(transfer, (((key, offer), pair), exponent))| {
                let shared = read_point(offer, transfer)? * exponent;
                let side = bit(*self.choices, transfer).unwrap_u8();
                *key = derive(direction, transfer, side, pair, offer, &shared);
                Ok(())
            })?;
        Ok(keys)
    }
}

/// The side that offers both keys of each transfer.
pub(super) struct Offerer {
    exponents: Zeroizing<Vec<Scalar>>,
    message: Vec<u8>,
}

impl Offerer {
    pub(super) fn begin<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut exponents = Zeroizing::new(Vec::with_capacity(TRANSFERS));
        let mut message = Vec::with_capacity(OFFER_BYTES);
        for _ in 0..TRANSFERS {
            let exponent = Scalar::random(rng);
            message.extend_from_slice((BASE * &exponent).compress().as_bytes());
            exponents.push(exponent);
        }
        Self { exponents, message }
    }

    /// What to send: [`OFFER_BYTES`].
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Both keys of each transfer, from the peer's choices of [`CHOICE_BYTES`].
    pub(super) fn finish(
        self,
        direction: &Direction,
        choices: &[u8],
    ) -> Result<Zeroizing<Vec<[u128; 2]>>, PeerFault> {
        let (pairs, _) = choices.as_chunks::<{ 2 * POINT_BYTES }>();
        let (offers, _) = self.message.as_chunks::<POINT_BYTES>();
        let mut keys = Zeroizing::new(vec![[0; 2]; TRANSFERS]);
        keys.par_iter_mut()
            .zip(pairs)
            .zip(offers)
            .zip(self.exponents.par_iter())
            .enumerate()
            .try_for_each(|(transfer, (((keys, pair), offer), exponent))| {
                let (points, _) = pair.as_chunks::<POINT_BYTES>();
                let others = points.iter().rev();
                for (((key, point), other), side) in
                    keys.iter_mut().zip(points).zip(others).zip(0..)
                {
                    let point = read_point(point, transfer)?;
                    let shared = (point + hashed(direction, transfer, side, other)) * exponent;
                    *key = derive(direction, transfer, side, pair, offer, &shared);
                }
                Ok(())
            })?;
        Ok(keys)
    }
}

fn bit(bits: u128, place: usize) -> Choice {
    let [byte, ..] = (bits >> place).to_le_bytes();
    Choice::from(byte & 1)
}

/// `a` for choice 0, `b` for choice 1.
fn select(a: &[u8; POINT_BYTES], b: &[u8; POINT_BYTES], choice: Choice) -> [u8; POINT_BYTES] {
    <[u8; POINT_BYTES]>::conditional_select(a, b, choice)
}

fn read_point(bytes: &[u8; POINT_BYTES], transfer: usize) -> Result<RistrettoPoint, PeerFault> {
    CompressedRistretto(*bytes)
        .decompress()
        .filter(|point| !point.is_identity())
        .ok_or(PeerFault::BasePoint { transfer })
}

fn hashed(direction: &Direction, transfer: usize, side: u8, point: &[u8]) -> RistrettoPoint {
    let mut message = Vec::with_capacity(32 + 1 + 9 + POINT_BYTES);
    message.extend_from_slice(direction.session.as_bytes());
    message.push(direction.keyed.tag());
    message.extend_from_slice(&(transfer as u64).to_be_bytes());
    message.push(side);
    message.extend_from_slice(point);
    hash_to_ristretto255(&message, POINT_DST)
}

fn derive(
    direction: &Direction,
    transfer: usize,
    side: u8,
    choices: &[u8],
    offer: &[u8],
    shared: &RistrettoPoint,
) -> u128 {
    let shared = Zeroizing::new(shared.compress().to_bytes());
    direction.element(
        KEY_LABEL,
        &[
            &(transfer as u64).to_be_bytes(),
            &[side],
            choices,
            offer,
            shared.as_slice(),
        ],
    )
}

#[cfg(test)]
#[path = "base_ot_tests.rs"]
mod tests;
