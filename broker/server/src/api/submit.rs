//! Relay and submissions: the streams of a running flow.

use std::pin::pin;
use std::sync::Arc;

use counterfoil_policy::coarse::CoarseCount;
use counterfoil_policy::consent::Scope;
use counterfoil_proto::WireError;
use counterfoil_proto::limits::ROWS_MAX;
use counterfoil_proto::payload::Layout;
use counterfoil_proto::v1::{
    Consent, KeysChunk, RelayFrame, RowsChunk, SubmitReply, keys_chunk, relay_frame, rows_chunk,
};
use counterfoil_psi::Role;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{flow_id, to_its_end, wire};
use crate::broker::{Broker, Partner};
use crate::flow::complete;
use crate::flow::registry::Running;
use crate::flow::relay::{RelayError, RelaySender};
use crate::flow::submission::Submission;

/// Frames that wait for a slow reader, beside those in the relay itself.
const FRAMES: usize = 4;

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
    let (sender, receiver) = mpsc::channel(FRAMES);
    tokio::spawn(outbound(running.clone(), from_other, sender));
    tokio::spawn(forward(broker.clone(), running, role, inbound, to_other));
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// Hands the other side's frames to this one, until either leaves or the flow ends.
async fn outbound(
    running: Arc<Running>,
    mut from_other: mpsc::Receiver<Vec<u8>>,
    sender: mpsc::Sender<Result<RelayFrame, Status>>,
) {
    let pass_on = async {
        while let Some(noise) = from_other.recv().await {
            let frame = RelayFrame {
                frame: Some(relay_frame::Frame::Noise(noise)),
            };
            if sender.send(Ok(frame)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = running.ended().cancelled() => {}
        () = pass_on => {}
    }
}

/// Passes one side's frames on until it closes. A connection that breaks ends the flow, because what was under way is lost,
/// unless that side's submission is in already.
async fn forward(
    broker: Arc<Broker>,
    running: Arc<Running>,
    role: Role,
    inbound: Streaming<RelayFrame>,
    to_other: RelaySender,
) {
    let broken = tokio::select! {
        () = running.ended().cancelled() => return,
        broken = pass_on(&running, role, inbound, to_other) => broken,
    };
    if let Err(reason) = broken {
        broker.abort(running.grant.flow, "matching", &reason).await;
    }
}

async fn pass_on(
    running: &Running,
    role: Role,
    mut inbound: Streaming<RelayFrame>,
    mut to_other: RelaySender,
) -> Result<(), String> {
    loop {
        let noise = match inbound.message().await {
            Ok(Some(RelayFrame {
                frame: Some(relay_frame::Frame::Noise(noise)),
            })) => noise,
            Ok(None) => return Ok(()),
            Ok(Some(_)) => return Err(format!("the {role}'s agent broke the relay's rules")),
            Err(_) if running.has_submitted(role) => return Ok(()),
            Err(_) => return Err(format!("the connection to the {role}'s agent was lost")),
        };
        running.touch();
        match to_other.send(noise).await {
            Ok(()) => {}
            // The other side says why, or its connection broke and its own task ends the flow.
            Err(RelayError::OtherSideLeft) => return Ok(()),
            Err(error) => {
                return Err(format!(
                    "the {role}'s agent broke the relay's rules: {error}"
                ));
            }
        }
    }
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
    let broker = broker.clone();
    to_its_end(async move {
        let checked = check_columns(&running, &header.columns)
            .and_then(|layout| check_consent(&running, layout, header.consent.as_ref()));
        let (layout, withheld) = match checked {
            Ok(checked) => checked,
            Err(status) => {
                // Declared before a row is joined: a column outside the agreement stops the flow here.
                let flow = running.grant.flow;
                broker.abort(flow, "columns", status.message()).await;
                return Err(status);
            }
        };
        let rows = Submission::rows(&header.session, header.count, ROWS_MAX, layout)
            .map(|rows| rows.withholding(withheld));
        let pieces = inbound.map(|chunk| match chunk?.part {
            Some(rows_chunk::Part::Rows(piece)) => Ok(piece),
            _ => Err(Status::invalid_argument("after the header come rows")),
        });
        let received = receive(&broker, &running, &partner, rows, pieces).await;
        submitted(&broker, &running, Role::Owner, received).await
    })
    .await
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
    let broker = broker.clone();
    to_its_end(async move {
        // The recipient is held to the size that it declared, signed, and was granted.
        let count_max = u64::from(running.request.body().set_size);
        let keys = Submission::keys(&header.session, header.count, count_max);
        let pieces = inbound.map(|chunk| match chunk?.part {
            Some(keys_chunk::Part::Keys(piece)) => Ok(piece),
            _ => Err(Status::invalid_argument("after the header come keys")),
        });
        let received = receive(&broker, &running, &partner, keys, pieces).await;
        submitted(&broker, &running, Role::Recipient, received).await
    })
    .await
}

/// Takes the pieces of a submission, as many bytes as its header declared and its institution may have in memory.
async fn receive(
    broker: &Broker,
    running: &Running,
    partner: &Partner,
    declared: Result<Submission, WireError>,
    pieces: impl Stream<Item = Result<Vec<u8>, Status>>,
) -> Result<Submission, Status> {
    let mut submission = declared.map_err(wire)?;
    let budget = &broker.flows.budget;
    let share = budget
        .take(&partner.org, submission.bytes_expected())
        .ok_or_else(|| {
            Status::resource_exhausted(
                "the broker holds as many rows in memory as it may: ask again when other flows have ended",
            )
        })?;
    submission.keep(share);
    let mut pieces = pin!(pieces);
    loop {
        let piece = tokio::select! {
            () = running.ended().cancelled() => return Err(over()),
            piece = pieces.next() => piece,
        };
        let Some(piece) = piece else { break };
        running.touch();
        submission.push(&piece?).map_err(wire)?;
    }
    submission.check_complete().map_err(wire)?;
    Ok(submission)
}

fn over() -> Status {
    Status::aborted("the flow has ended: watch it to see why")
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
            let flow = running.grant.flow;
            broker
                .abort(flow, "submitting", &why_broken(role, &status))
                .await;
            Err(status)
        }
    }
}

