//! What only the broker's operator may do.

use std::io::Write;
use std::sync::Arc;

use counterfoil_audit::entry::Digest;
use counterfoil_proto::limits::CHUNK_BYTES;
use counterfoil_proto::v1::operator_server::Operator;
use counterfoil_proto::v1::{
    AddOfficerRequest, ApproveAssessmentRequest, AssessmentsReply, AssessmentsRequest, ExportChunk,
    ExportRequest, InviteReply, InviteRequest, ProposeAssessmentRequest, RecordedReply,
    RevokePartnerReply, RevokePartnerRequest,
};
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::{Digest as _, Sha256};
use time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{STREAM_CHUNKS, internal, org, refused, to_its_end};
use crate::broker::Broker;
use crate::decide::assessments;
use crate::decide::partners::{self, Invitation};
use crate::error::Error;
use crate::log::Decided;
use crate::refusal::Refusal;
use crate::state::State;

/// Operator.
pub(crate) struct OperatorService(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl Operator for OperatorService {
    async fn invite(
        &self,
        request: Request<InviteRequest>,
    ) -> Result<Response<InviteReply>, Status> {
        let broker = &self.0;
        broker.require_operator(&request)?;
        let request = request.into_inner();
        let mut secret = Zeroizing::new([0; 32]);
        SysRng
            .try_fill_bytes(secret.as_mut_slice())
            .map_err(|e| internal(Error::Home(format!("the system gives no randomness: {e}"))))?;
        let invitation = Invitation {
            org: org(&request.org)?,
            id: Uuid::now_v7().to_string(),
            secret_sha256: Digest::from_bytes(Sha256::digest(*secret).into()),
            valid: Duration::seconds(request.valid_seconds.into()),
        };
        let expires = broker
            .ledger
            .commit(&broker.operator_actor(), |state, now| {
                partners::invite(state, now, &invitation)
            })
            .await
            .map_err(refused)?;
        Ok(Response::new(InviteReply {
            invite_id: invitation.id,
            secret: secret.to_vec(),
            expires: expires.value().to_string(),
        }))
    }

    async fn revoke_partner(
        &self,
        request: Request<RevokePartnerRequest>,
    ) -> Result<Response<RevokePartnerReply>, Status> {
        let broker = self.0.clone();
        broker.require_operator(&request)?;
        to_its_end(async move { revoke(&broker, request.into_inner()).await }).await
    }

    async fn add_officer(
        &self,
        request: Request<AddOfficerRequest>,
    ) -> Result<Response<RecordedReply>, Status> {
        let r = operators(&self.0, request)?;
        assess(&self.0, |state| {
            assessments::add_officer(state, &r.user, &r.key)
        })
        .await
    }

    async fn propose_assessment(
        &self,
        request: Request<ProposeAssessmentRequest>,
    ) -> Result<Response<RecordedReply>, Status> {
        let r = operators(&self.0, request)?;
        assess(&self.0, |state| {
            assessments::propose(state, &r.assessment, &r.maker, &r.signature)
        })
        .await
    }

    async fn approve_assessment(
        &self,
        request: Request<ApproveAssessmentRequest>,
    ) -> Result<Response<RecordedReply>, Status> {
        let r = operators(&self.0, request)?;
        let sha256 = counterfoil_proto::fixed("sha256", &r.sha256).map_err(super::wire)?;
        assess(&self.0, |state| {
            assessments::approve(state, &Digest::from_bytes(sha256), &r.checker, &r.signature)
        })
        .await
    }

    async fn assessments(
        &self,
        request: Request<AssessmentsRequest>,
    ) -> Result<Response<AssessmentsReply>, Status> {
        let name = operators(&self.0, request)?.org;
        let json = |value: Option<serde_json::Result<Vec<u8>>>| {
            value
                .transpose()
                .map(Option::unwrap_or_default)
                .map_err(|e| internal(Error::Home(e.to_string())))
        };
        self.0.ledger.read(|state| {
            let waiting = state.assessments.waiting(&name);
            Ok(Response::new(AssessmentsReply {
                in_force: json(state.assessments.of(&name).map(serde_json::to_vec))?,
                proposed: json(waiting.map(|(_, p)| serde_json::to_vec(&p.assessment)))?,
                proposed_sha256: waiting
                    .map_or_else(Vec::new, |(sha256, _)| sha256.as_bytes().to_vec()),
                proposed_by: waiting.map_or_else(String::new, |(_, p)| p.maker.clone()),
            }))
        })
    }

    type ExportStream = ReceiverStream<Result<ExportChunk, Status>>;

    async fn export(
        &self,
        request: Request<ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        self.0.require_operator(&request)?;
        let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
        let broker = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let out = ChunkWriter::new(sender.clone());
            if let Err(error) = broker.ledger.export(out) {
                let _ = sender.blocking_send(Err(internal(error)));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Of the operator's own call, what it asks.
fn operators<T>(broker: &Broker, request: Request<T>) -> Result<T, Status> {
    broker.require_operator(&request)?;
    Ok(request.into_inner())
}

async fn assess(
    broker: &Broker,
    decide: impl FnOnce(&State) -> Decided<assessments::Verdict>,
) -> Result<Response<RecordedReply>, Status> {
    let recorded = broker
        .ledger
        .commit(&broker.operator_actor(), |state, _| {
            Ok::<_, Refusal>(decide(state))
        })
        .await
        .map_err(refused)?;
    let entry = recorded.index();
    recorded
        .into_value()
        .map(|()| Response::new(RecordedReply { entry }))
        .map_err(refused)
}

async fn revoke(
    broker: &Broker,
    request: RevokePartnerRequest,
) -> Result<Response<RevokePartnerReply>, Status> {
    let name = org(&request.org)?;
    let revoked = broker
        .ledger
        .commit(&broker.operator_actor(), |state, _| {
            partners::revoke(state, &name, &request.reason)
        })
        .await
        .map_err(refused)?;
    broker.connections.cut(revoked.value().as_bytes());
    broker.flows.stop_listening(&name);
    let running = broker
        .flows
        .matching(|grant| grant.source.org == name || grant.recipient.org == name);
    for flow in running {
        broker
            .abort(flow, "revoked", "a party of the flow was revoked")
            .await;
    }
    Ok(Response::new(RevokePartnerReply {
        entry: revoked.index(),
    }))
}

/// Sends what is written to it in pieces of [`CHUNK_BYTES`].
struct ChunkWriter {
    sender: mpsc::Sender<Result<ExportChunk, Status>>,
    piece: Vec<u8>,
}

impl ChunkWriter {
    fn new(sender: mpsc::Sender<Result<ExportChunk, Status>>) -> Self {
        Self {
            sender,
            piece: Vec::new(),
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let data = std::mem::take(&mut self.piece);
        self.sender
            .blocking_send(Ok(ExportChunk { data }))
            .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}
