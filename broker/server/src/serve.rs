//! Running a broker.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::entry::BrokerInitialised;
use counterfoil_audit::entry::Digest;
use counterfoil_proto::limits::MESSAGE_BYTES_MAX;
use counterfoil_proto::v1::agreements_server::AgreementsServer;
use counterfoil_proto::v1::directory_server::DirectoryServer;
use counterfoil_proto::v1::enrolment_server::EnrolmentServer;
use counterfoil_proto::v1::flows_server::FlowsServer;
use counterfoil_proto::v1::log_server::LogServer;
use counterfoil_proto::v1::operator_server::OperatorServer;
use counterfoil_proto::v1::traces_server::TracesServer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::api::agreements::AgreementsService;
use crate::api::directory::DirectoryService;
use crate::api::enrolment::EnrolmentService;
use crate::api::flows::FlowsService;
use crate::api::log::LogService;
use crate::api::operator::OperatorService;
use crate::api::traces::{TracesService, fail_interrupted};
use crate::broker::Broker;
use crate::error::Error;
use crate::flow::restore;
use crate::home::Home;
use crate::log::Decided;
use crate::refusal::{Refusal, label};
use crate::state::flows::Stage;
use crate::tls;

const KEEPALIVE: Duration = Duration::from_secs(10);
const SWEEP: Duration = Duration::from_secs(1);
/// Streams of one connection: an agent needs about four a flow.
const STREAMS_MAX: u32 = 64;
/// Enough for the metadata that tonic sends, and too little for an attack with headers.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// A request to join, which anybody may send: some 700 bytes, mostly of its certificate request.
const JOIN_BYTES_MAX: usize = 16 * 1024;
/// Flow control: four messages of a stream may be under way.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// A broker whose log is open and whose port is bound.
pub struct Service {
    broker: Arc<Broker>,
    listener: TcpListener,
}

impl Service {
    /// Opens the broker in this directory and binds its port. Flows that ran when it last stopped go on, or are closed as aborted.
    ///
    /// # Errors
    /// The directory, the log or the port cannot be used.
    pub async fn start(home: Home) -> Result<Self, Error> {
        let address = home.config().listen.clone();
        // The directory first: a broker that was started twice should hear of that, not of its own port.
        let broker = Arc::new(Broker::open(home)?);
        let listener = TcpListener::bind(&address)
            .await
            .map_err(|source| Error::Listen { address, source })?;
        initialise(&broker).await?;
        restore(&broker).await?;
        Ok(Self { broker, listener })
    }

    /// The bound address.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|source| Error::Listen {
            address: self.broker.home.config().listen.clone(),
            source,
        })
    }

    /// Entries in the log.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.broker.ledger.durable()
    }

    /// The key that verifies the log, in the form of c2sp.org/signed-note.
    #[must_use]
    pub fn log_key(&self) -> String {
        self.broker.ledger.verifier()
    }

    /// Serves until `shutdown` ends.
    ///
    /// # Errors
    /// The log failed, after which nothing may leave any more; or TLS cannot be set up.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { broker, listener } = self;
        let acceptor = tls::acceptor(
            &broker.home.identity("server")?,
            &broker.home.certificate("ca")?,
        )?;
        let (accepted, connections) = mpsc::channel(1);
        let accepting = tokio::spawn(tls::accept(
            listener,
            acceptor,
            broker.connections.clone(),
            {
                let broker = broker.clone();
                move |certificate: &tls::CertificateSha256| broker.knows(certificate)
            },
            accepted,
        ));
        let sweeping = tokio::spawn(sweep(broker.clone()));
        let down = broker.ledger.down().clone();
        let stop = async {
            tokio::select! {
                () = shutdown => {}
                () = down.cancelled() => {}
            }
        };
        let serving = router(&broker).serve_with_incoming(ReceiverStream::new(connections));
        // Streams of agents that listen never end by themselves, so stopping does not wait for them.
        let served = tokio::select! {
            served = serving => served.map_err(|e| Error::Tls(e.to_string())),
            () = stop => Ok(()),
        };
        accepting.abort();
        sweeping.abort();
        // tonic serves each connection in a task of its own, which would go on.
        broker.connections.cut_all();
        served?;
        if broker.ledger.down().is_cancelled() {
            return Err(Error::Log(
                "writing it failed, and it is not known what reached the disk; free or replace the disk and start again".into(),
            ));
        }
        Ok(())
    }
}

