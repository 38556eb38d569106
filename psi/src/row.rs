//! Rows sealed so that the broker opens only those that both sides hold.

use std::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::session::{Role, SessionId};

const AAD_LABEL: &[u8; 18] = b"counterfoil/row/v1";
const AAD_BYTES: usize = 18 + 32 + 32 + 1;

/// Bytes that sealing adds to a payload: the GCM tag. The nonce is fixed and not sent.
pub const SEAL_OVERHEAD: usize = 16;

/// The longest payload a flow may agree on, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// Opens one sealed row. Comes from a [`Token`](crate::Token), or from a party's submission.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RowKey([u8; 32]);

impl RowKey {
    /// Takes a key that a party submitted.
    #[must_use]
    pub const fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// The key's bytes, for the one message that submits it to the broker.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ConstantTimeEq for RowKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowKey(<redacted>)")
    }
}

/// Seals one row, once.
///
/// A type apart from [`RowKey`], made only by [`Token::into_seal_key`](crate::Token::into_seal_key),
/// which consumes the token, and consumed itself by [`RowContext::seal`].
#[derive(Debug)]
pub struct SealKey {
    key: RowKey,
    role: Role,
}

impl SealKey {
    pub(crate) const fn new(key: RowKey, role: Role) -> Self {
        Self { key, role }
    }
}

/// The one length that all payloads of a flow have.
///
/// Rows of different lengths would tell the broker something about rows that it
/// cannot open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLength(usize);

impl PayloadLength {
    /// Checks a length in bytes against [`PAYLOAD_BYTES_MAX`].
    ///
    /// # Errors
    /// [`RowError::LengthOverMax`].
    pub const fn new(bytes: usize) -> Result<Self, RowError> {
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(RowError::LengthOverMax { bytes });
        }
        Ok(Self(bytes))
    }

    /// Bytes of a payload.
    #[must_use]
    pub const fn payload(self) -> usize {
        self.0
    }

    /// Bytes of a sealed row.
    #[must_use]
    pub const fn sealed(self) -> usize {
        self.0 + SEAL_OVERHEAD
    }
}

/// Why a row was not sealed. Always the caller's mistake; nothing here comes from a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A flow asked for payloads longer than the bound.
    #[error("a row of `{bytes}` bytes is over {PAYLOAD_BYTES_MAX}; agree on fewer or shorter tags")]
    LengthOverMax {
        /// The length asked for.
        bytes: usize,
    },
    /// A payload does not have the flow's length.
    #[error("a payload has `{got}` bytes where every payload of this flow has {expected}; pad it")]
    PayloadLength {
        /// Bytes the payload has.
        got: usize,
        /// Bytes the flow agreed on.
        expected: usize,
    },
    /// AES-GCM refused, which it does only far above [`PAYLOAD_BYTES_MAX`].
    #[error("the cipher refused a payload of `{bytes}` bytes; agree on fewer or shorter tags")]
    Cipher {
        /// Bytes the payload has.
        bytes: usize,
    },
}

/// What every sealed row of one session is bound to.
#[derive(Clone, Copy, Debug)]
pub struct RowContext {
    /// Associated data of all rows; the role is to be filled in.
    aad: [u8; AAD_BYTES],
    length: PayloadLength,
}

impl RowContext {
    /// Binds rows to a session, the agreement (SHA-256 of its canonical form) and one length.
    #[must_use]
    pub fn new(session: SessionId, agreement_digest: [u8; 32], length: PayloadLength) -> Self {
        let mut aad = [0; AAD_BYTES];
        let parts = AAD_LABEL
            .iter()
            .chain(session.as_bytes())
            .chain(&agreement_digest);
        aad.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        Self { aad, length }
    }

    /// Seals a payload: AES-256-GCM, associated data = label, session, agreement digest, role.
    ///
    /// The nonce is fixed at zero. GCM needs (key, nonce) never to repeat, and here the
    /// key never does: it is expanded from one item's token of one session with the
    /// sealer's label, `Token` is consumed to get it, and this function consumes it.
    /// Items of a session are distinct (`IdentifierSet`), and a repeated bucket is a new
    /// session with fresh scalars.
    ///
    /// GCM does not commit to its key. That is harmless here: the sealer chooses the
    /// payload anyway, and the broker tries exactly one key for each row.
    ///
    /// # Errors
    /// [`RowError::PayloadLength`] if the payload does not have the flow's length.
    pub fn seal(&self, key: SealKey, payload: &[u8]) -> Result<Vec<u8>, RowError> {
        // Room for the tag from the start: growing would leave a copy of the payload behind.
        let mut buffer = Vec::with_capacity(self.length.sealed());
        buffer.extend_from_slice(payload);
        self.seal_tail(key, &mut buffer, 0)?;
        Ok(buffer)
    }

