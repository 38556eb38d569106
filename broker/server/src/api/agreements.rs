//! Agreements over the wire.

use std::sync::Arc;

use counterfoil_audit::entry::Digest;
use counterfoil_proto::v1;
use counterfoil_proto::v1::agreement_reply::Result as Answer;
use counterfoil_proto::v1::agreements_server::Agreements;
use counterfoil_proto::v1::{
    AgreementReply, CountersignRequest, ListAgreementsReply, ListAgreementsRequest, ProposeRequest,
    RevokeAgreementRequest,
};
use tonic::{Request, Response, Status};

use super::{digest, refused};
use crate::broker::{Broker, Partner};
use crate::decide::agreements::{self, Verdict};
use crate::log::{Decided, Recorded};
use crate::refusal::Refusal;
use crate::state::State;
use crate::state::agreements::AgreementRecord;

/// Agreements.
pub(crate) struct AgreementsService(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl Agreements for AgreementsService {
    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<AgreementReply>, Status> {
        let caller = self.0.partner(&request)?;
        let ProposeRequest {
            document,
            signature,
        } = request.into_inner();
        self.decide(&caller, |state| {
            agreements::propose(state, &caller.org, &document, &signature)
        })
        .await
    }

    async fn countersign(
        &self,
        request: Request<CountersignRequest>,
    ) -> Result<Response<AgreementReply>, Status> {
        let caller = self.0.partner(&request)?;
        let request = request.into_inner();
        let sha256 = digest(&request.digest)?;
        self.decide(&caller, |state| {
            agreements::countersign(state, &caller.org, &sha256, &request.signature)
        })
        .await
    }

    async fn revoke(
        &self,
        request: Request<RevokeAgreementRequest>,
    ) -> Result<Response<AgreementReply>, Status> {
        let caller = self.0.partner(&request)?;
        let request = request.into_inner();
        let sha256 = digest(&request.digest)?;
        let reply = self
            .decide(&caller, |state| {
                agreements::revoke(
                    state,
                    &caller.org,
                    &sha256,
                    &request.revocation,
                    &request.reason,
                )
            })
            .await?;
        if matches!(reply.get_ref().result, Some(Answer::Accepted(_))) {
            for flow in self
                .0
                .flows
                .matching(|grant| grant.agreement.sha256 == sha256)
            {
                self.0
                    .abort(flow, "revoked", "the agreement of the flow was revoked")
                    .await;
            }
        }
        Ok(reply)
    }

    async fn list(
        &self,
        request: Request<ListAgreementsRequest>,
    ) -> Result<Response<ListAgreementsReply>, Status> {
        let caller = self.0.partner(&request)?;
        let id = request.into_inner().id;
        let mut agreements: Vec<(u32, v1::Agreement)> = self.0.ledger.read(|state| {
            let records = state.agreements.iter();
            records
                .filter(|(_, record)| record.concerns(&caller.org))
                .filter(|(_, record)| id.is_empty() || record.agreement.id().as_str() == id)
                .map(|(digest, record)| (record.agreement.version(), to_wire(digest, record)))
                .collect()
        });
        agreements.sort_by_key(|(version, _)| *version);
        Ok(Response::new(ListAgreementsReply {
            agreements: agreements
                .into_iter()
                .map(|(_, agreement)| agreement)
                .collect(),
        }))
    }
}

impl AgreementsService {
    async fn decide(
        &self,
        caller: &Partner,
        decide: impl FnOnce(&State) -> Decided<Verdict>,
    ) -> Result<Response<AgreementReply>, Status> {
        let recorded: Recorded<Verdict> = self
            .0
            .ledger
            .commit(&caller.actor(), |state, _| Ok::<_, Refusal>(decide(state)))
            .await
            .map_err(refused)?;
        let result = match recorded.value() {
            Ok(digest) => self
                .0
                .ledger
                .read(|state| state.agreements.get(digest).map(|r| to_wire(digest, r)))
                .map(Answer::Accepted),
            Err(refusal) => Some(Answer::Denied(refusal.denial(recorded.index()))),
        };
        Ok(Response::new(AgreementReply { result }))
    }
}

fn to_wire(digest: &Digest, record: &AgreementRecord) -> v1::Agreement {
    let json = |document: &counterfoil_audit::entry::Document| {
        document.as_value().to_string().into_bytes()
    };
    v1::Agreement {
        document: record.agreement.canonical_bytes().to_vec(),
        digest: digest.as_bytes().to_vec(),
        status: record.status.as_str().to_owned(),
        signatures: record.signatures.iter().map(json).collect(),
        revocation: record.revocation.as_ref().map(json).unwrap_or_default(),
    }
}
