//! One of the two evaluations that a session consists of: whose key, which session, how large.

use sha2::{Digest, Sha256};

use super::okvs::Layout;
use super::shape::Shape;
use crate::session::{Role, SessionId};

/// What both sides of one evaluation agree on, and what separates its hashes from all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direction {
    pub(super) session: SessionId,
    /// The side whose key it is. The other one asks.
    pub(super) keyed: Role,
    pub(super) shape: Shape,
    pub(super) layout: Layout,
}

impl Direction {
    /// `items` is the size of the asking side's set.
    pub(super) fn new(session: SessionId, keyed: Role, items: usize) -> Self {
        let layout = Layout::new(items);
        Self {
            session,
            keyed,
            shape: Shape::new(layout.length()),
            layout,
        }
    }

    /// SHA-256 over a label, the session, whose key it is, and `parts`, whose lengths the label
    /// fixes.
    pub(super) fn digest(&self, label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new()
            .chain_update(label)
            .chain_update(self.session.as_bytes())
            .chain_update([self.keyed.tag()]);
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// The first half of [`Self::digest`] as an element or a key.
    pub(super) fn element(&self, label: &[u8], parts: &[&[u8]]) -> u128 {
        first_half(&self.digest(label, parts))
    }
}

/// The first 16 bytes of a digest.
pub(super) fn first_half(digest: &[u8; 32]) -> u128 {
    digest
        .first_chunk()
        .map_or(0, |half| u128::from_le_bytes(*half))
}
