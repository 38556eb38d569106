//! Relay and submissions: the streams of a running flow.

use std::sync::Arc;

use counterfoil_proto::payload::Layout;
use counterfoil_proto::v1::{
    KeysChunk, RelayFrame, RowsChunk, SubmitReply, keys_chunk, relay_frame, rows_chunk,
};
use counterfoil_psi::Role;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{STREAM_CHUNKS, flow_id, wire};
use crate::broker::{Broker, Partner};
use crate::flow::complete;
use crate::flow::registry::Running;
use crate::flow::relay::{RelayError, RelaySender};
use crate::flow::submission::Submission;

/// What a relay call returns.
pub(crate) type RelayStream = ReceiverStream<Result<RelayFrame, Status>>;

/// Joins one agent to the relay of a flow.
pub(crate) async fn relay(
    broker: &Arc<Broker>,
    request: Request<Streaming<RelayFrame>>,
) -> Result<Response<RelayStream>, Status> {
    let partner = broker.partner(&request)?;
    let mut inbound = request.into_inner();
    let Some(RelayFrame {
        frame: Some(relay_frame::Frame::Open(open)),
    }) = inbound.message().await?
    else {
        return Err(Status::invalid_argument("the first frame opens the relay"));
    };
    let (running, role) = running(broker, &partner, &open.flow)?;
    let end = running
        .open_relay(role)
        .ok_or_else(|| Status::already_exists("this side of the flow's relay was opened before: a flow is matched once, ask for a new one"))?;
    let (to_other, from_other) = end.split();
    let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
    tokio::spawn(outbound(from_other, sender));
    tokio::spawn(forward(broker.clone(), running, role, inbound, to_other));
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// Hands the other side's frames to this one.
async fn outbound(
    mut from_other: mpsc::Receiver<Vec<u8>>,
    sender: mpsc::Sender<Result<RelayFrame, Status>>,
) {
    while let Some(noise) = from_other.recv().await {
        let frame = RelayFrame {
            frame: Some(relay_frame::Frame::Noise(noise)),
        };
        if sender.send(Ok(frame)).await.is_err() {
            return;
        }
    }
}

/// Passes one side's frames on until it closes. A connection that breaks ends the flow, because what was under way is lost.
async fn forward(
    broker: Arc<Broker>,
    running: Arc<Running>,
    role: Role,
    mut inbound: Streaming<RelayFrame>,
    mut to_other: RelaySender,
) {
    let reason = loop {
        let noise = match inbound.message().await {
            Ok(Some(RelayFrame {
                frame: Some(relay_frame::Frame::Noise(noise)),
            })) => noise,
            Ok(None) => return,
            Ok(Some(_)) => break format!("the {role}'s agent broke the relay's rules"),
            Err(_) => break format!("the connection to the {role}'s agent was lost"),
        };
        running.touch();
        match to_other.send(noise).await {
            Ok(()) => {}
            // The other side says why, or its connection broke and its own task ends the flow.
            Err(RelayError::OtherSideLeft) => return,
            Err(error) => break format!("the {role}'s agent broke the relay's rules: {error}"),
        }
    };
    broker.abort(running.grant.flow, "matching", &reason).await;
}

/// Takes the owner's sealed rows.
pub(crate) async fn rows(
    broker: &Arc<Broker>,
    request: Request<Streaming<RowsChunk>>,
) -> Result<Response<SubmitReply>, Status> {
    let partner = broker.partner(&request)?;
    let mut inbound = request.into_inner();
    let Some(RowsChunk {
        part: Some(rows_chunk::Part::Header(header)),
    }) = inbound.message().await?
    else {
        return Err(Status::invalid_argument("the first message is the header"));
    };
    let running = reserved(broker, &partner, &header.flow, Role::Owner)?;
    let flow = running.grant.flow;
    let layout = match check_columns(&running, &header.columns) {
        Ok(layout) => layout,
        Err(status) => {
            // Declared before a row is joined: a column outside the agreement stops the flow here.
            broker.abort(flow, "columns", status.message()).await;
            return Err(status);
        }
    };
    let received = async {
        let count_max = counterfoil_proto::limits::ROWS_MAX;
        let mut rows =
            Submission::rows(&header.session, header.count, count_max, layout).map_err(wire)?;
        while let Some(chunk) = inbound.message().await? {
            let Some(rows_chunk::Part::Rows(piece)) = chunk.part else {
                return Err(Status::invalid_argument("after the header come rows"));
            };
            running.touch();
            rows.push(&piece).map_err(wire)?;
        }
        rows.check_complete().map_err(wire)?;
        Ok(rows)
    };
    let received = received.await;
    submitted(broker, &running, Role::Owner, received).await
}

/// Takes the recipient's row keys.
pub(crate) async fn keys(
    broker: &Arc<Broker>,
    request: Request<Streaming<KeysChunk>>,
) -> Result<Response<SubmitReply>, Status> {
    let partner = broker.partner(&request)?;
    let mut inbound = request.into_inner();
    let Some(KeysChunk {
        part: Some(keys_chunk::Part::Header(header)),
    }) = inbound.message().await?
    else {
        return Err(Status::invalid_argument("the first message is the header"));
    };
    let running = reserved(broker, &partner, &header.flow, Role::Recipient)?;
    let received = async {
        // The recipient is held to the size that it declared, signed, and was granted.
        let count_max = u64::from(running.request.body().set_size);
        let mut keys = Submission::keys(&header.session, header.count, count_max).map_err(wire)?;
        while let Some(chunk) = inbound.message().await? {
            let Some(keys_chunk::Part::Keys(piece)) = chunk.part else {
                return Err(Status::invalid_argument("after the header come keys"));
            };
            running.touch();
            keys.push(&piece).map_err(wire)?;
        }
        keys.check_complete().map_err(wire)?;
        Ok(keys)
    };
    let received = received.await;
    submitted(broker, &running, Role::Recipient, received).await
}

async fn submitted(
    broker: &Arc<Broker>,
    running: &Arc<Running>,
    role: Role,
    received: Result<Submission, Status>,
) -> Result<Response<SubmitReply>, Status> {
    match received {
        Ok(submission) => {
            if let Some((rows, keys)) = running.submit(role, submission) {
                tokio::spawn(complete::run(broker.clone(), running.clone(), rows, keys));
            }
            Ok(Response::new(SubmitReply {}))
        }
        Err(status) => {
            let reason = format!("the {role}'s submission failed: {}", status.message());
            broker
                .abort(running.grant.flow, "submitting", &reason)
                .await;
            Err(status)
        }
    }
}

/// The columns must be the tags of the request, in its order.
fn check_columns(
    running: &Running,
    columns: &[counterfoil_proto::v1::Column],
) -> Result<Layout, Status> {
    let layout = Layout::from_wire(columns).map_err(wire)?;
    let asked = running.request.body().tags.iter().map(AsRef::as_ref);
    if layout.tags().eq(asked) {
        return Ok(layout);
    }
    let outside = layout.tags().find(|tag| {
        !running
            .agreement
            .tags()
            .iter()
            .any(|t| t.name().as_str() == *tag)
    });
    Err(Status::failed_precondition(match outside {
        Some(_) => {
            "a column of the owner's rows is outside the agreement: nothing was joined; correct the owner's dataset config"
        }
        None => {
            "the owner's columns are not the tags of the request, in its order: nothing was joined; use the same version of `counterfoil` on both sides"
        }
    }))
}

fn running(
    broker: &Broker,
    partner: &Partner,
    flow: &[u8],
) -> Result<(Arc<Running>, Role), Status> {
    broker
        .flows
        .get(flow_id(flow)?)
        .and_then(|running| {
            let role = running.role(&partner.org)?;
            Some((running, role))
        })
        .ok_or_else(|| {
            Status::not_found(
                "no such flow of yours is running: it was never granted, or it has ended",
            )
        })
}

fn reserved(
    broker: &Broker,
    partner: &Partner,
    flow: &[u8],
    role: Role,
) -> Result<Arc<Running>, Status> {
    let (running, own) = running(broker, partner, flow)?;
    if own != role {
        return Err(Status::permission_denied(
            "this submission is the other side's to make",
        ));
    }
    if !running.reserve(role) {
        return Err(Status::already_exists("this side has submitted already"));
    }
    Ok(running)
}
