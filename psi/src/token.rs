//! Mutual tokens and what they expand to.

use std::fmt;

use hkdf::HkdfExtract;
use sha2::Sha256;
use sha2::block_api::compress256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::prefixed::{Prefixed, SHA256_START};
use crate::row::{RowKey, SealKey};
use crate::session::{Role, SessionId};

const EXTRACT_LABEL: &[u8] = b"counterfoil/token/v1";
/// 32 bytes, so that with the session they fill a block of SHA-256, which is then hashed once for all items.
const PAIR_PREFIX: [u8; 32] = *b"counterfoil/token/pair/v2\0\0\0\0\0\0\0";
/// What the derived strings are for. 19 bytes, so that counter, token and purpose are one block of SHA-256.
type Purpose = [u8; 19];
const MATCH_ID: Purpose = *b"counterfoil/match/2";
const OWNER_ROW: Purpose = *b"counterfoil/row/o/2";
const RECIPIENT_ROW: Purpose = *b"counterfoil/row/r/2";

/// The name under which the broker joins one item of one session.
///
/// 128 bits, so that with n and m items the chance of any accidental match is at
/// most n * m / 2^128: 2^-88 for 2^20 x 2^20, and 2^-80 still for 2^24 x 2^24.
/// It is not secret from the broker, and the broker can invert it no more than
/// the token it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatchId([u8; 16]);

impl MatchId {
    /// Takes a match id that a party submitted.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes to submit; the delivery is sorted by them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// T(z): what both holders of an identifier compute, and neither alone.
///
/// 32 bytes: extracted by HKDF-SHA256 (RFC 5869) with the session as salt (`dh`), or hashed with it (`vole`).
/// Match id and row keys are derived from it when asked for, so a million tokens are 32 MiB. Neither `Clone` nor `Copy`: [`Token::into_seal_key`]
/// consumes it, which is what makes each sealing key seal once.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; 32]);

impl Token {
    /// HKDF-Extract over the group element and the item.
    ///
    /// The item goes in beside the element as in RFC 9497 section 3.3.1 (`Finalize`):
    /// a peer that answers with elements of its choosing cannot make two items collide.
    /// The element comes first and has a fixed length, so the encoding is injective.
    pub(crate) fn derive(session: &SessionId, item: &[u8], element: &[u8; 32]) -> Self {
        let mut extract = HkdfExtract::<Sha256>::new(Some(session.as_bytes()));
        extract.input_ikm(EXTRACT_LABEL);
        extract.input_ikm(element);
        extract.input_ikm(item);
        let (mut prk, _) = extract.finalize();
        let token = Self(prk.into());
        prk.zeroize();
        token
    }

    /// A token whose value is still to come; `Query` fills every one before it hands any out.
    pub(crate) const fn pending() -> Self {
        Self([0; 32])
    }

    /// The name of this item in this session.
    #[must_use]
    pub fn match_id(&self) -> MatchId {
        let derived = self.derived(&MATCH_ID);
        MatchId(derived.first_chunk().copied().unwrap_or_default())
    }

    /// The key that opens the row which `sealer` sealed for this item.
    ///
    /// The recipient submits `row_key(Role::Owner)`, so that the broker can open
    /// the owner's row where both hold the item, and the other way round.
    #[must_use]
    pub fn row_key(&self, sealer: Role) -> RowKey {
        RowKey::from_bytes(&self.derived(row_purpose(sealer)))
    }

    /// The key with which `role` seals its own row for this item, once.
    #[must_use]
    pub fn into_seal_key(self, role: Role) -> SealKey {
        SealKey::new(self.row_key(role), role)
    }

