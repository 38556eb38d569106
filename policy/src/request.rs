//! The recipient's signed request for one flow.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::agreement::{FlowKind, IdentifierType, Purpose};
use crate::keys::{InstitutionKey, InstitutionPublicKey, Signature, Statement};
use crate::measure::Asked;
use crate::moment::Timestamp;
use crate::text::{
    AgreementDigest, AgreementId, FlowId, Malformed, OrgName, RequestDigest, SegmentName, SuiteId,
    TagName, UserId, serde_as_text,
};

/// Largest signed request, in bytes: a 4 KiB key in base64, 64 names of 63 bytes, 16 queries of 1 KiB, the rest.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024;
/// Most tags of a request.
pub const REQUEST_TAGS_MAX: usize = 64;
/// Largest delivery key, in bytes. X-Wing's are 1,216.
pub const DELIVERY_KEY_BYTES_MAX: usize = 4096;
/// Longest time from `issued_at` to `expires_at`, in seconds.
pub const LIFETIME_SECONDS_MAX: i64 = 24 * 3600;

/// A public key to which a delivery is sealed; base64, 1 to 4,096 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryKey(Vec<u8>);

impl DeliveryKey {
    /// Wraps the key's bytes as its suite writes them; `None` if empty or too long.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (1..=DELIVERY_KEY_BYTES_MAX)
            .contains(&bytes.len())
            .then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for DeliveryKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        STANDARD
            .decode(text)
            .ok()
            .and_then(Self::from_bytes)
            .ok_or_else(|| {
                Malformed::new("a delivery key", text, "1 to 4096 bytes in padded base64")
            })
    }
}

impl fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(&self.0))
    }
}

serde_as_text!(DeliveryKey);

/// What a request says, before it is signed. JSON has the same names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestBody {
    /// Version of this format: 1.
    pub format: u32,
    /// The flow's id, 16 fresh random bytes; also the nonce.
    pub flow: FlowId,
    /// The institution that asks.
    pub recipient: OrgName,
    /// The agreement's id.
    pub agreement: AgreementId,
    /// The agreement's version.
    pub agreement_version: u32,
    /// The agreement's digest.
    pub agreement_digest: AgreementDigest,
    /// The kind of flow.
    pub kind: FlowKind,
    /// The purpose, which must be the agreement's.
    pub purpose: Purpose,
    /// The segment asked for; without one, the whole dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<SegmentName>,
    /// What is matched by.
    pub identifier: IdentifierType,
    /// The tags asked for, each once, in the agreement's order; of a measure flow, those of the owner's that its queries use.
    pub tags: Vec<TagName>,
    /// What a measure flow asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Asked>,
    /// How many identifiers the recipient brings to the flow; binding.
    pub set_size: u32,
    /// The HPKE suite of the delivery key.
    pub delivery_suite: SuiteId,
    /// The key that the delivery is sealed to.
    pub delivery_key: DeliveryKey,
    /// When the request was made, by the recipient's clock.
    pub issued_at: Timestamp,
    /// When it lapses; at most [`LIFETIME_SECONDS_MAX`] later.
    pub expires_at: Timestamp,
    /// The person who asked.
    pub user: UserId,
}

/// Why a request cannot be used at all. What it asks for is judged by [`crate::decision`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Larger than [`REQUEST_BYTES_MAX`].
    #[error("the request has {0} bytes; at most 32768 pass")]
    TooLarge(usize),
    /// Not JSON of the request's form.
    #[error("the request does not parse: {0}")]
    Malformed(String),
    /// A field is out of its bounds.
    #[error("field `{field}` of the request: {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong and what would pass.
        problem: &'static str,
    },
    /// The signature is not the pinned key's.
    #[error("the request is not signed with the key pinned for its recipient")]
    BadSignature,
}

