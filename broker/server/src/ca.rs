//! The broker's own certificate authority.
//!
//! It names the broker's server certificate and one client certificate per institution. It decides who may *talk* to the
//! broker. It does not decide whom an institution trusts: agents pin each other's signing keys out of band, because
//! whoever runs a CA could vouch for anybody.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::error::Error;

/// Name in the server certificate, the same for every broker: agents pin the CA, so the address may change freely.
pub const SERVER_NAME: &str = "broker.counterfoil.internal";

/// Certificates begin this long before they are made, so that a slightly slow clock accepts them.
const BACKDATED: Duration = Duration::HOUR;
const CA_LIFETIME: Duration = Duration::days(3650);
/// Of institutions' certificates: they join again with a new invite.
const LEAF_LIFETIME: Duration = Duration::days(365);

/// A certificate with its private key, both PEM.
pub struct Identity {
    /// Certificate.
    pub certificate: String,
    /// PKCS#8 key; wiped when dropped.
    pub key: Zeroizing<String>,
}

/// A certificate that was issued to an institution.
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// SHA-256 of the DER form: the name under which state knows it.
    pub sha256: [u8; 32],
    /// When it ends.
    pub expires: OffsetDateTime,
}

/// Signs certificates.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// Makes a new CA for the broker of this name.
    ///
    /// # Errors
    /// The random source or the encoder failed.
    pub fn generate(broker: &str, now: OffsetDateTime) -> Result<Identity, Error> {
        let key = generate_key()?;
        let mut params = named(&format!("Counterfoil CA of {broker}"), now, CA_LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(identity(certificate.pem(), &key))
    }

    /// Opens the CA from its two PEM files.
    ///
    /// # Errors
    /// They are not a certificate and its key.
    pub fn open(certificate: &str, key: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(certificate, key)?,
        })
    }

    /// A certificate for the broker's listener.
    ///
    /// # Errors
    /// The random source or the encoder failed.
    pub fn issue_server(&self, now: OffsetDateTime) -> Result<Identity, Error> {
        let key = generate_key()?;
        // As long as the CA: its key lies in the same directory as the CA's, so an early end would protect nothing and
        // stop the broker one day.
        let mut params = named(SERVER_NAME, now, CA_LIFETIME);
        params.subject_alt_names = vec![rcgen::SanType::DnsName(SERVER_NAME.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(identity(params.signed_by(&key, &self.issuer)?.pem(), &key))
    }

    /// A client certificate with a key made here: for the broker's operator only.
    ///
    /// # Errors
    /// The random source or the encoder failed.
    pub fn issue_operator(&self, now: OffsetDateTime) -> Result<Identity, Error> {
        let key = generate_key()?;
        let mut params = named("operator", now, CA_LIFETIME);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(identity(params.signed_by(&key, &self.issuer)?.pem(), &key))
    }

    /// A client certificate for an institution's own key. Nothing but the public key is taken from its request.
    ///
    /// # Errors
    /// The request is not a PKCS#10 request with a valid signature.
    pub fn issue_client(
        &self,
        org: &str,
        request_pem: &str,
        now: OffsetDateTime,
    ) -> Result<Issued, Error> {
        let mut request = CertificateSigningRequestParams::from_pem(request_pem)?;
        let mut params = named(org, now, LEAF_LIFETIME);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let expires = params.not_after;
        request.params = params;
        let certificate = request.signed_by(&self.issuer)?;
        Ok(Issued {
            sha256: Sha256::digest(certificate.der()).into(),
            certificate: certificate.pem(),
            expires,
        })
    }
}

fn generate_key() -> Result<KeyPair, Error> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

fn identity(certificate: String, key: &KeyPair) -> Identity {
    Identity {
        certificate,
        key: Zeroizing::new(key.serialize_pem()),
    }
}

fn named(common_name: &str, now: OffsetDateTime, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = now - BACKDATED;
    params.not_after = now + lifetime;
    params.use_authority_key_identifier_extension = true;
    params
}
