//! The text that lets one institution join, once, until it expires.
//!
//! `cfi1.ORG.ADDRESS.CA.ID.SECRET`, the last four in base64url without padding. It names the broker's address and the
//! SHA-256 of its CA certificate, so that the joining agent knows whom it talks to before it sends anything; and a
//! secret that the broker keeps only as a hash.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A one-time secret of 32 bytes; wiped when dropped, compared in constant time, never printed by `Debug`.
#[derive(Clone)]
pub struct InviteSecret(Zeroizing<[u8; 32]>);

impl InviteSecret {
    /// Wraps 32 bytes from a CSPRNG.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, to be sent to the broker or hashed.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(..)")
    }
}

impl PartialEq for InviteSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

/// What the operator hands to an institution, by a way that only the two can read.
#[derive(Debug, Clone, PartialEq)]
pub struct Invite {
    /// Institution that is invited; the broker decides its name.
    pub org: String,
    /// `host:port` of the broker.
    pub address: String,
    /// SHA-256 of the broker's CA certificate (DER).
    pub ca_sha256: [u8; 32],
    /// Public name of the invite, for the log.
    pub id: String,
    /// What proves possession of the invite.
    pub secret: InviteSecret,
}

/// Why a text is no invite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// Another kind of text.
    #[error(
        "this is not an invite: one begins with `cfi1.`; copy the whole line that `counterfoil broker invite` printed"
    )]
    Kind,
    /// A part is missing or damaged.
    #[error(
        "the invite's {0} is damaged: copy the whole line that `counterfoil broker invite` printed, or ask for a new one"
    )]
    Part(&'static str),
}

/// Longest invite that is read, in bytes: two names of 255 and 4 base64 parts fit well below.
const INVITE_BYTES_MAX: usize = 1024;

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cfi1.{}.{}.{}.{}.{}",
            self.org,
            URL_SAFE_NO_PAD.encode(&self.address),
            URL_SAFE_NO_PAD.encode(self.ca_sha256),
            URL_SAFE_NO_PAD.encode(&self.id),
            Zeroizing::new(URL_SAFE_NO_PAD.encode(self.secret.expose())).as_str(),
        )
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let text = text.trim();
        if text.len() > INVITE_BYTES_MAX || !text.starts_with("cfi1.") {
            return Err(InviteError::Kind);
        }
        let mut parts = text.split('.').skip(1);
        let mut next = |name| parts.next().ok_or(InviteError::Part(name));
        let org = next("institution")?.to_owned();
        let address = utf8("address", next("address")?)?;
        let ca_sha256 = bytes32("CA fingerprint", next("CA fingerprint")?)?;
        let id = utf8("number", next("number")?)?;
        let secret = InviteSecret::new(bytes32("secret", next("secret")?)?);
        if parts.next().is_some() {
            return Err(InviteError::Part("end"));
        }
        Ok(Self {
            org,
            address,
            ca_sha256,
            id,
            secret,
        })
    }
}

fn decode(name: &'static str, part: &str) -> Result<Zeroizing<Vec<u8>>, InviteError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map(Zeroizing::new)
        .map_err(|_| InviteError::Part(name))
}

/// Text that may be shown: graphic ASCII, as addresses and numbers of invites are.
fn utf8(name: &'static str, part: &str) -> Result<String, InviteError> {
    String::from_utf8(decode(name, part)?.to_vec())
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(InviteError::Part(name))
}

fn bytes32(name: &'static str, part: &str) -> Result<[u8; 32], InviteError> {
    decode(name, part)?
        .as_slice()
        .try_into()
        .map_err(|_| InviteError::Part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Invite {
        Invite {
            org: "north-bank".into(),
            address: "127.0.0.1:7443".into(),
            ca_sha256: [7; 32],
            id: "0198c0de-0000-7000-8000-000000000000".into(),
            secret: InviteSecret::new([9; 32]),
        }
    }

    #[test]
    fn survives_copying_with_white_space_around_it() {
        let text = format!("  {}\n", sample());
        assert_eq!(text.parse::<Invite>(), Ok(sample()));
    }

    #[test]
    fn a_cut_or_foreign_text_is_named() {
        let text = sample().to_string();
        assert_eq!("hello".parse::<Invite>(), Err(InviteError::Kind));
        assert_eq!(
            text.get(..text.len() - 3).unwrap().parse::<Invite>(),
            Err(InviteError::Part("secret"))
        );
        assert_eq!(
            format!("{text}.x").parse::<Invite>(),
            Err(InviteError::Part("end"))
        );
        let obeyed = Invite {
            address: "a\u{1b}[2J:1".into(),
            ..sample()
        };
        assert_eq!(
            obeyed.to_string().parse::<Invite>(),
            Err(InviteError::Part("address"))
        );
    }

    #[test]
    fn the_secret_is_not_printed_by_debug() {
        let printed = format!("{:?}", sample());
        assert!(printed.contains("InviteSecret(..)"));
        assert!(!printed.contains("[9, 9"));
    }
}
