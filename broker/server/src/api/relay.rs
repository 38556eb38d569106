//! The relay of a running flow's sessions.

use std::pin::pin;
use std::sync::Arc;

use counterfoil_proto::v1::relay_frame::Frame;
use counterfoil_proto::v1::{RelayFrame, SessionRef};
use counterfoil_psi::Role;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::submit::{over, running};
use crate::broker::Broker;
use crate::flow::registry::{Present, Running};
use crate::flow::relay::{RelayError, RelaySender};
use crate::flow::rendezvous::{End, NoSession, Session, Shard};

/// Frames that wait for a slow reader, beside those in the relay itself.
const FRAMES: usize = 4;

/// What a relay call returns.
pub(crate) type RelayStream = ReceiverStream<Result<RelayFrame, Status>>;

/// Joins one agent to the relay of a session: the recipient comes for one, the owner waits for one.
pub(crate) async fn relay(
    broker: &Arc<Broker>,
    request: Request<Streaming<RelayFrame>>,
) -> Result<Response<RelayStream>, Status> {
    let partner = broker.partner(&request)?;
    let mut inbound = request.into_inner();
    let first = inbound.message().await?.and_then(|first| first.frame);
    let (sender, receiver) = mpsc::channel(FRAMES);
    match first {
        Some(Frame::Open(open)) => {
            let running = running(broker, &partner, &open.flow, Role::Recipient)?;
            let end = running.come(session(&open)).map_err(|error| match error {
                NoSession::Unknown => Status::invalid_argument(error.to_string()),
                NoSession::Repeated => Status::already_exists(error.to_string()),
                NoSession::Full => Status::resource_exhausted(error.to_string()),
            })?;
            let present = running.attend(Role::Recipient);
            tokio::spawn(carry(
                running,
                Role::Recipient,
                present,
                end,
                inbound,
                sender,
            ));
        }
        Some(Frame::Wait(wait)) => {
            let running = running(broker, &partner, &wait.flow, Role::Owner)?;
            let shard = Shard::new(wait.shard, wait.shards)
                .ok_or_else(|| Status::invalid_argument("there is no such shard"))?;
            let present = running.attend(Role::Owner);
            tokio::spawn(wait_and_carry(running, present, shard, inbound, sender));
        }
        _ => {
            return Err(Status::invalid_argument(
                "the first frame names a session, or waits for one",
            ));
        }
    }
    Ok(Response::new(ReceiverStream::new(receiver)))
}

fn session(open: &SessionRef) -> Session {
    Session {
        bucket: open.bucket,
        attempt: open.attempt,
    }
}

/// Waits until the recipient comes, and tells the owner for which session.
async fn wait_and_carry(
    running: Arc<Running>,
    present: Present,
    shard: Shard,
    inbound: Streaming<RelayFrame>,
    sender: mpsc::Sender<Result<RelayFrame, Status>>,
) {
    let waited = running.wait(shard);
    let end = tokio::select! {
        () = running.ended().cancelled() => return drop(sender.try_send(Err(over()))),
        () = sender.closed() => return,
        end = waited => end,
    };
    // Another process of the same shard has taken this one's place.
    let Ok(end) = end else {
        let status = Status::already_exists("another process of this shard waits now");
        return drop(sender.try_send(Err(status)));
    };
    let open = Frame::Open(SessionRef {
        flow: running.grant.flow.as_bytes().to_vec(),
        bucket: end.session.bucket,
        attempt: end.session.attempt,
    });
    if sender.send(Ok(frame(open))).await.is_ok() {
        carry(running, Role::Owner, present, end, inbound, sender).await;
    }
}

fn frame(frame: Frame) -> RelayFrame {
    RelayFrame { frame: Some(frame) }
}

/// Passes frames both ways until both sides have said what they have to say, one of them is gone, the session is given up for
/// another attempt, or the flow ends. A connection that breaks ends the session and nothing else: the recipient comes again.
async fn carry(
    running: Arc<Running>,
    role: Role,
    _present: Present,
    end: End,
    inbound: Streaming<RelayFrame>,
    sender: mpsc::Sender<Result<RelayFrame, Status>>,
) {
    let (to_other, from_other) = end.relay.split();
    let mut why = Some(sender.clone());
    let both = async {
        let mut forward = pin!(forward(&running, role, inbound, to_other));
        let mut outbound = pin!(outbound(from_other, sender));
        tokio::select! {
            broken = &mut forward => {
                // This side sends no more, or broke a rule; only in the first case is there something to wait for.
                if broken.is_none() {
                    outbound.await;
                }
                broken
            }
            () = &mut outbound => {
                // The other side sends no more: this one is to see that at once, and may say its last.
                why = None;
                forward.await
            }
        }
    };
    let cut = tokio::select! {
        biased;
        () = running.ended().cancelled() => Some(over()),
        () = end.cut.cancelled() => {
            Some(Status::unavailable("the session was given up for another attempt"))
        }
        broken = both => broken,
    };
    if let Some((why, status)) = why.zip(cut) {
        let _ = why.try_send(Err(status));
    }
}

/// Hands the other side's frames to this one, until either is gone.
async fn outbound(
    mut from_other: mpsc::Receiver<Vec<u8>>,
    sender: mpsc::Sender<Result<RelayFrame, Status>>,
) {
    loop {
        let noise = tokio::select! {
            () = sender.closed() => return,
            noise = from_other.recv() => noise,
        };
        let Some(noise) = noise else { return };
        if sender.send(Ok(frame(Frame::Noise(noise)))).await.is_err() {
            return;
        }
    }
}

/// Passes one side's frames on until it closes; says what rule of the relay it broke.
async fn forward(
    running: &Running,
    role: Role,
    mut inbound: Streaming<RelayFrame>,
    mut to_other: RelaySender,
) -> Option<Status> {
    loop {
        let noise = match inbound.message().await {
            Ok(Some(RelayFrame {
                frame: Some(Frame::Noise(noise)),
            })) => noise,
            Ok(Some(_)) => {
                return Some(Status::invalid_argument(
                    "after the first frame come Noise messages",
                ));
            }
            Ok(None) | Err(_) => return None,
        };
        running.touch();
        match to_other.send(noise).await {
            Ok(()) => {}
            // The other side says why, or its connection broke: this one sees the end after what was sent before.
            Err(RelayError::OtherSideLeft) => return None,
            Err(error) => {
                tracing::warn!(flow = %running.grant.flow, %role, %error, "the relay's rules were broken");
                return Some(Status::invalid_argument(error.to_string()));
            }
        }
    }
}
