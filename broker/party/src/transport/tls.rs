//! What this agent shows, and whom it believes.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest as _, Sha256};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::home::Home;

/// What this agent proves itself with, and the CA that it believes.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    ca: CertificateDer<'static>,
}

impl Identity {
    /// From the files of the home.
    ///
    /// # Errors
    /// [`Error::NotJoined`], or a file is missing or damaged.
    pub fn load(home: &Home) -> Result<Self> {
        let (certificate, ca) = home.certificates()?;
        let damaged = |name: &str| {
            home.damaged(
                name,
                "it is no certificate in PEM; ask the operator for a new invite and join again",
            )
        };
        Ok(Self {
            chain: vec![
                CertificateDer::from_pem_slice(certificate.as_bytes())
                    .map_err(|_| damaged("tls/cert.pem"))?,
            ],
            key: home.tls_key()?.private_der(),
            ca: CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|_| damaged("tls/ca.pem"))?,
        })
    }

    /// The client certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Believes the CA of the home and nobody else, and shows the client certificate.
pub(super) fn client_config(identity: &Identity, clock: Clock) -> Result<ClientConfig> {
    let verifier = sole_root(&identity.ca).map_err(|e| {
        Error::Local(format!(
            "the CA certificate in `tls/ca.pem` cannot be used: {e}"
        ))
    })?;
    let mut config = tls13(clock)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|e| {
            Error::Local(format!(
                "the certificate in `tls/cert.pem` does not fit the key in `keys/tls.key`: {e}"
            ))
        })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Believes the CA with the invite's hash, and shows nothing.
pub(super) fn joining_config(verifier: Arc<PinnedByHash>, clock: Clock) -> Result<ClientConfig> {
    let mut config = tls13(clock)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn tls13(clock: Clock) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| Error::Unexpected(format!("TLS 1.3 is not available: {e}")))
}

fn sole_root(
    ca: &CertificateDer<'static>,
) -> std::result::Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
        .build()
        .map_err(|e| TlsError::General(e.to_string()))
}

/// Verifies a server whose CA certificate is known by its SHA-256 (of the DER) alone.
///
/// The server presents `[leaf, CA]`. The certificate with that hash becomes the sole root, and all else is as usual:
/// chain, dates, name and server purpose are checked. Any other certificate in the chain proves nothing.
#[derive(Debug)]
pub struct PinnedByHash {
    ca_sha256: [u8; 32],
    found: OnceLock<CertificateDer<'static>>,
    provider: CryptoProvider,
}

impl PinnedByHash {
    /// For the hash that an invite carries.
    #[must_use]
    pub fn new(ca_sha256: [u8; 32]) -> Self {
        Self {
            ca_sha256,
            found: OnceLock::new(),
            provider: ring::default_provider(),
        }
    }

    /// The CA certificate, once a server was verified against it.
    #[must_use]
    pub fn found(&self) -> Option<CertificateDer<'static>> {
        self.found.get().cloned()
    }
}

impl ServerCertVerifier for PinnedByHash {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        let ca = intermediates
            .iter()
            .find(|certificate| <[u8; 32]>::from(Sha256::digest(certificate)) == self.ca_sha256)
            .ok_or(TlsError::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))?
            .clone()
            .into_owned();
        let verified = sole_root(&ca)?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        // The first success stays; a later one has the same hash and so is the same certificate.
        let _ = self.found.set(ca);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        // TLS 1.2 is not offered.
        Err(TlsError::PeerIncompatible(
            rustls::PeerIncompatible::Tls12NotOffered,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
