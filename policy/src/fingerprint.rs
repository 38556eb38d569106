//! A fingerprint of a partner's keys, read aloud over a channel the broker does not carry.
//!
//! The broker runs the certificate authority, so it could give each party a key of its own
//! for the other. Two people who compare fingerprints by telephone rule that out.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::keys::{InstitutionPublicKey, NoisePublicKey, Statement};
use crate::text::{Malformed, serde_as_text};

/// RFC 4648, section 6: no 0, 1, 8 or 9, so none is heard as O, I or B.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LETTERS: usize = 32;
const GROUP: usize = 4;

/// The first 160 bits of SHA-256 over a party's signing and Noise keys.
///
/// Written as 8 groups of 4 base32 letters. A broker that wants a second pair of keys with
/// the same fingerprint needs 2^160 tries (a second preimage); two parties that collude
/// gain nothing from a collision, each may hand out its own keys anyway.
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 20]);

/// The fingerprint of these two keys.
#[must_use]
pub fn fingerprint(signing_key: &InstitutionPublicKey, noise_key: &NoisePublicKey) -> Fingerprint {
    let message = Statement::Fingerprint.message(&[signing_key.as_bytes(), noise_key.as_bytes()]);
    let digest: [u8; 32] = Sha256::digest(message).into();
    let mut bytes = [0; 20];
    for (short, full) in bytes.iter_mut().zip(digest) {
        *short = full;
    }
    Fingerprint(bytes)
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Fingerprint {}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pending: u32 = 0;
        let mut bits = 0;
        let mut written = 0;
        for byte in self.0 {
            pending = (pending << 8) | u32::from(byte);
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                if written > 0 && written % GROUP == 0 {
                    f.write_str(" ")?;
                }
                let letter = ALPHABET.get(((pending >> bits) & 31) as usize);
                write!(f, "{}", char::from(letter.copied().unwrap_or(b'?')))?;
                written += 1;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = Malformed;

    /// Reads what a person typed: any case; spaces, dashes and colons anywhere.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refused = || {
            Malformed::new(
                "a fingerprint",
                text,
                "8 groups of 4 letters of A-Z and 2-7 (0, 1, 8 and 9 do not occur)",
            )
        };
        let mut letters = 0;
        let mut bytes = Vec::with_capacity(20);
        let mut pending: u32 = 0;
        let mut bits = 0;
        for c in text.chars().filter(|c| !matches!(c, ' ' | '-' | ':')) {
            let upper = c.to_ascii_uppercase();
            let value = ALPHABET
                .iter()
                .position(|letter| char::from(*letter) == upper);
            letters += 1;
            if letters > LETTERS {
                return Err(refused());
            }
            pending = (pending << 5) | u32::try_from(value.ok_or_else(refused)?).unwrap_or(0);
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push(((pending >> bits) & 0xff) as u8);
            }
        }
        // 32 letters are exactly 160 bits: no padding bits to check.
        bytes.try_into().map(Self).map_err(|_| refused())
    }
}

serde_as_text!(Fingerprint);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::InstitutionKey;
    use proptest::prelude::*;

    fn sample(noise: u8) -> Fingerprint {
        let signing = InstitutionKey::from_seed(&[1; 32]).public();
        fingerprint(&signing, &NoisePublicKey::from_bytes([noise; 32]).unwrap())
    }

    #[test]
    fn base32_agrees_with_rfc_4648() {
        // RFC 4648, section 10: "foobar" begins MZXW6YTB.
        let mut bytes = [0; 20];
        bytes[..6].copy_from_slice(b"foobar");
        assert!(Fingerprint(bytes).to_string().starts_with("MZXW 6YTB OI"));
    }

    #[test]
    fn eight_groups_of_four() {
        let shown = sample(2).to_string();
        let groups: Vec<_> = shown.split(' ').collect();
        assert_eq!(groups.len(), 8);
        assert!(groups.iter().all(|group| group.len() == 4));
    }

    #[test]
    fn reading_forgives_case_spaces_and_dashes() {
        let shown = sample(2).to_string();
        let typed = format!(" {} ", shown.to_lowercase().replace(' ', "-"));
        assert_eq!(typed.parse::<Fingerprint>(), Ok(sample(2)));
        assert_eq!(shown.replace(' ', "").parse::<Fingerprint>(), Ok(sample(2)));
    }

    #[test]
    fn either_key_changes_it() {
        assert_ne!(sample(2), sample(3));
        let other = InstitutionKey::from_seed(&[9; 32]).public();
        assert_ne!(
            fingerprint(&other, &NoisePublicKey::from_bytes([2; 32]).unwrap()),
            sample(2)
        );
    }

    #[test]
    fn fingerprints_that_must_fail() {
        let shown = sample(2).to_string();
        for (name, text) in [
            ("truncated", shown.chars().skip(1).collect()),
            ("too_long", format!("{shown}A")),
            (
                "digit_one",
                format!("1{}", shown.chars().skip(1).collect::<String>()),
            ),
            ("empty", String::new()),
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; 20]) {
            let print = Fingerprint(bytes);
            prop_assert_eq!(print.to_string().parse::<Fingerprint>(), Ok(print));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Fingerprint>();
        }
    }
}