impl RequestBody {
    /// Checks the bounds that hold whatever the agreement says.
    fn check(&self) -> Result<(), RequestError> {
        let field = |field, problem| Err(RequestError::Field { field, problem });
        let lifetime = self.expires_at.unix_seconds() - self.issued_at.unix_seconds();
        if self.format != 1 {
            return field("format", "this version reads format 1");
        }
        let measures = self.kind == FlowKind::Measure;
        if measures != self.measure.is_some() {
            return field("measure", "queries pass in requests of kind measure alone");
        }
        // A count of customers needs no tag.
        let least = usize::from(!measures);
        if !(least..=REQUEST_TAGS_MAX).contains(&self.tags.len()) {
            return field("tags", "1 to 64 tags pass");
        }
        if self.set_size == 0 {
            return field("set_size", "at least 1 identifier is needed");
        }
        if !(1..=LIFETIME_SECONDS_MAX).contains(&lifetime) {
            return field(
                "expires_at",
                "1 second to 24 hours after `issued_at` passes",
            );
        }
        Ok(())
    }

    /// RFC 8785 JSON; what is signed and hashed.
    fn canonical(&self) -> Result<Vec<u8>, RequestError> {
        serde_json_canonicalizer::to_vec(self)
            .map_err(|error| RequestError::Malformed(error.to_string()))
    }
}

/// A request with its signature; a claim until [`verify`](Self::verify).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRequest {
    request: RequestBody,
    signature: Signature,
}

impl SignedRequest {
    /// The institution signs the request.
    ///
    /// # Errors
    /// [`RequestError::Field`] if a field is out of its bounds.
    pub fn sign(key: &InstitutionKey, request: RequestBody) -> Result<Self, RequestError> {
        request.check()?;
        let signature = key.sign(Statement::Request, &[&request.canonical()?]);
        Ok(Self { request, signature })
    }

    /// Reads JSON from a peer.
    ///
    /// # Errors
    /// [`RequestError`]: too large, not of the form, or a field out of its bounds.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::TooLarge(bytes.len()));
        }
        let signed: Self = serde_json::from_slice(bytes)
            .map_err(|error| RequestError::Malformed(error.to_string()))?;
        signed.request.check()?;
        Ok(signed)
    }

    /// Canonical JSON of request and signature.
    ///
    /// # Errors
    /// None that can occur for a request that was signed or read; the canonicaliser's type has one.
    pub fn to_json(&self) -> Result<Vec<u8>, RequestError> {
        serde_json_canonicalizer::to_vec(self)
            .map_err(|error| RequestError::Malformed(error.to_string()))
    }

    /// What the request claims, to find the agreement and its pinned key with. Not verified.
    #[must_use]
    pub fn unverified(&self) -> &RequestBody {
        &self.request
    }

    /// Verifies the signature with the recipient's key from the countersigned agreement.
    ///
    /// The message is the canonical form of what was parsed, so spellings of JSON that
    /// parse to the same request verify alike and have one digest.
    ///
    /// # Errors
    /// [`RequestError::BadSignature`], or a field out of its bounds.
    pub fn verify(&self, pinned: &InstitutionPublicKey) -> Result<VerifiedRequest, RequestError> {
        self.request.check()?;
        let canonical = self.request.canonical()?;
        pinned
            .verify(Statement::Request, &[&canonical], &self.signature)
            .map_err(|_| RequestError::BadSignature)?;
        Ok(VerifiedRequest {
            digest: RequestDigest::from_bytes(Sha256::digest(&canonical).into()),
            body: self.request.clone(),
        })
    }
}

/// A request whose signature was verified; the only form that can be decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRequest {
    body: RequestBody,
    digest: RequestDigest,
}

impl VerifiedRequest {
    /// What was asked.
    #[must_use]
    pub fn body(&self) -> &RequestBody {
        &self.body
    }

    /// SHA-256 of the canonical body without the signature: what prologues bind to.
    #[must_use]
    pub fn digest(&self) -> RequestDigest {
        self.digest
    }
}

#[cfg(test)]
pub(crate) mod tests;
