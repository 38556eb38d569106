//! A query to PostgreSQL as a stream of CSV, by `COPY (…) TO STDOUT` in a read-only transaction.
//!
//! The transport is safe unless the URL says otherwise: a server on another machine is reached by TLS 1.3 with
//! its certificate verified, whatever libpq would make of the same URL; only `sslmode=disable` sends in the
//! clear. On this machine (loopback or a Unix socket) plaintext is the default.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use futures_util::StreamExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::oneshot;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::tls::{MakeTlsConnect, NoTls};
use tokio_postgres::{Client, Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::SourceError;

/// Bytes gathered before they go to the reader, and how many such chunks may wait: 1 MiB in all.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS_MAX: usize = 16;
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How a password is given without writing it into a URL, as libpq does.
const PASSWORD_VARIABLE: &str = "PGPASSWORD";

/// A database and the way to it.
#[derive(Clone)]
pub(super) struct Database {
    config: Config,
    /// A file of certificates instead of those that the system trusts.
    root_certificates: Option<PathBuf>,
    /// Host, port and database name: what may be shown.
    place: String,
}

impl Database {
    /// Reads `postgres://USER[:PASSWORD]@HOST[:PORT]/NAME[?sslmode=…&sslrootcert=…&…]`.
    pub(super) fn parse(url: &str) -> Result<Self, SourceError> {
        if url.matches('@').count() > 1 {
            return Err(refused(
                "it has more than one `@`, write those of the password as `%40`",
            ));
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut kept = Vec::new();
        let (mut mode, mut root_certificates) = (None, None);
        for parameter in query.split('&').filter(|text| !text.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", "system")) => {}
                Some(("sslrootcert", path)) => root_certificates = Some(path.into()),
                _ => kept.push(parameter),
            }
        }
        let url = format!("{base}?{}", kept.join("&"));
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            // The outer message names the fault; the inner one names an unknown option, never a value.
            let inner = std::error::Error::source(&error)
                .map(|inner| format!(": {inner}"))
                .unwrap_or_default();
            refused(&format!("{error}{inner}"))
        })?;
        if config.get_hosts().is_empty() {
            return Err(refused("it names no host"));
        }
        config.ssl_mode(ssl_mode(mode, is_local(&config))?);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if let (None, Some(password)) = (config.get_password(), std::env::var_os(PASSWORD_VARIABLE))
        {
            config.password(password.as_encoded_bytes());
        }
        config.application_name("counterfoil");
        let place = place(&config);
        Ok(Self {
            config,
            root_certificates,
            place,
        })
    }

    /// Sends a query; its rows come as CSV with a header line, in UTF-8. Nothing is waited for here: what goes
    /// wrong, the connection too, comes out of the first read.
    pub(super) fn copy_csv(&self, sql: &str) -> Result<CopyStream, SourceError> {
        let (chunks_out, chunks) = sync_channel(CHUNKS_MAX);
        let (keep_alive, reader_gone) = oneshot::channel::<()>();
        let job = Job {
            config: self.config.clone(),
            tls: tls_config(
                self.root_certificates.as_deref(),
                self.config.get_ssl_mode(),
            )?,
            // The line end closes a comment at the end of the query.
            copy: format!("COPY (\n{sql}\n) TO STDOUT (FORMAT csv, HEADER true)"),
        };
        let work = move || job.run(&chunks_out, reader_gone);
        let thread = std::thread::Builder::new()
            .name("postgres-copy".to_owned())
            .spawn(work);
        thread.map_err(|error| SourceError::Unreadable {
            source_name: self.to_string(),
            error,
        })?;
        Ok(CopyStream {
            chunks,
            chunk: Vec::new(),
            given: 0,
            _keep_alive: keep_alive,
        })
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}", self.place)
    }
}

fn refused(reason: &str) -> SourceError {
    SourceError::Url {
        reason: reason.to_owned(),
    }
}

fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", config.get_dbname().unwrap_or_default())
}

