//! Keys of institutions and people, and how they are written.
//!
//! Signatures are Ed25519 (RFC 8032) over labelled, length-prefixed messages, so that a
//! signature made for one kind of statement is never valid for another. Verification is
//! strict: small-order keys and non-canonical encodings are refused ("Taming the many
//! EdDSAs", Chalkias et al. 2020), so all verifiers agree on every signature.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::text::{Malformed, OrgName, serde_as_text};

/// What a signature is about; each has its own label in the signed message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Statement {
    Endorsement,
    Approval,
    Agreement,
    Revocation,
    Request,
    Fingerprint,
    Assessment,
}

impl Statement {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Endorsement => b"counterfoil/v1/person-endorsement",
            Self::Approval => b"counterfoil/v1/agreement-approval",
            Self::Agreement => b"counterfoil/v1/agreement-signature",
            Self::Revocation => b"counterfoil/v1/agreement-revocation",
            Self::Request => b"counterfoil/v1/exchange-request",
            Self::Fingerprint => b"counterfoil/v1/party-fingerprint",
            Self::Assessment => b"counterfoil/v1/partner-assessment",
        }
    }

    /// The message: label, then each part with its length (64-bit big-endian) in front.
    ///
    /// The encoding is injective for a given statement, because each statement has a fixed
    /// number of parts; labels are prefix-free through their own length.
    pub(crate) fn message(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut message = Vec::new();
        for part in std::iter::once(self.label()).chain(parts.iter().copied()) {
            // usize is at most 64 bits on every target that std supports.
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        message
    }
}

/// A signature does not belong to this message and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid for this message and key")]
pub struct BadSignature;

/// An Ed25519 signature, written as strict base64 (86 characters and `==`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Wraps the 64 bytes R || S of RFC 8032; nothing is verified here.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes R || S.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl FromStr for Signature {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        decode_base64(text)
            .map(Self)
            .ok_or_else(|| Malformed::new("a signature", text, "64 bytes in padded base64"))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

serde_as_text!(Signature);

/// The two keys of one kind of signer; the kinds cannot be mixed up.
macro_rules! signing_pair {
    ($(#[$secret_doc:meta])* $secret:ident, $(#[$public_doc:meta])* $public:ident) => {
        $(#[$secret_doc])*
        ///
        /// Wiped from memory when dropped; `Debug` shows the public half only.
        pub struct $secret(SigningKey);

        impl $secret {
            /// A fresh key from a cryptographic generator.
            #[must_use]
            pub fn generate(rng: &mut impl CryptoRng) -> Self {
                let mut seed = Zeroizing::new([0; 32]);
                rng.fill_bytes(seed.as_mut());
                Self::from_seed(&seed)
            }

            /// The key that RFC 8032 derives from this 32-byte seed.
            #[must_use]
            pub fn from_seed(seed: &[u8; 32]) -> Self {
                Self(SigningKey::from_bytes(seed))
            }

            /// The seed, to be stored where only this process can read it.
            #[must_use]
            pub fn expose_seed(&self) -> Zeroizing<[u8; 32]> {
                Zeroizing::new(self.0.to_bytes())
            }

            /// The public half.
            #[must_use]
            pub fn public(&self) -> $public {
                $public(self.0.verifying_key())
            }

            pub(crate) fn sign(&self, statement: Statement, parts: &[&[u8]]) -> Signature {
                Signature(self.0.sign(&statement.message(parts)).to_bytes())
            }
        }

        impl fmt::Debug for $secret {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($secret), "(secret of {})"), self.public())
            }
        }

        $(#[$public_doc])*
        ///
        /// Written `ed25519:` and strict base64 of the 32 bytes. Points of small order are
        /// refused when read.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $public(VerifyingKey);

        impl $public {
            /// The 32 bytes of the compressed point (RFC 8032).
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }

            pub(crate) fn verify(
                &self,
                statement: Statement,
                parts: &[&[u8]],
                signature: &Signature,
            ) -> Result<(), BadSignature> {
                let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
                self.0
                    .verify_strict(&statement.message(parts), &signature)
                    .map_err(|_| BadSignature)
            }
        }

        impl FromStr for $public {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                text.strip_prefix("ed25519:")
                    .and_then(decode_base64)
                    .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
                    .filter(|key| !key.is_weak())
                    .map(Self)
                    .ok_or_else(|| Malformed::new(
                        "an Ed25519 public key",
                        text,
                        "`ed25519:` and a 32-byte key in padded base64",
                    ))
            }
        }

        impl fmt::Display for $public {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "ed25519:{}", STANDARD.encode(self.as_bytes()))
            }
        }

        impl fmt::Debug for $public {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($public), "({})"), self)
            }
        }

        serde_as_text!($public);
    };
}

signing_pair!(
    /// An institution's signing key. It signs agreements, endorsements and requests.
    InstitutionKey,
    /// An institution's public key, pinned in the agreement.
    InstitutionPublicKey
);
signing_pair!(
    /// One person's signing key. It signs that person's approvals and nothing else.
    PersonKey,
    /// A person's public key; worth nothing without an institution's endorsement.
    PersonPublicKey
);

/// An institution's static X25519 key for Noise, pinned in the agreement.
///
/// Written `x25519:` and strict base64 of the 32 bytes. The private half never enters
/// this crate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NoisePublicKey([u8; 32]);

impl NoisePublicKey {
    /// Wraps the u-coordinate (RFC 7748); `None` if it is zero, which no key has.
    ///
    /// Other points of small order are caught where they are used: the handshake refuses
    /// an all-zero shared secret.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        (bytes != [0; 32]).then_some(Self(bytes))
    }

    /// The 32 bytes of the u-coordinate (RFC 7748).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for NoisePublicKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.strip_prefix("x25519:")
            .and_then(decode_base64)
            .and_then(Self::from_bytes)
            .ok_or_else(|| {
                Malformed::new(
                    "an X25519 public key",
                    text,
                    "`x25519:` and a 32-byte key in padded base64",
                )
            })
    }
}

impl fmt::Display for NoisePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x25519:{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for NoisePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoisePublicKey({self})")
    }
}

serde_as_text!(NoisePublicKey);

/// One party of an agreement: its name and the keys it will be held to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyKeys {
    /// The institution's name on the broker.
    pub name: OrgName,
    /// Verifies the institution's signatures.
    pub signing_key: InstitutionPublicKey,
    /// The institution's static key in Noise handshakes.
    pub noise_key: NoisePublicKey,
}

/// Base64 (RFC 4648, section 4) with padding and without stray trailing bits: one text per value.
fn decode_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
