//! Mutual tokens from Diffie-Hellman over ristretto255.
//!
//! # Protocol
//!
//! The owner O holds items x and draws a scalar a (its key) and for each item a blind s; the
//! recipient R holds items y and draws b and for each item a blind r. H is [`hash_to_group`](crate)'s `hash_to_ristretto255` (RFC 9380),
//! everything is drawn afresh for every session, each side shuffles its items first.
//!
//! ```text
//! O                                   R
//!   H(x)^s              ─────────►
//!                       ◄─────────      (H(x)^s)^b
//!   raises to a/s: H(x)^(ab)
//!                       ◄─────────      H(y)^r
//!   (H(y)^r)^a          ─────────►
//!                                       raises to b/r: H(y)^(ab)
//! both: T(z) = KDF(session, z, H(z)^(ab))
//! ```
//!
//! Both directions are the same, so there is one implementation: each party is a [`Query`]
//! (its own items) and an [`Evaluate`] (the peer's items), which may run at the same time.
//! Six exponentiations for an item pair, 3(n + m) in all; on the wire 64 bytes an item.
//!
//! Without the blinds, R would answer with H(x)^(ab) itself and so hold every token
//! of O, matched or not. **What goes over the wire is never what a token is made from**; a
//! test gives an attacker each party's whole view and checks it, and checks that the
//! attacker does succeed against the protocol without blinds.
//!
//! # What holds
//!
//! *Honest-but-curious sides, no collusion with the broker.* Under DDH in ristretto255, with H
//! and the KDF random oracles: for an item x that R does not hold, R sees H(x)^s and
//! H(x)^(sb), where s is uniform, and used for this x alone. So H(x)^s is a uniform element
//! whatever x is, even to a reader without bounds on computing, and R's view can be simulated
//! from its own items and the size of O's set; H(x)^(ab) stays unknown to R because a does. By symmetry for O. This is the classic commutative-exponentiation match
//! (Meadows, IEEE S&P 1986; Huberman, Franklin, Hogg, ACM EC 1999) as two interleaved
//! OPRFs of the 2HashDH kind (Jarecki, Kiayias, Krawczyk, ASIACRYPT 2014; RFC 9497), one
//! keyed by each side.
//!
//! *With the broker on its side*, a party also learns which match ids both submitted, so for
//! each of the at most n items it queried whether the peer has it: ordinary PSI, no more.
//! The broker alone holds outputs of a random oracle on inputs it cannot compute.
//!
//! *Against a malicious side* the protocol has no proof of honest exponents; this is what is
//! and is not so:
//! - The group has prime order (RFC 9496), so there are no small subgroups and no cofactor to
//!   clear; a non-canonical encoding is refused, so a point has one encoding. The identity
//!   is refused: as a reply it would make T(z) = KDF(session, z, identity), which anyone can
//!   compute for every z.
//! - R may send any points, related to each other or to O's (even O's own H(x)^s, mirrored).
//!   It gets each to the power a, at most as many as it announced; repeats are refused, so
//!   the announced size, on which caps and charges rest, is the number of distinct queries.
//!   Computing tokens for more items than it queried is the one-more-gap-Diffie-Hellman
//!   problem that RFC 9497 section 7.2.1 and 2HashDH rest on. We know of no use for the elements
//!   H(x)^s and H(x)^(sa) that R gets besides (s hides x and divides out only at O). Points
//!   of a later chunk may be answers to an earlier one, a^i in place of a, which shortens a
//!   search for a by a few bits (Cheon, EUROCRYPT 2006; RFC 9497 section 7.2.3). Our
//!   composition of the two OPRFs has no written proof against malicious sides: a sketch is
//!   all this paragraph is.
//! - R may answer with anything. O's tokens are then wrong at positions of R's choosing, which
//!   R cannot tie to items because O shuffled: the same as leaving rows out, which no PSI
//!   prevents. It matters when the broker colludes and shows R what O submits, because whoever
//!   knows the element behind a token can try all identifiers against it. An answer P to the
//!   question H(x)^s makes O's token out of P^(a/s). With P = g^t that takes g^(a/s), with an
//!   answer made of another question it takes the ratio of two blinds, and nobody but O has
//!   either; with P = H(x)^(st) it takes H(x)^a, so x must have been queried. This is why each
//!   item has a blind of its own: with one for all, answers made of a single question whose x
//!   was queried would open the whole set (a test carries that attack out).
//! - R may choose b badly (1, or an old one). It thereby gives up its own protection, not O's: a
//!   remains unknown. It may query items it does not hold, up to its announced size; caps,
//!   canaries and charges are there for that, not this protocol.
//! - R may abort, and learns nothing that a shorter run would not have told it.
//! - Both learn the other's exact announced size.
//! - An active attacker between the two is kept out by the channel (Noise KK), not here.
//! - A computer that takes discrete logarithms recovers old tokens from a recorded transcript
//!   only if it also breaks the channel around it.
//!
//! Scalar multiplication, hashing to the group and encoding are constant time
//! (curve25519-dalek); exponents, points on the way to tokens, and tokens are wiped.

