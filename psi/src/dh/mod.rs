//! Mutual tokens from Diffie-Hellman over ristretto255.
//!
//! # Protocol
//!
//! The owner O holds items x and draws scalars a (key) and s (blind); the recipient R holds
//! items y and draws b and r. H is [`hash_to_group`](crate)'s `hash_to_ristretto255` (RFC 9380),
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
//! Without the blinds s and r, R would answer with H(x)^(ab) itself and so hold every token
//! of O, matched or not. **What goes over the wire is never what a token is made from**; a
//! test gives an attacker each party's whole view and checks it, and checks that the
//! attacker does succeed against the protocol without blinds.
//!
//! # What holds
//!
//! *Honest-but-curious sides, no collusion with the broker.* Under DDH in ristretto255, with H
//! and the KDF random oracles: for an item x that R does not hold, R sees H(x)^s and
//! H(x)^(sb), with s unknown and independent of everything else R sees. As H(x) has an
//! unknown logarithm, H(x)^s is indistinguishable from a fresh random element, so R's view
//! can be simulated from its own items and the size of O's set; H(x)^(ab) stays unknown to R
//! because a does. By symmetry for O. This is the classic commutative-exponentiation match
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
//!   H(x)^s and H(x)^(sa) that R gets besides (s hides x and divides out only at O), but our
//!   composition of the two OPRFs has no written proof against malicious sides: a sketch is
//!   all this paragraph is.
//! - R may answer with anything. O's tokens are then wrong at positions of R's choosing, which
//!   R cannot tie to items because O shuffled: the same as leaving rows out, which no PSI
//!   prevents. If R colludes with the broker and answers g^t, the broker sees
//!   KDF(session, x, g^(ta/s)); testing an x against it takes g^(a/s), which nobody but O has.
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

mod error;
mod evaluate;
mod group;
mod query;
mod seen;

use std::sync::Arc;

use curve25519_dalek::Scalar;
use rand::seq::SliceRandom;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub use error::{Error, Misuse, PeerFault};
pub use evaluate::{Evaluate, Evaluated};
pub use query::Query;

use crate::identifier::IdentifierSet;
use crate::session::SessionId;
use group::{Exponent, nonzero_scalar};
use query::Exponents;
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
    begin_with(session, items, peer_items, &secrets, rng)
}

/// The scalars of one party in one session.
struct Secrets {
    /// a or b.
    key: Zeroizing<Scalar>,
    /// s or r.
    blind: Zeroizing<Scalar>,
}

impl Secrets {
    fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self {
            key: nonzero_scalar(rng),
            blind: nonzero_scalar(rng),
        }
    }
}

fn begin_with<R: CryptoRng + ?Sized>(
    session: SessionId,
    items: Arc<IdentifierSet>,
    peer_items: u32,
    secrets: &Secrets,
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
    let unblind = Zeroizing::new(secrets.blind.invert());
    let finish = Zeroizing::new(*secrets.key * *unblind);
    let exponents = Exponents {
        blind: Exponent::new(&secrets.blind),
        finish: Exponent::new(&finish),
    };
    let query = Query::new(session, items, order, exponents, SeenPoints::new(rng));
    let key = Exponent::new(&secrets.key);
    let evaluate = Evaluate::new(session, key, SeenPoints::new(rng), peer_items as usize);
    Ok((query, evaluate))
}

#[cfg(test)]
mod malformed_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
