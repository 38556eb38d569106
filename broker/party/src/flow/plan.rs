//! How a flow's sets are split: agreed once, when the agents meet, and kept until the flow is over.

use std::fmt;

use counterfoil_policy::agreement::Agreement;
use counterfoil_psi::{BucketKey, IdentifierSet, Role, SET_MAX, SizeClass, buckets, slots};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

const LABEL: &[u8] = b"counterfoil/plan/v1";

/// Both sides' sizes as they were told, the number of buckets that follows from them, and the key of the split.
///
/// Kept in files of mode 0600: the key says nothing of anybody alone, and together with the broker's records which match ids may
/// be a given identifier's, one in so many buckets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    key: [u8; 16],
    owner_size: u32,
    recipient_size: u32,
    buckets: u32,
}

impl Plan {
    /// What follows from a meeting.
    pub(crate) fn new(
        key: &BucketKey,
        owner_size: u32,
        recipient_size: u32,
        agreement: &Agreement,
    ) -> Self {
        Self {
            key: *key.expose(),
            owner_size,
            recipient_size,
            buckets: buckets(owner_size, recipient_size, agreement.caps().bucket_rows),
        }
    }

    /// How many buckets there are.
    pub(crate) fn buckets(&self) -> u32 {
        self.buckets
    }

    /// The size that a side told.
    pub(crate) fn size(&self, role: Role) -> u32 {
        match role {
            Role::Owner => self.owner_size,
            Role::Recipient => self.recipient_size,
        }
    }

    /// Items of a side in each bucket, dummies among them.
    pub(crate) fn slots(&self, role: Role) -> u32 {
        slots(self.size(role), self.buckets)
    }

    /// Items of a side in all buckets: what it may ask about.
    pub(crate) fn slots_in_all(&self, role: Role) -> u64 {
        u64::from(self.slots(role)) * u64::from(self.buckets)
    }

    /// Names this plan in the binding of every channel, so that two sides that hold different ones never match a bucket.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let hash = Sha256::new()
            .chain_update(LABEL)
            .chain_update(BucketKey::from_bytes(self.key).digest())
            .chain_update(self.owner_size.to_be_bytes())
            .chain_update(self.recipient_size.to_be_bytes())
            .chain_update(self.buckets.to_be_bytes());
        hash.finalize().into()
    }

    /// The indices of a set's items, bucket by bucket.
    ///
    /// # Errors
    /// [`Error::Unexpected`] if a bucket overflows, which a set that is not larger than its size does with probability below
    /// 2^-40 ([`slots`]).
    pub(crate) fn split(&self, set: &IdentifierSet, role: Role) -> Result<Vec<Vec<u32>>> {
        let slots = usize::try_from(self.slots(role)).unwrap_or(usize::MAX);
        let key = BucketKey::from_bytes(self.key);
        let room = slots.min(set.len());
        let mut parts: Vec<Vec<u32>> = (0..self.buckets)
            .map(|_| Vec::with_capacity(room))
            .collect();
        for index in 0.. {
            let Some(item) = set.get(index) else { break };
            let bucket = usize::try_from(key.bucket_of(item, self.buckets)).unwrap_or(usize::MAX);
            if let Some(part) = parts.get_mut(bucket) {
                part.push(index);
            }
        }
        if parts.iter().any(|part| part.len() > slots) {
            return Err(Error::Unexpected(
                "a bucket overflowed: ask for the flow again".to_owned(),
            ));
        }
        Ok(parts)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("owner_size", &self.owner_size)
            .field("recipient_size", &self.recipient_size)
            .field("buckets", &self.buckets)
            .finish_non_exhaustive()
    }
}

/// The size that a recipient with so many identifiers asks under: their class, or the agreement's cap where that is less.
/// A set over the cap keeps its class, for the broker to deny and record.
pub(crate) fn recipient_size(items: u64, agreement: &Agreement) -> Option<u32> {
    let class = SizeClass::of(items)?.get();
    let cap = agreement.caps().rows_per_flow;
    Some(if items <= u64::from(cap) {
        class.min(cap)
    } else {
        class
    })
}

/// The size that an owner with so many rows tells: their class.
pub(crate) fn owner_size(items: u64) -> Option<u32> {
    SizeClass::of(items).map(SizeClass::get)
}

/// The largest size that an owner can tell.
pub(crate) const OWNER_SIZE_MAX: u32 = SET_MAX;

#[cfg(test)]
mod tests {
    use counterfoil_psi::{IdentifierKind, Normaliser};

    use super::*;
    use crate::flow::fixture;

    fn plan(owner: u32, recipient: u32) -> Plan {
        let agreement = fixture::agreement_with(|text| {
            text.replacen("[retention]", "bucket_rows = 1024\n[retention]", 1)
        });
        Plan::new(
            &BucketKey::from_bytes([7; 16]),
            owner,
            recipient,
            &agreement,
        )
    }

    #[test]
    fn a_split_keeps_every_item_once_and_both_sides_agree_on_its_bucket() {
        let plan = plan(4096, 1024);
        assert_eq!(plan.buckets(), 4);
        let normaliser = Normaliser::new(IdentifierKind::Email, None);
        let set = |from: u32, to: u32| {
            let mut set = IdentifierSet::new(IdentifierKind::Email, &mut rand::rng());
            for i in from..to {
                let mail = format!("customer{i}@example.com");
                set.insert(&normaliser.normalise(&mail).unwrap()).unwrap();
            }
            set
        };
        let (owner, recipient) = (set(0, 4000), set(3500, 4400));
        let at = |set: &IdentifierSet, role| {
            let mut places = std::collections::HashMap::new();
            let parts = plan.split(set, role).unwrap();
            assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), set.len());
            for (bucket, part) in parts.iter().enumerate() {
                assert!(part.is_sorted() && part.len() <= plan.slots(role) as usize);
                places.extend(part.iter().map(|i| (set.get(*i).unwrap().to_vec(), bucket)));
            }
            places
        };
        let (owners, recipients) = (at(&owner, Role::Owner), at(&recipient, Role::Recipient));
        let common = recipients
            .iter()
            .filter(|(item, bucket)| owners.get(*item) == Some(bucket));
        assert_eq!(common.count(), 500);
        // More than the size that was told does not fit.
        assert!(plan.split(&set(0, 2_500), Role::Recipient).is_err());
    }

    #[test]
    fn every_part_of_a_plan_is_named_and_comes_back_from_its_file() {
        let base = plan(4096, 1024);
        let mut others = [base.clone(), base.clone(), base.clone(), base.clone()];
        others[0].key = [8; 16];
        others[1].owner_size += 1;
        others[2].recipient_size += 1;
        others[3].buckets += 1;
        assert!(others.iter().all(|other| other.digest() != base.digest()));
        let kept = serde_json::to_string(&base).unwrap();
        assert!(serde_json::from_str::<Plan>(&kept).unwrap() == base);
        assert!(!format!("{base:?}").contains("key"));
    }

    #[test]
    fn a_recipient_asks_under_its_class_and_the_cap() {
        let agreement = fixture::agreement();
        for (items, size) in [
            (1, 1024),
            (5_000, 5_120),
            (99_000, 100_000),
            (100_000, 100_000),
            (100_001, 114_688),
        ] {
            assert_eq!(recipient_size(items, &agreement), Some(size), "{items}");
        }
        assert_eq!(recipient_size(u64::from(SET_MAX) + 1, &agreement), None);
    }
}
