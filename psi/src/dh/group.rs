//! Exponents, chunks of encoded points, and raising the one to the other on all cores.

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::traits::IsIdentity;
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use super::seen::SeenPoints;
use super::{CHUNK_POINTS, PeerFault};

/// Bytes of an encoded point.
pub(super) const POINT_BYTES: usize = 32;

/// Points a core raises before it encodes them together. Large enough to spread the one
/// inversion of a batch, small enough that a chunk keeps 16 cores busy.
pub(super) const BATCH: usize = 125;

/// Draws a scalar that is not zero. Zero comes with probability 2^-252, but would make
/// every token public, so the loop is cheaper than the argument.
pub(super) fn nonzero_scalar<R: CryptoRng + ?Sized>(rng: &mut R) -> Zeroizing<Scalar> {
    loop {
        let scalar = Zeroizing::new(Scalar::random(rng));
        if *scalar != Scalar::ZERO {
            return scalar;
        }
    }
}

/// Secret exponents, each given as its half.
///
/// Encoding one point costs an inverse square root, and the group has no batch form of it
/// except for doubled points (`double_and_compress_batch`: one inversion for a whole batch).
/// So points are raised to e/2 and doubled by the encoder, which gives the encoding of
/// exactly e times the point at a fraction of the price. Multiplication is constant time.
///
/// Decoding has no such form. It too is an inverse square root for each point, and roots of many elements cannot be had from one of
/// their product, as inverses can; and it is the check that each of the peer's encodings is a canonical one. So it stays one
/// `decompress` a point, on all cores. With it the whole takes 1.20 times the bare multiplications (`cargo bench --bench dh`).
#[derive(Clone, Copy)]
pub(super) enum Halves<'a> {
    /// One exponent for all points.
    One(&'a Scalar),
    /// An exponent for each point.
    Each(&'a [Scalar]),
}

impl Halves<'_> {
    /// The exponents from the point `start` on, as many as are asked for.
    fn from(self, start: usize) -> impl Iterator<Item = Scalar> {
        let (one, each) = match self {
            Self::One(half) => (Some(*half), None),
            Self::Each(halves) => (None, halves.get(start..)),
        };
        let each = each.unwrap_or_default().iter().copied();
        each.chain(one.into_iter().cycle())
    }
}

/// Raises `points[i]` and hands its encoding to `write` with `out[i]`, on all cores.
///
/// Results are written in place: collecting them would leave copies of tokens in freed
/// memory. INVARIANT (lengths): `points`, `out` and the exponents have the same length, as
/// `split_chunk` and the callers see to.
pub(super) fn raise<T, F>(points: &[RistrettoPoint], halves: Halves<'_>, out: &mut [T], write: F)
where
    T: Send,
    F: Fn(&mut T, usize, &[u8; POINT_BYTES]) + Sync,
{
    debug_assert_eq!(points.len(), out.len());
    let batches = points
        .par_chunks(BATCH)
        .zip(out.par_chunks_mut(BATCH))
        .enumerate();
    batches.for_each(|(number, (batch, out))| {
        let start = number * BATCH;
        let mut raised: Vec<RistrettoPoint> = batch
            .iter()
            .zip(halves.from(start))
            .map(|(point, half)| point * half)
            .collect();
        let mut encoded = RistrettoPoint::double_and_compress_batch(&raised);
        for ((to, point), place) in out.iter_mut().zip(&encoded).zip(start..) {
            write(to, place, point.as_bytes());
        }
        // After the last step these are the group elements behind tokens.
        raised.zeroize();
        encoded.zeroize();
    });
}

/// Raises the points to a chunk of encodings that can be sent.
pub(super) fn raise_to_chunk(points: &[RistrettoPoint], halves: Halves<'_>) -> Vec<u8> {
    let mut chunk = vec![[0; POINT_BYTES]; points.len()];
    raise(points, halves, &mut chunk, |to, _, encoded| *to = *encoded);
    chunk.into_flattened()
}

/// Points that the chunk beginning at point `done` of `total` holds: all chunks but the
/// last are full, so both sides know every chunk's size.
pub(super) fn due(total: usize, done: usize) -> usize {
    total.saturating_sub(done).min(CHUNK_POINTS)
}

/// Reads a chunk from the peer: `expected` points, the first being number `first` of its
/// direction, each canonical, not the identity, and new to `seen`.
pub(super) fn read_chunk(
    bytes: &[u8],
    expected: usize,
    first: usize,
    seen: &mut SeenPoints,
) -> Result<Vec<RistrettoPoint>, PeerFault> {
    let encodings = split_chunk(bytes, expected)?;
    for (encoding, position) in encodings.iter().zip(first..) {
        if !seen.insert(encoding) {
            return Err(PeerFault::Repeated { position });
        }
    }
    encodings
        .par_iter()
        .enumerate()
        .map(|(place, encoding)| decode(encoding, first + place))
        .collect()
}

fn split_chunk(bytes: &[u8], expected: usize) -> Result<&[[u8; POINT_BYTES]], PeerFault> {
    if bytes.len() > CHUNK_POINTS * POINT_BYTES {
        return Err(PeerFault::ChunkTooLong { bytes: bytes.len() });
    }
    let (encodings, rest) = bytes.as_chunks::<POINT_BYTES>();
    if !rest.is_empty() {
        return Err(PeerFault::RaggedChunk { bytes: bytes.len() });
    }
    if encodings.len() != expected {
        return Err(PeerFault::WrongCount {
            got: encodings.len(),
            expected,
        });
    }
    Ok(encodings)
}

/// The points are public (the peer knows them), so this may leave early.
fn decode(encoding: &[u8; POINT_BYTES], position: usize) -> Result<RistrettoPoint, PeerFault> {
    let point = CompressedRistretto(*encoding)
        .decompress()
        .ok_or(PeerFault::NotCanonical { position })?;
    if point.is_identity() {
        return Err(PeerFault::Identity { position });
    }
    Ok(point)
}
