//! The keys of signed notes and their text forms.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{NoteError, id_hex};

/// The signature type byte of Ed25519.
const ED25519: u8 = 1;
const SIGNER_START: &str = "PRIVATE+KEY+";

/// The name of a key, and of the log it signs for: 1 to 256 bytes without Unicode spaces,
/// `+` and control characters. A URL without scheme keeps names apart, such as
/// `broker.example/log`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// Takes a name.
    ///
    /// # Errors
    /// [`NoteError::KeyName`] outside the bounds above.
    pub fn new(name: impl Into<String>) -> Result<Self, NoteError> {
        let name = name.into();
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if (1..=256).contains(&name.len()) && !name.contains(bad) {
            Ok(Self(name))
        } else {
            Err(NoteError::KeyName)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key that notes are checked with. Its text, which [`Display`](fmt::Display)
/// writes, is the "vkey" `name+keyid+base64`; whoever verifies a log must have it from the
/// broker's operator, by a way that is not the log.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`NoteError::KeyName`], [`NoteError::VerifierKey`] or [`NoteError::KeyId`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, id, bytes) = split_key(text).ok_or(NoteError::VerifierKey)?;
        let name = KeyName::new(name)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| NoteError::VerifierKey)?;
        // A key of small order verifies signatures that nobody made.
        if key.is_weak() {
            return Err(NoteError::VerifierKey);
        }
        let key = Self { name, key };
        if id_hex(key.id()) == id {
            Ok(key)
        } else {
            Err(NoteError::KeyId { name: key.name })
        }
    }

    /// The key's name.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key's id: the first four bytes of `SHA-256(name || 0x0A || 0x01 || key)`.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.name.as_str())
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        hash.first_chunk().copied().unwrap_or_default()
    }

    pub(super) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        // Strict: one text and key have no second signature of the same meaning.
        Signature::from_slice(signature).is_ok_and(|s| self.key.verify_strict(text, &s).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = join_type(self.key.as_bytes());
        write!(
            f,
            "{}+{}+{}",
            self.name,
            id_hex(self.id()),
            STANDARD.encode(*key)
        )
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

/// The secret key that signs a log's checkpoints. Erased from memory when dropped, and
/// never shown.
#[derive(Clone)]
pub struct SignerKey {
    verifier: VerifierKey,
    secret: SigningKey,
}

impl SignerKey {
    /// Draws a new key.
    pub fn generate(name: KeyName, rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(name, &seed)
    }

    /// Takes the 32 secret bytes of RFC 8032.
    #[must_use]
    pub fn from_seed(name: KeyName, seed: &[u8; 32]) -> Self {
        let secret = SigningKey::from_bytes(seed);
        Self {
            verifier: VerifierKey {
                name,
                key: secret.verifying_key(),
            },
            secret,
        }
    }

    /// Reads the text form that [`to_secret_text`](Self::to_secret_text) writes.
    ///
    /// # Errors
    /// [`NoteError::KeyName`], [`NoteError::SignerKey`] or [`NoteError::KeyId`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text
            .strip_prefix(SIGNER_START)
            .ok_or(NoteError::SignerKey)?;
        let (name, id, seed) = split_key(rest).ok_or(NoteError::SignerKey)?;
        let key = Self::from_seed(KeyName::new(name)?, &seed);
        if id_hex(key.verifier.id()) == id {
            Ok(key)
        } else {
            Err(NoteError::KeyId {
                name: key.verifier.name.clone(),
            })
        }
    }

    /// The text that Go's `sumdb/note` reads too: `PRIVATE+KEY+name+keyid+base64`. Keep it
    /// in a file that only the broker can read.
    #[must_use]
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let key = join_type(self.secret.as_bytes());
        let base64 = Zeroizing::new(STANDARD.encode(*key));
        let VerifierKey { name, .. } = &self.verifier;
        Zeroizing::new(format!(
            "{SIGNER_START}{name}+{}+{}",
            id_hex(self.verifier.id()),
            *base64
        ))
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    pub(super) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.secret.sign(text).to_bytes()
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({}, redacted)", self.verifier.name)
    }
}

/// The parts of `name+keyid+base64(0x01 || 32 bytes)`. Base64 has `+` too, so only the
/// first two part the text.
fn split_key(text: &str) -> Option<(&str, &str, Zeroizing<[u8; 32]>)> {
    let (name, rest) = text.split_once('+')?;
    let (id, base64) = rest.split_once('+')?;
    let bytes = Zeroizing::new(STANDARD.decode(base64).ok()?);
    match bytes.split_first() {
        Some((&ED25519, key)) => Some((name, id, Zeroizing::new(key.try_into().ok()?))),
        _ => None,
    }
}

fn join_type(key: &[u8; 32]) -> Zeroizing<[u8; 33]> {
    let mut joined = Zeroizing::new([ED25519; 33]);
    for (to, from) in joined.iter_mut().skip(1).zip(key) {
        *to = *from;
    }
    joined
}
