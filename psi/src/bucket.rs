//! Splitting large sets into buckets, and hiding how large a set is.
//!
//! A flow's sets are split into buckets by a pseudo-random function whose key both agents make inside their channel
//! ([`BucketKey`]), and every bucket is filled with dummies ([`IdentifierSet::fill`](crate::IdentifierSet::fill)) to
//! one number of slots, which follows from the set's [`SizeClass`] alone ([`slots`]). So what the other side and the
//! broker count says nothing about a set but its class.
//!
//! Why all buckets of a side have equally many slots, although the numbers of a random split would add up to the class
//! exactly: the other side knows the key. From the number of items in a bucket whose members it can compute it would learn
//! about single items, and more with every flow, because each has another key.
//!
//! Why classes at all: from the sizes of sets and intersections in a series of runs single members can be told (Guo, Han,
//! Liu, Wang, Jia and Li, "Birds of a Feather Flock Together", USENIX Security 2022); a person who comes or goes moves a padded
//! size only at the edge of a class. Classes blunt such series, they do not end them: the intersection's size is coarse for the
//! same reason, and caps limit the number of runs.

use std::fmt;
use std::hash::Hasher as _;

use hkdf::Hkdf;
use sha2::Sha256;
use siphasher::sip::SipHasher24;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::session::SessionInputs;

/// The largest set of one side, in items.
pub const SET_MAX: u32 = 1 << 24;

/// The smallest class: all smaller sets look alike.
pub const CLASS_MIN: u32 = 1 << 10;

/// The smallest number of rows that a bucket may be meant to have. [`SET_MAX`] then splits into 2^14 buckets.
pub const BUCKET_ROWS_MIN: u32 = 1 << 10;

/// The usual number of rows of a bucket. A session of two such sides takes some 200 MB on each, and a set of 2^20 less processor time
/// in two of them than in one: the second works in memory that the first has touched.
pub const BUCKET_ROWS_DEFAULT: u32 = 1 << 19;

/// What a session's memory is made for at the most, where a small recipient leaves no choice of smaller buckets.
const BUCKET_ROWS_MOST: u32 = 1 << 20;

const KEY_LABEL: &[u8] = b"counterfoil/bucket-key/v1";
const DIGEST_LABEL: &[u8] = b"counterfoil/bucket-plan/v1";

/// What a set's size is told as: the next of 4, 5, 6 and 7 times a power of two, from [`CLASS_MIN`] to [`SET_MAX`].
///
/// Four classes to a doubling pad by 25% at the most and 10% on average (of sizes whose logarithm is uniform), where powers
/// of two would pad by 100% and 44%; they tell one of 57, so less than 6 bits of a size, where powers of two tell one of
/// 15. Classes whose steps narrow as sizes grow (Padmé, Nikitin et al., PETS 2019) would cost less and tell more of large sets,
/// which are the ones worth hiding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass(u32);

impl SizeClass {
    /// The class of a set of so many items; nothing above [`SET_MAX`].
    #[must_use]
    pub fn of(items: u64) -> Option<Self> {
        let items = u32::try_from(items).ok().filter(|n| *n <= SET_MAX)?;
        let items = items.max(CLASS_MIN);
        // 2^e with items in [4 * 2^e, 8 * 2^e): the classes there are multiples of it.
        let step = 1 << (items.ilog2() - 2);
        Some(Self(items.next_multiple_of(step)))
    }