/// Whether every host of the URL is this machine.
fn is_local(config: &Config) -> bool {
    let named = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    });
    named
        && config
            .get_hostaddrs()
            .iter()
            .all(std::net::IpAddr::is_loopback)
}

/// The transport that a URL ends up with.
#[cfg(test)]
pub(super) fn mode_of(url: &str) -> Result<SslMode, SourceError> {
    Database::parse(url).map(|database| database.config.get_ssl_mode())
}

/// Sends a query, without waiting for the answer.
#[cfg(test)]
pub(super) fn begin(url: &str, sql: &str) -> Result<CopyStream, SourceError> {
    Database::parse(url)?.copy_csv(sql)
}

/// Away from this machine, `prefer` is `require`: a network that strips the offer of TLS must not get the password.
fn ssl_mode(given: Option<&str>, local: bool) -> Result<SslMode, SourceError> {
    match given {
        Some("disable") => Ok(SslMode::Disable),
        Some("prefer") | None if local => Ok(if given.is_some() {
            SslMode::Prefer
        } else {
            SslMode::Disable
        }),
        Some("prefer" | "require" | "verify-ca" | "verify-full") | None => Ok(SslMode::Require),
        Some(_) => Err(refused(
            "sslmode must be one of disable, prefer, require, verify-full",
        )),
    }
}

fn tls_config(
    roots_file: Option<&Path>,
    mode: SslMode,
) -> Result<Option<ClientConfig>, SourceError> {
    if mode == SslMode::Disable {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    match roots_file {
        Some(path) => {
            let unusable =
                |reason: String| refused(&format!("sslrootcert `{}`: {reason}", path.display()));
            let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
            for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)) {
                let certificate = certificate
                    .map_err(|_| unusable("not a PEM file of certificates".to_owned()))?;
                roots
                    .add(certificate)
                    .map_err(|error| unusable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unusable("it holds no certificate".to_owned()));
            }
        }
        // What cannot be parsed among the certificates of the system is left out, as every browser does.
        None => {
            let (_trusted, _left_out) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| refused(&error.to_string()))?;
    Ok(Some(
        builder.with_root_certificates(roots).with_no_client_auth(),
    ))
}

/// What the thread of a query does.
struct Job {
    config: Config,
    tls: Option<ClientConfig>,
    copy: String,
}

type Chunk = Result<Vec<u8>, io::Error>;

impl Job {
    fn run(self, chunks: &SyncSender<Chunk>, reader_gone: oneshot::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let outcome = runtime.and_then(|runtime| {
            runtime.block_on(async {
                match self.tls.clone() {
                    Some(tls) => {
                        self.copy(MakeRustlsConnect::new(tls), chunks, reader_gone)
                            .await
                    }
                    None => self.copy(NoTls, chunks, reader_gone).await,
                }
            })
        });
        if let Err(error) = outcome {
            // Fails only when the reader is gone, and then nobody wants to know.
            drop(chunks.send(Err(error)));
        }
    }

    async fn copy<T>(
        &self,
        tls: T,
        chunks: &SyncSender<Chunk>,
        mut reader_gone: oneshot::Receiver<()>,
    ) -> io::Result<()>
    where
        T: MakeTlsConnect<Socket> + Clone,
        T::Stream: Send + 'static,
    {
        let (client, connection) = tokio::select! {
            connected = self.config.connect(tls.clone()) => connected.map_err(told)?,
            _ = &mut reader_gone => return Ok(()),
        };
        let outcome = tokio::select! {
            outcome = drive(self.rows(&client, chunks), connection) => outcome?,
            _ = &mut reader_gone => Ended::ReaderGone,
        };
        if outcome == Ended::ReaderGone {
            // A server that sorts or sums sees a closed connection only when it writes: it must be told. If that
            // fails, the query runs to its end there and is of no other consequence.
            drop(
                tokio::time::timeout(CANCEL_TIMEOUT, client.cancel_token().cancel_query(tls)).await,
            );
        }
        Ok(())
    }

