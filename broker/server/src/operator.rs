//! The operator's own calls to a running broker, with the operator certificate of the broker's directory.
//!
//! A running broker holds the log alone, so even its operator asks it, and what was asked is an entry like any other.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_policy::approval::{Assessment, OfficerSignature, Role};
use counterfoil_policy::decision::PartnerFacts;
use counterfoil_policy::text::UserId;
use counterfoil_proto::fixed;
use counterfoil_proto::invite::{Invite, InviteSecret};
use counterfoil_proto::limits::MESSAGE_BYTES_MAX;
use counterfoil_proto::v1::directory_client::DirectoryClient;
use counterfoil_proto::v1::operator_client::OperatorClient;
use counterfoil_proto::v1::{
    AddOfficerRequest, ApproveAssessmentRequest, AssessmentsRequest, ProposeAssessmentRequest,
};
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
    /// The broker went away before it answered, or cannot answer just now.
    #[error(
        "the broker did not answer: {0}; look whether it was done before you run the command again"
    )]
    Lost(String),
    /// The broker failed.
    #[error("the broker failed: {0}; its own output says more")]
    Failed(String),
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

    /// Enters a compliance officer, whose key is made here. Returns the index of the entry.
    ///
    /// # Errors
    /// The officer has a key already, which is never overwritten; or the broker refused.
    pub async fn add_officer(&self, home: &Home, user: &UserId) -> Result<u64, OperatorError> {
        let key = home.make_officer_key(user)?;
        let request = AddOfficerRequest {
            user: user.to_string(),
            key: key.public().to_string(),
        };
        let reply = self
            .operator()
            .add_officer(request)
            .await
            .map_err(refused)?;
        Ok(reply.into_inner().entry)
    }

    /// Proposes what an officer found out about an institution. Returns the index of the entry.
    ///
    /// # Errors
    /// No such officer, or the broker refused.
    pub async fn propose(
        &self,
        home: &Home,
        maker: &UserId,
        assessment: &Assessment,
    ) -> Result<u64, OperatorError> {
        let signed = sign(home, maker, Role::Maker, &digest(assessment)?)?;
        let request = ProposeAssessmentRequest {
            assessment: serde_json::to_vec(assessment).map_err(unwritable)?,
            maker: maker.to_string(),
            signature: signed.signature.to_string(),
        };
        let mut operator = self.operator();
        let reply = operator.propose_assessment(request);
        Ok(reply.await.map_err(refused)?.into_inner().entry)
    }

    /// Approves the assessment that waits, as a second officer. Returns it with the index of the entry.
    ///
    /// # Errors
    /// None waits, no such officer, or the broker refused.
    pub async fn approve(
        &self,
        home: &Home,
        checker: &UserId,
        org: &str,
    ) -> Result<(Assessment, u64), OperatorError> {
        let (assessment, _) = self.assessments(org).await?.proposed.ok_or_else(|| {
            OperatorError::Refused(format!(
                "no assessment of `{org}` waits for a second officer: propose one with `counterfoil broker partner assess {org}`"
            ))
        })?;
        // What is signed is what was read, not a digest that the broker claims for it.
        let digest = digest(&assessment)?;
        let signed = sign(home, checker, Role::Checker, &digest)?;
        let request = ApproveAssessmentRequest {
            sha256: digest.to_vec(),
            checker: checker.to_string(),
            signature: signed.signature.to_string(),
        };
        let mut operator = self.operator();
        let reply = operator.approve_assessment(request);
        let entry = reply.await.map_err(refused)?.into_inner().entry;
        Ok((assessment, entry))
    }

    /// What is known of an institution, and what waits for a second officer.
    ///
    /// # Errors
    /// The broker refused.
    pub async fn assessments(&self, org: &str) -> Result<Assessed, OperatorError> {
        let request = AssessmentsRequest {
            org: org.to_owned(),
        };
        let mut operator = self.operator();
        let reply = operator.assessments(request);
        let reply = reply.await.map_err(refused)?.into_inner();
        let unreadable = |e: serde_json::Error| OperatorError::Refused(e.to_string());
        let in_force = Some(reply.in_force)
            .filter(|json| !json.is_empty())
            .map(|json| serde_json::from_slice(&json))
            .transpose()
            .map_err(unreadable)?;
        let proposed = Some(reply.proposed)
            .filter(|json| !json.is_empty())
            .map(|json| serde_json::from_slice(&json))
            .transpose()
            .map_err(unreadable)?
            .map(|assessment| (assessment, reply.proposed_by));
        Ok(Assessed { in_force, proposed })
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

/// What is known of an institution.
#[derive(Debug, Clone)]
pub struct Assessed {
    /// What is in force; `None` before the first assessment.
    pub in_force: Option<PartnerFacts>,
    /// What waits for a second officer, with who proposed it.
    pub proposed: Option<(Assessment, String)>,
}

fn sign(
    home: &Home,
    user: &UserId,
    role: Role,
    digest: &[u8; 32],
) -> Result<OfficerSignature, OperatorError> {
    let key = home.officer_key(user)?;
    Ok(OfficerSignature::sign(&key, user, role, digest))
}

fn digest(assessment: &Assessment) -> Result<[u8; 32], OperatorError> {
    assessment.digest().map_err(unwritable)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unwritable(error: serde_json::Error) -> OperatorError {
    OperatorError::Refused(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(status: tonic::Status) -> OperatorError {
    use tonic::Code;
    // Only a status that was made of a failed transport has a source.
    if let Some(source) = std::error::Error::source(&status) {
        return OperatorError::Lost(root_cause(source));
    }
    let text = status.message().to_owned();
    match status.code() {
        Code::Unavailable | Code::Aborted | Code::Cancelled | Code::DeadlineExceeded => {
            OperatorError::Lost(text)
        }
        Code::Internal | Code::Unknown | Code::DataLoss => OperatorError::Failed(text),
        _ => OperatorError::Refused(text),
    }
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
