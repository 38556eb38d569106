//! One TCP connection and its TLS handshake, with errors that say which of the two failed and why.

use std::time::Duration;

use counterfoil_policy::moment::Timestamp;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error as TlsError};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::BROKER_NAME;
use crate::clock::Clock;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Why no connection was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Nobody answers there, or not in TLS.
    #[error("cannot reach `{address}`: {why}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// What the system said.
        why: String,
    },
    /// The certificate is not valid yet, or no longer.
    #[error("the certificate is not valid at `{at}`: {why}")]
    OutsideDates {
        /// This machine's time.
        at: Timestamp,
        /// "it begins at ..", "it ended at ..".
        why: String,
    },
    /// The certificate is not the pinned broker's.
    #[error("`{address}` is another server: {why}")]
    NotTheBroker {
        /// `host:port`.
        address: String,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Clone)]
pub(super) struct Dial {
    pub(super) address: String,
    pub(super) tls: TlsConnector,
    pub(super) clock: Clock,
}

impl Dial {
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, DialError> {
        let tcp = timeout(CONNECT_MAX, TcpStream::connect(&self.address))
            .await
            .map_err(|_| self.unreachable(format!("no answer within {} s", CONNECT_MAX.as_secs())))?
            .map_err(|e| self.unreachable(plain(&e)))?;
        // Points travel in small messages that the other side waits for.
        tcp.set_nodelay(true)
            .map_err(|e| self.unreachable(plain(&e)))?;
        let name =
            ServerName::try_from(BROKER_NAME).map_err(|e| self.unreachable(e.to_string()))?;
        timeout(HANDSHAKE_MAX, self.tls.connect(name, tcp))
            .await
            .map_err(|_| {
                self.unreachable(format!(
                    "it answers, but made no TLS handshake within {} s",
                    HANDSHAKE_MAX.as_secs()
                ))
            })?
            .map_err(|e| self.handshake(&e))
    }

    fn handshake(&self, error: &std::io::Error) -> DialError {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<TlsError>());
        let Some(tls) = tls else {
            return self.unreachable(format!("the TLS handshake broke off: {}", plain(error)));
        };
        match tls {
            TlsError::InvalidCertificate(certificate) => self.certificate(certificate),
            TlsError::NoCertificatesPresented => self.other("it showed no certificate"),
            TlsError::InvalidMessage(_) => self.unreachable("it answers, but not in TLS"),
            other => self.unreachable(format!("the TLS handshake failed: {other}")),
        }
    }

    fn certificate(&self, error: &CertificateError) -> DialError {
        let day = |t: rustls::pki_types::UnixTime| {
            i64::try_from(t.as_secs())
                .ok()
                .and_then(Timestamp::from_unix_seconds)
                .map_or_else(|| "an unknown time".to_owned(), |t| format!("`{t}`"))
        };
        match error {
            CertificateError::NotValidYetContext { not_before, .. } => {
                self.dates(format!("it begins at {}", day(*not_before)))
            }
            CertificateError::ExpiredContext { not_after, .. } => {
                self.dates(format!("it ended at {}", day(*not_after)))
            }
            CertificateError::NotValidYet => self.dates("it is not valid yet"),
            CertificateError::Expired => self.dates("it has ended"),
            CertificateError::ApplicationVerificationFailure => {
                self.other("its CA is not the one that the invite names")
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                self.other("its certificate is not of this home's CA")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                self.other("its certificate is of the CA, but not the broker's")
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                self.other("its certificate is of the CA, but not a server's")
            }
            other => self.other(format!("its certificate is refused: {other}")),
        }
    }

    fn unreachable(&self, why: impl Into<String>) -> DialError {
        DialError::Unreachable {
            address: self.address.clone(),
            why: why.into(),
        }
    }

    fn other(&self, why: impl Into<String>) -> DialError {
        DialError::NotTheBroker {
            address: self.address.clone(),
            why: why.into(),
        }
    }

    fn dates(&self, why: impl Into<String>) -> DialError {
        DialError::OutsideDates {
            at: self.clock.now(),
            why: why.into(),
        }
    }
}

/// The system's words without its error number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text
        .split_once(" (os error")
        .map_or(text.as_str(), |(words, _)| words);
    let mut words = text.chars();
    words
        .next()
        .map(|first| first.to_lowercase().chain(words).collect())
        .unwrap_or_default()
}