fn router(broker: &Arc<Broker>) -> tonic::transport::server::Router {
    // Who calls is looked at before a byte of the message is read; only a join may come from a stranger.
    let callers = broker.clone();
    let known = move |request: Request<()>| callers.check_caller(&request).map(|()| request);
    macro_rules! bounded {
        ($server:ident, $service:ident) => {
            InterceptedService::new(
                $server::new($service(broker.clone()))
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX),
                known.clone(),
            )
        };
    }
    let enrolment = EnrolmentServer::new(EnrolmentService(broker.clone()))
        .max_decoding_message_size(JOIN_BYTES_MAX);
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES * 2)
        .add_service(enrolment)
        .add_service(bounded!(OperatorServer, OperatorService))
        .add_service(bounded!(DirectoryServer, DirectoryService))
        .add_service(bounded!(AgreementsServer, AgreementsService))
        .add_service(bounded!(FlowsServer, FlowsService))
        .add_service(bounded!(LogServer, LogService))
        .add_service(bounded!(TracesServer, TracesService))
}

/// The first entry of a new log.
async fn initialise(broker: &Broker) -> Result<(), Error> {
    let vkey = broker
        .ledger
        .read(|state| state.vkey().map(ToOwned::to_owned));
    if let Some(vkey) = vkey {
        return if vkey == broker.ledger.verifier() {
            Ok(())
        } else {
            Err(Error::Log(format!(
                "it was begun with the key `{vkey}`, which is not the one in `keys/log.key`: restore that key"
            )))
        };
    }
    let event = BrokerInitialised {
        vkey: label(&broker.ledger.verifier()),
        ca_sha256: Digest::from_bytes(broker.home.certificate_sha256("ca")?),
    };
    broker
        .ledger
        .commit(&broker.operator_actor(), |_, _| {
            Ok::<_, Refusal>(Decided {
                events: vec![event.into()],
                value: (),
            })
        })
        .await
        .map_err(|refusal| Error::Log(refusal.message))?;
    Ok(())
}

/// Flows without a release go on where they can: what was opened is gone with the memory, the owner's rows and the request are
/// on disk, and the recipient submits its keys again. Those with a release can still be fetched.
async fn restore(broker: &Arc<Broker>) -> Result<(), Error> {
    let running: Vec<_> = broker.ledger.read(|state| {
        let flows = state.flows.iter();
        flows
            .filter(|(_, flow)| flow.stage == Stage::Running)
            .map(|(id, _)| id)
            .collect()
    });
    // Whatever was stored for another flow is of no use: everything starts from the log.
    broker
        .running
        .keep_only(running.iter().map(|flow| *flow.as_bytes()))?;
    for flow in running {
        if !restore::flow(broker, flow) {
            broker
                .abort(
                    flow,
                    "restart",
                    "the broker was restarted before it had anything of the flow; nothing left, ask again",
                )
                .await;
        }
    }
    fail_interrupted(broker)
        .await
        .map_err(|status| Error::Log(status.message().to_owned()))?;
    let released = broker.ledger.read(|state| {
        let flows = state.flows.iter();
        let released = flows.filter(|(_, flow)| flow.intent_index().is_some());
        released.map(|(id, _)| *id.as_bytes()).collect::<Vec<_>>()
    });
    broker.deliveries.keep_only(released.into_iter())
}

async fn sweep(broker: Arc<Broker>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        broker.flows.offer_again();
        for (flow, reason) in broker.flows.stale() {
            broker.abort(flow, "idle", reason).await;
        }
    }
}

#[cfg(test)]
mod tests;
