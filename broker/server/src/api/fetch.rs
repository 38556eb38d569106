//! Following a flow, and fetching what it released.

use std::sync::Arc;

use counterfoil_audit::entry::FlowId;
use counterfoil_audit::entry::Integer;
use counterfoil_audit::entry::{Decision, DeliveryAcknowledged, Outcome, ReleaseOutcome};
use counterfoil_proto::v1::delivery_chunk::Part;
use counterfoil_proto::v1::flow_status::Stage as WireStage;
use counterfoil_proto::v1::{
    AcknowledgeReply, AcknowledgeRequest, DeliveryChunk, Denial, FlowRef, FlowStatus,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{STREAM_CHUNKS, digest, flow_id, internal, refused};
use crate::broker::{Broker, Partner};
use crate::flow::release::{Released, record_outcome};
use crate::log::Decided;
use crate::refusal::Refusal;
use crate::state::agreements::Status as AgreementStatus;
use crate::state::flows::Stage;

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
    check_party(broker, &partner, flow)?;
    let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
    let broker = broker.clone();
    tokio::spawn(async move {
        if let Some(mut stage) = broker.flows.get(flow).map(|running| running.watch()) {
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
                let closed = tokio::select! {
                    changed = stage.changed() => changed.is_err(),
                    () = sender.closed() => return,
                };
                if closed {
                    break;
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
        message: decision.advice.to_string(),
        would_pass: String::new(),
        entry,
    }
}

/// Sends the receipt, and to the recipient the sealed delivery. May be repeated: the same bytes go out again.
pub(crate) fn fetch(
    broker: &Arc<Broker>,
    request: Request<FlowRef>,
) -> Result<Response<DeliveryStream>, Status> {
    let partner = broker.partner(&request)?;
    let flow = flow_id(&request.into_inner().flow)?;
    let is_recipient = check_party(broker, &partner, flow)?;
    let recorded = broker.ledger.release(flow).ok_or_else(|| {
        Status::not_found(
            "nothing was released in this flow: see how it ended with `counterfoil audit show`",
        )
    })?;
    let stands = broker.ledger.read(|state| {
        let agreement = state.agreements.get(&recorded.value().agreement.sha256);
        agreement.is_some_and(|record| record.status != AgreementStatus::Revoked)
    });
    if is_recipient && !stands {
        let intent = Integer::new(recorded.index()).map_err(|e| Status::internal(e.to_string()))?;
        let outcome = ReleaseOutcome {
            flow,
            intent,
            outcome: Outcome::Withdrawn,
        };
        let broker = broker.clone();
        tokio::spawn(async move { record_outcome(&broker, outcome).await });
        return Err(Status::failed_precondition(
            "the agreement was revoked before the delivery was fetched: it is withdrawn",
        ));
    }
    let receipt = broker
        .ledger
        .checkpoint()
        .and_then(|checkpoint| broker.ledger.receipt(recorded.index(), &checkpoint))
        .map_err(internal)?;
    let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
    let broker = broker.clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let first = DeliveryChunk {
            part: Some(Part::Receipt(receipt.to_string())),
        };
        if sender.blocking_send(Ok(first)).is_err() || !is_recipient {
            return;
        }
        match Released::open(recorded, &broker.deliveries)
            .and_then(|released| released.send(&sender))
        {
            Ok(outcome) => runtime.block_on(record_outcome(&broker, outcome)),
            Err(error) => {
                let _ = sender.blocking_send(Err(internal(error)));
            }
        }
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// The recipient says which bytes it opened.
pub(crate) async fn acknowledge(
    broker: &Arc<Broker>,
    request: Request<AcknowledgeRequest>,
) -> Result<Response<AcknowledgeReply>, Status> {
    let partner = broker.partner(&request)?;
    let request = request.into_inner();
    let flow = flow_id(&request.flow)?;
    let sha256 = digest(&request.sha256)?;
    if !check_party(broker, &partner, flow)? {
        return Err(Status::permission_denied(
            "the recipient acknowledges a delivery",
        ));
    }
    let released = broker.ledger.release(flow);
    if released.is_none_or(|released| released.value().result.sha256 != sha256) {
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
