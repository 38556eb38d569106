//! The listener: TLS 1.3 with client certificates, bounded handshakes, and connections that a revocation cuts.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::ca::Identity;
use crate::error::Error;

/// A peer that has not finished its handshake by then is dropped.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes at one time; each costs about a millisecond of CPU and some ten KiB.
const HANDSHAKES_MAX: usize = 64;
/// Connections at one time; further ones wait in the listen queue.
const CONNECTIONS_MAX: usize = 512;

/// SHA-256 of a client certificate (DER): who is calling, as far as TLS knows.
pub(crate) type CertificateSha256 = [u8; 32];

/// What every request carries about its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerCertificate(pub(crate) Option<CertificateSha256>);

/// Connections by certificate, so that revoking one cuts what is open at once.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<HashMap<CertificateSha256, CancellationToken>>);

impl Connections {
    /// Cuts every connection of this certificate. The next call on a new one is refused by state.
    pub(crate) fn cut(&self, certificate: &CertificateSha256) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.remove(certificate) {
            token.cancel();
        }
    }

    fn token(&self, certificate: Option<CertificateSha256>) -> CancellationToken {
        let Some(certificate) = certificate else {
            return CancellationToken::new();
        };
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.entry(certificate).or_default().clone()
    }
}

/// TLS for the listener. A client without a certificate gets in, and may then call Enrolment.Join only.
///
/// # Errors
/// The certificates or the key cannot be used.
pub(crate) fn acceptor(server: &Identity, ca_pem: &str) -> Result<TlsAcceptor, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let ca = certificate(ca_pem)?;
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| Error::Tls(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes())
        .map_err(|e| Error::Tls(format!("`keys/server.key`: {e}")))?;
    // The CA is sent along, so that a joining agent, which knows only its hash, can find it.
    let chain = vec![certificate(&server.certificate)?, ca];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| Error::Tls(e.to_string()))
}

/// Accepts connections until the receiver is dropped.
pub(crate) async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connections: Arc<Connections>,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let open = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = open.clone().acquire_owned().await else {
            return;
        };
        let Ok(handshake) = handshakes.clone().acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            () = accepted.closed() => return,
            result = listener.accept() => match result {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, or the peer left already: neither is a reason to stop listening.
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (acceptor, connections, accepted) =
            (acceptor.clone(), connections.clone(), accepted.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let shaken = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await;
            drop(handshake);
            match shaken {
                Ok(Ok(tls)) => {
                    let connection = Connection::new(tls, &connections, slot);
                    let _ = accepted.send(Ok(connection)).await;
                }
                Ok(Err(error)) => tracing::info!(%error, "a handshake failed"),
                Err(_) => tracing::info!("a handshake took too long"),
            }
        });
    }
}

/// One TLS connection, which ends as soon as its certificate is revoked.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    certificate: Option<CertificateSha256>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _slot: tokio::sync::OwnedSemaphorePermit,
}

impl Connection {
    fn new(
        stream: TlsStream<TcpStream>,
        connections: &Connections,
        slot: tokio::sync::OwnedSemaphorePermit,
    ) -> Self {
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|leaf| Sha256::digest(leaf).into());
        Self {
            cut: Box::pin(connections.token(certificate).cancelled_owned()),
            stream,
            certificate,
            _slot: slot,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = CallerCertificate;

    fn connect_info(&self) -> CallerCertificate {
        CallerCertificate(self.certificate)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let filled = buf.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        // An agent that is killed does not say goodbye in TLS; to HTTP/2 that is an ordinary end.
        match result {
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof && buf.filled().len() == filled =>
            {
                Poll::Ready(Ok(()))
            }
            other => Poll::Ready(other),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
