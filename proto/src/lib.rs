//! The wire of Counterfoil, and the only parser of what comes over it.
//!
//! For the broker ([`counterfoil-server`]) and the agents ([`counterfoil-party`]), which never link each other and
//! meet only in these types.
//!
//! Threat model: every byte that is parsed here was written by somebody who may be hostile: a partner, somebody
//! who stole a partner's certificate, or (for the agents) the broker itself. So every reader here takes bounded input
//! ([`limits`]), returns a checked type or an error that says whose fault it is, and never panics.
//!
//! - [`v1`]: messages and services between agent and broker, generated from `counterfoil.proto`
//! - [`invite`]: the one-time text with which an institution joins
//! - [`payload`]: the fixed-length plaintext of one sealed row, written by the owner, read by the broker
//! - [`peer`]: what the two agents say to each other inside Noise
//! - [`delivery`]: what the broker seals to the recipient, and [`answers`]: what it seals in a measure flow
//!
//! [`counterfoil-server`]: ../counterfoil_server/index.html
//! [`counterfoil-party`]: ../counterfoil_party/index.html

pub mod answers;
pub mod delivery;
pub mod invite;
pub mod leak;
pub mod limits;
pub mod payload;
pub mod peer;
pub mod report;

/// Generated from `counterfoil.proto`: see the comments there.
pub mod v1 {
    #![expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::large_enum_variant,
        reason = "generated code; the documentation stands in counterfoil.proto"
    )]
    tonic::include_proto!("counterfoil.v1");
}

/// A message that cannot be what its sender should have written.
///
/// Every variant is the fault of the sender. No message repeats what was sent, which may be about a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field has the wrong length, in bytes.
    #[error("`{field}` has {got} bytes where {want} were expected")]
    Length {
        /// Name of the field.
        field: &'static str,
        /// What was expected.
        want: usize,
        /// What came.
        got: usize,
    },
    /// More than a stated bound.
    #[error("`{field}` is over the limit of {max}")]
    TooLarge {
        /// Name of the field.
        field: &'static str,
        /// The bound.
        max: u64,
    },
    /// Not of the form that the field must have.
    #[error("`{field}` is malformed: {why}")]
    Malformed {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Decryption failed: another key, another context, or altered bytes.
    #[error("the delivery does not open with this key for this flow")]
    Unopenable,
}

/// Takes exactly `N` bytes, or says which field was wrong.
///
/// # Errors
/// [`WireError::Length`].
pub fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], WireError> {
    bytes.try_into().map_err(|_| WireError::Length {
        field,
        want: N,
        got: bytes.len(),
    })
}
