//! The connection to the broker: TLS 1.3 only, against the one CA that this home pinned when it joined.
//!
//! The broker's certificate is verified for the fixed name [`BROKER_NAME`] whatever its address is, so that an
//! address can change without a new certificate and a certificate of another purpose never passes.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_proto::invite::Invite;
use counterfoil_proto::limits::MESSAGE_BYTES_MAX;
use counterfoil_proto::v1::agreements_client::AgreementsClient;
use counterfoil_proto::v1::directory_client::DirectoryClient;
use counterfoil_proto::v1::enrolment_client::EnrolmentClient;
use counterfoil_proto::v1::flows_client::FlowsClient;
use counterfoil_proto::v1::log_client::LogClient;
use counterfoil_proto::v1::traces_client::TracesClient;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::error::{Error, Result};
use crate::home::Home;

mod dial;
mod tls;

pub use dial::DialError;
pub use tls::{Identity, PinnedByHash};

/// The name in the broker's certificate.
pub const BROKER_NAME: &str = "broker.counterfoil.internal";

const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Time for a call that answers at once, in seconds. Streams have none: keep-alive watches over them.
const CALL_SECONDS_MAX: u64 = 30;

/// A connection to the broker, as the institution of the home. Cheap to clone; reconnects by itself for new calls.
#[derive(Debug, Clone)]
pub struct Broker {
    channel: Channel,
    address: String,
}

impl Broker {
    /// Connects with the client certificate of the home.
    ///
    /// # Errors
    /// [`Error::NotJoined`], [`Error::Unreachable`], [`Error::NotTheBroker`], [`Error::CertificateTime`].
    pub async fn connect(home: &Home) -> Result<Self> {
        let address = home.broker()?.address.clone();
        let identity = Identity::load(home)?;
        let config = tls::client_config(&identity, home.clock())?;
        let channel = open(&address, config, home).await?;
        Ok(Self { channel, address })
    }

    /// `host:port` of the broker.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The service of the broker's state and partners.
    #[must_use]
    pub fn directory(&self) -> DirectoryClient<Channel> {
        DirectoryClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The service of agreements.
    #[must_use]
    pub fn agreements(&self) -> AgreementsClient<Channel> {
        AgreementsClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The service of flows.
    #[must_use]
    pub fn flows(&self) -> FlowsClient<Channel> {
        FlowsClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The service of traces.
    #[must_use]
    pub fn traces(&self) -> TracesClient<Channel> {
        TracesClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The service of the log.
    #[must_use]
    pub fn log(&self) -> LogClient<Channel> {
        LogClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// Waits for a unary call, at most 30 s, and takes its message.
///
/// # Errors
/// [`Error::Timeout`], or what the status says.
pub async fn call<T>(
    answer: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    match tokio::time::timeout(Duration::from_secs(CALL_SECONDS_MAX), answer).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Error::Timeout {
            who: "the broker".to_owned(),
            seconds: CALL_SECONDS_MAX,
        }),
    }
}

/// A connection without a client certificate, to join. Returns the CA certificate that the invite's hash pins.
pub(crate) async fn connect_to_join(
    invite: &Invite,
    home: &Home,
) -> Result<(EnrolmentClient<Channel>, CertificateDer<'static>)> {
    let verifier = Arc::new(PinnedByHash::new(invite.ca_sha256));
    let config = tls::joining_config(Arc::clone(&verifier), home.clock())?;
    let channel = open(&invite.address, config, home).await?;
    let ca = verifier
        .found()
        .ok_or_else(|| Error::Unexpected("the broker's CA was not seen".to_owned()))?;
    let client = EnrolmentClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Ok((client, ca))
}

async fn open(address: &str, config: rustls::ClientConfig, home: &Home) -> Result<Channel> {
    let dial = dial::Dial {
        address: address.to_owned(),
        tls: TlsConnector::from(Arc::new(config)),
        clock: home.clock(),
    };
    // The URI only fills the `:authority` header: where to connect and whom to expect is the dialler's.
    let channel = Endpoint::from_static("http://broker.counterfoil.internal")
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .http2_adaptive_window(true)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let dial = dial.clone();
            async move {
                dial.connect()
                    .await
                    .map(TokioIo::<TlsStream<TcpStream>>::new)
            }
        }))
        .await?;
    Ok(channel)
}

#[cfg(test)]
mod tests;
