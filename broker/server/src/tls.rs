//! The listener: TLS 1.3 with client certificates, bounded handshakes, and connections that a revocation cuts.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use counterfoil_proto::limits::SHARDS_MAX;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::ca::Identity;
use crate::error::Error;

/// A peer that has not finished its handshake by then is dropped.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes at one time; each costs about a millisecond of CPU and some ten KiB.
const HANDSHAKES_MAX: usize = 128;
/// Connections at one time; further ones wait in the listen queue.
const CONNECTIONS_MAX: usize = 512;
/// Of one institution. Its agent needs one, each command that a person runs another; all shards of two jobs leave some for people.
const CALLER_CONNECTIONS_MAX: usize = 2 * SHARDS_MAX as usize + 8;
/// Of all who have no certificate that may call: they can join, or learn that they were revoked, and leave.
const STRANGER_CONNECTIONS_MAX: usize = 32;
/// How long such a connection lasts.
const STRANGER_MAX: Duration = Duration::from_secs(30);

/// SHA-256 of a client certificate (DER): who is calling, as far as TLS knows.
pub(crate) type CertificateSha256 = [u8; 32];

/// What every request carries about its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerCertificate(pub(crate) Option<CertificateSha256>);

/// The open connections: how many whose certificate has, and the means to cut them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    all: CancellationToken,
    by_caller: Mutex<HashMap<Option<CertificateSha256>, Caller>>,
}

/// Connections of one certificate; those without one that may call share one entry.
#[derive(Debug, Default)]
struct Caller {
    open: usize,
    cut: CancellationToken,
}

impl Connections {
    /// Cuts every connection of this certificate. The next call on a new one is refused by state.
    pub(crate) fn cut(&self, certificate: &CertificateSha256) {
        if let Some(caller) = self.by_caller().get_mut(&Some(*certificate)) {
            std::mem::take(&mut caller.cut).cancel();
        }
    }

    /// Cuts all, for good.
    pub(crate) fn cut_all(&self) {
        self.all.cancel();
    }

    /// Counts a new connection; nothing if its certificate, or all strangers together, have as many as they may.
    fn admit(self: &Arc<Self>, caller: Option<CertificateSha256>) -> Option<Admission> {
        let max = if caller.is_some() {
            CALLER_CONNECTIONS_MAX
        } else {
            STRANGER_CONNECTIONS_MAX
        };
        let mut by_caller = self.by_caller();
        let entry = by_caller.entry(caller).or_default();
        if entry.open >= max {
            return None;
        }
        entry.open += 1;
        let cut = entry.cut.clone();
        Some(Admission {
            connections: self.clone(),
            caller,
            cut,
        })
    }

    fn by_caller(&self) -> MutexGuard<'_, HashMap<Option<CertificateSha256>, Caller>> {
        self.by_caller
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted connection.
#[derive(Debug)]
struct Admission {
    connections: Arc<Connections>,
    caller: Option<CertificateSha256>,
    cut: CancellationToken,
}

impl Admission {
    /// Ends when the connection must: its certificate is revoked, the broker stops, or a stranger's time is over.
    fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let (cut, all) = (self.cut.clone(), self.connections.all.clone());
        let stranger = self.caller.is_none();
        async move {
            let time = async {
                if stranger {
                    tokio::time::sleep(STRANGER_MAX).await;
                } else {
                    std::future::pending().await
                }
            };
            tokio::select! {
                () = cut.cancelled() => {}
                () = all.cancelled() => {}
                () = time => {}
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut by_caller = self.connections.by_caller();
        if let Some(caller) = by_caller.get_mut(&self.caller) {
            caller.open -= 1;
            if caller.open == 0 {
                by_caller.remove(&self.caller);
            }
        }
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
    // Every connection shows its certificate anew: a resumed one would pass with a certificate that has ended.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| Error::Tls(e.to_string()))
}

/// Accepts connections until the receiver is dropped. `knows` says which certificates may call.
pub(crate) async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connections: Arc<Connections>,
    knows: impl Fn(&CertificateSha256) -> bool + Clone + Send + 'static,
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
        let (acceptor, connections, knows, accepted) = (
            acceptor.clone(),
            connections.clone(),
            knows.clone(),
            accepted.clone(),
        );
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let shaken = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await;
            drop(handshake);
            match shaken {
                Ok(Ok(tls)) => match Connection::new(tls, &connections, &knows, slot) {
                    Some(connection) => {
                        let _ = accepted.send(Ok(connection)).await;
                    }
                    None => tracing::info!("a caller has as many connections as it may"),
                },
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
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
    _admission: Admission,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// A certificate that may not call (revoked, replaced) gets no more than none: enough to be told so.
    fn new(
        stream: TlsStream<TcpStream>,
        connections: &Arc<Connections>,
        knows: &impl Fn(&CertificateSha256) -> bool,
        slot: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|leaf| Sha256::digest(leaf).into());
        let admission = connections.admit(certificate.filter(knows))?;
        Some(Self {
            over: Box::pin(admission.over()),
            is_over: false,
            stream,
            certificate,
            _admission: admission,
            _slot: slot,
        })
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_over = self.is_over || self.over.as_mut().poll(cx).is_ready();
        if self.is_over {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
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
        self.check(cx)?;
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
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
