//! What a matching session is bound to, and which side of it one stands on.

use std::fmt;

use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

const SESSION_LABEL: &[u8] = b"counterfoil/session/v1";

/// The side of a flow a party stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Holds the tagged customers (O in the design pages).
    Owner,
    /// Wants to learn about the customers both sides have (R).
    Recipient,
}

impl Role {
    /// The other side.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Owner => Self::Recipient,
            Self::Recipient => Self::Owner,
        }
    }

    /// The byte that stands for this role in associated data.
    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::Owner => 0x4f,
            Self::Recipient => 0x52,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Recipient => "recipient",
        })
    }
}

/// 32 bytes that one side draws afresh for every attempt at a bucket.
///
/// Not secret: both sides send theirs. As long as one of the two is fresh, the
/// session id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionNonce([u8; 32]);

impl SessionNonce {
    /// Draws a nonce.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Takes the nonce a peer sent.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to send.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Everything a session id commits to.
///
/// Named fields, because six byte strings in a row would sooner or later be
/// passed in the wrong order.
#[derive(Clone, Copy, Debug)]
pub struct SessionInputs<'a> {
    /// The flow's id, 16 bytes (a UUID).
    pub flow: &'a [u8; 16],
    /// Which bucket of the flow, counted from 0.
    pub bucket: u32,
    /// Which attempt at that bucket, counted from 0. A repeated bucket draws everything afresh.
    pub attempt: u32,
    /// The nonce the owner drew.
    pub owner_nonce: SessionNonce,
    /// The nonce the recipient drew.
    pub recipient_nonce: SessionNonce,
    /// SHA-256 of the agreement's canonical form.
    pub agreement_digest: &'a [u8; 32],
}

/// Names one attempt at one bucket of one flow: tokens of different sessions are unrelated.
///
/// Not secret, but both sides must derive it for themselves from
/// [`SessionInputs`]: a session id that a single side could choose might repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// SHA-256 over a label and the inputs. Every input has a fixed length, so
    /// no two different inputs encode alike.
    #[must_use]
    pub fn derive(inputs: &SessionInputs<'_>) -> Self {
        let hash = Sha256::new()
            .chain_update(SESSION_LABEL)
            .chain_update(inputs.flow)
            .chain_update(inputs.bucket.to_be_bytes())
            .chain_update(inputs.attempt.to_be_bytes())
            .chain_update(inputs.owner_nonce.0)
            .chain_update(inputs.recipient_nonce.0)
            .chain_update(inputs.agreement_digest);
        Self(hash.finalize().into())
    }

    /// Takes a session id that was derived elsewhere, as the broker does.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, to be sent or compared.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> SessionInputs<'static> {
        SessionInputs {
            flow: &[1; 16],
            bucket: 2,
            attempt: 3,
            owner_nonce: SessionNonce::from_bytes([4; 32]),
            recipient_nonce: SessionNonce::from_bytes([5; 32]),
            agreement_digest: &[6; 32],
        }
    }

    #[test]
    fn the_derivation_is_pinned() {
        // Computed apart from this code:
        // Python's hashlib over the label and the inputs above.
        assert_eq!(
            hex::encode(SessionId::derive(&inputs()).as_bytes()),
            "998ebed38e862673926ae8acc8f618de884509dad90a08f5ad36543b56b455f6"
        );
    }

    #[test]
    fn every_input_matters() {
        let base = SessionId::derive(&inputs());
        let other = SessionNonce::from_bytes([9; 32]);
        let variants = [
            SessionInputs {
                flow: &[9; 16],
                ..inputs()
            },
            SessionInputs {
                bucket: 3,
                ..inputs()
            },
            SessionInputs {
                attempt: 2,
                ..inputs()
            },
            SessionInputs {
                bucket: 3,
                attempt: 2,
                ..inputs()
            },
            SessionInputs {
                owner_nonce: other,
                ..inputs()
            },
            SessionInputs {
                recipient_nonce: other,
                ..inputs()
            },
            SessionInputs {
                owner_nonce: inputs().recipient_nonce,
                recipient_nonce: inputs().owner_nonce,
                ..inputs()
            },
            SessionInputs {
                agreement_digest: &[9; 32],
                ..inputs()
            },
        ];
        for variant in variants {
            assert_ne!(SessionId::derive(&variant), base, "{variant:?}");
        }
    }

    #[test]
    fn roles_are_opposite() {
        assert_eq!(Role::Owner.peer(), Role::Recipient);
        assert_eq!(Role::Recipient.peer(), Role::Owner);
        assert_ne!(Role::Owner.tag(), Role::Recipient.tag());
    }
}
