//! Following a flow, and fetching what it released.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::entry::FlowId;
use counterfoil_audit::entry::{Decision, DeliveryAcknowledged, Outcome};
use counterfoil_proto::v1::delivery_chunk::Part;
use counterfoil_proto::v1::flow_status::Stage as WireStage;
use counterfoil_proto::v1::{
    AcknowledgeReply, AcknowledgeRequest, DeliveryChunk, Denial, FlowRef, FlowStatus,
};
use counterfoil_psi::Role;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{STREAM_CHUNKS, digest, failed, flow_id, off_thread, refused};
use crate::broker::{Broker, Partner};
use crate::flow::release::{Released, Unsent, may_leave, outcome, record_outcome};
use crate::log::{Decided, RecordedRelease};
use crate::refusal::Refusal;
use crate::state::flows::Stage;

/// How long a reader may take to make room for the reason why its stream ends.
const REASON_MAX: Duration = Duration::from_secs(10);

/// What a fetch returns.
pub(crate) type DeliveryStream = ReceiverStream<Result<DeliveryChunk, Status>>;
/// What a watch returns.
pub(crate) type StatusStream = ReceiverStream<Result<FlowStatus, Status>>;

/// Follows a flow to its end.
pub(crate) fn watch(
    broker: &Arc<Broker>,
    request: Request<FlowRef>,
) -> Result<Response<StatusStream>, Status> {
    let partner = broker.partner(&request)?;
    let flow = flow_id(&request.into_inner().flow)?;
    let is_recipient = check_party(broker, &partner, flow)?;
    let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
    let broker = broker.clone();
    tokio::spawn(async move {
        if let Some(running) = broker.flows.get(flow) {
            let role = if is_recipient {
                Role::Recipient
            } else {
                Role::Owner
            };
            let _present = running.attend(role);
            let mut stage = running.watch();
            loop {
                let now = *stage.borrow_and_update();
                let status = FlowStatus {
                    stage: now.into(),
                    denial: None,
                };
                let ended = tokio::select! {
                    sent = sender.send(Ok(status)) => sent.is_err(),
                    () = sender.closed() => true,
                };
                if ended {
                    return;
                }
                tokio::select! {
                    // First: what has ended tells no further stage.
                    biased;
                    () = running.ended().cancelled() => break,
                    () = sender.closed() => return,
                    // Never an error: `running` holds the other end.
                    _ = stage.changed() => {}
                }
            }
        }
        // Not running any more: the log knows how it ended.
        if let Some(status) = ended(&broker, flow) {
            let _ = sender.send(Ok(status)).await;
        }
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

fn ended(broker: &Broker, flow: FlowId) -> Option<FlowStatus> {
    let stage = broker
        .ledger
        .read(|state| state.flow(flow).map(|f| f.stage.clone()))?;
    Some(match stage {
        Stage::Running => FlowStatus {
            stage: WireStage::Granted.into(),
            denial: None,
        },
        Stage::Released { .. } => FlowStatus {
            stage: WireStage::Released.into(),
            denial: None,
        },
        Stage::Closed {
            decision,
            entry,
            aborted,
        } => FlowStatus {
            stage: if aborted {
                WireStage::Aborted
            } else {
                WireStage::Refused
            }
            .into(),
            denial: Some(denial(&decision, entry)),
        },
    })
}

fn denial(decision: &Decision, entry: u64) -> Denial {
    Denial {
        code: decision.code.to_string(),
        field: decision
            .field
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        message: decision.message.to_string(),
        would_pass: decision
            .would_pass
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        entry,
    }
}

/// Sends the receipt, and to the recipient the sealed delivery. May be repeated: the same bytes go out again.
pub(crate) async fn fetch(
    broker: &Arc<Broker>,
    request: Request<FlowRef>,
) -> Result<Response<DeliveryStream>, Status> {
    let partner = broker.partner(&request)?;
    let flow = flow_id(&request.into_inner().flow)?;
    let is_recipient = check_party(broker, &partner, flow)?;
    let reader = broker.readers.add(&partner.org)?;
    let recorded = recorded(broker, flow).await?;
    let leaves = broker
        .ledger
        .read(|state| may_leave(state, recorded.intent()));
    if is_recipient && !leaves {
        let (broker, withdrawn) = (broker.clone(), outcome(&recorded, Outcome::Withdrawn));
        tokio::spawn(async move { record_outcome(&broker, withdrawn).await });
        return Err(Status::failed_precondition(
            "the agreement or a party of it was revoked before the delivery was fetched: it is withdrawn",
        ));
    }
    let opening = broker.clone();
    let (receipt, released) = off_thread(move || {
        let checkpoint = opening.ledger.checkpoint()?;
        let index = recorded.index().value();
        let receipt = opening.ledger.receipt(index, &checkpoint)?;
        let released = is_recipient.then(|| Released::open(recorded, &opening.deliveries));
        Ok((receipt.to_string(), released.transpose()?))
    })
    .await?;
    let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
    let broker = broker.clone();
    tokio::spawn(async move {
        let first = DeliveryChunk {
            part: Some(Part::Receipt(receipt)),
        };
        if sender.send(Ok(first)).await.is_ok()
            && let Some(released) = released
        {
            send(&broker, released, &sender).await;
        }
        drop(reader);
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

async fn recorded(broker: &Arc<Broker>, flow: FlowId) -> Result<RecordedRelease, Status> {
    let broker = broker.clone();
    let recorded = off_thread(move || Ok(broker.ledger.release(flow))).await?;
    recorded.ok_or_else(|| {
        Status::not_found(
            "nothing was released in this flow: ask again with `counterfoil exchange`",
        )
    })
}

async fn send(
    broker: &Broker,
    released: Released,
    to: &mpsc::Sender<Result<DeliveryChunk, Status>>,
) {
    let status = match released.send(broker, to).await {
        Ok(outcome) => return record_outcome(broker, outcome).await,
        // Nobody is there to be told.
        Err(Unsent::RecipientLeft) => return,
        Err(error @ Unsent::Withdrawn) => Status::failed_precondition(error.to_string()),
        Err(error @ Unsent::Read(_)) => failed(error),
    };
    let _ = to.send_timeout(Err(status), REASON_MAX).await;
}

/// The recipient says which bytes it opened.
pub(crate) async fn acknowledge(
    broker: &Arc<Broker>,
    request: Request<AcknowledgeRequest>,
) -> Result<Response<AcknowledgeReply>, Status> {
    let partner = broker.recorded_partner(&request)?;
    let request = request.into_inner();
    let flow = flow_id(&request.flow)?;
    let sha256 = digest(&request.sha256)?;
    if !check_party(broker, &partner, flow)? {
        return Err(Status::permission_denied(
            "the recipient acknowledges a delivery",
        ));
    }
    if recorded(broker, flow).await?.intent().result.sha256 != sha256 {
        return Err(Status::failed_precondition(
            "this is not what was released in the flow",
        ));
    }
    let known = |state: &crate::state::State| match state.flow(flow).map(|flow| &flow.stage) {
        Some(Stage::Released { acknowledged, .. }) => *acknowledged,
        _ => None,
    };
    if let Some(entry) = broker.ledger.read(known) {
        return Ok(Response::new(AcknowledgeReply { entry }));
    }
    let recorded = broker
        .ledger
        .commit(&partner.actor(), |state, _| {
            if known(state).is_some() {
                return Err(Refusal::new(
                    "acknowledged",
                    "it was acknowledged before",
                    "-",
                ));
            }
            Ok(Decided {
                events: vec![DeliveryAcknowledged { flow, sha256 }.into()],
                value: (),
            })
        })
        .await
        .map_err(refused)?;
    Ok(Response::new(AcknowledgeReply {
        entry: recorded.index(),
    }))
}

/// Whether the caller is the recipient (else the owner) of a flow; others do not learn that it exists.
fn check_party(broker: &Broker, partner: &Partner, flow: FlowId) -> Result<bool, Status> {
    let role = broker.ledger.read(|state| {
        let grant = state.flow(flow)?.grant.as_ref()?;
        let (owner, recipient) = (&grant.source.org, &grant.recipient.org);
        (*recipient == partner.org)
            .then_some(true)
            .or((*owner == partner.org).then_some(false))
    });
    role.ok_or_else(|| Status::not_found("no such flow of yours was granted"))
}