mod blinds;
mod error;
mod evaluate;
mod group;
mod query;
mod seen;

use std::sync::Arc;

use rand::seq::SliceRandom;
use rand_core::CryptoRng;

pub use error::{Error, Misuse, PeerFault};
pub use evaluate::{Evaluate, Evaluated};
pub use query::Query;

use crate::identifier::IdentifierSet;
use crate::session::SessionId;
use blinds::Blinds;
use group::nonzero_scalar;
use query::Secrets;
use seen::SeenPoints;

/// Points of a full chunk: 64,000 bytes, so that a chunk with its framing and tag fits one
/// Noise message of 65,535 bytes. Every chunk but the last of a direction is full.
pub const CHUNK_POINTS: usize = 2_000;

/// Items of one side of one session. Larger sets are split into buckets.
pub const ITEMS_MAX: u32 = 1 << 24;

/// How far one half has come, in points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Points dealt with.
    pub done: usize,
    /// Points in all.
    pub total: usize,
}

/// Begins a session: draws all its secrets and the order in which items are sent.
///
/// `peer_items` is the set size that the peer announced. The order of calls that works
/// without deadlock, whatever the sizes: send [`Query::next_chunk`] (if any), answer the
/// peer's next chunk with [`Evaluate::reply`] (if any is due), take the peer's reply with
/// [`Query::accept_reply`] (if one is due); repeat until both [`Query::progress`] and
/// [`Evaluate::progress`] are complete.
///
/// Calls block while all cores compute (about 40 us of one core per point): keep them
/// off an async executor's threads.
///
/// # Errors
/// [`PeerFault::TooManyItems`] and [`Misuse::TooManyItems`] above [`ITEMS_MAX`].
pub fn begin<R: CryptoRng + ?Sized>(
    session: SessionId,
    items: Arc<IdentifierSet>,
    peer_items: u32,
    rng: &mut R,
) -> Result<(Query, Evaluate), Error> {
    let secrets = Secrets::draw(rng);
    begin_with(session, items, peer_items, secrets, rng)
}

fn begin_with<R: CryptoRng + ?Sized>(
    session: SessionId,
    items: Arc<IdentifierSet>,
    peer_items: u32,
    secrets: Secrets,
    rng: &mut R,
) -> Result<(Query, Evaluate), Error> {
    if peer_items > ITEMS_MAX {
        return Err(PeerFault::TooManyItems {
            announced: peer_items,
        }
        .into());
    }
    let own = u32::try_from(items.len()).unwrap_or(u32::MAX);
    if own > ITEMS_MAX {
        return Err(Misuse::TooManyItems { got: items.len() }.into());
    }
    let mut order: Vec<u32> = (0..own).collect();
    order.shuffle(rng);
    let seen = SeenPoints::new(rng);
    let evaluate = Evaluate::new(session, &secrets.key, seen, peer_items as usize);
    let query = Query::new(session, items, order, secrets, SeenPoints::new(rng));
    Ok((query, evaluate))
}

impl Secrets {
    fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self {
            key: nonzero_scalar(rng),
            blinds: Blinds::draw(rng),
        }
    }
}

#[cfg(test)]
mod malformed_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
