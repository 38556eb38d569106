//! What leaves the broker: the minimised rows of common customers, sealed to a key that the recipient made for this
//! flow alone.
//!
//! Sealing is HPKE (RFC 9180) in base mode, suite [`SUITE`]: X-Wing (X25519 with ML-KEM-768), because sealed deliveries
//! are stored and could be harvested now and opened by a later quantum computer; HKDF-SHA256; AES-256-GCM. The key
//! schedule's `info` binds the flow and the agreement, so that a delivery cannot pass for another flow's. The recipient
//! knows who sealed it from the log entry that names its SHA-256, which it verifies first.
//!
//! Plaintext: `u32` length of the head, head ([`DeliveryHead`]), then for each row its match id and for each column a
//! length byte and a value; then zeros up to a size class, so that the size that the log records tells a class of row
//! counts and not the count.

use hpke::aead::AeadTag;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use prost::Message as _;
use rand_core::CryptoRng;
use zeroize::{Zeroize as _, Zeroizing};

use crate::limits::COLUMNS_MAX;
use crate::v1::DeliveryHead;
use crate::{WireError, fixed};

pub use rows::{DeliveredRows, Values};

mod rows;

/// Name of the HPKE suite, as it stands in requests and agreements.
pub const SUITE: &str = "xwing-hkdfsha256-aes256gcm";

type PrivateKey = <XWing as Kem>::PrivateKey;
type PublicKey = <XWing as Kem>::PublicKey;
type Encapped = <XWing as Kem>::EncappedKey;
type Tag = AeadTag<AesGcm256>;

/// The recipient's half of a flow's delivery key. Kept from before the request until the delivery is opened.
pub struct DeliverySecret(PrivateKey);

impl DeliverySecret {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(XWing::gen_keypair_with_rng(rng).0)
    }

    /// The half that goes into the signed request, serialised.
    #[must_use]
    pub fn public_bytes(&self) -> Vec<u8> {
        XWing::sk_to_pk(&self.0).to_bytes().to_vec()
    }

    /// For a file that only its owner can read.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.to_bytes().to_vec())
    }

    /// From [`DeliverySecret::to_bytes`].
    ///
    /// # Errors
    /// Not a key of this suite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        PrivateKey::from_bytes(bytes)
            .map(Self)
            .map_err(|_| bad_key())
    }
}

impl std::fmt::Debug for DeliverySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeliverySecret(..)")
    }
}

/// What a delivery is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryContext {
    /// The flow.
    pub flow: [u8; 16],
    /// SHA-256 of the canonical agreement.
    pub agreement: [u8; 32],
}

impl DeliveryContext {
    fn info(&self) -> Vec<u8> {
        self.info_of(b"counterfoil delivery v1")
    }

    /// What an encryption of another kind is bound to in the same flow.
    pub(crate) fn info_of(&self, label: &[u8]) -> Vec<u8> {
        let mut info = label.to_vec();
        info.extend_from_slice(&self.flow);
        info.extend_from_slice(&self.agreement);
        info
    }
}

/// The table that the recipient gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Names of the tags.
    pub columns: Vec<String>,
    /// Match id and one value per column.
    pub rows: DeliveredRows,
    /// How many rows were generalised, as a coarse count.
    pub generalised: String,
    /// How many rows were suppressed, as a coarse count.
    pub suppressed: String,
    /// The key of the rows' reference codes; none if they have none.
    pub reference_key: Option<ReferenceSecret>,
}

/// A flow's key of reference codes. Whoever has it can make codes that name the flow.
#[derive(Clone, PartialEq, Eq)]
pub struct ReferenceSecret(pub [u8; 32]);

impl std::fmt::Debug for ReferenceSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReferenceSecret(..)")
    }
}

