//! The broker's relay as a pipe of frames.

use std::time::Duration;

use counterfoil_policy::text::FlowId;
use counterfoil_proto::limits::RELAY_FRAMES;
use counterfoil_proto::v1::{RelayFrame, relay_frame::Frame};
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::error::{Error, Result};
use crate::matching::Pipe;
use crate::transport::Broker;

use super::flow_ref;

/// How long the broker may take to pass on what was sent before this side left.
const LINGER: Duration = Duration::from_secs(30);

/// Why the relay ended, once it has; nothing if it ended in order.
pub(crate) type Ended = oneshot::Receiver<Error>;

/// Opens this side's end of a flow's relay.
///
/// # Errors
/// The broker refuses, or is gone.
pub(crate) async fn open_relay(broker: &Broker, flow: FlowId) -> Result<(Pipe, Ended)> {
    // One frame each way waits here, the rest where there is room for it: in the broker, which bounds it.
    let (outgoing, frames) = mpsc::channel(1);
    let open = RelayFrame {
        frame: Some(Frame::Open(flow_ref(flow))),
    };
    let frames = ReceiverStream::new(frames).map(|noise| RelayFrame {
        frame: Some(Frame::Noise(noise)),
    });
    let request = tokio_stream::once(open).chain(frames);
    let answer = crate::transport::call(broker.flows().relay(request)).await?;
    let (to_matching, incoming) = mpsc::channel(RELAY_FRAMES);
    let (why, ended) = oneshot::channel();
    tokio::spawn(receive(answer, to_matching, why));
    Ok((Pipe { outgoing, incoming }, ended))
}

/// Takes what the broker passes on, until it ends.
///
/// Dropping the stream would reset it, and with it frames of ours that the broker has not passed on yet. So when the
/// matching has left, the rest is read and thrown away until the broker ends the stream, for a while.
async fn receive(
    mut stream: Streaming<RelayFrame>,
    to: mpsc::Sender<Vec<u8>>,
    why: oneshot::Sender<Error>,
) {
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = to.closed() => return drain(stream).await,
        };
        match message {
            Ok(Some(RelayFrame {
                frame: Some(Frame::Noise(noise)),
            })) => {
                if to.send(noise).await.is_err() {
                    return drain(stream).await;
                }
            }
            Ok(None) => return,
            Ok(Some(_)) => {
                return drop(why.send(Error::Unexpected(
                    "the broker's relay sent a frame without content".to_owned(),
                )));
            }
            Err(status) => return drop(why.send(status.into())),
        }
    }
}

async fn drain(mut stream: Streaming<RelayFrame>) {
    drop(
        timeout(LINGER, async {
            while let Ok(Some(_)) = stream.message().await {}
        })
        .await,
    );
}
