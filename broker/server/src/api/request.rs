//! A recipient asks for a flow.

use std::sync::Arc;

use counterfoil_audit::entry::OrgName;
use counterfoil_policy::request::SignedRequest;
use counterfoil_proto::v1::flow_reply::Result as Answer;
use counterfoil_proto::v1::{FlowReply, FlowRequest, Grant, Offer};
use tonic::{Request, Response, Status};

use super::refused;
use crate::broker::Broker;
use crate::decide::flows::{self, Granted, Situation};
use crate::log::Recorded;
use crate::refusal::Refusal;

/// Flows of one institution that may run at one time: each may hold a submission of some hundred megabytes.
const RUNNING_MAX: usize = 8;

/// Decides, records, and offers a granted flow to the owner's agent.
pub(crate) async fn request(
    broker: &Arc<Broker>,
    request: Request<FlowRequest>,
) -> Result<Response<FlowReply>, Status> {
    let partner = broker.partner(&request)?;
    let json = request.into_inner().signed_request;
    let signed =
        SignedRequest::from_json(&json).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let recorded: Recorded<Result<Granted, Refusal>> = broker
        .ledger
        .commit(&partner.actor(), |state, now| {
            Ok::<_, Refusal>(flows::request(
                state,
                now,
                &partner.org,
                &signed,
                |agreement| {
                    let owner = OrgName::new(agreement.owner().name.as_str()).ok();
                    Situation {
                        owner_listens: owner.is_some_and(|owner| broker.flows.is_listening(&owner)),
                        recipient_busy: broker.flows.count(&partner.org) >= RUNNING_MAX,
                    }
                },
            ))
        })
        .await
        .map_err(refused)?;
    let entry = recorded.index();
    let result = match recorded.into_value() {
        Err(refusal) => Answer::Denied(refusal.denial(entry)),
        Ok(granted) => {
            start(broker, granted, json).await;
            Answer::Granted(Grant { entry })
        }
    };
    Ok(Response::new(FlowReply {
        result: Some(result),
    }))
}

async fn start(broker: &Arc<Broker>, granted: Granted, signed_request: Vec<u8>) {
    let flow = granted.event.flow;
    let owner = granted.event.source.org.clone();
    broker
        .flows
        .start(granted.event, granted.agreement, granted.request);
    if !broker.flows.offer(&owner, Offer { signed_request }) {
        let reason = "the owner's agent disconnected before it could be asked; try again";
        broker.abort(flow, "offer", reason).await;
    }
}