/// Our own words of what was wrong; of a connection that broke, only that.
fn why_broken(role: Role, status: &Status) -> String {
    match status.code() {
        Code::InvalidArgument | Code::ResourceExhausted => {
            format!("the {role}'s submission was refused: {}", status.message())
        }
        _ => format!("the connection to the {role}'s agent was lost while it submitted"),
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

/// What the owner says that people consented to must be what the agreement asks for, and there if it asks.
fn check_consent(
    running: &Running,
    layout: Layout,
    declared: Option<&Consent>,
) -> Result<(Layout, Option<CoarseCount>), Status> {
    let asked = running.request.body();
    let expected = Scope::of(&running.agreement, &asked.tags, asked.segment.as_ref());
    let (declared, expected) = match (declared, expected) {
        (None, None) => return Ok((layout, None)),
        (Some(declared), Some(expected)) => (declared, expected),
        (None, Some(_)) => {
            return Err(Status::failed_precondition(
                "the agreement asks for consent proofs, and the owner's rows have none: nothing was joined",
            ));
        }
        (Some(_), None) => {
            return Err(Status::failed_precondition(
                "the owner's rows have consent proofs, and the agreement asks for none: nothing was joined",
            ));
        }
    };
    let categories = expected.categories.iter().map(AsRef::as_ref);
    let same = declared.recipient == expected.recipient.as_str()
        && declared.contact == expected.contact.as_str()
        && declared.purpose == expected.purpose.as_str()
        && declared.method == expected.method.as_str()
        && declared
            .categories
            .iter()
            .map(String::as_str)
            .eq(categories);
    if !same {
        return Err(Status::failed_precondition(
            "what people consented to is not what the agreement is for (recipient, contact, purpose, method, categories): nothing was joined",
        ));
    }
    let withheld = declared.withheld.parse().map_err(|_| {
        Status::invalid_argument("the count of rows without a proof is not a coarse count")
    })?;
    Ok((layout.proven(), Some(withheld)))
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