    async fn rows(&self, client: &Client, chunks: &SyncSender<Chunk>) -> io::Result<Ended> {
        // Read-only, so that a query in a configuration file cannot change what it reads; one form of dates.
        let begin = "BEGIN READ ONLY; SET LOCAL datestyle = 'ISO'; SET LOCAL timezone = 'UTC'";
        client.batch_execute(begin).await.map_err(told)?;
        let mut rows = pin!(client.copy_out(&self.copy).await.map_err(told)?);
        let mut chunk = Vec::new();
        while let Some(row) = rows.next().await {
            chunk.extend_from_slice(&row.map_err(told)?);
            if chunk.len() >= CHUNK_BYTES && chunks.send(Ok(std::mem::take(&mut chunk))).is_err() {
                return Ok(Ended::ReaderGone);
            }
        }
        client.batch_execute("COMMIT").await.map_err(told)?;
        drop(chunks.send(Ok(chunk)));
        Ok(Ended::Complete)
    }
}

/// How a query came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Complete,
    ReaderGone,
}

/// Runs the work while the connection is served beside it.
async fn drive(
    work: impl Future<Output = io::Result<Ended>>,
    connection: impl Future<Output = Result<(), tokio_postgres::Error>>,
) -> io::Result<Ended> {
    let mut work = pin!(work);
    tokio::select! {
        outcome = &mut work => outcome,
        // The work sees the end of the connection as well, and knows whether it came too early.
        ended = connection => match ended {
            Ok(()) => work.await,
            Err(error) => Err(told(error)),
        },
    }
}

/// What may be told of a failure. PostgreSQL quotes values in some messages ("invalid input syntax for type
/// integer: …"), so its text passes only for classes of errors that are about the query or the server.
fn told(error: tokio_postgres::Error) -> io::Error {
    let text = match error.as_db_error() {
        Some(refusal) => told_by_server(refusal),
        None => {
            let mut text = error.to_string();
            let mut inner = std::error::Error::source(&error);
            while let Some(cause) = inner {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                inner = cause.source();
            }
            text
        }
    };
    let advice = if text.contains("server does not support TLS") {
        "; turn TLS on at the server, or write sslmode=disable to send password and rows in the clear"
    } else if text.contains("UnknownIssuer") {
        "; name the certificate of its authority with sslrootcert=PATH"
    } else {
        ""
    };
    io::Error::other(format!("{text}{advice}"))
}

/// Classes of SQLSTATE whose messages name objects and settings, not values (PostgreSQL, appendix A).
const TOLD_CLASSES: [&str; 9] = ["08", "0A", "25", "28", "3D", "3F", "42", "53", "57"];

fn told_by_server(refusal: &DbError) -> String {
    let code = refusal.code().code();
    if TOLD_CLASSES.iter().any(|class| code.starts_with(class)) {
        let hint = if *refusal.code() == SqlState::READ_ONLY_SQL_TRANSACTION {
            " (queries here only read)"
        } else {
            ""
        };
        return format!("{} (SQLSTATE {code}){hint}", refusal.message());
    }
    format!(
        "SQLSTATE {code}; its message may quote a value and is not shown, run the query with psql"
    )
}

/// The bytes of a query's answer. Dropping it ends the query and the connection.
pub(super) struct CopyStream {
    chunks: Receiver<Chunk>,
    chunk: Vec<u8>,
    given: usize,
    _keep_alive: oneshot::Sender<()>,
}

impl Read for CopyStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() {
            let Ok(chunk) = self.chunks.recv() else {
                return Ok(0);
            };
            (self.chunk, self.given) = (chunk?, 0);
        }
        let ready = self.chunk.get(self.given..).unwrap_or_default();
        let count = ready.len().min(out.len());
        for (to, from) in out.iter_mut().zip(ready) {
            *to = *from;
        }
        self.given += count;
        Ok(count)
    }
}