    /// The size that is told.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Rows of the recipient's that a bucket is meant to have at least, where there are more than [`BUCKETS_ALWAYS`] of them.
///
/// The smaller a bucket, the more of its slots are room for chance: with 64 rows in each, a recipient has 2.4 times as many slots
/// as rows, and each is one that it may ask about.
const RECIPIENT_ROWS_MIN: u32 = 64;

/// So many buckets there may be whatever the recipient's size: what a set of [`SET_MAX`] is split into at least.
const BUCKETS_ALWAYS: u32 = SET_MAX / BUCKET_ROWS_MOST;

/// Into how many buckets a flow's sets are split: the larger of both announced sizes, `bucket_rows` to each; not so many that there
/// were fewer than 64 rows of the recipient's in each, but for the 16 that a set of [`SET_MAX`] is split into at least.
///
/// At least 1; at most 2^14 for sizes up to [`SET_MAX`] and a `bucket_rows` from [`BUCKET_ROWS_MIN`] on.
#[must_use]
pub fn buckets(owner: u32, recipient: u32, bucket_rows: u32) -> u32 {
    let larger = owner.max(recipient);
    let by_rows = larger.div_ceil(bucket_rows.max(BUCKET_ROWS_MIN)).max(1);
    by_rows.min((recipient / RECIPIENT_ROWS_MIN).max(BUCKETS_ALWAYS))
}

/// Slots of each bucket of a side that announced `size`: real items and dummies together.
///
/// With one bucket it is the size. With more it leaves room for chance: at most `size` items thrown into `buckets` bins
/// leave a given bin with more than mean + t with probability at most exp(-t^2 / (2 (mean + t / 3))) (Bernstein's inequality;
/// Boucheron, Lugosi, Massart, "Concentration Inequalities", 2013, corollary 2.11), so with the union bound over all bins
/// t = L / 3 + sqrt(L^2 / 9 + 2 L mean) with L = ln(buckets * 2^40) overflows any with probability at most 2^-40. The
/// arithmetic is whole numbers rounded up, so that all three sides compute the same.
///
/// It is 0.8% more than the mean where that is 2^20, and 13% where it is 4,096.
#[must_use]
pub fn slots(size: u32, buckets: u32) -> u32 {
    if buckets <= 1 {
        return size;
    }
    let mean = u64::from(size.div_ceil(buckets));
    let bits = 40 + u64::from(buckets.next_power_of_two().ilog2());
    // ln 2 < 0.6932.
    let l = (bits * 6_932).div_ceil(10_000);
    let room = l.div_ceil(3) + ((l * l).div_ceil(9) + 2 * l * mean).isqrt() + 1;
    // No bin has more than all.
    u32::try_from(mean + room).unwrap_or(u32::MAX).min(size)
}

/// The key by which a flow's items are placed in buckets. Both agents know it, the broker does not: it could else tell
/// which match ids may belong to an identifier.
///
/// SipHash-2-4 (Aumasson and Bernstein, INDOCRYPT 2012) is the pseudo-random function; its key has 128 bits.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct BucketKey([u8; 16]);

impl BucketKey {
    /// HKDF-SHA256 over both sides' nonces, which only the two agents see. Neither side chooses the key alone; the one that
    /// speaks last can try for one that suits it, which gains it nothing but a chance to overfill its own buckets.
    #[must_use]
    #[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8,160 bytes")]
    pub fn derive(inputs: &SessionInputs<'_>) -> Self {
        let mut secret = Zeroizing::new([0; 64]);
        let (owner, recipient) = secret.split_at_mut(32);
        owner.copy_from_slice(inputs.owner_nonce.as_bytes());
        recipient.copy_from_slice(inputs.recipient_nonce.as_bytes());
        let hkdf = Hkdf::<Sha256>::new(Some(inputs.agreement_digest), secret.as_slice());
        let mut key = [0; 16];
        hkdf.expand_multi_info(&[KEY_LABEL, inputs.flow], &mut key)
            .expect("16 bytes are few");
        Self(key)
    }

    /// Takes a key that was kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key's bytes, for the one file that keeps it until the flow is over.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    /// The bucket of an item (its canonical bytes), from 0 to `buckets` - 1.
    ///
    /// The hash's 64 bits are scaled by a multiplication (Lemire, "Fast Random Integer Generation in an Interval", ACM TOMACS
    /// 2019), whose bias of at most `buckets` / 2^64 is of no account.
    #[must_use]
    pub fn bucket_of(&self, item: &[u8], buckets: u32) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(item);
        let scaled = u128::from(hasher.finish()) * u128::from(buckets);
        u32::try_from(scaled >> 64).unwrap_or(0)
    }

    /// Names this key to a side that has it, and tells others nothing of it.
    #[must_use]
    #[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8,160 bytes")]
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        Hkdf::<Sha256>::new(None, &self.0)
            .expand(DIGEST_LABEL, &mut digest)
            .expect("32 bytes are few");
        digest
    }
}