    /// The one-step derivation of NIST SP 800-56C rev. 2, section 4.1, option 1: SHA-256 over a counter, which is
    /// 1 because 32 bytes are all that is ever asked for, the secret, and its purpose.
    ///
    /// All three have fixed lengths and together fill one block, so no input is another's prefix and
    /// SHA-256 stands for a random oracle as it does for the token (Coron et al. 2005): what comes out for one
    /// purpose says nothing of the token or of another purpose. HKDF-Expand would take four
    /// compressions where this takes one, for a secret that is uniform already.
    ///
    /// The padding of a single block of known length is constant, so the compression is called as such.
    fn derived(&self, purpose: &Purpose) -> Zeroizing<[u8; 32]> {
        let mut block = Zeroizing::new(DERIVATION);
        if let Some((place, rest)) = block.get_mut(4..).and_then(<[u8]>::split_first_chunk_mut) {
            *place = self.0;
            if let Some((place, _)) = rest.split_first_chunk_mut() {
                *place = *purpose;
            }
        }
        let mut state = Zeroizing::new(SHA256_START);
        compress256(&mut state, std::slice::from_ref(&*block));
        let mut derived = Zeroizing::new([0; 32]);
        for (to, word) in derived.as_chunks_mut().0.iter_mut().zip(state.iter()) {
            *to = word.to_be_bytes();
        }
        derived
    }
}

/// The block of a derivation: counter, room for token and purpose, and SHA-256's padding of 55 bytes (FIPS 180-4, section
/// 5.1.1).
const DERIVATION: [u8; 64] = {
    let mut block = [0; 64];
    block[3] = 1;
    block[4 + 32 + 19] = 0x80;
    let bits = (8_u16 * (4 + 32 + 19)).to_be_bytes();
    block[62] = bits[0];
    block[63] = bits[1];
    block
};

const fn row_purpose(sealer: Role) -> &'static Purpose {
    match sealer {
        Role::Owner => &OWNER_ROW,
        Role::Recipient => &RECIPIENT_ROW,
    }
}

/// Makes the tokens of one session out of two function values each: SHA-256, as the random oracle that
/// VOLE.md takes it for.
pub(crate) struct Deriver(Prefixed);

impl Deriver {
    pub(crate) fn new(session: &SessionId) -> Self {
        Self(Prefixed::new([&PAIR_PREFIX, session.as_bytes()]))
    }

    /// The token of an item from the owner's and the recipient's function at it.
    ///
    /// Fixed lengths come first, and the item's own length before it: the encoding is free of
    /// prefixes, which SHA-256 needs to stand for a random oracle (Coron et al. 2005). A telephone
    /// number fits the block.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a set takes items of up to 2^16 - 1 bytes"
    )]
    pub(crate) fn pair(&self, [owner, recipient]: [u128; 2], item: &[u8]) -> Token {
        let values = Zeroizing::new([owner, recipient].map(u128::to_le_bytes));
        let length = (item.len() as u16).to_be_bytes();
        Token(*self.0.digest(&[values.as_flattened(), &length, item]))
    }
}

impl ConstantTimeEq for Token {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(session: u8, item: &[u8], element: u8) -> Token {
        Token::derive(&SessionId::from_bytes([session; 32]), item, &[element; 32])
    }

    #[test]
    fn the_derivation_is_pinned() {
        // Python's hmac over the definition of RFC 5869, then hashlib over that of SP 800-56C, apart from this code.
        let t = token(1, b"phone\0+8613812345678", 2);
        assert_eq!(
            hex::encode(t.match_id().as_bytes()),
            "6c96293c66f6a33d6178a3826fdfdd29"
        );
        assert_eq!(
            hex::encode(t.row_key(Role::Owner).expose()),
            "0ec0b4acf9e79f2255729e13e30ec342e9a3037a491178b9819a73544f9a9991"
        );
        assert_eq!(
            hex::encode(t.row_key(Role::Recipient).expose()),
            "26156c300361485108240b72b3ccadc72c48d650cdb927321600ab541d7102b1"
        );
    }

    #[test]
    fn the_derivation_from_two_values_is_pinned() {
        // Python's hashlib over the definitions, apart from this code.
        let deriver = Deriver::new(&SessionId::from_bytes([1; 32]));
        let t = deriver.pair([2, 3], b"phone\0+8613812345678");
        assert_eq!(
            hex::encode(t.match_id().as_bytes()),
            "2a4bc26cd4489c6da33dd797b5ef1886"
        );
        assert_ne!(t, deriver.pair([3, 2], b"phone\0+8613812345678"));
        assert_ne!(t, deriver.pair([2, 3], b"phone\0+8613812345679"));
        let other = Deriver::new(&SessionId::from_bytes([2; 32]));
        assert_ne!(t, other.pair([2, 3], b"phone\0+8613812345678"));
    }

    #[test]
    fn session_item_and_element_each_change_the_token() {
        let base = token(1, b"item", 2);
        assert_eq!(base, token(1, b"item", 2));
        assert_ne!(base, token(9, b"item", 2));
        assert_ne!(base, token(1, b"item2", 2));
        assert_ne!(base, token(1, b"item", 9));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", token(1, b"item", 2)), "Token(<redacted>)");
    }
}
