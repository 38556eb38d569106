//! The operator's own calls to a running broker, with the operator certificate of the broker's directory.
//!
//! A running broker holds the log alone, so even its operator asks it, and what was asked is an entry like any other.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_proto::fixed;
use counterfoil_proto::invite::{Invite, InviteSecret};
use counterfoil_proto::limits::MESSAGE_BYTES_MAX;
use counterfoil_proto::v1::directory_client::DirectoryClient;
use counterfoil_proto::v1::operator_client::OperatorClient;
use counterfoil_proto::v1::{
    ExportRequest, InviteRequest, Partner, PartnersRequest, RevokePartnerRequest,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::ca::SERVER_NAME;
use crate::error::Error;
use crate::home::Home;

const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Why an operator's call failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Nobody answers.
    #[error(
        "no broker answers at `{address}`: {why}; start it with `counterfoil --home {home} broker serve`"
    )]
    Unreachable {
        /// Where it was expected.
        address: String,
        /// What the system said.
        why: String,
        /// The broker's directory.
        home: String,
    },
    /// The broker said no.
    #[error("{0}")]
    Refused(String),
    /// The broker's directory cannot be used.
    #[error(transparent)]
    Broker(#[from] Error),
    /// The export could not be written.
    #[error("cannot write the export: {0}")]
    Write(#[from] std::io::Error),
}

/// A connection as the operator.
pub struct Operator {
    channel: Channel,
    address: String,
    ca_sha256: [u8; 32],
}

impl Operator {
    /// Connects to the broker that serves this directory.
    ///
    /// # Errors
    /// The directory cannot be read, or nobody answers.
    pub async fn connect(home: &Home) -> Result<Self, OperatorError> {
        // The operator is on the broker's machine: the address it listens on is the one that is surely right.
        Self::connect_at(home, &home.config().listen).await
    }

    /// As [`Operator::connect`], to an address (`host:port`) other than the configured one: where the configuration says
    /// port 0, the one of [`crate::serve::Service::address`].
    ///
    /// # Errors
    /// As there.
    pub async fn connect_at(home: &Home, address: &str) -> Result<Self, OperatorError> {
        let tls = TlsConnector::from(Arc::new(client_config(home)?));
        let listen = address.to_owned();
        let dial = tower::service_fn(move |_: Uri| dial(listen.clone(), tls.clone()));
        let channel = Endpoint::from_static("http://broker.counterfoil.internal")
            .connect_with_connector(dial)
            .await
            .map_err(|error| OperatorError::Unreachable {
                address: address.to_owned(),
                why: root_cause(&error),
                home: home.path().display().to_string(),
            })?;
        Ok(Self {
            channel,
            address: home.config().address.clone(),
            ca_sha256: home.certificate_sha256("ca")?,
        })
    }

    /// Issues an invite. Returns it with when it expires (RFC 3339).
    ///
    /// # Errors
    /// The broker refused.
    pub async fn invite(
        &self,
        org: &str,
        valid_seconds: u32,
    ) -> Result<(Invite, String), OperatorError> {
        let request = InviteRequest {
            org: org.to_owned(),
            valid_seconds,
        };
        let reply = self
            .operator()
            .invite(request)
            .await
            .map_err(refused)?
            .into_inner();
        let secret =
            fixed("secret", &reply.secret).map_err(|e| OperatorError::Refused(e.to_string()))?;
        let invite = Invite {
            org: org.to_owned(),
            address: self.address.clone(),
            ca_sha256: self.ca_sha256,
            id: reply.invite_id,
            secret: InviteSecret::new(secret),
        };
        Ok((invite, reply.expires))
    }

    /// Revokes an institution and cuts its connections. Returns the index of the entry.
    ///
    /// # Errors
    /// The broker refused.
    pub async fn revoke_partner(&self, org: &str, reason: &str) -> Result<u64, OperatorError> {
        let request = RevokePartnerRequest {
            org: org.to_owned(),
            reason: reason.to_owned(),
        };
        let reply = self
            .operator()
            .revoke_partner(request)
            .await
            .map_err(refused)?;
        Ok(reply.into_inner().entry)
    }

    /// The institutions that have joined.
    ///
    /// # Errors
    /// The broker refused.
    pub async fn partners(&self) -> Result<Vec<Partner>, OperatorError> {
        let mut directory = DirectoryClient::new(self.channel.clone());
        let reply = directory
            .partners(PartnersRequest {})
            .await
            .map_err(refused)?;
        Ok(reply.into_inner().partners)
    }

    /// Writes the whole log, for an auditor.
    ///
    /// # Errors
    /// The broker refused, or writing failed.
    pub async fn export(&self, mut out: impl Write) -> Result<(), OperatorError> {
        let mut stream = self
            .operator()
            .export(ExportRequest {})
            .await
            .map_err(refused)?
            .into_inner();
        while let Some(chunk) = stream.message().await.map_err(refused)? {
            out.write_all(&chunk.data)?;
        }
        out.flush()?;
        Ok(())
    }

    fn operator(&self) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(status: tonic::Status) -> OperatorError {
    OperatorError::Refused(status.message().to_owned())
}

/// Connects to the broker at `address`, whose certificate must bear [`SERVER_NAME`].
pub(crate) async fn dial(
    address: String,
    tls: TlsConnector,
) -> std::io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let connect = async {
        let tcp = TcpStream::connect(&address).await?;
        let name = ServerName::try_from(SERVER_NAME).map_err(std::io::Error::other)?;
        tls.connect(name, tcp).await
    };
    tokio::time::timeout(CONNECT_MAX, connect)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
        .map(TokioIo::new)
}

fn client_config(home: &Home) -> Result<ClientConfig, Error> {
    let identity = home.identity("operator")?;
    let pem = |text: &str| {
        CertificateDer::from_pem_slice(text.as_bytes()).map_err(|e| Error::Tls(e.to_string()))
    };
    let mut roots = RootCertStore::empty();
    roots.add(pem(&home.certificate("ca")?)?)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
        .map_err(|e| Error::Tls(format!("`keys/operator.key`: {e}")))?;
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![pem(&identity.certificate)?], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
