//! Correlated oblivious transfers: q = t + r * delta for the bits r of one side and the
//! difference delta of the other.
//!
//! The extension of Ishai, Kilian, Nissim and Petrank with the consistency check of Roy 2022
//! (SoftSpokenOT, CRYPTO; eprint 2022/192) for k = 1: the choosing side commits to its bits by the
//! columns it sends, and shows a universal hash of them in every column. A side that cheats is
//! caught unless it guesses bits of delta, at one bit of probability for a bit. The challenge is
//! the hash of everything sent so far, which takes the place of a message in the random-oracle
//! model.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::PeerFault;
use super::base_ot::TRANSFERS;
use super::direction::{Direction, first_half};
use super::field;
use super::prg::Stream;
use super::wire::{put, take};

const CHALLENGE_LABEL: &[u8] = b"counterfoil/vole/cot-challenge/v1";

/// Bytes that the choosing side sends: the columns, the hash of its bits, the hash of each column.
pub(super) const fn message_bytes(blocks: usize) -> usize {
    16 * (TRANSFERS * blocks + 1 + TRANSFERS)
}

/// The choosing side. `choices` are its bits, in blocks of 128; the last block must be random and
/// is used up by the check. Appends the message, and returns t for each bit.
pub(super) fn choose(
    direction: &Direction,
    keys: &[[u128; 2]],
    choices: &[u128],
    transcript: &[&[u8]],
    message: &mut Vec<u8>,
) -> Zeroizing<Vec<u128>> {
    let blocks = choices.len();
    let mut columns = Zeroizing::new(vec![0; TRANSFERS * blocks]);
    let mut sent = vec![0; TRANSFERS * blocks];
    columns
        .par_chunks_mut(blocks)
        .zip(sent.par_chunks_mut(blocks))
        .zip(keys)
        .for_each(|((column, sent), [zero, one])| {
            Stream::new(*zero, 0).fill(column);
            Stream::new(*one, 0).fill(sent);
            for ((sent, own), choice) in sent.iter_mut().zip(column).zip(choices) {
                *sent ^= *own ^ choice;
            }
        });
    let start = message.len();
    put(message, &sent);
    let challenge = challenge(
        direction,
        transcript,
        message.get(start..).unwrap_or_default(),
    );
    put(message, &[column_hash(challenge, choices)]);
    let hashes: Vec<u128> = columns
        .par_chunks(blocks)
        .map(|column| column_hash(challenge, column))
        .collect();
    put(message, &hashes);
    rows(&columns, blocks)
}

/// The other side: `keys[j]` is the key that bit j of `delta` chose. Returns q for each bit of
/// the peer.
pub(super) fn correlate(
    direction: &Direction,
    keys: &[u128],
    delta: u128,
    transcript: &[&[u8]],
    message: &[u8],
) -> Result<Zeroizing<Vec<u128>>, PeerFault> {
    let blocks = direction.shape.blocks();
    let (sent, proof) = message
        .split_at_checked(16 * TRANSFERS * blocks)
        .unwrap_or_default();
    let challenge = challenge(direction, transcript, sent);
    let proof = take(proof);
    let (choices_hash, hashes) = proof.split_first().unwrap_or((&0, &[]));
    let sent = take(sent);
    let mut columns = Zeroizing::new(vec![0; TRANSFERS * blocks]);
    let consistent = columns
        .par_chunks_mut(blocks)
        .zip(sent.par_chunks(blocks))
        .zip(keys)
        .zip(hashes)
        .enumerate()
        .map(|(j, (((column, sent), key), hash))| {
            // All ones where delta has bit j.
            let bit = 0_u128.wrapping_sub(delta >> j & 1);
            Stream::new(*key, 0).fill(column);
            for (own, sent) in column.iter_mut().zip(sent) {
                *own ^= sent & bit;
            }
            let expected = hash ^ (choices_hash & bit);
            column_hash(challenge, column).ct_eq(&expected)
        })
        .reduce(|| 1.into(), |a, b| a & b);
    if !bool::from(consistent) || hashes.len() != TRANSFERS {
        return Err(PeerFault::ExtensionCheck);
    }
    Ok(rows(&columns, blocks))
}

fn challenge(direction: &Direction, transcript: &[&[u8]], sent: &[u8]) -> u128 {
    let mut hash = Sha256::new();
    for part in transcript {
        hash.update(part);
    }
    hash.update(sent);
    first_half(&direction.digest(CHALLENGE_LABEL, &[&hash.finalize()]))
}

/// The polynomial of all blocks but the last, masked by that one.
fn column_hash(challenge: u128, column: &[u128]) -> u128 {
    column
        .split_last()
        .map_or(0, |(mask, rest)| field::hash(challenge, rest) ^ mask)
}

/// Turns 128 columns of `blocks` * 128 bits into that many rows of 128 bits.
fn rows(columns: &[u128], blocks: usize) -> Zeroizing<Vec<u128>> {
    let mut rows = Zeroizing::new(vec![0; columns.len()]);
    let (squares, _) = rows.as_chunks_mut::<TRANSFERS>();
    squares.par_iter_mut().enumerate().for_each(|(b, square)| {
        let across = columns.iter().skip(b).step_by(blocks);
        for (to, from) in square.iter_mut().zip(across) {
            *to = *from;
        }
        transpose(square);
    });
    rows
}

/// Bit i of element j becomes bit j of element i.
fn transpose(square: &mut [u128; TRANSFERS]) {
    let mut width = TRANSFERS / 2;
    let mut mask = u128::MAX >> width;
    while width > 0 {
        for pair in square.chunks_mut(2 * width) {
            let (upper, lower) = pair.split_at_mut(width);
            for (a, b) in upper.iter_mut().zip(lower) {
                let swap = (*a >> width ^ *b) & mask;
                *b ^= swap;
                *a ^= swap << width;
            }
        }
        width /= 2;
        mask ^= mask << width;
    }
}

#[cfg(test)]
#[path = "cot_tests.rs"]
mod tests;
