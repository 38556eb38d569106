use std::time::Duration as StdDuration;

use counterfoil_proto::v1::directory_server::{Directory, DirectoryServer};
use counterfoil_proto::v1::{PartnersReply, PartnersRequest, StatusReply, StatusRequest};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, RootCertStore, ServerConfig};
use time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};

use sha2::{Digest as _, Sha256};

use super::*;
use crate::clock::Clock;
use crate::testkit::{Ca, Leaf, home};

const DAY_SECONDS: i64 = 86_400;

fn verify(
    pin: [u8; 32],
    leaf: &CertificateDer<'static>,
    chain: &[CertificateDer<'static>],
) -> std::result::Result<(), rustls::Error> {
    let verifier = PinnedByHash::new(pin);
    let name = ServerName::try_from(BROKER_NAME).unwrap();
    let result = verifier.verify_server_cert(leaf, chain, &name, &[], UnixTime::now());
    assert_eq!(verifier.found().is_some(), result.is_ok());
    result.map(drop)
}

fn refusal(result: std::result::Result<(), rustls::Error>) -> CertificateError {
    match result {
        Err(rustls::Error::InvalidCertificate(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_ca_that_the_invite_names_is_found_in_the_chain() {
    let ca = Ca::new();
    let (leaf, _) = ca.server();
    assert!(verify(ca.sha256(), &leaf, std::slice::from_ref(&ca.der)).is_ok());
}

#[test]
fn chains_that_must_fail() {
    let (ca, evil) = (Ca::new(), Ca::new());
    let (leaf, _) = ca.server();
    let (evil_leaf, _) = evil.server();
    let pin = ca.sha256();

    // another CA altogether
    assert_eq!(
        refusal(verify(pin, &evil_leaf, std::slice::from_ref(&evil.der))),
        CertificateError::ApplicationVerificationFailure
    );
    // the right CA's certificate, which is public, shown beside a leaf that it did not sign
    let shown = [evil.der.clone(), ca.der.clone()];
    assert!(matches!(
        refusal(verify(pin, &evil_leaf, &shown)),
        CertificateError::UnknownIssuer | CertificateError::BadSignature
    ));
    // the CA is not shown
    assert_eq!(
        refusal(verify(pin, &leaf, &[])),
        CertificateError::ApplicationVerificationFailure
    );
    // the pin names a leaf, which then cannot vouch for itself
    let leaf_pin = Sha256::digest(&evil_leaf).into();
    assert!(verify(leaf_pin, &evil_leaf, std::slice::from_ref(&evil_leaf)).is_err());
}

#[test]
fn leaves_of_the_right_ca_that_must_fail() {
    let ca = Ca::new();
    let check = |leaf: Leaf| {
        let (der, _) = ca.leaf(&leaf);
        refusal(verify(ca.sha256(), &der, std::slice::from_ref(&ca.der)))
    };
    let expired = Leaf {
        begins_in: Duration::hours(-3),
        ends_in: Duration::hours(-1),
        ..Leaf::default()
    };
    assert!(matches!(
        check(expired),
        CertificateError::ExpiredContext { .. }
    ));
    let future = Leaf {
        begins_in: Duration::hours(1),
        ..Leaf::default()
    };
    assert!(matches!(
        check(future),
        CertificateError::NotValidYetContext { .. }
    ));
    let other_name = Leaf {
        name: "north-bank",
        ..Leaf::default()
    };
    assert!(matches!(
        check(other_name),
        CertificateError::NotValidForNameContext { .. }
    ));
    // another institution's certificate must not pass for the broker's
    let client = Leaf {
        usage: ExtendedKeyUsagePurpose::ClientAuth,
        ..Leaf::default()
    };
    assert!(matches!(
        check(client),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }
    ));
}

struct Echo;

#[tonic::async_trait]
impl Directory for Echo {
    async fn status(
        &self,
        _: Request<StatusRequest>,
    ) -> std::result::Result<Response<StatusReply>, Status> {
        Ok(Response::new(StatusReply {
            broker: "here".into(),
            ..StatusReply::default()
        }))
    }

    async fn partners(
        &self,
        _: Request<PartnersRequest>,
    ) -> std::result::Result<Response<PartnersReply>, Status> {
        // Longer than any test: for the connection that is cut.
        tokio::time::sleep(StdDuration::from_secs(60)).await;
        Err(Status::internal("late"))
    }
}

/// A broker of `ca` on loopback. Dropping the sender ends it at once, with all its connections.
async fn serve(ca: &Ca, leaf: &Leaf) -> (String, tokio::task::JoinHandle<()>) {
    let (certificate, key) = ca.leaf(leaf);
    let mut roots = RootCertStore::empty();
    roots.add(ca.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![certificate, ca.der.clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (accepted, connections) = tokio::sync::mpsc::channel(8);
    let server = async move {
        let accept = async {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    continue;
                };
                // A pipe between, because the server takes no TLS stream of ours.
                let (near, mut far) = tokio::io::duplex(64 * 1024);
                tokio::spawn(
                    async move { tokio::io::copy_bidirectional(&mut tls, &mut far).await },
                );
                if accepted.send(Ok::<_, std::io::Error>(near)).await.is_err() {
                    return;
                }
            }
        };
        let serve = tonic::transport::Server::builder()
            .add_service(DirectoryServer::new(Echo))
            .serve_with_incoming(tokio_stream::wrappers::ReceiverStream::new(connections));
        let _ = tokio::join!(accept, serve);
    };
    (address, tokio::spawn(server))
}

async fn status(home: &Home) -> Result<StatusReply> {
    let broker = Broker::connect(home).await?;
    call(broker.directory().status(StatusRequest {})).await
}

#[tokio::test]
async fn a_joined_party_is_served() {
    let ca = Ca::new();
    let (address, _server) = serve(&ca, &Leaf::default()).await;
    let (_dir, home) = ca.joined(&address, Clock::system(), Duration::days(1));
    assert_eq!(status(&home).await.unwrap().broker, "here");
}

#[tokio::test]
async fn another_broker_at_the_address_is_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (address, _server) = serve(&other, &Leaf::default()).await;
    let (_dir, home) = ca.joined(&address, Clock::system(), Duration::days(1));
    let error = status(&home).await.unwrap_err();
    assert_eq!(
        (error.code(), error.exit_code()),
        ("not_the_broker", 6),
        "{error}"
    );
}

#[tokio::test]
async fn a_clock_off_by_a_day_is_named() {
    let ca = Ca::new();
    let (address, _server) = serve(&ca, &Leaf::default()).await;
    for shift in [-DAY_SECONDS, DAY_SECONDS] {
        let (_dir, home) = ca.joined(&address, Clock::shifted(shift), Duration::days(30));
        let error = status(&home).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("certificate_time", 5));
        let text = error.to_string();
        assert!(
            text.starts_with("the broker's certificate is not valid at this machine's time `")
                && text.contains("check the clock"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn our_own_expired_certificate_is_named() {
    let ca = Ca::new();
    let (address, _server) = serve(&ca, &Leaf::default()).await;
    let (_dir, home) = ca.joined(&address, Clock::system(), Duration::hours(-1));
    let error = status(&home).await.unwrap_err();
    assert_eq!(error.code(), "certificate_time", "{error}");
    assert!(
        error
            .to_string()
            .contains("this party's certificate is outside its dates")
    );
}

#[tokio::test]
async fn nobody_there() {
    let ca = Ca::new();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let (_dir, home) = ca.joined(&address, Clock::system(), Duration::days(1));
    let error = status(&home).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach the broker at `{address}`: connection refused; is `counterfoil broker serve` running there?"
        )
    );
    assert_eq!(error.exit_code(), 5);
}

#[tokio::test]
async fn another_service_there() {
    let ca = Ca::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        tokio::time::sleep(StdDuration::from_secs(5)).await;
    });
    let (_dir, home) = ca.joined(&address, Clock::system(), Duration::days(1));
    let error = status(&home).await.unwrap_err();
    assert!(
        error.to_string().contains("it answers, but not in TLS"),
        "{error}"
    );
}

#[tokio::test]
async fn a_broker_that_dies_in_a_call() {
    let ca = Ca::new();
    let (listening, address) = tokio::sync::oneshot::channel();
    let (kill, killed) = tokio::sync::oneshot::channel::<()>();
    // A runtime of its own, whose end closes every socket at once as the end of a process does.
    let process = std::thread::spawn({
        let ca = ca.clone();
        move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let (address, _server) = serve(&ca, &Leaf::default()).await;
                listening.send(address).unwrap();
                killed.await.unwrap();
            });
            runtime.shutdown_background();
        }
    });
    let (_dir, home) = ca.joined(&address.await.unwrap(), Clock::system(), Duration::days(1));
    let broker = Broker::connect(&home).await.unwrap();
    let mut directory = broker.directory();
    let waiting = tokio::spawn(async move { call(directory.partners(PartnersRequest {})).await });
    tokio::time::sleep(StdDuration::from_millis(300)).await;
    kill.send(()).unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(
        (error.code(), error.exit_code()),
        ("connection_lost", 5),
        "{error}"
    );
    process.join().unwrap();
    let error = call(broker.directory().status(StatusRequest {}))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "unreachable", "{error}");
}

#[tokio::test]
async fn joining_pins_the_ca_of_the_invite() {
    let ca = Ca::new();
    let (address, _server) = serve(&ca, &Leaf::default()).await;
    let (_dir, home) = home(Clock::system());
    let mut invite = Invite {
        org: "north-bank".into(),
        address,
        ca_sha256: ca.sha256(),
        id: "1".into(),
        secret: counterfoil_proto::invite::InviteSecret::new([1; 32]),
    };
    let (_, found) = connect_to_join(&invite, &home).await.unwrap();
    assert_eq!(found, ca.der);
    invite.ca_sha256 = Ca::new().sha256();
    let error = connect_to_join(&invite, &home).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("its CA is not the one that the invite names"),
        "{error}"
    );
}
