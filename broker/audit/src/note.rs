//! Signed notes (c2sp.org/signed-note): a text, a blank line, signature lines.
//!
//! Ed25519 (type `01`) only: the specification advises against several algorithms at
//! once, and lines of other types are unknown keys, which every verifier ignores.

mod key;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub use key::{KeyName, SignerKey, VerifierKey};

/// The largest note in bytes: the 16 signatures that every verifier must take, at the
/// nearly 5 kB that a post-quantum one may have, and as much again.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;
/// The most signature lines; the specification asks for at least 16.
pub const SIGNATURES_MAX: usize = 64;

const SIGNATURE_START: &str = "\u{2014} ";

/// A note or key that is not well-formed, or that no known key vouches for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// A key name outside the specification.
    #[error("a key name must be 1 to 256 bytes without spaces, `+` and control characters")]
    KeyName,
    /// A public key text that is not one.
    #[error(
        "a verifier key must read `name+8 hex digits+base64`, an Ed25519 key of type 01 (c2sp.org/signed-note)"
    )]
    VerifierKey,
    /// A key whose id does not come from its name and bytes.
    #[error(
        "the verifier key of `{name}` has an id that does not belong to it: it was mistyped or altered"
    )]
    KeyId {
        /// The key's name.
        name: KeyName,
    },
    /// A secret key text that is not one. It is never shown.
    #[error(
        "a signer key must read `PRIVATE+KEY+name+8 hex digits+base64`, an Ed25519 key of type 01"
    )]
    SignerKey,
    /// Too many bytes.
    #[error("the note has `{bytes}` bytes, more than {NOTE_BYTES_MAX}")]
    Size {
        /// Its length.
        bytes: usize,
    },
    /// A text that cannot be part of a note.
    #[error("a note's text must end in a newline and have no other control characters")]
    Text,
    /// No blank line with signatures after it.
    #[error(
        "the note has no signatures: they follow the last blank line, each on a line that begins with an em dash"
    )]
    Unsigned,
    /// Too many signature lines.
    #[error("the note has more than {SIGNATURES_MAX} signatures")]
    SignatureCount,
    /// A signature line that is not one.
    #[error("signature line `{line}` of the note is malformed")]
    SignatureLine {
        /// Which, from 1.
        line: usize,
    },
    /// A known key's signature is not over this text.
    #[error("the signature of `{name}` does not fit the note: text or signature was altered")]
    BadSignature {
        /// The key's name.
        name: KeyName,
    },
    /// Signed by strangers only.
    #[error("the note has no signature of a known key; check that you hold the right verifier key")]
    NoKnownKey,
}

/// A note as it was received. It gives nothing of its text away before
/// [`verify`](Self::verify).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: KeyName,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A note's text with at least one good signature of a known key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedNote {
    text: String,
    signers: Vec<KeyName>,
}

impl VerifiedNote {
    /// The text, its last newline included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The known keys that signed.
    #[must_use]
    pub fn signers(&self) -> &[KeyName] {
        &self.signers
    }
}

impl Note {
    /// Signs a text, which must end in a newline and have no other control characters.
    ///
    /// # Errors
    /// [`NoteError::Text`] or [`NoteError::Size`].
    pub fn sign(text: impl Into<String>, signer: &SignerKey) -> Result<Self, NoteError> {
        let text = text.into();
        check_text(&text)?;
        let key = signer.verifier();
        let signature = Signature {
            name: key.name().clone(),
            id: key.id(),
            bytes: signer.sign(text.as_bytes()).to_vec(),
        };
        Ok(Self {
            text,
            signatures: vec![signature],
        })
    }

    /// Reads a note; no signature is checked yet.
    ///
    /// # Errors
    /// [`NoteError`] for what is no note.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Size { bytes: note.len() });
        }
        // The text may have blank lines too: the last one parts it from the signatures.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Unsigned)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Unsigned)?;
        let text = format!("{text}\n");
        check_text(&text)?;
        let mut signatures = Vec::new();
        for (at, line) in lines.split('\n').enumerate() {
            if at == SIGNATURES_MAX {
                return Err(NoteError::SignatureCount);
            }
            let signature = Signature::parse(line);
            signatures.push(signature.ok_or(NoteError::SignatureLine { line: at + 1 })?);
        }
        Ok(Self { text, signatures })
    }

    /// Checks every signature of a key in `known`. Lines of other keys are ignored, one
    /// bad signature of a known key rejects the note, and one good one is needed.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] or [`NoteError::NoKnownKey`].
    pub fn verify(&self, known: &[VerifierKey]) -> Result<VerifiedNote, NoteError> {
        let mut signers = Vec::new();
        for signature in &self.signatures {
            let same =
                |key: &&VerifierKey| *key.name() == signature.name && key.id() == signature.id;
            let Some(key) = known.iter().find(same) else {
                continue;
            };
            if !key.verifies(self.text.as_bytes(), &signature.bytes) {
                return Err(NoteError::BadSignature {
                    name: signature.name.clone(),
                });
            }
            if !signers.contains(&signature.name) {
                signers.push(signature.name.clone());
            }
        }
        if signers.is_empty() {
            return Err(NoteError::NoKnownKey);
        }
        Ok(VerifiedNote {
            text: self.text.clone(),
            signers,
        })
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let mut bytes = signature.id.to_vec();
            bytes.extend(&signature.bytes);
            writeln!(
                f,
                "{SIGNATURE_START}{} {}",
                signature.name,
                STANDARD.encode(bytes)
            )?;
        }
        Ok(())
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix(SIGNATURE_START)?.split_once(' ')?;
        let name = KeyName::new(name).ok()?;
        let bytes = STANDARD.decode(base64).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        (!bytes.is_empty()).then(|| Self {
            name,
            id: *id,
            bytes: bytes.to_vec(),
        })
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.len() > NOTE_BYTES_MAX {
        return Err(NoteError::Size { bytes: text.len() });
    }
    let clean = !text.bytes().any(|byte| byte < 0x20 && byte != b'\n');
    if text.ends_with('\n') && clean {
        Ok(())
    } else {
        Err(NoteError::Text)
    }
}

/// Hex of a key id, as key texts write it.
fn id_hex(id: [u8; 4]) -> String {
    id.iter().fold(String::with_capacity(8), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
