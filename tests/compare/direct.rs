//! The token step between two agents' matching code over one TLS connection, and the same through the broker's relay.
//!
//! Both are measured from the first message of the protocol to the last: through the relay that is what can be told from the
//! outside of three processes that do more than that. The channel between the agents (Noise) is the same in both.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use counterfoil_party::matching::{MatchProgress, Opening, Patience, PeerSize, Pipe, meet};
use counterfoil_party::noise::{Binding, Statics};
use counterfoil_proto::limits::{NOISE_MESSAGE_BYTES_MAX, RELAY_FRAMES};
use counterfoil_psi::{Protocol, Role};
use counterfoil_tests::World;
use counterfoil_tests::process::{Serving, counterfoil};
use counterfoil_tests::usage::Usage;
use counterfoil_tests::world::free_address;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::bare::phones;
use crate::measure::{Cost, Span, loopback_bytes, part, watch};

const SERVER: &str = "owner.example";

/// Over a direct connection.
pub fn direct(owner: &Path, recipient: &Path) -> Cost {
    let dir = tempfile::tempdir().unwrap();
    let (address, certificate) = (free_address(), dir.path().join("certificate"));
    let reports = ["owner", "recipient"].map(|role| dir.path().join(role));
    let side = |role: &str, file: &Path, report: &PathBuf| {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (file, report, certificate) = (text(file), text(report), text(&certificate));
        part(["direct", role, &file, &address, &certificate, &report])
    };
    let sides = vec![
        side("owner", owner, &reports[0]),
        side("recipient", recipient, &reports[1]),
    ];
    let whole = watch(&[], sides);
    Span::of_both(reports.each_ref().map(PathBuf::as_path), whole)
}

/// Through the broker: of a whole exchange the part in which the agents match.
pub fn relayed(owner: &[String], recipient: &[String]) -> Cost {
    // One session, as the two that are connected directly have.
    let mut world: World = crate::ours::world("vole", "bucket_rows = 4194304", owner, recipient);
    let mut command = counterfoil(&world.home("bank"));
    command.args(["--json", "party", "serve"]);
    let mut agent = Serving::start(command);
    agent.wait_for("connected");
    let mut exchange: Command = world.exchange_command();
    let mut exchange = exchange.stdout(Stdio::null()).spawn().unwrap();
    let processes = [
        world.broker.as_ref().unwrap().id(),
        agent.id(),
        exchange.id(),
    ];
    let used = || processes.map(Usage::of);
    agent.wait_for("\"what\":\"matching\"");
    let (before, bytes, clock) = (used(), loopback_bytes(), Instant::now());
    loop {
        let line = agent.wait_for("\"what\":\"matching\"");
        let step: serde_json::Value = serde_json::from_str(&line).unwrap();
        let done = |own: &str, total: &str| step[own].as_u64() == step[total].as_u64();
        if done("own", "own_total") && done("peer", "peer_total") {
            break;
        }
    }
    let (after, wall_s) = (used(), clock.elapsed().as_secs_f64());
    let cost = Cost {
        wall_s,
        bytes: loopback_bytes() - bytes,
        cpu_s: after
            .iter()
            .zip(before)
            .map(|(a, b)| a.cpu_s - b.cpu_s)
            .sum(),
        peak_mib: after.iter().map(|usage| usage.peak_mib).max().unwrap_or(0),
    };
    assert!(exchange.wait().unwrap().success());
    world.owner = None;
    cost
}

/// The part `direct ROLE FILE ADDRESS CERTIFICATE REPORT`.
pub fn side(role: &str, file: &str, address: &str, certificate: &str, report: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let role = match role {
        "owner" => Role::Owner,
        _ => Role::Recipient,
    };
    let set = phones(role, file);
    let (own, peer) = match role {
        Role::Owner => (6, 5),
        Role::Recipient => (5, 6),
    };
    let (own, peer) = (
        StaticSecret::from([own; 32]),
        PublicKey::from(&StaticSecret::from([peer; 32])),
    );
    let matched = runtime.block_on(async {
        let pipe = connect(role, address.parse().unwrap(), Path::new(certificate)).await;
        let opening = Opening {
            role,
            statics: Statics {
                own: &own,
                peer: &peer,
            },
            binding: Binding {
                agreement: [1; 32],
                request: [2; 32],
                flow: [3; 16],
                plan: [4; 32],
                bucket: 0,
                attempt: 1,
            },
            protocol: Protocol::Vole,
            set_size: set.len() as u64,
            checkpoint: None,
            peer: PeerSize::AtMost(1 << 24),
            patience: Patience::WAITING,
        };
        let met = meet(opening, pipe).await.unwrap();
        let span: Mutex<Option<Span>> = Mutex::new(None);
        let progress = |step: MatchProgress| {
            let mut span = span.lock().unwrap();
            let done = step.own == step.own_total && step.peer == step.peer_total;
            match &mut *span {
                None => *span = Some(Span::begin()),
                Some(span) if done => span.end(),
                Some(_) => {}
            }
        };
        let matched = met.run(Arc::new(set), &progress).await.unwrap();
        span.into_inner().unwrap().unwrap().write(report);
        matched
    });
    std::hint::black_box(matched);
}

/// A pipe over TLS: a length of four bytes before each frame.
async fn connect(role: Role, address: SocketAddr, certificate: &Path) -> Pipe {
    match role {
        Role::Owner => {
            let made = rcgen::generate_simple_self_signed([SERVER.to_owned()]).unwrap();
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
            let chain = vec![made.cert.der().clone()];
            std::fs::write(certificate, made.cert.der()).unwrap();
            let config = ServerConfig::builder().with_no_client_auth();
            let config = config.with_single_cert(chain, key).unwrap();
            let listener = TcpListener::bind(address).await.unwrap();
            let stream = listener.accept().await.unwrap().0;
            stream.set_nodelay(true).unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            piped(acceptor.accept(stream).await.unwrap())
        }
        Role::Recipient => {
            let stream = loop {
                match TcpStream::connect(address).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            stream.set_nodelay(true).unwrap();
            // It is written before the other side listens.
            let der = CertificateDer::from(std::fs::read(certificate).unwrap());
            let mut roots = RootCertStore::empty();
            roots.add(der).unwrap();
            let config = ClientConfig::builder().with_root_certificates(roots);
            let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
            let name = ServerName::try_from(SERVER).unwrap();
            piped(connector.connect(name, stream).await.unwrap())
        }
    }
}

fn piped(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Pipe {
    let (mut from, mut to) = tokio::io::split(stream);
    let (outgoing, mut frames) = mpsc::channel::<Vec<u8>>(1);
    let (sender, incoming) = mpsc::channel(RELAY_FRAMES);
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            let length = u32::try_from(frame.len()).unwrap();
            to.write_all(&length.to_be_bytes()).await.unwrap();
            to.write_all(&frame).await.unwrap();
            to.flush().await.unwrap();
        }
        let _ = to.shutdown().await;
    });
    tokio::spawn(async move {
        while let Ok(length) = from.read_u32().await {
            let length = usize::try_from(length).unwrap();
            assert!(length <= NOISE_MESSAGE_BYTES_MAX);
            let mut frame = vec![0; length];
            from.read_exact(&mut frame).await.unwrap();
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    Pipe { outgoing, incoming }
}
