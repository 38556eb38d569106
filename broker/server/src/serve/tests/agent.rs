//! A running broker, and agents that call it.

use counterfoil_policy::agreement::Agreement;
use counterfoil_proto::v1::agreement_reply::Result as Answer;
use counterfoil_proto::v1::agreements_client::AgreementsClient;
use counterfoil_proto::v1::directory_client::DirectoryClient;
use counterfoil_proto::v1::enrolment_client::EnrolmentClient;
use counterfoil_proto::v1::flows_client::FlowsClient;
use counterfoil_proto::v1::log_client::LogClient;
use counterfoil_proto::v1::{
    AgreementReply, CountersignRequest, JoinReply, JoinRequest, ProposeRequest,
    RevokeAgreementRequest,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use super::super::*;
use crate::operator::{Operator, dial};
use crate::testing::{House, config};

/// A broker that serves a directory until it is stopped.
pub(super) struct Serving {
    pub(super) home: Home,
    pub(super) address: String,
    pub(super) broker: Arc<Broker>,
    pub(super) operator: Operator,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), Error>>,
    dir: TempDir,
}

impl Serving {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path(), config(), OffsetDateTime::now_utc()).unwrap();
        Self::open(dir, home).await
    }

    async fn open(dir: TempDir, home: Home) -> Self {
        let service = Service::start(home.clone()).await.unwrap();
        let address = service.address().unwrap().to_string();
        let broker = service.broker.clone();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(service.run(async {
            let _ = stopped.await;
        }));
        let operator = Operator::connect_at(&home, &address).await.unwrap();
        Self {
            home,
            address,
            broker,
            operator,
            stop,
            running,
            dir,
        }
    }

    /// Stops the broker as on a signal; all its memory is gone.
    pub(super) async fn restart(self) -> Self {
        let Self { home, dir, .. } = self;
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap();
        let broker = Arc::downgrade(&self.broker);
        drop((self.broker, self.operator));
        // The log's lock goes with the last task that holds the broker.
        for _ in 0..100 {
            if broker.strong_count() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self::open(dir, home).await
    }

    pub(super) async fn ended(self) -> Result<(), Error> {
        self.running.await.unwrap()
    }

    /// A channel with this certificate and key (PEM), or with none.
    pub(super) fn channel(&self, identity: Option<(&str, &str)>) -> Channel {
        let mut roots = RootCertStore::empty();
        let ca = certificate(&self.home.certificate("ca").unwrap());
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut tls = match identity {
            None => builder.with_no_client_auth(),
            Some((pem, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                let chain = vec![certificate(pem)];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let (tls, address) = (TlsConnector::from(Arc::new(tls)), self.address.clone());
        let connect = tower::service_fn(move |_: Uri| dial(address.clone(), tls.clone()));
        Endpoint::from_static("http://broker.counterfoil.internal")
            .connect_with_connector_lazy(connect)
    }

    pub(super) async fn invited(&self, house: &House) -> JoinRequest {
        let (invite, _) = self.operator.invite(house.name, 3600).await.unwrap();
        let keys = house.keys();
        JoinRequest {
            invite_id: invite.id,
            secret: invite.secret.expose().to_vec(),
            certificate_request: String::new(),
            signing_key: keys.signing_key.to_string(),
            noise_key: keys.noise_key.to_string(),
        }
    }

    pub(super) async fn join(&self, request: JoinRequest) -> Result<(JoinReply, String), Status> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let signing = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let request = JoinRequest {
            certificate_request: signing.pem().unwrap(),
            ..request
        };
        let mut enrolment = EnrolmentClient::new(self.channel(None));
        let reply = enrolment.join(request).await?.into_inner();
        Ok((reply, key.serialize_pem()))
    }

    /// Invites an institution, and joins as it.
    pub(super) async fn agent(&self, house: House) -> Agent {
        let (reply, key) = self.join(self.invited(&house).await).await.unwrap();
        self.agent_with(house, reply.certificate, key)
    }

    pub(super) fn agent_with(&self, house: House, certificate: String, key: String) -> Agent {
        Agent {
            channel: self.channel(Some((&certificate, &key))),
            house,
            certificate,
            key,
        }
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// An institution that has joined.
pub(super) struct Agent {
    pub(super) house: House,
    pub(super) channel: Channel,
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Agent {
    pub(super) fn flows(&self) -> FlowsClient<Channel> {
        FlowsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn log(&self) -> LogClient<Channel> {
        LogClient::new(self.channel.clone())
    }

    pub(super) fn directory(&self) -> DirectoryClient<Channel> {
        DirectoryClient::new(self.channel.clone())
    }

    pub(super) fn agreements(&self) -> AgreementsClient<Channel> {
        AgreementsClient::new(self.channel.clone())
    }

    pub(super) async fn propose(&self, agreement: &Agreement) {
        let request = ProposeRequest {
            document: agreement.canonical_bytes().to_vec(),
            signature: self.house.sign(agreement),
        };
        accepted(self.agreements().propose(request).await);
    }

    pub(super) async fn countersign(&self, agreement: &Agreement) {
        let request = CountersignRequest {
            digest: agreement.digest().as_bytes().to_vec(),
            signature: self.house.sign(agreement),
        };
        accepted(self.agreements().countersign(request).await);
    }

    pub(super) async fn revoke(&self, agreement: &Agreement) {
        let request = RevokeAgreementRequest {
            digest: agreement.digest().as_bytes().to_vec(),
            revocation: self.house.revocation(agreement),
            reason: "over".into(),
        };
        accepted(self.agreements().revoke(request).await);
    }
}

#[track_caller]
fn accepted(reply: Result<tonic::Response<AgreementReply>, Status>) {
    let reply = reply.unwrap().into_inner();
    assert!(
        matches!(reply.result, Some(Answer::Accepted(_))),
        "{reply:?}"
    );
}
