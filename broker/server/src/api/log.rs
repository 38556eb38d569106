//! The log, as far as a partner may see it: checkpoints and proofs for everybody, entries for those they concern.

use std::sync::Arc;

use counterfoil_audit::entry::{Entry, Event};
use counterfoil_audit::entry::{FlowId, OrgName};
use counterfoil_proto::v1::log_server::Log;
use counterfoil_proto::v1::{
    CheckpointReply, CheckpointRequest, ConsistencyReply, ConsistencyRequest, Receipt,
    ReceiptsRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{STREAM_CHUNKS, flow_id, internal};
use crate::broker::Broker;
use crate::error::Error;

/// Log.
pub(crate) struct LogService(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl Log for LogService {
    async fn checkpoint(
        &self,
        request: Request<CheckpointRequest>,
    ) -> Result<Response<CheckpointReply>, Status> {
        if self.0.require_operator(&request).is_err() {
            self.0.partner(&request)?;
        }
        let checkpoint = self.0.ledger.checkpoint().map_err(internal)?;
        Ok(Response::new(CheckpointReply {
            note: checkpoint.signed().as_str().to_owned(),
        }))
    }

    async fn consistency(
        &self,
        request: Request<ConsistencyRequest>,
    ) -> Result<Response<ConsistencyReply>, Status> {
        self.0.partner(&request)?;
        let ConsistencyRequest { old_size, new_size } = request.into_inner();
        let proof = self
            .0
            .ledger
            .consistency(old_size, new_size)
            .map_err(|e| Status::out_of_range(e.to_string()))?;
        let hashes = proof
            .hashes()
            .iter()
            .map(|h| h.as_bytes().to_vec())
            .collect();
        Ok(Response::new(ConsistencyReply { hashes }))
    }

    type ReceiptsStream = ReceiverStream<Result<Receipt, Status>>;

    async fn receipts(
        &self,
        request: Request<ReceiptsRequest>,
    ) -> Result<Response<Self::ReceiptsStream>, Status> {
        let org = self.0.partner(&request)?.org;
        let bytes = request.into_inner().flow;
        let flow = if bytes.is_empty() {
            None
        } else {
            Some(flow_id(&bytes)?)
        };
        let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
        let broker = self.0.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = send_receipts(&broker, &org, flow, &sender) {
                let _ = sender.blocking_send(Err(internal(error)));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn send_receipts(
    broker: &Broker,
    org: &OrgName,
    flow: Option<FlowId>,
    to: &mpsc::Sender<Result<Receipt, Status>>,
) -> Result<(), Error> {
    // One checkpoint for all, so that whoever gets them can put them together.
    let checkpoint = broker.ledger.checkpoint()?;
    for index in 0..checkpoint.size() {
        let entry = broker.ledger.entry(index)?;
        let entry = entry.parse().map_err(|e| Error::Log(e.to_string()))?;
        let wanted = flow.is_none() || entry.event().flow() == flow;
        if !wanted || !concerns(broker, &entry, org) {
            continue;
        }
        let text = broker.ledger.receipt(index, &checkpoint)?.to_string();
        if to.blocking_send(Ok(Receipt { text })).is_err() {
            // The caller left.
            return Ok(());
        }
    }
    Ok(())
}

/// Whether an entry is about this institution.
fn concerns(broker: &Broker, entry: &Entry, org: &OrgName) -> bool {
    let of_agreement = |sha256| {
        broker.ledger.read(|state| {
            let record = state.agreements.get(sha256);
            record.is_some_and(|record| record.concerns(org))
        })
    };
    let of_flow = |flow| {
        broker.ledger.read(|state| {
            let grant = state.flow(flow).and_then(|flow| flow.grant.as_ref());
            grant.is_some_and(|grant| grant.source.org == *org || grant.recipient.org == *org)
        })
    };
    match entry.event() {
        Event::InviteIssued(e) => e.org == *org,
        Event::PartnerJoined(e) => e.org == *org,
        Event::PartnerRevoked(e) => e.org == *org,
        Event::AgreementProposed(e) => of_agreement(&e.agreement.sha256),
        Event::AgreementCountersigned(e) => of_agreement(&e.agreement.sha256),
        Event::AgreementRevoked(e) => of_agreement(&e.agreement.sha256),
        // A refusal is between the broker and whom it refused: the other side does not learn of attempts.
        Event::AgreementRefused(_) | Event::FlowDenied(_) => entry.actor().org == *org,
        event => event.flow().is_some_and(of_flow),
    }
}