impl fmt::Debug for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BucketKey(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::SessionNonce;

    fn key(byte: u8) -> BucketKey {
        BucketKey::from_bytes([byte; 16])
    }

    #[test]
    fn classes_are_quarters_of_a_doubling() {
        let class = |n| SizeClass::of(n).map(SizeClass::get);
        for (items, expected) in [
            (0, 1024),
            (1, 1024),
            (1024, 1024),
            (1025, 1280),
            (1280, 1280),
            (1281, 1536),
            (1793, 2048),
            (65_536, 65_536),
            (100_000, 114_688),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, 5 << 18),
            (1 << 24, 1 << 24),
        ] {
            assert_eq!(class(items), Some(expected), "{items}");
        }
        assert_eq!(class((1 << 24) + 1), None);
        assert_eq!(class(u64::MAX), None);
        let all: std::collections::BTreeSet<_> = (0..=1 << 24).step_by(64).map(class).collect();
        assert_eq!(all.len(), 57);
    }

    #[test]
    fn buckets_follow_from_the_larger_size() {
        for (owner, recipient, rows, expected) in [
            (1, 1 << 20, 1 << 20, 1),
            ((1 << 20) + 1, 1, 1 << 20, 2),
            (SET_MAX, 1, 1 << 20, 16),
            (1, SET_MAX, 0, 1 << 14),
            (0, 0, 1 << 20, 1),
            // No more than leave the recipient 64 in each.
            (SET_MAX, 1 << 16, 1 << 10, 1 << 10),
            (SET_MAX, 1 << 10, 1 << 10, 16),
        ] {
            assert_eq!(buckets(owner, recipient, rows), expected);
        }
    }

    #[test]
    fn small_buckets_let_no_recipient_ask_for_many_times_its_size() {
        for log in 10..=24 {
            let size = 1_u32 << log;
            for bucket_rows in [BUCKET_ROWS_MIN, 1 << 12, BUCKET_ROWS_DEFAULT] {
                let buckets = buckets(SET_MAX, size, bucket_rows);
                let all = u64::from(slots(size, buckets)) * u64::from(buckets);
                assert!(
                    all <= u64::from(size) * 12 / 5,
                    "{size} in {buckets}: {all}"
                );
                // And the owner's stay as large as memory is made for.
                assert!(SET_MAX / buckets <= BUCKET_ROWS_MOST);
            }
        }
    }

    #[test]
    fn slots_are_pinned() {
        // Python: L = ceil((40 + ceil(log2 B)) * 0.6932), m = ceil(n / B),
        // m + ceil(L / 3) + isqrt(ceil(L * L / 9) + 2 * L * m) + 1.
        for (size, buckets, expected) in [
            (1 << 20, 1, 1 << 20),
            (1 << 24, 16, 1_056_650),
            (1 << 20, 2, 529_813),
            (1 << 24, 32, 530_092),
            (1 << 16, 16, 4_612),
            (1 << 10, 16, 139),
            (1 << 10, 1 << 14, 30),
        ] {
            assert_eq!(slots(size, buckets), expected, "{size} in {buckets}");
        }
    }

    /// The bound against the exact tail of the binomial distribution, computed apart from it.
    #[test]
    fn the_room_for_chance_is_enough_by_the_exact_tail() {
        for (size, buckets) in [
            (1_u32 << 10, 2_u32),
            (1 << 10, 16),
            (1 << 14, 16),
            (1 << 16, 64),
        ] {
            let (n, p) = (f64::from(size), 1.0 / f64::from(buckets));
            let limit = slots(size, buckets);
            // Terms of the binomial distribution from the first on, by their ratio.
            let mut term = (n * (1.0 - p).ln()).exp();
            let mut tail = 0.0;
            for k in 0..size {
                let ratio = (n - f64::from(k)) / f64::from(k + 1) * p / (1.0 - p);
                term *= ratio;
                if k + 1 > limit {
                    tail += term;
                }
            }
            let overflow = tail * f64::from(buckets);
            assert!(
                overflow <= 2_f64.powi(-40),
                "{size} in {buckets}: {overflow}"
            );
        }
    }

    #[test]
    fn the_split_is_pinned_and_even() {
        // SipHash-2-4 of the key 0, 1, .. 15 over 0, 1, .. 14 is 0xa129ca6149be45e5 (the vector of the paper's appendix A).
        let key = BucketKey::from_bytes(std::array::from_fn(|i| i as u8));
        let item: Vec<u8> = (0..15).collect();
        assert_eq!(
            key.bucket_of(&item, 1 << 31),
            (0xa129_ca61_49be_45e5_u64 >> 33) as u32
        );
        assert_eq!(key.bucket_of(&item, 1), 0);
        let mut counts = [0_u32; 16];
        for i in 0..1_u32 << 16 {
            counts[key.bucket_of(&i.to_be_bytes(), 16) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| *count <= slots(1 << 16, 16)),
            "{counts:?}"
        );
    }

    #[test]
    fn every_input_and_label_matters_to_the_key() {
        let nonce = |byte| SessionNonce::from_bytes([byte; 32]);
        let inputs = SessionInputs {
            flow: &[1; 16],
            bucket: 0,
            attempt: 0,
            owner_nonce: nonce(2),
            recipient_nonce: nonce(3),
            agreement_digest: &[4; 32],
        };
        let base = BucketKey::derive(&inputs);
        for other in [
            SessionInputs {
                flow: &[9; 16],
                ..inputs
            },
            SessionInputs {
                owner_nonce: nonce(9),
                ..inputs
            },
            SessionInputs {
                recipient_nonce: nonce(9),
                ..inputs
            },
            SessionInputs {
                agreement_digest: &[9; 32],
                ..inputs
            },
        ] {
            assert_ne!(BucketKey::derive(&other), base, "{other:?}");
        }
        assert_ne!(key(1).digest(), key(2).digest());
        assert_eq!(format!("{base:?}"), "BucketKey(<redacted>)");
    }

    proptest! {
        #[test]
        fn a_class_holds_its_sizes_and_pads_by_a_quarter_at_most(items in 1_u32..=SET_MAX) {
            let class = SizeClass::of(items.into()).unwrap().get();
            prop_assert!(class >= items);
            prop_assert!(class == CLASS_MIN || u64::from(class) * 4 <= u64::from(items) * 5);
            prop_assert_eq!(SizeClass::of(class.into()).unwrap().get(), class);
        }

        #[test]
        fn slots_hold_the_mean_and_grow_with_the_size(size in 1_u32..SET_MAX, buckets in 1_u32..1 << 14) {
            let slots_of = |size| u64::from(slots(size, buckets));
            prop_assert!(slots_of(size) * u64::from(buckets) >= u64::from(size));
            prop_assert!(slots_of(size) <= slots_of(size + 1));
        }
    }
}