    /// As [`seal`](Self::seal), where the payload stands: all that `buffer` holds from `start` on is sealed, and the tag
    /// appended. On an error nothing of it is left.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn seal_tail(
        &self,
        key: SealKey,
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), RowError> {
        let payload = buffer.get_mut(start..).unwrap_or_default();
        match self.seal_in_place(key, payload) {
            Ok(tag) => {
                buffer.extend_from_slice(&tag);
                Ok(())
            }
            Err(error) => {
                payload.zeroize();
                buffer.truncate(start);
                Err(error)
            }
        }
    }

    fn seal_in_place(&self, key: SealKey, payload: &mut [u8]) -> Result<Tag, RowError> {
        let (got, expected) = (payload.len(), self.length.payload());
        if got != expected {
            return Err(RowError::PayloadLength { got, expected });
        }
        Aes256Gcm::new(&key.key.0.into())
            .encrypt_inout_detached(&Nonce::default(), &self.aad(key.role), payload.into())
            .map_err(|_| RowError::Cipher { bytes: got })
    }

    /// Opens a row that `sealer` sealed.
    ///
    /// `None` means unmatched and carries no reason on purpose: whoever could tell a
    /// wrong key from a damaged row would have an oracle for membership.
    #[must_use]
    pub fn open(&self, key: &RowKey, sealer: Role, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = Zeroizing::new(Vec::with_capacity(self.length.sealed()));
        self.open_into(key, sealer, sealed, &mut buffer)?;
        Some(buffer)
    }

    /// As [`open`](Self::open), into a buffer that was used before: it holds the payload then, or nothing.
    #[must_use]
    pub fn open_into(
        &self,
        key: &RowKey,
        sealer: Role,
        sealed: &[u8],
        buffer: &mut Zeroizing<Vec<u8>>,
    ) -> Option<()> {
        buffer.clear();
        let (payload, tag) = sealed.split_last_chunk::<SEAL_OVERHEAD>()?;
        if payload.len() != self.length.payload() {
            return None;
        }
        buffer.extend_from_slice(payload);
        let opened = Aes256Gcm::new(&key.0.into()).decrypt_inout_detached(
            &Nonce::default(),
            &self.aad(sealer),
            buffer.as_mut_slice().into(),
            tag.into(),
        );
        if opened.is_err() {
            buffer.clear();
        }
        opened.ok()
    }

    fn aad(&self, role: Role) -> [u8; AAD_BYTES] {
        let mut aad = self.aad;
        if let Some(place) = aad.last_mut() {
            *place = role.tag();
        }
        aad
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Token;

    const LENGTH: PayloadLength = PayloadLength(24);

    fn context() -> RowContext {
        RowContext::new(SessionId::from_bytes([1; 32]), [2; 32], LENGTH)
    }

    fn token(element: u8) -> Token {
        Token::derive(&SessionId::from_bytes([1; 32]), b"item", &[element; 32])
    }

    fn sealed_by_owner() -> Vec<u8> {
        context()
            .seal(token(7).into_seal_key(Role::Owner), &[3; 24])
            .unwrap()
    }

    #[test]
    fn the_other_side_opens_what_one_side_sealed() {
        for role in [Role::Owner, Role::Recipient] {
            let sealed = context()
                .seal(token(7).into_seal_key(role), &[3; 24])
                .unwrap();
            assert_eq!(sealed.len(), LENGTH.sealed());
            let opened = context()
                .open(&token(7).row_key(role), role, &sealed)
                .unwrap();
            assert_eq!(opened.as_slice(), &[3; 24]);
        }
    }

    #[test]
    fn the_sealed_form_is_pinned() {
        // Python's `cryptography` (AESGCM) with the key, nonce and associated data of this test.
        assert_eq!(
            hex::encode(sealed_by_owner()),
            "2709d082e96b4cdbcb1886feb248770f0e008adef817668cb6004a32e79c5badbaee368fe4bc5d23"
        );
    }

    #[test]
    fn anything_else_stays_closed() {
        let sealed = sealed_by_owner();
        let key = || token(7).row_key(Role::Owner);
        let other_session = RowContext::new(SessionId::from_bytes([9; 32]), [2; 32], LENGTH);
        let other_agreement = RowContext::new(SessionId::from_bytes([1; 32]), [9; 32], LENGTH);
        let open = |c: &RowContext, k: &RowKey, r, s: &[u8]| c.open(k, r, s).is_some();
        assert!(open(&context(), &key(), Role::Owner, &sealed));
        assert!(
            !open(
                &context(),
                &token(8).row_key(Role::Owner),
                Role::Owner,
                &sealed
            ),
            "wrong_item"
        );
        assert!(
            !open(
                &context(),
                &token(7).row_key(Role::Recipient),
                Role::Owner,
                &sealed
            ),
            "wrong_role_key"
        );
        assert!(
            !open(&context(), &key(), Role::Recipient, &sealed),
            "wrong_role"
        );
        assert!(
            !open(&other_session, &key(), Role::Owner, &sealed),
            "wrong_session"
        );
        assert!(
            !open(&other_agreement, &key(), Role::Owner, &sealed),
            "wrong_agreement"
        );
        assert!(
            !open(&context(), &key(), Role::Owner, &sealed[1..]),
            "truncated"
        );
        assert!(!open(&context(), &key(), Role::Owner, &[]), "empty");
    }

    #[test]
    fn a_payload_of_another_length_is_refused() {
        for bytes in [0, 23, 25] {
            let got = context().seal(token(7).into_seal_key(Role::Owner), &vec![0; bytes]);
            assert_eq!(
                got,
                Err(RowError::PayloadLength {
                    got: bytes,
                    expected: 24
                })
            );
        }
        assert!(PayloadLength::new(PAYLOAD_BYTES_MAX).is_ok());
        let over = PAYLOAD_BYTES_MAX + 1;
        assert_eq!(
            PayloadLength::new(over),
            Err(RowError::LengthOverMax { bytes: over })
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let key = token(7).row_key(Role::Owner);
        assert_eq!(format!("{key:?}"), "RowKey(<redacted>)");
        let seal = token(7).into_seal_key(Role::Owner);
        assert!(!format!("{seal:?}").contains(&hex::encode(key.expose())));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_closes_the_row(bit in 0usize..(40 * 8)) {
            let mut sealed = sealed_by_owner();
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(context().open(&token(7).row_key(Role::Owner), Role::Owner, &sealed).is_none());
        }
    }
}
