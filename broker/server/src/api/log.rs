//! The log, as far as a partner may see it: checkpoints and proofs for everybody, entries for those they concern.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_audit::entry::{FlowId, OrgName};
use counterfoil_proto::v1::log_server::Log;
use counterfoil_proto::v1::{
    CheckpointReply, CheckpointRequest, ConsistencyReply, ConsistencyRequest, Receipt,
    ReceiptsRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{STREAM_CHUNKS, flow_id, off_thread};
use crate::broker::Broker;

/// A reader that takes no receipt for so long is left.
const READER_MAX: Duration = Duration::from_secs(120);
/// Receipts that are made ahead of a reader: at most some megabytes.
const RECEIPTS_AT_ONCE: usize = 16;

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
        let broker = self.0.clone();
        let checkpoint = off_thread(move || broker.ledger.checkpoint()).await?;
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
            .ok_or_else(|| {
                Status::out_of_range(
                    "the log has not so many entries, or the old size is over the new",
                )
            })?;
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
        let reader = self.0.readers.add(&org)?;
        let bytes = request.into_inner().flow;
        let flow = if bytes.is_empty() {
            None
        } else {
            Some(flow_id(&bytes)?)
        };
        let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
        let broker = self.0.clone();
        tokio::spawn(async move {
            if let Err(status) = send_receipts(&broker, &org, flow, &sender).await {
                let _ = sender.send_timeout(Err(status), READER_MAX).await;
            }
            drop(reader);
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn send_receipts(
    broker: &Arc<Broker>,
    org: &OrgName,
    flow: Option<FlowId>,
    to: &mpsc::Sender<Result<Receipt, Status>>,
) -> Result<(), Status> {
    // One checkpoint for all, so that whoever gets them can put them together.
    let signing = broker.clone();
    let checkpoint = Arc::new(off_thread(move || signing.ledger.checkpoint()).await?);
    let indices = indices(broker, org, flow);
    for piece in indices.chunks(RECEIPTS_AT_ONCE) {
        let (broker, checkpoint, piece) = (broker.clone(), checkpoint.clone(), piece.to_vec());
        let made = off_thread(move || {
            piece
                .into_iter()
                .filter(|index| *index < checkpoint.size())
                .map(|index| broker.ledger.receipt(index, &checkpoint))
                .collect::<Result<Vec<_>, _>>()
        });
        for receipt in made.await? {
            let text = receipt.to_string();
            if to
                .send_timeout(Ok(Receipt { text }), READER_MAX)
                .await
                .is_err()
            {
                // The caller left, or takes nothing.
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Indices of the entries that an institution may see; of one flow, those of them that are about the flow.
fn indices(broker: &Broker, org: &OrgName, flow: Option<FlowId>) -> Vec<u64> {
    broker.ledger.read(|state| {
        let own = state.about(org);
        let Some(flow) = flow else {
            return own.to_vec();
        };
        let of_flow = state.flow(flow).map_or(&[][..], |flow| &flow.entries);
        let both = of_flow.iter().filter(|i| own.binary_search(i).is_ok());
        both.copied().collect()
    })
}