impl Delivery {
    /// Seals the delivery to the public key of the request. Returns encapsulated key and ciphertext in one string.
    ///
    /// # Errors
    /// The public key is not of [`SUITE`], or the table breaks a bound of [`crate::limits`].
    pub fn seal(
        self,
        public_key: &[u8],
        context: &DeliveryContext,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, WireError> {
        seal_behind(self.encode(context)?, public_key, &context.info(), rng)
    }

    /// Opens a sealed delivery where it stands.
    ///
    /// # Errors
    /// [`WireError::Unopenable`] for another key, flow or agreement or altered bytes; else what is malformed inside.
    pub fn open(
        sealed: Vec<u8>,
        secret: &DeliverySecret,
        context: &DeliveryContext,
    ) -> Result<Self, WireError> {
        let bytes = open_behind(sealed, secret, &context.info())?;
        Self::decode(bytes, room(), context)
    }

    /// The plaintext behind room for the encapsulated key, and with room for the tag. It is sealed where it stands: there is no
    /// copy of it to wipe.
    fn encode(self, context: &DeliveryContext) -> Result<Vec<u8>, WireError> {
        if self.rows.columns() != self.columns.len() {
            return Err(malformed("a row has another number of values than columns"));
        }
        let head = DeliveryHead {
            flow: context.flow.to_vec(),
            columns: self.columns,
            rows: self.rows.len() as u64,
            generalised: self.generalised,
            suppressed: self.suppressed,
            reference_key: self
                .reference_key
                .map_or_else(Vec::new, |key| key.0.to_vec()),
        }
        .encode_to_vec();
        let head_len = u32::try_from(head.len()).map_err(|_| too_large("head", u32::MAX.into()))?;
        let rows = self.rows.as_bytes();
        let padded = Encapped::size() + size_class(4 + head.len() + rows.len());
        let mut out = Vec::with_capacity(padded + Tag::size());
        out.resize(Encapped::size(), 0);
        out.extend_from_slice(&head_len.to_be_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(rows);
        out.resize(padded, 0);
        Ok(out)
    }

    /// Reads the plaintext that begins at `start`.
    fn decode(
        bytes: Zeroizing<Vec<u8>>,
        start: usize,
        context: &DeliveryContext,
    ) -> Result<Self, WireError> {
        let mut reader = Reader(bytes.get(start..).unwrap_or_default());
        let head_len = u32::from_be_bytes(fixed("head length", reader.take(4)?)?);
        let head = reader.take(usize::try_from(head_len).map_err(|_| short())?)?;
        let head = DeliveryHead::decode(head).map_err(|_| malformed("its head"))?;
        if head.flow != context.flow {
            return Err(malformed("it names another flow"));
        }
        if head.columns.len() > COLUMNS_MAX {
            return Err(too_large("columns", COLUMNS_MAX as u64));
        }
        let first = bytes.len() - reader.0.len();
        Ok(Self {
            rows: DeliveredRows::decode(bytes, first, head.columns.len(), head.rows)?,
            columns: head.columns,
            generalised: head.generalised,
            suppressed: head.suppressed,
            reference_key: match head.reference_key.as_slice() {
                [] => None,
                key => Some(ReferenceSecret(fixed("reference key", key)?)),
            },
        })
    }
}

/// Bytes of the encapsulated key, which stands before every ciphertext: room for it is left before the plaintext.
pub(crate) fn room() -> usize {
    Encapped::size()
}

/// Seals what stands behind the room, where it stands.
pub(crate) fn seal_behind(
    mut buffer: Vec<u8>,
    public_key: &[u8],
    info: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, WireError> {
    let (place, plaintext) = buffer.split_at_mut_checked(room()).ok_or_else(short)?;
    let sealed = PublicKey::from_bytes(public_key).and_then(|key| {
        hpke::single_shot_seal_inout_detached_with_rng::<AesGcm256, HkdfSha256, XWing>(
            &OpModeS::Base,
            &key,
            info,
            (&mut *plaintext).into(),
            &[],
            rng,
        )
    });
    let Ok((encapped, tag)) = sealed else {
        plaintext.zeroize();
        return Err(bad_key());
    };
    place.copy_from_slice(&encapped.to_bytes());
    buffer.extend_from_slice(&tag.to_bytes());
    Ok(buffer)
}

/// Opens what [`seal_behind`] sealed, where it stands: the plaintext is what follows the room.
pub(crate) fn open_behind(
    sealed: Vec<u8>,
    secret: &DeliverySecret,
    info: &[u8],
) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let mut bytes = Zeroizing::new(sealed);
    let (encapped, rest) = bytes
        .split_at_mut_checked(room())
        .ok_or(WireError::Unopenable)?;
    let encapped = Encapped::from_bytes(encapped).map_err(|_| WireError::Unopenable)?;
    let length = rest
        .len()
        .checked_sub(Tag::size())
        .ok_or(WireError::Unopenable)?;
    let (ciphertext, tag) = rest
        .split_at_mut_checked(length)
        .ok_or(WireError::Unopenable)?;
    let tag = Tag::from_bytes(tag).map_err(|_| WireError::Unopenable)?;
    hpke::single_shot_open_inout_detached::<AesGcm256, HkdfSha256, XWing>(
        &OpModeR::Base,
        &secret.0,
        &encapped,
        info,
        ciphertext.into(),
        &[],
        &tag,
    )
    .map_err(|_| WireError::Unopenable)?;
    bytes.truncate(room() + length);
    Ok(bytes)
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, len: usize) -> Result<&'b [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or_else(short)?;
        self.0 = tail;
        Ok(head)
    }
}

/// Next size class at or above `len` bytes: powers of two from 4 KiB, so that a class spans a factor of two.
fn size_class(len: usize) -> usize {
    len.max(4096).checked_next_power_of_two().unwrap_or(len)
}

fn short() -> WireError {
    malformed("it ends early")
}

fn bad_key() -> WireError {
    WireError::Malformed {
        field: "delivery key",
        why: "not a key of the suite xwing-hkdfsha256-aes256gcm",
    }
}

fn malformed(why: &'static str) -> WireError {
    WireError::Malformed {
        field: "delivery",
        why,
    }
}

fn too_large(field: &'static str, max: u64) -> WireError {
    WireError::TooLarge { field, max }
}

#[cfg(test)]
mod tests;
