//! A recipient asks for a flow.

use std::sync::Arc;

use counterfoil_audit::entry::OrgName;
use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::request::SignedRequest;
use counterfoil_proto::v1::flow_reply::Result as Answer;
use counterfoil_proto::v1::{FlowReply, FlowRequest, Grant, Offer};
use tonic::{Request, Response, Status};

use super::{off_thread, refused, to_its_end};
use crate::broker::{Broker, Partner};
use crate::decide::flows::{self, Granted, Situation};
use crate::log::Recorded;
use crate::refusal::Refusal;

/// Flows of one institution that may run at one time.
const RUNNING_MAX: usize = 8;

/// Decides, records, and offers a granted flow to the owner's agent.
pub(crate) async fn request(
    broker: &Arc<Broker>,
    request: Request<FlowRequest>,
) -> Result<Response<FlowReply>, Status> {
    let partner = broker.recorded_partner(&request)?;
    let json = request.into_inner().signed_request;
    let signed =
        SignedRequest::from_json(&json).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let broker = broker.clone();
    to_its_end(async move { decide(&broker, &partner, &signed, json).await }).await
}

async fn decide(
    broker: &Arc<Broker>,
    partner: &Partner,
    signed: &SignedRequest,
    json: Vec<u8>,
) -> Result<Response<FlowReply>, Status> {
    let recorded: Recorded<Result<Granted, Refusal>> = broker
        .ledger
        .commit(&partner.actor(), |state, now| {
            let situation = |agreement: &Agreement| situation(broker, &partner.org, agreement);
            let decided =
                flows::request(state, now, &partner.org, signed, &broker.regime, situation);
            // Before the lock is let go, so that the next request counts this flow and a revocation that comes next
            // ends it.
            if let Ok(granted) = &decided.value {
                broker.flows.start(
                    granted.event.clone(),
                    granted.agreement.clone(),
                    granted.request.clone(),
                    Offer {
                        signed_request: json.clone(),
                    },
                );
            }
            Ok::<_, Refusal>(decided)
        })
        .await
        .map_err(refused)?;
    let entry = recorded.index();
    let result = match recorded.into_value() {
        Err(refusal) => Answer::Denied(refusal.denial(entry)),
        Ok(granted) => {
            offer(broker, &granted, json).await;
            Answer::Granted(Grant { entry })
        }
    };
    Ok(Response::new(FlowReply {
        result: Some(result),
    }))
}

fn situation(broker: &Broker, recipient: &OrgName, agreement: &Agreement) -> Situation {
    let owner = OrgName::new(agreement.owner().name.as_str()).ok();
    Situation {
        owner_listens: owner.is_some_and(|owner| broker.flows.is_listening(&owner)),
        recipient_busy: broker.flows.count(recipient) >= RUNNING_MAX,
    }
}

/// Only now, that the grant is durable, does anybody hear of the flow.
async fn offer(broker: &Arc<Broker>, granted: &Granted, signed_request: Vec<u8>) {
    let flow = granted.event.flow;
    // Without it a restart closes the flow, which is no reason not to go on.
    let kept = {
        let broker = broker.clone();
        off_thread(move || {
            broker
                .running
                .store_request(*flow.as_bytes(), &signed_request)
        })
        .await
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "a request could not be kept");
    }
    if !broker.flows.admit(flow) {
        // Revoked in the meantime, and recorded as that.
        broker.close(flow);
        return;
    }
    if !broker.flows.offer(flow) {
        let reason = "the owner's agent disconnected before it could be asked; try again";
        broker.abort(flow, "offer", reason).await;
    }
}
