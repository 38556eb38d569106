//! Finding repeated points across all chunks of one direction.

use std::hash::Hasher;

use hashbrown::HashTable;
use rand_core::CryptoRng;
use siphasher::sip128::{Hasher128, SipHasher24};

/// The points of one direction so far, as keyed 128-bit fingerprints: 17 bytes a slot
/// instead of 33 for the points themselves.
///
/// Every repeat is found. That two different points of n are taken for a repeat has
/// probability n^2 / 2^129 (2^-89 at 2^20), and a peer cannot raise it: the SipHash key is
/// drawn for the session and never leaves the process.
#[derive(Debug)]
pub(super) struct SeenPoints {
    hasher: SipHasher24,
    fingerprints: HashTable<u128>,
}

impl SeenPoints {
    pub(super) fn new<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let hasher = SipHasher24::new_with_keys(rng.next_u64(), rng.next_u64());
        Self {
            hasher,
            fingerprints: HashTable::new(),
        }
    }

    /// Notes a point; `false` if it was there already. Grows by what came, never by what
    /// was announced.
    pub(super) fn insert(&mut self, point: &[u8; 32]) -> bool {
        let mut hasher = self.hasher;
        hasher.write(point);
        let fingerprint = hasher.finish128().as_u128();
        match self
            .fingerprints
            .entry(slot(fingerprint), |f| *f == fingerprint, |f| slot(*f))
        {
            hashbrown::hash_table::Entry::Occupied(_) => false,
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(fingerprint);
                true
            }
        }
    }
}

/// The table's hash of a fingerprint: its low half, which SipHash has mixed already.
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn slot(fingerprint: u128) -> u64 {
    fingerprint as u64
}
