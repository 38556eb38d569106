//! The institution's secret keys: how they are made, written and read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counterfoil_policy::keys::{InstitutionKey, NoisePublicKey};
use rand::Rng as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Home;
use crate::error::{Error, Result};

pub(super) const INSTITUTION: &str = "keys/institution.key";
pub(super) const NOISE: &str = "keys/noise.key";
pub(super) const TLS: &str = "keys/tls.key";

/// Longest key file, in bytes: a P-256 key in PKCS#8 PEM has about 240.
pub(super) const KEY_BYTES_MAX: u64 = 4096;

pub(super) const ED25519: &str = "ed25519-secret:";
const CONSENT: &str = "keys/consent.key";
const CONSENT_REFERENCES: &str = "consent-secret:";
const CANARIES: &str = "keys/canaries.key";
const CANARY_CODES: &str = "canary-secret:";
const X25519: &str = "x25519-secret:";

/// The institution's static X25519 key for Noise. Wiped when dropped, never printed.
pub struct NoiseSecret(Zeroizing<[u8; 32]>);

impl NoiseSecret {
    /// A fresh key.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    /// The scalar's bytes (RFC 7748), for the handshake.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public half.
    ///
    /// # Errors
    /// Never for a key of [`NoiseSecret::generate`].
    pub fn public(&self) -> Result<NoisePublicKey> {
        let public = PublicKey::from(&StaticSecret::from(*self.0));
        NoisePublicKey::from_bytes(public.to_bytes())
            .ok_or_else(|| Error::Unexpected("the Noise key has no public half".to_owned()))
    }
}

impl std::fmt::Debug for NoiseSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoiseSecret(..)")
    }
}

/// The P-256 key with which the agent proves itself to the broker.
pub struct TlsKey(rcgen::KeyPair);

impl TlsKey {
    /// A fresh key.
    ///
    /// # Errors
    /// The generator failed.
    pub fn generate() -> Result<Self> {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|e| Error::Unexpected(format!("cannot make a P-256 key: {e}")))
    }

    /// A certificate request (PKCS#10, PEM) for this key and name.
    ///
    /// # Errors
    /// The request cannot be signed.
    pub fn request(&self, org: &str) -> Result<String> {
        let failed =
            |e: rcgen::Error| Error::Unexpected(format!("cannot make a certificate request: {e}"));
        let mut params = rcgen::CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, org);
        params
            .serialize_request(&self.0)
            .and_then(|request| request.pem())
            .map_err(failed)
    }

    /// The public half as it stands in a certificate (`SubjectPublicKeyInfo`, DER).
    #[must_use]
    pub fn public_der(&self) -> Vec<u8> {
        use rcgen::PublicKeyData as _;
        self.0.subject_public_key_info()
    }

    /// For the TLS library.
    #[must_use]
    pub fn private_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }

    pub(super) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }
}

impl std::fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsKey(..)")
    }
}

impl Home {
    /// Signs agreements, endorsements and requests.
    ///
    /// # Errors
    /// The file is missing, open to others or damaged.
    pub fn institution_key(&self) -> Result<InstitutionKey> {
        self.secret32(INSTITUTION, ED25519)
            .map(|seed| InstitutionKey::from_seed(&seed))
    }

    /// The static key of the Noise channel.
    ///
    /// # Errors
    /// The file is missing, open to others or damaged.
    pub fn noise_key(&self) -> Result<NoiseSecret> {
        self.secret32(NOISE, X25519).map(NoiseSecret)
    }

    /// The secret from which the MACs of consent references are made: made when it is first needed. Without it nobody can
    /// tell later which reference a MAC stood for.
    ///
    /// # Errors
    /// The file cannot be written, is open to others or damaged.
    pub fn consent_secret(&self) -> Result<Zeroizing<[u8; 32]>> {
        self.made_once(CONSENT, CONSENT_REFERENCES)
    }

    /// The secret from which the codes of canaries are made: made when it is first needed. Without it nobody can show later which
    /// identifiers they stood for.
    ///
    /// # Errors
    /// The file cannot be written, is open to others or damaged.
    pub fn canary_secret(&self) -> Result<Zeroizing<[u8; 32]>> {
        self.made_once(CANARIES, CANARY_CODES)
    }

    /// A secret that is made when it is first needed.
    fn made_once(&self, name: &str, prefix: &str) -> Result<Zeroizing<[u8; 32]>> {
        if self.read(name, KEY_BYTES_MAX)?.is_none() {
            let mut secret = Zeroizing::new([0; 32]);
            rand::rng().fill_bytes(secret.as_mut());
            match self.write_new(name, write_secret32(prefix, &secret).as_bytes()) {
                Ok(()) => {}
                // Another flow made it first: that one counts.
                Err(Error::Io { error, .. })
                    if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        self.secret32(name, prefix)
    }

    /// The key of the client certificate.
    ///
    /// # Errors
    /// The file is missing, open to others or damaged.
    pub fn tls_key(&self) -> Result<TlsKey> {
        let pem = self.key_text(TLS)?;
        rcgen::KeyPair::from_pem(&pem)
            .map(TlsKey)
            .map_err(|_| self.damaged(TLS, "it is not a private key in PEM"))
    }

    fn secret32(&self, name: &str, prefix: &str) -> Result<Zeroizing<[u8; 32]>> {
        let text = self.key_text(name)?;
        read_secret32(&text, prefix).ok_or_else(|| {
            self.damaged(
                name,
                "it is not a key file of this program; restore it from your backup",
            )
        })
    }

    fn key_text(&self, name: &str) -> Result<Zeroizing<String>> {
        let bytes = self.read(name, KEY_BYTES_MAX)?.map(Zeroizing::new);
        let bytes = bytes
            .ok_or_else(|| self.damaged(name, "it is missing; restore it from your backup"))?;
        std::str::from_utf8(&bytes)
            .map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| self.damaged(name, "it is not text; restore it from your backup"))
    }
}

pub(super) fn institution_text(key: &InstitutionKey) -> Zeroizing<String> {
    write_secret32(ED25519, &key.expose_seed())
}

pub(super) fn noise_text(key: &NoiseSecret) -> Zeroizing<String> {
    write_secret32(X25519, key.expose())
}

pub(super) fn write_secret32(prefix: &str, secret: &[u8; 32]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(secret));
    Zeroizing::new(format!("{prefix}{}\n", base64.as_str()))
}

pub(super) fn read_secret32(text: &str, prefix: &str) -> Option<Zeroizing<[u8; 32]>> {
    let base64 = text.trim_end().strip_prefix(prefix)?;
    let bytes = Zeroizing::new(STANDARD.decode(base64).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}
