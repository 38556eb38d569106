//! Agreements over the wire.

use std::cmp::Reverse;
use std::sync::Arc;

use counterfoil_audit::entry::{Digest, FlowId};
use counterfoil_proto::limits::MESSAGE_BYTES_MAX;
use counterfoil_proto::v1;
use counterfoil_proto::v1::agreement_reply::Result as Answer;
use counterfoil_proto::v1::agreements_server::Agreements;
use counterfoil_proto::v1::{
    AgreementReply, CountersignRequest, ListAgreementsReply, ListAgreementsRequest, ProposeRequest,
    RevokeAgreementRequest,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{digest, refused, to_its_end};
use crate::broker::{Broker, Partner};
use crate::decide::agreements::{self, Verdict};
use crate::log::{Decided, Recorded};
use crate::refusal::Refusal;
use crate::state::State;
use crate::state::agreements::{AgreementRecord, Status as Standing};

/// Of one reply, with room for what surrounds each agreement.
const LIST_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4 * 3;

/// Agreements.
pub(crate) struct AgreementsService(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl Agreements for AgreementsService {
    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<AgreementReply>, Status> {
        let caller = self.0.recorded_partner(&request)?;
        let ProposeRequest {
            document,
            signature,
        } = request.into_inner();
        decide(&self.0, &caller, |state| {
            agreements::propose(state, &caller.org, &document, &signature)
        })
        .await
    }

    async fn countersign(
        &self,
        request: Request<CountersignRequest>,
    ) -> Result<Response<AgreementReply>, Status> {
        let caller = self.0.recorded_partner(&request)?;
        let request = request.into_inner();
        let sha256 = digest(&request.digest)?;
        let broker = self.0.clone();
        to_its_end(async move {
            let reply = decide(&broker, &caller, |state| {
                agreements::countersign(state, &caller.org, &sha256, &request.signature)
            })
            .await?;
            end_inactive(
                &broker,
                "superseded",
                "a later version of the agreement is in force",
            )
            .await;
            Ok(reply)
        })
        .await
    }

    async fn revoke(
        &self,
        request: Request<RevokeAgreementRequest>,
    ) -> Result<Response<AgreementReply>, Status> {
        let caller = self.0.recorded_partner(&request)?;
        let request = request.into_inner();
        let sha256 = digest(&request.digest)?;
        let broker = self.0.clone();
        to_its_end(async move {
            let reply = decide(&broker, &caller, |state| {
                let (revocation, reason) = (&request.revocation, &request.reason);
                agreements::revoke(state, &caller.org, &sha256, revocation, reason)
            })
            .await?;
            end_inactive(&broker, "revoked", "the agreement of the flow was revoked").await;
            Ok(reply)
        })
        .await
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
        // Newest first, as many as one message holds: a partner that proposes without end must not hide what stands.
        agreements.sort_by_key(|(version, agreement)| {
            (
                agreement.status != Standing::Active.as_str(),
                Reverse(*version),
            )
        });
        let mut left = LIST_BYTES_MAX;
        let mut agreements: Vec<_> = agreements
            .into_iter()
            .map_while(|(version, agreement)| {
                left = left.checked_sub(agreement.encoded_len())?;
                Some((version, agreement))
            })
            .collect();
        agreements.sort_by_key(|(version, _)| *version);
        Ok(Response::new(ListAgreementsReply {
            agreements: agreements
                .into_iter()
                .map(|(_, agreement)| agreement)
                .collect(),
        }))
    }
}

async fn decide(
    broker: &Broker,
    caller: &Partner,
    decide: impl FnOnce(&State) -> Decided<Verdict>,
) -> Result<Response<AgreementReply>, Status> {
    let recorded: Recorded<Verdict> = broker
        .ledger
        .commit(&caller.actor(), |state, _| Ok::<_, Refusal>(decide(state)))
        .await
        .map_err(refused)?;
    let result = match recorded.value() {
        Ok(digest) => broker
            .ledger
            .read(|state| state.agreements.get(digest).map(|r| to_wire(digest, r)))
            .map(Answer::Accepted),
        Err(refusal) => Some(Answer::Denied(refusal.denial(recorded.index()))),
    };
    Ok(Response::new(AgreementReply { result }))
}

/// Ends flows whose agreement is not in force any more, so that no agent works on for nothing.
async fn end_inactive(broker: &Broker, stage: &str, reason: &str) {
    let running = broker.flows.agreements();
    let inactive: Vec<FlowId> = broker.ledger.read(|state| {
        let is_active = |sha256| {
            let record = state.agreements.get(sha256);
            record.is_some_and(|record| record.status == Standing::Active)
        };
        let inactive = running.iter().filter(|(_, sha256)| !is_active(sha256));
        inactive.map(|(flow, _)| *flow).collect()
    });
    for flow in inactive {
        broker.abort(flow, stage, reason).await;
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
