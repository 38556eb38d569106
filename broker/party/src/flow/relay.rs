//! The broker's relay as a pipe of frames.

use std::time::Duration;

use counterfoil_policy::text::FlowId;
use counterfoil_proto::limits::RELAY_FRAMES;
use counterfoil_proto::v1::{RelayFrame, SessionRef, Waiting, relay_frame::Frame};
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::error::{Error, Result};
use crate::matching::Pipe;
use crate::transport::Broker;

use super::shard::Shard;

/// How long the broker may take to pass on what was sent before this side left.
const LINGER: Duration = Duration::from_secs(30);

/// Why the relay ended, once it has; nothing if it ended in order.
pub(crate) type Ended = oneshot::Receiver<Error>;

/// One attempt at a bucket, or at the meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// Counted from 0; [`MEETING`](counterfoil_proto::limits::MEETING) for the meeting.
    pub(crate) bucket: u32,
    /// Counted from 1.
    pub(crate) attempt: u32,
}

/// The recipient comes to the relay for a session.
///
/// # Errors
/// The broker refuses, or is gone.
pub(crate) async fn come(broker: &Broker, flow: FlowId, session: Session) -> Result<(Pipe, Ended)> {
    let open = Frame::Open(SessionRef {
        flow: flow.as_bytes().to_vec(),
        bucket: session.bucket,
        attempt: session.attempt,
    });
    let (stream, outgoing) = open_relay(broker, open).await?;
    Ok(pipe(stream, outgoing))
}

/// The owner waits for the recipient to come for a session of its shard.
///
/// # Errors
/// As [`come`].
pub(crate) async fn wait(
    broker: &Broker,
    flow: FlowId,
    shard: Shard,
) -> Result<(Session, Pipe, Ended)> {
    let wait = Frame::Wait(Waiting {
        flow: flow.as_bytes().to_vec(),
        shard: shard.index(),
        shards: shard.count(),
    });
    let (mut stream, outgoing) = open_relay(broker, wait).await?;
    let ended = || Error::ConnectionLost("the broker ended the relay".to_owned());
    match stream.message().await?.ok_or_else(ended)?.frame {
        Some(Frame::Open(open)) if open.flow == flow.as_bytes() => {
            let session = Session {
                bucket: open.bucket,
                attempt: open.attempt,
            };
            let (pipe, ended) = pipe(stream, outgoing);
            Ok((session, pipe, ended))
        }
        _ => Err(Error::Unexpected(
            "the broker's relay does not say for which session the recipient came".to_owned(),
        )),
    }
}

async fn open_relay(
    broker: &Broker,
    first: Frame,
) -> Result<(Streaming<RelayFrame>, mpsc::Sender<Vec<u8>>)> {
    // One frame each way waits here, the rest where there is room for it: in the broker, which bounds it.
    let (outgoing, frames) = mpsc::channel(1);
    let frames = ReceiverStream::new(frames).map(|noise| RelayFrame {
        frame: Some(Frame::Noise(noise)),
    });
    let request = tokio_stream::once(RelayFrame { frame: Some(first) }).chain(frames);
    let stream = crate::transport::call(broker.flows().relay(request)).await?;
    Ok((stream, outgoing))
}

fn pipe(stream: Streaming<RelayFrame>, outgoing: mpsc::Sender<Vec<u8>>) -> (Pipe, Ended) {
    let (to_matching, incoming) = mpsc::channel(RELAY_FRAMES);
    let (why, ended) = oneshot::channel();
    tokio::spawn(receive(stream, to_matching, why));
    (Pipe { outgoing, incoming }, ended)
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
