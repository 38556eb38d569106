//! Keys, how they are derived, and their commitments.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::tag::{MarkTag, TagBits};

const DATASET: &[u8] = b"wm/dataset/v1";
const RECIPIENT: &[u8] = b"wm/recipient/v1";
const FLOW: &[u8] = b"wm/flow/v1";
const REFERENCE: &[u8] = b"wm/reference/v1";
const REFERENCE_HANDLE: &[u8] = b"wm/reference-handle/v1";
const TAG: &[u8] = b"wm/tag/v1";
const COMMITMENT: &[u8] = b"wm/commitment/v1";

/// The broker's mark key: all keys of its lineages are derived from it.
#[derive(ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

/// `K_D`: which cells of a lineage are selected, and their biases, ties and classes. Shared by
/// all recipients of the lineage; secret, because who knows it knows which cells to alter.
#[derive(Clone, ZeroizeOnDrop)]
pub struct DatasetKey(pub(crate) [u8; 16]);

/// The symbols of one recipient (`K_R`) or of one flow (`K_F`).
///
/// Whoever holds it can make a file that accuses its subject: it is opened, if ever, to an expert
/// of the court, and the lineage gets a new epoch then.
#[derive(Clone, ZeroizeOnDrop)]
pub struct SymbolKey(pub(crate) [u8; 16]);

/// A flow's key of reference codes. Its recipient has it too: it could copy the codes anyway.
#[derive(Clone, ZeroizeOnDrop)]
pub struct ReferenceKey {
    key: [u8; 32],
    handle: u32,
}

/// `K_trace`: the owner's key from which mark tags are made. Never leaves the owner.
#[derive(ZeroizeOnDrop)]
pub struct TraceKey([u8; 32]);

impl MasterKey {
    /// From 32 secret random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// `K_D` of a lineage.
    #[must_use]
    pub fn dataset(&self, lineage: &str) -> DatasetKey {
        DatasetKey(derive(&self.0, &[DATASET, lineage.as_bytes()]))
    }

    /// `K_R` of a recipient in a lineage.
    #[must_use]
    pub fn recipient(&self, lineage: &str, recipient: &str) -> SymbolKey {
        let parts = [RECIPIENT, lineage.as_bytes(), recipient.as_bytes()];
        SymbolKey(derive(&self.0, &parts))
    }

    /// `K_F` of a flow in a lineage.
    #[must_use]
    pub fn flow(&self, lineage: &str, flow: &str) -> SymbolKey {
        SymbolKey(derive(
            &self.0,
            &[FLOW, lineage.as_bytes(), flow.as_bytes()],
        ))
    }

    /// The key of a flow's reference codes.
    #[must_use]
    pub fn reference(&self, lineage: &str, flow: &str) -> ReferenceKey {
        let parts = [REFERENCE, lineage.as_bytes(), flow.as_bytes()];
        ReferenceKey::from_bytes(mac(&self.0, &parts))
    }
}

impl ReferenceKey {
    /// As it was sent.
    #[must_use]
    pub fn from_bytes(key: [u8; 32]) -> Self {
        let [a, b, c, d, ..] = mac(&key, &[REFERENCE_HANDLE]);
        let handle = u32::from_be_bytes([a, b, c, d]);
        Self { key, handle }
    }

    /// For the delivery's head.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.key
    }

    /// By which a flow is found among many; not secret.
    #[must_use]
    pub fn handle(&self) -> u32 {
        self.handle
    }
}

impl TraceKey {
    /// From 32 secret random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The mark tag of a customer in a lineage, truncated to `bits`.
    ///
    /// `customer` is the owner's key of the customer and not the identifier that matched: one
    /// recipient matches by telephone and another by e-mail, and their tags must agree.
    #[must_use]
    pub fn tag(&self, lineage: &str, customer: &[u8], bits: TagBits) -> MarkTag {
        MarkTag::truncate(mac(&self.0, &[TAG, lineage.as_bytes(), customer]), bits)
    }
}

macro_rules! redacted {
    ($($key:ident),*) => {$(
        impl fmt::Debug for $key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($key), "(redacted)"))
            }
        }
    )*};
}

redacted!(MasterKey, DatasetKey, SymbolKey, ReferenceKey, TraceKey);

/// The hash by which a key is fixed in the log when its delivery leaves, long before anybody leaks.
///
/// SHA-256 over the key and what it is the key of, every part with its length before it. The key
/// has 128 random bits, so the hash hides it; a second key with the same commitment would be a
/// collision of SHA-256.
#[derive(Clone, Copy)]
pub struct Commitment([u8; 32]);

impl Commitment {
    /// To `K_D` of a lineage.
    #[must_use]
    pub fn to_dataset(key: &DatasetKey, lineage: &str) -> Self {
        Self::over(&[DATASET, lineage.as_bytes(), &key.0])
    }

    /// To `K_R` of a recipient in a lineage.
    #[must_use]
    pub fn to_recipient(key: &SymbolKey, lineage: &str, recipient: &str) -> Self {
        let parts = [RECIPIENT, lineage.as_bytes(), recipient.as_bytes(), &key.0];
        Self::over(&parts)
    }

    /// To `K_F` of a flow in a lineage.
    #[must_use]
    pub fn to_flow(key: &SymbolKey, lineage: &str, flow: &str) -> Self {
        Self::over(&[FLOW, lineage.as_bytes(), flow.as_bytes(), &key.0])
    }

    /// To the key of a flow's reference codes.
    #[must_use]
    pub fn to_reference(key: &ReferenceKey, lineage: &str, flow: &str) -> Self {
        Self::over(&[REFERENCE, lineage.as_bytes(), flow.as_bytes(), &key.key])
    }

    /// To `K_trace` of a lineage, which the owner makes: it hides the key from the broker and fixes it for the lineage.
    #[must_use]
    pub fn to_trace(key: &TraceKey, lineage: &str) -> Self {
        Self::over(&[TAG, lineage.as_bytes(), &key.0])
    }

    /// As it stands in the log.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What goes to the log.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn over(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        each_part(COMMITMENT, parts, |bytes| hash.update(bytes));
        Self(hash.finalize().into())
    }
}

impl PartialEq for Commitment {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Commitment {}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commitment(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// The first 16 bytes of the MAC: a key of AES-128.
fn derive(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 16] {
    let mut full = mac(key, parts);
    let mut short = [0; 16];
    for (short, full) in short.iter_mut().zip(full) {
        *short = full;
    }
    full.zeroize();
    short
}

/// HMAC-SHA256 over parts, each with its length before it (16 bits, little-endian).
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of every length, so there is no other case.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(&length(part));
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn each_part(label: &[u8], parts: &[&[u8]], mut update: impl FnMut(&[u8])) {
    for part in std::iter::once(&label).chain(parts) {
        update(&length(part));
        update(part);
    }
}

/// Names are at most 128 bytes long where a lineage is made; longer customer keys are the owner's
/// to avoid, and two that agree in all but 64 KiB of length do not occur.
fn length(part: &[u8]) -> [u8; 2] {
    u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes()
}

/// 11 bytes that stand for a column's name and form in a position.
pub(crate) fn column_digest(name: &str, form: &str) -> [u8; 11] {
    let mut hash = Sha256::new();
    each_part(
        b"wm/column/v1",
        &[name.as_bytes(), form.as_bytes()],
        |bytes| {
            hash.update(bytes);
        },
    );
    let mut short = [0; 11];
    for (short, full) in short.iter_mut().zip(hash.finalize()) {
        *short = full;
    }
    short
}
