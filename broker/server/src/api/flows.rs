//! Flows over the wire: the parts stand in `request`, `submit` and `fetch`.

use std::sync::Arc;

use counterfoil_audit::entry::FlowDeclined;
use counterfoil_proto::v1::flows_server::Flows;
use counterfoil_proto::v1::{
    AcknowledgeReply, AcknowledgeRequest, BucketsReply, DeclineReply, DeclineRequest, FlowRef,
    FlowReply, FlowRequest, KeysChunk, KeysReply, ListenRequest, Offer, RelayFrame, RowsChunk,
    RowsReply,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{fetch, flow_id, relay, request, submit, to_its_end};
use crate::broker::Broker;
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
        let offers = self.0.flows.listen(partner.org);
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
        let event = FlowDeclined {
            flow,
            org: partner.org.clone(),
            decision,
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
}
