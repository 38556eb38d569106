//! Flows over the wire: the parts stand in `request`, `submit` and `fetch`.

use std::sync::Arc;

use counterfoil_audit::entry::FlowDeclined;
use counterfoil_policy::moment::Timestamp;
use counterfoil_proto::v1::flows_server::Flows;
use counterfoil_proto::v1::{
    AcknowledgeReply, AcknowledgeRequest, BucketsReply, BudgetReply, BudgetRequest,
    CanaryCommitment, CanaryReply, DeclineReply, DeclineRequest, FlowRef, FlowReply, FlowRequest,
    KeysChunk, KeysReply, ListenRequest, Offer, RelayFrame, RowsChunk, RowsReply,
};
use time::OffsetDateTime;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{canaries, digest, failed, fetch, flow_id, relay, request, submit, to_its_end};
use crate::broker::Broker;
use crate::decide::budgets;
use crate::flow::rendezvous::Shard;
use crate::refusal::{label, sentence, would_pass};

/// Flows.
pub(crate) struct FlowsService(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl Flows for FlowsService {
    async fn request(&self, request: Request<FlowRequest>) -> Result<Response<FlowReply>, Status> {
        request::request(&self.0, request).await
    }

    type ListenStream = ReceiverStream<Result<Offer, Status>>;

    async fn listen(
        &self,
        request: Request<ListenRequest>,
    ) -> Result<Response<Self::ListenStream>, Status> {
        let partner = self.0.partner(&request)?;
        let ListenRequest { shard, shards } = request.into_inner();
        let shard = Shard::new(shard, shards.max(1))
            .ok_or_else(|| Status::invalid_argument("there is no such shard"))?;
        let offers = self.0.flows.listen(partner.org, shard);
        Ok(Response::new(ReceiverStream::new(offers)))
    }

    async fn decline(
        &self,
        request: Request<DeclineRequest>,
    ) -> Result<Response<DeclineReply>, Status> {
        let broker = self.0.clone();
        let partner = broker.recorded_partner(&request)?;
        let request = request.into_inner();
        let flow = flow_id(&request.flow)?;
        let role = broker
            .flows
            .get(flow)
            .and_then(|running| running.role(&partner.org));
        // Either side may: the owner will not take part, or the recipient cannot go on.
        if role.is_none() {
            return Err(Status::not_found("no such flow of yours is running"));
        }
        // That side's own words, which both sides and an auditor will read.
        let decision = counterfoil_audit::entry::Decision {
            outcome: label("declined"),
            code: label(&request.code),
            field: Some(label(&request.field)).filter(|_| !request.field.is_empty()),
            rule: None,
            source: None,
            message: sentence(&request.message),
            would_pass: would_pass(&request.would_pass),
        };
        let org = partner.org.clone();
        // Whoever says it: a recipient can make the owner's agent unable to go on.
        let event = move |spent| FlowDeclined {
            flow,
            org,
            decision,
            spent,
        };
        let declined =
            to_its_end(async move { Ok(broker.end(&partner.actor(), flow, event).await) }).await?;
        if declined {
            return Ok(Response::new(DeclineReply {}));
        }
        Err(Status::failed_precondition(
            "the flow has ended; nothing needs to be done",
        ))
    }

    async fn commit_canaries(
        &self,
        request: Request<CanaryCommitment>,
    ) -> Result<Response<CanaryReply>, Status> {
        canaries::commit(&self.0, request).await
    }

    type RelayStream = relay::RelayStream;

    async fn relay(
        &self,
        request: Request<Streaming<RelayFrame>>,
    ) -> Result<Response<Self::RelayStream>, Status> {
        relay::relay(&self.0, request).await
    }

    async fn submit_rows(
        &self,
        request: Request<Streaming<RowsChunk>>,
    ) -> Result<Response<RowsReply>, Status> {
        submit::rows(&self.0, request).await
    }

    async fn submit_keys(
        &self,
        request: Request<Streaming<KeysChunk>>,
    ) -> Result<Response<KeysReply>, Status> {
        submit::keys(&self.0, request).await
    }

    async fn buckets(&self, request: Request<FlowRef>) -> Result<Response<BucketsReply>, Status> {
        submit::buckets(&self.0, request)
    }

    type WatchStream = fetch::StatusStream;

    async fn watch(
        &self,
        request: Request<FlowRef>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        fetch::watch(&self.0, request)
    }

    type FetchStream = fetch::DeliveryStream;

    async fn fetch(
        &self,
        request: Request<FlowRef>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        fetch::fetch(&self.0, request).await
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeReply>, Status> {
        fetch::acknowledge(&self.0, request).await
    }

    async fn budget(
        &self,
        request: Request<BudgetRequest>,
    ) -> Result<Response<BudgetReply>, Status> {
        budget(&self.0, request)
    }
}

/// What the caller can still spend under an agreement of which it is the recipient. Of what others spent it is told no more than
/// what the smaller of both budgets leaves it.
fn budget(
    broker: &Broker,
    request: Request<BudgetRequest>,
) -> Result<Response<BudgetReply>, Status> {
    let partner = broker.partner(&request)?;
    let agreement = digest(&request.into_inner().agreement)?;
    let now = Timestamp::from_unix_seconds(OffsetDateTime::now_utc().unix_timestamp())
        .ok_or_else(|| failed("the clock cannot be told"))?;
    let left = broker.ledger.read(|state| {
        let record = state.agreements.get(&agreement)?;
        let asks = record.agreement.recipient().name.as_str() == partner.org.as_str();
        asks.then(|| budgets::left(state, &record.agreement, now))
    });
    let left = left.ok_or_else(|| {
        Status::not_found("no agreement of this content is known of which you are the recipient")
    })?;
    Ok(Response::new(BudgetReply {
        epsilon: left.epsilon.to_string(),
        delta: left.delta.to_string(),
    }))
}
